/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to one endpoint until there is an answer to judge: finds out whether it speaks TLS,
 * authenticates, waits out rate limits and passing server errors.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/time.h"
#include "image/worker/registry-priv.h"

#define TRIES_MAX      4  /* of one exchange because of 429 and 5xx */
#define IMPATIENT_WAIT 2  /* seconds a mirror may make us wait when others are left */
#define MORE_TRIES_MAX 50 /* with Retry-After, as long as the time allows */

bool response_broke(const struct http_response *resp)
{
    return resp->connected &&
           (resp->curl_code == CURLE_PARTIAL_FILE || resp->curl_code == CURLE_RECV_ERROR ||
            resp->curl_code == CURLE_HTTP2_STREAM || resp->curl_code == CURLE_HTTP2 ||
            resp->curl_code == CURLE_SEND_ERROR);
}

bool response_stalled(const struct http_response *resp)
{
    return resp->answered && resp->curl_code == CURLE_OPERATION_TIMEDOUT;
}

static void pause_ms(int64_t ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

/* Who waits sees why. */
static void tell_waiting(const struct exchange *x, long status, int64_t seconds)
{
    AUTOFREE char *text = xasprintf("Waiting %lld s: registry %s %s", (long long)seconds,
                                    x->ep->conf->name,
                                    status == 429 ? "limits the rate" : "is overloaded");
    struct worker_msg m = {.type = (char *)(x->is_layer ? "progress" : "text"),
                           .index = x->is_layer ? x->index : 0,
                           .status = text};

    (void)conn_send(&m, NULL);
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

/* The scheme to try: known, or found by trying. */
static const char *scheme_of(const struct endpoint *ep)
{
    if (ep->scheme)
        return ep->scheme;
    return str_is_empty(ep->conf->scheme) ? "http" : ep->conf->scheme;
}

/* Whether an absolute URL leads to the endpoint itself. */
static bool is_own_url(const struct endpoint *ep, const char *url)
{
    const char *host = strstr(url, "://");
    size_t len = strlen(ep->conf->host);

    if (!host || strncasecmp(host + 3, ep->conf->host, len) != 0)
        return false;
    host += 3;
    return strchr("/?#", host[len]) != NULL || /* as it is, or with the default port said */
           (str_has_prefix(url, "https://") && str_has_prefix(host + len, ":443/")) ||
           (str_has_prefix(url, "http://") && str_has_prefix(host + len, ":80/"));
}

/* Where the target is at this endpoint, whose API and repository may have other names. */
static char *endpoint_url(const struct exchange *x, const char *scheme)
{
    const struct registry_endpoint *conf = x->ep->conf;
    AUTOFREE char *ours = xasprintf("/v2/%s/",
                                    x->r->start->repository ? x->r->start->repository : "");
    const char *ns = conf->ns ? conf->ns : "";
    const char *key = !conf->ns ? "" : strchr(x->target, '?') ? "&ns=" : "?ns=";

    if (x->target[0] != '/')
        return xstrdup(x->target);
    if (!str_is_empty(conf->repository) && str_has_prefix(x->target, ours))
        return xasprintf("%s://%s%s/%s/%s%s%s", scheme, conf->host, conf->prefix, conf->repository,
                         x->target + strlen(ours), key, ns);
    if (str_has_prefix(x->target, "/v2/"))
        return xasprintf("%s://%s%s%s%s%s", scheme, conf->host, conf->prefix, x->target + 3, key,
                         ns);
    return xasprintf("%s://%s%s", scheme, conf->host, x->target);
}

/* The rights wanted, in the endpoint's name of the repository. */
static char *endpoint_scope(const struct exchange *x)
{
    const char *from = x->r->start->repository, *to = x->ep->conf->repository;

    if (!x->scope || str_is_empty(from) || str_is_empty(to) || STREQ(from, to))
        return xstrdup_or_null(x->scope);
    AUTOFREE char *old = xasprintf("repository:%s:", from);
    if (!str_has_prefix(x->scope, old))
        return xstrdup(x->scope);
    return xasprintf("repository:%s:%s", to, x->scope + strlen(old));
}

/* One time over the wire. */
static int send_once(struct exchange *x, struct http_response *resp, const char *scope,
                     struct auth_used *used, struct error *e)
{
    bool ours = x->target[0] == '/' || is_own_url(x->ep, x->target);

    pthread_mutex_lock(&x->r->lock);
    const char *scheme = scheme_of(x->ep);
    pthread_mutex_unlock(&x->r->lock);
    AUTOFREE char *url = endpoint_url(x, scheme);
    x->req->url = url;
    x->req->headers = ours ? x->ep->conf->headers : NULL;
    struct http_setup foreign = x->ep->setup;
    foreign.cert = foreign.key = NULL;
    x->req->setup = ours ? &x->ep->setup : &foreign;
    if (ours)
        auth_apply(x->ep->auth, scope, x->req, used);
    if (x->restart)
        x->restart(x->restart_data);
    int rc = http_perform(x->client, x->req, resp, e);
    x->req->setup = &x->ep->setup;
    x->req->url = x->req->bearer = x->req->username = x->req->password = NULL;
    return rc;
}

/* Waits when the answer asks for it and that is bearable. */
static bool wait_for_it(struct exchange *x, const struct http_response *resp)
{
    bool limited = resp->status == 429 || (resp->status == 503 && resp->retry_after >= 0);
    uint64_t limit = x->impatient ? IMPATIENT_WAIT : x->r->plan->rate_limit_wait;
    int64_t seconds = resp->retry_after;

    if (x->once)
        return false;
    if (limited && resp->retry_after >= 0) {
        seconds = seconds < 1 ? 1 : seconds;
        if (x->tries++ >= MORE_TRIES_MAX || (uint64_t)seconds > limit - x->waited)
            return false;
    } else if (limited) {
        seconds = (int64_t)1 << x->tries;
        if (x->tries++ >= 2 || (uint64_t)seconds > limit - x->waited)
            return false;
    } else if (resp->status >= 500 && resp->status != 501 && x->tries < TRIES_MAX - 2) {
        pause_ms(250 << x->tries++);
        return true;
    } else {
        return false;
    }
    x->waited += (uint64_t)seconds;
    if (!x->silent)
        tell_waiting(x, resp->status, seconds);
    pause_ms(seconds * 1000);
    return true;
}

/* Finds out about TLS. 1: again, 0: nothing to find out, <0: it speaks nothing. */
static int learn_scheme(struct exchange *x, int rc, const struct http_response *resp,
                        struct error *e)
{
    struct endpoint *ep = x->ep;
    int result = 0;

    pthread_mutex_lock(&x->r->lock);
    if (!ep->scheme && str_is_empty(ep->conf->scheme) && wants_tls(rc, resp)) {
        ep->scheme = (char *)"https";
        ep->guessed = true;
        result = 1;
    } else if (ep->guessed && rc < 0 && !resp->connected) {
        result = -1;
    } else if (resp->status > 0) {
        ep->guessed = false;
        if (!ep->scheme)
            ep->scheme = (char *)scheme_of(ep);
        if (!ep->conf->mirror)
            x->r->scheme = ep->scheme;
    }
    pthread_mutex_unlock(&x->r->lock);
    if (result != 0)
        error_done(e);
    if (result < 0)
        return error_set(e, ERR_UNAVAILABLE,
                         "registry %s speaks neither HTTP nor HTTPS: its answer is garbage",
                         ep->conf->name);
    return result;
}

int endpoint_exchange(struct exchange *x, struct http_response *resp, struct error *e)
{
    AUTOFREE char *scope = endpoint_scope(x);

    for (;;) {
        CLEANUP(auth_used_done) struct auth_used used = {0};
        AUTO(error) struct error own = ERROR_INIT;

        http_response_done(resp);
        int rc = send_once(x, resp, scope, &used, &own);
        int again = resp->sink_status < 0 ? 0 : learn_scheme(x, rc, resp, &own);
        if (again > 0)
            continue;
        if (again < 0)
            rc = again;
        bool ours = x->target[0] == '/' || is_own_url(x->ep, x->target);
        if (rc >= 0 && ours && resp->status == 401 && resp->authenticate && x->auths < 2) {
            x->auths++;
            rc = auth_answer(x->ep->auth, x->client, resp->authenticate, scope, &used, &own);
            if (rc >= 0)
                continue;
        } else if (rc >= 0 && wait_for_it(x, resp)) {
            continue;
        }
        if (rc < 0)
            error_move(e, &own);
        return rc;
    }
}
