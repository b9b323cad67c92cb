/* SPDX-License-Identifier: Apache-2.0 */
/* events, info, version. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/alloc.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/units.h"

/* --- events ------------------------------------------------------------------------------ */

struct events_options {
    char **filters;
    char *format, *since, *until;
};

#define EO struct events_options
static const struct option_def events_option_table[] = {
    OPT(EO, filters, "filter", 'f', OPTION_LIST, "filter",
        "Filter output based on conditions provided",
        .words = "container= event= image= label= type= network="),
    OPT(EO, format, "format", 0, OPTION_STR, NULL, "Format output: 'json' or a Go template",
        .words = "json"),
    OPT(EO, since, "since", 0, OPTION_STR, NULL, "Show all events created since timestamp"),
    OPT(EO, until, "until", 0, OPTION_STR, NULL, "Stream events until this timestamp"),
    OPT_END,
};

/* "2026-01-02T03:04:05.123456789+01:00", local time. */
static void put_local_time(struct buf *out, int64_t ns)
{
    time_t seconds = (time_t)(ns / NSEC_PER_SEC);
    struct tm tm;
    char date[32], zone[16];

    (void)localtime_r(&seconds, &tm);
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)strftime(zone, sizeof zone, "%z", &tm);
    (void)buf_printf(out, "%s.%09lld", date, (long long)(ns % NSEC_PER_SEC));
    if (STREQ(zone, "+0000"))
        (void)buf_putc(out, 'Z');
    else
        (void)buf_printf(out, "%.3s:%s", zone, zone + 3);
}

struct attribute {
    const char *key, *value;
};

static int compare_attributes(const void *a, const void *b)
{
    const struct attribute *x = a, *y = b;

    return strcmp(x->key, y->key);
}

/* "TIME container create ID (image=busybox, name=x)" */
static void put_event(struct buf *out, const struct json_value *event)
{
    const struct json_value *actor = json_value_get(event, "Actor");
    const struct json_value *attributes = json_value_get(actor, "Attributes");
    size_t n = json_value_len(attributes);
    AUTOFREE struct attribute *list = xcalloc(n + 1, sizeof *list);
    int64_t ns = json_value_int(json_value_get(event, "timeNano"));

    put_local_time(out, ns ? ns : json_value_int(json_value_get(event, "time")) * NSEC_PER_SEC);
    (void)buf_printf(out, " %s %s %s", jstr(event, "Type"), jstr(event, "Action"),
                     jstr(actor, "ID"));
    for (size_t i = 0; i < n; i++) {
        const char *value = json_value_str(json_value_member(attributes, i, &list[i].key));

        list[i].value = value ? value : "";
    }
    qsort(list, n, sizeof *list, compare_attributes);
    for (size_t i = 0; i < n; i++)
        (void)buf_printf(out, "%s%s=%s", i ? ", " : " (", list[i].key, list[i].value);
    (void)buf_puts(out, n ? ")\n" : "\n");
}

static int show_event(const struct events_options *o, const char *text, size_t len, struct error *e)
{
    AUTOPTR(json_value) struct json_value *event = NULL;
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    int r;

    while (len && strchr(" \r\n\t", text[len - 1]))
        len--;
    if (!len)
        return 0;
    r = json_value_parse(text, len, &event, e);
    if (r == 0 && o->format && *o->format)
        r = format_object(o->format, event, &out, e);
    else if (r == 0)
        put_event(&out, event);
    if (r == 0)
        out_write(buf_str(&out), out.len);
    return r;
}

/* A time for the daemon, which knows the same forms; checked here so that the words are ours. */
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

/* Each line of the endless answer as it comes. */
static int follow_events(const struct events_options *o, struct http_conn *conn, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 20);

    for (;;) {
        char *room = buf_reserve(&b, 8192), *nl;
        ssize_t n;

        if (!room)
            return error_set(e, ERR_TOO_LARGE, "the daemon sent an over-long event");
        n = http_conn_read(conn, room, 8192, e);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return show_event(o, buf_str(&b), b.len, e);
        buf_commit(&b, (size_t)n);
        while ((nl = memchr(b.data, '\n', b.len))) {
            size_t len = (size_t)(nl - b.data);
            int r = show_event(o, b.data, len, e);

            if (r < 0)
                return r;
            buf_consume(&b, len + 1);
        }
    }
}

static int run_events(struct cli *cli, void *options, char **args, size_t n)
{
    const struct events_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *filters = NULL;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res CLEANUP(http_response_done) = {0};

    url_set(&u, "/events", NULL, NULL);
    if (filters_json(o->filters, &filters, &e) < 0 || add_time(&u, "since", o->since, &e) < 0 ||
        add_time(&u, "until", o->until, &e) < 0)
        return cli_fail(&e);
    url_add(&u, "filters", filters);
    if (api_open(cli, "GET", &u, NULL, false, &conn, &res, &e) < 0 ||
        follow_events(o, conn, &e) < 0)
        return cli_fail(&e);
    return 0;
}

/* --- version ----------------------------------------------------------------------------- */

struct version_options {
    char *format;
};

static const struct option_def version_option_table[] = {
    OPT(struct version_options, format, "format", 'f', OPTION_STR, NULL,
        "Format output: 'json' or a Go template", .words = "json"),
    OPT_END,
};

static const char *machine(void)
{
    static struct utsname uts;

    (void)uname(&uts);
    if (STREQ(uts.machine, "x86_64"))
        return "amd64";
    return STREQ(uts.machine, "aarch64") ? "arm64" : uts.machine;
}

static void put_client(const struct cli *cli, struct buf *out)
{
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    jsonw_begin(&w, "Client");
    jsonw_str(&w, "Version", POUCH_VERSION);
    jsonw_str(&w, "ApiVersion", cli->api_version);
    jsonw_str(&w, "DefaultAPIVersion", CLI_API_VERSION);
    jsonw_str(&w, "Os", "linux");
    jsonw_str(&w, "Arch", machine());
    jsonw_end(&w);
}

static void print_version(const struct json_value *v)
{
    const struct json_value *client = json_value_get(v, "Client");
    const struct json_value *server = json_value_get(v, "Server");
    const struct json_value *components = json_value_get(server, "Components");

    out_printf(
        "Client:\n Version:           %s\n API version:       %s\n OS/Arch:           %s/%s\n",
        jstr(client, "Version"), jstr(client, "ApiVersion"), jstr(client, "Os"),
        jstr(client, "Arch"));
    if (!server || json_value_kind(server) != JV_OBJ)
        return;
    out_printf(
        "\nServer:\n Engine:\n  Version:          %s\n  API version:      %s (minimum version "
        "%s)\n",
        jstr(server, "Version"), jstr(server, "ApiVersion"), jstr(server, "MinAPIVersion"));
    if (*jstr(server, "GitCommit"))
        out_printf("  Git commit:       %s\n", jstr(server, "GitCommit"));
    if (*jstr(server, "BuildTime"))
        out_printf("  Built:            %s\n", jstr(server, "BuildTime"));
    out_printf("  OS/Arch:          %s/%s\n", jstr(server, "Os"), jstr(server, "Arch"));
    if (*jstr(server, "KernelVersion"))
        out_printf("  Kernel version:   %s\n", jstr(server, "KernelVersion"));
    for (size_t i = 0; i < json_value_len(components); i++) {
        const struct json_value *c = json_value_at(components, i);

        if (!STREQ(jstr(c, "Name"), "Engine"))
            out_printf(" %s:\n  Version:          %s\n", jstr(c, "Name"), jstr(c, "Version"));
    }
}

static int run_version(struct cli *cli, void *options, char **args, size_t n)
{
    const struct version_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(error) struct error unreachable = ERROR_INIT;
    AUTO(buf) struct buf answer = BUF_INIT(1 << 20);
    AUTO(buf) struct buf both = BUF_INIT(2 << 20);
    AUTO(buf) struct buf out = BUF_INIT(2 << 20);
    AUTOPTR(json_value) struct json_value *v = NULL;
    int reached;

    url_set(&u, "/version", NULL, NULL);
    reached = api_call(cli, "GET", &u, NULL, &answer, &unreachable);
    put_client(cli, &both);
    (void)buf_printf(&both, ",\"Server\":%s}", reached >= 0 ? buf_str(&answer) : "null");
    if (json_value_parse(both.data, both.len, &v, &e) < 0)
        return cli_fail(&e);
    if (!o->format || !*o->format)
        print_version(v);
    else if (format_object(o->format, v, &out, &e) < 0)
        return cli_fail(&e);
    out_write(buf_str(&out), out.len);
    return reached < 0 ? cli_fail(&unreachable) : 0;
}

/* --- info -------------------------------------------------------------------------------- */

static const struct option_def info_option_table[] = {
    OPT(struct version_options, format, "format", 'f', OPTION_STR, NULL,
        "Format output: 'json' or a Go template", .words = "json"),
    OPT_END,
};

/* What is shown, in this order: the title, the field, how. */
static const struct info_line {
    const char *title, *field;
    enum { INFO_STR, INFO_INT, INFO_BOOL, INFO_BYTES, INFO_LIST, INFO_PAIRS } kind;
} info_lines[] = {
    {"Containers", "Containers", INFO_INT},
    {" Running", "ContainersRunning", INFO_INT},
    {" Paused", "ContainersPaused", INFO_INT},
    {" Stopped", "ContainersStopped", INFO_INT},
    {"Images", "Images", INFO_INT},
    {"Server Version", "ServerVersion", INFO_STR},
    {"Storage Driver", "Driver", INFO_STR},
    {NULL, "DriverStatus", INFO_PAIRS},
    {"Logging Driver", "LoggingDriver", INFO_STR},
    {"Cgroup Driver", "CgroupDriver", INFO_STR},
    {"Cgroup Version", "CgroupVersion", INFO_STR},
    {"Default Runtime", "DefaultRuntime", INFO_STR},
    {"Init Binary", "InitBinary", INFO_STR},
    {"Security Options", "SecurityOptions", INFO_LIST},
    {"Kernel Version", "KernelVersion", INFO_STR},
    {"Operating System", "OperatingSystem", INFO_STR},
    {"OSType", "OSType", INFO_STR},
    {"Architecture", "Architecture", INFO_STR},
    {"CPUs", "NCPU", INFO_INT},
    {"Total Memory", "MemTotal", INFO_BYTES},
    {"Name", "Name", INFO_STR},
    {"ID", "ID", INFO_STR},
    {"Pouch Root Dir", "DockerRootDir", INFO_STR},
    {"Debug Mode", "Debug", INFO_BOOL},
    {"HTTP Proxy", "HttpProxy", INFO_STR},
    {"HTTPS Proxy", "HttpsProxy", INFO_STR},
    {"No Proxy", "NoProxy", INFO_STR},
    {"Labels", "Labels", INFO_LIST},
    {"Experimental", "ExperimentalBuild", INFO_BOOL},
    {"Live Restore Enabled", "LiveRestoreEnabled", INFO_BOOL},
};

static void print_info_line(const struct info_line *line, const struct json_value *v)
{
    char bytes[UNITS_MAX];

    switch (line->kind) {
    case INFO_STR:
        if (json_value_str(v) && *json_value_str(v))
            out_printf(" %s: %s\n", line->title, json_value_str(v));
        break;
    case INFO_INT:
        out_printf(" %s: %lld\n", line->title, (long long)json_value_int(v));
        break;
    case INFO_BOOL:
        out_printf(" %s: %s\n", line->title, json_value_bool(v) ? "true" : "false");
        break;
    case INFO_BYTES:
        out_printf(" %s: %s\n", line->title, units_bytes(json_value_int(v), bytes));
        break;
    case INFO_LIST:
        if (json_value_len(v))
            out_printf(" %s:\n", line->title);
        for (size_t i = 0; i < json_value_len(v); i++)
            out_printf("  %s\n", json_value_str(json_value_at(v, i)));
        break;
    case INFO_PAIRS:
        for (size_t i = 0; i < json_value_len(v); i++) {
            const char *key = json_value_str(json_value_at(json_value_at(v, i), 0));
            const char *value = json_value_str(json_value_at(json_value_at(v, i), 1));

            out_printf("  %s: %s\n", key ? key : "", value ? value : "");
        }
        break;
    }
}

static void print_info(const struct cli *cli, const struct json_value *v)
{
    const struct json_value *warnings = json_value_get(v, "Warnings");

    out_printf("Client:\n Version: %s\n Debug Mode: %s\n\nServer:\n", POUCH_VERSION,
               cli->debug ? "true" : "false");
    for (size_t i = 0; i < ARRAY_SIZE(info_lines); i++) {
        const struct json_value *field = json_value_get(v, info_lines[i].field);

        if (field)
            print_info_line(&info_lines[i], field);
    }
    for (size_t i = 0; i < json_value_len(warnings); i++) {
        const char *text = json_value_str(json_value_at(warnings, i));

        err_printf("%s\n", text ? text : "");
    }
}

static int run_info(struct cli *cli, void *options, char **args, size_t n)
{
    const struct version_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(json_value) struct json_value *v = NULL;

    url_set(&u, "/info", NULL, NULL);
    if (api_get(cli, &u, &v, &e) < 0)
        return cli_fail(&e);
    if (!o->format || !*o->format)
        print_info(cli, v);
    else if (format_object(o->format, v, &out, &e) < 0)
        return cli_fail(&e);
    out_write(buf_str(&out), out.len);
    return 0;
}

const struct command command_events = {
    .name = "events",
    .args = "",
    .summary = "Get real time events from the server",
    .options = events_option_table,
    .options_size = sizeof(struct events_options),
    .args_min = 0,
    .args_max = 0,
    .run = run_events,
};
const struct command command_version = {
    .name = "version",
    .args = "",
    .summary = "Show the Pouch version information",
    .options = version_option_table,
    .options_size = sizeof(struct version_options),
    .args_min = 0,
    .args_max = 0,
    .flags = COMMAND_COMMON,
    .run = run_version,
};
const struct command command_info = {
    .name = "info",
    .args = "",
    .summary = "Display system-wide information",
    .options = info_option_table,
    .options_size = sizeof(struct version_options),
    .args_min = 0,
    .args_max = 0,
    .flags = COMMAND_COMMON,
    .run = run_info,
};
