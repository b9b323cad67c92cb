/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: the process that runs liblxc in the foreground for one container. Its network
 * namespace is the container's, its cgroup the one that the container's cgroups lie below, its
 * stdio the container's, and its exit code the container's.
 */
#include <fcntl.h>
#include <lxc/lxccontainer.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "io/fdpass.h"
#include "io/pty.h"
#include "lxc/lxc.h"
#include "sys/cgroup.h"

#define SETUP_TIMEOUT_MS 60000
#define EXIT_FAILED      128

/* --- Console ----------------------------------------------------------------------------------- */

int console_make(const char *socket, const struct oci_process *p, int *ret_slave, struct error *e)
{
    AUTOFD int conn = -EBADF;
    AUTOFD int master = -EBADF;
    int r = pty_open(NULL, &master, ret_slave);

    if (r < 0)
        return error_set_errno(e, r, "cannot open a terminal");
    if (p->console_size)
        (void)pty_resize(master, (unsigned)p->console_size->height,
                         (unsigned)p->console_size->width);
    (void)!fchown(*ret_slave, (uid_t)p->user.uid, (gid_t)-1);
    conn = fdpass_connect(AT_FDCWD, socket, SOCK_STREAM);
    r = conn < 0 ? conn : fdpass_send(conn, "/dev/ptmx", 9, &master, 1);
    return r < 0 ? error_set_errno(e, r, "cannot send the terminal to %s", socket) : 0;
}

static int take_console(const struct options *o, const struct oci_process *p, struct error *e)
{
    AUTOFD int slave = -EBADF;
    int r;

    if (!p->terminal || !o->console_socket)
        return 0;
    r = console_make(o->console_socket, p, &slave, e);
    if (r < 0)
        return r;
    (void)ioctl(slave, TIOCSCTTY, 0);
    for (int fd = 0; fd < 3; fd++)
        if (dup2(slave, fd) < 0)
            return error_set_errno(e, errno, "cannot use the terminal");
    return 0;
}

/* --- The keeper itself ------------------------------------------------------------------------- */

static int enter_network(const struct oci_spec *s, struct error *e)
{
    const struct oci_namespace *ns = oci_spec_namespace(s, "network");
    AUTOFD int fd = -EBADF;

    if (!ns)
        return 0;
    if (str_is_empty(ns->path))
        return unshare(CLONE_NEWNET) < 0
                   ? error_set_errno(e, errno, "cannot make a network namespace")
                   : 0;
    fd = open(ns->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        return error_set_errno(e, errno, "cannot join the network namespace %s", ns->path);
    return 0;
}

/* The network's, which is this process's own. LXC would write the others when /proc/sys is read-only
 * already. */
static int write_sysctls(const struct oci_spec *s, struct error *e)
{
    const struct json_map *m = &s->linux->sysctl;
    int r = 0;

    for (size_t i = 0; r == 0 && i < m->len; i++) {
        AUTOFREE char *path = xasprintf("/proc/sys/%s", m->items[i].key);

        if (!str_has_prefix(m->items[i].key, "net."))
            return error_set(e, ERR_NOT_SUPPORTED, "sysctl %s: LXC containers can have net.* only",
                             m->items[i].key);
        for (char *p = path + strlen("/proc/sys/"); *p; p++)
            if (*p == '.')
                *p = '/';
        r = fs_write_existing(AT_FDCWD, path, m->items[i].value);
        if (r < 0)
            (void)error_set_errno(e, r, "cannot set sysctl %s", m->items[i].key);
    }
    return r;
}

static int run_container(const struct options *o, const struct oci_spec *s, int *ret_code,
                         struct error *e)
{
    AUTOFREE char *log_path = state_path(o, FILE_LOG);
    struct lxc_log log = {.name = o->id,
                          .lxcpath = o->root,
                          .file = log_path,
                          .level = "ERROR",
                          .prefix = "pouch-lxc",
                          .quiet = true};
    struct lxc_container *c;
    AUTOFREE char *why = NULL;
    bool ok;
    int r;

    (void)lxc_log_init(&log);
    c = lxc_container_new(o->id, o->root);
    if (!c)
        return error_set(e, ERR_INTERNAL, "liblxc cannot make a container in %s", o->root);
    r = config_fill(c, o, s, e);
    if (r < 0)
        return r;
    c->clear_config_item(c, "lxc.signal.halt");
    (void)c->want_daemonize(c, false);
    ok = c->start(c, 0, s->process->args);
    /* The code or signal in the second byte, a signal told by 0x7f in the first. */
    *ret_code = (c->error_num >> 8 & 0xff) + ((c->error_num & 0x7f) == 0x7f ? 128 : 0);
    /* It also says so when the program ended with an error code. */
    if (ok)
        return 0;
    why = config_last_error(o);
    if (!why)
        return 0;
    return error_set(e, ERR_INTERNAL, "LXC: %s", why);
}

_Noreturn static void keep(const struct options *o, const struct oci_spec *s)
{
    AUTOFREE char *path = state_path(o, FILE_ERROR);
    struct error e = ERROR_INIT;
    int code = 0, r;

    (void)setsid();
    (void)prctl(PR_SET_NAME, "pouch-lxc");
    r = take_console(o, s->process, &e);
    /* What the caller left open is not for the container. */
    (void)close_range(3, ~0U, 0);
    if (r == 0)
        r = cgroup_join(s->linux->cgroups_path, 0, &e);
    if (r == 0)
        r = enter_network(s, &e);
    if (r == 0)
        r = write_sysctls(s, &e);
    if (r == 0)
        r = run_container(o, s, &code, &e);
    if (r < 0) {
        (void)!fs_write_atomic(AT_FDCWD, path, error_message(&e), strlen(error_message(&e)), 0600,
                               FS_NO_SYNC);
        _exit(code ? code : EXIT_FAILED);
    }
    _exit(code);
}

/* --- create's side ----------------------------------------------------------------------------- */

static int make_fifo(const struct options *o, const char *name, struct error *e)
{
    AUTOFREE char *path = state_path(o, name);

    return mkfifo(path, 0600) < 0 ? error_set_errno(e, errno, "cannot create %s", path) : 0;
}

static int failed(const struct options *o, pid_t pid, struct error *e)
{
    AUTOFREE char *path = state_path(o, FILE_ERROR);
    AUTOFREE char *text = NULL;

    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    if (fs_read_file(AT_FDCWD, path, 4096, &text, NULL) == 0)
        return error_set(e, ERR_INTERNAL, "%s", text);
    return error_set(e, ERR_INTERNAL,
                     "the container's keeper ended before the container was set up");
}

/* The hook writes one byte; or the keeper ends. */
static int wait_ready(const struct options *o, int ready, pid_t pid, struct error *e)
{
    AUTOFD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p[2] = {{.fd = ready, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    int n;

    do
        n = poll(p, pidfd < 0 ? 1 : 2, SETUP_TIMEOUT_MS);
    while (n < 0 && errno == EINTR);
    if (n > 0 && (p[0].revents & POLLIN))
        return 0;
    if (n == 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return error_set(e, ERR_TIMEOUT, "the container was not set up within %d s",
                         SETUP_TIMEOUT_MS / 1000);
    }
    return failed(o, pid, e);
}

int keeper_start(const struct options *o, const struct oci_spec *s, pid_t *ret_pid, struct error *e)
{
    AUTOFREE char *path = state_path(o, FILE_READY);
    AUTOFD int ready = -EBADF;
    int r = make_fifo(o, FILE_READY, e);
    pid_t pid;

    if (r == 0)
        r = make_fifo(o, FILE_GATE, e);
    if (r < 0)
        return r;
    /* Both ends, so that poll() does not see an end of file before the hook has come. */
    ready = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (ready < 0)
        return error_set_errno(e, errno, "cannot open %s", path);
    pid = fork();
    if (pid < 0)
        return error_set_errno(e, errno, "cannot fork");
    if (pid == 0)
        keep(o, s);
    r = wait_ready(o, ready, pid, e);
    if (r == 0)
        *ret_pid = pid;
    return r;
}

int keeper_hook(const char *dir)
{
    AUTOFREE char *ready_path = xasprintf("%s/" FILE_READY, dir);
    AUTOFREE char *gate_path = xasprintf("%s/" FILE_GATE, dir);
    AUTOFD int ready = open(ready_path, O_WRONLY | O_CLOEXEC);
    AUTOFD int gate = -EBADF;
    char go = 0;

    if (ready < 0 || write(ready, "r", 1) != 1)
        return 1;
    gate = open(gate_path, O_RDONLY | O_CLOEXEC);
    return gate >= 0 && read(gate, &go, 1) == 1 && go == 'g' ? 0 : 1;
}
