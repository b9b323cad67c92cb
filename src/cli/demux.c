/* SPDX-License-Identifier: Apache-2.0 */
/* The formats on an attached connection: frames of output, detach keys in the input. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/strv.h"
#include "cli/stream.h"

int demux_feed(struct demux *d, const char *data, size_t len,
               int (*write_to)(int fd, const char *data, size_t len, void *user), void *user)
{
    while (len) {
        size_t n = len;

        if (d->left) {
            int r;

            if (n > d->left)
                n = d->left;
            r = write_to(d->fd, data, n, user);
            if (r < 0)
                return r;
            d->left -= n;
        } else {
            if (n > sizeof d->head - d->have)
                n = sizeof d->head - d->have;
            memcpy(d->head + d->have, data, n);
            d->have += n;
            if (d->have == sizeof d->head) {
                d->have = 0;
                if (d->head[0] > 3 || d->head[1] || d->head[2] || d->head[3])
                    return -EPROTO;
                d->left = (size_t)d->head[4] << 24 | (size_t)d->head[5] << 16 |
                          (size_t)d->head[6] << 8 | d->head[7];
                d->fd = d->head[0] < 2 ? STDOUT_FILENO : STDERR_FILENO;
            }
        }
        data += n;
        len -= n;
    }
    return 0;
}

/* One key: a character, or ctrl- and a letter or one of @ [ \ ] ^ _ . */
static int parse_key(const char *key)
{
    if (strlen(key) == 1)
        return (unsigned char)*key;
    if (!strncmp(key, "ctrl-", 5) && strlen(key) == 6) {
        char c = key[5];

        if (c >= 'a' && c <= 'z')
            return c - 'a' + 1;
        if (c == '@')
            return 0;
        if (c >= '[' && c <= '_')
            return c - '[' + 27;
    }
    return -EINVAL;
}

int detach_keys_parse(const char *text, unsigned char out[16])
{
    AUTOPTR(strv) char **keys = strv_split(text, ",", false);
    size_t n = strv_len(keys);

    if (n > 16 || n == 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        int key = parse_key(keys[i]);

        if (key < 0)
            return key;
        out[i] = (unsigned char)key;
    }
    return (int)n;
}

bool detach_scan(struct detach_scan *d, const char *data, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)data[i];

        if (d->len && ch == d->keys[d->matched]) {
            if (++d->matched == d->len)
                return true;
            continue;
        }
        /* Not the sequence after all: what was held back goes out, and this byte may begin one. */
        if (d->matched) {
            (void)buf_append(out, d->keys, d->matched);
            d->matched = 0;
            i--;
            continue;
        }
        (void)buf_putc(out, (char)ch);
    }
    return false;
}
