/* SPDX-License-Identifier: Apache-2.0 */
/* Disk quota rules: every form of the original, which rule wins, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/quotaspec.h"
#include "base/strv.h"

#define GIB ((uint64_t)1 << 30)
#define MIB ((uint64_t)1 << 20)

static void limits(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes, inodes;
    } good[] = {
        {"10g", 10 * GIB, 0},
        {"2000m", 2000 * MIB, 0},
        {"1.5g", GIB + GIB / 2, 0},
        {"4096", 4096, 0},
        {"10g,inodes=100k", 10 * GIB, 100000},
        {"inodes=2m", 0, 2000000},
        {"inodes=7", 0, 7},
    };
    static const char *const bad[] = {
        "",
        "0",
        "-1g",
        "ten",
        "10g,5g",
        "10g,inodes=0",
        "10g,inodes=x",
        "inodes=",
        "10g,",
        ",10g",
        "10g,foo",
        "inodes=5,10g",
        "inodes=5,inodes=6",
        "99999999999999999999g",
        "inodes=99999999999999g",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct quota_limit l;
        struct error e = ERROR_INIT;

        assert_int_equal(quotaspec_limit_parse(good[i].text, false, &l, &e), 0);
        assert_int_equal(l.bytes, good[i].bytes);
        assert_int_equal(l.inodes, good[i].inodes);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct quota_limit l = {1, 2};
        struct error e = ERROR_INIT;

        assert_true(quotaspec_limit_parse(bad[i], false, &l, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(l.bytes, 1);
        error_done(&e);
    }
}

static void lifting(void **state)
{
    struct quota_limit l = {1, 2};

    (void)state;
    assert_int_equal(quotaspec_limit_parse("0", true, &l, NULL), 0);
    assert_int_equal(l.bytes, 0);
    assert_int_equal(l.inodes, 0);
    assert_true(quotaspec_limit_parse("", true, &l, NULL) < 0);
}

static void command_line(void **state)
{
    struct json_map map = {0};
    struct error e = ERROR_INIT;
    bool bare = false;

    (void)state;
    assert_int_equal(quotaspec_add(&map, "/=1024m,/mnt/mount1=768m,inodes=5k", &bare, &e), 0);
    assert_int_equal(quotaspec_add(&map, "/mnt/a&/mnt/b=1280m", &bare, &e), 0);
    assert_int_equal(quotaspec_add(&map, "/c=inodes=9", &bare, &e), 0);
    assert_false(bare);
    assert_string_equal(json_map_get(&map, "/"), "1024m");
    assert_string_equal(json_map_get(&map, "/mnt/mount1"), "768m,inodes=5k");
    assert_string_equal(json_map_get(&map, "/mnt/a&/mnt/b"), "1280m");
    assert_string_equal(json_map_get(&map, "/c"), "inodes=9");
    assert_int_equal(quotaspec_add(&map, "10g,inodes=1k", &bare, &e), 0);
    assert_true(bare);
    assert_string_equal(json_map_get(&map, ".*"), "10g,inodes=1k");
    json_map_done(&map);
}

static void command_line_refused(void **state)
{
    static const char *const bad[] = {"", "=10g", "/a=1g=2g", "/a=1g,/a=2g", "10g,20g", ","};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct json_map map = {0};
        struct quota_rules rules = {0};
        struct error e = ERROR_INIT;
        bool bare = false;
        int r = quotaspec_add(&map, bad[i], &bare, &e);

        if (r == 0)
            r = quotaspec_rules_parse(&map, false, &rules, &e);
        assert_true(r < 0);
        assert_int_equal(e.code, ERR_INVALID);
        error_done(&e);
        json_map_done(&map);
    }
}

static struct quota_rules rules_of(const char *text)
{
    struct json_map map = {0};
    struct quota_rules rules = {0};
    struct error e = ERROR_INIT;
    bool bare = false;

    assert_int_equal(quotaspec_add(&map, text, &bare, &e), 0);
    if (quotaspec_rules_parse(&map, false, &rules, &e) < 0)
        fail_msg("%s", error_message(&e));
    json_map_done(&map);
    return rules;
}

/* The map's order must not matter: both ways round. */
static void who_wins(void **state)
{
    static const char *const texts[] = {
        "/=1g,/&/x=2g", /* two rules for one path: refused below */
        "/mnt/m1=1g,.*=2g,/mnt/.*=3g,/a&/b=4g",
        "/a&/b=4g,/mnt/.*=3g,.*=2g,/mnt/m1=1g",
    };

    (void)state;
    for (size_t i = 1; i < ARRAY_SIZE(texts); i++) {
        struct quota_rules r = rules_of(texts[i]);

        assert_int_equal(quotaspec_match(&r, "/mnt/m1")->limit.bytes, GIB);
        assert_int_equal(quotaspec_match(&r, "/mnt/m2")->limit.bytes, 3 * GIB);
        assert_int_equal(quotaspec_match(&r, "/a")->limit.bytes, 4 * GIB);
        assert_ptr_equal(quotaspec_match(&r, "/a"), quotaspec_match(&r, "/b"));
        assert_int_equal(quotaspec_match(&r, "/")->limit.bytes, 2 * GIB);
        assert_int_equal(quotaspec_match(&r, "/mnt")->limit.bytes, 2 * GIB);
        quota_rules_done(&r);
    }
}

static void whole_paths(void **state)
{
    struct quota_rules r = rules_of("/data[0-9]=1g,/logs|/tmp=2g,/v1.2=3g");

    (void)state;
    assert_non_null(quotaspec_match(&r, "/data1"));
    assert_null(quotaspec_match(&r, "/data12"));
    assert_null(quotaspec_match(&r, "/x/data1"));
    assert_non_null(quotaspec_match(&r, "/logs"));
    assert_null(quotaspec_match(&r, "/logs/a"));
    assert_null(quotaspec_match(&r, "/"));
    /* A dot alone is a dot. */
    assert_non_null(quotaspec_match(&r, "/v1.2"));
    assert_null(quotaspec_match(&r, "/v1x2"));
    quota_rules_done(&r);
}

static void rules_refused(void **state)
{
    static const char *const keys[] = {
        "",    "a",        "a&/b", "/a&b",  "/a&/a", "/a/",   "/a//b", "/../x", "/a/./b",  "/a&",
        "&/a", "/a{9,99}", "(/a",  "/a)(b", "[a",    "/a\\1", "*",     "/a=b",  "/a.*&/b", "/a\\",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct json_map map = {0};
        struct quota_rules rules = {0};
        struct error e = ERROR_INIT;
        int r;

        json_map_set(&map, keys[i], "10g");
        r = quotaspec_rules_parse(&map, false, &rules, &e);
        /* "/a.*" with "&" is a path with odd characters, as "a" alone is a bad one. */
        if (strcmp(keys[i], "/a.*&/b") == 0)
            assert_int_equal(r, 0);
        else
            assert_true(r < 0);
        error_done(&e);
        quota_rules_done(&rules);
        json_map_done(&map);
    }
}

static void two_rules_for_a_path(void **state)
{
    struct json_map map = {0};
    struct quota_rules rules = {0};
    struct error e = ERROR_INIT;

    (void)state;
    json_map_set(&map, "/", "1g");
    json_map_set(&map, "/&/x", "2g");
    assert_true(quotaspec_rules_parse(&map, false, &rules, &e) < 0);
    assert_non_null(strstr(error_message(&e), "two rules"));
    error_done(&e);
    json_map_done(&map);
}

static void ids(void **state)
{
    int64_t id = 7;

    (void)state;
    assert_int_equal(quotaspec_id_parse("", &id, NULL), 0);
    assert_int_equal(id, 0);
    assert_int_equal(quotaspec_id_parse(NULL, &id, NULL), 0);
    assert_int_equal(quotaspec_id_parse("0", &id, NULL), 0);
    assert_int_equal(id, 0);
    assert_int_equal(quotaspec_id_parse("-5", &id, NULL), 0);
    assert_int_equal(id, -1);
    assert_int_equal(quotaspec_id_parse("16777240", &id, NULL), 0);
    assert_int_equal(id, 16777240);
    assert_true(quotaspec_id_parse("16777216", &id, NULL) < 0);
    assert_true(quotaspec_id_parse("5", &id, NULL) < 0);
    assert_true(quotaspec_id_parse("4294967295", &id, NULL) < 0);
    assert_true(quotaspec_id_parse("x", &id, NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits),        cmocka_unit_test(lifting),
        cmocka_unit_test(command_line),  cmocka_unit_test(command_line_refused),
        cmocka_unit_test(who_wins),      cmocka_unit_test(whole_paths),
        cmocka_unit_test(rules_refused), cmocka_unit_test(two_rules_for_a_path),
        cmocka_unit_test(ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
