/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default profile, and profiles in Docker's format.
 *
 * The default is a list of what is allowed, equal in effect to the one Docker has had since
 * version 29: the same system calls, argument conditions, capabilities and architectures. Anything
 * else fails with EPERM, clone3 with ENOSYS so that C libraries fall back to clone, whose flags a
 * filter can see.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "sys/seccomp.h"

#if defined(__x86_64__)
#define ARCH "amd64"
static const char *const native[] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", NULL};
#elif defined(__aarch64__)
#define ARCH "arm64"
static const char *const native[] = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", NULL};
#elif defined(__riscv)
#define ARCH "riscv64"
static const char *const native[] = {"SCMP_ARCH_RISCV64", NULL};
#elif defined(__powerpc64__)
#define ARCH "ppc64le"
static const char *const native[] = {"SCMP_ARCH_PPC64LE", NULL};
#elif defined(__s390x__)
#define ARCH "s390x"
static const char *const native[] = {"SCMP_ARCH_S390X", "SCMP_ARCH_S390", NULL};
#else
#error "seccomp: name this architecture here"
#endif

/* Allowed to everyone, by what they deal with. */
static const char *const always[] = {
    /* files: open, read, write, seek */
    "open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev "
    "pwrite64 pwritev pwritev2 lseek _llseek sendfile sendfile64 copy_file_range splice tee "
    "vmsplice readahead fadvise64 fadvise64_64 fallocate ftruncate ftruncate64 truncate truncate64 "
    "sync syncfs fsync fdatasync sync_file_range flock fcntl fcntl64 ioctl dup dup2 dup3 pipe "
    "pipe2 cachestat",
    /* names, folders, attributes */
    "access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat "
    "statx statfs statfs64 fstatfs fstatfs64 statmount listmount link linkat symlink symlinkat "
    "readlink readlinkat rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat mknod "
    "mknodat chdir fchdir getcwd getdents getdents64 chmod fchmod fchmodat fchmodat2 chown chown32 "
    "fchown fchown32 lchown lchown32 fchownat umask utime utimes futimesat utimensat "
    "utimensat_time64 name_to_handle_at getxattr lgetxattr fgetxattr getxattrat setxattr "
    "lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr listxattrat removexattr "
    "lremovexattr fremovexattr removexattrat inotify_init inotify_init1 inotify_add_watch "
    "inotify_rm_watch fanotify_mark",
    /* waiting for descriptors, asynchronous I/O */
    "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 "
    "epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 "
    "signalfd signalfd4 io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents "
    "io_pgetevents_time64",
    /* memory */
    "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock "
    "munlockall remap_file_pages memfd_create memfd_secret mseal map_shadow_stack membarrier "
    "pkey_alloc pkey_free pkey_mprotect",
    /* processes and threads */
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid "
    "getpgrp setpgid getsid setsid kill tkill tgkill pidfd_open pidfd_send_signal prctl "
    "process_mrelease set_tid_address set_robust_list get_robust_list set_thread_area "
    "get_thread_area restart_syscall rseq seccomp uretprobe riscv_hwprobe landlock_add_rule "
    "landlock_create_ruleset landlock_restrict_self process_vm_readv process_vm_writev ptrace",
    /* signals */
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend "
    "rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn "
    "pause",
    /* users and capabilities */
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 "
    "getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid "
    "setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid "
    "setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset",
    /* scheduling and limits */
    "sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min "
    "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity "
    "sched_setattr sched_setparam sched_setscheduler sched_yield getpriority setpriority "
    "ioprio_get ioprio_set getrlimit ugetrlimit setrlimit prlimit64 getrusage getcpu sysinfo times "
    "uname",
    /* time */
    "time gettimeofday clock_adjtime clock_adjtime64 adjtimex clock_getres clock_getres_time64 "
    "clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 nanosleep alarm "
    "getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
    "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 "
    "timerfd_settime timerfd_settime64",
    /* locks and System V or POSIX communication */
    "futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue ipc semctl semget semop "
    "semtimedop semtimedop_time64 shmat shmctl shmdt shmget msgctl msgget msgrcv msgsnd mq_open "
    "mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 mq_timedsend "
    "mq_timedsend_time64",
    /* sockets; socket itself comes below */
    "socketcall socketpair bind listen accept accept4 connect shutdown getsockname getpeername "
    "getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg "
    "recvmmsg_time64",
    "getrandom",
};

/* Allowed with a capability, or on an architecture. */
static const struct {
    const char *names;
    const char *cap;    /* NULL: none needed */
    const char *arches; /* NULL: any */
} sometimes[] = {
    {"bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
     "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
     "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount "
     "umount2 unshare",
     "CAP_SYS_ADMIN", NULL},
    {"open_by_handle_at", "CAP_DAC_READ_SEARCH", NULL},
    {"reboot", "CAP_SYS_BOOT", NULL},
    {"chroot", "CAP_SYS_CHROOT", NULL},
    {"delete_module init_module finit_module", "CAP_SYS_MODULE", NULL},
    {"acct", "CAP_SYS_PACCT", NULL},
    {"kcmp pidfd_getfd process_madvise", "CAP_SYS_PTRACE", NULL},
    {"iopl ioperm", "CAP_SYS_RAWIO", NULL},
    {"settimeofday stime clock_settime clock_settime64", "CAP_SYS_TIME", NULL},
    {"vhangup", "CAP_SYS_TTY_CONFIG", NULL},
    {"get_mempolicy mbind set_mempolicy set_mempolicy_home_node", "CAP_SYS_NICE", NULL},
    {"syslog", "CAP_SYSLOG", NULL},
    {"bpf", "CAP_BPF", NULL},
    {"perf_event_open", "CAP_PERFMON", NULL},
    {"sync_file_range2 swapcontext", NULL, "ppc64le"},
    {"arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls", NULL,
     "arm arm64"},
    {"arch_prctl", NULL, "amd64 x32"},
    {"modify_ldt", NULL, "amd64 x32 x86"},
    {"s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", NULL, "s390 s390x"},
    {"riscv_flush_icache", NULL, "riscv64"},
};

/* socket(): every family but AF_ALG (38) and AF_VSOCK (40), which reach parts of the kernel that
 * know no namespaces and had their holes (CVE-2026-31431). */
static const struct {
    const char *op;
    unsigned family;
} families[] = {{"SCMP_CMP_LT", 38}, {"SCMP_CMP_EQ", 39}, {"SCMP_CMP_GT", 40}};

/* personality(): Linux, Linux 32 bit, each with UNAME26 or not, and "ask". */
static const uint64_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

#define CLONE_NAMESPACES 0x7e020000 /* every CLONE_NEW… flag */

static struct seccomp_rule *add_rule(struct seccomp_filter *f, const char *names,
                                     const char *action)
{
    struct seccomp_rule *r = json_list_add(&f->syscalls, sizeof(*r));

    r->names = strv_split(names, " ", true);
    r->action = xstrdup(action);
    return r;
}

static void add_condition(struct seccomp_rule *r, unsigned arg, const char *op, uint64_t value,
                          uint64_t value_two)
{
    struct seccomp_arg *a = json_list_add(&r->args, sizeof(*a));

    *a = (struct seccomp_arg){arg, value, value_two, xstrdup(op)};
}

static bool has_word(const char *words, const char *word)
{
    AUTOPTR(strv) char **v = strv_split(words, " ", true);

    return strv_contains(v, word);
}

/* Docker's default for a container with these capabilities. */
static void make_default(char *const *caps, struct seccomp_filter *f)
{
    bool admin = strv_contains(caps, "CAP_SYS_ADMIN");
    struct seccomp_rule *r;

    f->default_action = xstrdup("SCMP_ACT_ERRNO");
    f->default_errno_ret = (struct opt_uint){true, EPERM};
    f->architectures = strv_copy((char *const *)native);
    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        (void)add_rule(f, always[i], "SCMP_ACT_ALLOW");
    for (size_t i = 0; i < ARRAY_SIZE(sometimes); i++)
        if ((!sometimes[i].cap || strv_contains(caps, sometimes[i].cap)) &&
            (!sometimes[i].arches || has_word(sometimes[i].arches, ARCH)))
            (void)add_rule(f, sometimes[i].names, "SCMP_ACT_ALLOW");
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        r = add_rule(f, "socket", "SCMP_ACT_ALLOW");
        add_condition(r, 0, families[i].op, families[i].family, 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(personalities); i++) {
        r = add_rule(f, "personality", "SCMP_ACT_ALLOW");
        add_condition(r, 0, "SCMP_CMP_EQ", personalities[i], 0);
    }
    if (admin)
        return;
    r = add_rule(f, "clone", "SCMP_ACT_ALLOW");
    /* s390 has the flags as its second argument */
    add_condition(r, has_word("s390 s390x", ARCH) ? 1 : 0, "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES,
                  0);
    r = add_rule(f, "clone3", "SCMP_ACT_ERRNO");
    r->errno_ret = (struct opt_uint){true, ENOSYS};
}

/* --- profiles in Docker's format ------------------------------------------------------------ */

struct condition { /* includes, excludes */
    char **caps, **arches;
    char *min_kernel;
};
struct docker_rule {
    char *name; /* of before names */
    char **names;
    char *action;
    struct opt_uint errno_ret;
    struct json_list args;
    struct condition includes, excludes;
};
struct arch_map {
    char *architecture;
    char **sub;
};
struct docker_profile {
    char *default_action;
    struct opt_uint default_errno_ret;
    char **architectures;
    struct json_list arch_map;
    char **flags;
    char *listener_path;
    struct json_list syscalls;
};

#define F(type, member, name, kind) JSON_FIELD(type, member, name, kind, JSON_OMIT_EMPTY)

static const struct json_field condition_fields[] = {
    F(struct condition, caps, "caps", JSON_STRV),
    F(struct condition, arches, "arches", JSON_STRV),
    F(struct condition, min_kernel, "minKernel", JSON_STR),
    JSON_END,
};
static const struct json_desc condition_json = {"condition", sizeof(struct condition),
                                                condition_fields};
static const struct json_field arg_fields[] = {
    F(struct seccomp_arg, index, "index", JSON_UINT),
    F(struct seccomp_arg, value, "value", JSON_UINT),
    F(struct seccomp_arg, value_two, "valueTwo", JSON_UINT),
    JSON_FIELD(struct seccomp_arg, op, "op", JSON_STR, JSON_REQUIRED),
    JSON_END,
};
static const struct json_desc arg_json = {"argument", sizeof(struct seccomp_arg), arg_fields};
static const struct json_field rule_fields[] = {
    F(struct docker_rule, name, "name", JSON_STR),
    F(struct docker_rule, names, "names", JSON_STRV),
    JSON_FIELD(struct docker_rule, action, "action", JSON_STR, JSON_REQUIRED),
    F(struct docker_rule, errno_ret, "errnoRet", JSON_OPT_UINT),
    JSON_FIELD_SUB(struct docker_rule, args, "args", JSON_OBJ_LIST, 0, &arg_json),
    JSON_FIELD_SUB(struct docker_rule, includes, "includes", JSON_OBJ, 0, &condition_json),
    JSON_FIELD_SUB(struct docker_rule, excludes, "excludes", JSON_OBJ, 0, &condition_json),
    JSON_END,
};
static const struct json_desc rule_json = {"rule", sizeof(struct docker_rule), rule_fields};
static const struct json_field arch_map_fields[] = {
    F(struct arch_map, architecture, "architecture", JSON_STR),
    F(struct arch_map, sub, "subArchitectures", JSON_STRV),
    JSON_END,
};
static const struct json_desc arch_map_json = {"archMap", sizeof(struct arch_map), arch_map_fields};
static const struct json_field profile_fields[] = {
    JSON_FIELD(struct docker_profile, default_action, "defaultAction", JSON_STR, JSON_REQUIRED),
    F(struct docker_profile, default_errno_ret, "defaultErrnoRet", JSON_OPT_UINT),
    F(struct docker_profile, architectures, "architectures", JSON_STRV),
    JSON_FIELD_SUB(struct docker_profile, arch_map, "archMap", JSON_OBJ_LIST, 0, &arch_map_json),
    F(struct docker_profile, flags, "flags", JSON_STRV),
    F(struct docker_profile, listener_path, "listenerPath", JSON_STR),
    JSON_FIELD_SUB(struct docker_profile, syscalls, "syscalls", JSON_OBJ_LIST, 0, &rule_json),
    JSON_END,
};
static const struct json_desc profile_json = {"seccomp profile", sizeof(struct docker_profile),
                                              profile_fields};

/* Is the running kernel at least "4.8"? */
static bool kernel_at_least(const char *want)
{
    struct utsname u;
    int have[2] = {0, 0}, need[2] = {0, 0};

    if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &have[0], &have[1]) != 2 ||
        sscanf(want, "%d.%d", &need[0], &need[1]) != 2)
        return false;
    return have[0] != need[0] ? have[0] > need[0] : have[1] >= need[1];
}

static bool rule_applies(const struct docker_rule *r, char *const *caps)
{
    const struct condition *in = &r->includes, *ex = &r->excludes;

    if (strv_contains(ex->arches, ARCH) ||
        (!str_is_empty(ex->min_kernel) && kernel_at_least(ex->min_kernel)))
        return false;
    for (size_t i = 0; ex->caps && ex->caps[i]; i++)
        if (strv_contains(caps, ex->caps[i]))
            return false;
    if ((strv_len(in->arches) && !strv_contains(in->arches, ARCH)) ||
        (!str_is_empty(in->min_kernel) && !kernel_at_least(in->min_kernel)))
        return false;
    for (size_t i = 0; in->caps && in->caps[i]; i++)
        if (!strv_contains(caps, in->caps[i]))
            return false;
    return true;
}

static void copy_rule(struct seccomp_filter *f, const struct docker_rule *from)
{
    struct seccomp_rule *to = json_list_add(&f->syscalls, sizeof(*to));
    const struct seccomp_arg *a = from->args.items;

    to->names = strv_copy(from->names);
    if (from->name)
        strv_push(&to->names, from->name);
    to->action = xstrdup(from->action);
    to->errno_ret = from->errno_ret;
    for (size_t i = 0; i < from->args.len; i++)
        add_condition(to, (unsigned)a[i].index, a[i].op, a[i].value, a[i].value_two);
}

static int make_from_docker(const char *text, char *const *caps, struct seccomp_filter *f,
                            struct error *e)
{
    struct docker_profile p = {0};
    int r = json_parse(&profile_json, text, strlen(text), &p, e);
    const struct docker_rule *rules = p.syscalls.items;
    const struct arch_map *map = p.arch_map.items;

    if (r < 0) {
        error_add(e, "seccomp profile");
        return r;
    }
    if (p.listener_path)
        r = error_set(e, ERR_NOT_SUPPORTED, "seccomp profile: listenerPath is not supported");
    else if (strv_len(p.architectures) && p.arch_map.len)
        r = error_set(e, ERR_INVALID, "seccomp profile: use either architectures or archMap");
    f->default_action = xstrdup(p.default_action);
    f->default_errno_ret = p.default_errno_ret;
    f->architectures = strv_copy(p.architectures);
    f->flags = strv_copy(p.flags);
    for (size_t i = 0; i < p.arch_map.len; i++) {
        if (!map[i].architecture || !STREQ(map[i].architecture, native[0]))
            continue;
        strv_push(&f->architectures, map[i].architecture);
        for (size_t k = 0; map[i].sub && map[i].sub[k]; k++)
            strv_push(&f->architectures, map[i].sub[k]);
    }
    for (size_t i = 0; r == 0 && i < p.syscalls.len; i++) {
        if (rules[i].name && strv_len(rules[i].names))
            r = error_set(e, ERR_INVALID, "seccomp profile: rule %zu has name and names", i);
        else if (rule_applies(&rules[i], caps))
            copy_rule(f, &rules[i]);
    }
    json_free(&profile_json, &p);
    return r;
}

static void filter_done(struct seccomp_filter *f)
{
    struct seccomp_rule *r = f->syscalls.items;

    for (size_t i = 0; i < f->syscalls.len; i++) {
        struct seccomp_arg *a = r[i].args.items;

        for (size_t k = 0; k < r[i].args.len; k++)
            free(a[k].op);
        free(a);
        strv_free(r[i].names);
        free(r[i].action);
    }
    free(r);
    free(f->default_action);
    strv_free(f->architectures);
    strv_free(f->flags);
}

int seccomp_profile(const char *profile, char *const *caps, struct seccomp_filter *ret,
                    struct error *e)
{
    if (profile)
        return make_from_docker(profile, caps, ret, e);
    make_default(caps, ret);
    return 0;
}

int seccomp_compile(const char *profile, char *const *caps, struct buf *ret_bpf, struct error *e)
{
    CLEANUP(filter_done) struct seccomp_filter f = {0};
    int r = seccomp_profile(profile, caps, &f, e);

    return r == 0 ? seccomp_compile_oci(&f, ret_bpf, e) : r;
}
