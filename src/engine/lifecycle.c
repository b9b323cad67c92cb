/* SPDX-License-Identifier: Apache-2.0 */
/* stop, kill, restart, pause, remove, resize, top. */
#include <fcntl.h>
#include <poll.h>
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
#include "io/spawn.h"
#include "sys/cgroup.h"

#define ASK_AGAIN_MS  500
#define START_WAIT_NS (10 * NSEC_PER_SEC)
#define KILL_WAIT_MS  10000 /* how long SIGKILL may take before we say that something is stuck */

/* The monitor of a running container, referenced; NULL when it does not run. */
static struct live *get_live(struct container *c)
{
    struct live *live;

    (void)pthread_mutex_lock(&c->mutex);
    live = c->live ? live_ref(c->live) : NULL;
    (void)pthread_mutex_unlock(&c->mutex);
    return live;
}

static int not_running(struct container *c, const char *what, struct error *e)
{
    return error_set(e, ERR_CONFLICT, "%sContainer %s is not running", what, c->id);
}

/* Waits for the end that is being asked for. 0, or -ETIMEDOUT. timeout_ms -1: for ever. */
static int wait_end(struct engine_wait *w, int timeout_ms)
{
    struct pollfd p = {.fd = engine_wait_fd(w), .events = POLLIN};
    int64_t until = timeout_ms < 0 ? 0 : time_monotonic_ns() + timeout_ms * NSEC_PER_MSEC;

    for (;;) {
        int r = poll(&p, 1, timeout_ms);

        if (r > 0)
            return 0;
        if (r == 0)
            return -ETIMEDOUT;
        if (timeout_ms >= 0) {
            int64_t left = (until - time_monotonic_ns()) / NSEC_PER_MSEC;

            timeout_ms = left < 0 ? 0 : (int)left;
        }
    }
}

/* SIGKILL to init, and to all when it shares the host's pids; returns when it has ended. */
static int kill_and_wait(struct container *c, struct live *live, struct engine_wait *w,
                         struct error *e)
{
    AUTOFREE char *cgroup = container_cgroup(c);

    (void)!monitor_signal(live->monitor, SIGKILL, false, NULL);
    (void)!cgroup_thaw(cgroup, NULL);
    if (wait_end(w, 2000) == 0)
        return 0;
    (void)!cgroup_kill(cgroup, NULL);
    if (wait_end(w, KILL_WAIT_MS) == 0)
        return 0;
    return error_set(e, ERR_TIMEOUT,
                     "container %s did not end %d s after SIGKILL: a process of it is stuck in the "
                     "kernel (see `pouch top` and dmesg)",
                     c->id, KILL_WAIT_MS / 1000 + 2);
}

static int stop_signal_of(const struct container *c, const struct container_definition *def,
                          const char *asked, int *ret, struct error *e)
{
    int halt = str_is_empty(asked) ? rich_stop_signal(c, def) : 0;
    const char *name = !str_is_empty(asked)                     ? asked
                       : !str_is_empty(def->config.stop_signal) ? def->config.stop_signal
                                                                : "TERM";

    if (halt) /* as its init understands it */
        *ret = halt;
    else if (signal_parse(name, ret) < 0)
        return error_set(e, ERR_INVALID, "Invalid signal: %s", name);
    return 0;
}

/* Who ends a container that is on its way to run (by its restart policy, or another user) waits a
 * moment for it, or it would come up behind his back. */
static void await_start(struct container *c)
{
    int64_t deadline = time_monotonic_ns() + START_WAIT_NS;
    struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC, .tv_nsec = deadline % NSEC_PER_SEC};

    (void)pthread_mutex_lock(&c->mutex);
    while (c->op == OP_START && !c->live &&
           pthread_cond_timedwait(&c->cond, &c->mutex, &until) == 0)
        ;
    (void)pthread_mutex_unlock(&c->mutex);
}

/* A container that waits for its next restart is not running: forget the restart. */
static bool cancel_restart(struct container *c)
{
    bool was;

    (void)pthread_mutex_lock(&c->mutex);
    c->stop_requested = true;
    was = c->status == CONTAINER_RESTARTING && !c->live;
    if (was) {
        c->status = CONTAINER_EXITED;
        container_publish(c);
        container_wake_waiters(c);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    if (was)
        (void)record_update(c, NULL);
    return was;
}

/*
 * Sends the signal and waits. An init that is just coming up has no handler for its halt signal
 * yet, and what a pid 1 does not handle is lost: it is told again. That it has to halt may be said
 * more than once; an application could take a second SIGTERM for impatience.
 */
static int ask_to_end(struct live *live, struct engine_wait *w, int sig, bool again, int timeout_ms)
{
    int64_t until = time_monotonic_ns() + timeout_ms * NSEC_PER_MSEC;

    (void)!monitor_signal(live->monitor, sig, false, NULL);
    while (again) {
        int64_t left = timeout_ms < 0 ? ASK_AGAIN_MS
                                      : (until - time_monotonic_ns()) / NSEC_PER_MSEC;

        if (wait_end(w, left > ASK_AGAIN_MS ? ASK_AGAIN_MS : left < 0 ? 0 : (int)left) == 0)
            return 0;
        if (left < ASK_AGAIN_MS)
            return -ETIMEDOUT;
        (void)!monitor_signal(live->monitor, sig, false, NULL);
    }
    return wait_end(w, timeout_ms);
}

int container_stop(struct container *c, const char *signal, struct opt_int timeout, struct error *e)
{
    struct live *live;
    struct engine_wait *w = NULL;
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    AUTOFREE char *cgroup = container_cgroup(c);
    int64_t seconds = timeout.set                    ? timeout.value
                      : def->config.stop_timeout.set ? def->config.stop_timeout.value
                                                     : 10;
    bool ended;
    int halt = 0;
    int sig = SIGTERM;
    int r = stop_signal_of(c, def, signal, &sig, e);

    if (r < 0)
        return r;
    ended = hooks_abort_start(c);
    await_start(c);
    r = engine_wait_begin(c->en, c->id, WAIT_NEXT_EXIT, &w, e);
    if (r < 0)
        return r;
    live = get_live(c);
    if (!live) {
        engine_wait_free(w);
        if (cancel_restart(c) || ended)
            return 0;
        return error_set(e, ERR_NOT_MODIFIED, "container %s is not running", c->id);
    }
    (void)cancel_restart(c);
    /* What halts its init is known since it was started: that may be a moment ago. */
    halt = rich_stop_signal(c, def);
    (void)stop_signal_of(c, def, signal, &sig, NULL);
    (void)!cgroup_thaw(cgroup, NULL);
    if (seconds > 1000000)
        seconds = 1000000;
    if (ask_to_end(live, w, sig, sig == halt, seconds < 0 ? -1 : (int)(seconds * 1000)) < 0)
        r = kill_and_wait(c, live, w, e);
    live_unref(live);
    engine_wait_free(w);
    if (r == 0) {
        hooks_await_poststop(c);
        events_container(c, "stop", NULL);
    }
    return r;
}

int engine_stop(struct engine *en, const char *ref, const char *signal, struct opt_int timeout,
                struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    int r = container_find(en, ref, &c, e);

    if (r == 0)
        r = upgrade_check(c, e);
    return r < 0 ? r : container_stop(c, signal, timeout, e);
}

/* Several users may restart it at once: the first to end must not let the others' ends remove it. */
static void keep(struct container *c, bool on)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->keeps += on ? 1u : -1u;
    (void)pthread_mutex_unlock(&c->mutex);
}

int engine_restart(struct engine *en, const char *ref, const char *signal, struct opt_int timeout,
                   struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r = container_find(en, ref, &c, e);

    if (r == 0)
        r = upgrade_check(c, e);
    if (r < 0)
        return r;
    keep(c, true);
    r = container_stop(c, signal, timeout, &why);
    if (r < 0 && why.code != ERR_NOT_MODIFIED)
        error_move(e, &why);
    else
        r = container_claim(c, OP_START, e);
    keep(c, false);
    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&c->mutex);
    r = c->live ? 1 : 0;
    if (r == 0)
        container_forget_restarts(c);
    (void)pthread_mutex_unlock(&c->mutex);
    /* Somebody else started it in between: it runs, which is what was asked for. */
    if (r == 0)
        r = container_start_claimed(c, e);
    else
        r = 0;
    container_release_claim(c);
    if (r == 0)
        events_container(c, "restart", NULL);
    return r;
}

int engine_kill(struct engine *en, const char *ref, const char *signal, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOFREE char *cgroup = NULL;
    AUTOPTR(container_def) const struct container_definition *def = NULL;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    struct engine_wait *w = NULL;
    char number[8];
    struct live *live;
    int stop_sig = SIGTERM;
    int sig = SIGKILL;
    int r = container_find(en, ref, &c, e);

    if (r < 0)
        return r;
    if (!str_is_empty(signal) && signal_parse(signal, &sig) < 0)
        return error_set(e, ERR_INVALID, "Invalid signal: %s", signal);
    def = container_def_ref(c);
    (void)stop_signal_of(c, def, NULL, &stop_sig, NULL);
    /* While hooks run they are what is killed: of the start, or after the end. */
    if ((sig == SIGKILL || sig == stop_sig) && hooks_abort_start(c))
        return 0;
    await_start(c);
    if (sig == SIGKILL) /* before it is looked at: an end in between counts */
        (void)!engine_wait_begin(c->en, c->id, WAIT_NEXT_EXIT, &w, NULL);
    live = get_live(c);
    if (!live) {
        engine_wait_free(w);
        if (sig == SIGKILL && (hooks_kill_poststop(c) || cancel_restart(c)))
            return 0;
        return not_running(c, "Cannot kill container: ", e);
    }
    (void)stop_signal_of(c, def, NULL, &stop_sig, NULL); /* known since it was started */
    if (sig == SIGKILL || sig == stop_sig)
        (void)cancel_restart(c);
    r = monitor_signal(live->monitor, sig, false, &why);
    cgroup = container_cgroup(c);
    if (r == 0 && sig == SIGKILL)
        (void)!cgroup_thaw(cgroup, NULL);
    if (r < 0 && live_has_ended(live))
        r = not_running(c, "Cannot kill container: ", e);
    else
        error_move(e, &why);
    live_unref(live);
    if (r == 0) {
        (void)snprintf(number, sizeof(number), "%d", sig);
        events_container(c, "kill", "signal", number, NULL);
        /* As with Docker: who is told that it was killed finds it ended. One that does not end is no error. */
        if (w)
            (void)!wait_end(w, KILL_WAIT_MS);
    }
    engine_wait_free(w);
    return r;
}

/* One that ends this moment is not frozen: its processes could not die. */
static int freeze(struct container *c, struct live *live, bool on, struct error *e)
{
    AUTOFREE char *cgroup = container_cgroup(c);
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r = on ? cgroup_freeze(cgroup, &why) : cgroup_thaw(cgroup, &why);

    if ((on || r < 0) && live_has_ended(live)) {
        (void)!cgroup_thaw(cgroup, NULL);
        return not_running(c, "", e);
    }
    error_move(e, &why);
    return r;
}

static int set_paused(struct container *c, bool pause, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    enum container_status status;
    struct live *live;
    int r = container_claim(c, OP_PAUSE, e);

    if (r < 0)
        return r;
    live = get_live(c);
    (void)pthread_mutex_lock(&c->mutex);
    status = c->status;
    (void)pthread_mutex_unlock(&c->mutex);
    if (!live || (status != CONTAINER_RUNNING && status != CONTAINER_PAUSED))
        r = not_running(c, "", e);
    else if (pause && status == CONTAINER_PAUSED)
        r = error_set(e, ERR_CONFLICT, "Container %s is already paused", c->id);
    else if (!pause && status == CONTAINER_RUNNING)
        r = error_set(e, ERR_CONFLICT, "Container %s is not paused", c->id);
    if (r == 0)
        r = freeze(c, live, pause, e);
    live_unref(live);
    if (r == 0) {
        (void)pthread_mutex_lock(&c->mutex);
        if (c->live)
            c->status = pause ? CONTAINER_PAUSED : CONTAINER_RUNNING;
        container_publish(c);
        (void)pthread_mutex_unlock(&c->mutex);
        /* It is so all the same, and the next pouchd sees it by the cgroup. */
        if (record_update(c, &why) < 0)
            log_error("container state not saved", "id=%s error=\"%s\"", c->id,
                      error_message(&why));
    }
    container_release_claim(c);
    if (r == 0)
        events_container(c, pause ? "pause" : "unpause", NULL);
    return r;
}

static int find_and_set_paused(struct engine *en, const char *ref, bool pause, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    int r = container_find(en, ref, &c, e);

    return r < 0 ? r : set_paused(c, pause, e);
}

int engine_pause(struct engine *en, const char *ref, struct error *e)
{
    return find_and_set_paused(en, ref, true, e);
}

int engine_unpause(struct engine *en, const char *ref, struct error *e)
{
    return find_and_set_paused(en, ref, false, e);
}

/* A file that says why the container stands still, for the next pouchd if this one is killed. */
static char *held_file(const struct container *c)
{
    AUTOFREE char *dir = container_state_dir(c->en, c->id);

    return xasprintf("%s/held", dir);
}

static bool is_running(struct container *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    bool running = c->status == CONTAINER_RUNNING;
    (void)pthread_mutex_unlock(&c->mutex);
    return running;
}

/* Also when the news of its end has not been taken in yet. */
static bool has_ended(struct container *c)
{
    struct live *live = get_live(c);
    bool ended = !live || live_has_ended(live);

    live_unref(live);
    return ended;
}

int container_hold_paused(struct container *c, struct error *e)
{
    AUTOFREE char *file = held_file(c);
    bool first;
    int r = 0;

    (void)pthread_mutex_lock(&c->mutex);
    first = c->holds++ == 0;
    (void)pthread_mutex_unlock(&c->mutex);
    if (!first || !is_running(c))
        return 0; /* it stands still already, by another's will or because it does not run */
    r = fs_write_atomic(AT_FDCWD, file, "", 0, 0600, FS_NO_SYNC);
    if (r < 0)
        r = error_set_errno(e, r, "write %s", file);
    else
        r = set_paused(c, true, e);
    (void)pthread_mutex_lock(&c->mutex);
    c->held = r >= 0;
    (void)pthread_mutex_unlock(&c->mutex);
    if (r < 0 && (!is_running(c) || has_ended(c))) {
        error_done(e); /* somebody was faster, or it ended: it stands still */
        (void)unlink(file);
        return 0;
    }
    if (r < 0) {
        (void)unlink(file);
        container_end_paused(c);
    }
    return r;
}

void container_end_paused(struct container *c)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *file = held_file(c);
    bool thaw;

    (void)pthread_mutex_lock(&c->mutex);
    thaw = --c->holds == 0 && c->held;
    if (thaw)
        c->held = false;
    thaw = thaw && c->status == CONTAINER_PAUSED;
    (void)pthread_mutex_unlock(&c->mutex);
    if (thaw && set_paused(c, false, &e) < 0 && e.code != ERR_CONFLICT && e.code != ERR_NOT_FOUND)
        log_warn("cannot unpause a container that was held", "id=%s error=\"%s\"", c->id,
                 error_message(&e));
    (void)unlink(file);
}

void container_end_paused_of_old(struct container *c, const char *cgroup)
{
    AUTOFREE char *file = held_file(c);

    if (access(file, F_OK) < 0)
        return;
    log_info("a commit was cut off: its container goes on", "id=%s", c->id);
    (void)!cgroup_thaw(cgroup, NULL);
    (void)unlink(file);
}

/* --- removal ------------------------------------------------------------------------------------ */

/* Files and kernel objects of a container that is off the record. Failures are swept at the next
 * start of the engine; they are logged, the removal itself has happened. */
static void remove_remains(struct container *c)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct engine *en = c->en;
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    AUTOFREE char *dir = container_state_dir(en, c->id);
    AUTOFREE char *cgroup = container_cgroup(c);

    foreign_delete(dir, c->id);
    (void)!cgroup_kill(cgroup, NULL);
    if (cgroup_remove(cgroup, &e) < 0) {
        log_warn("cgroup left behind", "id=%s error=\"%s\"", c->id, error_message(&e));
        error_done(&e);
    }
    int r = quota_release_container(en, c->id, &e);
    if (r < 0) {
        log_warn("disk budget left behind", "id=%s error=\"%s\"", c->id, error_message(&e));
        error_done(&e);
        /* The next start looks for it where it is: what cannot be removed keeps its name. */
        r = fs_remove_tree(AT_FDCWD, def->dir);
        if (r < 0)
            (void)error_set_errno(&e, r, "remove %s", def->dir);
    } else {
        r = rootfs_remove(en->rootfs, def->dir, &e);
    }
    if (r < 0)
        log_warn("container folder left behind", "id=%s error=\"%s\"", c->id, error_message(&e));
    (void)!fs_remove_tree(AT_FDCWD, dir);
    image_released(en->images, def->image_id);
    store_keep_room(en->store);
}

int container_remove_claimed(struct container *c, bool volumes, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    struct pending_attach *pending;
    int r;

    store_make_room(c->en->store); /* also at the end of one with --rm */
    r = volumes ? 0 : volume_mounts_keep(c->en->volumes, c->id, &def->mounts, e);
    if (r == 0)
        r = record_delete(c->en, c->id, e);
    if (r < 0) {
        (void)pthread_mutex_lock(&c->mutex);
        c->status = CONTAINER_DEAD;
        container_publish(c);
        (void)pthread_mutex_unlock(&c->mutex);
        return r;
    }
    (void)pthread_mutex_lock(&c->mutex);
    c->removed = true;
    pending = take_ptr(c->pending);
    (void)pthread_mutex_unlock(&c->mutex);
    while (pending) {
        struct pending_attach *next = pending->next;

        pending_attach_free(pending);
        pending = next;
    }
    hooks_removed(c);
    health_removed(c);
    network_release(c->en->network, c->id);
    /* Whoever hears that the container is gone may want its volumes at once. */
    if (quota_release_shared(c->en->quota, c->id, &why) < 0)
        log_warn("volume still counts in a disk budget", "id=%s error=\"%s\"", c->id,
                 error_message(&why));
    error_done(&why);
    if (def->mounts.len &&
        volume_mounts_release(c->en->volumes, c->id, &def->mounts, volumes, &why) < 0)
        log_warn("volume left behind", "id=%s error=\"%s\"", c->id, error_message(&why));
    events_container(c, "destroy", NULL);
    if (def->host_config.auto_remove)
        gone_note(c);
    registry_remove(c->en, container_ref(c));
    (void)pthread_mutex_lock(&c->mutex);
    container_wake_waiters(c);
    (void)pthread_mutex_unlock(&c->mutex);
    remove_remains(c);
    exec_all_ended(c);
    container_unref(c);
    return 0;
}

/* Ends a running container before its removal. */
static int kill_for_removal(struct container *c, struct error *e)
{
    struct engine_wait *w = NULL;
    struct live *live;
    int r = engine_wait_begin(c->en, c->id, WAIT_NEXT_EXIT, &w, e);

    if (r < 0)
        return r;
    live = get_live(c);
    if (live) {
        (void)cancel_restart(c);
        events_container(c, "kill", "signal", "9", NULL);
        r = kill_and_wait(c, live, w, e);
        live_unref(live);
    } else {
        (void)cancel_restart(c);
    }
    engine_wait_free(w);
    return r;
}

/* One try; 1 when the container was started again between its end and the claim. */
static int remove_once(struct container *c, bool force, bool volumes, struct error *e)
{
    AUTOPTR(container_view) struct container_view *v = NULL;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    bool runs;
    int r = 0;

    if (force) {
        (void)hooks_abort_start(c);
        await_start(c);
    }
    v = container_get_view(c);
    runs = v->status == CONTAINER_RUNNING || v->status == CONTAINER_PAUSED ||
           v->status == CONTAINER_RESTARTING;
    if (runs && !force)
        return error_set(e, ERR_CONFLICT,
                         "You cannot remove a %s container %s. Stop the container before "
                         "attempting removal or force remove",
                         container_status_name(v->status), c->id);
    if (runs) {
        r = kill_for_removal(c, e);
        if (r < 0)
            return r;
    }
    if (force)
        hooks_await_poststop(c);
    r = container_claim(c, OP_REMOVE, &why);
    if (r < 0) {
        /* With --rm the end itself removed it: that is what was asked for. */
        if (force && why.code == ERR_NOT_FOUND)
            return 0;
        error_move(e, &why);
        return r;
    }
    (void)pthread_mutex_lock(&c->mutex);
    runs = c->live != NULL;
    if (!runs) {
        c->status = CONTAINER_REMOVING;
        container_publish(c);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    r = runs ? 1 : container_remove_claimed(c, volumes, e);
    container_release_claim(c);
    return r;
}

int engine_remove(struct engine *en, const char *ref, bool force, bool volumes, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    int r = container_find(en, ref, &c, e);

    store_make_room(en->store);
    if (r < 0)
        return r;
    r = upgrade_check(c, e);
    if (r < 0)
        return r;
    /* A restart by somebody else (a user, a health check) may come in between. */
    for (int i = 0; i < 5; i++) {
        r = remove_once(c, force, volumes, e);
        if (r != 1 || !force)
            break;
    }
    return r == 1 ? error_set(e, ERR_CONFLICT, "container %s was started meanwhile; not removed",
                              c->id)
                  : r;
}

/* --- terminal and processes ---------------------------------------------------------------------- */

int engine_resize(struct engine *en, const char *ref, unsigned rows, unsigned cols, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    char text[2][16];
    struct live *live;
    int r = container_find(en, ref, &c, e);

    if (r < 0)
        return r;
    live = get_live(c);
    if (!live)
        return not_running(c, "", e);
    r = monitor_resize(live->monitor, rows, cols, &why);
    if (r < 0 && live_has_ended(live))
        r = not_running(c, "", e);
    else
        error_move(e, &why);
    live_unref(live);
    if (r == 0) {
        (void)snprintf(text[0], sizeof(text[0]), "%u", rows);
        (void)snprintf(text[1], sizeof(text[1]), "%u", cols);
        events_container(c, "resize", "height", text[0], "width", text[1], NULL);
    }
    return r;
}

/* Runs the host's ps(1); its output, at most 4 MiB. */
static int run_ps(char *const *args, char **ret, struct error *e)
{
    AUTOPTR(strv) char **argv = NULL;
    AUTO(buf) struct buf out = BUF_INIT(4 << 20);
    int pipes[2];
    struct spawn_params p = {.stdin_fd = -1};
    pid_t pid = 0;
    int r;

    strv_push(&argv, "ps");
    for (size_t i = 0; args && args[i]; i++)
        strv_push(&argv, args[i]);
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot run ps");
    p.argv = argv;
    p.stdout_fd = pipes[1];
    p.stderr_fd = pipes[1];
    r = spawn_program(&p, &pid, e);
    (void)close(pipes[1]);
    while (r == 0) {
        char *space = buf_reserve(&out, 4096);
        ssize_t n = space ? read(pipes[0], space, 4096) : 0;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        buf_commit(&out, (size_t)n);
    }
    (void)close(pipes[0]);
    if (r == 0 && spawn_wait(pid) != 0)
        r = error_set(e, ERR_INVALID, "ps: %s", buf_str(&out));
    if (r == 0)
        *ret = buf_take(&out);
    return r;
}

/* Splits a line into n columns, the last one keeping its spaces. */
static char **split_columns(const char *line, size_t n)
{
    char **v = NULL;

    for (size_t i = 1; i < n && *line; i++) {
        size_t len;

        line += strspn(line, " \t");
        len = strcspn(line, " \t");
        if (len)
            strv_push_take(&v, xstrndup(line, len));
        line += len;
    }
    line += strspn(line, " \t");
    strv_push(&v, line);
    return v;
}

static bool has_pid(const pid_t *pids, size_t n, const char *text)
{
    int64_t pid;

    if (parse_i64(text, &pid) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (pids[i] == (pid_t)pid)
            return true;
    return false;
}

static int filter_ps(const char *text, const pid_t *pids, size_t npids, char ***ret_titles,
                     char ****ret_rows, struct error *e)
{
    AUTOPTR(strv) char **lines = strv_split(text, "\n", true);
    char **titles = strv_len(lines) ? strv_split(lines[0], " \t", true) : NULL;
    size_t ncols = strv_len(titles);
    size_t column = 0;
    size_t kept = 0;
    char ***rows;

    while (column < ncols && !STREQ(titles[column], "PID"))
        column++;
    if (column == ncols) {
        strv_free(titles);
        return error_set(e, ERR_INVALID, "Couldn't find PID field in ps output");
    }
    rows = xcalloc(strv_len(lines) + 1, sizeof(*rows));
    for (size_t i = 1; lines[i]; i++) {
        char **row = split_columns(lines[i], ncols);

        if (strv_len(row) > column && has_pid(pids, npids, row[column]))
            rows[kept++] = row;
        else
            strv_free(row);
    }
    *ret_titles = titles;
    *ret_rows = rows;
    return 0;
}

int engine_top(struct engine *en, const char *ref, const char *ps_args, char ***ret_titles,
               char ****ret_rows, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    struct live *live;
    AUTOPTR(strv) char **args = strv_split(str_is_empty(ps_args) ? "-ef" : ps_args, " ", true);
    AUTOFREE char *text = NULL;
    AUTOFREE pid_t *pids = NULL;
    AUTOFREE char *cgroup = NULL;
    size_t n = 0;
    int r = container_find(en, ref, &c, e);

    if (r < 0)
        return r;
    live = get_live(c);
    if (!live)
        return not_running(c, "", e);
    cgroup = container_cgroup(c);
    r = cgroup_pids(cgroup, &pids, &n, &why);
    if (r == 0)
        r = run_ps(args, &text, &why);
    /* What was left of one that ended meanwhile would be half of a list. */
    if (live_has_ended(live))
        r = not_running(c, "", e);
    else if (r < 0)
        error_move(e, &why);
    else
        r = filter_ps(text, pids, n, ret_titles, ret_rows, e);
    live_unref(live);
    return r;
}
