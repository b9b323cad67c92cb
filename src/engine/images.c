/* SPDX-License-Identifier: Apache-2.0 */
/* Images, with the engine's events and use counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/engine-priv.h"

struct image_store *engine_images(struct engine *en)
{
    return en->images;
}

struct volume_store *engine_volumes(struct engine *en)
{
    return en->volumes;
}

void engine_network_info(struct engine *en, struct network_info *ret)
{
    network_info(en->network, ret);
}

/* c->mutex is held. */
static bool uses_image(const struct container *c, const char *image_id)
{
    bool uses = STREQ(c->def_now->image_id, image_id);

    for (size_t i = 0; i < ARRAY_SIZE(c->upgrade_images); i++)
        uses |= c->upgrade_images[i] && STREQ(c->upgrade_images[i], image_id);
    return uses;
}

/* For image_store: who uses this image? */
enum image_use engine_image_in_use(void *data, const char *image_id, char ret_container[65])
{
    struct engine *en = data;
    enum image_use use = IMAGE_UNUSED;
    size_t pos = 0;
    void *value;

    (void)pthread_mutex_lock(&en->mutex);
    while (use != IMAGE_USED_RUNNING && map_next(en->by_id, &pos, NULL, &value)) {
        struct container *c = value;

        (void)pthread_mutex_lock(&c->mutex);
        if (uses_image(c, image_id)) {
            use = c->live || c->op == OP_START || c->upgrading ? IMAGE_USED_RUNNING
                                                               : IMAGE_USED_STOPPED;
            (void)memcpy(ret_container, c->id, 65);
        }
        (void)pthread_mutex_unlock(&c->mutex);
    }
    if (use != IMAGE_USED_RUNNING && image_mounts_use(en, image_id)) {
        use = IMAGE_USED_RUNNING;
        ret_container[0] = '\0';
    }
    /* The engine ends and lets go of its containers: an image without one may have had one. What is
     * removed by force goes at the next start. */
    if (use == IMAGE_UNUSED && atomic_load(&en->closing)) {
        use = IMAGE_USED_STOPPED;
        ret_container[0] = '\0';
    }
    (void)pthread_mutex_unlock(&en->mutex);
    return use;
}

/* For image_store: garbage collection took it. */
static void image_event(struct engine *en, const char *action, const char *id, const char *name);
void engine_image_collected(void *data, const char *image_id, const char *name)
{
    image_event(data, name ? "untag" : "delete", image_id, name ? name : image_id);
}

/* For image_store: a layer goes. */
void engine_layer_going(void *data, const char *layer)
{
    struct engine *en = data;

    rootfs_layer_going(en->rootfs, layer);
}

void engine_layer_gone(void *data, const char *layer)
{
    struct engine *en = data;

    rootfs_layer_gone(en->rootfs, layer);
}

void engine_layer_measure(void *data, const char *hex, char ret[80])
{
    struct engine *en = data;

    image_layer_measure(en->images, hex, ret);
}

int engine_image_usable(struct engine *en, struct image **img, struct error *e)
{
    AUTOFREE char *id = NULL;
    bool usable = true;
    int r;

    for (char **l = (*img)->layer_dirs; usable && l && *l; l++)
        usable = rootfs_can_use(en->rootfs, *l);
    if (usable)
        return 0;
    id = xstrdup((*img)->id);
    log_info("converting an image for the storage driver", "image=%s driver=%s", id,
             rootfs_driver_name(en->rootfs));
    r = image_convert(en->images, id, e); /* the caller's reference keeps the image meanwhile */
    if (r < 0)
        return r;
    image_unref(*img);
    *img = NULL;
    return image_get(en->images, id, img, e);
}

static void image_event(struct engine *en, const char *action, const char *id, const char *name)
{
    struct json_map attributes = {0};

    json_map_set(&attributes, "name", name);
    events_emit(en, "image", action, id, &attributes);
}

int engine_image_pull(struct engine *en, const struct image_pull_params *p, struct error *e)
{
    int r = image_pull(en->images, p, NULL, e);

    if (r == 0)
        image_event(en, "pull", p->reference, p->reference);
    return r < 0 ? r : 0;
}

int engine_registry_login(struct engine *en, const struct image_auth *auth, int cancel_fd,
                          char **ret_token, struct error *e)
{
    return image_login(en->images, auth, cancel_fd, ret_token, e);
}

int engine_image_search(struct engine *en, const struct image_search_params *p,
                        struct json_list *ret, struct error *e)
{
    return image_search(en->images, p, ret, e);
}

int engine_image_load(struct engine *en, const struct image_load_params *p, struct error *e)
{
    int r = image_load(en->images, p, e);

    if (r == 0)
        image_event(en, "load", "", "");
    return r;
}

int engine_image_push(struct engine *en, const struct image_push_params *p, struct error *e)
{
    int r = image_push(en->images, p, e);

    if (r == 0)
        image_event(en, "push", p->reference, p->reference);
    return r;
}

int engine_image_save(struct engine *en, const struct image_save_params *p, struct error *e)
{
    int r = image_save(en->images, p, e);

    for (size_t i = 0; r == 0 && p->names[i]; i++)
        image_event(en, "save", p->names[i], p->names[i]);
    return r;
}

int engine_image_import(struct engine *en, const struct image_import_params *p, char **ret_id,
                        struct error *e)
{
    int r = image_import(en->images, p, ret_id, e);

    if (r == 0)
        image_event(en, "import", *ret_id, p->repo ? p->repo : *ret_id);
    return r;
}

int engine_image_tag(struct engine *en, const char *source, const char *repo, const char *tag,
                     struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    AUTOFREE char *name = xasprintf("%s:%s", repo, str_is_empty(tag) ? "latest" : tag);
    int r = image_tag(en->images, source, repo, str_is_empty(tag) ? NULL : tag, e);

    if (r == 0 && image_resolve(en->images, source, &img, NULL) == 0)
        image_event(en, "tag", img->id, name);
    return r;
}

static void removed_events(struct engine *en, const struct image_removed *removed)
{
    const struct image_removed_item *items = removed->items.items;

    for (size_t i = 0; i < removed->items.len; i++)
        if (!items[i].layer)
            image_event(en, items[i].untagged ? "untag" : "delete",
                        items[i].untagged ? items[i].untagged : items[i].deleted,
                        items[i].untagged ? items[i].untagged : items[i].deleted);
}

int engine_image_remove(struct engine *en, const char *ref, bool force, bool prune,
                        struct image_removed *ret, struct error *e)
{
    int r = image_mounts_check_remove(en, ref, e);

    if (r >= 0)
        r = image_remove(en->images, ref, force, prune, ret, e);
    if (r == 0)
        removed_events(en, ret);
    return r;
}

int engine_image_remove_unused(struct engine *en, const char *id, char *const *tags,
                               struct image_removed *ret, struct error *e)
{
    int r = image_remove_unused(en->images, id, tags, ret, e);

    if (r == 0)
        removed_events(en, ret);
    return r;
}
