/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User namespaces of containers: who may have which, which ids are given, what the specification
 * says. The ranges that are given stand in the database (table userns_ranges), a row goes with the
 * container's record by a trigger: in one transaction, so that a range is never given twice and
 * never lost. docs/isolation.md tells the user's side.
 */
#include "engine/userns.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/foreign.h"
#include "oci/spec.h"

/* Without a setting and without lines in /etc/subuid: the upper part of what systemd keeps for
 * containers (0x80000 to 0x6fffffff), less what /etc/subuid gives to others. */
#define DEFAULT_FIRST UINT64_C(0x50000000)
#define DEFAULT_SIZE  UINT64_C(0x20000000)

#define SUBID_MAX (1 << 20)

static const char *const subid_names[] = {"pouch", "containers", NULL};

static const char *const migrations[] = {
    "CREATE TABLE userns_ranges (first INTEGER PRIMARY KEY, size INTEGER NOT NULL,"
    " container TEXT NOT NULL)",
    "CREATE INDEX userns_ranges_container ON userns_ranges (container)",
    "CREATE TRIGGER userns_ranges_back AFTER DELETE ON containers BEGIN"
    " DELETE FROM userns_ranges WHERE container = OLD.id; END",
    NULL,
};

int userns_migrate(struct store *s, struct error *e)
{
    return store_migrate(s, "userns", migrations, e);
}

/* --- the pool --------------------------------------------------------------------------------- */

static int read_subids(const char *path, struct id_ranges *ours, struct id_ranges *others,
                       struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, path, SUBID_MAX, &text, &len);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    subid_parse(text, subid_names, ours, others);
    return 0;
}

static int pool_load(const struct engine *en, struct id_ranges *ret, struct error *e)
{
    CLEANUP(id_ranges_done) struct id_ranges uids = {0};
    CLEANUP(id_ranges_done) struct id_ranges gids = {0};
    CLEANUP(id_ranges_done) struct id_ranges others = {0};
    int r;

    if (strv_len(en->userns_pool)) {
        for (size_t i = 0; en->userns_pool[i]; i++) {
            struct id_range range;

            r = id_range_parse(en->userns_pool[i], &range, e);
            if (r < 0) {
                error_add(e, "userns-pool");
                return r;
            }
            id_ranges_add(ret, range.first, range.size);
        }
        return 0;
    }
    r = read_subids("/etc/subuid", &uids, &others, e);
    if (r == 0)
        r = read_subids("/etc/subgid", &gids, &others, e);
    if (r < 0)
        return r;
    /* One number serves for user and group: what both files give. */
    id_ranges_intersect(&uids, &gids, ret);
    if (ret->len)
        return 0;
    id_ranges_add(ret, DEFAULT_FIRST, DEFAULT_SIZE);
    for (size_t i = 0; i < others.len; i++)
        id_ranges_remove(ret, others.items[i].first, others.items[i].size);
    return 0;
}

int userns_open(struct engine *en, struct error *e)
{
    CLEANUP(id_ranges_done) struct id_ranges pool = {0};
    CLEANUP(userns_mode_done) struct userns_mode m = {.kind = USERNS_HOST};
    int r = userns_mode_parse(en->userns, &m, e);

    if (r == 0 && m.kind != USERNS_HOST && m.kind != USERNS_AUTO)
        r = error_set(e, ERR_INVALID,
                      "default user namespace \"%s\": only host and auto can be the "
                      "default",
                      en->userns);
    if (r == 0)
        r = pool_load(en, &pool, e);
    if (r == 0)
        r = store_exec(en->store, e,
                       "DELETE FROM userns_ranges WHERE container NOT IN"
                       " (SELECT id FROM containers)",
                       "");
    return r < 0 ? r : 0;
}

static int used_ranges(struct engine *en, struct id_range **ret, size_t *ret_n, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    struct id_range *list = NULL;
    size_t n = 0, cap = 0;
    int r = store_query(en->store, &rows, e, "SELECT first, size FROM userns_ranges ORDER BY first",
                        "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            list = xreallocarray(list, cap, sizeof(*list));
        }
        list[n++] = (struct id_range){(uint64_t)store_col_int(&rows, 0),
                                      (uint64_t)store_col_int(&rows, 1)};
    }
    if (r < 0) {
        free(list);
        return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

static int take(struct engine *en, const struct id_ranges *pool, const char *id, uint64_t size,
                uint64_t *ret, struct error *e)
{
    AUTOFREE struct id_range *used = NULL;
    size_t n = 0;
    int r = used_ranges(en, &used, &n, e);

    if (r == 0 && userns_pool_fit(pool, used, n, size, ret) < 0)
        r = error_set(e, ERR_UNAVAILABLE,
                      "no %llu free ids for a user namespace (%zu containers have some): remove "
                      "containers, or enlarge the pool (userns-pool in pouchd's configuration, or "
                      "a line for pouch in /etc/subuid and /etc/subgid)",
                      (unsigned long long)size, n);
    if (r == 0)
        r = store_exec(en->store, e, "INSERT INTO userns_ranges VALUES (?, ?, ?)", "iis",
                       (int64_t)*ret, (int64_t)size, id);
    return r < 0 ? r : 0;
}

static int allocate(struct engine *en, const struct id_ranges *pool, const char *id, uint64_t size,
                    uint64_t *ret, struct error *e)
{
    int r = store_begin(en->store, e);

    if (r < 0)
        return r;
    r = take(en, pool, id, size, ret, e);
    if (r < 0) {
        store_rollback(en->store);
        return r;
    }
    return store_commit(en->store, e);
}

void userns_release(struct engine *en, const char *id)
{
    (void)!store_exec(en->store, NULL, "DELETE FROM userns_ranges WHERE container = ?", "s", id);
}

/* --- at create -------------------------------------------------------------------------------- */

bool userns_is_on(const struct host_config *hc)
{
    return strv_len(hc->id_mappings.uid_map) > 0;
}

static int refuse(const char *what, struct error *e)
{
    return error_set(e, ERR_INVALID, "%s with a user namespace of its own: use --userns host",
                     what);
}

/*
 * To share a namespace of another container, its user namespace must be shared too: it owns the
 * other one. *mode becomes container:ID then.
 */
static int check_joined(struct engine *en, struct host_config *hc, const char *joined,
                        const char *what, struct error *e)
{
    AUTOPTR(container_view) struct container_view *other = NULL;
    const char *ref = mode_container(joined);
    bool asked = !str_is_empty(hc->userns_mode) && !STREQ(hc->userns_mode, "host");
    AUTOFREE char *mode = NULL;
    int r;

    if (!ref)
        return 0;
    r = engine_inspect(en, ref, &other, e);
    if (r < 0)
        return r;
    mode = xasprintf("container:%s", other->def->id);
    if (!userns_is_on(&other->def->host_config)) {
        if (!asked || mode_container(hc->userns_mode))
            return 0;
        return error_set(e, ERR_INVALID,
                         "cannot join the %s of container %s from a user namespace of its own: it "
                         "belongs to the host's; use --userns host",
                         what, ref);
    }
    if (hc->userns_mode && STREQ(hc->userns_mode, "host"))
        return error_set(e, ERR_INVALID,
                         "cannot join the %s of container %s with --userns host: it belongs to "
                         "that container's user namespace; leave --userns out to share it",
                         what, ref);
    if (mode_container(hc->userns_mode) && !STREQ(hc->userns_mode, mode)) {
        AUTOPTR(container_view) struct container_view *named = NULL;

        r = engine_inspect(en, mode_container(hc->userns_mode), &named, e);
        if (r < 0)
            return r;
        if (named->def != other->def)
            return error_set(e, ERR_INVALID,
                             "cannot join the %s of container %s and the user namespace of %s: "
                             "they must be one container's",
                             what, ref, mode_container(hc->userns_mode));
    }
    str_replace(&hc->userns_mode, mode);
    return 0;
}

static int check_joins(struct engine *en, struct host_config *hc, struct error *e)
{
    int r = check_joined(en, hc, hc->network_mode, "network", e);

    if (r == 0)
        r = check_joined(en, hc, hc->ipc_mode, "IPC", e);
    return r == 0 ? check_joined(en, hc, hc->pid_mode, "processes", e) : r;
}

int userns_check(struct engine *en, struct host_config *hc, struct error *e)
{
    CLEANUP(userns_mode_done) struct userns_mode m = {.kind = USERNS_HOST};
    AUTOPTR(container) struct container *other = NULL;
    bool defaulted = str_is_empty(hc->userns_mode);
    int r;

    strv_free(hc->id_mappings.uid_map);
    strv_free(hc->id_mappings.gid_map);
    hc->id_mappings = (struct id_mappings){0};
    r = check_joins(en, hc, e);
    if (r < 0)
        return r;
    if (defaulted && str_is_empty(hc->userns_mode) && !str_is_empty(en->userns) &&
        !mode_container(hc->network_mode) && !mode_container(hc->ipc_mode) &&
        !mode_container(hc->pid_mode))
        str_replace(&hc->userns_mode, en->userns);
    r = userns_mode_parse(hc->userns_mode, &m, e);
    if (r < 0 || m.kind == USERNS_HOST)
        return r;
    if (m.kind == USERNS_CONTAINER) {
        r = container_find(en, m.container, &other, e);
        if (r < 0)
            return r;
    }
    if (runtime_is_foreign(hc->runtime))
        return error_set(e, ERR_INVALID,
                         "a user namespace works with Pouch's own runtime only, not with %s: use "
                         "--userns host",
                         hc->runtime);
    if (hc->privileged)
        return refuse("privileged mode is not possible", e);
    if (hc->pid_mode && STREQ(hc->pid_mode, "host"))
        return refuse("the host's processes cannot be shared", e);
    if (STREQ(hc->ipc_mode, "host"))
        return refuse("the host's IPC cannot be shared", e);
    return 0;
}

/* The user's own numbers must not be those that the pool gives to others. */
static int check_outside(const struct id_ranges *pool, const struct id_map *m, struct error *e)
{
    for (size_t i = 0; i < m->len; i++)
        if (id_ranges_overlap(pool, m->items[i].host, m->items[i].size))
            return error_set(e, ERR_CONFLICT,
                             "host ids %llu to %llu belong to the pool of --userns auto: take "
                             "others, or leave the choice to auto",
                             (unsigned long long)m->items[i].host,
                             (unsigned long long)(m->items[i].host + m->items[i].size - 1));
    return 0;
}

static int lay_over(struct id_map *base, const struct id_map *pieces, struct error *e)
{
    for (size_t i = 0; i < pieces->len; i++)
        if (id_map_overlay(base, &pieces->items[i]) < 0)
            return error_set(e, ERR_INVALID, "id mapping: more than %d pieces", USERNS_EXTENTS_MAX);
    return 0;
}

static int assign_auto(struct engine *en, const char *id, const struct userns_mode *m,
                       const struct id_ranges *pool, struct host_config *hc, struct error *e)
{
    CLEANUP(id_map_done) struct id_map uids = {0};
    CLEANUP(id_map_done) struct id_map gids = {0};
    struct id_extent all = {0, 0, m->size};
    int r = allocate(en, pool, id, m->size, &all.host, e);

    if (r < 0)
        return r;
    (void)!id_map_overlay(&uids, &all);
    (void)!id_map_overlay(&gids, &all);
    r = lay_over(&uids, &m->uid_map, e);
    if (r == 0)
        r = lay_over(&gids, &m->gid_map, e);
    if (r < 0) {
        userns_release(en, id);
        return r;
    }
    hc->id_mappings.uid_map = id_map_print(&uids);
    hc->id_mappings.gid_map = id_map_print(&gids);
    return 0;
}

static int assign_other(struct engine *en, const char *ref, struct host_config *hc, struct error *e)
{
    AUTOPTR(container_view) struct container_view *other = NULL;
    int r = engine_inspect(en, ref, &other, e);

    if (r < 0)
        return r;
    hc->id_mappings.uid_map = strv_copy(other->def->host_config.id_mappings.uid_map);
    hc->id_mappings.gid_map = strv_copy(other->def->host_config.id_mappings.gid_map);
    return 0;
}

static int check_mounts(const struct container_definition *def, struct error *e)
{
    for (size_t i = 0; i < def->mounts.len; i++)
        if (strv_contains(def->mounts.items[i].options, "idmap"))
            return error_set(e, ERR_INVALID,
                             "mount of %s: idmap shows a folder with the ids of the container's "
                             "user namespace, and it has none: use --userns auto",
                             def->mounts.items[i].destination);
    return 0;
}

int userns_assign(struct engine *en, struct container_definition *def, struct error *e)
{
    struct host_config *hc = &def->host_config;
    CLEANUP(userns_mode_done) struct userns_mode m = {.kind = USERNS_HOST};
    CLEANUP(id_ranges_done) struct id_ranges pool = {0};
    int r = userns_mode_parse(hc->userns_mode, &m, e);

    if (r == 0 && m.kind == USERNS_CONTAINER)
        r = assign_other(en, m.container, hc, e);
    if (r == 0 && (m.kind == USERNS_HOST || (m.kind == USERNS_CONTAINER && !userns_is_on(hc))))
        return check_mounts(def, e);
    if (r < 0 || m.kind == USERNS_CONTAINER)
        return r;
    r = pool_load(en, &pool, e);
    if (r == 0)
        r = check_outside(&pool, &m.uid_map, e);
    if (r == 0)
        r = check_outside(&pool, &m.gid_map, e);
    if (r < 0)
        return r;
    if (m.kind == USERNS_AUTO)
        return assign_auto(en, def->id, &m, &pool, hc, e);
    hc->id_mappings.uid_map = id_map_print(&m.uid_map);
    hc->id_mappings.gid_map = id_map_print(&m.gid_map);
    return 0;
}

/* --- at a start ------------------------------------------------------------------------------- */

int userns_resolve(struct start_context *ctx, struct error *e)
{
    AUTOPTR(container_view) struct container_view *other = NULL;
    const struct host_config *hc = &ctx->def->host_config;
    const char *ref = userns_is_on(hc) ? mode_container(hc->userns_mode) : NULL;
    int r;

    if (!ref)
        return 0;
    r = engine_inspect(ctx->c->en, ref, &other, e);
    if (r < 0)
        return r;
    if (!other->pid)
        return error_set(e, ERR_CONFLICT,
                         "cannot join the user namespace of a non running container: %s",
                         other->def->id);
    ctx->userns_pid = other->pid;
    return 0;
}

static void add_map(const struct id_map *m, struct json_list *out)
{
    for (size_t i = 0; i < m->len; i++) {
        struct oci_id_mapping *x = json_list_add(out, sizeof(*x));

        x->container_id = m->items[i].container;
        x->host_id = m->items[i].host;
        x->size = m->items[i].size;
    }
}

static bool maps_id(const struct id_map *m, uint64_t id)
{
    for (size_t i = 0; i < m->len; i++)
        if (id >= m->items[i].container && id < m->items[i].container + m->items[i].size)
            return true;
    return false;
}

/* The host's id of a container's id; the container's root for one that has none. */
static uint64_t host_id(const struct id_map *m, uint64_t id)
{
    for (size_t i = 0; i < m->len; i++)
        if (id >= m->items[i].container && id < m->items[i].container + m->items[i].size)
            return m->items[i].host + (id - m->items[i].container);
    return m->len ? m->items[0].host : 0;
}

/* Volumes of ours and the files with names are shown with the container's ids. Folders of the host
 * are not, unless the user says so (:idmap): there, the container's root is nobody. */
static void shift_mounts(const struct start_context *ctx, struct oci_spec *s)
{
    AUTOFREE char *volumes = xasprintf("%s/volumes/", ctx->c->en->root);
    AUTOFREE char *own = xasprintf("%s/", ctx->def->dir);
    struct oci_mount *m = s->mounts.items;

    for (size_t i = 0; i < s->mounts.len; i++)
        if (STREQ(m[i].type, "bind") && m[i].source &&
            (str_has_prefix(m[i].source, volumes) || str_has_prefix(m[i].source, own)) &&
            !strv_contains(m[i].options, "idmap"))
            strv_push(&m[i].options, "idmap");
}

/*
 * Device nodes cannot be made in a user namespace, and a node of the host's belongs to nobody
 * there: a node is made beside the bundle, owned by the container's ids, and bound. The cgroup's
 * device rules say what may be done with it, as ever.
 */
static int make_node(const struct start_context *ctx, const struct oci_device *d, const char *name,
                     const struct id_map *uids, const struct id_map *gids, char **ret,
                     struct error *e)
{
    AUTOFREE char *dir = xasprintf("%s/dev", ctx->bundle);
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);
    mode_t type = STREQ(d->type, "b") ? S_IFBLK : S_IFCHR;

    if ((mkdir(dir, 0700) < 0 && errno != EEXIST) ||
        mknod(path, type | 0600, makedev((unsigned)d->major, (unsigned)d->minor)) < 0 ||
        chown(path, (uid_t)host_id(uids, d->uid.value), (gid_t)host_id(gids, d->gid.value)) < 0 ||
        chmod(path, (mode_t)d->file_mode.value & 0777) < 0)
        return error_set_errno(e, errno, "cannot make device node %s for %s", path, d->path);
    *ret = take_ptr(path);
    return 0;
}

static int bind_devices(const struct start_context *ctx, struct oci_spec *s,
                        const struct id_map *uids, const struct id_map *gids, struct error *e)
{
    static const char *const options[] = {"bind", "rprivate", "nosuid", "noexec", "dev", NULL};
    struct oci_device *d = s->linux->devices.items;

    for (size_t i = 0; i < s->linux->devices.len; i++) {
        AUTOFREE char *node = NULL;
        char name[24];
        int r;

        (void)snprintf(name, sizeof(name), "%zu", i);
        r = make_node(ctx, &d[i], name, uids, gids, &node, e);

        if (r < 0)
            return r;
        (void)oci_spec_add_mount(s, d[i].path, "bind", node, (char *const *)(uintptr_t)options);
    }
    for (size_t i = 0; i < s->linux->devices.len; i++) {
        free(d[i].type);
        free(d[i].path);
    }
    free(d);
    s->linux->devices = (struct json_list){0};
    return 0;
}

int userns_device_node(const struct container *c, const struct container_definition *def,
                       const char *host_path, char **ret, struct error *e)
{
    const struct id_mappings *im = &def->host_config.id_mappings;
    CLEANUP(id_map_done) struct id_map uids = {0};
    CLEANUP(id_map_done) struct id_map gids = {0};
    AUTOFREE char *bundle = NULL;
    struct oci_device d = {.path = (char *)(uintptr_t)host_path};
    struct start_context ctx = {.def = def};
    struct stat st;
    char name[9];
    int r;

    if (!userns_is_on(&def->host_config)) {
        *ret = xstrdup(host_path);
        return 0;
    }
    if (stat(host_path, &st) < 0)
        return error_set_errno(e, errno, "device %s", host_path);
    r = id_map_parse(im->uid_map, &uids, e);
    if (r == 0)
        r = id_map_parse(im->gid_map, &gids, e);
    if (r < 0)
        return r;
    bundle = container_state_dir(c->en, c->id);
    ctx.bundle = bundle;
    d.type = (char *)(uintptr_t)(S_ISBLK(st.st_mode) ? "b" : "c");
    d.major = major(st.st_rdev);
    d.minor = minor(st.st_rdev);
    d.file_mode = (struct opt_uint){true, st.st_mode & 0777};
    d.uid = (struct opt_uint){true, st.st_uid};
    d.gid = (struct opt_uint){true, st.st_gid};
    random_hex(name, 4);
    return make_node(&ctx, &d, name, &uids, &gids, ret, e);
}

char *userns_mount_options(const struct engine *en, const struct container_definition *def,
                           const struct volume_mount *m)
{
    AUTOFREE char *volumes = xasprintf("%s/volumes/", en->root);
    AUTOPTR(strv) char **options = strv_copy(m->options);

    if (userns_is_on(&def->host_config) && m->source && str_has_prefix(m->source, volumes) &&
        !strv_contains(options, "idmap"))
        strv_push(&options, "idmap");
    return strv_join(options, ",");
}

/* Settings that name ids can only name those the namespace has. */
static void trim_ids(struct oci_spec *s, const struct id_map *gids)
{
    struct oci_mount *m = s->mounts.items;
    AUTOFREE char *range = xasprintf("0 %llu", (unsigned long long)(gids->items[0].size - 1));

    for (size_t i = 0; i < s->mounts.len; i++)
        if (STREQ(m[i].type, "devpts") && !maps_id(gids, 5))
            strv_remove(m[i].options, "gid=5");
    for (size_t i = 0; i < s->linux->sysctl.len; i++)
        if (STREQ(s->linux->sysctl.items[i].key, "net.ipv4.ping_group_range") &&
            STREQ(s->linux->sysctl.items[i].value, "0 2147483647"))
            str_replace(&s->linux->sysctl.items[i].value, range);
}

int userns_fill(const struct start_context *ctx, struct oci_spec *s, struct error *e)
{
    const struct id_mappings *im = &ctx->def->host_config.id_mappings;
    CLEANUP(id_map_done) struct id_map uids = {0};
    CLEANUP(id_map_done) struct id_map gids = {0};
    int r;

    if (!userns_is_on(&ctx->def->host_config))
        return 0;
    r = id_map_parse(im->uid_map, &uids, e);
    if (r == 0)
        r = id_map_parse(im->gid_map, &gids, e);
    if (r < 0)
        return r;
    if (!gids.len || gids.items[0].container != 0 || uids.items[0].container != 0)
        return error_set(e, ERR_INVALID, "id mapping: the container's root has no host id");
    if (ctx->userns_pid) {
        AUTOFREE char *path = xasprintf("/proc/%d/ns/user", (int)ctx->userns_pid);

        oci_spec_add_namespace(s, "user", path);
    } else {
        oci_spec_add_namespace(s, "user", NULL);
    }
    add_map(&uids, &s->linux->uid_mappings);
    add_map(&gids, &s->linux->gid_mappings);
    shift_mounts(ctx, s);
    trim_ids(s, &gids);
    return bind_devices(ctx, s, &uids, &gids, e);
}
