/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP by libcurl, one blocking request at a time a client. Redirects are followed here, not by
 * libcurl: credentials, the caller's own headers and client certificates never go to another host,
 * and a redirect never leaves HTTP(S).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

struct http_client; /* keeps its connections */
/* From a pool, so that connections are used again by whoever comes next. */
struct http_client *http_client_new(void) MUST_CHECK;
/* Back into the pool. */
void http_client_free(struct http_client *c);
DEFINE_AUTOPTR(struct http_client, http_client)

/* Takes a piece of a 2xx body; negative ends the transfer. */
typedef int http_sink(void *data, const void *bytes, size_t len);
/* What is sent: `size` bytes of a file from `offset` on, or of memory. May be read again from its
 * start. */
struct http_body {
    int fd;           /* or negative: data */
    const void *data; /* offset does not count */
    uint64_t offset, size;
    /* Called with the bytes handed to the network so far; may be NULL. */
    void (*progress)(void *data, uint64_t sent);
    void *progress_data;
};

/* What holds for all requests to one host. */
struct http_setup {
    bool insecure;          /* plain HTTP may be spoken, also after a redirect */
    bool skip_verify;       /* any certificate will do */
    const char *ca;         /* PEM: authorities beside the system's, or NULL */
    const char *cert, *key; /* PEM: our own, or NULL; not shown to hosts redirected to */
    const char *http_proxy, *https_proxy, *no_proxy; /* or NULL */
    uint64_t connect_timeout_ms;                     /* 0: 15 s */
    uint64_t stall_timeout; /* seconds without data (or with less than a trickle) */
};

struct http_request {
    const char *url;
    const char *method;           /* NULL: GET, or POST of `form`; HEAD, POST, PUT, PATCH, DELETE */
    const struct http_body *body; /* of POST, PUT, PATCH; NULL: empty */
    const char *form;             /* POST with this body; never redirected; or NULL */
    const char *content_type;     /* of the body, or NULL */
    const char *content_range;    /* "0-1023", or NULL */
    const char *accept;           /* or NULL */
    const char *bearer;           /* token, or NULL */
    const char *username, *password; /* basic, or NULL */
    char *const *headers; /* "Name: value" of the configuration, for the first host only; or NULL */
    uint64_t offset;      /* > 0: the bytes from there on … */
    uint64_t length;      /* … > 0: this many of them; 0: to the end */
    uint64_t stall_timeout; /* seconds, 0: as in setup */
    uint64_t total_timeout; /* seconds for all of it, 0: none */
    bool despite_cancel;    /* also after http_cancel() */
    atomic_bool *stop;      /* ends it when it becomes true; or NULL */
    const struct http_setup *setup;
    http_sink *sink; /* NULL: what comes goes to resp->body, cut off at 16 KiB */
    void *sink_data;
};

struct http_response {
    long status; /* 0: no answer */
    char *content_type;
    char *digest;        /* Docker-Content-Digest */
    char *authenticate;  /* WWW-Authenticate: the Bearer one if there is one */
    char *location;      /* Location of the last answer, absolute */
    char *upload_uuid;   /* Docker-Upload-UUID */
    char *link;          /* Link, of lists in pages */
    char *filters;       /* OCI-Filters-Applied */
    char *subject;       /* OCI-Subject */
    int64_t retry_after; /* seconds, -1 absent */
    int64_t length;      /* Content-Length, -1 absent */
    int64_t range_start, range_last, range_total; /* of Content-Range, -1 absent */
    int64_t range_end;  /* of Range ("0-1023": what an upload has), -1 absent */
    int64_t chunk_min;  /* OCI-Chunk-Min-Length, -1 absent */
    bool accept_ranges; /* Accept-Ranges: bytes */
    struct buf body;    /* of other than 2xx, or without a sink: at most 16 KiB */
    int curl_code;
    bool connected;  /* the server was reached at all */
    bool answered;   /* all headers of an answer came */
    int sink_status; /* what the sink returned, when that ended it */
};
void http_response_done(struct http_response *r);

/* Ends all requests that are under way and those to come (uploads: what pouchd cancels is taken
 * back). Any thread. */
void http_cancel(void);
bool http_cancelled(void);

/* One request with its redirects. 0 when an answer came whole, whatever its status; else the error
 * says why. */
int http_perform(struct http_client *c, const struct http_request *req, struct http_response *resp,
                 struct error *e) MUST_CHECK;

/* The value of a Retry-After header in seconds: a number or a date; -1 when it is neither. now: seconds
 * since the epoch. */
int64_t http_retry_after(const char *value, int64_t now) MUST_CHECK;
/* Reads "bytes 0-99/1234" ("*" for the total is -1). False when it is malformed. */
bool http_content_range(const char *value, int64_t *ret_start, int64_t *ret_last,
                        int64_t *ret_total);

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };
struct challenge {
    enum challenge_scheme scheme;
    char *realm, *service, *scope, *error;
};
/* Reads a WWW-Authenticate header; -EINVAL when it is neither Basic nor a Bearer with realm. */
int challenge_parse(const char *header, struct challenge *ret) MUST_CHECK;
void challenge_done(struct challenge *c);
/* Appends value percent-encoded, for a query. */
void url_encode(struct buf *b, const char *value);
/* realm with service and scopes (separated by spaces; NULL: none) as its query. */
char *challenge_url(const struct challenge *c, const char *scope) MUST_CHECK;

/* --- token.c ------------------------------------------------------------------------------------ */

struct registry_endpoint;

/*
 * The rights one has at one registry: credentials, and the tokens they were good for, by scope
 * ("repository:library/busybox:pull", several separated by spaces, NULL: none). Any thread.
 */
struct auth {
    const char *host;                                                  /* in messages */
    const char *reference;                                             /* likewise */
    const char *username, *password, *identity_token, *registry_token; /* NULL or "": none */
    const struct http_setup *setup;
    bool offline;         /* login: a refresh token is wanted beside the token */
    pthread_mutex_t lock; /* of what follows */
    bool basic;
    struct token *tokens;
    char *refresh_token; /* the last that came */
};
/* What they point to must outlive it. reference may be NULL. */
void auth_init(struct auth *a, const struct registry_endpoint *ep, const char *reference,
               const struct http_setup *setup);
void auth_done(struct auth *a);

/* What a request was sent with. */
struct auth_used {
    char *token;
    bool basic;
};
void auth_used_done(struct auth_used *u);
/* Puts what is known to be good for the scope into the request, which borrows from *used. */
void auth_apply(struct auth *a, const char *scope, struct http_request *req,
                struct auth_used *used);
/* After a 401 with this WWW-Authenticate: 0 when the request is worth sending again. The error is
 * ERR_FORBIDDEN when the credentials are refused or missing. */
int auth_answer(struct auth *a, struct http_client *c, const char *header, const char *scope,
                const struct auth_used *used, struct error *e) MUST_CHECK;
