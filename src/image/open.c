/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the store: folders, tables, the rest of what a crash left, and the janitor thread.
 *
 * Durability (durable.c). A pull returns when its files are written and its rows are committed, not
 * when the disk has them: the janitor then calls syncfs() once and marks the rows durable (boot =
 * ''). Rows that a power cut caught before that carry the id of another boot: they are dropped at
 * the next start with their files. So a killed pouchd loses nothing, and a power cut within seconds
 * of a pull loses that image as a whole but never leaves a torn one.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/image-priv.h"
#include "image/registries.h"
#include "io/reaper.h"

#define NOBODY             65534
#define USES_FLUSH_SECONDS 30

static const char *const MIGRATIONS[] = {
    "CREATE TABLE images (id TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL,"
    " tagged INTEGER NOT NULL, removed INTEGER NOT NULL DEFAULT 0, boot TEXT NOT NULL);"
    "CREATE TABLE image_names (name TEXT PRIMARY KEY, image_id TEXT NOT NULL);"
    "CREATE INDEX image_names_id ON image_names (image_id);"
    "CREATE TABLE image_digests (name TEXT NOT NULL, digest TEXT NOT NULL,"
    " image_id TEXT NOT NULL, PRIMARY KEY (name, digest));"
    "CREATE INDEX image_digests_id ON image_digests (image_id);"
    "CREATE TABLE image_layers (image_id TEXT NOT NULL, position INTEGER NOT NULL,"
    " diff_id TEXT NOT NULL, PRIMARY KEY (image_id, position));"
    "CREATE INDEX image_layers_diff ON image_layers (diff_id);"
    "CREATE TABLE image_blobs (image_id TEXT NOT NULL, digest TEXT NOT NULL,"
    " PRIMARY KEY (image_id, digest));"
    "CREATE INDEX image_blobs_digest ON image_blobs (digest);"
    "CREATE TABLE layers (diff_id TEXT PRIMARY KEY, blob TEXT, media_type TEXT,"
    " blob_size INTEGER NOT NULL, size INTEGER NOT NULL, boot TEXT NOT NULL);",
    /* For push and save: what each blob of an image is (config, manifest, index; '': an older
     * version wrote the row), which repositories have a blob, and a layer's other archives. */
    "ALTER TABLE image_blobs ADD COLUMN role TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE image_blobs ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE blob_sources (digest TEXT NOT NULL, repository TEXT NOT NULL,"
    " seen INTEGER NOT NULL, PRIMARY KEY (digest, repository));"
    "CREATE TABLE layer_blobs (diff_id TEXT NOT NULL, compression TEXT NOT NULL,"
    " level INTEGER NOT NULL, blob TEXT NOT NULL, media_type TEXT NOT NULL,"
    " blob_size INTEGER NOT NULL, PRIMARY KEY (diff_id, compression, level));"
    "CREATE INDEX layer_blobs_blob ON layer_blobs (blob);"
    "CREATE TABLE manifest_lists (name TEXT PRIMARY KEY, created INTEGER NOT NULL);"
    "CREATE TABLE manifest_list_members (list TEXT NOT NULL, position INTEGER NOT NULL,"
    " reference TEXT NOT NULL, descriptor TEXT NOT NULL, manifest BLOB NOT NULL,"
    " PRIMARY KEY (list, reference));",
    /* used: when a container was last made or started of it. leases: who wants an image kept though
     * nothing uses it. */
    "ALTER TABLE images ADD COLUMN used INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE image_leases (owner TEXT NOT NULL, image_id TEXT NOT NULL, created INTEGER NOT"
    " NULL, PRIMARY KEY (owner, image_id)) WITHOUT ROWID;"
    "CREATE INDEX image_leases_id ON image_leases (image_id);",
    /* verity: the measure of the layer's file, "sha256:…"; '': it has none. */
    "ALTER TABLE layers ADD COLUMN form TEXT NOT NULL DEFAULT 'folder';"
    "ALTER TABLE layers ADD COLUMN verity TEXT NOT NULL DEFAULT '';",
    /* Why the blob of a layer is kept although blobs are dropped; '': not tried. */
    "ALTER TABLE layers ADD COLUMN journal TEXT NOT NULL DEFAULT '';",
    /* As in layers and images: documents that came to an image later, archives made for a push. */
    "ALTER TABLE image_blobs ADD COLUMN boot TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE layer_blobs ADD COLUMN boot TEXT NOT NULL DEFAULT '';",
    /* The image it was made of by a commit, while that is there; else ''. */
    "ALTER TABLE images ADD COLUMN parent TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX images_parent ON images (parent);",
    NULL,
};

/* --- The janitor ------------------------------------------------------------------------------- */

static struct image_trashed *trash_add(struct image_trash *trash, const char *name, bool blob)
{
    trash->items = xreallocarray(trash->items, trash->len + 1, sizeof(*trash->items));
    trash->items[trash->len] = (struct image_trashed){.name = xstrdup(name), .blob = blob};
    return &trash->items[trash->len++];
}

static void trash_forget(struct image_trash *trash)
{
    for (size_t i = 0; i < trash->len; i++) {
        free(trash->items[i].name);
        free(trash->items[i].was);
    }
    free(trash->items);
    *trash = (struct image_trash){0};
}

/* Files lose their names at once; folders keep the trash's. */
static void empty_layer(struct image_store *s, const char *name, uint64_t bytes)
{
    struct stat st;
    bool file = fstatat(s->layers_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode);

    if (!file || reaper_unlink(s->reaper, s->layers_fd, name) < 0)
        reaper_remove_tree(s->reaper, s->layers_fd, name, bytes);
}

void image_store_empty_trash(struct image_store *s, struct image_trash *trash)
{
    size_t layers = 0;

    for (size_t i = 0; i < trash->len; i++) {
        const struct image_trashed *t = &trash->items[i];
        layers += !t->blob;
        if (!s->layer_gone || t->blob || !t->was)
            continue;
        AUTOFREE char *path = xasprintf("%s/layers/%s", s->root, t->was);
        s->layer_gone(s->in_use_data, path);
    }
    for (size_t i = 0; i < trash->len; i++) {
        const struct image_trashed *t = &trash->items[i];
        if (t->name && t->blob)
            (void)!reaper_unlink(s->reaper, s->tmp_fd, t->name);
        else if (t->name)
            empty_layer(s, t->name, trash->bytes / layers);
    }
    trash_forget(trash);
}

void image_store_untrash(struct image_store *s, struct image_trash *trash)
{
    for (size_t i = 0; i < trash->len; i++) {
        struct image_trashed *t = &trash->items[i];
        if (t->had_row &&
            renameat2(t->blob ? s->tmp_fd : s->layers_fd, t->name,
                      t->blob ? s->blobs_fd : s->layers_fd, t->was, RENAME_NOREPLACE) == 0)
            free(take_ptr(t->name)); /* mounts of it are made anew */
    }
}

/* True when it is time to look without being asked: the disk fills with containers' files too, and
 * uses are written now and then. The lock is held. */
static bool wait_for_work(struct image_store *s)
{
    struct timespec until;

    if (s->gc.high == 0 && map_len(s->uses) == 0 && map_len(s->partials) == 0) {
        pthread_cond_wait(&s->janitor_wake, &s->lock);
        return false;
    }
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += map_len(s->uses) > 0 ? USES_FLUSH_SECONDS : IMAGE_GC_PERIOD_SECONDS;
    return pthread_cond_timedwait(&s->janitor_wake, &s->lock, &until) == ETIMEDOUT;
}

static void *janitor_thread(void *data)
{
    struct image_store *s = data;

    image_store_empty_trash(s, &s->old_trash);
    pthread_mutex_lock(&s->lock);
    for (;;) {
        bool late = false;
        while (!s->janitor_work && !s->closing && !late)
            late = wait_for_work(s);
        if (!s->janitor_work && !late)
            break;
        s->janitor_work = false;
        bool swept = s->swept && !s->closing, gc = swept && s->gc.high > 0;
        pthread_mutex_unlock(&s->lock);
        image_durable_round(s);
        store_keep_room(s->db);
        image_partials_trim(s, false);
        if (s->verity)
            image_verity_round(s);
        image_uses_flush(s);
        if (swept && s->has_old)
            image_old_layers_sweep(s);
        if (gc)
            image_gc_round(s);
        pthread_mutex_lock(&s->lock);
        if (swept && s->dropper_runs) {
            s->dropper_work = true;
            pthread_cond_signal(&s->dropper_wake);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void *dropper_thread(void *data)
{
    struct image_store *s = data;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->dropper_work && !s->closing)
            pthread_cond_wait(&s->dropper_wake, &s->lock);
        if (s->closing)
            break;
        s->dropper_work = false;
        pthread_mutex_unlock(&s->lock);
        image_journal_round(s);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

void image_store_wake_janitor(struct image_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->janitor_work = true;
    pthread_cond_signal(&s->janitor_wake);
    pthread_mutex_unlock(&s->lock);
}

int image_store_trash_layer(struct image_store *s, const char *name, struct image_trash *list)
{
    char id[17];

    random_hex(id, 8);
    AUTOFREE char *trash = xasprintf("trash.%s", id);
    AUTOFREE char *layer = xasprintf("%s/layers/%s", s->root, name);
    if (renameat(s->layers_fd, name, s->layers_fd, trash) < 0)
        return -errno;
    if (!strchr(name, '.') || str_has_suffix(name, ".erofs")) /* no temporary one */
        image_durable_removed(s, name);
    trash_add(list, trash, false)->was = xstrdup(name);
    if (s->layer_going)
        s->layer_going(s->in_use_data, layer);
    return 0;
}

int image_store_trash_blob(struct image_store *s, const char *path, struct image_trash *list)
{
    char id[17];

    random_hex(id, 8);
    AUTOFREE char *trash = xasprintf("trash.%s", id); /* clear_tmp() knows what a crash leaves */
    if (renameat(s->blobs_fd, path, s->tmp_fd, trash) == 0)
        trash_add(list, trash, true)->was = xstrdup(path);
    else if (errno == ENOENT || unlinkat(s->blobs_fd, path, 0) < 0)
        return -errno;
    return 0;
}

/* --- Recovery -------------------------------------------------------------------------------------- */

/* What was half received. */
static void clear_tmp(struct image_store *s)
{
    int fd = openat(s->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *de;

    while (d && (de = readdir(d)))
        if (de->d_name[0] != '.')
            (void)!reaper_unlink(s->reaper, s->tmp_fd, de->d_name);
    if (d)
        closedir(d);
}

/* Folders and files that no row knows: half-made ones, and those of a transaction that was lost. */
static void clear_layers(struct image_store *s, struct map *known)
{
    int fd = openat(s->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *de;
    AUTOPTR(strv) char **names = NULL;

    while (d && (de = readdir(d)))
        if (str_has_prefix(de->d_name, "trash."))
            (void)trash_add(&s->old_trash, de->d_name, false);
        else if (str_has_prefix(de->d_name, "old."))
            s->has_old = true; /* until no container runs on it */
        else if (de->d_name[0] != '.' && !map_get(known, de->d_name))
            strv_push(&names, de->d_name);
    if (d)
        closedir(d);
    for (size_t i = 0; names && names[i]; i++)
        if (image_store_trash_layer(s, names[i], &s->old_trash) < 0)
            log_warn("cannot remove a half-unpacked layer", "name=%s", names[i]);
}

/* Rows whose folder is missing or may be torn by a power cut go; the rest is known. */
static int check_layers(struct image_store *s, struct map *known, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOPTR(strv) char **lost = NULL;
    AUTOPTR(strv) char **other = NULL; /* have the form they had before a conversion */
    int r = store_query(s->db, &rows, e, "SELECT diff_id, boot, form FROM layers", "");

    if (r < 0)
        return r;
    while ((r = store_rows_next(&rows, e)) > 0) {
        const char *diff_id = store_col_str(&rows, 0), *boot = store_col_str(&rows, 1);
        bool file = STREQ(store_col_str(&rows, 2), "erofs");
        AUTOFREE char *name = image_layer_name(diff_id,
                                               file ? IMAGE_LAYER_EROFS : IMAGE_LAYER_FOLDER);
        AUTOFREE char *before = image_layer_name(diff_id,
                                                 file ? IMAGE_LAYER_FOLDER : IMAGE_LAYER_EROFS);
        bool there = faccessat(s->layers_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        if (!there && !*boot && faccessat(s->layers_fd, before, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
            strv_push(&other, diff_id);
            (void)map_set(known, before, s);
        } else if (image_durable_is_lost(s, boot) || !there) {
            strv_push(&lost, diff_id);
        } else {
            (void)map_set(known, name, s);
        }
    }
    store_rows_done(&rows);
    for (size_t i = 0; r >= 0 && other && other[i]; i++)
        r = store_exec(s->db, e,
                       "UPDATE layers SET verity = '', form = CASE form WHEN 'erofs' THEN 'folder' "
                       "ELSE 'erofs' END WHERE diff_id = ?",
                       "s", other[i]);
    for (size_t i = 0; r >= 0 && lost && lost[i]; i++)
        r = store_exec(s->db, e, "DELETE FROM layers WHERE diff_id = ?", "s", lost[i]);
    return r;
}

/* Images that miss a layer or their configuration are gone; says so. */
static int check_images(struct image_store *s, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOPTR(strv) char **lost = NULL;
    int r =
        store_query(s->db, &rows, e,
                    "SELECT id, (boot != '' AND boot NOT LIKE ? || '%') OR EXISTS (SELECT 1 FROM "
                    "image_layers l WHERE l.image_id = id AND l.diff_id NOT IN "
                    "(SELECT diff_id FROM layers)) FROM images",
                    "s", s->boot_id);
    if (r < 0)
        return r;
    while ((r = store_rows_next(&rows, e)) > 0) {
        const char *id = store_col_str(&rows, 0);
        AUTOFREE char *blob = image_blob_path(id);
        if (store_col_int(&rows, 1) || faccessat(s->blobs_fd, blob, F_OK, 0) < 0)
            strv_push(&lost, id);
    }
    store_rows_done(&rows);
    for (size_t i = 0; r >= 0 && lost && lost[i]; i++) {
        log_warn("an image was lost with the last power cut or with its files; pull it again",
                 "id=%s", lost[i]);
        r = image_store_delete(s, lost[i], e);
    }
    return r;
}

static int recover(struct image_store *s, struct error *e)
{
    struct map *known = map_new();

    AUTOFREE char *boot = NULL;
    if (fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", sizeof(s->boot_id), &boot,
                     NULL) == 0)
        snprintf(s->boot_id, sizeof(s->boot_id), "%.36s", boot);
    else
        snprintf(s->boot_id, sizeof(s->boot_id), "unknown");
    clear_tmp(s);
    int r = check_layers(s, known, e);
    if (r >= 0)
        clear_layers(s, known);
    map_free(known, NULL);
    if (r >= 0)
        r = image_durable_drop_lost(s, e);
    return r < 0 ? r : check_images(s, e);
}

/* --- Opening ------------------------------------------------------------------------------------------ */

static int open_dir(struct image_store *s, const char *name, int *ret, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", s->root, name);
    int r = fs_mkdir_p(path, 0700);

    if (r < 0)
        return error_set_errno(e, r, "cannot make %s", path);
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret < 0 ? error_set_errno(e, errno, "cannot open %s", path) : 0;
}

static void find_worker_user(struct image_store *s, const char *name)
{
    struct passwd pw, *found = NULL;
    char buf[4096];

    s->worker_uid = s->worker_gid = NOBODY;
    if (geteuid() != 0) { /* tests: no rights to give up */
        s->worker_uid = s->worker_gid = 0;
        return;
    }
    if (getpwnam_r(name ? name : "pouch-image", &pw, buf, sizeof(buf), &found) == 0 && found &&
        pw.pw_uid != 0) {
        s->worker_uid = pw.pw_uid;
        s->worker_gid = pw.pw_gid;
    }
}

int image_store_open(const struct image_store_params *p, struct image_store **ret, struct error *e)
{
    struct image_store *s = xcalloc(1, sizeof(*s));
    int r, sha_fd = -EBADF;

    s->root = xstrdup(p->root);
    s->db = p->store;
    s->insecure_registries = strv_copy(p->insecure_registries);
    s->signature_policy = xstrdup_or_null(p->signature_policy);
    s->registries_d = xstrdup_or_null(p->registries_d);
    s->auth_file = xstrdup_or_null(p->auth_file);
    s->in_use = p->in_use;
    s->in_use_data = p->in_use_data;
    s->layer_form = p->layer_form;
    s->verity = p->verity;
    s->layer_going = p->layer_going;
    s->layer_gone = p->layer_gone;
    s->reaper = p->reaper;
    s->layers_fd = s->blobs_fd = s->tmp_fd = s->sync_fd = -EBADF;
    s->closing_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->janitor_wake, NULL);
    pthread_cond_init(&s->dropper_wake, NULL);
    s->cache = map_new();
    s->flights = map_new();
    s->pins = map_new();
    s->removed = map_new();
    s->log_unknown = true;
    s->partials = map_new();
    s->uses = map_new();
    if (p->gc)
        json_copy(&image_gc_config_json, &s->gc, p->gc);
    s->on_collected = p->on_collected;
    s->drop_blobs = p->drop_blobs;
    find_worker_user(s, p->worker_user);
    if ((r = registries_new(p->registry, p->insecure_registries, &s->registries, e)) < 0 ||
        (r = open_dir(s, "layers", &s->layers_fd, e)) < 0 ||
        (r = open_dir(s, "layers", &s->sync_fd, e)) < 0 ||
        (r = open_dir(s, "blobs/sha256", &sha_fd, e)) < 0 ||
        (r = open_dir(s, "blobs/tmp", &s->tmp_fd, e)) < 0 ||
        (r = open_dir(s, "blobs", &s->blobs_fd, e)) < 0 ||
        (r = store_migrate(s->db, "image", MIGRATIONS, e)) < 0 || (r = recover(s, e)) < 0)
        goto fail;
    (void)!store_exec(s->db, NULL, "UPDATE layers SET journal = '' WHERE journal LIKE '!%'", "");
    s->dropper_runs = s->drop_blobs && s->closing_fd >= 0 &&
                      pthread_create(&s->dropper, NULL, dropper_thread, s) == 0;
    r = pthread_create(&s->janitor, NULL, janitor_thread, s);
    if (r != 0) {
        r = error_set_errno(e, r, "cannot start a thread");
        goto fail;
    }
    s->janitor_runs = true;
    close(sha_fd);
    image_store_wake_janitor(s);
    *ret = s;
    return 0;
fail:
    if (sha_fd >= 0)
        close(sha_fd);
    image_store_close(s);
    return r;
}

void image_store_give_up(struct image_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->given_up = true;
    pthread_mutex_unlock(&s->lock);
    if (s->closing_fd >= 0)
        (void)!eventfd_write(s->closing_fd, 1);
}

void image_store_close(struct image_store *s)
{
    if (!s)
        return;
    image_store_give_up(s);
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->dropper_wake);
    pthread_mutex_unlock(&s->lock);
    if (s->dropper_runs)
        (void)pthread_join(s->dropper, NULL);
    if (s->janitor_runs) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_signal(&s->janitor_wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->janitor, NULL);
        image_uses_flush(s);
    }
    image_store_changed(s, NULL);
    if (s->tmp_fd >= 0)
        image_partials_trim(s, true);
    map_free(s->partials, NULL);
    map_free(s->cache, NULL);
    map_free(s->flights, free);
    map_free(s->pins, free);
    map_free(s->removed, free);
    map_free(s->uses, free);
    json_free(&image_gc_config_json, &s->gc);
    int fds[] = {s->layers_fd, s->blobs_fd, s->tmp_fd, s->sync_fd, s->closing_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->dropper_wake);
    pthread_cond_destroy(&s->janitor_wake);
    strv_free(s->insecure_registries);
    registries_free(s->registries);
    free(s->signature_policy);
    free(s->registries_d);
    free(s->auth_file);
    trash_forget(&s->old_trash);
    free(s->root);
    free(s);
}
