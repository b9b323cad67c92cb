/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client side: a connection for events, and one for each request. What is large (process
 * documents, filters, early input) goes as the fd of a memory file, so that the monitor never has
 * to hold it.
 */
#include "monitor/monitor.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/self.h"
#include "base/strv.h"
#include "base/time.h"
#include "io/fdpass.h"
#include "io/spawn.h"
#include "monitor/protocol.h"
#include "monitor/reap.h"
#include "sys/mount-api.h"

#define CREATE_TIMEOUT_MS  (120 * 1000) /* mounts may be slow */
#define START_TIMEOUT_MS   (60 * 1000)
#define REQUEST_TIMEOUT_MS (20 * 1000)
#define MOUNT_BUSY_MS      10
#define FDS_MAX            4

struct monitor {
    int fd;
    int dirfd;            /* the state folder */
    pthread_mutex_t lock; /* of what follows */
    enum monitor_state state;
    pid_t init_pid, pid;
    bool child; /* pid is to be waited for by us */
    char **warnings;
    bool hung_up;
};

/* A reply, and the packet it points into. */
struct reply {
    struct msg_reply r;
    struct msg_in in;
    char data[MSG_MAX];
};

/* --- Monitors that ended ----------------------------------------------------------------------- */

/* Those that were still ending when we looked; tried again whenever another monitor is started or
 * let go. */
static struct {
    pthread_mutex_t lock;
    pid_t *pids;
    size_t n;
} zombies = {.lock = PTHREAD_MUTEX_INITIALIZER};

void monitor_reap_later(pid_t pid)
{
    pthread_mutex_lock(&zombies.lock);
    zombies.pids = xreallocarray(zombies.pids, zombies.n + 1, sizeof(pid));
    zombies.pids[zombies.n++] = pid;
    pthread_mutex_unlock(&zombies.lock);
}

void monitor_reap_now(void)
{
    pthread_mutex_lock(&zombies.lock);
    for (size_t i = 0; i < zombies.n;)
        if (waitpid(zombies.pids[i], NULL, WNOHANG) == 0)
            i++;
        else
            zombies.pids[i] = zombies.pids[--zombies.n];
    pthread_mutex_unlock(&zombies.lock);
}

/* --- Requests ---------------------------------------------------------------------------------- */

/* Waits for the reply; events that come first (on the first connection) are not expected. */
static int receive_reply(int fd, int timeout_ms, struct reply *ret, struct error *e)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t end = time_monotonic_ns() + timeout_ms * NSEC_PER_MSEC;
    ssize_t n;
    int r;

    for (;;) {
        int64_t left = (end - time_monotonic_ns()) / NSEC_PER_MSEC;

        r = poll(&p, 1, left > 0 ? (int)left : 0);
        if (r == 0)
            return error_set(e, ERR_TIMEOUT, "the container's monitor does not answer");
        if (r < 0 && errno == EINTR)
            continue;
        n = fdpass_recv(fd, ret->data, sizeof(ret->data), NULL, 0, NULL);
        if (n == -EINTR || n == -EAGAIN)
            continue;
        break;
    }
    if (n == 0 || n == -ECONNRESET)
        return error_set(e, ERR_CONFLICT, "the container's monitor has ended");
    if (n < 0)
        return error_set_errno(e, (int)n, "cannot hear the container's monitor");
    if (msg_parse(ret->data, (size_t)n, &ret->in) < 0 || ret->in.header.type != MSG_REPLY)
        return error_set(e, ERR_INTERNAL, "the container's monitor speaks another protocol");
    msg_fixed(&ret->in, &ret->r, sizeof(ret->r));
    if (ret->r.result < 0) {
        enum error_code code = ret->r.code > ERR_NONE && ret->r.code < ERR_MAX ? ret->r.code
                                                                               : ERR_INTERNAL;
        const char *text = msg_string(&ret->in, 0);

        if (code == ERR_CONFLICT && ret->r.result == -ESRCH)
            return error_set(e, code, "the container %s", text);
        if (ret->r.code == ERR_NONE) /* the errno is not in the text yet */
            return error_set_errno(e, ret->r.result, "%s", text);
        return error_set(e, code, "%s", text);
    }
    return 0;
}

/* One request on a connection of its own. */
static int request(struct monitor *m, const struct msg_out *msg, const int *fds, size_t nfds,
                   int timeout_ms, struct reply *ret, struct error *e)
{
    AUTOFD int fd = fdpass_connect(m->dirfd, MONITOR_SOCKET, SOCK_SEQPACKET);
    int r;

    if (fd == -ENOENT || fd == -ECONNREFUSED)
        return error_set(e, ERR_CONFLICT, "the container is not running");
    if (fd < 0)
        return error_set_errno(e, fd, "cannot reach the container's monitor");
    r = fdpass_send(fd, msg->data, msg->len, fds, nfds);
    if (r == -EPIPE || r == -ECONNRESET)
        return error_set(e, ERR_CONFLICT, "the container is not running");
    if (r < 0)
        return error_set_errno(e, r, "cannot ask the container's monitor");
    return receive_reply(fd, timeout_ms, ret, e);
}

/* request() for those whose reply says nothing more. Messages are small here. */
static int simple_request(struct monitor *m, enum msg_type type, const void *fixed, size_t len,
                          const char *string, int timeout_ms, struct reply *ret, struct error *e)
{
    AUTOFREE struct msg_out *msg = xmalloc(sizeof(*msg));
    AUTOFREE struct reply *reply = ret ? NULL : xmalloc(sizeof(*reply));

    msg_begin(msg, type, 1, fixed, len);
    if (msg_add_string(msg, string) < 0)
        return error_set(e, ERR_INVALID, "the name is too long");
    return request(m, msg, NULL, 0, timeout_ms, ret ? ret : reply, e);
}

/* Content as the fd of a memory file. */
static int memory_file(const void *data, size_t len, int *ret, struct error *e)
{
    AUTOFD int fd = memfd_create("pouch", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return error_set_errno(e, errno, "cannot make a memory file");
    r = fs_write_all(fd, data, len);
    if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return error_set_errno(e, r < 0 ? r : errno, "cannot fill a memory file");
    *ret = take_fd(fd);
    return 0;
}

/* --- Starting and finding ---------------------------------------------------------------------- */

static struct monitor *monitor_new(void)
{
    struct monitor *m = xcalloc(1, sizeof(*m));

    m->fd = m->dirfd = -EBADF;
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void monitor_free(struct monitor *m)
{
    if (!m)
        return;
    if (m->fd >= 0)
        close(m->fd);
    if (m->dirfd >= 0)
        close(m->dirfd);
    if (m->child)
        monitor_reap_later(m->pid);
    monitor_reap_now();
    strv_free(m->warnings);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static int open_state_dir(struct monitor *m, const char *state_dir, struct error *e)
{
    m->dirfd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (m->dirfd < 0 && errno == ENOENT)
        return error_set(e, ERR_NOT_FOUND, "no state folder %s", state_dir);
    return m->dirfd < 0 ? error_set_errno(e, errno, "cannot open %s", state_dir) : 0;
}

/*
 * The path to start the monitor by: a descriptor of it on a read-only mount of its own, so that a
 * container that gets at /proc/<pid>/exe cannot write to the program (CVE-2019-5736). Opened once;
 * where it cannot be (old kernel), the path itself.
 */
static char *sealed_program(const char *program)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char *path, *sealed;
    char *result;

    pthread_mutex_lock(&lock);
    if (!path || strcmp(path, program) != 0) {
        int fd = mount_sealed_program(program);

        str_replace(&path, program);
        free(sealed);
        /* By our pid, since the child closes its own copy before it executes. The descriptor of
         * another program before this one (tests) stays open. */
        sealed = fd >= 0 ? xasprintf("/proc/%d/fd/%d", getpid(), fd) : xstrdup(program);
    }
    result = xstrdup(sealed);
    pthread_mutex_unlock(&lock);
    return result;
}

/* A monitor says something on stderr only when it crashes. It may have ours when that is a file; a
 * pipe or a terminal would be held for as long as the container lives. */
static bool stderr_is_file(void)
{
    struct stat st;

    return fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode);
}

static int spawn_process(struct monitor *m, const struct monitor_params *p, struct error *e)
{
    AUTOFREE char *path = p->program ? xstrdup(p->program) : self_program_path("pouch-monitor");
    AUTOFREE char *program = sealed_program(path);
    char *argv[] = {(char *)(uintptr_t) "pouch-monitor", (char *)(uintptr_t)p->id, NULL};
    char *env[] = {NULL};
    AUTOFD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fds[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return error_set_errno(e, errno, "cannot make a socket for the monitor");
    struct spawn_fd pass = {.fd = fds[1], .target = 3};
    struct spawn_params sp = {.program = program,
                              .argv = argv,
                              .env = env,
                              .stdin_fd = -EBADF,
                              .stdout_fd = -EBADF,
                              .stderr_fd = stderr_is_file() ? -EBADF : null_fd,
                              .fds = &pass,
                              .nfds = 1,
                              .new_session = true};

    monitor_reap_now();
    r = spawn_program(&sp, &m->pid, e);
    close(fds[1]);
    m->fd = fds[0];
    m->child = r == 0;
    return r;
}

static int fill_create(const struct monitor_params *p, struct msg_out *msg, struct error *e)
{
    struct msg_create c = {.rows = p->rows,
                           .cols = p->cols,
                           .log_max_files = p->log_max_files,
                           .log_max_size = p->log_max_size};
    const char *strings[] = {[CREATE_ID] = p->id,
                             [CREATE_STATE_DIR] = p->state_dir,
                             [CREATE_BUNDLE] = p->bundle,
                             [CREATE_CONTAINER_DIR] = p->container_dir ? p->container_dir
                                                                       : p->state_dir,
                             [CREATE_LOG_DRIVER] = p->log_driver,
                             [CREATE_LOG_PATH] = p->log_path,
                             [CREATE_VIEW_LOADAVG] = p->view_loadavg};

    c.flags = (p->tty ? CREATE_TTY : 0) | (p->open_stdin ? CREATE_OPEN_STDIN : 0) |
              (p->stdin_once ? CREATE_STDIN_ONCE : 0) | (p->seccomp_bpf ? CREATE_SECCOMP : 0) |
              (p->foreign ? CREATE_FOREIGN : 0) | (p->full_view ? CREATE_VIEW : 0) |
              (p->rich ? CREATE_RICH : 0) | (p->rich_exit_init ? CREATE_RICH_EXIT_INIT : 0);
    msg_begin(msg, MSG_CREATE, 1, &c, sizeof(c));
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        if (msg_add_string(msg, strings[i]) < 0)
            return error_set(e, ERR_INVALID, "the paths of the container are too long");
    return 0;
}

int monitor_spawn(const struct monitor_params *p, struct monitor **ret, struct error *e)
{
    AUTOPTR(monitor) struct monitor *m = monitor_new();
    AUTOFREE struct msg_out *msg = xmalloc(sizeof(*msg));
    AUTOFREE struct reply *reply = xmalloc(sizeof(*reply));
    AUTOFD int bpf_fd = -EBADF;
    int r;

    assert(strlen(p->id) <= MONITOR_ID_MAX);
    r = open_state_dir(m, p->state_dir, e);
    if (r == 0)
        r = fill_create(p, msg, e);
    if (r == 0 && p->seccomp_bpf)
        r = memory_file(p->seccomp_bpf, p->seccomp_len, &bpf_fd, e);
    if (r == 0)
        r = spawn_process(m, p, e);
    if (r < 0)
        return r;
    r = fdpass_send(m->fd, msg->data, msg->len, &bpf_fd, bpf_fd >= 0);
    if (r < 0)
        return error_set_errno(e, r, "cannot talk to the new monitor");
    r = receive_reply(m->fd, CREATE_TIMEOUT_MS, reply, e);
    if (r < 0) {
        (void)kill(m->pid, SIGKILL); /* it ends by itself, but perhaps it hangs */
        (void)waitpid(m->pid, NULL, 0);
        m->child = false;
        return r;
    }
    m->init_pid = reply->r.pid;
    m->state = MONITOR_GATE;
    for (size_t i = 2, n = msg_strings(&reply->in); i < n; i++)
        strv_push(&m->warnings, msg_string(&reply->in, i));
    *ret = take_ptr(m);
    return 0;
}

int monitor_connect(const char *state_dir, struct monitor **ret, struct error *e)
{
    AUTOPTR(monitor) struct monitor *m = monitor_new();
    AUTOFREE struct msg_out *msg = xmalloc(sizeof(*msg));
    AUTOFREE struct reply *reply = xmalloc(sizeof(*reply));
    int r = open_state_dir(m, state_dir, e);

    if (r < 0)
        return r;
    m->fd = fdpass_connect(m->dirfd, MONITOR_SOCKET, SOCK_SEQPACKET);
    if (m->fd == -ENOENT || m->fd == -ECONNREFUSED)
        return error_set(e, ERR_NOT_FOUND, "no monitor runs for %s", state_dir);
    if (m->fd < 0)
        return error_set_errno(e, m->fd, "cannot reach the monitor of %s", state_dir);
    msg_begin(msg, MSG_SUBSCRIBE, 1, NULL, 0);
    r = fdpass_send(m->fd, msg->data, msg->len, NULL, 0);
    if (r < 0)
        return error_set(e, ERR_NOT_FOUND, "the monitor of %s has ended", state_dir);
    r = receive_reply(m->fd, REQUEST_TIMEOUT_MS, reply, e);
    if (r < 0)
        return r;
    m->init_pid = reply->r.pid;
    m->pid = reply->r.monitor;
    m->state = (enum monitor_state)reply->r.state;
    *ret = take_ptr(m);
    return 0;
}

enum monitor_state monitor_get_state(struct monitor *m)
{
    enum monitor_state state;

    pthread_mutex_lock(&m->lock);
    state = m->state;
    pthread_mutex_unlock(&m->lock);
    return state;
}

pid_t monitor_init_pid(struct monitor *m)
{
    pid_t pid;

    pthread_mutex_lock(&m->lock);
    pid = m->init_pid;
    pthread_mutex_unlock(&m->lock);
    return pid;
}

pid_t monitor_pid(struct monitor *m)
{
    return m->pid;
}

char *const *monitor_warnings(struct monitor *m)
{
    return m->warnings;
}

int monitor_start(struct monitor *m, struct error *e)
{
    int r = simple_request(m, MSG_START, NULL, 0, "", START_TIMEOUT_MS, NULL, e);

    if (r < 0)
        return r;
    pthread_mutex_lock(&m->lock);
    if (m->state == MONITOR_GATE)
        m->state = MONITOR_RUNNING;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

/* --- Events ------------------------------------------------------------------------------------ */

int monitor_fd(struct monitor *m)
{
    return m->fd;
}

static void hang_up(struct monitor *m)
{
    pthread_mutex_lock(&m->lock);
    m->hung_up = true;
    m->init_pid = 0;
    m->state = MONITOR_EXITED;
    if (m->child && waitpid(m->pid, NULL, WNOHANG) != 0)
        m->child = false;
    pthread_mutex_unlock(&m->lock);
}

static void fill_event(const struct msg_in *in, struct monitor_event *ret)
{
    struct msg_event ev;
    size_t len;

    msg_fixed(in, &ev, sizeof(ev));
    *ret = (struct monitor_event){.type = (enum monitor_event_type)ev.type,
                                  .lost_bytes = ev.lost_bytes,
                                  .errnum = ev.errnum,
                                  .exit = {.exit_code = ev.exit_code,
                                           .signal = ev.signal,
                                           .oom_killed = ev.oom_killed,
                                           .started_ns = ev.started_ns,
                                           .exited_ns = ev.exited_ns,
                                           .log_lost_bytes = ev.lost_bytes,
                                           .log_lost_lines = ev.lost_lines,
                                           .error_code = (int)ev.error_code}};
    len = strnlen(msg_string(in, 0), MONITOR_ID_MAX);
    memcpy(ret->exec_id, msg_string(in, 0), len);
    len = strnlen(msg_string(in, 1), sizeof(ret->exit.error) - 1);
    memcpy(ret->exit.error, msg_string(in, 1), len);
}

int monitor_read_event(struct monitor *m, struct monitor_event *ret)
{
    AUTOFREE char *data = xmalloc(MSG_MAX);
    struct msg_in in;
    ssize_t n;

    if (m->hung_up)
        return 0;
    for (;;) {
        n = recv(m->fd, data, MSG_MAX, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0) {
            hang_up(m);
            *ret = (struct monitor_event){.type = MONITOR_EVENT_HANGUP};
            return 1;
        }
        /* A late reply, or an event of a newer monitor: passed over. */
        if (msg_parse(data, (size_t)n, &in) == 0 && in.header.type == MSG_EVENT)
            break;
    }
    fill_event(&in, ret);
    if (ret->type == MONITOR_EVENT_EXITED) {
        pthread_mutex_lock(&m->lock);
        m->state = MONITOR_EXITED;
        m->init_pid = 0;
        pthread_mutex_unlock(&m->lock);
    }
    return 1;
}

/* --- Requests on a container ------------------------------------------------------------------- */

int monitor_signal(struct monitor *m, int sig, bool all, struct error *e)
{
    struct msg_signal p = {.sig = sig, .all = all};

    return simple_request(m, MSG_SIGNAL, &p, sizeof(p), "", REQUEST_TIMEOUT_MS, NULL, e);
}

int monitor_exec_kill(struct monitor *m, const char *exec_id, struct error *e)
{
    struct msg_signal p = {.sig = SIGKILL, .group = true};

    return simple_request(m, MSG_SIGNAL, &p, sizeof(p), exec_id, REQUEST_TIMEOUT_MS, NULL, e);
}

static int resize_request(struct monitor *m, const char *exec_id, unsigned rows, unsigned cols,
                          struct error *e)
{
    struct msg_resize p = {.rows = rows, .cols = cols};

    return simple_request(m, MSG_RESIZE, &p, sizeof(p), exec_id, REQUEST_TIMEOUT_MS, NULL, e);
}

int monitor_resize(struct monitor *m, unsigned rows, unsigned cols, struct error *e)
{
    return resize_request(m, "", rows, cols, e);
}

int monitor_exec_resize(struct monitor *m, const char *exec_id, unsigned rows, unsigned cols,
                        struct error *e)
{
    return resize_request(m, exec_id, rows, cols, e);
}

int monitor_attach(struct monitor *m, const struct monitor_attach_params *p, struct error *e)
{
    AUTOFREE struct msg_out *msg = xmalloc(sizeof(*msg));
    AUTOFREE struct reply *reply = xmalloc(sizeof(*reply));
    struct msg_attach a = {.flags = p->flags};
    AUTOFD int early_fd = -EBADF;
    int fds[2] = {p->client_fd};
    int r = monitor_parse_detach_keys(p->detach_keys, a.keys, e);

    if (r < 0)
        return r;
    a.nkeys = (uint32_t)r;
    if (p->early_len > 0) {
        r = memory_file(p->early, p->early_len, &early_fd, e);
        if (r < 0)
            return r;
        a.flags |= ATTACH_EARLY;
        fds[1] = early_fd;
    }
    msg_begin(msg, MSG_ATTACH, 1, &a, sizeof(a));
    (void)msg_add_string(msg, "");
    return request(m, msg, fds, early_fd >= 0 ? 2 : 1, REQUEST_TIMEOUT_MS, reply, e);
}

int monitor_exec_start(struct monitor *m, const struct monitor_exec_params *p, pid_t *ret_pid,
                       struct error *e)
{
    AUTOFREE struct msg_out *msg = xmalloc(sizeof(*msg));
    AUTOFREE struct reply *reply = xmalloc(sizeof(*reply));
    AUTOFD int process_fd = -EBADF, bpf_fd = -EBADF, early_fd = -EBADF;
    struct msg_exec x = {.flags = p->tty ? EXEC_TTY : 0,
                         .rows = p->rows,
                         .cols = p->cols,
                         .attach_flags = p->attach.flags};
    int fds[FDS_MAX];
    size_t nfds = 0;
    int r = monitor_parse_detach_keys(p->attach.detach_keys, x.keys, e);

    if (r < 0)
        return r;
    x.nkeys = (uint32_t)r;
    r = memory_file(p->process_json, strlen(p->process_json), &process_fd, e);
    if (r == 0 && p->seccomp_bpf)
        r = memory_file(p->seccomp_bpf, p->seccomp_len, &bpf_fd, e);
    if (r == 0 && p->attach.early_len > 0)
        r = memory_file(p->attach.early, p->attach.early_len, &early_fd, e);
    if (r < 0)
        return r;
    fds[nfds++] = process_fd;
    if (p->at_gate)
        x.flags |= EXEC_AT_GATE;
    if (bpf_fd >= 0) {
        x.flags |= EXEC_SECCOMP;
        fds[nfds++] = bpf_fd;
    }
    if (p->attach.client_fd >= 0) {
        x.attach_flags |= ATTACH_CLIENT;
        fds[nfds++] = p->attach.client_fd;
    }
    if (early_fd >= 0) {
        x.attach_flags |= ATTACH_EARLY;
        fds[nfds++] = early_fd;
    }
    msg_begin(msg, MSG_EXEC, 1, &x, sizeof(x));
    (void)msg_add_string(msg, p->exec_id);
    r = request(m, msg, fds, nfds, START_TIMEOUT_MS, reply, e);
    if (r < 0)
        return r;
    if (ret_pid)
        *ret_pid = reply->r.pid;
    return 0;
}

int monitor_mounts(struct monitor *m, const struct monitor_mount *mounts, size_t n, struct error *e)
{
    AUTOFREE struct msg_out *msg = xmalloc(sizeof(*msg));
    AUTOFREE struct reply *reply = xmalloc(sizeof(*reply));
    struct msg_mount p = {.n = (uint32_t)n};

    static_assert(MONITOR_MOUNTS_MAX == MSG_MOUNTS_MAX, "what may be asked is what can be said");
    if (n > MONITOR_MOUNTS_MAX)
        return error_set(e, ERR_INVALID, "more than %d mounts at once", MONITOR_MOUNTS_MAX);
    for (size_t i = 0; i < n; i++)
        p.ops[i] = (uint8_t)mounts[i].op;
    msg_begin(msg, MSG_MOUNT, 1, &p, sizeof(p));
    for (size_t i = 0; i < n; i++)
        if (msg_add_string(msg, mounts[i].source) < 0 ||
            msg_add_string(msg, mounts[i].target) < 0 || msg_add_string(msg, mounts[i].options) < 0)
            return error_set(e, ERR_INVALID, "the paths of the mounts are too long");
    /* One at a time: also after a pouchd that was killed before its request was carried out. */
    for (int waited = 0;; waited += MOUNT_BUSY_MS) {
        CLEANUP(error_done) struct error why = ERROR_INIT;
        int r;

        reply->r.result = 0;
        r = request(m, msg, NULL, 0, REQUEST_TIMEOUT_MS, reply, &why);
        if (r == 0 || reply->r.result != -EBUSY || waited >= REQUEST_TIMEOUT_MS) {
            error_move(e, &why);
            return r;
        }
        (void)usleep(MOUNT_BUSY_MS * 1000);
    }
}

int monitor_exec_get_state(struct monitor *m, const char *exec_id, struct monitor_exec_state *ret,
                           struct error *e)
{
    AUTOFREE struct reply *reply = xmalloc(sizeof(*reply));
    int r = simple_request(m, MSG_EXEC_STATE, NULL, 0, exec_id, REQUEST_TIMEOUT_MS, reply, e);

    if (r < 0)
        return r;
    *ret = (struct monitor_exec_state){.running = reply->r.state,
                                       .pid = reply->r.pid,
                                       .exit_code = reply->r.exit_code};
    return 0;
}
