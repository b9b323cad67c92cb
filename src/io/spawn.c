/* SPDX-License-Identifier: Apache-2.0 */
/*
 * posix_spawn with fds put in order. The fds to pass are first copied above every target number,
 * so that no dup2() of the list can overwrite a later one's source.
 */
#include "io/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"

#define FDS_MAX 16

struct staged {
    int fds[3 + FDS_MAX]; /* the copies */
    int targets[3 + FDS_MAX];
    size_t n;
};

static void staged_done(struct staged *s)
{
    for (size_t i = 0; i < s->n; i++)
        close(s->fds[i]);
}

/* Copies fd above all targets, for `target`. */
static int stage(struct staged *s, int fd, int target, int above)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, above);

    if (copy < 0)
        return -errno;
    s->fds[s->n] = copy;
    s->targets[s->n++] = target;
    return 0;
}

/* The number above all that the program is to have. */
static int first_unused(const struct spawn_params *p)
{
    int above = 3;

    for (size_t i = 0; i < p->nfds; i++)
        if (p->fds[i].target >= above)
            above = p->fds[i].target + 1;
    return above;
}

static int stage_all(struct staged *s, const struct spawn_params *p)
{
    int above = first_unused(p), null_fd = -1, r = 0;
    const int std[3] = {p->stdin_fd, p->stdout_fd, p->stderr_fd};

    for (int i = 0; i < 3 && r >= 0; i++) {
        if (std[i] < 0 && i == 2)
            continue;
        if (std[i] < 0 && null_fd < 0)
            null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        r = stage(s, std[i] < 0 ? null_fd : std[i], i, above);
    }
    for (size_t i = 0; i < p->nfds && r >= 0; i++)
        r = stage(s, p->fds[i].fd, p->fds[i].target, above);
    if (null_fd >= 0)
        close(null_fd);
    return r;
}

static int set_attributes(posix_spawnattr_t *attr, bool new_session)
{
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    if (new_session)
        flags |= POSIX_SPAWN_SETSID;
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    return -posix_spawnattr_setflags(attr, flags);
}

int spawn_program(const struct spawn_params *p, pid_t *ret_pid, struct error *e)
{
    CLEANUP(staged_done) struct staged staged = {.n = 0};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t pid;
    int r;

    if (p->nfds > FDS_MAX)
        return error_set(e, ERR_INTERNAL, "too many file descriptors for %s", p->argv[0]);
    r = stage_all(&staged, p);
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare the files of %s", p->argv[0]);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    for (size_t i = 0; i < staged.n && r == 0; i++)
        r = -posix_spawn_file_actions_adddup2(&actions, staged.fds[i], staged.targets[i]);
    /* Libraries may hold fds without O_CLOEXEC for a moment. The copies are above, too. */
    if (r == 0)
        r = -posix_spawn_file_actions_addclosefrom_np(&actions, first_unused(p));
    if (r == 0)
        r = set_attributes(&attr, p->new_session);
    if (r == 0 && p->program)
        r = -posix_spawn(&pid, p->program, &actions, &attr, p->argv, p->env ? p->env : environ);
    else if (r == 0)
        r = -posix_spawnp(&pid, p->argv[0], &actions, &attr, p->argv, p->env ? p->env : environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    if (r == -ENOENT)
        return error_set(e, ERR_NOT_FOUND, "cannot start %s: no such program",
                         p->program ? p->program : p->argv[0]);
    if (r < 0)
        return error_set_errno(e, r, "cannot start %s", p->program ? p->program : p->argv[0]);
    *ret_pid = pid;
    return 0;
}

int spawn_wait(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int spawn_wait_or_kill(pid_t pid, int ms)
{
    AUTOFD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    if (pidfd < 0 || poll(&p, 1, ms) != 1)
        (void)kill(pid, SIGKILL);
    return spawn_wait(pid);
}
