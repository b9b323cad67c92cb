/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command line in one text, taken apart into words as a POSIX shell does it.
 *
 * Blanks, tabs and newlines part words; 'single' and "double" quotes and the backslash quote. Nothing
 * is expanded and no operator is known: $, `, *, ~, |, ;, & and > are letters like others, because no
 * shell runs the words afterwards. Who wants one writes `sh -c '…'`.
 */
#pragma once

#include "base/error.h"
#include "base/macros.h"

#define WORDS_MAX 1024 /* words in one text */

/* *ret is a strv the caller frees; empty (NULL) for a text of blanks. ERR_INVALID: a quote is not
 * closed, a backslash ends the text, or there are too many words. */
int words_split(const char *text, char ***ret, struct error *e) MUST_CHECK;

/* The words as one text that words_split() takes apart into the same words again. */
char *words_join(char *const *words) MUST_CHECK;
