/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, buffers, maps, times, errors, files. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

static void test_strv(void **state)
{
    AUTOPTR(strv) char **v = strv_split("a,b,,c", ",", true);
    AUTOPTR(strv) char **copy = NULL;
    AUTOFREE char *joined = NULL;

    assert_int_equal(strv_len(v), 3);
    copy = strv_copy(v);
    for (int i = 0; i < 20; i++)
        strv_pushf(&copy, "K%d=%d", i, i);
    env_set(&copy, "K3=x");
    assert_string_equal(env_get(copy, "K3"), "x");
    assert_null(env_get(copy, "K"));
    strv_remove(v, "b");
    joined = strv_join(v, "-");
    assert_string_equal(joined, "a-c");
}

static void test_buf(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(10);

    assert_int_equal(buf_puts(&b, "12345"), 0);
    assert_int_equal(buf_puts(&b, "123456"), -EFBIG);
    assert_int_equal(buf_printf(&b, "%d", 12345), 0);
    assert_int_equal(buf_putc(&b, 'x'), -EFBIG);
    assert_string_equal(buf_str(&b), "1234512345");
    buf_consume(&b, 5);
    assert_string_equal(buf_str(&b), "12345");
}

static void test_map(void **state)
{
    struct map *m = map_new();
    char key[16];
    size_t pos = 0;
    size_t seen = 0;

    for (intptr_t i = 1; i <= 1000; i++) {
        (void)snprintf(key, sizeof(key), "k%d", (int)i);
        assert_null(map_set(m, key, (void *)i));
    }
    for (intptr_t i = 1; i <= 1000; i += 2) {
        (void)snprintf(key, sizeof(key), "k%d", (int)i);
        assert_ptr_equal(map_remove(m, key), (void *)i);
    }
    for (intptr_t i = 1; i <= 1000; i++) {
        (void)snprintf(key, sizeof(key), "k%d", (int)i);
        assert_ptr_equal(map_get(m, key), i % 2 ? NULL : (void *)i);
    }
    while (map_next(m, &pos, NULL, NULL))
        seen++;
    assert_int_equal(seen, 500);
    map_free(m, NULL);
}

static void test_numbers(void **state)
{
    int64_t v = 0;

    assert_int_equal(parse_size("64m", &v), 0);
    assert_int_equal(v, 64 << 20);
    assert_int_equal(parse_size("1.5GiB", &v), 0);
    assert_int_equal(v, 3LL << 29);
    assert_int_equal(parse_size("10b", &v), 0);
    assert_int_equal(v, 10);
    assert_true(parse_size("x", &v) < 0);
    assert_true(parse_size("1x", &v) < 0);
    assert_true(parse_size("1..5m", &v) < 0);
    assert_true(parse_i64("12a", &v) < 0);
    assert_true(parse_i64(" 1", &v) < 0);
    assert_int_equal(parse_i64("-12", &v), 0);
    assert_true(parse_bool_query("1", false));
    assert_false(parse_bool_query("False", true));
    assert_true(parse_bool_query(NULL, true));
}

static void test_time(void **state)
{
    char text[TIME_RFC3339_MAX];
    int64_t t = 0;

    assert_int_equal(time_parse_rfc3339("2026-01-02T03:04:05.5+01:00", &t), 0);
    time_format_rfc3339(t, text);
    assert_string_equal(text, "2026-01-02T02:04:05.500000000Z");
    time_format_rfc3339(0, text);
    assert_string_equal(text, TIME_ZERO_RFC3339);
    assert_true(time_parse_rfc3339("2026-13-02T03:04:05Z", &t) < 0);
    assert_true(time_parse_rfc3339("2026-01-02", &t) < 0);
    assert_true(time_parse_rfc3339("9999-12-31T23:59:59Z", &t) < 0);
    assert_int_equal(time_parse_when("1700000000.25", 0, &t), 0);
    assert_true(t == 1700000000250000000LL);
    assert_int_equal(time_parse_when("10m", 3600 * NSEC_PER_SEC, &t), 0);
    assert_true(t == 3000 * NSEC_PER_SEC);
    assert_int_equal(time_parse_when("2026-01-02", 0, &t), 0);
    assert_int_equal(duration_parse("1h30m", &t), 0);
    assert_true(t == 5400 * NSEC_PER_SEC);
    assert_true(duration_parse("1x", &t) < 0);
    assert_true(duration_parse("", &t) < 0);
}

static void test_error(void **state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;

    assert_int_equal(error_set(&e, ERR_NOT_FOUND, "no such container: %s", "x"), -ENOENT);
    error_add(&e, "start");
    assert_string_equal(error_message(&e), "start: no such container: x");
    assert_int_equal(error_http_status(e.code), 404);
    assert_int_equal(error_exit_code(ERR_COMMAND_NOT_FOUND), 127);
    assert_int_equal(error_set_errno(NULL, ENOSPC, "write"), -ENOSPC);
}

static void test_base64(void **state)
{
    static const struct {
        const char *plain, *text;
    } table[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                 {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"s?>", "cz8+"}};
    AUTO(buf) struct buf b = BUF_INIT(64);
    static const char *const bad[] = {"Zg=x", "Z*", "Zg==Zg=="};

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        buf_clear(&b);
        assert_int_equal(base64_encode(table[i].plain, strlen(table[i].plain), BASE64_STANDARD, &b),
                         0);
        assert_string_equal(buf_str(&b), table[i].text);
        buf_clear(&b);
        assert_int_equal(base64_decode(table[i].text, strlen(table[i].text), &b), 0);
        assert_string_equal(buf_str(&b), table[i].plain);
    }
    buf_clear(&b);
    assert_int_equal(base64_encode("s?>", 3, BASE64_URL, &b), 0);
    assert_string_equal(buf_str(&b), "cz8-");
    buf_clear(&b);
    assert_int_equal(base64_decode(" Zm\n9v\n", 7, &b), 0);
    assert_string_equal(buf_str(&b), "foo");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &b), -EINVAL);
    AUTO(buf) struct buf small = BUF_INIT(3);
    assert_int_equal(base64_encode("foo", 3, BASE64_URL, &small), -EFBIG);
    assert_int_equal(base64_decode("Zm9vYg", 6, &small), -EFBIG);
}

static void test_files(void **state)
{
    char dir[] = "/tmp/pouch-unit-XXXXXX";
    AUTOFREE char *deep = NULL;
    AUTOFREE char *file = NULL;
    AUTOFREE char *text = NULL;
    size_t len = 0;

    assert_non_null(mkdtemp(dir));
    deep = xasprintf("%s/a/b/c", dir);
    assert_int_equal(fs_mkdir_p(deep, 0755), 0);
    assert_int_equal(fs_mkdir_p(deep, 0755), 0);
    file = xasprintf("%s/f", deep);
    assert_int_equal(fs_write_atomic(AT_FDCWD, file, "hello", 5, 0600, FS_SYNC), 0);
    assert_int_equal(fs_read_file(AT_FDCWD, file, 4, &text, &len), -EFBIG);
    assert_int_equal(fs_read_file(AT_FDCWD, file, 5, &text, &len), 0);
    assert_string_equal(text, "hello");
    assert_int_equal(symlink("/etc", "x") < 0 ? 0 : unlink("x"), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    assert_int_equal(access(dir, F_OK), -1);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strv),  cmocka_unit_test(test_buf),     cmocka_unit_test(test_map),
        cmocka_unit_test(test_time),  cmocka_unit_test(test_numbers), cmocka_unit_test(test_error),
        cmocka_unit_test(test_files), cmocka_unit_test(test_base64),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
