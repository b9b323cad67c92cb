/* SPDX-License-Identifier: Apache-2.0 */
/* Pouch's own: images mounted on the host. */
#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"

static const char *needed(struct http_request *req, const char *name)
{
    const char *v = http_query(req, name);

    if (!str_is_empty(v))
        return v;
    http_reply_message(req, 400, "the parameter %s is needed", name);
    return NULL;
}

void api_image_mount(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *name = needed(req, "name");
    AUTOFREE char *path = NULL;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (!name)
        return;
    if (engine_image_mount(api_engine(ctx), name, http_query(req, "target"), &path, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Path", path);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 201, &b);
}

void api_image_umount(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **paths = NULL;
    const char *name = needed(req, "name");
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (!name)
        return;
    if (engine_image_umount(api_engine(ctx), name, http_query_bool(req, "force", false), &paths,
                            &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_strv(&w, "Paths", paths);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_image_mounts(struct http_request *req, void *ctx)
{
    AUTOPTR(image_mount_list) struct image_mount *list = engine_image_mounts(api_engine(ctx));
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    jsonw_list_begin(&w, NULL);
    for (const struct image_mount *m = list; m; m = m->next) {
        AUTOPTR(image) struct image *img = NULL;

        (void)!image_resolve(engine_images(api_engine(ctx)), m->image_id, &img, NULL);
        jsonw_begin(&w, NULL);
        jsonw_str(&w, "Id", m->image_id);
        jsonw_strv(&w, "RepoTags", img ? img->repo_tags : NULL);
        jsonw_str(&w, "Path", m->path);
        jsonw_end(&w);
    }
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}
