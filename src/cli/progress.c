/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress of pulls and loads: a stream of JSON objects, one a line. On a terminal each id has one
 * line that is rewritten in place; elsewhere each change of an id's status is one plain line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/time.h"
#include "cli/image.h"
#include "cli/units.h"

#define MESSAGE_MAX ((size_t)4 << 20)
#define IDS_MAX     1024
#define TOTAL       "Total"

struct line {
    char *id, *status;
};

struct progress {
    int fd;
    bool quiet, terminal;
    size_t columns, rows; /* of the terminal */
    struct line *lines; /* in the order of appearance; on a terminal the last `count` lines shown */
    size_t count;
    char *aux; /* the last one's text, when it is wanted */
    bool wants_aux;
    char *image; /* what the last "Status: … for IMAGE" named */
};

static void put(const struct progress *p, const struct buf *b)
{
    if (!p->quiet && b->len)
        (void)!fs_write_all(p->fd, b->data, b->len);
}

/* The line of an id; adds one. NULL: too many. */
static struct line *line_of(struct progress *p, const char *id, bool *ret_new)
{
    *ret_new = false;
    for (size_t i = 0; i < p->count; i++) {
        if (STREQ(p->lines[i].id, id))
            return &p->lines[i];
    }
    if (p->count == IDS_MAX)
        return NULL;
    p->lines = xreallocarray(p->lines, p->count + 1, sizeof *p->lines);
    p->lines[p->count] = (struct line){.id = xstrdup(id), .status = xstrdup("")};
    *ret_new = true;
    return &p->lines[p->count++];
}

static void forget_lines(struct progress *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->lines[i].id);
        free(p->lines[i].status);
    }
    free(p->lines);
    p->lines = NULL;
    p->count = 0;
}

/* One line of the terminal, never longer than it is wide: what wraps cannot be rewritten in place. */
struct row {
    struct buf text;
    size_t used, columns; /* characters; the last column stays free */
};

/* Adds the piece when it fits; cut is for the first one, of which as much is shown as there is room. */
static bool row_add(struct row *row, const char *piece, bool cut)
{
    size_t chars = 0, len = 0;

    for (; piece[len]; len++) {
        bool begins = ((unsigned char)piece[len] & 0xc0) != 0x80;

        if (begins && row->used + chars + 1 >= row->columns)
            break;
        chars += begins;
    }
    if (piece[len] && !cut)
        return false;
    row->used += chars;
    return buf_append(&row->text, piece, len) == 0;
}

/* " [=====>      ]", on wide terminals: rate and time left stand behind it. */
static void add_bar(struct row *row, double share)
{
    char bar[64] = " [";
    int width = row->columns > 132 ? 50 : 25, done = (int)(share * width);

    if (row->columns <= 110)
        return;
    memset(bar + 2, '=', (size_t)done);
    memset(bar + 2 + done, ' ', (size_t)(width - done));
    if (done < width)
        bar[2 + done] = '>';
    bar[2 + width] = ']';
    (void)row_add(row, bar, false);
}

/* The bar and " 12.3MB/45.6MB", or as a narrow terminal has it " 27%". */
static void add_amount(struct row *row, const struct json_value *detail)
{
    int64_t current = json_value_int(json_value_get(detail, "current"));
    int64_t total = json_value_int(json_value_get(detail, "total"));
    char now[UNITS_MAX], all[UNITS_MAX], text[2 * UNITS_MAX + 8];

    if (current <= 0 && total <= 0)
        return;
    if (total <= 0) {
        (void)snprintf(text, sizeof text, " %8s", units_size4(current, now));
        (void)row_add(row, text, false);
        return;
    }
    if (current > total)
        current = total;
    double share = current > 0 ? (double)current / (double)total : 0;
    add_bar(row, share);
    (void)snprintf(text, sizeof text, " %8s/%s", units_size4(current, now),
                   units_size4(total, all));
    if (row_add(row, text, false))
        return;
    (void)snprintf(text, sizeof text, " %3d%%", (int)(share * 100));
    (void)row_add(row, text, false);
}

/* "  5.1MB/s  3s left": of one layer, or of all. */
static void add_rate(struct row *row, const struct json_value *amount)
{
    int64_t rate = json_value_int(json_value_get(amount, "rate"));
    int64_t left = json_value_int(json_value_get(amount, "left"));
    char size[UNITS_MAX], text[64];

    if (rate <= 0)
        return;
    (void)snprintf(text, sizeof text, "  %s/s", units_size4(rate, size));
    (void)row_add(row, text, false);
    if (left >= 3600)
        (void)snprintf(text, sizeof text, "  %lldh%02lldm left", (long long)left / 3600,
                       (long long)left / 60 % 60);
    else if (left >= 60)
        (void)snprintf(text, sizeof text, "  %lldm%02llds left", (long long)left / 60,
                       (long long)left % 60);
    else
        (void)snprintf(text, sizeof text, "  %llds left", (long long)left);
    if (left > 0)
        (void)row_add(row, text, false);
}

static void read_size(struct progress *p)
{
    struct winsize ws;

    p->columns = 80;
    p->rows = 24;
    if (ioctl(p->fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col && ws.ws_row) {
        p->columns = ws.ws_col;
        p->rows = ws.ws_row;
    }
}

static void show_in_place(struct progress *p, const char *id, const char *status,
                          const struct json_value *detail)
{
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    bool is_new;
    struct line *line = line_of(p, id, &is_new);

    if (!line)
        return;
    read_size(p); /* it may change at any time */
    size_t up = is_new ? 0 : p->count - (size_t)(line - p->lines);
    if (up >= p->rows)
        return; /* it has left the screen: there is no way back to it */
    struct row row = {.text = BUF_INIT(4096), .columns = p->columns};
    AUTOFREE char *text = xasprintf("%s: %s", id, status);
    (void)row_add(&row, text, true);
    add_amount(&row, detail);
    add_rate(&row, detail);
    if (up)
        (void)buf_printf(&b, "\033[%zuA", up);
    (void)buf_printf(&b, "\033[2K\r%s\r\n", buf_str(&row.text));
    buf_done(&row.text);
    if (up > 1)
        (void)buf_printf(&b, "\033[%zuB", up - 1);
    put(p, &b);
}

static void show_plain(struct progress *p, const char *id, const char *status)
{
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    bool is_new;
    struct line *line = line_of(p, id, &is_new);

    if (!line || STREQ(line->status, status)) /* further bytes of the same step */
        return;
    str_replace(&line->status, status);
    (void)buf_printf(&b, "%s: %s\n", id, status);
    put(p, &b);
}

/* One line below the layers', which are all there when the first bytes come. */
static const char *total_status(const struct json_value *overall)
{
    return json_value_int(json_value_get(overall, "current")) <
                   json_value_int(json_value_get(overall, "total"))
               ? "Downloading"
               : "Downloaded";
}

/* 0, or the error that the message carries. */
static int show_message(struct progress *p, const struct json_value *m, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    const char *error = json_value_str(json_value_get(m, "error"));
    const char *detail = json_value_str(
        json_value_get(json_value_get(m, "errorDetail"), "message"));
    const char *id = json_value_str(json_value_get(m, "id"));
    const char *status = json_value_str(json_value_get(m, "status"));
    const char *stream = json_value_str(json_value_get(m, "stream"));

    if (p->wants_aux && json_value_get(m, "aux")) {
        AUTO(buf) struct buf text = BUF_INIT(BUF_UNLIMITED);
        json_value_print(json_value_get(m, "aux"), false, &text);
        str_replace(&p->aux, buf_str(&text));
    }
    if (detail || error)
        return error_set(e, ERR_INTERNAL, "%s", detail ? detail : error);
    if (stream) {
        (void)buf_puts(&b, stream);
        put(p, &b);
    } else if (id && *id && status) {
        const struct json_value *overall = json_value_get(m, "overall");

        if (p->terminal)
            show_in_place(p, id, status, json_value_get(m, "progressDetail"));
        if (p->terminal && overall)
            show_in_place(p, TOTAL, total_status(overall), overall);
        if (!p->terminal)
            show_plain(p, id, status);
    } else if (status) {
        if (str_has_prefix(status, "Status: ") && strstr(status, " for "))
            str_replace(&p->image, strstr(status, " for ") + 5);
        (void)buf_printf(&b, "%s%s\n", status, p->terminal ? "\r" : "");
        put(p, &b);
        if (p->terminal) /* text below the bars: those above are done with */
            forget_lines(p);
    }
    return 0;
}

static int show_line(struct progress *p, const char *text, size_t len, struct error *e)
{
    AUTOPTR(json_value) struct json_value *m = NULL;

    while (len && strchr(" \r\t", text[len - 1]))
        len--;
    if (!len)
        return 0;
    if (json_value_parse(text, len, &m, NULL) < 0)
        return error_set(e, ERR_INTERNAL, "the daemon's progress is malformed");
    return show_message(p, m, e);
}

static int show_all(struct progress *p, struct http_conn *conn, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    int r = 0;

    while (r == 0) {
        char *room = buf_reserve(&b, 8192), *nl;
        ssize_t n;

        if (!room) {
            r = error_set(e, ERR_TOO_LARGE, "the daemon's progress has an over-long line");
            break;
        }
        n = http_conn_read(conn, room, 8192, e);
        if (n < 0)
            r = (int)n;
        if (n <= 0)
            break;
        buf_commit(&b, (size_t)n);
        while (r == 0 && (nl = memchr(b.data, '\n', b.len))) {
            size_t len = (size_t)(nl - b.data);

            r = show_line(p, b.data, len, e);
            buf_consume(&b, len + 1);
        }
    }
    if (r == 0)
        r = show_line(p, buf_str(&b), b.len, e);
    forget_lines(p);
    return r;
}

int progress_show(struct http_conn *conn, int fd, bool quiet, struct error *e)
{
    AUTOFREE char *image = NULL;

    return progress_show_image(conn, fd, quiet, &image, e);
}

int progress_show_image(struct http_conn *conn, int fd, bool quiet, char **ret_image,
                        struct error *e)
{
    struct progress p = {.fd = fd, .quiet = quiet, .terminal = isatty(fd) == 1};
    int r = show_all(&p, conn, e);

    *ret_image = p.image;
    return r;
}

int progress_show_aux(struct http_conn *conn, int fd, bool quiet, struct json_value **ret_aux,
                      struct error *e)
{
    struct progress p = {.fd = fd, .quiet = quiet, .terminal = isatty(fd) == 1, .wants_aux = true};
    int r = show_all(&p, conn, e);

    if (r >= 0 && p.aux)
        r = json_value_parse(p.aux, strlen(p.aux), ret_aux, e);
    free(p.aux);
    free(p.image);
    return r;
}
