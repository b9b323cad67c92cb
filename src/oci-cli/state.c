/* SPDX-License-Identifier: Apache-2.0 */
/* The state folder of a container: see oci-cli.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/time.h"
#include "oci-cli/oci-cli.h"
#include "sys/cgroup.h"

#define LOCK_WAIT_NS (20 * NSEC_PER_SEC)
/* Links that lead nowhere: made in one step, and read in one. */
#define MAKING_CGROUP "making-cgroup"
#define MAKING_UNIT   "making-unit"

#define TYPE struct state
static const struct json_field state_fields[] = {
    JSON_FIELD(TYPE, id, "id", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(TYPE, bundle, "bundle", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(TYPE, cgroup_path, "cgroupPath", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(TYPE, owner, "owner", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(TYPE, unit, "unit", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(TYPE, config, "config", JSON_RAW, JSON_OMIT_EMPTY),
    JSON_FIELD(TYPE, pid, "pid", JSON_INT, 0),
    JSON_FIELD(TYPE, start_time, "startTime", JSON_UINT, 0),
    JSON_FIELD(TYPE, created, "created", JSON_TIME, 0),
    JSON_FIELD(TYPE, started, "started", JSON_BOOL, 0),
    JSON_FIELD(TYPE, own_pid_ns, "ownPidNamespace", JSON_BOOL, 0),
    JSON_FIELD(TYPE, plain, "plain", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_END,
};
#undef TYPE
const struct json_desc state_json = {"state", sizeof(struct state), state_fields};

int state_check_id(const char *id, struct error *e)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_+-.";

    if (!*id || id[strspn(id, allowed)] || STREQ(id, ".") || STREQ(id, "..") || strlen(id) > 1024)
        return error_set(e, ERR_INVALID, "container id \"%s\": letters, digits, _ + - . only", id);
    return 0;
}

char *state_path(const struct options *o, const char *id, const char *file)
{
    return xasprintf("%s/%s%s%s", o->root, id, *file ? "/" : "", file);
}

int state_make_dir(const struct options *o, const char *id, struct error *e)
{
    AUTOFREE char *path = state_path(o, id, "");
    int r = mkdir(path, 0711) < 0 ? -errno : 0;

    if (r == -ENOENT) {
        r = fs_mkdir_p(o->root, 0711);
        if (r < 0)
            return error_set_errno(e, r, "cannot create %s", o->root);
        r = mkdir(path, 0711) < 0 ? -errno : 0;
    }
    if (r == -EEXIST)
        return error_set(e, ERR_CONFLICT, "container with id \"%s\" exists already", id);
    if (r < 0)
        return error_set_errno(e, r, "cannot create %s", path);
    return state_lock(o, id, e);
}

/* Waits for who has it, but not for ever: a hook of it may hang. */
static int wait_for_lock(int fd)
{
    int64_t end = time_monotonic_ns() + LOCK_WAIT_NS;

    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (time_monotonic_ns() > end)
            return -ETIMEDOUT;
        (void)nanosleep(&(struct timespec){0, 5 * NSEC_PER_MSEC}, NULL);
    }
    return 0;
}

int state_lock(const struct options *o, const char *id, struct error *e)
{
    AUTOFREE char *path = state_path(o, id, "");
    AUTOFD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    int r = fd < 0 ? -errno : wait_for_lock(fd);

    if (r == 0 && (fstat(fd, &st) < 0 || st.st_nlink == 0))
        r = -ENOENT; /* it was removed while we waited */
    if (r == -ENOENT)
        return error_set(e, ERR_NOT_FOUND, "container \"%s\" does not exist", id);
    if (r == -ETIMEDOUT)
        return error_set(
            e, ERR_TIMEOUT,
            "container \"%s\" is being made or removed by another pouch-oci, which has "
            "not ended within %d s (does a hook hang?)",
            id, (int)(LOCK_WAIT_NS / NSEC_PER_SEC));
    return r < 0 ? error_set_errno(e, r, "cannot lock %s", path) : take_fd(fd);
}

int state_note_making(const struct options *o, const char *id, const char *cgroup_path,
                      const char *unit, struct error *e)
{
    AUTOFREE char *cgroup_link = state_path(o, id, MAKING_CGROUP);
    AUTOFREE char *unit_link = state_path(o, id, MAKING_UNIT);

    /* The unit first: the other is looked for. */
    if ((unit && symlink(unit, unit_link) < 0) || symlink(cgroup_path, cgroup_link) < 0)
        return error_set_errno(e, errno, "cannot create %s", cgroup_link);
    return 0;
}

static char *read_link(const struct options *o, const char *id, const char *name)
{
    AUTOFREE char *path = state_path(o, id, name);
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof(target));

    return n > 0 ? xasprintf("%.*s", (int)n, target) : NULL;
}

int state_making(const struct options *o, const char *id, char **ret_cgroup_path, char **ret_unit)
{
    char *path = read_link(o, id, MAKING_CGROUP);

    if (!path)
        return -ENOENT;
    *ret_cgroup_path = path;
    *ret_unit = read_link(o, id, MAKING_UNIT);
    return 0;
}

int state_save(const struct options *o, const struct state *s, struct error *e)
{
    AUTOFREE char *path = state_path(o, s->id, "state.json");
    AUTOFREE char *text = json_print_str(&state_json, s);
    int r = fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, FS_NO_SYNC);

    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

/*
 * start takes the gate away. One that was killed before that leaves it; the status pipe then has no
 * reader any more, as init keeps that open for itself until it executes the program.
 */
static bool has_started(const struct options *o, const char *id)
{
    AUTOFREE char *gate = state_path(o, id, STATE_GATE);
    AUTOFREE char *status = NULL;
    AUTOFD int fd = -EBADF;

    if (access(gate, F_OK) < 0)
        return errno == ENOENT;
    status = state_path(o, id, STATE_STATUS);
    fd = open(status, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 && errno == ENXIO;
}

int state_load(const struct options *o, const char *id, struct state *ret, struct error *e)
{
    AUTOFREE char *path = state_path(o, id, "state.json");
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = state_check_id(id, e);

    if (r < 0)
        return r;
    r = fs_read_file(AT_FDCWD, path, OCI_SPEC_MAX + 65536, &text, &len);
    if (r == -ENOENT)
        return error_set(e, ERR_NOT_FOUND, "container \"%s\" does not exist", id);
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    r = json_parse(&state_json, text, len, ret, e);
    if (r < 0)
        error_add(e, "%s (delete --force removes such a container)", path);
    if (r == 0 && !ret->started)
        ret->started = has_started(o, id);
    return r;
}

int state_spec(const struct state *s, struct oci_spec *ret, struct error *e)
{
    int r;

    if (!s->config) /* of an older pouch-oci */
        return oci_spec_load(s->bundle, ret, e);
    r = json_parse(&oci_spec_json, s->config, strlen(s->config), ret, e);
    if (r < 0)
        error_add(e, "the kept config.json of container \"%s\"", s->id);
    return r;
}

void state_done(struct state *s)
{
    json_free(&state_json, s);
}

int state_remove_dir(const struct options *o, const char *id, struct error *e)
{
    AUTOFREE char *path = state_path(o, id, "");
    int r = fs_remove_tree(AT_FDCWD, path);

    return r < 0 && r != -ENOENT ? error_set_errno(e, r, "cannot remove %s", path) : 0;
}

/* Field 22 of /proc/<pid>/stat; 0 when the process is gone or a zombie. */
uint64_t state_start_time(pid_t pid)
{
    AUTOFREE char *text = NULL;
    char path[32];
    char *p;
    char status = 0;
    unsigned long long start = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (pid <= 0 || fs_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    p = strrchr(text, ')'); /* the name before it may hold anything */
    if (!p || sscanf(p + 1, " %c", &status) != 1 || status == 'Z' || status == 'X')
        return 0;
    if (sscanf(p + 1,
               " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &start) != 1)
        return 0;
    return start;
}

int state_open_init(const struct state *s)
{
    AUTOFD int fd = s->pid > 0 ? (int)syscall(SYS_pidfd_open, (pid_t)s->pid, 0) : -EBADF;

    if (fd < 0 && s->pid > 0 && errno != ESRCH)
        return -errno;
    /* Looked at after it is held: the number has not gone to another process before. */
    if (fd < 0 || !s->start_time || state_start_time((pid_t)s->pid) != s->start_time)
        return -ESRCH;
    return take_fd(fd);
}

int state_signal(const struct state *s, int sig)
{
    AUTOFD int fd = state_open_init(s);

    if (fd < 0 && fd != -ESRCH) { /* no pidfds here */
        if (!s->start_time || state_start_time((pid_t)s->pid) != s->start_time)
            return -ESRCH;
        return kill((pid_t)s->pid, sig) < 0 ? -errno : 0;
    }
    if (fd < 0)
        return fd;
    return syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) < 0 ? -errno : 0;
}

const char *state_status(const struct state *s)
{
    if (!s->pid || state_start_time((pid_t)s->pid) != s->start_time || !s->start_time)
        return "stopped";
    if (cgroup_is_frozen(s->cgroup_path))
        return "paused";
    return s->started ? "running" : "created";
}
