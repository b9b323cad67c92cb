/* SPDX-License-Identifier: Apache-2.0 */
/* The file that tells pouch-init what the application is. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "init/init.h"

static int parse(const char *data, size_t len, struct app_config *ret, char **keep)
{
    *keep = xmalloc(len);
    memcpy(*keep, data, len);
    return app_config_parse(*keep, len, ret);
}

#define PARSE(literal, ret, keep) parse(literal, sizeof(literal), ret, keep)

static void everything(void **state)
{
    struct app_config c;
    char *text;

    assert_int_equal(PARSE("a/bin/prog\0a\0ait's \"q\"\0d/srv/my shop\0uapp:users\0gwheel\0m077\0t"
                           "\0f\0xapp\0h37\0k10\0Zof a newer engine",
                           &c, &text),
                     0);
    assert_string_equal(c.args[0], "/bin/prog");
    assert_string_equal(c.args[1], "");
    assert_string_equal(c.args[2], "it's \"q\"");
    assert_null(c.args[3]);
    assert_string_equal(c.cwd, "/srv/my shop");
    assert_string_equal(c.user, "app:users");
    assert_string_equal(c.groups[0], "wheel");
    assert_int_equal(c.umask, 077);
    assert_true(c.tty && c.fifos && c.ends_container);
    assert_int_equal(c.halt_signal, 37);
    assert_int_equal(c.stop_signal, 10);
    c.text = text;
    app_config_done(&c);
}

static void defaults(void **state)
{
    struct app_config c;
    char *text;

    assert_int_equal(PARSE("atrue\0xinit", &c, &text), 0);
    assert_string_equal(c.cwd, "/");
    assert_string_equal(c.user, "0");
    assert_int_equal(c.umask, 022);
    assert_false(c.tty || c.fifos || c.ends_container);
    assert_int_equal(c.halt_signal, SIGTERM);
    assert_int_equal(c.stop_signal, SIGTERM);
    c.text = text;
    app_config_done(&c);
}

static void refused(void **state)
{
    static const struct {
        const char *data;
        size_t len;
    } bad[] = {
        {"", 0},          {"", 1},
        {"atrue", 5},     {"a\0", 3},
        {"d/\0", 4},      {"atrue\0dsrv", 11},
        {"atrue\0mx", 9}, {"atrue\0m08", 10},
        {"atrue\0h0", 9}, {"atrue\0h65", 10},
        {"atrue\0k", 8},  {"atrue\0k9x", 10},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct app_config c;
        char *text;

        assert_int_equal(parse(bad[i].data, bad[i].len, &c, &text), -EINVAL);
        free(text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything),
        cmocka_unit_test(defaults),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
