/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sigstore's cryptography: keys of a policy, signatures by them, and the promise of a transparency
 * log (Rekor's signed entry timestamp) that it knows a signature. No network, no state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

#define SIGSTORE_KEYS_MAX 64

struct sigstore_keys {
    EVP_PKEY *keys[SIGSTORE_KEYS_MAX];
    size_t n;
};

/* One key of each PEM text (its first block). A text without one is an error, also when the others
 * would do: ERR_INVALID. ecdsa: no other kind will do. */
int sigstore_keys_read(char *const *pem, bool ecdsa, struct sigstore_keys *ret,
                       struct error *e) MUST_CHECK;
void sigstore_keys_done(struct sigstore_keys *k);

bool sigstore_verify(EVP_PKEY *key, const struct buf *signature, const void *data, size_t len);

/* Whether a log with one of these keys has promised to keep this signature, by this key, of this
 * payload. promise: the annotation's JSON, or NULL. NULL when it has, else why not. */
const char *sigstore_logged(const struct sigstore_keys *logs, const char *promise, EVP_PKEY *key,
                            const struct buf *signature, const struct buf *payload);

/* Parts of it. What the log has signed (RFC 8785) from its promise; ERR_INVALID. */
struct sigstore_promise {
    struct buf text, signature, body;
};
int sigstore_promise_parse(const char *json, size_t len, struct sigstore_promise *ret,
                           struct error *e) MUST_CHECK;
void sigstore_promise_done(struct sigstore_promise *p);
/* NULL when the entry `body` is about this key (DER), signature and hash of the payload. */
const char *sigstore_entry_reason(const struct buf *body, const struct buf *key,
                                  const struct buf *signature, const unsigned char sha256[32]);
