/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage collection by high and low water marks of the disk: when more than `high` percent of the
 * file system is in use, images that no container uses go, the longest unused first, until no more
 * than `low` percent is in use. Off unless it is configured: nothing is removed by itself.
 *
 * Never goes: what a container (running or not) uses, what somebody holds at this moment (a start,
 * a save), what a lease of a user or a `keep` rule names, and what was used or pulled within
 * min-age. An image is first marked removed, then looked at, then deleted if the mark still stands:
 * a pull that meets this either finds the image gone or takes the mark away (names.c, commit.c).
 *
 * Last uses are kept in memory (`uses`) and written by the janitor, so that starting a container
 * waits for no disk; a killed pouchd forgets half a minute of them, which only reorders the queue.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "io/reaper.h"
#include "oci/digest.h"

#define DEFAULT_LOW     70
#define DEFAULT_MIN_AGE "2m"
#define OWNER_USER      "user"

/* --- Settings ------------------------------------------------------------------------------------ */

static const struct json_field config_fields[] = {
    JSON_FIELD(struct image_gc_config, high, "high", JSON_UINT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_gc_config, low, "low", JSON_UINT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_gc_config, min_age, "min-age", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_gc_config, keep, "keep", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc image_gc_config_json = {"image-gc", sizeof(struct image_gc_config),
                                               config_fields};

static const struct json_field item_fields[] = {
    JSON_FIELD(struct image_gc_item, id, "Id", JSON_STR, 0),
    JSON_FIELD(struct image_gc_item, names, "Names", JSON_STRV, 0),
    JSON_FIELD(struct image_gc_item, used, "LastUsed", JSON_TIME, 0),
    JSON_FIELD(struct image_gc_item, size, "Size", JSON_UINT, 0),
    JSON_FIELD(struct image_gc_item, reason, "Reason", JSON_STR, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc item_json = {"image", sizeof(struct image_gc_item), item_fields};
static const struct json_field result_fields[] = {
    JSON_FIELD(struct image_gc_result, dry_run, "DryRun", JSON_BOOL, 0),
    JSON_FIELD(struct image_gc_result, high, "High", JSON_UINT, 0),
    JSON_FIELD(struct image_gc_result, low, "Low", JSON_UINT, 0),
    JSON_FIELD(struct image_gc_result, used_before, "UsedBefore", JSON_UINT, 0),
    JSON_FIELD(struct image_gc_result, used_after, "UsedAfter", JSON_UINT, 0),
    JSON_FIELD(struct image_gc_result, freed, "SpaceReclaimed", JSON_UINT, 0),
    JSON_FIELD(struct image_gc_result, things, "Unreferenced", JSON_UINT, 0),
    JSON_FIELD_SUB(struct image_gc_result, removed, "Removed", JSON_OBJ_LIST, 0, &item_json),
    JSON_FIELD_SUB(struct image_gc_result, kept, "Kept", JSON_OBJ_LIST, 0, &item_json),
    JSON_END,
};
const struct json_desc image_gc_result_json = {"result", sizeof(struct image_gc_result),
                                               result_fields};

void image_gc_result_done(struct image_gc_result *r)
{
    json_free(&image_gc_result_json, r);
}

int image_gc_config_check(struct image_gc_config *c, struct error *e)
{
    int64_t age;

    if (c->high == 0 && (c->low || c->min_age || c->keep))
        return error_set(e, ERR_INVALID,
                         "image-gc: \"high\" is missing: the percent of the disk in use above "
                         "which images are removed");
    if (c->high > 99)
        return error_set(e, ERR_INVALID, "image-gc: high: %llu is not from 1 to 99 percent",
                         (unsigned long long)c->high);
    if (c->high > 0 && c->low == 0)
        c->low = c->high > DEFAULT_LOW ? DEFAULT_LOW : c->high - 1;
    if (c->high > 0 && c->low >= c->high)
        return error_set(e, ERR_INVALID, "image-gc: low (%llu) must be below high (%llu)",
                         (unsigned long long)c->low, (unsigned long long)c->high);
    if (c->min_age && (duration_parse(c->min_age, &age) < 0 || age < 0))
        return error_set(e, ERR_INVALID, "image-gc: min-age: \"%.40s\" is not a duration like 2m",
                         c->min_age);
    for (size_t i = 0; c->keep && c->keep[i]; i++)
        if (str_is_empty(c->keep[i]) || STREQ(c->keep[i], "label="))
            return error_set(e, ERR_INVALID, "image-gc: keep: a rule is empty");
    return 0;
}

/* --- Last uses --------------------------------------------------------------------------------------- */

void image_used(struct image_store *s, const char *image_id)
{
    pthread_mutex_lock(&s->lock);
    int64_t *at = map_get(s->uses, image_id);
    bool first = map_len(s->uses) == 0;
    if (!at) {
        at = xcalloc(1, sizeof(*at));
        (void)map_set(s->uses, image_id, at);
    }
    *at = time_now_ns();
    if (first) /* it may be sleeping without end */
        pthread_cond_signal(&s->janitor_wake);
    pthread_mutex_unlock(&s->lock);
}

static int64_t use_in_memory(struct image_store *s, const char *id)
{
    pthread_mutex_lock(&s->lock);
    const int64_t *at = map_get(s->uses, id);
    int64_t ns = at ? *at : 0;
    pthread_mutex_unlock(&s->lock);
    return ns;
}

static struct map *copy_uses(struct image_store *s)
{
    struct map *copy = map_new();
    const char *id;
    void *value;
    size_t pos = 0;

    pthread_mutex_lock(&s->lock);
    while (map_next(s->uses, &pos, &id, &value) == 1) {
        int64_t *at = xcalloc(1, sizeof(*at));

        *at = *(int64_t *)value;
        (void)map_set(copy, id, at);
    }
    pthread_mutex_unlock(&s->lock);
    return copy;
}

/* Each is in memory until it is in the table: who looks at the one, then at the other, sees it. */
void image_uses_flush(struct image_store *s)
{
    struct map *uses = copy_uses(s);
    const char *id;
    void *value;
    size_t pos = 0;

    if (map_len(uses) > 0 && store_begin(s->db, NULL) >= 0) {
        while (map_next(uses, &pos, &id, &value) == 1)
            (void)!store_exec(s->db, NULL, "UPDATE images SET used = ? WHERE id = ? AND used < ?",
                              "isi", *(int64_t *)value, id, *(int64_t *)value);
        (void)!store_commit(s->db, NULL); /* a full disk: only the order of the queue suffers */
    }
    pthread_mutex_lock(&s->lock);
    for (pos = 0; map_next(uses, &pos, &id, &value) == 1;) {
        const int64_t *at = map_get(s->uses, id);

        if (at && *at == *(int64_t *)value) /* not used again meanwhile */
            free(map_remove(s->uses, id));
    }
    pthread_mutex_unlock(&s->lock);
    map_free(uses, free);
}

/* --- Leases of users --------------------------------------------------------------------------------- */

int image_protect(struct image_store *s, const char *name_or_id, bool on, struct error *e)
{
    AUTOFREE char *id = NULL, *name = NULL;
    int r = image_store_find(s, name_or_id, &id, &name, e);

    if (r >= 0)
        r = store_begin(s->db, e);
    if (r < 0)
        return r;
    r = image_check_there(s, id, name_or_id, e); /* removed just now */
    if (r >= 0 && on)
        r = store_exec(s->db, e,
                       "INSERT OR IGNORE INTO image_leases (owner, image_id, created) "
                       "VALUES (?, ?, ?)",
                       "ssi", OWNER_USER, id, time_now_ns());
    else if (r >= 0)
        r = store_exec(s->db, e, "DELETE FROM image_leases WHERE owner = ? AND image_id = ?", "ss",
                       OWNER_USER, id);
    if (r < 0) {
        store_rollback(s->db);
        return r;
    }
    return store_commit(s->db, e);
}

bool image_is_protected(struct image_store *s, const char *id)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    return store_query(s->db, &rows, NULL, "SELECT 1 FROM image_leases WHERE image_id = ? LIMIT 1",
                       "s", id) >= 0 &&
           store_rows_next(&rows, NULL) == 1;
}

static bool label_matches(const struct json_map *labels, const char *rule)
{
    const char *eq = strchr(rule, '=');
    AUTOFREE char *key = xstrndup(rule, eq ? (size_t)(eq - rule) : strlen(rule));
    const char *have = json_map_get(labels, key);

    return have && (!eq || STREQ(have, eq + 1));
}

/* "name" or "name:tag", as people write it. */
static bool name_matches(const char *name, const char *pattern)
{
    const char *colon = strrchr(name, ':');

    if (fnmatch(pattern, name, FNM_PATHNAME) == 0)
        return true;
    if (!colon || strchr(colon, '/'))
        return false;
    AUTOFREE char *bare = xstrndup(name, (size_t)(colon - name));
    return fnmatch(pattern, bare, FNM_PATHNAME) == 0;
}

/* The rule that keeps the image, or NULL. */
static const char *keep_rule(const struct image *img, char *const *keep)
{
    for (; keep && *keep; keep++) {
        if (str_has_prefix(*keep, "label=")) {
            if (label_matches(&img->doc.config.labels, *keep + 6))
                return *keep;
            continue;
        }
        for (size_t i = 0; img->repo_tags && img->repo_tags[i]; i++)
            if (name_matches(img->repo_tags[i], *keep))
                return *keep;
    }
    return NULL;
}

/* --- How full the disk is -------------------------------------------------------------------------- */

struct disk {
    uint64_t used, total; /* bytes; total without what only root may use, as df reckons */
};

static int disk_look(struct image_store *s, struct disk *ret, struct error *e)
{
    struct statvfs st;

    if (fstatvfs(s->layers_fd, &st) < 0)
        return error_set_errno(e, errno, "cannot see how full the disk is");
    ret->used = (uint64_t)(st.f_blocks - st.f_bfree) * st.f_frsize;
    ret->total = ret->used + (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

/* What is removed counts as free: waits until it is. */
static int disk_now(struct image_store *s, struct disk *ret, struct error *e)
{
    reaper_wait(s->reaper);
    return disk_look(s, ret, e);
}

/* Rounded up, as df. */
static uint64_t percent(uint64_t used, const struct disk *d)
{
    return d->total == 0 ? 0 : (used * 100 + d->total - 1) / d->total;
}

/* --- What an image alone has -------------------------------------------------------------------------- */

struct shared {
    uint64_t images, size;
};

/* diff id → how many images have it, and its bytes. */
static int load_shared(struct image_store *s, struct map *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT l.diff_id, count(i.image_id), l.size + l.blob_size FROM layers l "
                        "JOIN (SELECT DISTINCT image_id, diff_id FROM image_layers) i "
                        "ON i.diff_id = l.diff_id GROUP BY l.diff_id",
                        "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        struct shared *x = xcalloc(1, sizeof(*x));
        x->images = (uint64_t)store_col_int(&rows, 1);
        x->size = (uint64_t)store_col_int(&rows, 2);
        free(map_set(ret, store_col_str(&rows, 0), x));
    }
    return r;
}

/* The image goes: bytes of the layers that nobody has any more. */
static uint64_t take_image(struct map *shared, const struct image *img)
{
    char *const *ids = img->doc.rootfs.diff_ids;
    uint64_t freed = 0;

    for (size_t i = 0; ids && ids[i]; i++) {
        bool again = false;
        for (size_t k = 0; k < i && !again; k++)
            again = STREQ(ids[k], ids[i]);
        struct shared *x = again ? NULL : map_get(shared, ids[i]);
        if (x && x->images > 0 && --x->images == 0)
            freed += x->size;
    }
    return freed;
}

/* --- Collecting ------------------------------------------------------------------------------------- */

struct candidate {
    char *id, *parent;
    int64_t used;
    unsigned depth; /* how many images there are above it that it was made of */
};
struct candidates {
    struct candidate *items;
    size_t len;
};

static void candidates_done(struct candidates *c)
{
    for (size_t i = 0; i < c->len; i++) {
        free(c->items[i].id);
        free(c->items[i].parent);
    }
    free(c->items);
}

static int by_use(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->used != y->used)
        return x->used < y->used ? -1 : 1;
    return x->depth > y->depth ? -1 : x->depth < y->depth;
}

/* An image is in use as long as those that were made of it: it comes after them. */
static void order_families(struct candidates *c)
{
    struct map *by_id = map_new();

    for (size_t i = 0; i < c->len; i++)
        (void)map_set(by_id, c->items[i].id, &c->items[i]);
    for (size_t i = 0; i < c->len; i++) {
        struct candidate *up = map_get(by_id, c->items[i].parent);

        for (; up && c->items[i].depth < c->len; up = map_get(by_id, up->parent)) {
            c->items[i].depth++;
            if (up->used < c->items[i].used)
                up->used = c->items[i].used;
        }
    }
    map_free(by_id, NULL);
}

static int load_candidates(struct image_store *s, struct candidates *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    struct map *uses = copy_uses(s); /* first: what leaves it meanwhile is in the rows */
    int r = store_query(s->db, &rows, e,
                        "SELECT id, max(tagged, used), parent FROM images WHERE removed = 0", "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        ret->items = xreallocarray(ret->items, ret->len + 1, sizeof(*ret->items));
        ret->items[ret->len++] = (struct candidate){.id = xstrdup(store_col_str(&rows, 0)),
                                                    .used = store_col_int(&rows, 1),
                                                    .parent = xstrdup(store_col_str(&rows, 2))};
    }
    store_rows_done(&rows);
    for (size_t i = 0; i < ret->len; i++) {
        const int64_t *at = map_get(uses, ret->items[i].id);
        if (at && *at > ret->items[i].used)
            ret->items[i].used = *at;
    }
    map_free(uses, free);
    order_families(ret);
    if (ret->len > 0)
        qsort(ret->items, ret->len, sizeof(*ret->items), by_use);
    return r;
}

/* An image that was made of it and has not gone. */
static char *child_of(struct image_store *s, const char *id, const struct image_gc_result *so_far)
{
    AUTOPTR(strv) char **children = NULL;
    const struct image_gc_item *gone = so_far->removed.items;

    if (image_store_children(s, id, &children, NULL) < 0)
        return NULL;
    for (size_t i = 0; children && children[i]; i++) {
        bool went = false; /* in a dry run it is still there */

        for (size_t k = 0; k < so_far->removed.len && !went; k++)
            went = STREQ(gone[k].id, children[i]);
        if (!went)
            return xstrdup(children[i]);
    }
    return NULL;
}

/* Why the image stays, or NULL; the caller frees. */
static char *reason_to_keep(struct image_store *s, const struct image *img,
                            const struct candidate *c, char *const *keep, int64_t youngest,
                            const struct image_gc_result *so_far)
{
    AUTOFREE char *child = child_of(s, c->id, so_far);
    char container[65];
    const char *rule;

    if (image_store_use(s, c->id, container) != IMAGE_UNUSED)
        return *container ? xasprintf("container %.12s uses it", container)
                          : xstrdup("it is mounted, or pouchd is ending");
    if (image_is_protected(s, c->id))
        return xstrdup("it is protected");
    if ((rule = keep_rule(img, keep)))
        return xasprintf("kept by the rule \"%s\"", rule);
    if (c->used > youngest)
        return xstrdup("it was used or pulled a moment ago");
    if (child)
        return xasprintf("image %.12s was made of it", digest_hex(child));
    return NULL;
}

/* In the transaction that deletes it: unless it was pulled, used or protected this moment. */
static int may_collect(struct image_store *s, const char *id, void *data, struct error *e)
{
    const struct candidate *c = data;
    char container[65];
    int r = store_exec(s->db, e,
                       "UPDATE images SET removed = 1 WHERE id = ? AND removed = 0 AND tagged <= ? "
                       "AND used <= ? AND id NOT IN (SELECT image_id FROM image_leases) AND NOT "
                       "EXISTS (SELECT 1 FROM images child WHERE child.parent = images.id AND "
                       "child.removed = 0)",
                       "sii", id, c->used, c->used);

    return r <= 0 ? r
                  : image_store_use(s, id, container) == IMAGE_UNUSED &&
                        !image_store_is_held(s, id, false) && use_in_memory(s, id) <= c->used;
}

/* 1: it went, 0: somebody needs it after all. */
static int collect_image(struct image_store *s, const struct candidate *c, struct error *e)
{
    struct candidate copy = *c;

    return image_store_delete_if(s, c->id, may_collect, &copy, e);
}

static void tell(struct image_store *s, const struct image_gc_item *item)
{
    log_info("image collected", "id=%s size=%llu", item->id, (unsigned long long)item->size);
    if (!s->on_collected)
        return;
    for (size_t i = 0; item->names && item->names[i]; i++)
        s->on_collected(s->in_use_data, item->id, item->names[i]);
    s->on_collected(s->in_use_data, item->id, NULL);
}

struct round {
    uint64_t low;
    int64_t min_age;
    char *const *keep;
    bool dry_run;
    uint64_t used; /* bytes, as reckoned in a dry run */
    struct map *shared;
};

/* One image: added to one of the result's lists. */
static int consider(struct image_store *s, struct round *g, const struct candidate *c,
                    struct image_gc_result *ret, struct error *e)
{
    AUTO(error) struct error gone = ERROR_INIT;
    struct image *img = NULL;
    int r;

    if (image_get(s, c->id, &img, &gone) < 0)
        return 0; /* removed, or damaged: fsck's business */
    AUTOFREE char *reason = reason_to_keep(s, img, c, g->keep, time_now_ns() - g->min_age, ret);
    AUTOPTR(strv) char **names = strv_copy(img->repo_tags ? img->repo_tags : img->repo_digests);
    AUTOPTR(strv) char **layers = strv_copy(img->doc.rootfs.diff_ids);
    const struct image like = {.doc.rootfs.diff_ids = layers};
    image_unref(img);
    r = reason ? 0 : g->dry_run ? 1 : collect_image(s, c, e);
    if (r < 0)
        return r;
    if (r == 0 && !reason)
        reason = xstrdup("it is being used");
    struct image_gc_item *item = json_list_add(reason ? &ret->kept : &ret->removed, sizeof(*item));
    item->id = xstrdup(c->id);
    item->names = take_ptr(names);
    item->used = c->used;
    item->reason = take_ptr(reason);
    if (r > 0) {
        item->size = take_image(g->shared, &like);
        ret->freed += item->size;
        g->used -= item->size < g->used ? item->size : g->used;
        if (!g->dry_run)
            tell(s, item);
    }
    return 0;
}

static int run(struct image_store *s, struct round *g, struct image_gc_result *ret, struct error *e)
{
    CLEANUP(candidates_done) struct candidates all = {0};
    struct disk d = {0};
    unsigned things = 0;
    int r = disk_now(s, &d, e);

    if (r < 0)
        return r;
    ret->used_before = ret->used_after = percent(d.used, &d);
    /* What no image has goes first: it costs nobody anything. */
    if (!g->dry_run && (r = image_store_collect(s, NULL, NULL, &things, e)) < 0)
        return r;
    ret->things = things;
    if (!g->dry_run && (r = disk_now(s, &d, e)) < 0)
        return r;
    g->used = d.used;
    r = load_shared(s, g->shared, e);
    if (r >= 0)
        r = load_candidates(s, &all, e);
    for (size_t i = 0; r >= 0 && i < all.len && percent(d.used, &d) > g->low; i++) {
        r = consider(s, g, &all.items[i], ret, e);
        if (g->dry_run)
            d.used = g->used;
        else if (r >= 0)
            r = disk_now(s, &d, e);
    }
    ret->used_after = percent(d.used, &d);
    return r < 0 ? r : 0;
}

static int round_run(struct image_store *s, struct round *g, struct image_gc_result *ret,
                     struct error *e)
{
    struct image_gc_result result = {.dry_run = g->dry_run, .high = s->gc.high, .low = g->low};

    g->keep = s->gc.keep;
    g->shared = map_new();
    int r = run(s, g, &result, e);
    map_free(g->shared, free);
    if (r < 0) {
        image_gc_result_done(&result);
        return r;
    }
    *ret = result;
    return 0;
}

static int64_t min_age_of(const char *text)
{
    int64_t ns = 0;

    return duration_parse(text ? text : DEFAULT_MIN_AGE, &ns) < 0 ? 0 : ns;
}

int image_gc(struct image_store *s, const struct image_gc_params *p, struct image_gc_result *ret,
             struct error *e)
{
    struct round g = {.dry_run = p->dry_run};
    int64_t age;

    if (p->low > 100)
        return error_set(e, ERR_INVALID, "low: %llu is not a percentage",
                         (unsigned long long)p->low);
    if (p->min_age && (duration_parse(p->min_age, &age) < 0 || age < 0))
        return error_set(e, ERR_INVALID, "min-age: \"%.40s\" is not a duration like 2m",
                         p->min_age);
    g.low = p->low ? p->low : s->gc.low ? s->gc.low : DEFAULT_LOW;
    g.min_age = min_age_of(p->min_age ? p->min_age : s->gc.min_age);
    return round_run(s, &g, ret, e);
}

void image_gc_round(struct image_store *s)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct image_gc_result result = {0};
    struct round g = {.low = s->gc.low, .min_age = min_age_of(s->gc.min_age)};
    struct disk d = {0};

    /* Waits only when it may matter: the janitor has more to do. */
    if (disk_look(s, &d, &e) < 0 || percent(d.used, &d) <= s->gc.high || disk_now(s, &d, &e) < 0 ||
        percent(d.used, &d) <= s->gc.high)
        return;
    if (round_run(s, &g, &result, &e) < 0) {
        log_warn("cannot collect images", "error=\"%s\"", error_message(&e));
        return;
    }
    if (result.used_after > s->gc.high)
        log_warn("the disk stays fuller than image-gc's high mark: nothing more may be removed",
                 "used=%llu high=%llu", (unsigned long long)result.used_after,
                 (unsigned long long)s->gc.high);
    image_gc_result_done(&result);
}
