/* SPDX-License-Identifier: Apache-2.0 */
/* NO_PROXY and its rules: see proxy.h. */
#include "image/worker/proxy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"

struct target {
    const char *host; /* without brackets */
    unsigned port;
    int family; /* of an address, 0: a name */
    unsigned char address[16];
};

static bool same_bits(const unsigned char *a, const unsigned char *b, uint64_t bits)
{
    size_t bytes = bits / 8;

    if (memcmp(a, b, bytes) != 0)
        return false;
    unsigned char mask = (unsigned char)(0xff00u >> (bits % 8));
    return (a[bytes] & mask) == (b[bytes] & mask) || bits % 8 == 0;
}

static bool in_cidr(const struct target *t, const char *entry, const char *slash)
{
    AUTOFREE char *net = xstrndup(entry, (size_t)(slash - entry));
    unsigned char b[16];
    uint64_t bits;

    return t->family != 0 && parse_u64(slash + 1, &bits) == 0 &&
           bits <= (t->family == AF_INET ? 32 : 128) && inet_pton(t->family, net, b) == 1 &&
           same_bits(t->address, b, bits);
}

/* Splits a port off "host:port", "[v6]:port"; a bare IPv6 address has none. False: a malformed one. */
static bool split_port(char *entry, char **ret_host, unsigned *ret_port)
{
    char *colon = strrchr(entry, ':'), *end;
    uint64_t port = 0;

    *ret_host = entry;
    *ret_port = 0;
    if (*entry == '[') {
        end = strchr(entry, ']');
        if (!end)
            return false;
        *end = '\0';
        *ret_host = entry + 1;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else if (colon && strchr(entry, ':') != colon) {
        return true; /* a bare IPv6 address */
    }
    if (!colon)
        return true;
    if (parse_u64(colon + 1, &port) < 0 || port == 0 || port > 65535)
        return false;
    *colon = '\0';
    *ret_port = (unsigned)port;
    return true;
}

static bool entry_matches(char *entry, const struct target *t)
{
    const char *slash = strchr(entry, '/');
    unsigned char address[16];
    unsigned port;
    char *host;

    if (STREQ(entry, "*"))
        return true;
    if (slash)
        return in_cidr(t, entry, slash);
    if (!split_port(entry, &host, &port) || (port && port != t->port))
        return false;
    if (t->family != 0)
        return inet_pton(t->family, host, address) == 1 &&
               memcmp(address, t->address, t->family == AF_INET ? 4 : 16) == 0;
    if (str_has_prefix(host, "*."))
        host++;
    bool below_only = *host == '.';
    const char *name = below_only ? host + 1 : host;
    size_t n = strlen(name), len = strlen(t->host);
    if (n == 0)
        return false;
    if (len == n)
        return !below_only && strcasecmp(t->host, name) == 0;
    return len > n && t->host[len - n - 1] == '.' && strcasecmp(t->host + len - n, name) == 0;
}

static bool is_loopback(const struct target *t)
{
    static const unsigned char v6[16] = {[15] = 1};

    if (t->family == AF_INET)
        return t->address[0] == 127;
    if (t->family == AF_INET6)
        return memcmp(t->address, v6, sizeof(v6)) == 0;
    return strcasecmp(t->host, "localhost") == 0;
}

const char *proxy_for(const struct http_setup *s, const char *scheme, const char *host,
                      unsigned port)
{
    const char *proxy = strcasecmp(scheme, "https") == 0 ? s->https_proxy : s->http_proxy;
    AUTOFREE char *bare = *host == '[' ? xstrndup(host + 1, strcspn(host + 1, "]")) : xstrdup(host);
    struct target t = {.host = bare, .port = port};
    AUTOPTR(strv) char **list = NULL;

    if (str_is_empty(proxy))
        return NULL;
    if (inet_pton(AF_INET, bare, t.address) == 1)
        t.family = AF_INET;
    else if (inet_pton(AF_INET6, bare, t.address) == 1)
        t.family = AF_INET6;
    if (is_loopback(&t))
        return NULL;
    if (s->no_proxy)
        list = strv_split(s->no_proxy, ", \t", true);
    for (size_t i = 0; list && list[i]; i++)
        if (entry_matches(list[i], &t))
            return NULL;
    return proxy;
}
