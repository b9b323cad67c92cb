/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlayfs: the layers' folders below, the container's own folder on top. A layer that is an EROFS
 * file is the folder where it is mounted (layer-mounts.c).
 *
 * Layers carry trusted.overlay.opaque and char 0/0 whiteouts (pouch-unpack writes them and lets no
 * other overlay xattr of an image through). Redirects and metacopy are neither made nor followed, so
 * that an upper folder is complete by itself: commit and export read it as it is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "rootfs/rootfs-priv.h"
#include "sys/overlay.h"

#define UPPER_DIR "diff"
#define WORK_DIR  "work"

static const char *const mount_options[] = {"index=off", "metacopy=off", "redirect_dir=nofollow",
                                            NULL};

bool rootfs_layer_is_opaque(const char *folder)
{
    char value;

    return lgetxattr(folder, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* One layer as a folder; 1 when it hides what is below it. */
static int push_layer(struct layer_mounts *lm, const char *layer, struct rootfs_mount *m,
                      struct error *e)
{
    struct stat st;
    char *place = NULL;
    bool opaque = false;

    if (rootfs_layer_is_file(layer)) {
        int r = rootfs_layer_mount(lm, layer, &place, &opaque, e);

        if (r < 0)
            return r;
        strv_push_take(&m->lower, place);
        return opaque;
    }
    if (lstat(layer, &st) < 0)
        return error_set_errno(e, errno, "layer %s", layer);
    if (!S_ISDIR(st.st_mode))
        return error_set(e, ERR_INTERNAL, "layer %s is not a folder", layer);
    strv_push(&m->lower, layer);
    return rootfs_layer_is_opaque(layer);
}

static int fill_lower(struct layer_mounts *lm, char *const *layers, struct rootfs_mount *m,
                      struct error *e)
{
    bool files = false;
    int r = 0;

    for (size_t i = strv_len(layers); r == 0 && i-- > 0;) {
        r = push_layer(lm, layers[i], m, e);
        files |= rootfs_layer_is_file(layers[i]);
    }
    if (r < 0) {
        rootfs_mount_done(m);
        return r;
    }
    m->type = xstrdup("overlay");
    for (const char *const *o = mount_options; *o; o++)
        strv_push(&m->options, *o);
    /* Each file is a file system with inode numbers of its own: without this, files of the layers
     * would be on other devices than their folders, and change their number when written to. */
    if (files)
        strv_push(&m->options, "xino=on");
    return 0;
}

static int make_dir(int parent, const char *container_dir, const char *name, mode_t mode,
                    struct error *e)
{
    struct stat st;

    if (mkdirat(parent, name, mode) == 0) {
        /* The umask is not to decide how a container's root looks. */
        if (fchmodat(parent, name, mode, 0) < 0)
            return error_set_errno(e, errno, "%s/%s", container_dir, name);
        return 0;
    }
    if (errno != EEXIST)
        return error_set_errno(e, errno, "make %s/%s", container_dir, name);
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return error_set(e, ERR_INTERNAL, "%s/%s is not a folder", container_dir, name);
    return 0;
}

/* After a mount with "volatile" the kernel refuses the next one, as it cannot tell whether the
 * machine went down in between. It may have: then the container has what had reached the disk. */
static int forget_volatile(int dir, const char *container_dir, struct error *e)
{
    int r;

    if (faccessat(dir, WORK_DIR "/work/incompat", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    r = fs_remove_tree(dir, WORK_DIR "/work/incompat");
    return r < 0 ? error_set_errno(e, r, "clear %s/" WORK_DIR, container_dir) : 0;
}

/* The root folder of every container is 0755 root:root, whatever the layers say: so does Docker,
 * and images whose archives were made from a private folder depend on it. */
int overlay_prepare(struct layer_mounts *lm, const char *container_dir, char *const *layers,
                    struct rootfs_mount *ret, struct error *e)
{
    struct rootfs_mount m = {.type = NULL};
    AUTOFD int dir = open(container_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r;

    if (dir < 0)
        return error_set_errno(e, errno, "open %s", container_dir);
    r = fill_lower(lm, layers, &m, e);
    if (r < 0)
        return r;
    r = make_dir(dir, container_dir, UPPER_DIR, 0755, e);
    if (r == 0)
        r = make_dir(dir, container_dir, WORK_DIR, 0700, e);
    /* The kernel's own: where it cannot make it (a full disk), it mounts read-only without a word. */
    if (r == 0)
        r = make_dir(dir, container_dir, WORK_DIR "/work", 0, e);
    if (r == 0)
        r = forget_volatile(dir, container_dir, e);
    if (r < 0) {
        rootfs_mount_done(&m);
        return r;
    }
    m.upper = xasprintf("%s/%s", container_dir, UPPER_DIR);
    m.work = xasprintf("%s/%s", container_dir, WORK_DIR);
    *ret = m;
    return 0;
}

int overlay_view(struct layer_mounts *lm, char *const *layers, struct rootfs_mount *ret,
                 struct error *e)
{
    struct rootfs_mount m = {.type = NULL};
    int r = fill_lower(lm, layers, &m, e);

    if (r == 0)
        *ret = m;
    return r;
}

int overlay_size(const char *container_dir, uint64_t *ret_bytes, struct error *e)
{
    AUTOFREE char *upper = xasprintf("%s/%s", container_dir, UPPER_DIR);

    return rootfs_tree_size(upper, ret_bytes, e);
}

/* Where the layer of the image before waits. */
#define ASIDE_DIR "upgrade"

static const char *const layer_parts[] = {UPPER_DIR, WORK_DIR};

/* Each part is moved once: one that is there already has been moved before, and what has its old
 * place now is the new layer's. */
int overlay_set_aside(const char *container_dir, struct error *e)
{
    AUTOFD int dir = open(container_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return error_set_errno(e, errno, "open %s", container_dir);
    if (mkdirat(dir, ASIDE_DIR, 0700) < 0 && errno != EEXIST)
        return error_set_errno(e, errno, "make %s/" ASIDE_DIR, container_dir);
    for (size_t i = 0; i < ARRAY_SIZE(layer_parts); i++) {
        AUTOFREE char *aside = xasprintf(ASIDE_DIR "/%s", layer_parts[i]);

        if (faccessat(dir, aside, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (renameat(dir, layer_parts[i], dir, aside) < 0 && errno != ENOENT)
            return error_set_errno(e, errno, "set %s/%s aside", container_dir, layer_parts[i]);
    }
    return 0;
}

int overlay_put_back(const char *container_dir, struct error *e)
{
    AUTOFD int dir = open(container_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return error_set_errno(e, errno, "open %s", container_dir);
    for (size_t i = 0; i < ARRAY_SIZE(layer_parts); i++) {
        AUTOFREE char *aside = xasprintf(ASIDE_DIR "/%s", layer_parts[i]);
        int r;

        if (faccessat(dir, aside, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        r = fs_remove_tree(dir, layer_parts[i]);
        if (r < 0)
            return error_set_errno(e, r, "remove %s/%s", container_dir, layer_parts[i]);
        if (renameat(dir, aside, dir, layer_parts[i]) < 0)
            return error_set_errno(e, errno, "put %s/%s back", container_dir, layer_parts[i]);
    }
    if (unlinkat(dir, ASIDE_DIR, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return error_set_errno(e, errno, "remove %s/" ASIDE_DIR, container_dir);
    return 0;
}

int overlay_drop_aside(const char *container_dir, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/" ASIDE_DIR, container_dir);
    int r = fs_remove_tree(AT_FDCWD, path);

    return r < 0 ? error_set_errno(e, r, "remove %s", path) : 0;
}

/* Mounts an empty layer and looks whether a file can be made in it: the kernel says only then that
 * the file system below cannot carry an upper folder. */
static int probe_in(const char *dir, struct error *e)
{
    AUTOFREE char *lower = xasprintf("%s/lower", dir);
    char *layers[] = {lower, NULL};
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    AUTOFD int fd = -EBADF;
    int r;

    if (mkdir(lower, 0700) < 0)
        return error_set_errno(e, errno, "make %s", lower);
    r = overlay_prepare(NULL, dir, layers, &m, e);
    if (r == 0)
        r = rootfs_mount_detached(&m, &fd, e);
    if (r < 0)
        return r;
    if (mkdirat(fd, "probe", 0700) < 0)
        return error_set_errno(e, errno, "overlayfs cannot write to the file system of %s", dir);
    return 0;
}

int overlay_probe(const char *root, struct error *e)
{
    AUTOFREE char *dir = xasprintf("%s/.probe-XXXXXX", root);
    int gone;
    int r;

    if (!mkdtemp(dir))
        return error_set_errno(e, errno, "make a folder in %s", root);
    r = probe_in(dir, e);
    if (r == -EINVAL || r == -EOPNOTSUPP)
        error_add(e,
                  "overlayfs cannot work on the file system of %s; ext4, xfs and btrfs "
                  "can be used: choose another root folder",
                  root);
    else if (r < 0)
        error_add(e, "storage driver: overlayfs");
    gone = fs_remove_tree(AT_FDCWD, dir);
    if (r == 0 && gone < 0)
        return error_set_errno(e, gone, "remove %s", dir);
    return r;
}

const struct rootfs_driver rootfs_driver_overlay = {
    .name = "overlay",
    .prepare = overlay_prepare,
    .view = overlay_view,
    .size = overlay_size,
    .set_aside = overlay_set_aside,
    .put_back = overlay_put_back,
    .drop_aside = overlay_drop_aside,
};
