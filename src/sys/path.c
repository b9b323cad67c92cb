/* SPDX-License-Identifier: Apache-2.0 */
/* Walking paths inside a container's root: see path.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sys/path.h"

int path_open_in(int rootfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
    };
    long fd;

    /* -EAGAIN: a rename elsewhere raced with a ".." in the path; trying again is all there is. */
    for (int i = 0; i < 128; i++) {
        fd = syscall(SYS_openat2, rootfd, *path ? path : "/", &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return fd < 0 ? -errno : (int)fd;
}

/* One component below an open folder. The name itself may be a symlink (within the root). */
static int make_one_dir(int rootfd, const char *walked, int parent, const char *name, mode_t mode,
                        uid_t uid, gid_t gid)
{
    int fd;

    if (mkdirat(parent, name, mode) < 0) {
        if (errno != EEXIST)
            return -errno;
    } else if (uid || gid) {
        if (fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
    }
    fd = path_open_in(rootfd, walked, O_PATH | O_DIRECTORY, 0, 0);
    /* A dangling symlink is there, but what it names is not. */
    return fd == -ENOENT ? -ENOTDIR : fd;
}

int path_mkdir_in(int rootfd, const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    AUTOFREE char *walked = NULL;
    AUTOFD int fd = path_open_in(rootfd, path, O_PATH | O_DIRECTORY, 0, 0);
    char *p;

    if (fd != -ENOENT)
        return take_fd(fd);
    walked = xstrdup(path);
    fd = path_open_in(rootfd, "/", O_PATH | O_DIRECTORY, 0, 0);
    p = walked;
    while (fd >= 0) {
        char *name, *end, saved;
        int next;

        while (*p == '/')
            p++;
        if (!*p)
            return take_fd(fd);
        name = p;
        end = p + strcspn(p, "/");
        saved = *end;
        *end = '\0';
        if (strlen(name) > NAME_MAX)
            return -ENAMETOOLONG;
        next = path_open_in(rootfd, walked, O_PATH | O_DIRECTORY, 0, 0);
        if (next == -ENOENT)
            next = STREQ(name, "..") || STREQ(name, ".")
                       ? -ENOENT
                       : make_one_dir(rootfd, walked, fd, name, mode, uid, gid);
        close(fd);
        fd = next;
        *end = saved;
        p = end;
    }
    return take_fd(fd);
}

int path_parent_in(int rootfd, const char *path, mode_t mode, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    AUTOFREE char *parent = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup("");
    int fd;

    if (!*name || STREQ(name, ".") || STREQ(name, ".."))
        return -EINVAL;
    fd = path_mkdir_in(rootfd, *parent ? parent : "/", mode, 0, 0);
    if (fd >= 0)
        *ret_name = name;
    return fd;
}

int path_make_file_in(int rootfd, const char *path, mode_t mode)
{
    AUTOFD int fd = path_open_in(rootfd, path, O_PATH, 0, 0);
    AUTOFD int parent = -EBADF;
    AUTOFD int made = -EBADF;
    const char *name = NULL;

    if (fd != -ENOENT)
        return take_fd(fd);
    parent = path_parent_in(rootfd, path, 0755, &name);
    if (parent < 0)
        return take_fd(parent);
    made = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                  mode);
    if (made < 0 && errno != EEXIST)
        return -errno;
    fd = path_open_in(rootfd, path, O_PATH, 0, 0);
    return take_fd(fd);
}

const char *path_of_fd(int fd, char out[PATH_FD_MAX])
{
    (void)snprintf(out, PATH_FD_MAX, "/proc/self/fd/%d", fd);
    return out;
}
