/* SPDX-License-Identifier: Apache-2.0 */
/* Mount option words. */
#include <linux/mount.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sys/mount-api.h"

/* of <sys/mount.h>, which cannot be had together with <linux/mount.h> */
#define SLAVE   (1 << 19)
#define PRIVATE (1 << 18)

static struct mount_options parse(char *const *words)
{
    struct mount_options o = {0};

    mount_options_parse(words, &o);
    return o;
}

#define PARSE(...) parse((char *const *)(const char *const[]){__VA_ARGS__, NULL})

static void test_attributes(void **state)
{
    CLEANUP(mount_options_done)
    struct mount_options o = PARSE("nosuid", "noexec", "nodev", "ro", "size=64m", "mode=755");

    assert_true(o.attr_set ==
                (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY));
    assert_true(o.attr_clear == 0);
    assert_int_equal(strv_len(o.data), 2);
    assert_string_equal(o.data[0], "size=64m");
    assert_false(o.bind);
}

/* The later word wins. */
static void test_order(void **state)
{
    CLEANUP(mount_options_done) struct mount_options a = PARSE("ro", "rw");
    CLEANUP(mount_options_done) struct mount_options b = PARSE("rw", "ro");
    CLEANUP(mount_options_done) struct mount_options c = PARSE("noatime", "relatime");

    assert_true(a.attr_set == 0 && a.attr_clear == MOUNT_ATTR_RDONLY);
    assert_true(b.attr_set == MOUNT_ATTR_RDONLY && b.attr_clear == 0);
    assert_true((c.attr_set & MOUNT_ATTR__ATIME) == MOUNT_ATTR_RELATIME);
    assert_true(c.attr_clear & MOUNT_ATTR__ATIME);
}

static void test_bind_and_propagation(void **state)
{
    CLEANUP(mount_options_done) struct mount_options a = PARSE("rbind", "rslave", "rro");
    CLEANUP(mount_options_done) struct mount_options b = PARSE("bind", "private", "defaults");

    assert_true(a.bind && a.bind_rec && a.propagation == SLAVE && a.propagation_rec);
    assert_true(a.rec_attr_set == MOUNT_ATTR_RDONLY && a.attr_set == 0);
    assert_true(b.bind && !b.bind_rec && b.propagation == PRIVATE && !b.propagation_rec);
    assert_null(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_bind_and_propagation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
