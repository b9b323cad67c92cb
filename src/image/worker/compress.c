/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compression of what goes out: gzip (ISA-L, or zlib where that is not to be had) and zstd, as a
 * stage that bytes are pushed through; and the operation "compress", from one pipe into another.
 * The same bytes give the same result: no times and no names are in the headers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#else
#include <zlib.h>
#endif

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/worker/worker.h"

#define OUT_SIZE   (256u * 1024)
#define ZSTD_LEVEL 3

struct compressor {
    enum oci_compression kind;
    int fd;
    unsigned char *out;
    ZSTD_CStream *zstd;
#ifdef HAVE_ISAL
    struct isal_zstream gzip;
    unsigned char *level_buf;
#else
    z_stream gzip;
#endif
};

static void compressor_done(struct compressor *c)
{
    ZSTD_freeCStream(c->zstd);
#ifdef HAVE_ISAL
    free(c->level_buf);
#else
    if (c->kind == OCI_GZIP)
        (void)deflateEnd(&c->gzip);
#endif
    free(c->out);
}

static int compressor_init(struct compressor *c, enum oci_compression kind, int fd, struct error *e)
{
    *c = (struct compressor){.kind = kind, .fd = fd, .out = xmalloc(OUT_SIZE)};
    if (kind == OCI_ZSTD) {
        c->zstd = ZSTD_createCStream();
        if (!c->zstd || ZSTD_isError(ZSTD_initCStream(c->zstd, ZSTD_LEVEL)))
            return error_set(e, ERR_INTERNAL, "cannot set up zstd");
        return 0;
    }
#ifdef HAVE_ISAL
    isal_deflate_init(&c->gzip);
    c->level_buf = xmalloc(ISAL_DEF_LVL1_DEFAULT);
    c->gzip.level = 1;
    c->gzip.level_buf = c->level_buf;
    c->gzip.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    c->gzip.gzip_flag = IGZIP_GZIP;
#else
    if (deflateInit2(&c->gzip, 5, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        c->kind = OCI_PLAIN;
        return error_set(e, ERR_INTERNAL, "cannot set up gzip");
    }
#endif
    return 0;
}

static int put(struct compressor *c, size_t len, struct error *e)
{
    int r = len > 0 ? fs_write_all(c->fd, c->out, len) : 0;

    return r < 0 ? error_set_errno(e, r, "cannot write the compressed stream") : 0;
}

static int zstd_step(struct compressor *c, const void *data, size_t len, bool end, struct error *e)
{
    ZSTD_inBuffer in = {data, len, 0};

    for (;;) {
        ZSTD_outBuffer out = {c->out, OUT_SIZE, 0};
        size_t left = ZSTD_compressStream2(c->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return error_set(e, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
        int r = put(c, out.pos, e);
        if (r < 0)
            return r;
        if (end ? left == 0 : in.pos == in.size)
            return 0;
    }
}

static int gzip_step(struct compressor *c, const void *data, size_t len, bool end, struct error *e)
{
    bool more;

    c->gzip.next_in = (unsigned char *)(uintptr_t)data;
    c->gzip.avail_in = (uint32_t)len;
    do {
        c->gzip.next_out = c->out;
        c->gzip.avail_out = OUT_SIZE;
#ifdef HAVE_ISAL
        c->gzip.end_of_stream = end;
        int z = isal_deflate(&c->gzip);
        if (z != COMP_OK)
            return error_set(e, ERR_INTERNAL, "gzip: error %d", z);
        more = c->gzip.avail_out == 0 || (end && c->gzip.internal_state.state != ZSTATE_END);
#else
        int z = deflate(&c->gzip, end ? Z_FINISH : Z_NO_FLUSH);
        if (z == Z_STREAM_ERROR)
            return error_set(e, ERR_INTERNAL, "gzip: error %d", z);
        more = c->gzip.avail_out == 0 || (end && z != Z_STREAM_END);
#endif
        int r = put(c, OUT_SIZE - c->gzip.avail_out, e);
        if (r < 0)
            return r;
    } while (more);
    return 0;
}

int worker_compress(const struct worker_msg *start, int in, int out, struct error *e)
{
    AUTOFREE unsigned char *data = xmalloc(CHUNK_SIZE);
    enum oci_compression kind;
    struct compressor c = {0};
    ssize_t n = 0;

    if (start->media_type && STREQ(start->media_type, "gzip"))
        kind = OCI_GZIP;
    else if (start->media_type && STREQ(start->media_type, "zstd"))
        kind = OCI_ZSTD;
    else
        return error_set(e, ERR_INTERNAL, "the image worker got an unknown compression");
    int r = compressor_init(&c, kind, out, e);
    while (r >= 0) {
        n = fs_read_full(in, data, CHUNK_SIZE);
        if (n < 0) {
            r = error_set_errno(e, (int)n, "cannot read what is to be compressed");
            break;
        }
        bool end = (size_t)n < CHUNK_SIZE;
        r = kind == OCI_ZSTD ? zstd_step(&c, data, (size_t)n, end, e)
                             : gzip_step(&c, data, (size_t)n, end, e);
        if (end)
            break;
    }
    compressor_done(&c);
    return r;
}
