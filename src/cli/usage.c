/* SPDX-License-Identifier: Apache-2.0 */
/* system df, and the prune commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/image.h"
#include "cli/units.h"

/* --- system df -------------------------------------------------------------------------------- */

struct df_options {
    bool verbose;
    char *format;
};

static const struct option_def df_option_table[] = {
    OPT(struct df_options, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(struct df_options, verbose, "verbose", 'v', OPTION_BOOL, NULL,
        "Show detailed information on space usage"),
    OPT_END,
};

struct sum {
    const char *type;
    size_t count, active;
    int64_t size, reclaimable;
};

static int64_t member(const struct json_value *v, const char *key)
{
    return json_value_int(json_value_get(v, key));
}

static struct sum sum_images(const struct json_value *df)
{
    const struct json_value *list = json_value_get(df, "Images");
    struct sum s = {.type = "Images", .size = member(df, "LayersSize")};
    int64_t used = 0;

    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *v = json_value_at(list, i);

        s.count++;
        if (member(v, "Containers") > 0) {
            s.active++;
            used += member(v, "Size") - member(v, "SharedSize");
        }
    }
    s.reclaimable = s.size > used ? s.size - used : 0;
    if (s.active > 0 && s.active == s.count)
        s.reclaimable = 0;
    return s;
}

static bool is_active(const struct json_value *container)
{
    const char *state = jstr(container, "State");

    return STREQ(state, "running") || STREQ(state, "paused") || STREQ(state, "restarting");
}

static struct sum sum_containers(const struct json_value *df)
{
    const struct json_value *list = json_value_get(df, "Containers");
    struct sum s = {.type = "Containers"};

    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *v = json_value_at(list, i);
        bool active = is_active(v);

        s.count++;
        s.active += active;
        s.size += member(v, "SizeRw");
        s.reclaimable += active ? 0 : member(v, "SizeRw");
    }
    return s;
}

static struct sum sum_volumes(const struct json_value *df)
{
    const struct json_value *list = json_value_get(df, "Volumes");
    struct sum s = {.type = "Local Volumes"};

    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *u = json_value_get(json_value_at(list, i), "UsageData");
        bool active = member(u, "RefCount") > 0;

        s.count++;
        s.active += active;
        s.size += member(u, "Size");
        s.reclaimable += active ? 0 : member(u, "Size");
    }
    return s;
}

static int df_table(const struct json_value *df, const char *format, struct error *e)
{
    static const struct formatter_field fields[] = {
        {"Type", "TYPE"}, {"TotalCount", "TOTAL"},        {"Active", "ACTIVE"},
        {"Size", "SIZE"}, {"Reclaimable", "RECLAIMABLE"}, {NULL, NULL}};
    const struct sum sums[] = {sum_images(df),
                               sum_containers(df),
                               sum_volumes(df),
                               {.type = "Build Cache"}};
    struct formatter f CLEANUP(formatter_done) = {0};
    int r = formatter_init(&f, format,
                           "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
                           fields, e);

    for (size_t i = 0; i < ARRAY_SIZE(sums) && r == 0; i++) {
        const struct sum *s = &sums[i];
        char count[24], active[24], size[UNITS_MAX], reclaim[UNITS_MAX + 16], text[UNITS_MAX];

        (void)snprintf(count, sizeof count, "%zu", s->count);
        (void)snprintf(active, sizeof active, "%zu", s->active);
        (void)units_size(s->size, size);
        (void)units_size(s->reclaimable, text);
        if (s->size > 0)
            (void)snprintf(reclaim, sizeof reclaim, "%s (%lld%%)", text,
                           (long long)(s->reclaimable * 100 / s->size));
        else
            (void)snprintf(reclaim, sizeof reclaim, "%s", text);
        const char *values[] = {s->type, count, active, size, reclaim, NULL};
        r = formatter_row(&f, values, NULL, e);
    }
    if (r == 0)
        formatter_finish(&f);
    return r;
}

static void ago(int64_t seconds, char *out, size_t size)
{
    char text[UNITS_MAX];

    (void)units_duration(time_now_ns() / NSEC_PER_SEC - seconds, text);
    (void)snprintf(out, size, "%s ago", text);
}

static int df_images(const struct json_value *df, struct error *e)
{
    static const struct formatter_field fields[] = {{"Repository", "REPOSITORY"},
                                                    {"Tag", "TAG"},
                                                    {"ID", "IMAGE ID"},
                                                    {"CreatedSince", "CREATED"},
                                                    {"Size", "SIZE"},
                                                    {"SharedSize", "SHARED SIZE"},
                                                    {"UniqueSize", "UNIQUE SIZE"},
                                                    {"Containers", "CONTAINERS"},
                                                    {NULL, NULL}};
    const struct json_value *list = json_value_get(df, "Images");
    struct formatter f CLEANUP(formatter_done) = {0};
    int r = formatter_init(&f, NULL,
                           "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t"
                           "{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
                           fields, e);

    for (size_t i = 0; i < json_value_len(list) && r == 0; i++) {
        const struct json_value *v = json_value_at(list, i);
        const char *name = json_value_str(json_value_at(json_value_get(v, "RepoTags"), 0));
        AUTOFREE char *repository = NULL, *tag = NULL;
        char id[16], since[UNITS_MAX + 8], size[UNITS_MAX], shared[UNITS_MAX], unique[UNITS_MAX];
        char containers[24];

        image_split(name ? name : "<none>", &repository, &tag);
        (void)snprintf(id, sizeof id, "%.12s", jstr(v, "Id") + 7);
        ago(member(v, "Created"), since, sizeof since);
        (void)units_size(member(v, "Size"), size);
        (void)units_size(member(v, "SharedSize"), shared);
        (void)units_size(member(v, "Size") - member(v, "SharedSize"), unique);
        (void)snprintf(containers, sizeof containers, "%lld", (long long)member(v, "Containers"));
        const char *values[] = {repository, tag ? tag : "<none>", id,  since, size, shared,
                                unique,     containers,           NULL};
        r = formatter_row(&f, values, NULL, e);
    }
    if (r == 0)
        formatter_finish(&f);
    return r;
}

static int df_containers(const struct json_value *df, struct error *e)
{
    static const struct formatter_field fields[] = {
        {"ID", "CONTAINER ID"},      {"Image", "IMAGE"}, {"Command", "COMMAND"},
        {"Mounts", "LOCAL VOLUMES"}, {"Size", "SIZE"},   {"CreatedSince", "CREATED"},
        {"Status", "STATUS"},        {"Names", "NAMES"}, {NULL, NULL}};
    const struct json_value *list = json_value_get(df, "Containers");
    struct formatter f CLEANUP(formatter_done) = {0};
    int r = formatter_init(&f, NULL,
                           "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Mounts}}\t{{.Size}}\t"
                           "{{.CreatedSince}}\t{{.Status}}\t{{.Names}}",
                           fields, e);

    for (size_t i = 0; i < json_value_len(list) && r == 0; i++) {
        const struct json_value *v = json_value_at(list, i), *mounts = json_value_get(v, "Mounts");
        const char *name = json_value_str(json_value_at(json_value_get(v, "Names"), 0));
        char id[16], command[24], volumes[24], size[UNITS_MAX], since[UNITS_MAX + 8];
        size_t n = 0;

        for (size_t k = 0; k < json_value_len(mounts); k++)
            n += STREQ(jstr(json_value_at(mounts, k), "Type"), "volume");
        (void)snprintf(id, sizeof id, "%.12s", jstr(v, "Id"));
        (void)snprintf(command, sizeof command, "\"%.18s\"", jstr(v, "Command"));
        (void)snprintf(volumes, sizeof volumes, "%zu", n);
        (void)units_size(member(v, "SizeRw"), size);
        ago(member(v, "Created"), since, sizeof since);
        const char *values[] = {id,
                                jstr(v, "Image"),
                                command,
                                volumes,
                                size,
                                since,
                                jstr(v, "Status"),
                                name ? name + (*name == '/') : "",
                                NULL};
        r = formatter_row(&f, values, NULL, e);
    }
    if (r == 0)
        formatter_finish(&f);
    return r;
}

static int df_volumes(const struct json_value *df, struct error *e)
{
    static const struct formatter_field fields[] = {{"Name", "VOLUME NAME"},
                                                    {"Links", "LINKS"},
                                                    {"Size", "SIZE"},
                                                    {NULL, NULL}};
    const struct json_value *list = json_value_get(df, "Volumes");
    struct formatter f CLEANUP(formatter_done) = {0};
    int r = formatter_init(&f, NULL, "{{.Name}}\t{{.Links}}\t{{.Size}}", fields, e);

    for (size_t i = 0; i < json_value_len(list) && r == 0; i++) {
        const struct json_value *v = json_value_at(list, i), *u = json_value_get(v, "UsageData");
        char links[24], size[UNITS_MAX];

        (void)snprintf(links, sizeof links, "%lld", (long long)member(u, "RefCount"));
        (void)units_size(member(u, "Size"), size);
        const char *values[] = {jstr(v, "Name"), links, size, NULL};
        r = formatter_row(&f, values, NULL, e);
    }
    if (r == 0)
        formatter_finish(&f);
    return r;
}

static int run_df(struct cli *cli, void *options, char **args, size_t n)
{
    const struct df_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *df = NULL;
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    int r;

    url_set(&u, "/system/df", NULL, NULL);
    if (api_get(cli, &u, &df, &e) < 0)
        return cli_fail(&e);
    if (o->verbose && o->format) { /* the answer itself */
        r = format_object(o->format, df, &out, &e);
        if (r >= 0)
            out_write(buf_str(&out), out.len);
    } else if (o->verbose) {
        out_puts("Images space usage:\n\n");
        r = df_images(df, &e);
        if (r >= 0)
            out_puts("\nContainers space usage:\n\n");
        if (r >= 0 && (r = df_containers(df, &e)) >= 0)
            out_puts("\nLocal Volumes space usage:\n\n");
        if (r >= 0)
            r = df_volumes(df, &e);
    } else {
        r = df_table(df, o->format, &e);
    }
    return r < 0 ? cli_fail(&e) : 0;
}

const struct command command_system_df = {
    .name = "df",
    .args = "",
    .summary = "Show how much of the disk is used",
    .options = df_option_table,
    .options_size = sizeof(struct df_options),
    .args_min = 0,
    .args_max = 0,
    .run = run_df,
};

/* --- prune ------------------------------------------------------------------------------------ */

struct prune_options {
    bool all, force, volumes;
    char **filters;
};

#define PO struct prune_options
#define PRUNE_FORCE                                                                                \
    OPT(PO, force, "force", 'f', OPTION_BOOL, NULL, "Do not prompt for confirmation")
#define PRUNE_FILTER(text, words_)                                                                 \
    OPT(PO, filters, "filter", 0, OPTION_LIST, "filter", text, .words = words_)
static const struct option_def container_prune_table[] = {
    PRUNE_FILTER("Provide filter values (e.g. 'until=<timestamp>')", "label= label!= until="),
    PRUNE_FORCE,
    OPT_END,
};
static const struct option_def image_prune_table[] = {
    OPT(PO, all, "all", 'a', OPTION_BOOL, NULL, "Remove all unused images, not just dangling ones"),
    PRUNE_FILTER("Provide filter values (e.g. 'until=<timestamp>')", "label= label!= until="),
    PRUNE_FORCE,
    OPT_END,
};
static const struct option_def volume_prune_table[] = {
    OPT(PO, all, "all", 'a', OPTION_BOOL, NULL,
        "Remove all unused volumes, not just anonymous ones"),
    PRUNE_FILTER("Provide filter values (e.g. 'label=<label>')", "label= label!="),
    PRUNE_FORCE,
    OPT_END,
};
static const struct option_def system_prune_table[] = {
    OPT(PO, all, "all", 'a', OPTION_BOOL, NULL, "Remove all unused images not just dangling ones"),
    PRUNE_FILTER("Provide filter values (e.g. 'label=<key>=<value>')", "label= label!= until="),
    PRUNE_FORCE,
    OPT(PO, volumes, "volumes", 0, OPTION_BOOL, NULL, "Prune anonymous volumes"),
    OPT_END,
};

static bool confirmed(const struct prune_options *o, const char *warning)
{
    char line[64] = "";

    if (o->force)
        return true;
    out_printf("WARNING! %s\nAre you sure you want to continue? [y/N] ", warning);
    (void)fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        line[0] = '\0';
    return line[0] == 'y' || line[0] == 'Y';
}

static void show_pruned(const struct json_value *v, const char *key, const char *title)
{
    const struct json_value *list = json_value_get(v, key);

    if (json_value_len(list) == 0)
        return;
    out_printf("%s:\n", title);
    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *x = json_value_at(list, i);
        const char *name = json_value_str(x);

        if (name)
            out_printf("%s\n", name);
        else if (*jstr(x, "Deleted"))
            out_printf("deleted: %s\n", jstr(x, "Deleted"));
        else
            out_printf("untagged: %s\n", jstr(x, "Untagged"));
    }
    out_puts("\n");
}

/* One prune request; adds to *space. extra: a further filter, or NULL. */
static int prune(struct cli *cli, const struct prune_options *o, const char *path,
                 const char *extra, const char *key, const char *title, int64_t *space,
                 struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(strv) char **filters = strv_copy(o->filters);
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    AUTOFREE char *text = NULL;

    if (extra)
        strv_push(&filters, extra);
    int r = filters_json(filters, &text, e);
    if (r < 0)
        return r;
    url_set(&u, path, NULL, NULL);
    url_add(&u, "filters", text);
    r = api_call(cli, "POST", &u, NULL, &out, e);
    if (r >= 0)
        r = json_value_parse(buf_str(&out), out.len, &v, e);
    if (r < 0)
        return r;
    show_pruned(v, key, title);
    *space += member(v, "SpaceReclaimed");
    return 0;
}

static int prune_containers(struct cli *cli, const struct prune_options *o, int64_t *space,
                            struct error *e)
{
    return prune(cli, o, "/containers/prune", NULL, "ContainersDeleted", "Deleted Containers",
                 space, e);
}

static int prune_images(struct cli *cli, const struct prune_options *o, int64_t *space,
                        struct error *e)
{
    return prune(cli, o, "/images/prune", o->all ? "dangling=false" : "dangling=true",
                 "ImagesDeleted", "Deleted Images", space, e);
}

static int prune_volumes(struct cli *cli, const struct prune_options *o, bool all, int64_t *space,
                         struct error *e)
{
    return prune(cli, o, "/volumes/prune", all ? "all=true" : NULL, "VolumesDeleted",
                 "Deleted Volumes", space, e);
}

static int pruned(int r, const int64_t *space, const struct error *e)
{
    char text[UNITS_MAX];

    if (r < 0)
        return cli_fail(e);
    out_printf("Total reclaimed space: %s\n", units_size(*space, text));
    return 0;
}

static int run_container_prune(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(error) struct error e = ERROR_INIT;
    int64_t space = 0;

    if (!confirmed(options, "This will remove all stopped containers."))
        return 0;
    return pruned(prune_containers(cli, options, &space, &e), &space, &e);
}

static int run_image_prune(struct cli *cli, void *options, char **args, size_t n)
{
    const struct prune_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    int64_t space = 0;

    if (!confirmed(o, o->all ? "This will remove all images without at least one container "
                               "associated to them."
                             : "This will remove all dangling images."))
        return 0;
    return pruned(prune_images(cli, o, &space, &e), &space, &e);
}

static int run_volume_prune(struct cli *cli, void *options, char **args, size_t n)
{
    const struct prune_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    int64_t space = 0;

    if (!confirmed(o, o->all ? "This will remove all local volumes not used by at least one "
                               "container."
                             : "This will remove anonymous local volumes not used by at least "
                               "one container."))
        return 0;
    return pruned(prune_volumes(cli, o, o->all, &space, &e), &space, &e);
}

static int run_system_prune(struct cli *cli, void *options, char **args, size_t n)
{
    const struct prune_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *warning =
        xasprintf("This will remove:\n  - all stopped containers\n%s  - %s\n",
                  o->volumes ? "  - all anonymous volumes not used by at least one container\n"
                             : "",
                  o->all ? "all images without at least one container associated to them"
                         : "all dangling images");
    int64_t space = 0;

    for (char **f = o->filters; o->volumes && f && *f; f++) {
        if (str_has_prefix(*f, "until=")) {
            err_printf("ERROR: The \"until\" filter is not supported with \"--volumes\"\n");
            return 1;
        }
    }
    if (!confirmed(o, warning))
        return 0;
    int r = prune_containers(cli, o, &space, &e);
    if (r >= 0 && o->volumes)
        r = prune_volumes(cli, o, false, &space, &e);
    if (r >= 0)
        r = prune_images(cli, o, &space, &e);
    return pruned(r, &space, &e);
}

#define PRUNE_COMMAND(what, text)                                                                  \
    const struct command command_##what##_prune = {                                                \
        .name = "prune",                                                                           \
        .args = "",                                                                                \
        .summary = (text),                                                                         \
        .options = what##_prune_table,                                                             \
        .options_size = sizeof(struct prune_options),                                              \
        .args_min = 0,                                                                             \
        .args_max = 0,                                                                             \
        .run = run_##what##_prune,                                                                 \
    }
PRUNE_COMMAND(container, "Remove all stopped containers");
PRUNE_COMMAND(image, "Remove unused images");
PRUNE_COMMAND(volume, "Remove unused local volumes");
PRUNE_COMMAND(system, "Remove unused data");
