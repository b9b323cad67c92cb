/* SPDX-License-Identifier: Apache-2.0 */
/* run, create, start, attach: making containers and sitting in front of them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/create.h"
#include "cli/image.h"
#include "cli/stream.h"

#define DEFAULT_DETACH_KEYS "ctrl-p,ctrl-q"

static int check_detach_keys(const char *keys, struct error *e)
{
    unsigned char bytes[16];

    if (keys && *keys && detach_keys_parse(keys, bytes) < 0)
        return error_set(e, ERR_INVALID,
                         "invalid detach keys (%s): want letters or ctrl-LETTER, separated by "
                         "commas",
                         keys);
    return 0;
}

/* A terminal for the container needs one here, when its input is ours. */
static int check_tty(bool attach_stdin, bool tty, struct error *e)
{
    if (attach_stdin && tty && !isatty(STDIN_FILENO))
        return error_set(e, ERR_INVALID, "the input device is not a TTY");
    return 0;
}

/* --- Creating ---------------------------------------------------------------------------- */

static int check_cidfile(const char *path, struct error *e)
{
    if (path && access(path, F_OK) == 0)
        return error_set(e, ERR_INVALID,
                         "container ID file found, make sure the other container isn't running or "
                         "delete %s",
                         path);
    return 0;
}

void cli_show_warnings(const struct json_value *answer)
{
    const struct json_value *list = json_value_get(answer, "Warnings");

    for (size_t i = 0; i < json_value_len(list); i++) {
        const char *text = json_value_str(json_value_at(list, i));

        if (text)
            err_printf("WARNING: %s\n", text);
    }
}

static int post_create(struct cli *cli, const struct create_options *o, const char *body,
                       struct buf *out, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/containers/create", NULL, NULL);
    url_add(&u, "name", o->name);
    url_add(&u, "platform", o->platform);
    return api_call(cli, "POST", &u, body, out, e);
}

/* Creates the container, pulling its image if the policy says so. */
static int create_container(struct cli *cli, const struct create_options *o, const char *image,
                            char *const *args, char **ret_id, struct error *e)
{
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    AUTO(error) struct error missing = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *answer = NULL;
    bool newer = STREQ(o->pull, "newer"), may_pull = newer || STREQ(o->pull, "missing");
    int r;

    if (!may_pull && !STREQ(o->pull, "always") && !STREQ(o->pull, "never"))
        return error_set(e, ERR_INVALID,
                         "invalid pull option: '%s': must be one of \"always\", \"missing\", "
                         "\"newer\" or \"never\"",
                         o->pull);
    r = check_cidfile(o->cidfile, e);
    if (r == 0)
        r = create_body(o, image, args, &body, e);
    if (r == 0 && STREQ(o->pull, "always"))
        r = image_pull(cli, image, o->platform, o->quiet, STDERR_FILENO, e);
    if (r == 0 && newer)
        r = image_pull_newer(cli, image, o->platform, o->quiet, STDERR_FILENO, e);
    if (r < 0)
        return r;
    r = post_create(cli, o, body.data, &out, &missing);
    if (r < 0 && may_pull && missing.code == ERR_NOT_FOUND &&
        (strcasestr(error_message(&missing), "no such image") ||
         strcasestr(error_message(&missing), "image not known") ||
         strstr(error_message(&missing), "match the specified platform"))) {
        err_printf("Unable to find image '%s%s' locally\n", image,
                   strchr(image, '@') || (strrchr(image, ':') && !strchr(strrchr(image, ':'), '/'))
                       ? ""
                       : ":latest");
        r = image_pull(cli, image, o->platform, o->quiet, STDERR_FILENO, e);
        if (r == 0)
            r = post_create(cli, o, body.data, &out, e);
    } else {
        error_move(e, &missing);
    }
    if (r < 0)
        return r;
    r = json_value_parse(buf_str(&out), out.len, &answer, e);
    if (r < 0)
        return r;
    cli_show_warnings(answer);
    *ret_id = xstrdup(jstr(answer, "Id"));
    if (o->cidfile)
        r = fs_write_atomic(AT_FDCWD, o->cidfile, *ret_id, strlen(*ret_id), 0644, FS_NO_SYNC);
    if (r < 0)
        return error_set_errno(e, r, "writing the container ID file %s failed", o->cidfile);
    return 0;
}

static int run_create(struct cli *cli, void *options, char **args, size_t n)
{
    const struct create_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *id = NULL;

    if (create_container(cli, o, args[0], args + 1, &id, &e) < 0)
        return cli_fail_run(cli, &e);
    out_printf("%s\n", id);
    return 0;
}

/* --- Sessions ---------------------------------------------------------------------------- */

struct attached {
    struct session session;
    struct http_conn *conn, *wait, *start;
};

static void attached_done(struct attached *a)
{
    http_conn_free(a->conn);
    http_conn_free(a->wait);
    http_conn_free(a->start);
    free(a->session.wait_error);
}

/* Sends attach and wait together, then receives both heads: one round trip for two. */
static int open_streams(struct cli *cli, struct attached *a, const char *id,
                        const struct attach_set *set, const char *detach_keys,
                        const char *condition, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    struct http_response res = {0};
    const char *type;
    int r;

    url_set(&u, "/containers/", id, "/attach");
    url_add(&u, "stream", "1");
    url_add_bool(&u, "stdin", set->in);
    url_add_bool(&u, "stdout", set->out);
    url_add_bool(&u, "stderr", set->err);
    url_add(&u, "detachKeys", detach_keys);
    r = api_send(cli, "POST", &u, NULL, true, &a->conn, e);
    if (r < 0)
        return r;
    url_set(&u, "/containers/", id, "/wait");
    url_add(&u, "condition", condition);
    r = api_send(cli, "POST", &u, NULL, false, &a->wait, e);
    if (r == 0)
        r = api_recv(cli, a->conn, &res, e);
    if (r < 0)
        return r;
    type = http_response_header(&res, "content-type");
    a->session.multiplexed = type && strstr(type, "multiplexed-stream") ? true : !a->session.tty;
    http_response_done(&res);
    r = api_recv(cli, a->wait, &res, e);
    http_response_done(&res);
    a->session.conn = a->conn;
    a->session.wait = a->wait;
    a->session.wait_condition = condition && STREQ(condition, "removed") ? condition : NULL;
    return r;
}

static int fail_start(const struct error *e)
{
    const char *m = error_message(e);
    size_t len = strlen(m);

    /* The command line was right: no hint how to use it. */
    err_printf("pouch: %s%s\n", m, len && strchr(".?!", m[len - 1]) ? "" : ".");
    return cli_start_status(e, 125);
}

static int run_detached(struct cli *cli, const char *id, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    int r;

    url_set(&u, "/containers/", id, "/start");
    r = api_call(cli, "POST", &u, NULL, NULL, e);
    if (r < 0)
        return fail_start(e);
    out_printf("%s\n", id);
    return 0;
}

/* What wait said, as our own exit status. */
static int session_status(const struct session *s)
{
    if (s->detached)
        return 0;
    if (s->wait_error)
        err_printf("%s\n", s->wait_error);
    return s->exit_status < 0 ? 125 : s->exit_status;
}

/* After a failed start the daemon removes a --rm container: that is waited for. */
static void await_removal(struct attached *a, bool rm)
{
    AUTO(buf) struct buf unused = BUF_INIT(64 << 10);

    if (rm && a->wait) {
        struct pollfd p = {.fd = http_conn_fd(a->wait), .events = POLLIN};

        if (http_conn_has_pending(a->wait) || poll(&p, 1, 10000) > 0)
            (void)!http_conn_read_all(a->wait, &unused, NULL);
    }
}

static int run_attached(struct cli *cli, const struct create_options *o, const char *id,
                        const struct attach_set *set, struct error *e)
{
    struct attached a CLEANUP(attached_done) = {
        .session = {.cli = cli,
                    .forward_stdin = set->in,
                    .tty = o->tty,
                    .proxy_signals = o->sig_proxy,
                    .detach_keys = o->detach_keys ? o->detach_keys : DEFAULT_DETACH_KEYS,
                    .kind = "/containers/",
                    .id = id}};
    struct url u CLEANUP(url_done) = URL_INIT;
    int r = open_streams(cli, &a, id, set, o->detach_keys, o->rm ? "removed" : "next-exit", e);

    if (r < 0)
        return cli_fail_run(cli, e);
    session_hold_signals();
    url_set(&u, "/containers/", id, "/start");
    r = api_send(cli, "POST", &u, NULL, false, &a.start, e);
    if (r == 0) {
        a.session.start = a.start;
        r = session_run(&a.session, e);
    }
    if (r < 0) {
        r = fail_start(e);
        await_removal(&a, o->rm);
        return r;
    }
    return session_status(&a.session);
}

static int run_run(struct cli *cli, void *options, char **args, size_t n)
{
    const struct create_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *id = NULL;
    struct attach_set set;

    if (check_detach_keys(o->detach_keys, &e) < 0 || create_attach_set(o, &set, &e) < 0)
        return cli_fail_run(cli, &e);
    if (check_tty(set.in, o->tty, &e) < 0)
        return cli_fail(&e);
    if (create_container(cli, o, args[0], args + 1, &id, &e) < 0)
        return cli_fail_run(cli, &e);
    if (!set.in && !set.out && !set.err)
        return run_detached(cli, id, &e);
    return run_attached(cli, o, id, &set, &e);
}

/* --- start ------------------------------------------------------------------------------- */

struct start_options {
    bool attach, interactive, sig_proxy;
    char *detach_keys;
};

static const struct option_def start_option_table[] = {
    OPT(struct start_options, attach, "attach", 'a', OPTION_BOOL, NULL,
        "Attach STDOUT/STDERR and forward signals"),
    OPT(struct start_options, interactive, "interactive", 'i', OPTION_BOOL, NULL,
        "Attach container's STDIN"),
    OPT(struct start_options, sig_proxy, "sig-proxy", 0, OPTION_BOOL, NULL,
        "Proxy all received signals to the process", .initial = "true", .hidden = true),
    OPT(struct start_options, detach_keys, "detach-keys", 0, OPTION_STR, NULL,
        "Override the key sequence for detaching a container"),
    OPT_END,
};

static int inspect(struct cli *cli, const char *name, struct json_value **ret, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/containers/", name, "/json");
    return api_get(cli, &u, ret, e);
}

static int start_attached(struct cli *cli, const struct start_options *o, const char *name,
                          struct error *e)
{
    AUTOPTR(json_value) struct json_value *info = NULL;
    const struct json_value *config;
    struct attached a CLEANUP(attached_done) = {
        .session = {.cli = cli, .kind = "/containers/", .proxy_signals = o->sig_proxy}};
    struct url u CLEANUP(url_done) = URL_INIT;
    struct attach_set set = {.out = true, .err = true};
    bool rm;
    int r = inspect(cli, name, &info, e);

    if (r < 0)
        return cli_fail(e);
    config = json_value_get(info, "Config");
    rm = json_value_bool(json_value_get(json_value_get(info, "HostConfig"), "AutoRemove"));
    a.session.tty = json_value_bool(json_value_get(config, "Tty"));
    set.in = o->interactive && json_value_bool(json_value_get(config, "OpenStdin"));
    a.session.forward_stdin = set.in;
    a.session.detach_keys = o->detach_keys ? o->detach_keys : DEFAULT_DETACH_KEYS;
    a.session.id = jstr(info, "Id");
    if (check_tty(set.in, a.session.tty, e) < 0)
        return cli_fail(e);
    r = open_streams(cli, &a, a.session.id, &set, o->detach_keys, rm ? "removed" : "next-exit", e);
    if (r < 0)
        return cli_fail(e);
    session_hold_signals();
    url_set(&u, "/containers/", a.session.id, "/start");
    r = api_send(cli, "POST", &u, NULL, false, &a.start, e);
    if (r == 0) {
        a.session.start = a.start;
        r = session_run(&a.session, e);
    }
    if (r < 0) {
        (void)cli_fail(e);
        await_removal(&a, rm);
        return cli_start_status(e, 1);
    }
    return session_status(&a.session);
}

static int start_one(struct cli *cli, const char *name, void *data, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    int r;

    url_set(&u, "/containers/", name, "/start");
    r = api_call(cli, "POST", &u, NULL, NULL, e);
    if (r >= 0)
        out_printf("%s\n", name);
    return r;
}

static int run_start(struct cli *cli, void *options, char **args, size_t n)
{
    const struct start_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;

    if (check_detach_keys(o->detach_keys, &e) < 0)
        return cli_fail(&e);
    if (!o->attach && !o->interactive)
        return cli_for_each(cli, args, start_one, NULL);
    if (n > 1) {
        (void)error_set(&e, ERR_INVALID, "you cannot start and attach multiple containers at once");
        return cli_fail(&e);
    }
    return start_attached(cli, o, args[0], &e);
}

/* --- attach ------------------------------------------------------------------------------ */

struct attach_options {
    bool no_stdin, sig_proxy;
    char *detach_keys;
};

static const struct option_def attach_option_table[] = {
    OPT(struct attach_options, no_stdin, "no-stdin", 0, OPTION_BOOL, NULL, "Do not attach STDIN"),
    OPT(struct attach_options, sig_proxy, "sig-proxy", 0, OPTION_BOOL, NULL,
        "Proxy all received signals to the process", .initial = "true"),
    OPT(struct attach_options, detach_keys, "detach-keys", 0, OPTION_STR, NULL,
        "Override the key sequence for detaching a container"),
    OPT_END,
};

static int check_attachable(const struct json_value *info, struct error *e)
{
    const struct json_value *state = json_value_get(info, "State");

    if (!json_value_bool(json_value_get(state, "Running")))
        return error_set(e, ERR_INVALID,
                         "You cannot attach to a stopped container, start it first");
    if (json_value_bool(json_value_get(state, "Paused")))
        return error_set(e, ERR_INVALID,
                         "You cannot attach to a paused container, unpause it first");
    if (json_value_bool(json_value_get(state, "Restarting")))
        return error_set(e, ERR_INVALID,
                         "You cannot attach to a restarting container, wait until it is running");
    return 0;
}

static int run_attach(struct cli *cli, void *options, char **args, size_t n)
{
    const struct attach_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *info = NULL;
    const struct json_value *config;
    struct attached a CLEANUP(attached_done) = {.session = {.cli = cli, .kind = "/containers/"}};
    struct attach_set set = {.out = true, .err = true};

    if (check_detach_keys(o->detach_keys, &e) < 0 || inspect(cli, args[0], &info, &e) < 0 ||
        check_attachable(info, &e) < 0)
        return cli_fail(&e);
    config = json_value_get(info, "Config");
    a.session.tty = json_value_bool(json_value_get(config, "Tty"));
    a.session.proxy_signals = o->sig_proxy && !a.session.tty;
    a.session.detach_keys = o->detach_keys ? o->detach_keys : DEFAULT_DETACH_KEYS;
    a.session.id = jstr(info, "Id");
    a.session.redraw = true;
    set.in = !o->no_stdin && json_value_bool(json_value_get(config, "OpenStdin"));
    a.session.forward_stdin = set.in;
    if (check_tty(set.in, a.session.tty, &e) < 0)
        return cli_fail(&e);
    if (open_streams(cli, &a, a.session.id, &set, o->detach_keys, NULL, &e) < 0 ||
        session_run(&a.session, &e) < 0)
        return cli_fail(&e);
    if (a.session.detached) {
        err_printf("read escape sequence\n");
        return 1;
    }
    return session_status(&a.session);
}

const struct command command_create = {
    .name = "create",
    .args = "IMAGE [COMMAND] [ARG...]",
    .summary = "Create a new container",
    .options = create_option_table,
    .options_size = sizeof(struct create_options),
    .args_min = 1,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG,
    .complete = COMPLETE_IMAGE,
    .run = run_create,
};
const struct command command_run = {
    .name = "run",
    .args = "IMAGE [COMMAND] [ARG...]",
    .summary = "Create and run a new container from an image",
    .options = run_option_table,
    .options_size = sizeof(struct create_options),
    .args_min = 1,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG | COMMAND_COMMON,
    .complete = COMPLETE_IMAGE,
    .run = run_run,
};
const struct command command_start = {
    .name = "start",
    .args = "CONTAINER [CONTAINER...]",
    .summary = "Start one or more stopped containers",
    .options = start_option_table,
    .options_size = sizeof(struct start_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_STOPPED,
    .run = run_start,
};
const struct command command_attach = {
    .name = "attach",
    .args = "CONTAINER",
    .summary = "Attach local standard input, output, and error streams to a running container",
    .options = attach_option_table,
    .options_size = sizeof(struct attach_options),
    .args_min = 1,
    .args_max = 1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_attach,
};
