/* SPDX-License-Identifier: Apache-2.0 */
/* Life and death of a container's cgroup: see cgroup.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "sys/cgroup-priv.h"

#define FREEZE_WAIT_NS (10 * NSEC_PER_SEC)
#define REMOVE_WAIT_NS (2 * NSEC_PER_SEC)

/*
 * v1 hierarchies in which every container gets a directory. cpuset and cpuacct are among them
 * because runtimes such as the JVM look for all four of memory, cpu, cpuacct and cpuset and
 * ignore every limit when one is missing. The freezer is not needed where the unified hierarchy
 * freezes and kills.
 */
static const char *const v1_always[] = {"memory", "cpu", "cpuacct", "cpuset", "pids", "devices"};
static bool use_all;

void cgroup_use_all_v1(void)
{
    use_all = true;
}

bool cgroup_v1_wanted(const char *controller, const struct cgroup_resources *r)
{
    for (size_t i = 0; i < ARRAY_SIZE(v1_always); i++)
        if (STREQ(controller, v1_always[i]))
            return true;
    if (STREQ(controller, "freezer"))
        return cgroup_host()->layout == CGROUP_V1;
    if (!r)
        return false;
    if (STREQ(controller, "blkio"))
        return r->block_io != NULL;
    if (STREQ(controller, "hugetlb"))
        return r->hugepage_limits.len > 0;
    if (STREQ(controller, "rdma"))
        return r->rdma.len > 0;
    if (STREQ(controller, "net_cls"))
        return r->network && r->network->class_id.set;
    if (STREQ(controller, "net_prio"))
        return r->network && r->network->priorities.len > 0;
    return false;
}

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

static bool path_is_sane(const char *path)
{
    return path && path[0] == '/' && path[1] && !strstr(path, "/../") && !strstr(path, "//") &&
           !str_has_suffix(path, "/..") && !str_has_suffix(path, "/");
}

/* cpuset's files are empty in a new directory unless its parent hands them down. */
static int prepare_cpuset_parent(const char *mount, const char *parent)
{
    AUTOFREE char *up = xstrdup(parent);
    char *slash = strrchr(up, '/');

    *slash = '\0';
    for (size_t i = 0; i < 2; i++) {
        const char *file = i ? "cpuset.mems" : "cpuset.cpus";
        AUTOFREE char *text = NULL;
        char name[CGROUP_PATH_MAX];
        int r = cgroup_file(name, mount, parent, file);

        if (r < 0 || fs_read_file(AT_FDCWD, name, 65536, &text, NULL) < 0 || *text > ' ')
            continue;
        base_freep(&text);
        text = NULL;
        r = cgroup_file(name, mount, *up ? up : "/", file);
        if (r == 0)
            r = fs_read_file(AT_FDCWD, name, 65536, &text, NULL);
        if (r == 0)
            r = cgroup_file(name, mount, parent, file);
        if (r == 0)
            r = fs_write_existing(AT_FDCWD, name, text);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_parents(const char *mount, const char *path, const char *controller)
{
    AUTOFREE char *parent = xstrdup(path);

    for (char *p = strchr(parent + 1, '/'); p; p = strchr(p + 1, '/')) {
        char name[CGROUP_PATH_MAX];
        int r;

        *p = '\0';
        r = cgroup_file(name, mount, parent, NULL);
        if (r < 0)
            return r;
        if (mkdir(name, 0755) < 0 && errno != EEXIST)
            return -errno;
        if (STREQ(controller, "cpuset")) {
            r = prepare_cpuset_parent(mount, parent);
            if (r < 0)
                return r;
            r = cgroup_file(name, mount, parent, "cgroup.clone_children");
            if (r == 0)
                r = fs_write_existing(AT_FDCWD, name, "1");
            if (r < 0)
                return r;
        }
        *p = '/';
    }
    return 0;
}

int cgroup_make_dir(const char *mount, const char *path, const char *controller, struct error *e)
{
    char name[CGROUP_PATH_MAX];
    int r = cgroup_file(name, mount, path, NULL);

    if (r == 0 && mkdir(name, 0755) < 0)
        r = -errno;
    if (r == -ENOENT) {
        r = make_parents(mount, path, controller);
        if (r == 0 && mkdir(name, 0755) < 0)
            r = -errno;
    }
    if (r == -EEXIST)
        r = 0; /* left over or made by the caller: it is taken over */
    /* A parent that somebody else made hands no CPUs down: nothing could join the new folder. */
    if (r == 0 && STREQ(controller, "cpuset")) {
        AUTOFREE char *cpus = NULL;

        r = cgroup_file(name, mount, path, "cpuset.cpus");
        if (r == 0 && fs_read_file(AT_FDCWD, name, 65536, &cpus, NULL) == 0 && *cpus <= ' ') {
            r = make_parents(mount, path, controller);
            if (r == 0)
                r = prepare_cpuset_parent(mount, path);
        }
    }
    return r < 0 ? error_set_errno(e, r, "cannot create cgroup %s", name) : 0;
}

/* v2: a controller's files appear in a directory when its parent's subtree_control names it. What
 * cannot be enabled is found out when a limit is written. */
static void enable_controllers(const char *path)
{
    static const char *const wanted[] = {"memory", "cpu",     "pids", "io",
                                         "cpuset", "hugetlb", "rdma"};
    const struct cgroup_host *h = cgroup_host();
    AUTOPTR(strv) char **there = strv_split(h->unified_ctrl, " \n", true);
    AUTOFREE char *parent = xstrdup(path);
    char *p = strrchr(parent, '/');
    AUTOFREE char *on = NULL;
    bool missing = false;

    *p = '\0';
    if (cgroup_read("", *parent ? parent : "/", "cgroup.subtree_control", &on) == 0) {
        AUTOPTR(strv) char **have = strv_split(on, " \n", true);

        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
            missing |= strv_contains(there, wanted[i]) && !strv_contains(have, wanted[i]);
        if (!missing)
            return;
    }
    for (p = parent;; p = strchr(p + 1, '/')) {
        char saved = p ? *p : '\0';

        if (p)
            *p = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
            char text[32];

            (void)snprintf(text, sizeof(text), "+%s", wanted[i]);
            if (strv_contains(there, wanted[i]))
                (void)!cgroup_write("", *parent ? parent : "/", "cgroup.subtree_control", text);
        }
        if (!p)
            break;
        *p = saved;
        if (!*parent)
            break;
    }
}

static int make_all(const char *path, const struct cgroup_resources *r, struct error *e)
{
    const struct cgroup_host *h = cgroup_host();
    int err;

    if (h->unified) {
        err = cgroup_make_dir(h->unified, path, "", e);
        if (err < 0)
            return err;
        if (h->layout == CGROUP_V2)
            enable_controllers(path);
    }
    for (size_t i = 0; i < h->nv1; i++) {
        if (!cgroup_v1_wanted(h->v1[i].controller, r)) {
            if (use_all) /* nothing of the container's depends on it */
                (void)!cgroup_make_dir(h->v1[i].mount, path, h->v1[i].controller, NULL);
            continue;
        }
        err = cgroup_make_dir(h->v1[i].mount, path, h->v1[i].controller, e);
        if (err < 0)
            return err;
    }
    return 0;
}

int cgroup_update(const char *path, const struct cgroup_resources *r, char ***warnings,
                  struct error *e)
{
    int err;

    if (cgroup_host()->layout == CGROUP_V2)
        return cgroup_apply_v2(path, r, warnings, e);
    err = cgroup_extend_v1(path, r, e);
    return err < 0 ? err : cgroup_apply_v1(path, r, true, warnings, e);
}

int cgroup_create(const char *path, const struct cgroup_resources *r, char ***warnings,
                  struct error *e)
{
    const struct cgroup_host *h = cgroup_host();
    int err;

    if (!path_is_sane(path))
        return error_set(e, ERR_INVALID, "cgroup path \"%s\" is not a clean absolute path",
                         path ? path : "");
    if (h->layout == CGROUP_NONE)
        return error_set(e, ERR_UNAVAILABLE,
                         "no cgroup file system is mounted at "
                         "/sys/fs/cgroup: mount cgroup2 there");
    err = make_all(path, r, e);
    if (err == 0 && r)
        err = h->layout == CGROUP_V2 ? cgroup_apply_v2(path, r, warnings, e)
                                     : cgroup_apply_v1(path, r, false, warnings, e);
    if (err < 0)
        (void)!cgroup_remove(path, NULL);
    return err;
}

int cgroup_open_unified(const char *path)
{
    const char *mount = cgroup_mount_point("");
    char name[CGROUP_PATH_MAX];
    int r = mount ? cgroup_file(name, mount, path, NULL) : -ENOENT;
    int fd;

    if (r < 0)
        return r;
    fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int cgroup_check_below(const char *path, const char *sub, struct error *e)
{
    const struct cgroup_host *h = cgroup_host();

    if (!path_is_sane(sub) || !str_has_prefix(sub, path))
        return error_set(e, ERR_INVALID, "cgroup path \"%s\" is not a clean path", sub);
    for (size_t i = 0; i <= h->nv1; i++) {
        const char *mount = i < h->nv1 ? h->v1[i].mount : h->unified;
        char dir[CGROUP_PATH_MAX];

        if (!mount || cgroup_file(dir, mount, path, NULL) < 0 || access(dir, F_OK) < 0)
            continue;
        if (cgroup_file(dir, mount, sub, NULL) < 0 || access(dir, F_OK) < 0)
            return error_set(e, ERR_NOT_FOUND, "cgroup %s does not exist", dir);
    }
    return 0;
}

/* --- joining ------------------------------------------------------------------------------- */

int cgroup_join_open(const char *path, bool with_unified, struct cgroup_join *ret, struct error *e)
{
    const struct cgroup_host *h = cgroup_host();
    const char *last = NULL;

    ret->n = 0;
    for (size_t i = 0; i <= h->nv1 && ret->n < CGROUP_JOIN_MAX; i++) {
        const char *mount = i < h->nv1 ? h->v1[i].mount : h->unified;
        char name[CGROUP_PATH_MAX];
        int r, fd;

        if (!mount || (i == h->nv1 && !with_unified) || (last && STREQ(last, mount)))
            continue;
        last = mount;
        r = cgroup_file(name, mount, path, i < h->nv1 ? "tasks" : "cgroup.procs");
        fd = r < 0 ? r : open(name, O_WRONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue; /* the container has none in this hierarchy */
        if (fd < 0) {
            r = error_set_errno(e, errno, "cannot open %s", name);
            cgroup_join_done(ret);
            return r;
        }
        ret->fds[ret->n++] = fd;
    }
    return 0;
}

int cgroup_join_fds(struct cgroup_join *j)
{
    int r = 0;

    for (size_t i = 0; i < j->n && r == 0; i++)
        if (write(j->fds[i], "0", 1) < 0)
            r = -errno;
    cgroup_join_done(j);
    return r;
}

void cgroup_join_done(struct cgroup_join *j)
{
    for (size_t i = 0; i < j->n; i++)
        close(j->fds[i]);
    j->n = 0;
}

int cgroup_join(const char *path, pid_t pid, struct error *e)
{
    const struct cgroup_host *h = cgroup_host();
    char text[16];

    if (pid == 0) {
        struct cgroup_join j = {.n = 0};
        int r = cgroup_join_open(path, true, &j, e);

        if (r < 0)
            return r;
        r = cgroup_join_fds(&j);
        return r < 0 ? error_set_errno(e, r, "cannot join cgroup %s", path) : 0;
    }
    (void)snprintf(text, sizeof(text), "%d", pid);
    for (size_t i = 0; i <= h->nv1; i++) {
        const char *controller = i < h->nv1 ? h->v1[i].controller : "";
        int r = cgroup_write(controller, path, "cgroup.procs", text);

        if (r < 0 && r != -ENOENT)
            return error_set_errno(e, r, "cannot move process %d to cgroup %s", pid, path);
    }
    return 0;
}

/* --- processes ----------------------------------------------------------------------------- */

struct pid_list {
    pid_t *pids;
    size_t n, cap;
};

static void pid_list_add(struct pid_list *l, const char *text)
{
    for (const char *p = text; *p;) {
        char *end;
        long pid = strtol(p, &end, 10);

        if (end == p)
            break;
        if (l->n == l->cap) {
            l->cap = l->cap ? l->cap * 2 : 32;
            l->pids = xreallocarray(l->pids, l->cap, sizeof(pid_t));
        }
        l->pids[l->n++] = (pid_t)pid;
        p = *end ? end + 1 : end;
    }
}

/* Depth first over a cgroup's directories: processes are listed, or directories removed. */
static int walk(int parent, const char *name, struct pid_list *list, int depth)
{
    AUTOFD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir;
    int r = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (depth > 64)
        return -ELOOP;
    if (list) {
        AUTOFREE char *text = NULL;

        r = fs_read_file(fd, "cgroup.procs", 16u << 20, &text, NULL);
        if (r == 0)
            pid_list_add(list, text);
        else if (r == -ENODEV || r == -EOPNOTSUPP)
            r = 0; /* removed meanwhile; a threaded domain lists its processes at its root */
    }
    dir = fdopendir(dup(fd));
    if (!dir)
        return -errno;
    for (struct dirent *d = readdir(dir); d && r == 0; d = readdir(dir))
        if (d->d_type == DT_DIR && d->d_name[0] != '.')
            r = walk(fd, d->d_name, list, depth + 1);
    closedir(dir);
    if (!list && r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = -errno;
    return r;
}

/* The hierarchy whose process list is asked: unified, or the v1 one every container has. */
static int process_dir(char out[CGROUP_PATH_MAX], const char *path)
{
    const struct cgroup_host *h = cgroup_host();

    for (int i = -1; i < (int)h->nv1; i++) {
        const char *mount = i < 0 ? h->unified : h->v1[i].mount;

        if (mount && cgroup_file(out, mount, path, NULL) == 0 && access(out, F_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

int cgroup_pids(const char *path, pid_t **ret, size_t *ret_n, struct error *e)
{
    struct pid_list l = {0};
    char dir[CGROUP_PATH_MAX];
    int r = process_dir(dir, path);

    if (r == 0)
        r = walk(AT_FDCWD, dir, &l, 0);
    if (r < 0) {
        free(l.pids);
        return error_set_errno(e, r, "cannot list the processes of cgroup %s", path);
    }
    *ret = l.pids;
    *ret_n = l.n;
    return 0;
}

bool cgroup_exists(const char *path)
{
    char dir[CGROUP_PATH_MAX];

    return process_dir(dir, path) == 0;
}

int cgroup_signal(const char *path, int sig, struct error *e)
{
    AUTOFREE pid_t *pids = NULL;
    size_t n = 0;
    int r = cgroup_exists(path) ? cgroup_pids(path, &pids, &n, e) : 0;

    for (size_t i = 0; i < n && r == 0; i++)
        if (kill(pids[i], sig) < 0 && errno != ESRCH)
            r = error_set_errno(e, errno, "cannot signal process %d", pids[i]);
    return r;
}

int cgroup_kill(const char *path, struct error *e)
{
    AUTOFREE char *frozen = NULL;
    int r;

    if (!cgroup_exists(path))
        return 0;
    if (cgroup_host()->unified) { /* cgroup.kill: Linux 5.14; kills frozen processes too */
        r = cgroup_write("", path, "cgroup.kill", "1");
        if (r == 0)
            return 0;
    }
    /* Frozen, nothing can fork away from the list. */
    r = cgroup_freeze(path, NULL);
    r = cgroup_signal(path, SIGKILL, e);
    (void)!cgroup_thaw(path, NULL);
    return r;
}

/* --- freezing ------------------------------------------------------------------------------ */

static bool unified_is_frozen(const char *path)
{
    AUTOFREE char *events = NULL;
    uint64_t v = 0;

    return cgroup_read("", path, "cgroup.events", &events) == 0 &&
           cgroup_key_u64(events, "frozen", &v) && v == 1;
}

static bool v1_is_frozen(const char *path)
{
    AUTOFREE char *state = NULL;

    return cgroup_read("freezer", path, "freezer.state", &state) == 0 &&
           str_has_prefix(state, "FROZEN");
}

/* On a hybrid host cgroups that another runtime made (runc) may be in the v1 hierarchies alone. */
static bool freezes_unified(const char *path)
{
    const struct cgroup_host *h = cgroup_host();
    char name[CGROUP_PATH_MAX];

    return h->unified && (!h->nv1 || (cgroup_file(name, h->unified, path, "cgroup.freeze") == 0 &&
                                      access(name, F_OK) == 0));
}

bool cgroup_is_frozen(const char *path)
{
    return freezes_unified(path) ? unified_is_frozen(path) : v1_is_frozen(path);
}

/* Wakes up at each change of cgroup.events instead of polling. */
static int freeze_unified(const char *path, bool on)
{
    int64_t end = time_monotonic_ns() + FREEZE_WAIT_NS;
    char name[CGROUP_PATH_MAX];
    AUTOFD int fd = -EBADF;
    int r = cgroup_file(name, cgroup_host()->unified, path, "cgroup.events");

    if (r < 0)
        return r;
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = cgroup_write("", path, "cgroup.freeze", on ? "1" : "0");
    while (r == 0 && unified_is_frozen(path) != on) {
        struct pollfd p = {fd, POLLPRI, 0};

        if (time_monotonic_ns() > end)
            return -ETIMEDOUT;
        (void)poll(&p, 1, 100);
    }
    return r;
}

static int freeze_v1(const char *path, bool on)
{
    int64_t end = time_monotonic_ns() + FREEZE_WAIT_NS;

    for (;;) {
        /* FREEZING can stay when a process forks: writing it again goes over the new ones. */
        int r = cgroup_write("freezer", path, "freezer.state", on ? "FROZEN" : "THAWED");

        if (r < 0)
            return r;
        if (v1_is_frozen(path) == on)
            return 0;
        if (time_monotonic_ns() > end)
            return -ETIMEDOUT;
        sleep_ms(1);
    }
}

static int freeze(const char *path, bool on, struct error *e)
{
    bool unified = freezes_unified(path);
    int r = unified ? freeze_unified(path, on) : freeze_v1(path, on);

    if (r == -ETIMEDOUT && on) {
        (void)!(unified ? freeze_unified(path, false) : freeze_v1(path, false));
        return error_set(e, ERR_TIMEOUT, "cgroup %s did not freeze within 10 s", path);
    }
    return r < 0 ? error_set_errno(e, r, "cannot %s cgroup %s", on ? "freeze" : "thaw", path) : 0;
}

int cgroup_freeze(const char *path, struct error *e)
{
    return freeze(path, true, e);
}

int cgroup_thaw(const char *path, struct error *e)
{
    return freeze(path, false, e);
}

/* --- the end ------------------------------------------------------------------------------- */

static int remove_one(const char *dir)
{
    int64_t end = 0;
    long pause = 1;

    for (;;) {
        int r;

        if (rmdir(dir) == 0 || errno == ENOENT)
            return 0;
        r = walk(AT_FDCWD, dir, NULL, 0);
        if (r != -EBUSY)
            return r;
        if (!end)
            end = time_monotonic_ns() + REMOVE_WAIT_NS;
        else if (time_monotonic_ns() > end)
            return r;
        sleep_ms(pause);
        pause = pause < 50 ? pause * 2 : 50;
    }
}

int cgroup_remove(const char *path, struct error *e)
{
    const struct cgroup_host *h = cgroup_host();
    int result = 0;

    if (!path_is_sane(path))
        return error_set(e, ERR_INVALID, "cgroup path \"%s\" is not a clean absolute path",
                         path ? path : "");
    for (size_t i = 0; i <= h->nv1; i++) {
        const char *mount = i < h->nv1 ? h->v1[i].mount : h->unified;
        char dir[CGROUP_PATH_MAX];
        int r;

        if (!mount)
            continue;
        r = cgroup_file(dir, mount, path, NULL);
        if (r == 0)
            r = remove_one(dir);
        if (r < 0 && result == 0)
            result = error_set_errno(e, r, "cannot remove cgroup %s", dir);
    }
    return result;
}
