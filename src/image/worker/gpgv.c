/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `pouch-image --gpgv`: gives up user, rights and network, then becomes gpgv. Standard input is the
 * signature, standard output takes what was signed; fd 3 the status lines; fd 5 is the keyring.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <seccomp.h>

#include "image/worker/worker.h"

/* What a checker of signatures has no business with. */
static const int DENIED[] = {
    SCMP_SYS(socket),
    SCMP_SYS(socketpair),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(mount),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(umount2),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
    SCMP_SYS(kill),
    SCMP_SYS(tgkill),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
};

static int deny_calls(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int r = ctx ? 0 : -ENOMEM;

    for (size_t i = 0; i < ARRAY_SIZE(DENIED) && r == 0; i++) {
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), DENIED[i], 0);
        if (r == -EDOM || r == -EFAULT)
            r = 0; /* not a call of this architecture */
    }
    if (r == 0)
        r = seccomp_load(ctx);
    if (ctx)
        seccomp_release(ctx);
    return r;
}

int gpgv_exec(unsigned uid, unsigned gid)
{
    static const struct {
        int what;
        rlim_t value;
    } limits[] = {{RLIMIT_CPU, 10},
                  {RLIMIT_FSIZE, 1 << 20},
                  {RLIMIT_CORE, 0},
                  {RLIMIT_AS, 256 << 20}};
    char *argv[] = {(char *)"gpgv",
                    (char *)"--homedir",
                    (char *)"/nonexistent",
                    (char *)"--status-fd",
                    (char *)"3",
                    (char *)"--keyring",
                    (char *)"/dev/fd/5",
                    (char *)"--output",
                    (char *)"-",
                    (char *)"-",
                    NULL};
    char *env[] = {(char *)"LC_ALL=C", (char *)"PATH=/usr/bin:/bin", NULL};

    (void)unshare(CLONE_NEWNET); /* seccomp denies sockets as well */
    if (uid > 0 && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
                    setresuid(uid, uid, uid) < 0 || setresuid(0, 0, 0) == 0))
        return GPGV_BROKEN;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || deny_calls() < 0)
        return GPGV_BROKEN;
    /* Last, since they are meant for gpgv: address space is what a sanitizer of ours has a lot of. */
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        const struct rlimit l = {limits[i].value, limits[i].value};
        if (setrlimit((__rlimit_resource_t)limits[i].what, &l) < 0)
            return GPGV_BROKEN;
    }
    (void)execve("/usr/bin/gpgv", argv, env);
    (void)execve("/usr/local/bin/gpgv", argv, env);
    (void)execve("/bin/gpgv", argv, env);
    return GPGV_MISSING;
}
