/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of Go's text/template that people type after --format: fields (.A.B), variables,
 * pipelines, parentheses, if / else if / else, range, with, comments, trimming ({{- -}}), and the
 * functions and or not eq ne lt le gt ge index slice len print printf println json join split
 * lower upper title pad truncate.
 *
 * Data is either JSON or a row: named texts, as the lists (ps, images) have them.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

/* A row of a list; everything is borrowed. */
struct template_row {
    const char *const *names; /* field names, NULL-ended */
    const char *const *values;
    const struct json_value *labels; /* for {{.Label "name"}}; NULL: no such method */
};

struct template_data {
    const struct json_value *json; /* or */
    const struct template_row *row;
};

struct template;

/* ERR_INVALID: "template parsing error: template: :1: …". */
int template_parse(const char *text, struct template **ret, struct error *e) MUST_CHECK;
void template_free(struct template *t);
DEFINE_AUTOPTR(struct template, template)

/* Appends the result; on failure what was appended stays (as Go's does). */
int template_execute(const struct template *t, const struct template_data *data, struct buf *out,
                     struct error *e) MUST_CHECK;
