/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json of the OCI runtime specification 1.0 … 1.3 as C structs, and their JSON tables.
 *
 * Names follow the specification. Pouch's own additions stand in the member "pouch", which other
 * runtimes ignore. A zeroed struct is an empty document; json_free(&oci_spec_json, &spec) frees.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "sys/cgroup.h"
#include "sys/seccomp.h"

#define OCI_RUNTIME_SPEC_VERSION "1.3.0" /* what is understood */
/* What stands in documents that are written here: they hold nothing that is newer (and crun 1.8 of
 * Debian 12 refuses what names itself so). */
#define OCI_SPEC_WRITTEN_VERSION "1.0.2"
#define OCI_SPEC_MAX             (8u << 20) /* bytes of a config.json we are willing to read */

struct oci_user {
    uint64_t uid, gid;
    struct opt_uint umask;
    struct json_list additional_gids; /* uint64_t */
    char *username;                   /* "user[:group]", looked up inside the rootfs by runtime/ */
    char **group_names; /* Pouch's: further groups by name or number, looked up there too */
};
struct oci_rlimit {
    char *type; /* "RLIMIT_NOFILE" */
    uint64_t soft, hard;
};
struct oci_capabilities {
    char **bounding, **effective, **inheritable, **permitted, **ambient; /* "CAP_CHOWN" … */
};
struct oci_console_size {
    uint64_t height, width;
};
struct oci_io_priority {
    char *class; /* IOPRIO_CLASS_RT, _BE, _IDLE */
    int64_t priority;
};
struct oci_scheduler {
    char *policy; /* SCHED_OTHER … */
    int64_t nice, priority;
    char **flags;                       /* SCHED_FLAG_… */
    uint64_t runtime, deadline, period; /* SCHED_DEADLINE: nanoseconds */
};
struct oci_cpu_affinity {
    char *initial; /* CPU list: while the runtime still stands outside of the container's cgroup */
    char *final;   /* CPU list of the process, from when it has joined it */
};
struct oci_process {
    bool terminal;
    struct oci_console_size *console_size;
    struct oci_user user;
    char **args;
    char *command_line;
    char **env;
    char *cwd;
    struct oci_capabilities *capabilities;
    struct json_list rlimits; /* struct oci_rlimit */
    bool no_new_privileges;
    struct opt_int oom_score_adj;
    char *apparmor_profile;
    char *selinux_label;
    struct oci_io_priority *io_priority;
    struct oci_scheduler *scheduler;
    struct oci_cpu_affinity *exec_cpu_affinity; /* of exec'ed processes, not of init */
};
struct oci_root {
    char *path; /* absolute, or relative to the bundle */
    bool readonly;
};
struct oci_id_mapping {
    uint64_t container_id, host_id, size;
};
struct oci_mount {
    char *destination;
    char *type;
    char *source;
    char **options;
    struct json_list uid_mappings, gid_mappings; /* struct oci_id_mapping */
};
struct oci_hook {
    char *path;
    char **args;
    char **env;
    struct opt_int timeout; /* seconds */
};
struct oci_hooks {
    struct json_list prestart, create_runtime, create_container, start_container, poststart,
        poststop; /* struct oci_hook */
};
struct oci_namespace {
    char *type; /* pid network mount ipc uts user cgroup time */
    char *path; /* join this one; NULL: make a new one */
};
struct oci_device {
    char *type; /* c b u p */
    char *path;
    int64_t major, minor;
    struct opt_uint file_mode, uid, gid;
};
struct oci_time_offset {
    char *key; /* clock: "monotonic", "boottime" */
    int64_t secs;
    uint64_t nanosecs;
};
struct oci_net_device {
    char *key;  /* name on the host */
    char *name; /* in the container; NULL: the same */
};
struct oci_intel_rdt {
    char *clos_id;
    char **schemata;
    char *l3_cache_schema;
    char *mem_bw_schema;
    bool enable_monitoring;
};
struct oci_memory_policy {
    char *mode; /* MPOL_… */
    char *nodes;
    char **flags; /* MPOL_F_… */
};
struct oci_personality {
    char *domain; /* LINUX, LINUX32 */
    char **flags; /* none is defined */
};
struct oci_linux {
    struct json_list uid_mappings, gid_mappings; /* struct oci_id_mapping */
    struct json_map sysctl;
    struct cgroup_resources *resources;
    char *cgroups_path;
    struct json_list namespaces; /* struct oci_namespace */
    struct json_list devices;    /* struct oci_device */
    struct seccomp_filter *seccomp;
    char *rootfs_propagation;
    char **masked_paths;
    char **readonly_paths;
    char *mount_label;
    struct oci_intel_rdt *intel_rdt;
    struct oci_memory_policy *memory_policy;
    struct oci_personality *personality;
    struct json_list time_offsets; /* struct oci_time_offset, by clock */
    struct json_list net_devices;  /* struct oci_net_device, by name on the host */
};

/* "pouch": what the specification has no place for. */
struct oci_overlay {
    char *type;   /* "overlay" */
    char **lower; /* topmost first, absolute */
    char *upper, *work;
    char **options;
};
struct oci_pouch {
    struct oci_overlay *overlay; /* mounted on root.path inside the container's mount namespace */
    bool init;                   /* run a small init as pid 1 (docker run --init) */
    bool no_login;               /* its processes belong to no login session (audit's loginuid) */
    bool cgroup_delegate;        /* processes stand one level below the limits: cgroup_delegate() */
    bool gate_after_pivot; /* init is at the gate only when it stands in the container's root: for
                              processes that are run in it before its own program */
};

struct oci_spec {
    char *oci_version;
    char *hostname;
    char *domainname;
    struct oci_process *process;
    struct oci_root *root;
    struct json_list mounts; /* struct oci_mount */
    struct oci_hooks *hooks;
    struct oci_linux *linux;
    struct json_map annotations;
    struct oci_pouch *pouch;
};

extern const struct json_desc oci_spec_json;
extern const struct json_desc oci_process_json; /* process.json of an exec */
extern const struct json_desc oci_hook_json;
extern const struct json_desc cgroup_resources_json;
extern const struct json_desc seccomp_filter_json;

/* All types of namespaces, NULL-ended, in alphabetical order. */
extern const char *const oci_namespace_types[];

/* Reads <bundle>/config.json and validates it. *ret must be zeroed. */
int oci_spec_load(const char *bundle, struct oci_spec *ret, struct error *e) MUST_CHECK;
/* The same, with the text itself; the caller frees it. */
int oci_spec_load_text(const char *bundle, struct oci_spec *ret, char **ret_text,
                       struct error *e) MUST_CHECK;

/* What the tables cannot say: required members, absolute paths, known namespaces, no doubles. */
int oci_spec_validate(const struct oci_spec *s, struct error *e) MUST_CHECK;
int oci_process_validate(const struct oci_process *p, struct error *e) MUST_CHECK;

/* Shorthands for building a document. */
struct oci_mount *oci_spec_add_mount(struct oci_spec *s, const char *destination, const char *type,
                                     const char *source, char *const *options);
void oci_spec_add_namespace(struct oci_spec *s, const char *type, const char *path);
void oci_user_add_gid(struct oci_user *u, uint64_t gid);
const struct oci_namespace *oci_spec_namespace(const struct oci_spec *s, const char *type);
