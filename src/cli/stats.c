/* SPDX-License-Identifier: Apache-2.0 */
/* stats: what containers use, once or each second. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/units.h"

struct stats_options {
    bool all, no_stream, no_trunc;
    char *format;
};

#define SO struct stats_options
static const struct option_def stats_option_table[] = {
    OPT(SO, all, "all", 'a', OPTION_BOOL, NULL, "Show all containers (default shows just running)"),
    OPT(SO, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(SO, no_stream, "no-stream", 0, OPTION_BOOL, NULL,
        "Disable streaming stats and only pull the first result"),
    OPT(SO, no_trunc, "no-trunc", 0, OPTION_BOOL, NULL, "Do not truncate output"),
    OPT_END,
};

enum field { F_BLOCK, F_CONTAINER, F_CPU, F_ID, F_MEM, F_USAGE, F_NAME, F_NET, F_PIDS, F_MAX };
static const struct formatter_field fields[] = {
    [F_BLOCK] = {"BlockIO", "BLOCK I/O"}, [F_CONTAINER] = {"Container", "CONTAINER"},
    [F_CPU] = {"CPUPerc", "CPU %"},       [F_ID] = {"ID", "CONTAINER ID"},
    [F_MEM] = {"MemPerc", "MEM %"},       [F_USAGE] = {"MemUsage", "MEM USAGE / LIMIT"},
    [F_NAME] = {"Name", "NAME"},          [F_NET] = {"NetIO", "NET I/O"},
    [F_PIDS] = {"PIDs", "PIDS"},          [F_MAX] = {NULL, NULL},
};

/* Of the round before, for the rate. */
struct sample {
    uint64_t cpu, system;
};

struct stats {
    const struct stats_options *o;
    struct map *before; /* id -> struct sample */
    char **missing;     /* names whose failure was told already */
};

static int64_t number(const struct json_value *v, const char *a, const char *b)
{
    v = json_value_get(v, a);
    return json_value_int(b ? json_value_get(v, b) : v);
}

/* Of all processors together: one that is busy is 100 %. */
static double cpu_percent(struct stats *st, const char *id, const struct json_value *v)
{
    const struct json_value *cpu = json_value_get(v, "cpu_stats");
    uint64_t total = (uint64_t)number(cpu, "cpu_usage", "total_usage");
    uint64_t system = (uint64_t)number(cpu, "system_cpu_usage", NULL);
    int64_t ncpu = number(cpu, "online_cpus", NULL);
    struct sample *s = map_get(st->before, id);
    double percent = 0;

    if (!s) {
        s = xcalloc(1, sizeof(*s));
        (void)map_set(st->before, id, s);
    } else if (total > s->cpu && system > s->system) {
        percent = (double)(total - s->cpu) / (double)(system - s->system) * (double)ncpu * 100;
    }
    *s = (struct sample){total, system};
    return percent;
}

/* Without the page cache that can be dropped at once, as docker's command line counts. */
static int64_t memory_used(const struct json_value *v)
{
    const struct json_value *m = json_value_get(v, "memory_stats");
    int64_t usage = number(m, "usage", NULL);
    int64_t cache = number(m, "stats", "total_inactive_file");

    if (!cache)
        cache = number(m, "stats", "inactive_file");
    return cache < usage ? usage - cache : usage;
}

static char *network_text(const struct json_value *v)
{
    const struct json_value *networks = json_value_get(v, "networks");
    char rx[UNITS_MAX], tx[UNITS_MAX];
    int64_t in = 0, out = 0;

    for (size_t i = 0; i < json_value_len(networks); i++) {
        const struct json_value *n = json_value_member(networks, i, NULL);

        in += number(n, "rx_bytes", NULL);
        out += number(n, "tx_bytes", NULL);
    }
    return xasprintf("%s / %s", units_size(in, rx), units_size(out, tx));
}

static char *block_text(const struct json_value *v)
{
    const struct json_value *list = json_value_get(json_value_get(v, "blkio_stats"),
                                                   "io_service_bytes_recursive");
    char r[UNITS_MAX], w[UNITS_MAX];
    int64_t read = 0, written = 0;

    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *entry = json_value_at(list, i);
        const char *op = jstr(entry, "op");

        if (*op == 'r' || *op == 'R')
            read += number(entry, "value", NULL);
        else if (*op == 'w' || *op == 'W')
            written += number(entry, "value", NULL);
    }
    return xasprintf("%s / %s", units_size(read, r), units_size(written, w));
}

static int show(struct stats *st, struct formatter *f, const char *asked,
                const struct json_value *v, struct error *e)
{
    const char *name = jstr(v, "name"), *id = jstr(v, "id");
    int64_t used = memory_used(v), limit = number(v, "memory_stats", "limit");
    double cpu_value = cpu_percent(st, id, v);
    AUTOFREE char *short_id = xasprintf(st->o->no_trunc ? "%s" : "%.12s", id);
    AUTOFREE char *cpu = xasprintf("%.2f%%", cpu_value);
    AUTOFREE char *mem = xasprintf("%.2f%%", limit > 0 ? (double)used / (double)limit * 100 : 0.0);
    AUTOFREE char *pids = xasprintf("%lld", (long long)number(v, "pids_stats", "current"));
    AUTOFREE char *net = network_text(v), *block = block_text(v), *usage = NULL;
    const char *values[F_MAX + 1] = {NULL};
    char a[UNITS_MAX], b[UNITS_MAX];

    usage = xasprintf("%s / %s", units_bytes(used, a), units_bytes(limit, b));
    values[F_BLOCK] = block;
    values[F_CONTAINER] = asked;
    values[F_CPU] = cpu;
    values[F_ID] = short_id;
    values[F_MEM] = mem;
    values[F_USAGE] = usage;
    values[F_NAME] = name + (*name == '/');
    values[F_NET] = net;
    values[F_PIDS] = pids;
    return formatter_row(f, values, NULL, e);
}

static int add_id(const struct json_value *v, void *data, struct error *e)
{
    strv_push(data, jstr(v, "Id"));
    return 0;
}

static int list_running(struct cli *cli, bool all, char ***ret, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/containers/json", NULL, NULL);
    url_add_bool(&u, "all", all);
    return api_list(cli, &u, add_id, ret, e);
}

/* One row a container; f NULL: only remembers the numbers. Those that are gone are left out, those
 * that were asked for by name and never were are an error. */
static int round_of(struct cli *cli, struct stats *st, char **names, struct formatter *f,
                    bool first, struct error *e)
{
    AUTOPTR(strv) char **all = NULL;
    int r = 0;

    if (!names[0]) {
        r = list_running(cli, st->o->all, &all, e);
        if (r < 0)
            return r;
        names = all;
    }
    for (size_t i = 0; r >= 0 && names && names[i]; i++) {
        struct url u CLEANUP(url_done) = URL_INIT;
        AUTO(error) struct error why = ERROR_INIT;
        AUTOPTR(json_value) struct json_value *v = NULL;

        url_set(&u, "/containers/", names[i], "/stats");
        url_add(&u, "stream", "0");
        url_add(&u, "one-shot", "1");
        if (api_get(cli, &u, &v, &why) < 0) {
            if (why.code == ERR_NOT_FOUND && !(first && !all))
                continue;
            error_move(e, &why);
            return -EIO;
        }
        if (f)
            r = show(st, f, names[i], v, e);
        else
            (void)cpu_percent(st, jstr(v, "id"), v);
    }
    return r;
}

static int run_rounds(struct cli *cli, struct stats *st, char **names, struct error *e)
{
    const char *by_default = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t"
                             "{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
    bool clear = isatty(STDOUT_FILENO) && !st->o->no_stream;
    int r = round_of(cli, st, names, NULL, true, e);

    while (r >= 0) {
        struct formatter f = {0};

        (void)usleep(1000 * 1000);
        r = formatter_init(&f, st->o->format, by_default, fields, e);
        if (r >= 0)
            r = round_of(cli, st, names, &f, false, e);
        if (r >= 0) {
            if (clear)
                out_puts("\033[2J\033[H");
            formatter_finish(&f);
            (void)fflush(stdout);
        }
        formatter_done(&f);
        if (st->o->no_stream)
            break;
    }
    return r;
}

static int run_stats(struct cli *cli, void *options, char **args, size_t n)
{
    struct stats st = {.o = options, .before = map_new()};
    AUTO(error) struct error e = ERROR_INIT;
    int r = run_rounds(cli, &st, args, &e);

    map_free(st.before, free);
    return r < 0 ? cli_fail(&e) : 0;
}

const struct command command_stats = {
    .name = "stats",
    .args = "[CONTAINER...]",
    .summary = "Display a live stream of container(s) resource usage statistics",
    .options = stats_option_table,
    .options_size = sizeof(struct stats_options),
    .args_min = 0,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER_RUNNING,
    .run = run_stats,
};
