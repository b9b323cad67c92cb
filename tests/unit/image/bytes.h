/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that grow, for tests of codecs: add() appends, bytes_sink() is add() as a sink. The test frees
 * data. */
#pragma once

#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

struct bytes {
    unsigned char *data;
    size_t len;
};

static inline void add(struct bytes *b, const void *data, size_t len)
{
    b->data = xreallocarray(b->data, b->len + len + 1, 1);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static inline int bytes_sink(void *data, const void *bytes, size_t len, struct error *e)
{
    (void)e;
    add(data, bytes, len);
    return 0;
}
