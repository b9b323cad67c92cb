/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of rootfs/ share: one table of entries becomes an entry stream (for pouch-unpack)
 * and a tar archive (for other tools); a tree becomes a text that can be compared.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "image/entry-stream.h"

struct kit_entry {
    enum entry_type type; /* ENTRY_END ends a table */
    const char *path;
    const char *link; /* target, or the content of a file */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t dev_major;
    uint32_t dev_minor;
    int64_t mtime;
    uint32_t nsec;
    const char *xattr; /* one name, or NULL */
    const char *value;
};

#define KIT_END                                                                                    \
    {                                                                                              \
        .type = ENTRY_END                                                                          \
    }

/* Parts of a stream. */
void kit_head(struct buf *out);
void kit_header(struct buf *out, const struct kit_entry *t, uint64_t size);
void kit_chunk(struct buf *out, uint64_t offset, const void *data, uint32_t len);
void kit_end(struct buf *out, uint32_t status);
/* One entry; a file's content in one chunk. */
void kit_entry(struct buf *out, const struct kit_entry *t);

/* A whole table. */
void kit_stream(struct buf *out, const struct kit_entry *table);
void kit_tar(struct buf *out, const struct kit_entry *table);

/* Feeds the stream to unpack_stream() through a memfd (through_pipe: by a thread and a pipe). */
int kit_unpack(const struct buf *stream, int root_fd, bool through_pipe, struct error *e);

/* Type, mode, owner, size, links, device, target, time, xattrs and content of all that is below the
 * folder, sorted. Files with several names say which name is the first. With `times` false no times
 * are told. */
void kit_manifest(int dir_fd, bool times, struct buf *out);
