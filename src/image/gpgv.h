/* SPDX-License-Identifier: Apache-2.0 */
/* Checking GnuPG signatures by gpgv(1), run without rights in a process of its own. */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"
#include "image/policy.h"

#define GPGV_SIGNATURE_MAX (1u << 20)
#define GPGV_KEYS_MAX      (4 * POLICY_KEY_MAX)

/*
 * Whether the signed message in sig_fd was signed by one key of the requirement, good now (not
 * expired, not revoked), and nothing else is in it. *payload gets what was signed. 1; 0 when not,
 * with the reason in *ret_reason (the caller frees); -errno when it could not be found out.
 */
int gpgv_verify(const struct policy_requirement *r, int sig_fd, uid_t uid, gid_t gid,
                struct buf *payload, char **ret_reason, struct error *e) MUST_CHECK;

/* The keys of a requirement, as gpgv takes them. */
int gpgv_load_keys(const struct policy_requirement *r, struct buf *out, struct error *e) MUST_CHECK;

/* The verdict on gpgv's status lines: NULL when good, else why not (a constant). */
const char *gpgv_status_reason(const char *status);

/* Appends the binary form of OpenPGP keys, which may be armoured. */
int gpgv_read_keys(const char *data, size_t len, struct buf *out, struct error *e) MUST_CHECK;
