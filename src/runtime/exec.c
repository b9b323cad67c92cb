/* SPDX-License-Identifier: Apache-2.0 */
/* A further process in a running container: see runtime.h. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "base/str.h"
#include "runtime/runtime-priv.h"

static const struct {
    const char *name;
    int flag;
} namespaces[] = {
    {"user", CLONE_NEWUSER},     {"pid", CLONE_NEWPID},   {"mnt", CLONE_NEWNS},
    {"net", CLONE_NEWNET},       {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS},
    {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME},
};

/* Which of init's namespaces are not ours: a user namespace that is ours may not be joined. */
static int differing_namespaces(pid_t pid, int *ret, bool *ret_user, struct error *e)
{
    int flags = 0;

    for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
        char own[64], other[64];
        struct stat a, b;

        (void)snprintf(own, sizeof(own), "/proc/self/ns/%s", namespaces[i].name);
        (void)snprintf(other, sizeof(other), "/proc/%d/ns/%s", pid, namespaces[i].name);
        if (stat(own, &a) < 0)
            continue; /* not in this kernel */
        if (stat(other, &b) < 0)
            return error_set(e, ERR_CONFLICT, "the container's init (process %d) has ended", pid);
        if (a.st_ino != b.st_ino || a.st_dev != b.st_dev)
            flags |= namespaces[i].flag;
    }
    *ret_user = flags & CLONE_NEWUSER;
    *ret = flags;
    return 0;
}

/* All namespaces in one call; before Linux 5.8 one by one. */
static int join_all(pid_t pid, int pidfd, int flags, struct error *e)
{
    /* Not reaped yet: what was read of /proc/<pid> was init's, and not of who got its number. */
    if (pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno == ESRCH)
        return error_set(e, ERR_CONFLICT, "the container's init (process %d) has ended", pid);
    if (setns(pidfd, flags) == 0)
        return 0;
    if (errno != EINVAL && errno != EBADF)
        return error_set_errno(e, errno, "cannot join the namespaces of process %d", pid);
    for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
        char path[64];
        AUTOFD int fd = -EBADF;

        if (!(flags & namespaces[i].flag) || namespaces[i].flag == CLONE_NEWNS)
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, namespaces[i].name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, namespaces[i].flag) < 0)
            return error_set_errno(e, errno, "cannot join %s", path);
    }
    if (flags & CLONE_NEWNS) { /* last: the host's /proc is gone then */
        char path[64];
        AUTOFD int fd = -EBADF;

        (void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
            return error_set_errno(e, errno, "cannot join %s", path);
    }
    return 0;
}

struct exec_args {
    const struct runtime_exec *p;
    struct cgroup_join *join;
    int listener; /* connected for the process, -EBADF */
    int rdt[RDT_FDS];
    int cgroup_ns; /* entered by the process itself, -EBADF: none */
    int root;      /* of init, when its mount namespace is not its own; else -EBADF */
    int sync;
    bool userns;
    dev_t own_dev;
    ino_t own_ino;
    bool apparmor, selinux; /* the host runs them, and the process is to have a label */
};

static int set_up(const struct exec_args *a, struct process_plan *plan, struct error *e)
{
    AUTOFD int root = -EBADF;
    const struct oci_cpu_affinity *affinity = plan->process->exec_cpu_affinity;
    int console = -EBADF;
    int r = process_set_oom_score(plan, e);

    if (r < 0)
        return r;
    r = cgroup_join_fds(a->join);
    if (r < 0)
        return error_set_errno(e, r, "cannot join cgroup %s", a->p->cgroup_path);
    if (a->cgroup_ns >= 0 && setns(a->cgroup_ns, CLONE_NEWCGROUP) < 0)
        return error_set_errno(e, errno, "cannot join the container's cgroup namespace");
    if (affinity)
        r = attributes_set_affinity(affinity->final, "process.execCPUAffinity.final", e);
    if (r < 0)
        return r;
    if (a->userns && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
        return error_set_errno(e, errno, "cannot become root of the user namespace");
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (a->root >= 0 && (fchdir(a->root) < 0 || chroot(".") < 0))
        return error_set_errno(e, errno, "cannot enter the container's root");
    root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_set_errno(e, errno, "cannot open the container's root");
    r = process_prepare(plan, root, e);
    if (r == 0)
        r = process_setup_io(plan, root, &console, e);
    if (r == 0)
        r = notify_prepare(plan, a->p->spec, a->p->bundle, a->p->init_pid, e);
    return r;
}

static void exec_run(const struct exec_args *a) __attribute__((noreturn));
static void exec_run(const struct exec_args *a)
{
    const struct runtime_exec *p = a->p;
    const struct runtime_io *io = &p->io;
    struct error e = ERROR_INIT;
    struct process_plan plan = {
        .process = p->process,
        .io = &p->io,
        .seccomp_bpf = p->seccomp_bpf,
        .seccomp_len = p->seccomp_len,
        .seccomp_flags = p->seccomp_flags,
        .flags = p->flags,
        .id = p->id,
        .container = p->spec ? p->spec->linux : NULL,
        .preserve_fds = p->preserve_fds,
        .new_userns = a->userns,
        .listener = a->listener,
        .own_dev = a->own_dev,
        .own_ino = a->own_ino,
        .view_socket = p->view_socket,
        .status_fd = p->status_fd,
        .warn_fd = a->sync,
        .apparmor = a->apparmor,
        .selinux = a->selinux,
    };
    int keep[CGROUP_JOIN_MAX + 10], last[3];
    size_t n = 0;

    if (!(p->flags & RUNTIME_NO_PDEATHSIG))
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    keep[n++] = p->status_fd;
    keep[n++] = a->sync;
    keep[n++] = a->root;
    keep[n++] = a->cgroup_ns;
    keep[n++] = p->view_socket;
    keep[n++] = io->stdin_fd;
    keep[n++] = io->stdout_fd;
    keep[n++] = io->stderr_fd;
    keep[n++] = io->console_fd;
    keep[n++] = io->console_socket;
    for (size_t i = 0; i < a->join->n; i++)
        keep[n++] = a->join->fds[i];
    process_close_others(keep, n, 3 + p->preserve_fds);
    umask(0);
    if (set_up(a, &plan, &e) < 0) {
        (void)!sync_send(a->sync, SYNC_ERROR, &e, NULL, -EBADF);
        _exit(error_exit_code(e.code));
    }
    (void)!sync_send(a->sync, SYNC_READY, NULL, NULL, -EBADF);
    plan.warn_fd = -EBADF;
    last[0] = p->status_fd;
    last[1] = plan.listener;
    last[2] = p->view_socket;
    process_close_others(last, 3, 3 + p->preserve_fds);
    process_exec(&plan);
}

/* Messages until the child is ready to exec, or says why not. */
static int serve_child(int sync, pid_t pid, int listener, char ***warnings, struct error *e)
{
    for (;;) {
        struct sync_msg msg = {.type = 0};

        if (sync_recv(sync, &msg, NULL) <= 0)
            return error_set(e, ERR_CONFLICT,
                             "the process ended before it was set up (is the "
                             "container stopping, or out of memory?)");
        if (msg.type == SYNC_READY)
            return 0;
        if (msg.type == SYNC_ERROR)
            return status_to_error(&msg.status, e);
        if (msg.type == SYNC_WARNING && warnings)
            strv_push(warnings, msg.status.message);
        if (msg.type == SYNC_NEED_LISTENER) {
            int r = sync_answer(sync, (uint32_t)pid, listener, e);

            if (r < 0)
                return r;
        }
    }
}

/* In the stage, after it has joined the namespaces. */
static int start(const struct runtime_exec *p, struct exec_args *a, int cgroup, pid_t *ret_pid,
                 char ***warnings, struct error *e)
{
    AUTOFD int stage_end = -EBADF;
    AUTOFD int pidfd = -EBADF;
    int sync[2];
    pid_t pid;
    int r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    stage_end = sync[0];
    a->sync = sync[1];
    pid = process_clone(p->flags & RUNTIME_CLONE_PARENT ? CLONE_PARENT : 0, &cgroup, &pidfd);
    if (pid == 0)
        exec_run(a);
    close(sync[1]);
    if (pid < 0)
        return error_set_errno(e, pid, "cannot start a process in the container%s",
                               pid == -EAGAIN ? " (its pids limit is reached)" : "");
    r = rdt_join(a->rdt, pid);
    if (r < 0)
        r = error_set_errno(e, r, "cannot join the container's class of caches (resctrl)");
    else
        r = serve_child(stage_end, pid, a->listener, warnings, e);
    if (r < 0) {
        if (pidfd >= 0)
            (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        if (!(p->flags & RUNTIME_CLONE_PARENT))
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                continue;
        return r;
    }
    *ret_pid = pid;
    return 0;
}

static bool shares_mounts(const struct oci_spec *s)
{
    const struct oci_namespace *ns = oci_spec_namespace(s, "mount");

    return !ns || !str_is_empty(ns->path);
}

static int open_root(pid_t pid, struct error *e)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/root", pid);
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? error_set_errno(e, errno, "cannot open the container's root") : fd;
}

/* In the unified hierarchy: the container's, or where its init stands when it divides its own. */
static int open_cgroup(const struct runtime_exec *p)
{
    AUTOFREE char *place = NULL;

    if (!p->cgroup_path)
        return -EBADF;
    place = cgroup_delegated_place(p->cgroup_path, p->init_pid);
    return cgroup_open_unified(place ? place : p->cgroup_path);
}

/* What cannot be found any more from inside of the container. */
static int open_on_host(const struct runtime_exec *p, struct exec_args *a, bool cgroup_ns,
                        struct error *e)
{
    int r = notify_connect(p->seccomp_listener, p->spec, &a->listener, e);
    struct process_plan me = {.own_ino = 0};
    char path[64];

    process_note_program(&me);
    a->own_dev = me.own_dev;
    a->own_ino = me.own_ino;

    /* The namespace is entered after the cgroup: where it is a boundary (the mount option
     * nsdelegate, which systemd sets) nobody may move himself across it from inside. */
    if (r == 0 && cgroup_ns) {
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/cgroup", p->init_pid);
        a->cgroup_ns = open(path, O_RDONLY | O_CLOEXEC);
        if (a->cgroup_ns < 0)
            r = error_set_errno(e, errno, "cannot open %s", path);
    }

    if (r == 0 && p->spec && shares_mounts(p->spec)) {
        a->root = open_root(p->init_pid, e);
        r = a->root < 0 ? a->root : 0;
    }
    if (r < 0)
        return r;
    r = rdt_open_like(p->init_pid, a->rdt);
    return r < 0 ? error_set_errno(e, r, "cannot find the container's class of caches (resctrl)")
                 : 0;
}

int runtime_exec(const struct runtime_exec *p, pid_t *ret_pid, char ***warnings, struct error *e)
{
    struct cgroup_join join = {.n = 0};
    struct exec_args a = {.p = p,
                          .join = &join,
                          .listener = -EBADF,
                          .rdt = {-EBADF, -EBADF},
                          .cgroup_ns = -EBADF,
                          .root = -EBADF,
                          .sync = -EBADF};
    AUTOFD int init = p->init_pidfd > 0 ? fcntl(p->init_pidfd, F_DUPFD_CLOEXEC, 3)
                                        : (int)syscall(SYS_pidfd_open, p->init_pid, 0);
    AUTOFD int cgroup = open_cgroup(p);
    int flags = 0;
    int r = oci_process_validate(p->process, e);

    if (r == 0)
        r = process_check_labels(p->process, e);
    if (r < 0)
        return r;
    if (init < 0 && errno == ESRCH)
        return error_set(e, ERR_CONFLICT, "the container's init (process %d) has ended",
                         p->init_pid);
    a.apparmor = !str_is_empty(p->process->apparmor_profile) && process_lsm_is_on("apparmor");
    a.selinux = !str_is_empty(p->process->selinux_label) && process_lsm_is_on("selinux");
    r = differing_namespaces(p->init_pid, &flags, &a.userns, e);
    if (r == 0)
        r = open_on_host(p, &a, flags & CLONE_NEWCGROUP, e);
    flags &= ~CLONE_NEWCGROUP;
    if (r == 0 && p->cgroup_path)
        r = cgroup_join_open(p->cgroup_path, cgroup < 0, &join, e);
    /* Inherited by the process, which may be born in the cgroup and its CPU set already. */
    if (r == 0 && p->process->exec_cpu_affinity)
        r = attributes_set_affinity(p->process->exec_cpu_affinity->initial,
                                    "process.execCPUAffinity.initial", e);
    if (r == 0 && a.userns) {
        if (p->flags & RUNTIME_CLONE_PARENT) /* the streams are the monitor's own */
            userns_give_streams(&p->io, p->init_pid);
        userns_raise_limits(p->process, 0);
    }
    /* From here on the container could look at this process. */
    if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        r = error_set_errno(e, errno, "cannot become undumpable");
    if (r == 0)
        r = join_all(p->init_pid, init, flags, e);
    if (r == 0)
        r = start(p, &a, cgroup, ret_pid, warnings, e);
    cgroup_join_done(&join);
    (void)!rdt_join(a.rdt, 0);
    if (a.listener >= 0)
        close(a.listener);
    if (a.root >= 0)
        close(a.root);
    if (a.cgroup_ns >= 0)
        close(a.cgroup_ns);
    return r;
}
