/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by server.c (libmicrohttpd's callbacks), reply.c (what handlers call) and relay.c. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <gnutls/gnutls.h>
#include <microhttpd.h>

#include "base/buf.h"
#include "http/query.h"
#include "http/server.h"

/*
 * One connection. It is in its server's list from accept to close; `lock` of the server guards the
 * list, `deadline`, and `fd` against being shut down after it was given away.
 */
struct http_conn {
    struct http_server *server;
    struct http_conn *prev, *next;
    int fd;
    gnutls_session_t tls; /* NULL: plain */
    bool verify;          /* a client certificate is demanded */
    bool given_away;      /* the socket belongs to someone else now: hands off */
    int64_t deadline;     /* monotonic ns; 0: none */
};

enum reply_kind { REPLY_NONE, REPLY_WHOLE, REPLY_STREAM, REPLY_HIJACK };

struct http_request {
    struct http_server *server;
    struct http_conn *conn;
    struct MHD_Connection *mhd;
    char *raw_target;
    struct http_target target;
    char *method;
    bool head;
    bool http_1_0;
    bool begun; /* the headers are complete */
    bool upgrade;
    unsigned version;

    const struct http_route *route; /* NULL: answered before routing */
    struct http_pair params[HTTP_PATH_PARAMS_MAX];
    int nparams;

    struct buf body;
    bool too_large;
    uint64_t discarded;

    /* HTTP_STREAM_BODY: feed_fd is ours, body_fd the handler's, worker runs the handler */
    int feed_fd;
    int body_fd;
    pthread_t worker;
    bool worker_runs;

    enum reply_kind reply;
    int status;
    char *ctype;
    struct buf reply_body;
    struct http_pair *headers;
    size_t nheaders;
    bool stream_gone; /* the client is gone, or the handler gave the stream up */
    bool stream_chunked;

    http_hijack_fn hijack;
    void *hijack_data;
    void (*hijack_free)(void *);
};

struct http_server {
    struct http_server_params params;
    struct MHD_Daemon **daemons;
    struct http_listener *listeners;
    size_t ndaemons;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* the watchdog's */
    struct http_conn *conns;
    bool stopping;
    pthread_t watchdog;
    bool watchdog_runs;
};

struct http_listener {
    struct http_server *server;
    bool verify;
};

/* reply.c */

/* Writes all to the client, blocking. -EPIPE when it is gone. */
int http_conn_write(struct http_conn *c, const void *data, size_t len) MUST_CHECK;
/* Status line and headers of a reply that does not go through libmicrohttpd. */
int http_raw_head(struct http_request *req, const char *const *extra) MUST_CHECK;
/* Ends a stream as its handler's return means it. */
void http_stream_finish(struct http_request *req);
void http_request_free(struct http_request *req);
/* The headers every reply has, once. */
void http_common_headers(struct http_request *req);

/* relay.c */

/*
 * Copies between the connection and `pair` until both directions have ended, passing half-closes
 * on; for TLS, and for sockets that libmicrohttpd would shut down. early: read already.
 */
void http_relay(struct http_conn *c, int pair, const void *early, size_t early_len);
