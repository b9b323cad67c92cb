/* SPDX-License-Identifier: Apache-2.0 */
/* Running of templates. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/template-value.h"

#define VARIABLES_MAX 64
#define ARGS_MAX      32
#define STEPS_MAX     2000000 /* a template that loops over its own data must end */

struct variable {
    const char *name;
    struct tvalue value;
};

struct run {
    struct arena arena;
    struct buf *out;
    struct variable vars[VARIABLES_MAX];
    size_t nvars;
    unsigned steps;
    struct error *e;
};

static int fail(struct run *run, const char *fmt, const char *arg)
{
    AUTOFREE char *what = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    what = xasprintf(fmt, arg);
#pragma GCC diagnostic pop
    return error_set(run->e, ERR_INVALID, "template: :1: executing \"\": %s", what);
}

static int eval_pipe(struct run *run, const struct pipe *pipe, const struct tvalue *dot,
                     struct tvalue *ret);

/* Follows .A.B from a value. */
static int eval_fields(struct run *run, const struct operand *o, struct tvalue *v)
{
    for (size_t i = 0; i < o->nfields; i++) {
        struct tvalue member = {0};
        int r = tvalue_member(v, o->fields[i], &member);

        if (v->kind == TV_NIL)
            return fail(run, "nil pointer evaluating interface {}.%s", o->fields[i]);
        if (r == 0 && v->kind == TV_JSON)
            return fail(run, "map has no entry for key \"%s\"", o->fields[i]);
        if (r <= 0)
            return fail(run, "can't evaluate field %s here", o->fields[i]);
        *v = member;
    }
    return 0;
}

static int eval_variable(struct run *run, const char *name, struct tvalue *ret)
{
    for (size_t i = run->nvars; i-- > 0;) {
        if (STREQ(run->vars[i].name, name)) {
            *ret = run->vars[i].value;
            return 0;
        }
    }
    return fail(run, "undefined variable \"%s\"", name);
}

/* An operand as a value; functions are called without arguments. */
static int eval_operand(struct run *run, const struct operand *o, const struct tvalue *dot,
                        struct tvalue *ret)
{
    struct tvalue v = {0};
    int r = 0;

    if (++run->steps > STEPS_MAX)
        return fail(run, "%s", "it runs for too long");
    switch (o->kind) {
    case OPERAND_DOT:
        v = *dot;
        break;
    case OPERAND_VAR:
        r = eval_variable(run, o->text, &v);
        break;
    case OPERAND_FUNC:
        r = template_call(&run->arena, o->text, NULL, 0, &v, run->e);
        break;
    case OPERAND_STR:
        v = TVALUE_STR(o->text);
        break;
    case OPERAND_INT:
        v = TVALUE_INT(o->i);
        break;
    case OPERAND_FLOAT:
        v = (struct tvalue){.kind = TV_FLOAT, .f = o->f};
        break;
    case OPERAND_BOOL:
        v = TVALUE_BOOL(o->i);
        break;
    case OPERAND_NIL:
        break;
    case OPERAND_PIPE:
        r = eval_pipe(run, o->pipe, dot, &v);
        break;
    }
    if (r == 0)
        r = eval_fields(run, o, &v);
    if (r == 0)
        *ret = v;
    return r;
}

/* {{.Label "name"}}: the one method with an argument that rows have. */
static bool is_label_method(const struct operand *o, const struct tvalue *dot)
{
    return o->kind == OPERAND_DOT && o->nfields == 1 && STREQ(o->fields[0], "Label") &&
           dot->kind == TV_ROW && dot->row->labels;
}

static int eval_call(struct run *run, const struct call *c, const struct tvalue *dot,
                     const struct tvalue *last, struct tvalue *ret)
{
    const struct operand *first = c->operands;
    struct tvalue args[ARGS_MAX];
    size_t n = 0;

    if (!first->next && !last)
        return eval_operand(run, first, dot, ret);
    for (const struct operand *o = first->next; o; o = o->next) {
        int r;

        if (n + 1 >= ARGS_MAX)
            return fail(run, "%s", "too many arguments");
        r = eval_operand(run, o, dot, &args[n]);
        if (r < 0)
            return r;
        n++;
    }
    if (last)
        args[n++] = *last;
    if (is_label_method(first, dot) && n == 1 && args[0].kind == TV_STR) {
        const char *s = json_value_str(json_value_get(dot->row->labels, args[0].s));

        *ret = TVALUE_STR(s ? s : "");
        return 0;
    }
    if (first->kind != OPERAND_FUNC || first->nfields)
        return fail(run, "%s", "can't give argument to non-function");
    return template_call(&run->arena, first->text, args, n, ret, run->e);
}

static int set_variable(struct run *run, const char *name, bool assign, const struct tvalue *v)
{
    for (size_t i = run->nvars; assign && i-- > 0;) {
        if (STREQ(run->vars[i].name, name)) {
            run->vars[i].value = *v;
            return 0;
        }
    }
    if (assign)
        return fail(run, "undefined variable \"%s\"", name);
    if (run->nvars == VARIABLES_MAX)
        return fail(run, "%s", "too many variables");
    run->vars[run->nvars++] = (struct variable){name, *v};
    return 0;
}

static int eval_pipe(struct run *run, const struct pipe *pipe, const struct tvalue *dot,
                     struct tvalue *ret)
{
    struct tvalue v = {0};
    const struct tvalue *last = NULL;

    for (const struct call *c = pipe->calls; c; c = c->next) {
        struct tvalue result = {0};
        int r = eval_call(run, c, dot, last, &result);

        if (r < 0)
            return r;
        v = result;
        last = &v;
    }
    *ret = v;
    return 0;
}

static int run_list(struct run *run, const struct node *list, const struct tvalue *dot);

/* One round of {{range}}: the variables, the dot, the body. */
static int run_round(struct run *run, const struct node *node, const struct tvalue *key,
                     const struct tvalue *element)
{
    const struct pipe *pipe = node->pipe;
    size_t saved = run->nvars;
    int r = 0;

    if (pipe->nvars == 2) {
        r = set_variable(run, pipe->var[0], pipe->assign, key);
        if (r == 0)
            r = set_variable(run, pipe->var[1], pipe->assign, element);
    } else if (pipe->nvars == 1) {
        r = set_variable(run, pipe->var[0], pipe->assign, element);
    }
    if (r == 0)
        r = run_list(run, node->then, element);
    run->nvars = saved;
    return r;
}

struct member {
    const char *key;
    const struct json_value *value;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *ma = a, *mb = b;

    return strcmp(ma->key, mb->key);
}

/* Objects are walked in the order of their keys, as Go does. */
static int range_object(struct run *run, const struct node *node, const struct json_value *obj)
{
    size_t n = json_value_len(obj);
    AUTOFREE struct member *members = xcalloc(n + 1, sizeof *members);
    int r = 0;

    for (size_t i = 0; i < n; i++)
        members[i].value = json_value_member(obj, i, &members[i].key);
    qsort(members, n, sizeof *members, compare_members);
    for (size_t i = 0; i < n && r == 0; i++) {
        struct tvalue key = TVALUE_STR(members[i].key);
        struct tvalue element = tvalue_from_json(members[i].value);

        r = run_round(run, node, &key, &element);
    }
    return r;
}

static int run_range(struct run *run, const struct node *node, const struct tvalue *v,
                     const struct tvalue *dot)
{
    int64_t n = v->kind == TV_INT ? v->i : tvalue_len(v);

    if (v->kind == TV_STR || v->kind == TV_BOOL || v->kind == TV_FLOAT || v->kind == TV_ROW)
        return fail(run, "%s", "range can't iterate over this value");
    if (n <= 0 || v->kind == TV_NIL)
        return run_list(run, node->otherwise, dot);
    if (v->kind == TV_JSON && json_value_kind(v->json) == JV_OBJ)
        return range_object(run, node, v->json);
    for (int64_t i = 0; i < n; i++) {
        struct tvalue key = TVALUE_INT(i);
        struct tvalue element = v->kind == TV_INT ? key : tvalue_at(v, (size_t)i);
        int r = run_round(run, node, &key, &element);

        if (r < 0)
            return r;
    }
    return 0;
}

static int run_node(struct run *run, const struct node *node, const struct tvalue *dot)
{
    struct tvalue v = {0};
    size_t saved = run->nvars;
    int r;

    if (++run->steps > STEPS_MAX)
        return fail(run, "%s", "it runs for too long");
    if (node->kind == NODE_TEXT)
        r = buf_append(run->out, node->text, node->len);
    else
        r = eval_pipe(run, node->pipe, dot, &v);
    if (r == 0 && node->kind != NODE_TEXT && node->kind != NODE_RANGE && node->pipe->nvars)
        r = set_variable(run, node->pipe->var[0], node->pipe->assign, &v);
    if (r < 0)
        return r == -EFBIG ? fail(run, "%s", "the result is too long") : r;
    switch (node->kind) {
    case NODE_TEXT:
        return 0;
    case NODE_OUT:
        if (node->pipe->nvars)
            return 0; /* the variable stays until its block ends */
        r = tvalue_print(&v, run->out);
        return r < 0 ? fail(run, "%s", "the result is too long") : 0;
    case NODE_IF:
        r = run_list(run, tvalue_is_true(&v) ? node->then : node->otherwise, dot);
        break;
    case NODE_WITH:
        if (tvalue_is_true(&v))
            r = run_list(run, node->then, &v);
        else
            r = run_list(run, node->otherwise, dot);
        break;
    case NODE_RANGE:
        r = run_range(run, node, &v, dot);
        break;
    }
    run->nvars = saved;
    return r;
}

static int run_list(struct run *run, const struct node *list, const struct tvalue *dot)
{
    size_t saved = run->nvars;
    int r = 0;

    for (const struct node *node = list; node && r == 0; node = node->next)
        r = run_node(run, node, dot);
    run->nvars = saved;
    return r;
}

int template_execute(const struct template *t, const struct template_data *data, struct buf *out,
                     struct error *e)
{
    struct run run = {.out = out, .nvars = 1, .e = e};
    struct tvalue dot = tvalue_from_json(data->json);
    int r;

    if (data->row)
        dot = (struct tvalue){.kind = TV_ROW, .row = data->row};
    run.vars[0] = (struct variable){"$", dot};
    r = run_list(&run, t->nodes, &dot);
    arena_done(&run.arena);
    return r;
}
