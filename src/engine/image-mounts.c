/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images mounted on the host: a read-only view of an image's layers on a folder. On record before it
 * is mounted, so that a mount of ours is never forgotten; it outlives pouchd, and what did not outlive
 * the machine is struck off at the next start. A mounted image is in use: it is not removed.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x00002000
#endif

static const char *const MIGRATIONS[] = {
    "CREATE TABLE image_mounts (path TEXT PRIMARY KEY, image_id TEXT NOT NULL);",
    NULL,
};

static bool is_mount_root(const char *path)
{
    struct statx st;

    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &st) == 0 &&
           (st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* The folder, when it was made here, goes with the mount. */
static void remove_own_folder(const struct engine *en, const char *path)
{
    AUTOFREE char *own = xasprintf("%s/mounts/", en->root);

    if (str_has_prefix(path, own))
        (void)rmdir(path);
}

/* --- The list, under en->mutex ------------------------------------------------------------------ */

static void list_add(struct engine *en, const char *path, const char *image_id, bool busy)
{
    struct image_mount *m = xcalloc(1, sizeof(*m));

    m->busy = busy;
    m->path = xstrdup(path);
    m->image_id = xstrdup(image_id);
    (void)pthread_mutex_lock(&en->mutex);
    m->next = en->image_mounts;
    en->image_mounts = m;
    (void)pthread_mutex_unlock(&en->mutex);
}

static void mount_free(struct image_mount *m)
{
    free(m->path);
    free(m->image_id);
    free(m);
}

/* Who mounts or unmounts marks it, so that nobody does the other meanwhile. -ENOENT, -EBUSY: somebody
 * else is at it. */
static int list_mark(struct engine *en, const char *path, bool busy)
{
    int r = -ENOENT;

    (void)pthread_mutex_lock(&en->mutex);
    for (struct image_mount *m = en->image_mounts; m; m = m->next) {
        if (!STREQ(m->path, path))
            continue;
        r = busy && m->busy ? -EBUSY : 0;
        if (r == 0)
            m->busy = busy;
        break;
    }
    (void)pthread_mutex_unlock(&en->mutex);
    return r;
}

static void list_remove(struct engine *en, const char *path)
{
    struct image_mount *found = NULL;

    (void)pthread_mutex_lock(&en->mutex);
    for (struct image_mount **p = &en->image_mounts; *p; p = &(*p)->next) {
        if (STREQ((*p)->path, path)) {
            found = *p;
            *p = found->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&en->mutex);
    if (found)
        mount_free(found);
}

static struct image_mount *list_copy(struct engine *en, bool with_busy)
{
    struct image_mount *copy = NULL;

    (void)pthread_mutex_lock(&en->mutex);
    for (const struct image_mount *m = en->image_mounts; m; m = m->next) {
        struct image_mount *c = m->busy && !with_busy ? NULL : xcalloc(1, sizeof(*c));

        if (!c)
            continue;
        *c = (struct image_mount){copy, xstrdup(m->path), xstrdup(m->image_id), m->busy};
        copy = c;
    }
    (void)pthread_mutex_unlock(&en->mutex);
    return copy;
}

bool image_mounts_use(struct engine *en, const char *image_id)
{
    for (const struct image_mount *m = en->image_mounts; m; m = m->next)
        if (STREQ(m->image_id, image_id))
            return true;
    return false;
}

/* Where the image is mounted; NULL: nowhere. The caller frees. */
static char *place_of(struct engine *en, const char *image_id)
{
    char *place = NULL;

    (void)pthread_mutex_lock(&en->mutex);
    for (const struct image_mount *m = en->image_mounts; m && !place; m = m->next)
        if (STREQ(m->image_id, image_id))
            place = xstrdup(m->path);
    (void)pthread_mutex_unlock(&en->mutex);
    return place;
}

int image_mounts_check_remove(struct engine *en, const char *ref, struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;

    if (image_resolve(en->images, ref, &img, NULL) < 0)
        return 0; /* whoever removes it says why */
    AUTOFREE char *place = place_of(en, img->id);
    bool by_id = str_has_prefix(img->id, ref) || str_has_prefix(img->id + 7, ref);
    if (!place || (!by_id && strv_len(img->repo_tags) > 1))
        return 0;
    return error_set(e, ERR_CONFLICT,
                     "conflict: image %.12s is mounted at %s: pouch image umount %s first",
                     img->id + 7, place, place);
}

/* --- Mounting ------------------------------------------------------------------------------------ */

/* The folder to mount on: the user's, which must be there, or one of ours. */
static int make_place(struct engine *en, const struct image *img, const char *target, char **ret,
                      struct error *e)
{
    struct stat st;
    char id[9];

    if (!str_is_empty(target)) {
        AUTOFREE char *real = *target == '/' ? realpath(target, NULL) : NULL;

        if (*target != '/')
            return error_set(e, ERR_INVALID, "the folder to mount on must be absolute: %s", target);
        if (!real || stat(real, &st) < 0)
            return error_set_errno(e, errno, "mount on %s", target);
        if (!S_ISDIR(st.st_mode))
            return error_set(e, ERR_INVALID, "%s is not a folder", target);
        if (is_mount_root(real))
            return error_set(e, ERR_CONFLICT, "something is mounted on %s already", real);
        *ret = take_ptr(real);
        return 0;
    }
    random_hex(id, 4);
    AUTOFREE char *path = xasprintf("%s/mounts/%.12s-%s", en->root, img->id + 7, id);
    int r = fs_mkdir_p(path, 0700);
    if (r < 0)
        return error_set_errno(e, r, "make %s", path);
    *ret = take_ptr(path);
    return 0;
}

static int attach(struct engine *en, const struct image *img, const char *path, struct error *e)
{
    CLEANUP(rootfs_mount_done) struct rootfs_mount view = {.type = NULL};
    AUTOFD int fd = -EBADF;
    int r = rootfs_view(en->rootfs, img->layer_dirs, &view, e);

    if (r >= 0)
        r = rootfs_mount_detached(&view, &fd, e);
    if (r >= 0 && move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        r = error_set_errno(e, errno, "mount image %.12s on %s", img->id + 7, path);
    if (r < 0)
        return r;
    /* Set-id programs and devices of a foreign image are nobody's business on the host. */
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) <
        0) {
        r = error_set_errno(e, errno, "make the mount on %s read-only", path);
        (void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    return r;
}

/* The image may have been removed before it was known to be mounted. The row goes last: it keeps the
 * path from others. */
static int forget(struct engine *en, const char *path, const char *image_id, struct error *e)
{
    remove_own_folder(en, path);
    list_remove(en, path);
    int r = store_exec(en->store, e, "DELETE FROM image_mounts WHERE path = ?", "s", path);
    if (en->images)
        image_released(en->images, image_id);
    return r < 0 ? r : 0;
}

static void mount_event(struct engine *en, const char *action, const char *image_id,
                        const char *path)
{
    struct json_map attributes = {0};

    json_map_set(&attributes, "name", image_id);
    json_map_set(&attributes, "path", path);
    events_emit(en, "image", action, image_id, &attributes);
}

int engine_image_mount(struct engine *en, const char *ref, const char *target, char **ret_path,
                       struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    AUTOFREE char *path = NULL;
    int r = image_resolve(en->images, ref, &img, e);

    if (r >= 0)
        r = make_place(en, img, target, &path, e);
    if (r < 0)
        return r;
    r = store_exec(en->store, e, "INSERT INTO image_mounts (path, image_id) VALUES (?, ?)", "ss",
                   path, img->id);
    if (r == -EEXIST) {
        error_done(e);
        return error_set(e, ERR_CONFLICT, "an image is being mounted on %s already", path);
    }
    if (r < 0) {
        remove_own_folder(en, path);
        return r;
    }
    list_add(en, path, img->id, true);
    r = image_check_there(en->images, img->id, ref, e);
    if (r >= 0)
        r = attach(en, img, path, e);
    if (r < 0) {
        (void)!forget(en, path, img->id, NULL);
        return r;
    }
    (void)!list_mark(en, path, false);
    mount_event(en, "mount", img->id, path);
    *ret_path = take_ptr(path);
    return 0;
}

/* 1: unmounted; 0: somebody else did it. */
static int unmount_one(struct engine *en, const char *path, const char *image_id, bool force,
                       struct error *e)
{
    int r = list_mark(en, path, true);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set(e, ERR_CONFLICT, "%s is being mounted or unmounted by somebody else",
                         path);
    if (is_mount_root(path) && umount2(path, (force ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW) < 0) {
        int errnum = errno;

        (void)!list_mark(en, path, false);
        if (errnum == EBUSY)
            return error_set(e, ERR_CONFLICT,
                             "%s is in use: end what uses it, or unmount with --force", path);
        return error_set_errno(e, errnum, "unmount %s", path);
    }
    r = forget(en, path, image_id, e);
    if (r >= 0)
        mount_event(en, "unmount", image_id, path);
    return r < 0 ? r : 1;
}

int engine_image_umount(struct engine *en, const char *what, bool force, char ***ret_paths,
                        struct error *e)
{
    AUTOPTR(image_mount_list) struct image_mount *all = list_copy(en, true);
    AUTOPTR(image) struct image *img = NULL;
    AUTOFREE char *real = *what == '/' ? realpath(what, NULL) : NULL;
    bool any = false;
    int r = *what == '/' ? 0 : image_resolve(en->images, what, &img, e);

    for (struct image_mount *m = all; r >= 0 && m; m = m->next) {
        if (img ? m->busy || !STREQ(m->image_id, img->id) : !STREQ(m->path, real ? real : what))
            continue; /* of an image those that are mounted */
        r = unmount_one(en, m->path, m->image_id, force, e);
        if (r > 0) {
            any = true;
            strv_push(ret_paths, m->path);
        }
    }
    if (r >= 0 && !any)
        r = error_set(e, ERR_NOT_FOUND,
                      img ? "image %s is not mounted" : "no image is mounted on %s", what);
    return r < 0 ? r : 0;
}

struct image_mount *engine_image_mounts(struct engine *en)
{
    return list_copy(en, false);
}

void image_mount_list_free(struct image_mount *list)
{
    while (list) {
        struct image_mount *next = list->next;

        mount_free(list);
        list = next;
    }
}

/* --- At start -------------------------------------------------------------------------------------- */

int image_mounts_open(struct engine *en, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOPTR(strv) char **gone = NULL, **of = NULL;
    int r = store_migrate(en->store, "image-mounts", MIGRATIONS, e);

    if (r >= 0)
        r = store_query(en->store, &rows, e, "SELECT path, image_id FROM image_mounts", "");
    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        const char *path = store_col_str(&rows, 0);

        if (is_mount_root(path)) {
            list_add(en, path, store_col_str(&rows, 1), false);
            continue;
        }
        strv_push(&gone, path);
        strv_push(&of, store_col_str(&rows, 1));
    }
    store_rows_done(&rows);
    for (size_t i = 0; r >= 0 && gone && gone[i]; i++) {
        log_info("a mounted image is not mounted any more", "path=%s", gone[i]);
        r = forget(en, gone[i], of[i], e);
    }
    return r < 0 ? r : 0;
}

void image_mounts_done(struct engine *en)
{
    image_mount_list_free(take_ptr(en->image_mounts));
}
