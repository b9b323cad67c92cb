/* SPDX-License-Identifier: Apache-2.0 */
/* See sandbox.h. */
#include "rootfs/sandbox.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
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

/* --- Mounts ------------------------------------------------------------------------------------ */

int sandbox_enter_mount(int mount_fd, int *ret_root, struct error *e)
{
    int root;

    if (unshare(CLONE_NEWNS) < 0)
        return error_set_errno(e, errno, "take a mount namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_set_errno(e, errno, "make the mount namespace private");
    /* Over the old root, only to have a place in this namespace; then everything else goes. */
    if (move_mount(mount_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
        fchdir(mount_fd) < 0 || mount(NULL, ".", NULL, MS_PRIVATE, NULL) < 0)
        return error_set_errno(e, errno, "mount the only folder there is to be");
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return error_set_errno(e, errno, "make it the root");
    (void)close(mount_fd);
    root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || chdir("/") < 0)
        return error_set_errno(e, errno, "open the root");
    *ret_root = root;
    return 0;
}

/* All rights that this kernel knows are handled, and none is given. Fields and bits beyond those of
 * the first version must not be asked of kernels that do not have them. */
static int forget_by_landlock(void)
{
    static const struct {
        int abi;
        size_t size;
        uint64_t files, net, scope;
    } versions[] = {
        {6, 24, 0xffff, 3, 3}, {5, 16, 0xffff, 3, 0}, {4, 16, 0x7fff, 3, 0},
        {3, 8, 0x7fff, 0, 0},  {2, 8, 0x3fff, 0, 0},  {1, 8, 0x1fff, 0, 0},
    };
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
                       LANDLOCK_CREATE_RULESET_VERSION);

    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        const uint64_t rules[3] = {versions[i].files, versions[i].net, versions[i].scope};
        AUTOFD int fd = -EBADF;

        if (abi < versions[i].abi)
            continue;
        fd = (int)syscall(SYS_landlock_create_ruleset, rules, versions[i].size, 0u);
        return fd < 0 ? -errno : syscall(SYS_landlock_restrict_self, fd, 0u) < 0 ? -errno : 0;
    }
    return -EOPNOTSUPP;
}

static int enter_nothing(struct error *e)
{
    AUTOFD int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    int empty;
    int root;
    int r;

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "555", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return error_set_errno(e, errno, "make an empty file system");
    empty = fsmount(fs, FSMOUNT_CLOEXEC,
                    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (empty < 0)
        return error_set_errno(e, errno, "make an empty file system");
    r = sandbox_enter_mount(empty, &root, e);
    if (r == 0)
        (void)close(root);
    return r;
}

int sandbox_forget_files(struct error *e)
{
    return forget_by_landlock() == 0 ? 0 : enter_nothing(e);
}

/* --- Limits and rights --------------------------------------------------------------------------- */

int sandbox_limit_memory(uint64_t bytes, struct error *e)
{
#ifndef WITH_SANITIZER
    const struct rlimit memory = {bytes, bytes};

    if (setrlimit(RLIMIT_AS, &memory) < 0)
        return error_set_errno(e, errno, "limit memory");
#endif
    return 0;
}

int sandbox_limit_capabilities(const unsigned *keep, size_t n, struct error *e)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    for (size_t i = 0; i < n; i++) {
        data[keep[i] / 32].effective |= 1u << (keep[i] % 32);
        data[keep[i] / 32].permitted |= 1u << (keep[i] % 32);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(e, errno, "give up new privileges");
    /* Ends with EINVAL after the last capability this kernel knows. */
    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ;
    if (syscall(SYS_capset, &head, data) < 0)
        return error_set_errno(e, errno, "limit capabilities");
    return 0;
}

/* --- System calls -------------------------------------------------------------------------------- */

#if defined(FILTER_ARCH) && !defined(WITH_SANITIZER)

#define LOAD(field)                                                                                \
    (struct sock_filter)                                                                           \
    {                                                                                              \
        BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, field)                       \
    }
#define LEAVE(action)                                                                              \
    (struct sock_filter)                                                                           \
    {                                                                                              \
        BPF_RET | BPF_K, 0, 0, (action)                                                            \
    }
/* If the word equals k, the next `skip` are skipped, else `other`. */
#define EQUALS(k, skip, other)                                                                     \
    (struct sock_filter)                                                                           \
    {                                                                                              \
        BPF_JMP | BPF_JEQ | BPF_K, (skip), (other), (uint32_t)(k)                                  \
    }
#define CONDITION_LEN 7u
#define CONDITIONS    4u

int sandbox_install_filter(const struct sandbox_filter *f, struct error *e)
{
    struct sock_filter code[4 + 2 * SANDBOX_CALLS_MAX + CONDITIONS * CONDITION_LEN + 1];
    struct sock_fprog prog = {.filter = code};
    uint32_t deny = f->kill ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | ENOSYS;
    size_t n = 0;

    assert(f->n <= SANDBOX_CALLS_MAX);
    code[n++] = LOAD(arch);
    code[n++] = EQUALS(FILTER_ARCH, 1, 0);
    code[n++] = LEAVE(SECCOMP_RET_KILL_PROCESS);
    code[n++] = LOAD(nr);
    for (size_t i = 0; i < f->n; i++) {
        code[n++] = EQUALS(f->allowed[i], 0, 1);
        code[n++] = LEAVE(SECCOMP_RET_ALLOW);
    }
    for (const struct sandbox_condition *c = f->when; c && c->mask; c++) {
        assert(n + CONDITION_LEN < ARRAY_SIZE(code));
        code[n++] = EQUALS(c->call, 0, CONDITION_LEN - 1);
        /* The lower half, on machines that are all little endian or have one below 32 bits. */
        code[n++] = LOAD(args);
        code[n - 1].k += c->arg * (uint32_t)sizeof(uint64_t) +
                         (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? (uint32_t)sizeof(uint32_t) : 0);
        code[n++] = (struct sock_filter){BPF_ALU | BPF_AND | BPF_K, 0, 0, c->mask};
        code[n++] = EQUALS(c->values[0], 1, 0);
        code[n++] = EQUALS(c->values[1], 0, 1);
        code[n++] = LEAVE(SECCOMP_RET_ALLOW);
        code[n++] = LEAVE(deny);
    }
    code[n++] = LEAVE(deny);
    prog.len = (unsigned short)n;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
        return error_set_errno(e, errno, "install the system call filter");
    return 0;
}
#else
int sandbox_install_filter(const struct sandbox_filter *f, struct error *e)
{
    return 0;
}
#endif
