/* SPDX-License-Identifier: Apache-2.0 */
/* Files and folders of our own (never of a container: those go through sys/path.h). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macros.h"

/* The whole file (at most `max` bytes, else -EFBIG) as a string the caller frees; works for /proc
 * and cgroup files. dirfd may be AT_FDCWD. ret_len may be NULL. Returns 0 or -errno. */
int fs_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len) MUST_CHECK;

/* One write(2) to an existing file (cgroup and /proc files). 0 or -errno. */
int fs_write_existing(int dirfd, const char *path, const char *text) MUST_CHECK;

enum fs_sync { FS_NO_SYNC, FS_SYNC };
/* Replaces path by new content atomically: temporary name, (fsync,) rename(, fsync of folder). */
int fs_write_atomic(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
                    enum fs_sync sync) MUST_CHECK;

/* write(2) until all is written. */
int fs_write_all(int fd, const void *data, size_t len) MUST_CHECK;
/* read(2) until len bytes or end; bytes read or -errno. */
ssize_t fs_read_full(int fd, void *data, size_t len) MUST_CHECK;

/* mkdir -p; 0 also when it is there. */
int fs_mkdir_p(const char *path, mode_t mode) MUST_CHECK;

/* Removes a tree without following symlinks and without crossing into another file system
 * (-EXDEV when a mount is in it). Depth costs neither stack nor fds; immutable and append-only flags
 * are taken off. 0 when it is not there. */
int fs_remove_tree(int dirfd, const char *path) MUST_CHECK;
/* The same until *stop gets true: -ECANCELED then, and what is left stays. stop may be NULL. */
int fs_remove_tree_until(int dirfd, const char *path, const atomic_bool *stop) MUST_CHECK;
/* The same if it is little: -EFBIG where there are more names than `names` in it, or where files hold
 * more than `bytes`; what is left stays then. Takes a few milliseconds at most, for small limits. */
int fs_remove_tree_little(int dirfd, const char *path, unsigned names, uint64_t bytes) MUST_CHECK;
