/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the entries of one layer's archive into the layer's folder, in overlayfs form: the trusted
 * half of unpacking. Nothing outside the folder is touched whatever the entries say: every path is
 * resolved by openat2(RESOLVE_IN_ROOT), so that symlinks of the layer are followed as they would be
 * in the container, and no last component is ever followed.
 *
 * What happens in the corners is listed in docs/internals/rootfs.md. Not thread-safe; the caller is
 * the single-threaded program pouch-unpack, with umask 0.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

enum layer_entry_type {
    LAYER_FILE,
    LAYER_DIR,
    LAYER_SYMLINK,
    LAYER_HARDLINK,
    LAYER_CHAR,
    LAYER_BLOCK,
    LAYER_FIFO,
    LAYER_ENTRY_MAX
};

struct layer_xattr {
    const char *name;
    const void *value;
    size_t size;
};

/* One entry as it stands in the archive; all of it may be hostile. Everything is borrowed. */
struct layer_entry {
    enum layer_entry_type type;
    const char *path; /* "" is the layer's root */
    const char *link; /* symlinks: the text; hard links: a path in the archive */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint64_t size;
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    const struct layer_xattr *xattrs;
    size_t xattr_count;
};

struct layer_apply;

/* A name out of an archive fit for one line of text: control characters escaped, cut at `size`. */
void layer_path_printable(const char *path, char *out, size_t size);

/* root_fd (a folder, borrowed until the end) should be empty; it becomes 0755 root:root. */
int layer_apply_new(int root_fd, struct layer_apply **ret, struct error *e) MUST_CHECK;
void layer_apply_free(struct layer_apply *a);
DEFINE_AUTOPTR(struct layer_apply, layer_apply)

/*
 * Makes the entry. For a LAYER_FILE, *ret_fd is where its content goes (borrowed), or -EBADF when
 * there is none to keep (a whiteout); layer_apply_file_end() must follow with the same entry. Other
 * types are complete, and *ret_fd is -EBADF.
 */
int layer_apply_entry(struct layer_apply *a, const struct layer_entry *entry, int *ret_fd,
                      struct error *e) MUST_CHECK;
/* The content is written: the file gets its size, owner, mode, xattrs and time. */
int layer_apply_file_end(struct layer_apply *a, const struct layer_entry *entry,
                         struct error *e) MUST_CHECK;

/* After the last entry: folders get their owners, modes, xattrs and times. */
int layer_apply_finish(struct layer_apply *a, struct error *e) MUST_CHECK;
