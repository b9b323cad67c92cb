/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Project quota of ext4 and xfs. Both take the generic calls (Q_GETQUOTA, Q_SETQUOTA) since the
 * kernel translates between them and xfs's own; a file's id is set by the ioctl of xfs, which ext4
 * has had since Linux 4.5.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/quota.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "sys/quota.h"

#define PROJECT(command) ((int)QCMD((unsigned)(command), PRJQUOTA))

/* --- quotactl -------------------------------------------------------------------------------------- */

/* The device mounted with the file system's number: what quotactl(2) wants where quotactl_fd (Linux
 * 5.14) is missing. */
static int find_device(int fd, char *ret, size_t size)
{
    AUTOFREE char *text = NULL;
    struct stat st;
    char wanted[32];
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    (void)snprintf(wanted, sizeof(wanted), " %u:%u ", major(st.st_dev), minor(st.st_dev));
    r = fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 64 << 20, &text, NULL);
    for (char *line = text; r == 0 && line && *line;) {
        char *end = strchr(line, '\n');
        char *source;

        if (end)
            *end = 0;
        source = strstr(line, wanted) ? strstr(line, " - ") : NULL;
        if (source && (source = strchr(source + 3, ' ')) && source[1] == '/') {
            source++;
            (void)snprintf(ret, size, "%.*s", (int)strcspn(source, " "), source);
            return 0;
        }
        line = end ? end + 1 : NULL;
    }
    return r < 0 ? r : -ENODEV;
}

static int quota_call(int fd, int command, uint32_t id, void *data)
{
    char device[PATH_MAX];
    int r;

    if (syscall(SYS_quotactl_fd, fd, command, id, data) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    r = find_device(fd, device, sizeof(device));
    if (r < 0)
        return r;
    return syscall(SYS_quotactl, command, device, id, data) < 0 ? -errno : 0;
}

int quota_project_usage(int fd, uint32_t id, struct quota_usage *ret)
{
    struct if_dqblk q = {0};
    int r = quota_call(fd, PROJECT(Q_GETQUOTA), id, &q);

    if (r < 0)
        return r;
    *ret = (struct quota_usage){
        .bytes = q.dqb_curspace,
        .inodes = q.dqb_curinodes,
        .limit = {.bytes = q.dqb_bhardlimit * QIF_DQBLKSIZE, .inodes = q.dqb_ihardlimit},
    };
    return 0;
}

int quota_project_limit(int fd, uint32_t id, const struct quota_limit *limit)
{
    struct if_dqblk q = {
        .dqb_bhardlimit = (limit->bytes + QIF_DQBLKSIZE - 1) / QIF_DQBLKSIZE,
        .dqb_ihardlimit = limit->inodes,
        .dqb_valid = QIF_LIMITS,
    };

    return quota_call(fd, PROJECT(Q_SETQUOTA), id, &q);
}

static int not_ready(int fd, const char *path, struct error *e)
{
    struct statfs sf;
    const char *how = "use a file system that has it (ext4, xfs)";

    if (fstatfs(fd, &sf) == 0 && sf.f_type == 0xEF53)
        how = "once, unmounted: tune2fs -O project,quota DEVICE; then mount it with -o prjquota";
    else if (fstatfs(fd, &sf) == 0 && sf.f_type == 0x58465342)
        how = "mount it with -o prjquota (for the root file system: rootflags=prjquota)";
    return error_set(e, ERR_NOT_SUPPORTED,
                     "the file system of %s keeps no project quota, so nothing can be limited "
                     "there: %s",
                     path, how);
}

int quota_project_ready(int fd, const char *path, struct error *e)
{
    struct fs_quota_statv sv = {.qs_version = FS_QSTATV_VERSION1};
    uint32_t flags = FS_QUOTA_PDQ_ENFD;
    int r = quota_call(fd, (int)QCMD(Q_XGETQSTATV, PRJQUOTA), 0, &sv);

    if (r == 0 && (sv.qs_flags & FS_QUOTA_PDQ_ENFD))
        return 0;
    if (r < 0 || !(sv.qs_flags & FS_QUOTA_PDQ_ACCT))
        return not_ready(fd, path, e);
    /* Counted but not enforced: ext4 with the feature, mounted without prjquota; xfs with
     * pqnoenforce. */
    r = quota_call(fd, (int)QCMD(Q_XQUOTAON, PRJQUOTA), 0, &flags);
    if (r < 0)
        return error_set_errno(e, r, "project quota of the file system of %s cannot be enforced",
                               path);
    return 0;
}

/* --- ids of files ------------------------------------------------------------------------------------ */

int quota_project_get(int fd, uint32_t *ret_id, bool *ret_inherit)
{
    struct fsxattr x;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
        return -errno;
    *ret_id = x.fsx_projid;
    *ret_inherit = (x.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0;
    return 0;
}

static int tag_fd(int fd, bool is_dir, uint32_t id, uint32_t only)
{
    struct fsxattr x;
    uint32_t flags;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
        return -errno;
    if (only && x.fsx_projid != only)
        return 0;
    flags = x.fsx_xflags & ~(uint32_t)FS_XFLAG_PROJINHERIT;
    if (is_dir && id)
        flags |= FS_XFLAG_PROJINHERIT;
    if (x.fsx_projid == id && x.fsx_xflags == flags)
        return 0;
    x.fsx_projid = id;
    x.fsx_xflags = flags;
    return ioctl(fd, FS_IOC_FSSETXATTR, &x) < 0 ? -errno : 0;
}

/* Opens what is surely a file or a folder: the container may swap it at any moment, and opening a
 * device has effects. Returns -ENOENT for everything that carries no id. */
static int open_plain(int dir, const char *name, bool *ret_is_dir)
{
    const struct open_how how = {
        .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
    };
    AUTOFD int path = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
    char link[64];
    struct stat st;
    int fd;

    if (path < 0)
        return errno == EXDEV || errno == ELOOP ? -ENOENT : -errno;
    if (fstat(path, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return -ENOENT;
    *ret_is_dir = S_ISDIR(st.st_mode);
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", path);
    fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

/*
 * Folders that are still to be read are remembered as file handles, not as open fds or paths: depth
 * costs a few bytes, and a folder that the container moves meanwhile is still found. A folder has
 * its id before it is read, so what appears in it later has inherited the id.
 */
struct pending {
    int type;
    unsigned len;
    unsigned char bytes[MAX_HANDLE_SZ];
};

struct walk {
    int mount; /* any open folder of the mount */
    struct pending *pending;
    size_t len, cap;
    uint32_t id, only;
};

static int walk_push(struct walk *w, int fd)
{
    union {
        struct file_handle h;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } handle;
    struct pending *p;
    int mount_id;

    handle.h.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(fd, "", &handle.h, &mount_id, AT_EMPTY_PATH) < 0)
        return -errno;
    if (w->len == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->pending = xreallocarray(w->pending, w->cap, sizeof(*w->pending));
    }
    p = &w->pending[w->len++];
    p->type = handle.h.handle_type;
    p->len = handle.h.handle_bytes;
    (void)memcpy(p->bytes, handle.h.f_handle, p->len);
    return 0;
}

/* The folder pushed last; NULL with *ret_error 0 when it is gone. */
static DIR *walk_pop(struct walk *w, int *ret_error)
{
    const struct pending *p = &w->pending[--w->len];
    union {
        struct file_handle h;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } handle;
    DIR *dir = NULL;
    int fd;

    handle.h.handle_bytes = p->len;
    handle.h.handle_type = p->type;
    (void)memcpy(handle.h.f_handle, p->bytes, p->len);
    fd = open_by_handle_at(w->mount, &handle.h, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && !(dir = fdopendir(fd))) {
        *ret_error = -errno;
        (void)close(fd);
    } else if (fd < 0) {
        *ret_error = errno == ESTALE || errno == ENOENT ? 0 : -errno;
    }
    return dir;
}

static int walk_entry(struct walk *w, DIR *dir, const char *name)
{
    bool is_dir = false;
    AUTOFD int fd = open_plain(dirfd(dir), name, &is_dir);
    int r;

    if (fd == -ENOENT)
        return 0; /* gone meanwhile, or nothing that carries an id */
    if (fd < 0)
        return fd;
    r = tag_fd(fd, is_dir, w->id, w->only);
    return r == 0 && is_dir ? walk_push(w, fd) : r;
}

static int walk_folder(struct walk *w, DIR *dir)
{
    struct dirent *de;
    int r = 0;

    while (r == 0 && (errno = 0, de = readdir(dir))) {
        if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
            continue;
        if (de->d_type == DT_DIR || de->d_type == DT_REG || de->d_type == DT_UNKNOWN)
            r = walk_entry(w, dir, de->d_name);
    }
    if (r == 0 && errno)
        r = -errno;
    (void)closedir(dir);
    return r;
}

static int walk_all(struct walk *w)
{
    int r = 0;

    while (r == 0 && w->len) {
        DIR *dir = walk_pop(w, &r);

        if (dir)
            r = walk_folder(w, dir);
    }
    free(w->pending);
    return r;
}

int quota_project_tag(const char *path, uint32_t id, uint32_t only, struct error *e)
{
    AUTOFD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct walk w = {.mount = fd, .id = id, .only = only};
    int r;

    if (fd < 0 && errno == ENOENT && only)
        return 0;
    if (fd < 0)
        return error_set_errno(e, errno, "open %s", path);
    r = tag_fd(fd, true, id, only);
    if (r == 0)
        r = walk_push(&w, fd);
    if (r == 0)
        r = walk_all(&w);
    return r < 0 ? error_set_errno(e, r, "%s of the files in %s",
                                   id ? "set the project id" : "clear the project id", path)
                 : 0;
}
