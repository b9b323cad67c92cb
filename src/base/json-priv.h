/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of base/json: the syntax scan and the parsed tree. */
#pragma once

#include <stddef.h>

#include "base/error.h"

struct json_object;

#define JSON_DEPTH_MAX 64

/*
 * Walks the text by RFC 8259's grammar. On success *ret_why stays NULL and *ret_members is the
 * number of members in all objects; on failure the offset of the bad byte is returned and
 * *ret_why says what was wrong.
 */
size_t json_scan(const char *text, size_t len, size_t *ret_members, const char **ret_why);

/* Scans and parses; the caller puts the tree with json_object_put(). *ret is NULL for `null`. */
int json_tree_parse(const char *text, size_t len, struct json_object **ret, struct error *e);
