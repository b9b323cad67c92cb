/* SPDX-License-Identifier: Apache-2.0 */
/* Starting programs from a process with threads: posix_spawn only, never fork(). */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"

/* fd of this process (any flags) → its number in the new program. */
struct spawn_fd {
    int fd;
    int target;
};

struct spawn_params {
    const char *program;        /* path; argv[0] looked up in PATH when NULL */
    char *const *argv;          /* NULL-terminated */
    char *const *env;           /* NULL: this process's environment */
    int stdin_fd;               /* negative: /dev/null */
    int stdout_fd;              /* negative: /dev/null */
    int stderr_fd;              /* negative: inherited */
    const struct spawn_fd *fds; /* more fds to pass; targets are 3 and up */
    size_t nfds;
    bool new_session; /* setsid(): terminal signals of ours do not reach it */
};

/*
 * Starts the program with an empty signal mask, default signal handlers and no other fds than
 * those named (everything else of ours is O_CLOEXEC). Fds are borrowed. ERR_NOT_FOUND when the
 * program is missing. Any thread.
 */
int spawn_program(const struct spawn_params *p, pid_t *ret_pid, struct error *e) MUST_CHECK;

/* Waits for the program's end: exit code, or 128 + signal. -errno. */
int spawn_wait(pid_t pid) MUST_CHECK;

/* The same for a program that should be ending already: after so many milliseconds it is killed. */
int spawn_wait_or_kill(pid_t pid, int ms) MUST_CHECK;
