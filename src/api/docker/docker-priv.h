/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the handlers; one file a family of routes. */
#pragma once

#include <stdint.h>

#include "api/docker/decode.h"
#include "api/docker/docker.h"
#include "base/buf.h"
#include "base/json.h"
#include "engine/engine.h"
#include "http/server.h"

/* Answers are sized by what the engine holds, not by the peer. */
#define ANSWER_INIT BUF_INIT(BUF_UNLIMITED)

static inline struct engine *api_engine(void *ctx)
{
    return ((struct docker_api *)ctx)->engine;
}

/* Replies with `status` and no body, or with the error. Empties e. */
void api_done(struct http_request *req, int r, int status, struct error *e);
/* The credentials of a request: its headers X-Registry-Auth (for the registry that is named) and
 * X-Registry-Config (for mirrors, by host). */
struct image_auth;
int api_registry_auth(struct http_request *req, struct image_auth *ret, struct error *e) MUST_CHECK;
/* The body as JSON of this type; replies 400 and returns < 0 when it is not. An empty body leaves
 * *obj as it is. */
int api_body(struct http_request *req, const struct json_desc *type, void *obj) MUST_CHECK;
/* Refuses bodies that are declared to be something else than JSON (replies then). */
int api_want_json(struct http_request *req) MUST_CHECK;
/* ERR_INVALID when platform= is there several times (1.52), which no image here can answer. */
int api_one_platform(struct http_request *req, struct error *e) MUST_CHECK;
/* filters= of the query; replies and returns < 0 when it is bad. */
int api_filters(struct http_request *req, struct filter_set *ret) MUST_CHECK;

/* encode.c: Docker's documents */
void encode_container(const struct container_view *v, bool sizes, uint64_t rw, uint64_t rootfs,
                      struct buf *out);
/* image: engine_image_title() */
void encode_container_summary(struct jsonw *w, const struct container_view *v, const char *image,
                              int64_t now, bool sizes, uint64_t rw, uint64_t rootfs);
void encode_exec(const struct exec_view *v, struct buf *out);
/* manifest: NULL when the store has none; manifests: they were asked for. */
void encode_image(const struct image *img, const struct image_manifest *manifest, bool manifests,
                  unsigned version, struct buf *out);
/* Some of an image's names. */
struct image_names {
    char **tags, **digests;
    bool any;
};
/* names: NULL is all; shared, containers: -1 when they were not computed; manifest: or NULL. */
void encode_image_summary(struct jsonw *w, const struct image *img, const struct image_names *names,
                          unsigned version, int64_t shared, int64_t containers,
                          const struct image_manifest *manifest);
/* "Descriptor", and "Manifests" when `manifests`; nothing without a manifest. */
void encode_manifest(struct jsonw *w, const struct image *img, const struct image_manifest *m,
                     bool manifests);
void encode_event(const struct engine_event *ev, struct buf *out);

/* system.c */
void api_ping(struct http_request *req, void *ctx);
void api_version(struct http_request *req, void *ctx);
void api_info(struct http_request *req, void *ctx);
void api_events(struct http_request *req, void *ctx);
void api_plugins(struct http_request *req, void *ctx);
void api_plugin_inspect(struct http_request *req, void *ctx);

/* container.c */
void api_container_list(struct http_request *req, void *ctx);
void api_container_create(struct http_request *req, void *ctx);
void api_container_inspect(struct http_request *req, void *ctx);
void api_container_start(struct http_request *req, void *ctx);
void api_container_stop(struct http_request *req, void *ctx);
void api_container_restart(struct http_request *req, void *ctx);
void api_container_kill(struct http_request *req, void *ctx);
void api_container_pause(struct http_request *req, void *ctx);
void api_container_unpause(struct http_request *req, void *ctx);
void api_container_remount_lxcfs(struct http_request *req, void *ctx);
void api_remount_lxcfs(struct http_request *req, void *ctx);
void api_container_rename(struct http_request *req, void *ctx);
void api_container_update(struct http_request *req, void *ctx);
void api_container_upgrade(struct http_request *req, void *ctx);
void api_container_resize(struct http_request *req, void *ctx);
void api_container_remove(struct http_request *req, void *ctx);
void api_container_top(struct http_request *req, void *ctx);

/* stats.c */
void api_container_stats(struct http_request *req, void *ctx);

/* stream.c */
void api_container_wait(struct http_request *req, void *ctx);
void api_container_attach(struct http_request *req, void *ctx);
void api_container_logs(struct http_request *req, void *ctx);
void api_exec_create(struct http_request *req, void *ctx);
void api_exec_start(struct http_request *req, void *ctx);
void api_exec_resize(struct http_request *req, void *ctx);
void api_exec_inspect(struct http_request *req, void *ctx);

/* image.c */
/* Lines of progress as the answer's stream (data: the request), and its end. */
int api_progress_send(void *data, const struct image_progress *p);
void api_progress_end(struct http_request *req, int r, struct error *e);
void api_store_fsck(struct http_request *req, void *ctx);
void api_store_gc(struct http_request *req, void *ctx);
void api_store_protect(struct http_request *req, void *ctx);
void api_image_list(struct http_request *req, void *ctx);
void api_image_search(struct http_request *req, void *ctx);
void api_auth(struct http_request *req, void *ctx);
void api_registry_hosts(struct http_request *req, void *ctx);
void api_image_create(struct http_request *req, void *ctx);
void api_image_mounts(struct http_request *req, void *ctx);
void api_image_mount(struct http_request *req, void *ctx);
void api_image_umount(struct http_request *req, void *ctx);
void api_system_df(struct http_request *req, void *ctx);
void api_container_prune(struct http_request *req, void *ctx);
void api_image_prune(struct http_request *req, void *ctx);
void api_network_prune(struct http_request *req, void *ctx);
void api_build_prune(struct http_request *req, void *ctx);
void api_volume_prune(struct http_request *req, void *ctx);
void api_container_export(struct http_request *req, void *ctx);
void api_container_changes(struct http_request *req, void *ctx);
void api_commit(struct http_request *req, void *ctx);
void api_image_save(struct http_request *req, void *ctx);
void api_image_save_one(struct http_request *req, void *ctx);
void api_image_load(struct http_request *req, void *ctx);
void api_image_inspect(struct http_request *req, void *ctx);
void api_image_history(struct http_request *req, void *ctx);
void api_image_tag(struct http_request *req, void *ctx);
void api_image_remove(struct http_request *req, void *ctx);

/* manifest.c */
void api_manifest_create(struct http_request *req, void *ctx);
void api_manifest_annotate(struct http_request *req, void *ctx);
void api_manifest_inspect(struct http_request *req, void *ctx);
void api_manifest_list(struct http_request *req, void *ctx);
void api_manifest_push(struct http_request *req, void *ctx);
void api_manifest_remove(struct http_request *req, void *ctx);
void api_distribution_inspect(struct http_request *req, void *ctx);
void api_manifest_referrers(struct http_request *req, void *ctx);

/* push.c */
void api_image_push(struct http_request *req, void *ctx);

/* network.c: networks and volumes, for reading */
void api_network_list(struct http_request *req, void *ctx);
void api_network_inspect(struct http_request *req, void *ctx);
void api_network_connect(struct http_request *req, void *ctx);
void api_network_disconnect(struct http_request *req, void *ctx);
void api_volume_list(struct http_request *req, void *ctx);
void api_volume_inspect(struct http_request *req, void *ctx);
void api_volume_create(struct http_request *req, void *ctx);
void api_volume_remove(struct http_request *req, void *ctx);
