/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attached clients. What a client does not take at once is queued: first the rest of a frame of
 * which a part was sent (`rest`, in memory), then whole frames in an unlinked file (`spill`, a ring
 * of fixed size), then, when the disk takes no more, whole frames in memory (`tail`). Frames are
 * queued whole or not at all, so that the stream stays in step.
 *
 * A queue at its limit throttles the container, as long as its client takes something within
 * ten seconds; a client that takes nothing for so long is skipped: its output is counted and dropped
 * until it has taken what is queued, and a line says how much was.
 */
#include "monitor/monitor-priv.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/time.h"
#include "io/stdcopy.h"

#define TAIL_LIMIT (4 << 20)
#define SLACK      (4 << 20) /* the ring has room for what is read after the limit, at the end */

struct monitor_limits monitor_limits = {.spill = 256LL << 20, .stuck_ns = 10 * NSEC_PER_SEC};

static int64_t ring_size(void)
{
    return monitor_limits.spill + SLACK;
}

static void on_client(struct source *source, int fd, uint32_t revents, void *data);

void membuf_append(struct membuf *b, const char *data, size_t len)
{
    if (len == 0)
        return;
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->cap - b->end < len) {
        b->cap = b->end + len;
        b->data = xreallocarray(b->data, b->cap, 1);
    }
    memcpy(b->data + b->end, data, len);
    b->end += len;
}

void membuf_done(struct membuf *b)
{
    free(b->data);
    *b = (struct membuf){NULL, 0, 0, 0};
}

/* --- The queue --------------------------------------------------------------------------------- */

/* An unlinked file on the container's disk. */
static int open_spill(const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    return fd < 0 ? -errno : fd;
}

/* Writes into the ring at its end; the position is moved by the caller once a frame is whole. */
static int spill_write(struct attacher *a, int64_t offset, const char *data, size_t len)
{
    while (len > 0) {
        int64_t pos = (a->spill_start + a->spill_len + offset) % ring_size();
        size_t n = (int64_t)len < ring_size() - pos ? len : (size_t)(ring_size() - pos);
        ssize_t k = pwrite(a->spill_fd, data, n, pos);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 ? -errno : -ENOSPC;
        data += k;
        len -= (size_t)k;
        offset += k;
    }
    return 0;
}

static int spill_append(struct attacher *a, const struct iovec *iov)
{
    int r;

    if (a->spill_fd < 0) {
        int fd = open_spill(a->session->mon->container_dir);

        if (fd < 0)
            return fd;
        a->spill_fd = fd;
    }
    if (a->spill_len + (int64_t)(iov[0].iov_len + iov[1].iov_len) > ring_size())
        return -EFBIG;
    r = spill_write(a, 0, iov[0].iov_base, iov[0].iov_len);
    if (r == 0)
        r = spill_write(a, (int64_t)iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
    if (r == 0)
        a->spill_len += (int64_t)(iov[0].iov_len + iov[1].iov_len);
    return r;
}

/* Queues a whole frame behind what is queued. */
static void enqueue(struct attacher *a, const struct iovec *iov)
{
    size_t len = iov[0].iov_len + iov[1].iov_len;

    if (!attacher_is_queued(a))
        a->last_progress = time_monotonic_ns();
    if (a->tail.end == a->tail.start && spill_append(a, iov) == 0)
        return;
    if (a->tail.end - a->tail.start + len > TAIL_LIMIT) {
        a->skipping = true;
        a->dropped += iov[1].iov_len;
        return;
    }
    membuf_append(&a->tail, iov[0].iov_base, iov[0].iov_len);
    membuf_append(&a->tail, iov[1].iov_base, iov[1].iov_len);
}

bool attacher_is_queued(const struct attacher *a)
{
    return a->rest.end > a->rest.start || a->spill_len > 0 || a->tail.end > a->tail.start;
}

bool attacher_is_full(const struct attacher *a)
{
    return !a->skipping && (a->spill_len >= monitor_limits.spill || a->tail.end > a->tail.start);
}

/* --- Events wanted ----------------------------------------------------------------------------- */

/*
 * The end of the connection is always noticed: EPOLLHUP and EPOLLERR come without being asked for,
 * and the fd stays in epoll by EPOLLET when nothing else is wanted. A client that has gone but left
 * input that cannot be taken yet (`gone`) is taken out instead.
 */
static void update_events(struct attacher *a)
{
    uint32_t events = 0;

    if (a->want_stdin && a->early_fd < 0 && stream_takes_input(a->session))
        events |= EPOLLIN;
    /* With nothing queued any more a skipped client is still to be told so. */
    if (!a->replay && !a->gone && (attacher_is_queued(a) || a->skipping))
        events |= EPOLLOUT;
    if (!events && !a->gone)
        events = EPOLLET;
    (void)source_set_events(a->source, events);
}

/* --- Life -------------------------------------------------------------------------------------- */

/* Of a replayed log: the lines that have no end yet are not in the file. */
static void queue_pending_lines(struct attacher *a)
{
    for (enum log_stream which = LOG_STDOUT; which <= LOG_STDERR; which++) {
        const char *data;
        size_t len = log_writer_pending(a->session->log, which, &data);

        if (len > 0)
            attacher_write(a, which, data, len);
    }
}

int attacher_add(struct session *s, int client_fd, int early_fd, unsigned flags,
                 const uint8_t *keys, size_t nkeys)
{
    struct attacher *a;
    int type = 0, r;
    socklen_t len = sizeof(type);

    if (getsockopt(client_fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM) {
        close(client_fd);
        if (early_fd >= 0)
            close(early_fd);
        return -ENOTSOCK;
    }
    a = xcalloc(1, sizeof(*a));
    a->session = s;
    a->fd = client_fd;
    a->flags = flags;
    a->early_fd = early_fd;
    a->spill_fd = -EBADF;
    a->want_stdin = (flags & MONITOR_STDIN) && s->has_stdin;
    a->nkeys = (uint8_t)(nkeys < DETACH_KEYS_MAX ? nkeys : DETACH_KEYS_MAX);
    memcpy(a->keys, keys, a->nkeys);
    a->next = s->attachers;
    s->attachers = a;
    r = loop_add_fd(s->mon->loop, a->fd, EPOLLET, on_client, a, &a->source);
    if (r < 0) {
        attacher_free(a);
        return r;
    }
    if ((flags & MONITOR_LOGS) && s->log) {
        r = stage_replay(a);
        if (r < 0) {
            attacher_free(a);
            return r;
        }
        queue_pending_lines(a);
    } else if (flags & MONITOR_NO_STREAM) {
        attacher_free(a);
        return 0;
    }
    attacher_resume_input(a);
    return 0;
}

void attacher_free(struct attacher *a)
{
    struct attacher **p = &a->session->attachers;

    while (*p != a)
        p = &(*p)->next;
    *p = a->next;
    source_free(a->source);
    if (a->early_fd >= 0)
        close(a->early_fd);
    if (a->spill_fd >= 0)
        close(a->spill_fd);
    close(a->fd);
    membuf_done(&a->rest);
    membuf_done(&a->tail);
    free(a);
}

/* The client has gone or was let go: what that means for the session. */
static void end_attacher(struct attacher *a)
{
    struct session *s = a->session;
    struct mon *m = s->mon;
    bool had_stdin = a->want_stdin;

    attacher_free(a);
    if (had_stdin && s->stdin_once && !s->tty)
        stream_end_input(s);
    stream_update_flow(s);
    session_check_end(m);
}

/* --- Output ------------------------------------------------------------------------------------ */

/* Says in the stream how much was left out. */
static void send_notice(struct attacher *a)
{
    static const char before[] = "pouch: ", after[] = " bytes of output dropped (client too slow)";
    char text[sizeof(before) + 20 + sizeof(after) + 4];
    unsigned char header[STDCOPY_HEADER];
    struct iovec iov[2] = {{header, sizeof(header)}, {text, 0}};
    char digits[20];
    size_t n = 0, len = 0;

    for (uint64_t v = a->dropped; v > 0 || n == 0; v /= 10)
        digits[n++] = (char)('0' + v % 10);
    memcpy(text, before, sizeof(before) - 1);
    len = sizeof(before) - 1;
    while (n > 0)
        text[len++] = digits[--n];
    memcpy(text + len, after, sizeof(after) - 1);
    len += sizeof(after) - 1;
    if (a->session->tty || (a->flags & MONITOR_RAW)) {
        iov[0].iov_len = 0;
        text[len++] = '\r';
    }
    text[len++] = '\n';
    iov[1].iov_len = len;
    stdcopy_header(header, STDCOPY_STDERR, (uint32_t)len);
    a->dropped = 0;
    a->skipping = false;
    enqueue(a, iov);
}

/* Sends what it can of a frame at once, the rest is kept. False: the client is gone. */
static bool send_now(struct attacher *a, const struct iovec *iov)
{
    size_t total = iov[0].iov_len + iov[1].iov_len, sent;
    struct iovec copy[2] = {iov[0], iov[1]};
    struct msghdr msg = {.msg_iov = copy, .msg_iovlen = 2};
    ssize_t n;

    do
        n = sendmsg(a->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return false;
    if (n < 0) {
        enqueue(a, iov);
        return true;
    }
    sent = (size_t)n;
    if (sent == total)
        return true;
    a->last_progress = time_monotonic_ns();
    for (int i = 0; i < 2; i++) {
        size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;

        membuf_append(&a->rest, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        sent -= skip;
    }
    return true;
}

void attacher_write(struct attacher *a, enum log_stream which, const char *data, size_t len)
{
    unsigned char header[STDCOPY_HEADER];
    struct iovec iov[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)data, len}};

    if (a->finishing || !(a->flags & (which == LOG_STDOUT ? MONITOR_STDOUT : MONITOR_STDERR)))
        return;
    if (a->skipping) {
        a->dropped += len;
        return;
    }
    if (a->session->tty || (a->flags & MONITOR_RAW))
        iov[0].iov_len = 0;
    else
        stdcopy_header(header, which == LOG_STDOUT ? STDCOPY_STDOUT : STDCOPY_STDERR,
                       (uint32_t)len);
    if (a->replay || attacher_is_queued(a)) {
        enqueue(a, iov);
    } else if (!send_now(a, iov)) {
        end_attacher(a);
        return;
    }
    update_events(a);
}

/* Sends from a memory buffer; bytes, 0 when the client takes no more, -errno. */
static ssize_t feed_membuf(struct attacher *a, struct membuf *b)
{
    ssize_t n = send(a->fd, b->data + b->start, b->end - b->start, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    b->start += (size_t)n;
    if (b->start == b->end)
        membuf_done(b);
    return n;
}

static ssize_t feed_spill(struct attacher *a)
{
    int64_t left = ring_size() - a->spill_start;
    size_t want = sizeof(io_buffer);
    ssize_t n;

    if ((int64_t)want > a->spill_len)
        want = (size_t)a->spill_len;
    if ((int64_t)want > left)
        want = (size_t)left;
    n = pread(a->spill_fd, io_buffer, want, a->spill_start);
    if (n <= 0)
        return n < 0 && errno == EINTR ? 0 : -EIO;
    n = send(a->fd, io_buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    a->spill_len -= n;
    a->spill_start = (a->spill_start + n) % ring_size();
    if (a->spill_len == 0) {
        a->spill_start = 0;
        close(take_fd(a->spill_fd)); /* gives the disk back */
    }
    return n;
}

/* Sends from the queue as much as the client takes: false when it is gone. */
static bool feed(struct attacher *a)
{
    for (int rounds = 0; rounds < 16; rounds++) {
        ssize_t n;

        if (a->rest.end > a->rest.start)
            n = feed_membuf(a, &a->rest);
        else if (a->spill_len > 0)
            n = feed_spill(a);
        else if (a->tail.end > a->tail.start)
            n = feed_membuf(a, &a->tail);
        else if (a->skipping) {
            send_notice(a);
            continue;
        } else
            return true;
        if (n < 0)
            return false;
        if (n == 0)
            return true;
        a->last_progress = time_monotonic_ns();
    }
    return true;
}

void attacher_finish(struct attacher *a)
{
    a->finishing = true;
    if (a->replay)
        return;
    if (!attacher_is_queued(a) && !a->skipping) {
        attacher_free(a);
        return;
    }
    update_events(a);
    attacher_check_stuck(a->session->mon);
}

void attacher_replayed(struct attacher *a, bool ok)
{
    a->replay = 0;
    if (a->flags & MONITOR_NO_STREAM)
        a->finishing = true;
    if (!ok || (a->finishing && !attacher_is_queued(a))) {
        end_attacher(a);
        return;
    }
    a->last_progress = time_monotonic_ns();
    update_events(a);
}

/* One session's clients: the next deadline; *changed when one was let go or is skipped now. */
static int64_t check_session(struct session *s, int64_t now, bool *changed)
{
    int64_t next = INT64_MAX;
    struct attacher *following;

    for (struct attacher *a = s->attachers; a; a = following) {
        int64_t deadline = a->last_progress + monitor_limits.stuck_ns;

        following = a->next;
        if (a->replay || (!attacher_is_full(a) && !a->finishing))
            continue;
        if (deadline > now) {
            next = deadline < next ? deadline : next;
            continue;
        }
        *changed = true;
        if (a->finishing)
            attacher_free(a);
        else
            a->skipping = true;
    }
    return next;
}

void attacher_check_stuck(struct mon *m)
{
    int64_t now = time_monotonic_ns(), next = INT64_MAX;
    bool changed = false;

    for (struct session *s = m->sessions; s; s = s->next) {
        bool here = false;
        int64_t deadline = check_session(s, now, &here);

        next = deadline < next ? deadline : next;
        changed |= here;
        if (here)
            stream_update_flow(s);
    }
    source_set_time(m->flow_timer, next);
    if (changed)
        session_check_end(m);
}

/* --- Input ------------------------------------------------------------------------------------- */

/*
 * Takes the detach keys out of typed input, in place. Keys that may be the start of the sequence
 * are held back until the next one tells. True when the sequence is complete.
 */
static bool scan_detach_keys(struct attacher *a, const char *in, size_t len, char *out,
                             size_t *ret_len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)in[i];

        if (c != a->keys[a->matched] && a->matched > 0) {
            memcpy(out + n, a->keys, a->matched);
            n += a->matched;
            a->matched = 0;
        }
        if (c == a->keys[a->matched])
            a->matched++;
        else
            out[n++] = (char)c;
        if (a->matched == a->nkeys) {
            *ret_len = n;
            return true;
        }
    }
    *ret_len = n;
    return false;
}

static void detach(struct attacher *a)
{
    struct msg_event ev = {.type = MONITOR_EVENT_DETACHED};

    control_event(a->session->mon, &ev, a->session->id, "");
    a->want_stdin = false; /* leaving by keys does not end the container's input */
    end_attacher(a);
}

/* Input is at its end. The client goes on getting output, also where the process's stdin stays open
 * for others. */
static void input_ended(struct attacher *a)
{
    a->want_stdin = false;
    if (a->session->stdin_once && !a->session->tty)
        stream_end_input(a->session);
    if (a->gone)
        end_attacher(a);
    else
        update_events(a);
}

/* Hands a piece of input on; false when the attacher was freed. */
static bool take_input(struct attacher *a, const char *data, size_t len)
{
    /* Held-back keys of before may come out too. */
    static char scanned[IO_SIZE + DETACH_KEYS_MAX];
    struct session *s = a->session;
    size_t n;

    if (!s->tty || a->nkeys == 0) {
        stream_input(s, data, len);
        return true;
    }
    if (scan_detach_keys(a, data, len, scanned, &n)) {
        stream_input(s, scanned, n);
        detach(a);
        return false;
    }
    stream_input(s, scanned, n);
    return true;
}

void attacher_resume_input(struct attacher *a)
{
    while (a->want_stdin && a->early_fd >= 0 && stream_takes_input(a->session)) {
        ssize_t n = read(a->early_fd, io_buffer, sizeof(io_buffer));

        if (n <= 0)
            close(take_fd(a->early_fd));
        else if (!take_input(a, io_buffer, (size_t)n))
            return;
    }
    update_events(a);
}

void attacher_resume_all(struct session *s)
{
    struct attacher *next;

    for (struct attacher *a = s->attachers; a; a = next) {
        next = a->next;
        attacher_resume_input(a);
    }
}

static void read_input(struct attacher *a)
{
    ssize_t n = recv(a->fd, io_buffer, sizeof(io_buffer), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        end_attacher(a);
        return;
    }
    if (n == 0) {
        input_ended(a);
        return;
    }
    if (take_input(a, io_buffer, (size_t)n))
        update_events(a);
}

/* The client closed, but what it sent before may still be waiting for the process to take it. */
static void client_gone(struct attacher *a)
{
    a->gone = true;
    a->flags &= ~(unsigned)(MONITOR_STDOUT | MONITOR_STDERR);
    membuf_done(&a->rest);
    membuf_done(&a->tail);
    a->spill_len = 0;
    a->skipping = false;
    update_events(a);
    stream_update_flow(a->session);
}

static void on_client(struct source *source, int fd, uint32_t revents, void *data)
{
    struct attacher *a = data;
    struct session *s = a->session;

    if (revents & EPOLLOUT) {
        bool was_full = attacher_is_full(a);

        if (!feed(a) || (a->finishing && !attacher_is_queued(a) && !a->skipping)) {
            end_attacher(a);
            return;
        }
        update_events(a);
        if (was_full)
            stream_update_flow(s);
    } else if (revents & EPOLLIN) {
        read_input(a);
    } else if ((revents & (EPOLLHUP | EPOLLERR)) && a->want_stdin && !(revents & EPOLLERR)) {
        client_gone(a);
    } else if (revents & (EPOLLHUP | EPOLLERR)) {
        end_attacher(a);
    }
}
