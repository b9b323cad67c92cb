/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of one file. It is cut into pieces of 64 KiB: a piece of zeros is left out, one that
 * is stored already is pointed at, and the rest is appended. As long as all lies in a row the file
 * is a flat one, whose last, partial block goes behind its inode; else it gets a map of chunks.
 *
 * Above 4 GiB a chunk is larger than a piece, so that the map stays small. Such files share nothing;
 * a chunk that begins with data gets all its room in the file, of which holes use no disk.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "erofs/writer-priv.h"

#define CHUNKS_MAX     65536u
#define CHUNK_BITS_MAX (EROFS_BLOCK_BITS + EROFS_CHUNK_BITS_MASK)
#define ONE_CHUNK      63u /* no_chunks: everything is in chunk 0 */

static unsigned chunk_shift(const struct erofs_file *f)
{
    return f->chunk_bits - EROFS_PIECE_BITS;
}

static uint64_t chunks_total(const struct erofs_file *f)
{
    return f->chunk_bits == ONE_CHUNK ? 1 : ((f->size - 1) >> f->chunk_bits) + 1;
}

static uint64_t last_piece(const struct erofs_file *f)
{
    return (f->size - 1) >> EROFS_PIECE_BITS;
}

static uint64_t round_block(uint64_t n)
{
    return (n + EROFS_BLOCK - 1) & ~(uint64_t)(EROFS_BLOCK - 1);
}

static bool is_zero(const unsigned char *p, size_t len)
{
    uint64_t first[2];

    memcpy(first, p, sizeof first);
    return (first[0] | first[1]) == 0 && memcmp(p, p + sizeof first, len - sizeof first) == 0;
}

/* --- The map ----------------------------------------------------------------------------------- */

/* From now on the file has an array of chunks, all that is not said yet being holes. */
static void make_index(struct erofs_writer *w)
{
    struct erofs_file *f = &w->file;
    uint64_t per = 1ULL << (f->chunk_bits - EROFS_BLOCK_BITS);

    if (f->index)
        return;
    assert(f->chunk_bits != ONE_CHUNK);
    f->index_len = (size_t)chunks_total(f);
    f->index = xreallocarray(NULL, f->index_len, sizeof *f->index);
    memset(f->index, 0xff, f->index_len * sizeof *f->index);
    for (uint64_t i = 0; i < f->chunks; i++)
        f->index[i] = htole32((uint32_t)(f->start + i * per));
    w->chunks_used = true;
}

static void map_chunk(struct erofs_writer *w, uint64_t chunk, uint32_t block)
{
    struct erofs_file *f = &w->file;
    uint64_t per = 1ULL << (f->chunk_bits - EROFS_BLOCK_BITS);

    if (chunk == 0 && f->chunks == 0 && !f->index)
        f->start = block;
    else if (f->index || chunk != f->chunks || block != f->start + chunk * per)
        make_index(w);
    if (f->index)
        f->index[chunk] = htole32(block);
    f->chunks = chunk + 1;
}

/* --- Pieces ------------------------------------------------------------------------------------ */

/* Appends blocks that may be shared later. */
static int append(struct erofs_writer *w, uint64_t hash, const void *data, size_t len,
                  uint32_t *ret_block, struct error *e)
{
    int r = erofs_next_block(w, ret_block, e);

    if (r == 0)
        r = erofs_out_put(&w->out, data, len, e);
    if (r == 0)
        erofs_share_add(w, hash, len, *ret_block);
    return r;
}

static int find_or_append(struct erofs_writer *w, const void *data, size_t len, uint32_t *ret_block,
                          struct error *e)
{
    uint64_t hash = erofs_hash(data, len);
    int r = erofs_share_find(w, hash, data, len, ret_block, e);

    erofs_mix(w, hash);
    if (r == -ENOENT)
        return append(w, hash, data, len, ret_block, e);
    if (r == 0)
        w->stats.shared += len;
    return r;
}

/* The rest of a large chunk's room is left empty. */
static int leave_chunk(struct erofs_writer *w, struct error *e)
{
    struct erofs_file *f = &w->file;
    uint64_t left;
    uint64_t end;

    if (f->chunk_pos == 0)
        return 0;
    left = f->chunk_bits == ONE_CHUNK ? f->size : f->size - (f->chunk << f->chunk_bits);
    if (left > 1ULL << f->chunk_bits)
        left = 1ULL << f->chunk_bits;
    end = f->chunk_pos + round_block(left);
    f->chunk_pos = 0;
    return erofs_out_next(&w->out) < end ? erofs_out_skip(&w->out, end, e) : 0;
}

static int enter_chunk(struct erofs_writer *w, uint64_t chunk, struct error *e)
{
    struct erofs_file *f = &w->file;
    uint64_t room = f->chunk_bits == ONE_CHUNK ? round_block(f->size) : 1ULL << f->chunk_bits;
    uint32_t block;
    int r;

    if (f->chunk_pos && f->chunk == chunk)
        return 0;
    r = leave_chunk(w, e);
    if (r == 0)
        r = erofs_next_block(w, &block, e);
    if (r < 0)
        return r;
    if (room >> EROFS_BLOCK_BITS >= EROFS_HOLE - block)
        return layer_refuse(f->path, e, "it does not fit into the 16 TiB of an EROFS file");
    f->chunk = chunk;
    f->chunk_pos = (uint64_t)block << EROFS_BLOCK_BITS;
    map_chunk(w, chunk, block);
    return 0;
}

/* A piece of a file whose chunks are larger than pieces. */
static int put_in_chunk(struct erofs_writer *w, uint64_t piece, const void *data, size_t len,
                        struct error *e)
{
    struct erofs_file *f = &w->file;
    uint64_t chunk = piece >> chunk_shift(f);
    uint64_t to;
    int r = enter_chunk(w, chunk, e);

    if (r < 0)
        return r;
    erofs_mix(w, erofs_hash(data, len) + piece);
    to = f->chunk_pos + ((piece - (chunk << chunk_shift(f))) << EROFS_PIECE_BITS);
    if (to > erofs_out_next(&w->out))
        r = erofs_out_skip(&w->out, to, e);
    return r < 0 ? r : erofs_out_put(&w->out, data, len, e);
}

/* A whole piece that is not the file's last one. */
static int put_piece(struct erofs_writer *w, uint64_t piece, const unsigned char *data,
                     struct error *e)
{
    uint32_t block;
    int r;

    if (is_zero(data, EROFS_PIECE))
        return 0;
    if (chunk_shift(&w->file))
        return put_in_chunk(w, piece, data, EROFS_PIECE, e);
    r = find_or_append(w, data, EROFS_PIECE, &block, e);
    if (r == 0)
        map_chunk(w, piece, block);
    return r;
}

/* What was gathered is all there is of this piece. */
static int put_gathered(struct erofs_writer *w, struct error *e)
{
    struct erofs_file *f = &w->file;

    memset(w->piece + f->fill, 0, EROFS_PIECE - f->fill);
    f->filling = false;
    return put_piece(w, f->piece, w->piece, e);
}

int erofs_file_begin(struct erofs_writer *w, const char *path, uint64_t size, uint32_t node,
                     struct error *e)
{
    struct erofs_file *f = &w->file;

    *f = (struct erofs_file){
        .open = true,
        .keep = node != EROFS_NONE,
        .node = node,
        .size = size,
        .path = xstrdup(path),
        .chunk_bits = EROFS_PIECE_BITS,
    };
    if (w->no_chunks && size > EROFS_PIECE)
        f->chunk_bits = ONE_CHUNK;
    while (size >> f->chunk_bits >= CHUNKS_MAX && f->chunk_bits < CHUNK_BITS_MAX)
        f->chunk_bits++;
    return 0;
}

int erofs_writer_data(struct erofs_writer *w, uint64_t offset, const void *data, size_t len,
                      struct error *e)
{
    struct erofs_file *f = &w->file;
    const unsigned char *p = data;
    int r = 0;

    assert(f->open);
    if (offset < f->end || offset > f->size || len > f->size - offset)
        return layer_refuse(f->path, e, "its content does not fit its size");
    f->end = offset + len;
    if (!f->keep)
        return 0;
    while (r == 0 && len > 0) {
        uint64_t piece = offset >> EROFS_PIECE_BITS;
        size_t in = (size_t)(offset & (EROFS_PIECE - 1));
        size_t n = EROFS_PIECE - in < len ? EROFS_PIECE - in : len;
        bool last = piece == last_piece(f);

        if (f->filling && f->piece != piece) {
            r = put_gathered(w, e);
            continue;
        }
        if (n == EROFS_PIECE && !last) {
            r = put_piece(w, piece, p, e);
        } else {
            if (!f->filling) {
                f->filling = true;
                f->piece = piece;
                f->fill = 0;
            }
            memset(w->piece + f->fill, 0, in - f->fill);
            memcpy(w->piece + in, p, n);
            f->fill = in + n;
            if (f->fill == EROFS_PIECE && !last)
                r = put_gathered(w, e);
        }
        p += n;
        offset += n;
        len -= n;
    }
    return r;
}

/* --- The end of a file ------------------------------------------------------------------------- */

/* The last piece, n bytes of it, of a file that may become a flat one: what of it goes behind the
 * inode is left at *ret_tail. */
static int put_last(struct erofs_writer *w, size_t n, size_t *ret_tail, struct error *e)
{
    struct erofs_file *f = &w->file;
    uint64_t last = last_piece(f);
    size_t tail = n % EROFS_BLOCK;
    size_t whole = (size_t)round_block(n);
    size_t len;
    uint64_t hash;
    uint64_t want;
    uint32_t block;
    int r;

    memset(w->piece + n, 0, whole - n);
    if (f->index || f->chunks != last) /* it is in pieces already: the map needs whole blocks */
        goto chunked;
    if (tail && !erofs_fits_inline(w->xattrs.len, tail))
        tail = 0;
    len = tail ? n - tail : whole;
    if (len == 0) {
        f->chunks = last + 1;
        *ret_tail = tail;
        return 0;
    }
    hash = erofs_hash(w->piece, len);
    r = erofs_share_find(w, hash, w->piece, len, &block, e);
    if (r < 0 && r != -ENOENT)
        return r;
    want = last ? f->start + last * (EROFS_PIECE / EROFS_BLOCK) : block;
    if (r == 0 && block == want) {
        w->stats.shared += len;
    } else if (last == 0 || want == erofs_out_next(&w->out) >> EROFS_BLOCK_BITS) {
        r = append(w, hash, w->piece, len, &block, e);
        if (r < 0)
            return r;
    } else {
        goto chunked;
    }
    erofs_mix(w, hash);
    map_chunk(w, last, block);
    *ret_tail = tail;
    return 0;

chunked:
    r = find_or_append(w, w->piece, whole, &block, e);
    if (r == 0)
        map_chunk(w, last, block);
    return r;
}

static int end_content(struct erofs_writer *w, size_t *ret_tail, struct error *e)
{
    struct erofs_file *f = &w->file;
    uint64_t last = last_piece(f);
    size_t n = (size_t)(f->size - (last << EROFS_PIECE_BITS));
    int r = 0;

    if (f->filling && f->piece != last)
        r = put_gathered(w, e);
    if (r < 0)
        return r;
    if (!f->filling && f->size <= EROFS_BLOCK) {
        f->filling = true; /* nothing came: its few zeros are stored */
        f->fill = 0;
    }
    if (f->filling) {
        memset(w->piece + f->fill, 0, n - f->fill);
        if (chunk_shift(f) == 0)
            return put_last(w, n, ret_tail, e);
        memset(w->piece + n, 0, (size_t)round_block(n) - n);
        r = put_in_chunk(w, last, w->piece, (size_t)round_block(n), e);
    } else if (f->chunk_bits == ONE_CHUNK) {
        r = enter_chunk(w, 0, e);
    }
    if (r == 0)
        r = leave_chunk(w, e);
    if (r == 0 && f->chunks < chunks_total(f))
        make_index(w);
    return r;
}

int erofs_file_end(struct erofs_writer *w, struct error *e)
{
    struct erofs_file *f = &w->file;
    enum erofs_layout layout = EROFS_FLAT_PLAIN;
    const void *payload = NULL;
    size_t tail = 0;
    size_t len = 0;
    int r = 0;

    if (f->size > 0)
        r = end_content(w, &tail, e);
    if (r < 0)
        return r;
    w->inode.u = htole32(f->start);
    if (f->index) {
        layout = EROFS_CHUNKED;
        w->inode.u = htole32(f->chunk_bits - EROFS_BLOCK_BITS);
        payload = f->index;
        len = f->index_len * sizeof *f->index;
    } else if (tail) {
        layout = EROFS_FLAT_INLINE;
        payload = w->piece + (f->size - tail) % EROFS_PIECE;
        len = tail;
    }
    w->inode.format = htole16(EROFS_FORMAT(layout));
    return erofs_put_inode(w, &w->inode, &w->xattrs, payload, len,
                           &erofs_tree_node(&w->tree, f->node)->value, e);
}
