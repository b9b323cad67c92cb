/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms ("linux/arm64/v8"): reading, normal forms, and which image of an index suits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

struct oci_platform {
    char *os;
    char *architecture; /* Go's names: amd64, arm64, arm, 386 … */
    char *variant;      /* v6, v7, v8 … or NULL */
    char *os_version;
    char **os_features;
};
extern const struct json_desc oci_platform_json;

/* "linux/arm64/v8", "linux/amd64", "linux", "arm64", or the same as a JSON object; NULL or "": the
 * host's. ERR_INVALID. */
int oci_platform_parse(const char *text, struct oci_platform *ret, struct error *e) MUST_CHECK;
void oci_platform_host(struct oci_platform *ret);
void oci_platform_done(struct oci_platform *p);

/* x86_64 → amd64, aarch64 → arm64/v8, armhf → arm/v7 …, in place. */
void oci_platform_normalize(struct oci_platform *p);

/* How well an image of platform `have` runs where `want` is asked: 0 not at all; higher is better
 * (arm/v7 runs v6 and v5, an exact match is best). An absent field of `want` fits all. */
int oci_platform_rank(const struct oci_platform *want, const struct oci_platform *have);

/* "linux/arm64/v8"; the caller frees. */
char *oci_platform_string(const struct oci_platform *p) MUST_CHECK;
