/* SPDX-License-Identifier: Apache-2.0 */
/* What the container's init calls: when the application has ended, when it has stopped everything,
 * and around the scripts that start services. */
#include "init/init.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"

#define END_WAIT_MS 3000 /* for processes that nobody has stopped */

/* "TERM", "RTMIN+3" of systemd; 0: unknown. */
static int signal_number(const char *name)
{
    if (str_has_prefix(name, "RTMIN+"))
        return 34 + atoi(name + 6); /* as systemd counts: glibc's SIGRTMIN */
    if (str_has_prefix(name, "RTMAX-"))
        return 64 - atoi(name + 6);
    for (int i = 1; i < 32; i++) {
        const char *known = sigabbrev_np(i);

        if (known && STREQ(known, name))
            return i;
    }
    return atoi(name);
}

/* Is systemd at work on the unit: stopped or started anew by hand, or the whole system halting?
 * Then the end of the application is not the end of the container. */
static bool has_job(const char *unit)
{
    char *args[] = {(char *)(uintptr_t) "systemctl", (char *)(uintptr_t) "show",
                    (char *)(uintptr_t) "--property=Job", (char *)(uintptr_t)unit, NULL};
    char text[128] = "";
    int fds[2], status;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    pid = fork();
    if (pid == 0) {
        if (dup2(fds[1], STDOUT_FILENO) >= 0)
            (void)exec_search(args, environ);
        _exit(127);
    }
    close(fds[1]);
    if (pid > 0) {
        (void)!fs_read_full(fds[0], text, sizeof(text) - 1);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    close(fds[0]);
    return str_has_prefix(text, "Job=") && atoi(text + 4) > 0;
}

/* report UNIT: ExecStopPost= of the application's unit. */
int cmd_report(int argc, char **argv)
{
    const char *how = getenv("EXIT_CODE");
    const char *what = getenv("EXIT_STATUS");
    struct app_config c;
    int sig = 0;
    int code = 128; /* it could not be started at all */

    if (app_config_load(&c) < 0 || argc < 2)
        return 125;
    if (how && what && STREQ(how, "exited")) {
        code = atoi(what) & 255;
    } else if (how && what) {
        sig = signal_number(what);
        code = 128 + sig;
    }
    tell(RICH_APP_ENDED, code, sig);
    if (c.ends_container && !has_job(argv[1]))
        (void)kill(1, c.halt_signal);
    return 0;
}

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

/* stop: what an init calls first of all when it halts, where it does not know the application. */
int cmd_stop(int argc, char **argv)
{
    AUTOFREE char *text = NULL;
    pid_t pid;

    (void)argc;
    (void)argv;
    if (fs_read_file(AT_FDCWD, APP_PID_FILE, 64, &text, NULL) < 0)
        return 0;
    pid = (pid_t)atoi(text);
    if (pid <= 1 || kill(pid, SIGTERM) < 0)
        return 0;
    /* The engine kills what takes longer than its time allows. */
    while (kill(pid, 0) == 0)
        sleep_ms(5);
    return 0;
}

/*
 * halted: the last step of an init that would now call reboot(2), which it may not. What still runs
 * is asked to end and then made to; then the monitor ends pid 1.
 */
int cmd_halted(int argc, char **argv)
{
    int waited = 0;

    (void)argc;
    (void)argv;
    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    if (kill(-1, SIGTERM) == 0) {
        (void)kill(-1, SIGCONT);
        while (kill(-1, 0) == 0 && waited < END_WAIT_MS) {
            sleep_ms(10);
            waited += 10;
        }
        (void)kill(-1, SIGKILL);
    }
    tell(RICH_HALTED, 0, 0);
    return 0;
}

/*
 * watch: beside openrc-init, which has no table to name a last step in. When it has stopped its
 * services it kills everyone, calls reboot(2) in vain and stays. That this process is killed, which
 * lets go of its pipe, is the sign for the monitor.
 */
int cmd_watch(int argc, char **argv)
{
    int fd = open(RICH_INSIDE "/" RICH_ALIVE, O_WRONLY | O_CLOEXEC);
    sigset_t all;

    (void)argc;
    (void)argv;
    if (fd < 0) {
        say("cannot open %s: %s", RICH_INSIDE "/" RICH_ALIVE, strerror(errno));
        return 1;
    }
    sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    for (;;)
        (void)sigwaitinfo(&all, NULL);
}

/* env CMD ARG…: with the container's environment, as it is now. */
int cmd_env(int argc, char **argv)
{
    AUTOPTR(strv) char **env = strv_copy(environ);
    AUTOPTR(strv) char **more = NULL;

    if (argc < 2)
        return 125;
    if (app_env_load(&more) == 0)
        for (char **v = more; *v; v++)
            env_set(&env, *v);
    return exec_search(argv + 1, env);
}
