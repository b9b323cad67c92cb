/* SPDX-License-Identifier: Apache-2.0 */
/* Requests against a daemon of canned answers: versions, errors, kept connections, progress. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "cli/image.h"

/* Answers each request with the next text; a text that begins with '!' closes the connection after
 * it. What was asked is kept. */
struct daemon {
    char dir[32];
    char *path;
    int listener;
    const char *const *answers;
    char asked[8192];
    pthread_t thread;
};

/* Reads one request head (and the little body it has); 0 at the end. */
static size_t read_request(int fd, struct daemon *d)
{
    char data[4096];
    ssize_t n = read(fd, data, sizeof data - 1);
    size_t have = strlen(d->asked);

    if (n <= 0)
        return 0;
    data[n] = '\0';
    (void)snprintf(d->asked + have, sizeof d->asked - have, "%.*s\n", (int)strcspn(data, "\r"),
                   data);
    return (size_t)n;
}

static void *serve(void *arg)
{
    struct daemon *d = arg;
    int fd = -1;

    for (const char *const *a = d->answers; *a;) {
        const char *text = **a == '!' ? *a + 1 : *a;

        if (fd < 0)
            fd = accept(d->listener, NULL, NULL);
        if (fd < 0)
            break;
        if (!read_request(fd, d)) {
            (void)close(fd);
            fd = -1;
            continue;
        }
        (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
        if (**a++ == '!') {
            (void)close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

static void daemon_start(struct daemon *d, struct cli *cli, const char *const *answers)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    *d = (struct daemon){.dir = "/tmp/test-api.XXXXXX", .answers = answers};
    assert_non_null(mkdtemp(d->dir));
    d->path = xasprintf("%s/sock", d->dir);
    strcpy(sa.sun_path, d->path);
    d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(d->listener, (const struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(d->listener, 8), 0);
    assert_int_equal(pthread_create(&d->thread, NULL, serve, d), 0);
    *cli = (struct cli){.host = xasprintf("unix://%s", d->path), .api_version = xstrdup("1.51")};
    assert_int_equal(http_endpoint_parse(cli->host, NULL, &cli->endpoint, NULL), 0);
}

static void daemon_stop(struct daemon *d, struct cli *cli)
{
    http_conn_free(cli->idle);
    http_endpoint_free(cli->endpoint);
    free(cli->host);
    free(cli->api_version);
    (void)shutdown(d->listener, SHUT_RDWR);
    (void)pthread_join(d->thread, NULL);
    (void)close(d->listener);
    (void)unlink(d->path);
    (void)rmdir(d->dir);
    free(d->path);
}

#define JSON(status, len, text) "HTTP/1.1 " status "\r\nContent-Length: " len "\r\n\r\n" text

static int call(struct cli *cli, const char *path, struct buf *out, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, path, NULL, NULL);
    return api_call(cli, "GET", &u, NULL, out, e);
}

static void test_keeps_connection(void **state)
{
    static const char *const answers[] = {JSON("200 OK", "1", "1"), JSON("200 OK", "1", "2"),
                                          "!" JSON("200 OK", "1", "3"), JSON("204 x", "0", ""),
                                          NULL};
    AUTO(buf) struct buf out = BUF_INIT(100);
    struct daemon d;
    struct cli cli;

    daemon_start(&d, &cli, answers);
    assert_int_equal(call(&cli, "/a", &out, NULL), 200);
    assert_non_null(cli.idle);
    assert_int_equal(call(&cli, "/b", &out, NULL), 200);
    assert_int_equal(call(&cli, "/c", &out, NULL), 200);
    struct pollfd p = {.fd = http_conn_fd(cli.idle), .events = POLLIN};

    assert_int_equal(poll(&p, 1, 60000),
                     1); /* the server has closed: that is seen, and a new connection made */
    assert_int_equal(call(&cli, "/d", &out, NULL), 204);
    assert_string_equal(out.data, "123");
    daemon_stop(&d, &cli);
    assert_string_equal(d.asked, "GET /v1.51/a HTTP/1.1\nGET /v1.51/b HTTP/1.1\n"
                                 "GET /v1.51/c HTTP/1.1\nGET /v1.51/d HTTP/1.1\n");
}

#define TOO_NEW                                                                                    \
    JSON(                                                                                          \
        "400 x", "83",                                                                             \
        "{\"message\":\"client version 1.51 is too new. Maximum supported API version is 1.41\"}")

static void test_older_daemon(void **state)
{
    static const char *const answers[] = {TOO_NEW, JSON("200 OK", "2", "{}"),
                                          JSON("200 OK", "2", "{}"), NULL};
    AUTO(error) struct error e = ERROR_INIT;
    struct daemon d;
    struct cli cli;

    daemon_start(&d, &cli, answers);
    assert_int_equal(call(&cli, "/a", NULL, &e), 200);
    assert_string_equal(cli.api_version, "1.41");
    assert_int_equal(call(&cli, "/b", NULL, &e), 200);
    daemon_stop(&d, &cli);
    assert_string_equal(d.asked,
                        "GET /v1.51/a HTTP/1.1\nGET /v1.41/a HTTP/1.1\nGET /v1.41/b HTTP/1.1\n");
}

/* A daemon that refuses every version is an error, not a loop. */
static void test_contrary_daemon(void **state)
{
    static const char *const answers[] = {TOO_NEW, TOO_NEW, TOO_NEW, TOO_NEW, NULL};
    AUTO(error) struct error e = ERROR_INIT;
    struct daemon d;
    struct cli cli;

    daemon_start(&d, &cli, answers);
    assert_true(call(&cli, "/a", NULL, &e) < 0);
    assert_non_null(strstr(error_message(&e), "too new"));
    daemon_stop(&d, &cli);
}

static void test_errors(void **state)
{
    static const struct {
        const char *answer, *message;
        enum error_code code;
    } cases[] = {
        {JSON("404 x", "18", "{\"message\":\"no x\"}"), "Error response from daemon: no x",
         ERR_NOT_FOUND},
        {JSON("409 x", "18", "{\"message\":\"busy\"}"), "Error response from daemon: busy",
         ERR_CONFLICT},
        {JSON("500 x", "9", "some text"), "Error response from daemon: some text", ERR_INTERNAL},
        {JSON("500 x", "0", ""),
         "Error response from daemon: the server answered with HTTP status 500", ERR_INTERNAL},
        {JSON("502 x", "6", "<html>"),
         "Error response from daemon: the server answered with HTTP status 502", ERR_INTERNAL},
        {JSON("400 x", "2", "{}"), "Error response from daemon: {}", ERR_INVALID},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *const answers[] = {cases[i].answer, NULL};
        AUTO(error) struct error e = ERROR_INIT;
        struct daemon d;
        struct cli cli;

        daemon_start(&d, &cli, answers);
        assert_true(call(&cli, "/a", NULL, &e) < 0);
        assert_string_equal(error_message(&e), cases[i].message);
        assert_int_equal(e.code, cases[i].code);
        daemon_stop(&d, &cli);
    }
}

static void test_nobody(void **state)
{
    struct cli cli = {.host = xstrdup("unix:///nonexistent/sock"), .api_version = xstrdup("1.51")};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(http_endpoint_parse(cli.host, NULL, &cli.endpoint, NULL), 0);
    assert_true(call(&cli, "/a", NULL, &e) < 0);
    assert_string_equal(error_message(&e), "Cannot connect to the Pouch daemon at "
                                           "unix:///nonexistent/sock. Is pouchd running?");
    http_endpoint_free(cli.endpoint);
    free(cli.host);
    free(cli.api_version);
}

static int count_one(const struct json_value *v, void *data, struct error *e)
{
    int *sum = data;

    *sum += (int)json_value_int(v);
    return 0;
}

static void test_lists(void **state)
{
    static const struct {
        const char *answer;
        int sum;
    } cases[] = {
        {JSON("200 OK", "9", " [1, 2,3]"), 6}, {JSON("200 OK", "2", "[]"), 0},
        {JSON("200 OK", "4", "null"), 0},      {JSON("200 OK", "2", "{}"), -1},
        {JSON("200 OK", "4", "[1,2"), -1},     {JSON("200 OK", "5", "[1,x]"), -1},
        {JSON("200 OK", "0", ""), -1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *const answers[] = {cases[i].answer, NULL};
        struct url u CLEANUP(url_done) = URL_INIT;
        AUTO(error) struct error e = ERROR_INIT;
        struct daemon d;
        struct cli cli;
        int sum = 0, r;

        daemon_start(&d, &cli, answers);
        url_set(&u, "/list", NULL, NULL);
        r = api_list(&cli, &u, count_one, &sum, &e);
        assert_int_equal(r < 0 ? -1 : sum, cases[i].sum);
        assert_true(r == 0 || *error_message(&e));
        daemon_stop(&d, &cli);
    }
}

/* Feeds progress to progress_show(); what it wrote, and its error. */
static char *show(const char *messages, int *ret_r, struct error *e)
{
    AUTOFREE char *answer = xasprintf("HTTP/1.1 200 OK\r\n\r\n%s", messages);
    struct http_response res CLEANUP(http_response_done) = {0};
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
    char *text = NULL;

    assert_int_equal(fs_write_all(in, answer, strlen(answer)), 0);
    assert_int_equal(lseek(in, 0, SEEK_SET), 0);
    c = http_conn_new_fd(in);
    assert_int_equal(http_conn_recv(c, &res, NULL), 0);
    *ret_r = progress_show(c, out, false, e);
    assert_int_equal(lseek(out, 0, SEEK_SET), 0);
    text = xcalloc(1, 65536);
    assert_true(fs_read_full(out, text, 65535) >= 0);
    (void)close(out);
    return text;
}

static void test_progress(void **state)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *good = NULL, *bad = NULL, *junk = NULL;
    int r;

    good = show(
        "{\"status\":\"Pulling from x\",\"id\":\"latest\"}\r\n"
        "{\"status\":\"Downloading\",\"id\":\"l1\",\"progressDetail\":{\"current\":1,\"total\":9}}\n"
        "{\"status\":\"Downloading\",\"id\":\"l1\",\"progressDetail\":{\"current\":5,\"total\":9}}\n"
        "{\"status\":\"Pull complete\",\"id\":\"l1\"}\n\n"
        "{\"status\":\"Digest: sha256:0\"}\n{\"stream\":\"Loaded image: x\\n\"}",
        &r, &e);
    assert_int_equal(r, 0);
    assert_string_equal(good, "latest: Pulling from x\nl1: Downloading\nl1: Pull complete\n"
                              "Digest: sha256:0\nLoaded image: x\n");
    bad = show("{\"status\":\"a\"}\n{\"errorDetail\":{\"message\":\"it broke\"},\"error\":\"x\"}\n"
               "{\"status\":\"never\"}\n",
               &r, &e);
    assert_true(r < 0);
    assert_string_equal(error_message(&e), "it broke");
    assert_string_equal(bad, "a\n");
    error_done(&e);
    junk = show("{\"status\":\n", &r, &e);
    assert_true(r < 0);
    assert_non_null(strstr(error_message(&e), "malformed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_connection), cmocka_unit_test(test_older_daemon),
        cmocka_unit_test(test_contrary_daemon),  cmocka_unit_test(test_errors),
        cmocka_unit_test(test_nobody),           cmocka_unit_test(test_lists),
        cmocka_unit_test(test_progress),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
