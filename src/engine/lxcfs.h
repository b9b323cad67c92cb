/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lxcfs process behind containers whose /proc tells their own limits.
 *
 * One lxcfs serves all containers. It is started by pouchd, outlives it as monitors do, and is
 * found again by its pid and start time; or it is somebody else's, mounted at the folder that
 * --lxcfs-home names, and only looked after. A thread waits for its end, starts it again, and has
 * the mounts inside running containers made anew. lxcfs that hangs is killed, so that no container
 * waits for it for ever.
 *
 * Any thread may call; nothing here is called under a lock of the engine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

struct lxcfs;

struct lxcfs_params {
    const char *state;   /* the engine's state folder */
    const char *program; /* NULL: "lxcfs" in PATH */
    const char *home;    /* where it is mounted; NULL: <state>/lxcfs/mnt */
    /* Called on the watching thread. up: the mounts inside containers are to be made again; else
     * they are to be taken away, as lxcfs cannot be started. */
    void (*changed)(void *data, bool up);
    void *data;
};

/* Finds it or starts it; ERR_UNAVAILABLE tells why there is none. */
int lxcfs_open(const struct lxcfs_params *p, struct lxcfs **ret, struct error *e) MUST_CHECK;
/* Nobody asks for lxcfs (any more), and no container runs: ends one that an earlier pouchd left. */
void lxcfs_sweep(const char *state);
/* Starts the watching threads; calls `changed` first of all when running containers may still show
 * an older lxcfs. */
int lxcfs_watch(struct lxcfs *l, struct error *e) MUST_CHECK;
/* in_use: containers run on with it, so it stays. NULL is fine. */
void lxcfs_close(struct lxcfs *l, bool in_use);

/* The i-th thing it shows: *ret_source (the caller frees it) is to be bound on *ret_target. -ENOENT
 * for one that this host or lxcfs lacks, -ERANGE past the end. */
int lxcfs_file(struct lxcfs *l, size_t i, char **ret_source, const char **ret_target) MUST_CHECK;
/* Counts the lives of lxcfs. Waits shortly for one that is just being started again;
 * ERR_UNAVAILABLE when it does not come back. */
int lxcfs_generation(struct lxcfs *l, uint64_t *ret, struct error *e) MUST_CHECK;
/* The same without waiting. */
uint64_t lxcfs_current_generation(struct lxcfs *l);
/* Where it is mounted. Borrowed. */
const char *lxcfs_home(const struct lxcfs *l);
