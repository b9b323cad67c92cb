/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/strv.h"
#include "sys/caps.h"

#define WORDS(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

static void test_names(void **state)
{
    static const struct {
        const char *name;
        int bit; /* -1: all, -2: unknown */
    } cases[] = {{"CAP_CHOWN", 0},
                 {"chown", 0},
                 {"NET_ADMIN", 12},
                 {"cap_sys_admin", 21},
                 {"CAP_CHECKPOINT_RESTORE", 40},
                 {"ALL", -1},
                 {"all", -1},
                 {"CAP_ALL", -1},
                 {"CAP_FOO", -2},
                 {"", -2},
                 {"CAP_", -2}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t set = 0;
        int r = caps_parse(cases[i].name, &set);

        if (cases[i].bit == -2) {
            assert_int_equal(r, -EINVAL);
            continue;
        }
        assert_int_equal(r, 0);
        assert_true(set == (cases[i].bit == -1 ? CAPS_ALL : UINT64_C(1) << cases[i].bit));
    }
    assert_string_equal(caps_name(21), "CAP_SYS_ADMIN");
    assert_null(caps_name(63));
}

static void test_lists(void **state)
{
    char *const *names = WORDS("CAP_CHOWN", "CAP_NOT_YET", "CAP_KILL");
    CLEANUP(error_done) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **unknown = NULL;
    uint64_t set = 0;

    assert_int_equal(caps_from_names(names, &set, &unknown, NULL), 0);
    assert_true(set == ((1 << 0) | (1 << 5)));
    assert_int_equal(strv_len(unknown), 1);
    assert_string_equal(unknown[0], "CAP_NOT_YET");
    assert_true(caps_from_names(names, &set, NULL, &e) < 0);
    assert_string_equal(error_message(&e), "unknown capability \"CAP_NOT_YET\"");
    assert_int_equal(caps_from_names(NULL, &set, NULL, NULL), 0);
    assert_true(set == 0);
}

/* In a child: what is dropped stays dropped. */
static int drop_in_child(void)
{
    struct caps_sets s = {0};

    if (caps_drop_bounding(1 << 5) < 0 || caps_set(1 << 5, 1 << 5, 0) < 0 || caps_get(&s) < 0)
        return 1;
    return s.bounding == 1 << 5 && s.effective == 1 << 5 && s.ambient == 0 &&
                   caps_in_bounding(CAPS_ALL) == 1 << 5
               ? 0
               : 2;
}

static void test_dropping(void **state)
{
    struct caps_sets s = {0};
    int status = 0;
    pid_t pid;

    assert_int_equal(caps_get(&s), 0);
    if (!(s.effective & UINT64_C(1) << 8)) /* CAP_SETPCAP */
        skip();
    pid = fork();
    if (pid == 0)
        _exit(drop_in_child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_dropping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
