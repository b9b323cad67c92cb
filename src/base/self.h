/* SPDX-License-Identifier: Apache-2.0 */
/* Where this program's companions are. */
#pragma once

#include "base/macros.h"

/*
 * Path of the companion program `name` ("pouch-monitor"): in $POUCH_LIBEXEC when set, else beside
 * the running program, else in the install folder. The caller frees it; it may not exist.
 */
char *self_program_path(const char *name) MUST_CHECK;
