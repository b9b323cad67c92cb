/* SPDX-License-Identifier: Apache-2.0 */
/* Loop devices: see loopdev.h. */
#include "sys/loopdev.h"

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

#define TRIES 64 /* another process may take the free device first */

/* Does this device hold the file? -ENXIO: it holds nothing. */
static int holds(int fd, const struct stat *image)
{
    struct loop_info64 info;

    if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
        return -errno;
    return info.lo_device == image->st_dev && info.lo_inode == image->st_ino;
}

/* The device that has the file already, wherever that was done from. */
static int find_attached(const struct stat *image, int flags, char *ret_name)
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
        (void)snprintf(ret_name, LOOPDEV_NAME_MAX, "/dev/%.20s", de->d_name);
        found = open(ret_name, flags);
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

static int configure(int loop, int image_fd, bool read_only)
{
    struct loop_config c = {
        .fd = (uint32_t)image_fd,
        .block_size = 0,
        .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0)},
    };

    if (ioctl(loop, LOOP_CONFIGURE, &c) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOTTY)
        return configure_old(loop, image_fd, &c.info);
    return -errno;
}

/* The node that devtmpfs makes; where /dev is another one's work it is made here. */
static int open_loop(int n, int flags, char *name)
{
    int fd;

    (void)snprintf(name, LOOPDEV_NAME_MAX, "/dev/loop%d", n);
    fd = open(name, flags);
    if (fd < 0 && errno == ENOENT && mknod(name, S_IFBLK | 0660, makedev(7, (unsigned)n)) == 0)
        fd = open(name, flags);
    return fd < 0 ? -errno : fd;
}

int loopdev_attach(int image_fd, bool read_only, int *ret_fd, char ret_name[LOOPDEV_NAME_MAX],
                   struct error *e)
{
    /* Opened for reading only and with a file that is, the device is read-only. */
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
    AUTOFD int control = -EBADF;
    struct stat st;
    int fd;
    int r = -EBUSY;

    if (fstat(image_fd, &st) < 0)
        return error_set_errno(e, errno, "look at an image file");
    fd = find_attached(&st, flags, ret_name);
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
        fd = open_loop(n, flags, ret_name);
        if (fd < 0)
            return error_set_errno(e, fd, "open %s", ret_name);
        r = configure(fd, image_fd, read_only);
        if (r == 0) {
            *ret_fd = fd;
            return 0;
        }
        (void)close(fd);
    }
    return error_set_errno(e, r, "set up %s", ret_name);
}
