/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the control socket. */
#include "monitor/protocol.h"

#include <assert.h>
#include <string.h>

void msg_begin(struct msg_out *m, enum msg_type type, uint32_t serial, const void *fixed,
               size_t len)
{
    struct msg_header h = {.version = MSG_VERSION,
                           .type = (uint16_t)type,
                           .serial = serial,
                           .fixed = (uint32_t)len};

    assert(sizeof(h) + len <= sizeof(m->data));
    memcpy(m->data, &h, sizeof(h));
    if (len > 0)
        memcpy(m->data + sizeof(h), fixed, len);
    m->len = sizeof(h) + len;
}

int msg_add_string(struct msg_out *m, const char *s)
{
    size_t len = s ? strlen(s) + 1 : 1;

    if (sizeof(m->data) - m->len < len)
        return -EMSGSIZE;
    memcpy(m->data + m->len, s ? s : "", len);
    m->len += len;
    return 0;
}

int msg_parse(const char *data, size_t len, struct msg_in *ret)
{
    struct msg_in m = {0};

    if (len < sizeof(m.header))
        return -EBADMSG;
    memcpy(&m.header, data, sizeof(m.header));
    len -= sizeof(m.header);
    if (m.header.version != MSG_VERSION || m.header.fixed > len)
        return -EBADMSG;
    m.fixed = data + sizeof(m.header);
    m.fixed_len = m.header.fixed;
    m.strings = m.fixed + m.fixed_len;
    m.strings_len = len - m.fixed_len;
    if (m.strings_len > 0 && m.strings[m.strings_len - 1] != '\0')
        return -EBADMSG;
    *ret = m;
    return 0;
}

void msg_fixed(const struct msg_in *m, void *out, size_t len)
{
    size_t n = m->fixed_len < len ? m->fixed_len : len;

    memset(out, 0, len);
    if (n > 0)
        memcpy(out, m->fixed, n);
}

const char *msg_string(const struct msg_in *m, size_t i)
{
    const char *p = m->strings, *end = p + m->strings_len;

    for (; p < end && i > 0; i--)
        p += strlen(p) + 1;
    return p < end ? p : "";
}

size_t msg_strings(const struct msg_in *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->strings_len; i++)
        n += m->strings[i] == '\0';
    return n;
}
