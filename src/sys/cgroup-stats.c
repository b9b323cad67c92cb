/* SPDX-License-Identifier: Apache-2.0 */
/* What a cgroup uses, and its OOM kills: see cgroup.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "sys/cgroup-priv.h"

static bool is_v2(void)
{
    return cgroup_host()->layout == CGROUP_V2;
}

int64_t cgroup_oom_count(const char *path)
{
    AUTOFREE char *text = NULL;
    uint64_t n = 0;
    int r = is_v2() ? cgroup_read("", path, "memory.events", &text)
                    : cgroup_read("memory", path, "memory.oom_control", &text);

    if (r < 0)
        return r;
    return cgroup_key_u64(text, "oom_kill", &n) ? (int64_t)n : -EOPNOTSUPP;
}

int cgroup_oom_fd(const char *path, uint32_t *ret_epoll_events)
{
    char name[CGROUP_PATH_MAX];
    const char *mount = cgroup_mount_point(is_v2() ? "" : "memory");
    AUTOFD int fd = -EBADF;
    AUTOFD int control = -EBADF;
    char text[32];
    int r = mount ? cgroup_file(name, mount, path, is_v2() ? "memory.events" : "memory.oom_control")
                  : -EOPNOTSUPP;

    if (r < 0)
        return r;
    *ret_epoll_events = EPOLLIN;
    if (is_v2()) {
        fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (fd < 0 || inotify_add_watch(fd, name, IN_MODIFY) < 0)
            return errno == ENOENT ? -EOPNOTSUPP : -errno;
        return take_fd(fd);
    }
    control = open(name, O_RDONLY | O_CLOEXEC);
    if (control < 0)
        return errno == ENOENT ? -EOPNOTSUPP : -errno;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    (void)snprintf(text, sizeof(text), "%d %d", fd, control);
    r = cgroup_write("memory", path, "cgroup.event_control", text);
    return r < 0 ? r : take_fd(fd);
}

static void add_io(struct cgroup_stats *s, uint64_t major, uint64_t minor,
                   const struct cgroup_blkio_entry *add)
{
    struct cgroup_blkio_entry *at = NULL;

    for (size_t i = 0; i < s->nblkio && !at; i++)
        if (s->blkio[i].major == major && s->blkio[i].minor == minor)
            at = &s->blkio[i];
    if (!at) {
        s->blkio = xreallocarray(s->blkio, s->nblkio + 1, sizeof(*at));
        at = &s->blkio[s->nblkio++];
        *at = (struct cgroup_blkio_entry){.major = major, .minor = minor};
    }
    at->rbytes += add->rbytes;
    at->wbytes += add->wbytes;
    at->rios += add->rios;
    at->wios += add->wios;
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" */
static void io_v2(const char *text, struct cgroup_stats *s)
{
    AUTOFREE char *copy = xstrdup(text);
    char *save = NULL;

    for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        struct cgroup_blkio_entry b = {0};
        uint64_t major, minor;
        char *words = NULL;

        if (sscanf(l, "%" SCNu64 ":%" SCNu64, &major, &minor) != 2)
            continue;
        (void)strtok_r(l, " ", &words);
        for (char *w = strtok_r(NULL, " ", &words); w; w = strtok_r(NULL, " ", &words)) {
            char *eq = strchr(w, '=');
            uint64_t v = eq ? strtoull(eq + 1, NULL, 10) : 0;

            if (str_has_prefix(w, "rbytes="))
                b.rbytes = v;
            else if (str_has_prefix(w, "wbytes="))
                b.wbytes = v;
            else if (str_has_prefix(w, "rios="))
                b.rios = v;
            else if (str_has_prefix(w, "wios="))
                b.wios = v;
        }
        add_io(s, major, minor, &b);
    }
}

/* "8:0 Read 4096" */
static void io_v1(const char *text, bool bytes, struct cgroup_stats *s)
{
    AUTOFREE char *copy = xstrdup(text);
    char *save = NULL;

    for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        struct cgroup_blkio_entry b = {0};
        uint64_t major, minor, v;
        char op[16];

        if (sscanf(l, "%" SCNu64 ":%" SCNu64 " %15s %" SCNu64, &major, &minor, op, &v) != 4)
            continue;
        if (STREQ(op, "Read"))
            *(bytes ? &b.rbytes : &b.rios) = v;
        else if (STREQ(op, "Write"))
            *(bytes ? &b.wbytes : &b.wios) = v;
        else
            continue;
        add_io(s, major, minor, &b);
    }
}

static uint64_t key_or_0(const char *text, const char *key)
{
    uint64_t v = 0;

    (void)cgroup_key_u64(text, key, &v);
    return v;
}

static uint64_t number_or(const char *controller, const char *path, const char *file,
                          uint64_t fallback)
{
    uint64_t v = fallback;

    return cgroup_read_u64(controller, path, file, &v) == 0 ? v : fallback;
}

static void cpu_unified(const char *path, struct cgroup_stats *s)
{
    AUTOFREE char *text = NULL;

    if (cgroup_read("", path, "cpu.stat", &text) < 0)
        return;
    s->cpu_total_ns = key_or_0(text, "usage_usec") * 1000;
    s->cpu_user_ns = key_or_0(text, "user_usec") * 1000;
    s->cpu_system_ns = key_or_0(text, "system_usec") * 1000;
    s->cpu_periods = key_or_0(text, "nr_periods");
    s->cpu_throttled_periods = key_or_0(text, "nr_throttled");
    s->cpu_throttled_ns = key_or_0(text, "throttled_usec") * 1000;
}

static void cpu_v1(const char *path, struct cgroup_stats *s)
{
    AUTOFREE char *stat = NULL;
    AUTOFREE char *throttle = NULL;
    uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);

    s->cpu_total_ns = number_or("cpuacct", path, "cpuacct.usage", 0);
    if (cgroup_read("cpuacct", path, "cpuacct.stat", &stat) == 0) {
        s->cpu_user_ns = key_or_0(stat, "user") * (1000000000 / hz);
        s->cpu_system_ns = key_or_0(stat, "system") * (1000000000 / hz);
    }
    if (cgroup_read("cpu", path, "cpu.stat", &throttle) == 0) {
        s->cpu_periods = key_or_0(throttle, "nr_periods");
        s->cpu_throttled_periods = key_or_0(throttle, "nr_throttled");
        s->cpu_throttled_ns = key_or_0(throttle, "throttled_time");
    }
}

static uint64_t none_if_huge(uint64_t limit)
{
    return limit >= (UINT64_C(1) << 62) ? UINT64_MAX : limit; /* v1's "no limit" */
}

static void memory_v1(const char *path, struct cgroup_stats *s)
{
    uint64_t with_swap = number_or("memory", path, "memory.memsw.usage_in_bytes", 0);

    s->mem_usage = number_or("memory", path, "memory.usage_in_bytes", 0);
    s->mem_max_usage = number_or("memory", path, "memory.max_usage_in_bytes", 0);
    s->mem_limit = none_if_huge(number_or("memory", path, "memory.limit_in_bytes", UINT64_MAX));
    s->mem_failcnt = number_or("memory", path, "memory.failcnt", 0);
    s->swap_usage = with_swap > s->mem_usage ? with_swap - s->mem_usage : 0;
    s->swap_limit = none_if_huge(
        number_or("memory", path, "memory.memsw.limit_in_bytes", UINT64_MAX));
    if (cgroup_read("memory", path, "memory.stat", &s->mem_stat) == 0) {
        s->mem_cache = key_or_0(s->mem_stat, "total_cache");
        s->mem_rss = key_or_0(s->mem_stat, "total_rss");
        s->mem_inactive_file = key_or_0(s->mem_stat, "total_inactive_file");
    }
}

static void memory_v2(const char *path, struct cgroup_stats *s)
{
    AUTOFREE char *events = NULL;

    s->mem_usage = number_or("", path, "memory.current", 0);
    s->mem_max_usage = number_or("", path, "memory.peak", 0);
    s->mem_limit = number_or("", path, "memory.max", UINT64_MAX);
    s->swap_usage = number_or("", path, "memory.swap.current", 0);
    s->swap_limit = number_or("", path, "memory.swap.max", UINT64_MAX);
    if (cgroup_read("", path, "memory.stat", &s->mem_stat) == 0) {
        s->mem_cache = key_or_0(s->mem_stat, "file");
        s->mem_rss = key_or_0(s->mem_stat, "anon");
        s->mem_inactive_file = key_or_0(s->mem_stat, "inactive_file");
    }
    if (cgroup_read("", path, "memory.events", &events) == 0)
        s->mem_failcnt = key_or_0(events, "max");
}

int cgroup_stats(const char *path, struct cgroup_stats *ret, struct error *e)
{
    const char *ctrl = is_v2() ? "" : "pids";
    struct cgroup_stats s = {.mem_limit = UINT64_MAX, .swap_limit = UINT64_MAX};
    int64_t oom;

    if (!cgroup_exists(path))
        return error_set(e, ERR_NOT_FOUND, "cgroup %s is not there", path);
    if (is_v2()) {
        AUTOFREE char *io = NULL;

        cpu_unified(path, &s);
        memory_v2(path, &s);
        if (cgroup_read("", path, "io.stat", &io) == 0)
            io_v2(io, &s);
    } else {
        AUTOFREE char *bytes = NULL;
        AUTOFREE char *ops = NULL;

        cpu_v1(path, &s);
        memory_v1(path, &s);
        if (cgroup_read("blkio", path, "blkio.throttle.io_service_bytes_recursive", &bytes) == 0)
            io_v1(bytes, true, &s);
        if (cgroup_read("blkio", path, "blkio.throttle.io_serviced_recursive", &ops) == 0)
            io_v1(ops, false, &s);
    }
    s.pids_current = number_or(ctrl, path, "pids.current", 0);
    s.pids_limit = number_or(ctrl, path, "pids.max", UINT64_MAX);
    oom = cgroup_oom_count(path);
    s.oom_kills = oom > 0 ? (uint64_t)oom : 0;
    *ret = s;
    return 0;
}

void cgroup_stats_done(struct cgroup_stats *s)
{
    free(s->mem_stat);
    free(s->blkio);
    *s = (struct cgroup_stats){0};
}
