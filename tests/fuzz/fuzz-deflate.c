/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip streams and their records. The first byte says which way: a stream that is taken apart (what
 * can be must come back as it was), or a record that is replayed with a model over some bytes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <zlib.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/worker/deflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (256u * 1024)
#define PLAIN_MAX (4u * 1024 * 1024)

struct state {
    const uint8_t *stream; /* NULL: whatever comes is fine */
    size_t len, done;
};

static int compare(void *data, const void *bytes, size_t len, struct error *e)
{
    struct state *s = data;

    if (s->stream && (len > s->len - s->done || memcmp(s->stream + s->done, bytes, len) != 0))
        abort();
    s->done += len;
    return 0;
}

/* All members, by zlib; -1: too much, or zlib does not like it. */
static ssize_t inflate_all(const uint8_t *data, size_t size, unsigned char *out)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)data,
                  .avail_in = (unsigned)size,
                  .next_out = out,
                  .avail_out = PLAIN_MAX};
    int r = inflateInit2(&z, 31);

    while (r == Z_OK && z.avail_out > 0) {
        r = inflate(&z, Z_NO_FLUSH);
        if (r == Z_STREAM_END && z.avail_in > 0 && *z.next_in != 0)
            r = inflateReset(&z);
    }
    (void)inflateEnd(&z);
    return r == Z_STREAM_END && z.avail_out > 0 ? (ssize_t)(PLAIN_MAX - z.avail_out) : -1;
}

static int replay(int fd, uint64_t len, unsigned model, const unsigned char *plain, size_t size,
                  struct state *s)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(deflate_replay) struct deflate_replay *r = NULL;
    int rc = deflate_replay_new(fd, 0, len, model, 16u << 20, compare, s, &r, &e);

    if (rc >= 0)
        rc = deflate_replay_push(r, plain, size, &e);
    return rc < 0 ? rc : deflate_replay_finish(r, &e);
}

static void take_apart(const uint8_t *data, size_t size, unsigned char *plain)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFD int in = memfd_create("stream", MFD_CLOEXEC);
    AUTOFD int out = memfd_create("record", MFD_CLOEXEC);
    struct state s = {data, size, 0};
    unsigned model = 0;
    uint64_t len = 0;
    ssize_t n = inflate_all(data, size, plain);

    if (n < 0 || in < 0 || out < 0 || fs_write_all(in, data, size) < 0 ||
        deflate_record_write(in, out, &model, &len, &e) < 0)
        return;
    if (replay(out, len, model, plain, (size_t)n, &s) < 0 || s.done != size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct state s = {0};

    if (size < 3 || size > INPUT_MAX)
        return 0;
    AUTOFREE unsigned char *plain = xmalloc(PLAIN_MAX);
    if (data[0] & 1) {
        take_apart(data + 1, size - 1, plain);
        return 0;
    }
    AUTOFD int fd = memfd_create("record", MFD_CLOEXEC);
    size_t len = 1000u * data[2];
    for (size_t i = 0; i < len; i++)
        plain[i] = (unsigned char)(i * i >> 9);
    if (fd >= 0 && fs_write_all(fd, data + 3, size - 3) >= 0)
        (void)!replay(fd, size - 3, data[1], plain, len, &s);
    return 0;
}
