/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application of a rich container, started by the container's init: with the image's user,
 * working directory, arguments and environment, whatever the init would have made of them, and
 * with its streams going to the monitor.
 *
 *   app          becomes it (systemd tells how it ended: report)
 *   app --wait   stays as its parent and tells by itself, for inits that do not
 */
#include "init/init.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "oci/spec.h"
#include "runtime/runtime-priv.h"

#define HALT_TRIES 30 /* one a second */

static int use(const char *path, int flags, int as)
{
    AUTOFD int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0) {
        say("cannot open %s: %s", path, strerror(errno));
        return -errno;
    }
    return dup2(fd, as) < 0 ? -errno : 0;
}

/* Our own session, with the container's console as its terminal. */
static int take_terminal(void)
{
    int r = 0;

    (void)setsid();
    for (int i = 0; i < 3 && r == 0; i++)
        r = use("/dev/console", O_RDWR | O_NOCTTY, i);
    /* 1 would take it from another session: that is what the init may have made of it. */
    if (r == 0 && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0 && ioctl(STDIN_FILENO, TIOCSCTTY, 1) < 0)
        say("the console is another session's terminal: %s", strerror(errno));
    return r;
}

/* stdin is opened without waiting for a writer; nobody may ever attach. */
static int take_streams(void)
{
    int r = use(RICH_INSIDE "/" RICH_STDERR, O_WRONLY, STDERR_FILENO);

    if (r == 0)
        r = use(RICH_INSIDE "/" RICH_STDOUT, O_WRONLY, STDOUT_FILENO);
    if (r == 0 && access(RICH_INSIDE "/" RICH_STDIN, F_OK) == 0)
        r = use(RICH_INSIDE "/" RICH_STDIN, O_RDONLY | O_NONBLOCK, STDIN_FILENO);
    else if (r == 0)
        r = use("/dev/null", O_RDONLY, STDIN_FILENO);
    if (r == 0 && fcntl(STDIN_FILENO, F_SETFL, 0) < 0)
        r = -errno;
    return r;
}

static int look_up(const struct app_config *c, struct process_user *ret)
{
    struct error e = ERROR_INIT;
    AUTOFD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct oci_user u = {.username = (char *)(uintptr_t)c->user, .group_names = c->groups};
    int r = root < 0 ? -errno : user_lookup(root, &u, ret, &e);

    if (r < 0)
        say("%s", e.message ? e.message : strerror(-r));
    error_done(&e);
    return r;
}

/* chdir as root first, and again as the user: either may be the one who is let in. */
static int enter(const struct app_config *c, bool last, bool *done)
{
    if (*done || chdir(c->cwd) == 0) {
        *done = true;
        return 0;
    }
    if (!last && errno == ENOENT && fs_mkdir_p(c->cwd, 0755) == 0 && chdir(c->cwd) == 0) {
        *done = true;
        return 0;
    }
    if (!last && (errno == EACCES || errno == EPERM))
        return 0;
    say("cannot enter the working directory %s: %s", c->cwd, strerror(errno));
    return -errno;
}

/* Nothing to be changed, for which a container may lack the capabilities. */
static bool is_user(const struct process_user *u)
{
    AUTOFREE gid_t *has = NULL;
    int n = getgroups(0, NULL);
    bool same = n >= 0 && (size_t)n == u->ngroups && getuid() == u->uid && getgid() == u->gid;

    if (!same || n == 0)
        return same;
    has = xcalloc((size_t)n, sizeof(*has));
    return getgroups(n, has) == n && memcmp(has, u->groups, (size_t)n * sizeof(*has)) == 0;
}

static int become_user(const struct app_config *c, const struct process_user *u)
{
    bool in_cwd = false;
    int r;

    /* So that a user who is not root may open /dev/stdout again. */
    for (int i = 0; u->uid != 0 && i < 3; i++) {
        struct stat st;

        if (fstat(i, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(i)))
            (void)!fchown(i, u->uid, (gid_t)-1);
    }
    umask(c->umask);
    r = enter(c, false, &in_cwd);
    if (r < 0)
        return r;
    if (!is_user(u) &&
        (setgroups(u->ngroups, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
         setresuid(u->uid, u->uid, u->uid) < 0)) {
        r = -errno;
        say("cannot become user %s: %s%s", c->user, strerror(-r),
            r == -EPERM ? ": a rich container's pid 1 is root and needs the capabilities SETUID "
                          "and SETGID for that"
                        : "");
        return r;
    }
    return enter(c, true, &in_cwd);
}

static void run(const struct app_config *c) __attribute__((noreturn));
static void run(const struct app_config *c)
{
    struct process_user user = {.home = NULL};
    AUTOPTR(strv) char **env = NULL;
    int r = app_env_load(&env);

    if (r < 0)
        say("cannot read the environment: %s", strerror(-r));
    if (r < 0 || look_up(c, &user) < 0 || become_user(c, &user) < 0)
        _exit(126);
    if (!env_get(env, "HOME")) {
        AUTOFREE char *home = xasprintf("HOME=%s", user.home ? user.home : "/");

        env_set(&env, home);
    }
    reset_signals();
    _exit(exec_search(c->args, env));
}

/* --- as its parent ------------------------------------------------------------------------- */

/* Waits for the child; what is sent to us goes to it. True: the init has asked for the end. */
static bool wait_for(pid_t child, bool group, int on_term, const sigset_t *set, int *ret_status)
{
    bool asked = false;

    for (;;) {
        int sig = sigwaitinfo(set, NULL);
        pid_t pid;

        if (sig < 0)
            continue;
        if (sig != SIGCHLD) {
            asked |= sig == SIGTERM || sig == SIGHUP || sig == SIGINT;
            if (sig == SIGTERM && on_term) /* what the init says to everyone, as it wants it */
                sig = on_term;
            if (!group || kill(-child, sig) < 0)
                (void)kill(child, sig);
            continue;
        }
        while ((pid = waitpid(-1, ret_status, WNOHANG)) > 0)
            if (pid == child)
                return asked;
    }
}

/* For stop: inits that do not stop services by themselves. */
static void note_pid(void)
{
    AUTOFREE char *text = xasprintf("%d\n", (int)getpid());

    (void)!fs_write_atomic(AT_FDCWD, APP_PID_FILE, text, strlen(text), 0644, FS_NO_SYNC);
}

static int stay(const struct app_config *c)
{
    sigset_t set, old;
    int status = 0;
    bool asked;
    pid_t child;

    sigfillset(&set);
    (void)sigprocmask(SIG_BLOCK, &set, &old);
    child = fork();
    if (child == 0) {
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        run(c);
    }
    if (child < 0) {
        say("cannot start the application: %s", strerror(errno));
        tell(RICH_APP_ENDED, 128, 0);
        return 128;
    }
    note_pid();
    asked = wait_for(child, false, c->stop_signal, &set, &status);
    tell(RICH_APP_ENDED, exit_code_of(status), WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    /* An init that is not ready for it yet loses the signal: it is told until it ends us. */
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    for (int i = 0; c->ends_container && !asked && i < HALT_TRIES; i++) {
        (void)kill(1, c->halt_signal);
        (void)sleep(1);
    }
    return exit_code_of(status);
}

int cmd_app(int argc, char **argv)
{
    struct app_config c;
    bool wait = argc > 1 && STREQ(argv[1], "--wait");
    int r = app_config_load(&c);

    if (r < 0) {
        say("cannot read what the application is: %s", strerror(-r));
        return 125;
    }
    if (c.fifos)
        r = c.tty ? take_terminal() : take_streams();
    if (r < 0) {
        tell(RICH_APP_ENDED, 126, 0);
        return 126;
    }
    if (wait)
        return stay(&c);
    run(&c);
}

/* --- as pid 1 ------------------------------------------------------------------------------ */

/* "-- COMMAND ARG…": the command is there to be seen; what is run is the application's file when
 * there is one (it has the user and the working directory), else the command itself. */
int cmd_reap(int argc, char **argv)
{
    struct app_config c;
    bool rich = app_config_load(&c) == 0;
    sigset_t set, old;
    int status = 0;
    pid_t child;

    if (argc < 2 && !rich)
        return 125;
    sigfillset(&set);
    (void)sigprocmask(SIG_BLOCK, &set, &old);
    child = fork();
    if (child == 0) {
        /* A group of its own in the foreground: the terminal's signals reach it only. */
        if (setpgid(0, 0) == 0)
            (void)tcsetpgrp(STDIN_FILENO, getpid());
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        if (rich)
            run(&c);
        reset_signals();
        _exit(exec_search(argv + 1, environ));
    }
    if (child < 0) {
        say("cannot start the application: %s", strerror(errno));
        return 128;
    }
    (void)setpgid(child, child);
    (void)wait_for(child, true, 0, &set, &status);
    return exit_code_of(status);
}
