/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 server: unix sockets, TCP, TCP with TLS and client certificates, several at once.
 * Glue over libmicrohttpd, which stays hidden in server.c.
 *
 * Every connection has its own thread; a handler is plain blocking code on it and replies exactly
 * once: with a whole body (http_reply…), a stream (http_stream…) or by taking the connection over
 * (http_hijack). A handler that returns without a reply answers 500.
 *
 * What a peer does wrong (bad syntax, slow headers, a body cut off or too large) never reaches a
 * handler.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

struct http_server;
struct http_request;

typedef void (*http_handler_fn)(struct http_request *req, void *ctx);

enum {
    /* The handler runs at once, on a thread of its own, and reads the body from
     * http_body_fd() while it arrives; any size. Without this flag the body is whole, in memory
     * and bounded. */
    HTTP_STREAM_BODY = 1 << 0,
};

/* A route table ends with a NULL method. The first match counts; GET also answers HEAD. */
struct http_route {
    const char *method;
    const char *pattern; /* "/containers/{id}/json", "/images/{name*}/json" (may hold slashes) */
    http_handler_fn handler;
    unsigned flags;
    size_t max_body; /* 0: the server's default */
};

struct http_tls {
    const char *cert_file;
    const char *key_file;
    const char *ca_file; /* for clients' certificates */
    bool verify;         /* refuse clients without a certificate of that authority */
};

struct http_listen {
    int fd;                     /* bound and listening; taken over */
    const struct http_tls *tls; /* NULL: plain */
};

struct http_server_params {
    const struct http_route *routes;
    void *ctx; /* given to every handler */

    /*
     * Called before routing with the decoded path; may set *path to a later part of it (a version
     * prefix is skipped so) or reply itself: then it returns non-zero. May be NULL.
     */
    int (*prepare)(struct http_request *req, const char **path, void *ctx);
    /* Adds headers with http_header_add(); called for each reply, of whatever kind. May be NULL. */
    void (*headers)(struct http_request *req, void *ctx);

    size_t max_body;          /* 0: 4 MiB */
    unsigned max_connections; /* a listener; 0: 4096 */
    unsigned head_timeout_s;  /* from connecting (or the reply before) to whole headers; 0: 60 */
    unsigned body_timeout_s;  /* for a whole body in memory; 0: 60 */
    unsigned idle_timeout_s;  /* no byte of a request for so long; 0: 60 */
};

/*
 * Binds an address: "unix:///run/x.sock" (a dead socket file is replaced; group `group` when it
 * exists, mode 0660), "tcp://host:port", "tcp://[::1]:2375".
 */
int http_listen_open(const char *address, const char *group, int *ret_fd,
                     struct error *e) MUST_CHECK;

int http_server_start(const struct http_server_params *p, const struct http_listen *listeners,
                      size_t nlisteners, struct http_server **ret, struct error *e) MUST_CHECK;
/* Accepts no more, ends streams (their clients appear to be gone), waits for the handlers. */
void http_server_stop(struct http_server *s);

/* --- The request: everything borrowed, valid until the handler returns ----------------------- */

const char *http_method(const struct http_request *req);
const char *http_path(const struct http_request *req);                    /* decoded, whole */
const char *http_param(const struct http_request *req, const char *name); /* of the pattern */
const char *http_query(const struct http_request *req, const char *name); /* NULL: not there */
bool http_query_bool(const struct http_request *req, const char *name, bool fallback);
/* All values of a parameter that may be repeated, as a list the caller frees. */
char **http_query_all(const struct http_request *req, const char *name) MUST_CHECK;
const char *http_header(const struct http_request *req, const char *name); /* any case */
/* The body in memory, NUL after it; "" and 0 when there is none. */
const char *http_body(const struct http_request *req, size_t *ret_len);
/* HTTP_STREAM_BODY: reading end. A body cut off ends in a read error, never in a plain end. */
int http_body_fd(const struct http_request *req);
/* A number that `prepare` may set and handlers read: the API version. */
void http_set_version(struct http_request *req, unsigned version);
unsigned http_version(const struct http_request *req);
bool http_wants_upgrade(const struct http_request *req); /* "Connection: Upgrade" */

/* --- Whole replies ------------------------------------------------------------------------------ */

/* Additional header of the reply, before it is begun. Line breaks in value become spaces. */
void http_header_add(struct http_request *req, const char *name, const char *value);
/* body is taken over (buf empty afterwards); ctype NULL: application/json. */
void http_reply(struct http_request *req, int status, const char *ctype, struct buf *body);
void http_reply_json(struct http_request *req, int status, struct buf *body);
void http_reply_empty(struct http_request *req, int status);
/* {"message": …} with the status of the error's code (304 has no body). */
void http_reply_error(struct http_request *req, const struct error *e);
void http_reply_message(struct http_request *req, int status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
bool http_replied(const struct http_request *req); /* something was begun */

/* --- Streams ------------------------------------------------------------------------------------- */

/* Sends the headers at once. -EPIPE when the client is gone. */
int http_stream_begin(struct http_request *req, int status, const char *ctype);
/* Sends now; blocks while the client does not read. -EPIPE when it is gone. */
int http_stream_write(struct http_request *req, const void *data, size_t len) MUST_CHECK;
/* The handler's return ends the stream properly; after this it ends as a broken one. */
void http_stream_abort(struct http_request *req);

/*
 * Waits until fd is readable (1), timeout_ms is over (0), or the client is gone or the server
 * stops (-EPIPE). fd < 0: only waits. timeout_ms < 0: for ever.
 */
int http_wait_fd(struct http_request *req, int fd, int timeout_ms) MUST_CHECK;
/* For code below that polls by itself: the connection's socket; POLLRDHUP or POLLHUP on it mean
 * that the client is gone. Never read from it, never wait for POLLIN. */
int http_client_fd(const struct http_request *req);

/* --- Taking the connection over -------------------------------------------------------------------- */

/*
 * fd: a socket to the client, owned by the callee; half-close works both ways. early: bytes that
 * came behind the request. On a TLS connection it is one end of a pair that a thread relays, once
 * the callee has returned: it must not wait for the client.
 */
typedef void (*http_hijack_fn)(struct http_request *req, int fd, const void *early,
                               size_t early_len, void *data);
/*
 * After the handler returns, replies "101" (or, to a client that asked for no upgrade, "200" and a
 * raw stream) and calls fn on the connection's thread. `data` is freed by free_data (may be NULL)
 * whether or not fn was called.
 */
void http_hijack(struct http_request *req, const char *ctype, http_hijack_fn fn, void *data,
                 void (*free_data)(void *));
