/* SPDX-License-Identifier: Apache-2.0 */
/* registries.d: see lookaside.h. */
#include "image/lookaside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/policy.h"

#define FILE_MAX  (1u << 20)
#define DEPTH_MAX 3 /* docker: SCOPE: KEY: VALUE */

/* --- The files' YAML --------------------------------------------------------------------------------- */

/* A plain or quoted text; *s is moved behind it. Plain ones end at ": ", " #" or the line's end. */
static char *take_scalar(char **s, bool key)
{
    char *p = *s;

    if (*p == '"' || *p == '\'') {
        char quote = *p++;
        size_t n = strcspn(p, quote == '"' ? "\"\\" : "'");
        if (p[n] != quote || p[n + 1] == quote) /* escapes: nobody writes them here */
            return NULL;
        *s = p + n + 1;
        return xstrndup(p, n);
    }
    if (strchr("[{&*!|>%@`?", *p) || (*p == '-' && (p[1] == ' ' || !p[1])))
        return NULL;
    char *end = p;
    while (*end && !(key && *end == ':' && (end[1] == ' ' || !end[1])) &&
           !(*end == '#' && end > p && end[-1] == ' '))
        end++;
    *s = end;
    while (end > p && end[-1] == ' ')
        end--;
    return xstrndup(p, (size_t)(end - p));
}

struct level {
    size_t indent;
    char *key;
};
struct reader {
    struct level levels[DEPTH_MAX];
    size_t depth;
    lookaside_fn *one;
    void *data;
};

static void pop(struct reader *r, size_t indent)
{
    while (r->depth > 0 && r->levels[r->depth - 1].indent >= indent)
        free(r->levels[--r->depth].key);
}

/* "key: value" at its place in the tree. */
static int emit(struct reader *r, const char *key, const char *value, struct error *e)
{
    const char *top = r->depth > 0 ? r->levels[0].key : key;

    if (!STREQ(top, "docker") && !STREQ(top, "default-docker"))
        return error_set(e, ERR_INVALID, "unknown field \"%.60s\"", top);
    if (STREQ(value, "{}"))
        return 0;
    if (STREQ(top, "default-docker") && r->depth == 1)
        return r->one(r->data, "", key, value, e);
    if (STREQ(top, "docker") && r->depth == 2)
        return r->one(r->data, r->levels[1].key, key, value, e);
    return error_set(e, ERR_INVALID, "\"%.100s\" stands at the wrong depth", key);
}

static int read_value(struct reader *r, const char *key, char *s, struct error *e)
{
    AUTOFREE char *value = STREQ(s, "{}") ? xstrdup(s) : NULL;

    if (!value) {
        value = take_scalar(&s, false);
        s += strspn(s, " ");
        if (!value || (*s && *s != '#'))
            return error_set(e, ERR_INVALID, "the value of \"%.60s\" is not a plain text", key);
    }
    return emit(r, key, value, e);
}

static int read_line(struct reader *r, char *line, struct error *e)
{
    size_t indent = strspn(line, " ");
    char *s = line + indent;
    size_t len = strlen(s);

    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\r'))
        s[--len] = '\0';
    if (!*s || *s == '#' || STREQ(s, "---") || STREQ(s, "..."))
        return 0;
    if (*s == '\t')
        return error_set(e, ERR_INVALID, "a tab indents");
    AUTOFREE char *key = take_scalar(&s, true);
    if (!key || !*key || *s != ':' || (s[1] != ' ' && s[1]))
        return error_set(e, ERR_INVALID, "expected \"name: value\"");
    s++;
    s += strspn(s, " ");
    pop(r, indent);
    if (*s && *s != '#')
        return read_value(r, key, s, e);
    if (r->depth >= DEPTH_MAX - 1)
        return error_set(e, ERR_INVALID, "\"%.100s\" has no value", key);
    if (r->depth == 0 && !STREQ(key, "docker") && !STREQ(key, "default-docker"))
        return error_set(e, ERR_INVALID, "unknown field \"%.60s\"", key);
    r->levels[r->depth].indent = indent;
    r->levels[r->depth++].key = take_ptr(key);
    return 0;
}

int lookaside_parse(const char *text, lookaside_fn *one, void *data, struct error *e)
{
    struct reader reader = {.one = one, .data = data};
    AUTOPTR(strv) char **lines = strv_split(text, "\n", false);
    int r = 0;

    for (size_t i = 0; r >= 0 && lines && lines[i]; i++) {
        r = read_line(&reader, lines[i], e);
        if (r < 0)
            error_add(e, "line %zu", i + 1);
    }
    pop(&reader, 0);
    return r;
}

/* --- Which of it is about an image ---------------------------------------------------------------------- */

struct search {
    char *const *scopes; /* most special first */
    size_t nscopes;
    size_t best_url, best_attachments;
    bool url_is_old; /* by the name that it had once: the newer one wins */
    struct lookaside found;
    const char *file;
    char **scopes_seen, **files_seen; /* one file each, or the order of the folder would decide */
    char **keys_seen;                 /* of this file: "scope key" */
};

static int check_twice(struct search *s, const char *scope, const char *key, struct error *e)
{
    AUTOFREE char *both = xasprintf("%s %s", scope, key);
    const char *name = *scope ? scope : "default-docker";
    size_t at = 0;

    if (strv_contains(s->keys_seen, both))
        return error_set(e, ERR_INVALID, "%.200s: \"%.60s\" is there twice", name, key);
    strv_push(&s->keys_seen, both);
    while (at < strv_len(s->scopes_seen) && !STREQ(s->scopes_seen[at], scope))
        at++;
    if (at == strv_len(s->scopes_seen)) {
        strv_push(&s->scopes_seen, scope);
        strv_push(&s->files_seen, s->file);
    } else if (!STREQ(s->files_seen[at], s->file)) {
        return error_set(e, ERR_INVALID, "%.200s is in %s, too", name, s->files_seen[at]);
    }
    return 0;
}

static int on_value(void *data, const char *scope, const char *key, const char *value,
                    struct error *e)
{
    struct search *s = data;
    size_t at = 0;
    bool yes = STREQ(value, "true"), old = STREQ(key, "sigstore");
    int r = check_twice(s, scope, key, e);

    if (r < 0)
        return r;
    while (at < s->nscopes && !STREQ(s->scopes[at], scope))
        at++;
    bool ours = at < s->nscopes || !*scope; /* default-docker is the last */
    if (STREQ(key, "lookaside") || old) {
        if (ours && (at < s->best_url || (at == s->best_url && s->url_is_old))) {
            s->best_url = at;
            s->url_is_old = old;
            str_replace(&s->found.url, value);
        }
        return 0;
    }
    if (STREQ(key, "lookaside-staging") || STREQ(key, "sigstore-staging"))
        return 0; /* for writing */
    if (!STREQ(key, "use-sigstore-attachments"))
        return error_set(e, ERR_INVALID, "unknown field \"%.60s\"", key);
    if (!yes && !STREQ(value, "false"))
        return error_set(e, ERR_INVALID, "use-sigstore-attachments: expected true or false");
    if (ours && at < s->best_attachments) {
        s->best_attachments = at;
        s->found.attachments = yes;
    }
    return 0;
}

static int read_file(int dirfd, const char *dir, const char *name, struct search *s,
                     struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = fs_read_file(dirfd, name, FILE_MAX, &text, &len);

    if (r < 0)
        return error_set_errno(e, r, "cannot read %s/%s", dir, name);
    s->file = name;
    strv_free(take_ptr(s->keys_seen));
    if (strlen(text) != len)
        r = error_set(e, ERR_INVALID, "it is not a text");
    if (r >= 0)
        r = lookaside_parse(text, on_value, s, e);
    if (r < 0)
        error_add(e, "%s/%s", dir, name);
    return r;
}

int lookaside_find(const char *dir, const struct oci_reference *image, struct lookaside *ret,
                   struct error *e)
{
    AUTOPTR(strv) char **scopes = policy_scopes(image);
    struct search s = {.scopes = scopes,
                       .nscopes = strv_len(scopes),
                       .best_url = SIZE_MAX,
                       .best_attachments = SIZE_MAX};
    const char *where = dir ? dir : LOOKASIDE_DIR;
    DIR *d = opendir(where);
    struct dirent *entry;
    int r = 0;

    if (!d && errno != ENOENT)
        return error_set_errno(e, errno, "cannot read the folder %s", where);
    while (d && r >= 0 && (entry = readdir(d)))
        if (str_has_suffix(entry->d_name, ".yaml"))
            r = read_file(dirfd(d), where, entry->d_name, &s, e);
    if (d)
        closedir(d);
    strv_free(s.scopes_seen);
    strv_free(s.files_seen);
    strv_free(s.keys_seen);
    if (r < 0) {
        lookaside_done(&s.found);
        return r;
    }
    *ret = s.found;
    return 0;
}

void lookaside_done(struct lookaside *l)
{
    free(l->url);
    memset(l, 0, sizeof(*l));
}
