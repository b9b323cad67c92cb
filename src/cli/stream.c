/* SPDX-License-Identifier: Apache-2.0 */
/* Attached sessions: see stream.h. */
#include "cli/stream.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/time.h"

#define PIECE         (32 << 10)
#define RECONNECT_NS  (10 * NSEC_PER_SEC)
#define RECONNECT_MS  50
#define INPUT_PENDING (64 << 10) /* input that the container has not taken yet */

/* --- The terminal ------------------------------------------------------------------------ */

static struct termios saved_termios;
static bool is_raw;

static void terminal_restore(void)
{
    if (is_raw)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_termios);
    is_raw = false;
}

static void terminal_raw(void)
{
    struct termios t;

    if (is_raw || tcgetattr(STDIN_FILENO, &saved_termios) < 0)
        return;
    (void)atexit(terminal_restore);
    t = saved_termios;
    cfmakeraw(&t);
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0)
        is_raw = true;
}

bool terminal_size(unsigned *ret_rows, unsigned *ret_columns)
{
    struct winsize ws;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 || !ws.ws_row || !ws.ws_col)
        return false;
    *ret_rows = ws.ws_row;
    *ret_columns = ws.ws_col;
    return true;
}

/* --- Signals ----------------------------------------------------------------------------- */

static bool holding;

/* All that can be sent to a container, except those that concern this process alone. */
static void held_signals(sigset_t *set)
{
    static const int own[] = {SIGCHLD, SIGPIPE, SIGURG, SIGSEGV, SIGBUS,  SIGILL,
                              SIGFPE,  SIGTRAP, SIGSYS, SIGABRT, SIGKILL, SIGSTOP};

    (void)sigfillset(set);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        (void)sigdelset(set, own[i]);
}

void session_hold_signals(void)
{
    sigset_t set;

    if (holding)
        return;
    held_signals(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    holding = true;
}

/* Ends or stops this process as the signal would have done, with the terminal in order. */
static void take_signal(int sig)
{
    sigset_t set;
    bool raw = is_raw;

    terminal_restore();
    (void)signal(sig, SIG_DFL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, sig);
    (void)raise(sig);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    /* Still here: it was a stop (and a continue) or a signal without effect. */
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    if (raw)
        terminal_raw();
}

/* --- The loop ---------------------------------------------------------------------------- */

enum { POLL_CONN, POLL_SIGNAL, POLL_STDIN, POLL_START, POLL_WAIT, POLL_COUNT };

struct loop {
    struct session *s;
    struct demux demux;
    struct detach_scan scan;
    struct buf input; /* towards the container */
    int signal_fd;
    bool stdin_open, write_open;
    bool stream_ended, start_pending, wait_pending;
    struct http_conn *wait;  /* s->wait, or one that replaced it */
    int64_t reconnect_until; /* the daemon went away: wait is to be asked again; 0: no */
    int early[3];            /* signals that came while the start was pending */
    size_t early_len;
};

static void resize(struct loop *l)
{
    unsigned rows, columns;

    if (!l->s->tty || !l->s->kind || !terminal_size(&rows, &columns))
        return;
    for (unsigned more = l->s->redraw ? 1 : 0;; more--) {
        struct url u CLEANUP(url_done) = URL_INIT;

        url_set(&u, l->s->kind, l->s->id, "/resize");
        url_add_int(&u, "h", rows + more);
        url_add_int(&u, "w", columns + more);
        (void)!api_call(l->s->cli, "POST", &u, NULL, NULL, NULL);
        if (!more)
            break;
    }
    l->s->redraw = false;
}

static void forward_signal(struct loop *l, int sig)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/containers/", l->s->id, "/kill");
    if (sig >= SIGRTMIN && sig <= SIGRTMAX)
        url_add_int(&u, "signal", sig);
    else
        url_add(&u, "signal", sigabbrev_np(sig));
    (void)!api_call(l->s->cli, "POST", &u, NULL, NULL, NULL);
}

static void on_signal(struct loop *l)
{
    struct signalfd_siginfo info;
    int sig;

    if (read(l->signal_fd, &info, sizeof info) != sizeof info)
        return;
    sig = (int)info.ssi_signo;
    if (sig == SIGWINCH && l->s->tty)
        resize(l);
    else if (l->s->proxy_signals && !l->start_pending)
        forward_signal(l, sig);
    else if (l->s->proxy_signals && l->early_len < 3) /* who insists ends this program */
        l->early[l->early_len++] = sig;
    else if (sig != SIGWINCH)
        take_signal(sig);
}

static int write_out(int fd, const char *data, size_t len, void *user)
{
    return fs_write_all(fd, data, len);
}

/* Output of the container. 1: more may wait. */
static int on_output(struct loop *l, struct error *e)
{
    static char data[PIECE];
    ssize_t n = http_conn_raw_read(l->s->conn, data, sizeof data);
    int r;

    if (n == -EAGAIN)
        return 0;
    if (n == -ECONNRESET || n == 0) {
        l->stream_ended = true;
        return 0;
    }
    if (n < 0)
        return error_set_errno(e, (int)n, "reading the container's output failed");
    if (l->s->multiplexed)
        r = demux_feed(&l->demux, data, (size_t)n, write_out, NULL);
    else
        r = write_out(STDOUT_FILENO, data, (size_t)n, NULL);
    if (r == -EPIPE) { /* nobody reads our output: end as a program in a pipe does */
        terminal_restore();
        (void)signal(SIGPIPE, SIG_DFL);
        (void)raise(SIGPIPE);
    }
    if (r == -EPROTO)
        return error_set(e, ERR_INTERNAL, "the daemon's output stream is malformed");
    return r < 0 ? error_set_errno(e, r, "writing the container's output failed") : 1;
}

static void close_input(struct loop *l)
{
    if (l->write_open && !l->input.len && !l->stdin_open) {
        http_conn_shutdown_write(l->s->conn);
        l->write_open = false;
    }
}

/* Sends what waits; what does not go now goes when the connection is writable again. */
static void flush_input(struct loop *l)
{
    while (l->input.len && l->write_open) {
        ssize_t n = http_conn_raw_write_some(l->s->conn, l->input.data, l->input.len);

        if (n == -EAGAIN)
            return;
        if (n == -EINTR)
            continue;
        if (n < 0) { /* the container takes no input any more */
            l->write_open = l->stdin_open = false;
            buf_clear(&l->input);
            return;
        }
        buf_consume(&l->input, (size_t)n);
    }
    close_input(l);
}

static void on_stdin(struct loop *l)
{
    static char data[PIECE];
    ssize_t n = read(STDIN_FILENO, data, sizeof data);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0)
        l->stdin_open = false;
    else if (detach_scan(&l->scan, data, (size_t)n, &l->input))
        l->s->detached = true;
    flush_input(l);
}

static int on_start(struct loop *l, struct error *e)
{
    struct http_response res = {0};
    int r = api_recv(l->s->cli, l->s->start, &res, e);

    http_response_done(&res);
    l->start_pending = false;
    if (r < 0)
        return r;
    resize(l);
    for (size_t i = 0; i < l->early_len; i++)
        forward_signal(l, l->early[i]);
    return 0;
}

static void on_wait(struct loop *l)
{
    AUTO(buf) struct buf body = BUF_INIT(64 << 10);
    AUTOPTR(json_value) struct json_value *v = NULL;
    const char *message;

    l->wait_pending = false;
    if (http_conn_read_all(l->wait, &body, NULL) < 0 ||
        json_value_parse(buf_str(&body), body.len, &v, NULL) < 0) {
        /* The daemon went away; container and output go on. The next daemon knows the status. */
        if (!l->reconnect_until)
            l->reconnect_until = time_monotonic_ns() + RECONNECT_NS;
        return;
    }
    l->reconnect_until = 0;
    message = json_value_str(json_value_get(json_value_get(v, "Error"), "Message"));
    if (message && *message)
        l->s->wait_error = xstrdup(message);
    if (json_value_get(v, "StatusCode"))
        l->s->exit_status = (int)json_value_int(json_value_get(v, "StatusCode"));
}

/* Asks a daemon that may just be starting for the exit status. */
static void reconnect(struct loop *l)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct http_response res CLEANUP(http_response_done) = {0};
    struct url u CLEANUP(url_done) = URL_INIT;
    struct http_conn *c = NULL;

    url_set(&u, "/containers/", l->s->id, "/wait");
    url_add(&u, "condition", l->s->wait_condition);
    if (api_open(l->s->cli, "POST", &u, NULL, false, &c, &res, &e) == 0) {
        if (l->wait != l->s->wait)
            http_conn_free(l->wait);
        l->wait = c;
        l->wait_pending = true;
    } else if (str_has_prefix(error_message(&e), "Error response") ||
               time_monotonic_ns() > l->reconnect_until) {
        l->reconnect_until = 0;
        l->s->wait_error = xasprintf("error waiting for container: %s", error_message(&e));
    }
}

static bool is_over(const struct loop *l)
{
    return l->s->detached ||
           (l->stream_ended && !l->wait_pending && !l->start_pending && !l->reconnect_until);
}

static void set_up_poll(const struct loop *l, struct pollfd p[POLL_COUNT])
{
    const struct session *s = l->s;
    short conn_events = l->input.len ? POLLIN | POLLOUT : POLLIN;

    p[POLL_CONN] = (struct pollfd){l->stream_ended ? -1 : http_conn_fd(s->conn), conn_events, 0};
    p[POLL_SIGNAL] = (struct pollfd){l->signal_fd, POLLIN, 0};
    p[POLL_STDIN] = (struct pollfd){l->stdin_open && l->input.len < INPUT_PENDING ? STDIN_FILENO
                                                                                  : -1,
                                    POLLIN, 0};
    p[POLL_START] = (struct pollfd){l->start_pending ? http_conn_fd(s->start) : -1, POLLIN, 0};
    p[POLL_WAIT] = (struct pollfd){l->wait_pending ? http_conn_fd(l->wait) : -1, POLLIN, 0};
}

/* One round: waits for something and handles it. */
static int turn(struct loop *l, struct error *e)
{
    struct session *s = l->s;
    struct pollfd p[POLL_COUNT];
    bool conn_ready = !l->stream_ended && http_conn_has_pending(s->conn);
    bool wait_ready = l->wait_pending && http_conn_has_pending(l->wait);
    int r = 0, timeout = -1;

    set_up_poll(l, p);
    if (l->reconnect_until && !l->wait_pending)
        timeout = RECONNECT_MS;
    if (conn_ready || wait_ready)
        timeout = 0;
    if (poll(p, POLL_COUNT, timeout) < 0)
        return errno == EINTR ? 0 : error_set_errno(e, errno, "poll failed");
    if (p[POLL_START].revents) {
        r = on_start(l, e);
        if (r < 0)
            return r;
    }
    if (p[POLL_SIGNAL].revents)
        on_signal(l);
    if (p[POLL_CONN].revents & POLLOUT)
        flush_input(l);
    if (conn_ready || (p[POLL_CONN].revents & (POLLIN | POLLHUP | POLLERR)))
        r = on_output(l, e);
    if (p[POLL_STDIN].revents)
        on_stdin(l);
    if (wait_ready || p[POLL_WAIT].revents)
        on_wait(l);
    if (l->reconnect_until && !l->wait_pending)
        reconnect(l);
    return r < 0 ? r : 0;
}

int session_run(struct session *s, struct error *e)
{
    struct loop l = {
        .s = s,
        .input = BUF_INIT(BUF_UNLIMITED),
        .signal_fd = -EBADF,
        .stdin_open = s->forward_stdin,
        .write_open = true,
        .start_pending = s->start != NULL,
        .wait_pending = s->wait != NULL,
        .wait = s->wait,
    };
    sigset_t set;
    int r = 0;

    s->exit_status = -1;
    session_hold_signals();
    held_signals(&set);
    l.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->tty && s->forward_stdin && isatty(STDIN_FILENO)) {
        terminal_raw();
        r = s->detach_keys ? detach_keys_parse(s->detach_keys, l.scan.keys) : 0;
        l.scan.len = r > 0 ? (size_t)r : 0;
        r = 0;
    }
    http_conn_set_nonblocking(s->conn);
    if (!l.start_pending)
        resize(&l);
    while (r == 0 && !is_over(&l))
        r = turn(&l, e);
    terminal_restore();
    if (l.signal_fd >= 0)
        (void)close(l.signal_fd);
    buf_done(&l.input);
    if (l.wait != s->wait)
        http_conn_free(l.wait);
    return r;
}

int stream_copy(struct http_conn *conn, bool multiplexed, struct error *e)
{
    static char data[PIECE];
    struct demux demux = {0};

    for (;;) {
        ssize_t n = http_conn_read(conn, data, sizeof data, e);
        int r;

        if (n <= 0)
            return (int)n;
        if (multiplexed)
            r = demux_feed(&demux, data, (size_t)n, write_out, NULL);
        else
            r = write_out(STDOUT_FILENO, data, (size_t)n, NULL);
        if (r == -EPROTO)
            return error_set(e, ERR_INTERNAL, "the daemon's output stream is malformed");
        if (r < 0)
            return error_set_errno(e, r, "writing the output failed");
    }
}
