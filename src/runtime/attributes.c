/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process is by the kernel's scheduler and memory management: scheduler, I/O priority,
 * CPU affinity, memory policy, personality. What is not asked for costs no system call.
 */
#include <errno.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

struct name {
    const char *name;
    uint64_t value;
};

static const struct name policies[] = {
    {"SCHED_OTHER", SCHED_OTHER},
    {"SCHED_FIFO", SCHED_FIFO},
    {"SCHED_RR", SCHED_RR},
    {"SCHED_BATCH", SCHED_BATCH},
    {"SCHED_ISO", 4},
    {"SCHED_IDLE", SCHED_IDLE},
    {"SCHED_DEADLINE", 6},
    {NULL, 0},
};
static const struct name scheduler_flags[] = {
    {"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
    {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
    {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
    {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
    {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
    {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX},
    {NULL, 0},
};
static const struct name io_classes[] = {
    {"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
    {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
    {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
    {NULL, 0},
};
/* The kernel's numbers: <linux/mempolicy.h> of Debian 12 lacks the last. */
static const struct name memory_modes[] = {
    {"MPOL_DEFAULT", 0},    {"MPOL_BIND", 2},
    {"MPOL_INTERLEAVE", 3}, {"MPOL_WEIGHTED_INTERLEAVE", 6},
    {"MPOL_PREFERRED", 1},  {"MPOL_PREFERRED_MANY", 5},
    {"MPOL_LOCAL", 4},      {NULL, 0},
};
static const struct name memory_flags[] = {
    {"MPOL_F_NUMA_BALANCING", 1 << 13},
    {"MPOL_F_RELATIVE_NODES", 1 << 14},
    {"MPOL_F_STATIC_NODES", 1 << 15},
    {NULL, 0},
};
static const struct name personalities[] = {
    {"LINUX", PER_LINUX},
    {"LINUX32", PER_LINUX32},
    {NULL, 0},
};

static const struct name *const tables[] = {
    [RUNTIME_SCHEDULERS] = policies,       [RUNTIME_SCHEDULER_FLAGS] = scheduler_flags,
    [RUNTIME_IO_CLASSES] = io_classes,     [RUNTIME_MEMORY_MODES] = memory_modes,
    [RUNTIME_MEMORY_FLAGS] = memory_flags, [RUNTIME_PERSONALITIES] = personalities,
};

const char *runtime_name(enum runtime_names which, size_t i)
{
    return tables[which][i].name;
}

static int find(enum runtime_names which, const char *name, const char *where, uint64_t *ret,
                struct error *e)
{
    for (const struct name *n = tables[which]; n->name; n++) {
        if (!STREQ(n->name, name))
            continue;
        *ret = n->value;
        return 0;
    }
    return error_set(e, ERR_INVALID, "%s: \"%s\" is not known", where, name);
}

static int find_all(enum runtime_names which, char *const *names, const char *where, uint64_t *ret,
                    struct error *e)
{
    uint64_t bits = 0, one = 0;
    int r = 0;

    for (size_t i = 0; names && names[i] && r == 0; i++) {
        r = find(which, names[i], where, &one, e);
        bits |= one;
    }
    *ret = bits;
    return r;
}

/* --- lists of numbers ---------------------------------------------------------------------- */

int attributes_parse_list(const char *text, struct number_set *ret)
{
    const char *p = text;

    *ret = (struct number_set){.highest = 0};
    while (*p) {
        char *end;
        unsigned long from, to;

        if (*p < '0' || *p > '9')
            return -EINVAL;
        from = to = strtoul(p, &end, 10);
        if (*end == '-') {
            if (end[1] < '0' || end[1] > '9')
                return -EINVAL;
            to = strtoul(end + 1, &end, 10);
        }
        if (from > to || to >= NUMBER_SET_MAX)
            return -EINVAL;
        for (unsigned long i = from; i <= to; i++)
            ret->words[i / NUMBER_SET_WORD] |= 1ul << i % NUMBER_SET_WORD;
        ret->any = true;
        ret->highest = to > ret->highest ? to : ret->highest;
        if (*end == '\n')
            end++;
        if (*end && (*end != ',' || !end[1]))
            return -EINVAL;
        p = *end ? end + 1 : end;
    }
    return 0;
}

static int parse_list(const char *text, const char *where, struct number_set *ret, struct error *e)
{
    if (attributes_parse_list(text, ret) < 0)
        return error_set(e, ERR_INVALID, "%s: \"%s\" is no list of numbers (0-3,7)", where, text);
    return 0;
}

/* --- checking ------------------------------------------------------------------------------ */

static int check_scheduler(const struct oci_scheduler *s, struct error *e)
{
    bool deadline = STREQ(s->policy, "SCHED_DEADLINE");
    bool realtime = STREQ(s->policy, "SCHED_FIFO") || STREQ(s->policy, "SCHED_RR");
    uint64_t value;
    int r = find(RUNTIME_SCHEDULERS, s->policy, "process.scheduler.policy", &value, e);

    if (r == 0)
        r = find_all(RUNTIME_SCHEDULER_FLAGS, s->flags, "process.scheduler.flags", &value, e);
    if (r < 0)
        return r;
    if (s->nice < -20 || s->nice > 19)
        return error_set(e, ERR_INVALID, "process.scheduler.nice: must be between -20 and 19");
    if (s->priority < 0 || s->priority > 99 || (s->priority && !realtime))
        return error_set(e, ERR_INVALID,
                         "process.scheduler.priority: %lld is not for %s (1 to 99 with SCHED_FIFO "
                         "and SCHED_RR, else 0)",
                         (long long)s->priority, s->policy);
    if (!deadline && (s->runtime || s->deadline || s->period))
        return error_set(e, ERR_INVALID,
                         "process.scheduler: runtime, deadline and period are for SCHED_DEADLINE");
    return 0;
}

static int check_memory_policy(const struct oci_memory_policy *m, struct error *e)
{
    struct number_set nodes;
    uint64_t value;
    int r = find(RUNTIME_MEMORY_MODES, m->mode, "linux.memoryPolicy.mode", &value, e);

    if (r == 0)
        r = find_all(RUNTIME_MEMORY_FLAGS, m->flags, "linux.memoryPolicy.flags", &value, e);
    if (r == 0 && !str_is_empty(m->nodes))
        r = parse_list(m->nodes, "linux.memoryPolicy.nodes", &nodes, e);
    return r;
}

int attributes_check(const struct oci_process *p, const struct oci_linux *l, struct error *e)
{
    struct number_set set;
    uint64_t value;
    int r = p->scheduler ? check_scheduler(p->scheduler, e) : 0;

    if (r == 0 && p->io_priority)
        r = find(RUNTIME_IO_CLASSES, p->io_priority->class, "process.ioPriority.class", &value, e);
    if (r == 0 && p->io_priority && (p->io_priority->priority < 0 || p->io_priority->priority > 7))
        r = error_set(e, ERR_INVALID, "process.ioPriority.priority: must be between 0 and 7");
    if (r == 0 && p->exec_cpu_affinity && !str_is_empty(p->exec_cpu_affinity->initial))
        r = parse_list(p->exec_cpu_affinity->initial, "process.execCPUAffinity.initial", &set, e);
    if (r == 0 && p->exec_cpu_affinity && !str_is_empty(p->exec_cpu_affinity->final))
        r = parse_list(p->exec_cpu_affinity->final, "process.execCPUAffinity.final", &set, e);
    if (r == 0 && l && l->personality)
        r = find(RUNTIME_PERSONALITIES, l->personality->domain, "linux.personality.domain", &value,
                 e);
    if (r == 0 && l && l->memory_policy)
        r = check_memory_policy(l->memory_policy, e);
    return r;
}

/* --- applying ------------------------------------------------------------------------------ */

/* sched_setattr(2), which has no wrapper in glibc 2.36. */
struct scheduler_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static int set_scheduler(const struct oci_scheduler *s, struct error *e)
{
    struct scheduler_attr a = {
        .size = sizeof(a),
        .nice = (int32_t)s->nice,
        .priority = (uint32_t)s->priority,
        .runtime = s->runtime,
        .deadline = s->deadline,
        .period = s->period,
    };
    uint64_t policy = 0;
    int r = find(RUNTIME_SCHEDULERS, s->policy, "process.scheduler.policy", &policy, e);

    if (r == 0)
        r = find_all(RUNTIME_SCHEDULER_FLAGS, s->flags, "process.scheduler.flags", &a.flags, e);
    if (r < 0)
        return r;
    a.policy = (uint32_t)policy;
    if (syscall(SYS_sched_setattr, 0, &a, 0) < 0)
        return error_set_errno(e, errno, "cannot set process.scheduler %s%s", s->policy,
                               errno == EPERM ? " (CAP_SYS_NICE, or a budget of real time in the "
                                                "container's cgroup, is missing)"
                                              : "");
    return 0;
}

static int set_io_priority(const struct oci_io_priority *p, struct error *e)
{
    uint64_t class = 0;
    int r = find(RUNTIME_IO_CLASSES, p->class, "process.ioPriority.class", &class, e);

    if (r < 0)
        return r;
    if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                IOPRIO_PRIO_VALUE((int)class, (int)p->priority)) < 0)
        return error_set_errno(e, errno, "cannot set process.ioPriority %s", p->class);
    return 0;
}

static int set_memory_policy(const struct oci_memory_policy *m, struct error *e)
{
    struct number_set nodes = {.any = false};
    uint64_t mode = 0, flags = 0;
    int r = find(RUNTIME_MEMORY_MODES, m->mode, "linux.memoryPolicy.mode", &mode, e);

    if (r == 0)
        r = find_all(RUNTIME_MEMORY_FLAGS, m->flags, "linux.memoryPolicy.flags", &flags, e);
    if (r == 0 && !str_is_empty(m->nodes))
        r = parse_list(m->nodes, "linux.memoryPolicy.nodes", &nodes, e);
    if (r < 0)
        return r;
    if (syscall(SYS_set_mempolicy, (int)(mode | flags), nodes.any ? nodes.words : NULL,
                nodes.any ? nodes.highest + 2 : 0) < 0)
        return error_set_errno(e, errno, "cannot set linux.memoryPolicy %s with nodes \"%s\"",
                               m->mode, m->nodes ? m->nodes : "");
    return 0;
}

int attributes_set_affinity(const char *list, const char *where, struct error *e)
{
    struct number_set set;
    int r;

    if (str_is_empty(list))
        return 0;
    r = parse_list(list, where, &set, e);
    if (r == 0 && syscall(SYS_sched_setaffinity, 0, sizeof(set.words), set.words) < 0)
        r = error_set_errno(e, errno, "%s: cannot run on CPUs %s", where, list);
    return r;
}

int attributes_apply(const struct oci_process *p, const struct oci_linux *l, struct error *e)
{
    uint64_t domain = 0;
    int r = 0;

    if (p->scheduler)
        r = set_scheduler(p->scheduler, e);
    if (r == 0 && p->io_priority)
        r = set_io_priority(p->io_priority, e);
    if (r == 0 && l && l->memory_policy)
        r = set_memory_policy(l->memory_policy, e);
    if (r < 0 || !l || !l->personality)
        return r;
    r = find(RUNTIME_PERSONALITIES, l->personality->domain, "linux.personality.domain", &domain, e);
    if (r == 0 && personality((unsigned long)domain) < 0)
        r = error_set_errno(e, errno, "cannot set linux.personality %s", l->personality->domain);
    return r;
}
