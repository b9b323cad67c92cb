/* SPDX-License-Identifier: Apache-2.0 */
/* ps: the list of containers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/ports.h"
#include "cli/units.h"

struct ps_options {
    bool all, latest, no_trunc, quiet, size;
    struct opt_int last;
    char **filters;
    char *format;
};

#define PO struct ps_options
static const struct option_def ps_option_table[] = {
    OPT(PO, all, "all", 'a', OPTION_BOOL, NULL, "Show all containers (default shows just running)"),
    OPT(PO, filters, "filter", 'f', OPTION_LIST, "filter",
        "Filter output based on conditions provided",
        .words = "id= name= label= status= exited= ancestor= network= publish= before= since="),
    OPT(PO, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(PO, last, "last", 'n', OPTION_INT, NULL,
        "Show n last created containers (includes all states)"),
    OPT(PO, latest, "latest", 'l', OPTION_BOOL, NULL,
        "Show the latest created container (includes all states)"),
    OPT(PO, no_trunc, "no-trunc", 0, OPTION_BOOL, NULL, "Don't truncate output"),
    OPT(PO, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Only display container IDs"),
    OPT(PO, size, "size", 's', OPTION_BOOL, NULL, "Display total file sizes"),
    OPT_END,
};

enum field {
    F_COMMAND,
    F_CREATED_AT,
    F_ID,
    F_IMAGE,
    F_LABELS,
    F_LOCAL_VOLUMES,
    F_MOUNTS,
    F_NAMES,
    F_NETWORKS,
    F_PORTS,
    F_RUNNING_FOR,
    F_SIZE,
    F_STATE,
    F_STATUS,
    F_MAX
};
static const struct formatter_field fields[] = {
    [F_COMMAND] = {"Command", "COMMAND"},
    [F_CREATED_AT] = {"CreatedAt", "CREATED AT"},
    [F_ID] = {"ID", "CONTAINER ID"},
    [F_IMAGE] = {"Image", "IMAGE"},
    [F_LABELS] = {"Labels", "LABELS"},
    [F_LOCAL_VOLUMES] = {"LocalVolumes", "LOCAL VOLUMES"},
    [F_MOUNTS] = {"Mounts", "MOUNTS"},
    [F_NAMES] = {"Names", "NAMES"},
    [F_NETWORKS] = {"Networks", "NETWORKS"},
    [F_PORTS] = {"Ports", "PORTS"},
    [F_RUNNING_FOR] = {"RunningFor", "CREATED"},
    [F_SIZE] = {"Size", "SIZE"},
    [F_STATE] = {"State", "STATE"},
    [F_STATUS] = {"Status", "STATUS"},
    [F_MAX] = {NULL, NULL},
};

/* At most `max` characters, the last an ellipsis. */
static char *ellipsis(const char *s, size_t max)
{
    size_t chars = 0, cut = 0;

    for (size_t i = 0; s[i]; i++) {
        if (((unsigned char)s[i] & 0xc0) == 0x80)
            continue;
        if (chars == max - 1)
            cut = i;
        chars++;
    }
    return chars <= max ? xstrdup(s) : xasprintf("%.*s…", (int)cut, s);
}

static char *join_names(const struct json_value *list)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    for (size_t i = 0; i < json_value_len(list); i++) {
        const char *name = json_value_str(json_value_at(list, i));

        if (!name || strchr(name + (*name == '/'), '/')) /* the alias of a link */
            continue;
        (void)buf_printf(&b, "%s%s", b.len ? "," : "", name + (*name == '/'));
    }
    return buf_take(&b);
}

static char *join_labels(const struct json_value *labels)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    for (size_t i = 0; i < json_value_len(labels); i++) {
        const char *key = "", *value = json_value_str(json_value_member(labels, i, &key));

        (void)buf_printf(&b, "%s%s=%s", i ? "," : "", key, value ? value : "");
    }
    return buf_take(&b);
}

static char *join_keys(const struct json_value *map)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    for (size_t i = 0; i < json_value_len(map); i++) {
        const char *key = "";

        (void)json_value_member(map, i, &key);
        (void)buf_printf(&b, "%s%s", i ? "," : "", key);
    }
    return buf_take(&b);
}

static char *join_mounts(const struct json_value *mounts, bool no_trunc, size_t *ret_local)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    *ret_local = 0;
    for (size_t i = 0; i < json_value_len(mounts); i++) {
        const struct json_value *m = json_value_at(mounts, i);
        const char *name = *jstr(m, "Name") ? jstr(m, "Name") : jstr(m, "Source");
        AUTOFREE char *cut = no_trunc ? xstrdup(name) : ellipsis(name, 15);

        *ret_local += STREQ(jstr(m, "Driver"), "local");
        (void)buf_printf(&b, "%s%s", b.len ? "," : "", cut);
    }
    return buf_take(&b);
}

static char *size_text(const struct json_value *c)
{
    char rw[UNITS_MAX], virtual[UNITS_MAX];
    int64_t root = json_value_int(json_value_get(c, "SizeRootFs"));

    (void)units_size(json_value_int(json_value_get(c, "SizeRw")), rw);
    if (root <= 0)
        return xstrdup(rw);
    return xasprintf("%s (virtual %s)", rw, units_size(root, virtual));
}

/* "2026-01-02 03:04:05 +0000 UTC", in local time, as Go prints a time. */
static char *created_at(int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    char text[64];

    (void)localtime_r(&t, &tm);
    return xstrdup(strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z %Z", &tm) ? text : "");
}

/* An image named by its id only is shown as its short id. */
static const char *image_text(const struct json_value *c, bool no_trunc, char out[80])
{
    const char *image = jstr(c, "Image"), *id = jstr(c, "ImageID");

    if (!*image)
        return "<no image>";
    if (!no_trunc && STREQ(image, id)) {
        const char *hex = strchr(id, ':') ? strchr(id, ':') + 1 : id;

        (void)snprintf(out, 80, "%.12s", hex);
        return out;
    }
    return image;
}

struct ps {
    const struct ps_options *o;
    struct formatter f;
    int64_t now;
};

static int ps_row(const struct json_value *c, void *data, struct error *e)
{
    struct ps *ps = data;
    const struct ps_options *o = ps->o;
    struct formatter *f = &ps->f;
    int64_t created = json_value_int(json_value_get(c, "Created"));
    AUTOFREE char *id = xasprintf(o->no_trunc ? "%s" : "%.12s", jstr(c, "Id"));
    AUTOFREE char *command = o->no_trunc ? xstrdup(jstr(c, "Command"))
                                         : ellipsis(jstr(c, "Command"), 20);
    AUTO(buf) struct buf quoted = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *names = join_names(json_value_get(c, "Names"));
    AUTOFREE char *ports = ports_text(json_value_get(c, "Ports"));
    AUTOFREE char *labels = NULL, *mounts = NULL, *networks = NULL, *size = NULL, *at = NULL;
    AUTOFREE char *running = NULL, *local = NULL;
    const struct json_value *net = json_value_get(c, "NetworkSettings");
    char since[UNITS_MAX], image[80];
    const char *values[F_MAX + 1] = {NULL};
    size_t nlocal = 0;

    json_quote(&quoted, command, strlen(command));
    running = xasprintf("%s ago", units_duration(ps->now - created, since));
    if (!f->table || o->format) { /* what only a format can ask for */
        labels = join_labels(json_value_get(c, "Labels"));
        mounts = join_mounts(json_value_get(c, "Mounts"), o->no_trunc, &nlocal);
        networks = join_keys(json_value_get(net, "Networks"));
        at = created_at(created);
        local = xasprintf("%zu", nlocal);
    }
    size = size_text(c);
    values[F_COMMAND] = buf_str(&quoted);
    values[F_CREATED_AT] = at;
    values[F_ID] = id;
    values[F_IMAGE] = image_text(c, o->no_trunc, image);
    values[F_LABELS] = labels;
    values[F_LOCAL_VOLUMES] = local;
    values[F_MOUNTS] = mounts;
    values[F_NAMES] = names;
    values[F_NETWORKS] = networks;
    values[F_PORTS] = ports;
    values[F_RUNNING_FOR] = running;
    values[F_SIZE] = size;
    values[F_STATE] = jstr(c, "State");
    values[F_STATUS] = jstr(c, "Status");
    return formatter_row(f, values, json_value_get(c, "Labels"), e);
}

static int run_ps(struct cli *cli, void *options, char **args, size_t n)
{
    const struct ps_options *o = options;
    const char *by_default =
        o->size ? "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t"
                  "{{.Names}}\t{{.Size}}"
                : "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t"
                  "{{.Names}}";
    struct ps ps = {.o = o, .now = time_now_ns() / NSEC_PER_SEC};
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *filters = NULL;
    int r = filters_json(o->filters, &filters, &e);

    if (r == 0)
        r = formatter_init(&ps.f, o->quiet && !o->format ? "{{.ID}}" : o->format, by_default,
                           fields, &e);
    url_set(&u, "/containers/json", NULL, NULL);
    url_add_bool(&u, "all", o->all);
    url_add_bool(&u, "size", o->size || (o->format && strstr(o->format, ".Size")));
    if (o->latest || (o->last.set && o->last.value > 0))
        url_add_int(&u, "limit", o->latest ? 1 : o->last.value);
    url_add(&u, "filters", filters);
    if (r == 0)
        r = api_list(cli, &u, ps_row, &ps, &e);
    if (r == 0)
        formatter_finish(&ps.f);
    formatter_done(&ps.f);
    return r < 0 ? cli_fail(&e) : 0;
}

#define PS_COMMAND                                                                                 \
    .args = "", .summary = "List containers", .options = ps_option_table,                          \
    .options_size = sizeof(struct ps_options), .args_min = 0, .args_max = 0, .run = run_ps
const struct command command_ps = {.name = "ps", .flags = COMMAND_COMMON, PS_COMMAND};
const struct command command_container_ls = {.name = "ls", .aliases = "ps list", PS_COMMAND};
