/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of network/: address pools, the bridge, rules, records. */
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fs.h"
#include "base/map.h"
#include "network/network.h"
#include "sys/nft.h"

/* --- ipam.c: address ranges ----------------------------------------------------------------- */

/* IPv4 addresses are in host byte order here. */
struct cidr4 {
    uint32_t addr; /* as written: may have host bits */
    unsigned prefix;
};
struct cidr6 {
    struct in6_addr addr;
    unsigned prefix;
};

uint32_t cidr4_mask(unsigned prefix);
/* "10.1.2.3/24"; a text without a prefix is refused. 0 or -EINVAL. */
int cidr4_parse(const char *text, struct cidr4 *ret) MUST_CHECK;
int cidr6_parse(const char *text, struct cidr6 *ret) MUST_CHECK;
bool cidr4_overlaps(const struct cidr4 *a, const struct cidr4 *b);
bool cidr4_contains(const struct cidr4 *net, uint32_t addr);
bool cidr6_contains(const struct cidr6 *net, const struct in6_addr *addr);
void ip4_format(uint32_t addr, char out[INET_ADDRSTRLEN]);
int ip4_parse(const char *text, uint32_t *ret) MUST_CHECK;

/* The first of the candidates ("10.210.0.0/16"; NULL: the built-in list) that overlaps none of
 * the taken. -ENOSPC when all do, -EINVAL with the bad text in *ret_bad. */
int subnet_choose(char *const *candidates, const struct cidr4 *taken, size_t ntaken,
                  struct cidr4 *ret, const char **ret_bad) MUST_CHECK;

/*
 * Which addresses of a range are taken. Next-fit: the search goes on behind the address given last,
 * so that one just freed is not given again at once. Not locked.
 */
struct pool {
    uint32_t first, last; /* the addresses it may give */
    uint32_t next;
    uint32_t used;
    uint8_t *bits;
};
#define POOL_MAX (1U << 20) /* of a larger range only the first million addresses are given */

/* The addresses of `range` (part of net) but for the network's own and its broadcast address. */
void pool_init(struct pool *p, const struct cidr4 *net, const struct cidr4 *range);
void pool_done(struct pool *p);
/* 0 or -ENOSPC. */
int pool_take_any(struct pool *p, uint32_t *ret) MUST_CHECK;
/* 0, -EADDRINUSE; an address outside of the range is taken by nobody: 0. */
int pool_take(struct pool *p, uint32_t addr) MUST_CHECK;
void pool_give_back(struct pool *p, uint32_t addr);

/* The IPv6 address that goes with an IPv4 address: the network with the low 32 bits of it. */
void ip6_for_ip4(const struct cidr6 *net, uint32_t ip, struct in6_addr *ret);

/* --- ports.c: host ports --------------------------------------------------------------------- */

/*
 * A host port is reserved by a socket that is bound (TCP: listening) to it and drops whatever
 * reaches it: another process that wants the port fails as it should, and `ss -l` shows who has
 * it. One for each struct network_port, in any order: they are only closed all together.
 */
struct port_holds {
    int *fds; /* -EBADF: not held (no such protocol in this kernel) */
    size_t len;
};

/* Chooses and reserves. v6: wildcards are reserved for IPv6 as well. *ret_ports is sorted. */
int ports_reserve(const struct port_spec *specs, size_t n, bool v6, struct network_port **ret_ports,
                  struct port_holds *ret_holds, struct error *e) MUST_CHECK;
/* Reserves exactly these again; what can not be is logged and left open. */
void ports_reserve_again(const struct network_port *ports, size_t n, struct port_holds *ret_holds);
/* Gives up the one that holds this port. */
void port_holds_drop(struct port_holds *holds, const struct network_port *port);
/* For qsort(): the order in which an endpoint has its ports. */
int ports_compare(const void *a, const void *b);
void port_holds_done(struct port_holds *holds);

/* --- the manager ----------------------------------------------------------------------------- */

struct record {
    struct network_endpoint ep;
    struct port_holds holds;
    uint32_t ip;
    bool published; /* its ports are, or are about to be, in the maps */
};

/*
 * `lock` guards endpoints, pool and what says so; it is held for memory only, never across
 * netlink, files or processes.
 */
#define NFT_FDS_MAX 16

struct network_manager {
    /* set by network_open(), then only read */
    struct store *store;
    char bridge[IFNAMSIZ]; /* "" : no bridge network */
    char table[32];
    char network_id[65];
    _Atomic int bridge_index; /* changes when someone deletes the bridge and it is made anew */
    struct cidr4 net;         /* addr is the bridge's address */
    struct cidr6 net6;        /* addr is the bridge's address; prefix 0: no IPv6 */
    uint32_t gateway;
    struct in6_addr gateway6;
    unsigned mtu;
    bool icc, nftables, ip_masq, ip_forward, ipv6;
    bool has_ipv6; /* the kernel knows IPv6, used or not */
    char *nft_program;
    struct nft_census whole; /* what the table consists of when nothing is missing */
    int watch_fd;

    pthread_mutex_t lock;
    int nft_fds[NFT_FDS_MAX]; /* netlink sockets not in use now */
    size_t nft_nfds;
    struct map *endpoints; /* container id -> struct record */
    struct pool pool;
    uint64_t changes; /* of the published ports: counted, so that a repair sees what it missed */
    bool repairing;
    bool repair_again;
    pthread_t repairer;
    bool repairer_started;

    /* deletions of elements of our own that were not heard back yet */
    _Atomic int64_t own_deletions;
};

/* --- drv-bridge.c: the bridge and the veth pairs ---------------------------------------------- */

/* Makes or takes over the bridge; fills bridge_index, net, gateway. */
int bridge_open(struct network_manager *nm, const struct network_params *p,
                struct error *e) MUST_CHECK;
/* Removes the bridge if it is one that Pouch made. */
void bridge_remove(struct network_manager *nm);
int bridge_attach(struct network_manager *nm, const struct network_endpoint *ep, int netns_fd,
                  struct error *e) MUST_CHECK;
/* Only lo. */
int loopback_attach(int netns_fd, struct error *e) MUST_CHECK;
/* Deletes the veth of an endpoint now (where an attachment failed half-way). */
void bridge_detach(const struct network_endpoint *ep);
/* Deletes the veths on the bridge that belong to no endpoint. */
void bridge_sweep(struct network_manager *nm);

/* --- rules.c: the nft table ------------------------------------------------------------------- */

/* Writes the table, or keeps the one that is there when it is whole and the same. */
int rules_open(struct network_manager *nm, struct error *e) MUST_CHECK;
void rules_remove(struct network_manager *nm);
int rules_publish(struct network_manager *nm, const struct network_endpoint *ep,
                  struct error *e) MUST_CHECK;
void rules_withdraw(struct network_manager *nm, const struct network_endpoint *ep);
/* Ends a repair that is under way. */
void rules_close(struct network_manager *nm);

/* --- records.c: the database ------------------------------------------------------------------ */

int records_migrate(struct store *s, struct error *e) MUST_CHECK;
/* Settings: NULL when not there. */
int records_get(struct store *s, const char *key, char **ret, struct error *e) MUST_CHECK;
int records_set(struct store *s, const char *key, const char *value, struct error *e) MUST_CHECK;
int records_insert(struct store *s, const struct network_endpoint *ep, struct error *e) MUST_CHECK;
int records_set_ports(struct store *s, const struct network_endpoint *ep,
                      struct error *e) MUST_CHECK;
int records_delete(struct store *s, const char *container_id, struct error *e) MUST_CHECK;
/* Calls back for each stored endpoint (taken over by the callback). */
int records_load(struct store *s, void (*cb)(void *data, struct network_endpoint *ep), void *data,
                 struct error *e) MUST_CHECK;

/* --- small things ----------------------------------------------------------------------------- */

/* Writes a value to /proc/sys/net/<path> of this thread's namespace: 0 or -errno. */
int sysctl_net_write(const char *path, const char *value) MUST_CHECK;
/* Reads a number; -errno. */
int sysctl_net_read(const char *path, int *ret) MUST_CHECK;
