/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits written into a cgroup, v1 and v2. A file is written only where a value is set. A file
 * that is missing means that the kernel cannot do it: that becomes a warning, and the container
 * starts without this limit. A value the kernel refuses is an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "sys/cgroup-priv.h"

struct limits {
    const char *path;
    char ***warnings;
    struct error *e;
};

static void warn_missing(struct limits *l, const char *what)
{
    if (l->warnings)
        strv_pushf(l->warnings, "the kernel does not support %s here: not applied", what);
}

/* Writes text; what: for the user ("memory limit"). */
static int put(struct limits *l, const char *controller, const char *file, const char *text,
               const char *what)
{
    int r = cgroup_write(controller, l->path, file, text);

    if (r == 0)
        return 0;
    if (r == -ENOENT || r == -EOPNOTSUPP) {
        warn_missing(l, what);
        return 0;
    }
    if (r == -EINVAL || r == -ERANGE || r == -ENODEV || r == -ENXIO)
        return error_set(l->e, ERR_INVALID, "%s \"%s\" is refused by the kernel (%s: %s)", what,
                         text, file, strerror(-r));
    if (r == -EBUSY)
        return error_set(l->e, ERR_CONFLICT, "%s \"%s\" is below what is in use (%s)", what, text,
                         file);
    return error_set_errno(l->e, r, "cannot set %s \"%s\" (%s)", what, text, file);
}

static int put_int(struct limits *l, const char *controller, const char *file, int64_t value,
                   const char *what)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    return put(l, controller, file, text, what);
}

/* v2's spelling of "no limit". */
static int put_max(struct limits *l, const char *file, int64_t value, const char *what)
{
    return value < 0 ? put(l, "", file, "max", what) : put_int(l, "", file, value, what);
}

uint64_t cgroup_shares_to_weight(uint64_t shares)
{
    if (shares < 2)
        shares = 2;
    if (shares > 262144)
        shares = 262144;
    return 1 + ((shares - 2) * 9999) / 262142;
}

uint64_t cgroup_blkio_weight_to_io(uint64_t weight)
{
    if (weight < 10)
        weight = 10;
    if (weight > 1000)
        weight = 1000;
    return 1 + (weight - 10) * 9999 / 990;
}

int64_t cgroup_swap_to_v2(int64_t swap, int64_t limit)
{
    if (swap < 0 || limit < 0)
        return swap < 0 ? -1 : swap;
    return swap < limit ? 0 : swap - limit;
}

static int check_memory(struct limits *l, const struct cgroup_memory *m)
{
    struct error *e = l->e;

    if (m->kernel.set && m->kernel.value > 0) /* gone from the kernel with Linux 5.16 */
        warn_missing(l, "a kernel memory limit");
    if (m->swap.set && m->swap.value > 0 && m->limit.set && m->limit.value > 0 &&
        m->swap.value < m->limit.value)
        return error_set(e, ERR_INVALID,
                         "the memory and swap limit must not be smaller than the "
                         "memory limit");
    if (m->swap.set && m->swap.value > 0 && (!m->limit.set || m->limit.value <= 0))
        return error_set(e, ERR_INVALID, "a swap limit needs a memory limit");
    if (m->swappiness.set && m->swappiness.value > 100 && m->swappiness.value != UINT64_MAX)
        return error_set(e, ERR_INVALID, "memory swappiness must be between 0 and 100");
    return 0;
}

/* --- v1 ------------------------------------------------------------------------------------ */

#define MEMSW "memory.memsw.limit_in_bytes"

/* The kernel keeps limit ≤ memory+swap at every moment: the order depends on which way it goes. */
static int memory_limits_v1(struct limits *l, const struct cgroup_memory *m, bool update)
{
    bool swap = m->swap.set && m->swap.value != 0;
    int r;

    if (update && swap && m->limit.set) {
        uint64_t now = 0;

        if (cgroup_read_u64("memory", l->path, MEMSW, &now) == 0 &&
            (m->swap.value < 0 || (uint64_t)m->swap.value > now)) {
            r = put_int(l, "memory", MEMSW, m->swap.value, "memory and swap limit");
            if (r < 0)
                return r;
            swap = false;
        }
    }
    if (m->limit.set && m->limit.value != 0) {
        r = put_int(l, "memory", "memory.limit_in_bytes", m->limit.value, "memory limit");
        if (r < 0)
            return r;
    }
    return swap ? put_int(l, "memory", MEMSW, m->swap.value, "memory and swap limit") : 0;
}

static int memory_v1(struct limits *l, const struct cgroup_memory *m, bool update)
{
    int r = check_memory(l, m);

    if (r == 0)
        r = memory_limits_v1(l, m, update);
    if (r == 0 && m->reservation.set && m->reservation.value != 0)
        r = put_int(l, "memory", "memory.soft_limit_in_bytes", m->reservation.value,
                    "memory reservation");
    if (r == 0 && m->kernel_tcp.set && m->kernel_tcp.value != 0)
        r = put_int(l, "memory", "memory.kmem.tcp.limit_in_bytes", m->kernel_tcp.value,
                    "kernel TCP memory limit");
    if (r == 0 && m->swappiness.set && m->swappiness.value <= 100)
        r = put_int(l, "memory", "memory.swappiness", (int64_t)m->swappiness.value,
                    "memory swappiness");
    if (r == 0 && m->disable_oom_killer.set && m->disable_oom_killer.value)
        r = put(l, "memory", "memory.oom_control", "1", "switching off the OOM killer");
    return r;
}

/*
 * Burst and quota: the kernel keeps burst ≤ quota at every moment, so which of them goes first
 * depends on the way it goes. What is refused before the quota is tried once more after it.
 */
static int put_burst(struct limits *l, const char *controller, const char *file,
                     const struct cgroup_cpu *c, bool *again)
{
    char text[24];
    int r;

    if (!c->burst.set)
        return 0;
    (void)snprintf(text, sizeof(text), "%" PRIu64, c->burst.value);
    r = cgroup_write(controller, l->path, file, text);
    if (*again || r == 0 || r != -EINVAL) {
        *again = false;
        /* 0 is what it is without: nothing is lost on a kernel that does not know it. */
        return r == 0 || (r == -ENOENT && !c->burst.value)
                   ? 0
                   : put(l, controller, file, text, "CPU burst");
    }
    *again = true;
    return 0;
}

static int put_idle(struct limits *l, const char *controller, const struct cgroup_cpu *c)
{
    int r;

    if (!c->idle.set)
        return 0;
    if (c->idle.value != 0 && c->idle.value != 1)
        return error_set(l->e, ERR_INVALID, "the idle CPU policy must be 0 or 1");
    r = c->idle.value ? -ENOENT : cgroup_write(controller, l->path, "cpu.idle", "0");
    return r == 0 || !c->idle.value
               ? 0
               : put_int(l, controller, "cpu.idle", c->idle.value, "idle CPU policy");
}

/* An idle group has the smallest weight there is, and the kernel refuses to be given another. */
static bool has_shares(const struct cgroup_cpu *c)
{
    return c->shares.set && c->shares.value && !(c->idle.set && c->idle.value == 1);
}

static int cpu_v1(struct limits *l, const struct cgroup_cpu *c)
{
    bool again = false;
    int r = put_idle(l, "cpu", c);

    if (r == 0 && has_shares(c))
        r = put_int(l, "cpu", "cpu.shares", (int64_t)c->shares.value, "CPU shares");
    if (r == 0)
        r = put_burst(l, "cpu", "cpu.cfs_burst_us", c, &again);
    if (r == 0 && c->period.set && c->period.value)
        r = put_int(l, "cpu", "cpu.cfs_period_us", (int64_t)c->period.value, "CPU period");
    if (r == 0 && c->quota.set && c->quota.value)
        r = put_int(l, "cpu", "cpu.cfs_quota_us", c->quota.value, "CPU quota");
    if (r == 0 && again)
        r = put_burst(l, "cpu", "cpu.cfs_burst_us", c, &again);
    if (r == 0 && c->realtime_period.set && c->realtime_period.value)
        r = put_int(l, "cpu", "cpu.rt_period_us", (int64_t)c->realtime_period.value,
                    "real-time CPU period");
    if (r == 0 && c->realtime_runtime.set && c->realtime_runtime.value)
        r = put_int(l, "cpu", "cpu.rt_runtime_us", c->realtime_runtime.value,
                    "real-time CPU runtime");
    if (r == 0 && !str_is_empty(c->cpus))
        r = put(l, "cpuset", "cpuset.cpus", c->cpus, "CPU set");
    if (r == 0 && !str_is_empty(c->mems))
        r = put(l, "cpuset", "cpuset.mems", c->mems, "memory node set");
    return r;
}

static bool has_file(const char *controller, const char *path, const char *file)
{
    AUTOFREE char *text = NULL;

    return cgroup_read(controller, path, file, &text) == 0;
}

static int throttle_v1(struct limits *l, const char *file, const struct json_list *list,
                       const char *what)
{
    const struct cgroup_throttle_device *d = list->items;
    int r = 0;

    for (size_t i = 0; i < list->len && r == 0; i++) {
        char text[80];

        (void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %" PRIu64, d[i].major,
                       d[i].minor, d[i].rate);
        r = put(l, "blkio", file, text, what);
    }
    return r;
}

static int blkio_v1(struct limits *l, const struct cgroup_block_io *b)
{
    bool bfq = has_file("blkio", l->path, "blkio.bfq.weight");
    const struct cgroup_weight_device *w = b->weight_device.items;
    int r = 0;

    if (b->weight.set && b->weight.value)
        r = put_int(l, "blkio", bfq ? "blkio.bfq.weight" : "blkio.weight", (int64_t)b->weight.value,
                    "block I/O weight");
    for (size_t i = 0; i < b->weight_device.len && r == 0; i++) {
        char text[80];

        (void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %" PRIu64, w[i].major,
                       w[i].minor, w[i].weight.value);
        r = put(l, "blkio", bfq ? "blkio.bfq.weight_device" : "blkio.weight_device", text,
                "block I/O weight of a device");
    }
    if (r == 0 && b->leaf_weight.set && b->leaf_weight.value)
        r = put_int(l, "blkio", "blkio.leaf_weight", (int64_t)b->leaf_weight.value,
                    "block I/O leaf weight");
    if (r == 0)
        r = throttle_v1(l, "blkio.throttle.read_bps_device", &b->throttle_read_bps,
                        "device read rate");
    if (r == 0)
        r = throttle_v1(l, "blkio.throttle.write_bps_device", &b->throttle_write_bps,
                        "device write rate");
    if (r == 0)
        r = throttle_v1(l, "blkio.throttle.read_iops_device", &b->throttle_read_iops,
                        "device read operations");
    if (r == 0)
        r = throttle_v1(l, "blkio.throttle.write_iops_device", &b->throttle_write_iops,
                        "device write operations");
    return r;
}

/* Reservations where the kernel counts them (Linux 5.7), and usage: pages that are not reserved
 * count there alone. */
static int hugetlb(struct limits *l, const struct json_list *list, const char *controller,
                   const char *suffix)
{
    const struct cgroup_hugepage *h = list->items;
    int r = 0;

    for (size_t i = 0; i < list->len && r == 0; i++) {
        AUTOFREE char *rsvd = xasprintf("hugetlb.%s.rsvd.%s", h[i].page_size, suffix);
        AUTOFREE char *file = xasprintf("hugetlb.%s.%s", h[i].page_size, suffix);

        if (strchr(h[i].page_size, '/'))
            return error_set(l->e, ERR_INVALID, "huge page size \"%s\"", h[i].page_size);
        if (has_file(controller, l->path, rsvd))
            r = put_int(l, controller, rsvd, (int64_t)h[i].limit, "huge page reservation limit");
        if (r == 0)
            r = put_int(l, controller, file, (int64_t)h[i].limit, "huge page limit");
    }
    return r;
}

/* "mlx5_0 hca_handle=3 hca_object=100", the same in both versions. */
static int rdma(struct limits *l, const struct json_list *list, const char *controller)
{
    const struct cgroup_rdma *d = list->items;
    int r = 0;

    for (size_t i = 0; i < list->len && r == 0; i++) {
        AUTO(buf) struct buf text = BUF_INIT(512);

        (void)buf_printf(&text, "%s", d[i].key);
        if (d[i].hca_handles.set)
            (void)buf_printf(&text, " hca_handle=%" PRIu64, d[i].hca_handles.value);
        if (d[i].hca_objects.set)
            (void)buf_printf(&text, " hca_object=%" PRIu64, d[i].hca_objects.value);
        r = put(l, controller, "rdma.max", buf_str(&text), "RDMA limit");
    }
    return r;
}

static int network_v1(struct limits *l, const struct cgroup_network *n)
{
    const struct cgroup_interface_priority *p = n->priorities.items;
    int r = 0;

    if (n->class_id.set)
        r = put_int(l, "net_cls", "net_cls.classid", (int64_t)n->class_id.value, "network class");
    for (size_t i = 0; i < n->priorities.len && r == 0; i++) {
        AUTOFREE char *text = xasprintf("%s %" PRIu64, p[i].name, p[i].priority);

        r = put(l, "net_prio", "net_prio.ifpriomap", text, "network priority");
    }
    return r;
}

static int pids_limit(struct limits *l, const struct cgroup_pids *p, const char *controller)
{
    char text[24] = "max";

    if (!p->limit.set || (p->limit.value == 0))
        return 0;
    if (p->limit.value > 0)
        (void)snprintf(text, sizeof(text), "%" PRId64, p->limit.value);
    return put(l, controller, "pids.max", text, "pids limit");
}

int cgroup_apply_v1(const char *path, const struct cgroup_resources *r, bool update,
                    char ***warnings, struct error *e)
{
    struct limits l = {path, warnings, e};
    int err = 0;

    if (r->devices.len)
        err = cgroup_devices_v1(path, &r->devices, e);
    if (err == 0 && r->memory)
        err = memory_v1(&l, r->memory, update);
    if (err == 0 && r->cpu)
        err = cpu_v1(&l, r->cpu);
    if (err == 0 && r->pids)
        err = pids_limit(&l, r->pids, "pids");
    if (err == 0 && r->block_io)
        err = blkio_v1(&l, r->block_io);
    if (err == 0)
        err = hugetlb(&l, &r->hugepage_limits, "hugetlb", "limit_in_bytes");
    if (err == 0)
        err = rdma(&l, &r->rdma, "rdma");
    if (err == 0 && r->network)
        err = network_v1(&l, r->network);
    if (err == 0 && r->unified.len)
        err = error_set(e, ERR_INVALID, "linux.resources.unified needs cgroup v2");
    return err;
}

/* --- v2 ------------------------------------------------------------------------------------ */

/* v1's kernel refuses a limit below what is in use; v2's would kill. */
static int check_usage_v2(struct limits *l, const struct cgroup_memory *m)
{
    uint64_t now = 0;

    if (!m->check_before_update.set || !m->check_before_update.value || !m->limit.set ||
        m->limit.value <= 0 || cgroup_read_u64("", l->path, "memory.current", &now) < 0 ||
        now <= (uint64_t)m->limit.value)
        return 0;
    return error_set(l->e, ERR_CONFLICT,
                     "memory limit %" PRId64 " is below what is in use (%" PRIu64 ")",
                     m->limit.value, now);
}

static int memory_v2(struct limits *l, const struct cgroup_memory *m)
{
    int r = check_memory(l, m);
    bool limit = m->limit.set && m->limit.value != 0;

    if (r == 0)
        r = check_usage_v2(l, m);
    /* Swap first: with the memory limit in force already, pages could go to swap meanwhile. */
    if (r == 0 && m->swap.set && m->swap.value != 0)
        r = put_max(l, "memory.swap.max",
                    cgroup_swap_to_v2(m->swap.value, limit ? m->limit.value : -1), "swap limit");
    if (r == 0 && limit)
        r = put_max(l, "memory.max", m->limit.value, "memory limit");
    if (r == 0 && m->reservation.set && m->reservation.value != 0)
        r = put_max(l, "memory.low", m->reservation.value, "memory reservation");
    if (m->disable_oom_killer.set && m->disable_oom_killer.value)
        warn_missing(l, "switching off the OOM killer (cgroup v2)");
    if (m->swappiness.set && m->swappiness.value <= 100)
        warn_missing(l, "memory swappiness (cgroup v2)");
    return r;
}

/* "quota period", "max period" */
static int cpu_max(struct limits *l, const struct cgroup_cpu *c)
{
    bool period = c->period.set && c->period.value;
    bool quota = c->quota.set && c->quota.value;
    char number[24] = "max", text[64];

    if (!period && !quota)
        return 0;
    if (quota && c->quota.value > 0)
        (void)snprintf(number, sizeof(number), "%" PRId64, c->quota.value);
    (void)snprintf(text, sizeof(text), "%s %" PRIu64, number,
                   period ? c->period.value : UINT64_C(100000));
    return put(l, "", "cpu.max", text, "CPU quota");
}

static int cpu_v2(struct limits *l, const struct cgroup_cpu *c)
{
    bool again = false;
    int r = put_idle(l, "", c);

    if (r == 0 && has_shares(c))
        r = put_int(l, "", "cpu.weight", (int64_t)cgroup_shares_to_weight(c->shares.value),
                    "CPU shares");
    if (r == 0)
        r = put_burst(l, "", "cpu.max.burst", c, &again);
    if (r == 0)
        r = cpu_max(l, c);
    if (r == 0 && again)
        r = put_burst(l, "", "cpu.max.burst", c, &again);
    if ((c->realtime_period.set && c->realtime_period.value) ||
        (c->realtime_runtime.set && c->realtime_runtime.value))
        warn_missing(l, "real-time CPU limits (cgroup v2)");
    if (r == 0 && !str_is_empty(c->cpus))
        r = put(l, "", "cpuset.cpus", c->cpus, "CPU set");
    if (r == 0 && !str_is_empty(c->mems))
        r = put(l, "", "cpuset.mems", c->mems, "memory node set");
    return r;
}

static int throttle_v2(struct limits *l, const char *key, const struct json_list *list,
                       const char *what)
{
    const struct cgroup_throttle_device *d = list->items;
    int r = 0;

    for (size_t i = 0; i < list->len && r == 0; i++) {
        char text[96];

        if (d[i].rate)
            (void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %s=%" PRIu64, d[i].major,
                           d[i].minor, key, d[i].rate);
        else
            (void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %s=max", d[i].major,
                           d[i].minor, key);
        r = put(l, "", "io.max", text, what);
    }
    return r;
}

static int io_v2(struct limits *l, const struct cgroup_block_io *b)
{
    bool bfq = has_file("", l->path, "io.bfq.weight");
    const struct cgroup_weight_device *w = b->weight_device.items;
    int r = 0;

    if (b->weight.set && b->weight.value)
        r = bfq ? put_int(l, "", "io.bfq.weight", (int64_t)b->weight.value, "block I/O weight")
                : put_int(l, "", "io.weight", (int64_t)cgroup_blkio_weight_to_io(b->weight.value),
                          "block I/O weight");
    for (size_t i = 0; i < b->weight_device.len && r == 0; i++) {
        uint64_t weight = w[i].weight.value;
        char text[80];

        (void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %" PRIu64, w[i].major,
                       w[i].minor, bfq ? weight : cgroup_blkio_weight_to_io(weight));
        r = put(l, "", bfq ? "io.bfq.weight" : "io.weight", text, "block I/O weight of a device");
    }
    if (b->leaf_weight.set && b->leaf_weight.value)
        warn_missing(l, "block I/O leaf weight (cgroup v2)");
    if (r == 0)
        r = throttle_v2(l, "rbps", &b->throttle_read_bps, "device read rate");
    if (r == 0)
        r = throttle_v2(l, "wbps", &b->throttle_write_bps, "device write rate");
    if (r == 0)
        r = throttle_v2(l, "riops", &b->throttle_read_iops, "device read operations");
    if (r == 0)
        r = throttle_v2(l, "wiops", &b->throttle_write_iops, "device write operations");
    return r;
}

static int unified_v2(struct limits *l, const struct json_map *m)
{
    int r = 0;

    for (size_t i = 0; i < m->len && r == 0; i++) {
        const char *file = m->items[i].key;

        if (strchr(file, '/') || str_has_prefix(file, "cgroup."))
            return error_set(l->e, ERR_INVALID,
                             "linux.resources.unified: \"%s\" is not a "
                             "controller's file",
                             file);
        r = put(l, "", file, m->items[i].value, file);
    }
    return r;
}

int cgroup_apply_v2(const char *path, const struct cgroup_resources *r, char ***warnings,
                    struct error *e)
{
    struct limits l = {path, warnings, e};
    int err = 0;

    if (r->devices.len)
        err = cgroup_devices_v2(path, &r->devices, e);
    if (err == 0 && r->memory)
        err = memory_v2(&l, r->memory);
    if (err == 0 && r->cpu)
        err = cpu_v2(&l, r->cpu);
    if (err == 0 && r->pids)
        err = pids_limit(&l, r->pids, "");
    if (err == 0 && r->block_io)
        err = io_v2(&l, r->block_io);
    if (err == 0)
        err = hugetlb(&l, &r->hugepage_limits, "", "max");
    if (err == 0)
        err = rdma(&l, &r->rdma, "");
    if (r->network && (r->network->class_id.set || r->network->priorities.len))
        warn_missing(&l, "network class and priority (cgroup v2)");
    return err == 0 ? unified_v2(&l, &r->unified) : err;
}
