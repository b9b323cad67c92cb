/* SPDX-License-Identifier: Apache-2.0 */
/* Port specifications as users write them. See portspec.h. */
#include "base/portspec.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

/* The most ports one specification may stand for is all there are; a text longer than this is no
 * port specification (two ranges, a protocol and an IPv6 address with a zone fit). */
#define SPEC_LEN_MAX 128

static const char *const proto_names[PORT_PROTO_MAX] = {"tcp", "udp", "sctp"};

const char *port_proto_name(enum port_proto proto)
{
    return proto < PORT_PROTO_MAX ? proto_names[proto] : "unknown";
}

void port_specs_done(struct port_specs *specs)
{
    free(specs->items);
    *specs = (struct port_specs){0};
}

struct range {
    uint16_t first, last;
};

/* Exactly n bytes of s as a decimal port number, 0 to 65535. */
static bool scan_port(const char *s, size_t n, uint16_t *ret)
{
    uint32_t value = 0;

    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        value = value * 10 + (uint32_t)(s[i] - '0');
    }
    if (value > UINT16_MAX)
        return false;
    *ret = (uint16_t)value;
    return true;
}

/* "80" or "80-90". */
static bool scan_range(const char *s, struct range *ret)
{
    const char *dash = strchr(s, '-');
    struct range r = {0};

    if (!dash) {
        if (!scan_port(s, strlen(s), &r.first))
            return false;
        r.last = r.first;
    } else {
        if (!scan_port(s, (size_t)(dash - s), &r.first) ||
            !scan_port(dash + 1, strlen(dash + 1), &r.last) || r.last < r.first || r.first == 0)
            return false;
    }
    *ret = r;
    return true;
}

/* Cuts "/proto" off the text. */
static int cut_proto(char *text, enum port_proto *ret, struct error *e)
{
    char *slash = strchr(text, '/');

    *ret = PORT_TCP;
    if (!slash)
        return 0;
    *slash++ = '\0';
    for (int i = 0; i < PORT_PROTO_MAX; i++)
        if (strcasecmp(slash, proto_names[i]) == 0) {
            *ret = (enum port_proto)i;
            return 0;
        }
    return error_set(e, ERR_INVALID, "invalid proto: %s (use tcp, udp or sctp)", slash);
}

/* An IPv6 zone ("fe80::1%eth0") is not an address to bind to here. */
static bool is_address(const char *s)
{
    struct in6_addr addr;

    return inet_pton(AF_INET, s, &addr) == 1 || inet_pton(AF_INET6, s, &addr) == 1;
}

/*
 * Takes "[HOST_IP:][HOST_PORTS:]CONTAINER_PORTS" apart in place. Absent parts are "". An address
 * with more than one colon may only come in brackets, but Docker takes it bare too
 * ("::1:80:80"): the last two colons then separate.
 */
static bool split_parts(char *text, char **ret_ip, char **ret_host, char **ret_container)
{
    static char empty[] = "";
    char *last = strrchr(text, ':');

    *ret_ip = *ret_host = empty;
    if (!last) {
        *ret_container = text;
        return true;
    }
    *ret_container = last + 1;
    *last = '\0';
    char *colon = strrchr(text, ':');
    if (!colon && text[0] == '[')
        return false; /* an address without its end */
    if (!colon) {
        *ret_host = text;
        return true;
    }
    *ret_host = colon + 1;
    *colon = '\0';
    size_t len = strlen(text);
    if (text[0] == '[') {
        if (len < 3 || text[len - 1] != ']')
            return false;
        text[len - 1] = '\0';
        text++;
        if (!strchr(text, ':'))
            return false;
    }
    *ret_ip = text;
    return true;
}

/* Appends one item a port; room for all of a range is made at once. */
static void append_range(struct port_specs *out, const struct port_spec *proto_item,
                         struct range container, struct range host)
{
    size_t n = (size_t)(container.last - container.first) + 1;
    struct port_spec item = *proto_item;

    out->items = xreallocarray(out->items, out->len + n, sizeof(out->items[0]));
    for (size_t i = 0; i < n; i++) {
        item.container_port = (uint16_t)(container.first + i);
        item.host_first = host.first ? (uint16_t)(host.first + i) : 0;
        item.host_last = n == 1 ? host.last : item.host_first;
        out->items[out->len++] = item;
    }
}

int portspec_parse(const char *text, struct port_specs *out, struct error *e)
{
    char copy[SPEC_LEN_MAX], *ip, *host_text, *container_text;
    struct port_spec item = {0};
    struct range host = {0}, container;
    size_t len = strlen(text);

    if (len >= sizeof(copy))
        return error_set(e, ERR_INVALID, "invalid port specification: %.40s…", text);
    if (len == 0)
        return error_set(e, ERR_INVALID, "no port specified: <empty>");
    memcpy(copy, text, len + 1);
    int r = cut_proto(copy, &item.proto, e);
    if (r < 0) {
        error_add(e, "%s", text);
        return r;
    }
    if (!split_parts(copy, &ip, &host_text, &container_text))
        return error_set(e, ERR_INVALID, "invalid port specification: \"%s\"", text);
    if (container_text[0] == '\0')
        return error_set(e, ERR_INVALID, "no port specified: %s", text);
    if (!scan_range(container_text, &container) || container.first == 0)
        return error_set(e, ERR_INVALID, "invalid containerPort: %s (in \"%s\")", container_text,
                         text);
    if (host_text[0] != '\0' && !scan_range(host_text, &host))
        return error_set(e, ERR_INVALID, "invalid hostPort: %s (in \"%s\")", host_text, text);
    if (ip[0] != '\0') {
        if (!is_address(ip))
            return error_set(e, ERR_INVALID, "invalid IP address: %s (in \"%s\")", ip, text);
        memcpy(item.host_ip, ip, strlen(ip) + 1);
    }
    size_t nhost = (size_t)(host.last - host.first) + 1;
    size_t ncontainer = (size_t)(container.last - container.first) + 1;
    if (host.first != 0 && ncontainer > 1 && nhost != ncontainer)
        return error_set(e, ERR_INVALID,
                         "invalid ranges specified for container and host ports: %s and %s",
                         container_text, host_text);
    append_range(out, &item, container, host);
    return 0;
}

int portspec_parse_expose(const char *text, struct port_specs *out, struct error *e)
{
    char copy[SPEC_LEN_MAX];
    struct port_spec item = {0};
    struct range container, none = {0};
    size_t len = strlen(text);

    if (len >= sizeof(copy))
        return error_set(e, ERR_INVALID, "invalid port to expose: %.40s…", text);
    memcpy(copy, text, len + 1);
    int r = cut_proto(copy, &item.proto, e);
    if (r < 0) {
        error_add(e, "%s", text);
        return r;
    }
    if (!scan_range(copy, &container) || container.first == 0)
        return error_set(e, ERR_INVALID, "invalid port to expose: \"%s\"", text);
    append_range(out, &item, container, none);
    return 0;
}

int portspec_parse_port(const char *text, uint16_t *ret_port, enum port_proto *ret_proto,
                        struct error *e)
{
    char copy[SPEC_LEN_MAX];
    size_t len = strlen(text);
    enum port_proto proto;
    uint16_t port;

    if (len >= sizeof(copy))
        return error_set(e, ERR_INVALID, "invalid port: %.40s…", text);
    memcpy(copy, text, len + 1);
    int r = cut_proto(copy, &proto, e);
    if (r < 0) {
        error_add(e, "%s", text);
        return r;
    }
    if (!scan_port(copy, strlen(copy), &port) || port == 0)
        return error_set(e, ERR_INVALID, "invalid port: \"%s\"", text);
    *ret_port = port;
    *ret_proto = proto;
    return 0;
}

int portspec_parse_host_port(const char *text, uint16_t *ret_first, uint16_t *ret_last,
                             struct error *e)
{
    struct range r = {0};

    if (text[0] != '\0' && !scan_range(text, &r))
        return error_set(e, ERR_INVALID, "invalid hostPort: %.40s", text);
    *ret_first = r.first;
    *ret_last = r.last;
    return 0;
}
