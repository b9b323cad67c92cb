/* SPDX-License-Identifier: Apache-2.0 */
/* Writing SMBIOS tables: see smbios.h. Numbers are little-endian, offsets those of DSP0134 3.3. */
#include "engine/smbios.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

#define STRING_MAX 255

/* One structure: its fixed part, then its strings, numbered from 1. */
struct structure {
    struct buf *out;
    unsigned char fixed[64];
    unsigned char len;
    const char *strings[16];
    unsigned nstrings;
    size_t *largest;
};

static struct structure begin(struct buf *out, size_t *largest, unsigned type, unsigned len,
                              unsigned handle)
{
    struct structure s = {.out = out, .len = (unsigned char)len, .largest = largest};

    s.fixed[0] = (unsigned char)type;
    s.fixed[1] = s.len;
    s.fixed[2] = (unsigned char)handle;
    s.fixed[3] = (unsigned char)(handle >> 8);
    return s;
}

static void put_string(struct structure *s, unsigned offset, const char *text)
{
    if (str_is_empty(text))
        return; /* number 0: not specified */
    s->strings[s->nstrings++] = text;
    s->fixed[offset] = (unsigned char)s->nstrings;
}

static int end(struct structure *s)
{
    size_t before = s->out->len;
    int r = buf_append(s->out, (const char *)s->fixed, s->len);

    for (unsigned i = 0; r == 0 && i < s->nstrings; i++) {
        if (strlen(s->strings[i]) > STRING_MAX)
            return -EFBIG;
        r = buf_append(s->out, s->strings[i], strlen(s->strings[i]) + 1);
    }
    if (r == 0)
        r = buf_append(s->out, "\0\0", s->nstrings ? 1 : 2);
    if (s->out->len - before > *s->largest)
        *s->largest = s->out->len - before;
    return r;
}

static int write_bios(const struct smbios_identity *id, struct buf *out, size_t *largest)
{
    struct structure s = begin(out, largest, 0, 0x18, 0);

    put_string(&s, 0x04, id->bios_vendor);
    put_string(&s, 0x05, id->bios_version);
    put_string(&s, 0x08, id->bios_date);
    s.fixed[0x0a] = 0x08;            /* its characteristics are not told */
    memset(s.fixed + 0x14, 0xff, 4); /* nor its releases */
    return end(&s);
}

/* Since 2.6 the first three fields of a UUID are little-endian. */
static void put_uuid(unsigned char *at, const unsigned char uuid[16])
{
    static const unsigned char order[8] = {3, 2, 1, 0, 5, 4, 7, 6};

    for (unsigned i = 0; i < 8; i++)
        at[i] = uuid[order[i]];
    memcpy(at + 8, uuid + 8, 8);
}

static int write_system(const struct smbios_identity *id, struct buf *out, size_t *largest)
{
    struct structure s = begin(out, largest, 1, 0x1b, 1);

    put_string(&s, 0x04, id->manufacturer);
    put_string(&s, 0x05, id->product);
    put_string(&s, 0x06, id->version);
    put_string(&s, 0x07, id->serial);
    put_uuid(s.fixed + 0x08, id->uuid);
    s.fixed[0x18] = 6; /* woken by the power switch */
    put_string(&s, 0x19, id->sku);
    put_string(&s, 0x1a, id->family);
    return end(&s);
}

static int write_board(const struct smbios_identity *id, struct buf *out, size_t *largest)
{
    struct structure s = begin(out, largest, 2, 0x0f, 2);

    put_string(&s, 0x04, id->board_vendor);
    put_string(&s, 0x05, id->board_name);
    put_string(&s, 0x06, id->board_version);
    put_string(&s, 0x07, id->serial);
    s.fixed[0x09] = 1;    /* a hosting board */
    s.fixed[0x0b] = 3;    /* in chassis 3 */
    s.fixed[0x0d] = 0x0a; /* motherboard */
    return end(&s);
}

static int write_chassis(const struct smbios_identity *id, struct buf *out, size_t *largest)
{
    struct structure s = begin(out, largest, 3, 0x16, 3);

    put_string(&s, 0x04, id->chassis_vendor);
    s.fixed[0x05] = (unsigned char)(id->chassis_type ? id->chassis_type & 0x7f : 2);
    put_string(&s, 0x06, id->chassis_version);
    put_string(&s, 0x07, id->serial);
    memset(s.fixed + 0x09, 3, 3); /* boot-up, power supply, thermal: safe */
    s.fixed[0x0c] = 2;            /* security: unknown */
    return end(&s);
}

static int write_end(struct buf *out, size_t *largest)
{
    struct structure s = begin(out, largest, 127, 4, 127);

    return end(&s);
}

static void put_number(unsigned char *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static void write_entry(size_t table_size, unsigned char e[SMBIOS_ENTRY_SIZE])
{
    unsigned char sum = 0;

    memset(e, 0, SMBIOS_ENTRY_SIZE);
    memcpy(e, "_SM3_", 5);
    e[6] = SMBIOS_ENTRY_SIZE;
    e[7] = 3; /* version 3.3 */
    e[8] = 3;
    e[10] = 1; /* of the entry point */
    put_number(e + 12, table_size, 4);
    put_number(e + 16, 32, 8); /* an address; readers of sysfs do not look at it */
    for (unsigned i = 0; i < SMBIOS_ENTRY_SIZE; i++)
        sum = (unsigned char)(sum + e[i]);
    e[5] = (unsigned char)-sum;
}

int smbios_write(const struct smbios_identity *id, struct buf *ret_table,
                 unsigned char ret_entry[SMBIOS_ENTRY_SIZE])
{
    size_t largest = 0;
    int r = write_bios(id, ret_table, &largest);

    if (r == 0)
        r = write_system(id, ret_table, &largest);
    if (r == 0)
        r = write_board(id, ret_table, &largest);
    if (r == 0)
        r = write_chassis(id, ret_table, &largest);
    if (r == 0)
        r = write_end(ret_table, &largest);
    if (r == 0)
        write_entry(ret_table->len, ret_entry);
    return r;
}

/* --- UUIDs ------------------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int uuid_parse(const char *text, unsigned char ret[16])
{
    unsigned char out[16];
    size_t n = 0;

    if (strlen(text) != 36)
        return -EINVAL;
    for (size_t i = 0; i < 36;) {
        int high, low;

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i++] != '-')
                return -EINVAL;
            continue;
        }
        high = hex_digit(text[i]);
        low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return -EINVAL;
        out[n++] = (unsigned char)(high << 4 | low);
        i += 2;
    }
    memcpy(ret, out, sizeof(out));
    return 0;
}

void uuid_format(const unsigned char uuid[16], char out[37])
{
    static const char digits[] = "0123456789abcdef";
    char *p = out;

    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[uuid[i] >> 4];
        *p++ = digits[uuid[i] & 15];
    }
    *p = '\0';
}
