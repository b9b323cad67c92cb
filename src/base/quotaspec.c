/* SPDX-License-Identifier: Apache-2.0 */
/* Disk quota rules: see quotaspec.h. */
#include "base/quotaspec.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"

#define PATTERN_MAX 256 /* compiled by libc: kept small */
#define INODES      "inodes="

int quotaspec_count_parse(const char *text, uint64_t *ret)
{
    static const struct {
        char unit;
        uint64_t factor;
    } units[] = {{'k', 1000}, {'m', 1000000}, {'g', 1000000000}};
    size_t len = strlen(text);
    AUTOFREE char *digits = NULL;
    uint64_t factor = 1;
    uint64_t n;
    int r;

    for (size_t i = 0; len && i < ARRAY_SIZE(units); i++) {
        if (tolower((unsigned char)text[len - 1]) == units[i].unit) {
            factor = units[i].factor;
            len--;
            break;
        }
    }
    digits = xstrndup(text, len);
    r = parse_u64(digits, &n);
    if (r < 0)
        return r;
    if (n > INT64_MAX / factor)
        return -ERANGE;
    *ret = n * factor;
    return 0;
}

static int parse_inodes(const char *text, struct quota_limit *limit, struct error *e)
{
    if (limit->inodes)
        return error_set(e, ERR_INVALID, "inodes= is given twice");
    if (quotaspec_count_parse(text, &limit->inodes) < 0 || !limit->inodes)
        return error_set(e, ERR_INVALID, "inodes=%s: expected a number of files, as in inodes=100k",
                         text);
    return 0;
}

int quotaspec_limit_parse(const char *text, bool allow_none, struct quota_limit *ret,
                          struct error *e)
{
    AUTOPTR(strv) char **parts = strv_split(text, ",", false);
    struct quota_limit limit = {0};
    int64_t bytes;
    int r;

    if (allow_none && STREQ(text, "0")) {
        *ret = limit;
        return 0;
    }
    for (size_t i = 0; parts && parts[i]; i++) {
        if (str_has_prefix(parts[i], INODES)) {
            r = parse_inodes(parts[i] + strlen(INODES), &limit, e);
            if (r < 0)
                return r;
            continue;
        }
        if (i > 0 || parse_size(parts[i], &bytes) < 0 || bytes <= 0)
            return error_set(e, ERR_INVALID,
                             "\"%s\": expected a size above 0, as in 10g or 10g,inodes=100k", text);
        limit.bytes = (uint64_t)bytes;
    }
    if (!limit.bytes && !limit.inodes)
        return error_set(e, ERR_INVALID,
                         "\"%s\": expected a size above 0, as in 10g or 10g,inodes=100k", text);
    *ret = limit;
    return 0;
}

/* --- the command line ------------------------------------------------------------------------ */

/* The value of `key` in the map gets ",inodes=N" appended. */
static void append_value(struct json_map *map, const char *key, const char *more)
{
    AUTOFREE char *value = xasprintf("%s,%s", json_map_get(map, key), more);

    json_map_set(map, key, value);
}

int quotaspec_add(struct json_map *map, const char *text, bool *ret_bare, struct error *e)
{
    AUTOPTR(strv) char **parts = strv_split(text, ",", false);
    AUTOFREE char *last = NULL;

    for (size_t i = 0; parts && parts[i]; i++) {
        const char *eq = strchr(parts[i], '=');
        bool bare = !eq;
        AUTOFREE char *key = NULL;

        if (str_has_prefix(parts[i], INODES)) {
            if (last) {
                append_value(map, last, parts[i]);
                continue;
            }
            bare = true;
        }
        key = bare ? xstrdup(QUOTASPEC_ALL) : xstrndup(parts[i], (size_t)(eq - parts[i]));
        if (!*key)
            return error_set(e, ERR_INVALID, "disk quota \"%s\": nothing before the =", parts[i]);
        if (!bare && strchr(eq + 1, '=') && !str_has_prefix(eq + 1, INODES))
            return error_set(e, ERR_INVALID, "disk quota \"%s\": = is there twice", parts[i]);
        if (json_map_get(map, key))
            return error_set(e, ERR_INVALID, "disk quota: %s is given twice",
                             bare ? "the size of everything" : key);
        json_map_set(map, key, bare ? parts[i] : eq + 1);
        if (bare)
            *ret_bare = true;
        free(last);
        last = take_ptr(key);
    }
    if (!last)
        return error_set(e, ERR_INVALID, "disk quota \"%s\": nothing is limited", text);
    return 0;
}

/* --- rules --------------------------------------------------------------------------------------- */

void quota_rules_done(struct quota_rules *r)
{
    for (size_t i = 0; i < r->len; i++) {
        struct quota_rule *rule = &r->items[i];

        free(rule->key);
        strv_free(rule->paths);
        free(rule->pattern);
        if (rule->compiled)
            regfree(rule->compiled);
        free(rule->compiled);
    }
    free(r->items);
    *r = (struct quota_rules){0};
}

static bool is_clean_path(const char *path)
{
    size_t len = strlen(path);

    if (path[0] != '/' || strstr(path, "//"))
        return false;
    for (const char *p = path; (p = strstr(p, "/.")); p++) {
        size_t n = strcspn(p + 1, "/");

        if (n == 1 || (n == 2 && p[2] == '.'))
            return false;
    }
    return len == 1 || path[len - 1] != '/';
}

static int parse_paths(struct quota_rule *rule, struct error *e)
{
    rule->paths = strv_split(rule->key, "&", false);
    for (size_t i = 0; rule->paths && rule->paths[i]; i++) {
        if (!is_clean_path(rule->paths[i]))
            return error_set(e, ERR_INVALID,
                             "disk quota \"%s\": \"%s\" is not a clean absolute path", rule->key,
                             rule->paths[i]);
        for (size_t j = 0; j < i; j++)
            if (STREQ(rule->paths[i], rule->paths[j]))
                return error_set(e, ERR_INVALID, "disk quota \"%s\": %s is there twice", rule->key,
                                 rule->paths[i]);
    }
    return 0;
}

/* What lets libc's matcher take time or memory without bounds is left out: repetition counts and
 * back-references. */
static int parse_pattern(struct quota_rule *rule, struct error *e)
{
    AUTOFREE char *whole = NULL;
    char text[128];
    int r;

    for (const char *p = rule->key; *p; p++)
        if (*p == '{' || *p == '}' ||
            (*p == '\\' && (isalnum((unsigned char)p[1]) || strchr("<>`'", p[1]))))
            return error_set(e, ERR_INVALID,
                             "disk quota \"%s\": patterns are extended regular expressions without "
                             "{} and \\1",
                             rule->key);
    if (strlen(rule->key) > PATTERN_MAX)
        return error_set(e, ERR_INVALID, "disk quota: a pattern is longer than %d bytes",
                         PATTERN_MAX);
    rule->pattern = xstrdup(rule->key);
    whole = xasprintf("^(%s)$", rule->key);
    rule->compiled = xcalloc(1, sizeof(regex_t));
    /* Alone first: "a)(b" is none, although it is one in brackets. */
    r = regcomp(rule->compiled, rule->key, REG_EXTENDED | REG_NOSUB);
    if (r == 0) {
        regfree(rule->compiled);
        r = regcomp(rule->compiled, whole, REG_EXTENDED | REG_NOSUB);
    }
    if (r == 0)
        return 0;
    (void)regerror(r, rule->compiled, text, sizeof(text));
    free(take_ptr(rule->compiled));
    return error_set(e, ERR_INVALID, "disk quota \"%s\": %s", rule->key, text);
}

static int parse_rule(struct quota_rule *rule, const char *value, bool allow_none, struct error *e)
{
    int r;

    if (!*rule->key || strlen(rule->key) > QUOTASPEC_KEY_MAX)
        return error_set(e, ERR_INVALID, "disk quota: the path of \"%s\" is %s", value,
                         *rule->key ? "too long" : "empty");
    if (strchr(rule->key, '='))
        return error_set(e, ERR_INVALID, "disk quota \"%s\": = is there twice", rule->key);
    r = quotaspec_limit_parse(value ? value : "", allow_none, &rule->limit, e);
    if (r < 0) {
        error_add(e, "disk quota \"%s\"", rule->key);
        return r;
    }
    /* A path without any of a pattern's characters is that path; with "&" only paths are taken. */
    if (strchr(rule->key, '&') || !strpbrk(rule->key, "*+?[](){}|^$\\"))
        return parse_paths(rule, e);
    return parse_pattern(rule, e);
}

int quotaspec_rules_parse(const struct json_map *map, bool allow_none, struct quota_rules *ret,
                          struct error *e)
{
    struct quota_rules rules = {0};
    int r = 0;

    rules.items = xcalloc(map->len + 1, sizeof(*rules.items));
    for (size_t i = 0; r == 0 && i < map->len; i++) {
        struct quota_rule *rule = &rules.items[rules.len++];

        rule->key = xstrdup(map->items[i].key);
        r = parse_rule(rule, map->items[i].value, allow_none, e);
    }
    for (size_t i = 0; r == 0 && i < rules.len; i++)
        for (size_t j = 0; r == 0 && j < i; j++)
            for (char **p = rules.items[i].paths; r == 0 && p && *p; p++)
                if (strv_contains(rules.items[j].paths, *p))
                    r = error_set(e, ERR_INVALID, "disk quota: %s is limited by two rules", *p);
    if (r < 0) {
        quota_rules_done(&rules);
        return r;
    }
    *ret = rules;
    return 0;
}

/* Which of two patterns that match is the closer one? */
static bool is_closer(const struct quota_rule *a, const struct quota_rule *b)
{
    size_t la = strlen(a->key);
    size_t lb = strlen(b->key);

    if (STREQ(b->key, QUOTASPEC_ALL))
        return !STREQ(a->key, QUOTASPEC_ALL);
    if (STREQ(a->key, QUOTASPEC_ALL))
        return false;
    return la != lb ? la > lb : strcmp(a->key, b->key) < 0;
}

const struct quota_rule *quotaspec_match(const struct quota_rules *r, const char *path)
{
    const struct quota_rule *best = NULL;

    for (size_t i = 0; i < r->len; i++)
        if (strv_contains(r->items[i].paths, path))
            return &r->items[i];
    /* A mount whose name has a pattern's characters, written out. */
    for (size_t i = 0; i < r->len; i++)
        if (STREQ(r->items[i].key, path))
            return &r->items[i];
    for (size_t i = 0; i < r->len; i++) {
        const struct quota_rule *rule = &r->items[i];

        if (rule->compiled && (!best || is_closer(rule, best)) &&
            regexec(rule->compiled, path, 0, NULL, 0) == 0)
            best = rule;
    }
    return best;
}

int quotaspec_id_parse(const char *text, int64_t *ret, struct error *e)
{
    int64_t id = 0;

    if (!str_is_empty(text) && parse_i64(text, &id) < 0)
        return error_set(e, ERR_INVALID, "invalid quota id \"%s\": expected a number", text);
    if (id > 0 && (id <= QUOTASPEC_ID_MIN || id > QUOTASPEC_ID_MAX))
        return error_set(
            e, ERR_INVALID,
            "invalid quota id %lld: it must be above %lld and below %lld (-1 takes one "
            "from the pool)",
            (long long)id, (long long)QUOTASPEC_ID_MIN, (long long)QUOTASPEC_ID_MAX + 1);
    *ret = id < 0 ? -1 : id;
    return 0;
}
