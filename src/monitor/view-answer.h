/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container is told about memory, CPUs and time when it asks by system call: read from its
 * cgroup each time, so that changed limits are told at once. No state, no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/sysinfo.h>
#include <sys/types.h>

/* Where to read. */
struct view_source {
    bool v2;
    const char *memory, *cpu, *pids; /* mount points; on v2 all the same; NULL: there is none */
    const char *cgroup;              /* "/pouch/<id>": limits of the folders above count, too */
    double started;                  /* seconds since boot, of init */
};
void view_source_init(struct view_source *s, const char *cgroup, pid_t init_pid);

/* si has the host's values, and gets those of the container. Loads are left as they are. */
void view_fill_sysinfo(const struct view_source *s, struct sysinfo *si, double now);

/* CPUs that the quota amounts to, rounded up; 0: there is none. */
unsigned view_cpus(const struct view_source *s);
/* Leaves the first n bits that are set; 0 leaves all. */
void view_limit_mask(unsigned char *mask, size_t len, unsigned n);

/* "0.10 0.05 0.01 …" to sysinfo's numbers; false when it is something else. */
bool view_parse_loads(const char *text, unsigned long loads[3]);
