/* SPDX-License-Identifier: Apache-2.0 */
/* Paths inside a root never lead out of it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdbool.h>
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
#include "sys/path.h"

struct place {
    char dir[64];
    int top, root; /* root is top/root */
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/pouch-test-path.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->top = open(p->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(p->top, "root", 0755), 0);
    assert_int_equal(mkdirat(p->top, "outside", 0755), 0);
    p->root = openat(p->top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(p->root, "etc", 0755), 0);
    assert_int_equal(symlinkat("../outside", p->root, "up"), 0);
    assert_int_equal(symlinkat("/etc", p->root, "abs"), 0);
    assert_int_equal(symlinkat("nowhere", p->root, "dangling"), 0);
    assert_int_equal(symlinkat("loop", p->root, "loop"), 0);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    close(p->root);
    close(p->top);
    assert_int_equal(fs_remove_tree(AT_FDCWD, p->dir), 0);
    free(p);
    return 0;
}

/* Do two descriptors stand on the same file? */
static bool same(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static bool is_outside(struct place *p, const char *name)
{
    AUTOFD int out = openat(p->top, "outside", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    return fstatat(out, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_stays_inside(void **state)
{
    struct place *p = *state;
    static const char *const to_root[] = {"/", "..", "/../..", "etc/../../..", ""};
    AUTOFD int etc = openat(p->root, "etc", O_PATH | O_CLOEXEC);

    for (size_t i = 0; i < ARRAY_SIZE(to_root); i++) {
        AUTOFD int fd = path_open_in(p->root, to_root[i], O_PATH, 0, 0);

        assert_true(fd >= 0);
        assert_true(same(fd, p->root));
    }
    AUTOFD int abs = path_open_in(p->root, "abs", O_PATH, 0, 0);
    assert_true(same(abs, etc));
    assert_int_equal(path_open_in(p->root, "up", O_PATH, 0, 0), -ENOENT);
    assert_int_equal(path_open_in(p->root, "loop", O_PATH, 0, 0), -ELOOP);
}

static void test_mkdir(void **state)
{
    struct place *p = *state;
    AUTOFD int deep = path_mkdir_in(p->root, "/a/b//c/", 0700, 0, 0);
    AUTOFD int again = path_mkdir_in(p->root, "a/b/c", 0700, 0, 0);
    AUTOFD int dots = path_mkdir_in(p->root, "a/../a/./b/../b/d", 0700, 0, 0);
    AUTOFD int link = path_mkdir_in(p->root, "abs/sub/x", 0755, 0, 0);
    AUTOFD int want = openat(p->root, "etc/sub/x", O_PATH | O_CLOEXEC);
    struct stat st;

    assert_true(deep >= 0 && dots >= 0);
    assert_true(same(deep, again));
    assert_true(same(link, want));
    assert_int_equal(fstatat(p->root, "a/b/d", &st, 0), 0);
    /* A link out of the root leads to a name within it, and is no way to make anything outside. */
    assert_true(path_mkdir_in(p->root, "up/evil", 0755, 0, 0) < 0 || !is_outside(p, "evil"));
    assert_false(is_outside(p, "evil"));
    assert_true(path_mkdir_in(p->root, "dangling/x", 0755, 0, 0) < 0);
    assert_int_equal(path_mkdir_in(p->root, "loop/x", 0755, 0, 0), -ELOOP);
}

static void test_files(void **state)
{
    struct place *p = *state;
    AUTOFD int made = path_make_file_in(p->root, "/new/dir/file", 0644);
    AUTOFD int again = path_make_file_in(p->root, "new/dir/file", 0644);
    AUTOFD int dir = path_make_file_in(p->root, "etc", 0644);
    struct stat st;

    assert_true(made >= 0 && same(made, again));
    assert_int_equal(fstat(made, &st), 0);
    assert_true(S_ISREG(st.st_mode) && st.st_size == 0);
    assert_int_equal(fstat(dir, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_true(path_make_file_in(p->root, "new/dir/file/below", 0644) < 0);
    assert_true(path_make_file_in(p->root, "up/evil", 0644) < 0 || !is_outside(p, "evil"));
    assert_false(is_outside(p, "evil"));
    assert_int_equal(path_make_file_in(p->root, "x/..", 0644), -EINVAL);
}

static void test_parent(void **state)
{
    struct place *p = *state;
    const char *name = NULL;
    AUTOFD int dir = path_parent_in(p->root, "/dev/fuse", 0755, &name);
    AUTOFD int top = path_parent_in(p->root, "fuse", 0755, &name);

    assert_true(dir >= 0);
    assert_true(same(top, p->root));
    assert_string_equal(name, "fuse");
    assert_int_equal(path_parent_in(p->root, "/dev/..", 0755, &name), -EINVAL);
    assert_int_equal(path_parent_in(p->root, "/dev/", 0755, &name), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stays_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mkdir, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parent, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
