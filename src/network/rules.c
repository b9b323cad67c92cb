/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nft table: written as a whole by one `nft -f -` when it is not there or not whole; published
 * ports come and go as elements of its maps. docs/internals/network.md shows the table.
 *
 * Someone may flush the rules at any time. What the maps must hold is always known from memory, so
 * a repair compares and completes; `changes` tells it when the truth moved on meanwhile.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/strv.h"
#include "network/network-priv.h"
#include "sys/conntrack.h"

#define REPAIR_ROUNDS_MAX 50

enum { MAP4, MAP4_IP, MAP6, MAP6_IP, PRIORITY4, PRIORITY6, MAP_COUNT };
static const struct {
    const char *name;
    const char *type;
} maps[MAP_COUNT] = {
    {"publish4", "inet_proto . inet_service : ipv4_addr . inet_service"},
    {"publish4_ip", "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"},
    {"publish6", "inet_proto . inet_service : ipv6_addr . inet_service"},
    {"publish6_ip", "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"},
    {"priority4", "ipv4_addr : classid"},
    {"priority6", "ipv6_addr : classid"},
};

/* --- sockets --------------------------------------------------------------------------------- */

/*
 * The kernel makes who closes a netfilter socket wait for the clean-up of what was deleted (an RCU
 * grace period, 10 ms and more; nft_rcv_nl_event() in nf_tables_api.c). So sockets are kept.
 */
static int socket_get(struct network_manager *nm)
{
    int fd = -EBADF;

    pthread_mutex_lock(&nm->lock);
    if (nm->nft_nfds > 0)
        fd = nm->nft_fds[--nm->nft_nfds];
    pthread_mutex_unlock(&nm->lock);
    return fd >= 0 ? fd : nl_open(NETLINK_NETFILTER);
}

static void socket_put(struct network_manager *nm, int fd)
{
    if (fd < 0)
        return;
    pthread_mutex_lock(&nm->lock);
    if (nm->nft_nfds < NFT_FDS_MAX) {
        nm->nft_fds[nm->nft_nfds++] = fd;
        fd = -EBADF;
    }
    pthread_mutex_unlock(&nm->lock);
    if (fd >= 0)
        close(fd);
}

/* --- elements ------------------------------------------------------------------------------- */

struct elements {
    struct nft_element *items;
    size_t len;
    size_t cap;
};

static struct nft_element *elements_add(struct elements *list)
{
    if (list->len == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 16;
        list->items = xreallocarray(list->items, list->cap, sizeof(list->items[0]));
    }
    struct nft_element *item = &list->items[list->len++];
    *item = (struct nft_element){0};
    return item;
}

static void elements_done(struct elements *list)
{
    free(list->items);
    *list = (struct elements){0};
}

static void append_key(uint8_t *at, size_t *len, const void *data, size_t n)
{
    memcpy(at + *len, data, n);
    *len += (n + 3) / 4 * 4; /* each part takes whole registers of 4 bytes */
}

static bool is_wildcard(const char *ip)
{
    return STREQ(ip, "0.0.0.0") || STREQ(ip, "::");
}

static int map_of(const struct network_port *p)
{
    bool v6 = strchr(p->host_ip, ':') != NULL;

    return v6 ? (is_wildcard(p->host_ip) ? MAP6 : MAP6_IP)
              : (is_wildcard(p->host_ip) ? MAP4 : MAP4_IP);
}

/* One published port as {[host address,] protocol, host port} -> {address, port}. */
static void element_of_port(const struct network_endpoint *ep, const struct network_port *p,
                            struct nft_element *item)
{
    static const uint8_t protocols[PORT_PROTO_MAX] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
    int map = map_of(p);
    int family = map == MAP6 || map == MAP6_IP ? AF_INET6 : AF_INET;
    size_t addr_len = family == AF_INET6 ? 16 : 4;
    uint16_t host_port = htons(p->host_port), container_port = htons(p->container_port);
    uint8_t addr[16] = {0};

    item->set = maps[map].name;
    if (map == MAP4_IP || map == MAP6_IP) {
        (void)inet_pton(family, p->host_ip, addr);
        append_key(item->key, &item->key_len, addr, addr_len);
    }
    append_key(item->key, &item->key_len, &protocols[p->proto], 1);
    append_key(item->key, &item->key_len, &host_port, 2);
    (void)inet_pton(family, family == AF_INET6 ? ep->ip6 : ep->ip, addr);
    append_key(item->data, &item->data_len, addr, addr_len);
    append_key(item->data, &item->data_len, &container_port, 2);
}

/* The container's address -> the priority of its packets, a number of the machine's byte order. */
static void element_of_priority(int map, int family, const char *ip, uint32_t priority,
                                struct nft_element *item)
{
    uint8_t addr[16] = {0};

    item->set = maps[map].name;
    (void)inet_pton(family, ip, addr);
    append_key(item->key, &item->key_len, addr, family == AF_INET6 ? 16 : 4);
    append_key(item->data, &item->data_len, &priority, sizeof(priority));
}

static void elements_of_endpoint(const struct network_endpoint *ep, struct elements *list)
{
    for (size_t i = 0; i < ep->nports; i++)
        element_of_port(ep, &ep->ports[i], elements_add(list));
    if (ep->priority)
        element_of_priority(PRIORITY4, AF_INET, ep->ip, ep->priority, elements_add(list));
    if (ep->priority && ep->ip6[0])
        element_of_priority(PRIORITY6, AF_INET6, ep->ip6, ep->priority, elements_add(list));
}

static int compare_elements(const void *a, const void *b)
{
    const struct nft_element *x = a, *y = b;
    int r = strcmp(x->set, y->set);

    return r ? r : memcmp(x->key, y->key, sizeof(x->key));
}

/* What the maps must hold now, sorted; and the count of changes that this is the state of. */
static uint64_t snapshot(struct network_manager *nm, struct elements *ret)
{
    size_t pos = 0;
    void *value;

    pthread_mutex_lock(&nm->lock);
    uint64_t changes = nm->changes;
    while (map_next(nm->endpoints, &pos, NULL, &value)) {
        const struct record *rec = value;
        if (rec->published)
            elements_of_endpoint(&rec->ep, ret);
    }
    pthread_mutex_unlock(&nm->lock);
    if (ret->len)
        qsort(ret->items, ret->len, sizeof(ret->items[0]), compare_elements);
    return changes;
}

/* --- the table as text ---------------------------------------------------------------------- */

static void put_element(struct buf *out, int map, const struct nft_element *item)
{
    bool v6 = map == MAP6 || map == MAP6_IP;
    size_t addr_len = v6 ? 16 : 4, at = 0;
    int family = v6 ? AF_INET6 : AF_INET;
    char text[INET6_ADDRSTRLEN];
    uint32_t priority;
    uint16_t port;

    if (map == PRIORITY4 || map == PRIORITY6) {
        memcpy(&priority, item->data, sizeof(priority));
        (void)!inet_ntop(map == PRIORITY6 ? AF_INET6 : AF_INET, item->key, text, sizeof(text));
        (void)buf_printf(out, "%s : %x:%x,", text, priority >> 16, priority & 0xffff);
        return;
    }
    if (map == MAP4_IP || map == MAP6_IP) {
        (void)!inet_ntop(family, item->key, text, sizeof(text));
        (void)buf_printf(out, "%s . ", text);
        at = addr_len;
    }
    memcpy(&port, item->key + at + 4, 2);
    (void)buf_printf(out, "%u . %u : ", item->key[at], ntohs(port));
    (void)!inet_ntop(family, item->data, text, sizeof(text));
    memcpy(&port, item->data + addr_len, 2);
    (void)buf_printf(out, "%s . %u,", text, ntohs(port));
}

static void put_maps(struct buf *out, const struct elements *list)
{
    for (int map = 0; map < MAP_COUNT; map++) {
        bool any = false;
        (void)buf_printf(out, "map %s {\ntype %s\n", maps[map].name, maps[map].type);
        for (size_t i = 0; list && i < list->len; i++) {
            if (!STREQ(list->items[i].set, maps[map].name))
                continue;
            (void)buf_puts(out, any ? "" : "elements = { ");
            any = true;
            put_element(out, map, &list->items[i]);
        }
        (void)buf_puts(out, any ? " }\n}\n" : "}\n");
    }
}

/* Translation of host ports, for what comes in, what the host itself sends, and back again. */
static void put_nat(const struct network_manager *nm, struct buf *out)
{
    char net[INET_ADDRSTRLEN], net6[INET6_ADDRSTRLEN];
    const char *br = nm->bridge;

    ip4_format(nm->net.addr & cidr4_mask(nm->net.prefix), net);
    (void)!inet_ntop(AF_INET6, &nm->net6.addr, net6, sizeof(net6));
    (void)buf_puts(out, "chain publish {\n"
                        "dnat ip to ip daddr . meta l4proto . th dport map @publish4_ip\n"
                        "dnat ip to meta l4proto . th dport map @publish4\n"
                        "dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6_ip\n"
                        "dnat ip6 to meta l4proto . th dport map @publish6\n"
                        "}\n"
                        "chain prerouting {\n"
                        "type nat hook prerouting priority dstnat; policy accept;\n"
                        "meta l4proto { tcp, udp, sctp } fib daddr type local jump publish\n"
                        "}\n"
                        "chain output {\n"
                        "type nat hook output priority -100; policy accept;\n"
                        /* nothing comes back to ::1 from elsewhere: IPv6 has no route_localnet */
                        "ip6 daddr ::1 accept\n"
                        "meta l4proto { tcp, udp, sctp } fib daddr type local jump publish\n"
                        "}\n");
    (void)buf_printf(out,
                     "chain postrouting {\n"
                     "type nat hook postrouting priority srcnat; policy accept;\n"
                     /* the host to its own published port by 127.0.0.1 */
                     "oifname \"%s\" ip saddr 127.0.0.0/8 masquerade\n"
                     /* a container to a container's published port by the host's address */
                     "oifname \"%s\" ct status dnat ip saddr %s/%u masquerade\n",
                     br, br, net, nm->net.prefix);
    if (nm->ipv6)
        (void)buf_printf(out, "oifname \"%s\" ct status dnat ip6 saddr %s/%u masquerade\n", br,
                         net6, nm->net6.prefix);
    if (nm->ip_masq)
        (void)buf_printf(out, "oifname != \"%s\" ip saddr %s/%u masquerade\n", br, net,
                         nm->net.prefix);
    /* Global IPv6 addresses are meant to be seen: only unique local ones are hidden. */
    if (nm->ip_masq && nm->ipv6 && (nm->net6.addr.s6_addr[0] & 0xfe) == 0xfc)
        (void)buf_printf(out, "oifname != \"%s\" ip6 saddr %s/%u masquerade\n", br, net6,
                         nm->net6.prefix);
    (void)buf_puts(out, "}\n");
}

static void put_filter(const struct network_manager *nm, struct buf *out)
{
    const char *br = nm->bridge;

    /* route_localnet makes the host take packets to 127/8 from the bridge: only answers may be
     * such, and those have not been translated back yet where this chain stands. */
    (void)buf_printf(out,
                     "chain raw {\n"
                     "type filter hook prerouting priority raw; policy accept;\n"
                     "iifname \"%s\" ip daddr 127.0.0.0/8 drop\n"
                     "}\n"
                     "chain forward {\n"
                     "type filter hook forward priority filter; policy accept;\n"
                     /* here, as the kernel sets it anew for every packet it forwards */
                     "iifname \"%s\" meta priority set ip saddr map @priority4\n"
                     "iifname \"%s\" meta priority set ip6 saddr map @priority6\n"
                     "oifname \"%s\" jump to_containers\n"
                     "}\n"
                     "chain to_containers {\n"
                     "ct state established,related accept\n"
                     "ct status dnat accept\n",
                     br, br, br, br);
    if (nm->icc)
        (void)buf_printf(out, "iifname \"%s\" accept\n", br);
    (void)buf_puts(out, "drop\n}\n");
}

/* The whole table, replacing what is there in one transaction. */
static char *table_text(const struct network_manager *nm, const struct elements *list)
{
    struct buf out = BUF_INIT(BUF_UNLIMITED);

    (void)buf_printf(&out, "table inet %s\ndelete table inet %s\ntable inet %s {\n", nm->table,
                     nm->table, nm->table);
    put_maps(&out, list);
    put_nat(nm, &out);
    put_filter(nm, &out);
    (void)buf_puts(&out, "}\n");
    return buf_take(&out);
}

static uint64_t text_hash(const char *text)
{
    uint64_t h = 14695981039346656037U; /* FNV-1a */

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 1099511628211U;
    return h;
}

/* --- making and repairing -------------------------------------------------------------------- */

static bool census_equal(const struct nft_census *a, const struct nft_census *b)
{
    return a->chains == b->chains && a->rules == b->rules && a->sets == b->sets;
}

/* Something was added to our table: that is the administrator's business. */
static bool census_is_whole(const struct network_manager *nm, const struct nft_census *now)
{
    return nm->whole.chains > 0 && now->chains >= nm->whole.chains &&
           now->rules >= nm->whole.rules && now->sets >= nm->whole.sets;
}

static int delete_elements(struct network_manager *nm, int fd, const struct nft_element *items,
                           size_t n)
{
    atomic_fetch_add(&nm->own_deletions, (int64_t)n);
    int r = nft_elements_del(fd, nm->table, items, n, NULL);
    if (r < 0)
        atomic_fetch_sub(&nm->own_deletions, (int64_t)n);
    return r;
}

static void collect(const struct nft_element *item, void *data)
{
    *elements_add(data) = *item;
}

struct difference {
    struct elements missing, extra;
};

static void difference_done(struct difference *d)
{
    elements_done(&d->missing);
    elements_done(&d->extra);
}

/* Both lists are sorted. */
static void compare_lists(const struct elements *want, const struct elements *have,
                          struct difference *ret)
{
    for (size_t i = 0, k = 0; i < want->len || k < have->len;) {
        int c = i == want->len   ? 1
                : k == have->len ? -1
                                 : compare_elements(&want->items[i], &have->items[k]);
        bool other_data = c == 0 &&
                          memcmp(want->items[i].data, have->items[k].data, NFT_DATA_MAX) != 0;
        if (c < 0 || other_data)
            *elements_add(&ret->missing) = want->items[i];
        if (c > 0 || other_data)
            *elements_add(&ret->extra) = have->items[k];
        i += c <= 0;
        k += c >= 0;
    }
}

/*
 * Makes the maps hold what they must. What is wanted is looked up after what is there: an endpoint
 * is marked as published before its elements are added, so what is there and not wanted is really
 * too much. What seems to be missing may have been withdrawn this moment: then it was added in
 * error, and the next round finds it to be too much.
 * Returns 1 when another round is needed, 0 when all was well or is now.
 */
static int reconcile(struct network_manager *nm, int fd, int *ret_repaired)
{
    CLEANUP(elements_done) struct elements have = {0}, want = {0};
    CLEANUP(difference_done) struct difference d = {0};
    int r = 0;

    for (int map = 0; map < MAP_COUNT && r >= 0; map++)
        r = nft_elements_list(fd, nm->table, maps[map].name, collect, &have);
    if (r < 0)
        return r;
    if (have.len)
        qsort(have.items, have.len, sizeof(have.items[0]), compare_elements);
    uint64_t changes = snapshot(nm, &want);
    compare_lists(&want, &have, &d);
    if (d.extra.len)
        r = delete_elements(nm, fd, d.extra.items, d.extra.len);
    if (r >= 0 && d.missing.len)
        r = nft_elements_add(fd, nm->table, d.missing.items, d.missing.len, NULL);
    if (r < 0)
        return r;
    if (d.missing.len)
        *ret_repaired = 1;
    pthread_mutex_lock(&nm->lock);
    bool still = nm->changes == changes;
    pthread_mutex_unlock(&nm->lock);
    return d.missing.len > 0 || (d.extra.len > 0 && !still);
}

static int write_table(struct network_manager *nm, const struct elements *list, struct error *e)
{
    AUTOFREE char *text = table_text(nm, list);

    return nft_run(nm->nft_program, text, e);
}

/*
 * Compares the table with what it must be and completes it, while containers come and go.
 * Returns 1 when something was missing, 0 when not.
 */
static int repair_by(struct network_manager *nm, int fd, struct error *e)
{
    int repaired = 0;

    for (int round = 0; round < REPAIR_ROUNDS_MAX; round++) {
        struct nft_census now = {0};
        int r = nft_census_take(fd, nm->table, &now);
        if (r >= 0 && census_is_whole(nm, &now)) {
            r = reconcile(nm, fd, &repaired);
            if (r == 0)
                return repaired;
        } else if (r >= 0) {
            CLEANUP(elements_done) struct elements want = {0};
            (void)snapshot(nm, &want);
            r = write_table(nm, &want, e);
            if (r < 0)
                return r;
            repaired = 1;
            if (nm->whole.chains == 0)
                return repaired; /* the first time: nobody else is there yet */
        }
        /* -ENOENT: deleted by someone else (or its own container) since it was looked at */
        if (r < 0 && r != -ENOENT && r != -EEXIST && r != -EBUSY && r != -EINTR)
            return error_set_errno(e, r, "nft table %s can not be repaired", nm->table);
    }
    return error_set(e, ERR_UNAVAILABLE, "nft table %s does not come to rest", nm->table);
}

static int repair(struct network_manager *nm, struct error *e)
{
    int fd = socket_get(nm);

    if (fd < 0)
        return error_set_errno(e, fd, "netlink for nftables");
    int r = repair_by(nm, fd, e);
    socket_put(nm, fd);
    return r;
}

/* Keeps the table of the last run when it is the same and whole; 1 when kept. */
static int keep_table(struct network_manager *nm, int fd, uint64_t hash, struct error *e)
{
    AUTOFREE char *stored = NULL;
    struct nft_census now = {0};
    uint64_t old_hash = 0;
    int r = records_get(nm->store, "rules", &stored, e);

    if (r < 0)
        return r;
    r = nft_census_take(fd, nm->table, &now);
    if (r < 0)
        return error_set_errno(e, r, "nftables can not be read (is nf_tables in the kernel?)");
    if (!stored || sscanf(stored, "%" SCNx64 " %zu %zu %zu", &old_hash, &nm->whole.chains,
                          &nm->whole.rules, &nm->whole.sets) != 4)
        return 0;
    return old_hash == hash && census_equal(&nm->whole, &now) && now.chains > 0;
}

int rules_open(struct network_manager *nm, struct error *e)
{
    AUTOFREE char *plain = NULL;
    AUTOFD int fd = nl_open(NETLINK_NETFILTER);

    nm->nft_program = nft_find_program();
    if (!nm->nft_program)
        return error_set(e, ERR_UNAVAILABLE,
                         "the program nft was not found: install the package nftables, or start "
                         "pouchd with --nftables=false (then no port can be published)");
    if (fd < 0)
        return error_set_errno(e, fd, "netlink for nftables");
    plain = table_text(nm, NULL);
    uint64_t hash = text_hash(plain);
    int r = keep_table(nm, fd, hash, e);
    if (r < 0)
        return r;
    if (!r) {
        nm->whole = (struct nft_census){0};
        r = repair(nm, e);
        if (r < 0)
            return r;
        r = nft_census_take(fd, nm->table, &nm->whole);
        if (r < 0)
            return error_set_errno(e, r, "nftables can not be read");
        AUTOFREE char *value = xasprintf("%" PRIx64 " %zu %zu %zu", hash, nm->whole.chains,
                                         nm->whole.rules, nm->whole.sets);
        r = records_set(nm->store, "rules", value, e);
    } else
        r = repair(nm, e);
    if (r < 0)
        return r;
    nm->watch_fd = nft_watch_open();
    if (nm->watch_fd < 0)
        return error_set_errno(e, nm->watch_fd, "nftables can not be watched");
    return 0;
}

static void *repair_thread(void *data)
{
    struct network_manager *nm = data;
    bool again = true;

    while (again) {
        struct error e = ERROR_INIT;
        int r = repair(nm, &e);
        if (r < 0)
            log_error("nft rules can not be put back", "table=%s err=\"%s\"", nm->table,
                      error_message(&e));
        else if (r > 0)
            log_warn("nft rules were changed by someone else and are put back", "table=%s",
                     nm->table);
        error_done(&e);
        pthread_mutex_lock(&nm->lock);
        again = nm->repair_again;
        nm->repair_again = false;
        nm->repairing = again;
        pthread_mutex_unlock(&nm->lock);
    }
    return NULL;
}

/* Only the loop's thread calls this: it alone starts and joins the repairer. */
static void start_repair(struct network_manager *nm)
{
    pthread_mutex_lock(&nm->lock);
    bool running = nm->repairing;
    if (running)
        nm->repair_again = true;
    else
        nm->repairing = true;
    pthread_mutex_unlock(&nm->lock);
    if (running)
        return;
    if (nm->repairer_started)
        pthread_join(nm->repairer, NULL); /* has ended */
    int r = pthread_create(&nm->repairer, NULL, repair_thread, nm);
    nm->repairer_started = r == 0;
    if (r != 0) {
        log_error("nft rules can not be looked after", "err=\"%s\"", strerror(r));
        pthread_mutex_lock(&nm->lock);
        nm->repairing = false;
        pthread_mutex_unlock(&nm->lock);
    }
}

int network_watch_fd(struct network_manager *nm)
{
    return nm->watch_fd;
}

void network_handle_event(struct network_manager *nm)
{
    struct nft_changes changes;

    if (nm->watch_fd < 0)
        return;
    int r = nft_watch_read(nm->watch_fd, nm->table, &changes);
    if (r < 0) {
        log_error("nftables can not be watched", "err=\"%s\"", strerror(-r));
        return;
    }
    int64_t left = atomic_fetch_sub(&nm->own_deletions, (int64_t)changes.elements) -
                   (int64_t)changes.elements;
    if (left < 0) /* more went than we took away */
        atomic_fetch_add(&nm->own_deletions, -left);
    if (left < 0 || changes.base || changes.lost)
        start_repair(nm);
}

void rules_close(struct network_manager *nm)
{
    if (nm->repairer_started)
        pthread_join(nm->repairer, NULL);
    nm->repairer_started = false;
    if (nm->watch_fd >= 0)
        close(nm->watch_fd);
    nm->watch_fd = -EBADF;
    while (nm->nft_nfds > 0)
        close(nm->nft_fds[--nm->nft_nfds]);
}

void rules_remove(struct network_manager *nm)
{
    AUTOFD int fd = nl_open(NETLINK_NETFILTER);

    if (fd < 0)
        return;
    int r = nft_table_del(fd, nm->table);
    if (r < 0 && r != -ENOENT)
        log_warn("the nft table can not be removed", "table=%s err=\"%s\"", nm->table,
                 strerror(-r));
}

/* --- containers ------------------------------------------------------------------------------ */

struct forgetting {
    const struct network_endpoint *ep;
    uint8_t ip[16]; /* of the container */
    int family;
    bool withdrawn;
};

/*
 * Withdrawn: what is still translated to the container. Published: what came to the host port
 * before and so is not translated to it.
 */
static bool is_stale(const struct ct_flow *flow, void *data)
{
    const struct forgetting *f = data;
    bool to_container = memcmp(flow->reply_src, f->ip, f->family == AF_INET6 ? 16 : 4) == 0;

    if (f->withdrawn)
        return to_container;
    for (size_t i = 0; i < f->ep->nports && !to_container; i++)
        if (f->ep->ports[i].proto == PORT_UDP && f->ep->ports[i].host_port == flow->orig_dst_port)
            return true;
    return false;
}

/*
 * A flow of UDP never ends as long as its client goes on sending from the same port: the kernel
 * would translate it as it did with its first packet for ever. TCP connections end by themselves.
 */
static void forget_flows(const struct network_endpoint *ep, int fd, bool withdrawn)
{
    bool any = false;

    for (size_t i = 0; i < ep->nports && !any; i++)
        any = ep->ports[i].proto == PORT_UDP;
    for (int v6 = 0; v6 < 2 && any; v6++) {
        struct forgetting f = {ep, {0}, v6 ? AF_INET6 : AF_INET, withdrawn};
        if (inet_pton(f.family, v6 ? ep->ip6 : ep->ip, f.ip) != 1)
            continue;
        int r = conntrack_delete(fd, f.family, IPPROTO_UDP, is_stale, &f);
        if (r < 0)
            log_debug("old UDP flows can not be forgotten", "id=%s err=\"%s\"", ep->container_id,
                      strerror(-r));
    }
}

int rules_publish(struct network_manager *nm, const struct network_endpoint *ep, struct error *e)
{
    CLEANUP(elements_done) struct elements list = {0};
    struct nl_failure failure = {0};

    elements_of_endpoint(ep, &list);
    if (list.len == 0)
        return 0;
    int fd = socket_get(nm);
    if (fd < 0)
        return error_set_errno(e, fd, "netlink for nftables");
    int r = nft_elements_add(fd, nm->table, list.items, list.len, &failure);
    if (r >= 0)
        forget_flows(ep, fd, false);
    socket_put(nm, fd);
    if (r == -ENOENT) {
        /* The table has been flushed this moment: the repair brings these elements as well. */
        r = repair(nm, e);
        return r < 0 ? r : 0;
    }
    if (r == -EEXIST || r == -EBUSY)
        return error_set(e, ERR_INTERNAL, "Bind for %s:%u failed: port is already allocated",
                         ep->ports[0].host_ip, ep->ports[0].host_port);
    if (r < 0)
        return error_set_errno(e, r, "ports can not be published in nft table %s (%s)", nm->table,
                               failure.text);
    return 0;
}

void rules_withdraw(struct network_manager *nm, const struct network_endpoint *ep)
{
    CLEANUP(elements_done) struct elements list = {0};

    elements_of_endpoint(ep, &list);
    if (list.len == 0)
        return;
    int fd = socket_get(nm);
    if (fd < 0) {
        log_error("published ports can not be withdrawn", "id=%s err=\"%s\"", ep->container_id,
                  strerror(-fd));
        return;
    }
    int r = delete_elements(nm, fd, list.items, list.len);
    if (r == -ENOENT) { /* one of them is missing, so none was deleted: one by one */
        r = 0;
        for (size_t i = 0; i < list.len; i++) {
            int one = delete_elements(nm, fd, &list.items[i], 1);
            if (one < 0 && one != -ENOENT)
                r = one;
        }
    }
    forget_flows(ep, fd, true);
    socket_put(nm, fd);
    if (r < 0)
        log_error("published ports can not be withdrawn", "id=%s err=\"%s\"", ep->container_id,
                  strerror(-r));
}

/* --- warnings -------------------------------------------------------------------------------- */

static void warn_drop(const char *family, const char *table, const char *chain, void *data)
{
    strv_pushf(data,
               "nft chain %s %s %s drops forwarded packets by its policy: traffic of containers "
               "passes only where that firewall allows it",
               family, table, chain);
}

char **network_warnings(struct network_manager *nm)
{
    char **list = NULL;
    int value = 1;

    if (!nm->bridge[0])
        return NULL;
    if (sysctl_net_read("ipv4/ip_forward", &value) >= 0 && value == 0)
        strv_push(&list, "IPv4 forwarding is disabled");
    AUTOFD int fd = nl_open(NETLINK_NETFILTER);
    if (fd >= 0 && nft_forward_drops(fd, warn_drop, &list) < 0)
        log_debug("nftables can not be read for warnings", NULL);
    return list;
}
