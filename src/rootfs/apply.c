/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a layer: see apply.h.
 *
 * A folder gets its attributes only in layer_apply_finish(): until then it is 0755 root:root without
 * set-group-id bit and default ACL, so that what is made in it inherits nothing, and so that its
 * time stays right. That also makes most chown and chmod calls on files needless.
 */
#include "rootfs/apply.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"

/* Folders whose attributes wait: more than this is no image but an attack on our memory. */
#define PENDING_MAX ((size_t)256 << 20)

/* openat2() gives up with EAGAIN when a rename happens anywhere while it follows "..". */
#define OPEN_TRIES 256

#define CACHE_SLOTS 8

struct layer_apply {
    int root;
    int file; /* the open file between layer_apply_entry() and layer_apply_file_end() */
    struct {
        char *path;
        int fd;
    } cache[CACHE_SLOTS]; /* parent folders that were used last */
    size_t cache_next;
    struct buf pending; /* struct pending_dir, path with NUL, xattrs; once for each folder entry */
    struct layer_path path;
    struct layer_path link;
};

struct pending_dir {
    uint64_t ino; /* what is at the path in the end may be something else */
    uint32_t path_len;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    uint32_t xattr_count; /* each: uint32 name_len, uint32 size, name with NUL, value */
};

/* --- Paths ---------------------------------------------------------------------------------- */

/* Opens the folder as a process in the container would, "" being the root. fd or -errno. */
static int open_dir(const struct layer_apply *a, const char *path)
{
    struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    int fd = -1;

    for (int i = 0; i < OPEN_TRIES; i++) {
        fd = (int)syscall(SYS_openat2, a->root, *path ? path : ".", &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return fd < 0 ? -errno : fd;
}

static void cache_flush(struct layer_apply *a)
{
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
        base_closep(&a->cache[i].fd);
        a->cache[i].fd = -EBADF;
        free(take_ptr(a->cache[i].path));
    }
}

static int cache_find(const struct layer_apply *a, const char *path)
{
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
        if (a->cache[i].path && STREQ(a->cache[i].path, path))
            return a->cache[i].fd;
    }
    return -ENOENT;
}

/* Takes the fd over and gives it back borrowed. */
static int cache_add(struct layer_apply *a, const char *path, int fd)
{
    size_t i = a->cache_next++ % CACHE_SLOTS;

    base_closep(&a->cache[i].fd);
    free(a->cache[i].path);
    a->cache[i].path = xstrdup(path);
    a->cache[i].fd = fd;
    return fd;
}

static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static int set_opaque(int parent, const char *name)
{
    AUTOFD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || fsetxattr(fd, LAYER_OPAQUE_XATTR, "y", 1, 0) < 0)
        return -errno;
    return 0;
}

/* A folder in the place of a whiteout of the same layer: the whiteout still holds for the layers
 * below, which to overlayfs is an opaque folder. */
static int replace_whiteout(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) < 0 || mkdirat(parent, name, 0755) < 0)
        return -errno;
    return set_opaque(parent, name);
}

/* mkdir for a parent that no entry has made. -ENOTDIR when something else is there. */
static int make_missing_dir(int parent, const char *name)
{
    struct stat st;

    if (mkdirat(parent, name, 0755) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return is_whiteout(&st) ? replace_whiteout(parent, name) : -ENOTDIR;
}

/* Makes the folders of `dir` that are missing; fd of the last or -errno. */
static int make_parents(const struct layer_apply *a, const char *dir)
{
    AUTOFREE char *prefix = xstrdup(dir);
    AUTOFD int parent = open_dir(a, "");
    char *name = prefix;

    while (parent >= 0 && *name) {
        char *slash = strchr(name, '/');
        int next;
        int r;

        if (slash)
            *slash = 0;
        next = open_dir(a, prefix);
        if (next == -ENOENT || next == -ENOTDIR) {
            r = make_missing_dir(parent, name);
            next = r < 0 ? r : open_dir(a, prefix);
        }
        base_closep(&parent);
        parent = next;
        if (!slash)
            break;
        *slash = '/';
        name = slash + 1;
    }
    return take_fd(parent);
}

/* The folder the entry goes into, made when missing. Borrowed fd, good until the next call. */
static int open_parent(struct layer_apply *a, const char *entry, const char *dir, struct error *e)
{
    int fd = cache_find(a, dir);

    if (fd >= 0)
        return fd;
    fd = open_dir(a, dir);
    if (fd == -ENOENT || fd == -ENOTDIR)
        fd = make_parents(a, dir);
    if (fd == -ENOTDIR)
        return layer_refuse(entry, e, "is below something that is not a folder");
    if (fd < 0)
        return layer_fail(entry, fd, "open its folder", e);
    return cache_add(a, dir, fd);
}

/* Takes away what is at the name. Folders below it may be in the cache: it is emptied. */
static int clear_place(struct layer_apply *a, const char *entry, int *parent, struct error *e)
{
    int fd = openat(*parent, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return layer_fail(entry, errno, "open its folder", e);
    r = fs_remove_tree(fd, a->path.name);
    cache_flush(a);
    *parent = cache_add(a, a->path.dir, fd);
    return r < 0 ? layer_fail(entry, r, "replace what an earlier entry made", e) : 0;
}

/* --- Attributes ----------------------------------------------------------------------------- */

/* fd, or when it is negative the name in the current folder. */
static int set_xattr(int fd, const char *name, const struct layer_xattr *x)
{
    int r = fd >= 0 ? fsetxattr(fd, x->name, x->value, x->size, 0)
                    : lsetxattr(name, x->name, x->value, x->size, 0);

    if (r == 0)
        return 0;
    /* A file system (or kind of file) that has no such attributes can do without them; file
     * capabilities are part of what a program is. */
    if ((errno == EOPNOTSUPP || errno == EPERM) && !STREQ(x->name, "security.capability"))
        return 0;
    return -errno;
}

static int set_xattrs(int fd, const char *name, const struct layer_entry *entry, struct error *e)
{
    for (size_t i = 0; i < entry->xattr_count; i++) {
        const struct layer_xattr *x = &entry->xattrs[i];
        int r = layer_xattr_is_wanted(x->name) ? set_xattr(fd, name, x) : 0;

        if (r < 0) {
            char what[300];
            char shown[280];

            layer_path_printable(x->name, shown, sizeof shown);
            (void)snprintf(what, sizeof what, "set attribute %s", shown);
            return layer_fail(entry->path, r, what, e);
        }
    }
    return 0;
}

/* Access time is set to the modification time, as the archive says nothing of it. */
static void entry_times(const struct layer_entry *entry, struct timespec out[2])
{
    out[0] = (struct timespec){.tv_sec = entry->mtime_sec, .tv_nsec = entry->mtime_nsec};
    out[1] = out[0];
}

/* chown comes before chmod (it clears set-id bits) and before xattrs (it clears capabilities). */
static int set_fd_attributes(int fd, const struct layer_entry *entry, bool set_mode,
                             struct error *e)
{
    struct timespec times[2];
    int r;

    if ((entry->uid || entry->gid || set_mode) && fchown(fd, entry->uid, entry->gid) < 0)
        return layer_fail(entry->path, errno, "set its owner", e);
    if ((set_mode || (entry->mode & 07000)) && fchmod(fd, entry->mode & 07777) < 0)
        return layer_fail(entry->path, errno, "set its mode", e);
    r = set_xattrs(fd, NULL, entry, e);
    if (r < 0)
        return r;
    entry_times(entry, times);
    if (futimens(fd, times) < 0)
        return layer_fail(entry->path, errno, "set its time", e);
    return 0;
}

/* For what cannot be opened: symlinks, devices, fifos. */
static int set_path_attributes(const struct layer_apply *a, int parent,
                               const struct layer_entry *entry, struct error *e)
{
    const char *name = a->path.name;
    struct timespec times[2];
    int r = 0;

    if ((entry->uid || entry->gid) &&
        fchownat(parent, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return layer_fail(entry->path, errno, "set its owner", e);
    /* Just made by this very process, so that it is no symlink. */
    if (entry->type != LAYER_SYMLINK && (entry->mode & 07000) &&
        fchmodat(parent, name, entry->mode & 07777, 0) < 0)
        return layer_fail(entry->path, errno, "set its mode", e);
    if (entry->xattr_count) {
        r = fchdir(parent) < 0 ? layer_fail(entry->path, errno, "open its folder", e)
                               : set_xattrs(-1, name, entry, e);
        if (fchdir(a->root) < 0 && r == 0)
            r = layer_fail(entry->path, errno, "go back to the layer's root", e);
    }
    if (r < 0)
        return r;
    entry_times(entry, times);
    if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return layer_fail(entry->path, errno, "set its time", e);
    return 0;
}

/* --- Entries -------------------------------------------------------------------------------- */

/* "fd of the parent, after what was there has gone" for a call that failed with EEXIST. */
static int retry_after_clear(struct layer_apply *a, const struct layer_entry *entry, int *parent,
                             bool *retried, struct error *e)
{
    if (errno != EEXIST || *retried)
        return layer_fail(entry->path, errno, "create", e);
    *retried = true;
    return clear_place(a, entry->path, parent, e);
}

static int apply_file(struct layer_apply *a, const struct layer_entry *entry, int parent,
                      struct error *e)
{
    bool retried = false;

    for (;;) {
        int r;

        a->file = openat(parent, a->path.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         entry->mode & 0777);
        if (a->file >= 0)
            return 0;
        r = retry_after_clear(a, entry, &parent, &retried, e);
        if (r < 0)
            return r;
    }
}

static int apply_node(struct layer_apply *a, const struct layer_entry *entry, int parent,
                      struct error *e)
{
    bool retried = false;
    mode_t mode = entry->mode & 0777;
    dev_t dev = 0;
    int r;

    if (entry->type == LAYER_CHAR || entry->type == LAYER_BLOCK) {
        mode |= entry->type == LAYER_CHAR ? S_IFCHR : S_IFBLK;
        dev = makedev(entry->dev_major, entry->dev_minor);
        /* What the kernel cannot hold would become another device. */
        if (entry->dev_major >= 1u << 12 || entry->dev_minor >= 1u << 20)
            return layer_refuse(entry->path, e, "its device number is out of range");
    } else {
        mode |= S_IFIFO;
    }
    while (mknodat(parent, a->path.name, mode, dev) < 0) {
        r = retry_after_clear(a, entry, &parent, &retried, e);
        if (r < 0)
            return r;
    }
    return set_path_attributes(a, parent, entry, e);
}

static int apply_symlink(struct layer_apply *a, const struct layer_entry *entry, int parent,
                         struct error *e)
{
    bool retried = false;
    int r;

    if (str_is_empty(entry->link))
        return layer_refuse(entry->path, e, "a symbolic link to nothing");
    while (symlinkat(entry->link, parent, a->path.name) < 0) {
        r = retry_after_clear(a, entry, &parent, &retried, e);
        if (r < 0)
            return r;
    }
    return set_path_attributes(a, parent, entry, e);
}

static int refuse_link(const struct layer_entry *entry, struct error *e, const char *why)
{
    char to[200];
    char text[300];

    layer_path_printable(entry->link, to, sizeof to);
    (void)snprintf(text, sizeof text, "hard link to \"%s\", %s", to, why);
    return layer_refuse(entry->path, e, text);
}

/* The file a hard link names: its folder (the caller closes it) and what it is. */
static int find_link_target(struct layer_apply *a, const struct layer_entry *entry, int *ret_dir,
                            struct stat *ret_st, struct error *e)
{
    int fd;
    int r = str_is_empty(entry->link) ? -ENOENT : layer_path_clean(entry->link, &a->link);

    if (r == -EXDEV)
        return refuse_link(entry, e, "which climbs out of the layer");
    if (r == -ENAMETOOLONG)
        return refuse_link(entry, e, "a name that is too long");
    fd = r < 0 ? r : open_dir(a, a->link.dir);
    if (fd == -ENOENT || fd == -ENOTDIR)
        return refuse_link(entry, e, "which is not in this layer");
    if (fd < 0)
        return layer_fail(entry->path, fd, "find what it is a hard link to", e);
    if (!*a->link.name || fstatat(fd, a->link.name, ret_st, AT_SYMLINK_NOFOLLOW) < 0 ||
        is_whiteout(ret_st)) {
        (void)close(fd);
        return refuse_link(entry, e, "which is not in this layer");
    }
    if (S_ISDIR(ret_st->st_mode)) {
        (void)close(fd);
        return refuse_link(entry, e, "which is a folder");
    }
    *ret_dir = fd;
    return 0;
}

/* Owner, mode and the rest were set with the file's first name and are left alone: headers of hard
 * links often carry nothing of use, and chown would cost the file its capabilities. */
static int apply_hardlink(struct layer_apply *a, const struct layer_entry *entry, int parent,
                          struct error *e)
{
    AUTOFD int dir = -EBADF;
    bool retried = false;
    struct stat target;
    struct stat here;
    int r = find_link_target(a, entry, &dir, &target, e);

    if (r < 0)
        return r;
    if (fstatat(parent, a->path.name, &here, AT_SYMLINK_NOFOLLOW) == 0 &&
        here.st_ino == target.st_ino && here.st_dev == target.st_dev)
        return 0; /* already the same file, perhaps under the same name */
    while (linkat(dir, a->link.name, parent, a->path.name, 0) < 0) {
        r = retry_after_clear(a, entry, &parent, &retried, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Keeps a folder's attributes for layer_apply_finish(). */
static int remember_dir(struct layer_apply *a, const struct layer_entry *entry, ino_t ino,
                        struct error *e)
{
    struct pending_dir rec = {
        .ino = ino,
        .path_len = (uint32_t)strlen(a->path.text),
        .mode = entry->mode & 07777,
        .uid = entry->uid,
        .gid = entry->gid,
        .mtime_sec = entry->mtime_sec,
        .mtime_nsec = entry->mtime_nsec,
        .xattr_count = (uint32_t)entry->xattr_count,
    };
    int r = buf_append(&a->pending, &rec, sizeof rec);

    if (r == 0)
        r = buf_append(&a->pending, a->path.text, rec.path_len + 1);
    for (size_t i = 0; r == 0 && i < entry->xattr_count; i++) {
        const struct layer_xattr *x = &entry->xattrs[i];
        uint32_t lens[2] = {(uint32_t)strlen(x->name), (uint32_t)x->size};

        r = buf_append(&a->pending, lens, sizeof lens);
        if (r == 0)
            r = buf_append(&a->pending, x->name, lens[0] + 1);
        if (r == 0)
            r = buf_append(&a->pending, x->value, x->size);
    }
    return r < 0 ? layer_refuse(entry->path, e, "the layer has too many folders") : 0;
}

static int apply_dir(struct layer_apply *a, const struct layer_entry *entry, int parent,
                     struct error *e)
{
    const char *name = a->path.name;
    struct stat st;
    int r = 0;

    if (!*name) {
        if (fstat(a->root, &st) < 0)
            return layer_fail("", errno, "read the layer's root", e);
        return remember_dir(a, entry, st.st_ino, e);
    }
    if (mkdirat(parent, name, 0755) < 0) {
        if (errno != EEXIST || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return layer_fail(entry->path, errno, "create", e);
        if (is_whiteout(&st)) {
            r = replace_whiteout(parent, name);
        } else if (!S_ISDIR(st.st_mode)) {
            r = clear_place(a, entry->path, &parent, e);
            if (r < 0)
                return r;
            r = mkdirat(parent, name, 0755) < 0 ? -errno : 0;
        }
        if (r < 0)
            return layer_fail(entry->path, r, "create", e);
    }
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return layer_fail(entry->path, errno, "create", e);
    return remember_dir(a, entry, st.st_ino, e);
}

/*
 * ".wh.NAME": NAME of the layers below is gone. What this same layer has there stays, wherever the
 * two stand in the archive; a folder of it becomes opaque.
 */
static int apply_whiteout(struct layer_apply *a, const struct layer_entry *entry, int parent,
                          struct error *e)
{
    const char *name = a->path.name + strlen(LAYER_WHITEOUT);
    struct stat st;
    int r;

    if (!*name || STREQ(name, ".") || STREQ(name, ".."))
        return layer_refuse(entry->path, e, "a whiteout of nothing");
    if (mknodat(parent, name, S_IFCHR, makedev(0, 0)) == 0)
        return 0;
    if (errno != EEXIST || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return layer_fail(entry->path, errno, "make a whiteout", e);
    r = S_ISDIR(st.st_mode) ? set_opaque(parent, name) : 0;
    return r < 0 ? layer_fail(entry->path, r, "make the folder opaque", e) : 0;
}

static int apply_opaque(const struct layer_entry *entry, int parent, struct error *e)
{
    int r = set_opaque(parent, ".");

    return r < 0 ? layer_fail(entry->path, r, "make its folder opaque", e) : 0;
}

int layer_apply_entry(struct layer_apply *a, const struct layer_entry *entry, int *ret_fd,
                      struct error *e)
{
    static int (*const kinds[LAYER_ENTRY_MAX])(struct layer_apply *, const struct layer_entry *,
                                               int, struct error *) = {
        [LAYER_FILE] = apply_file,       [LAYER_DIR] = apply_dir,
        [LAYER_SYMLINK] = apply_symlink, [LAYER_HARDLINK] = apply_hardlink,
        [LAYER_CHAR] = apply_node,       [LAYER_BLOCK] = apply_node,
        [LAYER_FIFO] = apply_node,
    };
    int (*kind)(struct layer_apply *, const struct layer_entry *, int,
                struct error *) = kinds[entry->type];
    int parent;
    int r = layer_entry_check(entry, e);

    *ret_fd = -EBADF;
    if (r < 0)
        return r;
    r = layer_path_clean(entry->path, &a->path);
    if (r == -EXDEV)
        return layer_refuse(entry->path, e, "climbs out of the layer");
    if (r < 0)
        return layer_refuse(entry->path, e, "the name is too long");
    if (!*a->path.name && entry->type != LAYER_DIR)
        return layer_refuse(entry->path, e, "the layer's root must be a folder");
    if (layer_path_is_aufs_meta(&a->path))
        return 0;
    parent = open_parent(a, entry->path, a->path.dir, e);
    if (parent < 0)
        return parent;
    if (STREQ(a->path.name, LAYER_WHITEOUT_OPQ))
        return apply_opaque(entry, parent, e);
    if (str_has_prefix(a->path.name, LAYER_WHITEOUT))
        kind = apply_whiteout;
    r = kind(a, entry, parent, e);
    if (r == 0)
        *ret_fd = a->file;
    return r;
}

int layer_apply_file_end(struct layer_apply *a, const struct layer_entry *entry, struct error *e)
{
    AUTOFD int fd = take_fd(a->file);

    if (fd < 0)
        return 0;
    /* A hole at the end is made here. */
    if (lseek(fd, 0, SEEK_END) != (off_t)entry->size && ftruncate(fd, (off_t)entry->size) < 0)
        return layer_fail(entry->path, errno, "set its size", e);
    return set_fd_attributes(fd, entry, false, e);
}

/* --- The end -------------------------------------------------------------------------------- */

static void read_bytes(const char **p, void *out, size_t len)
{
    memcpy(out, *p, len);
    *p += len;
}

static int finish_dir(struct layer_apply *a, const struct layer_entry *entry, uint64_t ino,
                      struct error *e)
{
    AUTOFD int fd = -EBADF;
    struct stat st;
    int parent;

    if (layer_path_clean(entry->path, &a->path) < 0)
        return 0;
    parent = cache_find(a, a->path.dir);
    if (parent < 0) {
        parent = open_dir(a, a->path.dir);
        if (parent < 0)
            return 0; /* a later entry replaced it */
        parent = cache_add(a, a->path.dir, parent);
    }
    fd = openat(parent, *a->path.name ? a->path.name : ".",
                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != ino)
        return 0;
    return set_fd_attributes(fd, entry, true, e);
}

int layer_apply_finish(struct layer_apply *a, struct error *e)
{
    const char *p = a->pending.data;
    const char *end = p + a->pending.len;
    struct layer_xattr *xattrs = NULL;
    int r = 0;

    while (r == 0 && p < end) {
        struct pending_dir rec;
        struct layer_entry entry = {.type = LAYER_DIR};

        read_bytes(&p, &rec, sizeof rec);
        entry.path = p;
        p += rec.path_len + 1;
        xattrs = xreallocarray(xattrs, rec.xattr_count + 1, sizeof *xattrs);
        for (uint32_t i = 0; i < rec.xattr_count; i++) {
            uint32_t lens[2];

            read_bytes(&p, lens, sizeof lens);
            xattrs[i] = (struct layer_xattr){p, p + lens[0] + 1, lens[1]};
            p += lens[0] + 1 + lens[1];
        }
        entry.mode = rec.mode;
        entry.uid = rec.uid;
        entry.gid = rec.gid;
        entry.mtime_sec = rec.mtime_sec;
        entry.mtime_nsec = rec.mtime_nsec;
        entry.xattrs = xattrs;
        entry.xattr_count = rec.xattr_count;
        r = finish_dir(a, &entry, rec.ino, e);
    }
    free(xattrs);
    return r;
}

int layer_apply_new(int root_fd, struct layer_apply **ret, struct error *e)
{
    struct layer_apply *a;

    if (fchown(root_fd, 0, 0) < 0 || fchmod(root_fd, 0755) < 0)
        return error_set_errno(e, errno, "prepare the layer's folder");
    a = xcalloc(1, sizeof *a);
    a->root = root_fd;
    a->file = -EBADF;
    a->pending.max = PENDING_MAX;
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        a->cache[i].fd = -EBADF;
    *ret = a;
    return 0;
}

void layer_apply_free(struct layer_apply *a)
{
    if (!a)
        return;
    cache_flush(a);
    base_closep(&a->file);
    buf_done(&a->pending);
    free(a);
}
