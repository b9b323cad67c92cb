/* SPDX-License-Identifier: Apache-2.0 */
/* References and platforms: what is taken has a normal form that means the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "oci/platform.h"
#include "oci/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    struct oci_reference r = {0}, again = {0};
    struct oci_platform p = {0};
    AUTO(error) struct error e = ERROR_INIT;

    if (oci_reference_parse(text, &r, &e) == 0) {
        AUTOFREE char *full = oci_reference_string(&r);
        AUTOFREE char *familiar = oci_reference_familiar(&r);
        assert(!strstr(r.path, "..") && r.path[0] != '/');
        assert(oci_reference_parse(full, &again, NULL) == 0);
        AUTOFREE char *full2 = oci_reference_string(&again);
        assert(strcmp(full, full2) == 0);
        oci_reference_done(&again);
        assert(oci_reference_parse(familiar, &again, NULL) == 0);
        AUTOFREE char *full3 = oci_reference_string(&again);
        assert(strcmp(full, full3) == 0);
        oci_reference_done(&again);
    }
    oci_reference_done(&r);
    if (oci_platform_parse(text, &p, NULL) == 0) {
        assert(oci_platform_rank(&p, &p) > 0);
        oci_platform_done(&p);
    }
    return 0;
}
