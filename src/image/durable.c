/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a power cut may take.
 *
 * Rows come before the disk has their files: they carry the id of this boot (column `boot`) until the
 * janitor has called syncfs() and empties it. A row of another boot is dropped at the start, with
 * its files. For this to be the whole truth some things must hold:
 *
 * - What a sync could not write is never called durable: the kernel tells that once and forgets, so
 *   such rows keep a mark ("<boot>!") and are dropped at the next boot.
 * - A row is marked durable by the sync that came after it, no other: a round first marks what it
 *   is about to make durable ("<boot>+") and afterwards looks for that mark alone. (Numbers of rows
 *   would not do: SQLite gives that of a removed row to the next.)
 * - A durable row never gets files that are not: what exists already is not written over
 *   (op_file_keep()), and what is repaired is synced first.
 * - A name that stood in a durable row is not taken again while the disk may still have that row:
 *   the removal is in the database's log, which nobody syncs. So names removed since the last sync
 *   are remembered, and who takes one of them again waits for the log. Mostly nobody has to: the janitor
 *   syncs the log after removals.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/image-priv.h"

static const char *const TABLES[] = {"layers", "images", "image_blobs", "layer_blobs"};

/* --- Removed names ------------------------------------------------------------------------------- */

void image_durable_removed(struct image_store *s, const char *name)
{
    pthread_mutex_lock(&s->lock);
    uint64_t *at = map_get(s->removed, name);
    if (!at) {
        at = xcalloc(1, sizeof(*at));
        (void)map_set(s->removed, name, at);
    }
    *at = ++s->removals;
    s->janitor_work = true;
    pthread_cond_signal(&s->janitor_wake);
    pthread_mutex_unlock(&s->lock);
}

/* The log has all that was removed up to this number. */
static void forget_removed(struct image_store *s, uint64_t until)
{
    AUTOPTR(strv) char **names = NULL;
    const char *name;
    void *at;
    size_t i = 0;

    pthread_mutex_lock(&s->lock);
    s->log_unknown = false;
    while (map_next(s->removed, &i, &name, &at) > 0)
        if (*(const uint64_t *)at <= until)
            strv_push(&names, name);
    for (size_t k = 0; names && names[k]; k++)
        free(map_remove(s->removed, names[k]));
    pthread_mutex_unlock(&s->lock);
}

int image_durable_begin(struct image_store *s, const char *name, struct error *e)
{
    for (;;) {
        int r = store_begin(s->db, e);
        if (r < 0)
            return r;
        /* Whoever removed it has ended its transaction: the log has it. */
        pthread_mutex_lock(&s->lock);
        bool wait = s->log_unknown || map_get(s->removed, name);
        uint64_t until = s->removals;
        int failed = wait ? s->log_errnum : 0;
        if (failed)
            s->log_errnum = 0;
        pthread_mutex_unlock(&s->lock);
        if (!wait)
            return 0;
        store_rollback(s->db);
        if (failed)
            return error_set_errno(e, failed, "cannot write the removal of images to disk");
        r = store_sync(s->db, e);
        if (r < 0)
            return r;
        forget_removed(s, until);
    }
}

/* Nothing but removals waits for the disk. */
static void sync_removals(struct image_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool any = (s->log_unknown || map_len(s->removed) > 0) && !s->log_errnum;
    pthread_mutex_unlock(&s->lock);
    if (!any || store_begin(s->db, NULL) < 0)
        return;
    pthread_mutex_lock(&s->lock);
    uint64_t until = s->removals; /* their transactions have ended: we are in one */
    pthread_mutex_unlock(&s->lock);
    store_rollback(s->db);
    int r = store_sync(s->db, NULL);
    if (r >= 0) {
        forget_removed(s, until);
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->log_errnum = -r; /* the kernel tells it once: we to who takes one of the names */
    pthread_mutex_unlock(&s->lock);
}

/* --- Rounds ---------------------------------------------------------------------------------------- */

/* Whether anything waits for the disk. */
static bool any_waits(struct image_store *s)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    return store_query(
               s->db, &rows, NULL,
               "SELECT EXISTS (SELECT 1 FROM layers WHERE boot != '' AND boot NOT LIKE '%!') OR "
               "EXISTS (SELECT 1 FROM images WHERE boot != '' AND boot NOT LIKE '%!') OR "
               "EXISTS (SELECT 1 FROM image_blobs WHERE boot != '' AND boot NOT LIKE '%!') OR "
               "EXISTS (SELECT 1 FROM layer_blobs WHERE boot != '' AND boot NOT LIKE '%!')",
               "") >= 0 &&
           store_rows_next(&rows, NULL) == 1 && store_col_int(&rows, 0) != 0;
}

/* Marks what is in the tables. *ret_until: all removals up to it are in the log that is about to be
 * synced. */
static int mark(struct image_store *s, uint64_t *ret_until)
{
    int r = store_begin(s->db, NULL);

    if (r < 0)
        return r;
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(TABLES); i++) {
        AUTOFREE char *sql = xasprintf("UPDATE %s SET boot = ? || '+' WHERE boot != '' AND "
                                       "boot NOT LIKE '%%!'",
                                       TABLES[i]);
        r = store_exec(s->db, NULL, sql, "s", s->boot_id);
    }
    pthread_mutex_lock(&s->lock);
    *ret_until = s->removals;
    pthread_mutex_unlock(&s->lock);
    if (r >= 0)
        return store_commit(s->db, NULL);
    store_rollback(s->db);
    return r;
}

/* 0 or errno. Blobs and the database may be on other file systems than the layers. */
static int sync_all(struct image_store *s)
{
    struct stat layers, blobs;

    if (syncfs(s->sync_fd) < 0)
        return errno;
    if (fstat(s->layers_fd, &layers) == 0 && fstat(s->blobs_fd, &blobs) == 0 &&
        layers.st_dev != blobs.st_dev && syncfs(s->blobs_fd) < 0)
        return errno;
    return -store_sync(s->db, NULL);
}

void image_durable_round(struct image_store *s)
{
    uint64_t until = 0;

    if (!any_waits(s)) {
        sync_removals(s);
        return;
    }
    int r = mark(s, &until);
    if (r < 0) {
        log_warn("cannot mark images as on disk", "error=\"%s\"", strerror(-r));
        return;
    }
    /* What is marked has its files written; what comes meanwhile waits. */
    int failed = sync_all(s);
    if (failed)
        log_warn(
            "the disk did not take what was pulled lately: it will be gone after the next boot; "
            "pouch fsck tells what is damaged now",
            "root=%s error=\"%s\"", s->root, strerror(failed));
    else
        forget_removed(s, until);
    for (size_t i = 0; i < ARRAY_SIZE(TABLES); i++) {
        AUTOFREE char *sql =
            failed ? xasprintf("UPDATE %s SET boot = ?1 || '!' WHERE boot = ?1 || '+'", TABLES[i])
                   : xasprintf("UPDATE %s SET boot = '' WHERE boot = ?1 || '+'", TABLES[i]);
        (void)!store_exec(s->db, NULL, sql, "s", s->boot_id);
    }
}

int image_durable_drop_lost(struct image_store *s, struct error *e)
{
    static const char *const lost[] = {
        /* Documents that came to an image later: it is as it was before. */
        "DELETE FROM image_digests WHERE EXISTS (SELECT 1 FROM image_blobs b WHERE b.image_id = "
        "image_digests.image_id AND b.digest = image_digests.digest AND b.boot != '' AND "
        "b.boot NOT LIKE ? || '%')",
        "DELETE FROM image_blobs WHERE boot != '' AND boot NOT LIKE ? || '%'",
        "DELETE FROM layer_blobs WHERE boot != '' AND boot NOT LIKE ? || '%'",
    };
    int r = 0;

    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(lost); i++)
        r = store_exec(s->db, e, lost[i], "s", s->boot_id);
    return r < 0 ? r : 0;
}

bool image_durable_is_lost(const struct image_store *s, const char *boot)
{
    return *boot && !str_has_prefix(boot, s->boot_id);
}
