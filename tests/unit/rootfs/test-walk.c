/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack/walk.c: trees and upper folders as archives (read back by libarchive) and as lists of changes,
 * also while somebody changes them. Whiteouts, devices and trusted attributes need root.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "rootfs/pack/walk.h"

static char top[64];
static int start_dir = -EBADF;

static int set_up(void **state)
{
    (void)snprintf(top, sizeof top, "/tmp/pouch-test-walk-XXXXXX");
    start_dir = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return mkdtemp(top) && chdir(top) == 0 && mkdir("upper", 0755) == 0 && mkdir("lower", 0755) == 0
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    if (fchdir(start_dir) < 0)
        return -1;
    base_closep(&start_dir);
    return fs_remove_tree(AT_FDCWD, top);
}

static void at_top(void)
{
    assert_int_equal(chdir(top), 0);
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0644), 0);
}

static void folder(const char *path)
{
    assert_int_equal(mkdir(path, 0755), 0);
}

/* --- Running it ----------------------------------------------------------------------------------- */

/* What is done when the text comes by for the first time: somebody changes the tree meanwhile. */
static struct {
    const char *text;
    void (*run)(void);
    size_t fail_at;
} hook;
static struct buf out = BUF_INIT(64 << 20);

static int take(void *data, const void *bytes, size_t len)
{
    if (hook.fail_at && out.len + len > hook.fail_at)
        return -EPIPE;
    assert_int_equal(buf_append(&out, bytes, len), 0);
    if (hook.text && memmem(bytes, len, hook.text, strlen(hook.text))) {
        int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

        hook.text = NULL;
        at_top();
        hook.run();
        assert_int_equal(fchdir(here), 0);
        (void)close(here);
    }
    return 0;
}

static int walk(enum pack_mode mode, char *const *skip, struct error *e)
{
    AUTOFD int upper = -EBADF, lower = -EBADF;
    struct pack_params p = {.mode = mode, .skip = skip, .write = take};
    int r;

    at_top();
    upper = open("upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    lower = open("lower", O_PATH | O_DIRECTORY | O_CLOEXEC);
    p.root_fd = upper;
    p.lower_fd = mode == PACK_TREE ? -1 : lower;
    buf_clear(&out);
    r = pack_walk(&p, e);
    at_top();
    return r;
}

/* A line an entry: type, mode, path, target or size. */
static char *list(void)
{
    struct archive *a = archive_read_new();
    struct archive_entry *ae;
    struct buf text = BUF_INIT(1 << 20);
    int r;

    archive_read_support_format_tar(a);
    assert_int_equal(archive_read_open_memory(a, out.data, out.len), ARCHIVE_OK);
    while ((r = archive_read_next_header(a, &ae)) == ARCHIVE_OK) {
        const char *link = archive_entry_hardlink(ae);
        mode_t type = archive_entry_filetype(ae);

        (void)buf_printf(&text, "%c %04o %s",
                         link             ? 'h'
                         : S_ISDIR(type)  ? 'd'
                         : S_ISLNK(type)  ? 'l'
                         : S_ISFIFO(type) ? 'p'
                         : S_ISCHR(type)  ? 'c'
                                          : 'f',
                         (unsigned)archive_entry_perm(ae), archive_entry_pathname(ae));
        if (link || S_ISLNK(type))
            (void)buf_printf(&text, " %s", link ? link : archive_entry_symlink(ae));
        else if (S_ISREG(type))
            (void)buf_printf(&text, " %lld", (long long)archive_entry_size(ae));
        else if (S_ISCHR(type))
            (void)buf_printf(&text, " %d,%d", (int)archive_entry_rdevmajor(ae),
                             (int)archive_entry_rdevminor(ae));
        archive_entry_xattr_reset(ae);
        for (const char *name; true;) {
            const void *value;
            size_t size;

            if (archive_entry_xattr_next(ae, &name, &value, &size) != ARCHIVE_OK)
                break;
            (void)buf_printf(&text, " %s=%.*s", name, (int)size, (const char *)value);
        }
        (void)buf_putc(&text, '\n');
    }
    assert_int_equal(r, ARCHIVE_EOF);
    archive_read_free(a);
    return buf_take(&text);
}

static void expect(enum pack_mode mode, char *const *skip, const char *want)
{
    AUTOFREE char *have = NULL;
    struct error e = ERROR_INIT;

    if (walk(mode, skip, &e) < 0)
        fail_msg("%s", error_message(&e));
    if (mode == PACK_CHANGES) {
        assert_int_equal(buf_putc(&out, 0), 0);
        for (size_t i = 0; i + 1 < out.len; i++)
            if (!out.data[i])
                out.data[i] = '\n';
        assert_string_equal(out.data, want);
        return;
    }
    have = list();
    assert_string_equal(have, want);
}

/* --- Whole trees ----------------------------------------------------------------------------------- */

static void test_tree(void **state)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "upper/sock"};
    char *skip[] = {(char *)"dev", (char *)"etc/hosts", NULL};
    AUTOFD int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    AUTOFD int fd = -EBADF;

    folder("upper/etc");
    folder("upper/dev");
    put("upper/dev/left-out", "x");
    put("upper/etc/hosts", "x");
    put("upper/etc/passwd", "root\n");
    assert_int_equal(chmod("upper/etc/passwd", 04600), 0);
    assert_int_equal(link("upper/etc/passwd", "upper/again"), 0);
    assert_int_equal(symlink("/etc/passwd", "upper/link"), 0);
    assert_int_equal(mkfifo("upper/pipe", 0640), 0);
    assert_int_equal(chmod("upper/pipe", 0640), 0);
    assert_int_equal(bind(sock, (struct sockaddr *)&sa, sizeof sa), 0);
    /* 100 MiB of nothing and a word: the archive is small. */
    fd = open("upper/sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(fd, "end", 3, (off_t)100 << 20), 3);
    expect(PACK_TREE, skip,
           "f 4600 again 5\n"
           "d 0755 etc/\n"
           "h 4600 etc/passwd again\n"
           "l 0777 link /etc/passwd\n"
           "p 0640 pipe\n"
           "f 0600 sparse 104857603\n");
    assert_true(out.len < 64 << 10);
}

static void test_attributes(void **state)
{
    if (geteuid() != 0) {
        (void)fprintf(stderr, "# not run: needs root\n");
        return;
    }
    put("upper/file", "x");
    assert_int_equal(setxattr("upper/file", "trusted.b", "2", 1, 0), 0);
    assert_int_equal(setxattr("upper/file", "trusted.a", "1", 1, 0), 0);
    assert_int_equal(setxattr("upper/file", "trusted.overlay.origin", "o", 1, 0), 0);
    assert_int_equal(mknod("upper/null", S_IFCHR | 0600, makedev(1, 3)), 0);
    assert_int_equal(chmod("upper/null", 0666), 0);
    /* libarchive tells them from the last to the first */
    expect(PACK_TREE, NULL, "f 0644 file 1 trusted.b=2 trusted.a=1\nc 0666 null 1,3\n");
}

/* --- Upper folders --------------------------------------------------------------------------------- */

static void whiteout(const char *path)
{
    assert_int_equal(mknod(path, S_IFCHR | 0, 0), 0);
}

static void test_changes(void **state)
{
    const struct timespec old[2] = {{1000, 5}, {1000, 5}};

    if (geteuid() != 0) {
        (void)fprintf(stderr, "# not run: needs root\n");
        return;
    }
    folder("lower/etc");
    folder("lower/same");
    folder("lower/opaque");
    put("lower/etc/passwd", "old");
    put("lower/etc/gone", "old");
    put("lower/opaque/hidden", "old");
    folder("upper/etc");
    folder("upper/same");
    folder("upper/opaque");
    folder("upper/new");
    folder("upper/new/empty");
    put("upper/etc/passwd", "new");
    put("upper/etc/shadow", "new");
    put("upper/same/mounted", "x");
    whiteout("upper/etc/gone");
    whiteout("upper/etc/never-was");
    assert_int_equal(setxattr("upper/opaque", "trusted.overlay.opaque", "y", 1, 0), 0);
    /* A folder in which only a mount point of the engine's was made has not changed. */
    assert_int_equal(utimensat(AT_FDCWD, "lower/same", old, 0), 0);
    char *skip[] = {(char *)"same/mounted", NULL};
    expect(PACK_CHANGES, skip,
           "C/etc\nD/etc/gone\nC/etc/passwd\nA/etc/shadow\nA/new\nA/new/empty\nC/opaque\n");
    expect(PACK_DIFF, skip,
           "d 0755 etc/\n"
           "f 0600 etc/.wh.gone 0\n"
           "f 0644 etc/passwd 3\n"
           "f 0644 etc/shadow 3\n"
           "d 0755 new/\n"
           "d 0755 new/empty/\n"
           "d 0755 opaque/\n"
           "f 0600 opaque/.wh..wh..opq 0\n");
    /* Its own time counts when nothing was left out. */
    expect(PACK_CHANGES, NULL,
           "C/etc\nD/etc/gone\nC/etc/passwd\nA/etc/shadow\nA/new\nA/new/empty\nC/opaque\n"
           "C/same\nA/same/mounted\n");
}

static void test_type_changes(void **state)
{
    folder("lower/was-folder");
    put("lower/was-file", "x");
    put("upper/was-folder", "x");
    folder("upper/was-file");
    expect(PACK_CHANGES, NULL, "A/was-file\nC/was-folder\n");
}

/* --- While it changes ------------------------------------------------------------------------------ */

static void remove_first(void)
{
    assert_int_equal(unlink("upper/d/first"), 0);
}

/* A name that vanished is no target of hard links. */
static void test_vanishing_link(void **state)
{
    folder("upper/d");
    put("upper/d/first", "x");
    assert_int_equal(link("upper/d/first", "upper/d/second"), 0);
    assert_int_equal(link("upper/d/first", "upper/d/third"), 0);
    hook.text = "d/";
    hook.run = remove_first;
    expect(PACK_DIFF, NULL, "d 0755 d/\nf 0644 d/second 1\nh 0644 d/third d/second\n");
}

static void cut(void)
{
    assert_int_equal(truncate("upper/file", 2), 0);
}

static void swap(void)
{
    assert_int_equal(unlink("upper/d/file"), 0);
    assert_int_equal(symlink("/etc/shadow", "upper/d/file"), 0);
}

static void test_cut(void **state)
{
    put("upper/file", "12345678");
    hook.text = "file";
    hook.run = cut;
    expect(PACK_TREE, NULL, "f 0644 file 8\n");
    assert_memory_equal(out.data + 512, "12\0\0\0\0\0\0", 8);
}

/* What became a link is not followed. */
static void test_swapped(void **state)
{
    folder("upper/d");
    put("upper/d/file", "x");
    hook.text = "d/";
    hook.run = swap;
    expect(PACK_DIFF, NULL, "d 0755 d/\n");
}

/* --- Limits ---------------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
    struct error e = ERROR_INIT;
    char name[201];

    put("upper/file", "x");
    hook.fail_at = 600;
    assert_int_equal(walk(PACK_TREE, NULL, &e), -EPIPE);
    assert_non_null(strstr(error_message(&e), "cannot pass /"));
    error_done(&e);
    hook.fail_at = 0;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(chdir("upper"), 0);
    for (int i = 0; i < 21; i++) {
        assert_int_equal(mkdir(name, 0755), 0);
        assert_int_equal(chdir(name), 0);
    }
    assert_true(walk(PACK_TREE, NULL, &e) < 0);
    assert_non_null(strstr(error_message(&e), "a path is longer than 4095 bytes"));
    error_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attributes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_type_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_vanishing_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_swapped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
    };
    int r;

    (void)umask(022);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&out);
    return r;
}
