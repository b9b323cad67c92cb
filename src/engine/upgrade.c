/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another image under a container that keeps everything else. The way there is on record step by
 * step beside the definition (column `pending`), so that a pouchd killed anywhere leaves enough for
 * the next one to go on or to go back:
 *
 *   stop      the old one is being ended                       → goes back: it is started again
 *   layer     its writable layer is being set aside            → goes back
 *   start     the new definition is in force, to be started    → goes on
 *   verify    it runs, and has to stay up or become healthy    → goes on (looks again), or back
 *   commit    it is good: the old layer goes                   → goes on
 *   back      the old definition and layer are being put back  → goes on with that
 *
 * Nothing of the old container is removed before `commit` is on record; the new one's layer and
 * volumes go with `back`. Meanwhile container.upgrading keeps every other operation and the restart
 * policy away; claims are held only for the steps themselves, so that ends can be handled.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"
#include "engine/health.h"

enum upgrade_health { UPGRADE_NO_CHECK, UPGRADE_STARTING, UPGRADE_HEALTHY, UPGRADE_UNHEALTHY };

#define DEFAULT_GRACE    3
#define POLL_MS          100
#define HEALTH_LIMIT_MAX (3600 * NSEC_PER_SEC)

/* What is on record. */
struct upgrade {
    char *op; /* "upgrade" */
    char *step;
    bool running; /* it ran, and is to run again */
    struct container_definition previous, next;
    struct json_list added; /* volumes of the new image: of volume_mount */
    char *ip, *ip6, *mac;
    int64_t grace;
    struct opt_int stop_timeout, health_timeout;
};

/* volume_mounts is read as a json_list: both are {pointer, length} (record.c asserts it). */
static const struct json_field upgrade_fields[] = {
    JSON_FIELD(struct upgrade, op, "Op", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct upgrade, step, "Step", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct upgrade, running, "Running", JSON_BOOL, 0),
    JSON_FIELD_SUB(struct upgrade, previous, "Previous", JSON_OBJ, 0, &container_definition_json),
    JSON_FIELD_SUB(struct upgrade, next, "Next", JSON_OBJ, 0, &container_definition_json),
    JSON_FIELD_SUB(struct upgrade, added, "Added", JSON_OBJ_LIST, 0, &volume_mount_json),
    JSON_FIELD(struct upgrade, ip, "IP", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct upgrade, ip6, "IP6", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct upgrade, mac, "MAC", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct upgrade, grace, "Grace", JSON_INT, 0),
    JSON_FIELD(struct upgrade, stop_timeout, "StopTimeout", JSON_OPT_INT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct upgrade, health_timeout, "HealthTimeout", JSON_OPT_INT, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc upgrade_json = {"pending upgrade", sizeof(struct upgrade),
                                              upgrade_fields};

static void upgrade_done(struct upgrade *up)
{
    json_free(&upgrade_json, up);
}

int upgrade_check(struct container *c, struct error *e)
{
    bool busy;

    (void)pthread_mutex_lock(&c->mutex);
    busy = c->upgrading;
    (void)pthread_mutex_unlock(&c->mutex);
    if (busy)
        return error_set(e, ERR_CONFLICT, "container %s is being upgraded, try again later", c->id);
    return 0;
}

/* --- steps on record ---------------------------------------------------------------------------------- */

static int note_step(struct container *c, struct upgrade *up, const char *step, struct error *e)
{
    AUTOFREE char *text = NULL;

    str_replace(&up->step, step);
    text = json_print_str(&upgrade_json, up);
    return record_pending(c, text, e);
}

/* The step together with the definition that is in force from it on. */
static int note_definition(struct container *c, struct upgrade *up, const char *step,
                           const struct container_definition *def, struct error *e)
{
    AUTOFREE char *text = NULL;
    struct container_definition *copy = container_def_copy(def);

    str_replace(&up->step, step);
    text = json_print_str(&upgrade_json, up);
    (void)memcpy(copy->id, c->id, sizeof(c->id));
    return container_redefine_pending(c, copy, text, e);
}

/* Under way: nobody else does anything to it, both images are in use. */
static void begin(struct container *c, const struct upgrade *up)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->upgrading = true;
    str_replace(&c->upgrade_images[0], up->previous.image_id);
    str_replace(&c->upgrade_images[1], up->next.image_id);
    (void)snprintf(c->keep_address.ip, sizeof(c->keep_address.ip), "%s", up->ip ? up->ip : "");
    (void)snprintf(c->keep_address.ip6, sizeof(c->keep_address.ip6), "%s", up->ip6 ? up->ip6 : "");
    (void)snprintf(c->keep_address.mac, sizeof(c->keep_address.mac), "%s", up->mac ? up->mac : "");
    (void)pthread_mutex_unlock(&c->mutex);
}

static void end(struct container *c, const char *unused_image)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->upgrading = false;
    str_replace(&c->upgrade_images[0], NULL);
    str_replace(&c->upgrade_images[1], NULL);
    (void)memset(&c->keep_address, 0, sizeof(c->keep_address));
    (void)pthread_cond_broadcast(&c->cond);
    (void)pthread_mutex_unlock(&c->mutex);
    image_released(c->en->images, unused_image);
}

static bool is_live(struct container *c)
{
    bool live;

    (void)pthread_mutex_lock(&c->mutex);
    live = c->live != NULL;
    (void)pthread_mutex_unlock(&c->mutex);
    return live;
}

static int stop_it(struct container *c, const struct upgrade *up, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r = container_stop(c, NULL, up->stop_timeout, &why);

    if (r < 0 && why.code != ERR_NOT_MODIFIED) {
        error_move(e, &why);
        return r;
    }
    return 0;
}

/* --- back ------------------------------------------------------------------------------------------------ */

/* It could not even be put back (a process stuck in the kernel, a disk that fails): the record stays,
 * the next pouchd tries again; until then the user may look after it, or remove it. */
static int give_up(struct container *c, int r)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->upgrading = false;
    (void)pthread_cond_broadcast(&c->cond);
    (void)pthread_mutex_unlock(&c->mutex);
    return r;
}

static bool same_definition(const struct container_definition *a,
                            const struct container_definition *b)
{
    AUTOFREE char *x = json_print_str(&container_definition_json, a);
    AUTOFREE char *y = json_print_str(&container_definition_json, b);

    return STREQ(x, y);
}

/* Puts the old one back in its place and, if it ran, starts it. */
static int go_back(struct container *c, struct upgrade *up, struct error *e)
{
    struct volume_mounts added = {.items = up->added.items, .len = up->added.len};
    AUTOPTR(container_def) const struct container_definition *now = container_def_ref(c);
    bool swapped = !same_definition(now, &up->previous);
    int r = note_step(c, up, "back", e);

    if (r == 0 && (swapped || !up->running))
        r = stop_it(c, up, e);
    if (r == 0)
        r = container_claim(c, OP_UPGRADE, e);
    if (r < 0)
        return give_up(c, r);
    /* Cut off before its end: the old one still runs, as nothing was taken from it. */
    if (!is_live(c)) {
        r = rootfs_put_back(c->en->rootfs, now->dir, e);
        if (r == 0)
            r = note_definition(c, up, "back", &up->previous, e);
        if (r < 0) {
            container_release_claim(c);
            return give_up(c, r);
        }
        if (up->running)
            r = container_start_claimed(c, e);
    }
    if (added.len && volume_mounts_release(c->en->volumes, c->id, &added, true, NULL) < 0)
        log_warn("volume left behind", "id=%s", c->id);
    (void)!record_pending(c, NULL, NULL);
    end(c, up->next.image_id);
    container_release_claim(c);
    return r;
}

/* Back, with the reason for the user. */
static int fail_back(struct container *c, struct upgrade *up, struct error *why, struct error *e)
{
    CLEANUP(error_done) struct error back = ERROR_INIT;
    int r = -why->errnum;
    const char *image = up->next.image_ref ? up->next.image_ref : "";

    log_warn("an upgrade is rolled back", "id=%s image=%s error=\"%s\"", c->id, image,
             error_message(why));
    if (go_back(c, up, &back) < 0)
        (void)error_set(e, why->code,
                        "container %s could not be upgraded to %s (%s) and did not start again "
                        "with its old image: %s",
                        c->name, image, error_message(why), error_message(&back));
    else
        (void)error_set(e, why->code, "container %s could not be upgraded to %s, %s: %s", c->name,
                        image, up->running ? "it runs again as before" : "it is as before",
                        error_message(why));
    return r < 0 ? r : -EIO;
}

/* --- health --------------------------------------------------------------------------------------------- */

/* What its health check says of the container that runs. */
static enum upgrade_health upgrade_health(struct container *c)
{
    switch (health_status(c)) {
    case HEALTH_STARTING:
        return UPGRADE_STARTING;
    case HEALTH_HEALTHY:
        return UPGRADE_HEALTHY;
    case HEALTH_UNHEALTHY:
        return UPGRADE_UNHEALTHY;
    default:
        return UPGRADE_NO_CHECK;
    }
}

/* How long it may take to become healthy, ns: as long as its own check may need to say no. */
static int64_t upgrade_health_limit(struct container *c, struct opt_int asked)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    const struct oci_healthcheck *h = def->config.healthcheck;
    int64_t each = 60 * NSEC_PER_SEC;
    int64_t limit;

    if (asked.set)
        return asked.value * NSEC_PER_SEC;
    if (!h)
        return each;
    each = (h->interval > 0 ? h->interval : 30 * NSEC_PER_SEC) +
           (h->timeout > 0 ? h->timeout : 30 * NSEC_PER_SEC);
    limit = h->start_period + each * ((h->retries > 0 ? h->retries : 3) + 1);
    return limit > HEALTH_LIMIT_MAX ? HEALTH_LIMIT_MAX : limit;
}

static int unhealthy(struct container *c, struct error *e)
{
    AUTOPTR(container_view) struct container_view *v = container_get_view(c);
    const struct health_state *h = v->health;
    const char *said = h && h->nlog ? h->log[h->nlog - 1].output : NULL;

    return error_set(e, ERR_CONFLICT, "the new container is unhealthy%s%.200s", said ? ": " : "",
                     said ? said : "");
}

/* --- the new one --------------------------------------------------------------------------------------- */

static int not_up(struct container *c, struct error *e)
{
    AUTOPTR(container_view) struct container_view *v = container_get_view(c);

    if (v->error && *v->error)
        return error_set(e, ERR_CONFLICT, "the new container ended at once: %s", v->error);
    return error_set(e, ERR_CONFLICT, "the new container ended at once, with exit code %lld%s",
                     (long long)v->exit_code, v->oom_killed ? " (out of memory)" : "");
}

/*
 * Stays it up? With a health check: until it is healthy. -ECANCELED when this pouchd ends: the next
 * one looks again.
 */
static int verify(struct container *c, const struct upgrade *up, struct error *e)
{
    int64_t start = time_monotonic_ns();
    int64_t grace = start + up->grace * NSEC_PER_SEC;
    int64_t limit = start + upgrade_health_limit(c, up->health_timeout);
    struct engine_wait *w = NULL;
    int r = engine_wait_begin(c->en, c->id, WAIT_NEXT_EXIT, &w, e);

    while (r == 0) {
        struct pollfd p = {.fd = engine_wait_fd(w), .events = POLLIN};
        enum upgrade_health health = upgrade_health(c);
        int64_t now = time_monotonic_ns();

        if (!is_live(c))
            r = not_up(c, e);
        else if (health == UPGRADE_UNHEALTHY)
            r = unhealthy(c, e);
        else if (health == UPGRADE_HEALTHY || (health == UPGRADE_NO_CHECK && now >= grace))
            break;
        else if (health == UPGRADE_STARTING && now >= limit)
            r = error_set(e, ERR_TIMEOUT, "the new container did not become healthy in %lld s",
                          (long long)((limit - start) / NSEC_PER_SEC));
        else if (atomic_load(&c->en->closing))
            r = error_set(e, ERR_UNAVAILABLE,
                          "pouchd ends: the upgrade goes on with its next start");
        else
            (void)poll(&p, 1, POLL_MS);
    }
    engine_wait_free(w);
    return r;
}

/* From `commit` on there is no way back. */
static int commit(struct container *c, struct upgrade *up, struct error *e)
{
    int r = container_claim(c, OP_UPGRADE, e);

    if (r < 0)
        return r;
    if (up->running && !STREQ(up->step, "commit") && !is_live(c))
        r = not_up(c, e);
    if (r == 0)
        r = note_step(c, up, "commit", e);
    if (r == 0) {
        CLEANUP(error_done) struct error left = ERROR_INIT;
        AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);

        if (rootfs_drop_aside(c->en->rootfs, def->dir, &left) < 0)
            log_error("the old writable layer is left", "id=%s error=\"%s\"", c->id,
                      error_message(&left));
        else
            (void)!record_pending(c, NULL, NULL);
        end(c, up->previous.image_id);
    }
    container_release_claim(c);
    if (r == 0)
        events_container(c, "upgrade", "oldImage", up->previous.image_ref, NULL);
    return r;
}

/* Steps `start`, `verify`, `commit`, from the one on record. */
static int go_on(struct container *c, struct upgrade *up, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r = 0;

    if (STREQ(up->step, "start") && up->running) {
        r = container_claim(c, OP_UPGRADE, &why);
        if (r == 0) {
            if (!is_live(c))
                r = container_start_claimed(c, &why);
            container_release_claim(c);
        }
        if (r == 0)
            r = note_step(c, up, "verify", &why);
    }
    if (r == 0 && up->running && !STREQ(up->step, "commit")) {
        r = verify(c, up, &why);
        if (r < 0 && atomic_load(&c->en->closing)) {
            error_move(e, &why);
            return r;
        }
    }
    if (r == 0)
        r = commit(c, up, &why);
    return r < 0 ? fail_back(c, up, &why, e) : 0;
}

/* --- the request ---------------------------------------------------------------------------------------- */

static int find_image(struct engine *en, const struct container_upgrade *request,
                      const struct container_definition *old, struct image **ret, struct error *e)
{
    int r;

    if (str_is_empty(request->image))
        return error_set(e, ERR_INVALID, "no image specified");
    r = image_resolve(en->images, request->image, ret, e);
    if (r == 0 && STREQ((*ret)->id, old->image_id) && !strv_len(request->cmd) &&
        !strv_len(request->entrypoint)) {
        r = error_set(e, ERR_CONFLICT, "image not changed: container %s has %s (%.19s) already",
                      old->id, request->image, (*ret)->id);
        image_unref(*ret);
        *ret = NULL;
    }
    return r;
}

/* The next version with everything it needs on disk; nothing of the container is touched. */
static int prepare(struct container *c, const struct container_definition *old,
                   const struct container_upgrade *request, struct upgrade *up, struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    AUTOPTR(image) struct image *old_image = NULL;
    AUTOPTR(container_def) const struct container_definition *keep = NULL;
    struct container_definition *next = NULL;
    struct volume_mounts added = {0};
    int r = find_image(c->en, request, old, &img, e);

    if (r == 0)
        r = engine_image_usable(c->en, &img, e);
    if (r < 0)
        return r;
    (void)!image_get(c->en->images, old->image_id, &old_image, NULL);
    r = upgrade_definition(old, old_image, img, request, &next, &added, e);
    if (r < 0)
        return r;
    keep = next;
    r = create_prepare_volumes(c->en, c->id, &added, img, NULL, NULL, e);
    if (r < 0) {
        volume_mounts_done(&added);
        return r;
    }
    next->mounts.items = xreallocarray(next->mounts.items, next->mounts.len + added.len + 1,
                                       sizeof(*next->mounts.items));
    for (size_t i = 0; i < added.len; i++)
        json_copy(&volume_mount_json, &next->mounts.items[next->mounts.len++], &added.items[i]);
    volume_mounts_sort(&next->mounts);
    up->added = (struct json_list){.items = added.items, .len = added.len};
    json_copy(&container_definition_json, &up->next, next);
    json_copy(&container_definition_json, &up->previous, old);
    return 0;
}

static void keep_addresses(struct container *c, struct upgrade *up)
{
    (void)pthread_mutex_lock(&c->mutex);
    if (c->has_endpoint && c->endpoint.ip[0]) {
        up->ip = xstrdup(c->endpoint.ip);
        up->ip6 = xstrdup(c->endpoint.ip6);
        up->mac = xstrdup(c->endpoint.mac);
    }
    (void)pthread_mutex_unlock(&c->mutex);
}

/* The claim is held: looks, prepares, and puts the first step on record. */
static int set_out(struct container *c, const struct container_upgrade *request, struct upgrade *up,
                   struct error *e)
{
    AUTOPTR(container_def) const struct container_definition *old = container_def_ref(c);
    struct volume_mounts added;
    enum container_status status;
    int r;

    (void)pthread_mutex_lock(&c->mutex);
    status = c->status;
    (void)pthread_mutex_unlock(&c->mutex);
    if (status == CONTAINER_REMOVING || status == CONTAINER_DEAD)
        return error_set(e, ERR_CONFLICT, "container is marked for removal and cannot be upgraded");
    up->op = xstrdup("upgrade");
    up->step = xstrdup("stop");
    up->running = status == CONTAINER_RUNNING || status == CONTAINER_PAUSED ||
                  status == CONTAINER_RESTARTING;
    up->grace = request->grace.set ? request->grace.value : DEFAULT_GRACE;
    up->stop_timeout = request->stop_timeout;
    up->health_timeout = request->health_timeout;
    if (up->grace < 0 || (up->health_timeout.set && up->health_timeout.value < 0))
        return error_set(e, ERR_INVALID, "the times of an upgrade must not be negative");
    r = prepare(c, old, request, up, e);
    if (r < 0)
        return r;
    keep_addresses(c, up);
    begin(c, up);
    /* The image may have been removed before it was known to be in use. */
    r = image_check_there(c->en->images, up->next.image_id, request->image, e);
    if (r == 0)
        r = note_step(c, up, "stop", e);
    if (r < 0) {
        added = (struct volume_mounts){.items = up->added.items, .len = up->added.len};
        (void)!volume_mounts_release(c->en->volumes, c->id, &added, true, NULL);
        end(c, up->next.image_id);
    }
    return r;
}

/* Steps `stop` and `layer`. */
static int swap(struct container *c, struct upgrade *up, struct error *e)
{
    int r = up->running ? stop_it(c, up, e) : 0;

    if (r == 0)
        r = container_claim(c, OP_UPGRADE, e);
    if (r < 0)
        return r;
    if (is_live(c))
        r = error_set(e, ERR_CONFLICT, "container %s was started meanwhile", c->id);
    if (r == 0)
        r = note_step(c, up, "layer", e);
    if (r == 0)
        r = rootfs_set_aside(c->en->rootfs, up->previous.dir, e);
    if (r == 0)
        r = note_definition(c, up, "start", &up->next, e);
    container_release_claim(c);
    return r;
}

int engine_upgrade(struct engine *en, const char *ref, const struct container_upgrade *request,
                   char ***ret_warnings, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    CLEANUP(upgrade_done) struct upgrade up = {0};
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int r = container_find(en, ref, &c, e);

    if (r == 0)
        r = upgrade_check(c, e);
    if (r == 0)
        r = container_claim(c, OP_UPGRADE, e);
    if (r < 0)
        return r;
    r = upgrade_check(c, e); /* two that waited for the claim */
    if (r == 0)
        r = set_out(c, request, &up, e);
    container_release_claim(c);
    if (r < 0)
        return r;
    r = swap(c, &up, &why);
    r = r < 0 ? fail_back(c, &up, &why, e) : go_on(c, &up, e);
    if (r == 0) {
        (void)pthread_mutex_lock(&c->mutex);
        *ret_warnings = strv_copy(c->warnings);
        (void)pthread_mutex_unlock(&c->mutex);
    }
    return r;
}

/* --- after a restart of pouchd -------------------------------------------------------------------------- */

bool upgrade_recover(struct container *c)
{
    CLEANUP(upgrade_done) struct upgrade up = {0};
    const char *text = c->pending_change;

    if (!text || json_parse(&upgrade_json, text, strlen(text), &up, NULL) < 0 ||
        !STREQ(up.op, "upgrade"))
        return false;
    begin(c, &up);
    return true;
}

static void resume(void *data)
{
    AUTOPTR(container) struct container *c = data;
    AUTOFREE char *text = take_ptr(c->pending_change);
    CLEANUP(upgrade_done) struct upgrade up = {0};
    CLEANUP(error_done) struct error e = ERROR_INIT;
    int r;

    if (!text || json_parse(&upgrade_json, text, strlen(text), &up, &e) < 0)
        return; /* upgrade_recover() has read it */
    (void)memcpy(up.previous.id, c->id, sizeof(c->id));
    (void)memcpy(up.next.id, c->id, sizeof(c->id));
    log_info("an upgrade that was cut off goes on", "id=%s step=%s", c->id, up.step);
    workers_block(c->en->workers, 1);
    if (STREQ(up.step, "start") || STREQ(up.step, "verify") || STREQ(up.step, "commit"))
        r = go_on(c, &up, &e);
    else
        r = go_back(c, &up, &e);
    workers_block(c->en->workers, -1);
    if (r < 0)
        log_error("an upgrade that was cut off", "id=%s error=\"%s\"", c->id, error_message(&e));
}

void upgrade_resume(struct container *c)
{
    workers_post(c->en->workers, resume, container_ref(c));
}
