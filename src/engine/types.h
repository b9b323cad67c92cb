/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container is asked to be: Docker's Config, HostConfig and NetworkingConfig, as structs
 * with their JSON tables. The same structs are the request, the database row and the answer of
 * inspect. Field names and meanings: Docker Engine API 1.51, definitions ContainerConfig,
 * HostConfig, Resources, EndpointSettings.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "oci/image.h"
#include "volume/volume.h"

struct container_config {
    char *hostname;
    char *domainname;
    char *user;
    bool attach_stdin;
    bool attach_stdout;
    bool attach_stderr;
    char **exposed_ports; /* "80/tcp" */
    bool tty;
    bool open_stdin;
    bool stdin_once;
    char **env;
    char **cmd;
    struct oci_healthcheck *healthcheck; /* merged with the image's; NULL: none */
    char *image;
    char **volumes;
    char *working_dir;
    char **entrypoint;
    bool network_disabled;
    char *mac_address;
    char **on_build;
    struct json_map labels;
    int64_t net_priority; /* PouchContainer's: of the packets it sends, 0: not set */
    char *stop_signal;
    struct opt_int stop_timeout; /* seconds */
    char **shell;
    /* Pouch's own: a container that is run like a machine (engine/rich.h). */
    bool rich;
    char *rich_mode;            /* dumb-init, sbin-init, systemd */
    char *rich_exit;            /* whose exit code is the container's: app, init */
    char *init_script;          /* run before the application, "path args…" */
    struct json_map disk_quota; /* Pouch: path, "/a&/b" or pattern → size (base/quotaspec.h) */
    char *quota_id;             /* Pouch: "", "0", "-1", an id; after create the id */
};
extern const struct json_desc container_config_json;

struct log_config {
    char *type;
    struct json_map config;
};
struct port_binding {
    char *host_ip;
    char *host_port; /* "", "8080", or a range "8000-8010" */
};
extern const struct json_desc port_binding_json;
struct restart_policy {
    char *name; /* "", no, always, unless-stopped, on-failure */
    int64_t maximum_retry_count;
};
struct weight_device {
    char *path;
    uint64_t weight;
};
struct throttle_device {
    char *path;
    uint64_t rate;
};
struct device_mapping {
    char *path_on_host;
    char *path_in_container;
    char *cgroup_permissions;
};
struct ulimit {
    char *name;
    int64_t hard;
    int64_t soft;
};
/* The ids of a container's user namespace, "CONTAINER:HOST:SIZE" each; empty: the host's own. */
struct id_mappings {
    char **uid_map;
    char **gid_map;
};
/* Texts "host:/path args…" or "in:/path args…", quoted as for a shell. */
struct container_hooks {
    char **prestart;
    char **poststart;
    char **poststop;
};
struct host_config {
    char **binds;
    char *container_id_file;
    struct log_config log_config;
    char *network_mode;             /* default, bridge, none, host, container:ID */
    struct json_list port_bindings; /* of json_named_list of port_binding */
    struct restart_policy restart_policy;
    bool auto_remove;
    char *volume_driver;
    char **volumes_from;
    char *console_size; /* raw [rows, columns] */
    char **cap_add;
    char **cap_drop;
    char *cgroupns_mode;
    char **dns;
    char **dns_options;
    char **dns_search;
    char **extra_hosts;
    char **group_add;
    char *ipc_mode;
    char *cgroup;
    char **links;
    int64_t oom_score_adj;
    char *pid_mode;
    bool privileged;
    bool publish_all_ports;
    bool readonly_rootfs;
    char **security_opt;
    struct json_map storage_opt;
    struct json_map tmpfs;
    char *uts_mode;
    char *userns_mode;
    struct id_mappings id_mappings; /* filled in by the engine, as Podman shows them */
    int64_t shm_size;
    struct json_map sysctls;
    char *runtime;
    char *isolation;
    struct json_map annotations;
    char **masked_paths;   /* NULL: the default list; empty: none */
    char **readonly_paths; /* the same */
    struct opt_bool init;
    struct json_list mounts;       /* of volume_mount_request */
    struct container_hooks *hooks; /* Pouch's; NULL: none */
    int64_t hook_timeout;          /* Pouch's: seconds for each hook, 0: HOOK_TIMEOUT_DEFAULT */
    char *health_on_failure;       /* Pouch's: none (or empty), restart, stop, kill */
    /* resources */
    int64_t cpu_shares;
    int64_t memory;
    int64_t nano_cpus;
    char *cgroup_parent;
    uint64_t blkio_weight;
    struct json_list blkio_weight_device;   /* of weight_device */
    struct json_list blkio_device_read_bps; /* of throttle_device, as the next three */
    struct json_list blkio_device_write_bps;
    struct json_list blkio_device_read_iops;
    struct json_list blkio_device_write_iops;
    int64_t cpu_period;
    int64_t cpu_quota;
    int64_t cpu_burst; /* microseconds */
    int64_t cpu_realtime_period;
    int64_t cpu_realtime_runtime;
    char *cpuset_cpus;
    char *cpuset_mems;
    struct json_list devices; /* of device_mapping */
    char *intel_rdt_l3_cbm;   /* PouchContainer's: an L3 line of resctrl's schemata */
    char **device_cgroup_rules;
    char *device_requests; /* raw */
    int64_t kernel_memory;
    int64_t kernel_memory_tcp;
    int64_t memory_reservation;
    int64_t memory_high; /* cgroup v2, as the next two */
    int64_t memory_low;
    int64_t memory_min;
    int64_t memory_swap; /* 0: twice memory; -1: unlimited */
    struct opt_int memory_swappiness;
    struct opt_bool oom_kill_disable;
    struct opt_int pids_limit;
    struct json_list ulimits; /* of ulimit */
    /* what it sees of itself: Pouch's own */
    bool enable_lxcfs;
    char *view;         /* "": host; host, lxcfs, full */
    char *machine_sn;   /* "auto": made of its id, at creation; also when only the other is given */
    char *machine_uuid; /* likewise */
};
extern const struct json_desc host_config_json;

/* A runtime of the configuration file: "runtimes": {"NAME": {"path": …, "runtimeArgs": […]}}. */
struct runtime_options {
    char *root; /* state folder of the runtime; default <state>/runtimes/<name> */
};
struct runtime_config {
    char *key;
    char *path; /* program; a bare name is looked up in PATH */
    char **args;
    struct runtime_options options;
};
extern const struct json_desc runtime_config_json;

struct ipam_config {
    char *ipv4_address;
    char *ipv6_address;
};
struct endpoint_config {
    char *key; /* network's name */
    struct ipam_config ipam_config;
    char **links;
    char **aliases;
    char *mac_address;
};
extern const struct json_desc endpoint_config_json;
struct networking_config {
    struct json_list endpoints_config; /* map of endpoint_config */
};
extern const struct json_desc networking_config_json;

/* What stands beside Config's own fields in the body of POST /containers/create. */
struct create_extra {
    struct host_config host_config;
    struct networking_config networking_config;
};
extern const struct json_desc create_extra_json;

/*
 * POST /containers/{id}/update: Docker's fields (what is 0, empty or absent stays as it is), and
 * Pouch's own. -1 takes a limit away.
 */
struct container_update {
    struct host_config set;        /* its resources and its restart policy; nothing else is read */
    char **env;                    /* "NAME=value": set */
    char **env_rm;                 /* "NAME" */
    char **labels;                 /* "name=value"; "name=": removed */
    char **annotations;            /* the same */
    struct json_map disk_quota;    /* rules that are set; "0" lifts a limit */
    char **publish_add;            /* as -p */
    char **publish_rm;             /* "PORT[/PROTO]", or as -p: that publication alone */
    char **binds_add;              /* as -v: "SOURCE:TARGET[:OPTIONS]", "TARGET" */
    struct json_list mounts_add;   /* of volume_mount_request */
    char **mounts_rm;              /* targets */
    struct json_list devices_add;  /* of device_mapping */
    char **devices_rm;             /* paths in the container */
    struct json_list networks_add; /* of endpoint_config: by name, as in EndpointsConfig */
    char **networks_rm;
};
extern const struct json_desc container_update_json;

/* POST /containers/{id}/upgrade */
struct container_upgrade {
    char *image;
    char **cmd;
    char **entrypoint;
    struct opt_int stop_timeout;   /* seconds, for the running one; unset: its own */
    struct opt_int grace;          /* seconds it must stay up without a health check; unset: 3 */
    struct opt_int health_timeout; /* seconds until it must be healthy; unset: by its check */
};
extern const struct json_desc container_upgrade_json;

/* POST /containers/{id}/exec */
struct exec_config {
    bool attach_stdin;
    bool attach_stdout;
    bool attach_stderr;
    char *detach_keys;
    bool tty;
    char **env;
    char **cmd;
    bool privileged;
    char *user;
    char *working_dir;
    char *console_size; /* raw */
};
extern const struct json_desc exec_config_json;
