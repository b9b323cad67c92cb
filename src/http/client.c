/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/1.1 client: requests, answers, bodies. See client.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "http/client-priv.h"

#define LINE_MAX_CHUNK 256 /* a chunk-size line with its extensions */

void http_encode(struct buf *out, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *s; s++) {
        unsigned char ch = (unsigned char)*s;

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
            strchr("-_.~", ch)) {
            (void)buf_putc(out, (char)ch);
        } else {
            char enc[3] = {'%', hex[ch >> 4], hex[ch & 15]};
            (void)buf_append(out, enc, sizeof enc);
        }
    }
}

struct http_conn *http_conn_new_fd(int fd)
{
    struct http_conn *c = xmalloc(sizeof *c);

    *c = (struct http_conn){.fd = fd, .body_done = true};
    return c;
}

void http_conn_free(struct http_conn *c)
{
    if (!c)
        return;
    http_tls_free(c->tls);
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c->host_header);
    free(c);
}

int http_conn_fd(const struct http_conn *c)
{
    return c->fd;
}

bool http_conn_has_pending(const struct http_conn *c)
{
    return c->in_pos < c->in_len || (c->tls && http_tls_has_pending(c->tls));
}

bool http_conn_is_reusable(const struct http_conn *c)
{
    return c->body_done && c->keep_alive;
}

/* --- Bytes ------------------------------------------------------------------------------- */

static ssize_t io_read(struct http_conn *c, void *data, size_t len)
{
    ssize_t n;

    if (c->tls)
        return http_tls_read(c->tls, data, len);
    do
        n = read(c->fd, data, len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t http_conn_raw_write_some(struct http_conn *c, const void *data, size_t len)
{
    ssize_t n;

    if (c->tls)
        return http_tls_write(c->tls, data, len);
    n = send(c->fd, data, len, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

void http_conn_set_nonblocking(struct http_conn *c)
{
    int flags = fcntl(c->fd, F_GETFL);

    if (flags >= 0)
        (void)fcntl(c->fd, F_SETFL, flags | O_NONBLOCK);
}

int http_conn_raw_write(struct http_conn *c, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = http_conn_raw_write_some(c, p, len);

        if (n == -EINTR)
            continue;
        if (n < 0)
            return (int)n;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

ssize_t http_conn_raw_read(struct http_conn *c, void *data, size_t len)
{
    size_t have = c->in_len - c->in_pos;

    if (!have)
        return io_read(c, data, len);
    if (len > have)
        len = have;
    memcpy(data, c->in + c->in_pos, len);
    c->in_pos += len;
    return (ssize_t)len;
}

void http_conn_shutdown_write(struct http_conn *c)
{
    if (c->tls)
        http_tls_shutdown_write(c->tls);
    else
        (void)shutdown(c->fd, SHUT_WR);
}

/* Reads more into the (empty) input buffer: bytes, 0 at the end, -errno. */
static ssize_t fill(struct http_conn *c)
{
    ssize_t n = io_read(c, c->in, sizeof c->in);

    c->in_pos = 0;
    c->in_len = n > 0 ? (size_t)n : 0;
    return n;
}

static int error_read(const struct http_conn *c, struct error *e, ssize_t n, const char *what)
{
    if (n == 0)
        return error_set(e, ERR_UNAVAILABLE, "the server closed the connection %s", what);
    if (n == -EPROTO && c->tls && *http_tls_failure(c->tls))
        return error_set(e, ERR_UNAVAILABLE, "TLS: %s", http_tls_failure(c->tls));
    return error_set_errno(e, (int)n, "reading the server's answer failed");
}

/* One line without its CR LF, appended to `line` (whose maximum bounds it). */
static int read_line(struct http_conn *c, struct buf *line, const char *where, struct error *e)
{
    for (;;) {
        char *start, *nl;
        size_t have;

        if (c->in_pos == c->in_len) {
            ssize_t n = fill(c);
            if (n <= 0)
                return error_read(c, e, n, where);
        }
        start = c->in + c->in_pos;
        have = c->in_len - c->in_pos;
        nl = memchr(start, '\n', have);
        if (nl)
            have = (size_t)(nl - start) + 1;
        c->in_pos += have;
        if (buf_append(line, start, nl ? have - 1 : have) < 0)
            return error_set(e, ERR_TOO_LARGE, "the server's answer has an over-long head");
        if (!nl)
            continue;
        if (line->len && line->data[line->len - 1] == '\r')
            line->data[--line->len] = '\0';
        if (line->len && memchr(line->data, '\0', line->len))
            return error_set(e, ERR_UNAVAILABLE,
                             "the server's answer is not HTTP: NUL in its head");
        return 0;
    }
}

/* --- Requests ---------------------------------------------------------------------------- */

int http_conn_send(struct http_conn *c, const struct http_request *req, struct error *e)
{
    AUTO(buf) struct buf head = BUF_INIT(BUF_UNLIMITED);
    int r;

    (void)buf_printf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: pouch/" POUCH_VERSION "\r\n",
                     req->method, req->target, c->host_header ? c->host_header : "pouch");
    if (req->upgrade)
        (void)buf_puts(&head, "Connection: Upgrade\r\nUpgrade: tcp\r\n");
    for (size_t i = 0; req->headers && req->headers[i]; i++)
        (void)buf_printf(&head, "%s\r\n", req->headers[i]);
    if (req->content_type)
        (void)buf_printf(&head, "Content-Type: %s\r\n", req->content_type);
    if (req->chunked)
        (void)buf_puts(&head, "Transfer-Encoding: chunked\r\n");
    else if (req->body || !STREQ(req->method, "GET"))
        (void)buf_printf(&head, "Content-Length: %zu\r\n", req->body_len);
    (void)buf_puts(&head, "\r\n");
    if (!req->chunked && req->body_len)
        (void)buf_append(&head, req->body, req->body_len);
    c->head_request = STREQ(req->method, "HEAD");
    c->body_done = false;
    c->keep_alive = false;
    r = http_conn_raw_write(c, head.data, head.len);
    /* A server that refuses early may have answered and closed: its answer is worth reading. */
    if (r == -EPIPE || r == -ECONNRESET)
        return 0;
    return r < 0 ? error_set_errno(e, r, "sending the request failed") : 0;
}

int http_conn_write_chunk(struct http_conn *c, const void *data, size_t len, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    int r;

    (void)buf_printf(&b, "%zx\r\n", len);
    if (len)
        (void)buf_append(&b, data, len);
    (void)buf_puts(&b, "\r\n");
    r = http_conn_raw_write(c, b.data, b.len);
    if (r == -EPIPE || r == -ECONNRESET)
        return -EPIPE;
    return r < 0 ? error_set_errno(e, r, "sending the request failed") : 0;
}

/* --- Answers ----------------------------------------------------------------------------- */

const char *http_response_header(const struct http_response *res, const char *name)
{
    size_t len = strlen(name);

    for (char **h = res->headers; h && *h; h++) {
        if (!strncmp(*h, name, len) && (*h)[len] == ':')
            return *h + len + 2;
    }
    return NULL;
}

void http_response_done(struct http_response *res)
{
    strv_free(res->headers);
    *res = (struct http_response){0};
}

/* "HTTP/1.1 200 OK" → 200 and whether it is 1.1. */
static int parse_status_line(const char *line, int *ret_status, bool *ret_11, struct error *e)
{
    const char *p = line + strlen("HTTP/1.x ");

    if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return error_set(e, ERR_UNAVAILABLE, "the server's answer is not HTTP/1.1");
    for (int i = 0; i < 3; i++) {
        if (p[i] < '0' || p[i] > '9')
            return error_set(e, ERR_UNAVAILABLE, "the server's answer has no valid status");
    }
    if ((p[3] != ' ' && p[3] != '\0') || p[0] == '0')
        return error_set(e, ERR_UNAVAILABLE, "the server's answer has no valid status");
    *ret_status = (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
    *ret_11 = line[7] == '1';
    return 0;
}

static bool is_token_char(unsigned char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           (ch && strchr("!#$%&'*+-.^_`|~", ch));
}

/* Takes "Name:  value " apart and appends "name: value". */
static int add_header(struct http_response *res, const char *line, struct error *e)
{
    const char *colon = line;
    const char *value, *end;
    char *h;

    while (is_token_char((unsigned char)*colon))
        colon++;
    if (*colon != ':' || colon == line)
        return error_set(e, ERR_UNAVAILABLE, "the server's answer has a malformed header");
    value = colon + 1 + strspn(colon + 1, " \t");
    end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    h = xasprintf("%.*s: %.*s", (int)(colon - line), line, (int)(end - value), value);
    for (char *p = h; *p != ':'; p++) {
        if (*p >= 'A' && *p <= 'Z')
            *p += 'a' - 'A';
    }
    strv_push_take(&res->headers, h);
    return 0;
}

static int read_head(struct http_conn *c, struct http_response *res, bool *ret_11, struct error *e)
{
    AUTO(buf) struct buf line = BUF_INIT(HTTP_HEAD_MAX);
    size_t total = 0;
    int r;

    r = read_line(c, &line, "without an answer", e);
    if (r < 0)
        return r;
    r = parse_status_line(buf_str(&line), &res->status, ret_11, e);
    if (r < 0)
        return r;
    for (size_t n = 0;; n++) {
        total += line.len;
        if (total >= HTTP_HEAD_MAX)
            return error_set(e, ERR_TOO_LARGE, "the server's answer has an over-long head");
        buf_clear(&line);
        line.max = HTTP_HEAD_MAX - total;
        r = read_line(c, &line, "in the head of its answer", e);
        if (r < 0)
            return r;
        if (!line.len)
            return 0;
        if (n == HTTP_HEADER_MAX)
            return error_set(e, ERR_TOO_LARGE, "the server's answer has too many headers");
        r = add_header(res, buf_str(&line), e);
        if (r < 0)
            return r;
    }
}

/* Content-Length, which may come more than once only with the same value. */
static int content_length(const struct http_response *res, bool *ret_set, uint64_t *ret,
                          struct error *e)
{
    *ret_set = false;
    for (char **h = res->headers; h && *h; h++) {
        uint64_t n;

        if (!str_has_prefix(*h, "content-length: "))
            continue;
        if (parse_u64(*h + strlen("content-length: "), &n) < 0 || (*ret_set && n != *ret))
            return error_set(e, ERR_UNAVAILABLE, "the server's answer has a bad Content-Length");
        *ret_set = true;
        *ret = n;
    }
    return 0;
}

/* Decides how the body is delimited (RFC 9112, 6.3). */
static int prepare_body(struct http_conn *c, const struct http_response *res, bool is_11,
                        struct error *e)
{
    const char *te = http_response_header(res, "transfer-encoding");
    const char *connection = http_response_header(res, "connection");
    bool has_length;
    uint64_t length = 0;
    int r;

    r = content_length(res, &has_length, &length, e);
    if (r < 0)
        return r;
    c->chunk_begun = false;
    c->body_done = false;
    c->left = 0;
    c->keep_alive = is_11;
    if (connection && !strcasecmp(connection, "close"))
        c->keep_alive = false;
    else if (connection && !strcasecmp(connection, "keep-alive"))
        c->keep_alive = true;
    if (c->head_request || res->status == 204 || res->status == 304) {
        c->body = HTTP_BODY_NONE;
        c->body_done = true;
    } else if (te) {
        if (strcasecmp(te, "chunked") != 0 || has_length)
            return error_set(e, ERR_UNAVAILABLE,
                             "the server's answer has a transfer encoding "
                             "that is not supported");
        c->body = HTTP_BODY_CHUNKED;
    } else if (has_length) {
        c->body = HTTP_BODY_LENGTH;
        c->left = length;
        c->body_done = length == 0;
    } else {
        c->body = HTTP_BODY_CLOSE;
        c->keep_alive = false;
    }
    return 0;
}

int http_conn_recv(struct http_conn *c, struct http_response *ret, struct error *e)
{
    struct http_response res = {0};
    bool is_11 = false;
    int r;

    for (int interim = 0;; interim++) {
        r = read_head(c, &res, &is_11, e);
        if (r < 0)
            goto fail;
        if (res.status >= 200 || res.status == 101)
            break;
        if (interim == 8) {
            r = error_set(e, ERR_UNAVAILABLE, "the server sends only interim answers");
            goto fail;
        }
        http_response_done(&res);
    }
    if (res.status == 101) {
        res.upgraded = true;
        c->body = HTTP_BODY_CLOSE;
        c->body_done = false;
        c->keep_alive = false;
    } else {
        r = prepare_body(c, &res, is_11, e);
        if (r < 0)
            goto fail;
    }
    *ret = res;
    return 0;
fail:
    http_response_done(&res);
    c->keep_alive = false;
    return r;
}

/* --- Bodies ------------------------------------------------------------------------------ */

static int parse_chunk_size(const char *line, uint64_t *ret)
{
    uint64_t n = 0;
    int digits = 0;

    for (; *line; line++, digits++) {
        int d;

        if (*line >= '0' && *line <= '9')
            d = *line - '0';
        else if (*line >= 'a' && *line <= 'f')
            d = *line - 'a' + 10;
        else if (*line >= 'A' && *line <= 'F')
            d = *line - 'A' + 10;
        else
            break;
        if (n >> 59)
            return -ERANGE;
        n = n << 4 | (uint64_t)d;
    }
    line += strspn(line, " \t");
    if (!digits || (*line && *line != ';'))
        return -EINVAL;
    *ret = n;
    return 0;
}

/* Reads up to the next chunk's data; at the last chunk also the trailers. */
static int next_chunk(struct http_conn *c, struct error *e)
{
    AUTO(buf) struct buf line = BUF_INIT(LINE_MAX_CHUNK);
    int r;

    if (c->chunk_begun) {
        r = read_line(c, &line, "in the middle of its answer", e);
        if (r < 0)
            return r;
        if (line.len)
            return error_set(e, ERR_UNAVAILABLE, "the server's answer has a bad chunk end");
    }
    r = read_line(c, &line, "in the middle of its answer", e);
    if (r < 0)
        return r;
    if (parse_chunk_size(buf_str(&line), &c->left) < 0)
        return error_set(e, ERR_UNAVAILABLE, "the server's answer has a bad chunk size");
    c->chunk_begun = true;
    if (c->left)
        return 0;
    for (int trailers = 0;; trailers++) {
        buf_clear(&line);
        line.max = HTTP_HEAD_MAX;
        r = read_line(c, &line, "in the middle of its answer", e);
        if (r < 0)
            return r;
        if (!line.len)
            break;
        if (trailers == HTTP_HEADER_MAX)
            return error_set(e, ERR_TOO_LARGE, "the server's answer has too many trailers");
    }
    c->body_done = true;
    return 0;
}

ssize_t http_conn_read(struct http_conn *c, void *data, size_t len, struct error *e)
{
    ssize_t n;

    if (!c->body_done && c->body == HTTP_BODY_CHUNKED && !c->left) {
        int r = next_chunk(c, e);
        if (r < 0) {
            c->keep_alive = false;
            return r;
        }
    }
    if (c->body_done || !len)
        return 0;
    if (c->body != HTTP_BODY_CLOSE && len > c->left)
        len = (size_t)c->left;
    n = http_conn_raw_read(c, data, len);
    if (c->body == HTTP_BODY_CLOSE) {
        c->body_done = n == 0;
        return n < 0 ? error_read(c, e, n, "") : n;
    }
    if (n <= 0) {
        c->keep_alive = false;
        return error_read(c, e, n, "in the middle of its answer");
    }
    c->left -= (uint64_t)n;
    if (c->body == HTTP_BODY_LENGTH && !c->left)
        c->body_done = true;
    return n;
}

int http_conn_read_all(struct http_conn *c, struct buf *out, struct error *e)
{
    for (;;) {
        size_t room = out->max - out->len;
        char *p;
        ssize_t n;

        if (c->body_done)
            return 0;
        p = room ? buf_reserve(out, room < HTTP_READ_SIZE ? room : HTTP_READ_SIZE) : NULL;
        if (!p)
            return error_set(e, ERR_TOO_LARGE, "the server's answer is larger than %zu bytes",
                             out->max);
        n = http_conn_read(c, p, room < HTTP_READ_SIZE ? room : HTTP_READ_SIZE, e);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
    }
}
