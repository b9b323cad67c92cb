/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subvolumes and quota groups of btrfs by its ioctls. A limit stands on a group of level 1 that the
 * subvolumes' own groups (level 0, made by the kernel with the subvolume) are members of, so that
 * several subvolumes can share one.
 */
#include <endian.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sys/quota.h"

bool quota_is_btrfs(int fd)
{
    struct statfs sf;

    return fstatfs(fd, &sf) == 0 && sf.f_type == BTRFS_SUPER_MAGIC;
}

bool quota_btrfs_is_subvolume(int fd)
{
    struct stat st;

    return quota_is_btrfs(fd) && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) &&
           st.st_ino == BTRFS_FIRST_FREE_OBJECTID;
}

int quota_btrfs_subvolume_id(int fd, uint64_t *ret_id)
{
    struct btrfs_ioctl_ino_lookup_args args = {.objectid = BTRFS_FIRST_FREE_OBJECTID};

    if (ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args) < 0)
        return -errno;
    *ret_id = args.treeid;
    return 0;
}

static int named_ioctl(int parent_fd, unsigned long request, const char *name)
{
    struct btrfs_ioctl_vol_args args = {0};

    if (strlen(name) > BTRFS_SUBVOL_NAME_MAX)
        return -ENAMETOOLONG;
    (void)memcpy(args.name, name, strlen(name) + 1);
    return ioctl(parent_fd, request, &args) < 0 ? -errno : 0;
}

int quota_btrfs_subvolume_create(int parent_fd, const char *name)
{
    return named_ioctl(parent_fd, BTRFS_IOC_SUBVOL_CREATE, name);
}

int quota_btrfs_subvolume_remove(int parent_fd, const char *name)
{
    return named_ioctl(parent_fd, BTRFS_IOC_SNAP_DESTROY, name);
}

/* --- groups -------------------------------------------------------------------------------------------- */

/*
 * One item of the quota tree, the first at or after (type, offset) with objectid 0. -ENOENT when
 * there is no quota tree (quota is off) or no such item. `data` gets at most `size` bytes.
 */
static int find_item(int fd, uint32_t type, uint64_t offset, void *data, size_t size)
{
    struct btrfs_ioctl_search_args args = {
        .key = {.tree_id = BTRFS_QUOTA_TREE_OBJECTID,
                .min_type = type,
                .max_type = type,
                .min_offset = offset,
                .max_offset = offset,
                .max_transid = UINT64_MAX,
                .nr_items = 1},
    };
    struct btrfs_ioctl_search_header h;

    if (ioctl(fd, BTRFS_IOC_TREE_SEARCH, &args) < 0)
        return -errno;
    if (args.key.nr_items == 0)
        return -ENOENT;
    (void)memcpy(&h, args.buf, sizeof(h));
    if (h.type != type || h.offset != offset)
        return -ENOENT;
    if (h.len < size)
        return -EINVAL;
    (void)memcpy(data, args.buf + sizeof(h), size);
    return 0;
}

int quota_btrfs_enable(int fd)
{
    struct btrfs_ioctl_quota_ctl_args ctl = {.cmd = BTRFS_QUOTA_CTL_ENABLE};
    struct btrfs_qgroup_status_item status;

    if (find_item(fd, BTRFS_QGROUP_STATUS_KEY, 0, &status, sizeof(status)) == 0)
        return 0;
    if (ioctl(fd, BTRFS_IOC_QUOTA_CTL, &ctl) < 0)
        return -errno;
    /* The kernel counts what is there by itself; new writes are right only after that. */
    return ioctl(fd, BTRFS_IOC_QUOTA_RESCAN_WAIT) < 0 && errno != EINTR ? -errno : 0;
}

static int group_create_ioctl(int fd, uint64_t group, bool create)
{
    struct btrfs_ioctl_qgroup_create_args args = {.create = create, .qgroupid = group};

    return ioctl(fd, BTRFS_IOC_QGROUP_CREATE, &args) < 0 ? -errno : 0;
}

int quota_btrfs_group_create(int fd, uint64_t group)
{
    return group_create_ioctl(fd, group, true);
}

int quota_btrfs_group_remove(int fd, uint64_t group)
{
    return group_create_ioctl(fd, group, false);
}

int quota_btrfs_group_assign(int fd, uint64_t child, uint64_t parent, bool assign)
{
    struct btrfs_ioctl_qgroup_assign_args args = {.assign = assign, .src = child, .dst = parent};
    struct btrfs_ioctl_quota_rescan_args scan = {0};
    int r = ioctl(fd, BTRFS_IOC_QGROUP_ASSIGN, &args);

    if (r < 0)
        return -errno;
    if (r == 0)
        return 0;
    /* 1: the counts are stale now (the subvolume was not empty): count again. */
    if (ioctl(fd, BTRFS_IOC_QUOTA_RESCAN, &scan) < 0 && errno != EINPROGRESS)
        return -errno;
    return ioctl(fd, BTRFS_IOC_QUOTA_RESCAN_WAIT) < 0 && errno != EINTR ? -errno : 0;
}

int quota_btrfs_group_limit(int fd, uint64_t group, uint64_t bytes)
{
    struct btrfs_ioctl_qgroup_limit_args args = {
        .qgroupid = group,
        .lim = {.flags = BTRFS_QGROUP_LIMIT_MAX_RFER, .max_rfer = bytes ? bytes : UINT64_MAX},
    };

    return ioctl(fd, BTRFS_IOC_QGROUP_LIMIT, &args) < 0 ? -errno : 0;
}

int quota_btrfs_group_usage(int fd, uint64_t group, struct quota_usage *ret)
{
    struct btrfs_qgroup_info_item info;
    struct btrfs_qgroup_limit_item limit;
    int r = find_item(fd, BTRFS_QGROUP_INFO_KEY, group, &info, sizeof(info));

    if (r < 0)
        return r;
    *ret = (struct quota_usage){.bytes = le64toh(info.rfer)};
    if (find_item(fd, BTRFS_QGROUP_LIMIT_KEY, group, &limit, sizeof(limit)) == 0 &&
        (le64toh(limit.flags) & BTRFS_QGROUP_LIMIT_MAX_RFER) && limit.max_rfer != UINT64_MAX)
        ret->limit.bytes = le64toh(limit.max_rfer);
    return 0;
}
