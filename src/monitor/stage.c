/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages: forks of the monitor that do what needs memory (reading config.json, making namespaces
 * and mounts, reading logs) and end, so that the resident process stays small. A stage has the
 * signals of a fresh process, and reports with one message on a socket.
 */
#include "monitor/monitor-priv.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strv.h"
#include "base/time.h"
#include "io/fdpass.h"
#include "io/stdcopy.h"

/* Signals as a container expects to find them. */
static void reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Maps a file that came by fd; NULL when there is none. */
static const void *map_file(int fd, size_t *ret_len, struct error *e)
{
    struct stat st;
    void *p;

    *ret_len = 0;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) < 0 || st.st_size == 0)
        return NULL;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        error_set_errno(e, errno, "cannot map what pouchd sent");
        return NULL;
    }
    *ret_len = (size_t)st.st_size;
    return p;
}

static int run_driver(struct session *s, const struct stage_child_io *io, int bpf_fd,
                      int process_fd, struct stage_result *ret, struct error *e)
{
    struct mon *m = s->mon;
    size_t bpf_len, process_len;
    const void *bpf = map_file(bpf_fd, &bpf_len, e), *process;

    if (s == m->init) {
        struct stage_create p = {.id = m->id,
                                 .bundle = m->bundle,
                                 .io = io->io,
                                 .seccomp_bpf = bpf,
                                 .seccomp_len = bpf_len,
                                 .gate_fd = io->gate_fd,
                                 .status_fd = io->status_fd};

        return bpf_fd >= 0 && !bpf ? -EIO : m->driver->create(&p, ret, e);
    }
    process = map_file(process_fd, &process_len, e);
    if (!process || (bpf_fd >= 0 && !bpf))
        return e->code ? -EIO : error_set(e, ERR_INVALID, "no process to execute was given");
    struct stage_exec p = {.id = m->id,
                           .bundle = m->bundle,
                           .init_pid = m->init->pid,
                           .cgroup_path = m->cgroup_path,
                           .process_json = process,
                           .process_len = process_len,
                           .io = io->io,
                           .seccomp_bpf = bpf,
                           .seccomp_len = bpf_len,
                           .status_fd = io->status_fd};

    return m->driver->exec(&p, ret, e);
}

/* Tells the monitor; it does not answer. */
static void report(int fd, int result, const struct stage_result *res, const struct error *e)
{
    static struct msg_out out;
    int fds[2];
    size_t nfds = 0;
    struct msg_reply r = {.result = result,
                          .code = e->code,
                          .pid = res->pid,
                          .oom_events = res->oom_events};

    msg_begin(&out, MSG_REPLY, 0, &r, sizeof(r));
    (void)msg_add_string(&out, error_message(e));
    (void)msg_add_string(&out, res->cgroup_path);
    for (char **w = res->warnings; w && *w; w++)
        (void)msg_add_string(&out, *w);
    if (result == 0 && res->oom_count_fd >= 0) {
        fds[nfds++] = res->oom_count_fd;
        if (res->oom_fd >= 0)
            fds[nfds++] = res->oom_fd;
    }
    (void)!fdpass_send(fd, out.data, out.len, fds, nfds);
}

int stage_start(struct session *s, const struct stage_child_io *io, int bpf_fd, int process_fd)
{
    int fds[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    pid = fork();
    if (pid < 0) {
        close(fds[0]);
        close(fds[1]);
        return -EAGAIN;
    }
    if (pid == 0) {
        struct stage_result res = {.oom_fd = -EBADF, .oom_count_fd = -EBADF};
        struct error e = ERROR_INIT;
        int r;

        reset_signals();
        r = run_driver(s, io, bpf_fd, process_fd, &res, &e);
        /* Before anybody can start it: a program that ends at once must be seen to have started, and the pipe
         * says so when nobody has it any more. */
        (void)close(io->status_fd);
        report(fds[1], r < 0 ? r : 0, &res, &e);
        _exit(0);
    }
    close(fds[1]);
    s->stage_fd = fds[0];
    s->stage_pid = pid;
    return 0;
}

int stage_signal(struct mon *m, int sig, bool all)
{
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        reset_signals();
        (void)m->driver->signal(m->id, m->bundle, m->cgroup_path, sig, all);
        _exit(0);
    }
    return 0;
}

/* The strings of the message point into the monitor's buffer, of which the fork has a copy. */
static int run_mounts(struct mon *m, const struct msg_in *in, struct error *e)
{
    struct stage_mount list[MSG_MOUNTS_MAX];
    struct msg_mount p;

    msg_fixed(in, &p, sizeof(p));
    if (p.n > MSG_MOUNTS_MAX)
        return error_set(e, ERR_INVALID, "more than %d mounts at once", MSG_MOUNTS_MAX);
    for (size_t i = 0; i < p.n; i++)
        list[i] = (struct stage_mount){p.ops[i], msg_string(in, 3 * i), msg_string(in, 3 * i + 1),
                                       strv_split(msg_string(in, 3 * i + 2), ",", false)};
    if (!m->driver->mounts)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "mounts of a running container can be changed with the runtime \"pouch\" "
                         "only: stop it first");
    return m->driver->mounts(m->init->pid, list, p.n, e);
}

int stage_mounts(struct mon *m, int conn_fd, const struct msg_in *in)
{
    pid_t pid;

    if (m->mount_stage)
        return -EBUSY;
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        static struct msg_out out;
        struct error e = ERROR_INIT;
        struct msg_reply reply = {0};

        reset_signals();
        reply.result = run_mounts(m, in, &e);
        reply.code = e.code;
        msg_begin(&out, MSG_REPLY, in->header.serial, &reply, sizeof(reply));
        (void)msg_add_string(&out, error_message(&e));
        (void)!fdpass_send(conn_fd, out.data, out.len, NULL, 0);
        _exit(0);
    }
    m->mount_stage = pid;
    return 0;
}

/* --- Replaying the log ------------------------------------------------------------------------- */

/* Sends all of it, waiting for the client; -ETIMEDOUT when it takes nothing for long. */
static int send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (poll(&p, 1, (int)(monitor_limits.stuck_ns / NSEC_PER_MSEC)) == 0) {
            return -ETIMEDOUT;
        }
    }
    return 0;
}

static int replay(const struct attacher *a, struct log_reader *reader)
{
    bool raw = a->session->tty || (a->flags & MONITOR_RAW);
    unsigned char header[STDCOPY_HEADER];
    struct log_entry entry;
    int r;

    while ((r = log_reader_next(reader, &entry)) > 0) {
        if (!raw) {
            stdcopy_header(header, entry.stream == LOG_STDOUT ? STDCOPY_STDOUT : STDCOPY_STDERR,
                           (uint32_t)entry.len);
            r = send_all(a->fd, (const char *)header, sizeof(header));
        }
        if (r >= 0)
            r = send_all(a->fd, entry.data, entry.len);
        if (r < 0)
            break;
    }
    return r;
}

int stage_replay(struct attacher *a)
{
    struct log_reader_params p = {.tail = -1,
                                  .cancel_fd = -1,
                                  .no_stdout = !(a->flags & MONITOR_STDOUT),
                                  .no_stderr = !(a->flags & MONITOR_STDERR)};
    struct log_reader *reader;
    pid_t pid;
    /* Opened here, so that it ends exactly where the live output begins. */
    int r = log_reader_open(a->session->mon->log_path, &p, &reader, NULL);

    if (r < 0)
        return r;
    pid = fork();
    if (pid == 0) {
        reset_signals();
        _exit(replay(a, reader) < 0);
    }
    log_reader_free(reader);
    if (pid < 0)
        return -EAGAIN;
    a->replay = pid;
    return 0;
}
