/* SPDX-License-Identifier: Apache-2.0 */
/* The fake engine's disk usage and prunes. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "engine/engine.h"

int engine_usage(struct engine *en, unsigned what, struct engine_usage *ret, struct error *e)
{
    *ret = (struct engine_usage){.layers_size = 123};
    if (what & USAGE_VOLUMES) {
        ret->volumes = xcalloc(1, sizeof(*ret->volumes));
        ret->nvolumes = 1;
        ret->sum_volumes = (struct usage_sum){.count = 1, .active = 1, .size = 77};
        ret->volumes[0] = (struct usage_volume){
            .volume = {.name = xstrdup("vol"), .driver = xstrdup("local")}, .size = 77, .users = 2};
    }
    return 0;
}

void engine_usage_done(struct engine_usage *u)
{
    for (size_t i = 0; i < u->nimages; i++)
        image_unref(u->images[i].image);
    for (size_t i = 0; i < u->nvolumes; i++) {
        free(u->volumes[i].volume.name);
        free(u->volumes[i].volume.driver);
    }
    free(u->images);
    free(u->volumes);
    memset(u, 0, sizeof(*u));
}

static int pruned(struct engine_pruned *ret, const struct filter_set *set, const char *what,
                  struct error *e)
{
    if (filter_set_get(set, "bad"))
        return error_set(e, ERR_INVALID, "invalid filter 'bad'");
    strv_push(&ret->deleted, what);
    ret->space = 42;
    return 0;
}

int engine_container_prune(struct engine *en, const struct filter_set *set,
                           struct engine_pruned *ret, struct error *e)
{
    return pruned(ret, set, "container", e);
}

int engine_image_prune(struct engine *en, const struct filter_set *set, struct engine_pruned *ret,
                       struct error *e)
{
    struct image_removed_item *item = json_list_add(&ret->images.items, sizeof(*item));

    item->deleted = xstrdup("sha256:1");
    return pruned(ret, set, "image", e);
}

int engine_volume_prune(struct engine *en, const struct filter_set *set, bool all,
                        struct engine_pruned *ret, struct error *e)
{
    return pruned(ret, set, all ? "all" : "anonymous", e);
}

void engine_pruned_done(struct engine_pruned *p)
{
    struct image_removed_item *items = p->images.items.items;

    for (size_t i = 0; i < p->images.items.len; i++)
        free(items[i].deleted);
    free(items);
    strv_free(p->deleted);
    memset(p, 0, sizeof(*p));
}

void image_manifest_get(struct image_store *s, const struct image *img, struct image_manifest *ret)
{
    *ret = (struct image_manifest){.digest = xstrdup("sha256:feed"),
                                   .media_type = xstrdup("application/x"),
                                   .size = 5,
                                   .content = 10};
}

void image_manifest_done(struct image_manifest *m)
{
    free(m->digest);
    free(m->media_type);
    memset(m, 0, sizeof(*m));
}

struct image *image_ref(struct image *img)
{
    return img;
}

struct image_mount *engine_image_mounts(struct engine *en)
{
    struct image_mount *m = xcalloc(1, sizeof(*m));

    m->path = xstrdup("/mnt");
    m->image_id = xstrdup("sha256:1");
    return m;
}

void image_mount_list_free(struct image_mount *list)
{
    if (!list)
        return;
    free(list->path);
    free(list->image_id);
    free(list);
}

int engine_image_mount(struct engine *en, const char *ref, const char *target, char **ret_path,
                       struct error *e)
{
    *ret_path = xasprintf("%s on %s", ref, target ? target : "-");
    return 0;
}

int engine_image_umount(struct engine *en, const char *what, bool force, char ***ret_paths,
                        struct error *e)
{
    if (!force)
        return error_set(e, ERR_CONFLICT, "%s is in use", what);
    strv_push(ret_paths, what);
    return 0;
}
