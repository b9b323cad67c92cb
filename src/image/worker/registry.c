/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distribution API's read side: scheme, authentication, patience, going on after a broken
 * connection, and errors in Docker's words.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/worker/worker.h"

#define RETRIES_MAX     4  /* of one request, all reasons together, without progress */
#define RETRY_AFTER_MAX 10 /* seconds a registry may make us wait */

/* Where administrators put the authorities of private registries: HOST[:PORT]/ca.crt. */
static const char *const CERT_DIRS[] = {"/etc/pouch/certs.d", "/etc/docker/certs.d"};

void registry_init(struct registry *r, const struct worker_msg *start)
{
    memset(r, 0, sizeof(*r));
    r->start = start;
    pthread_mutex_init(&r->lock, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(CERT_DIRS) && !strchr(start->host, '/'); i++) {
        AUTOFREE char *path = xasprintf("%s/%s/ca.crt", CERT_DIRS[i], start->host);
        if (!r->ca_file && access(path, R_OK) == 0)
            r->ca_file = take_ptr(path);
    }
    auth_init(&r->auth, start, r->ca_file);
}

void registry_done(struct registry *r)
{
    pthread_mutex_destroy(&r->lock);
    auth_done(&r->auth);
    free(r->ca_file);
}

static void pause_ms(int64_t ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

/* --- Errors a registry reports ------------------------------------------------------------------ */

struct api_error {
    char *code;
    char *message;
};
static const struct json_field api_error_fields[] = {
    JSON_FIELD(struct api_error, code, "code", JSON_STR, 0),
    JSON_FIELD(struct api_error, message, "message", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc api_error_json = {"error", sizeof(struct api_error),
                                                api_error_fields};
struct api_errors {
    struct json_list errors;
};
static const struct json_field api_errors_fields[] = {
    JSON_FIELD_SUB(struct api_errors, errors, "errors", JSON_OBJ_LIST, 0, &api_error_json),
    JSON_END,
};
static const struct json_desc api_errors_json = {"errors", sizeof(struct api_errors),
                                                 api_errors_fields};

/* Text of a registry, made fit for one line of ours. */
static char *one_line(const char *s)
{
    char *line = xstrndup(s, 300);

    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    return line;
}

/* Code (in small letters, "manifest unknown") and message of an answer; "" when it has none. */
void registry_read_error(const struct http_response *resp, char **ret_code, char **ret_message)
{
    struct api_errors errors = {0};
    const struct api_error *first = NULL;

    if (json_parse(&api_errors_json, buf_str(&resp->body), resp->body.len, &errors, NULL) == 0 &&
        errors.errors.len > 0)
        first = errors.errors.items;
    *ret_code = one_line(first && first->code ? first->code : "");
    *ret_message = one_line(first && first->message ? first->message : "");
    json_free(&api_errors_json, &errors);
    for (char *p = *ret_code; *p; p++)
        *p = *p == '_' ? ' ' : (char)tolower((unsigned char)*p);
}

static const char *or_else(const char *text, const char *fallback)
{
    return *text ? text : fallback;
}

static int not_found_error(const struct registry *r, bool manifest, const char *what,
                           const char *code, const char *message, struct error *e)
{
    if (manifest)
        return error_set(e, ERR_NOT_FOUND, "manifest for %s not found: %s: %s", r->start->reference,
                         or_else(code, "manifest unknown"), or_else(message, "manifest unknown"));
    return error_set(e, ERR_NOT_FOUND, "blob %s of %s is not in registry %s", what,
                     r->start->reference, r->start->host);
}

/* The final verdict on an answer that is not 2xx. what: digest or tag. A refusal is never 401 for
 * our own client, which would take that for a question to log in at Pouch. */
static int status_error(const struct registry *r, const char *kind, const char *what,
                        const struct http_response *resp, struct error *e)
{
    const struct worker_msg *s = r->start;
    bool manifest = kind && STREQ(kind, "manifests");
    AUTOFREE char *code = NULL, *message = NULL;

    registry_read_error(resp, &code, &message);
    const char *m = or_else(message, code);
    if (resp->status == 403 || STREQ(code, "denied") ||
        (resp->status == 404 && kind && !manifest && STREQ(code, "name unknown")))
        return error_set(e, ERR_NOT_FOUND,
                         "pull access denied for %s, repository does not exist or may require "
                         "'docker login': denied: %s",
                         s->reference, or_else(m, "requested access to the resource is denied"));
    switch (resp->status) {
    case 401:
        return error_set(e, ERR_FORBIDDEN, "registry %s refuses access to %s: unauthorized: %s",
                         s->host, s->reference, or_else(m, "authentication required"));
    case 404:
        if (!kind)
            return error_set(e, ERR_NOT_FOUND, "registry %s has no %s", s->host, what);
        return not_found_error(r, manifest, what, code, m, e);
    case 429:
        return error_set(e, ERR_UNAVAILABLE, "toomanyrequests: registry %s limits the rate: %s",
                         s->host, or_else(m, "try again later"));
    default:
        return error_set(e, resp->status >= 500 ? ERR_UNAVAILABLE : ERR_INTERNAL,
                         "registry %s answered %ld for %s %s%s%s", s->host, resp->status,
                         manifest ? "manifest"
                         : kind   ? kind
                                  : "GET",
                         what, *m ? ": " : "", m);
    }
}

/* --- Requests --------------------------------------------------------------------------------------- */

struct get {
    struct registry *r;
    struct http_client *client;
    const char *kind, *what, *accept;
    const char *scope; /* the rights it needs */
    int64_t want_size;
    http_sink *sink;
    void *sink_data;
    uint64_t done; /* bytes passed on */
    uint64_t skip; /* to drop, when the server does not know ranges */
    const struct http_response *resp;
    bool begun; /* the body of this attempt has begun */
    unsigned auths, retries;
};

static int get_sink(void *data, const void *bytes, size_t len)
{
    struct get *g = data;
    const char *b = bytes;

    if (!g->begun) {
        g->begun = true;
        g->skip = g->done;
        if (g->resp->range_start >= 0) {
            if ((uint64_t)g->resp->range_start != g->done)
                return -EPROTO;
            g->skip = 0;
        }
    }
    if (g->skip > 0) {
        size_t n = len < g->skip ? len : (size_t)g->skip;
        g->skip -= n;
        b += n;
        len -= n;
    }
    if (len == 0)
        return 0;
    int r = g->sink(g->sink_data, b, len);
    if (r >= 0) {
        g->done += len;
        g->retries = 0;
    }
    return r;
}

/* What every request to the registry has: whom to trust, how long to wait, and rights. */
static void fill_request(struct registry *r, const char *scope, struct http_request *req,
                         struct auth_used *used)
{
    req->insecure = r->start->insecure;
    req->ca_file = r->ca_file;
    if (req->stall_timeout == 0)
        req->stall_timeout = r->start->stall_timeout;
    if (used)
        auth_apply(&r->auth, scope, req, used);
}

/* One attempt with what is known about scheme and rights. */
static int attempt(struct get *g, const char *scheme, struct http_response *resp,
                   struct auth_used *used, struct error *e)
{
    const struct worker_msg *s = g->r->start;
    AUTOFREE char *url = g->kind ? xasprintf("%s://%s/v2/%s/%s/%s", scheme, s->host, s->repository,
                                             g->kind, g->what)
                                 : xasprintf("%s://%s%s", scheme, s->host, g->what);
    struct http_request req = {
        .url = url, .accept = g->accept, .offset = g->done, .sink = get_sink, .sink_data = g};

    fill_request(g->r, g->scope, &req, used);
    g->resp = resp;
    g->begun = false;
    return http_perform(g->client, &req, resp, e);
}

/* Whether an answer over plain HTTP says that the server speaks TLS. */
static bool wants_tls(int rc, const struct http_response *resp)
{
    if (rc < 0)
        return resp->connected == false &&
               (resp->curl_code == CURLE_GOT_NOTHING || resp->curl_code == CURLE_RECV_ERROR ||
                resp->curl_code == CURLE_WEIRD_SERVER_REPLY ||
                resp->curl_code == CURLE_UNSUPPORTED_PROTOCOL);
    return resp->status == 400 && strcasestr(buf_str(&resp->body), "http request");
}

/* Whether the failed attempt may be tried again, after a pause. */
static bool may_retry(struct get *g, int rc, const struct http_response *resp)
{
    if (g->retries >= RETRIES_MAX || resp->sink_status < 0)
        return false;
    if (rc < 0) {
        /* An answer that broke off; what never answered at all is reported at once. */
        if (!resp->connected ||
            (resp->curl_code != CURLE_PARTIAL_FILE && resp->curl_code != CURLE_RECV_ERROR &&
             resp->curl_code != CURLE_HTTP2_STREAM))
            return false;
        g->retries++;
        pause_ms(50 << g->retries);
        return true;
    }
    if (resp->status == 429 && g->retries < 2 && resp->retry_after <= RETRY_AFTER_MAX) {
        g->retries++;
        pause_ms(resp->retry_after < 0 ? 1000 : resp->retry_after * 1000);
        return true;
    }
    if (resp->status >= 500 && g->retries < 2) {
        pause_ms(250 << g->retries++);
        return true;
    }
    return false;
}

/* The scheme to try: known, or found by trying. */
static const char *first_scheme(struct registry *r)
{
    return r->scheme ? r->scheme : r->start->insecure ? "http" : "https";
}

/* 1: done, 0: again, <0 failed. */
static int judge(struct get *g, int rc, struct http_response *resp, const struct auth_used *used,
                 struct error *e)
{
    struct registry *r = g->r;

    if (!r->scheme && r->start->insecure && wants_tls(rc, resp)) {
        r->scheme = (char *)"https";
        r->guessed = true;
        error_done(e);
        return 0;
    }
    if (r->guessed && rc < 0 && !resp->connected) {
        error_done(e);
        return error_set(e, ERR_UNAVAILABLE,
                         "registry %s speaks neither HTTP nor HTTPS: its answer is garbage",
                         r->start->host);
    }
    r->guessed = false;
    if (resp->status > 0 && !r->scheme)
        r->scheme = (char *)first_scheme(r);
    if (rc >= 0 && resp->status == 401 && resp->authenticate && g->auths < 2) {
        g->auths++;
        rc = auth_answer(&r->auth, g->client, resp->authenticate, g->scope, used, e);
        return rc < 0 ? rc : 0;
    }
    if (rc >= 0 && resp->status >= 200 && resp->status < 300)
        return 1;
    if (may_retry(g, rc, resp)) {
        error_done(e);
        return 0;
    }
    if (g->want_size >= 0 &&
        ((rc < 0 && resp->curl_code == CURLE_PARTIAL_FILE) || resp->status == 416)) {
        error_done(e);
        return error_set(e, ERR_INTERNAL,
                         "it is short: registry %s closed the connection after %llu of %lld bytes",
                         r->start->host, (unsigned long long)g->done, (long long)g->want_size);
    }
    return rc < 0 ? rc : status_error(r, g->kind, g->what, resp, e);
}

int registry_get(struct registry *r, struct http_client *c, const char *kind, const char *what,
                 const char *accept, int64_t want_size, http_sink *sink, void *sink_data,
                 char **ret_content_type, char **ret_digest, struct error *e)
{
    AUTOFREE char *scope = str_is_empty(r->start->repository)
                               ? NULL
                               : xasprintf("repository:%s:pull", r->start->repository);
    struct get g = {.r = r,
                    .scope = scope,
                    .client = c,
                    .kind = kind,
                    .what = what,
                    .accept = accept,
                    .want_size = want_size,
                    .sink = sink,
                    .sink_data = sink_data};

    for (;;) {
        CLEANUP(http_response_done) struct http_response resp = {0};
        CLEANUP(auth_used_done) struct auth_used used = {0};
        int rc = attempt(&g, first_scheme(r), &resp, &used, e);
        if (resp.sink_status < 0)
            return resp.sink_status;
        rc = judge(&g, rc, &resp, &used, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        if (ret_content_type)
            *ret_content_type = take_ptr(resp.content_type);
        if (ret_digest)
            *ret_digest = take_ptr(resp.digest);
        return 0;
    }
}

/* --- Requests of any method ------------------------------------------------------------------------- */

/* Whether an absolute URL leads to the registry itself. */
static bool is_own_url(const struct registry *r, const char *url)
{
    const char *host = strstr(url, "://");
    size_t len = strlen(r->start->host);

    if (!host)
        return false;
    host += 3;
    if (strncasecmp(host, r->start->host, len) != 0)
        return false;
    return strchr("/?#", host[len]) != NULL || /* as it is, or with the default port said */
           (str_has_prefix(url, "https://") && str_has_prefix(host + len, ":443/")) ||
           (str_has_prefix(url, "http://") && str_has_prefix(host + len, ":80/"));
}

int registry_request(struct registry *r, struct http_client *c, const char *target,
                     const char *scope, struct http_request *req, struct http_response *resp,
                     struct error *e)
{
    bool relative = target[0] == '/';
    bool own = relative || is_own_url(r, target);

    for (unsigned auths = 0;;) {
        CLEANUP(auth_used_done) struct auth_used used = {0};
        AUTOFREE char *url = relative
                                 ? xasprintf("%s://%s%s", first_scheme(r), r->start->host, target)
                                 : xstrdup(target);
        req->url = url;
        fill_request(r, scope, req, own ? &used : NULL);
        http_response_done(resp);
        int rc = http_perform(c, req, resp, e);
        req->url = req->bearer = req->username = req->password = NULL;
        if (own && !r->scheme && r->start->insecure && wants_tls(rc, resp)) {
            r->scheme = (char *)"https";
            error_done(e);
            continue;
        }
        if (own && !r->scheme && resp->status > 0)
            r->scheme = (char *)first_scheme(r);
        if (rc < 0 || !own || resp->status != 401 || !resp->authenticate || auths++ >= 2)
            return rc < 0 ? rc : 0;
        rc = auth_answer(&r->auth, c, resp->authenticate, scope, &used, e);
        if (rc < 0)
            return rc;
    }
}
