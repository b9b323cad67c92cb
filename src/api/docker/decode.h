/* SPDX-License-Identifier: Apache-2.0 */
/* Requests into the engine's types. All input is hostile; all errors are ERR_INVALID. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "engine/engine.h"
#include "engine/types.h"

/*
 * The version prefix of a path: "/v1.41/info" gives 41 and "/info". Without a prefix the newest
 * version is meant. ERR_INVALID with Docker's words when it is too old or too new. *ret_rest
 * borrows from path.
 */
int docker_version_split(const char *path, unsigned *ret_minor, const char **ret_rest,
                         struct error *e) MUST_CHECK;

/* `filters`: {"label":["a=b"]} or, as older clients send it, {"label":{"a=b":true}}. NULL and ""
 * are none. */
int docker_filters_parse(const char *text, struct filter_set *ret, struct error *e) MUST_CHECK;

/* The body of POST /containers/create. Frees nothing of what it was given on failure: both structs
 * are then empty. */
int docker_create_parse(const char *body, size_t len, struct container_config *config,
                        struct create_extra *extra, struct error *e) MUST_CHECK;

/* POST /exec/{id}/start */
struct docker_exec_start {
    bool detach;
    bool tty;
    char *console_size; /* raw */
};
extern const struct json_desc docker_exec_start_json;

/* "[rows, columns]"; 0, 0 for NULL and anything else. */
void docker_console_size(const char *raw, unsigned *ret_rows, unsigned *ret_cols);

/* `since` and `until`: NULL and "" give 0. */
int docker_when_parse(const char *name, const char *text, int64_t *ret, struct error *e) MUST_CHECK;

/* A decimal number of a query parameter; NULL and "" leave *ret alone. */
int docker_number_parse(const char *name, const char *text, int64_t min, int64_t max, int64_t *ret,
                        struct error *e) MUST_CHECK;

/* "name" and a separate tag or digest into one reference; tag may be NULL or "". */
char *docker_reference_join(const char *name, const char *tag) MUST_CHECK;
