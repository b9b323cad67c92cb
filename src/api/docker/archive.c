/* SPDX-License-Identifier: Apache-2.0 */
/* Archives going out: images (save) and root file systems of containers (export). */
#include <stdlib.h>

#include "api/docker/docker-priv.h"
#include "base/str.h"
#include "base/strv.h"

/* The stream begins with its first bytes, so that what fails before gets a status of its own. */
static int send_bytes(void *data, const void *bytes, size_t len)
{
    struct http_request *req = data;
    int r = 0;

    if (!http_replied(req))
        r = http_stream_begin(req, 200, "application/x-tar");
    return r < 0 ? r : http_stream_write(req, bytes, len);
}

/* A failure after the first bytes shows as a broken stream: an archive that ends well is whole. */
static void end_stream(struct http_request *req, int r, const struct error *e)
{
    if (r >= 0)
        return;
    if (http_replied(req))
        http_stream_abort(req);
    else
        http_reply_error(req, e);
}

static void save(struct http_request *req, void *ctx, char *const *names)
{
    AUTO(error) struct error e = ERROR_INIT;
    const struct image_save_params p = {
        .names = names,
        .format = http_query(req, "format"),
        .compression = http_query(req, "compression"),
        .platform = http_query(req, "platform"),
        .cancel_fd = http_client_fd(req),
        .write = send_bytes,
        .write_data = req,
    };

    if (api_one_platform(req, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    end_stream(req, engine_image_save(api_engine(ctx), &p, &e), &e);
}

void api_image_save(struct http_request *req, void *ctx)
{
    AUTOPTR(strv) char **names = http_query_all(req, "names");

    save(req, ctx, names);
}

void api_image_save_one(struct http_request *req, void *ctx)
{
    char *names[] = {(char *)http_param(req, "name"), NULL};

    save(req, ctx, names);
}

void api_container_export(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;

    end_stream(req, engine_export(api_engine(ctx), http_param(req, "id"), send_bytes, req, &e), &e);
}

void api_container_changes(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct json_list list = {0};
    struct buf b = {.max = (size_t)1 << 30}; /* as long as what the container changed */
    struct jsonw w = {.out = &b};
    const struct container_change *c;

    if (engine_changes(api_engine(ctx), http_param(req, "id"), &list, &e) < 0) {
        container_changes_done(&list);
        http_reply_error(req, &e);
        return;
    }
    c = list.items;
    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; i < list.len; i++) {
        jsonw_begin(&w, NULL);
        jsonw_str(&w, "Path", c[i].path);
        jsonw_int(&w, "Kind", (int64_t)c[i].kind);
        jsonw_end(&w);
    }
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    container_changes_done(&list);
    http_reply_json(req, 200, &b);
}

static int commit(struct http_request *req, void *ctx, char **ret_id, struct error *e)
{
    AUTOPTR(strv) char **changes = http_query_all(req, "changes");
    struct oci_image_config config = {0};
    struct container_commit c = {
        .repo = http_query(req, "repo"),
        .tag = http_query(req, "tag"),
        .comment = http_query(req, "comment"),
        .author = http_query(req, "author"),
        .changes = changes,
        .pause = http_query_bool(req, "pause", true),
        .cancel_fd = http_client_fd(req),
    };
    size_t len = 0;
    const char *body = http_body(req, &len), *container = http_query(req, "container");
    int r = 0;

    if (str_is_empty(container))
        return error_set(e, ERR_INVALID, "the parameter container is needed");
    /* docker sends "null" or an empty object when it has nothing to say. */
    if (len > 0 && !str_has_prefix(body, "null")) {
        r = json_parse(&oci_image_config_json, body, len, &config, e);
        c.config = &config;
    }
    if (r >= 0)
        r = engine_commit(api_engine(ctx), container, &c, ret_id, e);
    json_free(&oci_image_config_json, &config);
    return r;
}

void api_commit(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *id = NULL;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (commit(req, ctx, &id, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Id", id);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 201, &b);
}
