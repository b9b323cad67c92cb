/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing tar archives as a stream: ustar headers, pax records for what does not fit into them
 * (long names, large numbers, extended attributes, holes). The same entries give the same bytes.
 *
 *     tarw_entry(&w, &entry);      header; for a file with content then
 *     tarw_data(&w, data, len);    exactly as many bytes as the entry said, in any pieces
 *     tarw_pad(&w);                the end of the content
 *     tarw_end(&w);                the end of the archive
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

/* Takes the next bytes of the archive; negative ends the writing and is what the caller gets. */
typedef int tarw_write_fn(void *data, const void *bytes, size_t len);

struct tarw {
    tarw_write_fn *write;
    void *data;
    uint64_t left; /* content of the current entry still to come */
    unsigned pad;
};

enum tarw_type {
    TARW_FILE = '0',
    TARW_HARDLINK = '1',
    TARW_SYMLINK = '2',
    TARW_CHAR = '3',
    TARW_BLOCK = '4',
    TARW_DIR = '5',
    TARW_FIFO = '6',
};

struct tarw_xattr {
    const char *name;
    const void *value;
    size_t size;
};
/* A piece of a file that has data; what lies between pieces is a hole. */
struct tarw_piece {
    uint64_t offset, len;
};

struct tarw_entry {
    enum tarw_type type;
    const char *path; /* folders end with "/" */
    const char *link; /* symbolic and hard links */
    uint32_t mode, uid, gid, dev_major, dev_minor;
    uint64_t size;
    int64_t mtime; /* seconds */
    const struct tarw_xattr *xattrs;
    size_t nxattrs;
    /* With nonzero `sparse` only the pieces' bytes follow, one after the other (pax sparse 1.0). */
    bool sparse;
    const struct tarw_piece *pieces;
    size_t npieces;
};

int tarw_entry(struct tarw *w, const struct tarw_entry *e) MUST_CHECK;
int tarw_data(struct tarw *w, const void *data, size_t len) MUST_CHECK;
int tarw_pad(struct tarw *w) MUST_CHECK;
int tarw_end(struct tarw *w) MUST_CHECK;
