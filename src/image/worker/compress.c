/* SPDX-License-Identifier: Apache-2.0 */
/* The operation "compress": from one pipe into another, for what pouchd sends out as a stream. */
#include <errno.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/worker/journal.h"
#include "image/worker/worker.h"

static int write_out(void *data, const void *bytes, size_t len, struct error *e)
{
    const int *fd = data;
    int r = fs_write_all(*fd, bytes, len);

    return r < 0 ? error_set_errno(e, r, "cannot write the compressed stream") : 0;
}

int worker_compress(const struct worker_msg *start, int in, int out, struct error *e)
{
    AUTOFREE unsigned char *data = xmalloc(CHUNK_SIZE);
    AUTOPTR(codec) struct codec *c = NULL;
    enum oci_compression to = OCI_PLAIN;
    struct journal_recipe recipe;

    if (start->media_type && STREQ(start->media_type, "gzip"))
        to = OCI_GZIP;
    else if (start->media_type && STREQ(start->media_type, "zstd"))
        to = OCI_ZSTD;
    if (to == OCI_PLAIN || codec_recipe(to, 0, &recipe) < 0)
        return error_set(e, ERR_INTERNAL, "the image worker got an unknown compression");
    int r = codec_new(&recipe, -EBADF, write_out, &out, &c, e);
    for (size_t n = CHUNK_SIZE; r >= 0 && n == CHUNK_SIZE;) {
        ssize_t got = fs_read_full(in, data, CHUNK_SIZE);
        if (got < 0)
            return error_set_errno(e, (int)got, "cannot read what is to be compressed");
        n = (size_t)got;
        r = codec_push(c, data, n, e);
    }
    return r < 0 ? r : codec_finish(c, e);
}
