/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: what is, and what is done to them. Streams are in stream.c. */
#include <stdlib.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

static const char *container_ref(const struct http_request *req)
{
    return http_param(req, "id");
}

static void encode_list(struct http_request *req, struct engine *en,
                        const struct container_list *list, bool sizes)
{
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct map *known = map_new();
    int64_t now = time_now_ns();

    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; i < list->len; i++) {
        uint64_t rw = 0, rootfs = 0;

        /* A container that goes meanwhile has no size; it stays in the answer. */
        if (sizes && engine_container_size(en, list->items[i], &rw, &rootfs, NULL) < 0)
            rw = rootfs = 0;
        encode_container_summary(&w, list->items[i], engine_image_title(en, list->items[i], known),
                                 now, sizes, rw, rootfs);
    }
    map_free(known, free);
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_container_list(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(filter_set) struct filter_set f = {0};
    struct container_list list = {0};
    int64_t limit = 0;

    if (docker_number_parse("limit", http_query(req, "limit"), INT32_MIN, INT32_MAX, &limit, &e) <
        0) {
        http_reply_error(req, &e);
        return;
    }
    if (api_filters(req, &f) < 0)
        return;
    if (limit < 0) /* "docker ps" without --last sends -1 */
        limit = 0;
    if (engine_list(api_engine(ctx), http_query_bool(req, "all", false), limit, &f, &list, &e) <
        0) {
        http_reply_error(req, &e);
        return;
    }
    encode_list(req, api_engine(ctx), &list, http_query_bool(req, "size", false));
    container_list_done(&list);
}

/* Clients take any 404 of this route for a missing image, and pull it: what else was not found (a
 * network, another container) is a bad request. */
static void reply_create_error(struct http_request *req, const struct error *e)
{
    if (e->code == ERR_NOT_FOUND && !str_has_prefix(error_message(e), "No such image") &&
        !strstr(error_message(e), "does not match the specified platform"))
        http_reply_message(req, 400, "%s", error_message(e));
    else
        http_reply_error(req, e);
}

void api_container_create(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct container_config config = {0};
    struct create_extra extra = {0};
    struct engine_created created = {0};
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    const char *name = http_query(req, "name"), *platform = http_query(req, "platform"), *body;
    size_t len;

    if (api_want_json(req) < 0)
        return;
    body = http_body(req, &len);
    if (docker_create_parse(body, len, &config, &extra, &e) < 0 ||
        engine_create(api_engine(ctx), str_is_empty(name) ? NULL : name,
                      str_is_empty(platform) ? NULL : platform, &config, &extra, &created,
                      &e) < 0) {
        reply_create_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Id", created.id);
    jsonw_strv(&w, "Warnings", created.warnings);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    strv_free(created.warnings);
    http_reply_json(req, 201, &b);
}

void api_container_inspect(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(container_view) struct container_view *v = NULL;
    struct buf b = ANSWER_INIT;
    uint64_t rw = 0, rootfs = 0;
    bool sizes = http_query_bool(req, "size", false);

    if (engine_inspect(api_engine(ctx), container_ref(req), &v, &e) < 0 ||
        (sizes && engine_container_size(api_engine(ctx), v, &rw, &rootfs, &e) < 0)) {
        http_reply_error(req, &e);
        return;
    }
    encode_container(v, sizes, rw, rootfs, &b);
    http_reply_json(req, 200, &b);
}

void api_container_start(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **warnings = NULL;
    int r = engine_start(api_engine(ctx), container_ref(req), http_query(req, "detachKeys"),
                         &warnings, &e);

    /* RFC 7234, 5.5: 299 is "Miscellaneous Persistent Warning". Docker's answer has no body. */
    for (size_t i = 0; warnings && warnings[i]; i++) {
        AUTOFREE char *text = xasprintf("299 pouch \"%s\"", warnings[i]);

        http_header_add(req, "Warning", text);
    }
    api_done(req, r, 204, &e);
}

typedef int (*stop_fn)(struct engine *en, const char *ref, const char *signal,
                       struct opt_int timeout, struct error *e);

static void stop_with(struct http_request *req, void *ctx, stop_fn fn)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *t = http_query(req, "t"), *signal = http_query(req, "signal");
    struct opt_int timeout = {.set = !str_is_empty(t)};
    int r = docker_number_parse("t", t, INT32_MIN, INT32_MAX, &timeout.value, &e);

    if (r == 0)
        r = fn(api_engine(ctx), container_ref(req), str_is_empty(signal) ? NULL : signal, timeout,
               &e);
    api_done(req, r, 204, &e);
}

void api_container_stop(struct http_request *req, void *ctx)
{
    stop_with(req, ctx, engine_stop);
}

void api_container_restart(struct http_request *req, void *ctx)
{
    stop_with(req, ctx, engine_restart);
}

void api_container_kill(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *signal = http_query(req, "signal");
    int r = engine_kill(api_engine(ctx), container_ref(req), str_is_empty(signal) ? NULL : signal,
                        &e);

    api_done(req, r, 204, &e);
}

void api_container_pause(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;

    api_done(req, engine_pause(api_engine(ctx), container_ref(req), &e), 204, &e);
}

void api_container_unpause(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;

    api_done(req, engine_unpause(api_engine(ctx), container_ref(req), &e), 204, &e);
}

void api_container_remount_lxcfs(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    size_t n;

    api_done(req, engine_remount_lxcfs(api_engine(ctx), container_ref(req), &n, &e), 204, &e);
}

void api_remount_lxcfs(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    size_t n;

    if (engine_remount_lxcfs(api_engine(ctx), NULL, &n, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_int(&w, "Containers", (int64_t)n);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_container_rename(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *name = http_query(req, "name");

    api_done(req, engine_rename(api_engine(ctx), container_ref(req), name ? name : "", &e), 204,
             &e);
}

static void reply_warnings(struct http_request *req, int r, char *const *warnings, struct error *e)
{
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (r < 0) {
        http_reply_error(req, e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_strv(&w, "Warnings", warnings);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_container_update(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **warnings = NULL;
    struct container_update u = {0};
    int r;

    if (api_body(req, &container_update_json, &u) < 0)
        return;
    r = engine_update(api_engine(ctx), container_ref(req), &u, &warnings, &e);
    json_free(&container_update_json, &u);
    reply_warnings(req, r, warnings, &e);
}

void api_container_upgrade(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **warnings = NULL;
    struct container_upgrade u = {0};
    int r;

    if (api_body(req, &container_upgrade_json, &u) < 0)
        return;
    r = engine_upgrade(api_engine(ctx), container_ref(req), &u, &warnings, &e);
    json_free(&container_upgrade_json, &u);
    reply_warnings(req, r, warnings, &e);
}

void api_container_resize(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    int64_t h = 0, w = 0;
    int r = docker_number_parse("h", http_query(req, "h"), 0, UINT16_MAX, &h, &e);

    if (r == 0)
        r = docker_number_parse("w", http_query(req, "w"), 0, UINT16_MAX, &w, &e);
    if (r == 0)
        r = engine_resize(api_engine(ctx), container_ref(req), (unsigned)h, (unsigned)w, &e);
    api_done(req, r, 200, &e);
}

void api_container_remove(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    int r;

    if (http_query_bool(req, "link", false))
        r = error_set(&e, ERR_INVALID, "links between containers are not supported");
    else
        r = engine_remove(api_engine(ctx), container_ref(req), http_query_bool(req, "force", false),
                          http_query_bool(req, "v", false), &e);
    api_done(req, r, 204, &e);
}

void api_container_top(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    char **titles = NULL, ***rows = NULL;

    if (engine_top(api_engine(ctx), container_ref(req), http_query(req, "ps_args"), &titles, &rows,
                   &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_strv(&w, "Titles", titles);
    jsonw_list_begin(&w, "Processes");
    for (char ***row = rows; row && *row; row++) {
        jsonw_strv(&w, NULL, *row);
        strv_free(*row);
    }
    jsonw_list_end(&w);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    free(rows);
    strv_free(titles);
    http_reply_json(req, 200, &b);
}
