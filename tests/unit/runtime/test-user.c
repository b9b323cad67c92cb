/* SPDX-License-Identifier: Apache-2.0 */
/* Users and groups are those of the image. */
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

#include "base/fs.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

static const char passwd[] = "# comment\n"
                             "root:x:0:0:root:/root:/bin/sh\n"
                             "\n"
                             "broken\n"
                             "bob:x:1000:1001:Bob:/home/bob:/bin/sh\n"
                             "1000:x:55:56::/home/number:/bin/sh\n"
                             "eve:x:x:1:bad uid:/:/bin/sh\n"
                             "nohome:x:7:7";
static const char group[] = "root:x:0:\n"
                            "audio:x:29:alice,bob\n"
                            "video:x:44:bobby,xbob\n"
                            "wheel:x:10:bob,\n"
                            "bob:x:1001:";

struct image {
    char dir[64];
    int root;
};

static int set_up(void **state)
{
    struct image *i = calloc(1, sizeof(*i));

    (void)snprintf(i->dir, sizeof(i->dir), "/tmp/pouch-test-user.XXXXXX");
    assert_non_null(mkdtemp(i->dir));
    i->root = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(i->root, "etc", 0755), 0);
    assert_int_equal(fs_write_atomic(i->root, "etc/passwd", passwd, strlen(passwd), 0644,
                                     FS_NO_SYNC),
                     0);
    assert_int_equal(fs_write_atomic(i->root, "etc/group", group, strlen(group), 0644, FS_NO_SYNC),
                     0);
    *state = i;
    return 0;
}

static int tear_down(void **state)
{
    struct image *i = *state;

    close(i->root);
    assert_int_equal(fs_remove_tree(AT_FDCWD, i->dir), 0);
    free(i);
    return 0;
}

/* "uid:gid home group,group", or the error. */
static void look_up(int root, const char *name, const char *groups, char *out, size_t size)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    CLEANUP(process_user_done) struct process_user u = {0};
    struct oci_user want = {.username = (char *)(uintptr_t)name};
    AUTOPTR(strv) char **names = groups ? strv_split(groups, ",", true) : NULL;
    int n;

    want.group_names = names;
    if (user_lookup(root, &want, &u, &e) < 0) {
        (void)snprintf(out, size, "%s", error_message(&e));
        return;
    }
    n = snprintf(out, size, "%u:%u %s ", u.uid, u.gid, u.home ? u.home : "-");
    for (size_t i = 0; i < u.ngroups; i++)
        n += snprintf(out + n, size - (size_t)n, "%s%u", i ? "," : "", u.groups[i]);
}

static void test_lookup(void **state)
{
    static const struct {
        const char *name, *groups, *want;
    } cases[] = {
        {"root", NULL, "0:0 /root 0"},
        {"bob", NULL, "1000:1001 /home/bob 1001,29,10"},
        {"bob:audio", NULL, "1000:29 /home/bob 29"},
        {"bob:77", NULL, "1000:77 /home/bob 77"},
        {"1000", NULL, "55:56 /home/number 56"}, /* a user of that name */
        {"0", NULL, "0:0 /root 0"},
        {"7", NULL, "7:7 / 7"},
        {"4711", NULL, "4711:0 - 0"},
        {"4711:4712", NULL, "4711:4712 - 4712"},
        {":audio", NULL, "0:29 /root 29"},
        {"bob:", NULL, "1000:1001 /home/bob 1001,29,10"},
        {"root", "audio,77", "0:0 /root 0,29,77"},
        {"bob", "29", "1000:1001 /home/bob 1001,29,10"},
        {"mallory", NULL, "unable to find user mallory: no matching entries in passwd file"},
        {"eve", NULL, "unable to find user eve: no matching entries in passwd file"},
        {"bob:none", NULL, "unable to find group none: no matching entries in group file"},
        {"root", "none", "unable to find group none: no matching entries in group file"},
        {"4294967294", NULL, "uids and gids must be in range 0-2147483647"},
        {"1:4294967294", NULL, "uids and gids must be in range 0-2147483647"},
        {"-1", NULL, "unable to find user -1: no matching entries in passwd file"},
    };
    struct image *im = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char got[256];

        look_up(im->root, cases[i].name, cases[i].groups, got, sizeof(got));
        assert_string_equal(got, cases[i].want);
    }
}

static void test_numbers(void **state)
{
    struct image *im = *state;
    CLEANUP(process_user_done) struct process_user u = {0};
    struct oci_user want = {.uid = 7, .gid = 9};

    oci_user_add_gid(&want, 3);
    oci_user_add_gid(&want, 3);
    assert_int_equal(user_lookup(im->root, &want, &u, NULL), 0);
    assert_int_equal(u.uid, 7);
    assert_int_equal(u.gid, 9);
    assert_int_equal(u.ngroups, 1);
    assert_string_equal(u.home, "/");
    free(want.additional_gids.items);
}

/* No files, or hostile ones: numbers still work, nothing outside is read. */
static void test_odd_images(void **state)
{
    struct image *im = *state;
    char got[256];

    assert_int_equal(unlinkat(im->root, "etc/passwd", 0), 0);
    assert_int_equal(symlinkat("/proc/self/root/etc/passwd", im->root, "etc/passwd"), 0);
    look_up(im->root, "root", NULL, got, sizeof(got));
    assert_string_equal(got, "unable to find user root: no matching entries in passwd file");
    assert_int_equal(unlinkat(im->root, "etc/passwd", 0), 0);
    look_up(im->root, "12:13", NULL, got, sizeof(got));
    assert_string_equal(got, "12:13 - 13");
    assert_int_equal(mkfifoat(im->root, "etc/passwd", 0644), 0);
    look_up(im->root, "12:13", NULL, got, sizeof(got));
    assert_string_equal(got, "12:13 - 13");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lookup, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_odd_images, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
