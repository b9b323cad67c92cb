/* SPDX-License-Identifier: Apache-2.0 */
/* fs_remove_tree(): trees that are deep, wide, locked against removal, or not all ours. */
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)snprintf(dir, sizeof dir, "/tmp/pouch-test-fs-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    return fs_remove_tree(AT_FDCWD, dir);
}

static void assert_gone(const char *path)
{
    assert_int_equal(access(path, F_OK), -1);
}

static void touch(int fd, const char *name)
{
    AUTOFD int file = openat(fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(file >= 0);
}

/* Makes `depth` folders, each in the one before, with a file in each hundredth. */
static void nest(const char *name, int depth)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    for (int i = 0; i < depth; i++) {
        int sub;

        assert_int_equal(mkdirat(fd, name, 0700), 0);
        sub = openat(fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(sub >= 0);
        if (i % 100 == 0)
            touch(sub, "file");
        (void)close(fd);
        fd = sub;
    }
    (void)close(fd);
}

static void test_deep(void **state)
{
    struct rlimit old;
    struct rlimit few;

    nest("d", 10000);
    /* Names that removal itself would use must not confuse it. */
    nest(".removing-0", 100);
    nest(".removing-1", 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){64, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_gone(dir);
}

static void test_wide_and_comb(void **state)
{
    AUTOFD int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char name[32];

    for (int i = 0; i < 3000; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        touch(fd, name);
    }
    /* Many branches below the depth at which folders are lifted. */
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        nest(name, 40);
    }
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    assert_gone(dir);
}

static void test_symlinks_stay_out(void **state)
{
    char victim[80];
    char kept[96];
    char link[80];

    (void)snprintf(victim, sizeof victim, "%s-victim", dir);
    (void)snprintf(kept, sizeof kept, "%s/kept", victim);
    (void)snprintf(link, sizeof link, "%s/link", dir);
    assert_int_equal(mkdir(victim, 0700), 0);
    touch(AT_FDCWD, kept);
    assert_int_equal(symlink(victim, link), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    assert_int_equal(access(kept, F_OK), 0);
    /* A symlink as the path itself is removed, not followed. */
    assert_int_equal(symlink(victim, dir), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    assert_gone(dir);
    assert_int_equal(access(kept, F_OK), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, victim), 0);
}

static int set_flags(const char *path, int flags)
{
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0 ? 0 : -1;
}

static void test_immutable(void **state)
{
    char sub[80];
    char file[96];
    char deep[96];

    (void)snprintf(sub, sizeof sub, "%s/sub", dir);
    (void)snprintf(file, sizeof file, "%s/file", sub);
    (void)snprintf(deep, sizeof deep, "%s/deep", sub);
    assert_int_equal(mkdir(sub, 0700), 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    touch(AT_FDCWD, file);
    if (geteuid() != 0 || set_flags(file, FS_IMMUTABLE_FL) < 0)
        skip(); /* no right, or a file system without these flags */
    assert_int_equal(set_flags(deep, FS_APPEND_FL), 0);
    assert_int_equal(set_flags(sub, FS_IMMUTABLE_FL), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    assert_gone(dir);
}

static void test_mount_inside(void **state)
{
    char sub[80];

    (void)snprintf(sub, sizeof sub, "%s/mnt", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    if (geteuid() != 0 || mount("tmpfs", sub, "tmpfs", 0, "size=1m") < 0)
        skip();
    nest("mnt/x", 1);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), -EXDEV);
    assert_int_equal(umount(sub), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    assert_gone(dir);
}

/* A folder of the same file system that is mounted somewhere in the tree, or on it, keeps what it has. */
static void test_bind_inside(void **state)
{
    AUTOFREE char *precious = xasprintf("%s/precious", dir), *tree = xasprintf("%s/tree", dir),
                  *sub = xasprintf("%s/tree/sub", dir), *data = xasprintf("%s/precious/data", dir);

    assert_int_equal(mkdir(precious, 0700), 0);
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(mkdir(tree, 0700), 0);
    assert_int_equal(mkdir(sub, 0700), 0);
    if (geteuid() != 0 || mount(precious, sub, NULL, MS_BIND, NULL) < 0)
        skip();
    assert_int_equal(fs_remove_tree(AT_FDCWD, tree), -EXDEV);
    assert_int_equal(fs_remove_tree_little(AT_FDCWD, tree, 100, 1 << 20), -EXDEV);
    assert_int_equal(fs_remove_tree(AT_FDCWD, sub), -EXDEV);
    assert_int_equal(access(data, F_OK), 0);
    assert_int_equal(umount(sub), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, tree), 0);
    assert_int_equal(access(data, F_OK), 0);
}

static void test_little(void **state)
{
    static const char data[8192];
    AUTOFD int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTOFREE char *large = xasprintf("%s/n/large", dir);
    AUTOFREE char *twice = xasprintf("%s/twice", dir);
    char name[32];

    for (int i = 0; i < 50; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        touch(fd, name);
    }
    nest("n", 30); /* below the depth at which folders are lifted */
    assert_int_equal(fs_remove_tree_little(AT_FDCWD, dir, 10, 1 << 20), -EFBIG);
    assert_int_equal(access(dir, F_OK), 0);
    assert_int_equal(fs_remove_tree_little(AT_FDCWD, dir, 200, 0), 0);
    assert_gone(dir);
    assert_int_equal(fs_remove_tree_little(AT_FDCWD, dir, 0, 0), 0); /* there is none */
    /* By what is in files; one that another name keeps frees nothing. */
    assert_int_equal(mkdir(dir, 0700), 0);
    (void)close(take_fd(fd));
    fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    nest("n", 1);
    assert_int_equal(fs_write_atomic(AT_FDCWD, large, data, sizeof data, 0600, FS_NO_SYNC), 0);
    assert_int_equal(fs_remove_tree_little(AT_FDCWD, dir, 200, 4096), -EFBIG);
    assert_int_equal(access(large, F_OK), 0);
    assert_int_equal(link(large, twice), 0);
    assert_int_equal(fs_remove_tree_little(fd, "n", 200, 4096), 0);
    assert_int_equal(access(twice, F_OK), 0);
    assert_int_equal(fs_remove_tree_little(AT_FDCWD, dir, 200, 1 << 20), 0);
    assert_gone(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deep, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_wide_and_comb, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_symlinks_stay_out, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_immutable, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_mount_inside, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_bind_inside, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_little, make_dir, remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
