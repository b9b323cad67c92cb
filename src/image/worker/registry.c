/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distribution API over all endpoints: which is asked next, going on after a broken connection,
 * and errors in Docker's words.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/worker/ranges.h"
#include "image/worker/registry-priv.h"

#define BREAKS_MAX      5    /* of one body, without progress between them */
#define ALL_BREAKS_MAX  1000 /* of one body */
#define STALLS_MAX      1
#define RATE_LIMIT_WAIT 60            /* seconds, without a plan */
#define PROGRESS_BYTES  (256u * 1024) /* what counts as progress between two breaks */

/* --- Endpoints ----------------------------------------------------------------------------------- */

/* What pouchd found out. */
static struct registry_plan shared;

/* Without a plan for it: the host of the start message alone. */
static void plan_of_start(struct registry *r, const struct worker_msg *s)
{
    struct registry_endpoint *ep = json_list_add(&r->own_plan.endpoints, sizeof(*ep));

    *ep = (struct registry_endpoint){
        .name = xstrdup(s->host ? s->host : ""),
        .host = xstrdup(s->host ? s->host : ""),
        .scheme = xstrdup(s->insecure ? "" : "https"),
        .prefix = xstrdup("/v2"),
        .repository = xstrdup(s->repository ? s->repository : ""),
        .needs = REGISTRY_PULL | REGISTRY_RESOLVE | REGISTRY_PUSH,
        .insecure = s->insecure,
        .skip_verify = s->insecure,
        .username = xstrdup_or_null(s->username),
        .password = xstrdup_or_null(s->password),
        .identity_token = xstrdup_or_null(s->identity_token),
        .registry_token = xstrdup_or_null(s->registry_token),
    };
    r->own_plan.http_proxy = xstrdup_or_null(shared.http_proxy);
    r->own_plan.https_proxy = xstrdup_or_null(shared.https_proxy);
    r->own_plan.no_proxy = xstrdup_or_null(shared.no_proxy);
    r->own_plan.rate_limit_wait = shared.registry ? shared.rate_limit_wait : RATE_LIMIT_WAIT;
    r->plan = &r->own_plan;
}

int registry_use_plan(int fd, struct error *e)
{
    registry_plan_done(&shared);
    return registry_plan_from_fd(fd, &shared, e);
}

static void endpoint_init(struct registry *r, struct endpoint *ep,
                          const struct registry_endpoint *conf)
{
    ep->conf = conf;
    ep->setup = (struct http_setup){
        .insecure = conf->insecure,
        .skip_verify = conf->skip_verify,
        .ca = conf->ca,
        .cert = conf->cert,
        .key = conf->key,
        .http_proxy = r->plan->http_proxy,
        .https_proxy = r->plan->https_proxy,
        .no_proxy = r->plan->no_proxy,
        .connect_timeout_ms = conf->dial_timeout_ms,
        .stall_timeout = r->start->stall_timeout,
    };
    ep->auth = conf->mirror || r->auth.host ? &ep->own_auth : &r->auth;
    auth_init(ep->auth, conf, r->start->reference, &ep->setup);
}

void registry_init(struct registry *r, const struct worker_msg *start)
{
    memset(r, 0, sizeof(*r));
    r->start = start;
    pthread_mutex_init(&r->lock, NULL);
    if (shared.registry && start->host && STREQ(shared.registry, start->host))
        r->plan = &shared;
    else
        plan_of_start(r, start);
    const struct registry_endpoint *conf = r->plan->endpoints.items;
    r->n = r->plan->endpoints.len;
    r->endpoints = xcalloc(r->n, sizeof(*r->endpoints));
    for (size_t i = 0; i < r->n; i++)
        endpoint_init(r, &r->endpoints[i], &conf[i]);
    if (!r->auth.host) /* mirrors only: nobody looks, but it is valid */
        auth_init(&r->auth, &conf[0], start->reference, &r->endpoints[0].setup);
}

static void tell_health(const struct endpoint *ep, const char *state, const char *why)
{
    struct worker_msg m = {.type = (char *)"endpoint",
                           .host = ep->conf->name,
                           .state = (char *)state,
                           .message = (char *)why};

    (void)conn_send(&m, NULL);
}

void registry_done(struct registry *r)
{
    for (size_t i = 0; i < r->n; i++) {
        /* Only now: what a mirror gave may have turned out wrong after its other answers were good. */
        if (r->endpoints[i].conf->mirror && r->endpoints[i].worked && !r->endpoints[i].failed)
            tell_health(&r->endpoints[i], "ok", NULL);
        if (r->endpoints[i].auth == &r->endpoints[i].own_auth)
            auth_done(&r->endpoints[i].own_auth);
        free(r->endpoints[i].why);
    }
    auth_done(&r->auth);
    pthread_mutex_destroy(&r->lock);
    free(r->endpoints);
    registry_plan_done(&r->own_plan);
}

bool endpoint_fits(const struct endpoint *ep, unsigned need, const char *what)
{
    bool digest = what && digest_is_valid(what);

    return (ep->conf->needs & need) == need && !(digest && ep->conf->tag_only) &&
           !(what && !digest && ep->conf->digest_only);
}

void endpoint_worked(struct registry *r, struct endpoint *ep)
{
    pthread_mutex_lock(&r->lock);
    ep->worked = true;
    pthread_mutex_unlock(&r->lock);
}

void endpoint_failed(struct registry *r, struct endpoint *ep, const struct error *why)
{
    pthread_mutex_lock(&r->lock);
    bool tell = ep->conf->mirror && !ep->failed;
    ep->failed = true;
    str_replace(&ep->why, error_message(why));
    ep->why_code = why->code;
    pthread_mutex_unlock(&r->lock);
    if (tell)
        tell_health(ep, "failed", error_message(why));
}

/* It is well, but has not what was asked for. */
static void endpoint_lacks(struct registry *r, struct endpoint *ep, const struct error *why)
{
    pthread_mutex_lock(&r->lock);
    str_replace(&ep->why, error_message(why));
    ep->why_code = why->code;
    pthread_mutex_unlock(&r->lock);
}

uint64_t registry_blob_endpoints(const struct registry *r, const char *digest)
{
    uint64_t found = 0;

    for (size_t i = 0; i < r->n; i++)
        if (endpoint_fits(&r->endpoints[i], REGISTRY_PULL, digest))
            found |= (uint64_t)1 << i;
    return found;
}

void registry_accuse(struct registry *r, size_t endpoint, const struct error *why)
{
    endpoint_failed(r, &r->endpoints[endpoint], why);
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

    str_tame(line, NULL);
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

static int not_found_error(const struct registry *r, const char *host, bool manifest,
                           const char *what, const char *code, const char *message, struct error *e)
{
    if (manifest)
        return error_set(e, ERR_NOT_FOUND, "manifest for %s not found: %s: %s", r->start->reference,
                         or_else(code, "manifest unknown"), or_else(message, "manifest unknown"));
    return error_set(e, ERR_NOT_FOUND, "blob %s of %s is not in registry %s", what,
                     r->start->reference, host);
}

/* The same for a path of the registry itself. */
static int path_error(const char *host, const char *path, const struct http_response *resp,
                      const char *message, struct error *e)
{
    const char *sep = *message ? ": " : "";
    AUTOFREE char *short_path = xstrndup(path, strcspn(path, "?"));

    if (resp->status == 401 || resp->status == 403)
        return error_set(e, ERR_FORBIDDEN, "registry %s refuses access: %s%s%s", host,
                         resp->status == 401 ? "unauthorized" : "denied", sep, message);
    if (resp->status == 404 || resp->status == 405)
        return error_set(e, ERR_NOT_FOUND, "registry %s has no %s", host, short_path);
    if (resp->status == 429)
        return error_set(e, ERR_UNAVAILABLE, "toomanyrequests: registry %s limits the rate%s%s",
                         host, sep, message);
    return error_set(e, resp->status >= 500 ? ERR_UNAVAILABLE : ERR_INTERNAL,
                     "registry %s answered %ld for %s%s%s", host, resp->status, short_path, sep,
                     message);
}

/* The final verdict on an answer that is not 2xx. A refusal is never 401 for our own client, which
 * would take that for a question to log in at Pouch. */
int endpoint_status_error(const struct registry *r, const struct endpoint *ep, const char *kind,
                          const char *what, const struct http_response *resp, struct error *e)
{
    const struct worker_msg *s = r->start;
    const char *host = ep ? ep->conf->name : s->host;
    bool manifest = kind && STREQ(kind, "manifests");
    AUTOFREE char *code = NULL, *message = NULL;

    registry_read_error(resp, &code, &message);
    const char *m = or_else(message, code);
    if (!kind)
        return path_error(host, what, resp, m, e);
    if (resp->status == 403 || STREQ(code, "denied") ||
        (resp->status == 404 && !manifest && STREQ(code, "name unknown")))
        return error_set(e, ERR_NOT_FOUND,
                         "pull access denied for %s, repository does not exist or may require "
                         "'docker login': denied: %s",
                         s->reference, or_else(m, "requested access to the resource is denied"));
    switch (resp->status) {
    case 401:
        return error_set(e, ERR_FORBIDDEN, "registry %s refuses access to %s: unauthorized: %s",
                         host, s->reference, or_else(m, "authentication required"));
    case 404:
        return not_found_error(r, host, manifest, what, code, m, e);
    case 429: {
        AUTOFREE char *wait = resp->retry_after > 0
                                  ? xasprintf(" (it asks to come back in %lld s; "
                                              "rate-limit-wait allows %llu s)",
                                              (long long)resp->retry_after,
                                              (unsigned long long)r->plan->rate_limit_wait)
                                  : xstrdup("");
        return error_set(e, ERR_UNAVAILABLE, "toomanyrequests: registry %s limits the rate: %s%s",
                         host, or_else(m, "try again later"), wait);
    }
    default:
        return error_set(e, resp->status >= 500 ? ERR_UNAVAILABLE : ERR_INTERNAL,
                         "registry %s answered %ld for %s %s%s%s", host, resp->status,
                         manifest ? "manifest" : kind, what, *m ? ": " : "", m);
    }
}

/*
 * What the registry itself said, and in brackets what the others did, so that nobody wonders why
 * they were passed over.
 */
static int final_error(const struct registry *r, const struct endpoint *last, int rc,
                       struct error *last_error, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(16u * 1024);
    const struct endpoint *main = last;

    for (size_t i = 0; i < r->n && last->conf->mirror; i++)
        if (!r->endpoints[i].conf->mirror && r->endpoints[i].why)
            main = &r->endpoints[i];
    for (size_t i = 0; i < r->n; i++) {
        const char *why = &r->endpoints[i] == last ? error_message(last_error)
                                                   : r->endpoints[i].why;
        if (&r->endpoints[i] != main && why)
            (void)buf_printf(&b, "%s%s", b.len ? "; " : "", why);
    }
    if (b.len == 0) {
        error_move(e, last_error);
        return rc;
    }
    return error_set(e, main == last ? last_error->code : main->why_code, "%s (others: %s)",
                     main == last ? error_message(last_error) : main->why, buf_str(&b));
}

/* --- Reading ---------------------------------------------------------------------------------------- */

/* One body, over as many connections and endpoints as it takes. */
struct reading {
    struct registry *r;
    struct http_client *client;
    const struct registry_get *get;
    const struct http_response *resp;
    uint64_t done; /* bytes passed on */
    uint64_t skip; /* to drop, when the server does not know ranges */
    uint64_t mark; /* done at the last break */
    bool begun;    /* the body of this attempt has begun */
    /* Several connections: */
    struct exchange exchange; /* this attempt */
    struct ranges_watch watch;
    uint64_t watched_from; /* done when the watch began */
    struct ranges *ranges; /* NULL: one stream */
    uint64_t hand_over;    /* with ranges: where the stream ends and they begin */
    bool single;           /* it was tried */
    bool no_range;         /* it lied about a range: from the start, then */
    bool lied;
    bool told; /* get->giver knows whose bytes these are */
    unsigned breaks, all_breaks, stalls;
};

static void reading_restart(void *data)
{
    struct reading *g = data;

    g->begun = false;
}

/* What the answer's body begins with. */
static int reading_begin(struct reading *g)
{
    const struct http_response *resp = g->resp;
    int64_t want = g->get->want_size;

    g->begun = true;
    g->skip = g->done;
    if (resp->status != 206 && resp->range_start < 0)
        return 0;
    if (resp->range_start < 0 || (uint64_t)resp->range_start != g->done ||
        (want >= 0 && resp->range_total >= 0 && resp->range_total != want)) {
        g->lied = true;
        return -EPROTO;
    }
    g->skip = 0;
    return 0;
}

/* After each piece of a layer: would more connections bring it sooner? */
static void consider_ranges(struct reading *g, int64_t before, int64_t now)
{
    int64_t size = g->get->want_size;

    if (!g->get->parallel || g->get->plain || size < 0 || g->single || g->ranges || g->no_range)
        return;
    ranges_watch(&g->watch, before, now - before);
    if (!ranges_are_worth(&g->watch, now, (uint64_t)size - g->done))
        return;
    g->ranges = ranges_start(&g->exchange, &g->watch, now, g->done - g->watched_from, g->done,
                             (uint64_t)size);
    if (g->ranges)
        g->hand_over = ranges_begin(g->ranges, g->done);
    else
        g->watch = (struct ranges_watch){0}; /* another layer does it: again later */
}

static void tell_giver(struct reading *g, bool stitched)
{
    if (g->get->giver)
        g->get->giver(g->get->sink_data, (size_t)(g->exchange.ep - g->r->endpoints), stitched);
}

/* The stream has come to where the helpers began. 1: the rest is there, 0: on as one stream. */
static int use_ranges(struct reading *g)
{
    int rc = 0;

    if (g->done == g->hand_over) {
        tell_giver(g, true);
        rc = ranges_consume(g->ranges, &g->done, g->get->sink, g->get->sink_data);
    }
    ranges_free(take_ptr(g->ranges));
    g->single = true;
    return rc;
}

static int reading_sink(void *data, const void *bytes, size_t len)
{
    struct reading *g = data;
    const char *b = bytes;

    if (!g->begun && reading_begin(g) < 0)
        return -EPROTO;
    if (g->skip > 0) {
        size_t n = len < g->skip ? len : (size_t)g->skip;
        g->skip -= n;
        b += n;
        len -= n;
    }
    if (g->ranges && len > g->hand_over - g->done)
        len = (size_t)(g->hand_over - g->done);
    if (len > 0) {
        int64_t before = time_monotonic_ns();
        if (!g->told)
            tell_giver(g, g->done > 0);
        g->told = true;
        int r = g->get->sink(g->get->sink_data, b, len);
        if (r < 0)
            return r;
        int64_t now = time_monotonic_ns();
        if (g->watch.since == 0)
            g->watched_from = g->done;
        g->done += len;
        consider_ranges(g, before, now);
    }
    return g->ranges && g->done == g->hand_over ? -ECANCELED : 0;
}

static void pause_after_break(unsigned breaks)
{
    struct timespec ts = {.tv_nsec = (long)(25 << (breaks < 5 ? breaks : 5)) * 1000000};

    nanosleep(&ts, NULL);
}

/* Whether this endpoint may go on with the body after the attempt ended like that. */
static bool may_go_on(struct reading *g, const struct http_response *resp)
{
    if (g->lied) {
        g->lied = false;
        if (g->no_range)
            return false;
        g->no_range = true;
        return true;
    }
    bool stalled = response_stalled(resp);
    if (!stalled && !response_broke(resp))
        return false;
    if (g->done >= g->mark + PROGRESS_BYTES)
        g->breaks = g->stalls = 0;
    g->mark = g->done;
    if (++g->all_breaks > ALL_BREAKS_MAX || (stalled && ++g->stalls > STALLS_MAX) ||
        ++g->breaks >= BREAKS_MAX)
        return false;
    pause_after_break(g->breaks);
    return true;
}

/* 0: the body is whole. */
static int read_from(struct reading *g, struct endpoint *ep, bool impatient,
                     struct http_response *resp, struct error *e)
{
    const struct registry_get *get = g->get;
    const char *repository = g->r->start->repository;
    AUTOFREE char *target = get->kind ? xasprintf("/v2/%s/%s/%s", repository, get->kind, get->what)
                                      : xstrdup(get->what);
    AUTOFREE char *scope = str_is_empty(repository) ? NULL
                                                    : xasprintf("repository:%s:pull", repository);

    g->breaks = g->stalls = 0;
    g->no_range = g->lied = false;
    for (;;) {
        struct http_request req = {.accept = get->accept,
                                   .offset = g->no_range ? 0 : g->done,
                                   .total_timeout = get->timeout,
                                   .sink = reading_sink,
                                   .sink_data = g};
        AUTO(error) struct error own = ERROR_INIT;
        g->resp = resp;
        g->exchange = (struct exchange){.r = g->r,
                                        .ep = ep,
                                        .client = g->client,
                                        .req = &req,
                                        .target = target,
                                        .scope = scope,
                                        .impatient = impatient,
                                        .is_layer = get->parallel,
                                        .index = get->index,
                                        .restart = reading_restart,
                                        .restart_data = g};
        g->watch = (struct ranges_watch){0};
        g->told = false;
        int rc = endpoint_exchange(&g->exchange, resp, &own);
        if (g->ranges) {
            bool stopped = g->done == g->hand_over;
            int all = use_ranges(g);
            if (all != 0)
                return all < 0 ? all : 0;
            if (stopped)
                continue;
        }
        if (resp->sink_status < 0 && !g->lied)
            return resp->sink_status;
        if (rc >= 0 && resp->status >= 200 && resp->status < 300)
            return 0;
        if (rc < 0 && may_go_on(g, resp))
            continue;
        if (get->want_size >= 0 &&
            ((rc < 0 && resp->curl_code == CURLE_PARTIAL_FILE) || (rc >= 0 && resp->status == 416)))
            return error_set(
                e, ERR_UNAVAILABLE,
                "it is short: registry %s closed the connection after %llu of %lld bytes",
                ep->conf->name, (unsigned long long)g->done, (long long)get->want_size);
        if (resp->sink_status < 0)
            return error_set(e, ERR_UNAVAILABLE,
                             "registry %s answers with other bytes than it was asked for",
                             ep->conf->name);
        if (rc < 0)
            error_move(e, &own);
        else
            rc = endpoint_status_error(g->r, ep, get->kind, get->what, resp, e);
        return rc;
    }
}

/* The next endpoint to ask: those that did not fail yet in the plan's order, then the others. */
static struct endpoint *next_endpoint(struct registry *r, const struct registry_get *get,
                                      uint64_t *tried)
{
    /* Nothing proves a list of referrers, on whatever page: not for who may give by digest only. */
    bool referrers = get->kind && STREQ(get->kind, "referrers");
    bool by_tag = referrers ||
                  (get->kind && !STREQ(get->kind, "blobs") && !digest_is_valid(get->what));
    const char *what = referrers ? "referrers" : get->kind ? get->what : NULL;
    unsigned need = by_tag ? REGISTRY_RESOLVE : REGISTRY_PULL;
    struct endpoint *found = NULL;

    pthread_mutex_lock(&r->lock);
    for (int failed = 0; failed < 2 && !found; failed++)
        for (size_t i = 0; i < r->n && !found; i++)
            if (!(*tried & (uint64_t)1 << i) && r->endpoints[i].failed == (failed == 1) &&
                endpoint_fits(&r->endpoints[i], need, what) &&
                (get->kind || !r->endpoints[i].conf->mirror))
                found = &r->endpoints[i];
    pthread_mutex_unlock(&r->lock);
    if (found)
        *tried |= (uint64_t)1 << (found - r->endpoints);
    return found;
}

/* Whether the endpoint itself is to blame: it does not answer as it should. An honest "no such
 * thing" is none, and 405 is what some say of an API that they do not have. */
static bool is_failure(const struct http_response *resp, int rc)
{
    return rc < 0 && resp->status != 404 && resp->status != 401 && resp->status != 403 &&
           resp->status != 400 && resp->status != 405;
}

int registry_read(struct registry *r, struct http_client *c, const struct registry_get *get,
                  struct registry_got *ret, struct error *e)
{
    struct reading g = {.r = r, .client = c, .get = get, .done = get->done, .mark = get->done};
    AUTO(error) struct error last = ERROR_INIT;
    uint64_t tried = get->avoid;
    struct endpoint *ep = next_endpoint(r, get, &tried), *next;
    int rc;

    if (!ep)
        return error_set(e, ERR_UNAVAILABLE,
                         "no registry is configured that may be asked for %s (capabilities)",
                         r->start->reference ? r->start->reference : get->what);
    for (;; ep = next) {
        CLEANUP(http_response_done) struct http_response resp = {0};

        next = next_endpoint(r, get, &tried);
        error_done(&last);
        rc = read_from(&g, ep, next != NULL, &resp, &last);
        if (ret) {
            ret->from = ep;
            ret->status = resp.status;
        }
        if (rc >= 0) {
            endpoint_worked(r, ep);
            if (ret) {
                ret->content_type = take_ptr(resp.content_type);
                ret->digest = take_ptr(resp.digest);
                ret->link = take_ptr(resp.link);
            }
            return 0;
        }
        if (!last.message)
            return rc; /* the sink stopped it and knows why */
        if (is_failure(&resp, rc))
            endpoint_failed(r, ep, &last);
        else
            endpoint_lacks(r, ep, &last);
        if (!next)
            return final_error(r, ep, rc, &last, e);
    }
}

void registry_got_done(struct registry_got *g)
{
    free(g->content_type);
    free(g->digest);
    free(g->link);
    memset(g, 0, sizeof(*g));
}

int registry_get(struct registry *r, struct http_client *c, const char *kind, const char *what,
                 const char *accept, int64_t want_size, http_sink *sink, void *sink_data,
                 char **ret_content_type, char **ret_digest, struct error *e)
{
    CLEANUP(registry_got_done) struct registry_got got = {0};
    const struct registry_get get = {.kind = kind,
                                     .what = what,
                                     .accept = accept,
                                     .want_size = want_size,
                                     .sink = sink,
                                     .sink_data = sink_data};
    int rc = registry_read(r, c, &get, &got, e);

    if (rc >= 0 && ret_content_type)
        *ret_content_type = take_ptr(got.content_type);
    if (rc >= 0 && ret_digest)
        *ret_digest = take_ptr(got.digest);
    return rc;
}

/* --- Any request ------------------------------------------------------------------------------------- */

int registry_request(struct registry *r, struct http_client *c, const char *target,
                     const char *scope, struct http_request *req, struct http_response *resp,
                     struct error *e)
{
    AUTO(error) struct error last = ERROR_INIT;
    struct endpoint *ep = NULL;
    int rc = -ENOENT;

    pthread_mutex_lock(&r->lock);
    struct endpoint *fixed = r->pushing;
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->n; i++) {
        if (!fixed && !endpoint_fits(&r->endpoints[i], REGISTRY_PUSH, NULL))
            continue;
        ep = fixed ? fixed : &r->endpoints[i];
        struct exchange x = {.r = r,
                             .ep = ep,
                             .client = c,
                             .req = req,
                             .target = target,
                             .scope = scope,
                             .once = true};
        error_done(&last);
        rc = endpoint_exchange(&x, resp, &last);
        if (rc >= 0 && !fixed) {
            pthread_mutex_lock(&r->lock);
            r->pushing = r->pushing ? r->pushing : ep;
            pthread_mutex_unlock(&r->lock);
        }
        /* What came as an answer is for the caller to judge; what never came may come elsewhere. */
        if (rc >= 0 || fixed || resp->connected || !last.message)
            break;
        endpoint_failed(r, ep, &last);
    }
    if (!ep)
        return error_set(e, ERR_UNAVAILABLE,
                         "no registry is configured that may be pushed to (capabilities)");
    return rc < 0 ? final_error(r, ep, rc, &last, e) : 0;
}
