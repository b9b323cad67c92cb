/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last steps of a process, the same for a container's init and for an exec: terminal, limits,
 * user, capabilities, seccomp, working directory, exec.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"
#include "sys/path.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

void plan_warn(const struct process_plan *plan, const char *fmt, ...)
{
    AUTOFREE char *text = NULL;
    va_list ap;

    if (plan->warn_fd < 0)
        return;
    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    (void)!sync_send(plan->warn_fd, SYNC_WARNING, NULL, text, -EBADF);
}

void process_die(int status_fd, const struct error *e)
{
    struct runtime_status st;

    status_from_error(&st, e);
    (void)!fs_write_all(status_fd, &st, sizeof(st));
    _exit(error_exit_code(e->code) > 1 ? error_exit_code(e->code) : 1);
}

pid_t process_clone(uint64_t flags, int *cgroup_fd, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = flags | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    long pid;

    /* A child of our parent gets our own exit signal, and may not name one. */
    if (flags & CLONE_PARENT)
        args.exit_signal = 0;
    *ret_pidfd = -EBADF;
    if (*cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)*cgroup_fd;
        pid = syscall(SYS_clone3, &args, sizeof(args));
        if (pid >= 0 || (errno != EBUSY && errno != EOPNOTSUPP && errno != EINVAL &&
                         errno != ENOSYS && errno != EACCES && errno != E2BIG))
            return pid < 0 ? -errno : (pid_t)pid;
        args.flags &= ~(uint64_t)CLONE_INTO_CGROUP;
        args.cgroup = 0;
        *cgroup_fd = -EBADF;
    }
    pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid < 0 && (errno == ENOSYS || errno == EPERM)) {
        /* clone3 is hidden by some seccomp profiles (they answer ENOSYS for this purpose). */
        unsigned long old = (unsigned long)flags | CLONE_PIDFD;

        if (!(flags & CLONE_PARENT))
            old |= SIGCHLD;
        pid = syscall(SYS_clone, old, NULL, ret_pidfd, NULL, 0);
    }
    return pid < 0 ? -errno : (pid_t)pid;
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void close_between(unsigned from, unsigned to)
{
    if (from > to)
        return;
    if (syscall(SYS_close_range, from, to, 0) == 0)
        return;
    /* Before Linux 5.9. */
    for (unsigned fd = from; fd <= to && fd < 65536; fd++)
        close((int)fd);
}

void process_close_others(int *keep, size_t n, unsigned first)
{
    unsigned next = first;

    if (n > 0)
        qsort(keep, n, sizeof(int), compare_ints);
    for (size_t i = 0; i < n; i++) {
        if (keep[i] < (int)next)
            continue;
        if ((unsigned)keep[i] > next)
            close_between(next, (unsigned)keep[i] - 1);
        next = (unsigned)keep[i] + 1;
    }
    close_between(next, UINT_MAX);
}

/* --- preparing ----------------------------------------------------------------------------- */

int process_rlimit_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {
        {"RLIMIT_AS", RLIMIT_AS},
        {"RLIMIT_CORE", RLIMIT_CORE},
        {"RLIMIT_CPU", RLIMIT_CPU},
        {"RLIMIT_DATA", RLIMIT_DATA},
        {"RLIMIT_FSIZE", RLIMIT_FSIZE},
        {"RLIMIT_LOCKS", RLIMIT_LOCKS},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
        {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
        {"RLIMIT_NICE", RLIMIT_NICE},
        {"RLIMIT_NOFILE", RLIMIT_NOFILE},
        {"RLIMIT_NPROC", RLIMIT_NPROC},
        {"RLIMIT_RSS", RLIMIT_RSS},
        {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
        {"RLIMIT_RTTIME", RLIMIT_RTTIME},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
        {"RLIMIT_STACK", RLIMIT_STACK},
    };

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (STREQ(known[i].name, name))
            return known[i].number;
    return -EINVAL;
}

/* A hard limit cannot be raised without CAP_SYS_RESOURCE: then as much as there is is given. */
static int prepare_rlimits(struct process_plan *plan, struct error *e)
{
    const struct json_list *list = &plan->process->rlimits;
    const struct oci_rlimit *want = list->items;

    if (!list->len)
        return 0;
    plan->rlimits = xcalloc(list->len, sizeof(*plan->rlimits));
    for (size_t i = 0; i < list->len; i++) {
        int number = process_rlimit_number(want[i].type);
        struct rlimit now, set = {want[i].soft, want[i].hard};

        if (number < 0)
            return error_set(e, ERR_INVALID, "process.rlimits[%zu]: unknown type \"%s\"", i,
                             want[i].type);
        if (want[i].soft > want[i].hard)
            return error_set(e, ERR_INVALID,
                             "process.rlimits[%zu]: %s: the soft limit is above the hard limit", i,
                             want[i].type);
        if (getrlimit((__rlimit_resource_t)number, &now) == 0 && set.rlim_max > now.rlim_max &&
            setrlimit((__rlimit_resource_t)number, &set) < 0) {
            if (errno != EPERM)
                return error_set_errno(e, errno, "cannot set %s to %llu", want[i].type,
                                       (unsigned long long)want[i].hard);
            set.rlim_max = now.rlim_max;
            if (set.rlim_cur > now.rlim_max)
                set.rlim_cur = now.rlim_max;
            plan_warn(plan,
                      "%s: the hard limit cannot be raised to %llu here (CAP_SYS_RESOURCE is "
                      "missing): %llu is given",
                      want[i].type, (unsigned long long)want[i].hard,
                      (unsigned long long)set.rlim_max);
        }
        plan->rlimits[i] = set;
    }
    return 0;
}

/* Without process.capabilities a process has none, as with runc and crun. */
static int prepare_caps(struct process_plan *plan, struct error *e)
{
    const struct oci_capabilities none = {0};
    const struct oci_capabilities *c = plan->process->capabilities ? plan->process->capabilities
                                                                   : &none;
    AUTOPTR(strv) char **unknown = NULL;
    struct caps_sets *s = &plan->caps;
    uint64_t have, lost;
    int r;

    *s = (struct caps_sets){0};
    r = caps_from_names(c->bounding, &s->bounding, &unknown, e);
    if (r == 0)
        r = caps_from_names(c->effective, &s->effective, &unknown, e);
    if (r == 0)
        r = caps_from_names(c->permitted, &s->permitted, &unknown, e);
    if (r == 0)
        r = caps_from_names(c->inheritable, &s->inheritable, &unknown, e);
    if (r == 0)
        r = caps_from_names(c->ambient, &s->ambient, &unknown, e);
    if (r < 0)
        return r;
    for (size_t i = 0; unknown && unknown[i]; i++)
        plan_warn(plan, "unknown capability %s: not given", unknown[i]);
    /* As root until here, what is in the bounding set is permitted, too. */
    have = caps_in_bounding(s->bounding | s->permitted | s->inheritable);
    lost = (s->bounding | s->permitted) & ~have;
    for (unsigned i = 0; i < 64 && lost >> i; i++)
        if (lost & UINT64_C(1) << i && i <= caps_last())
            plan_warn(plan, "capability %s: not available here, not given",
                      caps_name(i) ? caps_name(i) : "of a newer kernel");
    lost = s->effective & ~s->permitted;
    for (unsigned i = 0; i < 64 && lost >> i; i++)
        if (lost & UINT64_C(1) << i && i <= caps_last() && caps_name(i))
            plan_warn(plan, "capability %s is effective but not permitted: not given",
                      caps_name(i));
    s->bounding &= have;
    s->permitted &= have;
    s->effective &= s->permitted;
    s->inheritable &= have;
    s->ambient &= s->permitted & s->inheritable;
    return 0;
}

/* Lowering needs CAP_SYS_RESOURCE; then the container starts with what the engine has. */
int process_set_oom_score(struct process_plan *plan, struct error *e)
{
    char text[16];
    int r;

    if (!plan->process->oom_score_adj.set)
        return 0;
    (void)snprintf(text, sizeof(text), "%d", (int)plan->process->oom_score_adj.value);
    r = fs_write_existing(AT_FDCWD, "/proc/self/oom_score_adj", text);
    if (r == -EACCES || r == -EPERM) {
        plan_warn(plan, "oom_score_adj %s: not permitted here (CAP_SYS_RESOURCE is missing)", text);
        return 0;
    }
    return r < 0 ? error_set_errno(e, r, "cannot set oom_score_adj to %s", text) : 0;
}

void process_note_program(struct process_plan *plan)
{
    struct stat st;

    if (stat("/proc/self/exe", &st) == 0) {
        plan->own_dev = st.st_dev;
        plan->own_ino = st.st_ino;
    }
}

int process_prepare(struct process_plan *plan, int rootfd, struct error *e)
{
    const struct oci_process *p = plan->process;
    int r = user_lookup(rootfd, &p->user, &plan->user, e);

    if (r < 0)
        return r;
    plan->env = strv_copy(p->env);
    if (str_is_empty(env_get(plan->env, "HOME"))) {
        AUTOFREE char *home = xasprintf("HOME=%s",
                                        str_is_empty(plan->user.home) ? "/" : plan->user.home);

        env_set(&plan->env, home);
    }
    r = attributes_check(p, plan->container, e);
    if (r == 0)
        r = prepare_rlimits(plan, e);
    if (r == 0)
        r = prepare_caps(plan, e);
    if (r == 0 && plan->create_cwd && !STREQ(p->cwd, "/")) {
        AUTOFD int fd = path_mkdir_in(rootfd, p->cwd, 0755, 0, 0);

        if (fd < 0 && fd != -ENOTDIR && fd != -EROFS && fd != -EACCES && fd != -ELOOP &&
            fd != -ENOENT) /* what cannot be made: chdir will say it */
            r = error_set_errno(e, fd, "cannot create the working directory %s", p->cwd);
        else if (fd == -ENOTDIR)
            r = error_set(e, ERR_COMMAND_NOT_EXECUTABLE,
                          "cannot use %s as working directory: not a directory", p->cwd);
    }
    return r;
}

int runtime_resolve_user(int rootfd, struct oci_process *p, struct error *e)
{
    struct process_user user = {0};
    int r = user_lookup(rootfd, &p->user, &user, e);

    if (r < 0)
        return r;
    p->user.uid = user.uid;
    p->user.gid = user.gid;
    p->user.additional_gids.len = 0;
    for (size_t i = 0; i < user.ngroups; i++)
        oci_user_add_gid(&p->user, user.groups[i]);
    str_replace(&p->user.username, NULL);
    strv_free(take_ptr(p->user.group_names));
    if (str_is_empty(env_get(p->env, "HOME")))
        strv_pushf(&p->env, "HOME=%s", str_is_empty(user.home) ? "/" : user.home);
    process_user_done(&user);
    return 0;
}

/* --- terminal and streams ------------------------------------------------------------------ */

/* A pty of the container's own devpts; the master goes to whoever serves the console. */
static int open_own_pty(int rootfd, int sock, struct error *e)
{
    AUTOFD int master = path_open_in(rootfd, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, 0, 0);
    static const char name[] = "/dev/ptmx";
    struct iovec iov = {(void *)(uintptr_t)name, sizeof(name) - 1};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct cmsghdr *c;
    struct stat st;
    int unlock = 0, slave;

    if (master < 0)
        return error_set_errno(e, master, "cannot open a terminal: the container's /dev/pts/ptmx");
    if (fstat(master, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
        return error_set(e, ERR_INVALID, "the container's /dev/pts/ptmx is no terminal master");
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return error_set_errno(e, errno, "cannot unlock the terminal");
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return error_set_errno(e, errno, "cannot open the terminal");
    hdr.msg_control = control.bytes;
    hdr.msg_controllen = sizeof(control.bytes);
    c = CMSG_FIRSTHDR(&hdr);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &master, sizeof(int));
    if (sendmsg(sock, &hdr, MSG_NOSIGNAL) < 0) {
        int errnum = errno;

        close(slave);
        return error_set_errno(e, errnum, "cannot hand over the terminal");
    }
    return slave;
}

/* The streams belong to the user, so that /dev/stdout can be opened again. */
static void chown_stream(int fd, const struct process_user *u)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_uid == u->uid ||
        (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
        return;
    (void)!fchown(fd, u->uid, S_ISCHR(st.st_mode) ? (gid_t)-1 : st.st_gid);
}

int process_setup_io(struct process_plan *plan, int rootfd, int *ret_console, struct error *e)
{
    const struct runtime_io *io = plan->io;
    const struct oci_console_size *size = plan->process->console_size;
    int streams[3] = {io->stdin_fd, io->stdout_fd, io->stderr_fd};
    bool terminal = plan->process->terminal;
    int console = terminal ? io->console_fd : -EBADF;

    if (terminal && console < 0 && io->console_socket > 0) {
        console = open_own_pty(rootfd, io->console_socket, e);
        if (console < 0)
            return console;
    }
    (void)setsid();
    if (console >= 0) {
        if (size && size->height && size->width) {
            struct winsize w = {.ws_row = (unsigned short)size->height,
                                .ws_col = (unsigned short)size->width};

            (void)ioctl(console, TIOCSWINSZ, &w);
        }
        if (ioctl(console, TIOCSCTTY, 0) < 0)
            return error_set_errno(e, errno, "cannot make the terminal controlling");
        for (int i = 0; i < 3; i++)
            streams[i] = console;
    }
    for (int i = 0; i < 3; i++) {
        if (streams[i] >= 0 && streams[i] != i && dup2(streams[i], i) < 0)
            return error_set_errno(e, errno, "cannot set up standard streams");
        if (streams[i] == i) /* dup2 would have cleared it */
            (void)fcntl(i, F_SETFD, 0);
        if (plan->user.uid != 0)
            chown_stream(i, &plan->user);
    }
    *ret_console = console;
    return 0;
}

/* --- the last steps ------------------------------------------------------------------------ */

bool process_lsm_is_on(const char *name)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;

    if (STREQ(name, "selinux"))
        return access("/sys/fs/selinux/enforce", F_OK) == 0;
    return fs_read_file(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", 16, &text, &len) ==
               0 &&
           text[0] == 'Y';
}

/* Whoever asks for a label counts on being confined: without is not an answer. */
int process_check_labels(const struct oci_process *p, struct error *e)
{
    if (!str_is_empty(p->apparmor_profile) && !STREQ(p->apparmor_profile, "unconfined") &&
        !process_lsm_is_on("apparmor"))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "process.apparmorProfile \"%s\": this host does not run AppArmor "
                         "(\"unconfined\" asks for none)",
                         p->apparmor_profile);
    if (!str_is_empty(p->selinux_label) && !process_lsm_is_on("selinux"))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "process.selinuxLabel \"%s\": this host does not run SELinux",
                         p->selinux_label);
    return 0;
}

/* The container's /proc is ours: it was mounted by the runtime, or nothing is written. */
static int set_labels(const struct process_plan *plan, struct error *e)
{
    const struct oci_process *p = plan->process;

    if (plan->apparmor && !str_is_empty(p->apparmor_profile) &&
        !STREQ(p->apparmor_profile, "unconfined")) {
        AUTOFREE char *text = xasprintf("exec %s", p->apparmor_profile);
        int r = fs_write_existing(AT_FDCWD, "/proc/thread-self/attr/apparmor/exec", text);

        if (r == -ENOENT)
            r = fs_write_existing(AT_FDCWD, "/proc/thread-self/attr/exec", text);
        if (r < 0)
            return error_set_errno(e, r, "cannot apply AppArmor profile \"%s\"%s",
                                   p->apparmor_profile, r == -ENOENT ? " (is it loaded?)" : "");
    }
    if (plan->selinux && !str_is_empty(p->selinux_label)) {
        int r = fs_write_existing(AT_FDCWD, "/proc/thread-self/attr/exec", p->selinux_label);

        if (r < 0)
            return error_set_errno(e, r, "cannot apply SELinux label \"%s\"", p->selinux_label);
    }
    return 0;
}

static int set_user(const struct process_plan *plan, struct error *e)
{
    const struct process_user *u = &plan->user;

    /* Without setgroups in a user namespace that forbids it, nothing is lost: there are none. */
    if (setgroups(u->ngroups, u->groups) < 0 && !(plan->new_userns && errno == EPERM))
        return error_set_errno(e, errno, "cannot set the groups of user %u", u->uid);
    if (setresgid(u->gid, u->gid, u->gid) < 0)
        return error_set_errno(e, errno, "cannot become group %u%s", u->gid,
                               errno == EINVAL ? " (not mapped in the user namespace)" : "");
    if (setresuid(u->uid, u->uid, u->uid) < 0)
        return error_set_errno(e, errno, "cannot become user %u%s", u->uid,
                               errno == EINVAL ? " (not mapped in the user namespace)" : "");
    return 0;
}

static int set_rights(struct process_plan *plan, struct error *e)
{
    const struct caps_sets *c = &plan->caps;
    bool nnp = plan->process->no_new_privileges;
    int r;

    if (nnp && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(e, errno, "cannot set no_new_privs");
    /* Before the other filter, which need not allow what this takes. */
    r = notify_install_view(plan, e);
    if (r < 0)
        return r;
    /* Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before that goes; with it,
     * it comes last, so that the profile need not allow the steps in between. */
    if (!nnp && plan->seccomp_len) {
        r = notify_install(plan, e);
        if (r < 0)
            return r;
    }
    r = caps_drop_bounding(c->bounding);
    if (r < 0)
        return error_set_errno(e, r, "cannot drop capabilities from the bounding set");
    if (plan->user.uid != 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return error_set_errno(e, errno, "cannot keep capabilities");
    r = set_user(plan, e);
    if (r < 0)
        return r;
    r = caps_set(c->effective, c->permitted, c->inheritable);
    if (r < 0)
        return error_set_errno(e, r, "cannot set capabilities");
    r = c->ambient || plan->user.uid != 0 ? caps_set_ambient(c->ambient) : 0;
    return r < 0 ? error_set_errno(e, r, "cannot set ambient capabilities") : 0;
}

/* chdir as root first (the user may not pass the folders above); false: try again as the user. */
static int enter_cwd(const char *cwd, bool again, bool *done, struct error *e)
{
    char where[PATH_MAX];

    if (*done)
        return 0;
    if (chdir(cwd) < 0) {
        if ((errno == EACCES || errno == EPERM) && !again)
            return 0;
        return error_set(e, errno == ENOENT ? ERR_COMMAND_NOT_FOUND : ERR_COMMAND_NOT_EXECUTABLE,
                         "chdir to cwd (\"%s\") failed: %s", cwd, strerror(errno));
    }
    /* Through a leaked folder of the host (/proc/self/fd/N) the root would be left behind: the
     * kernel then calls the place "(unreachable)" (CVE-2024-21626). */
    if (syscall(SYS_getcwd, where, sizeof(where)) < 0 || where[0] != '/')
        return error_set(e, ERR_COMMAND_NOT_EXECUTABLE, "cwd (\"%s\") is outside of the container",
                         cwd);
    *done = true;
    return 0;
}

static int exec_error(const char *name, int errnum, struct error *e)
{
    bool missing = errnum == ENOENT || errnum == ENOTDIR;

    if (errnum == ENOENT && access(name, F_OK) == 0)
        return error_set(e, ERR_COMMAND_NOT_FOUND,
                         "exec: \"%s\": its interpreter or loader is not in the container: "
                         "no such file or directory",
                         name);
    if (missing)
        return error_set(e, ERR_COMMAND_NOT_FOUND, "exec: \"%s\": stat %s: %s", name, name,
                         errnum == ENOENT ? "no such file or directory" : "not a directory");
    switch (errnum) {
    case EACCES:
    case EPERM:
    case EISDIR: /* docker's CLI makes its 126 of these words */
        return error_set(e, ERR_COMMAND_NOT_EXECUTABLE, "exec: \"%s\": permission denied", name);
    case ENOEXEC:
        return error_set(e, ERR_COMMAND_NOT_EXECUTABLE, "exec: \"%s\": exec format error", name);
    default:
        return error_set(e,
                         errnum == ENOMEM || errnum == EAGAIN ? ERR_INTERNAL
                                                              : ERR_COMMAND_NOT_EXECUTABLE,
                         "exec: \"%s\": %s", name, strerror(errnum));
    }
}

/* 0: it may work, only the exec will tell; -ENOENT, -EACCES: it cannot. */
static int look_at(int rootfd, const char *path)
{
    AUTOFD int fd = path_open_in(rootfd, path, O_PATH, 0, 0);
    struct stat st;

    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR ? -ENOENT : 0;
    if (fstat(fd, &st) < 0)
        return 0;
    return S_ISDIR(st.st_mode) || !(st.st_mode & 0111) ? -EACCES : 0;
}

int process_find_program(const struct process_plan *plan, int rootfd, struct error *e)
{
    const char *name = plan->process->args[0];
    const char *path = env_get(plan->env, "PATH");
    bool denied = false;

    if (strchr(name, '/')) {
        AUTOFREE char *full = name[0] == '/' ? xstrdup(name)
                                             : xasprintf("%s/%s", plan->process->cwd, name);
        int r = look_at(rootfd, full);

        if (r == -ENOENT) /* not exec_error(): the host may have it */
            return error_set(e, ERR_COMMAND_NOT_FOUND,
                             "exec: \"%s\": stat %s: no such file or directory", name, name);
        return r < 0 ? exec_error(name, -r, e) : 0;
    }
    for (const char *p = path ? path : DEFAULT_PATH; *name; p++) {
        size_t n = strcspn(p, ":");
        AUTOFREE char *full = n && *p == '/'
                                  ? xasprintf("%.*s/%s", (int)n, p, name)
                                  : xasprintf("%s/%.*s/%s", plan->process->cwd, (int)n, p, name);
        int r = look_at(rootfd, full);

        if (r == 0)
            return 0;
        denied |= r == -EACCES;
        p += n;
        if (!*p)
            break;
    }
    return denied ? 0
                  : error_set(e, ERR_COMMAND_NOT_FOUND,
                              "exec: \"%s\": executable file not found in $PATH", name);
}

static int try_exec(const struct process_plan *plan, const char *name)
{
    struct stat st;

    /* /proc/self/exe as the container's program would be the runtime once more. It could not be
     * written to (it stands on a read-only mount), but has no business in there (CVE-2019-5736). */
    if (plan->own_ino && stat(name, &st) == 0 && st.st_dev == plan->own_dev &&
        st.st_ino == plan->own_ino)
        return -EACCES;
    execve(name, plan->process->args, plan->env);
    if (errno == EACCES && stat(name, &st) == 0 && S_ISDIR(st.st_mode))
        return -EISDIR;
    return -errno;
}

/* As execvp, but with the container's PATH, and telling what the best candidate's trouble was. */
static void exec_search(const struct process_plan *plan, struct error *e)
{
    const char *name = plan->process->args[0];
    const char *path = env_get(plan->env, "PATH");
    AUTOFREE char *denied = NULL;
    int denied_errno = 0;

    if (strchr(name, '/')) {
        (void)exec_error(name, -try_exec(plan, name), e);
        return;
    }
    if (!path)
        path = DEFAULT_PATH;
    for (const char *p = path; *name; p++) {
        size_t n = strcspn(p, ":");
        AUTOFREE char *full = n ? xasprintf("%.*s/%s", (int)n, p, name) : xasprintf("./%s", name);
        int r = try_exec(plan, full);

        if (r == -EISDIR || r == -EACCES) {
            /* a folder or a file without x bit: looked past, as shells do */
            struct stat st;

            if (!denied && r == -EACCES && stat(full, &st) == 0 && S_ISREG(st.st_mode)) {
                denied = take_ptr(full);
                denied_errno = -r;
            }
        } else if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP && r != -ENAMETOOLONG) {
            (void)exec_error(full, -r, e);
            return;
        } else if (r == -ENOENT && access(full, X_OK) == 0) {
            (void)exec_error(full, ENOENT, e); /* it is there: its interpreter is not */
            return;
        }
        p += n;
        if (!*p)
            break;
    }
    if (denied)
        (void)exec_error(name, denied_errno, e);
    else
        (void)error_set(e, ERR_COMMAND_NOT_FOUND,
                        "exec: \"%s\": executable file not found in $PATH", name);
}

/* Changing ids has cleared the death signal. A parent that died meanwhile is noticed by the status
 * pipe, which then has no reader: getppid() says nothing across pid namespaces. */
static int bind_to_parent(const struct process_plan *plan, struct error *e)
{
    struct pollfd p = {plan->status_fd, 0, 0};

    if (plan->flags & RUNTIME_NO_PDEATHSIG)
        return 0;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return error_set_errno(e, errno, "cannot set the parent death signal");
    if (poll(&p, 1, 0) == 1 && p.revents & POLLERR)
        _exit(1);
    return 0;
}

static int finish(struct process_plan *plan, struct error *e)
{
    const struct oci_process *p = plan->process;
    const struct oci_rlimit *limits = p->rlimits.items;
    bool in_cwd = false;
    int r = set_labels(plan, e);

    if (r == 0)
        r = attributes_apply(p, plan->container, e);
    if (r < 0)
        return r;
    if (!(plan->flags & RUNTIME_NO_NEW_KEYRING)) {
        AUTOFREE char *name = xasprintf("_ses.%s", plan->id);

        /* Kernels without keyrings, or with the quota used up, still run containers. */
        (void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0);
    }
    for (size_t i = 0; i < p->rlimits.len; i++)
        if (setrlimit((__rlimit_resource_t)process_rlimit_number(limits[i].type),
                      &plan->rlimits[i]) < 0)
            return error_set_errno(e, errno, "cannot set %s", limits[i].type);
    umask(p->user.umask.set ? (mode_t)(p->user.umask.value & 0777) : 0022);
    r = enter_cwd(p->cwd, false, &in_cwd, e);
    if (r == 0)
        r = set_rights(plan, e);
    if (r == 0)
        r = enter_cwd(p->cwd, true, &in_cwd, e);
    if (r < 0)
        return r;
    r = bind_to_parent(plan, e);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < plan->preserve_fds; i++)
        (void)fcntl((int)(3 + i), F_SETFD, 0);
    return p->no_new_privileges && plan->seccomp_len ? notify_install(plan, e) : 0;
}

static void reset_signals(void)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

void process_exec(struct process_plan *plan)
{
    struct error e = ERROR_INIT;

    reset_signals();
    if (finish(plan, &e) == 0 && (!plan->mini_init || process_become_init(plan, &e) == 0))
        exec_search(plan, &e);
    process_die(plan->status_fd, &e);
}
