/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for work that blocks and that nobody waits for: the ends of containers, restarts.
 * Threads are made as work comes, up to the maximum, and go when there has been none for a while.
 */
#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "engine/engine-priv.h"

struct job {
    struct job *next;
    void (*fn)(void *);
    void *data;
};

struct workers {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_cond_t gone;
    struct job *first;
    struct job **last;
    unsigned max;
    unsigned threads;
    unsigned idle;
    unsigned queued;
    bool closing;
};

struct workers *workers_new(unsigned n)
{
    struct workers *w = xcalloc(1, sizeof(*w));

    (void)pthread_mutex_init(&w->mutex, NULL);
    (void)pthread_cond_init(&w->wake, NULL);
    (void)pthread_cond_init(&w->gone, NULL);
    w->last = &w->first;
    w->max = n;
    return w;
}

/* Takes the next job, or NULL after some idle seconds or at the end. The mutex is held. */
static struct job *next_job(struct workers *w)
{
    struct job *job;

    while (!w->first && !w->closing) {
        struct timespec until;
        int r;

        if (w->threads > w->max) /* those that waited are back */
            return NULL;

        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        w->idle++;
        r = pthread_cond_timedwait(&w->wake, &w->mutex, &until);
        w->idle--;
        if (r == ETIMEDOUT && !w->first)
            return NULL;
    }
    job = w->first;
    if (job) {
        w->first = job->next;
        if (!w->first)
            w->last = &w->first;
        w->queued--;
    }
    return job;
}

/* Quiet again: what many at once needed goes back to the host. malloc keeps it otherwise, for ever where
 * something small that lives lies behind it. The mutex is held, and not meanwhile. */
static void give_memory_back(struct workers *w)
{
    (void)pthread_mutex_unlock(&w->mutex);
    (void)malloc_trim(0);
    (void)pthread_mutex_lock(&w->mutex);
}

static void *worker(void *data)
{
    struct workers *w = data;
    struct job *job;

    (void)pthread_mutex_lock(&w->mutex);
    do {
        while ((job = next_job(w))) {
            (void)pthread_mutex_unlock(&w->mutex);
            job->fn(job->data);
            free(job);
            (void)pthread_mutex_lock(&w->mutex);
        }
        if (w->threads == 1 && !w->closing)
            give_memory_back(w);
    } while (w->first);
    w->threads--;
    (void)pthread_cond_broadcast(&w->gone);
    (void)pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* One more, when there may be. The mutex is held. */
static void add_thread(struct workers *w)
{
    pthread_attr_t attr;
    pthread_t thread;

    if (w->threads >= w->max)
        return;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, 512 << 10);
    if (pthread_create(&thread, &attr, worker, w) == 0)
        w->threads++;
    else if (w->threads == 0)
        abort(); /* no thread at all can be made: the ends of containers would be lost */
    (void)pthread_attr_destroy(&attr);
}

bool workers_try_post(struct workers *w, void (*fn)(void *), void *data)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->fn = fn;
    job->data = data;
    (void)pthread_mutex_lock(&w->mutex);
    if (w->closing) {
        (void)pthread_mutex_unlock(&w->mutex);
        free(job);
        return false;
    }
    *w->last = job;
    w->last = &job->next;
    w->queued++;
    if (w->queued > w->idle)
        add_thread(w);
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->mutex);
    return true;
}

void workers_post(struct workers *w, void (*fn)(void *), void *data)
{
    bool posted = workers_try_post(w, fn, data);

    assert(posted);
    (void)posted;
}

void workers_block(struct workers *w, int n)
{
    (void)pthread_mutex_lock(&w->mutex);
    w->max += (unsigned)n;
    if (n > 0 && w->queued > w->idle)
        add_thread(w);
    (void)pthread_mutex_unlock(&w->mutex);
}

void workers_free(struct workers *w)
{
    if (!w)
        return;
    (void)pthread_mutex_lock(&w->mutex);
    w->closing = true;
    (void)pthread_cond_broadcast(&w->wake);
    while (w->threads)
        (void)pthread_cond_wait(&w->gone, &w->mutex);
    (void)pthread_mutex_unlock(&w->mutex);
    (void)pthread_mutex_destroy(&w->mutex);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_cond_destroy(&w->gone);
    free(w);
}
