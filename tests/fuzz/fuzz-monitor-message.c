/* SPDX-License-Identifier: Apache-2.0 */
/* A packet of the monitor's control socket: everything taken out of it lies inside it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "monitor/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *copy = xmemdup(data, size + !size);
    struct msg_in in;
    struct msg_exec exec;
    struct msg_event event;

    if (msg_parse(copy, size, &in) < 0)
        return 0;
    msg_fixed(&in, &exec, sizeof(exec));
    msg_fixed(&in, &event, sizeof(event));
    for (size_t i = 0, n = msg_strings(&in); i <= n && i < 100; i++) {
        const char *s = msg_string(&in, i);

        if (*s && (s < copy || s + strlen(s) >= copy + size))
            abort();
    }
    return 0;
}
