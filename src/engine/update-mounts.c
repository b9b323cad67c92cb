/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts and devices that come to a running container, and go. The monitor's stage does it inside
 * the container's mount namespace (monitor_mounts()); devices are bind mounts of the host's nodes
 * there, with the cgroup's rules changed around them. The next start makes all of it the usual way.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/userns.h"
#include "oci/spec.h"

static bool is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static struct volume_mount *find_mount(const struct volume_mounts *m, const char *destination)
{
    for (size_t i = 0; i < m->len; i++)
        if (STREQ(m->items[i].destination, destination))
            return &m->items[i];
    return NULL;
}

static char *clean_target(const char *text)
{
    char *path = xstrdup(text);

    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = '\0';
    return path;
}

/* --- the request: mounts ------------------------------------------------------------------------------ */

/* The lists that inspect shows beside the mounts: the request's own words. */
static void forget_words(struct host_config *hc, struct container_config *config,
                         const char *target)
{
    struct volume_mount_request *r = hc->mounts.items;
    size_t kept = 0;

    for (size_t i = 0; hc->binds && hc->binds[i]; i++) {
        const char *colon = strchr(hc->binds[i], ':');
        AUTOFREE char *to = colon ? xstrndup(colon + 1, strcspn(colon + 1, ":"))
                                  : xstrdup(hc->binds[i]);
        AUTOFREE char *clean = clean_target(to);

        if (STREQ(clean, target))
            free(hc->binds[i]);
        else
            hc->binds[kept++] = hc->binds[i];
    }
    if (hc->binds)
        hc->binds[kept] = NULL;
    for (size_t i = 0; i < hc->mounts.len; i++) {
        AUTOFREE char *clean = clean_target(r[i].target);

        if (!STREQ(clean, target))
            continue;
        json_free(&volume_mount_request_json, &r[i]);
        (void)memmove(&r[i], &r[i + 1], (hc->mounts.len - i - 1) * sizeof(r[0]));
        hc->mounts.len--;
        break;
    }
    strv_remove(config->volumes, target);
}

static int remove_mounts(struct update_context *u, struct error *e)
{
    struct volume_mounts *m = &u->next->mounts;

    for (size_t i = 0; u->update->mounts_rm && u->update->mounts_rm[i]; i++) {
        AUTOFREE char *target = clean_target(u->update->mounts_rm[i]);
        struct volume_mount *found = find_mount(m, target);
        size_t at;

        if (!found)
            return error_set(e, ERR_NOT_FOUND, "container %s has no mount on %s", u->c->id, target);
        at = (size_t)(found - m->items);
        json_free(&volume_mount_json, found);
        (void)memmove(found, found + 1, (m->len - at - 1) * sizeof(*found));
        m->len--;
        forget_words(&u->next->host_config, &u->next->config, target);
    }
    for (size_t i = 0; u->update->mounts_rm && u->update->mounts_rm[i]; i++)
        for (size_t j = 0; j < m->len; j++)
            if (is_below(m->items[j].destination, u->update->mounts_rm[i]))
                return error_set(e, ERR_CONFLICT,
                                 "%s cannot be taken away: %s is mounted below it (take both away, "
                                 "or that one first)",
                                 u->update->mounts_rm[i], m->items[j].destination);
    return 0;
}

static int check_addable(const struct update_context *u, const struct volume_mount *m,
                         struct error *e)
{
    const struct volume_mounts *have = &u->next->mounts;

    if (find_mount(have, m->destination))
        return error_set(e, ERR_CONFLICT, "Duplicate mount point: %s", m->destination);
    if (u->live && STREQ(m->type, "tmpfs"))
        return error_set(e, ERR_INVALID,
                         "a tmpfs cannot be added to a running container: stop it first, or mount "
                         "a volume on %s",
                         m->destination);
    if (STREQ(m->destination, "/") || STREQ(m->destination, "/proc") ||
        STREQ(m->destination, "/sys") || STREQ(m->destination, "/dev"))
        return error_set(e, ERR_INVALID, "nothing can be mounted on %s of a running container",
                         m->destination);
    for (size_t i = 0; i < have->len; i++)
        if (is_below(have->items[i].destination, m->destination))
            return error_set(e, ERR_CONFLICT, "a mount on %s would hide the one on %s",
                             m->destination, have->items[i].destination);
    return 0;
}

/* The request's own words, for inspect. */
static void keep_words(struct update_context *u)
{
    struct host_config *hc = &u->next->host_config;
    const struct volume_mount_request *asked = u->update->mounts_add.items;

    for (size_t i = 0; u->update->binds_add && u->update->binds_add[i]; i++)
        strv_push(&hc->binds, u->update->binds_add[i]);
    for (size_t i = 0; i < u->update->mounts_add.len; i++) {
        struct volume_mount_request *r = json_list_add(&hc->mounts, sizeof(*r));

        json_copy(&volume_mount_request_json, r, &asked[i]);
    }
}

int update_mounts_check(struct update_context *u, struct error *e)
{
    const struct volume_request req = {
        .binds = u->update->binds_add,
        .mounts = u->update->mounts_add.items,
        .n_mounts = u->update->mounts_add.len,
    };
    struct volume_mounts *all = &u->next->mounts;
    struct image *img = NULL;
    int r = remove_mounts(u, e);

    if (r < 0 || (!strv_len(req.binds) && !req.n_mounts))
        return r;
    r = volume_mounts_parse(&req, &u->added, e);
    for (size_t i = 0; r == 0 && i < u->added.len; i++)
        r = check_addable(u, &u->added.items[i], e);
    if (r == 0) /* without its image a new volume just stays empty */
        (void)!image_get(u->c->en->images, u->old->image_id, &img, NULL);
    if (r == 0 && img)
        r = engine_image_usable(u->c->en, &img, e);
    /* Last, as it makes volumes and folders: update_mounts_abandon() takes them back. */
    if (r == 0)
        r = create_prepare_volumes(u->c->en, u->c->id, &u->added, img, NULL, NULL, e);
    image_unref(img);
    if (r < 0) {
        volume_mounts_done(&u->added);
        return r;
    }
    all->items = xreallocarray(all->items, all->len + u->added.len + 1, sizeof(*all->items));
    for (size_t i = 0; i < u->added.len; i++)
        json_copy(&volume_mount_json, &all->items[all->len++], &u->added.items[i]);
    volume_mounts_sort(all);
    keep_words(u);
    return 0;
}

void update_mounts_abandon(struct update_context *u)
{
    if (u->added.len)
        (void)!volume_mounts_release(u->c->en->volumes, u->c->id, &u->added, true, NULL);
}

/* Volumes that the new version does not use any more are free for others; they stay. */
void update_mounts_release(struct update_context *u, const struct container_definition *from,
                           const struct container_definition *to)
{
    for (size_t i = 0; i < from->mounts.len; i++) {
        const char *name = from->mounts.items[i].name;
        bool used = false;

        for (size_t j = 0; name && j < to->mounts.len; j++)
            used |= to->mounts.items[j].name && STREQ(to->mounts.items[j].name, name);
        if (name && !used)
            volume_unref(u->c->en->volumes, name, u->c->id);
    }
}

/* --- mounts: making it true ---------------------------------------------------------------------- */

struct orders {
    struct monitor_mount *items;
    size_t len;
    char **texts; /* what the items point to */
};

static void orders_done(struct orders *o)
{
    free(o->items);
    strv_free(o->texts);
}

static void order(struct orders *o, enum monitor_mount_op op, const char *source,
                  const char *target, char *options /* taken */)
{
    o->items = xreallocarray(o->items, o->len + 1, sizeof(*o->items));
    o->items[o->len++] = (struct monitor_mount){op, source, target, options};
    if (options)
        strv_push_take(&o->texts, options);
}

static bool same_mount(const struct volume_mount *a, const struct volume_mount *b)
{
    return a && STREQ(a->source ? a->source : "", b->source ? b->source : "") &&
           strv_equal(a->options, b->options);
}

/* A mount that is not there any more is what was wanted. */
static int take_off(struct update_context *u, const struct monitor_mount *m, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r = monitor_mounts(u->live->monitor, m, 1, &why);

    if (r < 0 && why.code != ERR_NOT_FOUND) {
        error_move(e, &why);
        return r;
    }
    return 0;
}

int update_mounts_apply(struct update_context *u, const struct container_definition *from,
                        const struct container_definition *to, struct error *e)
{
    CLEANUP(orders_done) struct orders add = {0};
    int r = 0;

    /* Those below first. */
    for (size_t i = from->mounts.len; r == 0 && i > 0; i--) {
        const struct volume_mount *m = &from->mounts.items[i - 1];
        const struct monitor_mount off = {MONITOR_MOUNT_REMOVE, NULL, m->destination, NULL};

        if (!same_mount(find_mount(&to->mounts, m->destination), m))
            r = take_off(u, &off, e);
    }
    for (size_t i = 0; r == 0 && i < to->mounts.len; i++) {
        const struct volume_mount *m = &to->mounts.items[i];

        if (same_mount(find_mount(&from->mounts, m->destination), m) || STREQ(m->type, "tmpfs"))
            continue;
        /* It may be there already. */
        order(&add, u->again ? MONITOR_MOUNT_REPLACE : MONITOR_MOUNT_ADD, m->source, m->destination,
              userns_mount_options(u->c->en, to, m));
    }
    if (r == 0 && add.len)
        r = monitor_mounts(u->live->monitor, add.items, add.len, e);
    return r;
}

/* --- devices -------------------------------------------------------------------------------------------------- */

static const char *inside_of(const struct device_mapping *d)
{
    return str_is_empty(d->path_in_container) ? d->path_on_host : d->path_in_container;
}

static struct device_mapping *find_device(const struct host_config *hc, const char *inside)
{
    struct device_mapping *d = hc->devices.items;

    for (size_t i = 0; i < hc->devices.len; i++)
        if (STREQ(inside_of(&d[i]), inside))
            return &d[i];
    return NULL;
}

static void device_done(struct device_mapping *d)
{
    free(d->path_on_host);
    free(d->path_in_container);
    free(d->cgroup_permissions);
}

static int add_device(struct update_context *u, const struct device_mapping *asked, struct error *e)
{
    struct host_config *hc = &u->next->host_config;
    const char *access = asked->cgroup_permissions;
    struct device_mapping *d;
    const char *inside = inside_of(asked);

    if (inside[0] != '/' || strstr(inside, "/../") || str_has_suffix(inside, "/"))
        return error_set(e, ERR_INVALID, "device path \"%s\" is not an absolute path", inside);
    if (access && access[strspn(access, "rwm")])
        return error_set(e, ERR_INVALID, "invalid device mode: %s (of r, w, m)", access);
    if (find_device(hc, inside))
        return error_set(e, ERR_CONFLICT, "container %s has a device at %s already", u->c->id,
                         inside);
    if (find_mount(&u->next->mounts, inside))
        return error_set(e, ERR_CONFLICT, "container %s has a mount at %s already", u->c->id,
                         inside);
    d = json_list_add(&hc->devices, sizeof(*d));
    *d = (struct device_mapping){xstrdup(asked->path_on_host), xstrdup(inside),
                                 xstrdup(str_is_empty(access) ? "rwm" : access)};
    return 0;
}

int update_devices_check(struct update_context *u, struct error *e)
{
    const struct device_mapping *add = u->update->devices_add.items;
    struct host_config *hc = &u->next->host_config;
    int r = 0;

    for (size_t i = 0; u->update->devices_rm && u->update->devices_rm[i]; i++) {
        struct device_mapping *d = find_device(hc, u->update->devices_rm[i]);
        size_t at = d ? (size_t)(d - (struct device_mapping *)hc->devices.items) : 0;

        if (!d)
            return error_set(e, ERR_NOT_FOUND, "container %s has no device at %s", u->c->id,
                             u->update->devices_rm[i]);
        device_done(d);
        (void)memmove(d, d + 1, (hc->devices.len - at - 1) * sizeof(*d));
        hc->devices.len--;
    }
    for (size_t i = 0; r == 0 && i < u->update->devices_add.len; i++)
        r = add_device(u, &add[i], e);
    return r == 0 && u->update->devices_add.len ? validate_devices(hc, e) : r;
}

static bool same_device(const struct device_mapping *a, const struct device_mapping *b)
{
    return a && STREQ(a->path_on_host, b->path_on_host) &&
           STREQ(a->cgroup_permissions ? a->cgroup_permissions : "rwm",
                 b->cgroup_permissions ? b->cgroup_permissions : "rwm");
}

static int change_rules(struct update_context *u, const struct host_config *from,
                        const struct host_config *to, struct error *e)
{
    struct cgroup_resources was = {0};
    struct cgroup_resources is = {0};
    int r;

    if (to->privileged) /* everything is allowed already */
        return 0;
    r = spec_device_rules(to, &is, e);
    /* A device that has gone from the host: its numbers cannot be known, so all rules are anew. */
    if (r == 0 && spec_device_rules(from, &was, NULL) < 0)
        r = cgroup_update(u->cgroup, &(struct cgroup_resources){.devices = is.devices}, NULL, e);
    else if (r == 0)
        r = cgroup_devices_change(u->cgroup, &was.devices, &is.devices, e);
    json_free(&cgroup_resources_json, &was);
    json_free(&cgroup_resources_json, &is);
    return r;
}

int update_devices_apply(struct update_context *u, const struct container_definition *from,
                         const struct container_definition *to, struct error *e)
{
    const struct host_config *f = &from->host_config;
    const struct host_config *t = &to->host_config;
    const struct device_mapping *was = f->devices.items;
    const struct device_mapping *is = t->devices.items;
    CLEANUP(orders_done) struct orders add = {0};
    bool changed = false;
    char *node = NULL;
    int r = 0;

    for (size_t i = 0; i < f->devices.len; i++)
        changed |= !same_device(find_device(t, inside_of(&was[i])), &was[i]);
    for (size_t i = 0; i < t->devices.len; i++) {
        if (same_device(find_device(f, inside_of(&is[i])), &is[i]))
            continue;
        changed = true;
        r = userns_device_node(u->c, to, is[i].path_on_host, &node, e);
        if (r < 0)
            return r;
        strv_push_take(&add.texts, node);
        order(&add, u->again ? MONITOR_MOUNT_REPLACE : MONITOR_MOUNT_ADD, node, inside_of(&is[i]),
              xstrdup("nosuid,noexec,dev"));
    }
    if (!changed)
        return 0;
    r = change_rules(u, f, t, e);
    /* The node that a start made stays in /dev until the next one; nobody can open it. */
    for (size_t i = 0; r == 0 && i < f->devices.len; i++) {
        const struct monitor_mount off = {MONITOR_MOUNT_REMOVE, NULL, inside_of(&was[i]), NULL};

        if (!same_device(find_device(t, inside_of(&was[i])), &was[i]))
            r = take_off(u, &off, e);
    }
    if (r == 0 && add.len)
        r = monitor_mounts(u->live->monitor, add.items, add.len, e);
    return r;
}
