/* SPDX-License-Identifier: Apache-2.0 */
/* What takes how much of the disk, and giving back what nobody uses (prune). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"

/* --- Usage ---------------------------------------------------------------------------------------- */

void engine_usage_done(struct engine_usage *u)
{
    for (size_t i = 0; i < u->nimages; i++)
        image_unref(u->images[i].image);
    for (size_t i = 0; i < u->ncontainers; i++)
        container_view_free(u->containers[i].view);
    for (size_t i = 0; i < u->nvolumes; i++)
        volume_done(&u->volumes[i].volume);
    free(u->images);
    free(u->containers);
    free(u->volumes);
    memset(u, 0, sizeof(*u));
}

/* How many images have each layer. */
static struct map *count_layers(const struct image_list *l)
{
    struct map *m = map_new();

    for (size_t i = 0; i < l->len; i++) {
        char *const *ids = l->items[i]->doc.rootfs.diff_ids;

        for (size_t k = 0; ids && ids[k]; k++)
            (void)map_set(m, ids[k], (void *)((uintptr_t)map_get(m, ids[k]) + 1));
    }
    return m;
}

static uint64_t shared_size(const struct image *img, const struct map *layers)
{
    char *const *ids = img->doc.rootfs.diff_ids;
    uint64_t sum = 0;

    for (size_t k = 0; ids && ids[k]; k++)
        if ((uintptr_t)map_get(layers, ids[k]) > 1)
            sum += img->layer_sizes[k];
    return sum;
}

/* What goes when all images that no container uses go; what images share stays with the others. */
static void sum_images(struct engine_usage *u)
{
    struct usage_sum *sum = &u->sum_images;
    uint64_t used = 0;

    sum->size = u->layers_size;
    for (size_t i = 0; i < u->nimages; i++) {
        const struct usage_image *x = &u->images[i];

        sum->count += !x->intermediate;
        if (x->containers > 0) {
            sum->active += !x->intermediate;
            used += x->image->size > x->shared ? x->image->size - x->shared : 0;
        }
    }
    sum->reclaimable = sum->size > used ? sum->size - used : 0;
    if (sum->active > 0 && sum->active == sum->count) /* all that is shared is used, too */
        sum->reclaimable = 0;
}

static int usage_of_images(struct engine *en, const struct container_list *containers,
                           struct engine_usage *u, struct error *e)
{
    struct image_list list = {0};
    int r = image_list(en->images, &list, e);

    if (r < 0)
        return r;
    struct map *layers = count_layers(&list);
    u->images = xcalloc(list.len + 1, sizeof(*u->images));
    for (size_t i = 0; i < list.len; i++) {
        struct usage_image *x = &u->images[u->nimages++];

        x->image = image_ref(list.items[i]);
        x->has_child = list.has_child[i];
        x->intermediate = image_list_is_intermediate(&list, i);
        x->shared = shared_size(x->image, layers);
        for (size_t k = 0; k < containers->len; k++)
            x->containers += STREQ(containers->items[k]->def->image_id, x->image->id);
    }
    map_free(layers, NULL);
    image_list_done(&list);
    u->layers_size = image_layers_size(en->images);
    sum_images(u);
    return 0;
}

static int usage_of_containers(struct engine *en, const struct container_list *containers,
                               struct engine_usage *u)
{
    struct map *known = map_new();

    u->containers = xcalloc(containers->len + 1, sizeof(*u->containers));
    for (size_t i = 0; i < containers->len; i++) {
        struct usage_container *x = &u->containers[u->ncontainers];

        if (engine_container_size(en, containers->items[i], &x->rw, &x->rootfs, NULL) < 0)
            continue; /* it went this moment */
        x->view = container_view_ref(containers->items[i]);
        x->image = engine_image_title(en, x->view, known);
        u->ncontainers++;
        u->sum_containers.count++;
        u->sum_containers.size += x->rw;
        if (x->view->status == CONTAINER_RUNNING || x->view->status == CONTAINER_PAUSED ||
            x->view->status == CONTAINER_RESTARTING)
            u->sum_containers.active++;
        else
            u->sum_containers.reclaimable += x->rw;
    }
    map_free(known, free);
    return 0;
}

static int64_t count_users(const struct container_list *containers, const char *volume)
{
    int64_t n = 0;

    for (size_t i = 0; i < containers->len; i++) {
        const struct volume_mounts *m = &containers->items[i]->def->mounts;
        bool uses = false;

        for (size_t k = 0; !uses && k < m->len; k++)
            uses = m->items[k].name && STREQ(m->items[k].name, volume);
        n += uses;
    }
    return n;
}

static int usage_of_volumes(struct engine *en, const struct container_list *containers,
                            struct engine_usage *u, struct error *e)
{
    struct volume *list = NULL;
    size_t len = 0;
    int r = volume_list(en->volumes, &list, &len, e);

    if (r < 0)
        return r;
    u->volumes = xcalloc(len + 1, sizeof(*u->volumes));
    for (size_t i = 0; i < len; i++) {
        struct usage_volume *x = &u->volumes[u->nvolumes++];

        x->volume = list[i];
        x->users = count_users(containers, list[i].name);
        if (rootfs_tree_size(list[i].mountpoint, &x->size, NULL) < 0)
            x->size = 0;
        u->sum_volumes.count++;
        u->sum_volumes.size += x->size;
        if (x->users > 0)
            u->sum_volumes.active++;
        else
            u->sum_volumes.reclaimable += x->size;
    }
    free(list);
    return 0;
}

int engine_usage(struct engine *en, unsigned what, struct engine_usage *ret, struct error *e)
{
    struct container_list containers = {0};
    struct engine_usage u = {0};
    int r = engine_list(en, true, 0, NULL, &containers, e);

    if (r >= 0 && (what & USAGE_IMAGES))
        r = usage_of_images(en, &containers, &u, e);
    if (r >= 0 && (what & USAGE_CONTAINERS))
        r = usage_of_containers(en, &containers, &u);
    if (r >= 0 && (what & USAGE_VOLUMES))
        r = usage_of_volumes(en, &containers, &u, e);
    container_list_done(&containers);
    if (r < 0)
        engine_usage_done(&u);
    else
        *ret = u;
    return r;
}

/* --- Which things a prune may take ------------------------------------------------------------------ */

struct prune_filter {
    char *const *labels, *const *not_labels;
    int64_t until; /* 0: not asked */
};

/* "name" or "name=value". */
static bool has_label(const struct json_map *labels, const char *wanted)
{
    const char *eq = strchr(wanted, '=');
    AUTOFREE char *name = xstrndup(wanted, eq ? (size_t)(eq - wanted) : strlen(wanted));
    const char *have = json_map_get(labels, name);

    return have && (!eq || STREQ(have, eq + 1));
}

static bool prune_matches(const struct prune_filter *f, const struct json_map *labels,
                          int64_t created)
{
    if (f->until && created > f->until)
        return false;
    for (char *const *l = f->labels; l && *l; l++)
        if (!has_label(labels, *l))
            return false;
    for (char *const *l = f->not_labels; l && *l; l++)
        if (has_label(labels, *l))
            return false;
    return true;
}

static int read_filter(const struct filter_set *set, const char *const *known,
                       struct prune_filter *f, struct error *e)
{
    const struct filter *items = set->items.items;
    char *const *until = filter_set_get(set, "until");

    for (size_t i = 0; i < set->items.len; i++) {
        bool ok = false;

        for (const char *const *k = known; !ok && *k; k++)
            ok = STREQ(*k, items[i].key);
        if (!ok)
            return error_set(e, ERR_INVALID, "invalid filter '%s'", items[i].key);
    }
    f->labels = filter_set_get(set, "label");
    f->not_labels = filter_set_get(set, "label!");
    if (until && until[0] && until[1])
        return error_set(e, ERR_INVALID, "more than one until filter specified");
    if (until && until[0] && time_parse_when(until[0], time_now_ns(), &f->until) < 0)
        return error_set(e, ERR_INVALID, "invalid filter 'until=%.60s': not a time", until[0]);
    return 0;
}

/* A filter that is yes or no. */
static int read_bool(const struct filter_set *set, const char *key, bool *value, struct error *e)
{
    char *const *v = filter_set_get(set, key);

    if (!v || !v[0])
        return 0;
    if (STREQ(v[0], "1") || STREQ(v[0], "true"))
        *value = true;
    else if (STREQ(v[0], "0") || STREQ(v[0], "false"))
        *value = false;
    else
        return error_set(e, ERR_INVALID, "invalid filter '%s=%.60s': true or false", key, v[0]);
    return 0;
}

void engine_pruned_done(struct engine_pruned *p)
{
    strv_free(p->deleted);
    image_removed_done(&p->images);
    memset(p, 0, sizeof(*p));
}

static void pruned_event(struct engine *en, const char *type, uint64_t space)
{
    struct json_map attributes = {0};
    AUTOFREE char *text = xasprintf("%llu", (unsigned long long)space);

    json_map_set(&attributes, "reclaimed", text);
    events_emit(en, type, "prune", "", &attributes);
}

/* --- Pruning ---------------------------------------------------------------------------------------- */

int engine_container_prune(struct engine *en, const struct filter_set *set,
                           struct engine_pruned *ret, struct error *e)
{
    static const char *const known[] = {"label", "label!", "until", NULL};
    struct container_list list = {0};
    struct prune_filter f = {0};
    int r = read_filter(set, known, &f, e);

    if (r >= 0)
        r = engine_list(en, true, 0, NULL, &list, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < list.len; i++) {
        const struct container_view *v = list.items[i];
        uint64_t rw = 0, rootfs = 0;

        if ((v->status != CONTAINER_CREATED && v->status != CONTAINER_EXITED &&
             v->status != CONTAINER_DEAD) ||
            !prune_matches(&f, &v->def->config.labels, v->def->created))
            continue;
        (void)!engine_container_size(en, v, &rw, &rootfs, NULL);
        /* One that was started meanwhile, or is being removed, stays what it is. */
        if (engine_remove(en, v->def->id, false, false, NULL) < 0)
            continue;
        strv_push(&ret->deleted, v->def->id);
        ret->space += rw;
    }
    container_list_done(&list);
    pruned_event(en, "container", ret->space);
    return 0;
}

/* With all its names, if they are what they were; what fails, as it is used, stays. */
static void prune_image(struct engine *en, const char *id, char *const *tags,
                        struct engine_pruned *ret)
{
    struct image_removed removed = {0};

    if (engine_image_remove_unused(en, id, tags, &removed, NULL) < 0)
        return;
    struct image_removed_item *items = removed.items.items;
    for (size_t k = 0; k < removed.items.len; k++) {
        struct image_removed_item *to = json_list_add(&ret->images.items, sizeof(*to));

        *to = items[k];
    }
    free(removed.items.items);
}

int engine_image_prune(struct engine *en, const struct filter_set *set, struct engine_pruned *ret,
                       struct error *e)
{
    static const char *const known[] = {"dangling", "label", "label!", "until", NULL};
    struct image_list list = {0};
    struct prune_filter f = {0};
    bool dangling = true;
    int r = read_filter(set, known, &f, e);

    if (r >= 0)
        r = read_bool(set, "dangling", &dangling, e);
    if (r >= 0)
        r = image_list(en->images, &list, e);
    if (r < 0)
        return r;
    uint64_t before = image_layers_size(en->images);
    /* What is only there for images that were made of it goes with them. */
    for (size_t i = 0; i < list.len; i++)
        if (list.has_child[i] && (dangling || image_list_is_intermediate(&list, i)))
            image_unref(take_ptr(list.items[i]));
    for (size_t i = 0; i < list.len; i++) {
        const struct image *img = list.items[i];
        char container[65];

        if (!img || (dangling && strv_len(img->repo_tags) > 0) ||
            engine_image_in_use(en, img->id, container) != IMAGE_UNUSED ||
            !prune_matches(&f, &img->doc.config.labels, img->doc.created))
            continue;
        AUTOPTR(strv) char **tags = strv_copy(img->repo_tags);
        AUTOFREE char *id = xstrdup(img->id);
        image_unref(take_ptr(list.items[i])); /* the list's hold would keep the image's layers */
        prune_image(en, id, tags, ret);
    }
    image_list_done(&list);
    uint64_t after = image_layers_size(en->images);
    ret->space = before > after ? before - after : 0;
    pruned_event(en, "image", ret->space);
    return 0;
}

int engine_volume_prune(struct engine *en, const struct filter_set *set, bool all,
                        struct engine_pruned *ret, struct error *e)
{
    static const char *const known[] = {"all", "label", "label!", NULL};
    struct prune_filter f = {0};
    struct volume *list = NULL;
    size_t len = 0;
    int r = read_filter(set, known, &f, e);

    if (r >= 0)
        r = read_bool(set, "all", &all, e);
    if (r >= 0)
        r = volume_list(en->volumes, &list, &len, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < len; i++) {
        uint64_t size = 0;

        if ((all || list[i].anonymous) && prune_matches(&f, &list[i].labels, list[i].created)) {
            (void)!rootfs_tree_size(list[i].mountpoint, &size, NULL);
            if (engine_volume_remove(en, list[i].name, false, NULL) >= 0) { /* else it is used */
                strv_push(&ret->deleted, list[i].name);
                ret->space += size;
            }
        }
        volume_done(&list[i]);
    }
    free(list);
    pruned_event(en, "volume", ret->space);
    return 0;
}
