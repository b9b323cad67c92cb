/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: one process with its stdio, from the stage that makes it to its exit code.
 *
 *   CREATING ─stage's message─▶ GATE (container) ─START─▶ STARTING ─status pipe closed─▶ RUNNING
 *                            └▶ STARTING (exec) ┘                                          │
 *            EXITED ◀── reaped: status read, output drained, told, attachers let go ◀──────┘
 */
#include "monitor/monitor-priv.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/time.h"
#include "io/fdpass.h"
#include "io/pty.h"

#define EXIT_START_FAILED 128 /* what Docker gives when the runtime failed */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -EBADF;
}

static struct session *session_new(struct mon *m, const char *id, bool tty)
{
    struct session *s = xcalloc(1, sizeof(*s));

    assert(strlen(id) <= MONITOR_ID_MAX);
    s->mon = m;
    strcpy(s->id, id);
    s->tty = tty;
    s->stdin_fd = s->gate_fd = s->status_fd = s->stage_fd = s->console_fd = -EBADF;
    s->out[0].fd = s->out[1].fd = -EBADF;
    s->next = m->sessions;
    m->sessions = s;
    return s;
}

static void session_free(struct session *s)
{
    struct session **p = &s->mon->sessions;

    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    while (s->attachers)
        attacher_free(s->attachers);
    stream_close_input(s);
    for (size_t i = 0; i < ARRAY_SIZE(s->out); i++) {
        source_free(s->out[i].source);
        close_fd(&s->out[i].fd);
    }
    source_free(s->status_source);
    source_free(s->stage_source);
    close_fd(&s->gate_fd);
    close_fd(&s->status_fd);
    close_fd(&s->stage_fd);
    source_free(s->console_source);
    close_fd(&s->console_fd);
    log_writer_close(s->log);
    free(s);
}

struct session *session_find(struct mon *m, const char *exec_id)
{
    for (struct session *s = m->sessions; s; s = s->next)
        if (strcmp(s->id, exec_id) == 0)
            return s;
    return NULL;
}

void session_forget_conn(struct mon *m, struct conn *c)
{
    for (struct session *s = m->sessions; s; s = s->next)
        if (s->waiter == c)
            s->waiter = NULL;
}

/* --- Stdio ------------------------------------------------------------------------------------- */

/* The ends that the new process gets. */
struct child_fds {
    struct stage_child_io io;
};

static void child_fds_done(struct child_fds *c)
{
    close_fd(&c->io.io.stdin_fd);
    close_fd(&c->io.io.stdout_fd);
    close_fd(&c->io.io.stderr_fd);
    close_fd(&c->io.io.console_socket);
    close_fd(&c->io.gate_fd);
    close_fd(&c->io.status_fd);
}

static int set_nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* A pipe, of which our end (0: read, 1: write) does not block. */
static int make_pipe(int ours, int *ret_ours, int *ret_theirs)
{
    int fds[2];
    int r;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = fds[ours];
    *ret_theirs = fds[!ours];
    r = set_nonblocking(fds[ours]);
    return r;
}

static int open_null(int *ret)
{
    *ret = open("/dev/null", O_RDWR | O_CLOEXEC);
    return *ret < 0 ? -errno : 0;
}

/* A terminal's master: it is output and, by a second descriptor (epoll takes each only once),
 * input. */
static int take_master(struct session *s, int master)
{
    int r = set_nonblocking(master);

    if (r == 0)
        r = stream_add(&s->out[0], s, master, LOG_STDOUT);
    if (r < 0) {
        close_fd(&master);
        s->out[0].fd = -EBADF;
        return r;
    }
    if (s == s->mon->init)
        rich_hold_terminal(s->mon, master);
    if (s->rows && s->cols)
        (void)pty_resize(master, s->rows, s->cols);
    if (s->has_stdin)
        s->stdin_fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
    attacher_resume_all(s);
    return 0;
}

/* The new process made its terminal, or died before. */
static void read_console(struct session *s)
{
    int master = -EBADF;
    char text[64];
    size_t nfds = 0;
    ssize_t n;

    if (s->console_fd < 0)
        return;
    n = fdpass_recv(s->console_fd, text, sizeof(text), &master, 1, &nfds);
    if (n == -EAGAIN || n == -EINTR)
        return;
    source_free(take_ptr(s->console_source));
    close_fd(&s->console_fd);
    if (n > 0 && nfds == 1 && take_master(s, master) < 0)
        s->has_stdin = false;
}

static void on_console(struct source *source, int fd, uint32_t revents, void *data)
{
    read_console(data);
}

/* The terminal is made inside the container, so that it has a name there. */
static int make_terminal(struct session *s, struct stage_io *io)
{
    int fds[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    s->console_fd = fds[0];
    io->console_socket = fds[1];
    r = set_nonblocking(fds[0]);
    return r < 0 ? r
                 : loop_add_fd(s->mon->loop, fds[0], EPOLLIN, on_console, s, &s->console_source);
}

static int make_output(struct session *s, size_t i, enum log_stream which, int *ret_theirs)
{
    int ours = -EBADF;
    int r = make_pipe(0, &ours, ret_theirs);

    if (r == 0)
        r = stream_add(&s->out[i], s, ours, which);
    if (r < 0) {
        close_fd(&ours);
        s->out[i].fd = -EBADF;
    }
    return r;
}

/* discard: nobody will ever look at the output. */
static int make_stdio(struct session *s, bool discard, struct stage_io *io)
{
    int r;

    if (s->tty)
        return make_terminal(s, io);
    if (s == s->mon->init && s->mon->rich.on)
        return rich_stdio(s, io);
    r = s->has_stdin ? make_pipe(1, &s->stdin_fd, &io->stdin_fd) : open_null(&io->stdin_fd);
    if (r == 0)
        r = discard ? open_null(&io->stdout_fd) : make_output(s, 0, LOG_STDOUT, &io->stdout_fd);
    if (r == 0)
        r = discard ? open_null(&io->stderr_fd) : make_output(s, 1, LOG_STDERR, &io->stderr_fd);
    return r;
}

/* --- The status pipe --------------------------------------------------------------------------- */

static void answer_start(struct session *s)
{
    struct msg_reply reply = {.pid = s->pid, .state = MONITOR_RUNNING};
    struct conn *c = take_ptr(s->waiter);

    if (s->status.code != ERR_NONE)
        control_reply_error(c, s->waiter_serial, (enum error_code)s->status.code, s->status.errnum,
                            s->status.message);
    else
        control_reply(c, s->waiter_serial, &reply, "");
}

/* Reads what there is: the pipe's end means that the program runs, a record that it does not. */
static void read_status(struct session *s)
{
    while (s->status_fd >= 0) {
        ssize_t n = read(s->status_fd, (char *)&s->status + s->status_len,
                         sizeof(s->status) - s->status_len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n > 0) {
            s->status_len += (size_t)n;
            if (s->status_len < sizeof(s->status))
                continue;
        }
        source_free(take_ptr(s->status_source));
        close_fd(&s->status_fd);
    }
    s->status.message[STAGE_STATUS_TEXT - 1] = '\0';
    if (s->status_len < sizeof(s->status) || s->status.code >= ERR_MAX)
        s->status.code = ERR_NONE;
    if (s->state == SESSION_STARTING && s->status.code == ERR_NONE) {
        s->state = SESSION_RUNNING;
        s->started_ns = time_now_ns();
        trim_later(s->mon);
    }
    if (s->waiter && s->state != SESSION_GATE && s->state != SESSION_CREATING)
        answer_start(s);
}

static void on_status(struct source *source, int fd, uint32_t revents, void *data)
{
    read_status(data);
}

/* --- From the stage ---------------------------------------------------------------------------- */

static void session_exited(struct session *s);

/* A process may have ended before we heard that it is ours. */
static bool take_early_exit(struct mon *m, pid_t pid, int *ret_status)
{
    for (struct early_exit **p = &m->early_exits; *p; p = &(*p)->next) {
        struct early_exit *x = *p;

        if (x->pid != pid)
            continue;
        *ret_status = x->wait_status;
        *p = x->next;
        free(x);
        return true;
    }
    return false;
}

/* "oom_kill N" of the cgroup's file. */
static uint64_t oom_kills(struct mon *m)
{
    static const char key[] = "oom_kill ";
    char text[512];
    ssize_t n = m->oom_count_fd < 0 ? 0 : pread(m->oom_count_fd, text, sizeof(text) - 1, 0);
    uint64_t value = 0;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    for (const char *p = text; (p = strstr(p, key)); p += sizeof(key) - 1) {
        if (p > text && p[-1] != '\n')
            continue;
        for (p += sizeof(key) - 1; *p >= '0' && *p <= '9'; p++)
            value = value * 10 + (uint64_t)(*p - '0');
        break;
    }
    return value;
}

static bool stages_at_work(const struct mon *m)
{
    for (const struct session *s = m->sessions; s; s = s->next)
        if (s->state == SESSION_CREATING)
            return true;
    return false;
}

/* Nobody will ask for them: their numbers may belong to other processes soon. */
static void drop_early_exits(struct mon *m)
{
    while (m->early_exits) {
        struct early_exit *x = m->early_exits;

        m->early_exits = x->next;
        free(x);
    }
}

static void on_oom(struct source *source, int fd, uint32_t revents, void *data);

static void take_created(struct mon *m, const struct msg_in *in, const struct msg_reply *r,
                         const int *fds, size_t nfds)
{
    m->cgroup_path = xstrdup(msg_string(in, 1));
    if (nfds > 0) {
        m->oom_count_fd = fds[0];
        m->oom_before = m->oom_reported = oom_kills(m);
    }
    if (nfds > 1) {
        m->oom_fd = fds[1];
        if (loop_add_fd(m->loop, m->oom_fd, r->oom_events, on_oom, m, &m->oom_source) < 0)
            close_fd(&m->oom_fd); /* then only exit.json tells */
    }
    m->created = true;
}

/* The stage failed; without a word when it died. */
static void stage_failed(struct session *s, const struct msg_in *in, struct msg_reply *r)
{
    struct mon *m = s->mon;
    struct conn *c = take_ptr(s->waiter);

    if (in)
        control_forward(c, s->waiter_serial, in, r);
    else
        control_reply_error(c, s->waiter_serial, ERR_INTERNAL, EIO,
                            "the process that makes the container died");
    if (s == m->init) {
        m->init = NULL;
        session_free(s);
        (void)unlink(MONITOR_SOCKET);
        loop_quit(m->loop, 1);
        return;
    }
    session_free(s);
    session_check_end(m);
}

static void stage_succeeded(struct session *s, const struct msg_in *in, struct msg_reply *r,
                            const int *fds, size_t nfds)
{
    struct mon *m = s->mon;
    int status;

    s->pid = r->pid;
    if (s == m->init) {
        take_created(m, in, r, fds, nfds);
        if (m->view_socket > 0)
            view_start(m);
        s->state = SESSION_GATE;
        r->state = MONITOR_GATE;
        r->monitor = getpid();
        control_forward(take_ptr(s->waiter), s->waiter_serial, in, r);
    } else {
        s->state = SESSION_STARTING;
    }
    read_status(s);
    if (take_early_exit(m, s->pid, &status)) {
        s->wait_status = status;
        session_exited(s);
    }
}

static void on_stage(struct source *source, int fd, uint32_t revents, void *data)
{
    static char buffer[MSG_MAX];
    struct session *s = data;
    struct mon *m = s->mon;
    struct msg_reply reply = {0};
    struct msg_in in;
    int fds[2];
    size_t nfds = 0;
    ssize_t n = fdpass_recv(fd, buffer, sizeof(buffer), fds, ARRAY_SIZE(fds), &nfds);
    bool ok = n > 0 && msg_parse(buffer, (size_t)n, &in) == 0 && in.header.type == MSG_REPLY;

    source_free(take_ptr(s->stage_source));
    close_fd(&s->stage_fd);
    if (ok)
        msg_fixed(&in, &reply, sizeof(reply));
    if (!ok || reply.result < 0)
        stage_failed(s, ok ? &in : NULL, &reply);
    else
        stage_succeeded(s, &in, &reply, fds, nfds);
    if (!stages_at_work(m))
        drop_early_exits(m);
}

/* Forks the stage and listens to it and to the status pipe. */
static int launch(struct session *s, struct child_fds *child, int bpf_fd, int process_fd)
{
    int r = make_pipe(0, &s->status_fd, &child->io.status_fd);

    if (r < 0)
        return r;
    r = loop_add_fd(s->mon->loop, s->status_fd, EPOLLIN, on_status, s, &s->status_source);
    if (r < 0)
        return r;
    r = stage_start(s, &child->io, bpf_fd, process_fd);
    if (r < 0)
        return r;
    return loop_add_fd(s->mon->loop, s->stage_fd, EPOLLIN, on_stage, s, &s->stage_source);
}

#define CHILD_FDS_INIT                                                                             \
    {                                                                                              \
        {                                                                                          \
            {-EBADF, -EBADF, -EBADF, -EBADF}, -EBADF, -EBADF                                       \
        }                                                                                          \
    }

int session_create(struct mon *m, const struct msg_create *p, int bpf_fd, struct conn *c,
                   uint32_t serial)
{
    CLEANUP(child_fds_done) struct child_fds child = CHILD_FDS_INIT;
    struct session *s = session_new(m, "", p->flags & CREATE_TTY);
    int r;

    m->init = s;
    s->stdin_once = p->flags & CREATE_STDIN_ONCE;
    s->waiter = c;
    s->waiter_serial = serial;
    if (m->log_path) {
        r = log_writer_open(m->log_path, p->log_max_size, p->log_max_files, &s->log);
        if (r < 0)
            return r;
    }
    s->has_stdin = p->flags & CREATE_OPEN_STDIN;
    s->rows = p->rows;
    s->cols = p->cols;
    child.io.io.view_socket = m->view_socket;
    if (p->flags & CREATE_RICH) {
        r = rich_open(m, p->flags & CREATE_RICH_EXIT_INIT);
        if (r < 0)
            return r;
    }
    r = make_stdio(s, false, &child.io.io);
    if (r < 0)
        return r;
    r = make_pipe(1, &s->gate_fd, &child.io.gate_fd);
    if (r < 0)
        return r;
    return launch(s, &child, bpf_fd, -EBADF);
}

int session_exec(struct mon *m, const char *exec_id, const struct msg_exec *p, int process_fd,
                 int bpf_fd, int client_fd, int early_fd, struct conn *c, uint32_t serial)
{
    CLEANUP(child_fds_done) struct child_fds child = CHILD_FDS_INIT;
    struct session *s = session_new(m, exec_id, p->flags & EXEC_TTY);
    int r;

    s->stdin_once = true;
    s->has_stdin = client_fd >= 0 && (p->attach_flags & MONITOR_STDIN);
    s->rows = p->rows;
    s->cols = p->cols;
    child.io.io.view_socket = m->view_socket;
    r = make_stdio(s, client_fd < 0, &child.io.io);
    if (r == 0 && client_fd >= 0) {
        r = attacher_add(s, take_fd(client_fd), take_fd(early_fd), p->attach_flags, p->keys,
                         p->nkeys);
    }
    if (r == 0)
        r = launch(s, &child, bpf_fd, process_fd);
    close_fd(&client_fd);
    close_fd(&early_fd);
    if (r < 0) {
        session_free(s);
        return r;
    }
    s->waiter = c;
    s->waiter_serial = serial;
    return 0;
}

int session_open_gate(struct session *s, struct conn *c, uint32_t serial)
{
    ssize_t n;

    if (s->state != SESSION_GATE)
        return s->state == SESSION_EXITED ? -ESRCH : -EALREADY;
    s->state = SESSION_STARTING;
    s->waiter = c;
    s->waiter_serial = serial;
    do
        n = write(s->gate_fd, "g", 1);
    while (n < 0 && errno == EINTR);
    close_fd(&s->gate_fd);
    if (s->status_fd < 0) /* it failed at the gate and has said so */
        read_status(s);
    return 0;
}

int session_resize(struct session *s, unsigned rows, unsigned cols)
{
    if (!s->tty)
        return -ENOTTY;
    s->rows = rows;
    s->cols = cols;
    if (s->console_fd >= 0) /* not made yet */
        return 0;
    return s->out[0].fd < 0 ? -ESRCH : pty_resize(s->out[0].fd, rows, cols);
}

/* --- OOM --------------------------------------------------------------------------------------- */

static void on_oom(struct source *source, int fd, uint32_t revents, void *data)
{
    struct mon *m = data;
    struct msg_event ev = {.type = MONITOR_EVENT_OOM};
    char drain[1024];
    uint64_t kills = oom_kills(m);

    (void)!lseek(fd, 0,
                 SEEK_SET); /* a cgroup file tells of the next change only once it was read */
    if (read(fd, drain, sizeof(drain)) <= 0 && errno != EAGAIN)
        source_free(take_ptr(m->oom_source));
    /* v1's eventfd tells before the kill, v2's file also of other changes. */
    if (kills == m->oom_reported && (revents & EPOLLPRI))
        return;
    m->oom_reported = kills;
    if (m->init && m->init->state != SESSION_EXITED)
        control_event(m, &ev, "", "");
}

/* --- The end ----------------------------------------------------------------------------------- */

static int exit_code_of(const struct session *s)
{
    if (s->status.code == ERR_COMMAND_NOT_FOUND || s->status.code == ERR_COMMAND_NOT_EXECUTABLE)
        return error_exit_code((enum error_code)s->status.code);
    if (s->status.code != ERR_NONE)
        return EXIT_START_FAILED;
    return WIFSIGNALED(s->wait_status) ? 128 + WTERMSIG(s->wait_status)
                                       : WEXITSTATUS(s->wait_status);
}

struct exec_exit *session_find_exit(struct mon *m, const char *exec_id)
{
    for (size_t i = 0; i < m->nexec_exits; i++)
        if (strcmp(m->exec_exits[i].id, exec_id) == 0)
            return &m->exec_exits[i];
    return NULL;
}

/* Keeps the code for who asks later; the oldest makes room. */
static void keep_exit(struct mon *m, const char *exec_id, int code)
{
    struct exec_exit *x = session_find_exit(m, exec_id);

    if (!x && m->nexec_exits < EXEC_EXITS) {
        if (m->nexec_exits % 8 == 0)
            m->exec_exits = xreallocarray(m->exec_exits, m->nexec_exits + 8,
                                          sizeof(*m->exec_exits));
        x = &m->exec_exits[m->nexec_exits++];
    } else if (!x) {
        x = &m->exec_exits[m->next_exec_exit++ % EXEC_EXITS];
    }
    strcpy(x->id, exec_id);
    x->code = code;
}

static void exec_ended(struct session *s)
{
    struct msg_event ev = {.type = MONITOR_EVENT_EXEC_EXITED,
                           .exit_code = exit_code_of(s),
                           .started_ns = s->started_ns,
                           .exited_ns = s->exited_ns,
                           .error_code = s->status.code};

    if (WIFSIGNALED(s->wait_status))
        ev.signal = WTERMSIG(s->wait_status);
    keep_exit(s->mon, s->id, ev.exit_code);
    control_event(s->mon, &ev, s->id, s->status.message);
}

/* What ran beside init and did not die with it (no pid namespace of its own). */
static void kill_execs(struct mon *m)
{
    for (struct session *s = m->sessions; s; s = s->next)
        if (s != m->init && s->pid > 0 && s->state != SESSION_EXITED)
            (void)kill(s->pid, SIGKILL);
}

static void container_ended(struct session *s)
{
    struct mon *m = s->mon;
    struct monitor_exit x = {.exit_code = exit_code_of(s),
                             .oom_killed = oom_kills(m) > m->oom_before,
                             .started_ns = s->started_ns,
                             .exited_ns = s->exited_ns,
                             .error_code = (int)s->status.code};
    struct msg_event ev = {.type = MONITOR_EVENT_EXITED};
    size_t len = strlen(s->status.message);

    if (WIFSIGNALED(s->wait_status))
        x.signal = WTERMSIG(s->wait_status);
    if (len >= sizeof(x.error))
        len = sizeof(x.error) - 1;
    memcpy(x.error, s->status.message, len);
    rich_exit(m, &x);
    if (s->log) {
        log_writer_flush(s->log);
        x.log_lost_bytes = log_writer_lost(s->log, &x.log_lost_lines, NULL);
        log_writer_close(take_ptr(s->log));
    }
    if (exit_file_write(&x) < 0)
        ev.errnum = EIO; /* pouchd may write it down itself */
    ev.exit_code = x.exit_code;
    ev.signal = x.signal;
    ev.oom_killed = x.oom_killed;
    ev.started_ns = x.started_ns;
    ev.exited_ns = x.exited_ns;
    ev.lost_bytes = x.log_lost_bytes;
    ev.lost_lines = x.log_lost_lines;
    ev.error_code = (uint32_t)x.error_code;
    control_event(m, &ev, "", x.error);
    kill_execs(m);
}

static void session_exited(struct session *s)
{
    struct mon *m = s->mon;
    struct attacher *next;

    read_status(s); /* first: it may be now that we hear of its start */
    s->exited_ns = time_now_ns();
    if (s->waiter) /* killed on its way to exec, with the pipe still held by someone */
        answer_start(s);
    read_console(s);
    stream_close_input(s);
    for (size_t i = 0; i < ARRAY_SIZE(s->out); i++)
        stream_drain(&s->out[i]);
    s->state = SESSION_EXITED;
    if (s == m->init)
        container_ended(s);
    else
        exec_ended(s);
    s->pid = 0;
    for (struct attacher *a = s->attachers; a; a = next) {
        next = a->next;
        attacher_finish(a);
    }
    session_check_end(m);
}

static void keep_early_exit(struct mon *m, pid_t pid, int status)
{
    struct early_exit *x;

    if (!stages_at_work(m))
        return;
    x = xcalloc(1, sizeof(*x));
    x->pid = pid;
    x->wait_status = status;
    x->next = m->early_exits;
    m->early_exits = x;
}

/* Gives a dead child to whom it belongs. */
static void child_ended(struct mon *m, pid_t pid, int status)
{
    if (m->mount_stage == pid) {
        m->mount_stage = 0;
        return;
    }
    if (pid == m->view_pid) {
        view_ended(m);
        return;
    }
    for (struct session *s = m->sessions; s; s = s->next) {
        if (s->pid == pid && s->state != SESSION_CREATING) {
            s->wait_status = status;
            session_exited(s);
            return;
        }
        if (s->stage_pid == pid) {
            s->stage_pid = 0;
            return;
        }
        for (struct attacher *a = s->attachers; a; a = a->next) {
            if (a->replay == pid) {
                attacher_replayed(a, WIFEXITED(status) && WEXITSTATUS(status) == 0);
                return;
            }
        }
    }
    keep_early_exit(m, pid, status);
}

void session_reap(struct mon *m)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        child_ended(m, pid, status);
}

void session_check_end(struct mon *m)
{
    struct session *next;
    bool done = m->created;

    for (struct session *s = m->sessions; s; s = next) {
        next = s->next;
        if (s->state != SESSION_EXITED || s->attachers) {
            done = false;
            continue;
        }
        if (s != m->init)
            session_free(s);
    }
    if (done)
        loop_quit(m->loop, 0);
}
