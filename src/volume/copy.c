/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy-up: what the image has where a new volume is mounted goes into the volume.
 *
 * The copy is built in a folder of its own beside the volumes and renamed into place, so that a
 * crash leaves a volume empty (and it is filled by the next try) or complete. When containers have the
 * volume mounted its folder must stay the one it is: then the copy's entries are moved into it. Both trees are walked
 * with one open folder each and ".." on the way back: nobody else changes either of them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/str.h"
#include "volume/volume-priv.h"

#define XATTR_NAMES_MAX ((size_t)64 << 10)
#define XATTR_BYTES_MAX ((size_t)64 << 10)
/* An image's folder with more folders waiting than this is not copied. */
#define STEPS_MAX (1u << 20)

struct step {
    char *name; /* go down; NULL: this folder is done, go up */
};

struct copy {
    int from; /* the folders that are being copied */
    int to;
    int to_top;
    struct buf path;   /* of `to`, below the top; for hard links */
    struct map *links; /* "inode" → path of the first name */
    struct step *steps;
    size_t len;
    size_t cap;
};

static void copy_done(struct copy *c)
{
    base_closep(&c->from);
    base_closep(&c->to);
    base_closep(&c->to_top);
    buf_done(&c->path);
    if (c->links)
        map_free(c->links, free);
    while (c->len)
        free(c->steps[--c->len].name);
    free(c->steps);
}

static int push(struct copy *c, char *name)
{
    if (c->len == STEPS_MAX) {
        free(name);
        return -E2BIG;
    }
    if (c->len == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 64;
        c->steps = xreallocarray(c->steps, c->cap, sizeof *c->steps);
    }
    c->steps[c->len++].name = name;
    return 0;
}

/* --- Attributes ----------------------------------------------------------------------------- */

static bool xattr_is_copied(const char *name)
{
    return str_has_prefix(name, "user.") || str_has_prefix(name, "system.posix_acl_") ||
           STREQ(name, "security.capability");
}

/* What the volume's file system cannot hold is left out, but for file capabilities. */
static int copy_xattrs(int from, int to)
{
    AUTOFREE char *names = xmalloc(XATTR_NAMES_MAX);
    AUTOFREE char *value = NULL;
    ssize_t n = flistxattr(from, names, XATTR_NAMES_MAX);

    if (n < 0)
        return errno == EOPNOTSUPP ? 0 : -errno;
    for (char *name = names; name < names + n; name += strlen(name) + 1) {
        ssize_t len;

        if (!xattr_is_copied(name))
            continue;
        if (!value)
            value = xmalloc(XATTR_BYTES_MAX);
        len = fgetxattr(from, name, value, XATTR_BYTES_MAX);
        if (len < 0)
            return -errno;
        if (fsetxattr(to, name, value, (size_t)len, 0) < 0 &&
            (errno != EOPNOTSUPP || STREQ(name, "security.capability")))
            return -errno;
    }
    return 0;
}

/* Of an open file or folder; owner before mode, both before xattrs, times last. */
static int copy_attributes(int from, int to)
{
    struct timespec times[2];
    struct stat st;
    int r;

    if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
        fchmod(to, st.st_mode & 07777) < 0)
        return -errno;
    r = copy_xattrs(from, to);
    if (r < 0)
        return r;
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    return futimens(to, times) < 0 ? -errno : 0;
}

/* Of what cannot be opened. */
static int copy_attributes_at(const struct copy *c, const char *name, const struct stat *st)
{
    struct timespec times[2] = {st->st_atim, st->st_mtim};

    if (fchownat(c->to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISLNK(st->st_mode) && fchmodat(c->to, name, st->st_mode & 07777, 0) < 0)
        return -errno;
    return utimensat(c->to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* --- Content -------------------------------------------------------------------------------- */

static int copy_range(int from, int to, off_t start, off_t end)
{
    while (start < end) {
        off_t out = start;
        ssize_t n = copy_file_range(from, &start, to, &out, (size_t)(end - start), 0);

        if (n < 0 &&
            (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
            if (lseek(to, start, SEEK_SET) < 0)
                return -errno;
            n = sendfile(to, from, &start, (size_t)(end - start));
        }
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break; /* shorter than it said */
    }
    return 0;
}

/* Holes stay holes; a file system that shares blocks is asked to. */
static int copy_data(int from, int to, off_t size)
{
    off_t pos = 0;

    if (size == 0 || ioctl(to, FICLONE, from) == 0)
        return 0;
    while (pos < size) {
        off_t data = lseek(from, pos, SEEK_DATA);
        off_t end;
        int r;

        if (data < 0 && errno == ENXIO)
            break;
        if (data < 0)
            return -errno;
        end = lseek(from, data, SEEK_HOLE);
        if (end < 0)
            return -errno;
        r = copy_range(from, to, data, end);
        if (r < 0)
            return r;
        pos = end;
    }
    return ftruncate(to, size) < 0 ? -errno : 0;
}

static int copy_file(const struct copy *c, const char *name, const struct stat *st)
{
    AUTOFD int from = openat(c->from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    AUTOFD int to = -EBADF;
    int r;

    if (from < 0)
        return -errno;
    to = openat(c->to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    r = copy_data(from, to, st->st_size);
    return r < 0 ? r : copy_attributes(from, to);
}

static int copy_symlink(const struct copy *c, const char *name, const struct stat *st)
{
    char text[PATH_MAX];
    ssize_t n = readlinkat(c->from, name, text, sizeof text);

    if (n < 0 || n == (ssize_t)sizeof text)
        return n < 0 ? -errno : -ENAMETOOLONG;
    text[n] = 0;
    if (symlinkat(text, c->to, name) < 0)
        return -errno;
    return copy_attributes_at(c, name, st);
}

static int copy_node(const struct copy *c, const char *name, const struct stat *st)
{
    if (mknodat(c->to, name, st->st_mode & ~07000u, st->st_rdev) < 0)
        return -errno;
    return copy_attributes_at(c, name, st);
}

/* 1 when the file was linked to a copy that is there already. */
static int try_link(const struct copy *c, const char *name, const struct stat *st)
{
    char key[40];
    char *here;
    const char *first;

    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)st->st_ino);
    first = map_get(c->links, key);
    if (first)
        return linkat(c->to_top, first, c->to, name, 0) < 0 ? -errno : 1;
    here = xasprintf("%s%s", buf_str(&c->path), name);
    (void)map_set(c->links, key, here);
    return 0;
}

static int copy_entry(struct copy *c, const char *name)
{
    struct stat st;
    int r = 0;

    if (fstatat(c->from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return push(c, xstrdup(name));
    if (S_ISSOCK(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev == 0))
        return 0; /* nothing listens; a whiteout, seen when there is only one layer */
    if (st.st_nlink > 1)
        r = try_link(c, name, &st);
    if (r != 0)
        return r < 0 ? r : 0;
    if (S_ISREG(st.st_mode))
        return copy_file(c, name, &st);
    return S_ISLNK(st.st_mode) ? copy_symlink(c, name, &st) : copy_node(c, name, &st);
}

/* --- The walk ------------------------------------------------------------------------------- */

/* Files are copied, folders are put on the list below the mark that leads back up. */
static int copy_folder(struct copy *c)
{
    int fd = openat(c->from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *de;
    int r;

    if (!dir) {
        r = -errno;
        base_closep(&fd);
        return r;
    }
    r = push(c, NULL);
    while (r == 0 && (de = readdir(dir))) {
        if (!STREQ(de->d_name, ".") && !STREQ(de->d_name, ".."))
            r = copy_entry(c, de->d_name);
    }
    (void)closedir(dir);
    return r;
}

static int move_both(struct copy *c, const char *name)
{
    int from = openat(c->from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int to = from < 0 ? -1 : openat(c->to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = -errno;

    if (to < 0) {
        base_closep(&from);
        return r;
    }
    base_closep(&c->from);
    base_closep(&c->to);
    c->from = from;
    c->to = to;
    return 0;
}

static int go_down(struct copy *c, const char *name)
{
    int r;

    if (mkdirat(c->to, name, 0700) < 0)
        return -errno;
    r = move_both(c, name);
    if (r == 0)
        r = buf_printf(&c->path, "%s/", name);
    return r < 0 ? r : copy_folder(c);
}

static int go_up(struct copy *c)
{
    int r = copy_attributes(c->from, c->to);

    if (r < 0 || c->len == 0)
        return r; /* the top is done */
    if (c->path.len) {
        c->path.len--;
        while (c->path.len && c->path.data[c->path.len - 1] != '/')
            c->path.len--;
        c->path.data[c->path.len] = 0;
    }
    return move_both(c, "..");
}

/* Copies the folder `from` into the empty folder `to`. */
static int copy_tree(int from, int to)
{
    CLEANUP(copy_done)
    struct copy c = {
        .from = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .to = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .to_top = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .path = BUF_INIT(1 << 20),
        .links = map_new(),
    };
    int r;

    if (c.from < 0 || c.to < 0 || c.to_top < 0)
        return -EIO;
    r = copy_folder(&c);
    while (r == 0 && c.len) {
        AUTOFREE char *name = c.steps[--c.len].name;

        r = name ? go_down(&c, name) : go_up(&c);
    }
    return r;
}

/* --- Into a volume -------------------------------------------------------------------------- */

/* The image's folder at the destination; -ENOENT when there is none to copy. */
static int open_in_root(int rootfs_fd, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    int fd;

    do
        fd = (int)syscall(SYS_openat2, rootfs_fd, path, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    return fd < 0 ? -errno : fd;
}

/* Removes what a failed copy left in a folder that is not ours to rename. */
static void empty_folder(int to)
{
    int fd = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *de;
    int r = 0;

    if (!dir) {
        base_closep(&fd);
        return;
    }
    while (r == 0 && (de = readdir(dir))) {
        if (!STREQ(de->d_name, ".") && !STREQ(de->d_name, ".."))
            r = fs_remove_tree(to, de->d_name);
    }
    (void)closedir(dir);
}

/* A limited volume's content is a mount or a subvolume, a file system of its own to rename(). */
static bool is_apart(const char *source)
{
    AUTOFREE char *parent = xasprintf("%s/..", source);
    struct stat st;
    struct stat up;

    return stat(source, &st) == 0 && stat(parent, &up) == 0 && st.st_dev != up.st_dev;
}

/* A host folder given by the volume's options, or a file system of its own: it cannot be replaced. */
static int copy_in_place(const struct volume_mount *m, int from, bool alone)
{
    AUTOFD int to = open(m->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = to < 0 ? -errno : copy_tree(from, to);

    if (r < 0 && to >= 0 && alone)
        empty_folder(to);
    return r;
}

/* What is in `from` goes into the folder `to`, which takes its attributes over. Where a container has
 * put something of the same name meanwhile, that counts. */
static int move_entries(int from, const char *path)
{
    AUTOFD int to = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *de;
    int r = 0;

    if (to < 0 || !dir) {
        r = -errno;
        if (dir)
            (void)closedir(dir);
        else
            base_closep(&fd);
        return r;
    }
    while (r == 0 && (de = readdir(dir)))
        if (!STREQ(de->d_name, ".") && !STREQ(de->d_name, "..") &&
            renameat2(from, de->d_name, to, de->d_name, RENAME_NOREPLACE) < 0 && errno != EEXIST)
            r = -errno;
    (void)closedir(dir);
    return r < 0 ? r : copy_attributes(from, to);
}

/* `source` is <volumes>/<name>/_data: the copy grows in <volumes>/.tmp-… */
static int copy_and_rename(const struct volume_mount *m, int from, bool alone)
{
    AUTOFREE char *tmp = NULL;
    AUTOFD int to = -EBADF;
    char suffix[17];
    size_t dir_len = strlen(m->source) - strlen("/_data") - strlen(m->name) - 1;
    int gone;
    int r;

    random_hex(suffix, 8);
    tmp = xasprintf("%.*s/.tmp-%s", (int)dir_len, m->source, suffix);
    if (mkdir(tmp, 0700) < 0)
        return -errno;
    to = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = to < 0 ? -errno : copy_tree(from, to);
    /* Fails when something has been put into the volume meanwhile: then that counts. */
    if (r == 0 && alone && rename(tmp, m->source) == 0)
        return 0;
    if (r == 0 && alone && errno != ENOTEMPTY && errno != EEXIST)
        r = -errno;
    if (r == 0 && !alone)
        r = move_entries(to, m->source);
    gone = fs_remove_tree(AT_FDCWD, tmp);
    if (r == -EXDEV) /* a folder with a project (disk quota) takes nothing over by a rename */
        r = copy_in_place(m, from, alone);
    return r < 0 ? r : gone;
}

int volume_copy_up(const struct volume_mount *m, int rootfs_fd, bool alone, struct error *e)
{
    AUTOFREE char *ours = NULL;
    AUTOFD int from = open_in_root(rootfs_fd, m->destination);
    int r;

    /* A file there: the runtime will say that a folder cannot be mounted on it. */
    if (from == -ENOENT || from == -ENOTDIR)
        return 0;
    if (from < 0)
        return error_set_errno(e, from, "read %s of the image", m->destination);
    ours = xasprintf("/%s/_data", m->name);
    r = str_has_suffix(m->source, ours) && !is_apart(m->source) ? copy_and_rename(m, from, alone)
                                                                : copy_in_place(m, from, alone);
    if (r < 0)
        return error_set_errno(e, r, "copy %s of the image into volume %s", m->destination,
                               m->name);
    return 0;
}
