/* SPDX-License-Identifier: Apache-2.0 */
/* Inside quota/: budgets as the drivers see them, and the records. */
#pragma once

#include <pthread.h>

#include "quota/quota.h"

struct quota_driver;

/* One budget. In the manager's list it never changes in place: copies are worked on. */
struct quota_budget {
    char *owner;
    char *rule;
    uint32_t id;
    const struct quota_driver *driver;
    struct quota_limit limit;
    char *anchor;            /* a folder on the same file system that stays */
    struct json_list places; /* of quota_place */
};

/* A driver: one file drv-<name>.c, one line in the table in quota.c. */
struct quota_driver {
    const char *name;
    bool inodes; /* can limit the number of files */
    bool shares; /* several places, several owners with one id */
    /* Can it limit folders of the file system of `path` (which exists)? The error says why not. */
    int (*probe)(const char *path, struct error *e);
    /* Does the file system know the id already? */
    bool (*is_used)(const char *root, const struct quota_budget *b);
    /* Makes the budget true; what is true already is left alone, so this is also the check before a
     * start. */
    int (*make)(const char *root, const struct quota_budget *b, struct error *e);
    /* b->limit is the new one. */
    int (*change)(const char *root, const struct quota_budget *b, struct error *e);
    /* A little more than the limit while the engine itself prepares a start in a full folder, and back to
     * the limit; NULL: not needed. */
    int (*lend)(const char *root, const struct quota_budget *b, bool on, struct error *e);
    /* Undoes all of make(), also when only part of it was done. last: nobody else has this id. */
    int (*clear)(const char *root, const struct quota_budget *b, bool last, struct error *e);
    int (*usage)(const char *root, const struct quota_budget *b, struct quota_usage *ret,
                 struct error *e);
    /* The engine ends and nothing runs; NULL: nothing to do. */
    void (*park)(const char *root, const struct quota_budget *b);
};
extern const struct quota_driver quota_driver_project;
extern const struct quota_driver quota_driver_btrfs;
extern const struct quota_driver quota_driver_image;
const struct quota_driver *quota_driver_named(const char *name);

static inline const struct quota_place *quota_place(const struct quota_budget *b, size_t i)
{
    return (const struct quota_place *)b->places.items + i;
}

struct quota_manager {
    struct store *store;
    char *root;
    const char *setting;               /* "auto", "none", or the driver's name */
    const struct quota_driver *driver; /* NULL: auto or none */
    pthread_mutex_t mutex;
    pthread_cond_t cond; /* an owner was left */
    char **busy;         /* owners that are being worked on; under mutex, as the rest */
    struct quota_budget **budgets;
    size_t len;
    uint32_t next_id;
};

/* --- records.c --------------------------------------------------------------------------------------- */

int quota_records_load(struct quota_manager *q, struct error *e);
/* On record and in the list; b is copied. With b->id 0 an id from the pool is taken and put there. */
int quota_records_add(struct quota_manager *q, struct quota_budget *b, struct error *e);
/* Limit and places. */
int quota_records_set(struct quota_manager *q, const struct quota_budget *b, struct error *e);
int quota_records_remove(struct quota_manager *q, const struct quota_budget *b, struct error *e);
/* Copies of the owner's budgets (NULL: everyone's; rule NULL: all). Free with quota_budgets_free(). */
size_t quota_records_find(struct quota_manager *q, const char *owner, const char *rule,
                          struct quota_budget **ret);
/* Does another owner's budget have this id? */
bool quota_records_shared(struct quota_manager *q, const struct quota_budget *b);
/* Is this folder a place of another budget? Its owner (the caller frees it), or NULL. */
char *quota_records_holder(struct quota_manager *q, const char *path, uint32_t except_id);
void quota_budget_done(struct quota_budget *b);
void quota_budgets_free(struct quota_budget *list, size_t n);
void quota_budget_copy(struct quota_budget *to, const struct quota_budget *from);
