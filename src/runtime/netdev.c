/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.netDevices: network devices of the host moved into the container's network namespace, with
 * their global permanent addresses, and set up there. Done by the stage as the last thing of a
 * create; when one cannot be moved, those before it are moved back. The kernel gives physical ones
 * back when the namespace ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/str.h"
#include "runtime/runtime-priv.h"

#define ADDRESSES_MAX (256u << 10)

struct request {
    struct nlmsghdr header;
    char rest[512];
};

/* NLMSG_NEXT and RTA_NEXT without their casts, which lose the alignment that is there. */
static const struct nlmsghdr *next_message(const struct nlmsghdr *h, unsigned *left)
{
    unsigned len = NLMSG_ALIGN(h->nlmsg_len);

    *left = len < *left ? *left - len : 0;
    return (const void *)((const char *)h + len);
}

static const struct rtattr *next_attribute(const struct rtattr *a, unsigned *left)
{
    unsigned len = RTA_ALIGN(a->rta_len);

    *left = len < *left ? *left - len : 0;
    return (const void *)((const char *)a + len);
}

static int open_netlink(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    return fd < 0 ? -errno : fd;
}

static void add_attribute(struct request *q, unsigned short type, const void *data, size_t len)
{
    struct rtattr *a = (void *)((char *)q + NLMSG_ALIGN(q->header.nlmsg_len));

    a->rta_type = type;
    a->rta_len = (unsigned short)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), data, len);
    q->header.nlmsg_len = NLMSG_ALIGN(q->header.nlmsg_len) + (unsigned)RTA_ALIGN(a->rta_len);
}

/* Sends and reads the kernel's verdict. */
static int transact(int fd, struct request *q)
{
    _Alignas(8) char answer[4096];
    const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
    const struct nlmsgerr *err = NLMSG_DATA(h);
    ssize_t n;

    q->header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (send(fd, q, q->header.nlmsg_len, 0) < 0)
        return -errno;
    n = recv(fd, answer, sizeof(answer), 0);
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(*err)) || h->nlmsg_type != NLMSG_ERROR)
        return n < 0 ? -errno : -EBADMSG;
    return err->error;
}

static void keep_address(struct buf *to, const struct nlmsghdr *h, unsigned index)
{
    const struct ifaddrmsg *a = NLMSG_DATA(h);

    if (h->nlmsg_type != RTM_NEWADDR || a->ifa_index != index ||
        a->ifa_scope != RT_SCOPE_UNIVERSE || !(a->ifa_flags & IFA_F_PERMANENT) ||
        h->nlmsg_len > sizeof(struct request))
        return;
    (void)buf_append(to, h, NLMSG_ALIGN(h->nlmsg_len));
}

/* The messages that describe the addresses of a device, one behind the other. */
static int read_addresses(int fd, unsigned index, struct buf *to)
{
    struct request q = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
                                   .nlmsg_type = RTM_GETADDR,
                                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};

    if (send(fd, &q, q.header.nlmsg_len, 0) < 0)
        return -errno;
    for (;;) {
        _Alignas(8) char block[32768];
        ssize_t n = recv(fd, block, sizeof(block), 0);
        unsigned left = (unsigned)n;

        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG;
        for (const struct nlmsghdr *h = (const struct nlmsghdr *)block; NLMSG_OK(h, left);
             h = next_message(h, &left)) {
            if (h->nlmsg_type == NLMSG_DONE)
                return 0;
            if (h->nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
            keep_address(to, h, index);
        }
    }
}

/* Adds them again to the device in its new place; its name may be another, so labels stay behind. */
static int add_addresses(int fd, unsigned index, const struct buf *from)
{
    unsigned left = (unsigned)from->len;
    int r = 0;

    for (const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)from->data;
         r == 0 && NLMSG_OK(h, left); h = next_message(h, &left)) {
        struct request q = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)),
                                       .nlmsg_type = RTM_NEWADDR,
                                       .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE}};
        const struct ifaddrmsg *a = NLMSG_DATA(h);
        unsigned attributes = (unsigned)IFA_PAYLOAD(h);

        memcpy(NLMSG_DATA(&q.header), a, sizeof(*a));
        ((struct ifaddrmsg *)NLMSG_DATA(&q.header))->ifa_index = index;
        for (const struct rtattr *x = (const void *)((const char *)a + NLMSG_ALIGN(sizeof(*a)));
             RTA_OK(x, attributes); x = next_attribute(x, &attributes))
            if (x->rta_type == IFA_ADDRESS || x->rta_type == IFA_LOCAL ||
                x->rta_type == IFA_BROADCAST)
                add_attribute(&q, x->rta_type, RTA_DATA(x), RTA_PAYLOAD(x));
        r = transact(fd, &q);
    }
    return r;
}

static int change_link(int fd, unsigned index, unsigned short attribute, const void *data,
                       size_t len, const char *name, bool up)
{
    struct request q = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)), .nlmsg_type = RTM_NEWLINK}};
    struct ifinfomsg *i = NLMSG_DATA(&q.header);

    i->ifi_index = (int)index;
    if (up)
        i->ifi_flags = i->ifi_change = IFF_UP;
    if (attribute)
        add_attribute(&q, attribute, data, len);
    if (name)
        add_attribute(&q, IFLA_IFNAME, name, strlen(name) + 1);
    return transact(fd, &q);
}

/* Is this index among those that were there before? */
static bool was_there(const struct if_nameindex *before, unsigned index)
{
    for (; before && before->if_index; before++)
        if (before->if_index == index)
            return true;
    return false;
}

/* The one device that came: its name may have been chosen by the kernel ("eth%d"). */
static unsigned new_index(const struct if_nameindex *before)
{
    struct if_nameindex *now = if_nameindex();
    unsigned found = 0;

    for (const struct if_nameindex *i = now; i && i->if_index && !found; i++)
        if (!was_there(before, i->if_index))
            found = i->if_index;
    if (now)
        if_freenameindex(now);
    return found;
}

/* In the namespace `from`, which the caller stands in: the device goes to `to`, and so does the
 * caller. *ret_index: its number there. */
static int move_device(const char *name, const char *new_name, int to, unsigned *ret_index)
{
    AUTO(buf) struct buf addresses = BUF_INIT(ADDRESSES_MAX);
    struct if_nameindex *before;
    unsigned index = if_nametoindex(name);
    AUTOFD int here = -EBADF;
    AUTOFD int there = -EBADF;
    int r;

    if (!index)
        return -ENODEV;
    here = open_netlink();
    r = here < 0 ? here : read_addresses(here, index, &addresses);
    if (r < 0)
        return r;
    if (setns(to, CLONE_NEWNET) < 0)
        return -errno;
    before = if_nameindex();
    r = if_nametoindex(new_name)
            ? -EEXIST
            : change_link(here, index, IFLA_NET_NS_FD, &to, sizeof(to), new_name, false);
    if (r == 0) {
        there = open_netlink();
        *ret_index = new_index(before);
        r = there < 0 ? there : *ret_index ? 0 : -ENODEV;
    }
    if (r == 0)
        r = change_link(there, *ret_index, 0, NULL, 0, NULL, true);
    if (r == 0)
        r = add_addresses(there, *ret_index, &addresses);
    if (before)
        if_freenameindex(before);
    return r;
}

static void move_back(const struct oci_net_device *d, unsigned index, int host, int container)
{
    char name[IF_NAMESIZE];

    if (setns(container, CLONE_NEWNET) == 0 && if_indextoname(index, name))
        (void)!move_device(name, d->key, host, &index);
}

int netdev_move(const struct oci_spec *spec, pid_t pid, struct error *e)
{
    const struct oci_net_device *d = spec->linux->net_devices.items;
    size_t n = spec->linux->net_devices.len;
    AUTOFREE unsigned *moved = n ? xcalloc(n, sizeof(*moved)) : NULL;
    AUTOFD int host = -EBADF;
    AUTOFD int container = -EBADF;
    char path[64];
    int r = 0;

    if (!n)
        return 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
    host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    container = open(path, O_RDONLY | O_CLOEXEC);
    if (host < 0 || container < 0)
        return error_set_errno(e, errno, "cannot open the container's network namespace");
    for (size_t i = 0; i < n && r == 0; i++) {
        const char *name = str_is_empty(d[i].name) ? d[i].key : d[i].name;

        r = move_device(d[i].key, name, container, &moved[i]);
        if (r < 0)
            r = error_set_errno(e, r, "linux.netDevices: cannot move %s into the container as %s",
                                d[i].key, name);
        if (setns(host, CLONE_NEWNET) < 0 && r == 0)
            r = error_set_errno(e, errno, "cannot return to the host's network namespace");
    }
    if (r < 0) {
        for (size_t i = 0; i < n; i++)
            if (moved[i])
                move_back(&d[i], moved[i], host, container);
        (void)setns(host, CLONE_NEWNET);
    }
    return r;
}
