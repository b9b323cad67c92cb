/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions of cgroup values; with root, the life of a cgroup on this host. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "sys/cgroup.h"

static void test_shares(void **state)
{
    static const uint64_t cases[][2] = {{0, 1},   {2, 1},          {1024, 39},     {512, 20},
                                        {100, 4}, {262144, 10000}, {999999, 10000}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(cgroup_shares_to_weight(cases[i][0]), cases[i][1]);
}

static void test_blkio_weight(void **state)
{
    static const uint64_t cases[][2] = {{0, 1}, {10, 1}, {500, 4950}, {1000, 10000}, {5000, 10000}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(cgroup_blkio_weight_to_io(cases[i][0]), cases[i][1]);
}

static void test_swap(void **state)
{
    assert_int_equal(cgroup_swap_to_v2(200, 100), 100);
    assert_int_equal(cgroup_swap_to_v2(100, 100), 0);
    assert_int_equal(cgroup_swap_to_v2(-1, 100), -1);
    assert_int_equal(cgroup_swap_to_v2(50, -1), 50);
    assert_int_equal(cgroup_swap_to_v2(50, 100), 0);
}

static void test_bad_paths(void **state)
{
    static const char *const bad[] = {"", "/", "x", "/a/../b", "/a//b", "/a/", "/a/.."};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;

        assert_true(cgroup_create(bad[i], NULL, NULL, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        assert_true(cgroup_remove(bad[i], NULL) < 0);
    }
}

static void need_cgroups(void)
{
    if (geteuid() != 0 || cgroup_host_layout() == CGROUP_NONE)
        skip();
}

static void test_life(void **state)
{
    AUTOFREE char *path = xasprintf("/pouch-test-unit-%d/c1", getpid());
    AUTOFREE char *parent = xasprintf("/pouch-test-unit-%d", getpid());
    struct cgroup_memory m = {.limit = {true, 64 << 20}};
    struct cgroup_pids p = {.limit = {true, 12}};
    struct cgroup_resources r = {.memory = &m, .pids = &p};
    CLEANUP(error_done) struct error e = ERROR_INIT;
    CLEANUP(cgroup_stats_done) struct cgroup_stats s = {0};
    AUTOPTR(strv) char **warnings = NULL;
    AUTOFREE pid_t *pids = NULL;
    size_t n = 0;
    int status;
    pid_t pid;

    need_cgroups();
    assert_int_equal(cgroup_create(path, &r, &warnings, &e), 0);
    assert_true(cgroup_exists(path));
    pid = fork();
    if (pid == 0) {
        if (cgroup_join(path, 0, NULL) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    for (int i = 0; i < 15000 && n == 0; i++) {
        free(take_ptr(pids));
        assert_int_equal(cgroup_pids(path, &pids, &n, &e), 0);
        usleep(2000);
    }
    assert_int_equal(n, 1);
    assert_int_equal(pids[0], pid);
    assert_int_equal(cgroup_stats(path, &s, &e), 0);
    assert_int_equal(s.pids_limit, 12);
    assert_int_equal(s.mem_limit, 64 << 20);
    assert_int_equal(s.pids_current, 1);
    assert_int_equal(cgroup_oom_count(path), 0);
    p.limit.value = 15;
    assert_int_equal(cgroup_update(path, &r, NULL, &e), 0);
    assert_int_equal(cgroup_freeze(path, &e), 0);
    assert_true(cgroup_is_frozen(path));
    assert_int_equal(cgroup_thaw(path, &e), 0);
    assert_false(cgroup_is_frozen(path));
    assert_int_equal(cgroup_kill(path, &e), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(cgroup_remove(path, &e), 0);
    assert_false(cgroup_exists(path));
    assert_int_equal(cgroup_remove(path, &e), 0); /* gone is fine */
    assert_int_equal(cgroup_remove(parent, &e), 0);
}

static void test_refusals(void **state)
{
    AUTOFREE char *path = xasprintf("/pouch-test-unit-%d", getpid());
    struct cgroup_memory m = {.limit = {true, 64 << 20}, .swap = {true, 32 << 20}};
    struct cgroup_cpu c = {.cpus = (char *)(uintptr_t) "4000"};
    struct cgroup_resources r = {.memory = &m};
    CLEANUP(error_done) struct error e = ERROR_INIT;

    need_cgroups();
    assert_true(cgroup_create(path, &r, NULL, &e) < 0);
    assert_non_null(strstr(error_message(&e), "must not be smaller"));
    assert_false(cgroup_exists(path)); /* nothing is left */
    error_done(&e);
    r = (struct cgroup_resources){.cpu = &c};
    assert_true(cgroup_create(path, &r, NULL, &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    assert_false(cgroup_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares), cmocka_unit_test(test_blkio_weight),
        cmocka_unit_test(test_swap),   cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_life),   cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
