/* SPDX-License-Identifier: Apache-2.0 */
/* Versions, filters, bodies, times: what clients may send, and what they may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "api/docker/decode.h"
#include "base/time.h"

static void test_version(void **state)
{
    static const struct {
        const char *path, *rest;
        unsigned minor;
    } good[] = {
        {"/info", "/info", 52},
        {"/v1.24/info", "/info", 24},
        {"/v1.51/containers/json", "/containers/json", 51},
        {"/v1.52/containers/json", "/containers/json", 52},
        {"/v1.41", "/", 41},
        {"/volumes", "/volumes", 52},
        {"/version", "/version", 52},
        {"/v1.4x/info", "/v1.4x/info", 52},
        {"/vx/info", "/vx/info", 52},
        {"/v1./info", "/v1./info", 52},
    };
    unsigned minor;
    const char *rest;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(docker_version_split(good[i].path, &minor, &rest, NULL), 0);
        assert_string_equal(rest, good[i].rest);
        assert_int_equal(minor, good[i].minor);
    }
}

static void test_version_refused(void **state)
{
    static const struct {
        const char *path, *message;
    } bad[] = {
        {"/v1.23/info", "client version 1.23 is too old. Minimum supported API version is 1.24, "
                        "please upgrade your client to a newer version"},
        {"/v1/info", "client version 1.0 is too old. Minimum supported API version is 1.24, "
                     "please upgrade your client to a newer version"},
        {"/v0.99/info", "client version 0.99 is too old. Minimum supported API version is 1.24, "
                        "please upgrade your client to a newer version"},
        {"/v1.53/info", "client version 1.53 is too new. Maximum supported API version is 1.52"},
        {"/v2.0/info", "client version 2.0 is too new. Maximum supported API version is 1.52"},
    };
    unsigned minor;
    const char *rest;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO(error) struct error e = ERROR_INIT;

        assert_true(docker_version_split(bad[i].path, &minor, &rest, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(error_message(&e), bad[i].message);
    }
}

static void test_filters(void **state)
{
    AUTO(filter_set) struct filter_set f = {0};
    AUTO(filter_set) struct filter_set old = {0};
    AUTO(filter_set) struct filter_set none = {0};

    assert_int_equal(docker_filters_parse("{\"label\":[\"a=b\",\"c\"],\"status\":[\"exited\"]}", &f,
                                          NULL),
                     0);
    assert_string_equal(filter_set_get(&f, "label")[0], "a=b");
    assert_string_equal(filter_set_get(&f, "label")[1], "c");
    assert_null(filter_set_get(&f, "label")[2]);
    assert_string_equal(filter_set_get(&f, "status")[0], "exited");
    assert_null(filter_set_get(&f, "name"));

    /* as docker 20.10 sends it; a false one is not asked for */
    assert_int_equal(docker_filters_parse("{\"label\":{\"x=y\":true,\"n\":false}}", &old, NULL), 0);
    assert_string_equal(filter_set_get(&old, "label")[0], "x=y");
    assert_null(filter_set_get(&old, "label")[1]);

    assert_int_equal(docker_filters_parse(NULL, &none, NULL), 0);
    assert_int_equal(docker_filters_parse("", &none, NULL), 0);
    assert_int_equal(docker_filters_parse("{}", &none, NULL), 0);
    assert_int_equal(none.items.len, 0);
}

static void test_filters_refused(void **state)
{
    static const char *const bad[] = {"[]",           "\"x\"",          "{\"label\":\"x\"}",
                                      "{\"a\":[1]}",  "{\"a\":[[]]}",   "{",
                                      "{\"a\":null}", "{\"a\":[\"x\"]", "{\"a\":5}"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO(error) struct error e = ERROR_INIT;
        struct filter_set f = {0};

        assert_true(docker_filters_parse(bad[i], &f, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(f.items.len, 0);
    }
}

static void test_create(void **state)
{
    static const char text[] =
        "{\"Image\":\"busybox\",\"Cmd\":\"ls\",\"Unknown\":{\"deep\":[1,2]},"
        "\"HostConfig\":{\"Memory\":4194304,\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"80\"}]},"
        "\"RestartPolicy\":{\"Name\":\"always\"}},\"NetworkingConfig\":null}";
    struct container_config c = {0};
    struct create_extra x = {0};

    assert_int_equal(docker_create_parse(text, strlen(text), &c, &x, NULL), 0);
    assert_string_equal(c.image, "busybox");
    assert_string_equal(c.cmd[0], "ls");
    assert_int_equal(x.host_config.memory, 4194304);
    assert_string_equal(x.host_config.restart_policy.name, "always");
    json_free(&container_config_json, &c);
    json_free(&create_extra_json, &x);
}

static void test_create_refused(void **state)
{
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"", "got EOF while reading request body"},
        {"{\"Image\":5}", "Image"},
        {"{\"Image\":\"x\",\"HostConfig\":{\"Memory\":\"lots\"}}", "HostConfig.Memory"},
        {"{\"Image\":\"x\",\"HostConfig\":{\"PortBindings\":{\"80/tcp\":[5]}}}",
         "HostConfig.PortBindings.80/tcp[0]"},
        {"{\"Image\":\"x\"", ""},
        {"{\"Image\":\"x\"} trailing", ""},
        {"[]", ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO(error) struct error e = ERROR_INIT;
        struct container_config c = {0};
        struct create_extra x = {0};

        assert_true(docker_create_parse(bad[i].text, strlen(bad[i].text), &c, &x, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        assert_non_null(strstr(error_message(&e), bad[i].part));
        assert_null(c.image);
    }
}

static void test_small_things(void **state)
{
    AUTO(error) struct error e = ERROR_INIT, e2 = ERROR_INIT;
    AUTOFREE char *tag = docker_reference_join("h:5000/a", "1");
    AUTOFREE char *digest = docker_reference_join("a", "sha256:00");
    AUTOFREE char *bare = docker_reference_join("a", "");
    unsigned rows, cols;
    int64_t t, n = 7;

    assert_string_equal(tag, "h:5000/a:1");
    assert_string_equal(digest, "a@sha256:00");
    assert_string_equal(bare, "a");

    docker_console_size("[24, 80]", &rows, &cols);
    assert_int_equal(rows, 24);
    assert_int_equal(cols, 80);
    docker_console_size("[24]", &rows, &cols);
    assert_int_equal(rows, 0);
    docker_console_size("[-1, 99999999]", &rows, &cols);
    assert_int_equal(rows, 0);
    docker_console_size(NULL, &rows, &cols);
    assert_int_equal(cols, 0);

    assert_int_equal(docker_when_parse("since", "1700000000.5", &t, NULL), 0);
    assert_int_equal(t, 1700000000500000000LL);
    assert_int_equal(docker_when_parse("since", NULL, &t, NULL), 0);
    assert_int_equal(t, 0);
    assert_true(docker_when_parse("since", "soon", &t, &e) < 0);
    assert_non_null(strstr(error_message(&e), "\"since\""));

    assert_int_equal(docker_number_parse("t", "", 0, 9, &n, NULL), 0);
    assert_int_equal(n, 7);
    assert_int_equal(docker_number_parse("t", "-3", -5, 9, &n, NULL), 0);
    assert_int_equal(n, -3);
    assert_true(docker_number_parse("t", "10", 0, 9, &n, &e2) < 0);
    assert_int_equal(n, -3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),      cmocka_unit_test(test_version_refused),
        cmocka_unit_test(test_filters),      cmocka_unit_test(test_filters_refused),
        cmocka_unit_test(test_create),       cmocka_unit_test(test_create_refused),
        cmocka_unit_test(test_small_things),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
