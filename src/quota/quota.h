/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk budgets. A budget is an id, a limit, and the places (folders) that share it; it belongs to an
 * owner, a container or a volume, and has a name among the owner's budgets (`rule`).
 *
 * Ids are at least 2^24+1 and come from the database: an id is on record before the kernel hears of
 * it and until the kernel has forgotten it, and one that the file system knows from elsewhere is
 * never given out.
 *
 * Any thread; calls for the same owner wait for each other. All block on the disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/quotaspec.h"
#include "store/store.h"
#include "sys/quota.h"

struct quota_manager;

/* driver: "auto" (also NULL, ""), "none" or a driver's name. ERR_INVALID lists the names. `root` is the
 * engine's folder. Takes mounts away that a killed pouchd left on volumes it was removing. */
int quota_open(struct store *store, const char *root, const char *driver,
               struct quota_manager **ret, struct error *e) MUST_CHECK;
/* unmount: nothing runs any more, so file systems in images are unmounted. */
void quota_close(struct quota_manager *q, bool unmount);

enum quota_place_kind {
    QUOTA_PLACE_OWN,    /* a folder that is made with the budget and goes with it */
    QUOTA_PLACE_VOLUME, /* the content of a volume: an empty one may be replaced */
    QUOTA_PLACE_HOST,   /* a folder of the host's: stays as it is */
    QUOTA_PLACE_MAX
};
struct quota_place {
    char *path;
    int64_t kind;
};

/*
 * The name of the driver that would limit this folder (or one that is to be made there): "project",
 * "btrfs", "image". ERR_NOT_SUPPORTED when quota is off or the driver asked for cannot.
 */
int quota_driver_for(const struct quota_manager *q, const char *path, const char **ret,
                     struct error *e) MUST_CHECK;

struct quota_request {
    const char *owner;
    const char *rule;
    int64_t id; /* 0: from the pool; else this one, also when others have it */
    struct quota_limit limit;
    const struct quota_place *places;
    size_t nplaces;
};
/*
 * Makes the budget true: on record, limit set, places made or marked. On failure nothing is left.
 * ERR_NOT_SUPPORTED and ERR_INVALID say what is not possible and the way out. A budget that is there
 * already gets the limit of the request, at once and live, and the places that it lacks; its id and
 * its driver stay.
 */
int quota_make(struct quota_manager *q, const struct quota_request *req, uint32_t *ret_id,
               struct error *e) MUST_CHECK;

/* Is all of the owner's in force (mounted, marked, limited)? Mends what is not: after a reboot, or when
 * a place was replaced. Costs nothing for an owner without budgets. */
int quota_ensure(struct quota_manager *q, const char *owner, struct error *e) MUST_CHECK;

/*
 * Gives the owner's budget of that name (NULL: all) back: places of kind OWN are removed with all in
 * them, the others lose their mark, the kernel forgets the limit, the id is free. What could not be
 * done stays on record for quota_sweep(). moved_to: the content of a volume that is being removed is
 * there now (NULL: where it was).
 */
int quota_release(struct quota_manager *q, const char *owner, const char *rule,
                  const char *moved_to, struct error *e) MUST_CHECK;

/*
 * The same for what is not the owner's own (volumes, folders of the host), which others may want at
 * once; the rest stays. Costs nothing for an owner without budgets.
 */
int quota_release_shared(struct quota_manager *q, const char *owner, struct error *e) MUST_CHECK;

/*
 * While the engine prepares a start it writes into the container's folder, which may be full: on lends
 * it a little, off takes that back. To be off again before anything of the container runs.
 */
int quota_lend(struct quota_manager *q, const char *owner, bool on, struct error *e) MUST_CHECK;

/* The owner's budgets: names and limits as they are in force. The caller frees each rule, driver and
 * the list. */
struct quota_info {
    char *rule;
    char *driver;
    uint32_t id;
    struct quota_limit limit;
    bool has_own; /* the owner's own folder is in it */
};
size_t quota_list(struct quota_manager *q, const char *owner, struct quota_info **ret);
void quota_list_free(struct quota_info *list, size_t n);
bool quota_has(struct quota_manager *q, const char *owner);
/* There is no budget at all. */
bool quota_is_off(struct quota_manager *q);
/* Project quota of ext4 does not hold processes with CAP_SYS_RESOURCE. (Writes through overlayfs are
 * made without that capability.) */
bool quota_is_passed_by_root(const char *path);

/* What is used of a budget. */
int quota_usage(struct quota_manager *q, const char *owner, const char *rule,
                struct quota_usage *ret, struct error *e) MUST_CHECK;

/* At start, when all owners are known: gives back what belongs to nobody, mounts images again.
 * Returns how many budgets were given back. */
int quota_sweep(struct quota_manager *q, bool (*is_live)(const char *owner, void *data),
                void *data);
