/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's entries, one kind after the other: what rootfs/apply.c does with system calls, done
 * to the tree. The inode of a file is written at once, when its content ends; folders wait for the
 * end, as their attributes and their names may still change.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/str.h"
#include "erofs/writer-priv.h"

#define MEMORY_MAX   ((size_t)256 << 20)
#define WHITEOUT_LEN (sizeof LAYER_WHITEOUT - 1)

/* Numbers of devices as the kernel's new_encode_dev(): 12 bits of major, 20 of minor. */
#define MAJOR_MAX (1u << 12)
#define MINOR_MAX (1u << 20)

static int too_many(const struct erofs_writer *w, const char *path, struct error *e)
{
    char why[100];

    (void)snprintf(why, sizeof why, "the layer has too many names for %zu MiB of memory",
                   w->tree.max >> 20);
    (void)layer_refuse(path, e, why);
    return -EFBIG;
}

/* What erofs_tree_add() and the like fail with. */
static int tree_result(const struct erofs_writer *w, int r, const char *path, struct error *e)
{
    return r == -EFBIG ? too_many(w, path, e) : r;
}

/* --- Places ------------------------------------------------------------------------------------ */

static bool is_whiteout(const struct erofs_node *n)
{
    return n->flags & EROFS_NODE_WHITEOUT;
}

/* A folder without an entry of its own: 0755 root:root, as old as what it was made for. */
static int add_missing_dir(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                           const char *name, size_t len, uint32_t *ret)
{
    uint32_t node = erofs_tree_find(&w->tree, parent, name, len);
    bool opaque = false;
    int r = 0;

    if (len > EROFS_NAME_MAX)
        return -ENAMETOOLONG;
    if (node == EROFS_NONE)
        r = erofs_tree_add(&w->tree, parent, name, len, NULL, &node);
    else if (!(opaque = is_whiteout(erofs_tree_node(&w->tree, node))))
        return -ENOTDIR;
    if (r == 0)
        r = erofs_tree_make_dir(&w->tree, node);
    if (r == 0) {
        struct erofs_dir *dir = erofs_tree_dir_of(&w->tree, node);

        dir->opaque = opaque;
        dir->mtime_sec = entry->mtime_sec;
        dir->mtime_nsec = entry->mtime_nsec;
        *ret = node;
    }
    return r;
}

static int make_parents(struct erofs_writer *w, const struct layer_entry *entry, uint32_t *ret)
{
    const char *name = w->path.dir;
    uint32_t dir = EROFS_ROOT;
    unsigned links = 0;
    int r = 0;

    while (r == 0 && *name) {
        size_t len = strcspn(name, "/");
        uint32_t parent = dir;

        r = erofs_tree_step(&w->tree, parent, name, len, &links, &dir);
        if (r == -ENOENT || r == -ENOTDIR)
            r = add_missing_dir(w, entry, parent, name, len, &dir);
        name += len + (name[len] == '/');
    }
    *ret = dir;
    return r;
}

/* The folder the entry goes into, made when missing. */
static int find_parent(struct erofs_writer *w, const struct layer_entry *entry, uint32_t *ret,
                       struct error *e)
{
    int r = erofs_tree_resolve(&w->tree, w->path.dir, ret);

    if (r == -ENOENT || r == -ENOTDIR)
        r = make_parents(w, entry, ret);
    if (r == -ENOTDIR)
        return layer_refuse(entry->path, e, "is below something that is not a folder");
    if (r == -EFBIG)
        return too_many(w, entry->path, e);
    return r < 0 ? layer_fail(entry->path, r, "open its folder", e) : 0;
}

/* A node at the entry's name for what is no folder. Whatever was there has gone. */
static int take_place(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                      const char *target, uint32_t *ret, struct error *e)
{
    const char *name = w->path.name;
    size_t len = strlen(name);
    uint32_t node = erofs_tree_find(&w->tree, parent, name, len);
    int r = 0;

    if (len > EROFS_NAME_MAX)
        return layer_fail(entry->path, ENAMETOOLONG, "create", e);
    if (node != EROFS_NONE && erofs_tree_node(&w->tree, node)->type == EROFS_TYPE_DIR) {
        erofs_tree_kill(&w->tree, node);
        node = EROFS_NONE;
    }
    if (node == EROFS_NONE)
        r = erofs_tree_add(&w->tree, parent, name, len, target, &node);
    else if (target)
        r = erofs_tree_set_target(&w->tree, node, target);
    if (r < 0)
        return tree_result(w, r, entry->path, e);
    erofs_tree_node(&w->tree, node)->flags = 0;
    *ret = node;
    return 0;
}

/* --- Attributes -------------------------------------------------------------------------------- */

/* w->inode and w->xattrs for an entry that is no folder. */
static int fill_inode(struct erofs_writer *w, const struct layer_entry *entry, uint32_t type,
                      struct error *e)
{
    struct erofs_xattrs x = {0};
    uint32_t mode = entry->type == LAYER_SYMLINK ? 0777 : entry->mode & 07777;
    int r = erofs_xattrs_take(&x, entry, &mode, e);

    if (r == 0) {
        r = erofs_xattrs_encode(&x, &w->xattr_share, &w->xattrs);
        if (r < 0)
            (void)layer_fail(entry->path, r, "set its attributes", e);
    }
    erofs_xattrs_done(&x);
    w->inode = (struct erofs_disk_inode){
        .mode = htole16((uint16_t)(type | mode)),
        .uid = htole32(entry->uid),
        .gid = htole32(entry->gid),
        .mtime = (int64_t)htole64((uint64_t)entry->mtime_sec),
        .mtime_nsec = htole32(entry->mtime_nsec),
        .nlink = htole32(1),
        .format = htole16(EROFS_FORMAT(EROFS_FLAT_PLAIN)),
    };
    return r;
}

/* A folder's attributes; those of an entry that came before for the same folder stay beneath. */
static int fill_dir(struct erofs_writer *w, const struct layer_entry *entry, uint32_t node,
                    struct error *e)
{
    struct erofs_dir *dir = erofs_tree_dir_of(&w->tree, node);
    AUTO(buf) struct buf packed = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *old = take_ptr(dir->xattrs);
    struct erofs_xattrs x = {0};
    uint32_t mode = entry->mode & 07777;
    int r;

    if (old) {
        erofs_xattrs_unpack(&x, old, dir->xattr_len);
        erofs_xattrs_chmod(&x, old, mode);
    }
    r = erofs_xattrs_take(&x, entry, &mode, e);
    if (r == 0 && x.n > 0) {
        erofs_xattrs_pack(&x, &packed);
        r = erofs_tree_charge(&w->tree, packed.len);
        if (r == 0) {
            dir->xattr_len = (uint32_t)packed.len;
            dir->xattrs = buf_take(&packed);
        } else {
            r = too_many(w, entry->path, e);
        }
    }
    erofs_xattrs_done(&x);
    dir->mode = mode;
    dir->uid = entry->uid;
    dir->gid = entry->gid;
    dir->mtime_sec = entry->mtime_sec;
    dir->mtime_nsec = entry->mtime_nsec;
    return r;
}

/* --- Kinds ------------------------------------------------------------------------------------- */

static int take_file(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                     struct error *e)
{
    uint32_t node;
    int r = fill_inode(w, entry, S_IFREG, e);

    if (r == 0)
        r = take_place(w, entry, parent, NULL, &node, e);
    if (r < 0)
        return r;
    erofs_tree_node(&w->tree, node)->type = EROFS_TYPE_FILE;
    w->inode.size = htole64(entry->size);
    w->stats.content += entry->size;
    return erofs_file_begin(w, entry->path, entry->size, node, e);
}

static int take_node(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                     struct error *e)
{
    static const struct {
        uint32_t mode;
        uint8_t type;
    } kinds[LAYER_ENTRY_MAX] = {
        [LAYER_CHAR] = {S_IFCHR, EROFS_TYPE_CHAR},
        [LAYER_BLOCK] = {S_IFBLK, EROFS_TYPE_BLOCK},
        [LAYER_FIFO] = {S_IFIFO, EROFS_TYPE_FIFO},
    };
    bool device = entry->type != LAYER_FIFO;
    uint32_t major = entry->dev_major;
    uint32_t minor = entry->dev_minor;
    struct erofs_node *n;
    uint32_t node;
    int r;

    /* What the kernel cannot hold would become another device. */
    if (device && (major >= MAJOR_MAX || minor >= MINOR_MAX))
        return layer_refuse(entry->path, e, "its device number is out of range");
    r = fill_inode(w, entry, kinds[entry->type].mode, e);
    if (r == 0)
        r = take_place(w, entry, parent, NULL, &node, e);
    if (r < 0)
        return r;
    n = erofs_tree_node(&w->tree, node);
    n->type = kinds[entry->type].type;
    if (entry->type == LAYER_CHAR && major == 0 && minor == 0)
        n->flags = EROFS_NODE_WHITEOUT;
    if (device)
        w->inode.u = htole32((minor & 0xff) | major << 8 | (minor & ~0xffu) << 12);
    return erofs_put_inode(w, &w->inode, &w->xattrs, NULL, 0, &n->value, e);
}

static int take_symlink(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                        struct error *e)
{
    size_t len = entry->link ? strlen(entry->link) : 0;
    const void *payload = entry->link;
    size_t payload_len = len;
    struct erofs_node *n;
    uint32_t block = 0;
    uint32_t node;
    int r;

    if (len == 0)
        return layer_refuse(entry->path, e, "a symbolic link to nothing");
    if (len >= LAYER_PATH_MAX)
        return layer_fail(entry->path, ENAMETOOLONG, "create", e);
    r = fill_inode(w, entry, S_IFLNK, e);
    if (r == 0)
        r = take_place(w, entry, parent, entry->link, &node, e);
    if (r < 0)
        return r;
    n = erofs_tree_node(&w->tree, node);
    n->type = EROFS_TYPE_SYMLINK;
    w->inode.size = htole64(len);
    if (erofs_fits_inline(w->xattrs.len, len)) {
        w->inode.format = htole16(EROFS_FORMAT(EROFS_FLAT_INLINE));
    } else {
        payload = NULL;
        payload_len = 0;
        r = erofs_next_block(w, &block, e);
        if (r == 0)
            r = erofs_out_put(&w->out, entry->link, len, e);
        if (r == 0)
            r = erofs_out_skip(&w->out, ((uint64_t)block + 1) << EROFS_BLOCK_BITS, e);
        erofs_mix(w, erofs_hash(entry->link, len));
        w->inode.u = htole32(block);
    }
    return r < 0 ? r
                 : erofs_put_inode(w, &w->inode, &w->xattrs, payload, payload_len, &n->value, e);
}

static int refuse_link(const struct layer_entry *entry, struct error *e, const char *why)
{
    char to[200];
    char text[300];

    layer_path_printable(entry->link ? entry->link : "", to, sizeof to);
    (void)snprintf(text, sizeof text, "hard link to \"%s\", %s", to, why);
    return layer_refuse(entry->path, e, text);
}

static int find_link_target(struct erofs_writer *w, const struct layer_entry *entry, uint32_t *ret,
                            struct error *e)
{
    uint32_t dir;
    int r = str_is_empty(entry->link) ? -ENOENT : layer_path_clean(entry->link, &w->link);

    if (r == -EXDEV)
        return refuse_link(entry, e, "which climbs out of the layer");
    if (r == -ENAMETOOLONG)
        return refuse_link(entry, e, "a name that is too long");
    if (r == 0)
        r = erofs_tree_resolve(&w->tree, w->link.dir, &dir);
    if (r < 0 && r != -ENOENT && r != -ENOTDIR)
        return layer_fail(entry->path, r, "find what it is a hard link to", e);
    *ret = r < 0 ? EROFS_NONE : erofs_tree_find(&w->tree, dir, w->link.name, strlen(w->link.name));
    if (*ret == EROFS_NONE || is_whiteout(erofs_tree_node(&w->tree, *ret)))
        return refuse_link(entry, e, "which is not in this layer");
    if (erofs_tree_node(&w->tree, *ret)->type == EROFS_TYPE_DIR)
        return refuse_link(entry, e, "which is a folder");
    return 0;
}

/* Owner, mode and the rest are those of the file's first name: headers of hard links often carry
 * nothing of use. */
static int take_hardlink(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                         struct error *e)
{
    const struct erofs_node *here;
    struct erofs_node *to;
    struct erofs_node *n;
    const char *target;
    uint32_t old;
    uint32_t node;
    uint32_t link;
    int r = find_link_target(w, entry, &link, e);

    if (r < 0)
        return r;
    to = erofs_tree_node(&w->tree, link);
    old = erofs_tree_find(&w->tree, parent, w->path.name, strlen(w->path.name));
    here = old == EROFS_NONE ? NULL : erofs_tree_node(&w->tree, old);
    if (here && here->type == to->type && here->value == to->value)
        return 0; /* already the same file, perhaps under the same name */
    if (here && here->type == EROFS_TYPE_DIR && erofs_tree_is_below(&w->tree, link, old))
        return layer_fail(entry->path, ENOENT, "create", e); /* it would replace its own target */
    target = to->type == EROFS_TYPE_SYMLINK ? erofs_tree_target(&w->tree, to) : NULL;
    r = take_place(w, entry, parent, target, &node, e);
    if (r < 0)
        return r;
    n = erofs_tree_node(&w->tree, node);
    n->type = to->type;
    n->value = to->value;
    n->flags = EROFS_NODE_LINKED;
    to->flags |= EROFS_NODE_LINKED;
    return 0;
}

static int take_dir(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                    struct error *e)
{
    const char *name = w->path.name;
    size_t len = strlen(name);
    uint32_t node = *name ? erofs_tree_find(&w->tree, parent, name, len) : EROFS_ROOT;
    bool opaque;
    int r = 0;

    if (len > EROFS_NAME_MAX)
        return layer_fail(entry->path, ENAMETOOLONG, "create", e);
    if (node == EROFS_NONE)
        r = erofs_tree_add(&w->tree, parent, name, len, NULL, &node);
    if (r == 0 && erofs_tree_node(&w->tree, node)->type != EROFS_TYPE_DIR) {
        opaque = is_whiteout(erofs_tree_node(&w->tree, node));
        r = erofs_tree_make_dir(&w->tree, node);
        if (r == 0)
            erofs_tree_dir_of(&w->tree, node)->opaque = opaque;
    }
    return r < 0 ? tree_result(w, r, entry->path, e) : fill_dir(w, entry, node, e);
}

/* All whiteouts are one inode: nobody ever sees more of them than that they are there. */
static int whiteout_inode(struct erofs_writer *w, struct error *e)
{
    const struct buf none = {0};
    struct erofs_disk_inode inode = {
        .format = htole16(EROFS_FORMAT(EROFS_FLAT_PLAIN)),
        .mode = htole16(S_IFCHR),
        .nlink = htole32(1),
    };

    return w->whiteout_nid ? 0 : erofs_put_inode(w, &inode, &none, NULL, 0, &w->whiteout_nid, e);
}

/*
 * ".wh.NAME": NAME of the layers below is gone. What this same layer has there stays, wherever the
 * two stand in the archive; a folder of it becomes opaque.
 */
static int take_whiteout(struct erofs_writer *w, const struct layer_entry *entry, uint32_t parent,
                         struct error *e)
{
    const char *name = w->path.name + WHITEOUT_LEN;
    struct erofs_node *n;
    uint32_t node;
    int r;

    if (!*name || STREQ(name, ".") || STREQ(name, ".."))
        return layer_refuse(entry->path, e, "a whiteout of nothing");
    if (strlen(name) > EROFS_NAME_MAX)
        return layer_fail(entry->path, ENAMETOOLONG, "make a whiteout", e);
    node = erofs_tree_find(&w->tree, parent, name, strlen(name));
    if (node != EROFS_NONE) {
        if (erofs_tree_node(&w->tree, node)->type == EROFS_TYPE_DIR)
            erofs_tree_dir_of(&w->tree, node)->opaque = true;
        return 0;
    }
    r = whiteout_inode(w, e);
    if (r < 0)
        return r;
    r = erofs_tree_add(&w->tree, parent, name, strlen(name), NULL, &node);
    if (r < 0)
        return tree_result(w, r, entry->path, e);
    n = erofs_tree_node(&w->tree, node);
    n->type = EROFS_TYPE_CHAR;
    n->flags = EROFS_NODE_WHITEOUT | EROFS_NODE_LINKED;
    n->value = w->whiteout_nid;
    return 0;
}

static int take_kept(struct erofs_writer *w, const struct layer_entry *entry, struct error *e)
{
    static int (*const kinds[LAYER_ENTRY_MAX])(struct erofs_writer *, const struct layer_entry *,
                                               uint32_t, struct error *) = {
        [LAYER_FILE] = take_file,         [LAYER_DIR] = take_dir,   [LAYER_SYMLINK] = take_symlink,
        [LAYER_HARDLINK] = take_hardlink, [LAYER_CHAR] = take_node, [LAYER_BLOCK] = take_node,
        [LAYER_FIFO] = take_node,
    };
    uint32_t parent;
    int r = find_parent(w, entry, &parent, e);

    if (r < 0)
        return r;
    if (STREQ(w->path.name, LAYER_WHITEOUT_OPQ)) {
        erofs_tree_dir_of(&w->tree, parent)->opaque = true;
        return 0;
    }
    if (str_has_prefix(w->path.name, LAYER_WHITEOUT))
        return take_whiteout(w, entry, parent, e);
    return kinds[entry->type](w, entry, parent, e);
}

int erofs_writer_entry(struct erofs_writer *w, const struct layer_entry *entry, struct error *e)
{
    int r = layer_entry_check(entry, e);

    assert(!w->file.open);
    if (r < 0)
        return r;
    r = layer_path_clean(entry->path, &w->path);
    if (r == -EXDEV)
        return layer_refuse(entry->path, e, "climbs out of the layer");
    if (r < 0)
        return layer_refuse(entry->path, e, "the name is too long");
    if (!*w->path.name && entry->type != LAYER_DIR)
        return layer_refuse(entry->path, e, "the layer's root must be a folder");
    if (w->stats.entries++ == 0) { /* in case there is none for the root */
        struct erofs_dir *root = erofs_tree_dir_of(&w->tree, EROFS_ROOT);

        root->mtime_sec = entry->mtime_sec;
        root->mtime_nsec = entry->mtime_nsec;
    }
    if (!layer_path_is_aufs_meta(&w->path))
        r = take_kept(w, entry, e);
    if (r == 0 && entry->type == LAYER_FILE && !w->file.open)
        r = erofs_file_begin(w, entry->path, entry->size, EROFS_NONE, e);
    return r;
}

int erofs_writer_file_end(struct erofs_writer *w, struct error *e)
{
    int r;

    assert(w->file.open);
    r = w->file.keep ? erofs_file_end(w, e) : 0;
    free(w->file.path);
    free(w->file.index);
    w->file = (struct erofs_file){.open = false};
    return r;
}

/* --- All of it --------------------------------------------------------------------------------- */

int erofs_writer_new(const struct erofs_writer_params *p, struct erofs_writer **ret,
                     struct error *e)
{
    struct erofs_writer *w = xcalloc(1, sizeof *w);

    w->fd = p->fd;
    w->no_chunks = p->no_chunks;
    if (erofs_tree_init(&w->tree, p->memory_max ? p->memory_max : MEMORY_MAX) < 0) {
        erofs_writer_free(w);
        return error_set(e, ERR_INVALID, "%zu bytes of memory are too few for a layer",
                         p->memory_max);
    }
    /* Block 0 is for the superblock and the root, and is written last. */
    erofs_out_init(&w->out, p->fd, EROFS_BLOCK, EROFS_OUT_SIZE);
    w->pack.data = xmalloc(EROFS_PACK_BLOCKS * EROFS_BLOCK);
    w->piece = xmalloc(EROFS_PIECE);
    w->xattrs.max = BUF_UNLIMITED;
    *ret = w;
    return 0;
}

void erofs_writer_free(struct erofs_writer *w)
{
    if (!w)
        return;
    erofs_tree_done(&w->tree);
    erofs_out_done(&w->out);
    erofs_share_done(&w->share);
    erofs_xattr_share_done(&w->xattr_share);
    buf_done(&w->xattrs);
    free(w->pack.data);
    free(w->piece);
    free(w->file.path);
    free(w->file.index);
    free(w);
}

int erofs_writer_finish(struct erofs_writer *w, struct erofs_writer_stats *ret, struct error *e)
{
    int r;

    assert(!w->file.open);
    r = erofs_write_folders(w, e);
    if (r == 0 && ret)
        *ret = w->stats;
    return r;
}
