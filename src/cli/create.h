/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `run` and `create`, and the request they make. */
#pragma once

#include "cli/options.h"

struct create_options {
    char **attach;
    bool interactive, tty;
    char *name;
    char **env, **env_file, **labels, **label_file;
    /* storage */
    char **volumes, **mounts, **tmpfs, **volumes_from, **storage_opt;
    char *volume_driver;
    char **disk_quota;
    char *quota_id;
    bool read_only;
    /* network */
    char **publish, **expose, **networks, **network_alias;
    bool publish_all;
    char *ip, *ip6, *mac, *hostname, *domainname;
    char **dns, **dns_search, **dns_option, **add_host, **link_local_ip;
    /* process */
    char *user, *workdir, *entrypoint;
    char **group_add, **ulimits, **sysctls;
    struct opt_bool init;
    char *stop_signal;
    struct opt_int stop_timeout;
    /* resources */
    struct opt_int memory, memory_swap, memory_reservation, memory_swappiness, shm_size;
    struct opt_int memory_high, memory_low, memory_min, cpu_burst, net_priority;
    char *intel_rdt_l3_cbm;
    struct opt_int cpus, cpu_shares, cpu_period, cpu_quota, cpu_rt_period, cpu_rt_runtime;
    char *cpuset_cpus, *cpuset_mems;
    struct opt_int pids_limit, blkio_weight, oom_score_adj;
    char **blkio_weight_device, **read_bps, **write_bps, **read_iops, **write_iops;
    bool oom_kill_disable;
    bool rich;
    char *rich_mode, *rich_exit;
    /* rights */
    bool privileged;
    char **cap_add, **cap_drop, **security_opt, **devices, **device_rules;
    char *pid, *ipc, *uts, *userns, *cgroupns, *cgroup_parent;
    /* what it sees of itself */
    bool enable_lxcfs;
    char *view, *machine_sn, *machine_uuid;
    /* life */
    bool rm;
    char *restart, *log_driver, *runtime, *isolation, *platform, *pull, *cidfile;
    char **log_opt, **annotations;
    bool quiet;
    /* hooks */
    char *initscript;
    char **hook_prestart, **hook_poststart, **hook_poststop;
    struct opt_int hook_timeout;
    /* health */
    char *health_on_failure;
    bool no_healthcheck;
    char *health_cmd;
    struct opt_int health_interval, health_timeout, health_start_period, health_start_interval;
    struct opt_int health_retries;
    /* run only */
    bool detach;
    bool sig_proxy;
    char *detach_keys;
};

extern const struct option_def create_option_table[];
extern const struct option_def run_option_table[];

/*
 * The JSON body of POST /containers/create. args are the command's. Reads the files that options
 * name (--env-file, --label-file, seccomp profiles). Nothing of the options is left out silently.
 */
int create_body(const struct create_options *o, const char *image, char *const *args,
                struct buf *out, struct error *e) MUST_CHECK;

/* Which streams an attached run shows: decided as docker decides. */
struct attach_set {
    bool in, out, err;
};
int create_attach_set(const struct create_options *o, struct attach_set *ret,
                      struct error *e) MUST_CHECK;

/* Lines KEY=VALUE of an environment file; KEY alone takes the value of our own environment. */
int env_file_read(const char *path, char ***env, struct error *e) MUST_CHECK;
/* One -e: KEY=VALUE, or KEY with the value of our own environment. */
int env_add(char ***env, const char *text, struct error *e) MUST_CHECK;

/* Single options written as JSON, for the body and for tests. */
int create_mount(struct jsonw *w, const char *text, struct error *e) MUST_CHECK;
int create_ulimit(struct jsonw *w, const char *text, struct error *e) MUST_CHECK;
int create_device(struct jsonw *w, const char *text, struct error *e) MUST_CHECK;
int create_rate(struct jsonw *w, const char *flag, const char *text, bool bytes,
                struct error *e) MUST_CHECK;
int create_weight(struct jsonw *w, const char *text, struct error *e) MUST_CHECK;
int create_restart(struct jsonw *w, const char *text, struct error *e) MUST_CHECK;
/* --disk-quota, all of them: DiskQuota. *ret_bare (may be NULL): a size without a path is there. */
int create_disk_quota(struct jsonw *w, char *const *list, bool *ret_bare,
                      struct error *e) MUST_CHECK;
/* -v: the text for Binds (NULL: it is an anonymous volume, *ret_target). Caller frees. */
int create_bind(const char *text, char **ret_bind, char **ret_target, struct error *e) MUST_CHECK;
/* --security-opt: seccomp profiles are read from their file. Caller frees. */
int create_security_opt(const char *text, char **ret, struct error *e) MUST_CHECK;
