/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of models, and the bytes a model runs over. See deflate.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "image/worker/deflate.h"

#define NEVER 0xffff
#define CHAINS(n, good_, lazy_, nice_, chain_, skip_)                                              \
    {                                                                                              \
        .name = n, .good = good_, .lazy = lazy_, .nice = nice_, .chain = chain_, .skip = skip_     \
    }
#define GO(n, good_, lazy_, nice_, chain_, skip_)                                                  \
    {                                                                                              \
        .name = n, .good = good_, .lazy = lazy_, .nice = nice_, .chain = chain_, .skip = skip_,    \
        .go = true                                                                                 \
    }
#define QUICK(n, fast_, period_)                                                                   \
    {                                                                                              \
        .name = n, .fast = fast_, .period = period_                                                \
    }

/* Append only: the numbers are in journals. Levels 1 to 3 of zlib and gzip are not lazy: what is longer
 * than `skip` is not hashed; the others hash everything. */
static const struct deflate_level levels[DEFLATE_MODELS] = {
    [1] = CHAINS("gzip -1", 4, 0, 8, 4, 4),
    [2] = CHAINS("gzip -2", 4, 0, 16, 8, 5),
    [3] = CHAINS("gzip -3", 4, 0, 32, 32, 6),
    [4] = CHAINS("gzip -4", 4, 4, 16, 16, NEVER),
    [5] = CHAINS("gzip -5", 8, 16, 32, 32, NEVER),
    [6] = CHAINS("gzip -6", 8, 16, 128, 128, NEVER),
    [7] = CHAINS("gzip -7", 8, 32, 128, 256, NEVER),
    [8] = CHAINS("gzip -8", 32, 128, 258, 1024, NEVER),
    [9] = CHAINS("gzip -9", 32, 258, 258, 4096, NEVER),
    [11] = QUICK("Go 1", DEFLATE_GO1, 0),
    [12] = GO("Go 2", 4, 0, 16, 8, 5),
    [13] = GO("Go 3", 4, 0, 32, 32, 6),
    [14] = GO("Go 4", 4, 4, 16, 16, NEVER),
    [15] = GO("Go 5", 8, 16, 32, 32, NEVER),
    [16] = GO("Go 6", 8, 16, 128, 128, NEVER),
    [17] = GO("Go 7", 8, 32, 128, 256, NEVER),
    [18] = GO("Go 8", 32, 128, 258, 1024, NEVER),
    [19] = GO("Go 9", 32, 258, 258, 4096, NEVER),
    [21] = QUICK("pgzip 5 before 2022-09", DEFLATE_KP5_OLD, 1u << 20),
    [22] = QUICK("pgzip 5", DEFLATE_KP5, 1u << 20),
    [23] = QUICK("klauspost 5", DEFLATE_KP5, 0),
};

/* So far may the bytes be from the front of their memory before they are moved there. */
#define SLACK (DEFLATE_WINDOW / 4)

struct deflate_model {
    struct deflate_chain *chain;
    struct deflate_quick *quick;
};

struct deflate_model *deflate_model_new(unsigned number)
{
    if (number >= DEFLATE_MODELS || !levels[number].name)
        return NULL;
    struct deflate_model *m = xcalloc(1, sizeof(*m));
    if (levels[number].fast != DEFLATE_CHAIN)
        m->quick = deflate_quick_new(&levels[number]);
    else
        m->chain = deflate_chain_new(&levels[number]);
    return m;
}

void deflate_model_free(struct deflate_model *m)
{
    if (!m)
        return;
    free(m->chain);
    free(m->quick);
    free(m);
}

const char *deflate_model_name(unsigned number)
{
    return number < DEFLATE_MODELS ? levels[number].name : NULL;
}

void deflate_model_reset(struct deflate_model *m)
{
    if (m->chain)
        deflate_chain_reset(m->chain);
    else
        deflate_quick_reset(m->quick);
}

size_t deflate_model_run(struct deflate_model *m, const struct deflate_view *v, deflate_token *out)
{
    return m->chain ? deflate_chain_run(m->chain, v, out) : deflate_quick_run(m->quick, v, out);
}

unsigned deflate_equal(const unsigned char *a, const unsigned char *b, size_t max)
{
    size_t n = 0;

    for (; n + 8 <= max; n += 8) {
        uint64_t x, y;
        memcpy(&x, a + n, 8);
        memcpy(&y, b + n, 8);
        if (x != y)
            return (unsigned)n + (unsigned)__builtin_ctzll(x ^ y) / 8;
    }
    while (n < max && a[n] == b[n])
        n++;
    return (unsigned)n;
}

/* --- Bytes ------------------------------------------------------------------------------------------- */

void deflate_sim_init(struct deflate_sim *s, struct deflate_model *model)
{
    unsigned char *mem = xmalloc(DEFLATE_WINDOW + SLACK);

    *s = (struct deflate_sim){.mem = mem,
                              .buf = mem,
                              .queue = xcalloc(DEFLATE_BATCH, sizeof(*s->queue)),
                              .model = model};
    if (model)
        deflate_model_reset(model);
}

void deflate_sim_done(struct deflate_sim *s)
{
    free(s->mem);
    free(s->queue);
}

void deflate_sim_reset(struct deflate_sim *s)
{
    size_t keep = s->len - (size_t)(s->pos - s->start);

    s->buf += s->pos - s->start; /* moved to the front when there is much to gain */
    s->len = keep;
    s->start = s->pos = s->queue_pos = s->end = 0;
    s->queue_at = s->queue_len = 0;
    s->last = false;
    if (s->model)
        deflate_model_reset(s->model);
}

bool deflate_sim_ready(const struct deflate_sim *s, uint64_t span)
{
    uint64_t want = s->last ? s->end : s->pos + span + DEFLATE_AHEAD;

    return span == 0 || s->start + s->len >= want;
}

/* What the model says from queue_pos on, seeing no more than belongs to this step. */
static bool refill(struct deflate_sim *s, uint64_t span)
{
    const struct deflate_view v = {.data = s->buf,
                                   .start = s->start,
                                   .end = s->last ? s->end : s->pos + span + DEFLATE_AHEAD,
                                   .last = s->last};

    assert(v.end <= s->start + s->len);
    s->queue_at = 0;
    s->queue_len = deflate_model_run(s->model, &v, s->queue);
    return s->queue_len > 0;
}

int deflate_sim_token(struct deflate_sim *s, uint64_t at, uint64_t span, deflate_token *ret)
{
    for (;;) {
        if (s->queue_at == s->queue_len && !refill(s, span))
            return 0;
        if (s->queue_pos >= at)
            break;
        s->queue_pos += deflate_token_len(s->queue[s->queue_at++]);
    }
    *ret = s->queue[s->queue_at];
    return s->queue_pos == at;
}

void deflate_sim_to(struct deflate_sim *s, uint64_t span)
{
    deflate_token t;

    if (s->model && span > 0)
        (void)deflate_sim_token(s, s->pos + span, span, &t);
    s->pos += span;
}

size_t deflate_sim_room(struct deflate_sim *s)
{
    uint64_t keep = s->pos > DEFLATE_HISTORY ? s->pos - DEFLATE_HISTORY : 0;

    if (keep > s->start && s->len > DEFLATE_WINDOW / 2) {
        s->len -= (size_t)(keep - s->start);
        s->buf += keep - s->start;
        s->start = keep;
    }
    if (s->buf > s->mem + SLACK) {
        memmove(s->mem, s->buf, s->len);
        s->buf = s->mem;
    }
    return DEFLATE_WINDOW - s->len;
}
