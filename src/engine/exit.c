/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a container: heard by the loop thread from its monitor, handled on a worker because it
 * blocks (cgroup, network, disk); then the restart policy.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"
#include "engine/isolation.h"
#include "engine/foreign.h"
#include "engine/health.h"
#include "engine/hooks.h"
#include "sys/cgroup.h"
#include "sys/process.h"

#define RESTART_DELAY_MIN (100 * NSEC_PER_MSEC)
#define RESTART_DELAY_MAX (60 * NSEC_PER_SEC)
#define RESTART_RAN_WELL  (10 * NSEC_PER_SEC) /* after that long a run the delay starts anew */

struct live *live_ref(struct live *l)
{
    atomic_fetch_add(&l->refs, 1);
    return l;
}

void live_unref(struct live *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) > 1)
        return;
    monitor_free(l->monitor);
    free(l);
}

bool live_has_ended(struct live *l)
{
    pid_t pid = monitor_init_pid(l->monitor);

    return pid <= 0 || monitor_get_state(l->monitor) == MONITOR_EXITED || process_is_ending(pid);
}

/* --- the network and the kernel's things of one run ------------------------------------------------- */

/* What `run` made beside the network: the cgroup and the state folder. */
static void clean_kernel(struct container *c)
{
    AUTOFREE char *dir = container_state_dir(c->en, c->id);
    AUTOFREE char *cgroup = container_cgroup(c);
    CLEANUP(error_done) struct error e = ERROR_INIT;
    int r;

    /* With the host's pid namespace processes may outlive init. */
    foreign_delete(dir, c->id);
    (void)!cgroup_kill(cgroup, NULL);
    isolation_rdt_remove(c->id);
    if (cgroup_remove(cgroup, &e) < 0)
        log_warn("cgroup left behind", "id=%s error=\"%s\"", c->id, error_message(&e));
    r = fs_remove_tree(AT_FDCWD, dir);
    if (r < 0)
        log_warn("state folder left behind", "path=%s error=\"%s\"", dir, strerror(-r));
}

void container_clean_run(struct container *c)
{
    network_release(c->en->network, c->id);
    clean_kernel(c);
}

/* --- restart policy ------------------------------------------------------------------------------------ */

/* c->mutex is held. */
static bool wants_restart(const struct container *c)
{
    const struct restart_policy *p = &c->def_now->host_config.restart_policy;

    if (c->stop_requested || c->upgrading)
        return false;
    if (STREQ(p->name, "always") || STREQ(p->name, "unless-stopped"))
        return true;
    return STREQ(p->name, "on-failure") && c->exit_code != 0 &&
           (p->maximum_retry_count == 0 || c->restart_count < p->maximum_retry_count);
}

void container_forget_restarts(struct container *c)
{
    c->restart_delay = 0;
    c->restart_count = 0;
}

static void save_state(struct container *c)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;

    if (record_update(c, &e) < 0)
        log_error("container state not saved", "id=%s error=\"%s\"", c->id, error_message(&e));
}

static void run_restart(void *data)
{
    struct container *c = data;
    CLEANUP(error_done) struct error e = ERROR_INIT;
    bool go;

    if (container_claim(c, OP_START, &e) < 0) {
        /* Something takes long (an update that counts a large folder): the restart is not lost. */
        (void)pthread_mutex_lock(&c->mutex);
        go = c->status == CONTAINER_RESTARTING && !c->stop_requested && !c->removed;
        (void)pthread_mutex_unlock(&c->mutex);
        if (go && !atomic_load(&c->en->closing))
            container_schedule_restart(c);
    } else {
        (void)pthread_mutex_lock(&c->mutex);
        go = c->status == CONTAINER_RESTARTING && !c->stop_requested;
        if (go) {
            c->restart_count++;
            container_publish(c);
        }
        (void)pthread_mutex_unlock(&c->mutex);
        if (go) /* before the start: a pouchd that is killed in it must not count anew */
            save_state(c);
        if (go && container_start_claimed(c, &e) < 0) {
            bool again;

            log_error("container could not be restarted", "id=%s error=\"%s\"", c->id,
                      error_message(&e));
            (void)pthread_mutex_lock(&c->mutex);
            again = wants_restart(c);
            if (again)
                c->status = CONTAINER_RESTARTING;
            container_publish(c);
            container_wake_waiters(c);
            (void)pthread_mutex_unlock(&c->mutex);
            if (again)
                container_schedule_restart(c);
        }
        container_release_claim(c);
    }
    container_unref(c);
}

static void on_restart_timer(struct source *s, void *data)
{
    struct container *c = data;

    source_free(s);
    (void)pthread_mutex_lock(&c->mutex);
    c->restart_timer = NULL;
    (void)pthread_mutex_unlock(&c->mutex);
    if (atomic_load(&c->en->closing))
        container_unref(c);
    else
        workers_post(c->en->workers, run_restart, c); /* hands the reference on */
}

static void arm_restart(void *data)
{
    struct container *c = data;
    struct source *s = NULL;
    int64_t delay;

    (void)pthread_mutex_lock(&c->mutex);
    delay = c->restart_delay;
    (void)pthread_mutex_unlock(&c->mutex);
    if (loop_add_timer(c->en->loop, time_monotonic_ns() + delay, on_restart_timer, c, &s) < 0) {
        log_error("restart timer not set", "id=%s", c->id);
        container_unref(c);
        return;
    }
    (void)pthread_mutex_lock(&c->mutex);
    c->restart_timer = s;
    (void)pthread_mutex_unlock(&c->mutex);
}

/* The status is RESTARTING already. */
void container_schedule_restart(struct container *c)
{
    int64_t ran, delay;

    (void)pthread_mutex_lock(&c->mutex);
    ran = c->finished - c->started;
    if (c->restart_delay == 0 || ran > RESTART_RAN_WELL)
        c->restart_delay = RESTART_DELAY_MIN;
    else if (c->restart_delay < RESTART_DELAY_MAX)
        c->restart_delay *= 2;
    delay = c->restart_delay;
    (void)pthread_mutex_unlock(&c->mutex);
    log_debug("restart waits", "id=%s ms=%lld", c->id, (long long)(delay / NSEC_PER_MSEC));
    if (loop_post(c->en->loop, arm_restart, container_ref(c)) < 0)
        container_unref(c);
}

/* --- the end --------------------------------------------------------------------------------------------- */

/* Takes the end into the state; returns whether the policy restarts the container. */
static bool note_end(struct container *c, const struct monitor_exit *x, bool *ret_remove)
{
    struct live *live;
    bool again;

    (void)pthread_mutex_lock(&c->mutex);
    live = take_ptr(c->live);
    c->pid = 0;
    c->exit_code = x->exit_code;
    c->oom_killed = c->oom_killed || x->oom_killed;
    c->finished = x->exited_ns ? x->exited_ns : time_now_ns();
    if (x->started_ns)
        c->started = x->started_ns;
    str_replace(&c->error, x->error[0] ? x->error : NULL);
    c->has_endpoint = false;
    network_endpoint_done(&c->endpoint);
    again = wants_restart(c);
    *ret_remove = !again && c->def_now->host_config.auto_remove && !c->keeps && !c->upgrading;
    c->status = again ? CONTAINER_RESTARTING : *ret_remove ? CONTAINER_REMOVING : CONTAINER_EXITED;
    c->exits++;
    c->held = false; /* a pause from now on is not that of a commit */
    health_end(c);
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    live_unref(live);
    return again;
}

/* The last part of an end, with the claim held: poststop hooks, then removal or restart. */
static void finish_end(void *data)
{
    struct container *c = data; /* the reference is ours */
    CLEANUP(error_done) struct error e = ERROR_INIT;
    bool done = hooks_poststop(c);
    bool remove;
    bool again;

    (void)pthread_mutex_lock(&c->mutex);
    remove = c->status == CONTAINER_REMOVING;
    again = c->status == CONTAINER_RESTARTING && !c->restart_timer;
    (void)pthread_mutex_unlock(&c->mutex);
    if (done && remove && container_remove_claimed(c, true, &e) < 0)
        log_error("container not removed", "id=%s error=\"%s\"", c->id, error_message(&e));
    if (done && again)
        container_schedule_restart(c);
    container_release_claim(c);
    container_unref(c);
}

/* On a worker, since at the start of the engine nothing waits for hooks. */
static void post_finish_end(struct container *c)
{
    if (workers_try_post(c->en->workers, finish_end, container_ref(c)))
        return;
    container_release_claim(c); /* the next pouchd does it */
    container_unref(c);
}

void container_finish_end(struct container *c)
{
    if (container_claim(c, OP_EXIT, NULL) == 0)
        post_finish_end(c);
}

void container_handle_exit(struct container *c, const struct monitor_exit *x)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    char code[16];
    bool remove = false;
    bool again;
    bool owed = hooks_owed(c);
    int r;

    if (owed) /* a start that runs hooks may hold the claim for long */
        workers_block(c->en->workers, 1);
    r = container_claim(c, OP_EXIT, &e);
    if (owed)
        workers_block(c->en->workers, -1);
    if (r < 0)
        return; /* removed meanwhile */
    if (x->log_lost_bytes)
        log_warn("output of the container was not logged", "id=%s bytes=%llu lines=%llu", c->id,
                 (unsigned long long)x->log_lost_bytes, (unsigned long long)x->log_lost_lines);
    network_release(c->en->network, c->id);
    if (owed)
        hooks_note_end(c, x);
    again = note_end(c, x, &remove);
    exec_all_ended(c);
    (void)snprintf(code, sizeof(code), "%d", x->exit_code);
    events_container(c, "die", "exitCode", code, NULL);
    if (remove && !owed) {
        remove = container_remove_claimed(c, true, &e) == 0;
        if (!remove)
            log_error("container not removed", "id=%s error=\"%s\"", c->id, error_message(&e));
    }
    /* One that could not be removed has ended all the same. */
    if (!remove || owed) {
        save_state(c);
        (void)pthread_mutex_lock(&c->mutex);
        container_wake_waiters(c);
        (void)pthread_mutex_unlock(&c->mutex);
        clean_kernel(c);
        if (owed) {
            post_finish_end(c);
            return;
        }
        if (again)
            container_schedule_restart(c);
    }
    container_release_claim(c);
}

struct exit_job {
    struct container *c;
    struct monitor_exit exit;
    bool known; /* false: the monitor is gone without a word */
};

static void run_exit_job(void *data)
{
    struct exit_job *job = data;
    AUTOFREE char *dir = container_state_dir(job->c->en, job->c->id);

    if (!job->known && monitor_read_exit(dir, &job->exit, NULL) < 0) {
        AUTOFREE char *cgroup = container_cgroup(job->c);

        (void)!cgroup_kill(cgroup, NULL);
        job->exit = (struct monitor_exit){.exit_code = 137, .signal = 9};
        job->exit.oom_killed = cgroup_oom_count(cgroup) > 0;
        (void)snprintf(job->exit.error, sizeof(job->exit.error), "%s",
                       "the container's monitor died, so the container was killed");
    }
    container_handle_exit(job->c, &job->exit);
    container_unref(job->c);
    free(job);
}

static void post_exit(struct container *c, const struct monitor_exit *x)
{
    struct exit_job *job = xcalloc(1, sizeof(*job));

    job->c = container_ref(c);
    if (x) {
        job->exit = *x;
        job->known = true;
    }
    workers_post(c->en->workers, run_exit_job, job);
}

/* --- news from monitors, on the loop thread ------------------------------------------------------------- */

struct watch {
    struct watch *next;  /* in engine.watches */
    struct container *c; /* referenced */
    struct live *live;   /* referenced */
};

static void end_watch(struct source *s, struct watch *w)
{
    for (struct watch **p = &w->c->en->watches; *p; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            break;
        }
    }
    source_free(s);
    container_unref(w->c);
    live_unref(w->live);
    free(w);
}

void watches_free(struct engine *en)
{
    while (en->watches)
        end_watch(en->watches->live->source, en->watches);
}

static void on_oom(struct container *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->oom_killed = true;
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    events_container(c, "oom", NULL);
}

static void on_monitor(struct source *s, int fd, uint32_t revents, void *data)
{
    struct watch *w = data;
    struct monitor_event ev;
    int r;

    (void)fd;
    (void)revents;
    while ((r = monitor_read_event(w->live->monitor, &ev)) > 0) {
        switch (ev.type) {
        case MONITOR_EVENT_EXITED:
            post_exit(w->c, &ev.exit);
            end_watch(s, w);
            return;
        case MONITOR_EVENT_HANGUP:
            post_exit(w->c, NULL);
            end_watch(s, w);
            return;
        case MONITOR_EVENT_OOM:
            on_oom(w->c);
            break;
        case MONITOR_EVENT_EXEC_EXITED:
            exec_handle_exit(w->c, ev.exec_id, ev.exit.exit_code);
            break;
        case MONITOR_EVENT_DETACHED:
            events_container(w->c, ev.exec_id[0] ? "exec_detach" : "detach", NULL);
            break;
        case MONITOR_EVENT_LOG_LOST:
            log_warn("output of the container could not be logged", "id=%s bytes=%llu error=\"%s\"",
                     w->c->id, (unsigned long long)ev.lost_bytes, strerror(ev.errnum));
            break;
        default:
            break;
        }
    }
    if (r < 0) {
        post_exit(w->c, NULL);
        end_watch(s, w);
    }
}

static void add_watch(void *data)
{
    struct watch *w = data;
    struct source *s = NULL;

    if (loop_add_fd(w->c->en->loop, monitor_fd(w->live->monitor), EPOLLIN, on_monitor, w, &s) < 0) {
        log_error("container's monitor cannot be watched", "id=%s", w->c->id);
        container_unref(w->c);
        live_unref(w->live);
        free(w);
        return;
    }
    w->live->source = s;
    w->next = w->c->en->watches;
    w->c->en->watches = w;
    on_monitor(s, monitor_fd(w->live->monitor), EPOLLIN, w);
}

struct live *live_new(struct monitor *m)
{
    struct live *live = xcalloc(1, sizeof(*live));

    live->refs = 1;
    live->monitor = m;
    return live;
}

void container_watch(struct container *c, struct live *live)
{
    struct watch *w = xcalloc(1, sizeof(*w));

    w->c = container_ref(c);
    w->live = live;
    if (loop_post(c->en->loop, add_watch, w) < 0)
        log_error("container's monitor cannot be watched", "id=%s", c->id);
}
