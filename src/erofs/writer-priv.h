/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the writer:
 *
 *   writer.c   entries of the archive, one kind after the other
 *   data.c     content of the file that is open: pieces, holes, its map, then its inode
 *   share.c    which content is there already
 *   out.c      bytes to their place in the file; inodes packed into blocks
 *   folders.c  the end: folders, numbers of links, superblock
 *   tree.c     names;  xattr.c attributes
 */
#pragma once

#include "base/buf.h"
#include "erofs/erofs.h"
#include "erofs/format.h"
#include "erofs/tree.h"
#include "erofs/xattr.h"

/* Content is looked at in pieces of this size: what is equal is shared, what is zero is a hole. */
#define EROFS_PIECE_BITS 16
#define EROFS_PIECE      ((size_t)1 << EROFS_PIECE_BITS)

/* --- out.c ------------------------------------------------------------------------------------ */

#define EROFS_OUT_SIZE ((size_t)256 << 10)

/* Bytes that follow each other in the file, gathered. */
struct erofs_out {
    int fd;
    uint64_t pos; /* of buf[0] in the file */
    size_t len;
    size_t size;
    unsigned char *buf;
};

void erofs_out_init(struct erofs_out *o, int fd, uint64_t pos, size_t size);
void erofs_out_done(struct erofs_out *o);
static inline uint64_t erofs_out_next(const struct erofs_out *o)
{
    return o->pos + o->len;
}
int erofs_out_put(struct erofs_out *o, const void *data, size_t len, struct error *e) MUST_CHECK;
/* Zeros up to that offset, which are not written where they are many. */
int erofs_out_skip(struct erofs_out *o, uint64_t to, struct error *e) MUST_CHECK;
int erofs_out_flush(struct erofs_out *o, struct error *e) MUST_CHECK;
int erofs_pwrite(int fd, const void *data, size_t len, uint64_t offset, struct error *e) MUST_CHECK;

/* Blocks that take inodes and their small content: several are open, so that little is left over. */
#define EROFS_PACK_BLOCKS 32u

struct erofs_pack {
    uint64_t pos;    /* 0: none are reserved */
    unsigned blocks; /* reserved: grows from time to time */
    unsigned first;  /* block that may have room */
    uint16_t used[EROFS_PACK_BLOCKS];
    unsigned char *data;
};

/* --- share.c ---------------------------------------------------------------------------------- */

struct erofs_share_slot {
    uint64_t hash; /* 0: free */
    uint32_t block;
    uint32_t blocks;
};

struct erofs_share {
    struct erofs_share_slot *slots;
    size_t mask;
    size_t n;
    unsigned char *copy; /* a piece read back, to compare */
};

/* Not for enemies: equal hashes are only a reason to compare. Never 0. */
uint64_t erofs_hash(const void *data, size_t len);

/* --- The writer -------------------------------------------------------------------------------- */

/* The file whose content comes. */
struct erofs_file {
    bool open;
    bool keep;     /* false: its data is dropped */
    uint32_t node; /* that gets its inode */
    uint64_t size;
    uint64_t end; /* of what came so far */
    char *path;   /* for messages */
    /* the piece that is being filled */
    bool filling;
    uint64_t piece;
    size_t fill;
    /* its map: chunk i is at start + i * blocks in one, until `index` says otherwise */
    unsigned chunk_bits; /* of bytes */
    uint64_t chunks;     /* mapped so far, holes before the last one included */
    uint32_t start;
    uint32_t *index;
    size_t index_len;
    uint64_t chunk;     /* of those above a piece: the one that was begun last */
    uint64_t chunk_pos; /* and where it lies, 0: none is open */
};

struct erofs_writer {
    int fd;
    bool no_chunks;
    bool chunks_used;
    struct erofs_tree tree;
    struct erofs_out out;
    struct erofs_pack pack;
    struct erofs_share share;
    struct erofs_xattr_share xattr_share;
    struct erofs_file file;
    unsigned char *piece;
    struct erofs_disk_inode inode; /* of the file that is open */
    struct buf xattrs;             /* its attributes as on disk */
    uint64_t whiteout_nid;         /* the inode of all whiteouts, 0 none yet */
    size_t linked;                 /* names of files with several, written so far */
    uint64_t hash[2];              /* of everything: becomes the uuid */
    struct erofs_writer_stats stats;
    struct layer_path path;
    struct layer_path link;
};

/* The content of `len` bytes (whole blocks) is there already: *ret_block. 0 or -ENOENT. */
int erofs_share_find(struct erofs_writer *w, uint64_t hash, const void *data, size_t len,
                     uint32_t *ret_block, struct error *e) MUST_CHECK;
void erofs_share_add(struct erofs_writer *w, uint64_t hash, size_t len, uint32_t block);
void erofs_share_done(struct erofs_share *s);

/* Puts an inode with its attributes and what follows them (payload) somewhere: *ret_nid. */
int erofs_put_inode(struct erofs_writer *w, struct erofs_disk_inode *inode,
                    const struct buf *xattrs, const void *payload, size_t len, uint64_t *ret_nid,
                    struct error *e) MUST_CHECK;
/* Ends the blocks of packed inodes. */
int erofs_pack_flush(struct erofs_writer *w, struct error *e) MUST_CHECK;
/* Whether an inode of that many bytes of attributes has room for so much behind it in its block. */
bool erofs_fits_inline(size_t xattrs, size_t payload);
/* Mixes what is written into the uuid. */
void erofs_mix(struct erofs_writer *w, uint64_t value);
/* Turns out_next() into a number of a block: ERR_TOO_LARGE beyond 16 TiB. */
int erofs_next_block(struct erofs_writer *w, uint32_t *ret, struct error *e) MUST_CHECK;

/* data.c: w->inode and w->xattrs are those of the file. */
int erofs_file_begin(struct erofs_writer *w, const char *path, uint64_t size, uint32_t node,
                     struct error *e) MUST_CHECK;
int erofs_file_end(struct erofs_writer *w, struct error *e) MUST_CHECK;

/* folders.c */
int erofs_write_folders(struct erofs_writer *w, struct error *e) MUST_CHECK;
