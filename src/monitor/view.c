/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that answers sysinfo(2) and sched_getaffinity(2) for a container with the full view:
 * one for each such container, a child of its monitor, which gets the listener of each process
 * that the monitor starts in the container.
 *
 * A process of its own, since an answer is written into memory of the caller, and a hostile caller
 * can make that wait (a page behind a FUSE of its own): then only system calls of its own
 * container wait, and the monitor goes on. It reads nothing of the caller but the numbers of the
 * arguments. Whose memory it is cannot be confused: the memory is opened first, then the kernel is
 * asked whether the call still waits, which ties the descriptor to the caller.
 *
 * It ends with the monitor. The kernel then answers with ENOSYS, but the container ends, too.
 */
#include "monitor/monitor-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/fdpass.h"
#include "monitor/view-answer.h"
#include "sys/caps.h"

#define LOAD_NS       (5 * 1000000000LL) /* lxcfs counts every five seconds, as the kernel does */
#define LOAD_WAIT_MS  100
#define QUIET_MS      2000
#define MASK_MAX      1024
#define NOTIF_MAX     512 /* room for what later kernels add to the structs */
#define CAP_BIT(name) (UINT64_C(1) << (name))

struct view {
    struct view_source source;
    const char *loadavg;
    pid_t init;
    int epoll, children;
    int64_t loads_at;
    unsigned long loads[3];
    bool has_loads;
};

struct request {
    int listener;
    const struct seccomp_notif *req;
    struct seccomp_notif_resp *resp;
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static bool still_waits(const struct request *r)
{
    return ioctl(r->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &r->req->id) == 0;
}

/* The kernel shall answer itself, with the host's values. */
static void leave_to_kernel(struct request *r)
{
    r->resp->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    r->resp->error = 0;
    r->resp->val = 0;
}

/* Writes an answer into the caller's memory; 0 or -errno. */
static int write_caller(const struct request *r, uint64_t address, const void *data, size_t len)
{
    char path[64];
    int fd;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%u/mem", r->req->pid);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -EACCES;
    if (!still_waits(r)) { /* so that the memory may be another process's */
        close(fd);
        return -ESRCH;
    }
    n = address > INT64_MAX ? -1 : pwrite(fd, data, len, (off_t)address);
    close(fd);
    return n == (ssize_t)len ? 0 : -EFAULT;
}

/* --- The load -------------------------------------------------------------------------------------- */

static void die_with_parent(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() == 1)
        _exit(1);
}

/* lxcfs tells by who asks: the asker has to be in the container's pid namespace. */
static void ask_lxcfs(const struct view *v, int out)
{
    char path[64], text[128];
    int ns, file;
    ssize_t n;
    pid_t pid;

    die_with_parent();
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)v->init);
    ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWPID) < 0)
        _exit(1);
    pid = fork();
    if (pid != 0) {
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        _exit(0);
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the container could look at it */
    file = open(v->loadavg, O_RDONLY | O_CLOEXEC);
    n = file < 0 ? -1 : read(file, text, sizeof(text));
    if (n > 0)
        (void)!write(out, text, (size_t)n);
    _exit(0);
}

/*
 * Takes what has ended. The asker in the container's pid namespace comes to us when the process
 * between has ended, as we are its subreaper: were it left to the host's init, which may be slow
 * to reap, the container could not end before.
 */
static void on_child(const struct view *v)
{
    struct signalfd_siginfo info;

    while (read(v->children, &info, sizeof(info)) > 0)
        continue;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

/* Asked at most every five seconds; what cannot be found out soon stays as it was. */
static void update_loads(struct view *v)
{
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    struct pollfd p = {.events = POLLIN};
    char text[128];
    int fds[2];
    pid_t pid;
    ssize_t n = 0;

    if ((v->loads_at && now - v->loads_at < LOAD_NS) || !*v->loadavg)
        return;
    v->loads_at = now;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return;
    pid = fork();
    if (pid == 0)
        ask_lxcfs(v, fds[1]);
    close(fds[1]);
    p.fd = fds[0];
    if (pid > 0 && poll(&p, 1, LOAD_WAIT_MS) == 1)
        n = read(fds[0], text, sizeof(text) - 1);
    close(fds[0]);
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    if (n > 0) {
        text[n] = '\0';
        v->has_loads = view_parse_loads(text, v->loads);
    }
}

/* --- Answers --------------------------------------------------------------------------------------- */

static void answer_sysinfo(struct view *v, struct request *r)
{
    struct sysinfo si;

    if (sysinfo(&si) < 0) {
        leave_to_kernel(r);
        return;
    }
    view_fill_sysinfo(&v->source, &si, (double)clock_ns(CLOCK_BOOTTIME) / 1e9);
    update_loads(v);
    if (v->has_loads)
        memcpy(si.loads, v->loads, sizeof(si.loads));
    r->resp->error = write_caller(r, r->req->data.args[0], &si, sizeof(si));
    if (r->resp->error == -EACCES) /* not ours to write to, for example by an LSM */
        leave_to_kernel(r);
}

/* The last number of a line of /proc/<tid>/status: what the process is called where it lives. */
static long last_number(const char *text, const char *key)
{
    const char *p = strstr(text, key), *end = p ? strchr(p + 1, '\n') : NULL;

    if (!end)
        return -1;
    while (end > p && end[-1] >= '0' && end[-1] <= '9')
        end--;
    return strtol(end, NULL, 10);
}

/* The caller means itself, or the first thread of its process: its id here; 0: another process. */
static pid_t meant_thread(const struct request *r)
{
    pid_t wanted = (pid_t)r->req->data.args[0];
    char path[64], text[4096];
    ssize_t n;
    int fd;

    if (wanted == 0)
        return (pid_t)r->req->pid;
    (void)snprintf(path, sizeof(path), "/proc/%u/status", r->req->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (last_number(text, "\nNSpid:") == wanted)
        return (pid_t)r->req->pid;
    return last_number(text, "\nNStgid:") == wanted ? (pid_t)last_number(text, "\nTgid:") : 0;
}

static void answer_affinity(struct view *v, struct request *r)
{
    _Alignas(8) unsigned char mask[MASK_MAX] = {0};
    uint64_t want = (unsigned)r->req->data.args[1];
    size_t len = want < sizeof(mask) ? (size_t)want : sizeof(mask);
    unsigned cpus = view_cpus(&v->source);
    pid_t tid = meant_thread(r);
    long n;

    if (!cpus || !tid) {
        leave_to_kernel(r);
        return;
    }
    n = syscall(SYS_sched_getaffinity, tid, len, mask);
    if (n < 0 && errno != EINVAL) {
        leave_to_kernel(r);
        return;
    }
    if (n < 0) {
        r->resp->error = -EINVAL;
        return;
    }
    view_limit_mask(mask, (size_t)n, cpus);
    r->resp->error = write_caller(r, r->req->data.args[2], mask, (size_t)n);
    r->resp->val = r->resp->error ? 0 : n;
    if (r->resp->error == -EACCES)
        leave_to_kernel(r);
}

static void serve(struct view *v, int listener)
{
    static union {
        struct seccomp_notif req;
        char room[NOTIF_MAX];
    } in;
    static union {
        struct seccomp_notif_resp resp;
        char room[NOTIF_MAX];
    } out;
    struct request r = {.listener = listener, .req = &in.req, .resp = &out.resp};

    memset(&in, 0, sizeof(in));
    memset(&out, 0, sizeof(out));
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &in.req) < 0)
        return; /* the caller was killed meanwhile */
    out.resp.id = in.req.id;
    if (in.req.pid == 0)
        leave_to_kernel(&r);
    else if (in.req.data.nr == SYS_sysinfo)
        answer_sysinfo(v, &r);
    else if (in.req.data.nr == SYS_sched_getaffinity)
        answer_affinity(v, &r);
    else
        leave_to_kernel(&r);
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &out.resp);
}

/* --- The process ----------------------------------------------------------------------------------- */

static void take_listener(const struct view *v, int sock)
{
    char text[16];
    int fd = -EBADF;
    size_t nfds = 0;
    struct epoll_event ev = {.events = EPOLLIN};

    if (fdpass_recv(sock, text, sizeof(text), &fd, 1, &nfds) <= 0 || nfds != 1)
        return;
    ev.data.fd = fd;
    if (epoll_ctl(v->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        close(fd);
}

static void run(struct view *v, int sock)
{
    struct epoll_event ev = {.events = EPOLLIN, .data = {.fd = sock}};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_SETMASK, &child, NULL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    v->children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    v->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (v->children < 0 || v->epoll < 0 || epoll_ctl(v->epoll, EPOLL_CTL_ADD, sock, &ev) < 0)
        _exit(1);
    ev.data.fd = v->children;
    if (epoll_ctl(v->epoll, EPOLL_CTL_ADD, v->children, &ev) < 0)
        _exit(1);
    for (int wait_ms = QUIET_MS;;) {
        int n = epoll_wait(v->epoll, &ev, 1, wait_ms);

        if (n == 0)
            trim_text();
        wait_ms = n == 0 ? -1 : QUIET_MS;
        if (n < 1)
            continue;
        if (ev.data.fd == v->children)
            on_child(v);
        else if (ev.data.fd == sock)
            take_listener(v, sock);
        else if (ev.events & EPOLLIN)
            serve(v, ev.data.fd);
        else
            close(ev.data.fd); /* its last process has ended */
    }
}

/* What it takes to write into memory of another user, and to ask lxcfs; no more. */
static void drop_rights(void)
{
    uint64_t keep = CAP_BIT(19 /* SYS_PTRACE */) | CAP_BIT(1 /* DAC_OVERRIDE */) |
                    CAP_BIT(21 /* SYS_ADMIN */);
    struct caps_sets have;

    if (caps_get(&have) == 0)
        (void)!caps_set(have.effective & keep, have.permitted & keep, 0);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void keep_only(int fd)
{
    if (fd > 3)
        (void)syscall(SYS_close_range, 3, (unsigned)fd - 1, 0);
    (void)syscall(SYS_close_range, (unsigned)fd + 1, ~0u, 0);
}

int view_prepare(struct mon *m)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    m->view_server = fds[0];
    m->view_socket = fds[1];
    return 0;
}

void view_start(struct mon *m)
{
    static struct view v;
    pid_t monitor = getpid(), pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() != monitor)
            _exit(1);
        (void)prctl(PR_SET_NAME, "pouch-view");
        keep_only(m->view_server);
        view_source_init(&v.source, m->cgroup_path, m->init->pid);
        v.loadavg = m->view_loadavg;
        v.init = m->init->pid;
        drop_rights();
        run(&v, m->view_server);
    }
    close(m->view_server);
    m->view_server = 0;
    m->view_pid = pid > 0 ? pid : 0;
}

void view_ended(struct mon *m)
{
    m->view_pid = 0;
    close(m->view_socket);
    m->view_socket = 0;
    if (m->init && m->init->state != SESSION_EXITED && view_prepare(m) == 0)
        view_start(m);
}
