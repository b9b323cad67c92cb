/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distribution API of one repository, over all endpoints that may have it: mirrors in the order
 * pouchd chose, then the registry itself. Any thread may call, each with a client of its own.
 *
 * A read is tried at one endpoint after the other; a body that breaks off goes on where it was, at
 * the same endpoint or the next. What fails is told to pouchd, which asks it later the next time.
 */
#pragma once

#include <pthread.h>

#include "image/registry-plan.h"
#include "image/worker-protocol.h"
#include "image/worker/http.h"
#include "oci/digest.h"

/* One endpoint while the worker uses it; lock of the registry. */
struct endpoint {
    const struct registry_endpoint *conf;
    struct http_setup setup;
    struct auth *auth, own_auth;
    char *scheme; /* NULL until the first answer */
    bool guessed; /* HTTPS is tried because plain HTTP was answered by something odd */
    bool failed;  /* it broke down; others first */
    bool worked;
    char *why; /* its last failure, for the final error */
    enum error_code why_code;
};

struct registry {
    const struct worker_msg *start;   /* host, repository … */
    struct registry_plan own_plan;    /* when pouchd's is about another host */
    const struct registry_plan *plan; /* borrowed from registry_use_plan() */
    struct endpoint *endpoints;
    size_t n;
    struct auth auth; /* at the registry itself */
    pthread_mutex_t lock;
    struct endpoint *pushing; /* the endpoint that answered the first registry_request() */
    char *scheme;             /* of the registry itself, NULL until its first answer */
};

/* Once, at the start of the program: reads what pouchd found out about endpoints; fd is borrowed. */
int registry_use_plan(int fd, struct error *e) MUST_CHECK;
/* Without a plan for start->host that host is all there is. */
void registry_init(struct registry *r, const struct worker_msg *start);
void registry_done(struct registry *r);

/*
 * GET of /v2/<repository>/<kind>/<what> (kind NULL: of the path `what`, "/v2/…") with authentication,
 * patience for rate limits and 5xx, going on where a connection broke. want_size < 0: not known.
 */
struct registry_get {
    const char *kind, *what, *accept;
    int64_t want_size;
    uint64_t done;    /* bytes of it that the caller has already */
    bool parallel;    /* a layer: large ones may come by several connections */
    bool plain;       /* but not this time */
    uint64_t index;   /* of the layer, for messages about waiting; only with parallel */
    uint64_t timeout; /* seconds for all of it, 0: none */
    uint64_t avoid;   /* endpoints that are not to be asked, a bit each */
    http_sink *sink;
    /* The next bytes are of that endpoint; stitched: by another connection than those before. NULL:
     * nobody wants to know. */
    void (*giver)(void *sink_data, size_t endpoint, bool stitched);
    void *sink_data;
};
struct registry_got {
    char *content_type, *digest, *link;
    struct endpoint *from; /* who gave the last byte, also when the sink did not take it */
    long status;           /* of the last answer, also when that was an error; 0: there was none */
};
void registry_got_done(struct registry_got *g);
int registry_read(struct registry *r, struct http_client *c, const struct registry_get *get,
                  struct registry_got *ret, struct error *e) MUST_CHECK;
/* Endpoints that may be asked for a blob, a bit each. */
uint64_t registry_blob_endpoints(const struct registry *r, const char *digest);
/* An endpoint gave something else than it should: it is asked last from now on, and named when all fail. */
void registry_accuse(struct registry *r, size_t endpoint, const struct error *why);
/* The same for simple cases; ret_… may be NULL. */
int registry_get(struct registry *r, struct http_client *c, const char *kind, const char *what,
                 const char *accept, int64_t want_size, http_sink *sink, void *sink_data,
                 char **ret_content_type, char **ret_digest, struct error *e) MUST_CHECK;

/*
 * One request of any method to the endpoint that takes pushes: the registry itself, or what the
 * configuration names before it. `target` is "/v2/…" or an absolute URL (what a Location said;
 * credentials go to the endpoint's own host only). Fills in everything of req that has to do with
 * the connection and with rights (those of `scope`); answers challenges. No patience with 429 and
 * 5xx: who sends bodies knows better. 0 when an answer came, whatever its status.
 */
int registry_request(struct registry *r, struct http_client *c, const char *target,
                     const char *scope, struct http_request *req, struct http_response *resp,
                     struct error *e) MUST_CHECK;
/* Text of an answer's error: code in small letters and message, on one line; "" when it has none. */
void registry_read_error(const struct http_response *resp, char **ret_code, char **ret_message);

/*
 * A small document, its digest checked. kind: manifests or blobs; what: tag or digest; name: what people
 * call it ("manifest"); size < 0: not known. A mirror that gives another one than it should is
 * passed over.
 */
struct registry_document {
    struct buf text;
    char digest[DIGEST_MAX];
    char *type;  /* Content-Type, may be NULL */
    char *next;  /* of a list in pages: the query of the next one, or NULL */
    long status; /* as in registry_got */
};
void registry_document_done(struct registry_document *d);
int registry_document(struct registry *r, struct http_client *c, const char *kind, const char *what,
                      const char *name, const char *accept, int64_t size, size_t max,
                      struct registry_document *ret, struct error *e) MUST_CHECK;
/* The query ("n=100&last=x") of the next page that a Link header names; NULL: there is none. */
char *registry_next_page(const char *link) MUST_CHECK;
#define REGISTRY_PAGES_MAX 1000
/*
 * What refers to a manifest (signatures, attestations): an image index, by the referrers API or from the
 * tag "<algorithm>-<hex>" where a registry has none. artifact_type: only those, or NULL. Without
 * any it is an index with no manifests.
 */
int registry_referrers(struct registry *r, struct http_client *c, const char *digest,
                       const char *artifact_type, struct registry_document *ret,
                       struct error *e) MUST_CHECK;
