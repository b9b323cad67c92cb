/* SPDX-License-Identifier: Apache-2.0 */
/* volume_copy_up(): the image's content comes into a volume as it is. Ownership needs root. */
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
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "volume/volume.h"

static char root[64];
static struct volume_store *vs;
static struct volume_mounts mounts;
static int image = -EBADF; /* root folder of the "image" */
static bool has_project;   /* the volume's folder, by disk quota */

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    if (has_project) {
        errno = EXDEV;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

static int set_up(void **state)
{
    char *binds[] = {"data:/var/lib/db", NULL};
    const struct volume_request req = {.binds = binds};
    AUTOFREE char *path = NULL;

    (void)snprintf(root, sizeof root, "/tmp/pouch-test-copy-XXXXXX");
    if (!mkdtemp(root) || volume_store_open(root, NULL, &vs, NULL) < 0)
        return -1;
    path = xasprintf("%s/image", root);
    if (mkdir(path, 0755) < 0)
        return -1;
    image = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (volume_mounts_parse(&req, &mounts, NULL) < 0)
        return -1;
    return volume_mounts_prepare(vs, "c1", &mounts, NULL, NULL);
}

static int tear_down(void **state)
{
    base_closep(&image);
    volume_mounts_done(&mounts);
    volume_store_free(take_ptr(vs));
    return fs_remove_tree(AT_FDCWD, root);
}

static void make_dir(const char *path)
{
    AUTOFREE char *full = xasprintf("%s/image/%s", root, path);

    assert_int_equal(fs_mkdir_p(full, 0755), 0);
}

static void make_file(const char *path, const char *text)
{
    AUTOFD int fd = openat(image, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, text, strlen(text)), 0);
}

static int open_copy(void)
{
    int fd = open(mounts.items[0].source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void assert_no_rest(void)
{
    struct volume *list = NULL;
    size_t len = 0;
    AUTOFREE char *cmd = xasprintf("test -z \"$(ls -A %s/volumes | grep '^[.]')\"", root);

    assert_int_equal(volume_list(vs, &list, &len, NULL), 0);
    while (len)
        volume_done(&list[--len]);
    free(list);
    assert_int_equal(system(cmd), 0);
}

static void test_everything(void **state)
{
    const struct timespec old[2] = {{1000000000, 123456789}, {1000000000, 123456789}};
    AUTOFD int copy = -EBADF;
    AUTOFD int hole = -EBADF;
    struct stat a;
    struct stat b;
    char text[16] = "";
    char value[16] = "";

    if (geteuid() != 0)
        skip(); /* owners and devices */
    make_dir("var/lib/db/sub/deep");
    make_file("var/lib/db/sub/file", "content");
    assert_int_equal(fchownat(image, "var/lib/db/sub/file", 1000, 2000, 0), 0);
    assert_int_equal(fchmodat(image, "var/lib/db/sub/file", 06755, 0), 0);
    assert_int_equal(utimensat(image, "var/lib/db/sub/file", old, 0), 0);
    assert_int_equal(linkat(image, "var/lib/db/sub/file", image, "var/lib/db/same", 0), 0);
    assert_int_equal(symlinkat("/etc/passwd", image, "var/lib/db/link"), 0);
    assert_int_equal(mknodat(image, "var/lib/db/null", S_IFCHR | 0666, makedev(1, 3)), 0);
    assert_int_equal(mknodat(image, "var/lib/db/gone", S_IFCHR, makedev(0, 0)), 0);
    assert_int_equal(fchmodat(image, "var/lib/db/null", 0666, 0), 0);
    assert_int_equal(mkfifoat(image, "var/lib/db/fifo", 0600), 0);
    hole = openat(image, "var/lib/db/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(hole, "end", 3, 64 << 20), 3);
    assert_int_equal(ftruncate(hole, 100 << 20), 0);
    assert_int_equal(fsetxattr(hole, "user.test", "yes", 3, 0), 0);
    assert_int_equal(fchmodat(image, "var/lib/db/sub", 01770, 0), 0);
    assert_int_equal(utimensat(image, "var/lib/db/sub", old, 0), 0);
    assert_int_equal(fchownat(image, "var/lib/db", 999, 998, 0), 0);
    assert_int_equal(fchmodat(image, "var/lib/db", 02700, 0), 0);

    assert_int_equal(volume_copy_up(&mounts.items[0], image, true, NULL), 0);
    copy = open_copy();
    assert_int_equal(fstat(copy, &a), 0);
    assert_int_equal(a.st_uid, 999);
    assert_int_equal(a.st_gid, 998);
    assert_int_equal(a.st_mode & 07777, 02700);
    assert_int_equal(fstatat(copy, "sub/file", &a, 0), 0);
    assert_int_equal(fstatat(copy, "same", &b, 0), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_int_equal(a.st_mode & 07777, 06755);
    assert_int_equal(a.st_uid, 1000);
    assert_int_equal(a.st_gid, 2000);
    assert_int_equal(a.st_mtim.tv_nsec, 123456789);
    assert_int_equal(fstatat(copy, "sub", &a, 0), 0);
    assert_int_equal(a.st_mode & 07777, 01770);
    assert_int_equal(a.st_mtim.tv_sec, 1000000000);
    assert_int_equal(readlinkat(copy, "link", text, sizeof text), 11);
    assert_int_equal(fstatat(copy, "null", &a, 0), 0);
    assert_int_equal(a.st_rdev, makedev(1, 3));
    assert_int_equal(a.st_mode & 07777, 0666);
    assert_int_equal(fstatat(copy, "gone", &a, 0), -1);
    assert_int_equal(fstatat(copy, "fifo", &a, 0), 0);
    assert_true(S_ISFIFO(a.st_mode));
    assert_int_equal(fstatat(copy, "sparse", &a, 0), 0);
    assert_int_equal(a.st_size, 100 << 20);
    assert_true(a.st_blocks < 1024);
    base_closep(&hole);
    hole = openat(copy, "sparse", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(hole, text, 3, 64 << 20), 3);
    assert_memory_equal(text, "end", 3);
    assert_int_equal(fgetxattr(hole, "user.test", value, sizeof value), 3);
    assert_no_rest();
}

static void test_nothing_there(void **state)
{
    assert_int_equal(volume_copy_up(&mounts.items[0], image, true, NULL), 0);
    make_dir("var/lib");
    make_file("var/lib/db", "a file");
    assert_int_equal(volume_copy_up(&mounts.items[0], image, true, NULL), 0);
    assert_no_rest();
}

/* Symlinks of the image lead to places in the image. */
static void test_symlinked_destination(void **state)
{
    AUTOFD int copy = -EBADF;

    make_dir("var");
    make_dir("usr/db");
    make_file("usr/db/mine", "x");
    assert_int_equal(symlinkat("/usr", image, "var/lib"), 0);
    assert_int_equal(volume_copy_up(&mounts.items[0], image, true, NULL), 0);
    copy = open_copy();
    assert_int_equal(faccessat(copy, "mine", F_OK, 0), 0);
}

static void test_escape(void **state)
{
    AUTOFD int copy = -EBADF;

    make_dir("var/lib");
    assert_int_equal(symlinkat("../../../../../../../../../etc", image, "var/lib/db"), 0);
    assert_int_equal(volume_copy_up(&mounts.items[0], image, true, NULL), 0);
    copy = open_copy();
    assert_int_equal(faccessat(copy, "passwd", F_OK, 0), -1);
}

static void test_deep(void **state)
{
    AUTOFD int copy = -EBADF;
    int fd;
    int depth = 0;

    make_dir("var/lib/db");
    fd = openat(image, "var/lib/db", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        int next;

        assert_int_equal(mkdirat(fd, "d", 0755), 0);
        next = openat(fd, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
        (void)close(fd);
        fd = next;
    }
    (void)close(fd);
    assert_int_equal(volume_copy_up(&mounts.items[0], image, true, NULL), 0);
    copy = open_copy();
    for (;;) {
        int next = openat(copy, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (next < 0)
            break;
        (void)close(copy);
        copy = next;
        depth++;
    }
    assert_int_equal(depth, 3000);
}

/* What a user put there meanwhile is not written over. */
static void test_not_empty(void **state)
{
    AUTOFREE char *mine = xasprintf("%s/mine", mounts.items[0].source);
    AUTOFD int copy = -EBADF;

    make_dir("var/lib/db");
    make_file("var/lib/db/theirs", "x");
    assert_int_equal(mkdir(mine, 0700), 0);
    assert_int_equal(volume_copy_up(&mounts.items[0], image, true, NULL), 0);
    copy = open_copy();
    assert_int_equal(faccessat(copy, "mine", F_OK, 0), 0);
    assert_int_equal(faccessat(copy, "theirs", F_OK, 0), -1);
    assert_no_rest();
}

/* Another container has the volume mounted: its folder stays the one it is, and what it puts there while
 * the copy is made counts. */
static void test_not_alone(void **state)
{
    const char *source = mounts.items[0].source;
    AUTOFREE char *theirs = xasprintf("%s/theirs", source);
    struct stat before, after;
    AUTOFD int copy = -EBADF;

    make_dir("var/lib/db/sub");
    make_file("var/lib/db/sub/theirs", "x");
    assert_int_equal(chmod(source, 0700), 0);
    assert_int_equal(stat(source, &before), 0);
    assert_int_equal(volume_copy_up(&mounts.items[0], image, false, NULL), 0);
    assert_int_equal(stat(source, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_mode & 0777, 0755);
    copy = open_copy();
    assert_int_equal(faccessat(copy, "sub/theirs", F_OK, 0), 0);
    assert_int_equal(faccessat(AT_FDCWD, theirs, F_OK, 0), -1);
    assert_no_rest();
}

/* A folder that hands its project on (disk quota) refuses what is moved into it. */
static void test_not_alone_with_project(void **state)
{
    AUTOFD int copy = -EBADF;

    make_dir("var/lib/db/sub");
    make_file("var/lib/db/sub/theirs", "x");
    has_project = true;
    assert_int_equal(volume_copy_up(&mounts.items[0], image, false, NULL), 0);
    has_project = false;
    copy = open_copy();
    assert_int_equal(faccessat(copy, "sub/theirs", F_OK, 0), 0);
    assert_no_rest();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_symlinked_destination, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_escape, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_alone_with_project, set_up, tear_down),
    };

    (void)umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
