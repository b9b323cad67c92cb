/* SPDX-License-Identifier: Apache-2.0 */
/* Mounting overlayfs: see overlay.h. */
#include "sys/overlay.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/strv.h"
#include "sys/caps.h"

/* fsconfig(2) takes strings of up to 255 bytes. */
#define FSCONFIG_STRING_MAX 255

/* What the kernel wrote into the context's log, the text a user can act on; "" when nothing. */
static void read_fs_log(int fs, char *out, size_t size)
{
    ssize_t n = read(fs, out, size - 1);

    if (n < 0)
        n = 0;
    out[n] = 0;
    while (n > 0 && out[n - 1] == '\n')
        out[--n] = 0;
    /* Lines begin with their severity: "e overlay: …". */
    if (n > 2 && out[1] == ' ')
        memmove(out, out + 2, (size_t)n - 1);
}

static int fail_fs(int fs, const char *what, int errnum, struct error *e)
{
    char log[512];

    read_fs_log(fs, log, sizeof log);
    if (log[0])
        return error_set_errno(e, errnum, "mount overlay: %s: %s", what, log);
    return error_set_errno(e, errnum, "mount overlay: %s", what);
}

/* A read-only overlay needs two layers; of one alone, a bind of it shows the same. */
static int open_single(const char *dir, int *ret_fd, struct error *e)
{
    int fd = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (fd < 0)
        return error_set_errno(e, errno, "mount layer %s", dir);
    *ret_fd = fd;
    return 0;
}

static int move_to(int fd, const char *target, struct error *e)
{
    if (move_mount(fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return error_set_errno(e, errno, "mount overlay on %s", target);
    return 0;
}

/* Sets a path option, by way of an fd when the path is too long for fsconfig(). 0 or -errno. */
static int config_path(int fs, const char *key, const char *path)
{
    AUTOFD int fd = -EBADF;
    char magic[32];

    if (strlen(path) > FSCONFIG_STRING_MAX) {
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        (void)snprintf(magic, sizeof magic, "/proc/self/fd/%d", fd);
    }
    return fsconfig(fs, FSCONFIG_SET_STRING, key, fd < 0 ? path : magic, 0) < 0 ? -errno : 0;
}

static int set_path(int fs, const char *key, const char *path, struct error *e)
{
    int r = config_path(fs, key, path);

    return r < 0 ? fail_fs(fs, path, r, e) : 0;
}

static int set_option(int fs, const char *option, struct error *e)
{
    AUTOFREE char *key = xstrdup(option);
    char *value = strchr(key, '=');
    int r;

    if (value)
        *value++ = 0;
    r = fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0);
    return r < 0 ? fail_fs(fs, option, errno, e) : 0;
}

/*
 * Before Linux 6.5 overlayfs knew fsconfig(2) only through the kernel's compatibility layer
 * (legacy_fs_context), which takes every option and has it refused, with a line in the kernel's
 * log, when the mount is created. An option that cannot exist tells that layer apart beforehand.
 */
static bool takes_any_option(int fs)
{
    return fsconfig(fs, FSCONFIG_SET_FLAG, "pouch_no_such_option", NULL, 0) == 0;
}

/*
 * File system ids of the thread, with all capabilities it has: the kernel takes those over files
 * away from an fsuid that is not 0. It also forgets the death signal and makes the process
 * undumpable, which its parent and /proc would notice.
 */
struct fs_ids {
    bool changed;
    int dumpable, death_signal;
};

static void raise_caps(void)
{
    struct caps_sets caps = {.permitted = 0};

    if (caps_get(&caps) == 0)
        (void)!caps_set(caps.permitted, caps.permitted, caps.inheritable);
}

static void fs_ids_set(const struct sys_overlay *o, struct fs_ids *ret)
{
    *ret = (struct fs_ids){.changed = o->as_ids};
    if (!o->as_ids)
        return;
    ret->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_GET_PDEATHSIG, &ret->death_signal, 0, 0, 0);
    (void)setfsgid(o->gid);
    (void)setfsuid(o->uid);
    raise_caps();
}

static void fs_ids_done(const struct fs_ids *ids)
{
    if (!ids->changed)
        return;
    (void)setfsuid(geteuid());
    (void)setfsgid(getegid());
    raise_caps();
    (void)prctl(PR_SET_PDEATHSIG, ids->death_signal, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, ids->dumpable == 1, 0, 0, 0);
}

static int create_superblock(int fs, const struct sys_overlay *o, struct error *e)
{
    struct fs_ids ids;
    int errnum;

    fs_ids_set(o, &ids);
    errnum = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? errno : 0;
    fs_ids_done(&ids);
    return errnum ? fail_fs(fs, "create", errnum, e) : 0;
}

int sys_overlay_open(const struct sys_overlay *o, int *ret_fd, struct error *e)
{
    AUTOFD int fs = -EBADF;
    struct stat st;
    int fd;
    int r;

    if (!o->upper && strv_len(o->lower) == 1)
        return open_single(o->lower[0], ret_fd, e);
    fs = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs < 0)
        return error_set_errno(e, errno, "mount overlay");
    if (takes_any_option(fs))
        return error_set(e, ERR_NOT_SUPPORTED, "this kernel cannot take layers one by one");
    /* From 6.5 on the key is not always known; a folder gives EINVAL for no other reason. */
    r = config_path(fs, "lowerdir+", o->lower[0]);
    if (r == -EINVAL && stat(o->lower[0], &st) == 0 && S_ISDIR(st.st_mode))
        return error_set(e, ERR_NOT_SUPPORTED, "this kernel cannot take layers one by one");
    if (r < 0)
        return fail_fs(fs, o->lower[0], r, e);
    for (char *const *l = o->lower + 1; *l; l++) {
        r = set_path(fs, "lowerdir+", *l, e);
        if (r < 0)
            return r;
    }
    if (o->upper) {
        r = set_path(fs, "upperdir", o->upper, e);
        if (r == 0)
            r = set_path(fs, "workdir", o->work, e);
        if (r < 0)
            return r;
    }
    for (char *const *opt = o->options; opt && *opt; opt++) {
        r = set_option(fs, *opt, e);
        if (r < 0)
            return r;
    }
    (void)fsconfig(fs, FSCONFIG_SET_STRING, "source", "overlay", 0);
    r = create_superblock(fs, o, e);
    if (r < 0)
        return r;
    fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    if (fd < 0)
        return fail_fs(fs, "fsmount", errno, e);
    *ret_fd = fd;
    return 0;
}

/* Fds that stand for the paths in the option text; closed together. */
struct path_fds {
    int fds[512];
    size_t len;
};

static void path_fds_done(struct path_fds *p)
{
    while (p->len)
        (void)close(p->fds[--p->len]);
}

static int add_path(struct path_fds *p, struct buf *data, const char *before, const char *path,
                    struct error *e)
{
    int fd;

    if (p->len == ARRAY_SIZE(p->fds))
        return error_set(e, ERR_INVALID, "mount overlay: more than %zu layers",
                         ARRAY_SIZE(p->fds) - 2);
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, errno, "open layer %s", path);
    p->fds[p->len++] = fd;
    if (buf_printf(data, "%s/proc/self/fd/%d", before, fd) < 0)
        return error_set(e, ERR_INVALID, "mount overlay: too many layers for one mount");
    return 0;
}

int sys_overlay_mount_legacy(const struct sys_overlay *o, const char *target, struct error *e)
{
    AUTO(path_fds) struct path_fds fds = {.len = 0};
    AUTO(buf) struct buf data = BUF_INIT((size_t)sysconf(_SC_PAGESIZE) - 1);
    const char *before = "lowerdir=";
    struct fs_ids ids;
    int r;

    if (!o->upper && strv_len(o->lower) == 1) {
        AUTOFD int fd = -EBADF;

        r = open_single(o->lower[0], &fd, e);
        return r < 0 ? r : move_to(fd, target, e);
    }
    for (char *const *l = o->lower; *l; l++, before = ":") {
        r = add_path(&fds, &data, before, *l, e);
        if (r < 0)
            return r;
    }
    if (o->upper) {
        r = add_path(&fds, &data, ",upperdir=", o->upper, e);
        if (r == 0)
            r = add_path(&fds, &data, ",workdir=", o->work, e);
        if (r < 0)
            return r;
    }
    for (char *const *opt = o->options; opt && *opt; opt++) {
        if (buf_printf(&data, ",%s", *opt) < 0)
            return error_set(e, ERR_INVALID, "mount overlay: too many layers for one mount");
    }
    fs_ids_set(o, &ids);
    r = mount("overlay", target, "overlay", 0, buf_str(&data)) < 0 ? -errno : 0;
    fs_ids_done(&ids);
    return r < 0 ? error_set_errno(e, r, "mount overlay on %s", target) : 0;
}

int sys_overlay_mount(const struct sys_overlay *o, const char *target, struct error *e)
{
    struct error why = ERROR_INIT;
    AUTOFD int fd = -EBADF;
    int r = sys_overlay_open(o, &fd, &why);

    if (r == 0)
        return move_to(fd, target, e);
    if (why.code != ERR_NOT_SUPPORTED) {
        error_move(e, &why);
        return r;
    }
    error_done(&why);
    return sys_overlay_mount_legacy(o, target, e);
}
