/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journals of layers: what is needed, beside a layer's files, to make its blob again bit by bit.
 *
 *     "pouch-journal 2\n", struct journal_recipe (how the tar became the blob), with JOURNAL_DEFLATE
 *     the record of the gzip stream (deflate.h), then compressed by zstd: records 'R' u32 bytes (a
 *     piece of the tar as it is), 'F' u64 size u16 length path (the content of that file of the
 *     layer), 'E' u64 size of the tar.
 *
 * A journal is written by a worker and read by a worker: what is read is as little trusted as an
 * archive. pouchd only opens the files that are asked for, below the layer's folder.
 */
#pragma once

#include "image/journal-format.h"
#include "image/worker/worker.h"

/* --- codec.c: compressing, also again just as somebody did ------------------------------------------- */

typedef int journal_sink(void *data, const void *bytes, size_t len, struct error *e);

struct codec;
/* How Pouch itself compresses. level: 0 the default (gzip: ISA-L, where it is to be had), gzip 1 to 9,
 * zstd 1 to 22. No times and names are in it: the same bytes give the same result. */
int codec_recipe(enum oci_compression to, int level, struct journal_recipe *ret) MUST_CHECK;
/* journal: what the recipe was read from (JOURNAL_DEFLATE alone looks at it; borrowed), or negative. */
int codec_new(const struct journal_recipe *r, int journal, journal_sink *sink, void *data,
              struct codec **ret, struct error *e) MUST_CHECK;
/* The library that a codec needs, and its version here ("libzstd 1.5.4"); empty: none, as it is all
 * ours. */
void codec_library(unsigned codec, char ret[JOURNAL_LIBRARY_MAX]);
int codec_push(struct codec *c, const void *bytes, size_t len, struct error *e) MUST_CHECK;
int codec_finish(struct codec *c, struct error *e) MUST_CHECK;
void codec_free(struct codec *c);
DEFINE_AUTOPTR(struct codec, codec)

/*
 * Which recipe makes the beginning of this blob (raw) from the beginning of its tar (plain)?
 * whole: the beginnings are all there is. 1 with the recipe, 0: none that is known.
 */
int codec_guess(const unsigned char *raw, size_t raw_len, const unsigned char *plain,
                size_t plain_len, bool whole, struct journal_recipe *ret,
                struct error *e) MUST_CHECK;

/* --- journal.c ------------------------------------------------------------------------------------ */

/* Gives the content of a file of the layer, `size` bytes, to the sink. */
typedef int journal_content(void *data, const char *path, uint64_t size, journal_sink *sink,
                            void *sink_data, struct error *e);

/* Reads a tar from the queue, writes its journal to fd. ERR_NOT_SUPPORTED: an archive of a kind that
 * is not taken apart, or whose journal would have more than max bytes. */
int journal_write(struct chunkq *tar, const struct journal_recipe *recipe, uint64_t max, int fd,
                  struct error *e) MUST_CHECK;
/* Empties the journal and puts the record of this gzip stream where journal_write() expects it. */
int journal_write_record(int blob, uint64_t size, int fd, struct journal_recipe *ret,
                         struct error *e) MUST_CHECK;
/* Where the record is, and its length (0: the recipe has none). */
uint64_t journal_record(const struct journal_recipe *r, uint64_t *ret_offset);
/* Reads the head of a journal. */
int journal_read_recipe(int fd, struct journal_recipe *ret, struct error *e) MUST_CHECK;
int journal_change_recipe(int fd, const struct journal_recipe *r, struct error *e) MUST_CHECK;
/* Makes the tar again, after journal_read_recipe(). */
int journal_replay(int fd, journal_content *content, void *content_data, journal_sink *sink,
                   void *sink_data, struct error *e) MUST_CHECK;
