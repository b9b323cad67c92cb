/* SPDX-License-Identifier: Apache-2.0 */
/* A hash map from strings to pointers. Keys are copied; values are the caller's. Not locked. */
#pragma once

#include <stddef.h>

#include "base/macros.h"

struct map;

struct map *map_new(void) MUST_CHECK;
/* Frees the map and its keys; values only when free_value is not NULL. */
void map_free(struct map *m, void (*free_value)(void *));

void *map_get(const struct map *m, const char *key);
/* Sets key to value and returns the old value (NULL when there was none). value is not NULL. */
void *map_set(struct map *m, const char *key, void *value);
/* Removes key and returns its value, or NULL. */
void *map_remove(struct map *m, const char *key);
size_t map_len(const struct map *m);

/* Iterates in no order: start with *pos = 0; returns 1 with key and value (borrowed), 0 at the
 * end. The map must not be changed meanwhile. */
int map_next(const struct map *m, size_t *pos, const char **ret_key, void **ret_value);
