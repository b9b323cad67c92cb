/* SPDX-License-Identifier: Apache-2.0 */
/* The parsed form of a template, between template-parse.c and template-exec.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/template.h"

/* Memory that is given back all at once. */
struct arena_block;
struct arena {
    struct arena_block *blocks;
};
void *arena_alloc(struct arena *a, size_t size) MUST_CHECK __attribute__((returns_nonnull));
char *arena_strndup(struct arena *a, const char *s, size_t len) MUST_CHECK
    __attribute__((returns_nonnull));
void arena_done(struct arena *a);

enum operand_kind {
    OPERAND_DOT,  /* . or .A.B */
    OPERAND_VAR,  /* $x or $x.A; text is the name with its $ */
    OPERAND_FUNC, /* a function's name */
    OPERAND_STR,
    OPERAND_INT,
    OPERAND_FLOAT,
    OPERAND_BOOL,
    OPERAND_NIL,
    OPERAND_PIPE, /* ( … ) */
};

struct pipe;
struct operand {
    enum operand_kind kind;
    const char *text;
    int64_t i; /* INT, BOOL */
    double f;
    const struct pipe *pipe;
    const char **fields; /* .A.B behind it */
    size_t nfields;
    struct operand *next;
};

struct call { /* an operand and its arguments */
    struct operand *operands;
    struct call *next; /* gets this one's result as its last argument */
};

struct pipe {
    const char *var[2]; /* declared or assigned: $a or, in range, $i, $e */
    int nvars;
    bool assign; /* = and not := */
    struct call *calls;
};

enum node_kind { NODE_TEXT, NODE_OUT, NODE_IF, NODE_RANGE, NODE_WITH };

struct node {
    enum node_kind kind;
    const char *text;
    size_t len;
    const struct pipe *pipe;
    struct node *then, *otherwise;
    struct node *next;
};

struct template
{
    struct arena arena;
    struct node *nodes;
};

bool template_is_function(const char *name);
