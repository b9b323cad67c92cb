/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation of small, fixed things: aborts when memory is out. What a peer can size (bodies,
 * lists, archives) never comes here: it grows through buf.h with a mandatory maximum.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "base/macros.h"

/* Like malloc, calloc, realloc (array form), strdup, strndup, asprintf; never return NULL. */
void *xmalloc(size_t size) MUST_CHECK __attribute__((returns_nonnull, malloc));
void *xcalloc(size_t n, size_t size) MUST_CHECK __attribute__((returns_nonnull, malloc));
void *xreallocarray(void *p, size_t n, size_t size) MUST_CHECK __attribute__((returns_nonnull));
char *xstrdup(const char *s) MUST_CHECK __attribute__((returns_nonnull));
char *xstrndup(const char *s, size_t n) MUST_CHECK __attribute__((returns_nonnull));
void *xmemdup(const void *p, size_t n) MUST_CHECK __attribute__((returns_nonnull));
char *xasprintf(const char *fmt, ...) MUST_CHECK PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));
char *xvasprintf(const char *fmt, va_list ap) MUST_CHECK PRINTF_LIKE(1, 0)
    __attribute__((returns_nonnull));

/* strdup that passes NULL through. */
char *xstrdup_or_null(const char *s) MUST_CHECK;

/* Replaces *p by a copy of s (NULL allowed), freeing the old value. */
void str_replace(char **p, const char *s);
