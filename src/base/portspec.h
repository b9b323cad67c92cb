/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port specifications as users write them: what `-p`, `--expose` and the API's PortBindings take.
 * Pure text work, shared by the command line and the engine; nothing here touches the network.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

enum port_proto { PORT_TCP, PORT_UDP, PORT_SCTP, PORT_PROTO_MAX };

#define PORT_HOST_IP_MAX 46 /* INET6_ADDRSTRLEN */

/* One container port, and where on the host it is to be found. */
struct port_spec {
    enum port_proto proto;
    uint16_t container_port;        /* never 0 */
    char host_ip[PORT_HOST_IP_MAX]; /* "" when not given: every address. Without brackets */
    uint16_t host_first;            /* 0: any free port */
    uint16_t host_last;             /* = host_first, or the end of the range to choose from */
};

struct port_specs {
    struct port_spec *items;
    size_t len;
};

/*
 * `-p`: [[HOST_IP:][HOST_PORT[-LAST]]:]CONTAINER_PORT[-LAST][/tcp|udp|sctp], IPv6 addresses in
 * brackets. Ranges of one length give a specification a port; a host range with a single container
 * port means "one of these". Appends to *out (zeroed at first; port_specs_done() frees it).
 * ERR_INVALID says what is wrong; *out is then unchanged.
 */
int portspec_parse(const char *text, struct port_specs *out, struct error *e) MUST_CHECK;

/* `--expose`: PORT[-LAST][/proto], appended with host_first = host_last = 0. */
int portspec_parse_expose(const char *text, struct port_specs *out, struct error *e) MUST_CHECK;

/* A key of the API's ExposedPorts and PortBindings: "80", "80/tcp". */
int portspec_parse_port(const char *text, uint16_t *ret_port, enum port_proto *ret_proto,
                        struct error *e) MUST_CHECK;

/* The API's HostPort: "" (any: 0, 0), "8080", "8000-8010". */
int portspec_parse_host_port(const char *text, uint16_t *ret_first, uint16_t *ret_last,
                             struct error *e) MUST_CHECK;

/* "tcp", "udp", "sctp". */
const char *port_proto_name(enum port_proto proto);

void port_specs_done(struct port_specs *specs);
