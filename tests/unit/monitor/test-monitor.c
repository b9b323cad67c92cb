/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor and its client, with a driver that runs shell commands (fake-monitor.c). */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/time.h"
#include "io/stdcopy.h"
#include "log/json-file.h"
#include "monitor/monitor.h"
#include "monitor/rich.h"

#define WAIT_MS 20000

struct box {
    char dir[64];
    char *log;
    struct monitor *m;
    struct monitor_params p;
};

static const char *program;

static void put_file(const char *dir, const char *name, const char *text)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);

    assert_int_equal(fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, FS_NO_SYNC), 0);
}

/* A folder for everything, and the command that the container will be. */
static void box_init(struct box *b, const char *command)
{
    memset(b, 0, sizeof(*b));
    strcpy(b->dir, "/tmp/pouch-test-monitor-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    put_file(b->dir, "config.json", command);
    b->log = xasprintf("%s/x-json.log", b->dir);
    b->p = (struct monitor_params){.program = program,
                                   .id = "box",
                                   .state_dir = b->dir,
                                   .bundle = b->dir,
                                   .log_driver = "json-file",
                                   .log_path = b->log,
                                   .log_max_size = 20 << 20,
                                   .log_max_files = 3};
}

static void box_spawn(struct box *b)
{
    struct error e = ERROR_INIT;
    int r = monitor_spawn(&b->p, &b->m, &e);

    if (r < 0)
        print_message("# %s\n", error_message(&e));
    assert_int_equal(r, 0);
    assert_true(monitor_init_pid(b->m) > 0);
}

static void box_start(struct box *b)
{
    struct error e = ERROR_INIT;
    int r = monitor_start(b->m, &e);

    if (r < 0)
        print_message("# %s\n", error_message(&e));
    assert_int_equal(r, 0);
}

static void box_done(struct box *b)
{
    monitor_free(b->m);
    free(b->log);
    assert_int_equal(fs_remove_tree(AT_FDCWD, b->dir), 0);
}

/* The next event of this type; others before it are passed over. */
static struct monitor_event wait_event(struct monitor *m, enum monitor_event_type type)
{
    struct pollfd p = {.fd = monitor_fd(m), .events = POLLIN};
    struct monitor_event ev;

    for (;;) {
        int r = monitor_read_event(m, &ev);

        assert_true(r >= 0);
        if (r == 0) {
            assert_int_equal(poll(&p, 1, WAIT_MS), 1);
            continue;
        }
        if (ev.type == type)
            return ev;
        if (ev.type == MONITOR_EVENT_HANGUP)
            fail_msg("hung up while waiting for event %d", type);
    }
}

/* Everything until the other side closes. */
static void read_all(int fd, struct buf *out)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (;;) {
        char *space = buf_reserve(out, 65536);
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        n = read(fd, space, 65536);
        if (n <= 0)
            return;
        buf_commit(out, (size_t)n);
    }
}

/* Splits frames into two texts; the last one may be unfinished. */
static struct stdcopy_reader split_open(const struct buf *in, struct buf *out, struct buf *err)
{
    struct stdcopy_reader r = {0};
    const char *data = in->data, *part;
    size_t len = in->len, part_len;
    enum stdcopy_type type;

    while (stdcopy_next(&r, &data, &len, &type, &part, &part_len) > 0)
        buf_append(type == STDCOPY_STDOUT ? out : err, part, part_len);
    return r;
}

static void split(const struct buf *in, struct buf *out, struct buf *err)
{
    struct stdcopy_reader r = split_open(in, out, err);

    assert_int_equal(r.left, 0);
    assert_int_equal(r.have, 0);
}

/* Attaches one end of a socket pair; the other is returned. */
static int attach_with(struct box *b, unsigned flags, const char *early, int socket_buffer)
{
    struct error e = ERROR_INIT;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    if (socket_buffer)
        assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &socket_buffer,
                                    sizeof(socket_buffer)),
                         0);
    struct monitor_attach_params p = {.client_fd = fds[1],
                                      .flags = flags,
                                      .early = early,
                                      .early_len = early ? strlen(early) : 0};
    int r = monitor_attach(b->m, &p, &e);

    if (r < 0)
        print_message("# %s\n", error_message(&e));
    assert_int_equal(r, 0);
    close(fds[1]);
    return fds[0];
}

static int attach(struct box *b, unsigned flags, const char *early)
{
    return attach_with(b, flags, early, 0);
}

#define ALL_OUT (MONITOR_STDOUT | MONITOR_STDERR)

static char *log_text(const char *path)
{
    struct log_reader_params p = {.tail = -1, .cancel_fd = -1};
    struct log_reader *r;
    struct log_entry entry;
    struct buf b = BUF_INIT(1 << 30);

    assert_int_equal(log_reader_open(path, &p, &r, NULL), 0);
    while (log_reader_next(r, &entry) > 0)
        buf_append(&b, entry.data, entry.len);
    log_reader_free(r);
    return buf_take(&b);
}

static void test_run(void **state)
{
    struct box b;
    struct monitor_event ev;
    struct monitor_exit x;
    struct error e = ERROR_INIT;

    box_init(&b, "echo out; echo err >&2; printf partial; exit 7");
    b.p.seccomp_bpf = "12345678";
    b.p.seccomp_len = 8;
    box_spawn(&b);
    assert_string_equal(monitor_warnings(b.m)[0], "swap limit not given");
    assert_string_equal(monitor_warnings(b.m)[1], "filter of 8 bytes");
    assert_int_equal(monitor_get_state(b.m), MONITOR_GATE);
    int fd = attach(&b, ALL_OUT, NULL);
    box_start(&b);
    ev = wait_event(b.m, MONITOR_EVENT_EXITED);
    assert_int_equal(ev.exit.exit_code, 7);
    assert_int_equal(ev.exit.signal, 0);
    assert_int_equal(monitor_read_exit(b.dir, &x, &e), 0);
    assert_int_equal(x.exit_code, 7);
    assert_true(x.started_ns > 0 && x.exited_ns >= x.started_ns);

    AUTO(buf) struct buf all = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20), err = BUF_INIT(1 << 20);
    read_all(fd, &all);
    close(fd);
    split(&all, &out, &err);
    assert_string_equal(buf_str(&out), "out\npartial");
    assert_string_equal(buf_str(&err), "err\n");
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    AUTOFREE char *log = log_text(b.log);
    assert_non_null(strstr(log, "out\n"));
    assert_non_null(strstr(log, "partial"));
    box_done(&b);
}

/* However short its life: it cannot have ended before it began. */
static void test_end_at_once(void **state)
{
    for (int i = 0; i < 100; i++) {
        struct monitor_event ev;
        struct box b;

        box_init(&b, "at-once");
        box_spawn(&b);
        box_start(&b);
        ev = wait_event(b.m, MONITOR_EVENT_EXITED);
        assert_int_equal(ev.exit.exit_code, 9);
        assert_true(ev.exit.started_ns > 0);
        assert_true(ev.exit.exited_ns >= ev.exit.started_ns);
        wait_event(b.m, MONITOR_EVENT_HANGUP);
        box_done(&b);
    }
}

static void test_failures(void **state)
{
    struct error e = ERROR_INIT;
    struct monitor_exit x;
    struct box b;

    box_init(&b, "fail-create");
    assert_true(monitor_spawn(&b.p, &b.m, &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(error_message(&e), "the bundle is no good");
    error_done(&e);
    box_done(&b);

    box_init(&b, "die-in-stage");
    assert_true(monitor_spawn(&b.p, &b.m, &e) < 0);
    error_done(&e);
    box_done(&b);

    box_init(&b, "not-found");
    box_spawn(&b);
    assert_true(monitor_start(b.m, &e) < 0);
    assert_int_equal(e.code, ERR_COMMAND_NOT_FOUND);
    error_done(&e);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    assert_int_equal(monitor_read_exit(b.dir, &x, &e), 0);
    assert_int_equal(x.exit_code, 127);
    assert_int_equal(x.error_code, ERR_COMMAND_NOT_FOUND);
    assert_non_null(strstr(x.error, "not-found"));
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    assert_true(monitor_signal(b.m, SIGTERM, false, &e) < 0);
    assert_int_equal(e.code, ERR_CONFLICT);
    error_done(&e);
    struct monitor *again;
    assert_true(monitor_connect(b.dir, &again, &e) < 0);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    error_done(&e);
    box_done(&b);

    box_init(&b, "true");
    b.p.program = "/nowhere/pouch-monitor";
    assert_true(monitor_spawn(&b.p, &b.m, &e) < 0);
    error_done(&e);
    box_done(&b);
}

static void test_signal_and_adoption(void **state)
{
    struct error e = ERROR_INIT;
    struct monitor_event ev;
    struct box b;
    pid_t init;
    struct stat st;

    box_init(&b, "exec sleep 1000");
    box_spawn(&b);
    AUTOFREE char *sock = xasprintf("%s/monitor.sock", b.dir);
    assert_int_equal(stat(sock, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    box_start(&b);
    init = monitor_init_pid(b.m);
    monitor_free(b.m); /* pouchd dies */
    assert_int_equal(monitor_connect(b.dir, &b.m, &e), 0);
    assert_int_equal(monitor_init_pid(b.m), init);
    assert_int_equal(monitor_get_state(b.m), MONITOR_RUNNING);
    assert_int_equal(monitor_signal(b.m, SIGKILL, false, &e), 0);
    ev = wait_event(b.m, MONITOR_EVENT_EXITED);
    assert_int_equal(ev.exit.exit_code, 137);
    assert_int_equal(ev.exit.signal, 9);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);

    /* Killed while it waits at the gate. */
    box_init(&b, "true");
    box_spawn(&b);
    assert_int_equal(monitor_signal(b.m, SIGKILL, false, &e), 0);
    ev = wait_event(b.m, MONITOR_EVENT_EXITED);
    assert_int_equal(ev.exit.exit_code, 137);
    assert_int_equal(ev.exit.started_ns, 0);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);
}

static void test_monitor_killed(void **state)
{
    struct monitor_exit x;
    struct error e = ERROR_INIT;
    struct box b;
    pid_t init;

    box_init(&b, "exec sleep 1000");
    box_spawn(&b);
    box_start(&b);
    init = monitor_init_pid(b.m);
    kill(monitor_pid(b.m), SIGKILL);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    for (int i = 0; i < 1000 && kill(init, 0) == 0; i++)
        usleep(10000);
    assert_true(kill(init, 0) < 0);
    assert_true(monitor_read_exit(b.dir, &x, &e) < 0);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    error_done(&e);
    box_done(&b);
}

static void test_stdin(void **state)
{
    struct box b;
    int fd;
    AUTO(buf)
    struct buf all = BUF_INIT(64 << 20), out = BUF_INIT(64 << 20), err = BUF_INIT(1 << 20);

    /* Half-closed: the input ends, the output goes on. */
    box_init(&b, "cat; echo done");
    b.p.open_stdin = b.p.stdin_once = true;
    box_spawn(&b);
    fd = attach(&b, MONITOR_STDIN | ALL_OUT, "early ");
    assert_int_equal(write(fd, "late\n", 5), 5);
    shutdown(fd, SHUT_WR);
    box_start(&b);
    read_all(fd, &all);
    close(fd);
    split(&all, &out, &err);
    assert_string_equal(buf_str(&out), "early late\ndone\n");
    wait_event(b.m, MONITOR_EVENT_EXITED);
    box_done(&b);

    /* Not stdin_once: the container's input stays open for the next client. */
    box_init(&b, "read a; read b; echo $a $b");
    b.p.open_stdin = true;
    box_spawn(&b);
    box_start(&b);
    int first = attach(&b, MONITOR_STDIN | MONITOR_STDOUT | MONITOR_RAW, "one\n");
    shutdown(first, SHUT_WR);
    fd = attach(&b, MONITOR_STDIN | MONITOR_STDOUT | MONITOR_RAW, "two\n");
    buf_clear(&all);
    read_all(fd, &all);
    close(fd);
    assert_string_equal(buf_str(&all), "one two\n");
    buf_clear(&all);
    read_all(first, &all); /* its input ended, its output did not */
    close(first);
    assert_string_equal(buf_str(&all), "one two\n");
    wait_event(b.m, MONITOR_EVENT_EXITED);
    box_done(&b);
}

/* More than pipes hold, through a process that reads slowly at first. */
static void test_stdin_large(void **state)
{
    enum { SIZE = 4 << 20 };
    AUTO(buf) struct buf all = BUF_INIT(1 << 20);
    AUTOFREE char *data = malloc(SIZE);
    struct box b;
    pid_t writer;
    int fd;

    memset(data, 'x', SIZE);
    box_init(&b, "sleep 0.2; wc -c");
    b.p.open_stdin = b.p.stdin_once = true;
    box_spawn(&b);
    box_start(&b);
    fd = attach(&b, MONITOR_STDIN | MONITOR_STDOUT | MONITOR_RAW, NULL);
    writer = fork();
    if (writer == 0) {
        if (fs_write_all(fd, data, SIZE) < 0)
            _exit(1);
        shutdown(fd, SHUT_WR);
        _exit(0);
    }
    read_all(fd, &all);
    close(fd);
    assert_string_equal(buf_str(&all), "4194304\n");
    waitpid(writer, NULL, 0);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    box_done(&b);
}

static void test_tty(void **state)
{
    struct error e = ERROR_INIT;
    AUTO(buf) struct buf all = BUF_INIT(1 << 20);
    struct box b;
    int fd, other;

    box_init(&b, "stty size; read x; stty size; read y; echo got-$x-$y");
    b.p.tty = b.p.open_stdin = b.p.stdin_once = true;
    b.p.rows = 30;
    b.p.cols = 100;
    box_spawn(&b);
    fd = attach(&b, MONITOR_STDIN | ALL_OUT, NULL);
    other = attach(&b, MONITOR_STDIN | ALL_OUT, NULL);
    box_start(&b);
    assert_int_equal(monitor_resize(b.m, 40, 120, &e), 0);
    assert_int_equal(write(fd, "a\n", 2), 2);
    /* ctrl-p alone is passed on, ctrl-p ctrl-q detaches. */
    assert_int_equal(write(other,
                           "\x10"
                           "b\x10",
                           3),
                     3);
    usleep(50000);
    assert_int_equal(write(other, "\x11", 1), 1);
    wait_event(b.m, MONITOR_EVENT_DETACHED);
    read_all(other, &all);
    close(other);
    assert_int_equal(write(fd, "\n", 1), 1);
    buf_clear(&all);
    read_all(fd, &all);
    close(fd);
    assert_non_null(strstr(buf_str(&all), "40 120"));
    assert_non_null(strstr(buf_str(&all), "got-a-\x10"
                                          "b"));
    wait_event(b.m, MONITOR_EVENT_EXITED);
    box_done(&b);
}

static void test_exec(void **state)
{
    struct error e = ERROR_INIT;
    AUTO(buf) struct buf all = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20), err = BUF_INIT(1 << 20);
    struct monitor_exec_state st;
    struct monitor_event ev;
    struct box b;
    pid_t pid;
    int fds[2];

    box_init(&b, "exec sleep 1000");
    box_spawn(&b);
    struct monitor_exec_params p = {.exec_id = "early",
                                    .process_json = "true",
                                    .attach.client_fd = -EBADF};
    assert_true(monitor_exec_start(b.m, &p, &pid, &e) < 0); /* not running yet */
    error_done(&e);
    box_start(&b);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    p = (struct monitor_exec_params){.exec_id = "e1",
                                     .process_json = "cat; echo err >&2; sleep 100 & exit 3",
                                     .attach = {.client_fd = fds[1],
                                                .flags = MONITOR_STDIN | ALL_OUT,
                                                .early = "hi\n",
                                                .early_len = 3}};
    assert_int_equal(monitor_exec_start(b.m, &p, &pid, &e), 0);
    close(fds[1]);
    assert_int_equal(monitor_exec_get_state(b.m, "e1", &st, &e), 0);
    assert_true(st.running);
    assert_int_equal(st.pid, pid);
    shutdown(fds[0], SHUT_WR);
    read_all(fds[0], &all); /* ends although `sleep` holds the pipe */
    close(fds[0]);
    ev = wait_event(b.m, MONITOR_EVENT_EXEC_EXITED);
    assert_string_equal(ev.exec_id, "e1");
    assert_int_equal(ev.exit.exit_code, 3);
    split(&all, &out, &err);
    assert_string_equal(buf_str(&out), "hi\n");
    assert_string_equal(buf_str(&err), "err\n");
    assert_int_equal(monitor_exec_get_state(b.m, "e1", &st, &e), 0);
    assert_false(st.running);
    assert_int_equal(st.exit_code, 3);

    p = (struct monitor_exec_params){.exec_id = "e2",
                                     .process_json = "not-found",
                                     .attach.client_fd = -EBADF};
    assert_true(monitor_exec_start(b.m, &p, &pid, &e) < 0);
    assert_int_equal(e.code, ERR_COMMAND_NOT_FOUND);
    error_done(&e);
    ev = wait_event(b.m, MONITOR_EVENT_EXEC_EXITED);
    assert_int_equal(ev.exit.exit_code, 127);

    p.exec_id = "e3";
    p.process_json = "fail-create";
    assert_true(monitor_exec_start(b.m, &p, &pid, &e) < 0);
    assert_string_equal(error_message(&e), "no such user");
    error_done(&e);
    assert_true(monitor_exec_get_state(b.m, "e3", &st, &e) < 0);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    error_done(&e);

    /* Many in a row, detached: each code arrives, the oldest are forgotten. */
    for (int i = 0; i < 150; i++) {
        char id[16], command[16];

        snprintf(id, sizeof(id), "n%d", i);
        snprintf(command, sizeof(command), "exit %d", i % 100);
        p = (struct monitor_exec_params){.exec_id = id,
                                         .process_json = command,
                                         .attach.client_fd = -EBADF};
        assert_int_equal(monitor_exec_start(b.m, &p, &pid, &e), 0);
        ev = wait_event(b.m, MONITOR_EVENT_EXEC_EXITED);
        assert_string_equal(ev.exec_id, id);
        assert_int_equal(ev.exit.exit_code, i % 100);
    }
    assert_int_equal(monitor_exec_get_state(b.m, "n149", &st, &e), 0);
    assert_true(monitor_exec_get_state(b.m, "e1", &st, &e) < 0);
    error_done(&e);

    p = (struct monitor_exec_params){.exec_id = "last",
                                     .process_json = "exec sleep 1000",
                                     .attach.client_fd = -EBADF};
    assert_int_equal(monitor_exec_start(b.m, &p, &pid, &e), 0);
    assert_int_equal(monitor_signal(b.m, SIGTERM, false, &e), 0);
    ev = wait_event(b.m, MONITOR_EVENT_EXITED);
    assert_int_equal(ev.exit.exit_code, 143);
    ev = wait_event(b.m, MONITOR_EVENT_EXEC_EXITED); /* does not outlive the container */
    assert_int_equal(ev.exit.exit_code, 137);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);
}

/* A client that does not read neither stops the container nor another client, and loses nothing. */
static void test_slow_reader(void **state)
{
    AUTO(buf) struct buf fast = BUF_INIT(64 << 20), slow = BUF_INIT(64 << 20);
    struct box b;
    int fast_fd, slow_fd;

    box_init(&b, "i=0; head -c 20000000 /dev/zero | tr '\\0' 'z'; echo; echo end");
    b.p.log_driver = "none";
    box_spawn(&b);
    slow_fd = attach(&b, MONITOR_STDOUT | MONITOR_RAW, NULL);
    fast_fd = attach(&b, MONITOR_STDOUT | MONITOR_RAW, NULL);
    box_start(&b);
    read_all(fast_fd, &fast);
    assert_int_equal(fast.len, 20000000 + 5);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    read_all(slow_fd, &slow);
    assert_int_equal(slow.len, fast.len);
    assert_memory_equal(slow.data, fast.data, fast.len);
    close(fast_fd);
    close(slow_fd);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);
}

/* A client that is slow but takes something throttles the container and loses nothing. */
static void test_throttle(void **state)
{
    enum { SIZE = 8000000 };
    struct box b;
    size_t total = 0;
    char buffer[100000];
    int fd;

    box_init(&b, "head -c 8000000 /dev/zero | tr '\\0' 'z'; echo; echo end");
    b.p.id = "small"; /* limits: 1 MiB, half a second */
    b.p.log_driver = "none";
    box_spawn(&b);
    fd = attach(&b, MONITOR_STDOUT | MONITOR_RAW, NULL);
    box_start(&b);
    for (int i = 0; i < 10; i++) {
        struct monitor_event ev;
        ssize_t n = read(fd, buffer, sizeof(buffer));

        assert_true(n > 0);
        total += (size_t)n;
        usleep(100000);
        assert_int_equal(monitor_read_event(b.m, &ev), 0); /* it cannot have ended */
    }
    for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
        total += (size_t)n;
    assert_int_equal(total, SIZE + 5);
    close(fd);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);
}

/* No disk to spill to: the container waits for its client, nothing is lost. */
static void test_no_disk(void **state)
{
    AUTO(buf) struct buf all = BUF_INIT(64 << 20);
    struct monitor_event ev;
    struct box b;
    int fd;

    box_init(&b, "head -c 8000000 /dev/zero | tr '\\0' 'z'; echo; echo end");
    b.p.container_dir = "/nowhere";
    b.p.log_driver = "none";
    box_spawn(&b);
    fd = attach(&b, MONITOR_STDOUT | MONITOR_RAW, NULL);
    box_start(&b);
    usleep(200000);
    assert_int_equal(monitor_read_event(b.m, &ev), 0);
    read_all(fd, &all);
    assert_int_equal(all.len, 8000005);
    assert_string_equal(buf_str(&all) + 8000001, "end\n");
    close(fd);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);
}

/* Clients that come and go at any moment, with and without input, beside execs. */
static void test_many_clients(void **state)
{
    struct error e = ERROR_INIT;
    struct box b;
    int fds[20];

    box_init(&b, "while read x; do echo $x; echo $x >&2; done; echo bye");
    b.p.open_stdin = true;
    box_spawn(&b);
    box_start(&b);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 20; i++) {
            struct monitor_exec_params x = {.process_json = "cat; exit 1",
                                            .attach.flags = MONITOR_STDIN | ALL_OUT};
            char id[32];
            int pair[2];
            pid_t pid;

            fds[i] = attach(&b, (i % 2 ? MONITOR_STDIN : 0) | ALL_OUT | (i % 3 ? 0 : MONITOR_LOGS),
                            i % 5 ? NULL : "early\n");
            if (i % 7)
                continue;
            snprintf(id, sizeof(id), "x%d-%d", round, i);
            x.exec_id = id;
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
            x.attach.client_fd = pair[1];
            assert_int_equal(monitor_exec_start(b.m, &x, &pid, &e), 0);
            close(pair[1]);
            close(pair[0]); /* gone at once: its input is at its end */
            wait_event(b.m, MONITOR_EVENT_EXEC_EXITED);
        }
        for (int i = 0; i < 20; i++) {
            if (i % 2)
                (void)!write(fds[i], "some input\n", 11);
            if (i % 4 == 0)
                shutdown(fds[i], SHUT_WR);
            close(fds[i]);
        }
    }
    int last = attach(&b, MONITOR_STDIN | ALL_OUT | MONITOR_RAW, "last\n");
    AUTO(buf) struct buf all = BUF_INIT(1 << 20);
    while (!strstr(buf_str(&all), "last\n")) {
        char *space = buf_reserve(&all, 4096);
        ssize_t n = read(last, space, 4096);

        assert_true(n > 0);
        buf_commit(&all, (size_t)n);
    }
    close(last);
    assert_int_equal(monitor_signal(b.m, SIGKILL, false, &e), 0);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);
}

/* pouchd sleeps while far more happens than its socket holds: it hears of it afterwards. */
static void test_events_late(void **state)
{
    enum { EXECS = 600 };
    struct error e = ERROR_INIT;
    struct monitor *other;
    struct monitor_event ev;
    struct box b;

    box_init(&b, "exec sleep 1000");
    box_spawn(&b);
    box_start(&b);
    assert_int_equal(monitor_connect(b.dir, &other, &e), 0);
    for (int i = 0; i < EXECS; i++) {
        char id[16];
        pid_t pid;

        snprintf(id, sizeof(id), "n%d", i);
        struct monitor_exec_params p = {.exec_id = id,
                                        .process_json = "exit 3",
                                        .attach.client_fd = -EBADF};
        assert_int_equal(monitor_exec_start(b.m, &p, &pid, &e), 0);
        ev = wait_event(other, MONITOR_EVENT_EXEC_EXITED);
        assert_string_equal(ev.exec_id, id);
    }
    do {
        ev = wait_event(b.m, MONITOR_EVENT_EXEC_EXITED);
        assert_int_equal(ev.exit.exit_code, 3);
    } while (strcmp(ev.exec_id, "n599") != 0);
    monitor_free(other);
    assert_int_equal(monitor_signal(b.m, SIGKILL, false, &e), 0);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);
}

/* A client that takes nothing is skipped, and told when it wakes up; the others get everything. */
static void test_stuck(void **state)
{
    AUTO(buf)
    struct buf good = BUF_INIT(64 << 20), bad = BUF_INIT(64 << 20), out = BUF_INIT(64 << 20),
               err = BUF_INIT(1 << 20);
    int good_fd, bad_fd;
    struct box b;
    char *said;

    box_init(&b, "head -c 8000000 /dev/zero | tr '\\0' 'z'; echo; read x; echo end");
    b.p.id = "small";
    b.p.open_stdin = true;
    b.p.log_driver = "none";
    box_spawn(&b);
    bad_fd = attach(&b, MONITOR_STDOUT, NULL);
    good_fd = attach(&b, MONITOR_STDIN | MONITOR_STDOUT | MONITOR_RAW, NULL);
    box_start(&b);
    while (good.len < 8000001) {
        char *space = buf_reserve(&good, 65536);
        ssize_t n = read(good_fd, space, 65536);

        assert_true(n > 0);
        buf_commit(&good, (size_t)n);
    }
    /* Now it wakes up, reads what is queued, and the notice; then live output. */
    while (!strstr(buf_str(&err), "dropped")) {
        struct pollfd p = {.fd = bad_fd, .events = POLLIN};
        char *space = buf_reserve(&bad, 65536);
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        n = read(bad_fd, space, 65536);
        assert_true(n > 0);
        buf_commit(&bad, (size_t)n);
        buf_clear(&out);
        buf_clear(&err);
        split_open(&bad, &out, &err);
    }
    assert_int_equal(write(good_fd, "\n", 1), 1);
    read_all(bad_fd, &bad);
    read_all(good_fd, &good);
    close(good_fd);
    close(bad_fd);
    assert_int_equal(good.len, 8000001 + 4);
    buf_clear(&out);
    buf_clear(&err);
    split(&bad, &out, &err);
    said = strstr(buf_str(&err), "pouch: ");
    assert_non_null(said);
    assert_int_equal(out.len + strtoul(said + 7, NULL, 10), good.len);
    assert_string_equal(buf_str(&out) + out.len - 4, "end\n");
    wait_event(b.m, MONITOR_EVENT_EXITED);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    box_done(&b);

    /* At the end of the container a stuck client is let go after its time. */
    box_init(&b, "head -c 3000000 /dev/zero");
    b.p.id = "small";
    box_spawn(&b);
    bad_fd = attach(&b, MONITOR_STDOUT, NULL);
    box_start(&b);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    wait_event(b.m, MONITOR_EVENT_HANGUP);
    close(bad_fd);
    box_done(&b);
}

/* A skipped client that takes all of its queue in one go - as many rounds as the monitor makes at a time -
 * is told, and has live output again. */
static void test_stuck_and_quick(void **state)
{
    static const char *const names[] = {"small-15",
                                        "small-16"}; /* with a rest of a frame, and without */

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        AUTO(buf)
        struct buf bad = BUF_INIT(64 << 20);
        size_t seen = 0;
        ssize_t n = 1;
        int good_fd, bad_fd;
        struct box b;

        box_init(&b, "dd if=/dev/zero bs=1000000 count=24 2>/dev/null; echo; read x; echo end");
        b.p.id = names[i];
        b.p.open_stdin = true;
        b.p.log_driver = "none";
        box_spawn(&b);
        bad_fd = attach_with(&b, MONITOR_STDOUT, NULL, 2 << 20);
        good_fd = attach(&b, MONITOR_STDIN | MONITOR_STDOUT | MONITOR_RAW, NULL);
        box_start(&b);
        for (; seen < 24000001; seen += (size_t)n) {
            n = read(good_fd, buf_reserve(&bad, 65536), 65536);
            assert_true(n > 0);
        }
        for (bool told = false; !told;) {
            struct pollfd p = {.fd = bad_fd, .events = POLLIN};

            assert_int_equal(poll(&p, 1, WAIT_MS), 1);
            n = read(bad_fd, buf_reserve(&bad, 65536), 65536);
            assert_true(n > 0);
            buf_commit(&bad, (size_t)n);
            told = memmem(bad.data, bad.len, "dropped", 7);
        }
        assert_int_equal(write(good_fd, "\n", 1), 1);
        read_all(bad_fd, &bad);
        assert_memory_equal(bad.data + bad.len - 4, "end\n", 4);
        close(good_fd);
        close(bad_fd);
        wait_event(b.m, MONITOR_EVENT_EXITED);
        wait_event(b.m, MONITOR_EVENT_HANGUP);
        box_done(&b);
    }
}

/* The log so far and live output meet without a gap, in the middle of a line too. */
static void test_replay(void **state)
{
    AUTO(buf)
    struct buf all = BUF_INIT(64 << 20), out = BUF_INIT(64 << 20), err = BUF_INIT(1 << 20),
               want = BUF_INIT(64 << 20);
    struct box b;
    int fd;

    box_init(&b, "for i in $(seq 1 20000); do echo line $i; done; printf half; read x; echo more;"
                 "echo end");
    b.p.open_stdin = true;
    b.p.log_max_size = 1000000;
    b.p.log_max_files = 5;
    box_spawn(&b);
    box_start(&b);
    usleep(200000);
    fd = attach(&b, ALL_OUT | MONITOR_LOGS | MONITOR_STDIN, "\n");
    read_all(fd, &all);
    close(fd);
    split(&all, &out, &err);
    for (int i = 1; i <= 20000; i++)
        buf_printf(&want, "line %d\n", i);
    buf_puts(&want, "halfmore\nend\n");
    assert_int_equal(out.len, want.len);
    assert_string_equal(buf_str(&out), buf_str(&want));
    wait_event(b.m, MONITOR_EVENT_EXITED);
    AUTOFREE char *log = log_text(b.log);
    assert_string_equal(log, buf_str(&want));
    box_done(&b);

    box_init(&b, "echo one; sleep 1000");
    box_spawn(&b);
    box_start(&b);
    for (bool logged = false; !logged;) {
        AUTOFREE char *so_far = log_text(b.log);

        logged = *so_far != '\0';
        usleep(1000);
    }
    fd = attach(&b, ALL_OUT | MONITOR_LOGS | MONITOR_NO_STREAM | MONITOR_RAW, NULL);
    buf_clear(&all);
    read_all(fd, &all);
    assert_string_equal(buf_str(&all), "one\n");
    close(fd);
    kill(monitor_init_pid(b.m), SIGKILL);
    wait_event(b.m, MONITOR_EVENT_EXITED);
    box_done(&b);
}

static void test_keys(void **state)
{
    struct error e = ERROR_INIT;
    unsigned char k[16];

    assert_int_equal(monitor_parse_detach_keys(NULL, k, &e), 2);
    assert_memory_equal(k, "\x10\x11", 2);
    assert_int_equal(monitor_parse_detach_keys("", k, &e), 0);
    assert_int_equal(monitor_parse_detach_keys("a,ctrl-@,ctrl-[,ctrl-_", k, &e), 4);
    assert_memory_equal(k, "a\0\x1b\x1f", 4);
    assert_true(monitor_parse_detach_keys("ctrl-A", k, &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    error_done(&e);
}

/* Orders arrive as they were given; errors come back; a stage that dies does not leave us waiting. */
static void test_mounts(void **state)
{
    static const struct monitor_mount list[] = {
        {MONITOR_MOUNT_ADD, "/a", "/b", "ro,rbind"},
        {MONITOR_MOUNT_REMOVE, NULL, "/c", NULL},
        {MONITOR_MOUNT_REPLACE, "/d e", "/f g", "nosuid"},
    };
    const struct monitor_mount fails = {MONITOR_MOUNT_ADD, "/a", "fail", NULL};
    const struct monitor_mount dies = {MONITOR_MOUNT_ADD, "/a", "die", NULL};
    struct monitor_mount many[MONITOR_MOUNTS_MAX + 1];
    pid_t askers[4];
    AUTOFREE char *path = NULL;
    AUTOFREE char *text = NULL;
    struct error e = ERROR_INIT;
    struct box b;

    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = list[0];
    box_init(&b, "exec sleep 1000");
    box_spawn(&b);
    assert_int_equal(monitor_mounts(b.m, list, 3, &e), -EBUSY); /* it waits at the gate */
    error_done(&e);
    box_start(&b);
    assert_int_equal(monitor_mounts(b.m, list, 3, &e), 0);
    path = xasprintf("%s/mounts", b.dir);
    assert_int_equal(fs_read_file(AT_FDCWD, path, 4096, &text, NULL), 0);
    assert_string_equal(text, "1 /a /b ro|rbind\n2  /c \n3 /d e /f g nosuid\n");
    assert_true(monitor_mounts(b.m, &fails, 1, &e) < 0);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(error_message(&e), "nothing is mounted on fail");
    error_done(&e);
    assert_true(monitor_mounts(b.m, &dies, 1, &e) < 0);
    error_done(&e);
    assert_true(monitor_mounts(b.m, many, ARRAY_SIZE(many), &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    error_done(&e);
    assert_int_equal(monitor_mounts(b.m, many, MONITOR_MOUNTS_MAX, &e), 0);
    /* Several at once: one after the other, none is turned away. */
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        askers[i] = fork();
        if (askers[i] == 0) {
            int r = 0;

            for (int n = 0; n < 10 && r == 0; n++)
                r = monitor_mounts(b.m, list, 3, NULL);
            _exit(r == 0 ? 0 : 1);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        int status = -1;

        assert_int_equal(waitpid(askers[i], &status, 0), askers[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(monitor_signal(b.m, SIGKILL, false, &e), 0);
    (void)wait_event(b.m, MONITOR_EVENT_EXITED);
    (void)wait_event(b.m, MONITOR_EVENT_HANGUP);
    assert_true(monitor_mounts(b.m, list, 1, &e) < 0);
    assert_int_equal(e.code, ERR_CONFLICT);
    error_done(&e);
    box_done(&b);
}

/* --- rich containers: named pipes, and what is told through them ------------------------------- */

static void rich_init(struct box *b, const char *command, bool exit_init)
{
    static const char *const names[] = {RICH_STDIN, RICH_STDOUT, RICH_STDERR, RICH_EVENTS};
    AUTOFREE char *folder = NULL;

    box_init(b, command);
    folder = xasprintf("%s/" RICH_FOLDER, b->dir);
    assert_int_equal(mkdir(folder, 0755), 0);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        AUTOFREE char *path = xasprintf("%s/%s", folder, names[i]);

        assert_int_equal(mkfifo(path, 0600), 0);
    }
    b->p.rich = true;
    b->p.rich_exit_init = exit_init;
}

static int rich_pipe(struct box *b, const char *name, int flags)
{
    AUTOFREE char *path = xasprintf("%s/" RICH_FOLDER "/%s", b->dir, name);
    int fd = open(path, flags | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void rich_tell(struct box *b, uint32_t type, int value, int detail)
{
    struct rich_event ev = {RICH_MAGIC, type, value, detail};
    int fd = rich_pipe(b, RICH_EVENTS, O_WRONLY | O_NONBLOCK);

    assert_int_equal(write(fd, &ev, sizeof(ev)), sizeof(ev));
    close(fd);
}

/* From a pipe that is not waited for: what the monitor writes, or that it has closed, may come in a moment. */
static ssize_t read_soon(int fd, char *text, size_t size)
{
    ssize_t n = -1;

    for (int i = 0; i < 3000; i++) {
        n = read(fd, text, size);
        if (n >= 0 || errno != EAGAIN)
            break;
        (void)usleep(10000);
    }
    return n;
}

/* An application that comes, goes and comes again has the same streams; input waits for it. */
static void test_rich_streams(void **state)
{
    struct box b;
    char text[32];
    AUTO(buf)
    struct buf all = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20), err = BUF_INIT(1 << 20);

    rich_init(&b, "exec >/dev/null 2>&1; sleep 0.6", false);
    b.p.open_stdin = b.p.stdin_once = true;
    box_spawn(&b);
    int client = attach(&b, MONITOR_STDIN | ALL_OUT, "before anyone reads\n");
    shutdown(client, SHUT_WR);
    box_start(&b);
    for (int i = 0; i < 2; i++) {
        int o = rich_pipe(&b, RICH_STDOUT, O_WRONLY);
        int e = rich_pipe(&b, RICH_STDERR, O_WRONLY);

        assert_int_equal(dprintf(o, "life %d\n", i), 7);
        assert_int_equal(dprintf(e, "oops %d\n", i), 7);
        close(o);
        close(e);
        (void)usleep(20000);
    }
    int in = rich_pipe(&b, RICH_STDIN, O_RDONLY | O_NONBLOCK);
    ssize_t n = read_soon(in, text, sizeof(text));

    assert_int_equal(n, 20);
    assert_memory_equal(text, "before anyone reads\n", 20);
    assert_int_equal(read_soon(in, text, sizeof(text)), 0); /* the client's input has ended */
    close(in);
    assert_int_equal(wait_event(b.m, MONITOR_EVENT_EXITED).exit.exit_code, 0);
    read_all(client, &all);
    close(client);
    split(&all, &out, &err);
    assert_string_equal(buf_str(&out), "life 0\nlife 1\n");
    assert_string_equal(buf_str(&err), "oops 0\noops 1\n");
    box_done(&b);
}

/* The application's end is the container's exit code, or pid 1's when that was asked for. */
static void test_rich_exit(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct monitor_exit x;
        struct monitor_event ev;
        struct box b;

        rich_init(&b, "sleep 0.3; exit 4", i == 1);
        box_spawn(&b);
        box_start(&b);
        rich_tell(&b, RICH_APP_ENDED, 3, 0); /* the first of two lives */
        rich_tell(&b, RICH_APP_ENDED, 139, SIGSEGV);
        ev = wait_event(b.m, MONITOR_EVENT_EXITED);
        assert_int_equal(ev.exit.exit_code, i ? 4 : 139);
        assert_int_equal(ev.exit.signal, i ? 0 : SIGSEGV);
        assert_int_equal(monitor_read_exit(b.dir, &x, NULL), 0);
        assert_int_equal(x.exit_code, i ? 4 : 139);
        wait_event(b.m, MONITOR_EVENT_HANGUP);
        box_done(&b);
    }
}

/* An init that has stopped everything is ended; that is no crash. */
static void test_rich_halted(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct monitor_event ev;
        struct box b;

        rich_init(&b, "exec sleep 1000", false);
        box_spawn(&b);
        box_start(&b);
        if (i)
            rich_tell(&b, RICH_APP_ENDED, 6, 0);
        rich_tell(&b, RICH_HALTED, 0, 0);
        ev = wait_event(b.m, MONITOR_EVENT_EXITED);
        assert_int_equal(ev.exit.exit_code, i ? 6 : 0);
        assert_int_equal(ev.exit.signal, 0);
        wait_event(b.m, MONITOR_EVENT_HANGUP);
        box_done(&b);
    }
}

/* What is no record is not believed, and a pipe full of it keeps the monitor from nothing. */
static void test_rich_noise(void **state)
{
    static char junk[60000];
    struct monitor_event ev;
    struct box b;

    memset(junk, 'R', sizeof(junk));
    /* Longer than all the writes take on a machine with other work: the pipe has no reader after it. */
    rich_init(&b, "sleep 4; exit 9", false);
    box_spawn(&b);
    box_start(&b);
    int fd = rich_pipe(&b, RICH_EVENTS, O_WRONLY);
    for (int i = 0; i < 20; i++)
        assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    close(fd);
    rich_tell(&b, 77, 1, 1); /* of a newer program */
    ev = wait_event(b.m, MONITOR_EVENT_EXITED);
    assert_int_equal(ev.exit.exit_code, 9);
    box_done(&b);
}

/* A folder without pipes, or with something else in their place: the creation fails. */
static void test_rich_no_pipes(void **state)
{
    struct error e = ERROR_INIT;
    struct box b;

    box_init(&b, "true");
    b.p.rich = true;
    assert_true(monitor_spawn(&b.p, &b.m, &e) < 0);
    error_done(&e);
    box_done(&b);
    rich_init(&b, "true", false);
    AUTOFREE char *path = xasprintf("%s/" RICH_FOLDER "/" RICH_STDOUT, b.dir);

    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_true(monitor_spawn(&b.p, &b.m, &e) < 0);
    error_done(&e);
    box_done(&b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_end_at_once),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_signal_and_adoption),
        cmocka_unit_test(test_monitor_killed),
        cmocka_unit_test(test_stdin),
        cmocka_unit_test(test_stdin_large),
        cmocka_unit_test(test_tty),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_throttle),
        cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_stuck_and_quick),
        cmocka_unit_test(test_no_disk),
        cmocka_unit_test(test_many_clients),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_events_late),
        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_rich_streams),
        cmocka_unit_test(test_rich_exit),
        cmocka_unit_test(test_rich_halted),
        cmocka_unit_test(test_rich_noise),
        cmocka_unit_test(test_rich_no_pipes),
    };

    signal(SIGPIPE, SIG_IGN);
    program = argc > 1 ? argv[1] : getenv("FAKE_MONITOR");
    return cmocka_run_group_tests_name("monitor", tests, NULL, NULL);
}
