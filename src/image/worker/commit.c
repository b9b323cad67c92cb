/* SPDX-License-Identifier: Apache-2.0 */
/* commit: a layer's archive becomes the top layer of a new image, whose configuration pouchd made. */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "image/worker/worker.h"

/* The diff id stands in the configuration as a mark that pouchd chose at random. */
static int put_config(int fd, const char *mark, const char *diff_id, char digest[DIGEST_MAX],
                      struct error *e)
{
    AUTO(buf) struct buf text = BUF_INIT(OCI_CONFIG_MAX);
    char *at = NULL;
    ssize_t n = 0;

    do {
        char *room = buf_reserve(&text, 64u * 1024);

        n = room ? fs_read_full(fd, room, 64u * 1024) : -EFBIG;
        if (n > 0)
            buf_commit(&text, (size_t)n);
    } while (n > 0);
    if (n < 0)
        return error_set_errno(e, (int)n, "cannot read the new image's configuration");
    if (mark) {
        at = memmem(text.data, text.len, mark, strlen(mark));
        if (!at || strlen(mark) != strlen(diff_id))
            return error_set(e, ERR_INTERNAL, "the new image's configuration is malformed");
        memcpy(at, diff_id, strlen(diff_id));
    }
    if (digest_bytes(text.data, text.len, digest) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    return conn_put_blob("config", digest, text.data, text.len, e);
}

int worker_commit(const struct worker_msg *start, int config_fd, int layer_fd, struct error *e)
{
    struct layer l = {.size = -1, .source = layer_source_stream, .source_data = &layer_fd};
    struct worker_msg plan = {.type = (char *)"plan", .media_type = (char *)OCI_MT_LAYER};
    AUTOPTR(strv) char **layers = strv_copy(start->layers);
    char config[DIGEST_MAX];
    int r = 0;

    if (start->diff_id && layer_fd < 0)
        return error_set(e, ERR_INTERNAL, "the image worker got no layer");
    if (start->diff_id) {
        r = conn_send(&plan, e);
        if (r >= 0)
            r = layers_run(&l, 1, 1, e);
        strv_push(&layers, l.diff_id);
    }
    if (r >= 0)
        r = put_config(config_fd, start->diff_id, l.diff_id, config, e);
    if (r < 0)
        return r;
    struct worker_msg m = {.type = (char *)"image", .config = config, .layers = layers};
    return conn_send(&m, e);
}
