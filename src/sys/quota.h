/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a folder may hold, as the kernel's file systems know it: project quota (ext4, xfs) by
 * quotactl and FS_IOC_FSSETXATTR, and qgroups of btrfs subvolumes. And file systems in a file.
 * No programs are run.
 *
 * Any thread; all block on the disk. Functions with `struct error` say what is missing and how to
 * get it; the others return 0 or -errno.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/quotaspec.h"

struct quota_usage {
    uint64_t bytes, inodes; /* used */
    struct quota_limit limit;
};

/* --- project quota ----------------------------------------------------------------------------- */

/* Is project quota kept and enforced on the file system of fd (a folder)? Enforcement that is off
 * while usage is counted is switched on. ERR_NOT_SUPPORTED says what to do. */
int quota_project_ready(int fd, const char *path, struct error *e) MUST_CHECK;

/* -ENOENT: the kernel has no record of the id. */
int quota_project_usage(int fd, uint32_t id, struct quota_usage *ret) MUST_CHECK;
/* Zeros lift the limits; the kernel then forgets an id that is not used. */
int quota_project_limit(int fd, uint32_t id, const struct quota_limit *limit) MUST_CHECK;

/* The project id of a folder or file, and whether what is made in it inherits that. */
int quota_project_get(int fd, uint32_t *ret_id, bool *ret_inherit) MUST_CHECK;

/*
 * Gives `id` to the folder at `path` and to all files and folders in it, from the top down, so that
 * what appears meanwhile inherits it. Follows no symlink and enters no mount; devices, sockets and
 * symlinks cannot carry an id and take no space worth counting. only: nonzero: only what has that id
 * now (to take it back: id 0, only ID). A path that is gone is no error with `only`.
 */
int quota_project_tag(const char *path, uint32_t id, uint32_t only, struct error *e) MUST_CHECK;

/* --- btrfs --------------------------------------------------------------------------------------- */

bool quota_is_btrfs(int fd);
/* fd is the root folder of a subvolume. */
bool quota_btrfs_is_subvolume(int fd);
int quota_btrfs_subvolume_id(int fd, uint64_t *ret_id) MUST_CHECK;
int quota_btrfs_subvolume_create(int parent_fd, const char *name) MUST_CHECK;
/* Also one that is not empty. */
int quota_btrfs_subvolume_remove(int parent_fd, const char *name) MUST_CHECK;
/* Switches quota on when it is off, and waits for the first count. */
int quota_btrfs_enable(int fd) MUST_CHECK;
#define QUOTA_BTRFS_GROUP(level, id) ((uint64_t)(level) << 48 | (id))
/* -EEXIST when it is there. */
int quota_btrfs_group_create(int fd, uint64_t group) MUST_CHECK;
int quota_btrfs_group_remove(int fd, uint64_t group) MUST_CHECK;
/* Puts the subvolume's own group below a shared one, or takes it away there. fd: not in a subvolume whose
 * limit may be reached. */
int quota_btrfs_group_assign(int fd, uint64_t child, uint64_t parent, bool assign) MUST_CHECK;
int quota_btrfs_group_limit(int fd, uint64_t group, uint64_t bytes) MUST_CHECK;
/* -ENOENT: there is no such group. */
int quota_btrfs_group_usage(int fd, uint64_t group, struct quota_usage *ret) MUST_CHECK;

/* --- images on loop devices ---------------------------------------------------------------------------------- */

/* The image has grown: the device and the mounted ext4 on it (a folder at mount_fd) follow. */
int quota_loop_grow(int loop_fd, int mount_fd, uint64_t bytes, struct error *e) MUST_CHECK;
/* Is this folder the root of a mount? */
bool quota_is_mount_root(const char *path);
