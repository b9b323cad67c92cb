/* SPDX-License-Identifier: Apache-2.0 */
/* Images that grow while they are mounted. */
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "sys/quota.h"

/* Linux 3.3, fs/ext4/ext4.h: takes the number of blocks. */
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

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
