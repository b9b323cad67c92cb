/* SPDX-License-Identifier: Apache-2.0 */
/* The table of log drivers and their options (`--log-driver`, `--log-opt`). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

#define LOG_DRIVER_DEFAULT "json-file"

/* Options, checked and with defaults in. */
struct log_options {
    int64_t max_size;   /* bytes of one file; -1: without limit */
    uint64_t max_files; /* the current one and the rotated ones; at least 1 */
};

struct log_driver {
    const char *name;
    bool can_read; /* `logs` works */
    bool writes_files;
    int (*parse_options)(const struct json_map *opts, struct log_options *ret, struct error *e);
};

/* NULL when there is none of this name ("" and NULL: the default). */
const struct log_driver *log_driver_find(const char *name);
/* ERR_INVALID names the driver or the option that is wrong. */
int log_driver_options(const char *driver, const struct json_map *opts, struct log_options *ret,
                       struct error *e) MUST_CHECK;
