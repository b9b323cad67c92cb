/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox of pouch-pack, which reads what containers wrote:
 *
 * 1. A mount namespace whose only mount is the tree, read-only; the layers below it, for comparing,
 *    are a descriptor of a detached mount.
 * 2. Capabilities: to read whatever the modes say, and CAP_SYS_ADMIN, without which the kernel hides
 *    trusted.* attributes.
 * 3. A seccomp filter that lets through calls that read files, and nothing that changes any.
 */
#include "rootfs/pack/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include "rootfs/sandbox.h"

#define MEMORY_MAX ((uint64_t)1 << 30)

static const unsigned capabilities[] = {CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN};

/* Reading files and folders, memory, and the end. */
static const int allowed[] = {
    SYS_read,       SYS_pread64,    SYS_write,      SYS_writev, SYS_lseek,      SYS_close,
    SYS_openat2,    SYS_newfstatat, SYS_fstat,      SYS_statx,  SYS_fcntl,      SYS_fchdir,
    SYS_getdents64, SYS_readlinkat, SYS_lgetxattr,  SYS_brk,    SYS_mmap,       SYS_munmap,
    SYS_mremap,     SYS_madvise,    SYS_llistxattr, SYS_exit,   SYS_exit_group, SYS_rt_sigreturn,
};

/* openat for reading alone. */
static const struct sandbox_condition conditions[] = {
    {SYS_openat, 2, O_ACCMODE | O_CREAT | O_TRUNC, {O_RDONLY, O_RDONLY}},
    {0},
};

int pack_sandbox_enter(int mount_fd, int *ret_root, struct error *e)
{
    const struct sandbox_filter filter = {.allowed = allowed,
                                          .n = ARRAY_SIZE(allowed),
                                          .when = conditions};
    int r = sandbox_enter_mount(mount_fd, ret_root, e);

    if (r == 0)
        r = sandbox_limit_memory(MEMORY_MAX, e);
    if (r == 0)
        r = sandbox_limit_capabilities(capabilities, ARRAY_SIZE(capabilities), e);
    return r < 0 ? r : sandbox_install_filter(&filter, e);
}
