/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: names and ids, struct image objects and their cache. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/image-priv.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define CACHE_MAX     512
#define RESOLVE_TRIES 100

/* --- Objects ----------------------------------------------------------------------------------- */

static void object_free(struct image_object *o)
{
    free(o->pub.id);
    free(o->pub.parent);
    free(o->pub.config_json);
    oci_image_done(&o->pub.doc);
    strv_free(o->pub.repo_tags);
    strv_free(o->pub.repo_digests);
    strv_free(o->pub.layer_dirs);
    free(o->pub.layer_sizes);
    free(o);
}

static struct image_object *object_of(struct image *img)
{
    return (struct image_object *)img; /* pub is the first member */
}

struct image *image_ref(struct image *img)
{
    struct image_object *o = object_of(img);

    pthread_mutex_lock(&o->store->lock);
    o->refs++;
    pthread_mutex_unlock(&o->store->lock);
    return img;
}

/* Drops a reference under the lock; the object when it was the last. */
static struct image_object *unref_locked(struct image_object *o)
{
    if (--o->refs > 0)
        return NULL;
    if (o->prev)
        o->prev->next = o->next;
    else
        o->store->objects = o->next;
    if (o->next)
        o->next->prev = o->prev;
    return o;
}

void image_unref(struct image *img)
{
    if (!img)
        return;
    struct image_store *s = object_of(img)->store;
    pthread_mutex_lock(&s->lock);
    struct image_object *last = unref_locked(object_of(img));
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    AUTOFREE char *id = last->removed ? xstrdup(last->pub.id) : NULL;
    object_free(last);
    if (id)
        image_released(s, id);
}

void image_store_changed(struct image_store *s, const char *id)
{
    struct image_object *drop[CACHE_MAX + 1];
    size_t n = 0, pos = 0;
    const char *key;
    void *value;

    pthread_mutex_lock(&s->lock);
    s->generation++;
    if (id) {
        struct image_object *o = map_remove(s->cache, id);
        if (o) {
            o->cached = false;
            drop[n++] = unref_locked(o);
        }
    } else {
        while (map_next(s->cache, &pos, &key, &value) == 1) {
            struct image_object *o = value;
            o->cached = false;
            drop[n++] = unref_locked(o);
        }
        map_free(s->cache, NULL);
        s->cache = map_new();
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < n; i++)
        if (drop[i])
            object_free(drop[i]);
}

bool image_store_is_held(struct image_store *s, const char *id, bool mark)
{
    struct image_object *cached, *last = NULL;
    bool held = false;

    pthread_mutex_lock(&s->lock);
    for (struct image_object *o = s->objects; o; o = o->next) {
        if (!STREQ(o->pub.id, id) || o->refs <= (o->cached ? 1u : 0u))
            continue;
        held = true;
        if (mark)
            o->removed = true;
    }
    /* The cache's reference would be the last one: nobody would see what is marked end. */
    if (!held || mark) {
        s->generation++;
        cached = map_remove(s->cache, id);
        if (cached) {
            cached->cached = false;
            last = unref_locked(cached);
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (last)
        object_free(last);
    return held;
}

char *image_blob_path(const char *digest)
{
    return xasprintf("%s/%s", digest_algorithm(digest) == DIGEST_SHA512 ? "sha512" : "sha256",
                     digest_hex(digest));
}

/* --- Loading one image from the tables -------------------------------------------------------------- */

static int load_names(struct image_store *s, struct image *img, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT name, '' FROM image_names WHERE image_id = ? UNION ALL SELECT name,"
                        " digest FROM image_digests WHERE image_id = ? ORDER BY 1",
                        "ss", img->id, img->id);
    if (r < 0)
        return r;
    while ((r = store_rows_next(&rows, e)) > 0) {
        struct oci_reference ref = {0};
        const char *name = store_col_str(&rows, 0), *digest = store_col_str(&rows, 1);
        if (oci_reference_parse(name, &ref, NULL) < 0)
            continue;
        if (*digest)
            str_replace(&ref.digest, digest);
        strv_push_take(*digest ? &img->repo_digests : &img->repo_tags,
                       oci_reference_familiar(&ref));
        oci_reference_done(&ref);
    }
    return r;
}

static int load_layers(struct image_store *s, struct image *img, struct error *e)
{
    AUTOFREE char *blob = image_blob_path(img->id);
    size_t len = 0;
    int r = fs_read_file(s->blobs_fd, blob, OCI_CONFIG_MAX, &img->config_json, &len);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the configuration of image %s", img->id);
    r = oci_image_parse(img->config_json, len, &img->doc, e);
    if (r < 0) {
        error_add(e, "image %s", img->id);
        return r;
    }
    img->layer_sizes = xcalloc(strv_len(img->doc.rootfs.diff_ids) + 1, sizeof(uint64_t));
    for (size_t i = 0; img->doc.rootfs.diff_ids && img->doc.rootfs.diff_ids[i]; i++) {
        const char *diff_id = img->doc.rootfs.diff_ids[i];
        enum image_layer_form form = IMAGE_LAYER_FOLDER;

        (void)!image_store_layer_form(s, diff_id, &form); /* one that is missing: whoever uses it */
        AUTOFREE char *name = image_layer_name(diff_id, form);
        strv_pushf(&img->layer_dirs, "%s/layers/%s", s->root, name);
        img->layer_sizes[i] = image_store_layer_size(s, diff_id);
    }
    return 0;
}

static int load_row(struct image_store *s, struct image *img, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e, "SELECT size, tagged, parent FROM images WHERE id = ?",
                        "s", img->id);
    if (r >= 0)
        r = store_rows_next(&rows, e);
    if (r < 0)
        return r;
    if (r == 0)
        return error_set(e, ERR_NOT_FOUND, "No such image: %s", img->id);
    img->size = (uint64_t)store_col_int(&rows, 0);
    img->tagged = store_col_int(&rows, 1);
    img->parent = xstrdup(store_col_str(&rows, 2));
    return 0;
}

/* Puts a fresh object into the list of all, and into the cache; not when something changed since its
 * rows and files were looked at: they may be of before and after. */
static bool publish(struct image_store *s, struct image_object *o, uint64_t generation)
{
    pthread_mutex_lock(&s->lock);
    bool good = s->generation == generation;
    if (good) {
        o->refs = 1;
        o->next = s->objects;
        if (o->next)
            o->next->prev = o;
        s->objects = o;
    }
    if (good && map_len(s->cache) < CACHE_MAX && !map_get(s->cache, o->pub.id)) {
        (void)map_set(s->cache, o->pub.id, o);
        o->cached = true;
        o->refs++;
    }
    pthread_mutex_unlock(&s->lock);
    return good;
}

/* 1: *ret; 0: look again. */
static int load(struct image_store *s, const char *id, struct image_object **ret, struct error *e)
{
    struct image_object *o = xcalloc(1, sizeof(*o));

    pthread_mutex_lock(&s->lock);
    uint64_t generation = s->generation;
    pthread_mutex_unlock(&s->lock);
    o->store = s;
    o->pub.id = xstrdup(id);
    int r = load_row(s, &o->pub, e);
    if (r >= 0)
        r = load_names(s, &o->pub, e);
    if (r >= 0)
        r = load_layers(s, &o->pub, e);
    if (r >= 0 && publish(s, o, generation)) {
        *ret = o;
        return 1;
    }
    object_free(o);
    return r < 0 ? r : 0;
}

/*
 * Rows, then files: an image that is removed, or brought again, in between is seen half. So what fails,
 * or is not of one moment, is read once more while nobody removes anything: in a transaction.
 */
static int load_surely(struct image_store *s, const char *id, struct image_object **ret,
                       struct error *e)
{
    int r = load(s, id, ret, NULL);

    if (r > 0)
        return r;
    r = store_begin(s->db, e);
    if (r < 0)
        return r;
    /* Names in memory may change all the same: only what others cache. */
    do
        r = load(s, id, ret, e);
    while (r == 0);
    store_rollback(s->db);
    return r;
}

int image_get(struct image_store *s, const char *id, struct image **ret, struct error *e)
{
    pthread_mutex_lock(&s->lock);
    struct image_object *o = map_get(s->cache, id);
    if (o)
        o->refs++;
    pthread_mutex_unlock(&s->lock);
    if (!o) {
        int r = load_surely(s, id, &o, e);
        if (r < 0)
            return r;
    }
    *ret = &o->pub;
    return 0;
}

/* --- Names and ids ------------------------------------------------------------------------------------ */

/* The image of a full reference: 1, 0, <0. */
static int find_name(struct image_store *s, const struct oci_reference *ref, char **ret_id,
                     char **ret_name, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOFREE char *base = oci_reference_name(ref);
    AUTOFREE char *name = ref->digest ? xasprintf("%s@%s", base, ref->digest)
                                      : oci_reference_string(ref);
    int r;

    if (ref->digest)
        r = store_query(s->db, &rows, e,
                        "SELECT image_id FROM image_digests WHERE name = ? AND digest = ?", "ss",
                        base, ref->digest);
    else
        r = store_query(s->db, &rows, e, "SELECT image_id FROM image_names WHERE name = ?", "s",
                        name);
    if (r >= 0)
        r = store_rows_next(&rows, e);
    if (r <= 0)
        return r;
    *ret_id = xstrdup(store_col_str(&rows, 0));
    *ret_name = take_ptr(name);
    return 1;
}

/* By id or its beginning: 1, 0, <0. */
static int find_id(struct image_store *s, const char *text, char **ret_id, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    const char *hex = str_has_prefix(text, "sha256:") ? text + 7 : text;
    size_t len = strlen(hex);

    if (len == 0 || len > 64 || !str_is_hex(hex, len))
        return 0;
    AUTOFREE char *from = xasprintf("sha256:%s", hex);
    AUTOFREE char *to = xasprintf("sha256:%sg", hex); /* after all hex digits */
    int r = store_query(s->db, &rows, e,
                        "SELECT id FROM images WHERE id >= ? AND id < ? AND removed = 0 LIMIT 2",
                        "ss", from, to);
    if (r >= 0)
        r = store_rows_next(&rows, e);
    if (r <= 0)
        return r;
    AUTOFREE char *id = xstrdup(store_col_str(&rows, 0));
    r = store_rows_next(&rows, e);
    if (r < 0)
        return r;
    if (r > 0)
        return error_set(e, ERR_INVALID, "image id prefix \"%s\" is ambiguous: give more digits",
                         text);
    *ret_id = take_ptr(id);
    return 1;
}

/* A short name that is none of Docker Hub's here: what registries.conf makes of it. 1, 0, <0. */
static int find_short(struct image_store *s, const char *text, char **ret_id, char **ret_name,
                      struct error *e)
{
    AUTOPTR(strv) char **names = NULL;
    int r = 0;

    if (image_short_names(s, text, &names, NULL) < 0)
        return 0; /* a pull says what is wrong with the file */
    for (size_t i = 0; r == 0 && names && names[i]; i++) {
        CLEANUP(oci_reference_done) struct oci_reference ref = {0};
        if (oci_reference_parse(names[i], &ref, NULL) < 0)
            continue;
        oci_reference_default_tag(&ref);
        r = find_name(s, &ref, ret_id, ret_name, e);
    }
    return r;
}

int image_store_find(struct image_store *s, const char *name_or_id, char **ret_id, char **ret_name,
                     struct error *e)
{
    AUTO(error) struct error bad_name = ERROR_INIT;
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    char *id = NULL, *name = NULL;
    int r = 0;

    if (str_is_empty(name_or_id))
        return error_set(e, ERR_INVALID, "invalid reference format: the name is empty");
    /* A full id cannot be a name; a short one is a name first, as in Docker. */
    if (!str_has_prefix(name_or_id, "sha256:") &&
        oci_reference_parse(name_or_id, &ref, &bad_name) == 0) {
        oci_reference_default_tag(&ref);
        r = find_name(s, &ref, &id, &name, e);
    }
    if (r == 0)
        r = find_id(s, name_or_id, &id, e);
    if (r < 0)
        return r;
    if (r == 0 && bad_name.message && !str_is_hex(name_or_id, 64)) {
        r = -EINVAL;
        error_move(e, &bad_name);
        return r;
    }
    if (r == 0 && ref.path)
        r = find_short(s, name_or_id, &id, &name, e);
    if (r < 0)
        return r;
    if (r == 0) {
        AUTOFREE char *shown = ref.path ? oci_reference_familiar(&ref) : xstrdup(name_or_id);
        return error_set(e, ERR_NOT_FOUND, "No such image: %s", shown);
    }
    *ret_id = id;
    *ret_name = name;
    return 0;
}

int image_resolve(struct image_store *s, const char *name_or_id, struct image **ret,
                  struct error *e)
{
    for (int tries = 0;; tries++) {
        AUTO(error) struct error own = ERROR_INIT;
        AUTOFREE char *id = NULL, *name = NULL;
        int r = image_store_find(s, name_or_id, &id, &name, e);

        if (r < 0)
            return r;
        r = image_get(s, id, ret, &own);
        if (r >= 0)
            return 0;
        /* Removed between the two: the name is told as missing, or is another image's by now. */
        if (own.code != ERR_NOT_FOUND || tries >= RESOLVE_TRIES) {
            error_move(e, &own);
            return r;
        }
    }
}

int image_find_id(struct image_store *s, const char *name_or_id, char **ret_id, struct error *e)
{
    AUTOFREE char *name = NULL;

    return image_store_find(s, name_or_id, ret_id, &name, e);
}

int image_check_platform(const struct image *img, const char *platform, const char *shown,
                         struct error *e)
{
    CLEANUP(oci_platform_done) struct oci_platform want = {0}, have = {0};

    if (str_is_empty(platform))
        return 0;
    int r = oci_platform_parse(platform, &want, e);
    if (r < 0)
        return r;
    have.os = xstrdup(str_is_empty(img->doc.os) ? "linux" : img->doc.os);
    have.architecture = xstrdup_or_null(img->doc.architecture);
    have.variant = xstrdup_or_null(img->doc.variant);
    oci_platform_normalize(&have);
    if (oci_platform_rank(&want, &have) > 0)
        return 0;
    AUTOFREE char *is = oci_platform_string(&have), *asked = oci_platform_string(&want);
    return error_set(e, ERR_NOT_FOUND,
                     "image %s is there for platform %s, not for %s: pull it with --platform %s",
                     shown, is, asked, asked);
}

/* --- Lists ---------------------------------------------------------------------------------------------- */

int image_list(struct image_store *s, struct image_list *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOPTR(strv) char **ids = NULL;
    int r = store_query(s->db, &rows, e,
                        "SELECT id FROM images WHERE removed = 0 ORDER BY created DESC, id", "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        strv_push(&ids, store_col_str(&rows, 0));
    store_rows_done(&rows);
    if (r < 0)
        return r;
    struct map *parents = map_new();
    struct image_list list = {.items = xcalloc(strv_len(ids) + 1, sizeof(struct image *)),
                              .has_child = xcalloc(strv_len(ids) + 1, sizeof(bool))};
    for (size_t i = 0; ids && ids[i]; i++) {
        AUTO(error) struct error gone = ERROR_INIT;
        if (image_get(s, ids[i], &list.items[list.len], &gone) < 0)
            continue; /* it was removed this moment */
        if (*list.items[list.len]->parent)
            (void)map_set(parents, list.items[list.len]->parent, list.items[list.len]);
        list.len++;
    }
    for (size_t i = 0; i < list.len; i++)
        list.has_child[i] = map_get(parents, list.items[i]->id) != NULL;
    map_free(parents, NULL);
    *ret = list;
    return 0;
}

void image_list_done(struct image_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        image_unref(l->items[i]);
    free(l->items);
    free(l->has_child);
    memset(l, 0, sizeof(*l));
}

bool image_list_is_intermediate(const struct image_list *l, size_t i)
{
    return l->has_child[i] && strv_len(l->items[i]->repo_tags) == 0 &&
           strv_len(l->items[i]->repo_digests) == 0;
}

int image_find_family(struct image_store *s, const char *name_or_id, char ***ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOFREE char *id = NULL;
    int r = image_find_id(s, name_or_id, &id, e);

    if (r >= 0)
        r = store_query(s->db, &rows, e,
                        "WITH RECURSIVE family (id) AS (VALUES (?) UNION SELECT images.id FROM "
                        "images JOIN family ON images.parent = family.id WHERE removed = 0) "
                        "SELECT id FROM family",
                        "s", id);
    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        strv_push(ret, store_col_str(&rows, 0));
    return r;
}

size_t image_count(struct image_store *s)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    if (store_query(s->db, &rows, NULL, "SELECT count(*) FROM images WHERE removed = 0", "") < 0 ||
        store_rows_next(&rows, NULL) != 1)
        return 0;
    return (size_t)store_col_int(&rows, 0);
}

uint64_t image_layers_size(struct image_store *s)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    if (store_query(s->db, &rows, NULL, "SELECT coalesce(sum(size), 0) FROM layers", "") < 0 ||
        store_rows_next(&rows, NULL) != 1)
        return 0;
    return (uint64_t)store_col_int(&rows, 0);
}

void image_manifest_get(struct image_store *s, const struct image *img, struct image_manifest *ret)
{
    CLEANUP(oci_manifest_done) struct oci_manifest m = {0};
    AUTOPTR(strv) char **digests = NULL;
    AUTOFREE char *text = NULL;
    size_t len = 0;

    *ret = (struct image_manifest){.digest = NULL};
    if (image_blob_documents(s, img->id, "manifest", &digests, NULL) < 0 || !digests ||
        image_blob_read(s, digests[0], OCI_MANIFEST_MAX, &text, &len, NULL) < 0 ||
        oci_manifest_parse(text, len, &m, NULL) < 0)
        return;
    ret->digest = xstrdup(digests[0]);
    ret->media_type = xstrdup(str_is_empty(m.media_type) ? OCI_MT_MANIFEST : m.media_type);
    ret->size = len;
    ret->content = m.config.size;
    const struct oci_descriptor *d = m.layers.items;
    for (size_t i = 0; i < m.layers.len; i++)
        ret->content += d[i].size;
}

void image_manifest_done(struct image_manifest *m)
{
    free(m->digest);
    free(m->media_type);
    memset(m, 0, sizeof(*m));
}
