/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What criu leaves in a restored network. It locks the network of what it dumps by a table of nftables that drops
 * everything, "CRIU-<pid>", and then (3.17) dumps the rules with that table among them: restore brings it back, its pid
 * is not the one that restore looks for, and the container stays without a network. So it is removed here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "oci-cli/criu.h"

#define LOCK_PREFIX "CRIU-"
#define REQUEST_MAX 65536
#define TABLE(what) ((NFNL_SUBSYS_NFTABLES << 8) | (what))

/* A message about a table of a family; NULL: about none. */
static void put_message(struct buf *b, uint16_t type, uint16_t flags, uint8_t family,
                        uint16_t resource, const char *table)
{
    size_t name = table ? strlen(table) + 1 : 0;
    struct nlattr attr = {.nla_len = (uint16_t)(NLA_HDRLEN + name), .nla_type = NFTA_TABLE_NAME};
    struct nfgenmsg gen = {family, NFNETLINK_V0, htons(resource)};
    struct nlmsghdr head = {
        .nlmsg_len = (uint32_t)(NLMSG_HDRLEN + sizeof(gen) + (table ? NLA_ALIGN(attr.nla_len) : 0)),
        .nlmsg_type = type,
        .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST),
    };

    (void)buf_append(b, &head, sizeof(head));
    (void)buf_append(b, &gen, sizeof(gen));
    if (table) {
        (void)buf_append(b, &attr, sizeof(attr));
        (void)buf_append(b, table, name);
        (void)buf_append(b, "\0\0\0", NLA_ALIGN(name) - name);
    }
}

/* A table that is there: its removal, when it is one of criu's locks. */
static void take_lock(const struct nlmsghdr *head, struct buf *removals)
{
    const char *data = (const char *)head + NLMSG_HDRLEN;
    size_t len = head->nlmsg_len - NLMSG_HDRLEN, at = NLMSG_ALIGN(sizeof(struct nfgenmsg));
    struct nfgenmsg gen;

    if (len < sizeof(gen))
        return;
    memcpy(&gen, data, sizeof(gen));
    while (at + NLA_HDRLEN <= len) {
        struct nlattr attr;
        const char *name = data + at + NLA_HDRLEN;

        memcpy(&attr, data + at, sizeof(attr));
        if (attr.nla_len < NLA_HDRLEN || at + attr.nla_len > len)
            return;
        if ((attr.nla_type & NLA_TYPE_MASK) == NFTA_TABLE_NAME && attr.nla_len > NLA_HDRLEN &&
            data[at + attr.nla_len - 1] == '\0' && str_has_prefix(name, LOCK_PREFIX))
            put_message(removals, TABLE(NFT_MSG_DELTABLE), NLM_F_ACK, gen.nfgen_family, 0, name);
        at += NLA_ALIGN(attr.nla_len);
    }
}

/* Reads answers up to the last one: the kernel's error, or 0. */
static int read_answers(int sock, struct buf *removals)
{
    _Alignas(struct nlmsghdr) char answer[16384];

    for (;;) {
        ssize_t n = recv(sock, answer, sizeof(answer), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        for (size_t at = 0; at + NLMSG_HDRLEN <= (size_t)n;) {
            const struct nlmsghdr *head = (const void *)(answer + at);
            int code = 0;

            if (head->nlmsg_len < NLMSG_HDRLEN || at + head->nlmsg_len > (size_t)n)
                return -EBADMSG;
            if (head->nlmsg_type == NLMSG_DONE)
                return 0;
            if (head->nlmsg_type == NLMSG_ERROR) {
                if (head->nlmsg_len >= NLMSG_HDRLEN + sizeof(code))
                    memcpy(&code, (const char *)head + NLMSG_HDRLEN, sizeof(code));
                return code;
            }
            if (removals && head->nlmsg_type == TABLE(NFT_MSG_NEWTABLE))
                take_lock(head, removals);
            at += NLMSG_ALIGN(head->nlmsg_len);
        }
    }
}

/* In the network namespace of the container. */
static int remove_locks(void)
{
    const struct timeval patience = {10, 0};
    AUTOFD int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    AUTO(buf) struct buf ask = BUF_INIT(REQUEST_MAX);
    AUTO(buf) struct buf removals = BUF_INIT(REQUEST_MAX);
    AUTO(buf) struct buf batch = BUF_INIT(2 * REQUEST_MAX);
    int r;

    if (sock < 0)
        return errno == EPROTONOSUPPORT ? 0 : -errno;
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    put_message(&ask, TABLE(NFT_MSG_GETTABLE), NLM_F_DUMP, AF_UNSPEC, 0, NULL);
    if (send(sock, ask.data, ask.len, 0) < 0)
        return -errno;
    r = read_answers(sock, &removals);
    if (r == -EINVAL || r == -EOPNOTSUPP)
        return 0; /* no nf_tables in this kernel: nothing was locked by it */
    if (r < 0 || !removals.len)
        return r;
    put_message(&batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, NULL);
    (void)buf_append(&batch, removals.data, removals.len);
    put_message(&batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, NULL);
    if (send(sock, batch.data, batch.len, 0) < 0)
        return -errno;
    return read_answers(sock, NULL);
}

int criu_unlock_network(pid_t pid, struct error *e)
{
    AUTOFREE char *path = xasprintf("/proc/%d/ns/net", pid);
    AUTOFD int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    AUTOFD int there = open(path, O_RDONLY | O_CLOEXEC);
    int r;

    if (home < 0 || there < 0)
        return error_set_errno(e, errno, "cannot open the network namespace of the container");
    if (setns(there, CLONE_NEWNET) < 0)
        return error_set_errno(e, errno, "cannot enter the network namespace of the container");
    r = remove_locks();
    if (setns(home, CLONE_NEWNET) < 0)
        return error_set_errno(e, errno, "cannot leave the network namespace of the container");
    return r < 0 ? error_set_errno(e, r, "cannot remove criu's lock of the container's network")
                 : 0;
}
