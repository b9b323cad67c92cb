/* SPDX-License-Identifier: Apache-2.0 */
/* events: what a container uses, and its OOM kills, one JSON object a line, named as runc does. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/time.h"
#include "oci-cli/oci-cli.h"
#include "sys/cgroup.h"

static void print_cpu(struct jsonw *w, const struct cgroup_stats *s)
{
    jsonw_begin(w, "cpu");
    jsonw_begin(w, "usage");
    jsonw_uint(w, "total", s->cpu_total_ns);
    jsonw_uint(w, "kernel", s->cpu_system_ns);
    jsonw_uint(w, "user", s->cpu_user_ns);
    jsonw_end(w);
    jsonw_begin(w, "throttling");
    jsonw_uint(w, "periods", s->cpu_periods);
    jsonw_uint(w, "throttledPeriods", s->cpu_throttled_periods);
    jsonw_uint(w, "throttledTime", s->cpu_throttled_ns);
    jsonw_end(w);
    jsonw_end(w);
}

/* memory.stat's lines as members. */
static void print_raw_memory(struct jsonw *w, const char *text)
{
    jsonw_begin(w, "raw");
    for (const char *p = text; p && *p;) {
        char name[64];
        unsigned long long value;
        const char *end = strchr(p, '\n');

        if (sscanf(p, "%63s %llu", name, &value) == 2)
            jsonw_uint(w, name, value);
        p = end ? end + 1 : NULL;
    }
    jsonw_end(w);
}

static void print_memory(struct jsonw *w, const struct cgroup_stats *s)
{
    jsonw_begin(w, "memory");
    jsonw_uint(w, "cache", s->mem_cache);
    jsonw_begin(w, "usage");
    jsonw_uint(w, "limit", s->mem_limit);
    jsonw_uint(w, "usage", s->mem_usage);
    jsonw_uint(w, "max", s->mem_max_usage);
    jsonw_uint(w, "failcnt", s->mem_failcnt);
    jsonw_end(w);
    jsonw_begin(w, "swap");
    jsonw_uint(w, "limit", s->swap_limit);
    jsonw_uint(w, "usage", s->swap_usage);
    jsonw_end(w);
    print_raw_memory(w, s->mem_stat);
    jsonw_end(w);
}

static void print_blkio_list(struct jsonw *w, const char *key, const struct cgroup_stats *s,
                             bool bytes)
{
    jsonw_list_begin(w, key);
    for (size_t i = 0; i < s->nblkio; i++) {
        const struct cgroup_blkio_entry *b = &s->blkio[i];
        const struct {
            const char *op;
            uint64_t value;
        } ops[] = {{"Read", bytes ? b->rbytes : b->rios}, {"Write", bytes ? b->wbytes : b->wios}};

        for (size_t k = 0; k < ARRAY_SIZE(ops); k++) {
            jsonw_begin(w, NULL);
            jsonw_uint(w, "major", b->major);
            jsonw_uint(w, "minor", b->minor);
            jsonw_str(w, "op", ops[k].op);
            jsonw_uint(w, "value", ops[k].value);
            jsonw_end(w);
        }
    }
    jsonw_list_end(w);
}

static int print_stats(const struct state *s, struct error *e)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    struct cgroup_stats stats = {0};
    struct jsonw w = {&out, false};
    int r = cgroup_stats(s->cgroup_path, &stats, e);

    if (r < 0)
        return r;
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "type", "stats");
    jsonw_str(&w, "id", s->id);
    jsonw_begin(&w, "data");
    print_cpu(&w, &stats);
    print_memory(&w, &stats);
    jsonw_begin(&w, "pids");
    jsonw_uint(&w, "current", stats.pids_current);
    jsonw_uint(&w, "limit", stats.pids_limit == UINT64_MAX ? 0 : stats.pids_limit);
    jsonw_end(&w);
    jsonw_begin(&w, "blkio");
    print_blkio_list(&w, "ioServiceBytesRecursive", &stats, true);
    print_blkio_list(&w, "ioServicedRecursive", &stats, false);
    jsonw_end(&w);
    jsonw_end(&w);
    jsonw_end(&w);
    cgroup_stats_done(&stats);
    printf("%s\n", buf_str(&out));
    return fflush(stdout) == 0 ? 0 : error_set_errno(e, errno, "cannot write");
}

static int print_oom(const struct state *s, struct error *e)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {&out, false};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "type", "oom");
    jsonw_str(&w, "id", s->id);
    jsonw_end(&w);
    printf("%s\n", buf_str(&out));
    return fflush(stdout) == 0 ? 0 : error_set_errno(e, errno, "cannot write");
}

/* Tells of OOM kills that have come since the last time. */
static int tell_oom(const struct state *s, int fd, int64_t *seen, struct error *e)
{
    char block[4096];
    int64_t now;
    int r = 0;

    while (fd >= 0 && read(fd, block, sizeof(block)) > 0)
        continue;
    now = cgroup_oom_count(s->cgroup_path);
    for (; r == 0 && *seen >= 0 && *seen < now; (*seen)++)
        r = print_oom(s, e);
    return r;
}

static int follow(const struct state *s, int64_t interval, struct error *e)
{
    uint32_t what = 0;
    AUTOFD int fd = cgroup_oom_fd(s->cgroup_path, &what);
    int64_t seen = cgroup_oom_count(s->cgroup_path), next = time_monotonic_ns();
    int r = 0;

    while (r == 0 && !STREQ(state_status(s), "stopped")) {
        int64_t now = time_monotonic_ns();
        int64_t wait = next - now;
        struct pollfd p = {fd, (short)(what & EPOLLPRI ? POLLPRI : POLLIN), 0};

        if (wait <= 0) {
            r = print_stats(s, e);
            next = now + interval;
            continue;
        }
        /* The end of the container is looked for, too. */
        if (wait > NSEC_PER_SEC / 2)
            wait = NSEC_PER_SEC / 2;
        (void)poll(&p, 1, (int)(wait / NSEC_PER_MSEC) + 1);
        r = tell_oom(s, fd, &seen, e);
    }
    return r;
}

int cmd_events(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    int64_t interval = 5 * NSEC_PER_SEC;
    int r = state_load(o, o->args[0], &s, e);

    if (r == 0 && o->interval && (duration_parse(o->interval, &interval) < 0 || interval <= 0))
        r = error_set(e, ERR_INVALID, "--interval: \"%s\" is no time (5s, 500ms)", o->interval);
    if (r < 0)
        return r;
    if (STREQ(state_status(&s), "stopped"))
        return error_set(e, ERR_CONFLICT, "container \"%s\" is not running", s.id);
    return o->stats ? print_stats(&s, e) : follow(&s, interval, e);
}
