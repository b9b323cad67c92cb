/* SPDX-License-Identifier: Apache-2.0 */
/* See netns.h. */
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"

static int own_ns = -1;

static int own_ns_open(void)
{
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static void go(int ns)
{
    if (setns(ns, CLONE_NEWNET) < 0)
        abort();
}

bool netns_sh(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    AUTOFREE char *command = xvasprintf(fmt, ap);
    va_end(ap);
    return system(command) == 0;
}

int netns_new(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        abort();
    int fd = own_ns_open();
    go(own_ns);
    return fd;
}

static bool make_uplink(int outside)
{
    return netns_sh("ip link set lo up && ip link add uplink type veth peer name up0 netns "
                    "/proc/%d/fd/%d && ip link set uplink up && ip addr add 192.0.2.1/24 dev "
                    "uplink && ip addr add 2001:db8::1/64 dev uplink nodad",
                    getpid(), outside) &&
           netns_sh("nsenter --net=/proc/%d/fd/%d sh -c 'ip link set lo up; ip link set up0 up; "
                    "ip addr add 192.0.2.9/24 dev up0; ip addr add 2001:db8::9/64 dev up0 nodad; "
                    "ip route add default via 192.0.2.1; ip route add default via 2001:db8::1'",
                    getpid(), outside);
}

bool netns_enter(int *ret_outside)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) {
        printf("1..0 # SKIP network namespaces need root\n");
        return false;
    }
    own_ns = own_ns_open();
    *ret_outside = netns_new();
    if (!make_uplink(*ret_outside)) {
        printf("1..0 # SKIP the uplink can not be made (ip and nsenter needed)\n");
        return false;
    }
    return true;
}

int netns_socket(int ns, int family, int type)
{
    if (ns >= 0)
        go(ns);
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ns >= 0)
        go(own_ns);
    return fd;
}

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

static socklen_t make_address(union address *a, const char *ip, unsigned port)
{
    memset(a, 0, sizeof(*a));
    if (strchr(ip, ':')) {
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = htons((uint16_t)port);
        inet_pton(AF_INET6, ip, &a->in6.sin6_addr);
        return sizeof(a->in6);
    }
    a->in.sin_family = AF_INET;
    a->in.sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, ip, &a->in.sin_addr);
    return sizeof(a->in);
}

int netns_listen(int ns, int family, int type, unsigned port)
{
    int fd = netns_socket(ns, family, type), one = 1;
    union address a;
    socklen_t len = make_address(&a, family == AF_INET6 ? "::" : "0.0.0.0", port);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, &a.any, len) < 0 || (type == SOCK_STREAM && listen(fd, 16) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd p = {fd, events, 0};

    return poll(&p, 1, timeout_ms) > 0;
}

static void format_peer(const union address *a, char seen[64])
{
    if (a->any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->in6.sin6_addr, seen, 64);
    else
        inet_ntop(AF_INET, &a->in.sin_addr, seen, 64);
}

/* Something pending from an earlier attempt that was given up. */
static void drain(int server_fd, int type)
{
    char junk[16];
    int fd;

    if (type == SOCK_DGRAM)
        while (recv(server_fd, junk, sizeof(junk), MSG_DONTWAIT) >= 0)
            ;
    else
        while ((fd = accept(server_fd, NULL, NULL)) >= 0)
            close(fd);
}

static bool talk_udp(int client, const union address *to, socklen_t len, int server_fd,
                     int timeout_ms, char seen[64])
{
    union address peer;
    socklen_t peer_len = sizeof(peer);
    char word[8];

    if (connect(client, &to->any, len) < 0 || send(client, "hello", 5, 0) != 5 ||
        !wait_for(server_fd, POLLIN, timeout_ms) ||
        recvfrom(server_fd, word, sizeof(word), 0, &peer.any, &peer_len) != 5)
        return false;
    format_peer(&peer, seen);
    return sendto(server_fd, "world", 5, 0, &peer.any, peer_len) == 5 &&
           wait_for(client, POLLIN, timeout_ms) && recv(client, word, sizeof(word), 0) == 5;
}

static bool talk_tcp(int client, const union address *to, socklen_t len, int server_fd,
                     int timeout_ms, char seen[64])
{
    union address peer;
    socklen_t peer_len = sizeof(peer);
    char word[8];

    if (connect(client, &to->any, len) < 0 && errno != EINPROGRESS)
        return false;
    if (!wait_for(client, POLLOUT, timeout_ms) || !wait_for(server_fd, POLLIN, timeout_ms))
        return false;
    AUTOFD int conn = accept4(server_fd, &peer.any, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (conn < 0)
        return false;
    format_peer(&peer, seen);
    return send(client, "hello", 5, MSG_NOSIGNAL) == 5 && wait_for(conn, POLLIN, timeout_ms) &&
           recv(conn, word, sizeof(word), 0) == 5 && send(conn, "world", 5, MSG_NOSIGNAL) == 5 &&
           wait_for(client, POLLIN, timeout_ms) && recv(client, word, sizeof(word), 0) == 5;
}

bool netns_talk(int from, const char *ip, unsigned port, int type, int server_fd, int timeout_ms,
                char seen[64])
{
    union address to;
    socklen_t len = make_address(&to, ip, port);
    AUTOFD int client = netns_socket(from, to.any.sa_family, type);

    seen[0] = '\0';
    drain(server_fd, type);
    return type == SOCK_DGRAM ? talk_udp(client, &to, len, server_fd, timeout_ms, seen)
                              : talk_tcp(client, &to, len, server_fd, timeout_ms, seen);
}
