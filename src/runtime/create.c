/* SPDX-License-Identifier: Apache-2.0 */
/* The stage's side of making a container: see runtime.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

static const struct {
    const char *type;
    uint64_t flag;
} namespace_flags[] = {
    {"pid", CLONE_NEWPID},       {"network", CLONE_NEWNET}, {"mount", CLONE_NEWNS},
    {"ipc", CLONE_NEWIPC},       {"uts", CLONE_NEWUTS},     {"user", CLONE_NEWUSER},
    {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME},
};

uint64_t namespace_flag(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(namespace_flags); i++)
        if (STREQ(namespace_flags[i].type, type))
            return namespace_flags[i].flag;
    return 0;
}

char *runtime_cgroup_path(const struct oci_spec *spec, const char *id)
{
    const char *path = spec->linux ? spec->linux->cgroups_path : NULL;

    if (str_is_empty(path))
        return xasprintf("%s/%s", RUNTIME_CGROUP_PARENT, id);
    return path[0] == '/' ? xstrdup(path) : xasprintf("/%s", path);
}

static uint64_t new_namespaces(const struct oci_spec *s)
{
    uint64_t flags = 0;

    for (size_t i = 0; i < ARRAY_SIZE(namespace_flags); i++) {
        const struct oci_namespace *ns = oci_spec_namespace(s, namespace_flags[i].type);

        if (ns && str_is_empty(ns->path))
            flags |= namespace_flags[i].flag;
    }
    return flags;
}

/* A sysctl without a namespace of its own would change the host. */
static int check_sysctls(const struct oci_spec *s, struct error *e)
{
    static const char *const ipc_names[] = {"kernel.msgmax", "kernel.msgmnb",
                                            "kernel.msgmni", "kernel.sem",
                                            "kernel.shmall", "kernel.shmmax",
                                            "kernel.shmmni", "kernel.shm_rmid_forced"};
    const struct json_map *m = &s->linux->sysctl;

    for (size_t i = 0; i < m->len; i++) {
        AUTOFREE char *name = xstrdup(m->items[i].key);
        const char *need = NULL;

        for (char *p = name; *p; p++)
            *p = *p == '/' ? '.' : *p;
        if (str_has_prefix(name, "net."))
            need = "network";
        else if (str_has_prefix(name, "fs.mqueue."))
            need = "ipc";
        else if (STREQ(name, "kernel.domainname") || STREQ(name, "kernel.hostname"))
            need = "uts";
        for (size_t k = 0; !need && k < ARRAY_SIZE(ipc_names); k++)
            if (STREQ(name, ipc_names[k]))
                need = "ipc";
        if (!need || strstr(name, ".."))
            return error_set(e, ERR_INVALID, "sysctl \"%s\" is not in a separate kernel namespace",
                             m->items[i].key);
        if (!oci_spec_namespace(s, need))
            return error_set(e, ERR_INVALID,
                             "sysctl \"%s\" is not allowed in the host's %s namespace",
                             m->items[i].key, need);
    }
    return 0;
}

static int check(const struct runtime_create *p, struct error *e)
{
    int r = oci_spec_validate(p->spec, e);

    if (r < 0)
        return r;
    if (!p->spec->process)
        return error_set(e, ERR_INVALID, "process: is required");
    if (p->spec->process->terminal && p->io.console_fd < 0 && p->io.console_socket <= 0)
        return error_set(e, ERR_INVALID, "process.terminal needs a console");
    if (rootless_is() && !oci_spec_namespace(p->spec, "user"))
        return error_set(e, ERR_FORBIDDEN,
                         "without root's rights a container needs a user namespace "
                         "(pouch-oci spec --rootless writes such a config.json)");
    r = process_check_labels(p->spec->process, e);
    if (r == 0 && !str_is_empty(p->spec->linux->mount_label) && !process_lsm_is_on("selinux"))
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "linux.mountLabel \"%s\": this host does not run SELinux",
                      p->spec->linux->mount_label);
    if (r == 0)
        r = idmap_check(p->spec, e);
    return r == 0 ? check_sysctls(p->spec, e) : r;
}

/* Children of this process get the pid namespace of the path; the old one is given back. */
static int enter_pid_namespace(const struct oci_spec *s, int *ret_old, struct error *e)
{
    const struct oci_namespace *ns = oci_spec_namespace(s, "pid");
    AUTOFD int fd = -EBADF;
    AUTOFD int old = -EBADF;

    if (!ns || str_is_empty(ns->path))
        return 0;
    old = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    fd = open(ns->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || old < 0)
        return error_set_errno(e, errno, "cannot open pid namespace %s", ns->path);
    if (setns(fd, CLONE_NEWPID) < 0)
        return error_set_errno(e, errno, "cannot join pid namespace %s", ns->path);
    *ret_old = take_fd(old);
    return 0;
}

/* --- user namespace ------------------------------------------------------------------------ */

/* Maps of a new user namespace, and the root mount made with the stage's rights, its ids shifted into the namespace. */
static int answer_maps(const struct runtime_create *p, pid_t pid, int sync, struct error *e)
{
    const struct oci_linux *l = p->spec->linux;
    bool joined = !str_is_empty(oci_spec_namespace(p->spec, "user")->path);
    AUTOFD int userns = -EBADF;
    AUTOFD int root = -EBADF;
    char path[64];
    int r = 0;

    if (rootless_is()) { /* init opens the root itself: it has as much of a right to it */
        r = joined ? 0 : rootless_write_maps(pid, l, e);
        return r < 0 ? r : sync_answer(sync, 0, -EBADF, e);
    }
    r = joined ? 0 : idmap_write(pid, "uid_map", &l->uid_mappings, e);

    if (r == 0 && !joined)
        r = idmap_write(pid, "gid_map", &l->gid_mappings, e);
    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
    userns = open(path, O_RDONLY | O_CLOEXEC);
    if (userns < 0)
        return error_set_errno(e, errno, "cannot open the container's user namespace");
    if (p->flags & RUNTIME_CLONE_PARENT) /* the streams are the monitor's own */
        userns_give_streams(&p->io, pid);
    userns_raise_limits(p->spec->process, pid);
    root = rootfs_open_root(p, userns, pid, e);
    if (root < 0)
        return root;
    return sync_answer(sync, 0, root, e);
}

/* --- the talk with init -------------------------------------------------------------------- */

static int answer_hooks(const struct runtime_create *p, pid_t pid, int sync, struct error *e)
{
    int r = runtime_run_hooks(p->spec, RUNTIME_HOOK_PRESTART, p->id, p->bundle, pid, "creating", e);

    if (r == 0)
        r = runtime_run_hooks(p->spec, RUNTIME_HOOK_CREATE_RUNTIME, p->id, p->bundle, pid,
                              "creating", e);
    return r < 0 ? r : sync_answer(sync, 0, -EBADF, e);
}

static int answer_mount(const struct runtime_create *p, pid_t pid, size_t i, int sync,
                        struct error *e)
{
    AUTOFD int fd = idmap_open_mount(p, pid, i, e);

    return fd < 0 ? fd : sync_answer(sync, 0, fd, e);
}

static int answer_listener(const struct runtime_create *p, pid_t pid, int sync, struct error *e)
{
    AUTOFD int fd = -EBADF;
    int r = notify_connect(p->seccomp_listener, p->spec, &fd, e);

    return r < 0 ? r : sync_answer(sync, (uint32_t)pid, fd, e);
}

static int init_vanished(const char *cgroup_path, struct error *e)
{
    if (cgroup_oom_count(cgroup_path) > 0)
        return error_set(e, ERR_INVALID,
                         "the container's init was killed for want of memory "
                         "before it started: the memory limit is too low");
    return error_set(e, ERR_INTERNAL, "the container's init ended before it was ready");
}

/*
 * The devices every container has may be used, and nodes may be made of any: appended to the rules
 * of the specification, as runc does. *copy borrows everything but the list of rules.
 */
static const struct cgroup_resources *with_default_devices(const struct cgroup_resources *r,
                                                           struct cgroup_resources *copy)
{
    static const struct {
        const char *type;
        int major, minor;
        const char *access;
    } defaults[] = {
        {"c", -1, -1, "m"}, {"b", -1, -1, "m"},    {"c", 1, 3, "rwm"}, {"c", 1, 5, "rwm"},
        {"c", 1, 7, "rwm"}, {"c", 1, 8, "rwm"},    {"c", 1, 9, "rwm"}, {"c", 5, 0, "rwm"},
        {"c", 5, 2, "rwm"}, {"c", 136, -1, "rwm"},
    };
    struct cgroup_device *to;
    size_t n;

    if (!r || !r->devices.len)
        return r; /* nothing is forbidden */
    n = r->devices.len;
    *copy = *r;
    to = xcalloc(n + ARRAY_SIZE(defaults), sizeof(*to));
    memcpy(to, r->devices.items, n * sizeof(*to));
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
        to[n++] = (struct cgroup_device){
            .allow = true,
            .type = (char *)(uintptr_t)defaults[i].type,
            .major = {true, defaults[i].major},
            .minor = {true, defaults[i].minor},
            .access = (char *)(uintptr_t)defaults[i].access,
        };
    copy->devices = (struct json_list){to, n};
    return copy;
}

int runtime_cgroup_make(const struct oci_spec *spec, const char *path, char ***warnings,
                        struct error *e)
{
    struct cgroup_resources copy = {.devices = {NULL, 0}};
    const struct cgroup_resources *r = with_default_devices(spec->linux->resources, &copy);
    int err = cgroup_create(path, r, warnings, e);

    free(copy.devices.items);
    if (rootless_is() && (err == -EACCES || err == -EPERM || err == -EROFS)) {
        strv_pushf(
            warnings,
            "no cgroup %s without root's rights (it has to be below one that was given to this "
            "user): the container runs without limits of its own",
            path);
        error_done(e);
        return 0;
    }
    return err;
}

static int place(const struct runtime_create *p, pid_t pid, struct error *e)
{
    struct cgroup_resources copy = {.devices = {NULL, 0}};
    int r = p->place(p->place_data, pid, with_default_devices(p->spec->linux->resources, &copy), e);

    free(copy.devices.items);
    return r;
}

/* The pid that a pidfd stands for, as this process sees it. */
static pid_t pid_of_pidfd(int pidfd)
{
    AUTOFREE char *text = NULL;
    const char *at;
    char path[64];
    size_t len = 0;
    int64_t pid = -1;

    (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    if (fs_read_file(AT_FDCWD, path, 4096, &text, &len) < 0 || !(at = strstr(text, "\nPid:")))
        return -1;
    return sscanf(at + 5, "%" SCNd64, &pid) == 1 ? (pid_t)pid : -1;
}

/*
 * A child of the stage joins the user namespace and makes init there: all the other namespaces
 * are owned by the user namespace of who makes them. Init gets the stage's parent as its own, like
 * the child (CLONE_PARENT); its pid comes by its pidfd, as the child may be in another pid
 * namespace.
 */
static int clone_joined(const struct runtime_create *p, const char *userns, uint64_t flags,
                        int *cgroup, struct init_args *args, struct runtime_created *c,
                        struct error *e)
{
    uint64_t own = p->flags & RUNTIME_CLONE_PARENT;
    AUTOFD int ns = open(userns, O_RDONLY | O_CLOEXEC);
    AUTOFD int pidfd = -EBADF;
    AUTOFD int ours = -EBADF;
    struct sync_msg msg = {.type = 0};
    int sync[2], none = -EBADF;
    pid_t helper;
    int r;

    if (ns < 0)
        return error_set_errno(e, errno, "cannot open user namespace %s", userns);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    ours = sync[0];
    helper = process_clone(own ? CLONE_PARENT : 0, &none, &pidfd);
    if (helper == 0) {
        struct error why = ERROR_INIT;
        pid_t pid = -1;

        if (setns(ns, CLONE_NEWUSER) < 0) {
            (void)!error_set_errno(&why, errno, "cannot join user namespace %s", userns);
        } else {
            pid = process_clone(flags | CLONE_PARENT, cgroup, &c->pidfd);
            if (pid == 0)
                init_run(args);
            if (pid < 0)
                (void)!error_set_errno(&why, pid, "cannot clone the container's init");
        }
        (void)!sync_send(sync[1], pid < 0 ? SYNC_ERROR : SYNC_GO_ON, pid < 0 ? &why : NULL, NULL,
                         pid < 0 ? -EBADF : c->pidfd);
        _exit(0);
    }
    close(sync[1]);
    if (helper < 0)
        return error_set_errno(e, helper, "cannot clone the container's init");
    r = sync_recv(ours, &msg, &c->pidfd);
    if (!own)
        while (waitpid(helper, NULL, 0) < 0 && errno == EINTR)
            continue;
    if (r == 1 && msg.type == SYNC_ERROR)
        return status_to_error(&msg.status, e);
    c->pid = r == 1 && c->pidfd >= 0 ? pid_of_pidfd(c->pidfd) : -ESRCH;
    return c->pid > 0 ? 0 : error_set(e, ERR_INTERNAL, "the container's init has gone");
}

/* One message of init: 1 goes on, 0 it is ready. */
static int answer(const struct runtime_create *p, struct runtime_created *c,
                  const struct sync_msg *msg, int sync, struct error *e)
{
    int r = 0;

    switch (msg->type) {
    case SYNC_READY:
        return 0;
    case SYNC_ERROR:
        return status_to_error(&msg->status, e);
    case SYNC_WARNING:
        strv_push(&c->warnings, msg->status.message);
        break;
    case SYNC_NEED_MAPS:
        r = answer_maps(p, c->pid, sync, e);
        break;
    case SYNC_NEED_HOOKS:
        r = answer_hooks(p, c->pid, sync, e);
        break;
    case SYNC_NEED_PLACE:
        r = place(p, c->pid, e);
        c->placed = r == 0;
        if (r == 0 && !(p->flags & RUNTIME_KEEP_CGROUP))
            r = runtime_cgroup_make(p->spec, c->cgroup_path, &c->warnings, e);
        /* systemd has put it only where it has something to do itself. */
        if (r == 0 && cgroup_host_layout() != CGROUP_V2)
            r = cgroup_join(c->cgroup_path, c->pid, e);
        if (r == 0)
            r = sync_answer(sync, 0, -EBADF, e);
        break;
    case SYNC_NEED_LISTENER:
        r = answer_listener(p, c->pid, sync, e);
        break;
    case SYNC_NEED_MOUNT:
        r = answer_mount(p, c->pid, msg->status.code, sync, e);
        break;
    default:
        return error_set(e, ERR_INTERNAL, "init sent an unknown message");
    }
    return r < 0 ? r : 1;
}

static int serve_init(const struct runtime_create *p, struct runtime_created *c, int sync,
                      struct error *e)
{
    for (;;) {
        struct sync_msg msg = {.type = 0};
        int r = sync_recv(sync, &msg, NULL);

        if (r <= 0)
            return init_vanished(c->cgroup_path, e);
        r = answer(p, c, &msg, sync, e);
        if (r <= 0)
            return r;
    }
}

static int clone_init(const struct runtime_create *p, struct runtime_created *c, int sync[2],
                      struct error *e)
{
    const struct oci_namespace *user = oci_spec_namespace(p->spec, "user");
    struct cgroup_join join = {.n = 0};
    uint64_t unshare = new_namespaces(p->spec);
    /* The root of a cgroup namespace is where the process stands when it makes it, and the clocks of
     * a time namespace are set before it is entered: init makes these two. */
    uint64_t flags = unshare & ~(uint64_t)(CLONE_NEWCGROUP | CLONE_NEWTIME);
    struct init_args args = {
        .p = p,
        .cgroup_path = c->cgroup_path,
        .delegated = c->delegated,
        .join = &join,
        .sync = sync[1],
        .unshared = unshare,
        .rootless = rootless_is(),
    };
    const char *unified = c->delegated ? c->delegated : c->cgroup_path;
    AUTOFD int cgroup = cgroup_open_unified(unified);
    AUTOFD int old_pid_ns = -EBADF;
    int r = cgroup_join_open(c->cgroup_path, false, &join, e);

    if (r == 0)
        r = enter_pid_namespace(p->spec, &old_pid_ns, e);
    if (r < 0) {
        cgroup_join_done(&join);
        return r;
    }
    if (p->flags & RUNTIME_CLONE_PARENT)
        flags |= CLONE_PARENT;
    if (user && !str_is_empty(user->path)) {
        r = clone_joined(p, user->path, flags, &cgroup, &args, c, e);
    } else {
        c->pid = process_clone(flags, &cgroup, &c->pidfd);
        if (c->pid == 0)
            init_run(&args);
    }
    cgroup_join_done(&join);
    if (old_pid_ns >= 0)
        (void)setns(old_pid_ns, CLONE_NEWPID);
    if (r < 0)
        return r;
    if (c->pid < 0)
        return error_set_errno(e, c->pid, "cannot clone the container's init%s",
                               c->pid == -EAGAIN ? " (process limit reached?)" : "");
    if (cgroup < 0 && cgroup_exists(c->cgroup_path) && cgroup_mount_point("")) {
        char text[16];
        AUTOFREE char *file = xasprintf("%s%s/cgroup.procs", cgroup_mount_point(""), unified);

        (void)snprintf(text, sizeof(text), "%d", c->pid);
        r = fs_write_existing(AT_FDCWD, file, text);
        if (r < 0 && r != -ENOENT)
            return error_set_errno(e, r, "cannot move init into its cgroup");
    }
    return 0;
}

/* The host's id of the container's root; 0 without mappings. */
static uint64_t mapped_root(const struct json_list *mappings)
{
    const struct oci_id_mapping *m = mappings->items;

    for (size_t i = 0; i < mappings->len; i++)
        if (m[i].container_id == 0)
            return m[i].host_id;
    return 0;
}

static void kill_init(const struct runtime_create *p, struct runtime_created *c)
{
    if (c->pid <= 0)
        return;
    (void)kill(c->pid, SIGKILL);
    if (!p->place || c->placed) /* else there may be another's */
        (void)!cgroup_kill(c->cgroup_path, NULL);
    if (!(p->flags & RUNTIME_CLONE_PARENT))
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
}

int runtime_create(const struct runtime_create *p, struct runtime_created *ret, struct error *e)
{
    struct runtime_created c = {.pidfd = -EBADF, .keep_fd = -EBADF};
    AUTOFD int stage_end = -EBADF;
    bool own_cgroup = !(p->flags & RUNTIME_KEEP_CGROUP) && !p->place;
    int sync[2];
    int r = check(p, e);

    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    stage_end = sync[0];
    c.cgroup_path = p->cgroup_path ? xstrdup(p->cgroup_path) : runtime_cgroup_path(p->spec, p->id);
    r = own_cgroup ? runtime_cgroup_make(p->spec, c.cgroup_path, &c.warnings, e) : 0;
    if (r == 0 && p->spec->pouch && p->spec->pouch->cgroup_delegate) {
        r = cgroup_delegate(c.cgroup_path, (uid_t)mapped_root(&p->spec->linux->uid_mappings),
                            (gid_t)mapped_root(&p->spec->linux->gid_mappings), &c.delegated, e);
        if (r < 0 && own_cgroup)
            (void)!cgroup_remove(c.cgroup_path, NULL);
    }
    if (r < 0) {
        close(sync[1]);
        runtime_created_done(&c);
        return r;
    }
    r = clone_init(p, &c, sync, e);
    close(sync[1]);
    if (r == 0)
        r = rdt_apply(p->spec, p->id, c.pid, e);
    if (r == 0) {
        r = serve_init(p, &c, stage_end, e);
        if (r == 0)
            r = netdev_move(p->spec, c.pid, e);
        if (r < 0)
            runtime_rdt_remove(p->spec, p->id);
    }
    if (r < 0) {
        kill_init(p, &c);
        if (own_cgroup)
            (void)!cgroup_remove(c.cgroup_path, NULL);
        runtime_created_done(&c);
        return r;
    }
    if (p->flags & RUNTIME_UNTIL_KEPT)
        c.keep_fd = take_fd(stage_end);
    *ret = c;
    return 0;
}

int runtime_keep(struct runtime_created *c, int status, struct error *e)
{
    CLEANUP(error_done) struct error gone = ERROR_INIT;
    struct pollfd told = {status, POLLIN, 0};
    int r = sync_answer(c->keep_fd, 0, -EBADF, &gone);

    close(c->keep_fd);
    c->keep_fd = -EBADF;
    if (r < 0 && poll(&told, 1, 0) == 1 && told.revents & POLLIN)
        return runtime_status_read(status, e);
    if (r < 0)
        error_move(e, &gone);
    return r;
}

void runtime_created_done(struct runtime_created *c)
{
    if (c->pidfd >= 0)
        close(c->pidfd);
    if (c->keep_fd > 0)
        close(c->keep_fd);
    free(c->cgroup_path);
    free(c->delegated);
    strv_free(c->warnings);
    *c = (struct runtime_created){.pidfd = -EBADF, .keep_fd = -EBADF};
}
