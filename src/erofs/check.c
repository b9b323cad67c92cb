/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a file whole, and may the kernel have it?
 *
 * The kernel's EROFS trusts much of what it reads: fields that are reserved today mean something to a
 * newer kernel, features are switched on by bits. A file that a hostile program wrote is therefore
 * held against what our writer makes (`own`), which is a small part of the format, and not against
 * what is known to do harm. Each rule beyond erofs_reader_check() stands in one of the check_own_…()
 * functions; docs/internals/erofs.md lists them.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/layer.h"
#include "base/map.h"
#include "base/str.h"
#include "erofs/reader-priv.h"
#include "erofs/xattr.h"

struct check {
    struct erofs_reader *r;
    struct erofs_seen files; /* with several names */
    uint64_t inodes;
    uint64_t chunks; /* entries of maps */
    bool own;
    struct error *e;
    const struct erofs_inode *inode; /* whose attributes are looked at */
    struct map *names;               /* of those */
};

static bool is_zero(const void *data, size_t len)
{
    const unsigned char *p = data;

    while (len > 0 && *p == 0) {
        p++;
        len--;
    }
    return len == 0;
}

/* --- What our writer makes ---------------------------------------------------------------------- */

static int check_own_super(struct erofs_reader *r, struct error *e)
{
    struct erofs_disk_super sb;
    int x = erofs_reader_bytes(r, EROFS_SUPER_OFFSET, &sb, sizeof sb, e);

    if (x < 0)
        return x;
    if (r->file_size != r->size)
        return error_set(e, ERR_INVALID, "the EROFS file has something behind its end");
    if (le32toh(sb.feature_compat) != (EROFS_COMPAT_SB_CHECKSUM | EROFS_COMPAT_MTIME) ||
        (le32toh(sb.feature_incompat) & ~EROFS_INCOMPAT_CHUNKED) || sb.ext_slots || sb.fixed_nsec ||
        sb.epoch || sb.meta_block || sb.xattr_block || sb.compression || sb.extra_devices ||
        sb.device_slot || sb.dir_block_bits || sb.xattr_prefix_count || sb.xattr_prefix_start ||
        sb.packed_nid || sb.xattr_filter_reserved || !is_zero(sb.reserved, sizeof sb.reserved) ||
        !is_zero(sb.volume_name, sizeof sb.volume_name))
        return error_set(e, ERR_INVALID,
                         "the superblock of the EROFS file is not one that was made here");
    return 0;
}

/* An attribute may be what an image may have; the one of overlayfs that the writer sets is opaque. */
static int check_own_xattr(struct check *c, const struct layer_xattr *x)
{
    bool opaque = STREQ(x->name, LAYER_OPAQUE_XATTR) && S_ISDIR(c->inode->mode) && x->size == 1 &&
                  *(const char *)x->value == 'y';

    if (!opaque && !erofs_xattr_is_kept(x, c->inode->mode))
        return erofs_corrupt(c->e, c->inode->nid, "it has an attribute that no layer may have");
    if (map_get(c->names, x->name))
        return erofs_corrupt(c->e, c->inode->nid, "it has an attribute twice");
    (void)map_set(c->names, x->name, c);
    return 0;
}

/* What follows an inode, up to a block's end, is where the kernel's short ways look for it. */
static bool is_in_block(const struct erofs_inode *i)
{
    uint64_t at = i->nid * EROFS_SLOT % EROFS_BLOCK;
    uint64_t len = i->base_size;

    if (i->layout == EROFS_FLAT_INLINE)
        len += i->xattr_size + i->size % EROFS_BLOCK;
    return at + len <= EROFS_BLOCK;
}

static int check_own_inode(struct check *c, const struct erofs_inode *i)
{
    struct erofs_disk_inode d;
    bool content = S_ISREG(i->mode) || S_ISDIR(i->mode) || S_ISLNK(i->mode);
    int x;

    if (i->base_size != sizeof d || S_ISSOCK(i->mode))
        return erofs_corrupt(c->e, i->nid, "it is of a kind that is not made here");
    if (!is_in_block(i))
        return erofs_corrupt(c->e, i->nid, "it crosses the end of a block");
    x = erofs_reader_bytes(c->r, i->nid * EROFS_SLOT, &d, sizeof d, c->e);
    if (x < 0)
        return x;
    if (d.reserved || !is_zero(d.reserved2, sizeof d.reserved2))
        return erofs_corrupt(c->e, i->nid, "it has a field that is not known");
    if (!content && (i->layout != EROFS_FLAT_PLAIN || i->size))
        return erofs_corrupt(c->e, i->nid, "it has content, which its type has not");
    if (i->layout == EROFS_CHUNKED && (le32toh(d.u) & ~EROFS_CHUNK_BITS_MASK))
        return erofs_corrupt(c->e, i->nid, "its chunks are of an unknown kind");
    if (i->uid == UINT32_MAX || i->gid == UINT32_MAX || i->nlink == 0)
        return erofs_corrupt(c->e, i->nid, "its owner or number of links cannot be");
    return 0;
}

/* Each map has bytes of its own: many files that show one large map would take for ever. */
static int check_own_chunks(struct check *c, const struct erofs_inode *i)
{
    unsigned bits = EROFS_BLOCK_BITS + (i->start & EROFS_CHUNK_BITS_MASK);

    if (i->layout != EROFS_CHUNKED || i->size == 0)
        return 0;
    c->chunks += ((i->size - 1) >> bits) + 1;
    return c->chunks <= c->r->size / 4
               ? 0
               : erofs_corrupt(c->e, i->nid, "there are more chunks than have room");
}

/* --- All files ---------------------------------------------------------------------------------- */

static int take_xattr(void *data, const struct layer_xattr *x)
{
    struct check *c = data;

    return c->own ? check_own_xattr(c, x) : 0;
}

static int check_parts(struct check *c, const struct erofs_inode *inode, struct error *e)
{
    AUTOFREE char *target = NULL;
    uint64_t start;
    uint64_t end = 0;
    int x = 0;

    if (c->own) {
        x = check_own_inode(c, inode);
        if (x == 0)
            x = check_own_chunks(c, inode);
    }
    if (x == 0 && inode->xattr_size) {
        c->inode = inode;
        c->names = map_new();
        x = erofs_reader_xattrs(c->r, inode, take_xattr, c, e);
        map_free(take_ptr(c->names), NULL);
    }
    if (x == 0 && S_ISLNK(inode->mode))
        x = erofs_reader_readlink(c->r, inode, &target, e);
    if (x == 0 && S_ISREG(inode->mode)) { /* looks at each chunk of the map */
        do
            x = erofs_reader_next_data(c->r, inode, end, &start, &end, e);
        while (x > 0);
    }
    return x;
}

static int check_inode(void *data, const char *path, const struct erofs_inode *inode,
                       struct error *e)
{
    struct check *c = data;
    struct erofs_seen_slot *slot = NULL;
    int x;

    if (!S_ISDIR(inode->mode) && inode->nlink != 1) {
        slot = erofs_seen_get(&c->files, inode->nid);
        if (!slot)
            return error_set(e, ERR_TOO_LARGE, "the EROFS file has too many hard links to check");
        slot->want = inode->nlink;
        if (slot->count++ > 0)
            return 0; /* looked at by its first name */
    }
    c->inodes++;
    x = check_parts(c, inode, e);
    if (x < 0 && *path) {
        char shown[200];

        layer_path_printable(path, shown, sizeof shown);
        error_add(e, "/%s", shown);
    }
    return x;
}

static int check(struct erofs_reader *r, bool own, struct error *e)
{
    struct check c = {.r = r, .own = own, .e = e};
    int x = own ? check_own_super(r, e) : 0;

    if (x == 0)
        x = erofs_walk_tree(r, own, check_inode, &c, e);
    for (size_t i = 0; x == 0 && c.files.slots && i <= c.files.mask; i++) {
        const struct erofs_seen_slot *slot = &c.files.slots[i];

        if (slot->nid && slot->count != slot->want)
            x = erofs_corrupt(e, slot->nid - 1, "its number of links is wrong");
    }
    if (x == 0 && c.inodes != r->inodes)
        x = error_set(e, ERR_INVALID, "the EROFS file is damaged: it has %llu inodes, not %llu",
                      (unsigned long long)c.inodes, (unsigned long long)r->inodes);
    free(c.files.slots);
    return x;
}

int erofs_reader_check(struct erofs_reader *r, struct error *e)
{
    return check(r, false, e);
}

int erofs_reader_check_own(struct erofs_reader *r, struct error *e)
{
    return check(r, true, e);
}
