/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket to pouchd. One thread reads answers and gives them to the thread that asked; sending
 * needs no lock, a message is one packet. When the socket ends, so does the process.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/worker/worker.h"

struct waiter {
    uint64_t id;
    struct worker_msg *reply;
    int *fds;
    size_t nfds;
    bool answered;
    struct waiter *next;
};

static struct {
    int sock;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct waiter *waiters;
    atomic_uint_fast64_t next_id;
} conn = {.sock = -EBADF,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .answered = PTHREAD_COND_INITIALIZER,
          .next_id = 1};

static void deliver(struct worker_msg *m, int *fds, size_t nfds)
{
    pthread_mutex_lock(&conn.lock);
    struct waiter *w = conn.waiters;
    while (w && (w->id != m->id || w->answered))
        w = w->next;
    if (w) {
        *w->reply = *m;
        memset(m, 0, sizeof(*m));
        memcpy(w->fds, fds, nfds * sizeof(*fds));
        w->nfds = nfds;
        w->answered = true;
        pthread_cond_broadcast(&conn.answered);
    }
    pthread_mutex_unlock(&conn.lock);
    if (w)
        return;
    worker_msg_done(m);
    for (size_t i = 0; i < nfds; i++)
        close(fds[i]);
}

void conn_wake(void)
{
    pthread_mutex_lock(&conn.lock);
    pthread_cond_broadcast(&conn.answered);
    pthread_mutex_unlock(&conn.lock);
}

static void *read_thread(void *data)
{
    for (;;) {
        struct worker_msg m = {0};
        int fds[WORKER_FDS_MAX];
        size_t nfds = 0;
        if (worker_msg_recv(conn.sock, &m, fds, &nfds) <= 0)
            _exit(1); /* pouchd is gone or does not want us any more */
        if (STREQ(m.type, "cancel")) {
            http_cancel();
            conn_wake();
        }
        deliver(&m, fds, nfds);
    }
    return data;
}

int conn_start(int sock, struct error *e)
{
    pthread_t t;

    conn.sock = sock;
    int r = pthread_create(&t, NULL, read_thread, NULL);
    if (r != 0)
        return error_set_errno(e, r, "cannot start a thread");
    pthread_detach(t);
    return 0;
}

int conn_send(const struct worker_msg *m, struct error *e)
{
    int r = worker_msg_send(conn.sock, m, NULL, 0);

    if (r == -EMSGSIZE)
        return error_set(e, ERR_TOO_LARGE, "the image has too many names or layers");
    return r < 0 ? error_set_errno(e, r, "cannot talk to pouchd") : 0;
}

int conn_call(struct worker_msg *m, struct worker_msg *reply, int fds[WORKER_FDS_MAX],
              size_t *ret_nfds, struct error *e)
{
    struct waiter w = {.id = atomic_fetch_add(&conn.next_id, 1), .reply = reply, .fds = fds};

    pthread_mutex_lock(&conn.lock);
    w.next = conn.waiters;
    conn.waiters = &w;
    pthread_mutex_unlock(&conn.lock);
    m->id = w.id;
    int r = conn_send(m, e);
    pthread_mutex_lock(&conn.lock);
    while (r >= 0 && !w.answered && !http_cancelled())
        pthread_cond_wait(&conn.answered, &conn.lock);
    struct waiter **p = &conn.waiters;
    while (*p != &w)
        p = &(*p)->next;
    *p = w.next;
    pthread_mutex_unlock(&conn.lock);
    *ret_nfds = w.nfds;
    if (r >= 0 && !w.answered)
        r = error_set_errno(e, ECANCELED, "the operation was cancelled");
    return r;
}

int conn_open_file(uint64_t *ret_number, int *ret_fd, struct error *e)
{
    static atomic_uint_fast64_t numbers = 1;
    struct worker_msg m = {.type = (char *)"open", .file = atomic_fetch_add(&numbers, 1)};
    struct worker_msg reply = {0};
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;
    int r = conn_call(&m, &reply, fds, &nfds, e);

    worker_msg_done(&reply);
    if (r < 0)
        return r;
    if (nfds != 1)
        return error_set(e, ERR_INTERNAL, "pouchd gave no file");
    *ret_number = m.file;
    *ret_fd = fds[0];
    return 0;
}

int conn_put_blob(const char *role, const char *digest, const void *data, size_t len,
                  struct error *e)
{
    struct worker_msg m = {.type = (char *)"blob",
                           .role = (char *)role,
                           .digest = (char *)digest,
                           .size = len};
    AUTOFD int fd = -EBADF;
    int r = conn_open_file(&m.file, &fd, e);

    if (r < 0)
        return r;
    r = fs_write_all(fd, data, len);
    if (r < 0)
        return error_set_errno(e, r, "cannot write the image's %s", role);
    return conn_send(&m, e);
}
