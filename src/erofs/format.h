/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EROFS on disk, as far as layers need it: uncompressed, 4 KiB blocks, one device. All numbers are
 * little endian. The format is the kernel's (fs/erofs/erofs_fs.h); the names here are ours.
 *
 * Layout of the file: block 0 holds the superblock and the root's inode; data blocks and blocks of
 * packed inodes follow as the archive comes; folders are last. Inode number = offset / 32, as the
 * "metadata area" begins at 0, so that inodes may be anywhere.
 */
#pragma once

#include <endian.h>
#include <stdint.h>

#define EROFS_BLOCK_BITS 12
#define EROFS_BLOCK      4096u
#define EROFS_SLOT       32u /* inodes are aligned to this */

#define EROFS_SUPER_OFFSET 1024u
#define EROFS_MAGIC        0xe0f5e1e2u

#define EROFS_COMPAT_SB_CHECKSUM 0x1u
#define EROFS_COMPAT_MTIME       0x2u /* the time of inodes is the modification time */
#define EROFS_INCOMPAT_CHUNKED   0x4u /* since Linux 5.15 */

struct erofs_disk_super {
    uint32_t magic;
    uint32_t checksum; /* crc32c of the rest of the block, this field as 0 */
    uint32_t feature_compat;
    uint8_t block_bits;
    uint8_t ext_slots;
    uint16_t root_nid;
    uint64_t inodes;
    uint64_t epoch;
    uint32_t fixed_nsec;
    uint32_t blocks;
    uint32_t meta_block;
    uint32_t xattr_block;
    uint8_t uuid[16];
    uint8_t volume_name[16];
    uint32_t feature_incompat;
    uint16_t compression;
    uint16_t extra_devices;
    uint16_t device_slot;
    uint8_t dir_block_bits;
    uint8_t xattr_prefix_count;
    uint32_t xattr_prefix_start;
    uint64_t packed_nid;
    uint8_t xattr_filter_reserved;
    uint8_t reserved[23];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_super) == 128, "superblock");

/* i_format: bit 0 the inode is an extended one, bits 1 to 3 the layout of its data */
enum erofs_layout {
    EROFS_FLAT_PLAIN = 0,  /* blocks in a row */
    EROFS_FLAT_INLINE = 2, /* the same, and the last, partial one behind the inode */
    EROFS_CHUNKED = 4,     /* an array of block numbers behind the inode */
};
#define EROFS_FORMAT_EXTENDED 1u
#define EROFS_FORMAT_KNOWN    0x0fu
#define EROFS_FORMAT(layout)  ((uint16_t)(EROFS_FORMAT_EXTENDED | (unsigned)(layout) << 1))

/* u of a chunked inode: how many blocks a chunk has, as a power of two */
#define EROFS_CHUNK_BITS_MASK 0x1fu
#define EROFS_CHUNK_INDEXES   0x20u /* 8 bytes an entry instead of 4 */
#define EROFS_CHUNK_KNOWN     0x3fu
#define EROFS_HOLE            UINT32_MAX

struct erofs_disk_inode {
    uint16_t format;
    uint16_t xattr_count; /* n > 0: 12 + 4 (n - 1) bytes of attributes follow */
    uint16_t mode;
    uint16_t reserved;
    uint64_t size;
    uint32_t u; /* flat: first block; device: number; chunked: format */
    uint32_t ino;
    uint32_t uid;
    uint32_t gid;
    int64_t mtime;
    uint32_t mtime_nsec;
    uint32_t nlink;
    uint8_t reserved2[16];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_inode) == 64, "inode");

/* The short form, which other writers use; we only read it. */
struct erofs_disk_compact {
    uint16_t format;
    uint16_t xattr_count;
    uint16_t mode;
    uint16_t nlink;
    uint32_t size;
    uint32_t reserved;
    uint32_t u;
    uint32_t ino;
    uint16_t uid;
    uint16_t gid;
    uint32_t reserved2;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_compact) == 32, "compact inode");

/* Behind the inode when xattr_count > 0: this, shared_count numbers (offset / 4 of an entry anywhere
 * in the file, as the "shared area" begins at 0), and entries, each aligned to 4. */
struct erofs_disk_xattr_head {
    uint32_t name_filter;
    uint8_t shared_count;
    uint8_t reserved[7];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_xattr_head) == 12, "attributes");

struct erofs_disk_xattr {
    uint8_t name_len; /* without the prefix that the index stands for */
    uint8_t name_index;
    uint16_t value_size;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_xattr) == 4, "attribute");

enum erofs_xattr_index {
    EROFS_XATTR_USER = 1,
    EROFS_XATTR_ACL_ACCESS = 2,
    EROFS_XATTR_ACL_DEFAULT = 3,
    EROFS_XATTR_TRUSTED = 4,
    EROFS_XATTR_SECURITY = 6,
};

/* Blocks of a folder: entries, then the names they point at; sorted through all blocks. */
struct erofs_disk_dirent {
    uint64_t nid;
    uint16_t name_offset;
    uint8_t type;
    uint8_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_disk_dirent) == 12, "directory entry");

enum erofs_dirent_type {
    EROFS_TYPE_FILE = 1,
    EROFS_TYPE_DIR = 2,
    EROFS_TYPE_CHAR = 3,
    EROFS_TYPE_BLOCK = 4,
    EROFS_TYPE_FIFO = 5,
    EROFS_TYPE_SOCK = 6,
    EROFS_TYPE_SYMLINK = 7,
};

#define EROFS_NAME_MAX 255u

/* crc32c without the final inversion, as the kernel counts it. */
uint32_t erofs_crc32c(uint32_t crc, const void *data, size_t len);
