/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the registry client: token.c, request.c, registry.c, ranges.c, fetch.c. */
#pragma once

#include "image/worker/worker.h"

/* --- request.c --- */

/* One request to one endpoint, sent again as authentication, the scheme and rate limits demand. */
struct exchange {
    struct registry *r;
    struct endpoint *ep;
    struct http_client *client;
    struct http_request *req; /* url and secrets are filled in here */
    const char *target;       /* "/v2/<repository>/…" or another path, or "http…" */
    const char *scope;        /* the rights it needs, or NULL */
    bool once;                /* no patience with 429 and 5xx */
    void (*restart)(void *);  /* the answer's body begins anew, or NULL */
    void *restart_data;
    bool impatient; /* others may have it: do not wait long */
    bool silent;    /* nobody is told of waiting */
    bool is_layer;
    uint64_t index; /* of the layer, for messages */
    unsigned auths, tries;
    uint64_t waited; /* seconds */
};
/* 0 and a final answer, of any status, or negative: there is none, *resp says how it broke. */
int endpoint_exchange(struct exchange *x, struct http_response *resp, struct error *e) MUST_CHECK;
/* Whether what came was an answer that broke off, or a stream that stood still. */
bool response_broke(const struct http_response *resp);
bool response_stalled(const struct http_response *resp);

/* --- registry.c --- */

/* The line for an answer of this endpoint (NULL: the registry itself) that is not what was wanted. */
int endpoint_status_error(const struct registry *r, const struct endpoint *ep, const char *kind,
                          const char *what, const struct http_response *resp, struct error *e);
/* Tells pouchd how it went with a mirror: at the end that it worked, at once that it failed. */
void endpoint_worked(struct registry *r, struct endpoint *ep);
void endpoint_failed(struct registry *r, struct endpoint *ep, const struct error *why);
/* Whether the endpoint may be asked for this. what: tag or digest. */
bool endpoint_fits(const struct endpoint *ep, unsigned need, const char *what);
