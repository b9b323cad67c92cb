/* SPDX-License-Identifier: Apache-2.0 */
/* Address ranges: parsing, overlap, and the pool that gives addresses (next-fit bitmap). */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "network/network-priv.h"

/*
 * Subnets to choose from when none is configured. 10.210/16 and its neighbours are used by few;
 * 172.17-20 are left to Docker, 10.88 to Podman. The 192.168 ones stay clear of home routers.
 */
static const char *const builtin_pools[] = {
    "10.210.0.0/16",    "10.211.0.0/16",    "10.212.0.0/16",    "10.213.0.0/16",
    "10.214.0.0/16",    "10.215.0.0/16",    "10.216.0.0/16",    "10.217.0.0/16",
    "172.26.0.0/16",    "172.27.0.0/16",    "172.28.0.0/16",    "172.29.0.0/16",
    "172.30.0.0/16",    "172.31.0.0/16",    "192.168.160.0/20", "192.168.176.0/20",
    "192.168.192.0/20", "192.168.208.0/20", "192.168.224.0/20", NULL,
};

uint32_t cidr4_mask(unsigned prefix)
{
    assert(prefix <= 32);
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

/* Cuts "/prefix" off a copy of the text. */
static int cut_prefix(const char *text, char *addr, size_t size, unsigned max, unsigned *ret)
{
    const char *slash = strchr(text, '/');
    uint64_t value;

    if (!slash || (size_t)(slash - text) >= size || parse_u64(slash + 1, &value) < 0 || value > max)
        return -EINVAL;
    memcpy(addr, text, (size_t)(slash - text));
    addr[slash - text] = '\0';
    *ret = (unsigned)value;
    return 0;
}

int ip4_parse(const char *text, uint32_t *ret)
{
    struct in_addr addr;

    if (inet_pton(AF_INET, text, &addr) != 1)
        return -EINVAL;
    *ret = ntohl(addr.s_addr);
    return 0;
}

void ip4_format(uint32_t addr, char out[INET_ADDRSTRLEN])
{
    struct in_addr a = {htonl(addr)};

    (void)!inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN);
}

int cidr4_parse(const char *text, struct cidr4 *ret)
{
    char addr[INET_ADDRSTRLEN];
    struct cidr4 c;

    if (cut_prefix(text, addr, sizeof(addr), 32, &c.prefix) < 0 || ip4_parse(addr, &c.addr) < 0)
        return -EINVAL;
    *ret = c;
    return 0;
}

int cidr6_parse(const char *text, struct cidr6 *ret)
{
    char addr[INET6_ADDRSTRLEN];
    struct cidr6 c;

    if (cut_prefix(text, addr, sizeof(addr), 128, &c.prefix) < 0 ||
        inet_pton(AF_INET6, addr, &c.addr) != 1)
        return -EINVAL;
    *ret = c;
    return 0;
}

bool cidr4_overlaps(const struct cidr4 *a, const struct cidr4 *b)
{
    uint32_t mask = cidr4_mask(a->prefix < b->prefix ? a->prefix : b->prefix);

    return (a->addr & mask) == (b->addr & mask);
}

bool cidr4_contains(const struct cidr4 *net, uint32_t addr)
{
    uint32_t mask = cidr4_mask(net->prefix);

    return (net->addr & mask) == (addr & mask);
}

bool cidr6_contains(const struct cidr6 *net, const struct in6_addr *addr)
{
    for (unsigned bit = 0; bit < net->prefix; bit += 8) {
        unsigned rest = net->prefix - bit;
        uint8_t mask = rest >= 8 ? 0xff : (uint8_t)(0xff << (8 - rest));
        if ((net->addr.s6_addr[bit / 8] ^ addr->s6_addr[bit / 8]) & mask)
            return false;
    }
    return true;
}

int subnet_choose(char *const *candidates, const struct cidr4 *taken, size_t ntaken,
                  struct cidr4 *ret, const char **ret_bad)
{
    const char *const *list = candidates && candidates[0] ? (const char *const *)candidates
                                                          : builtin_pools;

    for (size_t i = 0; list[i]; i++) {
        struct cidr4 c;
        bool free_of_overlap = true;
        if (cidr4_parse(list[i], &c) < 0 || c.prefix > 29 || c.prefix < 8) {
            *ret_bad = list[i];
            return -EINVAL;
        }
        for (size_t k = 0; k < ntaken && free_of_overlap; k++)
            free_of_overlap = !cidr4_overlaps(&c, &taken[k]);
        if (free_of_overlap) {
            c.addr &= cidr4_mask(c.prefix);
            *ret = c;
            return 0;
        }
    }
    return -ENOSPC;
}

void pool_init(struct pool *p, const struct cidr4 *net, const struct cidr4 *range)
{
    uint32_t net_mask = cidr4_mask(net->prefix), range_mask = cidr4_mask(range->prefix);
    uint32_t network = net->addr & net_mask, broadcast = network | ~net_mask;

    *p = (struct pool){.first = range->addr & range_mask};
    p->last = p->first | ~range_mask;
    if (net->prefix < 31) {
        if (p->first == network)
            p->first++;
        if (p->last == broadcast)
            p->last--;
    }
    if (p->last - p->first >= POOL_MAX)
        p->last = p->first + POOL_MAX - 1;
    p->next = p->first;
    p->bits = xcalloc((p->last - p->first) / 8 + 1, 1);
}

void pool_done(struct pool *p)
{
    free(p->bits);
    *p = (struct pool){0};
}

static bool pool_test_and_set(struct pool *p, uint32_t addr)
{
    uint32_t i = addr - p->first;

    if (p->bits[i / 8] & (1U << (i % 8)))
        return false;
    p->bits[i / 8] |= (uint8_t)(1U << (i % 8));
    p->used++;
    return true;
}

int pool_take_any(struct pool *p, uint32_t *ret)
{
    uint32_t size = p->last - p->first + 1;

    if (p->used >= size)
        return -ENOSPC;
    for (uint32_t tries = 0; tries < size; tries++) {
        uint32_t addr = p->next;
        p->next = addr == p->last ? p->first : addr + 1;
        if (pool_test_and_set(p, addr)) {
            *ret = addr;
            return 0;
        }
    }
    return -ENOSPC;
}

int pool_take(struct pool *p, uint32_t addr)
{
    if (addr < p->first || addr > p->last)
        return 0;
    return pool_test_and_set(p, addr) ? 0 : -EADDRINUSE;
}

void pool_give_back(struct pool *p, uint32_t addr)
{
    if (!p->bits || addr < p->first || addr > p->last)
        return;
    uint32_t i = addr - p->first;
    if (p->bits[i / 8] & (1U << (i % 8))) {
        p->bits[i / 8] &= (uint8_t) ~(1U << (i % 8));
        p->used--;
    }
}

void ip6_for_ip4(const struct cidr6 *net, uint32_t ip, struct in6_addr *ret)
{
    assert(net->prefix <= 96);
    struct in6_addr addr = net->addr;
    uint32_t low = htonl(ip);

    for (unsigned i = net->prefix; i < 96; i++) /* the bridge's own host part is not taken over */
        addr.s6_addr[i / 8] &= (uint8_t) ~(0x80 >> (i % 8));
    memcpy(&addr.s6_addr[12], &low, 4);
    *ret = addr;
}
