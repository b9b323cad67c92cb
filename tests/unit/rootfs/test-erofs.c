/* SPDX-License-Identifier: Apache-2.0 */
/* Layer files as folders: mounted once by many threads, found again, let go. Needs root and EROFS. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "erofs/erofs.h"
#include "rootfs/rootfs.h"
#include "sys/erofs.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char top[64], layer_a[200], layer_b[200];
static bool can;

/* A layer of one folder and one file in it that holds `text`; opaque: it hides what is below. */
static void make_layer(const char *path, const char *text, bool opaque)
{
    AUTOPTR(erofs_writer) struct erofs_writer *w = NULL;
    AUTOFD int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const struct layer_entry file = {
        .type = LAYER_FILE, .path = "d/f", .link = "", .mode = 0644, .size = strlen(text)};
    const struct layer_entry mark = {.type = LAYER_FILE, .path = ".wh..wh..opq", .link = ""};

    assert_true(fd >= 0);
    assert_int_equal(erofs_writer_new(&(struct erofs_writer_params){.fd = fd}, &w, NULL), 0);
    assert_int_equal(erofs_writer_entry(w, &file, NULL), 0);
    assert_int_equal(erofs_writer_data(w, 0, text, strlen(text), NULL), 0);
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    if (opaque) {
        assert_int_equal(erofs_writer_entry(w, &mark, NULL), 0);
        assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    }
    assert_int_equal(erofs_writer_finish(w, NULL, NULL), 0);
}

static struct rootfs *open_it(void)
{
    struct rootfs *rf = NULL;

    assert_int_equal(
        rootfs_open(&(struct rootfs_params){.driver = "erofs", .root = top, .state = top}, &rf,
                    NULL),
        0);
    return rf;
}

/* Mounts below <top>/layers, the folder's own not counted. */
static unsigned mounts(void)
{
    AUTOFREE char *text = NULL;
    AUTOFREE char *below = xasprintf(" %s/layers/" HEX_A " ", top);
    AUTOFREE char *other = xasprintf(" %s/layers/" HEX_B " ", top);
    unsigned n = 0;

    assert_int_equal(fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 1 << 24, &text, NULL), 0);
    for (const char *at = text; (at = strstr(at, below)); at++)
        n++;
    for (const char *at = text; (at = strstr(at, other)); at++)
        n++;
    return n;
}

static int set_up(void **state)
{
    enum sys_erofs_way way = SYS_EROFS_NONE;
    AUTOFREE char *layers = NULL;

    (void)snprintf(top, sizeof(top), "/tmp/pouch-test-erofs-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    layers = xasprintf("%s/layers", top);
    (void)mkdir(layers, 0700);
    (void)snprintf(layer_a, sizeof(layer_a), "%s/" HEX_A ".erofs", layers);
    (void)snprintf(layer_b, sizeof(layer_b), "%s/" HEX_B ".erofs", layers);
    make_layer(layer_a, "below", false);
    make_layer(layer_b, "above", true);
    can = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
          mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
          sys_erofs_probe(top, &way, NULL) == 0 && way != SYS_EROFS_NONE;
    return 0;
}

static int tear_down(void **state)
{
    return fs_remove_tree(AT_FDCWD, top);
}

/* A skipped test would count as a failure in TAP. */
#define NEED_MOUNTS()                                                                              \
    do {                                                                                           \
        if (!can) {                                                                                \
            print_message("# left out: no EROFS mounts here\n");                                   \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static void *view_thread(void *data)
{
    struct rootfs_mount m = {.type = NULL};
    char *layers[] = {layer_a, NULL};
    AUTOFD int fd = -EBADF;
    AUTOFREE char *text = NULL;
    bool good = rootfs_view(data, layers, &m, NULL) == 0 &&
                rootfs_mount_detached(&m, &fd, NULL) == 0 &&
                fs_read_file(fd, "d/f", 100, &text, NULL) == 0 && STREQ(text, "below");

    rootfs_mount_done(&m);
    return good ? data : NULL;
}

static void test_many_at_once(void **state)
{
    struct rootfs *rf;
    pthread_t threads[16];
    void *good = NULL;

    NEED_MOUNTS();
    rf = open_it();
    assert_true(rootfs_makes_files(rf));
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, view_thread, rf), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_ptr_equal(good, rf);
    }
    assert_int_equal(mounts(), 1);
    rootfs_close(rf, NULL);
    assert_int_equal(mounts(), 0);
}

static void test_removal_while_used(void **state)
{
    struct rootfs *rf;
    pthread_t threads[8];
    void *good = NULL;

    NEED_MOUNTS();
    rf = open_it();
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
            assert_int_equal(pthread_create(&threads[i], NULL, view_thread, rf), 0);
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
            assert_int_equal(pthread_join(threads[i], &good), 0);
        /* Removed, and brought anew before the remover comes to unmount it. */
        rootfs_layer_going(rf, layer_a);
        if (round % 2)
            assert_ptr_equal(view_thread(rf), rf);
        rootfs_layer_gone(rf, layer_a);
        assert_int_equal(mounts(), round % 2);
    }
    rootfs_close(rf, NULL);
    assert_int_equal(mounts(), 0);
}

static void test_adoption(void **state)
{
    char *keep[] = {layer_a, NULL};
    char *both[] = {layer_a, layer_b, NULL};
    struct rootfs_mount m = {.type = NULL};
    AUTOFD int fd = -EBADF;
    AUTOFREE char *text = NULL;
    struct rootfs *rf;

    NEED_MOUNTS();
    rf = open_it();
    assert_int_equal(rootfs_view(rf, both, &m, NULL), 0);
    assert_string_equal(m.lower[0] + strlen(m.lower[0]) - 64, HEX_B);
    assert_null(m.lower[1]); /* the upper one hides the other */
    assert_int_equal(rootfs_mount_detached(&m, &fd, NULL), 0);
    assert_int_equal(fs_read_file(fd, "d/f", 100, &text, NULL), 0);
    assert_string_equal(text, "above");
    rootfs_mount_done(&m);
    assert_ptr_equal(view_thread(rf), rf);
    assert_int_equal(mounts(), 2);
    rootfs_close(rf, keep);
    assert_int_equal(mounts(), 1);
    rf = open_it();
    assert_int_equal(mounts(), 1);
    assert_ptr_equal(view_thread(rf), rf);
    assert_int_equal(mounts(), 1);
    rootfs_close(rf, keep);
    /* Its layer goes while nobody looks. */
    assert_int_equal(unlink(layer_a), 0);
    rf = open_it();
    assert_int_equal(mounts(), 0);
    rootfs_close(rf, NULL);
    make_layer(layer_a, "below", false);
}

static void test_damaged(void **state)
{
    char *layers[] = {layer_b, NULL};
    struct rootfs_mount m = {.type = NULL};
    struct error e = ERROR_INIT;
    struct rootfs *rf;

    NEED_MOUNTS();
    rf = open_it();
    assert_int_equal(truncate(layer_b, 0), 0);
    assert_true(rootfs_view(rf, layers, &m, &e) < 0);
    assert_non_null(strstr(error_message(&e), layer_b));
    error_done(&e);
    assert_int_equal(unlink(layer_b), 0);
    assert_true(rootfs_view(rf, layers, &m, &e) < 0);
    error_done(&e);
    assert_int_equal(mounts(), 0);
    rootfs_close(rf, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_removal_while_used),
        cmocka_unit_test(test_adoption),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
