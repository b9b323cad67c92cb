/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the container's /dev: nodes, links, the console. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"
#include "sys/mount-api.h"
#include "sys/path.h"

static const struct {
    const char *name;
    unsigned major, minor;
} default_nodes[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                     {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

static const struct {
    const char *name, *target;
} default_links[] = {{"fd", "/proc/self/fd"},
                     {"stdin", "/proc/self/fd/0"},
                     {"stdout", "/proc/self/fd/1"},
                     {"stderr", "/proc/self/fd/2"},
                     {"ptmx", "pts/ptmx"}};

/* In a user namespace nodes cannot be made: the host's are shown. */
static int bind_node(int dir, const char *name, const char *host_path, struct error *e)
{
    struct mount_options o = {.bind = true};
    AUTOFD int source = open(host_path, O_PATH | O_CLOEXEC);
    AUTOFD int made = -EBADF;
    AUTOFD int target = -EBADF;

    if (source < 0)
        return error_set_errno(e, errno, "cannot give device %s", host_path);
    made = openat(dir, name, O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_EXCL,
                  0644);
    if (made < 0 && errno != EEXIST)
        return error_set_errno(e, errno, "cannot make device node %s", host_path);
    target = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0)
        return error_set_errno(e, errno, "cannot make device node %s", host_path);
    return mount_bind_at(source, target, &o, host_path, e);
}

static int make_node(struct rootfs *r, int dir, const char *name, const char *full, mode_t mode,
                     dev_t dev, uid_t uid, gid_t gid, struct error *e)
{
    struct stat st;

    if (r->userns && !S_ISFIFO(mode))
        return bind_node(dir, name, full, e);
    if (mknodat(dir, name, mode, dev) < 0) {
        if (errno == EEXIST && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            (st.st_mode & S_IFMT) == (mode & S_IFMT) && st.st_rdev == dev)
            return 0;
        if (errno == EPERM)
            return bind_node(dir, name, full, e);
        return error_set_errno(e, errno, "cannot make device node %s", full);
    }
    if ((uid || gid) && fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(e, errno, "cannot set the owner of device node %s", full);
    return 0;
}

static int make_spec_devices(struct rootfs *r, struct error *e)
{
    const struct oci_device *d = r->p->spec->linux->devices.items;

    for (size_t i = 0; i < r->p->spec->linux->devices.len; i++) {
        mode_t type = d[i].type[0] == 'b' ? S_IFBLK : d[i].type[0] == 'p' ? S_IFIFO : S_IFCHR;
        mode_t mode = d[i].file_mode.set ? (mode_t)(d[i].file_mode.value & 07777) : 0666;
        const char *name = NULL;
        AUTOFD int dir = -EBADF;
        int err;

        /* Docker lists the host's own for privileged containers; here it is that of devpts. */
        if (STREQ(d[i].path, "/dev/ptmx"))
            continue;
        dir = path_parent_in(r->rootfd, d[i].path, 0755, &name);
        if (dir < 0)
            return error_set_errno(e, dir, "cannot make device node %s", d[i].path);
        err = make_node(r, dir, name, d[i].path, type | mode,
                        type == S_IFIFO ? 0 : makedev((unsigned)d[i].major, (unsigned)d[i].minor),
                        d[i].uid.set ? (uid_t)d[i].uid.value : 0,
                        d[i].gid.set ? (gid_t)d[i].gid.value : 0, e);
        if (err < 0)
            return err;
    }
    return 0;
}

static bool dev_is_bound(const struct oci_spec *s)
{
    const struct oci_mount *m = s->mounts.items;

    for (size_t i = 0; i < s->mounts.len; i++)
        if (STREQ(m[i].destination, "/dev") &&
            (strv_contains(m[i].options, "bind") || strv_contains(m[i].options, "rbind")))
            return true;
    return false;
}

int dev_populate(struct rootfs *r, struct error *e)
{
    AUTOFD int dev = -EBADF;
    struct stat st;
    int err = 0;

    if (dev_is_bound(r->p->spec))
        return 0;
    dev = path_mkdir_in(r->rootfd, "/dev", 0755, 0, 0);
    if (dev < 0)
        return error_set_errno(e, dev, "cannot make /dev");
    for (size_t i = 0; err == 0 && i < ARRAY_SIZE(default_nodes); i++) {
        AUTOFREE char *full = xasprintf("/dev/%s", default_nodes[i].name);

        err = make_node(r, dev, default_nodes[i].name, full, S_IFCHR | 0666,
                        makedev(default_nodes[i].major, default_nodes[i].minor), 0, 0, e);
    }
    for (size_t i = 0; err == 0 && i < ARRAY_SIZE(default_links); i++) {
        const char *name = default_links[i].name;

        if (symlinkat(default_links[i].target, dev, name) == 0 || errno == EEXIST)
            continue;
        err = error_set_errno(e, errno, "cannot make /dev/%s", name);
    }
    if (err == 0 && stat("/proc/kcore", &st) == 0)
        (void)!symlinkat("/proc/kcore", dev, "core");
    return err == 0 ? make_spec_devices(r, e) : err;
}

/*
 * A terminal the caller opened stands on a mount of the caller's namespace, which cannot be cloned
 * here: it is opened again by its name. -EBADF when it is one of this namespace (the container's).
 */
static int reopen_here(int console)
{
    char at[PATH_FD_MAX], name[64];
    ssize_t n = readlink(path_of_fd(console, at), name, sizeof(name) - 1);
    AUTOFD int fd = -EBADF;
    struct stat a, b;

    if (n <= 0)
        return -EBADF;
    name[n] = '\0';
    fd = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &a) < 0 || fstat(console, &b) < 0 || a.st_dev != b.st_dev ||
        a.st_ino != b.st_ino)
        return -EBADF;
    return take_fd(fd);
}

int dev_console(struct rootfs *r, int console, struct error *e)
{
    AUTOFD int host = -EBADF;
    struct mount_options o = {.bind = true, .attr_set = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID};
    AUTOFD int dev = -EBADF;
    AUTOFD int target = -EBADF;
    struct stat st;

    if (console < 0 || dev_is_bound(r->p->spec))
        return 0;
    if (fstat(console, &st) < 0 || !S_ISCHR(st.st_mode) || major(st.st_rdev) < 136 ||
        major(st.st_rdev) > 143)
        return error_set(e, ERR_INVALID, "the console is no terminal");
    dev = path_open_in(r->rootfd, "/dev", O_PATH | O_DIRECTORY, 0, 0);
    if (dev < 0)
        return error_set_errno(e, dev, "cannot open /dev");
    target = openat(dev, "console", O_CREAT | O_EXCL | O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (target < 0 && errno != EEXIST)
        return error_set_errno(e, errno, "cannot make /dev/console");
    if (target >= 0)
        close(take_fd(target));
    target = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0 || fstat(target, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISCHR(st.st_mode)))
        return error_set(e, ERR_INVALID, "the container's /dev/console is neither file nor device");
    host = reopen_here(console);
    return mount_bind_at(host >= 0 ? host : console, target, &o, "/dev/console", e);
}
