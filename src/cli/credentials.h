/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people logged in with: the docker CLI's config.json ($DOCKER_CONFIG, ~/.docker) with its
 * credential helpers, read and written; Podman's auth.json ($REGISTRY_AUTH_FILE, its usual places),
 * read when the first knows nothing.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/macros.h"

#define CREDENTIALS_HUB "https://index.docker.io/v1/" /* Docker Hub's key */

struct json_value;

struct credentials {
    char *server; /* the key in the file: CREDENTIALS_HUB or HOST[:PORT] */
    char *username, *password;
    char *identity_token; /* instead of the password */
};
void credentials_done(struct credentials *c); /* wipes the secrets */

/* The key of what a person calls a registry: NULL, "", "docker.io", "https://host:5000/v2/" … */
char *credentials_server(const char *name) MUST_CHECK;
/* The key of an image's registry; *ret_repository (may be NULL) "host/path" without tag. */
char *credentials_server_of(const char *image, char **ret_repository) MUST_CHECK;

/* 1 and the credentials, 0 there are none, or -errno. A file that cannot be read gives a warning and
 * is passed over; an entry or a helper of this registry that is no good is an error. repository: finds what Podman keeps for a
 * part of a registry only; NULL: the registry's. */
int credentials_get(const char *server, const char *repository, struct credentials *ret,
                    struct error *e) MUST_CHECK;

/* Keeps them, with a helper when one is configured, else in the file: then *ret_file is its path
 * (the caller frees), else NULL. */
int credentials_put(const struct credentials *c, char **ret_file, struct error *e) MUST_CHECK;

/* Forgets them. 1: there were some, 0: not. */
int credentials_remove(const char *server, struct error *e) MUST_CHECK;

/* "X-Registry-Auth: …" for an image's registry, NULL when there are no credentials; a file or helper
 * that cannot be read gives a warning. */
char *credentials_header(const char *image) MUST_CHECK;
/* The same header of these credentials. */
char *credentials_header_of(const struct credentials *c) MUST_CHECK;
/* "X-Registry-Config: …" for what else than `server` may be asked ("host[:port]/repository" each), NULL when
 * there are no credentials for any of them. */
char *credentials_config_header(const struct json_value *hosts, const char *server) MUST_CHECK;
/* Whether anybody ever logged in, as far as can be seen without asking a helper. */
bool credentials_exist(void);
/* A header's text is a secret: wipes and frees. */
void credentials_header_free(char *header);
static inline void credentials_header_freep(char **header)
{
    credentials_header_free(*header);
}
