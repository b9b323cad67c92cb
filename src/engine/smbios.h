/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMBIOS tables (DMTF DSP0134) that name one machine: what dmidecode reads of
 * /sys/firmware/dmi/tables. BIOS, system, base board and chassis; nothing is said of the parts.
 */
#pragma once

#include "base/buf.h"
#include "base/macros.h"

struct smbios_identity {
    const char *bios_vendor, *bios_version, *bios_date; /* NULL or "": not specified, as all here */
    const char *manufacturer, *product, *version, *family, *sku;
    const char *board_vendor, *board_name, *board_version;
    const char *chassis_vendor, *chassis_version;
    unsigned chassis_type;  /* 0: unknown */
    const char *serial;     /* of system, board and chassis */
    unsigned char uuid[16]; /* in the order it is written, "00112233-…" */
};

#define SMBIOS_ENTRY_SIZE 24
/* The table, and the entry point that speaks of it (smbios_entry_point, version 3.3). -EFBIG when
 * texts are too long. */
int smbios_write(const struct smbios_identity *id, struct buf *ret_table,
                 unsigned char ret_entry[SMBIOS_ENTRY_SIZE]) MUST_CHECK;

/* "00112233-4455-6677-8899-aabbccddeeff" in any case; -EINVAL. */
int uuid_parse(const char *text, unsigned char ret[16]) MUST_CHECK;
void uuid_format(const unsigned char uuid[16], char out[37]);
