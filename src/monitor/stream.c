/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output: read from the container, to the log, to the attachers. Input: from attachers to the
 * container, with what it does not take at once kept and the attachers paused meanwhile.
 */
#include "monitor/monitor-priv.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/time.h"

#define DRAIN_MAX (4 << 20) /* read after the end: a full pipe of the largest size, and more */

char io_buffer[IO_SIZE];

/* --- Output ------------------------------------------------------------------------------------ */

/* Losses since the last report go to pouchd, once a second at most (exit.json has the total). */
static void report_lost(struct mon *m, struct log_writer *w)
{
    struct msg_event ev = {.type = MONITOR_EVENT_LOG_LOST};
    int err;
    uint64_t lines, lost = log_writer_lost(w, &lines, &err);

    if (lost == m->lost_reported || time_monotonic_ns() - m->lost_when < NSEC_PER_SEC)
        return;
    m->lost_when = time_monotonic_ns();
    ev.lost_bytes = lost - m->lost_reported;
    ev.lost_lines = lines;
    ev.errnum = err;
    m->lost_reported = lost;
    control_event(m, &ev, "", "");
}

static void deliver(struct session *s, enum log_stream which, const char *data, size_t len)
{
    struct attacher *next;

    trim_when_quiet(s->mon);
    if (s->log) {
        log_writer_write(s->log, which, data, len);
        report_lost(s->mon, s->log);
    }
    for (struct attacher *a = s->attachers; a; a = next) {
        next = a->next; /* writing may free it */
        attacher_write(a, which, data, len);
    }
}

static void stream_close(struct stream *st)
{
    source_free(take_ptr(st->source));
    if (st->fd >= 0)
        close(st->fd);
    st->fd = -EBADF;
}

/* One read: bytes, 0 at the end, -EAGAIN. */
static ssize_t read_once(struct stream *st)
{
    ssize_t n;

    do
        n = read(st->fd, io_buffer, sizeof(io_buffer));
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return 0; /* a terminal says EIO when its last user has closed it */
    if (n < 0)
        return -EAGAIN;
    if (n > 0)
        deliver(st->session, st->which, io_buffer, (size_t)n);
    return n;
}

static void on_output(struct source *source, int fd, uint32_t revents, void *data)
{
    struct stream *st = data;
    struct session *s = st->session;

    if (read_once(st) == 0)
        stream_close(st);
    stream_update_flow(s);
}

int stream_add(struct stream *st, struct session *s, int fd, enum log_stream which)
{
    st->session = s;
    st->which = which;
    st->fd = fd;
    return loop_add_fd(s->mon->loop, fd, EPOLLIN, on_output, st, &st->source);
}

void stream_drain(struct stream *st)
{
    /* Whoever may still hold the other end (it left the pid namespace, or there is none) is not
     * waited for: what the process itself wrote is there already. */
    for (size_t total = 0; st->fd >= 0 && total < DRAIN_MAX;) {
        ssize_t n = read_once(st);

        if (n <= 0)
            break;
        total += (size_t)n;
    }
    stream_close(st);
}

void stream_update_flow(struct session *s)
{
    bool full = false;

    for (struct attacher *a = s->attachers; a && !full; a = a->next)
        full = attacher_is_full(a);
    if (full)
        attacher_check_stuck(s->mon);
    if (full == s->paused)
        return;
    s->paused = full;
    for (size_t i = 0; i < ARRAY_SIZE(s->out); i++)
        if (s->out[i].source)
            (void)source_set_events(s->out[i].source, full ? 0 : EPOLLIN);
}

/* --- Input ------------------------------------------------------------------------------------- */

void stream_close_input(struct session *s)
{
    source_free(take_ptr(s->stdin_source));
    if (s->stdin_fd >= 0)
        close(s->stdin_fd);
    s->stdin_fd = -EBADF;
    membuf_done(&s->input);
}

void stream_end_input(struct session *s)
{
    s->stdin_ending = true;
    if (s->input.end == s->input.start)
        stream_close_input(s);
}

bool stream_takes_input(const struct session *s)
{
    return s->stdin_fd >= 0 && !s->stdin_ending && s->input.end == s->input.start;
}

/* Writes what it can; the bytes taken, -EPIPE when the process reads no more. */
static ssize_t write_some(struct session *s, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(s->stdin_fd, data + done, len - done);

        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return -EPIPE;
    }
    return (ssize_t)done;
}

static void on_stdin_ready(struct source *source, int fd, uint32_t revents, void *data)
{
    struct session *s = data;
    ssize_t n = write_some(s, s->input.data + s->input.start, s->input.end - s->input.start);

    if (n < 0) {
        stream_close_input(s);
        attacher_resume_all(s);
        return;
    }
    s->input.start += (size_t)n;
    if (s->input.start < s->input.end)
        return;
    membuf_done(&s->input);
    source_free(take_ptr(s->stdin_source));
    if (s->stdin_ending)
        stream_close_input(s);
    else
        attacher_resume_all(s);
}

void stream_input(struct session *s, const char *data, size_t len)
{
    ssize_t n;

    if (s->stdin_fd < 0 || len == 0)
        return;
    n = s->input.end > s->input.start ? 0 : write_some(s, data, len);
    if (n < 0) {
        stream_close_input(s);
        return;
    }
    if ((size_t)n == len)
        return;
    membuf_append(&s->input, data + n, len - (size_t)n);
    if (!s->stdin_source &&
        loop_add_fd(s->mon->loop, s->stdin_fd, EPOLLOUT, on_stdin_ready, s, &s->stdin_source) < 0)
        stream_close_input(s);
}
