/* SPDX-License-Identifier: Apache-2.0 */
/* image mount, image umount. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/format.h"

struct mount_options_ {
    char *format;
};

static const struct option_def mount_table[] = {
    OPT(struct mount_options_, format, "format", 0, OPTION_STR, NULL,
        "Format of the list: 'table', 'json' or a Go template with .ID, .Image, .Path",
        .words = "json table"),
    OPT_END,
};

static int mount_row(const struct json_value *v, void *data, struct error *e)
{
    const char *id = jstr(v, "Id");
    const char *name = json_value_str(json_value_at(json_value_get(v, "RepoTags"), 0));
    char shown[16];

    (void)snprintf(shown, sizeof shown, "%.12s", strchr(id, ':') ? strchr(id, ':') + 1 : id);
    const char *values[] = {shown, name ? name : "<none>", jstr(v, "Path"), NULL};
    return formatter_row(data, values, NULL, e);
}

static int list_mounts(struct cli *cli, const char *format)
{
    static const struct formatter_field fields[] = {{"ID", "IMAGE ID"},
                                                    {"Image", "IMAGE"},
                                                    {"Path", "PATH"},
                                                    {NULL, NULL}};
    struct url u CLEANUP(url_done) = URL_INIT;
    struct formatter f CLEANUP(formatter_done) = {0};
    AUTO(error) struct error e = ERROR_INIT;

    url_set(&u, "/pouch/image-mounts", NULL, NULL);
    if (formatter_init(&f, format, "{{.ID}}\t{{.Image}}\t{{.Path}}", fields, &e) < 0 ||
        api_list(cli, &u, mount_row, &f, &e) < 0)
        return cli_fail(&e);
    formatter_finish(&f);
    return 0;
}

static int run_mount(struct cli *cli, void *options, char **args, size_t n)
{
    const struct mount_options_ *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTOFREE char *target = NULL;

    if (n == 0)
        return list_mounts(cli, o->format);
    if (o->format) {
        err_printf("Error: --format is for the list: pouch image mount --format ...\n");
        return 1;
    }
    if (n > 1) {
        target = realpath(args[1], NULL);
        if (!target) {
            (void)error_set_errno(&e, errno, "mount on %s", args[1]);
            return cli_fail(&e);
        }
    }
    url_set(&u, "/pouch/image-mounts", NULL, NULL);
    url_add(&u, "name", args[0]);
    url_add(&u, "target", target);
    if (api_call(cli, "POST", &u, NULL, &out, &e) < 0 ||
        json_value_parse(buf_str(&out), out.len, &v, &e) < 0)
        return cli_fail(&e);
    out_printf("%s\n", jstr(v, "Path"));
    return 0;
}

struct umount_options {
    bool force;
};

static const struct option_def umount_table[] = {
    OPT(struct umount_options, force, "force", 'f', OPTION_BOOL, NULL,
        "Unmount even when something still uses the mount"),
    OPT_END,
};

static int umount_one(struct cli *cli, const char *what, void *data, struct error *e)
{
    const struct umount_options *o = data;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTOFREE char *real = strchr(what, '/') ? realpath(what, NULL) : NULL;
    int r;

    /* "./dir" and "/dir" are folders, "a/b" an image, unless it is a folder of that name. */
    url_set(&u, "/pouch/image-mounts", NULL, NULL);
    url_add(&u, "name", real ? real : what);
    url_add_bool(&u, "force", o->force);
    r = api_call(cli, "DELETE", &u, NULL, &out, e);
    if (r >= 0)
        r = json_value_parse(buf_str(&out), out.len, &v, e);
    if (r < 0)
        return r;
    const struct json_value *paths = json_value_get(v, "Paths");
    for (size_t i = 0; i < json_value_len(paths); i++)
        out_printf("%s\n", json_value_str(json_value_at(paths, i)));
    return 0;
}

static int run_umount(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each(cli, args, umount_one, options);
}

const struct command command_image_mount = {
    .name = "mount",
    .args = "[IMAGE [DIR]]",
    .summary = "Show an image's files read-only on the host, or list what is mounted",
    .options = mount_table,
    .options_size = sizeof(struct mount_options_),
    .args_min = 0,
    .args_max = 2,
    .complete = COMPLETE_IMAGE,
    .run = run_mount,
};
const struct command command_image_umount = {
    .name = "umount",
    .aliases = "unmount",
    .args = "IMAGE|DIR [IMAGE|DIR...]",
    .summary = "Unmount images that were mounted on the host",
    .options = umount_table,
    .options_size = sizeof(struct umount_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_IMAGE,
    .run = run_umount,
};
