/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the daemon: see cli.h. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "cli/cli.h"

#define ERROR_BODY_MAX (1 << 20)

void url_set(struct url *u, const char *prefix, const char *name, const char *rest)
{
    buf_clear(&u->b);
    u->has_query = false;
    (void)buf_puts(&u->b, prefix);
    if (name)
        http_encode(&u->b, name);
    if (rest)
        (void)buf_puts(&u->b, rest);
}

void url_add(struct url *u, const char *key, const char *value)
{
    if (!value)
        return;
    (void)buf_printf(&u->b, "%c%s=", u->has_query ? '&' : '?', key);
    http_encode(&u->b, value);
    u->has_query = true;
}

void url_add_int(struct url *u, const char *key, int64_t value)
{
    AUTOFREE char *text = xasprintf("%" PRId64, value);

    url_add(u, key, text);
}

void url_add_bool(struct url *u, const char *key, bool value)
{
    if (value)
        url_add(u, key, "1");
}

void url_done(struct url *u)
{
    buf_done(&u->b);
}

/* --- Errors ------------------------------------------------------------------------------ */

static int error_connect(struct cli *cli, int r, struct error *e, struct error *cause)
{
    if (r == -ENOENT || r == -ECONNREFUSED)
        r = error_set(e, ERR_UNAVAILABLE,
                      "Cannot connect to the Pouch daemon at %s. Is pouchd running?", cli->host);
    else if (r == -EACCES || r == -EPERM)
        r = error_set(e, ERR_UNAVAILABLE,
                      "permission denied while trying to connect to the Pouch daemon at %s "
                      "(be root, or a member of the group \"pouch\")",
                      cli->host);
    else
        error_move(e, cause);
    error_done(cause);
    return r;
}

static enum error_code code_of_status(int status)
{
    static const struct {
        int status;
        enum error_code code;
    } table[] = {
        {400, ERR_INVALID},       {401, ERR_UNAUTHORIZED}, {403, ERR_FORBIDDEN},
        {404, ERR_NOT_FOUND},     {409, ERR_CONFLICT},     {413, ERR_TOO_LARGE},
        {501, ERR_NOT_SUPPORTED}, {503, ERR_UNAVAILABLE},  {504, ERR_TIMEOUT},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (table[i].status == status)
            return table[i].code;
    }
    return ERR_INTERNAL;
}

/* The daemon's own words of an error answer. */
static char *message_of(const char *body, size_t len, int status)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    const char *message = NULL;

    if (json_value_parse(body, len, &v, NULL) == 0)
        message = json_value_str(json_value_get(v, "message"));
    if (message)
        return xstrdup(message);
    while (len && strchr(" \r\n\t", body[len - 1]))
        len--;
    if (len && len < 4096 && body[0] != '<')
        return xstrndup(body, len);
    return xasprintf("the server answered with HTTP status %d", status);
}

/* "client version 1.51 is too new. Maximum supported API version is 1.41": that version. */
static char *older_version(const char *message)
{
    static const char marker[] = "Maximum supported API version is ";
    const char *p = strstr(message, marker);

    if (!p)
        return NULL;
    p += strlen(marker);
    return xstrndup(p, strspn(p, "0123456789."));
}

/* Reads the error answer. Returns 1 when the request is to be sent again in an older version. */
static int take_error(struct cli *cli, struct http_conn *c, int status, struct error *e)
{
    AUTO(buf) struct buf body = BUF_INIT(ERROR_BODY_MAX);
    AUTOFREE char *message = NULL;
    AUTOFREE char *version = NULL;

    (void)!http_conn_read_all(c, &body, NULL);
    message = message_of(buf_str(&body), body.len, status);
    if (status == 400)
        version = older_version(message);
    if (version && !STREQ(version, cli->api_version)) {
        str_replace(&cli->api_version, version);
        return 1;
    }
    return error_set(e, code_of_status(status), "Error response from daemon: %s", message);
}

/* --- Requests ---------------------------------------------------------------------------- */

static int send_request(struct cli *cli, struct http_conn *c, const char *method,
                        const struct url *url, const char *body, bool upgrade, struct error *e)
{
    AUTOFREE char *target = xasprintf("/v%s%s", cli->api_version, buf_str(&url->b));
    struct http_request req = {
        .method = method,
        .target = target,
        .headers = cli->headers,
        .content_type = body ? "application/json" : NULL,
        .body = body,
        .body_len = body ? strlen(body) : 0,
        .upgrade = upgrade,
    };

    return http_conn_send(c, &req, e);
}

static int connect_daemon(struct cli *cli, struct http_conn **ret, struct error *e)
{
    struct error cause = ERROR_INIT;
    int r = http_conn_open(cli->endpoint, ret, &cause);

    return r < 0 ? error_connect(cli, r, e, &cause) : 0;
}

/* The idle connection, when it still stands, or a new one. */
static int take_connection(struct cli *cli, struct http_conn **ret, struct error *e)
{
    struct http_conn *c = take_ptr(cli->idle);
    struct pollfd p = {.events = POLLIN};

    if (c) {
        p.fd = http_conn_fd(c);
        if (poll(&p, 1, 0) == 0) { /* readable while idle: the server has closed it */
            *ret = c;
            return 0;
        }
        http_conn_free(c);
    }
    return connect_daemon(cli, ret, e);
}

int api_send(struct cli *cli, const char *method, const struct url *url, const char *body,
             bool upgrade, struct http_conn **ret, struct error *e)
{
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    int r = upgrade ? connect_daemon(cli, &c, e) : take_connection(cli, &c, e);

    if (r == 0)
        r = send_request(cli, c, method, url, body, upgrade, e);
    if (r < 0)
        return r;
    *ret = take_ptr(c);
    return 0;
}

/* `Warning: 299 pouch "text"`: what the daemon could not give in full. */
static void show_warnings(const struct http_response *res)
{
    for (char **h = res->headers; h && *h; h++) {
        const char *text = str_has_prefix(*h, "warning: 299 ") ? strchr(*h, '"') : NULL;
        size_t len = text ? strlen(++text) : 0;

        if (len && text[len - 1] == '"')
            len--;
        /* The terminal may be raw. */
        if (text)
            err_printf("WARNING: %.*s%s\n", (int)len, text, isatty(STDERR_FILENO) ? "\r" : "");
    }
}

/* 0, -errno, or 1: send it again. */
static int receive(struct cli *cli, struct http_conn *c, struct http_response *ret, struct error *e)
{
    struct http_response res = {0};
    int r = http_conn_recv(c, &res, e);

    if (r < 0)
        return r;
    if (res.status >= 400) {
        r = take_error(cli, c, res.status, e);
        http_response_done(&res);
        return r;
    }
    show_warnings(&res);
    *ret = res;
    return 0;
}

int api_recv(struct cli *cli, struct http_conn *c, struct http_response *ret, struct error *e)
{
    int r = receive(cli, c, ret, e);

    return r > 0 ? error_set(e, ERR_INVALID, "the daemon's API version changed") : r;
}

int api_recv_or_repeat(struct cli *cli, const char *method, const struct url *url,
                       struct http_conn **c, struct http_response *ret, struct error *e)
{
    int r = receive(cli, *c, ret, e);

    if (r <= 0)
        return r;
    http_conn_free(take_ptr(*c));
    return api_open(cli, method, url, NULL, false, c, ret, e);
}

int api_open(struct cli *cli, const char *method, const struct url *url, const char *body,
             bool upgrade, struct http_conn **ret, struct http_response *ret_res, struct error *e)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        AUTOPTR(http_conn) struct http_conn *c = NULL;
        int r = api_send(cli, method, url, body, upgrade, &c, e);

        if (r == 0)
            r = receive(cli, c, ret_res, e);
        if (r < 0)
            return r;
        if (r == 0) {
            *ret = take_ptr(c);
            return 0;
        }
    }
    return error_set(e, ERR_INVALID, "the daemon accepts no API version that it names itself");
}

int api_call(struct cli *cli, const char *method, const struct url *url, const char *body,
             struct buf *out, struct error *e)
{
    AUTO(buf) struct buf unused = BUF_INIT(CLI_ANSWER_MAX);

    for (int attempt = 0; attempt < 3; attempt++) {
        AUTOPTR(http_conn) struct http_conn *c = NULL;
        struct http_response res = {0};
        int status;
        int r = take_connection(cli, &c, e);

        if (r == 0)
            r = send_request(cli, c, method, url, body, false, e);
        if (r == 0)
            r = receive(cli, c, &res, e);
        status = res.status;
        http_response_done(&res);
        if (r == 0)
            r = http_conn_read_all(c, out ? out : &unused, e);
        if (c && http_conn_is_reusable(c))
            cli->idle = take_ptr(c);
        if (r <= 0)
            return r < 0 ? r : status;
    }
    return error_set(e, ERR_INVALID, "the daemon accepts no API version that it names itself");
}

int api_get(struct cli *cli, const struct url *url, struct json_value **ret, struct error *e)
{
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    int r = api_call(cli, "GET", url, NULL, &out, e);

    if (r < 0)
        return r;
    r = json_value_parse(buf_str(&out), out.len, ret, e);
    if (r < 0)
        error_add(e, "the daemon's answer is not JSON");
    return r;
}

int json_list_next(const char **p, const char *end, const char **ret, size_t *ret_len)
{
    const char *s = *p, *start;
    int depth = 0;
    bool quoted = false;

    while (s < end && (*s == ',' || *s == ' ' || *s == '\n' || *s == '\r' || *s == '\t'))
        s++;
    if (s == end)
        return -EINVAL;
    if (*s == ']')
        return 0;
    for (start = s; s < end; s++) {
        if (quoted) {
            if (*s == '\\')
                s++;
            else if (*s == '"')
                quoted = false;
        } else if (*s == '"') {
            quoted = true;
        } else if (*s == '{' || *s == '[') {
            depth++;
        } else if (depth && (*s == '}' || *s == ']')) {
            depth--;
        } else if (!depth && (*s == ',' || *s == ']')) {
            *ret = start;
            *ret_len = (size_t)(s - start);
            *p = s;
            return 1;
        }
    }
    return -EINVAL;
}

int api_list(struct cli *cli, const struct url *url,
             int (*one)(const struct json_value *v, void *data, struct error *e), void *data,
             struct error *e)
{
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    const char *p, *end, *element;
    size_t len;
    int r = api_call(cli, "GET", url, NULL, &out, e);

    if (r < 0)
        return r;
    p = buf_str(&out) + strspn(buf_str(&out), " \r\n\t");
    end = buf_str(&out) + out.len;
    if (!strcmp(p, "null") || !strcmp(p, "null\n"))
        return 0;
    if (*p++ != '[')
        return error_set(e, ERR_INTERNAL, "the daemon's answer is not a list");
    while ((r = json_list_next(&p, end, &element, &len)) > 0) {
        AUTOPTR(json_value) struct json_value *v = NULL;

        r = json_value_parse(element, len, &v, e);
        if (r < 0)
            error_add(e, "the daemon's answer is not JSON");
        else
            r = one(v, data, e);
        if (r < 0)
            return r;
    }
    return r < 0 ? error_set(e, ERR_INTERNAL, "the daemon's answer is cut off") : 0;
}

static int send_file(struct http_conn *c, int fd, struct error *e)
{
    static char data[128 << 10];

    for (;;) {
        ssize_t n = read(fd, data, sizeof data);
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(e, errno, "cannot read what is to be sent");
        r = http_conn_write_chunk(c, data, (size_t)n, e);
        if (r == -EPIPE) /* refused early: the answer says why */
            return 0;
        if (r < 0 || n == 0)
            return r;
    }
}

int api_upload(struct cli *cli, const char *method, const struct url *url, const char *content_type,
               int fd, struct http_conn **ret, struct error *e)
{
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    struct http_response res = {0};
    /* A body from a pipe cannot be sent twice: no version means the daemon's newest. */
    struct http_request req = {.method = method,
                               .target = buf_str(&url->b),
                               .content_type = content_type,
                               .chunked = true};
    int r = connect_daemon(cli, &c, e);

    if (r == 0)
        r = http_conn_send(c, &req, e);
    if (r == 0)
        r = send_file(c, fd, e);
    if (r == 0)
        r = api_recv(cli, c, &res, e);
    http_response_done(&res);
    if (r < 0)
        return r;
    *ret = take_ptr(c);
    return 0;
}
