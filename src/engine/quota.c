/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which folders of a container share which disk budget: the rules of --disk-quota, --quota-id and
 * --storage-opt size= against the root file system and the mounts. What is asked for and cannot be
 * done is an error; nothing starts without its limit.
 *
 * Budgets belong to a container (its id) or to a volume ("volume:NAME"): those of volumes with a size
 * of their own, and of volumes that live in an image, outlive the container.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"

#define VOLUME_OWNER "volume:"
#define VOLUME_RULE  "size"
#define LOG_SHARE    20 /* two files of a twentieth each */

/* --- the request ------------------------------------------------------------------------------------- */

bool quota_is_asked(const struct container_definition *def)
{
    return def->config.disk_quota.len || def->host_config.storage_opt.len ||
           !str_is_empty(def->config.quota_id);
}

/* All rules of a definition: DiskQuota, and StorageOpt's size as "/". */
static int rules_of(const struct container_config *config, const struct host_config *hc,
                    bool allow_none, struct quota_rules *ret, struct error *e)
{
    struct json_map all = {0};
    const char *size = json_map_get(&hc->storage_opt, "size");
    int r = 0;

    for (size_t i = 0; i < config->disk_quota.len; i++)
        json_map_set(&all, config->disk_quota.items[i].key, config->disk_quota.items[i].value);
    if (size && json_map_get(&all, "/"))
        r = error_set(e, ERR_INVALID,
                      "the root file system has two sizes: --storage-opt size=%s and "
                      "--disk-quota /=%s",
                      size, json_map_get(&all, "/"));
    else if (size)
        json_map_set(&all, "/", size);
    if (r == 0)
        r = quotaspec_rules_parse(&all, allow_none, ret, e);
    json_map_done(&all);
    return r;
}

int quota_validate(const struct container_config *config, const struct host_config *hc,
                   struct error *e)
{
    struct quota_rules rules = {0};
    int64_t id = 0;
    size_t n;
    int r;

    for (size_t i = 0; i < hc->storage_opt.len; i++)
        if (!STREQ(hc->storage_opt.items[i].key, "size"))
            return error_set(e, ERR_INVALID, "unknown storage option \"%s\" (there is: size)",
                             hc->storage_opt.items[i].key);
    r = rules_of(config, hc, false, &rules, e);
    if (r == 0)
        r = quotaspec_id_parse(config->quota_id, &id, e);
    n = rules.len;
    quota_rules_done(&rules);
    if (r == 0 && id && n == 0)
        return error_set(e, ERR_INVALID, "--quota-id needs a --disk-quota to belong to");
    if (r == 0 && id && n > 1)
        return error_set(e, ERR_INVALID,
                         "--quota-id makes one budget, but there are %zu rules (a bare size is one "
                         "budget for everything: write .*=SIZE for one each)",
                         n);
    return r;
}

/* --- the plan ---------------------------------------------------------------------------------------- */

/* What may be limited: the root file system and the mounts. */
struct target {
    const char *dest;
    const char *path;   /* on the host; NULL: cannot be limited, see `why` */
    const char *volume; /* its name, or NULL */
    enum quota_place_kind kind;
    bool sized; /* a volume with a size of its own */
    const char *why;
};

struct planned {
    char *owner;
    char *rule;
    struct quota_limit limit;
    struct quota_place *places; /* paths borrowed from the definition */
    size_t n;
};
struct plan {
    int64_t id;
    struct planned *items;
    size_t len;
};

static void plan_done(struct plan *p)
{
    for (size_t i = 0; i < p->len; i++) {
        free(p->items[i].owner);
        free(p->items[i].rule);
        free(p->items[i].places);
    }
    free(p->items);
    *p = (struct plan){0};
}

static char *volume_owner(const char *name)
{
    return xasprintf(VOLUME_OWNER "%s", name);
}

static int volume_own_limit(struct engine *en, const char *name, struct quota_limit *ret,
                            struct error *e)
{
    struct volume v = {.name = NULL};
    int r = volume_get(en->volumes, name, &v, e);

    *ret = (struct quota_limit){0};
    if (r == 0)
        r = volume_limit(&v.options, ret, e);
    volume_done(&v);
    return r;
}

static int fill_target(struct engine *en, const struct volume_mount *m, struct target *t,
                       struct error *e)
{
    struct quota_limit own;
    struct stat st;
    int r = 0;

    *t = (struct target){.dest = m->destination, .volume = m->name};
    if (STREQ(m->type, "tmpfs")) {
        t->why = "it is a tmpfs: give it a size with --tmpfs PATH:size=SIZE";
    } else if (!m->rw) {
        t->why = "it is mounted read-only";
    } else if (m->source && stat(m->source, &st) == 0 && !S_ISDIR(st.st_mode)) {
        t->why = "it is not a folder";
    } else if (m->name) {
        t->kind = str_has_suffix(m->source, "/_data") ? QUOTA_PLACE_VOLUME : QUOTA_PLACE_HOST;
        t->path = m->source;
        r = volume_own_limit(en, m->name, &own, e);
        t->sized = r == 0 && (own.bytes || own.inodes);
    } else {
        t->kind = QUOTA_PLACE_HOST;
        t->path = m->source;
    }
    return r;
}

static struct planned *plan_add(struct plan *plan, const char *owner, const char *rule,
                                const struct quota_limit *limit)
{
    struct planned *p;

    for (size_t i = 0; i < plan->len; i++)
        if (STREQ(plan->items[i].owner, owner) && STREQ(plan->items[i].rule, rule))
            return &plan->items[i];
    plan->items = xreallocarray(plan->items, plan->len + 1, sizeof(*plan->items));
    p = &plan->items[plan->len++];
    *p = (struct planned){.owner = xstrdup(owner), .rule = xstrdup(rule), .limit = *limit};
    return p;
}

static void plan_target(struct plan *plan, const char *id, const struct quota_rule *rule,
                        const struct target *t)
{
    /* A pattern gives each mount its own budget, unless there is an id for all. */
    const char *name = plan->id || rule->paths ? rule->key : t->dest;
    struct planned *p = plan_add(plan, id, name, &rule->limit);

    for (size_t i = 0; i < p->n; i++)
        if (STREQ(p->places[i].path, t->path))
            return; /* one volume mounted twice */
    p->places = xreallocarray(p->places, p->n + 1, sizeof(*p->places));
    p->places[p->n++] = (struct quota_place){.path = (char *)(uintptr_t)t->path,
                                             .kind = (int64_t)t->kind};
}

static const struct target *find_target(const struct target *list, size_t n, const char *dest)
{
    for (size_t i = 0; i < n; i++)
        if (STREQ(list[i].dest, dest))
            return &list[i];
    return NULL;
}

/* Each path that a rule names must be something that can be limited; a pattern must match. */
static int check_rules_used(const struct quota_rules *rules, const struct target *list, size_t n,
                            char ***warnings, struct error *e)
{
    for (size_t i = 0; i < rules->len; i++) {
        const struct quota_rule *rule = &rules->items[i];
        bool matched = false;

        for (char **p = rule->paths; p && *p; p++) {
            const struct target *t = find_target(list, n, *p);

            if (!t)
                return error_set(e, ERR_INVALID,
                                 "disk quota: %s is not a mount point of the container: mount a "
                                 "volume there (-v VOLUME:%s), or limit / as a whole",
                                 *p, *p);
            if (!t->path)
                return error_set(e, ERR_INVALID, "disk quota: %s cannot be limited: %s", *p,
                                 t->why);
            if (t->sized && warnings)
                strv_pushf(warnings,
                           "disk quota: volume %s has a size of its own, which holds at %s",
                           t->volume, *p);
        }
        for (size_t j = 0; rule->compiled && !matched && j < n; j++)
            matched = list[j].path && quotaspec_match(rules, list[j].dest) == rule;
        if (rule->compiled && !matched && !STREQ(rule->key, QUOTASPEC_ALL))
            return error_set(e, ERR_INVALID,
                             "disk quota: no writable mount of the container matches the pattern "
                             "\"%s\"",
                             rule->key);
    }
    return 0;
}

/* ext4 lets processes with CAP_SYS_RESOURCE pass any quota; overlayfs does not, but mounts do. */
static int check_capabilities(const struct container_definition *def, const struct target *t,
                              struct error *e)
{
    const struct host_config *hc = &def->host_config;
    AUTOPTR(strv) char **caps = NULL;
    int r;

    if (t->kind == QUOTA_PLACE_OWN ||
        (!str_is_empty(hc->userns_mode) && !STREQ(hc->userns_mode, "host")))
        return 0;
    if (!hc->privileged) {
        r = spec_capabilities(hc, &caps, e);
        if (r < 0)
            return r;
        if (!strv_contains(caps, "CAP_SYS_RESOURCE"))
            return 0;
    }
    return quota_is_passed_by_root(t->path)
               ? error_set(e, ERR_INVALID,
                           "a disk quota on %s cannot hold a container that has CAP_SYS_RESOURCE "
                           "(ext4 lets it pass): drop that capability, use --userns, or leave the "
                           "mount out",
                           t->dest)
               : 0;
}

/* With file systems in images a volume's budget is the volume's own: its content lives there. */
static int settle_owners(struct engine *en, struct plan *plan, const struct target *list, size_t n,
                         struct error *e)
{
    for (size_t i = 0; i < plan->len; i++) {
        struct planned *p = &plan->items[i];
        const char *driver = NULL;
        int r = quota_driver_for(en->quota, p->places[0].path, &driver, e);

        if (r < 0)
            return r;
        if (!STREQ(driver, "image") || p->n != 1 || p->places[0].kind != QUOTA_PLACE_VOLUME)
            continue;
        for (size_t j = 0; j < n; j++) {
            if (list[j].path != p->places[0].path)
                continue;
            free(p->owner);
            p->owner = volume_owner(list[j].volume);
            str_replace(&p->rule, VOLUME_RULE);
        }
    }
    return 0;
}

static int make_plan(struct engine *en, const struct container_definition *def, bool allow_none,
                     char ***warnings, struct plan *ret, struct error *e)
{
    AUTOFREE struct target *list = xcalloc(def->mounts.len + 1, sizeof(*list));
    struct quota_rules rules = {0};
    struct plan plan = {0};
    size_t n = 0;
    int r = rules_of(&def->config, &def->host_config, allow_none, &rules, e);

    if (r == 0)
        r = quotaspec_id_parse(def->config.quota_id, &plan.id, e);
    list[n++] = (struct target){.dest = "/", .path = def->dir, .kind = QUOTA_PLACE_OWN};
    for (size_t i = 0; r == 0 && i < def->mounts.len; i++)
        r = fill_target(en, &def->mounts.items[i], &list[n++], e);
    if (r == 0)
        r = check_rules_used(&rules, list, n, warnings, e);
    for (size_t i = 0; r == 0 && i < n; i++) {
        const struct quota_rule *rule = list[i].path && !list[i].sized
                                            ? quotaspec_match(&rules, list[i].dest)
                                            : NULL;

        if (!rule)
            continue;
        r = check_capabilities(def, &list[i], e);
        if (r == 0)
            plan_target(&plan, def->id, rule, &list[i]);
    }
    if (r == 0)
        r = settle_owners(en, &plan, list, n, e);
    quota_rules_done(&rules);
    if (r < 0)
        plan_done(&plan);
    else
        *ret = plan;
    return r;
}

/* --- making it true ---------------------------------------------------------------------------------- */

static int apply_plan(struct engine *en, struct plan *plan, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < plan->len; i++) {
        const struct planned *p = &plan->items[i];
        const struct quota_request req = {
            .owner = p->owner,
            .rule = p->rule,
            .id = plan->id > 0 ? plan->id : 0,
            .limit = p->limit,
            .places = p->places,
            .nplaces = p->n,
        };
        uint32_t id = 0;

        r = quota_make(en->quota, &req, &id, e);
        if (r == 0 && plan->id < 0)
            plan->id = id;
        if (r < 0 && str_has_prefix(p->owner, VOLUME_OWNER))
            error_add(e, "disk quota of volume %s", p->owner + strlen(VOLUME_OWNER));
        else if (r < 0)
            error_add(e, "disk quota %s", p->rule);
    }
    return r;
}

/* The volumes with a size of their own. */
int quota_volumes(struct engine *en, const struct volume_mounts *mounts, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < mounts->len; i++) {
        const struct volume_mount *m = &mounts->items[i];
        struct quota_limit limit;

        if (!m->name)
            continue;
        r = volume_own_limit(en, m->name, &limit, e);
        if (r == 0 && (limit.bytes || limit.inodes))
            r = quota_volume_make(en, m->name, m->source, &limit, e);
    }
    return r;
}

int quota_volume_make(struct engine *en, const char *name, const char *source,
                      const struct quota_limit *limit, struct error *e)
{
    AUTOFREE char *owner = volume_owner(name);
    const struct quota_place place = {.path = (char *)(uintptr_t)source,
                                      .kind = QUOTA_PLACE_VOLUME};
    const struct quota_request req = {
        .owner = owner, .rule = VOLUME_RULE, .limit = *limit, .places = &place, .nplaces = 1};
    int r = quota_make(en->quota, &req, NULL, e);

    if (r < 0)
        error_add(e, "the size of volume %s", name);
    return r;
}

int quota_create(struct engine *en, struct container_definition *def, char ***warnings,
                 struct error *e)
{
    struct plan plan = {0};
    int r = quota_volumes(en, &def->mounts, e);

    if (r < 0 || !quota_is_asked(def))
        return r;
    r = make_plan(en, def, false, warnings, &plan, e);
    if (r == 0)
        r = apply_plan(en, &plan, e);
    if (r == 0 && plan.id > 0) {
        free(def->config.quota_id);
        def->config.quota_id = xasprintf("%lld", (long long)plan.id);
    }
    plan_done(&plan);
    return r;
}

/* The image's content has been copied into the volumes: is that still within? */
static int check_content(struct engine *en, const char *owner, struct error *e)
{
    struct quota_info *list = NULL;
    size_t n = quota_list(en->quota, owner, &list);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        struct quota_usage u = {0};

        r = quota_usage(en->quota, owner, list[i].rule, &u, e);
        if (r == 0 && ((u.limit.bytes && u.bytes > u.limit.bytes) ||
                       (u.limit.inodes && u.inodes > u.limit.inodes)))
            r = error_set(
                e, ERR_INVALID,
                "disk quota %s: %llu bytes in %llu files are there already, more than the "
                "limit",
                list[i].rule, (unsigned long long)u.bytes, (unsigned long long)u.inodes);
    }
    quota_list_free(list, n);
    return r;
}

int quota_created(struct engine *en, const char *id, const struct volume_mounts *mounts,
                  const bool *copied, struct error *e)
{
    int r = 0;

    if (quota_is_off(en->quota))
        return 0;
    for (size_t i = 0; r == 0 && i < mounts->len; i++) {
        const struct volume_mount *m = &mounts->items[i];
        AUTOFREE char *owner = m->name ? volume_owner(m->name) : NULL;

        if (owner && copied[i] && quota_has(en->quota, owner)) {
            r = quota_ensure(en->quota, owner, e);
            if (r == 0)
                r = check_content(en, owner, e);
        }
    }
    if (r == 0)
        r = quota_ensure(en->quota, id, e);
    return r == 0 ? check_content(en, id, e) : r;
}

int quota_start(struct engine *en, const struct container_definition *def, struct error *e)
{
    struct plan plan = {0};
    int r = 0;

    if (quota_is_off(en->quota) && !quota_is_asked(def))
        return 0;
    for (size_t i = 0; r == 0 && i < def->mounts.len; i++) {
        const char *name = def->mounts.items[i].name;
        AUTOFREE char *owner = name ? volume_owner(name) : NULL;

        if (owner)
            r = quota_ensure(en->quota, owner, e);
    }
    if (r < 0 || !quota_is_asked(def))
        return r;
    r = make_plan(en, def, true, NULL, &plan, e);
    if (r == 0)
        r = apply_plan(en, &plan, e);
    plan_done(&plan);
    return r;
}

int64_t quota_log_size(struct engine *en, const char *id)
{
    struct quota_info *list = NULL;
    size_t n = quota_list(en->quota, id, &list);
    int64_t size = 0;

    for (size_t i = 0; i < n; i++)
        if (list[i].has_own && list[i].limit.bytes)
            size = (int64_t)(list[i].limit.bytes / LOG_SHARE);
    quota_list_free(list, n);
    return size;
}

int quota_release_container(struct engine *en, const char *id, struct error *e)
{
    return quota_release(en->quota, id, NULL, NULL, e);
}

/* --- update ------------------------------------------------------------------------------------------ */

int quota_update_check(struct update_context *u, struct error *e)
{
    const struct json_map *asked = &u->update->disk_quota;
    struct json_map *rules = &u->next->config.disk_quota;
    struct json_map *storage = &u->next->host_config.storage_opt;
    struct quota_rules parsed = {0};
    int64_t id = 0;
    int r;

    for (size_t i = 0; i < asked->len; i++) {
        const struct json_pair *p = &asked->items[i];

        if (STREQ(p->key, "/") && json_map_get(storage, "size") && !STREQ(p->value, "0"))
            json_map_set(storage, "size", p->value);
        else
            json_map_set(rules, p->key, p->value);
    }
    if (!asked->len)
        return 0;
    r = rules_of(&u->next->config, &u->next->host_config, true, &parsed, e);
    if (r == 0)
        r = quotaspec_id_parse(u->next->config.quota_id, &id, e);
    if (r == 0 && id && parsed.len > 1)
        r = error_set(
            e, ERR_INVALID,
            "the container has one budget (quota id %lld): change its size by the rule it "
            "was made with",
            (long long)id);
    quota_rules_done(&parsed);
    return r;
}

static bool same_map(const struct json_map *a, const struct json_map *b)
{
    bool same = a->len == b->len;

    for (size_t i = 0; same && i < a->len; i++) {
        const char *other = json_map_get(b, a->items[i].key);

        same = other && STREQ(other, a->items[i].value);
    }
    return same;
}

static bool same_mounts(const struct volume_mounts *a, const struct volume_mounts *b)
{
    bool same = a->len == b->len;

    for (size_t i = 0; same && i < a->len; i++)
        same = STREQ(a->items[i].destination, b->items[i].destination);
    return same;
}

/* Sizes change; which folders share a budget does not: files would have to change sides. The budget of
 * a mount that is gone is given back. */
static int check_sides(struct engine *en, const char *id, const struct plan *plan, struct error *e)
{
    struct quota_info *list = NULL;
    size_t n = quota_list(en->quota, id, &list);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        bool found = false;

        for (size_t j = 0; j < plan->len; j++)
            found |= STREQ(plan->items[j].rule, list[i].rule);
        if (!found && list[i].has_own)
            r = error_set(
                e, ERR_INVALID,
                "update changes the sizes of a container's budgets, not which mounts share "
                "them: \"%s\" is a budget of its own",
                list[i].rule);
        else if (!found)
            r = quota_release(en->quota, id, list[i].rule, NULL, e);
    }
    quota_list_free(list, n);
    return r;
}

int quota_update_apply(struct update_context *u, const struct container_definition *from,
                       const struct container_definition *to, struct error *e)
{
    struct engine *en = u->c->en;
    struct plan plan = {0};
    int r;

    if (same_map(&from->config.disk_quota, &to->config.disk_quota) &&
        same_map(&from->host_config.storage_opt, &to->host_config.storage_opt) &&
        (same_mounts(&from->mounts, &to->mounts) || !quota_is_asked(to)))
        return 0;
    r = make_plan(en, to, true, u->warnings, &plan, e);
    if (r == 0)
        r = check_sides(en, to->id, &plan, e);
    if (r == 0)
        r = apply_plan(en, &plan, e);
    plan_done(&plan);
    return r;
}

/* --- volumes of their own ---------------------------------------------------------------------------- */

static int on_volume_remove(void *data, const char *name, const char *content, struct error *e)
{
    struct engine *en = data;
    AUTOFREE char *owner = volume_owner(name);

    return quota_release(en->quota, owner, NULL, content, e);
}

int engine_volume_create(struct engine *en, const struct volume_params *p, struct volume *ret,
                         struct error *e)
{
    struct quota_limit limit = {0};
    bool is_new = false;
    char id[9], user[32];
    /* In use until it has its limit: that must not be made for one that is gone. */
    const char *held = p->options && p->options->len && !str_is_empty(p->name) ? p->name : NULL;
    int r;

    random_hex(id, 4);
    (void)snprintf(user, sizeof(user), "volume create %s", id);
    volume_ref(en->volumes, held, user);
    r = volume_create(en->volumes, p, ret, &is_new, e);
    if (r == 0)
        r = volume_limit(&ret->options, &limit, e);
    if (r == 0 && (limit.bytes || limit.inodes))
        r = quota_volume_make(en, ret->name, ret->mountpoint, &limit, e);
    volume_unref(en->volumes, held, user);
    if (r < 0 && !ret->name)
        return r;
    if (r < 0) {
        /* A volume without its limit is none. */
        if (is_new && volume_remove(en->volumes, ret->name, true, NULL) < 0)
            log_warn("volume left behind", "name=%s", ret->name);
        volume_done(ret);
        *ret = (struct volume){.name = NULL};
        return r;
    }
    if (is_new) {
        struct json_map attributes = {0};

        json_map_set(&attributes, "driver", "local");
        events_emit(en, "volume", "create", ret->name, &attributes);
    }
    return 0;
}

int engine_volume_remove(struct engine *en, const char *name, bool force, struct error *e)
{
    struct json_map attributes = {0};
    int r = volume_remove(en->volumes, name, force, e);

    if (r < 0)
        return r;
    json_map_set(&attributes, "driver", "local");
    events_emit(en, "volume", "destroy", name, &attributes);
    return 0;
}

/* --- opening ----------------------------------------------------------------------------------------- */

static bool is_live(const char *owner, void *data)
{
    struct engine *en = data;
    struct volume v = {.name = NULL};
    bool live;

    if (!str_has_prefix(owner, VOLUME_OWNER)) {
        (void)pthread_mutex_lock(&en->mutex);
        live = map_get(en->by_id, owner) != NULL;
        (void)pthread_mutex_unlock(&en->mutex);
        return live;
    }
    live = volume_get(en->volumes, owner + strlen(VOLUME_OWNER), &v, NULL) == 0;
    volume_done(&v);
    return live;
}

void quota_recover(struct engine *en)
{
    volume_store_on_remove(en->volumes, on_volume_remove, en);
    if (!quota_is_off(en->quota))
        (void)quota_sweep(en->quota, is_live, en);
}
