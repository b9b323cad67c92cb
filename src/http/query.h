/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target of a request ("/containers/json?all=1&limit=5") taken apart: decoded path, decoded
 * query. Input is hostile: a bad escape or an escaped NUL makes the whole target invalid.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/macros.h"

#define HTTP_QUERY_MAX 1024 /* parameters in one request */

struct http_pair {
    char *name;
    char *value;
};
struct http_target {
    char *path; /* decoded; always begins with "/" */
    struct http_pair *query;
    size_t nquery;
};

/* ERR_INVALID for what is not a target of a request. */
int http_target_parse(const char *raw, struct http_target *ret, struct error *e) MUST_CHECK;
void http_target_done(struct http_target *t);

/* First value of a parameter, or NULL. */
const char *http_target_get(const struct http_target *t, const char *name);

/* Decodes %XX (and '+' when plus_is_space) of s[0..len) into a new string. -EINVAL. */
int http_unescape(const char *s, size_t len, bool plus_is_space, char **ret) MUST_CHECK;

/* One parameter cut out of a path by a pattern; borrows from the path. */
struct http_path_param {
    const char *name; /* borrows from the pattern */
    size_t name_len;
    const char *value;
    size_t value_len;
};
#define HTTP_PATH_PARAMS_MAX 4

/*
 * Whether path matches pattern ("/containers/{id}/json"; "{name*}" takes one or more segments, as
 * image names have slashes). Returns the number of parameters, or -1.
 */
int http_path_match(const char *pattern, const char *path,
                    struct http_path_param params[HTTP_PATH_PARAMS_MAX]);
