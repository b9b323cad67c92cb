/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting connections that the kernel tracks, where they would keep an old translation. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

/* A tracked flow. Addresses are 4 or 16 bytes. */
struct ct_flow {
    int family;
    uint8_t orig_dst[16];   /* whom the first packet was sent to */
    uint16_t orig_dst_port; /* host byte order */
    uint8_t reply_src[16];  /* who answers: differs from orig_dst when translated */
};

/*
 * Deletes the flows of an IP protocol that the callback picks. fd is a netfilter netlink socket.
 * Returns how many went, or -errno (-EPROTONOSUPPORT, -EINVAL: no nf_conntrack_netlink).
 */
int conntrack_delete(int fd, int family, uint8_t protocol,
                     bool (*pick)(const struct ct_flow *flow, void *data), void *data) MUST_CHECK;
