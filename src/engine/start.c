/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a container: a table of steps, each with what undoes it. What a killed pouchd leaves of
 * them is found and undone at the next start by looking at what is there (recover.c), not by a
 * journal: every step's result is named after the container's id.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/portspec.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"
#include "engine/foreign.h"
#include "engine/userns.h"
#include "engine/health.h"
#include "engine/hooks.h"
#include "log/driver.h"
#include "oci/spec.h"
#include "sys/cgroup.h"

/* How long a start waits for clients that have announced themselves. */
#define CLIENTS_WAIT_NS (2 * NSEC_PER_SEC)

char *container_state_dir(const struct engine *en, const char *id)
{
    return xasprintf("%s/c/%s", en->state, id);
}

char *container_cgroup(struct container *c)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    const char *parent = def->host_config.cgroup_parent;

    if (str_is_empty(parent))
        parent = c->en->cgroup_parent;
    return xasprintf("%s%s/%s", parent[0] == '/' ? "" : "/", parent, def->id);
}

/* --- steps --------------------------------------------------------------------------------------- */

/* Pids of the containers whose namespaces are joined: they must run. */
static int join_target(struct engine *en, const char *mode, const char *what, pid_t *ret,
                       struct error *e)
{
    AUTOPTR(container_view) struct container_view *v = NULL;
    const char *ref = mode_container(mode);
    int r;

    if (!ref)
        return 0;
    r = engine_inspect(en, ref, &v, e);
    if (r < 0)
        return r;
    if (!v->pid)
        return error_set(e, ERR_CONFLICT, "cannot join %s of a non running container: %s", what,
                         v->def->id);
    *ret = v->pid;
    return 0;
}

static int do_resolve(struct start_context *ctx, struct error *e)
{
    struct engine *en = ctx->c->en;
    const struct host_config *hc = &ctx->def->host_config;
    int r = image_get(en->images, ctx->def->image_id, &ctx->image, e);

    if (r == -ENOENT) {
        error_done(e);
        return error_set(e, ERR_NOT_FOUND,
                         "No such image: %s: the image of the container (%s) is no longer in the "
                         "store, as after a power cut: pull it again, or remove the container",
                         ctx->def->image_id, ctx->def->image_ref);
    }
    if (r == 0)
        image_used(en->images, ctx->def->image_id);
    if (r == 0)
        r = engine_image_usable(en, &ctx->image, e);
    if (r == 0)
        r = join_target(en, hc->network_mode, "network", &ctx->netns_pid, e);
    if (r == 0)
        r = join_target(en, hc->ipc_mode, "IPC", &ctx->ipc_pid, e);
    if (r == 0)
        r = join_target(en, hc->pid_mode, "PID", &ctx->pid_pid, e);
    if (r == 0)
        r = userns_resolve(ctx, e);
    return r;
}

static void undo_resolve(struct start_context *ctx)
{
    image_unref(ctx->image);
    ctx->image = NULL;
}

static int do_rootfs(struct start_context *ctx, struct error *e)
{
    const struct container_definition *def = ctx->def;
    AUTOFREE char *mount_point = xasprintf("%s/rootfs", ctx->bundle);
    AUTOFREE char *parent = xasprintf("%s/c", ctx->c->en->state);
    int r;

    /* What an earlier run left (its exit.json) goes first. */
    if (mkdir(ctx->bundle, 0700) < 0) {
        r = errno == EEXIST ? fs_remove_tree(AT_FDCWD, ctx->bundle) : 0;

        if (r == 0)
            r = fs_mkdir_p(parent, 0700);
        if (r < 0 || mkdir(ctx->bundle, 0700) < 0)
            return error_set_errno(e, r < 0 ? r : errno, "cannot create %s", ctx->bundle);
    }
    if (mkdir(mount_point, 0755) < 0)
        return error_set_errno(e, errno, "cannot create %s", mount_point);
    r = rootfs_prepare(ctx->c->en->rootfs, def->dir, ctx->image->layer_dirs, &ctx->rootfs, e);
    /* What goes with its end need not be on disk then: without this overlayfs syncs the whole
     * file system when it is unmounted. */
    if (r == 0 && def->host_config.auto_remove && !hooks_after_end(def))
        rootfs_mount_set_volatile(&ctx->rootfs);
    return r;
}

static void undo_rootfs(struct start_context *ctx)
{
    /* The writable layer is the container's and stays. */
    (void)!fs_remove_tree(AT_FDCWD, ctx->bundle);
}

/* All published ports: PortBindings, and with -P every exposed port that has none. */
int start_collect_ports(const struct container_definition *def, struct port_specs *out,
                        struct error *e)
{
    const struct host_config *hc = &def->host_config;
    const struct json_named_list *named = hc->port_bindings.items;
    struct json_list list = {0};
    struct port_spec *p;

    for (size_t i = 0; i < hc->port_bindings.len; i++) {
        const struct port_binding *b = named[i].list.items;

        for (size_t j = 0; j < named[i].list.len; j++) {
            int r;

            p = json_list_add(&list, sizeof(*p));
            r = portspec_parse_port(named[i].key, &p->container_port, &p->proto, e);
            if (r == 0)
                r = portspec_parse_host_port(b[j].host_port ? b[j].host_port : "", &p->host_first,
                                             &p->host_last, e);
            if (r < 0) {
                free(list.items);
                return r;
            }
            (void)snprintf(p->host_ip, sizeof(p->host_ip), "%s", b[j].host_ip ? b[j].host_ip : "");
        }
    }
    for (size_t i = 0;
         hc->publish_all_ports && def->config.exposed_ports && def->config.exposed_ports[i]; i++) {
        struct port_spec want = {0};
        struct port_spec *have = list.items;
        bool published = false;

        if (portspec_parse_port(def->config.exposed_ports[i], &want.container_port, &want.proto,
                                NULL) < 0)
            continue;
        for (size_t j = 0; j < list.len; j++)
            published |= have[j].container_port == want.container_port &&
                         have[j].proto == want.proto;
        if (!published) {
            p = json_list_add(&list, sizeof(*p));
            *p = want;
        }
    }
    *out = (struct port_specs){list.items, list.len};
    return 0;
}

/* In an upgrade: the addresses the container had, unless somebody else got them meanwhile. */
static int reserve_kept(struct container *c, const struct network_request *req,
                        struct network_endpoint *ret)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct network_request kept = *req;

    if (!c->upgrading || !c->keep_address.ip[0])
        return -ENOENT;
    kept.ip = c->keep_address.ip;
    kept.ip6 = c->keep_address.ip6[0] ? c->keep_address.ip6 : NULL;
    kept.mac = c->keep_address.mac[0] ? c->keep_address.mac : NULL;
    if (network_reserve(c->en->network, c->id, &kept, ret, &e) == 0)
        return 0;
    if (e.code == ERR_CONFLICT)
        log_warn("a container could not keep its address through the upgrade", "id=%s error=\"%s\"",
                 c->id, error_message(&e));
    return -ENOENT;
}

int start_reserve(struct container *c, const struct container_definition *def,
                  struct network_endpoint *ret, struct error *e)
{
    const struct endpoint_config *wanted = def->networking.endpoints_config.items;
    struct port_specs ports = {0};
    struct network_request req = {.mode = def->host_config.network_mode,
                                  .mac = str_is_empty(def->config.mac_address)
                                             ? NULL
                                             : def->config.mac_address};
    int r = start_collect_ports(def, &ports, e);

    if (r < 0)
        return r;
    if (def->networking.endpoints_config.len) {
        if (!str_is_empty(wanted->ipam_config.ipv4_address))
            req.ip = wanted->ipam_config.ipv4_address;
        if (!str_is_empty(wanted->ipam_config.ipv6_address))
            req.ip6 = wanted->ipam_config.ipv6_address;
        if (!str_is_empty(wanted->mac_address))
            req.mac = wanted->mac_address;
    }
    req.priority = (uint32_t)def->config.net_priority;
    req.ports = ports.items;
    req.nports = ports.len;
    r = reserve_kept(c, &req, ret);
    if (r < 0)
        r = network_reserve(c->en->network, def->id, &req, ret, e);
    free(ports.items);
    return r;
}

static int do_reserve(struct start_context *ctx, struct error *e)
{
    int r = start_reserve(ctx->c, ctx->def, &ctx->endpoint, e);

    ctx->reserved = r == 0;
    return r;
}

static void undo_reserve(struct start_context *ctx)
{
    network_release(ctx->c->en->network, ctx->c->id);
    network_endpoint_done(&ctx->endpoint);
    ctx->reserved = false;
}

/* Has a container whose namespaces are joined ended since it was looked up? pid: what it had then. */
static bool joined_has_ended(struct engine *en, const char *mode, pid_t pid)
{
    AUTOPTR(container) struct container *c = NULL;
    const char *ref = mode_container(mode);
    struct live *live;
    bool ended;

    if (!ref || !pid)
        return false;
    if (container_find(en, ref, &c, NULL) < 0)
        return true;
    (void)pthread_mutex_lock(&c->mutex);
    ended = c->pid != pid;
    live = c->live ? live_ref(c->live) : NULL;
    (void)pthread_mutex_unlock(&c->mutex);
    ended = ended || !live || live_has_ended(live);
    live_unref(live);
    return ended;
}

/* A start that fails because another container ended in the middle of it says so. */
static void explain_joined(const struct start_context *ctx, struct error *why)
{
    const struct host_config *hc = &ctx->def->host_config;
    struct engine *en = ctx->c->en;
    const char *what = NULL;

    if (why->code != ERR_INTERNAL && why->code != ERR_INVALID)
        return;
    if (joined_has_ended(en, hc->network_mode, ctx->netns_pid))
        what = "network";
    else if (joined_has_ended(en, hc->ipc_mode, ctx->ipc_pid))
        what = "IPC";
    else if (joined_has_ended(en, hc->pid_mode, ctx->pid_pid))
        what = "PID";
    if (!what)
        return;
    error_done(why);
    (void)error_set(why, ERR_CONFLICT,
                    "cannot join %s of a container that ended meanwhile: container %s was not "
                    "started",
                    what, ctx->c->id);
}

static const char *const name_files[] = {"hosts", "hostname", "resolv.conf"};

/* With container:ID the other's files are used, as Docker does. */
static int copy_name_files(struct start_context *ctx, struct error *e)
{
    AUTOPTR(container_view) struct container_view *other = NULL;
    int r = engine_inspect(ctx->c->en, mode_container(ctx->def->host_config.network_mode), &other,
                           e);

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(name_files); i++) {
        AUTOFREE char *from = xasprintf("%s/%s", other->def->dir, name_files[i]);
        AUTOFREE char *to = xasprintf("%s/%s", ctx->def->dir, name_files[i]);
        AUTOFREE char *text = NULL;
        size_t len = 0;

        r = fs_read_file(AT_FDCWD, from, 1 << 20, &text, &len);
        if (r == 0)
            r = fs_write_atomic(AT_FDCWD, to, text, len, 0644, FS_NO_SYNC);
        if (r < 0)
            r = error_set_errno(e, r, "cannot copy %s to %s", from, to);
    }
    return r;
}

static bool drop_name_files(const char *dir)
{
    bool dropped = false;

    for (size_t i = 0; i < ARRAY_SIZE(name_files); i++) {
        AUTOFREE char *path = xasprintf("%s/%s", dir, name_files[i]);

        dropped |= unlink(path) == 0;
    }
    return dropped;
}

static int do_files(struct start_context *ctx, struct error *e)
{
    const struct container_definition *def = ctx->def;
    const struct host_config *hc = &def->host_config;
    struct engine *en = ctx->c->en;
    struct network_files f = {
        .hostname = def->config.hostname,
        .domainname = str_is_empty(def->config.domainname) ? NULL : def->config.domainname,
        .ip = ctx->endpoint.ip,
        .ip6 = ctx->endpoint.ip6,
        .extra_hosts = hc->extra_hosts,
        .host_gateway = ctx->endpoint.gateway[0] ? ctx->endpoint.gateway : NULL,
        .dns = strv_len(hc->dns) ? hc->dns : en->dns,
        .dns_search = strv_len(hc->dns_search) ? hc->dns_search : en->dns_search,
        .dns_options = strv_len(hc->dns_options) ? hc->dns_options : en->dns_options,
        .host_network = STREQ(hc->network_mode, "host"),
    };

    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r;

    if (ctx->netns_pid)
        return copy_name_files(ctx, e);
    r = network_write_files(def->dir, &f, &why);
    /* They count in the container's disk budget, and it may have used that up: what an earlier run left
     * of them makes room. */
    if (r < 0 && (why.errnum == EDQUOT || why.errnum == ENOSPC) && drop_name_files(def->dir)) {
        error_done(&why);
        r = network_write_files(def->dir, &f, &why);
    }
    if (r < 0)
        error_move(e, &why);
    return r;
}

static int prepare_foreign(struct start_context *ctx, struct error *e)
{
    struct engine *en = ctx->c->en;
    int r = foreign_seccomp(en, &ctx->def->host_config, &ctx->spec->linux->seccomp, e);

    /* What is asked for is in the oldest version; older runtimes refuse newer ones. */
    str_replace(&ctx->spec->oci_version, "1.0.2");
    return r < 0 ? r : foreign_prepare(en, ctx->def, ctx->bundle, e);
}

/* hook: for a process after the container's end, which the runner of hooks puts in. */
static int write_spec(struct start_context *ctx, bool hook, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/config.json", ctx->bundle);
    AUTOFREE char *text = NULL;
    int r;

    ctx->spec = xcalloc(1, sizeof(*ctx->spec));
    r = spec_build(ctx->c, ctx, ctx->spec, e);
    if (r == 0 && !hook && runtime_is_foreign(ctx->def->host_config.runtime))
        r = prepare_foreign(ctx, e);
    if (r < 0)
        return r;
    ctx->spec->pouch->gate_after_pivot = !hook && hooks_at_gate(ctx->def);
    if (hook)
        spec_for_hook(ctx->spec);
    text = json_print_str(&oci_spec_json, ctx->spec);
    r = fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, FS_NO_SYNC);
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

static int do_spec(struct start_context *ctx, struct error *e)
{
    return write_spec(ctx, false, e);
}

static int do_volumes(struct start_context *ctx, struct error *e)
{
    const struct volume_mounts *from = &ctx->def->mounts;
    struct volume_mounts mounts = {0};
    int r;

    if (!from->len)
        return 0;
    /* Bind sources and volumes may have gone since the container was created. The definition is
     * shared with readers of views: what is prepared is a copy, whose sources are the same. */
    mounts.items = xcalloc(from->len, sizeof(*mounts.items));
    for (; mounts.len < from->len; mounts.len++)
        json_copy(&volume_mount_json, &mounts.items[mounts.len], &from->items[mounts.len]);
    r = volume_mounts_prepare(ctx->c->en->volumes, ctx->c->id, &mounts, NULL, e);
    volume_mounts_done(&mounts);
    return r;
}

static int do_quota(struct start_context *ctx, struct error *e)
{
    int r = quota_start(ctx->c->en, ctx->def, e);

    return r == 0 ? quota_lend(ctx->c->en->quota, ctx->def->id, true, e) : r;
}

/* Before anything of the container runs. */
static int do_quota_end(struct start_context *ctx, struct error *e)
{
    return quota_lend(ctx->c->en->quota, ctx->def->id, false, e);
}

static void undo_quota(struct start_context *ctx)
{
    (void)!quota_lend(ctx->c->en->quota, ctx->def->id, false, NULL);
}

static int do_monitor(struct start_context *ctx, struct error *e)
{
    const struct container_definition *def = ctx->def;
    struct log_options log = {.max_size = -1, .max_files = 1};
    unsigned size[2] = {0, 0};
    int64_t share;
    struct monitor_params p = {
        .program = ctx->c->en->monitor_program,
        .id = def->id,
        .state_dir = ctx->bundle,
        .bundle = ctx->bundle,
        .container_dir = def->dir,
        .tty = def->config.tty,
        .open_stdin = def->config.open_stdin,
        .stdin_once = def->config.stdin_once,
        .rich = rich_has_pipes(ctx),
        .rich_exit_init = def->config.rich_exit && STREQ(def->config.rich_exit, "init"),
        .log_driver = def->host_config.log_config.type,
        .log_path = def->log_path,
    };
    int r = log_driver_options(p.log_driver, &def->host_config.log_config.config, &log, e);

    p.foreign = runtime_is_foreign(def->host_config.runtime);
    if (r == 0 && !p.foreign)
        r = engine_seccomp(ctx->c->en, &def->host_config, &p.seccomp_bpf, &p.seccomp_len, e);
    if (r < 0)
        return r;
    if (def->host_config.console_size)
        (void)sscanf(def->host_config.console_size, "[%u,%u]", &size[0], &size[1]);
    view_fill_monitor(ctx, &p);
    p.rows = size[0];
    p.cols = size[1];
    /* The log counts in the container's budget: it gives up its oldest lines rather than take all. */
    share = quota_log_size(ctx->c->en, def->id);
    if (share && !json_map_get(&def->host_config.log_config.config, "max-size") &&
        log.max_size > share) {
        log.max_size = share;
        log.max_files = 2;
    }
    p.log_max_size = log.max_size;
    p.log_max_files = (unsigned)log.max_files;
    return monitor_spawn(&p, &ctx->monitor, e);
}

static void undo_monitor(struct start_context *ctx)
{
    const struct container_definition *def = ctx->def;
    struct monitor_event ev;

    (void)!monitor_signal(ctx->monitor, SIGKILL, true, NULL);
    (void)!cgroup_kill(ctx->cgroup, NULL);
    /* The monitor ends by itself; its end is not waited for longer than a moment. */
    for (int i = 0; i < 200; i++) {
        int r = monitor_read_event(ctx->monitor, &ev);

        if (r < 0 || (r > 0 && ev.type == MONITOR_EVENT_HANGUP))
            break;
        if (r == 0)
            (void)usleep(5000);
    }
    monitor_free(ctx->monitor);
    ctx->monitor = NULL;
    foreign_delete(ctx->bundle, def->id);
    if (cgroup_remove(ctx->cgroup, NULL) < 0)
        log_warn("cgroup left behind by a failed start", "id=%s cgroup=%s", def->id, ctx->cgroup);
}

static int do_attach(struct start_context *ctx, struct error *e)
{
    return network_attach_pid(ctx->c->en->network, &ctx->endpoint, monitor_init_pid(ctx->monitor),
                              e);
}

static void hand_over_clients(struct container *c, struct monitor *m, struct pending_attach *list)
{
    while (list) {
        struct pending_attach *next = list->next;
        CLEANUP(error_done) struct error why = ERROR_INIT;

        /* One client that is gone must not keep the container from starting. */
        if (attach_to_monitor(m, &list->params, list->fd, &why) < 0)
            log_warn("client could not be attached", "id=%s error=\"%s\"", c->id,
                     error_message(&why));
        pending_attach_free(list);
        list = next;
    }
}

/* Clients that attached before the start. */
static int do_clients(struct start_context *ctx, struct error *e)
{
    struct pending_attach *list;
    int64_t deadline = time_monotonic_ns() + CLIENTS_WAIT_NS;
    struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC, .tv_nsec = deadline % NSEC_PER_SEC};

    (void)e;
    (void)pthread_mutex_lock(&ctx->c->mutex);
    while (ctx->c->attaching && pthread_cond_timedwait(&ctx->c->cond, &ctx->c->mutex, &until) == 0)
        ;
    list = take_ptr(ctx->c->pending);
    (void)pthread_mutex_unlock(&ctx->c->mutex);
    hand_over_clients(ctx->c, ctx->monitor, list);
    return 0;
}

static int do_go(struct start_context *ctx, struct error *e)
{
    return monitor_start(ctx->monitor, e);
}

struct start_step {
    const char *name;
    int (*run)(struct start_context *, struct error *);
    void (*undo)(struct start_context *);
};

static const struct start_step steps[] = {
    {"resolve", do_resolve, undo_resolve}, {"volumes", do_volumes, NULL},
    {"quota", do_quota, undo_quota},       {"rootfs", do_rootfs, undo_rootfs},
    {"address", do_reserve, undo_reserve}, {"files", do_files, NULL},
    {"view", view_prepare, NULL},          {"identity", identity_prepare, NULL},
    {"rich", rich_prepare, NULL},          {"spec", do_spec, NULL},
    {"monitor", do_monitor, undo_monitor}, {"network", do_attach, NULL},
    {"hooks", hooks_prestart, NULL},       {"clients", do_clients, NULL},
    {"quota's end", do_quota_end, NULL},   {"go", do_go, NULL},
};

static void context_done(struct start_context *ctx)
{
    container_def_free(ctx->def);
    image_unref(ctx->image);
    rootfs_mount_done(&ctx->rootfs);
    rich_start_free(ctx->rich);
    network_endpoint_done(&ctx->endpoint);
    if (ctx->spec)
        json_free(&oci_spec_json, ctx->spec);
    free(ctx->spec);
    free(ctx->cgroup);
    free(ctx->loadavg);
    strv_free(ctx->warnings);
    free((char *)(uintptr_t)ctx->bundle);
}

static int run_steps(struct start_context *ctx, struct error *e)
{
    size_t i;
    int r = 0;

    for (i = 0; i < ARRAY_SIZE(steps); i++) {
        int64_t before = time_monotonic_ns();

        r = steps[i].run(ctx, e);
        log_debug("start step", "id=%.12s step=%s result=%d us=%lld", ctx->c->id, steps[i].name, r,
                  (long long)((time_monotonic_ns() - before) / 1000));
        if (r < 0)
            break;
    }
    if (r < 0)
        explain_joined(ctx, e);
    /* The failed step has undone its own part, but for what a monitor already made. */
    while (r < 0 && i-- > 0)
        if (steps[i].undo)
            steps[i].undo(ctx);
    return r;
}

/* The exit code a user sees when the command could not be run. */
static int64_t failed_start_code(const struct error *e)
{
    return e->code == ERR_COMMAND_NOT_FOUND        ? 127
           : e->code == ERR_COMMAND_NOT_EXECUTABLE ? 126
                                                   : 128;
}

static void drop_pending(struct container *c)
{
    struct pending_attach *list;

    (void)pthread_mutex_lock(&c->mutex);
    list = take_ptr(c->pending);
    (void)pthread_mutex_unlock(&c->mutex);
    while (list) {
        struct pending_attach *next = list->next;

        pending_attach_free(list);
        list = next;
    }
}

/* A start that failed: on record, like Docker, with its reason and exit code. */
static void publish_failure(struct container *c, const struct error *e)
{
    CLEANUP(error_done) struct error ignored = ERROR_INIT;
    AUTOPTR(container_def) const struct container_definition *def = NULL;

    (void)pthread_mutex_lock(&c->mutex);
    str_replace(&c->error, error_message(e));
    c->exit_code = failed_start_code(e);
    if (c->status == CONTAINER_RESTARTING)
        c->status = CONTAINER_EXITED;
    container_publish(c);
    container_wake_waiters(c);
    (void)pthread_mutex_unlock(&c->mutex);
    def = container_def_ref(c);
    if (def->host_config.auto_remove && !c->upgrading) {
        if (container_remove_claimed(c, true, &ignored) < 0)
            log_error("container not removed", "id=%s error=\"%s\"", c->id,
                      error_message(&ignored));
        drop_pending(c);
        return;
    }
    if (record_update(c, &ignored) < 0)
        log_error("container state not saved", "id=%s error=\"%s\"", c->id,
                  error_message(&ignored));
    drop_pending(c);
}

/* A start that got as far as its hooks has poststop hooks too. */
static void poststop_of_failure(struct container *c, const struct error *why)
{
    struct monitor_exit x = {.exit_code = (int)failed_start_code(why)};

    (void)snprintf(x.error, sizeof(x.error), "%s", error_message(why));
    hooks_note_end(c, &x);
    if (!hooks_poststop(c))
        log_info("poststop hooks are left to the next start of the engine", "id=%s", c->id);
}

/* Who sees it running finds its monitor, too: both become true at once. Clients that came since
 * do_clients() would wait for the next start. */
static void publish_running(struct start_context *ctx, struct live *live)
{
    struct container *c = ctx->c;
    struct pending_attach *late;

    (void)pthread_mutex_lock(&c->mutex);
    c->live = live;
    late = take_ptr(c->pending);
    c->status = CONTAINER_RUNNING;
    c->pid = monitor_init_pid(ctx->monitor);
    c->started = time_now_ns();
    c->finished = c->finished ? c->finished : 0;
    c->exit_code = 0;
    c->oom_killed = false;
    str_replace(&c->error, NULL);
    strv_free(c->warnings);
    c->warnings = strv_copy(monitor_warnings(ctx->monitor));
    for (size_t i = 0; ctx->warnings && ctx->warnings[i]; i++)
        strv_push(&c->warnings, ctx->warnings[i]);
    c->stop_requested = false;
    network_endpoint_done(&c->endpoint);
    network_endpoint_copy(&c->endpoint, &ctx->endpoint);
    c->has_endpoint = true;
    container_publish(c);
    (void)pthread_cond_broadcast(&c->cond);
    (void)pthread_mutex_unlock(&c->mutex);
    hand_over_clients(c, live->monitor, late);
}

int start_hook_bundle(struct container *c, const struct container_definition *def,
                      const char *bundle, const char *cgroup, struct error *e)
{
    AUTOFREE char *mount_point = xasprintf("%s/rootfs", bundle);
    struct start_context ctx = {.c = c, .def = def, .bundle = bundle};
    /* A runner of an earlier pouchd may be at work in it: nothing is taken away. */
    int r = fs_mkdir_p(mount_point, 0700);

    if (r < 0)
        return error_set_errno(e, r, "cannot create %s", bundle);
    ctx.cgroup = xstrdup(cgroup);
    r = image_get(c->en->images, def->image_id, &ctx.image, e);
    if (r == 0)
        r = engine_image_usable(c->en, &ctx.image, e);
    if (r == 0)
        r = do_volumes(&ctx, e);
    if (r == 0)
        r = rootfs_prepare(c->en->rootfs, def->dir, ctx.image->layer_dirs, &ctx.rootfs, e);
    if (r == 0)
        r = write_spec(&ctx, true, e);
    /* Definition and bundle are the caller's. */
    ctx.def = NULL;
    ctx.bundle = NULL;
    context_done(&ctx);
    return r;
}

int container_start_claimed(struct container *c, struct error *e)
{
    struct start_context ctx = {.c = c};
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r;

    ctx.bundle = container_state_dir(c->en, c->id);
    ctx.def = container_def_ref(c);
    ctx.cgroup = container_cgroup(c);
    r = run_steps(&ctx, &why);
    if (r == 0)
        health_reset(c, ctx.def);
    if (r == 0) {
        char *const *warnings = monitor_warnings(ctx.monitor);
        struct live *live = live_new(ctx.monitor);

        for (size_t i = 0; warnings && warnings[i]; i++)
            log_warn("container started with less than was asked for", "id=%s warning=\"%s\"",
                     c->id, warnings[i]);
        publish_running(&ctx, live_ref(live));
        ctx.monitor = NULL; /* the live object's */
        if (record_update(c, &why) < 0) {
            /* It runs, but is not on record: a restart of the engine finds it by its monitor. */
            log_error("container state not saved", "id=%s error=\"%s\"", c->id,
                      error_message(&why));
            error_done(&why);
        }
        events_container(c, "start", NULL);
        container_watch(c, live);
        view_started(&ctx);
        health_start(c, ctx.def, false);
        hooks_poststart(c, ctx.def);
    } else {
        if (hooks_owed(c))
            poststop_of_failure(c, &why);
        publish_failure(c, &why);
        error_move(e, &why);
    }
    context_done(&ctx);
    return r;
}

int engine_start(struct engine *en, const char *ref, const char *detach_keys, char ***ret_warnings,
                 struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    enum container_status status;
    int r = container_find(en, ref, &c, e);

    (void)detach_keys; /* they belong to attach requests; start has no stream */
    if (r == 0)
        r = container_claim(c, OP_START, e);
    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&c->mutex);
    status = c->status;
    if (c->live == NULL)
        container_forget_restarts(c);
    (void)pthread_mutex_unlock(&c->mutex);
    if (status == CONTAINER_PAUSED)
        r = error_set(e, ERR_CONFLICT, "cannot start a paused container, try unpause instead");
    else if (status == CONTAINER_RUNNING)
        r = error_set(e, ERR_NOT_MODIFIED, "container %s is already running", c->id);
    else if (status == CONTAINER_REMOVING || status == CONTAINER_DEAD)
        r = error_set(e, ERR_CONFLICT, "container is marked for removal and cannot be started");
    else
        r = container_start_claimed(c, e);
    if (r == 0 && ret_warnings) {
        (void)pthread_mutex_lock(&c->mutex);
        *ret_warnings = strv_copy(c->warnings);
        (void)pthread_mutex_unlock(&c->mutex);
    }
    container_release_claim(c);
    return r;
}
