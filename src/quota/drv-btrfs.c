/* SPDX-License-Identifier: Apache-2.0 */
/*
 * btrfs: each folder of a budget is a subvolume, whose group is a member of group 1/<id>, which has
 * the limit.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "quota/quota-priv.h"

#define GROUP(b) QUOTA_BTRFS_GROUP(1, (uint64_t)(b)->id)

static int open_dir(const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? error_set_errno(e, errno, "open %s", path) : fd;
}

/* The folder above, open, and the name in it. */
static int open_parent(const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    AUTOFREE char *parent = xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *ret_name = slash + 1;
    return fd < 0 ? -errno : fd;
}

static int btrfs_probe(const char *path, struct error *e)
{
    AUTOFD int fd = open_dir(path, e);

    if (fd < 0)
        return fd;
    if (!quota_is_btrfs(fd))
        return error_set(e, ERR_NOT_SUPPORTED, "%s is not on btrfs", path);
    return 0;
}

static bool btrfs_is_used(const char *root, const struct quota_budget *b)
{
    AUTOFD int fd = open(b->anchor, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct quota_usage u;

    (void)root;
    return fd >= 0 && quota_btrfs_group_usage(fd, GROUP(b), &u) == 0;
}

/* A new subvolume takes the place of an empty folder, with its owner and mode. */
static int replace_folder(int parent, const char *name, const struct stat *st)
{
    char aside[64];
    char suffix[17];
    int r;

    random_hex(suffix, 8);
    (void)snprintf(aside, sizeof(aside), ".sub-%s", suffix);
    r = quota_btrfs_subvolume_create(parent, aside);
    if (r < 0)
        return r;
    /* Fails when the folder is not empty. */
    if (fchownat(parent, aside, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(parent, aside, st->st_mode & 07777, 0) < 0 ||
        renameat(parent, aside, parent, name) < 0) {
        r = -errno;
        (void)!quota_btrfs_subvolume_remove(parent, aside);
    }
    return r;
}

static int make_place(const struct quota_place *p, struct error *e)
{
    const char *name;
    AUTOFD int parent = open_parent(p->path, &name);
    AUTOFD int fd = -EBADF;
    struct stat st;
    int r;

    if (parent < 0)
        return error_set_errno(e, parent, "open the folder of %s", p->path);
    if (p->kind == QUOTA_PLACE_OWN && faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        r = quota_btrfs_subvolume_create(parent, name);
        if (r == 0 && fchmodat(parent, name, 0710, 0) < 0)
            r = -errno;
        return r < 0 ? error_set_errno(e, r, "make the subvolume %s", p->path) : 0;
    }
    fd = open_dir(p->path, e);
    if (fd < 0)
        return fd;
    if (quota_btrfs_is_subvolume(fd))
        return 0;
    r = p->kind == QUOTA_PLACE_VOLUME && fstat(fd, &st) == 0 ? replace_folder(parent, name, &st)
                                                             : -ENOTEMPTY;
    if (r == -ENOTEMPTY || r == -EEXIST)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "%s is a folder, and btrfs limits only subvolumes: make it one (btrfs "
                         "subvolume create, then move its content), or leave it out of the quota",
                         p->path);
    return r < 0 ? error_set_errno(e, r, "make the subvolume %s", p->path) : 0;
}

/* The change of the quota tree is made from the anchor: in the subvolume itself there may be no room
 * left for it. */
static int join_group(const struct quota_budget *b, const struct quota_place *p, int anchor,
                      struct error *e)
{
    AUTOFD int fd = open_dir(p->path, e);
    uint64_t id = 0;
    int r;

    if (fd < 0)
        return fd;
    r = quota_btrfs_subvolume_id(fd, &id);
    if (r == 0)
        r = quota_btrfs_group_assign(anchor, QUOTA_BTRFS_GROUP(0, id), GROUP(b), true);
    return r < 0 && r != -EEXIST ? error_set_errno(e, r, "put %s into its quota group", p->path)
                                 : 0;
}

static int set_limit(int fd, const struct quota_budget *b, struct error *e)
{
    struct quota_usage u = {0};
    int r = quota_btrfs_group_usage(fd, GROUP(b), &u);

    if (r == 0 && u.limit.bytes == b->limit.bytes)
        return 0;
    if (r == -ENOENT) {
        r = quota_btrfs_group_create(fd, GROUP(b));
        if (r == -EEXIST)
            r = 0;
    }
    if (r == 0)
        r = quota_btrfs_group_limit(fd, GROUP(b), b->limit.bytes);
    return r < 0 ? error_set_errno(e, r, "set the limit of quota group 1/%u", b->id) : 0;
}

static int btrfs_make(const char *root, const struct quota_budget *b, struct error *e)
{
    AUTOFD int fd = open_dir(b->anchor, e);
    int r;

    (void)root;
    if (fd < 0)
        return fd;
    r = quota_btrfs_enable(fd);
    if (r < 0)
        return error_set_errno(e, r, "switch quota on for the btrfs of %s", b->anchor);
    r = set_limit(fd, b, e);
    for (size_t i = 0; r == 0 && i < b->places.len; i++) {
        r = make_place(quota_place(b, i), e);
        if (r == 0)
            r = join_group(b, quota_place(b, i), fd, e);
    }
    return r;
}

static int btrfs_change(const char *root, const struct quota_budget *b, struct error *e)
{
    AUTOFD int fd = open_dir(b->anchor, e);

    (void)root;
    return fd < 0 ? fd : set_limit(fd, b, e);
}

#define LENT ((uint64_t)16 << 20) /* each file may take a node of the tree, 16 KiB */

/* Counts are as of the last commit, and asking for one takes longer than lending. */
static int btrfs_lend(const char *root, const struct quota_budget *b, bool on, struct error *e)
{
    struct quota_budget more = *b;
    AUTOFD int fd = open_dir(b->anchor, e);
    struct quota_usage u = {0};

    (void)root;
    if (fd < 0)
        return fd;
    if (on && b->limit.bytes && quota_btrfs_group_usage(fd, GROUP(b), &u) == 0)
        more.limit.bytes = (u.bytes > b->limit.bytes ? u.bytes : b->limit.bytes) + LENT;
    return set_limit(fd, &more, e);
}

/* Takes the subvolume out of the group, and removes it when it is ours. Its own group goes with it:
 * by the kernel since 6.11, by us before. */
static int clear_place(const struct quota_budget *b, const struct quota_place *p, int anchor,
                       struct error *e)
{
    const char *name;
    AUTOFD int parent = open_parent(p->path, &name);
    AUTOFD int fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t id = 0;
    bool sub = fd >= 0 && quota_btrfs_is_subvolume(fd) && quota_btrfs_subvolume_id(fd, &id) == 0;
    int r = 0;

    if (parent < 0 || fd < 0)
        return 0; /* gone already */
    if (sub && anchor >= 0) {
        r = quota_btrfs_group_assign(anchor, QUOTA_BTRFS_GROUP(0, id), GROUP(b), false);
        if (r < 0 && r != -ENOENT && r != -EINVAL && r != -ENOTCONN)
            return error_set_errno(e, r, "take %s out of its quota group", p->path);
    }
    if (p->kind != QUOTA_PLACE_OWN)
        return 0;
    r = sub ? quota_btrfs_subvolume_remove(parent, name) : -ENOTEMPTY;
    /* Other subvolumes are in it: one by one then. */
    if (r < 0)
        r = fs_remove_tree(parent, name);
    if (r < 0)
        return error_set_errno(e, r, "remove %s", p->path);
    if (sub && anchor >= 0)
        (void)!quota_btrfs_group_remove(anchor, QUOTA_BTRFS_GROUP(0, id));
    return 0;
}

static int btrfs_clear(const char *root, const struct quota_budget *b, bool last, struct error *e)
{
    AUTOFD int anchor = open(b->anchor, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = 0;

    (void)root;
    for (size_t i = 0; r == 0 && i < b->places.len; i++)
        r = clear_place(b, quota_place(b, i), anchor, e);
    if (r < 0 || !last || anchor < 0)
        return r;
    r = quota_btrfs_group_remove(anchor, GROUP(b));
    /* Never made, or quota was switched off since. */
    if (r < 0 && r != -ENOENT && r != -ENOTCONN && r != -EINVAL)
        return error_set_errno(e, r, "remove quota group 1/%u", b->id);
    return 0;
}

static int btrfs_usage(const char *root, const struct quota_budget *b, struct quota_usage *ret,
                       struct error *e)
{
    AUTOFD int fd = open_dir(b->anchor, e);
    int r;

    (void)root;
    if (fd < 0)
        return fd;
    /* The counts are as of the last commit. */
    if (syncfs(fd) < 0)
        return error_set_errno(e, errno, "sync %s", b->anchor);
    r = quota_btrfs_group_usage(fd, GROUP(b), ret);
    return r < 0 ? error_set_errno(e, r, "read the usage of quota group 1/%u", b->id) : 0;
}

const struct quota_driver quota_driver_btrfs = {
    .name = "btrfs",
    .inodes = false,
    .shares = true,
    .probe = btrfs_probe,
    .is_used = btrfs_is_used,
    .make = btrfs_make,
    .change = btrfs_change,
    .lend = btrfs_lend,
    .clear = btrfs_clear,
    .usage = btrfs_usage,
};
