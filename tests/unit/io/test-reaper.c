/* SPDX-License-Identifier: Apache-2.0 */
/* reaper.h: names go at once, what they held goes soon, in bounds, and nothing is left at the end. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
#include "base/str.h"
#include "io/reaper.h"

struct folder {
    char path[64];
    int fd;
};

static int make_folder(void **state)
{
    struct folder *f = xcalloc(1, sizeof(*f));

    strcpy(f->path, "/tmp/pouch-reaper.XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->fd >= 0);
    *state = f;
    return 0;
}

static int remove_folder(void **state)
{
    struct folder *f = *state;

    close(f->fd);
    assert_int_equal(fs_remove_tree(AT_FDCWD, f->path), 0);
    free(f);
    return 0;
}

static void make_file(const struct folder *f, const char *name, size_t size)
{
    AUTOFREE char *data = xcalloc(1, size);
    AUTOFD int fd = openat(f->fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, data, size), 0);
}

static bool is_there(const struct folder *f, const char *name)
{
    return faccessat(f->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Descriptors of this process that point below the folder, deleted or not, but for its own. */
static unsigned count_fds(const struct folder *f)
{
    DIR *d = opendir("/proc/self/fd");
    const struct dirent *de;
    unsigned n = 0;

    assert_non_null(d);
    while ((de = readdir(d))) {
        char to[256];
        ssize_t len = readlinkat(dirfd(d), de->d_name, to, sizeof(to) - 1);

        to[len > 0 ? len : 0] = 0;
        n += str_has_prefix(to, f->path) && !STREQ(to, f->path);
    }
    closedir(d);
    return n;
}

static void test_unlink(void **state)
{
    const struct folder *f = *state;
    struct reaper *r = reaper_new();
    struct stat st;

    make_file(f, "large", 3 << 20);
    AUTOFD int held = openat(f->fd, "large", O_RDONLY | O_CLOEXEC);
    assert_int_equal(reaper_unlink(r, f->fd, "large"), 0);
    assert_false(is_there(f, "large"));
    assert_int_equal(fstat(held, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    reaper_wait(r);
    assert_int_equal(count_fds(f), 1); /* ours */
    assert_int_equal(reaper_unlink(r, f->fd, "large"), -ENOENT);
    assert_int_equal(mkdirat(f->fd, "folder", 0700), 0);
    assert_int_equal(reaper_unlink(r, f->fd, "folder"), -EISDIR);
    assert_int_equal(symlinkat("nowhere", f->fd, "link"), 0);
    assert_int_equal(reaper_unlink(r, f->fd, "link"), 0);
    assert_false(is_there(f, "link"));
    make_file(f, "one", 1 << 20); /* the other name keeps the content */
    assert_int_equal(linkat(f->fd, "one", f->fd, "two", 0), 0);
    assert_int_equal(reaper_unlink(r, f->fd, "one"), 0);
    assert_int_equal(fstatat(f->fd, "two", &st, 0), 0);
    assert_int_equal(st.st_size, 1 << 20);
    reaper_wait(r);
    assert_int_equal(count_fds(f), 1);
    reaper_free(r);
}

static void test_without(void **state)
{
    const struct folder *f = *state;

    make_file(f, "file", 4096);
    assert_int_equal(mkdirat(f->fd, "folder", 0700), 0);
    make_file(f, "folder/file", 4096);
    assert_int_equal(reaper_unlink(NULL, f->fd, "file"), 0);
    reaper_remove_tree(NULL, f->fd, "folder", 4096);
    assert_false(is_there(f, "file"));
    assert_false(is_there(f, "folder"));
    reaper_close(NULL, dup(f->fd));
    reaper_close(NULL, -EBADF);
    reaper_wait(NULL);
    reaper_stop(NULL);
    reaper_free(NULL);
}

/* More at once than may wait: nothing fails, and at no moment are there more descriptors. */
static void *remove_many(void *data)
{
    void **args = data;
    const struct folder *f = args[1];
    unsigned most = 0;

    for (unsigned i = 0; i < 300; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%s%u", (const char *)args[2], i);
        make_file(f, name, 64 << 10);
        assert_int_equal(reaper_unlink(args[0], f->fd, name), 0);
        assert_false(is_there(f, name));
        if (i % 50 == 0) {
            unsigned n = count_fds(f);
            most = n > most ? n : most;
        }
    }
    return (void *)(uintptr_t)most;
}

static void test_many(void **state)
{
    struct folder *f = *state;
    struct reaper *r = reaper_new();
    void *a[] = {r, f, (char *)"a"}, *b[] = {r, f, (char *)"b"}, *most_a, *most_b;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, remove_many, b), 0);
    most_a = remove_many(a);
    assert_int_equal(pthread_join(thread, &most_b), 0);
    /* the two threads hold some of their own for a moment */
    assert_true((uintptr_t)most_a <= REAPER_FDS_MAX + 4);
    assert_true((uintptr_t)most_b <= REAPER_FDS_MAX + 4);
    reaper_wait(r);
    assert_int_equal(count_fds(f), 0);
    reaper_free(r);
}

static void make_tree(const struct folder *f, const char *name, unsigned files)
{
    assert_int_equal(mkdirat(f->fd, name, 0700), 0);
    for (unsigned i = 0; i < files; i++) {
        AUTOFREE char *path = xasprintf("%s/%u", name, i);

        make_file(f, path, 1);
    }
}

static void test_tree(void **state)
{
    const struct folder *f = *state;
    struct reaper *r = reaper_new();

    make_tree(f, "trash.one", 100);
    make_tree(f, "trash.two", 1);
    reaper_remove_tree(r, f->fd, "trash.one", 100 * 4096);
    reaper_remove_tree(r, f->fd, "trash.two", 4096);
    reaper_remove_tree(r, f->fd, "trash.none", 1);
    reaper_wait(r);
    assert_false(is_there(f, "trash.one"));
    assert_false(is_there(f, "trash.two"));
    /* More than an eighth of what is free: done when the call returns. */
    make_tree(f, "trash.huge", 10);
    reaper_remove_tree(r, f->fd, "trash.huge", UINT64_MAX / 2);
    assert_false(is_there(f, "trash.huge"));
    reaper_free(r);
}

/* Stopped while there is work: it ends without doing all of it, lets go of descriptors, and what
 * comes afterwards is done by the caller, but folders stay. */
static void test_stop(void **state)
{
    const struct folder *f = *state;
    struct reaper *r = reaper_new();

    make_tree(f, "trash.long", 3000);
    reaper_remove_tree(r, f->fd, "trash.long", 1);
    make_file(f, "large", 1 << 20);
    assert_int_equal(reaper_unlink(r, f->fd, "large"), 0);
    reaper_stop(r);
    reaper_wait(r); /* does not wait for what will not come */
    make_file(f, "later", 1 << 20);
    assert_int_equal(reaper_unlink(r, f->fd, "later"), 0);
    assert_false(is_there(f, "later"));
    make_tree(f, "trash.later", 3);
    reaper_remove_tree(r, f->fd, "trash.later", 1);
    assert_true(is_there(f, "trash.later")); /* for the sweep of who owns it */
    reaper_free(r);
    assert_int_equal(count_fds(f), 0);
    assert_false(is_there(f, "large"));
}

/* Little goes at once and by the caller; much gets another name at once. */
static void test_folder(void **state)
{
    const struct folder *f = *state;
    struct reaper *r = reaper_new();
    AUTOFREE char *path = xasprintf("%s/box", f->path);
    AUTOFREE char *trash = xasprintf("%s/trash.box", f->path);
    AUTOFREE char *nowhere = xasprintf("%s/nowhere/trash", f->path);

    assert_int_equal(reaper_remove_folder(r, path, trash), 0); /* none */
    make_tree(f, "box", 50);
    assert_int_equal(reaper_remove_folder(r, path, trash), 0);
    assert_false(is_there(f, "box") || is_there(f, "trash.box"));
    /* many, or large; or with no room for another name */
    for (int i = 0; i < 3; i++) {
        make_tree(f, "box", i == 0 ? 2000 : 3);
        if (i == 1)
            make_file(f, "box/large", 16 << 20);
        if (i == 2)
            make_tree(f, "box/in", 200);
        assert_int_equal(reaper_remove_folder(r, path, i == 2 ? nowhere : trash), 0);
        assert_false(i < 2 && is_there(f, "box"));
        reaper_wait(r);
        assert_false(is_there(f, "box") || is_there(f, "trash.box"));
    }
    /* After the end much stays, under the name that is swept; without a reaper all goes. */
    make_tree(f, "box", 2000);
    reaper_stop(r);
    assert_int_equal(reaper_remove_folder(r, path, trash), 0);
    assert_false(is_there(f, "box"));
    assert_true(is_there(f, "trash.box"));
    assert_int_equal(reaper_remove_folder(NULL, trash, path), 0);
    assert_false(is_there(f, "box") || is_there(f, "trash.box"));
    reaper_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_unlink, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_without, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_many, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_tree, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_stop, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_folder, make_folder, remove_folder),
    };

    return cmocka_run_group_tests_name("reaper", tests, NULL, NULL);
}
