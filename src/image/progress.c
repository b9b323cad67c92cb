/* SPDX-License-Identifier: Apache-2.0 */
/* One line of Docker's progress stream, with the bar that older clients print as it is. */
#include <string.h>

#include "base/json.h"
#include "image/image.h"

#define BAR_WIDTH 50

/* "1.234MB", as Docker's units.HumanSize with four digits. */
static void put_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double v = (double)bytes;
    size_t i = 0;

    while (v >= 1000 && i + 1 < ARRAY_SIZE(units)) {
        v /= 1000;
        i++;
    }
    (void)buf_printf(out, "%.4g%s", v, units[i]);
}

static void put_bar(struct buf *out, uint64_t current, uint64_t total)
{
    if (total > 0 && current <= total) {
        unsigned filled = (unsigned)(current * BAR_WIDTH / total);
        (void)buf_putc(out, '[');
        for (unsigned i = 0; i < filled; i++)
            (void)buf_putc(out, '=');
        (void)buf_printf(out, ">%*s]  ", (int)(BAR_WIDTH - filled), "");
    }
    put_size(out, current);
    if (total > 0 && current <= total) {
        (void)buf_putc(out, '/');
        put_size(out, total);
    }
}

void image_progress_print(const struct image_progress *p, struct buf *out)
{
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    if (p->stream)
        jsonw_str(&w, "stream", p->stream);
    if (p->status)
        jsonw_str(&w, "status", p->status);
    if (p->has_detail) {
        jsonw_begin(&w, "progressDetail");
        if (p->current > 0 || p->total > 0)
            jsonw_uint(&w, "current", p->current);
        if (p->total > 0)
            jsonw_uint(&w, "total", p->total);
        jsonw_end(&w);
    }
    if (p->has_detail && p->current > 0) {
        AUTO(buf) struct buf bar = BUF_INIT(256);
        put_bar(&bar, p->current, p->total);
        jsonw_str(&w, "progress", buf_str(&bar));
    }
    if (p->id)
        jsonw_str(&w, "id", p->id);
    if (p->aux)
        jsonw_raw(&w, "aux", p->aux);
    jsonw_end(&w);
    (void)buf_puts(out, "\r\n");
}
