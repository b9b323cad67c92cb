/* SPDX-License-Identifier: Apache-2.0 */
/* Port specifications from any text: what is taken must be whole. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/portspec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct port_specs specs = {0};
    struct error e = ERROR_INIT;
    AUTOFREE char *text = xstrndup((const char *)data, size);
    uint16_t first, last;
    enum port_proto proto;

    if (portspec_parse(text, &specs, &e) >= 0)
        for (size_t i = 0; i < specs.len; i++) {
            assert(specs.items[i].container_port != 0);
            assert(specs.items[i].host_first <= specs.items[i].host_last);
            assert(specs.items[i].proto < PORT_PROTO_MAX);
        }
    error_done(&e);
    (void)!portspec_parse_expose(text, &specs, &e);
    error_done(&e);
    (void)!portspec_parse_port(text, &first, &proto, &e);
    error_done(&e);
    (void)!portspec_parse_host_port(text, &first, &last, &e);
    error_done(&e);
    port_specs_done(&specs);
    return 0;
}
