/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer whose bytes are wrong: who gave them, and who is asked next.
 *
 * One endpoint that gave all of them in one stream is to blame, and not asked again for this layer.
 * When they came from several (one broke off, the next went on), by ranges, or began with what an
 * earlier pull had left, nobody can tell which part was wrong: those that took part are suspects.
 * Endpoints that are neither come next, then the suspects, each alone and by one stream, which
 * settles it. The digests of the beginnings up to each seam are kept: the right bytes, once they
 * come, show whose part was the first wrong one, so that the others keep their good name.
 *
 * Each attempt leaves one endpoint less, so that it ends. A layer's thread uses it alone.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "image/worker/blame.h"

static uint64_t bit(size_t endpoint)
{
    return (uint64_t)1 << endpoint;
}

void blame_init(struct blame *b, struct registry *r, const char *digest)
{
    memset(b, 0, sizeof(*b));
    b->registry = r;
    b->all = registry_blob_endpoints(r, digest);
    snprintf(b->digest, sizeof(b->digest), "%s", digest);
}

void blame_begin(struct blame *b, uint64_t have)
{
    b->now = (struct blame_attempt){0};
    if (have > 0) {
        b->now.earlier = true;
        b->now.parts[b->now.n++].endpoint = -1;
    }
}

uint64_t blame_avoid(const struct blame *b)
{
    if (b->alone)
        return ~b->only;
    return b->guilty | b->suspects | b->gone;
}

void blame_giver(struct blame *b, size_t endpoint, bool stitched, uint64_t at,
                 const struct digest_state *hash)
{
    struct blame_attempt *a = &b->now;

    a->stitched = a->stitched || stitched;
    a->gave |= bit(endpoint);
    if (a->n > 0 && a->parts[a->n - 1].endpoint == (int)endpoint)
        return;
    if (a->n == ARRAY_SIZE(a->parts)) { /* nobody looks that closely */
        a->too_many = true;
        return;
    }
    struct blame_part *p = &a->parts[a->n];
    p->endpoint = (int)endpoint;
    p->from = at;
    if (at > 0 && digest_state_peek(hash, p->before) < 0)
        a->too_many = true;
    else
        a->n++;
}

bool blame_may_continue(const struct blame *b)
{
    const struct blame_attempt *a = &b->now;
    uint64_t out = b->guilty | b->gone | (b->alone ? b->only : 0);

    if (b->all & ~out & ~a->gave)
        return true; /* somebody else */
    return !b->alone && (a->earlier || a->stitched || (a->gave & (a->gave - 1)) != 0);
}

/* Who comes next, now that some are out. */
static bool next(struct blame *b)
{
    uint64_t fresh = b->all & ~(b->guilty | b->suspects | b->gone);
    uint64_t left = b->suspects & ~(b->guilty | b->gone);

    b->alone = fresh == 0;
    b->only = b->alone ? left & (~left + 1) : 0;
    return fresh != 0 || left != 0;
}

static void accuse(struct blame *b, size_t endpoint, const char *how)
{
    AUTO(error) struct error why = ERROR_INIT;

    if (b->guilty & bit(endpoint))
        return;
    b->guilty |= bit(endpoint);
    (void)error_set(&why, ERR_INTERNAL, "registry %s gave wrong bytes for layer %s: %s",
                    b->registry->endpoints[endpoint].conf->name, b->digest, how);
    registry_accuse(b->registry, endpoint, &why);
}

bool blame_wrong(struct blame *b, const char *how)
{
    struct blame_attempt *a = &b->now;
    bool sole = a->gave != 0 && (a->gave & (a->gave - 1)) == 0;

    b->wrong = true;
    if (a->gave == 0 && !a->earlier && !b->alone) /* nobody gave anything: it ends all the same */
        b->gone |= b->all & ~blame_avoid(b);
    if (b->alone || (sole && !a->earlier && !a->stitched)) {
        for (size_t i = 0; i < b->registry->n; i++)
            if (a->gave & bit(i))
                accuse(b, i, how);
    } else {
        b->suspects |= a->gave;
        if (b->then.n == 0) /* the first such attempt is looked at when the right bytes came */
            b->then = *a;
    }
    if (b->alone)
        b->gone |= b->only; /* also when it gave none */
    return next(b);
}

bool blame_no_source(struct blame *b)
{
    if (!b->wrong)
        return false;
    b->gone |= b->alone ? b->only : b->all & ~blame_avoid(b);
    return next(b);
}

uint64_t blame_next_seam(const struct blame *b, uint64_t done)
{
    for (size_t i = 0; b->wrong && i < b->then.n; i++)
        if (b->then.parts[i].from > done)
            return b->then.parts[i].from;
    return UINT64_MAX;
}

void blame_at_seam(struct blame *b, uint64_t done, const struct digest_state *hash)
{
    char digest[DIGEST_MAX];

    for (size_t i = 0; i < b->then.n; i++)
        if (done > 0 && b->then.parts[i].from == done && digest_state_peek(hash, digest) >= 0)
            b->then.parts[i].differs = !STREQ(digest, b->then.parts[i].before);
}

void blame_right(struct blame *b)
{
    const struct blame_attempt *a = &b->then;
    size_t i = 1;

    if (!b->wrong || a->n == 0 || a->too_many)
        return;
    while (i < a->n && !a->parts[i].differs)
        i++;
    if (a->parts[i - 1].endpoint >= 0)
        accuse(b, (size_t)a->parts[i - 1].endpoint, "another registry's have the right digest");
}

bool blame_verdict(const struct blame *b, struct error *e)
{
    AUTO(buf) struct buf text = BUF_INIT(16u * 1024);
    const struct registry *r = b->registry;

    if (!b->wrong || (b->all & (b->all - 1)) == 0)
        return false;
    for (size_t i = 0; i < r->n; i++)
        if ((b->all & bit(i)) && r->endpoints[i].why)
            (void)buf_printf(&text, "%s%s", text.len ? "; " : "", r->endpoints[i].why);
    error_done(e);
    (void)error_set(e, ERR_INTERNAL, "no registry gives the right bytes: %s", buf_str(&text));
    return true;
}
