/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable byte buffer with a mandatory maximum. The content is always followed by a NUL that
 * is not counted, so that text in it can be used as a C string.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "base/macros.h"

struct buf {
    char *data; /* NULL while empty and never grown */
    size_t len;
    size_t cap;
    size_t max; /* the most bytes it may hold */
};

#define BUF_INIT(maximum)                                                                          \
    {                                                                                              \
        .max = (maximum)                                                                           \
    }
#define BUF_UNLIMITED ((size_t)1 << 40) /* for content whose size this program decides itself */

/* Appends; 0, or -EFBIG when the maximum would be passed (the buffer is then unchanged). */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_puts(struct buf *b, const char *s);
int buf_putc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Makes room for `len` more bytes and returns where to write them, or NULL at the maximum.
 * The caller adds what it wrote to b->len with buf_commit(). */
char *buf_reserve(struct buf *b, size_t len) MUST_CHECK;
void buf_commit(struct buf *b, size_t len);

/* Removes the first `len` bytes. */
void buf_consume(struct buf *b, size_t len);
void buf_clear(struct buf *b);

/* The content as a string the caller owns; the buffer is empty afterwards. Never NULL. */
char *buf_take(struct buf *b) MUST_CHECK;

/* The content as a C string, "" when empty. */
const char *buf_str(const struct buf *b);
void buf_done(struct buf *b);
