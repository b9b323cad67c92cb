/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver for foreign OCI runtimes (runc, crun, runsc, pouch-lxc): their command line, which is
 * the same for all. The bundle's file RUNTIME_ARGV_FILE says which: the program and its global
 * options, each ended by a NUL.
 *
 *   create   the root file system is mounted in the monitor's own mount namespace, `create` is run
 *            with the container's stdio as its own; what it leaves behind becomes the monitor's
 *            child, as the monitor is a subreaper. A gatekeeper (one more fork) waits at the gate
 *            and runs `start`.
 *   exec     `exec --detach --process FILE`, the same way
 *   signal   `kill`
 *
 * `delete` is pouchd's business (engine/foreign.c): it must also be done when no monitor is left.
 */
#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "base/strv.h"
#include "io/fdpass.h"
#include "monitor/drv-common.h"
#include "monitor/drv-oci.h"
#include "oci/spec.h"
#include "runtime/runtime.h"
#include "sys/cgroup.h"
#include "sys/overlay.h"

#define ARGV_MAX        (64 << 10)
#define LOG_MAX         (256 << 10)
#define CONSOLE_WAIT_MS 10000

/* One call of the runtime. */
struct call {
    char **argv;
    char *log_path; /* where it writes its errors, one JSON object a line */
    int stdin_fd, stdout_fd, stderr_fd;
};

static void call_done(struct call *c)
{
    if (c->log_path)
        (void)unlink(c->log_path);
    free(c->log_path);
    strv_free(c->argv);
}

/* The program and its global options; what follows in argv is the caller's. */
static int call_init(struct call *c, const char *bundle, const char *tag, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/" RUNTIME_ARGV_FILE, bundle);
    AUTOFREE char *text = NULL;
    size_t len;
    int r = fs_read_file(AT_FDCWD, path, ARGV_MAX, &text, &len);

    *c = (struct call){.stdin_fd = -EBADF, .stdout_fd = -EBADF, .stderr_fd = -EBADF};
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    for (size_t i = 0; i < len; i += strlen(text + i) + 1)
        strv_push(&c->argv, text + i);
    if (!c->argv)
        return error_set(e, ERR_INTERNAL, "%s is empty", path);
    c->log_path = xasprintf("%s/%s.log", bundle, tag);
    strv_push(&c->argv, "--log");
    strv_push(&c->argv, c->log_path);
    strv_push(&c->argv, "--log-format");
    strv_push(&c->argv, "json");
    return 0;
}

static void put_fd(int fd, int target)
{
    if (fd == target)
        (void)fcntl(fd, F_SETFD, 0);
    else if (dup2(fd, target) < 0)
        _exit(127);
}

_Noreturn static void run_child(const struct call *c)
{
    /* Above 2 first: they might be each other's targets. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fds[3] = {c->stdin_fd, c->stdout_fd, c->stderr_fd};

    for (int i = 0; i < 3; i++)
        fds[i] = fcntl(fds[i] < 0 ? null : fds[i], F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < 3; i++)
        put_fd(fds[i], i);
    /* Everything else is O_CLOEXEC from birth; this is the second line. */
    (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    execv(c->argv[0], c->argv);
    _exit(errno == ENOENT ? 127 : 126);
}

/* --- What it says ------------------------------------------------------------------------------ */

struct log_line {
    char *level, *msg;
};
static const struct json_field log_line_fields[] = {
    JSON_FIELD(struct log_line, level, "level", JSON_STR, 0),
    JSON_FIELD(struct log_line, msg, "msg", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc log_line_json = {"log line", sizeof(struct log_line),
                                               log_line_fields};

/* The last line that is worse than a warning. */
static char *last_error(const char *path)
{
    AUTOFREE char *text = NULL;
    char *found = NULL, *next;
    size_t len;

    if (fs_read_file(AT_FDCWD, path, LOG_MAX, &text, &len) < 0)
        return NULL;
    for (char *line = text; line && *line; line = next) {
        struct log_line l = {0};

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (json_parse(&log_line_json, line, strlen(line), &l, NULL) < 0)
            continue;
        if (l.msg && (!l.level || STREQ(l.level, "error") || STREQ(l.level, "fatal") ||
                      STREQ(l.level, "panic"))) {
            free(found);
            found = take_ptr(l.msg);
        }
        json_free(&log_line_json, &l);
    }
    return found;
}

/* A command that is missing or not executable has exit codes of its own (127, 126). */
static enum error_code code_of(const char *text)
{
    bool exec = strstr(text, "exec") || strstr(text, "executable") || strstr(text, "starting");

    if (strstr(text, "executable file not found") || strstr(text, "executable file `") ||
        (exec && strstr(text, "no such file or directory")) ||
        (exec && strstr(text, "No such file or directory")))
        return ERR_COMMAND_NOT_FOUND;
    if (exec && (strstr(text, "permission denied") || strstr(text, "Permission denied") ||
                 strstr(text, "is a directory") || strstr(text, "exec format error")))
        return ERR_COMMAND_NOT_EXECUTABLE;
    return ERR_INTERNAL;
}

/* Runs it to its end. */
static int call_run(const struct call *c, const char *what, struct error *e)
{
    AUTOFREE char *said = NULL;
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return error_set_errno(e, errno, "cannot fork");
    if (pid == 0)
        run_child(c);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(e, errno, "cannot wait for %s", c->argv[0]);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    said = last_error(c->log_path);
    if (said) {
        enum error_code code = code_of(said);
        /* In the words by which docker's command line knows the case. */
        const char *words = "";

        if (code == ERR_COMMAND_NOT_FOUND && !strstr(said, "executable file"))
            words = "exec: executable file not found in $PATH: ";
        else if (code == ERR_COMMAND_NOT_EXECUTABLE && !strstr(said, "exec: "))
            words = "exec: ";

        return error_set(e, code, "%s %s: %s%s", c->argv[0], what, words, said);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return error_set(e, ERR_INTERNAL, "the runtime %s cannot be executed", c->argv[0]);
    return error_set(e, ERR_INTERNAL, "%s %s failed with %s %d and no message", c->argv[0], what,
                     WIFSIGNALED(status) ? "signal" : "exit code",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static int read_pid(const char *path, pid_t *ret, struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t len;
    int r = fs_read_file(AT_FDCWD, path, 64, &text, &len);
    long pid;

    if (r < 0)
        return error_set_errno(e, r, "the runtime left no process id in %s", path);
    (void)unlink(path);
    pid = strtol(text, NULL, 10);
    if (pid <= 1)
        return error_set(e, ERR_INTERNAL, "the runtime wrote \"%s\" to %s", text, path);
    *ret = (pid_t)pid;
    return 0;
}

/* --- Terminal ---------------------------------------------------------------------------------- */

/* The runtime connects to a socket in the bundle and sends the master; it goes on to the monitor,
 * which waits at the other end of console_socket. */
static int pass_console(int listen_fd, int console_socket, struct error *e)
{
    struct pollfd p = {.fd = listen_fd, .events = POLLIN};
    AUTOFD int conn = -EBADF;
    AUTOFD int master = -EBADF;
    char text[4096];
    size_t nfds = 0;
    ssize_t n;
    int r;

    if (poll(&p, 1, CONSOLE_WAIT_MS) <= 0)
        return error_set(e, ERR_INTERNAL, "the runtime sent no terminal");
    conn = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (conn < 0)
        return error_set_errno(e, errno, "cannot take the runtime's terminal");
    n = fdpass_recv(conn, text, sizeof(text), &master, 1, &nfds);
    if (n <= 0 || nfds != 1)
        return error_set(e, ERR_INTERNAL, "the runtime sent no terminal");
    r = fdpass_send(console_socket, "/dev/ptmx", 9, &master, 1);
    return r < 0 ? error_set_errno(e, r, "cannot hand the terminal on") : 0;
}

/* Sets the stdio of a call; with a terminal *ret_listen is where it will come to. */
static int set_stdio(struct call *c, const struct stage_io *io, const char *socket, int *ret_listen,
                     struct error *e)
{
    if (io->console_socket < 0) {
        c->stdin_fd = io->stdin_fd;
        c->stdout_fd = io->stdout_fd;
        c->stderr_fd = io->stderr_fd;
        return 0;
    }
    /* The stage stands in the state folder: the name stays short enough for a socket's address. */
    *ret_listen = fdpass_listen(AT_FDCWD, socket, SOCK_STREAM, 0600);
    if (*ret_listen < 0)
        return error_set_errno(e, *ret_listen, "cannot make the console socket");
    strv_push(&c->argv, "--console-socket");
    strv_push(&c->argv, socket);
    return 0;
}

/* --- create ------------------------------------------------------------------------------------ */

/* In the monitor's own mount namespace: the host never sees it, and it goes with the monitor. */
static int mount_root(const struct oci_spec *spec, struct error *e)
{
    const struct oci_overlay *o = spec->pouch ? spec->pouch->overlay : NULL;
    struct sys_overlay so;

    if (!o)
        return 0;
    so = (struct sys_overlay){o->lower, o->upper, o->work, o->options};
    return sys_overlay_mount(&so, spec->root->path, e);
}

/* Names of users and groups are ours to look up: runtimes take numbers. */
static int resolve_user(const char *root, struct oci_process *process, struct error *e)
{
    AUTOFD int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(e, errno, "cannot open %s", root);
    return runtime_resolve_user(fd, process, e);
}

static int write_json(const char *path, const struct json_desc *desc, const void *what,
                      struct error *e)
{
    AUTOFREE char *text = json_print_str(desc, what);
    int r = fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, FS_NO_SYNC);

    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

static void run_kill(const char *bundle, const char *id, int sig, bool all)
{
    CLEANUP(call_done) struct call c = {0};
    char number[12];

    if (call_init(&c, bundle, "kill", NULL) < 0)
        return;
    (void)snprintf(number, sizeof(number), "%d", sig);
    strv_push(&c.argv, "kill");
    if (all)
        strv_push(&c.argv, "--all");
    strv_push(&c.argv, id);
    strv_push(&c.argv, number);
    (void)!call_run(&c, "kill", NULL);
}

static void write_status(int fd, const struct error *e)
{
    struct stage_status s = {.code = e->code, .errnum = e->errnum};

    (void)snprintf(s.message, sizeof(s.message), "%s", error_message(e));
    (void)!write(fd, &s, sizeof(s));
}

/* Waits at the gate for pouchd's word. Without one (the monitor died) the container is not wanted
 * any more. */
_Noreturn static void keep_gate(const struct stage_create *p)
{
    CLEANUP(call_done) struct call c = {0};
    struct error e = ERROR_INIT;
    ssize_t n;
    char go;
    int r;

    (void)prctl(PR_SET_NAME, "pouch-gate");
    do
        n = read(p->gate_fd, &go, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1) {
        run_kill(p->bundle, p->id, SIGKILL, false);
        _exit(0);
    }
    r = call_init(&c, p->bundle, "start", &e);
    if (r == 0) {
        strv_push(&c.argv, "start");
        strv_push(&c.argv, p->id);
        r = call_run(&c, "start", &e);
    }
    if (r < 0) {
        write_status(p->status_fd, &e);
        run_kill(p->bundle, p->id, SIGKILL, false);
    }
    _exit(0);
}

/* The gatekeeper holds nothing but its two pipes: the ends of others' pipes must be seen. */
static int fork_gatekeeper(const struct stage_create *p, struct error *e)
{
    pid_t pid = fork();

    if (pid < 0)
        return error_set_errno(e, errno, "cannot fork");
    if (pid > 0)
        return 0;
    for (int fd = 3, max = (int)sysconf(_SC_OPEN_MAX); fd < max && fd < 4096; fd++)
        if (fd != p->gate_fd && fd != p->status_fd)
            (void)close(fd);
    keep_gate(p);
}

static int run_create(const struct stage_create *p, pid_t *ret_pid, struct error *e)
{
    CLEANUP(call_done) struct call c = {0};
    AUTOFREE char *pid_file = xasprintf("%s/init.pid", p->bundle);
    AUTOFD int console = -EBADF;
    int r = call_init(&c, p->bundle, "create", e);

    if (r < 0)
        return r;
    strv_push(&c.argv, "create");
    strv_push(&c.argv, "--bundle");
    strv_push(&c.argv, p->bundle);
    strv_push(&c.argv, "--pid-file");
    strv_push(&c.argv, pid_file);
    r = set_stdio(&c, &p->io, "console.sock", &console, e);
    strv_push(&c.argv, p->id);
    if (r == 0)
        r = call_run(&c, "create", e);
    if (r == 0)
        r = read_pid(pid_file, ret_pid, e);
    if (r == 0 && console >= 0)
        r = pass_console(console, p->io.console_socket, e);
    if (console >= 0)
        (void)unlink("console.sock");
    return r;
}

static int oci_create(const struct stage_create *p, struct stage_result *ret, struct error *e)
{
    struct oci_spec spec = {0}; /* never freed: the stage ends */
    int r = stage_load_spec(p->bundle, &spec, e);

    if (r == 0)
        r = mount_root(&spec, e);
    if (r == 0)
        r = resolve_user(spec.root->path, spec.process, e);
    if (r == 0)
        r = write_json("config.json", &oci_spec_json, &spec, e);
    if (r < 0)
        return r;
    r = run_create(p, &ret->pid, e);
    if (r == 0)
        r = fork_gatekeeper(p, e);
    if (r < 0) {
        if (ret->pid > 0)
            run_kill(p->bundle, p->id, SIGKILL, false);
        return r;
    }
    ret->cgroup_path = xstrdup(spec.linux && spec.linux->cgroups_path ? spec.linux->cgroups_path
                                                                      : "");
    stage_open_oom(ret);
    return 0;
}

/* --- exec -------------------------------------------------------------------------------------- */

static int oci_exec(const struct stage_exec *p, struct stage_result *ret, struct error *e)
{
    CLEANUP(call_done) struct call c = {0};
    AUTOFREE char *tag = xasprintf("exec-%d", (int)getpid());
    AUTOFREE char *pid_file = xasprintf("%s/%s.pid", p->bundle, tag);
    AUTOFREE char *process = xasprintf("%s/%s.json", p->bundle, tag);
    AUTOFREE char *socket = xasprintf("%s.sock", tag);
    AUTOFD int console = -EBADF;
    struct oci_process what = {0}; /* never freed: the stage ends */
    int r = call_init(&c, p->bundle, tag, e);

    if (r == 0)
        r = json_parse(&oci_process_json, p->process_json, p->process_len, &what, e);
    if (r == 0)
        r = resolve_user("rootfs", &what, e);
    if (r == 0)
        r = write_json(process, &oci_process_json, &what, e);
    if (r < 0)
        return r;
    strv_push(&c.argv, "exec");
    strv_push(&c.argv, "--detach");
    strv_push(&c.argv, "--process");
    strv_push(&c.argv, process);
    strv_push(&c.argv, "--pid-file");
    strv_push(&c.argv, pid_file);
    r = set_stdio(&c, &p->io, socket, &console, e);
    strv_push(&c.argv, p->id);
    if (r == 0)
        r = call_run(&c, "exec", e);
    if (r == 0)
        r = read_pid(pid_file, &ret->pid, e);
    if (r == 0 && console >= 0)
        r = pass_console(console, p->io.console_socket, e);
    (void)unlink(process);
    if (console >= 0)
        (void)unlink(socket);
    return r;
}

/* --- the rest ---------------------------------------------------------------------------------- */

static int oci_signal(const char *id, const char *bundle, const char *cgroup_path, int sig,
                      bool all)
{
    run_kill(bundle, id, sig, all);
    return sig == SIGKILL && all ? cgroup_signal(cgroup_path, sig, NULL) : 0;
}

/* Called once, in the monitor, before the first stage. */
static int oci_prepare(void)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return -errno;
    return 0;
}

const struct monitor_driver monitor_driver_oci = {
    .name = "oci",
    .prepare = oci_prepare,
    .create = oci_create,
    .exec = oci_exec,
    .signals_init = true,
    .signal = oci_signal,
};
