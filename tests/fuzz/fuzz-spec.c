/* SPDX-License-Identifier: Apache-2.0 */
/* config.json and process.json: no crash; what is taken prints, and reads as the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct oci_spec s = {0}, copy;
    struct oci_process p = {0};
    AUTO(buf) struct buf a = BUF_INIT(64 << 20);
    AUTO(buf) struct buf b = BUF_INIT(64 << 20);

    if (json_parse(&oci_process_json, (const char *)data, size, &p, NULL) == 0) {
        (void)!oci_process_validate(&p, NULL);
        json_free(&oci_process_json, &p);
    }
    if (json_parse(&oci_spec_json, (const char *)data, size, &s, NULL) < 0)
        return 0;
    (void)!oci_spec_validate(&s, NULL);
    json_copy(&oci_spec_json, &copy, &s);
    json_free(&oci_spec_json, &s);
    (void)json_print(&oci_spec_json, &copy, &a);
    json_free(&oci_spec_json, &copy);
    if (json_parse(&oci_spec_json, buf_str(&a), a.len, &s, NULL) < 0)
        abort();
    (void)json_print(&oci_spec_json, &s, &b);
    json_free(&oci_spec_json, &s);
    if (a.len != b.len || memcmp(buf_str(&a), buf_str(&b), a.len))
        abort();
    return 0;
}
