/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of templates. All memory of the tree is in the template's arena. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/template-priv.h"

#define TEXT_MAX  (64 << 10)
#define DEPTH_MAX 32

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(max_align_t) char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b = a->blocks;
    void *p;

    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (!b || b->size - b->used < size) {
        size_t room = size > 2048 ? size : 2048;

        b = xmalloc(sizeof *b + room);
        *b = (struct arena_block){.next = a->blocks, .size = room};
        a->blocks = b;
    }
    p = b->data + b->used;
    b->used += size;
    memset(p, 0, size);
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
    char *copy = arena_alloc(a, len + 1);

    memcpy(copy, s, len);
    return copy;
}

void arena_done(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;

        free(a->blocks);
        a->blocks = next;
    }
}

struct parser {
    struct template *t;
    const char *start, *p;
    int depth;
    bool trim; /* the action before ended in -}} */
    struct error *e;
};

enum keyword { KEYWORD_NONE, KEYWORD_IF, KEYWORD_RANGE, KEYWORD_WITH, KEYWORD_ELSE, KEYWORD_END };

static int fail(struct parser *p, const char *what)
{
    int line = 1;

    for (const char *s = p->start; s < p->p && *s; s++)
        line += *s == '\n';
    return error_set(p->e, ERR_INVALID, "template parsing error: template: :%d: %s", line, what);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static void skip_space(struct parser *p)
{
    while (is_space(*p->p))
        p->p++;
}

/* At the end of an action: "}}" or " -}}". */
static bool at_close(const struct parser *p)
{
    return !strncmp(p->p, "}}", 2) ||
           (!strncmp(p->p, "-}}", 3) && p->p > p->start && is_space(p->p[-1]));
}

static int expect_close(struct parser *p)
{
    skip_space(p);
    if (!*p->p)
        return fail(p, "unclosed action");
    if (!at_close(p))
        return fail(p, "unexpected text in action");
    p->trim = *p->p == '-';
    p->p += p->trim ? 3 : 2;
    return 0;
}

/* --- Operands ---------------------------------------------------------------------------- */

static int parse_pipe(struct parser *p, const struct pipe **ret);

static int parse_quoted(struct parser *p, struct operand *o)
{
    AUTO(buf) struct buf b = BUF_INIT(TEXT_MAX);
    char quote = *p->p++;

    for (; *p->p != quote; p->p++) {
        char c = *p->p;

        if (!c || (c == '\n' && quote != '`'))
            return fail(p, quote == '`' ? "unterminated raw quoted string"
                                        : "unterminated quoted string");
        if (c == '\\' && quote != '`') {
            static const char from[] = "ntr\"\\'", to[] = "\n\t\r\"\\'";
            const char *known = *++p->p ? strchr(from, *p->p) : NULL;

            if (!known)
                return fail(p, "unknown escape in a string");
            c = to[known - from];
        }
        (void)buf_putc(&b, c);
    }
    p->p++;
    if (quote == '\'') {
        if (b.len != 1)
            return fail(p, "malformed character constant");
        o->kind = OPERAND_INT;
        o->i = b.data[0];
        return 0;
    }
    o->kind = OPERAND_STR;
    o->text = arena_strndup(&p->t->arena, buf_str(&b), b.len);
    return 0;
}

static int parse_number(struct parser *p, struct operand *o)
{
    size_t len = strspn(p->p, "0123456789+-.eExXabcdefABCDEF_");
    AUTOFREE char *text = xstrndup(p->p, len);
    char *end;

    p->p += len;
    errno = 0;
    o->kind = OPERAND_INT;
    o->i = strtoll(text, &end, 0);
    if (*end == '\0' && !errno)
        return 0;
    errno = 0;
    o->kind = OPERAND_FLOAT;
    o->f = strtod(text, &end);
    return *end == '\0' && !errno ? 0 : fail(p, "bad number syntax");
}

static int parse_word(struct parser *p, struct operand *o)
{
    const char *start = p->p;

    while (is_word(*p->p))
        p->p++;
    o->text = arena_strndup(&p->t->arena, start, (size_t)(p->p - start));
    if (STREQ(o->text, "true") || STREQ(o->text, "false")) {
        o->kind = OPERAND_BOOL;
        o->i = o->text[0] == 't';
    } else if (STREQ(o->text, "nil")) {
        o->kind = OPERAND_NIL;
    } else if (template_is_function(o->text)) {
        o->kind = OPERAND_FUNC;
    } else {
        AUTOFREE char *what = xasprintf("function \"%s\" not defined", o->text);

        return fail(p, what);
    }
    return 0;
}

/* .A.B after an operand. */
static int parse_fields(struct parser *p, struct operand *o)
{
    const char *names[DEPTH_MAX];
    size_t n = 0;

    while (*p->p == '.' && is_word(p->p[1])) {
        const char *start = ++p->p;

        while (is_word(*p->p))
            p->p++;
        if (n == DEPTH_MAX)
            return fail(p, "too many fields");
        names[n++] = arena_strndup(&p->t->arena, start, (size_t)(p->p - start));
    }
    if (*p->p == '.')
        return fail(p, "unexpected <.> in operand");
    if (n) {
        o->fields = arena_alloc(&p->t->arena, n * sizeof *o->fields);
        memcpy(o->fields, names, n * sizeof *o->fields);
        o->nfields = n;
    }
    return 0;
}

static int parse_parentheses(struct parser *p, struct operand *o)
{
    int r;

    p->p++;
    if (++p->depth > DEPTH_MAX)
        return fail(p, "nested too deeply");
    o->kind = OPERAND_PIPE;
    r = parse_pipe(p, &o->pipe);
    if (r < 0)
        return r;
    p->depth--;
    if (*p->p != ')')
        return fail(p, "unclosed left paren");
    p->p++;
    return 0;
}

/* What may stand right behind an operand. */
static bool ends_operand(const struct parser *p)
{
    return !*p->p || is_space(*p->p) || strchr(")|,=:", *p->p) || at_close(p);
}

static bool begins_number(const char *s)
{
    s += *s == '-' || *s == '+';
    return *s >= '0' && *s <= '9';
}

static int parse_operand(struct parser *p, struct operand **ret)
{
    struct operand *o = arena_alloc(&p->t->arena, sizeof *o);
    char c = *p->p;
    int r = 0;

    if (c == '.') {
        o->kind = OPERAND_DOT;
        if (!is_word(p->p[1]))
            p->p++;
    } else if (c == '$') {
        const char *start = p->p++;

        while (is_word(*p->p))
            p->p++;
        o->kind = OPERAND_VAR;
        o->text = arena_strndup(&p->t->arena, start, (size_t)(p->p - start));
    } else if (c == '(') {
        r = parse_parentheses(p, o);
    } else if (c == '"' || c == '`' || c == '\'') {
        r = parse_quoted(p, o);
    } else if (begins_number(p->p)) {
        r = parse_number(p, o);
        *ret = o;
        return r;
    } else if (is_word(c)) {
        r = parse_word(p, o);
    } else {
        AUTOFREE char *what = xasprintf("unexpected \"%c\" in operand", c ? c : ' ');

        return fail(p, c ? what : "unclosed action");
    }
    if (r < 0)
        return r;
    r = parse_fields(p, o);
    if (r < 0)
        return r;
    if (!ends_operand(p)) {
        AUTOFREE char *what = xasprintf("unexpected \"%c\" in operand", *p->p);

        return fail(p, what);
    }
    *ret = o;
    return 0;
}

static int parse_call(struct parser *p, struct call **ret)
{
    struct call *c = arena_alloc(&p->t->arena, sizeof *c);
    struct operand **tail = &c->operands;

    for (;;) {
        int r;

        skip_space(p);
        if (!*p->p || at_close(p) || *p->p == '|' || *p->p == ')')
            break;
        r = parse_operand(p, tail);
        if (r < 0)
            return r;
        tail = &(*tail)->next;
    }
    if (!c->operands)
        return fail(p, *p->p ? "missing value for command" : "unclosed action");
    *ret = c;
    return 0;
}

/* "$a :=", "$a =", "$i, $e :=" in front of a pipe; nothing when it is none. */
static int parse_variables(struct parser *p, struct pipe *pipe)
{
    const char *saved = p->p;

    for (int n = 0; n < 2 && *p->p == '$'; n++) {
        const char *start = p->p++;

        while (is_word(*p->p))
            p->p++;
        pipe->var[n] = arena_strndup(&p->t->arena, start, (size_t)(p->p - start));
        skip_space(p);
        if (!strncmp(p->p, ":=", 2) || (*p->p == '=' && n == 0)) {
            pipe->assign = *p->p == '=';
            pipe->nvars = n + 1;
            p->p += pipe->assign ? 1 : 2;
            return 0;
        }
        if (*p->p != ',')
            break;
        p->p++;
        skip_space(p);
    }
    p->p = saved;
    return 0;
}

static int parse_pipe(struct parser *p, const struct pipe **ret)
{
    struct pipe *pipe = arena_alloc(&p->t->arena, sizeof *pipe);
    struct call **tail = &pipe->calls;
    int r;

    skip_space(p);
    r = parse_variables(p, pipe);
    for (;;) {
        if (r == 0)
            r = parse_call(p, tail);
        if (r < 0)
            return r;
        if (*p->p != '|')
            break;
        p->p++;
        tail = &(*tail)->next;
    }
    for (struct call *c = pipe->calls->next; c; c = c->next) {
        if (c->operands->kind != OPERAND_FUNC)
            return fail(p, "non executable command in pipeline");
    }
    *ret = pipe;
    return 0;
}

/* --- Nodes ------------------------------------------------------------------------------- */

static enum keyword take_keyword(struct parser *p)
{
    static const char *const words[] = {
        [KEYWORD_IF] = "if",     [KEYWORD_RANGE] = "range", [KEYWORD_WITH] = "with",
        [KEYWORD_ELSE] = "else", [KEYWORD_END] = "end",
    };

    for (size_t i = KEYWORD_IF; i < ARRAY_SIZE(words); i++) {
        size_t len = strlen(words[i]);

        if (!strncmp(p->p, words[i], len) && !is_word(p->p[len])) {
            p->p += len;
            return (enum keyword)i;
        }
    }
    return KEYWORD_NONE;
}

/* The text up to the next action or the end; p->p then stands behind "{{". NULL: no text. */
static struct node *take_text(struct parser *p, bool *ret_action)
{
    const char *start = p->p;
    const char *open = strstr(start, "{{");
    const char *end = open ? open : start + strlen(start);
    struct node *node;

    if (p->trim) {
        while (start < end && is_space(*start))
            start++;
    }
    p->trim = false;
    *ret_action = open != NULL;
    p->p = open ? open + 2 : end;
    if (open && p->p[0] == '-' && is_space(p->p[1])) {
        p->p++;
        while (end > start && is_space(end[-1]))
            end--;
    }
    if (start == end)
        return NULL;
    node = arena_alloc(&p->t->arena, sizeof *node);
    node->kind = NODE_TEXT;
    node->text = arena_strndup(&p->t->arena, start, (size_t)(end - start));
    node->len = (size_t)(end - start);
    return node;
}

static int parse_list(struct parser *p, struct node **ret, enum keyword *ret_ended);

/* After {{if, {{range or {{with: condition, body, else part, {{end}}. */
static int parse_block(struct parser *p, enum keyword keyword, struct node **ret)
{
    struct node *node = arena_alloc(&p->t->arena, sizeof *node);
    enum keyword ended;
    int r;

    if (++p->depth > DEPTH_MAX)
        return fail(p, "nested too deeply");
    node->kind = keyword == KEYWORD_IF      ? NODE_IF
                 : keyword == KEYWORD_RANGE ? NODE_RANGE
                                            : NODE_WITH;
    r = parse_pipe(p, &node->pipe);
    if (r == 0)
        r = expect_close(p);
    if (r == 0)
        r = parse_list(p, &node->then, &ended);
    if (r < 0)
        return r;
    if (ended == KEYWORD_ELSE) {
        skip_space(p);
        if (take_keyword(p) == KEYWORD_IF) { /* else if: a block inside, sharing this one's end */
            r = parse_block(p, KEYWORD_IF, &node->otherwise);
            ended = KEYWORD_END;
        } else {
            r = expect_close(p);
            if (r == 0)
                r = parse_list(p, &node->otherwise, &ended);
            if (r == 0 && ended == KEYWORD_END)
                r = expect_close(p);
        }
    } else if (ended == KEYWORD_END) {
        r = expect_close(p);
    }
    if (r < 0)
        return r;
    p->depth--;
    if (ended != KEYWORD_END)
        return fail(p, ended == KEYWORD_ELSE ? "unexpected {{else}}" : "unexpected EOF");
    *ret = node;
    return 0;
}

static int skip_comment(struct parser *p)
{
    const char *end = strstr(p->p + 2, "*/");

    if (!end)
        return fail(p, "unclosed comment");
    p->p = end + 2;
    return expect_close(p);
}

/* Nodes up to {{else or {{end (what follows the keyword is not read yet) or the text's end. */
static int parse_list(struct parser *p, struct node **ret, enum keyword *ret_ended)
{
    struct node **tail = ret;

    *ret_ended = KEYWORD_NONE;
    for (;;) {
        bool action;
        struct node *text = take_text(p, &action);
        struct node *node;
        enum keyword keyword;
        int r;

        if (text) {
            *tail = text;
            tail = &text->next;
        }
        if (!action)
            return 0;
        skip_space(p);
        if (!strncmp(p->p, "/*", 2)) {
            r = skip_comment(p);
            if (r < 0)
                return r;
            continue;
        }
        keyword = take_keyword(p);
        if (keyword == KEYWORD_ELSE || keyword == KEYWORD_END) {
            *ret_ended = keyword;
            return 0;
        }
        if (keyword != KEYWORD_NONE) {
            r = parse_block(p, keyword, &node);
        } else {
            node = arena_alloc(&p->t->arena, sizeof *node);
            node->kind = NODE_OUT;
            r = parse_pipe(p, &node->pipe);
            if (r == 0)
                r = expect_close(p);
        }
        if (r < 0)
            return r;
        *tail = node;
        tail = &node->next;
    }
}

int template_parse(const char *text, struct template **ret, struct error *e)
{
    AUTOPTR(template) struct template *t = xcalloc(1, sizeof *t);
    struct parser p = {.t = t, .start = text, .p = text, .e = e};
    enum keyword ended;
    int r;

    if (strlen(text) > TEXT_MAX)
        return error_set(e, ERR_INVALID, "template parsing error: it is longer than 64 KiB");
    r = parse_list(&p, &t->nodes, &ended);
    if (r < 0)
        return r;
    if (ended != KEYWORD_NONE)
        return fail(&p, ended == KEYWORD_END ? "unexpected {{end}}" : "unexpected {{else}}");
    *ret = take_ptr(t);
    return 0;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    arena_done(&t->arena);
    free(t);
}
