/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody could do who has taken over pouch-image: a library for LD_PRELOAD that lets the real
 * worker make its layer files and then spoils them, as it closes them and before pouchd hears of it.
 * SABOTAGE names what is done; the superblock's checksum is right afterwards.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "erofs/format.h"

#define ROOT_OFFSET (EROFS_SUPER_OFFSET + sizeof(struct erofs_disk_super))

static void put(int fd, uint64_t at, const void *data, size_t len)
{
    if (pwrite(fd, data, len, (off_t)at) != (ssize_t)len)
        abort();
}

static void put_checksum(int fd)
{
    unsigned char block[EROFS_BLOCK];
    const uint32_t zero = 0;
    const uint64_t at = EROFS_SUPER_OFFSET + offsetof(struct erofs_disk_super, checksum);
    uint32_t crc;

    put(fd, at, &zero, sizeof zero);
    if (pread(fd, block, sizeof block, 0) != sizeof block)
        abort();
    crc = erofs_crc32c(UINT32_MAX, block + EROFS_SUPER_OFFSET, EROFS_BLOCK - EROFS_SUPER_OFFSET);
    crc = htole32(crc);
    put(fd, at, &crc, sizeof crc);
}

/* The root folder's names lead back to the root. */
static void make_loop(int fd)
{
    unsigned char block[EROFS_BLOCK];
    struct erofs_disk_inode root;
    const uint64_t nid = htole64(ROOT_OFFSET / EROFS_SLOT);
    size_t at = ROOT_OFFSET + sizeof root;
    uint16_t end;

    if (pread(fd, block, sizeof block, 0) != sizeof block)
        abort();
    memcpy(&root, block + ROOT_OFFSET, sizeof root);
    if (root.xattr_count)
        at += sizeof(struct erofs_disk_xattr_head) + 4 * (le16toh(root.xattr_count) - 1u);
    memcpy(&end, block + at + offsetof(struct erofs_disk_dirent, name_offset), sizeof end);
    put(fd, at + le16toh(end) - sizeof(struct erofs_disk_dirent), &nid, sizeof nid);
}

static void spoil(int fd, const char *how)
{
    const uint16_t one = htole16(1);
    const uint32_t lz4 = htole32(1);
    const uint32_t many = htole32(1u << 30);

    if (strcmp(how, "writer") == 0)
        (void)!fcntl(fd, F_DUPFD_CLOEXEC, 100);
    else if (strcmp(how, "map") == 0)
        (void)!mmap(NULL, EROFS_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    else if (strcmp(how, "reserved") == 0)
        put(fd, ROOT_OFFSET + offsetof(struct erofs_disk_inode, reserved), &one, sizeof one);
    else if (strcmp(how, "feature") == 0)
        put(fd, EROFS_SUPER_OFFSET + offsetof(struct erofs_disk_super, feature_incompat), &lz4,
            sizeof lz4);
    else if (strcmp(how, "longer") == 0)
        put(fd, (uint64_t)lseek(fd, 0, SEEK_END) + EROFS_BLOCK, &one, sizeof one);
    else if (strcmp(how, "shorter") == 0)
        put(fd, EROFS_SUPER_OFFSET + offsetof(struct erofs_disk_super, blocks), &many, sizeof many);
    else if (strcmp(how, "loop") == 0)
        make_loop(fd);
    else if (strcmp(how, "nothing") != 0)
        abort();
    put_checksum(fd);
}

/* A descriptor lives as long as somebody has it. */
__attribute__((visibility("default"), noreturn)) void _exit(int status)
{
    const struct timespec long_time = {.tv_sec = 60};
    const char *how = getenv("SABOTAGE");

    if (how && (strcmp(how, "writer") == 0 || strcmp(how, "map") == 0))
        (void)nanosleep(&long_time, NULL);
    (void)syscall(SYS_exit_group, status);
    abort();
}

__attribute__((visibility("default"))) int close(int fd)
{
    static int (*real)(int);
    const char *how = getenv("SABOTAGE");
    struct stat st;
    uint32_t magic = 0;

    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (how && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)EROFS_BLOCK &&
        pread(fd, &magic, sizeof magic, EROFS_SUPER_OFFSET) == sizeof magic &&
        magic == htole32(EROFS_MAGIC))
        spoil(fd, how);
    return real(fd);
}
