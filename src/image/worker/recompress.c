/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer's archive in another compression: read → inflate (a thread each) → digest, compress,
 * digest, write. The compression is codec.c's, so that `keep-blobs=false` knows how to make it again.
 * Without a level gzip is made by ISA-L, several times faster than zlib and a little larger; levels 1
 * to 9 are zlib's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "image/worker/journal.h"
#include "image/worker/upload.h"

struct reader {
    int fd;
    struct chunkq raw, plain;
    pthread_t read, inflate;
    struct error error; /* inflate's */
    int status;         /* inflate's */
    void (*progress)(void *data, uint64_t done);
    void *data;
};

static void *read_thread(void *data)
{
    struct reader *r = data;
    uint64_t done = 0;
    ssize_t n;

    for (;;) {
        struct chunk *c = chunk_new();
        n = http_cancelled() ? -ECANCELED : pread(r->fd, c->data, CHUNK_SIZE, (off_t)done);
        if (n < 0 && n != -ECANCELED)
            n = -errno;
        if (n <= 0) {
            chunk_free(c);
            break;
        }
        c->len = (size_t)n;
        done += (uint64_t)n;
        if (chunkq_push(&r->raw, c) < 0)
            break;
        if (r->progress)
            r->progress(r->data, done);
    }
    chunkq_close(&r->raw, n < 0 ? (int)n : 0);
    return NULL;
}

static void *inflate_thread(void *data)
{
    struct reader *r = data;

    r->status = inflate_run(&r->raw, &r->plain, &r->error);
    return NULL;
}

static int reader_start(struct reader *r, struct error *e)
{
    chunkq_init(&r->raw);
    chunkq_init(&r->plain);
    int rc = pthread_create(&r->inflate, NULL, inflate_thread, r);
    if (rc != 0)
        return error_set_errno(e, rc, "cannot start a thread");
    rc = pthread_create(&r->read, NULL, read_thread, r);
    if (rc == 0)
        return 0;
    chunkq_close(&r->raw, -ECANCELED);
    pthread_join(r->inflate, NULL);
    return error_set_errno(e, rc, "cannot start a thread");
}

static void reader_join(struct reader *r)
{
    chunkq_abandon(&r->plain);
    pthread_join(r->inflate, NULL);
    chunkq_abandon(&r->raw);
    pthread_join(r->read, NULL);
    chunkq_done(&r->raw);
    chunkq_done(&r->plain);
}

/* --- Writing ------------------------------------------------------------------------------------ */

struct writer {
    int fd;
    uint64_t size;
    struct digest_state hash;
};

static int put(void *data, const void *bytes, size_t len, struct error *e)
{
    struct writer *w = data;

    if (len == 0)
        return 0;
    if (digest_state_update(&w->hash, bytes, len) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    int r = fs_write_all(w->fd, bytes, len);
    if (r < 0)
        return error_set_errno(e, r, "cannot write the compressed layer");
    w->size += len;
    return 0;
}

/* --- All of it ------------------------------------------------------------------------------------ */

static int pump(struct reader *r, struct codec *codec, const char *diff_id, struct error *e)
{
    struct digest_state plain = {0};
    char digest[DIGEST_MAX];
    struct chunk *c = NULL;
    int rc = digest_state_init(&plain, digest_algorithm(diff_id));

    if (rc < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    while ((rc = chunkq_pop(&r->plain, &c)) > 0) {
        if (digest_state_update(&plain, c->data, c->len) < 0)
            rc = error_set(e, ERR_INTERNAL, "cannot compute digests");
        else
            rc = codec_push(codec, c->data, c->len, e);
        chunk_free(take_ptr(c));
        if (rc < 0)
            break;
    }
    if (rc == 0)
        rc = codec_finish(codec, e);
    if (rc == 0 && digest_state_final(&plain, digest) < 0)
        rc = error_set(e, ERR_INTERNAL, "cannot compute digests");
    if (rc == 0 && !STREQ(digest, diff_id))
        rc =
            error_set(e, ERR_INTERNAL,
                      "the stored archive of layer %s is damaged (its content is %s): pull or load "
                      "its image again",
                      diff_id, digest);
    digest_state_done(&plain);
    return rc;
}

int compress_layer(int in_fd, int out_fd, const char *diff_id, enum oci_compression to, int level,
                   struct compressed *ret, void (*progress)(void *data, uint64_t done), void *data,
                   struct error *e)
{
    struct reader r = {.fd = in_fd, .progress = progress, .data = data};
    struct writer w = {.fd = out_fd};
    AUTOPTR(codec) struct codec *codec = NULL;
    struct journal_recipe recipe;
    int rc = codec_recipe(to, level, &recipe) < 0 || digest_state_init(&w.hash, DIGEST_SHA256) < 0
                 ? error_set(e, ERR_INTERNAL, "cannot set up the compression of layers")
                 : codec_new(&recipe, -EBADF, put, &w, &codec, e);

    if (rc >= 0)
        rc = reader_start(&r, e);
    if (rc >= 0) {
        rc = pump(&r, codec, diff_id, e);
        reader_join(&r);
        if (rc < 0 && !e->message && r.error.message) {
            error_move(e, &r.error);
            error_add(e, "layer %s", diff_id);
        } else if (rc < 0 && !e->message) {
            rc = error_set_errno(e, rc, "cannot read the archive of layer %s", diff_id);
        }
        error_done(&r.error);
    }
    if (rc >= 0 && digest_state_final(&w.hash, ret->digest) < 0)
        rc = error_set(e, ERR_INTERNAL, "cannot compute digests");
    ret->size = w.size;
    digest_state_done(&w.hash);
    return rc < 0 ? rc : 0;
}
