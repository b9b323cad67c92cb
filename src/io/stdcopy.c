/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of Docker's multiplexed stream. */
#include "io/stdcopy.h"

#include <string.h>

void stdcopy_header(unsigned char out[STDCOPY_HEADER], enum stdcopy_type type, uint32_t len)
{
    out[0] = (unsigned char)type;
    out[1] = out[2] = out[3] = 0;
    out[4] = (unsigned char)(len >> 24);
    out[5] = (unsigned char)(len >> 16);
    out[6] = (unsigned char)(len >> 8);
    out[7] = (unsigned char)len;
}

/* Takes bytes until the header is whole: 1 when it is, 0 when more are needed. */
static int take_header(struct stdcopy_reader *r, const char **data, size_t *len)
{
    size_t n = STDCOPY_HEADER - r->have;

    if (n > *len)
        n = *len;
    memcpy(r->header + r->have, *data, n);
    r->have += (unsigned)n;
    *data += n;
    *len -= n;
    if (r->have < STDCOPY_HEADER)
        return 0;
    r->have = 0;
    if (r->header[0] >= STDCOPY_TYPE_MAX || r->header[1] || r->header[2] || r->header[3])
        return -EPROTO;
    r->type = r->header[0];
    r->left = (uint32_t)r->header[4] << 24 | (uint32_t)r->header[5] << 16 |
              (uint32_t)r->header[6] << 8 | r->header[7];
    return 1;
}

int stdcopy_next(struct stdcopy_reader *r, const char **data, size_t *len,
                 enum stdcopy_type *ret_type, const char **ret_part, size_t *ret_part_len)
{
    while (*len > 0) {
        size_t n;

        if (r->left == 0) {
            int k = take_header(r, data, len);

            if (k < 0)
                return k;
            continue; /* frames of length 0 are passed over */
        }
        n = r->left < *len ? r->left : *len;
        *ret_type = (enum stdcopy_type)r->type;
        *ret_part = *data;
        *ret_part_len = n;
        *data += n;
        *len -= n;
        r->left -= (uint32_t)n;
        return 1;
    }
    return 0;
}
