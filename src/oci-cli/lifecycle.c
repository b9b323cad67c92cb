/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create, start, run, kill, delete.
 *
 * Between create and start nobody holds pipes for init: its gate and its status are named pipes in
 * the state folder, opened for reading and writing by init's side so that neither ever sees an
 * end before its time.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/time.h"
#include "oci-cli/oci-cli.h"
#include "runtime/runtime.h"
#include "sys/cgroup-systemd.h"
#include "sys/cgroup.h"
#include "sys/seccomp.h"

#define SOON_MS 200

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

int write_pid_file(const char *path, pid_t pid, struct error *e)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d", pid);
    int r;

    if (!path)
        return 0;
    r = fs_write_atomic(AT_FDCWD, path, text, (size_t)n, 0644, FS_NO_SYNC);
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

/* A named pipe in the state folder, open both ways. */
static int make_fifo(const struct options *o, const char *id, const char *name, struct error *e)
{
    AUTOFREE char *path = state_path(o, id, name);
    int fd;

    if (mkfifo(path, 0600) < 0)
        return error_set_errno(e, errno, "cannot create %s", path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? error_set_errno(e, errno, "cannot open %s", path) : fd;
}

static int compile_seccomp(const struct oci_spec *s, struct buf *bpf, unsigned *flags,
                           struct error *e)
{
    const struct seccomp_filter *f = s->linux->seccomp;
    int r;

    if (!f)
        return 0;
    r = seccomp_flags_parse(f->flags, flags);
    if (r < 0)
        return error_set(e, ERR_INVALID, "linux.seccomp.flags: unknown flag");
    r = seccomp_compile_oci(f, bpf, e);
    if (r < 0)
        error_add(e, "linux.seccomp");
    return r;
}

struct made {
    struct oci_spec spec;
    struct state state;
    struct runtime_created created;
    int console; /* our end of the terminal's socket pair, -EBADF */
    struct cgroup_systemd scope;
    bool placed; /* the scope is there, and this container's */
};

static void made_done(struct made *m)
{
    json_free(&oci_spec_json, &m->spec);
    state_done(&m->state);
    runtime_created_done(&m->created);
    cgroup_systemd_done(&m->scope);
    if (m->console >= 0)
        close(m->console);
}

/* The socket the terminal's master is sent to: the caller's, or one of ours. */
int container_console(const struct options *o, bool terminal, bool foreground, int *ret_ours,
                      struct error *e)
{
    int pair[2];

    if (!terminal && o->console_socket)
        return error_set(e, ERR_INVALID, "--console-socket is for a process with a terminal");
    if (!terminal)
        return -EBADF;
    if (o->console_socket)
        return console_connect(o->console_socket, e);
    if (!foreground)
        return error_set(e, ERR_INVALID, "process.terminal needs --console-socket");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    *ret_ours = pair[0];
    return pair[1];
}

/* As /etc/passwd has it: this program is linked statically, without NSS. */
char *owner_name(void)
{
    AUTOFREE char *text = NULL;
    char *save = NULL;

    if (getuid() == 0) /* nearly always */
        return xstrdup("root");
    if (fs_read_file(AT_FDCWD, "/etc/passwd", 1u << 20, &text, NULL) == 0)
        for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
            char name[64];
            unsigned uid;

            if (sscanf(l, "%63[^:]:%*[^:]:%u:", name, &uid) == 2 && uid == getuid())
                return xstrdup(name);
        }
    return xasprintf("%u", getuid());
}

bool own_pid_namespace(const struct oci_spec *s)
{
    const struct oci_namespace *ns = oci_spec_namespace(s, "pid");

    return ns && str_is_empty(ns->path);
}

static int place_in_scope(void *data, pid_t init, const struct cgroup_resources *res,
                          struct error *e)
{
    struct made *m = data;
    int r = cgroup_systemd_start(&m->scope, init, res, e);

    m->placed = r == 0;
    return r;
}

/* Nothing that start and delete would have to read the specification for. */
static bool is_plain(const struct oci_spec *s)
{
    bool hooks = s->hooks && (s->hooks->poststart.len || s->hooks->poststop.len);

    return !hooks && !s->linux->intel_rdt;
}

/*
 * A cgroup that others live in is not taken over: the end of this container, or its failing, would be
 * theirs, too. One that is empty was left over, or made for it.
 */
static int check_cgroup(const char *path, struct error *e)
{
    AUTOFREE pid_t *pids = NULL;
    size_t n = 0;
    int r = cgroup_exists(path) ? cgroup_pids(path, &pids, &n, e) : 0;

    if (r == 0 && n)
        return error_set(e, ERR_CONFLICT,
                         "cgroup %s is not empty: it has %zu process%s of others; give the "
                         "container one of its own (linux.cgroupsPath)",
                         path, n, n == 1 ? "" : "es");
    if (r == 0 && cgroup_exists(path) && cgroup_is_frozen(path))
        return error_set(e, ERR_CONFLICT, "cgroup %s is frozen: nothing could start in it", path);
    return r;
}

/* Up to the gate. started: the caller goes on to open it. */
static int create(struct options *o, struct made *m, bool started, int gate, int status,
                  struct error *e)
{
    AUTO(buf) struct buf bpf = BUF_INIT(SECCOMP_BPF_MAX);
    AUTOFREE char *bundle = realpath(o->bundle ? o->bundle : ".", NULL);
    struct runtime_create p = {.io = RUNTIME_IO_INIT, .gate_fd = gate, .status_fd = status};
    AUTOFD int console = -EBADF;
    AUTOFREE char *cgroup = NULL;
    bool foreground = started && !o->detach;
    char *config;
    int r;

    if (!bundle)
        return error_set_errno(e, errno, "bundle %s", o->bundle ? o->bundle : ".");
    r = oci_spec_load_text(bundle, &m->spec, &m->state.config, e);
    if (r == 0 && !m->spec.process)
        r = error_set(e, ERR_INVALID, "%s/config.json: process: is required", bundle);
    if (r == 0)
        r = compile_seccomp(&m->spec, &bpf, &p.seccomp_flags, e);
    if (r < 0)
        return r;
    console = container_console(o, m->spec.process->terminal, foreground, &m->console, e);
    if (console < 0 && console != -EBADF)
        return console;
    if (o->systemd_cgroup) {
        r = cgroup_systemd_parse(m->spec.linux->cgroups_path, o->args[0], &m->scope, e);
        if (r < 0)
            return r;
        p.cgroup_path = m->scope.path;
        p.place = place_in_scope;
        p.place_data = m;
    }
    cgroup = p.cgroup_path ? xstrdup(p.cgroup_path) : runtime_cgroup_path(&m->spec, o->args[0]);
    r = check_cgroup(cgroup, e);
    if (r == 0)
        r = state_note_making(o, o->args[0], cgroup, m->scope.unit, e);
    if (r < 0)
        return r;
    p.id = o->args[0];
    p.bundle = bundle;
    p.spec = &m->spec;
    p.seccomp_bpf = bpf.data;
    p.seccomp_len = bpf.len;
    p.io.console_socket = console;
    p.preserve_fds = o->nfds;
    options_listen_env(o, &m->spec.process->env);
    p.flags = RUNTIME_UNTIL_KEPT | RUNTIME_FIND_PROGRAM | (foreground ? 0 : RUNTIME_NO_PDEATHSIG) |
              (o->no_new_keyring ? RUNTIME_NO_NEW_KEYRING : 0) |
              (o->no_pivot ? RUNTIME_NO_PIVOT : 0);
    r = runtime_create(&p, &m->created, e);
    if (r < 0)
        return r;
    for (size_t i = 0; m->created.warnings && m->created.warnings[i]; i++)
        warn_user(o, "%s", m->created.warnings[i]);
    config = take_ptr(m->state.config);
    m->state = (struct state){
        .id = xstrdup(o->args[0]),
        .bundle = xstrdup(bundle),
        .config = config,
        .cgroup_path = xstrdup(m->created.cgroup_path),
        .owner = owner_name(),
        .unit = xstrdup_or_null(m->scope.unit),
        .own_pid_ns = own_pid_namespace(&m->spec),
        .started = started,
        .plain = is_plain(&m->spec),
        .pid = m->created.pid,
        .start_time = state_start_time(m->created.pid),
        .created = time_now_ns(),
    };
    r = state_save(o, &m->state, e);
    if (r == 0)
        r = write_pid_file(o->pid_file, m->created.pid, e);
    return r;
}

static void undo_create(struct options *o, struct made *m)
{
    const char *cgroup = m->placed ? m->scope.path : m->created.cgroup_path;

    if (m->created.pid > 0) {
        (void)kill(m->created.pid, SIGKILL);
        (void)!cgroup_kill(cgroup, NULL);
        (void)waitpid(m->created.pid, NULL, 0);
    }
    if (m->placed)
        (void)!cgroup_systemd_stop(m->scope.unit, cgroup, NULL);
    if (m->placed || m->created.pid > 0)
        (void)!cgroup_remove(cgroup, NULL);
    (void)!state_remove_dir(o, o->args[0], NULL);
}

int cmd_create(struct options *o, struct error *e)
{
    CLEANUP(made_done)
    struct made m = {.created = {.pidfd = -EBADF, .keep_fd = -EBADF}, .console = -EBADF};
    AUTOFD int gate = -EBADF;
    AUTOFD int status = -EBADF;
    AUTOFD int lock = -EBADF;
    int r = state_check_id(o->args[0], e);

    if (r < 0)
        return r;
    lock = state_make_dir(o, o->args[0], e);
    if (lock < 0)
        return lock;
    gate = make_fifo(o, o->args[0], STATE_GATE, e);
    r = gate < 0 ? gate : 0;
    if (r == 0) {
        status = make_fifo(o, o->args[0], STATE_STATUS, e);
        r = status < 0 ? status : 0;
    }
    if (r == 0)
        r = create(o, &m, false, gate, status, e);
    if (r == 0)
        r = runtime_keep(&m.created, status, e);
    if (r < 0)
        undo_create(o, &m);
    return r;
}

/* Hooks after the start: one that fails ends the container (since runtime-spec 1.2). */
int poststart(const struct oci_spec *spec, const struct state *s, struct error *e)
{
    int r = runtime_run_hooks(spec, RUNTIME_HOOK_POSTSTART, s->id, s->bundle, (pid_t)s->pid,
                              "running", e);

    if (r < 0) {
        (void)!state_signal(s, SIGKILL);
        (void)!cgroup_kill(s->cgroup_path, NULL);
    }
    return r;
}

/*
 * The gate of a created container, for one start alone: the lock on it goes with the descriptor.
 * Init may end at any moment; nothing here waits for one that has. *ret_status: where it tells.
 */
static int open_gate(const struct options *o, const struct state *s, int *ret_status,
                     struct error *e)
{
    AUTOFREE char *gate_path = state_path(o, s->id, STATE_GATE);
    AUTOFREE char *status_path = state_path(o, s->id, STATE_STATUS);
    AUTOFD int status = open(status_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    AUTOFD int gate = status < 0 ? -errno : open(gate_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

    if (status >= 0 && gate >= 0 && flock(gate, LOCK_EX | LOCK_NB) < 0)
        return error_set(e, ERR_CONFLICT,
                         "cannot start container \"%s\": another pouch-oci is starting it", s->id);
    if (status < 0 || gate < 0 || write(gate, "g", 1) != 1)
        return error_set(e, ERR_CONFLICT, "cannot start container \"%s\": it %s meanwhile", s->id,
                         STREQ(state_status(s), "stopped") ? "has ended" : "was started");
    (void)fcntl(status, F_SETFL, 0);
    *ret_status = take_fd(status);
    return take_fd(gate);
}

int cmd_start(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    AUTOFREE char *gate_path = state_path(o, o->args[0], STATE_GATE);
    AUTOFREE char *status_path = state_path(o, o->args[0], STATE_STATUS);
    AUTOFD int gate = -EBADF;
    AUTOFD int status = -EBADF;
    struct oci_spec spec = {0};
    int r = state_load(o, o->args[0], &s, e);

    if (r < 0)
        return r;
    if (!STREQ(state_status(&s), "created"))
        return error_set(e, ERR_CONFLICT, "cannot start container \"%s\": it is %s", s.id,
                         state_status(&s));
    r = s.plain ? 0 : state_spec(&s, &spec, e);
    if (r < 0)
        return r;
    (void)signal(SIGPIPE, SIG_IGN);
    gate = open_gate(o, &s, &status, e);
    r = gate < 0 ? gate : runtime_status_read(status, e);
    if (r == 0) {
        /* Only now: exec must not enter a container whose init still is on its way in. */
        if (unlink(gate_path) < 0 && errno != ENOENT)
            r = error_set_errno(e, errno, "cannot remove %s", gate_path);
        (void)unlink(status_path);
    }
    if (r == 0 && !s.plain)
        r = poststart(&spec, &s, e);
    json_free(&oci_spec_json, &spec);
    return r;
}

/* What is left of an ended container; poststop hooks last. */
int remove_container(struct options *o, const struct state *s, struct error *e)
{
    CLEANUP(error_done) struct error hook = ERROR_INIT;
    struct oci_spec spec = {0};
    /* With a pid namespace of its own the kernel has killed all with init. */
    int r = s->own_pid_ns ? 0 : cgroup_kill(s->cgroup_path, e);

    if (r == 0 && s->unit && cgroup_systemd_stop(s->unit, s->cgroup_path, &hook) < 0) {
        warn_user(o, "%s", error_message(&hook));
        error_done(&hook);
    }
    if (r == 0)
        r = cgroup_remove(s->cgroup_path, e);
    if (r == 0)
        r = state_remove_dir(o, s->id, e);
    if (r < 0)
        return r;
    if (s->plain)
        return 0;
    if (state_spec(s, &spec, &hook) < 0) {
        warn_user(o, "%s: its poststop hooks are not run", error_message(&hook));
        return 0;
    }
    if (runtime_run_hooks(&spec, RUNTIME_HOOK_POSTSTOP, s->id, s->bundle, 0, "stopped", &hook) < 0)
        warn_user(o, "%s", error_message(&hook));
    runtime_rdt_remove(&spec, s->id);
    json_free(&oci_spec_json, &spec);
    return 0;
}

/* After the end of a container that this process has waited for: delete may have been quicker, and
 * the name may be another's by now. */
int remove_own(struct options *o, const struct state *s, struct error *e)
{
    CLEANUP(state_done) struct state now = {0};
    CLEANUP(error_done) struct error why = ERROR_INIT;
    AUTOFD int lock = state_lock(o, s->id, &why);

    if (lock < 0 && why.code == ERR_NOT_FOUND)
        return 0;
    if (lock < 0) {
        error_move(e, &why);
        return lock;
    }
    if (state_load(o, s->id, &now, NULL) < 0 || now.pid != s->pid ||
        now.start_time != s->start_time)
        return 0;
    return remove_container(o, s, e);
}

int cmd_run(struct options *o, struct error *e)
{
    CLEANUP(made_done)
    struct made m = {.created = {.pidfd = -EBADF, .keep_fd = -EBADF}, .console = -EBADF};
    int gate[2] = {-EBADF, -EBADF}, status[2] = {-EBADF, -EBADF};
    AUTOFD int lock = -EBADF;
    int r = state_check_id(o->args[0], e), code;

    if (r == 0 && (pipe2(gate, O_CLOEXEC) < 0 || pipe2(status, O_CLOEXEC) < 0))
        r = error_set_errno(e, errno, "cannot make a pipe");
    if (r < 0)
        return r;
    lock = state_make_dir(o, o->args[0], e);
    if (lock < 0)
        return lock;
    r = create(o, &m, true, gate[0], status[1], e);
    if (r == 0)
        r = runtime_keep(&m.created, status[0], e);
    close(status[1]);
    if (r == 0 && write(gate[1], "g", 1) != 1)
        r = error_set_errno(e, errno, "cannot start container \"%s\"", o->args[0]);
    if (r == 0)
        r = runtime_status_read(status[0], e);
    if (r < 0) {
        undo_create(o, &m);
        return r;
    }
    r = poststart(&m.spec, &m.state, e);
    if (r < 0) {
        CLEANUP(error_done) struct error why = ERROR_INIT;

        (void)waitpid(m.created.pid, NULL, 0);
        if (remove_container(o, &m.state, &why) < 0)
            warn_user(o, "%s", error_message(&why));
        return r;
    }
    if (o->detach)
        return 0;
    close(take_fd(lock));
    code = tty_wait(m.created.pid, m.console);
    r = o->keep ? 0 : remove_own(o, &m.state, e);
    return r < 0 ? r : code;
}

/* --- kill, delete --------------------------------------------------------------------------- */

/* "KILL", "SIGKILL", "sigkill", "RTMIN+3" */
static int signal_by_name(const char *text)
{
    AUTOFREE char *upper = xstrdup(text);
    const char *name;
    int64_t number = 0;

    for (char *p = upper; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    name = upper + (str_has_prefix(upper, "SIG") ? 3 : 0);
    for (int i = 1; i < NSIG; i++) {
        const char *abbrev = sigabbrev_np(i);

        if (abbrev && STREQ(abbrev, name))
            return i;
    }
    if (STREQ(name, "RTMIN"))
        return SIGRTMIN;
    if (str_has_prefix(name, "RTMIN+") && parse_i64(name + 6, &number) == 0 && number >= 0 &&
        number <= 30)
        return SIGRTMIN + (int)number;
    return -EINVAL;
}

static int parse_signal(const char *text, struct error *e)
{
    int64_t number = 0;
    int sig = parse_i64(text, &number) == 0
                  ? (number >= 0 && number <= SIGRTMAX ? (int)number : -EINVAL)
                  : signal_by_name(text);

    return sig < 0 ? error_set(e, ERR_INVALID, "unknown signal \"%s\"", text) : sig;
}

int cmd_kill(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    int sig = parse_signal(o->args[1] ? o->args[1] : "SIGTERM", e);
    int r = sig < 0 ? sig : state_load(o, o->args[0], &s, e);
    bool all;

    if (r < 0)
        return r;
    if (o->all)
        return sig == SIGKILL ? cgroup_kill(s.cgroup_path, e)
                              : cgroup_signal(s.cgroup_path, sig, e);
    /* Without a pid namespace of its own the others would outlive it. */
    all = sig == SIGKILL && !s.own_pid_ns && !STREQ(state_status(&s), "stopped");
    r = all ? cgroup_kill(s.cgroup_path, e) : 0;
    if (r < 0)
        return r;
    r = state_signal(&s, sig); /* without root's rights it may have no cgroup */
    if (r == -ESRCH && !all)   /* containerd looks for these words */
        return error_set(e, ERR_CONFLICT, "cannot kill container \"%s\": container not running",
                         s.id);
    if (r < 0 && r != -ESRCH)
        return error_set_errno(e, r, "cannot kill container \"%s\"", s.id);
    /* A frozen process dies of SIGKILL on v2; v1 wants it to be thawed. */
    if (sig == SIGKILL && cgroup_is_frozen(s.cgroup_path))
        (void)!cgroup_thaw(s.cgroup_path, NULL);
    return 0;
}

/* Waits until init has ended: by its pidfd, or by looking, on kernels and in namespaces without. */
static void wait_for_end(const struct state *s, int pidfd)
{
    struct pollfd p = {pidfd, POLLIN, 0};

    if (pidfd >= 0)
        (void)poll(&p, 1, 10000);
    for (int i = 0; i < 1000 && !STREQ(state_status(s), "stopped"); i++)
        sleep_ms(10);
}

/* A freezing container that is killed has to thaw first on v1. */
static int kill_and_wait(const struct state *s, struct error *e)
{
    AUTOFD int pidfd = state_open_init(s);
    struct pollfd init = {pidfd, POLLIN, 0};
    int r = 0;

    if (pidfd == -ESRCH)
        return 0;
    if (cgroup_is_frozen(s->cgroup_path))
        (void)!cgroup_thaw(s->cgroup_path, NULL);
    (void)!state_signal(s, SIGKILL);
    if (s->own_pid_ns && pidfd >= 0) /* all the others end with init */
        (void)poll(&init, 1, SOON_MS);
    if (!init.revents)
        r = cgroup_kill(s->cgroup_path, e);
    if (r < 0)
        return r;
    wait_for_end(s, pidfd);
    return STREQ(state_status(s), "stopped")
               ? 0
               : error_set(e, ERR_TIMEOUT, "container \"%s\" did not end within 10 s", s->id);
}

/* A folder without a state: whoever made the container was killed. Its init has ended with it, or is
 * about to; hooks of it may still run in the cgroup. */
static int remove_unfinished(struct options *o, struct error *e)
{
    const char *id = o->args[0];
    AUTOFREE char *cgroup = NULL;
    AUTOFREE char *unit = NULL;
    int r = 0;

    if (state_making(o, id, &cgroup, &unit) == 0) {
        r = cgroup_kill(cgroup, e);
        if (r == 0 && unit)
            r = cgroup_systemd_stop(unit, cgroup, e);
        if (r == 0)
            r = cgroup_remove(cgroup, e);
    }
    return r < 0 ? r : state_remove_dir(o, id, e);
}

static int delete (struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    AUTOFD int lock = -EBADF;
    int r = state_check_id(o->args[0], e);

    if (r < 0)
        return r;
    lock = state_lock(o, o->args[0], e);
    if (lock < 0)
        return lock;
    r = state_load(o, o->args[0], &s, e);
    if (r < 0 && e->code == ERR_NOT_FOUND) {
        if (!o->force) {
            error_add(e, "its create was killed (--force removes what is left)");
            return r;
        }
        error_done(e);
        return remove_unfinished(o, e);
    }
    if (r < 0 && o->force && e->code == ERR_INVALID) { /* no state that can be read */
        warn_user(o, "%s: its poststop hooks are not run", error_message(e));
        error_done(e);
        return remove_unfinished(o, e);
    }
    if (r < 0)
        return r;
    if (!STREQ(state_status(&s), "stopped")) {
        if (!o->force && !STREQ(state_status(&s), "created"))
            return error_set(e, ERR_CONFLICT,
                             "cannot delete container \"%s\": it is %s, not stopped (--force "
                             "kills it)",
                             s.id, state_status(&s));
        r = kill_and_wait(&s, e);
    }
    return r == 0 ? remove_container(o, &s, e) : r;
}

int cmd_delete(struct options *o, struct error *e)
{
    int r = delete (o, e);

    if (r < 0 && o->force && e->code == ERR_NOT_FOUND) {
        error_done(e);
        return 0;
    }
    return r;
}
