/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where bytes go. Data and blocks of inodes are handed out from one end of the file (out_next());
 * data is written in large pieces, straight from the caller's memory when it is large itself.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "erofs/writer-priv.h"

/* From here on a copy costs more than a call. */
#define DIRECT_MIN ((size_t)32 << 10)

/* Blocks for inodes that are reserved at first. */
#define PACK_FIRST 4u

int erofs_pwrite(int fd, const void *data, size_t len, uint64_t offset, struct error *e)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(e, errno, "write the layer");
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

void erofs_out_init(struct erofs_out *o, int fd, uint64_t pos, size_t size)
{
    *o = (struct erofs_out){.fd = fd, .pos = pos, .size = size, .buf = xmalloc(size)};
}

void erofs_out_done(struct erofs_out *o)
{
    free(o->buf);
    o->buf = NULL;
}

int erofs_out_flush(struct erofs_out *o, struct error *e)
{
    size_t len = o->len;

    if (len == 0)
        return 0;
    o->pos += len;
    o->len = 0;
    return erofs_pwrite(o->fd, o->buf, len, o->pos - len, e);
}

int erofs_out_put(struct erofs_out *o, const void *data, size_t len, struct error *e)
{
    int r;

    if (len >= DIRECT_MIN) {
        r = erofs_out_flush(o, e);
        if (r < 0)
            return r;
        o->pos += len;
        return erofs_pwrite(o->fd, data, len, o->pos - len, e);
    }
    if (len > o->size - o->len) {
        r = erofs_out_flush(o, e);
        if (r < 0)
            return r;
    }
    memcpy(o->buf + o->len, data, len);
    o->len += len;
    return 0;
}

int erofs_out_skip(struct erofs_out *o, uint64_t to, struct error *e)
{
    uint64_t len = to - erofs_out_next(o);
    int r;

    if (len < EROFS_BLOCK && len <= o->size - o->len) {
        memset(o->buf + o->len, 0, len);
        o->len += len;
        return 0;
    }
    r = erofs_out_flush(o, e);
    o->pos = to;
    return r;
}

int erofs_next_block(struct erofs_writer *w, uint32_t *ret, struct error *e)
{
    uint64_t block = erofs_out_next(&w->out) >> EROFS_BLOCK_BITS;

    if (block >= EROFS_HOLE)
        return error_set(e, ERR_TOO_LARGE, "the layer is larger than the 16 TiB of an EROFS file");
    *ret = (uint32_t)block;
    return 0;
}

/* --- Inodes ------------------------------------------------------------------------------------ */

bool erofs_fits_inline(size_t xattrs, size_t payload)
{
    return sizeof(struct erofs_disk_inode) + xattrs + payload <= EROFS_BLOCK;
}

int erofs_pack_flush(struct erofs_writer *w, struct error *e)
{
    uint64_t pos = w->pack.pos;
    size_t blocks = w->pack.blocks;

    w->pack.pos = 0;
    if (pos == 0)
        return 0;
    /* The last one of a layer is mostly empty: what follows may begin where it ends. */
    if (erofs_out_next(&w->out) == pos + blocks * EROFS_BLOCK) {
        while (blocks > 0 && w->pack.used[blocks - 1] == 0)
            blocks--;
        if (w->out.len == 0)
            w->out.pos = pos + blocks * EROFS_BLOCK;
    }
    return erofs_pwrite(w->fd, w->pack.data, blocks * EROFS_BLOCK, pos, e);
}

static int pack_reserve(struct erofs_writer *w, struct error *e)
{
    uint32_t block;
    int r = erofs_pack_flush(w, e);

    if (r == 0)
        r = erofs_next_block(w, &block, e);
    if (r < 0)
        return r;
    w->pack.pos = erofs_out_next(&w->out);
    w->pack.first = 0;
    /* Most layers are small. */
    w->pack.blocks = w->pack.blocks ? w->pack.blocks * 2 : PACK_FIRST;
    if (w->pack.blocks > EROFS_PACK_BLOCKS)
        w->pack.blocks = EROFS_PACK_BLOCKS;
    memset(w->pack.used, 0, sizeof w->pack.used);
    memset(w->pack.data, 0, w->pack.blocks * EROFS_BLOCK);
    return erofs_out_skip(&w->out, w->pack.pos + w->pack.blocks * EROFS_BLOCK, e);
}

/* Room for `size` bytes (at most a block) within one block. */
static int pack_take(struct erofs_writer *w, size_t size, unsigned char **ret, uint64_t *ret_pos,
                     struct error *e)
{
    struct erofs_pack *p = &w->pack;
    unsigned i = p->first;
    int r;

    while (p->pos && i < p->blocks && p->used[i] + size > EROFS_BLOCK)
        i++;
    if (!p->pos || i == p->blocks) {
        r = pack_reserve(w, e);
        if (r < 0)
            return r;
        i = 0;
    }
    *ret = p->data + i * EROFS_BLOCK + p->used[i];
    *ret_pos = p->pos + i * EROFS_BLOCK + p->used[i];
    p->used[i] = (uint16_t)((p->used[i] + size + EROFS_SLOT - 1) & ~(size_t)(EROFS_SLOT - 1));
    while (p->first < p->blocks &&
           p->used[p->first] + sizeof(struct erofs_disk_inode) > EROFS_BLOCK)
        p->first++;
    return 0;
}

void erofs_mix(struct erofs_writer *w, uint64_t value)
{
    __uint128_t m = (__uint128_t)(w->hash[0] ^ value) * 0x9e3779b97f4a7c15ULL;

    w->hash[0] = (uint64_t)m + w->hash[1];
    w->hash[1] = (w->hash[1] ^ (uint64_t)(m >> 64) ^ value) * 0xd6e8feb86659fd93ULL;
}

int erofs_put_inode(struct erofs_writer *w, struct erofs_disk_inode *inode,
                    const struct buf *xattrs, const void *payload, size_t len, uint64_t *ret_nid,
                    struct error *e)
{
    size_t size = sizeof *inode + xattrs->len + len;
    unsigned char *p = NULL;
    uint64_t pos = 0;
    int r;

    inode->xattr_count =
        xattrs->len
            ? htole16((uint16_t)((xattrs->len - sizeof(struct erofs_disk_xattr_head)) / 4 + 1))
            : 0;
    if (size <= EROFS_BLOCK) {
        r = pack_take(w, size, &p, &pos, e);
        if (r < 0)
            return r;
        inode->ino = htole32((uint32_t)(pos / EROFS_SLOT));
        memcpy(p, inode, sizeof *inode);
        if (xattrs->len)
            memcpy(p + sizeof *inode, xattrs->data, xattrs->len);
        if (len)
            memcpy(p + sizeof *inode + xattrs->len, payload, len);
    } else {
        /* Many attributes, or the map of a large file: blocks of its own. */
        uint32_t block = 0;

        r = erofs_next_block(w, &block, e);
        pos = (uint64_t)block << EROFS_BLOCK_BITS;
        inode->ino = htole32((uint32_t)(pos / EROFS_SLOT));
        if (r == 0)
            r = erofs_out_put(&w->out, inode, sizeof *inode, e);
        if (r == 0 && xattrs->len)
            r = erofs_out_put(&w->out, xattrs->data, xattrs->len, e);
        if (r == 0 && len)
            r = erofs_out_put(&w->out, payload, len, e);
        if (r == 0)
            r = erofs_out_skip(&w->out,
                               pos + ((size + EROFS_BLOCK - 1) & ~(uint64_t)(EROFS_BLOCK - 1)), e);
        if (r < 0)
            return r;
    }
    erofs_xattrs_placed(&w->xattr_share, xattrs->data, xattrs->len,
                        pos + sizeof(struct erofs_disk_inode));
    erofs_mix(w, erofs_hash(inode, sizeof *inode));
    if (xattrs->len)
        erofs_mix(w, erofs_hash(xattrs->data, xattrs->len));
    if (len)
        erofs_mix(w, erofs_hash(payload, len));
    *ret_nid = pos / EROFS_SLOT;
    return 0;
}
