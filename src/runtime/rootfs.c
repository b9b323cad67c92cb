/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's file system view: root, mounts, pivot_root, masked and read-only paths.
 *
 * Every target is opened once with openat2(RESOLVE_IN_ROOT) and then used by its fd, so that
 * symlinks in the image lead nowhere outside and cannot be swapped between check and use. All of
 * it happens in the container's own mount namespace: the host never sees one of these mounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"
#include "sys/mount-api.h"
#include "sys/overlay.h"
#include "sys/path.h"

char *rootfs_path(const struct runtime_create *p)
{
    const char *path = p->spec->root->path;

    return path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", p->bundle, path);
}

/* --- the root ------------------------------------------------------------------------------ */

static struct sys_overlay overlay_of(const struct oci_overlay *o)
{
    return (struct sys_overlay){.lower = o->lower,
                                .upper = o->upper,
                                .work = o->work,
                                .options = o->options};
}

/* Do the files in this folder belong to the container's users already (a layer shifted when it was
 * unpacked), or to the ids of the image? */
static bool is_shifted(const struct oci_linux *l, const char *path)
{
    const struct oci_id_mapping *m = l->uid_mappings.items;
    struct stat st;

    if (stat(path, &st) < 0)
        return true; /* the mount will say what is wrong */
    for (size_t i = 0; i < l->uid_mappings.len; i++)
        if (st.st_uid >= m[i].host_id && st.st_uid < m[i].host_id + m[i].size)
            return true;
    return false;
}

int rootfs_open_root(const struct runtime_create *p, int userns_fd, pid_t pid, struct error *e)
{
    const struct oci_overlay *o = p->spec->pouch ? p->spec->pouch->overlay : NULL;
    AUTOFREE char *path = rootfs_path(p);
    AUTOFREE char *folder = NULL;
    int fd = -EBADF;

    if (o && userns_fd >= 0)
        return shift_open_overlay(p, userns_fd, pid, e);
    if (o) {
        struct sys_overlay so = overlay_of(o);
        int r = sys_overlay_open(&so, &fd, e);

        return r < 0 ? r : fd;
    }
    folder = xasprintf("%s/.", path); /* the root may be a link to it */
    if (userns_fd >= 0 && !is_shifted(p->spec->linux, path))
        return shift_open_folder(folder, userns_fd, e);
    fd = mount_clone_open(AT_FDCWD, folder, true);
    if (fd < 0)
        return error_set_errno(e, fd, "cannot open the root file system %s", path);
    return fd;
}

/* Old kernels, or no new mount API: mounted in place by name. */
static int mount_root_classic(struct rootfs *r, const char *path, struct error *e)
{
    const struct oci_overlay *o = r->p->spec->pouch ? r->p->spec->pouch->overlay : NULL;

    if (r->shared_mounts)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "a container without a mount namespace of its own needs the mount API of "
                         "Linux 6.15");
    if (o) {
        struct sys_overlay so = overlay_of(o);
        int err = sys_overlay_mount(&so, path, e);

        if (err < 0)
            return err;
    } else if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
        return error_set_errno(e, errno, "cannot bind mount the root file system %s", path);
    }
    r->rootfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return r->rootfd < 0 ? error_set_errno(e, errno, "cannot open %s", path) : 0;
}

static int mount_root(struct rootfs *r, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    AUTOFREE char *path = rootfs_path(r->p);
    AUTOFD int target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int err;

    if (target < 0 && errno == ENOENT && r->p->spec->pouch && r->p->spec->pouch->overlay) {
        err = fs_mkdir_p(path, 0711);
        if (err < 0)
            return error_set_errno(e, err, "cannot create %s", path);
        target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (target < 0)
        return error_set_errno(e, errno, "cannot open the root file system %s", path);
    r->rootfd = r->root_mount >= 0 ? take_fd(r->root_mount)
                                   : rootfs_open_root(r->p, -EBADF, 0, &why);
    if (r->rootfd == -EOPNOTSUPP || r->rootfd == -ENOSYS)
        return mount_root_classic(r, path, e);
    if (r->rootfd < 0) {
        err = r->rootfd;
        error_move(e, &why);
        return err;
    }
    if (r->shared_mounts) {
        /* What is mounted in it must not be mounted in what it was copied of. */
        err = mount_set_propagation(r->rootfd, MS_PRIVATE, true);
        return err < 0 ? error_set_errno(e, err, "cannot make the root file system private") : 0;
    }
    err = mount_attach(r->rootfd, target);
    return err < 0 ? error_set_errno(e, err, "cannot attach the root file system to %s", path) : 0;
}

/* --- mounts -------------------------------------------------------------------------------- */

static bool is_dir_fd(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The place to mount on, made when it is not there. */
static int open_target(struct rootfs *r, const char *dest, bool dir, struct error *e)
{
    int fd = dir ? path_mkdir_in(r->rootfd, dest, 0755, 0, 0)
                 : path_make_file_in(r->rootfd, dest, 0644);

    if (fd == -ENOTDIR || (fd >= 0 && !dir && is_dir_fd(fd))) {
        if (fd >= 0)
            close(fd);
        return error_set(e, ERR_INVALID,
                         "cannot mount on %s: %s. Are you trying to mount a directory onto a file "
                         "(or vice-versa)? Check if the specified host path exists and is the "
                         "expected type",
                         dest, dir ? "not a directory" : "is a directory");
    }
    if (fd < 0)
        return error_set_errno(e, fd, "cannot make the mount point %s", dest);
    return fd;
}

/*
 * What is mounted over parts of /proc could hide from the runtime, and from LSMs, what they write
 * to (CVE-2019-16884): only the files that stand for resources may be replaced (lxcfs), and /proc
 * itself only by a procfs. source: -EBADF for a new file system.
 */
int rootfs_check_target(const char *dest, const char *type, int target, int source, struct error *e)
{
    static const char *const allowed[] = {"/proc/cpuinfo",
                                          "/proc/diskstats",
                                          "/proc/meminfo",
                                          "/proc/stat",
                                          "/proc/swaps",
                                          "/proc/uptime",
                                          "/proc/loadavg",
                                          "/proc/slabinfo",
                                          "/proc/net/dev",
                                          "/proc/sys/kernel/ns_last_pid",
                                          "/proc/sys/kernel/random/boot_id",
                                          "/proc/sys/crypto/fips_enabled",
                                          "/proc/pressure",
                                          NULL};
    struct statfs s;
    bool over_proc = fstatfs(target, &s) == 0 && s.f_type == PROC_SUPER_MAGIC;

    if ((type && STREQ(type, "proc")) ||
        (source >= 0 && fstatfs(source, &s) == 0 && s.f_type == PROC_SUPER_MAGIC))
        return 0;
    if (STREQ(dest, "/proc"))
        return error_set(e, ERR_INVALID, "\"/proc\" cannot be mounted on: it is not of type proc");
    if (over_proc && !strv_contains((char *const *)allowed, dest))
        return error_set(e, ERR_INVALID, "\"%s\" cannot be mounted on: it is inside /proc", dest);
    return 0;
}

char *rootfs_bind_source(const struct runtime_create *p, const struct oci_mount *m, struct error *e)
{
    if (str_is_empty(m->source)) {
        (void)!error_set(e, ERR_INVALID, "mount of %s: source is missing", m->destination);
        return NULL;
    }
    return m->source[0] == '/' ? xstrdup(m->source) : xasprintf("%s/%s", p->bundle, m->source);
}

static int open_bind_source(const struct rootfs *r, const struct oci_mount *m, struct error *e)
{
    AUTOFREE char *path = rootfs_bind_source(r->p, m, e);
    int fd;

    if (!path)
        return -EINVAL;
    fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, errno, "cannot bind mount %s on %s", path, m->destination);
    return fd;
}

/* copy-symlink: a source that is a symlink is made again at the destination. 1: it was one. */
static int copy_link(struct rootfs *r, const struct oci_mount *m, struct error *e)
{
    AUTOFREE char *path = rootfs_bind_source(r->p, m, e);
    const char *name = NULL;
    AUTOFD int parent = -EBADF;
    char to[4096];
    ssize_t n;

    if (!path)
        return -EINVAL;
    n = readlink(path, to, sizeof(to) - 1);
    if (n < 0)
        return 0;
    to[n] = '\0';
    parent = path_parent_in(r->rootfd, m->destination, 0755, &name);
    if (parent < 0)
        return error_set_errno(e, parent, "cannot make the link %s", m->destination);
    if (symlinkat(to, parent, name) < 0) {
        char now[4096];

        n = errno == EEXIST ? readlinkat(parent, name, now, sizeof(now) - 1) : -1;
        if (n < 0 || (size_t)n != strlen(to) || memcmp(now, to, (size_t)n) != 0)
            return error_set_errno(e, EEXIST, "cannot make the link %s", m->destination);
    }
    return 1;
}

static int mount_bind(struct rootfs *r, size_t i, const struct mount_options *o, struct error *e)
{
    const struct oci_mount *m = (const struct oci_mount *)r->p->spec->mounts.items + i;
    bool detached = r->sources[i].detached;
    AUTOFD int source = take_fd(r->sources[i].fd);
    AUTOFD int copy = -EBADF;
    AUTOFD int target = -EBADF;
    int err = o->copy_symlink ? copy_link(r, m, e) : 0;

    if (err != 0)
        return err < 0 ? err : 0;
    if (source < 0)
        source = open_bind_source(r, m, e);
    if (source < 0)
        return source;
    target = open_target(r, m->destination, is_dir_fd(source), e);
    if (target < 0)
        return target;
    err = rootfs_check_target(m->destination, NULL, target, source, e);
    if (err < 0)
        return err;
    if (!detached)
        return mount_bind_at(source, target, o, m->destination, e);
    /* A new copy where the kernel lets a detached tree be copied (Linux 6.15), so that the mounts
     * are numbered, and by that listed, in their order. */
    copy = mount_clone_open(source, "", true);
    return mount_tree_at(copy >= 0 ? copy : source, target, o, m->destination, e);
}

/*
 * v1: a tmpfs with one folder a hierarchy, each showing the container's own cgroup; v2: the
 * container's own cgroup. Bind mounts of the folders, as they need no rights of the namespace and
 * show the same whether there is a cgroup namespace or not.
 */
static int mount_cgroup_v1(struct rootfs *r, int target, const struct mount_options *o,
                           struct error *e)
{
    struct mount_options top = {.attr_set = o->attr_set & ~(uint64_t)MOUNT_ATTR_RDONLY};
    struct mount_options each = {.attr_set = o->attr_set, .bind = true, .bind_rec = true};
    const char *name;
    AUTOFD int tmpfs = -EBADF;
    const char *last = NULL;
    int err;

    strv_push(&top.data, "mode=755");
    tmpfs = mount_fs_open("tmpfs", "tmpfs", &top, e);
    mount_options_done(&top);
    if (tmpfs < 0)
        return tmpfs;
    err = r->shared_mounts ? 0 : mount_attach(tmpfs, target);
    if (err < 0)
        return error_set_errno(e, err, "cannot mount the cgroup folder");
    for (size_t i = 0; (name = cgroup_v1_name(i)); i++) {
        const char *mount_point = cgroup_mount_point(name);
        const char *base = mount_point ? strrchr(mount_point, '/') + 1 : NULL;
        AUTOFREE char *source = NULL;
        AUTOFD int from = -EBADF;
        AUTOFD int on = -EBADF;

        if (!base)
            continue;
        source = xasprintf("%s%s", mount_point, r->cgroup_path);
        if (!(last && STREQ(last, mount_point))) { /* a further controller of the same one? */
            from = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
            if (from < 0)
                continue; /* none for this container */
            if (mkdirat(tmpfs, base, 0755) < 0)
                return error_set_errno(e, errno, "cannot mount cgroup %s", base);
            on = openat(tmpfs, base, O_PATH | O_DIRECTORY | O_CLOEXEC);
            err = on < 0 ? error_set_errno(e, errno, "cannot mount cgroup %s", base)
                         : mount_bind_at(from, on, &each, base, e);
            if (err < 0)
                return err;
            last = mount_point;
        }
        if (!STREQ(base, name))
            (void)!symlinkat(base, tmpfs, name);
    }
    if (o->attr_set & MOUNT_ATTR_RDONLY) {
        err = mount_set_attr(tmpfs, MOUNT_ATTR_RDONLY, 0, false);
        if (err < 0)
            return error_set_errno(e, err, "cannot make the cgroup folder read-only");
    }
    /* In a tree that is attached nowhere nothing can be changed any more. */
    err = r->shared_mounts ? mount_attach(tmpfs, target) : 0;
    return err < 0 ? error_set_errno(e, err, "cannot mount the cgroup folder") : 0;
}

static int mount_cgroup(struct rootfs *r, const struct oci_mount *m, const struct mount_options *o,
                        struct error *e)
{
    struct mount_options bind = {.attr_set = o->attr_set, .bind = true, .bind_rec = true};
    AUTOFD int target = open_target(r, m->destination, true, e);
    AUTOFREE char *own = NULL;
    AUTOFD int source = -EBADF;

    if (target < 0)
        return target;
    /* A delegated part is a cgroup2 wherever its limits are. */
    if (cgroup_host_layout() != CGROUP_V2 && !(r->delegated && STREQ(m->type, "cgroup2")))
        return mount_cgroup_v1(r, target, o, e);
    own = xasprintf("%s%s", cgroup_mount_point(""), r->delegated ? r->delegated : r->cgroup_path);
    source = open(own, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (source < 0)
        return error_set_errno(e, errno, "cannot open %s", own);
    return mount_bind_at(source, target, &bind, m->destination, e);
}

/* Below the new tmpfs lies a folder whose content is to be in it: files, links and folders. */
static int copy_up(int from, int to, int depth, struct error *e);

static int mount_file_system(struct rootfs *r, const struct oci_mount *m, struct mount_options *o,
                             struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    bool proc = STREQ(m->type, "proc"), tmpfs = STREQ(m->type, "tmpfs");
    AUTOFD int target = open_target(r, m->destination, true, e);
    AUTOFD int fd = -EBADF;
    int err;

    if (target < 0)
        return target;
    err = rootfs_check_target(m->destination, m->type, target, -EBADF, e);
    if (err < 0)
        return err;
    if (r->label && !proc && !STREQ(m->type, "sysfs"))
        strv_pushf(&o->data, "context=%s", r->label);
    fd = mount_fs_open(m->type, str_is_empty(m->source) ? m->type : m->source, o, &why);
    if (fd == -ENOSYS)
        return mount_fs_at(m->type, m->source, o, target, m->destination, e);
    if (fd == -EPERM && r->userns && STREQ(m->type, "sysfs")) {
        /* A user namespace without a network namespace of its own may only show the host's. */
        struct mount_options bind = *o;
        AUTOFD int sys = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);

        bind.bind = bind.bind_rec = true;
        bind.data = NULL;
        return mount_bind_at(sys, target, &bind, m->destination, e);
    }
    if (fd < 0) {
        error_add(&why, "mount of %s", m->destination);
        err = fd;
        error_move(e, &why);
        return err;
    }
    if (tmpfs && o->tmpcopyup) {
        err = copy_up(target, fd, 0, e);
        if (err < 0)
            return err;
    }
    if (o->propagation) {
        err = mount_set_propagation(fd, o->propagation, o->propagation_rec);
        if (err < 0)
            return error_set_errno(e, err, "cannot set the propagation of %s", m->destination);
    }
    err = mount_attach(fd, target);
    if (err < 0)
        return error_set_errno(e, err, "cannot mount %s on %s", m->type, m->destination);
    if (proc && r->procfd < 0)
        r->procfd = take_fd(fd);
    return 0;
}

static int mount_one(struct rootfs *r, size_t i, struct error *e)
{
    const struct oci_mount *m = (const struct oci_mount *)r->p->spec->mounts.items + i;
    CLEANUP(mount_options_done) struct mount_options o = {0};

    mount_options_parse(m->options, &o);
    if (o.remount) {
        AUTOFD int target = path_open_in(r->rootfd, m->destination, O_PATH, 0, 0);
        int err = target < 0 ? target : mount_set_attr(target, o.attr_set, o.attr_clear, false);

        return err < 0 ? error_set_errno(e, err, "cannot remount %s", m->destination) : 0;
    }
    if (o.bind || str_is_empty(m->type) || STREQ(m->type, "bind") || STREQ(m->type, "rbind")) {
        o.bind_rec |= m->type && STREQ(m->type, "rbind");
        return mount_bind(r, i, &o, e);
    }
    if (STREQ(m->type, "cgroup") || STREQ(m->type, "cgroup2"))
        return mount_cgroup(r, m, &o, e);
    return mount_file_system(r, m, &o, e);
}

static int copy_file(int from, int to, const char *name, const struct stat *st, struct error *e)
{
    AUTOFD int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    AUTOFD int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    char block[16384];
    ssize_t n;

    if (in < 0 || out < 0)
        return error_set_errno(e, errno, "cannot copy %s into the tmpfs", name);
    while ((n = read(in, block, sizeof(block))) > 0) {
        int err = fs_write_all(out, block, (size_t)n);

        if (err < 0)
            return error_set_errno(e, err, "cannot copy %s into the tmpfs", name);
    }
    if (n < 0 || fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0)
        return error_set_errno(e, errno, "cannot copy %s into the tmpfs", name);
    return 0;
}

/* One entry of a folder that tmpcopyup copies; what is no file, folder or link is left out. */
static int copy_entry(int from, int to, const char *name, int depth, struct error *e)
{
    char link[4096];
    struct stat st;
    ssize_t n;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(e, errno, "cannot copy %s into the tmpfs", name);
    if (S_ISREG(st.st_mode))
        return copy_file(from, to, name, &st, e);
    if (S_ISLNK(st.st_mode)) {
        n = readlinkat(from, name, link, sizeof(link) - 1);
        if (n < 0)
            return error_set_errno(e, errno, "cannot copy %s into the tmpfs", name);
        link[n] = '\0';
        if (symlinkat(link, to, name) < 0)
            return error_set_errno(e, errno, "cannot copy %s into the tmpfs", name);
    } else if (S_ISDIR(st.st_mode)) {
        AUTOFD int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        AUTOFD int out = -EBADF;

        if (in < 0 || mkdirat(to, name, 0700) < 0)
            return error_set_errno(e, errno, "cannot copy %s into the tmpfs", name);
        out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (out < 0)
            return error_set_errno(e, errno, "cannot copy %s into the tmpfs", name);
        return copy_up(in, out, depth + 1, e);
    }
    return 0;
}

static int copy_up(int from, int to, int depth, struct error *e)
{
    AUTOFD int dir = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTOFD int out = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _Alignas(8) char block[8192];
    struct stat st;
    long n = 0;

    if (depth > 64)
        return error_set(e, ERR_INVALID, "tmpcopyup: folders are nested too deeply");
    if (dir < 0 || out < 0 || fstat(dir, &st) < 0 || fchown(out, st.st_uid, st.st_gid) < 0 ||
        fchmod(out, st.st_mode & 07777) < 0)
        return error_set_errno(e, errno, "cannot copy a folder into the tmpfs");
    while ((n = syscall(SYS_getdents64, dir, block, sizeof(block))) > 0) {
        for (long at = 0; at < n;) {
            /* struct linux_dirent64: ino, off, 16 bits of length, 8 of type, name */
            unsigned short len;
            const char *name = block + at + 19;
            int err;

            memcpy(&len, block + at + 16, sizeof(len));
            at += len;
            if (STREQ(name, ".") || STREQ(name, ".."))
                continue;
            err = copy_entry(dir, out, name, depth, e);
            if (err < 0)
                return err;
        }
    }
    return n < 0 ? error_set_errno(e, errno, "cannot read a folder for tmpcopyup") : 0;
}

static int open_one_source(struct rootfs *r, size_t i, struct error *e)
{
    const struct oci_mount *m = (const struct oci_mount *)r->p->spec->mounts.items + i;
    CLEANUP(mount_options_done) struct mount_options o = {0};
    struct mount_source *s = &r->sources[i];
    AUTOFD int source = -EBADF;
    bool propagates, foreign;

    mount_options_parse(m->options, &o);
    propagates = o.propagation & (MS_SHARED | MS_SLAVE);
    foreign = m->source && str_has_prefix(m->source, "/proc/");
    if (!o.bind || o.remount || o.copy_symlink)
        return 0;
    if ((r->userns && !r->rootless) || idmap_is_wanted(m, NULL)) {
        uint32_t index = (uint32_t)i;

        s->detached = true;
        return sync_ask(r->sync, SYNC_NEED_MOUNT, &index, &s->fd, e);
    }
    if (!propagates && !foreign)
        return 0;
    source = open_bind_source(r, m, e);
    if (source < 0)
        return source;
    s->fd = mount_clone_open(source, "", o.bind_rec);
    if (s->fd == -EINVAL && foreign)
        s->fd = shift_open_foreign(m->source, o.bind_rec);
    s->detached = s->fd >= 0;
    if (s->fd == -ENOSYS)
        s->fd = take_fd(source);
    return s->fd < 0 ? error_set_errno(e, s->fd, "cannot bind mount %s", m->source) : 0;
}

/*
 * Bind sources whose propagation matters are cloned while the mounts of the host still are what
 * they were: after that, everything is made private. In a user namespace all come from the stage,
 * as root of the container may not be able to walk to them; idmapped ones always do.
 */
static int open_sources(struct rootfs *r, struct error *e)
{
    size_t n = r->p->spec->mounts.len;
    int err = 0;

    r->sources = xcalloc(n ? n : 1, sizeof(*r->sources));
    for (size_t i = 0; i < n; i++)
        r->sources[i].fd = -EBADF;
    for (size_t i = 0; i < n && err == 0; i++)
        err = open_one_source(r, i, e);
    return err;
}

int rootfs_open(struct rootfs *r, struct error *e)
{
    int err = open_sources(r, e);

    if (err < 0)
        return err;
    if (!r->shared_mounts && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(e, errno, "cannot make the mounts private");
    return mount_root(r, e);
}

int rootfs_mount(struct rootfs *r, struct error *e)
{
    const char *label = r->p->spec->linux->mount_label;
    int err = 0;

    if (!str_is_empty(label) && access("/sys/fs/selinux/enforce", F_OK) == 0)
        r->label = label;
    for (size_t i = 0; err == 0 && i < r->p->spec->mounts.len; i++)
        err = mount_one(r, i, e);
    return err == 0 ? dev_populate(r, e) : err;
}

/* --- after the pivot ------------------------------------------------------------------------ */

/* Sysctls are written through the procfs that was just mounted, whatever the image put over it. */
int rootfs_sysctls(struct rootfs *r, struct error *e)
{
    const struct json_map *m = &r->p->spec->linux->sysctl;

    for (size_t i = 0; i < m->len; i++) {
        AUTOFREE char *path = xasprintf("sys/%s", m->items[i].key);
        bool dots = strcspn(m->items[i].key, ".") < strcspn(m->items[i].key, "/");
        AUTOFD int fd = -EBADF;
        int err;

        /* "net.ipv4.conf.eth0/1.x" and "net/ipv4/conf/eth0.1/x" both are in use. */
        for (char *p = path + 4; dots && *p; p++)
            *p = *p == '.' ? '/' : *p == '/' ? '.' : *p;
        if (r->procfd < 0) { /* none in the container: one that nobody sees */
            struct mount_options none = {0};

            r->procfd = mount_fs_open("proc", "proc", &none, e);
            if (r->procfd < 0)
                return r->procfd;
        }
        fd = path_open_in(r->procfd, path, O_WRONLY, 0, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
        err = fd < 0 ? fd : fs_write_all(fd, m->items[i].value, strlen(m->items[i].value));
        if (err < 0)
            return error_set_errno(e, err, "cannot set sysctl %s to \"%s\"", m->items[i].key,
                                   m->items[i].value);
    }
    return 0;
}

static int make_paths_readonly(struct rootfs *r, struct error *e)
{
    char **paths = r->p->spec->linux->readonly_paths;
    struct mount_options ro = {.attr_set = MOUNT_ATTR_RDONLY, .bind = true, .bind_rec = true};

    for (size_t i = 0; paths && paths[i]; i++) {
        AUTOFD int fd = path_open_in(r->rootfd, paths[i], O_PATH, 0, 0);
        int err;

        if (fd == -ENOENT || fd == -ENOTDIR)
            continue;
        err = fd < 0 ? error_set_errno(e, fd, "cannot open %s", paths[i])
                     : mount_bind_at(fd, fd, &ro, paths[i], e);
        if (err < 0) {
            error_add(e, "read-only path");
            return err;
        }
    }
    return 0;
}

/* Files vanish behind the container's /dev/null - checked to be one -, folders behind one empty,
 * read-only tmpfs that is made once and shown at every place. */
static int mask_one(struct rootfs *r, const char *path, int *null, int *empty, struct error *e)
{
    AUTOFD int fd = path_open_in(r->rootfd, path, O_PATH, 0, 0);
    AUTOFD int cover = -EBADF;
    struct stat st;
    int err;

    if (fd == -ENOENT || fd == -ENOTDIR)
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(e, fd < 0 ? fd : errno, "cannot mask %s", path);
    if (S_ISDIR(st.st_mode)) {
        if (*empty < 0) {
            struct mount_options o = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC |
                                                  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};

            strv_push(&o.data, "nr_blocks=1");
            strv_push(&o.data, "nr_inodes=1");
            *empty = mount_fs_open("tmpfs", "tmpfs", &o, e);
            mount_options_done(&o);
            if (*empty == -ENOSYS)
                return error_set(e, ERR_NOT_SUPPORTED, "masking folders needs the new mount API");
            if (*empty < 0)
                return *empty;
            err = mount_attach(*empty, fd);
            return err < 0 ? error_set_errno(e, err, "cannot mask %s", path) : 0;
        }
        cover = mount_clone_open(*empty, "", false);
    } else {
        if (*null < 0) {
            *null = path_open_in(r->rootfd, "/dev/null", O_PATH | O_NOFOLLOW, 0, 0);
            if (*null < 0 || fstat(*null, &st) < 0 || !S_ISCHR(st.st_mode) ||
                st.st_rdev != makedev(1, 3))
                return error_set(e, ERR_INVALID,
                                 "cannot mask %s: the container's /dev/null is "
                                 "not the null device",
                                 path);
        }
        cover = mount_clone_open(*null, "", false);
    }
    err = cover < 0 ? cover : mount_attach(cover, fd);
    return err < 0 ? error_set_errno(e, err, "cannot mask %s", path) : 0;
}

static int mask_paths(struct rootfs *r, struct error *e)
{
    char **paths = r->p->spec->linux->masked_paths;
    AUTOFD int null = -EBADF;
    AUTOFD int empty = -EBADF;

    for (size_t i = 0; paths && paths[i]; i++) {
        int err = mask_one(r, paths[i], &null, &empty, e);

        if (err < 0)
            return err;
    }
    return 0;
}

static uint64_t propagation_of(const char *name)
{
    if (!name)
        return 0;
    name += name[0] == 'r' ? 1 : 0;
    return STREQ(name, "shared")       ? MS_SHARED
           : STREQ(name, "slave")      ? MS_SLAVE
           : STREQ(name, "unbindable") ? MS_UNBINDABLE
                                       : 0;
}

/*
 * Without pivot_root the host's mounts stay in the namespace, below the new root. A full procfs or
 * sysfs among them would let a user namespace mount new ones, and shows the host to whoever finds a
 * way down there: they are taken away, or covered.
 */
static int hide_host_mounts(const char *root, struct error *e)
{
    AUTOFREE char *text = NULL;
    char *save = NULL;
    size_t len = strlen(root);
    int err = fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, &text, NULL);

    if (err < 0)
        return error_set_errno(e, err, "cannot read the mount table");
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        bool special = strstr(line, " - proc ") || strstr(line, " - sysfs ");
        char mount_point[4096];

        if (!special || sscanf(line, "%*s %*s %*s %*s %4095s", mount_point) != 1 ||
            (strncmp(mount_point, root, len) == 0 && strchr("/", mount_point[len])))
            continue;
        if (umount2(mount_point, MNT_DETACH) == 0 || errno == ENOENT)
            continue;
        if (mount("tmpfs", mount_point, "tmpfs", 0, NULL) < 0)
            return error_set_errno(e, errno, "cannot hide the host's %s", mount_point);
    }
    return 0;
}

static int enter_by_move(struct rootfs *r, struct error *e)
{
    AUTOFREE char *path = rootfs_path(r->p);
    AUTOFREE char *real = realpath(path, NULL);
    int err = real ? hide_host_mounts(real, e)
                   : error_set_errno(e, errno, "cannot enter the root file system");

    if (err < 0)
        return err;
    if (fchdir(r->rootfd) < 0)
        return error_set_errno(e, errno, "cannot enter the root file system");
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        return error_set_errno(e, errno, "cannot move the root file system into place");
    return chdir("/") < 0 ? error_set_errno(e, errno, "cannot enter the root file system") : 0;
}

/* The tree is attached nowhere; it stays as long as somebody has it as root. */
static int enter_tree(struct rootfs *r, struct error *e)
{
    if (fchdir(r->rootfd) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return error_set_errno(e, errno, "cannot enter the root file system");
    return 0;
}

static int enter_by_pivot(struct rootfs *r, struct error *e)
{
    if (fchdir(r->rootfd) < 0)
        return error_set_errno(e, errno, "cannot enter the root file system");
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return error_set_errno(e, errno, "pivot_root failed%s",
                               errno == EINVAL
                                   ? " (is the host's root an initramfs? then --no-pivot helps)"
                                   : "");
    /* The old root now lies on top of the new one. */
    if (umount2(".", MNT_DETACH) < 0)
        return error_set_errno(e, errno, "cannot leave the host's root");
    return chdir("/") < 0 ? error_set_errno(e, errno, "cannot enter the root file system") : 0;
}

int rootfs_enter(struct rootfs *r, struct error *e)
{
    const char *propagation = r->p->spec->linux->rootfs_propagation;
    uint64_t kind = propagation_of(propagation);
    int err;

    err = r->shared_mounts                 ? enter_tree(r, e)
          : r->p->flags & RUNTIME_NO_PIVOT ? enter_by_move(r, e)
                                           : enter_by_pivot(r, e);
    if (err < 0)
        return err;
    err = make_paths_readonly(r, e);
    if (err == 0)
        err = mask_paths(r, e);
    if (err < 0)
        return err;
    if (r->p->spec->root->readonly) {
        err = mount_set_attr(r->rootfd, MOUNT_ATTR_RDONLY, 0, false);
        if (err < 0)
            return error_set_errno(e, err, "cannot make the root file system read-only");
    }
    if (kind && mount(NULL, "/", NULL, kind | (propagation[0] == 'r' ? MS_REC : 0), NULL) < 0)
        return error_set_errno(e, errno, "cannot set rootfsPropagation %s", propagation);
    return 0;
}
