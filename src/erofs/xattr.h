/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes: which are kept, as the kernel would on setxattr(2), and how they lie on disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/layer.h"

/* A name's index and what of it is left; -EINVAL when there is none. */
int erofs_xattr_split(const char *name, uint8_t *ret_index, const char **ret_rest) MUST_CHECK;
/* The text that an index stands for; NULL: unknown. */
const char *erofs_xattr_prefix(unsigned index);

/* Attributes with each name once; names and values are borrowed. */
struct erofs_xattrs {
    struct layer_xattr *items;
    size_t n;
};

void erofs_xattrs_done(struct erofs_xattrs *x);
void erofs_xattrs_set(struct erofs_xattrs *x, const char *name, const void *value, size_t size);

/*
 * Puts the entry's attributes over those that are there. An access control list changes *mode, as
 * the kernel does it. -EINVAL and the like with the entry named.
 */
int erofs_xattrs_take(struct erofs_xattrs *x, const struct layer_entry *entry, uint32_t *mode,
                      struct error *e) MUST_CHECK;

/* Would the writer keep it, just so, for an inode of this mode? */
bool erofs_xattr_is_kept(const struct layer_xattr *x, uint32_t mode);

/* A new mode for what has these attributes, which lie in `packed`: chmod(2) changes access control
 * lists. */
void erofs_xattrs_chmod(struct erofs_xattrs *x, char *packed, uint32_t mode);

/* To and from one piece of memory, for what waits until folders are written. */
void erofs_xattrs_pack(const struct erofs_xattrs *x, struct buf *out);
void erofs_xattrs_unpack(struct erofs_xattrs *x, const char *packed, size_t len);

/*
 * Remembers where attributes are in the file, so that the next inode with the same only points
 * there. Small ones only; what falls on the same slot is forgotten.
 */
#define EROFS_XATTR_SLOTS 512
struct erofs_xattr_share {
    struct {
        char *entry; /* as on disk */
        uint32_t len;
        uint32_t at; /* offset / 4 */
    } slots[EROFS_XATTR_SLOTS];
};
void erofs_xattr_share_done(struct erofs_xattr_share *s);

/* The body behind an inode: empty without attributes. -E2BIG when it is more than one can have. */
int erofs_xattrs_encode(const struct erofs_xattrs *x, const struct erofs_xattr_share *s,
                        struct buf *body) MUST_CHECK;
/* The body has been put at this offset of the file. */
void erofs_xattrs_placed(struct erofs_xattr_share *s, const char *body, size_t len,
                         uint64_t offset);
