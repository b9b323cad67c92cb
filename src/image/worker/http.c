/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl, wrapped: one blocking GET or POST at a time, the body to a sink. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/worker/worker.h"

#define CONNECT_TIMEOUT 15L
#define ERROR_BODY_MAX  (16u * 1024)
#define REDIRECTS_MAX   5L

struct http_client {
    CURL *curl;
};

struct transfer {
    struct http_client *client;
    const struct http_request *req;
    struct http_response *resp;
    uint64_t sent; /* bytes of the body that libcurl took */
};

struct http_client *http_client_new(void)
{
    struct http_client *c = xcalloc(1, sizeof(*c));

    c->curl = curl_easy_init();
    return c;
}

void http_client_free(struct http_client *c)
{
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
    buf_done(&r->body);
    memset(r, 0, sizeof(*r));
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
    r->retry_after = r->length = r->range_start = r->range_end = r->chunk_min = -1;
    r->connected = true;
}

/* The last byte of "0-1023" or "bytes=0-1023": what an upload has. */
static int64_t header_range_end(const char *v, size_t len)
{
    const char *dash = memchr(v, '-', len);

    return dash ? header_number(dash + 1, len - (size_t)(dash + 1 - v)) : -1;
}

/* Headers of uploads; true when the line was one. */
static bool upload_header(struct http_response *r, const char *line, size_t size)
{
    const char *v;
    size_t len = size;

    if (header_is(line, size, "Location", &v, &len)) {
        free(r->location);
        r->location = xstrndup(v, len);
    } else if (header_is(line, size, "Docker-Upload-UUID", &v, &len)) {
        free(r->upload_uuid);
        r->upload_uuid = xstrndup(v, len);
    } else if (header_is(line, size, "Range", &v, &len)) {
        r->range_end = header_range_end(v, len);
    } else if (header_is(line, size, "OCI-Chunk-Min-Length", &v, &len)) {
        r->chunk_min = header_number(v, len);
    } else {
        return false;
    }
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *data)
{
    struct transfer *t = data;
    struct http_response *r = t->resp;
    size_t len = size * n;
    const char *v;

    if (len >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        response_reset(r); /* the final answer's headers count, not a redirect's */
    } else if (upload_header(r, line, len)) {
        return len;
    } else if (header_is(line, len, "Content-Type", &v, &len)) {
        free(r->content_type);
        r->content_type = xstrndup(v, strcspn(v, ";\r\n \t") < len ? strcspn(v, ";\r\n \t") : len);
    } else if (header_is(line, size * n, "Docker-Content-Digest", &v, &len)) {
        free(r->digest);
        r->digest = xstrndup(v, len);
    } else if (header_is(line, size * n, "WWW-Authenticate", &v, &len)) {
        if (!r->authenticate || strncasecmp(v, "Bearer", 6) == 0) {
            free(r->authenticate);
            r->authenticate = xstrndup(v, len);
        }
    } else if (header_is(line, size * n, "Retry-After", &v, &len)) {
        r->retry_after = header_number(v, len);
    } else if (header_is(line, size * n, "Content-Length", &v, &len)) {
        r->length = header_number(v, len);
    } else if (header_is(line, size * n, "Content-Range", &v, &len)) {
        if (len > 6 && strncasecmp(v, "bytes ", 6) == 0)
            r->range_start = header_number(v + 6, strspn(v + 6, "0123456789"));
    }
    return size * n;
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
    (void)buf_append(&t->resp->body, bytes, size * n); /* too long: the beginning will do */
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

/* libcurl wants to send the body once more (a redirect, a kept connection that was closed). */
static int on_seek(void *data, curl_off_t offset, int origin)
{
    struct transfer *t = data;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->req->body->size)
        return CURL_SEEKFUNC_FAIL;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
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

static struct curl_slist *make_headers(const struct http_request *q)
{
    struct curl_slist *headers = NULL;

    if (q->accept) {
        AUTOFREE char *accept = xasprintf("Accept: %s", q->accept);
        headers = curl_slist_append(headers, accept);
    }
    if (!q->method)
        return headers;
    /* Without waiting for "100 Continue"; an early refusal stops the sending anyway. */
    headers = curl_slist_append(headers, "Expect:");
    AUTOFREE char *type = xasprintf("Content-Type:%s%s", q->content_type ? " " : "",
                                    q->content_type ? q->content_type : "");
    headers = curl_slist_append(headers, type);
    if (q->content_range) {
        AUTOFREE char *range = xasprintf("Content-Range: %s", q->content_range);
        headers = curl_slist_append(headers, range);
    }
    return headers;
}

/* One line a person can act on. */
static int explain(CURLcode code, const struct http_request *req, const char *detail,
                   struct error *e)
{
    AUTOFREE char *host = NULL;
    CURLU *u = curl_url();
    char *part = NULL, *port = NULL;
    int r;

    if (u && curl_url_set(u, CURLUPART_URL, req->url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &part, 0) == CURLUE_OK) {
        (void)curl_url_get(u, CURLUPART_PORT, &port, 0);
        host = xasprintf("%s%s%s", part, port ? ":" : "", port ? port : "");
    }
    curl_free(part);
    curl_free(port);
    curl_url_cleanup(u);
    const char *h = host ? host : req->url;
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        r = error_set(e, ERR_UNAVAILABLE, "cannot reach registry %s: no such host", h);
        break;
    case CURLE_COULDNT_CONNECT:
        r = error_set(e, ERR_UNAVAILABLE, "cannot reach registry %s: %s", h,
                      strstr(detail, "refused") ? "connection refused"
                      : *detail                 ? detail
                                                : "cannot connect");
        break;
    case CURLE_OPERATION_TIMEDOUT:
        r = error_set(e, ERR_TIMEOUT, "registry %s timed out: %s", h,
                      *detail ? detail : "no data came");
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
        r = error_set(e, ERR_UNAVAILABLE,
                      "the certificate of registry %s is not trusted: %s (put its authority into "
                      "/etc/pouch/certs.d/%s/ca.crt, or name it by --insecure-registry)",
                      h, detail, h);
        break;
    case CURLE_SSL_CONNECT_ERROR:
        r = error_set(e, ERR_UNAVAILABLE,
                      "registry %s does not speak HTTPS: %s (plain HTTP is only used for hosts "
                      "named by --insecure-registry)",
                      h, detail);
        break;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        r = error_set(e, ERR_UNAVAILABLE, "registry %s closed the connection early", h);
        break;
    default:
        r = error_set(e, ERR_UNAVAILABLE, "registry %s: %s", h,
                      *detail ? detail : curl_easy_strerror(code));
    }
    return r;
}

static void set_options(struct transfer *t, struct curl_slist *headers, char *errbuf)
{
    const struct http_request *q = t->req;
    CURL *c = t->client->curl;
    char range[32];

    curl_easy_reset(c); /* keeps connections */
    curl_easy_setopt(c, CURLOPT_URL, q->url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "pouch/" POUCH_VERSION);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, errbuf);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, q->insecure ? "http,https" : "https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, q->insecure ? "http,https" : "https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, q->form ? 0L : 1L); /* secrets stay here */
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)q->stall_timeout);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 512L * 1024);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    if (q->ca_file) { /* beside the system's, which the folder holds */
        curl_easy_setopt(c, CURLOPT_CAINFO, q->ca_file);
        curl_easy_setopt(c, CURLOPT_CAPATH, "/etc/ssl/certs");
    }
    if (q->insecure) {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (q->bearer) {
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, q->bearer);
    } else if (q->username) {
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(c, CURLOPT_USERNAME, q->username);
        curl_easy_setopt(c, CURLOPT_PASSWORD, q->password ? q->password : "");
    }
    set_method(t);
    if (q->offset > 0) {
        snprintf(range, sizeof(range), "%llu-", (unsigned long long)q->offset);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
}

int http_perform(struct http_client *c, const struct http_request *req, struct http_response *resp,
                 struct error *e)
{
    struct transfer t = {.client = c, .req = req, .resp = resp};
    struct curl_slist *headers = make_headers(req);
    char errbuf[CURL_ERROR_SIZE] = "";

    memset(resp, 0, sizeof(*resp));
    resp->body = (struct buf)BUF_INIT(ERROR_BODY_MAX);
    resp->retry_after = resp->length = resp->range_start = -1;
    resp->range_end = resp->chunk_min = -1;
    set_options(&t, headers, errbuf);
    CURLcode code = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &resp->status);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    resp->curl_code = (int)code;
    if (code == CURLE_OK)
        return 0;
    if (resp->sink_status < 0)
        return resp->sink_status; /* the sink knows why */
    return explain(code, req, errbuf, e);
}
