/* SPDX-License-Identifier: Apache-2.0 */
/* Who gave the wrong bytes of a layer, and who is asked for them next: see blame.c. */
#pragma once

#include "image/worker/registry.h"

#define BLAME_PARTS_MAX 8

struct blame_part {
    int endpoint;            /* -1: an earlier pull left it */
    uint64_t from;           /* where it begins */
    char before[DIGEST_MAX]; /* digest of all before that */
    bool differs;            /* from that of the right bytes */
};
struct blame_attempt {
    struct blame_part parts[BLAME_PARTS_MAX];
    size_t n;
    uint64_t gave; /* endpoints that gave bytes, a bit each */
    bool earlier;  /* it began with what was here */
    bool stitched; /* of several connections */
    bool too_many; /* parts */
};
struct blame {
    struct registry *registry; /* borrowed */
    char digest[DIGEST_MAX];
    uint64_t all;      /* endpoints that may be asked, a bit each; likewise: */
    uint64_t guilty;   /* gave wrong bytes */
    uint64_t suspects; /* had a part in wrong bytes */
    uint64_t gone;     /* could not give any */
    bool alone;        /* this attempt asks … */
    uint64_t only;     /* … that one, for one stream */
    bool wrong;        /* bytes were wrong before */
    struct blame_attempt now, then;
};

void blame_init(struct blame *b, struct registry *r, const char *digest);
/* An attempt begins, with so many bytes that are here already. */
void blame_begin(struct blame *b, uint64_t have);
/* What this attempt is not to ask (registry_get.avoid). */
uint64_t blame_avoid(const struct blame *b);
/* For registry_get.giver: `at` bytes were there before, of which hash is the state. */
void blame_giver(struct blame *b, size_t endpoint, bool stitched, uint64_t at,
                 const struct digest_state *hash);
/* Whether there could be another attempt if the bytes of this one are wrong. */
bool blame_may_continue(const struct blame *b);
/* They were; how: what is wrong with them. true: again, with what blame_avoid() says now. */
bool blame_wrong(struct blame *b, const char *how);
/* Nobody that was asked could give them all. The same answer. */
bool blame_no_source(struct blame *b);
/* Where the digest of this attempt is wanted next, and there it is. */
uint64_t blame_next_seam(const struct blame *b, uint64_t done);
void blame_at_seam(struct blame *b, uint64_t done, const struct digest_state *hash);
/* The bytes of this attempt are right: who had given the wrong ones is told. */
void blame_right(struct blame *b);
/* All were asked, and wrong bytes came: e names what each did, in place of the last one's error.
 * false: there is nothing to add to that. */
bool blame_verdict(const struct blame *b, struct error *e);
