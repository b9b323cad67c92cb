/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups made by systemd: a transient scope a container, asked for over systemd's D-Bus socket.
 * The few messages that are needed are written here; no library, no bus daemon. For pouch-oci:
 * the monitor's cgroups are made by the cgroup file system alone.
 */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"
#include "sys/cgroup.h"

struct cgroup_systemd {
    char *slice; /* "machine.slice" */
    char *unit;  /* "pouch-<id>.scope" */
    char *path;  /* the cgroup they lead to */
};
void cgroup_systemd_done(struct cgroup_systemd *s);

/* "slice:prefix:name" of linux.cgroupsPath; NULL or empty: system.slice:pouch:<id>. */
int cgroup_systemd_parse(const char *cgroups_path, const char *id, struct cgroup_systemd *ret,
                         struct error *e) MUST_CHECK;

/* Starts the scope with the process in it and the limits as its properties; returns when the
 * process stands in the cgroup. Limits that systemd has no property for are for cgroup_create(),
 * afterwards; on v1 so are the hierarchies that systemd does not use. */
int cgroup_systemd_start(const struct cgroup_systemd *s, pid_t pid,
                         const struct cgroup_resources *r, struct error *e) MUST_CHECK;
/* Ends the scope, whose processes have ended; one that is gone is good. It has to be asked: whoever removes the
 * cgroup before systemd has read that it is empty takes the news away with it, and the scope stays for ever. */
int cgroup_systemd_stop(const char *unit, const char *path, struct error *e) MUST_CHECK;
/* Tells systemd of changed limits, so that it does not write the old ones again. */
int cgroup_systemd_update(const char *unit, const struct cgroup_resources *r,
                          struct error *e) MUST_CHECK;
