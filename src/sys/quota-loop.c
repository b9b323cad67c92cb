/* SPDX-License-Identifier: Apache-2.0 */
/* Loop devices: a file becomes a disk for as long as something uses it. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "sys/quota.h"

#define TRIES 64 /* another process may take the free device first */

/* Linux 3.3, fs/ext4/ext4.h: takes the number of blocks. */
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

/* Does this device hold the file? -ENXIO: it holds nothing. */
static int holds(int fd, const struct stat *image)
{
    struct loop_info64 info;

    if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
        return -errno;
    return info.lo_device == image->st_dev && info.lo_inode == image->st_ino;
}

/* The device that has the file already, wherever that was done from. */
static int find_attached(const struct stat *image, char *ret_name)
{
    DIR *dir = opendir("/sys/block");
    struct dirent *de;
    int found = -ENOENT;

    while (dir && found < 0 && (de = readdir(dir))) {
        char path[300];

        if (!str_has_prefix(de->d_name, "loop"))
            continue;
        (void)snprintf(path, sizeof(path), "/sys/block/%s/loop", de->d_name);
        if (access(path, F_OK) < 0)
            continue; /* free */
        (void)snprintf(ret_name, 32, "/dev/%.20s", de->d_name);
        found = open(ret_name, O_RDWR | O_CLOEXEC);
        if (found >= 0 && holds(found, image) <= 0) {
            (void)close(found);
            found = -ENOENT;
        }
    }
    if (dir)
        (void)closedir(dir);
    return found < 0 ? -ENOENT : found;
}

/* Linux before 5.8 needs two calls. */
static int configure_old(int loop, int image_fd, const struct loop_info64 *info)
{
    int r;

    if (ioctl(loop, LOOP_SET_FD, image_fd) < 0)
        return -errno;
    if (ioctl(loop, LOOP_SET_STATUS64, info) == 0)
        return 0;
    r = -errno;
    (void)ioctl(loop, LOOP_CLR_FD, 0);
    return r;
}

static int configure(int loop, int image_fd)
{
    struct loop_config c = {
        .fd = (uint32_t)image_fd,
        .block_size = 0,
        .info = {.lo_flags = LO_FLAGS_AUTOCLEAR},
    };

    if (ioctl(loop, LOOP_CONFIGURE, &c) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOTTY)
        return configure_old(loop, image_fd, &c.info);
    return -errno;
}

/* The node that devtmpfs makes; where /dev is another one's work it is made here. */
static int open_loop(int n, char *name)
{
    int fd;

    (void)snprintf(name, 32, "/dev/loop%d", n);
    fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && mknod(name, S_IFBLK | 0660, makedev(7, (unsigned)n)) == 0)
        fd = open(name, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int quota_loop_attach(int image_fd, int *ret_fd, char *ret_name, struct error *e)
{
    AUTOFD int control = -EBADF;
    struct stat st;
    int fd;
    int r = -EBUSY;

    if (fstat(image_fd, &st) < 0)
        return error_set_errno(e, errno, "look at an image file");
    fd = find_attached(&st, ret_name);
    if (fd >= 0) {
        *ret_fd = fd;
        return 0;
    }
    control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return error_set_errno(e, errno, "open /dev/loop-control (is the module loop loaded?)");
    for (int i = 0; r == -EBUSY && i < TRIES; i++) {
        int n = ioctl(control, LOOP_CTL_GET_FREE);

        if (n < 0)
            return error_set_errno(e, errno, "get a free loop device");
        fd = open_loop(n, ret_name);
        if (fd < 0)
            return error_set_errno(e, fd, "open %s", ret_name);
        r = configure(fd, image_fd);
        if (r == 0) {
            *ret_fd = fd;
            return 0;
        }
        (void)close(fd);
    }
    return error_set_errno(e, r, "set up %s", ret_name);
}

int quota_loop_grow(int loop_fd, int mount_fd, uint64_t bytes, struct error *e)
{
    uint64_t blocks;
    struct stat st;

    if (ioctl(loop_fd, LOOP_SET_CAPACITY, 0) < 0)
        return error_set_errno(e, errno, "tell the loop device its new size");
    if (fstat(mount_fd, &st) < 0)
        return error_set_errno(e, errno, "look at a mounted image");
    blocks = bytes / (uint64_t)st.st_blksize;
    if (ioctl(mount_fd, EXT4_RESIZE, &blocks) < 0)
        return error_set_errno(e, errno,
                               errno == EPERM ? "grow the file system in an image (the kernel "
                                                "wants CAP_SYS_RESOURCE for that)"
                                              : "grow the file system in an image");
    return 0;
}

bool quota_is_mount_root(const char *path)
{
    struct statx sx;

    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &sx) < 0)
        return false;
    return (sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
           (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}
