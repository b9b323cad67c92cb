/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of the entry stream. Nothing that comes out of the pipe is believed: every length is
 * checked against the stream's limits before it is used.
 *
 * Headers and small files go through one buffer; the rest of a large chunk is spliced from the pipe
 * into the file without passing through this program.
 */
#include "rootfs/unpack/stream.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "image/entry-stream.h"
#include "rootfs/apply.h"

#define READ_SIZE  ((size_t)128 << 10)
#define SPLICE_MIN ((size_t)16 << 10)

struct reader {
    int fd;
    bool can_splice;
    char *data;
    size_t pos;
    size_t len;
    /* The entry that is being read. */
    char path[ENTRY_PATH_MAX + 1];
    char link[ENTRY_LINK_MAX + 1];
    struct layer_xattr xattrs[ENTRY_XATTRS_MAX];
    char *xattr_names[ENTRY_XATTRS_MAX];
    char *xattr_values[ENTRY_XATTRS_MAX];
    size_t n_xattrs;
};

static void reader_clear_xattrs(struct reader *r)
{
    while (r->n_xattrs) {
        r->n_xattrs--;
        free(r->xattr_names[r->n_xattrs]);
        free(r->xattr_values[r->n_xattrs]);
    }
}

static void reader_done(struct reader *r)
{
    reader_clear_xattrs(r);
    free(r->data);
}

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_INVALID, "entry stream: %s", what);
}

/* The archive ended too soon. Whoever made it do so knows why; -ECANCELED says that it was not us. */
static int cut_off(struct error *e)
{
    (void)bad(e, "it was cut off");
    return -ECANCELED;
}

static int fill(struct reader *r, struct error *e)
{
    ssize_t n;

    do
        n = read(r->fd, r->data, READ_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_set_errno(e, errno, "read the entry stream");
    if (n == 0)
        return cut_off(e);
    r->pos = 0;
    r->len = (size_t)n;
    return 0;
}

static int read_exact(struct reader *r, void *out, size_t len, struct error *e)
{
    char *p = out;

    while (len) {
        size_t n = r->len - r->pos;

        if (n == 0) {
            int x = fill(r, e);

            if (x < 0)
                return x;
            continue;
        }
        if (n > len)
            n = len;
        memcpy(p, r->data + r->pos, n);
        r->pos += n;
        p += n;
        len -= n;
    }
    return 0;
}

/* Text of a checked length into a buffer that has one byte more; a NUL in it is refused. */
static int read_text(struct reader *r, char *out, size_t len, struct error *e)
{
    int x = read_exact(r, out, len, e);

    if (x < 0)
        return x;
    out[len] = 0;
    return strlen(out) == len ? 0 : bad(e, "a name with a NUL byte");
}

static int read_xattr(struct reader *r, struct error *e)
{
    struct entry_xattr head;
    char *name;
    char *value;
    size_t i;
    int x = read_exact(r, &head, sizeof head, e);

    if (x < 0)
        return x;
    if (head.name_len == 0 || head.name_len > ENTRY_XATTR_NAME_MAX ||
        head.value_len > ENTRY_XATTR_SIZE_MAX || head.reserved)
        return bad(e, "an attribute of impossible size");
    name = xmalloc((size_t)head.name_len + 1);
    value = xmalloc((size_t)head.value_len + 1);
    i = r->n_xattrs++;
    r->xattr_names[i] = name;
    r->xattr_values[i] = value;
    r->xattrs[i] = (struct layer_xattr){name, value, head.value_len};
    x = read_text(r, name, head.name_len, e);
    return x < 0 ? x : read_exact(r, value, head.value_len, e);
}

/* The entry's header is read and checked for shape; what it asks for is layer_apply's to judge. */
static int read_entry(struct reader *r, const struct entry_header *h, struct layer_entry *out,
                      struct error *e)
{
    static const enum layer_entry_type types[ENTRY_TYPE_MAX] = {
        [ENTRY_FILE] = LAYER_FILE,       [ENTRY_DIR] = LAYER_DIR,
        [ENTRY_SYMLINK] = LAYER_SYMLINK, [ENTRY_HARDLINK] = LAYER_HARDLINK,
        [ENTRY_CHAR] = LAYER_CHAR,       [ENTRY_BLOCK] = LAYER_BLOCK,
        [ENTRY_FIFO] = LAYER_FIFO,
    };
    int x;

    if (h->path_len > ENTRY_PATH_MAX || h->link_len > ENTRY_LINK_MAX)
        return bad(e, "a name that is too long");
    if (h->xattr_count > ENTRY_XATTRS_MAX)
        return bad(e, "too many attributes");
    x = read_text(r, r->path, h->path_len, e);
    if (x == 0)
        x = read_text(r, r->link, h->link_len, e);
    for (unsigned i = 0; x == 0 && i < h->xattr_count; i++)
        x = read_xattr(r, e);
    if (x < 0)
        return x;
    *out = (struct layer_entry){
        .type = types[h->type],
        .path = r->path,
        .link = r->link,
        .mode = h->mode & 07777,
        .uid = h->uid,
        .gid = h->gid,
        .dev_major = h->dev_major,
        .dev_minor = h->dev_minor,
        .size = h->type == ENTRY_FILE ? h->size : 0,
        .mtime_sec = h->mtime_sec,
        .mtime_nsec = h->mtime_nsec,
        .xattrs = r->xattrs,
        .xattr_count = r->n_xattrs,
    };
    return 0;
}

static int write_failed(const struct reader *r, int errnum, struct error *e)
{
    char name[200];

    layer_path_printable(r->path, name, sizeof name);
    return error_set_errno(e, errnum, "entry \"%s\": write", name);
}

static int write_at(const struct reader *r, int out, const char *p, size_t len, off_t offset,
                    struct error *e)
{
    while (len) {
        ssize_t n = pwrite(out, p, len, offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return write_failed(r, errno, e);
        p += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Moves what it can from the pipe into the file; bytes moved, 0 when splicing cannot be done. */
static ssize_t splice_some(struct reader *r, int out, size_t len, off_t offset, struct error *e)
{
    ssize_t n;

    do
        n = splice(r->fd, NULL, out, &offset, len, SPLICE_F_MOVE);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EINVAL) {
        r->can_splice = false;
        return 0;
    }
    if (n < 0)
        return write_failed(r, errno, e);
    return n > 0 ? n : cut_off(e);
}

/* One chunk's bytes into `out` (thrown away when it is negative). */
static int copy_chunk(struct reader *r, int out, uint64_t offset, size_t len, struct error *e)
{
    while (len) {
        size_t n = r->len - r->pos;
        int x;

        if (n == 0 && out >= 0 && r->can_splice && len >= SPLICE_MIN) {
            ssize_t moved = splice_some(r, out, len, (off_t)offset, e);

            if (moved < 0)
                return (int)moved;
            offset += (uint64_t)moved;
            len -= (size_t)moved;
            continue;
        }
        if (n == 0) {
            x = fill(r, e);
            if (x < 0)
                return x;
            continue;
        }
        if (n > len)
            n = len;
        x = out < 0 ? 0 : write_at(r, out, r->data + r->pos, n, (off_t)offset, e);
        if (x < 0)
            return x;
        r->pos += n;
        offset += n;
        len -= n;
    }
    return 0;
}

static int outside(const struct reader *r, struct error *e)
{
    char name[200];

    layer_path_printable(r->path, name, sizeof name);
    return error_set(e, ERR_INVALID, "entry stream: content of \"%s\" outside of its size", name);
}

static int copy_content(struct reader *r, int out, uint64_t size, struct error *e)
{
    uint64_t pos = 0;

    for (;;) {
        struct entry_chunk chunk;
        int x = read_exact(r, &chunk, sizeof chunk, e);

        if (x < 0)
            return x;
        if (chunk.len == 0)
            return 0;
        if (chunk.len > ENTRY_CHUNK_MAX || chunk.offset < pos || chunk.offset > size ||
            chunk.len > size - chunk.offset)
            return outside(r, e);
        x = copy_chunk(r, out, chunk.offset, chunk.len, e);
        if (x < 0)
            return x;
        pos = chunk.offset + chunk.len;
    }
}

static int apply_one(struct reader *r, struct layer_apply *a, const struct entry_header *h,
                     struct unpack_counts *counts, struct error *e)
{
    struct layer_entry entry;
    int out;
    int x = read_entry(r, h, &entry, e);

    if (x == 0)
        x = layer_apply_entry(a, &entry, &out, e);
    if (x == 0 && h->type == ENTRY_FILE)
        x = copy_content(r, out, entry.size, e);
    if (x == 0 && h->type == ENTRY_FILE)
        x = layer_apply_file_end(a, &entry, e);
    reader_clear_xattrs(r);
    if (x == 0) {
        counts->entries++;
        counts->bytes += entry.size;
    }
    return x;
}

static int read_head(struct reader *r, struct error *e)
{
    struct entry_stream_head head;
    int x = read_exact(r, &head, sizeof head, e);

    if (x < 0)
        return x;
    if (head.magic != ENTRY_STREAM_MAGIC)
        return bad(e, "this is none");
    return head.version == 1 ? 0 : bad(e, "a version this program does not know");
}

int unpack_stream(int in, int root_fd, struct unpack_counts *ret, struct error *e)
{
    AUTOPTR(layer_apply) struct layer_apply *a = NULL;
    struct reader *r = xcalloc(1, sizeof *r);
    struct stat st;
    int x;

    *ret = (struct unpack_counts){0};
    r->fd = in;
    r->can_splice = fstat(in, &st) == 0 && S_ISFIFO(st.st_mode);
    r->data = xmalloc(READ_SIZE);
    x = layer_apply_new(root_fd, &a, e);
    if (x == 0)
        x = read_head(r, e);
    while (x == 0) {
        struct entry_header h;

        x = read_exact(r, &h, sizeof h, e);
        if (x < 0)
            break;
        if (h.magic != ENTRY_HEADER_MAGIC || h.type >= ENTRY_TYPE_MAX) {
            x = bad(e, "an entry that is none");
        } else if (h.type != ENTRY_END) {
            x = apply_one(r, a, &h, ret, e);
        } else if (h.status != 0) {
            (void)error_set_errno(e, (int)(h.status & 0xfff), "the archive could not be read");
            x = -ECANCELED;
        } else {
            x = layer_apply_finish(a, e);
            break;
        }
    }
    reader_done(r);
    free(r);
    return x;
}
