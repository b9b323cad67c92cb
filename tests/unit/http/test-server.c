/* SPDX-License-Identifier: Apache-2.0 */
/* The server in this process, on a unix socket: good requests, and every kind of bad peer. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"
#include "http/server.h"
#include "peer.h"

static struct http_server *server;
static char folder[] = "/tmp/pouch-http-test.XXXXXX";
static char address[128];

/* What handlers saw; read by tests after the server has answered. */
static _Atomic int calls;        /* of /body and /upload */
static _Atomic int stream_heard; /* the head of the answer, by the client */
static _Atomic int upload_end;   /* 1: plain end, 2: cut off */
static _Atomic long upload_len;
static _Atomic int gone_seen;

/* --- Handlers --------------------------------------------------------------------------------- */

static void handle_echo(struct http_request *req, void *ctx)
{
    struct buf b = BUF_INIT(4096);

    (void)buf_printf(&b, "{\"name\":\"%s\",\"q\":\"%s\",\"v\":%u}\n", http_param(req, "name"),
                     http_query(req, "q") ? http_query(req, "q") : "", http_version(req));
    http_reply_json(req, 200, &b);
}

static void handle_body(struct http_request *req, void *ctx)
{
    struct buf b = BUF_INIT(4096);
    size_t len;

    (void)http_body(req, &len);
    calls++;
    (void)buf_printf(&b, "{\"len\":%zu}", len);
    http_reply_json(req, 200, &b);
}

static void handle_upload(struct http_request *req, void *ctx)
{
    char data[65536];
    ssize_t n;
    long sum = 0;

    calls++;
    while ((n = read(http_body_fd(req), data, sizeof(data))) > 0)
        sum += n;
    upload_len = sum;
    upload_end = n == 0 ? 1 : 2;
    if (http_stream_begin(req, 200, "application/json") == 0) {
        char text[64];

        snprintf(text, sizeof(text), "{\"len\":%ld}", sum);
        (void)!http_stream_write(req, text, strlen(text));
    }
}

/* Reads little and answers at once. */
static void handle_upload_refuse(struct http_request *req, void *ctx)
{
    char byte;

    (void)!read(http_body_fd(req), &byte, 1);
    http_reply_message(req, 400, "no archive");
}

static void handle_stream(struct http_request *req, void *ctx)
{
    if (http_stream_begin(req, 200, "text/plain") < 0)
        return;
    for (int i = 0; i < 600 && http_query_bool(req, "wait", false) && !stream_heard; i++)
        (void)!http_wait_fd(req, -1, 100);
    if (http_stream_write(req, "one", 3) < 0 || http_stream_write(req, "two", 3) < 0)
        return;
    if (http_query_bool(req, "abort", false))
        http_stream_abort(req);
}

static void handle_wait(struct http_request *req, void *ctx)
{
    if (http_stream_begin(req, 200, "application/json") == 0 &&
        http_wait_fd(req, -1, 20000) == -EPIPE)
        gone_seen++;
}

static void handle_none(struct http_request *req, void *ctx) {}

static void handle_error(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;

    (void)error_set(&e, ERR_CONFLICT, "the name \"x\" is in use");
    http_reply_error(req, &e);
}

struct session {
    int fd;
    char *early;
    size_t early_len;
};

/* Echoes until the peer's half-close, waits, then says goodbye. */
static void *session_thread(void *data)
{
    struct session *s = data;
    char b[4096];
    ssize_t n;

    (void)!write(s->fd, s->early, s->early_len);
    while ((n = read(s->fd, b, sizeof(b))) > 0)
        (void)!write(s->fd, b, (size_t)n);
    usleep(100000);
    (void)!send(s->fd, "bye", 3, MSG_NOSIGNAL);
    close(s->fd);
    free(s->early);
    free(s);
    return NULL;
}

static void on_hijack(struct http_request *req, int fd, const void *early, size_t len, void *data)
{
    struct session *s = xcalloc(1, sizeof(*s));
    pthread_t t;

    assert_string_equal(data, "data");
    *s = (struct session){fd, len ? xmemdup(early, len) : NULL, len};
    pthread_create(&t, NULL, session_thread, s);
    pthread_detach(t);
}

static void handle_hijack(struct http_request *req, void *ctx)
{
    http_hijack(req, "application/vnd.docker.raw-stream", on_hijack, xstrdup("data"), free);
}

static int prepare(struct http_request *req, const char **path, void *ctx)
{
    if (str_has_prefix(*path, "/v9/")) {
        http_set_version(req, 9);
        *path += 3;
    }
    return 0;
}

static void headers(struct http_request *req, void *ctx)
{
    http_header_add(req, "X-Test", "yes\r\nInjected: no");
}

static const struct http_route routes[] = {
    {"GET", "/echo/{name*}", handle_echo, 0, 0},
    {"POST", "/body", handle_body, 0, 0},
    {"POST", "/upload", handle_upload, HTTP_STREAM_BODY, 0},
    {"POST", "/refuse", handle_upload_refuse, HTTP_STREAM_BODY, 0},
    {"GET", "/stream", handle_stream, 0, 0},
    {"GET", "/wait", handle_wait, 0, 0},
    {"GET", "/none", handle_none, 0, 0},
    {"GET", "/error", handle_error, 0, 0},
    {"POST", "/hijack", handle_hijack, 0, 0},
    {NULL, NULL, NULL, 0, 0},
};

static int setup(void **state)
{
    const struct http_server_params p = {
        .routes = routes,
        .prepare = prepare,
        .headers = headers,
        .head_timeout_s = 2,
        .body_timeout_s = 3,
        .idle_timeout_s = 30,
    };
    struct http_listen l = {.fd = -EBADF};

    if (!mkdtemp(folder))
        return -1;
    snprintf(address, sizeof(address), "unix://%s/x.sock", folder);
    assert_int_equal(http_listen_open(address, "no-such-group", &l.fd, NULL), 0);
    return http_server_start(&p, &l, 1, &server, NULL);
}

static int teardown(void **state)
{
    http_server_stop(server);
    unlink(address + 7);
    rmdir(folder);
    return 0;
}

/* --- The peer ----------------------------------------------------------------------------------- */

static int dial(void)
{
    return peer_dial(address);
}

static void say(int fd, const char *text)
{
    peer_say(fd, text);
}

static const char *hear(int fd, struct buf *b, const char *until)
{
    return peer_hear(fd, b, until);
}

static char *ask(const char *request, const char *until)
{
    return peer_ask(address, request, until);
}

#define END_HEAD "\r\nHost: x\r\n\r\n"

/* --- Tests ---------------------------------------------------------------------------------------- */

static void test_get(void **state)
{
    AUTOFREE char *a = ask("GET /v9/echo/a/b?q=x%20y HTTP/1.1" END_HEAD, "}");

    expect_has(a, "HTTP/1.1 200 OK\r\n");
    expect_has(a, "{\"name\":\"a/b\",\"q\":\"x y\",\"v\":9}");
    expect_has(a, "Content-Type: application/json\r\n");
    expect_has(a, "X-Test: yes  Injected: no\r\n"); /* no line of its own */
}

static void test_head(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);

    say(fd, "HEAD /echo/x HTTP/1.1" END_HEAD);
    hear(fd, &b, "\r\n\r\n");
    expect_has(buf_str(&b), "200 OK");
    assert_true(str_has_suffix(buf_str(&b), "\r\n\r\n"));
    /* the connection goes on, in step */
    buf_clear(&b);
    say(fd, "GET /echo/y HTTP/1.1" END_HEAD);
    expect_has(hear(fd, &b, "}"), "\"name\":\"y\"");
}

static void test_errors(void **state)
{
    AUTOFREE char *none = ask("GET /nowhere HTTP/1.1" END_HEAD, "}");
    AUTOFREE char *method = ask("PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "}");
    AUTOFREE char *error = ask("GET /error HTTP/1.1" END_HEAD, "}");
    AUTOFREE char *silent = ask("GET /none HTTP/1.1" END_HEAD, "}");
    AUTOFREE char *escape = ask("GET /echo/%00 HTTP/1.1" END_HEAD, "}");

    expect_has(none, "404 Not Found");
    expect_has(none, "{\"message\":\"page not found\"}");
    expect_has(method, "404 Not Found");
    expect_has(error, "409 Conflict");
    expect_has(error, "{\"message\":\"the name \\\"x\\\" is in use\"}");
    expect_has(silent, "500 Internal");
    expect_has(escape, "400 Bad Request");
    expect_has(escape, "{\"message\":\"invalid escape in the path of the URL\"}");
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "\r\n\r\n\r\n\r\nnonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/7.7\r\nHost: x\r\n\r\n",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx",
    };
    int before = calls;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTOFD int fd = dial();
        AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

        say(fd, bad[i]);
        shutdown(fd, SHUT_WR);
        hear(fd, &b, NULL);
        assert_null(strstr(buf_str(&b), " 200 "));
    }
    assert_int_equal(calls, before);
}

static void test_header_too_large(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED), answer = BUF_INIT(BUF_UNLIMITED);

    (void)buf_puts(&b, "GET /echo/x HTTP/1.1\r\nHost: x\r\nX-Big: ");
    for (int i = 0; i < 100000; i++)
        (void)buf_putc(&b, 'a');
    (void)buf_puts(&b, "\r\n\r\n");
    (void)!send(fd, b.data, b.len, MSG_NOSIGNAL);
    expect_has(hear(fd, &answer, "\r\n\r\n"), "HTTP/1.1 4");
}

static void test_body(void **state)
{
    AUTOFREE char *plain = ask("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
                               "}");
    AUTOFREE char *chunked =
        ask("POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
            "}");
    AUTOFREE char *empty = ask("POST /body HTTP/1.1" END_HEAD, "}");

    expect_has(plain, "{\"len\":5}");
    expect_has(chunked, "{\"len\":7}");
    expect_has(empty, "{\"len\":0}");
}

static void test_expect_continue(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);

    say(fd, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    expect_has(hear(fd, &b, "\r\n\r\n"), "100 Continue");
    say(fd, "body");
    expect_has(hear(fd, &b, "}"), "{\"len\":4}");
}

static void test_expect_continue_refused(void **state)
{
    AUTOFREE char *a = ask("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n"
                           "Expect: 100-continue\r\n\r\n",
                           "}");

    expect_has(a, "HTTP/1.1 413");
    assert_null(strstr(a, "100 Continue"));
}

/* 100 MB: the peer that sends first and listens later gets its answer. */
static void test_body_too_large(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);
    AUTOFREE char *mega = xcalloc(1, 1 << 20);
    int before = calls;

    say(fd, "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100; i++) {
        size_t at = 0;

        say(fd, "100000\r\n");
        while (at < 1 << 20) {
            ssize_t n = send(fd, mega + at, (1 << 20) - at, MSG_NOSIGNAL);

            assert_true(n > 0);
            at += (size_t)n;
        }
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
    hear(fd, &b, "}");
    expect_has(buf_str(&b), "413");
    expect_has(buf_str(&b), "larger than the limit of 4194304 bytes");
    assert_int_equal(calls, before);
}

static void test_cut_off(void **state)
{
    int before = calls;

    for (int i = 0; i < 3; i++) {
        AUTOFD int fd = dial();

        say(fd, i == 0   ? "POST /bo"
                : i == 1 ? "POST /body HTTP/1.1\r\nHost: x\r\nContent-Le"
                         : "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhalf");
    }
    usleep(100000);
    assert_int_equal(calls, before);
}

static void test_slow_loris(void **state)
{
    AUTOFD int head = dial(), body = dial();
    int64_t start = time_monotonic_ns();
    struct pollfd p[2] = {{.fd = head, .events = POLLIN}, {.fd = body, .events = POLLIN}};
    int open = 2, before = calls;

    say(head, "GET /echo/x HTTP/1.1\r\nHost: x\r\n");
    say(body, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    /* a byte now and then keeps neither alive */
    while (open > 0 && time_monotonic_ns() - start < 10 * NSEC_PER_SEC) {
        poll(p, 2, 200);
        for (int i = 0; i < 2; i++) {
            char c;

            if (p[i].fd < 0)
                continue;
            if (p[i].revents && recv(p[i].fd, &c, 1, MSG_DONTWAIT) <= 0) {
                p[i].fd = -1;
                open--;
            } else {
                (void)send(p[i].fd, "a", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
            }
        }
    }
    assert_int_equal(open, 0);
    assert_true(time_monotonic_ns() - start < 8 * NSEC_PER_SEC);
    assert_int_equal(calls, before);
}

static void test_upload(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);
    AUTOFREE char *mega = xcalloc(1, 1 << 20);
    char head[128];

    snprintf(head, sizeof(head), "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
             20 << 20);
    say(fd, head);
    for (int i = 0; i < 20; i++)
        for (size_t at = 0; at < 1 << 20;) {
            ssize_t n = send(fd, mega + at, (1 << 20) - at, MSG_NOSIGNAL);

            assert_true(n > 0);
            at += (size_t)n;
        }
    hear(fd, &b, "0\r\n\r\n");
    expect_has(buf_str(&b), "{\"len\":20971520}");
    assert_int_equal(upload_end, 1);
}

static void test_upload_empty(void **state)
{
    AUTOFREE char *a = ask("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                           "0\r\n\r\n");

    expect_has(a, "{\"len\":0}");
    assert_int_equal(upload_end, 1);
}

static void test_upload_cut_off(void **state)
{
    int fd = dial();

    upload_end = 0;
    say(fd, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nonly this");
    usleep(50000);
    close(fd);
    for (int i = 0; i < 1500 && !upload_end; i++)
        usleep(20000);
    assert_int_equal(upload_end, 2); /* never taken for a whole archive */
    assert_int_equal(upload_len, 9);
}

static void test_upload_refused(void **state)
{
    AUTOFREE char *a = NULL;
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    (void)buf_printf(&b, "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 50000);
    for (int i = 0; i < 50000; i++)
        (void)buf_putc(&b, 'x');
    a = ask(b.data, "}");
    expect_has(a, "400 Bad Request");
    expect_has(a, "no archive");
}

static void test_stream(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);

    stream_heard = 0;
    say(fd, "GET /stream?wait=1 HTTP/1.1" END_HEAD);
    hear(fd, &b, "\r\n\r\n");
    assert_true(str_has_suffix(buf_str(&b), "\r\n\r\n")); /* before any content */
    stream_heard = 1;
    expect_has(buf_str(&b), "Transfer-Encoding: chunked\r\n");
    expect_has(buf_str(&b), "X-Test: yes");
    hear(fd, &b, NULL);
    assert_true(str_has_suffix(buf_str(&b), "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
}

static void test_stream_aborted(void **state)
{
    AUTOFREE char *a = ask("GET /stream?abort=1 HTTP/1.1" END_HEAD, NULL);

    assert_true(str_has_suffix(a, "3\r\ntwo\r\n")); /* the end is missing: the peer notices */
}

static void test_stream_http10(void **state)
{
    AUTOFREE char *a = ask("GET /stream HTTP/1.0\r\n\r\n", NULL);

    assert_null(strstr(a, "chunked"));
    assert_true(str_has_suffix(a, "\r\n\r\nonetwo"));
}

static void test_client_gone(void **state)
{
    int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);

    gone_seen = 0;
    say(fd, "GET /wait HTTP/1.1" END_HEAD);
    hear(fd, &b, "\r\n\r\n");
    close(fd);
    for (int i = 0; i < 1500 && !gone_seen; i++)
        usleep(20000);
    assert_int_equal(gone_seen, 1);
}

#define UPGRADE_HEAD                                                                               \
    "POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

static void test_hijack(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);

    say(fd, UPGRADE_HEAD "early "); /* in one packet */
    hear(fd, &b, "early ");
    expect_has(buf_str(&b), "HTTP/1.1 101 ");
    expect_has(buf_str(&b), "Upgrade: tcp\r\n");
    expect_has(buf_str(&b), "Connection: Upgrade\r\n");
    expect_has(buf_str(&b), "Content-Type: application/vnd.docker.raw-stream\r\n");
    say(fd, "later");
    hear(fd, &b, "later");
    sleep(3); /* longer than the deadlines for requests */
    say(fd, " still");
    hear(fd, &b, " still");
    shutdown(fd, SHUT_WR); /* half-closed: the output goes on */
    assert_true(str_has_suffix(hear(fd, &b, NULL), "\r\n\r\nearly later stillbye"));
}

static void test_hijack_without_upgrade(void **state)
{
    AUTOFD int fd = dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);

    say(fd, "POST /hijack HTTP/1.1" END_HEAD);
    hear(fd, &b, "\r\n\r\n");
    expect_has(buf_str(&b), "HTTP/1.1 200 OK");
    assert_null(strstr(buf_str(&b), "chunked"));
    say(fd, "to and fro");
    hear(fd, &b, "to and fro");
    shutdown(fd, SHUT_WR);
    assert_true(str_has_suffix(hear(fd, &b, NULL), "to and frobye"));
}

static void *many_thread(void *data)
{
    bool *good = data;
    AUTOFREE char *a = ask("GET /echo/many HTTP/1.1" END_HEAD, "}");

    *good = strstr(a, "\"name\":\"many\"");
    return NULL;
}

static void test_many(void **state)
{
    enum { WAITING = 200, ASKING = 100 };
    int waiting[WAITING];
    pthread_t threads[ASKING];
    bool good[ASKING] = {0};

    for (int i = 0; i < WAITING; i++) {
        waiting[i] = dial();
        say(waiting[i], "GET /wait HTTP/1.1" END_HEAD);
    }
    for (int i = 0; i < ASKING; i++)
        pthread_create(&threads[i], NULL, many_thread, &good[i]);
    for (int i = 0; i < ASKING; i++) {
        pthread_join(threads[i], NULL);
        assert_true(good[i]);
    }
    for (int i = 0; i < WAITING; i++)
        close(waiting[i]);
}

/* Stopping ends streams and idle connections, and does not wait for clients. */
static void test_stop(void **state)
{
    const struct http_server_params p = {.routes = routes};
    struct http_listen l = {.fd = -EBADF};
    struct http_server *s = NULL;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char other[128];
    AUTO(buf) struct buf b = BUF_INIT(65536);
    AUTOFD int idle = socket(AF_UNIX, SOCK_STREAM, 0);
    AUTOFD int waiting = socket(AF_UNIX, SOCK_STREAM, 0);
    AUTOFD int taken = socket(AF_UNIX, SOCK_STREAM, 0);
    int64_t start;

    snprintf(other, sizeof(other), "unix://%s/stop.sock", folder);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", other + 7);
    assert_int_equal(http_listen_open(other, NULL, &l.fd, NULL), 0);
    assert_int_equal(http_server_start(&p, &l, 1, &s, NULL), 0);
    assert_int_equal(connect(idle, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(connect(waiting, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(connect(taken, (struct sockaddr *)&a, sizeof(a)), 0);
    say(waiting, "GET /wait HTTP/1.1" END_HEAD);
    hear(waiting, &b, "\r\n\r\n");
    buf_clear(&b);
    say(taken, UPGRADE_HEAD "mine");
    hear(taken, &b, "mine"); /* it is handed over */
    start = time_monotonic_ns();
    http_server_stop(s);
    assert_true(time_monotonic_ns() - start < 5 * NSEC_PER_SEC);
    /* a connection that was taken over does not notice */
    say(taken, "alive");
    hear(taken, &b, "alive");
    assert_true(str_has_suffix(buf_str(&b), "alive"));
    unlink(other + 7);
}

static void test_listen(void **state)
{
    AUTO(error) struct error e = ERROR_INIT, e2 = ERROR_INIT;
    struct stat st;
    char dead[128];
    int fd = -1;

    assert_int_equal(stat(address + 7, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    /* a live socket is not taken away */
    assert_true(http_listen_open(address, NULL, &fd, &e) < 0);
    expect_has(error_message(&e), "another program listens on it");
    assert_true(http_listen_open("ftp://x", NULL, &fd, &e2) < 0);
    expect_has(error_message(&e2), "must begin with");
    /* a dead one is replaced */
    snprintf(dead, sizeof(dead), "unix://%s/sub/dead.sock", folder);
    assert_int_equal(http_listen_open(dead, NULL, &fd, NULL), 0);
    close(fd);
    assert_int_equal(http_listen_open(dead, NULL, &fd, NULL), 0);
    close(fd);
    unlink(dead + 7);
    *strrchr(dead, '/') = '\0';
    rmdir(dead + 7);
    assert_int_equal(http_listen_open("tcp://127.0.0.1:0", NULL, &fd, NULL), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_header_too_large),
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_expect_continue_refused),
        cmocka_unit_test(test_body_too_large),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_slow_loris),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_upload_empty),
        cmocka_unit_test(test_upload_cut_off),
        cmocka_unit_test(test_upload_refused),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_aborted),
        cmocka_unit_test(test_stream_http10),
        cmocka_unit_test(test_client_gone),
        cmocka_unit_test(test_hijack),
        cmocka_unit_test(test_hijack_without_upgrade),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_stop),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
