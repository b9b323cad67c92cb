/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs docker-credential-NAME, found in $PATH: "get" and "erase" read a registry's key from
 * standard input, "store" a JSON object; "get" answers with one. A user name "<token>" says that the
 * secret is an identity token.
 */
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "cli/credentials.h"

/* 1, 0 the helper has none for it, -errno. */
int credential_helper_get(const char *name, const char *server, struct credentials *ret,
                          struct error *e) MUST_CHECK;
int credential_helper_store(const char *name, const struct credentials *c,
                            struct error *e) MUST_CHECK;
int credential_helper_erase(const char *name, const char *server, struct error *e) MUST_CHECK;
