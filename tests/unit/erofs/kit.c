/* SPDX-License-Identifier: Apache-2.0 */
/* See kit.h. */
#include "kit.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/strv.h"

int erofs_kit_file(void)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void to_layer_entry(const struct kit_entry *t, struct layer_xattr *xattr,
                           struct layer_entry *out)
{
    static const enum layer_entry_type types[ENTRY_TYPE_MAX] = {
        [ENTRY_FILE] = LAYER_FILE,       [ENTRY_DIR] = LAYER_DIR,
        [ENTRY_SYMLINK] = LAYER_SYMLINK, [ENTRY_HARDLINK] = LAYER_HARDLINK,
        [ENTRY_CHAR] = LAYER_CHAR,       [ENTRY_BLOCK] = LAYER_BLOCK,
        [ENTRY_FIFO] = LAYER_FIFO,
    };

    *out = (struct layer_entry){
        .type = types[t->type],
        .path = t->path,
        .link = t->link,
        .mode = t->mode,
        .uid = t->uid,
        .gid = t->gid,
        .dev_major = t->dev_major,
        .dev_minor = t->dev_minor,
        .size = t->type == ENTRY_FILE && t->link ? strlen(t->link) : 0,
        .mtime_sec = t->mtime,
        .mtime_nsec = t->nsec,
    };
    if (t->xattr) {
        *xattr = (struct layer_xattr){t->xattr, t->value, strlen(t->value)};
        out->xattrs = xattr;
        out->xattr_count = 1;
    }
}

int erofs_kit_write(int fd, const struct kit_entry *table, struct erofs_writer_stats *stats,
                    struct error *e)
{
    const struct erofs_writer_params params = {.fd = fd};
    AUTOPTR(erofs_writer) struct erofs_writer *w = NULL;
    int r = erofs_writer_new(&params, &w, e);

    for (; r == 0 && table->type != ENTRY_END; table++) {
        struct layer_xattr xattr;
        struct layer_entry entry;

        to_layer_entry(table, &xattr, &entry);
        r = erofs_writer_entry(w, &entry, e);
        if (r == 0 && table->type == ENTRY_FILE && entry.size)
            r = erofs_writer_data(w, 0, table->link, entry.size, e);
        if (r == 0 && table->type == ENTRY_FILE)
            r = erofs_writer_file_end(w, e);
    }
    return r < 0 ? r : erofs_writer_finish(w, stats, e);
}

/* --- The reader's text --------------------------------------------------------------------------- */

struct told {
    struct erofs_reader *r;
    struct buf *out;
    struct map *inodes;
    bool times;
    char **xattrs;
};

static int take_xattr(void *data, const struct layer_xattr *x)
{
    struct told *t = data;
    AUTO(buf) struct buf text = BUF_INIT(BUF_UNLIMITED);

    (void)buf_printf(&text, " %s=", x->name);
    for (size_t i = 0; i < x->size; i++)
        (void)buf_printf(&text, "%02x", ((const unsigned char *)x->value)[i]);
    strv_push(&t->xattrs, buf_str(&text));
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int tell_xattrs(struct told *t, const struct erofs_inode *i, struct error *e)
{
    int r = erofs_reader_xattrs(t->r, i, take_xattr, t, e);
    size_t n = strv_len(t->xattrs);

    if (n)
        qsort(t->xattrs, n, sizeof *t->xattrs, compare);
    for (size_t k = 0; k < n; k++)
        (void)buf_puts(t->out, t->xattrs[k]);
    strv_free(take_ptr(t->xattrs));
    return r;
}

/* In odd pieces, so that all borders are met. */
static int tell_content(struct told *t, const struct erofs_inode *inode, struct error *e)
{
    uint64_t hash = 14695981039346656037ULL;
    uint64_t offset = 0;
    unsigned char part[5000];
    ssize_t n;

    while ((n = erofs_reader_read(t->r, inode, offset, part, sizeof part, e)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            hash = (hash ^ part[i]) * 1099511628211ULL;
        offset += (uint64_t)n;
    }
    if (n < 0)
        return (int)n;
    assert_int_equal(offset, inode->size);
    (void)buf_printf(t->out, " %lld bytes %016llx", (long long)inode->size,
                     (unsigned long long)hash);
    return 0;
}

static int tell(void *data, const char *path, const struct erofs_inode *i, struct error *e)
{
    struct told *t = data;
    AUTOFREE char *target = NULL;
    const char *first;
    char key[32];
    int r = 0;

    if (!*path)
        return 0;
    (void)buf_printf(t->out, "/%s %06o %u:%u", path, i->mode, i->uid, i->gid);
    if (t->times)
        (void)buf_printf(t->out, " %lld.%09u", (long long)i->mtime_sec, i->mtime_nsec);
    if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
        (void)buf_printf(t->out, " dev %u,%u", i->dev_major, i->dev_minor);
    if (S_ISLNK(i->mode)) {
        r = erofs_reader_readlink(t->r, i, &target, e);
        if (r == 0)
            (void)buf_printf(t->out, " -> %s", target);
    }
    if (S_ISREG(i->mode))
        r = tell_content(t, i, e);
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)i->nid);
    first = map_get(t->inodes, key);
    if (!S_ISDIR(i->mode) && first)
        (void)buf_printf(t->out, " = %s", first);
    else if (!first)
        (void)map_set(t->inodes, key, xasprintf("/%s", path));
    if (r == 0 && (S_ISREG(i->mode) || S_ISDIR(i->mode)))
        r = tell_xattrs(t, i, e);
    (void)buf_putc(t->out, '\n');
    return r;
}

int erofs_kit_manifest(int fd, bool times, struct buf *out, struct error *e)
{
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    struct told t = {.out = out, .inodes = map_new(), .times = times};
    int x = erofs_reader_open(fd, &r, e);

    t.r = r;
    if (x == 0)
        x = erofs_reader_check_own(r, e);
    if (x == 0)
        x = erofs_reader_walk(r, tell, &t, e);
    map_free(t.inodes, free);
    return x;
}

/* --- The kernel's -------------------------------------------------------------------------------- */

int erofs_kit_mount(int fd)
{
    AUTOFD int fs = fsopen("erofs", FSOPEN_CLOEXEC);
    AUTOFREE char *path = xasprintf("/proc/self/fd/%d", fd);
    int mnt;

    if (fs < 0)
        return -ENOTSUP;
    if (fsconfig(fs, FSCONFIG_SET_STRING, "source", path, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return errno == ENOTBLK || errno == EPERM ? -ENOTSUP : -errno;
    mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
    return mnt < 0 ? -errno : mnt;
}

void erofs_kit_assert_same(const struct buf *a, const struct buf *b, const char *what)
{
    AUTOPTR(strv) char **x = strv_split(buf_str(a), "\n", false);
    AUTOPTR(strv) char **y = strv_split(buf_str(b), "\n", false);

    for (size_t i = 0; x[i] || y[i]; i++) {
        if (!x[i] || !y[i] || !STREQ(x[i], y[i]))
            fail_msg("%s\n  %s\n  %s", what, x[i] ? x[i] : "(end)", y[i] ? y[i] : "(end)");
    }
}
