/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading gzip streams token by token. A decoder for this use alone: it checks what the layer's own
 * decompression has checked too, and refuses what nobody writes (ERR_NOT_SUPPORTED: the blob is kept).
 */
#include <stdlib.h>
#include <string.h>

#include <zlib.h> /* crc32() */

#include "base/alloc.h"
#include "image/worker/deflate.h"

#define SOURCE_BUF (64u * 1024)
#define FAST_BITS  10
#define BITS_MAX   15
#define ZEROS_MAX  (1u << 20)

/* --- Bits -------------------------------------------------------------------------------------------- */

static bool fetch(struct deflate_bits *b)
{
    if (b->err < 0 || !b->source)
        return false;
    ssize_t n = b->source(b->data, b->buf, SOURCE_BUF);
    if (n < 0)
        b->err = (int)n;
    if (n <= 0)
        return false;
    b->at = 0;
    b->len = (size_t)n;
    b->taken += (uint64_t)n;
    return true;
}

/* At least 32 bits, zeros when the source has ended. */
static inline void fill(struct deflate_bits *b)
{
    while (b->held <= 56) {
        if (b->at == b->len && !fetch(b))
            return;
        b->hold |= (uint64_t)b->buf[b->at++] << b->held;
        b->held += 8;
    }
}

static inline void drop(struct deflate_bits *b, unsigned n)
{
    if (n > b->held) {
        b->over = true;
        n = b->held;
    }
    b->hold >>= n;
    b->held -= n;
}

unsigned deflate_bits_get(struct deflate_bits *b, unsigned n)
{
    if (b->held < n)
        fill(b);
    unsigned v = (unsigned)(b->hold & ((1u << n) - 1));
    drop(b, n);
    return v;
}

/* --- Tables ------------------------------------------------------------------------------------------ */

struct decoder {
    uint16_t fast[1u << FAST_BITS]; /* symbol << 4 | length, 0: longer */
    uint16_t count[BITS_MAX + 1], symbol[288];
};

/* From lengths of codes; sets that are not complete are fine only where one code is all there is. */
static int decoder_init(struct decoder *d, const uint8_t *lengths, unsigned n)
{
    uint16_t next[BITS_MAX + 2] = {0};
    int left = 1;
    unsigned used = 0, code = 0;

    memset(d, 0, sizeof(*d));
    for (unsigned i = 0; i < n; i++)
        d->count[lengths[i]]++;
    used = n - d->count[0];
    d->count[0] = 0;
    for (unsigned len = 1; len <= BITS_MAX; len++) {
        left = 2 * left - d->count[len];
        if (left < 0)
            return -EINVAL;
        next[len + 1] = (uint16_t)(next[len] + d->count[len]);
    }
    if (left > 0 && used > 1)
        return -EINVAL;
    for (unsigned i = 0; i < n; i++)
        if (lengths[i] > 0)
            d->symbol[next[lengths[i]]++] = (uint16_t)i;
    for (unsigned len = 1, at = 0; len <= FAST_BITS; len++) {
        for (unsigned i = 0; i < d->count[len]; i++, at++, code++) {
            unsigned reversed = 0;
            for (unsigned bit = 0; bit < len; bit++)
                reversed |= (code >> bit & 1) << (len - 1 - bit);
            for (unsigned j = reversed; j < 1u << FAST_BITS; j += 1u << len)
                d->fast[j] = (uint16_t)(d->symbol[at] << 4 | len);
        }
        code <<= 1;
    }
    return 0;
}

/* A symbol, negative: there is no such code. */
static inline int decode(struct deflate_bits *b, const struct decoder *d)
{
    if (b->held < BITS_MAX)
        fill(b);
    unsigned quick = d->fast[b->hold & ((1u << FAST_BITS) - 1)];
    if (quick > 0) {
        drop(b, quick & 15);
        return (int)(quick >> 4);
    }
    int code = 0, first = 0, index = 0;
    for (unsigned len = 1; len <= BITS_MAX; len++) {
        code |= (int)(b->hold >> (len - 1) & 1);
        int count = d->count[len];
        if (code - count < first) {
            drop(b, len);
            return d->symbol[index + (code - first)];
        }
        index += count;
        first = (first + count) << 1;
        code <<= 1;
    }
    return -EINVAL;
}

/* Bits that are kept as they are. */
static unsigned keep(struct deflate_bits *b, struct deflate_tables *t, unsigned v, unsigned n)
{
    for (unsigned i = 0; i < n; i++, t->raw_bits++)
        if (v >> i & 1)
            t->raw[t->raw_bits / 8] |= (unsigned char)(1u << t->raw_bits % 8);
    (void)b;
    return v;
}

static unsigned get_kept(struct deflate_bits *b, struct deflate_tables *t, unsigned n)
{
    return keep(b, t, deflate_bits_get(b, n), n);
}

/* A symbol of the code of code lengths, its bits kept. */
static int decode_kept(struct deflate_bits *b, struct deflate_tables *t, const struct decoder *d)
{
    fill(b);
    uint64_t hold = b->hold;
    unsigned held = b->held;
    int symbol = decode(b, d);

    if (symbol >= 0)
        (void)keep(b, t, (unsigned)hold, held - b->held);
    return symbol;
}

int deflate_tables_read(struct deflate_bits *b, struct deflate_tables *t)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                      11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[19] = {0}, all[288 + 32] = {0};
    struct decoder d;

    memset(t, 0, sizeof(*t));
    unsigned nlit = get_kept(b, t, 5) + 257, ndist = get_kept(b, t, 5) + 1;
    unsigned ncode = get_kept(b, t, 4) + 4;
    if (nlit > 286 || ndist > 30)
        return -EINVAL;
    for (unsigned i = 0; i < ncode; i++)
        lengths[order[i]] = (uint8_t)get_kept(b, t, 3);
    if (decoder_init(&d, lengths, 19) < 0)
        return -EINVAL;
    for (unsigned i = 0; i < nlit + ndist;) {
        int symbol = decode_kept(b, t, &d);
        if (symbol < 0 || b->over || (symbol == 16 && i == 0))
            return -EINVAL;
        if (symbol < 16) {
            all[i++] = (uint8_t)symbol;
            continue;
        }
        uint8_t value = symbol == 16 ? all[i - 1] : 0;
        unsigned n = symbol == 16   ? 3 + get_kept(b, t, 2)
                     : symbol == 17 ? 3 + get_kept(b, t, 3)
                                    : 11 + get_kept(b, t, 7);
        if (n > nlit + ndist - i)
            return -EINVAL;
        memset(all + i, value, n);
        i += n;
    }
    memcpy(t->lit, all, nlit);
    memcpy(t->dist, all + nlit, ndist);
    return t->lit[256] == 0 ? -EINVAL : 0;
}

void deflate_tables_fixed(struct deflate_tables *t)
{
    memset(t, 0, sizeof(*t));
    for (unsigned i = 0; i < 288; i++)
        t->lit[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    memset(t->dist, 5, 32);
}

/* --- Streams ----------------------------------------------------------------------------------------- */

enum state { AT_MEMBER, AT_BLOCK, IN_TOKENS, IN_STORED, AT_BLOCK_END, AT_MEMBER_END, AT_END };

struct deflate_reader {
    struct deflate_bits bits;
    enum state state;
    bool some;          /* a member was read */
    bool final, tokens; /* the block is the last one; it is not stored */
    unsigned stored;    /* bytes of it that are to come */
    uint64_t size;      /* of the member */
    uLong crc;
    struct deflate_tables tables;
    struct decoder own_lit, own_dist;     /* of the block */
    struct decoder fixed_lit, fixed_dist; /* always the same */
    const struct decoder *lit, *dist;     /* either */
    unsigned char header[JOURNAL_HEADER_MAX];
    size_t header_len;
    deflate_token out[DEFLATE_SPAN];
};

struct deflate_reader *deflate_reader_new(deflate_source *source, void *data)
{
    struct deflate_reader *r = xcalloc(1, sizeof(*r));

    r->bits.source = source;
    r->bits.data = data;
    r->bits.buf = xmalloc(SOURCE_BUF);
    deflate_tables_fixed(&r->tables);
    if (decoder_init(&r->fixed_lit, r->tables.lit, 288) < 0 ||
        decoder_init(&r->fixed_dist, r->tables.dist, 32) < 0)
        abort(); /* they are complete */
    return r;
}

void deflate_reader_free(struct deflate_reader *r)
{
    if (r)
        free(r->bits.buf);
    free(r);
}

uint64_t deflate_reader_taken(const struct deflate_reader *r)
{
    return r->bits.taken;
}

static int odd(struct error *e)
{
    return error_set(e, ERR_NOT_SUPPORTED, "its gzip stream is not as compressors write it");
}

static int header_byte(struct deflate_reader *r)
{
    if (r->header_len == JOURNAL_HEADER_MAX)
        return -EINVAL;
    unsigned v = deflate_bits_get(&r->bits, 8);
    if (r->bits.over)
        return -EINVAL;
    r->header[r->header_len++] = (unsigned char)v;
    return (int)v;
}

static int read_header(struct deflate_reader *r)
{
    int flags = 0, c = 0;

    r->header_len = 0;
    for (unsigned i = 0; i < 10; i++)
        if (header_byte(r) < 0)
            return -EINVAL;
    flags = r->header[3];
    if (r->header[0] != 0x1f || r->header[1] != 0x8b || r->header[2] != 8 || (flags & 0xe0))
        return -EINVAL;
    if (flags & 4) {
        int lo = header_byte(r), hi = header_byte(r);
        if (lo < 0 || hi < 0)
            return -EINVAL;
        for (int n = lo + 256 * hi; n > 0; n--)
            if (header_byte(r) < 0)
                return -EINVAL;
    }
    for (int bit = 8; bit <= 16; bit *= 2)
        while ((flags & bit) && (c = header_byte(r)) != 0)
            if (c < 0)
                return -EINVAL;
    for (int n = flags & 2; n > 0; n--)
        if (header_byte(r) < 0)
            return -EINVAL;
    return 0;
}

/* A member, zeros after the last one, or the end. */
static int at_member(struct deflate_reader *r, struct deflate_item *item)
{
    struct deflate_bits *b = &r->bits;
    uint64_t zeros = 0;

    for (;;) {
        fill(b);
        if (b->held == 0 || (b->hold & 255) != 0 || !r->some)
            break;
        drop(b, 8);
        if (++zeros > ZEROS_MAX)
            return -EINVAL;
    }
    if (b->held == 0 && r->some) {
        r->state = AT_END;
        *item = (struct deflate_item){.kind = zeros > 0 ? DEFLATE_ZEROS : DEFLATE_END,
                                      .span = zeros};
        return 0;
    }
    if (zeros > 0 || read_header(r) < 0)
        return -EINVAL;
    r->some = true;
    r->size = 0;
    r->crc = crc32(0, NULL, 0);
    r->state = AT_BLOCK;
    *item = (struct deflate_item){.kind = DEFLATE_MEMBER,
                                  .header = r->header,
                                  .header_len = r->header_len};
    return 0;
}

static int at_block(struct deflate_reader *r, struct deflate_item *item)
{
    struct deflate_bits *b = &r->bits;

    r->final = deflate_bits_get(b, 1);
    unsigned type = deflate_bits_get(b, 2);
    *item = (struct deflate_item){.kind = DEFLATE_BLOCK, .type = type | (r->final ? 4u : 0)};
    r->tokens = type != 0;
    if (b->over || type == 3)
        return -EINVAL;
    if (type == 0) {
        if (deflate_bits_get(b, b->held % 8) != 0) /* up to the next byte: always zeros */
            return -EINVAL;
        r->stored = deflate_bits_get(b, 16);
        if ((deflate_bits_get(b, 16) ^ r->stored) != 0xffff || b->over)
            return -EINVAL;
        r->state = IN_STORED;
        return 0;
    }
    r->state = IN_TOKENS;
    if (type == 1) {
        r->lit = &r->fixed_lit;
        r->dist = &r->fixed_dist;
        return 0;
    }
    if (deflate_tables_read(b, &r->tables) < 0)
        return -EINVAL;
    item->own = &r->tables;
    r->lit = &r->own_lit;
    r->dist = &r->own_dist;
    return decoder_init(&r->own_lit, r->tables.lit, 288) < 0 ||
                   decoder_init(&r->own_dist, r->tables.dist, 32) < 0
               ? -EINVAL
               : 0;
}

static const uint16_t len_base[29] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                      15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                      67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t len_bits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                     2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};

/* The match that this symbol begins: its token, 0: there is none such. */
static deflate_token read_match(struct deflate_reader *r, unsigned symbol)
{
    struct deflate_bits *b = &r->bits;

    if (symbol > 285)
        return 0;
    unsigned len = len_base[symbol - 257] + deflate_bits_get(b, len_bits[symbol - 257]);
    if (len == DEFLATE_LEN_MAX &&
        symbol != 285) /* can be said in two ways; nobody says it this way */
        return 0;
    int code = decode(b, r->dist);
    if (code < 0 || code > 29)
        return 0;
    unsigned extra = code < 4 ? 0 : (unsigned)code / 2 - 1;
    unsigned dist = code < 4
                        ? (unsigned)code + 1
                        : ((2u + ((unsigned)code & 1)) << extra) + 1 + deflate_bits_get(b, extra);
    return deflate_match(dist, len);
}

static int in_tokens(struct deflate_reader *r, struct deflate_sim *w, struct deflate_item *item)
{
    unsigned char *out = w->buf + w->len, *begin = out;
    size_t n = 0;

    while ((size_t)(out - begin) < DEFLATE_SPAN) {
        int symbol = decode(&r->bits, r->lit);
        if (symbol < 0 || r->bits.over)
            return -EINVAL;
        if (symbol < 256) {
            *out++ = (unsigned char)symbol;
            r->out[n++] = 0;
            continue;
        }
        if (symbol == 256) {
            r->state = AT_BLOCK_END;
            break;
        }
        deflate_token t = read_match(r, (unsigned)symbol);
        unsigned len = deflate_token_len(t), dist = deflate_token_dist(t);
        if (t == 0 || r->bits.over || dist > r->size + (uint64_t)(out - begin))
            return -EINVAL;
        for (const unsigned char *from = out - dist; len > 0; len--)
            *out++ = *from++;
        r->out[n++] = t;
    }
    size_t made = (size_t)(out - begin);
    *item =
        (struct deflate_item){.kind = DEFLATE_TOKENS, .span = made, .ntokens = n, .tokens = r->out};
    r->crc = crc32(r->crc, begin, (uInt)made);
    r->size += made;
    w->len += made;
    return 0;
}

static int in_stored(struct deflate_reader *r, struct deflate_sim *w, struct deflate_item *item)
{
    unsigned char *out = w->buf + w->len;

    for (unsigned i = 0; i < r->stored; i++)
        out[i] = (unsigned char)deflate_bits_get(&r->bits, 8);
    if (r->bits.over)
        return -EINVAL;
    *item = (struct deflate_item){.kind = DEFLATE_STORED, .span = r->stored};
    r->crc = crc32(r->crc, out, r->stored);
    r->size += r->stored;
    w->len += r->stored;
    r->state = AT_BLOCK_END;
    return 0;
}

static int at_member_end(struct deflate_reader *r, struct deflate_item *item)
{
    struct deflate_bits *b = &r->bits;
    unsigned crc, size;

    if (deflate_bits_get(b, b->held % 8) != 0)
        return -EINVAL;
    crc = deflate_bits_get(b, 16);
    crc |= deflate_bits_get(b, 16) << 16;
    size = deflate_bits_get(b, 16);
    size |= deflate_bits_get(b, 16) << 16;
    *item = (struct deflate_item){.kind = DEFLATE_MEMBER_END};
    r->state = AT_MEMBER;
    return b->over || crc != r->crc || size != (uint32_t)r->size ? -EINVAL : 0;
}

int deflate_reader_next(struct deflate_reader *r, struct deflate_sim *w, struct deflate_item *ret,
                        struct error *e)
{
    int rc = 0;

    switch (r->state) {
    case AT_MEMBER:
        rc = at_member(r, ret);
        break;
    case AT_BLOCK:
        rc = at_block(r, ret);
        break;
    case IN_TOKENS:
        rc = in_tokens(r, w, ret);
        break;
    case IN_STORED:
        rc = in_stored(r, w, ret);
        break;
    case AT_BLOCK_END:
        *ret = (struct deflate_item){.kind = DEFLATE_BLOCK_END, .type = r->tokens};
        r->state = r->final ? AT_MEMBER_END : AT_BLOCK;
        break;
    case AT_MEMBER_END:
        rc = at_member_end(r, ret);
        break;
    case AT_END:
        *ret = (struct deflate_item){.kind = DEFLATE_END};
        break;
    }
    if (r->bits.err < 0)
        return error_set_errno(e, r->bits.err, "cannot read the layer's blob");
    return rc < 0 ? odd(e) : 0;
}
