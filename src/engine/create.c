/* SPDX-License-Identifier: Apache-2.0 */
/* From a request and an image to a container on record. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"
#include "engine/userns.h"
#include "engine/health.h"

/* Docker's rule: what the container says wins, environment and labels are merged by name. */
static void merge_image(struct container_config *config, const struct oci_image_config *img)
{
    for (size_t i = 0; img->env && img->env[i]; i++) {
        AUTOFREE char *name = xstrndup(img->env[i], strcspn(img->env[i], "="));

        /* "NAME" alone in the request removes the image's variable when the spec is built. */
        if (!env_get(config->env, name) && !strv_contains(config->env, name))
            strv_push(&config->env, img->env[i]);
    }
    for (size_t i = 0; i < img->labels.len; i++)
        if (!json_map_get(&config->labels, img->labels.items[i].key))
            json_map_set(&config->labels, img->labels.items[i].key, img->labels.items[i].value);
    for (size_t i = 0; img->exposed_ports && img->exposed_ports[i]; i++)
        if (!strv_contains(config->exposed_ports, img->exposed_ports[i]))
            strv_push(&config->exposed_ports, img->exposed_ports[i]);
    for (size_t i = 0; img->volumes && img->volumes[i]; i++)
        if (!strv_contains(config->volumes, img->volumes[i]))
            strv_push(&config->volumes, img->volumes[i]);
    if (str_is_empty(config->user))
        str_replace(&config->user, img->user);
    if (str_is_empty(config->working_dir))
        str_replace(&config->working_dir, img->working_dir);
    if (str_is_empty(config->stop_signal))
        str_replace(&config->stop_signal, img->stop_signal);
    health_merge(config, img);
    /* An entrypoint of one's own drops the image's command too. */
    if (!strv_len(config->entrypoint)) {
        bool cleared = config->entrypoint && config->entrypoint[0];

        if (!strv_len(config->cmd) && !cleared) {
            strv_free(config->cmd);
            config->cmd = strv_copy(img->cmd);
        }
        strv_free(config->entrypoint);
        config->entrypoint = strv_copy(img->entrypoint);
    } else if (!*config->entrypoint[0] && !config->entrypoint[1]) {
        /* --entrypoint "": none at all */
        strv_free(config->entrypoint);
        config->entrypoint = NULL;
        if (!strv_len(config->cmd)) {
            strv_free(config->cmd);
            config->cmd = strv_copy(img->cmd);
        }
    }
}

int create_fill_command(struct container_definition *def, struct error *e)
{
    AUTOPTR(strv) char **argv = strv_copy(def->config.entrypoint);

    for (size_t i = 0; def->config.cmd && def->config.cmd[i]; i++)
        strv_push(&argv, def->config.cmd[i]);
    if (!strv_len(argv) && rich_is_machine(&def->config))
        strv_push(&argv, RICH_COMMAND_INIT);
    if (!strv_len(argv) || !*argv[0])
        return error_set(e, ERR_INVALID,
                         "no command specified: image %s has no CMD and no ENTRYPOINT; give the "
                         "program to run after the image's name",
                         def->image_ref);
    def->path = xstrdup(argv[0]);
    def->args = xcalloc(1, sizeof(char *));
    for (size_t i = 1; argv[i]; i++)
        strv_push(&def->args, argv[i]);
    return 0;
}

/* The mounts of the containers that --volumes-from names. */
static int collect_from(struct engine *en, char *const *volumes_from, struct volume_mounts *ret,
                        struct error *e)
{
    for (size_t i = 0; volumes_from && volumes_from[i]; i++) {
        AUTOPTR(container_view) struct container_view *v = NULL;
        AUTOFREE char *ref = NULL;
        bool read_only = false;
        int r = volume_from_parse(volumes_from[i], &ref, &read_only, e);

        if (r == 0)
            r = engine_inspect(en, ref, &v, e);
        if (r < 0)
            return r;
        for (size_t j = 0; j < v->def->mounts.len; j++) {
            const struct volume_mount *m = &v->def->mounts.items[j];
            struct volume_mount *copy;

            if (STREQ(m->type, "tmpfs"))
                continue;
            ret->items = xreallocarray(ret->items, ret->len + 1, sizeof(*ret->items));
            copy = &ret->items[ret->len++];
            json_copy(&volume_mount_json, copy, m);
            copy->anonymous = false; /* it belongs to the other container */
            copy->must_exist = true;
            if (read_only && copy->rw) {
                copy->rw = false;
                strv_push(&copy->options, "ro");
            }
        }
    }
    return 0;
}

static int parse_mounts(struct engine *en, struct container_definition *def, struct error *e)
{
    struct host_config *hc = &def->host_config;
    AUTOPTR(strv) char **volumes = rich_volumes(&def->config, def->config.volumes);
    struct volume_mounts from = {0};
    struct volume_request req = {
        .binds = hc->binds,
        .mounts = hc->mounts.items,
        .n_mounts = hc->mounts.len,
        .tmpfs = &hc->tmpfs,
        .volumes = volumes,
        .volumes_from = hc->volumes_from,
        .from = &from,
    };
    int r = collect_from(en, hc->volumes_from, &from, e);

    if (r == 0)
        r = volume_mounts_parse(&req, &def->mounts, e);
    volume_mounts_done(&from);
    return r;
}

/* Makes the volumes and fills the new ones with what the image has at their place. */
int create_prepare_volumes(struct engine *en, const char *id, struct volume_mounts *mounts,
                           const struct image *img, struct container_definition *made,
                           char ***warnings, struct error *e)
{
    AUTOFREE bool *copy_up = xcalloc(mounts->len + 1, sizeof(bool));
    struct rootfs_mount view = {0};
    AUTOFD int fd = -EBADF;
    int r;

    r = volume_mounts_prepare(en->volumes, id, mounts, copy_up, e);
    if (r == 0)
        r = made ? quota_create(en, made, warnings, e) : quota_volumes(en, mounts, e);
    for (size_t i = 0; r == 0 && img && i < mounts->len; i++) {
        if (!copy_up[i])
            continue;
        if (fd < 0) {
            r = rootfs_view(en->rootfs, img->layer_dirs, &view, e);
            if (r == 0)
                r = rootfs_mount_detached(&view, &fd, e);
        }
        if (r == 0)
            r = volume_fill(en->volumes, id, &mounts->items[i], fd, e);
    }
    rootfs_mount_done(&view);
    return r == 0 ? quota_created(en, id, mounts, copy_up, e) : r;
}

/* Docker's default: the short id; the other's with its network; the host's with the host's. */
static void fill_hostname(struct engine *en, struct container_definition *def)
{
    const struct host_config *hc = &def->host_config;
    AUTOPTR(container_view) struct container_view *other = NULL;
    char name[256] = "";

    if (!str_is_empty(def->config.hostname))
        return;
    (void)memcpy(name, def->id, 12);
    if (STREQ(hc->network_mode, "host") || (hc->uts_mode && STREQ(hc->uts_mode, "host")))
        (void)gethostname(name, sizeof(name) - 1);
    else if (mode_container(hc->network_mode) &&
             engine_inspect(en, mode_container(hc->network_mode), &other, NULL) == 0)
        (void)snprintf(name, sizeof(name), "%s", other->def->config.hostname);
    str_replace(&def->config.hostname, name);
}

static int make_definition(struct engine *en, struct container_config *config,
                           struct create_extra *extra, const struct image *img,
                           struct container_definition *def, struct error *e)
{
    int r;

    random_hex(def->id, 32);
    def->created = time_now_ns();
    def->image_id = xstrdup(img->id);
    def->image_ref = xstrdup(config->image);
    def->config = *config;
    def->host_config = extra->host_config;
    def->networking = extra->networking_config;
    *config = (struct container_config){0};
    *extra = (struct create_extra){0};
    merge_image(&def->config, &img->doc.config);
    def->driver = xstrdup(rootfs_driver_name(en->rootfs));
    def->platform = xstrdup("linux");
    def->dir = xasprintf("%s/containers/%s", en->root, def->id);
    def->log_path = STREQ(def->host_config.log_config.type, "json-file")
                        ? xasprintf("%s/%s-json.log", def->dir, def->id)
                        : xstrdup("");
    fill_hostname(en, def);
    identity_fill(def);
    r = rich_validate(&def->config, &def->host_config, true, e);
    if (r == 0)
        r = health_check_action(&def->config, &def->host_config, e);
    if (r == 0)
        r = create_fill_command(def, e);
    if (r == 0)
        r = parse_mounts(en, def, e);
    if (r == 0)
        r = rich_check_image(en, def, img, e);
    return r < 0 ? r : userns_assign(en, def, e);
}

/* The name is reserved: puts the container on disk, on record and into the registry. */
static int install(struct engine *en, struct container_definition *def, const struct image *img,
                   const char *name, char ***warnings, struct container **ret, struct error *e)
{
    struct container *c;
    int r = create_prepare_volumes(en, def->id, &def->mounts, img, def, warnings, e);

    /* A limited one is there already. */
    if (r == 0 && mkdir(def->dir, 0710) < 0 && errno != EEXIST)
        r = error_set_errno(e, errno, "cannot create %s", def->dir);
    c = container_new(en, def, name);
    if (r == 0)
        r = record_insert(en, c, e);
    if (r < 0) {
        (void)!volume_mounts_release(en->volumes, def->id, &def->mounts, true, NULL);
        (void)!quota_release_container(en, def->id, NULL);
        (void)!fs_remove_tree(AT_FDCWD, def->dir);
        container_unref(c);
        return r;
    }
    (void)pthread_mutex_lock(&c->mutex);
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    *ret = container_ref(c);
    registry_add(en, c);
    return 0;
}

static int resolve_image(struct engine *en, const struct container_config *config,
                         const char *platform, struct image **ret, struct error *e)
{
    int r;

    if (str_is_empty(config->image))
        return error_set(e, ERR_INVALID, "no image specified");
    r = image_resolve(en->images, config->image, ret, e);
    if (r < 0)
        return r;
    if (!str_is_empty(platform)) {
        const struct oci_image *doc = &(*ret)->doc;
        AUTO(error) struct error own = ERROR_INIT;

        r = image_check_platform(*ret, platform, config->image, &own);
        if (r < 0 && own.code == ERR_NOT_FOUND) /* in Docker's words: clients pull then */
            r = error_set(e, ERR_NOT_FOUND,
                          "image with reference %s was found but does not match the specified "
                          "platform: wanted %s, actual: %s/%s",
                          config->image, platform, doc->os, doc->architecture);
        else
            error_move(e, &own);
        if (r < 0) {
            image_unref(*ret);
            *ret = NULL;
        }
    }
    return r < 0 ? r : engine_image_usable(en, ret, e);
}

/* Addresses are given on the bridge only. */
int create_check_addresses(const struct container_config *config, const struct create_extra *extra,
                           struct error *e)
{
    const struct endpoint_config *ep = extra->networking_config.endpoints_config.items;
    const char *mode = extra->host_config.network_mode;
    bool asked = !str_is_empty(config->mac_address);

    for (size_t i = 0; i < extra->networking_config.endpoints_config.len; i++)
        if (strv_len(ep[i].aliases) || strv_len(ep[i].links))
            return error_set(e, ERR_INVALID,
                             "network-scoped aliases and links are supported only in user defined "
                             "networks, which this version of Pouch does not have");
    for (size_t i = 0; i < extra->networking_config.endpoints_config.len; i++)
        asked = asked || !str_is_empty(ep[i].mac_address) ||
                !str_is_empty(ep[i].ipam_config.ipv4_address) ||
                !str_is_empty(ep[i].ipam_config.ipv6_address);
    if (!asked || STREQ(mode, "bridge") || STREQ(mode, "default"))
        return 0;
    return error_set(e, ERR_INVALID,
                     "conflicting options: an IP or MAC address and the network mode %s", mode);
}

/* An image may have been removed between its look-up and the moment the container was known. */
static int check_image_still_there(struct engine *en, struct container *c, struct error *e)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    int r = image_check_there(en->images, def->image_id, def->image_ref, e);

    if (r < 0 && container_claim(c, OP_REMOVE, NULL) == 0) {
        (void)!container_remove_claimed(c, true, NULL);
        container_release_claim(c);
    }
    return r;
}

static int create_checked(struct engine *en, const char *name, const char *platform,
                          struct container_config *config, struct create_extra *extra,
                          struct engine_created *ret, struct container **ret_container,
                          struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    struct container_definition *def;
    AUTOFREE char *reserved = NULL;
    int r = name ? name_check(name, e) : 0;

    if (r == 0)
        r = resolve_image(en, config, platform, &img, e);
    if (r == 0)
        r = validate_create(en, config, &extra->host_config, &ret->warnings, e);
    if (r == 0)
        r = create_check_addresses(config, extra, e);
    if (r < 0)
        return r;
    if (name) {
        r = name_reserve(en, name, NULL, e);
        if (r < 0)
            return r;
        reserved = xstrdup(name);
    } else {
        reserved = name_generate(en);
    }
    def = container_def_new();
    r = make_definition(en, config, extra, img, def, e);
    if (r < 0) {
        container_def_free(def);
    } else {
        (void)memcpy(ret->id, def->id, sizeof(ret->id));
        r = install(en, def, img, reserved, &ret->warnings, ret_container, e);
    }
    if (r < 0) {
        name_unreserve(en, reserved);
        userns_release(en, ret->id);
        return r;
    }
    image_used(en->images, img->id);
    return check_image_still_there(en, *ret_container, e);
}

int engine_create(struct engine *en, const char *name, const char *platform,
                  struct container_config *config, struct create_extra *extra,
                  struct engine_created *ret, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    int r;

    *ret = (struct engine_created){0};
    if (name && name[0] == '/')
        name++;
    if (name && !*name)
        name = NULL;
    r = create_checked(en, name, platform, config, extra, ret, &c, e);
    json_free(&container_config_json, config);
    json_free(&create_extra_json, extra);
    if (r < 0) {
        strv_free(ret->warnings);
        *ret = (struct engine_created){0};
        return r;
    }
    events_container(c, "create", NULL);
    return 0;
}
