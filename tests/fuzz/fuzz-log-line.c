/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a json-file log: decoding stays inside the line; and what the writer makes of any
 * output, the parser takes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "log/json-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *line = xmemdup(data, size + !size);
    struct log_entry entry;

    if (log_line_parse(line, size, &entry) == 0 &&
        (entry.data < line || entry.data + entry.len > line + size))
        abort();
    return 0;
}
