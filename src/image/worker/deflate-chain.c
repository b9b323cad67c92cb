/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models of compressors that chain positions with the same hash: zlib's and GNU gzip's (which find the
 * same matches; they differ in where blocks end), and levels 2 to 9 of Go's compress/gzip.
 * Facts that decide what is found: hash functions, how far back a match may lie, how many positions
 * are looked at, when a match is good enough, which positions are hashed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "image/worker/deflate.h"

#define RING       32768u
#define BIAS       65536u /* position 0 is this number: 0 is too far from everything */
#define ZLIB_BITS  15
#define GO_BITS    17
#define ZLIB_MIN   3
#define GO_MIN     4
#define ZLIB_AHEAD (DEFLATE_LEN_MAX + ZLIB_MIN + 1)
#define GO_AHEAD   (DEFLATE_LEN_MAX + GO_MIN)
#define TOO_FAR    4096 /* the shortest match is not worth more */
#define GO_BUFFER  65536u
#define FEW        4096u /* positions that are taken back one by one when it begins anew */

struct deflate_chain {
    struct deflate_level level;
    uint64_t pos;  /* where it looks */
    uint64_t base; /* Go: where its buffer begins, which it does not look beyond */
    unsigned len, dist;
    bool pending; /* the byte before pos has no token yet: len, dist are the match found there */
    uint32_t prev[RING];
    uint32_t head[1u << GO_BITS];
    /* What was hashed since it began anew, as far as it is few: clearing everything for each of many
     * small members would cost a thousand times what they are. */
    struct {
        uint32_t head, prev;
    } used[FEW];
    unsigned nused; /* more than FEW: many */
};

struct deflate_chain *deflate_chain_new(const struct deflate_level *level)
{
    struct deflate_chain *c = xcalloc(1, sizeof(*c));

    c->level = *level;
    return c;
}

void deflate_chain_reset(struct deflate_chain *c)
{
    if (c->nused > FEW) {
        memset(c->prev, 0, sizeof(c->prev));
        memset(c->head, 0, sizeof(c->head));
    } else {
        for (unsigned i = 0; i < c->nused; i++)
            c->prev[c->used[i].prev] = c->head[c->used[i].head] = 0;
    }
    c->nused = 0;
    c->pos = c->base = 0;
    c->len = c->dist = 0;
    c->pending = false;
}

static inline uint32_t hash(const struct deflate_chain *c, const unsigned char *s)
{
    if (!c->level.go)
        return ((uint32_t)s[0] << 10 ^ (uint32_t)s[1] << 5 ^ s[2]) & ((1u << ZLIB_BITS) - 1);
    uint32_t v = (uint32_t)s[0] << 24 | (uint32_t)s[1] << 16 | (uint32_t)s[2] << 8 | s[3];
    return (v * 0x1e35a7bdu) >> (32 - GO_BITS);
}

/* Hashes a position; the one before it with the same hash. zlib has no name for its first position. */
static inline uint32_t insert(struct deflate_chain *c, const unsigned char *s, uint64_t pos)
{
    uint32_t h = hash(c, s), *head = &c->head[h], before = *head, me = (uint32_t)pos + BIAS;

    if (c->nused < FEW) {
        c->used[c->nused].head = h;
        c->used[c->nused].prev = me % RING;
    }
    c->nused += c->nused <= FEW;
    c->prev[me % RING] = before;
    if (pos > 0 || c->level.go)
        *head = me;
    return before;
}

static inline uint16_t two(const unsigned char *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/*
 * zlib's search: the longest match of more than `floor` bytes among those that begin with `candidate`.
 * Only the first of them may be as far away as `reach`.
 */
static unsigned search_zlib(const struct deflate_chain *c, const unsigned char *s, uint32_t me,
                            uint32_t candidate, unsigned floor, unsigned max, unsigned *ret_dist)
{
    const uint32_t reach = RING - ZLIB_AHEAD;
    unsigned best = floor < 2 ? 2 : floor, nice = c->level.nice < max ? c->level.nice : max;
    unsigned tries = best >= c->level.good ? c->level.chain >> 2 : c->level.chain;
    uint32_t dist = me - candidate;

    if (dist - 1 >= reach || best >= max)
        return best;
    do {
        const unsigned char *m = s - dist;
        if (two(m + best - 1) == two(s + best - 1) && two(m) == two(s)) {
            unsigned len = deflate_equal(m, s, max);
            if (len > best) {
                best = len;
                *ret_dist = dist;
                if (len >= nice)
                    break;
            }
        }
        candidate = c->prev[candidate % RING];
        dist = me - candidate;
    } while (dist - 1 < reach - 1 && --tries > 0);
    return best;
}

/* Go's: does not look before the beginning of its buffer, and always looks as hard. */
static unsigned search_go(const struct deflate_chain *c, const unsigned char *s, uint32_t me,
                          uint32_t candidate, unsigned max, unsigned *ret_dist)
{
    const uint32_t reach = c->pos - c->base < RING ? (uint32_t)(c->pos - c->base) : RING;
    unsigned best = GO_MIN - 1, nice = c->level.nice < max ? c->level.nice : max;

    for (unsigned tries = c->level.chain; tries > 0; tries--) {
        uint32_t dist = me - candidate;
        if (dist - 1 >= reach)
            break;
        const unsigned char *m = s - dist;
        if (m[best] == s[best]) {
            unsigned len = deflate_equal(m, s, max);
            if (len > best && (len > GO_MIN || dist <= TOO_FAR)) {
                best = len;
                *ret_dist = dist;
                if (len >= nice)
                    break;
            }
        }
        if (dist == RING)
            break;
        candidate = c->prev[candidate % RING];
    }
    return best;
}

struct step {
    const unsigned char *s; /* at pos */
    uint64_t ahead;
    unsigned len, dist; /* what is found at pos */
};

/* Hashes n positions from pos + 1 on, as far as there are bytes to hash. */
static void insert_more(struct deflate_chain *c, const struct step *st, unsigned n)
{
    unsigned min = c->level.go ? GO_MIN : ZLIB_MIN;

    for (unsigned i = 1; i <= n && i + min <= st->ahead; i++)
        (void)insert(c, st->s + i, c->pos + i);
}

static void look(struct deflate_chain *c, struct step *st)
{
    unsigned max = st->ahead < DEFLATE_LEN_MAX ? (unsigned)st->ahead : DEFLATE_LEN_MAX;
    unsigned min = c->level.go ? GO_MIN : ZLIB_MIN, before = c->pending ? c->len : min - 1;
    bool lazy = c->level.skip == 0xffff;

    st->len = min - 1;
    st->dist = 0;
    if (st->ahead < min)
        return;
    uint32_t candidate = insert(c, st->s, c->pos), me = (uint32_t)c->pos + BIAS;
    if (lazy && before >= c->level.lazy)
        return;
    if (c->level.go) {
        if (!lazy || st->ahead > before)
            st->len = search_go(c, st->s, me, candidate, max, &st->dist);
        return;
    }
    st->len = search_zlib(c, st->s, me, candidate, lazy ? before : ZLIB_MIN - 1, max, &st->dist);
    if (lazy && st->len == ZLIB_MIN && st->dist > TOO_FAR)
        st->len = ZLIB_MIN - 1;
}

/* Takes the first match there is. */
static deflate_token step_greedy(struct deflate_chain *c, struct step *st)
{
    if (st->len < (c->level.go ? GO_MIN : ZLIB_MIN)) {
        c->pos++;
        return 0;
    }
    /* zlib does not hash them when the bytes end here. */
    if (st->len <= c->level.skip && (c->level.go || st->ahead - st->len >= ZLIB_MIN))
        insert_more(c, st, st->len - 1);
    c->pos += st->len;
    return deflate_match(st->dist, st->len);
}

/* Takes the match at the byte before, when the one here is not longer. false: there is no token yet. */
static bool step_lazy(struct deflate_chain *c, struct step *st, deflate_token *ret)
{
    unsigned min = c->level.go ? GO_MIN : ZLIB_MIN;

    if (c->pending && c->len >= min && st->len <= c->len) {
        *ret = deflate_match(c->dist, c->len);
        insert_more(c, st, c->len - 2);
        c->pos += c->len - 1;
        c->pending = false;
        return true;
    }
    bool had = c->pending;
    *ret = 0;
    c->len = st->len;
    c->dist = st->dist;
    c->pending = true;
    c->pos++;
    return had;
}

size_t deflate_chain_run(struct deflate_chain *c, const struct deflate_view *v, deflate_token *out)
{
    const unsigned need = c->level.go ? GO_AHEAD : ZLIB_AHEAD;
    bool lazy = c->level.skip == 0xffff;
    size_t n = 0;

    while (n < DEFLATE_BATCH && c->pos <= v->end) {
        struct step st = {.s = v->data + (c->pos - v->start), .ahead = v->end - c->pos};
        if (st.ahead < need && !v->last)
            break;
        if (st.ahead == 0) {
            if (c->pending)
                out[n++] = 0;
            c->pending = false;
            break;
        }
        /* Go throws away the first half of its buffer when fewer bytes than it needs are left. */
        if (c->level.go && c->pos - c->base > GO_BUFFER - GO_AHEAD && v->end > c->base + GO_BUFFER)
            c->base += GO_BUFFER / 2;
        look(c, &st);
        if (!lazy)
            out[n++] = step_greedy(c, &st);
        else if (step_lazy(c, &st, &out[n]))
            n++;
    }
    return n;
}
