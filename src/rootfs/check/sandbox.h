/* SPDX-License-Identifier: Apache-2.0 */
/* The walls around pouch-check; see sandbox.c. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

/* Nothing is left afterwards but reading what is open. size: of the file that will be mapped. */
int check_sandbox_enter(uint64_t size, struct error *e) MUST_CHECK;
