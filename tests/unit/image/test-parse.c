/* SPDX-License-Identifier: Apache-2.0 */
/* Small parsers of the image module: credentials, changes, challenges, progress, messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "image/worker/worker.h"

static void test_auth(void **state)
{
    CLEANUP(image_auth_done) struct image_auth a = {0};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(image_auth_parse(NULL, NULL, &a, &e), 0);
    assert_int_equal(image_auth_parse("", NULL, &a, &e), 0);
    assert_int_equal(image_auth_parse("e30=", NULL, &a, &e), 0); /* {} */
    assert_null(a.username);
    /* {"username":"app","password":"s?>","identitytoken":""} in both alphabets */
    assert_int_equal(image_auth_parse("eyJ1c2VybmFtZSI6ImFwcCIsInBhc3N3b3JkIjoicz8-In0", NULL, &a,
                                      &e),
                     0);
    assert_string_equal(a.username, "app");
    assert_string_equal(a.password, "s?>");
    image_auth_done(&a);
    assert_int_equal(image_auth_parse("eyJ1c2VybmFtZSI6ImFwcCIsInBhc3N3b3JkIjoicz8+In0=", NULL, &a,
                                      &e),
                     0);
    assert_string_equal(a.password, "s?>");
    assert_int_equal(image_auth_parse("***", NULL, &a, &e), -EINVAL);
    error_done(&e);
    assert_int_equal(image_auth_parse("AAAA", NULL, &a, &e), -EINVAL);
    assert_non_null(strstr(e.message, "X-Registry-Auth"));
}

/* X-Registry-Config: by host and port, in any spelling. */
static void test_logins(void **state)
{
    (void)state;
    static const char config[] =
        "{\"https://index.docker.io/v1/\":{\"username\":\"hub\",\"password\":\"p\"},"
        "\"m.example:5000\":{\"identitytoken\":\"t\"},\"http://n.example/v2/\":{\"username\":\"n\"}}";
    static const struct {
        const char *host, *user, *token;
    } cases[] = {
        {"docker.io", "hub", NULL}, {"m.example:5000", NULL, "t"}, {"n.example", "n", NULL},
        {"m.example", NULL, NULL},  {"m.example:50", NULL, NULL},  {"index", NULL, NULL},
    };
    static const char *const bad[] = {"***", "[]", "{\"a\":1}", "{\"a\":{\"username\":[]}}", "{"};
    CLEANUP(image_auth_done) struct image_auth a = {0};
    AUTO(buf) struct buf text = BUF_INIT(4096);

    (void)base64_encode(config, strlen(config), BASE64_URL, &text);
    assert_int_equal(image_auth_parse("e30=", buf_str(&text), &a, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(image_auth_done) struct image_auth one = {0};
        bool found = image_login_find(a.logins, cases[i].host, &one);
        assert_int_equal(found, cases[i].user || cases[i].token);
        if (cases[i].user)
            assert_string_equal(one.username, cases[i].user);
        if (cases[i].token)
            assert_string_equal(one.identity_token, cases[i].token);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO(error) struct error e = ERROR_INIT;
        struct image_auth one = {0};
        buf_clear(&text);
        if (i > 0)
            (void)base64_encode(bad[i], strlen(bad[i]), BASE64_URL, &text);
        assert_true(image_auth_parse(NULL, i ? buf_str(&text) : bad[i], &one, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        assert_non_null(strstr(e.message, "X-Registry-Config"));
    }
}

static void test_next_page(void **state)
{
    (void)state;
    static const struct {
        const char *link, *query;
    } cases[] = {
        {NULL, NULL},
        {"", NULL},
        {"</v2/x/tags/list?n=100&last=y>; rel=\"next\"", "n=100&last=y"},
        {"<https://r.example/v2/x/tags/list?last=%2f>; rel=next", "last=%2f"},
        {"</v2/x/tags/list>; rel=\"next\"", NULL},
        {"</v2/x?a=b>; rel=\"prev\"", NULL},
        {"</v2/x?a=b", NULL},
        {"</v2/x?a b>; rel=\"next\"", NULL},
        {"</v2/x?a#b>; rel=\"next\"", NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *query = registry_next_page(cases[i].link);
        assert_int_equal(query != NULL, cases[i].query != NULL);
        if (query)
            assert_string_equal(query, cases[i].query);
    }
}

static void test_registry_of(void **state)
{
    static const struct {
        const char *server, *domain;
    } table[] = {
        {NULL, "docker.io"},
        {"", "docker.io"},
        {"https://index.docker.io/v1/", "docker.io"},
        {"registry-1.docker.io", "docker.io"},
        {"http://127.0.0.1:5000/v2/", "127.0.0.1:5000"},
        {"HTTPS://quay.io", "quay.io"},
        {"localhost", "localhost"},
        {"registry", "registry"},
        {"[::1]:5000", "[::1]:5000"},
    };
    static const char *const bad[] = {"a b", "quay.io:x", "user@host.example", "a..b",
                                      "reg\nistry"};

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        AUTOFREE char *domain = NULL;
        assert_int_equal(image_registry_of(table[i].server, &domain, NULL), 0);
        assert_string_equal(domain, table[i].domain);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTOFREE char *domain = NULL;
        assert_int_equal(image_registry_of(bad[i], &domain, NULL), -EINVAL);
    }
}

static int change(struct oci_image_config *c, const char *text)
{
    char *changes[] = {(char *)text, NULL};

    return image_changes_apply(c, changes, NULL);
}

static void test_changes(void **state)
{
    struct oci_image_config c = {0};

    assert_int_equal(change(&c, "CMD [\"echo\", \"a b\"]"), 0);
    assert_string_equal(c.cmd[1], "a b");
    assert_int_equal(change(&c, "cmd echo a"), 0);
    assert_string_equal(c.cmd[0], "/bin/sh");
    assert_string_equal(c.cmd[2], "echo a");
    assert_int_equal(change(&c, "ENTRYPOINT [\"/init\"]"), 0);
    assert_int_equal(change(&c, "HEALTHCHECK --interval=5s --timeout=1m30s --retries=4 "
                                "--start-period=2s --start-interval=500ms CMD test -e /ok"),
                     0);
    assert_int_equal(strv_len(c.healthcheck->test), 2);
    assert_string_equal(c.healthcheck->test[0], "CMD-SHELL");
    assert_string_equal(c.healthcheck->test[1], "test -e /ok");
    assert_int_equal(c.healthcheck->interval, 5 * NSEC_PER_SEC);
    assert_int_equal(c.healthcheck->timeout, 90 * NSEC_PER_SEC);
    assert_int_equal(c.healthcheck->start_period, 2 * NSEC_PER_SEC);
    assert_int_equal(c.healthcheck->start_interval, 500 * NSEC_PER_MSEC);
    assert_int_equal(c.healthcheck->retries, 4);
    assert_int_equal(change(&c, "healthcheck cmd [\"/check\", \"a b\"]"), 0);
    assert_int_equal(strv_len(c.healthcheck->test), 3);
    assert_string_equal(c.healthcheck->test[0], "CMD");
    assert_string_equal(c.healthcheck->test[2], "a b");
    assert_int_equal(c.healthcheck->interval, 0); /* all anew, as in a Dockerfile */
    static const char *const bad[] = {
        "HEALTHCHECK",
        "HEALTHCHECK CMD",
        "HEALTHCHECK CMD []",
        "HEALTHCHECK --interval=1s",
        "HEALTHCHECK --interval=soon CMD x",
        "HEALTHCHECK --interval=1us CMD x",
        "HEALTHCHECK --interval=-1s CMD x",
        "HEALTHCHECK --retries=many CMD x",
        "HEALTHCHECK --retries=-1 CMD x",
        "HEALTHCHECK --retries=99999999999999999999 CMD x",
        "HEALTHCHECK --colour=red CMD x",
        "HEALTHCHECK NONE really",
        "HEALTHCHECK RUN x",
        "HEALTHCHECK CMD [\"a\", 1]",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_true(change(&c, bad[i]) < 0);
    assert_string_equal(c.healthcheck->test[1], "/check"); /* as it was */
    assert_int_equal(change(&c, "HEALTHCHECK NONE"), 0);
    assert_string_equal(c.healthcheck->test[0], "NONE");
    assert_int_equal(change(&c, "ENV A=1 B=\"x y\" C='q\"'"), 0);
    assert_int_equal(change(&c, "ENV D some words"), 0);
    assert_string_equal(env_get(c.env, "B"), "x y");
    assert_string_equal(env_get(c.env, "C"), "q\"");
    assert_string_equal(env_get(c.env, "D"), "some words");
    assert_int_equal(change(&c, "LABEL k=\"v w\" l=2"), 0);
    assert_string_equal(json_map_get(&c.labels, "k"), "v w");
    assert_int_equal(change(&c, "EXPOSE 80 53/udp"), 0);
    assert_string_equal(c.exposed_ports[0], "80/tcp");
    assert_string_equal(c.exposed_ports[1], "53/udp");
    assert_int_equal(change(&c, "VOLUME [\"/a\",\"/b\"]"), 0);
    assert_int_equal(strv_len(c.volumes), 2);
    assert_int_equal(change(&c, "USER app"), 0);
    assert_int_equal(change(&c, "WORKDIR /w"), 0);
    assert_int_equal(change(&c, "STOPSIGNAL SIGINT"), 0);
    assert_string_equal(c.stop_signal, "SIGINT");
    assert_int_equal(change(&c, "RUN x"), -EINVAL);
    assert_int_equal(change(&c, "CMD"), -EINVAL);
    assert_int_equal(change(&c, "CMD [1]"), -EINVAL);
    assert_int_equal(change(&c, "CMD [\"a\""), -EINVAL);
    assert_int_equal(change(&c, "ENV A=\"x"), -EINVAL);
    assert_int_equal(change(&c, "ENV A"), -EINVAL);
    assert_int_equal(change(&c, ""), -EINVAL);
    json_free(&oci_image_config_json, &c);
}

static void test_challenges(void **state)
{
    CLEANUP(challenge_done) struct challenge c = {0};

    assert_int_equal(challenge_parse("Bearer realm=\"https://a/t\",service=\"s x\","
                                     "scope=\"repository:a/b:pull\"",
                                     &c),
                     0);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "https://a/t");
    AUTOFREE char *url = challenge_url(&c, c.scope);
    assert_string_equal(url, "https://a/t?service=s%20x&scope=repository%3Aa%2Fb%3Apull");
    challenge_done(&c);
    assert_int_equal(challenge_parse("bearer  Realm = \"https://a/t?x=1\" , junk", &c), 0);
    AUTOFREE char *url2 = challenge_url(&c, "d&e");
    assert_string_equal(url2, "https://a/t?x=1&scope=d%26e");
    AUTOFREE char *url3 = challenge_url(&c, "a:b  c:d ");
    assert_string_equal(url3, "https://a/t?x=1&scope=a%3Ab&scope=c%3Ad");
    AUTOFREE char *url4 = challenge_url(&c, NULL);
    assert_string_equal(url4, "https://a/t?x=1");
    challenge_done(&c);
    assert_int_equal(challenge_parse("Basic realm=\"say \\\"hi\\\"\"", &c), 0);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    assert_string_equal(c.realm, "say \"hi\"");
    challenge_done(&c);
    assert_int_equal(challenge_parse("Basic", &c), 0);
    assert_int_equal(challenge_parse("Bearer service=\"x\"", &c), -EINVAL);
    assert_int_equal(challenge_parse("Digest realm=\"x\"", &c), -EINVAL);
    assert_int_equal(challenge_parse("", &c), -EINVAL);
    assert_int_equal(challenge_parse("Bearer realm=\"unterminated", &c), -EINVAL);
}

static void test_rate(void **state)
{
    struct rate_meter m = {0};

    rate_meter_update(&m, NSEC_PER_SEC, 1000); /* where it begins is no speed */
    assert_int_equal(rate_meter_left(&m, 1000, 2000), -1);
    rate_meter_update(&m, 2 * NSEC_PER_SEC, 2000);
    assert_int_equal((int)m.rate, 1000);
    assert_int_equal(rate_meter_left(&m, 2000, 4500), 3);
    for (int i = 3; i < 60; i++)
        rate_meter_update(&m, i * NSEC_PER_SEC, 2000 + (uint64_t)(i - 2) * 5000);
    assert_in_range((int)m.rate, 4990, 5000);
    rate_meter_update(&m, 60 * NSEC_PER_SEC, 10); /* it began anew */
    assert_int_equal((int)m.rate, 0);
}

static void expect_line(struct image_progress p, const char *want)
{
    AUTO(buf) struct buf b = BUF_INIT(4096);

    image_progress_print(&p, &b);
    assert_string_equal(buf_str(&b), want);
}

static void test_progress(void **state)
{
    expect_line((struct image_progress){.id = "latest", .status = "Pulling from x"},
                "{\"status\":\"Pulling from x\",\"id\":\"latest\"}\r\n");
    expect_line((struct image_progress){.id = "a", .status = "Waiting", .has_detail = true},
                "{\"status\":\"Waiting\",\"progressDetail\":{},\"id\":\"a\"}\r\n");
    expect_line((struct image_progress){.id = "a",
                                        .status = "Downloading",
                                        .has_detail = true,
                                        .current = 500000,
                                        .total = 1000000},
                "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":500000,\"total\":"
                "1000000},\"progress\":\"[=========================>                         ]  "
                "500kB/1MB\",\"id\":\"a\"}\r\n");
    expect_line(
        (struct image_progress){.id = "a",
                                .status = "Downloading",
                                .has_detail = true,
                                .total = 100,
                                .rate = 7,
                                .left = 3,
                                .overall = {.current = 5, .total = 200}},
        "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":0,\"total\":100,\"rate\":7,\"left\":3},"
        "\"id\":\"a\",\"overall\":{\"current\":5,\"total\":200}}\r\n");
    expect_line((struct image_progress){.stream = "Loaded image: x\n"},
                "{\"stream\":\"Loaded image: x\\n\"}\r\n");
}

static void test_messages(void **state)
{
    int pair[2], fds[WORKER_FDS_MAX];
    size_t nfds = 9;
    struct worker_msg got = {0};
    char *layers[] = {(char *)"a", (char *)"b", NULL};
    const struct worker_msg m = {.type = (char *)"layer",
                                 .id = UINT64_MAX,
                                 .layers = layers,
                                 .code = -1};

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(worker_msg_send(pair[0], &m, pair, 1), 0);
    assert_int_equal(worker_msg_recv(pair[1], &got, fds, &nfds), 1);
    assert_int_equal(nfds, 1);
    close(fds[0]);
    assert_true(got.id == UINT64_MAX);
    assert_string_equal(got.layers[1], "b");
    assert_int_equal(got.code, -1);
    worker_msg_done(&got);
    assert_int_equal(write(pair[0], "{\"type\":3}", 10), 10);
    assert_int_equal(worker_msg_recv(pair[1], &got, fds, &nfds), -EPROTO);
    close(pair[0]);
    assert_int_equal(worker_msg_recv(pair[1], &got, fds, &nfds), 0);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auth),      cmocka_unit_test(test_logins),
        cmocka_unit_test(test_next_page), cmocka_unit_test(test_registry_of),
        cmocka_unit_test(test_changes),   cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_progress),  cmocka_unit_test(test_rate),
        cmocka_unit_test(test_messages),
    };

    return cmocka_run_group_tests_name("image-parse", tests, NULL, NULL);
}
