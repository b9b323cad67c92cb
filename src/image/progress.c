/* SPDX-License-Identifier: Apache-2.0 */
/* One line of Docker's progress stream, with the bar that older clients print as it is. */
#include <string.h>

#include "base/json.h"
#include "base/time.h"
#include "image/image-priv.h"

#define BAR_WIDTH    50
#define RATE_STEP_NS (200 * NSEC_PER_MSEC)
#define RATE_SECONDS 3.0 /* what is older than some of these counts little */

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

void rate_meter_update(struct rate_meter *m, int64_t now, uint64_t bytes)
{
    int64_t dt = now - m->at;

    if (m->at == 0 || bytes < m->bytes) { /* the first time, or it began anew */
        *m = (struct rate_meter){.at = now, .bytes = bytes};
    } else if (dt >= RATE_STEP_NS) {
        double seconds = (double)dt / (double)NSEC_PER_SEC;
        double current = (double)(bytes - m->bytes) / seconds;
        double weight = m->rate > 0 ? seconds / (seconds + RATE_SECONDS) : 1;
        m->rate += (current - m->rate) * weight;
        m->at = now;
        m->bytes = bytes;
    }
}

int64_t rate_meter_left(const struct rate_meter *m, uint64_t current, uint64_t total)
{
    return m->rate < 1 || total < current ? -1
                                          : (int64_t)((double)(total - current) / m->rate + 0.999);
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
        if (p->rate > 0) {
            jsonw_uint(&w, "rate", p->rate);
            jsonw_int(&w, "left", p->left);
        }
        jsonw_end(&w);
    }
    if (p->has_detail && p->current > 0) {
        AUTO(buf) struct buf bar = BUF_INIT(256);
        put_bar(&bar, p->current, p->total);
        jsonw_str(&w, "progress", buf_str(&bar));
    }
    if (p->id)
        jsonw_str(&w, "id", p->id);
    if (p->overall.total > 0) {
        jsonw_begin(&w, "overall");
        jsonw_uint(&w, "current", p->overall.current);
        jsonw_uint(&w, "total", p->overall.total);
        if (p->overall.rate > 0) {
            jsonw_uint(&w, "rate", p->overall.rate);
            jsonw_int(&w, "left", p->overall.left);
        }
        jsonw_end(&w);
    }
    if (p->aux)
        jsonw_raw(&w, "aux", p->aux);
    jsonw_end(&w);
    (void)buf_puts(out, "\r\n");
}
