/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between a client's connection and one end of a socket pair, on the connection's own
 * thread. Needed where the client's socket itself cannot be given away: TLS (libmicrohttpd's own
 * relay does not pass a half-close on), and raw streams without an upgrade (libmicrohttpd shuts
 * such a socket down when its thread ends).
 */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/server-priv.h"

#define RELAY_CHUNK 16384

/* One direction: what was read and not yet written. */
struct lane {
    char data[RELAY_CHUNK];
    size_t at, len;
    bool eof;  /* nothing more will be read */
    bool done; /* and everything was written, the end passed on */
};

/* >0 bytes, 0 end, -EAGAIN, -EPIPE */
static ssize_t client_read(struct http_conn *c, void *data, size_t len)
{
    ssize_t n;

    if (!c->tls) {
        n = recv(c->fd, data, len, MSG_DONTWAIT);
        if (n >= 0)
            return n;
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPIPE;
    }
    n = gnutls_record_recv(c->tls, data, len);
    if (n >= 0)
        return n;
    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED || !gnutls_error_is_fatal((int)n))
        return -EAGAIN;
    return n == GNUTLS_E_PREMATURE_TERMINATION ? 0 : -EPIPE;
}

static ssize_t client_send(struct http_conn *c, const void *data, size_t len)
{
    ssize_t n;

    if (!c->tls) {
        n = send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPIPE;
    }
    n = gnutls_record_send(c->tls, data, len);
    if (n >= 0)
        return n;
    return n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED ? -EAGAIN : -EPIPE;
}

static void client_end(struct http_conn *c)
{
    if (c->tls)
        (void)gnutls_bye(c->tls, GNUTLS_SHUT_WR);
    else
        (void)shutdown(c->fd, SHUT_WR);
}

/* From the client to the pair. Returns -EPIPE when the whole relay is over. */
static int step_in(struct http_conn *c, int pair, struct lane *l)
{
    ssize_t n;

    if (l->done)
        return 0;
    if (l->len == 0 && !l->eof) {
        l->at = 0;
        n = client_read(c, l->data, sizeof(l->data));
        if (n == -EPIPE)
            return -EPIPE; /* the client is gone, not half-closed */
        if (n == 0)
            l->eof = true;
        else if (n > 0)
            l->len = (size_t)n;
    }
    if (l->len > 0) {
        n = send(pair, l->data + l->at, l->len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            l->eof = l->done = true; /* nobody reads: the other direction may live on */
            l->len = 0;
            return 0;
        }
        if (n > 0) {
            l->at += (size_t)n;
            l->len -= (size_t)n;
        }
    }
    if (l->eof && l->len == 0) {
        l->done = true;
        (void)shutdown(pair, SHUT_WR);
    }
    return 0;
}

static int step_out(struct http_conn *c, int pair, struct lane *l)
{
    ssize_t n;

    if (l->done)
        return 0;
    if (l->len == 0 && !l->eof) {
        l->at = 0;
        n = recv(pair, l->data, sizeof(l->data), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            l->eof = true;
        else if (n > 0)
            l->len = (size_t)n;
    }
    if (l->len > 0) {
        n = client_send(c, l->data + l->at, l->len);
        if (n == -EPIPE)
            return -EPIPE;
        if (n > 0) {
            l->at += (size_t)n;
            l->len -= (size_t)n;
        }
    }
    if (l->eof && l->len == 0) {
        l->done = true;
        client_end(c);
    }
    return 0;
}

static int relay_wait(struct http_conn *c, int pair, const struct lane *in, const struct lane *out)
{
    struct pollfd p[2] = {{.fd = c->fd}, {.fd = pair}};
    bool pending = c->tls && in->len == 0 && !in->eof && gnutls_record_check_pending(c->tls) > 0;

    if (in->len == 0 && !in->eof)
        p[0].events |= POLLIN;
    if (out->len > 0)
        p[0].events |= POLLOUT;
    if (in->len > 0)
        p[1].events |= POLLOUT;
    if (out->len == 0 && !out->eof)
        p[1].events |= POLLIN;
    if (!p[1].events) /* else a hang-up there, known already, would spin */
        p[1].fd = -1;
    if (poll(p, 2, pending ? 0 : -1) < 0 && errno != EINTR)
        return -errno;
    /* An end of the client that no read will find. */
    if ((p[0].revents & (POLLERR | POLLHUP | POLLNVAL)) && !(p[0].events & POLLIN))
        return -EPIPE;
    return 0;
}

void http_relay(struct http_conn *c, int pair, const void *early, size_t early_len)
{
    struct lane in = {0}, out = {0};

    while (early_len > 0) {
        ssize_t n = send(pair, early, early_len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            break;
        if (n > 0) {
            early = (const char *)early + n;
            early_len -= (size_t)n;
        }
    }
    /* When the output has ended nothing is left to be done for the client; when only its input
     * has, the output goes on. */
    while (!out.done) {
        if (step_in(c, pair, &in) < 0 || step_out(c, pair, &out) < 0)
            break;
        if (!out.done && relay_wait(c, pair, &in, &out) < 0)
            break;
    }
}
