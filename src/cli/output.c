/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, plain output and loops over arguments: see cli.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/cli.h"

#define REQUESTS_AT_ONCE 50

void out_write(const char *data, size_t len)
{
    int r = fs_write_all(STDOUT_FILENO, data, len);

    if (r == -EPIPE)
        _exit(128 + SIGPIPE);
    if (r < 0) {
        err_printf("pouch: writing the output failed: %s\n", strerror(-r));
        exit(1);
    }
}

void out_puts(const char *s)
{
    out_write(s, strlen(s));
}

void out_printf(const char *fmt, ...)
{
    AUTOFREE char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    out_puts(text);
}

void err_printf(const char *fmt, ...)
{
    AUTOFREE char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    (void)!write(STDERR_FILENO, text, strlen(text));
}

int cli_fail(const struct error *e)
{
    AUTOFREE char *m = xstrdup(error_message(e));

    str_tame(m, "\n\t");
    err_printf("%s\n", m);
    return 1;
}

int cli_fail_run(const struct cli *cli, const struct error *e)
{
    AUTOFREE char *m = xstrdup(error_message(e));
    size_t len = strlen(m);

    str_tame(m, "\n\t");
    err_printf("pouch: %s%s\nSee '%s --help'.\n", m, len && strchr(".?!", m[len - 1]) ? "" : ".",
               cli->path);
    return 125;
}

int cli_start_status(const struct error *e, int otherwise)
{
    const char *m = error_message(e);

    if (strstr(m, "executable file"))
        return 127;
    /* Other files may be missing too (devices, bind sources): only those of exec count. */
    if (!strstr(m, "exec: ") && !strstr(m, "chdir"))
        return otherwise;
    if (strcasestr(m, "no such file or directory"))
        return 127;
    if (strcasestr(m, "permission denied") || strcasestr(m, "is a directory") ||
        strcasestr(m, "exec format error"))
        return 126;
    return otherwise;
}

int cli_for_each(struct cli *cli, char **args,
                 int (*one)(struct cli *cli, const char *arg, void *data, struct error *e),
                 void *data)
{
    int status = 0;

    for (; *args; args++) {
        AUTO(error) struct error e = ERROR_INIT;

        if (one(cli, *args, data, &e) < 0)
            status = cli_fail(&e);
    }
    return status;
}

/* Sends up to REQUESTS_AT_ONCE requests, then receives their answers in order. */
static int request_batch(struct cli *cli, char **args, size_t n, const char *method,
                         void (*make)(struct url *u, const char *arg, void *data), void *data)
{
    struct http_conn *conns[REQUESTS_AT_ONCE] = {NULL};
    struct error errors[REQUESTS_AT_ONCE] = {0};
    int status = 0;

    for (size_t i = 0; i < n; i++) {
        struct url u CLEANUP(url_done) = URL_INIT;

        make(&u, args[i], data);
        (void)!api_send(cli, method, &u, NULL, false, &conns[i], &errors[i]);
    }
    for (size_t i = 0; i < n; i++) {
        struct url u CLEANUP(url_done) = URL_INIT;
        struct http_response res = {0};

        make(&u, args[i], data);
        if (conns[i] && api_recv_or_repeat(cli, method, &u, &conns[i], &res, &errors[i]) == 0)
            out_printf("%s\n", args[i]);
        else
            status = cli_fail(&errors[i]);
        http_response_done(&res);
        http_conn_free(conns[i]);
        error_done(&errors[i]);
    }
    return status;
}

int cli_for_each_request(struct cli *cli, char **args, const char *method,
                         void (*make)(struct url *u, const char *arg, void *data), void *data)
{
    size_t left = strv_len(args);
    int status = 0;

    while (left) {
        size_t n = left < REQUESTS_AT_ONCE ? left : REQUESTS_AT_ONCE;

        status |= request_batch(cli, args, n, method, make, data);
        args += n;
        left -= n;
    }
    return status;
}

int filters_json(char *const *filters, char **ret, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(strv) char **keys = NULL;
    struct jsonw w = {.out = &b};

    *ret = NULL;
    if (!filters || !*filters)
        return 0;
    for (char *const *f = filters; *f; f++) {
        size_t len = strcspn(*f, "=");
        AUTOFREE char *key = xstrndup(*f, len);

        if (!(*f)[len] || !len)
            return error_set(e, ERR_INVALID,
                             "invalid argument \"%s\" for \"-f, --filter\" flag: bad format of "
                             "filter (expected name=value)",
                             *f);
        for (char *p = key; *p; p++) {
            if (*p >= 'A' && *p <= 'Z')
                *p += 'a' - 'A';
        }
        if (!strv_contains(keys, key))
            strv_push(&keys, key);
    }
    jsonw_begin(&w, NULL);
    for (char **key = keys; *key; key++) {
        jsonw_list_begin(&w, *key);
        for (char *const *f = filters; *f; f++) {
            size_t len = strcspn(*f, "=");

            if (strlen(*key) == len && !strncasecmp(*key, *f, len))
                jsonw_str(&w, NULL, *f + len + 1);
        }
        jsonw_list_end(&w);
    }
    jsonw_end(&w);
    *ret = buf_take(&b);
    return 0;
}

const char *jstr(const struct json_value *obj, const char *key)
{
    const char *s = json_value_str(json_value_get(obj, key));

    return s ? s : "";
}
