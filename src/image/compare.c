/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Are two layers the same? Folders entry by entry (type, mode, owner, modification time, size,
 * content, link target, device number, extended attributes, hard links), files byte by byte. What
 * lies in a layer came from outside: nothing is followed, only regular files are opened, and no
 * recursion is as deep as a hostile tree.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"

#define PIECE (128u * 1024)

struct compare {
    int a, b;         /* the layers' root folders */
    struct map *inos; /* inode of a with several names → struct pair of b */
    unsigned char *buf_a, *buf_b;
    int64_t since;    /* when b was begun */
    char *difference; /* the first that was found */
    struct error *e;
};

struct twin {
    ino_t ino;
};

static int differs(struct compare *c, const char *path, const char *what)
{
    if (!c->difference)
        c->difference = xasprintf("/%s: %s", path, what);
    return 1;
}

/* What the disk or the file system says of damaged files: EINVAL and EBADMSG of fs-verity, EUCLEAN of
 * ext4 and xfs. ELOOP is a link where a file was. */
static bool is_damage(int errnum)
{
    return errnum == EIO || errnum == EUCLEAN || errnum == EBADMSG || errnum == EINVAL ||
           errnum == ENODATA || errnum == ELOOP;
}

/* A sector that cannot be read is a difference like any other. */
static int failed(struct compare *c, const char *path)
{
    AUTOFREE char *what = NULL;

    if (!is_damage(errno))
        return error_set_errno(c->e, errno, "cannot read /%s of a layer", path);
    what = xasprintf("cannot be read: %s", strerror(errno));
    return differs(c, path, what);
}

static int open_below(int root, const char *path, int flags)
{
    const struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK),
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                            RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
}

/* 0 the same, 1 not, <0. */
static int compare_fds(struct compare *c, int fa, int fb, const char *path)
{
    ssize_t n, m;

    for (;;) {
        n = fs_read_full(fa, c->buf_a, PIECE);
        m = n < 0 ? 0 : fs_read_full(fb, c->buf_b, PIECE);
        if (n < 0 || m < 0) {
            errno = (int)-(n < 0 ? n : m);
            return failed(c, path);
        }
        if (n != m || memcmp(c->buf_a, c->buf_b, (size_t)n) != 0)
            return differs(c, path, "content");
        if (n == 0)
            return 0;
    }
}

static int compare_content(struct compare *c, const char *path)
{
    AUTOFD int fa = open_below(c->a, path, O_RDONLY);
    AUTOFD int fb = open_below(c->b, path, O_RDONLY);

    return fa < 0 || fb < 0 ? failed(c, path) : compare_fds(c, fa, fb, path);
}

static int compare_targets(struct compare *c, int da, int db, const char *name, const char *path)
{
    char x[PATH_MAX], y[PATH_MAX];
    ssize_t n = readlinkat(da, name, x, sizeof(x)), m = readlinkat(db, name, y, sizeof(y));

    if (n < 0 || m < 0)
        return failed(c, path);
    return n == m && memcmp(x, y, (size_t)n) == 0 ? 0 : differs(c, path, "link target");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of an entry's attributes, sorted; none where the file system has none. */
static int list_xattrs(const char *proc_path, char ***ret)
{
    ssize_t n = llistxattr(proc_path, NULL, 0);

    if (n <= 0)
        return n < 0 && errno != ENOTSUP ? -errno : 0;
    AUTOFREE char *list = xmalloc((size_t)n);
    n = llistxattr(proc_path, list, (size_t)n);
    if (n < 0)
        return -errno;
    for (char *p = list; p < list + n; p += strlen(p) + 1)
        if (!STREQ(p, "security.selinux")) /* the host's, not the image's */
            strv_push(ret, p);
    if (*ret)
        qsort(*ret, strv_len(*ret), sizeof(char *), by_text);
    return 0;
}

static int compare_xattrs(struct compare *c, int da, int db, const char *name, const char *path)
{
    char pa[PATH_MAX + 64], pb[PATH_MAX + 64];
    AUTOPTR(strv) char **xa = NULL;
    AUTOPTR(strv) char **xb = NULL;

    snprintf(pa, sizeof(pa), "/proc/self/fd/%d/%s", da, name);
    snprintf(pb, sizeof(pb), "/proc/self/fd/%d/%s", db, name);
    int r = list_xattrs(pa, &xa);
    if (r >= 0)
        r = list_xattrs(pb, &xb);
    if (r < 0) {
        errno = -r;
        return failed(c, path);
    }
    if (!strv_equal(xa, xb))
        return differs(c, path, "extended attributes");
    for (size_t i = 0; xa && xa[i]; i++) {
        ssize_t n = lgetxattr(pa, xa[i], c->buf_a, PIECE);
        ssize_t m = lgetxattr(pb, xa[i], c->buf_b, PIECE);
        if (n < 0 || m < 0)
            return failed(c, path);
        if (n != m || memcmp(c->buf_a, c->buf_b, (size_t)n) != 0)
            return differs(c, path, "extended attributes");
    }
    return 0;
}

/* Names of one file in a must be names of one file in b. */
static int compare_links(struct compare *c, const struct stat *a, const struct stat *b,
                         const char *path)
{
    char key[32];

    if (S_ISDIR(a->st_mode) || (a->st_nlink == 1 && b->st_nlink == 1))
        return 0;
    if (a->st_nlink != b->st_nlink)
        return differs(c, path, "hard links");
    snprintf(key, sizeof(key), "%llu", (unsigned long long)a->st_ino);
    const struct twin *t = map_get(c->inos, key);
    if (t)
        return t->ino == b->st_ino ? 0 : differs(c, path, "hard links");
    struct twin *fresh = xcalloc(1, sizeof(*fresh));
    fresh->ino = b->st_ino;
    (void)map_set(c->inos, key, fresh);
    return 0;
}

static int compare_stats(struct compare *c, const struct stat *a, const struct stat *b,
                         const char *path)
{
    if ((a->st_mode & S_IFMT) != (b->st_mode & S_IFMT))
        return differs(c, path, "type");
    if (a->st_mode != b->st_mode)
        return differs(c, path, "mode");
    if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
        return differs(c, path, "owner");
    /* A folder that no entry of the archive makes has the time when it was made here. */
    bool timeless = S_ISDIR(b->st_mode) && b->st_mtim.tv_sec >= c->since / NSEC_PER_SEC;
    if (!timeless &&
        (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec))
        return differs(c, path, "modification time");
    if (S_ISREG(a->st_mode) && a->st_size != b->st_size)
        return differs(c, path, "size");
    if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev)
        return differs(c, path, "device number");
    return compare_links(c, a, b, path);
}

static int list_names(int fd, char ***ret)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *de;

    if (!d) {
        if (copy >= 0)
            close(copy);
        return -1;
    }
    while ((errno = 0, de = readdir(d)))
        if (!STREQ(de->d_name, ".") && !STREQ(de->d_name, ".."))
            strv_push(ret, de->d_name);
    int err = errno;
    closedir(d);
    errno = err;
    if (err)
        return -1;
    if (*ret)
        qsort(*ret, strv_len(*ret), sizeof(char *), by_text);
    return 0;
}

static int compare_entry(struct compare *c, int da, int db, const char *name, const char *path,
                         char ***folders)
{
    struct stat a, b;
    int r;

    if (fstatat(da, name, &a, AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(db, name, &b, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(c, path);
    if ((r = compare_stats(c, &a, &b, path)) != 0 ||
        (r = compare_xattrs(c, da, db, name, path)) != 0)
        return r;
    if (S_ISREG(a.st_mode))
        return compare_content(c, path);
    if (S_ISLNK(a.st_mode))
        return compare_targets(c, da, db, name, path);
    if (S_ISDIR(a.st_mode))
        strv_push(folders, path);
    return 0;
}

static int compare_folder(struct compare *c, const char *path, char ***folders)
{
    AUTOFD int da = open_below(c->a, path, O_RDONLY | O_DIRECTORY);
    AUTOFD int db = open_below(c->b, path, O_RDONLY | O_DIRECTORY);
    AUTOPTR(strv) char **na = NULL;
    AUTOPTR(strv) char **nb = NULL;
    int r = 0;

    if (da < 0 || db < 0 || list_names(da, &na) < 0 || list_names(db, &nb) < 0)
        return failed(c, path);
    for (size_t i = 0, k = 0; r == 0 && ((na && na[i]) || (nb && nb[k]));) {
        const char *x = na ? na[i] : NULL, *y = nb ? nb[k] : NULL;
        int order = !x ? 1 : !y ? -1 : strcmp(x, y);
        AUTOFREE char *below = xasprintf("%s%s%s", path, *path ? "/" : "", order > 0 ? y : x);
        if (order != 0)
            return differs(c, below, order < 0 ? "too much" : "missing");
        r = compare_entry(c, da, db, x, below, folders);
        i++;
        k++;
    }
    return r;
}

static int compare_trees(struct compare *c)
{
    char **stack = NULL;
    struct stat a, b;
    int r;

    if (fstat(c->a, &a) < 0 || fstat(c->b, &b) < 0)
        return failed(c, "");
    if ((r = compare_stats(c, &a, &b, "")) != 0 ||
        (r = compare_xattrs(c, c->a, c->b, ".", "")) != 0)
        return r;
    strv_push(&stack, "");
    size_t len = 1;
    while (r == 0 && len > 0) {
        AUTOFREE char *path = stack[--len];
        AUTOPTR(strv) char **folders = NULL;
        stack[len] = NULL;
        r = compare_folder(c, path, &folders);
        for (size_t i = 0; r == 0 && folders && folders[i]; i++, len++)
            strv_push(&stack, folders[i]);
    }
    strv_free(stack);
    return r;
}

int image_layers_compare(int dirfd, const char *a, const char *b, int64_t since,
                         char **ret_difference, struct error *e)
{
    struct compare c = {.e = e, .since = since};
    AUTOFD int fa = openat(dirfd, a, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int a_errno = errno;
    AUTOFD int fb = openat(dirfd, b, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat sa, sb;
    int r;

    if (fa < 0 && a_errno == ENOENT && fb >= 0) {
        *ret_difference = xstrdup("it is missing");
        return 1;
    }
    if (fa < 0 && is_damage(a_errno) && fb >= 0) {
        *ret_difference = xasprintf("it cannot be opened: %s", strerror(a_errno));
        return 1;
    }
    if (fa < 0 || fb < 0 || fstat(fa, &sa) < 0 || fstat(fb, &sb) < 0)
        return error_set_errno(e, fa < 0 ? a_errno : errno, "cannot open a layer");
    c.a = fa;
    c.b = fb;
    c.inos = map_new();
    c.buf_a = xmalloc(PIECE);
    c.buf_b = xmalloc(PIECE);
    if (S_ISDIR(sa.st_mode) != S_ISDIR(sb.st_mode))
        r = differs(&c, "", "type");
    else if (S_ISDIR(sa.st_mode))
        r = compare_trees(&c);
    else
        r = compare_fds(&c, fa, fb, "");
    map_free(c.inos, free);
    free(c.buf_a);
    free(c.buf_b);
    if (r > 0)
        *ret_difference = take_ptr(c.difference);
    free(c.difference);
    return r;
}
