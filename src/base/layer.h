/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of one layer's archive and the rules for their names: what all that write layers
 * (rootfs/apply.c into folders, erofs/ into one file) must understand alike.
 * docs/internals/rootfs.md lists what happens with each kind of entry.
 */
#pragma once

#include <stdbool.h>
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

#define LAYER_PATH_MAX     4096
#define LAYER_WHITEOUT     ".wh."
#define LAYER_WHITEOUT_OPQ ".wh..wh..opq"
#define LAYER_OPAQUE_XATTR "trusted.overlay.opaque"

/* A path without "", "." and ".." components, and where its last component begins. */
struct layer_path {
    char text[LAYER_PATH_MAX + 1];
    char dir[LAYER_PATH_MAX + 1]; /* all but the last component; "" is the root */
    const char *name;             /* the last component; "" for the root itself */
};

/*
 * Resolves "." and ".." in the text alone, as Docker does: "a/../b" is "b" even when a is a symlink.
 * -EXDEV when it climbs out of the root, -ENAMETOOLONG.
 */
int layer_path_clean(const char *in, struct layer_path *out) MUST_CHECK;

/* Bookkeeping of aufs ("/.wh..wh.plnk/…"), which old engines left in their archives. */
bool layer_path_is_aufs_meta(const struct layer_path *p);

/* A name out of an archive fit for one line of text: control characters escaped, cut at `size`. */
void layer_path_printable(const char *path, char *out, size_t size);

/* What an image may set. Overlayfs's own attributes are ours alone, and labels are the host's. */
bool layer_xattr_is_wanted(const char *name);

/* "entry NAME: why", with or without an errno's text; what they return. */
int layer_refuse(const char *path, struct error *e, const char *why);
int layer_fail(const char *path, int errnum, const char *what, struct error *e);

/* Numbers that no file can have. */
int layer_entry_check(const struct layer_entry *entry, struct error *e) MUST_CHECK;
