/* SPDX-License-Identifier: Apache-2.0 */
/* loop, spawn, pty, fdpass, stdcopy. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/time.h"
#include "io/fdpass.h"
#include "io/loop.h"
#include "io/pty.h"
#include "io/spawn.h"
#include "io/stdcopy.h"

/* --- loop -------------------------------------------------------------------------------------- */

struct seen {
    struct loop *loop;
    struct source *other;
    int calls;
    int order[16];
};

static void on_readable(struct source *s, int fd, uint32_t revents, void *data)
{
    struct seen *seen = data;
    char c;

    assert_true(revents & EPOLLIN);
    assert_int_equal(read(fd, &c, 1), 1);
    seen->calls++;
    source_free(take_ptr(seen->other)); /* whose event may be in the same batch */
}

static void test_loop_fd(void **state)
{
    struct seen seen = {0}, never = {0};
    AUTOPTR(loop) struct loop *l = NULL;
    struct source *first;
    int a[2], b[2];

    assert_int_equal(loop_new(&l), 0);
    assert_int_equal(pipe(a), 0);
    assert_int_equal(pipe(b), 0);
    assert_int_equal(loop_add_fd(l, a[0], EPOLLIN, on_readable, &seen, &first), 0);
    assert_int_equal(loop_run_once(l, 0), 0);

    /* Both ready: whichever comes first frees the other, which must not be called. */
    assert_int_equal(loop_add_fd(l, b[0], EPOLLIN, on_readable, &never, &seen.other), 0);
    never.other = first;
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(write(b[1], "x", 1), 1);
    assert_int_equal(loop_run_once(l, 0), 1);
    assert_int_equal(seen.calls + never.calls, 1);
    assert_int_equal(loop_run_once(l, 0), 0);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void on_hup(struct source *s, int fd, uint32_t revents, void *data)
{
    ((struct seen *)data)->calls++;
}

/* A paused source does not spin when its peer hangs up, and tells once it goes on. */
static void test_loop_pause(void **state)
{
    struct seen seen = {0};
    AUTOPTR(loop) struct loop *l = NULL;
    struct source *s;
    int p[2];

    assert_int_equal(loop_new(&l), 0);
    assert_int_equal(pipe(p), 0);
    assert_int_equal(loop_add_fd(l, p[0], EPOLLIN, on_hup, &seen, &s), 0);
    assert_int_equal(source_set_events(s, 0), 0);
    close(p[1]);
    assert_int_equal(loop_run_once(l, 0), 0);
    assert_int_equal(source_set_events(s, EPOLLIN), 0);
    assert_int_equal(loop_run_once(l, 0), 1);
    assert_int_equal(seen.calls, 1);
    close(p[0]);
}

struct timer {
    struct seen *seen;
    int number;
};

static void on_timer(struct source *s, void *data)
{
    struct timer *t = data;

    t->seen->order[t->seen->calls++] = t->number;
}

static void on_last(struct source *s, void *data)
{
    loop_quit(data, 42);
}

static void test_loop_timers(void **state)
{
    static const int when[] = {5, 1, 4, 0, 3, 2, 9};
    struct seen seen = {0};
    struct timer timers[7];
    struct source *sources[7];
    AUTOPTR(loop) struct loop *l = NULL;
    int64_t now = time_monotonic_ns();

    assert_int_equal(loop_new(&l), 0);
    for (int i = 0; i < 7; i++) {
        timers[i] = (struct timer){&seen, when[i]};
        assert_int_equal(loop_add_timer(l, now + when[i] * NSEC_PER_MSEC, on_timer, &timers[i],
                                        &sources[i]),
                         0);
    }
    source_set_time(sources[4], INT64_MAX);                         /* 3: never */
    source_set_time(sources[6], now + 2500 * NSEC_PER_MSEC / 1000); /* 9: earlier */
    source_free(sources[2]);                                        /* 4: gone */
    assert_int_equal(loop_add_timer(l, now + 20 * NSEC_PER_MSEC, on_last, l, NULL), 0);
    assert_int_equal(loop_run(l), 42);
    assert_int_equal(seen.calls, 5);
    assert_int_equal(seen.order[0], 0);
    assert_int_equal(seen.order[1], 1);
    assert_int_equal(seen.order[2], 2);
    assert_int_equal(seen.order[3], 9);
    assert_int_equal(seen.order[4], 5);
    assert_true(time_monotonic_ns() - now >= 20 * NSEC_PER_MSEC);
}

static void on_post(void *data)
{
    struct seen *seen = data;

    if (++seen->calls == 1000)
        loop_quit(seen->loop, 0);
}

static void *post_many(void *data)
{
    struct seen *seen = data;

    for (int i = 0; i < 500; i++)
        if (loop_post(seen->loop, on_post, seen) < 0)
            break;
    return NULL;
}

static void test_loop_post(void **state)
{
    AUTOPTR(loop) struct loop *l = NULL;
    struct seen seen = {0};
    pthread_t threads[2];

    assert_int_equal(loop_new(&l), 0);
    seen.loop = l;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &seen), 0);
    assert_int_equal(loop_run(l), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(seen.calls, 1000);
    assert_int_equal(loop_post(l, on_post, &seen), 0); /* freed with the loop, not called */
}

static void on_signal(struct source *s, int fd, uint32_t revents, void *data)
{
    struct signalfd_siginfo info;

    assert_int_equal(read(fd, &info, sizeof(info)), sizeof(info));
    loop_quit(data, (int)info.ssi_signo);
}

static void test_loop_signal(void **state)
{
    AUTOPTR(loop) struct loop *l = NULL;
    sigset_t set;
    int fd;

    assert_int_equal(loop_new(&l), 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    fd = loop_signalfd(&set);
    assert_true(fd >= 0);
    assert_int_equal(loop_add_fd(l, fd, EPOLLIN, on_signal, l, NULL), 0);
    raise(SIGUSR2);
    assert_int_equal(loop_run(l), SIGUSR2);
    close(fd);
}

/* --- spawn ------------------------------------------------------------------------------------- */

static void test_spawn(void **state)
{
    struct error e = ERROR_INIT;
    char *argv[] = {(char *)"sh", (char *)"-c",
                    (char *)"read x; echo got $x $V; echo five >&5; ls /proc/self/fd >&6; exit 3",
                    NULL};
    char *env[] = {(char *)"V=env", (char *)"PATH=/bin:/usr/bin", NULL};
    int in[2], out[2], five[2], six[2], leak;
    pid_t pid;
    char text[256];
    ssize_t n;

    leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as libraries do */
    assert_true(leak >= 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(five, O_CLOEXEC), 0);
    assert_int_equal(pipe2(six, O_CLOEXEC), 0);
    /* Targets that are numbers of other fds of the list. */
    struct spawn_fd fds[] = {{five[1], 5}, {six[1], 6}};
    struct spawn_params p = {.argv = argv,
                             .env = env,
                             .stdin_fd = in[0],
                             .stdout_fd = out[1],
                             .stderr_fd = -EBADF,
                             .fds = fds,
                             .nfds = 2,
                             .new_session = true};

    assert_int_equal(spawn_program(&p, &pid, &e), 0);
    close(out[1]);
    close(five[1]);
    close(six[1]);
    assert_int_equal(write(in[1], "a\n", 2), 2);
    assert_int_equal(spawn_wait(pid), 3);
    n = read(out[0], text, sizeof(text));
    assert_int_equal(n, 10);
    assert_memory_equal(text, "got a env\n", 10);
    assert_int_equal(read(five[0], text, sizeof(text)), 5);
    n = read(six[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_null(strstr(text, "7\n8\n")); /* only 0 1 2 5 6 and ls's own */
    close(leak);
    for (int i = 0; i < 2; i++)
        close(in[i]);
    close(out[0]);
    close(five[0]);
    close(six[0]);
}

static void test_spawn_end(void **state)
{
    char *ends[] = {(char *)"sh", (char *)"-c", (char *)"exit 4", NULL};
    char *stays[] = {(char *)"sleep", (char *)"1000", NULL};
    struct spawn_params p = {.argv = ends, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
    pid_t pid;

    assert_int_equal(spawn_program(&p, &pid, NULL), 0);
    assert_int_equal(spawn_wait_or_kill(pid, 100000), 4);
    p.argv = stays;
    assert_int_equal(spawn_program(&p, &pid, NULL), 0);
    assert_int_equal(spawn_wait_or_kill(pid, 10), 128 + SIGKILL);
}

static void test_spawn_missing(void **state)
{
    struct error e = ERROR_INIT;
    char *argv[] = {(char *)"x", NULL};
    struct spawn_params p = {
        .program = "/nowhere/x", .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
    pid_t pid;

    assert_int_equal(spawn_program(&p, &pid, &e), -ENOENT);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    error_done(&e);
}

/* --- pty --------------------------------------------------------------------------------------- */

static void test_pty(void **state)
{
    struct winsize ws;
    int master, slave;
    char c;

    assert_int_equal(pty_open(NULL, &master, &slave), 0);
    assert_int_equal(isatty(slave), 1);
    assert_int_equal(pty_resize(master, 33, 101), 0);
    assert_int_equal(ioctl(slave, TIOCGWINSZ, &ws), 0);
    assert_int_equal(ws.ws_row, 33);
    assert_int_equal(ws.ws_col, 101);
    assert_int_equal(write(master, "x\n", 2), 2);
    assert_int_equal(read(slave, &c, 1), 1);
    assert_int_equal(c, 'x');
    close(slave);
    close(master);
    assert_int_equal(pty_open("/dev/null", &master, &slave), -ENOTTY);
}

/* --- fdpass ------------------------------------------------------------------------------------ */

static void test_fdpass(void **state)
{
    int s[2], p[2], got[FDPASS_MAX];
    size_t n;
    char text[16];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    assert_int_equal(fdpass_send(s[0], "hello", 5, p, 2), 0);
    assert_int_equal(fdpass_recv(s[1], text, sizeof(text), got, FDPASS_MAX, &n), 5);
    assert_int_equal(n, 2);
    assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(got[1], "x", 1), 1);
    assert_int_equal(read(p[0], text, 1), 1);
    close(got[0]);
    close(got[1]);

    /* More than fits: an error, and nothing stays open. */
    int next = dup(p[0]);
    close(next);
    assert_int_equal(fdpass_send(s[0], "hello", 5, p, 2), 0);
    assert_int_equal(fdpass_recv(s[1], text, sizeof(text), got, 1, &n), -EMSGSIZE);
    assert_int_equal(fdpass_send(s[0], "hello", 5, p, 1), 0);
    assert_int_equal(fdpass_recv(s[1], text, 3, got, 1, &n), -EMSGSIZE);
    int after = dup(p[0]);
    assert_int_equal(after, next);
    close(after);

    close(s[0]);
    assert_int_equal(fdpass_recv(s[1], text, sizeof(text), NULL, 0, NULL), 0);
    assert_true(fdpass_send(s[1], "x", 1, NULL, 0) < 0); /* no SIGPIPE */
    close(s[1]);
    close(p[0]);
    close(p[1]);
}

/* A folder whose path is far longer than sun_path. */
static void test_fdpass_long_path(void **state)
{
    char top[] = "/tmp/pouch-test-io-XXXXXX";
    AUTOFREE char *dir = NULL;
    struct stat st;
    int dirfd, l, c, a;

    assert_non_null(mkdtemp(top));
    dir = xasprintf("%s/%0100d/%0100d", top, 1, 2);
    assert_int_equal(fs_mkdir_p(dir, 0700), 0);
    dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    l = fdpass_listen(dirfd, "sock", SOCK_SEQPACKET, 0600);
    assert_true(l >= 0);
    assert_int_equal(fstatat(dirfd, "sock", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    c = fdpass_connect(dirfd, "sock", SOCK_SEQPACKET);
    assert_true(c >= 0);
    a = accept(l, NULL, NULL);
    assert_true(a >= 0);
    assert_int_equal(fdpass_send(c, "x", 1, NULL, 0), 0);
    close(c);
    close(a);
    close(l);
    assert_int_equal(fdpass_connect(dirfd, "sock", SOCK_SEQPACKET), -ECONNREFUSED);
    assert_int_equal(fdpass_connect(dirfd, "none", SOCK_SEQPACKET), -ENOENT);
    close(dirfd);
    assert_int_equal(fs_remove_tree(AT_FDCWD, top), 0);
}

/* --- stdcopy ----------------------------------------------------------------------------------- */

static void test_stdcopy(void **state)
{
    static const struct {
        enum stdcopy_type type;
        const char *text;
    } frames[] = {{STDCOPY_STDOUT, "hello"},
                  {STDCOPY_STDERR, ""},
                  {STDCOPY_STDERR, "error"},
                  {STDCOPY_STDOUT, "!"}};
    AUTO(buf) struct buf wire = BUF_INIT(1024);

    for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
        unsigned char h[STDCOPY_HEADER];

        stdcopy_header(h, frames[i].type, (uint32_t)strlen(frames[i].text));
        buf_append(&wire, h, sizeof(h));
        buf_puts(&wire, frames[i].text);
    }
    for (size_t piece = 1; piece <= wire.len; piece++) {
        AUTO(buf) struct buf out = BUF_INIT(64), err = BUF_INIT(64);
        struct stdcopy_reader r = {0};

        for (size_t at = 0; at < wire.len; at += piece) {
            const char *data = wire.data + at, *part;
            size_t len = wire.len - at < piece ? wire.len - at : piece, n;
            enum stdcopy_type type;
            int k;

            while ((k = stdcopy_next(&r, &data, &len, &type, &part, &n)) > 0)
                buf_append(type == STDCOPY_STDERR ? &err : &out, part, n);
            assert_int_equal(k, 0);
        }
        assert_string_equal(buf_str(&out), "hello!");
        assert_string_equal(buf_str(&err), "error");
    }

    struct stdcopy_reader r = {0};
    const char *data = "\x04\0\0\0\0\0\0\x01x", *part;
    size_t len = 9, n;
    enum stdcopy_type type;
    assert_int_equal(stdcopy_next(&r, &data, &len, &type, &part, &n), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_fd),
        cmocka_unit_test(test_loop_pause),
        cmocka_unit_test(test_loop_timers),
        cmocka_unit_test(test_loop_post),
        cmocka_unit_test(test_loop_signal),
        cmocka_unit_test(test_spawn),
        cmocka_unit_test(test_spawn_missing),
        cmocka_unit_test(test_spawn_end),
        cmocka_unit_test(test_pty),
        cmocka_unit_test(test_fdpass),
        cmocka_unit_test(test_fdpass_long_path),
        cmocka_unit_test(test_stdcopy),
    };

    signal(SIGPIPE, SIG_DFL);
    return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
