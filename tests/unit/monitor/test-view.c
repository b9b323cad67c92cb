/* SPDX-License-Identifier: Apache-2.0 */
/* What a container is told about its resources, from made-up cgroup files. */
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

#include "base/alloc.h"
#include "base/fs.h"
#include "monitor/view-answer.h"

static char dir[64];

static int set_up(void **state)
{
    AUTOFREE char *path = NULL;

    (void)snprintf(dir, sizeof(dir), "/tmp/pouch-test-view.XXXXXX");
    assert_non_null(mkdtemp(dir));
    path = xasprintf("%s/top/c", dir);
    return fs_mkdir_p(path, 0755);
}

static int tear_down(void **state)
{
    return fs_remove_tree(AT_FDCWD, dir);
}

static void put(const char *file, const char *text)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, file);

    assert_int_equal(fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, FS_NO_SYNC), 0);
}

static struct view_source source(bool v2)
{
    return (struct view_source){
        .v2 = v2, .memory = dir, .cpu = dir, .pids = dir, .cgroup = "/top/c", .started = 100};
}

static struct sysinfo host(void)
{
    return (struct sysinfo){.uptime = 5000,
                            .loads = {1, 2, 3},
                            .totalram = 8ul << 30,
                            .freeram = 4ul << 30,
                            .bufferram = 1ul << 30,
                            .totalswap = 2ul << 30,
                            .freeswap = 1ul << 30,
                            .procs = 900,
                            .mem_unit = 1};
}

static void test_v2(void **state)
{
    struct view_source s = source(true);
    struct sysinfo si = host();

    put("top/c/memory.max", "1073741824\n");
    put("top/memory.max", "max\n");
    put("top/c/memory.current", "73741824\n");
    put("top/c/memory.stat", "anon 5\nshmem 4096\nshmem_thp 7\n");
    put("top/c/memory.swap.max", "1048576\n");
    put("top/c/memory.swap.current", "48576\n");
    put("top/c/pids.current", "12\n");
    view_fill_sysinfo(&s, &si, 160.9);
    assert_int_equal(si.totalram, 1073741824);
    assert_int_equal(si.freeram, 1000000000);
    assert_int_equal(si.sharedram, 4096);
    assert_int_equal(si.bufferram, 0);
    assert_int_equal(si.totalswap, 1048576);
    assert_int_equal(si.freeswap, 1000000);
    assert_int_equal(si.procs, 12);
    assert_int_equal(si.uptime, 60);
    assert_int_equal(si.loads[2], 3);
    assert_int_equal(si.mem_unit, 1);
    /* the limit of the parent, and more used than there is */
    put("top/memory.max", "4096\n");
    si = host();
    view_fill_sysinfo(&s, &si, 50);
    assert_int_equal(si.totalram, 4096);
    assert_int_equal(si.freeram, 0);
    assert_int_equal(si.uptime, 5000);
}

static void test_v1(void **state)
{
    struct view_source s = source(false);
    struct sysinfo si = host();

    put("top/c/memory.limit_in_bytes", "104857600\n");
    put("top/memory.limit_in_bytes", "9223372036854771712\n");
    put("top/c/memory.usage_in_bytes", "4857600\n");
    put("top/c/memory.memsw.limit_in_bytes", "209715200\n");
    put("top/c/memory.memsw.usage_in_bytes", "9715200\n");
    view_fill_sysinfo(&s, &si, 200);
    assert_int_equal(si.totalram, 104857600);
    assert_int_equal(si.freeram, 100000000);
    assert_int_equal(si.totalswap, 104857600);
    assert_int_equal(si.freeswap, 100000000);
    assert_int_equal(si.procs, 900);
}

static void test_none(void **state)
{
    struct view_source s = source(true);
    struct sysinfo si = host(), before = host();

    view_fill_sysinfo(&s, &si, 50); /* no files at all: the host's values */
    assert_memory_equal(&si, &before, sizeof(si));
    assert_int_equal(view_cpus(&s), 0);
    s.memory = s.cpu = s.pids = NULL;
    view_fill_sysinfo(&s, &si, 50);
    assert_memory_equal(&si, &before, sizeof(si));
    s = source(true);
    put("top/c/memory.max", "max\n"); /* no limit: the host's size, its own use */
    put("top/c/memory.current", "4096\n");
    view_fill_sysinfo(&s, &si, 50);
    assert_int_equal(si.totalram, before.totalram);
    assert_int_equal(si.freeram, before.totalram - 4096);
    put("top/c/memory.current", "what\n");
    si = before;
    view_fill_sysinfo(&s, &si, 50);
    assert_memory_equal(&si, &before, sizeof(si));
}

static void test_cpus(void **state)
{
    static const struct {
        const char *max, *quota, *period;
        unsigned want;
    } cases[] = {
        {"max 100000\n", "-1\n", "100000\n", 0},
        {"100000 100000\n", "100000\n", "100000\n", 1},
        {"50000 100000\n", "50000\n", "100000\n", 1},
        {"150000 100000\n", "150000\n", "100000\n", 2},
        {"1000 1000\n", "1000\n", "1000\n", 1},
        {"12800000 100000\n", "12800000\n", "100000\n", 128},
        {"5 0\n", "5\n", "0\n", 0},
        {"nonsense\n", "nonsense\n", "1\n", 0},
    };
    struct view_source s;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put("top/c/cpu.max", cases[i].max);
        put("top/c/cpu.cfs_quota_us", cases[i].quota);
        put("top/c/cpu.cfs_period_us", cases[i].period);
        s = source(true);
        assert_int_equal(view_cpus(&s), cases[i].want);
        s = source(false);
        assert_int_equal(view_cpus(&s), cases[i].want);
    }
    put("top/c/cpu.max", "400000 100000\n");
    put("top/cpu.max", "200000 100000\n");
    s = source(true);
    assert_int_equal(view_cpus(&s), 2);
}

static void test_mask(void **state)
{
    unsigned char mask[4] = {0xf0, 0x01, 0x00, 0x80};
    const unsigned char all[4] = {0xf0, 0x01, 0x00, 0x80}, five[4] = {0xf0, 0x01}, two[4] = {0x30};

    view_limit_mask(mask, sizeof(mask), 0);
    assert_memory_equal(mask, all, 4);
    view_limit_mask(mask, sizeof(mask), 6);
    assert_memory_equal(mask, all, 4);
    view_limit_mask(mask, sizeof(mask), 5);
    assert_memory_equal(mask, five, 4);
    view_limit_mask(mask, sizeof(mask), 2);
    assert_memory_equal(mask, two, 4);
}

static void test_loads(void **state)
{
    unsigned long loads[3] = {9, 9, 9};

    assert_true(view_parse_loads("0.50 1.00 2.25 1/7 99\n", loads));
    assert_int_equal(loads[0], 32768);
    assert_int_equal(loads[1], 65536);
    assert_int_equal(loads[2], 147456);
    assert_false(view_parse_loads("", loads));
    assert_false(view_parse_loads("0.1 x", loads));
    assert_false(view_parse_loads("-1 0 0", loads));
    assert_false(view_parse_loads("nan 0 0", loads));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(test_v2), T(test_v1), T(test_none), T(test_cpus), T(test_mask), T(test_loads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
