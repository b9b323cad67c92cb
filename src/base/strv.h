/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NULL-terminated vectors of strings (char **): argv, environments, lists in JSON. NULL is an
 * empty vector everywhere. The vector and its strings are owned together.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"

size_t strv_len(char *const *v);
char **strv_copy(char *const *v) MUST_CHECK; /* NULL for NULL */
void strv_free(char **v);
DEFINE_AUTOPTR(char *, strv)

/* Appends a copy of s / s itself (taken over) / a printf result. */
void strv_push(char ***v, const char *s);
void strv_push_take(char ***v, char *s);
void strv_pushf(char ***v, const char *fmt, ...) PRINTF_LIKE(2, 3);

bool strv_contains(char *const *v, const char *s);
bool strv_equal(char *const *a, char *const *b);
/* Removes every string equal to s. */
void strv_remove(char **v, const char *s);

/* Splits at any byte of seps; empty parts are left out when skip_empty. */
char **strv_split(const char *s, const char *seps, bool skip_empty) MUST_CHECK;
char *strv_join(char *const *v, const char *sep) MUST_CHECK;

/* Environment lists of KEY=VALUE: value of key or NULL (borrowed); set replaces or appends. */
const char *env_get(char *const *v, const char *key);
void env_set(char ***v, const char *assignment);
