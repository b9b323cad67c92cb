/* SPDX-License-Identifier: Apache-2.0 */
/* The overlay driver: prepare, mount (both ways), size, removal, sweep. Needs root. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "io/reaper.h"
#include "rootfs/rootfs.h"
#include "sys/overlay.h"

static char top[64];
static struct rootfs *drv;
static char **layers;

static int set_up(void **state)
{
    if (geteuid() != 0)
        return 0;
    (void)snprintf(top, sizeof top, "/tmp/pouch-test-overlay-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    return rootfs_open(&(struct rootfs_params){.driver = "overlay", .root = top, .state = top},
                       &drv, NULL);
}

static int tear_down(void **state)
{
    strv_free(take_ptr(layers));
    rootfs_close(take_ptr(drv), NULL);
    return geteuid() == 0 ? fs_remove_tree(AT_FDCWD, top) : 0;
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

static char *in_top(const char *name)
{
    return xasprintf("%s/%s", top, name);
}

static void put_file(const char *dir, const char *name, const char *text)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);

    assert_int_equal(fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, FS_NO_SYNC), 0);
}

/* n layers; each has a file of its own and a common one that names the layer. */
static void make_layers(int n, const char *parent)
{
    for (int i = 0; i < n; i++) {
        char *dir = xasprintf("%s/layer-%03d", parent, i);
        char text[16];

        assert_int_equal(fs_mkdir_p(dir, 0755), 0);
        (void)snprintf(text, sizeof text, "%d", i);
        put_file(dir, "common", text);
        put_file(dir, text, text);
        strv_push_take(&layers, dir);
    }
}

static char *make_container(const char *id)
{
    char *dir = xasprintf("%s/containers/%s", top, id);

    assert_int_equal(fs_mkdir_p(dir, 0700), 0);
    return dir;
}

static void assert_content(int fd, const char *name, const char *text)
{
    AUTOFREE char *got = NULL;

    assert_int_equal(fs_read_file(fd, name, 100, &got, NULL), 0);
    assert_string_equal(got, text);
}

static void test_find(void **state)
{
    need_root();
    assert_string_equal(rootfs_driver_name(drv), "overlay");
    assert_false(rootfs_makes_files(drv));
    assert_true(rootfs_can_use(drv, "/r/layers/abc"));
    assert_false(rootfs_can_use(drv, "/r/layers/abc.erofs"));
}

static int probe(const char *root, struct error *e)
{
    struct rootfs *rf = NULL;
    int r = rootfs_open(&(struct rootfs_params){.driver = "overlay", .root = root, .state = root},
                        &rf, e);

    rootfs_close(rf, NULL);
    return r;
}

static void test_probe(void **state)
{
    struct error e = ERROR_INIT;
    AUTOFREE char *missing = in_top("missing");

    need_root();
    assert_int_equal(probe(top, &e), 0);
    assert_int_equal(rmdir(top), 0); /* nothing was left */
    assert_int_equal(mkdir(top, 0700), 0);
    assert_true(probe(missing, &e) < 0);
    error_done(&e);
    /* A read-only place cannot carry a writable layer. */
    assert_true(probe("/proc", &e) < 0);
    error_done(&e);
}

/* An overlay below an overlay: the message says what to do. In a mount namespace of a child. */
static void test_probe_nested(void **state)
{
    AUTOFREE char *opts = NULL;
    AUTOFREE char *target = NULL;
    int status = -1;
    pid_t pid;

    need_root();
    target = in_top("m");
    opts = xasprintf("lowerdir=%s/l,upperdir=%s/u,workdir=%s/w", top, top, top);
    for (const char *n = "lmuw"; *n; n++) {
        AUTOFREE char *dir = xasprintf("%s/%c", top, *n);

        assert_int_equal(mkdir(dir, 0700), 0);
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct error e = ERROR_INIT;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("overlay", target, "overlay", 0, opts) < 0)
            _exit(2);
        if (probe(target, &e) != -EINVAL)
            _exit(3);
        _exit(strstr(error_message(&e), "choose another root folder") ? 0 : 4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_prepare(void **state)
{
    AUTOFREE char *dir = NULL;
    AUTOFREE char *json = NULL;
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    CLEANUP(rootfs_mount_done) struct rootfs_mount again = {.type = NULL};
    AUTOFD int fd = -EBADF;
    struct stat st;
    mode_t mask;

    need_root();
    dir = make_container("c1");
    make_layers(3, top);
    mask = umask(077);
    assert_int_equal(rootfs_prepare(drv, dir, layers, &m, NULL), 0);
    (void)umask(mask);
    assert_string_equal(m.lower[0], layers[2]);
    assert_string_equal(m.lower[2], layers[0]);
    assert_int_equal(rootfs_mount_detached(&m, &fd, NULL), 0);
    assert_content(fd, "common", "2");
    assert_content(fd, "0", "0");
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(mkdirat(fd, "made", 0700), 0);
    base_closep(&fd);
    /* A second start finds it. */
    assert_int_equal(rootfs_prepare(drv, dir, layers, &again, NULL), 0);
    fd = -EBADF;
    assert_int_equal(rootfs_mount_detached(&again, &fd, NULL), 0);
    assert_int_equal(faccessat(fd, "made", F_OK, 0), 0);
    json = json_print_str(&rootfs_mount_json, &m);
    assert_non_null(strstr(json, "\"upper\":\""));
}

static void test_volatile(void **state)
{
    AUTOFREE char *dir = NULL;

    need_root();
    dir = make_container("c1");
    make_layers(2, top);
    /* Each start of a container that was mounted so. */
    for (int i = 0; i < 3; i++) {
        CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
        AUTOFD int fd = -EBADF;
        struct error e = ERROR_INIT;

        assert_int_equal(rootfs_prepare(drv, dir, layers, &m, NULL), 0);
        rootfs_mount_set_volatile(&m);
        assert_true(strv_contains(m.options, "volatile"));
        if (rootfs_mount_detached(&m, &fd, &e) < 0)
            fail_msg("%s", error_message(&e));
        assert_int_equal(mkdirat(fd, "made", 0700), i ? -1 : 0);
    }
    assert_int_equal(rootfs_remove(drv, dir, NULL), 0);
}

static void test_no_mount_is_seen(void **state)
{
    AUTOFREE char *dir = NULL;
    AUTOFREE char *seen_before = NULL;
    AUTOFREE char *seen_after = NULL;
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    AUTOFD int fd = -EBADF;

    need_root();
    dir = make_container("c1");
    make_layers(2, top);
    assert_int_equal(rootfs_prepare(drv, dir, layers, &m, NULL), 0);
    assert_int_equal(rootfs_mount_detached(&m, &fd, NULL), 0);
    assert_int_equal(fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &seen_after, NULL), 0);
    assert_null(strstr(seen_after, top));
}

static void test_many_layers(void **state)
{
    AUTOFREE char *dir = NULL;
    AUTOFREE char *far = NULL;
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    AUTOFD int fd = -EBADF;
    struct error e = ERROR_INIT;
    char part[101];

    need_root();
    /* Paths longer than fsconfig() takes, and more of them than fit into a page. */
    memset(part, 'p', 100);
    part[100] = 0;
    far = xasprintf("%s/%s/%s/%s", top, part, part, part);
    dir = make_container("c1");
    make_layers(ROOTFS_LAYERS_MAX, far);
    assert_int_equal(rootfs_prepare(drv, dir, layers, &m, &e), 0);
    if (rootfs_mount_detached(&m, &fd, &e) < 0)
        fail_msg("%s", error_message(&e));
    assert_content(fd, "common", "127");
    assert_content(fd, "0", "0");
    assert_content(fd, "64", "64");
    rootfs_mount_done(&m);
    make_layers(1, top);
    assert_int_equal(rootfs_prepare(drv, dir, layers, &m, &e), -EINVAL);
    assert_string_equal(error_message(&e), "the image has 129 layers; at most 128 can be mounted");
    error_done(&e);
}

static void test_view(void **state)
{
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    CLEANUP(rootfs_mount_done) struct rootfs_mount one = {.type = NULL};
    AUTOFD int fd = -EBADF;
    AUTOFD int fd1 = -EBADF;

    need_root();
    make_layers(2, top);
    assert_int_equal(rootfs_view(drv, layers, &m, NULL), 0);
    assert_null(m.upper);
    assert_int_equal(rootfs_mount_detached(&m, &fd, NULL), 0);
    assert_content(fd, "common", "1");
    assert_int_equal(mkdirat(fd, "x", 0700), -1);
    assert_int_equal(errno, EROFS);
    strv_remove(layers, layers[1]);
    assert_int_equal(rootfs_view(drv, layers, &one, NULL), 0);
    assert_int_equal(rootfs_mount_detached(&one, &fd1, NULL), 0);
    assert_content(fd1, "common", "0");
}

static void test_opaque_root(void **state)
{
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    AUTOFD int fd = -EBADF;

    need_root();
    make_layers(4, top);
    assert_int_equal(setxattr(layers[2], "trusted.overlay.opaque", "y", 1, 0), 0);
    assert_int_equal(rootfs_view(drv, layers, &m, NULL), 0);
    assert_int_equal(strv_len(m.lower), 2);
    assert_int_equal(rootfs_mount_detached(&m, &fd, NULL), 0);
    assert_content(fd, "3", "3");
    assert_int_equal(faccessat(fd, "1", F_OK, 0), -1);
}

static void test_bad_layers(void **state)
{
    AUTOFREE char *dir = NULL;
    AUTOFREE char *file = in_top("file");
    char *none[] = {NULL};
    char *missing[] = {"/nonexistent/pouch", NULL};
    char *no_dir[] = {file, NULL};
    struct rootfs_mount m = {.type = NULL};
    struct error e = ERROR_INIT;

    need_root();
    dir = make_container("c1");
    put_file(top, "file", "x");
    assert_true(rootfs_prepare(drv, dir, none, &m, &e) < 0);
    error_done(&e);
    assert_true(rootfs_prepare(drv, dir, missing, &m, &e) < 0);
    assert_non_null(strstr(error_message(&e), "layer /nonexistent/pouch: No such file"));
    error_done(&e);
    assert_true(rootfs_prepare(drv, dir, no_dir, &m, &e) < 0);
    error_done(&e);
    assert_int_equal(rmdir(dir), 0); /* nothing was made */
}

/* The way of kernels before 6.5, in a child with a mount namespace of its own. */
static void test_legacy(void **state)
{
    AUTOFREE char *dir = NULL;
    AUTOFREE char *target = NULL;
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    int status = -1;
    pid_t pid;

    need_root();
    dir = make_container("c1");
    target = in_top("target");
    assert_int_equal(mkdir(target, 0700), 0);
    make_layers(ROOTFS_LAYERS_MAX, top);
    assert_int_equal(rootfs_prepare(drv, dir, layers, &m, NULL), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct sys_overlay o = {.lower = m.lower,
                                      .upper = m.upper,
                                      .work = m.work,
                                      .options = m.options};
        AUTOFREE char *made = xasprintf("%s/127", target);
        struct error e = ERROR_INIT;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(2);
        if (sys_overlay_mount_legacy(&o, target, &e) < 0) {
            fprintf(stderr, "# %s\n", error_message(&e));
            _exit(3);
        }
        _exit(access(made, F_OK) == 0 ? 0 : 4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_mount_at(void **state)
{
    AUTOFREE char *target = NULL;
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    int status = -1;
    pid_t pid;

    need_root();
    target = in_top("target");
    assert_int_equal(mkdir(target, 0700), 0);
    make_layers(2, top);
    assert_int_equal(rootfs_view(drv, layers, &m, NULL), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct sys_overlay o = {.lower = m.lower, .options = m.options};
        AUTOFREE char *made = xasprintf("%s/1", target);

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            sys_overlay_mount(&o, target, NULL) < 0)
            _exit(2);
        _exit(access(made, F_OK) == 0 ? 0 : 4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_size(void **state)
{
    AUTOFREE char *dir = NULL;
    AUTOFREE char *upper = NULL;
    AUTOFREE char *a = NULL;
    AUTOFREE char *b = NULL;
    AUTOFREE char *big = xcalloc(1, 1 << 20);
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    uint64_t empty = 0;
    uint64_t full = 0;
    uint64_t none = 1;
    int fd;

    need_root();
    dir = make_container("c1");
    make_layers(1, top);
    assert_int_equal(rootfs_size(drv, dir, &none, NULL), 0);
    assert_int_equal(none, 0);
    assert_int_equal(rootfs_prepare(drv, dir, layers, &m, NULL), 0);
    assert_int_equal(rootfs_size(drv, dir, &empty, NULL), 0);
    assert_true(empty <= 8192);
    upper = xstrdup(m.upper);
    a = xasprintf("%s/a", upper);
    b = xasprintf("%s/b", upper);
    memset(big, 'x', 1 << 20);
    assert_int_equal(fs_write_atomic(AT_FDCWD, a, big, 1 << 20, 0600, FS_SYNC), 0);
    assert_int_equal(link(a, b), 0);
    assert_int_equal(rootfs_size(drv, dir, &full, NULL), 0);
    assert_true(full >= empty + (1 << 20) && full < empty + (1 << 20) + 65536);
    /* Deep trees. */
    fd = open(upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 5000; i++) {
        int next;

        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        next = openat(fd, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
        (void)close(fd);
        fd = next;
    }
    (void)close(fd);
    empty = full;
    assert_int_equal(rootfs_size(drv, dir, &full, NULL), 0);
    assert_true(full >= empty);
}

static void test_remove_and_sweep(void **state)
{
    static const char *const ids[] = {"live", "dead1", "dead2"};
    char *live[] = {"live", NULL};
    AUTOFREE char *conf = NULL;
    struct stat st;
    int flags = FS_IMMUTABLE_FL;

    need_root();
    make_layers(1, top);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
        AUTOFREE char *dir = make_container(ids[i]);
        AUTOFD int fd = -EBADF;
        AUTOFD int file = -EBADF;

        assert_int_equal(rootfs_prepare(drv, dir, layers, &m, NULL), 0);
        assert_int_equal(rootfs_mount_detached(&m, &fd, NULL), 0);
        file = openat(fd, "locked", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(file >= 0);
        assert_int_equal(unlinkat(fd, "common", 0), 0); /* a whiteout in the upper folder */
        (void)ioctl(file, FS_IOC_SETFLAGS, &flags);
    }
    conf = xasprintf("%s/containers/dead2", top);
    put_file(conf, "config.json", "{}");
    assert_int_equal(rootfs_sweep(drv, top, live, NULL), 2);
    assert_int_equal(rootfs_sweep(drv, top, live, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        AUTOFREE char *dir = xasprintf("%s/containers/%s", top, ids[i]);
        AUTOFREE char *upper = xasprintf("%s/diff", dir);

        assert_int_equal(stat(dir, &st), i == 0 ? 0 : -1);
        assert_int_equal(stat(upper, &st), i == 0 ? 0 : -1);
        assert_int_equal(rootfs_remove(drv, dir, NULL), 0);
        assert_int_equal(rootfs_remove(drv, dir, NULL), 0);
        assert_int_equal(stat(upper, &st), -1);
    }
}

/* Names below containers/ that are not "live". */
static unsigned leftovers(void)
{
    AUTOFREE char *path = in_top("containers");
    DIR *d = opendir(path);
    const struct dirent *de;
    unsigned n = 0;

    while (d && (de = readdir(d)))
        n += de->d_name[0] != '.' && !STREQ(de->d_name, "live");
    if (d)
        (void)closedir(d);
    return n;
}

/* A container with many files: its name goes at once; what a pouchd that ended or died left of it, or
 * had not begun, the next one's sweep removes. */
static void test_remove_much(void **state)
{
    char *live[] = {"live", NULL};
    struct stat st;

    need_root();
    for (int i = 0; i < 3; i++) {
        struct reaper *reaper = reaper_new();
        struct rootfs_params p = {.driver = "overlay", .root = top, .state = top, .reaper = reaper};
        struct rootfs *rf = NULL;
        AUTOFREE char *keep = make_container("live/diff/deep");
        AUTOFREE char *dir = make_container("much");
        AUTOFREE char *upper = make_container("much/diff/deep");

        for (int k = 0; k < 3000; k++) {
            AUTOFREE char *name = xasprintf("%d", k);
            put_file(upper, name, "x");
        }
        assert_int_equal(rootfs_open(&p, &rf, NULL), 0);
        if (i > 0)
            reaper_stop(reaper); /* ends just then */
        if (i < 2)
            assert_int_equal(rootfs_remove(rf, dir, NULL), 0);
        assert_int_equal(stat(dir, &st), i < 2 ? -1 : 0);
        reaper_wait(reaper);
        assert_int_equal(leftovers(), i > 0);
        rootfs_close(rf, NULL);
        reaper_free(reaper);
        p.reaper = reaper_new();
        assert_int_equal(rootfs_open(&p, &rf, NULL), 0);
        assert_int_equal(rootfs_sweep(rf, top, live, NULL), i > 0);
        reaper_wait(p.reaper);
        assert_int_equal(leftovers(), 0);
        assert_int_equal(stat(keep, &st), 0);
        rootfs_close(rf, NULL);
        reaper_free(p.reaper);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_find),         T(test_probe),
        T(test_probe_nested), T(test_prepare),
        T(test_volatile),     T(test_no_mount_is_seen),
        T(test_many_layers),  T(test_view),
        T(test_opaque_root),  T(test_bad_layers),
        T(test_legacy),       T(test_mount_at),
        T(test_size),         T(test_remove_and_sweep),
        T(test_remove_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
