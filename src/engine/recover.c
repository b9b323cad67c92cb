/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a start of pouchd: what lives is adopted again through its monitor, what ended meanwhile
 * gets its true exit code, what a killed pouchd left half-made is undone. Everything a container
 * has carries its id, so looking at what is there is enough.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"
#include "engine/foreign.h"
#include "engine/health.h"
#include "engine/hooks.h"
#include "engine/recover.h"
#include "sys/cgroup.h"

/* The end of a container that nobody was there to see. */
static void note_lost(struct container *c, bool rebooted, struct monitor_exit *x)
{
    AUTOFREE char *cgroup = container_cgroup(c);

    *x = (struct monitor_exit){.exit_code = rebooted ? 255 : 137};
    x->oom_killed = !rebooted && cgroup_oom_count(cgroup) > 0;
    (void)snprintf(x->error, sizeof(x->error), "%s",
                   rebooted ? "the host was restarted while the container ran"
                            : "the container's monitor died, so the container was killed");
}

static bool was_up(const struct container *c)
{
    return c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED;
}

static bool is_bridged(const char *mode)
{
    return STREQ(mode, "default") || STREQ(mode, "bridge");
}

/* A container that passed the gate but was not on record yet, or whose record is right. */
static void adopt_running(struct container *c, struct monitor *m)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    AUTOFREE char *cgroup = container_cgroup(c);
    const struct network_request req = {.mode = def->host_config.network_mode};
    struct network_endpoint endpoint = {0};
    bool changed = !was_up(c) || c->pid != monitor_init_pid(m);
    struct live *live = live_new(m);

    container_end_paused_of_old(c, cgroup);
    bool frozen = cgroup_is_frozen(cgroup);
    /* Only bridge endpoints are on record; the others are made of the mode alone. */
    bool found = network_lookup(c->en->network, c->id, &endpoint) == 0 ||
                 (!is_bridged(req.mode) &&
                  network_reserve(c->en->network, c->id, &req, &endpoint, NULL) == 0);

    (void)pthread_mutex_lock(&c->mutex);
    if (!was_up(c))
        c->started = time_now_ns();
    c->status = frozen ? CONTAINER_PAUSED : CONTAINER_RUNNING;
    c->pid = monitor_init_pid(m);
    c->endpoint = endpoint;
    c->has_endpoint = found;
    c->live = live_ref(live);
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    if (changed)
        (void)record_update(c, NULL);
    container_watch(c, live);
    health_start(c, def, true);
    log_info("container adopted", "id=%s pid=%d", c->id, (int)c->pid);
}

/* A start that was cut off before the gate opened. */
static void undo_half_start(struct container *c, struct monitor *m)
{
    AUTOFREE char *cgroup = container_cgroup(c);

    log_info("half-made start undone", "id=%s", c->id);
    (void)!monitor_signal(m, SIGKILL, true, NULL);
    (void)!cgroup_kill(cgroup, NULL);
    monitor_free(m);
    container_clean_run(c);
}

static void end_of_old_run(struct container *c, const char *dir, bool rebooted)
{
    struct monitor_exit x;
    bool known = monitor_read_exit(dir, &x, NULL) == 0;

    if (!was_up(c) && !known) {
        if (c->status == CONTAINER_CREATED || c->status == CONTAINER_EXITED ||
            c->status == CONTAINER_DEAD)
            container_clean_run(c);
        return;
    }
    /* exit.json of a start that failed: the record says it already. */
    if (!was_up(c) && x.error_code) {
        container_clean_run(c);
        return;
    }
    if (!known)
        note_lost(c, rebooted, &x);
    container_handle_exit(c, &x);
}

static void recover_run(struct container *c, bool rebooted)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    AUTOFREE char *dir = container_state_dir(c->en, c->id);
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct monitor *m = NULL;

    for (size_t i = 0; i < def->mounts.len; i++)
        if (def->mounts.items[i].name)
            volume_ref(c->en->volumes, def->mounts.items[i].name, c->id);
    if (c->status == CONTAINER_REMOVING && hooks_owed(c)) {
        container_clean_run(c); /* what follows does the rest */
        return;
    }
    /* Its removal had begun: finish it. And who made one with --rm and has not started it went with
     * the host. (A pouchd that only starts again lets its client go on.) */
    if (c->status == CONTAINER_REMOVING ||
        (def->host_config.auto_remove && c->status == CONTAINER_DEAD) ||
        (rebooted && def->host_config.auto_remove && c->status == CONTAINER_CREATED)) {
        if (container_claim(c, OP_REMOVE, &e) == 0) {
            container_clean_run(c);
            (void)container_remove_claimed(c, def->host_config.auto_remove, &e);
            container_release_claim(c);
        }
        return;
    }
    if (access(dir, F_OK) == 0 && monitor_connect(dir, &m, &e) == 0) {
        enum monitor_state state = monitor_get_state(m);

        if (state == MONITOR_RUNNING) {
            adopt_running(c, m);
            return;
        }
        if (state == MONITOR_GATE) {
            undo_half_start(c, m);
            m = NULL;
        }
        monitor_free(m);
        if (state == MONITOR_GATE && !was_up(c))
            return;
    }
    if (was_up(c) || access(dir, F_OK) == 0)
        end_of_old_run(c, dir, rebooted);
}

void recover_container(struct container *c, bool rebooted)
{
    bool upgrade = upgrade_recover(c);
    bool idle;

    recover_run(c, rebooted);
    (void)pthread_mutex_lock(&c->mutex);
    idle = !c->live && c->op == OP_NONE && !c->removed;
    (void)pthread_mutex_unlock(&c->mutex);
    if (idle && hooks_owed(c))
        container_finish_end(c);
    if (!upgrade && c->pending_change)
        update_recover(c);
}

/* --- what belongs to no container ------------------------------------------------------------------ */

/* Removes every entry of a folder whose name is not in live. */
static void sweep_folder(const char *path, char *const *live)
{
    DIR *d = opendir(path);
    struct dirent *de;

    while (d && (de = readdir(d))) {
        int r;

        if (de->d_name[0] == '.' || strv_contains(live, de->d_name))
            continue;
        r = fs_remove_tree(dirfd(d), de->d_name);
        if (r < 0)
            log_warn("leftover not removed", "path=%s/%s error=\"%s\"", path, de->d_name,
                     strerror(-r));
        else
            log_info("leftover removed", "path=%s/%s", path, de->d_name);
    }
    if (d)
        (void)closedir(d);
}

/* The cgroup that the bundle's config.json names; the default one when it cannot be read. */
static char *cgroup_of_bundle(const struct engine *en, const char *dir, const char *id)
{
    AUTOFREE char *path = xasprintf("%s/config.json", dir);
    AUTOFREE char *text = NULL;
    AUTOPTR(json_value) struct json_value *v = NULL;
    const char *named = NULL;
    size_t len = 0;

    if (fs_read_file(AT_FDCWD, path, 4 << 20, &text, &len) == 0 &&
        json_value_parse(text, len, &v, NULL) == 0)
        named = json_value_str(json_value_get(json_value_get(v, "linux"), "cgroupsPath"));
    return named ? xstrdup(named) : xasprintf("%s/%s", en->cgroup_parent, id);
}

/* Only what this engine's own state folder names is touched: other engines may use the same parent
 * cgroup.
 * State folders without a container: a monitor there (its container was removed from the record
 * by a pouchd that was killed before it could do the rest) is ended first. */
static void sweep_states(struct engine *en, char *const *live)
{
    AUTOFREE char *path = xasprintf("%s/c", en->state);
    DIR *d = opendir(path);
    struct dirent *de;

    while (d && (de = readdir(d))) {
        AUTOFREE char *dir = xasprintf("%s/%s", path, de->d_name);
        AUTOFREE char *cgroup = cgroup_of_bundle(en, dir, de->d_name);
        AUTOPTR(monitor) struct monitor *m = NULL;

        if (de->d_name[0] == '.' || strv_contains(live, de->d_name))
            continue;
        if (monitor_connect(dir, &m, NULL) == 0)
            (void)!monitor_signal(m, SIGKILL, true, NULL);
        foreign_delete(dir, de->d_name);
        (void)!cgroup_kill(cgroup, NULL);
        (void)!cgroup_remove(cgroup, NULL);
    }
    if (d)
        (void)closedir(d);
    sweep_folder(path, live);
}

void recover_sweep(struct engine *en, bool rebooted)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    AUTOFREE char *hooks = xasprintf("%s/h", en->state);
    AUTOPTR(strv) char **known = NULL; /* on record */
    AUTOPTR(strv) char **live = NULL;  /* running */
    size_t pos = 0;
    void *value;

    (void)pthread_mutex_lock(&en->mutex);
    known = xcalloc(map_len(en->by_id) + 1, sizeof(char *));
    live = xcalloc(map_len(en->by_id) + 1, sizeof(char *));
    for (size_t n = 0, m = 0; map_next(en->by_id, &pos, NULL, &value);) {
        struct container *c = value;

        known[n++] = xstrdup(c->id);
        if (c->live)
            live[m++] = xstrdup(c->id);
    }
    (void)pthread_mutex_unlock(&en->mutex);
    for (size_t i = 0; en->unread && en->unread[i]; i++) {
        strv_push(&known, en->unread[i]);
        strv_push(&live, en->unread[i]);
    }
    network_sweep(en->network, live);
    sweep_states(en, known);
    sweep_folder(hooks, known);
    int swept = rootfs_sweep(en->rootfs, en->root, known, &e);
    if (swept < 0)
        log_warn("leftover not removed", "error=\"%s\"", error_message(&e));
    else if (swept > 0)
        log_info("leftovers are being removed", "path=%s/containers count=%d", en->root, swept);
    error_done(&e);
    volume_sweep(en->volumes, en->unread, rebooted);
    if (image_sweep(en->images, &e) < 0)
        log_warn("images not swept", "error=\"%s\"", error_message(&e));
}
