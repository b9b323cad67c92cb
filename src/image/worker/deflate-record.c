/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams into records: see deflate.h. Items are read ahead until the model has seen as much beyond
 * the first of them as it wants; then that one is compared with what the model says.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zstd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/worker/deflate.h"

#define CPU_BASE    30u           /* seconds that any stream may take … */
#define CPU_BYTES   (512u * 1024) /* … and one more for each so many bytes of it */
#define TOO_DEAR    "making its compression again would take too long"
#define OUT_BUF     (128u * 1024)
#define RAW_BUF     (64u * 1024)
#define ZSTD_LEVEL  9
#define ITEMS_MAX   4096u         /* that wait; there is room for twice as many, so that … */
#define TOKENS_MAX  (512u * 1024) /* … what waits moves to the front only now and then */
#define SAMPLE      (384u * 1024) /* of the stream: what a model is tried on */
#define SAMPLE_HARD 4096u         /* tokens a model may get wrong before its share counts */
#define SHARE       20            /* the record is at most one part in so many of the stream … */
#define ALLOWANCE   (64u * 1024)  /* … and this */

/* One item that waits. */
struct waiting {
    struct deflate_item item;
    size_t at;          /* of its tokens */
    unsigned char *raw; /* tables, header */
    unsigned raw_bits;
};

struct recorder {
    int fd;                 /* where the record goes, negative: it is only counted */
    uint64_t wrong, tokens; /* that were compared; that the model did not say */
    struct deflate_reader *reader;
    struct deflate_sim sim;
    struct waiting *items;
    size_t first, nitems;
    deflate_token *store;
    size_t nstore;
    ZSTD_CCtx *zstd;
    unsigned char *out, *raw;
    size_t nraw;
    uint64_t written;
    struct error *e;
};

/* --- Writing ------------------------------------------------------------------------------------------ */

static int flush(struct recorder *r, bool end)
{
    ZSTD_inBuffer in = {r->raw, r->nraw, 0};

    r->nraw = 0;
    if (r->fd < 0)
        return 0;
    for (;;) {
        ZSTD_outBuffer out = {r->out, OUT_BUF, 0};
        size_t left = ZSTD_compressStream2(r->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return error_set(r->e, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
        int rc = out.pos > 0 ? fs_write_all(r->fd, r->out, out.pos) : 0;
        if (rc < 0)
            return error_set_errno(r->e, rc, "cannot write the layer's journal");
        r->written += out.pos;
        if (end ? left == 0 : in.pos == in.size && out.pos < OUT_BUF)
            return 0;
    }
}

/* There is room for a few numbers after this. */
static int make_room(struct recorder *r, size_t n)
{
    return r->nraw + n > RAW_BUF ? flush(r, false) : 0;
}

static void put_number(struct recorder *r, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        r->raw[r->nraw++] = (unsigned char)(v | 128);
    r->raw[r->nraw++] = (unsigned char)v;
}

static int put_bytes(struct recorder *r, const unsigned char *p, size_t len)
{
    int rc = make_room(r, len);

    memcpy(r->raw + r->nraw, p, len);
    r->nraw += len;
    return rc;
}

static int put_kind(struct recorder *r, char kind, uint64_t v)
{
    int rc = make_room(r, 32);

    r->raw[r->nraw++] = (unsigned char)kind;
    put_number(r, v);
    return rc;
}

static int put_token(struct recorder *r, deflate_token t)
{
    int rc = make_room(r, 32);

    if (t == 0) {
        put_number(r, 0);
        return rc;
    }
    put_number(r, deflate_token_len(t) - 2);
    put_number(r, deflate_token_dist(t) - 1);
    return rc;
}

/* --- What the model says, and what is there ------------------------------------------------------------- */

static int compare(struct recorder *r, const struct waiting *w)
{
    const deflate_token *t = r->store + w->at, *end = t + w->item.ntokens;
    uint64_t at = r->sim.pos, span = w->item.span;
    deflate_token said;
    int rc = 0;

    while (rc >= 0 && t < end) {
        uint64_t run = 0;
        while (t < end && deflate_sim_token(&r->sim, at, span, &said) > 0 && said == *t) {
            at += deflate_token_len(*t++);
            run++;
        }
        if ((rc = make_room(r, 32)) < 0)
            break;
        put_number(r, run);
        while (rc >= 0 && t < end) {
            r->wrong++;
            rc = put_token(r, *t);
            at += deflate_token_len(*t++);
            if (t < end && deflate_sim_token(&r->sim, at, span, &said) > 0)
                break;
        }
    }
    return rc;
}

static int record_tokens(struct recorder *r, const struct waiting *w)
{
    const struct deflate_item *item = &w->item;
    bool literals = item->ntokens == item->span;

    if (item->ntokens == 0)
        return 0;
    int rc = put_kind(r, 'T', item->span);
    put_number(r, item->ntokens);
    put_number(r, literals);
    if (rc >= 0 && !literals) {
        r->tokens += item->ntokens;
        rc = compare(r, w);
    }
    deflate_sim_to(&r->sim, item->span);
    return rc;
}

static int record_block(struct recorder *r, const struct waiting *w)
{
    int rc = put_kind(r, 'B', w->item.type);

    if (rc < 0 || (w->item.type & 3) != 2)
        return rc;
    put_number(r, w->raw_bits);
    return put_bytes(r, w->raw, (w->raw_bits + 7) / 8);
}

/* The first item that waits. */
static int record_item(struct recorder *r, const struct waiting *w)
{
    int rc;

    switch (w->item.kind) {
    case DEFLATE_MEMBER:
        rc = put_kind(r, 'M', w->item.header_len);
        return rc < 0 ? rc : put_bytes(r, w->raw, w->item.header_len);
    case DEFLATE_BLOCK:
        return record_block(r, w);
    case DEFLATE_TOKENS:
        return record_tokens(r, w);
    case DEFLATE_STORED:
        rc = put_kind(r, 'S', w->item.span);
        deflate_sim_to(&r->sim, w->item.span);
        return rc;
    case DEFLATE_BLOCK_END:
        return w->item.type ? put_kind(r, 'E', 0) : 0;
    case DEFLATE_MEMBER_END:
        rc = put_kind(r, 'X', 0);
        deflate_sim_reset(&r->sim);
        return rc;
    case DEFLATE_ZEROS:
        return put_kind(r, 'Z', w->item.span);
    case DEFLATE_END:
        break;
    }
    return put_kind(r, 'Q', 0);
}

/* --- Items that wait --------------------------------------------------------------------------------------- */

static int read_item(struct recorder *r)
{
    struct waiting *w = &r->items[r->nitems];

    (void)deflate_sim_room(&r->sim);
    *w = (struct waiting){.at = r->nstore};
    int rc = deflate_reader_next(r->reader, &r->sim, &w->item, r->e);
    if (rc < 0)
        return rc;
    if (w->item.own) {
        w->raw_bits = w->item.own->raw_bits;
        w->raw = xmemdup(w->item.own->raw, sizeof(w->item.own->raw));
    } else if (w->item.header) {
        w->raw = xmemdup(w->item.header, w->item.header_len);
    }
    if (w->item.ntokens > 0)
        memcpy(r->store + r->nstore, w->item.tokens, w->item.ntokens * sizeof(*r->store));
    r->nstore += w->item.ntokens;
    r->nitems++;
    if (w->item.kind != DEFLATE_MEMBER_END)
        return 0;
    r->sim.last = true;
    r->sim.end = r->sim.start + r->sim.len;
    return put_kind(r, 'L', r->sim.end - r->sim.pos);
}

/* Room for one more item, and its tokens. */
static int make_place(struct recorder *r)
{
    size_t used = r->first < r->nitems ? r->items[r->first].at : r->nstore;

    if (r->nitems - r->first == ITEMS_MAX || r->nstore - used + DEFLATE_SPAN > TOKENS_MAX)
        return error_set(r->e, ERR_NOT_SUPPORTED, "its gzip stream has too many small blocks");
    if (r->nitems < 2 * ITEMS_MAX && r->nstore + DEFLATE_SPAN <= 2 * TOKENS_MAX)
        return 0;
    memmove(r->store, r->store + used, (r->nstore - used) * sizeof(*r->store));
    memmove(r->items, r->items + r->first, (r->nitems - r->first) * sizeof(*r->items));
    r->nstore -= used;
    r->nitems -= r->first;
    r->first = 0;
    for (size_t i = 0; i < r->nitems; i++)
        r->items[i].at -= used;
    return 0;
}

/* The next item is dealt with: its kind. */
static int step(struct recorder *r)
{
    int rc = 0;

    while (r->first == r->nitems || !deflate_sim_ready(&r->sim, r->items[r->first].item.span)) {
        if ((rc = make_place(r)) < 0 || (rc = read_item(r)) < 0)
            return rc;
        if (r->items[r->nitems - 1].item.kind >= DEFLATE_ZEROS)
            break;
    }
    struct waiting *w = &r->items[r->first++];
    rc = record_item(r, w);
    free(w->raw);
    w->raw = NULL;
    return rc < 0 ? rc : (int)w->item.kind;
}

/* --- The whole ----------------------------------------------------------------------------------------------- */

static ssize_t read_source(void *data, void *buf, size_t len)
{
    return fs_read_full(*(int *)data, buf, len);
}

static void recorder_done(struct recorder *r)
{
    for (size_t i = r->first; i < r->nitems; i++)
        free(r->items[i].raw);
    deflate_model_free(r->sim.model);
    deflate_sim_done(&r->sim);
    deflate_reader_free(r->reader);
    ZSTD_freeCCtx(r->zstd);
    free(r->items);
    free(r->store);
    free(r->out);
    free(r->raw);
}

static void recorder_init(struct recorder *r, int *source, int fd, unsigned model, struct error *e)
{
    *r = (struct recorder){.fd = fd,
                           .reader = deflate_reader_new(read_source, source),
                           .items = xcalloc(2 * ITEMS_MAX, sizeof(*r->items)),
                           .store = xcalloc(2 * TOKENS_MAX, sizeof(*r->store)),
                           .zstd = ZSTD_createCCtx(),
                           .out = xmalloc(OUT_BUF),
                           .raw = xmalloc(RAW_BUF + 4096),
                           .e = e};
    deflate_sim_init(&r->sim, deflate_model_new(model));
}

/* Streams can be made that cost a model minutes for a megabyte; honest ones cost a second or two at
 * most. What is too dear to look at would be as dear to make again. */
static uint64_t cpu_seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec;
}

static bool too_dear(const struct recorder *r, uint64_t began)
{
    return cpu_seconds() - began > CPU_BASE + deflate_reader_taken(r->reader) / CPU_BYTES;
}

/* What a model gets wrong at the beginning of the stream, in 1/65536 of the tokens. */
static int try_model(int source, unsigned model, uint64_t began, uint64_t *ret_wrong,
                     struct error *e)
{
    CLEANUP(recorder_done) struct recorder r;
    int kind = 0;

    recorder_init(&r, &source, -EBADF, model, e);
    if (lseek(source, 0, SEEK_SET) < 0)
        return error_set_errno(e, errno, "cannot read the layer's blob");
    while (kind >= 0 && kind != DEFLATE_END && deflate_reader_taken(r.reader) < SAMPLE) {
        kind = step(&r);
        if (too_dear(&r, began))
            return error_set(e, ERR_NOT_SUPPORTED, TOO_DEAR);
        if (r.wrong > SAMPLE_HARD && r.wrong > r.tokens / 8)
            break;
    }
    *ret_wrong = r.wrong * 65536 / (r.tokens + 1);
    return kind < 0 ? kind : 0;
}

/* The likely ones first, as the first that is right is taken. */
static int choose_model(int source, uint64_t began, unsigned *ret, struct error *e)
{
    static const uint8_t usual[] = {16, 6, 22, 11, 9,  19, 1,  21, 23, 5, 4,
                                    7,  8, 3,  2,  15, 14, 17, 18, 13, 12};
    uint64_t best = UINT64_MAX;
    unsigned char head[10] = {0};
    unsigned first = 0;

    /* What the header says of the level: 2 the best, 4 the fastest; 255: written by Go. */
    if (pread(source, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
        (head[8] == 2 || head[8] == 4))
        first = (head[9] == 255 ? 10u : 0u) + (head[8] == 2 ? 9u : 1u);
    for (size_t i = 0; i <= sizeof(usual) && best > 0; i++) {
        unsigned model = i == 0 ? first : usual[i - 1];
        uint64_t wrong;
        if (model == 0 || (i > 0 && model == first))
            continue;
        int rc = try_model(source, model, began, &wrong, e);
        if (rc < 0)
            return rc;
        if (wrong < best) {
            best = wrong;
            *ret = model;
        }
    }
    return 0;
}

int deflate_record_write(int source, int fd, unsigned *ret_model, uint64_t *ret_len,
                         struct error *e)
{
    CLEANUP(recorder_done) struct recorder r = {.fd = -EBADF};
    uint64_t began = cpu_seconds();
    int rc = choose_model(source, began, ret_model, e), kind = 0;

    if (rc < 0)
        return rc;
    recorder_init(&r, &source, fd, *ret_model, e);
    (void)ZSTD_CCtx_setParameter(r.zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    if (lseek(source, 0, SEEK_SET) < 0)
        return error_set_errno(e, errno, "cannot read the layer's blob");
    while (kind >= 0 && kind != DEFLATE_END) {
        kind = step(&r);
        if (too_dear(&r, began))
            return error_set(e, ERR_NOT_SUPPORTED, TOO_DEAR);
        if (r.written > deflate_reader_taken(r.reader) / SHARE + ALLOWANCE)
            return error_set(e, ERR_NOT_SUPPORTED,
                             "its compression is by a program that is not known here");
    }
    if (kind >= 0)
        kind = flush(&r, true);
    *ret_len = r.written;
    return kind < 0 ? kind : 0;
}
