/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox of pouch-check, which computes and does nothing else:
 *
 * 1. No files but those that are open: Landlock, or an empty mount namespace.
 * 2. The user and group that own nothing, and no capabilities at all.
 * 3. A seccomp filter of calls on memory and on the descriptors there are. Nothing can be opened, no
 *    socket made, no process reached; what tries ends at once.
 * 4. Limits of memory and of time, as a file can be made to take long.
 */
#include "rootfs/check/sandbox.h"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rootfs/sandbox.h"

#define NOBODY 65534u

/* What honest files take is a thousandth of it, so that no slow machine comes near. */
#define MEMORY_MAX     ((uint64_t)512 << 20)
#define SECONDS_MIN    60u
#define BYTES_A_SECOND ((uint64_t)4 << 20)

static const int allowed[] = {
    SYS_read, SYS_pread64,    SYS_write,        SYS_fstat,     SYS_newfstatat, SYS_close,
    SYS_mmap, SYS_munmap,     SYS_mremap,       SYS_brk,       SYS_madvise,    SYS_futex,
    SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_getrandom, /* of hash tables */
};

static int give_up_ids(struct error *e)
{
    if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
        setresuid(NOBODY, NOBODY, NOBODY) < 0)
        return error_set_errno(e, errno, "become nobody");
    return 0;
}

int check_sandbox_enter(uint64_t size, struct error *e)
{
    const struct sandbox_filter filter = {.allowed = allowed,
                                          .n = ARRAY_SIZE(allowed),
                                          .kill = true};
    const rlim_t seconds = SECONDS_MIN + size / BYTES_A_SECOND;
    const struct rlimit time = {seconds, seconds}, none = {0, 0};
    int r = sandbox_forget_files(e);

    if (r == 0)
        r = give_up_ids(e);
    if (r == 0)
        r = sandbox_limit_capabilities(NULL, 0, e);
    if (r == 0)
        r = sandbox_limit_memory(size + MEMORY_MAX, e);
    if (r == 0 && (setrlimit(RLIMIT_CPU, &time) < 0 || setrlimit(RLIMIT_CORE, &none) < 0))
        r = error_set_errno(e, errno, "limit time");
    return r < 0 ? r : sandbox_install_filter(&filter, e);
}
