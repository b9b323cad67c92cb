/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a gzip stream again bit by bit. The stream is taken apart into blocks and tokens (what the
 * compressor decided); a model of a known compressor runs over the same bytes and says what it would
 * have decided; what it got wrong goes into a record. Bytes and record give the stream again. With the
 * right model the record holds little more than the Huffman tables; with another one it grows, and
 * the layer's blob is kept.
 *
 *     deflate-read.c    gzip stream -> blocks and tokens, and the bytes
 *     deflate-model.c   models of compressors: bytes -> tokens (deflate-chain.c, deflate-fast.c)
 *     deflate-record.c  stream -> record; which model fits
 *     deflate-replay.c  bytes and record -> stream
 *
 * The record is a zstd frame of items (numbers are base 128, lowest first):
 *
 *     'M' length header        a gzip member begins; its header as it is
 *     'B' type+final [bits…]   a block; type 2 (own tables): number of bits and the tables as they are
 *     'T' span tokens mode …   tokens of it that make `span` bytes. Mode 0: runs (number of tokens as
 *                              the model says, then tokens it did not say until both are at the same
 *                              byte again); 1: literals alone
 *     'S' span                 a stored block's bytes
 *     'L' left                 the member ends so many bytes after what was said so far
 *     'E' 'X'                  the end of a block that is not stored; of a member
 *     'Z' number               zeros after the last member
 *     'Q'                      the end
 *
 * Both sides run the model in the same steps over the same bytes (deflate_sim_to()), so that it says
 * the same. Nothing here trusts stream or record: the memory is bounded, and what comes of a record
 * is believed when its digest is right.
 */
#pragma once

#include "image/worker/journal.h"

#define DEFLATE_DIST_MAX 32768u
#define DEFLATE_LEN_MAX  258u
#define DEFLATE_TABLES_MAX                                                                         \
    640u /* bytes of a block's tables: 14 + 19 * 3 + 316 * 14 bits are less */
#define DEFLATE_SPAN     (64u * 1024) /* bytes that one item makes, about */
#define DEFLATE_SPAN_MAX (DEFLATE_SPAN + DEFLATE_LEN_MAX)
#define DEFLATE_AHEAD    (66u * 1000) /* bytes a model wants to see beyond where it is */
#define DEFLATE_HISTORY  (64u * 1024) /* bytes before it that it may look at */
#define DEFLATE_WINDOW   (1024u * 1024)

/* A token: 0 is a literal (its byte is where it stands), else distance and length. */
typedef uint32_t deflate_token;
static inline deflate_token deflate_match(unsigned dist, unsigned len)
{
    return dist << 9 | len;
}
static inline unsigned deflate_token_len(deflate_token t)
{
    return t == 0 ? 1 : t & 511;
}
static inline unsigned deflate_token_dist(deflate_token t)
{
    return t >> 9;
}

/* --- Models ------------------------------------------------------------------------------------------ */

/* A piece of the member's bytes: data[0] is at position start. last: the member ends at end. */
struct deflate_view {
    const unsigned char *data;
    uint64_t start, end;
    bool last;
};

/* The number of a model is in journals: it never changes its meaning, nor does a model what it says. */
#define DEFLATE_MODELS 64
struct deflate_model;
/* NULL: no model has this number. */
struct deflate_model *deflate_model_new(unsigned number) MUST_CHECK;
void deflate_model_free(struct deflate_model *m);
DEFINE_AUTOPTR(struct deflate_model, deflate_model)
const char *deflate_model_name(unsigned number);
/* A member begins. */
void deflate_model_reset(struct deflate_model *m);
/* Says what comes next, as far as it can be said from the view; at most DEFLATE_BATCH tokens. */
#define DEFLATE_BATCH 65536u
size_t deflate_model_run(struct deflate_model *m, const struct deflate_view *v, deflate_token *out);

/* deflate-chain.c, deflate-fast.c: the kinds of models. */
struct deflate_level {
    const char *name;
    uint16_t good, lazy, nice, chain,
        skip;        /* chains: how hard they look; skip: longer is not hashed */
    bool go;         /* Go's compress/gzip, else zlib and gzip */
    uint8_t fast;    /* not chains: enum deflate_fast */
    uint32_t period; /* the compressor begins anew after so many bytes */
};
enum deflate_fast { DEFLATE_CHAIN, DEFLATE_GO1, DEFLATE_KP5_OLD, DEFLATE_KP5 };
struct deflate_chain;
struct deflate_chain *deflate_chain_new(const struct deflate_level *level) MUST_CHECK;
void deflate_chain_reset(struct deflate_chain *c);
size_t deflate_chain_run(struct deflate_chain *c, const struct deflate_view *v, deflate_token *out);
struct deflate_quick;
struct deflate_quick *deflate_quick_new(const struct deflate_level *level) MUST_CHECK;
void deflate_quick_reset(struct deflate_quick *q);
size_t deflate_quick_run(struct deflate_quick *q, const struct deflate_view *v, deflate_token *out);
/* How many bytes at a and b are equal, at most max. */
unsigned deflate_equal(const unsigned char *a, const unsigned char *b, size_t max);

/* --- Bytes and a model that runs over them ------------------------------------------------------------- */

struct deflate_sim {
    unsigned char *mem; /* what buf lies in */
    unsigned char *buf; /* DEFLATE_WINDOW bytes; buf[0] is at position start of the member */
    size_t len;
    uint64_t start, pos;         /* pos: up to here it is dealt with */
    bool last;                   /* the member ends with these bytes, at … */
    uint64_t end;                /* … */
    struct deflate_model *model; /* NULL: none runs */
    deflate_token *queue;
    size_t queue_at, queue_len;
    uint64_t queue_pos; /* where the next of them stands */
};
void deflate_sim_init(struct deflate_sim *s, struct deflate_model *model);
void deflate_sim_done(struct deflate_sim *s);
/* A member begins; the bytes from pos on, which are its first, stay. */
void deflate_sim_reset(struct deflate_sim *s);
/* Whether the bytes are there to say everything up to pos + span. */
bool deflate_sim_ready(const struct deflate_sim *s, uint64_t span);
/* The token at position `at` (below pos + span): 1, 0: there begins none. */
int deflate_sim_token(struct deflate_sim *s, uint64_t at, uint64_t span, deflate_token *ret);
/* Goes to pos + span. */
void deflate_sim_to(struct deflate_sim *s, uint64_t span);
/* Throws away what nobody looks at any more; so many bytes fit then. */
size_t deflate_sim_room(struct deflate_sim *s);
static inline const unsigned char *deflate_sim_at(const struct deflate_sim *s, uint64_t pos)
{
    return s->buf + (pos - s->start);
}

/* --- Reading streams --------------------------------------------------------------------------------- */

/* Bits, lowest first. get: like read(). */
typedef ssize_t deflate_source(void *data, void *buf, size_t len);
struct deflate_bits {
    deflate_source *source;
    void *data;
    unsigned char *buf;
    size_t at, len;
    uint64_t hold;
    unsigned held;
    uint64_t taken; /* bytes read from the source */
    bool over;      /* the source ended before the bits did */
    int err;
};

struct deflate_tables {
    uint8_t lit[288], dist[32]; /* lengths of codes */
    unsigned char raw[DEFLATE_TABLES_MAX];
    unsigned raw_bits;
};
/* The tables at the beginning of a block of type 2: 0, -EINVAL. */
int deflate_tables_read(struct deflate_bits *b, struct deflate_tables *t) MUST_CHECK;
void deflate_tables_fixed(struct deflate_tables *t);
unsigned deflate_bits_get(struct deflate_bits *b, unsigned n);

enum deflate_item_kind {
    DEFLATE_MEMBER,
    DEFLATE_BLOCK,
    DEFLATE_TOKENS,
    DEFLATE_STORED,
    DEFLATE_BLOCK_END,
    DEFLATE_MEMBER_END,
    DEFLATE_ZEROS,
    DEFLATE_END
};
struct deflate_item {
    enum deflate_item_kind kind;
    unsigned type;                    /* BLOCK: type + 4 for the last one */
    uint64_t span;                    /* TOKENS, STORED; ZEROS: their number */
    size_t ntokens;                   /* TOKENS */
    const deflate_token *tokens;      /* until the next call, as … */
    const struct deflate_tables *own; /* BLOCK of type 2 */
    const unsigned char *header;      /* MEMBER */
    size_t header_len;
};
struct deflate_reader;
struct deflate_reader *deflate_reader_new(deflate_source *source, void *data) MUST_CHECK;
void deflate_reader_free(struct deflate_reader *r);
DEFINE_AUTOPTR(struct deflate_reader, deflate_reader)
/* The next item. Its bytes are appended to the window, which has room for DEFLATE_SPAN_MAX. */
int deflate_reader_next(struct deflate_reader *r, struct deflate_sim *window,
                        struct deflate_item *ret, struct error *e) MUST_CHECK;
/* Bytes of the stream that were read. */
uint64_t deflate_reader_taken(const struct deflate_reader *r);

/* --- Records ------------------------------------------------------------------------------------------ */

/* Writes the record of the stream to fd, compressed, and says which model made it. ERR_NOT_SUPPORTED:
 * it would be too large (no model fits), or the stream is odd. source is a descriptor: read from 0. */
int deflate_record_write(int source, int fd, unsigned *ret_model, uint64_t *ret_len,
                         struct error *e) MUST_CHECK;

struct deflate_replay;
/* fd is borrowed; the record is at offset. out_max: more than that is never made. */
int deflate_replay_new(int fd, uint64_t offset, uint64_t len, unsigned model, uint64_t out_max,
                       journal_sink *sink, void *data, struct deflate_replay **ret,
                       struct error *e) MUST_CHECK;
void deflate_replay_free(struct deflate_replay *r);
DEFINE_AUTOPTR(struct deflate_replay, deflate_replay)
int deflate_replay_push(struct deflate_replay *r, const void *bytes, size_t len,
                        struct error *e) MUST_CHECK;
int deflate_replay_finish(struct deflate_replay *r, struct error *e) MUST_CHECK;
