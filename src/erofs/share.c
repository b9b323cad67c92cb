/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Equal content is stored once. A table tells by a fast hash where content of the same size might
 * be; it is read back and compared before it is used, so that a bad hash, or one that somebody
 * found a collision for, costs one read and no correctness.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "erofs/writer-priv.h"

#define SLOTS_MIN ((size_t)1 << 10)
#define SLOTS_MAX ((size_t)1 << 18) /* 4 MiB: 8 GiB of content in pieces */

static uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t erofs_hash(const void *data, size_t len)
{
    static const uint64_t k[4] = {0x9e3779b97f4a7c15ULL, 0xd6e8feb86659fd93ULL,
                                  0xa0761d6478bd642fULL, 0xe7037ed1a0b428dbULL};
    const unsigned char *p = data;
    uint64_t h[4] = {k[0] ^ len, k[1], k[2], k[3]};
    uint64_t v[8];

    /* Four chains at once, so that the multiplier never waits. */
    for (; len >= sizeof v; p += sizeof v, len -= sizeof v) {
        memcpy(v, p, sizeof v);
        h[0] = fold(h[0] ^ v[0], k[1] ^ v[1]);
        h[1] = fold(h[1] ^ v[2], k[2] ^ v[3]);
        h[2] = fold(h[2] ^ v[4], k[3] ^ v[5]);
        h[3] = fold(h[3] ^ v[6], k[0] ^ v[7]);
    }
    if (len > 0) {
        memset(v, 0, sizeof v);
        memcpy(v, p, len);
        h[0] = fold(h[0] ^ v[0], k[1] ^ v[1]);
        h[1] = fold(h[1] ^ v[2], k[2] ^ v[3]);
        h[2] = fold(h[2] ^ v[4], k[3] ^ v[5]);
        h[3] = fold(h[3] ^ v[6], k[0] ^ v[7]);
    }
    h[0] = fold(h[0] ^ h[2], k[0]) ^ fold(h[1] ^ h[3], k[1]);
    return h[0] ? h[0] : 1;
}

static struct erofs_share_slot *find(const struct erofs_share *s, uint64_t hash, uint32_t blocks)
{
    size_t i = hash & s->mask;

    while (s->slots[i].hash && (s->slots[i].hash != hash || s->slots[i].blocks != blocks))
        i = (i + 1) & s->mask;
    return &s->slots[i];
}

static bool grow(struct erofs_share *s)
{
    struct erofs_share old = *s;
    size_t count = old.slots ? 2 * (old.mask + 1) : SLOTS_MIN;

    if (count > SLOTS_MAX)
        return false;
    s->slots = xcalloc(count, sizeof *s->slots);
    s->mask = count - 1;
    for (size_t i = 0; old.slots && i <= old.mask; i++) {
        if (old.slots[i].hash)
            *find(s, old.slots[i].hash, old.slots[i].blocks) = old.slots[i];
    }
    free(old.slots);
    return true;
}

void erofs_share_add(struct erofs_writer *w, uint64_t hash, size_t len, uint32_t block)
{
    struct erofs_share *s = &w->share;
    uint32_t blocks = (uint32_t)(len >> EROFS_BLOCK_BITS);
    struct erofs_share_slot *slot;

    /* A full table just finds nothing new. */
    if ((!s->slots || 4 * s->n >= 3 * (s->mask + 1)) && !grow(s))
        return;
    slot = find(s, hash, blocks);
    if (!slot->hash)
        s->n++;
    *slot = (struct erofs_share_slot){hash, block, blocks};
}

static int read_back(struct erofs_writer *w, uint64_t pos, size_t len, struct error *e)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(w->fd, w->share.copy + done, len - done, (off_t)(pos + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(e, errno, "read the layer back");
        if (n == 0)
            return error_set(e, ERR_INTERNAL, "the layer's file is shorter than what was written");
        done += (size_t)n;
    }
    return 0;
}

int erofs_share_find(struct erofs_writer *w, uint64_t hash, const void *data, size_t len,
                     uint32_t *ret_block, struct error *e)
{
    struct erofs_share *s = &w->share;
    const struct erofs_share_slot *slot;
    const unsigned char *there;
    uint64_t pos;
    int r;

    if (!s->slots)
        return -ENOENT;
    slot = find(s, hash, (uint32_t)(len >> EROFS_BLOCK_BITS));
    if (!slot->hash)
        return -ENOENT;
    pos = (uint64_t)slot->block << EROFS_BLOCK_BITS;
    if (pos >= w->out.pos) {
        there = w->out.buf + (pos - w->out.pos);
    } else {
        if (!s->copy)
            s->copy = xmalloc(EROFS_PIECE);
        /* What is gathered lies behind all that was written; a piece is never half in it. */
        r = read_back(w, pos, len, e);
        if (r < 0)
            return r;
        there = s->copy;
    }
    if (memcmp(there, data, len) != 0)
        return -ENOENT;
    *ret_block = slot->block;
    return 0;
}

void erofs_share_done(struct erofs_share *s)
{
    free(s->slots);
    free(s->copy);
}
