/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors a user will read: one code, one errno, one line.
 *
 * A function that fails for a reason a user must hear takes `struct error *e` as its last
 * parameter, fills it exactly once with error_set() or error_set_errno() and returns what those
 * return (a negative errno). Callers add context with error_add(); they never replace the message.
 * `e` may be NULL: then only the number is returned.
 */
#pragma once

#include <stdarg.h>

#include "base/macros.h"

/* code, HTTP status, exit code of the CLI, errno returned when none better is known */
#define ERROR_CODES(X)                                                                             \
    X(ERR_NONE, 200, 0, 0)                                                                         \
    X(ERR_INVALID, 400, 1, EINVAL)                                                                 \
    X(ERR_UNAUTHORIZED, 401, 1, EACCES)                                                            \
    X(ERR_FORBIDDEN, 403, 1, EPERM)                                                                \
    X(ERR_NOT_FOUND, 404, 1, ENOENT)                                                               \
    X(ERR_NOT_MODIFIED, 304, 0, EALREADY)                                                          \
    X(ERR_CONFLICT, 409, 1, EBUSY)                                                                 \
    X(ERR_TOO_LARGE, 413, 1, EFBIG)                                                                \
    X(ERR_COMMAND_NOT_FOUND, 400, 127, ENOENT)                                                     \
    X(ERR_COMMAND_NOT_EXECUTABLE, 400, 126, EACCES)                                                \
    X(ERR_INTERNAL, 500, 1, EIO)                                                                   \
    X(ERR_NOT_SUPPORTED, 501, 1, EOPNOTSUPP)                                                       \
    X(ERR_UNAVAILABLE, 503, 1, EAGAIN)                                                             \
    X(ERR_TIMEOUT, 504, 1, ETIMEDOUT)

enum error_code {
#define X(code, http, exit, err) code,
    ERROR_CODES(X)
#undef X
        ERR_MAX
};

struct error {
    enum error_code code;
    int errnum; /* positive errno, 0 when none */
    char *message;
};

#define ERROR_INIT                                                                                 \
    {                                                                                              \
        ERR_NONE, 0, NULL                                                                          \
    }

/* Sets code and message; returns -errno of the code. Asserts that e was not filled before. */
int error_set(struct error *e, enum error_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * Like error_set(), for a failed system call: the message gets ": strerror(errnum)" appended and
 * -errnum is returned. errnum may be given positive or negative. The code is chosen from errnum
 * (ENOENT is INTERNAL here: only the caller knows whether a missing file is a missing object).
 */
int error_set_errno(struct error *e, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "context: " in front of the message; no effect on an empty error. */
void error_add(struct error *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The message, never NULL. */
const char *error_message(const struct error *e);

/* Moves src into dst (which must be empty); src is empty afterwards. dst may be NULL. */
void error_move(struct error *dst, struct error *src);

/* Frees the message and empties the error; it may be used again. */
void error_done(struct error *e);

int error_http_status(enum error_code code);
int error_exit_code(enum error_code code);
