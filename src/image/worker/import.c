/* SPDX-License-Identifier: Apache-2.0 */
/* import: a root file system's archive becomes the only layer of a new image. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/worker/http.h"
#include "image/worker/worker.h"

int layer_source_stream(struct layer *l, struct error *e)
{
    int fd = *(int *)l->source_data;
    AUTOFREE unsigned char *buf = xmalloc(CHUNK_SIZE);
    ssize_t n;
    int r;

    while ((n = fs_read_full(fd, buf, CHUNK_SIZE)) > 0) {
        r = layer_feed(l, buf, (size_t)n, e);
        if (r < 0)
            return r;
    }
    if (n < 0)
        return error_set_errno(e, (int)n, "cannot read the archive");
    if (l->done == 0)
        return error_set(e, ERR_INVALID, "the archive is empty");
    return 0;
}

static int feed_sink(void *data, const void *bytes, size_t len)
{
    struct layer *l = data;
    AUTO(error) struct error e = ERROR_INIT;
    int r = layer_feed(l, bytes, len, &e);

    /* -EPIPE without a message: the pipeline stopped, and tells why. */
    return r;
}

/* The archive of a web server. start->names: proxies for http and https, and who needs none. */
static int source_url(struct layer *l, struct error *e)
{
    const struct worker_msg *start = l->source_data;
    const struct http_setup setup = {
        .insecure = str_has_prefix(start->reference, "http://"),
        .http_proxy = strv_len(start->names) > 2 ? start->names[0] : NULL,
        .https_proxy = strv_len(start->names) > 2 ? start->names[1] : NULL,
        .no_proxy = strv_len(start->names) > 2 ? start->names[2] : NULL,
        .stall_timeout = start->stall_timeout,
    };
    const struct http_request req = {.url = start->reference,
                                     .setup = &setup,
                                     .sink = feed_sink,
                                     .sink_data = l};
    CLEANUP(http_response_done) struct http_response resp = {0};
    AUTO(error) struct error why = ERROR_INIT;
    int r = http_perform(l->client, &req, &resp, &why);

    if (resp.sink_status < 0)
        return resp.sink_status; /* the pipeline knows why */
    if (r < 0) {
        error_move(e, &why);
        error_add(e, "cannot fetch %.300s", start->reference);
        return r;
    }
    if (resp.status < 200 || resp.status > 299)
        return error_set(e, ERR_UNAVAILABLE, "cannot fetch %.300s: it is answered with %ld",
                         start->reference, resp.status);
    if (l->done == 0)
        return error_set(e, ERR_INVALID, "the archive is empty");
    return 0;
}

/* start->config is the image's configuration with "diff_ids":[] to be filled. */
static int put_config(const struct worker_msg *start, const char *diff_id, char digest[DIGEST_MAX],
                      struct error *e)
{
    static const char mark[] = "\"diff_ids\":[";
    AUTO(buf) struct buf text = BUF_INIT(OCI_CONFIG_MAX);
    const char *at = start->config ? strstr(start->config, mark) : NULL;

    if (!at)
        return error_set(e, ERR_INTERNAL, "the new image's configuration is malformed");
    at += strlen(mark);
    if (buf_append(&text, start->config, (size_t)(at - start->config)) < 0 ||
        buf_printf(&text, "\"%s\"%s", diff_id, at) < 0)
        return error_set(e, ERR_TOO_LARGE, "the new image's configuration is too large");
    if (digest_bytes(text.data, text.len, digest) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    return conn_put_blob("config", digest, text.data, text.len, e);
}

int worker_import(const struct worker_msg *start, int input, struct error *e)
{
    struct layer l = {.size = -1, .source = layer_source_stream, .source_data = &input};
    struct worker_msg plan = {.type = (char *)"plan", .media_type = (char *)OCI_MT_LAYER};
    char config[DIGEST_MAX];

    if (!str_is_empty(start->reference)) {
        l.source = source_url;
        l.source_data = (void *)(uintptr_t)start;
    }
    int r = conn_send(&plan, e);
    if (r >= 0)
        r = layers_run(&l, 1, 1, e);
    if (r >= 0)
        r = put_config(start, l.diff_id, config, e);
    if (r < 0)
        return r;
    char *layers[] = {l.diff_id, NULL};
    struct worker_msg m = {.type = (char *)"image", .config = config, .layers = layers};
    return conn_send(&m, e);
}
