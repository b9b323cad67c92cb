/* SPDX-License-Identifier: Apache-2.0 */
/* Times: nanoseconds since the epoch (or of the monotonic clock) as int64_t, and their texts. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

#define NSEC_PER_SEC      1000000000LL
#define NSEC_PER_MSEC     1000000LL
#define TIME_RFC3339_MAX  36
#define TIME_ZERO_RFC3339 "0001-01-01T00:00:00Z" /* what Docker prints for "never" */

int64_t time_now_ns(void);       /* CLOCK_REALTIME */
int64_t time_monotonic_ns(void); /* CLOCK_MONOTONIC */

/* "2026-01-02T03:04:05.123456789Z" (UTC, always nine digits); 0 gives TIME_ZERO_RFC3339. */
void time_format_rfc3339(int64_t ns, char out[TIME_RFC3339_MAX]);
/* Parses RFC 3339 with fraction and offset; -EINVAL. */
int time_parse_rfc3339(const char *s, int64_t *ret) MUST_CHECK;

/* The forms Docker's `since` and `until` take: "1700000000", "1700000000.5", RFC 3339 (also date
 * only or without offset, UTC), or a duration before now ("10m", "1h30m"). -EINVAL otherwise. */
int time_parse_when(const char *s, int64_t now_ns, int64_t *ret) MUST_CHECK;

/* Go's duration text ("1h30m", "1.5s", "300ms") to nanoseconds; -EINVAL. */
int duration_parse(const char *s, int64_t *ret) MUST_CHECK;
