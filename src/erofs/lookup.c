/* SPDX-License-Identifier: Apache-2.0 */
/* The reader's names: folders and paths. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "erofs/reader-priv.h"

#define SYMLINKS_MAX 40
#define TEXT_LIMIT   ((size_t)256 << 10)

/* --- Blocks of names ---------------------------------------------------------------------------- */

const char *erofs_names_at(const struct erofs_names *n, uint32_t i, size_t *ret_len,
                           uint64_t *ret_nid, uint8_t *ret_type)
{
    struct erofs_disk_dirent de[2];
    uint32_t at;
    uint32_t end = n->size;

    memcpy(de, n->block + i * sizeof de[0], sizeof de[0]);
    at = le16toh(de[0].name_offset);
    if (i + 1 < n->count) {
        memcpy(&de[1], n->block + (i + 1) * sizeof de[0], sizeof de[0]);
        end = le16toh(de[1].name_offset);
    }
    *ret_len = end > at && end <= n->size ? strnlen((const char *)n->block + at, end - at) : 0;
    *ret_nid = le64toh(de[0].nid);
    *ret_type = de[0].type;
    return (const char *)n->block + at;
}

int erofs_name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int r = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return r ? r : (a_len > b_len) - (a_len < b_len);
}

int erofs_names_load(struct erofs_reader *r, const struct erofs_inode *dir, uint64_t block,
                     struct erofs_names *n, struct error *e)
{
    const char *last = NULL;
    size_t last_len = 0;
    struct erofs_disk_dirent first;
    ssize_t size = erofs_reader_read(r, dir, block * EROFS_BLOCK, n->block, EROFS_BLOCK, e);
    uint32_t at;

    if (size < 0)
        return (int)size;
    n->size = (uint32_t)size;
    if (n->size < sizeof first)
        return erofs_corrupt(e, dir->nid, "a block of names is too short");
    memcpy(&first, n->block, sizeof first);
    at = le16toh(first.name_offset);
    if (at == 0 || at % sizeof first || at >= n->size)
        return erofs_corrupt(e, dir->nid, "a block of names makes no sense");
    n->count = at / (uint32_t)sizeof first;
    for (uint32_t i = 0; i < n->count; i++) {
        uint64_t nid;
        uint8_t type;
        size_t len;
        size_t next;
        const char *name = erofs_names_at(n, i, &len, &nid, &type);

        /* A NUL ends the last name only; the kernel would list it as a part of others. */
        if (len == 0 || len > EROFS_NAME_MAX || memchr(name, '/', len) ||
            (i + 1 < n->count && name + len != erofs_names_at(n, i + 1, &next, &nid, &type)))
            return erofs_corrupt(e, dir->nid, "a name in it cannot be");
        if (last && erofs_name_compare(last, last_len, name, len) >= 0)
            return erofs_corrupt(e, dir->nid, "its names are not in order");
        last = name;
        last_len = len;
    }
    return 0;
}

static bool is_dots(const char *name, size_t len)
{
    return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

int erofs_reader_list(struct erofs_reader *r, const struct erofs_inode *dir, erofs_name_fn *fn,
                      void *data, struct error *e)
{
    AUTOFREE struct erofs_names *n = xmalloc(sizeof *n);
    char last[EROFS_NAME_MAX + 1];
    char name[EROFS_NAME_MAX + 1];
    size_t last_len = 0;

    if (!S_ISDIR(dir->mode))
        return erofs_corrupt(e, dir->nid, "it is not a folder");
    for (uint64_t block = 0; block < erofs_names_blocks(dir); block++) {
        int x = erofs_names_load(r, dir, block, n, e);

        for (uint32_t i = 0; x == 0 && i < n->count; i++) {
            uint64_t nid;
            uint8_t type;
            size_t len;
            const char *p = erofs_names_at(n, i, &len, &nid, &type);

            if (i == 0 && block > 0 && erofs_name_compare(last, last_len, p, len) >= 0)
                return erofs_corrupt(e, dir->nid, "its names are not in order");
            if (i + 1 == n->count)
                memcpy(last, p, last_len = len);
            if (is_dots(p, len))
                continue;
            memcpy(name, p, len);
            name[len] = 0;
            x = fn(data, name, nid, e);
        }
        if (x != 0)
            return x;
    }
    return 0;
}

/* --- Paths -------------------------------------------------------------------------------------- */

static int not_found(struct error *e, int errnum, const char *path)
{
    char shown[200];

    layer_path_printable(path, shown, sizeof shown);
    if (e) {
        (void)error_set(e, ERR_NOT_FOUND, "\"%s\" in the EROFS file: %s", shown, strerror(errnum));
        e->errnum = errnum;
    }
    return -errnum;
}

/* By halving, as names are in order through all blocks. 1 found, 0 not. */
static int find_name(struct erofs_reader *r, const struct erofs_inode *dir, const char *name,
                     size_t len, struct erofs_names *n, uint64_t *ret_nid, struct error *e)
{
    uint64_t low = 0;
    uint64_t high = erofs_names_blocks(dir);

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        bool before = true;
        int x = erofs_names_load(r, dir, middle, n, e);

        if (x < 0)
            return x;
        for (uint32_t i = 0; i < n->count; i++) {
            uint8_t type;
            size_t n_len;
            const char *p = erofs_names_at(n, i, &n_len, ret_nid, &type);
            int c = erofs_name_compare(name, len, p, n_len);

            if (c == 0)
                return 1;
            if (c < 0 && i > 0)
                return 0;
            if (c < 0)
                break;
            before = false;
        }
        if (before)
            high = middle;
        else
            low = middle + 1;
    }
    return 0;
}

/* Puts a symlink's target in front of what is left of the path. */
static int expand(struct erofs_reader *r, const struct erofs_inode *link, struct buf *rest,
                  struct error *e)
{
    AUTO(buf) struct buf text = BUF_INIT(TEXT_LIMIT);
    AUTOFREE char *target = NULL;
    int x = erofs_reader_readlink(r, link, &target, e);

    if (x < 0)
        return x;
    if (buf_puts(&text, target) < 0 || buf_putc(&text, '/') < 0 ||
        buf_append(&text, rest->data, rest->len) < 0)
        return not_found(e, ENAMETOOLONG, target);
    buf_clear(rest);
    return buf_append(rest, text.data, text.len);
}

int erofs_reader_lookup(struct erofs_reader *r, const char *path, bool follow,
                        struct erofs_inode *ret, struct error *e)
{
    AUTOFREE struct erofs_names *names = xmalloc(sizeof *names);
    AUTO(buf) struct buf rest = BUF_INIT(TEXT_LIMIT);
    struct erofs_inode here;
    struct erofs_inode next;
    unsigned links = 0;
    int x = erofs_reader_root(r, &here, e);

    if (x == 0 && buf_puts(&rest, path) < 0)
        return not_found(e, ENAMETOOLONG, path);
    while (x == 0 && rest.len > 0) {
        size_t skip = strspn(rest.data, "/");
        size_t len = strcspn(rest.data + skip, "/");
        bool last = rest.data[skip + len + strspn(rest.data + skip + len, "/")] == 0;
        uint64_t nid;

        if (len == 0)
            break;
        if (!S_ISDIR(here.mode))
            return not_found(e, ENOTDIR, path);
        x = find_name(r, &here, rest.data + skip, len, names, &nid, e);
        if (x == 0)
            return not_found(e, ENOENT, path);
        if (x > 0)
            x = erofs_reader_inode(r, nid, &next, e);
        if (x < 0)
            return x;
        buf_consume(&rest, skip + len);
        if (!S_ISLNK(next.mode) || (last && !follow)) {
            here = next;
            continue;
        }
        if (++links > SYMLINKS_MAX)
            return not_found(e, ELOOP, path);
        x = expand(r, &next, &rest, e);
        if (x == 0 && *rest.data == '/')
            x = erofs_reader_root(r, &here, e);
    }
    if (x == 0)
        *ret = here;
    return x;
}
