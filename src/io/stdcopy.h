/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's multiplexed stream: frames of an 8-byte header {type, 0, 0, 0, length (big endian)} and
 * the bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

enum stdcopy_type {
    STDCOPY_STDIN = 0,
    STDCOPY_STDOUT = 1,
    STDCOPY_STDERR = 2,
    STDCOPY_SYSTEMERR = 3, /* an error of the engine, then the stream ends */
    STDCOPY_TYPE_MAX
};

#define STDCOPY_HEADER 8

void stdcopy_header(unsigned char out[STDCOPY_HEADER], enum stdcopy_type type, uint32_t len);

/* The reader: feed it bytes as they come, in pieces of any size. Zeroed is ready. */
struct stdcopy_reader {
    unsigned char header[STDCOPY_HEADER];
    unsigned have; /* bytes of the header */
    uint32_t left; /* bytes of the current frame still to come */
    uint8_t type;
};

/*
 * Takes the next piece out of *data / *len (both are advanced): 1 with the stream's type and a
 * part of a frame (borrowed from data, never empty), 0 when all bytes are taken, -EPROTO for a
 * header that is none.
 */
int stdcopy_next(struct stdcopy_reader *r, const char **data, size_t *len,
                 enum stdcopy_type *ret_type, const char **ret_part, size_t *ret_part_len);
