/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge network with real traffic, all of it in network namespaces of the test's own:
 * the test program is the host, containers and an outside host are further namespaces.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/time.h"
#include "netns.h"
#include "network/network.h"
#include "store/store.h"

#define GOOD_MS 3000
#define BAD_MS  250 /* how long to wait for what must not arrive */

static int outside = -1;
static char dir[] = "/tmp/pouch-test-XXXXXX";

struct world {
    struct store *store;
    struct network_manager *nm;
    struct network_params params;
};

struct box { /* a container */
    char id[65];
    int ns;
    struct network_endpoint ep;
};

static void open_network(struct world *w)
{
    struct error e = ERROR_INIT;

    if (network_open(&w->params, w->store, &w->nm, &e) < 0)
        fail_msg("network_open: %s", error_message(&e));
}

static void reopen_network(struct world *w, bool remove)
{
    network_close(w->nm, remove);
    open_network(w);
}

static int set_up_with(void **state, struct network_params params)
{
    struct error e = ERROR_INIT;
    struct world *w = xcalloc(1, sizeof(*w));
    AUTOFREE char *path = xasprintf("%s/test.db", dir);

    w->params = params;
    if (store_open(path, &w->store, &e) < 0)
        fail_msg("store_open: %s", error_message(&e));
    open_network(w);
    *state = w;
    return 0;
}

static int set_up(void **state)
{
    struct network_params params = NETWORK_PARAMS_INIT;

    return set_up_with(state, params);
}

static int set_up6(void **state)
{
    struct network_params params = NETWORK_PARAMS_INIT;

    params.ipv6 = true;
    return set_up_with(state, params);
}

static int set_up_no_icc(void **state)
{
    struct network_params params = NETWORK_PARAMS_INIT;

    params.icc = false;
    return set_up_with(state, params);
}

static int set_up_small(void **state)
{
    struct network_params params = NETWORK_PARAMS_INIT;

    params.bip = "10.77.0.1/29";
    params.bridge = "small.br-0";
    params.mtu = 1400;
    return set_up_with(state, params);
}

/* Whatever the test did: nothing is left in the namespace afterwards. */
static int tear_down(void **state)
{
    struct world *w = *state;

    network_sweep(w->nm, NULL);
    network_close(w->nm, true);
    store_close(w->store);
    free(w);
    if (!netns_sh(
            "! ip -br link | grep -qE 'pouch|veth|small' && test -z \"$(nft list tables)\" && "
            "rm -f %s/test.db*",
            dir)) {
        (void)netns_sh("ip -br link; nft list tables");
        return -1;
    }
    return 0;
}

static int try_reserve(struct world *w, struct box *b, const char *name,
                       const struct network_request *req, struct error *e)
{
    *b = (struct box){.ns = -1};
    snprintf(b->id, sizeof(b->id), "%s", name);
    return network_reserve(w->nm, b->id, req, &b->ep, e);
}

/* A running container with ports given as for -p, NULL-ended. */
static void start_box(struct world *w, struct box *b, const char *name, const char *const *ports)
{
    struct error e = ERROR_INIT;
    struct port_specs specs = {0};

    for (size_t i = 0; ports && ports[i]; i++)
        assert_int_equal(portspec_parse(ports[i], &specs, &e), 0);
    struct network_request req = {.ports = specs.items, .nports = specs.len};
    if (try_reserve(w, b, name, &req, &e) < 0)
        fail_msg("network_reserve: %s", error_message(&e));
    b->ns = netns_new();
    if (network_attach(w->nm, &b->ep, b->ns, &e) < 0)
        fail_msg("network_attach: %s", error_message(&e));
    port_specs_done(&specs);
}

static void stop_box(struct world *w, struct box *b)
{
    network_release(w->nm, b->id);
    network_endpoint_done(&b->ep);
    if (b->ns >= 0)
        close(b->ns);
}

static void expect_talk_as(int from, const char *ip, unsigned port, int type, int server,
                           const char *want_seen)
{
    char seen[64];

    if (!netns_talk(from, ip, port, type, server, GOOD_MS, seen))
        fail_msg("no answer from %s:%u", ip, port);
    if (want_seen)
        assert_string_equal(seen, want_seen);
}

static void expect_talk(int from, const char *ip, unsigned port, int server)
{
    expect_talk_as(from, ip, port, SOCK_STREAM, server, NULL);
}

static void expect_silence(int from, const char *ip, unsigned port, int server)
{
    char seen[64];

    if (netns_talk(from, ip, port, SOCK_STREAM, server, BAD_MS, seen))
        fail_msg("an answer from %s:%u to %s", ip, port, seen);
}

/* --- tests ---------------------------------------------------------------------------------- */

static void test_plain(void **state)
{
    struct world *w = *state;
    struct network_info info;
    struct box a, b;

    network_info(w->nm, &info);
    assert_string_equal(info.bridge, "pouch0");
    assert_string_equal(info.subnet, "10.210.0.0/16");
    start_box(w, &a, "aaaa", NULL);
    start_box(w, &b, "bbbb", NULL);
    assert_string_equal(a.ep.ip, "10.210.0.2");
    assert_string_equal(b.ep.ip, "10.210.0.3");
    assert_string_equal(a.ep.mac, "02:83:ea:64:03:38"); /* of its id "aaaa", not of its address */
    assert_string_not_equal(a.ep.mac, b.ep.mac);
    assert_string_equal(a.ep.gateway, "10.210.0.1");
    assert_int_equal(a.ep.prefix, 16);
    assert_string_equal(a.ep.network_name, "bridge");
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    AUTOFD int away = netns_listen(outside, AF_INET, SOCK_STREAM, 81);
    int64_t start = time_monotonic_ns();
    expect_talk_as(-1, a.ep.ip, 80, SOCK_STREAM, server, "10.210.0.1");
    assert_true(time_monotonic_ns() - start < 500 * NSEC_PER_MSEC); /* no second ARP request */
    expect_talk_as(b.ns, a.ep.ip, 80, SOCK_STREAM, server, b.ep.ip);
    expect_talk_as(a.ns, "127.0.0.1", 80, SOCK_STREAM, server, "127.0.0.1");
    /* to the outside with the host's address; from there only to what is published */
    expect_talk_as(a.ns, "192.0.2.9", 81, SOCK_STREAM, away, "192.0.2.1");
    expect_silence(outside, a.ep.ip, 80, server);
    /* the address just freed is not given again at once */
    stop_box(w, &b);
    start_box(w, &b, "cccc", NULL);
    assert_string_equal(b.ep.ip, "10.210.0.4");
    stop_box(w, &a);
    stop_box(w, &b);
}

static void test_publish(void **state)
{
    static const char *const ports[] = {"8080:80", "127.0.0.1:8081:80", "192.0.2.1:8082:80",
                                        "5353:53/udp", NULL};
    struct world *w = *state;
    struct box a, b;

    start_box(w, &a, "aaaa", ports);
    start_box(w, &b, "bbbb", NULL);
    assert_int_equal(a.ep.nports, 4);
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    AUTOFD int dns = netns_listen(a.ns, AF_INET, SOCK_DGRAM, 53);
    AUTOFD int trap = netns_listen(b.ns, AF_INET, SOCK_STREAM, 80);
    /* from outside: the client's own address is seen */
    expect_talk_as(outside, "192.0.2.1", 8080, SOCK_STREAM, server, "192.0.2.9");
    expect_talk_as(outside, "192.0.2.1", 8082, SOCK_STREAM, server, "192.0.2.9");
    expect_silence(outside, "192.0.2.1", 8081, server);
    expect_talk_as(outside, "192.0.2.1", 5353, SOCK_DGRAM, dns, "192.0.2.9");
    /* from the host itself */
    expect_talk_as(-1, "127.0.0.1", 8080, SOCK_STREAM, server, "10.210.0.1");
    expect_talk_as(-1, "127.0.0.1", 8081, SOCK_STREAM, server, "10.210.0.1");
    expect_talk_as(-1, "127.0.0.1", 5353, SOCK_DGRAM, dns, "10.210.0.1");
    expect_talk(-1, "192.0.2.1", 8080, server);
    expect_talk(-1, "192.0.2.1", 8082, server);
    expect_talk(-1, "10.210.0.1", 8080, server);
    expect_silence(-1, "127.0.0.1", 8082, server);
    /* between containers, and to itself, by the host's addresses */
    expect_talk_as(b.ns, "192.0.2.1", 8080, SOCK_STREAM, server, "10.210.0.1");
    expect_talk_as(b.ns, "10.210.0.1", 8080, SOCK_STREAM, server, "10.210.0.1");
    expect_talk_as(b.ns, "10.210.0.1", 5353, SOCK_DGRAM, dns, "10.210.0.1");
    expect_talk_as(a.ns, "192.0.2.1", 8080, SOCK_STREAM, server, "10.210.0.1");
    expect_silence(b.ns, "127.0.0.1", 8080, server);
    /* a container can not reach the host's loopback by route_localnet */
    AUTOFD int local = netns_listen(-1, AF_INET, SOCK_STREAM, 9999);
    assert_true(netns_sh("nsenter --net=/proc/%d/fd/%d sh -c 'ip route del local 127.0.0.0/8 table "
                         "local; ip route add 127.0.0.0/8 via 10.210.0.1 dev eth0; "
                         "sysctl -qw net.ipv4.conf.eth0.route_localnet=1'",
                         getpid(), b.ns));
    expect_silence(b.ns, "127.0.0.1", 9999, local);
    expect_silence(b.ns, "127.0.0.1", 8081, server);
    stop_box(w, &a);
    expect_silence(outside, "192.0.2.1", 8080, trap);
    stop_box(w, &b);
}

/* One client socket that goes on sending while containers come and go. */
static bool udp_word(int client, int server, int timeout_ms)
{
    char word[8];
    struct pollfd p = {server, POLLIN, 0};

    (void)send(client, "hello", 5, 0); /* may report an ICMP error of before */
    (void)send(client, "hello", 5, 0);
    if (poll(&p, 1, timeout_ms) <= 0)
        return false;
    while (recv(server, word, sizeof(word), MSG_DONTWAIT) > 0)
        ;
    return true;
}

static void test_udp_flows(void **state)
{
    static const char *const ports[] = {"5353:53/udp", NULL};
    struct world *w = *state;
    struct box a, b;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(5353)};
    AUTOFD int client = netns_socket(outside, AF_INET, SOCK_DGRAM);

    inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof(to)), 0);
    AUTOFD int host = netns_listen(-1, AF_INET, SOCK_DGRAM, 5353);
    assert_true(udp_word(client, host, GOOD_MS)); /* the flow is known now, untranslated */
    close(take_fd(host));
    start_box(w, &a, "aaaa", ports);
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_DGRAM, 53);
    assert_true(udp_word(client, server, GOOD_MS));
    stop_box(w, &a);
    start_box(w, &b, "bbbb", ports);
    AUTOFD int next = netns_listen(b.ns, AF_INET, SOCK_DGRAM, 53);
    assert_true(udp_word(client, next, GOOD_MS));
    stop_box(w, &b);
}

/* Thousands of ports of one container: several messages of elements, larger than a send buffer. */
static void test_many_ports(void **state)
{
    static const char *const ports[] = {"10000-12999:20000-22999", NULL};
    struct rlimit fds = {8192, 8192};
    struct world *w = *state;
    struct box a;

    if (setrlimit(RLIMIT_NOFILE, &fds) < 0)
        skip();
    start_box(w, &a, "aaaa", ports);
    AUTOFD int first = netns_listen(a.ns, AF_INET, SOCK_STREAM, 20000);
    AUTOFD int last = netns_listen(a.ns, AF_INET, SOCK_STREAM, 22999);
    expect_talk(-1, "127.0.0.1", 10000, first);
    expect_talk(outside, "192.0.2.1", 12999, last);
    reopen_network(w, true);
    expect_talk(-1, "127.0.0.1", 12999, last);
    assert_true(netns_sh("nft flush ruleset"));
    reopen_network(w, true);
    expect_talk(-1, "127.0.0.1", 10000, first);
    stop_box(w, &a);
    assert_true(netns_sh("! nft list table inet pouch-pouch0 | grep -qE ' : 10.210'"));
}

static int try_port(struct world *w, struct box *b, const char *name, const char *port,
                    struct error *e)
{
    struct port_specs specs = {0};

    assert_int_equal(portspec_parse(port, &specs, e), 0);
    struct network_request req = {.ports = specs.items, .nports = specs.len};
    int r = try_reserve(w, b, name, &req, e);
    port_specs_done(&specs);
    return r;
}

static void expect_refused(struct world *w, const char *port, const char *message)
{
    struct error e = ERROR_INIT;
    struct box b;

    if (try_port(w, &b, "refused", port, &e) >= 0)
        fail_msg("%s was taken", port);
    assert_string_equal(error_message(&e), message);
    error_done(&e);
    assert_int_equal(network_lookup(w->nm, "refused", &b.ep), -ENOENT);
}

static void test_port_conflicts(void **state)
{
    static const char *const ports[] = {"8080:80", "9000-9001:90", NULL};
    struct world *w = *state;
    struct error e = ERROR_INIT;
    struct box a, b, c;

    start_box(w, &a, "aaaa", ports);
    assert_int_equal(a.ep.ports[0].host_port, 8080);
    assert_string_equal(a.ep.ports[0].host_ip, "0.0.0.0");
    assert_int_equal(a.ep.ports[1].host_port, 9000);
    /* ours */
    expect_refused(w, "8080:81", "Bind for 0.0.0.0:8080 failed: port is already allocated");
    expect_refused(w, "127.0.0.1:8080:81",
                   "Bind for 127.0.0.1:8080 failed: port is already allocated");
    assert_int_equal(try_port(w, &b, "bbbb", "9000-9001:90", &e), 0);
    assert_int_equal(b.ep.ports[0].host_port, 9001);
    expect_refused(w, "9000-9001:90", "Bind for 0.0.0.0:9000-9001 failed: all ports are allocated");
    /* a process of the host */
    AUTOFD int other = netns_listen(-1, AF_INET, SOCK_STREAM, 7070);
    AUTOFD int other_udp = netns_listen(-1, AF_INET, SOCK_DGRAM, 7071);
    assert_true(other >= 0 && other_udp >= 0);
    expect_refused(w, "7070:80", "Bind for 0.0.0.0:7070 failed: port is already allocated");
    expect_refused(w, "7071:80/udp", "Bind for 0.0.0.0:7071 failed: port is already allocated");
    expect_refused(w, "203.0.113.5:7072:80",
                   "Bind for 203.0.113.5:7072 failed: the host has no such address");
    expect_refused(w, "[::1]:7072:80",
                   "port 80 can not be published on [::1]: the network has no "
                   "IPv6 (start pouchd with --ipv6)");
    /* and the host's processes find ours taken */
    assert_int_equal(netns_listen(-1, AF_INET, SOCK_STREAM, 8080), -1);
    /* any free port */
    assert_int_equal(try_port(w, &c, "cccc", "80", &e), 0);
    assert_in_range(c.ep.ports[0].host_port, 32768, 60999);
    stop_box(w, &c);
    /* free again after the release, also for the host */
    stop_box(w, &a);
    AUTOFD int now_free = netns_listen(-1, AF_INET, SOCK_STREAM, 8080);
    assert_true(now_free >= 0);
    stop_box(w, &b);
}

static void test_addresses(void **state)
{
    struct world *w = *state;
    struct error e = ERROR_INIT;
    struct network_request req = {.ip = "10.77.0.4", .mac = "02:00:00:00:00:0A"};
    struct box boxes[6], more;
    char name[8];

    assert_int_equal(try_reserve(w, &boxes[0], "fixed", &req, &e), 0);
    assert_string_equal(boxes[0].ep.mac, "02:00:00:00:00:0a");
    assert_true(try_reserve(w, &more, "again", &req, &e) < 0);
    assert_int_equal(e.code, ERR_CONFLICT);
    error_done(&e);
    static const char *const bad_ips[] = {"10.77.0.9", "10.77.0.0", "10.77.0.7", "junk", "::1"};
    for (size_t i = 0; i < ARRAY_SIZE(bad_ips); i++) {
        assert_true(try_reserve(w, &more, "bad", &(struct network_request){.ip = bad_ips[i]}, &e) <
                    0);
        assert_int_equal(e.code, ERR_INVALID);
        error_done(&e);
    }
    assert_true(try_reserve(w, &more, "bad", &(struct network_request){.ip = "10.77.0.1"}, &e) < 0);
    assert_int_equal(e.code, ERR_CONFLICT); /* the bridge's own */
    error_done(&e);
    static const char *const bad_macs[] = {"junk", "03:00:00:00:00:01", "02:00:00:00:00:1",
                                           "02:00:00:00:00:001"};
    for (size_t i = 0; i < ARRAY_SIZE(bad_macs); i++) {
        assert_true(
            try_reserve(w, &more, "bad", &(struct network_request){.mac = bad_macs[i]}, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        error_done(&e);
    }
    for (size_t i = 1; i < 5; i++) { /* .2 .3 .5 .6 */
        snprintf(name, sizeof(name), "box%zu", i);
        assert_int_equal(try_reserve(w, &boxes[i], name, &(struct network_request){0}, &e), 0);
    }
    assert_true(try_reserve(w, &more, "toomany", &(struct network_request){0}, &e) < 0);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    error_done(&e);
    network_release(w->nm, "box2");
    assert_int_equal(try_reserve(w, &more, "fits", &(struct network_request){0}, &e), 0);
    assert_string_equal(more.ep.ip, boxes[2].ep.ip);
    assert_true(try_reserve(w, &more, "fits", &(struct network_request){0}, &e) < 0);
    assert_int_equal(e.code, ERR_CONFLICT); /* twice */
    error_done(&e);
    assert_true(try_reserve(w, &more, "x", &(struct network_request){.mode = "mynet"}, &e) < 0);
    assert_string_equal(error_message(&e), "network mynet not found");
    error_done(&e);
}

static void test_modes(void **state)
{
    struct world *w = *state;
    struct error e = ERROR_INIT;
    struct box none, host, join;

    assert_int_equal(try_reserve(w, &none, "n", &(struct network_request){.mode = "none"}, &e), 0);
    none.ns = netns_new();
    assert_int_equal(network_attach(w->nm, &none.ep, none.ns, &e), 0);
    AUTOFD int server = netns_listen(none.ns, AF_INET, SOCK_STREAM, 80);
    expect_talk(none.ns, "127.0.0.1", 80, server);
    assert_true(netns_sh("nsenter --net=/proc/%d/fd/%d sh -c '! ip -br link | grep -q eth0'",
                         getpid(), none.ns));
    close(none.ns);
    assert_int_equal(try_reserve(w, &host, "h", &(struct network_request){.mode = "host"}, &e), 0);
    assert_string_equal(host.ep.network_name, "host");
    assert_int_equal(network_attach_pid(w->nm, &host.ep, 0, &e), 0);
    assert_int_equal(try_reserve(w, &join, "j", &(struct network_request){.mode = "container:abc"},
                                 &e),
                     0);
    assert_int_equal(join.ep.mode, NETWORK_CONTAINER);
    network_release(w->nm, "n");
    network_release(w->nm, "unknown");
}

/* Lets the watcher work until the talk succeeds. */
static bool talk_after_repair(struct world *w, const char *ip, unsigned port, int server)
{
    char seen[64];

    for (int i = 0; i < 30; i++) {
        struct pollfd p = {network_watch_fd(w->nm), POLLIN, 0};
        while (poll(&p, 1, 50) > 0)
            network_handle_event(w->nm);
        if (netns_talk(-1, ip, port, SOCK_STREAM, server, BAD_MS, seen))
            return true;
    }
    return false;
}

static void test_flush(void **state)
{
    static const char *const ports[] = {"8080:80", "127.0.0.1:8081:80", NULL};
    static const char *const blows[] = {
        "nft flush ruleset",
        "nft delete table inet pouch-pouch0",
        "nft flush map inet pouch-pouch0 publish4",
        "nft flush chain inet pouch-pouch0 publish",
        "nft delete element inet pouch-pouch0 publish4 '{ tcp . 8080 }'",
    };
    struct world *w = *state;
    struct box a, b;

    start_box(w, &a, "aaaa", ports);
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    for (size_t i = 0; i < ARRAY_SIZE(blows); i++) {
        assert_true(netns_sh("%s", blows[i]));
        expect_silence(-1, "127.0.0.1", 8080, server);
        if (!talk_after_repair(w, "127.0.0.1", 8080, server))
            fail_msg("not put back after: %s", blows[i]);
        expect_talk(-1, "127.0.0.1", 8081, server);
        /* what comes and goes on our own account is no alarm */
        start_box(w, &b, "bbbb", (const char *const[]){"8090:80", NULL});
        AUTOFD int server2 = netns_listen(b.ns, AF_INET, SOCK_STREAM, 80);
        expect_talk(-1, "127.0.0.1", 8090, server2);
        stop_box(w, &b);
    }
    /* flushed at the very moment of an attachment: put back by that */
    assert_true(netns_sh("nft flush ruleset"));
    start_box(w, &b, "bbbb", (const char *const[]){"8090:80", NULL});
    AUTOFD int server3 = netns_listen(b.ns, AF_INET, SOCK_STREAM, 80);
    expect_talk(-1, "127.0.0.1", 8090, server3);
    expect_talk(-1, "127.0.0.1", 8080, server);
    assert_true(netns_sh("nft flush ruleset"));
    stop_box(w, &b);
    stop_box(w, &a);
}

static void test_restart(void **state)
{
    struct world *w = *state;
    struct box a, b;
    struct network_endpoint found;
    struct network_info info;

    start_box(w, &a, "aaaa", (const char *const[]){"8080:80", NULL});
    start_box(w, &b, "bbbb", (const char *const[]){"8090:80", NULL});
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    /* the engine goes and comes while one container ends */
    network_close(w->nm, true);
    expect_talk(outside, "192.0.2.1", 8080, server);
    assert_true(
        netns_sh("nft add element inet pouch-pouch0 publish4 '{ tcp . 99 : 1.2.3.4 . 5 }'"));
    open_network(w);
    char *live[] = {a.id, NULL};
    assert_true(netns_sh("ip link add vethmine master pouch0 type veth peer name other0 && "
                         "ip link add veth0123abcd master pouch0 type veth peer name other1"));
    network_sweep(w->nm, live);
    assert_true(netns_sh("ip link show vethmine >/dev/null && ! ip link show veth0123abcd "
                         "2>/dev/null && ip link del vethmine"));
    expect_talk(outside, "192.0.2.1", 8080, server);
    assert_true(netns_sh("! nft list table inet pouch-pouch0 | grep -qE '8090|tcp . 99'"));
    assert_int_equal(network_lookup(w->nm, "bbbb", &found), -ENOENT);
    assert_int_equal(network_lookup(w->nm, "aaaa", &found), 0);
    assert_string_equal(found.ip, a.ep.ip);
    assert_string_equal(found.mac, a.ep.mac);
    assert_string_equal(found.gateway, a.ep.gateway);
    assert_string_equal(found.endpoint_id, a.ep.endpoint_id);
    assert_string_equal(found.network_id, a.ep.network_id);
    assert_int_equal(found.nports, 1);
    assert_int_equal(found.ports[0].host_port, 8080);
    network_endpoint_done(&found);
    assert_int_equal(netns_listen(-1, AF_INET, SOCK_STREAM, 8080), -1);
    expect_refused(w, "8080:81", "Bind for 0.0.0.0:8080 failed: port is already allocated");
    network_info(w->nm, &info);
    assert_int_equal(info.nendpoints, 1);
    /* flushed while nobody watched */
    network_close(w->nm, true);
    assert_true(netns_sh("nft flush ruleset"));
    open_network(w);
    network_sweep(w->nm, live);
    expect_talk(outside, "192.0.2.1", 8080, server);
    /* other settings: other rules */
    w->params.ip_masq = false;
    reopen_network(w, true);
    assert_true(netns_sh("! nft list table inet pouch-pouch0 | grep -q 'oifname != '"));
    w->params.ip_masq = true;
    reopen_network(w, true);
    assert_true(netns_sh("nft list table inet pouch-pouch0 | grep -q 'oifname != '"));
    expect_talk(outside, "192.0.2.1", 8080, server);
    network_sweep(w->nm, NULL);
    network_endpoint_done(&a.ep);
    network_endpoint_done(&b.ep);
    close(a.ns);
    close(b.ns);
}

static void test_ipv6(void **state)
{
    static const char *const ports[] = {"8080:80", "[2001:db8::1]:8082:80", NULL};
    struct world *w = *state;
    struct box a, b;

    start_box(w, &a, "aaaa", ports);
    start_box(w, &b, "bbbb", NULL);
    assert_int_equal(a.ep.nports, 3);
    assert_int_equal(a.ep.prefix6, 64);
    assert_int_equal(strncmp(a.ep.ip6, "fd", 2), 0);
    AUTOFD int server = netns_listen(a.ns, AF_INET6, SOCK_STREAM, 80);
    AUTOFD int server4 = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    AUTOFD int away = netns_listen(outside, AF_INET6, SOCK_STREAM, 81);
    expect_talk(-1, a.ep.ip6, 80, server);
    expect_talk(b.ns, a.ep.ip6, 80, server);
    expect_talk_as(a.ns, "2001:db8::9", 81, SOCK_STREAM, away, "2001:db8::1");
    expect_silence(outside, a.ep.ip6, 80, server);
    expect_talk_as(outside, "2001:db8::1", 8080, SOCK_STREAM, server, "2001:db8::9");
    expect_talk_as(outside, "2001:db8::1", 8082, SOCK_STREAM, server, "2001:db8::9");
    expect_talk(outside, "192.0.2.1", 8080, server4);
    expect_talk(-1, "2001:db8::1", 8080, server);
    /* [::1] is refused at once, so that "localhost" goes on to 127.0.0.1 */
    AUTOFD int client = netns_socket(-1, AF_INET6, SOCK_STREAM);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_port = htons(8080),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    (void)connect(client, (struct sockaddr *)&to, sizeof(to));
    struct pollfd wait = {client, POLLOUT, 0};
    assert_int_equal(poll(&wait, 1, 1000), 1);
    int why = 0;
    socklen_t why_len = sizeof(why);
    assert_int_equal(getsockopt(client, SOL_SOCKET, SO_ERROR, &why, &why_len), 0);
    assert_int_equal(why, ECONNREFUSED);
    expect_talk(-1, "127.0.0.1", 8080, server4);
    expect_refused(w, "[::1]:8083:80",
                   "port 80 can not be published on [::1]: the kernel does not "
                   "route the IPv6 loopback address (publish on 127.0.0.1)");
    expect_refused(w, "[2001:db8::1]:8082:80",
                   "Bind for [2001:db8::1]:8082 failed: port is already allocated");
    expect_talk_as(b.ns, "2001:db8::1", 8080, SOCK_STREAM, server, a.ep.gateway6);
    expect_talk(a.ns, "2001:db8::1", 8080, server);
    /* the prefix is kept */
    char old[64];
    snprintf(old, sizeof(old), "%s", a.ep.ip6);
    reopen_network(w, true);
    struct network_endpoint found;
    assert_int_equal(network_lookup(w->nm, "aaaa", &found), 0);
    assert_string_equal(found.ip6, old);
    assert_string_equal(found.gateway6, a.ep.gateway6);
    network_endpoint_done(&found);
    expect_talk(-1, "2001:db8::1", 8080, server);
    struct error e = ERROR_INIT;
    struct box c;
    assert_true(try_reserve(w, &c, "c", &(struct network_request){.ip6 = old}, &e) < 0);
    assert_int_equal(e.code, ERR_CONFLICT);
    error_done(&e);
    stop_box(w, &a);
    stop_box(w, &b);
}

static void test_no_icc(void **state)
{
    struct world *w = *state;
    struct box a, b;

    start_box(w, &a, "aaaa", (const char *const[]){"8080:80", NULL});
    start_box(w, &b, "bbbb", NULL);
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    AUTOFD int away = netns_listen(outside, AF_INET, SOCK_STREAM, 81);
    expect_silence(b.ns, a.ep.ip, 80, server);
    /* by way of the gateway neither */
    assert_true(netns_sh("nsenter --net=/proc/%d/fd/%d ip route add %s via %s", getpid(), b.ns,
                         a.ep.ip, a.ep.gateway));
    expect_silence(b.ns, a.ep.ip, 80, server);
    expect_talk(b.ns, "192.0.2.1", 8080, server); /* published: for everybody */
    expect_talk(b.ns, "192.0.2.9", 81, away);
    expect_talk(-1, a.ep.ip, 80, server);
    expect_talk(outside, "192.0.2.1", 8080, server);
    stop_box(w, &a);
    stop_box(w, &b);
}

static void test_overlap(void **state)
{
    struct world *w = *state;
    struct network_info info;
    struct network_params bad;
    struct error e = ERROR_INIT;
    struct network_manager *nm = NULL;

    /* a network of the host that appears while no container has an address */
    network_close(w->nm, true);
    assert_true(netns_sh("ip route add 10.0.0.0/8 via 192.0.2.9 && ip addr add 172.26.3.4/24 dev "
                         "uplink"));
    open_network(w);
    network_info(w->nm, &info);
    assert_string_equal(info.subnet, "172.27.0.0/16");
    network_close(w->nm, true);
    bad = w->params;
    bad.bip = "10.1.0.1/16";
    assert_int_equal(network_open(&bad, w->store, &nm, &e), -EAGAIN);
    assert_string_equal(error_message(&e), "network: bip 10.1.0.1/16 overlaps with the host's "
                                           "network 10.0.0.0/8: choose another");
    error_done(&e);
    static const char *const bips[] = {"10.1.0.0/16", "10.1.0.1", "10.1.0.1/31", "x", "fd00::1/64"};
    for (size_t i = 0; i < ARRAY_SIZE(bips); i++) {
        bad.bip = bips[i];
        assert_int_equal(network_open(&bad, w->store, &nm, &e), -EINVAL);
        error_done(&e);
    }
    bad = w->params;
    bad.bridge = "a b";
    assert_int_equal(network_open(&bad, w->store, &nm, &e), -EINVAL);
    error_done(&e);
    bad.bridge = "uplink";
    assert_true(network_open(&bad, w->store, &nm, &e) < 0);
    assert_non_null(strstr(error_message(&e), "is no bridge"));
    error_done(&e);
    assert_true(netns_sh("ip route del 10.0.0.0/8 && ip addr del 172.26.3.4/24 dev uplink"));
    open_network(w);
    network_info(w->nm, &info);
    assert_string_equal(info.subnet, "172.27.0.0/16"); /* kept: it does not hurt */
}

static void test_failures(void **state)
{
    struct world *w = *state;
    struct error e = ERROR_INIT;
    struct box a;
    AUTOFD int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_int_equal(try_reserve(w, &a, "a", &(struct network_request){0}, &e), 0);
    assert_true(network_attach(w->nm, &a.ep, file, &e) < 0); /* no namespace at all */
    error_done(&e);
    a.ns = netns_new();
    assert_true(
        netns_sh("nsenter --net=/proc/%d/fd/%d ip link add eth0 type veth", getpid(), a.ns));
    assert_true(network_attach(w->nm, &a.ep, a.ns, &e) < 0); /* eth0 is there already */
    assert_non_null(strstr(error_message(&e), "can not be made"));
    error_done(&e);
    assert_true(netns_sh("! ip -br link | grep -q veth"));
    stop_box(w, &a);
    assert_int_equal(try_reserve(w, &a, "b", &(struct network_request){0}, &e), 0);
    network_release(w->nm, "b");
    assert_true(network_attach(w->nm, &a.ep, file, &e) < 0); /* released meanwhile */
    assert_int_equal(e.code, ERR_CONFLICT);
    error_done(&e);
    network_endpoint_done(&a.ep);
}

static void test_bridge_deleted(void **state)
{
    struct world *w = *state;
    struct box a, b;

    start_box(w, &a, "aaaa", (const char *const[]){"8080:80", NULL});
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    assert_true(netns_sh("ip link del pouch0"));
    expect_silence(-1, "127.0.0.1", 8080, server);
    start_box(w, &b, "bbbb", NULL); /* brings the bridge back, for the other as well */
    expect_talk(-1, "127.0.0.1", 8080, server);
    expect_talk(outside, "192.0.2.1", 8080, server);
    expect_talk(b.ns, a.ep.ip, 80, server);
    stop_box(w, &a);
    stop_box(w, &b);
}

static void test_warnings(void **state)
{
    struct world *w = *state;
    char **list = network_warnings(w->nm);

    assert_null(list);
    assert_true(netns_sh("nft 'add table ip other; add chain ip other chain1 { type filter hook "
                         "forward priority 0; policy drop; }'"));
    list = network_warnings(w->nm);
    assert_non_null(list);
    assert_non_null(strstr(list[0], "ip other chain1"));
    for (size_t i = 0; list[i]; i++)
        free(list[i]);
    free(list);
    assert_true(netns_sh("nft delete table ip other"));
}

/* --- many at once --------------------------------------------------------------------------- */

enum { STORM_THREADS = 6, STORM_ROUNDS = 12 };

struct storm {
    struct world *w;
    pthread_mutex_t lock;
    uint8_t taken[65536]; /* by the low half of the address */
    int conflicts, failures;
    char why[200];
    int running;
};

struct storm_thread {
    struct storm *s;
    pthread_t thread;
    int number;
    int ns[STORM_ROUNDS]; /* made beforehand: making them is not what is tried here */
};

static uint8_t *storm_slot(struct storm *s, const char *ip)
{
    struct in_addr a = {0};

    inet_pton(AF_INET, ip, &a);
    return &s->taken[ntohl(a.s_addr) & 0xffff];
}

static int storm_round(struct storm *s, const char *id, int ns, struct error *e)
{
    struct port_spec specs[2] = {{.proto = PORT_TCP, .container_port = 80},
                                 {.proto = PORT_UDP, .container_port = 53}};
    struct network_request req = {.ports = specs, .nports = 2};
    struct network_endpoint ep = {0};

    int r = network_reserve(s->w->nm, id, &req, &ep, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    s->conflicts += (*storm_slot(s, ep.ip))++;
    pthread_mutex_unlock(&s->lock);
    r = network_attach(s->w->nm, &ep, ns, e);
    pthread_mutex_lock(&s->lock);
    (*storm_slot(s, ep.ip))--;
    pthread_mutex_unlock(&s->lock);
    network_release(s->w->nm, id);
    network_endpoint_done(&ep);
    return r;
}

static void *storm_main(void *data)
{
    struct storm_thread *t = data;
    struct storm *s = t->s;

    for (int i = 0; i < STORM_ROUNDS; i++) {
        struct error e = ERROR_INIT;
        char id[32];
        snprintf(id, sizeof(id), "storm-%d-%d", t->number, i);
        int r = storm_round(s, id, t->ns[i], &e);
        pthread_mutex_lock(&s->lock);
        if (r < 0) {
            s->failures++;
            snprintf(s->why, sizeof(s->why), "%s", error_message(&e));
        }
        pthread_mutex_unlock(&s->lock);
        error_done(&e);
    }
    pthread_mutex_lock(&s->lock);
    s->running--;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool storm_is_running(struct storm *s)
{
    pthread_mutex_lock(&s->lock);
    bool running = s->running > 0;
    pthread_mutex_unlock(&s->lock);
    return running;
}

/* Containers come and go in many threads while somebody flushes the rules again and again. */
static void test_storm(void **state)
{
    static struct storm s;
    static struct storm_thread threads[STORM_THREADS];
    struct world *w = *state;
    struct box a;

    start_box(w, &a, "aaaa", (const char *const[]){"8080:80", NULL});
    AUTOFD int server = netns_listen(a.ns, AF_INET, SOCK_STREAM, 80);
    s.w = w;
    s.running = STORM_THREADS;
    pthread_mutex_init(&s.lock, NULL);
    for (int i = 0; i < STORM_THREADS; i++) {
        threads[i].s = &s;
        threads[i].number = i;
        for (int k = 0; k < STORM_ROUNDS; k++)
            threads[i].ns[k] = netns_new();
    }
    for (int i = 0; i < STORM_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i].thread, NULL, storm_main, &threads[i]), 0);
    for (int i = 0; storm_is_running(&s); i++) {
        struct pollfd p = {network_watch_fd(w->nm), POLLIN, 0};
        if (poll(&p, 1, 5) > 0)
            network_handle_event(w->nm);
        if (i % 40 == 10)
            (void)netns_sh("nft flush ruleset");
    }
    for (int i = 0; i < STORM_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        for (int k = 0; k < STORM_ROUNDS; k++)
            close(threads[i].ns[k]);
    }
    if (s.failures)
        fail_msg("%d failures: %s", s.failures, s.why);
    assert_int_equal(s.conflicts, 0);
    assert_true(talk_after_repair(w, "127.0.0.1", 8080, server));
    /* exactly one element is left */
    assert_true(
        netns_sh("test \"$(nft list table inet pouch-pouch0 | grep -cE ' : 10.210')\" = 1"));
    stop_box(w, &a);
    assert_true(netns_sh("! nft list table inet pouch-pouch0 | grep -qE ' : 10.210'"));
}

/* How long the way of a container takes; printed, and bounded very generously. */
static void test_speed(void **state)
{
    enum { ROUNDS = 50 };
    struct world *w = *state;
    struct error e = ERROR_INIT;
    int64_t reserve = 0, attach = 0, release = 0;

    for (int i = 0; i < ROUNDS; i++) {
        struct box a;
        int ns = netns_new();
        struct port_spec spec = {.container_port = 80};
        struct network_request req = {.ports = &spec, .nports = 1};
        int64_t t0 = time_monotonic_ns();
        assert_int_equal(try_reserve(w, &a, "a", &req, &e), 0);
        int64_t t1 = time_monotonic_ns();
        assert_int_equal(network_attach(w->nm, &a.ep, ns, &e), 0);
        int64_t t2 = time_monotonic_ns();
        network_release(w->nm, "a");
        int64_t t3 = time_monotonic_ns();
        reserve += t1 - t0;
        attach += t2 - t1;
        release += t3 - t2;
        network_endpoint_done(&a.ep);
        close(ns);
    }
    printf("# mean of %d: reserve %lld us, attach %lld us, release %lld us\n", ROUNDS,
           (long long)(reserve / ROUNDS / 1000), (long long)(attach / ROUNDS / 1000),
           (long long)(release / ROUNDS / 1000));
    assert_true((reserve + attach + release) / ROUNDS < 100 * NSEC_PER_MSEC);
}

int main(void)
{
    if (!mkdtemp(dir) || !netns_enter(&outside))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_publish, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_udp_flows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_port_conflicts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_addresses, set_up_small, tear_down),
        cmocka_unit_test_setup_teardown(test_modes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flush, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ipv6, set_up6, tear_down),
        cmocka_unit_test_setup_teardown(test_no_icc, set_up_no_icc, tear_down),
        cmocka_unit_test_setup_teardown(test_overlap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bridge_deleted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_warnings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_storm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_speed, set_up, tear_down),
    };
    if (getenv("TEST_FILTER"))
        cmocka_set_test_filter(getenv("TEST_FILTER"));
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    return fs_remove_tree(AT_FDCWD, dir) < 0 || r;
}
