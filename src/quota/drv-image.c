/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system of the budget's size in a sparse file, <root>/disks/<id>.img, mounted on the place by
 * a loop device. For file systems without quota.
 *
 * The file system is made with the budget (mkfs.ext4, once) and stays mounted until the budget is
 * given back, or until the engine ends with nothing running: a start finds it mounted. The device is
 * freed by the kernel with the mount. An image is attached at most once, whoever asks: the device
 * that has it already is found again (a new mount namespace of pouchd, another process).
 *
 * Its size is a little above the limit: ext4 keeps inodes and a journal in it, and the container is
 * to have what it was given.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "io/spawn.h"
#include "quota/quota-priv.h"
#include "sys/loopdev.h"

#define MIB             ((uint64_t)1 << 20)
#define BLOCK           4096u
#define INODE_SIZE      256u
#define BYTES_PER_INODE 16384u /* mkfs's own ratio */
#define LIMIT_MIN       (4 * MIB)
#define LIMIT_MAX       ((uint64_t)16 << 40) /* ext4 with blocks of 4 KiB */
#define FIT_TRIES       4

static const char *const mkfs_paths[] = {"/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"};

static const char *find_mkfs(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(mkfs_paths); i++)
        if (access(mkfs_paths[i], X_OK) == 0)
            return mkfs_paths[i];
    return NULL;
}

static char *image_path(const char *root, const struct quota_budget *b)
{
    return xasprintf("%s/disks/%u.img", root, b->id);
}

static int image_probe(const char *path, struct error *e)
{
    (void)path;
    if (!find_mkfs())
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the quota driver image needs mkfs.ext4: install e2fsprogs");
    if (access("/dev/loop-control", R_OK | W_OK) < 0)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the quota driver image needs loop devices, and /dev/loop-control is not "
                         "there (modprobe loop)");
    return 0;
}

static bool image_is_used(const char *root, const struct quota_budget *b)
{
    AUTOFREE char *path = image_path(root, b);

    return access(path, F_OK) == 0;
}

/* --- making the file system ------------------------------------------------------------------------ */

static uint64_t journal_size(uint64_t limit)
{
    uint64_t size = limit / 64;

    return size < 4 * MIB ? 4 * MIB : size > 64 * MIB ? 64 * MIB : size / MIB * MIB;
}

/* What ext4 will take for itself; a first guess, the truth is measured. */
static uint64_t whole_size(const struct quota_limit *limit, uint64_t bytes)
{
    uint64_t inodes = limit->inodes ? limit->inodes : bytes / BYTES_PER_INODE;

    return bytes + bytes / 50 + inodes * INODE_SIZE + journal_size(bytes) + MIB;
}

static int run_mkfs(const char *path, const struct quota_limit *limit, uint64_t bytes,
                    struct error *e)
{
    AUTOFREE char *journal = xasprintf("size=%llu",
                                       (unsigned long long)(journal_size(bytes) / MIB));
    AUTOFREE char *inodes = xasprintf("%llu", (unsigned long long)(limit->inodes
                                                                       ? limit->inodes + 11
                                                                       : bytes / BYTES_PER_INODE));
    char *argv[] = {(char *)"mkfs.ext4",
                    (char *)"-q",
                    (char *)"-F",
                    (char *)"-b",
                    (char *)"4096",
                    (char *)"-m",
                    (char *)"0",
                    (char *)"-I",
                    (char *)"256",
                    (char *)"-J",
                    journal,
                    (char *)"-N",
                    inodes,
                    (char *)"-E",
                    (char *)"lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
                    (char *)(uintptr_t)path,
                    NULL};
    struct spawn_params p = {.program = find_mkfs(),
                             .argv = argv,
                             .stdin_fd = -EBADF,
                             .stdout_fd = -EBADF,
                             .stderr_fd = -EBADF};
    pid_t pid;
    int r;

    if (!p.program)
        return error_set(e, ERR_NOT_SUPPORTED, "mkfs.ext4 is not installed (e2fsprogs)");
    r = spawn_program(&p, &pid, e);
    if (r < 0)
        return r;
    r = spawn_wait(pid);
    if (r != 0)
        return error_set(e, ERR_INTERNAL, "mkfs.ext4 failed for %s (exit code %d)", path, r);
    return 0;
}

static int make_file(const char *path, const struct quota_limit *limit, uint64_t bytes,
                     uint64_t total, struct error *e)
{
    AUTOFD int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return error_set_errno(e, errno, "make %s", path);
    if (ftruncate(fd, (off_t)((total + BLOCK - 1) / BLOCK * BLOCK)) < 0)
        return error_set_errno(e, errno, "give %s its size", path);
    return run_mkfs(path, limit, bytes, e);
}

/* --- mounting ----------------------------------------------------------------------------------------- */

/* The image is locked meanwhile: two that want the same one get the same device. The lock has an open
 * file of its own, as the device keeps the one that it is given. */
static int attach(const char *image, int *ret_fd, char *ret_name, struct error *e)
{
    AUTOFD int fd = open(image, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    AUTOFD int lock = open(image, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || lock < 0)
        return error_set_errno(e, errno, "open %s", image);
    if (flock(lock, LOCK_EX) < 0)
        return error_set_errno(e, errno, "lock %s", image);
    return loopdev_attach(fd, false, ret_fd, ret_name, e);
}

static int mount_image(const char *image, const char *place, struct error *e)
{
    AUTOFD int loop = -EBADF;
    char name[32];
    int r = attach(image, &loop, name, e);

    if (r < 0)
        return r;
    if (quota_is_mount_root(place))
        return 0; /* somebody was faster */
    if (mount(name, place, "ext4", 0, "discard") < 0)
        return error_set_errno(e, errno, "mount %s on %s", image, place);
    return 0;
}

static int free_bytes(const char *place, uint64_t *ret, struct error *e)
{
    struct statvfs sv;

    if (statvfs(place, &sv) < 0)
        return error_set_errno(e, errno, "look at %s", place);
    *ret = (uint64_t)sv.f_bavail * sv.f_frsize;
    return 0;
}

/* Makes the image beside its place until what is free in it is the limit. `place` serves as mount
 * point for looking. */
static int make_image(const char *image, const char *place, const struct quota_limit *limit,
                      struct error *e)
{
    AUTOFREE char *tmp = xasprintf("%s.tmp", image);
    uint64_t bytes = limit->bytes;
    uint64_t total = whole_size(limit, bytes);
    uint64_t got = 0;
    int r = 0;

    for (int i = 0; i < FIT_TRIES; i++) {
        r = make_file(tmp, limit, bytes, total, e);
        if (r == 0)
            r = mount_image(tmp, place, e);
        if (r < 0)
            break;
        r = free_bytes(place, &got, e);
        if (umount2(place, UMOUNT_NOFOLLOW) < 0 && r == 0)
            r = error_set_errno(e, errno, "unmount %s", place);
        if (r < 0 || (got >= bytes && got - bytes <= bytes / 100 + MIB / 2))
            break;
        total = total + bytes - got + (got < bytes ? BLOCK * 16 : 0);
    }
    if (r == 0 && got < bytes)
        r = error_set(e, ERR_INTERNAL, "%s: no file system with %llu bytes came out", image,
                      (unsigned long long)bytes);
    if (r == 0) {
        AUTOFD int fd = open(tmp, O_RDWR | O_CLOEXEC);

        if (fd < 0 || fsync(fd) < 0)
            r = error_set_errno(e, errno, "sync %s", tmp);
    }
    if (r == 0 && rename(tmp, image) < 0)
        r = error_set_errno(e, errno, "put %s in its place", image);
    if (r < 0)
        (void)unlink(tmp);
    return r;
}

/* --- copies ------------------------------------------------------------------------------------------- */

/* A file system that was made once serves all of its size: <root>/disks/.templates/<bytes>-<inodes>.img,
 * some 300 KiB each. So few are kept that sizes out of a script do not fill the disk. */
#define TEMPLATES_MAX 16

static char *template_path(const char *root, const struct quota_limit *limit)
{
    return xasprintf("%s/disks/.templates/%llu-%llu.img", root, (unsigned long long)limit->bytes,
                     (unsigned long long)limit->inodes);
}

static int copy_data(int from, int to, off_t size)
{
    off_t at = 0;

    if (ftruncate(to, size) < 0)
        return -errno;
    while ((at = lseek(from, at, SEEK_DATA)) >= 0 && at < size) {
        off_t end = lseek(from, at, SEEK_HOLE);
        off_t out = at;

        while (at < end) {
            ssize_t n = copy_file_range(from, &at, to, &out, (size_t)(end - at), 0);

            if (n <= 0)
                return n < 0 ? -errno : -EIO;
        }
    }
    return at < 0 && errno != ENXIO ? -errno : 0;
}

/* By way of a temporary name; -ENOENT: there is nothing to copy. */
static int copy_image(const char *from, const char *to)
{
    AUTOFREE char *tmp = xasprintf("%s.tmp", to);
    AUTOFD int in = open(from, O_RDONLY | O_CLOEXEC);
    AUTOFD int out = -EBADF;
    struct stat st;
    int r;

    if (in < 0 || fstat(in, &st) < 0)
        return -errno;
    out = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    r = out < 0 ? -errno : copy_data(in, out, st.st_size);
    if (r == 0 && rename(tmp, to) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(tmp);
    return r;
}

static size_t count_files(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        (void)closedir(dir);
    return n;
}

/* A new image becomes the template of its size; two that are made at once overwrite each other with the
 * same. Nothing is lost when that fails. */
static void keep_template(const char *root, const char *image, const struct quota_limit *limit)
{
    AUTOFREE char *dir = xasprintf("%s/disks/.templates", root);
    AUTOFREE char *name = template_path(root, limit);
    AUTOFREE char *mine = NULL;
    char suffix[17];

    random_hex(suffix, 8);
    mine = xasprintf("%s.%s", name, suffix);
    if (fs_mkdir_p(dir, 0700) < 0 || count_files(dir) >= TEMPLATES_MAX + 2)
        return;
    if (copy_image(image, mine) == 0 && rename(mine, name) < 0)
        (void)unlink(mine);
}

/* --- the driver ---------------------------------------------------------------------------------------- */

static int prepare_place(const struct quota_place *p, struct stat *ret, struct error *e)
{
    if (p->kind == QUOTA_PLACE_OWN && mkdir(p->path, 0710) < 0 && errno != EEXIST)
        return error_set_errno(e, errno, "make %s", p->path);
    if (stat(p->path, ret) < 0)
        return error_set_errno(e, errno, "%s", p->path);
    if (p->kind == QUOTA_PLACE_HOST)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "a folder of the host's cannot be limited by the quota driver image: name "
                         "what is to be limited (/=SIZE), mount it read-only, or use a volume "
                         "instead of %s",
                         p->path);
    return 0;
}

static bool is_empty(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *de;
    bool empty = dir != NULL;

    while (empty && (de = readdir(dir)))
        empty = STREQ(de->d_name, ".") || STREQ(de->d_name, "..");
    if (dir)
        (void)closedir(dir);
    return empty;
}

static int check_limit(const struct quota_limit *limit, struct error *e)
{
    if (!limit->bytes && !limit->inodes)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "a file system in an image has a size as long as it exists: give it a "
                         "larger one, or make a new container (or volume) and copy the content");
    if (!limit->bytes)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the quota driver image needs a size beside inodes= (10g,inodes=100k)");
    if (limit->bytes < LIMIT_MIN || limit->bytes > LIMIT_MAX)
        return error_set(e, ERR_INVALID,
                         "the quota driver image makes file systems of 4 MiB to 16 TiB");
    return 0;
}

static int first_time(const char *root, const char *image, const struct quota_budget *b,
                      struct error *e)
{
    const struct quota_place *p = quota_place(b, 0);
    AUTOFREE char *dir = xasprintf("%s/disks", root);
    AUTOFREE char *lost = xasprintf("%s/lost+found", p->path);
    AUTOFREE char *template = NULL;
    struct stat st;
    int r = check_limit(&b->limit, e);

    if (r == 0)
        r = prepare_place(p, &st, e);
    if (r < 0)
        return r;
    if (!is_empty(p->path))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "%s has content already and cannot be limited by the quota driver image: "
                         "make a new volume with -o size=SIZE and copy it there",
                         p->path);
    r = fs_mkdir_p(dir, 0700);
    if (r < 0)
        return error_set_errno(e, r, "make %s", dir);
    template = template_path(root, &b->limit);
    if (copy_image(template, image) < 0) {
        r = make_image(image, p->path, &b->limit, e);
        if (r == 0)
            keep_template(root, image, &b->limit);
    }
    if (r == 0)
        r = mount_image(image, p->path, e);
    if (r < 0)
        return r;
    (void)rmdir(lost);
    if (chown(p->path, st.st_uid, st.st_gid) < 0 || chmod(p->path, st.st_mode & 07777) < 0)
        return error_set_errno(e, errno, "%s", p->path);
    return 0;
}

static int image_make(const char *root, const struct quota_budget *b, struct error *e)
{
    const struct quota_place *p = quota_place(b, 0);
    AUTOFREE char *image = image_path(root, b);

    if (quota_is_mount_root(p->path))
        return 0;
    if (access(image, F_OK) < 0)
        return first_time(root, image, b, e);
    return mount_image(image, p->path, e);
}

/* Growing is done in place, under the running container. */
static int image_change(const char *root, const struct quota_budget *b, struct error *e)
{
    const struct quota_place *p = quota_place(b, 0);
    AUTOFREE char *image = image_path(root, b);
    AUTOFD int loop = -EBADF;
    AUTOFD int fd = -EBADF;
    struct statvfs sv;
    struct stat st;
    char name[32];
    uint64_t now;
    uint64_t total;
    int r = check_limit(&b->limit, e);

    if (r == 0)
        r = image_make(root, b, e);
    if (r < 0)
        return r;
    if (statvfs(p->path, &sv) < 0 || stat(image, &st) < 0)
        return error_set_errno(e, errno, "look at %s", image);
    now = (uint64_t)sv.f_blocks * sv.f_frsize;
    if (b->limit.bytes <= now && b->limit.bytes + b->limit.bytes / 25 + MIB >= now)
        return 0; /* as it is */
    if (b->limit.bytes < now)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "a file system in an image cannot be made smaller: make a new container "
                         "(or volume) and copy the content");
    total = (uint64_t)st.st_size + (b->limit.bytes - now) + (b->limit.bytes - now) / 25;
    total = (total + BLOCK - 1) / BLOCK * BLOCK;
    r = attach(image, &loop, name, e);
    if (r < 0)
        return r;
    fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || truncate(image, (off_t)total) < 0)
        return error_set_errno(e, errno, "make %s larger", image);
    return quota_loop_grow(loop, fd, total, e);
}

static void detach(const char *place)
{
    /* Whoever still has a file open in it keeps the device until he is done. */
    while (quota_is_mount_root(place) && umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        ;
}

static int image_clear(const char *root, const struct quota_budget *b, bool last, struct error *e)
{
    const struct quota_place *p = quota_place(b, 0);
    AUTOFREE char *image = image_path(root, b);
    AUTOFREE char *tmp = xasprintf("%s.tmp", image);
    int r;

    (void)last; /* an image belongs to one */
    detach(p->path);
    (void)unlink(tmp);
    if (unlink(image) < 0 && errno != ENOENT)
        return error_set_errno(e, errno, "remove %s", image);
    if (p->kind != QUOTA_PLACE_OWN)
        return 0;
    r = fs_remove_tree(AT_FDCWD, p->path);
    return r < 0 ? error_set_errno(e, r, "remove %s", p->path) : 0;
}

static int image_usage(const char *root, const struct quota_budget *b, struct quota_usage *ret,
                       struct error *e)
{
    struct statvfs sv;

    (void)root;
    if (statvfs(quota_place(b, 0)->path, &sv) < 0)
        return error_set_errno(e, errno, "look at %s", quota_place(b, 0)->path);
    *ret = (struct quota_usage){
        .bytes = (uint64_t)(sv.f_blocks - sv.f_bfree) * sv.f_frsize,
        .inodes = sv.f_files - sv.f_ffree,
        .limit = b->limit,
    };
    return 0;
}

static void image_park(const char *root, const struct quota_budget *b)
{
    (void)root;
    detach(quota_place(b, 0)->path);
}

const struct quota_driver quota_driver_image = {
    .name = "image",
    .inodes = true,
    .shares = false,
    .probe = image_probe,
    .is_used = image_is_used,
    .make = image_make,
    .change = image_change,
    .clear = image_clear,
    .usage = image_usage,
    .park = image_park,
};
