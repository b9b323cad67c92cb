/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done with the host's rights. By the stage for a container in a user namespace: the root
 * and the bind mounts are opened here and sent to init as detached mounts, their ids shifted where
 * that is asked for; streams are given to the container's root; limits are raised. And what stands
 * in another container's mount namespace (its /dev/shm) is fetched from there.
 *
 * Both the layers and the upper folder of an overlay are shown shifted (Linux 5.19), so that what a
 * container writes has the container's own ids on disk: the range of host ids is in no file, may
 * change, and goes back without a trace.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"
#include "sys/mount-api.h"
#include "sys/overlay.h"

#define LAYERS_MAX 256

/* --- ids -------------------------------------------------------------------------------------- */

int userns_host_id(pid_t pid, const char *file, uint64_t *ret)
{
    uint64_t inside, outside, size;
    AUTOFREE char *text = NULL;
    char path[64];
    size_t len = 0;
    int r;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    r = fs_read_file(AT_FDCWD, path, 1 << 16, &text, &len);
    if (r < 0)
        return r;
    for (char *line = text; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64, &inside, &outside, &size) == 3 &&
            inside == 0 && size > 0) {
            *ret = outside;
            return 0;
        }
    return -ENOENT;
}

static int host_root(pid_t pid, uid_t *uid, gid_t *gid, struct error *e)
{
    uint64_t u = 0, g = 0;
    int r = userns_host_id(pid, "uid_map", &u);

    if (r == 0)
        r = userns_host_id(pid, "gid_map", &g);
    if (r == -ENOENT)
        return error_set(e, ERR_INVALID,
                         "the container's user namespace has no root: user and group 0 must be in "
                         "its id mappings");
    if (r < 0)
        return error_set_errno(e, r, "cannot read the id mappings of the container");
    *uid = (uid_t)u;
    *gid = (gid_t)g;
    return 0;
}

void userns_take_ids(uint64_t uid, uint64_t gid)
{
    struct caps_sets caps = {.permitted = 0};

    if (uid == 0 && gid == 0)
        return;
    (void)setfsgid((gid_t)gid);
    (void)setfsuid((uid_t)uid);
    if (caps_get(&caps) == 0) /* those over files went with the id */
        (void)!caps_set(caps.permitted, caps.permitted, caps.inheritable);
}

void userns_give_streams(const struct runtime_io *io, pid_t pid)
{
    const int fds[] = {io->stdin_fd, io->stdout_fd, io->stderr_fd, io->console_fd};
    uid_t uid;
    gid_t gid;

    if (host_root(pid, &uid, &gid, NULL) < 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        struct stat st;
        bool terminal;

        if (fds[i] < 0 || fstat(fds[i], &st) < 0 || st.st_uid != 0)
            continue;
        terminal = S_ISCHR(st.st_mode) && major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143;
        if (terminal || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
            (void)!fchown(fds[i], uid, gid);
    }
}

void userns_raise_limits(const struct oci_process *process, pid_t pid)
{
    const struct oci_rlimit *want = process->rlimits.items;

    for (size_t i = 0; i < process->rlimits.len; i++) {
        int number = process_rlimit_number(want[i].type);
        struct rlimit now;

        if (number < 0 || prlimit(pid, (__rlimit_resource_t)number, NULL, &now) < 0 ||
            now.rlim_max >= want[i].hard)
            continue;
        now.rlim_max = want[i].hard;
        /* What cannot be raised here is warned about by init. */
        (void)prlimit(pid, (__rlimit_resource_t)number, &now, NULL);
    }
}

/* --- detached mounts -------------------------------------------------------------------------- */

static int cannot_shift(const char *path, int errnum, struct error *e)
{
    if (errnum == -EINVAL || errnum == -ENOSYS || errnum == -EOPNOTSUPP)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "cannot shift the ids of %s into the container's user namespace: idmapped "
                         "mounts need a file system and a kernel that know them (ext4, xfs and "
                         "btrfs with Linux 5.19, tmpfs with 6.3); use --userns host",
                         path);
    return error_set_errno(e, errnum,
                           "cannot shift the ids of %s into the container's user namespace", path);
}

/* A detached view of a folder with its ids shifted into the user namespace. */
static int open_shifted(const char *path, int userns_fd, struct error *e)
{
    AUTOFD int fd = mount_clone_open(AT_FDCWD, path, false);
    int r = fd < 0 ? fd : mount_set_idmap(fd, userns_fd, false);

    return r < 0 ? cannot_shift(path, r, e) : take_fd(fd);
}

/* The detached mounts an overlay is made of. */
struct parts {
    int lower[LAYERS_MAX];
    size_t n;
    int upper; /* the folder that holds the upper and the work folder */
    char *upper_name, *work_name;
};

static void parts_done(struct parts *p)
{
    while (p->n > 0)
        close(p->lower[--p->n]);
    if (p->upper >= 0)
        close(p->upper);
    free(p->upper_name);
    free(p->work_name);
}

/* Upper and work folder must stand on one mount: their common folder is what is shifted. */
static int open_upper(const struct oci_overlay *o, int userns_fd, struct parts *p, struct error *e)
{
    const char *u = strrchr(o->upper, '/'), *w = o->work ? strrchr(o->work, '/') : NULL;
    AUTOFREE char *dir = NULL;

    if (!u || !w || u - o->upper != w - o->work ||
        strncmp(o->upper, o->work, (size_t)(u - o->upper)) != 0)
        return error_set(e, ERR_INVALID,
                         "the upper and the work folder must stand side by side for a user "
                         "namespace: %s, %s",
                         o->upper, o->work ? o->work : "(none)");
    dir = xstrndup(o->upper, (size_t)(u - o->upper));
    p->upper_name = xstrdup(u + 1);
    p->work_name = xstrdup(w + 1);
    p->upper = open_shifted(dir, userns_fd, e);
    return p->upper < 0 ? p->upper : 0;
}

static int open_parts(const struct oci_overlay *o, int userns_fd, struct parts *p, struct error *e)
{
    int r = 0;

    if (strv_len(o->lower) > LAYERS_MAX)
        return error_set(e, ERR_INVALID, "too many layers for a user namespace (%zu)",
                         strv_len(o->lower));
    for (size_t i = 0; r == 0 && o->lower && o->lower[i]; i++) {
        int fd = open_shifted(o->lower[i], userns_fd, e);

        if (fd < 0)
            r = fd;
        else
            p->lower[p->n++] = fd;
    }
    return r == 0 && o->upper ? open_upper(o, userns_fd, p, e) : r;
}

/* The overlay's description, with each part reached by `at(part)`. */
static char **lower_paths(const struct parts *p, const char *dir)
{
    char **lower = NULL;

    for (size_t i = 0; i < p->n; i++)
        if (dir)
            strv_pushf(&lower, "%s/%zu", dir, i);
        else
            strv_pushf(&lower, "/proc/self/fd/%d", p->lower[i]);
    return lower;
}

static char *part_path(int fd, const char *name)
{
    return name ? xasprintf("/proc/self/fd/%d/%s", fd, name) : NULL;
}

static int open_detached(const struct parts *p, struct sys_overlay *o, int *ret_fd, struct error *e)
{
    AUTOPTR(strv) char **lower = lower_paths(p, NULL);
    AUTOFREE char *upper = part_path(p->upper, p->upper_name);
    AUTOFREE char *work = part_path(p->upper, p->work_name);

    o->lower = lower;
    o->upper = upper;
    o->work = work;
    return sys_overlay_open(o, ret_fd, e);
}

/*
 * Before Linux 6.15 overlayfs takes attached mounts only, and before 6.5 it cannot be mounted
 * detached: a child attaches the parts to a tmpfs on the container's mount point, in a mount
 * namespace that goes with it, mounts the overlay over it all and sends a detached copy.
 */
static int attach_part(int part, const char *dir, const char *name, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);
    AUTOFD int target = -EBADF;
    int r;

    if (mkdir(path, 0700) < 0)
        return error_set_errno(e, errno, "cannot make %s", path);
    target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    r = target < 0 ? -errno : mount_attach(part, target);
    return r < 0 ? error_set_errno(e, r, "cannot attach a layer to %s", path) : 0;
}

static int mount_attached(const struct parts *p, struct sys_overlay *o, const char *dir,
                          struct error *e)
{
    AUTOPTR(strv) char **lower = lower_paths(p, dir);
    AUTOFREE char *upper = xasprintf("%s/u/%s", dir, p->upper_name ? p->upper_name : "");
    AUTOFREE char *work = xasprintf("%s/u/%s", dir, p->work_name ? p->work_name : "");
    int r = 0;
    int fd;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "mode=700,size=1m") < 0)
        return error_set_errno(e, errno, "cannot make a mount namespace for the root file system");
    for (size_t i = 0; r == 0 && i < p->n; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "%zu", i);
        r = attach_part(p->lower[i], dir, name, e);
    }
    if (r == 0 && p->upper >= 0)
        r = attach_part(p->upper, dir, "u", e);
    o->lower = lower;
    o->upper = p->upper >= 0 ? upper : NULL;
    o->work = p->upper >= 0 ? work : NULL;
    if (r == 0)
        r = sys_overlay_mount(o, dir, e);
    if (r < 0)
        return r;
    fd = mount_clone_open(AT_FDCWD, dir, false);
    return fd < 0 ? error_set_errno(e, fd, "cannot detach the root file system") : fd;
}

static int open_in_child(const struct parts *p, struct sys_overlay *o, const char *dir, int *ret_fd,
                         struct error *e)
{
    struct sync_msg msg = {.type = 0};
    AUTOFD int ours = -EBADF;
    int sync[2];
    pid_t pid;
    int r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    ours = sync[0];
    pid = fork();
    if (pid == 0) {
        struct error why = ERROR_INIT;
        int fd = mount_attached(p, o, dir, &why);

        (void)!sync_send(sync[1], fd < 0 ? SYNC_ERROR : SYNC_GO_ON, fd < 0 ? &why : NULL, NULL,
                         fd < 0 ? -EBADF : fd);
        _exit(0);
    }
    close(sync[1]);
    if (pid < 0)
        return error_set_errno(e, errno, "cannot fork");
    r = sync_recv(ours, &msg, ret_fd);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (r == 1 && msg.type == SYNC_GO_ON && *ret_fd >= 0)
        return 0;
    if (r == 1 && msg.type == SYNC_ERROR)
        return status_to_error(&msg.status, e);
    return error_set(e, ERR_INTERNAL, "mounting the root file system ended without a word");
}

int shift_open_overlay(const struct runtime_create *p, int userns_fd, pid_t pid, struct error *e)
{
    const struct oci_overlay *o = p->spec->pouch->overlay;
    CLEANUP(error_done) struct error why = ERROR_INIT;
    CLEANUP(parts_done) struct parts parts = {.upper = -EBADF};
    struct sys_overlay so = {.options = o->options, .as_ids = o->upper != NULL};
    AUTOFREE char *dir = NULL;
    int fd = -EBADF;
    int r = host_root(pid, &so.uid, &so.gid, e);

    if (r == 0)
        r = open_parts(o, userns_fd, &parts, e);
    if (r < 0)
        return r;
    r = open_detached(&parts, &so, &fd, &why);
    if (r < 0) {
        CLEANUP(error_done) struct error again = ERROR_INIT;

        dir = rootfs_path(p);
        if (fs_mkdir_p(dir, 0711) < 0 || open_in_child(&parts, &so, dir, &fd, &again) < 0) {
            error_move(e, again.code ? &again : &why);
            error_add(e, "root file system in a user namespace (Linux 5.19 or later is needed; use "
                         "--userns host)");
            return r;
        }
    }
    return fd;
}

int shift_open_folder(const char *path, int userns_fd, struct error *e)
{
    return open_shifted(path, userns_fd, e);
}

/* --- bind mounts of another container's ---------------------------------------------------------- */

/* In the child: the mount at path of process pid's root, seen from pid's own namespace. */
static int open_inside(const char *ns, const char *path, bool rec)
{
    AUTOFD int fd = open(ns, O_RDONLY | O_CLOEXEC);
    AUTOFD int source = -EBADF;

    if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
        return -errno;
    source = open(path, O_PATH | O_CLOEXEC);
    return source < 0 ? -errno : mount_clone_open(source, "", rec);
}

int shift_open_foreign(const char *path, bool rec)
{
    struct sync_msg msg = {.type = 0};
    AUTOFD int ours = -EBADF;
    int sync[2], at = 0, fd = -EBADF;
    char ns[64];
    pid_t pid;
    int r;

    if (sscanf(path, "/proc/%d/root%n", &pid, &at) != 1 || !at || path[at] != '/')
        return -EINVAL;
    (void)snprintf(ns, sizeof(ns), "/proc/%d/ns/mnt", pid);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
        return -errno;
    ours = sync[0];
    pid = fork();
    if (pid == 0) {
        fd = open_inside(ns, path + at, rec);
        (void)!sync_send(sync[1], fd < 0 ? SYNC_ERROR : SYNC_GO_ON, NULL, NULL,
                         fd < 0 ? -EBADF : fd);
        _exit(0);
    }
    close(sync[1]);
    r = pid < 0 ? -errno : sync_recv(ours, &msg, &fd);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return r == 1 && fd >= 0 ? fd : -EINVAL;
}
