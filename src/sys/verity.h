/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs-verity: the kernel checks each block of a file as it is read against a tree of hashes whose
 * root is the file's measure. A file that has it can never be written to again.
 */
#pragma once

#include <stdbool.h>

#include "base/macros.h"

#define VERITY_MEASURE_MAX 80 /* "sha256:" and 64 digits, and the end */

/* Switches it on for the file open for reading at fd, which nobody has open for writing; writes the
 * file to disk. 0 also when it was on; -EOPNOTSUPP, -ENOTTY: this file system has none. */
int verity_enable(int fd) MUST_CHECK;

/* The measure; -ENODATA: the file has no verity; -EOPNOTSUPP, -ENOTTY as above. */
int verity_measure(int fd, char ret[VERITY_MEASURE_MAX]) MUST_CHECK;

/* Tries with a file in the folder, where it leaves nothing. */
bool verity_works_in(const char *dir);
