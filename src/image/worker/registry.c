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
#define TOKEN_MAX       (256u * 1024)

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
}

void registry_done(struct registry *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r->ca_file);
    free(r->token);
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
static void read_api_error(const struct http_response *resp, char **ret_code, char **ret_message)
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
    bool manifest = STREQ(kind, "manifests");
    AUTOFREE char *code = NULL, *message = NULL;

    read_api_error(resp, &code, &message);
    const char *m = or_else(message, code);
    if (resp->status == 403 || STREQ(code, "denied") ||
        (resp->status == 404 && !manifest && STREQ(code, "name unknown")))
        return error_set(e, ERR_NOT_FOUND,
                         "pull access denied for %s, repository does not exist or may require "
                         "'docker login': denied: %s",
                         s->reference, or_else(m, "requested access to the resource is denied"));
    switch (resp->status) {
    case 401:
        return error_set(e, ERR_FORBIDDEN, "registry %s refuses access to %s: unauthorized: %s",
                         s->host, s->reference, or_else(m, "authentication required"));
    case 404:
        return not_found_error(r, manifest, what, code, m, e);
    case 429:
        return error_set(e, ERR_UNAVAILABLE, "toomanyrequests: registry %s limits the rate: %s",
                         s->host, or_else(m, "try again later"));
    default:
        return error_set(e, resp->status >= 500 ? ERR_UNAVAILABLE : ERR_INTERNAL,
                         "registry %s answered %ld for %s %s%s%s", s->host, resp->status,
                         manifest ? "manifest" : kind, what, *m ? ": " : "", m);
    }
}

/* --- Tokens ------------------------------------------------------------------------------------- */

struct token_answer {
    char *token;
    char *access_token;
};
static const struct json_field token_fields[] = {
    JSON_FIELD(struct token_answer, token, "token", JSON_STR, 0),
    JSON_FIELD(struct token_answer, access_token, "access_token", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc token_json = {"token", sizeof(struct token_answer), token_fields};

static int token_sink(void *data, const void *bytes, size_t len)
{
    return buf_append(data, bytes, len);
}

/* The form of an OAuth2 refresh, for identity tokens. */
static char *refresh_form(const struct challenge *c, const char *scope, const char *token)
{
    struct buf b = BUF_INIT(64u * 1024);
    char *s = curl_easy_escape(NULL, c->service ? c->service : "", 0);
    char *p = curl_easy_escape(NULL, c->scope ? c->scope : scope, 0);
    char *t = curl_easy_escape(NULL, token, 0);

    (void)buf_printf(&b,
                     "grant_type=refresh_token&client_id=pouch&service=%s&scope=%s"
                     "&refresh_token=%s",
                     s, p, t);
    curl_free(s);
    curl_free(p);
    curl_free(t);
    return buf_take(&b);
}

static int fetch_token(struct registry *r, struct http_client *client, const struct challenge *c,
                       char **ret, struct error *e)
{
    const struct worker_msg *s = r->start;
    AUTOFREE char *scope = xasprintf("repository:%s:pull", s->repository);
    AUTOFREE char *url = NULL, *form = NULL;
    AUTO(buf) struct buf body = BUF_INIT(TOKEN_MAX);
    CLEANUP(http_response_done) struct http_response resp = {0};
    struct token_answer answer = {0};
    bool identity = !str_is_empty(s->identity_token);

    if (!s->insecure && !str_has_prefix(c->realm, "https://"))
        return error_set(e, ERR_FORBIDDEN,
                         "registry %s wants tokens from %.200s, which is not HTTPS", s->host,
                         c->realm);
    if (identity)
        form = refresh_form(c, scope, s->identity_token);
    url = identity ? xstrdup(c->realm) : challenge_url(c, scope);
    struct http_request req = {.url = url,
                               .form = form,
                               .insecure = s->insecure,
                               .ca_file = r->ca_file,
                               .stall_timeout = s->stall_timeout,
                               .sink = token_sink,
                               .sink_data = &body};
    if (!identity && !str_is_empty(s->username)) {
        req.username = s->username;
        req.password = s->password;
    }
    int rc = http_perform(client, &req, &resp, e);
    if (rc < 0) {
        if (e->message)
            error_add(e, "cannot get a token for %s", s->reference);
        else
            rc = error_set(e, ERR_INTERNAL, "the token for %s is too large", s->reference);
        return rc;
    }
    if (resp.status == 401 || resp.status == 403)
        return error_set(e, ERR_FORBIDDEN, "registry %s refuses access to %s: unauthorized: %s",
                         s->host, s->reference,
                         str_is_empty(s->username) ? "authentication required"
                                                   : "incorrect username or password");
    if (resp.status < 200 || resp.status > 299)
        return error_set(e, ERR_UNAVAILABLE, "the token server of registry %s answered %ld",
                         s->host, resp.status);
    rc = json_parse(&token_json, buf_str(&body), body.len, &answer, e);
    if (rc < 0) {
        error_add(e, "the token server of registry %s", s->host);
        return rc;
    }
    char *token = !str_is_empty(answer.token) ? answer.token : answer.access_token;
    if (!str_is_empty(token))
        *ret = xstrdup(token);
    else
        rc = error_set(e, ERR_FORBIDDEN, "the token server of registry %s gave no token", s->host);
    json_free(&token_json, &answer);
    return rc;
}

/* After a 401: gets what the challenge asks for. */
static int authenticate(struct registry *r, struct http_client *client, const char *header,
                        const char *used_token, struct error *e)
{
    const struct worker_msg *s = r->start;
    CLEANUP(challenge_done) struct challenge c = {0};
    char *token = NULL;

    if (challenge_parse(header, &c) < 0)
        return error_set(e, ERR_FORBIDDEN, "registry %s asks for an unknown kind of authentication",
                         s->host);
    if (c.scheme == CHALLENGE_BASIC) {
        if (str_is_empty(s->username))
            return error_set(e, ERR_FORBIDDEN,
                             "registry %s refuses access to %s: unauthorized: authentication "
                             "required",
                             s->host, s->reference);
        r->basic = true;
        return 0;
    }
    pthread_mutex_lock(&r->lock); /* a thread that failed with an older token just takes the new */
    bool fresh = r->token && (!used_token || !STREQ(r->token, used_token));
    pthread_mutex_unlock(&r->lock);
    if (fresh)
        return 0;
    int rc = fetch_token(r, client, &c, &token, e);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&r->lock);
    free(r->token);
    r->token = token;
    pthread_mutex_unlock(&r->lock);
    return 0;
}

/* --- Requests --------------------------------------------------------------------------------------- */

struct get {
    struct registry *r;
    struct http_client *client;
    const char *kind, *what, *accept;
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

/* One attempt with what is known about scheme and rights. */
static int attempt(struct get *g, const char *scheme, struct http_response *resp, char **ret_token,
                   struct error *e)
{
    const struct worker_msg *s = g->r->start;
    AUTOFREE char *url = xasprintf("%s://%s/v2/%s/%s/%s", scheme, s->host, s->repository, g->kind,
                                   g->what);
    struct http_request req = {.url = url,
                               .accept = g->accept,
                               .offset = g->done,
                               .insecure = s->insecure,
                               .ca_file = g->r->ca_file,
                               .stall_timeout = s->stall_timeout,
                               .sink = get_sink,
                               .sink_data = g};

    pthread_mutex_lock(&g->r->lock);
    *ret_token = xstrdup_or_null(g->r->token);
    pthread_mutex_unlock(&g->r->lock);
    if (!*ret_token && !str_is_empty(s->registry_token))
        *ret_token = xstrdup(s->registry_token);
    req.bearer = *ret_token;
    if (g->r->basic) {
        req.username = s->username;
        req.password = s->password;
    }
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
static int judge(struct get *g, int rc, struct http_response *resp, const char *token,
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
        if (r->basic)
            return status_error(r, g->kind, g->what, resp, e);
        rc = authenticate(r, g->client, resp->authenticate, token, e);
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
    struct get g = {.r = r,
                    .client = c,
                    .kind = kind,
                    .what = what,
                    .accept = accept,
                    .want_size = want_size,
                    .sink = sink,
                    .sink_data = sink_data};

    for (;;) {
        CLEANUP(http_response_done) struct http_response resp = {0};
        AUTOFREE char *token = NULL;
        int rc = attempt(&g, first_scheme(r), &resp, &token, e);
        if (resp.sink_status < 0)
            return resp.sink_status;
        rc = judge(&g, rc, &resp, token, e);
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
