/* SPDX-License-Identifier: Apache-2.0 */
/* Files of our own: see fs.h. */
#include "base/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/str.h"

int fs_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
    AUTO(buf) struct buf b = BUF_INIT(max + 1);
    AUTOFD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    for (;;) {
        size_t want = b.len < 4096 ? 4096 : b.len;
        char *p;
        ssize_t n;

        if (want > b.max - b.len)
            want = b.max - b.len;
        p = want ? buf_reserve(&b, want) : NULL;
        if (!p)
            return -EFBIG;
        n = read(fd, p, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        buf_commit(&b, (size_t)n);
    }
    if (b.len > max)
        return -EFBIG;
    if (ret_len)
        *ret_len = b.len;
    *ret = buf_take(&b);
    return 0;
}

int fs_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

ssize_t fs_read_full(int fd, void *data, size_t len)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = read(fd, (char *)data + got, len - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

int fs_write_existing(int dirfd, const char *path, const char *text)
{
    AUTOFD int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    do
        n = write(fd, text, strlen(text));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static int sync_parent(int dirfd, const char *path)
{
    AUTOFREE char *copy = xstrdup(path);
    char *slash = strrchr(copy, '/');
    AUTOFD int fd = -EBADF;

    if (slash && slash > copy)
        *slash = 0;
    fd = openat(dirfd, slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

int fs_write_atomic(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
                    enum fs_sync sync)
{
    AUTOFREE char *tmp = NULL;
    AUTOFD int fd = -EBADF;
    char suffix[17];
    int r;

    random_hex(suffix, 8);
    tmp = xasprintf("%s.tmp-%s", path, suffix);
    fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -errno;
    r = fs_write_all(fd, data, len);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (r == 0 && sync == FS_SYNC && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlinkat(dirfd, tmp, 0);
        return r;
    }
    return sync == FS_SYNC ? sync_parent(dirfd, path) : 0;
}

int fs_mkdir_p(const char *path, mode_t mode)
{
    AUTOFREE char *copy = xstrdup(path);
    struct stat st;

    if (mkdir(path, mode) == 0)
        return 0;
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    if (mkdir(copy, mode) < 0 && errno != EEXIST)
        return -errno;
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* How deep remove_level() goes down with an open folder a level. What lies deeper is renamed into
 * the tree's top folder and removed from there, so that depth costs neither stack nor fds. */
#define REMOVE_DEPTH_MAX 24

/* How much may go. */
struct removal_limit {
    unsigned names;
    uint64_t bytes;
};

struct removal {
    int top;                     /* the folder that is being emptied */
    dev_t dev;                   /* all of it must be on this file system */
    uint64_t lifted;             /* folders moved to the top so far; gives them their names */
    struct removal *outer;       /* of a subvolume: the tree that it lies in */
    const atomic_bool *stop;     /* NULL, or: give up when it gets true */
    struct removal_limit *limit; /* NULL, or what is left of it */
};

/* Clears immutable and append-only: they make unlink and rename fail even for root. Only regular
 * files and folders can have them, and only those are opened. */
static void clear_flags(int dirfd, const char *name)
{
    AUTOFD int fd = -EBADF;
    struct stat st;
    int flags = 0;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return;
    fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return;
    if (!(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
        return;
    flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
    (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* unlinkat() that makes a second try without the flags; -ENOENT is success. */
static int unlink_hard(int dirfd, const char *name, int flags)
{
    if (unlinkat(dirfd, name, flags) == 0 || errno == ENOENT)
        return 0;
    if (errno != EPERM && errno != EACCES)
        return -errno;
    clear_flags(dirfd, name);
    clear_flags(dirfd, ".");
    if (unlinkat(dirfd, name, flags) == 0 || errno == ENOENT)
        return 0;
    return -errno;
}

/* Moves the folder `name` to the top under a name of its own. */
static int lift(struct removal *rm, int dirfd, const char *name)
{
    bool cleared = false;

    for (;;) {
        char to[48];

        (void)snprintf(to, sizeof to, ".removing-%llu", (unsigned long long)rm->lifted++);
        if (renameat(dirfd, name, rm->top, to) == 0 || errno == ENOENT)
            return 0;
        /* The name is taken by something of the tree's own. */
        if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
            continue;
        if ((errno != EPERM && errno != EACCES) || cleared)
            return errno == EBUSY ? -EXDEV : -errno;
        clear_flags(dirfd, name);
        clear_flags(dirfd, ".");
        clear_flags(rm->top, ".");
        cleared = true;
    }
}

static int remove_level(struct removal *rm, int fd, unsigned depth);

/* The root of a mount, not of a subvolume of the same btrfs. */
static bool is_mount(int fd)
{
    struct statx sx;

    return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx) < 0 ||
           !(sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) ||
           (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/*
 * A subvolume of btrfs, which whoever may write to a folder can make in it. It is a tree of its own,
 * as nothing but subvolumes can be renamed out of one; those that lie in it are lifted to the
 * outermost tree, so that nesting costs no stack.
 */
static int remove_subvolume(struct removal *rm, int dirfd, const char *name, int fd /* taken */,
                            dev_t dev)
{
    struct removal inner = {
        .top = fd, .dev = dev, .outer = rm, .stop = rm->stop, .limit = rm->limit};
    int r;

    if (rm->outer) {
        (void)close(fd);
        return lift(rm->outer, dirfd, name);
    }
    r = remove_level(&inner, fd, 0);
    return r < 0 ? r : unlink_hard(dirfd, name, AT_REMOVEDIR);
}

static int remove_folder(struct removal *rm, int dirfd, const char *name, unsigned depth)
{
    struct stat st;
    int sub;
    int r;

    /* An empty folder, the common case at the leaves, costs one call. */
    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == EBUSY)
        return -EXDEV; /* something is mounted there, perhaps a folder of this file system */
    bool no_mount = errno == ENOTEMPTY ||
                    errno == EEXIST; /* the kernel has looked for that before */
    sub = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(sub, &st) < 0 || ((st.st_dev != rm->dev || !no_mount) && is_mount(sub))) {
        (void)close(sub);
        return -EXDEV;
    }
    if (st.st_dev != rm->dev)
        return remove_subvolume(rm, dirfd, name, sub, st.st_dev);
    if (depth >= REMOVE_DEPTH_MAX) {
        (void)close(sub);
        return lift(rm, dirfd, name);
    }
    r = remove_level(rm, sub, depth + 1);
    if (r < 0)
        return r;
    r = unlink_hard(dirfd, name, AT_REMOVEDIR);
    return r == -EBUSY ? -EXDEV : r;
}

/* Whether this one may still go. */
static bool within(struct removal_limit *l, int dirfd, const struct dirent *de)
{
    struct stat st;

    if (l->names == 0)
        return false;
    l->names--;
    if (de->d_type != DT_REG && de->d_type != DT_UNKNOWN)
        return true;
    if (fstatat(dirfd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        st.st_nlink > 1)
        return true;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    if (bytes > l->bytes)
        return false;
    l->bytes -= bytes;
    return true;
}

/* Removes what is in the folder `fd` (taken over). */
static int remove_level(struct removal *rm, int fd, unsigned depth)
{
    DIR *dir = fdopendir(fd);
    struct dirent *de;
    bool found;
    int r = 0;

    if (!dir) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    /* Once more until nothing is found: at the top, what was lifted meanwhile; elsewhere, what a
     * file system skips when a folder changes while it is read. Little is read by one call: there
     * the removal of the folder itself shows whether something came. */
    do {
        found = false;
        rewinddir(dir);
        while (r == 0 && (de = readdir(dir))) {
            if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
                continue;
            found = true;
            if (rm->stop && atomic_load(rm->stop))
                r = -ECANCELED;
            else if (rm->limit && !within(rm->limit, dirfd(dir), de))
                r = -EFBIG;
            else
                r = de->d_type == DT_DIR ? -EISDIR : unlink_hard(dirfd(dir), de->d_name, 0);
            if (r == -EISDIR)
                r = remove_folder(rm, dirfd(dir), de->d_name, depth);
        }
    } while (r == 0 && found && !(rm->limit && rm->lifted == 0));
    (void)closedir(dir);
    return r;
}

static int remove_tree(int dirfd, const char *path, const atomic_bool *stop,
                       struct removal_limit *limit)
{
    struct removal rm = {.stop = stop, .limit = limit};
    struct statx sx;
    struct stat st;
    int fd;
    int r;

    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISDIR(st.st_mode))
        return unlink_hard(dirfd, path, 0);
    fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    rm.top = fd; /* open until remove_level() returns, and not used after */
    rm.dev = st.st_dev;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &sx) == 0 &&
        (sx.stx_attributes_mask & sx.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
        (void)close(fd);
        return -EXDEV;
    }
    r = remove_level(&rm, fd, 0);
    return r < 0 ? r : unlink_hard(dirfd, path, AT_REMOVEDIR);
}

int fs_remove_tree(int dirfd, const char *path)
{
    return remove_tree(dirfd, path, NULL, NULL);
}

int fs_remove_tree_until(int dirfd, const char *path, const atomic_bool *stop)
{
    return remove_tree(dirfd, path, stop, NULL);
}

int fs_remove_tree_little(int dirfd, const char *path, unsigned names, uint64_t bytes)
{
    struct removal_limit limit = {.names = names, .bytes = bytes};
    int r = remove_tree(dirfd, path, NULL, &limit);

    return r == -ENOTEMPTY ? -EFBIG : r; /* somebody still writes there */
}
