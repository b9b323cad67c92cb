/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the engine. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/health.h"
#include "engine/hooks.h"
#include "engine/lxcfs.h"
#include "engine/foreign.h"
#include "engine/recover.h"
#include "engine/userns.h"
#include "io/reaper.h"
#include "log/driver.h"

#define WORKER_THREADS 8
#define PROBER_THREADS 4

static const char *const meta_migrations[] = {
    "CREATE TABLE engine_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID", NULL};

/* --- small facts kept in the database ------------------------------------------------------------- */

static char *meta_get(struct store *s, const char *key)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    if (store_query(s, &rows, NULL, "SELECT value FROM engine_meta WHERE key = ?", "s", key) < 0 ||
        store_rows_next(&rows, NULL) <= 0)
        return NULL;
    return xstrdup_or_null(store_col_str(&rows, 0));
}

static int meta_set(struct store *s, const char *key, const char *value, struct error *e)
{
    int r = store_exec(s, e, "INSERT OR REPLACE INTO engine_meta VALUES (?, ?)", "ss", key, value);

    return r < 0 ? r : 0;
}

/* The engine's id is made once; a changed boot id says that the host was restarted. */
static int load_meta(struct engine *en, bool *ret_rebooted, struct error *e)
{
    AUTOFREE char *id = NULL;
    AUTOFREE char *old_boot = NULL;
    AUTOFREE char *boot = NULL;
    int r = store_migrate(en->store, "engine", meta_migrations, e);

    if (r < 0)
        return r;
    id = meta_get(en->store, "id");
    if (!id) {
        id = xcalloc(1, 65);
        random_hex(id, 16);
        r = meta_set(en->store, "id", id, e);
    }
    if (r < 0)
        return r;
    (void)strncpy(en->id, id, sizeof(en->id) - 1);
    r = fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, NULL);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the boot id");
    old_boot = meta_get(en->store, "boot_id");
    *ret_rebooted = old_boot && !STREQ(old_boot, boot);
    en->boot = take_ptr(boot);
    return 0;
}

/* --- opening ------------------------------------------------------------------------------------------ */

static int make_folder(const char *base, const char *name, mode_t mode, struct error *e)
{
    AUTOFREE char *path = name ? xasprintf("%s/%s", base, name) : xstrdup(base);
    int r = fs_mkdir_p(path, mode);

    return r < 0 ? error_set_errno(e, r, "cannot create %s", path) : 0;
}

static int make_folders(const struct engine_params *p, struct error *e)
{
    int r = make_folder(p->root, NULL, 0711, e);

    if (r == 0)
        r = make_folder(p->root, "containers", 0710, e);
    if (r == 0)
        r = make_folder(p->state, NULL, 0711, e);
    if (r == 0)
        r = make_folder(p->state, "c", 0700, e);
    return r;
}

static void copy_params(struct engine *en, const struct engine_params *p)
{
    const char *driver = str_is_empty(p->log_driver) ? LOG_DRIVER_DEFAULT : p->log_driver;
    const char *parent = str_is_empty(p->cgroup_parent) ? "/pouch" : p->cgroup_parent;

    en->root = xstrdup(p->root);
    en->state = xstrdup(p->state);
    en->cgroup_parent = xasprintf("%s%s", parent[0] == '/' ? "" : "/", parent);
    en->default_log_driver = xstrdup(driver);
    for (size_t i = 0; i < p->log_opts.len; i++)
        json_map_set(&en->log_opts, p->log_opts.items[i].key, p->log_opts.items[i].value);
    en->insecure_registries = strv_copy(p->insecure_registries);
    en->signature_policy = xstrdup_or_null(p->signature_policy);
    en->registries_d = xstrdup_or_null(p->registries_d);
    en->auth_file = xstrdup_or_null(p->auth_file);
    en->dns = strv_copy(p->dns);
    en->dns_search = strv_copy(p->dns_search);
    en->dns_options = strv_copy(p->dns_options);
    en->labels = strv_copy(p->labels);
    en->runtimes = p->runtimes;
    en->default_runtime = xstrdup(str_is_empty(p->default_runtime) ? RUNTIME_NATIVE
                                                                   : p->default_runtime);
    en->no_new_privileges = p->no_new_privileges;
    en->userns = str_is_empty(p->userns) ? NULL : xstrdup(p->userns);
    en->userns_pool = strv_copy(p->userns_pool);
    en->debug = p->debug;
    en->monitor_program = self_program_path("pouch-monitor");
    for (size_t i = 0; i < p->default_ulimits.len; i++) {
        struct ulimit *u = json_list_add(&en->default_ulimits, sizeof(*u));
        const struct ulimit *from = (const struct ulimit *)p->default_ulimits.items + i;

        *u = *from;
        u->name = xstrdup(from->name);
    }
}

static int open_parts(struct engine *en, const struct engine_params *p, bool *ret_rebooted,
                      struct error *e)
{
    AUTOFREE char *db = xasprintf("%s/pouch.db", en->root);
    struct log_options log;
    struct image_store_params ip = {
        .root = en->root,
        .insecure_registries = en->insecure_registries,
        .registry = p->registry,
        .signature_policy = en->signature_policy,
        .registries_d = en->registries_d,
        .auth_file = en->auth_file,
        .in_use = engine_image_in_use,
        .in_use_data = en,
        .gc = p->image_gc,
        .drop_blobs = p->drop_blobs,
        .on_collected = engine_image_collected,
        .layer_going = engine_layer_going,
        .layer_gone = engine_layer_gone,
        .reaper = en->reaper,
    };
    const struct rootfs_params rp = {
        .driver = p->rootfs_driver,
        .root = en->root,
        .state = en->state,
        .measure = engine_layer_measure,
        .measure_data = en,
        .reaper = en->reaper,
    };
    int r = foreign_check(en, e);

    if (r == 0)
        r = log_driver_options(en->default_log_driver, &en->log_opts, &log, e);

    if (r == 0)
        r = store_open(db, &en->store, e);
    if (r == 0)
        r = load_meta(en, ret_rebooted, e);
    if (r == 0)
        r = record_migrate(en->store, e);
    if (r == 0)
        r = image_mounts_open(en, e);
    if (r == 0)
        r = userns_migrate(en->store, e);
    if (r == 0)
        r = userns_open(en, e);
    if (r == 0)
        r = hooks_migrate(en->store, e);
    if (r == 0)
        r = health_migrate(en->store, e);
    if (r == 0)
        r = rootfs_open(&rp, &en->rootfs, e);
    ip.store = en->store;
    ip.layer_form = r == 0 && rootfs_makes_files(en->rootfs) ? IMAGE_LAYER_EROFS
                                                             : IMAGE_LAYER_FOLDER;
    ip.verity = r == 0 && rootfs_has_verity(en->rootfs);
    if (r == 0)
        r = image_store_open(&ip, &en->images, e);
    if (r == 0)
        r = quota_open(en->store, en->root, p->quota_driver, &en->quota, e);
    if (r == 0)
        r = volume_store_open(en->root, en->reaper, &en->volumes, e);
    if (r == 0)
        r = network_open(&p->network, en->store, &en->network, e);
    return r < 0 ? r : view_open(en, p, e);
}

static void add_loaded(struct engine *en, struct container *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    registry_add(en, c);
}

static void *loop_main(void *data)
{
    struct engine *en = data;

    if (loop_run(en->loop) < 0)
        abort(); /* epoll cannot fail but by a bug; without news from monitors nothing is right */
    return NULL;
}

static void on_network(struct source *s, int fd, uint32_t revents, void *data)
{
    struct engine *en = data;

    (void)s;
    (void)fd;
    (void)revents;
    network_handle_event(en->network);
}

static int start_threads(struct engine *en, struct error *e)
{
    pthread_attr_t attr;
    int fd = network_watch_fd(en->network);
    int r;

    if (fd >= 0) {
        r = loop_add_fd(en->loop, fd, EPOLLIN, on_network, en, &en->network_source);
        if (r < 0)
            return error_set_errno(e, r, "cannot watch the firewall's rules");
    }
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, 512 << 10);
    r = pthread_create(&en->loop_thread, &attr, loop_main, en);
    (void)pthread_attr_destroy(&attr);
    return r ? error_set_errno(e, r, "cannot start a thread") : 0;
}

/* All containers on record, referenced. */
struct container **engine_all_containers(struct engine *en, size_t *ret_n)
{
    struct container **list;
    size_t n = 0;
    size_t pos = 0;
    void *value;

    (void)pthread_mutex_lock(&en->mutex);
    list = xcalloc(map_len(en->by_id) + 1, sizeof(struct container *));
    while (map_next(en->by_id, &pos, NULL, &value))
        list[n++] = container_ref(value);
    (void)pthread_mutex_unlock(&en->mutex);
    *ret_n = n;
    return list;
}

/* As Docker: at each start of the engine "always" starts again even what a user had stopped. What
 * never ran, or what was to be removed, stays as it is. */
static void mark_restarts(struct container *c)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    const char *policy = def->host_config.restart_policy.name;
    bool wanted = c->status == CONTAINER_RESTARTING ||
                  (STREQ(policy, "always") && c->status == CONTAINER_EXITED);

    if (!wanted || c->upgrading)
        return;
    (void)pthread_mutex_lock(&c->mutex);
    c->status = CONTAINER_RESTARTING;
    c->stop_requested = false;
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
}

static void recover_all(struct engine *en, bool rebooted)
{
    AUTO(error) struct error e = ERROR_INIT;
    size_t n = 0;
    struct container **list = engine_all_containers(en, &n);

    for (size_t i = 0; i < n; i++) {
        recover_container(list[i], rebooted);
        mark_restarts(list[i]);
        container_unref(list[i]);
    }
    free(list);
    recover_sweep(en, rebooted);
    /* Only now: a start that fails before has not done what a reboot asks for. */
    if (meta_set(en->store, "boot_id", en->boot, &e) < 0)
        log_warn("this boot is not on record", "error=\"%s\"", error_message(&e));
}

static bool has_live(struct engine *en)
{
    size_t n = 0;
    struct container **list = engine_all_containers(en, &n);
    bool live = false;

    for (size_t i = 0; i < n; i++) {
        (void)pthread_mutex_lock(&list[i]->mutex);
        live |= list[i]->live != NULL;
        (void)pthread_mutex_unlock(&list[i]->mutex);
        container_unref(list[i]);
    }
    free(list);
    return live;
}

void engine_give_up(struct engine *en)
{
    size_t n = 0;
    struct container **list = engine_all_containers(en, &n);

    atomic_store(&en->closing, true);
    if (en->images)
        image_store_give_up(en->images);
    for (size_t i = 0; i < n; i++) {
        hooks_close(list[i]);
        container_unref(list[i]);
    }
    free(list);
    reaper_stop(en->reaper); /* who removes a folder himself leaves the rest to the sweep */
}

int engine_open(const struct engine_params *p, struct engine **ret, struct error *e)
{
    struct engine *en;
    bool rebooted = false;
    int r = make_folders(p, e);

    if (r < 0)
        return r;
    en = xcalloc(1, sizeof(*en));
    (void)pthread_mutex_init(&en->mutex, NULL);
    en->by_id = map_new();
    en->by_name = map_new();
    en->execs = map_new();
    en->seccomp = map_new();
    en->events = events_new(en);
    en->reaper = reaper_new();
    en->workers = workers_new(WORKER_THREADS);
    en->probers = workers_new(PROBER_THREADS);
    copy_params(en, p);
    r = loop_new(&en->loop);
    if (r < 0)
        r = error_set_errno(e, r, "cannot make an event loop");
    if (r == 0)
        r = open_parts(en, p, &rebooted, e);
    if (r == 0)
        r = record_load(en, add_loaded, e);
    if (r == 0)
        r = hooks_load(en, e);
    if (r == 0)
        r = health_load(en, e);
    if (r == 0)
        r = start_threads(en, e);
    if (r < 0) {
        engine_close(en);
        return r;
    }
    quota_recover(en);
    recover_all(en, rebooted);
    if (en->lxcfs)
        r = lxcfs_watch(en->lxcfs, e);
    else if (!has_live(en))
        lxcfs_sweep(en->state);
    if (r < 0) {
        engine_close(en);
        return r;
    }
    *ret = en;
    return 0;
}

void engine_start_restarts(struct engine *en)
{
    size_t n = 0;
    struct container **list = engine_all_containers(en, &n);

    for (size_t i = 0; i < n; i++) {
        AUTOPTR(container_view) struct container_view *v = container_get_view(list[i]);

        bool idle;

        (void)pthread_mutex_lock(&list[i]->mutex);
        idle = !list[i]->restart_timer &&
               list[i]->op == OP_NONE; /* else its end is still at work */
        (void)pthread_mutex_unlock(&list[i]->mutex);
        if (list[i]->upgrading)
            upgrade_resume(list[i]);
        else if (v->status == CONTAINER_RESTARTING && idle)
            container_schedule_restart(list[i]);
        container_unref(list[i]);
    }
    free(list);
}

/* --- closing -------------------------------------------------------------------------------------------- */

static void free_bpf(void *p)
{
    buf_done(p);
    free(p);
}

static void close_containers(struct engine *en, size_t *ret_live)
{
    size_t n = 0;
    struct container **list = engine_all_containers(en, &n);

    *ret_live = 0;
    for (size_t i = 0; i < n; i++) {
        struct container *c = list[i];

        (void)pthread_mutex_lock(&c->mutex);
        *ret_live += c->live != NULL;
        live_unref(take_ptr(c->live));
        (void)pthread_mutex_unlock(&c->mutex);
        while (c->pending) {
            struct pending_attach *next = c->pending->next;

            pending_attach_free(c->pending);
            c->pending = next;
        }
        c->removed = true;
        exec_all_ended(c);
        registry_remove(en, c);
        container_unref(c);
    }
    free(list);
}

static void free_engine(struct engine *en)
{
    struct ulimit *u = en->default_ulimits.items;

    for (size_t i = 0; i < en->default_ulimits.len; i++)
        free(u[i].name);
    free(u);
    free(en->root);
    free(en->boot);
    free(en->gone);
    free(en->state);
    free(en->cgroup_parent);
    free(en->default_log_driver);
    free(en->default_runtime);
    json_map_done(&en->log_opts);
    strv_free(en->unread);
    strv_free(en->insecure_registries);
    free(en->signature_policy);
    free(en->registries_d);
    free(en->auth_file);
    strv_free(en->dns);
    strv_free(en->dns_search);
    strv_free(en->dns_options);
    strv_free(en->labels);
    free(en->userns);
    strv_free(en->userns_pool);
    free(en->monitor_program);
    image_mounts_done(en);
    (void)pthread_mutex_destroy(&en->mutex);
    free(en);
}

/* The layers that running containers use: their mounts stay for the next pouchd. */
static char **live_layers(struct engine *en)
{
    size_t n = 0;
    struct container **list = engine_all_containers(en, &n);
    char **layers = NULL;

    for (size_t i = 0; i < n; i++) {
        AUTOPTR(container_def) const struct container_definition *def = container_def_ref(list[i]);
        AUTOPTR(image) struct image *img = NULL;
        bool live;

        (void)pthread_mutex_lock(&list[i]->mutex);
        live = list[i]->live != NULL;
        (void)pthread_mutex_unlock(&list[i]->mutex);
        if (live && image_get(en->images, def->image_id, &img, NULL) == 0)
            for (char **l = img->layer_dirs; l && *l; l++)
                strv_push(&layers, *l);
        container_unref(list[i]);
    }
    free(list);
    return layers;
}

void engine_close(struct engine *en)
{
    AUTOPTR(strv) char **layers = NULL;
    size_t live = 0;

    if (!en)
        return;
    engine_give_up(en);
    if (en->loop_thread) {
        loop_quit(en->loop, 0);
        (void)pthread_join(en->loop_thread, NULL);
    }
    watches_free(en);
    workers_free(en->probers);
    for (int i = 0; en->loop_thread && i < 64 && loop_run_once(en->loop, 0) > 0; i++)
        continue; /* what they had for the loop */
    workers_free(en->workers);
    health_close(en);
    lxcfs_close(en->lxcfs, has_live(en));
    layers = en->images ? live_layers(en) : NULL;
    close_containers(en, &live);
    network_close(en->network, live == 0);
    volume_store_free(en->volumes);
    quota_close(en->quota, live == 0);
    reaper_stop(en->reaper);
    if (en->images)
        image_store_close(en->images);
    rootfs_close(en->rootfs, layers);
    events_free(en->events);
    loop_free(en->loop);
    store_close(en->store);
    map_free(en->by_id, NULL);
    map_free(en->by_name, NULL);
    map_free(en->execs, NULL);
    map_free(en->seccomp, free_bpf);
    reaper_free(en->reaper);
    free_engine(en);
}
