/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes: the parser must not crash, and what it takes it must print and take again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_value *v = NULL;
    AUTO(buf) struct buf b = BUF_INIT(64 << 20);

    if (json_value_parse((const char *)data, size, &v, NULL) < 0)
        return 0;
    json_value_print(v, false, &b);
    json_value_free(v);
    v = NULL;
    if (json_value_parse(b.data, b.len, &v, NULL) < 0)
        abort();
    json_value_free(v);
    return 0;
}
