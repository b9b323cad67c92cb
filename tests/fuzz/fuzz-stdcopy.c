/* SPDX-License-Identifier: Apache-2.0 */
/* A multiplexed stream, in pieces: parts lie inside the input and no byte is lost or made up. */
#include <stdint.h>
#include <stdlib.h>

#include "io/stdcopy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes of payload, -1 for a bad stream. */
static long feed(const char *data, size_t size, size_t piece)
{
    struct stdcopy_reader r = {0};
    long total = 0;

    for (size_t at = 0; at < size; at += piece) {
        const char *p = data + at, *end, *part;
        size_t len = size - at < piece ? size - at : piece, n;
        enum stdcopy_type type;
        int k;

        end = p + len;
        while ((k = stdcopy_next(&r, &p, &len, &type, &part, &n)) > 0) {
            if (n == 0 || part < data || part + n > end || type >= STDCOPY_TYPE_MAX)
                abort();
            total += (long)n;
        }
        if (k < 0)
            return -1;
    }
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    long whole = feed((const char *)data, size, size + 1);

    if (feed((const char *)data, size, 1) != whole || feed((const char *)data, size, 7) != whole)
        abort();
    return 0;
}
