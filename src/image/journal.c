/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers without their blob (keep-blobs=false). Once a layer is durable, the worker takes its blob
 * apart into a journal (worker/journal.h) and proves that journal and layer give the blob again,
 * byte by byte. Only then the blob goes; where that cannot be proven it stays. Who opens the blob
 * afterwards gets a file made again that minute, its digest right.
 *
 * blobs/journal/<hex of the diff id> is there or not: no row says so, so that no crash can leave
 * row and file at odds. The journal is on disk before the blob goes.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/journal-format.h"
#include "image/op-priv.h"
#include "io/reaper.h"
#include "oci/digest.h"

static char *journal_path(const char *diff_id)
{
    return xasprintf("journal/%s", digest_hex(diff_id));
}

struct rebuild {
    struct image_store *s;
    const char *diff_id, *digest;
    int cancel_fd;
    int layer_fd;  /* the folder, negative: an EROFS file */
    bool answered; /* journal, rebuilt came */
    char *why;     /* there is no journal for this reason */
    int fd;        /* op rebuild: the file */
    uint64_t size;
};

/* A file of the layer, for the worker: regular, below the layer's folder, no link followed. */
static int on_content(struct image_op *op, const struct rebuild *b, const struct worker_msg *m)
{
    static const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
                                                 O_NOCTTY,
                                        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                                   RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    const struct worker_msg reply = {.type = (char *)"content", .id = m->id};
    AUTOFD int fd = -EBADF;
    struct stat st;

    if (b->layer_fd >= 0 && m->message)
        fd = (int)syscall(SYS_openat2, b->layer_fd, m->message, &how, sizeof(how));
    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
        close(take_fd(fd));
    return op_reply(op, &reply, &fd, fd >= 0 ? 1 : 0);
}

static int rule_broken(struct image_op *op)
{
    return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: journal");
}

/* The journal is proven: it gets its name, the blob goes. */
static int on_journal(struct image_op *op, struct rebuild *b, const struct worker_msg *m)
{
    struct image_store *s = b->s;
    struct op_file *f = m->file ? op_file_find(op, m->file) : NULL;
    AUTOFREE char *to = journal_path(b->diff_id);

    if (b->answered || (m->file && (!f || !f->name)))
        return rule_broken(op);
    b->answered = true;
    if (!f) {
        /* '!': for now (a full disk, say); it is tried again after the next start. */
        b->why = xasprintf("%s%s", m->code == ERR_NOT_SUPPORTED ? "" : "!",
                           m->message ? m->message : "no reason was given");
        return 1;
    }
    AUTOFD int fd = openat(s->tmp_fd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTOFD int dir = -EBADF;
    if (mkdirat(s->blobs_fd, "journal", 0700) == 0 ? fsync(s->blobs_fd) < 0 : errno != EEXIST)
        return error_set_errno(op->e, errno, "cannot make a folder for journals");
    dir = openat(s->blobs_fd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || dir < 0 || fsync(fd) < 0 || renameat(s->tmp_fd, f->name, s->blobs_fd, to) < 0 ||
        fsync(dir) < 0)
        return error_set_errno(op->e, errno, "cannot keep the journal of layer %s", b->diff_id);
    free(take_ptr(f->name));
    return 1;
}

static int on_rebuilt(struct image_op *op, struct rebuild *b, const struct worker_msg *m)
{
    struct op_file *f = op_file_find(op, m->file);
    struct stat st;

    if (b->answered || !f || !f->name || !m->digest || !STREQ(m->digest, b->digest))
        return rule_broken(op);
    b->answered = true;
    b->fd = openat(b->s->tmp_fd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (b->fd < 0 || fstat(b->fd, &st) < 0)
        return error_set_errno(op->e, errno, "cannot open the blob that was made again");
    b->size = (uint64_t)st.st_size;
    return 1; /* its name goes with the operation's temporary files */
}

static int rebuild_message(struct image_op *op, struct worker_msg *m)
{
    struct rebuild *b = op->params->ext_data;
    bool journal = STREQ(op->params->start->op, "journal");

    if (STREQ(m->type, "content"))
        return on_content(op, b, m) < 0 ? -EIO : 1;
    if (STREQ(m->type, "journal") && journal)
        return on_journal(op, b, m);
    if (STREQ(m->type, "rebuilt") && !journal)
        return on_rebuilt(op, b, m);
    return 0;
}

/* Runs the worker on the layer; input: the blob or the journal. */
static int rebuild_run(struct rebuild *b, const char *what, int input, struct error *e)
{
    static const struct image_op_ext ext = {.message = rebuild_message};
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)what,
                               .digest = (char *)b->digest,
                               .diff_id = (char *)b->diff_id};
    enum image_layer_form form;
    int r = image_store_layer_form(b->s, b->diff_id, &form);

    if (r < 0)
        return error_set(e, ERR_NOT_FOUND, "layer %s is not in the image store", b->diff_id);
    AUTOFREE char *name = image_layer_name(b->diff_id, form);
    AUTOFD int fd = openat(b->s->layers_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set_errno(e, errno, "cannot open layer %s", b->diff_id);
    b->layer_fd = form == IMAGE_LAYER_FOLDER ? fd : -EBADF;
    const struct image_op_params op = {.start = &start,
                                       .input_fd = input,
                                       .extra_fd = form == IMAGE_LAYER_EROFS ? fd : -EBADF,
                                       .cancel_fd = b->cancel_fd,
                                       .until_close = true,
                                       .quiet = true,
                                       .ext = &ext,
                                       .ext_data = b};
    r = image_op_run(b->s, &op, &results, e);
    if (r >= 0 && !b->answered)
        r = error_set(e, ERR_INTERNAL, "the image worker ended without an answer");
    return r;
}

/* Unpins; what was removed meanwhile and stayed for us goes. */
static void let_go(struct image_store *s, const char *diff_id, const char *digest)
{
    char *layers[] = {(char *)diff_id, NULL}, *blobs[] = {(char *)digest, NULL};

    image_store_unpin(s, diff_id);
    (void)!image_store_collect(s, layers, blobs, NULL, NULL);
}

/* --- Opening what was dropped -------------------------------------------------------------------------- */

/* The layer that has this blob and a journal; the caller frees. */
static char *journal_of_blob(struct image_store *s, const char *digest)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, NULL, "SELECT diff_id FROM layers WHERE blob = ?", "s",
                        digest);

    while (r >= 0 && (r = store_rows_next(&rows, NULL)) > 0) {
        AUTOFREE char *path = journal_path(store_col_str(&rows, 0));
        if (faccessat(s->blobs_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return xstrdup(store_col_str(&rows, 0));
    }
    return NULL;
}

bool image_blob_has_journal(struct image_store *s, const char *digest)
{
    AUTOFREE char *diff_id = journal_of_blob(s, digest);

    return diff_id != NULL;
}

/* How the layer's blob was compressed: the beginning of its journal. */
static int read_codec(struct image_store *s, const char *diff_id, unsigned char *ret)
{
    AUTOFREE char *path = journal_path(diff_id);
    AUTOFD int fd = openat(s->blobs_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    unsigned char head[sizeof(JOURNAL_MAGIC)]; /* the codec is behind it, in all versions */
    const size_t len = sizeof(head) - 1;

    if (fd < 0 || fs_read_full(fd, head, sizeof(head)) != (ssize_t)sizeof(head) ||
        (memcmp(head, JOURNAL_MAGIC, len) != 0 && memcmp(head, JOURNAL_MAGIC_OLD, len) != 0) ||
        head[len] >= JOURNAL_CODEC_MAX)
        return -EINVAL;
    *ret = head[len];
    return 0;
}

int image_blob_dropped(struct image_store *s, const char *digest, enum oci_compression *ret_kind,
                       uint64_t *ret_size, enum image_blob_where *ret_where)
{
    static const struct {
        enum oci_compression kind;
        enum image_blob_where where;
    } codecs[JOURNAL_CODEC_MAX] = {[JOURNAL_TAR] = {OCI_PLAIN, IMAGE_BLOB_DROPPED},
                                   [JOURNAL_ZLIB] = {OCI_GZIP, IMAGE_BLOB_BY_LIBRARY},
                                   [JOURNAL_ISAL] = {OCI_GZIP, IMAGE_BLOB_BY_LIBRARY},
                                   [JOURNAL_ZSTD] = {OCI_ZSTD, IMAGE_BLOB_BY_LIBRARY},
                                   [JOURNAL_DEFLATE] = {OCI_GZIP, IMAGE_BLOB_DROPPED}};
    AUTOFREE char *diff_id = journal_of_blob(s, digest), *same = NULL, *type = NULL;
    unsigned char codec = JOURNAL_DEFLATE;

    if (!diff_id || image_blob_of_layer(s, diff_id, &same, &type, ret_size, NULL) < 0)
        return -ENOENT;
    (void)!read_codec(s, diff_id, &codec); /* one that is damaged is found out when it is needed */
    *ret_kind = codecs[codec].kind;
    *ret_where = codecs[codec].where;
    return 0;
}

/* The journal's layer as the blob `digest`, or with its diff id as the tar. */
static int rebuild_file(struct image_store *s, const char *diff_id, const char *digest,
                        int cancel_fd, int *ret_fd, uint64_t *ret_size, struct error *e)
{
    struct rebuild b = {
        .s = s, .digest = digest, .diff_id = diff_id, .cancel_fd = cancel_fd, .fd = -EBADF};
    AUTOFREE char *path = journal_path(diff_id);
    AUTOFD int journal = openat(s->blobs_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (journal < 0)
        return -ENOENT;
    image_store_pin(s, diff_id);
    int r = rebuild_run(&b, "rebuild", journal, e);
    let_go(s, diff_id, digest);
    if (r < 0) {
        if (b.fd >= 0)
            close(b.fd);
        return r;
    }
    *ret_fd = b.fd;
    *ret_size = b.size;
    return 0;
}

int image_blob_rebuild(struct image_store *s, const char *digest, int cancel_fd, int *ret_fd,
                       uint64_t *ret_size, struct error *e)
{
    AUTOFREE char *diff_id = journal_of_blob(s, digest);
    int r = diff_id ? rebuild_file(s, diff_id, digest, cancel_fd, ret_fd, ret_size, e) : -ENOENT;

    if (r >= 0)
        log_debug("a layer's blob was made again", "layer=%s blob=%s", diff_id, digest);
    else if (r != -ECANCELED && e && e->message)
        error_add(e,
                  "blob %s was dropped and cannot be made again (pouch fsck --repair pulls it "
                  "again; pouch push --compression gzip --compression-level 6 pushes the layer in "
                  "a new archive; else load its image again)",
                  digest);
    return r;
}

int image_layer_rebuild_tar(struct image_store *s, const char *diff_id, int cancel_fd, int *ret_fd,
                            uint64_t *ret_size, struct error *e)
{
    int r = rebuild_file(s, diff_id, diff_id, cancel_fd, ret_fd, ret_size, e);

    if (r == -ENOENT && e && !e->message)
        return error_set(
            e, ERR_NOT_FOUND,
            "the archive of layer %s is not in the image store: pull or load its image "
            "again",
            diff_id);
    if (r >= 0)
        log_debug("a layer's tar was made again", "layer=%s", diff_id);
    return r;
}

/* --- Dropping -------------------------------------------------------------------------------------------- */

/*
 * A journal proves the file it was made of, and none that came later: the layer in another
 * compression, an archive that was brought again. A blob's ctime is when it got its name.
 */
static bool journal_is_newer(struct image_store *s, const char *diff_id, int blob)
{
    AUTOFREE char *path = journal_path(diff_id);
    struct stat j, b;

    if (fstatat(s->blobs_fd, path, &j, AT_SYMLINK_NOFOLLOW) < 0 || fstat(blob, &b) < 0)
        return false;
    return j.st_mtim.tv_sec != b.st_ctim.tv_sec ? j.st_mtim.tv_sec > b.st_ctim.tv_sec
                                                : j.st_mtim.tv_nsec > b.st_ctim.tv_nsec;
}

static bool any_row(struct image_store *s, const char *sql, const char *a, const char *b)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    return store_query(s->db, &rows, NULL, sql, "ss", a, b) >= 0 &&
           store_rows_next(&rows, NULL) == 1;
}

/* The blob is not needed any more: in a transaction, as nobody may be between pin and row. All is
 * looked at again, as the layer may have been removed and brought again meanwhile. */
static int drop_blob(struct image_store *s, const char *diff_id, const char *digest, int blob,
                     struct error *e)
{
    AUTOFREE char *path = image_blob_path(digest);
    struct image_trash trash = {0};
    int r = store_begin(s->db, e);

    if (r < 0)
        return r;
    /* Whoever has pinned it may have looked already whether it is there. */
    if (!image_store_is_pinned(s, digest) && journal_is_newer(s, diff_id, blob) &&
        any_row(s, "SELECT 1 FROM layers WHERE diff_id = ? AND blob = ?", diff_id, digest) &&
        /* a document that is a tar, too */
        !any_row(s,
                 "SELECT 1 FROM image_blobs WHERE digest = ?1 UNION SELECT 1 FROM images WHERE "
                 "id = ?2",
                 digest, digest))
        (void)!image_store_trash_blob(s, path, &trash);
    r = store_commit(s->db, e); /* which only kept others out: nothing comes back */
    image_store_empty_trash(s, &trash);
    return r;
}

static int journal_layer(struct image_store *s, const char *diff_id, const char *digest,
                         struct error *e)
{
    struct rebuild b = {
        .s = s, .digest = digest, .diff_id = diff_id, .cancel_fd = -EBADF, .fd = -EBADF};
    AUTOFREE char *path = image_blob_path(digest);
    AUTOFD int fd = openat(s->blobs_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int r;

    if (fd < 0)
        return 0;
    if (!journal_is_newer(s, diff_id, fd)) {
        image_store_pin(s, diff_id); /* not the blob: that is what goes */
        r = rebuild_run(&b, "journal", fd, e);
        let_go(s, diff_id, digest);
        AUTOFREE char *why = b.why;
        if (r < 0)
            return r;
        if (why) {
            log_debug("a layer's blob is kept", "layer=%s why=\"%s\"", diff_id, why);
            r = store_exec(s->db, e, "UPDATE layers SET journal = ? WHERE diff_id = ?", "ss", why,
                           diff_id);
            return r < 0 ? r : 0;
        }
    }
    r = drop_blob(s, diff_id, digest, fd, e);
    if (r >= 0)
        log_debug("a layer's blob was dropped", "layer=%s", diff_id);
    return r;
}

struct wanted {
    char **diff_ids, **blobs;
};

/* Durable layers whose blob is there and was not tried yet. */
static void find_wanted(struct image_store *s, struct wanted *ret)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, NULL,
                        "SELECT diff_id, blob FROM layers WHERE boot = '' AND blob IS NOT NULL AND "
                        "journal = '' AND diff_id IN (SELECT diff_id FROM image_layers)",
                        "");

    while (r >= 0 && (r = store_rows_next(&rows, NULL)) > 0) {
        AUTOFREE char *path = image_blob_path(store_col_str(&rows, 1));
        if (faccessat(s->blobs_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        strv_push(&ret->diff_ids, store_col_str(&rows, 0));
        strv_push(&ret->blobs, store_col_str(&rows, 1));
    }
}

void image_journal_round(struct image_store *s)
{
    struct wanted w = {0};

    find_wanted(s, &w);
    for (size_t i = 0; w.diff_ids && w.diff_ids[i]; i++) {
        AUTO(error) struct error e = ERROR_INIT;
        pthread_mutex_lock(&s->lock);
        bool closing = s->closing || s->given_up;
        pthread_mutex_unlock(&s->lock);
        if (closing)
            break;
        int r = journal_layer(s, w.diff_ids[i], w.blobs[i], &e);
        if (r >= 0 || r == -ECANCELED)
            continue;
        /* Not at once again: the operation's own end wakes the janitor. */
        AUTOFREE char *why = xasprintf("!%s", error_message(&e));
        (void)!store_exec(s->db, NULL, "UPDATE layers SET journal = ? WHERE diff_id = ?", "ss", why,
                          w.diff_ids[i]);
        log_warn("cannot drop a layer's blob", "layer=%s error=\"%s\"", w.diff_ids[i],
                 error_message(&e));
    }
    strv_free(w.diff_ids);
    strv_free(w.blobs);
}

int image_journal_remove(struct image_store *s, const char *diff_id, struct image_trash *trash)
{
    AUTOFREE char *path = journal_path(diff_id);

    return image_store_trash_blob(s, path, trash);
}

void image_journals_sweep(struct image_store *s)
{
    int fd = openat(s->blobs_fd, "journal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    AUTOPTR(strv) char **names = NULL;
    const struct dirent *de;

    while (d && (de = readdir(d)))
        if (de->d_name[0] != '.')
            strv_push(&names, de->d_name);
    if (d)
        closedir(d);
    for (size_t i = 0; names && names[i]; i++) {
        CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
        AUTOFREE char *path = xasprintf("journal/%s", names[i]);
        if (store_query(s->db, &rows, NULL,
                        "SELECT 1 FROM layers WHERE substr(diff_id, instr(diff_id, ':') + 1) = ?",
                        "s", names[i]) >= 0 &&
            store_rows_next(&rows, NULL) == 0)
            (void)!reaper_unlink(s->reaper, s->blobs_fd, path);
    }
}
