/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a running template and the functions on them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/template-priv.h"

enum tvalue_kind {
    TV_NIL,
    TV_STR,
    TV_INT,
    TV_FLOAT,
    TV_BOOL,
    TV_JSON, /* a list or an object */
    TV_ROW,
    TV_LIST, /* of strings, made by split */
};

struct tvalue {
    enum tvalue_kind kind;
    const char *s;
    int64_t i; /* INT, BOOL */
    double f;
    const struct json_value *json;
    const struct template_row *row;
    const char *const *list;
    size_t n;          /* of list */
    const char *empty; /* NIL: how Go prints a value of its type; NULL: unknown */
};

#define TVALUE_STR(text)                                                                           \
    (struct tvalue)                                                                                \
    {                                                                                              \
        .kind = TV_STR, .s = (text)                                                                \
    }
#define TVALUE_INT(number)                                                                         \
    (struct tvalue)                                                                                \
    {                                                                                              \
        .kind = TV_INT, .i = (number)                                                              \
    }
#define TVALUE_BOOL(truth)                                                                         \
    (struct tvalue)                                                                                \
    {                                                                                              \
        .kind = TV_BOOL, .i = (truth)                                                              \
    }

struct tvalue tvalue_from_json(const struct json_value *v);
bool tvalue_is_true(const struct tvalue *v);
/* Appends it as Go prints it (%v). -EFBIG at the buffer's maximum. */
int tvalue_print(const struct tvalue *v, struct buf *out);
int tvalue_print_json(const struct tvalue *v, struct buf *out);
/* Number of elements of lists, objects, texts; -1 for others. */
int64_t tvalue_len(const struct tvalue *v);
/* Element of a list. */
struct tvalue tvalue_at(const struct tvalue *list, size_t i);
/* Value of a member: 1, 0 when there is none, -EINVAL when v has no members. */
int tvalue_member(const struct tvalue *v, const char *name, struct tvalue *ret);

/* Calls a function by its name; texts it makes live in the arena. */
int template_call(struct arena *arena, const char *name, const struct tvalue *args, size_t n,
                  struct tvalue *ret, struct error *e) MUST_CHECK;
