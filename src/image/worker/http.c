/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl, wrapped: see http.h. */
#include "image/worker/http.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/worker/proxy.h"

#define CONNECT_TIMEOUT_MS 15000
#define ERROR_BODY_MAX     (16u * 1024)
#define REDIRECTS_MAX      5
#define HEADERS_MAX        (256u * 1024) /* of one answer */
#define TRICKLE            64L /* bytes a second: less than that is a stream that stands still */
#define POOL_MAX           16

struct http_client {
    CURL *curl;
};

/* One hop of a request. */
struct transfer {
    struct http_client *client;
    const struct http_request *req;
    struct http_response *resp;
    const char *url;
    bool foreign;        /* another host than the request's: nothing secret goes there */
    size_t header_bytes; /* of this answer */
    bool too_many_headers;
    int64_t head_deadline; /* ns: the answer's headers must be there, 0: no such limit */
    bool late;
    uint64_t sent; /* bytes of the body that libcurl took */
    const char *proxy;
    char errbuf[CURL_ERROR_SIZE];
};

/* Clients at rest, with their connections. */
static struct {
    pthread_mutex_t lock;
    struct http_client *free[POOL_MAX];
    unsigned len;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct http_client *http_client_new(void)
{
    struct http_client *c = NULL;

    pthread_mutex_lock(&pool.lock);
    if (pool.len > 0)
        c = pool.free[--pool.len];
    pthread_mutex_unlock(&pool.lock);
    if (!c) {
        c = xcalloc(1, sizeof(*c));
        c->curl = curl_easy_init();
    }
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&pool.lock);
    if (pool.len < POOL_MAX)
        pool.free[pool.len++] = take_ptr(c);
    pthread_mutex_unlock(&pool.lock);
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    free(c);
}

void http_response_done(struct http_response *r)
{
    free(r->content_type);
    free(r->digest);
    free(r->authenticate);
    free(r->location);
    free(r->upload_uuid);
    free(r->link);
    free(r->filters);
    free(r->subject);
    buf_done(&r->body);
    memset(r, 0, sizeof(*r));
}

/* --- Headers ------------------------------------------------------------------------------------- */

int64_t http_retry_after(const char *value, int64_t now)
{
    int64_t n;

    if (parse_i64(value, &n) == 0)
        return n >= 0 ? n : -1;
    time_t at = curl_getdate(value, NULL);
    if (at < 0)
        return -1;
    return at > now ? (int64_t)at - now : 0;
}

/* A number of digits at *s, which moves on; -1: none, or too large. */
static int64_t take_number(const char **s)
{
    size_t n = strspn(*s, "0123456789");
    AUTOFREE char *digits = xstrndup(*s, n);
    int64_t v;

    *s += n;
    return n > 0 && parse_i64(digits, &v) == 0 ? v : -1;
}

bool http_content_range(const char *value, int64_t *ret_start, int64_t *ret_last,
                        int64_t *ret_total)
{
    int64_t start, end, total = -1;

    if (strncasecmp(value, "bytes ", 6) != 0)
        return false;
    value += 6 + strspn(value + 6, " ");
    start = take_number(&value);
    if (start < 0 || *value++ != '-')
        return false;
    end = take_number(&value);
    if (end < start || *value++ != '/')
        return false;
    if (*value == '*')
        value++;
    else if ((total = take_number(&value)) <= end)
        return false;
    if (*value)
        return false;
    *ret_start = start;
    *ret_last = end;
    *ret_total = total;
    return true;
}

/* The value when the header line has this name; not terminated. */
static bool header_is(const char *line, size_t len, const char *name, const char **ret,
                      size_t *ret_len)
{
    size_t n = strlen(name);

    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return false;
    line += n + 1;
    len -= n + 1;
    while (len > 0 && (*line == ' ' || *line == '\t'))
        line++, len--;
    while (len > 0 && strchr("\r\n \t", line[len - 1]))
        len--;
    *ret = line;
    *ret_len = len;
    return true;
}

static int64_t header_number(const char *v, size_t len)
{
    AUTOFREE char *s = xstrndup(v, len);
    int64_t n;

    return parse_i64(s, &n) == 0 && n >= 0 ? n : -1;
}

static void response_reset(struct http_response *r)
{
    struct buf body = r->body;

    body.len = 0;
    r->body = (struct buf)BUF_INIT(ERROR_BODY_MAX);
    http_response_done(r);
    r->body = body;
    r->retry_after = r->length = r->range_start = r->range_last = r->range_total = -1;
    r->range_end = r->chunk_min = -1;
    r->connected = true;
}

/* The last byte of "0-1023" or "bytes=0-1023": what an upload has. */
static int64_t header_range_end(const char *v, size_t len)
{
    const char *dash = memchr(v, '-', len);

    return dash ? header_number(dash + 1, len - (size_t)(dash + 1 - v)) : -1;
}

static void set_text(char **place, const char *v, size_t len)
{
    free(*place);
    *place = xstrndup(v, len);
}

/* Where a relative or absolute location leads from here; NULL: nowhere. */
static char *resolve_url(const char *base, const char *location)
{
    CURLU *u = curl_url();
    char *text = NULL, *copy = NULL;

    if (u && curl_url_set(u, CURLUPART_URL, base, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
        copy = xstrdup(text);
    curl_free(text);
    curl_url_cleanup(u);
    return copy;
}

static void take_header(struct transfer *t, const char *line, size_t len)
{
    struct http_response *r = t->resp;
    const struct {
        const char *name;
        char **place;
    } texts[] = {
        {"Docker-Content-Digest", &r->digest},
        {"Docker-Upload-UUID", &r->upload_uuid},
        {"Link", &r->link},
        {"OCI-Filters-Applied", &r->filters},
        {"OCI-Subject", &r->subject},
    };
    const char *v;
    size_t n;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (header_is(line, len, texts[i].name, &v, &n)) {
            set_text(texts[i].place, v, n);
            return;
        }
    }
    if (header_is(line, len, "Content-Type", &v, &n)) {
        size_t end = strcspn(v, ";\r\n \t");
        set_text(&r->content_type, v, end < n ? end : n);
    } else if (header_is(line, len, "WWW-Authenticate", &v, &n)) {
        if (!r->authenticate || strncasecmp(v, "Bearer", 6) == 0)
            set_text(&r->authenticate, v, n);
    } else if (header_is(line, len, "Location", &v, &n)) {
        AUTOFREE char *location = xstrndup(v, n);
        free(r->location);
        r->location = resolve_url(t->url, location);
    } else if (header_is(line, len, "Retry-After", &v, &n)) {
        AUTOFREE char *value = xstrndup(v, n);
        r->retry_after = http_retry_after(value, time(NULL));
    } else if (header_is(line, len, "Content-Length", &v, &n)) {
        r->length = header_number(v, n);
    } else if (header_is(line, len, "Range", &v, &n)) {
        r->range_end = header_range_end(v, n);
    } else if (header_is(line, len, "OCI-Chunk-Min-Length", &v, &n)) {
        r->chunk_min = header_number(v, n);
    } else if (header_is(line, len, "Content-Range", &v, &n)) {
        AUTOFREE char *value = xstrndup(v, n);
        if (!http_content_range(value, &r->range_start, &r->range_last, &r->range_total))
            r->range_start = INT64_MAX; /* a lie: never where we asked for */
    } else if (header_is(line, len, "Accept-Ranges", &v, &n)) {
        r->accept_ranges = n == 5 && strncasecmp(v, "bytes", 5) == 0;
    }
}

static size_t on_header(char *line, size_t size, size_t n, void *data)
{
    struct transfer *t = data;
    size_t len = size * n;

    t->header_bytes += len;
    if (t->header_bytes > HEADERS_MAX) {
        t->too_many_headers = true;
        return 0;
    }
    if (len >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        response_reset(t->resp); /* the final answer's headers count, not those of "100 Continue" */
    } else if (len <= 2 && (line[0] == '\r' || line[0] == '\n')) {
        long status = 0;
        curl_easy_getinfo(t->client->curl, CURLINFO_RESPONSE_CODE, &status);
        t->resp->answered = status >= 200;
    } else {
        take_header(t, line, len);
    }
    return len;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
    struct transfer *t = data;
    long status = 0;

    curl_easy_getinfo(t->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status < 300 && t->req->sink) {
        int r = t->req->sink(t->req->sink_data, bytes, size * n);
        if (r < 0) {
            t->resp->sink_status = r;
            return 0;
        }
        return size * n;
    }
    /* Too long: the beginning will do. */
    size_t room = ERROR_BODY_MAX - t->resp->body.len;
    (void)buf_append(&t->resp->body, bytes, size * n < room ? size * n : room);
    return size * n;
}

/* More of the body for libcurl. */
static size_t on_read(char *out, size_t size, size_t n, void *data)
{
    struct transfer *t = data;
    const struct http_body *b = t->req->body;
    uint64_t left = b->size - t->sent;
    size_t want = size * n < left ? size * n : (size_t)left;

    if (want == 0)
        return 0;
    if (b->fd < 0) {
        memcpy(out, (const char *)b->data + t->sent, want);
    } else {
        ssize_t got = pread(b->fd, out, want, (off_t)(b->offset + t->sent));
        if (got <= 0)
            return CURL_READFUNC_ABORT; /* the blob is shorter than it was, or cannot be read */
        want = (size_t)got;
    }
    t->sent += want;
    if (b->progress)
        b->progress(b->progress_data, t->sent);
    return want;
}

/* libcurl wants to send the body once more (a kept connection that was closed). */
static int on_seek(void *data, curl_off_t offset, int origin)
{
    struct transfer *t = data;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->req->body->size)
        return CURL_SEEKFUNC_FAIL;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static atomic_bool cancelled;

void http_cancel(void)
{
    atomic_store(&cancelled, true);
}

bool http_cancelled(void)
{
    return atomic_load(&cancelled);
}

/* Headers that come a byte at a time keep the low-speed limit quiet: they have a limit of their own. */
static int on_progress(void *data, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                       curl_off_t ulnow)
{
    struct transfer *t = data;

    (void)dltotal, (void)dlnow, (void)ultotal, (void)ulnow;
    t->late = t->head_deadline > 0 && !t->resp->answered && time_monotonic_ns() > t->head_deadline;
    return t->late || (http_cancelled() && !t->req->despite_cancel) ||
           (t->req->stop && atomic_load(t->req->stop));
}

/* --- Errors --------------------------------------------------------------------------------------- */

/* "host:port" of a URL for people; never its user or password. */
static char *url_host(const char *url)
{
    CURLU *u = curl_url();
    char *part = NULL, *port = NULL, *text = NULL;

    if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &part, 0) == CURLUE_OK) {
        (void)curl_url_get(u, CURLUPART_PORT, &port, 0);
        text = xasprintf("%s%s%s", part, port ? ":" : "", port ? port : "");
    }
    curl_free(part);
    curl_free(port);
    curl_url_cleanup(u);
    return text ? text : xstrdup("?");
}

static int explain_tls(CURLcode code, const char *h, const char *detail, struct error *e)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
        return error_set(
            e, ERR_UNAVAILABLE,
            "the certificate of registry %s is not trusted: %s (put its authority into "
            "/etc/pouch/certs.d/%s/ca.crt, or name it by --insecure-registry)",
            h, detail, h);
    case CURLE_SSL_CERTPROBLEM:
        return error_set(e, ERR_UNAVAILABLE,
                         "the client certificate for registry %s cannot be used: %s", h, detail);
    case CURLE_SSL_CACERT_BADFILE:
        return error_set(e, ERR_UNAVAILABLE,
                         "the certificate authorities for registry %s cannot be used: %s", h,
                         detail);
    default:
        return error_set(e, ERR_UNAVAILABLE,
                         "registry %s does not speak HTTPS: %s (plain HTTP is only used for hosts "
                         "named by --insecure-registry)",
                         h, detail);
    }
}

static bool was_refused(const struct transfer *t)
{
    long os_errno = 0;

    curl_easy_getinfo(t->client->curl, CURLINFO_OS_ERRNO, &os_errno);
    return os_errno == ECONNREFUSED || strstr(t->errbuf, "refused");
}

/* What goes wrong on the way by a proxy. 0: it is not the proxy's. */
static int explain_proxy(const struct transfer *t, CURLcode code, struct error *e)
{
    AUTOFREE char *h = t->proxy ? url_host(t->proxy) : NULL;
    long status = 0;

    if (!h)
        return 0;
    curl_easy_getinfo(t->client->curl, CURLINFO_HTTP_CONNECTCODE, &status);
    AUTOFREE char *to = url_host(t->url);
    if (status >= 300)
        return error_set(e, ERR_UNAVAILABLE, "proxy %s answered %ld for registry %s", h, status,
                         to);
    if (code == CURLE_COULDNT_RESOLVE_PROXY)
        return error_set(e, ERR_UNAVAILABLE, "cannot reach proxy %s: no such host", h);
    if (code == CURLE_COULDNT_CONNECT)
        return error_set(e, ERR_UNAVAILABLE, "cannot reach proxy %s (for registry %s): %s", h, to,
                         was_refused(t) ? "connection refused" : "cannot connect");
    return 0;
}

/* A server that wants a certificate of ours says so by an alert after the handshake, which is often
 * lost behind the closing of the connection. */
static bool wants_client_certificate(const struct transfer *t, CURLcode code)
{
    bool closed = code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING;
    curl_off_t handshake = 0;

    curl_easy_getinfo(t->client->curl, CURLINFO_APPCONNECT_TIME_T, &handshake);
    return closed && handshake > 0 && !t->resp->connected;
}

/* One line a person can act on. */
static int explain(const struct transfer *t, CURLcode code, struct error *e)
{
    AUTOFREE char *host = url_host(t->url);
    const char *h = host, *detail = t->errbuf;
    int r = explain_proxy(t, code, e);

    if (r < 0)
        return r;
    if (t->too_many_headers)
        return error_set(e, ERR_UNAVAILABLE, "registry %s sends more than %u bytes of headers", h,
                         HEADERS_MAX);
    if (t->late)
        return error_set(e, ERR_TIMEOUT, "registry %s timed out: its answer never begins", h);
    if (wants_client_certificate(t, code))
        return error_set(e, ERR_UNAVAILABLE,
                         "registry %s ends the connection after the TLS handshake: %s (they belong "
                         "into /etc/pouch/certs.d/%s, as NAME.cert and NAME.key)",
                         h,
                         t->req->setup->cert && !t->foreign
                             ? "our client certificate is not accepted"
                             : "it may want a client certificate",
                         h);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_set(e, ERR_UNAVAILABLE, "cannot reach registry %s: no such host", h);
    case CURLE_COULDNT_CONNECT:
        return error_set(e, ERR_UNAVAILABLE, "cannot reach registry %s: %s", h,
                         was_refused(t) ? "connection refused"
                         : *detail      ? detail
                                        : "cannot connect");
    case CURLE_OPERATION_TIMEDOUT:
        return error_set(e, ERR_TIMEOUT, "registry %s timed out: %s", h,
                         *detail ? detail : "no data came");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
        return explain_tls(code, h, detail, e);
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return error_set(e, ERR_UNAVAILABLE, "registry %s closed the connection early", h);
    default:
        return error_set(e, ERR_UNAVAILABLE, "registry %s: %s", h,
                         *detail ? detail : curl_easy_strerror(code));
    }
}

/* --- One hop -------------------------------------------------------------------------------------- */

static void set_blob(CURL *c, CURLoption option, const char *pem)
{
    struct curl_blob blob = {(void *)pem, strlen(pem), CURL_BLOB_NOCOPY};

    curl_easy_setopt(c, option, &blob);
}

static void set_tls(CURL *c, const struct http_setup *s, bool foreign)
{
    if (s->ca) { /* beside the system's, which the folder holds */
        set_blob(c, CURLOPT_CAINFO_BLOB, s->ca);
        curl_easy_setopt(c, CURLOPT_CAPATH, "/etc/ssl/certs");
    }
    if (s->skip_verify) {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (s->cert && s->key && !foreign) {
        curl_easy_setopt(c, CURLOPT_SSLCERTTYPE, "PEM");
        curl_easy_setopt(c, CURLOPT_SSLKEYTYPE, "PEM");
        set_blob(c, CURLOPT_SSLCERT_BLOB, s->cert);
        set_blob(c, CURLOPT_SSLKEY_BLOB, s->key);
    }
}

static void set_secrets(CURL *c, const struct http_request *q)
{
    if (q->bearer) {
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, q->bearer);
    } else if (q->username) {
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(c, CURLOPT_USERNAME, q->username);
        curl_easy_setopt(c, CURLOPT_PASSWORD, q->password ? q->password : "");
    }
}

/* The proxy for this hop, found anew for each: a redirect may lead elsewhere. */
static void set_proxy(struct transfer *t)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;

    if (u && curl_url_set(u, CURLUPART_URL, t->url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
        t->proxy = proxy_for(t->req->setup, scheme, host, (unsigned)strtoul(port, NULL, 10));
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    /* "" so that libcurl does not look into the environment by itself. */
    curl_easy_setopt(t->client->curl, CURLOPT_PROXY, t->proxy ? t->proxy : "");
    curl_easy_setopt(t->client->curl, CURLOPT_NOPROXY, "");
    curl_easy_setopt(t->client->curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

static void set_method(struct transfer *t)
{
    const struct http_request *q = t->req;
    CURL *c = t->client->curl;

    if (q->form)
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->form);
    if (!q->method)
        return;
    if (STREQ(q->method, "HEAD")) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
        return;
    }
    if (q->body) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body->size);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(c, CURLOPT_READDATA, t);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024);
    } else if (!STREQ(q->method, "DELETE") && !STREQ(q->method, "GET")) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, 0L);
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
}

static struct curl_slist *make_headers(const struct transfer *t)
{
    const struct http_request *q = t->req;
    struct curl_slist *headers = NULL;

    if (q->accept) {
        AUTOFREE char *accept = xasprintf("Accept: %s", q->accept);
        headers = curl_slist_append(headers, accept);
    }
    if (q->method) {
        /* Without waiting for "100 Continue"; an early refusal stops the sending anyway. */
        headers = curl_slist_append(headers, "Expect:");
        AUTOFREE char *type = xasprintf("Content-Type:%s%s", q->content_type ? " " : "",
                                        q->content_type ? q->content_type : "");
        headers = curl_slist_append(headers, type);
    }
    if (q->content_range) {
        AUTOFREE char *range = xasprintf("Content-Range: %s", q->content_range);
        headers = curl_slist_append(headers, range);
    }
    for (char *const *h = q->headers; h && *h && !t->foreign; h++)
        headers = curl_slist_append(headers, *h);
    return headers;
}

static void set_options(struct transfer *t, struct curl_slist *headers)
{
    const struct http_request *q = t->req;
    const struct http_setup *s = q->setup;
    CURL *c = t->client->curl;
    uint64_t stall = q->stall_timeout ? q->stall_timeout : s->stall_timeout;
    char range[64];

    curl_easy_reset(c); /* keeps connections */
    curl_easy_setopt(c, CURLOPT_URL, t->url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "pouch/" POUCH_VERSION);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->errbuf);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, s->insecure ? "http,https" : "https");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(s->connect_timeout_ms ? s->connect_timeout_ms : CONNECT_TIMEOUT_MS));
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, TRICKLE);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)stall);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)q->total_timeout);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 512L * 1024);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    set_tls(c, s, t->foreign);
    set_proxy(t);
    if (!t->foreign)
        set_secrets(c, q);
    set_method(t);
    if (q->offset > 0 || q->length > 0) {
        if (q->length > 0)
            snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)q->offset,
                     (unsigned long long)(q->offset + q->length - 1));
        else
            snprintf(range, sizeof(range), "%llu-", (unsigned long long)q->offset);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
    t->head_deadline = 0;
    if (!q->body && stall > 0)
        t->head_deadline = time_monotonic_ns() + (int64_t)(2 * stall) * NSEC_PER_SEC;
}

static int perform_hop(struct transfer *t, struct error *e)
{
    struct http_response *resp = t->resp;
    struct curl_slist *headers = make_headers(t);

    t->errbuf[0] = '\0';
    set_options(t, headers);
    CURLcode code = curl_easy_perform(t->client->curl);
    curl_easy_getinfo(t->client->curl, CURLINFO_RESPONSE_CODE, &resp->status);
    resp->curl_code = (int)code;
    int r = 0;
    if (code != CURLE_OK && resp->sink_status < 0)
        r = resp->sink_status; /* the sink knows why */
    else if (code != CURLE_OK)
        r = explain(t, code, e);
    /* What the handle still points to ends here. */
    curl_easy_setopt(t->client->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(t->client->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return r;
}

/* --- Redirects ------------------------------------------------------------------------------------- */

static bool is_redirect(const struct http_request *q, const struct http_response *r)
{
    bool safe = !q->method || STREQ(q->method, "GET") || STREQ(q->method, "HEAD");

    if (!r->location || q->form)
        return false;
    if (r->status == 307 || r->status == 308)
        return true;
    return safe && (r->status == 301 || r->status == 302 || r->status == 303);
}

/* "scheme://host:port" with the port always there; NULL when it is no such thing. */
static char *url_origin(const char *url, char **ret_scheme)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *text = NULL;

    if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK) {
        *ret_scheme = xstrdup(scheme);
        if (curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
            curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
            text = xasprintf("%s://%s:%s", scheme, host, port);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return text;
}

/* Whether the redirect may be followed, and what may go along. */
static int check_redirect(struct transfer *t, const char *to, struct error *e)
{
    AUTOFREE char *from_scheme = NULL, *to_scheme = NULL, *host = url_host(t->req->url);
    AUTOFREE char *from = url_origin(t->req->url, &from_scheme);
    AUTOFREE char *target = url_origin(to, &to_scheme);
    bool https = to_scheme && STREQ(to_scheme, "https");

    if (!target || (!https && !(to_scheme && STREQ(to_scheme, "http"))))
        return error_set(e, ERR_UNAVAILABLE,
                         "registry %s redirects to %.60s:, which is not followed", host,
                         to_scheme ? to_scheme : "nowhere");
    if (!https && !t->req->setup->insecure)
        return error_set(e, ERR_UNAVAILABLE,
                         "registry %s redirects to plain HTTP (%.200s), which is not followed",
                         host, target);
    t->foreign = !from || !STREQ(from, target);
    return 0;
}

int http_perform(struct http_client *c, const struct http_request *req, struct http_response *resp,
                 struct error *e)
{
    struct transfer t = {.client = c, .req = req, .resp = resp, .url = req->url};
    AUTOFREE char *url = NULL;

    memset(resp, 0, sizeof(*resp));
    resp->body = (struct buf)BUF_INIT(ERROR_BODY_MAX);
    resp->retry_after = resp->length = resp->range_start = -1;
    resp->range_last = resp->range_total = resp->range_end = resp->chunk_min = -1;
    for (unsigned hops = 0;; hops++) {
        int r = perform_hop(&t, e);
        if (r < 0 || !is_redirect(req, resp))
            return r;
        if (hops == REDIRECTS_MAX) {
            AUTOFREE char *host = url_host(req->url);
            return error_set(e, ERR_UNAVAILABLE, "registry %s redirects in a loop (more than %d)",
                             host, REDIRECTS_MAX);
        }
        free(url);
        url = take_ptr(resp->location);
        r = check_redirect(&t, url, e);
        if (r < 0)
            return r;
        t.url = url;
        t.header_bytes = 0;
        t.sent = 0;
    }
}
