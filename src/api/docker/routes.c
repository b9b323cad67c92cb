/* SPDX-License-Identifier: Apache-2.0 */
/* The route table, version prefixes, headers of every reply, and what handlers share. */
#include "api/docker/docker.h"

#include <string.h>
#include <strings.h>

#include "api/docker/docker-priv.h"
#include "base/str.h"

static void api_not_supported(struct http_request *req, void *ctx)
{
    http_reply_message(req, 501, "%s %s is not supported by this version of Pouch",
                       http_method(req), http_path(req));
}

const struct http_route docker_routes[] = {
    {"GET", "/_ping", api_ping, 0, 0},
    {"POST", "/auth", api_auth, 0, 0},
    {"GET", "/version", api_version, 0, 0},
    {"GET", "/info", api_info, 0, 0},
    {"GET", "/events", api_events, 0, 0},
    {"GET", "/plugins", api_plugins, 0, 0},
    {"GET", "/plugins/{name*}/json", api_plugin_inspect, 0, 0},

    {"GET", "/system/df", api_system_df, 0, 0},
    {"POST", "/containers/prune", api_container_prune, 0, 0},
    {"POST", "/images/prune", api_image_prune, 0, 0},
    {"POST", "/networks/prune", api_network_prune, 0, 0},
    {"POST", "/build/prune", api_build_prune, 0, 0},
    {"POST", "/volumes/prune", api_volume_prune, 0, 0},
    {"GET", "/containers/json", api_container_list, 0, 0},
    {"POST", "/containers/create", api_container_create, 0, 0},
    {"GET", "/containers/{id}/json", api_container_inspect, 0, 0},
    {"GET", "/containers/{id}/top", api_container_top, 0, 0},
    {"GET", "/containers/{id}/logs", api_container_logs, 0, 0},
    {"POST", "/containers/{id}/start", api_container_start, 0, 0},
    {"POST", "/containers/{id}/stop", api_container_stop, 0, 0},
    {"POST", "/containers/{id}/restart", api_container_restart, 0, 0},
    {"POST", "/containers/{id}/kill", api_container_kill, 0, 0},
    {"POST", "/containers/{id}/pause", api_container_pause, 0, 0},
    {"POST", "/containers/{id}/unpause", api_container_unpause, 0, 0},
    {"POST", "/containers/{id}/remount-lxcfs", api_container_remount_lxcfs, 0, 0},
    {"POST", "/lxcfs/remount", api_remount_lxcfs, 0, 0},
    {"POST", "/containers/{id}/rename", api_container_rename, 0, 0},
    {"POST", "/containers/{id}/update", api_container_update, 0, 0},
    {"GET", "/containers/{id}/changes", api_container_changes, 0, 0},
    {"GET", "/containers/{id}/export", api_container_export, 0, 0},
    {"GET", "/containers/{id}/stats", api_container_stats, 0, 0},
    {"POST", "/containers/{id}/upgrade", api_container_upgrade, 0, 0},
    {"POST", "/containers/{id}/resize", api_container_resize, 0, 0},
    {"POST", "/containers/{id}/wait", api_container_wait, 0, 0},
    {"POST", "/containers/{id}/attach", api_container_attach, 0, 0},
    {"POST", "/containers/{id}/exec", api_exec_create, 0, 0},
    {"DELETE", "/containers/{id}", api_container_remove, 0, 0},

    {"POST", "/exec/{id}/start", api_exec_start, 0, 0},
    {"POST", "/exec/{id}/resize", api_exec_resize, 0, 0},
    {"GET", "/exec/{id}/json", api_exec_inspect, 0, 0},

    {"POST", "/commit", api_commit, 0, 0},
    {"GET", "/images/json", api_image_list, 0, 0},
    {"GET", "/images/search", api_image_search, 0, 0},
    {"POST", "/images/create", api_image_create, HTTP_STREAM_BODY, 0},
    {"POST", "/images/load", api_image_load, HTTP_STREAM_BODY, 0},
    {"GET", "/images/get", api_image_save, 0, 0},
    {"GET", "/images/{name*}/get", api_image_save_one, 0, 0},
    {"GET", "/images/{name*}/json", api_image_inspect, 0, 0},
    {"GET", "/images/{name*}/history", api_image_history, 0, 0},
    {"POST", "/images/{name*}/push", api_image_push, 0, 0},
    {"POST", "/images/{name*}/tag", api_image_tag, 0, 0},
    {"DELETE", "/images/{name*}", api_image_remove, 0, 0},

    {"GET", "/distribution/{name*}/json", api_distribution_inspect, 0, 0},

    {"POST", "/pouch/fsck", api_store_fsck, 0, 0},
    {"POST", "/pouch/gc", api_store_gc, 0, 0},
    {"GET", "/pouch/image-mounts", api_image_mounts, 0, 0},
    {"POST", "/pouch/image-mounts", api_image_mount, 0, 0},
    {"DELETE", "/pouch/image-mounts", api_image_umount, 0, 0},
    {"POST", "/pouch/protect", api_store_protect, 0, 0},
    {"GET", "/pouch/registry-hosts", api_registry_hosts, 0, 0},

    {"GET", "/pouch/manifests", api_manifest_list, 0, 0},
    {"POST", "/pouch/manifests", api_manifest_create, 0, 0},
    {"GET", "/pouch/manifests/{name*}/json", api_manifest_inspect, 0, 0},
    {"GET", "/pouch/manifests/{name*}/referrers", api_manifest_referrers, 0, 0},
    {"POST", "/pouch/manifests/{name*}/annotate", api_manifest_annotate, 0, 0},
    {"POST", "/pouch/manifests/{name*}/push", api_manifest_push, 0, 0},
    {"DELETE", "/pouch/manifests/{name*}", api_manifest_remove, 0, 0},

    {"GET", "/networks", api_network_list, 0, 0},
    {"GET", "/networks/{id}", api_network_inspect, 0, 0},
    {"POST", "/networks/{id}/connect", api_network_connect, 0, 0},
    {"POST", "/networks/{id}/disconnect", api_network_disconnect, 0, 0},
    {"GET", "/volumes", api_volume_list, 0, 0},
    {"POST", "/volumes/create", api_volume_create, 0, 0},
    {"GET", "/volumes/{name}", api_volume_inspect, 0, 0},
    {"DELETE", "/volumes/{name}", api_volume_remove, 0, 0},

    /* Docker has these; saying which is better than "page not found". */
    {"POST", "/session", api_not_supported, 0, 0},
    {"POST", "/grpc", api_not_supported, 0, 0},
    {"POST", "/build", api_not_supported, HTTP_STREAM_BODY, 0},
    {"POST", "/build/{verb}", api_not_supported, 0, 0},
    {"GET", "/containers/{id}/attach/ws", api_not_supported, 0, 0},
    {"GET", "/containers/{id}/archive", api_not_supported, 0, 0},
    {"PUT", "/containers/{id}/archive", api_not_supported, HTTP_STREAM_BODY, 0},
    {"POST", "/networks/{rest*}", api_not_supported, 0, 0},
    {"DELETE", "/networks/{rest*}", api_not_supported, 0, 0},
    {"POST", "/volumes/{rest*}", api_not_supported, 0, 0},
    {"PUT", "/volumes/{rest*}", api_not_supported, 0, 0},
    {"DELETE", "/volumes/{rest*}", api_not_supported, 0, 0},
    {"POST", "/plugins/{rest*}", api_not_supported, HTTP_STREAM_BODY, 0},
    {NULL, NULL, NULL, 0, 0},
};

/* The swarm's families of paths, all methods. */
static const char *const swarm_paths[] = {"/swarm", "/nodes",   "/services",
                                          "/tasks", "/secrets", "/configs"};

static bool is_swarm(const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(swarm_paths); i++) {
        size_t len = strlen(swarm_paths[i]);

        if (strncmp(path, swarm_paths[i], len) == 0 && (path[len] == '\0' || path[len] == '/'))
            return true;
    }
    return false;
}

int docker_prepare(struct http_request *req, const char **path, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    unsigned minor;

    if (docker_version_split(*path, &minor, path, &e) < 0) {
        http_reply_error(req, &e);
        return 1;
    }
    http_set_version(req, minor);
    if (STREQ(http_method(req), "OPTIONS")) {
        http_reply_empty(req, 200);
        return 1;
    }
    if (is_swarm(*path)) {
        http_reply_message(
            req, 503,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker "
            "swarm join\" to connect this node to swarm and try again.");
        return 1;
    }
    return 0;
}

void docker_headers(struct http_request *req, void *ctx)
{
    http_header_add(req, "Server", "Pouch/" POUCH_VERSION " (linux)");
    http_header_add(req, "Api-Version", DOCKER_API_VERSION);
    http_header_add(req, "Ostype", "linux");
    http_header_add(req, "Docker-Experimental", "false");
}

void api_done(struct http_request *req, int r, int status, struct error *e)
{
    if (r < 0)
        http_reply_error(req, e);
    else
        http_reply_empty(req, status);
}

int api_want_json(struct http_request *req)
{
    const char *type = http_header(req, "Content-Type");
    size_t len;

    (void)http_body(req, &len);
    if (len == 0 || !type || strncasecmp(type, "application/json", 16) == 0)
        return 0;
    http_reply_message(req, 400, "unsupported Content-Type header (%s): must be 'application/json'",
                       type);
    return -EINVAL;
}

int api_body(struct http_request *req, const struct json_desc *type, void *obj)
{
    AUTO(error) struct error e = ERROR_INIT;
    size_t len;
    const char *body = http_body(req, &len);
    int r;

    r = api_want_json(req);
    if (r < 0 || len == 0)
        return r;
    r = json_parse(type, body, len, obj, &e);
    if (r < 0)
        http_reply_error(req, &e);
    return r;
}

int api_filters(struct http_request *req, struct filter_set *ret)
{
    AUTO(error) struct error e = ERROR_INIT;
    int r = docker_filters_parse(http_query(req, "filters"), ret, &e);

    if (r < 0)
        http_reply_error(req, &e);
    return r;
}
