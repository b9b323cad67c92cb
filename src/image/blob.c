/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading blobs back: what push and save need, by digest. Files are opened here and nowhere else, so
 * that a blob which is not kept is made again behind this one function: once for an operation.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "image/push-priv.h"
#include "oci/digest.h"

#define SOURCES_MAX 16 /* repositories remembered for a blob: the newest */

/* --- Blobs that were made again ---------------------------------------------------------------------- */

struct again {
    int fd;
    uint64_t size;
};

static void again_free(void *data)
{
    struct again *a = data;

    if (!a)
        return;
    close(a->fd);
    free(a);
}

void image_blobs_done(struct image_blobs *b)
{
    if (b->again)
        map_free(take_ptr(b->again), again_free);
}

void image_blobs_forget(struct image_blobs *b, const char *digest)
{
    if (b->again)
        again_free(map_remove(b->again, digest));
}

/* The file once more, with an offset of its own. */
static int open_again(const struct again *a, const char *digest, int *ret_fd, uint64_t *ret_size,
                      struct error *e)
{
    char path[40];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", a->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, errno, "cannot open blob %s", digest);
    *ret_fd = fd;
    *ret_size = a->size;
    return 0;
}

/* -ENOENT without a message: it was not dropped. */
static int rebuild(struct image_store *s, struct image_blobs *b, const char *digest, int *ret_fd,
                   uint64_t *ret_size, struct error *e)
{
    uint64_t size = 0;
    int fd = -EBADF;
    int r = image_blob_rebuild(s, digest, b ? b->cancel_fd : -EBADF, &fd, &size, e);

    if (r < 0)
        return r;
    if (!b) {
        *ret_fd = fd;
        *ret_size = size;
        return 0;
    }
    struct again *a = xcalloc(1, sizeof(*a));
    *a = (struct again){fd, size};
    if (!b->again)
        b->again = map_new();
    again_free(map_set(b->again, digest, a));
    return open_again(a, digest, ret_fd, ret_size, e);
}

/* --- Opening ------------------------------------------------------------------------------------------- */

static int not_there(const char *digest, int errnum, struct error *e)
{
    return errnum == ENOENT
               ? error_set(e, ERR_NOT_FOUND,
                           "blob %s is not in the image store: pull or load its image again",
                           digest)
               : error_set_errno(e, errnum, "cannot open blob %s", digest);
}

static int open_stored(struct image_store *s, const char *digest, int *ret_fd, uint64_t *ret_size)
{
    AUTOFREE char *path = image_blob_path(digest);
    AUTOFD int fd = openat(s->blobs_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    *ret_size = (uint64_t)st.st_size;
    *ret_fd = take_fd(fd);
    return 0;
}

static int check_digest(const char *digest, struct error *e)
{
    return digest_is_valid(digest)
               ? 0
               : error_set(e, ERR_INVALID, "\"%.150s\" is not a digest", digest ? digest : "");
}

int image_blob_open(struct image_store *s, struct image_blobs *b, const char *digest, int *ret_fd,
                    uint64_t *ret_size, struct error *e)
{
    int r = check_digest(digest, e);

    if (r < 0)
        return r;
    const struct again *a = b && b->again ? map_get(b->again, digest) : NULL;
    if (a)
        return open_again(a, digest, ret_fd, ret_size, e);
    int opened = open_stored(s, digest, ret_fd, ret_size);
    if (opened == -ENOENT) {
        r = rebuild(s, b, digest, ret_fd, ret_size, e);
        if (r != -ENOENT || (e && e->message))
            return r;
    }
    return opened < 0 ? not_there(digest, -opened, e) : 0;
}

int image_blob_probe(struct image_store *s, const char *digest, enum oci_compression *ret_kind,
                     uint64_t *ret_size, enum image_blob_where *ret_where, struct error *e)
{
    unsigned char magic[6] = {0};
    AUTOFD int fd = -EBADF;
    int r = check_digest(digest, e);

    if (r < 0)
        return r;
    r = open_stored(s, digest, &fd, ret_size);
    if (r == -ENOENT && image_blob_dropped(s, digest, ret_kind, ret_size, ret_where) == 0)
        return 0;
    if (r < 0)
        return not_there(digest, -r, e);
    if (pread(fd, magic, sizeof(magic), 0) < 0)
        return error_set_errno(e, errno, "cannot read blob %s", digest);
    *ret_kind = push_kind_of(magic);
    *ret_where = IMAGE_BLOB_STORED;
    return 0;
}

int image_blob_read(struct image_store *s, const char *digest, size_t max, char **ret,
                    size_t *ret_len, struct error *e)
{
    AUTOFD int fd = -EBADF;
    uint64_t size = 0;
    int r = image_blob_open(s, NULL, digest, &fd, &size, e);

    if (r < 0)
        return r;
    if (size > max)
        return error_set(e, ERR_TOO_LARGE, "blob %s is larger than %zu bytes", digest, max);
    AUTOFREE char *text = xmalloc((size_t)size + 1);
    ssize_t n = fs_read_full(fd, text, (size_t)size);
    if (n < 0 || (size_t)n != size)
        return error_set_errno(e, n < 0 ? (int)n : EIO, "cannot read blob %s", digest);
    text[n] = '\0';
    *ret_len = (size_t)n;
    *ret = take_ptr(text);
    return 0;
}

/* The first column of the rows, as texts. */
static int collect(struct store_rows *rows, int r, char ***ret, struct error *e)
{
    while (r >= 0 && (r = store_rows_next(rows, e)) > 0)
        if (store_col_str(rows, 0))
            strv_push(ret, store_col_str(rows, 0));
    return r;
}

int image_blob_documents(struct image_store *s, const char *image_id, const char *role, char ***ret,
                         struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT digest FROM image_blobs WHERE image_id = ? AND role = ? "
                        "ORDER BY seen DESC",
                        "ss", image_id, role);

    return collect(&rows, r, ret, e);
}

int image_blob_of_layer(struct image_store *s, const char *diff_id, char **ret_digest,
                        char **ret_media_type, uint64_t *ret_size, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT blob, media_type, blob_size FROM layers WHERE diff_id = ?", "s",
                        diff_id);

    if (r >= 0)
        r = store_rows_next(&rows, e);
    if (r < 0)
        return r;
    if (r == 0)
        return error_set(e, ERR_NOT_FOUND, "layer %s is not in the image store", diff_id);
    *ret_digest = xstrdup_or_null(store_col_str(&rows, 0));
    *ret_media_type = xstrdup_or_null(store_col_str(&rows, 1));
    *ret_size = (uint64_t)store_col_int(&rows, 2);
    return 0;
}

int image_blob_add_source(struct image_store *s, const char *digest, const char *repository,
                          struct error *e)
{
    int r = store_exec(s->db, e,
                       "INSERT OR REPLACE INTO blob_sources (digest, repository, seen) "
                       "VALUES (?, ?, ?)",
                       "ssi", digest, repository, time_now_ns());

    if (r < 0)
        return r;
    return store_exec(s->db, e,
                      "DELETE FROM blob_sources WHERE digest = ?1 AND repository NOT IN (SELECT "
                      "repository FROM blob_sources WHERE digest = ?1 ORDER BY seen DESC LIMIT ?2)",
                      "si", digest, (int64_t)SOURCES_MAX);
}

int image_blob_sources(struct image_store *s, const char *digest, const char *domain, char ***ret,
                       struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT repository FROM blob_sources WHERE digest = ?1 AND "
                        "substr(repository, 1, length(?2) + 1) = ?2 || '/' ORDER BY seen DESC",
                        "ss", digest, domain);

    return collect(&rows, r, ret, e);
}
