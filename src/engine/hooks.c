/* SPDX-License-Identifier: Apache-2.0 */
/* See hooks.h. What is running is run elsewhere: hooks-run.c of the monitor, or execs. */
#include "engine/hooks.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "base/words.h"
#include "monitor/hooks.h"
#include "oci/spec.h"
#include "sys/cgroup.h"

#define HOOKS_MAX     64          /* of one kind */
#define HOOK_TEXT_MAX (32 * 1024) /* bytes of one */
#define STATE_ENV_MAX                                                                              \
    (64 * 1024) /* a longer state is on stdin only: the kernel's limit is 128 KiB */
#define RUNNER_TRIES 3
#define GRACE_S      60 /* what a runner may take beyond its hooks' time */

static const char *const phase_names[] = {"", "prestart", "poststart", "poststop"};

/* --- texts ----------------------------------------------------------------------------------------------- */

void hook_done(struct hook *h)
{
    strv_free(h->args);
    *h = (struct hook){0};
}

int hook_parse(const char *text, struct hook *ret, struct error *e)
{
    struct hook h = {.host = str_has_prefix(text, "host:")};
    const char *command = text;
    int r;

    if (h.host)
        command += strlen("host:");
    else if (str_has_prefix(text, "in:"))
        command += strlen("in:");
    if (strlen(text) > HOOK_TEXT_MAX)
        return error_set(e, ERR_INVALID, "a hook has more than %d bytes", HOOK_TEXT_MAX);
    r = words_split(command, &h.args, e);
    if (r < 0)
        return r;
    if (!strv_len(h.args))
        r = error_set(e, ERR_INVALID, "hook \"%s\" has no command", text);
    else if (h.args[0][0] != '/')
        r = error_set(e, ERR_INVALID,
                      "hook \"%s\": want host:/PATH ARGS… or in:/PATH ARGS… with an absolute path",
                      text);
    if (r < 0)
        hook_done(&h);
    else
        *ret = h;
    return r;
}

static int check_list(char *const *list, const char *name, struct error *e)
{
    if (strv_len(list) > HOOKS_MAX)
        return error_set(e, ERR_INVALID, "HostConfig.Hooks.%s: more than %d hooks", name,
                         HOOKS_MAX);
    for (size_t i = 0; list && list[i]; i++) {
        struct hook h = {0};
        int r = hook_parse(list[i], &h, e);

        hook_done(&h);
        if (r < 0) {
            error_add(e, "HostConfig.Hooks.%s[%zu]", name, i);
            return r;
        }
    }
    return 0;
}

int hooks_validate(const struct container_config *config, const struct host_config *hc,
                   struct error *e)
{
    const struct container_hooks *h = hc->hooks;
    struct hook script = {0};
    int r = 0;

    if (!str_is_empty(config->init_script)) {
        if (!config->rich)
            return error_set(e, ERR_INVALID,
                             "--initscript %s needs --rich; --hook-prestart does the same for any "
                             "container",
                             config->init_script);
        r = hook_parse(config->init_script, &script, e);
        hook_done(&script);
        if (r < 0) {
            error_add(e, "InitScript");
            return r;
        }
    }
    if (hc->hook_timeout < 0 || hc->hook_timeout > HOOK_TIMEOUT_MAX)
        return error_set(e, ERR_INVALID, "HostConfig.HookTimeout: want 1 to %d seconds, got %lld",
                         HOOK_TIMEOUT_MAX, (long long)hc->hook_timeout);
    if (h) {
        r = check_list(h->prestart, "Prestart", e);
        if (r == 0)
            r = check_list(h->poststart, "Poststart", e);
        if (r == 0)
            r = check_list(h->poststop, "Poststop", e);
    }
    return r;
}

/* The texts of a phase, borrowed; the init script is a prestart hook that comes first. */
struct hook_list {
    const char *texts[HOOKS_MAX + 1];
    size_t len;
};

static struct hook_list hooks_of(const struct container_definition *def, enum hook_phase phase)
{
    const struct container_hooks *h = def->host_config.hooks;
    struct hook_list list = {.len = 0};
    char *const *texts = NULL;

    if (phase == HOOKS_PRESTART && !str_is_empty(def->config.init_script))
        list.texts[list.len++] = def->config.init_script;
    if (h)
        texts = phase == HOOKS_PRESTART    ? h->prestart
                : phase == HOOKS_POSTSTART ? h->poststart
                                           : h->poststop;
    for (size_t i = 0; texts && texts[i] && list.len < ARRAY_SIZE(list.texts); i++)
        list.texts[list.len++] = texts[i];
    return list;
}

static bool has_hooks(const struct container_definition *def, enum hook_phase phase)
{
    return (def->host_config.hooks || def->config.init_script) && hooks_of(def, phase).len > 0;
}

static bool any_inside(const struct container_definition *def, enum hook_phase phase)
{
    struct hook_list list = hooks_of(def, phase);

    for (size_t i = 0; i < list.len; i++)
        if (!str_has_prefix(list.texts[i], "host:"))
            return true;
    return false;
}

bool hooks_at_gate(const struct container_definition *def)
{
    return has_hooks(def, HOOKS_PRESTART) && any_inside(def, HOOKS_PRESTART);
}

bool hooks_after_end(const struct container_definition *def)
{
    return has_hooks(def, HOOKS_POSTSTOP) && any_inside(def, HOOKS_POSTSTOP);
}

/* --- what a hook is told --------------------------------------------------------------------------------- */

/* How a run ended: kept in the table, told to poststop hooks. */
struct hook_end {
    int64_t exit_code, signal;
    bool oom_killed, stop_requested;
    int64_t started, finished;
    char *error;
};
static const struct json_field end_fields[] = {
    JSON_FIELD(struct hook_end, exit_code, "exitCode", JSON_INT, 0),
    JSON_FIELD(struct hook_end, signal, "signal", JSON_INT, 0),
    JSON_FIELD(struct hook_end, oom_killed, "oomKilled", JSON_BOOL, 0),
    JSON_FIELD(struct hook_end, stop_requested, "stopRequested", JSON_BOOL, 0),
    JSON_FIELD(struct hook_end, started, "startedAt", JSON_TIME, 0),
    JSON_FIELD(struct hook_end, finished, "finishedAt", JSON_TIME, 0),
    JSON_FIELD(struct hook_end, error, "error", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc end_json = {"end", sizeof(struct hook_end), end_fields};

/* What a container owes after its end. */
struct hooks_due {
    char run[33];
    char *end; /* JSON of a hook_end, NULL while it runs */
};

/* Everything that the hooks of one phase are told; the same for all of them. */
struct telling {
    char *state; /* JSON */
    char **env;
};

static void telling_done(struct telling *t)
{
    free(t->state);
    strv_free(t->env);
}

static void put_end(struct telling *t, const struct hook_end *x)
{
    strv_pushf(&t->env, "POUCH_EXIT_CODE=%lld", (long long)x->exit_code);
    strv_pushf(&t->env, "POUCH_EXIT_SIGNAL=%lld", (long long)x->signal);
    strv_pushf(&t->env, "POUCH_OOM_KILLED=%s", x->oom_killed ? "true" : "false");
    strv_pushf(&t->env, "POUCH_STOP_REQUESTED=%s", x->stop_requested ? "true" : "false");
    strv_pushf(&t->env, "POUCH_ERROR=%s", x->error ? x->error : "");
}

/* status: of the OCI state; pid 0: there is none. */
static void tell(struct container *c, const struct container_definition *def, enum hook_phase phase,
                 const char *status, pid_t pid, const struct hook_end *end, struct telling *t)
{
    AUTOPTR(container_view) struct container_view *v = container_get_view(c);
    AUTOFREE char *bundle = container_state_dir(c->en, c->id);
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {.out = &b};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ociVersion", OCI_RUNTIME_SPEC_VERSION);
    jsonw_str(&w, "id", c->id);
    jsonw_str(&w, "status", status);
    if (pid > 0)
        jsonw_int(&w, "pid", pid);
    jsonw_str(&w, "bundle", bundle);
    jsonw_map(&w, "annotations", &def->host_config.annotations);
    jsonw_begin(&w, "pouch");
    jsonw_str(&w, "hook", phase_names[phase]);
    jsonw_str(&w, "name", v->name);
    jsonw_str(&w, "image", def->image_ref);
    jsonw_map(&w, "labels", &def->config.labels);
    jsonw_int(&w, "restartCount", v->restart_count);
    if (end)
        jsonw_obj(&w, "end", &end_json, end);
    jsonw_end(&w);
    jsonw_end(&w);
    t->state = buf_take(&b);
    strv_push(&t->env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    strv_pushf(&t->env, "POUCH_HOOK=%s", phase_names[phase]);
    strv_pushf(&t->env, "POUCH_CONTAINER_ID=%s", c->id);
    strv_pushf(&t->env, "POUCH_CONTAINER_NAME=%s", v->name);
    strv_pushf(&t->env, "POUCH_CONTAINER_IMAGE=%s", def->image_ref);
    strv_pushf(&t->env, "POUCH_CONTAINER_BUNDLE=%s", bundle);
    if (pid > 0) {
        strv_pushf(&t->env, "POUCH_CONTAINER_PID=%d", (int)pid);
        strv_pushf(&t->env, "POUCH_CONTAINER_ROOTFS=/proc/%d/root", (int)pid);
    }
    if (end)
        put_end(t, end);
    if (strlen(t->state) < STATE_ENV_MAX)
        strv_pushf(&t->env, "POUCH_HOOK_STATE=%s", t->state);
}

static int64_t timeout_of(const struct container_definition *def)
{
    return def->host_config.hook_timeout ? def->host_config.hook_timeout : HOOK_TIMEOUT_DEFAULT;
}

/* --- one phase at a time, and who may cut it short --------------------------------------------------------- */

struct phase {
    struct container *c;
    const struct container_definition *def;
    enum hook_phase which;
    struct telling told;
    int cancel; /* eventfd */
};

static int phase_begin(struct phase *p, struct error *e)
{
    p->cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->cancel < 0)
        return error_set_errno(e, errno, "cannot run the %s hooks", phase_names[p->which]);
    (void)pthread_mutex_lock(&p->c->mutex);
    p->c->hook_phase = p->which;
    p->c->hook_cancel = p->cancel;
    p->c->hook_aborted = false;
    (void)pthread_mutex_unlock(&p->c->mutex);
    workers_block(p->c->en->workers, 1);
    return 0;
}

static void phase_end(struct phase *p)
{
    if (p->cancel >= 0) {
        workers_block(p->c->en->workers, -1);
        (void)pthread_mutex_lock(&p->c->mutex);
        p->c->hook_phase = HOOKS_IDLE;
        p->c->hook_cancel = -EBADF;
        (void)pthread_mutex_unlock(&p->c->mutex);
        (void)close(p->cancel);
    }
    telling_done(&p->told);
}

static void cancel_locked(struct container *c)
{
    static const uint64_t one = 1;

    if (c->hook_cancel >= 0)
        (void)!write(c->hook_cancel, &one, sizeof(one));
}

static bool take_cancel(const struct phase *p)
{
    uint64_t n;

    return read(p->cancel, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

static bool was_aborted(struct container *c)
{
    bool aborted;

    (void)pthread_mutex_lock(&c->mutex);
    aborted = c->hook_aborted;
    (void)pthread_mutex_unlock(&c->mutex);
    return aborted || atomic_load(&c->en->closing);
}

bool hooks_abort_start(struct container *c)
{
    bool was;

    (void)pthread_mutex_lock(&c->mutex);
    was = c->hook_phase == HOOKS_PRESTART;
    if (was || c->hook_phase == HOOKS_POSTSTART) {
        c->hook_aborted = true;
        if (was)
            c->stop_requested = true; /* no restart by policy either */
        cancel_locked(c);
    }
    while (was && c->op == OP_START)
        (void)pthread_cond_wait(&c->cond, &c->mutex);
    (void)pthread_mutex_unlock(&c->mutex);
    return was;
}

bool hooks_kill_poststop(struct container *c)
{
    bool was;

    (void)pthread_mutex_lock(&c->mutex);
    was = c->hook_phase == HOOKS_POSTSTOP;
    if (was)
        cancel_locked(c);
    (void)pthread_mutex_unlock(&c->mutex);
    return was;
}

void hooks_await_poststop(struct container *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    while (c->hooks_due && c->hooks_due->end && c->op == OP_EXIT && !atomic_load(&c->en->closing))
        (void)pthread_cond_wait(&c->cond, &c->mutex);
    (void)pthread_mutex_unlock(&c->mutex);
}

void hooks_close(struct container *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    cancel_locked(c);
    (void)pthread_cond_broadcast(&c->cond);
    (void)pthread_mutex_unlock(&c->mutex);
}

/* --- running one hook of a start ----------------------------------------------------------------------------- */

static int run_on_host(struct phase *p, struct hook *h, struct hook_report *ret, struct error *e)
{
    struct hook_command command = {.host = true, .args = h->args};
    struct hooks_request req = {.id = p->c->id,
                                .timeout = timeout_of(p->def),
                                .hooks = {&command, 1},
                                .env = p->told.env,
                                .state = p->told.state};
    struct hooks_run *run = NULL;
    int r = hooks_run_start(p->c->en->monitor_program, &req, NULL, 0, &run, e);

    if (r < 0)
        return r;
    for (r = -EAGAIN; r == -EAGAIN;) {
        struct pollfd fds[2] = {{hooks_run_fd(run), POLLIN, 0}, {p->cancel, POLLIN, 0}};

        (void)poll(fds, 2, (int)((req.timeout + GRACE_S) * 1000));
        if (fds[1].revents && take_cancel(p))
            hooks_run_kill(run);
        r = hooks_run_read(run, ret);
        if (r == -EAGAIN && !fds[0].revents && !fds[1].revents)
            r = -ETIMEDOUT;
    }
    hooks_run_free(run);
    return r == 1 ? 0 : error_set(e, ERR_INTERNAL, "the process that runs it died");
}

/* The exit code of an exec whose output has ended: a moment may pass until it is known. */
static int exec_code(struct monitor *m, const char *exec_id)
{
    for (int i = 0; i < 200; i++) {
        struct monitor_exec_state st;

        if (monitor_exec_get_state(m, exec_id, &st, NULL) < 0)
            break; /* the container is gone, and its processes */
        if (!st.running)
            return st.exit_code;
        (void)usleep(5000);
    }
    return 137;
}

/* Hears the exec's output to its end. */
static void attend_exec(struct phase *p, struct monitor *m, const char *exec_id, int fd,
                        struct hook_report *ret)
{
    int64_t end = time_monotonic_ns() + timeout_of(p->def) * NSEC_PER_SEC;
    size_t got = 0;
    char data[4096];
    ssize_t n = 1;

    while (n > 0) {
        struct pollfd fds[2] = {{fd, POLLIN, 0}, {ret->flags ? -1 : p->cancel, POLLIN, 0}};
        int64_t left = (end - time_monotonic_ns()) / NSEC_PER_MSEC;
        int ready = poll(fds, 2, left > 0 ? (int)left + 1 : 0);

        if (fds[1].revents && take_cancel(p))
            ret->flags |= HOOK_ABORTED;
        else if (ready == 0 && !ret->flags)
            ret->flags |= HOOK_TIMED_OUT;
        else if (ready == 0)
            break; /* it was killed: what cannot be killed is not waited for */
        if (ret->flags && left > -1000000) {
            (void)!monitor_exec_kill(m, exec_id, NULL);
            end = time_monotonic_ns() + 2 * NSEC_PER_SEC;
        }
        if (!fds[0].revents)
            continue;
        n = read(fd, data, sizeof(data));
        if (n > 0)
            got = hook_output_keep(ret->output, sizeof(ret->output), got, data, (size_t)n);
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    ret->exit_code = exec_code(m, exec_id);
    if (ret->exit_code > 128)
        ret->signal = ret->exit_code - 128;
}

/* As root of the container, with the container's rights; its environment and the hook's. */
static int run_inside(struct phase *p, struct monitor *m, struct hook *h, struct hook_report *ret,
                      struct error *e)
{
    struct exec_config config = {.cmd = h->args,
                                 .user = (char *)(uintptr_t) "0",
                                 .working_dir = (char *)(uintptr_t) "/"};
    struct monitor_exec_params mp = {0};
    AUTOPTR(strv) char **env = NULL;
    AUTOFREE char *process = NULL;
    AUTOFD int ours = -EBADF;
    char exec_id[MONITOR_ID_MAX + 1] = "hook-";
    pid_t pid = 0;
    int fds[2];
    int r;

    for (size_t i = 1; p->told.env[i]; i++) /* but PATH, which is the container's */
        if (!str_has_prefix(p->told.env[i], "POUCH_CONTAINER_ROOTFS="))
            strv_push(&env, p->told.env[i]);
    strv_push(&env, "POUCH_CONTAINER_ROOTFS=/");
    config.env = env;
    random_hex(exec_id + strlen(exec_id), 16);
    r = spec_exec_process(p->c, &config, &process, e);
    if (r == 0)
        r = engine_seccomp(p->c->en, &p->def->host_config, &mp.seccomp_bpf, &mp.seccomp_len, e);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    ours = fds[0];
    mp.exec_id = exec_id;
    mp.at_gate = p->which == HOOKS_PRESTART;
    mp.process_json = process;
    mp.attach.client_fd = fds[1];
    mp.attach.detach_keys = "";
    mp.attach.flags = MONITOR_STDIN | MONITOR_STDOUT | MONITOR_STDERR | MONITOR_RAW;
    mp.attach.early = p->told.state;
    mp.attach.early_len = strlen(p->told.state);
    r = monitor_exec_start(m, &mp, &pid, e);
    (void)close(fds[1]);
    if (r < 0)
        return r;
    (void)shutdown(ours, SHUT_WR); /* the state is all its input */
    attend_exec(p, m, exec_id, ours, ret);
    return 0;
}

/* All hooks of a phase of the start, in order. text: why one failed; the caller frees it. */
static int run_list(struct phase *p, struct monitor *m, char **ret_text)
{
    struct hook_list list = hooks_of(p->def, p->which);

    for (size_t i = 0; i < list.len; i++) {
        AUTOFREE char *what = xasprintf("%s hook \"%.200s\"", phase_names[p->which], list.texts[i]);
        CLEANUP(error_done) struct error e = ERROR_INIT;
        struct hook_report report = {.index = (uint32_t)i};
        struct hook h = {0};
        int r = hook_parse(list.texts[i], &h, &e);

        if (r == 0 && was_aborted(p->c))
            r = error_set(&e, ERR_CONFLICT, "the container is being stopped");
        if (r == 0)
            r = h.host ? run_on_host(p, &h, &report, &e) : run_inside(p, m, &h, &report, &e);
        hook_done(&h);
        *ret_text = r < 0 ? xasprintf("%s could not be run: %s", what, error_message(&e))
                          : hook_report_text(&report, what);
        if (*ret_text) {
            char code[16];

            (void)snprintf(code, sizeof(code), "%d", (int)report.exit_code);
            events_container(p->c, "hook_failed", "hook", list.texts[i], "phase",
                             phase_names[p->which], "exitCode", code, "error", *ret_text, NULL);
            return -EIO;
        }
    }
    return 0;
}

int hooks_prestart(struct start_context *ctx, struct error *e)
{
    struct phase p = {.c = ctx->c, .def = ctx->def, .which = HOOKS_PRESTART, .cancel = -EBADF};
    AUTOFREE char *text = NULL;
    int r = 0;

    if (has_hooks(ctx->def, HOOKS_POSTSTOP)) {
        struct hooks_due *due = xcalloc(1, sizeof(*due));

        random_hex(due->run, 16);
        r = store_exec(ctx->c->en->store, e,
                       "INSERT OR REPLACE INTO hooks VALUES (?, 'due', ?, NULL)", "ss", ctx->c->id,
                       due->run);
        if (r < 0) {
            free(due);
            return r;
        }
        hooks_forget(ctx->c);
        (void)pthread_mutex_lock(&ctx->c->mutex);
        ctx->c->hooks_due = due;
        (void)pthread_mutex_unlock(&ctx->c->mutex);
    }
    if (!has_hooks(ctx->def, HOOKS_PRESTART))
        return 0;
    tell(ctx->c, ctx->def, HOOKS_PRESTART, "created", monitor_init_pid(ctx->monitor), NULL,
         &p.told);
    r = phase_begin(&p, e);
    if (r == 0 && run_list(&p, ctx->monitor, &text) < 0)
        r = was_aborted(ctx->c)
                ? error_set(e, ERR_CONFLICT, "the start was ended by a stop: %s", text)
                : error_set(e, ERR_INVALID, "%s", text);
    phase_end(&p);
    return r;
}

void hooks_poststart(struct container *c, const struct container_definition *def)
{
    struct phase p = {.c = c, .def = def, .which = HOOKS_POSTSTART, .cancel = -EBADF};
    CLEANUP(error_done) struct error e = ERROR_INIT;
    AUTOFREE char *text = NULL;
    struct live *live = NULL;
    pid_t pid;

    if (!has_hooks(def, HOOKS_POSTSTART))
        return;
    (void)pthread_mutex_lock(&c->mutex);
    live = c->live ? live_ref(c->live) : NULL;
    pid = c->pid;
    (void)pthread_mutex_unlock(&c->mutex);
    tell(c, def, HOOKS_POSTSTART, "running", pid, NULL, &p.told);
    if (!live)
        text = xstrdup("the container has ended already");
    else if (phase_begin(&p, &e) < 0)
        text = xstrdup(error_message(&e));
    else
        (void)!run_list(&p, live->monitor, &text);
    phase_end(&p);
    live_unref(live);
    if (!text)
        return;
    log_warn("poststart hook failed", "id=%s error=\"%s\"", c->id, text);
    (void)pthread_mutex_lock(&c->mutex);
    strv_push(&c->warnings, text);
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
}

/* --- poststop: on record ------------------------------------------------------------------------------------- */

int hooks_migrate(struct store *s, struct error *e)
{
    static const char *const migrations[] = {
        /* state: due (it runs, or ended and nothing was done yet), running, done */
        "CREATE TABLE hooks (id TEXT PRIMARY KEY, state TEXT NOT NULL, run TEXT NOT NULL, end TEXT)"
        " WITHOUT ROWID",
        NULL,
    };

    return store_migrate(s, "hooks", migrations, e);
}

int hooks_load(struct engine *en, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(en->store, &rows, e, "SELECT id, run, end FROM hooks WHERE state != 'done'",
                        "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        struct container *c;

        (void)pthread_mutex_lock(&en->mutex);
        c = map_get(en->by_id, store_col_str(&rows, 0));
        (void)pthread_mutex_unlock(&en->mutex);
        if (!c)
            continue; /* only this thread is at work yet: nobody removes it meanwhile */
        c->hooks_due = xcalloc(1, sizeof(*c->hooks_due));
        (void)snprintf(c->hooks_due->run, sizeof(c->hooks_due->run), "%s", store_col_str(&rows, 1));
        c->hooks_due->end = xstrdup_or_null(store_col_str(&rows, 2));
    }
    return r < 0 ? r : 0;
}

void hooks_forget(struct container *c)
{
    struct hooks_due *due;

    (void)pthread_mutex_lock(&c->mutex);
    due = take_ptr(c->hooks_due);
    (void)pthread_mutex_unlock(&c->mutex);
    if (due)
        free(due->end);
    free(due);
}

void hooks_removed(struct container *c)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);

    if (has_hooks(def, HOOKS_POSTSTOP))
        (void)!store_exec(c->en->store, NULL, "DELETE FROM hooks WHERE id = ?", "s", c->id);
}

bool hooks_owed(struct container *c)
{
    bool owed;

    (void)pthread_mutex_lock(&c->mutex);
    owed = c->hooks_due != NULL;
    (void)pthread_mutex_unlock(&c->mutex);
    return owed;
}

static void set_state(struct container *c, const char *state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;

    if (store_exec(c->en->store, &e, "UPDATE hooks SET state = ? WHERE id = ?", "ss", state,
                   c->id) < 0)
        log_error("state of the hooks not saved", "id=%s error=\"%s\"", c->id, error_message(&e));
}

void hooks_note_end(struct container *c, const struct monitor_exit *x)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct hook_end end = {.exit_code = x->exit_code,
                           .signal = x->signal,
                           .oom_killed = x->oom_killed,
                           .started = x->started_ns,
                           .finished = x->exited_ns ? x->exited_ns : time_now_ns(),
                           .error = (char *)(uintptr_t)x->error};
    AUTOFREE char *text = NULL;
    bool owed;

    (void)pthread_mutex_lock(&c->mutex);
    end.oom_killed |= c->oom_killed;
    end.stop_requested = c->stop_requested;
    if (!end.started)
        end.started = c->started;
    owed = c->hooks_due && !c->hooks_due->end;
    if (owed) {
        c->hooks_due->end = json_print_str(&end_json, &end);
        text = xstrdup(c->hooks_due->end);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    if (owed && store_exec(c->en->store, &e, "UPDATE hooks SET end = ? WHERE id = ?", "ss", text,
                           c->id) < 0)
        log_error("end of the container not saved for its hooks", "id=%s error=\"%s\"", c->id,
                  error_message(&e));
}

/* --- poststop: running ------------------------------------------------------------------------------------------ */

/* "<state>/h/<id>": the bundle of hooks inside. */
static char *hook_bundle(const struct container *c)
{
    return xasprintf("%s/h/%s", c->en->state, c->id);
}

static char *hook_cgroup(struct container *c)
{
    AUTOFREE char *cgroup = container_cgroup(c);

    return xasprintf("%s.hook", cgroup);
}

static void remove_bundle(struct container *c)
{
    AUTOFREE char *bundle = hook_bundle(c);
    AUTOFREE char *cgroup = hook_cgroup(c);

    (void)!cgroup_kill(cgroup, NULL);
    (void)!cgroup_remove(cgroup, NULL);
    (void)!fs_remove_tree(AT_FDCWD, bundle);
}

static int make_request(struct phase *p, struct hooks_due *due, struct hooks_request *req,
                        struct error *e)
{
    struct hook_list list = hooks_of(p->def, HOOKS_POSTSTOP);

    req->id = xstrdup(p->c->id);
    req->timeout = timeout_of(p->def);
    req->env = strv_copy(p->told.env);
    req->state = xstrdup(p->told.state);
    req->progress = xasprintf("%s/poststop", p->def->dir);
    req->run = xstrdup(due->run);
    for (size_t i = 0; i < list.len; i++) {
        struct hook_command *command = json_list_add(&req->hooks, sizeof(*command));
        struct hook h = {0};
        int r = hook_parse(list.texts[i], &h, e);

        if (r < 0)
            return r;
        command->host = h.host;
        command->args = h.args;
    }
    return 0;
}

static void report_poststop(struct container *c, const struct container_definition *def,
                            const struct hook_report *report)
{
    struct hook_list list = hooks_of(def, HOOKS_POSTSTOP);
    const char *hook = report->index < list.len ? list.texts[report->index] : "?";
    AUTOFREE char *what = xasprintf("poststop hook \"%.200s\"", hook);
    AUTOFREE char *text = hook_report_text(report, what);
    char code[16];

    if (!text)
        return;
    (void)snprintf(code, sizeof(code), "%d", (int)report->exit_code);
    log_warn("poststop hook failed", "id=%s error=\"%s\"", c->id, text);
    events_container(c, "hook_failed", "hook", hook, "phase", "poststop", "exitCode", code, "error",
                     text, NULL);
}

/* One runner, to its end. 0: all hooks are done; 1: pouchd ends; -errno: it died or hangs. */
static int attend_runner(struct phase *p, const struct hooks_request *req, struct hooks_run *run)
{
    /* A runner before it may still have all hooks to do, of which nothing is heard here. */
    int64_t patience = (int64_t)(req->hooks.len + 1) * req->timeout + GRACE_S;
    int wait_ms = patience < INT_MAX / 1000 ? (int)patience * 1000 : INT_MAX;

    for (;;) {
        struct pollfd fds[2] = {{hooks_run_fd(run), POLLIN, 0}, {p->cancel, POLLIN, 0}};
        struct hook_report report;
        int ready = poll(fds, 2, wait_ms);
        int r;

        if (atomic_load(&p->c->en->closing))
            return 1;
        if (fds[1].revents && take_cancel(p))
            hooks_run_kill(run);
        r = hooks_run_read(run, &report);
        if (r == 1)
            report_poststop(p->c, p->def, &report);
        else if (r != -EAGAIN)
            return r;
        else if (ready == 0)
            return -ETIMEDOUT;
    }
}

static int run_poststop(struct phase *p, struct hooks_due *due)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    AUTOFREE char *bundle = hook_bundle(p->c);
    AUTOFREE char *cgroup = hook_cgroup(p->c);
    struct hooks_request req = {0};
    const void *bpf = NULL;
    size_t bpf_len = 0;
    int r = make_request(p, due, &req, &e);

    if (r == 0 && hooks_after_end(p->def)) {
        r = start_hook_bundle(p->c, p->def, bundle, cgroup, &e);
        if (r == 0)
            r = engine_seccomp(p->c->en, &p->def->host_config, &bpf, &bpf_len, &e);
        if (r == 0)
            req.bundle = xstrdup(bundle);
        else
            log_warn("poststop hooks in the container cannot be run", "id=%s error=\"%s\"",
                     p->c->id, error_message(&e));
        error_done(&e);
    }
    r = -EAGAIN;
    for (int i = 0; i < RUNNER_TRIES && r < 0; i++) {
        struct hooks_run *run = NULL;

        r = hooks_run_start(p->c->en->monitor_program, &req, bpf, bpf_len, &run, &e);
        if (r == 0)
            r = attend_runner(p, &req, run);
        hooks_run_free(run);
        if (r < 0)
            log_warn("the process that runs poststop hooks died", "id=%s error=\"%s\"", p->c->id,
                     e.code ? error_message(&e) : strerror(-r));
        error_done(&e);
    }
    json_free(&hooks_request_json, &req);
    return r;
}

bool hooks_poststop(struct container *c)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    struct phase p = {.c = c, .def = def, .which = HOOKS_POSTSTOP, .cancel = -EBADF};
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct hook_end end = {.exit_code = 255};
    struct hooks_due *due;
    int r;

    (void)pthread_mutex_lock(&c->mutex);
    due = c->hooks_due; /* the claim is ours: nobody else takes it away */
    (void)pthread_mutex_unlock(&c->mutex);
    if (!due)
        return true;
    if (atomic_load(&c->en->closing))
        return false;
    if (due->end)
        (void)!json_parse(&end_json, due->end, strlen(due->end), &end, NULL);
    else
        end.error = xstrdup("the start was cut off");
    set_state(c, "running");
    tell(c, def, HOOKS_POSTSTOP, "stopped", 0, &end, &p.told);
    r = phase_begin(&p, &e);
    if (r == 0)
        r = run_poststop(&p, due);
    phase_end(&p);
    json_free(&end_json, &end);
    if (r == 1)
        return false;
    if (r < 0)
        log_error("poststop hooks given up", "id=%s error=\"%s\"", c->id,
                  e.code ? error_message(&e) : strerror(-r));
    set_state(c, "done");
    remove_bundle(c);
    hooks_forget(c);
    return true;
}
