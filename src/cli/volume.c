/* SPDX-License-Identifier: Apache-2.0 */
/* `volume create`, `ls`, `inspect`, `rm`. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/format.h"

/* --- create --------------------------------------------------------------------------------- */

struct volume_create_options {
    char *driver, *name;
    char **labels, **opts;
};

#define VO struct volume_create_options
static const struct option_def create_table[] = {
    OPT(VO, driver, "driver", 'd', OPTION_STR, NULL, "Specify volume driver name",
        .initial = "local", .words = "local"),
    OPT(VO, labels, "label", 0, OPTION_LIST, NULL, "Set metadata for a volume"),
    OPT(VO, name, "name", 'n', OPTION_STR, NULL, "Name of the volume, instead of the argument"),
    OPT(VO, opts, "opt", 'o', OPTION_LIST, "map",
        "Set driver specific options: size=10g, inodes=100k; type=none, o=bind, device=/FOLDER"),
    OPT_END,
};

static int put_pairs(struct jsonw *w, const char *key, char *const *list, const char *flag,
                     bool need_value, struct error *e)
{
    struct json_map map = {0};
    int r = 0;

    for (char *const *l = list; r == 0 && l && *l; l++) {
        size_t len = strcspn(*l, "=");
        AUTOFREE char *name = xstrndup(*l, len);

        if (!len || (need_value && !(*l)[len]))
            r = error_set(e, ERR_INVALID,
                          "invalid argument \"%s\" for \"--%s\" flag: want KEY=VALUE", *l, flag);
        else
            json_map_set(&map, name, (*l)[len] ? *l + len + 1 : "");
    }
    if (r == 0 && map.len)
        jsonw_map(w, key, &map);
    json_map_done(&map);
    return r;
}

static int run_create(struct cli *cli, void *options, char **args, size_t n)
{
    const VO *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf answer = BUF_INIT(1 << 20);
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    struct jsonw w = {.out = &body};
    const char *name = n ? args[0] : o->name;
    int r;

    if (n && o->name && !STREQ(o->name, args[0])) {
        err_printf("Conflicting options: either specify --name or provide positional arg, not "
                   "both\n");
        return 1;
    }
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Name", name);
    jsonw_str(&w, "Driver", o->driver);
    r = put_pairs(&w, "DriverOpts", o->opts, "opt", true, &e);
    if (r == 0)
        r = put_pairs(&w, "Labels", o->labels, "label", false, &e);
    jsonw_end(&w);
    url_set(&u, "/volumes/create", NULL, NULL);
    if (r == 0)
        r = api_call(cli, "POST", &u, buf_str(&body), &answer, &e);
    if (r >= 0)
        r = json_value_parse(buf_str(&answer), answer.len, &v, &e);
    if (r < 0)
        return cli_fail(&e);
    out_printf("%s\n", jstr(v, "Name"));
    return 0;
}

const struct command command_volume_create = {
    .name = "create",
    .args = "[VOLUME]",
    .summary = "Create a volume",
    .options = create_table,
    .options_size = sizeof(VO),
    .args_max = 1,
    .run = run_create,
};

/* --- ls --------------------------------------------------------------------------------------- */

struct volume_ls_options {
    bool quiet;
    char *format;
};

static const struct option_def ls_table[] = {
    OPT(struct volume_ls_options, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "table json"),
    OPT(struct volume_ls_options, quiet, "quiet", 'q', OPTION_BOOL, NULL,
        "Only display volume names"),
    OPT_END,
};
static const char *const ls_names[] = {"Driver", "Name", "Mountpoint", "Scope"};
static const struct formatter_field ls_fields[] = {
    {"Driver", "DRIVER"}, {"Name", "VOLUME NAME"}, {"Mountpoint", "MOUNTPOINT"}, {"Scope", "SCOPE"},
    {NULL, NULL},
};

static int ls_row(struct formatter *f, const struct json_value *v, struct error *e)
{
    const char *values[ARRAY_SIZE(ls_names)];

    for (size_t i = 0; i < ARRAY_SIZE(ls_names); i++)
        values[i] = jstr(v, ls_names[i]);
    return formatter_row(f, values, json_value_get(v, "Labels"), e);
}

static int run_ls(struct cli *cli, void *options, char **args, size_t n)
{
    const struct volume_ls_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    struct formatter f CLEANUP(formatter_done) = {0};
    const struct json_value *list;
    int r;

    url_set(&u, "/volumes", NULL, NULL);
    if (api_get(cli, &u, &v, &e) < 0)
        return cli_fail(&e);
    list = json_value_get(v, "Volumes");
    r = formatter_init(&f, o->quiet && !o->format ? "{{.Name}}" : o->format,
                       "{{.Driver}}\t{{.Name}}", ls_fields, &e);
    for (size_t i = 0; r == 0 && i < json_value_len(list); i++)
        r = ls_row(&f, json_value_at(list, i), &e);
    if (r < 0)
        return cli_fail(&e);
    formatter_finish(&f);
    return 0;
}

const struct command command_volume_ls = {
    .name = "ls",
    .aliases = "list",
    .args = "",
    .summary = "List volumes",
    .options = ls_table,
    .options_size = sizeof(struct volume_ls_options),
    .run = run_ls,
};

/* --- rm ---------------------------------------------------------------------------------------- */

struct volume_rm_options {
    bool force;
};
static const struct option_def rm_table[] = {
    OPT(struct volume_rm_options, force, "force", 'f', OPTION_BOOL, NULL,
        "Do not fail for volumes that are not there"),
    OPT_END,
};

static int rm_one(struct cli *cli, const char *name, void *data, struct error *e)
{
    const struct volume_rm_options *o = data;
    struct url u CLEANUP(url_done) = URL_INIT;
    int r;

    url_set(&u, "/volumes/", name, NULL);
    url_add_bool(&u, "force", o->force);
    r = api_call(cli, "DELETE", &u, NULL, NULL, e);
    if (r < 0)
        return r;
    out_printf("%s\n", name);
    return 0;
}

static int run_rm(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each(cli, args, rm_one, options);
}

const struct command command_volume_rm = {
    .name = "rm",
    .aliases = "remove",
    .args = "VOLUME [VOLUME...]",
    .summary = "Remove volumes that no container uses",
    .options = rm_table,
    .options_size = sizeof(struct volume_rm_options),
    .args_min = 1,
    .args_max = -1,
    .run = run_rm,
};
