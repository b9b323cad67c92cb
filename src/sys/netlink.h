/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink: batches of requests in one send, and the rtnetlink requests Pouch needs. Built on
 * libmnl's message functions.
 *
 * A socket is a plain fd used by one thread at a time. Requests are collected in a batch and sent
 * by nl_batch_run(), which waits for the kernel's answer: rtnetlink and nf_tables both answer
 * within the send, so this never sleeps for long.
 */
#pragma once

#include <linux/netlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

/* Opens a socket of a bus (NETLINK_ROUTE, NETLINK_NETFILTER) in this thread's network namespace.
 * Returns the fd or -errno. */
int nl_open(int bus) MUST_CHECK;

/*
 * The same inside another network namespace: the calling thread enters it for the call of
 * socket(2) and returns. Should it not be able to return, the process is ended: a thread in a
 * wrong namespace would do harm unseen.
 */
int nl_open_in(int netns_fd, int bus) MUST_CHECK;

struct nl_batch {
    char *data;
    size_t len;
    size_t cap;
    size_t last; /* offset of the message that asks for an answer: the last finished */
    unsigned count;
};

#define NL_BATCH_INIT                                                                              \
    {                                                                                              \
        NULL, 0, 0, 0, 0                                                                           \
    }
#define NL_MESSAGE_MAX 2048 /* room for any rtnetlink request made here */

/* Which request of a batch failed, and the kernel's own words when it gave any. */
struct nl_failure {
    unsigned index; /* in the batch, from 0 */
    char text[96];  /* "" when the kernel said nothing */
};

/*
 * Starts a message with room for max bytes in all; what is put into it (mnl_attr_put…()) counts
 * once nl_batch_finish() was called. The header pointer is valid until then.
 */
struct nlmsghdr *nl_batch_start(struct nl_batch *b, uint16_t type, uint16_t flags,
                                size_t max) MUST_CHECK;
/* The extra header after nlmsghdr, zeroed. */
void *nl_batch_extra(struct nlmsghdr *h, size_t len);
void nl_batch_finish(struct nl_batch *b, struct nlmsghdr *h);
void nl_batch_clear(struct nl_batch *b);
void nl_batch_done(struct nl_batch *b);

/*
 * Sends all messages and reads the answers. 0, or -errno of the first that failed (the kernel
 * carries on with the others, except in an nf_tables transaction, where nothing is done then).
 * The batch is empty afterwards and may be used again. failure may be NULL.
 */
int nl_batch_run(int fd, struct nl_batch *b, struct nl_failure *ret_failure) MUST_CHECK;

/* Called for each answer of a dump; a non-zero return value ends the dump with it. */
typedef int (*nl_message_cb)(const struct nlmsghdr *h, void *data);
/* A dump request of `extra_len` bytes after the header. -EINTR: the table changed meanwhile. */
int nl_dump(int fd, uint16_t type, const void *extra, size_t extra_len, nl_message_cb cb,
            void *data) MUST_CHECK;

/* --- requests of rtnetlink ------------------------------------------------------------------ */

struct nl_veth {
    const char *name;      /* here */
    const char *peer_name; /* there */
    int peer_netns_fd;
    int master; /* ifindex of the bridge, 0: none */
    unsigned mtu;
    const uint8_t *peer_mac; /* 6 bytes, or NULL */
};
void nl_put_veth(struct nl_batch *b, const struct nl_veth *v);

/* A bridge without spanning tree and forward delay, with a fixed MAC. */
void nl_put_bridge(struct nl_batch *b, const char *name, const uint8_t mac[6], unsigned mtu,
                   const char *alias);

/* A change of a link given by index or (index 0) by name: one field, as its own message. */
void nl_put_link_up(struct nl_batch *b, int index, const char *name);
/* No link-local IPv6 address by itself: neither duplicate detection nor router solicitations. */
void nl_put_link_no_addrconf(struct nl_batch *b, int index, const char *name);
/* A bridge port's ways: isolated ones do not reach each other; a hairpin one may be sent back what
 * came from it. */
void nl_put_port(struct nl_batch *b, const char *name, bool isolated, bool hairpin);
/* Frames for that address go to this port of a bridge, and frames that come from it elsewhere do not
 * change that (NTF_STICKY, Linux 5.0); goes with the port. */
void nl_put_fdb(struct nl_batch *b, int index, const uint8_t mac[6]);
/* Every bridged packet passes the IP hooks of netfilter too (br_netfilter). */
void nl_put_bridge_filtered(struct nl_batch *b, int index, bool on);
void nl_put_link_master(struct nl_batch *b, const char *name, int master);
void nl_put_link_mtu(struct nl_batch *b, int index, unsigned mtu);
void nl_put_link_del(struct nl_batch *b, int index);

/* addr points to 4 or 16 bytes. An address that is there already is no failure. */
void nl_put_addr(struct nl_batch *b, int index, int family, const void *addr, unsigned prefix);
void nl_put_addr_del(struct nl_batch *b, int index, int family, const void *addr, unsigned prefix);
/* The default route through a gateway. */
void nl_put_default_route(struct nl_batch *b, int index, int family, const void *gateway);

struct nl_link {
    int index;
    int master;
    unsigned flags;
    unsigned mtu;
    bool is_up; /* RFC 2863 state "up": it carries packets */
    char name[IFNAMSIZ];
    char kind[16];
    char alias[32];
};
/* One link by name: 0, -ENODEV. */
int nl_link_get(int fd, const char *name, struct nl_link *ret) MUST_CHECK;

struct nl_addr {
    int index;
    int family;
    unsigned prefix;
    uint8_t addr[16];
};
struct nl_route {
    int family;
    int index; /* 0: several or none */
    unsigned prefix;
    uint8_t dst[16];
};
/* Whole tables; the caller frees *ret. */
int nl_links(int fd, struct nl_link **ret, size_t *ret_len) MUST_CHECK;
int nl_addrs(int fd, struct nl_addr **ret, size_t *ret_len) MUST_CHECK;
/* Routes of the main table to networks (no default routes, no host's own addresses). */
int nl_routes(int fd, struct nl_route **ret, size_t *ret_len) MUST_CHECK;
