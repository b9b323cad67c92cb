/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: see error.h. */
#include "base/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const struct {
    int http;
    int exit;
    int err;
} code_table[ERR_MAX] = {
#define X(code, http, exit, err) [code] = {http, exit, err},
    ERROR_CODES(X)
#undef X
};

int error_set(struct error *e, enum error_code code, const char *fmt, ...)
{
    va_list ap;

    assert(code > ERR_NONE && code < ERR_MAX);
    if (e) {
        assert(e->code == ERR_NONE);
        va_start(ap, fmt);
        e->message = xvasprintf(fmt, ap);
        va_end(ap);
        e->code = code;
        e->errnum = code_table[code].err;
    }
    return -code_table[code].err;
}

static enum error_code code_of_errno(int errnum)
{
    switch (errnum) {
    case EINVAL:
        return ERR_INVALID;
    case EOPNOTSUPP:
    case ENOSYS:
        return ERR_NOT_SUPPORTED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_INTERNAL;
    }
}

int error_set_errno(struct error *e, int errnum, const char *fmt, ...)
{
    va_list ap;

    if (errnum < 0)
        errnum = -errnum;
    if (errnum == 0)
        errnum = EIO;
    if (e) {
        char text[128];
        char *head;

        assert(e->code == ERR_NONE);
        va_start(ap, fmt);
        head = xvasprintf(fmt, ap);
        va_end(ap);
        e->message = xasprintf("%s: %s", head, strerror_r(errnum, text, sizeof(text)));
        free(head);
        e->code = code_of_errno(errnum);
        e->errnum = errnum;
    }
    return -errnum;
}

void error_add(struct error *e, const char *fmt, ...)
{
    va_list ap;
    char *head;
    char *all;

    if (!e || e->code == ERR_NONE)
        return;
    va_start(ap, fmt);
    head = xvasprintf(fmt, ap);
    va_end(ap);
    all = xasprintf("%s: %s", head, error_message(e));
    free(head);
    free(e->message);
    e->message = all;
}

const char *error_message(const struct error *e)
{
    return e && e->message ? e->message : "unknown error";
}

void error_move(struct error *dst, struct error *src)
{
    if (dst) {
        assert(dst->code == ERR_NONE);
        *dst = *src;
    } else {
        free(src->message);
    }
    *src = (struct error)ERROR_INIT;
}

void error_done(struct error *e)
{
    if (!e)
        return;
    free(e->message);
    *e = (struct error)ERROR_INIT;
}

int error_http_status(enum error_code code)
{
    return code_table[code].http;
}

int error_exit_code(enum error_code code)
{
    return code_table[code].exit;
}
