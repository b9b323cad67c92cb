/* SPDX-License-Identifier: Apache-2.0 */
/* Reading numbers and names from text, and random ids. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);
/* NULL-safe: NULL and "" are both empty. */
bool str_is_empty(const char *s);

/* What a terminal obeys (C0, DEL, and C1 in UTF-8) becomes blanks, but for the characters in keep
 * (NULL: none). For text that others wrote. NULL-safe. */
void str_tame(char *s, const char *keep);

/* Whole text as a decimal number; -EINVAL, -ERANGE. */
int parse_i64(const char *s, int64_t *ret) MUST_CHECK;
int parse_u64(const char *s, uint64_t *ret) MUST_CHECK;
/* Docker's booleans in URLs: "", "0", "no", "false", "none" are false. NULL gives `fallback`. */
bool parse_bool_query(const char *s, bool fallback);
/* "64m", "1.5g", "100", "2kb", "1GiB": binary units as Docker's RAMInBytes. -EINVAL, -ERANGE. */
int parse_size(const char *s, int64_t *ret) MUST_CHECK;

/* 2n lower-case hex digits of n random bytes, and the NUL. */
void random_hex(char *out, size_t nbytes);
void hex_encode(const void *data, size_t len, char *out);
bool str_is_hex(const char *s, size_t len); /* exactly len lower-case hex digits */
