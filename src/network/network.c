/* SPDX-License-Identifier: Apache-2.0 */
/* The network manager: endpoints, from reservation to release. See network.h. */
#include "network/network.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "network/network-priv.h"

#define DEFAULT_BRIDGE "pouch0"
#define DEFAULT_MTU    1500

/* --- endpoints ------------------------------------------------------------------------------ */

void network_endpoint_done(struct network_endpoint *ep)
{
    free(ep->ports);
    *ep = (struct network_endpoint){0};
}

void network_endpoint_copy(struct network_endpoint *dst, const struct network_endpoint *src)
{
    *dst = *src;
    dst->ports = src->nports ? xmemdup(src->ports, src->nports * sizeof(src->ports[0])) : NULL;
}

static void record_free(struct record *rec)
{
    if (!rec)
        return;
    port_holds_done(&rec->holds);
    network_endpoint_done(&rec->ep);
    free(rec);
}
DEFINE_AUTOPTR(struct record, record)

static void record_free_value(void *value)
{
    record_free(value);
}

/* What every endpoint of the bridge network has in common. */
static void fill_common(const struct network_manager *nm, struct network_endpoint *ep)
{
    ep->mode = NETWORK_BRIDGE;
    strcpy(ep->network_name, "bridge");
    memcpy(ep->network_id, nm->network_id, sizeof(ep->network_id));
    ep->prefix = nm->net.prefix;
    ip4_format(nm->gateway, ep->gateway);
    if (nm->ipv6 && ep->ip6[0]) {
        ep->prefix6 = nm->net6.prefix;
        (void)!inet_ntop(AF_INET6, &nm->gateway6, ep->gateway6, sizeof(ep->gateway6));
    }
    ep->mtu = nm->mtu;
}

/* --- opening and closing -------------------------------------------------------------------- */

/* Link names: what the kernel takes and what may stand in nft's text. */
static int check_bridge_name(const char *name, struct error *e)
{
    size_t len = strlen(name);
    bool ok = len > 0 && len < IFNAMSIZ && !STREQ(name, ".") && !STREQ(name, "..");

    for (size_t i = 0; i < len && ok; i++)
        ok = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
             (name[i] >= '0' && name[i] <= '9') || strchr("_-.", name[i]);
    if (!ok)
        return error_set(e, ERR_INVALID,
                         "bridge name \"%s\": up to 15 letters, digits, '_', '-' and '.'", name);
    return 0;
}

static int pool_open(struct network_manager *nm, const struct network_params *p, struct error *e)
{
    struct cidr4 range = nm->net;

    if (p->fixed_cidr) {
        if (cidr4_parse(p->fixed_cidr, &range) < 0 || range.prefix < nm->net.prefix ||
            !cidr4_contains(&nm->net, range.addr))
            return error_set(e, ERR_INVALID,
                             "fixed-cidr \"%s\" is not a part of the bridge's subnet",
                             p->fixed_cidr);
    }
    pool_init(&nm->pool, &nm->net, &range);
    (void)!pool_take(&nm->pool, nm->net.addr);
    (void)!pool_take(&nm->pool, nm->gateway);
    return 0;
}

/* An endpoint that the database knows: its container may live. */
static void take_stored(void *data, struct network_endpoint *ep)
{
    struct network_manager *nm = data;
    struct record *rec = xcalloc(1, sizeof(*rec));

    rec->ep = *ep;
    rec->published = true;
    record_free(map_set(nm->endpoints, ep->container_id, rec));
}

static int complete_stored(struct network_manager *nm)
{
    size_t pos = 0;
    void *value;

    while (map_next(nm->endpoints, &pos, NULL, &value)) {
        struct record *rec = value;
        if (ip4_parse(rec->ep.ip, &rec->ip) < 0 || !cidr4_contains(&nm->net, rec->ip) ||
            pool_take(&nm->pool, rec->ip) < 0)
            log_warn("a container keeps an address outside of the bridge's subnet", "id=%s ip=%s",
                     rec->ep.container_id, rec->ep.ip);
        fill_common(nm, &rec->ep);
        ports_reserve_again(rec->ep.ports, rec->ep.nports, &rec->holds);
    }
    return 0;
}

/* The id that `network ls` shows: random once, then kept. */
static int load_network_id(struct network_manager *nm, struct error *e)
{
    AUTOFREE char *stored = NULL;
    int r = records_get(nm->store, "bridge_id", &stored, e);

    if (r < 0)
        return r;
    if (stored && str_is_hex(stored, 64)) {
        memcpy(nm->network_id, stored, 65);
        return 0;
    }
    random_hex(nm->network_id, 32);
    return records_set(nm->store, "bridge_id", nm->network_id, e);
}

static int open_bridge(struct network_manager *nm, const struct network_params *p, struct error *e)
{
    int r = load_network_id(nm, e);

    if (r >= 0)
        r = records_load(nm->store, take_stored, nm, e);
    if (r >= 0)
        r = bridge_open(nm, p, e);
    if (r >= 0)
        r = pool_open(nm, p, e);
    if (r >= 0)
        r = complete_stored(nm);
    if (r >= 0 && nm->nftables)
        r = rules_open(nm, e);
    return r;
}

static void manager_free(struct network_manager *nm)
{
    if (!nm)
        return;
    rules_close(nm);
    map_free(nm->endpoints, record_free_value);
    pool_done(&nm->pool);
    free(nm->nft_program);
    pthread_mutex_destroy(&nm->lock);
    free(nm);
}
DEFINE_AUTOPTR(struct network_manager, manager)

int network_open(const struct network_params *p, struct store *store, struct network_manager **ret,
                 struct error *e)
{
    AUTOPTR(manager) struct network_manager *nm = xcalloc(1, sizeof(*nm));
    const char *bridge = p->bridge ? p->bridge : DEFAULT_BRIDGE;

    nm->store = store;
    nm->watch_fd = -EBADF;
    nm->endpoints = map_new();
    nm->mtu = p->mtu ? p->mtu : DEFAULT_MTU;
    nm->icc = p->icc;
    nm->nftables = p->nftables;
    nm->ip_masq = p->ip_masq;
    nm->ip_forward = p->ip_forward;
    nm->ipv6 = p->ipv6;
    nm->has_ipv6 = access("/proc/net/if_inet6", F_OK) == 0;
    pthread_mutex_init(&nm->lock, NULL);
    int r = records_migrate(store, e);
    if (r < 0)
        return r;
    if (!STREQ(bridge, "none")) {
        r = check_bridge_name(bridge, e);
        if (r < 0)
            return r;
        if (nm->mtu < 68 || nm->mtu > 65535 || (nm->ipv6 && nm->mtu < 1280))
            return error_set(e, ERR_INVALID, "mtu %u: from %d to 65535", nm->mtu,
                             nm->ipv6 ? 1280 : 68);
        strcpy(nm->bridge, bridge); /* fits: looked at by check_bridge_name() */
        snprintf(nm->table, sizeof(nm->table), "pouch-%s", bridge);
        r = open_bridge(nm, p, e);
        if (r < 0) {
            error_add(e, "network");
            return r;
        }
    }
    *ret = take_ptr(nm);
    return 0;
}

void network_close(struct network_manager *nm, bool remove)
{
    if (!nm)
        return;
    rules_close(nm);
    if (nm->bridge[0] && remove && map_len(nm->endpoints) == 0) {
        if (nm->nftables)
            rules_remove(nm);
        bridge_remove(nm);
    }
    manager_free(nm);
}

/* --- reserving ------------------------------------------------------------------------------- */

static int parse_mode(const char *mode, enum network_mode *ret, struct error *e)
{
    if (!mode || !mode[0] || STREQ(mode, "default") || STREQ(mode, "bridge"))
        *ret = NETWORK_BRIDGE;
    else if (STREQ(mode, "none"))
        *ret = NETWORK_NONE;
    else if (STREQ(mode, "host"))
        *ret = NETWORK_HOST;
    else if (str_has_prefix(mode, "container:") && mode[10])
        *ret = NETWORK_CONTAINER;
    else
        return error_set(e, ERR_NOT_FOUND, "network %s not found", mode);
    return 0;
}

static int check_mac(const char *mac, char out[18], struct error *e)
{
    unsigned v[6];
    char end;

    if (sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x%c", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &end) !=
            6 ||
        strlen(mac) != 17 || (v[0] & 1))
        return error_set(e, ERR_INVALID, "invalid MAC address: %.40s", mac);
    snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", v[0], v[1], v[2], v[3], v[4], v[5]);
    return 0;
}

/* Under the lock: nobody else may have the IPv6 address. */
static bool ip6_in_use(const struct network_manager *nm, const char *ip6)
{
    char own[INET6_ADDRSTRLEN], gateway[INET6_ADDRSTRLEN];
    size_t pos = 0;
    void *value;

    (void)!inet_ntop(AF_INET6, &nm->net6.addr, own, sizeof(own));
    (void)!inet_ntop(AF_INET6, &nm->gateway6, gateway, sizeof(gateway));
    if (STREQ(own, ip6) || STREQ(gateway, ip6))
        return true;
    while (map_next(nm->endpoints, &pos, NULL, &value))
        if (STREQ(((const struct record *)value)->ep.ip6, ip6))
            return true;
    return false;
}

static int choose_ip6(const struct network_manager *nm, const struct network_request *req,
                      struct record *rec, struct error *e)
{
    struct in6_addr addr;

    if (req->ip6 && req->ip6[0]) {
        if (inet_pton(AF_INET6, req->ip6, &addr) != 1 || !cidr6_contains(&nm->net6, &addr))
            return error_set(e, ERR_INVALID, "%.60s is not an address of the network's subnet",
                             req->ip6);
    } else
        ip6_for_ip4(&nm->net6, rec->ip, &addr);
    (void)!inet_ntop(AF_INET6, &addr, rec->ep.ip6, sizeof(rec->ep.ip6));
    if (ip6_in_use(nm, rec->ep.ip6))
        return error_set(e, ERR_CONFLICT, "Address already in use: %s", rec->ep.ip6);
    return 0;
}

static bool ip4_in_use(const struct network_manager *nm, uint32_t ip)
{
    size_t pos = 0;
    void *value;

    if (ip == nm->net.addr || ip == nm->gateway)
        return true;
    while (map_next(nm->endpoints, &pos, NULL, &value))
        if (((const struct record *)value)->ip == ip)
            return true;
    return false;
}

/* Under the lock: chooses the addresses. */
static int choose_addresses(struct network_manager *nm, const struct network_request *req,
                            struct record *rec, struct error *e)
{
    uint32_t mask = cidr4_mask(nm->net.prefix), ip;
    int r;

    if (req->ip && req->ip[0]) {
        if (ip4_parse(req->ip, &ip) < 0 || !cidr4_contains(&nm->net, ip) || (ip & ~mask) == 0 ||
            (ip | mask) == UINT32_MAX)
            return error_set(e, ERR_INVALID, "%.40s is not an address of the network's subnet",
                             req->ip);
        if (ip4_in_use(nm, ip) || pool_take(&nm->pool, ip) < 0)
            return error_set(e, ERR_CONFLICT, "Address already in use: %s", req->ip);
    } else {
        r = pool_take_any(&nm->pool, &ip);
        if (r < 0)
            return error_set(e, ERR_UNAVAILABLE,
                             "no free address is left in the network of bridge %s", nm->bridge);
    }
    rec->ip = ip;
    ip4_format(ip, rec->ep.ip);
    r = nm->ipv6 ? choose_ip6(nm, req, rec, e) : 0;
    if (r < 0)
        pool_give_back(&nm->pool, ip);
    return r;
}

/* Made of the container's id, so that it stays the same all its life, whatever its address is.
 * Locally administered; 40 bits make two alike on one bridge improbable. */
static void choose_mac(struct network_endpoint *ep)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a */

    for (const char *p = ep->container_id; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3;
    h ^= h >> 40;
    snprintf(ep->mac, sizeof(ep->mac), "02:%02x:%02x:%02x:%02x:%02x", (unsigned)(h >> 32 & 0xff),
             (unsigned)(h >> 24 & 0xff), (unsigned)(h >> 16 & 0xff), (unsigned)(h >> 8 & 0xff),
             (unsigned)(h & 0xff));
}

/* Takes the container's place among the endpoints. The record is the map's afterwards. */
static int enter_record(struct network_manager *nm, const struct network_request *req,
                        struct record *rec, struct error *e)
{
    int r;

    pthread_mutex_lock(&nm->lock);
    if (map_get(nm->endpoints, rec->ep.container_id))
        r = error_set(e, ERR_CONFLICT, "container %.12s has a network endpoint already",
                      rec->ep.container_id);
    else
        r = choose_addresses(nm, req, rec, e);
    if (r >= 0) {
        fill_common(nm, &rec->ep);
        if (!rec->ep.mac[0])
            choose_mac(&rec->ep);
        (void)map_set(nm->endpoints, rec->ep.container_id, rec);
    }
    pthread_mutex_unlock(&nm->lock);
    return r;
}

/* Leaves the map; the address is given back only when nothing in the kernel speaks of it. */
static struct record *remove_record(struct network_manager *nm, const char *container_id)
{
    pthread_mutex_lock(&nm->lock);
    struct record *rec = map_remove(nm->endpoints, container_id);
    if (rec && rec->published && (rec->ep.nports || rec->ep.priority))
        nm->changes++;
    pthread_mutex_unlock(&nm->lock);
    return rec;
}

static void give_back(struct network_manager *nm, uint32_t ip)
{
    pthread_mutex_lock(&nm->lock);
    pool_give_back(&nm->pool, ip);
    pthread_mutex_unlock(&nm->lock);
}

static int reserve_bridge(struct network_manager *nm, const char *container_id,
                          const struct network_request *req, struct network_endpoint *ret,
                          struct error *e)
{
    AUTOPTR(record) struct record *rec = xcalloc(1, sizeof(*rec));
    struct network_endpoint *ep = &rec->ep;
    int r = 0;

    if (!nm->bridge[0])
        return error_set(
            e, ERR_INVALID,
            "the bridge network is switched off (--bridge-name=none): use --network none, "
            "host or container:ID");
    if (req->nports && !nm->nftables)
        return error_set(e, ERR_INVALID,
                         "ports can not be published: pouchd runs with --nftables=false");
    if (req->priority && !nm->nftables)
        return error_set(e, ERR_INVALID,
                         "a packet priority needs nftables: pouchd runs with --nftables=false");
    if (strlen(container_id) >= sizeof(ep->container_id))
        return error_set(e, ERR_INVALID, "container id is too long");
    strcpy(ep->container_id, container_id); /* fits */
    if (req->mac && req->mac[0])
        r = check_mac(req->mac, ep->mac, e);
    if (r >= 0)
        r = ports_reserve(req->ports, req->nports, nm->ipv6, &ep->ports, &rec->holds, e);
    if (r < 0)
        return r;
    ep->nports = rec->holds.len;
    ep->priority = req->priority;
    random_hex(ep->endpoint_id, 32);
    snprintf(ep->host_ifname, sizeof(ep->host_ifname), "veth%.8s", ep->endpoint_id);
    r = enter_record(nm, req, rec, e);
    if (r < 0)
        return r;
    /* From here on the map owns it; nobody else touches this container's record. */
    struct record *entered = take_ptr(rec);
    r = records_insert(nm->store, &entered->ep, e);
    if (r < 0) {
        rec = remove_record(nm, container_id);
        if (rec)
            give_back(nm, rec->ip);
        return r;
    }
    network_endpoint_copy(ret, &entered->ep);
    return 0;
}

int network_reserve(struct network_manager *nm, const char *container_id,
                    const struct network_request *req, struct network_endpoint *ret,
                    struct error *e)
{
    struct network_endpoint ep = {0};
    static const char *const names[NETWORK_MODE_MAX] = {"none", "host", "", "bridge"};
    int r = parse_mode(req->mode, &ep.mode, e);

    if (r < 0)
        return r;
    if (ep.mode == NETWORK_BRIDGE)
        return reserve_bridge(nm, container_id, req, ret, e);
    snprintf(ep.container_id, sizeof(ep.container_id), "%s", container_id);
    strcpy(ep.network_name, names[ep.mode]);
    if (ep.network_name[0]) /* no id of its own is needed: the name, in hex digits */
        for (size_t i = 0; i < 32; i++)
            snprintf(ep.network_id + 2 * i, 3, "%02x",
                     (unsigned)ep.network_name[i % strlen(ep.network_name)]);
    *ret = ep;
    return 0;
}

/* --- ports of an endpoint that is attached ------------------------------------------------------ */

static bool same_port(const struct network_port *a, const struct network_port *b)
{
    return ports_compare(a, b) == 0;
}

static bool has_port(const struct network_port *list, size_t n, const struct network_port *p)
{
    for (size_t i = 0; i < n; i++)
        if (same_port(&list[i], p))
            return true;
    return false;
}

/* The endpoint as it shall be, and what goes of it. */
static void plan_ports(const struct network_endpoint *now, const struct network_port *add,
                       size_t nadd, const struct network_port *rm, size_t nrm,
                       struct network_endpoint *next, struct network_endpoint *gone)
{
    *next = *gone = *now;
    next->ports = xcalloc(now->nports + nadd + 1, sizeof(next->ports[0]));
    gone->ports = xcalloc(now->nports + 1, sizeof(gone->ports[0]));
    next->nports = gone->nports = 0;
    for (size_t i = 0; i < now->nports; i++) {
        const struct network_port *p = &now->ports[i];

        if (has_port(rm, nrm, p))
            gone->ports[gone->nports++] = *p;
        else
            next->ports[next->nports++] = *p;
    }
    for (size_t i = 0; i < nadd; i++)
        next->ports[next->nports++] = add[i];
    qsort(next->ports, next->nports, sizeof(next->ports[0]), ports_compare);
}

/* Puts the ports into the record; false when the endpoint has gone meanwhile. */
static bool set_ports(struct network_manager *nm, const struct network_endpoint *ep)
{
    struct network_port *ports = xmemdup(ep->ports, (ep->nports + 1) * sizeof(ports[0]));

    pthread_mutex_lock(&nm->lock);
    struct record *rec = map_get(nm->endpoints, ep->container_id);
    bool found = rec && STREQ(rec->ep.endpoint_id, ep->endpoint_id);
    if (found) {
        free(rec->ep.ports);
        rec->ep.ports = ports;
        rec->ep.nports = ep->nports;
        nm->changes++;
    }
    pthread_mutex_unlock(&nm->lock);
    if (!found)
        free(ports);
    return found;
}

/* Hands the new holds to the record and gives up those of the ports that went. */
static void exchange_holds(struct network_manager *nm, const struct network_endpoint *gone,
                           struct port_holds *added)
{
    pthread_mutex_lock(&nm->lock);
    struct record *rec = map_get(nm->endpoints, gone->container_id);
    if (rec && STREQ(rec->ep.endpoint_id, gone->endpoint_id)) {
        for (size_t i = 0; i < gone->nports; i++)
            port_holds_drop(&rec->holds, &gone->ports[i]);
        rec->holds.fds = xreallocarray(rec->holds.fds, rec->holds.len + added->len + 1,
                                       sizeof(rec->holds.fds[0]));
        for (size_t i = 0; i < added->len; i++)
            rec->holds.fds[rec->holds.len++] = added->fds[i];
        added->len = 0;
    }
    pthread_mutex_unlock(&nm->lock);
}

int network_change_ports(struct network_manager *nm, const char *container_id,
                         const struct port_spec *add, size_t nadd, const struct network_port *rm,
                         size_t nrm, struct network_endpoint *ret, struct error *e)
{
    CLEANUP(network_endpoint_done) struct network_endpoint now = {0};
    CLEANUP(network_endpoint_done) struct network_endpoint next = {0};
    CLEANUP(network_endpoint_done) struct network_endpoint gone = {0};
    CLEANUP(port_holds_done) struct port_holds holds = {0};
    AUTOFREE struct network_port *ports = NULL;
    struct network_endpoint fresh;
    int r;

    if (network_lookup(nm, container_id, &now) < 0)
        return error_set(e, ERR_NOT_FOUND, "container %.12s has no address on the bridge network",
                         container_id);
    if (nadd && !nm->nftables)
        return error_set(e, ERR_INVALID,
                         "ports can not be published: pouchd runs with --nftables=false");
    r = ports_reserve(add, nadd, nm->ipv6, &ports, &holds, e);
    if (r < 0)
        return r;
    plan_ports(&now, ports, holds.len, rm, nrm, &next, &gone);
    fresh = now;
    fresh.ports = ports;
    fresh.nports = holds.len;
    /* On record and in memory first: a repair of the rules, or the next pouchd, completes it. */
    r = records_set_ports(nm->store, &next, e);
    if (r >= 0 && !set_ports(nm, &next))
        r = error_set(e, ERR_CONFLICT, "container %.12s has no network endpoint (released?)",
                      container_id);
    if (r >= 0)
        r = rules_publish(nm, &fresh, e);
    if (r < 0) {
        rules_withdraw(nm, &fresh);
        (void)set_ports(nm, &now);
        (void)!records_set_ports(nm->store, &now, NULL);
        return r;
    }
    rules_withdraw(nm, &gone);
    exchange_holds(nm, &gone, &holds);
    network_endpoint_copy(ret, &next);
    return 0;
}

void network_detach(struct network_manager *nm, const char *container_id)
{
    CLEANUP(network_endpoint_done) struct network_endpoint ep = {0};

    if (network_lookup(nm, container_id, &ep) == 0)
        bridge_detach(&ep);
    network_release(nm, container_id);
}

/* --- attaching and releasing ------------------------------------------------------------------ */

/* Marks the ports as to be in the maps; false when the endpoint has been released meanwhile. */
static bool set_published(struct network_manager *nm, const struct network_endpoint *ep,
                          bool published)
{
    pthread_mutex_lock(&nm->lock);
    struct record *rec = map_get(nm->endpoints, ep->container_id);
    bool found = rec && STREQ(rec->ep.endpoint_id, ep->endpoint_id);
    if (found) {
        rec->published = published;
        if (rec->ep.nports || rec->ep.priority)
            nm->changes++;
    }
    pthread_mutex_unlock(&nm->lock);
    return found;
}

int network_attach(struct network_manager *nm, const struct network_endpoint *ep, int netns_fd,
                   struct error *e)
{
    if (ep->mode == NETWORK_NONE)
        return loopback_attach(netns_fd, e);
    if (ep->mode != NETWORK_BRIDGE)
        return 0;
    if (!set_published(nm, ep, true))
        return error_set(e, ERR_CONFLICT, "container %.12s has no network endpoint (released?)",
                         ep->container_id);
    int r = bridge_attach(nm, ep, netns_fd, e);
    if (r < 0) {
        (void)set_published(nm, ep, false);
        return r;
    }
    r = nm->nftables ? rules_publish(nm, ep, e) : 0;
    if (r < 0) {
        (void)set_published(nm, ep, false);
        bridge_detach(ep);
    }
    return r;
}

int network_attach_pid(struct network_manager *nm, const struct network_endpoint *ep, pid_t pid,
                       struct error *e)
{
    char path[40];

    if (ep->mode != NETWORK_BRIDGE && ep->mode != NETWORK_NONE)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, errno, "the network namespace of process %d", (int)pid);
    return network_attach(nm, ep, fd, e);
}

void network_release(struct network_manager *nm, const char *container_id)
{
    AUTOPTR(record) struct record *rec = remove_record(nm, container_id);
    struct error e = ERROR_INIT;

    if (!rec)
        return;
    if (rec->published && nm->nftables)
        rules_withdraw(nm, &rec->ep);
    port_holds_done(&rec->holds);
    if (records_delete(nm->store, container_id, &e) < 0)
        log_error("an address can not be given back in the database", "id=%s err=\"%s\"",
                  container_id, error_message(&e));
    error_done(&e);
    give_back(nm, rec->ip);
}

int network_lookup(struct network_manager *nm, const char *container_id,
                   struct network_endpoint *ret)
{
    pthread_mutex_lock(&nm->lock);
    const struct record *rec = map_get(nm->endpoints, container_id);
    if (rec)
        network_endpoint_copy(ret, &rec->ep);
    pthread_mutex_unlock(&nm->lock);
    return rec ? 0 : -ENOENT;
}

void network_sweep(struct network_manager *nm, char *const *live_ids)
{
    AUTOPTR(strv) char **dead = NULL;
    size_t pos = 0;
    const char *id;
    struct map *live = map_new();

    for (size_t i = 0; live_ids && live_ids[i]; i++)
        (void)map_set(live, live_ids[i], nm);
    pthread_mutex_lock(&nm->lock);
    while (map_next(nm->endpoints, &pos, &id, NULL))
        if (!map_get(live, id))
            strv_push(&dead, id);
    pthread_mutex_unlock(&nm->lock);
    map_free(live, NULL);
    for (size_t i = 0; dead && dead[i]; i++) {
        log_debug("releasing the address of a container that has ended", "id=%s", dead[i]);
        network_release(nm, dead[i]);
    }
    if (nm->bridge[0])
        bridge_sweep(nm);
}

void network_info(struct network_manager *nm, struct network_info *ret)
{
    char text[INET6_ADDRSTRLEN];

    *ret = (struct network_info){.mtu = nm->mtu, .icc = nm->icc, .ip_masq = nm->ip_masq};
    if (!nm->bridge[0])
        return;
    strcpy(ret->bridge, nm->bridge);
    memcpy(ret->network_id, nm->network_id, sizeof(ret->network_id));
    ip4_format(nm->net.addr & cidr4_mask(nm->net.prefix), text);
    snprintf(ret->subnet, sizeof(ret->subnet), "%s/%u", text, nm->net.prefix);
    ip4_format(nm->gateway, ret->gateway);
    ret->ipv6 = nm->ipv6;
    if (nm->ipv6) {
        struct in6_addr net6;
        ip6_for_ip4(&nm->net6, 0, &net6);
        (void)!inet_ntop(AF_INET6, &net6, text, sizeof(text));
        snprintf(ret->subnet6, sizeof(ret->subnet6), "%s/%u", text, nm->net6.prefix);
        (void)!inet_ntop(AF_INET6, &nm->gateway6, ret->gateway6, sizeof(ret->gateway6));
    }
    pthread_mutex_lock(&nm->lock);
    ret->nendpoints = map_len(nm->endpoints);
    pthread_mutex_unlock(&nm->lock);
}
