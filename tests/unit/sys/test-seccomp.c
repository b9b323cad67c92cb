/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters: the default profile asked call by call, with the classic BPF program interpreted here;
 * and installed in a child, by the kernel.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "sys/seccomp.h"

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#else
#define NATIVE 0
#endif

/* The instructions libseccomp uses. */
static uint32_t interpret(const struct buf *bpf, const struct seccomp_data *d)
{
    const struct sock_filter *f = (const void *)bpf->data;
    size_t n = bpf->len / sizeof(*f);
    uint32_t a = 0;

    for (size_t pc = 0; pc < n; pc++) {
        const struct sock_filter *i = &f[pc];

        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            memcpy(&a, (const char *)d + i->k, sizeof(a));
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            break;
        case BPF_JMP | BPF_JA:
            pc += i->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += a == i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            pc += a > i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += a >= i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            pc += a & i->k ? i->jt : i->jf;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("instruction %#x", i->code);
        }
    }
    fail_msg("the program has no end");
    return 0;
}

static uint32_t ask(const struct buf *bpf, long nr, uint64_t arg0)
{
    struct seccomp_data d = {.nr = (int)nr, .arch = NATIVE, .args = {arg0}};

    return interpret(bpf, &d);
}

#define ALLOW      SECCOMP_RET_ALLOW
#define REFUSE(nr) (SECCOMP_RET_ERRNO | (nr))

#define WORDS(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

static void test_default(void **state)
{
    static const struct {
        long nr;
        uint64_t arg0;
        uint32_t plain, admin; /* without and with CAP_SYS_ADMIN */
    } cases[] = {
        {SYS_read, 0, ALLOW, ALLOW},
        {SYS_execve, 0, ALLOW, ALLOW},
        {SYS_openat2, 0, ALLOW, ALLOW},
        {SYS_ptrace, 0, ALLOW, ALLOW},
        {SYS_mount, 0, REFUSE(EPERM), ALLOW},
        {SYS_unshare, 0, REFUSE(EPERM), ALLOW},
        {SYS_setns, 0, REFUSE(EPERM), ALLOW},
        {SYS_bpf, 0, REFUSE(EPERM), ALLOW},
        {SYS_clone3, 0, REFUSE(ENOSYS), ALLOW},
        {SYS_clone, SIGCHLD, ALLOW, ALLOW},
        {SYS_clone, CLONE_NEWUSER, REFUSE(EPERM), ALLOW},
        {SYS_clone, CLONE_NEWNS | SIGCHLD, REFUSE(EPERM), ALLOW},
        {SYS_clone, CLONE_NEWCGROUP, REFUSE(EPERM), ALLOW},
        {SYS_io_uring_setup, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_keyctl, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_add_key, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_userfaultfd, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_kexec_load, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_reboot, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_init_module, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_settimeofday, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_mbind, 0, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_socket, AF_INET, ALLOW, ALLOW},
        {SYS_socket, AF_UNIX, ALLOW, ALLOW},
        {SYS_socket, AF_NETLINK, ALLOW, ALLOW},
        {SYS_socket, 38 /* AF_ALG */, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_socket, 39, ALLOW, ALLOW},
        {SYS_socket, 40 /* AF_VSOCK */, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_socket, 41, ALLOW, ALLOW},
        {SYS_personality, 0, ALLOW, ALLOW},
        {SYS_personality, 0x20008, ALLOW, ALLOW},
        {SYS_personality, 0x0040000 /* ADDR_NO_RANDOMIZE */, REFUSE(EPERM), REFUSE(EPERM)},
        {SYS_personality, 0xffffffff, ALLOW, ALLOW},
    };
    char *const *admin = WORDS("CAP_SYS_ADMIN");
    AUTO(buf) struct buf a = BUF_INIT(SECCOMP_BPF_MAX);
    AUTO(buf) struct buf b = BUF_INIT(SECCOMP_BPF_MAX);
    struct seccomp_data other = {.nr = 0, .arch = AUDIT_ARCH_MIPS};

    if (!NATIVE)
        skip();
    assert_int_equal(seccomp_compile(NULL, NULL, &a, NULL), 0);
    assert_int_equal(seccomp_compile(NULL, admin, &b, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(ask(&a, cases[i].nr, cases[i].arg0), cases[i].plain);
        assert_int_equal(ask(&b, cases[i].nr, cases[i].arg0), cases[i].admin);
    }
    assert_true((interpret(&a, &other) & SECCOMP_RET_ACTION_FULL) != ALLOW);
}

/* Each capability opens its calls, and no others. */
static void test_capabilities(void **state)
{
    static const struct {
        const char *cap;
        long nr;
    } cases[] = {
        {"CAP_SYS_BOOT", SYS_reboot},         {"CAP_SYS_CHROOT", SYS_chroot},
        {"CAP_SYS_MODULE", SYS_init_module},  {"CAP_SYS_PACCT", SYS_acct},
        {"CAP_SYS_PTRACE", SYS_kcmp},         {"CAP_SYS_TIME", SYS_settimeofday},
        {"CAP_SYS_TTY_CONFIG", SYS_vhangup},  {"CAP_SYS_NICE", SYS_mbind},
        {"CAP_SYSLOG", SYS_syslog},           {"CAP_BPF", SYS_bpf},
        {"CAP_PERFMON", SYS_perf_event_open}, {"CAP_DAC_READ_SEARCH", SYS_open_by_handle_at},
    };

    if (!NATIVE)
        skip();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *const *caps = WORDS(cases[i].cap);
        AUTO(buf) struct buf bpf = BUF_INIT(SECCOMP_BPF_MAX);

        assert_int_equal(seccomp_compile(NULL, caps, &bpf, NULL), 0);
        for (size_t k = 0; k < ARRAY_SIZE(cases); k++)
            assert_int_equal(ask(&bpf, cases[k].nr, 0), i == k ? ALLOW : REFUSE(EPERM));
    }
}

static const char own[] =
    "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\","
    "\"subArchitectures\":[\"SCMP_ARCH_X86\"]},{\"architecture\":\"SCMP_ARCH_AARCH64\","
    "\"subArchitectures\":[]}],\"syscalls\":[{\"names\":[\"mkdirat\",\"no_such_call\"],"
    "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":5},"
    "{\"name\":\"chdir\",\"action\":\"SCMP_ACT_ERRNO\",\"includes\":{\"caps\":[\"CAP_KILL\"]}},"
    "{\"names\":[\"sync\"],\"action\":\"SCMP_ACT_ERRNO\",\"excludes\":{\"minKernel\":\"3.1\"}},"
    "{\"names\":[\"lseek\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":7,"
    "\"op\":\"SCMP_CMP_GE\"}]}]}";

static void test_own_profile(void **state)
{
    char *const *caps = WORDS("CAP_KILL");
    AUTO(buf) struct buf a = BUF_INIT(SECCOMP_BPF_MAX);
    AUTO(buf) struct buf b = BUF_INIT(SECCOMP_BPF_MAX);

    if (!NATIVE)
        skip();
    assert_int_equal(seccomp_compile(own, NULL, &a, NULL), 0);
    assert_int_equal(seccomp_compile(own, caps, &b, NULL), 0);
    assert_int_equal(ask(&a, SYS_mkdirat, 0), REFUSE(5));
    assert_int_equal(ask(&a, SYS_chdir, 0), ALLOW);
    assert_int_equal(ask(&b, SYS_chdir, 0), REFUSE(EPERM));
    assert_int_equal(ask(&a, SYS_sync, 0), ALLOW);
    assert_int_equal(ask(&a, SYS_lseek, 6), ALLOW);
    assert_int_equal(ask(&a, SYS_lseek, 7), REFUSE(EPERM));
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{}", "defaultAction: is required in"},
        {"{\"defaultAction\":\"NO\"}", "unknown action \"NO\""},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
         "\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":9,\"value\":1,"
         "\"op\":\"SCMP_CMP_EQ\"}]}]}",
         "argument index 9"},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
         "\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":1,\"value\":1,\"op\":\"X\"}]}]}",
         "unknown operator \"X\""},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"VAX\"]}",
         "unknown architecture \"VAX\""},
        {"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\"}", "listenerPath"},
        {"[", "invalid JSON"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        AUTO(buf) struct buf b = BUF_INIT(SECCOMP_BPF_MAX);

        assert_true(seccomp_compile(cases[i].text, NULL, &b, &e) < 0);
        assert_non_null(strstr(error_message(&e), cases[i].want));
    }
}

static void test_kernel(void **state)
{
    AUTO(buf) struct buf bpf = BUF_INIT(SECCOMP_BPF_MAX);
    int status = 0;
    pid_t pid;

    assert_int_equal(seccomp_compile(NULL, NULL, &bpf, NULL), 0);
    pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_install(bpf.data, bpf.len, 0) < 0)
            _exit(1);
        if (syscall(SYS_keyctl, 0, 0, 0, 0, 0) != -1 || errno != EPERM)
            _exit(2);
        if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS)
            _exit(3);
        _exit(getpid() > 0 ? 0 : 4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(seccomp_install(bpf.data, 7, 0), -EINVAL);
}

static void test_flags(void **state)
{
    char *const *good = WORDS("SECCOMP_FILTER_FLAG_LOG");
    char *const *bad = WORDS("SECCOMP_FILTER_FLAG_FOO");
    unsigned bits = 0;

    assert_int_equal(seccomp_flags_parse(good, &bits), 0);
    assert_int_equal(bits, SECCOMP_FILTER_FLAG_LOG);
    assert_int_equal(seccomp_flags_parse(bad, &bits), -EINVAL);
    assert_int_equal(seccomp_flags_parse(NULL, &bits), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),     cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_own_profile), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_kernel),      cmocka_unit_test(test_flags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
