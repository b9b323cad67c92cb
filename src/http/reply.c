/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers call: reading the request, replying, streaming. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/str.h"
#include "base/strv.h"
#include "http/server-priv.h"

#define MESSAGE_MAX ((size_t)1 << 20)

/* --- The request ----------------------------------------------------------------------------- */

const char *http_method(const struct http_request *req)
{
    return req->method;
}

const char *http_path(const struct http_request *req)
{
    return req->target.path;
}

const char *http_param(const struct http_request *req, const char *name)
{
    for (int i = 0; i < req->nparams; i++)
        if (STREQ(req->params[i].name, name))
            return req->params[i].value;
    return NULL;
}

const char *http_query(const struct http_request *req, const char *name)
{
    return http_target_get(&req->target, name);
}

bool http_query_bool(const struct http_request *req, const char *name, bool fallback)
{
    return parse_bool_query(http_query(req, name), fallback);
}

char **http_query_all(const struct http_request *req, const char *name)
{
    char **v = NULL;

    for (size_t i = 0; i < req->target.nquery; i++)
        if (STREQ(req->target.query[i].name, name))
            strv_push(&v, req->target.query[i].value);
    return v;
}

const char *http_header(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name);
}

const char *http_body(const struct http_request *req, size_t *ret_len)
{
    if (ret_len)
        *ret_len = req->body.len;
    return buf_str(&req->body);
}

int http_body_fd(const struct http_request *req)
{
    return req->body_fd;
}

void http_set_version(struct http_request *req, unsigned version)
{
    req->version = version;
}

unsigned http_version(const struct http_request *req)
{
    return req->version;
}

bool http_wants_upgrade(const struct http_request *req)
{
    return req->upgrade;
}

void http_request_free(struct http_request *req)
{
    if (!req)
        return;
    for (int i = 0; i < req->nparams; i++) {
        free(req->params[i].name);
        free(req->params[i].value);
    }
    for (size_t i = 0; i < req->nheaders; i++) {
        free(req->headers[i].name);
        free(req->headers[i].value);
    }
    free(req->headers);
    http_target_done(&req->target);
    buf_done(&req->body);
    buf_done(&req->reply_body);
    if (req->hijack_free)
        req->hijack_free(req->hijack_data);
    free(req->raw_target);
    free(req->method);
    free(req->ctype);
    free(req);
}

/* --- Whole replies ------------------------------------------------------------------------------ */

void http_header_add(struct http_request *req, const char *name, const char *value)
{
    struct http_pair *h;

    req->headers = xreallocarray(req->headers, req->nheaders + 1, sizeof(*req->headers));
    h = &req->headers[req->nheaders++];
    *h = (struct http_pair){xstrdup(name), xstrdup(value)};
    for (char *p = h->value; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

void http_common_headers(struct http_request *req)
{
    if (req->server->params.headers)
        req->server->params.headers(req, req->server->params.ctx);
}

bool http_replied(const struct http_request *req)
{
    return req->reply != REPLY_NONE;
}

void http_reply(struct http_request *req, int status, const char *ctype, struct buf *body)
{
    if (http_replied(req)) { /* the first word counts */
        if (body)
            buf_done(body);
        return;
    }
    req->reply = REPLY_WHOLE;
    req->status = status;
    if (body) {
        req->ctype = xstrdup(ctype ? ctype : "application/json");
        req->reply_body = *body;
        *body = (struct buf)BUF_INIT(body->max);
    }
}

void http_reply_json(struct http_request *req, int status, struct buf *body)
{
    http_reply(req, status, NULL, body);
}

void http_reply_empty(struct http_request *req, int status)
{
    http_reply(req, status, NULL, NULL);
}

static void reply_text(struct http_request *req, int status, const char *text)
{
    struct buf b = BUF_INIT(MESSAGE_MAX);
    struct jsonw w = {.out = &b};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "message", text);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, status, &b);
}

void http_reply_error(struct http_request *req, const struct error *e)
{
    if (e->code == ERR_NOT_MODIFIED)
        http_reply_empty(req, 304);
    else
        reply_text(req, e->code == ERR_NONE ? 500 : error_http_status(e->code), error_message(e));
}

void http_reply_message(struct http_request *req, int status, const char *fmt, ...)
{
    AUTOFREE char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    reply_text(req, status, text);
}

/* --- Writing past libmicrohttpd ------------------------------------------------------------------ */

/* Until the socket takes more. Data that the client does not read may wait for ever: the watchdog,
 * a stop, or the client's end make poll() return. */
static int wait_writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    for (;;) {
        int n = poll(&p, 1, -1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (p.revents & (POLLERR | POLLHUP | POLLNVAL)))
            return -EPIPE;
        return 0;
    }
}

static int write_plain(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            if (wait_writable(fd) < 0)
                return -EPIPE;
        } else if (errno != EINTR) {
            return -EPIPE;
        }
    }
    return 0;
}

static int write_tls(struct http_conn *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = gnutls_record_send(c->tls, data, len);

        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n == GNUTLS_E_AGAIN) {
            if (wait_writable(c->fd) < 0)
                return -EPIPE;
        } else if (n != GNUTLS_E_INTERRUPTED) {
            return -EPIPE;
        }
    }
    return 0;
}

int http_conn_write(struct http_conn *c, const void *data, size_t len)
{
    return c->tls ? write_tls(c, data, len) : write_plain(c->fd, data, len);
}

static const char *reason(int status)
{
    const char *text = MHD_get_reason_phrase_for((unsigned)status);

    return text ? text : "Status";
}

int http_raw_head(struct http_request *req, const char *const *extra)
{
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    char date[64];
    time_t now = time(NULL);
    struct tm tm;

    http_common_headers(req);
    (void)buf_printf(&b, "HTTP/1.1 %d %s\r\n", req->status, reason(req->status));
    if (gmtime_r(&now, &tm) && strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
        (void)buf_printf(&b, "Date: %s\r\n", date);
    if (req->ctype)
        (void)buf_printf(&b, "Content-Type: %s\r\n", req->ctype);
    for (size_t i = 0; i < req->nheaders; i++)
        (void)buf_printf(&b, "%s: %s\r\n", req->headers[i].name, req->headers[i].value);
    for (; extra && *extra; extra++)
        (void)buf_printf(&b, "%s\r\n", *extra);
    (void)buf_puts(&b, "\r\n");
    return http_conn_write(req->conn, b.data, b.len);
}

/* --- Streams ------------------------------------------------------------------------------------- */

int http_stream_begin(struct http_request *req, int status, const char *ctype)
{
    static const char *const chunked[] = {"Transfer-Encoding: chunked", "Connection: close", NULL};
    static const char *const plain[] = {"Connection: close", NULL};

    if (http_replied(req))
        return -EALREADY;
    req->reply = REPLY_STREAM;
    req->status = status;
    req->ctype = xstrdup(ctype);
    req->stream_chunked = !req->http_1_0;
    if (http_raw_head(req, req->stream_chunked ? chunked : plain) < 0 || req->head)
        req->stream_gone = true;
    return req->stream_gone ? -EPIPE : 0;
}

int http_stream_write(struct http_request *req, const void *data, size_t len)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    int r;

    if (req->reply != REPLY_STREAM || req->stream_gone)
        return -EPIPE;
    if (len == 0)
        return 0;
    if (req->stream_chunked) { /* one write, so that a chunk is one packet or TLS record */
        (void)buf_printf(&b, "%zx\r\n", len);
        (void)buf_append(&b, data, len);
        (void)buf_append(&b, "\r\n", 2);
        r = http_conn_write(req->conn, b.data, b.len);
    } else {
        r = http_conn_write(req->conn, data, len);
    }
    if (r < 0)
        req->stream_gone = true;
    return r;
}

void http_stream_abort(struct http_request *req)
{
    req->stream_gone = true;
}

void http_stream_finish(struct http_request *req)
{
    if (req->stream_gone)
        return;
    req->stream_gone = true;
    if (req->stream_chunked && http_conn_write(req->conn, "0\r\n\r\n", 5) < 0)
        return;
    if (req->conn->tls)
        (void)gnutls_bye(req->conn->tls, GNUTLS_SHUT_WR);
}

int http_client_fd(const struct http_request *req)
{
    return req->conn->fd;
}

int http_wait_fd(struct http_request *req, int fd, int timeout_ms)
{
    struct pollfd p[2] = {
        {.fd = req->conn->fd, .events = POLLRDHUP},
        {.fd = fd, .events = POLLIN},
    };

    for (;;) {
        int n = poll(p, 2, timeout_ms);

        if (n < 0 && errno == EINTR)
            continue; /* a signal may lengthen a wait, never shorten it */
        if (n < 0)
            return -errno;
        if (p[1].revents)
            return 1;
        if (p[0].revents)
            return -EPIPE;
        return 0;
    }
}

void http_hijack(struct http_request *req, const char *ctype, http_hijack_fn fn, void *data,
                 void (*free_data)(void *))
{
    if (http_replied(req)) {
        if (free_data)
            free_data(data);
        return;
    }
    req->reply = REPLY_HIJACK;
    req->ctype = xstrdup(ctype);
    req->hijack = fn;
    req->hijack_data = data;
    req->hijack_free = free_data;
}
