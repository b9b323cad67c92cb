/* SPDX-License-Identifier: Apache-2.0 */
/* Installing a compiled filter: see seccomp.h. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macros.h"
#include "sys/seccomp.h"

int seccomp_install(const void *bpf, size_t len, unsigned flags)
{
    struct sock_fprog prog;

    if (len == 0 || len % sizeof(struct sock_filter) || len / sizeof(struct sock_filter) > 65535)
        return -EINVAL;
    prog.len = (unsigned short)(len / sizeof(struct sock_filter));
    prog.filter = (struct sock_filter *)(uintptr_t)bpf;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) < 0)
        return -errno;
    return 0;
}

int seccomp_flags_parse(char *const *flags, unsigned *ret)
{
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {
        {"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
        {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
        {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
        {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0}, /* only matters with a listener */
    };
    unsigned bits = 0;

    for (size_t i = 0; flags && flags[i]; i++) {
        size_t k = 0;

        while (k < ARRAY_SIZE(known) && !STREQ(flags[i], known[k].name))
            k++;
        if (k == ARRAY_SIZE(known))
            return -EINVAL;
        bits |= known[k].bit;
    }
    *ret = bits;
    return 0;
}
