/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compressing: all that Pouch compresses, and as somebody else did. The same library with the same
 * settings gives the same bytes; which settings somebody else had is tried on the first megabyte, and
 * proven on all of it by who asks.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZSTD_STATIC_LINKING_ONLY /* the frame's header */
#include <zlib.h>
#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

#include "base/alloc.h"
#include "image/worker/deflate.h"
#include "image/worker/journal.h"

#define OUT_SIZE (64u * 1024)

struct codec {
    struct journal_recipe recipe;
    journal_sink *sink;
    void *data;
    unsigned char *out;
    bool started; /* the header was written */
    bool has_zlib;
    z_stream zlib;
    uLong crc;
    uint64_t size;
    ZSTD_CCtx *zstd;
    struct deflate_replay *replay;
#ifdef HAVE_ISAL
    struct isal_zstream isal;
    unsigned char *isal_buf;
#endif
};

void codec_free(struct codec *c)
{
    if (!c)
        return;
    if (c->has_zlib)
        (void)deflateEnd(&c->zlib);
    ZSTD_freeCCtx(c->zstd);
    deflate_replay_free(c->replay);
#ifdef HAVE_ISAL
    free(c->isal_buf);
#endif
    free(c->out);
    free(c);
}

#ifdef HAVE_ISAL
/* The library does not say its version: the file that is loaded has it in its name. */
static void isal_version(char ret[JOURNAL_LIBRARY_MAX])
{
    AUTOFREE char *path = NULL;
    Dl_info info;

    if (dladdr((void *)(uintptr_t)isal_deflate, &info) != 0 && info.dli_fname)
        path = realpath(info.dli_fname, NULL);
    const char *name = path ? strrchr(path, '/') : NULL;
    if (name && strstr(name, "isal"))
        (void)snprintf(ret, JOURNAL_LIBRARY_MAX, "ISA-L (%.36s)", name + 1);
    else
        (void)snprintf(ret, JOURNAL_LIBRARY_MAX, "ISA-L");
}
#endif

void codec_library(unsigned codec, char ret[JOURNAL_LIBRARY_MAX])
{
    memset(ret, 0, JOURNAL_LIBRARY_MAX);
    if (codec == JOURNAL_ZLIB)
        (void)snprintf(ret, JOURNAL_LIBRARY_MAX, "zlib %s", zlibVersion());
    else if (codec == JOURNAL_ZSTD)
        (void)snprintf(ret, JOURNAL_LIBRARY_MAX, "libzstd %s", ZSTD_versionString());
#ifdef HAVE_ISAL
    else if (codec == JOURNAL_ISAL)
        isal_version(ret);
#endif
}

static int zstd_setup(struct codec *c)
{
    c->zstd = ZSTD_createCCtx();
    if (!c->zstd)
        return -ENOMEM;
    if (ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, c->recipe.level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, c->recipe.sum)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_nbWorkers, c->recipe.mem)))
        return -EINVAL;
    if (c->recipe.pledge != UINT64_MAX &&
        ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(c->zstd, c->recipe.pledge)))
        return -EINVAL;
    return 0;
}

static int setup(struct codec *c)
{
    const struct journal_recipe *r = &c->recipe;

    switch (r->codec) {
    case JOURNAL_TAR:
        return 0;
    case JOURNAL_ZLIB:
        if (r->level < 0 || r->level > 9 || r->mem < 1 || r->mem > 9 ||
            r->header_len > JOURNAL_HEADER_MAX)
            return -EINVAL;
        c->crc = crc32(0, NULL, 0);
        c->has_zlib = deflateInit2(&c->zlib, r->level, Z_DEFLATED, -15, r->mem,
                                   Z_DEFAULT_STRATEGY) == Z_OK;
        return c->has_zlib ? 0 : -ENOMEM;
#ifdef HAVE_ISAL
    case JOURNAL_ISAL:
        if (r->level != 1 && r->level != 2)
            return -EINVAL;
        isal_deflate_init(&c->isal);
        c->isal.level = (uint32_t)r->level;
        c->isal.level_buf_size = r->level == 1 ? ISAL_DEF_LVL1_DEFAULT : ISAL_DEF_LVL2_DEFAULT;
        c->isal_buf = xmalloc(c->isal.level_buf_size);
        c->isal.level_buf = c->isal_buf;
        c->isal.gzip_flag = IGZIP_GZIP;
        return 0;
#endif
    case JOURNAL_ZSTD:
        if (r->level < 1 || r->level > 22 || r->mem > 1 || r->sum > 1)
            return -EINVAL;
        return zstd_setup(c);
    default:
        return -EINVAL;
    }
}

int codec_recipe(enum oci_compression to, int level, struct journal_recipe *ret)
{
    /* As zlib begins a gzip stream: no time, no name, made on Unix. */
    static const unsigned char header[] = {0x1f, 0x8b, Z_DEFLATED, 0, 0, 0, 0, 0, 0, 3};

    if (to == OCI_PLAIN) {
        *ret = (struct journal_recipe){.codec = JOURNAL_TAR};
        return 0;
    }
    if (to == OCI_ZSTD) {
        *ret = (struct journal_recipe){.codec = JOURNAL_ZSTD,
                                       .level = (int8_t)(level == 0 ? ZSTD_CLEVEL_DEFAULT : level),
                                       .sum = 1,
                                       .pledge = UINT64_MAX};
        return 0;
    }
    if (to != OCI_GZIP)
        return -EINVAL;
#ifdef HAVE_ISAL
    if (level == 0) {
        *ret = (struct journal_recipe){.codec = JOURNAL_ISAL, .level = 2};
        return 0;
    }
#endif
    *ret = (struct journal_recipe){.codec = JOURNAL_ZLIB,
                                   .level = (int8_t)(level == 0 ? 6 : level),
                                   .mem = 8,
                                   .header_len = sizeof(header)};
    memcpy(ret->header, header, sizeof(header));
    return 0;
}

int codec_new(const struct journal_recipe *r, int journal, journal_sink *sink, void *data,
              struct codec **ret, struct error *e)
{
    AUTOPTR(codec) struct codec *c = xcalloc(1, sizeof(*c));

    c->recipe = *r;
    c->sink = sink;
    c->data = data;
    c->out = xmalloc(OUT_SIZE);
    if (r->codec == JOURNAL_DEFLATE) {
        uint64_t offset, len = journal_record(r, &offset);
        int rc = deflate_replay_new(journal, offset, len, r->mem, r->pledge, sink, data, &c->replay,
                                    e);
        if (rc < 0)
            return rc;
    } else if (setup(c) < 0) {
        return error_set(e, ERR_INTERNAL, "this compression cannot be set up");
    }
    *ret = take_ptr(c);
    return 0;
}

static int put(struct codec *c, size_t len, struct error *e)
{
    return len > 0 ? c->sink(c->data, c->out, len, e) : 0;
}

static int zlib_step(struct codec *c, const void *bytes, size_t len, bool end, struct error *e)
{
    int z, r;

    c->zlib.next_in = (unsigned char *)(uintptr_t)bytes;
    c->zlib.avail_in = (unsigned)len;
    c->crc = crc32(c->crc, bytes, (unsigned)len);
    do {
        c->zlib.next_out = c->out;
        c->zlib.avail_out = OUT_SIZE;
        z = deflate(&c->zlib, end ? Z_FINISH : Z_NO_FLUSH);
        if (z == Z_STREAM_ERROR)
            return error_set(e, ERR_INTERNAL, "zlib: error %d", z);
        r = put(c, OUT_SIZE - c->zlib.avail_out, e);
    } while (r >= 0 && (c->zlib.avail_out == 0 || (end && z != Z_STREAM_END)));
    return r;
}

#ifdef HAVE_ISAL
static int isal_step(struct codec *c, const void *bytes, size_t len, bool end, struct error *e)
{
    int r;

    c->isal.next_in = (unsigned char *)(uintptr_t)bytes;
    c->isal.avail_in = (uint32_t)len;
    c->isal.end_of_stream = end;
    do {
        c->isal.next_out = c->out;
        c->isal.avail_out = OUT_SIZE;
        int z = isal_deflate(&c->isal);
        if (z != COMP_OK)
            return error_set(e, ERR_INTERNAL, "gzip: error %d", z);
        r = put(c, OUT_SIZE - c->isal.avail_out, e);
    } while (r >= 0 && (c->isal.avail_out == 0 || c->isal.avail_in > 0 ||
                        (end && c->isal.internal_state.state != ZSTATE_END)));
    return r;
}
#endif

static int zstd_step(struct codec *c, const void *bytes, size_t len, bool end, struct error *e)
{
    ZSTD_inBuffer in = {bytes, len, 0};

    for (;;) {
        ZSTD_outBuffer out = {c->out, OUT_SIZE, 0};
        size_t left = ZSTD_compressStream2(c->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return error_set(e, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
        int r = put(c, out.pos, e);
        if (r < 0)
            return r;
        if (end ? left == 0 : in.pos == in.size && out.pos < OUT_SIZE)
            return 0;
    }
}

static int step(struct codec *c, const void *bytes, size_t len, bool end, struct error *e)
{
    int r = 0;

    if (!c->started && c->recipe.codec == JOURNAL_ZLIB)
        r = c->sink(c->data, c->recipe.header, c->recipe.header_len, e);
    c->started = true;
    c->size += len;
    if (r < 0)
        return r;
    switch (c->recipe.codec) {
    case JOURNAL_ZLIB:
        return zlib_step(c, bytes, len, end, e);
#ifdef HAVE_ISAL
    case JOURNAL_ISAL:
        return isal_step(c, bytes, len, end, e);
#endif
    case JOURNAL_ZSTD:
        return zstd_step(c, bytes, len, end, e);
    case JOURNAL_DEFLATE:
        return end ? deflate_replay_finish(c->replay, e)
                   : deflate_replay_push(c->replay, bytes, len, e);
    default:
        return len > 0 ? c->sink(c->data, bytes, len, e) : 0;
    }
}

int codec_push(struct codec *c, const void *bytes, size_t len, struct error *e)
{
    return len > 0 ? step(c, bytes, len, false, e) : 0;
}

int codec_finish(struct codec *c, struct error *e)
{
    int r = step(c, "", 0, true, e);

    if (r >= 0 && c->recipe.codec == JOURNAL_ZLIB) {
        unsigned char end[8];
        for (unsigned i = 0; i < 4; i++) {
            end[i] = (unsigned char)(c->crc >> (8 * i));
            end[4 + i] = (unsigned char)(c->size >> (8 * i));
        }
        r = c->sink(c->data, end, sizeof(end), e);
    }
    return r;
}

/* --- Guessing ---------------------------------------------------------------------------------------- */

struct match {
    const unsigned char *want;
    size_t len, done;
    uint64_t total; /* that came */
};

static int compare(void *data, const void *bytes, size_t len, struct error *e)
{
    struct match *m = data;
    size_t n = len < m->len - m->done ? len : m->len - m->done;

    if (memcmp(m->want + m->done, bytes, n) != 0)
        return -EILSEQ;
    m->done += n;
    m->total += len;
    return 0;
}

/* Whether the recipe gives what is there, as far as that goes. */
static bool fits(const struct journal_recipe *r, const unsigned char *raw, size_t raw_len,
                 const unsigned char *plain, size_t plain_len, bool whole)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(codec) struct codec *c = NULL;
    struct match m = {.want = raw, .len = raw_len};

    if (codec_new(r, -EBADF, compare, &m, &c, &e) < 0 || codec_push(c, plain, plain_len, &e) < 0)
        return false;
    if (whole)
        return codec_finish(c, &e) >= 0 && m.done == raw_len && m.total == raw_len;
    return m.done > r->header_len; /* at least something was compared */
}

/* The length of a gzip header, 0: none that is understood. */
static size_t gzip_header(const unsigned char *d, size_t len)
{
    size_t n = 10;

    if (len < 18 || d[0] != 0x1f || d[1] != 0x8b || d[2] != 8 || (d[3] & 0xe0))
        return 0;
    if (d[3] & 4) /* extra field */
        n += len > n + 2 ? 2u + d[n] + 256u * d[n + 1] : len;
    for (unsigned bit = 8; bit <= 16; bit *= 2) { /* name, comment */
        if (!(d[3] & bit))
            continue;
        while (n < len && d[n])
            n++;
        n++;
    }
    if (d[3] & 2)
        n += 2;
    return n < len && n <= JOURNAL_HEADER_MAX ? n : 0;
}

static int guess_gzip(const unsigned char *raw, size_t raw_len, const unsigned char *plain,
                      size_t plain_len, bool whole, struct journal_recipe *r)
{
    static const int8_t levels[] = {6, 9, 1, 5, 2, 3, 4, 7, 8};
    size_t header = gzip_header(raw, raw_len);

#ifdef HAVE_ISAL
    for (int8_t level = 2; level >= 1; level--) {
        *r = (struct journal_recipe){.codec = JOURNAL_ISAL, .level = level};
        if (fits(r, raw, raw_len, plain, plain_len, whole))
            return 1;
    }
#endif
    if (header == 0)
        return 0;
    for (uint8_t mem = 8; mem <= 9; mem++) {
        for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
            *r = (struct journal_recipe){.codec = JOURNAL_ZLIB,
                                         .level = levels[i],
                                         .mem = mem,
                                         .header_len = (uint32_t)header};
            memcpy(r->header, raw, header);
            if (fits(r, raw, raw_len, plain, plain_len, whole))
                return 1;
        }
    }
    return 0;
}

static int guess_zstd(const unsigned char *raw, size_t raw_len, const unsigned char *plain,
                      size_t plain_len, bool whole, struct journal_recipe *r)
{
    static const int8_t levels[] = {3,  1,  2,  4,  5,  6,  7,  8,  9, 10,
                                    11, 12, 13, 14, 15, 16, 17, 18, 19};
    ZSTD_frameHeader h;

    if (ZSTD_getFrameHeader(&h, raw, raw_len) != 0 || h.frameType != ZSTD_frame)
        return 0;
    /* The zstd program uses its own thread, which puts blocks together otherwise. What it gives can
     * be seen only at the end; it begins as without threads. */
    for (uint8_t threads = 0; threads <= (whole ? 1 : 0); threads++) {
        for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
            *r = (struct journal_recipe){.codec = JOURNAL_ZSTD,
                                         .level = levels[i],
                                         .mem = threads,
                                         .sum = h.checksumFlag != 0,
                                         .pledge = h.frameContentSize == ZSTD_CONTENTSIZE_UNKNOWN
                                                       ? UINT64_MAX
                                                       : h.frameContentSize};
            if (!fits(r, raw, raw_len, plain, plain_len, whole))
                continue;
            if (!whole)
                r->mem = 1;
            return 1;
        }
    }
    return 0;
}

int codec_guess(const unsigned char *raw, size_t raw_len, const unsigned char *plain,
                size_t plain_len, bool whole, struct journal_recipe *ret, struct error *e)
{
    static const unsigned char zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};

    int r;

    (void)e;
    if (raw_len >= 2 && raw[0] == 0x1f && raw[1] == 0x8b) {
        r = guess_gzip(raw, raw_len, plain, plain_len, whole, ret);
    } else if (raw_len >= 4 && memcmp(raw, zstd_magic, 4) == 0) {
        r = guess_zstd(raw, raw_len, plain, plain_len, whole, ret);
    } else {
        *ret = (struct journal_recipe){.codec = JOURNAL_TAR};
        r = fits(ret, raw, raw_len < plain_len ? raw_len : plain_len, plain, plain_len, false);
    }
    if (r == 1)
        codec_library(ret->codec, ret->library);
    return r;
}
