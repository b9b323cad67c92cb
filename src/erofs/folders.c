/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the file: inodes of folders, each with the last part of its names behind it, then the
 * blocks of folders that have more, then how many names files have, and block 0 as the last thing.
 *
 * Places are given out in one round and written in a second, as folders name each other.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "erofs/writer-priv.h"

/* Children that every folder has, beside nodes of the tree. */
#define DOT    (UINT32_MAX - 1)
#define DOTDOT (UINT32_MAX - 2)

#define ROOT_OFFSET (EROFS_SUPER_OFFSET + (uint32_t)sizeof(struct erofs_disk_super))
#define ROOT_ROOM   (EROFS_BLOCK - ROOT_OFFSET)

struct folders {
    struct erofs_writer *w;
    uint32_t *children; /* of all folders, each folder's in a row, sorted */
    uint32_t *order;    /* the folders, each before those in it */
    uint32_t n;
    uint64_t area; /* where their inodes begin */
    uint64_t area_end;
    uint32_t data_block; /* where their blocks begin */
    uint32_t data_blocks;
    uint64_t *links; /* inodes of files that may have several names, once for each name */
    size_t n_links;
    struct erofs_out data;
};

/* --- What is in them ---------------------------------------------------------------------------- */

static const char *child_name(const struct erofs_tree *t, uint32_t child, size_t *ret_len)
{
    if (child < DOTDOT)
        return erofs_tree_name(t, erofs_tree_node(t, child), ret_len);
    *ret_len = child == DOT ? 1 : 2;
    return "..";
}

static int compare(const void *a, const void *b, void *tree)
{
    size_t a_len;
    size_t b_len;
    const char *a_name = child_name(tree, *(const uint32_t *)a, &a_len);
    const char *b_name = child_name(tree, *(const uint32_t *)b, &b_len);
    int r = memcmp(a_name, b_name, a_len < b_len ? a_len : b_len);

    return r ? r : (a_len > b_len) - (a_len < b_len);
}

static bool is_in_tree(const struct erofs_tree *t, const struct erofs_node *n)
{
    return !(n->flags & EROFS_NODE_DEAD) && erofs_tree_node(t, n->parent)->type == EROFS_TYPE_DIR;
}

/* Who is in which folder, by counting; folders that nobody reaches any more are counted along. */
static int gather(struct folders *f, struct error *e)
{
    struct erofs_tree *t = &f->w->tree;
    size_t slots = (size_t)t->node_count + 2 * (size_t)t->dir_count;
    uint32_t next = 0;

    if (slots >= DOTDOT ||
        erofs_tree_charge(t, (slots + 2 * (size_t)t->dir_count) * sizeof(uint32_t)) < 0)
        return error_set(e, ERR_TOO_LARGE, "the layer has too many names for %zu MiB of memory",
                         t->max >> 20);
    f->children = xreallocarray(NULL, slots, sizeof *f->children);
    f->order = xreallocarray(NULL, t->dir_count, sizeof *f->order);
    for (uint32_t i = 1; i < t->node_count; i++) {
        const struct erofs_node *n = erofs_tree_node(t, i);

        if (is_in_tree(t, n))
            erofs_tree_dir_of(t, n->parent)->count++;
    }
    for (uint32_t i = 0; i < t->dir_count; i++) {
        struct erofs_dir *d = erofs_tree_dir(t, i);

        d->first = next;
        next += d->count + 2;
        f->children[d->first] = DOT;
        f->children[d->first + 1] = DOTDOT;
        d->count = 2;
    }
    for (uint32_t i = 1; i < t->node_count; i++) {
        const struct erofs_node *n = erofs_tree_node(t, i);

        if (is_in_tree(t, n)) {
            struct erofs_dir *d = erofs_tree_dir_of(t, n->parent);

            f->children[d->first + d->count++] = i;
        }
    }
    return 0;
}

/* Sorts what can be reached, and puts the folders into the order in which a walk meets them. */
static void arrange(struct folders *f)
{
    struct erofs_tree *t = &f->w->tree;
    AUTOFREE uint32_t *stack = xreallocarray(NULL, t->dir_count, sizeof *stack);
    size_t depth = 0;

    stack[depth++] = 0; /* the root */
    while (depth > 0) {
        uint32_t i = stack[--depth];
        struct erofs_dir *d = erofs_tree_dir(t, i);
        uint32_t *children = f->children + d->first;

        f->order[f->n++] = i;
        qsort_r(children, d->count, sizeof *children, compare, t);
        for (uint32_t c = d->count; c-- > 0;) {
            const struct erofs_node *n;

            if (children[c] >= DOTDOT)
                continue;
            n = erofs_tree_node(t, children[c]);
            f->w->stats.inodes++;
            if (n->type == EROFS_TYPE_DIR) {
                stack[depth++] = (uint32_t)n->value;
                d->subdirs++;
            } else if (n->flags & EROFS_NODE_LINKED) {
                f->n_links++;
            }
        }
    }
    f->w->stats.inodes++; /* the root */
}

/* --- Where they go ------------------------------------------------------------------------------ */

/* How many of the children from `i` on go into one block, and how much of it they take. */
static uint32_t block_children(const struct erofs_tree *t, const uint32_t *children, uint32_t i,
                               uint32_t count, uint32_t *ret_used)
{
    uint32_t used = 0;

    for (; i < count; i++) {
        size_t len;

        (void)child_name(t, children[i], &len);
        if (used + sizeof(struct erofs_disk_dirent) + len > EROFS_BLOCK)
            break;
        used += (uint32_t)(sizeof(struct erofs_disk_dirent) + len);
    }
    *ret_used = used;
    return i;
}

static uint64_t names_size(const struct erofs_tree *t, const uint32_t *children, uint32_t count)
{
    uint64_t size = 0;
    uint32_t used = 0;

    for (uint32_t i = 0; i < count;) {
        size = (size + EROFS_BLOCK - 1) & ~(uint64_t)(EROFS_BLOCK - 1);
        i = block_children(t, children, i, count, &used);
        size += used;
    }
    return size;
}

/* What of the names stands behind the inode. */
static uint32_t inline_size(const struct erofs_dir *d, uint32_t room)
{
    uint32_t tail = d->size % EROFS_BLOCK;

    return sizeof(struct erofs_disk_inode) + d->xattr_len + tail <= room ? tail : 0;
}

static uint32_t room_of(uint32_t dir)
{
    return dir == 0 ? ROOT_ROOM : EROFS_BLOCK;
}

/* The attributes of a folder as they will be on disk take the place of the packed ones. */
static int encode_xattrs(struct erofs_writer *w, struct erofs_dir *d, struct error *e)
{
    AUTOFREE char *packed = take_ptr(d->xattrs);
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    struct erofs_xattrs x = {0};
    int r;

    if (packed)
        erofs_xattrs_unpack(&x, packed, d->xattr_len);
    if (d->opaque)
        erofs_xattrs_set(&x, LAYER_OPAQUE_XATTR, "y", 1);
    d->xattr_len = 0;
    if (x.n == 0)
        return 0;
    r = erofs_xattrs_encode(&x, &w->xattr_share, &body);
    erofs_xattrs_done(&x);
    if (r < 0 || (d->node == EROFS_ROOT && !erofs_fits_inline(ROOT_OFFSET, body.len)))
        return error_set(e, ERR_INVALID, "the extended attributes of a folder are too large");
    d->xattr_len = (uint32_t)body.len;
    d->xattrs = buf_take(&body);
    return 0;
}

static int place(struct folders *f, struct error *e)
{
    struct erofs_writer *w = f->w;
    uint64_t pos = f->area = erofs_out_next(&w->out);
    uint64_t blocks = 0;

    for (uint32_t i = 0; i < f->n; i++) {
        struct erofs_dir *d = erofs_tree_dir(&w->tree, f->order[i]);
        uint64_t size = names_size(&w->tree, f->children + d->first, d->count);
        uint32_t room = room_of(f->order[i]);
        uint64_t total;
        int r = encode_xattrs(w, d, e);

        if (r < 0)
            return r;
        if (size > INT32_MAX)
            return error_set(e, ERR_TOO_LARGE, "a folder of the layer has too many names");
        d->size = (uint32_t)size;
        total = sizeof(struct erofs_disk_inode) + d->xattr_len + inline_size(d, room);
        if (f->order[i] == 0) {
            d->nid = ROOT_OFFSET / EROFS_SLOT;
        } else {
            if (pos % EROFS_BLOCK + total > EROFS_BLOCK)
                pos = (pos + EROFS_BLOCK - 1) & ~(uint64_t)(EROFS_BLOCK - 1);
            d->nid = pos / EROFS_SLOT;
            pos += (total + EROFS_SLOT - 1) & ~(uint64_t)(EROFS_SLOT - 1);
        }
        erofs_xattrs_placed(&w->xattr_share, d->xattrs, d->xattr_len,
                            d->nid * EROFS_SLOT + sizeof(struct erofs_disk_inode));
        d->block = (uint32_t)blocks;
        blocks += d->size / EROFS_BLOCK + (d->size % EROFS_BLOCK && !inline_size(d, room));
    }
    f->area_end = (pos + EROFS_BLOCK - 1) & ~(uint64_t)(EROFS_BLOCK - 1);
    if ((f->area_end >> EROFS_BLOCK_BITS) + blocks >= EROFS_HOLE)
        return error_set(e, ERR_TOO_LARGE, "the layer is larger than the 16 TiB of an EROFS file");
    f->data_block = (uint32_t)(f->area_end >> EROFS_BLOCK_BITS);
    f->data_blocks = (uint32_t)blocks;
    return 0;
}

/* --- Writing ------------------------------------------------------------------------------------ */

static void fill_dirent(const struct folders *f, const struct erofs_dir *d, uint32_t child,
                        struct erofs_disk_dirent *out)
{
    const struct erofs_tree *t = &f->w->tree;
    const struct erofs_node *n = NULL;
    uint64_t nid = d->nid;

    if (child == DOTDOT)
        nid = erofs_tree_dir_of(t, erofs_tree_node(t, d->node)->parent)->nid;
    else if (child != DOT)
        n = erofs_tree_node(t, child);
    if (n)
        nid = n->type == EROFS_TYPE_DIR ? erofs_tree_dir(t, n->value)->nid : n->value;
    out->type = n ? n->type : EROFS_TYPE_DIR;
    out->nid = htole64(nid);
    if (n && n->type != EROFS_TYPE_DIR && n->flags & EROFS_NODE_LINKED)
        f->links[f->w->linked++] = nid;
}

/* One block of names, from child *i on; how much of it is used. */
static uint32_t fill_block(const struct folders *f, const struct erofs_dir *d, uint32_t *i,
                           unsigned char *block)
{
    const struct erofs_tree *t = &f->w->tree;
    const uint32_t *children = f->children + d->first;
    uint32_t used;
    uint32_t end = block_children(t, children, *i, d->count, &used);
    uint32_t at = (end - *i) * (uint32_t)sizeof(struct erofs_disk_dirent);

    memset(block, 0, EROFS_BLOCK);
    for (unsigned char *p = block; *i < end; (*i)++, p += sizeof(struct erofs_disk_dirent)) {
        struct erofs_disk_dirent de = {.name_offset = htole16((uint16_t)at)};
        size_t len;
        const char *name = child_name(t, children[*i], &len);

        fill_dirent(f, d, children[*i], &de);
        memcpy(p, &de, sizeof de);
        memcpy(block + at, name, len);
        at += (uint32_t)len;
    }
    return used;
}

/* The folder's full blocks to their place; its inode with what belongs behind it to `out`. */
static int write_folder(struct folders *f, uint32_t index, unsigned char *out, size_t *ret_len,
                        struct error *e)
{
    unsigned char block[EROFS_BLOCK];
    struct erofs_dir *d = erofs_tree_dir(&f->w->tree, index);
    uint32_t tail = inline_size(d, room_of(index));
    struct erofs_disk_inode inode = {
        .format = htole16(EROFS_FORMAT(tail ? EROFS_FLAT_INLINE : EROFS_FLAT_PLAIN)),
        .xattr_count = htole16((uint16_t)(d->xattr_len ? (d->xattr_len - 12) / 4 + 1 : 0)),
        .mode = htole16((uint16_t)(S_IFDIR | d->mode)),
        .size = htole64(d->size),
        .u = htole32(f->data_block + d->block),
        .ino = htole32((uint32_t)d->nid),
        .uid = htole32(d->uid),
        .gid = htole32(d->gid),
        .mtime = (int64_t)htole64((uint64_t)d->mtime_sec),
        .mtime_nsec = htole32(d->mtime_nsec),
        .nlink = htole32(d->subdirs + 2),
    };
    uint32_t used = 0;

    for (uint32_t i = 0; i < d->count;) {
        used = fill_block(f, d, &i, block);
        erofs_mix(f->w, erofs_hash(block, used));
        if (i < d->count || !tail) {
            int r = erofs_out_put(&f->data, block, EROFS_BLOCK, e);

            if (r < 0)
                return r;
        }
    }
    erofs_mix(f->w, erofs_hash(&inode, sizeof inode));
    memcpy(out, &inode, sizeof inode);
    if (d->xattr_len)
        memcpy(out + sizeof inode, d->xattrs, d->xattr_len);
    if (tail)
        memcpy(out + sizeof inode + d->xattr_len, block, tail);
    *ret_len = sizeof inode + d->xattr_len + tail;
    return 0;
}

static int write_all(struct folders *f, unsigned char *block0, struct error *e)
{
    struct erofs_writer *w = f->w;
    AUTOFREE unsigned char *one = xmalloc(EROFS_BLOCK + ((size_t)UINT16_MAX + 2) * 4);
    size_t len;
    int r = write_folder(f, 0, block0 + ROOT_OFFSET, &len, e);

    for (uint32_t i = 1; r == 0 && i < f->n; i++) {
        const struct erofs_dir *d = erofs_tree_dir(&w->tree, f->order[i]);

        r = write_folder(f, f->order[i], one, &len, e);
        if (r == 0)
            r = erofs_out_skip(&w->out, d->nid * EROFS_SLOT, e);
        if (r == 0)
            r = erofs_out_put(&w->out, one, len, e);
    }
    if (r == 0)
        r = erofs_out_skip(&w->out, f->area_end, e);
    if (r == 0)
        r = erofs_out_flush(&w->out, e);
    return r < 0 ? r : erofs_out_flush(&f->data, e);
}

static int compare_nid(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return (*x > *y) - (*x < *y);
}

/* Inodes were written with one name each. */
static int write_links(struct folders *f, struct error *e)
{
    struct erofs_writer *w = f->w;
    size_t next;

    if (f->n_links == 0)
        return 0;
    qsort(f->links, f->n_links, sizeof *f->links, compare_nid);
    for (size_t i = 0; i < f->n_links; i = next) {
        uint64_t at = f->links[i] * EROFS_SLOT + offsetof(struct erofs_disk_inode, nlink);
        uint32_t count;
        int r;

        for (next = i + 1; next < f->n_links && f->links[next] == f->links[i];)
            next++;
        w->stats.inodes -= next - i - 1;
        if (next == i + 1)
            continue;
        count = htole32((uint32_t)(next - i));
        r = erofs_pwrite(w->fd, &count, sizeof count, at, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What comes last may be a hole (a file's, or behind the last inode): the file is as long as the
 * superblock says, or the kernel would not mount it. */
static int write_end(const struct erofs_writer *w, uint64_t size, struct error *e)
{
    char byte = 0;
    ssize_t n = pread(w->fd, &byte, 1, (off_t)size - 1);

    if (n < 0)
        return error_set_errno(e, errno, "read the layer back");
    return n > 0 ? 0 : erofs_pwrite(w->fd, &byte, 1, size - 1, e);
}

static int write_super(struct folders *f, unsigned char *block0, struct error *e)
{
    struct erofs_writer *w = f->w;
    uint64_t blocks = (uint64_t)f->data_block + f->data_blocks;
    struct erofs_disk_super sb = {
        .magic = htole32(EROFS_MAGIC),
        .feature_compat = htole32(EROFS_COMPAT_SB_CHECKSUM | EROFS_COMPAT_MTIME),
        .feature_incompat = htole32(w->chunks_used ? EROFS_INCOMPAT_CHUNKED : 0),
        .block_bits = EROFS_BLOCK_BITS,
        .root_nid = htole16(ROOT_OFFSET / EROFS_SLOT),
        .inodes = htole64(w->stats.inodes),
        .blocks = htole32((uint32_t)blocks),
    };
    uint32_t crc;
    int r;

    w->stats.size = blocks << EROFS_BLOCK_BITS;
    r = write_end(w, w->stats.size, e);
    if (r < 0)
        return r;
    erofs_mix(w, w->stats.inodes);
    for (size_t i = 0; i < sizeof sb.uuid; i++)
        sb.uuid[i] = (uint8_t)(w->hash[i / 8] >> i % 8 * 8);
    sb.uuid[6] = 0x80 | (sb.uuid[6] & 0x0f); /* a uuid made by rules of one's own */
    sb.uuid[8] = 0x80 | (sb.uuid[8] & 0x3f);
    memcpy(block0 + EROFS_SUPER_OFFSET, &sb, sizeof sb);
    crc = erofs_crc32c(UINT32_MAX, block0 + EROFS_SUPER_OFFSET, EROFS_BLOCK - EROFS_SUPER_OFFSET);
    sb.checksum = htole32(crc);
    memcpy(block0 + EROFS_SUPER_OFFSET, &sb, sizeof sb);
    return erofs_pwrite(w->fd, block0, EROFS_BLOCK, 0, e);
}

int erofs_write_folders(struct erofs_writer *w, struct error *e)
{
    unsigned char block0[EROFS_BLOCK] = {0};
    struct folders f = {.w = w};
    int r = erofs_pack_flush(w, e);

    if (r == 0)
        r = erofs_out_flush(&w->out, e);
    if (r == 0)
        r = gather(&f, e);
    if (r == 0) {
        arrange(&f);
        r = erofs_tree_charge(&w->tree, f.n_links * sizeof *f.links);
        if (r < 0)
            (void)error_set(e, ERR_TOO_LARGE,
                            "the layer has too many hard links for %zu MiB of memory",
                            w->tree.max >> 20);
    }
    if (r == 0) {
        f.links = xreallocarray(NULL, f.n_links + 1, sizeof *f.links);
        r = place(&f, e);
    }
    if (r == 0) {
        f.data = (struct erofs_out){
            .fd = w->fd,
            .pos = (uint64_t)f.data_block << EROFS_BLOCK_BITS,
            .size = EROFS_PACK_BLOCKS * EROFS_BLOCK,
            .buf = w->pack.data, /* of no more use there */
        };
        r = write_all(&f, block0, e);
    }
    if (r == 0)
        r = write_links(&f, e);
    if (r == 0)
        r = write_super(&f, block0, e);
    free(f.children);
    free(f.order);
    free(f.links);
    return r;
}
