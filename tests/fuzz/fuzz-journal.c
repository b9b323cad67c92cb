/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journals of layers. The first byte says which way: an archive that is taken apart (what can be
 * must come back as it was), or a journal that is replayed.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/worker/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (256u * 1024)

struct state {
    const uint8_t *tar; /* NULL: whatever comes is fine */
    size_t len, done;
};

static int compare(void *data, const void *bytes, size_t len, struct error *e)
{
    struct state *s = data;

    if (s->tar && (len > s->len - s->done || memcmp(s->tar + s->done, bytes, len) != 0))
        abort();
    s->done += len;
    return s->done > 64u * 1024 * 1024 ? error_set(e, ERR_TOO_LARGE, "enough") : 0;
}

/* The layer has every file as the archive did: the bytes that lie next in it. */
static int content(void *data, const char *path, uint64_t size, journal_sink *sink, void *sink_data,
                   struct error *e)
{
    const struct state *s = data;

    if (!s->tar) {
        static const char some[4096];
        return sink(sink_data, some, size < sizeof(some) ? (size_t)size : sizeof(some), e);
    }
    if (size > s->len - s->done)
        abort();
    return sink(sink_data, s->tar + s->done, (size_t)size, e);
}

static void take_apart(int fd, const uint8_t *data, size_t size)
{
    const struct journal_recipe recipe = {.codec = JOURNAL_TAR};
    AUTO(error) struct error e = ERROR_INIT;
    struct journal_recipe again;
    struct state s = {data, size, 0};
    struct chunkq q;

    chunkq_init(&q);
    for (size_t at = 0; at < size;) {
        struct chunk *c = chunk_new();
        c->len = size - at < CHUNK_SIZE ? size - at : CHUNK_SIZE;
        memcpy(c->data, data + at, c->len);
        at += c->len;
        if (chunkq_push(&q, c) < 0)
            abort();
    }
    chunkq_close(&q, 0);
    int r = journal_write(&q, &recipe, UINT64_MAX, fd, &e);
    chunkq_done(&q);
    if (r < 0)
        return;
    if (journal_read_recipe(fd, &again, &e) < 0 ||
        journal_replay(fd, content, &s, compare, &s, &e) < 0 || s.done != size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct journal_recipe recipe;
    struct state s = {0};

    if (size < 1 || size > INPUT_MAX)
        return 0;
    AUTOFD int fd = memfd_create("journal", MFD_CLOEXEC);
    if (fd < 0)
        return 0;
    if (data[0] & 1) {
        take_apart(fd, data + 1, size - 1);
    } else if (fs_write_all(fd, data + 1, size - 1) >= 0 &&
               journal_read_recipe(fd, &recipe, &e) >= 0) {
        (void)!journal_replay(fd, content, &s, compare, &s, &e);
    }
    return 0;
}
