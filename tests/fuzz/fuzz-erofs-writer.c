/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The EROFS writer on streams of entries made from the input. Whatever it takes must come out as a
 * file that passes the reader's whole check; as root on a kernel that mounts files, the kernel must
 * mount it too. Files of plain names (the second bit of the input) are remembered and must read back
 * equal, holes and all. (Whole trees are compared in tests/unit/erofs.)
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "erofs/erofs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input, taken byte by byte; zeros after its end. */
static const uint8_t *in;
static size_t in_len;

static unsigned take(void)
{
    if (in_len == 0)
        return 0;
    in_len--;
    return *in++;
}

static void take_path(char *out, size_t size)
{
    static const char *const parts[16] = {"a",
                                          "b",
                                          "c",
                                          "..",
                                          ".",
                                          "",
                                          ".wh.a",
                                          ".wh.b",
                                          ".wh..wh..opq",
                                          "a",
                                          "b",
                                          "dir",
                                          "name with\nline",
                                          "\xff",
                                          "!",
                                          ".wh..wh.plnk"};
    unsigned n = take();
    size_t len = 0;

    out[0] = 0;
    for (unsigned i = 0; i <= (n & 3); i++)
        len += (size_t)snprintf(out + len, size - len, "%s%s", i ? "/" : "", parts[take() & 15]);
    if (n >= 250) { /* a long one */
        memset(out, 'n', 200 + n - 190);
        out[200 + n - 190] = 0;
    }
}

static uint64_t take_size(void)
{
    static const uint64_t sizes[8] = {0, 1, 4033, 4096, 65536, 200000, 5ULL << 30, 1ULL << 45};

    return sizes[take() & 7] + take();
}

/* What the files of plain names are. */
struct piece {
    uint64_t offset;
    size_t len;
    int fill;
};
static struct made {
    char path[24];
    uint64_t size;
    uint32_t mode, uid;
    struct piece pieces[8];
    unsigned n;
} made[64];
static unsigned nmade;
static bool plain;

static void must(bool good, const char *what, const struct made *m, uint64_t offset)
{
    if (good)
        return;
    (void)fprintf(stderr, "%s: %s at %llu\n", m->path, what, (unsigned long long)offset);
    abort();
}

static void must_be(struct erofs_reader *r, const struct erofs_inode *inode, const struct made *m,
                    uint64_t offset, uint64_t len, int fill)
{
    static unsigned char got[70000];

    must(len <= sizeof got &&
             erofs_reader_read(r, inode, offset, got, (size_t)len, NULL) == (ssize_t)len,
         "it is short", m, offset);
    for (size_t i = 0; i < len; i++)
        must(got[i] == fill, "it is not what was written", m, offset + i);
}

static void read_back(struct erofs_reader *r)
{
    for (unsigned i = 0; i < nmade; i++) {
        const struct made *m = &made[i];
        struct erofs_inode inode;
        uint64_t at = 0;

        must(erofs_reader_lookup(r, m->path, false, &inode, NULL) >= 0, "it is gone", m, 0);
        must(S_ISREG(inode.mode) && (inode.mode & 07777) == (m->mode & 07777), "mode", m, 0);
        must(inode.size == m->size && inode.uid == m->uid, "size or owner", m, 0);
        for (unsigned k = 0; k <= m->n; k++) {
            uint64_t end = k < m->n ? m->pieces[k].offset : m->size;
            uint64_t hole = end - at > 5000 ? 5000 : end - at;
            must_be(r, &inode, m, at, hole, 0);
            must_be(r, &inode, m, end - hole, hole, 0);
            if (k < m->n)
                must_be(r, &inode, m, end, m->pieces[k].len, m->pieces[k].fill);
            at = k < m->n ? end + m->pieces[k].len : at;
        }
    }
}

/* Pieces of content, with holes; the same bytes often, so that sharing happens. */
static int put_content(struct erofs_writer *w, uint64_t size, struct error *e)
{
    static unsigned char part[70000];
    uint64_t offset = 0;
    unsigned n = take() & 7;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < n; i++) {
        unsigned what = take();
        size_t len = what & 1 ? 65536 : (size_t)take() * 257;

        offset += what & 2 ? (uint64_t)take() << (what >> 4) : 0;
        if (offset >= size)
            break;
        if (len > size - offset)
            len = (size_t)(size - offset);
        int fill = what & 4 ? 0 : (int)(what >> 3 & 3) + 1;
        memset(part, fill, len);
        if (plain)
            made[nmade].pieces[made[nmade].n++] = (struct piece){offset, len, fill};
        r = erofs_writer_data(w, offset, part, len, e);
        offset += len;
    }
    return r;
}

static int put_entry(struct erofs_writer *w, struct error *e)
{
    static const char *const names[8] = {"user.a",
                                         "trusted.b",
                                         "security.capability",
                                         "system.posix_acl_access",
                                         "system.posix_acl_default",
                                         "user.overlay.c",
                                         "user.",
                                         "trusted.a"};
    static uint8_t value[512];
    struct layer_xattr xattr;
    char path[512];
    char link[512];
    struct layer_entry entry = {.path = path, .link = link, .xattrs = &xattr};
    unsigned flags = take();
    int r;

    entry.type = (enum layer_entry_type)(take() % LAYER_ENTRY_MAX);
    take_path(path, sizeof path);
    take_path(link, sizeof link);
    entry.mode = take() << 4;
    entry.uid = take() == 255 ? UINT32_MAX : take();
    entry.dev_major = take();
    entry.dev_minor = take() << 13;
    entry.mtime_nsec = take() << 22;
    if (flags & 1) {
        xattr.name = names[flags >> 1 & 7];
        xattr.size = flags & 16 ? 508 : take() & 63;
        for (size_t i = 0; i < xattr.size && i < 64; i++)
            value[i] = (uint8_t)take();
        xattr.value = value;
        entry.xattr_count = 1;
    }
    if (entry.type == LAYER_FILE && !plain)
        entry.size = take_size();
    if (plain) {
        struct made *m = &made[nmade];
        entry.type = LAYER_FILE;
        entry.size = take_size();
        (void)snprintf(path, sizeof path, "d%u/f%u", nmade % 5, nmade);
        (void)snprintf(m->path, sizeof m->path, "%s", path);
        m->size = entry.size;
        m->mode = entry.mode;
        m->uid = (uint32_t)entry.uid;
        m->n = 0;
    }
    r = erofs_writer_entry(w, &entry, e);
    if (r < 0 || entry.type != LAYER_FILE)
        return r;
    r = put_content(w, entry.size, e);
    nmade += plain;
    return r < 0 ? r : erofs_writer_file_end(w, e);
}

static bool can_mount = true;

static void check_kernel(int fd)
{
    int fs = can_mount ? fsopen("erofs", FSOPEN_CLOEXEC) : -1;
    char path[64];
    int mnt = -1;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "source", path, 0) == 0 &&
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
    else if (fs < 0 || errno == ENOTBLK || errno == EPERM)
        can_mount = false;
    else
        abort();
    if (mnt >= 0)
        (void)close(mnt);
    if (fs >= 0)
        (void)close(fs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFD int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct erofs_writer_params params = {.fd = fd, .memory_max = 4 << 20};
    AUTOPTR(erofs_writer) struct erofs_writer *w = NULL;
    AUTOPTR(erofs_reader) struct erofs_reader *reader = NULL;
    struct error e = ERROR_INIT;
    struct erofs_writer_stats stats;
    struct stat st;
    int r;

    in = data;
    in_len = size;
    if (fd < 0)
        abort();
    unsigned mode = take();
    params.no_chunks = mode & 1;
    plain = mode & 2;
    nmade = 0;
    r = erofs_writer_new(&params, &w, &e);
    while (r == 0 && in_len > 0 && nmade < sizeof made / sizeof *made)
        r = put_entry(w, &e);
    if (r == 0)
        r = erofs_writer_finish(w, &stats, &e);
    if (r < 0) { /* refused with one line, and never a file that mounts */
        if (e.code == ERR_NONE || strchr(error_message(&e), '\n') ||
            erofs_reader_open(fd, &reader, NULL) == 0) {
            (void)fprintf(stderr, "%s\n", error_message(&e));
            abort();
        }
        error_done(&e);
        return 0;
    }
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != stats.size) {
        (void)fprintf(stderr, "size %lld, not %llu\n", (long long)st.st_size,
                      (unsigned long long)stats.size);
        abort();
    }
    if (erofs_reader_open(fd, &reader, &e) < 0 || erofs_reader_check_own(reader, &e) < 0) {
        (void)fprintf(stderr, "%s\n", error_message(&e));
        abort();
    }
    read_back(reader);
    check_kernel(fd);
    return 0;
}
