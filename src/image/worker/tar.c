/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar → entries. libarchive reads the archive (ustar, pax, GNU, sparse); what it finds is passed on
 * to the sink as it is, but for limits: judging paths is the business of who writes the layer
 * (pouch-unpack, which trusts nothing that comes from here, or the writer of EROFS files).
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/entry-stream.h"
#include "image/worker/worker.h"

#define XATTRS_TOTAL (256u * 1024)

/* The archive's digest: as much work as taking it apart. A thread does it for archives of more than a
 * chunk, as long as there are two processors for each archive that is being read. */
struct hasher {
    struct digest_state state;
    struct chunkq queue;
    pthread_t thread;
    unsigned processors;
    bool running;
    int status; /* the thread's */
};

struct tar {
    struct chunkq *in;
    struct chunk *current;
    struct hasher hash;
    uint64_t bytes;
    bool first;        /* the first chunk is there and not read yet */
    int source_status; /* < 0: the source failed */
    struct layer_sink *sink;
    uint64_t content;
    char path[ENTRY_PATH_MAX], link[ENTRY_LINK_MAX];
    struct layer_xattr xattrs[ENTRY_XATTRS_MAX];
    struct error *e;
};

/* --- One entry ----------------------------------------------------------------------------------- */

/* No file system takes more in one file; a hole costs a hostile archive nothing. */
#define FILE_SIZE_MAX ((uint64_t)16 << 40)

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

/* Borrowed from the entry. */
static int read_xattrs(struct tar *t, struct archive_entry *entry, struct layer_entry *out)
{
    const char *name;
    const void *value;
    size_t size, total = 0;

    out->xattrs = t->xattrs;
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        size_t len = name ? strlen(name) : 0;
        total += len + size;
        if (len == 0 || len > ENTRY_XATTR_NAME_MAX || size > ENTRY_XATTR_SIZE_MAX ||
            total > XATTRS_TOTAL || out->xattr_count == ENTRY_XATTRS_MAX)
            return error_set(t->e, ERR_INVALID,
                             "%.200s has an extended attribute with an impossible name or size",
                             out->path);
        t->xattrs[out->xattr_count++] = (struct layer_xattr){name, value, size};
    }
    return 0;
}

static int put_data(struct tar *t, struct archive *a, const char *path, uint64_t size)
{
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
        if (len == 0)
            continue;
        r = t->sink->ops->data(t->sink, (uint64_t)offset, data, len, t->e);
        if (r < 0)
            return r;
    }
    return t->sink->ops->file_end(t->sink, t->e);
}

/* -1: an entry that is left out (sockets). */
static int entry_type(struct archive_entry *entry)
{
    if (archive_entry_hardlink(entry))
        return LAYER_HARDLINK;
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return LAYER_FILE;
    case AE_IFDIR:
        return LAYER_DIR;
    case AE_IFLNK:
        return LAYER_SYMLINK;
    case AE_IFCHR:
        return LAYER_CHAR;
    case AE_IFBLK:
        return LAYER_BLOCK;
    case AE_IFIFO:
        return LAYER_FIFO;
    default:
        return -1;
    }
}

/* -ERANGE when they cannot be. */
static int read_numbers(struct layer_entry *out, struct archive_entry *entry)
{
    int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);
    int64_t size = out->type == LAYER_FILE ? archive_entry_size(entry) : 0;
    long nsec = archive_entry_mtime_nsec(entry);

    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX || size < 0 ||
        archive_entry_xattr_count(entry) > (int)ENTRY_XATTRS_MAX)
        return -ERANGE;
    out->mode = (uint32_t)archive_entry_perm(entry) & 07777u;
    out->uid = (uint32_t)uid;
    out->gid = (uint32_t)gid;
    if (out->type == LAYER_CHAR || out->type == LAYER_BLOCK) {
        out->dev_major = (uint32_t)archive_entry_rdevmajor(entry);
        out->dev_minor = (uint32_t)archive_entry_rdevminor(entry);
    }
    out->size = (uint64_t)size;
    out->mtime_sec = archive_entry_mtime(entry);
    out->mtime_nsec = nsec < 0 || nsec > 999999999 ? 0 : (uint32_t)nsec;
    /* libarchive (3.6) reads "-1.25" of a pax header as -1 s and then 0.25 s. */
    if (out->mtime_sec < 0 && out->mtime_nsec > 0) {
        out->mtime_sec--;
        out->mtime_nsec = 1000000000 - out->mtime_nsec;
    }
    return 0;
}

static int put_entry(struct tar *t, struct archive *a, struct archive_entry *entry)
{
    const char *raw = archive_entry_pathname(entry), *path, *link = "";
    size_t path_len, link_len = 0;
    int type = entry_type(entry), r;

    if (type < 0)
        return 0;
    if (!raw)
        return error_set(t->e, ERR_INVALID, "the archive has an entry without a readable name");
    path = clean_path(raw, &path_len);
    if (type == LAYER_HARDLINK)
        link = clean_path(archive_entry_hardlink(entry), &link_len);
    else if (type == LAYER_SYMLINK && archive_entry_symlink(entry))
        link_len = strlen(link = archive_entry_symlink(entry));
    if (path_len >= ENTRY_PATH_MAX || link_len >= ENTRY_LINK_MAX)
        return error_set(t->e, ERR_INVALID, "the archive has a path longer than %u bytes: %.80s…",
                         ENTRY_PATH_MAX - 1, path);
    memcpy(t->path, path, path_len);
    t->path[path_len] = 0;
    memcpy(t->link, link, link_len);
    t->link[link_len] = 0;
    if (type == LAYER_SYMLINK && link_len == 0)
        return error_set(t->e, ERR_INVALID, "%.200s is a symbolic link to nothing", t->path);
    struct layer_entry out = {.type = (enum layer_entry_type)type,
                              .path = t->path,
                              .link = t->link};
    if (read_numbers(&out, entry) < 0)
        return error_set(t->e, ERR_INVALID,
                         "%.200s has an impossible owner or size, or too many extended attributes",
                         t->path);
    if (out.size > FILE_SIZE_MAX)
        return error_set(t->e, ERR_TOO_LARGE, "%.200s is larger than 16 TiB", t->path);
    if ((r = read_xattrs(t, entry, &out)) < 0 || (r = t->sink->ops->entry(t->sink, &out, t->e)) < 0)
        return r;
    t->content += out.size;
    return type == LAYER_FILE ? put_data(t, a, t->path, out.size) : 0;
}

/* --- The archive's digest ------------------------------------------------------------------------ */

static void *hash_thread(void *data)
{
    struct hasher *h = data;
    struct chunk *c;

    while (chunkq_pop(&h->queue, &c) > 0) {
        if (h->status >= 0 && digest_state_update(&h->state, c->data, c->len) < 0)
            h->status = -EIO;
        chunk_free(c);
    }
    return NULL;
}

static atomic_uint archives; /* that are being read */

static int hasher_init(struct hasher *h, enum digest_algorithm algorithm)
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    h->processors = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) : 1;
    atomic_fetch_add(&archives, 1);
    chunkq_init(&h->queue);
    return digest_state_init(&h->state, algorithm);
}

/* The chunk is only read from here on. */
static int hasher_add(struct hasher *h, struct chunk *c, bool first)
{
    if (!first && !h->running && 2 * atomic_load(&archives) <= h->processors)
        h->running = pthread_create(&h->thread, NULL, hash_thread, h) == 0;
    if (h->running)
        return chunkq_push(&h->queue, chunk_ref(c));
    return digest_state_update(&h->state, c->data, c->len) < 0 ? -EIO : 0;
}

static int hasher_final(struct hasher *h, char *ret)
{
    if (h->running) {
        chunkq_close(&h->queue, 0);
        pthread_join(h->thread, NULL);
        h->running = false;
    }
    return h->status < 0 ? h->status : digest_state_final(&h->state, ret);
}

static void hasher_done(struct hasher *h)
{
    if (h->running) {
        chunkq_close(&h->queue, 0);
        pthread_join(h->thread, NULL);
    }
    atomic_fetch_sub(&archives, 1);
    chunkq_done(&h->queue);
    digest_state_done(&h->state);
}

/* --- The archive ---------------------------------------------------------------------------------- */

/* The next chunk, hashed: 1, 0, -errno. */
static int next_chunk(struct tar *t)
{
    chunk_free(take_ptr(t->current));
    int r = chunkq_pop(t->in, &t->current);
    if (r > 0) {
        r = hasher_add(&t->hash, t->current, t->bytes == 0);
        t->bytes += t->current->len;
        r = r < 0 ? r : 1;
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

int tar_run(struct chunkq *in, struct layer_sink *sink, enum digest_algorithm algorithm,
            struct tar_result *ret, struct error *e)
{
    AUTOFREE struct tar *t = xcalloc(1, sizeof(*t));
    int r = hasher_init(&t->hash, algorithm);

    t->in = in;
    t->sink = sink;
    t->e = e;
    if (r < 0)
        r = error_set_errno(e, r, "cannot compute digests");
    else
        r = next_chunk(t); /* an empty archive has no chunk at all */
    if (r > 0) {
        t->first = true;
        r = read_entries(t);
    }
    while (r >= 0 && (r = next_chunk(t)) > 0)
        ; /* what follows the archive's end counts for the digest */
    if (r >= 0 && (r = hasher_final(&t->hash, ret->diff_id)) < 0)
        r = error_set_errno(e, r, "cannot compute digests");
    if (r >= 0 && (r = sink->ops->finish(sink, e)) >= 0) {
        ret->bytes = t->bytes;
        ret->content = t->content;
    }
    if (r < 0)
        chunkq_abandon(in);
    chunk_free(t->current);
    hasher_done(&t->hash);
    return r;
}
