/* SPDX-License-Identifier: Apache-2.0 */
/* The program pouch-lxc. */
#include <fcntl.h>
#include <lxc/lxccontainer.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "lxc/lxc.h"
#include "sys/cgroup.h"

#define DEFAULT_ROOT "/run/pouch-lxc"
#define GATE_WAIT_NS (10 * NSEC_PER_SEC)
#define FILE_STARTED "started"
#define FILE_BUNDLE  "bundle"

char *state_path(const struct options *o, const char *file)
{
    return xasprintf("%s/%s%s%s", o->root, o->id, *file ? "/" : "", file);
}

/* --- State ------------------------------------------------------------------------------------- */

/* Field 22 of /proc/<pid>/stat tells a reused pid; 0 when the process has ended. */
static unsigned long long start_time(pid_t pid)
{
    AUTOFREE char *path = xasprintf("/proc/%d/stat", (int)pid);
    AUTOFREE char *text = NULL;
    unsigned long long start = 0;
    char status = 0;
    char *p;

    if (fs_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    p = strrchr(text, ')');
    if (!p || sscanf(p + 1,
                     " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                     "%llu",
                     &status, &start) != 2)
        return 0;
    return status == 'Z' || status == 'X' ? 0 : start;
}

static char *read_state(const struct options *o, const char *file)
{
    AUTOFREE char *path = state_path(o, file);
    char *text = NULL;

    return fs_read_file(AT_FDCWD, path, 8192, &text, NULL) < 0 ? NULL : text;
}

static int write_state(const struct options *o, const char *file, const char *text, struct error *e)
{
    AUTOFREE char *path = state_path(o, file);
    int r = fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, FS_NO_SYNC);

    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

/* The keeper's pid, 0 when it has ended. ERR_NOT_FOUND: no such container. */
static int load_pid(const struct options *o, pid_t *ret, struct error *e)
{
    AUTOFREE char *dir = state_path(o, "");
    AUTOFREE char *text = read_state(o, FILE_PID);
    unsigned long long start = 0;
    int pid = 0;

    if (access(dir, F_OK) < 0)
        return error_set(e, ERR_NOT_FOUND, "container \"%s\" does not exist", o->id);
    *ret = 0;
    if (text && sscanf(text, "%d %llu", &pid, &start) == 2 && start && start_time(pid) == start)
        *ret = (pid_t)pid;
    return 0;
}

static bool is_started(const struct options *o)
{
    AUTOFREE char *path = state_path(o, FILE_STARTED);

    return access(path, F_OK) == 0;
}

/* liblxc speaks with a running container over an abstract socket, and those belong to a network
 * namespace: the keeper's. */
static int meet_keeper(pid_t pid, struct error *e)
{
    AUTOFREE char *path = xasprintf("/proc/%d/ns/net", (int)pid);
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        return error_set_errno(e, errno, "cannot enter the container's network namespace");
    return 0;
}

/* --- Commands ---------------------------------------------------------------------------------- */

static void remove_container(const struct options *o, const char *cgroup)
{
    AUTOFREE char *dir = state_path(o, "");

    if (cgroup && cgroup[0] == '/') {
        (void)!cgroup_kill(cgroup, NULL);
        (void)!cgroup_remove(cgroup, NULL);
    }
    (void)!fs_remove_tree(AT_FDCWD, dir);
}

static int make_container(const struct options *o, struct oci_spec *s, struct error *e)
{
    AUTOPTR(strv) char **warnings = NULL;
    char text[64];
    pid_t pid = 0;
    int r = config_check_program(s, e);

    if (r == 0)
        r = write_state(o, FILE_BUNDLE, o->bundle, e);
    if (r == 0)
        r = write_state(o, FILE_CGROUP, s->linux->cgroups_path, e);
    /* liblxc makes folders in all hierarchies: below ours they go with it, however LXC ended. */
    cgroup_use_all_v1();
    if (r == 0)
        r = cgroup_create(s->linux->cgroups_path, s->linux->resources, &warnings, e);
    if (r == 0)
        r = keeper_start(o, s, &pid, e);
    if (r < 0)
        return r;
    (void)snprintf(text, sizeof(text), "%d %llu", (int)pid, start_time(pid));
    r = write_state(o, FILE_PID, text, e);
    if (r == 0 && o->pid_file) {
        (void)snprintf(text, sizeof(text), "%d", (int)pid);
        r = fs_write_atomic(AT_FDCWD, o->pid_file, text, strlen(text), 0644, FS_NO_SYNC);
        if (r < 0)
            (void)error_set_errno(e, r, "cannot write %s", o->pid_file);
    }
    if (r < 0)
        (void)kill(pid, SIGKILL);
    return r;
}

static int cmd_create(struct options *o, struct error *e)
{
    AUTOFREE char *dir = state_path(o, "");
    struct oci_spec s = {0};
    int r = oci_spec_load(o->bundle, &s, e);

    if (r == 0 && (!s.linux || !s.process || !s.process->args || !s.process->args[0]))
        r = error_set(e, ERR_INVALID, "%s/config.json: linux and process.args are needed",
                      o->bundle);
    if (r == 0 && str_is_empty(s.linux->cgroups_path))
        s.linux->cgroups_path = xasprintf("/pouch-lxc/%s", o->id);
    if (r == 0 && fs_mkdir_p(o->root, 0711) < 0)
        r = error_set_errno(e, errno, "cannot create %s", o->root);
    if (r == 0 && mkdir(dir, 0711) < 0)
        r = errno == EEXIST ? error_set(e, ERR_CONFLICT, "container \"%s\" exists already", o->id)
                            : error_set_errno(e, errno, "cannot create %s", dir);
    if (r < 0)
        goto out;
    r = make_container(o, &s, e);
    if (r < 0)
        remove_container(o, s.linux->cgroups_path);
out:
    json_free(&oci_spec_json, &s);
    return r;
}

static int cmd_start(struct options *o, struct error *e)
{
    AUTOFREE char *path = state_path(o, FILE_GATE);
    int64_t end = time_monotonic_ns() + GATE_WAIT_NS;
    AUTOFD int gate = -EBADF;
    pid_t pid;
    int r = load_pid(o, &pid, e);

    if (r < 0)
        return r;
    if (!pid || is_started(o))
        return error_set(e, ERR_CONFLICT, "cannot start a container that is %s",
                         pid ? "running" : "stopped");
    /* The hook is on its way to open its end. */
    while ((gate = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0 && errno == ENXIO &&
           time_monotonic_ns() < end)
        (void)usleep(1000);
    if (gate < 0)
        return error_set_errno(e, errno, "the container does not wait at its gate");
    r = write_state(o, FILE_STARTED, "", e);
    if (r == 0 && write(gate, "g", 1) != 1)
        r = error_set_errno(e, errno, "cannot open the gate");
    return r;
}

static int cmd_state(struct options *o, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 16);
    AUTOFREE char *bundle = read_state(o, FILE_BUNDLE);
    AUTOFREE char *cgroup = read_state(o, FILE_CGROUP);
    struct jsonw w = {&b, false};
    const char *status;
    pid_t pid;
    int r = load_pid(o, &pid, e);

    if (r < 0)
        return r;
    status = !pid ? "stopped" : !is_started(o) ? "created" : "running";
    if (pid && cgroup && cgroup_is_frozen(cgroup))
        status = "paused";
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ociVersion", "1.0.2");
    jsonw_str(&w, "id", o->id);
    jsonw_str(&w, "status", status);
    jsonw_int(&w, "pid", pid);
    jsonw_str(&w, "bundle", bundle ? bundle : "");
    jsonw_end(&w);
    return puts(b.data ? b.data : "{}") < 0 ? -EIO : 0;
}

static int parse_signal(const char *text, int *ret)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (!*end && n > 0 && n < NSIG) {
        *ret = (int)n;
        return 0;
    }
    if (str_has_prefix(text, "SIG"))
        text += 3;
    for (int sig = 1; sig < NSIG; sig++) {
        const char *name = sigabbrev_np(sig);

        if (name && STREQ(name, text)) {
            *ret = sig;
            return 0;
        }
    }
    return -EINVAL;
}

static int cmd_kill(struct options *o, struct error *e)
{
    AUTOFREE char *cgroup = read_state(o, FILE_CGROUP);
    struct lxc_container *c;
    int sig = SIGTERM;
    pid_t keeper, init;
    int r = load_pid(o, &keeper, e);

    if (r < 0)
        return r;
    if (o->args[0] && parse_signal(o->args[0], &sig) < 0)
        return error_set(e, ERR_INVALID, "unknown signal \"%s\"", o->args[0]);
    if (!keeper)
        return error_set(e, ERR_CONFLICT, "container not running");
    if (o->all && cgroup)
        return cgroup_signal(cgroup, sig, e);
    if (!is_started(o)) {
        /* At the gate liblxc answers nothing; what would end a program ends the container. */
        if (sig != SIGKILL && sig != SIGTERM && sig != SIGINT && sig != SIGQUIT && sig != SIGHUP)
            return error_set(e, ERR_CONFLICT, "the container is not started yet");
        (void)kill(keeper, SIGKILL);
        return cgroup ? cgroup_kill(cgroup, e) : 0;
    }
    r = meet_keeper(keeper, e);
    if (r < 0)
        return r;
    c = lxc_container_new(o->id, o->root);
    init = c ? c->init_pid(c) : -1;
    if (init <= 0)
        return error_set(e, ERR_CONFLICT, "container not running");
    return kill(init, sig) < 0 ? error_set_errno(e, errno, "cannot signal the container") : 0;
}

static int cmd_delete(struct options *o, struct error *e)
{
    AUTOFREE char *cgroup = read_state(o, FILE_CGROUP);
    int64_t end = time_monotonic_ns() + GATE_WAIT_NS;
    unsigned long long start;
    pid_t pid;
    int r = load_pid(o, &pid, e);

    if (r < 0 && o->force) {
        error_done(e);
        return 0;
    }
    if (r < 0)
        return r;
    if (pid && !o->force)
        return error_set(e, ERR_CONFLICT, "container \"%s\" is not stopped (use --force)", o->id);
    if (pid) {
        start = start_time(pid);
        if (cgroup)
            (void)!cgroup_kill(cgroup, NULL);
        (void)kill(pid, SIGKILL);
        while (start_time(pid) == start && time_monotonic_ns() < end)
            (void)usleep(1000);
    }
    remove_container(o, cgroup);
    return 0;
}

static int cmd_exec(struct options *o, struct error *e)
{
    pid_t pid;
    int r = load_pid(o, &pid, e);

    if (r < 0)
        return r;
    if (!pid || !is_started(o))
        return error_set(e, ERR_CONFLICT, "container not running");
    r = meet_keeper(pid, e);
    return r == 0 ? attach_run(o, e) : r;
}

/* --- Options ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t place;
    bool value;
} flags[] = {
#define VALUE(member)  offsetof(struct options, member), true
#define SWITCH(member) offsetof(struct options, member), false
    {"--root", VALUE(root)},
    {"--log", VALUE(log)},
    {"--log-format", VALUE(log_format)},
    {"--bundle", VALUE(bundle)},
    {"--pid-file", VALUE(pid_file)},
    {"--console-socket", VALUE(console_socket)},
    {"--process", VALUE(process)},
    {"--force", SWITCH(force)},
    {"--all", SWITCH(all)},
    {"--detach", SWITCH(detach)},
};

static const struct {
    const char *name;
    int (*run)(struct options *o, struct error *e);
} commands[] = {
    {"create", cmd_create}, {"start", cmd_start},   {"state", cmd_state},
    {"kill", cmd_kill},     {"delete", cmd_delete}, {"exec", cmd_exec},
};

static const char usage[] =
    "usage: pouch-lxc [--root DIR] [--log FILE] [--log-format json] COMMAND ID\n\n"
    "An OCI runtime over liblxc, for `pouch run --runtime lxc`.\n\n"
    "  create --bundle DIR [--pid-file FILE] [--console-socket SOCKET] ID\n"
    "  start ID\n"
    "  state ID\n"
    "  kill [--all] ID [SIGNAL]\n"
    "  delete [--force] ID\n"
    "  exec --process FILE [--detach] [--pid-file FILE] [--console-socket SOCKET] ID\n";

static int parse_one(struct options *o, char ***argv, struct error *e)
{
    char *arg = **argv;
    char *eq = strchr(arg, '=');
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);

    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        void *place = (char *)o + flags[i].place;

        if (strlen(flags[i].name) != n || strncmp(flags[i].name, arg, n) != 0)
            continue;
        if (!flags[i].value) {
            *(bool *)place = true;
            return 0;
        }
        if (!eq && !(*argv)[1])
            return error_set(e, ERR_INVALID, "%s needs a value", arg);
        *(const char **)place = eq ? eq + 1 : *++*argv;
        return 0;
    }
    return error_set(e, ERR_INVALID, "unknown option %s", arg);
}

static void report(const struct options *o, const struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 16);
    AUTOFD int fd = o->log ? open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -EBADF;

    (void)fprintf(stderr, "pouch-lxc: %s\n", error_message(e));
    if (fd < 0)
        return;
    if (o->log_format && STREQ(o->log_format, "json")) {
        struct jsonw w = {&b, false};

        jsonw_begin(&w, NULL);
        jsonw_str(&w, "level", "error");
        jsonw_str(&w, "msg", error_message(e));
        jsonw_end(&w);
    } else {
        (void)buf_printf(&b, "level=error msg=\"%s\"", error_message(e));
    }
    (void)buf_putc(&b, '\n');
    (void)!fs_write_all(fd, b.data, b.len);
}

int main(int argc, char **argv)
{
    struct options o = {.root = DEFAULT_ROOT, .bundle = "."};
    struct error e = ERROR_INIT;
    const char *command = NULL;
    char **rest = argv + argc;
    char *bundle = NULL;
    int r = 0;

    (void)umask(022);
    if (argc == 3 + 3 && STREQ(argv[1], "hook")) /* called by LXC: hook DIR NAME SECTION TYPE */
        return keeper_hook(argv[2]);
    for (char **a = argv + 1; r == 0 && *a; a++) {
        if (STREQ(*a, "--help") || STREQ(*a, "-h"))
            return fputs(usage, stdout) < 0;
        if (STREQ(*a, "--version"))
            return printf("pouch-lxc %s (liblxc %s)\n", POUCH_VERSION, lxc_get_version()) < 0;
        if (**a == '-')
            r = parse_one(&o, &a, &e);
        else if (!command)
            command = *a;
        else if (!o.id) {
            o.id = *a;
            rest = a + 1;
        }
    }
    o.args = rest;
    if (r == 0 && (!command || !o.id || strchr(o.id, '/') || o.id[0] == '.')) {
        (void)fputs(usage, stderr);
        return 1;
    }
    bundle = realpath(o.bundle, NULL);
    o.bundle = bundle ? bundle : o.bundle;
    if (r == 0) {
        r = error_set(&e, ERR_INVALID, "unknown command %s", command);
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
            if (STREQ(commands[i].name, command)) {
                error_done(&e);
                r = commands[i].run(&o, &e);
            }
        }
    }
    if (r < 0)
        report(&o, &e);
    free(bundle);
    return r < 0 ? 1 : r;
}
