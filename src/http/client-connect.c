/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of the HTTP client: their texts, and connecting to them. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "http/client-priv.h"

void http_endpoint_free(struct http_endpoint *ep)
{
    if (!ep)
        return;
    free(ep->path);
    free(ep->host);
    free(ep->port);
    free(ep->ca);
    free(ep->cert);
    free(ep->key);
    free(ep);
}

/* "name:port", "[::1]:port", either half may be missing. */
static int parse_authority(struct http_endpoint *ep, const char *text, const char *whole,
                           struct error *e)
{
    const char *default_port = ep->tls ? "2376" : "2375";
    size_t len = strcspn(text, "/");
    AUTOFREE char *authority = xstrndup(text, len);
    char *port, *name = authority;
    uint64_t n;

    if (text[len] == '/' && text[len + 1] != '\0')
        return error_set(e, ERR_INVALID, "invalid host \"%s\": a path is not supported", whole);
    if (*name == '[') {
        char *end = strchr(name, ']');

        if (!end || (end[1] && end[1] != ':'))
            return error_set(e, ERR_INVALID, "invalid host \"%s\": bad IPv6 address", whole);
        *end = '\0';
        name++;
        port = end[1] ? end + 2 : NULL;
    } else {
        port = strchr(name, ':');
        if (port)
            *port++ = '\0';
    }
    if (port && *port && (parse_u64(port, &n) < 0 || n == 0 || n > 65535))
        return error_set(e, ERR_INVALID, "invalid host \"%s\": bad port \"%s\"", whole, port);
    ep->host = xstrdup(*name ? name : "127.0.0.1");
    ep->port = xstrdup(port && *port ? port : default_port);
    return 0;
}

int http_endpoint_parse(const char *host, const struct http_tls_options *tls,
                        struct http_endpoint **ret, struct error *e)
{
    AUTOPTR(http_endpoint) struct http_endpoint *ep = xcalloc(1, sizeof *ep);
    const char *rest;
    int r;

    if (str_has_prefix(host, "unix://")) {
        rest = host + strlen("unix://");
        if (*rest != '/')
            return error_set(e, ERR_INVALID,
                             "invalid host \"%s\": want unix:///absolute/path/of.sock", host);
        if (strlen(rest) >= sizeof((struct sockaddr_un *)0)->sun_path)
            return error_set(e, ERR_INVALID, "invalid host \"%s\": the socket's path is too long",
                             host);
        ep->path = xstrdup(rest);
        *ret = take_ptr(ep);
        return 0;
    }
    if (tls && tls->enabled) {
        ep->tls = true;
        ep->verify = tls->verify;
        ep->ca = xstrdup_or_null(tls->ca);
        ep->cert = xstrdup_or_null(tls->cert);
        ep->key = xstrdup_or_null(tls->key);
    }
    if (str_has_prefix(host, "tcp://")) {
        rest = host + strlen("tcp://");
    } else if (str_has_prefix(host, "http://")) {
        rest = host + strlen("http://");
    } else if (str_has_prefix(host, "https://")) {
        rest = host + strlen("https://");
        if (!ep->tls)
            ep->verify = true;
        ep->tls = true;
    } else {
        return error_set(e, ERR_INVALID,
                         "invalid host \"%s\": want unix:///path or tcp://name:port", host);
    }
    r = parse_authority(ep, rest, host, e);
    if (r < 0)
        return r;
    *ret = take_ptr(ep);
    return 0;
}

static int connect_unix(const struct http_endpoint *ep, int *ret_fd)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    memcpy(sa.sun_path, ep->path, strlen(ep->path));
    while (connect(fd, (const struct sockaddr *)&sa, sizeof sa) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    *ret_fd = take_fd(fd);
    return 0;
}

static int connect_tcp(const struct http_endpoint *ep, int *ret_fd, struct error *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int on = 1, last = -EADDRNOTAVAIL;
    int r = getaddrinfo(ep->host, ep->port, &hints, &list);

    if (r != 0)
        return error_set(e, ERR_UNAVAILABLE, "looking up \"%s\" failed: %s", ep->host,
                         gai_strerror(r));
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
            freeaddrinfo(list);
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
            *ret_fd = fd;
            return 0;
        }
        last = -errno;
        if (fd >= 0)
            (void)close(fd);
    }
    freeaddrinfo(list);
    return error_set_errno(e, last, "connecting to %s:%s failed", ep->host, ep->port);
}

int http_conn_open(const struct http_endpoint *ep, struct http_conn **ret, struct error *e)
{
    AUTOPTR(http_conn) struct http_conn *c = NULL;
    int fd = -EBADF;
    int r;

    if (ep->path) {
        r = connect_unix(ep, &fd);
        if (r < 0)
            return error_set_errno(e, r, "connecting to %s failed", ep->path);
    } else {
        r = connect_tcp(ep, &fd, e);
        if (r < 0)
            return r;
    }
    c = http_conn_new_fd(fd);
    if (!ep->path)
        c->host_header = strchr(ep->host, ':') ? xasprintf("[%s]:%s", ep->host, ep->port)
                                               : xasprintf("%s:%s", ep->host, ep->port);
    if (ep->tls) {
        r = http_tls_open(ep, fd, &c->tls, e);
        if (r < 0)
            return r;
    }
    *ret = take_ptr(c);
    return 0;
}
