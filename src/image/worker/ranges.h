/* SPDX-License-Identifier: Apache-2.0 */
/* A large layer by several connections: see ranges.c. For registry.c. */
#pragma once

#include "image/worker/registry-priv.h"

/* What is known of the first stream's speed. */
struct ranges_watch {
    int64_t since;   /* ns, of the first bytes; 0: none came yet */
    int64_t blocked; /* ns that passing them on took */
};
void ranges_watch(struct ranges_watch *w, int64_t now, int64_t blocked_ns);
/* Whether it is slow enough, and enough is left, for more connections. */
bool ranges_are_worth(const struct ranges_watch *w, int64_t now, uint64_t left);

struct ranges;
/* Starts the helpers; like: the stream's request. came: its bytes since the watch began; done of
 * size: where it is. NULL: another layer does it at this time. */
struct ranges *ranges_start(const struct exchange *like, const struct ranges_watch *w, int64_t now,
                            uint64_t came, uint64_t done, uint64_t size) MUST_CHECK;
/* Where the helpers began, when it was started at done. */
uint64_t ranges_begin(const struct ranges *r, uint64_t done);
/* From where they began: passes segments on in order, *done moves on. 1: to the end, 0: no further
 * (a failure, or no gain), negative: the sink's. */
int ranges_consume(struct ranges *r, uint64_t *done, http_sink *sink, void *sink_data) MUST_CHECK;
void ranges_free(struct ranges *r);
