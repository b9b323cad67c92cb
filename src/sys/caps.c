/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities: see caps.h. The system calls are used directly; libcap would add nothing. */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/strv.h"
#include "sys/caps.h"

static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

int caps_parse(const char *name, uint64_t *ret)
{
    if (strcasecmp(name, "ALL") == 0 || strcasecmp(name, "CAP_ALL") == 0) {
        *ret = CAPS_ALL;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcasecmp(name, names[i]) == 0 || strcasecmp(name, names[i] + 4) == 0) {
            *ret = UINT64_C(1) << i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *caps_name(unsigned bit)
{
    return bit < ARRAY_SIZE(names) ? names[bit] : NULL;
}

unsigned caps_last(void)
{
    static unsigned last; /* racing threads store the same value */

    if (!last) {
        unsigned n = 63;

        while (n > 0 && prctl(PR_CAPBSET_READ, n, 0, 0, 0) < 0)
            n--;
        last = n;
    }
    return last;
}

int caps_get(struct caps_sets *ret)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &head, data) < 0)
        return -errno;
    *ret = (struct caps_sets){
        .effective = (uint64_t)data[1].effective << 32 | data[0].effective,
        .permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted,
        .inheritable = (uint64_t)data[1].inheritable << 32 | data[0].inheritable,
    };
    ret->bounding = caps_in_bounding(CAPS_ALL);
    for (unsigned i = 0; i <= caps_last(); i++) {
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1)
            ret->ambient |= UINT64_C(1) << i;
    }
    return 0;
}

uint64_t caps_in_bounding(uint64_t wanted)
{
    uint64_t have = 0;

    for (unsigned i = 0; i < 64 && wanted >> i; i++)
        if (wanted & UINT64_C(1) << i && prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
            have |= UINT64_C(1) << i;
    return have;
}

int caps_from_names(char *const *list, uint64_t *ret, char ***unknown, struct error *e)
{
    uint64_t set = 0;

    for (size_t i = 0; list && list[i]; i++) {
        uint64_t bit = 0;

        if (caps_parse(list[i], &bit) < 0) {
            if (!unknown)
                return error_set(e, ERR_INVALID, "unknown capability \"%s\"", list[i]);
            if (!strv_contains(*unknown, list[i]))
                strv_push(unknown, list[i]);
        }
        set |= bit;
    }
    *ret = set;
    return 0;
}

int caps_drop_bounding(uint64_t keep)
{
    for (unsigned i = 0; i < 64; i++) {
        if (keep & UINT64_C(1) << i)
            continue;
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0) {
            if (errno == EINVAL)
                break; /* past the last one */
            return -errno;
        }
    }
    return 0;
}

int caps_set(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };

    return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

int caps_set_ambient(uint64_t ambient)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    for (unsigned i = 0; ambient >> i; i++)
        if (ambient & UINT64_C(1) << i && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
            return -errno;
    return 0;
}
