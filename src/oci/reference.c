/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image references: a hand-written reading of the grammar in Docker's reference format
 * (https://docs.docker.com/reference/cli/docker/image/tag/), without regular expressions.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define NAME_MAX_LEN 255
#define TAG_MAX_LEN  128

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

bool oci_tag_is_valid(const char *tag)
{
    size_t len = strlen(tag);

    if (len == 0 || len > TAG_MAX_LEN || tag[0] == '.' || tag[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alnum(tag[i]) && !strchr("_.-", tag[i]))
            return false;
    return true;
}

/* One separator between two runs of letters and digits: "." "_" "__" or any number of "-". */
static size_t separator_len(const char *s)
{
    if (*s == '-')
        return strspn(s, "-");
    if (*s == '_')
        return s[1] == '_' ? 2 : 1;
    return *s == '.' ? 1 : 0;
}

static bool path_is_valid(const char *s)
{
    for (;;) {
        if (!is_lower_alnum(*s))
            return false;
        while (is_lower_alnum(*s))
            s++;
        if (*s == '\0')
            return true;
        size_t sep = *s == '/' ? 1 : separator_len(s);
        if (sep == 0)
            return false;
        s += sep;
    }
}

static bool port_is_valid(const char *s)
{
    size_t digits = strspn(s, "0123456789");

    return digits > 0 && digits <= 5 && s[digits] == '\0' && atoi(s) <= 65535;
}

/* host, host:port, [ipv6], [ipv6]:port */
static bool domain_is_valid(const char *s)
{
    if (*s == '[') {
        size_t n = strspn(s + 1, "0123456789abcdefABCDEF:.");
        if (n == 0 || s[1 + n] != ']')
            return false;
        s += n + 2;
        return *s == '\0' || (*s == ':' && port_is_valid(s + 1));
    }
    for (;;) {
        if (!is_alnum(*s))
            return false;
        while (is_alnum(*s) || *s == '-')
            s++;
        if (s[-1] == '-')
            return false;
        if (*s == '\0')
            return true;
        if (*s == ':')
            return port_is_valid(s + 1);
        if (*s != '.')
            return false;
        s++;
    }
}

static bool has_upper(const char *s)
{
    for (; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            return true;
    return false;
}

/* Splits "first/rest" into domain and path by Docker's rule. */
static void split_domain(const char *name, char **ret_domain, char **ret_path)
{
    const char *slash = strchr(name, '/');
    AUTOFREE char *first = slash ? xstrndup(name, (size_t)(slash - name)) : NULL;

    if (first && (strpbrk(first, ".:") || STREQ(first, "localhost") || has_upper(first))) {
        *ret_domain = STREQ(first, "index.docker.io") ? xstrdup(OCI_REFERENCE_DEFAULT_DOMAIN)
                                                      : xstrdup(first);
        name = slash + 1;
    } else {
        *ret_domain = xstrdup(OCI_REFERENCE_DEFAULT_DOMAIN);
    }
    if (STREQ(*ret_domain, OCI_REFERENCE_DEFAULT_DOMAIN) && !strchr(name, '/'))
        *ret_path = xasprintf("library/%s", name);
    else
        *ret_path = xstrdup(name);
}

static int check_name(const char *name, const struct oci_reference *r, struct error *e)
{
    if (!path_is_valid(r->path)) {
        if (has_upper(r->path))
            return error_set(e, ERR_INVALID,
                             "invalid reference format: repository name (%s) must be lowercase",
                             r->path);
        return error_set(e, ERR_INVALID, "invalid reference format: \"%.300s\"", name);
    }
    if (!domain_is_valid(r->domain))
        return error_set(e, ERR_INVALID, "invalid reference format: bad registry host \"%.300s\"",
                         r->domain);
    if (strlen(r->domain) + 1 + strlen(r->path) > NAME_MAX_LEN)
        return error_set(e, ERR_INVALID,
                         "invalid reference format: repository name must not be more than "
                         "255 characters");
    return 0;
}

int oci_reference_parse(const char *text, struct oci_reference *ret, struct error *e)
{
    struct oci_reference r = {0};
    AUTOFREE char *name = NULL;
    const char *at = NULL;
    int rc;

    if (str_is_empty(text))
        return error_set(e, ERR_INVALID, "invalid reference format: the name is empty");
    if (strlen(text) > NAME_MAX_LEN + TAG_MAX_LEN + DIGEST_MAX)
        return error_set(e, ERR_INVALID, "invalid reference format: the name is too long");
    if (str_is_hex(text, 64))
        return error_set(e, ERR_INVALID,
                         "invalid repository name (%s), cannot specify 64-byte hexadecimal strings",
                         text);
    at = strchr(text, '@');
    if (at) {
        if (!digest_is_valid(at + 1))
            return error_set(e, ERR_INVALID, "invalid reference format: \"%.200s\" is not a digest",
                             at + 1);
        r.digest = xstrdup(at + 1);
        name = xstrndup(text, (size_t)(at - text));
    } else {
        name = xstrdup(text);
    }
    char *slash = strrchr(name, '/');
    char *colon = strrchr(slash ? slash : name, ':');
    if (colon) {
        *colon = '\0';
        r.tag = xstrdup(colon + 1);
        if (!oci_tag_is_valid(r.tag)) {
            rc = error_set(e, ERR_INVALID, "invalid reference format: bad tag \"%.200s\"", r.tag);
            oci_reference_done(&r);
            return rc;
        }
    }
    split_domain(name, &r.domain, &r.path);
    rc = check_name(text, &r, e);
    if (rc < 0) {
        oci_reference_done(&r);
        return rc;
    }
    *ret = r;
    return 0;
}

void oci_reference_done(struct oci_reference *r)
{
    free(r->domain);
    free(r->path);
    free(r->tag);
    free(r->digest);
    memset(r, 0, sizeof(*r));
}

void oci_reference_default_tag(struct oci_reference *r)
{
    if (!r->tag && !r->digest)
        r->tag = xstrdup("latest");
}

static char *with_suffix(char *name, const struct oci_reference *r)
{
    char *s = xasprintf("%s%s%s%s%s", name, r->tag ? ":" : "", r->tag ? r->tag : "",
                        r->digest ? "@" : "", r->digest ? r->digest : "");

    free(name);
    return s;
}

char *oci_reference_name(const struct oci_reference *r)
{
    return xasprintf("%s/%s", r->domain, r->path);
}

char *oci_reference_string(const struct oci_reference *r)
{
    return with_suffix(oci_reference_name(r), r);
}

/* Whether a name that begins like this would be read as one of a registry. */
static bool looks_like_domain(const char *path)
{
    size_t n = strcspn(path, "/");

    return path[n] == '/' &&
           (memchr(path, '.', n) || (n == 9 && memcmp(path, "localhost", n) == 0));
}

char *oci_reference_familiar_name(const struct oci_reference *r)
{
    if (!STREQ(r->domain, OCI_REFERENCE_DEFAULT_DOMAIN) || looks_like_domain(r->path))
        return oci_reference_name(r);
    if (str_has_prefix(r->path, "library/") && !strchr(r->path + 8, '/'))
        return xstrdup(r->path + 8);
    return xstrdup(r->path);
}

char *oci_reference_familiar(const struct oci_reference *r)
{
    return with_suffix(oci_reference_familiar_name(r), r);
}

const char *oci_reference_registry_host(const struct oci_reference *r)
{
    return STREQ(r->domain, OCI_REFERENCE_DEFAULT_DOMAIN) ? "registry-1.docker.io" : r->domain;
}
