/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 8259 syntax check without recursion: see json-priv.h. */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/json-priv.h"
#include "base/macros.h"

struct scan {
    const char *text;
    size_t len;
    size_t pos;
    size_t members;
    const char *why;
    char stack[JSON_DEPTH_MAX]; /* '{' or '[' of what is open */
    size_t depth;
};

static char peek(const struct scan *s)
{
    return s->pos < s->len ? s->text[s->pos] : 0;
}

static void skip_space(struct scan *s)
{
    while (s->pos < s->len && s->text[s->pos] && strchr(" \t\r\n", s->text[s->pos]))
        s->pos++;
}

static bool fail(struct scan *s, const char *why)
{
    s->why = why;
    return false;
}

static bool scan_string(struct scan *s)
{
    if (peek(s) != '"')
        return fail(s, "expected a string in double quotes");
    for (s->pos++; s->pos < s->len; s->pos++) {
        unsigned char c = (unsigned char)s->text[s->pos];

        if (c == '"') {
            s->pos++;
            return true;
        }
        if (c < 0x20)
            return fail(s, "control character in a string");
        if (c == '\\') {
            s->pos++;
            if (s->pos >= s->len || !s->text[s->pos] || !strchr("\"\\/bfnrtu", s->text[s->pos]))
                return fail(s, "bad escape in a string");
        }
    }
    return fail(s, "string is not closed");
}

/* Integers must fit 64 bits: what does not would silently become another number. */
static bool integer_fits(const char *p, size_t n)
{
    bool negative = n && *p == '-';
    const char *limit = negative ? "9223372036854775808" : "18446744073709551615";

    if (negative) {
        p++;
        n--;
    }
    return n < strlen(limit) || (n == strlen(limit) && memcmp(p, limit, n) <= 0);
}

static bool scan_digits(struct scan *s)
{
    if (!isdigit((unsigned char)peek(s)))
        return fail(s, "expected a digit");
    while (isdigit((unsigned char)peek(s)))
        s->pos++;
    return true;
}

static bool scan_number(struct scan *s)
{
    size_t start = s->pos;
    bool whole = true;

    if (peek(s) == '-')
        s->pos++;
    if (peek(s) == '0' && s->pos + 1 < s->len && isdigit((unsigned char)s->text[s->pos + 1]))
        return fail(s, "number with a leading zero");
    if (!scan_digits(s))
        return false;
    if (peek(s) == '.') {
        whole = false;
        s->pos++;
        if (!scan_digits(s))
            return false;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        whole = false;
        s->pos++;
        if (peek(s) == '+' || peek(s) == '-')
            s->pos++;
        if (!scan_digits(s))
            return false;
    }
    if (whole && !integer_fits(s->text + start, s->pos - start))
        return fail(s, "integer does not fit 64 bits");
    return true;
}

static bool scan_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        size_t n = strlen(words[i]);

        if (s->len - s->pos >= n && memcmp(s->text + s->pos, words[i], n) == 0) {
            s->pos += n;
            return true;
        }
    }
    return fail(s, "expected a value");
}

static bool scan_key(struct scan *s)
{
    skip_space(s);
    if (!scan_string(s))
        return false;
    skip_space(s);
    if (peek(s) != ':')
        return fail(s, "expected ':' after a key");
    s->pos++;
    s->members++;
    return true;
}

/* Reads one value, or opens one; *opened tells whether a value must follow. */
static bool scan_value(struct scan *s, bool *opened)
{
    char c;

    *opened = false;
    skip_space(s);
    c = peek(s);
    if (c == '{' || c == '[') {
        if (s->depth == JSON_DEPTH_MAX)
            return fail(s, "nested too deeply");
        s->stack[s->depth++] = c;
        s->pos++;
        skip_space(s);
        if (peek(s) == (c == '{' ? '}' : ']')) {
            s->pos++;
            s->depth--;
            return true;
        }
        *opened = true;
        return c == '[' || scan_key(s);
    }
    if (c == '"')
        return scan_string(s);
    if (c == '-' || isdigit((unsigned char)c))
        return scan_number(s);
    return scan_word(s);
}

/* After a value: closes what ends here. *more is set when a comma asks for another value. */
static bool scan_after(struct scan *s, bool *more)
{
    *more = false;
    while (s->depth) {
        bool object = s->stack[s->depth - 1] == '{';

        skip_space(s);
        if (peek(s) == ',') {
            s->pos++;
            *more = true;
            return !object || scan_key(s);
        }
        if (peek(s) != (object ? '}' : ']'))
            return fail(s, object ? "expected ',' or '}'" : "expected ',' or ']'");
        s->pos++;
        s->depth--;
    }
    return true;
}

size_t json_scan(const char *text, size_t len, size_t *ret_members, const char **ret_why)
{
    struct scan s = {.text = text, .len = len};
    bool more = true;

    while (more) {
        bool opened = false;

        if (!scan_value(&s, &opened))
            break;
        if (!opened && !scan_after(&s, &more))
            break;
    }
    if (!s.why) {
        skip_space(&s);
        if (s.pos < s.len)
            s.why = "text after the end";
    }
    *ret_members = s.members;
    *ret_why = s.why;
    return s.pos;
}
