/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small init (docker run --init): pid 1 that runs the program as its child, hands signals on,
 * reaps what is left to it, and ends with the child's exit code.
 *
 * It is this process itself, after all rights were dropped: no file of the image or the host is
 * needed. It keeps nothing open but the standard streams.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/runtime-priv.h"

static void serve(pid_t child, const sigset_t *set) __attribute__((noreturn));
static void serve(pid_t child, const sigset_t *set)
{
    for (;;) {
        int sig = sigwaitinfo(set, NULL);
        int status;
        pid_t pid;

        if (sig < 0)
            continue;
        if (sig != SIGCHLD) {
            (void)kill(child, sig);
            continue;
        }
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
            if (pid == child)
                _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
}

int process_become_init(struct process_plan *plan, struct error *e)
{
    sigset_t set, old;
    pid_t child;

    sigfillset(&set);
    (void)sigprocmask(SIG_BLOCK, &set, &old);
    child = fork();
    if (child < 0) {
        int errnum = errno;

        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        return error_set_errno(e, errnum, "cannot start the program below the init process");
    }
    if (child == 0) {
        /* A group of its own in the foreground, so that the terminal's signals reach it only. */
        if (setpgid(0, 0) == 0)
            (void)tcsetpgrp(0, getpid());
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        return 0;
    }
    process_close_others(NULL, 0, 3); /* the status pipe is the child's alone */
    (void)prctl(PR_SET_NAME, "init", 0, 0, 0);
    serve(child, &set);
}
