/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer's archive in another compression: read → inflate (a thread each) → digest, compress,
 * digest, write. Without a level gzip is made by ISA-L, several times faster than zlib and a little
 * larger; levels 1 to 9 are zlib's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

#include "base/alloc.h"
#include "base/fs.h"
#include "image/worker/upload.h"

#define OUT_SIZE (256u * 1024)

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
    unsigned char *out; /* OUT_SIZE */
    z_stream z;
    bool z_on;
    ZSTD_CCtx *zstd;
#ifdef HAVE_ISAL
    struct isal_zstream *isal;
    uint8_t *isal_level;
#endif
    struct error *e;
};

static int put(struct writer *w, const void *data, size_t len)
{
    if (len == 0)
        return 0;
    if (digest_state_update(&w->hash, data, len) < 0)
        return error_set(w->e, ERR_INTERNAL, "cannot compute digests");
    int r = fs_write_all(w->fd, data, len);
    if (r < 0)
        return error_set_errno(w->e, r, "cannot write the compressed layer");
    w->size += len;
    return 0;
}

typedef int squeeze_fn(struct writer *w, const void *data, size_t len, bool end);

static int squeeze_plain(struct writer *w, const void *data, size_t len, bool end)
{
    return put(w, data, len);
}

static int squeeze_zlib(struct writer *w, const void *data, size_t len, bool end)
{
    int zr, r;

    w->z.next_in = (Bytef *)data;
    w->z.avail_in = (uInt)len;
    do {
        w->z.next_out = w->out;
        w->z.avail_out = OUT_SIZE;
        zr = deflate(&w->z, end ? Z_FINISH : Z_NO_FLUSH);
        if (zr != Z_OK && zr != Z_STREAM_END && zr != Z_BUF_ERROR)
            return error_set(w->e, ERR_INTERNAL, "zlib failed (%d)", zr);
        r = put(w, w->out, OUT_SIZE - w->z.avail_out);
        if (r < 0)
            return r;
    } while (w->z.avail_out == 0 || (end && zr != Z_STREAM_END));
    return 0;
}

#ifdef HAVE_ISAL
static int squeeze_isal(struct writer *w, const void *data, size_t len, bool end)
{
    int r;

    w->isal->next_in = (uint8_t *)data;
    w->isal->avail_in = (uint32_t)len;
    w->isal->end_of_stream = end;
    w->isal->flush = NO_FLUSH;
    do {
        w->isal->next_out = w->out;
        w->isal->avail_out = OUT_SIZE;
        r = isal_deflate(w->isal);
        if (r != COMP_OK)
            return error_set(w->e, ERR_INTERNAL, "igzip failed (%d)", r);
        r = put(w, w->out, OUT_SIZE - w->isal->avail_out);
        if (r < 0)
            return r;
    } while (w->isal->avail_out == 0 || w->isal->avail_in > 0 ||
             (end && w->isal->internal_state.state != ZSTATE_END));
    return 0;
}
#endif

static int squeeze_zstd(struct writer *w, const void *data, size_t len, bool end)
{
    ZSTD_inBuffer in = {data, len, 0};
    size_t left;

    do {
        ZSTD_outBuffer out = {w->out, OUT_SIZE, 0};
        left = ZSTD_compressStream2(w->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return error_set(w->e, ERR_INTERNAL, "zstd failed: %s", ZSTD_getErrorName(left));
        int r = put(w, w->out, out.pos);
        if (r < 0)
            return r;
    } while (end ? left != 0 : in.pos < in.size);
    return 0;
}

static squeeze_fn *writer_gzip(struct writer *w, int level)
{
#ifdef HAVE_ISAL
    if (level == 0) {
        w->isal = xcalloc(1, sizeof(*w->isal));
        isal_deflate_init(w->isal);
        w->isal_level = xmalloc(ISAL_DEF_LVL2_DEFAULT);
        w->isal->level = 2;
        w->isal->level_buf = w->isal_level;
        w->isal->level_buf_size = ISAL_DEF_LVL2_DEFAULT;
        w->isal->gzip_flag = IGZIP_GZIP;
        return squeeze_isal;
    }
#endif
    if (deflateInit2(&w->z, level == 0 ? 6 : level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return NULL;
    w->z_on = true;
    return squeeze_zlib;
}

static squeeze_fn *writer_zstd(struct writer *w, int level)
{
    w->zstd = ZSTD_createCCtx();
    if (!w->zstd ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel,
                                            level == 0 ? ZSTD_CLEVEL_DEFAULT : level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1)))
        return NULL;
    return squeeze_zstd;
}

static void writer_done(struct writer *w)
{
    if (w->z_on)
        deflateEnd(&w->z);
    ZSTD_freeCCtx(w->zstd);
#ifdef HAVE_ISAL
    free(w->isal);
    free(w->isal_level);
#endif
    free(w->out);
    digest_state_done(&w->hash);
}

/* --- All of it ------------------------------------------------------------------------------------ */

static int pump(struct reader *r, struct writer *w, squeeze_fn *squeeze, const char *diff_id,
                struct error *e)
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
            rc = squeeze(w, c->data, c->len, false);
        chunk_free(take_ptr(c));
        if (rc < 0)
            break;
    }
    if (rc == 0)
        rc = squeeze(w, "", 0, true);
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
    struct writer w = {.fd = out_fd, .e = e};
    squeeze_fn *squeeze = to == OCI_GZIP   ? writer_gzip(&w, level)
                          : to == OCI_ZSTD ? writer_zstd(&w, level)
                                           : squeeze_plain;

    w.out = xmalloc(OUT_SIZE);
    int rc = !squeeze || digest_state_init(&w.hash, DIGEST_SHA256) < 0
                 ? error_set(e, ERR_INTERNAL, "cannot set up the compression of layers")
                 : reader_start(&r, e);
    if (rc >= 0) {
        rc = pump(&r, &w, squeeze, diff_id, e);
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
    writer_done(&w);
    return rc < 0 ? rc : 0;
}
