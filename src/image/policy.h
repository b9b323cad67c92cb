/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containers-policy.json(5): which images may be pulled, by what signatures. Everything that is not
 * understood is an error: what a policy says must never be taken for less than it says.
 * Used by pouchd; what follows from it for one image goes to the worker as JSON.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "oci/reference.h"

#define POLICY_FILE        "/etc/containers/policy.json"
#define POLICY_MAX         (4u << 20)
#define POLICY_KEY_MAX     (256u * 1024)
#define POLICY_REQUIRE_MAX 32

enum policy_type {
    POLICY_ACCEPT,   /* insecureAcceptAnything */
    POLICY_REJECT,   /* reject */
    POLICY_GPG,      /* signedBy */
    POLICY_SIGSTORE, /* sigstoreSigned */
    POLICY_TYPE_MAX
};
const char *policy_type_name(enum policy_type t);

enum policy_identity {
    POLICY_MATCH_REPO_DIGEST_OR_EXACT,
    POLICY_MATCH_EXACT,
    POLICY_MATCH_REPOSITORY,
    POLICY_EXACT_REFERENCE,
    POLICY_EXACT_REPOSITORY,
    POLICY_REMAP_IDENTITY,
    POLICY_IDENTITY_MAX
};
const char *policy_identity_name(enum policy_identity i);
struct policy_signed_identity {
    enum policy_identity kind;
    char *reference;              /* exactReference, exactRepository */
    char *prefix, *signed_prefix; /* remapIdentity */
};

struct policy_requirement {
    enum policy_type type;
    char **key_paths;        /* files; or */
    char **key_data;         /* base64 */
    char **log_paths;        /* keys of transparency logs (rekorPublicKeyPath…); or */
    char **log_data;         /* base64 */
    const char *unsupported; /* what it asks for that nothing here can check: it is never met */
    struct policy_signed_identity identity;
};

/* Reads the requirements for an image (of transport "docker"): those of the most special scope.
 * path: named in messages. ERR_INVALID names the field. */
struct policy {
    char *scope;            /* "" the transport's default, NULL the default of all */
    struct json_list items; /* of struct policy_requirement, all must hold; never empty */
};
int policy_choose(const char *text, size_t len, const struct oci_reference *image,
                  struct policy *ret, struct error *e) MUST_CHECK;
void policy_done(struct policy *p);

/* The same for what comes from an archive: those of the transport's default, since a stream has no
 * name that a scope could be about. */
enum policy_archive {
    POLICY_DOCKER_ARCHIVE, /* docker save */
    POLICY_OCI_ARCHIVE,    /* an OCI layout in a tar file */
    POLICY_TARBALL,        /* a root file system: import */
    POLICY_ARCHIVE_MAX
};
const char *policy_archive_name(enum policy_archive a);
int policy_choose_archive(const char *text, size_t len, enum policy_archive archive,
                          struct policy *ret, struct error *e) MUST_CHECK;

/* "host/a/b:tag", "host/a/b", "host/a", "host", "*.domain" …, most special first; strv_free() it. */
char **policy_scopes(const struct oci_reference *image) MUST_CHECK;

/* Does a signature that says it is for `claimed` hold for `wanted` (a full reference)? */
bool policy_identity_matches(const struct policy_signed_identity *id, const char *wanted,
                             const char *claimed);

/* What a signature says, the payload of both kinds. ERR_INVALID. */
struct policy_payload {
    char *type, *digest, *reference;
};
#define POLICY_PAYLOAD_GPG    "atomic container signature"
#define POLICY_PAYLOAD_COSIGN "cosign container image signature"
int policy_payload_parse(const char *text, size_t len, struct policy_payload *ret,
                         struct error *e) MUST_CHECK;
void policy_payload_done(struct policy_payload *p);

/* --- For the worker ------------------------------------------------------------------------------ */

struct policy_check_item {
    char *type;     /* POLICY_… as its name */
    char **keys;    /* sigstore: PEM, one each */
    char **logs;    /* sigstore: PEM, keys of transparency logs one of which must know it */
    char *identity; /* its kind, by name */
    char *reference, *prefix, *signed_prefix;
};
struct policy_check {
    char *wanted;           /* full reference */
    char *lookaside;        /* URL of the folder of simple signatures, or NULL */
    bool attachments;       /* sigstore attachments may be looked for */
    struct json_list items; /* of struct policy_check_item */
};
extern const struct json_desc policy_check_json;
void policy_check_identity(const struct policy_check_item *i, struct policy_signed_identity *ret);
