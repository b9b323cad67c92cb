/* SPDX-License-Identifier: Apache-2.0 */
/* Networks, for reading: what clients look at on their way. Volumes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"

struct network_entry {
    const char *name, *driver;
    char id[65];
};
enum { NETWORKS = 3 };

/* The three networks that are always there. Host and none have names of their own as ids. */
static void networks(struct engine *en, struct network_info *info, struct network_entry out[])
{
    static const struct network_entry fixed[NETWORKS] = {
        {"bridge", "bridge", ""},
        {"host", "host", "686f7374686f7374686f7374686f7374686f7374686f7374686f7374686f7374"},
        {"none", "null", "6e6f6e656e6f6e656e6f6e656e6f6e656e6f6e656e6f6e656e6f6e656e6f6e65"},
    };

    engine_network_info(en, info);
    memcpy(out, fixed, sizeof(fixed));
    memcpy(out[0].id, info->network_id, sizeof(out[0].id));
}

static void encode_subnet(struct jsonw *w, const char *subnet, const char *gateway)
{
    if (!subnet[0])
        return;
    jsonw_begin(w, NULL);
    jsonw_str(w, "Subnet", subnet);
    jsonw_str(w, "Gateway", gateway);
    jsonw_end(w);
}

static void encode_network(struct jsonw *w, const struct network_entry *n,
                           const struct network_info *info)
{
    bool bridge = STREQ(n->name, "bridge");
    char mtu[16];

    jsonw_begin(w, NULL);
    jsonw_str(w, "Name", n->name);
    jsonw_str(w, "Id", n->id);
    jsonw_time(w, "Created", 0);
    jsonw_str(w, "Scope", "local");
    jsonw_str(w, "Driver", n->driver);
    jsonw_bool(w, "EnableIPv4", true);
    jsonw_bool(w, "EnableIPv6", bridge && info->ipv6);
    jsonw_begin(w, "IPAM");
    jsonw_str(w, "Driver", "default");
    jsonw_null(w, "Options");
    jsonw_list_begin(w, "Config");
    if (bridge) {
        encode_subnet(w, info->subnet, info->gateway);
        encode_subnet(w, info->subnet6, info->gateway6);
    }
    jsonw_list_end(w);
    jsonw_end(w);
    jsonw_bool(w, "Internal", false);
    jsonw_bool(w, "Attachable", false);
    jsonw_bool(w, "Ingress", false);
    jsonw_begin(w, "ConfigFrom");
    jsonw_str(w, "Network", "");
    jsonw_end(w);
    jsonw_bool(w, "ConfigOnly", false);
    jsonw_begin(w, "Containers");
    jsonw_end(w);
    jsonw_begin(w, "Options");
    if (bridge) {
        snprintf(mtu, sizeof(mtu), "%u", info->mtu);
        jsonw_str(w, "com.docker.network.bridge.default_bridge", "true");
        jsonw_str(w, "com.docker.network.bridge.enable_icc", info->icc ? "true" : "false");
        jsonw_str(w, "com.docker.network.bridge.enable_ip_masquerade",
                  info->ip_masq ? "true" : "false");
        jsonw_str(w, "com.docker.network.bridge.name", info->bridge);
        jsonw_str(w, "com.docker.network.driver.mtu", mtu);
    }
    jsonw_end(w);
    jsonw_begin(w, "Labels");
    jsonw_end(w);
    jsonw_end(w);
}

void api_network_list(struct http_request *req, void *ctx)
{
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct network_entry list[NETWORKS];
    struct network_info info = {0};
    AUTO(filter_set) struct filter_set f = {0};
    char *const *names;

    if (api_filters(req, &f) < 0)
        return;
    names = filter_set_get(&f, "name");
    networks(api_engine(ctx), &info, list);
    jsonw_list_begin(&w, NULL);
    for (int i = 0; i < NETWORKS; i++)
        if (list[i].id[0] && (!names || !names[0] || strstr(list[i].name, names[0])))
            encode_network(&w, &list[i], &info);
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_network_inspect(struct http_request *req, void *ctx)
{
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct network_entry list[NETWORKS];
    struct network_info info = {0};
    const char *id = http_param(req, "id");

    networks(api_engine(ctx), &info, list);
    for (int i = 0; i < NETWORKS; i++) {
        if (!list[i].id[0] || (!STREQ(list[i].name, id) && !str_has_prefix(list[i].id, id)))
            continue;
        encode_network(&w, &list[i], &info);
        (void)buf_putc(&b, '\n');
        http_reply_json(req, 200, &b);
        return;
    }
    http_reply_message(req, 404, "network %s not found", id);
}

/* Bodies of connect and disconnect. */
struct connect_request {
    char *container;
    struct endpoint_config endpoint;
    bool force;
};
static const struct json_field connect_fields[] = {
    JSON_FIELD(struct connect_request, container, "Container", JSON_STR, JSON_REQUIRED),
    JSON_FIELD_SUB(struct connect_request, endpoint, "EndpointConfig", JSON_OBJ, 0,
                   &endpoint_config_json),
    JSON_FIELD(struct connect_request, force, "Force", JSON_BOOL, 0),
    JSON_END,
};
static const struct json_desc connect_json = {"connect", sizeof(struct connect_request),
                                              connect_fields};

/* Both are updates of the container. */
static void update_networks(struct http_request *req, void *ctx, bool connect)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **warnings = NULL;
    struct connect_request c = {0};
    struct container_update u = {0};
    int r;

    if (api_body(req, &connect_json, &c) < 0)
        return;
    if (connect) {
        struct endpoint_config *add = json_list_add(&u.networks_add, sizeof(*add));

        json_copy(&endpoint_config_json, add, &c.endpoint);
        str_replace(&add->key, http_param(req, "id"));
    } else {
        strv_push(&u.networks_rm, http_param(req, "id"));
    }
    r = c.container ? engine_update(api_engine(ctx), c.container, &u, &warnings, &e)
                    : error_set(&e, ERR_INVALID, "Container is missing");
    if (r < 0 && !connect && c.force && strstr(error_message(&e), "is not connected to")) {
        error_done(&e);
        r = 0;
    }
    json_free(&connect_json, &c);
    json_free(&container_update_json, &u);
    api_done(req, r, 200, &e);
}

void api_network_connect(struct http_request *req, void *ctx)
{
    update_networks(req, ctx, true);
}

void api_network_disconnect(struct http_request *req, void *ctx)
{
    update_networks(req, ctx, false);
}

void api_volume_list(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct volume *list = NULL;
    size_t len = 0;

    if (volume_list(engine_volumes(api_engine(ctx)), &list, &len, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_list_begin(&w, "Volumes");
    for (size_t i = 0; i < len; i++) {
        jsonw_obj(&w, NULL, &volume_json, &list[i]);
        volume_done(&list[i]);
    }
    jsonw_list_end(&w);
    jsonw_null(&w, "Warnings");
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    free(list);
    http_reply_json(req, 200, &b);
}

void api_volume_inspect(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct buf b = ANSWER_INIT;
    struct volume v = {0};

    if (volume_get(engine_volumes(api_engine(ctx)), http_param(req, "name"), &v, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    (void)json_print(&volume_json, &v, &b);
    (void)buf_putc(&b, '\n');
    volume_done(&v);
    http_reply_json(req, 200, &b);
}

/* The body of POST /volumes/create. */
struct volume_create_body {
    char *name;
    char *driver;
    struct json_map driver_opts;
    struct json_map labels;
    char *cluster; /* raw: Swarm's, refused */
};
static const struct json_field volume_create_fields[] = {
    JSON_FIELD(struct volume_create_body, name, "Name", JSON_STR, 0),
    JSON_FIELD(struct volume_create_body, driver, "Driver", JSON_STR, 0),
    JSON_FIELD(struct volume_create_body, driver_opts, "DriverOpts", JSON_STR_MAP, 0),
    JSON_FIELD(struct volume_create_body, labels, "Labels", JSON_STR_MAP, 0),
    JSON_FIELD(struct volume_create_body, cluster, "ClusterVolumeSpec", JSON_RAW, 0),
    JSON_END,
};
static const struct json_desc volume_create_json = {"volume", sizeof(struct volume_create_body),
                                                    volume_create_fields};

void api_volume_create(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct buf b = ANSWER_INIT;
    struct volume_create_body body = {0};
    struct volume v = {0};
    int r;

    if (api_body(req, &volume_create_json, &body) < 0)
        return;
    const struct volume_params p = {
        .name = body.name,
        .driver = body.driver,
        .labels = &body.labels,
        .options = &body.driver_opts,
    };
    r = body.cluster && !STREQ(body.cluster, "null")
            ? error_set(&e, ERR_INVALID, "cluster volumes are Swarm's; Pouch has none")
            : engine_volume_create(api_engine(ctx), &p, &v, &e);
    json_free(&volume_create_json, &body);
    if (r < 0) {
        http_reply_error(req, &e);
        return;
    }
    (void)json_print(&volume_json, &v, &b);
    (void)buf_putc(&b, '\n');
    volume_done(&v);
    http_reply_json(req, 201, &b);
}

void api_volume_remove(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    bool force = parse_bool_query(http_query(req, "force"), false);
    int r = engine_volume_remove(api_engine(ctx), http_param(req, "name"), force, &e);

    api_done(req, r, 204, &e);
}
