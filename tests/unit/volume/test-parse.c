/* SPDX-License-Identifier: Apache-2.0 */
/* volume_mounts_parse(): every way to name a mount, what merges with what, what is refused how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "volume/volume.h"

static void assert_options(const struct volume_mount *m, const char *joined)
{
    AUTOFREE char *got = strv_join(m->options, ",");

    assert_string_equal(got, joined);
}

static const struct volume_mount *only(const struct volume_mounts *l)
{
    assert_int_equal(l->len, 1);
    return &l->items[0];
}

static void test_binds_good(void **state)
{
    static const struct {
        const char *text, *type, *source, *destination, *mode, *propagation, *options;
        bool rw, no_copy;
    } cases[] = {
        {"/a:/b", "bind", "/a", "/b", "", "rprivate", "rbind,rprivate", true, false},
        {"/a:/b:", "bind", "/a", "/b", "", "rprivate", "rbind,rprivate", true, false},
        {"/a:/b:ro", "bind", "/a", "/b", "ro", "rprivate", "rbind,rprivate,ro", false, false},
        {"/a:/b:rw", "bind", "/a", "/b", "rw", "rprivate", "rbind,rprivate", true, false},
        {"/a/../c//d/.:/b/./x/../y/", "bind", "/c/d", "/b/y", "", "rprivate", "rbind,rprivate",
         true, false},
        {"/:/host:ro,rslave", "bind", "/", "/host", "ro,rslave", "rslave", "rbind,rslave,ro", false,
         false},
        {"/a:/b:z,shared", "bind", "/a", "/b", "z,shared", "shared", "rbind,shared", true, false},
        {"/a:/b:cached", "bind", "/a", "/b", "cached", "rprivate", "rbind,rprivate", true, false},
        {"data:/b", "volume", NULL, "/b", "", "rprivate", "rbind,rprivate", true, false},
        {"data:/b:ro,nocopy,Z", "volume", NULL, "/b", "ro,nocopy,Z", "rprivate",
         "rbind,rprivate,ro", false, true},
        {"a.b_c-1:/b", "volume", NULL, "/b", "", "rprivate", "rbind,rprivate", true, false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *binds[] = {(char *)cases[i].text, NULL};
        const struct volume_request req = {.binds = binds};
        struct volume_mounts l = {.items = NULL};
        struct error e = ERROR_INIT;
        const struct volume_mount *m;

        if (volume_mounts_parse(&req, &l, &e) < 0)
            fail_msg("%s: %s", cases[i].text, error_message(&e));
        m = only(&l);
        assert_string_equal(m->type, cases[i].type);
        if (cases[i].source) {
            assert_string_equal(m->source, cases[i].source);
            assert_true(m->make_source);
        } else {
            assert_null(m->source);
            assert_int_equal(strncmp(m->name, cases[i].text, strlen(m->name)), 0);
            assert_string_equal(m->driver, "local");
        }
        assert_string_equal(m->destination, cases[i].destination);
        assert_string_equal(m->mode, cases[i].mode);
        assert_string_equal(m->propagation, cases[i].propagation);
        assert_options(m, cases[i].options);
        assert_int_equal(m->rw, cases[i].rw);
        assert_int_equal(m->no_copy, cases[i].no_copy);
        assert_false(m->anonymous);
        volume_mounts_done(&l);
    }
}

static void assert_refused(const struct volume_request *req, const char *what, const char *message)
{
    struct volume_mounts l = {.items = NULL};
    struct error e = ERROR_INIT;
    int r = volume_mounts_parse(req, &l, &e);

    if (r >= 0 || !strstr(error_message(&e), message))
        fail_msg("%s: got %d \"%s\", wanted \"%s\"", what, r, error_message(&e), message);
    assert_null(l.items);
    error_done(&e);
}

static void test_binds_bad(void **state)
{
    static const char *const cases[][2] = {
        {"", "invalid volume specification: ''"},
        {":", "invalid volume specification"},
        {":/b", "invalid volume specification"},
        {"/a:", "invalid volume specification: '/a:'"},
        {"/a::ro", "invalid volume specification"},
        {"/a:ro", "invalid volume specification: '/a:ro'"},
        {"/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"},
        {"/a:/b:ro,rw", "invalid mode: ro,rw"},
        {"/a:/b:ro,ro", "invalid mode: ro,ro"},
        {"/a:/b:z,Z", "invalid mode: z,Z"},
        {"/a:/b:shared,private", "invalid mode: shared,private"},
        {"/a:/b:bogus", "invalid mode: bogus"},
        {"/a:/b:ro,", "invalid mode: ro,"},
        {"/a:b", "mount path must be absolute"},
        {"b", "mount path must be absolute"},
        {"/a:/", "destination can't be '/'"},
        {"/a:/..", "destination can't be '/'"},
        {"/a:/b:nocopy", "field VolumeOptions must not be specified"},
        {"data:/b:shared", "field BindOptions must not be specified"},
        {"./a:/b", "includes invalid characters for a local volume name"},
        {"../a:/b", "includes invalid characters"},
        {"x:/b", "volume name is too short"},
        {"-a:/b", "includes invalid characters"},
        {"a b:/b", "includes invalid characters"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *binds[] = {(char *)cases[i][0], NULL};
        const struct volume_request req = {.binds = binds};

        assert_refused(&req, cases[i][0], cases[i][1]);
    }
}

static void test_long_texts(void **state)
{
    AUTOFREE char *colons = xmalloc(100001);
    char *binds[] = {colons, NULL};
    struct json_map tmpfs = {.items = NULL};
    struct volume_request req = {.binds = binds};

    memset(colons, ':', 100000);
    colons[100000] = 0;
    assert_refused(&req, "colons", "it is too long");
    memset(colons, 'a', 10000);
    colons[0] = '/';
    colons[10000] = 0;
    assert_refused(&req, "destination", "it is too long");
    req.binds = NULL;
    json_map_set(&tmpfs, "/run", colons);
    json_map_set(&tmpfs, colons, "");
    req.tmpfs = &tmpfs;
    assert_refused(&req, "tmpfs", "tmpfs option");
    json_map_done(&tmpfs);
}

/* HostConfig.Mounts come as JSON, so that the table is tested with them. */
static int parse_mounts(const char *json, struct volume_mounts *ret, struct error *e)
{
    struct volume_mount_request q = {.type = NULL};
    struct volume_request req = {.mounts = &q, .n_mounts = 1};
    int r = json_parse(&volume_mount_request_json, json, strlen(json), &q, e);

    if (r == 0)
        r = volume_mounts_parse(&req, ret, e);
    json_free(&volume_mount_request_json, &q);
    return r;
}

static void test_mounts_good(void **state)
{
    static const struct {
        const char *json, *type, *destination, *options;
    } cases[] = {
        {"{\"Type\":\"bind\",\"Source\":\"/a/\",\"Target\":\"/b\"}", "bind", "/b",
         "rbind,rprivate"},
        {"{\"Type\":\"bind\",\"Source\":\"/a\",\"Target\":\"/b\",\"ReadOnly\":true,"
         "\"BindOptions\":{\"Propagation\":\"rshared\",\"NonRecursive\":true}}",
         "bind", "/b", "bind,rshared,ro"},
        {"{\"Type\":\"volume\",\"Source\":\"data\",\"Target\":\"/b\","
         "\"VolumeOptions\":{\"NoCopy\":true,\"Labels\":{\"k\":\"v\"},\"DriverConfig\":"
         "{\"Name\":\"local\",\"Options\":{\"type\":\"none\",\"o\":\"bind\",\"device\":\"/d\"}}}}",
         "volume", "/b", "rbind,rprivate"},
        {"{\"Type\":\"tmpfs\",\"Target\":\"/b\"}", "tmpfs", "/b", "noexec,nosuid,nodev"},
        {"{\"Type\":\"tmpfs\",\"Target\":\"/b\",\"ReadOnly\":true,\"TmpfsOptions\":"
         "{\"SizeBytes\":1048576,\"Mode\":448}}",
         "tmpfs", "/b", "noexec,nosuid,nodev,size=1048576,mode=700,ro"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct volume_mounts l = {.items = NULL};
        struct error e = ERROR_INIT;
        const struct volume_mount *m;

        if (parse_mounts(cases[i].json, &l, &e) < 0)
            fail_msg("%s: %s", cases[i].json, error_message(&e));
        m = only(&l);
        assert_string_equal(m->type, cases[i].type);
        assert_string_equal(m->destination, cases[i].destination);
        assert_options(m, cases[i].options);
        assert_false(m->make_source);
        if (i == 2) {
            assert_true(m->no_copy);
            assert_string_equal(json_map_get(&m->labels, "k"), "v");
            assert_string_equal(json_map_get(&m->driver_opts, "device"), "/d");
        }
        volume_mounts_done(&l);
    }
}

static void test_mounts_bad(void **state)
{
    static const char *const cases[][2] = {
        {"{\"Type\":\"bind\",\"Target\":\"/b\"}", "field Source must not be empty"},
        {"{\"Type\":\"bind\",\"Source\":\"/a\"}", "field Target must not be empty"},
        {"{\"Type\":\"bind\",\"Source\":\"a\",\"Target\":\"/b\"}", "mount path must be absolute"},
        {"{\"Type\":\"bind\",\"Source\":\"/a\",\"Target\":\"/\"}", "destination can't be '/'"},
        {"{\"Type\":\"bind\",\"Source\":\"/a\",\"Target\":\"/b\",\"VolumeOptions\":{}}",
         "invalid mount config for type \"bind\": field VolumeOptions must not be specified"},
        {"{\"Type\":\"bind\",\"Source\":\"/a\",\"Target\":\"/b\","
         "\"BindOptions\":{\"Propagation\":\"x\"}}",
         "invalid propagation mode: x"},
        {"{\"Type\":\"volume\",\"Source\":\"/a\",\"Target\":\"/b\"}", "invalid characters"},
        {"{\"Type\":\"volume\",\"Target\":\"/b\",\"BindOptions\":{}}",
         "field BindOptions must not be specified"},
        {"{\"Type\":\"volume\",\"Target\":\"/b\",\"VolumeOptions\":{\"DriverConfig\":"
         "{\"Name\":\"nfs\"}}}",
         "plugin \"nfs\" not found"},
        {"{\"Type\":\"volume\",\"Target\":\"/b\",\"VolumeOptions\":{\"DriverConfig\":"
         "{\"Options\":{\"volume-size\":\"1\"}}}}",
         "invalid option: \"volume-size\""},
        {"{\"Type\":\"volume\",\"Target\":\"/b\",\"VolumeOptions\":{\"DriverConfig\":"
         "{\"Options\":{\"size\":\"much\"}}}}",
         "volume option size"},
        {"{\"Type\":\"volume\",\"Target\":\"/b\",\"VolumeOptions\":{\"Subpath\":\"x\"}}",
         "Subpath is not supported"},
        {"{\"Type\":\"tmpfs\",\"Source\":\"/a\",\"Target\":\"/b\"}",
         "field Source must not be specified"},
        {"{\"Type\":\"tmpfs\",\"Target\":\"/b\",\"TmpfsOptions\":{\"SizeBytes\":-1}}",
         "out of range"},
        {"{\"Type\":\"npipe\",\"Source\":\"/a\",\"Target\":\"/b\"}",
         "mount type \"npipe\" unknown"},
        {"{\"Target\":\"/b\"}", "mount type \"\" unknown"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct volume_mounts l = {.items = NULL};
        struct error e = ERROR_INIT;

        if (parse_mounts(cases[i][0], &l, &e) >= 0 || !strstr(error_message(&e), cases[i][1]))
            fail_msg("%s: got \"%s\"", cases[i][0], error_message(&e));
        error_done(&e);
    }
}

static void test_tmpfs(void **state)
{
    static const char *const good[][2] = {
        {"", "noexec,nosuid,nodev"},
        {"rw,exec,size=64m", "nosuid,nodev,rw,exec,size=64m"},
        {"noexec,mode=1777,uid=5,exec", "nosuid,nodev,mode=1777,uid=5,exec"},
        {"ro", "noexec,nosuid,nodev,ro"},
    };
    static const char *const bad[] = {"bogus", "size=", "size", "lowerdir=/etc"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct json_map tmpfs = {.items = NULL};
        const struct volume_request req = {.tmpfs = &tmpfs};
        struct volume_mounts l = {.items = NULL};

        json_map_set(&tmpfs, "/run//x", good[i][0]);
        assert_int_equal(volume_mounts_parse(&req, &l, NULL), 0);
        assert_options(only(&l), good[i][1]);
        assert_string_equal(l.items[0].destination, "/run/x");
        assert_int_equal(l.items[0].rw, i != 3);
        volume_mounts_done(&l);
        json_map_done(&tmpfs);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct json_map tmpfs = {.items = NULL};
        const struct volume_request req = {.tmpfs = &tmpfs};

        json_map_set(&tmpfs, "/run", bad[i]);
        assert_refused(&req, bad[i], "invalid tmpfs option");
        json_map_done(&tmpfs);
    }
}

static void test_duplicates(void **state)
{
    char *twice[] = {"/a:/x", "/b:/x/", NULL};
    char *one[] = {"/a:/x", NULL};
    struct volume_mount_request q = {.type = "tmpfs", .target = "/x"};
    struct json_map tmpfs = {.items = NULL};
    struct volume_request req = {.binds = twice};

    assert_refused(&req, "two binds", "Duplicate mount point: /x");
    req = (struct volume_request){.binds = one, .mounts = &q, .n_mounts = 1};
    assert_refused(&req, "bind and mount", "Duplicate mount point: /x");
    json_map_set(&tmpfs, "/x", "");
    req = (struct volume_request){.binds = one, .tmpfs = &tmpfs};
    assert_refused(&req, "bind and tmpfs", "Duplicate mount point: /x");
    json_map_done(&tmpfs);
}

/* The image's volumes and --volumes-from yield; parents come first. */
static void test_merge(void **state)
{
    char *binds[] = {"/h:/data/sub", "named:/data", NULL};
    char *volumes[] = {"/data", "/anon", "/from", "/anon/", NULL};
    struct volume_mount items[] = {
        {.type = "volume", .name = "other", .destination = "/from", .rw = true},
        {.type = "volume", .name = "third", .destination = "/data", .rw = true},
    };
    const struct volume_mounts from = {items, 2};
    const struct volume_request req = {.binds = binds, .volumes = volumes, .from = &from};
    struct volume_mounts l = {.items = NULL};

    assert_int_equal(volume_mounts_parse(&req, &l, NULL), 0);
    assert_int_equal(l.len, 4);
    assert_string_equal(l.items[0].destination, "/anon");
    assert_true(l.items[0].anonymous);
    assert_int_equal(strlen(l.items[0].name), 64);
    assert_string_equal(l.items[1].destination, "/data");
    assert_string_equal(l.items[1].name, "named");
    assert_string_equal(l.items[2].destination, "/from");
    assert_string_equal(l.items[2].name, "other");
    assert_string_equal(l.items[3].destination, "/data/sub");
    volume_mounts_done(&l);
}

static void test_anonymous_bind(void **state)
{
    char *binds[] = {"/cache", NULL};
    const struct volume_request req = {.binds = binds};
    struct volume_mounts l = {.items = NULL};
    AUTOFREE char *json = NULL;
    struct volume_mount again = {.type = NULL};

    assert_int_equal(volume_mounts_parse(&req, &l, NULL), 0);
    assert_true(only(&l)->anonymous);
    assert_true(l.items[0].rw);
    /* The engine keeps it as JSON. */
    json = json_print_str(&volume_mount_json, &l.items[0]);
    assert_int_equal(json_parse(&volume_mount_json, json, strlen(json), &again, NULL), 0);
    assert_string_equal(again.name, l.items[0].name);
    assert_true(strv_equal(again.options, l.items[0].options));
    assert_true(again.anonymous && again.rw);
    json_free(&volume_mount_json, &again);
    volume_mounts_done(&l);
}

static void test_from(void **state)
{
    AUTOFREE char *id = NULL;
    bool ro = true;

    assert_int_equal(volume_from_parse("web", &id, &ro, NULL), 0);
    assert_string_equal(id, "web");
    assert_false(ro);
    free(take_ptr(id));
    assert_int_equal(volume_from_parse("web:ro,z", &id, &ro, NULL), 0);
    assert_string_equal(id, "web");
    assert_true(ro);
    assert_true(volume_from_parse("", &id, &ro, NULL) < 0);
    assert_true(volume_from_parse(":ro", &id, &ro, NULL) < 0);
    assert_true(volume_from_parse("web:bogus", &id, &ro, NULL) < 0);
    assert_true(volume_from_parse("web:nocopy", &id, &ro, NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_binds_good),     cmocka_unit_test(test_binds_bad),
        cmocka_unit_test(test_long_texts),     cmocka_unit_test(test_mounts_good),
        cmocka_unit_test(test_mounts_bad),     cmocka_unit_test(test_tmpfs),
        cmocka_unit_test(test_duplicates),     cmocka_unit_test(test_merge),
        cmocka_unit_test(test_anonymous_bind), cmocka_unit_test(test_from),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
