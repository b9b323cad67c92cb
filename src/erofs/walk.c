/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader's walk through all folders.
 *
 * A hostile file can show the same blocks in many folders. What keeps a walk finite: a folder may
 * be met once only, and there cannot be more names than fit into the file.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "erofs/reader-priv.h"

#define PATH_LIMIT ((size_t)1 << 20) /* deep trees are legal, endless ones are not */
#define SEEN_MAX   ((size_t)1 << 22)
#define NAME_MIN   13u /* bytes that one takes in a folder */

/* --- Numbers that were met ---------------------------------------------------------------------- */

static struct erofs_seen_slot *seen_find(const struct erofs_seen *s, uint64_t nid)
{
    size_t i = (nid * 0x9e3779b97f4a7c15ULL >> 20) & s->mask;

    while (s->slots[i].nid && s->slots[i].nid != nid + 1)
        i = (i + 1) & s->mask;
    return &s->slots[i];
}

struct erofs_seen_slot *erofs_seen_get(struct erofs_seen *s, uint64_t nid)
{
    struct erofs_seen_slot *slot;

    if (!s->slots || 4 * s->n >= 3 * s->mask) {
        struct erofs_seen old = *s;

        if (s->n >= SEEN_MAX)
            return NULL;
        s->mask = old.slots ? 2 * old.mask + 1 : 255;
        s->slots = xcalloc(s->mask + 1, sizeof *s->slots);
        for (size_t i = 0; old.slots && i <= old.mask; i++) {
            if (old.slots[i].nid)
                *seen_find(s, old.slots[i].nid - 1) = old.slots[i];
        }
        free(old.slots);
    }
    slot = seen_find(s, nid);
    if (!slot->nid) {
        slot->nid = nid + 1;
        s->n++;
    }
    return slot;
}

/* --- The walk ----------------------------------------------------------------------------------- */

/* A folder on the way down, and the next name in it. */
struct level {
    struct erofs_inode dir;
    uint64_t parent;
    uint64_t block;
    uint32_t i;
    uint32_t path_len;
    uint32_t subdirs;
    uint32_t dots;
    uint8_t last_len;
    char last[EROFS_NAME_MAX + 1]; /* name of the block before */
};

struct walk {
    struct erofs_reader *r;
    erofs_walk_fn *fn;
    void *data;
    bool own;
    struct buf path;
    struct buf stack; /* struct level */
    struct erofs_seen dirs;
    uint64_t names;
    struct erofs_names block;
    uint64_t loaded; /* which is in it: folder and block */
    uint64_t loaded_nid;
};

static int push(struct walk *w, const struct erofs_inode *dir, uint64_t parent, struct error *e)
{
    struct level l = {.dir = *dir, .parent = parent, .path_len = (uint32_t)w->path.len};
    struct erofs_seen_slot *slot = erofs_seen_get(&w->dirs, dir->nid);

    if (!slot || buf_append(&w->stack, &l, sizeof l) < 0)
        return erofs_corrupt(e, dir->nid, "there are too many folders");
    return slot->count++ ? erofs_corrupt(e, dir->nid, "a folder is in two places") : 0;
}

static struct level *top(struct walk *w)
{
    return (struct level *)(void *)(w->stack.data + w->stack.len) - 1;
}

/* "." and ".." are there and say the truth. */
static int check_dots(struct level *l, size_t len, uint64_t nid, uint8_t type, struct error *e)
{
    if (nid != (len == 1 ? l->dir.nid : l->parent) || type != EROFS_TYPE_DIR)
        return erofs_corrupt(e, l->dir.nid, "\".\" or \"..\" leads elsewhere");
    l->dots |= len == 1 ? 1 : 2;
    return 0;
}

static int visit(struct walk *w, const char *name, size_t len, uint64_t nid, uint8_t type,
                 struct error *e)
{
    static const uint8_t types[16] = {
        [S_IFREG >> 12] = EROFS_TYPE_FILE,    [S_IFDIR >> 12] = EROFS_TYPE_DIR,
        [S_IFCHR >> 12] = EROFS_TYPE_CHAR,    [S_IFBLK >> 12] = EROFS_TYPE_BLOCK,
        [S_IFIFO >> 12] = EROFS_TYPE_FIFO,    [S_IFSOCK >> 12] = EROFS_TYPE_SOCK,
        [S_IFLNK >> 12] = EROFS_TYPE_SYMLINK,
    };
    struct level *l = top(w);
    struct erofs_inode inode;
    int x;

    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return check_dots(l, len, nid, type, e);
    if (++w->names > w->r->size / NAME_MIN)
        return erofs_corrupt(e, l->dir.nid, "there are more names than have room");
    x = erofs_reader_inode(w->r, nid, &inode, e);
    if (x < 0)
        return x;
    if (types[inode.mode >> 12] != type)
        return erofs_corrupt(e, nid, "its name says another type");
    w->path.len = l->path_len;
    if ((l->path_len && buf_putc(&w->path, '/') < 0) || buf_append(&w->path, name, len) < 0)
        return erofs_corrupt(e, nid, "folders are too deep");
    x = w->fn(w->data, w->path.data, &inode, e);
    if (x != 0 || !S_ISDIR(inode.mode))
        return x;
    l->subdirs++;
    return push(w, &inode, l->dir.nid, e);
}

static int leave(struct walk *w, struct error *e)
{
    struct level *l = top(w);

    if (l->dots != 3)
        return erofs_corrupt(e, l->dir.nid, "\".\" or \"..\" is missing");
    if (l->dir.nlink != l->subdirs + 2)
        return erofs_corrupt(e, l->dir.nid, "its number of links is wrong");
    w->stack.len -= sizeof *l;
    return 0;
}

/* What our writer leaves 0 in a block of names. The kernel's lookup reads the last name on behind the
 * folder's size, where it lies in a block of its own. */
static int check_unused(const struct walk *w, const struct level *l, struct error *e)
{
    const unsigned char *block;
    int x;

    for (uint32_t i = 0; i < w->block.count; i++) {
        struct erofs_disk_dirent de;

        memcpy(&de, w->block.block + i * sizeof de, sizeof de);
        if (de.reserved)
            return erofs_corrupt(e, l->dir.nid, "a name in it has a field that is not known");
    }
    if (w->block.size == EROFS_BLOCK || l->dir.layout != EROFS_FLAT_PLAIN)
        return 0;
    x = erofs_reader_block(w->r, l->dir.start + l->block, &block, e);
    for (uint32_t i = w->block.size; x == 0 && i < EROFS_BLOCK; i++)
        if (block[i])
            x = erofs_corrupt(e, l->dir.nid, "there is something behind its names");
    return x;
}

static int load(struct walk *w, struct level *l, struct error *e)
{
    uint64_t nid;
    uint8_t type;
    size_t len;
    const char *name;
    int x;

    if (w->loaded == l->block + 1 && w->loaded_nid == l->dir.nid)
        return 0;
    w->loaded = 0;
    x = erofs_names_load(w->r, &l->dir, l->block, &w->block, e);
    if (x < 0)
        return x;
    if (w->own)
        x = check_unused(w, l, e);
    if (x < 0)
        return x;
    w->loaded = l->block + 1;
    w->loaded_nid = l->dir.nid;
    if (l->i > 0)
        return 0;
    name = erofs_names_at(&w->block, 0, &len, &nid, &type);
    if (l->block > 0 && erofs_name_compare(l->last, l->last_len, name, len) >= 0)
        return erofs_corrupt(e, l->dir.nid, "its names are not in order");
    name = erofs_names_at(&w->block, w->block.count - 1, &len, &nid, &type);
    memcpy(l->last, name, l->last_len = (uint8_t)len);
    return 0;
}

static int step(struct walk *w, struct error *e)
{
    struct level *l = top(w);
    uint64_t nid;
    uint8_t type;
    size_t len;
    const char *name;
    int x;

    if (l->block == erofs_names_blocks(&l->dir))
        return leave(w, e);
    x = load(w, l, e);
    if (x < 0)
        return x;
    name = erofs_names_at(&w->block, l->i, &len, &nid, &type);
    if (++l->i == w->block.count) {
        l->i = 0;
        l->block++;
    }
    return visit(w, name, len, nid, type, e);
}

int erofs_walk_tree(struct erofs_reader *r, bool own, erofs_walk_fn *fn, void *data,
                    struct error *e)
{
    AUTOFREE struct walk *w = xcalloc(1, sizeof *w);
    struct erofs_inode root;
    int x = erofs_reader_root(r, &root, e);

    w->r = r;
    w->fn = fn;
    w->data = data;
    w->own = own;
    w->path.max = PATH_LIMIT;
    w->stack.max = BUF_UNLIMITED; /* a level adds to the path */
    if (x == 0)
        x = fn(data, "", &root, e);
    if (x == 0)
        x = push(w, &root, root.nid, e);
    while (x == 0 && w->stack.len > 0)
        x = step(w, e);
    buf_done(&w->path);
    buf_done(&w->stack);
    free(w->dirs.slots);
    return x;
}

int erofs_reader_walk(struct erofs_reader *r, erofs_walk_fn *fn, void *data, struct error *e)
{
    return erofs_walk_tree(r, false, fn, data, e);
}
