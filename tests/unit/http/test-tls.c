/* SPDX-License-Identifier: Apache-2.0 */
/* TLS with client certificates: who is let in; streams; sessions with half-close over TLS. */
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "http/server.h"
#include "peer.h"

static char folder[] = "/tmp/pouch-tls-test.XXXXXX";
static struct http_server *server;
static uint16_t port;

/* --- Certificates ------------------------------------------------------------------------------- */

struct identity {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
};

/* Signed by `ca`, or by itself. */
static struct identity identity_new(const char *name, const struct identity *ca)
{
    struct identity i;
    unsigned char serial[4] = {1, 2, 3, (unsigned char)strlen(name)};
    bool root = !ca;

    gnutls_x509_privkey_init(&i.key);
    gnutls_x509_privkey_generate(i.key, GNUTLS_PK_ECDSA,
                                 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    gnutls_x509_crt_init(&i.crt);
    gnutls_x509_crt_set_version(i.crt, 3);
    gnutls_x509_crt_set_key(i.crt, i.key);
    gnutls_x509_crt_set_serial(i.crt, serial, sizeof(serial));
    gnutls_x509_crt_set_activation_time(i.crt, time(NULL) - 3600);
    gnutls_x509_crt_set_expiration_time(i.crt, time(NULL) + 3600);
    gnutls_x509_crt_set_dn_by_oid(i.crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                  (unsigned)strlen(name));
    gnutls_x509_crt_set_basic_constraints(i.crt, root, -1);
    gnutls_x509_crt_set_key_usage(i.crt,
                                  root ? GNUTLS_KEY_KEY_CERT_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE);
    gnutls_x509_crt_sign2(i.crt, ca ? ca->crt : i.crt, ca ? ca->key : i.key, GNUTLS_DIG_SHA256, 0);
    return i;
}

static void identity_done(struct identity *i)
{
    gnutls_x509_crt_deinit(i->crt);
    gnutls_x509_privkey_deinit(i->key);
}

static char *save(const char *name, const gnutls_datum_t *pem)
{
    char *path = xasprintf("%s/%s", folder, name);

    assert_int_equal(fs_write_atomic(-100, path, pem->data, pem->size, 0600, FS_NO_SYNC), 0);
    return path;
}

static char *save_crt(const char *name, const struct identity *i)
{
    gnutls_datum_t pem;
    char *path;

    gnutls_x509_crt_export2(i->crt, GNUTLS_X509_FMT_PEM, &pem);
    path = save(name, &pem);
    gnutls_free(pem.data);
    return path;
}

static char *save_key(const char *name, const struct identity *i)
{
    gnutls_datum_t pem;
    char *path;

    gnutls_x509_privkey_export2(i->key, GNUTLS_X509_FMT_PEM, &pem);
    path = save(name, &pem);
    gnutls_free(pem.data);
    return path;
}

static struct identity ca, other_ca, client, stranger;

/* --- The server ---------------------------------------------------------------------------------- */

static void handle_hello(struct http_request *req, void *ctx)
{
    struct buf b = BUF_INIT(100);

    (void)buf_puts(&b, "{\"hello\":1}");
    http_reply_json(req, 200, &b);
}

static void handle_stream(struct http_request *req, void *ctx)
{
    AUTOFREE char *big = xcalloc(1, 1 << 20);

    memset(big, 'x', 1 << 20);
    if (http_stream_begin(req, 200, "text/plain") < 0)
        return;
    for (int i = 0; i < 4; i++)
        (void)!http_stream_write(req, big, 1 << 20);
}

static void *echo_thread(void *data)
{
    int fd = (int)(intptr_t)data;
    char b[4096];
    ssize_t n;

    while ((n = read(fd, b, sizeof(b))) > 0)
        (void)!send(fd, b, (size_t)n, MSG_NOSIGNAL);
    (void)!send(fd, "bye", 3, MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void on_hijack(struct http_request *req, int fd, const void *early, size_t len, void *data)
{
    pthread_t t;

    pthread_create(&t, NULL, echo_thread, (void *)(intptr_t)fd);
    pthread_detach(t);
}

static void handle_hijack(struct http_request *req, void *ctx)
{
    http_hijack(req, "application/vnd.docker.raw-stream", on_hijack, NULL, NULL);
}

static const struct http_route routes[] = {
    {"GET", "/hello", handle_hello, 0, 0},
    {"GET", "/stream", handle_stream, 0, 0},
    {"POST", "/hijack", handle_hijack, 0, 0},
    {NULL, NULL, NULL, 0, 0},
};

static int setup(void **state)
{
    const struct http_server_params p = {.routes = routes, .head_timeout_s = 2};
    struct http_listen l = {.fd = -EBADF};
    struct sockaddr_in a = {0};
    socklen_t len = sizeof(a);
    struct identity node;
    AUTOFREE char *cert = NULL, *key = NULL, *authority = NULL;
    int r;

    if (!mkdtemp(folder))
        return -1;
    ca = identity_new("authority", NULL);
    other_ca = identity_new("another", NULL);
    node = identity_new("localhost", &ca);
    client = identity_new("client", &ca);
    stranger = identity_new("stranger", &other_ca);
    authority = save_crt("ca.pem", &ca);
    cert = save_crt("cert.pem", &node);
    key = save_key("key.pem", &node);
    identity_done(&node);
    assert_int_equal(http_listen_open("tcp://127.0.0.1:0", NULL, &l.fd, NULL), 0);
    getsockname(l.fd, (struct sockaddr *)&a, &len);
    port = ntohs(a.sin_port);
    const struct http_tls tls = {cert, key, authority, true};

    l.tls = &tls;
    r = http_server_start(&p, &l, 1, &server, NULL);
    unlink(authority);
    unlink(cert);
    unlink(key);
    rmdir(folder);
    return r;
}

static int teardown(void **state)
{
    http_server_stop(server);
    identity_done(&ca);
    identity_done(&other_ca);
    identity_done(&client);
    identity_done(&stranger);
    return 0;
}

/* --- The client ------------------------------------------------------------------------------------ */

struct tls_peer {
    int fd;
    gnutls_session_t s;
    gnutls_certificate_credentials_t cred;
};

static int tcp_dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {20, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

/* The handshake's result; in TLS 1.3 a refusal is only seen at the first read. */
static int tls_dial(struct tls_peer *p, const struct identity *me, const char *priority)
{
    int r;

    p->fd = tcp_dial();
    gnutls_certificate_allocate_credentials(&p->cred);
    if (me)
        gnutls_certificate_set_x509_key(p->cred, (gnutls_x509_crt_t *)&me->crt, 1, me->key);
    gnutls_init(&p->s, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT);
    gnutls_priority_set_direct(p->s, priority, NULL);
    gnutls_credentials_set(p->s, GNUTLS_CRD_CERTIFICATE, p->cred);
    gnutls_transport_set_int(p->s, p->fd);
    do
        r = gnutls_handshake(p->s);
    while (r < 0 && !gnutls_error_is_fatal(r));
    return r;
}

static void tls_hang_up(struct tls_peer *p)
{
    gnutls_deinit(p->s);
    gnutls_certificate_free_credentials(p->cred);
    close(p->fd);
}

static void tls_say(struct tls_peer *p, const char *text)
{
    assert_int_equal(gnutls_record_send(p->s, text, strlen(text)), strlen(text));
}

static const char *tls_hear(struct tls_peer *p, struct buf *b, const char *until)
{
    while (!until || !strstr(buf_str(b), until)) {
        char *at = buf_reserve(b, 16384);
        ssize_t n = gnutls_record_recv(p->s, at, 16384);

        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
            continue;
        if (n <= 0)
            break;
        buf_commit(b, (size_t)n);
        b->data[b->len] = '\0';
    }
    return buf_str(b);
}

#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"

static void test_known_client(void **state)
{
    static const char *const versions[] = {TLS12, TLS13};

    for (int i = 0; i < 2; i++) {
        struct tls_peer p;
        AUTO(buf) struct buf b = BUF_INIT(65536);

        assert_int_equal(tls_dial(&p, &client, versions[i]), 0);
        tls_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        expect_has(tls_hear(&p, &b, "}"), "{\"hello\":1}");
        tls_hang_up(&p);
    }
}

static void expect_refused(const struct identity *who, const char *version)
{
    struct tls_peer p;
    AUTO(buf) struct buf b = BUF_INIT(65536);
    const char *text = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

    if (tls_dial(&p, who, version) == 0) {
        (void)gnutls_record_send(p.s, text, strlen(text));
        assert_string_equal(tls_hear(&p, &b, NULL), "");
    }
    tls_hang_up(&p);
}

static void test_strangers(void **state)
{
    expect_refused(NULL, TLS12);
    expect_refused(NULL, TLS13);
    expect_refused(&stranger, TLS12);
    expect_refused(&stranger, TLS13);
}

/* Neither plain HTTP nor silence in the handshake holds a connection. */
static void test_no_handshake(void **state)
{
    AUTOFD int plain = tcp_dial(), silent = tcp_dial();
    AUTO(buf) struct buf b = BUF_INIT(65536);
    char c;

    peer_say(plain, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_lacks(peer_hear(plain, &b, NULL), "hello");
    assert_int_equal(recv(silent, &c, 1, 0), 0); /* the deadline */
}

static void test_stream(void **state)
{
    struct tls_peer p;
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    assert_int_equal(tls_dial(&p, &client, TLS13), 0);
    tls_say(&p, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    tls_hear(&p, &b, NULL);
    assert_true(b.len > 4 << 20);
    assert_memory_equal(b.data + b.len - 7, "\r\n0\r\n\r\n", 7);
    tls_hang_up(&p);
}

static void session(const char *headers, const char *status)
{
    struct tls_peer p;
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *head = xasprintf("POST /hijack HTTP/1.1\r\nHost: x\r\n%s\r\n", headers);
    size_t len;

    assert_int_equal(tls_dial(&p, &client, TLS13), 0);
    tls_say(&p, head);
    expect_has(tls_hear(&p, &b, "\r\n\r\n"), status);
    for (int i = 0; i < 50; i++)
        tls_say(&p, "to and fro ");
    gnutls_bye(p.s, GNUTLS_SHUT_WR); /* half-closed: close_notify, and no more */
    tls_hear(&p, &b, NULL);
    len = b.len;
    assert_true(len > 50 * 11 + 3);
    assert_memory_equal(b.data + len - 14, "to and fro bye", 14);
    tls_hang_up(&p);
}

static void test_session(void **state)
{
    session("Connection: Upgrade\r\nUpgrade: tcp\r\n", "HTTP/1.1 101 ");
}

static void test_session_without_upgrade(void **state)
{
    session("", "HTTP/1.1 200 ");
}

/* Bytes of the session in one record with the request. */
static void test_session_early(void **state)
{
    struct tls_peer p;
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    assert_int_equal(tls_dial(&p, &client, TLS12), 0);
    tls_say(&p, "POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                "early");
    tls_hear(&p, &b, "early");
    gnutls_bye(p.s, GNUTLS_SHUT_WR);
    tls_hear(&p, &b, NULL);
    expect_has(buf_str(&b), "earlybye");
    tls_hang_up(&p);
}

static void test_bad_files(void **state)
{
    AUTO(error) struct error e = ERROR_INIT, e2 = ERROR_INIT;
    const struct http_server_params p = {.routes = routes};
    const struct http_tls missing = {"/nonexistent/cert.pem", "/nonexistent/key.pem", NULL, false};
    const struct http_tls nonsense = {"/etc/hostname", "/etc/hostname", NULL, false};
    struct http_listen l = {.fd = -EBADF, .tls = &missing};
    struct http_server *s = NULL;

    assert_int_equal(http_listen_open("tcp://127.0.0.1:0", NULL, &l.fd, NULL), 0);
    assert_true(http_server_start(&p, &l, 1, &s, &e) < 0);
    expect_has(error_message(&e), "/nonexistent/cert.pem");
    assert_int_equal(http_listen_open("tcp://127.0.0.1:0", NULL, &l.fd, NULL), 0);
    l.tls = &nonsense;
    assert_true(http_server_start(&p, &l, 1, &s, &e2) < 0);
    expect_has(error_message(&e2), "certificate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_client),  cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_no_handshake),  cmocka_unit_test(test_stream),
        cmocka_unit_test(test_session),       cmocka_unit_test(test_session_without_upgrade),
        cmocka_unit_test(test_session_early), cmocka_unit_test(test_bad_files),
    };

    /* As the programs do: OpenSSL writes without MSG_NOSIGNAL. */
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
