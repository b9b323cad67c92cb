/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See health.h. The life of a probe, all on the loop thread but what stands in ():
 *
 *   timer → (exec in the monitor) → output, until its socket ends → (exit code) → result → timer
 *                                └→ time-out → (kill) → result ┘
 */
#include "engine/health.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

#define INTERVAL_DEFAULT       (30 * NSEC_PER_SEC)
#define TIMEOUT_DEFAULT        (30 * NSEC_PER_SEC)
#define START_INTERVAL_DEFAULT (5 * NSEC_PER_SEC)
#define RETRIES_DEFAULT        3
#define TIME_MIN               NSEC_PER_MSEC
#define TIME_MAX               (100LL * 365 * 86400 * NSEC_PER_SEC)
#define OUTPUT_MAX             4096 /* Docker's */

static const char *const status_names[] = {"none", "starting", "healthy", "unhealthy"};

const char *health_status_name(enum health_status s)
{
    return status_names[s];
}

/* --- states ------------------------------------------------------------------------------------------------ */

struct health_state *health_ref(struct health_state *h)
{
    if (h)
        (void)__atomic_fetch_add(&h->refs, 1, __ATOMIC_RELAXED);
    return h;
}

void health_unref(struct health_state *h)
{
    if (!h || __atomic_fetch_sub(&h->refs, 1, __ATOMIC_ACQ_REL) > 1)
        return;
    for (size_t i = 0; i < h->nlog; i++)
        free(h->log[i].output);
    free(h);
}

/* A new state with the log of another; result (taken over) is added to it when given. */
static struct health_state *next_state(const struct health_state *old, enum health_status status,
                                       int64_t streak, struct health_result *result)
{
    struct health_state *h = xcalloc(1, sizeof(*h));
    size_t skip = result && old && old->nlog == HEALTH_LOG ? 1 : 0;

    h->refs = 1;
    h->status = status;
    h->failing_streak = streak;
    for (size_t i = skip; old && i < old->nlog; i++) {
        h->log[h->nlog] = old->log[i];
        h->log[h->nlog++].output = xstrdup(old->log[i].output);
    }
    if (result) {
        h->log[h->nlog++] = *result;
        result->output = NULL;
    }
    return h;
}

enum health_status health_status(struct container *c)
{
    enum health_status s;

    (void)pthread_mutex_lock(&c->mutex);
    s = c->health ? c->health->status : HEALTH_NONE;
    (void)pthread_mutex_unlock(&c->mutex);
    return s;
}

/* --- what is asked for ------------------------------------------------------------------------------------- */

static int check_time(const char *name, int64_t ns, struct error *e)
{
    if (ns == 0 || (ns >= TIME_MIN && ns <= TIME_MAX))
        return 0;
    return error_set(e, ERR_INVALID,
                     "%s in Healthcheck cannot be less than 1ms or beyond a century", name);
}

static int check_test(char *const *test, struct error *e)
{
    if (!strv_len(test) || STREQ(test[0], "NONE"))
        return 0;
    if (!STREQ(test[0], "CMD") && !STREQ(test[0], "CMD-SHELL"))
        return error_set(e, ERR_INVALID,
                         "Healthcheck.Test: unknown type \"%s\"; want NONE, CMD or CMD-SHELL",
                         test[0]);
    if (!test[1] || !*test[1])
        return error_set(e, ERR_INVALID, "Healthcheck.Test: %s without a command", test[0]);
    if (STREQ(test[0], "CMD-SHELL") && test[2])
        return error_set(e, ERR_INVALID, "Healthcheck.Test: CMD-SHELL takes one text");
    return 0;
}

int health_validate(const struct container_config *config, const struct host_config *hc,
                    struct error *e)
{
    static const char *const actions[] = {"", "none", "restart", "stop", "kill", NULL};
    const struct oci_healthcheck *h = config->healthcheck;
    int r = 0;

    if (hc->health_on_failure && !strv_contains((char *const *)actions, hc->health_on_failure))
        return error_set(e, ERR_INVALID,
                         "HostConfig.HealthOnFailure: unknown action \"%s\"; want none, restart, "
                         "stop or kill",
                         hc->health_on_failure);
    if (!h)
        return 0;
    r = check_test(h->test, e);
    if (r == 0)
        r = check_time("Interval", h->interval, e);
    if (r == 0)
        r = check_time("Timeout", h->timeout, e);
    if (r == 0)
        r = check_time("StartPeriod", h->start_period, e);
    if (r == 0)
        r = check_time("StartInterval", h->start_interval, e);
    if (r == 0 && (h->retries < 0 || h->retries > INT_MAX))
        r = error_set(e, ERR_INVALID, "Retries in Healthcheck cannot be negative");
    return r;
}

static void inherit(int64_t *to, int64_t from)
{
    if (*to == 0)
        *to = from;
}

void health_merge(struct container_config *config, const struct oci_image_config *img)
{
    struct oci_healthcheck *h = config->healthcheck;
    const struct oci_healthcheck *from = img->healthcheck;

    if (!from)
        return;
    if (!h)
        h = config->healthcheck = xcalloc(1, sizeof(*h));
    if (!strv_len(h->test)) {
        strv_free(h->test);
        h->test = strv_copy(from->test);
    }
    inherit(&h->interval, from->interval);
    inherit(&h->timeout, from->timeout);
    inherit(&h->start_period, from->start_period);
    inherit(&h->start_interval, from->start_interval);
    inherit(&h->retries, from->retries);
}

int health_check_action(const struct container_config *config, const struct host_config *hc,
                        struct error *e)
{
    const struct oci_healthcheck *h = config->healthcheck;

    if (str_is_empty(hc->health_on_failure) || STREQ(hc->health_on_failure, "none") ||
        (h && strv_len(h->test) && !STREQ(h->test[0], "NONE")))
        return 0;
    return error_set(e, ERR_INVALID,
                     "--health-on-failure %s: there is no health check that could fail: give one "
                     "with --health-cmd, or take an image that has a HEALTHCHECK",
                     hc->health_on_failure);
}

/* The command of the check, NULL when there is none (or an image has one of an unknown kind). */
static char **probe_command(const struct container_definition *def)
{
    const struct oci_healthcheck *h = def->config.healthcheck;
    char **v = NULL;

    if (!h || strv_len(h->test) < 2 || check_test(h->test, NULL) < 0 || STREQ(h->test[0], "NONE"))
        return NULL;
    if (STREQ(h->test[0], "CMD"))
        return strv_copy(h->test + 1);
    if (strv_len(def->config.shell)) {
        v = strv_copy(def->config.shell);
    } else {
        strv_push(&v, "/bin/sh");
        strv_push(&v, "-c");
    }
    strv_push(&v, h->test[1]);
    return v;
}

static bool has_check(const struct container_definition *def)
{
    AUTOPTR(strv) char **command = def->config.healthcheck ? probe_command(def) : NULL;

    return command != NULL;
}

static int64_t time_or(int64_t ns, int64_t fallback)
{
    return ns >= TIME_MIN && ns <= TIME_MAX ? ns : fallback;
}

/* --- on record: only changes of the status are -------------------------------------------------------------- */

int health_migrate(struct store *s, struct error *e)
{
    static const char *const migrations[] = {
        "CREATE TABLE health (id TEXT PRIMARY KEY, status INTEGER NOT NULL, streak INTEGER NOT NULL)"
        " WITHOUT ROWID",
        NULL,
    };

    return store_migrate(s, "health", migrations, e);
}

int health_load(struct engine *en, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(en->store, &rows, e, "SELECT id, status, streak FROM health", "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        int64_t status = store_col_int(&rows, 1);
        struct container *c;

        (void)pthread_mutex_lock(&en->mutex);
        c = map_get(en->by_id, store_col_str(&rows, 0));
        (void)pthread_mutex_unlock(&en->mutex);
        if (!c || status < HEALTH_STARTING || status > HEALTH_UNHEALTHY)
            continue; /* only this thread is at work yet */
        if (c->status != CONTAINER_RUNNING && c->status != CONTAINER_PAUSED)
            status = HEALTH_UNHEALTHY;
        c->health = next_state(NULL, (enum health_status)status, store_col_int(&rows, 2), NULL);
    }
    return r < 0 ? r : 0;
}

static void save(struct container *c)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    int64_t status;
    int64_t streak;

    (void)pthread_mutex_lock(&c->mutex);
    status = c->health && !c->removed ? (int64_t)c->health->status : HEALTH_NONE;
    streak = c->health ? c->health->failing_streak : 0;
    (void)pthread_mutex_unlock(&c->mutex);
    if (status != HEALTH_NONE &&
        /* Not for a container that is off the record by now. */
        store_exec(c->en->store, &e,
                   "INSERT OR REPLACE INTO health SELECT id, ?, ? FROM containers WHERE id = ?",
                   "iis", status, streak, c->id) < 0)
        log_error("health not saved", "id=%s error=\"%s\"", c->id, error_message(&e));
}

void health_removed(struct container *c)
{
    bool has;

    (void)pthread_mutex_lock(&c->mutex);
    has = c->health != NULL;
    (void)pthread_mutex_unlock(&c->mutex);
    if (has)
        (void)!store_exec(c->en->store, NULL, "DELETE FROM health WHERE id = ?", "s", c->id);
}

/* --- probes -------------------------------------------------------------------------------------------------- */

struct probe {
    atomic_uint refs;
    struct probe *next; /* in engine.probes */
    struct container *c;
    struct live *live;
    char **command;
    int64_t interval, timeout, start_period, start_interval, retries;
    int64_t run_started; /* ns, of the container */
    /* the loop thread's: */
    bool over; /* the container has ended */
    bool busy; /* from the timer to the result */
    struct source *timer;
    struct source *source; /* of fd */
    int fd;                /* the command's output */
    bool cut;
    struct buf output;
    int64_t started; /* ns, of the command */
    char exec_id[MONITOR_ID_MAX + 1];
};

static struct probe *probe_ref(struct probe *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

static void probe_unref(struct probe *p)
{
    if (atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    strv_free(p->command);
    buf_done(&p->output);
    live_unref(p->live);
    container_unref(p->c);
    free(p);
}

static bool is_paused(struct container *c)
{
    bool paused;

    (void)pthread_mutex_lock(&c->mutex);
    paused = c->status == CONTAINER_PAUSED;
    (void)pthread_mutex_unlock(&c->mutex);
    return paused;
}

static int64_t next_interval(const struct probe *p)
{
    if (p->start_period && health_status(p->c) == HEALTH_STARTING &&
        time_now_ns() - p->run_started < p->start_period)
        return p->start_interval;
    return p->interval;
}

static void close_output(struct probe *p)
{
    source_free(take_ptr(p->source));
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -EBADF;
}

/* --- the result ------------------------------------------------------------------------------------------------ */

static void run_action(void *data)
{
    struct container *c = data;
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    const char *action = def->host_config.health_on_failure;
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct opt_int timeout = {false, 0};
    struct live *live = NULL;
    bool ending;
    int r = 0;

    save(c);
    (void)pthread_mutex_lock(&c->mutex);
    ending = c->stop_requested; /* the user is faster: it is not brought back */
    (void)pthread_mutex_unlock(&c->mutex);
    if (ending || str_is_empty(action) || STREQ(action, "none") ||
        health_status(c) != HEALTH_UNHEALTHY ||
        upgrade_check(c, NULL) < 0) { /* an upgrade takes an unhealthy one back itself */
        container_unref(c);
        return;
    }
    log_info("unhealthy container", "id=%s action=%s", c->id, action);
    workers_block(c->en->workers, 1);
    if (STREQ(action, "restart")) {
        r = engine_restart(c->en, c->id, NULL, timeout, &e);
    } else if (STREQ(action, "stop")) {
        r = engine_stop(c->en, c->id, NULL, timeout, &e);
    } else {
        (void)pthread_mutex_lock(&c->mutex);
        live = c->live ? live_ref(c->live) : NULL;
        (void)pthread_mutex_unlock(&c->mutex);
        /* Not by the user: the restart policy decides what comes next. */
        if (live)
            r = monitor_signal(live->monitor, SIGKILL, false, &e);
        live_unref(live);
    }
    workers_block(c->en->workers, -1);
    if (r < 0 && e.code != ERR_NOT_MODIFIED)
        log_warn("action on an unhealthy container failed", "id=%s action=%s error=\"%s\"", c->id,
                 action, error_message(&e));
    container_unref(c);
}

/* Docker's rules: one success makes it healthy, `retries` failures in a row unhealthy; failures
 * during the start period do not count until a probe has succeeded. */
static void note_result(struct probe *p, struct health_result *result)
{
    struct container *c = p->c;
    enum health_status status, before;
    struct health_state *old;
    int64_t streak;

    (void)pthread_mutex_lock(&c->mutex);
    if (c->live != p->live) { /* it has ended: what was seen of it does not count any more */
        (void)pthread_mutex_unlock(&c->mutex);
        free(result->output);
        return;
    }
    old = c->health;
    before = old ? old->status : HEALTH_STARTING;
    status = before;
    streak = old ? old->failing_streak : 0;
    if (result->exit_code == 0) {
        status = HEALTH_HEALTHY;
        streak = 0;
    } else if (before != HEALTH_STARTING || !p->start_period ||
               result->start - p->run_started >= p->start_period) {
        streak++;
        if (streak >= p->retries)
            status = HEALTH_UNHEALTHY;
    }
    c->health = next_state(old, status, streak, result);
    health_unref(old);
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
    free(result->output);
    if (status == before)
        return;
    events_container(c,
                     status == HEALTH_HEALTHY ? "health_status: healthy"
                                              : "health_status: unhealthy",
                     NULL);
    if (!workers_try_post(c->en->workers, run_action, container_ref(c)))
        container_unref(c);
}

static void finish(struct probe *p, int64_t exit_code, const char *text)
{
    struct health_result result = {.start = p->started,
                                   .end = time_now_ns(),
                                   .exit_code = exit_code};

    if (text)
        result.output = xstrdup(text);
    else
        result.output = p->cut ? xasprintf("%s...", buf_str(&p->output))
                               : xstrdup(buf_str(&p->output));
    close_output(p);
    buf_clear(&p->output);
    p->busy = false;
    note_result(p, &result);
    source_set_time(p->timer, time_monotonic_ns() + next_interval(p));
}

/* --- jobs of the probers ------------------------------------------------------------------------------------------ */

struct probe_job {
    struct probe *p; /* referenced */
    int fd;
    int64_t code;
    char *error;
    char exec_id[MONITOR_ID_MAX + 1];
};

static void job_free(struct probe_job *j)
{
    if (j->fd >= 0)
        (void)close(j->fd);
    free(j->error);
    probe_unref(j->p);
    free(j);
}

static void post_job(struct probe *p, void (*fn)(void *))
{
    struct probe_job *j = xcalloc(1, sizeof(*j));

    j->p = probe_ref(p);
    j->fd = -EBADF;
    memcpy(j->exec_id, p->exec_id, sizeof(j->exec_id));
    if (!workers_try_post(p->c->en->probers, fn, j))
        job_free(j);
}

static void post_back(struct probe_job *j, loop_post_cb fn)
{
    if (loop_post(j->p->c->en->loop, fn, j) < 0)
        job_free(j);
}

/* The exec has ended: on the loop thread with its code. */
static void on_code(void *data)
{
    struct probe_job *j = data;

    if (!j->p->over && j->p->busy && STREQ(j->exec_id, j->p->exec_id))
        finish(j->p, j->code, NULL);
    job_free(j);
}

static void ask_code(void *data)
{
    struct probe_job *j = data;

    j->code = -1;
    for (int i = 0; i < 100; i++) {
        struct monitor_exec_state st;

        if (monitor_exec_get_state(j->p->live->monitor, j->exec_id, &st, NULL) < 0)
            break;
        if (!st.running) {
            j->code = st.exit_code;
            break;
        }
        (void)usleep(5000);
    }
    post_back(j, on_code);
}

static void kill_exec(void *data)
{
    struct probe_job *j = data;

    (void)!monitor_exec_kill(j->p->live->monitor, j->exec_id, NULL);
    job_free(j);
}

static void on_output(struct source *s, int fd, uint32_t revents, void *data)
{
    struct probe *p = data;
    char text[4096];
    ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);

    (void)s;
    (void)revents;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        size_t room = OUTPUT_MAX - p->output.len;

        p->cut |= (size_t)n > room;
        (void)buf_append(&p->output, text, (size_t)n < room ? (size_t)n : room);
        return;
    }
    close_output(p);
    post_job(p, ask_code);
}

static void on_started(void *data)
{
    struct probe_job *j = data;
    struct probe *p = j->p;

    if (!p->over && p->busy) {
        if (j->fd >= 0) {
            p->fd = take_fd(j->fd);
            source_set_time(p->timer, time_monotonic_ns() + p->timeout);
            if (loop_add_fd(p->c->en->loop, p->fd, EPOLLIN, on_output, p, &p->source) < 0)
                finish(p, -1, "cannot watch the health check's output");
        } else if (is_paused(p->c)) {
            p->busy = false; /* paused in between: no result */
            source_set_time(p->timer, time_monotonic_ns() + p->interval);
        } else {
            finish(p, -1, j->error ? j->error : "");
        }
    }
    job_free(j);
}

static void start_exec(void *data)
{
    struct probe_job *j = data;
    struct probe *p = j->p;
    struct container *c = p->c;
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct exec_config config = {.cmd = p->command};
    struct monitor_exec_params mp = {.exec_id = j->exec_id};
    AUTOFREE char *process = NULL;
    pid_t pid = 0;
    int fds[2] = {-EBADF, -EBADF};
    int r = spec_exec_process(c, &config, &process, &e);

    if (r == 0)
        r = engine_seccomp(c->en, &def->host_config, &mp.seccomp_bpf, &mp.seccomp_len, &e);
    if (r == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        r = error_set_errno(&e, errno, "cannot make a socket pair");
    if (r == 0) {
        mp.process_json = process;
        mp.attach.client_fd = fds[1];
        mp.attach.detach_keys = "";
        mp.attach.flags = MONITOR_STDOUT | MONITOR_STDERR | MONITOR_RAW;
        r = monitor_exec_start(p->live->monitor, &mp, &pid, &e);
    }
    if (fds[1] >= 0)
        (void)close(fds[1]);
    if (r == 0)
        j->fd = fds[0];
    else if (fds[0] >= 0)
        (void)close(fds[0]);
    if (r < 0)
        j->error = xstrdup(error_message(&e));
    post_back(j, on_started);
}

/* --- the timer ------------------------------------------------------------------------------------------------------ */

static void on_timer(struct source *s, void *data)
{
    struct probe *p = data;
    char text[80];

    (void)s;
    if (is_paused(p->c)) { /* neither a probe nor a time-out counts */
        source_set_time(p->timer,
                        time_monotonic_ns() + (p->busy && p->fd >= 0 ? p->timeout : p->interval));
        return;
    }
    if (p->busy) {
        (void)snprintf(text, sizeof(text), "Health check exceeded timeout (%lld.%03llds)",
                       (long long)(p->timeout / NSEC_PER_SEC),
                       (long long)(p->timeout % NSEC_PER_SEC / NSEC_PER_MSEC));
        post_job(p, kill_exec);
        finish(p, -1, text);
        return;
    }
    p->busy = true;
    p->cut = false;
    p->started = time_now_ns();
    (void)memcpy(p->exec_id, "health-", 8);
    random_hex(p->exec_id + 7, 16);
    /* Until it has begun the monitor has its own time-outs. */
    source_set_time(p->timer, INT64_MAX);
    post_job(p, start_exec);
}

static void take_out(struct probe *p)
{
    for (struct probe **at = &p->c->en->probes; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    p->over = true;
    source_free(take_ptr(p->timer));
    close_output(p);
    if (p->c->probe == p)
        p->c->probe = NULL;
    probe_unref(p);
}

static void add_probe(void *data)
{
    struct probe *p = data;
    int64_t first = p->run_started ? next_interval(p) : p->interval;
    bool ended;

    (void)pthread_mutex_lock(&p->c->mutex);
    ended = p->c->live != p->live; /* and end_probe() may have been here already */
    (void)pthread_mutex_unlock(&p->c->mutex);
    if (ended) {
        probe_unref(p);
        return;
    }
    if (p->c->probe)
        take_out(p->c->probe);
    /* After a restart of pouchd all containers' probes would come at the same moment. */
    if (p->started)
        first = (int64_t)((uint64_t)p->started % (uint64_t)first);
    p->started = 0;
    if (loop_add_timer(p->c->en->loop, time_monotonic_ns() + first, on_timer, p, &p->timer) < 0) {
        log_error("health check not armed", "id=%s", p->c->id);
        probe_unref(p);
        return;
    }
    p->c->probe = p;
    p->next = p->c->en->probes;
    p->c->en->probes = p;
}

static void end_probe(void *data)
{
    struct container *c = data;

    if (c->probe)
        take_out(c->probe);
    container_unref(c);
}

void health_reset(struct container *c, const struct container_definition *def)
{
    struct health_state *old;

    if (!has_check(def)) { /* an upgrade may have taken its check away */
        health_removed(c);
        (void)pthread_mutex_lock(&c->mutex);
        old = take_ptr(c->health);
        (void)pthread_mutex_unlock(&c->mutex);
        health_unref(old);
        return;
    }
    (void)pthread_mutex_lock(&c->mutex);
    old = c->health;
    c->health = next_state(old, HEALTH_STARTING, 0, NULL);
    health_unref(old);
    (void)pthread_mutex_unlock(&c->mutex);
    save(c);
}

void health_start(struct container *c, const struct container_definition *def, bool again)
{
    const struct oci_healthcheck *h = def->config.healthcheck;
    char **command = h ? probe_command(def) : NULL;
    struct probe *p;
    uint64_t number = 0;

    if (!command)
        return;
    p = xcalloc(1, sizeof(*p));
    p->refs = 1;
    p->c = container_ref(c);
    p->command = command;
    p->interval = time_or(h->interval, INTERVAL_DEFAULT);
    p->timeout = time_or(h->timeout, TIMEOUT_DEFAULT);
    p->start_period = time_or(h->start_period, 0);
    p->start_interval = time_or(h->start_interval, START_INTERVAL_DEFAULT);
    p->retries = h->retries > 0 ? h->retries : RETRIES_DEFAULT;
    p->fd = -EBADF;
    p->output = (struct buf)BUF_INIT(OUTPUT_MAX + 1);
    if (again) {
        random_hex(p->exec_id, 7);
        (void)sscanf(p->exec_id, "%14llx", (unsigned long long *)&number);
        p->started = (int64_t)number + 1;
    }
    (void)pthread_mutex_lock(&c->mutex);
    p->live = c->live ? live_ref(c->live) : NULL;
    p->run_started = c->started;
    if (p->live && !c->health) {
        c->health = next_state(NULL, HEALTH_STARTING, 0, NULL);
        container_publish(c);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    if (!p->live || loop_post(c->en->loop, add_probe, p) < 0)
        probe_unref(p);
}

void health_end(struct container *c)
{
    struct health_state *old = c->health;

    if (!old)
        return;
    /* As Docker: what does not run is not healthy. */
    c->health = next_state(old, HEALTH_UNHEALTHY, old->failing_streak, NULL);
    health_unref(old);
    if (loop_post(c->en->loop, end_probe, container_ref(c)) < 0)
        container_unref(c); /* never the last */
}

void health_close(struct engine *en)
{
    while (en->probes)
        take_out(en->probes);
}
