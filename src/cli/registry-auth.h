/* SPDX-License-Identifier: Apache-2.0 */
/* The credentials that go with a request about an image: for its registry, and for its mirrors. */
#pragma once

#include <stdbool.h>

#include "base/macros.h"

struct cli;

struct registry_auth {
    char *headers[3]; /* ended by NULL */
};

/* For cli->headers; image NULL: all that are here. Which mirrors the image has is asked from the daemon, but only when somebody is logged in
 * anywhere; one that does not know gets what is for the registry. */
void registry_auth_find(struct cli *cli, const char *image, bool push, struct registry_auth *ret);
void registry_auth_done(struct registry_auth *a); /* wipes the secrets */
