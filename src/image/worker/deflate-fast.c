/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models of compressors that look at one or two candidates and skip over what does not compress: Go's
 * compress/gzip at level 1, and klauspost's compressor at level 5, which is what pgzip (podman, buildah,
 * skopeo) uses unless told otherwise, in pieces of a megabyte.
 * Both take their input in chunks of 65,535 bytes; no match goes beyond a chunk's end.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "image/worker/deflate.h"

#define CHUNK     65535u
#define BIAS      65536u
#define GO_BITS   14
#define GO_MARGIN 15
#define KP_BITS   15
#define KP_MARGIN 11
#define KP_TAIL   16384u /* pgzip: so much of the piece before is looked at too */
#define KP_BUFFER (5 * CHUNK)
#define KP_SMALL  128u /* less than that is not looked at, at the end of a piece */
#define TOO_SMALL 17
#define REACH     DEFLATE_DIST_MAX
#define FEW       4096u /* entries that are taken back one by one when it begins anew */

struct pair {
    uint32_t now, before;
};

struct deflate_quick {
    struct deflate_level level;
    uint64_t pos;     /* the next chunk */
    uint64_t session; /* when it began anew */
    uint64_t hist;    /* klauspost: matches do not go back beyond this */
    uint32_t table[1u << KP_BITS];
    struct pair pairs[1u << KP_BITS];
    /* Entries that were set since it began anew, as far as they are few (see deflate-chain.c). */
    uint16_t set[FEW], set_pairs[FEW];
    unsigned nset, nset_pairs; /* more than FEW: many */
};

struct deflate_quick *deflate_quick_new(const struct deflate_level *level)
{
    struct deflate_quick *q = xcalloc(1, sizeof(*q));

    q->level = *level;
    return q;
}

static void forget(struct deflate_quick *q)
{
    if (q->nset > FEW)
        memset(q->table, 0, sizeof(q->table));
    for (unsigned i = 0; q->nset <= FEW && i < q->nset; i++)
        q->table[q->set[i]] = 0;
    if (q->nset_pairs > FEW)
        memset(q->pairs, 0, sizeof(q->pairs));
    for (unsigned i = 0; q->nset_pairs <= FEW && i < q->nset_pairs; i++)
        q->pairs[q->set_pairs[i]] = (struct pair){0};
    q->nset = q->nset_pairs = 0;
}

static inline void put_short(struct deflate_quick *q, uint32_t hash, uint32_t me)
{
    if (q->nset < FEW)
        q->set[q->nset] = (uint16_t)hash;
    q->nset += q->nset <= FEW;
    q->table[hash] = me;
}

void deflate_quick_reset(struct deflate_quick *q)
{
    forget(q);
    q->pos = q->session = q->hist = 0;
}

/* One chunk: bytes at b[0 … len), the first of them is number zero. */
struct chunk_run {
    struct deflate_quick *q;
    const unsigned char *b;
    uint32_t zero, len, emitted;
    uint32_t back; /* so many bytes before b may be looked at */
    deflate_token *out;
    size_t n;
};

static inline uint32_t four(const unsigned char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline uint64_t eight(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static void literals(struct chunk_run *r, uint32_t to)
{
    if (r->out)
        memset(r->out + r->n, 0, (to - r->emitted) * sizeof(*r->out));
    r->n += to - r->emitted;
    r->emitted = to;
}

/* Long matches become several, of which none is too short. */
static void match(struct chunk_run *r, uint32_t len, uint32_t dist)
{
    r->emitted += len;
    while (len > 0) {
        uint32_t part = len <= DEFLATE_LEN_MAX       ? len
                        : len > DEFLATE_LEN_MAX + 3u ? DEFLATE_LEN_MAX
                                                     : DEFLATE_LEN_MAX - 3;
        if (r->out)
            r->out[r->n] = deflate_match(dist, part);
        r->n++;
        len -= part;
    }
}

/* How far back the candidate is from s; 0: it is none. Its bytes are there then. */
static inline uint32_t reaches(const struct chunk_run *r, uint32_t s, uint32_t candidate,
                               uint32_t max)
{
    uint32_t dist = r->zero + s - candidate;

    return dist - 1 < max && dist <= s + r->back ? dist : 0;
}

/* --- Go, level 1 ------------------------------------------------------------------------------------- */

static inline uint32_t go_hash(uint32_t v)
{
    return (v * 0x1e35a7bdu) >> (32 - GO_BITS);
}

/* The next place from *s on with a match of four bytes: its distance, 0: there is none. */
static uint32_t go_scan(struct chunk_run *r, uint32_t *s)
{
    uint32_t skip = 32, next = *s;

    for (;;) {
        uint32_t at = next, v = four(r->b + at), h = go_hash(v), candidate = r->q->table[h];
        uint32_t by = skip >> 5;
        next = at + by;
        skip += by;
        if (next > r->len - GO_MARGIN)
            return 0;
        put_short(r->q, h, r->zero + at);
        uint32_t dist = reaches(r, at, candidate, REACH);
        if (dist > 0 && four(r->b + at - dist) == v) {
            *s = at;
            return dist;
        }
    }
}

static void go_chunk(struct chunk_run *r)
{
    uint32_t s = 0, dist;

    while ((dist = go_scan(r, &s)) > 0) {
        literals(r, s);
        for (;;) {
            uint32_t max = r->len - s < DEFLATE_LEN_MAX ? r->len - s : DEFLATE_LEN_MAX;
            uint32_t len = deflate_equal(r->b + s - dist, r->b + s, max);
            match(r, len, dist);
            s += len;
            if (s >= r->len - GO_MARGIN)
                return;
            put_short(r->q, go_hash(four(r->b + s - 1)), r->zero + s - 1);
            uint32_t v = four(r->b + s), h = go_hash(v);
            dist = reaches(r, s, r->q->table[h], REACH);
            put_short(r->q, h, r->zero + s);
            if (dist == 0 || four(r->b + s - dist) != v)
                break;
        }
        s++;
    }
}

/* --- klauspost, level 5 ------------------------------------------------------------------------------ */

static inline uint32_t kp_hash4(uint64_t v)
{
    return ((uint32_t)v * 2654435761u) >> (32 - KP_BITS);
}

static inline uint32_t kp_hash7(uint64_t v)
{
    return (uint32_t)(((v << 8) * 58295818150454627ull) >> (64 - KP_BITS));
}

static inline void put_long(struct deflate_quick *q, uint32_t hash, uint32_t me)
{
    if (q->nset_pairs < FEW)
        q->set_pairs[q->nset_pairs] = (uint16_t)hash;
    q->nset_pairs += q->nset_pairs <= FEW;
    q->pairs[hash] = (struct pair){me, q->pairs[hash].now};
}

/* A match that is looked for: where, how far back, how long (0: not measured). */
struct found {
    uint32_t s, dist, len;
    uint32_t next; /* where it would have looked then */
};

static inline bool same4(const struct chunk_run *r, uint32_t s, uint32_t dist, uint64_t v)
{
    return dist > 0 && four(r->b + s - dist) == (uint32_t)v;
}

static uint32_t kp_length(const struct chunk_run *r, uint32_t s, uint32_t dist)
{
    uint32_t max = r->len - s < DEFLATE_LEN_MAX ? r->len - s : DEFLATE_LEN_MAX;

    return deflate_equal(r->b + s - dist, r->b + s, max);
}

static uint32_t kp_length_long(const struct chunk_run *r, uint32_t s, uint32_t dist)
{
    return deflate_equal(r->b + s - dist, r->b + s, r->len - s);
}

/* What a place gives where the short hash found a match: the long hash one further may be better. */
static void kp_try_next(struct chunk_run *r, struct found *f, struct pair candidate, uint64_t v)
{
    uint32_t dist = reaches(r, f->next, candidate.now, REACH - 1), len;

    if (dist == 0)
        return;
    if (same4(r, f->next, dist, v) && (len = kp_length(r, f->next, dist)) > f->len) {
        *f = (struct found){f->next, dist, len, f->next};
        return;
    }
    dist = reaches(r, f->next, candidate.before, REACH - 1);
    if (same4(r, f->next, dist, v) && (len = kp_length(r, f->next, dist)) > f->len)
        *f = (struct found){f->next, dist, len, f->next};
}

/* The long candidates at f->s: whether one of them is taken. */
static bool kp_try_long(struct chunk_run *r, struct found *f, struct pair candidate, uint64_t v)
{
    uint32_t dist = reaches(r, f->s, candidate.now, REACH - 1);
    uint32_t other = reaches(r, f->s, candidate.before, REACH - 1);

    if (dist == 0)
        return false;
    if (same4(r, f->s, dist, v)) {
        f->dist = dist;
        if (same4(r, f->s, other, v)) {
            uint32_t len = kp_length(r, f->s, dist), len2 = kp_length(r, f->s, other);
            f->len = len;
            if (len2 > len) {
                f->dist = other;
                f->len = len2;
            }
        }
        return true;
    }
    f->dist = other;
    return same4(r, f->s, other, v);
}

static bool kp_scan(struct chunk_run *r, uint64_t v, struct found *f)
{
    struct deflate_quick *q = r->q;
    uint32_t next = f->s;

    for (;;) {
        uint32_t h4 = kp_hash4(v), h7 = kp_hash7(v), s = next;
        next = s + 1 + ((s - r->emitted) >> 6);
        if (next > r->len - KP_MARGIN)
            return false;
        uint32_t near = q->table[h4];
        struct pair far = q->pairs[h7];
        uint64_t v2 = eight(r->b + next);
        put_short(q, h4, r->zero + s);
        put_long(q, h7, r->zero + s);
        h4 = kp_hash4(v2);
        h7 = kp_hash7(v2);
        *f = (struct found){.s = s, .next = next};
        bool taken = kp_try_long(r, f, far, v);
        uint32_t dist = taken ? 0 : reaches(r, s, near, REACH - 1);
        if (!taken && !same4(r, s, dist, v)) {
            v = v2;
            continue;
        }
        far = q->pairs[h7];
        put_short(q, h4, r->zero + next);
        put_long(q, h7, r->zero + next);
        if (!taken) {
            f->dist = dist;
            f->len = kp_length(r, s, dist);
            kp_try_next(r, f, far, v2);
        }
        return true;
    }
}

/* Makes the best of a match: to its full length, by what follows it, backwards. */
static void kp_extend(struct chunk_run *r, struct found *f)
{
    uint32_t skip = r->q->level.fast == DEFLATE_KP5_OLD ? 0 : 2;

    if (f->len == 0)
        f->len = kp_length_long(r, f->s, f->dist);
    else if (f->len == DEFLATE_LEN_MAX)
        f->len = kp_length_long(r, f->s, f->dist);
    if (f->len < 30 && f->s + f->len < r->len - KP_MARGIN) {
        uint32_t at = f->s + f->len;
        uint32_t dist = reaches(r, at, r->q->pairs[kp_hash7(eight(r->b + at))].now, REACH - 1);
        /* Only where that match would have begun is of interest. */
        if (dist > 0 && dist <= f->s + skip + r->back) {
            uint32_t len = kp_length_long(r, f->s + skip, dist);
            if (len > f->len) {
                f->s += skip;
                f->dist = dist;
                f->len = len;
            }
        }
    }
    while (f->s > r->emitted && f->dist < f->s + r->back &&
           r->b[f->s - 1] == *(r->b + f->s - 1 - f->dist)) {
        f->s--;
        f->len++;
    }
}

/* Hashes some of what a match covers: from i on, below s - 1. */
static void kp_insert(struct chunk_run *r, uint32_t i, uint32_t s)
{
    struct deflate_quick *q = r->q;

    if (i >= s - 1)
        return;
    uint64_t v = eight(r->b + i);
    put_short(q, kp_hash4(v), r->zero + i);
    put_long(q, kp_hash7(v), r->zero + i);
    put_long(q, kp_hash7(v >> 8), r->zero + i + 1);
    put_short(q, kp_hash4(v >> 16), r->zero + i + 2);
    for (i += 4; i < s - 1; i += 3) {
        v = eight(r->b + i);
        put_long(q, kp_hash7(v), r->zero + i);
        put_short(q, kp_hash4(v >> 8), r->zero + i + 1);
    }
}

static void kp_chunk(struct chunk_run *r)
{
    struct found f = {0};
    uint64_t v = eight(r->b);

    while (kp_scan(r, v, &f)) {
        kp_extend(r, &f);
        literals(r, f.s);
        match(r, f.len, f.dist);
        uint32_t s = r->emitted;
        if (f.next >= s)
            s = f.next + 1;
        if (s >= r->len - KP_MARGIN)
            return;
        kp_insert(r, s - f.len + 1, s);
        v = eight(r->b + s - 1);
        put_short(r->q, kp_hash4(v), r->zero + s - 1);
        put_long(r->q, kp_hash7(v), r->zero + s - 1);
        v = eight(r->b + s - 1) >> 8;
        f.s = s;
    }
}

/* --- Chunks ------------------------------------------------------------------------------------------ */

static size_t run_chunk(struct deflate_quick *q, const struct deflate_view *v, uint64_t from,
                        uint32_t len, deflate_token *out)
{
    bool kp = q->level.fast != DEFLATE_GO1;
    uint64_t back = kp ? from - q->hist : from;
    struct chunk_run r = {.q = q,
                          .b = v->data + (from - v->start),
                          .zero = (uint32_t)from + BIAS,
                          .len = len,
                          .back = back < REACH ? (uint32_t)back : REACH,
                          .out = out};

    if (kp ? len >= 13 : len >= TOO_SMALL)
        (kp ? kp_chunk : go_chunk)(&r);
    literals(&r, len);
    return r.n;
}

/* pgzip begins a piece: it knows only the end of the one before. */
static void begin_piece(struct deflate_quick *q, const struct deflate_view *v)
{
    forget(q);
    q->session = q->pos;
    q->hist = q->pos - KP_TAIL;
    (void)run_chunk(q, v, q->hist, KP_TAIL, NULL);
}

size_t deflate_quick_run(struct deflate_quick *q, const struct deflate_view *v, deflate_token *out)
{
    uint64_t left = v->end - q->pos, piece = UINT64_MAX;
    bool kp = q->level.fast != DEFLATE_GO1;
    size_t n = 0;

    if (q->pos > v->end)
        return 0;
    if (q->level.period > 0) {
        if (left > 0 && q->pos == q->session + q->level.period)
            begin_piece(q, v);
        piece = q->session + q->level.period - q->pos;
    }
    uint64_t len = piece < CHUNK ? piece : CHUNK;
    if (left < len) {
        if (!v->last)
            return 0;
        len = left;
    }
    if (len == 0)
        return 0;
    /* The rest of a piece. Nothing of it can be found later: what comes begins anew, or the end. */
    bool small = kp && len < KP_SMALL && (len == piece || v->last);
    if (small) {
        memset(out, 0, len * sizeof(*out));
        n = (size_t)len;
    } else {
        /* Its buffer is full: only as much as a match reaches back is kept. */
        if (kp && q->pos + len - q->hist > KP_BUFFER)
            q->hist = q->pos - REACH;
        n = run_chunk(q, v, q->pos, (uint32_t)len, out);
    }
    q->pos += len;
    return n;
}
