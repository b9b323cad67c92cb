/* SPDX-License-Identifier: Apache-2.0 */
/* What the signature policy means for one pull; pouchd's side. */
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "image/policy.h"

struct image_store;
struct image_op;
struct worker_msg;

struct verify {
    struct policy policy; /* its items are what the worker's `gpgv` numbers */
    char *json;           /* for the worker; NULL: any image will do */
    char *where;          /* policy file and scope, for messages */
    char *folder;         /* of the repository's simple signatures on this machine, or NULL */
};
/* ERR_FORBIDDEN when the policy rejects the image whatever its signatures, or cannot be read. */
int verify_prepare(const struct image_store *s, const struct oci_reference *image,
                   struct verify *ret, struct error *e) MUST_CHECK;
void verify_done(struct verify *v);

/* Whether images may come from archives of this kind, which have no signatures: 1, or 0 with why not
 * in *ret_why (the caller's). */
int verify_archive(const struct image_store *s, enum policy_archive archive, char **ret_why,
                   struct error *e) MUST_CHECK;

/* The worker's messages "lookaside" and "gpgv". */
int verify_on_lookaside(struct image_op *op, const struct worker_msg *m) MUST_CHECK;
int verify_on_gpgv(struct image_op *op, const struct worker_msg *m) MUST_CHECK;
