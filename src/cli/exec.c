/* SPDX-License-Identifier: Apache-2.0 */
/* exec: a further process in a running container. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/create.h"
#include "cli/stream.h"

struct exec_options {
    bool detach, interactive, tty, privileged;
    char *detach_keys, *user, *workdir;
    char **env, **env_file;
};

#define EO struct exec_options
static const struct option_def exec_option_table[] = {
    OPT(EO, detach, "detach", 'd', OPTION_BOOL, NULL,
        "Detached mode: run command in the background"),
    OPT(EO, detach_keys, "detach-keys", 0, OPTION_STR, NULL,
        "Override the key sequence for detaching a container"),
    OPT(EO, env, "env", 'e', OPTION_LIST, NULL, "Set environment variables"),
    OPT(EO, env_file, "env-file", 0, OPTION_LIST, NULL, "Read in a file of environment variables",
        .complete = COMPLETE_FILE),
    OPT(EO, interactive, "interactive", 'i', OPTION_BOOL, NULL,
        "Keep STDIN open even if not attached"),
    OPT(EO, privileged, "privileged", 0, OPTION_BOOL, NULL,
        "Give extended privileges to the command"),
    OPT(EO, tty, "tty", 't', OPTION_BOOL, NULL, "Allocate a pseudo-TTY"),
    OPT(EO, user, "user", 'u', OPTION_STR, NULL,
        "Username or UID (format: \"<name|uid>[:<group|gid>]\")"),
    OPT(EO, workdir, "workdir", 'w', OPTION_STR, NULL, "Working directory inside the container"),
    OPT_END,
};

static void put_console_size(struct jsonw *w, bool tty)
{
    unsigned rows, columns;

    if (!tty || !terminal_size(&rows, &columns))
        return;
    jsonw_list_begin(w, "ConsoleSize");
    jsonw_int(w, NULL, rows);
    jsonw_int(w, NULL, columns);
    jsonw_list_end(w);
}

static int exec_body(const struct exec_options *o, char *const *cmd, struct buf *out,
                     struct error *e)
{
    AUTOPTR(strv) char **env = NULL;
    struct jsonw w = {.out = out};
    int r = 0;

    for (char **f = o->env_file; f && *f && r == 0; f++)
        r = env_file_read(*f, &env, e);
    for (char **v = o->env; v && *v && r == 0; v++)
        r = env_add(&env, *v, e);
    if (r < 0)
        return r;
    jsonw_begin(&w, NULL);
    jsonw_strv(&w, "Cmd", cmd);
    jsonw_bool(&w, "AttachStdin", o->interactive && !o->detach);
    jsonw_bool(&w, "AttachStdout", !o->detach);
    jsonw_bool(&w, "AttachStderr", !o->detach);
    jsonw_bool(&w, "Tty", o->tty);
    jsonw_bool(&w, "Privileged", o->privileged);
    jsonw_bool(&w, "Detach", o->detach);
    if (o->user)
        jsonw_str(&w, "User", o->user);
    if (o->workdir)
        jsonw_str(&w, "WorkingDir", o->workdir);
    if (o->detach_keys)
        jsonw_str(&w, "DetachKeys", o->detach_keys);
    if (env)
        jsonw_strv(&w, "Env", env);
    put_console_size(&w, o->tty);
    jsonw_end(&w);
    return 0;
}

static int exec_create(struct cli *cli, const struct exec_options *o, char **args, char **ret_id,
                       struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf out = BUF_INIT(1 << 20);
    AUTOPTR(json_value) struct json_value *answer = NULL;
    int r = exec_body(o, args + 1, &body, e);

    if (r < 0)
        return r;
    url_set(&u, "/containers/", args[0], "/exec");
    r = api_call(cli, "POST", &u, body.data, &out, e);
    if (r < 0)
        return r;
    r = json_value_parse(buf_str(&out), out.len, &answer, e);
    if (r == 0)
        *ret_id = xstrdup(jstr(answer, "Id"));
    return r;
}

static char *start_body(const struct exec_options *o)
{
    AUTO(buf) struct buf b = BUF_INIT(4096);
    struct jsonw w = {.out = &b};

    jsonw_begin(&w, NULL);
    jsonw_bool(&w, "Detach", o->detach);
    jsonw_bool(&w, "Tty", o->tty);
    put_console_size(&w, o->tty && !o->detach);
    jsonw_end(&w);
    return buf_take(&b);
}

/* The output has ended; the daemon may hear of the exit a moment later, or be away for a moment
 * itself. One that closed its output and goes on counts as 0, as with docker. */
static int exec_status(struct cli *cli, const char *id, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    int64_t begun = time_monotonic_ns();

    url_set(&u, "/exec/", id, "/json");
    for (useconds_t pause = 500;; pause = pause < 50000 ? pause * 2 : pause) {
        AUTOPTR(json_value) struct json_value *info = NULL;
        int64_t waited = time_monotonic_ns() - begun;

        error_done(e);
        if (api_get(cli, &u, &info, e) == 0) {
            if (!json_value_bool(json_value_get(info, "Running")) || waited > NSEC_PER_SEC)
                return (int)json_value_int(json_value_get(info, "ExitCode"));
        } else if (str_has_prefix(error_message(e), "Error response") ||
                   waited > 10 * NSEC_PER_SEC) {
            return cli_fail(e);
        }
        (void)usleep(pause);
    }
}

static int exec_failure(const struct error *e)
{
    (void)cli_fail(e);
    return cli_start_status(e, 1);
}

static int exec_attached(struct cli *cli, const struct exec_options *o, const char *id,
                         struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res = {0};
    AUTOFREE char *body = start_body(o);
    struct session s = {.cli = cli,
                        .forward_stdin = o->interactive,
                        .tty = o->tty,
                        .multiplexed = !o->tty,
                        .detach_keys = o->detach_keys ? o->detach_keys : "ctrl-p,ctrl-q",
                        .kind = "/exec/",
                        .id = id};
    int r;

    url_set(&u, "/exec/", id, "/start");
    r = api_open(cli, "POST", &u, body, true, &conn, &res, e);
    http_response_done(&res);
    if (r < 0)
        return exec_failure(e);
    s.conn = conn;
    if (session_run(&s, e) < 0)
        return cli_fail(e);
    if (s.detached) {
        err_printf("read escape sequence\n");
        return 1;
    }
    return exec_status(cli, id, e);
}

static int run_exec(struct cli *cli, void *options, char **args, size_t n)
{
    const struct exec_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *id = NULL;
    AUTOFREE char *body = NULL;
    struct url u CLEANUP(url_done) = URL_INIT;
    unsigned char keys[16];

    if (o->detach_keys && *o->detach_keys && detach_keys_parse(o->detach_keys, keys) < 0)
        (void)error_set(&e, ERR_INVALID, "invalid detach keys (%s)", o->detach_keys);
    else if (o->interactive && o->tty && !o->detach && !isatty(STDIN_FILENO))
        (void)error_set(&e, ERR_INVALID, "the input device is not a TTY");
    if (e.message || exec_create(cli, o, args, &id, &e) < 0)
        return cli_fail(&e);
    if (!o->detach)
        return exec_attached(cli, o, id, &e);
    body = start_body(o);
    url_set(&u, "/exec/", id, "/start");
    return api_call(cli, "POST", &u, body, NULL, &e) < 0 ? exec_failure(&e) : 0;
}

const struct command command_exec = {
    .name = "exec",
    .args = "CONTAINER COMMAND [ARG...]",
    .summary = "Execute a command in a running container",
    .options = exec_option_table,
    .options_size = sizeof(struct exec_options),
    .args_min = 2,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG | COMMAND_COMMON,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_exec,
};
