/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of a layer while it is being written: a compact tree in memory, as the archive may come
 * back to any of them. Files leave only their inode's number here (their inode is on disk by then);
 * folders keep all their attributes, as these are written last.
 *
 * A node is 24 bytes and its name; nodes never move and are never used twice, so that a folder that
 * was replaced just falls off the tree with all that is in it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

#define EROFS_ROOT 0u         /* the root's node, and its folder */
#define EROFS_NONE UINT32_MAX /* no node */

enum erofs_node_flags {
    EROFS_NODE_WHITEOUT = 1, /* a character device 0/0 */
    EROFS_NODE_LINKED = 2,   /* its inode may have several names: count them at the end */
    EROFS_NODE_DEAD = 4,
};

struct erofs_node {
    uint64_t value; /* the inode's number; of folders the index of struct erofs_dir */
    uint32_t parent;
    uint32_t name; /* in the pool */
    uint32_t next; /* of the same hash */
    uint16_t tag;
    uint8_t type;  /* enum erofs_dirent_type */
    uint8_t flags; /* enum erofs_node_flags */
};

struct erofs_dir {
    uint64_t nid;
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t node;
    bool opaque;
    char *xattrs; /* as xattr.c packs them, later the body on disk; NULL none */
    uint32_t xattr_len;
    /* filled in when folders are written */
    uint32_t first; /* child, in struct erofs_tree.children */
    uint32_t count;
    uint32_t subdirs;
    uint32_t size;
    uint32_t block;
};

/* An array in pages: grows without copying, so without a peak. */
struct erofs_pages {
    char **page;
    size_t n;
    size_t item;
    unsigned bits; /* items a page */
};

struct erofs_tree {
    struct erofs_pages nodes;
    struct erofs_pages dirs;
    struct erofs_pages pool; /* of names */
    size_t pool_len;
    uint32_t node_count;
    uint32_t dir_count;
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint64_t seed;
    size_t used;
    size_t max;
};

/* -ENOMEM when max is too small for a root. */
int erofs_tree_init(struct erofs_tree *t, size_t max) MUST_CHECK;
void erofs_tree_done(struct erofs_tree *t);
/* Counts memory that belongs to the tree: -EFBIG at the maximum. */
int erofs_tree_charge(struct erofs_tree *t, size_t bytes) MUST_CHECK;

static inline struct erofs_node *erofs_tree_node(const struct erofs_tree *t, uint32_t i)
{
    return (struct erofs_node *)(void *)(t->nodes.page[i >> t->nodes.bits]) +
           (i & ((1u << t->nodes.bits) - 1));
}

static inline struct erofs_dir *erofs_tree_dir(const struct erofs_tree *t, uint64_t i)
{
    return (struct erofs_dir *)(void *)(t->dirs.page[i >> t->dirs.bits]) +
           (i & ((1u << t->dirs.bits) - 1));
}

/* The folder that a node of type EROFS_TYPE_DIR is. */
static inline struct erofs_dir *erofs_tree_dir_of(const struct erofs_tree *t, uint32_t node)
{
    return erofs_tree_dir(t, erofs_tree_node(t, node)->value);
}

/* A name, not NUL-terminated. */
const char *erofs_tree_name(const struct erofs_tree *t, const struct erofs_node *n,
                            size_t *ret_len);
/* The target of a symlink. */
const char *erofs_tree_target(const struct erofs_tree *t, const struct erofs_node *n);

/* The node of that name or EROFS_NONE. */
uint32_t erofs_tree_find(const struct erofs_tree *t, uint32_t dir, const char *name, size_t len);

/*
 * The folder at a cleaned path as a process in the container would find it: symlinks are followed,
 * the root is the top for ".." and "/". -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG.
 */
int erofs_tree_resolve(const struct erofs_tree *t, const char *path, uint32_t *ret) MUST_CHECK;
/* One step of it: the folder at `name` (of len bytes) in `dir`; *links counts symlinks. */
int erofs_tree_step(const struct erofs_tree *t, uint32_t dir, const char *name, size_t len,
                    unsigned *links, uint32_t *ret) MUST_CHECK;

/* A new node that nothing has the place of yet. target: of symlinks, else NULL. -EFBIG. */
int erofs_tree_add(struct erofs_tree *t, uint32_t dir, const char *name, size_t len,
                   const char *target, uint32_t *ret) MUST_CHECK;
/* Gives a node another target (it becomes a symlink). -EFBIG. */
int erofs_tree_set_target(struct erofs_tree *t, uint32_t node, const char *target) MUST_CHECK;
/* Makes a node a folder of 0755 root:root. -EFBIG. */
int erofs_tree_make_dir(struct erofs_tree *t, uint32_t node) MUST_CHECK;
/* Takes a node, and with it all below, off the tree. */
void erofs_tree_kill(struct erofs_tree *t, uint32_t node);
/* Whether `node` is `dir` or somewhere below it. */
bool erofs_tree_is_below(const struct erofs_tree *t, uint32_t node, uint32_t dir);
