/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: libmicrohttpd's callbacks, the list of connections and its watchdog.
 *
 * A connection's life: on_connection(STARTED) → { on_target → on_request (headers) → on_request
 * (each piece of the body) → on_request (end: the handler runs) → on_completed } … →
 * on_connection(CLOSED). All but the first and last run on the connection's own thread.
 *
 * MHD_USE_TURBO matters: without it libmicrohttpd shuts a taken-over socket down when it closes
 * its own descriptor, and that would reach whoever holds a copy. See docs/adr/0002.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"
#include "http/server-priv.h"

#define DEFAULT_MAX_BODY    ((size_t)4 << 20)
#define DEFAULT_CONNECTIONS 4096
#define DEFAULT_TIMEOUT_S   60
#define DISCARD_MAX         ((uint64_t)256 << 20) /* of a refused body, to keep the peer talking */
#define CONNECTION_MEMORY   ((size_t)64 << 10)    /* request line and headers */
#define THREAD_STACK        ((size_t)512 << 10)
#define TLS_FILE_MAX        ((size_t)1 << 20)

/* --- Connections and their deadlines ----------------------------------------------------------- */

static void conn_deadline(struct http_conn *c, unsigned seconds)
{
    struct http_server *s = c->server;

    pthread_mutex_lock(&s->lock);
    c->deadline = seconds ? time_monotonic_ns() + (int64_t)seconds * NSEC_PER_SEC : 0;
    pthread_mutex_unlock(&s->lock);
}

/* From now on the socket is someone else's. */
static void conn_give_away(struct http_conn *c)
{
    pthread_mutex_lock(&c->server->lock);
    c->given_away = true;
    c->deadline = 0;
    pthread_mutex_unlock(&c->server->lock);
}

/* Ends connections that are past their deadline; wakes once a second while there are any. */
static void *watchdog(void *data)
{
    struct http_server *s = data;

    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        int64_t now = time_monotonic_ns();
        bool timed = false;

        for (struct http_conn *c = s->conns; c; c = c->next) {
            if (!c->deadline || c->given_away)
                continue;
            if (now >= c->deadline) {
                c->deadline = 0;
                (void)shutdown(c->fd, SHUT_RDWR);
            } else {
                timed = true;
            }
        }
        if (timed) {
            int64_t at = now + NSEC_PER_SEC;
            struct timespec ts = {at / NSEC_PER_SEC, at % NSEC_PER_SEC};

            pthread_cond_timedwait(&s->wake, &s->lock, &ts);
        } else {
            pthread_cond_wait(&s->wake, &s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static struct http_conn *conn_new(struct http_server *s, struct MHD_Connection *mhd, bool verify)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd,
                                                                 MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *tls =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    struct http_conn *c = xcalloc(1, sizeof(*c));

    c->server = s;
    c->fd = fd ? fd->connect_fd : -EBADF;
    c->tls = tls ? tls->tls_session : NULL;
    c->verify = verify;
    if (c->tls && verify) { /* refuse in the handshake */
        gnutls_certificate_server_set_request(c->tls, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert(c->tls, NULL, 0);
    }
    pthread_mutex_lock(&s->lock);
    c->deadline = time_monotonic_ns() + (int64_t)s->params.head_timeout_s * NSEC_PER_SEC;
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    else
        pthread_cond_signal(&s->wake); /* the first one: the watchdog may be asleep */
    s->conns = c;
    if (s->stopping)
        (void)shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    return c;
}

static void conn_free(struct http_conn *c)
{
    struct http_server *s = c->server;

    pthread_mutex_lock(&s->lock);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    pthread_mutex_unlock(&s->lock);
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_listener *l = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = conn_new(l->server, mhd, l->verify);
    } else if (*socket_context) {
        conn_free(*socket_context);
        *socket_context = NULL;
    }
}

/* --- A body that is read while it arrives -------------------------------------------------------- */

static void *stream_worker(void *data)
{
    struct http_request *req = data;

    req->route->handler(req, req->server->params.ctx);
    /* Nobody reads on: the connection's thread finds out at its next write, and drops the rest. */
    (void)shutdown(req->body_fd, SHUT_RDWR);
    return NULL;
}

/*
 * The body goes through a socket pair rather than a pipe, because only so can "cut off" be told
 * from "ended": the reading side writes one byte to us. While we have not read it, closing our end
 * gives the reader ECONNRESET; after reading it, closing is a plain end of file.
 */
static int stream_start(struct http_request *req)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    req->feed_fd = pair[0];
    req->body_fd = pair[1];
    if (send(req->body_fd, "x", 1, MSG_NOSIGNAL) != 1)
        return -EIO;
    if (pthread_create(&req->worker, NULL, stream_worker, req) != 0)
        return -EAGAIN;
    req->worker_runs = true;
    return 0;
}

static void stream_feed(struct http_request *req, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(req->feed_fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; /* the handler wants no more */
        data += n;
        len -= (size_t)n;
    }
}

static void stream_end(struct http_request *req, bool whole)
{
    char byte;

    if (whole && req->feed_fd >= 0)
        (void)!recv(req->feed_fd, &byte, 1, 0);
    base_closep(&req->feed_fd);
    req->feed_fd = -EBADF;
    if (req->worker_runs)
        pthread_join(req->worker, NULL);
    req->worker_runs = false;
    base_closep(&req->body_fd);
    req->body_fd = -EBADF;
}

/* --- The end of a request: the reply ------------------------------------------------------------- */

static enum MHD_Result queue_whole(struct http_request *req)
{
    size_t len = req->reply_body.len;
    char *data = len ? buf_take(&req->reply_body) : NULL;
    struct MHD_Response *resp = MHD_create_response_from_buffer(len, data,
                                                                data ? MHD_RESPMEM_MUST_FREE
                                                                     : MHD_RESPMEM_PERSISTENT);
    enum MHD_Result ok;

    if (!resp) {
        free(data);
        return MHD_NO;
    }
    http_common_headers(req);
    if (req->ctype)
        (void)MHD_add_response_header(resp, "Content-Type", req->ctype);
    for (size_t i = 0; i < req->nheaders; i++)
        (void)MHD_add_response_header(resp, req->headers[i].name, req->headers[i].value);
    ok = MHD_queue_response(req->mhd, (unsigned)req->status, resp);
    MHD_destroy_response(resp);
    return ok;
}

/* Gives the connection to the handler's function; its data goes at once, as the relay that may
 * follow lasts as long as the session. */
static void hijack_call(struct http_request *req, int fd, const void *early, size_t early_len)
{
    req->hijack(req, fd, early, early_len, req->hijack_data);
    if (req->hijack_free)
        req->hijack_free(req->hijack_data);
    req->hijack_free = NULL;
}

/* Runs fn on one end of a socket pair and relays to the other. */
static void hijack_by_relay(struct http_request *req, const void *early, size_t early_len)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        log_error("cannot take a connection over", "error=\"%s\"", strerror(errno));
        return;
    }
    hijack_call(req, pair[1], NULL, 0);
    http_relay(req->conn, pair[0], early, early_len);
    (void)close(pair[0]);
}

static void on_upgraded(void *cls, struct MHD_Connection *mhd, void *req_cls, const char *extra,
                        size_t extra_len, MHD_socket sock, struct MHD_UpgradeResponseHandle *urh)
{
    struct http_request *req = cls;

    if (req->conn->tls) {
        /* The library has made a socket pair for this, which nobody uses, and forgot O_CLOEXEC.
         * Its other end is most likely the next number; the flag is right on any of ours. */
        (void)fcntl(sock, F_SETFD, FD_CLOEXEC);
        (void)fcntl(sock + 1, F_SETFD, FD_CLOEXEC);
        hijack_by_relay(req, extra, extra_len);
    } else {
        int fd = fcntl(sock, F_DUPFD_CLOEXEC, 3);

        if (fd < 0) {
            log_error("cannot take a connection over", "error=\"%s\"", strerror(errno));
        } else {
            int flags = fcntl(fd, F_GETFL);

            if (flags >= 0)
                (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
            conn_give_away(req->conn);
            hijack_call(req, fd, extra, extra_len);
        }
    }
    (void)MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
}

static enum MHD_Result queue_upgrade(struct http_request *req)
{
    struct MHD_Response *resp = MHD_create_response_for_upgrade(on_upgraded, req);
    const char *protocol = http_header(req, "Upgrade");
    enum MHD_Result ok;

    if (!resp)
        return MHD_NO;
    http_common_headers(req);
    (void)MHD_add_response_header(resp, "Upgrade", protocol ? protocol : "tcp");
    (void)MHD_add_response_header(resp, "Content-Type", req->ctype);
    for (size_t i = 0; i < req->nheaders; i++)
        (void)MHD_add_response_header(resp, req->headers[i].name, req->headers[i].value);
    ok = MHD_queue_response(req->mhd, MHD_HTTP_SWITCHING_PROTOCOLS, resp);
    MHD_destroy_response(resp);
    return ok;
}

/* Brings what the handler decided to the client. MHD_NO closes the connection. */
static enum MHD_Result request_reply(struct http_request *req)
{
    switch (req->reply) {
    case REPLY_NONE:
        http_reply_message(req, 500, "the request was not answered");
        return queue_whole(req);
    case REPLY_WHOLE:
        return queue_whole(req);
    case REPLY_STREAM:
        http_stream_finish(req);
        return MHD_NO;
    case REPLY_HIJACK:
        if (req->upgrade)
            return queue_upgrade(req);
        req->status = 200;
        if (http_raw_head(req, NULL) == 0)
            hijack_by_relay(req, NULL, 0);
        return MHD_NO;
    }
    return MHD_NO;
}

/* --- The request, step by step ------------------------------------------------------------------- */

/* The request line is there: the only place where the target is seen undecoded. */
static void *on_target(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_listener *l = cls;
    struct http_request *req = xcalloc(1, sizeof(*req));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    req->server = l->server;
    req->conn = info ? info->socket_context : NULL;
    req->mhd = mhd;
    req->raw_target = xstrdup(uri);
    req->feed_fd = req->body_fd = -EBADF;
    req->body.max = l->server->params.max_body;
    return req;
}

static void route_params(struct http_request *req, const struct http_path_param *p, int n)
{
    req->nparams = n;
    for (int i = 0; i < n; i++)
        req->params[i] = (struct http_pair){xstrndup(p[i].name, p[i].name_len),
                                            xstrndup(p[i].value, p[i].value_len)};
}

/* Sets req->route, or replies. */
static void request_route(struct http_request *req)
{
    const struct http_server_params *p = &req->server->params;
    struct http_path_param params[HTTP_PATH_PARAMS_MAX];
    const char *method = req->head ? "GET" : req->method, *path = req->target.path;

    if (p->prepare && p->prepare(req, &path, p->ctx) != 0)
        return;
    for (const struct http_route *r = p->routes; r->method; r++) {
        int n;

        if (!STREQ(r->method, method) && !STREQ(r->method, req->method))
            continue;
        n = http_path_match(r->pattern, path, params);
        if (n < 0)
            continue;
        req->route = r;
        route_params(req, params, n);
        if (r->max_body)
            req->body.max = r->max_body;
        return;
    }
    http_reply_message(req, 404, "page not found");
}

static void reply_too_large(struct http_request *req)
{
    req->too_large = true;
    buf_done(&req->body);
    http_reply_message(req, 413, "the request's body is larger than the limit of %zu bytes",
                       req->body.max);
}

/* The headers are complete. */
static enum MHD_Result request_begin(struct http_request *req, const char *method,
                                     const char *version)
{
    const struct http_server_params *p = &req->server->params;
    AUTO(error) struct error e = ERROR_INIT;
    const char *length = http_header(req, "Content-Length"), *expect = http_header(req, "Expect");
    uint64_t announced = 0;

    req->begun = true;
    req->method = xstrdup(method);
    req->head = STREQ(method, "HEAD");
    req->http_1_0 = STREQ(version, "HTTP/1.0");
    req->upgrade = !req->http_1_0 && http_header(req, "Upgrade");
    if (http_target_parse(req->raw_target, &req->target, &e) < 0)
        http_reply_error(req, &e);
    else
        request_route(req);

    if (req->route && (req->route->flags & HTTP_STREAM_BODY)) {
        conn_deadline(req->conn, 0); /* of any size: only silence ends it */
        return MHD_YES;
    }
    conn_deadline(req->conn, p->body_timeout_s);
    if (!http_replied(req) && length && parse_u64(length, &announced) == 0 &&
        announced > req->body.max)
        reply_too_large(req);
    /* Refused before a byte of it was sent: say so now. */
    if (http_replied(req) && expect && strcasecmp(expect, "100-continue") == 0)
        return request_reply(req);
    return MHD_YES;
}

static enum MHD_Result request_body(struct http_request *req, const char *data, size_t len)
{
    if (req->route && (req->route->flags & HTTP_STREAM_BODY)) {
        if (!req->worker_runs && !http_replied(req) && stream_start(req) < 0)
            http_reply_message(req, 500, "cannot read the body: out of threads or descriptors");
        if (req->worker_runs)
            stream_feed(req, data, len);
        return MHD_YES;
    }
    if (!http_replied(req) && buf_append(&req->body, data, len) < 0)
        reply_too_large(req);
    if (http_replied(req)) {
        req->discarded += len;
        return req->discarded > DISCARD_MAX ? MHD_NO : MHD_YES;
    }
    return MHD_YES;
}

static enum MHD_Result request_end(struct http_request *req)
{
    conn_deadline(req->conn, 0); /* a handler may take as long as it needs */
    if (req->route && (req->route->flags & HTTP_STREAM_BODY)) {
        if (!req->worker_runs && !http_replied(req) && stream_start(req) < 0)
            http_reply_message(req, 500, "cannot read the body: out of threads or descriptors");
        stream_end(req, true);
    } else if (!http_replied(req)) {
        req->route->handler(req, req->server->params.ctx);
    }
    return request_reply(req);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    struct http_request *req = *con_cls;
    size_t len = *size;

    if (!req || !req->conn)
        return MHD_NO;
    if (!req->begun)
        return request_begin(req, method, version);
    if (len > 0) {
        *size = 0;
        return request_body(req, data, len);
    }
    return request_end(req);
}

/* Answered, or the client left half-way. */
static void on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct http_request *req = *con_cls;

    *con_cls = NULL;
    if (!req)
        return;
    stream_end(req, false);
    if (req->conn && !req->conn->given_away)
        conn_deadline(req->conn, req->server->params.head_timeout_s);
    http_request_free(req);
}

/* --- Starting and stopping ------------------------------------------------------------------------ */

/* Paths are decoded in query.c, from the undecoded target. */
static size_t leave_escapes(void *cls, struct MHD_Connection *mhd, char *s)
{
    return strlen(s);
}

static int tls_read(const char *path, const char *what, char **ret, struct error *e)
{
    int r = fs_read_file(AT_FDCWD, path, TLS_FILE_MAX, ret, NULL);

    return r < 0 ? error_set_errno(e, r, "cannot read the TLS %s %s", what, path) : 0;
}

static int listener_start(struct http_server *s, size_t i, const struct http_listen *l,
                          struct error *e)
{
    const struct http_server_params *p = &s->params;
    AUTOFREE char *cert = NULL, *key = NULL, *ca = NULL;
    struct MHD_OptionItem options[16];
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_POLL | MHD_ALLOW_UPGRADE | MHD_USE_ITC | MHD_USE_TURBO;
    int n = 0, r;

    s->listeners[i] = (struct http_listener){.server = s, .verify = l->tls && l->tls->verify};
#define OPTION(option_, value_, pointer_)                                                          \
    options[n++] = (struct MHD_OptionItem){.option = (option_),                                    \
                                           .value = (intptr_t)(value_),                            \
                                           .ptr_value = (pointer_)}
    OPTION(MHD_OPTION_LISTEN_SOCKET, l->fd, NULL);
    OPTION(MHD_OPTION_NOTIFY_CONNECTION, on_connection, &s->listeners[i]);
    OPTION(MHD_OPTION_NOTIFY_COMPLETED, on_completed, s);
    OPTION(MHD_OPTION_URI_LOG_CALLBACK, on_target, &s->listeners[i]);
    OPTION(MHD_OPTION_UNESCAPE_CALLBACK, leave_escapes, NULL);
    OPTION(MHD_OPTION_CONNECTION_LIMIT, p->max_connections, NULL);
    OPTION(MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL);
    OPTION(MHD_OPTION_CONNECTION_TIMEOUT, p->idle_timeout_s, NULL);
    OPTION(MHD_OPTION_THREAD_STACK_SIZE, THREAD_STACK, NULL);
    if (l->tls) {
        r = tls_read(l->tls->cert_file, "certificate", &cert, e);
        if (r == 0)
            r = tls_read(l->tls->key_file, "key", &key, e);
        if (r == 0 && l->tls->ca_file)
            r = tls_read(l->tls->ca_file, "authority", &ca, e);
        if (r < 0)
            return r;
        flags |= MHD_USE_TLS;
        OPTION(MHD_OPTION_HTTPS_MEM_CERT, 0, cert);
        OPTION(MHD_OPTION_HTTPS_MEM_KEY, 0, key);
        if (ca)
            OPTION(MHD_OPTION_HTTPS_MEM_TRUST, 0, ca);
        else if (l->tls->verify)
            return error_set(e, ERR_INVALID, "verifying clients needs a certificate authority");
    }
    OPTION(MHD_OPTION_END, 0, NULL);
#undef OPTION
    s->daemons[i] = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_ARRAY, options,
                                     MHD_OPTION_END);
    if (!s->daemons[i])
        return error_set(e, ERR_INTERNAL, "cannot start the HTTP server%s",
                         l->tls ? " (are certificate and key right?)" : "");
    return 0;
}

static void server_free(struct http_server *s)
{
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->daemons);
    free(s->listeners);
    free(s);
}

int http_server_start(const struct http_server_params *p, const struct http_listen *listeners,
                      size_t nlisteners, struct http_server **ret, struct error *e)
{
    struct http_server *s = xcalloc(1, sizeof(*s));
    pthread_condattr_t attr;
    int r = 0;

    s->params = *p;
#define DEFAULT(field, value) s->params.field = p->field ? p->field : (value)
    DEFAULT(max_body, DEFAULT_MAX_BODY);
    DEFAULT(max_connections, DEFAULT_CONNECTIONS);
    DEFAULT(head_timeout_s, DEFAULT_TIMEOUT_S);
    DEFAULT(body_timeout_s, DEFAULT_TIMEOUT_S);
    DEFAULT(idle_timeout_s, DEFAULT_TIMEOUT_S);
#undef DEFAULT
    s->daemons = xcalloc(nlisteners, sizeof(struct MHD_Daemon *));
    s->listeners = xcalloc(nlisteners, sizeof(*s->listeners));
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);

    if (pthread_create(&s->watchdog, NULL, watchdog, s) != 0)
        r = error_set_errno(e, EAGAIN, "cannot start the HTTP server's watchdog");
    else
        s->watchdog_runs = true;
    for (; r == 0 && s->ndaemons < nlisteners; s->ndaemons++)
        r = listener_start(s, s->ndaemons, &listeners[s->ndaemons], e);
    if (r < 0) {
        /* The listener that failed has no daemon that would close its socket, nor have those
         * behind it. */
        for (size_t i = 0; i < nlisteners; i++)
            if (!s->daemons[i])
                (void)close(listeners[i].fd);
        http_server_stop(s);
        return r;
    }
    *ret = s;
    return 0;
}

void http_server_stop(struct http_server *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (struct http_conn *c = s->conns; c; c = c->next)
        if (!c->given_away)
            (void)shutdown(c->fd, SHUT_RDWR);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->ndaemons; i++)
        if (s->daemons[i])
            MHD_stop_daemon(s->daemons[i]);
    if (s->watchdog_runs)
        pthread_join(s->watchdog, NULL);
    server_free(s);
}
