/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON and C structs: see json.h. json-c builds the tree; a scan of our own before it refuses what
 * json-c lets through (duplicate keys, NaN, Infinity, comments, single quotes, huge integers).
 */
#include "base/json.h"

#include <assert.h>
#include <ctype.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json-priv.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

/* The path of the field being read, for messages: a list on the stack. */
struct path {
    const struct path *up;
    const char *name; /* NULL: an index */
    size_t index;
};

static void path_print(const struct path *p, struct buf *out)
{
    if (!p)
        return;
    path_print(p->up, out);
    if (!p->name)
        (void)buf_printf(out, "[%zu]", p->index);
    else
        (void)buf_printf(out, "%s%s", out->len ? "." : "", p->name);
}

static const char *kind_name(struct json_object *o)
{
    switch (json_object_get_type(o)) {
    case json_type_boolean:
        return "a boolean";
    case json_type_double:
    case json_type_int:
        return "a number";
    case json_type_object:
        return "an object";
    case json_type_array:
        return "a list";
    case json_type_string:
        return "a string";
    default:
        return "null";
    }
}

static int wrong_type(const struct path *p, const char *want, struct json_object *o,
                      struct error *e)
{
    AUTO(buf) struct buf where = BUF_INIT(4096);

    path_print(p, &where);
    return error_set(e, ERR_INVALID, "%s: expected %s, got %s", where.len ? where.data : "(top)",
                     want, kind_name(o));
}

static int bad_value(const struct path *p, const char *why, const char *value, struct error *e)
{
    AUTO(buf) struct buf where = BUF_INIT(4096);

    path_print(p, &where);
    return error_set(e, ERR_INVALID, "%s: %s: \"%.200s\"", where.len ? where.data : "(top)", why,
                     value);
}

static int read_object(const struct json_desc *type, struct json_object *o, void *obj,
                       const struct path *up, struct error *e);

static int read_string(struct json_object *o, char **dst, const struct path *p, struct error *e)
{
    const char *s;

    if (json_object_get_type(o) != json_type_string)
        return wrong_type(p, "a string", o, e);
    s = json_object_get_string(o);
    if (strlen(s) != (size_t)json_object_get_string_len(o))
        return bad_value(p, "a NUL character is not allowed", s, e);
    str_replace(dst, s);
    return 0;
}

static int read_int(const struct json_field *f, struct json_object *o, int64_t *dst,
                    const struct path *p, struct error *e)
{
    if ((f->flags & JSON_LENIENT_NUM) && json_object_get_type(o) == json_type_string) {
        const char *s = json_object_get_string(o);

        if (!*s) {
            *dst = 0;
            return 0;
        }
        return parse_i64(s, dst) < 0 ? bad_value(p, "not a whole number", s, e) : 0;
    }
    /* json-c keeps 1e3 and 1.0 as doubles: whole ones count as integers (JavaScript clients). */
    if (json_object_get_type(o) == json_type_double) {
        double d = json_object_get_double(o);

        if (d != floor(d) || fabs(d) > 9007199254740992.0)
            return bad_value(p, "not a whole number", json_object_get_string(o), e);
        *dst = (int64_t)d;
        return 0;
    }
    if (json_object_get_type(o) != json_type_int)
        return wrong_type(p, "a whole number", o, e);
    if (json_object_get_int64(o) == INT64_MAX && json_object_get_uint64(o) > INT64_MAX)
        return bad_value(p, "number too large", json_object_get_string(o), e);
    *dst = json_object_get_int64(o);
    return 0;
}

static int read_uint(const struct json_field *f, struct json_object *o, uint64_t *dst,
                     const struct path *p, struct error *e)
{
    int64_t v = 0;
    int r;

    if (json_object_get_type(o) == json_type_int && json_object_get_int64(o) >= 0) {
        *dst = json_object_get_uint64(o);
        return 0;
    }
    r = read_int(f, o, &v, p, e);
    if (r < 0)
        return r;
    if (v < 0)
        return bad_value(p, "number must not be negative", json_object_get_string(o), e);
    *dst = (uint64_t)v;
    return 0;
}

static int read_bool(struct json_object *o, bool *dst, const struct path *p, struct error *e)
{
    if (json_object_get_type(o) != json_type_boolean)
        return wrong_type(p, "true or false", o, e);
    *dst = json_object_get_boolean(o);
    return 0;
}

static int read_strv(const struct json_field *f, struct json_object *o, char ***dst,
                     const struct path *p, struct error *e)
{
    AUTOPTR(strv) char **v = NULL;

    if ((f->flags & JSON_STR_OR_LIST) && json_object_get_type(o) == json_type_string) {
        v = xcalloc(2, sizeof(*v));
        int r = read_string(o, &v[0], p, e);

        if (r < 0)
            return r;
    } else if (json_object_get_type(o) == json_type_array) {
        size_t n = json_object_array_length(o);

        v = xcalloc(n + 1, sizeof(*v));
        for (size_t i = 0; i < n; i++) {
            struct path at = {p, NULL, i};
            int r = read_string(json_object_array_get_idx(o, i), &v[i], &at, e);

            if (r < 0)
                return r;
        }
    } else {
        return wrong_type(p, "a list of strings", o, e);
    }
    strv_free(*dst);
    *dst = take_ptr(v);
    return 0;
}

static int read_key_set(struct json_object *o, char ***dst, const struct path *p, struct error *e)
{
    size_t n = 0;

    if (json_object_get_type(o) != json_type_object)
        return wrong_type(p, "an object", o, e);
    strv_free(*dst);
    *dst = xcalloc((size_t)json_object_object_length(o) + 1, sizeof(char *));
    json_object_object_foreach(o, key, value)
    {
        (void)value;
        (*dst)[n++] = xstrdup(key);
    }
    return 0;
}

static int read_str_map(struct json_object *o, struct json_map *dst, const struct path *p,
                        struct error *e)
{
    if (json_object_get_type(o) != json_type_object)
        return wrong_type(p, "an object of strings", o, e);
    json_map_done(dst);
    dst->items = xcalloc((size_t)json_object_object_length(o), sizeof(*dst->items));
    json_object_object_foreach(o, key, value)
    {
        struct path at = {p, key, 0};
        struct json_pair *item = &dst->items[dst->len++];
        int r;

        item->key = xstrdup(key);
        r = value ? read_string(value, &item->value, &at, e) : 0;
        if (r < 0)
            return r;
        if (!item->value)
            item->value = xstrdup("");
    }
    return 0;
}

static void list_done(const struct json_desc *sub, struct json_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        json_free(sub, (char *)l->items + i * sub->size);
    free(l->items);
    *l = (struct json_list){0};
}

static int read_obj_list(const struct json_desc *sub, struct json_object *o, struct json_list *dst,
                         const struct path *p, struct error *e)
{
    size_t n;

    if (json_object_get_type(o) != json_type_array)
        return wrong_type(p, "a list", o, e);
    n = json_object_array_length(o);
    list_done(sub, dst);
    dst->items = xcalloc(n, sub->size);
    for (size_t i = 0; i < n; i++) {
        struct path at = {p, NULL, i};
        int r;

        dst->len = i + 1;
        r = read_object(sub, json_object_array_get_idx(o, i), (char *)dst->items + i * sub->size,
                        &at, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_uint_list(const struct json_field *f, struct json_object *o, struct json_list *dst,
                          const struct path *p, struct error *e)
{
    size_t n;

    if (json_object_get_type(o) != json_type_array)
        return wrong_type(p, "a list of numbers", o, e);
    n = json_object_array_length(o);
    free(dst->items);
    *dst = (struct json_list){xcalloc(n, sizeof(uint64_t)), n};
    for (size_t i = 0; i < n; i++) {
        struct path at = {p, NULL, i};
        int r = read_uint(f, json_object_array_get_idx(o, i), (uint64_t *)dst->items + i, &at, e);

        if (r < 0)
            return r;
    }
    return 0;
}

/* The key is the item's first member and not among the fields of its description. */
static void obj_map_done(const struct json_desc *sub, struct json_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        free(*(char **)(void *)((char *)l->items + i * sub->size));
    list_done(sub, l);
}

static int read_obj_map(const struct json_desc *sub, struct json_object *o, struct json_list *dst,
                        const struct path *p, struct error *e)
{
    if (json_object_get_type(o) != json_type_object)
        return wrong_type(p, "an object", o, e);
    obj_map_done(sub, dst);
    dst->items = xcalloc((size_t)json_object_object_length(o), sub->size);
    json_object_object_foreach(o, key, value)
    {
        struct path at = {p, key, 0};
        char *item = (char *)dst->items + dst->len++ * sub->size;
        int r = value ? read_object(sub, value, item, &at, e) : 0;

        if (r < 0)
            return r;
        *(char **)(void *)item = xstrdup(key);
    }
    return 0;
}

static void list_map_done(const struct json_desc *sub, struct json_list *l)
{
    struct json_named_list *named = l->items;

    for (size_t i = 0; i < l->len; i++) {
        free(named[i].key);
        list_done(sub, &named[i].list);
    }
    free(l->items);
    *l = (struct json_list){0};
}

static int read_list_map(const struct json_desc *sub, struct json_object *o, struct json_list *dst,
                         const struct path *p, struct error *e)
{
    if (json_object_get_type(o) != json_type_object)
        return wrong_type(p, "an object of lists", o, e);
    list_map_done(sub, dst);
    dst->items = xcalloc((size_t)json_object_object_length(o), sizeof(struct json_named_list));
    json_object_object_foreach(o, key, value)
    {
        struct path at = {p, key, 0};
        struct json_named_list *item = (struct json_named_list *)dst->items + dst->len++;
        int r;

        item->key = xstrdup(key);
        r = value ? read_obj_list(sub, value, &item->list, &at, e) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_choice(const struct json_field *f, const char *s, const struct path *p,
                        struct error *e)
{
    AUTOFREE char *all = NULL;
    AUTOFREE char *why = NULL;

    if (!f->choices || strv_contains((char *const *)f->choices, s))
        return 0;
    all = strv_join((char *const *)f->choices, ", ");
    why = xasprintf("unknown value (one of: %s)", all);
    return bad_value(p, why, s, e);
}

static int read_time(struct json_object *o, int64_t *dst, const struct path *p, struct error *e)
{
    AUTOFREE char *s = NULL;
    int r = read_string(o, &s, p, e);

    if (r < 0)
        return r;
    return *s && time_parse_rfc3339(s, dst) < 0 ? bad_value(p, "not an RFC 3339 time", s, e) : 0;
}

static int read_field(const struct json_field *f, struct json_object *o, void *dst,
                      const struct path *p, struct error *e)
{
    int r;

    switch (f->kind) {
    case JSON_STR:
        r = read_string(o, dst, p, e);
        return r < 0 ? r : check_choice(f, *(char **)dst, p, e);
    case JSON_BOOL:
        return read_bool(o, dst, p, e);
    case JSON_INT:
        return read_int(f, o, dst, p, e);
    case JSON_UINT:
        return read_uint(f, o, dst, p, e);
    case JSON_OPT_BOOL:
        ((struct opt_bool *)dst)->set = true;
        return read_bool(o, &((struct opt_bool *)dst)->value, p, e);
    case JSON_OPT_INT:
        ((struct opt_int *)dst)->set = true;
        return read_int(f, o, &((struct opt_int *)dst)->value, p, e);
    case JSON_OPT_UINT:
        ((struct opt_uint *)dst)->set = true;
        return read_uint(f, o, &((struct opt_uint *)dst)->value, p, e);
    case JSON_TIME:
        return read_time(o, dst, p, e);
    case JSON_STRV:
        return read_strv(f, o, dst, p, e);
    case JSON_STR_MAP:
        return read_str_map(o, dst, p, e);
    case JSON_KEY_SET:
        return read_key_set(o, dst, p, e);
    case JSON_OBJ:
        return read_object(f->sub, o, dst, p, e);
    case JSON_OBJ_PTR:
        if (!*(void **)dst)
            *(void **)dst = xcalloc(1, f->sub->size);
        return read_object(f->sub, o, *(void **)dst, p, e);
    case JSON_OBJ_LIST:
        return read_obj_list(f->sub, o, dst, p, e);
    case JSON_OBJ_MAP:
        return read_obj_map(f->sub, o, dst, p, e);
    case JSON_LIST_MAP:
        return read_list_map(f->sub, o, dst, p, e);
    case JSON_UINT_LIST:
        return read_uint_list(f, o, dst, p, e);
    case JSON_RAW:
        str_replace(dst, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                               JSON_C_TO_STRING_NOSLASHESCAPE));
        return 0;
    default:
        abort();
    }
}

static int read_object(const struct json_desc *type, struct json_object *o, void *obj,
                       const struct path *up, struct error *e)
{
    if (json_object_get_type(o) != json_type_object)
        return wrong_type(up, "an object", o, e);
    for (const struct json_field *f = type->fields; f->name; f++) {
        struct json_object *value = NULL;
        struct path at = {up, f->name, 0};
        int r;

        (void)json_object_object_get_ex(o, f->name, &value);
        if (!value) {
            if (f->flags & JSON_REQUIRED)
                return bad_value(&at, "is required in", type->name, e);
            continue;
        }
        r = read_field(f, value, (char *)obj + f->offset, &at, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Sums the members of all objects, to find duplicate keys: json-c keeps the last of them. */
static size_t count_members(struct json_object *o)
{
    size_t n = 0;

    if (json_object_get_type(o) == json_type_object) {
        n = (size_t)json_object_object_length(o);
        json_object_object_foreach(o, key, value)
        {
            (void)key;
            n += count_members(value);
        }
    } else if (json_object_get_type(o) == json_type_array) {
        size_t len = json_object_array_length(o);

        for (size_t i = 0; i < len; i++)
            n += count_members(json_object_array_get_idx(o, i));
    }
    return n;
}

int json_tree_parse(const char *text, size_t len, struct json_object **ret, struct error *e)
{
    size_t members = 0;
    const char *why = NULL;
    size_t at = json_scan(text, len, &members, &why);
    struct json_tokener *tok;
    struct json_object *o;

    if (why)
        return error_set(e, ERR_INVALID, "invalid JSON at offset %zu: %s", at, why);
    if (len >= INT32_MAX)
        return error_set(e, ERR_TOO_LARGE, "JSON text of %zu bytes is too large", len);
    tok = json_tokener_new_ex(JSON_DEPTH_MAX + 1);
    if (!tok)
        abort();
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    o = json_tokener_parse_ex(tok, text, (int)len);
    /* A number at the top ends only with a byte after it. */
    if (!o && json_tokener_get_error(tok) == json_tokener_continue)
        o = json_tokener_parse_ex(tok, "", 1);
    if (json_tokener_get_error(tok) != json_tokener_success) {
        int r = error_set(e, ERR_INVALID, "invalid JSON at offset %zu: %s",
                          json_tokener_get_parse_end(tok),
                          json_tokener_error_desc(json_tokener_get_error(tok)));

        json_object_put(o);
        json_tokener_free(tok);
        return r;
    }
    json_tokener_free(tok);
    if (count_members(o) != members) {
        json_object_put(o);
        return error_set(e, ERR_INVALID, "invalid JSON: an object has the same key twice");
    }
    *ret = o;
    return 0;
}

int json_parse(const struct json_desc *type, const char *text, size_t len, void *obj,
               struct error *e)
{
    struct json_object *o = NULL;
    int r = json_tree_parse(text, len, &o, e);

    if (r == 0)
        r = read_object(type, o, obj, NULL, e);
    json_object_put(o);
    if (r < 0)
        json_free(type, obj);
    return r;
}

/* --- freeing, copying --------------------------------------------------------------------- */

static void free_field(const struct json_field *f, void *p)
{
    switch (f->kind) {
    case JSON_STR:
    case JSON_RAW:
        free(*(char **)p);
        break;
    case JSON_STRV:
    case JSON_KEY_SET:
        strv_free(*(char ***)p);
        break;
    case JSON_STR_MAP:
        json_map_done(p);
        break;
    case JSON_OBJ:
        json_free(f->sub, p);
        break;
    case JSON_OBJ_PTR:
        if (*(void **)p)
            json_free(f->sub, *(void **)p);
        free(*(void **)p);
        break;
    case JSON_OBJ_LIST:
        list_done(f->sub, p);
        break;
    case JSON_OBJ_MAP:
        obj_map_done(f->sub, p);
        break;
    case JSON_LIST_MAP:
        list_map_done(f->sub, p);
        break;
    case JSON_UINT_LIST:
        free(((struct json_list *)p)->items);
        break;
    default:
        break;
    }
}

void json_free(const struct json_desc *type, void *obj)
{
    for (const struct json_field *f = type->fields; f->name; f++)
        free_field(f, (char *)obj + f->offset);
    memset(obj, 0, type->size);
}

static void copy_list(const struct json_desc *sub, struct json_list *dst,
                      const struct json_list *src)
{
    dst->len = src->len;
    dst->items = src->len ? xcalloc(src->len, sub->size) : NULL;
    for (size_t i = 0; i < src->len; i++)
        json_copy(sub, (char *)dst->items + i * sub->size,
                  (const char *)src->items + i * sub->size);
}

static void copy_keys(const struct json_desc *sub, struct json_list *dst,
                      const struct json_list *src)
{
    for (size_t i = 0; i < src->len; i++) {
        char *const *key = (const void *)((const char *)src->items + i * sub->size);

        *(char **)(void *)((char *)dst->items + i * sub->size) = xstrdup_or_null(*key);
    }
}

static void copy_uint_list(struct json_list *dst, const struct json_list *src)
{
    *dst = (struct json_list){0};
    if (src->len)
        *dst = (struct json_list){xmemdup(src->items, src->len * sizeof(uint64_t)), src->len};
}

static void copy_map(struct json_map *dst, const struct json_map *src)
{
    *dst = (struct json_map){0};
    if (src->len)
        dst->items = xcalloc(src->len, sizeof(*dst->items));
    for (; dst->len < src->len; dst->len++) {
        dst->items[dst->len].key = xstrdup(src->items[dst->len].key);
        dst->items[dst->len].value = xstrdup(src->items[dst->len].value);
    }
}

static void copy_list_map(const struct json_desc *sub, struct json_list *dst,
                          const struct json_list *src)
{
    const struct json_named_list *from = src->items;
    struct json_named_list *to = src->len ? xcalloc(src->len, sizeof(*to)) : NULL;

    for (size_t i = 0; i < src->len; i++) {
        to[i].key = xstrdup(from[i].key);
        copy_list(sub, &to[i].list, &from[i].list);
    }
    *dst = (struct json_list){to, src->len};
}

static void copy_field(const struct json_field *f, void *dst, const void *src)
{
    switch (f->kind) {
    case JSON_STR:
    case JSON_RAW:
        *(char **)dst = xstrdup_or_null(*(char *const *)src);
        break;
    case JSON_STRV:
    case JSON_KEY_SET:
        *(char ***)dst = strv_copy(*(char **const *)src);
        break;
    case JSON_STR_MAP:
        copy_map(dst, src);
        break;
    case JSON_OBJ:
        json_copy(f->sub, dst, src);
        break;
    case JSON_OBJ_PTR:
        *(void **)dst = NULL;
        if (*(void *const *)src) {
            *(void **)dst = xcalloc(1, f->sub->size);
            json_copy(f->sub, *(void **)dst, *(void *const *)src);
        }
        break;
    case JSON_OBJ_LIST:
        copy_list(f->sub, dst, src);
        break;
    case JSON_OBJ_MAP:
        copy_list(f->sub, dst, src);
        copy_keys(f->sub, dst, src);
        break;
    case JSON_LIST_MAP:
        copy_list_map(f->sub, dst, src);
        break;
    case JSON_UINT_LIST:
        copy_uint_list(dst, src);
        break;
    default:
        break; /* plain values came with the memcpy */
    }
}

void json_copy(const struct json_desc *type, void *dst, const void *src)
{
    memcpy(dst, src, type->size);
    for (const struct json_field *f = type->fields; f->name; f++)
        copy_field(f, (char *)dst + f->offset, (const char *)src + f->offset);
}

const char *json_map_get(const struct json_map *m, const char *key)
{
    for (size_t i = 0; i < m->len; i++)
        if (STREQ(m->items[i].key, key))
            return m->items[i].value;
    return NULL;
}

void json_map_set(struct json_map *m, const char *key, const char *value)
{
    for (size_t i = 0; i < m->len; i++) {
        if (STREQ(m->items[i].key, key)) {
            str_replace(&m->items[i].value, value);
            return;
        }
    }
    m->items = xreallocarray(m->items, m->len + 1, sizeof(*m->items));
    m->items[m->len++] = (struct json_pair){xstrdup(key), xstrdup(value)};
}

void json_map_done(struct json_map *m)
{
    for (size_t i = 0; i < m->len; i++) {
        free(m->items[i].key);
        free(m->items[i].value);
    }
    free(m->items);
    *m = (struct json_map){0};
}

void *json_list_add(struct json_list *l, size_t size)
{
    char *item;

    l->items = xreallocarray(l->items, l->len + 1, size);
    item = (char *)l->items + l->len++ * size;
    memset(item, 0, size);
    return item;
}
