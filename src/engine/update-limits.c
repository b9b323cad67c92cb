/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of a container that runs: memory, CPU, pids, block I/O. What is written is the difference
 * of two versions, so the same code goes forward and back.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/isolation.h"
#include "oci/spec.h"

static void resources_done(struct cgroup_resources *r)
{
    json_free(&cgroup_resources_json, r);
}

/* --- the request into the next version ------------------------------------------------------------ */

/* -1 takes a limit away, 0 leaves it. */
static void take_limit(int64_t *limit, int64_t asked)
{
    if (asked)
        *limit = asked < 0 ? 0 : asked;
}

static int take_memory(const struct host_config *set, struct host_config *hc, struct error *e)
{
    bool by_default = hc->memory > 0 && hc->memory_swap == hc->memory * 2;

    if (set->memory < -1 || set->memory_swap < -1 || set->memory_reservation < -1 ||
        set->memory_high < -1 || set->memory_low < -1 || set->memory_min < -1)
        return error_set(e, ERR_INVALID, "memory limits must not be negative (-1: no limit)");
    take_limit(&hc->memory, set->memory);
    take_limit(&hc->memory_reservation, set->memory_reservation);
    take_limit(&hc->memory_high, set->memory_high);
    take_limit(&hc->memory_low, set->memory_low);
    take_limit(&hc->memory_min, set->memory_min);
    if (set->memory_swap)
        hc->memory_swap = set->memory_swap;
    else if (set->memory && (by_default || hc->memory == 0))
        hc->memory_swap = 0; /* twice the memory is filled in again, or nothing */
    if (hc->memory == 0 && hc->memory_swap == -1)
        hc->memory_swap = 0;
    if (set->memory > 0 && hc->memory_swap > 0 && hc->memory_swap < hc->memory)
        return error_set(e, ERR_INVALID,
                         "Memory limit should be smaller than already set memoryswap limit, update "
                         "the memoryswap at the same time");
    if (set->memory_swappiness.set)
        hc->memory_swappiness = set->memory_swappiness;
    if (set->oom_kill_disable.set && set->oom_kill_disable.value != hc->oom_kill_disable.value)
        return error_set(e, ERR_INVALID,
                         "the OOM killer cannot be switched on or off by update: create the "
                         "container anew, or stop it and use --oom-score-adj");
    return 0;
}

/* CPUs as a number, and as quota and period: the one that is given replaces the other. */
static void take_cpu(const struct host_config *set, struct host_config *hc)
{
    if (set->cpu_shares)
        hc->cpu_shares = set->cpu_shares;
    if (set->nano_cpus) {
        take_limit(&hc->nano_cpus, set->nano_cpus);
        hc->cpu_period = 0;
        hc->cpu_quota = 0;
    }
    if (set->cpu_period || set->cpu_quota) {
        if (!set->nano_cpus)
            hc->nano_cpus = 0;
        if (set->cpu_period)
            hc->cpu_period = set->cpu_period;
        if (set->cpu_quota)
            hc->cpu_quota = set->cpu_quota;
    }
    take_limit(&hc->cpu_burst, set->cpu_burst);
    if (!str_is_empty(set->cpuset_cpus))
        str_replace(&hc->cpuset_cpus, set->cpuset_cpus);
    if (!str_is_empty(set->cpuset_mems))
        str_replace(&hc->cpuset_mems, set->cpuset_mems);
}

/* Rates are set device by device: one that is given replaces the one there, 0 takes it away. */
static void take_rates(const struct json_list *from, struct json_list *to)
{
    const struct throttle_device *d = from->items;

    for (size_t i = 0; i < from->len; i++) {
        struct throttle_device *have = to->items;
        size_t j = 0;

        while (j < to->len && !STREQ(have[j].path, d[i].path))
            j++;
        if (j == to->len && d[i].rate) {
            have = json_list_add(to, sizeof(*have));
            *have = (struct throttle_device){xstrdup(d[i].path), d[i].rate};
        } else if (j < to->len && d[i].rate) {
            have[j].rate = d[i].rate;
        } else if (j < to->len) {
            free(have[j].path);
            (void)memmove(&have[j], &have[j + 1], (to->len - j - 1) * sizeof(*have));
            to->len--;
        }
    }
}

static void take_weights(const struct json_list *from, struct json_list *to)
{
    const struct weight_device *d = from->items;

    for (size_t i = 0; i < from->len; i++) {
        struct weight_device *have = to->items;
        size_t j = 0;

        while (j < to->len && !STREQ(have[j].path, d[i].path))
            j++;
        if (j == to->len) {
            have = json_list_add(to, sizeof(*have));
            *have = (struct weight_device){xstrdup(d[i].path), d[i].weight};
        } else {
            have[j].weight = d[i].weight;
        }
    }
}

static int refuse(struct error *e, const char *what)
{
    return error_set(e, ERR_INVALID,
                     "%s of a container cannot be changed: it is set when the "
                     "container is created",
                     what);
}

/* "0-3,7" of what the host has. */
static int check_set(const char *set, const char *host_file, const char *what, struct error *e)
{
    char host[256] = "";
    AUTOFREE char *text = NULL;
    unsigned long last = 0;
    FILE *f = fopen(host_file, "re");

    if (f) {
        char *got = fgets(host, sizeof(host), f);
        const char *p = got ? got + strcspn(got, "\n") : host;

        while (p > host && p[-1] >= '0' && p[-1] <= '9')
            p--;
        last = strtoul(p, NULL, 10);
        (void)fclose(f);
    }
    for (const char *p = set; *p;) {
        char *end = NULL;
        unsigned long from = strtoul(p, &end, 10);
        unsigned long to = from;

        if (end == p || *p < '0' || *p > '9')
            return error_set(e, ERR_INVALID, "Invalid value %s for %s", set, what);
        if (*end == '-') {
            p = end + 1;
            to = strtoul(p, &end, 10);
            if (end == p || to < from)
                return error_set(e, ERR_INVALID, "Invalid value %s for %s", set, what);
        }
        if (*end != ',' && *end != '\0')
            return error_set(e, ERR_INVALID, "Invalid value %s for %s", set, what);
        if (f && to > last)
            return error_set(e, ERR_INVALID,
                             "Requested %s are not available - requested %s, available: 0-%lu",
                             what, set, last);
        p = *end ? end + 1 : end;
    }
    return 0;
}

static uint64_t stat_value(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = text; p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, key, n) == 0 && p[n] == ' ')
            return strtoull(p + n, NULL, 10);
    }
    return 0;
}

/* What is left when the files' pages are given back; tmpfs (also in /dev/shm) is not a file here. */
static uint64_t unreclaimable(const struct cgroup_stats *st)
{
    uint64_t files = stat_value(st->mem_stat, "active_file") +
                     stat_value(st->mem_stat, "inactive_file") +
                     stat_value(st->mem_stat, "slab_reclaimable");

    return st->mem_usage > files ? st->mem_usage - files : 0;
}

static bool fits_swap(const struct host_config *hc, uint64_t bytes)
{
    struct sysinfo si;

    return (hc->memory_swap < 0 || hc->memory_swap - hc->memory >= (int64_t)bytes) &&
           sysinfo(&si) == 0 && (uint64_t)si.freeswap * si.mem_unit >= bytes;
}

/* cgroup v2's kernel kills when a limit goes below what is in use; v1's refuses. So do we. */
static int check_in_use(const struct update_context *u, const struct host_config *hc,
                        struct error *e)
{
    struct cgroup_stats st = {0};
    uint64_t held;
    int r = 0;

    if (!u->live || hc->memory <= 0 || hc->memory == u->old->host_config.memory ||
        cgroup_host_layout() != CGROUP_V2 || cgroup_stats(u->cgroup, &st, NULL) < 0)
        return 0;
    held = unreclaimable(&st);
    if (held > (uint64_t)hc->memory && !fits_swap(hc, held - (uint64_t)hc->memory))
        r = error_set(e, ERR_CONFLICT,
                      "a memory limit of %lld bytes is below what the container uses (%llu bytes "
                      "without its cache): its processes would be killed",
                      (long long)hc->memory, (unsigned long long)held);
    cgroup_stats_done(&st);
    return r;
}

int update_limits_check(struct update_context *u, struct error *e)
{
    const struct host_config *set = &u->update->set;
    struct host_config *hc = &u->next->host_config;
    CLEANUP(resources_done) struct cgroup_resources probe = {0};
    int r;

    if (!str_is_empty(set->cgroup_parent))
        return refuse(e, "the parent cgroup");
    if (set->devices.len)
        return error_set(e, ERR_INVALID,
                         "Devices cannot be changed as a whole: DevicesAdd and "
                         "DevicesRm name what comes and goes");
    if (set->ulimits.len)
        return refuse(e, "ulimits");
    r = take_memory(set, hc, e);
    if (r < 0)
        return r;
    take_cpu(set, hc);
    if (set->cpu_realtime_period || set->cpu_realtime_runtime) {
        hc->cpu_realtime_period = set->cpu_realtime_period;
        hc->cpu_realtime_runtime = set->cpu_realtime_runtime;
    }
    if (set->kernel_memory > 0)
        hc->kernel_memory = set->kernel_memory;
    if (set->pids_limit.set)
        hc->pids_limit = (struct opt_int){true,
                                          set->pids_limit.value <= 0 ? -1 : set->pids_limit.value};
    if (set->blkio_weight)
        hc->blkio_weight = set->blkio_weight;
    take_weights(&set->blkio_weight_device, &hc->blkio_weight_device);
    take_rates(&set->blkio_device_read_bps, &hc->blkio_device_read_bps);
    take_rates(&set->blkio_device_write_bps, &hc->blkio_device_write_bps);
    take_rates(&set->blkio_device_read_iops, &hc->blkio_device_read_iops);
    take_rates(&set->blkio_device_write_iops, &hc->blkio_device_write_iops);
    if (!str_is_empty(set->cpuset_cpus))
        r = check_set(set->cpuset_cpus, "/sys/devices/system/cpu/possible", "CPUs", e);
    if (r == 0 && !str_is_empty(set->cpuset_mems))
        r = check_set(set->cpuset_mems, "/sys/devices/system/node/possible", "memory nodes", e);
    if (r == 0)
        r = validate_limits(hc, e);
    if (r == 0)
        r = isolation_check_limits(hc, e);
    /* Devices that do not exist are found now, not at the next start. */
    if (r == 0 && (set->blkio_weight_device.len || set->blkio_device_read_bps.len ||
                   set->blkio_device_write_bps.len || set->blkio_device_read_iops.len ||
                   set->blkio_device_write_iops.len))
        r = spec_block_io(hc, &probe, e);
    return r < 0 ? r : check_in_use(u, hc, e);
}

/* --- the difference ----------------------------------------------------------------------------------- */

static struct opt_int limit_of(int64_t v)
{
    return (struct opt_int){true, v ? v : -1};
}

/* Files that only cgroup v2 has. */
static void diff_unified(struct cgroup_resources *res, const char *file, int64_t from, int64_t to,
                         const char *none)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, to);
    if (from != to)
        json_map_set(&res->unified, file, to ? text : none);
}

static void diff_memory(const struct host_config *from, const struct host_config *to,
                        struct cgroup_resources *res)
{
    struct cgroup_memory *m = xcalloc(1, sizeof(*m));

    res->memory = m;
    /* Both: the kernel keeps them in order, and so does cgroup_update(). */
    if (from->memory != to->memory || from->memory_swap != to->memory_swap) {
        m->limit = limit_of(to->memory);
        m->swap = limit_of(to->memory_swap);
    }
    if (from->memory_reservation != to->memory_reservation) {
        if (to->memory_reservation || cgroup_host_layout() != CGROUP_V2)
            m->reservation = limit_of(to->memory_reservation);
        else
            json_map_set(&res->unified, "memory.low", "0");
    }
    diff_unified(res, "memory.high", from->memory_high, to->memory_high, "max");
    diff_unified(res, "memory.low", from->memory_low, to->memory_low, "0");
    diff_unified(res, "memory.min", from->memory_min, to->memory_min, "0");
    if (to->memory_swappiness.set && to->memory_swappiness.value >= 0)
        m->swappiness = (struct opt_uint){true, (uint64_t)to->memory_swappiness.value};
    else if (from->memory_swappiness.set && from->memory_swappiness.value >= 0)
        m->swappiness = (struct opt_uint){true, 60};
}

static void quota_of(const struct host_config *hc, int64_t *period, int64_t *quota)
{
    *period = hc->cpu_period ? hc->cpu_period : 100000;
    *quota = hc->cpu_quota ? hc->cpu_quota : -1;
    if (hc->nano_cpus) {
        *period = 100000;
        *quota = hc->nano_cpus / 10000;
    }
}

static const char *text_of(const char *s)
{
    return s ? s : "";
}

static void diff_cpu(const struct host_config *from, const struct host_config *to,
                     const char *cgroup, struct cgroup_resources *res)
{
    struct cgroup_cpu *c = xcalloc(1, sizeof(*c));
    int64_t was[2], is[2];

    res->cpu = c;
    if (from->cpu_shares != to->cpu_shares)
        c->shares = (struct opt_uint){true, to->cpu_shares ? (uint64_t)to->cpu_shares : 1024};
    quota_of(from, &was[0], &was[1]);
    quota_of(to, &is[0], &is[1]);
    if (was[0] != is[0] || was[1] != is[1]) {
        c->period = (struct opt_uint){true, (uint64_t)is[0]};
        c->quota = (struct opt_int){true, is[1]};
    }
    if (from->cpu_burst != to->cpu_burst)
        c->burst = (struct opt_uint){true, (uint64_t)to->cpu_burst};
    if (!STREQ(text_of(from->cpuset_cpus), text_of(to->cpuset_cpus)))
        c->cpus = str_is_empty(to->cpuset_cpus)
                      ? cgroup_read_parent("cpuset", cgroup, "cpuset.cpus")
                      : xstrdup(to->cpuset_cpus);
    if (!STREQ(text_of(from->cpuset_mems), text_of(to->cpuset_mems)))
        c->mems = str_is_empty(to->cpuset_mems)
                      ? cgroup_read_parent("cpuset", cgroup, "cpuset.mems")
                      : xstrdup(to->cpuset_mems);
}

/* Rates of devices that have none any more are set to 0, "no limit". */
static void end_rates(const struct json_list *was, struct json_list *is)
{
    const struct cgroup_throttle_device *w = was->items;

    for (size_t i = 0; i < was->len; i++) {
        const struct cgroup_throttle_device *d = is->items;
        struct cgroup_throttle_device *end;
        size_t j = 0;

        while (j < is->len && (d[j].major != w[i].major || d[j].minor != w[i].minor))
            j++;
        if (j < is->len)
            continue;
        end = json_list_add(is, sizeof(*end));
        *end = (struct cgroup_throttle_device){w[i].major, w[i].minor, 0};
    }
}

static bool same_block_io(const struct host_config *a, const struct host_config *b)
{
    const struct weight_device *x = a->blkio_weight_device.items;
    const struct weight_device *y = b->blkio_weight_device.items;
    const struct json_list *rates[4][2] = {
        {&a->blkio_device_read_bps, &b->blkio_device_read_bps},
        {&a->blkio_device_write_bps, &b->blkio_device_write_bps},
        {&a->blkio_device_read_iops, &b->blkio_device_read_iops},
        {&a->blkio_device_write_iops, &b->blkio_device_write_iops},
    };
    bool same = a->blkio_weight == b->blkio_weight &&
                a->blkio_weight_device.len == b->blkio_weight_device.len;

    for (size_t i = 0; same && i < a->blkio_weight_device.len; i++)
        same = x[i].weight == y[i].weight && STREQ(x[i].path, y[i].path);
    for (size_t k = 0; same && k < ARRAY_SIZE(rates); k++) {
        const struct throttle_device *p = rates[k][0]->items;
        const struct throttle_device *q = rates[k][1]->items;

        same = rates[k][0]->len == rates[k][1]->len;
        for (size_t i = 0; same && i < rates[k][0]->len; i++)
            same = p[i].rate == q[i].rate && STREQ(p[i].path, q[i].path);
    }
    return same;
}

/* Weights are not looked at: a device keeps its last one, as the kernel's default is its host's. */
static int diff_block_io(const struct host_config *from, const struct host_config *to,
                         struct cgroup_resources *res, struct error *e)
{
    CLEANUP(resources_done) struct cgroup_resources was = {0};
    struct cgroup_block_io *io;
    int r;

    if (same_block_io(from, to))
        return 0;
    r = spec_block_io(to, res, e);
    /* A device that has gone takes its limits along. */
    if (r < 0 || spec_block_io(from, &was, NULL) < 0)
        return r;
    if (!res->block_io)
        res->block_io = xcalloc(1, sizeof(*res->block_io));
    io = res->block_io;
    if (from->blkio_weight && !to->blkio_weight)
        io->weight = (struct opt_uint){true, 100};
    if (was.block_io) {
        end_rates(&was.block_io->throttle_read_bps, &io->throttle_read_bps);
        end_rates(&was.block_io->throttle_write_bps, &io->throttle_write_bps);
        end_rates(&was.block_io->throttle_read_iops, &io->throttle_read_iops);
        end_rates(&was.block_io->throttle_write_iops, &io->throttle_write_iops);
    }
    return 0;
}

/* The smaller of the two: a limit on the user's processes may be one of the container's. */
static int64_t pids_of(const struct json_list *ulimits, const struct host_config *hc)
{
    int64_t pids = hc->pids_limit.set && hc->pids_limit.value > 0 ? hc->pids_limit.value : -1;
    int64_t nproc = isolation_nproc(ulimits, hc);

    return nproc > 0 && (pids < 0 || pids > nproc) ? nproc : pids;
}

int update_limits_diff(const struct json_list *ulimits, const struct host_config *from,
                       const struct host_config *to, const char *cgroup,
                       struct cgroup_resources *ret, struct error *e)
{
    int64_t was = pids_of(ulimits, from);
    int64_t is = pids_of(ulimits, to);

    diff_memory(from, to, ret);
    diff_cpu(from, to, cgroup, ret);
    if (was != is) {
        ret->pids = xcalloc(1, sizeof(*ret->pids));
        ret->pids->limit = (struct opt_int){true, is};
    }
    return diff_block_io(from, to, ret, e);
}

int update_limits_apply(struct update_context *u, const struct container_definition *from,
                        const struct container_definition *to, struct error *e)
{
    CLEANUP(resources_done) struct cgroup_resources res = {0};
    int r = update_limits_diff(&u->c->en->default_ulimits, &from->host_config, &to->host_config,
                               u->cgroup, &res, e);

    return r < 0 ? r : cgroup_update(u->cgroup, &res, u->warnings, e);
}
