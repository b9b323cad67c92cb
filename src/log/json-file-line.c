/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of a json-file log. The fields may come in any order, with others between them (Docker
 * writes "attrs"). Decoding needs no memory: the text of "log" is never longer than its JSON form.
 */
#include "log/json-file.h"

#include <stdint.h>
#include <string.h>

#include "base/time.h"

struct cursor {
    char *p, *end;
};

static void skip_space(struct cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\r'))
        c->p++;
}

static int take(struct cursor *c, char expected)
{
    skip_space(c);
    if (c->p == c->end || *c->p != expected)
        return -EBADMSG;
    c->p++;
    return 0;
}

/* Four hex digits at p, or -1. */
static int hex4(const struct cursor *c, const char *p)
{
    int value = 0;

    if (c->end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char d = p[i];

        if (d >= '0' && d <= '9')
            value = value << 4 | (d - '0');
        else if ((d | 32) >= 'a' && (d | 32) <= 'f')
            value = value << 4 | ((d | 32) - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xe0 | code >> 12);
        } else {
            *out++ = (char)(0xf0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (code & 0x3f));
    return out;
}

/* \uXXXX after the u; pairs of surrogates become one character, lone ones U+FFFD. */
static char *unescape_unicode(struct cursor *c, char *out)
{
    int code = hex4(c, c->p), low;

    if (code < 0)
        return NULL;
    c->p += 4;
    if (code < 0xd800 || code > 0xdfff)
        return put_utf8(out, (uint32_t)code);
    if (code < 0xdc00 && c->end - c->p >= 6 && c->p[0] == '\\' && c->p[1] == 'u') {
        low = hex4(c, c->p + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            c->p += 6;
            return put_utf8(out,
                            0x10000 + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
        }
    }
    return put_utf8(out, 0xfffd);
}

/* One escape after the backslash; where the output goes on, or NULL. */
static char *unescape(struct cursor *c, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (c->p == c->end)
        return NULL;
    if (*c->p == 'u') {
        c->p++;
        return unescape_unicode(c, out);
    }
    found = memchr(from, *c->p, sizeof(from) - 1);
    if (!found)
        return NULL;
    *out++ = to[found - from];
    c->p++;
    return out;
}

/* A string, decoded in place. */
static int take_string(struct cursor *c, char **ret, size_t *ret_len)
{
    char *start, *out;
    int r = take(c, '"');

    if (r < 0)
        return r;
    start = out = c->p;
    while (c->p < c->end && *c->p != '"') {
        if (*c->p == '\\') {
            c->p++;
            out = unescape(c, out);
            if (!out)
                return -EBADMSG;
        } else {
            *out++ = *c->p++;
        }
    }
    if (c->p == c->end)
        return -EBADMSG;
    c->p++;
    *ret = start;
    *ret_len = (size_t)(out - start);
    return 0;
}

/* Any value of a field that is not ours. */
static int skip_value(struct cursor *c)
{
    int depth = 0;

    for (;;) {
        char *s;
        size_t n;

        skip_space(c);
        if (c->p == c->end)
            return -EBADMSG;
        if (*c->p == '"') {
            if (take_string(c, &s, &n) < 0)
                return -EBADMSG;
        } else if (*c->p == '{' || *c->p == '[') {
            depth++;
            c->p++;
        } else if (*c->p == '}' || *c->p == ']') {
            if (depth-- == 0)
                return 0; /* the end of the line's own object */
            c->p++;
        } else if (depth == 0 && *c->p == ',') {
            return 0;
        } else {
            c->p++;
        }
    }
}

static int parse_time(const char *s, size_t len, int64_t *ret)
{
    char text[TIME_RFC3339_MAX];

    if (len >= sizeof(text))
        return -EBADMSG;
    memcpy(text, s, len);
    text[len] = '\0';
    return time_parse_rfc3339(text, ret) < 0 ? -EBADMSG : 0;
}

enum { SEEN_LOG = 1, SEEN_STREAM = 2, SEEN_TIME = 4, SEEN_ALL = 7 };

/* One "key": value; the bit of what was seen, or -EBADMSG. */
static int parse_field(struct cursor *c, struct log_entry *ret)
{
    char *key, *value;
    size_t key_len, len;

    if (take_string(c, &key, &key_len) < 0 || take(c, ':') < 0)
        return -EBADMSG;
    if (key_len == 3 && memcmp(key, "log", 3) == 0) {
        if (take_string(c, &value, &len) < 0)
            return -EBADMSG;
        ret->data = value;
        ret->len = len;
        return SEEN_LOG;
    }
    if (key_len == 6 && memcmp(key, "stream", 6) == 0) {
        if (take_string(c, &value, &len) < 0 || len != 6)
            return -EBADMSG;
        if (memcmp(value, "stdout", 6) == 0)
            ret->stream = LOG_STDOUT;
        else if (memcmp(value, "stderr", 6) == 0)
            ret->stream = LOG_STDERR;
        else
            return -EBADMSG;
        return SEEN_STREAM;
    }
    if (key_len == 4 && memcmp(key, "time", 4) == 0) {
        if (take_string(c, &value, &len) < 0 || parse_time(value, len, &ret->time_ns) < 0)
            return -EBADMSG;
        return SEEN_TIME;
    }
    return skip_value(c);
}

int log_line_parse(char *line, size_t len, struct log_entry *ret)
{
    struct cursor c = {line, line + len};
    struct log_entry entry = {.stream = LOG_STDOUT};
    int seen = 0;

    if (take(&c, '{') < 0)
        return -EBADMSG;
    for (;;) {
        int r = parse_field(&c, &entry);

        if (r < 0)
            return r;
        seen |= r;
        if (take(&c, ',') < 0)
            break;
    }
    if (take(&c, '}') < 0 || seen != SEEN_ALL)
        return -EBADMSG;
    skip_space(&c);
    if (c.p != c.end)
        return -EBADMSG;
    *ret = entry;
    return 0;
}

size_t log_entry_timestamp(const struct log_entry *entry, char out[LOG_TIMESTAMP_MAX])
{
    size_t len;

    out[0] = '\0';
    if (entry->continues)
        return 0;
    time_format_rfc3339(entry->time_ns, out);
    len = strlen(out);
    out[len++] = ' ';
    out[len] = '\0';
    return len;
}
