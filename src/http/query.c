/* SPDX-License-Identifier: Apache-2.0 */
/* Targets and path patterns. Everything here works on what the peer sent. */
#include "http/query.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int http_unescape(const char *s, size_t len, bool plus_is_space, char **ret)
{
    AUTOFREE char *out = xmalloc(len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (c == '%') {
            int hi, lo;

            if (len - i < 3 || (hi = hex_value(s[i + 1])) < 0 || (lo = hex_value(s[i + 2])) < 0)
                return -EINVAL;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0')
            return -EINVAL;
        out[n++] = c;
    }
    out[n] = '\0';
    *ret = take_ptr(out);
    return 0;
}

/* One "name=value" or "name". */
static int query_add(struct http_target *t, const char *s, size_t len)
{
    const char *eq = memchr(s, '=', len);
    size_t name_len = eq ? (size_t)(eq - s) : len;
    AUTOFREE char *name = NULL, *value = NULL;
    int r;

    r = http_unescape(s, name_len, true, &name);
    if (r < 0)
        return r;
    if (eq)
        r = http_unescape(eq + 1, len - name_len - 1, true, &value);
    else
        value = xstrdup("");
    if (r < 0)
        return r;
    if (t->nquery % 16 == 0)
        t->query = xreallocarray(t->query, t->nquery + 16, sizeof(*t->query));
    t->query[t->nquery++] = (struct http_pair){take_ptr(name), take_ptr(value)};
    return 0;
}

static int query_parse(struct http_target *t, const char *s, struct error *e)
{
    while (*s) {
        size_t len = strcspn(s, "&");

        if (len > 0) {
            if (t->nquery >= HTTP_QUERY_MAX)
                return error_set(e, ERR_INVALID, "too many query parameters (the most is %d)",
                                 HTTP_QUERY_MAX);
            if (query_add(t, s, len) < 0)
                return error_set(e, ERR_INVALID, "invalid escape in the query of the URL");
        }
        s += len;
        if (*s == '&')
            s++;
    }
    return 0;
}

int http_target_parse(const char *raw, struct http_target *ret, struct error *e)
{
    struct http_target t = {0};
    size_t path_len;
    int r;

    /* The absolute form, "http://host/path", is what proxies are sent. */
    if (strncasecmp(raw, "http://", 7) == 0) {
        raw += 7;
        raw += strcspn(raw, "/?");
    }
    path_len = strcspn(raw, "?");
    if (raw[0] != '/')
        return error_set(e, ERR_INVALID, "invalid request target: it must begin with \"/\"");
    if (http_unescape(raw, path_len, false, &t.path) < 0)
        return error_set(e, ERR_INVALID, "invalid escape in the path of the URL");
    if (raw[path_len] == '?') {
        r = query_parse(&t, raw + path_len + 1, e);
        if (r < 0) {
            http_target_done(&t);
            return r;
        }
    }
    *ret = t;
    return 0;
}

void http_target_done(struct http_target *t)
{
    for (size_t i = 0; i < t->nquery; i++) {
        free(t->query[i].name);
        free(t->query[i].value);
    }
    free(t->query);
    free(t->path);
    *t = (struct http_target){0};
}

const char *http_target_get(const struct http_target *t, const char *name)
{
    for (size_t i = 0; i < t->nquery; i++)
        if (STREQ(t->query[i].name, name))
            return t->query[i].value;
    return NULL;
}

/* Matches from one point on; a "{name*}" tries its shortest value first. */
static int match_from(const char *pattern, const char *path, struct http_path_param *params,
                      int count)
{
    while (*pattern && *pattern != '{') {
        if (*pattern++ != *path++)
            return -1;
    }
    if (!*pattern)
        return *path ? -1 : count;

    const char *close = strchr(pattern, '}');
    bool many;
    size_t name_len, len;

    if (!close || count >= HTTP_PATH_PARAMS_MAX)
        return -1;
    many = close[-1] == '*';
    name_len = (size_t)(close - pattern) - 1 - many;
    len = strcspn(path, "/");
    for (;;) {
        if (len > 0) {
            int r;

            params[count] = (struct http_path_param){pattern + 1, name_len, path, len};
            r = match_from(close + 1, path + len, params, count + 1);
            if (r >= 0)
                return r;
        }
        if (!many || path[len] != '/')
            return -1;
        len += 1 + strcspn(path + len + 1, "/");
    }
}

int http_path_match(const char *pattern, const char *path,
                    struct http_path_param params[HTTP_PATH_PARAMS_MAX])
{
    return match_from(pattern, path, params, 0);
}
