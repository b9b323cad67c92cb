/* SPDX-License-Identifier: Apache-2.0 */
/* Maps, modes and ranges of user namespaces, as texts and numbers: see userns.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/userns.h"

/* --- maps ------------------------------------------------------------------------------------- */

void id_map_done(struct id_map *m)
{
    free(m->items);
    *m = (struct id_map){0};
}

void id_map_copy(const struct id_map *from, struct id_map *ret)
{
    *ret = (struct id_map){.items = xcalloc(from->len + 1, sizeof(*ret->items)), .len = from->len};
    if (from->len)
        memcpy(ret->items, from->items, from->len * sizeof(*ret->items));
}

static int parse_number(const char *text, size_t len, uint64_t *ret)
{
    uint64_t v = 0;

    if (len == 0 || len > 10)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = v;
    return 0;
}

/* [first, first + size) lies in the ids that exist. 4294967295 is "no id". */
static bool is_sound(uint64_t first, uint64_t size)
{
    return size > 0 && size <= USERNS_ID_MAX + 1 && first <= USERNS_ID_MAX &&
           first + size - 1 <= USERNS_ID_MAX;
}

static int parse_extent(const char *text, struct id_extent *ret)
{
    const char *a = strchr(text, ':');
    const char *b = a ? strchr(a + 1, ':') : NULL;

    if (!b || parse_number(text, (size_t)(a - text), &ret->container) < 0 ||
        parse_number(a + 1, (size_t)(b - a - 1), &ret->host) < 0 ||
        parse_number(b + 1, strlen(b + 1), &ret->size) < 0 ||
        !is_sound(ret->container, ret->size) || !is_sound(ret->host, ret->size))
        return -EINVAL;
    return 0;
}

static bool overlap(uint64_t a, uint64_t an, uint64_t b, uint64_t bn)
{
    return a < b + bn && b < a + an;
}

static int compare_extents(const void *a, const void *b)
{
    const struct id_extent *x = a, *y = b;

    return x->container < y->container ? -1 : x->container > y->container;
}

int id_map_parse(char *const *texts, struct id_map *ret, struct error *e)
{
    struct id_map m = {.items = xcalloc(strv_len(texts) + 1, sizeof(*m.items))};
    int r = 0;

    if (strv_len(texts) > USERNS_EXTENTS_MAX)
        r = error_set(e, ERR_INVALID, "id mapping: more than %d pieces", USERNS_EXTENTS_MAX);
    for (size_t i = 0; r == 0 && texts && texts[i]; i++) {
        struct id_extent *x = &m.items[m.len];

        if (parse_extent(texts[i], x) < 0) {
            r = error_set(
                e, ERR_INVALID,
                "invalid id mapping \"%s\": want CONTAINER:HOST:SIZE, three numbers up to "
                "%llu",
                texts[i], (unsigned long long)USERNS_ID_MAX);
            break;
        }
        for (size_t j = 0; r == 0 && j < m.len; j++)
            if (overlap(x->container, x->size, m.items[j].container, m.items[j].size) ||
                overlap(x->host, x->size, m.items[j].host, m.items[j].size))
                r = error_set(e, ERR_INVALID, "id mapping \"%s\" overlaps another one of the map",
                              texts[i]);
        m.len++;
    }
    if (r < 0) {
        free(m.items);
        return r;
    }
    if (m.len)
        qsort(m.items, m.len, sizeof(*m.items), compare_extents);
    *ret = m;
    return 0;
}

char **id_map_print(const struct id_map *m)
{
    char **v = NULL;

    for (size_t i = 0; i < m->len; i++)
        strv_pushf(&v, "%llu:%llu:%llu", (unsigned long long)m->items[i].container,
                   (unsigned long long)m->items[i].host, (unsigned long long)m->items[i].size);
    return v;
}

int id_map_overlay(struct id_map *m, const struct id_extent *x)
{
    struct id_map out = {.items = xcalloc(m->len + 3, sizeof(*out.items))};
    uint64_t end = x->container + x->size;

    for (size_t i = 0; i < m->len; i++) {
        const struct id_extent *o = &m->items[i];
        uint64_t oend = o->container + o->size;

        if (!overlap(x->container, x->size, o->container, o->size)) {
            out.items[out.len++] = *o;
            continue;
        }
        if (o->container < x->container)
            out.items[out.len++] = (struct id_extent){o->container, o->host,
                                                      x->container - o->container};
        if (oend > end)
            out.items[out.len++] = (struct id_extent){end, o->host + (end - o->container),
                                                      oend - end};
    }
    out.items[out.len++] = *x;
    if (out.len > USERNS_EXTENTS_MAX) {
        free(out.items);
        return -E2BIG;
    }
    qsort(out.items, out.len, sizeof(*out.items), compare_extents);
    free(m->items);
    *m = out;
    return 0;
}

/* --- modes ------------------------------------------------------------------------------------ */

void userns_mode_done(struct userns_mode *m)
{
    id_map_done(&m->uid_map);
    id_map_done(&m->gid_map);
}

static int bad_mode(const char *text, const char *why, struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "invalid user namespace mode \"%s\": %s; use auto[:size=N], host, keep, "
                     "container:NAME or a map CONTAINER:HOST:SIZE[,…]",
                     text, why);
}

static int parse_auto(const char *text, const char *options, struct userns_mode *m, struct error *e)
{
    AUTOPTR(strv) char **words = strv_split(options, ",", true);
    AUTOPTR(strv) char **uids = NULL;
    AUTOPTR(strv) char **gids = NULL;
    int r;

    m->kind = USERNS_AUTO;
    m->size = USERNS_DEFAULT_SIZE;
    for (size_t i = 0; words && words[i]; i++) {
        const char *w = words[i];

        if (str_has_prefix(w, "size=")) {
            if (parse_number(w + 5, strlen(w + 5), &m->size) < 0 || !is_sound(0, m->size))
                return bad_mode(text, "the size is no number of ids", e);
        } else if (str_has_prefix(w, "uidmapping=")) {
            strv_push(&uids, w + 11);
        } else if (str_has_prefix(w, "gidmapping=")) {
            strv_push(&gids, w + 11);
        } else {
            return bad_mode(text, "auto knows size=, uidmapping= and gidmapping=", e);
        }
    }
    r = id_map_parse(uids, &m->uid_map, e);
    return r < 0 ? r : id_map_parse(gids, &m->gid_map, e);
}

/* "keep:1000:1000": everything from the pool, but these two ids are the host's own. */
static int parse_keep(const char *text, const char *rest, struct userns_mode *m, struct error *e)
{
    AUTOPTR(strv) char **words = strv_split(rest, ":,", true);
    uint64_t ids[2] = {0, 0};
    bool set[2] = {false, false};
    struct id_extent x;

    for (size_t i = 0; words && words[i]; i++) {
        const char *w = words[i];
        size_t at = str_has_prefix(w, "uid=") ? 0 : str_has_prefix(w, "gid=") ? 1 : i;
        const char *value = strchr(w, '=') ? strchr(w, '=') + 1 : w;

        if (at > 1 || set[at] || parse_number(value, strlen(value), &ids[at]) < 0 ||
            !is_sound(ids[at], 1))
            return bad_mode(text, "want keep:UID[:GID]", e);
        set[at] = true;
    }
    if (!set[0])
        return bad_mode(text, "whose id is kept? The API wants keep:UID[:GID]", e);
    if (!set[1])
        ids[1] = ids[0];
    if (ids[0] == 0 || ids[1] == 0)
        return bad_mode(text,
                        "keeping the host's root would give the container the host's files; call "
                        "as the user whose id is to be kept",
                        e);
    m->kind = USERNS_AUTO;
    m->size = USERNS_DEFAULT_SIZE;
    x = (struct id_extent){ids[0], ids[0], 1};
    (void)!id_map_overlay(&m->uid_map, &x);
    x = (struct id_extent){ids[1], ids[1], 1};
    (void)!id_map_overlay(&m->gid_map, &x);
    return 0;
}

static int parse_map(const char *text, struct userns_mode *m, struct error *e)
{
    AUTOPTR(strv) char **pieces = strv_split(text, ",", true);
    int r;

    m->kind = USERNS_MAP;
    r = id_map_parse(pieces, &m->uid_map, e);
    if (r < 0)
        return r;
    if (!m->uid_map.len || m->uid_map.items[0].container != 0)
        return bad_mode(text, "the container's root, id 0, has no host id", e);
    id_map_copy(&m->uid_map, &m->gid_map);
    return 0;
}

static int parse(const char *text, struct userns_mode *m, struct error *e)
{
    if (str_is_empty(text) || STREQ(text, "host"))
        return 0;
    if (STREQ(text, "auto") || str_has_prefix(text, "auto:"))
        return parse_auto(text, text[4] ? text + 5 : "", m, e);
    if (STREQ(text, "private")) /* Docker's word for "the daemon's remapping", where it has one */
        return parse_auto(text, "", m, e);
    if (STREQ(text, "keep") || str_has_prefix(text, "keep:"))
        return parse_keep(text, text[4] ? text + 5 : "", m, e);
    if (STREQ(text, "keep-id") || str_has_prefix(text, "keep-id:"))
        return parse_keep(text, text[7] ? text + 8 : "", m, e);
    if (str_has_prefix(text, "container:") && text[10]) {
        m->kind = USERNS_CONTAINER;
        m->container = text + 10;
        return 0;
    }
    if (text[0] >= '0' && text[0] <= '9')
        return parse_map(text, m, e);
    return bad_mode(text, "no such mode", e);
}

int userns_mode_parse(const char *text, struct userns_mode *ret, struct error *e)
{
    struct userns_mode m = {.kind = USERNS_HOST};
    int r = parse(text, &m, e);

    if (r < 0)
        userns_mode_done(&m);
    else
        *ret = m;
    return r;
}

/* --- ranges ----------------------------------------------------------------------------------- */

void id_ranges_done(struct id_ranges *r)
{
    free(r->items);
    *r = (struct id_ranges){0};
}

static void append(struct id_ranges *r, uint64_t first, uint64_t size)
{
    r->items = xreallocarray(r->items, r->len + 1, sizeof(*r->items));
    r->items[r->len++] = (struct id_range){first, size};
}

void id_ranges_remove(struct id_ranges *r, uint64_t first, uint64_t size)
{
    struct id_ranges out = {0};

    for (size_t i = 0; i < r->len; i++) {
        uint64_t a = r->items[i].first, end = a + r->items[i].size;

        if (!overlap(a, end - a, first, size)) {
            append(&out, a, end - a);
            continue;
        }
        if (a < first)
            append(&out, a, first - a);
        if (end > first + size)
            append(&out, first + size, end - first - size);
    }
    id_ranges_done(r);
    *r = out;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct id_range *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

void id_ranges_add(struct id_ranges *r, uint64_t first, uint64_t size)
{
    id_ranges_remove(r, first, size);
    append(r, first, size);
    qsort(r->items, r->len, sizeof(*r->items), compare_ranges);
}

/* Sorted, what overlaps or touches as one. */
static void normalize(struct id_ranges *r)
{
    size_t n = 0;

    if (r->len)
        qsort(r->items, r->len, sizeof(*r->items), compare_ranges);
    for (size_t i = 0; i < r->len; i++) {
        struct id_range *last = n ? &r->items[n - 1] : NULL;
        uint64_t end = r->items[i].first + r->items[i].size;

        if (!last || last->first + last->size < r->items[i].first)
            r->items[n++] = r->items[i];
        else if (last->first + last->size < end)
            last->size = end - last->first;
    }
    r->len = n;
}

void id_ranges_intersect(const struct id_ranges *a, const struct id_ranges *b,
                         struct id_ranges *ret)
{
    struct id_ranges out = {0};

    for (size_t i = 0; i < a->len; i++)
        for (size_t j = 0; j < b->len; j++) {
            const struct id_range *x = &a->items[i], *y = &b->items[j];
            uint64_t first = x->first > y->first ? x->first : y->first;
            uint64_t xe = x->first + x->size, ye = y->first + y->size;
            uint64_t end = xe < ye ? xe : ye;

            if (first < end)
                append(&out, first, end - first);
        }
    *ret = out;
}

bool id_ranges_overlap(const struct id_ranges *r, uint64_t first, uint64_t size)
{
    for (size_t i = 0; i < r->len; i++)
        if (overlap(r->items[i].first, r->items[i].size, first, size))
            return true;
    return false;
}

int id_range_parse(const char *text, struct id_range *ret, struct error *e)
{
    const char *colon = strchr(text, ':');
    struct id_range r;

    if (!colon || parse_number(text, (size_t)(colon - text), &r.first) < 0 ||
        parse_number(colon + 1, strlen(colon + 1), &r.size) < 0 || !is_sound(r.first, r.size))
        return error_set(e, ERR_INVALID, "invalid range of ids \"%s\": want FIRST:SIZE", text);
    *ret = r;
    return 0;
}

void subid_parse(const char *text, const char *const *names, struct id_ranges *ours,
                 struct id_ranges *others)
{
    AUTOPTR(strv) char **lines = strv_split(text, "\n", true);

    for (size_t i = 0; lines && lines[i]; i++) {
        size_t n = strcspn(lines[i], ":");
        AUTOFREE char *name = xstrndup(lines[i], n);
        struct id_range r;

        if (!lines[i][n] || id_range_parse(lines[i] + n + 1, &r, NULL) < 0)
            continue;
        append(strv_contains((char *const *)(uintptr_t)names, name) ? ours : others, r.first,
               r.size);
    }
    normalize(ours);
    normalize(others);
}

/* The first gap of the pool at or behind `from`. */
static int fit_behind(const struct id_ranges *pool, uint64_t from, const struct id_range *used,
                      size_t nused, uint64_t size, uint64_t *ret)
{
    size_t u = 0;

    for (size_t i = 0; i < pool->len; i++) {
        uint64_t end = pool->items[i].first + pool->items[i].size;
        uint64_t at = pool->items[i].first > from ? pool->items[i].first : from;

        while (at + size <= end) {
            while (u < nused && used[u].first + used[u].size <= at)
                u++;
            if (u == nused || at + size <= used[u].first) {
                *ret = at;
                return 0;
            }
            at = used[u].first + used[u].size;
        }
    }
    return -ENOSPC;
}

int userns_pool_fit(const struct id_ranges *pool, const struct id_range *used, size_t nused,
                    uint64_t size, uint64_t *ret)
{
    uint64_t behind = nused ? used[nused - 1].first + used[nused - 1].size : 0;

    if (nused && fit_behind(pool, behind, used, 0, size, ret) == 0)
        return 0;
    return fit_behind(pool, 0, used, nused, size, ret);
}
