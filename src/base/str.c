/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, names, ids: see str.h. */
#include "base/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

bool str_has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s);
    size_t m = strlen(suffix);

    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool str_is_empty(const char *s)
{
    return !s || !*s;
}

void str_tame(char *s, const char *keep)
{
    for (unsigned char *p = (unsigned char *)s; p && *p; p++) {
        bool c0 = *p < ' ' || *p == 0x7f;

        if (c0 && !(keep && strchr(keep, *p)))
            *p = ' ';
        else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
            p[0] = p[1] = ' ';
    }
}

int parse_i64(const char *s, int64_t *ret)
{
    char *end;
    long long v;

    if (!isdigit((unsigned char)*s) && !(*s == '-' && isdigit((unsigned char)s[1])))
        return -EINVAL;
    errno = 0;
    v = strtoll(s, &end, 10);
    if (*end)
        return -EINVAL;
    if (errno)
        return -errno;
    *ret = v;
    return 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
    char *end;
    unsigned long long v;

    if (!isdigit((unsigned char)*s))
        return -EINVAL;
    errno = 0;
    v = strtoull(s, &end, 10);
    if (*end)
        return -EINVAL;
    if (errno)
        return -errno;
    *ret = v;
    return 0;
}

bool parse_bool_query(const char *s, bool fallback)
{
    if (!s)
        return fallback;
    return *s && strcasecmp(s, "0") && strcasecmp(s, "no") && strcasecmp(s, "false") &&
           strcasecmp(s, "none");
}

int parse_size(const char *s, int64_t *ret)
{
    static const char letters[] = "bkmgtp";
    const char *p;
    char *end;
    double v;
    int64_t unit = 1;

    if (!isdigit((unsigned char)*s))
        return -EINVAL;
    for (p = s; isdigit((unsigned char)*p) || *p == '.';)
        p++;
    v = strtod(s, &end);
    if (end != p)
        return -EINVAL;
    while (*end == ' ')
        end++;
    if (*end) {
        const char *at = strchr(letters, tolower((unsigned char)*end));

        if (!at)
            return -EINVAL;
        for (; at > letters; at--)
            unit *= 1024;
        end++;
        if (unit > 1 && tolower((unsigned char)*end) == 'i')
            end++;
        if (unit > 1 && tolower((unsigned char)*end) == 'b')
            end++;
        if (*end)
            return -EINVAL;
    }
    if (v * (double)unit >= 9.2e18)
        return -ERANGE;
    *ret = (int64_t)(v * (double)unit);
    return 0;
}

void hex_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = 0;
}

void random_hex(char *out, size_t nbytes)
{
    unsigned char raw[64];

    while (nbytes) {
        size_t n = nbytes < sizeof(raw) ? nbytes : sizeof(raw);

        if (getrandom(raw, n, 0) != (ssize_t)n)
            abort();
        hex_encode(raw, n, out);
        out += 2 * n;
        nbytes -= n;
    }
}

bool str_is_hex(const char *s, size_t len)
{
    return strlen(s) == len && strspn(s, "0123456789abcdef") == len;
}
