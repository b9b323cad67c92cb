/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer as one EROFS file: the kernel mounts it as it is, so that nothing is unpacked.
 *
 * The writer takes the entries of a layer's archive in their order and writes the file in one pass,
 * with the same rules as rootfs/apply.c (docs/internals/rootfs.md): whiteouts become character
 * devices 0/0, opaque folders get trusted.overlay.opaque, the later of two entries wins. The reader
 * gives the content back without a mount. Format, limits and guarantees: docs/internals/erofs.md.
 *
 * Neither has state outside its struct: any thread, one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/layer.h"
#include "base/macros.h"

/* --- Writer ----------------------------------------------------------------------------------- */

struct erofs_writer;

struct erofs_writer_params {
    int fd; /* empty, read and write, borrowed; pread, pwrite are all that is done to it */
    size_t memory_max; /* what names, folders and tables may take; 0: 256 MiB */
    bool no_chunks; /* for kernels before 5.15: no chunk-based files. Holes cost no disk (the file
                          itself has them) but addresses, and less content is shared */
};

struct erofs_writer_stats {
    uint64_t entries; /* taken */
    uint64_t inodes;  /* in the file system */
    uint64_t content; /* bytes of all files' sizes */
    uint64_t shared;  /* bytes that were there already and are not stored again */
    uint64_t size;    /* of the file: a multiple of 4096 */
};

int erofs_writer_new(const struct erofs_writer_params *p, struct erofs_writer **ret,
                     struct error *e) MUST_CHECK;
/* Leaves the file as it is: without erofs_writer_finish() it has no superblock and never mounts. */
void erofs_writer_free(struct erofs_writer *w);
DEFINE_AUTOPTR(struct erofs_writer, erofs_writer)

/*
 * The next entry. After a LAYER_FILE come any number of erofs_writer_data() and one
 * erofs_writer_file_end(), also when the entry leaves nothing (a whiteout: its data is dropped).
 * After an error the writer is good for nothing but erofs_writer_free().
 */
int erofs_writer_entry(struct erofs_writer *w, const struct layer_entry *entry,
                       struct error *e) MUST_CHECK;
/* Content of the file: offsets rise, what is left out and what follows up to its size are zeros. */
int erofs_writer_data(struct erofs_writer *w, uint64_t offset, const void *data, size_t len,
                      struct error *e) MUST_CHECK;
int erofs_writer_file_end(struct erofs_writer *w, struct error *e) MUST_CHECK;

/* After the last entry: folders, then the superblock. Nothing is synced. ret may be NULL. */
int erofs_writer_finish(struct erofs_writer *w, struct erofs_writer_stats *ret,
                        struct error *e) MUST_CHECK;

/* --- Reader ----------------------------------------------------------------------------------- */

struct erofs_reader;

/* One file, folder … of an image. */
struct erofs_inode {
    uint64_t nid; /* its number: the same for all names of a file */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint64_t size;
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    /* where its parts are; the reader's own business */
    uint32_t layout;
    uint32_t xattr_size;
    uint32_t base_size;
    uint32_t start;
};

/*
 * fd: borrowed, read by pread alone. Every byte of it may be hostile: what cannot be right ends in
 * an error of code ERR_INVALID, never in more than `size` of the file being read at once.
 */
int erofs_reader_open(int fd, struct erofs_reader **ret, struct error *e) MUST_CHECK;
/*
 * From now on blocks are read by a map of the file, which saves a call a block. Only for a file that
 * nobody can write to, in a process that may die (SIGBUS) when the disk fails.
 */
int erofs_reader_map(struct erofs_reader *r, struct error *e) MUST_CHECK;
void erofs_reader_free(struct erofs_reader *r);
DEFINE_AUTOPTR(struct erofs_reader, erofs_reader)

int erofs_reader_root(struct erofs_reader *r, struct erofs_inode *ret, struct error *e) MUST_CHECK;
/*
 * By path, symlinks followed inside the image; the last component only with `follow`.
 * ERR_NOT_FOUND with -ENOENT, -ENOTDIR or -ELOOP.
 */
int erofs_reader_lookup(struct erofs_reader *r, const char *path, bool follow,
                        struct erofs_inode *ret, struct error *e) MUST_CHECK;

/* Bytes of a file: as many as there are up to len, holes as zeros. Count or -errno. */
ssize_t erofs_reader_read(struct erofs_reader *r, const struct erofs_inode *inode, uint64_t offset,
                          void *out, size_t len, struct error *e) MUST_CHECK;
/* The next piece at or after offset that is no hole: 1 with its bounds, 0 when only zeros follow. */
int erofs_reader_next_data(struct erofs_reader *r, const struct erofs_inode *inode, uint64_t offset,
                           uint64_t *ret_start, uint64_t *ret_end, struct error *e) MUST_CHECK;
/* The target of a symlink; the caller frees it. */
int erofs_reader_readlink(struct erofs_reader *r, const struct erofs_inode *inode, char **ret,
                          struct error *e) MUST_CHECK;

/* A callback that returns not 0 ends the iteration, which returns that. */
typedef int erofs_xattr_fn(void *data, const struct layer_xattr *x);
int erofs_reader_xattrs(struct erofs_reader *r, const struct erofs_inode *inode, erofs_xattr_fn *fn,
                        void *data, struct error *e) MUST_CHECK;

/* The names in a folder in their order, without "." and "..". */
typedef int erofs_name_fn(void *data, const char *name, uint64_t nid, struct error *e);
int erofs_reader_list(struct erofs_reader *r, const struct erofs_inode *dir, erofs_name_fn *fn,
                      void *data, struct error *e) MUST_CHECK;
/* What a nid of erofs_reader_list() is. */
int erofs_reader_inode(struct erofs_reader *r, uint64_t nid, struct erofs_inode *ret,
                       struct error *e) MUST_CHECK;

/*
 * All of the tree, each folder before what is in it, the root ("") first, names in order. A folder
 * that is reached twice is an error. Memory: 16 bytes a folder, and the names of one folder a level.
 */
typedef int erofs_walk_fn(void *data, const char *path, const struct erofs_inode *inode,
                          struct error *e);
int erofs_reader_walk(struct erofs_reader *r, erofs_walk_fn *fn, void *data,
                      struct error *e) MUST_CHECK;

/*
 * Is the structure whole: walks everything, reads every attribute, link and map, counts links, and
 * looks that all content lies inside the file. Content itself has no checksum in EROFS.
 */
int erofs_reader_check(struct erofs_reader *r, struct error *e) MUST_CHECK;
/*
 * The same for a file that our own writer must have made, or so it is said: besides, nothing may be
 * in it that the writer never makes, known to be harmless or not (short inodes, attributes that
 * overlayfs obeys, fields that are 0 today). What passes is safe to hand to the kernel, and what the
 * kernel then shows is what the reader shows.
 */
int erofs_reader_check_own(struct erofs_reader *r, struct error *e) MUST_CHECK;
