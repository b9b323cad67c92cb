/* SPDX-License-Identifier: Apache-2.0 */
/* Printing structs as JSON, and the piecewise writer: see json.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/strv.h"
#include "base/time.h"

/* Length of the valid UTF-8 sequence at s (1..4), 0 when there is none. RFC 3629. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    size_t need;
    uint32_t cp;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        need = 2;
        cp = s[0] & 0x1f;
    } else if ((s[0] & 0xf0) == 0xe0) {
        need = 3;
        cp = s[0] & 0x0f;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        need = 4;
        cp = s[0] & 0x07;
    } else {
        return 0;
    }
    if (n < need)
        return 0;
    for (size_t i = 1; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3f);
    }
    if ((need == 3 && (cp < 0x800 || (cp >= 0xd800 && cp <= 0xdfff))) ||
        (need == 4 && (cp < 0x10000 || cp > 0x10ffff)))
        return 0;
    return need;
}

static void quote_ascii(struct buf *out, unsigned char c)
{
    static const char plain[] = "\b\t\n\f\r\"\\";
    static const char escape[] = "btnfr\"\\";
    const char *at = c ? strchr(plain, c) : NULL;

    if (at)
        (void)buf_printf(out, "\\%c", escape[at - plain]);
    else
        (void)buf_printf(out, "\\u%04x", c);
}

/* The control characters after DEL: terminals obey them. */
static bool is_c1(const unsigned char *p, const unsigned char *end)
{
    return end - p >= 2 && p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
}

void json_quote(struct buf *out, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    const unsigned char *end = p + len;

    (void)buf_putc(out, '"');
    while (p < end) {
        const unsigned char *run = p;
        size_t n = 1;

        while (p < end && *p >= 0x20 && *p != '"' && *p != '\\' && *p != 0x7f && !is_c1(p, end) &&
               (n = utf8_len(p, (size_t)(end - p))) > 0)
            p += n;
        (void)buf_append(out, run, (size_t)(p - run));
        if (p == end)
            break;
        if (is_c1(p, end))
            quote_ascii(out, *++p);
        else if (*p < 0x80)
            quote_ascii(out, *p);
        else
            (void)buf_puts(out, "\xef\xbf\xbd");
        p++;
    }
    (void)buf_putc(out, '"');
}

static void key_and_comma(struct jsonw *w, const char *key)
{
    if (w->need_comma)
        (void)buf_putc(w->out, ',');
    w->need_comma = true;
    if (key) {
        json_quote(w->out, key, strlen(key));
        (void)buf_putc(w->out, ':');
    }
}

static void open_with(struct jsonw *w, const char *key, char c)
{
    key_and_comma(w, key);
    (void)buf_putc(w->out, c);
    w->need_comma = false;
}

static void close_with(struct jsonw *w, char c)
{
    (void)buf_putc(w->out, c);
    w->need_comma = true;
}

void jsonw_begin(struct jsonw *w, const char *key)
{
    open_with(w, key, '{');
}

void jsonw_end(struct jsonw *w)
{
    close_with(w, '}');
}

void jsonw_list_begin(struct jsonw *w, const char *key)
{
    open_with(w, key, '[');
}

void jsonw_list_end(struct jsonw *w)
{
    close_with(w, ']');
}

void jsonw_str(struct jsonw *w, const char *key, const char *value)
{
    key_and_comma(w, key);
    json_quote(w->out, value ? value : "", value ? strlen(value) : 0);
}

void jsonw_int(struct jsonw *w, const char *key, int64_t value)
{
    key_and_comma(w, key);
    (void)buf_printf(w->out, "%" PRId64, value);
}

void jsonw_uint(struct jsonw *w, const char *key, uint64_t value)
{
    key_and_comma(w, key);
    (void)buf_printf(w->out, "%" PRIu64, value);
}

void jsonw_bool(struct jsonw *w, const char *key, bool value)
{
    key_and_comma(w, key);
    (void)buf_puts(w->out, value ? "true" : "false");
}

void jsonw_null(struct jsonw *w, const char *key)
{
    key_and_comma(w, key);
    (void)buf_puts(w->out, "null");
}

void jsonw_time(struct jsonw *w, const char *key, int64_t ns)
{
    char text[TIME_RFC3339_MAX];

    time_format_rfc3339(ns, text);
    jsonw_str(w, key, text);
}

void jsonw_strv(struct jsonw *w, const char *key, char *const *v)
{
    jsonw_list_begin(w, key);
    for (size_t i = 0; v && v[i]; i++)
        jsonw_str(w, NULL, v[i]);
    jsonw_list_end(w);
}

void jsonw_map(struct jsonw *w, const char *key, const struct json_map *m)
{
    jsonw_begin(w, key);
    for (size_t i = 0; i < m->len; i++)
        jsonw_str(w, m->items[i].key, m->items[i].value);
    jsonw_end(w);
}

void jsonw_raw(struct jsonw *w, const char *key, const char *json_text)
{
    key_and_comma(w, key);
    (void)buf_puts(w->out, json_text);
}

static void write_list(struct jsonw *w, const char *key, const struct json_desc *sub,
                       const struct json_list *l)
{
    jsonw_list_begin(w, key);
    for (size_t i = 0; i < l->len; i++)
        jsonw_obj(w, NULL, sub, (const char *)l->items + i * sub->size);
    jsonw_list_end(w);
}

/* JSON_OBJ_MAP, JSON_LIST_MAP: each item's first member is its key. */
static void write_map(struct jsonw *w, const struct json_field *f, const struct json_list *l)
{
    size_t size = f->kind == JSON_OBJ_MAP ? f->sub->size : sizeof(struct json_named_list);

    jsonw_begin(w, f->name);
    for (size_t i = 0; i < l->len; i++) {
        const void *item = (const char *)l->items + i * size;
        const char *key = *(char *const *)item;

        if (f->kind == JSON_OBJ_MAP)
            jsonw_obj(w, key, f->sub, item);
        else
            write_list(w, key, f->sub, &((const struct json_named_list *)item)->list);
    }
    jsonw_end(w);
}

static bool all_zero(const struct json_desc *type, const void *obj)
{
    const char *p = obj;

    for (size_t i = 0; i < type->size; i++)
        if (p[i])
            return false;
    return true;
}

static bool field_is_empty(const struct json_field *f, const void *p)
{
    switch (f->kind) {
    case JSON_STR:
        return !*(char *const *)p || !**(char *const *)p;
    case JSON_RAW:
    case JSON_OBJ_PTR:
        return !*(void *const *)p;
    case JSON_BOOL:
        return !*(const bool *)p;
    case JSON_INT:
    case JSON_UINT:
    case JSON_TIME:
        return *(const uint64_t *)p == 0;
    case JSON_OPT_BOOL:
        return !((const struct opt_bool *)p)->set;
    case JSON_OPT_INT:
        return !((const struct opt_int *)p)->set;
    case JSON_OPT_UINT:
        return !((const struct opt_uint *)p)->set;
    case JSON_STRV:
    case JSON_KEY_SET:
        return strv_len(*(char **const *)p) == 0;
    case JSON_STR_MAP:
        return ((const struct json_map *)p)->len == 0;
    case JSON_OBJ:
        return all_zero(f->sub, p);
    default:
        return ((const struct json_list *)p)->len == 0;
    }
}

static void write_key_set(struct jsonw *w, const char *key, char *const *v)
{
    jsonw_begin(w, key);
    for (size_t i = 0; v && v[i]; i++) {
        jsonw_begin(w, v[i]);
        jsonw_end(w);
    }
    jsonw_end(w);
}

static void write_number(struct jsonw *w, const struct json_field *f, const void *p)
{
    AUTOFREE char *text = NULL;

    if (f->kind == JSON_INT)
        text = xasprintf("%" PRId64, *(const int64_t *)p);
    else
        text = xasprintf("%" PRIu64, *(const uint64_t *)p);
    if (f->flags & JSON_STR_IN_JSON)
        jsonw_str(w, f->name, text);
    else
        jsonw_raw(w, f->name, text);
}

static void write_uint_list(struct jsonw *w, const char *key, const struct json_list *l)
{
    jsonw_list_begin(w, key);
    for (size_t i = 0; i < l->len; i++)
        jsonw_uint(w, NULL, ((const uint64_t *)l->items)[i]);
    jsonw_list_end(w);
}

static void write_field(struct jsonw *w, const struct json_field *f, const void *p)
{
    bool empty = field_is_empty(f, p);

    if (empty && (f->flags & JSON_OMIT_EMPTY))
        return;
    if (empty && ((f->flags & JSON_NULL_EMPTY) || f->kind == JSON_RAW || f->kind == JSON_OBJ_PTR ||
                  (f->kind >= JSON_OPT_BOOL && f->kind <= JSON_OPT_UINT))) {
        jsonw_null(w, f->name);
        return;
    }
    if ((f->flags & JSON_NULL_KEPT) && !*(void *const *)p) {
        jsonw_null(w, f->name);
        return;
    }
    switch (f->kind) {
    case JSON_STR:
        jsonw_str(w, f->name, *(char *const *)p);
        break;
    case JSON_BOOL:
        jsonw_bool(w, f->name, *(const bool *)p);
        break;
    case JSON_INT:
    case JSON_UINT:
        write_number(w, f, p);
        break;
    case JSON_OPT_BOOL:
        jsonw_bool(w, f->name, ((const struct opt_bool *)p)->value);
        break;
    case JSON_OPT_INT:
        jsonw_int(w, f->name, ((const struct opt_int *)p)->value);
        break;
    case JSON_OPT_UINT:
        jsonw_uint(w, f->name, ((const struct opt_uint *)p)->value);
        break;
    case JSON_TIME:
        jsonw_time(w, f->name, *(const int64_t *)p);
        break;
    case JSON_STRV:
        jsonw_strv(w, f->name, *(char **const *)p);
        break;
    case JSON_STR_MAP:
        jsonw_map(w, f->name, p);
        break;
    case JSON_UINT_LIST:
        write_uint_list(w, f->name, p);
        break;
    case JSON_KEY_SET:
        write_key_set(w, f->name, *(char **const *)p);
        break;
    case JSON_OBJ:
        jsonw_obj(w, f->name, f->sub, p);
        break;
    case JSON_OBJ_PTR:
        jsonw_obj(w, f->name, f->sub, *(void *const *)p);
        break;
    case JSON_OBJ_LIST:
        write_list(w, f->name, f->sub, p);
        break;
    case JSON_OBJ_MAP:
    case JSON_LIST_MAP:
        write_map(w, f, p);
        break;
    case JSON_RAW:
        jsonw_raw(w, f->name, *(char *const *)p);
        break;
    default:
        abort();
    }
}

void jsonw_obj(struct jsonw *w, const char *key, const struct json_desc *type, const void *obj)
{
    jsonw_begin(w, key);
    for (const struct json_field *f = type->fields; f->name; f++)
        write_field(w, f, (const char *)obj + f->offset);
    jsonw_end(w);
}

int json_print(const struct json_desc *type, const void *obj, struct buf *out)
{
    struct jsonw w = {out, false};
    size_t before = out->len;

    jsonw_obj(&w, NULL, type, obj);
    /* An append that did not fit left the closing brace away. */
    if (out->len < before + 2 || out->data[out->len - 1] != '}' || out->len + 1 >= out->max)
        return -EFBIG;
    return 0;
}

char *json_print_str(const struct json_desc *type, const void *obj)
{
    struct buf b = BUF_INIT(BUF_UNLIMITED);

    (void)json_print(type, obj, &b);
    return buf_take(&b);
}
