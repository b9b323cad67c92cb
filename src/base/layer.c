/* SPDX-License-Identifier: Apache-2.0 */
/* See layer.h. */
#include "base/layer.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define WHITEOUT_META ".wh..wh."

void layer_path_printable(const char *path, char *out, size_t size)
{
    size_t n = 0;

    for (; *path && n + 8 < size; path++) {
        unsigned char c = (unsigned char)*path;

        if (c == '"' || c == '\\' || iscntrl(c))
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
        else
            out[n++] = (char)c;
    }
    out[n] = 0;
    if (*path)
        (void)snprintf(out + n, size - n, "...");
}

int layer_refuse(const char *path, struct error *e, const char *why)
{
    char name[200];

    layer_path_printable(path, name, sizeof name);
    return error_set(e, ERR_INVALID, "entry \"%s\": %s", name, why);
}

int layer_fail(const char *path, int errnum, const char *what, struct error *e)
{
    char name[200];

    layer_path_printable(path, name, sizeof name);
    return error_set_errno(e, errnum, "entry \"%s\": %s", name, what);
}

int layer_entry_check(const struct layer_entry *entry, struct error *e)
{
    if (entry->uid == UINT32_MAX || entry->gid == UINT32_MAX)
        return layer_refuse(entry->path, e, "its owner is not a valid id");
    if (entry->mtime_nsec >= 1000000000u)
        return layer_refuse(entry->path, e, "its time is not valid");
    if (entry->size > INT64_MAX)
        return layer_refuse(entry->path, e, "its size is not valid");
    return 0;
}

int layer_path_clean(const char *in, struct layer_path *out)
{
    size_t n = 0;

    if (strlen(in) > LAYER_PATH_MAX)
        return -ENAMETOOLONG;
    while (*in) {
        size_t len = strcspn(in, "/");

        if (len == 2 && in[0] == '.' && in[1] == '.') {
            if (n == 0)
                return -EXDEV;
            while (n > 0 && out->text[--n] != '/')
                ;
        } else if (len > 0 && !(len == 1 && in[0] == '.')) {
            if (n > 0)
                out->text[n++] = '/';
            memcpy(out->text + n, in, len);
            n += len;
        }
        in += len + (in[len] == '/');
    }
    out->text[n] = 0;
    while (n > 0 && out->text[n - 1] != '/')
        n--;
    out->name = out->text + n;
    n -= n > 0;
    memcpy(out->dir, out->text, n);
    out->dir[n] = 0;
    return 0;
}

bool layer_path_is_aufs_meta(const struct layer_path *p)
{
    return str_has_prefix(p->text, WHITEOUT_META) && !STREQ(p->text, LAYER_WHITEOUT_OPQ);
}

bool layer_xattr_is_wanted(const char *name)
{
    if (str_has_prefix(name, "user.") || str_has_prefix(name, "trusted."))
        return !str_has_prefix(name, "user.overlay.") && !str_has_prefix(name, "trusted.overlay.");
    return STREQ(name, "security.capability") || STREQ(name, "security.ima") ||
           STREQ(name, "system.posix_acl_access") || STREQ(name, "system.posix_acl_default");
}
