/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads: Locations and ranges of registries, and layers in another compression. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/push-priv.h"
#include "image/worker/upload.h"

static void test_location(void **state)
{
    static const char base[] = "https://r:5000/v2/a/b/blobs/uploads/";
    static const struct {
        const char *location, *query, *want;
    } cases[] = {
        {"https://r:5000/v2/a/b/blobs/uploads/1", NULL, "https://r:5000/v2/a/b/blobs/uploads/1"},
        {"/v2/a/b/blobs/uploads/1?_state=x", NULL,
         "https://r:5000/v2/a/b/blobs/uploads/1?_state=x"},
        {"1", NULL, "https://r:5000/v2/a/b/blobs/uploads/1"},
        {"?session=7", NULL, "https://r:5000/v2/a/b/blobs/uploads/?session=7"},
        {"//other/x", NULL, "https://other/x"},
        {"http://other/x#part", NULL, "http://other/x"},
        {"/u/1?_state=x", "digest=sha256:ab", "https://r:5000/u/1?_state=x&digest=sha256%3aab"},
        {"/u/1", "digest=sha256:ab", "https://r:5000/u/1?digest=sha256%3aab"},
        {"ftp://other/x", NULL, NULL},
        {"file:///etc/passwd", NULL, NULL},
        {"http://", NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *got = upload_location(base, cases[i].location, cases[i].query);
        if (!cases[i].want)
            assert_null(got);
        else if (!got || strcmp(got, cases[i].want) != 0)
            fail_msg("%s: %s, not %s", cases[i].location, got ? got : "NULL", cases[i].want);
    }
}

static void test_next_offset(void **state)
{
    static const struct {
        int64_t range_end;
        uint64_t offset, sent, want;
        int r;
    } cases[] = {
        {-1, 100, 50, 150, 0}, /* says nothing: all of it */
        {149, 100, 50, 150, 0},
        {119, 100, 50, 120, 0}, /* a part */
        {99, 100, 50, 100, 0},  /* nothing new */
        {49, 100, 50, 50, 0},   /* lost some */
        {0, 100, 50, 0, 0},
        {0, 0, 1, 1, 0},            /* "0-0": empty, or one byte */
        {150, 100, 50, 0, -EPROTO}, /* more than there can be */
        {INT64_MAX, 0, 10, 0, -EPROTO},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t got = 0;
        assert_int_equal(upload_next_offset(cases[i].range_end, cases[i].offset, cases[i].sent,
                                            &got),
                         cases[i].r);
        assert_int_equal(got, cases[i].want);
    }
}

static void test_media_type(void **state)
{
    static const char with[] = "{\"schemaVersion\":2,\"mediaType\":\"a/b\"}", without[] = "{}";
    AUTOFREE char *a = upload_media_type(with, strlen(with), "x");
    AUTOFREE char *b = upload_media_type(without, strlen(without), "x");
    AUTOFREE char *c = upload_media_type("[", 1, "x");

    assert_string_equal(a, "a/b");
    assert_string_equal(b, "x");
    assert_string_equal(c, "x");
}

/* --- Compression ------------------------------------------------------------------------------- */

static int memory(const void *data, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, data, len), 0);
    return fd;
}

static uint64_t seen;

static void note(void *data, uint64_t done)
{
    assert_true(done >= seen);
    seen = done;
}

/* plain → each kind → each other kind → plain gives the same again. */
static void test_compress(void **state)
{
    const size_t len = 3 * 1024 * 1024 + 17;
    AUTOFREE unsigned char *data = xmalloc(len), *back = xmalloc(len + 1);
    char diff_id[DIGEST_MAX];
    static const struct {
        enum oci_compression kind;
        int level;
    } ways[] = {{OCI_PLAIN, 0}, {OCI_GZIP, 0}, {OCI_GZIP, 1},  {OCI_GZIP, 9},
                {OCI_ZSTD, 0},  {OCI_ZSTD, 1}, {OCI_ZSTD, 19}, {OCI_PLAIN, 0}};

    for (size_t i = 0; i < len; i++)
        data[i] = (unsigned char)(i % 251 * (i >> 12));
    assert_int_equal(digest_bytes(data, len, diff_id), 0);
    int in = memory(data, len);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        AUTO(error) struct error e = ERROR_INIT;
        struct compressed made = {0};
        int out = memory("", 0);
        char digest[DIGEST_MAX];
        unsigned char magic[6] = {0};

        seen = 0;
        if (compress_layer(in, out, diff_id, ways[i].kind, ways[i].level, &made, note, NULL, &e) <
            0)
            fail_msg("%zu: %s", i, error_message(&e));
        assert_true(seen > 0);
        assert_int_equal(lseek(out, 0, SEEK_END), made.size);
        assert_int_equal(pread(out, magic, sizeof(magic), 0), sizeof(magic));
        assert_int_equal(push_kind_of(magic), ways[i].kind);
        if (ways[i].kind == OCI_PLAIN) {
            assert_int_equal(made.size, len);
            assert_string_equal(made.digest, diff_id);
            assert_int_equal(pread(out, back, len + 1, 0), (int)len);
            assert_memory_equal(back, data, len);
        } else {
            AUTOFREE char *all = xmalloc(made.size);
            assert_true(made.size < len);
            assert_int_equal(pread(out, all, made.size, 0), (int)made.size);
            assert_int_equal(digest_bytes(all, made.size, digest), 0);
            assert_string_equal(digest, made.digest);
        }
        close(in);
        in = out;
    }
    close(in);
}

static void test_compress_empty(void **state)
{
    char diff_id[DIGEST_MAX];

    assert_int_equal(digest_bytes("", 0, diff_id), 0);
    for (int kind = OCI_PLAIN; kind < OCI_COMPRESSION_MAX; kind++) {
        AUTO(error) struct error e = ERROR_INIT;
        struct compressed made = {0};
        int in = memory("", 0), out = memory("", 0);
        if (compress_layer(in, out, diff_id, (enum oci_compression)kind, 0, &made, NULL, NULL, &e) <
            0)
            fail_msg("%d: %s", kind, error_message(&e));
        assert_int_equal(made.size > 0, kind != OCI_PLAIN);
        close(in);
        close(out);
    }
}

/* An archive that is not what the table says is found out, whatever is wrong with it. */
static void test_compress_damaged(void **state)
{
    static const char text[] = "not what it should be";
    static const unsigned char cut_gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b};
    char diff_id[DIGEST_MAX];

    assert_int_equal(digest_bytes("x", 1, diff_id), 0);
    for (int i = 0; i < 3; i++) {
        AUTO(error) struct error e = ERROR_INIT;
        struct compressed made = {0};
        int in = i == 0   ? memory(text, sizeof(text))
                 : i == 1 ? memory(cut_gzip, sizeof(cut_gzip))
                          : open("/", O_RDONLY | O_CLOEXEC);
        int out = memory("", 0);
        assert_true(compress_layer(in, out, diff_id, OCI_ZSTD, 0, &made, NULL, NULL, &e) < 0);
        assert_non_null(strstr(error_message(&e), diff_id));
        close(in);
        close(out);
    }
}

static void test_names(void **state)
{
    enum oci_compression kind = OCI_PLAIN;

    for (int i = 0; i < OCI_COMPRESSION_MAX; i++) {
        assert_int_equal(push_compression_parse(push_compression_name((enum oci_compression)i),
                                                &kind),
                         0);
        assert_int_equal(kind, i);
        for (int docker = 0; docker < 2; docker++) {
            const char *type = push_layer_type((enum oci_compression)i, docker);
            assert_int_equal(oci_layer_compression(type, &kind, NULL), 0);
            assert_int_equal(kind, i);
        }
    }
    assert_int_equal(push_compression_parse("xz", &kind), -EINVAL);
    assert_int_equal(push_compression_parse(NULL, &kind), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_location),       cmocka_unit_test(test_next_offset),
        cmocka_unit_test(test_media_type),     cmocka_unit_test(test_compress),
        cmocka_unit_test(test_compress_empty), cmocka_unit_test(test_compress_damaged),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("image-upload", tests, NULL, NULL);
}
