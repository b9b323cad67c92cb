/* SPDX-License-Identifier: Apache-2.0 */
/* JSON tables: reading, refusing, printing, copying. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/strv.h"

struct port {
    char *host_ip;
    uint64_t host_port;
};
static const struct json_field port_fields[] = {
    JSON_FIELD(struct port, host_ip, "HostIp", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct port, host_port, "HostPort", JSON_UINT, JSON_LENIENT_NUM | JSON_STR_IN_JSON),
    JSON_END,
};
static const struct json_desc port_json = {"port", sizeof(struct port), port_fields};

struct net {
    char *key;
    char *ip;
};
static const struct json_field net_fields[] = {
    JSON_FIELD(struct net, ip, "IP", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc net_json = {"net", sizeof(struct net), net_fields};

struct all {
    char *name;
    bool on;
    int64_t n;
    struct opt_int limit;
    char **args;
    char **exposed;
    struct json_map labels;
    struct port one;
    struct port *maybe;
    struct json_list list;
    struct json_list nets;
    struct json_list bindings;
    char *raw;
    int64_t when;
    struct json_list numbers;
};
static const char *const names[] = {"a", "b", NULL};
static const struct json_field all_fields[] = {
    JSON_FIELD_CHOICE(struct all, name, "Name", 0, names),
    JSON_FIELD(struct all, on, "On", JSON_BOOL, 0),
    JSON_FIELD(struct all, n, "N", JSON_INT, 0),
    JSON_FIELD(struct all, limit, "Limit", JSON_OPT_INT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct all, args, "Args", JSON_STRV, JSON_STR_OR_LIST | JSON_NULL_EMPTY),
    JSON_FIELD(struct all, exposed, "Exposed", JSON_KEY_SET, 0),
    JSON_FIELD(struct all, labels, "Labels", JSON_STR_MAP, 0),
    JSON_FIELD_SUB(struct all, one, "One", JSON_OBJ, 0, &port_json),
    JSON_FIELD_SUB(struct all, maybe, "Maybe", JSON_OBJ_PTR, JSON_OMIT_EMPTY, &port_json),
    JSON_FIELD_SUB(struct all, list, "List", JSON_OBJ_LIST, 0, &port_json),
    JSON_FIELD_SUB(struct all, nets, "Nets", JSON_OBJ_MAP, 0, &net_json),
    JSON_FIELD_SUB(struct all, bindings, "Bindings", JSON_LIST_MAP, 0, &port_json),
    JSON_FIELD(struct all, raw, "Raw", JSON_RAW, JSON_OMIT_EMPTY),
    JSON_FIELD(struct all, when, "When", JSON_TIME, JSON_OMIT_EMPTY),
    JSON_FIELD(struct all, numbers, "Numbers", JSON_UINT_LIST, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc net_full_json = {"all", sizeof(struct all), all_fields};

static const char full[] =
    "{\"Name\":\"a\",\"On\":true,\"N\":-5,\"Limit\":0,\"Args\":[\"x\",\"y \\\"z\"],"
    "\"Exposed\":{\"80/tcp\":{}},\"Labels\":{\"k\":\"v\",\"e\":\"\"},"
    "\"One\":{\"HostIp\":\"1.2.3.4\",\"HostPort\":\"80\"},\"Maybe\":{\"HostPort\":\"1\"},"
    "\"List\":[{\"HostIp\":\"::1\",\"HostPort\":\"2\"}],\"Nets\":{\"bridge\":{\"IP\":\"10.0.0.1\"}},"
    "\"Bindings\":{\"80/tcp\":[{\"HostPort\":\"8080\"}]},\"Raw\":{\"a\":[1,2]},"
    "\"When\":\"2026-01-02T03:04:05.123456789Z\",\"Numbers\":[0,18446744073709551615]}";

static void test_round_trip(void **state)
{
    struct all a = {0};
    struct all b;
    AUTOFREE char *text = NULL;
    AUTOFREE char *again = NULL;

    assert_int_equal(json_parse(&net_full_json, full, strlen(full), &a, NULL), 0);
    assert_int_equal(a.n, -5);
    assert_true(a.limit.set);
    assert_string_equal(((struct net *)a.nets.items)[0].key, "bridge");
    text = json_print_str(&net_full_json, &a);
    assert_string_equal(text, full);
    json_copy(&net_full_json, &b, &a);
    json_free(&net_full_json, &a);
    again = json_print_str(&net_full_json, &b);
    assert_string_equal(again, full);
    json_free(&net_full_json, &b);
}

static void test_keeps_defaults(void **state)
{
    struct all a = {.n = 7};

    assert_int_equal(json_parse(&net_full_json, "{\"N\":null,\"x\":1}", 16, &a, NULL), 0);
    assert_int_equal(a.n, 7);
    json_free(&net_full_json, &a);
}

static void test_messages(void **state)
{
    static const struct {
        const char *text;
        const char *want;
    } cases[] = {
        {"{\"N\":\"x\"}", "N: expected a whole number, got a string"},
        {"{\"N\":1.5}", "N: not a whole number: \"1.5\""},
        {"{\"Name\":\"c\"}", "Name: unknown value (one of: a, b): \"c\""},
        {"{\"Bindings\":{\"80/tcp\":[{\"HostPort\":{}}]}}",
         "Bindings.80/tcp[0].HostPort: expected a whole number, got an object"},
        {"{\"Args\":[\"a\",1]}", "Args[1]: expected a string, got a number"},
        {"{\"Numbers\":[1,-1]}", "Numbers[1]: number must not be negative: \"-1\""},
        {"[]", "(top): expected an object, got a list"},
        {"{\"a\":1,\"a\":2}", "invalid JSON: an object has the same key twice"},
        {"{\"a\":NaN}", "invalid JSON at offset 5: expected a value"},
        {"{\"a\":1} x", "invalid JSON at offset 8: text after the end"},
        {"{'a':1}", "invalid JSON at offset 1: expected a string in double quotes"},
        {"{\"a\":18446744073709551616}", "invalid JSON at offset 25: integer does not fit 64 bits"},
        {"{\"a\":01}", "invalid JSON at offset 5: number with a leading zero"},
        {"{\"a\":[1,]}", "invalid JSON at offset 8: expected a value"},
        {"{\"a\"", "invalid JSON at offset 4: expected ':' after a key"},
        {"", "invalid JSON at offset 0: expected a value"},
        {"{\"Name\":\"a\\u0000b\"}", "Name: a NUL character is not allowed: \"a\""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        struct all a = {0};

        assert_true(json_parse(&net_full_json, cases[i].text, strlen(cases[i].text), &a, &e) < 0);
        assert_string_equal(error_message(&e), cases[i].want);
        assert_int_equal(e.code, ERR_INVALID);
    }
}

static void test_depth(void **state)
{
    char text[400];
    struct json_value *v = NULL;

    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    assert_true(json_value_parse(text, 400, &v, NULL) < 0);
    assert_int_equal(json_value_parse(text + 136, 128, &v, NULL), 0);
    json_value_free(v);
}

static void test_writer(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(4096);
    struct jsonw w = {&b, false};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "s", "a\"\n\x01\xff\xc3\xa9");
    jsonw_list_begin(&w, "l");
    jsonw_int(&w, NULL, 1);
    jsonw_int(&w, NULL, 2);
    jsonw_list_end(&w);
    jsonw_bool(&w, "b", true);
    jsonw_end(&w);
    assert_string_equal(b.data,
                        "{\"s\":\"a\\\"\\n\\u0001\xef\xbf\xbd\xc3\xa9\",\"l\":[1,2],\"b\":true}");
}

static void test_value(void **state)
{
    struct json_value *v = NULL;
    AUTO(buf) struct buf b = BUF_INIT(4096);
    const char *key = NULL;
    static const char text[] = "{\"a\":[1,\"x\"],\"b\":{\"c\":true}}";

    assert_int_equal(json_value_parse(text, strlen(text), &v, NULL), 0);
    assert_int_equal(json_value_int(json_value_at(json_value_get(v, "a"), 0)), 1);
    assert_non_null(json_value_member(v, 1, &key));
    assert_string_equal(key, "b");
    assert_null(json_value_get(NULL, "x"));
    json_value_print(v, false, &b);
    assert_string_equal(b.data, text);
    json_value_free(v);
    assert_int_equal(json_value_parse("5", 1, &v, NULL), 0);
    assert_int_equal(json_value_int(v), 5);
    json_value_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_keeps_defaults),
        cmocka_unit_test(test_messages),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_writer),     cmocka_unit_test(test_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
