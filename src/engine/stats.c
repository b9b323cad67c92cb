/* SPDX-License-Identifier: Apache-2.0 */
/* What a container uses: its cgroup, its network interfaces, and the host's clock of processor time. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/time.h"
#include "engine/engine-priv.h"
#include "sys/cgroup.h"

#define PROC_MAX (1 << 20)

/* Processor time of all kinds since boot: the first eight numbers of /proc/stat's first line. */
static uint64_t system_cpu_ns(void)
{
    AUTOFREE char *text = NULL;
    unsigned long long v[8] = {0}, sum = 0;
    long ticks = sysconf(_SC_CLK_TCK);

    if (fs_read_file(AT_FDCWD, "/proc/stat", PROC_MAX, &text, NULL) < 0 ||
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
               &v[4], &v[5], &v[6], &v[7]) < 4)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(v); i++)
        sum += v[i];
    return sum * (uint64_t)(NSEC_PER_SEC / (ticks > 0 ? ticks : 100));
}

/* /proc/<pid>/net/dev: the interfaces of init's network namespace, without the loopback. */
static void read_networks(pid_t pid, struct container_stats *s)
{
    AUTOFREE char *path = xasprintf("/proc/%d/net/dev", (int)pid);
    AUTOFREE char *text = NULL;
    char *next;

    if (fs_read_file(AT_FDCWD, path, PROC_MAX, &text, NULL) < 0)
        return;
    for (char *line = text; line && *line; line = next) {
        char *colon = strchr(line, ':');
        struct network_stats n = {0};
        unsigned long long v[12];

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (!colon || (next && colon > next))
            continue;
        *colon = '\0';
        line += strspn(line, " ");
        if (strcmp(line, "lo") == 0 || strlen(line) >= sizeof(n.name))
            continue;
        if (sscanf(colon + 1, "%llu %llu %llu %llu %*u %*u %*u %*u %llu %llu %llu %llu", &v[0],
                   &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) != 8)
            continue;
        strcpy(n.name, line);
        n.rx_bytes = v[0];
        n.rx_packets = v[1];
        n.rx_errors = v[2];
        n.rx_dropped = v[3];
        n.tx_bytes = v[4];
        n.tx_packets = v[5];
        n.tx_errors = v[6];
        n.tx_dropped = v[7];
        s->networks = xreallocarray(s->networks, s->nnetworks + 1, sizeof(n));
        s->networks[s->nnetworks++] = n;
    }
}

static void fill_head(const struct container *c, const struct container_view *v,
                      struct container_stats *s)
{
    (void)snprintf(s->id, sizeof(s->id), "%s", c->id);
    s->name = xstrdup(v->name);
    s->read_ns = time_now_ns();
}

int engine_stats(struct engine *en, const char *ref, struct container_stats *ret, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOPTR(container_view) struct container_view *v = NULL;
    AUTOFREE char *cgroup = NULL;
    struct sysinfo si;
    bool same;
    int r = container_find(en, ref, &c, e);

    *ret = (struct container_stats){0};
    if (r < 0)
        return r;
    v = container_get_view(c);
    fill_head(c, v, ret);
    if (v->pid <= 0)
        return 0;
    cgroup = container_cgroup(c);
    r = cgroup_stats(cgroup, &ret->cgroup, NULL);
    if (r < 0) /* it ends at this moment */
        return 0;
    ret->running = true;
    ret->system_ns = system_cpu_ns();
    ret->ncpu = sysconf(_SC_NPROCESSORS_ONLN);
    ret->mem_limit = ret->cgroup.mem_limit;
    if (sysinfo(&si) == 0 && ret->mem_limit > (uint64_t)si.totalram * si.mem_unit)
        ret->mem_limit = (uint64_t)si.totalram * si.mem_unit;
    read_networks(v->pid, ret);
    /* Counters of which some were read after its end would be half of the truth; and its pid may be
     * another process's by now. */
    (void)pthread_mutex_lock(&c->mutex);
    same = c->pid == v->pid && !c->removed;
    (void)pthread_mutex_unlock(&c->mutex);
    if (!same) {
        container_stats_done(ret);
        fill_head(c, v, ret);
    }
    return 0;
}

void container_stats_done(struct container_stats *s)
{
    cgroup_stats_done(&s->cgroup);
    free(s->name);
    free(s->networks);
    *s = (struct container_stats){0};
}
