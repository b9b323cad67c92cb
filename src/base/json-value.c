/* SPDX-License-Identifier: Apache-2.0 */
/* JSON of unknown shape: a json-c tree behind an opaque type. See json.h. */
#include <json-c/json.h>
#include <string.h>

#include "base/json-priv.h"
#include "base/json.h"

/* struct json_value is never defined: a pointer to it is a pointer to json-c's object. */
static struct json_object *tree(const struct json_value *v)
{
    return (struct json_object *)(uintptr_t)v;
}

static const struct json_value *value(struct json_object *o)
{
    return (const struct json_value *)(const void *)o;
}

int json_value_parse(const char *text, size_t len, struct json_value **ret, struct error *e)
{
    struct json_object *o = NULL;
    int r = json_tree_parse(text, len, &o, e);

    if (r == 0)
        *ret = (struct json_value *)(void *)o;
    return r;
}

void json_value_free(struct json_value *v)
{
    json_object_put(tree(v));
}

enum json_value_kind json_value_kind(const struct json_value *v)
{
    switch (json_object_get_type(tree(v))) {
    case json_type_boolean:
        return JV_BOOL;
    case json_type_int:
        return JV_INT;
    case json_type_double:
        return JV_DOUBLE;
    case json_type_string:
        return JV_STR;
    case json_type_array:
        return JV_LIST;
    case json_type_object:
        return JV_OBJ;
    default:
        return JV_NULL;
    }
}

const struct json_value *json_value_get(const struct json_value *obj, const char *key)
{
    struct json_object *o = NULL;

    if (json_value_kind(obj) == JV_OBJ)
        (void)json_object_object_get_ex(tree(obj), key, &o);
    return value(o);
}

const struct json_value *json_value_at(const struct json_value *list, size_t i)
{
    if (json_value_kind(list) != JV_LIST)
        return NULL;
    return value(json_object_array_get_idx(tree(list), i));
}

size_t json_value_len(const struct json_value *v)
{
    switch (json_value_kind(v)) {
    case JV_LIST:
        return json_object_array_length(tree(v));
    case JV_OBJ:
        return (size_t)json_object_object_length(tree(v));
    case JV_STR:
        return (size_t)json_object_get_string_len(tree(v));
    default:
        return 0;
    }
}

const struct json_value *json_value_member(const struct json_value *obj, size_t i,
                                           const char **ret_key)
{
    if (json_value_kind(obj) != JV_OBJ)
        return NULL;
    json_object_object_foreach(tree(obj), key, member)
    {
        if (i-- == 0) {
            if (ret_key)
                *ret_key = key;
            return value(member);
        }
    }
    return NULL;
}

const char *json_value_str(const struct json_value *v)
{
    return json_value_kind(v) == JV_STR ? json_object_get_string(tree(v)) : NULL;
}

int64_t json_value_int(const struct json_value *v)
{
    enum json_value_kind kind = json_value_kind(v);

    return kind == JV_INT || kind == JV_DOUBLE ? json_object_get_int64(tree(v)) : 0;
}

double json_value_double(const struct json_value *v)
{
    enum json_value_kind kind = json_value_kind(v);

    return kind == JV_INT || kind == JV_DOUBLE ? json_object_get_double(tree(v)) : 0;
}

bool json_value_bool(const struct json_value *v)
{
    return json_value_kind(v) == JV_BOOL && json_object_get_boolean(tree(v));
}

static void indent(struct buf *out, bool pretty, unsigned depth)
{
    if (!pretty)
        return;
    (void)buf_putc(out, '\n');
    for (unsigned i = 0; i < depth; i++)
        (void)buf_puts(out, "    ");
}

static void print_tree(struct json_object *o, bool pretty, unsigned depth, struct buf *out)
{
    bool first = true;

    switch (json_object_get_type(o)) {
    case json_type_object:
        (void)buf_putc(out, '{');
        json_object_object_foreach(o, key, member)
        {
            if (!first)
                (void)buf_putc(out, ',');
            first = false;
            indent(out, pretty, depth + 1);
            json_quote(out, key, strlen(key));
            (void)buf_puts(out, pretty ? ": " : ":");
            print_tree(member, pretty, depth + 1, out);
        }
        if (!first)
            indent(out, pretty, depth);
        (void)buf_putc(out, '}');
        break;
    case json_type_array:
        (void)buf_putc(out, '[');
        for (size_t i = 0; i < json_object_array_length(o); i++) {
            if (i)
                (void)buf_putc(out, ',');
            indent(out, pretty, depth + 1);
            print_tree(json_object_array_get_idx(o, i), pretty, depth + 1, out);
        }
        if (json_object_array_length(o))
            indent(out, pretty, depth);
        (void)buf_putc(out, ']');
        break;
    case json_type_string:
        json_quote(out, json_object_get_string(o), (size_t)json_object_get_string_len(o));
        break;
    default:
        (void)buf_puts(out, json_object_to_json_string(o));
        break;
    }
}

void json_value_print(const struct json_value *v, bool pretty, struct buf *out)
{
    print_tree(tree(v), pretty, 0, out);
}
