/* SPDX-License-Identifier: Apache-2.0 */
/* TOML from any text: what is taken must be one JSON object. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "base/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf) struct buf out = BUF_INIT(64u << 20);
    AUTO(error) struct error e = ERROR_INIT;
    struct json_value *v = NULL;

    if (toml_to_json((const char *)data, size, &out, &e) < 0) {
        assert(e.message);
        assert(out.len == 0);
        return 0;
    }
    error_done(&e);
    if (json_value_parse(out.data, out.len, &v, &e) < 0)
        assert(strstr(error_message(&e), "deep"));
    else
        assert(json_value_kind(v) == JV_OBJ);
    json_value_free(v);
    return 0;
}
