/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropping a layer's blob and making it again. "journal": the blob (input) is taken apart into a
 * journal, and the journal is proven at once: the tar made again from it and from the layer's files
 * must have the diff id, and compressed again it must be the blob byte by byte. "rebuild": the same
 * again, into a file. When the blob asked for is named as the tar is, the tar itself is wanted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "erofs/erofs.h"
#include "image/worker/journal.h"

#define GUESS_SIZE    (1024u * 1024)
#define JOURNAL_SMALL 65536 /* what any journal may have; a larger one: half of the blob */

/* --- The blob's tar, by two threads ----------------------------------------------------------------- */

struct source {
    int fd;
    struct chunkq raw, plain;
    pthread_t reader, inflater;
    struct error e;
};

static void *read_blob(void *data)
{
    struct source *s = data;
    int r = 0;

    while (r >= 0) {
        struct chunk *c = chunk_new();
        ssize_t n = fs_read_full(s->fd, c->data, CHUNK_SIZE);
        if (n <= 0) {
            chunk_free(c);
            r = (int)n;
            break;
        }
        c->len = (size_t)n;
        r = chunkq_push(&s->raw, c);
    }
    chunkq_close(&s->raw, r);
    return NULL;
}

static void *inflate_blob(void *data)
{
    struct source *s = data;

    (void)!inflate_run(&s->raw, &s->plain, &s->e); /* closes plain with the status */
    return NULL;
}

static int source_start(struct source *s, int fd, struct error *e)
{
    *s = (struct source){.fd = fd};
    if (lseek(fd, 0, SEEK_SET) < 0)
        return error_set_errno(e, errno, "cannot read the layer's blob");
    chunkq_init(&s->raw);
    chunkq_init(&s->plain);
    if (pthread_create(&s->reader, NULL, read_blob, s) != 0)
        return error_set(e, ERR_INTERNAL, "cannot start a thread");
    if (pthread_create(&s->inflater, NULL, inflate_blob, s) != 0)
        return error_set(e, ERR_INTERNAL, "cannot start a thread"); /* the process ends with this */
    return 0;
}

static void source_stop(struct source *s)
{
    chunkq_abandon(&s->plain);
    chunkq_abandon(&s->raw);
    pthread_join(s->reader, NULL);
    pthread_join(s->inflater, NULL);
    chunkq_done(&s->raw);
    chunkq_done(&s->plain);
    error_done(&s->e);
}

/* Up to GUESS_SIZE bytes of the tar; whether that is all. */
static int beginning(struct source *s, unsigned char *buf, size_t *ret_len, bool *ret_whole)
{
    struct chunk *c = NULL;
    int r = 0;

    *ret_len = 0;
    *ret_whole = false;
    while (*ret_len < GUESS_SIZE && (r = chunkq_pop(&s->plain, &c)) > 0) {
        size_t n = c->len < GUESS_SIZE - *ret_len ? c->len : GUESS_SIZE - *ret_len;
        memcpy(buf + *ret_len, c->data, n);
        *ret_len += n;
        chunk_free(c);
    }
    *ret_whole = *ret_len < GUESS_SIZE && r == 0;
    return r < 0 ? r : 0;
}

/* 1: a library makes it again as this recipe says, as far as the beginning shows; 0: no library does,
 * but it is gzip. */
static int guess(int fd, struct journal_recipe *ret, struct error *e)
{
    AUTOFREE unsigned char *raw = xmalloc(GUESS_SIZE), *plain = xmalloc(GUESS_SIZE);
    struct source s;
    size_t plain_len = 0;
    bool whole = false;
    int r = source_start(&s, fd, e);

    if (r < 0)
        return r;
    r = beginning(&s, plain, &plain_len, &whole);
    source_stop(&s);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the layer's blob");
    ssize_t n = pread(fd, raw, GUESS_SIZE, 0);
    if (n < 0)
        return error_set_errno(e, errno, "cannot read the layer's blob");
    r = codec_guess(raw, (size_t)n, plain, plain_len, whole, ret, e);
    if (r == 0)
        return n >= 2 && raw[0] == 0x1f && raw[1] == 0x8b
                   ? 0
                   : error_set(e, ERR_NOT_SUPPORTED,
                               "its compression is by a program that is not known here");
    return r;
}

/* --- Making it again ------------------------------------------------------------------------------- */

struct rebuild {
    struct digest_state tar, blob;
    struct codec *codec;
    int out;     /* where the blob goes, or negative: … */
    int compare; /* … it is compared with this one */
    unsigned char *buf;
    uint64_t size;
};

static int blob_bytes(void *data, const void *bytes, size_t len, struct error *e)
{
    struct rebuild *b = data;
    const unsigned char *p = bytes;
    int r;

    b->size += len;
    if (digest_state_update(&b->blob, bytes, len) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    if (b->out >= 0) {
        r = fs_write_all(b->out, bytes, len);
        return r < 0 ? error_set_errno(e, r, "cannot write the layer's blob") : 0;
    }
    while (len > 0) {
        size_t n = len < CHUNK_SIZE ? len : CHUNK_SIZE;
        ssize_t have = fs_read_full(b->compare, b->buf, n);
        if (have != (ssize_t)n || memcmp(b->buf, p, n) != 0)
            return error_set(e, ERR_NOT_SUPPORTED, "its compression cannot be repeated exactly");
        p += n;
        len -= n;
    }
    return 0;
}

static int tar_bytes(void *data, const void *bytes, size_t len, struct error *e)
{
    struct rebuild *b = data;

    if (digest_state_update(&b->tar, bytes, len) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    return codec_push(b->codec, bytes, len, e);
}

static int wrong_size(const char *path, struct error *e)
{
    return error_set(e, ERR_NOT_SUPPORTED, "/%.200s of the layer is not as it was in the archive",
                     path);
}

/* A layer that is a folder: pouchd opens the files, which are not ours to read. */
static int content_by_asking(void *data, const char *path, uint64_t size, journal_sink *sink,
                             void *sink_data, struct error *e)
{
    struct worker_msg m = {.type = (char *)"content", .message = (char *)path}, reply = {0};
    AUTOFREE unsigned char *buf = xmalloc(CHUNK_SIZE);
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;
    struct stat st;
    int r = conn_call(&m, &reply, fds, &nfds, e);

    (void)data;
    worker_msg_done(&reply);
    if (r < 0)
        return r;
    if (nfds != 1)
        return wrong_size(path, e);
    AUTOFD int fd = fds[0];
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != size)
        return wrong_size(path, e);
    for (uint64_t done = 0; r >= 0 && done < size;) {
        size_t want = size - done < CHUNK_SIZE ? (size_t)(size - done) : CHUNK_SIZE;
        if (fs_read_full(fd, buf, want) != (ssize_t)want)
            return wrong_size(path, e);
        r = sink(sink_data, buf, want, e);
        done += want;
    }
    return r;
}

/* A layer that is an EROFS file. */
static int content_of_erofs(void *data, const char *path, uint64_t size, journal_sink *sink,
                            void *sink_data, struct error *e)
{
    struct erofs_reader *reader = data;
    AUTOFREE unsigned char *buf = xmalloc(CHUNK_SIZE);
    struct erofs_inode inode;
    int r = erofs_reader_lookup(reader, path, false, &inode, e);

    if (r < 0)
        return r;
    if (!S_ISREG(inode.mode) || inode.size != size)
        return wrong_size(path, e);
    for (uint64_t done = 0; r >= 0 && done < size;) {
        ssize_t n = erofs_reader_read(reader, &inode, done, buf, CHUNK_SIZE, e);
        if (n <= 0)
            return n < 0 ? (int)n : wrong_size(path, e);
        r = sink(sink_data, buf, (size_t)n, e);
        done += (uint64_t)n;
    }
    return r;
}

static int replay(int journal, int layer, struct rebuild *b, struct error *e)
{
    AUTOPTR(erofs_reader) struct erofs_reader *reader = NULL;

    if (layer < 0)
        return journal_replay(journal, content_by_asking, NULL, tar_bytes, b, e);
    int r = erofs_reader_open(layer, &reader, e);
    return r < 0 ? r : journal_replay(journal, content_of_erofs, reader, tar_bytes, b, e);
}

/* The tar is right and the blob is not: mostly because its compressor is another one today. */
static int wrong_digest(const struct journal_recipe *recipe, const char *blob, struct error *e)
{
    char here[JOURNAL_LIBRARY_MAX];

    codec_library(recipe->codec, here);
    if (!*here || STREQ(here, recipe->library))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the layer's archive cannot be made again from its files: the blob has "
                         "digest %s",
                         blob);
    return error_set(e, ERR_NOT_SUPPORTED,
                     "its archive was made by %s; this is %s, which compresses otherwise",
                     *recipe->library ? recipe->library : "an earlier version of the library",
                     here);
}

/* Replays the journal into `out`, or compares with `compare`; both digests must be right. layer: the
 * EROFS file, negative: pouchd is asked for files. */
static int rebuild_run(int journal, int layer, int out, int compare, const struct worker_msg *start,
                       uint64_t *ret_size, struct error *e)
{
    struct rebuild b = {.out = out, .compare = compare, .buf = xmalloc(CHUNK_SIZE)};
    AUTOFREE unsigned char *to_free = b.buf;
    char tar[DIGEST_MAX] = "", blob[DIGEST_MAX] = "";
    struct journal_recipe recipe;

    int r = journal_read_recipe(journal, &recipe, e);
    if (r >= 0 && STREQ(start->digest, start->diff_id))
        recipe = (struct journal_recipe){.codec = JOURNAL_TAR};
    if (r >= 0)
        r = codec_new(&recipe, journal, blob_bytes, &b, &b.codec, e);
    AUTOPTR(codec) struct codec *codec = b.codec;
    if (r < 0)
        return r;
    if (digest_state_init(&b.tar, digest_algorithm(start->diff_id)) < 0 ||
        digest_state_init(&b.blob, digest_algorithm(start->digest)) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    r = replay(journal, layer, &b, e);
    if (r >= 0)
        r = codec_finish(codec, e);
    if (r >= 0 && (digest_state_final(&b.tar, tar) < 0 || digest_state_final(&b.blob, blob) < 0))
        r = error_set(e, ERR_INTERNAL, "cannot compute digests");
    digest_state_done(&b.tar);
    digest_state_done(&b.blob);
    if (r >= 0 && !STREQ(tar, start->diff_id))
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "the layer's archive cannot be made again from its files: the tar has digest "
                      "%s",
                      tar);
    else if (r >= 0 && !STREQ(blob, start->digest))
        r = wrong_digest(&recipe, blob, e);
    if (r >= 0)
        *ret_size = b.size;
    return r;
}

static int check_start(const struct worker_msg *start, struct error *e)
{
    if (!start->digest || !digest_is_valid(start->digest) || !start->diff_id ||
        !digest_is_valid(start->diff_id))
        return error_set(e, ERR_INTERNAL, "the image worker got no layer to rebuild");
    return 0;
}

/* Makes the blob again and compares it with the one that is there. */
static int prove(const struct worker_msg *start, int blob, int layer, int journal, struct error *e)
{
    uint64_t size = 0;
    struct stat st;

    if (lseek(blob, 0, SEEK_SET) < 0)
        return error_set_errno(e, errno, "cannot read the layer's blob");
    int r = rebuild_run(journal, layer, -EBADF, blob, start, &size, e);
    if (r >= 0 && (fstat(blob, &st) < 0 || (uint64_t)st.st_size != size))
        r = error_set(e, ERR_NOT_SUPPORTED, "its compression cannot be repeated exactly");
    return r;
}

static int write_journal(int blob, int journal, const struct journal_recipe *recipe,
                         struct error *e)
{
    struct source s;
    struct stat st;

    if (fstat(blob, &st) < 0)
        return error_set_errno(e, errno, "cannot read the layer's blob");
    int r = source_start(&s, blob, e);
    if (r < 0)
        return r;
    r = journal_write(&s.plain, recipe, (uint64_t)st.st_size / 2 + JOURNAL_SMALL, journal, e);
    source_stop(&s);
    return r;
}

/* By a model of the program that made the blob. */
static int record_and_prove(const struct worker_msg *start, int blob, int layer, int journal,
                            struct error *e)
{
    struct journal_recipe recipe;
    struct stat st;

    if (fstat(blob, &st) < 0)
        return error_set_errno(e, errno, "cannot read the layer's blob");
    int r = journal_write_record(blob, (uint64_t)st.st_size, journal, &recipe, e);
    if (r >= 0)
        r = write_journal(blob, journal, &recipe, e);
    return r < 0 ? r : prove(start, blob, layer, journal, e);
}

static int write_and_prove(const struct worker_msg *start, int blob, int layer, int journal,
                           struct error *e)
{
    struct journal_recipe recipe;
    int r = guess(blob, &recipe, e);

    if (r < 0)
        return r;
    /* A record of ours outlives zlib, whose versions may compress in different ways. */
    if (r == 0 || recipe.codec == JOURNAL_ZLIB) {
        int rc = record_and_prove(start, blob, layer, journal, e);
        if (rc >= 0 || r == 0)
            return rc;
        error_done(e);
    }
    if ((r = write_journal(blob, journal, &recipe, e)) < 0)
        return r;
    r = prove(start, blob, layer, journal, e);
    if (r < 0 && recipe.codec == JOURNAL_ZSTD && recipe.mem == 1) {
        recipe.mem = 0; /* with and without threads its output begins the same */
        error_done(e);
        r = journal_change_recipe(journal, &recipe, e);
        if (r >= 0)
            r = prove(start, blob, layer, journal, e);
    }
    if (r < 0 && recipe.codec == JOURNAL_ISAL) {
        error_done(e); /* it began as the library does it, and went on otherwise */
        r = record_and_prove(start, blob, layer, journal, e);
    }
    return r;
}

int worker_journal(const struct worker_msg *start, int blob, int layer, struct error *e)
{
    AUTO(error) struct error why = ERROR_INIT;
    struct worker_msg m = {.type = (char *)"journal"};
    AUTOFD int fd = -EBADF;
    int r = check_start(start, e);

    /* Nobody waits for this: after everything else. The threads inherit it. */
    (void)setpriority(PRIO_PROCESS, 0, 19);
    if (r >= 0)
        r = conn_open_file(&m.file, &fd, e);
    if (r < 0)
        return r;
    r = write_and_prove(start, blob, layer, fd, &why);
    if (r < 0) { /* no failure: the blob stays */
        m.file = 0;
        m.code = why.code;
        m.message = (char *)error_message(&why);
    }
    return conn_send(&m, e);
}

int worker_rebuild(const struct worker_msg *start, int journal, int layer, struct error *e)
{
    struct worker_msg m = {.type = (char *)"rebuilt", .digest = start->digest};
    AUTOFD int fd = -EBADF;
    int r = check_start(start, e);

    if (r >= 0)
        r = conn_open_file(&m.file, &fd, e);
    if (r >= 0)
        r = rebuild_run(journal, layer, fd, -EBADF, start, &m.size, e);
    return r < 0 ? r : conn_send(&m, e);
}
