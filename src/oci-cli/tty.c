/* SPDX-License-Identifier: Apache-2.0 */
/* The foreground of run and exec: our terminal, signals, the end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fs.h"
#include "io/fdpass.h"
#include "oci-cli/oci-cli.h"

int console_connect(const char *path, struct error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(a.sun_path))
        return error_set(e, ERR_INVALID, "--console-socket: the path is too long");
    memcpy(a.sun_path, path, strlen(path));
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return error_set_errno(e, errno, "cannot connect to console socket %s", path);
    return take_fd(fd);
}

static int receive_master(int sock)
{
    char text[64];
    int fd = -EBADF;
    size_t n = 0;

    return fdpass_recv(sock, text, sizeof(text), &fd, 1, &n) > 0 && n == 1 ? fd : -EBADF;
}

static void copy_size(int master)
{
    struct winsize w;

    if (ioctl(0, TIOCGWINSZ, &w) == 0)
        (void)ioctl(master, TIOCSWINSZ, &w);
}

/* false at the end of the input. */
static bool move(int from, int to)
{
    char block[8192];
    ssize_t n = read(from, block, sizeof(block));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    return n > 0 && fs_write_all(to, block, (size_t)n) == 0;
}

static int exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A signal has come: children are looked after, the rest goes to the process. -1: not ended. */
static int on_signal(int sfd, pid_t pid, int master)
{
    struct signalfd_siginfo info;
    int code = -1;

    if (read(sfd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return -1;
    if (info.ssi_signo == SIGCHLD) {
        int status;
        pid_t got;

        while ((got = waitpid(-1, &status, WNOHANG)) > 0)
            if (got == pid)
                code = exit_code(status);
    } else if (info.ssi_signo == SIGWINCH) {
        if (master >= 0)
            copy_size(master);
    } else {
        (void)kill(pid, (int)info.ssi_signo);
    }
    return code;
}

static int relay(pid_t pid, int sfd, int master)
{
    struct pollfd p[3] = {{sfd, POLLIN, 0}, {master, POLLIN, 0}, {master >= 0 ? 0 : -1, POLLIN, 0}};
    int status, code = -1;

    if (waitpid(pid, &status, WNOHANG) == pid) /* before the signals were blocked */
        code = exit_code(status);
    while (code < 0) {
        if (poll(p, 3, -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents && !move(master, 1))
            p[1].fd = -1;
        if (p[2].revents && !move(0, master))
            p[2].fd = -1;
        if (p[0].revents)
            code = on_signal(sfd, pid, master);
    }
    while (p[1].fd >= 0 && poll(&p[1], 1, 0) > 0 && move(master, 1)) /* its last words */
        continue;
    return code;
}

int tty_wait(pid_t pid, int sock)
{
    AUTOFD int master = sock >= 0 ? receive_master(sock) : -EBADF;
    struct termios saved, raw;
    bool restore = master >= 0 && tcgetattr(0, &saved) == 0;
    sigset_t set;
    AUTOFD int sfd = -EBADF;
    int code;

    sigfillset(&set);
    sigdelset(&set, SIGKILL);
    sigdelset(&set, SIGSTOP);
    sigdelset(&set, SIGTTIN);
    sigdelset(&set, SIGTTOU);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    sfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (restore) {
        raw = saved;
        cfmakeraw(&raw);
        (void)tcsetattr(0, TCSANOW, &raw);
        copy_size(master);
    }
    code = relay(pid, sfd, master);
    if (restore)
        (void)tcsetattr(0, TCSANOW, &saved);
    return code;
}
