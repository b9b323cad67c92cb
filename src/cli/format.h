/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists as people ask for them: aligned tables, --format with "table …", "json" or a template,
 * one line a row.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "cli/template.h"

struct formatter_field {
    const char *name;   /* {{.ID}} */
    const char *header; /* CONTAINER ID */
};

struct formatter {
    const struct formatter_field *fields;
    const char *names[32];
    struct template *template;
    bool table;
    struct buf out;
};

/*
 * format: what the user gave, NULL or "table" for the default, which is a template without the
 * word table ("{{.ID}}\t{{.Names}}"). fields end with a NULL name; at most 31.
 */
int formatter_init(struct formatter *f, const char *format, const char *by_default,
                   const struct formatter_field *fields, struct error *e) MUST_CHECK;
/* values: one a field, in their order; labels may be NULL. */
int formatter_row(struct formatter *f, const char *const *values, const struct json_value *labels,
                  struct error *e) MUST_CHECK;
/* Prints the rows. */
void formatter_finish(struct formatter *f);
void formatter_done(struct formatter *f);

/* Lines of cells separated by tabs, as aligned columns (at least 10 wide, 3 between). */
void table_align(const char *text, struct buf *out);

/* "\t" and "\n" typed in a format are what they say. */
char *format_unescape(const char *format) MUST_CHECK;

/* --format of inspect and other single objects: executes the template (or, for "json" and NULL,
 * prints it) on the value and adds a newline. */
int format_object(const char *format, const struct json_value *v, struct buf *out,
                  struct error *e) MUST_CHECK;
