/* SPDX-License-Identifier: Apache-2.0 */
/* exec: a further process in a container. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/time.h"
#include "oci-cli/oci-cli.h"
#include "runtime/runtime.h"
#include "sys/cgroup.h"
#include "sys/seccomp.h"

#define ENTER_WAIT_NS (10 * NSEC_PER_SEC)

static int add_gids(const struct options *o, struct oci_process *p, struct error *e)
{
    for (size_t i = 0; o->gids && o->gids[i]; i++) {
        uint64_t gid;

        if (parse_u64(o->gids[i], &gid) < 0)
            return error_set(e, ERR_INVALID, "--additional-gids: \"%s\" is not a number",
                             o->gids[i]);
        oci_user_add_gid(&p->user, gid);
    }
    return 0;
}

static void add_caps(const struct options *o, struct oci_process *p)
{
    if (!strv_len(o->caps))
        return;
    if (!p->capabilities)
        p->capabilities = xcalloc(1, sizeof(*p->capabilities));
    for (size_t i = 0; o->caps[i]; i++) {
        strv_push(&p->capabilities->bounding, o->caps[i]);
        strv_push(&p->capabilities->effective, o->caps[i]);
        strv_push(&p->capabilities->permitted, o->caps[i]);
    }
}

/* What process.json does not say is as with the container's own process: nobody gets more rights, or
 * is less confined, by leaving something out. */
static void inherit(struct oci_process *p, const struct oci_process *own)
{
    struct oci_process copy = {0};

    json_copy(&oci_process_json, &copy, own);
    if (!p->capabilities)
        p->capabilities = take_ptr(copy.capabilities);
    if (!p->apparmor_profile)
        p->apparmor_profile = take_ptr(copy.apparmor_profile);
    if (!p->selinux_label)
        p->selinux_label = take_ptr(copy.selinux_label);
    if (!p->scheduler)
        p->scheduler = take_ptr(copy.scheduler);
    if (!p->io_priority)
        p->io_priority = take_ptr(copy.io_priority);
    if (!p->oom_score_adj.set)
        p->oom_score_adj = copy.oom_score_adj;
    if (!p->rlimits.len) {
        p->rlimits = copy.rlimits;
        copy.rlimits = (struct json_list){NULL, 0};
    }
    json_free(&oci_process_json, &copy);
}

/* The container's own process with what the options change, or process.json. */
static int make_process(const struct options *o, const struct oci_spec *spec, struct oci_process *p,
                        struct error *e)
{
    if (o->process) {
        AUTOFREE char *text = NULL;
        size_t len = 0;
        int r = fs_read_file(AT_FDCWD, o->process, OCI_SPEC_MAX, &text, &len);

        if (r < 0)
            return error_set_errno(e, r, "cannot read %s", o->process);
        r = json_parse(&oci_process_json, text, len, p, e);
        if (r < 0)
            error_add(e, "%s", o->process);
        else
            inherit(p, spec->process);
        return r;
    }
    if (!o->args[1])
        return error_set(e, ERR_INVALID, "exec: needs a command, or --process");
    json_copy(&oci_process_json, p, spec->process);
    strv_free(p->args);
    p->args = NULL;
    for (size_t i = 1; o->args[i]; i++)
        strv_push(&p->args, o->args[i]);
    p->terminal = o->tty;
    for (size_t i = 0; o->env && o->env[i]; i++)
        env_set(&p->env, o->env[i]);
    if (o->cwd)
        str_replace(&p->cwd, o->cwd);
    if (o->user)
        str_replace(&p->user.username, o->user);
    if (o->process_label)
        str_replace(&p->selinux_label, o->process_label);
    if (o->apparmor)
        str_replace(&p->apparmor_profile, o->apparmor);
    if (o->no_new_privs)
        p->no_new_privileges = true;
    add_caps(o, p);
    return add_gids(o, p, e);
}

static int console_for(const struct options *o, bool terminal, int *ret_ours, struct error *e)
{
    int pair[2];

    if (!terminal)
        return -EBADF;
    if (o->console_socket)
        return console_connect(o->console_socket, e);
    if (o->detach)
        return error_set(e, ERR_INVALID, "a terminal with --detach needs --console-socket");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    *ret_ours = pair[0];
    return pair[1];
}

static int exec_in(struct options *o, const struct state *s, int init, const char *cgroup,
                   const struct oci_spec *spec, const struct oci_process *process, struct error *e)
{
    AUTO(buf) struct buf bpf = BUF_INIT(SECCOMP_BPF_MAX);
    AUTOPTR(strv) char **warnings = NULL;
    AUTOFD int ours = -EBADF;
    AUTOFD int console = console_for(o, process->terminal, &ours, e);
    AUTOFD int pid_dir = -EBADF;
    int status[2];
    struct runtime_exec x = {
        .id = s->id,
        .init_pid = (pid_t)s->pid,
        .init_pidfd = init,
        .spec = spec,
        .process = process,
        .bundle = s->bundle,
        .cgroup_path = cgroup,
        .io = RUNTIME_IO_INIT,
        .flags = RUNTIME_NO_NEW_KEYRING | (o->detach ? RUNTIME_NO_PDEATHSIG : 0),
    };
    pid_t pid = 0;
    int r = 0;

    if (console < 0 && console != -EBADF)
        return console;
    if (spec->linux->seccomp) {
        r = seccomp_flags_parse(spec->linux->seccomp->flags, &x.seccomp_flags);
        if (r == 0)
            r = seccomp_compile_oci(spec->linux->seccomp, &bpf, e);
        if (r < 0)
            return r;
    }
    if (pipe2(status, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot make a pipe");
    x.io.console_socket = console;
    x.seccomp_bpf = bpf.data;
    x.seccomp_len = bpf.len;
    x.status_fd = status[1];
    /* Once joined, this process stands in the container: the host's folder is opened before. */
    pid_dir = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (o->pid_file && o->pid_file[0] == '/') {
        close(pid_dir);
        pid_dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    x.preserve_fds = o->nfds;
    r = runtime_exec(&x, &pid, &warnings, e);
    close(status[1]);
    for (size_t i = 0; warnings && warnings[i]; i++)
        warn_user(o, "%s", warnings[i]);
    if (r == 0) {
        r = runtime_status_read(status[0], e);
        if (r < 0) /* a zombie would keep the container's pid namespace from ending */
            (void)waitpid(pid, NULL, 0);
    }
    close(status[0]);
    if (r == 0 && o->pid_file) {
        char text[16];
        int n = snprintf(text, sizeof(text), "%d", pid);

        r = fs_write_atomic(pid_dir, o->pid_file + strspn(o->pid_file, "/"), text, (size_t)n, 0644,
                            FS_NO_SYNC);
        if (r < 0) { /* who asked for it would never find the process */
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
            return error_set_errno(e, r, "cannot write %s", o->pid_file);
        }
    }
    if (r < 0)
        return r;
    return o->detach ? 0 : tty_wait(pid, ours);
}

/* --cgroup: a path below the container's, which has to be there in every hierarchy. */
static int sub_cgroup(const struct options *o, const struct state *s, char **ret, struct error *e)
{
    const char *sub = o->cgroup;

    if (!sub || STREQ(sub, "/") || !*sub) {
        *ret = xstrdup(s->cgroup_path);
        return 0;
    }
    if (strchr(sub, ':'))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "--cgroup: a path for single controllers (\"%s\") is not supported", sub);
    *ret = xasprintf("%s/%s", s->cgroup_path, sub + strspn(sub, "/"));
    return cgroup_check_below(s->cgroup_path, *ret, e);
}

/* 1 the same, 0 not, -errno: who can say. */
static int same_file(const char *a, const char *b)
{
    struct stat x, y;

    if (stat(a, &x) < 0 || stat(b, &y) < 0)
        return -errno;
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* At the gate everything of the container is made, and init says so by its name. */
static bool at_gate(pid_t pid)
{
    AUTOFREE char *name = NULL;
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    return fs_read_file(AT_FDCWD, path, 64, &name, NULL) == 0 && STREQ(name, RUNTIME_AT_GATE "\n");
}

/* Before its pivot_root init's mount namespace shows the host, and until it is at the gate its masked paths may be
 * seen: nobody may enter then. */
static bool on_the_way(const struct state *s)
{
    char exe[32], root[32];

    if (at_gate((pid_t)s->pid))
        return false;
    (void)snprintf(exe, sizeof(exe), "/proc/%d/exe", (pid_t)s->pid);
    (void)snprintf(root, sizeof(root), "/proc/%d/root", (pid_t)s->pid);
    /* Without root's rights nothing can be seen of init before it executes the program. */
    if (!s->started)
        return same_file(exe, "/proc/self/exe") != 0;
    /* A container's own program may be this one, too. */
    return same_file(exe, "/proc/self/exe") == 1 && same_file(root, "/") == 1;
}

static int check_state(const struct options *o, const struct state *s, struct error *e)
{
    const char *status = state_status(s);
    int64_t end = time_monotonic_ns() + ENTER_WAIT_NS;

    if (STREQ(status, "paused") && o->ignore_paused)
        return 0;
    if (STREQ(status, "paused"))
        return error_set(e, ERR_CONFLICT,
                         "cannot exec in container \"%s\": it is paused (--ignore-paused goes "
                         "on, and waits)",
                         s->id);
    while (!STREQ(status, "stopped") && on_the_way(s)) {
        if (time_monotonic_ns() > end)
            return error_set(e, ERR_TIMEOUT,
                             "cannot exec in container \"%s\": it was not made within 10 s", s->id);
        (void)nanosleep(&(struct timespec){0, NSEC_PER_SEC / 1000}, NULL);
        status = state_status(s);
    }
    if (STREQ(status, "stopped"))
        return error_set(e, ERR_CONFLICT, "cannot exec in container \"%s\": it is stopped", s->id);
    return 0;
}

int cmd_exec(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    AUTOFREE char *cgroup = NULL;
    struct oci_spec spec = {0};
    struct oci_process process = {0};
    AUTOFD int init = -EBADF;
    int r = state_load(o, o->args[0], &s, e);

    if (r < 0)
        return r;
    /* Held before it is looked at: a process that gets its number later is never entered. */
    init = state_open_init(&s);
    r = check_state(o, &s, e);
    if (r == 0)
        r = sub_cgroup(o, &s, &cgroup, e);
    if (r == 0)
        r = state_spec(&s, &spec, e);
    if (r == 0)
        r = make_process(o, &spec, &process, e);
    if (r == 0) {
        options_listen_env(o, &process.env);
        r = exec_in(o, &s, init, cgroup, &spec, &process, e);
    }
    json_free(&oci_spec_json, &spec);
    json_free(&oci_process_json, &process);
    return r;
}
