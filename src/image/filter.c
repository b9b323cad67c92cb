/* SPDX-License-Identifier: Apache-2.0 */
/* See filter.h. */
#include "image/filter.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/worker-protocol.h"

#define BACK_SIZE (256u * 1024)
#define PIPE_SIZE (1024 * 1024)

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(take_fd(*fd));
}

static void *worker_thread(void *data)
{
    struct image_filter *f = data;
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"compress",
                               .media_type = (char *)f->kind};
    const struct image_op_params p = {.start = &start,
                                      .input_fd = f->worker_in,
                                      .extra_fd = f->worker_out,
                                      .cancel_fd = -EBADF,
                                      .quiet = true};

    f->status = image_op_run(f->store, &p, &results, &f->error);
    close_fd(&f->worker_in);
    close_fd(&f->worker_out);
    return NULL;
}

int image_filter_start(struct image_filter *f, struct image_store *s, image_write_fn *write,
                       void *write_data, struct error *e)
{
    int to[2], from[2];

    f->store = s;
    f->write = write;
    f->write_data = write_data;
    f->in = f->out = f->worker_in = f->worker_out = -EBADF;
    if (str_is_empty(f->kind) || STREQ(f->kind, "none"))
        return 0;
    if (!STREQ(f->kind, "gzip") && !STREQ(f->kind, "zstd"))
        return error_set(e, ERR_INVALID, "unknown compression \"%.40s\": gzip, zstd or none",
                         f->kind);
    if (pipe2(to, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot make a pipe");
    f->worker_in = to[0];
    f->in = to[1];
    if (pipe2(from, O_CLOEXEC) < 0) {
        int err = errno;

        close_fd(&f->worker_in);
        close_fd(&f->in);
        return error_set_errno(e, err, "cannot make a pipe");
    }
    f->out = from[0];
    f->worker_out = from[1];
    (void)fcntl(f->in, F_SETPIPE_SZ, PIPE_SIZE);
    (void)fcntl(f->out, F_SETPIPE_SZ, PIPE_SIZE);
    (void)fcntl(f->in, F_SETFL, O_NONBLOCK);
    int r = pthread_create(&f->thread, NULL, worker_thread, f);
    if (r != 0) {
        close_fd(&f->worker_in);
        close_fd(&f->worker_out);
        close_fd(&f->in);
        close_fd(&f->out);
        return error_set_errno(e, r, "cannot start a thread");
    }
    f->running = true;
    return 0;
}

/* What came back goes on; 1, 0 at its end, <0. */
static int drain(struct image_filter *f)
{
    AUTOFREE char *data = xmalloc(BACK_SIZE);
    ssize_t n;

    do
        n = read(f->out, data, BACK_SIZE);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    int r = f->write(f->write_data, data, (size_t)n);
    return r < 0 ? r : 1;
}

int image_filter_write(void *data, const void *bytes, size_t len)
{
    struct image_filter *f = data;
    const char *p = bytes;

    if (!f->running)
        return f->write(f->write_data, bytes, len);
    while (len > 0) {
        struct pollfd fds[2] = {{.fd = f->in, .events = POLLOUT}, {.fd = f->out, .events = POLLIN}};

        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (fds[1].revents) {
            int r = drain(f);
            if (r <= 0)
                return r < 0 ? r : -EPIPE; /* the worker left: finish tells why */
        }
        if (fds[0].revents & POLLERR)
            return -EPIPE;
        if (fds[0].revents & POLLOUT) {
            ssize_t n = write(f->in, p, len);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
            if (n > 0) {
                p += n;
                len -= (size_t)n;
            }
        }
    }
    return 0;
}

int image_filter_finish(struct image_filter *f, int status, struct error *e)
{
    int r = status;

    if (!f->running)
        return r;
    close_fd(&f->in);
    while (r >= 0 && (r = drain(f)) > 0)
        ;
    close_fd(&f->out); /* a worker that still writes gets EPIPE and ends */
    (void)pthread_join(f->thread, NULL);
    f->running = false;
    if (f->status < 0 && (status >= 0 || status == -EPIPE) && r >= -EPIPE) {
        error_done(e);
        error_move(e, &f->error);
        r = f->status;
    } else if (r < 0 && !e->message) {
        (void)error_set_errno(e, r, "the archive was not taken to its end");
    }
    error_done(&f->error);
    return r;
}
