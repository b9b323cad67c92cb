/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program behind hooks.h. One thread, one hook at a time:
 *
 *   read the request → (lock the progress file, see what an earlier runner did) → for each hook: note its
 *   beginning, start it, feed and hear it, wait, note its end, report → say that all is done
 *
 * It is the subreaper of everything on the host that descends from a hook, so that a hook that runs out of
 * time takes its descendants along, whatever sessions they made.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "monitor/hooks.h"
#include "oci/spec.h"
#include "runtime/runtime.h"
#include "sys/cgroup.h"

#define CONTROL      3
#define REQUEST      4
#define SECCOMP      5
#define REQUEST_MAX  (8 << 20)
#define PROGRESS_MAX (1 << 20)

/* The hook that runs. */
struct running {
    pid_t pid;
    int pidfd;
    int in, out;      /* our ends; -EBADF: closed */
    char *cgroup;     /* of one inside, else NULL */
    const char *feed; /* what it has not read yet of its input */
    size_t feed_len;
    char output[HOOK_OUTPUT]; /* the last bytes, a ring that is put straight at the end */
    size_t got;
};

struct runner {
    struct hooks_request req;
    const void *bpf;
    size_t bpf_len;
    int progress; /* the locked file, or -EBADF */
    size_t next;  /* the first hook that has not ended */
    unsigned attempt;
    bool alone; /* pouchd has let go */
};

/* --- the progress file: "run ID", "begin N", "end N CODE" ---------------------------------------------- */

static void note(struct runner *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct runner *r, const char *fmt, ...)
{
    AUTOFREE char *text = NULL;
    va_list ap;

    if (r->progress < 0)
        return;
    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    /* A disk that is full must not keep hooks from running: then a crash may run one again. */
    (void)!fs_write_all(r->progress, text, strlen(text));
    (void)fdatasync(r->progress);
}

/* What the lines say of this run; a line that a crash cut off does not count. */
static void read_progress(struct runner *r, char *text)
{
    AUTOFREE char *head = xasprintf("run %s", r->req.run);
    char *save = NULL;
    bool ours = false;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned n = 0;

        if (str_has_prefix(line, "run ")) {
            ours = STREQ(line, head);
            r->next = 0;
            r->attempt = 1;
        } else if (ours && sscanf(line, "end %u ", &n) == 1 && n == r->next) {
            r->next++;
            r->attempt = 1;
        } else if (ours && sscanf(line, "begin %u", &n) == 1 && n == r->next) {
            r->attempt++;
        }
    }
    if (!ours) {
        r->next = 0;
        r->attempt = 1;
    }
}

/* Waits for a runner that was started before and still works. */
static int open_progress(struct runner *r)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    bool ours;

    r->attempt = 1;
    if (!r->req.progress)
        return 0;
    r->progress = open(r->req.progress, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->progress < 0)
        return -errno;
    while (flock(r->progress, LOCK_EX) < 0)
        if (errno != EINTR)
            return -errno;
    if (fs_read_file(AT_FDCWD, r->req.progress, PROGRESS_MAX, &text, &len) == 0) {
        AUTOFREE char *head = xasprintf("run %s\n", r->req.run);

        ours = strstr(text, head) != NULL;
        /* The end of a line that was cut off. */
        if (len && text[len - 1] != '\n')
            note(r, "\n");
        read_progress(r, text);
        if (ours)
            return 0;
    }
    if (ftruncate(r->progress, 0) < 0)
        return -errno;
    note(r, "run %s\n", r->req.run);
    return 0;
}

/* --- starting a hook ------------------------------------------------------------------------------------ */

static void keep_output(struct running *h, const char *data, size_t len)
{
    h->got = hook_output_keep(h->output, sizeof(h->output), h->got, data, len);
}

static void say(struct running *h, const char *text)
{
    keep_output(h, text, strlen(text));
}

static void host_child(const struct hook_command *c, char *const *env, int in, int out, int status)
    __attribute__((noreturn));
static void host_child(const struct hook_command *c, char *const *env, int in, int out, int status)
{
    sigset_t none;
    int err;

    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    umask(022);
    if (chdir("/") == 0 && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0 &&
        dup2(status, 3) >= 0 && fcntl(3, F_SETFD, FD_CLOEXEC) == 0 &&
        (syscall(SYS_close_range, 4, UINT_MAX, 0) == 0 || errno == ENOSYS))
        execve(c->args[0], c->args, env);
    err = errno;
    (void)!write(3, &err, sizeof(err));
    _exit(127);
}

/* A pipe whose end number `ours` does not block. */
static int make_pipe(int fds[2], int ours)
{
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    return fcntl(fds[ours], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static void close_pair(int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int start_host(struct runner *r, const struct hook_command *c, char *const *env, int in,
                      int out, struct running *h)
{
    int status[2];
    int err = 0;
    ssize_t n;

    (void)r;
    if (pipe2(status, O_CLOEXEC) < 0)
        return -errno;
    h->pid = fork();
    if (h->pid == 0)
        host_child(c, env, in, out, status[1]);
    err = errno;
    close(status[1]);
    if (h->pid < 0) {
        close(status[0]);
        return -err;
    }
    n = fs_read_full(status[0], &err, sizeof(err));
    close(status[0]);
    if (n != (ssize_t)sizeof(err))
        return 0;
    (void)waitpid(h->pid, NULL, 0);
    h->pid = 0;
    say(h, c->args[0]);
    say(h, ": ");
    say(h, strerror(err));
    return -err;
}

/* config.json of the container, its program replaced by the hook. */
static int inside_spec(const struct runner *r, const struct hook_command *c, char *const *env,
                       struct oci_spec *spec, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/config.json", r->req.bundle);
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int err = fs_read_file(AT_FDCWD, path, (size_t)OCI_SPEC_MAX, &text, &len);

    if (err < 0)
        return error_set_errno(e, err, "cannot read %s", path);
    err = json_parse(&oci_spec_json, text, len, spec, e);
    if (err < 0)
        return err;
    if (!spec->process)
        return error_set(e, ERR_INTERNAL, "%s has no process", path);
    strv_free(spec->process->args);
    spec->process->args = strv_copy(c->args);
    for (size_t i = 0; env && env[i]; i++)
        env_set(&spec->process->env, env[i]);
    return 0;
}

static int start_inside(struct runner *r, const struct hook_command *c, char *const *env, int in,
                        int out, struct running *h, struct error *e)
{
    struct oci_spec spec = {0};
    struct runtime_created made = {.pidfd = -EBADF};
    int gate[2] = {-EBADF, -EBADF}, status[2] = {-EBADF, -EBADF};
    struct runtime_create p = {.id = r->req.id,
                               .bundle = r->req.bundle,
                               .spec = &spec,
                               .io = {.stdin_fd = in,
                                      .stdout_fd = out,
                                      .stderr_fd = out,
                                      .console_fd = -EBADF,
                                      .console_socket = -EBADF},
                               .seccomp_bpf = r->bpf,
                               .seccomp_len = r->bpf_len};
    int err = inside_spec(r, c, env, &spec, e);

    if (err == 0 && (pipe2(gate, O_CLOEXEC) < 0 || pipe2(status, O_CLOEXEC) < 0))
        err = error_set_errno(e, errno, "cannot make a pipe");
    p.gate_fd = gate[0];
    p.status_fd = status[1];
    if (err == 0)
        err = runtime_create(&p, &made, e);
    if (err == 0) {
        h->pid = made.pid;
        h->cgroup = xstrdup(made.cgroup_path);
        (void)!write(gate[1], "g", 1);
        close(status[1]);
        status[1] = -EBADF;
        err = runtime_status_read(status[0], e);
    }
    close_pair(gate);
    close_pair(status);
    runtime_created_done(&made);
    json_free(&oci_spec_json, &spec);
    return err;
}

/* --- ending a hook ---------------------------------------------------------------------------------------- */

/* Children of this process that descend from a hook that is over: all of them, but not our own hook. */
static bool kill_children(void)
{
    AUTOFREE char *path = xasprintf("/proc/self/task/%d/children", (int)getpid());
    AUTOFREE char *text = NULL;
    bool any = false;
    char *p;

    if (fs_read_file(AT_FDCWD, path, 1 << 20, &text, NULL) < 0)
        return false;
    p = text;
    while (*p) {
        char *end;
        long pid = strtol(p, &end, 10);

        if (end == p)
            break;
        p = end;
        while (*p == ' ' || *p == '\n')
            p++;
        if (pid > 0 && kill((pid_t)pid, SIGKILL) == 0)
            any = true;
    }
    return any;
}

static void reap_others(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

/* Everything that the hook started goes with it: its group, then whatever is handed to us as the
 * parents between die. */
static void kill_all(struct running *h)
{
    if (h->cgroup)
        (void)!cgroup_kill(h->cgroup, NULL);
    if (h->pid > 0) {
        (void)kill(-h->pid, SIGKILL);
        (void)kill(h->pid, SIGKILL);
    }
}

static void kill_orphans(void)
{
    for (int i = 0; i < 200 && kill_children(); i++) {
        (void)usleep(1000);
        reap_others();
    }
}

/* --- while it runs ---------------------------------------------------------------------------------------- */

static void feed(struct running *h)
{
    ssize_t n = write(h->in, h->feed, h->feed_len);

    if (n > 0) {
        h->feed += n;
        h->feed_len -= (size_t)n;
    }
    if (h->feed_len == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close(h->in);
        h->in = -EBADF;
    }
}

static void hear(struct running *h)
{
    char data[4096];
    ssize_t n = read(h->out, data, sizeof(data));

    if (n > 0) {
        keep_output(h, data, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(h->out);
        h->out = -EBADF;
    }
}

/* A word of pouchd: true when the hook is to be killed. */
static bool hear_pouchd(struct runner *r)
{
    char word[16];
    ssize_t n = recv(CONTROL, word, sizeof(word), MSG_DONTWAIT);

    if (n > 0)
        return true;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    r->alone = true;
    return !r->req.progress;
}

/* Until the hook ends; its wait status, and why it was killed in *flags. */
static int attend(struct runner *r, struct running *h, uint32_t *flags)
{
    int64_t end = time_monotonic_ns() + r->req.timeout * NSEC_PER_SEC;
    int status = 0;
    bool ended = false;

    while (!ended) {
        struct pollfd p[4] = {{h->pidfd, POLLIN, 0},
                              {r->alone ? -1 : CONTROL, POLLIN, 0},
                              {h->out, POLLIN, 0},
                              {h->in, POLLOUT, 0}};
        int64_t left = (end - time_monotonic_ns()) / NSEC_PER_MSEC;
        /* Where there are no pidfds the end is looked for now and then. */
        int wait = h->pidfd < 0 && left > 10 ? 10
                   : left > 0                ? (int)(left < 60000 ? left : 60000)
                                             : 0;
        int n = poll(p, 4, wait);

        if (n > 0 && p[3].revents)
            feed(h);
        if (n > 0 && p[2].revents)
            hear(h);
        if (n > 0 && p[1].revents && hear_pouchd(r) && !*flags) {
            *flags |= HOOK_ABORTED;
            kill_all(h);
        }
        if (!*flags && time_monotonic_ns() >= end) {
            *flags |= HOOK_TIMED_OUT;
            kill_all(h);
        }
        if (*flags)
            end = INT64_MAX / 2;
        ended = waitpid(h->pid, &status, WNOHANG) == h->pid;
    }
    /* What it said before it ended; what a daemon of it says later is not waited for. */
    for (int i = 0; h->out >= 0 && i < 64; i++) {
        struct pollfd p = {h->out, POLLIN, 0};

        if (poll(&p, 1, 0) <= 0)
            break;
        hear(h);
    }
    if (*flags)
        kill_orphans();
    return status;
}

static void running_done(struct running *h)
{
    if (h->pidfd >= 0)
        close(h->pidfd);
    if (h->in >= 0)
        close(h->in);
    if (h->out >= 0)
        close(h->out);
    if (h->cgroup) {
        (void)!cgroup_kill(h->cgroup, NULL);
        (void)!cgroup_remove(h->cgroup, NULL);
    }
    free(h->cgroup);
}

static void run_one(struct runner *r, size_t i, struct hook_report *report)
{
    const struct hook_command *c = (const struct hook_command *)r->req.hooks.items + i;
    struct running h = {.in = -EBADF, .out = -EBADF, .pidfd = -EBADF};
    AUTOPTR(strv) char **env = strv_copy(r->req.env);
    int in[2] = {-EBADF, -EBADF}, out[2] = {-EBADF, -EBADF};
    struct error e = ERROR_INIT;
    int err, status;

    *report = (struct hook_report){.index = (uint32_t)i};
    strv_pushf(&env, "POUCH_HOOK_INDEX=%zu", i);
    strv_pushf(&env, "POUCH_HOOK_ATTEMPT=%u", r->attempt);
    err = make_pipe(in, 1);
    if (err == 0)
        err = make_pipe(out, 0);
    if (err == 0) {
        h.in = take_fd(in[1]);
        h.out = take_fd(out[0]);
        h.feed = r->req.state;
        h.feed_len = strlen(h.feed);
        err = c->host ? start_host(r, c, env, in[0], out[1], &h)
                      : start_inside(r, c, env, in[0], out[1], &h, &e);
    }
    close_pair(in);
    close_pair(out);
    if (err < 0) {
        if (h.pid > 0) {
            (void)kill(h.pid, SIGKILL);
            (void)waitpid(h.pid, NULL, 0);
        }
        if (e.code)
            say(&h, error_message(&e));
        else if (!h.got)
            say(&h, strerror(-err));
        report->flags = HOOK_NOT_RUN;
        report->exit_code = e.code ? error_exit_code(e.code) : 127;
    } else {
        h.pidfd = (int)syscall(SYS_pidfd_open, h.pid, 0);
        status = attend(r, &h, &report->flags);
        report->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        report->exit_code = report->signal ? 128 + report->signal : WEXITSTATUS(status);
    }
    memcpy(report->output, h.output, sizeof(report->output));
    running_done(&h);
    error_done(&e);
}

/* --- the program -------------------------------------------------------------------------------------------- */

static int read_request(struct runner *r)
{
    AUTOFREE char *text = NULL;
    struct stat st;
    size_t len = 0;
    int err = fs_read_file(AT_FDCWD, "/proc/self/fd/4", REQUEST_MAX, &text, &len);

    if (err == 0)
        err = json_parse(&hooks_request_json, text, len, &r->req, NULL);
    if (err == 0 && fstat(SECCOMP, &st) == 0 && st.st_size > 0) {
        r->bpf = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, SECCOMP, 0);
        r->bpf_len = (size_t)st.st_size;
        if (r->bpf == MAP_FAILED)
            return -ENOMEM;
    }
    return err;
}

int hooks_main(void)
{
    struct runner r = {.progress = -EBADF};
    int err = read_request(&r);

    if (err < 0)
        return 1;
    for (int fd = CONTROL; fd <= SECCOMP; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)prctl(PR_SET_NAME, "pouch-hooks");
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    if (open_progress(&r) < 0)
        return 1;
    for (; r.next < r.req.hooks.len; r.next++, r.attempt = 1) {
        struct hook_report report;

        if (!r.req.progress && (r.alone || hear_pouchd(&r)))
            return 1;
        note(&r, "begin %zu\n", r.next);
        run_one(&r, r.next, &report);
        note(&r, "end %zu %d\n", r.next, report.exit_code);
        (void)!send(CONTROL, &report, sizeof(report), MSG_NOSIGNAL);
    }
    (void)!send(CONTROL, "d", 1, MSG_NOSIGNAL);
    return 0;
}
