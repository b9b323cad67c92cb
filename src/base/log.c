/* SPDX-License-Identifier: Apache-2.0 */
/* Structured log lines: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/time.h"

static const char *const level_names[LOG_LEVEL_MAX] = {"debug", "info", "warn", "error"};
static _Atomic int current_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

int log_level_parse(const char *name, enum log_level *ret)
{
    if (STREQ(name, "fatal") || STREQ(name, "warning"))
        name = STREQ(name, "fatal") ? "error" : "warn";
    for (int i = 0; i < LOG_LEVEL_MAX; i++) {
        if (STREQ(name, level_names[i])) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Appends text with control bytes made visible, so that one event stays one line. */
static void append_visible(struct buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            (void)buf_puts(b, "\\n");
        else if ((unsigned char)*s < 0x20 || *s == 0x7f)
            (void)buf_printf(b, "\\x%02x", (unsigned char)*s);
        else
            (void)buf_putc(b, *s);
    }
}

void log_write(enum log_level level, const char *msg, const char *fields, ...)
{
    AUTO(buf) struct buf b = BUF_INIT(64 << 10);
    char when[TIME_RFC3339_MAX];

    time_format_rfc3339(time_now_ns(), when);
    (void)buf_printf(&b, "time=%s level=%s msg=\"", when, level_names[level]);
    append_visible(&b, msg);
    (void)buf_putc(&b, '"');
    if (fields) {
        AUTOFREE char *text = NULL;
        va_list ap;

        va_start(ap, fields);
        text = xvasprintf(fields, ap);
        va_end(ap);
        (void)buf_putc(&b, ' ');
        append_visible(&b, text);
    }
    (void)buf_putc(&b, '\n');
    (void)!write(STDERR_FILENO, b.data, b.len);
}
