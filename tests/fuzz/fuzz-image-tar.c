/* SPDX-License-Identifier: Apache-2.0 */
/* A layer as it comes from a registry: decompression, tar, entry stream; the stream is well formed
 * as far as it goes. */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/entry-stream.h"
#include "image/worker/worker.h"

#define STREAM_MAX (8u * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next n bytes, or NULL: the stream ends in the middle, as it may after an error. */
static const uint8_t *take(const uint8_t **p, const uint8_t *end, size_t n)
{
    const uint8_t *at = *p;

    if ((size_t)(end - at) < n)
        return NULL;
    *p += n;
    return at;
}

static int check_entry(const uint8_t **p, const uint8_t *end)
{
    struct entry_header h;
    struct entry_chunk c;
    struct entry_xattr x;
    const uint8_t *at = take(p, end, sizeof(h));
    uint64_t done = 0;

    if (!at)
        return 0;
    memcpy(&h, at, sizeof(h));
    assert(h.magic == ENTRY_HEADER_MAGIC && h.type != ENTRY_END && h.type < ENTRY_TYPE_MAX);
    assert(h.path_len < ENTRY_PATH_MAX && h.link_len < ENTRY_LINK_MAX && h.mode <= 07777);
    assert(h.xattr_count <= ENTRY_XATTRS_MAX && h.mtime_nsec < 1000000000);
    at = take(p, end, (size_t)h.path_len + h.link_len);
    if (!at)
        return 0;
    assert(!memchr(at, '\0', (size_t)h.path_len + h.link_len));
    assert(h.path_len == 0 || (at[0] != '/' && at[h.path_len - 1] != '/'));
    for (unsigned i = 0; i < h.xattr_count; i++) {
        if (!(at = take(p, end, sizeof(x))))
            return 0;
        memcpy(&x, at, sizeof(x));
        assert(x.name_len > 0 && x.name_len <= ENTRY_XATTR_NAME_MAX);
        assert(x.value_len <= ENTRY_XATTR_SIZE_MAX);
        if (!take(p, end, (size_t)x.name_len + x.value_len))
            return 0;
    }
    while (h.type == ENTRY_FILE) {
        if (!(at = take(p, end, sizeof(c))))
            return 0;
        memcpy(&c, at, sizeof(c));
        if (c.len == 0)
            break;
        assert(c.len <= ENTRY_CHUNK_MAX && c.offset >= done && c.offset + c.len <= h.size);
        done = c.offset + c.len;
        if (!take(p, end, c.len))
            return 0;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFD int fd = memfd_create("stream", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    AUTO(error) struct error e = ERROR_INIT;
    struct tar_result result = {0};
    struct entry_stream_head head;
    AUTOPTR(layer_sink) struct layer_sink *sink = sink_stream_new(fd);
    struct pipeline p;

    signal(SIGPIPE, SIG_IGN);
    /* The file cannot grow past STREAM_MAX: a bomb gets an error, not the disk. */
    if (fd < 0 || ftruncate(fd, STREAM_MAX) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) < 0)
        abort();
    if (pipeline_start(&p, sink, DIGEST_SHA256, &e) < 0)
        abort();
    (void)!pipeline_feed(&p, data, size);
    int r = pipeline_finish(&p, 0, &result, &e);
    assert(r >= 0 || e.message);
    off_t len = lseek(fd, 0, SEEK_CUR);
    uint8_t *stream = mmap(NULL, STREAM_MAX, PROT_READ, MAP_SHARED, fd, 0);
    if (stream == MAP_FAILED)
        abort();
    const uint8_t *at = stream, *end = stream + len;
    if ((size_t)len >= sizeof(head)) {
        memcpy(&head, take(&at, end, sizeof(head)), sizeof(head));
        assert(head.magic == ENTRY_STREAM_MAGIC);
        while (check_entry(&at, end))
            ;
        assert(r < 0 || at == end);
    }
    munmap(stream, STREAM_MAX);
    return 0;
}
