/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the HTTP client: the connection and its TLS half. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/client.h"

struct http_endpoint {
    char *path; /* unix socket, else NULL */
    char *host;
    char *port;
    char *ca, *cert, *key;
    bool tls;
    bool verify;
};

struct http_tls; /* a TLS session on a connected socket */

/* Loads the TLS library, shakes hands. The descriptor stays the caller's. */
int http_tls_open(const struct http_endpoint *ep, int fd, struct http_tls **ret,
                  struct error *e) MUST_CHECK;
void http_tls_free(struct http_tls *t);
/* Like read(2) and write(2): -errno, 0 at the end. */
ssize_t http_tls_read(struct http_tls *t, void *data, size_t len) MUST_CHECK;
ssize_t http_tls_write(struct http_tls *t, const void *data, size_t len) MUST_CHECK;
bool http_tls_has_pending(const struct http_tls *t);
/* The library's words for the last -EPROTO, "" when it had none. */
const char *http_tls_failure(const struct http_tls *t);
void http_tls_shutdown_write(struct http_tls *t);

enum http_body { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_CLOSE };

#define HTTP_READ_SIZE (16 << 10)

struct http_conn {
    int fd;
    struct http_tls *tls;
    char *host_header;
    char in[HTTP_READ_SIZE]; /* read but not used yet: in[in_pos .. in_len) */
    size_t in_pos, in_len;
    enum http_body body;
    uint64_t left;    /* of the body or of the chunk */
    bool chunk_begun; /* a chunk's data was read: its CRLF is still to come */
    bool body_done;
    bool keep_alive;
    bool head_request; /* the answer has no body */
};
