/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of config.json and what they cannot say: see spec.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "oci/spec.h"

#define F(member, name, kind)        JSON_FIELD(TYPE, member, name, kind, JSON_OMIT_EMPTY)
#define FSUB(member, name, kind, of) JSON_FIELD_SUB(TYPE, member, name, kind, JSON_OMIT_EMPTY, of)
#define ALWAYS(member, name, kind)   JSON_FIELD(TYPE, member, name, kind, 0)
#define DESC(var, text, fields)      const struct json_desc var = {text, sizeof(TYPE), fields}

/* --- linux.resources ----------------------------------------------------------------------- */

#define TYPE struct cgroup_memory
static const struct json_field memory_fields[] = {
    F(limit, "limit", JSON_OPT_INT),
    F(reservation, "reservation", JSON_OPT_INT),
    F(swap, "swap", JSON_OPT_INT),
    F(kernel, "kernel", JSON_OPT_INT),
    F(kernel_tcp, "kernelTCP", JSON_OPT_INT),
    F(swappiness, "swappiness", JSON_OPT_UINT),
    F(disable_oom_killer, "disableOOMKiller", JSON_OPT_BOOL),
    F(use_hierarchy, "useHierarchy", JSON_OPT_BOOL),
    F(check_before_update, "checkBeforeUpdate", JSON_OPT_BOOL),
    JSON_END,
};
static DESC(memory_json, "memory", memory_fields);
#undef TYPE

#define TYPE struct cgroup_cpu
static const struct json_field cpu_fields[] = {
    F(shares, "shares", JSON_OPT_UINT),
    F(quota, "quota", JSON_OPT_INT),
    F(burst, "burst", JSON_OPT_UINT),
    F(period, "period", JSON_OPT_UINT),
    F(realtime_runtime, "realtimeRuntime", JSON_OPT_INT),
    F(realtime_period, "realtimePeriod", JSON_OPT_UINT),
    F(idle, "idle", JSON_OPT_INT),
    F(cpus, "cpus", JSON_STR),
    F(mems, "mems", JSON_STR),
    JSON_END,
};
static DESC(cpu_json, "cpu", cpu_fields);
#undef TYPE

#define TYPE struct cgroup_pids
static const struct json_field pids_fields[] = {
    F(limit, "limit", JSON_OPT_INT),
    JSON_END,
};
static DESC(pids_json, "pids", pids_fields);
#undef TYPE

#define TYPE struct cgroup_weight_device
static const struct json_field weight_device_fields[] = {
    ALWAYS(major, "major", JSON_INT),
    ALWAYS(minor, "minor", JSON_INT),
    F(weight, "weight", JSON_OPT_UINT),
    F(leaf_weight, "leafWeight", JSON_OPT_UINT),
    JSON_END,
};
static DESC(weight_device_json, "weight device", weight_device_fields);
#undef TYPE

#define TYPE struct cgroup_throttle_device
static const struct json_field throttle_fields[] = {
    ALWAYS(major, "major", JSON_INT),
    ALWAYS(minor, "minor", JSON_INT),
    ALWAYS(rate, "rate", JSON_UINT),
    JSON_END,
};
static DESC(throttle_json, "throttle device", throttle_fields);
#undef TYPE

#define TYPE struct cgroup_block_io
static const struct json_field block_io_fields[] = {
    F(weight, "weight", JSON_OPT_UINT),
    F(leaf_weight, "leafWeight", JSON_OPT_UINT),
    FSUB(weight_device, "weightDevice", JSON_OBJ_LIST, &weight_device_json),
    FSUB(throttle_read_bps, "throttleReadBpsDevice", JSON_OBJ_LIST, &throttle_json),
    FSUB(throttle_write_bps, "throttleWriteBpsDevice", JSON_OBJ_LIST, &throttle_json),
    FSUB(throttle_read_iops, "throttleReadIOPSDevice", JSON_OBJ_LIST, &throttle_json),
    FSUB(throttle_write_iops, "throttleWriteIOPSDevice", JSON_OBJ_LIST, &throttle_json),
    JSON_END,
};
static DESC(block_io_json, "blockIO", block_io_fields);
#undef TYPE

#define TYPE struct cgroup_device
static const struct json_field cgroup_device_fields[] = {
    ALWAYS(allow, "allow", JSON_BOOL), F(type, "type", JSON_STR),
    F(major, "major", JSON_OPT_INT),   F(minor, "minor", JSON_OPT_INT),
    F(access, "access", JSON_STR),     JSON_END,
};
static DESC(cgroup_device_json, "device rule", cgroup_device_fields);
#undef TYPE

#define TYPE struct cgroup_hugepage
static const struct json_field hugepage_fields[] = {
    ALWAYS(page_size, "pageSize", JSON_STR),
    ALWAYS(limit, "limit", JSON_UINT),
    JSON_END,
};
static DESC(hugepage_json, "hugepage limit", hugepage_fields);
#undef TYPE

#define TYPE struct cgroup_interface_priority
static const struct json_field interface_priority_fields[] = {
    JSON_FIELD(TYPE, name, "name", JSON_STR, JSON_REQUIRED),
    ALWAYS(priority, "priority", JSON_UINT),
    JSON_END,
};
static DESC(interface_priority_json, "interface priority", interface_priority_fields);
#undef TYPE

#define TYPE struct cgroup_network
static const struct json_field network_fields[] = {
    F(class_id, "classID", JSON_OPT_UINT),
    FSUB(priorities, "priorities", JSON_OBJ_LIST, &interface_priority_json),
    JSON_END,
};
static DESC(network_json, "network", network_fields);
#undef TYPE

#define TYPE struct cgroup_rdma
static const struct json_field rdma_fields[] = {
    F(hca_handles, "hcaHandles", JSON_OPT_UINT),
    F(hca_objects, "hcaObjects", JSON_OPT_UINT),
    JSON_END,
};
static DESC(rdma_json, "rdma limit", rdma_fields);
#undef TYPE

#define TYPE struct cgroup_resources
static const struct json_field resources_fields[] = {
    FSUB(devices, "devices", JSON_OBJ_LIST, &cgroup_device_json),
    FSUB(memory, "memory", JSON_OBJ_PTR, &memory_json),
    FSUB(cpu, "cpu", JSON_OBJ_PTR, &cpu_json),
    FSUB(pids, "pids", JSON_OBJ_PTR, &pids_json),
    FSUB(block_io, "blockIO", JSON_OBJ_PTR, &block_io_json),
    FSUB(hugepage_limits, "hugepageLimits", JSON_OBJ_LIST, &hugepage_json),
    FSUB(network, "network", JSON_OBJ_PTR, &network_json),
    FSUB(rdma, "rdma", JSON_OBJ_MAP, &rdma_json),
    F(unified, "unified", JSON_STR_MAP),
    JSON_END,
};
DESC(cgroup_resources_json, "resources", resources_fields);
#undef TYPE

/* --- linux.seccomp ------------------------------------------------------------------------- */

#define TYPE struct seccomp_arg
static const struct json_field seccomp_arg_fields[] = {
    ALWAYS(index, "index", JSON_UINT),
    ALWAYS(value, "value", JSON_UINT),
    F(value_two, "valueTwo", JSON_UINT),
    JSON_FIELD(TYPE, op, "op", JSON_STR, JSON_REQUIRED),
    JSON_END,
};
static DESC(seccomp_arg_json, "seccomp argument", seccomp_arg_fields);
#undef TYPE

#define TYPE struct seccomp_rule
static const struct json_field seccomp_rule_fields[] = {
    JSON_FIELD(TYPE, names, "names", JSON_STRV, JSON_REQUIRED),
    JSON_FIELD(TYPE, action, "action", JSON_STR, JSON_REQUIRED),
    F(errno_ret, "errnoRet", JSON_OPT_UINT),
    FSUB(args, "args", JSON_OBJ_LIST, &seccomp_arg_json),
    JSON_END,
};
static DESC(seccomp_rule_json, "seccomp rule", seccomp_rule_fields);
#undef TYPE

#define TYPE struct seccomp_filter
static const struct json_field seccomp_filter_fields[] = {
    JSON_FIELD(TYPE, default_action, "defaultAction", JSON_STR, JSON_REQUIRED),
    F(default_errno_ret, "defaultErrnoRet", JSON_OPT_UINT),
    F(architectures, "architectures", JSON_STRV),
    F(flags, "flags", JSON_STRV),
    F(listener_path, "listenerPath", JSON_STR),
    F(listener_metadata, "listenerMetadata", JSON_STR),
    FSUB(syscalls, "syscalls", JSON_OBJ_LIST, &seccomp_rule_json),
    JSON_END,
};
DESC(seccomp_filter_json, "seccomp", seccomp_filter_fields);
#undef TYPE

/* --- process ------------------------------------------------------------------------------- */

#define TYPE struct oci_user
static const struct json_field user_fields[] = {
    ALWAYS(uid, "uid", JSON_UINT),
    ALWAYS(gid, "gid", JSON_UINT),
    F(umask, "umask", JSON_OPT_UINT),
    F(additional_gids, "additionalGids", JSON_UINT_LIST),
    F(username, "username", JSON_STR),
    F(group_names, "pouchGroupNames", JSON_STRV),
    JSON_END,
};
static DESC(user_json, "user", user_fields);
#undef TYPE

#define TYPE struct oci_rlimit
static const struct json_field rlimit_fields[] = {
    JSON_FIELD(TYPE, type, "type", JSON_STR, JSON_REQUIRED),
    ALWAYS(soft, "soft", JSON_UINT),
    ALWAYS(hard, "hard", JSON_UINT),
    JSON_END,
};
static DESC(rlimit_json, "rlimit", rlimit_fields);
#undef TYPE

#define TYPE struct oci_capabilities
static const struct json_field capabilities_fields[] = {
    F(bounding, "bounding", JSON_STRV),       F(effective, "effective", JSON_STRV),
    F(inheritable, "inheritable", JSON_STRV), F(permitted, "permitted", JSON_STRV),
    F(ambient, "ambient", JSON_STRV),         JSON_END,
};
static DESC(capabilities_json, "capabilities", capabilities_fields);
#undef TYPE

#define TYPE struct oci_console_size
static const struct json_field console_size_fields[] = {
    ALWAYS(height, "height", JSON_UINT),
    ALWAYS(width, "width", JSON_UINT),
    JSON_END,
};
static DESC(console_size_json, "console size", console_size_fields);
#undef TYPE

#define TYPE struct oci_io_priority
static const struct json_field io_priority_fields[] = {
    JSON_FIELD(TYPE, class, "class", JSON_STR, JSON_REQUIRED),
    ALWAYS(priority, "priority", JSON_INT),
    JSON_END,
};
static DESC(io_priority_json, "ioPriority", io_priority_fields);
#undef TYPE

#define TYPE struct oci_scheduler
static const struct json_field scheduler_fields[] = {
    JSON_FIELD(TYPE, policy, "policy", JSON_STR, JSON_REQUIRED),
    F(nice, "nice", JSON_INT),
    F(priority, "priority", JSON_INT),
    F(flags, "flags", JSON_STRV),
    F(runtime, "runtime", JSON_UINT),
    F(deadline, "deadline", JSON_UINT),
    F(period, "period", JSON_UINT),
    JSON_END,
};
static DESC(scheduler_json, "scheduler", scheduler_fields);
#undef TYPE

#define TYPE struct oci_cpu_affinity
static const struct json_field cpu_affinity_fields[] = {
    F(initial, "initial", JSON_STR),
    F(final, "final", JSON_STR),
    JSON_END,
};
static DESC(cpu_affinity_json, "execCPUAffinity", cpu_affinity_fields);
#undef TYPE

#define TYPE struct oci_process
static const struct json_field process_fields[] = {
    F(terminal, "terminal", JSON_BOOL),
    FSUB(console_size, "consoleSize", JSON_OBJ_PTR, &console_size_json),
    JSON_FIELD_SUB(TYPE, user, "user", JSON_OBJ, 0, &user_json),
    F(args, "args", JSON_STRV),
    F(command_line, "commandLine", JSON_STR),
    F(env, "env", JSON_STRV),
    ALWAYS(cwd, "cwd", JSON_STR),
    FSUB(capabilities, "capabilities", JSON_OBJ_PTR, &capabilities_json),
    FSUB(rlimits, "rlimits", JSON_OBJ_LIST, &rlimit_json),
    F(no_new_privileges, "noNewPrivileges", JSON_BOOL),
    F(oom_score_adj, "oomScoreAdj", JSON_OPT_INT),
    F(apparmor_profile, "apparmorProfile", JSON_STR),
    F(selinux_label, "selinuxLabel", JSON_STR),
    FSUB(io_priority, "ioPriority", JSON_OBJ_PTR, &io_priority_json),
    FSUB(scheduler, "scheduler", JSON_OBJ_PTR, &scheduler_json),
    FSUB(exec_cpu_affinity, "execCPUAffinity", JSON_OBJ_PTR, &cpu_affinity_json),
    JSON_END,
};
DESC(oci_process_json, "process", process_fields);
#undef TYPE

/* --- root, mounts, hooks ------------------------------------------------------------------- */

#define TYPE struct oci_root
static const struct json_field root_fields[] = {
    JSON_FIELD(TYPE, path, "path", JSON_STR, JSON_REQUIRED),
    F(readonly, "readonly", JSON_BOOL),
    JSON_END,
};
static DESC(root_json, "root", root_fields);
#undef TYPE

#define TYPE struct oci_id_mapping
static const struct json_field id_mapping_fields[] = {
    ALWAYS(container_id, "containerID", JSON_UINT),
    ALWAYS(host_id, "hostID", JSON_UINT),
    ALWAYS(size, "size", JSON_UINT),
    JSON_END,
};
static DESC(id_mapping_json, "id mapping", id_mapping_fields);
#undef TYPE

#define TYPE struct oci_mount
static const struct json_field mount_fields[] = {
    JSON_FIELD(TYPE, destination, "destination", JSON_STR, JSON_REQUIRED),
    F(type, "type", JSON_STR),
    F(source, "source", JSON_STR),
    F(options, "options", JSON_STRV),
    FSUB(uid_mappings, "uidMappings", JSON_OBJ_LIST, &id_mapping_json),
    FSUB(gid_mappings, "gidMappings", JSON_OBJ_LIST, &id_mapping_json),
    JSON_END,
};
static DESC(mount_json, "mount", mount_fields);
#undef TYPE

#define TYPE struct oci_hook
static const struct json_field hook_fields[] = {
    JSON_FIELD(TYPE, path, "path", JSON_STR, JSON_REQUIRED),
    F(args, "args", JSON_STRV),
    F(env, "env", JSON_STRV),
    F(timeout, "timeout", JSON_OPT_INT),
    JSON_END,
};
DESC(oci_hook_json, "hook", hook_fields);
#undef TYPE

#define TYPE struct oci_hooks
static const struct json_field hooks_fields[] = {
    FSUB(prestart, "prestart", JSON_OBJ_LIST, &oci_hook_json),
    FSUB(create_runtime, "createRuntime", JSON_OBJ_LIST, &oci_hook_json),
    FSUB(create_container, "createContainer", JSON_OBJ_LIST, &oci_hook_json),
    FSUB(start_container, "startContainer", JSON_OBJ_LIST, &oci_hook_json),
    FSUB(poststart, "poststart", JSON_OBJ_LIST, &oci_hook_json),
    FSUB(poststop, "poststop", JSON_OBJ_LIST, &oci_hook_json),
    JSON_END,
};
static DESC(hooks_json, "hooks", hooks_fields);
#undef TYPE

/* --- linux --------------------------------------------------------------------------------- */

#define TYPE struct oci_namespace
static const struct json_field namespace_fields[] = {
    JSON_FIELD(TYPE, type, "type", JSON_STR, JSON_REQUIRED),
    F(path, "path", JSON_STR),
    JSON_END,
};
static DESC(namespace_json, "namespace", namespace_fields);
#undef TYPE

#define TYPE struct oci_device
static const struct json_field device_fields[] = {
    JSON_FIELD(TYPE, type, "type", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(TYPE, path, "path", JSON_STR, JSON_REQUIRED),
    F(major, "major", JSON_INT),
    F(minor, "minor", JSON_INT),
    F(file_mode, "fileMode", JSON_OPT_UINT),
    F(uid, "uid", JSON_OPT_UINT),
    F(gid, "gid", JSON_OPT_UINT),
    JSON_END,
};
static DESC(device_json, "device", device_fields);
#undef TYPE

#define TYPE struct oci_time_offset
static const struct json_field time_offset_fields[] = {
    F(secs, "secs", JSON_INT),
    F(nanosecs, "nanosecs", JSON_UINT),
    JSON_END,
};
static DESC(time_offset_json, "time offset", time_offset_fields);
#undef TYPE

#define TYPE struct oci_net_device
static const struct json_field net_device_fields[] = {
    F(name, "name", JSON_STR),
    JSON_END,
};
static DESC(net_device_json, "network device", net_device_fields);
#undef TYPE

#define TYPE struct oci_intel_rdt
static const struct json_field intel_rdt_fields[] = {
    F(clos_id, "closID", JSON_STR),
    F(schemata, "schemata", JSON_STRV),
    F(l3_cache_schema, "l3CacheSchema", JSON_STR),
    F(mem_bw_schema, "memBwSchema", JSON_STR),
    F(enable_monitoring, "enableMonitoring", JSON_BOOL),
    JSON_END,
};
static DESC(intel_rdt_json, "intelRdt", intel_rdt_fields);
#undef TYPE

#define TYPE struct oci_memory_policy
static const struct json_field memory_policy_fields[] = {
    JSON_FIELD(TYPE, mode, "mode", JSON_STR, JSON_REQUIRED),
    F(nodes, "nodes", JSON_STR),
    F(flags, "flags", JSON_STRV),
    JSON_END,
};
static DESC(memory_policy_json, "memoryPolicy", memory_policy_fields);
#undef TYPE

#define TYPE struct oci_personality
static const struct json_field personality_fields[] = {
    JSON_FIELD(TYPE, domain, "domain", JSON_STR, JSON_REQUIRED),
    F(flags, "flags", JSON_STRV),
    JSON_END,
};
static DESC(personality_json, "personality", personality_fields);
#undef TYPE

#define TYPE struct oci_linux
static const struct json_field linux_fields[] = {
    FSUB(uid_mappings, "uidMappings", JSON_OBJ_LIST, &id_mapping_json),
    FSUB(gid_mappings, "gidMappings", JSON_OBJ_LIST, &id_mapping_json),
    F(sysctl, "sysctl", JSON_STR_MAP),
    FSUB(resources, "resources", JSON_OBJ_PTR, &cgroup_resources_json),
    F(cgroups_path, "cgroupsPath", JSON_STR),
    FSUB(namespaces, "namespaces", JSON_OBJ_LIST, &namespace_json),
    FSUB(devices, "devices", JSON_OBJ_LIST, &device_json),
    FSUB(seccomp, "seccomp", JSON_OBJ_PTR, &seccomp_filter_json),
    F(rootfs_propagation, "rootfsPropagation", JSON_STR),
    F(masked_paths, "maskedPaths", JSON_STRV),
    F(readonly_paths, "readonlyPaths", JSON_STRV),
    F(mount_label, "mountLabel", JSON_STR),
    FSUB(intel_rdt, "intelRdt", JSON_OBJ_PTR, &intel_rdt_json),
    FSUB(memory_policy, "memoryPolicy", JSON_OBJ_PTR, &memory_policy_json),
    FSUB(personality, "personality", JSON_OBJ_PTR, &personality_json),
    FSUB(time_offsets, "timeOffsets", JSON_OBJ_MAP, &time_offset_json),
    FSUB(net_devices, "netDevices", JSON_OBJ_MAP, &net_device_json),
    JSON_END,
};
static DESC(linux_json, "linux", linux_fields);
#undef TYPE

/* --- pouch --------------------------------------------------------------------------------- */

#define TYPE struct oci_overlay
static const struct json_field overlay_fields[] = {
    F(type, "type", JSON_STR), F(lower, "lower", JSON_STRV),     F(upper, "upper", JSON_STR),
    F(work, "work", JSON_STR), F(options, "options", JSON_STRV), JSON_END,
};
static DESC(overlay_json, "overlay", overlay_fields);
#undef TYPE

#define TYPE struct oci_pouch
static const struct json_field pouch_fields[] = {
    FSUB(overlay, "overlay", JSON_OBJ_PTR, &overlay_json),
    F(init, "init", JSON_BOOL),
    F(no_login, "noLogin", JSON_BOOL),
    F(cgroup_delegate, "cgroupDelegate", JSON_BOOL),
    F(gate_after_pivot, "gateAfterPivot", JSON_BOOL),
    JSON_END,
};
static DESC(pouch_json, "pouch", pouch_fields);
#undef TYPE

#define TYPE struct oci_spec
static const struct json_field spec_fields[] = {
    ALWAYS(oci_version, "ociVersion", JSON_STR),
    FSUB(process, "process", JSON_OBJ_PTR, &oci_process_json),
    FSUB(root, "root", JSON_OBJ_PTR, &root_json),
    F(hostname, "hostname", JSON_STR),
    F(domainname, "domainname", JSON_STR),
    FSUB(mounts, "mounts", JSON_OBJ_LIST, &mount_json),
    FSUB(hooks, "hooks", JSON_OBJ_PTR, &hooks_json),
    F(annotations, "annotations", JSON_STR_MAP),
    FSUB(linux, "linux", JSON_OBJ_PTR, &linux_json),
    FSUB(pouch, "pouch", JSON_OBJ_PTR, &pouch_json),
    JSON_END,
};
DESC(oci_spec_json, "runtime specification", spec_fields);
#undef TYPE

/* --- reading ------------------------------------------------------------------------------ */

int oci_spec_load_text(const char *bundle, struct oci_spec *ret, char **ret_text, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/config.json", bundle);
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, path, OCI_SPEC_MAX, &text, &len);

    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    r = json_parse(&oci_spec_json, text, len, ret, e);
    if (r == 0) {
        r = oci_spec_validate(ret, e);
        if (r < 0)
            json_free(&oci_spec_json, ret);
    }
    if (r < 0)
        error_add(e, "%s", path);
    else if (ret_text)
        *ret_text = take_ptr(text);
    return r;
}

int oci_spec_load(const char *bundle, struct oci_spec *ret, struct error *e)
{
    return oci_spec_load_text(bundle, ret, NULL, e);
}

/* --- building ------------------------------------------------------------------------------ */

struct oci_mount *oci_spec_add_mount(struct oci_spec *s, const char *destination, const char *type,
                                     const char *source, char *const *options)
{
    struct oci_mount *m = json_list_add(&s->mounts, sizeof(*m));

    m->destination = xstrdup(destination);
    m->type = xstrdup_or_null(type);
    m->source = xstrdup_or_null(source);
    m->options = strv_copy(options);
    return m;
}

void oci_spec_add_namespace(struct oci_spec *s, const char *type, const char *path)
{
    struct oci_namespace *ns;

    if (!s->linux)
        s->linux = xcalloc(1, sizeof(*s->linux));
    ns = json_list_add(&s->linux->namespaces, sizeof(*ns));
    ns->type = xstrdup(type);
    ns->path = xstrdup_or_null(path);
}

void oci_user_add_gid(struct oci_user *u, uint64_t gid)
{
    *(uint64_t *)json_list_add(&u->additional_gids, sizeof(uint64_t)) = gid;
}

const struct oci_namespace *oci_spec_namespace(const struct oci_spec *s, const char *type)
{
    const struct oci_namespace *ns = s->linux ? s->linux->namespaces.items : NULL;

    for (size_t i = 0; ns && i < s->linux->namespaces.len; i++)
        if (STREQ(ns[i].type, type))
            return &ns[i];
    return NULL;
}
