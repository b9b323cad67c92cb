/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOML: see toml.h. A tree of nodes is built first, because a table may be added to from several
 * places of the file; each table remembers how it came to be, which decides what may be added.
 */
#include "base/toml.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/str.h"

enum kind { SCALAR, TABLE, LIST };

struct node {
    char *key;
    enum kind kind;
    char *json;       /* of a scalar */
    bool explicit;    /* a table with a [header] */
    bool dotted;      /* a table made by a dotted key: only such keys may add to it */
    bool closed;      /* an inline table or a list in brackets: nothing may add to it */
    bool tables_list; /* a list of [[headers]] */
    struct node *first, *last, *next;
};

struct parser {
    const char *p, *end;
    unsigned line;
    struct error *e;
    struct node *root, *current;
    unsigned depth;
    size_t values;
};

#define VALUES_MAX 10000

/* A key of one or several parts, in place of a vector: they are few. */
#define PARTS_MAX 32
struct key {
    char *parts[PARTS_MAX];
    size_t n;
};

static void key_done(struct key *k)
{
    for (size_t i = 0; i < k->n; i++)
        free(k->parts[i]);
    k->n = 0;
}

static int bad(struct parser *p, const char *why)
{
    return error_set(p->e, ERR_INVALID, "line %u: %s", p->line, why);
}

static struct node *node_new(const char *key, enum kind kind)
{
    struct node *n = xcalloc(1, sizeof(*n));

    n->key = xstrdup_or_null(key);
    n->kind = kind;
    return n;
}

static void node_add(struct node *parent, struct node *n)
{
    if (parent->last)
        parent->last->next = n;
    else
        parent->first = n;
    parent->last = n;
}

/* Frees a tree: as deep as TOML_DEPTH_MAX times PARTS_MAX at most. */
static void node_free(struct node *n)
{
    while (n && n->first) {
        struct node *child = n->first;
        n->first = child->next;
        node_free(child);
    }
    if (n) {
        free(n->key);
        free(n->json);
        free(n);
    }
}

static struct node *node_get(const struct node *table, const char *key)
{
    for (struct node *n = table->first; n; n = n->next)
        if (STREQ(n->key, key))
            return n;
    return NULL;
}

/* --- Space ----------------------------------------------------------------------------------------- */

static char peek(const struct parser *p)
{
    return p->p < p->end ? *p->p : '\0';
}

static bool at_newline(const struct parser *p)
{
    return peek(p) == '\n' || (peek(p) == '\r' && p->p + 1 < p->end && p->p[1] == '\n');
}

static void skip_blank(struct parser *p)
{
    while (peek(p) == ' ' || peek(p) == '\t')
        p->p++;
}

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

static int skip_comment(struct parser *p)
{
    if (peek(p) != '#')
        return 0;
    while (p->p < p->end && !at_newline(p)) {
        if (is_control((unsigned char)*p->p))
            return bad(p, "control character in a comment");
        p->p++;
    }
    return 0;
}

static void take_newline(struct parser *p)
{
    p->p += *p->p == '\r' ? 2 : 1;
    p->line++;
}

/* The rest of a line: nothing but a comment. */
static int end_line(struct parser *p)
{
    skip_blank(p);
    int r = skip_comment(p);
    if (r < 0 || p->p >= p->end)
        return r;
    if (!at_newline(p))
        return bad(p, "there is more on the line than one value");
    take_newline(p);
    return 0;
}

/* Blanks, newlines and comments between the items of a list. */
static int skip_lines(struct parser *p)
{
    int r = 0;

    for (;;) {
        skip_blank(p);
        if ((r = skip_comment(p)) < 0 || p->p >= p->end || !at_newline(p))
            return r;
        take_newline(p);
    }
}

/* --- Strings --------------------------------------------------------------------------------------- */

static void put_utf8(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        (void)buf_putc(b, (char)c);
    } else if (c < 0x800) {
        (void)buf_putc(b, (char)(0xc0 | c >> 6));
        (void)buf_putc(b, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        (void)buf_putc(b, (char)(0xe0 | c >> 12));
        (void)buf_putc(b, (char)(0x80 | (c >> 6 & 63)));
        (void)buf_putc(b, (char)(0x80 | (c & 63)));
    } else {
        (void)buf_putc(b, (char)(0xf0 | c >> 18));
        (void)buf_putc(b, (char)(0x80 | (c >> 12 & 63)));
        (void)buf_putc(b, (char)(0x80 | (c >> 6 & 63)));
        (void)buf_putc(b, (char)(0x80 | (c & 63)));
    }
}

static int take_unicode(struct parser *p, unsigned digits, struct buf *b)
{
    uint32_t c = 0;

    for (unsigned i = 0; i < digits; i++, p->p++) {
        unsigned char d = (unsigned char)peek(p);
        if (!isxdigit(d))
            return bad(p, "bad \\u in a string");
        c = c << 4 | (uint32_t)(isdigit(d) ? d - '0' : tolower(d) - 'a' + 10);
    }
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return bad(p, "\\u names no character that can be used");
    put_utf8(b, c);
    return 0;
}

/* After a backslash. */
static int take_escape(struct parser *p, bool multi, struct buf *b)
{
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    char c = peek(p);
    const char *at = c ? strchr(from, c) : NULL;

    if (at) {
        p->p++;
        return buf_putc(b, to[at - from]);
    }
    if (c == 'u' || c == 'U') {
        p->p++;
        return take_unicode(p, c == 'u' ? 4 : 8, b);
    }
    if (multi) { /* a backslash at a line's end takes all space after it away */
        const char *start = p->p;
        skip_blank(p);
        if (at_newline(p)) {
            while (at_newline(p) || peek(p) == ' ' || peek(p) == '\t')
                if (at_newline(p))
                    take_newline(p);
                else
                    p->p++;
            return 0;
        }
        p->p = start;
    }
    return bad(p, "unknown escape in a string");
}

static bool has_triple(const struct parser *p, char quote)
{
    return p->end - p->p >= 3 && p->p[0] == quote && p->p[1] == quote && p->p[2] == quote;
}

/* "…", '…' and their forms with three quotes; the opening quote is next. */
static int take_string(struct parser *p, bool may_multi, struct buf *b)
{
    char quote = *p->p;
    bool multi = has_triple(p, quote);

    if (multi && !may_multi)
        return bad(p, "a key cannot have several lines");
    p->p += multi ? 3 : 1;
    if (multi && at_newline(p))
        take_newline(p);
    for (;;) {
        if (p->p >= p->end)
            return bad(p, "a string is not closed");
        unsigned char c = (unsigned char)*p->p;
        if (c == (unsigned char)quote && (!multi || has_triple(p, quote))) {
            p->p += multi ? 3 : 1;
            /* Up to two quotes more belong to the text. */
            for (int i = 0; multi && i < 2 && peek(p) == quote; i++, p->p++)
                (void)buf_putc(b, quote);
            return 0;
        }
        if (at_newline(p)) {
            if (!multi)
                return bad(p, "a string is not closed on its line");
            take_newline(p);
            (void)buf_putc(b, '\n');
        } else if (is_control(c)) {
            return bad(p, "control character in a string");
        } else {
            p->p++;
            int r = c == '\\' && quote == '"' ? take_escape(p, multi, b) : buf_putc(b, (char)c);
            if (r < 0)
                return r;
        }
    }
}

/* --- Keys ------------------------------------------------------------------------------------------ */

static bool is_bare(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

static int take_key(struct parser *p, struct key *k)
{
    for (;;) {
        AUTO(buf) struct buf b = BUF_INIT(TOML_MAX);
        skip_blank(p);
        if (k->n == PARTS_MAX)
            return bad(p, "a key has too many parts");
        if (peek(p) == '"' || peek(p) == '\'') {
            int r = take_string(p, false, &b);
            if (r < 0)
                return r;
        } else {
            const char *start = p->p;
            while (p->p < p->end && is_bare(*p->p))
                p->p++;
            if (p->p == start)
                return bad(p, "expected a key");
            (void)buf_append(&b, start, (size_t)(p->p - start));
        }
        k->parts[k->n++] = buf_take(&b);
        skip_blank(p);
        if (peek(p) != '.')
            return 0;
        p->p++;
    }
}

/* --- Values ---------------------------------------------------------------------------------------- */

static int take_value(struct parser *p, struct node *n);

/* Digits in groups by single underscores are copied without them. */
static bool copy_digits(const char **s, const char *end, const char *set, struct buf *b)
{
    bool digit = false;

    for (; *s < end; (*s)++) {
        if (**s == '_') {
            if (!digit || *s + 1 >= end || !strchr(set, (*s)[1]) || (*s)[1] == '\0')
                return false;
            continue;
        }
        if (!**s || !strchr(set, **s))
            break;
        (void)buf_putc(b, **s);
        digit = true;
    }
    return digit;
}

/* 0x…, 0o…, 0b… */
static int radix_number(struct parser *p, const char *s, const char *end, struct node *n)
{
    unsigned base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : 2;
    const char *set = base == 16 ? "0123456789abcdefABCDEF" : base == 8 ? "01234567" : "01";
    AUTO(buf) struct buf b = BUF_INIT(TOML_MAX);
    char *stop = NULL;

    s += 2;
    if (!copy_digits(&s, end, set, &b) || s != end)
        return bad(p, "malformed number");
    errno = 0;
    unsigned long long v = strtoull(buf_str(&b), &stop, (int)base);
    if (errno != 0 || v > INT64_MAX)
        return bad(p, "a number does not fit 64 bits");
    n->json = xasprintf("%llu", v);
    return 0;
}

/* A decimal integer or a floating number. */
static int decimal_number(struct parser *p, const char *s, const char *end, struct node *n)
{
    static const char digits[] = "0123456789";
    AUTO(buf) struct buf b = BUF_INIT(TOML_MAX);
    bool whole = true;
    int64_t v;

    if (*s == '-')
        (void)buf_putc(&b, '-');
    if (*s == '-' || *s == '+')
        s++;
    if (s + 1 < end && *s == '0' && (isdigit((unsigned char)s[1]) || s[1] == '_'))
        return bad(p, "a number has a leading zero");
    if (!copy_digits(&s, end, digits, &b))
        return bad(p, "malformed value");
    if (s < end && *s == '.') {
        whole = false;
        s++;
        (void)buf_putc(&b, '.');
        if (!copy_digits(&s, end, digits, &b))
            return bad(p, "malformed number");
    }
    if (s < end && (*s == 'e' || *s == 'E')) {
        whole = false;
        (void)buf_putc(&b, *s++);
        if (s < end && (*s == '-' || *s == '+'))
            (void)buf_putc(&b, *s++);
        if (!copy_digits(&s, end, digits, &b))
            return bad(p, "malformed number");
    }
    if (s != end)
        return bad(p, "malformed value");
    if (whole && parse_i64(buf_str(&b), &v) < 0)
        return bad(p, "a number does not fit 64 bits");
    n->json = whole ? xasprintf("%lld", (long long)v) : buf_take(&b);
    return 0;
}

/* "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z": only the shape is looked at. */
static bool is_date(const char *s, size_t len)
{
    static const char *const shapes[] = {"dddd-dd-dd", "dd:dd:dd"};

    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        size_t n = strlen(shapes[i]), k = 0;
        while (k < n && k < len &&
               (shapes[i][k] == 'd' ? isdigit((unsigned char)s[k]) != 0 : s[k] == shapes[i][k]))
            k++;
        if (k == n)
            return true;
    }
    return false;
}

static void set_string(struct node *n, const char *s, size_t len)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    json_quote(&b, s, len);
    n->json = buf_take(&b);
}

/* The characters of a word, a date with its time behind a space among them. */
static size_t word_length(struct parser *p)
{
    const char *s = p->p;

    while (p->p < p->end && *p->p && (isalnum((unsigned char)*p->p) || strchr("+-_.:", *p->p)))
        p->p++;
    if (p->p - s == 10 && is_date(s, 10) && p->end - p->p > 1 && *p->p == ' ' &&
        isdigit((unsigned char)p->p[1])) {
        p->p++;
        while (p->p < p->end && *p->p && (isalnum((unsigned char)*p->p) || strchr("+-.:", *p->p)))
            p->p++;
    }
    return (size_t)(p->p - s);
}

static bool word_is(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(s, word, len) == 0;
}

/* true, false, numbers, dates. */
static int take_word(struct parser *p, struct node *n)
{
    const char *s = p->p;
    size_t len = word_length(p);
    size_t sign = len > 0 && (*s == '+' || *s == '-') ? 1 : 0;

    if (len == 0)
        return bad(p, "expected a value");
    if (word_is(s, len, "true") || word_is(s, len, "false")) {
        n->json = xstrndup(s, len);
        return 0;
    }
    if (word_is(s + sign, len - sign, "inf") || word_is(s + sign, len - sign, "nan"))
        return bad(p, "inf and nan are not supported");
    if (is_date(s, len)) {
        set_string(n, s, len);
        return 0;
    }
    if (len > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'o' || s[1] == 'b'))
        return radix_number(p, s, p->p, n);
    return decimal_number(p, s, p->p, n);
}

static int take_list(struct parser *p, struct node *n)
{
    n->kind = LIST;
    n->closed = true;
    p->p++;
    for (;;) {
        int r = skip_lines(p);
        if (r < 0)
            return r;
        if (peek(p) == ']')
            break;
        struct node *item = node_new(NULL, SCALAR);
        node_add(n, item);
        if ((r = take_value(p, item)) < 0 || (r = skip_lines(p)) < 0)
            return r;
        if (peek(p) == ',')
            p->p++;
        else if (peek(p) != ']')
            return bad(p, "expected , or ] in a list");
    }
    p->p++;
    return 0;
}

static int take_pair(struct parser *p, struct node *table);

/* Nothing may be added to what an inline table holds. */
static void close_tables(struct node *n)
{
    n->closed = true;
    for (struct node *c = n->first; c; c = c->next)
        if (c->kind == TABLE)
            close_tables(c);
}

static int take_inline_table(struct parser *p, struct node *n)
{
    n->kind = TABLE;
    p->p++;
    skip_blank(p);
    while (peek(p) != '}') {
        int r = take_pair(p, n);
        if (r < 0)
            return r;
        skip_blank(p);
        if (peek(p) == '}')
            break;
        if (peek(p) != ',')
            return bad(p, "expected , or } in an inline table");
        p->p++;
        skip_blank(p);
        if (peek(p) == '}')
            return bad(p, "an inline table ends with a comma");
    }
    p->p++;
    close_tables(n);
    return 0;
}

static int take_value(struct parser *p, struct node *n)
{
    AUTO(buf) struct buf b = BUF_INIT(TOML_MAX);
    int r;

    if (p->depth >= TOML_DEPTH_MAX)
        return bad(p, "values are nested too deeply");
    if (p->values++ >= VALUES_MAX)
        return bad(p, "there are too many values");
    p->depth++;
    switch (peek(p)) {
    case '"':
    case '\'':
        r = take_string(p, true, &b);
        if (r >= 0)
            set_string(n, b.data ? b.data : "", b.len);
        break;
    case '[':
        r = take_list(p, n);
        break;
    case '{':
        r = take_inline_table(p, n);
        break;
    default:
        r = take_word(p, n);
    }
    p->depth--;
    return r;
}

/* --- Tables ---------------------------------------------------------------------------------------- */

/* key = value, the key's tables made on the way. */
static int take_pair(struct parser *p, struct node *table)
{
    CLEANUP(key_done) struct key k = {0};
    int r = take_key(p, &k);

    if (r < 0)
        return r;
    if (peek(p) != '=')
        return bad(p, "expected = after a key");
    p->p++;
    skip_blank(p);
    for (size_t i = 0; i + 1 < k.n; i++) {
        struct node *next = node_get(table, k.parts[i]);
        if (!next) {
            next = node_new(k.parts[i], TABLE);
            next->dotted = true;
            node_add(table, next);
        } else if (next->kind != TABLE || next->closed || !next->dotted) {
            return bad(p, "a key names something inside a value that is there already");
        }
        table = next;
    }
    if (node_get(table, k.parts[k.n - 1]))
        return bad(p, "a key is there twice");
    struct node *n = node_new(k.parts[k.n - 1], SCALAR);
    node_add(table, n);
    return take_value(p, n);
}

/* The table that a part of a header names; the last one of a list of tables. */
static struct node *descend(struct node *table, const char *part)
{
    struct node *next = node_get(table, part);

    if (!next) {
        next = node_new(part, TABLE);
        node_add(table, next);
    }
    if (next->kind == LIST && next->tables_list)
        next = next->last;
    return next->kind == TABLE && !next->closed ? next : NULL;
}

static int take_header(struct parser *p)
{
    CLEANUP(key_done) struct key k = {0};
    bool list = p->end - p->p > 1 && p->p[1] == '[';

    if (p->values++ >= VALUES_MAX)
        return bad(p, "there are too many tables");
    p->p += list ? 2 : 1;
    int r = take_key(p, &k);
    if (r < 0)
        return r;
    if (peek(p) != ']' || (list && (p->end - p->p < 2 || p->p[1] != ']')))
        return bad(p, "a table's header is not closed");
    p->p += list ? 2 : 1;
    struct node *t = p->root;
    for (size_t i = 0; i + 1 < k.n; i++) {
        t = descend(t, k.parts[i]);
        if (!t)
            return bad(p, "a header names something inside a value that is no table");
    }
    const char *name = k.parts[k.n - 1];
    struct node *n = node_get(t, name);
    if (list) {
        if (n && !n->tables_list)
            return bad(p, "a list of tables has the name of another value");
        if (!n) {
            n = node_new(name, LIST);
            n->tables_list = true;
            node_add(t, n);
        }
        struct node *item = node_new(NULL, TABLE);
        node_add(n, item);
        n = item;
    } else {
        if (n && (n->kind != TABLE || n->explicit || n->dotted || n->closed))
            return bad(p, "a table is there twice");
        if (!n) {
            n = node_new(name, TABLE);
            node_add(t, n);
        }
        n->explicit = true;
    }
    p->current = n;
    return end_line(p);
}

/* The length of the UTF-8 character at s, 0: there is none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    size_t n = *s < 0x80                 ? 1
               : *s >= 0xc2 && *s < 0xe0 ? 2
               : (*s & 0xf0) == 0xe0     ? 3
               : *s >= 0xf0 && *s < 0xf5 ? 4
                                         : 0;

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) || (*s == 0xf0 && s[1] < 0x90) ||
        (*s == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static int check_utf8(struct parser *p)
{
    unsigned line = 1;

    for (const char *s = p->p; s < p->end;) {
        size_t n = utf8_length((const unsigned char *)s, (size_t)(p->end - s));
        line += *s == '\n';
        if (n == 0)
            return error_set(p->e, ERR_INVALID, "line %u: not UTF-8", line);
        s += n;
    }
    return 0;
}

static int parse(struct parser *p)
{
    int checked = check_utf8(p);

    if (checked < 0)
        return checked;
    if (p->end - p->p >= 3 && memcmp(p->p, "\xef\xbb\xbf", 3) == 0)
        p->p += 3;
    for (;;) {
        int r = skip_lines(p);
        if (r < 0 || p->p >= p->end)
            return r;
        if (*p->p == '[') {
            r = take_header(p);
        } else {
            r = take_pair(p, p->current);
            if (r >= 0)
                r = end_line(p);
        }
        if (r < 0)
            return r;
    }
}

/* --- JSON ------------------------------------------------------------------------------------------ */

static void print(const struct node *n, struct buf *out)
{
    if (n->kind == SCALAR) {
        (void)buf_puts(out, n->json);
        return;
    }
    (void)buf_putc(out, n->kind == LIST ? '[' : '{');
    for (const struct node *c = n->first; c; c = c->next) {
        if (c != n->first)
            (void)buf_putc(out, ',');
        if (n->kind == TABLE) {
            json_quote(out, c->key, strlen(c->key));
            (void)buf_putc(out, ':');
        }
        print(c, out);
    }
    (void)buf_putc(out, n->kind == LIST ? ']' : '}');
}

int toml_to_json(const char *text, size_t len, struct buf *out, struct error *e)
{
    struct node root = {.kind = TABLE};
    struct parser p = {.p = text, .end = text + len, .line = 1, .e = e, .root = &root};

    if (len > TOML_MAX)
        return error_set(e, ERR_TOO_LARGE, "it is larger than %u bytes", TOML_MAX);
    p.current = &root;
    int r = parse(&p);
    if (r >= 0) {
        AUTO(buf) struct buf b = BUF_INIT(8u * TOML_MAX);
        print(&root, &b);
        r = buf_append(out, buf_str(&b), b.len);
        if (r < 0)
            (void)error_set(e, ERR_TOO_LARGE, "it is too large");
    }
    while (root.first) {
        struct node *child = root.first;
        root.first = child->next;
        node_free(child);
    }
    return r;
}
