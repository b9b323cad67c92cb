/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pouch-monitor with a driver for tests without root: the "container" is `sh -c` of what
 * <bundle>/config.json says; an exec's process document is a shell command too. The commands
 * "not-found" and "fail-create" stand for failures, "at-once" ends before the monitor has heard that it
 * runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/strv.h"
#include "io/fdpass.h"
#include "io/pty.h"
#include "monitor/monitor-priv.h"

static void fail(int status_fd, enum error_code code, const char *text)
{
    struct stage_status s = {.code = code, .errnum = ENOENT};

    strncpy(s.message, text, sizeof(s.message) - 1);
    (void)!write(status_fd, &s, sizeof(s));
    _exit(1);
}

/* The monitor sleeps until this process has ended: it hears of start and end together. */
static void end_at_once(void)
{
    pid_t monitor = getppid();
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

    if (self < 0)
        _exit(1);
    if (fork() == 0) {
        struct pollfd p = {.fd = dup2(self, 0), .events = POLLIN};

        (void)prctl(PR_SET_PDEATHSIG, 0);
        (void)syscall(SYS_close_range, 1u, ~0u, 0u);
        (void)poll(&p, 1, -1);
        (void)kill(monitor, SIGCONT);
        _exit(0);
    }
    (void)kill(monitor, SIGSTOP);
    _exit(9);
}

static void run(const char *command, const struct stage_io *io, int gate_fd, int status_fd)
{
    char go;

    setsid();
    if (io->console_socket >= 0) {
        int master, slave;

        if (pty_open(NULL, &master, &slave) < 0 ||
            fdpass_send(io->console_socket, "pty", 3, &master, 1) < 0)
            _exit(1);
        ioctl(slave, TIOCSCTTY, 0);
        for (int i = 0; i < 3; i++)
            dup2(slave, i);
    } else {
        dup2(io->stdin_fd, 0);
        dup2(io->stdout_fd, 1);
        dup2(io->stderr_fd, 2);
    }
    if (gate_fd >= 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (read(gate_fd, &go, 1) != 1)
            _exit(1);
    }
    if (strcmp(command, "not-found") == 0)
        fail(status_fd, ERR_COMMAND_NOT_FOUND, "exec: \"not-found\": no such file");
    if (strcmp(command, "at-once") == 0)
        end_at_once();
    execl("/bin/sh", "sh", "-c", command, NULL);
    _exit(126);
}

static int start(const char *command, const struct stage_io *io, int gate_fd, int status_fd,
                 struct stage_result *ret, struct error *e)
{
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid < 0)
        return error_set_errno(e, errno, "clone");
    if (pid == 0)
        run(command, io, gate_fd, status_fd);
    ret->pid = pid;
    return 0;
}

static int fake_create(const struct stage_create *p, struct stage_result *ret, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/config.json", p->bundle);
    AUTOFREE char *command = NULL;
    int r = fs_read_file(AT_FDCWD, path, 1 << 20, &command, NULL);

    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    if (strcmp(command, "fail-create") == 0)
        return error_set(e, ERR_INVALID, "the bundle is no good");
    if (strcmp(command, "die-in-stage") == 0)
        abort();
    strv_push(&ret->warnings, "swap limit not given");
    if (p->seccomp_len > 0)
        strv_pushf(&ret->warnings, "filter of %zu bytes", p->seccomp_len);
    ret->cgroup_path = xstrdup("/fake");
    return start(command, &p->io, p->gate_fd, p->status_fd, ret, e);
}

static int fake_exec(const struct stage_exec *p, struct stage_result *ret, struct error *e)
{
    AUTOFREE char *command = xstrndup(p->process_json, p->process_len);

    if (strcmp(command, "fail-create") == 0)
        return error_set(e, ERR_INVALID, "no such user");
    return start(command, &p->io, -EBADF, p->status_fd, ret, e);
}

static int fake_signal(const char *id, const char *bundle, const char *cgroup_path, int sig,
                       bool all)
{
    return 0;
}

/* Writes what it was told to a file beside config.json; "die" and "fail" as their names say. */
static int fake_mounts(pid_t init_pid, const struct stage_mount *mounts, size_t n, struct error *e)
{
    AUTO(buf) struct buf text = BUF_INIT(65536);

    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *options = strv_join(mounts[i].options, "|");

        if (strcmp(mounts[i].target, "die") == 0)
            abort();
        if (strcmp(mounts[i].target, "fail") == 0)
            return error_set(e, ERR_NOT_FOUND, "nothing is mounted on %s", mounts[i].target);
        (void)buf_printf(&text, "%u %s %s %s\n", mounts[i].op, mounts[i].source, mounts[i].target,
                         options);
    }
    return fs_write_atomic(AT_FDCWD, "mounts", buf_str(&text), text.len, 0600, FS_NO_SYNC);
}

static const struct monitor_driver fake = {.name = "fake",
                                           .create = fake_create,
                                           .exec = fake_exec,
                                           .signal = fake_signal,
                                           .mounts = fake_mounts};

int main(int argc, char **argv)
{
    /* By its name, since a monitor gets no environment. */
    if (argc > 1 && strncmp(argv[1], "small", 5) == 0) {
        /* "small-N": a queue of N rounds. */
        int64_t rounds = argv[1][5] ? atoi(argv[1] + 6) : 0;

        monitor_limits = (struct monitor_limits){.spill = rounds ? (rounds - 1) * IO_SIZE + 1
                                                                 : 1 << 20,
                                                 .stuck_ns = 500 * 1000000LL};
    }
    return monitor_main(argc, argv, &fake, NULL);
}
