/* SPDX-License-Identifier: Apache-2.0 */
/* Mounting EROFS: see erofs.h. */
#include "sys/erofs.h"

#include <endian.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "sys/loopdev.h"

/* fsconfig(2) takes strings of up to 255 bytes. */
#define FSCONFIG_STRING_MAX 255

#define NO_EROFS "this kernel has no EROFS"

#define PROBE_SIZE 4096

const char *sys_erofs_way_name(enum sys_erofs_way way)
{
    return way == SYS_EROFS_FILE ? "file" : way == SYS_EROFS_LOOP ? "loop" : "none";
}

/* What the kernel wrote into the context's log about a failed step; "" when nothing. */
static int fail_fs(int fs, const char *path, int errnum, struct error *e)
{
    char log[512];
    ssize_t n = fs >= 0 ? read(fs, log, sizeof(log) - 1) : 0;

    log[n > 0 ? n : 0] = 0;
    for (size_t len = strlen(log); len > 0 && log[len - 1] == '\n'; len--)
        log[len - 1] = 0;
    /* Lines begin with their severity: "e erofs: …". */
    return error_set_errno(e, errnum, "mount EROFS file %s%s%s", path, *log ? ": " : "",
                           strlen(log) > 2 && log[1] == ' ' ? log + 2 : log);
}

/* source: a file or a block device. */
static int mount_source(const char *source, const char *path, int *ret_fd, struct error *e)
{
    const unsigned attr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    AUTOFD int fs = fsopen("erofs", FSOPEN_CLOEXEC);
    int fd;

    if (fs < 0)
        return errno == ENODEV ? error_set(e, ERR_NOT_SUPPORTED, NO_EROFS)
                               : error_set_errno(e, errno, "mount EROFS");
    if (fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fail_fs(fs, path, errno, e);
    fd = fsmount(fs, FSMOUNT_CLOEXEC, attr);
    if (fd < 0)
        return fail_fs(fs, path, errno, e);
    *ret_fd = fd;
    return 0;
}

static int open_loop(const char *path, int *ret_fd, struct error *e)
{
    AUTOFD int image = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTOFD int loop = -EBADF;
    char name[LOOPDEV_NAME_MAX];
    int r;

    if (image < 0)
        return error_set_errno(e, errno, "open %s", path);
    r = loopdev_attach(image, true, &loop, name, e);
    return r < 0 ? r : mount_source(name, path, ret_fd, e);
}

static int open_file(const char *path, int *ret_fd, struct error *e)
{
    AUTOFD int image = -EBADF;
    char magic[32];

    if (strlen(path) <= FSCONFIG_STRING_MAX)
        return mount_source(path, path, ret_fd, e);
    image = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (image < 0)
        return error_set_errno(e, errno, "open %s", path);
    (void)snprintf(magic, sizeof(magic), "/proc/self/fd/%d", image);
    return mount_source(magic, path, ret_fd, e);
}

int sys_erofs_open(const char *path, enum sys_erofs_way way, int *ret_fd, struct error *e)
{
    switch (way) {
    case SYS_EROFS_FILE:
        return open_file(path, ret_fd, e);
    case SYS_EROFS_LOOP:
        return open_loop(path, ret_fd, e);
    case SYS_EROFS_NONE:
        break;
    }
    return error_set(e, ERR_NOT_SUPPORTED, "mount EROFS file %s: this host cannot", path);
}

/* --- The probe ---------------------------------------------------------------------------------- */

/* The smallest image: superblock, one compact inode with an empty folder in its tail. Numbers from
 * the kernel's fs/erofs/erofs_fs.h. */
static void fill_image(unsigned char *image)
{
    const uint32_t magic = htole32(0xE0F5E1E2);
    const uint16_t nid = htole16((1024 + 128) / 32); /* the root's inode follows the superblock */
    const uint16_t format = htole16(2 << 1);         /* compact, data in the inode's tail */
    const uint16_t mode = htole16(S_IFDIR | 0755);
    const uint16_t links = htole16(2);
    const uint32_t size = htole32(2 * 12 + 3);
    const uint32_t blocks = htole32(1);
    const uint64_t inodes = htole64(1);
    unsigned char *sb = image + 1024, *inode = sb + 128, *dir = inode + 32;

    memset(image, 0, PROBE_SIZE);
    memcpy(sb, &magic, sizeof(magic));
    sb[12] = 12; /* blocks of 2^12 bytes */
    memcpy(sb + 14, &nid, sizeof(nid));
    memcpy(sb + 16, &inodes, sizeof(inodes));
    memcpy(sb + 36, &blocks, sizeof(blocks));
    memcpy(inode, &format, sizeof(format));
    memcpy(inode + 4, &mode, sizeof(mode));
    memcpy(inode + 6, &links, sizeof(links));
    memcpy(inode + 8, &size, sizeof(size));
    for (unsigned i = 0; i < 2; i++) { /* "." and ".." */
        const uint16_t at = htole16((uint16_t)(24 + i));

        memcpy(dir + i * 12, &nid, sizeof(nid));
        memcpy(dir + i * 12 + 8, &at, sizeof(at));
        dir[i * 12 + 10] = 2; /* folder */
    }
    memcpy(dir + 24, "...", 3);
}

static bool works(const char *path, enum sys_erofs_way way, struct error *e)
{
    AUTOFD int fd = -EBADF;
    struct stat st;
    int r = sys_erofs_open(path, way, &fd, e);

    if (r == 0 && (fstatat(fd, "..", &st, 0) < 0 || !S_ISDIR(st.st_mode)))
        r = error_set(e, ERR_NOT_SUPPORTED, "an EROFS mount shows nothing");
    return r == 0;
}

int sys_erofs_probe(const char *dir, enum sys_erofs_way *ret, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/.probe-erofs-XXXXXX", dir);
    AUTOFREE unsigned char *image = xmalloc(PROBE_SIZE);
    AUTO(error) struct error file_error = ERROR_INIT;
    AUTOFD int fs = fsopen("erofs", FSOPEN_CLOEXEC);
    AUTOFD int fd = -EBADF;
    int r;

    if (fs < 0 && errno == ENODEV) {
        *ret = SYS_EROFS_NONE;
        (void)error_set(e, ERR_NOT_SUPPORTED, NO_EROFS);
        return 0;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, errno, "make a file in %s", dir);
    fill_image(image);
    r = fs_write_all(fd, image, PROBE_SIZE);
    if (r < 0) {
        (void)error_set_errno(e, r, "write %s", path);
    } else if (works(path, SYS_EROFS_FILE, &file_error)) {
        *ret = SYS_EROFS_FILE;
    } else {
        *ret = works(path, SYS_EROFS_LOOP, e) ? SYS_EROFS_LOOP : SYS_EROFS_NONE;
    }
    (void)unlink(path);
    return r;
}
