/* SPDX-License-Identifier: Apache-2.0 */
/* Answers about resources: see view-answer.h. */
#include "monitor/view-answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/cgroup.h"

#define NONE UINT64_MAX

/* The start of a small file as text; false when it is not there. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    if (n < 0)
        return false;
    text[n] = '\0';
    return true;
}

/* A file of the cgroup (len: of how much of its path) as text. */
static bool read_at(const char *mount, const char *cgroup, size_t len, const char *file, char *text,
                    size_t size)
{
    char path[1024];

    return mount &&
           snprintf(path, sizeof(path), "%s%.*s/%s", mount, (int)len, cgroup, file) <
               (int)sizeof(path) &&
           read_text(path, text, size);
}

/* "max", and v1's largest number, are no limit. */
static uint64_t to_number(const char *text)
{
    unsigned long long v;
    char *end;

    errno = 0;
    v = strtoull(text, &end, 10);
    return end == text || *text == '-' || errno || v >= INT64_MAX / 4096 * 4096 ? NONE : v;
}

static uint64_t read_number(const char *mount, const char *cgroup, size_t len, const char *file)
{
    char text[64];

    return read_at(mount, cgroup, len, file, text, sizeof(text)) ? to_number(text) : NONE;
}

/* The length of the path without its last part. */
static size_t up(const char *cgroup, size_t len)
{
    while (len > 0 && cgroup[len - 1] != '/')
        len--;
    return len > 0 ? len - 1 : 0;
}

/* The smallest number that the cgroup and those above it have in this file. */
static uint64_t smallest(const char *mount, const char *cgroup, const char *file)
{
    uint64_t least = NONE;

    for (size_t len = strlen(cgroup); len > 0; len = up(cgroup, len)) {
        uint64_t v = read_number(mount, cgroup, len, file);

        if (v < least)
            least = v;
    }
    return least;
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* The number behind a key at the start of a line of memory.stat. */
static uint64_t stat_value(const struct view_source *s, const char *key)
{
    char text[8192];
    size_t n = strlen(key);

    if (!read_at(s->memory, s->cgroup, strlen(s->cgroup), "memory.stat", text, sizeof(text)))
        return 0;
    for (const char *p = text; p && *p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, key, n) == 0 && p[n] == ' ')
            return strtoull(p + n, NULL, 10);
    }
    return 0;
}

/* si is in bytes already. */
static void fill_swap(const struct view_source *s, struct sysinfo *si, uint64_t memory_limit,
                      uint64_t memory_used)
{
    size_t len = strlen(s->cgroup);
    uint64_t limit, used, host = si->totalswap;

    if (s->v2) {
        limit = smallest(s->memory, s->cgroup, "memory.swap.max");
        used = read_number(s->memory, s->cgroup, len, "memory.swap.current");
    } else {
        /* v1 counts memory and swap together */
        limit = smallest(s->memory, s->cgroup, "memory.memsw.limit_in_bytes");
        used = read_number(s->memory, s->cgroup, len, "memory.memsw.usage_in_bytes");
        if (limit != NONE && memory_limit != NONE)
            limit = minus(limit, memory_limit);
        if (used != NONE)
            used = minus(used, memory_used);
    }
    if (limit == NONE && used == NONE)
        return; /* the kernel does not count it */
    limit = min_of(limit, host);
    si->totalswap = limit;
    si->freeswap = minus(limit, used == NONE ? 0 : used);
}

void view_fill_sysinfo(const struct view_source *s, struct sysinfo *si, double now)
{
    size_t len = strlen(s->cgroup);
    unsigned long unit = si->mem_unit ? si->mem_unit : 1;
    uint64_t host = (uint64_t)si->totalram * unit;
    uint64_t limit = smallest(s->memory, s->cgroup, s->v2 ? "memory.max" : "memory.limit_in_bytes");
    uint64_t used = read_number(s->memory, s->cgroup, len,
                                s->v2 ? "memory.current" : "memory.usage_in_bytes");
    uint64_t procs = read_number(s->pids, s->cgroup, len, "pids.current");

    if (used != NONE) {
        uint64_t total = min_of(limit, host);

        si->totalswap *= unit;
        si->freeswap *= unit;
        fill_swap(s, si, limit, used);
        si->totalram = total;
        si->freeram = minus(total, used);
        si->sharedram = min_of(stat_value(s, "shmem"), total);
        si->bufferram = 0;
        si->totalhigh = si->freehigh = 0;
        si->mem_unit = 1;
    }
    if (procs != NONE)
        si->procs = (unsigned short)min_of(procs, UINT16_MAX);
    if (now > s->started)
        si->uptime = (long)(now - s->started);
}

unsigned view_cpus(const struct view_source *s)
{
    uint64_t least = NONE;

    for (size_t len = strlen(s->cgroup); len > 0; len = up(s->cgroup, len)) {
        uint64_t quota = NONE, period = NONE;
        char text[64];

        if (s->v2) {
            char *space;

            if (!read_at(s->cpu, s->cgroup, len, "cpu.max", text, sizeof(text)))
                continue;
            space = strchr(text, ' ');
            quota = to_number(text);
            period = space ? to_number(space + 1) : NONE;
        } else {
            quota = read_number(s->cpu, s->cgroup, len, "cpu.cfs_quota_us");
            period = read_number(s->cpu, s->cgroup, len, "cpu.cfs_period_us");
        }
        if (quota != NONE && period != NONE && period > 0)
            least = min_of(least, quota ? (quota + period - 1) / period : 1);
    }
    return least == NONE ? 0 : (unsigned)min_of(least, 1 << 20);
}

void view_limit_mask(unsigned char *mask, size_t len, unsigned n)
{
    unsigned seen = 0;

    if (!n)
        return;
    for (size_t i = 0; i < len * 8; i++) {
        unsigned char bit = (unsigned char)(1u << i % 8);

        if (mask[i / 8] & bit && ++seen > n)
            mask[i / 8] &= (unsigned char)~bit;
    }
}

bool view_parse_loads(const char *text, unsigned long loads[3])
{
    double v[3];

    if (sscanf(text, "%lf %lf %lf", &v[0], &v[1], &v[2]) != 3)
        return false;
    for (int i = 0; i < 3; i++) {
        if (!(v[i] >= 0 && v[i] < 1e6))
            return false;
        loads[i] = (unsigned long)(v[i] * (1 << SI_LOAD_SHIFT));
    }
    return true;
}

void view_source_init(struct view_source *s, const char *cgroup, pid_t init_pid)
{
    char path[64], text[1024];
    unsigned long long ticks = 0;
    const char *p;

    *s = (struct view_source){.v2 = cgroup_host_layout() == CGROUP_V2, .cgroup = cgroup};
    s->memory = cgroup_mount_point(s->v2 ? "" : "memory");
    s->cpu = cgroup_mount_point(s->v2 ? "" : "cpu");
    s->pids = cgroup_mount_point(s->v2 ? "" : "pids");
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)init_pid);
    p = read_text(path, text, sizeof(text)) ? strrchr(text, ')') : NULL;
    if (p && sscanf(p + 1,
                    " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                    "%llu",
                    &ticks) == 1)
        s->started = (double)ticks / (double)sysconf(_SC_CLK_TCK);
}
