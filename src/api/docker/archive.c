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
        .write = send_bytes,
        .write_data = req,
    };

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
