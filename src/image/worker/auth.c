/* SPDX-License-Identifier: Apache-2.0 */
/* Authentication challenges (RFC 7235, the distribution project's token scheme). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "image/worker/worker.h"

#define HEADER_MAX 8192

static const char *skip_space(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    return s;
}

static bool is_token(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* key=value or key="quoted \" value"; the text after it, NULL when malformed. */
static const char *next_param(const char *s, char **ret_key, char **ret_value)
{
    const char *start = s;

    while (is_token(*s))
        s++;
    if (s == start)
        return NULL;
    AUTOFREE char *key = xstrndup(start, (size_t)(s - start));
    s = skip_space(s);
    if (*s != '=')
        return NULL;
    s = skip_space(s + 1);
    AUTO(buf) struct buf value = BUF_INIT(HEADER_MAX);
    if (*s == '"') {
        for (s++; *s && *s != '"'; s++) {
            if (*s == '\\' && s[1])
                s++;
            if (buf_putc(&value, *s) < 0)
                return NULL;
        }
        if (*s != '"')
            return NULL;
        s++;
    } else {
        while (is_token(*s) || *s == '/' || *s == ':' || *s == '?')
            if (buf_putc(&value, *s++) < 0)
                return NULL;
    }
    *ret_key = take_ptr(key);
    *ret_value = buf_take(&value);
    return s;
}

static void set_param(struct challenge *c, const char *key, char *value)
{
    char **field = strcasecmp(key, "realm") == 0     ? &c->realm
                   : strcasecmp(key, "service") == 0 ? &c->service
                   : strcasecmp(key, "scope") == 0   ? &c->scope
                   : strcasecmp(key, "error") == 0   ? &c->error
                                                     : NULL;

    if (!field) {
        free(value);
        return;
    }
    free(*field);
    *field = value;
}

int challenge_parse(const char *header, struct challenge *ret)
{
    struct challenge c = {0};
    const char *s = skip_space(header);

    if (strlen(header) > HEADER_MAX)
        return -EINVAL;
    if (strncasecmp(s, "Bearer", 6) == 0 && (s[6] == ' ' || s[6] == '\t')) {
        c.scheme = CHALLENGE_BEARER;
        s += 6;
    } else if (strncasecmp(s, "Basic", 5) == 0 && (!s[5] || s[5] == ' ' || s[5] == '\t')) {
        c.scheme = CHALLENGE_BASIC;
        s += 5;
    } else {
        return -EINVAL;
    }
    s = skip_space(s);
    while (*s) {
        char *key = NULL, *value = NULL;
        s = next_param(s, &key, &value);
        if (!s)
            break; /* the next challenge of the same header, or rubbish: enough is known */
        set_param(&c, key, value);
        free(key);
        s = skip_space(s);
        while (*s == ',')
            s = skip_space(s + 1);
    }
    if (c.scheme == CHALLENGE_BEARER && !c.realm) {
        challenge_done(&c);
        return -EINVAL;
    }
    *ret = c;
    return 0;
}

void challenge_done(struct challenge *c)
{
    free(c->realm);
    free(c->service);
    free(c->scope);
    free(c->error);
    memset(c, 0, sizeof(*c));
}

void url_encode(struct buf *b, const char *value)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (isalnum(c) || strchr("-_.~", c)) {
            (void)buf_putc(b, (char)c);
        } else {
            (void)buf_putc(b, '%');
            (void)buf_putc(b, hex[c >> 4]);
            (void)buf_putc(b, hex[c & 15]);
        }
    }
}

static void put_query(struct buf *b, char sep, const char *key, const char *value)
{
    (void)buf_printf(b, "%c%s=", sep, key);
    url_encode(b, value);
}

char *challenge_url(const struct challenge *c, const char *scope)
{
    struct buf b = BUF_INIT(8 * HEADER_MAX);
    char sep = strchr(c->realm, '?') ? '&' : '?';

    (void)buf_puts(&b, c->realm);
    if (c->service) {
        put_query(&b, sep, "service", c->service);
        sep = '&';
    }
    for (const char *s = scope ? scope : ""; *s; s += strspn(s, " ")) {
        size_t n = strcspn(s, " ");
        AUTOFREE char *one = xstrndup(s, n);
        if (n > 0) {
            put_query(&b, sep, "scope", one);
            sep = '&';
        }
        s += n;
    }
    return buf_take(&b);
}
