/* SPDX-License-Identifier: Apache-2.0 */
/* The options before the command, and the root of the command tree. */
#pragma once

#include "cli/cli.h"

struct global_options {
    char *host, *log_level, *tls_ca, *tls_cert, *tls_key;
    bool debug, tls, tls_verify, version;
};

extern const struct command cli_root;

/* Follows command names as far as they lead: the command, its path as help names it (when ret_path
 * is not NULL and *ret_path is NULL; the caller frees it), how many words were used. */
const struct command *command_walk(char **words, size_t n, char **ret_path, size_t *ret_used);
