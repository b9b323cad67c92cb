/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a container's files by pouch-pack: what it gets, and how it ended. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "io/spawn.h"
#include "rootfs/rootfs-priv.h"
#include "sys/mount-api.h"

#define PIPE_SIZE  (1024 * 1024)
#define REPORT_MAX 1024

struct rootfs_packer {
    pid_t pid;
    int report_fd;
};

int rootfs_upper(struct rootfs *rf, const char *container_dir, char **ret)
{
    AUTOFREE char *path = xasprintf("%s/diff", container_dir);
    struct stat st;

    (void)rf; /* the same for all drivers: an overlay's upper folder */
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    if (ret)
        *ret = take_ptr(path);
    return 1;
}

/* The layers, with what the container wrote on top, as one read-only tree. */
static int open_tree_of(struct rootfs *rf, char *const *layers, const char *upper, int *ret_fd,
                        struct error *e)
{
    CLEANUP(rootfs_mount_done) struct rootfs_mount view = {.type = NULL};
    AUTOPTR(strv) char **all = strv_copy(layers);
    int r;

    if (upper)
        strv_push(&all, upper);
    r = rootfs_view(rf, all, &view, e);
    return r < 0 ? r : rootfs_mount_detached(&view, ret_fd, e);
}

/* The upper folder alone, read-only. */
static int open_upper(const char *upper, int *ret_fd, struct error *e)
{
    AUTOFD int fd = mount_clone_open(AT_FDCWD, upper, false);

    if (fd < 0)
        return error_set_errno(e, fd, "bind %s", upper);
    (void)!mount_set_attr(fd, MOUNT_ATTR_RDONLY, 0, false); /* Linux 5.12; pack writes nothing */
    *ret_fd = take_fd(fd);
    return 0;
}

static int spawn(struct rootfs_packer *p, char *const *argv, int tree, int lower, int *ret_fd,
                 struct error *e)
{
    AUTOFREE char *program = self_program_path("pouch-pack");
    int data[2], report[2];

    if (pipe2(data, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot make a pipe");
    if (pipe2(report, O_CLOEXEC) < 0) {
        int err = errno;

        (void)close(data[0]);
        (void)close(data[1]);
        return error_set_errno(e, err, "cannot make a pipe");
    }
    (void)fcntl(data[1], F_SETPIPE_SZ, PIPE_SIZE); /* a smaller one is only slower */
    const struct spawn_fd fds[] = {{tree, 3}, {report[1], 5}, {lower, 4}};
    const struct spawn_params sp = {.program = program,
                                    .argv = argv,
                                    .stdin_fd = -1,
                                    .stdout_fd = data[1],
                                    .stderr_fd = -1,
                                    .fds = fds,
                                    .nfds = lower >= 0 ? 3 : 2,
                                    .new_session = true};
    int r = spawn_program(&sp, &p->pid, e);

    (void)close(data[1]);
    (void)close(report[1]);
    if (r < 0) {
        (void)close(data[0]);
        (void)close(report[0]);
        return r;
    }
    p->report_fd = report[0];
    *ret_fd = data[0];
    return 0;
}

int rootfs_pack_start(struct rootfs *rf, const struct rootfs_pack_params *p,
                      struct rootfs_packer **ret, int *ret_fd, struct error *e)
{
    static const char *const modes[] = {"tree", "diff", "changes"};
    AUTOFREE struct rootfs_packer *packer = xcalloc(1, sizeof(*packer));
    AUTOFREE char *upper = NULL;
    AUTOPTR(strv) char **argv = NULL;
    AUTOFD int tree = -EBADF, lower = -EBADF;
    int r;

    strv_push(&argv, "pouch-pack");
    strv_push(&argv, modes[p->mode]);
    for (char *const *s = p->skip; s && *s; s++)
        strv_push(&argv, *s);
    (void)rootfs_upper(rf, p->container_dir, &upper);
    if (p->mode == ROOTFS_PACK_TREE) {
        r = open_tree_of(rf, p->layers, upper, &tree, e);
    } else if (!upper) {
        r = error_set(e, ERR_INTERNAL, "%s has no writable layer", p->container_dir);
    } else {
        r = open_upper(upper, &tree, e);
        if (r >= 0 && strv_len(p->layers) > 0)
            r = open_tree_of(rf, p->layers, NULL, &lower, e);
    }
    if (r >= 0)
        r = spawn(packer, argv, tree, lower, ret_fd, e);
    if (r < 0)
        return r;
    *ret = take_ptr(packer);
    return 0;
}

int rootfs_pack_finish(struct rootfs_packer *p, bool stop, struct error *e)
{
    char text[REPORT_MAX] = "";
    ssize_t n;
    int status;

    if (!p)
        return 0;
    if (stop)
        (void)kill(p->pid, SIGKILL);
    n = fs_read_full(p->report_fd, text, sizeof(text) - 1);
    status = spawn_wait(p->pid);
    (void)close(p->report_fd);
    free(p);
    if (stop || status == 0)
        return 0;
    if (n > 0)
        return error_set(e, ERR_INTERNAL, "%s", text);
    return error_set(e, ERR_INTERNAL, "pouch-pack ended with status %d", status);
}
