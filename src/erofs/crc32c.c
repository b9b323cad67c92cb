/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum of the superblock: 3 KiB a file, so that a table of 16 entries is fast enough. */
#include <stddef.h>

#include "erofs/format.h"

uint32_t erofs_crc32c(uint32_t crc, const void *data, size_t len)
{
    /* Remainders of the 16 values of four bits by the reflected Castagnoli polynomial. */
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const unsigned char *p = data;

    while (len--) {
        crc ^= *p++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}
