/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting overlayfs with any number of layers. Mount options of the old interface must fit into
 * one page, which 128 layers with real paths do not: here each layer is handed over by itself
 * (lowerdir+, Linux 6.5), and on older kernels as /proc/self/fd/N.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"

struct sys_overlay {
    char *const *lower;   /* absolute folders, topmost first, NULL-ended, at least one */
    const char *upper;    /* NULL: read-only view */
    const char *work;     /* NULL with upper */
    char *const *options; /* "name=value" or "name"; may be NULL */
    /*
     * With an idmapped upper folder: the ids overlayfs takes for what it makes by itself (copies
     * before they get their owner, whiteouts). It remembers those of the process that mounts, and
     * the host's root has no place in the folder's map. Changes the calling thread's fsuid and
     * fsgid and puts them back: for single-threaded processes.
     */
    bool as_ids;
    uid_t uid;
    gid_t gid;
};

/*
 * A detached mount: *ret_fd is its root folder, visible in no namespace until move_mount()
 * (fd, "", …, MOVE_MOUNT_F_EMPTY_PATH) and gone when closed. -EOPNOTSUPP on Linux before 6.5.
 */
int sys_overlay_open(const struct sys_overlay *o, int *ret_fd, struct error *e) MUST_CHECK;

/* Mounts on the folder `target` of the caller's mount namespace; works on every kernel. The host's
 * /proc must be reachable, so call it before pivot_root. */
int sys_overlay_mount(const struct sys_overlay *o, const char *target, struct error *e) MUST_CHECK;

/* The way of older kernels by itself, for tests. */
int sys_overlay_mount_legacy(const struct sys_overlay *o, const char *target,
                             struct error *e) MUST_CHECK;
