/* SPDX-License-Identifier: Apache-2.0 */
/* Podman's registries.conf, version 2 of its format: see registries.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/toml.h"
#include "image/registries.h"

#define ENTRIES_MAX 1000

static const char *const pull_from_choices[] = {"all", "digest-only", "tag-only", NULL};
static const char *const mode_choices[] = {"enforcing", "permissive", "disabled", NULL};

static const struct json_field mirror_fields[] = {
    JSON_FIELD(struct conf_mirror, location, "location", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct conf_mirror, insecure, "insecure", JSON_BOOL, 0),
    JSON_FIELD_CHOICE(struct conf_mirror, pull_from, "pull-from-mirror", 0, pull_from_choices),
    JSON_END,
};
static const struct json_desc mirror_json = {"mirror", sizeof(struct conf_mirror), mirror_fields};

static const struct json_field registry_fields[] = {
    JSON_FIELD(struct conf_registry, prefix, "prefix", JSON_STR, 0),
    JSON_FIELD(struct conf_registry, location, "location", JSON_STR, 0),
    JSON_FIELD(struct conf_registry, insecure, "insecure", JSON_BOOL, 0),
    JSON_FIELD(struct conf_registry, blocked, "blocked", JSON_BOOL, 0),
    JSON_FIELD(struct conf_registry, mirror_by_digest_only, "mirror-by-digest-only", JSON_BOOL, 0),
    JSON_FIELD_SUB(struct conf_registry, mirrors, "mirror", JSON_OBJ_LIST, 0, &mirror_json),
    JSON_END,
};
static const struct json_desc registry_json = {"registry", sizeof(struct conf_registry),
                                               registry_fields};

struct raw_conf {
    char **search;
    char **helpers;
    char *mode;
    struct json_map aliases;
    struct json_list entries;
};
static const struct json_field conf_fields[] = {
    JSON_FIELD(struct raw_conf, search, "unqualified-search-registries", JSON_STRV, 0),
    JSON_FIELD(struct raw_conf, helpers, "credential-helpers", JSON_STRV, 0),
    JSON_FIELD_CHOICE(struct raw_conf, mode, "short-name-mode", 0, mode_choices),
    JSON_FIELD(struct raw_conf, aliases, "aliases", JSON_STR_MAP, 0),
    JSON_FIELD_SUB(struct raw_conf, entries, "registry", JSON_OBJ_LIST, 0, &registry_json),
    JSON_END,
};
static const struct json_desc conf_json = {"registries.conf", sizeof(struct raw_conf), conf_fields};

static int check_keys(const struct json_value *v, const struct json_field *fields, const char *of,
                      struct error *e)
{
    const char *unknown = NULL;
    int r = registries_check_keys(v, fields, of, &unknown, e);

    if (r >= 0 || !STREQ(unknown, "registries"))
        return r;
    error_done(e);
    return error_set(e, ERR_INVALID,
                     "[registries…] is version 1 of the format, which is not supported: "
                     "use [[registry]] and unqualified-search-registries");
}

static int check_all_keys(const char *json, size_t len, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r = json_value_parse(json, len, &v, e);

    if (r >= 0)
        r = check_keys(v, conf_fields, "", e);
    const struct json_value *list = r >= 0 ? json_value_get(v, "registry") : NULL;
    for (size_t i = 0; r >= 0 && i < json_value_len(list); i++) {
        const struct json_value *entry = json_value_at(list, i);
        if (json_value_kind(entry) != JV_OBJ)
            continue; /* json_parse() says it better */
        r = check_keys(entry, registry_fields, " of [[registry]]", e);
        const struct json_value *mirrors = r >= 0 ? json_value_get(entry, "mirror") : NULL;
        for (size_t k = 0; r >= 0 && k < json_value_len(mirrors); k++)
            if (json_value_kind(json_value_at(mirrors, k)) == JV_OBJ)
                r = check_keys(json_value_at(mirrors, k), mirror_fields, " of [[registry.mirror]]",
                               e);
    }
    return r;
}

/* "host[:port][/path]": no scheme, no tag. */
static int check_location(const char *what, const char *text, bool wildcard, struct error *e)
{
    if (strstr(text, "://"))
        return error_set(e, ERR_INVALID, "%s \"%.100s\" may not have a scheme", what, text);
    if (wildcard && str_has_prefix(text, "*.")) {
        if (strpbrk(text + 2, "*/ \t") || !text[2])
            return error_set(e, ERR_INVALID, "%s \"%.100s\": only *.DOMAIN may have a wildcard",
                             what, text);
        return 0;
    }
    if (!*text || *text == '/' || *text == '.' || str_has_suffix(text, "/") ||
        strpbrk(text, "*?#\\ \t\r\n\"<>"))
        return error_set(e, ERR_INVALID, "%s \"%.100s\" is no HOST[:PORT][/PATH]", what, text);
    return 0;
}

static int check_entry(struct conf_registry *entry, struct error *e)
{
    const struct conf_mirror *m = entry->mirrors.items;
    int r = 0;

    if (str_is_empty(entry->prefix))
        str_replace(&entry->prefix, entry->location);
    if (str_is_empty(entry->prefix))
        return error_set(e, ERR_INVALID, "a [[registry]] has neither prefix nor location");
    bool wildcard = str_has_prefix(entry->prefix, "*.");
    r = check_location("prefix", entry->prefix, true, e);
    if (r >= 0 && str_is_empty(entry->location) && !wildcard)
        str_replace(&entry->location, entry->prefix);
    if (r >= 0 && !str_is_empty(entry->location))
        r = check_location("location", entry->location, false, e);
    for (size_t i = 0; r >= 0 && i < entry->mirrors.len; i++) {
        r = check_location("mirror's location", m[i].location, false, e);
        if (r >= 0 && m[i].pull_from && entry->mirror_by_digest_only)
            r = error_set(e, ERR_INVALID,
                          "mirror %.100s: pull-from-mirror cannot be set beside "
                          "mirror-by-digest-only",
                          m[i].location);
    }
    if (r >= 0 && entry->mirrors.len >= REGISTRY_ENDPOINTS_MAX)
        r = error_set(e, ERR_INVALID, "%.100s has more than %d mirrors", entry->prefix,
                      REGISTRY_ENDPOINTS_MAX - 1);
    return r;
}

/* A later entry with the same prefix takes the earlier one's place. */
static void place_entry(struct registries_conf *c, struct conf_registry *entry)
{
    struct conf_registry *list = c->entries.items, *place = NULL;

    for (size_t i = 0; i < c->entries.len; i++)
        if (STREQ(list[i].prefix, entry->prefix))
            place = &list[i];
    if (place) {
        free(place->file);
        json_free(&registry_json, place);
    } else {
        place = json_list_add(&c->entries, sizeof(*place));
    }
    *place = *entry;
    memset(entry, 0, sizeof(*entry));
}

static int take_conf(struct raw_conf *raw, const char *file, struct registries_conf *c,
                     struct error *e)
{
    struct conf_registry *entries = raw->entries.items;

    for (char **h = raw->helpers; h && *h; h++)
        if (!STREQ(*h, "containers-auth.json"))
            return error_set(e, ERR_INVALID,
                             "credential-helpers: \"%.60s\" is not supported here: credentials "
                             "come with each request from who asks (pouch login)",
                             *h);
    for (char **s = raw->search; s && *s; s++) {
        int r = check_location("unqualified-search-registries:", *s, false, e);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < raw->entries.len; i++) {
        int r = check_entry(&entries[i], e);
        if (r < 0)
            return r;
        for (size_t k = 0; k < i; k++) /* entries taken already are empty */
            if (entries[k].file && STREQ(entries[k].file, entries[i].prefix))
                return error_set(e, ERR_INVALID, "[[registry]] %.100s is there twice",
                                 entries[i].prefix);
        AUTOFREE char *prefix = xstrdup(entries[i].prefix);
        entries[i].file = xstrdup(file);
        if (c->entries.len >= ENTRIES_MAX)
            return error_set(e, ERR_INVALID, "there are more than %d entries", ENTRIES_MAX);
        place_entry(c, &entries[i]);
        entries[i].file = take_ptr(prefix); /* only to find doubles */
    }
    if (raw->search) {
        strv_free(c->search);
        c->search = take_ptr(raw->search);
    }
    if (raw->mode)
        str_replace(&c->short_name_mode, raw->mode);
    for (size_t i = 0; i < raw->aliases.len; i++)
        json_map_set(&c->aliases, raw->aliases.items[i].key, raw->aliases.items[i].value);
    return 0;
}

int registries_conf_parse(const char *text, size_t len, const char *file, struct registries_conf *c,
                          struct error *e)
{
    AUTO(buf) struct buf json = BUF_INIT(8u * TOML_MAX);
    struct raw_conf raw = {0};

    int r = toml_to_json(text, len, &json, e);
    if (r >= 0)
        r = check_all_keys(json.data, json.len, e);
    if (r >= 0)
        r = json_parse(&conf_json, json.data, json.len, &raw, e);
    if (r >= 0)
        r = take_conf(&raw, file, c, e);
    if (r < 0)
        error_add(e, "%s", file);
    struct conf_registry *entries = raw.entries.items;
    for (size_t i = 0; i < raw.entries.len; i++)
        free(entries[i].file);
    json_free(&conf_json, &raw);
    return r;
}

static int load_file(const char *path, struct registries_conf *c, struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, path, TOML_MAX, &text, &len);

    if (r == -ENOENT)
        return 0;
    return r < 0 ? error_set_errno(e, r, "cannot read %s", path)
                 : registries_conf_parse(text, len, path, c, e);
}

static int is_conf(const struct dirent *d)
{
    return d->d_name[0] != '.' && str_has_suffix(d->d_name, ".conf");
}

int registries_conf_load(const char *folder, struct registries_conf *ret, struct error *e)
{
    AUTOFREE char *file = xasprintf("%s/registries.conf", folder);
    AUTOFREE char *parts = xasprintf("%s/registries.conf.d", folder);
    struct registries_conf c = {0};
    struct dirent **names = NULL;

    int r = load_file(file, &c, e);
    int n = scandir(parts, &names, is_conf, alphasort);
    for (int i = 0; i < n; i++) {
        AUTOFREE char *path = xasprintf("%s/%s", parts, names[i]->d_name);
        if (r >= 0)
            r = load_file(path, &c, e);
        free(names[i]);
    }
    free(names);
    if (r < 0)
        registries_conf_done(&c);
    else
        *ret = c;
    return r;
}

void registries_conf_done(struct registries_conf *c)
{
    struct conf_registry *entries = c->entries.items;

    for (size_t i = 0; i < c->entries.len; i++) {
        free(entries[i].file);
        json_free(&registry_json, &entries[i]);
    }
    free(entries);
    strv_free(c->search);
    free(c->short_name_mode);
    json_map_done(&c->aliases);
    memset(c, 0, sizeof(*c));
}

/* How much of the name the prefix stands for; 0: it does not match. */
static size_t match_length(const char *prefix, const char *name)
{
    size_t n = strlen(prefix), host = strcspn(name, "/");

    if (str_has_prefix(prefix, "*.")) {
        size_t end = strcspn(name, ":/"); /* a port, if any, is part of what is replaced */
        n -= 1;
        bool with_port = strchr(prefix, ':') != NULL;
        end = with_port ? host : end;
        return end > n && memcmp(name + end - n, prefix + 1, n) == 0 ? host : 0;
    }
    if (strncmp(name, prefix, n) != 0)
        return 0;
    return name[n] == '\0' || strchr("/:@", name[n]) ? n : 0;
}

const struct conf_registry *registries_conf_find(const struct registries_conf *c, const char *name,
                                                 size_t *ret_len)
{
    const struct conf_registry *entries = c->entries.items, *best = NULL;
    size_t best_len = 0;

    for (size_t i = 0; i < c->entries.len; i++) {
        size_t n = match_length(entries[i].prefix, name);
        bool exact = best && n == best_len && !str_has_prefix(entries[i].prefix, "*.");
        bool longer_wildcard = best && n == best_len && str_has_prefix(best->prefix, "*.") &&
                               strlen(entries[i].prefix) > strlen(best->prefix);
        if (n > 0 && (n > best_len || exact || longer_wildcard)) {
            best = &entries[i];
            best_len = n;
        }
    }
    *ret_len = best_len;
    return best;
}
