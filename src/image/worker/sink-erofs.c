/* SPDX-License-Identifier: Apache-2.0 */
/* Entries → an EROFS file, written here (driver erofs): nothing is unpacked by anybody. */
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "erofs/erofs.h"
#include "image/worker/worker.h"

/* Linux 5.17 and later say here what their EROFS knows; chunks came with 5.15. */
#define CHUNKS_KNOWN "/sys/fs/erofs/features/chunked_file"

struct erofs {
    struct layer_sink sink;
    struct erofs_writer *writer;
};

static int erofs_entry(struct layer_sink *sink, const struct layer_entry *entry, struct error *e)
{
    return erofs_writer_entry(((struct erofs *)sink)->writer, entry, e);
}

static int erofs_data(struct layer_sink *sink, uint64_t offset, const void *data, size_t len,
                      struct error *e)
{
    return erofs_writer_data(((struct erofs *)sink)->writer, offset, data, len, e);
}

static int erofs_file_end(struct layer_sink *sink, struct error *e)
{
    return erofs_writer_file_end(((struct erofs *)sink)->writer, e);
}

static int erofs_finish(struct layer_sink *sink, struct error *e)
{
    return erofs_writer_finish(((struct erofs *)sink)->writer, NULL, e);
}

/* pouchd gives the file its name when it hears that the layer is done. */
static int erofs_end(struct layer_sink *sink, struct error *e)
{
    (void)sink;
    (void)e;
    return 0;
}

static void erofs_free(struct layer_sink *sink)
{
    erofs_writer_free(((struct erofs *)sink)->writer);
    free(sink);
}

int sink_erofs_new(int fd, struct layer_sink **ret, struct error *e)
{
    static const struct layer_sink_ops ops = {
        .entry = erofs_entry,
        .data = erofs_data,
        .file_end = erofs_file_end,
        .finish = erofs_finish,
        .end = erofs_end,
        .free = erofs_free,
    };
    const struct erofs_writer_params params = {.fd = fd,
                                               .no_chunks = access(CHUNKS_KNOWN, F_OK) < 0};
    struct erofs_writer *writer = NULL;
    struct erofs *s;
    int r = erofs_writer_new(&params, &writer, e);

    if (r < 0)
        return r;
    s = xcalloc(1, sizeof(*s));
    s->sink.ops = &ops;
    s->writer = writer;
    *ret = &s->sink;
    return 0;
}
