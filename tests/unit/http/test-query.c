/* SPDX-License-Identifier: Apache-2.0 */
/* Request targets and path patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "http/query.h"

static void test_target(void **state)
{
    struct http_target t = {0};

    assert_int_equal(http_target_parse("/v1.41/containers/json?all=1&filters=%7B%22a%22%3A1%7D&x&"
                                       "t=a+b&t=c",
                                       &t, NULL),
                     0);
    assert_string_equal(t.path, "/v1.41/containers/json");
    assert_string_equal(http_target_get(&t, "all"), "1");
    assert_string_equal(http_target_get(&t, "filters"), "{\"a\":1}");
    assert_string_equal(http_target_get(&t, "x"), "");
    assert_string_equal(http_target_get(&t, "t"), "a b");
    assert_null(http_target_get(&t, "none"));
    assert_int_equal(t.nquery, 5);
    http_target_done(&t);

    /* '+' stays in paths; a proxy's absolute form is understood */
    assert_int_equal(http_target_parse("http://docker/images/a+b%2Fc/json", &t, NULL), 0);
    assert_string_equal(t.path, "/images/a+b/c/json");
    http_target_done(&t);
}

static void test_target_refused(void **state)
{
    static const char *const bad[] = {"",      "containers", "*",           "/%",
                                      "/%4",   "/%zz",       "/a%00b",      "/?a=%",
                                      "/?%00", "/?x=%0",     "http://host", "/x?y=%gg"};
    struct http_target t = {0};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO(error) struct error e = ERROR_INIT;

        assert_int_equal(http_target_parse(bad[i], &t, &e), -EINVAL);
        assert_int_equal(e.code, ERR_INVALID);
        assert_null(t.path);
    }
}

static void test_target_many(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    struct http_target t = {0};

    (void)buf_puts(&b, "/x?");
    for (int i = 0; i < HTTP_QUERY_MAX; i++)
        (void)buf_printf(&b, "a%d=b&", i);
    assert_int_equal(http_target_parse(b.data, &t, NULL), 0);
    assert_int_equal(t.nquery, HTTP_QUERY_MAX);
    http_target_done(&t);
    (void)buf_puts(&b, "one=more");
    assert_int_equal(http_target_parse(b.data, &t, NULL), -EINVAL);
}

static void expect_param(const struct http_path_param *p, const char *name, const char *value)
{
    assert_int_equal(p->name_len, strlen(name));
    assert_memory_equal(p->name, name, p->name_len);
    assert_int_equal(p->value_len, strlen(value));
    assert_memory_equal(p->value, value, p->value_len);
}

static void test_match(void **state)
{
    struct http_path_param p[HTTP_PATH_PARAMS_MAX];

    assert_int_equal(http_path_match("/info", "/info", p), 0);
    assert_int_equal(http_path_match("/info", "/info/", p), -1);
    assert_int_equal(http_path_match("/info", "/inf", p), -1);
    assert_int_equal(http_path_match("/containers/{id}/json", "/containers/abc/json", p), 1);
    expect_param(&p[0], "id", "abc");
    assert_int_equal(http_path_match("/containers/{id}/json", "/containers//json", p), -1);
    assert_int_equal(http_path_match("/containers/{id}/json", "/containers/a/b/json", p), -1);
    assert_int_equal(http_path_match("/containers/{id}", "/containers/a", p), 1);
    assert_int_equal(http_path_match("/containers/{id}", "/containers/a/json", p), -1);

    assert_int_equal(http_path_match("/images/{name*}/json", "/images/a/json", p), 1);
    expect_param(&p[0], "name", "a");
    assert_int_equal(http_path_match("/images/{name*}/json", "/images/h:5000/x/y/json", p), 1);
    expect_param(&p[0], "name", "h:5000/x/y");
    /* an image whose last part is called as the verb is */
    assert_int_equal(http_path_match("/images/{name*}/json", "/images/a/json/json", p), 1);
    expect_param(&p[0], "name", "a/json");
    assert_int_equal(http_path_match("/images/{name*}/json", "/images/json", p), -1);
    assert_int_equal(http_path_match("/images/{name*}", "/images/a/b", p), 1);
    expect_param(&p[0], "name", "a/b");
    assert_int_equal(http_path_match("/a/{x}/b/{y}", "/a/1/b/2", p), 2);
    expect_param(&p[1], "y", "2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target),
        cmocka_unit_test(test_target_refused),
        cmocka_unit_test(test_target_many),
        cmocka_unit_test(test_match),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
