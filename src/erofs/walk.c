/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader's walk through all folders, and the check of a whole file by it.
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

struct seen_slot {
    uint64_t nid; /* + 1; 0: free */
    uint32_t count;
    uint32_t want;
};

struct seen {
    struct seen_slot *slots;
    size_t mask;
    size_t n;
};

static struct seen_slot *seen_find(const struct seen *s, uint64_t nid)
{
    size_t i = (nid * 0x9e3779b97f4a7c15ULL >> 20) & s->mask;

    while (s->slots[i].nid && s->slots[i].nid != nid + 1)
        i = (i + 1) & s->mask;
    return &s->slots[i];
}

/* The slot of a number, new ones with a count of 0; NULL when there are too many. */
static struct seen_slot *seen_get(struct seen *s, uint64_t nid)
{
    struct seen_slot *slot;

    if (!s->slots || 4 * s->n >= 3 * s->mask) {
        struct seen old = *s;

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
    struct buf path;
    struct buf stack; /* struct level */
    struct seen dirs;
    uint64_t names;
    struct erofs_names block;
    uint64_t loaded; /* which is in it: folder and block */
    uint64_t loaded_nid;
};

static int push(struct walk *w, const struct erofs_inode *dir, uint64_t parent, struct error *e)
{
    struct level l = {.dir = *dir, .parent = parent, .path_len = (uint32_t)w->path.len};
    struct seen_slot *slot = seen_get(&w->dirs, dir->nid);

    if (!slot || buf_append(&w->stack, &l, sizeof l) < 0)
        return erofs_corrupt(e, dir->nid, "there are too many folders");
    return slot->count++ ? erofs_corrupt(e, dir->nid, "a folder is in two places") : 0;
}

static struct level *top(struct walk *w)
{
    return (struct level *)(void *)(w->stack.data + w->stack.len) - 1;
}

/* "." and ".." are there and say the truth. */
static int check_dots(struct level *l, size_t len, uint64_t nid, struct error *e)
{
    if (nid != (len == 1 ? l->dir.nid : l->parent))
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
        return check_dots(l, len, nid, e);
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

int erofs_reader_walk(struct erofs_reader *r, erofs_walk_fn *fn, void *data, struct error *e)
{
    AUTOFREE struct walk *w = xcalloc(1, sizeof *w);
    struct erofs_inode root;
    int x = erofs_reader_root(r, &root, e);

    w->r = r;
    w->fn = fn;
    w->data = data;
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

/* --- The check ---------------------------------------------------------------------------------- */

struct check {
    struct erofs_reader *r;
    struct seen files; /* with several names */
    uint64_t inodes;
};

static int take_xattr(void *data, const struct layer_xattr *x)
{
    return 0;
}

static int check_inode(void *data, const char *path, const struct erofs_inode *inode,
                       struct error *e)
{
    struct check *c = data;
    AUTOFREE char *target = NULL;
    uint64_t start;
    uint64_t end = 0;
    int x = erofs_reader_xattrs(c->r, inode, take_xattr, NULL, e);

    if (x == 0 && S_ISLNK(inode->mode))
        x = erofs_reader_readlink(c->r, inode, &target, e);
    if (x == 0 && S_ISREG(inode->mode)) { /* looks at each chunk of the map */
        do
            x = erofs_reader_next_data(c->r, inode, end, &start, &end, e);
        while (x > 0);
    }
    if (x < 0)
        return x;
    if (S_ISDIR(inode->mode) || inode->nlink == 1) {
        c->inodes++;
        return 0;
    }
    struct seen_slot *slot = seen_get(&c->files, inode->nid);
    if (!slot)
        return error_set(e, ERR_TOO_LARGE, "the EROFS file has too many hard links to check");
    slot->want = inode->nlink;
    c->inodes += slot->count++ == 0;
    return 0;
}

int erofs_reader_check(struct erofs_reader *r, struct error *e)
{
    struct check c = {.r = r};
    int x = erofs_reader_walk(r, check_inode, &c, e);

    for (size_t i = 0; x == 0 && c.files.slots && i <= c.files.mask; i++) {
        const struct seen_slot *slot = &c.files.slots[i];

        if (slot->nid && slot->count != slot->want)
            x = erofs_corrupt(e, slot->nid - 1, "its number of links is wrong");
    }
    if (x == 0 && c.inodes != r->inodes)
        x = error_set(e, ERR_INVALID, "the EROFS file is damaged: it has %llu inodes, not %llu",
                      (unsigned long long)c.inodes, (unsigned long long)r->inodes);
    free(c.files.slots);
    return x;
}
