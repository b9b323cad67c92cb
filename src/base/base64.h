/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648), both alphabets. */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/macros.h"

enum base64_alphabet { BASE64_STANDARD, BASE64_URL };
/* Appends the text, padded. -EFBIG when the buffer's maximum is passed. */
int base64_encode(const void *data, size_t len, enum base64_alphabet a, struct buf *out);

/* Appends what the text says: both alphabets, padding optional; white space is skipped (PEM, files
 * with line breaks). -EINVAL, -EFBIG. */
int base64_decode(const char *text, size_t len, struct buf *out) MUST_CHECK;
