/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the reader share: reader.c (bytes, inodes, content), lookup.c (names),
 * walk.c, check.c. */
#pragma once

#include <stdbool.h>

#include "erofs/erofs.h"
#include "erofs/format.h"

/* Blocks that were read last, so that walking a tree does not read each a hundred times. */
#define EROFS_CACHE_SLOTS 64

struct erofs_reader {
    int fd;
    uint64_t size;   /* of the file system: nothing lies beyond */
    uint64_t meta;   /* offset that inode numbers count from */
    uint64_t xattrs; /* offset that numbers of shared attributes count from */
    uint64_t root;
    uint64_t inodes;
    int64_t time_sec; /* of inodes in the short form */
    uint32_t time_nsec;
    uint32_t features;
    uint64_t file_size;
    const unsigned char *map;           /* of `size` bytes; NULL: blocks are read */
    unsigned char *windows;             /* of the map: a bit for each that was looked into */
    size_t nwindows;                    /* so many */
    uint64_t cached[EROFS_CACHE_SLOTS]; /* block + 1 */
    unsigned char *cache;
};

/* Something in the image that no honest writer makes. */
int erofs_corrupt(struct error *e, uint64_t nid, const char *what);
/* A block, good until the next call. */
int erofs_reader_block(struct erofs_reader *r, uint64_t block, const unsigned char **ret,
                       struct error *e) MUST_CHECK;
/* Bytes at an offset of the file, through the cache; ERR_INVALID beyond its end. */
int erofs_reader_bytes(struct erofs_reader *r, uint64_t offset, void *out, size_t len,
                       struct error *e) MUST_CHECK;

/* One block of a folder's names, copied and checked: names are in order, in it, and have no "/". */
struct erofs_names {
    unsigned char block[EROFS_BLOCK];
    uint32_t size; /* of what is used */
    uint32_t count;
};
int erofs_names_load(struct erofs_reader *r, const struct erofs_inode *dir, uint64_t block,
                     struct erofs_names *n, struct error *e) MUST_CHECK;
const char *erofs_names_at(const struct erofs_names *n, uint32_t i, size_t *ret_len,
                           uint64_t *ret_nid, uint8_t *ret_type);
/* In the order of folders: by bytes, the shorter of two equal ones first. */
int erofs_name_compare(const char *a, size_t a_len, const char *b, size_t b_len);
static inline uint64_t erofs_names_blocks(const struct erofs_inode *dir)
{
    return (dir->size + EROFS_BLOCK - 1) / EROFS_BLOCK;
}

/* As erofs_reader_walk(); `own`: what our writer leaves 0 must be 0. */
int erofs_walk_tree(struct erofs_reader *r, bool own, erofs_walk_fn *fn, void *data,
                    struct error *e) MUST_CHECK;

/* Numbers that were met. */
struct erofs_seen_slot {
    uint64_t nid; /* + 1; 0: free */
    uint32_t count;
    uint32_t want;
};
struct erofs_seen {
    struct erofs_seen_slot *slots; /* mask + 1 */
    size_t mask;
    size_t n;
};
/* The slot of a number, new ones with a count of 0; NULL when there are too many. */
struct erofs_seen_slot *erofs_seen_get(struct erofs_seen *s, uint64_t nid);
