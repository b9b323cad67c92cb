/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths inside a container's root, walked by the kernel with openat2(RESOLVE_IN_ROOT): a symlink
 * or ".." in the image can lead anywhere within the root but never out of it, also while another
 * process changes the tree. Absolute paths start at the root. Every fd is O_CLOEXEC.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/macros.h"

/* openat2 below rootfd; flags as open(2), resolve: more RESOLVE_… bits. fd or -errno. */
int path_open_in(int rootfd, const char *path, int flags, mode_t mode, uint64_t resolve) MUST_CHECK;

/*
 * An O_PATH fd of the folder `path`, made with its parents (mode, owner uid:gid when made) where
 * missing. -ENOTDIR when something else is in the way.
 */
int path_mkdir_in(int rootfd, const char *path, mode_t mode, uid_t uid, gid_t gid) MUST_CHECK;

/* An O_PATH fd of the file `path`, made empty (with its parents) where missing. A folder there is
 * returned as it is. */
int path_make_file_in(int rootfd, const char *path, mode_t mode) MUST_CHECK;

/* The folder that holds the last component of path, made where missing; *ret_name points into
 * path. -EINVAL when the last component is "..", "." or empty. */
int path_parent_in(int rootfd, const char *path, mode_t mode, const char **ret_name) MUST_CHECK;

/* "/proc/self/fd/N", for calls that only know names. */
#define PATH_FD_MAX 32
const char *path_of_fd(int fd, char out[PATH_FD_MAX]);
