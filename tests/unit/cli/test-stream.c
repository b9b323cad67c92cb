/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of output and detach keys, fed in pieces of every size. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/stream.h"

struct sink {
    struct buf out, err;
};

static int collect(int fd, const char *data, size_t len, void *user)
{
    struct sink *s = user;

    return buf_append(fd == 1 ? &s->out : &s->err, data, len);
}

static const char frames[] =
    "\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\3err\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1!"
    "\3\0\0\0\0\0\0\3sys";

static void test_frames(void **state)
{
    for (size_t step = 1; step < sizeof frames; step++) {
        struct sink s = {BUF_INIT(4096), BUF_INIT(4096)};
        struct demux d = {0};

        for (size_t at = 0; at < sizeof frames - 1; at += step) {
            size_t n = sizeof frames - 1 - at < step ? sizeof frames - 1 - at : step;

            assert_int_equal(demux_feed(&d, frames + at, n, collect, &s), 0);
        }
        assert_string_equal(s.out.data, "hello!");
        assert_string_equal(s.err.data, "errsys");
        buf_done(&s.out);
        buf_done(&s.err);
    }
}

static void test_bad_frames(void **state)
{
    static const char *const cases[] = {"\4\0\0\0\0\0\0\1x", "\1\1\0\0\0\0\0\1x",
                                        "\1\0\0\1\0\0\0\1x", "hello, I am raw"};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sink s = {BUF_INIT(4096), BUF_INIT(4096)};
        struct demux d = {0};

        assert_int_equal(demux_feed(&d, cases[i], 9, collect, &s), -EPROTO);
        buf_done(&s.out);
        buf_done(&s.err);
    }
}

static void test_keys(void **state)
{
    unsigned char keys[16];

    assert_int_equal(detach_keys_parse("ctrl-p,ctrl-q", keys), 2);
    assert_int_equal(keys[0], 16);
    assert_int_equal(keys[1], 17);
    assert_int_equal(detach_keys_parse("a", keys), 1);
    assert_int_equal(keys[0], 'a');
    assert_int_equal(detach_keys_parse("ctrl-@,ctrl-[,ctrl-_", keys), 3);
    assert_int_equal(keys[0], 0);
    assert_int_equal(keys[1], 27);
    assert_int_equal(keys[2], 31);
    assert_true(detach_keys_parse("ctrl-P", keys) < 0);
    assert_true(detach_keys_parse("ctrl-", keys) < 0);
    assert_true(detach_keys_parse("ab", keys) < 0);
    assert_true(detach_keys_parse("", keys) < 0);
    assert_true(detach_keys_parse("a,,b", keys) < 0);
    assert_true(detach_keys_parse("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", keys) < 0);
}

static void check_scan(const char *input, const char *passed, bool found)
{
    for (size_t step = 1; step <= strlen(input); step++) {
        AUTO(buf) struct buf out = BUF_INIT(4096);
        struct detach_scan d = {.keys = "aab", .len = 3};
        bool detached = false;

        for (size_t at = 0; at < strlen(input) && !detached; at += step) {
            size_t n = strlen(input) - at < step ? strlen(input) - at : step;

            detached = detach_scan(&d, input + at, n, &out);
        }
        assert_int_equal(detached, found);
        assert_string_equal(buf_str(&out), passed);
    }
}

static void test_scan(void **state)
{
    check_scan("hello", "hello", false);
    check_scan("xaab", "x", true);
    check_scan("xaxaab", "xax", true);
    check_scan("axb", "axb", false);
    check_scan("xaa", "x", false); /* held back until it is clear */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_scan),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
