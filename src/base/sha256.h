/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of small documents that this program writes itself (manifests, indexes), for programs that
 * do not link a crypto library. What comes from outside is hashed by the workers (oci/digest.h). */
#pragma once

#include <stddef.h>

/* 64 hex digits and a NUL. */
void sha256_hex(const void *data, size_t len, char out[65]);
