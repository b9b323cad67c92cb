/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pouch-monitor's life: it finds its first control connection at fd 3, is told there what to make
 * (MSG_CREATE), and ends when the container has ended, all output was delivered and all is told.
 */
#include "monitor/monitor-priv.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_CONN 3

static void on_child(struct source *source, int fd, uint32_t revents, void *data)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) > 0)
        continue;
    session_reap(data);
}

static void on_flow_timer(struct source *source, void *data)
{
    attacher_check_stuck(data);
}

/*
 * A monitor ends when its container does, not before: signals that stop a terminal's or a
 * service's processes do not reach it. SIGPIPE comes as EPIPE.
 */
static int setup_signals(struct mon *m)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2};
    sigset_t set;
    int fd;

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    fd = loop_signalfd(&set);
    return fd < 0 ? fd : loop_add_fd(m->loop, fd, EPOLLIN, on_child, m, NULL);
}

static int setup(struct mon *m)
{
    int r = loop_new(&m->loop);

    if (r == 0)
        r = setup_signals(m);
    if (r == 0)
        r = loop_add_timer(m->loop, INT64_MAX, on_flow_timer, m, &m->flow_timer);
    if (r == 0)
        r = control_add(m, FIRST_CONN);
    return r;
}

int monitor_main(int argc, char **argv, const struct monitor_driver *native,
                 const struct monitor_driver *foreign)
{
    static struct mon m;
    static const char version[] = "pouch-monitor " POUCH_VERSION "\n";
    static const char usage[] =
        "usage: pouch-monitor CONTAINER-ID\n\nStarted by pouchd, one for each container: it owns "
        "the container's output, log, exec\nsessions and exit status. Not for use by hand.\n";
    int type = 0;
    socklen_t len = sizeof(type);

    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return write(STDOUT_FILENO, version, sizeof(version) - 1) < 0;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return write(STDOUT_FILENO, usage, sizeof(usage) - 1) < 0;
    if (getsockopt(FIRST_CONN, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET) {
        (void)!write(STDERR_FILENO, usage, sizeof(usage) - 1);
        return 2;
    }
    (void)prctl(PR_SET_NAME, "pouch-monitor"); /* executed by a descriptor it would be a number */
    m.driver = native;
    m.foreign = foreign;
    m.listen_fd = m.oom_fd = m.oom_count_fd = m.rich.events_fd = m.rich.input_hold = -EBADF;
    m.rich.alive_fd = -EBADF;
    if (fcntl(FIRST_CONN, F_SETFD, FD_CLOEXEC) < 0 || setup(&m) < 0)
        return 1;
    return loop_run(m.loop) == 0 ? 0 : 1;
}
