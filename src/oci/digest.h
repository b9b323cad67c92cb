/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content digests ("sha256:<64 hex>") and how they are computed. digest.c checks syntax and needs
 * no library; hash.c computes with OpenSSL (dependency oci_hash_dep, for programs that need it).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

#define DIGEST_MAX 136 /* "sha512:" + 128 hex digits + NUL */

enum digest_algorithm { DIGEST_SHA256, DIGEST_SHA512, DIGEST_ALGORITHM_MAX };

/* Whether the text is a digest of an algorithm that is supported, in lower-case hex. NULL: no. */
bool digest_is_valid(const char *digest);
/* The hex digits after the colon (borrowed); digest must be valid. */
const char *digest_hex(const char *digest);
enum digest_algorithm digest_algorithm(const char *digest);

/* --- hash.c ------------------------------------------------------------------------------- */

struct digest_state {
    enum digest_algorithm algorithm;
    void *ctx; /* EVP_MD_CTX */
};

/* -ENOMEM or -EIO when the crypto library fails. */
int digest_state_init(struct digest_state *d, enum digest_algorithm a) MUST_CHECK;
int digest_state_update(struct digest_state *d, const void *data, size_t len) MUST_CHECK;
/* Writes the digest of what came so far; the computation goes on. */
int digest_state_peek(const struct digest_state *d, char out[DIGEST_MAX]) MUST_CHECK;
/* Writes "sha256:…" and ends the computation. */
int digest_state_final(struct digest_state *d, char out[DIGEST_MAX]) MUST_CHECK;
void digest_state_done(struct digest_state *d);

/* Of bytes in memory, sha256. */
int digest_bytes(const void *data, size_t len, char out[DIGEST_MAX]) MUST_CHECK;
