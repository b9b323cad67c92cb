/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. A source that is freed while a batch of events is being dispatched is only
 * marked and goes to a list of the dead, since a later event of the batch may still name it; the
 * list is emptied after the batch. Timers are a binary heap; each source knows its place in it.
 */
#include "io/loop.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/time.h"

#define BATCH 16

struct source {
    struct loop *loop;
    struct source *prev, *next; /* in loop->sources or loop->dead */
    void *data;
    loop_fd_cb fd_cb;       /* NULL for a timer */
    loop_timer_cb timer_cb; /* NULL for an fd */
    int fd;
    uint32_t events; /* 0: not in epoll */
    int64_t when;
    size_t heap_index; /* SIZE_MAX: not armed */
    bool dead;
};

struct posted {
    struct posted *next;
    loop_post_cb cb;
    void *data;
};

struct loop {
    int epoll_fd;
    int wake_fd; /* eventfd: posted work, quit */
    struct source *sources;
    struct source *dead;
    struct source **heap;
    size_t heap_len, heap_cap;
    bool dispatching;
    _Atomic bool quit;
    _Atomic int code;
    pthread_mutex_t lock; /* of the posted list only */
    struct posted *posted_first, **posted_last;
};

static void list_add(struct source **list, struct source *s)
{
    s->prev = NULL;
    s->next = *list;
    if (*list)
        (*list)->prev = s;
    *list = s;
}

static void list_remove(struct source **list, struct source *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        *list = s->next;
    if (s->next)
        s->next->prev = s->prev;
}

/* --- The heap of timers ------------------------------------------------------------------------ */

static void heap_put(struct loop *l, size_t i, struct source *s)
{
    l->heap[i] = s;
    s->heap_index = i;
}

static void heap_up(struct loop *l, size_t i)
{
    struct source *s = l->heap[i];

    while (i > 0 && l->heap[(i - 1) / 2]->when > s->when) {
        heap_put(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(l, i, s);
}

static void heap_down(struct loop *l, size_t i)
{
    struct source *s = l->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= l->heap_len)
            break;
        if (child + 1 < l->heap_len && l->heap[child + 1]->when < l->heap[child]->when)
            child++;
        if (l->heap[child]->when >= s->when)
            break;
        heap_put(l, i, l->heap[child]);
        i = child;
    }
    heap_put(l, i, s);
}

static void heap_remove(struct loop *l, struct source *s)
{
    size_t i = s->heap_index;

    if (i == SIZE_MAX)
        return;
    assert(i < l->heap_len && l->heap[i] == s);
    s->heap_index = SIZE_MAX;
    l->heap_len--;
    if (i == l->heap_len)
        return;
    heap_put(l, i, l->heap[l->heap_len]);
    heap_down(l, i);
    heap_up(l, i);
}

static void heap_add(struct loop *l, struct source *s)
{
    if (l->heap_len == l->heap_cap) {
        l->heap_cap = l->heap_cap ? 2 * l->heap_cap : 8;
        l->heap = xreallocarray(l->heap, l->heap_cap, sizeof(*l->heap));
    }
    heap_put(l, l->heap_len++, s);
    heap_up(l, s->heap_index);
}

/* --- Life -------------------------------------------------------------------------------------- */

static void free_dead(struct loop *l)
{
    while (l->dead) {
        struct source *s = l->dead;

        list_remove(&l->dead, s);
        free(s);
    }
}

/* Takes what other threads posted and runs it in order. */
static void on_wake(struct source *s, int fd, uint32_t revents, void *data)
{
    struct loop *l = data;
    struct posted *p;
    uint64_t count;

    (void)!read(fd, &count, sizeof(count));
    pthread_mutex_lock(&l->lock);
    p = l->posted_first;
    l->posted_first = NULL;
    l->posted_last = &l->posted_first;
    pthread_mutex_unlock(&l->lock);
    while (p) {
        struct posted *next = p->next;

        p->cb(p->data);
        free(p);
        p = next;
    }
}

int loop_new(struct loop **ret)
{
    struct loop *l = xcalloc(1, sizeof(*l));
    int r;

    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = l->epoll_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->posted_last = &l->posted_first;
    pthread_mutex_init(&l->lock, NULL);
    r = l->wake_fd < 0 ? -errno : loop_add_fd(l, l->wake_fd, EPOLLIN, on_wake, l, NULL);
    if (r < 0) {
        loop_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    assert(!l->dispatching);
    while (l->sources)
        source_free(l->sources);
    free_dead(l);
    free(l->heap);
    while (l->posted_first) {
        struct posted *p = l->posted_first;

        l->posted_first = p->next;
        free(p);
    }
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct source *source_new(struct loop *l, void *data)
{
    struct source *s = xcalloc(1, sizeof(*s));

    s->loop = l;
    s->data = data;
    s->fd = -EBADF;
    s->heap_index = SIZE_MAX;
    list_add(&l->sources, s);
    return s;
}

int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_cb cb, void *data,
                struct source **ret_source)
{
    struct source *s = source_new(l, data);
    int r;

    assert(cb);
    s->fd = fd;
    s->fd_cb = cb;
    r = source_set_events(s, events);
    if (r < 0) {
        source_free(s);
        return r;
    }
    if (ret_source)
        *ret_source = s;
    return 0;
}

int source_set_events(struct source *s, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = s};
    int op = !s->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

    assert(s->fd_cb && !s->dead);
    if (s->events == events)
        return 0;
    if (epoll_ctl(s->loop->epoll_fd, op, s->fd, &ev) < 0)
        return -errno;
    s->events = events;
    return 0;
}

int loop_add_timer(struct loop *l, int64_t when, loop_timer_cb cb, void *data,
                   struct source **ret_source)
{
    struct source *s = source_new(l, data);

    assert(cb);
    s->timer_cb = cb;
    source_set_time(s, when);
    if (ret_source)
        *ret_source = s;
    return 0;
}

void source_set_time(struct source *s, int64_t when)
{
    assert(s->timer_cb && !s->dead);
    if (s->heap_index != SIZE_MAX && s->when == when)
        return;
    heap_remove(s->loop, s);
    s->when = when;
    if (when != INT64_MAX)
        heap_add(s->loop, s);
}

void source_free(struct source *s)
{
    struct loop *l;

    if (!s || s->dead)
        return;
    l = s->loop;
    heap_remove(l, s);
    if (s->fd_cb && s->events)
        (void)source_set_events(s, 0);
    list_remove(&l->sources, s);
    s->dead = true;
    if (l->dispatching)
        list_add(&l->dead, s);
    else
        free(s);
}

/* --- Running ----------------------------------------------------------------------------------- */

/* Milliseconds for epoll_wait() until the next timer, rounded up so that it is due afterwards. */
static int wait_ms(struct loop *l, int64_t timeout_ns)
{
    int64_t ns = timeout_ns;

    if (l->heap_len > 0) {
        int64_t left = l->heap[0]->when - time_monotonic_ns();

        if (left < 0)
            left = 0;
        if (ns < 0 || left < ns)
            ns = left;
    }
    if (ns < 0)
        return -1;
    ns = (ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
    return ns > INT_MAX ? INT_MAX : (int)ns;
}

/* Timers that are due now; one that arms itself again for a time that has passed waits for the
 * next round, so that it cannot starve the fds. */
static int run_timers(struct loop *l)
{
    int64_t now;
    int n = 0;

    if (l->heap_len == 0)
        return 0;
    now = time_monotonic_ns();
    for (size_t left = l->heap_len; left > 0 && l->heap_len > 0; left--) {
        struct source *s = l->heap[0];

        if (s->when > now)
            break;
        heap_remove(l, s);
        s->timer_cb(s, s->data);
        n++;
    }
    return n;
}

int loop_run_once(struct loop *l, int64_t timeout_ns)
{
    struct epoll_event events[BATCH];
    int n, called = 0;

    assert(!l->dispatching);
    n = epoll_wait(l->epoll_fd, events, BATCH, wait_ms(l, timeout_ns));
    if (n < 0 && errno != EINTR)
        return -errno;
    l->dispatching = true;
    for (int i = 0; i < n; i++) {
        struct source *s = events[i].data.ptr;

        /* A callback before may have freed it or stopped watching. */
        if (s->dead || !s->events)
            continue;
        s->fd_cb(s, s->fd, events[i].events, s->data);
        called++;
    }
    called += run_timers(l);
    l->dispatching = false;
    free_dead(l);
    return called;
}

int loop_run(struct loop *l)
{
    while (!l->quit) {
        int r = loop_run_once(l, -1);

        if (r < 0)
            return r;
    }
    l->quit = false;
    return l->code;
}

void loop_quit(struct loop *l, int code)
{
    uint64_t one = 1;

    l->code = code;
    l->quit = true;
    (void)!write(l->wake_fd, &one, sizeof(one));
}

int loop_post(struct loop *l, loop_post_cb cb, void *data)
{
    struct posted *p = xcalloc(1, sizeof(*p));
    uint64_t one = 1;

    p->cb = cb;
    p->data = data;
    pthread_mutex_lock(&l->lock);
    *l->posted_last = p;
    l->posted_last = &p->next;
    pthread_mutex_unlock(&l->lock);
    return write(l->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN ? -errno : 0;
}

int loop_signalfd(const sigset_t *set)
{
    int r = pthread_sigmask(SIG_BLOCK, set, NULL);

    if (r != 0)
        return -r;
    r = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    return r < 0 ? -errno : r;
}
