/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, durations, sizes, the PORTS column, filters. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/strv.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/image.h"
#include "cli/ports.h"
#include "cli/units.h"

static void test_durations(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {-5, "Less than a second"}, {0, "Less than a second"}, {1, "1 second"},
        {59, "59 seconds"},         {60, "About a minute"},    {119, "About a minute"},
        {120, "2 minutes"},         {3540, "59 minutes"},      {3600, "About an hour"},
        {5399, "About an hour"},    {5400, "2 hours"},         {171000, "2 days"},
        {170999, "47 hours"},       {86400 * 13, "13 days"},   {86400 * 14, "2 weeks"},
        {86400 * 59, "8 weeks"},    {86400 * 61, "2 months"},  {86400 * 729LL, "24 months"},
        {86400 * 731LL, "2 years"},
    };
    char out[UNITS_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(units_duration(cases[i].seconds, out), cases[i].text);
}

static void test_sizes(void **state)
{
    char out[UNITS_MAX];

    assert_string_equal(units_size(0, out), "0B");
    assert_string_equal(units_size(999, out), "999B");
    assert_string_equal(units_size(1000, out), "1kB");
    assert_string_equal(units_size(1234567, out), "1.23MB");
    assert_string_equal(units_size(999600, out), "1MB"); /* never 1e+03kB */
    assert_string_equal(units_size(123456789012, out), "123GB");
    assert_string_equal(units_size4(12345678, out), "12.35MB");
    assert_string_equal(units_size4(999999, out), "1MB");
    assert_string_equal(units_bytes(1024, out), "1KiB");
    assert_string_equal(units_bytes(8312345678, out), "7.741GiB");
    assert_string_equal(units_bytes(1023, out), "1023B");
    assert_string_equal(units_bytes(1048575, out), "1024KiB");
}

static void test_table(void **state)
{
    AUTO(buf) struct buf out = BUF_INIT(4096);

    table_align("A\tLONGER HEADER\tC\nvery long cell\tx\ty\nü\t\tz\n", &out);
    assert_string_equal(out.data, "A                LONGER HEADER   C\n"
                                  "very long cell   x               y\n"
                                  "ü                                z\n");
    buf_clear(&out);
    table_align("TAG\tID\n", &out); /* at least ten wide */
    assert_string_equal(out.data, "TAG       ID\n");
    buf_clear(&out);
    table_align("", &out);
    assert_int_equal(out.len, 0);
}

static void test_formatter(void **state)
{
    static const struct formatter_field fields[] = {{"ID", "THE ID"},
                                                    {"Name", "NAME"},
                                                    {NULL, NULL}};
    static const char *const values[] = {"1", "one", NULL};
    struct formatter f CLEANUP(formatter_done) = {0};
    struct formatter g CLEANUP(formatter_done) = {0};
    struct formatter h CLEANUP(formatter_done) = {0};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(formatter_init(&f, "table {{.Name}}\\t{{.ID}}", "{{.ID}}", fields, &e), 0);
    assert_int_equal(formatter_row(&f, values, NULL, &e), 0);
    assert_string_equal(f.out.data, "NAME\tTHE ID\none\t1\n");
    assert_int_equal(formatter_init(&g, "json", "{{.ID}}", fields, &e), 0);
    assert_int_equal(formatter_row(&g, values, NULL, &e), 0);
    assert_string_equal(g.out.data, "{\"ID\":\"1\",\"Name\":\"one\"}\n");
    assert_true(formatter_init(&h, "{{.Nope", "{{.ID}}", fields, &e) < 0);
}

static char *ports(const char *json)
{
    AUTOPTR(json_value) struct json_value *v = NULL;

    assert_int_equal(json_value_parse(json, strlen(json), &v, NULL), 0);
    return ports_text(v);
}

#define PORT(ip, in, out, type)                                                                    \
    "{\"IP\":\"" ip "\",\"PrivatePort\":" in ",\"PublicPort\":" out ",\"Type\":\"" type "\"}"

static void test_ports(void **state)
{
    AUTOFREE char *none = ports("[]");
    AUTOFREE char *one = ports("[" PORT("0.0.0.0", "80", "8080", "tcp") "]");
    AUTOFREE char *both = ports(
        "[" PORT("::", "80", "8080", "tcp") "," PORT("0.0.0.0", "80", "8080", "tcp") "]");
    AUTOFREE char *range = ports("[" PORT("0.0.0.0", "82", "92", "tcp") "," PORT(
        "0.0.0.0", "80", "90", "tcp") "," PORT("0.0.0.0", "81", "91", "tcp") "]");
    AUTOFREE char *exposed = ports("[{\"PrivatePort\":80,\"Type\":\"tcp\"},{\"PrivatePort\":81,"
                                   "\"Type\":\"tcp\"},{\"PrivatePort\":53,\"Type\":\"udp\"}]");

    assert_string_equal(none, "");
    assert_string_equal(one, "0.0.0.0:8080->80/tcp");
    assert_string_equal(both, "0.0.0.0:8080->80/tcp, :::8080->80/tcp");
    assert_string_equal(range, "0.0.0.0:90-92->80-82/tcp");
    assert_string_equal(exposed, "53/udp, 80-81/tcp");
}

static void test_filters(void **state)
{
    AUTOPTR(strv) char **list = strv_split("name=a Label=x=y name=b", " ", true);
    AUTOPTR(strv) char **bad = strv_split("name", " ", true);
    AUTOFREE char *json = NULL, *none = NULL;
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(filters_json(list, &json, &e), 0);
    assert_string_equal(json, "{\"name\":[\"a\",\"b\"],\"label\":[\"x=y\"]}");
    assert_int_equal(filters_json(NULL, &none, &e), 0);
    assert_null(none);
    assert_true(filters_json(bad, &none, &e) < 0);
}

static void test_image_names(void **state)
{
    static const char *const cases[][3] = {
        {"busybox", "busybox", NULL},
        {"busybox:1.35", "busybox", "1.35"},
        {"localhost:5000/a/b", "localhost:5000/a/b", NULL},
        {"localhost:5000/a/b:tag", "localhost:5000/a/b", "tag"},
        {"a@sha256:00", "a", "sha256:00"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *repository = NULL, *tag = NULL;

        image_split(cases[i][0], &repository, &tag);
        assert_string_equal(repository, cases[i][1]);
        if (cases[i][2])
            assert_string_equal(tag, cases[i][2]);
        else
            assert_null(tag);
    }
}

static void test_url(void **state)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/containers/", "a b/../c", "/json");
    url_add_bool(&u, "no", false);
    url_add_bool(&u, "yes", true);
    url_add(&u, "q", "a&b=c d");
    url_add(&u, "none", NULL);
    url_add_int(&u, "n", -3);
    assert_string_equal(u.b.data, "/containers/a%20b%2F..%2Fc/json?yes=1&q=a%26b%3Dc%20d&n=-3");
}

static void check_elements(const char *text, const char *joined, int last)
{
    const char *p = text + 1, *end = text + strlen(text), *element;
    AUTO(buf) struct buf got = BUF_INIT(4096);
    size_t len;
    int r;

    while ((r = json_list_next(&p, end, &element, &len)) > 0) {
        (void)buf_append(&got, element, len);
        (void)buf_putc(&got, '|');
    }
    assert_int_equal(r, last);
    assert_string_equal(buf_str(&got), joined);
}

static void test_elements(void **state)
{
    check_elements("[]", "", 0);
    check_elements("[1, {\"a\":[1,2]} ,\"x,]\\\"]\"]", "1|{\"a\":[1,2]} |\"x,]\\\"]\"|", 0);
    check_elements("[[[]],{}]\n", "[[]]|{}|", 0);
    check_elements("[1", "", -EINVAL);
    check_elements("[{\"a\":\"", "", -EINVAL);
    check_elements("[\"a\\", "", -EINVAL);
    check_elements("[", "", -EINVAL);
}

static void test_start_status(void **state)
{
    static const struct {
        const char *message;
        int status;
    } cases[] = {
        {"exec: \"x\": executable file not found in $PATH", 127},
        {"runc create failed: exec: \"/x\": stat /x: no such file or directory: unknown", 127},
        {"exec: \"/x\": No such file or directory", 127},
        {"exec: \"/x\": permission denied", 126},
        {"exec: \"/x\": is a directory", 126},
        {"exec: \"/x\": Exec format error", 126},
        {"adding custom device \"/dev/x\": No such file or directory", 125},
        {"port is already allocated", 125},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO(error) struct error e = ERROR_INIT;

        (void)error_set(&e, ERR_INVALID, "%s", cases[i].message);
        assert_int_equal(cli_start_status(&e, 125), cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),    cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_table),        cmocka_unit_test(test_formatter),
        cmocka_unit_test(test_ports),        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_image_names),  cmocka_unit_test(test_elements),
        cmocka_unit_test(test_start_status), cmocka_unit_test(test_url),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
