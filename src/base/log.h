/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line an event, key=value fields, to standard error.
 *
 *     log_info("container started", "id=%s pid=%d", id, pid);
 *     → time=2026-01-02T03:04:05.678Z level=info msg="container started" id=… pid=…
 *
 * A function logs or returns an error, never both. Thread-safe (one write(2) a line).
 */
#pragma once

#include "base/macros.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_MAX };

void log_set_level(enum log_level level);
/* "debug" "info" "warn" "error" (also "fatal", read as error); -EINVAL otherwise. */
int log_level_parse(const char *name, enum log_level *ret) MUST_CHECK;
enum log_level log_get_level(void);

/* fields: a printf format of `key=value` pairs, or NULL. Values with spaces are written by the
 * caller as key="%s"; a newline in them comes out as \n. */
void log_write(enum log_level level, const char *msg, const char *fields, ...) PRINTF_LIKE(3, 4);

#define log_at(level, ...)                                                                         \
    do {                                                                                           \
        if ((level) >= log_get_level())                                                            \
            log_write(level, __VA_ARGS__);                                                         \
    } while (0)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
