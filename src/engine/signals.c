/* SPDX-License-Identifier: Apache-2.0 */
/* Signals by name and number. */
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "engine/engine-priv.h"

int signal_parse(const char *name, int *ret)
{
    int64_t n;

    if (parse_i64(name, &n) == 0) {
        if (n < 1 || n > 64)
            return -EINVAL;
        *ret = (int)n;
        return 0;
    }
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int i = 1; i < 32; i++) {
        if (strcasecmp(sigabbrev_np(i), name) == 0) {
            *ret = i;
            return 0;
        }
    }
    /* Real-time signals as the C library numbers them: RTMIN is 34. */
    if (strncasecmp(name, "RTMIN", 5) == 0 || strncasecmp(name, "RTMAX", 5) == 0) {
        bool min = strncasecmp(name, "RTMIN", 5) == 0;
        int base = min ? 34 : 64;

        n = 0;
        if (name[5] && (name[5] != (min ? '+' : '-') || parse_i64(name + 6, &n) < 0))
            return -EINVAL;
        if (n < 0 || n > 30)
            return -EINVAL;
        *ret = min ? base + (int)n : base - (int)n;
        return 0;
    }
    return -EINVAL;
}
