/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts into and out of a running container: see runtime_mounts() in runtime.h.
 *
 * Sources are cloned (detached, with their options in force) while the process still stands in the
 * host's mount namespace; then it joins the container's and goes from descriptor to descriptor.
 * What lies at a target is never asked anything: a file system that is dead or hangs (lxcfs that
 * was killed or stopped) is taken away all the same. Nothing here goes through /proc/self, which
 * in the container's /proc does not exist.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"
#include "sys/mount-api.h"
#include "sys/path.h"

/* One order on its way; what is needed to take it back. */
struct order {
    const struct runtime_mount *m;
    struct mount_options options;
    int source;   /* detached clone, or -EBADF */
    bool dir;     /* source is a folder */
    int old;      /* clone of what was taken away, or -EBADF */
    bool removed; /* the old one is off */
    bool added;
};

static bool puts_in(const struct runtime_mount *m)
{
    return m->op == RUNTIME_MOUNT_ADD ||
           (m->op == RUNTIME_MOUNT_REPLACE && !str_is_empty(m->source));
}

static void order_done(struct order *o)
{
    mount_options_done(&o->options);
    if (o->source >= 0)
        close(o->source);
    if (o->old >= 0)
        close(o->old);
}

/* idmap: with the mappings of the container's user namespace. */
static int shift_ids(const struct order *o, pid_t init_pid, struct error *e)
{
    AUTOFREE char *path = xasprintf("/proc/%d/ns/user", init_pid);
    AUTOFD int userns = open(path, O_RDONLY | O_CLOEXEC);
    int r = userns < 0 ? -errno : mount_set_idmap(o->source, userns, o->options.idmap_rec);

    return r < 0 ? error_set_errno(e, r,
                                   "cannot shift the ids of %s into the container's user namespace",
                                   o->m->source)
                 : 0;
}

static int clone_source(struct order *o, pid_t init_pid, struct error *e)
{
    const struct runtime_mount *m = o->m;
    struct stat st;
    int r;

    mount_options_parse(m->options, &o->options);
    if (strv_len(o->options.data))
        return error_set(e, ERR_INVALID, "mount of %s: option \"%s\" is not for a bind mount",
                         m->target, o->options.data[0]);
    if (str_is_empty(m->source) || m->source[0] != '/')
        return error_set(e, ERR_INVALID, "mount of %s: the source must be an absolute path",
                         m->target);
    o->source = mount_clone_open(AT_FDCWD, m->source, o->options.bind_rec);
    if (o->source == -ENOENT)
        return error_set(e, ERR_INVALID, "bind source path does not exist: %s", m->source);
    if (o->source < 0 || fstat(o->source, &st) < 0)
        return error_set_errno(e, o->source < 0 ? o->source : errno, "cannot bind mount %s",
                               m->source);
    o->dir = S_ISDIR(st.st_mode);
    r = o->options.idmap || o->options.idmap_rec ? shift_ids(o, init_pid, e) : 0;
    if (r < 0)
        return r;
    r = mount_set_attr(o->source, o->options.attr_set, o->options.attr_clear & ~o->options.attr_set,
                       false);
    if (r == 0)
        r = mount_set_attr(o->source, o->options.rec_attr_set, o->options.rec_attr_clear, true);
    if (r < 0)
        return error_set_errno(e, r,
                               "cannot set mount options of %s (in a running container they need "
                               "Linux 5.12)",
                               m->target);
    return 0;
}

/* Is there a mount right at this descriptor? Its file system is not asked. */
static bool is_mount_root(int fd)
{
    struct statx sx;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx) < 0)
        return errno == ENOTCONN || errno == ESTALE || errno == EIO; /* dead, so not the parent's */
    return sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* umount2() by folder and name: no name of ours leads to a descriptor in there. */
static int unmount_at(int root, const char *target)
{
    const char *name;
    AUTOFD int parent = path_parent_in(root, target, 0755, &name);

    if (parent < 0)
        return parent;
    if (fchdir(parent) < 0 || umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        return -errno;
    return fchdir(root) < 0 ? -errno : 0;
}

/* A REPLACE finds none at the first time, or when the user took it away. */
static int take_away(struct order *o, int root, struct error *e)
{
    const char *target = o->m->target;
    AUTOFD int fd = path_open_in(root, target, O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_MAGICLINKS);
    int r;

    if (fd < 0 || !is_mount_root(fd)) {
        if (o->m->op == RUNTIME_MOUNT_REPLACE)
            return 0;
        return error_set(e, ERR_NOT_FOUND, "nothing is mounted on %s", target);
    }
    o->old = mount_clone_open(fd, "", true);
    r = unmount_at(root, target);
    if (r < 0)
        return error_set_errno(e, r, "cannot unmount %s", target);
    o->removed = true;
    return 0;
}

static int put_in(struct order *o, int root, struct error *e)
{
    const char *target = o->m->target;
    AUTOFD int fd = o->dir ? path_mkdir_in(root, target, 0755, 0, 0)
                           : path_make_file_in(root, target, 0644);
    struct stat st;
    int r;

    if (fd == -ENOTDIR || (fd >= 0 && fstat(fd, &st) == 0 && !o->dir != !S_ISDIR(st.st_mode)))
        return error_set(e, ERR_INVALID, "cannot mount on %s: %s", target,
                         o->dir ? "not a directory" : "is a directory");
    if (fd < 0)
        return error_set_errno(e, fd, "cannot make the mount point %s", target);
    r = rootfs_check_target(target, NULL, fd, o->source, e);
    if (r < 0)
        return r;
    r = mount_attach(o->source, fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot mount on %s", target);
    o->added = true;
    /* A clone of a shared mount is a peer of it: private unless said otherwise. */
    r = mount_set_propagation(o->source,
                              o->options.propagation ? o->options.propagation : MS_PRIVATE,
                              !o->options.propagation || o->options.propagation_rec);
    return r < 0 ? error_set_errno(e, r, "cannot set the propagation of %s", target) : 0;
}

static int carry_out(struct order *o, int root, struct error *e)
{
    int r = o->m->op == RUNTIME_MOUNT_ADD ? 0 : take_away(o, root, e);

    return r == 0 && puts_in(o->m) ? put_in(o, root, e) : r;
}

static void take_back(struct order *o, int root)
{
    if (o->added)
        (void)!unmount_at(root, o->m->target);
    if (o->removed && o->old >= 0) {
        AUTOFD int fd = path_open_in(root, o->m->target, O_PATH | O_NOFOLLOW, 0,
                                     RESOLVE_NO_MAGICLINKS);

        if (fd >= 0)
            (void)!mount_attach(o->old, fd);
    }
}

static int enter(pid_t pid, int *ret_root, struct error *e)
{
    AUTOFREE char *path = xasprintf("/proc/%d/ns/mnt", pid);
    AUTOFD int ns = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t uid = 0, gid = 0; /* a user namespace without a root: mount points cannot be made */

    (void)!userns_host_id(pid, "uid_map", &uid);
    (void)!userns_host_id(pid, "gid_map", &gid);
    if (ns < 0 && errno == ENOENT)
        return error_set(e, ERR_CONFLICT, "the container's init (process %d) has ended", pid);
    if (ns < 0)
        return error_set_errno(e, errno, "cannot open %s", path);
    /* From here on the container could look at this process. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_set_errno(e, errno, "cannot become undumpable");
    if (setns(ns, CLONE_NEWNS) < 0)
        return error_set_errno(e, errno, "cannot join the mount namespace of process %d", pid);
    userns_take_ids(uid, gid);
    *ret_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return *ret_root < 0 ? error_set_errno(e, errno, "cannot open the container's root") : 0;
}

/* A device that was bound to an empty file of our own making leaves no file in /dev. */
static void drop_leftover(const struct order *o, int root)
{
    const char *name;
    AUTOFD int parent = -EBADF;
    AUTOFD int fd = -EBADF;
    struct stat st;

    if (o->m->op != RUNTIME_MOUNT_REMOVE || !str_has_prefix(o->m->target, "/dev/"))
        return;
    parent = path_parent_in(root, o->m->target, 0755, &name);
    fd = parent < 0 ? parent : openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && !is_mount_root(fd) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_size == 0)
        (void)unlinkat(parent, name, 0);
}

int runtime_mounts(pid_t init_pid, const struct runtime_mount *mounts, size_t n, struct error *e)
{
    AUTOFREE struct order *orders = xcalloc(n + 1, sizeof(*orders));
    AUTOFD int root = -EBADF;
    size_t done = 0;
    int r = 0;

    umask(0);
    for (size_t i = 0; i < n; i++)
        orders[i] = (struct order){.m = &mounts[i], .source = -EBADF, .old = -EBADF};
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (mounts[i].target[0] != '/' || mounts[i].target[strspn(mounts[i].target, "/.")] == '\0')
            r = error_set(e, ERR_INVALID, "mount target \"%s\" is not an absolute path below /",
                          mounts[i].target);
        else if (puts_in(&mounts[i]))
            r = clone_source(&orders[i], init_pid, e);
    }
    if (r == 0)
        r = enter(init_pid, &root, e);
    for (; r == 0 && done < n; done++)
        r = carry_out(&orders[done], root, e);
    /* The one that failed may have done half of its work. */
    while (r < 0 && done > 0)
        take_back(&orders[--done], root);
    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            drop_leftover(&orders[i], root);
        order_done(&orders[i]);
    }
    return r;
}
