/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of containers: addresses, the bridge, published ports, name files.
 *
 * The way of a container: network_reserve() takes an address and host ports (nothing in the kernel
 * changes but the reserved ports); when its init waits at the gate, network_attach() makes the
 * veth pair with its far end already in the container's network namespace, sets addresses and
 * routes, and publishes the ports; after its end network_release() withdraws the ports and the
 * address. The veth pair goes with the namespace: nobody waits for it.
 *
 * Every function may be called from any thread. A mutex inside is never held across netlink, disk
 * or nft. Endpoints are the caller's copies: the manager keeps its own.
 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/portspec.h"

struct network_manager;
struct store;

struct network_params {
    const char *bridge;        /* NULL: "pouch0"; "none": no bridge network at all */
    const char *bip;           /* the bridge's own address, "10.1.2.1/24"; NULL: chosen free of
                                  overlap with the host's routes and kept in the database */
    const char *fixed_cidr;    /* part of the subnet containers get addresses from, or NULL */
    const char *gateway;       /* default gateway of containers; NULL: the bridge's address */
    const char *gateway6;      /* the same for IPv6 */
    const char *fixed_cidr_v6; /* IPv6 subnet; NULL: a random unique local /64, kept */
    char *const *pools;        /* subnets to choose from, "10.200.0.0/16"; NULL: built-in list */
    unsigned mtu;              /* 0: 1500 */
    bool ipv6;                 /* the bridge network has IPv6 too */
    bool icc;                  /* containers may talk to each other */
    bool nftables;             /* false: no rule is ever made (then nothing is published) */
    bool ip_masq;              /* containers' traffic leaves with the host's address */
    bool ip_forward;           /* switch the kernel's forwarding on where it is off */
};

#define NETWORK_PARAMS_INIT                                                                        \
    {                                                                                              \
        .icc = true, .nftables = true, .ip_masq = true, .ip_forward = true                         \
    }

enum network_mode {
    NETWORK_NONE,      /* own namespace, loopback only */
    NETWORK_HOST,      /* the host's namespace */
    NETWORK_CONTAINER, /* another container's namespace */
    NETWORK_BRIDGE,
    NETWORK_MODE_MAX
};

/* A published port. host_ip is never empty here: "0.0.0.0" and "::" stand for every address. */
struct network_port {
    enum port_proto proto;
    uint16_t container_port;
    uint16_t host_port;
    char host_ip[PORT_HOST_IP_MAX];
};

struct network_request {
    const char *mode; /* "default", "bridge", "none", "host", "container:ID"; NULL: bridge */
    const char *ip;   /* wanted IPv4 address, or NULL */
    const char *ip6;  /* wanted IPv6 address, or NULL */
    const char *mac;  /* wanted MAC, or NULL: derived from the address */
    const struct port_spec *ports;
    size_t nports;
    uint32_t priority; /* of the packets it sends (bridge only); 0: as they are */
};

/* What a container got. Plain data but for ports; network_endpoint_done() frees those. */
struct network_endpoint {
    enum network_mode mode;
    char container_id[65];
    char network_name[16];         /* "bridge", "none", "host"; "" for NETWORK_CONTAINER */
    char network_id[65];           /* stable 64 hex digits of the bridge, none, host network */
    char endpoint_id[65];          /* bridge only, else "" like all that follows */
    char ip[INET_ADDRSTRLEN];      /* "10.88.0.2" */
    unsigned prefix;               /* 16 */
    char gateway[INET_ADDRSTRLEN]; /* "10.88.0.1" */
    char ip6[INET6_ADDRSTRLEN];    /* "" without IPv6 */
    unsigned prefix6;              /* 64 */
    char gateway6[INET6_ADDRSTRLEN];
    char mac[18];               /* "02:42:0a:58:00:02" */
    char host_ifname[IFNAMSIZ]; /* host side of the veth pair */
    unsigned mtu;
    uint32_t priority;          /* skb priority of what it sends beyond the bridge; 0: not set */
    struct network_port *ports; /* sorted by container port, protocol, host address */
    size_t nports;
};

struct network_info {
    char bridge[IFNAMSIZ]; /* "" when off */
    char subnet[INET_ADDRSTRLEN + 4];
    char gateway[INET_ADDRSTRLEN];
    char subnet6[INET6_ADDRSTRLEN + 5]; /* "" without IPv6 */
    char gateway6[INET6_ADDRSTRLEN];
    char network_id[65]; /* of the bridge network */
    unsigned mtu;
    bool icc, ip_masq, ipv6;
    size_t nendpoints;
};

/*
 * Chooses or finds the subnet, makes the bridge (an existing one is kept), writes the nft table,
 * loads the endpoints that the database knows and publishes their ports again. Call
 * network_sweep() afterwards with what lives. store is borrowed.
 * ERR_INVALID names the bad setting; ERR_UNAVAILABLE: nft is missing or the subnet is taken.
 */
int network_open(const struct network_params *p, struct store *store, struct network_manager **ret,
                 struct error *e) MUST_CHECK;

/*
 * Ends. The bridge, the table and the endpoints stay for the next start as long as an endpoint is
 * left; when none is left and remove is true, the bridge and the table go too.
 */
void network_close(struct network_manager *nm, bool remove);

/*
 * Takes an address and the host ports. ERR_INVALID: bad mode, address outside of the subnet;
 * ERR_CONFLICT: address in use; ERR_INTERNAL (500, as Docker): "Bind for 0.0.0.0:8080 failed:
 * port is already allocated"; ERR_UNAVAILABLE: no address left.
 * A container that has an endpoint already gets ERR_CONFLICT: release first.
 */
int network_reserve(struct network_manager *nm, const char *container_id,
                    const struct network_request *req, struct network_endpoint *ret,
                    struct error *e) MUST_CHECK;

/*
 * Sets the network namespace up: lo, and for the bridge eth0 with addresses and routes; then
 * publishes the ports. NETWORK_HOST and NETWORK_CONTAINER: nothing to do. On failure nothing is
 * left in the kernel (the reservation stays: release it).
 */
int network_attach(struct network_manager *nm, const struct network_endpoint *ep, int netns_fd,
                   struct error *e) MUST_CHECK;
/* The same by /proc/<pid>/ns/net. */
int network_attach_pid(struct network_manager *nm, const struct network_endpoint *ep, pid_t pid,
                       struct error *e) MUST_CHECK;

/*
 * Publishes further ports of an endpoint that is attached, and withdraws some (each as the endpoint
 * has it; one that it has not is passed over). All of it or nothing; *ret is the endpoint then.
 * ERR_NOT_FOUND without an endpoint; otherwise as network_reserve().
 */
int network_change_ports(struct network_manager *nm, const char *container_id,
                         const struct port_spec *add, size_t nadd, const struct network_port *rm,
                         size_t nrm, struct network_endpoint *ret, struct error *e) MUST_CHECK;

/* Takes a container that goes on running off its network: eth0 goes at once; then as
 * network_release(). */
void network_detach(struct network_manager *nm, const char *container_id);

/* Withdraws ports and address. No error when there is none; failures are logged. Returns at once:
 * the veth pair is deleted by the kernel with the namespace. */
void network_release(struct network_manager *nm, const char *container_id);

/* What the container has now (for inspect after a restart of the engine): -ENOENT when nothing. */
int network_lookup(struct network_manager *nm, const char *container_id,
                   struct network_endpoint *ret) MUST_CHECK;

/* Releases every endpoint whose container is not in live_ids (NULL-ended), and deletes veths on
 * the bridge that belong to none. Called once at start. */
void network_sweep(struct network_manager *nm, char *const *live_ids);

void network_info(struct network_manager *nm, struct network_info *ret);

void network_endpoint_done(struct network_endpoint *ep);
void network_endpoint_copy(struct network_endpoint *dst, const struct network_endpoint *src);

/*
 * Someone may flush our rules (`nft flush ruleset`, a firewall's restart): the daemon's loop
 * watches this fd for EPOLLIN (level-triggered) and calls network_handle_event(), which puts back
 * what is missing. -EBADF when nftables are off.
 */
int network_watch_fd(struct network_manager *nm);
void network_handle_event(struct network_manager *nm);

/* What of the host's settings may keep traffic from flowing (other firewalls dropping forwarded
 * packets), one text each, for `info` and the log; NULL when nothing. The caller frees it. */
char **network_warnings(struct network_manager *nm);

/* --- hosts, hostname, resolv.conf ----------------------------------------------------------- */

struct network_files {
    const char *hostname;     /* written to hostname, and as an alias in hosts */
    const char *domainname;   /* or NULL */
    const char *ip;           /* or NULL / "": no line for the host name (host network) */
    const char *ip6;          /* or NULL / "" */
    char *const *extra_hosts; /* "name:ip" or "name=ip"; ip may be "host-gateway" */
    const char *host_gateway; /* what "host-gateway" stands for, or NULL */
    char *const *dns;         /* servers; NULL: the host's */
    char *const *dns_search;  /* "." alone: none */
    char *const *dns_options;
    const char *resolv_source; /* NULL: /etc/resolv.conf of the host */
    bool host_network;         /* servers on loopback addresses are kept, hosts is the host's */
};

/* Writes `hosts`, `hostname` and `resolv.conf` into dir (0644). ERR_INVALID names a bad extra
 * host or server. Needs no manager. */
int network_write_files(const char *dir, const struct network_files *f, struct error *e) MUST_CHECK;
