/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink batches and the rtnetlink requests. See netlink.h. */
#include "sys/netlink.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "base/alloc.h"
#include "base/log.h"

#define RECV_BUFFER   32768
#define DUMP_ITEM_MAX 1048576 /* more links, addresses or routes than any host has */

/* --- sockets -------------------------------------------------------------------------------- */

int nl_open(int bus)
{
    AUTOFD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, bus);
    int one = 1;

    if (fd < 0)
        return -errno;
    /* The kernel's own words about a failure; both options only help, so may fail. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
    return take_fd(fd);
}

int nl_open_in(int netns_fd, int bus)
{
    AUTOFD int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

    if (own < 0)
        return -errno;
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return -errno;
    int fd = nl_open(bus);
    if (setns(own, CLONE_NEWNET) < 0) {
        log_error("a thread can not return to its network namespace", "errno=%d", errno);
        abort();
    }
    return fd;
}

/* --- batches -------------------------------------------------------------------------------- */

static unsigned next_seq(void)
{
    static _Atomic unsigned seq = 1;

    return atomic_fetch_add(&seq, 1);
}

struct nlmsghdr *nl_batch_start(struct nl_batch *b, uint16_t type, uint16_t flags, size_t max)
{
    if (b->cap - b->len < max) {
        size_t cap = (b->len + max) * 2;
        b->data = xreallocarray(b->data, cap, 1);
        b->cap = cap;
    }
    struct nlmsghdr *h = mnl_nlmsg_put_header(b->data + b->len);
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | flags;
    h->nlmsg_seq = next_seq();
    return h;
}

void *nl_batch_extra(struct nlmsghdr *h, size_t len)
{
    return mnl_nlmsg_put_extra_header(h, len);
}

void nl_batch_finish(struct nl_batch *b, struct nlmsghdr *h)
{
    assert((char *)h == b->data + b->len && b->len + h->nlmsg_len <= b->cap);
    b->last = b->len;
    b->len += MNL_ALIGN(h->nlmsg_len);
    b->count++;
}

void nl_batch_clear(struct nl_batch *b)
{
    b->len = 0;
    b->count = 0;
}

void nl_batch_done(struct nl_batch *b)
{
    free(b->data);
    *b = (struct nl_batch)NL_BATCH_INIT;
}

/* The position of a sequence number in the batch. */
static unsigned batch_index(const struct nl_batch *b, unsigned seq)
{
    unsigned i = 0;

    for (size_t at = 0; at < b->len; i++) {
        const struct nlmsghdr *h = (const void *)(b->data + at);
        if (h->nlmsg_seq == seq)
            return i;
        at += MNL_ALIGN(h->nlmsg_len);
    }
    return UINT32_MAX;
}

static void failure_text(const struct nlmsghdr *h, struct nl_failure *ret)
{
    const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);
    size_t skip = sizeof(*err);
    const struct nlattr *attr;

    if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
        return;
    if (!(h->nlmsg_flags & NLM_F_CAPPED))
        skip += MNL_ALIGN(err->msg.nlmsg_len) - sizeof(struct nlmsghdr);
    if (skip > mnl_nlmsg_get_payload_len(h))
        return;
    mnl_attr_for_each(attr, h, skip)
    {
        if (mnl_attr_get_type(attr) != NLMSGERR_ATTR_MSG)
            continue;
        size_t len = mnl_attr_get_payload_len(attr);
        if (len >= sizeof(ret->text))
            len = sizeof(ret->text) - 1;
        memcpy(ret->text, mnl_attr_get_payload(attr), len);
        ret->text[len] = '\0';
        return;
    }
}

/* One received datagram's messages. *answered is set when the last request's answer was seen. */
static void take_answers(const struct nl_batch *b, const char *data, size_t len, unsigned last_seq,
                         bool *answered, int *first_errnum, struct nl_failure *failure)
{
    const struct nlmsghdr *h = (const void *)data;
    int left = (int)len;

    for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
        if (h->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(h) < sizeof(struct nlmsgerr))
            continue;
        const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);
        unsigned index = batch_index(b, h->nlmsg_seq);
        if (index == UINT32_MAX)
            continue; /* an answer to something of the past */
        if (h->nlmsg_seq == last_seq)
            *answered = true;
        if (err->error < 0 && *first_errnum == 0) {
            *first_errnum = -err->error;
            if (failure) {
                failure->index = index;
                failure_text(h, failure);
            }
        }
    }
}

static int send_all(int fd, const struct nl_batch *b)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t n;

    do
        n = sendto(fd, b->data, b->len, 0, (struct sockaddr *)&kernel, sizeof(kernel));
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (size_t)n == b->len ? 0 : -EIO;
    if (errno != EMSGSIZE)
        return -errno;
    /* Larger than the socket's send buffer: ask for more once. */
    int size = (int)(b->len * 2);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        return -EMSGSIZE;
    n = sendto(fd, b->data, b->len, 0, (struct sockaddr *)&kernel, sizeof(kernel));
    return n < 0 ? -errno : 0;
}

/* Only the last message asks for an answer: the failures of the others are answered unasked. */
int nl_batch_run(int fd, struct nl_batch *b, struct nl_failure *ret_failure)
{
    char answer[RECV_BUFFER] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nl_failure failure = {0};
    bool answered = false;
    int errnum = 0;

    if (b->len == 0)
        return 0;
    struct nlmsghdr *last = (void *)(b->data + b->last);
    last->nlmsg_flags |= NLM_F_ACK;
    int r = send_all(fd, b);
    if (r < 0)
        goto out;
    while (true) {
        ssize_t n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            r = -errno;
            goto out;
        }
        take_answers(b, answer, (size_t)n, last->nlmsg_seq, &answered, &errnum, &failure);
    }
    if (errnum)
        r = -errnum;
    else if (!answered)
        r = -EIO;
out:
    nl_batch_clear(b);
    if (r < 0 && ret_failure)
        *ret_failure = failure;
    return r;
}

int nl_dump(int fd, uint16_t type, const void *extra, size_t extra_len, nl_message_cb cb,
            void *data)
{
    char buf[RECV_BUFFER] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    unsigned seq = next_seq();

    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    h->nlmsg_seq = seq;
    if (extra_len)
        memcpy(mnl_nlmsg_put_extra_header(h, extra_len), extra, extra_len);
    if (send(fd, buf, h->nlmsg_len, 0) < 0)
        return -errno;
    int result = 0;
    while (true) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        int left = (int)n;
        for (h = (void *)buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
            if (h->nlmsg_seq != seq)
                continue;
            if (h->nlmsg_flags & NLM_F_DUMP_INTR && result == 0)
                result = -EINTR;
            if (h->nlmsg_type == NLMSG_DONE)
                return result;
            if (h->nlmsg_type == NLMSG_ERROR) {
                const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);
                return err->error < 0 ? err->error : result;
            }
            if (result == 0) /* after a failure the rest is read but not looked at */
                result = cb(h, data);
        }
    }
}

/* --- requests ------------------------------------------------------------------------------- */

static struct ifinfomsg *link_start(struct nl_batch *b, uint16_t flags, struct nlmsghdr **ret)
{
    *ret = nl_batch_start(b, RTM_NEWLINK, flags, NL_MESSAGE_MAX);
    return nl_batch_extra(*ret, sizeof(struct ifinfomsg));
}

/* A message that changes a link: by index, else by name. */
static struct ifinfomsg *link_change(struct nl_batch *b, int index, const char *name,
                                     struct nlmsghdr **ret)
{
    struct ifinfomsg *ifi = link_start(b, 0, ret);

    ifi->ifi_index = index;
    if (index == 0)
        mnl_attr_put_strz(*ret, IFLA_IFNAME, name);
    return ifi;
}

/* veth makes a queue a CPU by default and then takes all but one out of use, for each end with an
 * RCU grace period of its own (veth_init_queues(), Linux 5.18 and later): say one at once. */
static void put_one_queue(struct nlmsghdr *h)
{
    mnl_attr_put_u32(h, IFLA_NUM_TX_QUEUES, 1);
    mnl_attr_put_u32(h, IFLA_NUM_RX_QUEUES, 1);
}

void nl_put_veth(struct nl_batch *b, const struct nl_veth *v)
{
    struct nlmsghdr *h;

    (void)link_start(b, NLM_F_CREATE | NLM_F_EXCL, &h);
    mnl_attr_put_strz(h, IFLA_IFNAME, v->name);
    put_one_queue(h);
    if (v->mtu)
        mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
    if (v->master)
        mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)v->master);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(h, VETH_INFO_PEER);
    (void)nl_batch_extra(h, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(h, IFLA_IFNAME, v->peer_name);
    put_one_queue(h);
    mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)v->peer_netns_fd);
    if (v->mtu)
        mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
    if (v->peer_mac)
        mnl_attr_put(h, IFLA_ADDRESS, 6, v->peer_mac);
    mnl_attr_nest_end(h, peer);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    nl_batch_finish(b, h);
}

void nl_put_bridge(struct nl_batch *b, const char *name, const uint8_t mac[6], unsigned mtu,
                   const char *alias)
{
    struct nlmsghdr *h;

    (void)link_start(b, NLM_F_CREATE | NLM_F_EXCL, &h);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
    if (mtu)
        mnl_attr_put_u32(h, IFLA_MTU, mtu);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    mnl_attr_put_u32(h, IFLA_BR_FORWARD_DELAY, 0);
    mnl_attr_put_u32(h, IFLA_BR_STP_STATE, 0);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    nl_batch_finish(b, h);
    /* The alias is not looked at while a link is made: a change of its own. */
    (void)link_change(b, 0, name, &h);
    mnl_attr_put_strz(h, IFLA_IFALIAS, alias);
    nl_batch_finish(b, h);
}

void nl_put_link_up(struct nl_batch *b, int index, const char *name)
{
    struct nlmsghdr *h;
    struct ifinfomsg *ifi = link_change(b, index, name, &h);

    ifi->ifi_flags = IFF_UP;
    ifi->ifi_change = IFF_UP;
    nl_batch_finish(b, h);
}

void nl_put_link_no_addrconf(struct nl_batch *b, int index, const char *name)
{
    struct nlmsghdr *h;

    (void)link_change(b, index, name, &h);
    struct nlattr *spec = mnl_attr_nest_start(h, IFLA_AF_SPEC);
    struct nlattr *inet6 = mnl_attr_nest_start(h, AF_INET6);
    mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(h, inet6);
    mnl_attr_nest_end(h, spec);
    nl_batch_finish(b, h);
}

void nl_put_link_master(struct nl_batch *b, const char *name, int master)
{
    struct nlmsghdr *h;

    (void)link_change(b, 0, name, &h);
    mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)master);
    nl_batch_finish(b, h);
}

void nl_put_link_mtu(struct nl_batch *b, int index, unsigned mtu)
{
    struct nlmsghdr *h;

    (void)link_change(b, index, NULL, &h);
    mnl_attr_put_u32(h, IFLA_MTU, mtu);
    nl_batch_finish(b, h);
}

void nl_put_port(struct nl_batch *b, const char *name, bool isolated, bool hairpin)
{
    struct nlmsghdr *h;

    (void)link_change(b, 0, name, &h);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_SLAVE_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_SLAVE_DATA);
    if (isolated)
        mnl_attr_put_u8(h, IFLA_BRPORT_ISOLATED, 1);
    if (hairpin)
        mnl_attr_put_u8(h, IFLA_BRPORT_MODE, 1);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    nl_batch_finish(b, h);
}

void nl_put_fdb(struct nl_batch *b, int index, const uint8_t mac[6])
{
    struct nlmsghdr *h = nl_batch_start(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
                                        NL_MESSAGE_MAX);
    struct ndmsg *ndm = nl_batch_extra(h, sizeof(*ndm));

    ndm->ndm_family = AF_BRIDGE;
    ndm->ndm_ifindex = index;
    ndm->ndm_state = NUD_NOARP;
    ndm->ndm_flags = NTF_MASTER | NTF_STICKY;
    mnl_attr_put(h, NDA_LLADDR, 6, mac);
    nl_batch_finish(b, h);
}

void nl_put_bridge_filtered(struct nl_batch *b, int index, bool on)
{
    struct nlmsghdr *h;

    (void)link_change(b, index, NULL, &h);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    mnl_attr_put_u8(h, IFLA_BR_NF_CALL_IPTABLES, on);
    mnl_attr_put_u8(h, IFLA_BR_NF_CALL_IP6TABLES, on);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    nl_batch_finish(b, h);
}

void nl_put_link_del(struct nl_batch *b, int index)
{
    struct nlmsghdr *h = nl_batch_start(b, RTM_DELLINK, 0, NL_MESSAGE_MAX);
    struct ifinfomsg *ifi = nl_batch_extra(h, sizeof(*ifi));

    ifi->ifi_index = index;
    nl_batch_finish(b, h);
}

static size_t family_len(int family)
{
    return family == AF_INET ? 4 : 16;
}

void nl_put_addr(struct nl_batch *b, int index, int family, const void *addr, unsigned prefix)
{
    struct nlmsghdr *h = nl_batch_start(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE,
                                        NL_MESSAGE_MAX);
    struct ifaddrmsg *ifa = nl_batch_extra(h, sizeof(*ifa));
    size_t len = family_len(family);

    ifa->ifa_family = (uint8_t)family;
    ifa->ifa_prefixlen = (uint8_t)prefix;
    ifa->ifa_index = (uint32_t)index;
    ifa->ifa_scope = RT_SCOPE_UNIVERSE;
    if (family == AF_INET6)
        ifa->ifa_flags = IFA_F_NODAD; /* nobody else gives addresses on this bridge */
    mnl_attr_put(h, IFA_LOCAL, len, addr);
    mnl_attr_put(h, IFA_ADDRESS, len, addr);
    if (family == AF_INET && prefix < 31) {
        uint8_t broadcast[4];
        memcpy(broadcast, addr, 4);
        for (unsigned bit = prefix; bit < 32; bit++)
            broadcast[bit / 8] |= (uint8_t)(0x80 >> (bit % 8));
        mnl_attr_put(h, IFA_BROADCAST, 4, broadcast);
    }
    nl_batch_finish(b, h);
}

void nl_put_addr_del(struct nl_batch *b, int index, int family, const void *addr, unsigned prefix)
{
    struct nlmsghdr *h = nl_batch_start(b, RTM_DELADDR, 0, NL_MESSAGE_MAX);
    struct ifaddrmsg *ifa = nl_batch_extra(h, sizeof(*ifa));

    ifa->ifa_family = (uint8_t)family;
    ifa->ifa_prefixlen = (uint8_t)prefix;
    ifa->ifa_index = (uint32_t)index;
    mnl_attr_put(h, IFA_LOCAL, family_len(family), addr);
    mnl_attr_put(h, IFA_ADDRESS, family_len(family), addr);
    nl_batch_finish(b, h);
}

void nl_put_default_route(struct nl_batch *b, int index, int family, const void *gateway)
{
    struct nlmsghdr *h = nl_batch_start(b, RTM_NEWROUTE, NLM_F_CREATE, NL_MESSAGE_MAX);
    struct rtmsg *rt = nl_batch_extra(h, sizeof(*rt));

    rt->rtm_family = (uint8_t)family;
    rt->rtm_table = RT_TABLE_MAIN;
    rt->rtm_protocol = RTPROT_BOOT;
    rt->rtm_scope = RT_SCOPE_UNIVERSE;
    rt->rtm_type = RTN_UNICAST;
    mnl_attr_put(h, RTA_GATEWAY, family_len(family), gateway);
    mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
    nl_batch_finish(b, h);
}

/* --- reading -------------------------------------------------------------------------------- */

static void copy_text(char *out, size_t size, const struct nlattr *attr)
{
    size_t len = mnl_attr_get_payload_len(attr);

    if (len >= size)
        len = size - 1;
    memcpy(out, mnl_attr_get_payload(attr), len);
    out[len] = '\0';
}

static void parse_link(const struct nlmsghdr *h, struct nl_link *ret)
{
    const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(h);
    const struct nlattr *attr, *sub;

    *ret = (struct nl_link){.index = ifi->ifi_index, .flags = ifi->ifi_flags};
    mnl_attr_for_each(attr, h, sizeof(*ifi))
    {
        switch (mnl_attr_get_type(attr)) {
        case IFLA_IFNAME:
            copy_text(ret->name, sizeof(ret->name), attr);
            break;
        case IFLA_IFALIAS:
            copy_text(ret->alias, sizeof(ret->alias), attr);
            break;
        case IFLA_MTU:
            ret->mtu = mnl_attr_get_u32(attr);
            break;
        case IFLA_OPERSTATE:
            ret->is_up = mnl_attr_get_u8(attr) == IF_OPER_UP;
            break;
        case IFLA_MASTER:
            ret->master = (int)mnl_attr_get_u32(attr);
            break;
        case IFLA_LINKINFO:
            mnl_attr_for_each_nested(sub, attr)
            {
                if (mnl_attr_get_type(sub) == IFLA_INFO_KIND)
                    copy_text(ret->kind, sizeof(ret->kind), sub);
            }
            break;
        default:
            break;
        }
    }
}

int nl_link_get(int fd, const char *name, struct nl_link *ret)
{
    char buf[RECV_BUFFER] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    unsigned seq = next_seq();

    if (strlen(name) >= IFNAMSIZ)
        return -ENODEV;
    h->nlmsg_type = RTM_GETLINK;
    h->nlmsg_flags = NLM_F_REQUEST;
    h->nlmsg_seq = seq;
    (void)nl_batch_extra(h, sizeof(struct ifinfomsg));
    mnl_attr_put_u32(h, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    if (send(fd, buf, h->nlmsg_len, 0) < 0)
        return -errno;
    while (true) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        int left = (int)n;
        for (h = (void *)buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
            if (h->nlmsg_seq != seq)
                continue;
            if (h->nlmsg_type == NLMSG_ERROR) {
                const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);
                return err->error < 0 ? err->error : -EIO;
            }
            if (h->nlmsg_type == RTM_NEWLINK) {
                parse_link(h, ret);
                return 0;
            }
        }
    }
}

/* A growing array of items of one size. */
struct items {
    char *data;
    size_t len, size;
};

static void *items_add(struct items *items)
{
    if ((items->len & (items->len + 1)) == 0 || items->len == 0) /* at 0, 1, 3, 7, … */
        items->data = xreallocarray(items->data, (items->len + 1) * 2, items->size);
    return items->data + items->size * items->len++;
}

static int add_link(const struct nlmsghdr *h, void *data)
{
    struct items *items = data;

    if (h->nlmsg_type != RTM_NEWLINK)
        return 0;
    if (items->len >= DUMP_ITEM_MAX)
        return -E2BIG;
    parse_link(h, items_add(items));
    return 0;
}

static int add_addr(const struct nlmsghdr *h, void *data)
{
    struct items *items = data;
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(h);
    const struct nlattr *attr, *found = NULL;

    if (h->nlmsg_type != RTM_NEWADDR || (ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6))
        return 0;
    if (items->len >= DUMP_ITEM_MAX)
        return -E2BIG;
    mnl_attr_for_each(attr, h, sizeof(*ifa))
    {
        if (mnl_attr_get_type(attr) == IFA_LOCAL ||
            (mnl_attr_get_type(attr) == IFA_ADDRESS && !found))
            found = attr;
    }
    if (!found || mnl_attr_get_payload_len(found) < family_len(ifa->ifa_family))
        return 0;
    struct nl_addr *a = items_add(items);
    *a = (struct nl_addr){.index = (int)ifa->ifa_index,
                          .family = ifa->ifa_family,
                          .prefix = ifa->ifa_prefixlen};
    memcpy(a->addr, mnl_attr_get_payload(found), family_len(ifa->ifa_family));
    return 0;
}

static int add_route(const struct nlmsghdr *h, void *data)
{
    struct items *items = data;
    const struct rtmsg *rt = mnl_nlmsg_get_payload(h);
    const struct nlattr *attr;
    struct nl_route route = {.family = rt->rtm_family, .prefix = rt->rtm_dst_len};
    bool has_dst = false;

    if (h->nlmsg_type != RTM_NEWROUTE || rt->rtm_dst_len == 0 || rt->rtm_table == RT_TABLE_LOCAL ||
        (rt->rtm_family != AF_INET && rt->rtm_family != AF_INET6))
        return 0;
    if (items->len >= DUMP_ITEM_MAX)
        return -E2BIG;
    mnl_attr_for_each(attr, h, sizeof(*rt))
    {
        if (mnl_attr_get_type(attr) == RTA_DST &&
            mnl_attr_get_payload_len(attr) >= family_len(rt->rtm_family)) {
            memcpy(route.dst, mnl_attr_get_payload(attr), family_len(rt->rtm_family));
            has_dst = true;
        } else if (mnl_attr_get_type(attr) == RTA_OIF)
            route.index = (int)mnl_attr_get_u32(attr);
    }
    if (has_dst)
        *(struct nl_route *)items_add(items) = route;
    return 0;
}

/* Dumps until the table stood still during one (bounded). */
static int dump_items(int fd, uint16_t type, const void *extra, size_t extra_len, nl_message_cb cb,
                      size_t size, void **ret, size_t *ret_len)
{
    struct items items = {.size = size};
    int r = -EINTR;

    for (int i = 0; i < 20 && r == -EINTR; i++) {
        items.len = 0;
        free(take_ptr(items.data));
        r = nl_dump(fd, type, extra, extra_len, cb, &items);
    }
    if (r < 0) {
        free(items.data);
        return r;
    }
    *ret = items.data;
    *ret_len = items.len;
    return 0;
}

int nl_links(int fd, struct nl_link **ret, size_t *ret_len)
{
    struct ifinfomsg ifi = {0};

    return dump_items(fd, RTM_GETLINK, &ifi, sizeof(ifi), add_link, sizeof(struct nl_link),
                      (void **)ret, ret_len);
}

int nl_addrs(int fd, struct nl_addr **ret, size_t *ret_len)
{
    struct ifaddrmsg ifa = {0};

    return dump_items(fd, RTM_GETADDR, &ifa, sizeof(ifa), add_addr, sizeof(struct nl_addr),
                      (void **)ret, ret_len);
}

int nl_routes(int fd, struct nl_route **ret, size_t *ret_len)
{
    struct rtmsg rt = {0};

    return dump_items(fd, RTM_GETROUTE, &rt, sizeof(rt), add_route, sizeof(struct nl_route),
                      (void **)ret, ret_len);
}
