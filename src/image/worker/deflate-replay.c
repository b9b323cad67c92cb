/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records and bytes into streams again: see deflate.h. The mirror of deflate-record.c: whatever it does
 * to the model is done here in the same order.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h> /* crc32() */
#include <zstd.h>

#include "base/alloc.h"
#include "image/worker/deflate.h"

#define IN_BUF     (64u * 1024)
#define PLAIN_BUF  (64u * 1024)
#define OUT_BUF    (64u * 1024)
#define OUT_MARGIN 64u
#define WINDOW_LOG 27
#define LEFT_MAX   (DEFLATE_WINDOW / 4)

struct code {
    uint16_t bits;
    uint8_t len;
};

struct codes {
    struct code lit[288], dist[32];
};

struct deflate_replay {
    int fd;
    uint64_t at, left; /* of the record */
    ZSTD_DCtx *zstd;
    unsigned char *in_buf, *plain;
    ZSTD_inBuffer in;
    size_t plain_at, plain_len;

    struct deflate_sim sim;
    char kind; /* the item that waits for bytes, 0: none */
    uint64_t span, ntokens;
    bool literals;
    bool in_member, in_block, final, ended;
    unsigned type;
    uint64_t size;
    uLong crc;
    struct codes own, fixed;   /* of the block; always the same */
    const struct codes *codes; /* either */

    unsigned char *out;
    size_t nout;
    uint64_t hold;
    unsigned held;
    uint64_t made, out_max;
    journal_sink *sink;
    void *sink_data;
    struct error *e;
};

static int damaged(const struct deflate_replay *r)
{
    return error_set(r->e, ERR_INTERNAL, "the layer's journal is damaged");
}

/* --- The record ---------------------------------------------------------------------------------------- */

static int refill(struct deflate_replay *r)
{
    ZSTD_outBuffer out = {r->plain, PLAIN_BUF, 0};

    for (;;) { /* what it has in hand first */
        size_t before = r->in.pos;
        if (ZSTD_isError(ZSTD_decompressStream(r->zstd, &out, &r->in)))
            return damaged(r);
        if (out.pos > 0)
            break;
        if (r->in.pos < r->in.size) {
            if (r->in.pos == before)
                return damaged(r);
            continue;
        }
        size_t want = r->left < IN_BUF ? (size_t)r->left : IN_BUF;
        ssize_t n = pread(r->fd, r->in_buf, want, (off_t)r->at);
        if (n <= 0)
            return n < 0 ? error_set_errno(r->e, errno, "cannot read the layer's journal")
                         : damaged(r);
        r->at += (uint64_t)n;
        r->left -= (uint64_t)n;
        r->in = (ZSTD_inBuffer){r->in_buf, (size_t)n, 0};
    }
    r->plain_at = 0;
    r->plain_len = out.pos;
    return 0;
}

static int get_byte(struct deflate_replay *r)
{
    int rc = r->plain_at < r->plain_len ? 0 : refill(r);

    return rc < 0 ? rc : r->plain[r->plain_at++];
}

static int get_number(struct deflate_replay *r, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 63; shift += 7) {
        int c = get_byte(r);
        if (c < 0)
            return c;
        v |= (uint64_t)(c & 127) << shift;
        if (c < 128) {
            *ret = v;
            return v <= max ? 0 : damaged(r);
        }
    }
    return damaged(r);
}

static int get_token(struct deflate_replay *r, deflate_token *ret)
{
    uint64_t len = 0, dist = 0;
    int rc = get_number(r, DEFLATE_LEN_MAX - 2, &len);

    if (rc >= 0 && len > 0)
        rc = get_number(r, DEFLATE_DIST_MAX - 1, &dist);
    *ret = rc < 0 || len == 0 ? 0 : deflate_match((unsigned)dist + 1, (unsigned)len + 2);
    return rc;
}

/* --- The stream ---------------------------------------------------------------------------------------- */

static int out_flush(struct deflate_replay *r)
{
    size_t n = r->nout;

    r->nout = 0;
    r->made += n;
    if (r->made > r->out_max)
        return damaged(r);
    return n > 0 ? r->sink(r->sink_data, r->out, n, r->e) : 0;
}

/* At most 32 bits. */
static inline void put_bits(struct deflate_replay *r, uint32_t v, unsigned n)
{
    r->hold |= (uint64_t)v << r->held;
    r->held += n;
    while (r->held >= 8) {
        r->out[r->nout++] = (unsigned char)r->hold;
        r->hold >>= 8;
        r->held -= 8;
    }
}

static inline int out_room(struct deflate_replay *r)
{
    return r->nout > OUT_BUF - OUT_MARGIN ? out_flush(r) : 0;
}

static int put_raw(struct deflate_replay *r, const unsigned char *p, size_t len)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < len; i++) {
        put_bits(r, p[i], 8);
        rc = out_room(r);
    }
    return rc;
}

static void align(struct deflate_replay *r)
{
    if (r->held > 0)
        put_bits(r, 0, 8 - r->held);
}

/* The codes that these lengths make, as they are written: highest bit first. */
static void make_codes(struct code *codes, const uint8_t *lengths, unsigned n)
{
    unsigned count[16] = {0}, next[16] = {0};

    for (unsigned i = 0; i < n; i++)
        count[lengths[i]]++;
    count[0] = 0;
    for (unsigned len = 1; len < 16; len++)
        next[len] = (next[len - 1] + count[len - 1]) << 1;
    for (unsigned i = 0; i < n; i++) {
        unsigned len = lengths[i], code = next[len]++, reversed = 0;
        for (unsigned bit = 0; bit < len; bit++)
            reversed |= (code >> bit & 1) << (len - 1 - bit);
        codes[i] = (struct code){(uint16_t)reversed, (uint8_t)len};
    }
}

static inline int put_symbol(struct deflate_replay *r, const struct code *c)
{
    put_bits(r, c->bits, c->len);
    return c->len == 0 ? damaged(r) : 0;
}

/* length - 3 -> symbol - 257: five bits of it and how many follow. */
static void length_symbol(unsigned len, unsigned *symbol, unsigned *bits)
{
    unsigned v = len - 3;

    if (len == DEFLATE_LEN_MAX || v < 8) {
        *symbol = len == DEFLATE_LEN_MAX ? 285 : 257 + v;
        *bits = 0;
        return;
    }
    *bits = 31u - (unsigned)__builtin_clz(v) - 2;
    *symbol = 257 + 4 * *bits + (v >> *bits);
}

static int put_match(struct deflate_replay *r, deflate_token t)
{
    unsigned len = deflate_token_len(t), dist = deflate_token_dist(t) - 1, symbol, bits;

    length_symbol(len, &symbol, &bits);
    int rc = put_symbol(r, &r->codes->lit[symbol]);
    put_bits(r, (len - 3) & ((1u << bits) - 1), bits);
    bits = dist < 4 ? 0 : 31u - (unsigned)__builtin_clz(dist) - 1;
    symbol = dist < 4 ? dist : 2 * bits + (dist >> bits);
    if (rc >= 0)
        rc = put_symbol(r, &r->codes->dist[symbol]);
    put_bits(r, dist & ((1u << bits) - 1), bits);
    return rc;
}

static int put_token(struct deflate_replay *r, uint64_t at, deflate_token t)
{
    int rc = t == 0 ? put_symbol(r, &r->codes->lit[*deflate_sim_at(&r->sim, at)]) : put_match(r, t);

    return rc < 0 ? rc : out_room(r);
}

/* --- Items --------------------------------------------------------------------------------------------- */

struct tokens {
    uint64_t at, left, end;
};

/* One token at t->at. */
static int do_token(struct deflate_replay *r, struct tokens *t, deflate_token token)
{
    unsigned len = deflate_token_len(token);

    if (t->left == 0 || len > t->end - t->at)
        return damaged(r);
    int rc = put_token(r, t->at, token);
    t->at += len;
    t->left--;
    return rc;
}

static int do_tokens(struct deflate_replay *r)
{
    struct tokens t = {r->sim.pos, r->ntokens, r->sim.pos + r->span};
    deflate_token token = 0;
    int rc = 0;

    while (rc >= 0 && r->literals && t.left > 0)
        rc = do_token(r, &t, 0);
    while (rc >= 0 && t.left > 0) {
        uint64_t run = 0;
        if ((rc = get_number(r, t.left, &run)) < 0)
            break;
        for (; rc >= 0 && run > 0; run--)
            rc = t.at < t.end && deflate_sim_token(&r->sim, t.at, r->span, &token) > 0
                     ? do_token(r, &t, token)
                     : damaged(r);
        while (rc >= 0 && t.left > 0) {
            if ((rc = get_token(r, &token)) < 0 || (rc = do_token(r, &t, token)) < 0)
                break;
            if (t.left > 0 && t.at < t.end && deflate_sim_token(&r->sim, t.at, r->span, &token) > 0)
                break;
        }
    }
    return rc < 0 ? rc : t.at == t.end ? 0 : damaged(r);
}

static int do_stored(struct deflate_replay *r)
{
    unsigned n = (unsigned)r->span;

    align(r);
    put_bits(r, n, 16);
    put_bits(r, n ^ 0xffff, 16);
    r->in_block = false;
    int rc = out_room(r);
    return rc < 0 ? rc : put_raw(r, deflate_sim_at(&r->sim, r->sim.pos), n);
}

/* The bytes for it are there. */
static int do_item(struct deflate_replay *r)
{
    const unsigned char *bytes = deflate_sim_at(&r->sim, r->sim.pos);

    r->crc = crc32(r->crc, bytes, (uInt)r->span);
    r->size += r->span;
    int rc = r->kind == 'S' ? do_stored(r) : do_tokens(r);
    deflate_sim_to(&r->sim, r->span);
    r->kind = 0;
    return rc;
}

static int read_tables(struct deflate_replay *r)
{
    unsigned char raw[DEFLATE_TABLES_MAX] = {0};
    struct deflate_tables t;
    struct deflate_bits b = {.buf = raw, .len = sizeof(raw)};
    uint64_t bits = 0;
    int rc = get_number(r, 8u * sizeof(raw), &bits), c;

    for (size_t i = 0; rc >= 0 && i < (bits + 7) / 8; i++)
        if ((c = get_byte(r)) < 0)
            rc = c;
        else
            raw[i] = (unsigned char)c;
    if (rc < 0)
        return rc;
    if (deflate_tables_read(&b, &t) < 0 || t.raw_bits != bits)
        return damaged(r);
    for (unsigned i = 0; i < bits; i += 8) {
        unsigned n = bits - i < 8 ? (unsigned)bits - i : 8;
        put_bits(r, raw[i / 8] & ((1u << n) - 1), n);
        if ((rc = out_room(r)) < 0)
            return rc;
    }
    make_codes(r->own.lit, t.lit, 288);
    make_codes(r->own.dist, t.dist, 32);
    r->codes = &r->own;
    return 0;
}

static int read_block(struct deflate_replay *r)
{
    uint64_t type = 0;
    int rc = get_number(r, 6, &type);

    if (rc < 0)
        return rc;
    if (!r->in_member || r->in_block || r->final || (type & 3) == 3)
        return damaged(r);
    r->in_block = true;
    r->final = type & 4;
    r->type = type & 3;
    put_bits(r, r->final, 1);
    put_bits(r, r->type, 2);
    rc = out_room(r); /* empty blocks may follow one another without end */
    if (rc < 0)
        return rc;
    if (r->type == 2)
        return read_tables(r);
    r->codes = &r->fixed;
    return 0;
}

static int read_member(struct deflate_replay *r)
{
    uint64_t len = 0;
    int rc = get_number(r, JOURNAL_HEADER_MAX, &len), c;

    if (rc >= 0 && r->in_member)
        return damaged(r);
    r->in_member = true;
    r->final = false;
    r->size = 0;
    r->crc = crc32(0, NULL, 0);
    for (; rc >= 0 && len > 0; len--) {
        if ((c = get_byte(r)) < 0)
            return c;
        put_bits(r, (unsigned)c, 8);
        rc = out_room(r);
    }
    return rc;
}

static int end_member(struct deflate_replay *r)
{
    if (!r->in_member || r->in_block || !r->final)
        return damaged(r);
    align(r);
    put_bits(r, (uint32_t)r->crc, 32);
    put_bits(r, (uint32_t)r->size, 32);
    r->in_member = false;
    deflate_sim_reset(&r->sim);
    return out_room(r);
}

static int end_block(struct deflate_replay *r)
{
    if (!r->in_block || r->type == 0)
        return damaged(r);
    r->in_block = false;
    int rc = put_symbol(r, &r->codes->lit[256]);
    return rc < 0 ? rc : out_room(r);
}

static int read_tokens(struct deflate_replay *r, char kind)
{
    uint64_t literals = 0;
    int rc = get_number(r, DEFLATE_SPAN_MAX, &r->span);

    if (rc >= 0 && kind == 'T')
        rc = get_number(r, DEFLATE_SPAN_MAX, &r->ntokens);
    if (rc >= 0 && kind == 'T')
        rc = get_number(r, 1, &literals);
    if (rc < 0)
        return rc;
    if (!r->in_block || (r->type == 0) != (kind == 'S') || (kind == 'S' && r->span > 65535))
        return damaged(r);
    r->literals = literals;
    r->kind = kind;
    return 0;
}

static int read_item(struct deflate_replay *r)
{
    int kind = get_byte(r), rc;
    uint64_t n = 0;

    if (kind < 0)
        return kind;
    if (kind == 'M')
        return read_member(r);
    if (kind == 'B')
        return read_block(r);
    if (kind == 'T' || kind == 'S')
        return read_tokens(r, (char)kind);
    rc = get_number(r, kind == 'Z' ? UINT32_MAX : LEFT_MAX, &n);
    if (rc < 0)
        return rc;
    switch (kind) {
    case 'L':
        r->sim.last = true;
        r->sim.end = r->sim.pos + n;
        return r->in_member ? 0 : damaged(r);
    case 'E':
        return end_block(r);
    case 'X':
        return end_member(r);
    case 'Z':
        for (rc = r->in_member ? damaged(r) : 0; rc >= 0 && n > 0; n--) {
            put_bits(r, 0, 8);
            rc = out_room(r);
        }
        return rc;
    case 'Q':
        r->ended = true;
        return r->in_member ? damaged(r) : 0;
    default:
        return damaged(r);
    }
}

/* As far as the bytes go that are there. Nothing comes after what the record says is the end. */
static int proceed(struct deflate_replay *r)
{
    int rc = 0;

    while (rc >= 0 && !r->ended) {
        if (r->kind == 0) {
            rc = read_item(r);
            continue;
        }
        if (r->sim.last && r->span > r->sim.end - r->sim.pos)
            return damaged(r);
        if (!deflate_sim_ready(&r->sim, r->span))
            return 0;
        rc = do_item(r);
    }
    return rc;
}

int deflate_replay_push(struct deflate_replay *r, const void *bytes, size_t len, struct error *e)
{
    const unsigned char *p = bytes;
    int rc = 0;

    r->e = e;
    while (rc >= 0 && len > 0) {
        size_t room = deflate_sim_room(&r->sim), n = len < room ? len : room;
        if (n == 0 || r->ended)
            return damaged(r);
        memcpy(r->sim.buf + r->sim.len, p, n);
        r->sim.len += n;
        p += n;
        len -= n;
        rc = proceed(r);
    }
    return rc;
}

int deflate_replay_finish(struct deflate_replay *r, struct error *e)
{
    r->e = e;
    int rc = proceed(r);
    if (rc >= 0 && (!r->ended || r->sim.start + r->sim.len != r->sim.pos))
        rc = damaged(r);
    return rc < 0 ? rc : out_flush(r);
}

int deflate_replay_new(int fd, uint64_t offset, uint64_t len, unsigned model, uint64_t out_max,
                       journal_sink *sink, void *data, struct deflate_replay **ret, struct error *e)
{
    AUTOPTR(deflate_model) struct deflate_model *m = deflate_model_new(model);
    struct deflate_tables fixed;

    if (!m || offset > INT64_MAX / 2 || len > INT64_MAX / 2)
        return error_set(e, ERR_INTERNAL, "the layer's journal is damaged");
    struct deflate_replay *r = xcalloc(1, sizeof(*r));
    r->fd = fd;
    r->at = offset;
    r->left = len;
    r->out_max = out_max;
    r->sink = sink;
    r->sink_data = data;
    r->in_buf = xmalloc(IN_BUF);
    r->plain = xmalloc(PLAIN_BUF);
    r->out = xmalloc(OUT_BUF);
    deflate_sim_init(&r->sim, take_ptr(m));
    deflate_tables_fixed(&fixed);
    make_codes(r->fixed.lit, fixed.lit, 288);
    make_codes(r->fixed.dist, fixed.dist, 32);
    r->codes = &r->fixed;
    r->zstd = ZSTD_createDCtx();
    if (!r->zstd ||
        ZSTD_isError(ZSTD_DCtx_setParameter(r->zstd, ZSTD_d_windowLogMax, WINDOW_LOG))) {
        deflate_replay_free(r);
        return error_set(e, ERR_INTERNAL, "cannot set up zstd");
    }
    *ret = r;
    return 0;
}

void deflate_replay_free(struct deflate_replay *r)
{
    if (!r)
        return;
    deflate_model_free(r->sim.model);
    deflate_sim_done(&r->sim);
    ZSTD_freeDCtx(r->zstd);
    free(r->in_buf);
    free(r->plain);
    free(r->out);
    free(r);
}
