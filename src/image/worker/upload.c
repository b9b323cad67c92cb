/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distribution API's write side: is it there, mount it, send it in one piece or in chunks, go
 * on where a connection broke, store a manifest. An upload that is not finished is taken back.
 *
 * What the registry has of an upload is believed only within what was sent; the digest is the
 * registry's to check when the upload is closed, and what it then says it has is compared.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/worker/upload.h"

#define FAILURES_MAX    5  /* in a row, without a byte of progress */
#define RESTARTS_MAX    4  /* of a whole upload */
#define RETRY_AFTER_MAX 60 /* seconds a registry may make us wait */
#define MOUNTS_MAX      4  /* repositories to try */
#define CHUNK_DEFAULT   (64ull * 1024 * 1024)
#define CHUNK_LIMIT     (4ull * 1024 * 1024 * 1024)
#define CLOSE_PATIENCE  10 /* times the stall time-out: registries move whole blobs at the end */
#define DROP_TIMEOUT    3  /* seconds to take an upload back */

static void pause_ms(int64_t ms)
{
    while (ms > 0 && !http_cancelled()) {
        int64_t step = ms < 100 ? ms : 100;
        struct timespec ts = {.tv_sec = 0, .tv_nsec = step * 1000000};
        nanosleep(&ts, NULL);
        ms -= step;
    }
}

void uploads_init(struct uploads *u, struct registry *r, uint64_t chunk, char *const *more_scopes)
{
    AUTO(buf) struct buf b = BUF_INIT(256u * 1024);

    u->registry = r;
    u->repository = r->start->repository;
    u->chunk = chunk ? chunk : CHUNK_DEFAULT;
    (void)buf_printf(&b, "repository:%s:pull,push", u->repository);
    for (size_t i = 0; more_scopes && more_scopes[i]; i++)
        (void)buf_printf(&b, " repository:%s:pull", more_scopes[i]);
    u->scope = buf_take(&b);
}

void uploads_done(struct uploads *u)
{
    free(u->scope);
}

/* --- Verdicts ----------------------------------------------------------------------------------- */

/* The answer in words; `what` was to be done ("upload of blob sha256:…"). */
static int answer_error(const struct uploads *u, const char *what, const struct http_response *resp,
                        struct error *e)
{
    const struct worker_msg *s = u->registry->start;
    AUTOFREE char *code = NULL, *message = NULL;

    registry_read_error(resp, &code, &message);
    const char *m = *message ? message : code;
    if (resp->status == 401)
        return error_set(e, ERR_FORBIDDEN, "registry %s refuses the %s: unauthorized: %s", s->host,
                         what, *m ? m : "authentication required");
    if (resp->status == 403 || STREQ(code, "denied"))
        return error_set(
            e, ERR_FORBIDDEN,
            "registry %s refuses the %s: denied: %s (log in with 'pouch login %s' as a "
            "user who may push to %s)",
            s->host, what, *m ? m : "requested access to the resource is denied", s->host,
            u->repository);
    if (STREQ(code, "digest invalid"))
        return error_set(
            e, ERR_INTERNAL,
            "registry %s says that the %s has the wrong digest: %s (is the blob in the "
            "image store damaged? pull the image again)",
            s->host, what, m);
    if (resp->status == 413)
        return error_set(e, ERR_TOO_LARGE, "registry %s refuses the %s: it is too large%s%s",
                         s->host, what, *m ? ": " : "", m);
    if (resp->status == 429)
        return error_set(e, ERR_UNAVAILABLE, "toomanyrequests: registry %s limits the rate: %s",
                         s->host, *m ? m : "try again later");
    return error_set(e, resp->status >= 500 ? ERR_UNAVAILABLE : ERR_INTERNAL,
                     "registry %s answered %ld to the %s%s%s", s->host, resp->status, what,
                     *m ? ": " : "", m);
}

static bool is_transient(const struct uploads *u, const struct http_response *resp)
{
    switch (resp->curl_code) {
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    case CURLE_COULDNT_CONNECT: /* of a registry that has answered before: it may be restarting */
    case CURLE_OPERATION_TIMEDOUT:
        return u->registry->scheme != NULL;
    default:
        return false;
    }
}

/* 1: worth another attempt, the pause is over; 0: the answer stands; <0: failed for good. */
static int patience(const struct uploads *u, unsigned *failures, int rc,
                    const struct http_response *resp, struct error *e)
{
    bool again = rc < 0 ? is_transient(u, resp)
                        : resp->status == 408 || resp->status == 429 || resp->status == 500 ||
                              resp->status == 502 || resp->status == 503 || resp->status == 504;
    int64_t wait_ms = 100ll << *failures;

    if (http_cancelled()) {
        error_done(e);
        return error_set_errno(e, ECANCELED, "the push was cancelled");
    }
    if (!again || *failures >= FAILURES_MAX || resp->retry_after > RETRY_AFTER_MAX ||
        (rc < 0 && resp->curl_code == CURLE_OPERATION_TIMEDOUT && *failures >= 2))
        return rc < 0 ? rc : 0;
    ++*failures;
    if (rc >= 0 && resp->retry_after >= 0)
        wait_ms = resp->retry_after * 1000;
    else if (rc >= 0 && resp->status == 429)
        wait_ms = 500ll << *failures;
    error_done(e);
    pause_ms(wait_ms);
    return 1;
}

/* A request whose body may be sent again as a whole, with patience. */
static int ask(struct uploads *u, struct http_client *c, const char *target,
               struct http_request *req, struct http_response *resp, struct error *e)
{
    for (unsigned failures = 0;;) {
        int rc = registry_request(u->registry, c, target, u->scope, req, resp, e);
        rc = patience(u, &failures, rc, resp, e);
        if (rc <= 0)
            return rc;
    }
}

/* --- What is there -------------------------------------------------------------------------------- */

static int exists(struct uploads *u, struct http_client *c, const char *repository,
                  const char *kind, const char *what, const char *accept, int64_t size,
                  struct error *e)
{
    CLEANUP(http_response_done) struct http_response resp = {0};
    AUTOFREE char *path = xasprintf("/v2/%s/%s/%s", repository, kind, what);
    AUTOFREE char *doing = xasprintf("question for %s %s", kind, what);
    struct http_request req = {.method = "HEAD", .accept = accept};

    int r = ask(u, c, path, &req, &resp, e);
    if (r < 0)
        return r;
    if (resp.status == 200)
        return size < 0 || resp.length < 0 || resp.length == size ? 1 : 0;
    if (resp.status == 401 || resp.status == 403 || resp.status == 429)
        return answer_error(u, doing, &resp, e);
    return 0; /* sending it will tell */
}

int upload_blob_exists(struct uploads *u, struct http_client *c, const char *digest, int64_t size,
                       struct error *e)
{
    return exists(u, c, u->repository, "blobs", digest, NULL, size, e);
}

int upload_manifest_exists(struct uploads *u, struct http_client *c, const char *reference,
                           const char *media_type, struct error *e)
{
    return exists(u, c, u->repository, "manifests", reference, media_type, -1, e);
}

/* --- One upload ----------------------------------------------------------------------------------- */

char *upload_location(const char *base, const char *location, const char *digest)
{
    CURLU *u = curl_url();
    char *url = NULL, *result = NULL;

    if (u && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
        (!digest || curl_url_set(u, CURLUPART_QUERY, digest, CURLU_APPENDQUERY | CURLU_URLENCODE) ==
                        CURLUE_OK) &&
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK &&
        (str_has_prefix(url, "http://") || str_has_prefix(url, "https://")))
        result = xstrdup(url);
    curl_free(url);
    curl_url_cleanup(u);
    return result;
}

int upload_next_offset(int64_t range_end, uint64_t offset, uint64_t sent, uint64_t *ret)
{
    if (range_end < 0) { /* it does not say: it has what it accepted */
        *ret = offset + sent;
        return 0;
    }
    /* "0-0" is what registries say of an empty upload too */
    uint64_t has = range_end == 0 && offset + sent != 1 ? 0 : (uint64_t)range_end + 1;
    if (has > offset + sent)
        return -EPROTO;
    *ret = has;
    return 0;
}

struct session {
    struct uploads *u;
    struct http_client *client;
    const struct upload *job;
    char *base;        /* URL that Locations are relative to */
    char *location;    /* NULL: not begun */
    uint64_t offset;   /* what the registry has */
    uint64_t chunk;    /* how much to send at once */
    uint64_t reported; /* the most progress shown */
    bool whole;        /* in one piece */
    bool asked_range;  /* after a 416 */
    unsigned failures, restarts;
};

static void show(struct session *s, uint64_t done)
{
    if (done > s->reported)
        s->reported = done;
    if (s->job->progress)
        s->job->progress(s->job->progress_data, s->reported);
}

static void body_progress(void *data, uint64_t sent)
{
    struct session *s = data;

    show(s, s->offset + sent);
}

/* The Location of an answer becomes the session's. */
static int take_location(struct session *s, const struct http_response *resp, struct error *e)
{
    if (!resp->location)
        return s->location ? 0
                           : error_set(e, ERR_INTERNAL,
                                       "registry %s began an upload but does not say where",
                                       s->u->registry->start->host);
    char *l = upload_location(s->location ? s->location : s->base, resp->location, NULL);
    if (!l)
        return error_set(e, ERR_INTERNAL,
                         "registry %s sends uploads to \"%.200s\", which is no URL",
                         s->u->registry->start->host, resp->location);
    free(s->location);
    s->location = l;
    return 0;
}

/* Takes the upload back: its bytes need not lie at the registry. */
static void session_drop(struct session *s)
{
    for (int tries = 0; s->location && tries < 2; tries++) {
        CLEANUP(http_response_done) struct http_response resp = {0};
        AUTO(error) struct error ignored = ERROR_INIT;
        struct http_request req = {.method = "DELETE",
                                   .stall_timeout = DROP_TIMEOUT,
                                   .total_timeout = DROP_TIMEOUT,
                                   .despite_cancel = true};
        int r = registry_request(s->u->registry, s->client, s->location, s->u->scope, &req, &resp,
                                 &ignored);
        if (r < 0 || (resp.status != 429 && resp.status != 503))
            break;
        sleep(1);
    }
    free(take_ptr(s->location));
    s->offset = 0;
}

/* An upload was begun: where, and how large its chunks must be. */
static int take_session(struct session *s, const struct http_response *resp, struct error *e)
{
    if (resp->chunk_min > 0 && (uint64_t)resp->chunk_min > s->chunk)
        s->chunk = (uint64_t)resp->chunk_min < CHUNK_LIMIT ? (uint64_t)resp->chunk_min
                                                           : CHUNK_LIMIT;
    return take_location(s, resp, e);
}

/* Begins, or mounts from `from`: 1 it was mounted, 0 begun. */
static int session_begin(struct session *s, const char *from, struct error *e)
{
    CLEANUP(http_response_done) struct http_response resp = {0};
    AUTO(error) struct error mount_error = ERROR_INIT;
    AUTOFREE char *path = xasprintf("/v2/%s/blobs/uploads/", s->u->repository);
    /* Cut off, it would leave an upload at the registry that nobody knows the place of. */
    struct http_request req = {.method = "POST", .despite_cancel = true};
    int r;

    s->offset = 0;
    if (from) {
        AUTOFREE char *repo = curl_easy_escape(NULL, from, 0);
        AUTOFREE char *mount = xasprintf("%s?mount=%s&from=%s", path, s->job->digest, repo);
        r = registry_request(s->u->registry, s->client, mount, s->u->scope, &req, &resp,
                             &mount_error);
        if (http_cancelled())
            return error_set_errno(e, ECANCELED, "the push was cancelled");
        if (r >= 0 && resp.status == 201)
            return 1;
        if (r < 0 || resp.status != 202)
            return 0; /* not from there; the next, or an upload, will tell more */
        return take_session(s, &resp, e);
    }
    r = ask(s->u, s->client, path, &req, &resp, e);
    if (r < 0)
        return r;
    if (resp.status == 404) {
        AUTOFREE char *code = NULL, *message = NULL;
        registry_read_error(&resp, &code, &message);
        return error_set(e, ERR_NOT_FOUND,
                         "registry %s has no repository %s and makes none by a push: %s",
                         s->u->registry->start->host, s->u->repository,
                         *message ? message
                         : *code  ? code
                                  : "not found");
    }
    if (resp.status != 202) {
        AUTOFREE char *what = xasprintf("push to %s", s->u->repository);
        return answer_error(s->u, what, &resp, e);
    }
    return take_session(s, &resp, e);
}

/* All from the beginning, when that was not done too often. */
static int session_restart(struct session *s, struct error *e)
{
    session_drop(s);
    s->asked_range = false;
    if (++s->restarts > RESTARTS_MAX)
        return error_set(e, ERR_UNAVAILABLE,
                         "the upload of blob %s to registry %s broke %u times: giving up",
                         s->job->digest, s->u->registry->start->host, s->restarts);
    return 0;
}

/* Asks how much has arrived; when the registry does not know, all begins anew. */
static int session_resume(struct session *s, struct error *e)
{
    CLEANUP(http_response_done) struct http_response resp = {0};
    AUTO(error) struct error ignored = ERROR_INIT;
    struct http_request req = {.method = "GET"};
    uint64_t has = 0;

    int r = registry_request(s->u->registry, s->client, s->location, s->u->scope, &req, &resp,
                             &ignored);
    if (http_cancelled())
        return error_set_errno(e, ECANCELED, "the push was cancelled");
    /* It may have more than it confirmed, but not more than there is. */
    if (r < 0 || (resp.status != 204 && resp.status != 200) || resp.range_end < 0 ||
        upload_next_offset(resp.range_end, 0, s->job->size, &has) < 0)
        return session_restart(s, e);
    if (has > s->offset)
        s->failures = 0;
    s->offset = has;
    return take_location(s, &resp, e);
}

/* What an answer that closes an upload says: 1 it is there. */
static int check_closed(struct session *s, const struct http_response *resp, struct error *e)
{
    const char *host = s->u->registry->start->host;

    if (resp->digest && !STREQ(resp->digest, s->job->digest))
        return error_set(e, ERR_INTERNAL, "registry %s stored blob %s under another digest: %.150s",
                         host, s->job->digest, resp->digest);
    free(take_ptr(s->location)); /* closed: there is nothing to take back */
    if (resp->digest)
        return 1;
    int r = upload_blob_exists(s->u, s->client, s->job->digest, (int64_t)s->job->size, e);
    if (r == 0)
        return error_set(e, ERR_INTERNAL,
                         "registry %s accepted blob %s but does not have it afterwards", host,
                         s->job->digest);
    return r;
}

/* After an attempt to send: 1 all is there, 0 go on, <0 failed. */
static int judge_close(struct session *s, int rc, const struct http_response *resp, struct error *e)
{
    AUTOFREE char *what = xasprintf("upload of blob %s", s->job->digest);

    if (rc >= 0 && (resp->status == 201 || resp->status == 204))
        return check_closed(s, resp, e);
    int p = patience(s->u, &s->failures, rc, resp, e);
    if (p < 0)
        return p;
    if (p == 0 && resp->status == 416 && !s->whole && !s->asked_range) {
        s->asked_range = true;
        return session_resume(s, e);
    }
    if (p == 0 && resp->status != 404)
        return answer_error(s->u, what, resp, e);
    /* Perhaps it was closed, and only the answer was lost; libcurl then asks once more by itself. */
    int there = upload_blob_exists(s->u, s->client, s->job->digest, (int64_t)s->job->size, e);
    if (there == 1)
        free(take_ptr(s->location));
    if (there != 0)
        return there;
    return s->whole || p == 0 ? session_restart(s, e) : session_resume(s, e);
}

/* Closes the upload, with all of the blob or with nothing more. */
static int session_close(struct session *s, struct error *e)
{
    CLEANUP(http_response_done) struct http_response resp = {0};
    AUTOFREE char *digest = xasprintf("digest=%s", s->job->digest);
    AUTOFREE char *url = upload_location(s->location, s->location, digest);
    const struct http_body body = {.fd = s->job->fd,
                                   .data = s->job->data,
                                   .size = s->whole ? s->job->size : 0,
                                   .progress = body_progress,
                                   .progress_data = s};
    struct http_request req = {.method = "PUT",
                               .body = &body,
                               .content_type = "application/octet-stream",
                               .stall_timeout = s->u->registry->start->stall_timeout *
                                                CLOSE_PATIENCE};

    if (s->whole)
        s->offset = 0;
    int rc = registry_request(s->u->registry, s->client, url, s->u->scope, &req, &resp, e);
    return judge_close(s, rc, &resp, e);
}

/* After a chunk that was accepted. */
static int chunk_accepted(struct session *s, const struct http_response *resp, uint64_t sent,
                          struct error *e)
{
    uint64_t next = 0;

    if (upload_next_offset(resp->range_end, s->offset, sent, &next) < 0)
        return error_set(e, ERR_INTERNAL, "registry %s says it has more of blob %s than was sent",
                         s->u->registry->start->host, s->job->digest);
    if (next <= s->offset && ++s->failures > FAILURES_MAX)
        return error_set(e, ERR_UNAVAILABLE, "registry %s takes nothing of blob %s",
                         s->u->registry->start->host, s->job->digest);
    if (next > s->offset)
        s->failures = 0;
    s->asked_range = false;
    s->offset = next;
    return take_location(s, resp, e);
}

static int session_chunk(struct session *s, struct error *e)
{
    CLEANUP(http_response_done) struct http_response resp = {0};
    uint64_t left = s->job->size - s->offset, n = left < s->chunk ? left : s->chunk;
    AUTOFREE char *range = xasprintf("%llu-%llu", (unsigned long long)s->offset,
                                     (unsigned long long)(s->offset + n - 1));
    const struct http_body body = {.fd = s->job->fd,
                                   .data = s->job->data,
                                   .offset = s->offset,
                                   .size = n,
                                   .progress = body_progress,
                                   .progress_data = s};
    struct http_request req = {.method = "PATCH",
                               .body = &body,
                               .content_type = "application/octet-stream",
                               .content_range = range};

    int rc = registry_request(s->u->registry, s->client, s->location, s->u->scope, &req, &resp, e);
    if (rc >= 0 && (resp.status == 202 || resp.status == 201 || resp.status == 204))
        return chunk_accepted(s, &resp, n, e);
    int p = patience(s->u, &s->failures, rc, &resp, e);
    if (p < 0)
        return p;
    if (p > 0 || (resp.status == 416 && !s->asked_range)) {
        s->asked_range = resp.status == 416;
        return session_resume(s, e);
    }
    if (resp.status == 404 || resp.status == 416)
        return session_restart(s, e);
    if (resp.status == 400 || resp.status == 405 || resp.status == 415 || resp.status == 501) {
        s->whole = true; /* it does not know chunks */
        return session_restart(s, e);
    }
    AUTOFREE char *what = xasprintf("upload of blob %s", s->job->digest);
    return answer_error(s->u, what, &resp, e);
}

/* Tries the repositories that have it: 1 mounted (*ret->from), 0 no (perhaps a session is begun). */
static int try_mounts(struct session *s, struct uploaded *ret, struct error *e)
{
    char *const *from = s->job->sources;
    unsigned tried = 0;

    for (size_t i = 0; from && from[i] && tried < MOUNTS_MAX && !s->location; i++) {
        if (STREQ(from[i], s->u->repository))
            continue;
        tried++;
        int r = session_begin(s, from[i], e);
        if (r == 1)
            ret->from = xstrdup(from[i]);
        if (r != 0)
            return r;
        strv_push(&ret->not_from, from[i]);
        /* 202: an upload was begun instead. The next repository would leave it lying: drop it only
         * when there is another one to try. */
        bool more = from[i + 1] && !STREQ(from[i + 1], s->u->repository) && tried < MOUNTS_MAX;
        if (s->location && more)
            session_drop(s);
    }
    return 0;
}

void uploaded_done(struct uploaded *u)
{
    free(u->from);
    strv_free(u->not_from);
}

int upload_blob(struct uploads *u, struct http_client *c, const struct upload *job,
                struct uploaded *ret, struct error *e)
{
    const char *scheme = u->registry->scheme ? u->registry->scheme : "https";
    struct session s = {.u = u,
                        .client = c,
                        .job = job,
                        .chunk = u->chunk,
                        .base = xasprintf("%s://%s/v2/%s/blobs/uploads/", scheme,
                                          u->registry->start->host, u->repository)};
    int r = try_mounts(&s, ret, e);

    if (r == 0 && job->fd < 0 && !job->data)
        r = error_set(
            e, ERR_NOT_FOUND,
            "blob %s is not stored here, and registry %s does not have it where its image "
            "was pulled: pull the image again, or push it without --all-platforms",
            job->digest, u->registry->start->host);
    s.whole = job->size <= s.chunk && job->size <= UPLOAD_WHOLE_MAX;
    while (r == 0) {
        if (http_cancelled())
            r = error_set_errno(e, ECANCELED, "the push was cancelled");
        else if (!s.location)
            r = session_begin(&s, NULL, e);
        else if (s.whole || s.offset == job->size)
            r = session_close(&s, e);
        else
            r = session_chunk(&s, e);
    }
    if (r < 0)
        session_drop(&s);
    free(s.location);
    free(s.base);
    return r < 0 ? r : 0;
}

/* --- Manifests ------------------------------------------------------------------------------------ */

int upload_manifest(struct uploads *u, struct http_client *c, const char *reference,
                    const char *media_type, const void *text, size_t len, const char *digest,
                    struct error *e)
{
    CLEANUP(http_response_done) struct http_response resp = {0};
    AUTOFREE char *path = xasprintf("/v2/%s/manifests/%s", u->repository, reference);
    AUTOFREE char *what = xasprintf("manifest %s of %s", reference, u->repository);
    const struct http_body body = {.fd = -EBADF, .data = text, .size = len};
    struct http_request req = {.method = "PUT", .body = &body, .content_type = media_type};

    int r = ask(u, c, path, &req, &resp, e);
    if (r < 0)
        return r;
    if (resp.status != 201 && resp.status != 200 && resp.status != 202)
        return answer_error(u, what, &resp, e);
    if (resp.digest && !STREQ(resp.digest, digest))
        return error_set(e, ERR_INTERNAL, "registry %s stored the %s as %.150s instead of %s",
                         u->registry->start->host, what, resp.digest, digest);
    return 0;
}
