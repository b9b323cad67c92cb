/* SPDX-License-Identifier: Apache-2.0 */
/* system df, and the prune of containers, images and volumes. */
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

/* Not the engine's: nothing is built here, but it may be asked for. */
#define USAGE_BUILD_CACHE (1u << 30)

/* The answer has two forms: lists (until 1.51), and sums with or without the same lists (1.52). */
struct form {
    bool lists, sums, items;
    unsigned version;
};

static void encode_image_list(struct jsonw *w, const struct engine_usage *u, const char *key,
                              unsigned version)
{
    jsonw_list_begin(w, key);
    for (size_t i = 0; i < u->nimages; i++) {
        const struct usage_image *x = &u->images[i];

        if (!x->intermediate)
            encode_image_summary(w, x->image, NULL, version, (int64_t)x->shared, x->containers,
                                 NULL);
    }
    jsonw_list_end(w);
}

static void encode_container_list(struct jsonw *w, const struct engine_usage *u, const char *key,
                                  unsigned version)
{
    int64_t now = time_now_ns();

    jsonw_list_begin(w, key);
    for (size_t i = 0; i < u->ncontainers; i++) {
        const struct usage_container *x = &u->containers[i];

        encode_container_summary(w, x->view, x->image, now, true, x->rw, x->rootfs);
    }
    jsonw_list_end(w);
}

static void encode_volume(struct jsonw *w, const struct usage_volume *x)
{
    AUTOFREE char *text = json_print_str(&volume_json, &x->volume);
    size_t len = strlen(text);

    /* The volume's own object, with one member more. */
    AUTOFREE char *all = xasprintf("%.*s%s\"UsageData\":{\"RefCount\":%lld,\"Size\":%llu}}",
                                   (int)len - 1, text, len > 2 ? "," : "", (long long)x->users,
                                   (unsigned long long)x->size);
    jsonw_raw(w, NULL, all);
}

static void encode_volume_list(struct jsonw *w, const struct engine_usage *u, const char *key,
                               unsigned version)
{
    jsonw_list_begin(w, key);
    for (size_t i = 0; i < u->nvolumes; i++)
        encode_volume(w, &u->volumes[i]);
    jsonw_list_end(w);
}

static void encode_nothing(struct jsonw *w, const struct engine_usage *u, const char *key,
                           unsigned version)
{
    jsonw_list_begin(w, key);
    jsonw_list_end(w);
}

static void encode_usage(struct jsonw *w, const struct engine_usage *u, unsigned what,
                         const struct form *form)
{
    const struct {
        unsigned what;
        const char *list, *sum;
        void (*encode)(struct jsonw *w, const struct engine_usage *u, const char *key,
                       unsigned version);
        struct usage_sum values;
    } types[] = {
        {USAGE_IMAGES, "Images", "ImageUsage", encode_image_list, u->sum_images},
        {USAGE_CONTAINERS, "Containers", "ContainerUsage", encode_container_list,
         u->sum_containers},
        {USAGE_VOLUMES, "Volumes", "VolumeUsage", encode_volume_list, u->sum_volumes},
        {USAGE_BUILD_CACHE, "BuildCache", "BuildCacheUsage", encode_nothing, {0}},
    };

    if (form->lists && (what & USAGE_IMAGES))
        jsonw_uint(w, "LayersSize", u->layers_size);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (!(what & types[i].what))
            continue;
        if (form->lists)
            types[i].encode(w, u, types[i].list, form->version);
        if (!form->sums)
            continue;
        jsonw_begin(w, types[i].sum);
        jsonw_uint(w, "ActiveCount", types[i].values.active);
        jsonw_uint(w, "TotalCount", types[i].values.count);
        jsonw_uint(w, "TotalSize", types[i].values.size);
        jsonw_uint(w, "Reclaimable", types[i].values.reclaimable);
        if (form->items)
            types[i].encode(w, u, "Items", form->version);
        jsonw_end(w);
    }
}

/* ?type=container&type=image: only these. */
static int wanted_types(struct http_request *req, unsigned *ret, struct error *e)
{
    static const struct {
        const char *name;
        unsigned what;
    } types[] = {{"container", USAGE_CONTAINERS},
                 {"image", USAGE_IMAGES},
                 {"volume", USAGE_VOLUMES},
                 {"build-cache", USAGE_BUILD_CACHE}};
    AUTOPTR(strv) char **asked = http_query_all(req, "type");

    *ret = 0;
    if (strv_len(asked) == 0 || http_version(req) < 42) {
        *ret = USAGE_ALL | USAGE_BUILD_CACHE;
        return 0;
    }
    for (size_t i = 0; asked && asked[i]; i++) {
        bool known = false;

        for (size_t k = 0; k < ARRAY_SIZE(types); k++) {
            if (STREQ(types[k].name, asked[i])) {
                known = true;
                *ret |= types[k].what;
            }
        }
        if (!known)
            return error_set(e, ERR_INVALID, "unknown object type: %.60s", asked[i]);
    }
    return 0;
}

/* From 1.52 on `verbose` says whether the lists are wanted with the sums; who says nothing may be a
 * client that still reads the lists where they were. */
static int wanted_form(struct http_request *req, struct form *ret, struct error *e)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    const char *verbose = http_query(req, "verbose");
    bool valid = false;

    *ret = (struct form){.version = http_version(req)};
    ret->sums = ret->version >= 52;
    ret->lists = !ret->sums || str_is_empty(verbose);
    if (ret->lists)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        ret->items |= STREQ(verbose, yes[i]);
        valid |= STREQ(verbose, yes[i]) || STREQ(verbose, no[i]);
    }
    return valid ? 0 : error_set(e, ERR_INVALID, "invalid value for verbose: %.60s", verbose);
}

void api_system_df(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct engine_usage u = {0};
    struct form form;
    unsigned what = 0;

    if (wanted_types(req, &what, &e) < 0 || wanted_form(req, &form, &e) < 0 ||
        engine_usage(api_engine(ctx), what & USAGE_ALL, &u, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    encode_usage(&w, &u, what, &form);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    engine_usage_done(&u);
    http_reply_json(req, 200, &b);
}

/* --- prune ---------------------------------------------------------------------------------------- */

enum kind { CONTAINERS, IMAGES, VOLUMES };

static int prune(struct http_request *req, void *ctx, enum kind kind, struct engine_pruned *p,
                 struct error *e)
{
    AUTO(filter_set) struct filter_set set = {0};
    int r = docker_filters_parse(http_query(req, "filters"), &set, e);

    if (r < 0)
        return r;
    if (kind == CONTAINERS)
        return engine_container_prune(api_engine(ctx), &set, p, e);
    if (kind == IMAGES)
        return engine_image_prune(api_engine(ctx), &set, p, e);
    /* Until 1.41 named volumes went too. */
    return engine_volume_prune(api_engine(ctx), &set, http_version(req) < 42, p, e);
}

static void reply_pruned(struct http_request *req, void *ctx, enum kind kind)
{
    static const char *const keys[] = {"ContainersDeleted", "ImagesDeleted", "VolumesDeleted"};
    AUTO(error) struct error e = ERROR_INIT;
    struct engine_pruned p = {0};
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (prune(req, ctx, kind, &p, &e) < 0) {
        engine_pruned_done(&p);
        http_reply_error(req, &e);
        return;
    }
    const struct image_removed_item *items = p.images.items.items;
    jsonw_begin(&w, NULL);
    if (kind == IMAGES) {
        jsonw_list_begin(&w, keys[kind]);
        for (size_t i = 0; i < p.images.items.len; i++)
            jsonw_obj(&w, NULL, &image_removed_item_json, &items[i]);
        jsonw_list_end(&w);
    } else {
        jsonw_strv(&w, keys[kind], p.deleted);
    }
    jsonw_uint(&w, "SpaceReclaimed", p.space);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    engine_pruned_done(&p);
    http_reply_json(req, 200, &b);
}

void api_container_prune(struct http_request *req, void *ctx)
{
    reply_pruned(req, ctx, CONTAINERS);
}

void api_image_prune(struct http_request *req, void *ctx)
{
    reply_pruned(req, ctx, IMAGES);
}

void api_volume_prune(struct http_request *req, void *ctx)
{
    reply_pruned(req, ctx, VOLUMES);
}

/* `docker system prune` asks for these too. The networks here are the predefined ones, which no prune
 * takes, and nothing is built: there is nothing to remove. */
static void reply_nothing(struct http_request *req, const char *text)
{
    struct buf b = ANSWER_INIT;

    (void)buf_puts(&b, text);
    http_reply_json(req, 200, &b);
}

void api_network_prune(struct http_request *req, void *ctx)
{
    reply_nothing(req, "{\"NetworksDeleted\":[]}\n");
}

void api_build_prune(struct http_request *req, void *ctx)
{
    reply_nothing(req, "{\"CachesDeleted\":[],\"SpaceReclaimed\":0}\n");
}
