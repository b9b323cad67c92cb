/* SPDX-License-Identifier: Apache-2.0 */
/* Device rules as a BPF program on a v2 cgroup, asked by opening devices inside it. Needs root and
 * a unified hierarchy (also the one of a hybrid host). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/macros.h"
#include "sys/cgroup-priv.h"

#define TEXT(s) ((char *)(uintptr_t)(s))

/* In a child inside the cgroup: exit code 0 when opening path with flags works. */
static bool can_open(const char *cgroup, const char *path, int flags)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        AUTOFREE char *procs = xasprintf("%s/cgroup.procs", cgroup);

        if (fs_write_existing(AT_FDCWD, procs, "0") < 0)
            _exit(2);
        _exit(open(path, flags | O_CLOEXEC) >= 0 ? 0 : errno == EPERM ? 1 : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

static bool can_mknod(const char *cgroup, dev_t dev)
{
    AUTOFREE char *node = xasprintf("/tmp/pouch-test-node-%d", getpid());
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        AUTOFREE char *procs = xasprintf("%s/cgroup.procs", cgroup);

        if (fs_write_existing(AT_FDCWD, procs, "0") < 0)
            _exit(2);
        if (mknod(node, S_IFCHR | 0600, dev) < 0)
            _exit(errno == EPERM ? 1 : 3);
        _exit(unlink(node) == 0 ? 0 : 4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

struct rules {
    char path[64];
    char *dir;
};

static void begin(struct rules *r, struct cgroup_device *d, size_t n)
{
    struct json_list list = {d, n};
    CLEANUP(error_done) struct error e = ERROR_INIT;

    if (geteuid() != 0 || !cgroup_mount_point(""))
        skip();
    (void)snprintf(r->path, sizeof(r->path), "/pouch-test-devices-%d", getpid());
    r->dir = xasprintf("%s%s", cgroup_mount_point(""), r->path);
    assert_int_equal(mkdir(r->dir, 0755), 0);
    if (cgroup_devices_v2(r->path, &list, &e) < 0) {
        (void)rmdir(r->dir);
        fail_msg("%s", error_message(&e));
    }
}

static void end(struct rules *r)
{
    for (int i = 0; i < 15000 && rmdir(r->dir) < 0 && errno == EBUSY; i++)
        usleep(2000);
    assert_int_equal(access(r->dir, F_OK), -1);
    free(r->dir);
}

static void test_default_rules(void **state)
{
    struct cgroup_device d[] = {
        {.allow = false, .access = TEXT("rwm")},
        {.allow = true, .type = TEXT("c"), .major = {true, -1}, .access = TEXT("m")},
        {.allow = true, .type = TEXT("c"), .major = {true, 1}, .minor = {true, 3}},
        {.allow = true,
         .type = TEXT("c"),
         .major = {true, 1},
         .minor = {true, 5},
         .access = TEXT("r")},
    };
    struct rules r;

    begin(&r, d, ARRAY_SIZE(d));
    assert_true(can_open(r.dir, "/dev/null", O_RDWR));
    assert_true(can_open(r.dir, "/dev/zero", O_RDONLY));
    assert_false(can_open(r.dir, "/dev/zero", O_RDWR));
    assert_false(can_open(r.dir, "/dev/full", O_RDONLY));
    assert_true(can_mknod(r.dir, makedev(1, 7)));
    end(&r);
}

/* The last rule that matches decides; what none matches is allowed. */
static void test_order(void **state)
{
    struct cgroup_device d[] = {
        {.allow = false, .type = TEXT("c"), .major = {true, 1}},
        {.allow = true, .type = TEXT("c"), .major = {true, 1}, .minor = {true, 5}},
        {.allow = false,
         .type = TEXT("c"),
         .major = {true, 1},
         .minor = {true, 5},
         .access = TEXT("w")},
    };
    struct rules r;

    begin(&r, d, ARRAY_SIZE(d));
    assert_false(can_open(r.dir, "/dev/null", O_RDONLY));
    assert_true(can_open(r.dir, "/dev/zero", O_RDONLY));
    assert_false(can_open(r.dir, "/dev/zero", O_RDWR));
    assert_true(can_open(r.dir, "/dev/ptmx", O_RDWR | O_NOCTTY));
    assert_false(can_mknod(r.dir, makedev(1, 7)));
    end(&r);
}

static void test_all_allowed(void **state)
{
    struct cgroup_device d[] = {{.allow = false}, {.allow = true}};
    struct rules r;

    begin(&r, d, ARRAY_SIZE(d));
    assert_true(can_open(r.dir, "/dev/zero", O_RDWR));
    assert_true(can_mknod(r.dir, makedev(1, 7)));
    end(&r);
}

static void test_refusals(void **state)
{
    struct cgroup_device bad[] = {{.type = TEXT("x")}, {.access = TEXT("rwx")}};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct json_list list = {&bad[i], 1};
        CLEANUP(error_done) struct error e = ERROR_INIT;

        assert_true(cgroup_devices_v2("/x", &list, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        error_done(&e);
        assert_true(cgroup_devices_v1("/x", &list, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_rules),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_all_allowed),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
