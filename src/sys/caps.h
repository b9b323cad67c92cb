/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities by name, as bit sets, and those of the calling thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

#define CAPS_ALL (~UINT64_C(0))

/* "CAP_CHOWN", "chown", "ALL" (any case) to its bit set; -EINVAL. */
int caps_parse(const char *name, uint64_t *ret) MUST_CHECK;
/* "CAP_CHOWN" of a bit number; NULL when there is none. */
const char *caps_name(unsigned bit);
/* The highest capability this kernel knows. */
unsigned caps_last(void);

struct caps_sets {
    uint64_t bounding, effective, permitted, inheritable, ambient;
};
int caps_get(struct caps_sets *ret) MUST_CHECK;
/* Those of `wanted` that are in the bounding set; one system call a bit. */
uint64_t caps_in_bounding(uint64_t wanted);

/* Names to sets; names the kernel does not know are added to *unknown (may be NULL). */
int caps_from_names(char *const *names, uint64_t *ret, char ***unknown, struct error *e) MUST_CHECK;

/* Drops everything from the bounding set that is not in keep. 0 or -errno. */
int caps_drop_bounding(uint64_t keep) MUST_CHECK;
/* capset(2). */
int caps_set(uint64_t effective, uint64_t permitted, uint64_t inheritable) MUST_CHECK;
/* Makes the ambient set equal to what is asked. */
int caps_set_ambient(uint64_t ambient) MUST_CHECK;
