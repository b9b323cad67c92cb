/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: programs that get the container's state on their standard input, with a time-out. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "runtime/runtime-priv.h"

static const char *const kind_names[] = {"prestart",       "createRuntime", "createContainer",
                                         "startContainer", "poststart",     "poststop"};

const char *runtime_hook_name(enum runtime_hook kind)
{
    return kind_names[kind];
}

const struct json_list *hooks_of(const struct oci_spec *spec, enum runtime_hook kind)
{
    static const struct json_list none = {0};
    const struct oci_hooks *h = spec->hooks;

    if (!h)
        return &none;
    switch (kind) {
    case RUNTIME_HOOK_PRESTART:
        return &h->prestart;
    case RUNTIME_HOOK_CREATE_RUNTIME:
        return &h->create_runtime;
    case RUNTIME_HOOK_CREATE_CONTAINER:
        return &h->create_container;
    case RUNTIME_HOOK_START_CONTAINER:
        return &h->start_container;
    case RUNTIME_HOOK_POSTSTART:
        return &h->poststart;
    case RUNTIME_HOOK_POSTSTOP:
        return &h->poststop;
    default:
        return &none;
    }
}

char *runtime_state_json(const struct oci_spec *spec, const char *id, const char *bundle, pid_t pid,
                         const char *status)
{
    AUTO(buf) struct buf b = BUF_INIT(OCI_SPEC_MAX);
    struct jsonw w = {&b, false};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ociVersion", OCI_RUNTIME_SPEC_VERSION);
    jsonw_str(&w, "id", id);
    jsonw_str(&w, "status", status);
    if (pid > 0)
        jsonw_int(&w, "pid", pid);
    jsonw_str(&w, "bundle", bundle);
    if (spec && spec->annotations.len)
        jsonw_map(&w, "annotations", &spec->annotations);
    jsonw_end(&w);
    return buf_take(&b);
}

static void hook_child(const struct oci_hook *h, int in, int err) __attribute__((noreturn));
static void hook_child(const struct oci_hook *h, int in, int err)
{
    static char *no_env[] = {NULL};
    char *const fallback[] = {h->path, NULL};
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, 0) < 0 || dup2(err, 1) < 0 || dup2(err, 2) < 0)
        _exit(127);
    process_close_others(NULL, 0, 3);
    execve(h->path, h->args && h->args[0] ? h->args : fallback, h->env ? h->env : no_env);
    dprintf(2, "cannot run: %s", strerror(errno));
    _exit(127);
}

/* The last line of what the hook said is for the message. */
static void last_line(char *text)
{
    size_t n = strlen(text);
    char *nl;

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = '\0';
    nl = strrchr(text, '\n');
    if (nl)
        memmove(text, nl + 1, strlen(nl + 1) + 1);
}

/*
 * Reads the hook's words until it closes them or ends - what it has started in the background may hold
 * them open for ever -, feeding it its input; false: out of time.
 */
static bool converse(int in, int out, int pidfd, const char *state, char *said, size_t size,
                     int64_t end)
{
    size_t left = strlen(state), got = 0;
    int after = 0;

    (void)fcntl(in, F_SETFL, O_NONBLOCK);
    for (;;) {
        /* Its end first: what it has said by then is seen in the same look. */
        struct pollfd p[3] = {{pidfd, POLLIN, 0}, {out, POLLIN, 0}, {in, POLLOUT, 0}};
        int64_t now = time_monotonic_ns();
        int timeout = end ? (int)((end - now) / NSEC_PER_MSEC) + 1 : -1;
        int n = end && now >= end ? 0 : poll(p, ARRAY_SIZE(p), timeout);
        ssize_t r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (in >= 0)
                close(in);
            return n < 0;
        }
        if (in >= 0 && p[2].revents) {
            r = write(in, state, left);
            if (r > 0) {
                state += r;
                left -= (size_t)r;
            }
            if (left == 0 || (r < 0 && errno != EAGAIN)) {
                close(in);
                in = -1;
            }
        }
        if (p[1].revents) {
            char rest[256];

            r = got < size - 1 ? read(out, said + got, size - 1 - got)
                               : read(out, rest, sizeof(rest));
            if (r <= 0)
                break;
            if (got < size - 1)
                got += (size_t)r;
            said[got] = '\0';
        }
        if (p[0].revents && (!p[1].revents || ++after > 64))
            break; /* ended, and all that it said is read */
    }
    if (in >= 0)
        close(in);
    return true;
}

static int wait_until(pid_t pid, int64_t end, int *ret_status)
{
    long pause = 1;

    for (;;) {
        pid_t r = waitpid(pid, ret_status, end ? WNOHANG : 0);

        if (r == pid)
            return 0;
        if (r < 0 && errno != EINTR)
            return -errno;
        if (end && time_monotonic_ns() >= end)
            return -ETIMEDOUT;
        if (r == 0) {
            struct timespec t = {0, pause * NSEC_PER_MSEC};

            (void)nanosleep(&t, NULL);
            pause = pause < 20 ? pause * 2 : 20;
        }
    }
}

static int run_hook(const struct oci_hook *h, const char *what, const char *state, struct error *e)
{
    int64_t end = h->timeout.set && h->timeout.value > 0
                      ? time_monotonic_ns() + h->timeout.value * NSEC_PER_SEC
                      : 0;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    char said[512] = "";
    int status = 0, pidfd, r;
    bool in_time;
    pid_t pid;

    if (h->path[0] != '/')
        return error_set(e, ERR_INVALID, "%s: path \"%s\" is not absolute", what, h->path);
    if (pipe2(in, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "%s: cannot make a pipe", what);
    if (pipe2(out, O_CLOEXEC) < 0) {
        r = error_set_errno(e, errno, "%s: cannot make a pipe", what);
        close(in[0]);
        close(in[1]);
        return r;
    }
    pid = fork();
    if (pid == 0)
        hook_child(h, in[0], out[1]);
    r = errno;
    close(in[0]);
    close(out[1]);
    if (pid < 0) {
        close(in[1]);
        close(out[0]);
        return error_set_errno(e, r, "%s: cannot fork", what);
    }
    (void)sigaction(SIGPIPE, &ignore, &old);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    in_time = converse(in[1], out[0], pidfd, state, said, sizeof(said), end);
    if (pidfd >= 0)
        close(pidfd);
    (void)sigaction(SIGPIPE, &old, NULL);
    close(out[0]);
    r = in_time ? wait_until(pid, end, &status) : -ETIMEDOUT;
    if (r == -ETIMEDOUT) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return error_set(e, ERR_TIMEOUT, "%s: %s did not end within %lld s", what, h->path,
                         (long long)h->timeout.value);
    }
    if (r < 0)
        return error_set_errno(e, r, "%s: cannot wait for %s", what, h->path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    last_line(said);
    if (WIFSIGNALED(status))
        return error_set(e, ERR_INTERNAL, "%s: %s was killed by signal %d", what, h->path,
                         WTERMSIG(status));
    return error_set(e, ERR_INTERNAL, "%s: %s failed with exit code %d%s%s", what, h->path,
                     WEXITSTATUS(status), *said ? ": " : "", said);
}

int runtime_run_hooks(const struct oci_spec *spec, enum runtime_hook kind, const char *id,
                      const char *bundle, pid_t pid, const char *status, struct error *e)
{
    const struct json_list *list = hooks_of(spec, kind);
    const struct oci_hook *h = list->items;
    AUTOFREE char *state = NULL;
    int result = 0;

    if (!list->len)
        return 0;
    state = runtime_state_json(spec, id, bundle, pid, status);
    for (size_t i = 0; i < list->len; i++) {
        AUTOFREE char *what = xasprintf("%s hook %zu", kind_names[kind], i);
        CLEANUP(error_done) struct error why = ERROR_INIT;
        int r = run_hook(&h[i], what, state, &why);

        if (r < 0 && result == 0) {
            result = r;
            error_move(e, &why);
        }
        /* What poststop hooks take away has to go whatever became of the others. */
        if (r < 0 && kind != RUNTIME_HOOK_POSTSTOP)
            break;
    }
    return result;
}
