/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nobody needs any more. A layer or blob may go when no image has it and no operation under
 * way has pinned it. The database's transaction is the lock here: an operation pins first and looks
 * into the tables afterwards, so it either sees a row that stays or none at all.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "oci/digest.h"

#define SOURCES_NS                                                                                 \
    (365 * 24 * 3600 * NSEC_PER_SEC) /* how long repositories of blobs are remembered */

struct pin {
    unsigned count;
};

void image_store_pin(struct image_store *s, const char *digest)
{
    pthread_mutex_lock(&s->lock);
    struct pin *p = map_get(s->pins, digest);
    if (!p) {
        p = xcalloc(1, sizeof(*p));
        (void)map_set(s->pins, digest, p);
    }
    p->count++;
    pthread_mutex_unlock(&s->lock);
}

void image_store_unpin(struct image_store *s, const char *digest)
{
    pthread_mutex_lock(&s->lock);
    struct pin *p = map_get(s->pins, digest);
    if (p && --p->count == 0)
        free(map_remove(s->pins, digest));
    pthread_mutex_unlock(&s->lock);
}

bool image_store_is_pinned(struct image_store *s, const char *digest)
{
    pthread_mutex_lock(&s->lock);
    bool pinned = map_get(s->pins, digest) != NULL;
    pthread_mutex_unlock(&s->lock);
    return pinned;
}

/* The first column of a query with at most one argument. */
static int query_strings(struct image_store *s, const char *sql, const char *arg, char ***ret,
                         struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = arg ? store_query(s->db, &rows, e, sql, "s", arg)
                : store_query(s->db, &rows, e, sql, "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        if (store_col_str(&rows, 0))
            strv_push(ret, store_col_str(&rows, 0));
    return r;
}

/* Whether a query with one argument has a row: 1, 0, or <0: it is not known. */
static int query_any(struct image_store *s, const char *sql, const char *arg, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e, sql, "s", arg);

    return r < 0 ? r : store_rows_next(&rows, e);
}

/* With the layer go its archives: ret_blobs gets them. */
static int collect_layer(struct image_store *s, const char *diff_id, struct image_trash *trash,
                         char ***ret_blobs, unsigned *count, struct error *e)
{
    if (image_store_is_pinned(s, diff_id))
        return 0;
    int r = query_any(s, "SELECT 1 FROM image_layers WHERE diff_id = ? LIMIT 1", diff_id, e);
    if (r != 0)
        return r < 0 ? r : 0;
    r = query_strings(s,
                      "SELECT blob FROM layers WHERE diff_id = ?1 UNION "
                      "SELECT blob FROM layer_blobs WHERE diff_id = ?1",
                      diff_id, ret_blobs, e);
    uint64_t size = image_store_layer_size(s, diff_id);
    if (r >= 0)
        r = store_exec(s->db, e, "DELETE FROM layer_blobs WHERE diff_id = ?", "s", diff_id);
    if (r >= 0)
        r = store_exec(s->db, e, "DELETE FROM layers WHERE diff_id = ?", "s", diff_id);
    if (r < 0)
        return r;
    /* Both: one that never got its row, as the disk was full, goes too. */
    size_t first = trash->len;
    for (int form = IMAGE_LAYER_FOLDER; form <= IMAGE_LAYER_EROFS; form++) {
        AUTOFREE char *name = image_layer_name(diff_id, (enum image_layer_form)form);
        if (image_store_trash_layer(s, name, trash) == 0)
            ++*count;
        else if (r > 0 && faccessat(s->layers_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            image_durable_removed(s, name); /* its row, though it keeps its name on a full disk */
    }
    (void)!image_journal_remove(s, diff_id, trash);
    for (size_t i = first; i < trash->len; i++)
        trash->items[i].had_row = r > 0;
    trash->bytes += size;
    return 0;
}

static int collect_blob(struct image_store *s, const char *digest, struct image_trash *trash,
                        unsigned *count, struct error *e)
{
    static const char *const users[] = {"SELECT 1 FROM image_blobs WHERE digest = ? LIMIT 1",
                                        "SELECT 1 FROM images WHERE id = ?",
                                        "SELECT 1 FROM layers WHERE blob = ?",
                                        "SELECT 1 FROM layer_blobs WHERE blob = ?"};
    AUTOFREE char *path = image_blob_path(digest);
    int r = 0;

    if (image_store_is_pinned(s, digest))
        return 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(users); i++)
        r = query_any(s, users[i], digest, e);
    if (r != 0)
        return r < 0 ? r : 0;
    /* Who has a blob that was never stored (its layer came by another) is still worth knowing. */
    if (image_store_trash_blob(s, path, trash) == 0) {
        image_durable_removed(s, digest);
        ++*count;
        r = store_exec(s->db, e, "DELETE FROM blob_sources WHERE digest = ?", "s", digest);
    }
    return r < 0 ? r : 0;
}

/* Every blob there is on disk, as digests. */
static void list_blobs(struct image_store *s, const char *algorithm, char ***ret)
{
    int fd = openat(s->blobs_fd, algorithm, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *de;

    while (d && (de = readdir(d))) {
        AUTOFREE char *digest = xasprintf("%s:%s", algorithm, de->d_name);
        if (digest_is_valid(digest))
            strv_push(ret, digest);
    }
    if (d)
        closedir(d);
}

struct collection {
    struct image_store *s;
    struct image_trash trash;
    unsigned count;
    bool files_first; /* nothing comes back */
};

static void collection_undo(void *data)
{
    struct collection *c = data;

    if (!c->files_first)
        image_store_untrash(c->s, &c->trash);
}

/* One transaction; blobs NULL: those in all_blobs, which is the start's collection. */
static int collect(struct collection *c, char *const *layers, char *const *blobs,
                   char *const *all_blobs, struct error *e)
{
    AUTOPTR(strv) char **all_layers = NULL;
    AUTOPTR(strv) char **archives = NULL;
    struct image_store *s = c->s;
    int r = store_begin(s->db, e);

    if (r < 0)
        return r;
    if (!layers) {
        r = query_strings(s,
                          "SELECT diff_id FROM layers WHERE diff_id NOT IN "
                          "(SELECT diff_id FROM image_layers) UNION SELECT diff_id FROM "
                          "layer_blobs WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)",
                          NULL, &all_layers, e);
        layers = all_layers;
    }
    if (r >= 0 && !blobs) /* at the start: what nobody has asked for in a long time */
        r = store_exec(s->db, e, "DELETE FROM blob_sources WHERE seen < ?", "i",
                       time_now_ns() - SOURCES_NS);
    blobs = blobs ? blobs : all_blobs;
    for (size_t i = 0; r >= 0 && layers && layers[i]; i++)
        r = collect_layer(s, layers[i], &c->trash, &archives, &c->count, e);
    for (size_t i = 0; r >= 0 && archives && archives[i]; i++) {
        size_t first = c->trash.len;
        image_durable_removed(s,
                              archives[i]); /* its row, whether the blob is there or was dropped */
        r = collect_blob(s, archives[i], &c->trash, &c->count, e);
        if (c->trash.len > first)
            c->trash.items[first].had_row = true;
    }
    for (size_t i = 0; r >= 0 && blobs && blobs[i]; i++)
        r = collect_blob(s, blobs[i], &c->trash, &c->count, e);
    if (r >= 0)
        return store_commit_else(s->db, collection_undo, c, e);
    collection_undo(c);
    store_rollback(s->db);
    return r;
}

int image_store_collect(struct image_store *s, char *const *layers, char *const *blobs,
                        unsigned *ret_count, struct error *e)
{
    AUTO(error) struct error own = ERROR_INIT;
    AUTOPTR(strv) char **all_blobs = NULL;
    struct collection c = {.s = s};

    if (!blobs) {
        list_blobs(s, "sha256", &all_blobs);
        list_blobs(s, "sha512", &all_blobs);
    }
    int r = collect(&c, layers, blobs, all_blobs, &own);
    image_store_empty_trash(s, &c.trash);
    /* On a full disk what had no row has made room for what has one, or the reserve does; else the
     * files go first and their rows with the room they left. */
    for (int tries = 1; r == -ENOSPC && tries < 4; tries++) {
        if (tries == 1)
            store_make_room(s->db);
        if (!c.files_first)
            c.count = 0;
        c.files_first = tries == 2;
        error_done(&own);
        r = collect(&c, layers, blobs, all_blobs, &own);
        image_store_empty_trash(s, &c.trash);
    }
    error_move(e, &own);
    if (ret_count)
        *ret_count = c.count;
    return r;
}

/* --- Images -------------------------------------------------------------------------------------- */

int image_store_drop_rows(struct image_store *s, const char *id, struct image_dropped *ret,
                          struct error *e)
{
    static const char *const deletes[] = {
        "DELETE FROM image_layers WHERE image_id = ?",
        "DELETE FROM image_blobs WHERE image_id = ?",
        "DELETE FROM image_names WHERE image_id = ?",
        "DELETE FROM image_digests WHERE image_id = ?",
        "DELETE FROM image_leases WHERE image_id = ?",
        "DELETE FROM images WHERE id = ?",
        "UPDATE images SET parent = '' WHERE parent = ?",
    };
    int r = query_strings(s, "SELECT diff_id FROM image_layers WHERE image_id = ?", id,
                          &ret->layers, e);

    /* The configuration goes first: without it an image that a power cut brings back is none. */
    strv_push(&ret->blobs, id);
    if (r >= 0)
        r = query_strings(s, "SELECT digest FROM image_blobs WHERE image_id = ?", id, &ret->blobs,
                          e);
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(deletes); i++)
        r = store_exec(s->db, e, deletes[i], "s", id);
    ret->orphans = r > 0; /* images whose parent this was */
    /* Their rows go here, be their files there or not. */
    for (size_t i = 0; r >= 0 && ret->blobs[i]; i++)
        image_durable_removed(s, ret->blobs[i]);
    return r < 0 ? r : 0;
}

int image_store_drop_files(struct image_store *s, const char *id, struct image_dropped *d,
                           struct error *e)
{
    char *none[] = {NULL};

    image_store_changed(s, d->orphans ? NULL : id);
    return image_store_collect(s, d->layers ? d->layers : none, d->blobs ? d->blobs : none, NULL,
                               e);
}

void image_dropped_done(struct image_dropped *d)
{
    strv_free(d->layers);
    strv_free(d->blobs);
    *d = (struct image_dropped){0};
}

enum image_use image_store_use(struct image_store *s, const char *id, char container[65])
{
    *container = '\0';
    return s->in_use ? s->in_use(s->in_use_data, id, container) : IMAGE_UNUSED;
}

int image_store_delete_if(struct image_store *s, const char *id,
                          int (*may)(struct image_store *s, const char *id, void *data,
                                     struct error *e),
                          void *data, struct error *e)
{
    CLEANUP(image_dropped_done) struct image_dropped dropped = {0};

    store_make_room(s->db);
    int r = store_begin(s->db, e);
    if (r < 0)
        return r;
    r = may ? may(s, id, data, e) : 1;
    if (r > 0 && (r = image_store_drop_rows(s, id, &dropped, e)) >= 0)
        r = 1;
    if (r <= 0) {
        store_rollback(s->db);
        return r;
    }
    r = store_commit(s->db, e);
    if (r >= 0)
        r = image_store_drop_files(s, id, &dropped, e);
    else
        image_store_changed(s, NULL);
    return r < 0 ? r : 1;
}

int image_store_delete(struct image_store *s, const char *id, struct error *e)
{
    int r = image_store_delete_if(s, id, NULL, NULL, e);

    return r < 0 ? r : 0;
}

/* Still marked, and nobody has it: who looks for it from now on waits for the transaction. */
static int is_removed(struct image_store *s, const char *id, void *data, struct error *e)
{
    char container[65];
    int r = query_any(s, "SELECT 1 FROM images WHERE id = ? AND removed = 1", id, e);

    return r <= 0 ? r
                  : image_store_use(s, id, container) == IMAGE_UNUSED &&
                        !image_store_is_held(s, id, true);
}

int image_store_delete_removed(struct image_store *s, const char *id, struct error *e)
{
    return image_store_delete_if(s, id, is_removed, NULL, e);
}

void image_released(struct image_store *s, const char *image_id)
{
    AUTO(error) struct error e = ERROR_INIT;

    if (query_any(s, "SELECT 1 FROM images WHERE id = ? AND removed = 1", image_id, NULL) <= 0)
        return;
    if (image_store_delete_removed(s, image_id, &e) < 0) {
        /* Nothing is lost: the next start's sweep tries again. */
    }
}

int image_check_there(struct image_store *s, const char *id, const char *shown, struct error *e)
{
    int r = query_any(s, "SELECT 1 FROM images WHERE id = ? AND removed = 0", id, e);

    return r == 0 ? error_set(e, ERR_NOT_FOUND, "No such image: %s", shown) : r < 0 ? r : 0;
}

int image_sweep(struct image_store *s, struct error *e)
{
    AUTOPTR(strv) char **removed = NULL;
    unsigned count = 0;
    int r = query_strings(s, "SELECT id FROM images WHERE removed = 1", NULL, &removed, e);

    for (size_t i = 0; r >= 0 && removed && removed[i]; i++) {
        r = image_store_delete_removed(s, removed[i], e);
        count += r > 0;
    }
    pthread_mutex_lock(&s->lock);
    s->swept = true;
    pthread_mutex_unlock(&s->lock);
    image_old_layers_sweep(s);
    image_journals_sweep(s);
    unsigned things = 0;
    if (r >= 0)
        r = image_store_collect(s, NULL, NULL, &things, e);
    return r < 0 ? r : (int)(count + things);
}
