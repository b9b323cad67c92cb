/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of numbers, words of schedulers and the like, resctrl on a folder that stands for it. */
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
#include "base/fs.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

static void test_lists(void **state)
{
    static const char *const bad[] = {"x", "1-", "-1", "3-1", "1,,2", "1,", "4096", "1 2", ","};
    struct number_set s;

    assert_int_equal(attributes_parse_list("0-3,7", &s), 0);
    assert_int_equal(s.words[0], 0x8f);
    assert_int_equal(s.highest, 7);
    assert_true(s.any);
    assert_int_equal(attributes_parse_list("64\n", &s), 0);
    assert_int_equal(s.words[0], 0);
    assert_int_equal(s.words[1], 1);
    assert_int_equal(attributes_parse_list("", &s), 0);
    assert_false(s.any);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (attributes_parse_list(bad[i], &s) == 0)
            fail_msg("accepted: \"%s\"", bad[i]);
}

static void test_check(void **state)
{
    static const struct {
        struct oci_scheduler s;
        const char *want; /* NULL: fine */
    } cases[] = {
        {{.policy = (char *)(uintptr_t) "SCHED_OTHER", .nice = -20}, NULL},
        {{.policy = (char *)(uintptr_t) "SCHED_FIFO", .priority = 99}, NULL},
        {{.policy = (char *)(uintptr_t) "SCHED_DEADLINE", .runtime = 1, .period = 5}, NULL},
        {{.policy = (char *)(uintptr_t) "SCHED_FIFO", .priority = 100}, "priority"},
        {{.policy = (char *)(uintptr_t) "SCHED_BATCH", .priority = 1}, "priority"},
        {{.policy = (char *)(uintptr_t) "SCHED_OTHER", .nice = 20}, "nice"},
        {{.policy = (char *)(uintptr_t) "SCHED_RR", .deadline = 1}, "SCHED_DEADLINE"},
        {{.policy = (char *)(uintptr_t) "fifo"}, "\"fifo\" is not known"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        struct oci_scheduler s = cases[i].s;
        struct oci_process p = {.scheduler = &s};
        int r = attributes_check(&p, NULL, &e);

        assert_int_equal(r < 0, cases[i].want != NULL);
        if (r < 0)
            assert_non_null(strstr(error_message(&e), cases[i].want));
    }
}

/* --- resctrl: files that the kernel would make are made beforehand --------------------------- */

static char root[] = "/tmp/pouch-test-rdt.XXXXXX";

static void put(const char *name, const char *text)
{
    AUTOFREE char *path = xasprintf("%s/%s", root, name);

    assert_int_equal(fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, FS_NO_SYNC), 0);
}

static void expect(const char *name, const char *text)
{
    AUTOFREE char *path = xasprintf("%s/%s", root, name);
    AUTOFREE char *got = NULL;

    assert_int_equal(fs_read_file(AT_FDCWD, path, 4096, &got, NULL), 0);
    assert_string_equal(got, text);
}

static int apply(struct oci_intel_rdt rdt, struct error *e)
{
    return rdt_apply_at(root, &rdt, "id", 42, e);
}

static void test_resctrl(void **state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    AUTOFREE char *dir = xasprintf("%s/gold", root);
    AUTOFREE char *own = xasprintf("%s/id", root);
    char *lines[] = {(char *)(uintptr_t) "L3:0=f;1=f", NULL};
    char *others[] = {(char *)(uintptr_t) "L3:0=f;1=7", NULL};
    char gold[] = "gold", slash[] = "/", mb[] = "MB: 0=50;1= 50", l3[] = "L3:0=1";
    struct stat st;

    put("tasks", "");
    /* A class that is not there cannot be made without a schema. */
    assert_true(apply((struct oci_intel_rdt){.clos_id = gold}, &e) < 0);
    assert_non_null(strstr(error_message(&e), "there is no class \"gold\""));
    error_done(&e);
    assert_int_equal(mkdir(dir, 0755), 0);
    put("gold/tasks", "");
    put("gold/schemata", "    L3:0=00f;1=f\n    MB:0= 50;1= 50\n");
    assert_int_equal(apply((struct oci_intel_rdt){.clos_id = gold}, &e), 0);
    expect("gold/tasks", "42");
    /* One that is there has to be as asked for; spaces and leading zeros are the kernel's. */
    put("gold/tasks", "");
    assert_int_equal(
        apply((struct oci_intel_rdt){.clos_id = gold, .schemata = lines, .mem_bw_schema = mb}, &e),
        0);
    expect("gold/tasks", "42");
    expect("gold/schemata", "    L3:0=00f;1=f\n    MB:0= 50;1= 50\n"); /* not written to */
    assert_int_equal(apply((struct oci_intel_rdt){.clos_id = gold, .schemata = others}, &e) < 0, 1);
    assert_non_null(strstr(error_message(&e), "does not have \"L3:0=f;1=7\""));
    error_done(&e);
    /* "/" is the default class. */
    assert_int_equal(apply((struct oci_intel_rdt){.clos_id = slash}, &e), 0);
    expect("tasks", "42");
    /* What was made is taken away when it does not work out (no kernel behind this folder). */
    assert_true(apply((struct oci_intel_rdt){.l3_cache_schema = l3}, &e) < 0);
    assert_int_equal(stat(own, &st), -1);
    error_done(&e);
    /* Only a class of the container's own name is removed at its end. */
    assert_int_equal(mkdir(own, 0755), 0);
    rdt_remove_at(root, &(struct oci_intel_rdt){.clos_id = gold}, "id");
    assert_int_equal(stat(own, &st), 0);
    rdt_remove_at(root, &(struct oci_intel_rdt){.l3_cache_schema = l3}, "id");
    assert_int_equal(stat(own, &st), -1);
}

static int make_root(void **state)
{
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    return fs_remove_tree(AT_FDCWD, root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_check),
        cmocka_unit_test_setup_teardown(test_resctrl, make_root, remove_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
