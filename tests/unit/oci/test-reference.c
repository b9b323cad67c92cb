/* SPDX-License-Identifier: Apache-2.0 */
/* Image references: normal forms, what is refused and with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIG "sha256:" HEX

static void test_normal_forms(void **state)
{
    static const struct {
        const char *text, *full, *familiar;
    } cases[] = {
        {"busybox", "docker.io/library/busybox:latest", "busybox:latest"},
        {"busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"},
        {"foo/bar", "docker.io/foo/bar:latest", "foo/bar:latest"},
        {"library/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
        {"docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
        {"index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
        {"docker.io/library/a/b:x", "docker.io/library/a/b:x", "library/a/b:x"},
        {"localhost/x", "localhost/x:latest", "localhost/x:latest"},
        {"localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"},
        {"quay.io/a/b_c/d--e.f", "quay.io/a/b_c/d--e.f:latest", "quay.io/a/b_c/d--e.f:latest"},
        {"127.0.0.1:5000/a/b:T-1.x", "127.0.0.1:5000/a/b:T-1.x", "127.0.0.1:5000/a/b:T-1.x"},
        {"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
        {"EXAMPLE/a", "EXAMPLE/a:latest", "EXAMPLE/a:latest"},
        {"a__b", "docker.io/library/a__b:latest", "a__b:latest"},
        {"busybox@" DIG, "docker.io/library/busybox@" DIG, "busybox@" DIG},
        {"busybox:1@" DIG, "docker.io/library/busybox:1@" DIG, "busybox:1@" DIG},
        {"deadbeef", "docker.io/library/deadbeef:latest", "deadbeef:latest"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(oci_reference_done) struct oci_reference r = {0};
        AUTO(error) struct error e = ERROR_INIT;
        assert_int_equal(oci_reference_parse(cases[i].text, &r, &e), 0);
        oci_reference_default_tag(&r);
        AUTOFREE char *full = oci_reference_string(&r);
        AUTOFREE char *familiar = oci_reference_familiar(&r);
        assert_string_equal(full, cases[i].full);
        assert_string_equal(familiar, cases[i].familiar);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "empty"},
        {":tag", "invalid reference format"},
        {"foo:", "bad tag"},
        {"foo:a b", "bad tag"},
        {"foo:.x", "bad tag"},
        {"FOO", "(library/FOO) must be lowercase"},
        {"foo/BAR:x", "must be lowercase"},
        {"foo//bar", "invalid reference format"},
        {"/foo", "invalid reference format"},
        {"foo/", "invalid reference format"},
        {"a___b", "invalid reference format"},
        {"-a", "invalid reference format"},
        {"a-", "invalid reference format"},
        {"foo@sha256:12", "is not a digest"},
        {"foo@" DIG "0", "is not a digest"},
        {"foo@md5:" HEX, "is not a digest"},
        {"exa_mple.com/x", "bad registry host"},
        {"example.com:99999/x", "bad registry host"},
        {"[::1/x", "bad registry host"},
        {"..", "invalid reference format"},
        {"a/../b", "invalid reference format"},
        {HEX, "64-byte hexadecimal"},
        {"Bad/Name::", "invalid reference format"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct oci_reference r = {0};
        AUTO(error) struct error e = ERROR_INIT;
        assert_int_equal(oci_reference_parse(cases[i].text, &r, &e), -EINVAL);
        assert_int_equal(e.code, ERR_INVALID);
        if (!strstr(e.message, cases[i].says))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].text, e.message, cases[i].says);
        assert_null(r.domain);
    }
}

static void test_long(void **state)
{
    char text[1024];
    struct oci_reference r = {0};

    memset(text, 'a', 300);
    text[300] = '\0';
    assert_int_equal(oci_reference_parse(text, &r, NULL), -EINVAL);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(oci_reference_parse(text, &r, NULL), -EINVAL);
    text[200] = '\0';
    assert_int_equal(oci_reference_parse(text, &r, NULL), 0);
    oci_reference_done(&r);
    memset(text, 't', 129);
    text[129] = '\0';
    assert_false(oci_tag_is_valid(text));
    text[128] = '\0';
    assert_true(oci_tag_is_valid(text));
    assert_false(oci_tag_is_valid(""));
}

static void test_registry_host(void **state)
{
    CLEANUP(oci_reference_done) struct oci_reference r = {0};

    assert_int_equal(oci_reference_parse("busybox", &r, NULL), 0);
    assert_string_equal(oci_reference_registry_host(&r), "registry-1.docker.io");
    oci_reference_done(&r);
    assert_int_equal(oci_reference_parse("quay.io/x", &r, NULL), 0);
    assert_string_equal(oci_reference_registry_host(&r), "quay.io");
}

static void test_digests(void **state)
{
    char out[DIGEST_MAX];

    assert_true(digest_is_valid(DIG));
    assert_true(digest_is_valid("sha512:" HEX HEX));
    assert_false(digest_is_valid(NULL));
    assert_false(digest_is_valid(HEX));
    assert_false(digest_is_valid("sha256:" HEX "0"));
    assert_false(digest_is_valid("sha256:../../../../etc/passwd"));
    assert_false(digest_is_valid("sha256:ABCDEF6789abcdef0123456789abcdef0123456789abcdef01234567"
                                 "89abcdef"));
    assert_int_equal(digest_algorithm("sha512:" HEX HEX), DIGEST_SHA512);
    assert_string_equal(digest_hex(DIG), HEX);
    assert_int_equal(digest_bytes("abc", 3, out), 0);
    assert_string_equal(out,
                        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct digest_state d = {0};
    assert_int_equal(digest_state_init(&d, DIGEST_SHA512), 0);
    assert_int_equal(digest_state_update(&d, "abc", 3), 0);
    assert_int_equal(digest_state_final(&d, out), 0);
    digest_state_done(&d);
    assert_memory_equal(out, "sha512:ddaf35a193617aba", 23);
    assert_true(digest_is_valid(out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal_forms), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long),         cmocka_unit_test(test_registry_host),
        cmocka_unit_test(test_digests),
    };

    return cmocka_run_group_tests_name("oci-reference", tests, NULL, NULL);
}
