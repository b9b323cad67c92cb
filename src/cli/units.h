/* SPDX-License-Identifier: Apache-2.0 */
/* Durations and sizes as people read them, in the words `docker` uses. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

#define UNITS_MAX 48

/* "Less than a second", "3 minutes", "About an hour", "2 weeks". */
const char *units_duration(int64_t seconds, char out[UNITS_MAX]);
/* Decimal units, three significant digits: "1.24MB". */
const char *units_size(int64_t bytes, char out[UNITS_MAX]);
/* Decimal units, four significant digits: "12.34MB" (progress). */
const char *units_size4(int64_t bytes, char out[UNITS_MAX]);
/* Binary units: "7.742GiB". */
const char *units_bytes(int64_t bytes, char out[UNITS_MAX]);
