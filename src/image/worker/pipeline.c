/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of one layer and the queues between them. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "image/worker/worker.h"

#define POOL_MAX 24

void chunkq_init(struct chunkq *q)
{
    memset(q, 0, sizeof(*q));
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
}

void chunkq_done(struct chunkq *q)
{
    for (; q->len > 0; q->len--, q->head = (q->head + 1) % CHUNK_DEPTH)
        chunk_free(q->ring[q->head]);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
}

/* Chunks are used again, the last one first: their pages are mapped and in the cache. */
static struct {
    pthread_mutex_t lock;
    struct chunk *free[POOL_MAX];
    unsigned len;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct chunk *chunk_new(void)
{
    struct chunk *c = NULL;

    pthread_mutex_lock(&pool.lock);
    if (pool.len > 0)
        c = pool.free[--pool.len];
    pthread_mutex_unlock(&pool.lock);
    if (!c)
        c = xmalloc(sizeof(*c));
    atomic_init(&c->refs, 1);
    c->len = 0;
    return c;
}

struct chunk *chunk_ref(struct chunk *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void chunk_free(struct chunk *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    pthread_mutex_lock(&pool.lock);
    if (pool.len < POOL_MAX)
        pool.free[pool.len++] = take_ptr(c);
    pthread_mutex_unlock(&pool.lock);
    free(c);
}

int chunkq_push(struct chunkq *q, struct chunk *c)
{
    pthread_mutex_lock(&q->lock);
    while (q->len == CHUNK_DEPTH && !q->abandoned)
        pthread_cond_wait(&q->changed, &q->lock);
    bool gone = q->abandoned;
    if (!gone) {
        q->ring[(q->head + q->len++) % CHUNK_DEPTH] = c;
        pthread_cond_signal(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    if (gone)
        chunk_free(c);
    return gone ? -EPIPE : 0;
}

void chunkq_close(struct chunkq *q, int status)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    q->status = status;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

int chunkq_pop(struct chunkq *q, struct chunk **ret)
{
    int r;

    pthread_mutex_lock(&q->lock);
    while (q->len == 0 && !q->closed)
        pthread_cond_wait(&q->changed, &q->lock);
    if (q->len > 0) {
        *ret = q->ring[q->head];
        q->head = (q->head + 1) % CHUNK_DEPTH;
        q->len--;
        pthread_cond_signal(&q->changed);
        r = 1;
    } else {
        r = q->status;
    }
    pthread_mutex_unlock(&q->lock);
    return r;
}

void chunkq_abandon(struct chunkq *q)
{
    pthread_mutex_lock(&q->lock);
    q->abandoned = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static void *inflate_thread(void *data)
{
    struct pipeline *p = data;

    p->inflate_status = inflate_run(&p->raw, &p->plain, &p->inflate_error);
    return NULL;
}

static void *tar_thread(void *data)
{
    struct pipeline *p = data;

    p->tar_status = tar_run(&p->plain, p->sink, p->algorithm, &p->result, &p->tar_error);
    return NULL;
}

int pipeline_start(struct pipeline *p, struct layer_sink *sink, enum digest_algorithm a,
                   struct error *e)
{
    memset(p, 0, sizeof(*p));
    p->sink = sink;
    p->algorithm = a;
    chunkq_init(&p->raw);
    chunkq_init(&p->plain);
    int r = pthread_create(&p->tar, NULL, tar_thread, p);
    if (r != 0)
        return error_set_errno(e, r, "cannot start a thread");
    r = pthread_create(&p->inflate, NULL, inflate_thread, p);
    if (r != 0) {
        chunkq_close(&p->plain, -ECANCELED);
        pthread_join(p->tar, NULL);
        return error_set_errno(e, r, "cannot start a thread");
    }
    return 0;
}

/* The chunk that was gathered goes through the tap and on. */
static int pass_on(struct pipeline *p)
{
    struct chunk *c = take_ptr(p->filling);
    int r = p->tap ? p->tap(p->tap_data, c->data, c->len) : 0;

    if (r < 0) {
        chunk_free(c);
        return r;
    }
    return chunkq_push(&p->raw, c);
}

int pipeline_feed(struct pipeline *p, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    while (len > 0) {
        if (!p->filling)
            p->filling = chunk_new();
        struct chunk *c = p->filling;
        size_t n = CHUNK_SIZE - c->len < len ? CHUNK_SIZE - c->len : len;
        memcpy(c->data + c->len, bytes, n);
        c->len += n;
        bytes += n;
        len -= n;
        if (c->len == CHUNK_SIZE) {
            int r = pass_on(p);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int pipeline_finish(struct pipeline *p, int status, struct tar_result *ret, struct error *e)
{
    int r = 0;

    if (p->filling)
        r = pass_on(p);
    if (r < 0 && r != -EPIPE && status >= 0) /* -EPIPE: the stage says why */
        status = r;                          /* the tap does */
    r = status;
    chunkq_close(&p->raw, status);
    pthread_join(p->inflate, NULL);
    pthread_join(p->tar, NULL);
    chunkq_done(&p->raw);
    chunkq_done(&p->plain);
    /* The stage that failed by itself has a message; the others only noticed. */
    if (status >= 0 && p->inflate_error.message) {
        r = p->inflate_status;
        error_move(e, &p->inflate_error);
    } else if (status >= 0 && p->tar_error.message) {
        r = p->tar_status;
        error_move(e, &p->tar_error);
    } else if (status >= 0 && (p->inflate_status < 0 || p->tar_status < 0)) {
        r = error_set(e, ERR_INTERNAL, "the layer's pipeline stopped");
    }
    error_done(&p->inflate_error);
    error_done(&p->tar_error);
    if (r >= 0)
        *ret = p->result;
    return r;
}
