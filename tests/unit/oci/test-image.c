/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests, indexes, configurations: what is taken, what is refused; choice of platforms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "oci/image.h"

#define HEX        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIG        "sha256:" HEX
#define DESC(type) "{\"mediaType\":\"" type "\",\"digest\":\"" DIG "\",\"size\":12}"
#define MANIFEST                                                                                   \
    "{\"schemaVersion\":2,\"config\":" DESC(OCI_MT_CONFIG) ",\"layers\":[" DESC(                   \
        OCI_MT_LAYER_GZIP) "]}"

static void expect_kind(const char *type, const char *text, int want, const char *says)
{
    AUTO(error) struct error e = ERROR_INIT;
    enum oci_document kind = OCI_DOCUMENT_MANIFEST;
    int r = oci_document_kind(type, text, strlen(text), &kind, &e);

    if (says) {
        assert_true(r < 0);
        if (!strstr(e.message, says))
            fail_msg("\"%s\" lacks \"%s\"", e.message, says);
    } else {
        assert_int_equal(r, 0);
        assert_int_equal(kind, want);
    }
}

static void test_kinds(void **state)
{
    expect_kind(OCI_MT_MANIFEST, MANIFEST, OCI_DOCUMENT_MANIFEST, NULL);
    expect_kind(NULL, MANIFEST, OCI_DOCUMENT_MANIFEST, NULL);
    expect_kind("application/json", MANIFEST, OCI_DOCUMENT_MANIFEST, NULL);
    expect_kind(NULL, "{\"schemaVersion\":2,\"manifests\":[]}", OCI_DOCUMENT_INDEX, NULL);
    expect_kind(OCI_MT_DOCKER_LIST, "{\"schemaVersion\":2,\"manifests\":[]}", OCI_DOCUMENT_INDEX,
                NULL);
    expect_kind(OCI_MT_INDEX, MANIFEST, 0, "does not fit");
    expect_kind(NULL, "{\"schemaVersion\":1,\"fsLayers\":[]}", 0, "schema 1");
    expect_kind(NULL, "{\"schemaVersion\":3,\"config\":{}}", 0, "version 3");
    expect_kind(NULL, "{}", 0, "neither");
    expect_kind(NULL, "{\"config\":{},\"layers\":[],\"manifests\":[]}", 0, "both");
    expect_kind(NULL, "{\"mediaType\":\"text/plain\",\"config\":{}}", 0, "text/plain");
    expect_kind(NULL, "[]", 0, "");
    expect_kind(NULL, "", 0, "JSON");
}

static int parse_manifest(const char *text, char **ret_message)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct oci_manifest m = {0};
    int r = oci_manifest_parse(text, strlen(text), &m, &e);

    *ret_message = xstrdup(error_message(&e));
    oci_manifest_done(&m);
    return r;
}

static void test_manifests(void **state)
{
    static const struct {
        const char *text, *says; /* says NULL: good */
    } cases[] = {
        {MANIFEST, NULL},
        {"{\"config\":" DESC("x") "}", NULL},
        {"{\"layers\":[]}", "config"},
        {"{\"config\":{\"digest\":\"sha256:../..\"}}", "malformed digest"},
        {"{\"config\":{\"size\":3}}", "digest"},
        {"{\"config\":{\"digest\":\"" DIG "\",\"size\":-1}}", "negative"},
        {"{\"config\":{\"digest\":\"" DIG "\",\"size\":99999999999}}", "larger"},
        {"{\"config\":{\"digest\":\"" DIG "\",\"size\":18446744073709551615}}", "impossible"},
        {"{\"config\":" DESC("x") ",\"layers\":{}}", "list"},
        {"{\"config\":" DESC("x") ",\"layers\":[{\"digest\":\"no\"}]}", "layer 0"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *message = NULL;
        int r = parse_manifest(cases[i].text, &message);
        assert_int_equal(r < 0, cases[i].says != NULL);
        if (cases[i].says && !strstr(message, cases[i].says))
            fail_msg("\"%s\" lacks \"%s\"", message, cases[i].says);
    }
}

static void test_too_many_layers(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(1024 * 1024);
    AUTOFREE char *message = NULL;

    (void)buf_puts(&b, "{\"config\":" DESC("x") ",\"layers\":[");
    for (int i = 0; i <= OCI_LAYERS_MAX; i++)
        (void)buf_printf(&b, "%s%s", i ? "," : "", DESC("x"));
    (void)buf_puts(&b, "]}");
    assert_true(parse_manifest(buf_str(&b), &message) < 0);
    assert_non_null(strstr(message, "128 layers"));
}

static void test_config(void **state)
{
    static const char text[] =
        "{\"created\":\"2024-02-03T04:05:06.5Z\",\"architecture\":\"arm64\",\"os\":\"linux\","
        "\"variant\":\"v8\",\"config\":{\"User\":\"u\",\"Env\":[\"A=b\"],\"Cmd\":[\"sh\"],"
        "\"Entrypoint\":\"one\",\"ExposedPorts\":{\"80/tcp\":{}},\"Volumes\":{\"/v\":{}},"
        "\"Labels\":{\"k\":\"v\"},\"WorkingDir\":\"/w\",\"StopSignal\":\"SIGINT\","
        "\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"]},\"Unknown\":1},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIG "\"]},"
        "\"history\":[{\"created_by\":\"x\",\"empty_layer\":true}]}";
    CLEANUP(oci_image_done) struct oci_image img = {0};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(oci_image_parse(text, strlen(text), &img, &e), 0);
    assert_string_equal(img.config.user, "u");
    assert_string_equal(img.config.entrypoint[0], "one");
    assert_string_equal(img.config.exposed_ports[0], "80/tcp");
    assert_string_equal(json_map_get(&img.config.labels, "k"), "v");
    assert_string_equal(img.rootfs.diff_ids[0], DIG);
    assert_int_equal(img.history.len, 1);
    assert_int_equal(img.created, 1706933106500000000LL);
    assert_non_null(img.config.healthcheck);
    assert_int_equal(strncmp(img.config.healthcheck->test[0], "CMD", 3), 0);
    /* Printing and reading again gives the same. */
    AUTOFREE char *printed = json_print_str(&oci_image_json, &img);
    CLEANUP(oci_image_done) struct oci_image again = {0};
    assert_int_equal(oci_image_parse(printed, strlen(printed), &again, NULL), 0);
    assert_true(strv_equal(img.config.env, again.config.env));
}

static void test_config_refused(void **state)
{
    static const char *const texts[] = {
        "{\"rootfs\":{\"type\":\"windows\"}}",
        "{\"rootfs\":{\"diff_ids\":[\"sha256:x\"]}}",
        "{\"rootfs\":{\"diff_ids\":\"x\"}}",
        "{\"config\":{\"Env\":[1]}}",
        "{\"config\":3}",
        "{",
        "{\"os\":\"linux\"} x",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct oci_image img = {0};
        AUTO(error) struct error e = ERROR_INIT;
        assert_true(oci_image_parse(texts[i], strlen(texts[i]), &img, &e) < 0);
        assert_non_null(e.message);
        oci_image_done(&img);
    }
}

static void test_compression(void **state)
{
    enum oci_compression c = OCI_PLAIN;

    assert_int_equal(oci_layer_compression(OCI_MT_LAYER_ZSTD, &c, NULL), 0);
    assert_int_equal(c, OCI_ZSTD);
    assert_int_equal(oci_layer_compression(OCI_MT_DOCKER_LAYER_GZIP, &c, NULL), 0);
    assert_int_equal(c, OCI_GZIP);
    assert_int_equal(oci_layer_compression("application/encrypted", &c, NULL), -EOPNOTSUPP);
    assert_int_equal(oci_layer_compression(NULL, &c, NULL), -EOPNOTSUPP);
}

/* --- Platforms ------------------------------------------------------------------------------------ */

static void expect_platform(const char *text, const char *want)
{
    CLEANUP(oci_platform_done) struct oci_platform p = {0};
    AUTO(error) struct error e = ERROR_INIT;
    int r = oci_platform_parse(text, &p, &e);

    if (!want) {
        assert_int_equal(r, -EINVAL);
        return;
    }
    assert_int_equal(r, 0);
    AUTOFREE char *s = oci_platform_string(&p);
    assert_string_equal(s, want);
}

static void test_platform_parse(void **state)
{
    expect_platform("linux/amd64", "linux/amd64");
    expect_platform("linux/x86_64", "linux/amd64");
    expect_platform("linux/arm64", "linux/arm64/v8");
    expect_platform("aarch64", "linux/arm64/v8");
    expect_platform("linux/arm", "linux/arm/v7");
    expect_platform("linux/arm/6", "linux/arm/v6");
    expect_platform("arm/v5", "linux/arm/v5");
    expect_platform("Linux/ARM64/V8", "linux/arm64/v8");
    expect_platform("linux/amd64/v1", "linux/amd64");
    expect_platform("a/b/c/d", NULL);
    expect_platform("linux/", NULL);
    expect_platform("li nux/amd64", NULL);
    expect_platform("/", NULL);
}

static int rank(const char *want, const char *os, const char *arch, const char *variant)
{
    CLEANUP(oci_platform_done) struct oci_platform w = {0};
    struct oci_platform have = {(char *)os, (char *)arch, (char *)variant, NULL, NULL};

    assert_int_equal(oci_platform_parse(want, &w, NULL), 0);
    return oci_platform_rank(&w, &have);
}

static void test_platform_rank(void **state)
{
    assert_true(rank("linux/amd64", "linux", "amd64", NULL) > 0);
    assert_int_equal(rank("linux/amd64", "linux", "arm64", NULL), 0);
    assert_int_equal(rank("linux/amd64", "windows", "amd64", NULL), 0);
    assert_true(rank("linux/arm64", "linux", "arm64", "v8") ==
                rank("linux/arm64", "linux", "arm64", NULL));
    assert_true(rank("linux/arm/v7", "linux", "arm", "v7") >
                rank("linux/arm/v7", "linux", "arm", "v6"));
    assert_true(rank("linux/arm/v7", "linux", "arm", "v6") >
                rank("linux/arm/v7", "linux", "arm", "v5"));
    assert_int_equal(rank("linux/arm/v6", "linux", "arm", "v7"), 0);
    assert_int_equal(rank("linux/amd64", "linux", "amd64", "v3"), 0);
    assert_true(rank("linux/amd64/v3", "linux", "amd64", "v2") > 0);
}

static void test_index(void **state)
{
    static const char text[] =
        "{\"schemaVersion\":2,\"manifests\":["
        "{\"mediaType\":\"" OCI_MT_MANIFEST "\",\"digest\":\"" DIG "\",\"size\":1,"
        "\"platform\":{\"os\":\"unknown\",\"architecture\":\"unknown\"}},"
        "{\"mediaType\":\"" OCI_MT_MANIFEST "\",\"digest\":\"" DIG "\",\"size\":2,"
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}},"
        "{\"mediaType\":\"" OCI_MT_MANIFEST "\",\"digest\":\"" DIG "\",\"size\":3,"
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}},"
        "{\"mediaType\":\"application/x\",\"digest\":\"" DIG "\",\"size\":4,"
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}]}";
    CLEANUP(oci_index_done) struct oci_index idx = {0};
    CLEANUP(oci_platform_done) struct oci_platform arm = {0}, amd = {0};
    const struct oci_descriptor *d = NULL;
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(oci_index_parse(text, strlen(text), &idx, &e), 0);
    assert_int_equal(oci_platform_parse("linux/arm/v7", &arm, NULL), 0);
    assert_int_equal(oci_index_choose(&idx, &arm, &d, &e), 0);
    assert_int_equal(d->size, 3);
    assert_int_equal(oci_platform_parse("linux/amd64", &amd, NULL), 0);
    assert_int_equal(oci_index_choose(&idx, &amd, &d, &e), -ENOENT);
    assert_non_null(strstr(e.message, "no matching manifest for linux/amd64"));
    assert_non_null(strstr(e.message, "linux/arm/v6, linux/arm/v7"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),           cmocka_unit_test(test_manifests),
        cmocka_unit_test(test_too_many_layers), cmocka_unit_test(test_config),
        cmocka_unit_test(test_config_refused),  cmocka_unit_test(test_compression),
        cmocka_unit_test(test_platform_parse),  cmocka_unit_test(test_platform_rank),
        cmocka_unit_test(test_index),
    };

    return cmocka_run_group_tests_name("oci-image", tests, NULL, NULL);
}
