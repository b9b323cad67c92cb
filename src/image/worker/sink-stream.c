/* SPDX-License-Identifier: Apache-2.0 */
/* Entries → the entry stream in a pipe, which pouch-unpack turns into a folder (driver overlay). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/entry-stream.h"
#include "image/worker/worker.h"

#define OUT_SIZE (256u * 1024)
#define COPY_MAX (16u * 1024) /* smaller pieces are gathered, larger ones written directly */

struct stream {
    struct layer_sink sink;
    int fd;
    bool begun;
    size_t len;
    unsigned char out[OUT_SIZE];
};

static int write_error(int r, struct error *e)
{
    /* EPIPE: pouch-unpack gave up; pouchd knows its reason and shows that. */
    if (r == -EPIPE)
        return error_set_errno(e, EPIPE, "unpacking stopped");
    return error_set_errno(e, r, "cannot pass the layer's files on");
}

static int flush(struct stream *s, struct error *e)
{
    int r = s->len > 0 ? fs_write_all(s->fd, s->out, s->len) : 0;

    s->len = 0;
    return r < 0 ? write_error(r, e) : 0;
}

/* What is gathered and a large piece in one call. */
static int put_large(struct stream *s, const void *data, size_t len, struct error *e)
{
    const struct iovec iov[] = {{s->out, s->len}, {(void *)data, len}};
    size_t done;
    ssize_t n;
    int r = 0;

    do
        n = writev(s->fd, iov, 2);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return write_error(-errno, e);
    done = (size_t)n;
    if (done < s->len) /* interrupted in the middle */
        r = fs_write_all(s->fd, s->out + done, s->len - done);
    done = done > s->len ? done - s->len : 0;
    s->len = 0;
    if (r >= 0 && done < len)
        r = fs_write_all(s->fd, (const char *)data + done, len - done);
    return r < 0 ? write_error(r, e) : 0;
}

static int put(struct stream *s, const void *data, size_t len, struct error *e)
{
    int r;

    if (len > COPY_MAX)
        return put_large(s, data, len, e);
    if (s->len + len > OUT_SIZE && (r = flush(s, e)) < 0)
        return r;
    if (len > 0)
        memcpy(s->out + s->len, data, len);
    s->len += len;
    return 0;
}

static int begin(struct stream *s, struct error *e)
{
    const struct entry_stream_head head = {ENTRY_STREAM_MAGIC, 1};

    if (s->begun)
        return 0;
    s->begun = true;
    return put(s, &head, sizeof(head), e);
}

static const uint8_t TYPES[] = {
    [LAYER_FILE] = ENTRY_FILE,         [LAYER_DIR] = ENTRY_DIR,   [LAYER_SYMLINK] = ENTRY_SYMLINK,
    [LAYER_HARDLINK] = ENTRY_HARDLINK, [LAYER_CHAR] = ENTRY_CHAR, [LAYER_BLOCK] = ENTRY_BLOCK,
    [LAYER_FIFO] = ENTRY_FIFO,
};

static int stream_entry(struct layer_sink *sink, const struct layer_entry *entry, struct error *e)
{
    struct stream *s = (struct stream *)sink;
    const struct entry_header h = {
        .magic = ENTRY_HEADER_MAGIC,
        .type = TYPES[entry->type],
        .path_len = (uint16_t)strlen(entry->path),
        .link_len = (uint16_t)strlen(entry->link),
        .xattr_count = (uint16_t)entry->xattr_count,
        .mode = entry->mode,
        .uid = entry->uid,
        .gid = entry->gid,
        .dev_major = entry->dev_major,
        .dev_minor = entry->dev_minor,
        .size = entry->size,
        .mtime_sec = entry->mtime_sec,
        .mtime_nsec = entry->mtime_nsec,
    };
    int r = begin(s, e);

    if (r < 0 || (r = put(s, &h, sizeof(h), e)) < 0 ||
        (r = put(s, entry->path, h.path_len, e)) < 0 ||
        (r = put(s, entry->link, h.link_len, e)) < 0)
        return r;
    for (size_t i = 0; r >= 0 && i < entry->xattr_count; i++) {
        const struct layer_xattr *from = &entry->xattrs[i];
        const struct entry_xattr x = {.name_len = (uint16_t)strlen(from->name),
                                      .value_len = (uint32_t)from->size};

        if ((r = put(s, &x, sizeof(x), e)) >= 0 && (r = put(s, from->name, x.name_len, e)) >= 0)
            r = put(s, from->value, from->size, e);
    }
    return r;
}

static int stream_data(struct layer_sink *sink, uint64_t offset, const void *data, size_t len,
                       struct error *e)
{
    struct stream *s = (struct stream *)sink;
    int r = 0;

    while (r >= 0 && len > 0) {
        size_t n = len < ENTRY_CHUNK_MAX ? len : ENTRY_CHUNK_MAX;
        const struct entry_chunk c = {.offset = offset, .len = (uint32_t)n};

        if ((r = put(s, &c, sizeof(c), e)) >= 0)
            r = put(s, data, n, e);
        data = (const char *)data + n;
        offset += n;
        len -= n;
    }
    return r;
}

static int stream_file_end(struct layer_sink *sink, struct error *e)
{
    const struct entry_chunk end = {0};

    return put((struct stream *)sink, &end, sizeof(end), e);
}

static int stream_finish(struct layer_sink *sink, struct error *e)
{
    struct stream *s = (struct stream *)sink;
    int r = begin(s, e);

    return r < 0 ? r : flush(s, e);
}

/* The end mark says that all digests are right; without it pouch-unpack throws the layer away. */
static int stream_end(struct layer_sink *sink, struct error *e)
{
    const struct entry_header end = {.magic = ENTRY_HEADER_MAGIC, .type = ENTRY_END};
    int r = fs_write_all(((struct stream *)sink)->fd, &end, sizeof(end));

    return r < 0 ? write_error(r, e) : 0;
}

static void stream_free(struct layer_sink *sink)
{
    free(sink);
}

struct layer_sink *sink_stream_new(int fd)
{
    static const struct layer_sink_ops ops = {
        .entry = stream_entry,
        .data = stream_data,
        .file_end = stream_file_end,
        .finish = stream_finish,
        .end = stream_end,
        .free = stream_free,
    };
    struct stream *s = xmalloc(sizeof(*s));

    s->sink.ops = &ops;
    s->fd = fd;
    s->begun = false;
    s->len = 0;
    return &s->sink;
}
