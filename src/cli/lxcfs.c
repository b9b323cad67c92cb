/* SPDX-License-Identifier: Apache-2.0 */
/* remount-lxcfs. */
#include "base/buf.h"
#include "base/json.h"
#include "cli/cli.h"

static void make_remount(struct url *u, const char *name, void *data)
{
    url_set(u, "/containers/", name, "/remount-lxcfs");
}

static int remount_all(struct cli *cli)
{
    AUTO(url) struct url u = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(buf) struct buf answer = BUF_INIT(CLI_ANSWER_MAX);
    AUTOPTR(json_value) struct json_value *v = NULL;
    int64_t n;

    url_set(&u, "/lxcfs/remount", NULL, NULL);
    if (api_call(cli, "POST", &u, NULL, &answer, &e) < 0 ||
        json_value_parse(buf_str(&answer), answer.len, &v, &e) < 0)
        return cli_fail(&e);
    n = json_value_int(json_value_get(v, "Containers"));
    out_printf("%lld container%s\n", (long long)n, n == 1 ? "" : "s");
    return 0;
}

static int run_remount(struct cli *cli, void *options, char **args, size_t n)
{
    return n ? cli_for_each_request(cli, args, "POST", make_remount, NULL) : remount_all(cli);
}

const struct command command_remount_lxcfs = {
    .name = "remount-lxcfs",
    .args = "[CONTAINER...]",
    .summary = "Make the mounts of lxcfs in running containers again (default: in all)",
    .args_min = 0,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_remount,
};
