/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containers-registries.d(5): where the signatures of a registry's images are. The files are YAML,
 * of which the part is read that they are made of: maps of maps by indentation, plain and quoted
 * texts, comments. Anything else is an error.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/macros.h"
#include "oci/reference.h"

#define LOOKASIDE_DIR     "/etc/containers/registries.d"
#define LOOKASIDE_DEFAULT "file:///var/lib/containers/sigstore"

struct lookaside {
    char *url;        /* of the folder that has the image's repository as path; NULL: the default */
    bool attachments; /* use-sigstore-attachments */
};
/* What all files of the folder (NULL: the usual one) say about the image; a missing folder says
 * nothing. */
int lookaside_find(const char *dir, const struct oci_reference *image, struct lookaside *ret,
                   struct error *e) MUST_CHECK;
void lookaside_done(struct lookaside *l);

/* Reads one file's text. Calls one() for each "docker: SCOPE: KEY: VALUE" (scope "" for
 * default-docker); negative ends it. */
typedef int lookaside_fn(void *data, const char *scope, const char *key, const char *value,
                         struct error *e);
int lookaside_parse(const char *text, lookaside_fn *one, void *data, struct error *e) MUST_CHECK;
