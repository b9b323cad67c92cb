/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing a container that may run. All of a request or nothing: first every part checks its
 * share, then the new version of the definition goes on record together with the one before, then
 * the parts make it true, in the order of the table. When one fails, what was done is undone and
 * the old version is in force again. A pouchd killed in between leaves the record: the next one
 * completes the change, or takes it back.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"

static const struct update_part parts[] = {
    {"config", update_config_check, NULL, false},
    {"rich environment", rich_update_check, rich_update_env, false},
    {"restart policy", update_restart_check, NULL, false},
    {"limits", update_limits_check, update_limits_apply, false},
    {"devices", update_devices_check, update_devices_apply, false},
    {"network", update_network_check, update_network_apply, false},
    {"ports", update_ports_check, update_ports_apply, false},
    {"disk quota", quota_update_check, quota_update_apply, true},
    /* Its check comes last: it makes volumes. */
    {"mounts", update_mounts_check, update_mounts_apply, false},
};

/* The note that goes on record beside the new version. */
struct pending_update {
    char *op; /* "update" */
    struct container_definition previous;
};
static const struct json_field pending_fields[] = {
    JSON_FIELD(struct pending_update, op, "Op", JSON_STR, JSON_REQUIRED),
    JSON_FIELD_SUB(struct pending_update, previous, "Previous", JSON_OBJ, 0,
                   &container_definition_json),
    JSON_END,
};
static const struct json_desc pending_json = {"pending update", sizeof(struct pending_update),
                                              pending_fields};

static char *pending_text(const struct container_definition *old)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {.out = &out};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Op", "update");
    jsonw_obj(&w, "Previous", &container_definition_json, old);
    jsonw_end(&w);
    return buf_take(&out);
}

static bool applies(const struct update_context *u, const struct update_part *p)
{
    return p->apply && (u->live || p->when_stopped);
}

/* The parts before `n`, backwards, from the new version to the old. */
static void take_back(struct update_context *u, size_t n, const struct container_definition *from,
                      const struct container_definition *to)
{
    u->again = true;
    while (n-- > 0) {
        CLEANUP(error_done) struct error e = ERROR_INIT;

        if (applies(u, &parts[n]) && parts[n].apply(u, from, to, &e) < 0 &&
            !(u->live && live_has_ended(u->live))) /* what has ended took it along */
            log_error("part of an update could not be taken back", "id=%s part=\"%s\" error=\"%s\"",
                      u->c->id, parts[n].name, error_message(&e));
    }
}

/* What a cut-off update was about to write is not this one's. */
static void forget_hosts(const struct container_definition *def)
{
    AUTOFREE char *path = xasprintf("%s/" UPDATE_HOSTS_FILE, def->dir);

    (void)unlink(path);
}

static int apply_all(struct update_context *u, const struct container_definition *from,
                     const struct container_definition *to, struct error *e)
{
    size_t i;
    int r = 0;

    for (i = 0; r >= 0 && i < ARRAY_SIZE(parts); i++) {
        if (!applies(u, &parts[i]))
            continue;
        r = parts[i].apply(u, from, to, e);
        log_debug("update part", "id=%.12s part=\"%s\" result=%d", u->c->id, parts[i].name, r);
    }
    if (r < 0) /* the part that failed may have done half of its work */
        take_back(u, i, to, from);
    return r < 0 ? r : 0;
}

/* Back to the old version, on record and for readers. */
static void restore(struct container *c, const struct container_definition *old)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;

    if (container_redefine(c, container_def_copy(old), &e) < 0)
        log_error("a failed update is still on record", "id=%s error=\"%s\"", c->id,
                  error_message(&e));
}

static int run_update(struct update_context *u, struct error *e)
{
    const struct container_definition *to;
    AUTOFREE char *pending = NULL;
    bool live = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        r = parts[i].check(u, e);
        live |= applies(u, &parts[i]);
    }
    if (r < 0)
        return r;
    if (live)
        pending = pending_text(u->old);
    r = container_redefine_pending(u->c, take_ptr(u->next), pending, e);
    if (r < 0)
        return r;
    u->now = to = container_def_ref(u->c);
    if (!live)
        return 0;
    forget_hosts(to);
    r = apply_all(u, u->old, to, e);
    if (r < 0)
        restore(u->c, u->old);
    else if (record_pending(u->c, NULL, NULL) < 0)
        log_warn("a completed update is still on record as under way", "id=%s", u->c->id);
    return r;
}

int engine_update(struct engine *en, const char *ref, const struct container_update *update,
                  char ***ret_warnings, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOPTR(container_def) const struct container_definition *old = NULL;
    AUTOPTR(strv) char **warnings = NULL;
    AUTOFREE char *cgroup = NULL;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    enum container_status status;
    int r = container_find(en, ref, &c, e);

    if (r == 0)
        r = container_claim(c, OP_UPDATE, e);
    if (r < 0)
        return r;
    struct update_context u = {.c = c, .update = update, .warnings = &warnings};

    (void)pthread_mutex_lock(&c->mutex);
    status = c->status;
    u.live = c->live ? live_ref(c->live) : NULL;
    (void)pthread_mutex_unlock(&c->mutex);
    u.old = old = container_def_ref(c);
    u.next = container_def_copy(old);
    u.cgroup = cgroup = container_cgroup(c);
    if (status == CONTAINER_REMOVING || status == CONTAINER_DEAD)
        r = error_set(e, ERR_CONFLICT, "container %s is marked for removal and cannot be updated",
                      c->id);
    else
        r = run_update(&u, &why);
    if (r < 0 && u.live && (why.code == ERR_INTERNAL || why.code == ERR_TIMEOUT) &&
        live_has_ended(u.live))
        r = error_set(e, ERR_CONFLICT,
                      "container %s ended while it was updated: nothing was changed", c->id);
    else if (why.code)
        error_move(e, &why);
    if (r < 0)
        update_mounts_abandon(&u);
    else
        update_mounts_release(&u, old, u.now);
    volume_mounts_done(&u.added);
    container_def_free(u.next);
    container_def_free(u.now);
    live_unref(u.live);
    container_release_claim(c);
    if (r < 0)
        return r;
    events_container(c, "update", NULL);
    *ret_warnings = take_ptr(warnings);
    return 0;
}

/* --- after a restart of pouchd --------------------------------------------------------------------- */

void update_recover(struct container *c)
{
    AUTOFREE char *text = take_ptr(c->pending_change);
    AUTOFREE char *cgroup = container_cgroup(c);
    AUTOPTR(container_def) const struct container_definition *to = container_def_ref(c);
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct pending_update p = {0};
    struct update_context u = {.c = c, .cgroup = cgroup, .again = true};

    if (!text)
        return;
    if (json_parse(&pending_json, text, strlen(text), &p, &e) < 0) {
        log_error("an update that was cut off cannot be read", "id=%s error=\"%s\"", c->id,
                  error_message(&e));
        (void)record_pending(c, NULL, NULL);
        return;
    }
    (void)memcpy(p.previous.id, c->id, sizeof(c->id));
    u.old = &p.previous;
    u.live = c->live ? live_ref(c->live) : NULL;
    if (apply_all(&u, &p.previous, to, &e) < 0) {
        log_warn("an update that was cut off is taken back", "id=%s error=\"%s\"", c->id,
                 error_message(&e));
        restore(c, &p.previous);
    } else {
        (void)record_pending(c, NULL, NULL);
        log_info("an update that was cut off is complete", "id=%s", c->id);
    }
    forget_hosts(to);
    live_unref(u.live);
    json_free(&pending_json, &p);
}
