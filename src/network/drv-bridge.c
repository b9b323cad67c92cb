/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge driver: the bridge device, and for each container a veth pair whose far end is made
 * in the container's network namespace straight away.
 *
 * Attaching is three sends: on the host {make the pair; no IPv6 by itself on the near end; up}, in
 * the container {which index has eth0}, {lo up; eth0: no IPv6 by itself, address, up, route}.
 * A port of a bridge without spanning tree forwards as soon as it is up. Nothing is ever deleted
 * on the way out: the pair goes with the namespace, in the kernel's own time.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "network/network-priv.h"
#include "sys/netlink.h"

#define BRIDGE_ALIAS "pouch" /* marks a bridge that Pouch made and may remove */
#define SYSCTL_MAX   64
#define SETTLE_TRIES 10
#define SETTLE_US    200

/* --- sysctls -------------------------------------------------------------------------------- */

int sysctl_net_write(const char *path, const char *value)
{
    AUTOFREE char *full = xasprintf("/proc/sys/net/%s", path);

    return fs_write_existing(AT_FDCWD, full, value);
}

int sysctl_net_read(const char *path, int *ret)
{
    AUTOFREE char *full = xasprintf("/proc/sys/net/%s", path);
    AUTOFREE char *text = NULL;
    int64_t value;

    int r = fs_read_file(AT_FDCWD, full, SYSCTL_MAX, &text, NULL);
    if (r < 0)
        return r;
    text[strcspn(text, "\n")] = '\0';
    r = parse_i64(text, &value);
    if (r < 0)
        return r;
    *ret = (int)value;
    return 0;
}

/* --- choosing the subnet -------------------------------------------------------------------- */

/* The host's IPv4 routes and addresses but for those of our own bridge. */
static int host_networks(int fd, int own_index, struct cidr4 **ret, size_t *ret_len)
{
    AUTOFREE struct nl_route *routes = NULL;
    AUTOFREE struct nl_addr *addrs = NULL;
    size_t nroutes = 0, naddrs = 0, n = 0;
    int r = nl_routes(fd, &routes, &nroutes);

    if (r >= 0)
        r = nl_addrs(fd, &addrs, &naddrs);
    if (r < 0)
        return r;
    struct cidr4 *list = xcalloc(nroutes + naddrs + 1, sizeof(list[0]));
    for (size_t i = 0; i < nroutes; i++)
        if (routes[i].family == AF_INET && (own_index == 0 || routes[i].index != own_index)) {
            uint32_t dst;
            memcpy(&dst, routes[i].dst, 4);
            list[n++] = (struct cidr4){ntohl(dst), routes[i].prefix};
        }
    for (size_t i = 0; i < naddrs; i++)
        if (addrs[i].family == AF_INET && (own_index == 0 || addrs[i].index != own_index)) {
            uint32_t addr;
            memcpy(&addr, addrs[i].addr, 4);
            list[n++] = (struct cidr4){ntohl(addr), addrs[i].prefix};
        }
    *ret = list;
    *ret_len = n;
    return 0;
}

static const struct cidr4 *find_overlap(const struct cidr4 *net, const struct cidr4 *taken,
                                        size_t ntaken)
{
    for (size_t i = 0; i < ntaken; i++)
        if (cidr4_overlaps(net, &taken[i]))
            return &taken[i];
    return NULL;
}

/* The address a bridge that is there has already. */
static bool bridge_address(int fd, int index, struct cidr4 *ret)
{
    AUTOFREE struct nl_addr *addrs = NULL;
    size_t n = 0;

    if (index == 0 || nl_addrs(fd, &addrs, &n) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (addrs[i].index == index && addrs[i].family == AF_INET && addrs[i].prefix < 31) {
            uint32_t addr;
            memcpy(&addr, addrs[i].addr, 4);
            *ret = (struct cidr4){ntohl(addr), addrs[i].prefix};
            return true;
        }
    return false;
}

static int choose_new(struct network_manager *nm, const struct network_params *p,
                      const struct cidr4 *taken, size_t ntaken, struct error *e)
{
    const char *bad = NULL;
    struct cidr4 net;
    int r = subnet_choose(p->pools, taken, ntaken, &net, &bad);

    if (r == -EINVAL)
        return error_set(e, ERR_INVALID,
                         "default address pool \"%s\" is not an IPv4 subnet like 10.210.0.0/16 "
                         "(prefix 8 to 29)",
                         bad);
    if (r < 0)
        return error_set(e, ERR_UNAVAILABLE,
                         "every default address pool overlaps with the host's routes: choose a "
                         "subnet for %s with --bip",
                         nm->bridge);
    nm->net = (struct cidr4){net.addr + 1, net.prefix};
    return 0;
}

/*
 * Configured; else what the database remembers; else what the bridge has; else chosen. A
 * remembered subnet that meanwhile overlaps with the host's networks is given up when nobody has
 * an address of it.
 */
static int choose_subnet(struct network_manager *nm, int fd, const struct network_params *p,
                         struct error *e)
{
    AUTOFREE struct cidr4 *taken = NULL;
    AUTOFREE char *stored = NULL;
    size_t ntaken = 0;
    char text[INET_ADDRSTRLEN], other[INET_ADDRSTRLEN];

    int r = host_networks(fd, nm->bridge_index, &taken, &ntaken);
    if (r < 0)
        return error_set_errno(e, r, "the host's routes can not be read");
    r = records_get(nm->store, "subnet", &stored, e);
    if (r < 0)
        return r;
    bool in_use = map_len(nm->endpoints) > 0;
    if (p->bip) {
        if (cidr4_parse(p->bip, &nm->net) < 0 || nm->net.prefix > 29 || nm->net.prefix < 8 ||
            (nm->net.addr & ~cidr4_mask(nm->net.prefix)) == 0)
            return error_set(e, ERR_INVALID,
                             "bip \"%s\" is not an address with its subnet, like 10.210.0.1/16",
                             p->bip);
        const struct cidr4 *o = find_overlap(&nm->net, taken, ntaken);
        if (o) {
            ip4_format(o->addr, other);
            return error_set(e, ERR_UNAVAILABLE,
                             "bip %s overlaps with the host's network %s/%u: choose another",
                             p->bip, other, o->prefix);
        }
    } else if (stored && cidr4_parse(stored, &nm->net) >= 0 &&
               (in_use || !find_overlap(&nm->net, taken, ntaken))) {
        if (find_overlap(&nm->net, taken, ntaken))
            log_warn("the containers' subnet overlaps with a network of the host", "subnet=%s",
                     stored);
    } else if (!bridge_address(fd, nm->bridge_index, &nm->net) ||
               find_overlap(&nm->net, taken, ntaken)) {
        r = choose_new(nm, p, taken, ntaken, e);
        if (r < 0)
            return r;
    }
    ip4_format(nm->net.addr, text);
    AUTOFREE char *value = xasprintf("%s/%u", text, nm->net.prefix);
    return stored && STREQ(stored, value) ? 0 : records_set(nm->store, "subnet", value, e);
}

/* A random unique local prefix (RFC 4193), once, and kept. */
static int choose_subnet6(struct network_manager *nm, const struct network_params *p,
                          struct error *e)
{
    AUTOFREE char *stored = NULL;
    char text[INET6_ADDRSTRLEN];

    if (access("/proc/net/if_inet6", F_OK) < 0)
        return error_set(e, ERR_UNAVAILABLE, "IPv6 was asked for, but the host's kernel has none");
    int r = records_get(nm->store, "subnet6", &stored, e);
    if (r < 0)
        return r;
    const char *from = p->fixed_cidr_v6 ? p->fixed_cidr_v6 : stored;
    if (from) {
        if (cidr6_parse(from, &nm->net6) < 0 || nm->net6.prefix > 96 || nm->net6.prefix < 16)
            return error_set(e, ERR_INVALID,
                             "IPv6 subnet \"%s\" is not like fd12:3456:789a::/64 (prefix 16 to 96)",
                             from);
    } else {
        nm->net6 = (struct cidr6){.prefix = 64};
        nm->net6.addr.s6_addr[0] = 0xfd;
        if (getrandom(&nm->net6.addr.s6_addr[1], 5, 0) != 5)
            return error_set_errno(e, EIO, "no random numbers");
    }
    /* The bridge is ::1 of it. */
    struct in6_addr own;
    ip6_for_ip4(&nm->net6, 1, &own);
    nm->net6.addr = own;
    (void)!inet_ntop(AF_INET6, &own, text, sizeof(text));
    AUTOFREE char *value = xasprintf("%s/%u", text, nm->net6.prefix);
    return stored && STREQ(stored, value) ? 0 : records_set(nm->store, "subnet6", value, e);
}

/* --- the bridge ----------------------------------------------------------------------------- */

static int check_gateways(struct network_manager *nm, const struct network_params *p,
                          struct error *e)
{
    nm->gateway = nm->net.addr;
    nm->gateway6 = nm->net6.addr;
    if (p->gateway &&
        (ip4_parse(p->gateway, &nm->gateway) < 0 || !cidr4_contains(&nm->net, nm->gateway)))
        return error_set(e, ERR_INVALID,
                         "default gateway \"%s\" is not an address in the bridge's subnet",
                         p->gateway);
    if (nm->ipv6 && p->gateway6 &&
        (inet_pton(AF_INET6, p->gateway6, &nm->gateway6) != 1 ||
         !cidr6_contains(&nm->net6, &nm->gateway6)))
        return error_set(e, ERR_INVALID,
                         "default IPv6 gateway \"%s\" is not an address in the bridge's subnet",
                         p->gateway6);
    return 0;
}

/*
 * An interface that forwards no longer listens to router advertisements unless accept_ra is 2: the
 * host would lose its own default route some minutes after forwarding was switched on.
 */
static void keep_router_advertisements(const struct network_manager *nm)
{
    DIR *d = opendir("/proc/sys/net/ipv6/conf");
    const struct dirent *entry;

    while (d && (entry = readdir(d))) {
        AUTOFREE char *path = xasprintf("ipv6/conf/%s/accept_ra", entry->d_name);
        int value = 0;
        if (entry->d_name[0] == '.' || STREQ(entry->d_name, nm->bridge) ||
            STREQ(entry->d_name, "lo") || STREQ(entry->d_name, "all") ||
            STREQ(entry->d_name, "default") || sysctl_net_read(path, &value) < 0 || value != 1)
            continue;
        if (sysctl_net_write(path, "2") >= 0)
            log_info("set accept_ra to 2, so that router advertisements are still heard",
                     "interface=%s", entry->d_name);
    }
    if (d)
        closedir(d);
}

/* Switches what the kernel has off and containers need; says what it changed. */
static int set_sysctls(struct network_manager *nm, struct error *e)
{
    AUTOFREE char *localnet = xasprintf("ipv4/conf/%s/route_localnet", nm->bridge);
    int value = 1, r;

    if (nm->nftables) {
        r = sysctl_net_write(localnet, "1");
        if (r < 0)
            return error_set_errno(e, r, "route_localnet of %s can not be set", nm->bridge);
    }
    if (!nm->ip_forward)
        return 0;
    if (sysctl_net_read("ipv4/ip_forward", &value) >= 0 && value == 0) {
        r = sysctl_net_write("ipv4/ip_forward", "1");
        if (r < 0)
            return error_set_errno(e, r, "net.ipv4.ip_forward can not be switched on");
        log_info("switched on net.ipv4.ip_forward: the host now forwards between its networks",
                 NULL);
    }
    if (nm->ipv6 && sysctl_net_read("ipv6/conf/all/forwarding", &value) >= 0 && value == 0) {
        keep_router_advertisements(nm);
        r = sysctl_net_write("ipv6/conf/all/forwarding", "1");
        if (r < 0)
            return error_set_errno(e, r, "net.ipv6.conf.all.forwarding can not be switched on");
        log_info("switched on net.ipv6.conf.all.forwarding: the host now forwards between its "
                 "IPv6 networks",
                 NULL);
    }
    return 0;
}

/* The MAC of a bridge else follows its ports: it is set once, from the address. */
static void bridge_mac(uint32_t addr, uint8_t mac[6])
{
    uint8_t made[6] = {
        0x02,         0x42, (uint8_t)(addr >> 24), (uint8_t)(addr >> 16), (uint8_t)(addr >> 8),
        (uint8_t)addr};

    memcpy(mac, made, 6);
}

/* Makes the bridge (somebody else having made it at the same moment is fine). */
static int make_bridge(struct network_manager *nm, int fd, struct error *e)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_failure failure = {0};
    struct nl_link link;
    uint8_t mac[6];

    bridge_mac(nm->net.addr, mac);
    nl_put_bridge(&b, nm->bridge, mac, nm->mtu, BRIDGE_ALIAS);
    int r = nl_batch_run(fd, &b, &failure);
    if (r < 0 && r != -EEXIST)
        return error_set_errno(e, r, "bridge %s can not be made (%s)", nm->bridge,
                               failure.text[0] ? failure.text : "module bridge missing?");
    r = nl_link_get(fd, nm->bridge, &link);
    if (r < 0)
        return error_set_errno(e, r, "bridge %s", nm->bridge);
    nm->bridge_index = link.index;
    return 0;
}

/* An address of the bridge other than the wanted one (the configuration has changed) goes. */
static void drop_other_addresses(struct network_manager *nm, int fd)
{
    AUTOFREE struct nl_addr *addrs = NULL;
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    size_t n = 0;
    uint32_t own = htonl(nm->net.addr);

    if (nl_addrs(fd, &addrs, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        const struct nl_addr *a = &addrs[i];
        if (a->index != nm->bridge_index)
            continue;
        if (a->family == AF_INET && memcmp(a->addr, &own, 4) == 0 && a->prefix == nm->net.prefix)
            continue;
        if (a->family == AF_INET6) {
            if (a->addr[0] == 0xfe && (a->addr[1] & 0xc0) == 0x80)
                continue; /* link-local */
            if (nm->ipv6 && memcmp(a->addr, &nm->net6.addr, 16) == 0 &&
                a->prefix == nm->net6.prefix)
                continue;
        }
        nl_put_addr_del(&b, a->index, a->family, a->addr, a->prefix);
    }
    (void)!nl_batch_run(fd, &b, NULL); /* what stays does not hinder */
}

/*
 * Is br_netfilter there (Docker and Kubernetes load it)? Then what one container sends to another's
 * published port is translated while it is still on the bridge, and goes on from port to port
 * instead of through the host: back out where it came from, for a container that calls itself.
 * And the rules of nftables see all that is bridged.
 */
static bool bridge_is_filtered(void)
{
    return access("/proc/sys/net/bridge", F_OK) == 0;
}

/*
 * Containers that may not talk to each other are kept apart by isolated bridge ports; where
 * br_netfilter is there by the table's rules, which see everything as soon as this bridge says so.
 */
static int configure_separation(struct network_manager *nm, int fd, struct error *e)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;

    if (!bridge_is_filtered())
        return 0;
    nl_put_bridge_filtered(&b, nm->bridge_index, !nm->icc);
    int r = nl_batch_run(fd, &b, NULL);
    if (r < 0 && !nm->icc)
        return error_set_errno(e, r, "containers on bridge %s can not be kept apart", nm->bridge);
    return 0;
}

static int configure_bridge(struct network_manager *nm, int fd, struct error *e)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_failure failure = {0};
    uint32_t own = htonl(nm->net.addr);

    drop_other_addresses(nm, fd);
    nl_put_link_mtu(&b, nm->bridge_index, nm->mtu);
    nl_put_addr(&b, nm->bridge_index, AF_INET, &own, nm->net.prefix);
    if (nm->ipv6)
        nl_put_addr(&b, nm->bridge_index, AF_INET6, &nm->net6.addr, nm->net6.prefix);
    nl_put_link_up(&b, nm->bridge_index, NULL);
    int r = nl_batch_run(fd, &b, &failure);
    if (r < 0)
        return error_set_errno(e, r, "bridge %s can not be set up (step %u: %s)", nm->bridge,
                               failure.index, failure.text);
    if (!nm->ipv6) {
        /* Best effort: a kernel without IPv6 refuses. */
        nl_put_link_no_addrconf(&b, nm->bridge_index, NULL);
        (void)!nl_batch_run(fd, &b, NULL);
    }
    return configure_separation(nm, fd, e);
}

int bridge_open(struct network_manager *nm, const struct network_params *p, struct error *e)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);
    struct nl_link link;

    if (fd < 0)
        return error_set_errno(e, fd, "netlink");
    int r = nl_link_get(fd, nm->bridge, &link);
    if (r >= 0 && !STREQ(link.kind, "bridge"))
        return error_set(e, ERR_UNAVAILABLE,
                         "there is a link %s of the host that is no bridge: choose another name "
                         "with --bridge-name",
                         nm->bridge);
    nm->bridge_index = r >= 0 ? link.index : 0;
    r = choose_subnet(nm, fd, p, e);
    if (r >= 0 && nm->ipv6)
        r = choose_subnet6(nm, p, e);
    if (r >= 0)
        r = check_gateways(nm, p, e);
    if (r >= 0 && nm->bridge_index == 0)
        r = make_bridge(nm, fd, e);
    if (r >= 0)
        r = configure_bridge(nm, fd, e);
    if (r >= 0)
        r = set_sysctls(nm, e);
    return r;
}

void bridge_remove(struct network_manager *nm)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_link link;

    if (fd < 0 || nl_link_get(fd, nm->bridge, &link) < 0 || !STREQ(link.alias, BRIDGE_ALIAS))
        return;
    nl_put_link_del(&b, link.index);
    int r = nl_batch_run(fd, &b, NULL);
    if (r < 0)
        log_warn("the bridge can not be removed", "bridge=%s err=\"%s\"", nm->bridge, strerror(-r));
}

/* --- containers ----------------------------------------------------------------------------- */

static void parse_mac(const char *text, uint8_t mac[6])
{
    unsigned v[6] = {0};

    (void)sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]);
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)v[i];
}

/* The near end: made, on the bridge, up. The error is the kernel's -ENODEV when there is no such
 * bridge. */
static int make_pair(struct network_manager *nm, int fd, const struct network_endpoint *ep,
                     int netns_fd, struct error *e)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_failure failure = {0};
    uint8_t mac[6];

    parse_mac(ep->mac, mac);
    nl_put_veth(&b, &(struct nl_veth){.name = ep->host_ifname,
                                      .peer_name = "eth0",
                                      .peer_netns_fd = netns_fd,
                                      .master = nm->bridge_index,
                                      .mtu = ep->mtu,
                                      .peer_mac = mac});
    if (nm->has_ipv6)
        nl_put_link_no_addrconf(&b, 0, ep->host_ifname);
    bool filtered = bridge_is_filtered();
    if (filtered || !nm->icc)
        nl_put_port(&b, ep->host_ifname, !nm->icc && !filtered, filtered);
    nl_put_link_up(&b, 0, ep->host_ifname);
    int r = nl_batch_run(fd, &b, &failure);
    if (r < 0)
        return error_set_errno(e, r, "the veth pair %s on %s can not be made (step %u: %s)",
                               ep->host_ifname, nm->bridge, failure.index, failure.text);
    return 0;
}

/* The far end, through a socket of the container's namespace. */
static int set_up_inside(struct network_manager *nm, const struct network_endpoint *ep,
                         int netns_fd, struct error *e)
{
    AUTOFD int fd = nl_open_in(netns_fd, NETLINK_ROUTE);
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_failure failure = {0};
    struct in_addr ip = {0}, gateway = {0};
    struct in6_addr ip6, gateway6;
    struct nl_link link;

    if (fd < 0)
        return error_set_errno(e, fd, "the container's network namespace can not be entered");
    int r = nl_link_get(fd, "eth0", &link);
    if (r < 0)
        return error_set_errno(e, r, "eth0 is not in the container's network namespace");
    bool v6 = ep->ip6[0] != '\0';
    if (inet_pton(AF_INET, ep->ip, &ip) != 1 || inet_pton(AF_INET, ep->gateway, &gateway) != 1 ||
        (v6 && (inet_pton(AF_INET6, ep->ip6, &ip6) != 1 ||
                inet_pton(AF_INET6, ep->gateway6, &gateway6) != 1)))
        return error_set(e, ERR_INTERNAL, "endpoint of %s has no valid address", ep->container_id);
    nl_put_link_up(&b, 0, "lo");
    if (!v6 && nm->has_ipv6)
        nl_put_link_no_addrconf(&b, link.index, NULL);
    nl_put_addr(&b, link.index, AF_INET, &ip, ep->prefix);
    if (v6)
        nl_put_addr(&b, link.index, AF_INET6, &ip6, ep->prefix6);
    nl_put_link_up(&b, link.index, NULL);
    nl_put_default_route(&b, link.index, AF_INET, &gateway);
    if (v6)
        nl_put_default_route(&b, link.index, AF_INET6, &gateway6);
    r = nl_batch_run(fd, &b, &failure);
    if (r < 0)
        return error_set_errno(e, r, "eth0 of the container can not be set up (step %u: %s)",
                               failure.index, failure.text);
    return 0;
}

/* Puts the near ends of all containers back on a bridge that was made anew. */
static void reconnect_all(struct network_manager *nm, int fd)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    size_t pos = 0;
    void *value;

    pthread_mutex_lock(&nm->lock);
    while (map_next(nm->endpoints, &pos, NULL, &value))
        nl_put_link_master(&b, ((const struct record *)value)->ep.host_ifname, nm->bridge_index);
    pthread_mutex_unlock(&nm->lock);
    (void)!nl_batch_run(fd, &b, NULL); /* some have no link (yet, or any more) */
}

/*
 * Someone may delete the bridge. The next container that needs it makes it again, for all. Several
 * threads may do so at once: each step is the same when done twice.
 */
static int check_bridge(struct network_manager *nm, int fd, struct error *e)
{
    struct nl_link link;
    int r = nl_link_get(fd, nm->bridge, &link);

    if (r >= 0 && link.index == nm->bridge_index)
        return 0;
    log_warn("the bridge has been deleted by someone else and is made again", "bridge=%s",
             nm->bridge);
    r = make_bridge(nm, fd, e);
    if (r >= 0)
        r = configure_bridge(nm, fd, e);
    if (r >= 0)
        r = set_sysctls(nm, e);
    if (r >= 0)
        reconnect_all(nm, fd);
    return r;
}

/*
 * A container that was just started again has the MAC and the address that it had before, and the
 * kernel takes its namespace of before down in its own time: for milliseconds, on a busy machine
 * many, both are on the bridge. What is for the one that lives must not go to the other, which
 * resets connections.
 */
static int bind_mac(int fd, const struct network_endpoint *ep, struct error *e)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_link port;
    uint8_t mac[6];
    int r = nl_link_get(fd, ep->host_ifname, &port);

    parse_mac(ep->mac, mac);
    if (r == 0) {
        nl_put_fdb(&b, port.index, mac);
        r = nl_batch_run(fd, &b, NULL);
    }
    return r < 0 ? error_set_errno(e, r, "cannot bind %s to its port of the bridge", ep->mac) : 0;
}

/*
 * That both ends are up is noticed by a kernel worker (link watch); until then the near end, or a
 * bridge that just got its first port, drops what it shall send, and a lost ARP request costs the
 * container's first connection a second. Asking for a link lets the kernel notice at once (Linux
 * 6.8 and later; rtnl_getlink()), before that it is a matter of a fraction of a millisecond.
 */
static void let_settle(struct network_manager *nm, int fd, const char *ifname)
{
    struct nl_link port, bridge;

    for (int i = 0; i < SETTLE_TRIES; i++) {
        if (i > 0)
            usleep(SETTLE_US);
        if (nl_link_get(fd, ifname, &port) < 0 ||
            (port.is_up && (nl_link_get(fd, nm->bridge, &bridge) < 0 || bridge.is_up)))
            return;
    }
}

int bridge_attach(struct network_manager *nm, const struct network_endpoint *ep, int netns_fd,
                  struct error *e)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);

    if (fd < 0)
        return error_set_errno(e, fd, "netlink");
    int r = check_bridge(nm, fd, e);
    if (r >= 0)
        r = make_pair(nm, fd, ep, netns_fd, e);
    if (r >= 0)
        r = set_up_inside(nm, ep, netns_fd, e);
    if (r >= 0)
        r = bind_mac(fd, ep, e);
    if (r < 0)
        bridge_detach(ep);
    else
        let_settle(nm, fd, ep->host_ifname);
    return r;
}

int loopback_attach(int netns_fd, struct error *e)
{
    AUTOFD int fd = nl_open_in(netns_fd, NETLINK_ROUTE);
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;

    if (fd < 0)
        return error_set_errno(e, fd, "the container's network namespace can not be entered");
    nl_put_link_up(&b, 0, "lo");
    int r = nl_batch_run(fd, &b, NULL);
    if (r < 0)
        return error_set_errno(e, r, "lo of the container can not be set up");
    return 0;
}

void bridge_detach(const struct network_endpoint *ep)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_link link;

    if (fd < 0 || nl_link_get(fd, ep->host_ifname, &link) < 0)
        return;
    nl_put_link_del(&b, link.index);
    int r = nl_batch_run(fd, &b, NULL);
    if (r < 0 && r != -ENODEV)
        log_warn("a veth pair can not be removed", "link=%s err=\"%s\"", ep->host_ifname,
                 strerror(-r));
}

/* Names as network_reserve() makes them; what someone else put on the bridge is left alone. */
static bool is_own_name(const char *name)
{
    return str_has_prefix(name, "veth") && str_is_hex(name + 4, 8);
}

void bridge_sweep(struct network_manager *nm)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    AUTOFREE struct nl_link *links = NULL;
    size_t n = 0, pos = 0;
    void *value;

    if (fd < 0 || nl_links(fd, &links, &n) < 0)
        return;
    struct map *names = map_new();
    pthread_mutex_lock(&nm->lock);
    while (map_next(nm->endpoints, &pos, NULL, &value))
        (void)map_set(names, ((struct record *)value)->ep.host_ifname, nm);
    pthread_mutex_unlock(&nm->lock);
    for (size_t i = 0; i < n; i++) {
        const struct nl_link *l = &links[i];
        if (l->master != nm->bridge_index || !STREQ(l->kind, "veth") || !is_own_name(l->name) ||
            map_get(names, l->name))
            continue;
        log_info("removing a veth pair that belongs to no container", "link=%s", l->name);
        nl_put_link_del(&b, l->index);
        (void)!nl_batch_run(fd, &b, NULL); /* it may have gone by itself */
    }
    map_free(names, NULL);
}
