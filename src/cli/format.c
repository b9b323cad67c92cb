/* SPDX-License-Identifier: Apache-2.0 */
/* See format.h. */
#include "cli/format.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "cli/cli.h"

#define COLUMN_MIN  10
#define COLUMN_GAP  3
#define COLUMNS_MAX 32

char *format_unescape(const char *format)
{
    char *copy = xstrdup(format), *to = copy;

    for (const char *p = format; *p; p++) {
        if (p[0] == '\\' && (p[1] == 't' || p[1] == 'n'))
            *to++ = *++p == 't' ? '\t' : '\n';
        else
            *to++ = *p;
    }
    *to = '\0';
    return copy;
}

/* Characters, not bytes, of UTF-8 text. */
static size_t text_width(const char *s, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

/* Calls the visitor with each cell; the last of a line belongs to no column. */
static void column_widths(const char *text, size_t widths[COLUMNS_MAX])
{
    while (*text) {
        for (size_t column = 0; *text && *text != '\n'; column++) {
            size_t len = strcspn(text, "\t\n");

            if (text[len] == '\t' && column < COLUMNS_MAX) {
                size_t width = text_width(text, len) + COLUMN_GAP;

                if (width > widths[column])
                    widths[column] = width;
            }
            text += len + (text[len] == '\t');
        }
        text += *text == '\n';
    }
}

void table_align(const char *text, struct buf *out)
{
    size_t widths[COLUMNS_MAX];

    for (size_t i = 0; i < COLUMNS_MAX; i++)
        widths[i] = COLUMN_MIN;
    column_widths(text, widths);
    while (*text) {
        for (size_t column = 0; *text && *text != '\n'; column++) {
            size_t len = strcspn(text, "\t\n");

            (void)buf_append(out, text, len);
            if (text[len] == '\t' && column < COLUMNS_MAX)
                (void)buf_printf(out, "%*s", (int)(widths[column] - text_width(text, len)), "");
            text += len + (text[len] == '\t');
        }
        if (*text == '\n')
            text++;
        (void)buf_putc(out, '\n');
    }
}

static int print_row(struct formatter *f, const char *const *values,
                     const struct json_value *labels, struct error *e)
{
    struct template_row row = {f->names, values, labels};
    struct template_data data = {.row = &row};
    int r = template_execute(f->template, &data, &f->out, e);

    return r < 0 ? r : buf_putc(&f->out, '\n');
}

static int print_header(struct formatter *f, struct error *e)
{
    AUTOPTR(json_value) struct json_value *labels = NULL;
    const char *values[ARRAY_SIZE(f->names)] = {NULL};

    for (size_t i = 0; f->fields[i].name; i++)
        values[i] = f->fields[i].header;
    (void)!json_value_parse("{}", 2, &labels, NULL);
    return print_row(f, values, labels, e);
}

int formatter_init(struct formatter *f, const char *format, const char *by_default,
                   const struct formatter_field *fields, struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t n = 0;
    int r;

    *f = (struct formatter){.fields = fields, .out = BUF_INIT(BUF_UNLIMITED)};
    for (; fields[n].name; n++)
        f->names[n] = fields[n].name;
    if (!format || STREQ(format, "table") || !*format) {
        f->table = true;
        text = xstrdup(by_default);
    } else if (STREQ(format, "json")) {
        text = xstrdup("{{json .}}");
    } else if (str_has_prefix(format, "table")) {
        f->table = true;
        text = format_unescape(format + strlen("table") + strspn(format + strlen("table"), " "));
    } else {
        text = format_unescape(format);
    }
    r = template_parse(text, &f->template, e);
    if (r == 0 && f->table)
        r = print_header(f, e);
    return r;
}

int formatter_row(struct formatter *f, const char *const *values, const struct json_value *labels,
                  struct error *e)
{
    return print_row(f, values, labels, e);
}

void formatter_finish(struct formatter *f)
{
    AUTO(buf) struct buf aligned = BUF_INIT(BUF_UNLIMITED);

    if (f->table) {
        table_align(buf_str(&f->out), &aligned);
        out_write(buf_str(&aligned), aligned.len);
    } else {
        out_write(buf_str(&f->out), f->out.len);
    }
}

void formatter_done(struct formatter *f)
{
    template_free(f->template);
    buf_done(&f->out);
}

int format_object(const char *format, const struct json_value *v, struct buf *out, struct error *e)
{
    AUTOPTR(template) struct template *t = NULL;
    AUTOFREE char *text = NULL;
    struct template_data data = {.json = v};
    int r;

    if (!format || !*format || STREQ(format, "json")) {
        json_value_print(v, false, out);
        return buf_putc(out, '\n');
    }
    text = format_unescape(format);
    r = template_parse(text, &t, e);
    if (r == 0)
        r = template_execute(t, &data, out, e);
    return r < 0 ? r : buf_putc(out, '\n');
}
