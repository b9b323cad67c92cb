/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against servers that behave, and servers that do not. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "http/client.h"

/* A server of one connection: sends `text` in pieces of `step` bytes and closes. */
struct script {
    int fd;
    const char *text;
    size_t len, step;
    char request[4096];
};

static void *serve(void *arg)
{
    struct script *s = arg;
    ssize_t n = read(s->fd, s->request, sizeof s->request - 1);

    s->request[n > 0 ? n : 0] = '\0';
    for (size_t at = 0; at < s->len; at += s->step) {
        size_t len = s->len - at < s->step ? s->len - at : s->step;

        if (send(s->fd, s->text + at, len, MSG_NOSIGNAL) < 0)
            break;
    }
    (void)close(s->fd);
    return NULL;
}

struct exchange {
    struct script script;
    pthread_t thread;
    struct http_conn *conn;
    struct http_response res;
    struct buf body;
    struct error e;
    int r;
};

/* One request; the answer's head and, if that went well, its body. */
static void exchange(struct exchange *x, const char *text, size_t len, size_t step,
                     const struct http_request *req)
{
    static const struct http_request get = {.method = "GET", .target = "/x"};
    int fds[2];

    memset(x, 0, sizeof *x);
    x->body.max = 1 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    x->script = (struct script){.fd = fds[1], .text = text, .len = len, .step = step};
    assert_int_equal(pthread_create(&x->thread, NULL, serve, &x->script), 0);
    x->conn = http_conn_new_fd(fds[0]);
    x->r = http_conn_send(x->conn, req ? req : &get, &x->e);
    if (x->r == 0)
        x->r = http_conn_recv(x->conn, &x->res, &x->e);
    if (x->r == 0 && !x->res.upgraded)
        x->r = http_conn_read_all(x->conn, &x->body, &x->e);
}

static void done(struct exchange *x)
{
    http_response_done(&x->res);
    http_conn_free(x->conn);
    (void)pthread_join(x->thread, NULL);
    buf_done(&x->body);
    error_done(&x->e);
}

/* The same whatever the sizes of the pieces in which it arrives. */
static void expect_body(const char *text, int status, const char *body, bool reusable)
{
    static const size_t steps[] = {1, 2, 7, 1 << 20};

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct exchange x;

        exchange(&x, text, strlen(text), steps[i], NULL);
        if (x.r)
            print_message("%s: %s\n", text, error_message(&x.e));
        assert_int_equal(x.r, 0);
        assert_int_equal(x.res.status, status);
        assert_string_equal(buf_str(&x.body), body);
        assert_int_equal(http_conn_is_reusable(x.conn), reusable);
        done(&x);
    }
}

static void expect_error(const char *text, size_t len, const char *part)
{
    struct exchange x;

    exchange(&x, text, len, 1 << 20, NULL);
    if (x.r == 0 || !strstr(error_message(&x.e), part))
        print_message("%.60s: %s\n", text, error_message(&x.e));
    assert_true(x.r < 0);
    assert_non_null(strstr(error_message(&x.e), part));
    assert_false(http_conn_is_reusable(x.conn));
    done(&x);
}

static void test_good(void **state)
{
    expect_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true);
    expect_body("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 200, "hello", true);
    expect_body("HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello", 200, "hello", true);
    expect_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", 200,
                "hello", false);
    expect_body("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", false);
    expect_body("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", 404, "{}", true);
    expect_body("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true);
    expect_body("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "", true);
    expect_body("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", false);
    expect_body("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200,
                "x", true);
    expect_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n "
                "world\r\n0\r\n\r\n",
                200, "hello world", true);
    expect_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n"
                "Trailer: x\r\n\r\n",
                200, "0123456789", true);
}

#define BAD(text, part) expect_error(text, strlen(text), part)

static void test_hostile(void **state)
{
    BAD("", "closed the connection without an answer");
    BAD("HTTP/1.1 200 OK\r\nContent-Le", "closed the connection in the head");
    BAD("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "in the middle of its answer");
    BAD("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1.1");
    BAD("HTTP/2 200\r\n\r\n", "not HTTP/1.1");
    BAD("HTTP/1.1 20 OK\r\n\r\n", "no valid status");
    BAD("HTTP/1.1 2000 OK\r\n\r\n", "no valid status");
    BAD("HTTP/1.1 099 x\r\n\r\n", "no valid status");
    BAD("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad Content-Length");
    BAD("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello", "bad Content-Length");
    BAD("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "bad Content-Length");
    BAD("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "bad Content-Length");
    BAD("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer encoding");
    BAD("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer encoding");
    BAD("HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "malformed header");
    BAD("HTTP/1.1 200 OK\r\n: empty\r\n\r\n", "malformed header");
    BAD("HTTP/1.1 200 OK\r\n folded\r\n\r\n", "malformed header");
    expect_error("HTTP/1.1 200 OK\r\nA: \0b\r\n\r\n", 26, "NUL in its head");
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void test_hostile_chunks(void **state)
{
    BAD(CHUNKED "x\r\n", "bad chunk size");
    BAD(CHUNKED "\r\n", "bad chunk size");
    BAD(CHUNKED "-5\r\nhello\r\n", "bad chunk size");
    BAD(CHUNKED "5 5\r\nhello\r\n", "bad chunk size");
    BAD(CHUNKED "0x5\r\nhello\r\n", "bad chunk size");
    BAD(CHUNKED "fffffffffffffffff\r\nhello\r\n", "bad chunk size");
    BAD(CHUNKED "5\r\nhelloworld\r\n", "bad chunk end");
    BAD(CHUNKED "5\r\nhel", "in the middle of its answer");
    BAD(CHUNKED "5\r\nhello\r\n", "in the middle of its answer");
    BAD(CHUNKED "5\r\nhello\r\n0\r\n", "in the middle of its answer");
    BAD(CHUNKED "7fffffffffffffff\r\nhello\r\n", "in the middle of its answer");
}

static void test_floods(void **state)
{
    size_t len = 1 << 20;
    AUTOFREE char *text = xmalloc(len + 1);
    size_t at;

    /* a status line without an end */
    memset(text, 'a', len);
    memcpy(text, "HTTP/1.1 200 ", 13);
    expect_error(text, len, "over-long head");
    /* one long header, and one of exactly the limit */
    memcpy(text, "HTTP/1.1 200 OK\r\nA: ", 20);
    expect_error(text, len, "over-long head");
    /* many headers */
    at = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\n");
    while (at < len - 8)
        at += (size_t)sprintf(text + at, "A: b\r\n");
    expect_error(text, at, "too many headers");
    /* only interim answers */
    for (at = 0; at < len - 40;)
        at += (size_t)sprintf(text + at, "HTTP/1.1 100 Continue\r\n\r\n");
    expect_error(text, at, "interim");
    /* a chunk-size line without an end */
    at = (size_t)sprintf(text, CHUNKED);
    memset(text + at, '0', 4096);
    expect_error(text, at + 4096, "over-long head");
    /* more than the caller wants to hold: 1 MiB here */
    at = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\n\r\n");
    memset(text + at, 'x', len - at);
    {
        struct exchange x;

        exchange(&x, text, len, 1 << 16, NULL);
        assert_int_equal(x.r, 0);
        x.body.max = 10;
        done(&x);
    }
    at = (size_t)sprintf(text, CHUNKED "%zx\r\n", (size_t)2 << 20);
    {
        struct exchange x;

        exchange(&x, text, len, 1 << 16, NULL);
        assert_true(x.r < 0);
        done(&x);
    }
}

static void test_too_large(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789";
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(buf) struct buf small = BUF_INIT(10);
    struct http_request req = {.method = "GET", .target = "/"};
    struct http_response res CLEANUP(http_response_done) = {0};
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    c = http_conn_new_fd(fds[0]);
    assert_int_equal(fs_write_all(fds[1], text, sizeof text - 1), 0);
    assert_int_equal(http_conn_send(c, &req, &e), 0);
    assert_int_equal(http_conn_recv(c, &res, &e), 0);
    assert_true(http_conn_read_all(c, &small, &e) < 0);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    (void)close(fds[1]);
}

static void test_request(void **state)
{
    static const char *const headers[] = {"X-A: b", NULL};
    struct http_request req = {.method = "POST",
                               .target = "/v1/x?a=b",
                               .headers = headers,
                               .content_type = "application/json",
                               .body = "{}",
                               .body_len = 2};
    struct exchange x;

    exchange(&x, "HTTP/1.1 204 x\r\n\r\n", 18, 100, &req);
    assert_int_equal(x.r, 0);
    assert_string_equal(
        x.script.request,
        "POST /v1/x?a=b HTTP/1.1\r\nHost: pouch\r\nUser-Agent: pouch/" POUCH_VERSION
        "\r\nX-A: b\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    done(&x);
}

static void test_upgrade(void **state)
{
    static const char text[] =
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: a/b\r\nConnection: Upgrade\r\n"
        "Upgrade: tcp\r\n\r\nraw bytes";
    struct http_request req = {.method = "POST", .target = "/attach", .upgrade = true};
    char data[64] = "";
    struct exchange x;

    exchange(&x, text, sizeof text - 1, 1 << 20, &req);
    assert_int_equal(x.r, 0);
    assert_true(x.res.upgraded);
    assert_string_equal(http_response_header(&x.res, "content-type"), "a/b");
    assert_null(http_response_header(&x.res, "content"));
    assert_non_null(strstr(x.script.request, "Connection: Upgrade\r\nUpgrade: tcp\r\n"));
    assert_true(http_conn_has_pending(x.conn)); /* came with the head */
    assert_int_equal(http_conn_raw_read(x.conn, data, 3), 3);
    assert_int_equal(http_conn_raw_read(x.conn, data + 3, 60), 6);
    assert_string_equal(data, "raw bytes");
    assert_false(http_conn_has_pending(x.conn));
    assert_int_equal(http_conn_raw_read(x.conn, data, 60), 0);
    done(&x);
}

static void test_half_close(void **state)
{
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    char data[16];
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    c = http_conn_new_fd(fds[0]);
    assert_int_equal(http_conn_raw_write(c, "in", 2), 0);
    http_conn_shutdown_write(c);
    assert_int_equal(read(fds[1], data, sizeof data), 2);
    assert_int_equal(read(fds[1], data, sizeof data), 0);
    assert_int_equal(write(fds[1], "out", 3), 3);
    assert_int_equal(http_conn_raw_read(c, data, sizeof data), 3);
    http_conn_set_nonblocking(c);
    assert_int_equal(http_conn_raw_read(c, data, sizeof data), -EAGAIN);
    (void)close(fds[1]);
}

/* Two requests on one connection; and a server that answers before the body is all sent. */
static void test_keep_alive(void **state)
{
    static const char answers[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n"
        "0\r\n\r\n";
    struct http_request req = {.method = "GET", .target = "/"};
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    AUTO(error) struct error e = ERROR_INIT;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    c = http_conn_new_fd(fds[0]);
    assert_int_equal(fs_write_all(fds[1], answers, sizeof answers - 1), 0);
    for (int i = 0; i < 2; i++) {
        struct http_response res CLEANUP(http_response_done) = {0};
        AUTO(buf) struct buf body = BUF_INIT(100);

        assert_int_equal(http_conn_send(c, &req, &e), 0);
        assert_int_equal(http_conn_recv(c, &res, &e), 0);
        assert_int_equal(http_conn_read_all(c, &body, &e), 0);
        assert_string_equal(body.data, i ? "two" : "one");
        assert_true(http_conn_is_reusable(c));
    }
    (void)close(fds[1]);
    assert_int_equal(http_conn_send(c, &req, &e), 0); /* gone: seen when the answer is read */
    {
        struct http_response res = {0};

        assert_true(http_conn_recv(c, &res, &e) < 0);
    }
}

static void test_chunked_request(void **state)
{
    struct http_request req = {.method = "POST", .target = "/load", .chunked = true};
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    AUTO(error) struct error e = ERROR_INIT;
    char data[512] = "";
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    c = http_conn_new_fd(fds[0]);
    assert_int_equal(http_conn_send(c, &req, &e), 0);
    assert_int_equal(http_conn_write_chunk(c, "hello", 5, &e), 0);
    assert_int_equal(http_conn_write_chunk(c, "", 0, &e), 0);
    assert_true(read(fds[1], data, sizeof data - 1) > 0);
    assert_non_null(strstr(data, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    assert_null(strstr(data, "Content-Length"));
    (void)close(fds[1]);
    assert_int_equal(http_conn_write_chunk(c, "x", 1, &e), -EPIPE);
}

static void test_endpoints(void **state)
{
    static const struct http_tls_options tls = {.enabled = true, .verify = true};
    static const char *const good[] = {"unix:///run/x.sock", "tcp://localhost:80", "tcp://[::1]:80",
                                       "tcp://host",         "http://a:1/",        "https://a",
                                       "tcp://:2375"};
    static const char *const bad[] = {"",          "unix://rel",    "ftp://x",    "tcp://a:b",
                                      "tcp://a:0", "tcp://a:65536", "tcp://[::1", "tcp://a:1/path",
                                      "fd://",     "/run/x.sock"};
    AUTOFREE char *path = xasprintf("unix:///%0200d", 1);

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        AUTOPTR(http_endpoint) struct http_endpoint *ep = NULL;

        assert_int_equal(http_endpoint_parse(good[i], &tls, &ep, NULL), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTOPTR(http_endpoint) struct http_endpoint *ep = NULL;
        AUTO(error) struct error e = ERROR_INIT;

        assert_true(http_endpoint_parse(bad[i], NULL, &ep, &e) < 0);
        assert_non_null(strstr(error_message(&e), "invalid host"));
    }
    {
        struct http_endpoint *ep = NULL;

        assert_true(http_endpoint_parse(path, NULL, &ep, NULL) < 0);
    }
}

static void test_nobody(void **state)
{
    AUTOPTR(http_endpoint) struct http_endpoint *ep = NULL;
    AUTO(error) struct error e = ERROR_INIT;
    struct http_conn *c = NULL;

    assert_int_equal(http_endpoint_parse("unix:///nonexistent/sock", NULL, &ep, &e), 0);
    assert_int_equal(http_conn_open(ep, &c, &e), -ENOENT);
}

static void test_encode(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(100);

    http_encode(&b, "aZ0-_.~ /?&=%\xc3\xbc");
    assert_string_equal(b.data, "aZ0-_.~%20%2F%3F%26%3D%25%C3%BC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),           cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hostile_chunks), cmocka_unit_test(test_floods),
        cmocka_unit_test(test_too_large),      cmocka_unit_test(test_request),
        cmocka_unit_test(test_upgrade),        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_keep_alive),     cmocka_unit_test(test_chunked_request),
        cmocka_unit_test(test_endpoints),      cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_encode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
