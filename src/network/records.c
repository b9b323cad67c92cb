/* SPDX-License-Identifier: Apache-2.0 */
/* The database: which container has which address and ports, and the chosen subnets. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/log.h"
#include "network/network-priv.h"
#include "store/store.h"

static const char *const steps[] = {
    "CREATE TABLE network_settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE addresses ("
    "  container_id TEXT PRIMARY KEY,"
    "  endpoint_id TEXT NOT NULL,"
    "  ip TEXT NOT NULL UNIQUE,"
    "  ip6 TEXT NOT NULL,"
    "  mac TEXT NOT NULL,"
    "  host_ifname TEXT NOT NULL,"
    "  ports TEXT NOT NULL" /* JSON */
    ") WITHOUT ROWID;",
    NULL,
};

/* The stored form of a port. */
struct stored_port {
    char *proto;
    char *host_ip;
    uint64_t host_port;
    uint64_t container_port;
};
struct stored_ports {
    uint64_t priority;
    struct json_list ports;
};

static const struct json_field port_fields[] = {
    JSON_FIELD(struct stored_port, proto, "proto", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct stored_port, host_ip, "host_ip", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct stored_port, host_port, "host_port", JSON_UINT, JSON_REQUIRED),
    JSON_FIELD(struct stored_port, container_port, "port", JSON_UINT, JSON_REQUIRED),
    JSON_END,
};
static const struct json_desc port_json = {"port", sizeof(struct stored_port), port_fields};
static const struct json_field ports_fields[] = {
    JSON_FIELD(struct stored_ports, priority, "priority", JSON_UINT, 0),
    JSON_FIELD_SUB(struct stored_ports, ports, "ports", JSON_OBJ_LIST, 0, &port_json),
    JSON_END,
};
static const struct json_desc ports_json = {"ports", sizeof(struct stored_ports), ports_fields};

int records_migrate(struct store *s, struct error *e)
{
    return store_migrate(s, "network", steps, e);
}

int records_get(struct store *s, const char *key, char **ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s, &rows, e, "SELECT value FROM network_settings WHERE key = ?", "s", key);

    if (r < 0)
        return r;
    r = store_rows_next(&rows, e);
    if (r < 0)
        return r;
    *ret = r ? xstrdup_or_null(store_col_str(&rows, 0)) : NULL;
    return 0;
}

int records_set(struct store *s, const char *key, const char *value, struct error *e)
{
    int r = store_exec(s, e, "INSERT OR REPLACE INTO network_settings VALUES (?, ?)", "ss", key,
                       value);

    return r < 0 ? r : 0;
}

static char *print_ports(const struct network_endpoint *ep)
{
    struct buf out = BUF_INIT(BUF_UNLIMITED);

    if (ep->nports == 0 && !ep->priority)
        return xstrdup("{}");
    (void)buf_printf(&out, "{\"priority\":%u,\"ports\":[", ep->priority);
    for (size_t i = 0; i < ep->nports; i++) {
        const struct network_port *p = &ep->ports[i];
        (void)buf_printf(&out,
                         "%s{\"proto\":\"%s\",\"host_ip\":\"%s\",\"host_port\":%u,\"port\":%u}",
                         i ? "," : "", port_proto_name(p->proto), p->host_ip, p->host_port,
                         p->container_port);
    }
    (void)buf_puts(&out, "]}");
    return buf_take(&out);
}

static int proto_by_name(const char *name, enum port_proto *ret)
{
    for (int i = 0; i < PORT_PROTO_MAX; i++)
        if (STREQ(name, port_proto_name((enum port_proto)i))) {
            *ret = (enum port_proto)i;
            return 0;
        }
    return -EINVAL;
}

static int parse_ports(const char *text, struct network_endpoint *ep, struct error *e)
{
    struct stored_ports stored = {0};
    int r = json_parse(&ports_json, text, strlen(text), &stored, e);

    if (r < 0)
        return r;
    const struct stored_port *items = stored.ports.items;
    ep->priority = (uint32_t)stored.priority;
    if (stored.ports.len)
        ep->ports = xcalloc(stored.ports.len, sizeof(ep->ports[0]));
    for (size_t i = 0; i < stored.ports.len; i++) {
        struct network_port *p = &ep->ports[ep->nports];
        if (proto_by_name(items[i].proto, &p->proto) < 0 ||
            strlen(items[i].host_ip) >= sizeof(p->host_ip))
            continue;
        strcpy(p->host_ip, items[i].host_ip); /* fits: looked at above */
        p->host_port = (uint16_t)items[i].host_port;
        p->container_port = (uint16_t)items[i].container_port;
        ep->nports++;
    }
    json_free(&ports_json, &stored);
    return 0;
}

int records_insert(struct store *s, const struct network_endpoint *ep, struct error *e)
{
    AUTOFREE char *ports = print_ports(ep);
    int r = store_exec(s, e, "INSERT INTO addresses VALUES (?, ?, ?, ?, ?, ?, ?)", "sssssss",
                       ep->container_id, ep->endpoint_id, ep->ip, ep->ip6, ep->mac, ep->host_ifname,
                       ports);

    return r < 0 ? r : 0;
}

int records_set_ports(struct store *s, const struct network_endpoint *ep, struct error *e)
{
    AUTOFREE char *ports = print_ports(ep);
    int r = store_exec(s, e, "UPDATE addresses SET ports = ? WHERE container_id = ?", "ss", ports,
                       ep->container_id);

    return r < 0 ? r : 0;
}

int records_delete(struct store *s, const char *container_id, struct error *e)
{
    int r = store_exec(s, e, "DELETE FROM addresses WHERE container_id = ?", "s", container_id);

    return r < 0 ? r : 0;
}

/* A column into a fixed field; what does not fit is not ours. */
static bool copy_column(const struct store_rows *rows, int column, char *out, size_t size)
{
    const char *text = store_col_str(rows, column);

    if (!text || strlen(text) >= size)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

int records_load(struct store *s, void (*cb)(void *data, struct network_endpoint *ep), void *data,
                 struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s, &rows, e,
                        "SELECT container_id, endpoint_id, ip, ip6, mac, host_ifname, ports "
                        "FROM addresses ORDER BY container_id",
                        "");

    if (r < 0)
        return r;
    while ((r = store_rows_next(&rows, e)) > 0) {
        struct network_endpoint ep = {.mode = NETWORK_BRIDGE};
        struct error why = ERROR_INIT;
        const char *ports = store_col_str(&rows, 6);
        if (!copy_column(&rows, 0, ep.container_id, sizeof(ep.container_id)) ||
            !copy_column(&rows, 1, ep.endpoint_id, sizeof(ep.endpoint_id)) ||
            !copy_column(&rows, 2, ep.ip, sizeof(ep.ip)) ||
            !copy_column(&rows, 3, ep.ip6, sizeof(ep.ip6)) ||
            !copy_column(&rows, 4, ep.mac, sizeof(ep.mac)) ||
            !copy_column(&rows, 5, ep.host_ifname, sizeof(ep.host_ifname)) || !ports ||
            parse_ports(ports, &ep, &why) < 0) {
            log_warn("a stored address is not readable and is left out", "id=%s err=\"%s\"",
                     ep.container_id, error_message(&why));
            error_done(&why);
            network_endpoint_done(&ep);
            continue;
        }
        cb(data, &ep);
    }
    return r < 0 ? r : 0;
}
