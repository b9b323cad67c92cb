/* SPDX-License-Identifier: Apache-2.0 */
/* Files of our own: see fs.h. */
#include "base/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Removes what is in the folder `fd` (taken over). */
static int remove_content(int fd, dev_t dev)
{
    DIR *dir = fdopendir(fd);
    struct dirent *de;
    int r = 0;

    if (!dir) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    while (r == 0 && (de = readdir(dir))) {
        if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
            continue;
        if (de->d_type != DT_DIR && unlinkat(dirfd(dir), de->d_name, 0) == 0)
            continue;
        if (de->d_type != DT_DIR && errno == ENOENT)
            continue;
        if (de->d_type != DT_DIR && errno != EISDIR) {
            r = -errno;
            break;
        }
        int sub = openat(dirfd(dir), de->d_name,
                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        struct stat st;

        if (sub < 0) {
            r = errno == ENOENT ? 0 : -errno;
            continue;
        }
        if (fstat(sub, &st) < 0 || st.st_dev != dev) {
            (void)close(sub);
            r = -EXDEV;
            break;
        }
        r = remove_content(sub, dev);
        if (r == 0 && unlinkat(dirfd(dir), de->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            r = -errno;
    }
    (void)closedir(dir);
    return r;
}

int fs_remove_tree(int dirfd, const char *path)
{
    struct stat st;
    int fd;
    int r;

    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISDIR(st.st_mode))
        return unlinkat(dirfd, path, 0) < 0 && errno != ENOENT ? -errno : 0;
    fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    r = remove_content(fd, st.st_dev);
    if (r == 0 && unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = -errno;
    return r;
}
