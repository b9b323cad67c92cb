/* SPDX-License-Identifier: Apache-2.0 */
/* Containers in the database: the definition once as JSON, the state in columns. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"

static const char *const migrations[] = {
    "CREATE TABLE containers ("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, definition TEXT NOT NULL,"
    " status TEXT NOT NULL, pid INTEGER NOT NULL, exit_code INTEGER NOT NULL,"
    " oom_killed INTEGER NOT NULL, error TEXT, started INTEGER NOT NULL,"
    " finished INTEGER NOT NULL, restart_count INTEGER NOT NULL,"
    " stop_requested INTEGER NOT NULL) WITHOUT ROWID",
    "ALTER TABLE containers ADD COLUMN pending TEXT",
    NULL,
};

/* volume_mounts is read as a json_list: both are {pointer, length}. */
_Static_assert(offsetof(struct volume_mounts, len) == offsetof(struct json_list, len) &&
                   sizeof(struct volume_mounts) == sizeof(struct json_list),
               "volume_mounts must have the layout of json_list");

static const struct json_field definition_fields[] = {
    JSON_FIELD(struct container_definition, created, "Created", JSON_INT, 0),
    JSON_FIELD(struct container_definition, image_id, "ImageID", JSON_STR, 0),
    JSON_FIELD(struct container_definition, image_ref, "ImageRef", JSON_STR, 0),
    JSON_FIELD_SUB(struct container_definition, config, "Config", JSON_OBJ, 0,
                   &container_config_json),
    JSON_FIELD_SUB(struct container_definition, host_config, "HostConfig", JSON_OBJ, 0,
                   &host_config_json),
    JSON_FIELD_SUB(struct container_definition, networking, "NetworkingConfig", JSON_OBJ, 0,
                   &networking_config_json),
    JSON_FIELD_SUB(struct container_definition, mounts, "Mounts", JSON_OBJ_LIST, 0,
                   &volume_mount_json),
    JSON_FIELD(struct container_definition, path, "Path", JSON_STR, 0),
    JSON_FIELD(struct container_definition, args, "Args", JSON_STRV, 0),
    JSON_FIELD(struct container_definition, driver, "Driver", JSON_STR, 0),
    JSON_FIELD(struct container_definition, platform, "Platform", JSON_STR, 0),
    JSON_FIELD(struct container_definition, log_path, "LogPath", JSON_STR, 0),
    JSON_FIELD(struct container_definition, dir, "Dir", JSON_STR, 0),
    JSON_END,
};
const struct json_desc container_definition_json = {"container",
                                                    sizeof(struct container_definition),
                                                    definition_fields};

int record_migrate(struct store *s, struct error *e)
{
    return store_migrate(s, "containers", migrations, e);
}

struct container_definition *container_def_copy(const struct container_definition *def)
{
    struct container_definition *copy = container_def_new();

    /* json_copy() overwrites the whole struct. */
    json_copy(&container_definition_json, copy, def);
    atomic_init(&copy->refs, 1);
    (void)memcpy(copy->id, def->id, sizeof(copy->id));
    return copy;
}

int container_redefine(struct container *c, struct container_definition *next, struct error *e)
{
    return container_redefine_pending(c, next, NULL, e);
}

int container_redefine_pending(struct container *c, struct container_definition *next,
                               const char *pending, struct error *e)
{
    AUTOFREE char *text = json_print_str(&container_definition_json, next);
    int r = store_exec(c->en->store, e,
                       "UPDATE containers SET definition = ?, pending = ? WHERE id = ?", "sss",
                       text, pending, c->id);
    struct container_definition *old;

    if (r >= 0) {
        (void)pthread_mutex_lock(&c->mutex);
        old = c->def_now;
        c->def_now = next;
        next = old;
        container_publish(c);
        (void)pthread_mutex_unlock(&c->mutex);
    }
    container_def_free(next);
    return r < 0 ? r : 0;
}

int record_pending(struct container *c, const char *pending, struct error *e)
{
    int r = store_exec(c->en->store, e, "UPDATE containers SET pending = ? WHERE id = ?", "ss",
                       pending, c->id);

    return r < 0 ? r : 0;
}

int record_insert(struct engine *en, struct container *c, struct error *e)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    AUTOFREE char *text = json_print_str(&container_definition_json, def);
    int r =
        store_exec(en->store, e,
                   "INSERT INTO containers VALUES (?, ?, ?, ?, 0, 0, 0, NULL, 0, 0, 0, 0, NULL)",
                   "ssss", c->id, c->name, text, container_status_name(c->status));

    return r < 0 ? r : 0;
}

int record_update(struct container *c, struct error *e)
{
    AUTOPTR(container_view) struct container_view *v = container_get_view(c);
    int64_t stop_requested;
    int r;

    (void)pthread_mutex_lock(&c->mutex);
    stop_requested = c->stop_requested;
    (void)pthread_mutex_unlock(&c->mutex);
    r = store_exec(c->en->store, e,
                   "UPDATE containers SET name = ?, status = ?, pid = ?, exit_code = ?,"
                   " oom_killed = ?, error = ?, started = ?, finished = ?, restart_count = ?,"
                   " stop_requested = ? WHERE id = ?",
                   "ssiiisiiiis", v->name, container_status_name(v->status), (int64_t)v->pid,
                   v->exit_code, (int64_t)v->oom_killed, v->error, v->started, v->finished,
                   v->restart_count, stop_requested, v->def->id);
    return r < 0 ? r : 0;
}

int record_delete(struct engine *en, const char *id, struct error *e)
{
    int r = store_exec(en->store, e, "DELETE FROM containers WHERE id = ?", "s", id);

    return r < 0 ? r : 0;
}

static enum container_status status_of(const char *name)
{
    for (int i = 0; i < CONTAINER_STATUS_MAX; i++)
        if (STREQ(container_status_name((enum container_status)i), name))
            return (enum container_status)i;
    return CONTAINER_DEAD;
}

static struct container *container_of_row(struct engine *en, const struct store_rows *rows,
                                          struct error *e)
{
    struct container_definition *def = container_def_new();
    const char *id = store_col_str(rows, 0);
    const char *text = store_col_str(rows, 2);
    struct container *c;

    if (json_parse(&container_definition_json, text, strlen(text), def, e) < 0) {
        error_add(e, "the database's record of container %s", id);
        container_def_free(def);
        return NULL;
    }
    atomic_init(&def->refs, 1); /* json_parse() has overwritten it */
    (void)strncpy(def->id, id, sizeof(def->id) - 1);
    c = container_new(en, def, store_col_str(rows, 1));
    c->status = status_of(store_col_str(rows, 3));
    c->pid = (pid_t)store_col_int(rows, 4);
    c->exit_code = store_col_int(rows, 5);
    c->oom_killed = store_col_int(rows, 6) != 0;
    c->error = xstrdup_or_null(store_col_str(rows, 7));
    c->started = store_col_int(rows, 8);
    c->finished = store_col_int(rows, 9);
    c->restart_count = store_col_int(rows, 10);
    c->stop_requested = store_col_int(rows, 11) != 0;
    c->pending_change = xstrdup_or_null(store_col_str(rows, 12));
    return c;
}

int record_load(struct engine *en, void (*each)(struct engine *, struct container *),
                struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r =
        store_query(en->store, &rows, e,
                    "SELECT id, name, definition, status, pid, exit_code, oom_killed, error,"
                    " started, finished, restart_count, stop_requested, pending FROM containers",
                    "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        CLEANUP(error_done) struct error bad = ERROR_INIT;
        struct container *c = container_of_row(en, &rows, &bad);

        /* One damaged record must not keep all the others from running. */
        if (c) {
            each(en, c);
        } else {
            log_error("container record skipped", "error=\"%s\"", error_message(&bad));
            strv_push(&en->unread, store_col_str(&rows, 0));
        }
    }
    return r < 0 ? r : 0;
}
