/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar → entry stream. libarchive reads the archive (ustar, pax, GNU, sparse); what it finds is
 * passed on as it is, but for limits: judging paths is the business of pouch-unpack, which trusts
 * nothing that comes from here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/entry-stream.h"
#include "image/worker/worker.h"

#define OUT_SIZE     (256u * 1024)
#define COPY_MAX     (16u * 1024) /* smaller pieces are gathered, larger ones written directly */
#define XATTRS_TOTAL (256u * 1024)

struct tar {
    struct chunkq *in;
    struct chunk *current;
    struct digest_state hash;
    uint64_t bytes;
    bool first;        /* the first chunk is there and not read yet */
    int source_status; /* < 0: the source failed */
    int out_fd;
    unsigned char *out;
    size_t out_len;
    uint64_t content;
    struct error *e;
};

/* --- Writing the stream ------------------------------------------------------------------------ */

static int write_error(struct tar *t, int r)
{
    /* EPIPE: pouch-unpack gave up; pouchd knows its reason and shows that. */
    if (r == -EPIPE)
        return error_set_errno(t->e, EPIPE, "unpacking stopped");
    return error_set_errno(t->e, r, "cannot pass the layer's files on");
}

static int flush(struct tar *t)
{
    if (t->out_len == 0)
        return 0;
    int r = fs_write_all(t->out_fd, t->out, t->out_len);
    t->out_len = 0;
    return r < 0 ? write_error(t, r) : 0;
}

/* What is gathered and a large piece in one call. */
static int put_large(struct tar *t, const void *data, size_t len)
{
    const struct iovec iov[] = {{t->out, t->out_len}, {(void *)data, len}};
    ssize_t n;
    int r = 0;

    do
        n = writev(t->out_fd, iov, 2);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return write_error(t, -errno);
    size_t done = (size_t)n;
    if (done < t->out_len) /* interrupted in the middle */
        r = fs_write_all(t->out_fd, t->out + done, t->out_len - done);
    done = done > t->out_len ? done - t->out_len : 0;
    t->out_len = 0;
    if (r >= 0 && done < len)
        r = fs_write_all(t->out_fd, (const char *)data + done, len - done);
    return r < 0 ? write_error(t, r) : 0;
}

static int put(struct tar *t, const void *data, size_t len)
{
    int r;

    if (len > COPY_MAX)
        return put_large(t, data, len);
    if (t->out_len + len > OUT_SIZE && (r = flush(t)) < 0)
        return r;
    if (len > 0)
        memcpy(t->out + t->out_len, data, len);
    t->out_len += len;
    return 0;
}

/* --- One entry ----------------------------------------------------------------------------------- */

/* Without leading "/" and "./"; *len without trailing "/" and "/.". */
static const char *clean_path(const char *path, size_t *len)
{
    for (;;) {
        if (*path == '/')
            path++;
        else if (path[0] == '.' && (path[1] == '/' || path[1] == '\0'))
            path++;
        else
            break;
    }
    size_t n = strlen(path);
    for (;;) {
        if (n > 0 && path[n - 1] == '/')
            n--;
        else if (n > 1 && path[n - 1] == '.' && path[n - 2] == '/')
            n -= 2;
        else
            break;
    }
    *len = n;
    return path;
}

static int put_xattrs(struct tar *t, struct archive_entry *entry, const char *path)
{
    const char *name;
    const void *value;
    size_t size, total = 0;
    int r;

    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        size_t len = name ? strlen(name) : 0;
        total += len + size;
        if (len == 0 || len > ENTRY_XATTR_NAME_MAX || size > ENTRY_XATTR_SIZE_MAX ||
            total > XATTRS_TOTAL)
            return error_set(t->e, ERR_INVALID,
                             "%.200s has an extended attribute with an impossible name or size",
                             path);
        struct entry_xattr x = {.name_len = (uint16_t)len, .value_len = (uint32_t)size};
        if ((r = put(t, &x, sizeof(x))) < 0 || (r = put(t, name, len)) < 0 ||
            (r = put(t, value, size)) < 0)
            return r;
    }
    return 0;
}

static int put_data(struct tar *t, struct archive *a, const char *path, uint64_t size)
{
    const struct entry_chunk end = {0};
    const void *data;
    size_t len;
    la_int64_t offset;
    int r;

    for (;;) {
        r = archive_read_data_block(a, &data, &len, &offset);
        if (r == ARCHIVE_EOF)
            break;
        if (r == ARCHIVE_RETRY)
            continue;
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN) {
            if (t->source_status < 0)
                return t->source_status;
            return error_set(t->e, ERR_INVALID, "the archive is damaged in %.200s: %s", path,
                             archive_error_string(a));
        }
        if (offset < 0 || (uint64_t)offset > size || len > size - (uint64_t)offset)
            return error_set(t->e, ERR_INVALID, "%.200s has more data than its size", path);
        while (len > 0) {
            size_t n = len < ENTRY_CHUNK_MAX ? len : ENTRY_CHUNK_MAX;
            struct entry_chunk c = {.offset = (uint64_t)offset, .len = (uint32_t)n};
            if ((r = put(t, &c, sizeof(c))) < 0 || (r = put(t, data, n)) < 0)
                return r;
            data = (const char *)data + n;
            offset += (la_int64_t)n;
            len -= n;
        }
    }
    return put(t, &end, sizeof(end));
}

/* -1: an entry that is left out (sockets). */
static int entry_type(struct archive_entry *entry)
{
    if (archive_entry_hardlink(entry))
        return ENTRY_HARDLINK;
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return ENTRY_FILE;
    case AE_IFDIR:
        return ENTRY_DIR;
    case AE_IFLNK:
        return ENTRY_SYMLINK;
    case AE_IFCHR:
        return ENTRY_CHAR;
    case AE_IFBLK:
        return ENTRY_BLOCK;
    case AE_IFIFO:
        return ENTRY_FIFO;
    default:
        return -1;
    }
}

/* Numbers of the entry's header; -ERANGE when the stream cannot hold them. */
static int fill_header(struct entry_header *h, struct archive_entry *entry)
{
    int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);
    int64_t size = h->type == ENTRY_FILE ? archive_entry_size(entry) : 0;
    int xattrs = archive_entry_xattr_count(entry);
    long nsec = archive_entry_mtime_nsec(entry);

    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX || size < 0 ||
        xattrs > (int)ENTRY_XATTRS_MAX)
        return -ERANGE;
    h->xattr_count = (uint16_t)xattrs;
    h->mode = (uint32_t)archive_entry_perm(entry) & 07777u;
    h->uid = (uint32_t)uid;
    h->gid = (uint32_t)gid;
    if (h->type == ENTRY_CHAR || h->type == ENTRY_BLOCK) {
        h->dev_major = (uint32_t)archive_entry_rdevmajor(entry);
        h->dev_minor = (uint32_t)archive_entry_rdevminor(entry);
    }
    h->size = (uint64_t)size;
    h->mtime_sec = archive_entry_mtime(entry);
    h->mtime_nsec = nsec < 0 || nsec > 999999999 ? 0 : (uint32_t)nsec;
    return 0;
}

static int put_entry(struct tar *t, struct archive *a, struct archive_entry *entry)
{
    const char *raw = archive_entry_pathname(entry), *link = "";
    struct entry_header h = {.magic = ENTRY_HEADER_MAGIC};
    size_t path_len, link_len = 0;
    int type = entry_type(entry), r;

    if (type < 0)
        return 0;
    if (!raw)
        return error_set(t->e, ERR_INVALID, "the archive has an entry without a readable name");
    const char *path = clean_path(raw, &path_len);
    if (type == ENTRY_HARDLINK)
        link = clean_path(archive_entry_hardlink(entry), &link_len);
    else if (type == ENTRY_SYMLINK && archive_entry_symlink(entry))
        link_len = strlen(link = archive_entry_symlink(entry));
    if (path_len >= ENTRY_PATH_MAX || link_len >= ENTRY_LINK_MAX)
        return error_set(t->e, ERR_INVALID, "the archive has a path longer than %u bytes: %.80s…",
                         ENTRY_PATH_MAX - 1, path);
    if (type == ENTRY_SYMLINK && link_len == 0)
        return error_set(t->e, ERR_INVALID, "%.200s is a symbolic link to nothing", path);
    h.type = (uint8_t)type;
    h.path_len = (uint16_t)path_len;
    h.link_len = (uint16_t)link_len;
    if (fill_header(&h, entry) < 0)
        return error_set(t->e, ERR_INVALID,
                         "%.200s has an impossible owner or size, or too many extended attributes",
                         path);
    if ((r = put(t, &h, sizeof(h))) < 0 || (r = put(t, path, path_len)) < 0 ||
        (r = put(t, link, link_len)) < 0 || (r = put_xattrs(t, entry, path)) < 0)
        return r;
    t->content += h.size;
    return type == ENTRY_FILE ? put_data(t, a, path, h.size) : 0;
}

/* --- The archive ---------------------------------------------------------------------------------- */

/* The next chunk, hashed: 1, 0, -errno. */
static int next_chunk(struct tar *t)
{
    chunk_free(take_ptr(t->current));
    int r = chunkq_pop(t->in, &t->current);
    if (r > 0) {
        t->bytes += t->current->len;
        if (digest_state_update(&t->hash, t->current->data, t->current->len) < 0)
            r = -EIO;
    }
    if (r < 0)
        t->source_status = r;
    return r;
}

static la_ssize_t tar_read(struct archive *a, void *data, const void **ret)
{
    struct tar *t = data;
    int r = t->first ? 1 : next_chunk(t);

    t->first = false;
    if (r < 0)
        archive_set_error(a, -r, "the source failed");
    if (r <= 0)
        return r;
    *ret = t->current->data;
    return (la_ssize_t)t->current->len;
}

static int read_entries(struct tar *t)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry = NULL;
    int r = 0, ar;

    archive_read_support_format_tar(a);
    (void)archive_read_set_options(a, "tar:!mac-ext");
    if (archive_read_open(a, t, NULL, tar_read, NULL) != ARCHIVE_OK) {
        r = t->source_status < 0 ? t->source_status
                                 : error_set(t->e, ERR_INVALID, "this is not a tar archive: %s",
                                             archive_error_string(a));
        archive_read_free(a);
        return r;
    }
    while (r >= 0) {
        ar = archive_read_next_header(a, &entry);
        if (ar == ARCHIVE_EOF)
            break;
        if (ar == ARCHIVE_RETRY)
            continue;
        if (ar != ARCHIVE_OK && ar != ARCHIVE_WARN) {
            r = t->source_status < 0 ? t->source_status
                                     : error_set(t->e, ERR_INVALID, "the archive is damaged: %s",
                                                 archive_error_string(a));
            break;
        }
        r = put_entry(t, a, entry);
    }
    archive_read_free(a);
    return r;
}

int tar_write_end(int fd)
{
    const struct entry_header end = {.magic = ENTRY_HEADER_MAGIC, .type = ENTRY_END};

    return fs_write_all(fd, &end, sizeof(end));
}

int tar_run(struct chunkq *in, int fd, enum digest_algorithm algorithm, struct tar_result *ret,
            struct error *e)
{
    const struct entry_stream_head head = {ENTRY_STREAM_MAGIC, 1};
    struct tar t = {.in = in, .out_fd = fd, .out = xmalloc(OUT_SIZE), .e = e};
    int r = digest_state_init(&t.hash, algorithm);

    if (r < 0)
        r = error_set_errno(e, r, "cannot compute digests");
    else
        r = put(&t, &head, sizeof(head));
    if (r >= 0)
        r = next_chunk(&t); /* an empty archive has no chunk at all */
    if (r > 0) {
        t.first = true;
        r = read_entries(&t);
    }
    while (r >= 0 && (r = next_chunk(&t)) > 0)
        ; /* what follows the archive's end counts for the digest */
    if (r >= 0 && (r = digest_state_final(&t.hash, ret->diff_id)) < 0)
        r = error_set_errno(e, r, "cannot compute digests");
    if (r >= 0 && (r = flush(&t)) >= 0) {
        ret->bytes = t.bytes;
        ret->content = t.content;
    }
    if (r < 0)
        chunkq_abandon(in);
    digest_state_done(&t.hash);
    chunk_free(t.current);
    free(t.out);
    return r;
}
