/* SPDX-License-Identifier: Apache-2.0 */
/* See walk.h. */
#include "rootfs/pack/walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/layer.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"

#define PATH_LIMIT 4095
#define READ_SIZE  (256u * 1024)
#define HOLES_MIN  ((off_t)1 << 20) /* holes of a file in all, from which on they are kept */
#define XATTRS_MAX 64
#define PIECES_MAX 4096
#define LINKS_MAX  (4u << 20)

struct attributes {
    struct tarw_xattr items[XATTRS_MAX];
    char *names;
    char *values[XATTRS_MAX];
    size_t len;
    bool opaque; /* the folder hides what is below */
};

/* A folder whose own entry is not written yet: it is when something in it is. */
struct pending {
    struct pending *parent;
    size_t path_len;
    struct stat st;
    struct attributes attributes;
    bool written;
    bool skipped; /* something in it was left out: its time says nothing */
    bool in_lower;
};

struct walk {
    const struct pack_params *p;
    struct tarw tar;
    struct map *links; /* "dev:ino" → path */
    char path[PATH_LIMIT + 2];
    size_t len;
    unsigned char *data;
    struct pending *pending;
    struct error *e;
};

/* --- Errors ------------------------------------------------------------------------------------ */

static int write_failed(struct walk *w, int r)
{
    return error_set_errno(w->e, r, "cannot pass /%.200s on", w->path);
}

static int read_failed(struct walk *w, int errnum)
{
    return error_set_errno(w->e, errnum, "cannot read /%.200s", w->path);
}

/* --- Extended attributes ---------------------------------------------------------------------------- */

static void attributes_done(struct attributes *a)
{
    for (size_t i = 0; i < a->len; i++)
        free(a->values[i]);
    free(a->names);
    memset(a, 0, sizeof(*a));
}

static bool is_wanted(const char *name)
{
    if (str_has_prefix(name, "trusted.overlay.") || str_has_prefix(name, "user.overlay."))
        return false;
    return str_has_prefix(name, "user.") || str_has_prefix(name, "trusted.") ||
           STREQ(name, "security.capability") || STREQ(name, "security.ima") ||
           str_has_prefix(name, "system.posix_acl_");
}

static int by_name(const void *a, const void *b)
{
    const struct tarw_xattr *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* The value of one attribute: its size, 0 when it went away. */
static int read_value(struct walk *w, const char *file, const char *name, char **ret,
                      size_t *ret_len)
{
    for (int tries = 0; tries < 5; tries++) {
        ssize_t n = lgetxattr(file, name, NULL, 0);

        if (n < 0)
            return errno == ENODATA || errno == ENOENT ? 0 : read_failed(w, errno);
        AUTOFREE char *value = xmalloc((size_t)n + 1);
        n = lgetxattr(file, name, value, (size_t)n);
        if (n < 0 && errno == ERANGE)
            continue;
        if (n < 0)
            return errno == ENODATA || errno == ENOENT ? 0 : read_failed(w, errno);
        *ret = take_ptr(value);
        *ret_len = (size_t)n;
        return 1;
    }
    return 0;
}

/* Of the file in the current folder; it may vanish meanwhile. */
static int read_attributes(struct walk *w, const char *file, struct attributes *a)
{
    ssize_t n = llistxattr(file, NULL, 0);

    if (n <= 0)
        return n == 0 || errno == ENOTSUP || errno == ENOENT ? 0 : read_failed(w, errno);
    a->names = xmalloc((size_t)n + 256);
    n = llistxattr(file, a->names, (size_t)n + 255);
    if (n < 0)
        return errno == ENOENT ? 0 : read_failed(w, errno);
    a->names[n] = '\0';
    for (const char *name = a->names; name < a->names + n; name += strlen(name) + 1) {
        char *value = NULL;
        size_t len = 0;
        bool opaque = STREQ(name, LAYER_OPAQUE_XATTR);

        if (!opaque && !is_wanted(name))
            continue;
        int r = read_value(w, file, name, &value, &len);
        if (r < 0)
            return r;
        if (r > 0 && opaque) {
            a->opaque = len == 1 && *value == 'y';
            free(value);
        } else if (r > 0) {
            if (a->len == XATTRS_MAX) {
                free(value);
                return error_set(w->e, ERR_INVALID, "/%.200s has more than %d extended attributes",
                                 w->path, XATTRS_MAX);
            }
            a->values[a->len] = value;
            a->items[a->len++] = (struct tarw_xattr){name, value, len};
        }
    }
    qsort(a->items, a->len, sizeof(*a->items), by_name);
    return 0;
}

/* --- What lies below ----------------------------------------------------------------------------------- */

/* The same path in the lower layers: 1, 0. */
static bool look_below(const struct walk *w, struct stat *ret)
{
    const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};

    if (w->p->lower_fd < 0)
        return false;
    AUTOFD int fd = (int)syscall(SYS_openat2, w->p->lower_fd, w->path, &how, sizeof(how));
    return fd >= 0 && fstat(fd, ret) == 0;
}

/* --- Writing entries ------------------------------------------------------------------------------------ */

static int put_change(struct walk *w, char kind)
{
    char head[2] = {kind, '/'};
    int r = w->p->write(w->p->write_data, head, sizeof(head));

    if (r >= 0)
        r = w->p->write(w->p->write_data, w->path, w->len + 1);
    return r < 0 ? write_failed(w, r) : 0;
}

static struct tarw_entry make_entry(const struct stat *st, enum tarw_type type, const char *path,
                                    const struct attributes *a)
{
    return (struct tarw_entry){
        .type = type,
        .path = path,
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .mtime = st->st_mtim.tv_sec,
        .xattrs = a ? a->items : NULL,
        .nxattrs = a ? a->len : 0,
    };
}

static int put_folder(struct walk *w, const struct pending *f)
{
    AUTOFREE char *path = xasprintf("%.*s/", (int)f->path_len, w->path);
    const struct tarw_entry entry = make_entry(&f->st, TARW_DIR, path, &f->attributes);
    int r = tarw_entry(&w->tar, &entry);

    if (r >= 0 && f->attributes.opaque && w->p->mode == PACK_DIFF) {
        AUTOFREE char *mark = xasprintf("%s" LAYER_WHITEOUT_OPQ, path);
        struct tarw_entry opaque = make_entry(&f->st, TARW_FILE, mark, NULL);

        opaque.mode = 0600;
        r = tarw_entry(&w->tar, &opaque);
    }
    return r < 0 ? write_failed(w, r) : 0;
}

/* Writes the folders above that are not written yet, top first. */
static int flush_pending(struct walk *w, struct pending *f)
{
    int r;

    if (!f || f->written)
        return 0;
    r = flush_pending(w, f->parent);
    if (r < 0)
        return r;
    f->written = true;
    if (w->p->mode != PACK_CHANGES)
        return put_folder(w, f);
    char saved = w->path[f->path_len];
    size_t len = w->len;

    w->path[f->path_len] = '\0';
    w->len = f->path_len;
    r = put_change(w, f->in_lower ? 'C' : 'A');
    w->path[f->path_len] = saved;
    w->len = len;
    return r;
}

static int put_whiteout(struct walk *w, const char *name, const struct stat *st)
{
    struct stat below;

    if (!look_below(w, &below))
        return 0; /* it hides nothing */
    int r = flush_pending(w, w->pending);
    if (r < 0 || w->p->mode == PACK_CHANGES)
        return r < 0 ? r : put_change(w, 'D');
    AUTOFREE char *path = xasprintf("%.*s" LAYER_WHITEOUT "%s", (int)(w->len - strlen(name)),
                                    w->path, name);
    struct tarw_entry entry = make_entry(st, TARW_FILE, path, NULL);
    entry.mode = 0600;
    r = tarw_entry(&w->tar, &entry);
    return r < 0 ? write_failed(w, r) : 0;
}

#define LINK_KEY_MAX 48

static void link_key(const struct stat *st, char key[LINK_KEY_MAX])
{
    (void)snprintf(key, LINK_KEY_MAX, "%jx:%jx", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino);
}

/* Another name of this file that was written already; else remembers this one. */
static int find_link(struct walk *w, const struct stat *st, const char **ret)
{
    char key[LINK_KEY_MAX];

    *ret = NULL;
    if (st->st_nlink < 2)
        return 0;
    link_key(st, key);
    *ret = map_get(w->links, key);
    if (!*ret && map_len(w->links) >= LINKS_MAX)
        return error_set(w->e, ERR_TOO_LARGE, "more than %u files have several names", LINKS_MAX);
    if (!*ret)
        (void)map_set(w->links, key, xstrdup(w->path));
    return 0;
}

static void forget_link(struct walk *w, const struct stat *st)
{
    char key[LINK_KEY_MAX];

    link_key(st, key);
    free(map_remove(w->links, key));
}

/* --- Content of files ------------------------------------------------------------------------------------ */

static int copy_range(struct walk *w, int fd, off_t at, uint64_t len)
{
    int r = 0;

    while (r >= 0 && len > 0) {
        size_t want = len < READ_SIZE ? (size_t)len : READ_SIZE;
        ssize_t n = pread(fd, w->data, want, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return read_failed(w, errno);
        if (n == 0) { /* it was cut meanwhile: zeros up to the size that was said */
            memset(w->data, 0, want);
            n = (ssize_t)want;
        }
        r = tarw_data(&w->tar, w->data, (size_t)n);
        at += n;
        len -= (uint64_t)n;
    }
    return r < 0 ? write_failed(w, r) : 0;
}

/* Finds where a file has data, when enough of it has none. 0: it is to be read as a whole. */
static size_t find_pieces(const struct stat *st, int fd, struct tarw_piece *pieces)
{
    off_t at = 0, data, hole, holes = 0;
    size_t n = 0;

    if (st->st_size - st->st_blocks * 512 < HOLES_MIN)
        return 0;
    while (at < st->st_size && n < PIECES_MAX - 1) {
        data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            data = st->st_size;
        if (data < 0)
            return 0;
        if (data > st->st_size)
            data = st->st_size;
        holes += data - at;
        if (data == st->st_size)
            break;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            return 0;
        if (hole > st->st_size)
            hole = st->st_size;
        pieces[n++] = (struct tarw_piece){(uint64_t)data, (uint64_t)(hole - data)};
        at = hole;
    }
    if (holes < HOLES_MIN || n == PIECES_MAX - 1)
        return 0;
    pieces[n++] = (struct tarw_piece){(uint64_t)st->st_size, 0}; /* where the file ends */
    return n;
}

/* 1: it is written; 0: it is not there any more. */
static int put_file(struct walk *w, int dir, const char *name, struct stat *st,
                    const struct attributes *a)
{
    AUTOFREE struct tarw_piece *pieces = NULL;
    AUTOFD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat now;
    int r;

    if (fd < 0 && (errno == ENOENT || errno == ELOOP))
        return 0; /* it went, or became something else: this moment's tree has no such file */
    if (fd < 0 || fstat(fd, &now) < 0)
        return read_failed(w, errno);
    if (!S_ISREG(now.st_mode))
        return 0;
    st->st_size = now.st_size;
    st->st_blocks = now.st_blocks;
    struct tarw_entry entry = make_entry(st, TARW_FILE, w->path, a);
    entry.size = (uint64_t)st->st_size;
    if (w->p->mode == PACK_TREE && st->st_size >= HOLES_MIN) {
        pieces = xcalloc(PIECES_MAX, sizeof(*pieces));
        entry.npieces = find_pieces(st, fd, pieces);
        entry.pieces = pieces;
        entry.sparse = entry.npieces > 0;
    }
    r = tarw_entry(&w->tar, &entry);
    if (r < 0)
        return write_failed(w, r);
    if (!entry.sparse)
        r = copy_range(w, fd, 0, entry.size);
    for (size_t i = 0; entry.sparse && r >= 0 && i < entry.npieces; i++)
        r = copy_range(w, fd, (off_t)entry.pieces[i].offset, entry.pieces[i].len);
    if (r >= 0 && (r = tarw_pad(&w->tar)) < 0)
        r = write_failed(w, r);
    return r < 0 ? r : 1;
}

static int put_special(struct walk *w, int dir, const char *name, const struct stat *st,
                       const struct attributes *a)
{
    char target[PATH_LIMIT + 1];
    struct tarw_entry entry = make_entry(st, TARW_FIFO, w->path, a);

    if (S_ISLNK(st->st_mode)) {
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

        if (n < 0)
            return errno == ENOENT || errno == EINVAL ? 0 : read_failed(w, errno);
        target[n] = '\0';
        entry.type = TARW_SYMLINK;
        entry.link = target;
        entry.mode = 0777;
    } else if (!S_ISFIFO(st->st_mode)) {
        entry.type = S_ISCHR(st->st_mode) ? TARW_CHAR : TARW_BLOCK;
        entry.dev_major = major(st->st_rdev);
        entry.dev_minor = minor(st->st_rdev);
    }
    int r = tarw_entry(&w->tar, &entry);
    return r < 0 ? write_failed(w, r) : 1;
}

static int put_other(struct walk *w, int dir, const char *name, struct stat *st)
{
    CLEANUP(attributes_done) struct attributes a = {.names = NULL};
    const char *first = NULL;
    struct stat below;
    int r;

    if (S_ISSOCK(st->st_mode))
        return 0;
    r = flush_pending(w, w->pending);
    if (r < 0)
        return r;
    if (w->p->mode == PACK_CHANGES)
        return put_change(w, look_below(w, &below) ? 'C' : 'A');
    r = find_link(w, st, &first);
    if (r < 0)
        return r;
    if (first) {
        struct tarw_entry entry = make_entry(st, TARW_HARDLINK, w->path, NULL);

        entry.link = first;
        r = tarw_entry(&w->tar, &entry);
        return r < 0 ? write_failed(w, r) : 0;
    }
    r = read_attributes(w, name, &a);
    if (r < 0)
        return r;
    r = S_ISREG(st->st_mode) ? put_file(w, dir, name, st, &a) : put_special(w, dir, name, st, &a);
    if (r == 0)
        forget_link(w, st); /* nothing may point at it */
    return r < 0 ? r : 0;
}

/* --- The walk ------------------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(struct walk *w, int dir, char ***ret)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    size_t n = 0, cap = 0;
    char **names = NULL;
    struct dirent *de;
    int r = 0;

    if (!d) {
        base_closep(&copy);
        return read_failed(w, errno);
    }
    for (errno = 0; (de = readdir(d)); errno = 0) {
        if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
            continue;
        if (n + 1 >= cap) {
            cap = cap ? cap * 2 : 32;
            names = xreallocarray(names, cap, sizeof(char *));
        }
        names[n++] = xstrdup(de->d_name);
    }
    if (errno != 0 && errno != ENOENT)
        r = read_failed(w, errno);
    (void)closedir(d);
    if (names) {
        names[n] = NULL;
        qsort(names, n, sizeof(char *), compare);
    }
    *ret = names;
    return r;
}

static int walk_folder(struct walk *w, int dir);

/* Whether the folder differs from the one below by itself, not by what is in it. */
static bool is_changed(const struct pending *f, const struct stat *below)
{
    if (!f->in_lower || f->attributes.opaque || below->st_mode != f->st.st_mode ||
        below->st_uid != f->st.st_uid || below->st_gid != f->st.st_gid)
        return true;
    return !f->skipped && (below->st_mtim.tv_sec != f->st.st_mtim.tv_sec ||
                           below->st_mtim.tv_nsec != f->st.st_mtim.tv_nsec);
}

static int walk_into(struct walk *w, int dir, const char *name, const struct stat *st)
{
    AUTOFD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct pending f = {.parent = w->pending, .path_len = w->len, .st = *st};
    struct stat below = {0};
    int r;

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : read_failed(w, errno);
    r = read_attributes(w, name, &f.attributes);
    if (r >= 0 && w->p->mode != PACK_TREE)
        f.in_lower = look_below(w, &below) && S_ISDIR(below.st_mode);
    w->pending = &f;
    if (r >= 0 && w->p->mode == PACK_TREE)
        r = flush_pending(w, &f);
    if (r >= 0 && fchdir(fd) < 0)
        r = read_failed(w, errno);
    if (r >= 0)
        r = walk_folder(w, fd);
    if (r >= 0 && !f.written && is_changed(&f, &below))
        r = flush_pending(w, &f);
    w->pending = f.parent;
    attributes_done(&f.attributes);
    if (r >= 0 && fchdir(dir) < 0)
        r = read_failed(w, errno);
    return r;
}

static int walk_entry(struct walk *w, int dir, const char *name)
{
    struct stat st;

    if (strv_contains(w->p->skip, w->path)) {
        if (w->pending)
            w->pending->skipped = true;
        return 0;
    }
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : read_failed(w, errno);
    if (S_ISDIR(st.st_mode))
        return walk_into(w, dir, name, &st);
    if (w->p->mode != PACK_TREE && S_ISCHR(st.st_mode) && st.st_rdev == 0)
        return put_whiteout(w, name, &st);
    return put_other(w, dir, name, &st);
}

/* The folder is the current one; w->path is its path, "" for the root. */
static int walk_folder(struct walk *w, int dir)
{
    AUTOPTR(strv) char **names = NULL;
    size_t len = w->len;
    int r = read_names(w, dir, &names);

    for (size_t i = 0; r >= 0 && names && names[i]; i++) {
        int n = snprintf(w->path + len, sizeof(w->path) - len, "%s%s", len ? "/" : "", names[i]);

        if (len + (size_t)n > PATH_LIMIT) {
            w->path[len] = '\0';
            return error_set(w->e, ERR_INVALID, "a path is longer than %d bytes: /%.80s…",
                             PATH_LIMIT, w->path);
        }
        w->len = len + (size_t)n;
        r = walk_entry(w, dir, names[i]);
    }
    w->len = len;
    w->path[len] = '\0';
    return r;
}

int pack_walk(const struct pack_params *p, struct error *e)
{
    struct walk *w = xcalloc(1, sizeof(*w));
    int r = 0;

    w->p = p;
    w->e = e;
    w->tar = (struct tarw){.write = p->write, .data = p->write_data};
    w->links = map_new();
    w->data = xmalloc(READ_SIZE);
    if (fchdir(p->root_fd) < 0)
        r = error_set_errno(e, errno, "cannot enter the tree");
    if (r >= 0)
        r = walk_folder(w, p->root_fd);
    if (r >= 0 && p->mode != PACK_CHANGES && (r = tarw_end(&w->tar)) < 0)
        r = write_failed(w, r);
    map_free(w->links, free);
    free(w->data);
    free(w);
    return r;
}
