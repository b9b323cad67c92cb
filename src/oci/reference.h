/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of images as people write them, with Docker's rules: "busybox" is
 * "docker.io/library/busybox:latest", a first part with a dot, a colon or "localhost" is a host.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/macros.h"

#define OCI_REFERENCE_DEFAULT_DOMAIN "docker.io"

struct oci_reference {
    char *domain; /* "docker.io", "localhost:5000" */
    char *path;   /* "library/busybox" */
    char *tag;    /* NULL when none was given */
    char *digest; /* "sha256:…", NULL when none was given */
};

/* Parses and normalises; the tag stays NULL when absent. ERR_INVALID says what is wrong:
 * `invalid reference format: repository name (library/FOO) must be lowercase`. */
int oci_reference_parse(const char *text, struct oci_reference *ret, struct error *e) MUST_CHECK;
void oci_reference_done(struct oci_reference *r);

/* Sets tag "latest" when neither tag nor digest was given. */
void oci_reference_default_tag(struct oci_reference *r);

/* "docker.io/library/busybox" · "docker.io/library/busybox:1.36[@sha256:…]"; the caller frees. */
char *oci_reference_name(const struct oci_reference *r) MUST_CHECK;
char *oci_reference_string(const struct oci_reference *r) MUST_CHECK;

/* As shown to people: "busybox", "busybox:1.36", "foo/bar@sha256:…", "localhost:5000/x:y". */
char *oci_reference_familiar_name(const struct oci_reference *r) MUST_CHECK;
char *oci_reference_familiar(const struct oci_reference *r) MUST_CHECK;

/* Whether the text can be a tag by itself. */
bool oci_tag_is_valid(const char *tag);

/* Where the registry of a domain is: "registry-1.docker.io" for "docker.io" (borrowed). */
const char *oci_reference_registry_host(const struct oci_reference *r);
