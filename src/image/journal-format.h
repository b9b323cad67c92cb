/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a layer's journal (worker/journal.h has the rest): the worker writes and reads it, and
 * pouchd looks only how the blob was compressed.
 */
#pragma once

#include <stdint.h>

#define JOURNAL_MAGIC       "pouch-journal 2\n"
#define JOURNAL_MAGIC_OLD   "pouch-journal 1\n" /* its recipe ends before `library` */
#define JOURNAL_HEADER_MAX  1024
#define JOURNAL_LIBRARY_MAX 48

enum journal_codec {
    JOURNAL_TAR,
    JOURNAL_ZLIB,
    JOURNAL_ISAL,
    JOURNAL_ZSTD,
    JOURNAL_DEFLATE, /* a model of the compressor and a record of what it does not know */
    JOURNAL_CODEC_MAX
};

struct journal_recipe {
    uint8_t codec; /* enum journal_codec */
    int8_t level;
    uint8_t mem; /* zlib: memory level; zstd: workers; deflate: number of the model */
    uint8_t sum; /* zstd: with a checksum */
    uint64_t
        pledge; /* zstd: the content size its frame says, UINT64_MAX: none; deflate: the blob's */
    uint32_t header_len;
    unsigned char
        header[JOURNAL_HEADER_MAX];    /* gzip's, as it is; deflate: u64 length of the record */
    char library[JOURNAL_LIBRARY_MAX]; /* "libzstd 1.5.4": by which it was proven; "": by none, or
                                          nobody wrote it down */
    uint8_t old;                       /* in the file 0; read from an old one: 1 */
} __attribute__((packed));
