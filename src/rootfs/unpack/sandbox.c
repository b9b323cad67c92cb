/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox of pouch-unpack, in three walls:
 *
 * 1. A mount namespace whose only mount is the layer's folder. Even a path that escaped all checks
 *    finds nothing but the layer.
 * 2. Capabilities: to give files away, to set what only root may set on them, to make devices, and
 *    CAP_SYS_ADMIN, which the kernel asks for trusted.overlay.opaque. (user.overlay.* would do
 *    without, but needs Linux 5.11, a mount option that forbids other features, and lets the user of
 *    a container forge the attributes.)
 * 3. A seccomp filter that lets through calls on files and memory alone, so that CAP_SYS_ADMIN is
 *    good for nothing but extended attributes: no mounts, no namespaces, no programs, no sockets.
 *    A call that is not on the list fails with ENOSYS, which libc knows to work around.
 */
#include "rootfs/unpack/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rootfs/sandbox.h"

/* More memory than the largest honest layer's folders need. */
#define MEMORY_MAX ((uint64_t)1 << 30)

static const unsigned capabilities[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER,   CAP_FSETID,
                                        CAP_MKNOD, CAP_SETFCAP,      CAP_SYS_ADMIN};

/* Files, memory, and the end. */
static const int allowed[] = {
    SYS_read,          SYS_write,     SYS_pwrite64,   SYS_splice,       SYS_lseek,
    SYS_close,         SYS_openat,    SYS_openat2,    SYS_mkdirat,      SYS_mknodat,
    SYS_symlinkat,     SYS_linkat,    SYS_unlinkat,   SYS_renameat2,    SYS_fchown,
    SYS_fchownat,      SYS_fchmod,    SYS_fchmodat,   SYS_utimensat,    SYS_ftruncate,
    SYS_fsetxattr,     SYS_lsetxattr, SYS_newfstatat, SYS_fstat,        SYS_statx,
    SYS_getdents64,    SYS_fcntl,     SYS_fchdir,     SYS_syncfs,       SYS_brk,
    SYS_mmap,          SYS_munmap,    SYS_mremap,     SYS_madvise,      SYS_getrandom,
    SYS_clock_gettime, SYS_exit,      SYS_exit_group, SYS_rt_sigreturn,
#ifdef SYS_renameat
    SYS_renameat,
#endif
};

/* ioctl only for the flags that make files immutable (fs_remove_tree() clears them). */
static const struct sandbox_condition conditions[] = {
    {SYS_ioctl, 1, UINT32_MAX, {(uint32_t)FS_IOC_GETFLAGS, (uint32_t)FS_IOC_SETFLAGS}},
    {0},
};

int unpack_sandbox_enter(int root_fd, int *ret_root, struct error *e)
{
    const struct sandbox_filter filter = {.allowed = allowed,
                                          .n = ARRAY_SIZE(allowed),
                                          .when = conditions};
    /* While the fd still belongs to this mount namespace; a detached mount that nobody sees. */
    int tree = open_tree(root_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    int r;

    if (tree < 0)
        return error_set_errno(e, errno, "bind the layer's folder");
    r = sandbox_enter_mount(tree, ret_root, e);
    (void)close(root_fd);
    if (r == 0)
        r = sandbox_limit_memory(MEMORY_MAX, e);
    if (r == 0)
        r = sandbox_limit_capabilities(capabilities, ARRAY_SIZE(capabilities), e);
    return r < 0 ? r : sandbox_install_filter(&filter, e);
}
