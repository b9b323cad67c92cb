/* SPDX-License-Identifier: Apache-2.0 */
/* SMBIOS tables, taken apart again as a reader does, and UUIDs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/smbios.h"

static const unsigned char uuid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                       0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

/* The structure of this type; its length with the strings in *ret_len. */
static const unsigned char *find(const struct buf *b, unsigned type, size_t *ret_len)
{
    const unsigned char *p = (const unsigned char *)b->data, *end = p + b->len;

    while (p + 4 <= end) {
        const unsigned char *next = p + p[1];

        while (next + 2 <= end && (next[0] || next[1]))
            next++;
        next += 2;
        assert_true(next <= end);
        *ret_len = (size_t)(next - p);
        if (p[0] == type)
            return p;
        p = next;
    }
    fail_msg("no structure of type %u", type);
    return NULL;
}

/* The text that a byte of a structure names. */
static const char *text_of(const unsigned char *s, unsigned offset)
{
    const char *p = (const char *)s + s[1];

    assert_true(offset < s[1]);
    if (!s[offset])
        return "";
    for (unsigned i = 1; i < s[offset]; i++)
        p += strlen(p) + 1;
    return p;
}

static void test_tables(void **state)
{
    const struct smbios_identity id = {.bios_vendor = "B",
                                       .manufacturer = "Maker",
                                       .product = "Thing",
                                       .version = "",
                                       .sku = "S-1",
                                       .board_vendor = "Board",
                                       .chassis_type = 0x83,
                                       .serial = "SN 1",
                                       .uuid = "\x00\x11\x22\x33\x44\x55\x66\x77"
                                               "\x88\x99\xaa\xbb\xcc\xdd\xee\xff"};
    static const unsigned char wire[16] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                           0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    AUTO(buf) struct buf table = BUF_INIT(65536);
    unsigned char entry[SMBIOS_ENTRY_SIZE], sum = 0;
    const unsigned char *s;
    size_t len, total = 0;

    assert_int_equal(smbios_write(&id, &table, entry), 0);
    assert_memory_equal(entry, "_SM3_", 5);
    for (size_t i = 0; i < sizeof(entry); i++)
        sum = (unsigned char)(sum + entry[i]);
    assert_int_equal(sum, 0);
    assert_int_equal(entry[12] | entry[13] << 8, table.len);
    s = find(&table, 0, &len);
    assert_string_equal(text_of(s, 4), "B");
    assert_string_equal(text_of(s, 5), "");
    total += len;
    s = find(&table, 1, &len);
    assert_string_equal(text_of(s, 4), "Maker");
    assert_string_equal(text_of(s, 5), "Thing");
    assert_string_equal(text_of(s, 6), "");
    assert_string_equal(text_of(s, 7), "SN 1");
    assert_string_equal(text_of(s, 0x19), "S-1");
    assert_memory_equal(s + 8, wire, 16);
    total += len;
    s = find(&table, 2, &len);
    assert_string_equal(text_of(s, 4), "Board");
    assert_string_equal(text_of(s, 7), "SN 1");
    total += len;
    s = find(&table, 3, &len);
    assert_int_equal(s[5], 3); /* without the lock's bit */
    assert_string_equal(text_of(s, 7), "SN 1");
    total += len;
    (void)find(&table, 127, &len);
    assert_int_equal(total + len, table.len);
}

static void test_limits(void **state)
{
    char longest[257];
    struct smbios_identity id = {.serial = longest};
    AUTO(buf) struct buf table = BUF_INIT(65536);
    AUTO(buf) struct buf small = BUF_INIT(64);
    unsigned char entry[SMBIOS_ENTRY_SIZE];

    memset(longest, 'x', sizeof(longest));
    longest[256] = '\0';
    assert_int_equal(smbios_write(&id, &table, entry), -EFBIG);
    longest[255] = '\0';
    table.len = 0;
    assert_int_equal(smbios_write(&id, &table, entry), 0);
    assert_true(smbios_write(&id, &small, entry) < 0);
}

static void test_uuid(void **state)
{
    static const char *const bad[] = {"",
                                      "00112233-4455-6677-8899-aabbccddeef",
                                      "00112233-4455-6677-8899-aabbccddeeff0",
                                      "00112233445566778899aabbccddeeff0000",
                                      "0011223g-4455-6677-8899-aabbccddeeff",
                                      "00112233-4455-6677-8899_aabbccddeeff",
                                      "00112233-4455-6677-889-9aabbccddeeff"};
    unsigned char got[16];
    char text[37];

    assert_int_equal(uuid_parse("00112233-4455-6677-8899-AABBccddeeff", got), 0);
    assert_memory_equal(got, uuid, 16);
    uuid_format(got, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(uuid_parse(bad[i], got), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_uuid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
