/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large layer by several connections. The first connection's stream is measured: when it brings less than
 * what comes after it could take, helpers fetch the segments behind a point a little ahead of it;
 * when the stream has reached that point, the segments are passed on in order. One layer at a time
 * does this, so that memory stays bounded. Whatever goes wrong, or brings no gain: the rest comes
 * as one stream again.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/time.h"
#include "image/worker/ranges.h"

#define SEGMENT    (1024u * 1024)
#define SLOTS      6
#define HELPERS    4
#define AHEAD      (2 * SEGMENT) /* what the first stream still brings by itself */
#define WORTH      (8 * SEGMENT) /* less than that left is not worth it */
#define MEASURE_NS (700 * NSEC_PER_MSEC)
#define BLOCKED_PART                                                                               \
    4           /* the stream is not the bottleneck when a quarter of the time is spent here */
#define TRIAL 8 /* segments after which the gain is looked at */

enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_FULL };
struct slot {
    enum slot_state state;
    uint64_t offset;
    size_t len, have;
    unsigned char *data;
};

struct ranges {
    struct exchange like; /* what a request to this endpoint is like */
    struct http_request request;
    uint64_t next, end; /* of the body: to be asked for from here, till there */
    int64_t total;
    double single_rate; /* bytes a second of the stream alone */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct slot slots[SLOTS];
    bool failed;
    atomic_bool stop;
    pthread_t helpers[HELPERS];
    unsigned nhelpers;
};

static atomic_bool taken; /* by one layer */

/* --- Helpers ---------------------------------------------------------------------------------------- */

struct filling {
    struct ranges *r;
    struct slot *slot;
    const struct http_response *resp;
};

static int slot_sink(void *data, const void *bytes, size_t len)
{
    struct filling *f = data;
    struct slot *s = f->slot;
    const struct http_response *resp = f->resp;

    if (resp->status != 206 && resp->range_start < 0)
        return -EPROTO; /* all of it, from the start: no use */
    if (resp->range_start != (int64_t)(s->offset) || len > s->len - s->have ||
        (resp->range_total >= 0 && resp->range_total != f->r->total))
        return -EPROTO;
    memcpy(s->data + s->have, bytes, len);
    s->have += len;
    return 0;
}

static void slot_restart(void *data)
{
    struct filling *f = data;

    f->slot->have = 0;
}

static bool fill_slot(struct ranges *r, struct slot *s, struct http_client *client)
{
    for (int tries = 0; tries < 2 && !atomic_load(&r->stop); tries++) {
        CLEANUP(http_response_done) struct http_response resp = {0};
        struct filling f = {r, s, &resp};
        struct http_request req = r->request;
        struct exchange x = r->like;

        req.offset = s->offset;
        req.length = s->len;
        req.sink = slot_sink;
        req.sink_data = &f;
        req.stop = &r->stop;
        x.req = &req;
        x.client = client;
        x.impatient = true;
        x.restart = slot_restart;
        x.restart_data = &f;
        x.is_layer = false;
        x.silent = true;
        int rc = endpoint_exchange(&x, &resp, NULL);
        if (rc >= 0 && resp.status >= 200 && resp.status < 300 && s->have == s->len)
            return true;
        if (resp.sink_status < 0 || (rc < 0 && !response_broke(&resp)))
            return false;
    }
    return false;
}

/* The lock is held. */
static struct slot *take_slot(struct ranges *r)
{
    for (size_t i = 0; i < SLOTS && r->next < r->end; i++) {
        struct slot *s = &r->slots[i];
        if (s->state != SLOT_FREE)
            continue;
        s->state = SLOT_FILLING;
        s->offset = r->next;
        s->len = r->end - r->next < SEGMENT ? (size_t)(r->end - r->next) : SEGMENT;
        s->have = 0;
        r->next += s->len;
        return s;
    }
    return NULL;
}

static void *helper_thread(void *data)
{
    struct ranges *r = data;
    AUTOPTR(http_client) struct http_client *client = http_client_new();

    pthread_mutex_lock(&r->lock);
    while (!r->failed && !atomic_load(&r->stop) && r->next < r->end) {
        struct slot *s = take_slot(r);
        if (!s) {
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        if (!s->data)
            s->data = xmalloc(SEGMENT);
        bool good = fill_slot(r, s, client);
        pthread_mutex_lock(&r->lock);
        s->state = good ? SLOT_FULL : SLOT_FREE;
        r->failed = r->failed || !good;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* --- The layer's thread ------------------------------------------------------------------------------ */

void ranges_watch(struct ranges_watch *w, int64_t now, int64_t blocked_ns)
{
    if (w->since == 0)
        w->since = now;
    w->blocked += blocked_ns;
}

bool ranges_are_worth(const struct ranges_watch *w, int64_t now, uint64_t left)
{
    int64_t elapsed = now - w->since;

    return w->since > 0 && elapsed >= MEASURE_NS && left >= WORTH + AHEAD &&
           w->blocked * BLOCKED_PART < elapsed;
}

struct ranges *ranges_start(const struct exchange *like, const struct ranges_watch *w, int64_t now,
                            uint64_t came, uint64_t done, uint64_t size)
{
    if (atomic_exchange(&taken, true))
        return NULL;
    struct ranges *r = xcalloc(1, sizeof(*r));
    r->like = *like;
    r->request = *like->req;
    r->next = done + AHEAD;
    r->end = size;
    r->total = (int64_t)size;
    r->single_rate = (double)came * (double)NSEC_PER_SEC / (double)(now - w->since);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    while (r->nhelpers < HELPERS &&
           pthread_create(&r->helpers[r->nhelpers], NULL, helper_thread, r) == 0)
        r->nhelpers++;
    return r;
}

uint64_t ranges_begin(const struct ranges *r, uint64_t done)
{
    return done + AHEAD;
}

void ranges_free(struct ranges *r)
{
    if (!r)
        return;
    atomic_store(&r->stop, true);
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    for (unsigned i = 0; i < r->nhelpers; i++)
        pthread_join(r->helpers[i], NULL);
    for (size_t i = 0; i < SLOTS; i++)
        free(r->slots[i].data);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    free(r);
    atomic_store(&taken, false);
}

/* The segment that begins at done; waits for it. NULL: it will not come. */
static struct slot *wait_slot(struct ranges *r, uint64_t done)
{
    struct slot *found = NULL;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        bool coming = false;
        for (size_t i = 0; i < SLOTS; i++) {
            struct slot *s = &r->slots[i];
            if (s->offset != done || s->state == SLOT_FREE)
                continue;
            coming = s->state == SLOT_FILLING;
            found = s->state == SLOT_FULL ? s : NULL;
        }
        if (found || (!coming && (r->failed || r->nhelpers == 0)))
            break;
        pthread_cond_wait(&r->changed, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return found;
}

int ranges_consume(struct ranges *r, uint64_t *done, http_sink *sink, void *sink_data)
{
    int64_t begin = time_monotonic_ns();
    uint64_t first = *done;

    for (unsigned n = 1; *done < r->end; n++) {
        struct slot *s = wait_slot(r, *done);
        if (!s)
            return 0;
        int rc = sink(sink_data, s->data, s->len);
        if (rc < 0)
            return rc;
        *done += s->len;
        pthread_mutex_lock(&r->lock);
        s->state = SLOT_FREE;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        double seconds = (double)(time_monotonic_ns() - begin) / (double)NSEC_PER_SEC;
        if (n == TRIAL && (double)(*done - first) < r->single_rate * seconds * 1.1)
            return 0; /* no gain */
    }
    return 1;
}
