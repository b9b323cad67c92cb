/* SPDX-License-Identifier: Apache-2.0 */
/* Conntrack over netlink: dump, pick, delete. See conntrack.h. */
#include "sys/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "sys/netlink.h"

struct tuple {
    uint8_t src[16], dst[16];
    uint16_t dst_port;
    uint8_t protocol;
};

struct walk {
    int family;
    uint8_t protocol;
    bool (*pick)(const struct ct_flow *flow, void *data);
    void *data;
    struct nl_batch deletions;
};

static void parse_addresses(const struct nlattr *nest, struct tuple *ret)
{
    const struct nlattr *attr;

    mnl_attr_for_each_nested(attr, nest)
    {
        size_t len = mnl_attr_get_payload_len(attr);
        uint16_t type = mnl_attr_get_type(attr);
        bool src = type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC;
        size_t want = type == CTA_IP_V4_SRC || type == CTA_IP_V4_DST ? 4 : 16;
        if (type >= CTA_IP_V4_SRC && type <= CTA_IP_V6_DST && len == want)
            memcpy(src ? ret->src : ret->dst, mnl_attr_get_payload(attr), len);
    }
}

static void parse_tuple(const struct nlattr *nest, struct tuple *ret)
{
    const struct nlattr *attr, *sub;

    mnl_attr_for_each_nested(attr, nest)
    {
        if (mnl_attr_get_type(attr) == CTA_TUPLE_IP) {
            parse_addresses(attr, ret);
        } else if (mnl_attr_get_type(attr) == CTA_TUPLE_PROTO) {
            mnl_attr_for_each_nested(sub, attr)
            {
                if (mnl_attr_get_type(sub) == CTA_PROTO_NUM &&
                    mnl_attr_validate(sub, MNL_TYPE_U8) >= 0)
                    ret->protocol = mnl_attr_get_u8(sub);
                else if (mnl_attr_get_type(sub) == CTA_PROTO_DST_PORT &&
                         mnl_attr_validate(sub, MNL_TYPE_U16) >= 0)
                    ret->dst_port = ntohs(mnl_attr_get_u16(sub));
            }
        }
    }
}

/* A request to delete exactly the flow that a message of the dump describes. */
static void put_deletion(struct walk *w, const struct nlattr *orig, const struct nlattr *zone,
                         const struct nlattr *id)
{
    const struct nlattr *copy[] = {orig, zone, id};
    struct nlmsghdr *h = nl_batch_start(&w->deletions,
                                        (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE, 0,
                                        NL_MESSAGE_MAX);
    struct nfgenmsg *g = nl_batch_extra(h, sizeof(*g));

    g->nfgen_family = (uint8_t)w->family;
    g->version = NFNETLINK_V0;
    for (size_t i = 0; i < ARRAY_SIZE(copy); i++)
        if (copy[i])
            mnl_attr_put(h, copy[i]->nla_type, mnl_attr_get_payload_len(copy[i]),
                         mnl_attr_get_payload(copy[i]));
    nl_batch_finish(&w->deletions, h);
}

static int look_at(const struct nlmsghdr *h, void *data)
{
    struct walk *w = data;
    const struct nlattr *attr, *orig = NULL, *reply = NULL, *zone = NULL, *id = NULL;
    struct tuple to = {0}, from = {0};

    mnl_attr_for_each(attr, h, sizeof(struct nfgenmsg))
    {
        switch (mnl_attr_get_type(attr)) {
        case CTA_TUPLE_ORIG:
            orig = attr;
            break;
        case CTA_TUPLE_REPLY:
            reply = attr;
            break;
        case CTA_ZONE:
            zone = attr;
            break;
        case CTA_ID:
            id = attr;
            break;
        default:
            break;
        }
    }
    if (!orig || !reply || mnl_attr_get_payload_len(orig) > NL_MESSAGE_MAX / 2)
        return 0;
    parse_tuple(orig, &to);
    if (to.protocol != w->protocol)
        return 0;
    parse_tuple(reply, &from);
    struct ct_flow flow = {.family = w->family, .orig_dst_port = to.dst_port};
    memcpy(flow.orig_dst, to.dst, sizeof(flow.orig_dst));
    memcpy(flow.reply_src, from.src, sizeof(flow.reply_src));
    if (w->pick(&flow, w->data))
        put_deletion(w, orig, zone, id);
    return 0;
}

int conntrack_delete(int fd, int family, uint8_t protocol,
                     bool (*pick)(const struct ct_flow *flow, void *data), void *data)
{
    struct walk w = {family, protocol, pick, data, NL_BATCH_INIT};
    struct nfgenmsg g = {.nfgen_family = (uint8_t)family, .version = NFNETLINK_V0};

    int r = nl_dump(fd, (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET, &g, sizeof(g), look_at,
                    &w);
    int n = (int)w.deletions.count;
    if (r == -EINTR) /* changed meanwhile: what was seen was seen */
        r = 0;
    if (r >= 0 && n > 0)
        r = nl_batch_run(fd, &w.deletions, NULL);
    nl_batch_done(&w.deletions);
    if (r == -ENOENT) /* it ended by itself */
        r = 0;
    return r < 0 ? r : n;
}
