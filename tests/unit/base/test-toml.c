/* SPDX-License-Identifier: Apache-2.0 */
/* TOML: every form of the specification as JSON, and what it forbids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/toml.h"

static const struct {
    const char *toml, *json;
} goods[] = {
    {"", "{}"},
    {"# only a comment", "{}"},
    {"a = 1\nb='x'\r\nc = true # yes\n", "{\"a\":1,\"b\":\"x\",\"c\":true}"},
    {"\"a b\" = 1\n'c.d' = 2\n\"\" = 3", "{\"a b\":1,\"c.d\":2,\"\":3}"},
    {"a.b.c = 1\na.b.d = 2", "{\"a\":{\"b\":{\"c\":1,\"d\":2}}}"},
    {"a . b = 1", "{\"a\":{\"b\":1}}"},
    {"[t]\nx = 1\n[t.u]\ny = 2", "{\"t\":{\"x\":1,\"u\":{\"y\":2}}}"},
    {"[a.b]\nx=1\n[a]\ny=2", "{\"a\":{\"b\":{\"x\":1},\"y\":2}}"},
    {"[host.\"https://m:5000\"]\ncapabilities = [\"pull\", \"resolve\",]\n",
     "{\"host\":{\"https://m:5000\":{\"capabilities\":[\"pull\",\"resolve\"]}}}"},
    {"[[r]]\na=1\n[[r.m]]\nb=1\n[[r.m]]\nb=2\n[[r]]\na=2",
     "{\"r\":[{\"a\":1,\"m\":[{\"b\":1},{\"b\":2}]},{\"a\":2}]}"},
    {"l = [ # first\n 1,\n\n 2 # two\n]", "{\"l\":[1,2]}"},
    {"l = [[1],[\"a\",'b'],{x=1}]", "{\"l\":[[1],[\"a\",\"b\"],{\"x\":1}]}"},
    {"t = {a = 1, b.c = {}}", "{\"t\":{\"a\":1,\"b\":{\"c\":{}}}}"},
    {"s = \"q\\\"\\\\ \\u00e9\\U0001F600\"", "{\"s\":\"q\\\"\\\\ \xc3\xa9\xf0\x9f\x98\x80\"}"},
    {"s = \"\"\"\none\ntwo \\\n   three\"\"\"", "{\"s\":\"one\\ntwo three\"}"},
    {"s = '''\na\\b'c'''", "{\"s\":\"a\\\\b'c\"}"},
    {"s = \"\"\"x\"\"\"\"\"", "{\"s\":\"x\\\"\\\"\"}"},
    {"n = [0x1F, 0o17, 0b101, 1_000, +5, -7, 0]", "{\"n\":[31,15,5,1000,5,-7,0]}"},
    {"f = [1.5, -0.1e3, 2E+4]", "{\"f\":[1.5,-0.1e3,2E+4]}"},
    {"d = 1979-05-27T07:32:00Z\ne = 1979-05-27 07:32:00\nt = 07:32:00",
     "{\"d\":\"1979-05-27T07:32:00Z\",\"e\":\"1979-05-27 07:32:00\",\"t\":\"07:32:00\"}"},
    {"[fruit]\napple.color = 'red'\n[fruit.apple.taste]\nsweet = true",
     "{\"fruit\":{\"apple\":{\"color\":\"red\",\"taste\":{\"sweet\":true}}}}"},
    {"\xef\xbb\xbf"
     "a=1",
     "{\"a\":1}"},
};

static void test_good(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(goods); i++) {
        AUTO(buf) struct buf out = BUF_INIT(4096);
        AUTO(error) struct error e = ERROR_INIT;
        if (toml_to_json(goods[i].toml, strlen(goods[i].toml), &out, &e) < 0)
            fail_msg("%s: %s", goods[i].toml, error_message(&e));
        assert_string_equal(buf_str(&out), goods[i].json);
    }
}

static const struct {
    const char *toml, *why;
} bads[] = {
    {"a", "line 1: expected = after a key"},
    {"a = ", "expected a value"},
    {"= 1", "expected a key"},
    {"a = 1 b = 2", "more on the line"},
    {"a = 1\na = 2", "line 2: a key is there twice"},
    {"a.b = 1\na.b.c = 2", "inside a value"},
    {"[t]\n[t]", "a table is there twice"},
    {"t = {a=1}\n[t]", "a table is there twice"},
    {"t = {a=1}\nt.b = 1", "inside a value"},
    {"t = {a=1}\n[t.b]", "no table"},
    {"[a]\nb.c=1\n[a.b]", "a table is there twice"},
    {"[a.b.c]\nz=9\n[a]\nb.c.t=1", "inside a value"},
    {"l = []\n[[l]]", "name of another value"},
    {"[[l]]\n[l]", "a table is there twice"},
    {"[t", "header is not closed"},
    {"[[t]", "header is not closed"},
    {"[]", "expected a key"},
    {"s = \"x", "not closed"},
    {"s = \"x\ny\"", "not closed on its line"},
    {"s = \"\\q\"", "unknown escape"},
    {"s = \"\\ud800\"", "no character"},
    {"s = \"\\u12g4\"", "bad \\u"},
    {"s = 'a\x01'", "control character"},
    {"# \x01", "control character"},
    {"\"\"\"k\"\"\" = 1", "several lines"},
    {"n = 012", "leading zero"},
    {"n = 1__0", "malformed"},
    {"n = 0x", "malformed"},
    {"n = 9223372036854775808", "64 bits"},
    {"n = 0xffffffffffffffff", "64 bits"},
    {"n = 1.", "malformed"},
    {"n = inf", "inf and nan"},
    {"n = yes", "malformed"},
    {"l = [1 2]", "expected , or ]"},
    {"l = [1", "expected , or ]"},
    {"t = {a=1,}", "ends with a comma"},
    {"t = {a=1\n}", "expected , or }"},
    {"a = \"\xff\"", "not UTF-8"},
};

static void test_bad(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
        AUTO(buf) struct buf out = BUF_INIT(4096);
        AUTO(error) struct error e = ERROR_INIT;
        if (toml_to_json(bads[i].toml, strlen(bads[i].toml), &out, &e) != -EINVAL)
            fail_msg("taken: %s -> %s", bads[i].toml, buf_str(&out));
        if (!strstr(error_message(&e), bads[i].why))
            fail_msg("%s: %s", bads[i].toml, error_message(&e));
        assert_int_equal(out.len, 0);
    }
}

static void test_limits(void **state)
{
    AUTO(buf) struct buf deep = BUF_INIT(1 << 20);
    AUTO(buf) struct buf many = BUF_INIT(1 << 20);
    AUTO(buf) struct buf out = BUF_INIT(8 << 20);
    AUTO(error) struct error e = ERROR_INIT;

    (void)buf_puts(&deep, "a = ");
    for (int i = 0; i < 1000; i++)
        (void)buf_putc(&deep, '[');
    assert_int_equal(toml_to_json(deep.data, deep.len, &out, &e), -EINVAL);
    assert_non_null(strstr(error_message(&e), "nested"));
    error_done(&e);
    for (int i = 0; i < 20000; i++)
        (void)buf_printf(&many, "k%d = %d\n", i, i);
    assert_int_equal(toml_to_json(many.data, many.len, &out, &e), -EINVAL);
    assert_non_null(strstr(error_message(&e), "too many"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
