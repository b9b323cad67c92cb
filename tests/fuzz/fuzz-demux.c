/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a multiplexed stream, whole and one by one: both must give the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int collect(int fd, const char *data, size_t len, void *user)
{
    struct buf *out = user;

    (void)fd;
    return buf_append(out, data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf) struct buf whole = BUF_INIT(16 << 20);
    AUTO(buf) struct buf pieces = BUF_INIT(16 << 20);
    struct demux a = {0}, b = {0};
    int ra = demux_feed(&a, (const char *)data, size, collect, &whole), rb = 0;

    for (size_t i = 0; i < size && rb == 0; i++)
        rb = demux_feed(&b, (const char *)data + i, 1, collect, &pieces);
    if (ra != rb || whole.len != pieces.len || strcmp(buf_str(&whole), buf_str(&pieces)) != 0)
        abort();
    return 0;
}
