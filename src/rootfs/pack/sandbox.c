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
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define FILTER_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FILTER_ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define FILTER_ARCH AUDIT_ARCH_S390X
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WITH_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WITH_SANITIZER 1
#endif
#endif

#define MEMORY_MAX ((rlim_t)1 << 30)

static int enter_tree(int mount_fd, int *ret_root, struct error *e)
{
    int root;

    if (unshare(CLONE_NEWNS) < 0)
        return error_set_errno(e, errno, "take a mount namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(e, errno, "make the mount namespace private");
    if (move_mount(mount_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
        fchdir(mount_fd) < 0 || mount(NULL, ".", NULL, MS_PRIVATE, NULL) < 0)
        return error_set_errno(e, errno, "mount the tree");
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return error_set_errno(e, errno, "make the tree the root");
    (void)close(mount_fd);
    root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || chdir("/") < 0)
        return error_set_errno(e, errno, "open the tree");
    *ret_root = root;
    return 0;
}

static int limit_capabilities(struct error *e)
{
    static const unsigned keep[] = {CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN};
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    for (size_t i = 0; i < ARRAY_SIZE(keep); i++) {
        data[keep[i] / 32].effective |= 1u << (keep[i] % 32);
        data[keep[i] / 32].permitted |= 1u << (keep[i] % 32);
    }
    /* Ends with EINVAL after the last capability this kernel knows. */
    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ;
    if (syscall(SYS_capset, &head, data) < 0)
        return error_set_errno(e, errno, "limit capabilities");
    return 0;
}

#if defined(FILTER_ARCH) && !defined(WITH_SANITIZER)
/* Reading files and folders, memory, and the end. */
static const int allowed[] = {
    SYS_read,       SYS_pread64,    SYS_write,      SYS_writev, SYS_lseek,      SYS_close,
    SYS_openat2,    SYS_newfstatat, SYS_fstat,      SYS_statx,  SYS_fcntl,      SYS_fchdir,
    SYS_getdents64, SYS_readlinkat, SYS_lgetxattr,  SYS_brk,    SYS_mmap,       SYS_munmap,
    SYS_mremap,     SYS_madvise,    SYS_llistxattr, SYS_exit,   SYS_exit_group, SYS_rt_sigreturn,
};

static int install_filter(struct error *e)
{
    struct sock_filter code[ARRAY_SIZE(allowed) + 16];
    struct sock_fprog prog = {.filter = code};
    unsigned n = 0;

    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
        unsigned char skip = (unsigned char)(ARRAY_SIZE(allowed) - i - 1 + 5); /* to ALLOW */

        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i],
                                                 skip, 0);
    }
    /* openat for reading alone. */
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, args[2]));
    code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K,
                                             O_ACCMODE | O_CREAT | O_TRUNC);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, O_RDONLY, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    prog.len = (unsigned short)n;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
        return error_set_errno(e, errno, "install the system call filter");
    return 0;
}
#else
static int install_filter(struct error *e)
{
    return 0; /* sanitizers need calls of their own; other machines have the first two walls */
}
#endif

int pack_sandbox_enter(int mount_fd, int *ret_root, struct error *e)
{
    int r = enter_tree(mount_fd, ret_root, e);

#ifndef WITH_SANITIZER
    const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};

    if (r == 0 && setrlimit(RLIMIT_AS, &memory) < 0)
        r = error_set_errno(e, errno, "limit memory");
#endif
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = error_set_errno(e, errno, "give up new privileges");
    if (r == 0)
        r = limit_capabilities(e);
    return r < 0 ? r : install_filter(e);
}
