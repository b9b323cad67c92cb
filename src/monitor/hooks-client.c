/* SPDX-License-Identifier: Apache-2.0 */
/* pouchd's side of hooks.h: starts the runner and hears its reports. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/self.h"
#include "io/spawn.h"
#include "monitor/hooks.h"
#include "monitor/reap.h"
#include "sys/mount-api.h"

struct hooks_run {
    int fd;
    pid_t pid;
    bool outlives; /* has a progress file */
};

static int memory_file(const void *data, size_t len, struct error *e)
{
    int fd = memfd_create("pouch-hooks", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return error_set_errno(e, errno, "cannot make a memory file");
    r = fs_write_all(fd, data, len);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return error_set_errno(e, r, "cannot fill a memory file");
    }
    return fd;
}

/* Hooks of an image run beside this program: it is executed from a mount that cannot be written. */
static int spawn_runner(const char *program, int sock, int request_fd, int bpf_fd, pid_t *ret,
                        struct error *e)
{
    AUTOFREE char *path = program ? xstrdup(program) : self_program_path("pouch-monitor");
    AUTOFD int sealed = mount_sealed_program(path);
    AUTOFREE char *name = sealed >= 0 ? xasprintf("/proc/%d/fd/%d", getpid(), sealed)
                                      : xstrdup(path);
    char *argv[] = {(char *)(uintptr_t) "pouch-monitor", (char *)(uintptr_t) "--hooks", NULL};
    char *env[] = {NULL};
    struct spawn_fd fds[] = {{sock, 3}, {request_fd, 4}, {bpf_fd, 5}};
    AUTOFD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct spawn_params sp = {.program = name,
                              .argv = argv,
                              .env = env,
                              .stdin_fd = -EBADF,
                              .stdout_fd = -EBADF,
                              .stderr_fd = null_fd,
                              .fds = fds,
                              .nfds = bpf_fd >= 0 ? 3 : 2,
                              .new_session = true};

    return spawn_program(&sp, ret, e);
}

int hooks_run_start(const char *program, const struct hooks_request *req, const void *seccomp_bpf,
                    size_t seccomp_len, struct hooks_run **ret, struct error *e)
{
    AUTOFREE char *text = json_print_str(&hooks_request_json, req);
    AUTOFD int request_fd = memory_file(text, strlen(text), e);
    AUTOFD int bpf_fd = -EBADF;
    struct hooks_run *run;
    int fds[2];
    pid_t pid = 0;
    int r;

    if (request_fd < 0)
        return request_fd;
    if (seccomp_bpf) {
        bpf_fd = memory_file(seccomp_bpf, seccomp_len, e);
        if (bpf_fd < 0)
            return bpf_fd;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return error_set_errno(e, errno, "cannot make a socket for the hooks");
    r = spawn_runner(program, fds[1], request_fd, bpf_fd, &pid, e);
    close(fds[1]);
    if (r < 0) {
        close(fds[0]);
        return r;
    }
    run = xcalloc(1, sizeof(*run));
    run->fd = fds[0];
    run->pid = pid;
    run->outlives = req->progress != NULL;
    *ret = run;
    return 0;
}

int hooks_run_fd(const struct hooks_run *r)
{
    return r->fd;
}

int hooks_run_read(struct hooks_run *r, struct hook_report *ret)
{
    struct hook_report report;
    ssize_t n;

    do
        n = recv(r->fd, &report, sizeof(report), MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? -EAGAIN : -EPIPE;
    if (n == 1) /* its last word: all is done */
        return 0;
    if (n != (ssize_t)sizeof(report))
        return -EPIPE;
    report.output[HOOK_OUTPUT - 1] = '\0';
    *ret = report;
    return 1;
}

void hooks_run_kill(struct hooks_run *r)
{
    (void)!send(r->fd, "k", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void hooks_run_free(struct hooks_run *r)
{
    bool gone;

    if (!r)
        return;
    close(r->fd);
    /* It ends at once when it was done or does not outlive us: but never wait for long. */
    gone = waitpid(r->pid, NULL, WNOHANG) != 0;
    for (int i = 0; !gone && i < 500; i++) {
        (void)usleep(i < 20 ? 500 : 2000);
        gone = waitpid(r->pid, NULL, WNOHANG) != 0;
        if (r->outlives && i > 20)
            break;
    }
    if (!gone && !r->outlives)
        (void)kill(r->pid, SIGKILL);
    if (!gone)
        monitor_reap_later(r->pid);
    monitor_reap_now();
    free(r);
}

char *hook_report_text(const struct hook_report *r, const char *what)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *said = xstrdup(r->output);
    size_t n = strlen(said);

    if (!r->flags && r->exit_code == 0)
        return NULL;
    while (n > 0 && (said[n - 1] == '\n' || said[n - 1] == ' '))
        said[--n] = '\0';
    /* One line: what the hook said is told with its lines parted. */
    (void)buf_printf(&b, "%s ", what);
    if (r->flags & HOOK_NOT_RUN)
        (void)buf_puts(&b, "could not be run");
    else if (r->flags & HOOK_TIMED_OUT)
        (void)buf_puts(&b, "was killed: it ran into its time-out");
    else if (r->flags & HOOK_ABORTED)
        (void)buf_puts(&b, "was killed by request");
    else if (r->signal)
        (void)buf_printf(&b, "was killed by signal %d", r->signal);
    else
        (void)buf_printf(&b, "failed with exit code %d", r->exit_code);
    if (*said)
        (void)buf_puts(&b, ": ");
    for (const char *p = said; *p; p++) {
        if (*p == '\n')
            (void)buf_puts(&b, " | ");
        else if ((unsigned char)*p >= ' ' && *p != 0x7f)
            (void)buf_putc(&b, *p);
    }
    return buf_take(&b);
}
