/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of the runtime specification compiled with libseccomp: see seccomp.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "sys/seccomp.h"

static const struct {
    const char *name;
    uint32_t action;
} actions[] = {
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG},
    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
    {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
};

static const struct {
    const char *name;
    enum scmp_compare op;
} operators[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

static const struct {
    const char *name;
    uint32_t arch;
} architectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
    {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
    {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
    {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
    {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
    {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32},
    {"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
    {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},
    {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
    {"SCMP_ARCH_S390", SCMP_ARCH_S390},
    {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
    {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
};

const char *seccomp_action_name(size_t i)
{
    return i < ARRAY_SIZE(actions) ? actions[i].name : NULL;
}

const char *seccomp_operator_name(size_t i)
{
    return i < ARRAY_SIZE(operators) ? operators[i].name : NULL;
}

const char *seccomp_arch_name(size_t i)
{
    return i < ARRAY_SIZE(architectures) ? architectures[i].name : NULL;
}

/*
 * The process hands the listener over by itself, right after the filter is in force: what it uses
 * for that cannot wait for an answer of whoever gets the listener.
 */
static int check_notify(const struct seccomp_filter *f, struct error *e)
{
    const struct seccomp_rule *rules = f->syscalls.items;

    if (STREQ(f->default_action, "SCMP_ACT_NOTIFY"))
        return error_set(e, ERR_INVALID,
                         "seccomp: SCMP_ACT_NOTIFY cannot be the default action (the listener "
                         "could not be handed over)");
    for (size_t i = 0; i < f->syscalls.len; i++)
        if (STREQ(rules[i].action, "SCMP_ACT_NOTIFY") && strv_contains(rules[i].names, "sendmsg"))
            return error_set(e, ERR_INVALID,
                             "seccomp: SCMP_ACT_NOTIFY cannot be used for sendmsg (the listener "
                             "is handed over by it)");
    return 0;
}

static int to_action(const char *name, const struct opt_uint *ret, uint32_t *out, struct error *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        if (!STREQ(actions[i].name, name))
            continue;
        *out = actions[i].action;
        if (STREQ(name, "SCMP_ACT_ERRNO"))
            *out = SCMP_ACT_ERRNO(ret->set ? (uint16_t)ret->value : EPERM);
        else if (STREQ(name, "SCMP_ACT_TRACE"))
            *out = SCMP_ACT_TRACE(ret->set ? (uint16_t)ret->value : EPERM);
        else if (ret->set)
            return error_set(e, ERR_INVALID, "seccomp: action %s takes no errnoRet", name);
        return 0;
    }
    return error_set(e, ERR_INVALID, "seccomp: unknown action \"%s\"", name);
}

static int to_compare(const struct seccomp_arg *a, struct scmp_arg_cmp *out, struct error *e)
{
    if (a->index > 5)
        return error_set(e, ERR_INVALID, "seccomp: argument index %llu is not 0 to 5",
                         (unsigned long long)a->index);
    for (size_t i = 0; i < ARRAY_SIZE(operators); i++) {
        if (!STREQ(operators[i].name, a->op))
            continue;
        *out = (struct scmp_arg_cmp){(unsigned)a->index, operators[i].op, a->value, a->value_two};
        return 0;
    }
    return error_set(e, ERR_INVALID, "seccomp: unknown operator \"%s\"", a->op);
}

static int add_one(scmp_filter_ctx ctx, int nr, uint32_t action, const struct seccomp_rule *rule,
                   struct error *e)
{
    const struct seccomp_arg *args = rule->args.items;
    struct scmp_arg_cmp cmp[6];
    unsigned uses[6] = {0};
    bool twice = false;
    int r = 0;

    if (rule->args.len > 6)
        return error_set(e, ERR_INVALID, "seccomp: more than six argument conditions");
    for (size_t i = 0; i < rule->args.len; i++) {
        r = to_compare(&args[i], &cmp[i], e);
        if (r < 0)
            return r;
        twice |= ++uses[cmp[i].arg] > 1;
    }
    if (!twice)
        return seccomp_rule_add_array(ctx, action, nr, (unsigned)rule->args.len, cmp);
    /* Conditions on one argument twice cannot all hold in one rule: each is a rule (as runc). */
    for (size_t i = 0; i < rule->args.len && r == 0; i++)
        r = seccomp_rule_add_array(ctx, action, nr, 1, &cmp[i]);
    return r;
}

static int add_rule(scmp_filter_ctx ctx, const struct seccomp_rule *rule, uint32_t fallback,
                    struct error *e)
{
    uint32_t action = 0;
    int r = to_action(rule->action, &rule->errno_ret, &action, e);

    if (r < 0)
        return r;
    if (action == fallback)
        return 0; /* says nothing, and libseccomp refuses it */
    for (size_t i = 0; rule->names && rule->names[i]; i++) {
        int nr = seccomp_syscall_resolve_name(rule->names[i]);

        if (nr == __NR_SCMP_ERROR)
            continue; /* newer than this libseccomp, as everywhere */
        r = add_one(ctx, nr, action, rule, e);
        if (r == -EEXIST)
            r = 0;
        if (r < 0 && !(e && e->code))
            return error_set_errno(e, r, "seccomp: rule for %s", rule->names[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_architectures(scmp_filter_ctx ctx, char *const *names, struct error *e)
{
    for (size_t i = 0; names && names[i]; i++) {
        size_t k = 0;
        int r;

        while (k < ARRAY_SIZE(architectures) && !STREQ(architectures[k].name, names[i]))
            k++;
        if (k == ARRAY_SIZE(architectures))
            return error_set(e, ERR_INVALID, "seccomp: unknown architecture \"%s\"", names[i]);
        r = seccomp_arch_add(ctx, architectures[k].arch);
        if (r < 0 && r != -EEXIST)
            return error_set_errno(e, r, "seccomp: architecture %s", names[i]);
    }
    return 0;
}

/* libseccomp writes the program to a file descriptor only. */
static int export_program(scmp_filter_ctx ctx, struct buf *ret, struct error *e)
{
    AUTOFD int fd = memfd_create("seccomp", MFD_CLOEXEC);
    off_t size;
    char *at;
    int r;

    if (fd < 0)
        return error_set_errno(e, errno, "seccomp: cannot make a memfd");
    r = seccomp_export_bpf(ctx, fd);
    if (r < 0)
        return error_set_errno(e, r, "seccomp: cannot compile the filter");
    size = lseek(fd, 0, SEEK_END);
    at = size > 0 ? buf_reserve(ret, (size_t)size) : NULL;
    if (!at || pread(fd, at, (size_t)size, 0) != size)
        return error_set(e, ERR_TOO_LARGE, "seccomp: the filter is too large");
    buf_commit(ret, (size_t)size);
    return 0;
}

static void ctx_free(scmp_filter_ctx *ctx)
{
    if (*ctx)
        seccomp_release(*ctx);
}

int seccomp_compile_oci(const struct seccomp_filter *f, struct buf *ret_bpf, struct error *e)
{
    CLEANUP(ctx_free) scmp_filter_ctx ctx = NULL;
    const struct seccomp_rule *rules = f->syscalls.items;
    uint32_t fallback = 0;
    int r = to_action(f->default_action, &f->default_errno_ret, &fallback, e);

    if (r == 0)
        r = check_notify(f, e);
    if (r < 0)
        return r;
    ctx = seccomp_init(fallback);
    if (!ctx)
        return error_set(e, ERR_INTERNAL, "seccomp: cannot start a filter");
    r = add_architectures(ctx, f->architectures, e);
    /* A binary tree of system calls instead of a list: a call costs a tenth. Level 2 came with
     * libseccomp 2.5; without it the filter is the same, but slower. */
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; i < f->syscalls.len && r == 0; i++)
        r = add_rule(ctx, &rules[i], fallback, e);
    return r == 0 ? export_program(ctx, ret_bpf, e) : r;
}
