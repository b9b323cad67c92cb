/* SPDX-License-Identifier: Apache-2.0 */
/* Installing a compiled filter: see seccomp.h. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macros.h"
#include "sys/seccomp.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1u << 5)
#endif

static long install(const void *bpf, size_t len, unsigned flags)
{
    struct sock_fprog prog;
    long r;

    if (len == 0 || len % sizeof(struct sock_filter) || len / sizeof(struct sock_filter) > 65535)
        return -EINVAL;
    prog.len = (unsigned short)(len / sizeof(struct sock_filter));
    prog.filter = (struct sock_filter *)(uintptr_t)bpf;
    r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
    return r < 0 ? -errno : r;
}

int seccomp_install(const void *bpf, size_t len, unsigned flags)
{
    /* This one only makes sense, and is only allowed, with a listener. */
    long r = install(bpf, len, flags & ~(unsigned)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);

    return r < 0 ? (int)r : 0;
}

int seccomp_install_listener(const void *bpf, size_t len, unsigned flags)
{
    long r = install(bpf, len, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER);

    if (r == -EINVAL && flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) /* Linux 5.19 */
        r = install(bpf, len,
                    (flags & ~(unsigned)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) |
                        SECCOMP_FILTER_FLAG_NEW_LISTENER);
    return (int)r;
}

bool seccomp_notifies(const struct seccomp_filter *f)
{
    const struct seccomp_rule *rules = f ? f->syscalls.items : NULL;

    if (!f)
        return false;
    if (f->default_action && STREQ(f->default_action, "SCMP_ACT_NOTIFY"))
        return true;
    for (size_t i = 0; i < f->syscalls.len; i++)
        if (STREQ(rules[i].action, "SCMP_ACT_NOTIFY"))
            return true;
    return false;
}

const char *const seccomp_flag_names[] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                                          "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                          "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL};

int seccomp_flags_parse(char *const *flags, unsigned *ret)
{
    static const unsigned known[] = {SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG,
                                     SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                                     SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV};
    unsigned bits = 0;

    for (size_t i = 0; flags && flags[i]; i++) {
        size_t k = 0;

        while (k < ARRAY_SIZE(known) && !STREQ(flags[i], seccomp_flag_names[k]))
            k++;
        if (k == ARRAY_SIZE(known))
            return -EINVAL;
        bits |= known[k];
    }
    *ret = bits;
    return 0;
}
