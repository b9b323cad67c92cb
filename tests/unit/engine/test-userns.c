/* SPDX-License-Identifier: Apache-2.0 */
/* Modes, maps and ranges of user namespaces; schemata, labels and paths of the isolation options. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "engine/isolation.h"
#include "engine/userns.h"
#include "oci/spec.h"

#define LIT(s) ((char *)(uintptr_t)(s))

static char *map_text(const struct id_map *m)
{
    AUTOPTR(strv) char **v = id_map_print(m);

    return strv_join(v, ",");
}

static void check_mode(const char *text, enum userns_kind kind, uint64_t size, const char *uids,
                       const char *gids)
{
    CLEANUP(userns_mode_done) struct userns_mode m = {.kind = USERNS_HOST};
    AUTOFREE char *u = NULL, *g = NULL;

    assert_int_equal(userns_mode_parse(text, &m, NULL), 0);
    u = map_text(&m.uid_map);
    g = map_text(&m.gid_map);
    assert_int_equal(m.kind, kind);
    assert_int_equal(m.size, size);
    assert_string_equal(u ? u : "", uids);
    assert_string_equal(g ? g : "", gids);
}

static void test_modes(void **state)
{
    static const char *const bad[] = {"none",
                                      "auto:size=",
                                      "auto:size=0",
                                      "auto:size=x",
                                      "auto:size=99999999999",
                                      "auto:what=1",
                                      "keep",
                                      "keep:",
                                      "keep:0",
                                      "keep:5:0",
                                      "keep:x",
                                      "keep:1:2:3",
                                      "keep-id:uid=1,uid=2",
                                      "container:",
                                      "0",
                                      "0:1",
                                      "0:1:0",
                                      "0:1:x",
                                      "0:4294967295:1",
                                      "4294967295:0:1",
                                      "0:100000:4294967295",
                                      "5:100000:10",
                                      "0:1000:10,5:2000:10",
                                      "0:1000:10,10:1005:10",
                                      "0:-1:5",
                                      " auto",
                                      "host,auto",
                                      "auto,size=5",
                                      "0:1:1:1",
                                      "0:18446744073709551616:1"};

    check_mode("", USERNS_HOST, 0, "", "");
    check_mode("host", USERNS_HOST, 0, "", "");
    check_mode("auto", USERNS_AUTO, 65536, "", "");
    check_mode("auto:size=1000", USERNS_AUTO, 1000, "", "");
    check_mode("auto:size=5,uidmapping=2:7:1,gidmapping=3:9:2", USERNS_AUTO, 5, "2:7:1", "3:9:2");
    check_mode("keep:1000", USERNS_AUTO, 65536, "1000:1000:1", "1000:1000:1");
    check_mode("keep:1000:50", USERNS_AUTO, 65536, "1000:1000:1", "50:50:1");
    check_mode("keep-id:uid=7,gid=8", USERNS_AUTO, 65536, "7:7:1", "8:8:1");
    check_mode("container:abc", USERNS_CONTAINER, 0, "", "");
    check_mode("0:100000:65536", USERNS_MAP, 0, "0:100000:65536", "0:100000:65536");
    check_mode("10:5:1,0:100000:10", USERNS_MAP, 0, "0:100000:10,10:5:1", "0:100000:10,10:5:1");
    check_mode("0:0:4294967295", USERNS_MAP, 0, "0:0:4294967295", "0:0:4294967295");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct userns_mode m;
        struct error e = ERROR_INIT;

        if (userns_mode_parse(bad[i], &m, &e) >= 0)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_true(strlen(error_message(&e)) > 10);
        error_done(&e);
    }
}

static void test_overlay(void **state)
{
    static const struct {
        struct id_extent over;
        const char *want;
    } cases[] = {
        {{0, 7, 1}, "0:7:1,1:101:9"}, {{4, 7, 2}, "0:100:4,4:7:2,6:106:4"},
        {{9, 7, 1}, "0:100:9,9:7:1"}, {{10, 7, 1}, "0:100:10,10:7:1"},
        {{0, 7, 10}, "0:7:10"},       {{8, 7, 10}, "0:100:8,8:7:10"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(id_map_done) struct id_map m = {0};
        struct id_extent all = {0, 100, 10};
        AUTOFREE char *text = NULL;

        assert_int_equal(id_map_overlay(&m, &all), 0);
        assert_int_equal(id_map_overlay(&m, &cases[i].over), 0);
        text = map_text(&m);
        assert_string_equal(text, cases[i].want);
    }
}

static void test_overlay_limit(void **state)
{
    CLEANUP(id_map_done) struct id_map m = {0};
    struct id_extent x = {0, 100000, 65536};
    int r = id_map_overlay(&m, &x);

    for (uint64_t i = 1; r == 0 && i < 400; i++) {
        x = (struct id_extent){i * 2, 10 + i, 1};
        r = id_map_overlay(&m, &x);
    }
    assert_int_equal(r, -E2BIG);
    assert_true(m.len <= USERNS_EXTENTS_MAX);
}

static void test_ranges(void **state)
{
    static const char *const names[] = {"pouch", NULL};
    CLEANUP(id_ranges_done) struct id_ranges ours = {0};
    CLEANUP(id_ranges_done) struct id_ranges others = {0};
    CLEANUP(id_ranges_done) struct id_ranges both = {0};

    subid_parse("root:1:2\npouch:1000:100\n\nbroken\npouch:x:1\npouch:1050:100\npouch2:5000:10\n"
                "pouch:1:99999999999\n:7:7",
                names, &ours, &others);
    assert_true(id_ranges_overlap(&ours, 1000, 1));
    assert_true(id_ranges_overlap(&ours, 1149, 1));
    assert_false(id_ranges_overlap(&ours, 1150, 10));
    assert_false(id_ranges_overlap(&ours, 1, 5));
    assert_true(id_ranges_overlap(&others, 5009, 1));
    id_ranges_remove(&ours, 1010, 10);
    assert_false(id_ranges_overlap(&ours, 1010, 10));
    assert_true(id_ranges_overlap(&ours, 1009, 1) && id_ranges_overlap(&ours, 1020, 1));
    id_ranges_add(&others, 1005, 10);
    id_ranges_intersect(&ours, &others, &both);
    assert_int_equal(both.len, 1);
    assert_int_equal(both.items[0].first, 1005);
    assert_int_equal(both.items[0].size, 5);
}

static void test_fit(void **state)
{
    static struct id_range pool_items[] = {{100, 50}, {1000, 30}};
    const struct id_ranges pool = {pool_items, 2};
    struct id_range used[5] = {{100, 10}, {120, 10}};
    uint64_t at = 0;

    assert_int_equal(userns_pool_fit(&pool, NULL, 0, 10, &at), 0);
    assert_int_equal(at, 100);
    assert_int_equal(userns_pool_fit(&pool, used, 2, 10, &at), 0); /* behind before gaps */
    assert_int_equal(at, 130);
    assert_int_equal(userns_pool_fit(&pool, used, 2, 30, &at), 0);
    assert_int_equal(at, 1000);
    assert_int_equal(userns_pool_fit(&pool, used, 2, 31, &at), -ENOSPC);
    used[2] = (struct id_range){1000, 30};
    assert_int_equal(userns_pool_fit(&pool, used, 3, 10, &at), 0); /* a gap, as nothing is behind */
    assert_int_equal(at, 110);
    assert_int_equal(userns_pool_fit(&pool, used, 3, 20, &at), 0);
    assert_int_equal(at, 130);
    used[2] = (struct id_range){130, 20};
    used[3] = (struct id_range){1000, 30};
    assert_int_equal(userns_pool_fit(&pool, used, 4, 11, &at), -ENOSPC);
}

/* Give and take at random: two ranges never overlap, and all of the pool can be used. */
static void test_fit_at_random(void **state)
{
    static struct id_range pool_items[] = {{1000, 640}, {5000, 360}};
    const struct id_ranges pool = {pool_items, 2};
    struct id_range used[128];
    size_t n = 0;
    unsigned seed = 7;

    for (int round = 0; round < 20000; round++) {
        uint64_t at = 0, size = 10;

        seed = seed * 1103515245 + 12345;
        if (n < 100 && (seed >> 16) % 3) {
            size_t i = n;

            assert_int_equal(userns_pool_fit(&pool, used, n, size, &at), 0);
            assert_true(id_ranges_overlap(&pool, at, 1) && id_ranges_overlap(&pool, at + 9, 1));
            for (size_t j = 0; j < n; j++)
                assert_true(at + size <= used[j].first || used[j].first + used[j].size <= at);
            for (; i > 0 && used[i - 1].first > at; i--)
                used[i] = used[i - 1];
            used[i] = (struct id_range){at, size};
            n++;
        } else if (n > 0) {
            size_t i = (seed >> 8) % n;

            memmove(&used[i], &used[i + 1], (n - i - 1) * sizeof(used[0]));
            n--;
        }
    }
}

/* --- isolation -------------------------------------------------------------------------------- */

static void test_schemata(void **state)
{
    static const char *const good[] = {"L3:0=f", "L3:0=ff;1=f0", "L3CODE:0=3;1=3",
                                       "L3DATA:0=fffff"};
    static const char *const bad[] = {"",
                                      "L3:",
                                      "L3:0",
                                      "L3:0=",
                                      "L3:0=g",
                                      "L3:0=0",
                                      "L3:0=5",
                                      "L3:0=f;",
                                      "L3:0=f;;1=f",
                                      "MB:0=50",
                                      "L2:0=f",
                                      "0=f",
                                      "L3:0=f\nL3:1=f",
                                      "L3:0=f\"",
                                      "L3:=f",
                                      "L3:-1=f",
                                      "L3:0=fffffffffffffffff"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(rdt_schema_check(good[i], NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (rdt_schema_check(bad[i], NULL) >= 0)
            fail_msg("\"%s\" was taken", bad[i]);
}

static void make(const char *dir, const char *name)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);
    AUTOFREE char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));

    assert_int_equal(fs_mkdir_p(parent, 0755), 0);
    assert_int_equal(fs_write_atomic(AT_FDCWD, path, "x", 1, 0644, FS_NO_SYNC), 0);
}

static void test_resctrl_tree(void **state)
{
    char dir[] = "/tmp/pouch-rdt-XXXXXX";
    AUTOFREE char *none = NULL;
    struct error e = ERROR_INIT;

    assert_non_null(mkdtemp(dir));
    none = xasprintf("%s/none", dir);
    assert_true(rdt_host_check(none, &e) < 0);
    assert_non_null(strstr(error_message(&e), "resctrl"));
    error_done(&e);
    assert_true(rdt_host_check(dir, &e) < 0);
    assert_non_null(strstr(error_message(&e), "not mounted"));
    error_done(&e);
    make(dir, "schemata");
    assert_true(rdt_host_check(dir, &e) < 0);
    assert_non_null(strstr(error_message(&e), "L3"));
    error_done(&e);
    make(dir, "info/L3/cbm_mask");
    assert_int_equal(rdt_host_check(dir, NULL), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
}

static void test_paths(void **state)
{
    static const struct {
        const char *opt;
        const char *masked, *readonly;
    } cases[] = {
        {"mask=/proc/foo:/proc/kcore", "/proc/kcore,/proc/keys,/sys/firmware,/proc/foo",
         "/proc/sys,/proc/bus"},
        {"unmask=/proc/keys:/proc/sys", "/proc/kcore,/sys/firmware", "/proc/bus"},
        {"unmask=/proc/*", "/sys/firmware", ""},
        {"unmask=ALL", "", ""},
        {"systempaths=unconfined", "", ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *opts[] = {LIT(cases[i].opt), NULL};
        struct host_config hc = {.security_opt = opts};
        char **masked = NULL, **readonly = NULL;
        AUTOFREE char *m = NULL, *r = NULL;

        strv_push(&masked, "/proc/kcore");
        strv_push(&masked, "/proc/keys");
        strv_push(&masked, "/sys/firmware");
        strv_push(&readonly, "/proc/sys");
        strv_push(&readonly, "/proc/bus");
        isolation_paths(&hc, &masked, &readonly);
        m = strv_join(masked, ",");
        r = strv_join(readonly, ",");
        assert_string_equal(m, cases[i].masked);
        assert_string_equal(r, cases[i].readonly);
        strv_free(masked);
        strv_free(readonly);
    }
    assert_true(isolation_check_paths("mask=x", "x", false, NULL) < 0);
    assert_true(isolation_check_paths("mask=/a/../b", "/a/../b", false, NULL) < 0);
    assert_true(isolation_check_paths("mask=ALL", "ALL", false, NULL) < 0);
    assert_int_equal(isolation_check_paths("unmask=ALL", "ALL", true, NULL), 0);
    assert_true(isolation_check_paths("mask=", "", false, NULL) < 0);
}

static void test_labels(void **state)
{
    char *none[] = {LIT("label=disable"), LIT("label=type:x_t"), NULL};
    char *bad[] = {LIT("label=what:x"), NULL};
    char *process = NULL, *file = NULL;

    assert_int_equal(isolation_labels(none, &process, &file, NULL), 0);
    assert_null(process);
    assert_true(isolation_labels(bad, &process, &file, NULL) < 0);
    assert_true(apparmor_has_profile("a (enforce)\nb//c (complain)\n", "b//c"));
    assert_false(apparmor_has_profile("aa (enforce)\nb (complain)\n", "a"));
    assert_false(apparmor_has_profile("", "a"));
}

/* Limits of processes by uid: the container's own when it has a user namespace. */
static void test_nproc(void **state)
{
    struct ulimit limits[] = {{LIT("nofile"), 5, 5}, {LIT("nproc"), 200, 100}};
    char *map[] = {LIT("0:100000:65536"), NULL};
    struct host_config hc = {.ulimits = {limits, 2}};
    struct cgroup_resources res = {.pids = NULL};
    const struct json_list none = {NULL, 0};

    assert_int_equal(isolation_nproc(&none, &hc), 100);
    isolation_resources(&none, &hc, &res);
    assert_int_equal(res.pids->limit.value, 100);
    res.pids->limit.value = 50; /* --pids-limit is lower */
    isolation_resources(&none, &hc, &res);
    assert_int_equal(res.pids->limit.value, 50);
    free(res.pids);
    hc.id_mappings.uid_map = map;
    assert_int_equal(isolation_nproc(&none, &hc), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),         cmocka_unit_test(test_overlay),
        cmocka_unit_test(test_overlay_limit), cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_fit),           cmocka_unit_test(test_fit_at_random),
        cmocka_unit_test(test_schemata),      cmocka_unit_test(test_resctrl_tree),
        cmocka_unit_test(test_paths),         cmocka_unit_test(test_labels),
        cmocka_unit_test(test_nproc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
