/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control connections: one packet a request, one a reply, and events to those who subscribed. When
 * a subscriber's socket is full, events are left out, and once there is room again it is told of
 * all ended execs that are still known. (The container's own end is in exit.json.)
 */
#include "monitor/monitor-priv.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/fdpass.h"

#define FDS_MAX 4

static struct msg_out out; /* one message at a time */

/* A request with its fds; the handler takes those it keeps. */
struct request {
    struct mon *mon;
    struct conn *conn;
    struct msg_in in;
    int fds[FDS_MAX];
    size_t nfds, next_fd;
};

/* The next fd of the request, when it is there; the caller owns it. */
static int take_request_fd(struct request *r, bool wanted)
{
    size_t i = r->next_fd;

    if (!wanted || i >= r->nfds)
        return -EBADF;
    r->next_fd++;
    return take_fd(r->fds[i]);
}

static void request_done(struct request *r)
{
    for (size_t i = 0; i < r->nfds; i++)
        if (r->fds[i] >= 0)
            close(r->fds[i]);
}

/* --- Sending ----------------------------------------------------------------------------------- */

static int send_out(struct conn *c)
{
    ssize_t n = send(c->fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 ? -errno : 0;
}

void control_reply(struct conn *c, uint32_t serial, const struct msg_reply *r, const char *message)
{
    if (!c)
        return;
    msg_begin(&out, MSG_REPLY, serial, r, sizeof(*r));
    (void)msg_add_string(&out, message);
    (void)send_out(c); /* it waits for this one reply, so that there is room, or it has gone */
}

void control_reply_error(struct conn *c, uint32_t serial, enum error_code code, int errnum,
                         const char *message)
{
    struct msg_reply r = {.result = errnum ? -errnum : -EIO, .code = code};

    control_reply(c, serial, &r, message);
}

void control_forward(struct conn *c, uint32_t serial, const struct msg_in *in,
                     const struct msg_reply *r)
{
    if (!c)
        return;
    msg_begin(&out, MSG_REPLY, serial, r, sizeof(*r));
    for (size_t i = 0, n = msg_strings(in); i < n; i++)
        (void)msg_add_string(&out, msg_string(in, i));
    (void)send_out(c);
}

static void conn_close(struct conn *c)
{
    struct conn **p = &c->mon->conns;

    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    session_forget_conn(c->mon, c);
    source_free(c->source);
    close(c->fd);
    free(c);
}

static void put_event(const struct msg_event *ev, const char *exec_id, const char *message)
{
    msg_begin(&out, MSG_EVENT, 0, ev, sizeof(*ev));
    (void)msg_add_string(&out, exec_id);
    (void)msg_add_string(&out, message);
}

void control_event(struct mon *m, const struct msg_event *ev, const char *exec_id,
                   const char *message)
{
    for (struct conn *c = m->conns; c; c = c->next) {
        if (!c->subscribed)
            continue;
        put_event(ev, exec_id, message);
        if (!c->behind && send_out(c) != -EAGAIN)
            continue; /* a connection that is broken is closed when the loop comes to it */
        c->behind = true;
        c->resend = 0;
        (void)source_set_events(c->source, EPOLLIN | EPOLLOUT);
    }
}

/* There is room again. */
static void catch_up(struct conn *c)
{
    struct mon *m = c->mon;

    for (; c->resend < m->nexec_exits; c->resend++) {
        struct msg_event ev = {.type = MONITOR_EVENT_EXEC_EXITED,
                               .exit_code = m->exec_exits[c->resend].code};

        put_event(&ev, m->exec_exits[c->resend].id, "");
        if (send_out(c) == -EAGAIN)
            return;
    }
    c->behind = false;
    (void)source_set_events(c->source, EPOLLIN);
}

/* --- Requests ---------------------------------------------------------------------------------- */

static void reply_result(struct request *r, int result, const char *what)
{
    struct msg_reply ok = {0};

    if (result == 0)
        control_reply(r->conn, r->in.header.serial, &ok, "");
    else if (result == -ESRCH)
        control_reply_error(r->conn, r->in.header.serial, ERR_CONFLICT, ESRCH, "is not running");
    else
        control_reply_error(r->conn, r->in.header.serial, ERR_NONE, -result, what);
}

static int choose_driver(struct mon *m, unsigned flags)
{
    if (flags & CREATE_FOREIGN)
        m->driver = m->foreign;
    if (!m->driver)
        return -EOPNOTSUPP;
    return m->driver->prepare ? m->driver->prepare() : 0;
}

static void on_create(struct request *r)
{
    struct mon *m = r->mon;
    struct msg_create p;
    int bpf_fd, result;

    msg_fixed(&r->in, &p, sizeof(p));
    if (m->init || m->id) {
        reply_result(r, -EALREADY, "the container is made already");
        return;
    }
    if (chdir(msg_string(&r->in, CREATE_STATE_DIR)) < 0) {
        reply_result(r, -errno, "cannot enter the state folder");
        loop_quit(m->loop, 1);
        return;
    }
    m->id = xstrdup(msg_string(&r->in, CREATE_ID));
    m->bundle = xstrdup(msg_string(&r->in, CREATE_BUNDLE));
    m->container_dir = xstrdup(msg_string(&r->in, CREATE_CONTAINER_DIR));
    if (strcmp(msg_string(&r->in, CREATE_LOG_DRIVER), "json-file") == 0)
        m->log_path = xstrdup(msg_string(&r->in, CREATE_LOG_PATH));
    bpf_fd = take_request_fd(r, p.flags & CREATE_SECCOMP);
    result = choose_driver(m, p.flags);
    m->view_loadavg = xstrdup(msg_string(&r->in, CREATE_VIEW_LOADAVG));
    if (result == 0 && p.flags & CREATE_VIEW)
        result = view_prepare(m);
    if (result == 0)
        result = control_listen(m);
    if (result < 0) {
        reply_result(r, result, "cannot make the control socket");
    } else {
        result = session_create(m, &p, bpf_fd, r->conn, r->in.header.serial);
        if (result < 0)
            reply_result(r, result, "cannot make the container's stdio or log");
    }
    if (bpf_fd >= 0)
        close(bpf_fd);
    r->conn->subscribed = true;
    if (result < 0) {
        (void)unlink(MONITOR_SOCKET);
        loop_quit(m->loop, 1);
    }
}

static void on_subscribe(struct request *r)
{
    struct session *s = r->mon->init;
    struct msg_reply reply = {.monitor = getpid(), .state = MONITOR_GATE};

    r->conn->subscribed = true;
    if (!s || s->state == SESSION_CREATING) {
        reply_result(r, -EAGAIN, "the container is not made yet");
        return;
    }
    reply.pid = s->pid;
    if (s->state == SESSION_EXITED)
        reply.state = MONITOR_EXITED;
    else if (s->state != SESSION_GATE)
        reply.state = MONITOR_RUNNING;
    control_reply(r->conn, r->in.header.serial, &reply, "");
}

static void on_start(struct request *r)
{
    struct session *s = r->mon->init;
    int result = s ? session_open_gate(s, r->conn, r->in.header.serial) : -EAGAIN;

    if (result < 0)
        reply_result(r, result, "cannot open the gate");
}

/* The session that string 0 names, alive. */
static struct session *live_session(struct request *r)
{
    struct session *s = session_find(r->mon, msg_string(&r->in, 0));

    return s && s->state != SESSION_EXITED && s->pid > 0 ? s : NULL;
}

static void on_signal(struct request *r)
{
    struct session *s = live_session(r);
    struct msg_signal p;
    int result;

    msg_fixed(&r->in, &p, sizeof(p));
    if (!s)
        result = -ESRCH;
    else if (p.group && s != r->mon->init) /* at least itself */
        result = kill(-s->pid, p.sig) < 0 && kill(s->pid, p.sig) < 0 ? -errno : 0;
    else if (p.all || (s == r->mon->init && r->mon->driver->signals_init))
        result = stage_signal(r->mon, p.sig, p.all);
    else
        result = kill(s->pid, p.sig) < 0 ? -errno : 0;
    reply_result(r, result, "cannot signal the process");
}

static void on_resize(struct request *r)
{
    struct session *s = live_session(r);
    struct msg_resize p;
    int result;

    msg_fixed(&r->in, &p, sizeof(p));
    result = s ? session_resize(s, p.rows, p.cols) : -ESRCH;
    if (result == -ENOTTY)
        control_reply_error(r->conn, r->in.header.serial, ERR_INVALID, ENOTTY,
                            "there is no terminal to resize: it was made without (--tty)");
    else
        reply_result(r, result, "cannot resize the terminal");
}

static void on_attach(struct request *r)
{
    struct session *s = live_session(r);
    struct msg_attach p;
    int client_fd, early_fd, result;

    msg_fixed(&r->in, &p, sizeof(p));
    client_fd = take_request_fd(r, true);
    early_fd = take_request_fd(r, p.flags & ATTACH_EARLY);
    if (!s || client_fd < 0) {
        result = s ? -EBADF : -ESRCH;
        if (client_fd >= 0)
            close(client_fd);
        if (early_fd >= 0)
            close(early_fd);
    } else {
        result = attacher_add(s, client_fd, early_fd, p.flags, p.keys, p.nkeys);
    }
    reply_result(r, result, "cannot attach the client");
}

static void on_exec(struct request *r)
{
    struct mon *m = r->mon;
    const char *id = msg_string(&r->in, 0);
    int process_fd, bpf_fd, client_fd, early_fd, result;
    struct msg_exec p;

    msg_fixed(&r->in, &p, sizeof(p));
    process_fd = take_request_fd(r, true);
    bpf_fd = take_request_fd(r, p.flags & EXEC_SECCOMP);
    client_fd = take_request_fd(r, p.attach_flags & ATTACH_CLIENT);
    early_fd = take_request_fd(r, p.attach_flags & ATTACH_EARLY);
    if (!m->init || (m->init->state != SESSION_RUNNING &&
                     !(m->init->state == SESSION_GATE && (p.flags & EXEC_AT_GATE))))
        result = -ESRCH;
    else if (!*id || strlen(id) > MONITOR_ID_MAX || process_fd < 0)
        result = -EINVAL;
    else if (session_find(m, id))
        result = -EALREADY;
    else
        result = session_exec(m, id, &p, process_fd, bpf_fd, take_fd(client_fd), take_fd(early_fd),
                              r->conn, r->in.header.serial);
    for (size_t i = 0; i < 4; i++) {
        int fd = (int[]){process_fd, bpf_fd, client_fd, early_fd}[i];

        if (fd >= 0)
            close(fd);
    }
    if (result < 0)
        reply_result(r, result, "cannot start the process");
}

static void on_exec_state(struct request *r)
{
    const char *id = msg_string(&r->in, 0);
    struct session *s = *id ? session_find(r->mon, id) : NULL;
    struct exec_exit *x = session_find_exit(r->mon, id);
    struct msg_reply reply = {0};

    if (s && s->state != SESSION_EXITED) {
        reply.state = 1;
        reply.pid = s->pid;
    } else if (x) {
        reply.exit_code = x->code;
    } else {
        control_reply_error(r->conn, r->in.header.serial, ERR_NOT_FOUND, ENOENT, "no such exec");
        return;
    }
    control_reply(r->conn, r->in.header.serial, &reply, "");
}

/* The stage answers by itself: it has the connection, which is closed here. */
static void on_mount(struct request *r)
{
    struct session *s = r->mon->init;
    int result = -ESRCH;

    if (s && s->state == SESSION_RUNNING)
        result = stage_mounts(r->mon, r->conn->fd, &r->in);
    if (result == 0)
        conn_close(r->conn);
    else
        reply_result(r, result, "cannot change the mounts");
}

static void (*const handlers[])(struct request *r) = {
    [MSG_CREATE] = on_create, [MSG_SUBSCRIBE] = on_subscribe,   [MSG_START] = on_start,
    [MSG_SIGNAL] = on_signal, [MSG_RESIZE] = on_resize,         [MSG_ATTACH] = on_attach,
    [MSG_EXEC] = on_exec,     [MSG_EXEC_STATE] = on_exec_state, [MSG_MOUNT] = on_mount,
};

static void dispatch(struct request *r)
{
    unsigned type = r->in.header.type;

    trim_when_quiet(r->mon);
    if (type < ARRAY_SIZE(handlers) && handlers[type])
        handlers[type](r);
    else
        control_reply_error(r->conn, r->in.header.serial, ERR_NOT_SUPPORTED, ENOSYS,
                            "this monitor does not know the request");
}

/* --- Connections ------------------------------------------------------------------------------- */

static void on_request(struct source *source, int fd, uint32_t revents, void *data)
{
    static char buffer[MSG_MAX];
    CLEANUP(request_done) struct request r = {.mon = ((struct conn *)data)->mon, .conn = data};
    ssize_t n;

    if (revents == EPOLLOUT) {
        catch_up(data);
        return;
    }
    n = fdpass_recv(fd, buffer, sizeof(buffer), r.fds, FDS_MAX, &r.nfds);

    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n <= 0 || msg_parse(buffer, (size_t)n, &r.in) < 0) {
        bool first = !r.mon->created && !r.mon->init;

        conn_close(data);
        if (first) /* pouchd died before it said what to do */
            loop_quit(r.mon->loop, 1);
        return;
    }
    dispatch(&r);
}

int control_add(struct mon *m, int fd)
{
    struct conn *c = xcalloc(1, sizeof(*c));
    int r;

    c->mon = m;
    c->fd = fd;
    c->next = m->conns;
    m->conns = c;
    r = loop_add_fd(m->loop, fd, EPOLLIN, on_request, c, &c->source);
    if (r < 0)
        conn_close(c);
    return r;
}

static void on_connect(struct source *source, int fd, uint32_t revents, void *data)
{
    int conn_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (conn_fd >= 0 && control_add(data, conn_fd) < 0)
        return; /* closed: the client sees that */
}

int control_listen(struct mon *m)
{
    (void)unlink(MONITOR_SOCKET); /* of the container's run before */
    (void)unlink(MONITOR_EXIT_FILE);
    m->listen_fd = fdpass_listen(AT_FDCWD, MONITOR_SOCKET, SOCK_SEQPACKET | SOCK_NONBLOCK, 0600);
    if (m->listen_fd < 0)
        return m->listen_fd;
    return loop_add_fd(m->loop, m->listen_fd, EPOLLIN, on_connect, m, NULL);
}
