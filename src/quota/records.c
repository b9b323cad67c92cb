/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets in the database, and their picture in memory: a start must not have to ask SQLite. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "quota/quota-priv.h"

static const char *const migrations[] = {
    "CREATE TABLE quota_budgets ("
    " owner TEXT NOT NULL, rule TEXT NOT NULL, id INTEGER NOT NULL, driver TEXT NOT NULL,"
    " bytes INTEGER NOT NULL, inodes INTEGER NOT NULL, anchor TEXT NOT NULL, places TEXT NOT NULL,"
    " PRIMARY KEY (owner, rule)) WITHOUT ROWID",
    NULL,
};

static const struct json_field place_fields[] = {
    JSON_FIELD(struct quota_place, path, "Path", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct quota_place, kind, "Kind", JSON_INT, 0),
    JSON_END,
};
static const struct json_desc place_json = {"place", sizeof(struct quota_place), place_fields};
static const struct json_field places_fields[] = {
    JSON_FIELD_SUB(struct quota_budget, places, "Places", JSON_OBJ_LIST, 0, &place_json),
    JSON_END,
};
static const struct json_desc places_json = {"places", sizeof(struct quota_budget), places_fields};

void quota_budget_done(struct quota_budget *b)
{
    struct quota_place *p = b->places.items;

    free(b->owner);
    free(b->rule);
    free(b->anchor);
    for (size_t i = 0; i < b->places.len; i++)
        free(p[i].path);
    free(p);
    *b = (struct quota_budget){0};
}

void quota_budgets_free(struct quota_budget *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        quota_budget_done(&list[i]);
    free(list);
}

void quota_budget_copy(struct quota_budget *to, const struct quota_budget *from)
{
    *to = *from;
    to->owner = xstrdup(from->owner);
    to->rule = xstrdup(from->rule);
    to->anchor = xstrdup(from->anchor);
    to->places = (struct json_list){0};
    for (size_t i = 0; i < from->places.len; i++) {
        struct quota_place *p = json_list_add(&to->places, sizeof(*p));

        *p = *quota_place(from, i);
        p->path = xstrdup(p->path);
    }
}

/* --- the list -------------------------------------------------------------------------------------- */

static struct quota_budget **find_locked(struct quota_manager *q, const char *owner,
                                         const char *rule)
{
    for (size_t i = 0; i < q->len; i++)
        if (STREQ(q->budgets[i]->owner, owner) && STREQ(q->budgets[i]->rule, rule))
            return &q->budgets[i];
    return NULL;
}

static void list_add(struct quota_manager *q, const struct quota_budget *b)
{
    struct quota_budget *copy = xcalloc(1, sizeof(*copy));

    quota_budget_copy(copy, b);
    (void)pthread_mutex_lock(&q->mutex);
    q->budgets = xreallocarray(q->budgets, q->len + 1, sizeof(struct quota_budget *));
    q->budgets[q->len++] = copy;
    (void)pthread_mutex_unlock(&q->mutex);
}

static void list_remove(struct quota_manager *q, const struct quota_budget *b)
{
    struct quota_budget *old = NULL;
    struct quota_budget **at;

    (void)pthread_mutex_lock(&q->mutex);
    at = find_locked(q, b->owner, b->rule);
    if (at) {
        old = *at;
        *at = q->budgets[--q->len];
    }
    (void)pthread_mutex_unlock(&q->mutex);
    if (old)
        quota_budget_done(old);
    free(old);
}

size_t quota_records_find(struct quota_manager *q, const char *owner, const char *rule,
                          struct quota_budget **ret)
{
    struct quota_budget *list = NULL;
    size_t n = 0;

    (void)pthread_mutex_lock(&q->mutex);
    for (size_t i = 0; i < q->len; i++) {
        const struct quota_budget *b = q->budgets[i];

        if ((owner && !STREQ(b->owner, owner)) || (rule && !STREQ(b->rule, rule)))
            continue;
        list = xreallocarray(list, n + 1, sizeof(*list));
        quota_budget_copy(&list[n++], b);
    }
    (void)pthread_mutex_unlock(&q->mutex);
    *ret = list;
    return n;
}

bool quota_records_shared(struct quota_manager *q, const struct quota_budget *b)
{
    bool shared = false;

    (void)pthread_mutex_lock(&q->mutex);
    for (size_t i = 0; i < q->len; i++)
        shared |= q->budgets[i]->id == b->id &&
                  !(STREQ(q->budgets[i]->owner, b->owner) && STREQ(q->budgets[i]->rule, b->rule));
    (void)pthread_mutex_unlock(&q->mutex);
    return shared;
}

char *quota_records_holder(struct quota_manager *q, const char *path, uint32_t except_id)
{
    char *owner = NULL;

    (void)pthread_mutex_lock(&q->mutex);
    for (size_t i = 0; !owner && i < q->len; i++) {
        const struct quota_budget *b = q->budgets[i];

        for (size_t j = 0; !owner && b->id != except_id && j < b->places.len; j++)
            if (STREQ(quota_place(b, j)->path, path))
                owner = xstrdup(b->owner);
    }
    (void)pthread_mutex_unlock(&q->mutex);
    return owner;
}

/* --- the pool -------------------------------------------------------------------------------------- */

static bool id_taken_locked(const struct quota_manager *q, uint32_t id)
{
    for (size_t i = 0; i < q->len; i++)
        if (q->budgets[i]->id == id)
            return true;
    return false;
}

/* The next id that no record has. Going round the whole range before one comes again gives the
 * kernel all the time in the world to forget it. */
static uint32_t next_id(struct quota_manager *q)
{
    uint32_t id;

    (void)pthread_mutex_lock(&q->mutex);
    do {
        if (q->next_id <= QUOTASPEC_ID_MIN || q->next_id >= QUOTASPEC_ID_MAX)
            q->next_id = (uint32_t)QUOTASPEC_ID_MIN + 1;
        id = q->next_id++;
    } while (id_taken_locked(q, id));
    (void)pthread_mutex_unlock(&q->mutex);
    return id;
}

/* --- the database ------------------------------------------------------------------------------------ */

static int insert(struct quota_manager *q, const struct quota_budget *b, struct error *e)
{
    AUTOFREE char *places = json_print_str(&places_json, b);
    int r = store_exec(q->store, e, "INSERT INTO quota_budgets VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                       "ssisiiss", b->owner, b->rule, (int64_t)b->id, b->driver->name,
                       (int64_t)b->limit.bytes, (int64_t)b->limit.inodes, b->anchor, places);

    return r < 0 ? r : 0;
}

int quota_records_add(struct quota_manager *q, struct quota_budget *b, struct error *e)
{
    int r;

    if (b->id == 0) {
        /* An id that another engine, or an administrator, uses on this file system is passed by. */
        do {
            b->id = next_id(q);
        } while (b->driver->is_used(q->root, b));
    }
    r = insert(q, b, e);
    if (r == 0)
        list_add(q, b);
    return r;
}

int quota_records_set(struct quota_manager *q, const struct quota_budget *b, struct error *e)
{
    AUTOFREE char *places = json_print_str(&places_json, b);
    int r = store_exec(q->store, e,
                       "UPDATE quota_budgets SET bytes = ?, inodes = ?, places = ?"
                       " WHERE owner = ? AND rule = ?",
                       "iisss", (int64_t)b->limit.bytes, (int64_t)b->limit.inodes, places, b->owner,
                       b->rule);

    if (r < 0)
        return r;
    list_remove(q, b);
    list_add(q, b);
    return 0;
}

int quota_records_remove(struct quota_manager *q, const struct quota_budget *b, struct error *e)
{
    int r = store_exec(q->store, e, "DELETE FROM quota_budgets WHERE owner = ? AND rule = ?", "ss",
                       b->owner, b->rule);

    if (r < 0)
        return r;
    list_remove(q, b);
    return 0;
}

static int load_row(struct quota_manager *q, const struct store_rows *rows, struct error *e)
{
    struct quota_budget b = {
        .id = (uint32_t)store_col_int(rows, 2),
        .driver = quota_driver_named(store_col_str(rows, 3)),
        .limit = {.bytes = (uint64_t)store_col_int(rows, 4),
                  .inodes = (uint64_t)store_col_int(rows, 5)},
    };
    const char *places = store_col_str(rows, 7);
    int r = json_parse(&places_json, places, strlen(places), &b, e);

    if (r < 0) {
        error_add(e, "the database's record of the disk budget of %s", store_col_str(rows, 0));
        return r;
    }
    if (!b.driver) {
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "the disk budget of %s has the driver %s, which this version does not have",
                      store_col_str(rows, 0), store_col_str(rows, 3));
    } else {
        b.owner = xstrdup(store_col_str(rows, 0));
        b.rule = xstrdup(store_col_str(rows, 1));
        b.anchor = xstrdup(store_col_str(rows, 6));
        list_add(q, &b);
        if (b.id >= q->next_id)
            q->next_id = b.id + 1;
    }
    quota_budget_done(&b);
    return r;
}

int quota_records_load(struct quota_manager *q, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_migrate(q->store, "quota", migrations, e);

    if (r == 0)
        r = store_query(q->store, &rows, e,
                        "SELECT owner, rule, id, driver, bytes, inodes, anchor, places"
                        " FROM quota_budgets",
                        "");
    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        r = load_row(q, &rows, e);
        if (r < 0)
            return r;
    }
    return r;
}
