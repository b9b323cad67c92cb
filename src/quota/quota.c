/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets: which driver, in which order, and what is undone when something fails. */
#include "quota/quota.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "quota/quota-priv.h"

#define AUTO_SETTING "auto"
#define NONE_SETTING "none"

/* In the order in which "auto" tries them. */
static const struct quota_driver *const drivers[] = {
    &quota_driver_btrfs,
    &quota_driver_project,
    &quota_driver_image,
};

const struct quota_driver *quota_driver_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (STREQ(drivers[i]->name, name))
            return drivers[i];
    return NULL;
}

/* --- opening and closing --------------------------------------------------------------------------- */

/* A pouchd that was killed while it removed a volume in an image may have left the mount below the
 * new name; the volume store cannot remove that. */
static void drop_stray_mounts(const struct quota_manager *q)
{
    AUTOFREE char *text = NULL;
    AUTOFREE char *prefix = xasprintf("%s/volumes/.", q->root);
    char *line;
    char *rest;

    if (fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 64 << 20, &text, NULL) < 0)
        return;
    rest = text;
    while ((line = strsep(&rest, "\n"))) {
        char point[PATH_MAX];

        if (sscanf(line, "%*d %*d %*s %*s %4095s", point) == 1 && str_has_prefix(point, prefix) &&
            umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
            log_info("leftover mount removed", "path=%s", point);
    }
}

static bool any_image(struct quota_manager *q)
{
    bool any = false;

    (void)pthread_mutex_lock(&q->mutex);
    for (size_t i = 0; i < q->len; i++)
        any |= q->budgets[i]->driver == &quota_driver_image;
    (void)pthread_mutex_unlock(&q->mutex);
    return any;
}

static int find_setting(struct quota_manager *q, const char *name, struct error *e)
{
    AUTO(buf) struct buf known = BUF_INIT(4096);

    if (str_is_empty(name) || STREQ(name, AUTO_SETTING)) {
        q->setting = AUTO_SETTING;
        return 0;
    }
    if (STREQ(name, NONE_SETTING)) {
        q->setting = NONE_SETTING;
        return 0;
    }
    q->driver = quota_driver_named(name);
    if (q->driver) {
        q->setting = q->driver->name;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        (void)buf_printf(&known, "%s, ", drivers[i]->name);
    return error_set(e, ERR_INVALID, "unknown quota driver \"%s\" (there is: auto, %snone)", name,
                     buf_str(&known));
}

int quota_open(struct store *store, const char *root, const char *driver,
               struct quota_manager **ret, struct error *e)
{
    struct quota_manager *q = xcalloc(1, sizeof(*q));
    AUTOFREE char *real = realpath(root, NULL);
    int r;

    q->store = store;
    q->root = xstrdup(real ? real : root);
    (void)pthread_mutex_init(&q->mutex, NULL);
    (void)pthread_cond_init(&q->cond, NULL);
    r = find_setting(q, driver, e);
    if (r == 0)
        r = quota_records_load(q, e);
    if (r < 0) {
        quota_close(q, false);
        return r;
    }
    if (any_image(q))
        drop_stray_mounts(q);
    *ret = q;
    return 0;
}

void quota_close(struct quota_manager *q, bool unmount)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->len; i++) {
        if (unmount && q->budgets[i]->driver->park)
            q->budgets[i]->driver->park(q->root, q->budgets[i]);
        quota_budget_done(q->budgets[i]);
        free(q->budgets[i]);
    }
    free(q->budgets);
    free(q->root);
    strv_free(q->busy);
    (void)pthread_mutex_destroy(&q->mutex);
    (void)pthread_cond_destroy(&q->cond);
    free(q);
}

/* --- choosing a driver -------------------------------------------------------------------------------- */

/* The folder itself, or the nearest one above it that is there. */
static char *existing(const char *path)
{
    char *p = xstrdup(path);

    while (access(p, F_OK) < 0 && strrchr(p, '/') && strrchr(p, '/') != p)
        *strrchr(p, '/') = 0;
    return p;
}

static int choose(const struct quota_manager *q, const char *path, const struct quota_driver **ret,
                  struct error *e)
{
    AUTOFREE char *there = existing(path);

    if (STREQ(q->setting, NONE_SETTING))
        return error_set(
            e, ERR_NOT_SUPPORTED,
            "disk quota is switched off: start pouchd with --quota-driver=auto, or ask "
            "for no limit");
    if (q->driver) {
        *ret = q->driver;
        return q->driver->probe(there, e);
    }
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        CLEANUP(error_done) struct error why = ERROR_INIT;

        if (drivers[i]->probe(there, &why) < 0)
            continue;
        *ret = drivers[i];
        return 0;
    }
    return error_set(
        e, ERR_NOT_SUPPORTED,
        "nothing can be limited on the file system of %s: it has neither project quota "
        "(ext4, xfs) nor is it btrfs, and no image can be made (mkfs.ext4 and loop "
        "devices are needed)",
        path);
}

bool quota_is_passed_by_root(const char *path)
{
    AUTOFREE char *there = existing(path);
    struct statfs sf;

    return statfs(there, &sf) == 0 && sf.f_type == EXT4_SUPER_MAGIC;
}

bool quota_is_off(struct quota_manager *q)
{
    bool off;

    (void)pthread_mutex_lock(&q->mutex);
    off = q->len == 0;
    (void)pthread_mutex_unlock(&q->mutex);
    return off;
}

int quota_driver_for(const struct quota_manager *q, const char *path, const char **ret,
                     struct error *e)
{
    const struct quota_driver *d = NULL;
    int r = choose(q, path, &d, e);

    if (r == 0)
        *ret = d->name;
    return r;
}

/* The root of the mount that holds `path`: it stays when the place goes. */
static char *find_anchor(const char *path)
{
    char *at = existing(path);

    while (at[1] && !quota_is_mount_root(at)) {
        char *slash = strrchr(at, '/');

        slash[slash == at] = 0;
    }
    return at;
}

/* --- making -------------------------------------------------------------------------------------------- */

static int check_request(struct quota_manager *q, const struct quota_budget *b, struct error *e)
{
    dev_t dev = 0;

    if (b->limit.inodes && !b->driver->inodes)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the quota driver %s cannot limit the number of files: leave inodes= out, "
                         "or start pouchd with --quota-driver=image",
                         b->driver->name);
    if (b->places.len > 1 && !b->driver->shares)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the quota driver %s cannot let several folders share one budget: give "
                         "each its own (/=SIZE,/data=SIZE or .*=SIZE)",
                         b->driver->name);
    if (!b->driver->shares && quota_records_shared(q, b))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the quota driver %s cannot let several containers share quota id %u",
                         b->driver->name, b->id);
    for (size_t i = 0; i < b->places.len; i++) {
        const char *path = quota_place(b, i)->path;
        AUTOFREE char *there = existing(path);
        AUTOFREE char *holder = quota_records_holder(q, path, b->id);
        struct stat st;

        if (holder && !STREQ(holder, b->owner))
            return error_set(e, ERR_CONFLICT,
                             "%s is limited already, for %s: leave it out here, give the volume a "
                             "size of its own (volume create -o size=SIZE), or share the budget "
                             "with --quota-id",
                             path, holder);
        if (stat(there, &st) < 0)
            return error_set_errno(e, errno, "%s", there);
        /* Subvolumes of one btrfs have numbers of their own. */
        if (i > 0 && st.st_dev != dev && b->driver == &quota_driver_project)
            return error_set(e, ERR_INVALID,
                             "%s and %s are on different file systems and cannot share one budget",
                             quota_place(b, 0)->path, path);
        dev = st.st_dev;
    }
    return 0;
}

/* fixed: the driver of a budget that is there already, whatever would be chosen today. */
static int fill_budget(struct quota_manager *q, const struct quota_request *req,
                       struct quota_budget *b, const struct quota_driver *fixed, struct error *e)
{
    int r = 0;

    b->owner = xstrdup(req->owner);
    b->rule = xstrdup(req->rule);
    b->id = (uint32_t)req->id;
    b->limit = req->limit;
    b->anchor = find_anchor(req->places[0].path);
    for (size_t i = 0; r == 0 && i < req->nplaces; i++) {
        const struct quota_driver *d = NULL;
        struct quota_place *p = json_list_add(&b->places, sizeof(*p));

        *p = req->places[i];
        p->path = xstrdup(p->path);
        if (fixed)
            d = fixed;
        else
            r = choose(q, p->path, &d, e);
        if (r == 0 && b->driver && d != b->driver)
            r = error_set(e, ERR_INVALID,
                          "%s and %s are on different kinds of file system and cannot share one "
                          "budget",
                          req->places[0].path, p->path);
        b->driver = d;
    }
    return r;
}

/* A claim, not a lock: two containers may start with the same volume at the same moment. */
static void owner_enter(struct quota_manager *q, const char *owner)
{
    (void)pthread_mutex_lock(&q->mutex);
    while (strv_contains(q->busy, owner))
        (void)pthread_cond_wait(&q->cond, &q->mutex);
    strv_push(&q->busy, owner);
    (void)pthread_mutex_unlock(&q->mutex);
}

static void owner_leave(struct quota_manager *q, const char *owner)
{
    (void)pthread_mutex_lock(&q->mutex);
    strv_remove(q->busy, owner);
    (void)pthread_cond_broadcast(&q->cond);
    (void)pthread_mutex_unlock(&q->mutex);
}

static int make_new(struct quota_manager *q, struct quota_budget *b, struct error *e)
{
    int r = check_request(q, b, e);

    if (r == 0)
        r = quota_records_add(q, b, e);
    if (r < 0)
        return r;
    r = b->driver->make(q->root, b, e);
    if (r < 0 && b->driver->clear(q->root, b, !quota_records_shared(q, b), NULL) == 0)
        (void)!quota_records_remove(q, b, NULL);
    return r;
}

static bool has_place(const struct quota_budget *b, const char *path)
{
    for (size_t i = 0; i < b->places.len; i++)
        if (STREQ(quota_place(b, i)->path, path))
            return true;
    return false;
}

/* One that is there: places that are new join it. */
static int make_again(struct quota_manager *q, const struct quota_budget *wanted,
                      struct quota_budget *b, struct error *e)
{
    bool changed = memcmp(&wanted->limit, &b->limit, sizeof(b->limit)) != 0;
    const struct quota_limit old = b->limit;
    bool grown = false;
    int r = 0;

    b->limit = wanted->limit;
    for (size_t i = 0; i < wanted->places.len; i++) {
        const struct quota_place *p = quota_place(wanted, i);
        struct quota_place *added;

        if (has_place(b, p->path))
            continue;
        grown = true;
        added = json_list_add(&b->places, sizeof(*added));
        *added = (struct quota_place){.path = xstrdup(p->path), .kind = p->kind};
    }
    if (grown)
        r = check_request(q, b, e);
    if (r == 0 && (grown || changed))
        r = quota_records_set(q, b, e);
    if (r == 0)
        r = b->driver->make(q->root, b, e);
    if (r == 0 && changed)
        r = b->driver->change(q->root, b, e);
    if (r < 0 && changed) {
        b->limit = old;
        (void)!quota_records_set(q, b, NULL);
        (void)!b->driver->change(q->root, b, NULL);
    }
    return r;
}

int quota_make(struct quota_manager *q, const struct quota_request *req, uint32_t *ret_id,
               struct error *e)
{
    struct quota_budget b = {0};
    struct quota_budget *there = NULL;
    size_t n;
    int r;

    owner_enter(q, req->owner);
    n = quota_records_find(q, req->owner, req->rule, &there);
    r = fill_budget(q, req, &b, n ? there->driver : NULL, e);
    if (r == 0)
        r = n ? make_again(q, &b, there, e) : make_new(q, &b, e);
    if (r == 0 && ret_id)
        *ret_id = n ? there->id : b.id;
    owner_leave(q, req->owner);
    quota_budgets_free(there, n);
    quota_budget_done(&b);
    return r;
}

int quota_ensure(struct quota_manager *q, const char *owner, struct error *e)
{
    struct quota_budget *list = NULL;
    size_t n;
    int r = 0;

    if (!quota_has(q, owner))
        return 0;
    owner_enter(q, owner);
    n = quota_records_find(q, owner, NULL, &list);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = list[i].driver->make(q->root, &list[i], e);
    owner_leave(q, owner);
    if (r < 0)
        error_add(e, "the disk quota is not in force");
    quota_budgets_free(list, n);
    return r;
}

/* --- giving back ------------------------------------------------------------------------------------- */

static int release_one(struct quota_manager *q, struct quota_budget *b, const char *moved_to,
                       struct error *e)
{
    int r;

    if (moved_to && b->places.len == 1) {
        struct quota_place *p = b->places.items;

        free(p->path);
        p->path = xstrdup(moved_to);
        p->kind = QUOTA_PLACE_OWN;
    }
    r = b->driver->clear(q->root, b, !quota_records_shared(q, b), e);
    return r < 0 ? r : quota_records_remove(q, b, e);
}

int quota_release(struct quota_manager *q, const char *owner, const char *rule,
                  const char *moved_to, struct error *e)
{
    struct quota_budget *list = NULL;
    size_t n;
    int result = 0;

    if (!quota_has(q, owner))
        return 0;
    owner_enter(q, owner);
    n = quota_records_find(q, owner, rule, &list);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(error_done) struct error why = ERROR_INIT;
        int r = release_one(q, &list[i], moved_to, &why);

        if (r < 0 && result == 0) {
            result = r;
            error_move(e, &why);
        }
    }
    owner_leave(q, owner);
    quota_budgets_free(list, n);
    return result;
}

static bool is_own(const struct quota_place *p)
{
    return p->kind == QUOTA_PLACE_OWN;
}

/* Moves the places of this sort to the front of the list; returns how many there are. */
static size_t sort_places(struct quota_budget *b, bool own)
{
    struct quota_place *p = b->places.items;
    size_t n = 0;

    for (size_t i = 0; i < b->places.len; i++) {
        struct quota_place swap = p[i];

        if (is_own(&p[i]) != own)
            continue;
        p[i] = p[n];
        p[n++] = swap;
    }
    return n;
}

static int release_shared_one(struct quota_manager *q, struct quota_budget *b, struct error *e)
{
    size_t all = b->places.len;
    size_t shared = sort_places(b, false);
    struct quota_place *p = b->places.items;
    int r;

    if (shared == all)
        return release_one(q, b, NULL, e);
    if (shared == 0)
        return 0;
    b->places.len = shared;
    r = b->driver->clear(q->root, b, false, e);
    for (size_t i = 0; r == 0 && i < shared; i++)
        free(p[i].path);
    if (r == 0)
        (void)memmove(p, p + shared, (all - shared) * sizeof(*p));
    b->places.len = r == 0 ? all - shared : all;
    return r < 0 ? r : quota_records_set(q, b, e);
}

int quota_release_shared(struct quota_manager *q, const char *owner, struct error *e)
{
    struct quota_budget *list = NULL;
    size_t n;
    int r = 0;

    if (!quota_has(q, owner))
        return 0;
    owner_enter(q, owner);
    n = quota_records_find(q, owner, NULL, &list);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = release_shared_one(q, &list[i], e);
    owner_leave(q, owner);
    quota_budgets_free(list, n);
    return r;
}

int quota_lend(struct quota_manager *q, const char *owner, bool on, struct error *e)
{
    struct quota_budget *list = NULL;
    size_t n;
    int r = 0;

    if (!quota_has(q, owner))
        return 0;
    owner_enter(q, owner);
    n = quota_records_find(q, owner, NULL, &list);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (list[i].driver->lend && sort_places(&list[i], true))
            r = list[i].driver->lend(q->root, &list[i], on, e);
    owner_leave(q, owner);
    quota_budgets_free(list, n);
    return r;
}

int quota_sweep(struct quota_manager *q, bool (*is_live)(const char *owner, void *data), void *data)
{
    struct quota_budget *list = NULL;
    size_t n = quota_records_find(q, NULL, NULL, &list);
    int swept = 0;

    for (size_t i = 0; i < n; i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        bool live = is_live(list[i].owner, data);

        /* Images are mounted again at once: cp, logs and size of a stopped container look there. */
        if (live && list[i].driver->park && list[i].driver->make(q->root, &list[i], &e) < 0)
            log_error("disk budget cannot be used", "owner=%s error=\"%s\"", list[i].owner,
                      error_message(&e));
        if (live)
            continue;
        if (release_one(q, &list[i], NULL, &e) < 0) {
            log_warn("disk budget of nobody not given back", "owner=%s id=%u error=\"%s\"",
                     list[i].owner, list[i].id, error_message(&e));
        } else {
            log_info("disk budget of nobody given back", "owner=%s id=%u", list[i].owner,
                     list[i].id);
            swept++;
        }
    }
    quota_budgets_free(list, n);
    return swept;
}

/* --- looking ------------------------------------------------------------------------------------------ */

bool quota_has(struct quota_manager *q, const char *owner)
{
    bool has = false;

    (void)pthread_mutex_lock(&q->mutex);
    for (size_t i = 0; !has && i < q->len; i++)
        has = STREQ(q->budgets[i]->owner, owner);
    (void)pthread_mutex_unlock(&q->mutex);
    return has;
}

size_t quota_list(struct quota_manager *q, const char *owner, struct quota_info **ret)
{
    struct quota_budget *list = NULL;
    size_t n = quota_records_find(q, owner, NULL, &list);
    struct quota_info *out = xcalloc(n + 1, sizeof(*out));

    for (size_t i = 0; i < n; i++)
        out[i] = (struct quota_info){
            .rule = xstrdup(list[i].rule),
            .driver = xstrdup(list[i].driver->name),
            .id = list[i].id,
            .limit = list[i].limit,
        };
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < list[i].places.len; j++)
            out[i].has_own |= quota_place(&list[i], j)->kind == QUOTA_PLACE_OWN;
    quota_budgets_free(list, n);
    *ret = out;
    return n;
}

void quota_list_free(struct quota_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].rule);
        free(list[i].driver);
    }
    free(list);
}

int quota_usage(struct quota_manager *q, const char *owner, const char *rule,
                struct quota_usage *ret, struct error *e)
{
    struct quota_budget *b = NULL;
    size_t n = quota_records_find(q, owner, rule, &b);
    int r = n ? b->driver->usage(q->root, b, ret, e)
              : error_set(e, ERR_NOT_FOUND, "no disk quota %s", rule);

    quota_budgets_free(b, n);
    return r;
}
