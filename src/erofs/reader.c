/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading an EROFS file without mounting it: blocks, inodes, content, attributes. Everything in the
 * file may be a lie; each number is held against the file's size before it is used, and a read never
 * takes more memory than a constant.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "erofs/reader-priv.h"
#include "erofs/xattr.h"

#define LINK_MAX_SIZE 4095u

/* A page of the map that is looked at brings those around it that are in the page cache. */
#define WINDOW_BITS 16u
#define WINDOWS_MAX 96u /* 6 MiB */

int erofs_corrupt(struct error *e, uint64_t nid, const char *what)
{
    return error_set(e, ERR_INVALID, "the EROFS file is damaged: inode %llu: %s",
                     (unsigned long long)nid, what);
}

/* --- Bytes ------------------------------------------------------------------------------------- */

static size_t windows_size(const struct erofs_reader *r)
{
    return (size_t)(r->size >> WINDOW_BITS) / 8 + 1;
}

/* The map is let go of when much of it was looked at, so that its pages count for nobody: a walk
 * comes by most of them once. */
static void look_at(struct erofs_reader *r, uint64_t offset)
{
    size_t window = (size_t)(offset >> WINDOW_BITS);
    unsigned char bit = (unsigned char)(1u << (window % 8));

    if (r->windows[window / 8] & bit)
        return;
    if (r->nwindows == WINDOWS_MAX) {
        (void)madvise((void *)(uintptr_t)r->map, r->size, MADV_DONTNEED);
        memset(r->windows, 0, windows_size(r));
        r->nwindows = 0;
    }
    r->windows[window / 8] |= bit;
    r->nwindows++;
}

static int read_full(struct erofs_reader *r, void *out, size_t len, uint64_t offset,
                     struct error *e)
{
    char *p = out;

    if (r->map) { /* what was asked for lies inside */
        look_at(r, offset);
        memcpy(out, r->map + offset, len);
        return 0;
    }
    while (len > 0) {
        ssize_t n = pread(r->fd, p, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(e, errno, "read the EROFS file");
        if (n == 0)
            return error_set(e, ERR_INVALID, "the EROFS file is cut off");
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static bool is_inside(const struct erofs_reader *r, uint64_t offset, uint64_t len)
{
    return offset <= r->size && len <= r->size - offset;
}

int erofs_reader_block(struct erofs_reader *r, uint64_t block, const unsigned char **ret,
                       struct error *e)
{
    size_t slot = block % EROFS_CACHE_SLOTS;
    unsigned char *p = r->cache + slot * EROFS_BLOCK;
    int x;

    if (block >= r->size >> EROFS_BLOCK_BITS)
        return error_set(e, ERR_INVALID, "the EROFS file is damaged: block %llu is beyond its end",
                         (unsigned long long)block);
    if (r->map) {
        look_at(r, block << EROFS_BLOCK_BITS);
        *ret = r->map + (block << EROFS_BLOCK_BITS);
        return 0;
    }
    if (r->cached[slot] != block + 1) {
        r->cached[slot] = 0;
        x = read_full(r, p, EROFS_BLOCK, block << EROFS_BLOCK_BITS, e);
        if (x < 0)
            return x;
        r->cached[slot] = block + 1;
    }
    *ret = p;
    return 0;
}

int erofs_reader_bytes(struct erofs_reader *r, uint64_t offset, void *out, size_t len,
                       struct error *e)
{
    char *p = out;

    while (len > 0) {
        const unsigned char *block;
        size_t in = offset % EROFS_BLOCK;
        size_t n = EROFS_BLOCK - in < len ? EROFS_BLOCK - in : len;
        int x = erofs_reader_block(r, offset >> EROFS_BLOCK_BITS, &block, e);

        if (x < 0)
            return x;
        memcpy(p, block + in, n);
        p += n;
        offset += n;
        len -= n;
    }
    return 0;
}

/* --- Superblock -------------------------------------------------------------------------------- */

static int load_super(struct erofs_reader *r, uint64_t file_size, struct error *e)
{
    unsigned char block[EROFS_BLOCK];
    struct erofs_disk_super sb;
    uint32_t checksum;
    int x;

    if (file_size < EROFS_BLOCK)
        return error_set(e, ERR_INVALID, "not an EROFS file: it is shorter than a block");
    x = read_full(r, block, sizeof block, 0, e);
    if (x < 0)
        return x;
    memcpy(&sb, block + EROFS_SUPER_OFFSET, sizeof sb);
    if (le32toh(sb.magic) != EROFS_MAGIC)
        return error_set(e, ERR_INVALID, "not an EROFS file, or one that was not finished");
    checksum = le32toh(sb.checksum);
    memset(block + EROFS_SUPER_OFFSET + offsetof(struct erofs_disk_super, checksum), 0, 4);
    if ((le32toh(sb.feature_compat) & EROFS_COMPAT_SB_CHECKSUM) &&
        erofs_crc32c(UINT32_MAX, block + EROFS_SUPER_OFFSET, EROFS_BLOCK - EROFS_SUPER_OFFSET) !=
            checksum)
        return error_set(e, ERR_INVALID,
                         "the EROFS file is damaged: its superblock's checksum is "
                         "wrong");
    r->features = le32toh(sb.feature_incompat);
    if (sb.block_bits != EROFS_BLOCK_BITS || sb.dir_block_bits || sb.extra_devices ||
        (r->features & ~EROFS_INCOMPAT_CHUNKED))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the EROFS file has features that are not known here (compression, block "
                         "size or further devices)");
    r->size = (uint64_t)le32toh(sb.blocks) << EROFS_BLOCK_BITS;
    if (r->size > file_size)
        return error_set(e, ERR_INVALID, "the EROFS file is cut off");
    r->file_size = file_size;
    r->meta = (uint64_t)le32toh(sb.meta_block) << EROFS_BLOCK_BITS;
    r->xattrs = (uint64_t)le32toh(sb.xattr_block) << EROFS_BLOCK_BITS;
    r->root = le16toh(sb.root_nid);
    r->inodes = le64toh(sb.inodes);
    r->time_sec = (int64_t)le64toh(sb.epoch);
    r->time_nsec = le32toh(sb.fixed_nsec);
    return 0;
}

int erofs_reader_open(int fd, struct erofs_reader **ret, struct error *e)
{
    AUTOPTR(erofs_reader) struct erofs_reader *r = xcalloc(1, sizeof *r);
    struct erofs_inode root;
    struct stat st;
    int x;

    r->fd = fd;
    if (fstat(fd, &st) < 0)
        return error_set_errno(e, errno, "read the EROFS file");
    x = load_super(r, (uint64_t)st.st_size, e);
    if (x < 0)
        return x;
    r->cache = xmalloc((size_t)EROFS_CACHE_SLOTS * EROFS_BLOCK);
    x = erofs_reader_root(r, &root, e);
    if (x == 0)
        *ret = take_ptr(r);
    return x;
}

int erofs_reader_map(struct erofs_reader *r, struct error *e)
{
    void *map = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, 0);

    if (map == MAP_FAILED)
        return error_set_errno(e, errno, "map the EROFS file");
    (void)madvise(map, r->size, MADV_RANDOM); /* content is not read along */
    r->map = map;
    r->windows = xcalloc(1, windows_size(r));
    return 0;
}

void erofs_reader_free(struct erofs_reader *r)
{
    if (!r)
        return;
    if (r->map)
        (void)munmap((void *)(uintptr_t)r->map, r->size);
    free(r->windows);
    free(r->cache);
    free(r);
}

/* --- Inodes ------------------------------------------------------------------------------------ */

static uint64_t inode_offset(const struct erofs_reader *r, const struct erofs_inode *i)
{
    return r->meta + i->nid * EROFS_SLOT;
}

static uint64_t xattr_offset(const struct erofs_reader *r, const struct erofs_inode *i)
{
    return inode_offset(r, i) + i->base_size;
}

/* Of what follows the attributes: the tail of the content, or the map. */
static uint64_t payload_offset(const struct erofs_reader *r, const struct erofs_inode *i)
{
    return xattr_offset(r, i) + i->xattr_size;
}

static void from_extended(struct erofs_inode *i, const struct erofs_disk_inode *d)
{
    i->base_size = sizeof *d;
    i->mode = le16toh(d->mode);
    i->size = le64toh(d->size);
    i->start = le32toh(d->u);
    i->uid = le32toh(d->uid);
    i->gid = le32toh(d->gid);
    i->nlink = le32toh(d->nlink);
    i->mtime_sec = (int64_t)le64toh((uint64_t)d->mtime);
    i->mtime_nsec = le32toh(d->mtime_nsec);
}

static void from_compact(struct erofs_inode *i, const struct erofs_disk_compact *d)
{
    i->base_size = sizeof *d;
    i->mode = le16toh(d->mode);
    i->size = le32toh(d->size);
    i->start = le32toh(d->u);
    i->uid = le16toh(d->uid);
    i->gid = le16toh(d->gid);
    i->nlink = le16toh(d->nlink);
}

/* Whether the parts an inode names can be there at all. */
static int check_parts(const struct erofs_reader *r, struct erofs_inode *i, struct error *e)
{
    uint64_t blocks = (i->size >> EROFS_BLOCK_BITS) + (i->size % EROFS_BLOCK != 0);
    uint64_t payload = payload_offset(r, i);
    uint64_t behind = 0;

    switch (i->layout) {
    case EROFS_FLAT_INLINE:
        behind = i->size % EROFS_BLOCK;
        if (behind == 0)
            return erofs_corrupt(e, i->nid, "there is no content to stand behind it");
        if (payload % EROFS_BLOCK + behind > EROFS_BLOCK)
            return erofs_corrupt(e, i->nid, "its content crosses the end of a block");
        blocks--;
        __attribute__((fallthrough));
    case EROFS_FLAT_PLAIN:
        if (blocks > 0 &&
            !is_inside(r, (uint64_t)i->start << EROFS_BLOCK_BITS, blocks << EROFS_BLOCK_BITS))
            return erofs_corrupt(e, i->nid, "its content is beyond the end of the file");
        break;
    case EROFS_CHUNKED:
        if (!(r->features & EROFS_INCOMPAT_CHUNKED) || (i->start & ~EROFS_CHUNK_KNOWN) ||
            !S_ISREG(i->mode))
            return erofs_corrupt(e, i->nid, "its chunks are of an unknown kind");
        i->start &= EROFS_CHUNK_KNOWN;
        blocks = i->size == 0
                     ? 0
                     : ((i->size - 1) >> (EROFS_BLOCK_BITS + (i->start & EROFS_CHUNK_BITS_MASK))) +
                           1;
        behind = blocks * (i->start & EROFS_CHUNK_INDEXES ? 8 : 4);
        if (blocks > r->size)
            behind = UINT64_MAX - payload;
        break;
    default:
        return erofs_corrupt(e, i->nid, "its layout is of an unknown kind");
    }
    return is_inside(r, payload, behind)
               ? 0
               : erofs_corrupt(e, i->nid, "it is beyond the end of the file");
}

int erofs_reader_inode(struct erofs_reader *r, uint64_t nid, struct erofs_inode *ret,
                       struct error *e)
{
    struct erofs_inode i = {.nid = nid};
    union {
        struct erofs_disk_inode extended;
        struct erofs_disk_compact compact;
    } d;
    uint32_t format;
    uint32_t count;
    int x;

    if (nid >= r->size / EROFS_SLOT || !is_inside(r, inode_offset(r, &i), sizeof d.compact))
        return erofs_corrupt(e, nid, "it is beyond the end of the file");
    x = erofs_reader_bytes(r, inode_offset(r, &i), &d.compact, sizeof d.compact, e);
    if (x < 0)
        return x;
    format = le16toh(d.compact.format);
    if (format & ~EROFS_FORMAT_KNOWN)
        return erofs_corrupt(e, nid, "its format is not known");
    if (format & EROFS_FORMAT_EXTENDED) {
        x = erofs_reader_bytes(r, inode_offset(r, &i), &d.extended, sizeof d.extended, e);
        if (x < 0)
            return x;
        from_extended(&i, &d.extended);
    } else {
        from_compact(&i, &d.compact);
        i.mtime_sec = r->time_sec;
        i.mtime_nsec = r->time_nsec;
    }
    count = le16toh(d.compact.xattr_count);
    if (count == 1) /* the kernel knows no such thing */
        return erofs_corrupt(e, nid, "it has room for attributes but none");
    i.xattr_size = count ? (uint32_t)sizeof(struct erofs_disk_xattr_head) + 4 * (count - 1) : 0;
    i.layout = format >> 1;
    if (i.mtime_nsec >= 1000000000u || i.size > INT64_MAX)
        return erofs_corrupt(e, nid, "its time or size cannot be");
    switch (i.mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
        x = check_parts(r, &i, e);
        break;
    case S_IFCHR:
    case S_IFBLK:
        i.dev_major = (i.start >> 8) & 0xfff;
        i.dev_minor = (i.start & 0xff) | (i.start >> 12 & 0xfff00);
        break;
    case S_IFIFO:
    case S_IFSOCK:
        break;
    default:
        return erofs_corrupt(e, nid, "its type is not known");
    }
    if (x == 0 && !is_inside(r, xattr_offset(r, &i), i.xattr_size))
        return erofs_corrupt(e, nid, "its attributes are beyond the end of the file");
    if (x == 0)
        *ret = i;
    return x;
}

int erofs_reader_root(struct erofs_reader *r, struct erofs_inode *ret, struct error *e)
{
    struct erofs_inode root;
    int x = erofs_reader_inode(r, r->root, &root, e);

    if (x < 0)
        return x;
    if (!S_ISDIR(root.mode))
        return erofs_corrupt(e, root.nid, "the root is not a folder");
    *ret = root;
    return 0;
}

/* --- Content ----------------------------------------------------------------------------------- */

/* Where the byte at `offset` (below the size) is, and how many follow it there. */
struct extent {
    uint64_t at; /* in the file; not for holes */
    uint64_t len;
    bool hole;
};

static int map_chunk(struct erofs_reader *r, const struct erofs_inode *i, uint64_t offset,
                     struct extent *ret, struct error *e)
{
    unsigned bits = EROFS_BLOCK_BITS + (i->start & EROFS_CHUNK_BITS_MASK);
    unsigned unit = i->start & EROFS_CHUNK_INDEXES ? 8 : 4;
    uint64_t chunk = offset >> bits;
    uint64_t in = offset - (chunk << bits);
    uint64_t map = (payload_offset(r, i) + unit - 1) & ~(uint64_t)(unit - 1);
    uint32_t entry[2];
    uint32_t block;
    int x = erofs_reader_bytes(r, map + chunk * unit, entry, unit, e);

    if (x < 0)
        return x;
    block = le32toh(entry[unit / 4 - 1]);
    ret->len = (1ULL << bits) - in;
    if (ret->len > i->size - offset)
        ret->len = i->size - offset;
    ret->hole = block == EROFS_HOLE;
    ret->at = ((uint64_t)block << EROFS_BLOCK_BITS) + in;
    if (!ret->hole && !is_inside(r, ret->at, ret->len))
        return erofs_corrupt(e, i->nid, "its content is beyond the end of the file");
    return 0;
}

static int map_content(struct erofs_reader *r, const struct erofs_inode *i, uint64_t offset,
                       struct extent *ret, struct error *e)
{
    uint64_t blocks = i->size - (i->layout == EROFS_FLAT_INLINE ? i->size % EROFS_BLOCK : 0);

    if (i->layout == EROFS_CHUNKED)
        return map_chunk(r, i, offset, ret, e);
    ret->hole = false;
    if (offset < blocks) {
        ret->at = ((uint64_t)i->start << EROFS_BLOCK_BITS) + offset;
        ret->len = blocks - offset;
    } else {
        ret->at = payload_offset(r, i) + (offset - blocks);
        ret->len = i->size - offset;
    }
    return 0;
}

static bool has_content(const struct erofs_inode *i)
{
    return S_ISREG(i->mode) || S_ISDIR(i->mode) || S_ISLNK(i->mode);
}

ssize_t erofs_reader_read(struct erofs_reader *r, const struct erofs_inode *inode, uint64_t offset,
                          void *out, size_t len, struct error *e)
{
    char *p = out;

    if (!has_content(inode) || offset >= inode->size)
        return 0;
    if (len > inode->size - offset)
        len = (size_t)(inode->size - offset);
    while (len > 0) {
        struct extent x;
        size_t n;
        int ret = map_content(r, inode, offset, &x, e);

        if (ret < 0)
            return ret;
        n = x.len < len ? (size_t)x.len : len;
        if (x.hole)
            memset(p, 0, n);
        else if (n < EROFS_BLOCK) /* a tail, and the names of folders */
            ret = erofs_reader_bytes(r, x.at, p, n, e);
        else
            ret = read_full(r, p, n, x.at, e);
        if (ret < 0)
            return ret;
        p += n;
        offset += n;
        len -= n;
    }
    return p - (char *)out;
}

int erofs_reader_next_data(struct erofs_reader *r, const struct erofs_inode *inode, uint64_t offset,
                           uint64_t *ret_start, uint64_t *ret_end, struct error *e)
{
    uint64_t start = UINT64_MAX;

    if (!has_content(inode))
        return 0;
    while (offset < inode->size) {
        struct extent x;
        int ret = map_content(r, inode, offset, &x, e);

        if (ret < 0)
            return ret;
        if (x.hole && start != UINT64_MAX)
            break;
        if (!x.hole && start == UINT64_MAX)
            start = offset;
        offset += x.len;
    }
    if (start == UINT64_MAX)
        return 0;
    *ret_start = start;
    *ret_end = offset;
    return 1;
}

int erofs_reader_readlink(struct erofs_reader *r, const struct erofs_inode *inode, char **ret,
                          struct error *e)
{
    AUTOFREE char *text = NULL;
    ssize_t n;

    if (!S_ISLNK(inode->mode) || inode->size == 0 || inode->size > LINK_MAX_SIZE)
        return erofs_corrupt(e, inode->nid, "it is no symbolic link that can be read");
    text = xcalloc(1, (size_t)inode->size + 1);
    n = erofs_reader_read(r, inode, 0, text, (size_t)inode->size, e);
    if (n < 0)
        return (int)n;
    if (strlen(text) != inode->size)
        return erofs_corrupt(e, inode->nid, "its target has a NUL byte");
    *ret = take_ptr(text);
    return 0;
}

/* --- Attributes -------------------------------------------------------------------------------- */

/* One attribute at an offset of the file; *ret_size is what it takes there. */
static int one_xattr(struct erofs_reader *r, const struct erofs_inode *i, uint64_t at,
                     uint64_t limit, uint64_t *ret_size, erofs_xattr_fn *fn, void *data,
                     struct error *e)
{
    struct erofs_disk_xattr head;
    AUTOFREE char *value = NULL;
    char name[64 + UINT8_MAX + 1];
    const char *prefix;
    struct layer_xattr x;
    uint64_t size;
    int ret;

    if (limit < sizeof head || !is_inside(r, at, sizeof head))
        return erofs_corrupt(e, i->nid, "an attribute is beyond its end");
    ret = erofs_reader_bytes(r, at, &head, sizeof head, e);
    if (ret < 0)
        return ret;
    x.size = le16toh(head.value_size);
    size = sizeof head + head.name_len + x.size;
    prefix = erofs_xattr_prefix(head.name_index);
    if (!prefix)
        return erofs_corrupt(e, i->nid, "an attribute has an unknown prefix");
    if (size > limit || !is_inside(r, at, size))
        return erofs_corrupt(e, i->nid, "an attribute is beyond its end");
    memset(name, 0, sizeof name);
    memcpy(name, prefix, strlen(prefix));
    value = xmalloc(x.size + 1);
    ret = erofs_reader_bytes(r, at + sizeof head, name + strlen(prefix), head.name_len, e);
    if (ret == 0 && strlen(name) != strlen(prefix) + head.name_len)
        return erofs_corrupt(e, i->nid, "an attribute's name has a NUL byte");
    if (ret == 0)
        ret = erofs_reader_bytes(r, at + sizeof head + head.name_len, value, x.size, e);
    if (ret < 0)
        return ret;
    x.name = name;
    x.value = value;
    *ret_size = (size + 3) & ~(uint64_t)3;
    return fn(data, &x);
}

int erofs_reader_xattrs(struct erofs_reader *r, const struct erofs_inode *inode, erofs_xattr_fn *fn,
                        void *data, struct error *e)
{
    struct erofs_disk_xattr_head head;
    uint64_t at = xattr_offset(r, inode);
    uint64_t end = at + inode->xattr_size;
    uint64_t size = 0;
    int ret;

    if (inode->xattr_size == 0)
        return 0;
    ret = erofs_reader_bytes(r, at, &head, sizeof head, e);
    if (ret < 0)
        return ret;
    at += sizeof head;
    if (head.shared_count * sizeof(uint32_t) > end - at)
        return erofs_corrupt(e, inode->nid, "an attribute is beyond its end");
    for (unsigned i = 0; i < head.shared_count; i++, at += sizeof(uint32_t)) {
        uint32_t id;

        ret = erofs_reader_bytes(r, at, &id, sizeof id, e);
        if (ret == 0)
            ret = one_xattr(r, inode, r->xattrs + 4 * (uint64_t)le32toh(id), UINT64_MAX, &size, fn,
                            data, e);
        if (ret != 0)
            return ret;
    }
    for (; at < end; at += size) {
        ret = one_xattr(r, inode, at, end - at, &size, fn, data, e);
        if (ret != 0)
            return ret;
    }
    return 0;
}
