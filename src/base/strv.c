/* SPDX-License-Identifier: Apache-2.0 */
/* String vectors: see strv.h. */
#include "base/strv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

size_t strv_len(char *const *v)
{
    size_t n = 0;

    while (v && v[n])
        n++;
    return n;
}

char **strv_copy(char *const *v)
{
    size_t n = strv_len(v);
    char **copy;

    if (!v)
        return NULL;
    copy = xcalloc(n + 1, sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = xstrdup(v[i]);
    return copy;
}

void strv_free(char **v)
{
    for (size_t i = 0; v && v[i]; i++)
        free(v[i]);
    free(v);
}

void strv_push_take(char ***v, char *s)
{
    size_t n = strv_len(*v);

    *v = xreallocarray(*v, n + 2, sizeof(char *));
    (*v)[n] = s;
    (*v)[n + 1] = NULL;
}

void strv_push(char ***v, const char *s)
{
    strv_push_take(v, xstrdup(s));
}

void strv_pushf(char ***v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    strv_push_take(v, xvasprintf(fmt, ap));
    va_end(ap);
}

bool strv_contains(char *const *v, const char *s)
{
    for (size_t i = 0; v && v[i]; i++)
        if (STREQ(v[i], s))
            return true;
    return false;
}

bool strv_equal(char *const *a, char *const *b)
{
    size_t n = strv_len(a);

    if (n != strv_len(b))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!STREQ(a[i], b[i]))
            return false;
    return true;
}

void strv_remove(char **v, const char *s)
{
    size_t out = 0;

    if (!v)
        return;
    for (size_t i = 0; v[i]; i++) {
        if (STREQ(v[i], s))
            free(v[i]);
        else
            v[out++] = v[i];
    }
    v[out] = NULL;
}

char **strv_split(const char *s, const char *seps, bool skip_empty)
{
    char **v = NULL;

    for (;;) {
        size_t n = strcspn(s, seps);

        if (n || !skip_empty)
            strv_push_take(&v, xstrndup(s, n));
        if (!s[n])
            break;
        s += n + 1;
    }
    return v;
}

char *strv_join(char *const *v, const char *sep)
{
    struct buf b = BUF_INIT(BUF_UNLIMITED);

    for (size_t i = 0; v && v[i]; i++) {
        if (i)
            (void)buf_puts(&b, sep);
        (void)buf_puts(&b, v[i]);
    }
    return buf_take(&b);
}

const char *env_get(char *const *v, const char *key)
{
    size_t n = strlen(key);

    for (size_t i = 0; v && v[i]; i++)
        if (strncmp(v[i], key, n) == 0 && v[i][n] == '=')
            return v[i] + n + 1;
    return NULL;
}

void env_set(char ***v, const char *assignment)
{
    size_t n = strcspn(assignment, "=");

    for (size_t i = 0; *v && (*v)[i]; i++) {
        if (strncmp((*v)[i], assignment, n) == 0 && ((*v)[i][n] == '=' || !(*v)[i][n])) {
            str_replace(&(*v)[i], assignment);
            return;
        }
    }
    strv_push(v, assignment);
}
