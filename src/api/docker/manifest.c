/* SPDX-License-Identifier: Apache-2.0 */
/* Manifest lists: our own routes below /pouch/manifests, for Docker has them in its client only; and
 * what a registry has under a name. */
#include <stdlib.h>

#include "api/docker/docker-priv.h"
#include "base/str.h"
#include "base/strv.h"

static const char *query_or_null(const struct http_request *req, const char *name)
{
    const char *v = http_query(req, name);

    return str_is_empty(v) ? NULL : v;
}

/* What all routes that talk to a registry have. */
static int read_params(struct http_request *req, const char *list, struct image_auth *auth,
                       struct image_manifest_params *ret, struct error *e)
{
    *ret = (struct image_manifest_params){.list = list ? list : "",
                                          .auth = auth,
                                          .insecure = http_query_bool(req, "insecure", false),
                                          .progress = api_progress_send,
                                          .progress_data = req,
                                          .cancel_fd = http_client_fd(req)};
    return api_registry_auth(req, auth, e);
}

/* The document, or why there is none. */
static void answer(struct http_request *req, int r, struct buf *document, const struct error *e)
{
    if (r >= 0) {
        http_reply_json(req, 200, document);
        return;
    }
    buf_done(document);
    http_reply_error(req, e);
}

void api_manifest_list(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **names = NULL;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (image_manifest_names(engine_images(api_engine(ctx)), &names, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; names && names[i]; i++)
        jsonw_str(&w, NULL, names[i]);
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_manifest_create(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **images = http_query_all(req, "image");
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    struct image_manifest_params p;
    int r = read_params(req, http_query(req, "name"), &auth, &p, &e);

    if (r >= 0)
        r = image_manifest_create(engine_images(api_engine(ctx)), &p, images,
                                  http_query_bool(req, "amend", false), &e);
    api_done(req, r, 201, &e);
}

void api_manifest_annotate(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **features = http_query_all(req, "osFeatures");
    const char *image = http_query(req, "image");
    const struct image_manifest_annotation a = {.os = query_or_null(req, "os"),
                                                .architecture = query_or_null(req, "arch"),
                                                .variant = query_or_null(req, "variant"),
                                                .os_version = query_or_null(req, "osVersion"),
                                                .os_features = features};
    int r = image_manifest_annotate(engine_images(api_engine(ctx)), http_param(req, "name"),
                                    image ? image : "", &a, &e);

    api_done(req, r, 204, &e);
}

void api_manifest_inspect(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    struct image_manifest_params p;
    struct buf b = ANSWER_INIT;
    int r = read_params(req, http_param(req, "name"), &auth, &p, &e);

    if (r >= 0)
        r = image_manifest_inspect(engine_images(api_engine(ctx)), &p,
                                   http_query_bool(req, "verbose", false), &b, &e);
    answer(req, r, &b, &e);
}

void api_distribution_inspect(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    struct image_manifest_params p;
    struct buf b = ANSWER_INIT;
    int r = read_params(req, http_param(req, "name"), &auth, &p, &e);

    if (r >= 0)
        r = image_manifest_distribution(engine_images(api_engine(ctx)), &p, &b, &e);
    answer(req, r, &b, &e);
}

void api_manifest_referrers(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    const struct image_referrers_params p = {.reference = http_param(req, "name"),
                                             .artifact_type = query_or_null(req, "artifactType"),
                                             .platform = query_or_null(req, "platform"),
                                             .auth = &auth,
                                             .cancel_fd = http_client_fd(req)};
    struct buf b = ANSWER_INIT;
    int r = api_registry_auth(req, &auth, &e);

    if (r >= 0)
        r = image_referrers(engine_images(api_engine(ctx)), &p, &b, &e);
    answer(req, r, &b, &e);
}

void api_manifest_push(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    struct image_manifest_params p;
    int r = read_params(req, http_param(req, "name"), &auth, &p, &e);

    if (r >= 0)
        r = image_manifest_push(engine_images(api_engine(ctx)), &p,
                                http_query_bool(req, "purge", false), &e);
    api_progress_end(req, r, &e);
}

void api_manifest_remove(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    int r = image_manifest_remove(engine_images(api_engine(ctx)), http_param(req, "name"), &e);

    api_done(req, r, 204, &e);
}
