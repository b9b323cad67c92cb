/* SPDX-License-Identifier: Apache-2.0 */
/* The tar writer; see tarw.h. */
#include "base/tarw.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

#define BLOCK     512
#define NAME_MAX_ 100
#define OCTAL7    ((uint64_t)07777777)
#define OCTAL11   ((uint64_t)077777777777)

struct header {
    char name[NAME_MAX_];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char sum[8];
    char type;
    char link[NAME_MAX_];
    char magic[6];
    char version[2];
    char uname[32];
    char gname[32];
    char dev_major[8];
    char dev_minor[8];
    char prefix[155];
    char zero[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

static const char zeros[BLOCK];

static void octal(char *field, size_t size, uint64_t value)
{
    field[size - 1] = '\0';
    for (size_t i = size - 1; i-- > 0; value >>= 3)
        field[i] = (char)('0' + (value & 7));
}

static void finish_header(struct header *h)
{
    const unsigned char *p = (const unsigned char *)h;
    unsigned sum = 0;

    memcpy(h->magic, "ustar", 6);
    memcpy(h->version, "00", 2);
    memset(h->sum, ' ', sizeof(h->sum));
    for (size_t i = 0; i < sizeof(*h); i++)
        sum += p[i];
    octal(h->sum, 7, sum);
    h->sum[7] = ' ';
}

static int pad_to_block(struct tarw *w, uint64_t size)
{
    size_t n = (size_t)(-size & (BLOCK - 1));

    return n ? w->write(w->data, zeros, n) : 0;
}

/* "LEN key=value\n", where LEN counts itself. */
static void pax_record(struct buf *b, const char *key, const void *value, size_t len)
{
    size_t body = strlen(key) + len + 3; /* blank, "=", line feed */
    size_t total = body + 1;

    for (size_t digits = 1, limit = 10; total >= limit; digits++, limit *= 10)
        total = body + digits + 1;
    (void)buf_printf(b, "%zu %s=", total, key);
    (void)buf_append(b, value, len);
    (void)buf_putc(b, '\n');
}

static void pax_number(struct buf *b, const char *key, int64_t value)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%" PRId64, value);

    pax_record(b, key, text, (size_t)n);
}

static bool is_utf8(const char *s)
{
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        unsigned more = *p < 0x80                 ? 0
                        : *p >= 0xc2 && *p < 0xe0 ? 1
                        : *p >= 0xe0 && *p < 0xf0 ? 2
                        : *p >= 0xf0 && *p < 0xf5 ? 3
                                                  : 9;
        if (more == 9)
            return false;
        for (p++; more > 0; more--, p++)
            if ((*p & 0xc0) != 0x80)
                return false;
    }
    return true;
}

/* An extra header with content before the entry's own: pax records, or GNU's long names. */
static int extra_entry(struct tarw *w, char type, const char *name, const void *data, size_t len)
{
    struct header h = {.type = type};
    int r;

    memcpy(h.name, name, strlen(name));
    octal(h.mode, sizeof(h.mode), 0);
    octal(h.uid, sizeof(h.uid), 0);
    octal(h.gid, sizeof(h.gid), 0);
    octal(h.size, sizeof(h.size), len);
    octal(h.mtime, sizeof(h.mtime), 0);
    finish_header(&h);
    r = w->write(w->data, &h, sizeof(h));
    if (r >= 0)
        r = w->write(w->data, data, len);
    return r < 0 ? r : pad_to_block(w, len);
}

/* A name that does not fit: a pax record, or for bytes that are no UTF-8, which pax demands, the
 * way of GNU tar. */
static int long_name(struct tarw *w, struct buf *pax, const char *key, char gnu, const char *name,
                     char *field)
{
    size_t len = strlen(name);

    if (len <= NAME_MAX_) {
        memcpy(field, name, len);
        return 0;
    }
    memcpy(field, name, NAME_MAX_);
    if (is_utf8(name)) {
        pax_record(pax, key, name, len);
        return 0;
    }
    return extra_entry(w, gnu, "././@LongLink", name, len + 1);
}

static void number(struct buf *pax, const char *key, char *field, size_t size, int64_t value,
                   uint64_t max)
{
    if (value >= 0 && (uint64_t)value <= max) {
        octal(field, size, (uint64_t)value);
        return;
    }
    octal(field, size, 0);
    pax_number(pax, key, value);
}

/* The map of a sparse file: the number of pieces, then offset and length of each, a line each. */
static void sparse_map(struct buf *map, const struct tarw_entry *e)
{
    (void)buf_printf(map, "%zu\n", e->npieces);
    for (size_t i = 0; i < e->npieces; i++)
        (void)buf_printf(map, "%" PRIu64 "\n%" PRIu64 "\n", e->pieces[i].offset, e->pieces[i].len);
    size_t n = (size_t)(-(uint64_t)map->len & (BLOCK - 1));
    (void)buf_append(map, zeros, n);
}

int tarw_entry(struct tarw *w, const struct tarw_entry *e)
{
    AUTO(buf) struct buf pax = BUF_INIT(BUF_UNLIMITED), map = BUF_INIT(BUF_UNLIMITED);
    struct header h = {.type = (char)e->type};
    bool sparse = e->sparse && e->type == TARW_FILE;
    uint64_t content = e->type == TARW_FILE ? e->size : 0;
    int r;

    assert(w->left == 0);
    if (sparse) {
        content = 0;
        for (size_t i = 0; i < e->npieces; i++)
            content += e->pieces[i].len;
        sparse_map(&map, e);
        pax_record(&pax, "GNU.sparse.major", "1", 1);
        pax_record(&pax, "GNU.sparse.minor", "0", 1);
        pax_record(&pax, "GNU.sparse.name", e->path, strlen(e->path));
        pax_number(&pax, "GNU.sparse.realsize", (int64_t)e->size);
        memcpy(h.name, "GNUSparseFile.0/file", 20);
    } else if ((r = long_name(w, &pax, "path", 'L', e->path, h.name)) < 0) {
        return r;
    }
    if (e->link && (r = long_name(w, &pax, "linkpath", 'K', e->link, h.link)) < 0)
        return r;
    octal(h.mode, sizeof(h.mode), e->mode & 07777);
    number(&pax, "uid", h.uid, sizeof(h.uid), e->uid, OCTAL7);
    number(&pax, "gid", h.gid, sizeof(h.gid), e->gid, OCTAL7);
    number(&pax, "size", h.size, sizeof(h.size), (int64_t)(content + map.len), OCTAL11);
    number(&pax, "mtime", h.mtime, sizeof(h.mtime), e->mtime, OCTAL11);
    octal(h.dev_major, sizeof(h.dev_major), e->dev_major);
    octal(h.dev_minor, sizeof(h.dev_minor), e->dev_minor);
    for (size_t i = 0; i < e->nxattrs; i++) {
        AUTOFREE char *key = xasprintf("SCHILY.xattr.%s", e->xattrs[i].name);

        pax_record(&pax, key, e->xattrs[i].value, e->xattrs[i].size);
    }
    if (pax.len > 0 && (r = extra_entry(w, 'x', "PaxHeaders.0/file", pax.data, pax.len)) < 0)
        return r;
    finish_header(&h);
    r = w->write(w->data, &h, sizeof(h));
    if (r >= 0 && map.len > 0)
        r = w->write(w->data, map.data, map.len);
    if (r < 0)
        return r;
    w->left = content;
    w->pad = (unsigned)(-content & (BLOCK - 1));
    return 0;
}

int tarw_data(struct tarw *w, const void *data, size_t len)
{
    assert(len <= w->left);
    if (len == 0)
        return 0;
    w->left -= len;
    return w->write(w->data, data, len);
}

int tarw_pad(struct tarw *w)
{
    unsigned n = w->pad;

    assert(w->left == 0);
    w->pad = 0;
    return n ? w->write(w->data, zeros, n) : 0;
}

int tarw_end(struct tarw *w)
{
    int r = w->write(w->data, zeros, sizeof(zeros));

    return r < 0 ? r : w->write(w->data, zeros, sizeof(zeros));
}
