/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exec sessions. Run and remembered by the container's monitor; the engine keeps what was asked.
 * An exec's id starts with 32 digits of its container's id, so that after a restart of the engine
 * the monitor that knows its exit code is found at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"

#define EXEC_PREFIX      32
#define EXEC_KEEP_NS     (300 * NSEC_PER_SEC) /* how long an ended exec can be asked for */
#define EXEC_NOTICE_NS   (2 * NSEC_PER_SEC)   /* how long news of a dead monitor may take */
#define EXEC_SWEEP_LIMIT 64                   /* a container with more execs sweeps old ones */

void exec_unref(struct exec *x)
{
    if (!x || atomic_fetch_sub(&x->refs, 1) > 1)
        return;
    json_free(&exec_config_json, &x->config);
    container_unref(x->container);
    free(x);
}

struct exec *exec_find(struct engine *en, const char *id)
{
    struct exec *x;

    (void)pthread_mutex_lock(&en->mutex);
    x = map_get(en->execs, id);
    if (x)
        atomic_fetch_add(&x->refs, 1);
    (void)pthread_mutex_unlock(&en->mutex);
    return x;
}

/* Takes x out of the engine's map and the container's list; drops both references. */
static void forget(struct exec *x)
{
    struct container *c = x->container;
    struct engine *en = c->en;
    bool listed = false;

    (void)pthread_mutex_lock(&en->mutex);
    (void)map_remove(en->execs, x->id);
    (void)pthread_mutex_unlock(&en->mutex);
    (void)pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->nexecs && !listed; i++) {
        if (c->execs[i] == x) {
            c->execs[i] = c->execs[--c->nexecs];
            listed = true;
        }
    }
    (void)pthread_mutex_unlock(&c->mutex);
    if (listed)
        exec_unref(x);
}

/* Execs that ended long ago, or were never started, go: nobody removes them by hand. */
static void sweep_old(struct container *c)
{
    struct exec *old[EXEC_SWEEP_LIMIT];
    int64_t now = time_monotonic_ns();
    size_t n = 0;

    (void)pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->nexecs && c->nexecs > EXEC_SWEEP_LIMIT && n < ARRAY_SIZE(old); i++) {
        struct exec *x = c->execs[i];

        if (!x->running && x->finished && now - x->finished > EXEC_KEEP_NS) {
            atomic_fetch_add(&x->refs, 1);
            old[n++] = x;
        }
    }
    (void)pthread_mutex_unlock(&c->mutex);
    for (size_t i = 0; i < n; i++) {
        forget(old[i]);
        exec_unref(old[i]);
    }
}

/* Into the engine's map and the container's list in one go, or not at all: an end or a removal in
 * between would leave it in one of them. Takes over the one reference. */
static int enlist(struct exec *x, struct error *e)
{
    struct container *c = x->container;
    struct engine *en = c->en;
    int r = 0;

    (void)pthread_mutex_lock(&en->mutex);
    (void)pthread_mutex_lock(&c->mutex);
    if (c->removed) {
        r = error_set(e, ERR_NOT_FOUND, "No such container: %s", c->id);
    } else if (!c->live) {
        r = error_set(e, ERR_CONFLICT, "Container %s is not running", c->id);
    } else if (c->status == CONTAINER_PAUSED) {
        r = error_set(e, ERR_CONFLICT, "Container %s is paused, unpause the container before exec",
                      c->id);
    } else {
        c->execs = xreallocarray(c->execs, c->nexecs + 1, sizeof(struct exec *));
        c->execs[c->nexecs++] = x;
        (void)map_set(en->execs, x->id, x);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    (void)pthread_mutex_unlock(&en->mutex);
    return r;
}

int engine_exec_create(struct engine *en, const char *ref, struct exec_config *config,
                       char ret_id[65], struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOFREE char *command = NULL;
    AUTOFREE char *action = NULL;
    struct exec *x;
    bool runs = false;
    int r = container_find(en, ref, &c, e);

    if (r == 0) {
        (void)pthread_mutex_lock(&c->mutex);
        runs = c->live != NULL;
        (void)pthread_mutex_unlock(&c->mutex);
        if (!runs)
            r = error_set(e, ERR_CONFLICT, "Container %s is not running", c->id);
        else if (!strv_len(config->cmd) || !*config->cmd[0])
            r = error_set(e, ERR_INVALID, "No exec command specified");
    }
    if (r < 0) {
        json_free(&exec_config_json, config);
        return r;
    }
    sweep_old(c);
    x = xcalloc(1, sizeof(*x));
    x->refs = 1;
    x->config = *config;
    *config = (struct exec_config){0};
    x->container = container_ref(c);
    (void)memcpy(x->id, c->id, EXEC_PREFIX);
    random_hex(x->id + EXEC_PREFIX, (64 - EXEC_PREFIX) / 2);
    (void)memcpy(ret_id, x->id, sizeof(x->id));
    command = strv_join(x->config.cmd, " ");
    r = enlist(x, e);
    if (r < 0) {
        exec_unref(x);
        return r;
    }
    action = xasprintf("exec_create: %s", command);
    events_container(c, action, "execID", ret_id, NULL);
    return 0;
}

static int no_such_exec(const char *id, struct error *e)
{
    return error_set(e, ERR_NOT_FOUND, "No such exec instance: %s", id);
}

int engine_exec_check(struct engine *en, const char *exec_id, bool *ret_tty, struct error *e)
{
    struct exec *x = exec_find(en, exec_id);
    int r = 0;

    if (!x)
        return no_such_exec(exec_id, e);
    (void)pthread_mutex_lock(&x->container->mutex);
    if (x->started)
        r = error_set(e, ERR_CONFLICT, "exec %s has already run", exec_id);
    else if (!x->container->live)
        r = error_set(e, ERR_CONFLICT, "Container %s is not running", x->container->id);
    else if (x->container->status == CONTAINER_PAUSED)
        r = error_set(e, ERR_CONFLICT, "Container %s is paused", x->container->id);
    (void)pthread_mutex_unlock(&x->container->mutex);
    *ret_tty = x->config.tty;
    exec_unref(x);
    return r;
}

/* Marks it as started by this caller; only one may. */
static int claim_exec(struct exec *x, struct live **ret, struct error *e)
{
    struct container *c = x->container;
    int r = 0;

    (void)pthread_mutex_lock(&c->mutex);
    if (x->started) {
        r = error_set(e, ERR_CONFLICT, "exec %s has already run", x->id);
    } else if (!c->live) {
        r = error_set(e, ERR_CONFLICT, "Container %s is not running", c->id);
    } else if (c->status == CONTAINER_PAUSED) {
        r = error_set(e, ERR_CONFLICT, "Container %s is paused", c->id);
    } else {
        x->started = true;
        x->running = true;
        *ret = live_ref(c->live);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return r;
}

static void note_exec_end(struct exec *x, int64_t code)
{
    x->running = false;
    x->has_exit_code = true;
    x->exit_code = code;
    x->finished = time_monotonic_ns();
    x->pid = 0;
    (void)pthread_cond_broadcast(&x->container->cond);
}

static int start_in_monitor(struct exec *x, struct live *live, int client_fd,
                            const struct attach_params *p, unsigned rows, unsigned cols,
                            struct error *e)
{
    struct container *c = x->container;
    AUTOFREE char *process = NULL;
    struct monitor_exec_params mp = {.exec_id = x->id,
                                     .tty = x->config.tty,
                                     .rows = rows,
                                     .cols = cols};
    struct host_config privileged = {.privileged = true};
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    pid_t pid = 0;
    int r = spec_exec_process(c, &x->config, &process, e);

    if (r == 0)
        r = engine_seccomp(c->en, x->config.privileged ? &privileged : &def->host_config,
                           &mp.seccomp_bpf, &mp.seccomp_len, e);
    if (r < 0)
        return r;
    mp.process_json = process;
    mp.attach.client_fd = client_fd;
    mp.attach.detach_keys = str_is_empty(x->config.detach_keys) ? NULL : x->config.detach_keys;
    if (client_fd >= 0) {
        mp.attach.flags = (x->config.attach_stdin ? MONITOR_STDIN : 0u) |
                          (x->config.attach_stdout ? MONITOR_STDOUT : 0u) |
                          (x->config.attach_stderr ? MONITOR_STDERR : 0u);
        if (p) {
            mp.attach.early = p->early;
            mp.attach.early_len = p->early_len;
            if (!p->multiplexed)
                mp.attach.flags |= MONITOR_RAW;
        }
    }
    r = monitor_exec_start(live->monitor, &mp, &pid, e);
    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&c->mutex);
    if (x->running)
        x->pid = pid;
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    return 0;
}

int engine_exec_start(struct engine *en, const char *exec_id, int client_fd,
                      const struct attach_params *p, unsigned rows, unsigned cols, struct error *e)
{
    AUTOFD int fd = client_fd;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    struct exec *x = exec_find(en, exec_id);
    struct live *live = NULL;
    int r;

    if (!x)
        return no_such_exec(exec_id, e);
    if (x->config.console_size && !rows && !cols)
        (void)sscanf(x->config.console_size, "[%u,%u]", &rows, &cols);
    r = claim_exec(x, &live, e);
    if (r == 0) {
        AUTOFREE char *command = strv_join(x->config.cmd, " ");
        AUTOFREE char *action = xasprintf("exec_start: %s", command);

        /* Before its start, as the end may be told by the loop thread at any time after it. */
        events_container(x->container, action, "execID", x->id, NULL);
        r = start_in_monitor(x, live, fd, p, rows, cols, &why);
        if (r < 0 && why.code != ERR_COMMAND_NOT_FOUND && why.code != ERR_COMMAND_NOT_EXECUTABLE &&
            live_has_ended(live)) {
            error_done(&why);
            r = error_set(&why, ERR_CONFLICT, "Container %s is not running", x->container->id);
        }
        live_unref(live);
        if (r < 0) {
            (void)pthread_mutex_lock(&x->container->mutex);
            note_exec_end(x, why.code == ERR_COMMAND_NOT_FOUND        ? 127
                             : why.code == ERR_COMMAND_NOT_EXECUTABLE ? 126
                                                                      : 128);
            (void)pthread_mutex_unlock(&x->container->mutex);
            error_move(e, &why);
        }
    }
    exec_unref(x);
    return r;
}

int engine_exec_resize(struct engine *en, const char *exec_id, unsigned rows, unsigned cols,
                       struct error *e)
{
    struct exec *x = exec_find(en, exec_id);
    struct live *live = NULL;
    int r;

    if (!x)
        return no_such_exec(exec_id, e);
    (void)pthread_mutex_lock(&x->container->mutex);
    if (x->running && x->container->live)
        live = live_ref(x->container->live);
    (void)pthread_mutex_unlock(&x->container->mutex);
    if (live)
        r = monitor_exec_resize(live->monitor, exec_id, rows, cols, e);
    else
        r = error_set(e, ERR_CONFLICT, "exec %s is not running", exec_id);
    live_unref(live);
    exec_unref(x);
    return r;
}

void exec_handle_exit(struct container *c, const char *exec_id, int64_t code)
{
    struct exec *x;
    char text[24];

    if (str_has_prefix(exec_id, "hook-") || str_has_prefix(exec_id, "health-"))
        return; /* the engine's own: who made it watches it */
    x = exec_find(c->en, exec_id);
    (void)snprintf(text, sizeof(text), "%lld", (long long)code);
    events_container(c, "exec_die", "execID", exec_id, "exitCode", text, NULL);
    if (!x)
        return; /* of before a restart of the engine */
    (void)pthread_mutex_lock(&c->mutex);
    note_exec_end(x, code);
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    exec_unref(x);
}

void exec_all_ended(struct container *c)
{
    for (;;) {
        struct exec *x = NULL;

        (void)pthread_mutex_lock(&c->mutex);
        for (size_t i = 0; i < c->nexecs; i++)
            if (c->execs[i]->running)
                note_exec_end(c->execs[i], 137);
        /* A container that is gone takes its execs along. */
        if (c->removed && c->nexecs) {
            x = c->execs[0];
            atomic_fetch_add(&x->refs, 1);
        }
        (void)pthread_mutex_unlock(&c->mutex);
        if (!x)
            return;
        forget(x);
        exec_unref(x);
    }
}

/* An exec of before a restart of the engine: its monitor still knows how it ended. */
static int ask_monitor(struct engine *en, const char *exec_id, struct exec_view *ret,
                       struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOFREE char *prefix = xstrndup(exec_id, EXEC_PREFIX);
    struct monitor_exec_state st;
    struct live *live = NULL;
    int r;

    if (!str_is_hex(exec_id, 64) || container_find(en, prefix, &c, NULL) < 0)
        return no_such_exec(exec_id, e);
    (void)pthread_mutex_lock(&c->mutex);
    if (c->live)
        live = live_ref(c->live);
    (void)pthread_mutex_unlock(&c->mutex);
    r = live ? monitor_exec_get_state(live->monitor, exec_id, &st, NULL) : -ENOENT;
    live_unref(live);
    if (r < 0)
        return no_such_exec(exec_id, e);
    *ret = (struct exec_view){.running = st.running,
                              .started = true,
                              .has_exit_code = !st.running,
                              .exit_code = st.exit_code,
                              .pid = st.pid};
    (void)snprintf(ret->id, sizeof(ret->id), "%s", exec_id);
    (void)snprintf(ret->container_id, sizeof(ret->container_id), "%s", c->id);
    return 0;
}

/* A client asks for the exit code as soon as its session has ended; the monitor knows it by then,
 * but its notice may not have been read yet. */
static bool ask_if_ended(struct live *live, struct exec_view *v)
{
    struct monitor_exec_state st;

    if (monitor_exec_get_state(live->monitor, v->id, &st, NULL) < 0)
        return false;
    if (st.running)
        return true;
    v->running = false;
    v->has_exit_code = true;
    v->exit_code = st.exit_code;
    v->pid = 0;
    return true;
}

static void fill_exec_view(const struct exec *x, struct exec_view *v)
{
    v->running = x->running;
    v->started = x->started;
    v->exit_code = x->exit_code;
    v->has_exit_code = x->has_exit_code;
    v->pid = x->pid;
}

/* The monitor is gone: its last words are on the way to the loop thread. */
static void await_exec_end(struct exec *x, struct exec_view *v)
{
    struct container *c = x->container;
    int64_t deadline = time_monotonic_ns() + EXEC_NOTICE_NS;
    struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC, .tv_nsec = deadline % NSEC_PER_SEC};

    (void)pthread_mutex_lock(&c->mutex);
    while (x->running && pthread_cond_timedwait(&c->cond, &c->mutex, &until) == 0)
        ;
    fill_exec_view(x, v);
    (void)pthread_mutex_unlock(&c->mutex);
}

int engine_exec_inspect(struct engine *en, const char *exec_id, struct exec_view *ret,
                        struct error *e)
{
    struct exec *x = exec_find(en, exec_id);
    struct live *live = NULL;

    if (!x)
        return ask_monitor(en, exec_id, ret, e);
    *ret = (struct exec_view){0};
    (void)snprintf(ret->id, sizeof(ret->id), "%s", x->id);
    (void)snprintf(ret->container_id, sizeof(ret->container_id), "%s", x->container->id);
    json_copy(&exec_config_json, &ret->config, &x->config);
    (void)pthread_mutex_lock(&x->container->mutex);
    fill_exec_view(x, ret);
    if (x->running && x->container->live)
        live = live_ref(x->container->live);
    (void)pthread_mutex_unlock(&x->container->mutex);
    if (ret->running && (!live || !ask_if_ended(live, ret)))
        await_exec_end(x, ret);
    live_unref(live);
    exec_unref(x);
    return 0;
}

void exec_view_done(struct exec_view *v)
{
    json_free(&exec_config_json, &v->config);
}
