/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small blocking HTTP/1.1 client: unix sockets, TCP, TCP with TLS; kept-alive connections,
 * Content-Length and chunked bodies, upgraded (hijacked) connections.
 *
 * One struct http_conn is one connection and belongs to one thread. On it requests and answers
 * alternate: send, receive the head, read the body to its end, then the next request. Whatever the
 * server sends is bounded: the head by HTTP_HEAD_MAX, a body read as a whole by its buffer.
 * The TLS library is loaded only when an endpoint asks for TLS, so that the plain way costs nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

#define HTTP_HEAD_MAX   (64 << 10)
#define HTTP_HEADER_MAX 128

struct http_tls_options {
    bool enabled;     /* speak TLS on tcp endpoints */
    bool verify;      /* check the server's certificate and name */
    const char *ca;   /* PEM files, NULL when none */
    const char *cert; /* the client's own certificate */
    const char *key;
};

/* Where a server listens. Immutable; may be shared between threads. */
struct http_endpoint;

/* host: "unix:///path", "tcp://name:port", "http://…", "https://…". Ports default to 2375, and
 * 2376 with TLS. ERR_INVALID says what is wrong with it. */
int http_endpoint_parse(const char *host, const struct http_tls_options *tls,
                        struct http_endpoint **ret, struct error *e) MUST_CHECK;
void http_endpoint_free(struct http_endpoint *ep);
DEFINE_AUTOPTR(struct http_endpoint, http_endpoint)

struct http_conn;

/* Connects. Errors keep the errno of connect(2): -ENOENT and -ECONNREFUSED mean nobody listens. */
int http_conn_open(const struct http_endpoint *ep, struct http_conn **ret,
                   struct error *e) MUST_CHECK;
/* A connection over a descriptor that is there already (taken over). */
struct http_conn *http_conn_new_fd(int fd) MUST_CHECK;
void http_conn_free(struct http_conn *c);
DEFINE_AUTOPTR(struct http_conn, http_conn)

struct http_request {
    const char *method;
    const char *target;         /* path and query, encoded by the caller */
    const char *const *headers; /* further "Name: value" lines, NULL-ended, or NULL */
    const char *content_type;   /* of the body; NULL when there is none */
    const void *body;
    size_t body_len;
    bool chunked; /* the body follows by http_conn_write_chunk() */
    bool upgrade; /* ask for a raw connection: Connection: Upgrade, Upgrade: tcp */
};

/* Sends the head and, unless chunked, the body. */
int http_conn_send(struct http_conn *c, const struct http_request *req, struct error *e) MUST_CHECK;
/* One piece of a chunked body; len 0 ends it. -EPIPE: the server closed; its answer may be there. */
int http_conn_write_chunk(struct http_conn *c, const void *data, size_t len,
                          struct error *e) MUST_CHECK;

struct http_response {
    int status;
    bool upgraded;  /* 101: the connection is raw now */
    char **headers; /* "name: value", names in lower case */
};

/* Receives the head of the answer (interim 1xx answers are skipped). */
int http_conn_recv(struct http_conn *c, struct http_response *ret, struct error *e) MUST_CHECK;
/* Value of a header (lower-case name), or NULL. */
const char *http_response_header(const struct http_response *res, const char *name);
void http_response_done(struct http_response *res);

/* The next bytes of the body: > 0 as many, 0 at its end, -errno. A body that ends early is an
 * error, never a short success. */
ssize_t http_conn_read(struct http_conn *c, void *data, size_t len, struct error *e) MUST_CHECK;
/* The rest of the body, at most what `out` may hold (ERR_TOO_LARGE). */
int http_conn_read_all(struct http_conn *c, struct buf *out, struct error *e) MUST_CHECK;

/* The body was read to its end and the server keeps the connection open. */
bool http_conn_is_reusable(const struct http_conn *c);

/* Raw use after an upgrade, or of an endless body: bytes that came with the head come first. */
ssize_t http_conn_raw_read(struct http_conn *c, void *data, size_t len) MUST_CHECK;
int http_conn_raw_write(struct http_conn *c, const void *data, size_t len) MUST_CHECK;
/* Tells the server that nothing more will be sent; reading goes on. */
void http_conn_shutdown_write(struct http_conn *c);
/* For poll(2). Bytes may already wait inside: check http_conn_has_pending() first. */
int http_conn_fd(const struct http_conn *c);
bool http_conn_has_pending(const struct http_conn *c);

/* Appends s percent-encoded for a path segment or a query value. */
void http_encode(struct buf *out, const char *s);

/* From here on raw reads and writes that would block give -EAGAIN. */
void http_conn_set_nonblocking(struct http_conn *c);
/* One write of a raw connection: bytes taken or -errno. */
ssize_t http_conn_raw_write_some(struct http_conn *c, const void *data, size_t len) MUST_CHECK;
