/* SPDX-License-Identifier: Apache-2.0 */
/* Seccomp profiles of users, compiled. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sys/seccomp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    const char *const caps[] = {"CAP_SYS_ADMIN", "CAP_KILL", NULL};
    AUTO(buf) struct buf b = BUF_INIT(SECCOMP_BPF_MAX);
    CLEANUP(error_done) struct error e = ERROR_INIT;

    /* The compiler's time grows with the square of the rules: not what is looked for here. */
    if (size > 4096)
        return 0;
    if (seccomp_compile(text, (char *const *)caps, &b, &e) == 0 && b.len % 8)
        abort();
    return 0;
}
