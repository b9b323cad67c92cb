/* SPDX-License-Identifier: Apache-2.0 */
/* Host ports: choosing and reserving them. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/time.h"
#include "network/network-priv.h"

/* The kernel's default range for ports it chooses itself, as Docker uses. */
#define DYNAMIC_FIRST 32768
#define DYNAMIC_LAST  60999

/* What one reservation is about: an address and a port. */
struct place {
    enum port_proto proto;
    const char *ip; /* never "" */
    uint16_t port;
};

static int open_socket(enum port_proto proto, int family)
{
    static const struct {
        int type, protocol;
    } kinds[PORT_PROTO_MAX] = {{SOCK_STREAM, IPPROTO_TCP},
                               {SOCK_DGRAM, IPPROTO_UDP},
                               {SOCK_STREAM, IPPROTO_SCTP}};
    int fd = socket(family, kinds[proto].type | SOCK_CLOEXEC, kinds[proto].protocol);

    return fd < 0 ? -errno : fd;
}

/* Everything that reaches the socket is dropped without an answer: a client that comes between
 * the reservation and the rule sends its first packet again, and then meets the container. */
static void drop_everything(int fd)
{
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {1, &drop};

    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* The fd, -EBADF when the kernel has no such protocol, or another -errno of bind(). */
static int hold_place(const struct place *p)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } addr = {0};
    bool v6 = strchr(p->ip, ':') != NULL;
    socklen_t len;
    int one = 1;

    if (v6) {
        addr.in6.sin6_family = AF_INET6;
        addr.in6.sin6_port = htons(p->port);
        if (inet_pton(AF_INET6, p->ip, &addr.in6.sin6_addr) != 1)
            return -EINVAL;
        len = sizeof(addr.in6);
    } else {
        addr.in.sin_family = AF_INET;
        addr.in.sin_port = htons(p->port);
        if (inet_pton(AF_INET, p->ip, &addr.in.sin_addr) != 1)
            return -EINVAL;
        len = sizeof(addr.in);
    }
    AUTOFD int fd = open_socket(p->proto, addr.any.sa_family);
    if (fd == -EPROTONOSUPPORT || fd == -ESOCKTNOSUPPORT || fd == -EAFNOSUPPORT)
        return -EBADF;
    if (fd < 0)
        return fd;
    if (v6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    /* Connections of the past in TIME_WAIT do not hinder; a listener does even so. Not for UDP,
     * where it would allow two at one port. */
    if (p->proto != PORT_UDP)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    drop_everything(fd);
    if (bind(fd, &addr.any, len) < 0)
        return -errno;
    /* Only a listener keeps other listeners away. Not on "::": ports are not published on ::1 (see
     * rules.c), where a client shall be refused at once and go on to 127.0.0.1. */
    if (p->proto != PORT_UDP && !STREQ(p->ip, "::") && listen(fd, 1) < 0)
        return -errno;
    return take_fd(fd);
}

/*
 * A program that is being started has copies of all our descriptors until it is executed: closing
 * ours does not free the port at that moment, and a container that is started again at once would
 * find its own port taken. A listener stops to be one for all who have it. What is only bound (UDP)
 * has no such way: who finds the port taken soon after one was let go looks again (hold_patiently()).
 */
#define LET_GO_NS (200 * NSEC_PER_MSEC)
#define LOOK_MS   2

static _Atomic int64_t let_go_at;

static void let_go(int fd)
{
    (void)shutdown(fd, SHUT_RDWR);
    (void)close(fd);
    let_go_at = time_monotonic_ns();
}

static void add_hold(struct port_holds *holds, int fd)
{
    holds->fds = xreallocarray(holds->fds, holds->len + 1, sizeof(holds->fds[0]));
    holds->fds[holds->len++] = fd;
}

void port_holds_done(struct port_holds *holds)
{
    for (size_t i = 0; i < holds->len; i++)
        if (holds->fds[i] >= 0)
            let_go(holds->fds[i]);
    free(holds->fds);
    *holds = (struct port_holds){0};
}

void port_holds_drop(struct port_holds *holds, const struct network_port *port)
{
    static const int types[PORT_PROTO_MAX] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};

    for (size_t i = 0; i < holds->len; i++) {
        union {
            struct sockaddr any;
            struct sockaddr_in in;
            struct sockaddr_in6 in6;
        } addr = {0};
        socklen_t len = sizeof(addr), size = sizeof(int);
        char ip[INET6_ADDRSTRLEN] = "";
        int proto = 0;
        uint16_t number;

        if (holds->fds[i] < 0 || getsockname(holds->fds[i], &addr.any, &len) < 0 ||
            getsockopt(holds->fds[i], SOL_SOCKET, SO_PROTOCOL, &proto, &size) < 0)
            continue;
        if (addr.any.sa_family == AF_INET)
            (void)!inet_ntop(AF_INET, &addr.in.sin_addr, ip, sizeof(ip));
        else
            (void)!inet_ntop(AF_INET6, &addr.in6.sin6_addr, ip, sizeof(ip));
        number = ntohs(addr.any.sa_family == AF_INET ? addr.in.sin_port : addr.in6.sin6_port);
        if (proto != types[port->proto] || number != port->host_port || strcmp(ip, port->host_ip))
            continue;
        let_go(holds->fds[i]);
        holds->fds[i] = holds->fds[--holds->len];
        return;
    }
}

/* Which host addresses a specification stands for: one, or both wildcards. */
static size_t addresses_of(const struct port_spec *spec, bool v6, const char *out[2])
{
    if (spec->host_ip[0] != '\0') {
        out[0] = spec->host_ip;
        return 1;
    }
    out[0] = "0.0.0.0";
    out[1] = "::";
    return v6 ? 2 : 1;
}

/* All addresses of a specification at one port, or none of them. */
static int hold_port(const struct port_spec *spec, uint16_t port, bool v6, int fds[2])
{
    const char *ips[2];
    size_t n = addresses_of(spec, v6, ips);

    for (size_t i = 0; i < n; i++) {
        fds[i] = hold_place(&(struct place){spec->proto, ips[i], port});
        if (fds[i] < 0 && fds[i] != -EBADF) {
            int r = fds[i];
            while (i-- > 0)
                if (fds[i] >= 0)
                    let_go(fds[i]);
            return r;
        }
    }
    return 0;
}

/* The one port that is wanted. */
static int hold_patiently(const struct port_spec *spec, uint16_t port, bool v6, int fds[2])
{
    int64_t until = let_go_at ? let_go_at + LET_GO_NS : 0;
    int r = hold_port(spec, port, v6, fds);

    while (r == -EADDRINUSE && time_monotonic_ns() < until) {
        (void)usleep(LOOK_MS * 1000);
        r = hold_port(spec, port, v6, fds);
    }
    return r;
}

static void format_place(const struct port_spec *spec, char *out, size_t size)
{
    const char *ip = spec->host_ip[0] ? spec->host_ip : "0.0.0.0";
    bool brackets = strchr(ip, ':') != NULL;
    char ports[16] = "";

    if (spec->host_first != spec->host_last)
        snprintf(ports, sizeof(ports), "%u-%u", spec->host_first, spec->host_last);
    else
        snprintf(ports, sizeof(ports), "%u", spec->host_first);
    snprintf(out, size, "%s%s%s:%s", brackets ? "[" : "", ip, brackets ? "]" : "", ports);
}

static int bind_failed(const struct port_spec *spec, int r, struct error *e)
{
    char place[PORT_HOST_IP_MAX + 20];

    format_place(spec, place, sizeof(place));
    if (r == -EADDRINUSE && (spec->host_first == 0 || spec->host_first != spec->host_last))
        return error_set(e, ERR_INTERNAL, "Bind for %s failed: all ports are allocated", place);
    if (r == -EADDRINUSE)
        return error_set(e, ERR_INTERNAL, "Bind for %s failed: port is already allocated", place);
    if (r == -EADDRNOTAVAIL)
        return error_set(e, ERR_INTERNAL, "Bind for %s failed: the host has no such address",
                         place);
    return error_set_errno(e, r, "Bind for %s failed", place);
}

/* A free port for a specification that leaves the choice. */
static int choose_port(const struct port_spec *spec, bool v6, uint16_t *ret_port, int fds[2])
{
    static _Atomic uint32_t rotor;
    uint32_t first = spec->host_first ? spec->host_first : DYNAMIC_FIRST;
    uint32_t last = spec->host_first ? spec->host_last : DYNAMIC_LAST;
    uint32_t size = last - first + 1, start = 0;
    int r = -EADDRINUSE;

    if (spec->host_first == 0) {
        uint32_t seed = rotor;
        if (seed == 0 && getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
            seed = (uint32_t)getpid() * 2654435761U;
        start = seed % size;
    }
    if (size == 1) {
        *ret_port = (uint16_t)first;
        return hold_patiently(spec, *ret_port, v6, fds);
    }
    for (uint32_t i = 0; i < size && r == -EADDRINUSE; i++) {
        *ret_port = (uint16_t)(first + (start + i) % size);
        r = hold_port(spec, *ret_port, v6, fds);
        if (spec->host_first == 0)
            rotor = start + i + 1 + size; /* never 0 */
    }
    return r;
}

int ports_compare(const void *a, const void *b)
{
    const struct network_port *x = a, *y = b;

    if (x->container_port != y->container_port)
        return x->container_port < y->container_port ? -1 : 1;
    if (x->proto != y->proto)
        return x->proto < y->proto ? -1 : 1;
    int by_family = (strchr(x->host_ip, ':') != NULL) - (strchr(y->host_ip, ':') != NULL);
    if (by_family)
        return by_family;
    int by_ip = strcmp(x->host_ip, y->host_ip);
    if (by_ip)
        return by_ip;
    return (x->host_port > y->host_port) - (x->host_port < y->host_port);
}

static int check_address(const struct port_spec *spec, bool v6, struct error *e)
{
    struct in6_addr addr;

    if (inet_pton(AF_INET6, spec->host_ip, &addr) != 1)
        return 0;
    if (!v6)
        return error_set(e, ERR_INVALID,
                         "port %u can not be published on [%s]: the network has no IPv6 (start "
                         "pouchd with --ipv6)",
                         spec->container_port, spec->host_ip);
    if (IN6_IS_ADDR_LOOPBACK(&addr))
        return error_set(
            e, ERR_INVALID,
            "port %u can not be published on [::1]: the kernel does not route the IPv6 "
            "loopback address (publish on 127.0.0.1)",
            spec->container_port);
    return 0;
}

int ports_reserve(const struct port_spec *specs, size_t n, bool v6, struct network_port **ret_ports,
                  struct port_holds *ret_holds, struct error *e)
{
    AUTOFREE struct network_port *ports = NULL;
    CLEANUP(port_holds_done) struct port_holds holds = {0};
    size_t len = 0;

    if (n > 0)
        ports = xcalloc(n * 2, sizeof(ports[0]));
    for (size_t i = 0; i < n; i++) {
        const struct port_spec *spec = &specs[i];
        const char *ips[2];
        uint16_t port = 0;
        int fds[2] = {-EBADF, -EBADF};
        int r = check_address(spec, v6, e);
        if (r < 0)
            return r;
        r = choose_port(spec, v6, &port, fds);
        if (r < 0)
            return bind_failed(spec, r, e);
        size_t nips = addresses_of(spec, v6, ips);
        for (size_t k = 0; k < nips; k++) {
            struct network_port *p = &ports[len++];
            *p = (struct network_port){spec->proto, spec->container_port, port, ""};
            memcpy(p->host_ip, ips[k], strlen(ips[k]) + 1);
            add_hold(&holds, fds[k]);
        }
    }
    if (len > 1)
        qsort(ports, len, sizeof(ports[0]), ports_compare);
    *ret_ports = take_ptr(ports);
    *ret_holds = holds;
    holds = (struct port_holds){0};
    return 0;
}

void ports_reserve_again(const struct network_port *ports, size_t n, struct port_holds *ret_holds)
{
    *ret_holds = (struct port_holds){0};
    for (size_t i = 0; i < n; i++) {
        const struct network_port *p = &ports[i];
        int fd = hold_place(&(struct place){p->proto, p->host_ip, p->host_port});
        if (fd < 0 && fd != -EBADF)
            log_warn("a published port is used by another process too",
                     "port=%u/%s address=%s err=\"%s\"", p->host_port, port_proto_name(p->proto),
                     p->host_ip, strerror(-fd));
        add_hold(ret_holds, fd);
    }
}
