/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression of layers and archives: gzip (ISA-L, or zlib where that is not to be had), zstd,
 * xz and bzip2 (libarchive's filters), plain. The first bytes decide, as in Docker: media types
 * are often wrong.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#else
#include <zlib.h>
#endif

#include "base/alloc.h"
#include "image/worker/worker.h"

#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: what zstd --ultra uses; more is an attack */

struct stage {
    struct chunkq *in, *out;
    struct chunk *current; /* the chunk being read */
    size_t pos;
    uint64_t given; /* bytes of output */
    struct error *e;
};

/* What a few kilobytes unpack to has no other end than this one. */
static struct {
    uint64_t max; /* 0: none */
    atomic_uint_fast64_t kept;
} limit;

void inflate_limit(uint64_t max)
{
    limit.max = max;
}

static int check_limit(uint64_t bytes, struct error *e)
{
    if (limit.max == 0 || bytes <= limit.max)
        return 0;
    return error_set(e, ERR_TOO_LARGE, "the image unpacks to more than %llu bytes (max-image-size)",
                     (unsigned long long)limit.max);
}

int inflate_keep(uint64_t bytes, struct error *e)
{
    return check_limit(atomic_fetch_add(&limit.kept, bytes) + bytes, e);
}

static int push_plain(struct stage *s, struct chunk *c)
{
    s->given += c->len;
    int r = check_limit(atomic_load(&limit.kept) + s->given, s->e);

    if (r < 0) {
        chunk_free(c);
        return r;
    }
    return chunkq_push(s->out, c);
}

/* Makes current hold unread bytes: 1, 0 at the end, -errno of the source. */
static int refill(struct stage *s)
{
    while (!s->current || s->pos == s->current->len) {
        chunk_free(take_ptr(s->current));
        s->pos = 0;
        int r = chunkq_pop(s->in, &s->current);
        if (r <= 0)
            return r;
    }
    return 1;
}

static int copy_plain(struct stage *s)
{
    int r;

    while ((r = refill(s)) > 0) {
        if (s->pos > 0) {
            memmove(s->current->data, s->current->data + s->pos, s->current->len - s->pos);
            s->current->len -= s->pos;
            s->pos = 0;
        }
        r = push_plain(s, take_ptr(s->current));
        if (r < 0)
            return r;
    }
    return r;
}

/* After the last gzip member: only zeros may follow (padding of tapes and pipes). 1: another
 * member begins, 0: the end. */
static int after_member(struct stage *s)
{
    int r;

    while ((r = refill(s)) > 0) {
        unsigned char c = s->current->data[s->pos];
        if (c == 0x1f)
            return 1;
        if (c != 0)
            return error_set(s->e, ERR_INVALID, "there is data after the end of the gzip stream");
        s->pos++;
    }
    return r;
}

static int truncated(struct stage *s, const char *what)
{
    return error_set(s->e, ERR_INVALID, "the %s data is truncated", what);
}

#ifdef HAVE_ISAL
static int inflate_gzip(struct stage *s)
{
    AUTOFREE struct inflate_state *z = xmalloc(sizeof(*z));
    bool pending = false; /* the decoder may hold output that did not fit */
    int r;

    isal_inflate_init(z);
    z->crc_flag = ISAL_GZIP;
    for (;;) {
        r = pending ? 1 : refill(s);
        if (r < 0)
            return r;
        if (r == 0)
            return truncated(s, "gzip");
        struct chunk *out = chunk_new();
        do { /* fill one chunk */
            z->next_in = s->current->data + s->pos;
            z->avail_in = (uint32_t)(s->current->len - s->pos);
            z->next_out = out->data + out->len;
            z->avail_out = (uint32_t)(CHUNK_SIZE - out->len);
            r = isal_inflate(z);
            s->pos = s->current->len - z->avail_in;
            out->len = CHUNK_SIZE - z->avail_out;
            if (r < 0) {
                chunk_free(out);
                return error_set(s->e, ERR_INVALID, "the gzip data is corrupt%s",
                                 r == ISAL_INCORRECT_CHECKSUM ? " (wrong checksum)" : "");
            }
        } while (z->block_state != ISAL_BLOCK_FINISH && out->len < CHUNK_SIZE &&
                 s->pos < s->current->len);
        bool finished = z->block_state == ISAL_BLOCK_FINISH;
        pending = !finished && out->len == CHUNK_SIZE;
        if (out->len == 0)
            chunk_free(out);
        else if ((r = push_plain(s, out)) < 0)
            return r;
        if (!finished)
            continue;
        r = after_member(s);
        if (r <= 0)
            return r;
        isal_inflate_reset(z);
        z->crc_flag = ISAL_GZIP;
    }
}
#else
static int inflate_gzip(struct stage *s)
{
    z_stream z = {0};
    bool pending = false; /* the decoder may hold output that did not fit */
    int r, zr;

    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return error_set(s->e, ERR_INTERNAL, "cannot set up zlib");
    for (;;) {
        r = pending ? 1 : refill(s);
        if (r == 0)
            r = truncated(s, "gzip");
        if (r < 0)
            break;
        struct chunk *out = chunk_new();
        z.next_in = s->current->data + s->pos;
        z.avail_in = (uInt)(s->current->len - s->pos);
        z.next_out = out->data;
        z.avail_out = CHUNK_SIZE;
        zr = inflate(&z, Z_NO_FLUSH);
        s->pos = s->current->len - z.avail_in;
        out->len = CHUNK_SIZE - z.avail_out;
        if (zr != Z_OK && zr != Z_STREAM_END && zr != Z_BUF_ERROR) {
            chunk_free(out);
            r = error_set(s->e, ERR_INVALID, "the gzip data is corrupt");
            break;
        }
        pending = zr != Z_STREAM_END && out->len == CHUNK_SIZE;
        if (out->len == 0)
            chunk_free(out);
        else if ((r = push_plain(s, out)) < 0)
            break;
        if (zr != Z_STREAM_END)
            continue;
        r = after_member(s);
        if (r <= 0)
            break;
        inflateReset(&z);
    }
    inflateEnd(&z);
    return r;
}
#endif

static int inflate_zstd(struct stage *s)
{
    ZSTD_DCtx *z = ZSTD_createDCtx();
    size_t left = 1; /* 0: between two frames */
    int r;

    if (!z)
        return error_set(s->e, ERR_INTERNAL, "cannot set up zstd");
    ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    while ((r = refill(s)) > 0) {
        struct chunk *out = chunk_new();
        ZSTD_inBuffer in = {s->current->data, s->current->len, s->pos};
        ZSTD_outBuffer o = {out->data, CHUNK_SIZE, 0};
        left = ZSTD_decompressStream(z, &o, &in);
        if (ZSTD_isError(left)) {
            chunk_free(out);
            r = error_set(s->e, ERR_INVALID, "the zstd data is corrupt: %s",
                          ZSTD_getErrorName(left));
            break;
        }
        s->pos = in.pos;
        out->len = o.pos;
        if (out->len == 0)
            chunk_free(out);
        else if ((r = push_plain(s, out)) < 0)
            break;
    }
    /* What the last full chunk left inside the decoder. */
    while (r == 0 && left != 0) {
        struct chunk *out = chunk_new();
        ZSTD_inBuffer in = {NULL, 0, 0};
        ZSTD_outBuffer o = {out->data, CHUNK_SIZE, 0};
        left = ZSTD_decompressStream(z, &o, &in);
        out->len = o.pos;
        if (ZSTD_isError(left) || (out->len == 0 && left != 0)) {
            chunk_free(out);
            r = truncated(s, "zstd");
        } else if (out->len == 0) {
            chunk_free(out);
        } else {
            r = push_plain(s, out);
        }
    }
    ZSTD_freeDCtx(z);
    return r;
}

static la_ssize_t filter_read(struct archive *a, void *data, const void **ret)
{
    struct stage *s = data;
    int r = refill(s);

    if (r <= 0) {
        if (r < 0)
            archive_set_error(a, -r, "the source failed");
        return r;
    }
    *ret = s->current->data + s->pos;
    la_ssize_t n = (la_ssize_t)(s->current->len - s->pos);
    s->pos = s->current->len;
    return n;
}

/* xz and bzip2: rare, so libarchive's filters do. */
static int inflate_other(struct stage *s, const char *what)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry = NULL;
    int r = 0;

    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_format_raw(a);
    if (archive_read_open(a, s, NULL, filter_read, NULL) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK)
        r = error_set(s->e, ERR_INVALID, "the %s data is corrupt: %s", what,
                      archive_error_string(a));
    while (r >= 0) {
        struct chunk *out = chunk_new();
        la_ssize_t n = archive_read_data(a, out->data, CHUNK_SIZE);
        if (n <= 0) {
            chunk_free(out);
            if (n < 0)
                r = error_set(s->e, ERR_INVALID, "the %s data is corrupt: %s", what,
                              archive_error_string(a));
            break;
        }
        out->len = (size_t)n;
        r = push_plain(s, out);
    }
    archive_read_free(a);
    return r;
}

int inflate_run(struct chunkq *in, struct chunkq *out, struct error *e)
{
    static const unsigned char zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    static const unsigned char xz_magic[] = {0xfd, '7', 'z', 'X', 'Z'};
    struct stage s = {.in = in, .out = out, .e = e};
    int r = refill(&s);

    if (r > 0) {
        const unsigned char *d = s.current->data;
        size_t n = s.current->len;
        if (n >= 2 && d[0] == 0x1f && d[1] == 0x8b)
            r = inflate_gzip(&s);
        else if (n >= 4 &&
                 (memcmp(d, zstd_magic, 4) == 0 ||
                  ((d[0] & 0xf0) == 0x50 && d[1] == 0x2a && d[2] == 0x4d && d[3] == 0x18)))
            r = inflate_zstd(&s);
        else if (n >= 5 && memcmp(d, xz_magic, 5) == 0)
            r = inflate_other(&s, "xz");
        else if (n >= 4 && memcmp(d, "BZh", 3) == 0 && d[3] >= '1' && d[3] <= '9')
            r = inflate_other(&s, "bzip2");
        else
            r = copy_plain(&s);
    }
    chunk_free(s.current);
    if (r != 0)
        chunkq_abandon(in);
    chunkq_close(out, r);
    return r;
}
