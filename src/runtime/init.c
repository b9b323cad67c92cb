/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's first process, from clone to exec.
 *
 * It starts as a copy of the stage, inside its new namespaces, and tells the stage by messages how
 * far it is. Until the exec it cannot be traced or read by anything in the container (it is not
 * dumpable), and all descriptors that it does not need are closed first of all.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

static void die_at_sync(int sync, const struct error *e) __attribute__((noreturn));
static void die_at_sync(int sync, const struct error *e)
{
    (void)!sync_send(sync, SYNC_ERROR, e, NULL, -EBADF);
    _exit(1);
}

static void close_unneeded(const struct init_args *a)
{
    const struct runtime_io *io = &a->p->io;
    int keep[CGROUP_JOIN_MAX + 10];
    size_t n = 0;

    keep[n++] = a->p->view_socket;
    keep[n++] = a->p->gate_fd;
    keep[n++] = a->p->status_fd;
    keep[n++] = a->sync;
    keep[n++] = io->stdin_fd;
    keep[n++] = io->stdout_fd;
    keep[n++] = io->stderr_fd;
    keep[n++] = io->console_fd;
    keep[n++] = io->console_socket;
    for (size_t i = 0; i < a->join->n; i++)
        keep[n++] = a->join->fds[i];
    process_close_others(keep, n, 3 + a->p->preserve_fds);
}

/* Namespaces of the specification that have a path; pid and user were entered by the stage. */
static int join_namespaces(const struct oci_linux *l, struct error *e)
{
    const struct oci_namespace *ns = l->namespaces.items;
    int fds[NAMESPACES_MAX];
    int r = 0;

    /* All are opened first: another mount namespace may show other files by these names. */
    for (size_t i = 0; i < l->namespaces.len && i < NAMESPACES_MAX; i++)
        fds[i] = -EBADF;
    for (size_t i = 0; i < l->namespaces.len && i < NAMESPACES_MAX && r == 0; i++) {
        if (str_is_empty(ns[i].path) || STREQ(ns[i].type, "pid") || STREQ(ns[i].type, "user"))
            continue;
        fds[i] = open(ns[i].path, O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0)
            r = error_set_errno(e, errno, "cannot open %s namespace %s", ns[i].type, ns[i].path);
    }
    for (size_t i = 0; i < l->namespaces.len && i < NAMESPACES_MAX && r == 0; i++) {
        if (fds[i] < 0 || setns(fds[i], (int)namespace_flag(ns[i].type)) == 0)
            continue;
        r = error_set_errno(e, errno, "cannot join %s namespace %s%s", ns[i].type, ns[i].path,
                            errno == EINVAL ? " (is it of another type?)" : "");
    }
    for (size_t i = 0; i < l->namespaces.len && i < NAMESPACES_MAX; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return r;
}

/* Clocks are set while nobody is in the namespace; then this process enters it, through the host's
 * /proc, which is still there. */
static int enter_time_namespace(const struct oci_linux *l, struct error *e)
{
    const struct oci_time_offset *t = l->time_offsets.items;
    AUTO(buf) struct buf text = BUF_INIT(1024);
    AUTOFD int fd = -EBADF;
    int r = 0;

    if (unshare(CLONE_NEWTIME) < 0)
        return error_set_errno(e, errno, "cannot make a time namespace%s",
                               errno == EINVAL ? " (Linux 5.6 has them)" : "");
    for (size_t i = 0; i < l->time_offsets.len; i++)
        (void)buf_printf(&text, "%s %" PRId64 " %" PRIu64 "\n", t[i].key, t[i].secs, t[i].nanosecs);
    if (text.len)
        r = fs_write_existing(AT_FDCWD, "/proc/self/timens_offsets", buf_str(&text));
    if (r < 0)
        return error_set_errno(e, r, "cannot set the clocks of the time namespace%s",
                               r == -ERANGE ? " (linux.timeOffsets: a clock would be negative)"
                                            : "");
    fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWTIME) < 0)
        return error_set_errno(e, errno, "cannot enter the time namespace");
    return 0;
}

/* Also a container without a network has its loopback. */
static void loopback_up(void)
{
    AUTOFD int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

    if (sock >= 0)
        (void)ioctl(sock, SIOCSIFFLAGS, &ifr);
}

static int set_names(const struct oci_spec *s, struct error *e)
{
    if (!str_is_empty(s->hostname) && sethostname(s->hostname, strlen(s->hostname)) < 0)
        return error_set_errno(e, errno, "cannot set the host name \"%s\"", s->hostname);
    if (!str_is_empty(s->domainname) && setdomainname(s->domainname, strlen(s->domainname)) < 0)
        return error_set_errno(e, errno, "cannot set the domain name \"%s\"", s->domainname);
    return 0;
}

/* Namespaces, cgroup, id maps: what makes this process the container's. */
static int become(const struct init_args *a, struct process_plan *plan, struct rootfs *r,
                  struct error *e)
{
    const struct oci_linux *l = a->p->spec->linux;
    int err = cgroup_join_fds(a->join);

    if (err < 0)
        return error_set_errno(e, err, "cannot join cgroup %s", a->cgroup_path);
    if (a->p->place)
        err = sync_ask(a->sync, SYNC_NEED_PLACE, NULL, NULL, e);
    if (err < 0)
        return err;
    if (a->unshared & CLONE_NEWCGROUP && unshare(CLONE_NEWCGROUP) < 0)
        return error_set_errno(e, errno, "cannot make a cgroup namespace");
    err = process_set_oom_score(plan, e);
    if (err == 0)
        err = join_namespaces(l, e);
    if (err == 0 && a->unshared & CLONE_NEWTIME)
        err = enter_time_namespace(l, e);
    if (err == 0 && r->userns)
        err = sync_ask(a->sync, SYNC_NEED_MAPS, NULL, &r->root_mount, e);
    if (err == 0)
        err = rootfs_open(r, e);
    if (err < 0)
        return err;
    if (r->userns) {
        if (setresgid(0, 0, 0) < 0 || (setgroups(0, NULL) < 0 && errno != EPERM) ||
            setresuid(0, 0, 0) < 0)
            return error_set_errno(e, errno, "cannot become root of the user namespace");
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
            return error_set_errno(e, errno, "cannot become undumpable");
    }
    if (a->unshared & CLONE_NEWNET)
        loopback_up();
    return set_names(a->p->spec, e);
}

static int set_up(const struct init_args *a, struct process_plan *plan, struct rootfs *r,
                  struct error *e)
{
    const struct oci_spec *s = a->p->spec;
    int console = -EBADF;
    int err = become(a, plan, r, e);

    if (err == 0)
        err = rootfs_mount(r, e);
    if (err == 0)
        err = process_prepare(plan, r->rootfd, e);
    if (err == 0)
        err = process_setup_io(plan, r->rootfd, &console, e);
    if (err == 0)
        err = dev_console(r, console, e);
    if (err == 0 &&
        (hooks_of(s, RUNTIME_HOOK_PRESTART)->len || hooks_of(s, RUNTIME_HOOK_CREATE_RUNTIME)->len))
        err = sync_ask(a->sync, SYNC_NEED_HOOKS, NULL, NULL, e);
    if (err == 0)
        err = runtime_run_hooks(s, RUNTIME_HOOK_CREATE_CONTAINER, a->p->id, a->p->bundle, getpid(),
                                "creating", e);
    if (err == 0)
        err = notify_prepare(plan, s, a->p->bundle, 0, e);
    if (err == 0)
        err = rootfs_sysctls(r, e);
    if (err == 0 && a->p->flags & RUNTIME_FIND_PROGRAM)
        err = process_find_program(plan, r->rootfd, e);
    return err;
}

/* Until the stage has written down that this container is there nobody else could end it. */
static void wait_until_kept(int sync)
{
    struct sync_msg msg = {.type = 0};

    if (sync_recv(sync, &msg, NULL) != 1 || msg.type != SYNC_GO_ON)
        _exit(1);
    close(sync);
}

static void wait_at_gate(int gate)
{
    char byte;
    ssize_t n;

    do
        n = read(gate, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        _exit(1); /* nobody wants this container any more */
    close(gate);
}

void init_run(const struct init_args *a)
{
    const struct runtime_create *p = a->p;
    const struct oci_namespace *user = oci_spec_namespace(p->spec, "user");
    struct error e = ERROR_INIT;
    struct process_plan plan = {
        .process = p->spec->process,
        .io = &p->io,
        .seccomp_bpf = p->seccomp_bpf,
        .seccomp_len = p->seccomp_len,
        .seccomp_flags = p->seccomp_flags,
        .flags = p->flags,
        .id = p->id,
        .container = p->spec->linux,
        .preserve_fds = p->preserve_fds,
        .new_userns = user != NULL,
        .listener = p->seccomp_listener > 0 ? p->seccomp_listener : -EBADF,
        .view_socket = p->view_socket,
        .status_fd = p->status_fd,
        .warn_fd = a->sync,
        .create_cwd = true,
        .apparmor = !str_is_empty(p->spec->process->apparmor_profile) &&
                    process_lsm_is_on("apparmor"),
        .selinux = !str_is_empty(p->spec->process->selinux_label) && process_lsm_is_on("selinux"),
        .mini_init = p->spec->pouch && p->spec->pouch->init,
    };
    struct rootfs r = {
        .p = p,
        .cgroup_path = a->cgroup_path,
        .delegated = a->delegated,
        .plan = &plan,
        .rootfd = -EBADF,
        .procfd = -EBADF,
        .root_mount = -EBADF,
        .sync = a->sync,
        .rootless = a->rootless,
        .shared_mounts = !(a->unshared & CLONE_NEWNS),
        .userns = user != NULL,
    };
    int keep[5] = {p->gate_fd, p->status_fd, p->view_socket, -EBADF, -EBADF};
    bool late = p->spec->pouch && p->spec->pouch->gate_after_pivot;

    if (!(p->flags & RUNTIME_NO_PDEATHSIG))
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* An ordinary user could not write the maps of a process he may not look at: then later. */
    if (!a->rootless)
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    close_unneeded(a);
    umask(0);
    process_note_program(&plan);
    if (set_up(a, &plan, &r, &e) < 0)
        die_at_sync(a->sync, &e);
    /* Leaving the host's root costs a grace period of RCU: it passes while others set up the
     * network, unless processes are to run in here before. What fails from here on is told by the
     * status pipe. */
    if (!late) {
        (void)!sync_send(a->sync, SYNC_READY, NULL, NULL, -EBADF);
        plan.warn_fd = -EBADF;
    }
    if (rootfs_enter(&r, &e) < 0) {
        if (late)
            die_at_sync(a->sync, &e);
        process_die(p->status_fd, &e);
    }
    if (late)
        (void)!sync_send(a->sync, SYNC_READY, NULL, NULL, -EBADF);
    plan.warn_fd = -EBADF;
    keep[3] = plan.listener;
    if (p->flags & RUNTIME_UNTIL_KEPT)
        keep[4] = a->sync;
    /* Nothing of the host may be reachable from here on. */
    process_close_others(keep, 5, 3 + p->preserve_fds);
    /* From here on others may enter the container: exec looks for this name. */
    (void)prctl(PR_SET_NAME, RUNTIME_AT_GATE, 0, 0, 0);
    if (p->flags & RUNTIME_UNTIL_KEPT)
        wait_until_kept(a->sync);
    wait_at_gate(p->gate_fd);
    if (runtime_run_hooks(p->spec, RUNTIME_HOOK_START_CONTAINER, p->id, p->bundle, getpid(),
                          "created", &e) < 0)
        process_die(p->status_fd, &e);
    process_exec(&plan);
}
