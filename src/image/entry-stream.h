/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry stream: what the program that parses archives (pouch-image, no rights) tells the
 * program that writes them to disk (pouch-unpack, trusted, small) through a pipe.
 *
 *     struct entry_stream_head
 *     then for each entry of the tar archive, in its order:
 *         struct entry_header
 *         path_len bytes of path          (no NUL)
 *         link_len bytes of link target   (no NUL; symbolic and hard links only)
 *         xattr_count times: struct entry_xattr, name_len bytes, value_len bytes
 *         only when type is ENTRY_FILE:
 *             data chunks: struct entry_chunk, then len bytes that belong at `offset`
 *             the list ends with a chunk of len 0
 *     last an entry_header of type ENTRY_END
 *
 * All numbers are in the byte order of the host; headers are packed without padding and follow each
 * other unaligned. Offsets of chunks rise and chunks do not overlap; what lies between them and up
 * to `size` is a hole (zeros). A stream that stops without ENTRY_END with status 0 was cut off: the
 * layer must be thrown away.
 *
 * The reader trusts nothing: the writer is the process that hostile bytes may have taken over.
 * Paths come as they stand in the archive, apart from leading "/" and "./" and trailing "/", which
 * are taken away ("" is the layer's root folder). "..", links and whiteouts (".wh.NAME",
 * ".wh..wh..opq") are the reader's business. The limits below are the reader's to enforce too.
 *
 * How pouch-unpack is started (by pouchd, one process a layer):
 *     pouch-unpack
 *     fd 0   the pipe with the entry stream
 *     fd 1   a pipe back: one struct unpack_report at the end (and nothing else)
 *     fd 2   the log
 *     fd 3   the empty folder of the layer (O_DIRECTORY), opened by pouchd
 * A stream that is cut off (its end before ENTRY_END, or ENTRY_END with a status) is reported as
 * ECANCELED: whoever cut it off knows why; every other errnum is pouch-unpack's own reason.
 * Exit status 0 with a report of errnum 0 is the only success. After the first error it stops
 * reading (the parser gets EPIPE) and reports. Before a good report it makes what it wrote durable
 * (syncfs) unless argument --no-sync is given.
 */
#pragma once

#include <stdint.h>

#define ENTRY_STREAM_MAGIC  0x31534550u /* "PES1" */
#define ENTRY_HEADER_MAGIC  0x45u
#define UNPACK_REPORT_MAGIC 0x31525550u /* "PUR1" */

#define ENTRY_PATH_MAX       4096u
#define ENTRY_LINK_MAX       4096u
#define ENTRY_XATTRS_MAX     64u
#define ENTRY_XATTR_NAME_MAX 255u
#define ENTRY_XATTR_SIZE_MAX 65536u
#define ENTRY_CHUNK_MAX      (1024u * 1024u)

enum entry_type {
    ENTRY_END, /* status and message tell how the archive ended */
    ENTRY_FILE,
    ENTRY_DIR,
    ENTRY_SYMLINK,
    ENTRY_HARDLINK, /* link target: a path in the archive, cleaned like `path` */
    ENTRY_CHAR,
    ENTRY_BLOCK,
    ENTRY_FIFO,
    ENTRY_TYPE_MAX
};

struct entry_stream_head {
    uint32_t magic;   /* ENTRY_STREAM_MAGIC */
    uint32_t version; /* 1 */
} __attribute__((packed));

struct entry_header {
    uint8_t magic; /* ENTRY_HEADER_MAGIC */
    uint8_t type;  /* enum entry_type */
    uint16_t path_len;
    uint16_t link_len;
    uint16_t xattr_count;
    uint32_t mode; /* permission bits, suid, sgid, sticky (07777) */
    uint32_t uid;
    uint32_t gid;
    uint32_t dev_major; /* ENTRY_CHAR, ENTRY_BLOCK */
    uint32_t dev_minor;
    uint64_t size; /* ENTRY_FILE: the file's size; else 0 */
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    uint32_t status; /* ENTRY_END: 0 the archive ended well, else a positive errno */
} __attribute__((packed));

struct entry_xattr {
    uint16_t name_len;
    uint16_t reserved; /* 0 */
    uint32_t value_len;
} __attribute__((packed));

struct entry_chunk {
    uint64_t offset;
    uint32_t len; /* 0 ends the file */
} __attribute__((packed));

/* pouch-unpack's last word, on fd 1. */
struct unpack_report {
    uint32_t magic;    /* UNPACK_REPORT_MAGIC */
    int32_t errnum;    /* 0 good, else a positive errno */
    uint64_t entries;  /* written */
    uint64_t bytes;    /* of file content, holes included */
    char message[496]; /* one line for a person, NUL-terminated; "" when good */
} __attribute__((packed));
