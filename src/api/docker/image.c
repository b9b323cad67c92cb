/* SPDX-License-Identifier: Apache-2.0 */
/* Images: list, pull, import, load, inspect, history, tag, remove. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

/* --- The list and its filters ---------------------------------------------------------------------- */

/* `reference`: a pattern for "name", "name:tag" or "name@digest". */
static bool name_matches(const char *full, char *const *patterns)
{
    const char *end = strchr(full, '@');

    if (!end && (end = strrchr(full, ':')) && strchr(end, '/'))
        end = NULL;
    AUTOFREE char *name = end ? xstrndup(full, (size_t)(end - full)) : NULL;
    for (; *patterns; patterns++)
        if (fnmatch(*patterns, full, FNM_PATHNAME) == 0 ||
            (name && fnmatch(*patterns, name, FNM_PATHNAME) == 0))
            return true;
    return false;
}

/* Those names that match; all without patterns. The texts are the image's. */
static struct image_names names_wanted(const struct image *img, char *const *patterns)
{
    char **lists[2] = {img->repo_tags, img->repo_digests};
    struct image_names ret = {0};

    for (size_t i = 0; i < 2; i++) {
        char **list = xcalloc(strv_len(lists[i]) + 1, sizeof(char *));
        size_t n = 0;

        for (char **t = lists[i]; t && *t; t++)
            if (!patterns || name_matches(*t, patterns))
                list[n++] = *t;
        ret.any = ret.any || n > 0;
        *(i == 0 ? &ret.tags : &ret.digests) = list;
    }
    return ret;
}

static void names_done(struct image_names *n)
{
    free(n->tags); /* the texts are the image's */
    free(n->digests);
}

/* "name" or "name=value", all of them. */
static bool labels_match(const struct json_map *labels, char *const *wanted)
{
    for (; *wanted; wanted++) {
        const char *eq = strchr(*wanted, '='), *have;
        AUTOFREE char *name = xstrndup(*wanted, eq ? (size_t)(eq - *wanted) : strlen(*wanted));

        have = json_map_get(labels, name);
        if (!have || (eq && !STREQ(have, eq + 1)))
            return false;
    }
    return true;
}

struct image_filter {
    char *const *references;
    char *const *labels, *const *not_labels;
    char *const *ids; /* beginnings */
    bool has_dangling, dangling;
    bool all;                     /* intermediate ones, too */
    int64_t before, since, until; /* creation times, ns; 0: not asked */
};

static bool any_id_matches(const struct image *img, char *const *ids)
{
    for (; *ids; ids++) {
        const char *want = str_has_prefix(*ids, "sha256:") ? *ids + 7 : *ids;

        if (str_has_prefix(img->id + 7, want))
            return true;
    }
    return false;
}

static bool no_label_matches(const struct json_map *labels, char *const *unwanted)
{
    for (; unwanted && *unwanted; unwanted++)
        if (labels_match(labels, (char *const[]){*unwanted, NULL}))
            return false;
    return true;
}

static bool image_wanted(const struct usage_image *x, const struct image_filter *f)
{
    const struct image *img = x->image;
    bool dangling = !img->repo_tags || !img->repo_tags[0];

    return (!f->labels || labels_match(&img->doc.config.labels, f->labels)) &&
           (!f->has_dangling || f->dangling == dangling) && (!x->intermediate || f->all) &&
           (!f->dangling || !x->has_child) && (!f->ids || any_id_matches(img, f->ids)) &&
           no_label_matches(&img->doc.config.labels, f->not_labels) &&
           (!f->until || img->doc.created < f->until) &&
           (!f->before || img->doc.created < f->before) &&
           (!f->since || img->doc.created > f->since);
}

static int filter_image_time(struct engine *en, char *const *names, int64_t *ret, struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    int r;

    if (!names || !names[0])
        return 0;
    r = image_resolve(engine_images(en), names[0], &img, e);
    if (r == 0)
        *ret = img->doc.created;
    return r;
}

static int image_filter_read(struct engine *en, const struct filter_set *set,
                             struct image_filter *f, struct error *e)
{
    static const char *const known[] = {"reference", "label", "label!", "dangling",
                                        "before",    "since", "until",  "id"};
    char *const *dangling = filter_set_get(set, "dangling");
    int r;

    for (size_t i = 0; i < set->items.len; i++) {
        const char *key = ((const struct filter *)set->items.items)[i].key;
        bool ok = false;

        for (size_t n = 0; n < ARRAY_SIZE(known); n++)
            ok = ok || STREQ(known[n], key);
        if (!ok)
            return error_set(e, ERR_INVALID, "invalid filter '%s'", key);
    }
    f->references = filter_set_get(set, "reference");
    f->labels = filter_set_get(set, "label");
    f->not_labels = filter_set_get(set, "label!");
    f->ids = filter_set_get(set, "id");
    char *const *until = filter_set_get(set, "until");
    if (until && until[0] && (r = docker_when_parse("until", until[0], &f->until, e)) < 0)
        return r;
    f->has_dangling = dangling && dangling[0];
    for (; dangling && *dangling; dangling++) {
        bool yes = STREQ(*dangling, "true") || STREQ(*dangling, "1");

        if (!yes && !STREQ(*dangling, "false") && !STREQ(*dangling, "0"))
            return error_set(e, ERR_INVALID, "invalid filter 'dangling=[%.50s]'", *dangling);
        f->dangling = yes;
    }
    r = filter_image_time(en, filter_set_get(set, "before"), &f->before, e);
    return r < 0 ? r : filter_image_time(en, filter_set_get(set, "since"), &f->since, e);
}

static void encode_list_item(struct jsonw *w, struct http_request *req, void *ctx,
                             const struct usage_image *x, const struct image_names *names,
                             bool computed)
{
    bool manifests = http_query_bool(req, "manifests", false) && http_version(req) >= 47;
    struct image_manifest m = {0};

    if (manifests)
        image_manifest_get(engine_images(api_engine(ctx)), x->image, &m);
    encode_image_summary(w, x->image, names, http_version(req), computed ? (int64_t)x->shared : -1,
                         computed ? x->containers : -1, manifests ? &m : NULL);
    image_manifest_done(&m);
}

/* All images; what costs more to find out only when it is asked for. */
static int list_images(struct engine *en, bool compute, struct engine_usage *u, struct error *e)
{
    struct image_list list = {0};
    int r;

    if (compute)
        return engine_usage(en, USAGE_IMAGES, u, e);
    r = image_list(engine_images(en), &list, e);
    if (r < 0)
        return r;
    u->images = xcalloc(list.len + 1, sizeof(*u->images));
    for (; u->nimages < list.len; u->nimages++)
        u->images[u->nimages] = (struct usage_image){
            .image = image_ref(list.items[u->nimages]),
            .has_child = list.has_child[u->nimages],
            .intermediate = image_list_is_intermediate(&list, u->nimages),
        };
    image_list_done(&list);
    return 0;
}

void api_image_list(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(filter_set) struct filter_set set = {0};
    struct image_filter f = {0};
    struct engine_usage u = {0};
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    const char *old = http_query(req, "filter"); /* a reference, until 1.40 */
    bool compute = http_query_bool(req, "shared-size", false);

    f.all = http_query_bool(req, "all", false);

    if (api_filters(req, &set) < 0)
        return;
    if (!str_is_empty(old))
        filter_set_add(&set, "reference", old);
    if (image_filter_read(api_engine(ctx), &set, &f, &e) < 0 ||
        list_images(api_engine(ctx), compute, &u, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; i < u.nimages; i++) {
        struct image_names names = names_wanted(u.images[i].image, f.references);

        if ((names.any || !f.references) && image_wanted(&u.images[i], &f))
            encode_list_item(&w, req, ctx, &u.images[i], &names, compute);
        names_done(&names);
    }
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    engine_usage_done(&u);
    http_reply_json(req, 200, &b);
}

/* --- Bringing images in: answers that are streams of progress -------------------------------------- */

/* The stream begins with the first word of progress, so that what fails before it still gets a
 * status of its own. Called on the handler's thread. */
int api_progress_send(void *data, const struct image_progress *p)
{
    AUTO(buf) struct buf b = ANSWER_INIT;
    struct http_request *req = data;

    if (!http_replied(req) && http_stream_begin(req, 200, "application/json") < 0)
        return -ECANCELED;
    image_progress_print(p, &b);
    return http_stream_write(req, b.data, b.len) < 0 ? -ECANCELED : 0;
}

/* The end: an error after the stream has begun is its last line. */
void api_progress_end(struct http_request *req, int r, struct error *e)
{
    AUTO(buf) struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (r >= 0) {
        if (!http_replied(req))
            (void)http_stream_begin(req, 200, "application/json");
        return;
    }
    if (!http_replied(req)) {
        http_reply_error(req, e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_begin(&w, "errorDetail");
    jsonw_str(&w, "message", error_message(e));
    jsonw_end(&w);
    jsonw_str(&w, "error", error_message(e));
    jsonw_end(&w);
    (void)buf_puts(&b, "\r\n");
    (void)!http_stream_write(req, b.data, b.len);
}

static const char *query_or_null(const struct http_request *req, const char *name)
{
    const char *v = http_query(req, name);

    return str_is_empty(v) ? NULL : v;
}

static void image_pull_stream(struct http_request *req, struct engine *en, const char *name)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *reference = docker_reference_join(name, http_query(req, "tag"));
    struct image_auth auth = {0};
    struct image_pull_params p = {
        .reference = reference,
        .all_tags = query_or_null(req, "tag") == NULL,
        .platform = query_or_null(req, "platform"),
        .auth = &auth,
        .progress = api_progress_send,
        .progress_data = req,
        .cancel_fd = http_client_fd(req),
    };
    int r = api_registry_auth(req, &auth, &e);

    if (r == 0)
        r = engine_image_pull(en, &p, &e);
    api_progress_end(req, r, &e);
    image_auth_done(&auth);
}

static void image_import_stream(struct http_request *req, struct engine *en, const char *source)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **changes = http_query_all(req, "changes");
    AUTOFREE char *id = NULL, *url = NULL;

    if (!STREQ(source, "-"))
        url = strstr(source, "://") ? xstrdup(source) : xasprintf("http://%s", source);
    struct image_import_params p = {
        .fd = url ? -EBADF : http_body_fd(req),
        .url = url,
        .repo = query_or_null(req, "repo"),
        .tag = query_or_null(req, "tag"),
        .message = query_or_null(req, "message"),
        .changes = changes,
        .platform = query_or_null(req, "platform"),
        .progress = api_progress_send,
        .progress_data = req,
        .cancel_fd = http_client_fd(req),
    };
    int r = url && !str_has_prefix(url, "http://") && !str_has_prefix(url, "https://")
                ? error_set(&e, ERR_INVALID, "cannot import from %.300s: http or https only", url)
                : engine_image_import(en, &p, &id, &e);

    api_progress_end(req, r, &e);
}

void api_image_create(struct http_request *req, void *ctx)
{
    const char *from = query_or_null(req, "fromImage"), *source = query_or_null(req, "fromSrc");

    if (from)
        image_pull_stream(req, api_engine(ctx), from);
    else if (source)
        image_import_stream(req, api_engine(ctx), source);
    else
        http_reply_message(req, 400, "fromImage or fromSrc is needed");
}

int api_one_platform(struct http_request *req, struct error *e)
{
    AUTOPTR(strv) char **all = http_query_all(req, "platform");

    return strv_len(all) <= 1
               ? 0
               : error_set(e, ERR_INVALID,
                           "more than one platform: images are kept for one each, so "
                           "ask for one after the other");
}

void api_image_load(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct image_load_params p = {
        .fd = http_body_fd(req),
        .progress = api_progress_send,
        .progress_data = req,
        .quiet = http_query_bool(req, "quiet", true),
        .platform = query_or_null(req, "platform"),
        .cancel_fd = http_client_fd(req),
    };
    int r = api_one_platform(req, &e);

    if (r < 0) {
        http_reply_error(req, &e);
        return;
    }
    r = engine_image_load(api_engine(ctx), &p, &e);
    /* As in Docker: its clients look for errors in the stream. */
    if (r < 0 && !http_replied(req) && e.code != ERR_FORBIDDEN)
        (void)!http_stream_begin(req, 200, "application/json");
    api_progress_end(req, r, &e);
}

/* --- One image ---------------------------------------------------------------------------------------- */

static int resolve(struct http_request *req, void *ctx, struct image **ret)
{
    AUTOPTR(image) struct image *img = NULL;
    AUTO(error) struct error e = ERROR_INIT;
    const char *name = http_param(req, "name");
    int r = image_resolve(engine_images(api_engine(ctx)), name, &img, &e);

    if (r >= 0)
        r = image_check_platform(img, http_query(req, "platform"), name, &e);
    if (r < 0)
        http_reply_error(req, &e);
    else
        *ret = take_ptr(img);
    return r;
}

void api_image_inspect(struct http_request *req, void *ctx)
{
    AUTOPTR(image) struct image *img = NULL;
    struct image_manifest manifest = {0};
    struct buf b = ANSWER_INIT;

    if (resolve(req, ctx, &img) < 0)
        return;
    image_manifest_get(engine_images(api_engine(ctx)), img, &manifest);
    encode_image(img, &manifest, http_query_bool(req, "manifests", false), http_version(req), &b);
    image_manifest_done(&manifest);
    http_reply_json(req, 200, &b);
}

/* Goes from an image to the one it was made of; NULL at the end. */
static void to_parent(struct image_store *s, struct image **img)
{
    AUTOPTR(image) struct image *child = take_ptr(*img);

    if (child && !str_is_empty(child->parent))
        (void)!image_get(s, child->parent, img, NULL);
}

/* One step of the history; its layer's size, when it made one. img: the image it led to, NULL: none
 * that is here. */
static void encode_step(struct jsonw *w, const struct image *img, const struct oci_history *h,
                        uint64_t size)
{
    jsonw_begin(w, NULL);
    jsonw_str(w, "Id", img ? img->id : "<missing>");
    jsonw_int(w, "Created", h->created / NSEC_PER_SEC);
    jsonw_str(w, "CreatedBy", h->created_by);
    if (img)
        jsonw_strv(w, "Tags", img->repo_tags);
    else
        jsonw_null(w, "Tags");
    jsonw_uint(w, "Size", size);
    jsonw_str(w, "Comment", h->comment);
    jsonw_end(w);
}

void api_image_history(struct http_request *req, void *ctx)
{
    AUTOPTR(image) struct image *img = NULL, *of = NULL;
    struct image_store *s = engine_images(api_engine(ctx));
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    const struct oci_history *items;
    size_t n, layers, full = 0;

    if (resolve(req, ctx, &img) < 0)
        return;
    items = img->doc.history.items;
    n = img->doc.history.len;
    layers = strv_len(img->doc.rootfs.diff_ids);
    for (size_t i = 0; i < n; i++)
        full += !items[i].empty_layer;
    of = image_ref(img);
    jsonw_list_begin(&w, NULL);
    /* Layers that the history does not speak of (it may be missing altogether) come as steps too. */
    for (size_t i = layers; i > full; i--) {
        const struct oci_history unknown = {.created = img->doc.created};

        encode_step(&w, n == 0 ? of : NULL, &unknown, img->layer_sizes[i - 1]);
        if (n == 0)
            to_parent(s, &of);
    }
    for (size_t i = n;
         i-- > 0;) { /* newest first; as many steps have an image as parents are known */
        uint64_t size = 0;

        if (!items[i].empty_layer && full > 0 && --full < layers)
            size = img->layer_sizes[full];
        encode_step(&w, of, &items[i], size);
        to_parent(s, &of);
    }
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_image_tag(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *repo = http_query(req, "repo");
    int r = engine_image_tag(api_engine(ctx), http_param(req, "name"), repo ? repo : "",
                             query_or_null(req, "tag"), &e);

    api_done(req, r, 201, &e);
}

void api_image_remove(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct image_removed removed = {0};
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    const struct image_removed_item *items;

    if (engine_image_remove(api_engine(ctx), http_param(req, "name"),
                            http_query_bool(req, "force", false),
                            !http_query_bool(req, "noprune", false), &removed, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    items = removed.items.items;
    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; i < removed.items.len; i++)
        jsonw_obj(&w, NULL, &image_removed_item_json, &items[i]);
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    image_removed_done(&removed);
    http_reply_json(req, 200, &b);
}
