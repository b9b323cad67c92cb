/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journals of layers: see journal.h. The tar is taken apart by a reader of its own, which needs to
 * understand only where files' content lies; whatever it does not understand for certain is refused
 * or kept as it is, and what comes of it is proven by making the tar again before a blob is dropped.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/worker/deflate.h"
#include "image/worker/journal.h"

#define BLOCK       512u
#define RAW_MAX     (64u * 1024)
#define FILE_MIN    512u /* smaller files are kept in the journal */
#define PATH_LEN    4095u
#define PAX_MAX     (1024u * 1024)
#define BUF_SIZE    (128u * 1024)
#define WINDOW_LOG  27
#define ZSTD_LEVEL  3
#define JOURNAL_END 'E'

/* --- Writing records ------------------------------------------------------------------------------- */

struct writer {
    struct chunkq *in;
    struct chunk *current;
    size_t pos;
    uint64_t total; /* bytes of the tar so far */
    uint64_t written, max;
    int fd;
    ZSTD_CCtx *zstd;
    unsigned char *raw; /* a piece that is gathered */
    size_t raw_len;
    unsigned char *out;
    struct error *e;
};

static int pack(struct writer *w, const void *data, size_t len, bool end)
{
    ZSTD_inBuffer in = {data, len, 0};

    for (;;) {
        ZSTD_outBuffer out = {w->out, BUF_SIZE, 0};
        size_t left = ZSTD_compressStream2(w->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return error_set(w->e, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
        int r = out.pos > 0 ? fs_write_all(w->fd, w->out, out.pos) : 0;
        if (r < 0)
            return error_set_errno(w->e, r, "cannot write the layer's journal");
        w->written += out.pos;
        if (w->written > w->max)
            return error_set(w->e, ERR_NOT_SUPPORTED,
                             "its journal would be nearly as large as it is");
        if (end ? left == 0 : in.pos == in.size && out.pos < BUF_SIZE)
            return 0;
    }
}

static int flush_raw(struct writer *w)
{
    unsigned char head[5] = {'R'};
    uint32_t len = (uint32_t)w->raw_len;

    if (len == 0)
        return 0;
    memcpy(head + 1, &len, sizeof(len));
    w->raw_len = 0;
    int r = pack(w, head, sizeof(head), false);
    return r < 0 ? r : pack(w, w->raw, len, false);
}

static int put_raw(struct writer *w, const void *data, size_t len)
{
    const unsigned char *p = data;
    int r;

    while (len > 0) {
        size_t n = RAW_MAX - w->raw_len < len ? RAW_MAX - w->raw_len : len;
        memcpy(w->raw + w->raw_len, p, n);
        w->raw_len += n;
        p += n;
        len -= n;
        if (w->raw_len == RAW_MAX && (r = flush_raw(w)) < 0)
            return r;
    }
    return 0;
}

static int put_file(struct writer *w, const char *path, uint64_t size)
{
    unsigned char head[11] = {'F'};
    uint16_t len = (uint16_t)strlen(path);
    int r = flush_raw(w);

    memcpy(head + 1, &size, sizeof(size));
    memcpy(head + 9, &len, sizeof(len));
    if (r >= 0)
        r = pack(w, head, sizeof(head), false);
    return r < 0 ? r : pack(w, path, len, false);
}

/* --- Reading the tar ---------------------------------------------------------------------------------- */

/* At most len bytes that lie in one piece: their number, 0 at the end. */
static ssize_t piece(struct writer *w, size_t len, const unsigned char **ret)
{
    while (!w->current || w->pos == w->current->len) {
        chunk_free(take_ptr(w->current));
        w->pos = 0;
        int r = chunkq_pop(w->in, &w->current);
        if (r <= 0)
            return r;
    }
    size_t n = w->current->len - w->pos < len ? w->current->len - w->pos : len;
    *ret = w->current->data + w->pos;
    w->pos += n;
    w->total += n;
    return (ssize_t)n;
}

static int odd(struct writer *w, const char *what)
{
    return error_set(w->e, ERR_NOT_SUPPORTED, "the layer's archive %s", what);
}

static int source_failed(struct writer *w, ssize_t n)
{
    return n < 0 ? error_set_errno(w->e, (int)n, "cannot read the layer's archive")
                 : odd(w, "ends too early");
}

/* Passes bytes on to the journal, or drops them; into copy too when that is not NULL. */
static int take(struct writer *w, uint64_t len, bool keep, unsigned char *copy)
{
    const unsigned char *p;

    while (len > 0) {
        ssize_t n = piece(w, len < BUF_SIZE ? (size_t)len : BUF_SIZE, &p);
        if (n <= 0)
            return source_failed(w, n);
        if (copy) {
            memcpy(copy, p, (size_t)n);
            copy += n;
        }
        int r = keep ? put_raw(w, p, (size_t)n) : 0;
        if (r < 0)
            return r;
        len -= (uint64_t)n;
    }
    return 0;
}

static uint64_t padded(uint64_t size)
{
    return (size + BLOCK - 1) / BLOCK * BLOCK;
}

/* Octal, or base 256 with the first bit set. -EINVAL. */
static int number(const unsigned char *p, size_t len, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;

    if (p[0] & 0x80) {
        if (p[0] != 0x80)
            return -EINVAL;
        for (i = 1; i < len; i++) {
            if (v >> 55)
                return -EINVAL;
            v = v << 8 | p[i];
        }
        *ret = v;
        return 0;
    }
    while (i < len && p[i] == ' ')
        i++;
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
        v = v << 3 | (uint64_t)(p[i] - '0');
    for (; i < len; i++)
        if (p[i] != ' ' && p[i] != '\0')
            return -EINVAL;
    *ret = v;
    return 0;
}

static bool sum_is_right(const unsigned char *h)
{
    uint64_t want;
    unsigned sum = 0;

    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    return number(h + 148, 8, &want) == 0 && want == sum;
}

/* What extended headers say of the entry that follows. */
struct pending {
    char *path;
    bool has_size, sparse;
    uint64_t size;
};

static void pending_reset(struct pending *p)
{
    free(p->path);
    *p = (struct pending){0};
}

/* "27 path=some/name\n" … Without certainty: -EINVAL. */
static int parse_pax(const char *text, size_t len, struct pending *p)
{
    while (len > 0) {
        size_t digits = strspn(text, "0123456789");
        uint64_t n = 0;

        for (size_t i = 0; i < digits && digits < 8; i++)
            n = n * 10 + (uint64_t)(text[i] - '0');
        if (digits == 0 || digits >= 8 || n > len || n < digits + 4 || text[digits] != ' ' ||
            text[n - 1] != '\n')
            return -EINVAL;
        const char *key = text + digits + 1;
        size_t left = (size_t)n - digits - 2;
        if (left >= 5 && strncmp(key, "path=", 5) == 0) {
            free(p->path);
            p->path = xstrndup(key + 5, left - 5);
        } else if (left >= 5 && strncmp(key, "size=", 5) == 0) {
            AUTOFREE char *v = xstrndup(key + 5, left - 5);
            if (parse_u64(v, &p->size) < 0 || p->size >> 60)
                return -EINVAL;
            p->has_size = true;
        } else if (left >= 11 && strncmp(key, "GNU.sparse.", 11) == 0) {
            p->sparse = true;
        }
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

static int read_extension(struct writer *w, char type, uint64_t size, struct pending *p)
{
    struct pending global = {0};
    int r;

    if (size > PAX_MAX)
        return odd(w, "has an extended header that is too large");
    AUTOFREE char *text = xcalloc(1, (size_t)padded(size) + 1);
    if ((r = take(w, padded(size), true, (unsigned char *)text)) < 0)
        return r;
    text[size] = '\0';
    switch (type) {
    case 'x':
        return parse_pax(text, (size_t)size, p) < 0 ? odd(w, "has an odd extended header") : 0;
    case 'g':
        r = parse_pax(text, (size_t)size, &global);
        if (r >= 0 && (global.path || global.has_size || global.sparse))
            r = -EINVAL;
        pending_reset(&global);
        return r < 0 ? odd(w, "has an odd global header") : 0;
    case 'L':
        free(p->path);
        p->path = xstrdup(text);
        return 0;
    default:
        return 0; /* K: a link's target */
    }
}

static char *name_of(const unsigned char *h)
{
    const char *name = (const char *)h, *prefix = (const char *)h + 345;
    bool ustar = memcmp(h + 257, "ustar\0", 6) == 0 && *prefix;

    return xasprintf("%.*s%s%.*s", ustar ? 155 : 0, prefix, ustar ? "/" : "", 100, name);
}

/* Names that go to pouchd and back as they are; without what the layer's folder does not have. */
static const char *usable_path(const char *path)
{
    for (;;) {
        if (*path == '/')
            path++;
        else if (path[0] == '.' && path[1] == '/')
            path += 2;
        else
            break;
    }
    size_t len = strlen(path);
    if (len == 0 || len > PATH_LEN || path[len - 1] == '/')
        return NULL;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)path[i] < ' ' || (unsigned char)path[i] > '~')
            return NULL;
    return path;
}

static int read_entry(struct writer *w, const unsigned char *h, uint64_t size, struct pending *p)
{
    char type = (char)h[156];
    AUTOFREE char *own = p->path ? NULL : name_of(h);
    const char *path = usable_path(p->path ? p->path : own);

    if (p->has_size)
        size = p->size;
    if (type >= '1' && type <= '6')
        return size == 0 ? 0 : odd(w, "has a link, folder or device with content");
    if (type == 'S')
        return odd(w, "has a sparse file in GNU's old format");
    bool file = type == '0' || type == '\0' || type == '7';
    if (!file || !path || p->sparse || size < FILE_MIN)
        return take(w, padded(size), true, NULL);
    int r = put_file(w, path, size);
    if (r >= 0)
        r = take(w, size, false, NULL);
    return r < 0 ? r : take(w, padded(size) - size, true, NULL);
}

static bool is_zero(const unsigned char *h)
{
    for (size_t i = 0; i < BLOCK; i++)
        if (h[i])
            return false;
    return true;
}

/* What follows the archive's end belongs to the digest too. */
static int read_rest(struct writer *w)
{
    const unsigned char *p;
    ssize_t n;
    int r = 0;

    while (r >= 0 && (n = piece(w, BUF_SIZE, &p)) != 0)
        r = n < 0 ? source_failed(w, n) : put_raw(w, p, (size_t)n);
    return r;
}

static int read_tar(struct writer *w)
{
    struct pending p = {0};
    int r = 0;

    for (;;) {
        unsigned char h[BLOCK];
        uint64_t size = 0;

        if ((r = take(w, BLOCK, true, h)) < 0)
            break;
        if (is_zero(h)) {
            r = read_rest(w);
            break;
        }
        if (!sum_is_right(h) || number(h + 124, 12, &size) < 0 || size >> 60) {
            r = odd(w, "has an odd header");
            break;
        }
        if (strchr("xgLK", h[156]) && h[156]) {
            r = read_extension(w, (char)h[156], size, &p);
        } else {
            r = read_entry(w, h, size, &p);
            pending_reset(&p);
        }
        if (r < 0)
            break;
    }
    pending_reset(&p);
    return r;
}

uint64_t journal_record(const struct journal_recipe *r, uint64_t *ret_offset)
{
    uint64_t len = 0;

    if (r->codec == JOURNAL_DEFLATE)
        memcpy(&len, r->header, sizeof(len));
    *ret_offset = strlen(JOURNAL_MAGIC) +
                  (r->old ? offsetof(struct journal_recipe, library) : sizeof(*r));
    return len;
}

int journal_write_record(int blob, uint64_t size, int fd, struct journal_recipe *ret,
                         struct error *e)
{
    struct journal_recipe r = {.codec = JOURNAL_DEFLATE, .pledge = size, .header_len = 8};
    uint64_t offset, len = 0;
    unsigned model = 0;

    (void)journal_record(&r, &offset);
    if (ftruncate(fd, 0) < 0 || lseek(fd, (off_t)offset, SEEK_SET) < 0)
        return error_set_errno(e, errno, "cannot write the layer's journal");
    int rc = deflate_record_write(blob, fd, &model, &len, e);
    if (rc < 0)
        return rc;
    r.mem = (uint8_t)model;
    memcpy(r.header, &len, sizeof(len));
    *ret = r;
    return 0;
}

/* What is before the records; the record of the stream is there already. */
static int write_head(int fd, const struct journal_recipe *recipe, struct error *e)
{
    uint64_t offset, len = journal_record(recipe, &offset);
    int r = lseek(fd, 0, SEEK_SET) < 0 ? -errno
                                       : fs_write_all(fd, JOURNAL_MAGIC, strlen(JOURNAL_MAGIC));

    if (r >= 0)
        r = fs_write_all(fd, recipe, sizeof(*recipe));
    if (r >= 0 && (len > INT64_MAX / 2 || ftruncate(fd, (off_t)(offset + len)) < 0 ||
                   lseek(fd, 0, SEEK_END) < 0))
        r = len > INT64_MAX / 2 ? -EINVAL : -errno;
    return r < 0 ? error_set_errno(e, r, "cannot write the layer's journal") : 0;
}

int journal_write(struct chunkq *tar, const struct journal_recipe *recipe, uint64_t max, int fd,
                  struct error *e)
{
    struct writer w = {.in = tar,
                       .fd = fd,
                       .max = max,
                       .zstd = ZSTD_createCCtx(),
                       .raw = xmalloc(RAW_MAX),
                       .out = xmalloc(BUF_SIZE),
                       .e = e};
    int r = w.zstd ? 0 : error_set(e, ERR_INTERNAL, "cannot set up zstd");

    if (r >= 0)
        (void)ZSTD_CCtx_setParameter(w.zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    if (r >= 0)
        r = write_head(fd, recipe, e);
    if (r >= 0)
        r = read_tar(&w);
    if (r >= 0)
        r = flush_raw(&w);
    if (r >= 0) {
        unsigned char end[9] = {JOURNAL_END};
        memcpy(end + 1, &w.total, sizeof(w.total));
        r = pack(&w, end, sizeof(end), true);
    }
    chunk_free(w.current);
    ZSTD_freeCCtx(w.zstd);
    free(w.raw);
    free(w.out);
    return r;
}

/* --- Reading it back -------------------------------------------------------------------------------- */

struct replay {
    int fd;
    ZSTD_DCtx *zstd;
    unsigned char *in_buf, *buf;
    ZSTD_inBuffer in;
    bool eof;
    uint64_t total;
    journal_content *content;
    void *content_data;
    journal_sink *sink;
    void *sink_data;
    struct error *e;
};

static int damaged(struct replay *p)
{
    return error_set(p->e, ERR_INTERNAL, "the layer's journal is damaged");
}

int journal_read_recipe(int fd, struct journal_recipe *ret, struct error *e)
{
    char magic[sizeof(JOURNAL_MAGIC) - 1];
    struct journal_recipe r = {0};
    uint64_t offset, len;

    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fs_read_full(fd, magic, sizeof(magic)) != (ssize_t)sizeof(magic))
        return error_set(e, ERR_INTERNAL, "the layer's journal is damaged");
    bool old = memcmp(magic, JOURNAL_MAGIC_OLD, sizeof(magic)) == 0;
    size_t size = old ? offsetof(struct journal_recipe, library) : sizeof(r);
    if ((!old && memcmp(magic, JOURNAL_MAGIC, sizeof(magic)) != 0) ||
        fs_read_full(fd, &r, size) != (ssize_t)size || r.codec >= JOURNAL_CODEC_MAX ||
        r.header_len > JOURNAL_HEADER_MAX || r.old || r.library[JOURNAL_LIBRARY_MAX - 1])
        return error_set(e, ERR_INTERNAL, "the layer's journal is damaged");
    r.old = old;
    len = journal_record(&r, &offset);
    if (len > INT64_MAX / 2 || lseek(fd, (off_t)(offset + len), SEEK_SET) < 0)
        return error_set(e, ERR_INTERNAL, "the layer's journal is damaged");
    *ret = r;
    return 0;
}

int journal_change_recipe(int fd, const struct journal_recipe *r, struct error *e)
{
    ssize_t n = pwrite(fd, r, sizeof(*r), (off_t)strlen(JOURNAL_MAGIC));

    return n == (ssize_t)sizeof(*r)
               ? 0
               : error_set_errno(e, n < 0 ? errno : EIO, "cannot write the layer's journal");
}

/* Exactly len bytes of records. */
static int get(struct replay *p, void *data, size_t len)
{
    ZSTD_outBuffer out = {data, len, 0};

    while (out.pos < len) {
        if (p->in.pos == p->in.size && !p->eof) {
            ssize_t n = fs_read_full(p->fd, p->in_buf, BUF_SIZE);
            if (n < 0)
                return error_set_errno(p->e, (int)n, "cannot read the layer's journal");
            p->eof = n == 0;
            p->in = (ZSTD_inBuffer){p->in_buf, (size_t)n, 0};
        }
        size_t before = out.pos, left = ZSTD_decompressStream(p->zstd, &out, &p->in);
        if (ZSTD_isError(left) || (p->eof && out.pos == before))
            return damaged(p);
    }
    return 0;
}

static int emit(void *data, const void *bytes, size_t len, struct error *e)
{
    struct replay *p = data;

    p->total += len;
    return p->sink(p->sink_data, bytes, len, e);
}

static int replay_raw(struct replay *p)
{
    uint32_t len;
    int r = get(p, &len, sizeof(len));

    if (r < 0)
        return r;
    if (len > RAW_MAX)
        return damaged(p);
    r = get(p, p->buf, len);
    return r < 0 ? r : emit(p, p->buf, len, p->e);
}

static int replay_file(struct replay *p)
{
    char path[PATH_LEN + 1];
    uint64_t size, before = p->total;
    uint16_t len;
    int r = get(p, &size, sizeof(size));

    if (r >= 0)
        r = get(p, &len, sizeof(len));
    if (r < 0)
        return r;
    if (len == 0 || len > PATH_LEN)
        return damaged(p);
    if ((r = get(p, path, len)) < 0)
        return r;
    path[len] = '\0';
    r = p->content(p->content_data, path, size, emit, p, p->e);
    return r < 0 ? r : p->total - before == size ? 0 : damaged(p);
}

static int replay_records(struct replay *p)
{
    unsigned char kind;
    uint64_t total;
    int r;

    while ((r = get(p, &kind, 1)) >= 0) {
        if (kind == 'R')
            r = replay_raw(p);
        else if (kind == 'F')
            r = replay_file(p);
        else if (kind == JOURNAL_END)
            break;
        else
            r = damaged(p);
        if (r < 0)
            return r;
    }
    if (r >= 0)
        r = get(p, &total, sizeof(total));
    return r < 0 ? r : total == p->total ? 0 : damaged(p);
}

int journal_replay(int fd, journal_content *content, void *content_data, journal_sink *sink,
                   void *sink_data, struct error *e)
{
    struct replay p = {.fd = fd,
                       .zstd = ZSTD_createDCtx(),
                       .in_buf = xmalloc(BUF_SIZE),
                       .buf = xmalloc(BUF_SIZE),
                       .content = content,
                       .content_data = content_data,
                       .sink = sink,
                       .sink_data = sink_data,
                       .e = e};
    int r = p.zstd ? 0 : error_set(e, ERR_INTERNAL, "cannot set up zstd");

    if (r >= 0)
        (void)ZSTD_DCtx_setParameter(p.zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
    if (r >= 0)
        r = replay_records(&p);
    ZSTD_freeDCtx(p.zstd);
    free(p.in_buf);
    free(p.buf);
    return r;
}
