/* SPDX-License-Identifier: Apache-2.0 */
/* Base64: see base64.h. */
#include "base/base64.h"

#include <errno.h>
#include <string.h>

int base64_encode(const void *data, size_t len, enum base64_alphabet a, struct buf *out)
{
    static const char standard[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *digits = a == BASE64_URL ? url : standard;
    const unsigned char *p = data;

    for (; len > 0; p += 3) {
        size_t n = len < 3 ? len : 3;
        unsigned v = (unsigned)p[0] << 16 | (n > 1 ? (unsigned)p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
        const char quad[4] = {digits[v >> 18], digits[(v >> 12) & 63],
                              n > 1 ? digits[(v >> 6) & 63] : '=', n > 2 ? digits[v & 63] : '='};
        int r = buf_append(out, quad, sizeof(quad));
        if (r < 0)
            return r;
        len -= n;
    }
    return 0;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-' || c == '+')
        return 62;
    return c == '_' || c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, struct buf *out)
{
    unsigned bits = 0, n = 0;
    size_t i = 0;

    for (; i < len && text[i] != '='; i++) {
        if (text[i] && strchr(" \t\r\n", text[i]))
            continue;
        int v = value_of(text[i]);
        if (v < 0)
            return -EINVAL;
        bits = (bits << 6) | (unsigned)v;
        n += 6;
        if (n >= 8) {
            n -= 8;
            if (buf_putc(out, (char)(bits >> n)) < 0)
                return -EFBIG;
        }
    }
    for (; i < len; i++)
        if (!text[i] || !strchr("= \t\r\n", text[i]))
            return -EINVAL;
    return 0;
}
