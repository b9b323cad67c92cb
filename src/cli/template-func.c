/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of templates, one table. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/template-value.h"

#define TEXT_MAX (1 << 20) /* of what one function may make */

struct call_context {
    struct arena *arena;
    const char *name;
    const struct tvalue *args;
    size_t n;
    struct tvalue *ret;
    struct error *e;
};

static int fail(const struct call_context *c, const char *what)
{
    return error_set(c->e, ERR_INVALID, "template: :1: executing \"\": error calling %s: %s",
                     c->name, what);
}

/* Hands the text to the arena. */
static int give(const struct call_context *c, const struct buf *b)
{
    *c->ret = TVALUE_STR(arena_strndup(c->arena, buf_str(b), b->len));
    return 0;
}

static int call_logic(const struct call_context *c)
{
    bool is_and = STREQ(c->name, "and");

    if (STREQ(c->name, "not")) {
        *c->ret = TVALUE_BOOL(!tvalue_is_true(&c->args[0]));
        return 0;
    }
    for (size_t i = 0; i < c->n; i++) {
        *c->ret = c->args[i];
        if (tvalue_is_true(&c->args[i]) != is_and)
            return 0;
    }
    return 0;
}

/* -1, 0, 1, or 2 when the two cannot be compared. */
static int compare(const struct tvalue *a, const struct tvalue *b)
{
    if (a->kind == TV_STR && b->kind == TV_STR) {
        int r = strcmp(a->s, b->s);

        return (r > 0) - (r < 0);
    }
    if (a->kind == b->kind && (a->kind == TV_INT || a->kind == TV_BOOL))
        return (a->i > b->i) - (a->i < b->i);
    if ((a->kind == TV_FLOAT || a->kind == TV_INT) && (b->kind == TV_FLOAT || b->kind == TV_INT)) {
        double x = a->kind == TV_INT ? (double)a->i : a->f;
        double y = b->kind == TV_INT ? (double)b->i : b->f;

        return (x > y) - (x < y);
    }
    return a->kind == TV_NIL && b->kind == TV_NIL ? 0 : 2;
}

static int call_compare(const struct call_context *c)
{
    int r = compare(&c->args[0], &c->args[1]);
    bool nil = c->args[0].kind == TV_NIL || c->args[1].kind == TV_NIL;
    bool truth = false;

    if (r == 2 && !nil)
        return fail(c, "incompatible types for comparison");
    if (STREQ(c->name, "eq")) {
        for (size_t i = 1; i < c->n; i++)
            truth |= compare(&c->args[0], &c->args[i]) == 0;
    } else if (STREQ(c->name, "ne")) {
        truth = r != 0;
    } else if (r == 2) {
        return fail(c, "incompatible types for comparison");
    } else if (STREQ(c->name, "lt")) {
        truth = r < 0;
    } else if (STREQ(c->name, "le")) {
        truth = r <= 0;
    } else if (STREQ(c->name, "gt")) {
        truth = r > 0;
    } else {
        truth = r >= 0;
    }
    *c->ret = TVALUE_BOOL(truth);
    return 0;
}

/* A map whose members are all texts gives "" for a missing key, as Go's map[string]string. */
static struct tvalue missing_member(const struct json_value *obj)
{
    for (size_t i = 0; i < json_value_len(obj); i++) {
        const char *key;

        if (json_value_kind(json_value_member(obj, i, &key)) != JV_STR)
            return (struct tvalue){.kind = TV_NIL};
    }
    return TVALUE_STR("");
}

static int call_index(const struct call_context *c)
{
    struct tvalue v = c->args[0];

    for (size_t i = 1; i < c->n; i++) {
        const struct tvalue *key = &c->args[i];
        bool object = v.kind == TV_JSON && json_value_kind(v.json) == JV_OBJ;

        if (v.kind == TV_NIL && key->kind == TV_STR) {
            v = TVALUE_STR(""); /* a map that is null */
        } else if (object) {
            struct tvalue member = {0};

            if (key->kind != TV_STR)
                return fail(c, "value has type int; should be string");
            v = tvalue_member(&v, key->s, &member) > 0 ? member : missing_member(v.json);
        } else if (v.kind == TV_LIST || v.kind == TV_JSON) {
            if (key->kind != TV_INT)
                return fail(c, "cannot index slice/array with type string");
            if (key->i < 0 || key->i >= tvalue_len(&v))
                return fail(c, "index out of range");
            v = tvalue_at(&v, (size_t)key->i);
        } else {
            return fail(c, v.kind == TV_NIL ? "index of untyped nil" : "can't index this value");
        }
    }
    *c->ret = v;
    return 0;
}

static int call_len(const struct call_context *c)
{
    int64_t n = tvalue_len(&c->args[0]);

    if (n < 0)
        return fail(c, "len of a value that has none");
    *c->ret = TVALUE_INT(n);
    return 0;
}

static int call_slice(const struct call_context *c)
{
    int64_t len = tvalue_len(&c->args[0]), from = 0, to = len;

    if (c->args[0].kind != TV_STR)
        return fail(c, "only texts can be sliced");
    if (c->n > 1)
        from = c->args[1].kind == TV_INT ? c->args[1].i : -1;
    if (c->n > 2)
        to = c->args[2].kind == TV_INT ? c->args[2].i : -1;
    if (from < 0 || to < from || to > len)
        return fail(c, "index out of range");
    *c->ret = TVALUE_STR(arena_strndup(c->arena, c->args[0].s + from, (size_t)(to - from)));
    return 0;
}

static int call_print(const struct call_context *c)
{
    AUTO(buf) struct buf b = BUF_INIT(TEXT_MAX);
    bool line = STREQ(c->name, "println");
    int r = 0;

    for (size_t i = 0; i < c->n && r == 0; i++) {
        /* print puts spaces between operands when neither is a text; println always. */
        if (i && (line || (c->args[i].kind != TV_STR && c->args[i - 1].kind != TV_STR)))
            r = buf_putc(&b, ' ');
        if (r == 0)
            r = tvalue_print(&c->args[i], &b);
    }
    if (r == 0 && line)
        r = buf_putc(&b, '\n');
    return r < 0 ? fail(c, "the result is too long") : give(c, &b);
}

struct verb {
    bool minus, zero, plus;
    int width, precision;
};

static int put_padded(struct buf *b, const struct verb *v, const char *s)
{
    return v->minus ? buf_printf(b, "%-*s", v->width, s) : buf_printf(b, "%*s", v->width, s);
}

static int put_number(struct buf *b, const struct verb *v, char verb, int64_t i)
{
    AUTOFREE char *text = NULL;

    if (verb == 'x')
        text = xasprintf("%" PRIx64, (uint64_t)i);
    else if (verb == 'X')
        text = xasprintf("%" PRIX64, (uint64_t)i);
    else if (verb == 'o')
        text = xasprintf("%" PRIo64, (uint64_t)i);
    else if (v->zero && !v->minus)
        text = xasprintf("%0*" PRId64, v->width, i);
    else
        text = xasprintf(v->plus ? "%+" PRId64 : "%" PRId64, i);
    return put_padded(b, v, text);
}

static int put_verb(struct buf *b, const struct verb *v, char verb, const struct tvalue *arg)
{
    AUTO(buf) struct buf plain = BUF_INIT(TEXT_MAX);
    double f = arg->kind == TV_INT ? (double)arg->i : arg->f;
    bool number = arg->kind == TV_INT || arg->kind == TV_FLOAT;

    if (strchr("dxXo", verb) && arg->kind == TV_INT)
        return put_number(b, v, verb, arg->i);
    if (verb == 'f' && number) {
        AUTOFREE char *text = xasprintf("%.*f", v->precision < 0 ? 6 : v->precision, f);

        return put_padded(b, v, text);
    }
    if (verb == 'g' && number) {
        AUTOFREE char *text = xasprintf("%.*g", v->precision < 0 ? 15 : v->precision, f);

        return put_padded(b, v, text);
    }
    if (verb == 'q' && arg->kind == TV_STR) {
        json_quote(&plain, arg->s, strlen(arg->s));
        return put_padded(b, v, buf_str(&plain));
    }
    if (tvalue_print(arg, &plain) < 0)
        return -EFBIG;
    if (verb == 's' && v->precision >= 0 && (size_t)v->precision < plain.len)
        plain.data[v->precision] = '\0';
    if (strchr("svt", verb))
        return put_padded(b, v, buf_str(&plain));
    return buf_printf(b, "%%!%c(%s)", verb, buf_str(&plain));
}

static const char *parse_verb(const char *p, struct verb *v)
{
    *v = (struct verb){.precision = -1};
    for (; *p && strchr("-+0 #", *p); p++) {
        v->minus |= *p == '-';
        v->zero |= *p == '0';
        v->plus |= *p == '+';
    }
    for (; isdigit((unsigned char)*p); p++)
        v->width = v->width < 1000 ? v->width * 10 + (*p - '0') : v->width;
    if (*p == '.') {
        v->precision = 0;
        for (p++; isdigit((unsigned char)*p); p++)
            v->precision = v->precision < 100 ? v->precision * 10 + (*p - '0') : v->precision;
    }
    return p;
}

static int call_printf(const struct call_context *c)
{
    AUTO(buf) struct buf b = BUF_INIT(TEXT_MAX);
    size_t next = 1;
    int r = 0;

    if (c->args[0].kind != TV_STR)
        return fail(c, "the format is not a text");
    for (const char *p = c->args[0].s; *p && r == 0; p++) {
        struct verb v;

        if (*p != '%') {
            r = buf_putc(&b, *p);
            continue;
        }
        p = parse_verb(p + 1, &v);
        if (!*p) {
            r = buf_puts(&b, "%!(NOVERB)");
            break;
        }
        if (*p == '%')
            r = buf_putc(&b, '%');
        else if (next >= c->n)
            r = buf_printf(&b, "%%!%c(MISSING)", *p);
        else
            r = put_verb(&b, &v, *p, &c->args[next++]);
    }
    return r < 0 ? fail(c, "the result is too long") : give(c, &b);
}

static int call_json(const struct call_context *c)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    (void)tvalue_print_json(&c->args[0], &b);
    return give(c, &b);
}

static int call_join(const struct call_context *c)
{
    AUTO(buf) struct buf b = BUF_INIT(TEXT_MAX);
    const struct tvalue *list = &c->args[0];
    int64_t n = tvalue_len(list);
    int r = 0;

    if (c->args[1].kind != TV_STR || list->kind == TV_STR || n < 0 ||
        (list->kind == TV_JSON && json_value_kind(list->json) == JV_OBJ))
        return fail(c, "want a list and a separator");
    for (size_t i = 0; i < (size_t)n && r == 0; i++) {
        struct tvalue v = tvalue_at(list, i);

        if (i)
            r = buf_puts(&b, c->args[1].s);
        if (r == 0)
            r = tvalue_print(&v, &b);
    }
    return r < 0 ? fail(c, "the result is too long") : give(c, &b);
}

static int call_split(const struct call_context *c)
{
    const char *s = c->args[0].s, *sep = c->args[1].s;
    const char **list;
    size_t n = 0;

    if (c->args[0].kind != TV_STR || c->args[1].kind != TV_STR || !*sep)
        return fail(c, "want a text and a separator");
    list = arena_alloc(c->arena, (strlen(s) / strlen(sep) + 2) * sizeof *list);
    for (;;) {
        const char *end = strstr(s, sep);

        list[n++] = arena_strndup(c->arena, s, end ? (size_t)(end - s) : strlen(s));
        if (!end)
            break;
        s = end + strlen(sep);
    }
    *c->ret = (struct tvalue){.kind = TV_LIST, .list = list, .n = n};
    return 0;
}

static int call_case(const struct call_context *c)
{
    AUTO(buf) struct buf b = BUF_INIT(TEXT_MAX);
    bool lower = STREQ(c->name, "lower"), title = STREQ(c->name, "title"), begin = true;

    if (tvalue_print(&c->args[0], &b) < 0)
        return fail(c, "the result is too long");
    for (size_t i = 0; i < b.len; i++) {
        unsigned char ch = (unsigned char)b.data[i];

        if (lower)
            b.data[i] = (char)tolower(ch);
        else if (!title || begin)
            b.data[i] = (char)toupper(ch);
        begin = isspace(ch) != 0;
    }
    return give(c, &b);
}

static int call_pad(const struct call_context *c)
{
    AUTO(buf) struct buf b = BUF_INIT(TEXT_MAX);
    const struct tvalue *a = c->args;

    if (a[0].kind != TV_STR || a[1].kind != TV_INT || a[2].kind != TV_INT || a[1].i < 0 ||
        a[2].i < 0 || a[1].i > 1000 || a[2].i > 1000)
        return fail(c, "want a text and two small numbers");
    if (!*a[0].s)
        return give(c, &b);
    if (buf_printf(&b, "%*s%s%*s", (int)a[1].i, "", a[0].s, (int)a[2].i, "") < 0)
        return fail(c, "the result is too long");
    return give(c, &b);
}

static int call_truncate(const struct call_context *c)
{
    if (c->args[0].kind != TV_STR || c->args[1].kind != TV_INT || c->args[1].i < 0)
        return fail(c, "want a text and a number");
    *c->ret = TVALUE_STR(
        arena_strndup(c->arena, c->args[0].s, strnlen(c->args[0].s, (size_t)c->args[1].i)));
    return 0;
}

static const struct function {
    const char *name;
    size_t min, max;
    int (*call)(const struct call_context *c);
} functions[] = {
    {"and", 1, 30, call_logic},   {"or", 1, 30, call_logic},         {"not", 1, 1, call_logic},
    {"eq", 2, 30, call_compare},  {"ne", 2, 2, call_compare},        {"lt", 2, 2, call_compare},
    {"le", 2, 2, call_compare},   {"gt", 2, 2, call_compare},        {"ge", 2, 2, call_compare},
    {"index", 1, 30, call_index}, {"len", 1, 1, call_len},           {"slice", 1, 3, call_slice},
    {"print", 0, 30, call_print}, {"println", 0, 30, call_print},    {"printf", 1, 30, call_printf},
    {"json", 1, 1, call_json},    {"join", 2, 2, call_join},         {"split", 2, 2, call_split},
    {"lower", 1, 1, call_case},   {"upper", 1, 1, call_case},        {"title", 1, 1, call_case},
    {"pad", 3, 3, call_pad},      {"truncate", 2, 2, call_truncate},
};

static const struct function *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        if (STREQ(functions[i].name, name))
            return &functions[i];
    }
    return NULL;
}

bool template_is_function(const char *name)
{
    return find(name) != NULL;
}

int template_call(struct arena *arena, const char *name, const struct tvalue *args, size_t n,
                  struct tvalue *ret, struct error *e)
{
    const struct function *f = find(name);
    struct tvalue result = {0};
    struct call_context c = {arena, name, args, n, &result, e};
    int r;

    if (!f || n < f->min || n > f->max)
        return fail(&c, "wrong number of args");
    r = f->call(&c);
    if (r == 0)
        *ret = result;
    return r;
}
