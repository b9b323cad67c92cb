/* SPDX-License-Identifier: Apache-2.0 */
/* Container objects: references, claims, views, names, look-up, lists. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/health.h"
#include "engine/hooks.h"

static const char *const status_names[CONTAINER_STATUS_MAX] = {"created",    "running",  "paused",
                                                               "restarting", "removing", "exited",
                                                               "dead"};

const char *container_status_name(enum container_status s)
{
    assert(s < CONTAINER_STATUS_MAX);
    return status_names[s];
}

/* A view with its count; it holds one reference to the definition it shows. */
struct view_block {
    struct container_view view; /* first: container_view * is a view_block * */
    atomic_uint refs;
};

static struct view_block *block_of(struct container_view *v)
{
    return (struct view_block *)(void *)v;
}

struct container_view *container_view_ref(struct container_view *v)
{
    atomic_fetch_add(&block_of(v)->refs, 1);
    return v;
}

static void view_destroy(struct container_view *v)
{
    container_def_free(v->def);
    free(v->name);
    free(v->error);
    strv_free(v->exec_ids);
    strv_free(v->warnings);
    health_unref(v->health);
    network_endpoint_done(&v->endpoint);
    free(v);
}

void container_view_free(struct container_view *v)
{
    if (v && atomic_fetch_sub(&block_of(v)->refs, 1) == 1)
        view_destroy(v);
}

/* --- definitions: immutable versions, counted ------------------------------------------------- */

struct container_definition *container_def_new(void)
{
    struct container_definition *def = xcalloc(1, sizeof(*def));

    atomic_init(&def->refs, 1);
    return def;
}

const struct container_definition *container_def_ref(struct container *c)
{
    struct container_definition *def;

    (void)pthread_mutex_lock(&c->mutex);
    def = c->def_now;
    atomic_fetch_add(&def->refs, 1);
    (void)pthread_mutex_unlock(&c->mutex);
    return def;
}

void container_def_free(const struct container_definition *shared)
{
    /* The last holder may write: nobody else sees it. */
    struct container_definition *def = (struct container_definition *)(uintptr_t)shared;

    if (!def || atomic_fetch_sub(&def->refs, 1) > 1)
        return;
    free(def->image_id);
    free(def->image_ref);
    json_free(&container_config_json, &def->config);
    json_free(&host_config_json, &def->host_config);
    json_free(&networking_config_json, &def->networking);
    volume_mounts_done(&def->mounts);
    free(def->path);
    strv_free(def->args);
    free(def->driver);
    free(def->platform);
    free(def->log_path);
    free(def->dir);
    free(def);
}

struct container *container_new(struct engine *en, struct container_definition *def,
                                const char *name)
{
    struct container *c = xcalloc(1, sizeof(*c));
    pthread_condattr_t attr;

    c->refs = 1;
    c->en = en;
    (void)memcpy(c->id, def->id, sizeof(c->id));
    c->def_now = def;
    c->name = xstrdup(name);
    c->hook_cancel = -EBADF;
    (void)pthread_mutex_init(&c->mutex, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    return c;
}

struct container *container_ref(struct container *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void container_unref(struct container *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    assert(!c->waits && !c->live && !c->pending);
    container_view_free(c->view);
    hooks_forget(c);
    health_unref(c->health);
    network_endpoint_done(&c->endpoint);
    container_def_free(c->def_now);
    free(c->name);
    free(c->error);
    free(c->pending_change);
    free(c->upgrade_images[0]);
    free(c->upgrade_images[1]);
    strv_free(c->warnings);
    free(c->execs);
    (void)pthread_mutex_destroy(&c->mutex);
    (void)pthread_cond_destroy(&c->cond);
    free(c);
}

/* A new picture of the state, with one reference. c->mutex is held. */
static struct container_view *build_view(struct container *c)
{
    struct view_block *b = xcalloc(1, sizeof(*b));
    struct container_view *v = &b->view;

    b->refs = 1;
    atomic_fetch_add(&c->def_now->refs, 1);
    v->def = c->def_now;
    v->name = xstrdup(c->name);
    v->status = c->status;
    v->pid = c->pid;
    v->exit_code = c->exit_code;
    v->oom_killed = c->oom_killed;
    v->error = xstrdup_or_null(c->error);
    v->started = c->started;
    v->finished = c->finished;
    v->restart_count = c->restart_count;
    v->has_endpoint = c->has_endpoint;
    if (c->has_endpoint)
        network_endpoint_copy(&v->endpoint, &c->endpoint);
    v->warnings = strv_copy(c->warnings);
    v->health = health_ref(c->health);
    for (size_t i = 0; i < c->nexecs; i++)
        if (c->execs[i]->running)
            strv_push(&v->exec_ids, c->execs[i]->id);
    return v;
}

void container_publish(struct container *c)
{
    struct container_view *old = c->view;

    if (c->removed)
        return; /* nobody looks for it any more */
    c->view = build_view(c);
    container_view_free(old);
}

struct container_view *container_get_view(struct container *c)
{
    struct container_view *v;

    (void)pthread_mutex_lock(&c->mutex);
    if (!c->view)
        container_publish(c);
    v = c->view ? container_view_ref(c->view) : build_view(c);
    (void)pthread_mutex_unlock(&c->mutex);
    return v;
}

/* --- claims ----------------------------------------------------------------------------------- */

static const char *const op_texts[OP_MAX] = {"idle",          "being started",
                                             "being removed", "being paused or unpaused",
                                             "being renamed", "being cleaned up after its end",
                                             "being updated", "being upgraded"};

int container_claim(struct container *c, enum container_op op, struct error *e)
{
    int64_t deadline = time_monotonic_ns() + ENGINE_OP_DEADLINE_NS;
    struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC, .tv_nsec = deadline % NSEC_PER_SEC};
    int r = 0;

    (void)pthread_mutex_lock(&c->mutex);
    while (c->op != OP_NONE && r == 0 && !(c->upgrading && op != OP_EXIT && op != OP_UPGRADE) &&
           !(op == OP_REMOVE && c->op == OP_REMOVE)) {
        /* While it is upgraded only its own ends are in the way of the steps: they come to an end. */
        r = op == OP_EXIT || (op == OP_UPGRADE && c->upgrading)
                ? pthread_cond_wait(&c->cond, &c->mutex)
                : pthread_cond_timedwait(&c->cond, &c->mutex, &until);
    }
    if (c->removed)
        r = error_set(e, ERR_NOT_FOUND, "No such container: %s", c->id);
    else if (c->upgrading && op != OP_EXIT && op != OP_UPGRADE)
        r = error_set(e, ERR_CONFLICT, "container %s is being upgraded, try again later", c->id);
    else if (c->op == OP_REMOVE)
        r = error_set(e, ERR_CONFLICT, "removal of container %s is already in progress", c->id);
    else if (c->op != OP_NONE)
        r = error_set(e, ERR_CONFLICT, "container %s is %s, try again later", c->id,
                      op_texts[c->op]);
    else {
        c->op = op;
        r = 0;
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return r;
}

void container_release_claim(struct container *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->op = OP_NONE;
    (void)pthread_cond_broadcast(&c->cond);
    (void)pthread_mutex_unlock(&c->mutex);
}

/* --- waiters ------------------------------------------------------------------------------------ */

static void wake(struct engine_wait *w)
{
    static const uint64_t one = 1;

    w->done = true;
    (void)!write(w->fd, &one, sizeof(one));
}

static void finish_wait(struct engine_wait *w, const struct container *c)
{
    w->exit_code = c->exit_code;
    w->error = xstrdup_or_null(c->error);
    wake(w);
}

static bool holds_now(const struct engine_wait *w, const struct container *c, bool ended)
{
    switch (w->cond) {
    case WAIT_NOT_RUNNING:
        return c->status != CONTAINER_RUNNING && c->status != CONTAINER_PAUSED &&
               c->status != CONTAINER_RESTARTING;
    case WAIT_NEXT_EXIT:
        return ended || c->removed;
    default:
        return c->removed;
    }
}

/* Called after each end (status is no longer running) and after removal. */
void container_wake_waiters(struct container *c)
{
    for (struct engine_wait **p = &c->waits; *p;) {
        struct engine_wait *w = *p;

        if (holds_now(w, c, true)) {
            *p = w->next;
            finish_wait(w, c);
        } else {
            p = &w->next;
        }
    }
}

int engine_wait_begin(struct engine *en, const char *ref, enum wait_condition cond,
                      struct engine_wait **ret, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    struct container *c = NULL;
    struct engine_wait *w;
    int gone_code = 0;
    int r = container_find(en, ref, &c, &why);

    if (r < 0 && (cond != WAIT_REMOVED || !gone_find(en, ref, &gone_code))) {
        error_move(e, &why);
        return r;
    }
    w = xcalloc(1, sizeof(*w));
    w->cond = cond;
    w->container = c;
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->fd < 0) {
        r = error_set_errno(e, errno, "cannot wait for container %s", ref);
        container_unref(c);
        free(w);
        return r;
    }
    *ret = w;
    if (!c) {
        w->exit_code = gone_code;
        wake(w);
        return 0;
    }
    (void)pthread_mutex_lock(&c->mutex);
    if (holds_now(w, c, false)) {
        finish_wait(w, c);
    } else {
        w->next = c->waits;
        c->waits = w;
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return 0;
}

int engine_wait_fd(const struct engine_wait *w)
{
    return w->fd;
}

int64_t engine_wait_result(const struct engine_wait *w, const char **ret_error)
{
    int64_t code;

    *ret_error = NULL;
    if (!w->container)
        return w->exit_code;
    (void)pthread_mutex_lock(&w->container->mutex);
    *ret_error = w->error; /* set once: it stays while w does */
    code = w->exit_code;
    (void)pthread_mutex_unlock(&w->container->mutex);
    return code;
}

void engine_wait_free(struct engine_wait *w)
{
    struct container *c;

    if (!w)
        return;
    c = w->container;
    if (c) {
        (void)pthread_mutex_lock(&c->mutex);
        for (struct engine_wait **p = &c->waits; *p; p = &(*p)->next) {
            if (*p == w) {
                *p = w->next;
                break;
            }
        }
        (void)pthread_mutex_unlock(&c->mutex);
    }
    (void)close(w->fd);
    free(w->error);
    free(w);
    container_unref(c);
}

/* --- names and look-up -------------------------------------------------------------------------- */

/* In by_name for a name whose container is still being made. */
static struct container reserved_name;

int name_check(const char *name, struct error *e)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t n = strlen(name);

    if (n < 2 || n > 255 || !strchr(first, name[0]) || strspn(name, rest) != n)
        return error_set(e, ERR_INVALID,
                         "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
                         name);
    return 0;
}

int name_reserve(struct engine *en, const char *name, const char *id, struct error *e)
{
    struct container *owner;
    int r = 0;

    (void)id;
    (void)pthread_mutex_lock(&en->mutex);
    owner = map_get(en->by_name, name);
    if (owner)
        r = error_set(
            e, ERR_CONFLICT,
            "Conflict. The container name \"/%s\" is already in use by container \"%s\". "
            "You have to remove (or rename) that container to be able to reuse that name.",
            name, owner == &reserved_name ? "(being created)" : owner->id);
    else
        (void)map_set(en->by_name, name, &reserved_name);
    (void)pthread_mutex_unlock(&en->mutex);
    return r;
}

void name_unreserve(struct engine *en, const char *name)
{
    (void)pthread_mutex_lock(&en->mutex);
    (void)map_remove(en->by_name, name);
    (void)pthread_mutex_unlock(&en->mutex);
}

char *name_generate(struct engine *en)
{
    static const char *const adjectives[] = {
        "amber",  "bold",   "brave",  "bright",  "calm",   "clever", "cosy",   "eager",
        "early",  "fair",   "fast",   "gentle",  "glad",   "golden", "happy",  "honest",
        "humble", "jolly",  "keen",   "kind",    "lively", "lucky",  "mellow", "merry",
        "mild",   "neat",   "noble",  "patient", "plucky", "proud",  "quick",  "quiet",
        "ready",  "silver", "simple", "sleepy",  "smart",  "sturdy", "sunny",  "swift",
        "tidy",   "tiny",   "upbeat", "vivid",   "warm",   "wise",   "witty",  "young"};
    static const char *const animals[] = {
        "badger",  "beaver",  "bilby",    "bison",   "bobcat",  "crane",   "dingo",  "dolphin",
        "echidna", "falcon",  "ferret",   "finch",   "gecko",   "glider",  "heron",  "ibis",
        "jackal",  "jaguar",  "kangaroo", "kestrel", "koala",   "lark",    "lemur",  "lynx",
        "magpie",  "marten",  "mole",     "numbat",  "ocelot",  "opossum", "otter",  "owl",
        "panda",   "pelican", "plover",   "possum",  "quokka",  "quoll",   "robin",  "seal",
        "sparrow", "stork",   "swan",     "tapir",   "wallaby", "weasel",  "wombat", "wren"};
    unsigned char rnd[4];
    char hex[9];
    char *name = NULL;

    for (unsigned tries = 0;; tries++) {
        free(name);
        random_hex(hex, 4);
        for (int i = 0; i < 4; i++)
            (void)sscanf(hex + 2 * i, "%2hhx", &rnd[i]);
        name = xasprintf("%s_%s", adjectives[(rnd[0] | rnd[1] << 8) % ARRAY_SIZE(adjectives)],
                         animals[(rnd[2] | rnd[3] << 8) % ARRAY_SIZE(animals)]);
        if (tries > 3) {
            char *longer = xasprintf("%s%.*s", name, tries > 8 ? 8 : 3, hex);

            free(name);
            name = longer;
        }
        if (name_reserve(en, name, "", NULL) == 0)
            return name;
    }
}

void registry_add(struct engine *en, struct container *c)
{
    (void)pthread_mutex_lock(&en->mutex);
    (void)map_set(en->by_id, c->id, c);
    (void)map_set(en->by_name, c->name, c);
    (void)pthread_mutex_unlock(&en->mutex);
}

void registry_remove(struct engine *en, struct container *c)
{
    struct container_view *last;

    (void)pthread_mutex_lock(&en->mutex);
    (void)map_remove(en->by_id, c->id);
    if (map_get(en->by_name, c->name) == c)
        (void)map_remove(en->by_name, c->name);
    (void)pthread_mutex_unlock(&en->mutex);
    (void)pthread_mutex_lock(&c->mutex);
    last = take_ptr(c->view);
    (void)pthread_mutex_unlock(&c->mutex);
    container_view_free(last);
    container_unref(c);
}

/* By a unique id prefix. en->mutex is held. */
static struct container *find_by_prefix(struct engine *en, const char *ref, bool *ambiguous)
{
    struct container *found = NULL;
    const char *id;
    void *value;
    size_t pos = 0;

    *ambiguous = false;
    while (map_next(en->by_id, &pos, &id, &value)) {
        if (!str_has_prefix(id, ref))
            continue;
        if (found) {
            *ambiguous = true;
            return NULL;
        }
        found = value;
    }
    return found;
}

int container_find(struct engine *en, const char *ref, struct container **ret, struct error *e)
{
    const char *name = ref[0] == '/' ? ref + 1 : ref;
    struct container *c;
    bool ambiguous = false;

    if (!*name)
        return error_set(e, ERR_INVALID, "a container's name or id must not be empty");
    (void)pthread_mutex_lock(&en->mutex);
    c = map_get(en->by_id, ref);
    if (!c)
        c = map_get(en->by_name, name);
    if (c == &reserved_name)
        c = NULL;
    if (!c && strspn(ref, "0123456789abcdef") == strlen(ref))
        c = find_by_prefix(en, ref, &ambiguous);
    if (c)
        (void)container_ref(c);
    (void)pthread_mutex_unlock(&en->mutex);
    if (ambiguous)
        return error_set(e, ERR_INVALID, "Multiple IDs found with provided prefix: %s", ref);
    if (!c)
        return error_set(e, ERR_NOT_FOUND, "No such container: %s", ref);
    *ret = c;
    return 0;
}

int engine_inspect(struct engine *en, const char *ref, struct container_view **ret, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    int r = container_find(en, ref, &c, e);

    if (r == 0)
        *ret = container_get_view(c);
    return r;
}

/* The name that it had stays its own until the new one is on record: nobody else gets it before. */
static void set_name(struct container *c, const char *name)
{
    (void)pthread_mutex_lock(&c->en->mutex);
    (void)pthread_mutex_lock(&c->mutex);
    str_replace(&c->name, name);
    container_publish(c);
    (void)map_set(c->en->by_name, name, c);
    (void)pthread_mutex_unlock(&c->mutex);
    (void)pthread_mutex_unlock(&c->en->mutex);
}

int engine_rename(struct engine *en, const char *ref, const char *name, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOFREE char *old = NULL;
    int r = container_find(en, ref, &c, e);

    if (name[0] == '/')
        name++;
    if (r == 0)
        r = name_check(name, e);
    if (r == 0)
        r = container_claim(c, OP_RENAME, e);
    if (r < 0)
        return r;
    if (STREQ(c->name, name))
        r = error_set(e, ERR_INVALID,
                      "Renaming a container with the same name as its current name");
    if (r == 0)
        r = name_reserve(en, name, c->id, e);
    if (r == 0) {
        old = xstrdup(c->name);
        set_name(c, name);
        r = record_update(c, e);
        if (r < 0) /* a full disk, say: it has its old name as if nothing had been asked */
            set_name(c, old);
        name_unreserve(en, r < 0 ? name : old);
    }
    container_release_claim(c);
    if (r == 0)
        events_container(c, "rename", "oldName", old, NULL);
    return r;
}
