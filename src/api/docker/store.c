/* SPDX-License-Identifier: Apache-2.0 */
/* The image store's upkeep: garbage collection, checking, protection. Pouch's own, not Docker's. */
#include <stdlib.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"

/* A percentage of the query; 0 when it is absent. */
static int query_percent(const struct http_request *req, const char *name, uint64_t *ret,
                         struct error *e)
{
    const char *text = http_query(req, name);

    if (str_is_empty(text))
        return 0;
    if (parse_u64(text, ret) < 0 || *ret < 1 || *ret > 100)
        return error_set(e, ERR_INVALID, "%s: \"%.40s\" is not a percentage", name, text);
    return 0;
}

void api_store_gc(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *age = http_query(req, "minAge");
    struct image_gc_params p = {.min_age = str_is_empty(age) ? NULL : age,
                                .dry_run = http_query_bool(req, "dryRun", false)};
    struct image_gc_result result = {0};
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (query_percent(req, "low", &p.low, &e) < 0 ||
        image_gc(engine_images(api_engine(ctx)), &p, &result, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_obj(&w, NULL, &image_gc_result_json, &result);
    (void)buf_putc(&b, '\n');
    image_gc_result_done(&result);
    http_reply_json(req, 200, &b);
}

/* The whole answer, or with `progress` the last line of a stream. */
static void fsck_answer(struct http_request *req, bool stream, struct image_fsck_result *result)
{
    AUTO(error) struct error none = ERROR_INIT;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    jsonw_obj(&w, NULL, &image_fsck_result_json, result);
    if (!stream) {
        (void)buf_putc(&b, '\n');
        http_reply_json(req, 200, &b);
        return;
    }
    const struct image_progress last = {.aux = buf_str(&b)};
    (void)!api_progress_send(req, &last);
    api_progress_end(req, 0, &none);
    buf_done(&b);
}

void api_store_fsck(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    bool stream = http_query_bool(req, "progress", false);
    const struct image_fsck_params p = {.repair = http_query_bool(req, "repair", false),
                                        .quick = http_query_bool(req, "quick", false),
                                        .auth = &auth,
                                        .progress = stream ? api_progress_send : NULL,
                                        .progress_data = req,
                                        .cancel_fd = http_client_fd(req)};
    struct image_fsck_result result = {0};
    /* By host alone: X-Registry-Auth would be shown to every registry that is asked. */
    int r = image_auth_parse(NULL, http_header(req, "X-Registry-Config"), &auth, &e);

    if (r >= 0)
        r = image_fsck(engine_images(api_engine(ctx)), &p, &result, &e);
    if (r >= 0) {
        fsck_answer(req, stream, &result);
        image_fsck_result_done(&result);
    } else if (stream) {
        api_progress_end(req, r, &e);
    } else {
        http_reply_error(req, &e);
    }
}

void api_store_protect(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *name = http_query(req, "image");
    int r = image_protect(engine_images(api_engine(ctx)), name ? name : "",
                          http_query_bool(req, "on", true), &e);

    api_done(req, r, 204, &e);
}
