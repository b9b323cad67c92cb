/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS for the HTTP client by OpenSSL 3, loaded when the first TLS connection is made: linking it
 * would cost each start of the command line a millisecond that plain connections never need.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "http/client-priv.h"

/* name of each function used; its type comes from OpenSSL's own header */
#define TLS_FUNCTIONS(X)                                                                           \
    X(TLS_client_method)                                                                           \
    X(SSL_CTX_new)                                                                                 \
    X(SSL_CTX_free)                                                                                \
    X(SSL_CTX_ctrl)                                                                                \
    X(SSL_CTX_set_verify)                                                                          \
    X(SSL_CTX_set_default_verify_paths)                                                            \
    X(SSL_CTX_load_verify_file)                                                                    \
    X(SSL_CTX_use_certificate_chain_file)                                                          \
    X(SSL_CTX_use_PrivateKey_file)                                                                 \
    X(SSL_new)                                                                                     \
    X(SSL_free)                                                                                    \
    X(SSL_ctrl)                                                                                    \
    X(SSL_set1_host)                                                                               \
    X(SSL_get0_param)                                                                              \
    X(SSL_set_fd)                                                                                  \
    X(SSL_connect)                                                                                 \
    X(SSL_read)                                                                                    \
    X(SSL_write)                                                                                   \
    X(SSL_pending)                                                                                 \
    X(SSL_shutdown)                                                                                \
    X(SSL_get_error)                                                                               \
    X(SSL_get_verify_result)                                                                       \
    X(X509_VERIFY_PARAM_set1_ip_asc)                                                               \
    X(X509_verify_cert_error_string)                                                               \
    X(ERR_get_error)                                                                               \
    X(ERR_error_string_n)

static struct {
    void *library;
#define X(name) __typeof__(&name) name;
    TLS_FUNCTIONS(X)
#undef X
} tls;

struct http_tls {
    SSL_CTX *ctx;
    SSL *ssl;
    char failure[160]; /* what the library said of the last failure */
};

static int load_library(struct error *e)
{
    if (tls.library)
        return 0;
    tls.library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!tls.library)
        return error_set(e, ERR_NOT_SUPPORTED, "TLS needs OpenSSL 3 (package libssl3): %s",
                         dlerror());
#define X(name)                                                                                    \
    *(void **)(&tls.name) = dlsym(tls.library, #name);                                             \
    if (!tls.name) {                                                                               \
        tls.library = NULL;                                                                        \
        return error_set(e, ERR_NOT_SUPPORTED, "libssl.so.3 lacks %s", #name);                     \
    }
    TLS_FUNCTIONS(X)
#undef X
    return 0;
}

static int error_tls(struct error *e, const char *what)
{
    char text[256] = "no reason given";
    unsigned long code = tls.ERR_get_error();

    if (code)
        tls.ERR_error_string_n(code, text, sizeof text);
    return error_set(e, ERR_UNAVAILABLE, "TLS: %s: %s", what, text);
}

static int set_up_context(SSL_CTX *ctx, const struct http_endpoint *ep, struct error *e)
{
    (void)tls.SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    if (ep->verify) {
        tls.SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        if (ep->ca ? tls.SSL_CTX_load_verify_file(ctx, ep->ca) != 1
                   : tls.SSL_CTX_set_default_verify_paths(ctx) != 1)
            return error_tls(e, ep->ca ? ep->ca : "the system's certificates cannot be read");
    }
    if (ep->cert && tls.SSL_CTX_use_certificate_chain_file(ctx, ep->cert) != 1)
        return error_tls(e, ep->cert);
    if (ep->key && tls.SSL_CTX_use_PrivateKey_file(ctx, ep->key, SSL_FILETYPE_PEM) != 1)
        return error_tls(e, ep->key);
    return 0;
}

/* The name (or address) the certificate must carry. */
static int set_server_name(SSL *ssl, const char *host, struct error *e)
{
    unsigned char addr[16];

    if (inet_pton(AF_INET, host, addr) == 1 || inet_pton(AF_INET6, host, addr) == 1) {
        if (tls.X509_VERIFY_PARAM_set1_ip_asc(tls.SSL_get0_param(ssl), host) != 1)
            return error_tls(e, host);
        return 0;
    }
    (void)tls.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                       (void *)(uintptr_t)host);
    return tls.SSL_set1_host(ssl, host) == 1 ? 0 : error_tls(e, host);
}

int http_tls_open(const struct http_endpoint *ep, int fd, struct http_tls **ret, struct error *e)
{
    struct http_tls *t;
    int r = load_library(e);

    if (r < 0)
        return r;
    t = xcalloc(1, sizeof *t);
    t->ctx = tls.SSL_CTX_new(tls.TLS_client_method());
    if (!t->ctx) {
        r = error_tls(e, "set-up failed");
        goto fail;
    }
    r = set_up_context(t->ctx, ep, e);
    if (r < 0)
        goto fail;
    t->ssl = tls.SSL_new(t->ctx);
    if (!t->ssl || tls.SSL_set_fd(t->ssl, fd) != 1) {
        r = error_tls(e, "set-up failed");
        goto fail;
    }
    (void)tls.SSL_ctrl(t->ssl, SSL_CTRL_MODE,
                       SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, NULL);
    r = set_server_name(t->ssl, ep->host, e);
    if (r < 0)
        goto fail;
    if (tls.SSL_connect(t->ssl) != 1) {
        long verdict = tls.SSL_get_verify_result(t->ssl);

        if (verdict != X509_V_OK)
            r = error_set(e, ERR_UNAVAILABLE, "TLS: the certificate of %s:%s is not good: %s",
                          ep->host, ep->port, tls.X509_verify_cert_error_string(verdict));
        else
            r = error_tls(e, "the handshake failed");
        goto fail;
    }
    *ret = t;
    return 0;
fail:
    http_tls_free(t);
    return r;
}

void http_tls_free(struct http_tls *t)
{
    if (!t)
        return;
    if (t->ssl)
        tls.SSL_free(t->ssl);
    if (t->ctx)
        tls.SSL_CTX_free(t->ctx);
    free(t);
}

/* OpenSSL's result as a count or -errno. */
static ssize_t tls_result(struct http_tls *t, int n)
{
    int saved = errno;
    unsigned long code;

    if (n > 0)
        return n;
    switch (tls.SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_SYSCALL:
        return saved ? -saved : -ECONNRESET;
    default:
        code = tls.ERR_get_error();
        if (code)
            tls.ERR_error_string_n(code, t->failure, sizeof t->failure);
        return -EPROTO;
    }
}

const char *http_tls_failure(const struct http_tls *t)
{
    return t->failure;
}

ssize_t http_tls_read(struct http_tls *t, void *data, size_t len)
{
    ssize_t n;

    do {
        errno = 0;
        n = tls_result(t, tls.SSL_read(t->ssl, data, len > 1 << 30 ? 1 << 30 : (int)len));
    } while (n == -EINTR);
    return n;
}

ssize_t http_tls_write(struct http_tls *t, const void *data, size_t len)
{
    ssize_t n;

    errno = 0;
    n = tls_result(t, tls.SSL_write(t->ssl, data, len > 1 << 30 ? 1 << 30 : (int)len));
    return n == 0 ? -EPIPE : n;
}

bool http_tls_has_pending(const struct http_tls *t)
{
    return tls.SSL_pending(t->ssl) > 0;
}

void http_tls_shutdown_write(struct http_tls *t)
{
    (void)tls.SSL_shutdown(t->ssl);
}
