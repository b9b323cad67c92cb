/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs, SMBIOS tables of any texts, and lxcfs' load: what a user or a file says about a machine.
 * The input is cut into lines, which become the texts of the tables.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/smbios.h"
#include "monitor/view-answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The strings of a table that was written are found again by walking it. */
static void walk(const struct buf *b)
{
    const char *p = b->data, *end = b->data + b->len;
    unsigned n = 0;

    while (p < end) {
        const char *next = p + (unsigned char)p[1];

        assert(next + 2 <= end);
        while (next[0] || next[1])
            next++;
        p = next + 2;
        n++;
    }
    assert(p == end && n == 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[2048], again[37], *lines[6] = {0}, *save = NULL;
    unsigned char entry[SMBIOS_ENTRY_SIZE], sum = 0, back[16];
    AUTO(buf) struct buf table = BUF_INIT(8192);
    struct smbios_identity id = {.chassis_type = size > 0 ? data[0] : 0};
    unsigned long loads[3];
    size_t n = 0;

    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    (void)view_parse_loads(text, loads);
    for (char *l = strtok_r(text, "\n", &save); l && n < 6; l = strtok_r(NULL, "\n", &save))
        lines[n++] = l;
    if (n > 0 && uuid_parse(lines[0], id.uuid) == 0) {
        uuid_format(id.uuid, again);
        assert(uuid_parse(again, back) == 0 && memcmp(back, id.uuid, sizeof(back)) == 0);
    }
    id.serial = lines[1];
    id.manufacturer = lines[2];
    id.product = lines[3];
    id.sku = lines[4];
    id.chassis_vendor = id.bios_date = lines[5];
    if (smbios_write(&id, &table, entry) < 0)
        return 0;
    for (size_t i = 0; i < sizeof(entry); i++)
        sum = (unsigned char)(sum + entry[i]);
    assert(sum == 0);
    walk(&table);
    return 0;
}
