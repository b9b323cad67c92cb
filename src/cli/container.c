/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on containers that need no terminal: stop, restart, kill, wait, rm, rename, pause,
 * unpause, top, port, logs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/portspec.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/stream.h"

/* --- stop, restart ----------------------------------------------------------------------- */

struct stop_options {
    char *signal;
    struct opt_int timeout;
    const char *verb;
};

static const struct option_def stop_option_table[] = {
    OPT(struct stop_options, signal, "signal", 's', OPTION_STR, NULL,
        "Signal to send to the container", .complete = COMPLETE_SIGNAL),
    OPT(struct stop_options, timeout, "timeout", 't', OPTION_INT, NULL,
        "Seconds to wait before killing the container"),
    OPT(struct stop_options, timeout, "time", 0, OPTION_INT, NULL,
        "Seconds to wait before killing the container", .hidden = true),
    OPT_END,
};

static void make_stop(struct url *u, const char *name, void *data)
{
    const struct stop_options *o = data;

    url_set(u, "/containers/", name, o->verb);
    url_add(u, "signal", o->signal);
    if (o->timeout.set)
        url_add_int(u, "t", o->timeout.value);
}

static int run_stop(struct cli *cli, void *options, char **args, size_t n)
{
    struct stop_options *o = options;

    o->verb = "/stop";
    return cli_for_each_request(cli, args, "POST", make_stop, o);
}

static int run_restart(struct cli *cli, void *options, char **args, size_t n)
{
    struct stop_options *o = options;

    o->verb = "/restart";
    return cli_for_each_request(cli, args, "POST", make_stop, o);
}

/* --- kill, pause, unpause, rm ------------------------------------------------------------ */

struct kill_options {
    char *signal;
};

static const struct option_def kill_option_table[] = {
    OPT(struct kill_options, signal, "signal", 's', OPTION_STR, NULL,
        "Signal to send to the container", .complete = COMPLETE_SIGNAL),
    OPT_END,
};

static void make_kill(struct url *u, const char *name, void *data)
{
    const struct kill_options *o = data;

    url_set(u, "/containers/", name, "/kill");
    url_add(u, "signal", o->signal);
}

static int run_kill(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each_request(cli, args, "POST", make_kill, options);
}

static void make_pause(struct url *u, const char *name, void *data)
{
    url_set(u, "/containers/", name, "/pause");
}

static int run_pause(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each_request(cli, args, "POST", make_pause, NULL);
}

static void make_unpause(struct url *u, const char *name, void *data)
{
    url_set(u, "/containers/", name, "/unpause");
}

static int run_unpause(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each_request(cli, args, "POST", make_unpause, NULL);
}

struct rm_options {
    bool force, volumes;
};

static const struct option_def rm_option_table[] = {
    OPT(struct rm_options, force, "force", 'f', OPTION_BOOL, NULL,
        "Force the removal of a running container (uses SIGKILL)"),
    OPT(struct rm_options, volumes, "volumes", 'v', OPTION_BOOL, NULL,
        "Remove anonymous volumes associated with the container"),
    {.name = "link",
     .letter = 'l',
     .kind = OPTION_BOOL,
     .hidden = true,
     .refused = "links between containers are a legacy of Docker"},
    OPT_END,
};

static void make_rm(struct url *u, const char *name, void *data)
{
    const struct rm_options *o = data;

    while (*name == '/') /* as links and inspect write names */
        name++;
    url_set(u, "/containers/", name, NULL);
    url_add_bool(u, "force", o->force);
    url_add_bool(u, "v", o->volumes);
}

static int run_rm(struct cli *cli, void *options, char **args, size_t n)
{
    const struct rm_options *o = options;
    int status = 0;

    if (!o->force)
        return cli_for_each_request(cli, args, "DELETE", make_rm, options);
    for (; *args; args++) { /* with force a container that is gone already is no failure */
        AUTO(error) struct error e = ERROR_INIT;
        struct url u CLEANUP(url_done) = URL_INIT;

        make_rm(&u, *args, options);
        if (api_call(cli, "DELETE", &u, NULL, NULL, &e) >= 0)
            out_printf("%s\n", *args);
        else if (e.code != ERR_NOT_FOUND)
            status = cli_fail(&e);
        else
            (void)cli_fail(&e);
    }
    return status;
}

/* --- wait, rename, top, port ------------------------------------------------------------- */

static int wait_one(struct cli *cli, const char *name, void *data, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf out = BUF_INIT(1 << 20);
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r;

    url_set(&u, "/containers/", name, "/wait");
    r = api_call(cli, "POST", &u, NULL, &out, e);
    if (r < 0)
        return r;
    r = json_value_parse(buf_str(&out), out.len, &v, e);
    if (r == 0)
        out_printf("%lld\n", (long long)json_value_int(json_value_get(v, "StatusCode")));
    return r;
}

static int run_wait(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each(cli, args, wait_one, NULL);
}

static int run_rename(struct cli *cli, void *options, char **args, size_t n)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;

    if (!*args[0] || !*args[1]) {
        err_printf("Error: Neither old nor new names may be empty\n");
        return 1;
    }
    url_set(&u, "/containers/", args[0], "/rename");
    url_add(&u, "name", args[1]);
    return api_call(cli, "POST", &u, NULL, NULL, &e) < 0 ? cli_fail(&e) : 0;
}

static void top_line(struct buf *out, const struct json_value *cells)
{
    for (size_t i = 0; i < json_value_len(cells); i++) {
        const char *s = json_value_str(json_value_at(cells, i));

        (void)buf_printf(out, "%s%s", i ? "\t" : "", s ? s : "");
    }
    (void)buf_putc(out, '\n');
}

/* Columns at least 20 wide with a gap of 3, as docker's top has them. */
static void print_wide(const char *text)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    size_t widths[32] = {0};

    for (int pass = 0; pass < 2; pass++) {
        for (const char *p = text; *p;) {
            for (size_t c = 0; *p && *p != '\n'; c++) {
                size_t len = strcspn(p, "\t\n");
                size_t width = len + 3 > 20 ? len + 3 : 20;

                if (c >= ARRAY_SIZE(widths))
                    c = ARRAY_SIZE(widths) - 1;
                if (!pass && width > widths[c])
                    widths[c] = width;
                if (pass && p[len] == '\t')
                    (void)buf_printf(&out, "%-*.*s", (int)widths[c], (int)len, p);
                else if (pass)
                    (void)buf_append(&out, p, len);
                p += len + (p[len] == '\t');
            }
            p += *p == '\n';
            if (pass)
                (void)buf_putc(&out, '\n');
        }
    }
    out_write(buf_str(&out), out.len);
}

static int run_top(struct cli *cli, void *options, char **args, size_t n)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTO(buf) struct buf lines = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *ps_args = strv_join(args + 1, " ");
    const struct json_value *processes;

    url_set(&u, "/containers/", args[0], "/top");
    if (*ps_args)
        url_add(&u, "ps_args", ps_args);
    if (api_get(cli, &u, &v, &e) < 0)
        return cli_fail(&e);
    top_line(&lines, json_value_get(v, "Titles"));
    processes = json_value_get(v, "Processes");
    for (size_t i = 0; i < json_value_len(processes); i++)
        top_line(&lines, json_value_at(processes, i));
    print_wide(buf_str(&lines));
    return 0;
}

/* One binding as text; IPv6 addresses in brackets. */
static char *binding_text(const struct json_value *binding)
{
    const char *ip = jstr(binding, "HostIp");

    return xasprintf(strchr(ip, ':') ? "[%s]:%s" : "%s:%s", ip, jstr(binding, "HostPort"));
}

static int port_number(const char *key)
{
    return atoi(key);
}

struct port_line {
    int port;
    char *text;
};

static int compare_lines(const void *a, const void *b)
{
    const struct port_line *la = a, *lb = b;

    return la->port != lb->port ? la->port - lb->port : strcmp(la->text, lb->text);
}

/* All ports: "80/tcp -> 0.0.0.0:8080", sorted. */
static void print_ports(const struct json_value *ports)
{
    struct port_line lines[512] = {0};
    size_t n = 0;

    for (size_t i = 0; i < json_value_len(ports); i++) {
        const char *key = "";
        const struct json_value *list = json_value_member(ports, i, &key);

        for (size_t k = 0; k < json_value_len(list) && n < ARRAY_SIZE(lines); k++) {
            AUTOFREE char *binding = binding_text(json_value_at(list, k));

            lines[n].port = port_number(key);
            lines[n++].text = xasprintf("%s -> %s", key, binding);
        }
    }
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++) {
        out_printf("%s\n", lines[i].text);
        free(lines[i].text);
    }
}

static int run_port(struct cli *cli, void *options, char **args, size_t n)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    const struct json_value *ports, *list;
    AUTOFREE char *key = NULL;
    enum port_proto proto;
    uint16_t port;

    url_set(&u, "/containers/", args[0], "/json");
    if (api_get(cli, &u, &v, &e) < 0)
        return cli_fail(&e);
    ports = json_value_get(json_value_get(v, "NetworkSettings"), "Ports");
    if (n == 1) {
        print_ports(ports);
        return 0;
    }
    if (portspec_parse_port(args[1], &port, &proto, &e) < 0)
        return cli_fail(&e);
    key = xasprintf("%u/%s", port, port_proto_name(proto));
    list = json_value_get(ports, key);
    if (!json_value_len(list)) {
        err_printf("Error: No public port '%s' published for %s\n", key, args[0]);
        return 1;
    }
    for (size_t i = 0; i < json_value_len(list); i++) {
        AUTOFREE char *text = binding_text(json_value_at(list, i));

        out_printf("%s\n", text);
    }
    return 0;
}

/* --- logs -------------------------------------------------------------------------------- */

struct logs_options {
    bool follow, timestamps, details;
    char *since, *until, *tail;
};

#define LO struct logs_options
static const struct option_def logs_option_table[] = {
    OPT(LO, details, "details", 0, OPTION_BOOL, NULL, "Show extra details provided to logs"),
    OPT(LO, follow, "follow", 'f', OPTION_BOOL, NULL, "Follow log output"),
    OPT(LO, since, "since", 0, OPTION_STR, NULL,
        "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 "
        "minutes)"),
    OPT(LO, until, "until", 0, OPTION_STR, NULL,
        "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for "
        "42 minutes)"),
    OPT(LO, tail, "tail", 'n', OPTION_STR, NULL, "Number of lines to show from the end of the logs",
        .initial = "all"),
    OPT(LO, timestamps, "timestamps", 't', OPTION_BOOL, NULL, "Show timestamps"),
    OPT_END,
};

/* A time as the API takes it: seconds and nanoseconds since the epoch. */
static int add_time(struct url *u, const char *key, const char *text, struct error *e)
{
    AUTOFREE char *value = NULL;
    int64_t ns;

    if (!text)
        return 0;
    if (time_parse_when(text, time_now_ns(), &ns) < 0)
        return error_set(e, ERR_INVALID,
                         "invalid value for \"%s\": failed to parse value as time "
                         "or duration: \"%s\"",
                         key, text);
    value = xasprintf("%lld.%09lld", (long long)(ns / NSEC_PER_SEC),
                      (long long)(ns % NSEC_PER_SEC));
    url_add(u, key, value);
    return 0;
}

/* Frames or raw bytes: newer daemons say it in the answer, older ones in the container's state. */
static int logs_multiplexed(struct cli *cli, const char *name, const struct http_response *res,
                            bool *ret, struct error *e)
{
    const char *type = http_response_header(res, "content-type");
    AUTOPTR(json_value) struct json_value *v = NULL;
    struct url u CLEANUP(url_done) = URL_INIT;
    int r;

    if (type && strstr(type, "multiplexed-stream")) {
        *ret = true;
        return 0;
    }
    if (type && strstr(type, "raw-stream") && atof(cli->api_version) > 1.415) {
        *ret = false;
        return 0;
    }
    url_set(&u, "/containers/", name, "/json");
    r = api_get(cli, &u, &v, e);
    if (r == 0)
        *ret = !json_value_bool(json_value_get(json_value_get(v, "Config"), "Tty"));
    return r;
}

static int run_logs(struct cli *cli, void *options, char **args, size_t n)
{
    const struct logs_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res CLEANUP(http_response_done) = {0};
    bool multiplexed = true;

    url_set(&u, "/containers/", args[0], "/logs");
    url_add(&u, "stdout", "1");
    url_add(&u, "stderr", "1");
    url_add_bool(&u, "follow", o->follow);
    url_add_bool(&u, "timestamps", o->timestamps);
    url_add_bool(&u, "details", o->details);
    url_add(&u, "tail", o->tail);
    if (add_time(&u, "since", o->since, &e) < 0 || add_time(&u, "until", o->until, &e) < 0)
        return cli_fail(&e);
    if (api_open(cli, "GET", &u, NULL, false, &conn, &res, &e) < 0 ||
        logs_multiplexed(cli, args[0], &res, &multiplexed, &e) < 0 ||
        stream_copy(conn, multiplexed, &e) < 0)
        return cli_fail(&e);
    return 0;
}

#define CONTAINERS "CONTAINER [CONTAINER...]"
const struct command command_stop = {
    .name = "stop",
    .args = CONTAINERS,
    .summary = "Stop one or more running containers",
    .options = stop_option_table,
    .options_size = sizeof(struct stop_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_stop,
};
const struct command command_restart = {
    .name = "restart",
    .args = CONTAINERS,
    .summary = "Restart one or more containers",
    .options = stop_option_table,
    .options_size = sizeof(struct stop_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER,
    .run = run_restart,
};
const struct command command_kill = {
    .name = "kill",
    .args = CONTAINERS,
    .summary = "Kill one or more running containers",
    .options = kill_option_table,
    .options_size = sizeof(struct kill_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_kill,
};
const struct command command_pause = {
    .name = "pause",
    .args = CONTAINERS,
    .summary = "Pause all processes within one or more containers",
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_pause,
};
const struct command command_unpause = {
    .name = "unpause",
    .args = CONTAINERS,
    .summary = "Unpause all processes within one or more containers",
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_unpause,
};
#define RM_COMMAND                                                                                 \
    .args = CONTAINERS, .summary = "Remove one or more containers", .options = rm_option_table,    \
    .options_size = sizeof(struct rm_options), .args_min = 1, .args_max = -1,                      \
    .complete = COMPLETE_CONTAINER, .run = run_rm
const struct command command_rm = {.name = "rm", RM_COMMAND};
const struct command command_container_rm = {.name = "rm", .aliases = "remove", RM_COMMAND};
const struct command command_wait = {
    .name = "wait",
    .args = CONTAINERS,
    .summary = "Block until one or more containers stop, then print their exit codes",
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_wait,
};
const struct command command_rename = {
    .name = "rename",
    .args = "CONTAINER NEW_NAME",
    .summary = "Rename a container",
    .args_min = 2,
    .args_max = 2,
    .complete = COMPLETE_CONTAINER,
    .run = run_rename,
};
const struct command command_top = {
    .name = "top",
    .args = "CONTAINER [ps OPTIONS]",
    .summary = "Display the running processes of a container",
    .args_min = 1,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_top,
};
const struct command command_port = {
    .name = "port",
    .args = "CONTAINER [PRIVATE_PORT[/PROTO]]",
    .summary = "List port mappings or a specific mapping for the container",
    .args_min = 1,
    .args_max = 2,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_port,
};
const struct command command_logs = {
    .name = "logs",
    .args = "CONTAINER",
    .summary = "Fetch the logs of a container",
    .options = logs_option_table,
    .options_size = sizeof(struct logs_options),
    .args_min = 1,
    .args_max = 1,
    .complete = COMPLETE_CONTAINER,
    .run = run_logs,
};
