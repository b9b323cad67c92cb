/* SPDX-License-Identifier: Apache-2.0 */
/* See kit.h. */
#include "kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/map.h"
#include "rootfs/unpack/stream.h"

static void put(struct buf *out, const void *data, size_t len)
{
    assert_int_equal(buf_append(out, data, len), 0);
}

/* --- Entry streams -------------------------------------------------------------------------- */

void kit_head(struct buf *out)
{
    const struct entry_stream_head head = {ENTRY_STREAM_MAGIC, 1};

    put(out, &head, sizeof head);
}

void kit_header(struct buf *out, const struct kit_entry *t, uint64_t size)
{
    bool link = t->type == ENTRY_SYMLINK || t->type == ENTRY_HARDLINK;
    const struct entry_header h = {
        .magic = ENTRY_HEADER_MAGIC,
        .type = (uint8_t)t->type,
        .path_len = (uint16_t)strlen(t->path),
        .link_len = link ? (uint16_t)strlen(t->link) : 0,
        .xattr_count = t->xattr ? 1 : 0,
        .mode = t->mode,
        .uid = t->uid,
        .gid = t->gid,
        .dev_major = t->dev_major,
        .dev_minor = t->dev_minor,
        .size = size,
        .mtime_sec = t->mtime,
        .mtime_nsec = t->nsec,
    };

    put(out, &h, sizeof h);
    put(out, t->path, h.path_len);
    if (link)
        put(out, t->link, h.link_len);
    if (t->xattr) {
        const struct entry_xattr x = {(uint16_t)strlen(t->xattr), 0, (uint32_t)strlen(t->value)};

        put(out, &x, sizeof x);
        put(out, t->xattr, x.name_len);
        put(out, t->value, x.value_len);
    }
}

void kit_chunk(struct buf *out, uint64_t offset, const void *data, uint32_t len)
{
    const struct entry_chunk c = {offset, len};

    put(out, &c, sizeof c);
    put(out, data, len);
}

void kit_end(struct buf *out, uint32_t status)
{
    const struct entry_header h = {.magic = ENTRY_HEADER_MAGIC,
                                   .type = ENTRY_END,
                                   .status = status};

    put(out, &h, sizeof h);
}

void kit_entry(struct buf *out, const struct kit_entry *t)
{
    size_t len = t->type == ENTRY_FILE && t->link ? strlen(t->link) : 0;

    kit_header(out, t, len);
    if (len)
        kit_chunk(out, 0, t->link, (uint32_t)len);
    if (t->type == ENTRY_FILE)
        kit_chunk(out, len, "", 0);
}

void kit_stream(struct buf *out, const struct kit_entry *table)
{
    kit_head(out);
    for (; table->type != ENTRY_END; table++)
        kit_entry(out, table);
    kit_end(out, 0);
}

/* --- Tar ------------------------------------------------------------------------------------ */

static void tar_number(char *field, size_t size, uint64_t value)
{
    (void)snprintf(field, size, "%0*llo", (int)size - 1, (unsigned long long)value);
}

static void tar_block(struct buf *out, char flag, const struct kit_entry *t, const char *path,
                      const void *content, size_t len)
{
    char b[512] = {0};
    char number[24];
    unsigned sum = 0;
    static const char zeros[512];

    (void)snprintf(b, 100, "%s%s", path, flag == '5' ? "/" : "");
    tar_number(b + 100, 8, t->mode);
    tar_number(b + 108, 8, t->uid);
    tar_number(b + 116, 8, t->gid);
    tar_number(b + 124, 12, len);
    tar_number(b + 136, 12, (uint64_t)t->mtime);
    b[156] = flag;
    if (flag == '1' || flag == '2')
        (void)snprintf(b + 157, 100, "%s", t->link);
    memcpy(b + 257, "ustar\00000", 8);
    tar_number(b + 329, 8, t->dev_major);
    tar_number(b + 337, 8, t->dev_minor);
    memset(b + 148, ' ', 8);
    for (size_t i = 0; i < sizeof b; i++)
        sum += (unsigned char)b[i];
    (void)snprintf(number, sizeof number, "%06o", sum);
    memcpy(b + 148, number, 7);
    put(out, b, sizeof b);
    put(out, content, len);
    put(out, zeros, (512 - len % 512) % 512);
}

/* "LEN key=value\n" where LEN counts itself. */
static void pax_record(struct buf *out, const char *key, const char *value)
{
    size_t body = strlen(key) + strlen(value) + 3;
    size_t len = body + 1;
    char digits[24];

    for (;;) {
        size_t n = (size_t)snprintf(digits, sizeof digits, "%zu", len);

        if (body + n == len)
            break;
        len = body + n;
    }
    assert_true(buf_printf(out, "%s %s=%s\n", digits, key, value) >= 0);
}

void kit_tar(struct buf *out, const struct kit_entry *table)
{
    static const char flags[ENTRY_TYPE_MAX] = {
        [ENTRY_FILE] = '0', [ENTRY_DIR] = '5',   [ENTRY_SYMLINK] = '2', [ENTRY_HARDLINK] = '1',
        [ENTRY_CHAR] = '3', [ENTRY_BLOCK] = '4', [ENTRY_FIFO] = '6',
    };
    static const char zeros[1024];

    for (; table->type != ENTRY_END; table++) {
        AUTO(buf) struct buf pax = BUF_INIT(1 << 20);
        struct kit_entry plain = *table;
        const char *content = table->type == ENTRY_FILE && table->link ? table->link : "";
        char text[64];

        (void)snprintf(text, sizeof text, "%lld.%09u", (long long)table->mtime, table->nsec);
        pax_record(&pax, "mtime", text);
        if (strlen(table->path) > 90)
            pax_record(&pax, "path", table->path);
        (void)snprintf(text, sizeof text, "%u", table->uid);
        pax_record(&pax, "uid", text);
        (void)snprintf(text, sizeof text, "%u", table->gid);
        pax_record(&pax, "gid", text);
        if (table->xattr) {
            AUTOFREE char *key = xasprintf("SCHILY.xattr.%s", table->xattr);

            pax_record(&pax, key, table->value);
        }
        plain.uid &= 0777777;
        plain.gid &= 0777777;
        tar_block(out, 'x', &plain, "pax", pax.data, pax.len);
        tar_block(out, flags[table->type], &plain, *table->path ? table->path : ".", content,
                  strlen(content));
    }
    put(out, zeros, sizeof zeros);
}

/* --- Unpacking ------------------------------------------------------------------------------ */

struct feed {
    const struct buf *stream;
    int fd;
};

static void *feed_thread(void *data)
{
    struct feed *f = data;

    /* The reader may stop early: then there is nobody to tell. */
    if (fs_write_all(f->fd, f->stream->data, f->stream->len) < 0)
        f->stream = NULL;
    (void)close(f->fd);
    return NULL;
}

int kit_unpack(const struct buf *stream, int root_fd, bool through_pipe, struct error *e)
{
    struct unpack_counts counts;
    struct feed feed = {.stream = stream};
    pthread_t thread;
    int fds[2];
    int r;

    if (!through_pipe) {
        AUTOFD int fd = memfd_create("stream", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(fs_write_all(fd, stream->data, stream->len), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return unpack_stream(fd, root_fd, &counts, e);
    }
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    feed.fd = fds[1];
    assert_int_equal(pthread_create(&thread, NULL, feed_thread, &feed), 0);
    r = unpack_stream(fds[0], root_fd, &counts, e);
    (void)close(fds[0]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return r;
}

/* --- Manifests ------------------------------------------------------------------------------ */

struct manifest {
    struct buf *out;
    struct map *inodes; /* inode → path of the first name */
    bool times;
};

static uint64_t content_hash(int dir, const char *name)
{
    AUTOFD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t hash = 14695981039346656037ULL;
    unsigned char part[4096];
    ssize_t n;

    assert_true(fd >= 0);
    while ((n = read(fd, part, sizeof part)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            hash = (hash ^ part[i]) * 1099511628211ULL;
    }
    return hash;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In order of names: file systems tell them in orders of their own. */
static void tell_xattrs(struct manifest *m, int fd)
{
    char names[4096];
    ssize_t n = flistxattr(fd, names, sizeof names);
    char *sorted[64];
    size_t count = 0;

    for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1)
        sorted[count++] = name;
    qsort(sorted, count, sizeof *sorted, compare);
    for (size_t i = 0; i < count; i++) {
        char value[512];
        ssize_t len;

        if (strncmp(sorted[i], "security.selinux", 16) == 0)
            continue;
        len = fgetxattr(fd, sorted[i], value, sizeof value);
        (void)buf_printf(m->out, " %s=", sorted[i]);
        for (ssize_t k = 0; k < len; k++)
            (void)buf_printf(m->out, "%02x", (unsigned char)value[k]);
    }
}

static void tell(struct manifest *m, int dir, const char *name, const char *path,
                 const struct stat *st)
{
    char key[32];
    const char *first;

    (void)buf_printf(m->out, "%s %06o %u:%u", path, st->st_mode, st->st_uid, st->st_gid);
    if (m->times)
        (void)buf_printf(m->out, " %lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        (void)buf_printf(m->out, " dev %u,%u", major(st->st_rdev), minor(st->st_rdev));
    if (S_ISLNK(st->st_mode)) {
        char to[4097] = "";

        assert_true(readlinkat(dir, name, to, sizeof to - 1) > 0);
        (void)buf_printf(m->out, " -> %s", to);
    }
    if (S_ISREG(st->st_mode))
        (void)buf_printf(m->out, " %lld bytes %016llx", (long long)st->st_size,
                         (unsigned long long)content_hash(dir, name));
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)st->st_ino);
    first = map_get(m->inodes, key);
    if (!S_ISDIR(st->st_mode) && first)
        (void)buf_printf(m->out, " = %s", first);
    else if (!first)
        (void)map_set(m->inodes, key, xstrdup(path));
    if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
        AUTOFD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

        assert_true(fd >= 0);
        tell_xattrs(m, fd);
    }
    (void)buf_putc(m->out, '\n');
}

static void walk(struct manifest *m, int fd, const char *path)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fdopendir(copy);
    struct dirent *de;
    char **names = NULL;
    size_t n = 0;

    assert_non_null(dir);
    while ((de = readdir(dir))) {
        if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
            continue;
        names = xreallocarray(names, n + 1, sizeof *names);
        names[n++] = xstrdup(de->d_name);
    }
    (void)closedir(dir);
    if (n)
        qsort(names, n, sizeof *names, compare);
    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *sub = xasprintf("%s/%s", path, names[i]);
        struct stat st;

        assert_int_equal(fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW), 0);
        tell(m, fd, names[i], sub, &st);
        if (S_ISDIR(st.st_mode)) {
            AUTOFD int next = openat(fd, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

            assert_true(next >= 0);
            walk(m, next, sub);
        }
        free(names[i]);
    }
    free(names);
}

void kit_manifest(int dir_fd, bool times, struct buf *out)
{
    struct manifest m = {out, map_new(), times};

    walk(&m, dir_fd, "");
    map_free(m.inodes, free);
}
