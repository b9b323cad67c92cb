/* SPDX-License-Identifier: Apache-2.0 */
/* The tar writer and SHA-256, against known answers and against tar's own rules. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/sha256.h"
#include "base/tarw.h"

static int collect(void *data, const void *bytes, size_t len)
{
    return buf_append(data, bytes, len);
}

static int refuse(void *data, const void *bytes, size_t len)
{
    return -EPIPE;
}

static void test_sha256(void **state)
{
    static const struct {
        const char *text, *hex;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[65];

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        sha256_hex(known[i].text, strlen(known[i].text), hex);
        assert_string_equal(hex, known[i].hex);
    }
    AUTOFREE char *million = xmalloc(1000000);
    memset(million, 'a', 1000000);
    sha256_hex(million, 1000000, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    /* each length around a block's end, against the padding's own rule: all differ */
    char before[65] = "";
    for (size_t n = 50; n < 70; n++) {
        sha256_hex(million, n, hex);
        assert_string_not_equal(hex, before);
        memcpy(before, hex, sizeof(hex));
    }
}

/* Checks a header's sum as every reader does. */
static void assert_header(const char *h, char type, const char *name)
{
    unsigned sum = 0;

    for (size_t i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? ' ' : (unsigned char)h[i];
    assert_int_equal(strtoul(h + 148, NULL, 8), sum);
    assert_int_equal(h[156], type);
    assert_memory_equal(h + 257, "ustar\00000", 8);
    assert_memory_equal(h, name, strlen(name));
}

static void test_plain(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 20);
    struct tarw w = {.write = collect, .data = &b};
    const struct tarw_entry file = {.type = TARW_FILE,
                                    .path = "a/file",
                                    .mode = 04755,
                                    .uid = 1000,
                                    .gid = 07777777,
                                    .size = 5,
                                    .mtime = 1700000000};

    assert_int_equal(tarw_entry(&w, &file), 0);
    assert_int_equal(tarw_data(&w, "he", 2), 0);
    assert_int_equal(tarw_data(&w, "llo", 3), 0);
    assert_int_equal(tarw_pad(&w), 0);
    assert_int_equal(tarw_end(&w), 0);
    assert_int_equal(b.len, 4 * 512);
    assert_header(b.data, '0', "a/file");
    assert_int_equal(strtoul(b.data + 100, NULL, 8), 04755);
    assert_int_equal(strtoul(b.data + 108, NULL, 8), 1000);
    assert_int_equal(strtoul(b.data + 116, NULL, 8), 07777777);
    assert_int_equal(strtoul(b.data + 124, NULL, 8), 5);
    assert_int_equal(strtoul(b.data + 136, NULL, 8), 1700000000);
    assert_memory_equal(b.data + 512, "hello\0\0\0", 8);
}

/* What ustar cannot hold stands in pax records, whose lengths count themselves. */
static void test_pax(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 20);
    struct tarw w = {.write = collect, .data = &b};
    char name[301] = "";
    const struct tarw_xattr x = {"user.k", "a\0b", 3};
    struct tarw_entry e = {.type = TARW_SYMLINK,
                           .path = name,
                           .link = "target",
                           .uid = 4000000000u,
                           .mtime = -5,
                           .xattrs = &x,
                           .nxattrs = 1};

    memset(name, 'n', 300);
    assert_int_equal(tarw_entry(&w, &e), 0);
    assert_header(b.data, 'x', "PaxHeaders.0/file");
    size_t len = strtoul(b.data + 124, NULL, 8), at = 0, n = 0;
    const char *records = b.data + 512;
    while (at < len) {
        size_t one = strtoul(records + at, NULL, 10);
        assert_true(one > 4 && at + one <= len);
        assert_int_equal(records[at + one - 1], '\n');
        at += one;
        n++;
    }
    assert_int_equal(n, 4);
    assert_non_null(memmem(records, len, "uid=4000000000\n", 15));
    assert_non_null(memmem(records, len, "mtime=-5\n", 9));
    assert_non_null(memmem(records, len, "27 SCHILY.xattr.user.k=a\0b\n", 27));
    assert_header(b.data + 512 + (len + 511) / 512 * 512, '2', "nnnn");
}

/* pax wants UTF-8: other long names go GNU's way. */
static void test_bytes(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 20);
    struct tarw w = {.write = collect, .data = &b};
    char name[150] = "";
    const struct tarw_entry e = {.type = TARW_DIR, .path = name};

    memset(name, '\xff', 149);
    assert_int_equal(tarw_entry(&w, &e), 0);
    assert_header(b.data, 'L', "././@LongLink");
    assert_memory_equal(b.data + 512, name, 150);
    assert_header(b.data + 1024, '5', "\xff\xff");
}

static void test_sparse(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 20);
    struct tarw w = {.write = collect, .data = &b};
    const struct tarw_piece pieces[] = {{4096, 3}, {1 << 20, 0}};
    const struct tarw_entry e = {.type = TARW_FILE,
                                 .path = "hole",
                                 .size = 1 << 20,
                                 .sparse = true,
                                 .pieces = pieces,
                                 .npieces = 2};

    assert_int_equal(tarw_entry(&w, &e), 0);
    assert_int_equal(w.left, 3);
    assert_int_equal(tarw_data(&w, "abc", 3), 0);
    assert_int_equal(tarw_pad(&w), 0);
    assert_non_null(memmem(b.data, b.len, "GNU.sparse.realsize=1048576\n", 28));
    assert_non_null(memmem(b.data, b.len, "2\n4096\n3\n1048576\n0\n", 19));
    assert_header(b.data + 1024, '0', "GNUSparseFile.0/file");
    assert_int_equal(strtoul(b.data + 1024 + 124, NULL, 8), 515);
    assert_memory_equal(b.data + b.len - 512, "abc\0", 4);
}

static void test_refused(void **state)
{
    struct tarw w = {.write = refuse};
    const struct tarw_entry e = {.type = TARW_DIR, .path = "d/"};

    assert_int_equal(tarw_entry(&w, &e), -EPIPE);
    assert_int_equal(tarw_end(&w), -EPIPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256), cmocka_unit_test(test_plain),
        cmocka_unit_test(test_pax),    cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_sparse), cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
