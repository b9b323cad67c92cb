/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups of containers, the same calls for v1, v2 and hybrid hosts.
 *
 * A cgroup is named by its path below each hierarchy's mount point ("/pouch/<id>"). On v1 and
 * hybrid a container has one directory in each hierarchy it needs; on hybrid also one in the
 * unified hierarchy, for clone3() and cgroup.kill. Where the hierarchies are is found out once a
 * process. All functions may be called from any thread; none keeps state about a cgroup.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

/* --- What may be limited: the OCI runtime specification's linux.resources ------------------ */

struct cgroup_memory {
    struct opt_int limit; /* bytes; -1 is unlimited, everywhere here */
    struct opt_int reservation;
    struct opt_int swap; /* memory and swap together */
    struct opt_int kernel;
    struct opt_int kernel_tcp;
    struct opt_uint swappiness;
    struct opt_bool disable_oom_killer;
    struct opt_bool use_hierarchy;
    struct opt_bool check_before_update;
};
struct cgroup_cpu {
    struct opt_uint shares;
    struct opt_int quota; /* microseconds a period */
    struct opt_uint burst;
    struct opt_uint period;
    struct opt_int realtime_runtime;
    struct opt_uint realtime_period;
    struct opt_int idle;
    char *cpus; /* "0-1,3" */
    char *mems;
};
struct cgroup_pids {
    struct opt_int limit; /* 0 and below: unlimited */
};
struct cgroup_weight_device {
    int64_t major, minor;
    struct opt_uint weight, leaf_weight;
};
struct cgroup_throttle_device {
    int64_t major, minor;
    uint64_t rate;
};
struct cgroup_block_io {
    struct opt_uint weight; /* 10 … 1000 */
    struct opt_uint leaf_weight;
    struct json_list weight_device;       /* struct cgroup_weight_device */
    struct json_list throttle_read_bps;   /* struct cgroup_throttle_device */
    struct json_list throttle_write_bps;  /* struct cgroup_throttle_device */
    struct json_list throttle_read_iops;  /* struct cgroup_throttle_device */
    struct json_list throttle_write_iops; /* struct cgroup_throttle_device */
};
struct cgroup_device {
    bool allow;
    char *type; /* "a" (or absent), "c", "b" */
    struct opt_int major, minor;
    char *access; /* of "rwm"; absent is all */
};
struct cgroup_hugepage {
    char *page_size; /* "2MB" */
    uint64_t limit;
};
struct cgroup_interface_priority {
    char *name;
    uint64_t priority;
};
struct cgroup_network { /* v1 alone has these controllers */
    struct opt_uint class_id;
    struct json_list priorities; /* struct cgroup_interface_priority */
};
struct cgroup_rdma {
    char *key; /* device */
    struct opt_uint hca_handles, hca_objects;
};
struct cgroup_resources {
    struct json_list devices; /* struct cgroup_device, later rules win */
    struct cgroup_memory *memory;
    struct cgroup_cpu *cpu;
    struct cgroup_pids *pids;
    struct cgroup_block_io *block_io;
    struct json_list hugepage_limits; /* struct cgroup_hugepage */
    struct cgroup_network *network;
    struct json_list rdma;   /* struct cgroup_rdma, by device */
    struct json_map unified; /* v2 files written as they are */
};

/* --- The host ------------------------------------------------------------------------------ */

enum cgroup_layout { CGROUP_NONE, CGROUP_V1, CGROUP_HYBRID, CGROUP_V2, CGROUP_LAYOUT_MAX };
enum cgroup_layout cgroup_host_layout(void);
/*
 * For a host with v1 hierarchies and no cgroup2 mount: makes one at `folder` (made too), where the
 * programs of this engine find it. The hierarchy is always there (Linux 4.5), only not mounted; what
 * divides its own cgroup - systemd in a container - needs it. To be called before anything else
 * here. 2: it was mounted there, 1: it is there from before, 0: the host has its own, -errno.
 */
int cgroup_provide_unified(const char *folder);
/* Takes it away, as far as nobody uses it. */
void cgroup_withdraw_unified(const char *folder);
/* Is the v1 controller mounted, or the v2 controller enabled at the root? ("memory", "pids", …;
 * on v2 "devices" and "freezer" are always there.) */
bool cgroup_has_controller(const char *name);
/* Mount point of the hierarchy that has this v1 controller; "" names the unified one. NULL when
 * there is none. Borrowed, lives as long as the process. */
const char *cgroup_mount_point(const char *controller);

/* The v1 hierarchies' names, "systemd" for name=systemd, by number; NULL after the last. */
const char *cgroup_v1_name(size_t i);
/* From now on cgroup_create() makes directories in all v1 hierarchies that let it, as runc does: those who ask the host
 * for a container's cgroup by its process, or run systemd in it, count on that. */
void cgroup_use_all_v1(void);

/* --- Life of one cgroup -------------------------------------------------------------------- */

/*
 * Makes the cgroup (and parents) in the hierarchies that `r` and the house-keeping need, and
 * writes the limits of r (NULL: none). What the host cannot do, and what was merely asked for, is
 * added to *warnings (may be NULL) as text for the user; a hard failure removes what was made.
 */
int cgroup_create(const char *path, const struct cgroup_resources *r, char ***warnings,
                  struct error *e) MUST_CHECK;

/* Changes limits of a living cgroup; only what is set in r. */
int cgroup_update(const char *path, const struct cgroup_resources *r, char ***warnings,
                  struct error *e) MUST_CHECK;

/*
 * Changes which devices a living cgroup may use from one list of rules to another: at no moment is
 * more allowed than by either, nor less than by both.
 */
int cgroup_devices_change(const char *path, const struct json_list *from,
                          const struct json_list *to, struct error *e) MUST_CHECK;

/* What a file of the parent cgroup says, without its line end: the value without a limit of one's
 * own. NULL when there is none; the caller frees it. */
char *cgroup_read_parent(const char *controller, const char *path, const char *file) MUST_CHECK;

/* An O_PATH fd of the directory in the unified hierarchy, for CLONE_INTO_CGROUP; -ENOENT when the
 * host (v1) or the container has none. */
int cgroup_open_unified(const char *path) MUST_CHECK;

/*
 * Makes "<path>/container" in the unified hierarchy of v2 and hybrid hosts, with all controllers
 * that path has there, owned by uid:gid: what is in the container may divide it as it likes, below
 * the limits of path. *ret is its path (the caller's).
 */
#define CGROUP_DELEGATED "container"
int cgroup_delegate(const char *path, uid_t uid, gid_t gid, char **ret, struct error *e) MUST_CHECK;
/* Where in the unified hierarchy a further process of the container with this init goes: to init,
 * as the kernel allows no process in a cgroup that was divided. NULL when path does not delegate;
 * the caller frees it. */
char *cgroup_delegated_place(const char *path, pid_t init) MUST_CHECK;

/* Is `sub` a clean path below `path` that exists in every hierarchy that the cgroup has? */
int cgroup_check_below(const char *path, const char *sub, struct error *e) MUST_CHECK;

/* Moves process pid (0: the caller) into the cgroup in every hierarchy where it exists. */
int cgroup_join(const char *path, pid_t pid, struct error *e) MUST_CHECK;

/*
 * For a process that joins after clone(), when names may not be reachable any more: opens what it
 * has to write to. Then, in the single-threaded process: cgroup_join_fds(). The unified hierarchy
 * is left out when the process was born in it (CLONE_INTO_CGROUP). Writing "0" to v1's "tasks"
 * spares the kernel's global lock, which costs 10 ms and more when "cgroup.procs" is written.
 */
#define CGROUP_JOIN_MAX 16
struct cgroup_join {
    int fds[CGROUP_JOIN_MAX];
    size_t n;
};
int cgroup_join_open(const char *path, bool with_unified, struct cgroup_join *ret,
                     struct error *e) MUST_CHECK;
int cgroup_join_fds(struct cgroup_join *j) MUST_CHECK; /* writes and closes; 0 or -errno */
void cgroup_join_done(struct cgroup_join *j);

/* SIGKILLs everything in it and below, also what forks meanwhile. 0 also when it is gone. */
int cgroup_kill(const char *path, struct error *e) MUST_CHECK;
/* Sends sig to every process in it and below. */
int cgroup_signal(const char *path, int sig, struct error *e) MUST_CHECK;

int cgroup_freeze(const char *path, struct error *e) MUST_CHECK; /* returns when frozen */
int cgroup_thaw(const char *path, struct error *e) MUST_CHECK;
bool cgroup_is_frozen(const char *path);

/* Removes it and what is below; waits shortly for dying processes. 0 when it is gone already. */
int cgroup_remove(const char *path, struct error *e) MUST_CHECK;
bool cgroup_exists(const char *path);

/* --- What goes on in it -------------------------------------------------------------------- */

/* Processes in it and below; the caller frees *ret. */
int cgroup_pids(const char *path, pid_t **ret, size_t *ret_n, struct error *e) MUST_CHECK;

/* Number of processes the OOM killer killed in it, or -errno. */
int64_t cgroup_oom_count(const char *path);
/*
 * An fd that becomes ready when an OOM happens, and the epoll events to wait for. v2: EPOLLPRI or
 * inotify on memory.events; v1: an eventfd. After it is ready read it (drain) and ask
 * cgroup_oom_count(). -EOPNOTSUPP without a memory controller.
 */
int cgroup_oom_fd(const char *path, uint32_t *ret_epoll_events) MUST_CHECK;

struct cgroup_blkio_entry {
    uint64_t major, minor;
    uint64_t rbytes, wbytes, rios, wios;
};
struct cgroup_stats {
    uint64_t cpu_total_ns, cpu_user_ns, cpu_system_ns;
    uint64_t cpu_periods, cpu_throttled_periods, cpu_throttled_ns;
    uint64_t mem_usage, mem_max_usage, mem_limit, mem_failcnt; /* limit UINT64_MAX: none */
    uint64_t mem_cache, mem_inactive_file, mem_rss, swap_usage, swap_limit;
    uint64_t pids_current, pids_limit; /* limit UINT64_MAX: none */
    uint64_t oom_kills;
    char *mem_stat; /* memory.stat as the kernel gave it */
    struct cgroup_blkio_entry *blkio;
    size_t nblkio;
};
int cgroup_stats(const char *path, struct cgroup_stats *ret, struct error *e) MUST_CHECK;
void cgroup_stats_done(struct cgroup_stats *s);

/* --- Conversions between v1's and v2's units ------------------------------------------------ */

uint64_t cgroup_shares_to_weight(uint64_t shares);      /* 2…262144 → 1…10000 */
uint64_t cgroup_blkio_weight_to_io(uint64_t weight);    /* 10…1000 → 1…10000 */
int64_t cgroup_swap_to_v2(int64_t swap, int64_t limit); /* memory+swap → swap alone; -1 = max */
