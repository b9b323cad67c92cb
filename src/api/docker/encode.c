/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's views as Docker's documents, in the field order Docker prints. */
#include <stdio.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

/* The name of the network a container is on, as NetworkSettings.Networks has it; NULL: none of its
 * own. Before the start only the wish is known. */
static const char *network_name(const struct container_view *v)
{
    const char *mode = v->def->host_config.network_mode;

    if (v->has_endpoint && v->endpoint.network_name[0])
        return v->endpoint.network_name;
    if (str_is_empty(mode) || STREQ(mode, "default"))
        return "bridge";
    return str_has_prefix(mode, "container:") ? NULL : mode;
}

/* An endpoint in NetworkSettings.Networks. */
static void encode_endpoint(struct jsonw *w, const char *name, const struct network_endpoint *ep)
{
    jsonw_begin(w, name);
    jsonw_null(w, "IPAMConfig");
    jsonw_null(w, "Links");
    jsonw_null(w, "Aliases");
    jsonw_str(w, "MacAddress", ep->mac);
    jsonw_null(w, "DriverOpts");
    jsonw_int(w, "GwPriority", 0);
    jsonw_str(w, "NetworkID", ep->network_id);
    jsonw_str(w, "EndpointID", ep->endpoint_id);
    jsonw_str(w, "Gateway", ep->gateway);
    jsonw_str(w, "IPAddress", ep->ip);
    jsonw_uint(w, "IPPrefixLen", ep->prefix);
    jsonw_str(w, "IPv6Gateway", ep->gateway6);
    jsonw_str(w, "GlobalIPv6Address", ep->ip6);
    jsonw_uint(w, "GlobalIPv6PrefixLen", ep->prefix6);
    jsonw_null(w, "DNSNames");
    jsonw_end(w);
}

static void encode_networks(struct jsonw *w, const struct container_view *v)
{
    const char *name = network_name(v);
    static const struct network_endpoint none;

    jsonw_begin(w, "Networks");
    if (name)
        encode_endpoint(w, name, v->has_endpoint ? &v->endpoint : &none);
    jsonw_end(w);
}

static bool is_published(const struct network_endpoint *ep, const char *exposed)
{
    for (size_t i = 0; i < ep->nports; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%u/%s", ep->ports[i].container_port,
                 port_proto_name(ep->ports[i].proto));
        if (STREQ(key, exposed))
            return true;
    }
    return false;
}

/* NetworkSettings.Ports: published ones with their host ports, exposed ones with null. */
static void encode_port_map(struct jsonw *w, const struct container_view *v)
{
    const struct network_endpoint *ep = &v->endpoint;
    char last[16] = "";

    jsonw_begin(w, "Ports");
    if (v->has_endpoint) {
        for (size_t i = 0; i < ep->nports; i++) { /* sorted by port */
            const struct network_port *p = &ep->ports[i];
            char key[16], number[8];

            snprintf(key, sizeof(key), "%u/%s", p->container_port, port_proto_name(p->proto));
            if (!STREQ(key, last)) {
                if (last[0])
                    jsonw_list_end(w);
                jsonw_list_begin(w, key);
                memcpy(last, key, sizeof(last));
            }
            snprintf(number, sizeof(number), "%u", p->host_port);
            jsonw_begin(w, NULL);
            jsonw_str(w, "HostIp", p->host_ip);
            jsonw_str(w, "HostPort", number);
            jsonw_end(w);
        }
        if (last[0])
            jsonw_list_end(w);
        for (char **x = v->def->config.exposed_ports; ep->endpoint_id[0] && x && *x; x++)
            if (!is_published(ep, *x))
                jsonw_null(w, *x);
    }
    jsonw_end(w);
}

static void encode_network_settings(struct jsonw *w, const struct container_view *v)
{
    static const struct network_endpoint none;
    const struct network_endpoint *ep = v->has_endpoint ? &v->endpoint : &none;

    jsonw_begin(w, "NetworkSettings");
    jsonw_str(w, "Bridge", "");
    jsonw_str(w, "SandboxID", "");
    jsonw_str(w, "SandboxKey", "");
    encode_port_map(w, v);
    jsonw_bool(w, "HairpinMode", false);
    jsonw_str(w, "LinkLocalIPv6Address", "");
    jsonw_int(w, "LinkLocalIPv6PrefixLen", 0);
    jsonw_null(w, "SecondaryIPAddresses");
    jsonw_null(w, "SecondaryIPv6Addresses");
    jsonw_str(w, "EndpointID", ep->endpoint_id);
    jsonw_str(w, "Gateway", ep->gateway);
    jsonw_str(w, "GlobalIPv6Address", ep->ip6);
    jsonw_uint(w, "GlobalIPv6PrefixLen", ep->prefix6);
    jsonw_str(w, "IPAddress", ep->ip);
    jsonw_uint(w, "IPPrefixLen", ep->prefix);
    jsonw_str(w, "IPv6Gateway", ep->gateway6);
    jsonw_str(w, "MacAddress", ep->mac);
    encode_networks(w, v);
    jsonw_end(w);
}

static void encode_mounts(struct jsonw *w, const struct container_definition *def)
{
    jsonw_list_begin(w, "Mounts");
    for (size_t i = 0; i < def->mounts.len; i++) {
        const struct volume_mount *m = &def->mounts.items[i];

        /* `--tmpfs` stands in HostConfig.Tmpfs only, as Docker has it. */
        if (STREQ(m->type, "tmpfs") && json_map_get(&def->host_config.tmpfs, m->destination))
            continue;
        jsonw_begin(w, NULL);
        jsonw_str(w, "Type", m->type);
        if (m->name)
            jsonw_str(w, "Name", m->name);
        jsonw_str(w, "Source", m->source);
        jsonw_str(w, "Destination", m->destination);
        if (m->driver)
            jsonw_str(w, "Driver", m->driver);
        jsonw_str(w, "Mode", m->mode);
        jsonw_bool(w, "RW", m->rw);
        jsonw_str(w, "Propagation", m->propagation);
        jsonw_end(w);
    }
    jsonw_list_end(w);
}

static void encode_health(struct jsonw *w, const struct health_state *h)
{
    jsonw_begin(w, "Health");
    jsonw_str(w, "Status", health_status_name(h->status));
    jsonw_int(w, "FailingStreak", h->failing_streak);
    jsonw_list_begin(w, "Log");
    for (size_t i = 0; i < h->nlog; i++) {
        jsonw_begin(w, NULL);
        jsonw_time(w, "Start", h->log[i].start);
        jsonw_time(w, "End", h->log[i].end);
        jsonw_int(w, "ExitCode", h->log[i].exit_code);
        jsonw_str(w, "Output", h->log[i].output);
        jsonw_end(w);
    }
    jsonw_list_end(w);
    jsonw_end(w);
}

static void encode_state(struct jsonw *w, const struct container_view *v)
{
    bool alive = v->status == CONTAINER_RUNNING || v->status == CONTAINER_PAUSED ||
                 v->status == CONTAINER_RESTARTING;

    jsonw_begin(w, "State");
    jsonw_str(w, "Status", container_status_name(v->status));
    jsonw_bool(w, "Running", alive);
    jsonw_bool(w, "Paused", v->status == CONTAINER_PAUSED);
    jsonw_bool(w, "Restarting", v->status == CONTAINER_RESTARTING);
    jsonw_bool(w, "OOMKilled", v->oom_killed);
    jsonw_bool(w, "Dead", v->status == CONTAINER_DEAD);
    jsonw_int(w, "Pid", v->pid);
    jsonw_int(w, "ExitCode", v->exit_code);
    jsonw_str(w, "Error", v->error);
    jsonw_time(w, "StartedAt", v->started);
    jsonw_time(w, "FinishedAt", v->finished);
    if (v->health)
        encode_health(w, v->health);
    jsonw_end(w);
}

/* A file the engine writes into the container's folder. */
static void encode_file(struct jsonw *w, const char *key, const char *dir, const char *name)
{
    AUTOFREE char *path = dir ? xasprintf("%s/%s", dir, name) : xstrdup("");

    jsonw_str(w, key, path);
}

void encode_container(const struct container_view *v, bool sizes, uint64_t rw, uint64_t rootfs,
                      struct buf *out)
{
    const struct container_definition *def = v->def;
    AUTOFREE char *name = xasprintf("/%s", v->name);
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Id", def->id);
    jsonw_time(&w, "Created", def->created);
    jsonw_str(&w, "Path", def->path);
    jsonw_strv(&w, "Args", def->args);
    encode_state(&w, v);
    jsonw_str(&w, "Image", def->image_id);
    encode_file(&w, "ResolvConfPath", def->dir, "resolv.conf");
    encode_file(&w, "HostnamePath", def->dir, "hostname");
    encode_file(&w, "HostsPath", def->dir, "hosts");
    jsonw_str(&w, "LogPath", def->log_path);
    jsonw_str(&w, "Name", name);
    jsonw_int(&w, "RestartCount", v->restart_count);
    jsonw_str(&w, "Driver", def->driver);
    jsonw_str(&w, "Platform", def->platform ? def->platform : "linux");
    jsonw_str(&w, "MountLabel", "");
    jsonw_str(&w, "ProcessLabel", "");
    jsonw_str(&w, "AppArmorProfile", "");
    if (v->warnings && v->warnings[0])
        jsonw_strv(&w, "Warnings", v->warnings);
    if (v->exec_ids && v->exec_ids[0])
        jsonw_strv(&w, "ExecIDs", v->exec_ids);
    else
        jsonw_null(&w, "ExecIDs");
    jsonw_obj(&w, "HostConfig", &host_config_json, &def->host_config);
    jsonw_begin(&w, "GraphDriver");
    jsonw_null(&w, "Data");
    jsonw_str(&w, "Name", def->driver);
    jsonw_end(&w);
    if (sizes) {
        jsonw_uint(&w, "SizeRw", rw);
        jsonw_uint(&w, "SizeRootFs", rootfs);
    }
    encode_mounts(&w, def);
    jsonw_obj(&w, "Config", &container_config_json, &def->config);
    encode_network_settings(&w, v);
    jsonw_end(&w);
    (void)buf_putc(out, '\n');
}

/* The list's Ports: one object a binding; exposed ones have no PublicPort. */
static void encode_port_list(struct jsonw *w, const struct container_view *v)
{
    const struct network_endpoint *ep = &v->endpoint;

    jsonw_list_begin(w, "Ports");
    for (char **x = v->def->config.exposed_ports; v->has_endpoint && ep->endpoint_id[0] && x && *x;
         x++) {
        uint16_t port;
        enum port_proto proto;

        if (is_published(ep, *x) || portspec_parse_port(*x, &port, &proto, NULL) < 0)
            continue;
        jsonw_begin(w, NULL);
        jsonw_uint(w, "PrivatePort", port);
        jsonw_str(w, "Type", port_proto_name(proto));
        jsonw_end(w);
    }
    for (size_t i = 0; v->has_endpoint && i < ep->nports; i++) {
        jsonw_begin(w, NULL);
        jsonw_str(w, "IP", ep->ports[i].host_ip);
        jsonw_uint(w, "PrivatePort", ep->ports[i].container_port);
        jsonw_uint(w, "PublicPort", ep->ports[i].host_port);
        jsonw_str(w, "Type", port_proto_name(ep->ports[i].proto));
        jsonw_end(w);
    }
    jsonw_list_end(w);
}

void encode_container_summary(struct jsonw *w, const struct container_view *v, const char *image,
                              int64_t now, bool sizes, uint64_t rw, uint64_t rootfs)
{
    const struct container_definition *def = v->def;
    AUTOFREE char *status = container_status_text(v, now);
    AUTOFREE char *name = xasprintf("/%s", v->name);
    AUTOFREE char *args = strv_join(def->args, " ");
    AUTOFREE char *command = *args ? xasprintf("%s %s", def->path ? def->path : "", args)
                                   : xstrdup_or_null(def->path);

    jsonw_begin(w, NULL);
    jsonw_str(w, "Id", def->id);
    jsonw_list_begin(w, "Names");
    jsonw_str(w, NULL, name);
    jsonw_list_end(w);
    jsonw_str(w, "Image", image);
    jsonw_str(w, "ImageID", def->image_id);
    jsonw_str(w, "Command", command);
    jsonw_int(w, "Created", def->created / NSEC_PER_SEC);
    encode_port_list(w, v);
    if (sizes) {
        jsonw_uint(w, "SizeRw", rw);
        jsonw_uint(w, "SizeRootFs", rootfs);
    }
    jsonw_map(w, "Labels", &def->config.labels);
    jsonw_str(w, "State", container_status_name(v->status));
    jsonw_str(w, "Status", status);
    jsonw_begin(w, "HostConfig");
    jsonw_str(w, "NetworkMode", def->host_config.network_mode);
    jsonw_end(w);
    jsonw_begin(w, "NetworkSettings");
    encode_networks(w, v);
    jsonw_end(w);
    encode_mounts(w, def);
    jsonw_end(w);
}

void encode_exec(const struct exec_view *v, struct buf *out)
{
    const struct exec_config *c = &v->config;
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ID", v->id);
    jsonw_bool(&w, "Running", v->running);
    if (v->has_exit_code)
        jsonw_int(&w, "ExitCode", v->exit_code);
    else
        jsonw_null(&w, "ExitCode");
    jsonw_begin(&w, "ProcessConfig");
    jsonw_bool(&w, "tty", c->tty);
    jsonw_str(&w, "entrypoint", c->cmd ? c->cmd[0] : NULL);
    jsonw_strv(&w, "arguments", c->cmd && c->cmd[0] ? c->cmd + 1 : NULL);
    jsonw_bool(&w, "privileged", c->privileged);
    if (!str_is_empty(c->user))
        jsonw_str(&w, "user", c->user);
    jsonw_end(&w);
    jsonw_bool(&w, "OpenStdin", c->attach_stdin);
    jsonw_bool(&w, "OpenStderr", c->attach_stderr);
    jsonw_bool(&w, "OpenStdout", c->attach_stdout);
    jsonw_bool(&w, "CanRemove", v->can_remove);
    jsonw_str(&w, "ContainerID", v->container_id);
    jsonw_str(&w, "DetachKeys", c->detach_keys);
    jsonw_int(&w, "Pid", v->pid);
    jsonw_end(&w);
    (void)buf_putc(out, '\n');
}

/* The image's defaults in the shape of a container's Config, which clients before 1.50 expect.
 * Everything is borrowed from the image: nothing is to be freed. */
static struct container_config config_of_image(const struct oci_image_config *c)
{
    return (struct container_config){
        .user = c->user,
        .exposed_ports = c->exposed_ports,
        .env = c->env,
        .cmd = c->cmd,
        .healthcheck = c->healthcheck,
        .volumes = c->volumes,
        .working_dir = c->working_dir,
        .entrypoint = c->entrypoint,
        .on_build = c->on_build,
        .labels = c->labels,
        .stop_signal = c->stop_signal,
        .shell = c->shell,
    };
}

static void encode_descriptor(struct jsonw *w, const struct image_manifest *m)
{
    jsonw_begin(w, "Descriptor");
    jsonw_str(w, "mediaType", m->media_type);
    jsonw_str(w, "digest", m->digest);
    jsonw_uint(w, "size", m->size);
    jsonw_end(w);
}

void encode_manifest(struct jsonw *w, const struct image *img, const struct image_manifest *m,
                     bool manifests)
{
    if (!m || !m->digest)
        return;
    encode_descriptor(w, m);
    if (!manifests)
        return;
    jsonw_list_begin(w, "Manifests");
    jsonw_begin(w, NULL);
    jsonw_str(w, "ID", m->digest);
    encode_descriptor(w, m);
    jsonw_bool(w, "Available", true);
    jsonw_begin(w, "Size");
    jsonw_uint(w, "Content", m->content);
    jsonw_uint(w, "Total", m->content + img->size);
    jsonw_end(w);
    jsonw_str(w, "Kind", "image");
    jsonw_begin(w, "ImageData");
    jsonw_begin(w, "Platform");
    jsonw_str(w, "architecture", img->doc.architecture);
    jsonw_str(w, "os", str_is_empty(img->doc.os) ? "linux" : img->doc.os);
    if (!str_is_empty(img->doc.variant))
        jsonw_str(w, "variant", img->doc.variant);
    jsonw_end(w);
    jsonw_begin(w, "Size");
    jsonw_uint(w, "Unpacked", img->size);
    jsonw_end(w);
    jsonw_list_begin(w, "Containers");
    jsonw_list_end(w);
    jsonw_end(w);
    jsonw_end(w);
    jsonw_list_end(w);
}

/* How the layers lie on the disk, topmost first, as Docker's drivers tell it. */
static void encode_graph_driver(struct jsonw *w, const struct image *img)
{
    AUTO(buf) struct buf lower = BUF_INIT(1u << 20);
    size_t n = strv_len(img->layer_dirs);
    bool files = n > 0;

    for (size_t i = n; i-- > 0;) {
        (void)buf_printf(&lower, "%s%s", lower.len ? ":" : "", img->layer_dirs[i]);
        files = files && str_has_suffix(img->layer_dirs[i], ".erofs");
    }
    jsonw_begin(w, "GraphDriver");
    jsonw_begin(w, "Data");
    jsonw_str(w, "LowerDir", buf_str(&lower));
    jsonw_end(w);
    jsonw_str(w, "Name", files ? "erofs" : "overlay");
    jsonw_end(w);
}

void encode_image(const struct image *img, const struct image_manifest *manifest, bool manifests,
                  unsigned version, struct buf *out)
{
    const struct oci_image *doc = &img->doc;
    struct container_config config = config_of_image(&doc->config);
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Id", img->id);
    jsonw_strv(&w, "RepoTags", img->repo_tags);
    jsonw_strv(&w, "RepoDigests", img->repo_digests);
    if (version < 52 || !str_is_empty(img->parent))
        jsonw_str(&w, "Parent", img->parent);
    if (version < 52 || !str_is_empty(doc->comment))
        jsonw_str(&w, "Comment", doc->comment);
    if (doc->created || version < 44)
        jsonw_time(&w, "Created", doc->created);
    if (version < 45)
        jsonw_str(&w, "Container", "");
    if (version < 52 || !str_is_empty(doc->docker_version))
        jsonw_str(&w, "DockerVersion", doc->docker_version);
    if (version < 52 || !str_is_empty(doc->author))
        jsonw_str(&w, "Author", doc->author);
    if (version < 50)
        jsonw_obj(&w, "Config", &container_config_json, &config);
    else
        jsonw_obj(&w, "Config", &oci_image_config_json, &doc->config);
    jsonw_str(&w, "Architecture", doc->architecture);
    if (!str_is_empty(doc->variant))
        jsonw_str(&w, "Variant", doc->variant);
    jsonw_str(&w, "Os", doc->os);
    if (!str_is_empty(doc->os_version))
        jsonw_str(&w, "OsVersion", doc->os_version);
    jsonw_uint(&w, "Size", img->size);
    if (version < 44)
        jsonw_uint(&w, "VirtualSize", img->size);
    encode_graph_driver(&w, img);
    jsonw_begin(&w, "RootFS");
    jsonw_str(&w, "Type", "layers");
    jsonw_strv(&w, "Layers", doc->rootfs.diff_ids);
    jsonw_end(&w);
    jsonw_begin(&w, "Metadata");
    jsonw_time(&w, "LastTagTime", img->tagged);
    jsonw_end(&w);
    if (version >= 48)
        encode_manifest(&w, img, manifest, manifests);
    jsonw_end(&w);
    (void)buf_putc(out, '\n');
}

void encode_image_summary(struct jsonw *w, const struct image *img, const struct image_names *names,
                          unsigned version, int64_t shared, int64_t containers,
                          const struct image_manifest *manifest)
{
    jsonw_begin(w, NULL);
    jsonw_str(w, "Id", img->id);
    jsonw_str(w, "ParentId", img->parent);
    jsonw_strv(w, "RepoTags", names ? names->tags : img->repo_tags);
    jsonw_strv(w, "RepoDigests", names ? names->digests : img->repo_digests);
    jsonw_int(w, "Created", img->doc.created / NSEC_PER_SEC);
    jsonw_uint(w, "Size", img->size);
    jsonw_int(w, "SharedSize", shared);
    if (version < 44)
        jsonw_uint(w, "VirtualSize", img->size);
    jsonw_map(w, "Labels", &img->doc.config.labels);
    jsonw_int(w, "Containers", containers);
    encode_manifest(w, img, manifest, true);
    jsonw_end(w);
}

void encode_event(const struct engine_event *ev, struct buf *out)
{
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    /* The form from before 1.22, which clients still read. */
    if (STREQ(ev->type, "container") || STREQ(ev->type, "image")) {
        const char *from = json_map_get(&ev->attributes, "image");

        jsonw_str(&w, "status", ev->action);
        jsonw_str(&w, "id", ev->actor_id);
        if (from)
            jsonw_str(&w, "from", from);
    }
    jsonw_str(&w, "Type", ev->type);
    jsonw_str(&w, "Action", ev->action);
    jsonw_begin(&w, "Actor");
    jsonw_str(&w, "ID", ev->actor_id);
    jsonw_map(&w, "Attributes", &ev->attributes);
    jsonw_end(&w);
    jsonw_str(&w, "scope", "local");
    jsonw_int(&w, "time", ev->time / NSEC_PER_SEC);
    jsonw_int(&w, "timeNano", ev->time);
    jsonw_end(&w);
    (void)buf_putc(out, '\n');
}
