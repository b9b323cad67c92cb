/* SPDX-License-Identifier: Apache-2.0 */
/* The lxcfs process: see lxcfs.h. */
#include "engine/lxcfs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"
#include "io/spawn.h"

#define START_WAIT_NS    (10 * NSEC_PER_SEC)
#define COMEBACK_WAIT_NS (5 * NSEC_PER_SEC) /* how long a container's start waits for it */
#define PROBE_MS         2000               /* how often it is asked something */
#define HANG_NS          (8 * NSEC_PER_SEC) /* without an answer for so long it is killed */
#define FOREIGN_MS       1000               /* how often somebody else's is looked at */
#define RETRY_MIN_MS     100
#define RETRY_MAX_MS     30000
#define STACK            (128 << 10)

static const char *const files[] = {
    "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg",
    "/proc/meminfo", "/proc/slabinfo",  "/proc/stat",
    "/proc/swaps",   "/proc/uptime",    "/sys/devices/system/cpu",
};

struct lxcfs {
    char *program, *base, *home, *record;
    bool own_home; /* below base, which is a private mount then */
    void (*changed)(void *data, bool up);
    void *data;

    pthread_mutex_t mutex;
    pthread_cond_t cond;
    /* under mutex */
    bool up;
    uint64_t generation;
    bool present[ARRAY_SIZE(files)];

    /* the opener's, then the watching thread's */
    pid_t pid;
    int pidfd; /* -EBADF: it is somebody else's */
    bool child;
    bool stale; /* running containers may show one that is gone */
    dev_t dev;  /* of somebody else's mount */

    int wake_fd; /* readable once all threads are to end */
    bool watching;
    bool probing;
    pthread_t watcher, prober;
    atomic_llong asked_at; /* when the question was asked that has no answer yet; 0: none */
};

/* --- The mount ------------------------------------------------------------------------------------ */

enum mount_state { MOUNT_NONE, MOUNT_DEAD, MOUNT_THERE };

/* What is at the folder. The file system is not asked, so that one that hangs is no trouble. */
static enum mount_state mount_state(const char *path)
{
    struct statx sx;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &sx) < 0)
        return errno == ENOTCONN || errno == ECONNABORTED ? MOUNT_DEAD : MOUNT_NONE;
    return sx.stx_attributes & STATX_ATTR_MOUNT_ROOT ? MOUNT_THERE : MOUNT_NONE;
}

/* One answer of it; may hang when it does. */
static bool answers(const struct lxcfs *l)
{
    AUTOFREE char *path = xasprintf("%s/proc/uptime", l->home);
    char text[64];
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && read(fd, text, sizeof(text)) > 0;
}

/* The mount is of no concern to other mount namespaces of the host. */
static int make_private(const char *path, struct error *e)
{
    if (mount_state(path) == MOUNT_NONE && mount(path, path, NULL, MS_BIND, NULL) < 0)
        return error_set_errno(e, errno, "cannot bind %s", path);
    if (mount(NULL, path, NULL, MS_PRIVATE, NULL) < 0)
        return error_set_errno(e, errno, "cannot make %s private", path);
    return 0;
}

static void drop_mount(const char *path)
{
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        continue;
}

/* --- The process ---------------------------------------------------------------------------------- */

/* Field 22 of /proc/PID/stat: with the pid it names a process for good. 0 when there is none. */
static unsigned long long start_time(pid_t pid)
{
    AUTOFREE char *path = xasprintf("/proc/%d/stat", (int)pid);
    AUTOFREE char *text = NULL;
    unsigned long long t = 0;
    const char *p;

    if (fs_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    p = strrchr(text, ')');
    if (!p ||
        sscanf(p + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
               "%llu",
               &t) != 1 ||
        p[2] == 'Z' || p[2] == 'X')
        return 0;
    return t;
}

/* On record with whether containers may still show the one before it. */
static void write_record(const struct lxcfs *l)
{
    AUTOFREE char *text = xasprintf("%d %llu %s\n", (int)l->pid, start_time(l->pid),
                                    l->stale ? "stale" : "current");

    if (fs_write_atomic(AT_FDCWD, l->record, text, strlen(text), 0600, FS_NO_SYNC) < 0)
        log_warn("lxcfs is not on record: a restarted pouchd would not find it", "path=%s",
                 l->record);
}

/* The process on record, when it still lives. */
static bool adopt(struct lxcfs *l)
{
    AUTOFREE char *text = NULL;
    unsigned long long started = 0;
    char what[16] = "";
    int pid = 0;

    if (fs_read_file(AT_FDCWD, l->record, 256, &text, NULL) < 0 ||
        sscanf(text, "%d %llu %15s", &pid, &started, what) != 3 || pid <= 1 || !started)
        return false;
    l->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (l->pidfd < 0 || start_time(pid) != started) { /* checked after the pidfd names it */
        if (l->pidfd >= 0)
            close(l->pidfd);
        l->pidfd = -EBADF;
        return false;
    }
    l->pid = pid;
    l->child = false;
    l->stale = STREQ(what, "stale");
    return true;
}

static void send_signal(const struct lxcfs *l, int sig)
{
    (void)syscall(SYS_pidfd_send_signal, l->pidfd, sig, NULL, 0);
}

static bool has_ended(const struct lxcfs *l, int timeout_ms)
{
    struct pollfd p = {.fd = l->pidfd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) > 0;
}

static void reap(struct lxcfs *l)
{
    if (l->child)
        (void)waitpid(l->pid, NULL, 0);
    if (l->pidfd >= 0)
        close(l->pidfd);
    l->pidfd = -EBADF;
    l->pid = 0;
    l->child = false;
}

/* The last line that it wrote, for the error. */
static char *last_words(const char *path)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    char *line;

    if (fs_read_file(AT_FDCWD, path, 1 << 20, &text, &len) < 0)
        return xstrdup("");
    while (len && text[len - 1] == '\n')
        text[--len] = '\0';
    line = strrchr(text, '\n');
    return xasprintf("%s%s", *text ? ": " : "", line ? line + 1 : text);
}

static int await_mount(struct lxcfs *l, const char *log, struct error *e)
{
    int64_t deadline = time_monotonic_ns() + START_WAIT_NS;

    while (mount_state(l->home) != MOUNT_THERE || !answers(l)) {
        if (has_ended(l, 2)) {
            AUTOFREE char *words = last_words(log);

            return error_set(e, ERR_UNAVAILABLE, "%s ended at once%s", l->program, words);
        }
        if (time_monotonic_ns() > deadline)
            return error_set(e, ERR_UNAVAILABLE, "%s does not mount %s", l->program, l->home);
    }
    return 0;
}

static int start_process(struct lxcfs *l, struct error *e)
{
    AUTOFREE char *log = xasprintf("%s/log", l->base);
    AUTOFREE char *pidfile = xasprintf("%s/pid", l->base);
    AUTOFD int log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    /* loadavg, and CPUs by quota, are shown only when asked for. */
    const char *argv[] = {l->program, "-f",    "-l", "--enable-cfs", "--enable-pidfd", "-p",
                          pidfile,    l->home, NULL};
    struct spawn_params p = {.argv = (char *const *)(uintptr_t)argv,
                             .stdin_fd = -EBADF,
                             .stdout_fd = log_fd,
                             .stderr_fd = log_fd,
                             .new_session = true};
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r;

    if (log_fd < 0)
        return error_set_errno(e, errno, "cannot write %s", log);
    r = spawn_program(&p, &l->pid, &why);
    if (r == -ENOENT)
        return error_set(e, ERR_UNAVAILABLE,
                         "%s is not there: install the package lxcfs, or name the program with "
                         "--lxcfs",
                         l->program);
    if (r < 0) {
        error_move(e, &why);
        return r;
    }
    l->child = true;
    l->pidfd = (int)syscall(SYS_pidfd_open, l->pid, 0);
    r = l->pidfd < 0 ? error_set_errno(e, errno, "cannot watch lxcfs") : await_mount(l, log, e);
    if (r < 0) {
        (void)kill(l->pid, SIGKILL);
        reap(l);
        drop_mount(l->home);
        return r;
    }
    write_record(l);
    log_info("lxcfs started", "pid=%d home=%s", (int)l->pid, l->home);
    return 0;
}

/* --- Up and down ----------------------------------------------------------------------------------- */

static void set_up(struct lxcfs *l)
{
    bool present[ARRAY_SIZE(files)];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        AUTOFREE char *path = xasprintf("%s%s", l->home, files[i]);

        present[i] = access(path, F_OK) == 0 && access(files[i], F_OK) == 0;
    }
    (void)pthread_mutex_lock(&l->mutex);
    memcpy(l->present, present, sizeof(present));
    l->up = true;
    l->generation++;
    (void)pthread_cond_broadcast(&l->cond);
    (void)pthread_mutex_unlock(&l->mutex);
}

static void set_down(struct lxcfs *l)
{
    (void)pthread_mutex_lock(&l->mutex);
    l->up = false;
    (void)pthread_mutex_unlock(&l->mutex);
}

/* True when all threads are to end. */
static bool pause_for(const struct lxcfs *l, int ms)
{
    struct pollfd p = {.fd = l->wake_fd, .events = POLLIN};

    return poll(&p, 1, ms) > 0;
}

static void revive(struct lxcfs *l)
{
    int delay = RETRY_MIN_MS;

    log_warn("lxcfs has ended: it is started again", "pid=%d", (int)l->pid);
    set_down(l);
    reap(l);
    l->stale = true;
    for (;;) {
        CLEANUP(error_done) struct error e = ERROR_INIT;

        drop_mount(l->home);
        if (start_process(l, &e) == 0)
            break;
        log_error("lxcfs cannot be started", "retry_ms=%d error=\"%s\"", delay, error_message(&e));
        if (delay == RETRY_MIN_MS) /* better the host's values than errors */
            l->changed(l->data, false);
        if (pause_for(l, delay))
            return;
        delay = delay * 2 < RETRY_MAX_MS ? delay * 2 : RETRY_MAX_MS;
    }
    set_up(l);
    l->changed(l->data, true);
    l->stale = false;
    write_record(l);
}

/* Somebody else's: its supervisor starts it again, and then another file system is there. */
static void check_foreign(struct lxcfs *l)
{
    AUTOFREE char *proc = xasprintf("%s/proc", l->home);
    struct stat st;

    if (stat(proc, &st) < 0) {
        if (l->up)
            log_warn("lxcfs has ended; whoever started it is waited for", "home=%s", l->home);
        set_down(l);
    } else if (!l->up || st.st_dev != l->dev) {
        l->dev = st.st_dev;
        log_info("lxcfs is back", "home=%s", l->home);
        set_up(l);
        l->changed(l->data, true);
    }
}

static void check_hang(struct lxcfs *l)
{
    int64_t asked = atomic_load(&l->asked_at);

    if (!asked || time_monotonic_ns() - asked < HANG_NS)
        return;
    log_error("lxcfs does not answer: it is killed", "pid=%d", (int)l->pid);
    send_signal(l, SIGKILL);
}

static void *watch_main(void *data)
{
    struct lxcfs *l = data;

    if (l->stale) {
        l->changed(l->data, true);
        l->stale = false;
        if (l->pidfd >= 0)
            write_record(l);
    }
    for (;;) {
        struct pollfd p[2] = {{.fd = l->wake_fd, .events = POLLIN},
                              {.fd = l->pidfd, .events = POLLIN}};

        (void)poll(p, 2, l->pidfd < 0 ? FOREIGN_MS : PROBE_MS);
        if (p[0].revents)
            return NULL;
        if (l->pidfd < 0)
            check_foreign(l);
        else if (p[1].revents)
            revive(l);
        else
            check_hang(l);
        if (l->pidfd < 0 && l->pid == 0 && l->stale)
            return NULL; /* closed while it could not be started */
    }
}

/* Asks it something now and then; its own thread, as the answer may not come. */
static void *probe_main(void *data)
{
    struct lxcfs *l = data;

    while (!pause_for(l, PROBE_MS)) {
        atomic_store(&l->asked_at, time_monotonic_ns());
        (void)answers(l);
        atomic_store(&l->asked_at, 0);
    }
    return NULL;
}

/* --- Opening and closing --------------------------------------------------------------------------- */

static void free_lxcfs(struct lxcfs *l)
{
    free(l->program);
    free(l->base);
    free(l->home);
    free(l->record);
    if (l->pidfd >= 0)
        close(l->pidfd);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    (void)pthread_mutex_destroy(&l->mutex);
    (void)pthread_cond_destroy(&l->cond);
    free(l);
}

static int make_folders(struct lxcfs *l, struct error *e)
{
    int r = fs_mkdir_p(l->base, 0711);

    if (r == 0 && mount_state(l->home) == MOUNT_NONE)
        r = fs_mkdir_p(l->home, 0755);
    if (r < 0)
        return error_set_errno(e, r, "cannot create %s", l->home);
    return l->own_home ? make_private(l->base, e) : 0;
}

static int find_or_start(struct lxcfs *l, struct error *e)
{
    enum mount_state state = mount_state(l->home);
    AUTOFREE char *proc = xasprintf("%s/proc", l->home);
    struct stat st;

    if (adopt(l)) {
        if (state == MOUNT_THERE) {
            log_info("lxcfs adopted", "pid=%d home=%s", (int)l->pid, l->home);
            return 0;
        }
        send_signal(l, SIGKILL); /* it lives, but its mount is gone */
        (void)has_ended(l, 5000);
        reap(l);
    } else if (state == MOUNT_THERE && !l->own_home && stat(proc, &st) == 0 && answers(l)) {
        l->dev = st.st_dev;
        l->stale = true; /* what it was before nobody knows */
        log_info("lxcfs of the host is used", "home=%s", l->home);
        return 0;
    }
    drop_mount(l->home);
    l->stale = true;
    return start_process(l, e);
}

static void end_process(struct lxcfs *l)
{
    if (l->pidfd >= 0) {
        send_signal(l, SIGTERM);
        if (!has_ended(l, 2000)) {
            send_signal(l, SIGKILL);
            (void)has_ended(l, 2000);
        }
        reap(l);
    }
    drop_mount(l->home);
    if (l->own_home) {
        drop_mount(l->base);
        (void)!fs_remove_tree(AT_FDCWD, l->base);
    } else {
        (void)unlink(l->record);
    }
}

static struct lxcfs *new_lxcfs(const struct lxcfs_params *p)
{
    struct lxcfs *l = xcalloc(1, sizeof(*l));

    (void)pthread_mutex_init(&l->mutex, NULL);
    (void)pthread_cond_init(&l->cond, NULL);
    l->program = xstrdup(str_is_empty(p->program) ? "lxcfs" : p->program);
    l->base = xasprintf("%s/lxcfs", p->state);
    l->record = xasprintf("%s/process", l->base);
    l->own_home = str_is_empty(p->home);
    l->home = l->own_home ? xasprintf("%s/mnt", l->base) : xstrdup(p->home);
    l->changed = p->changed;
    l->data = p->data;
    l->pidfd = -EBADF;
    l->wake_fd = eventfd(0, EFD_CLOEXEC);
    return l;
}

void lxcfs_sweep(const char *state)
{
    const struct lxcfs_params p = {.state = state};
    AUTOFREE char *base = xasprintf("%s/lxcfs", state);
    struct lxcfs *l;

    if (access(base, F_OK) < 0)
        return;
    l = new_lxcfs(&p);
    if (adopt(l))
        log_info("lxcfs of before is ended: it is not asked for any more", "pid=%d", (int)l->pid);
    end_process(l);
    free_lxcfs(l);
}

int lxcfs_open(const struct lxcfs_params *p, struct lxcfs **ret, struct error *e)
{
    struct lxcfs *l = new_lxcfs(p);
    int r;

    r = l->wake_fd < 0 ? error_set_errno(e, errno, "cannot make an eventfd") : make_folders(l, e);
    if (r == 0)
        r = find_or_start(l, e);
    if (r < 0) {
        error_add(e, "--enable-lxcfs");
        if (l->own_home)
            drop_mount(l->base);
        free_lxcfs(l);
        return r;
    }
    set_up(l);
    *ret = l;
    return 0;
}

int lxcfs_watch(struct lxcfs *l, struct error *e)
{
    pthread_attr_t attr;
    int r;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK);
    r = pthread_create(&l->watcher, &attr, watch_main, l);
    l->watching = r == 0;
    if (r == 0 && l->pidfd >= 0) {
        r = pthread_create(&l->prober, &attr, probe_main, l);
        l->probing = r == 0;
    }
    (void)pthread_attr_destroy(&attr);
    return r ? error_set_errno(e, r, "cannot start a thread") : 0;
}

void lxcfs_close(struct lxcfs *l, bool in_use)
{
    if (!l)
        return;
    (void)eventfd_write(l->wake_fd, 1);
    if (l->watching)
        (void)pthread_join(l->watcher, NULL);
    /* A question that gets no answer ends with the process. */
    for (int i = 0; i < 50 && atomic_load(&l->asked_at); i++)
        (void)usleep(20 * 1000);
    if (l->pidfd >= 0 && atomic_load(&l->asked_at))
        send_signal(l, SIGKILL);
    if (l->probing)
        (void)pthread_join(l->prober, NULL);
    if (!in_use && (l->probing || l->pidfd >= 0))
        end_process(l);
    free_lxcfs(l);
}

/* --- For containers -------------------------------------------------------------------------------- */

int lxcfs_file(struct lxcfs *l, size_t i, char **ret_source, const char **ret_target)
{
    bool present;

    if (i >= ARRAY_SIZE(files))
        return -ERANGE;
    (void)pthread_mutex_lock(&l->mutex);
    present = l->present[i];
    (void)pthread_mutex_unlock(&l->mutex);
    if (!present)
        return -ENOENT;
    *ret_source = xasprintf("%s%s", l->home, files[i]);
    *ret_target = files[i];
    return 0;
}

int lxcfs_generation(struct lxcfs *l, uint64_t *ret, struct error *e)
{
    struct timespec until;
    bool up;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += COMEBACK_WAIT_NS / NSEC_PER_SEC;
    (void)pthread_mutex_lock(&l->mutex);
    while (!l->up && pthread_cond_timedwait(&l->cond, &l->mutex, &until) == 0)
        continue;
    up = l->up;
    *ret = l->generation;
    (void)pthread_mutex_unlock(&l->mutex);
    return up ? 0
              : error_set(e, ERR_UNAVAILABLE,
                          "lxcfs does not run at present (pouchd's log tells why), and the "
                          "container's view of its resources needs it");
}

uint64_t lxcfs_current_generation(struct lxcfs *l)
{
    uint64_t generation;

    (void)pthread_mutex_lock(&l->mutex);
    generation = l->generation;
    (void)pthread_mutex_unlock(&l->mutex);
    return generation;
}

const char *lxcfs_home(const struct lxcfs *l)
{
    return l->home;
}
