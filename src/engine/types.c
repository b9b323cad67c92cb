/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON tables of types.h, in the order Docker prints the fields. */
#include "engine/types.h"

#define F(type, member, name, kind, flags) JSON_FIELD(struct type, member, name, kind, flags)
#define S(type, member, name, kind, flags, sub)                                                    \
    JSON_FIELD_SUB(struct type, member, name, kind, flags, &sub)
#define TABLE(type)                                                                                \
    static const struct json_desc type##_json = {#type, sizeof(struct type), type##_fields}
#define PUBLIC_TABLE(type)                                                                         \
    const struct json_desc type##_json = {#type, sizeof(struct type), type##_fields}

enum { OMIT = JSON_OMIT_EMPTY, NUL = JSON_NULL_EMPTY };

static const struct json_field container_config_fields[] = {
    F(container_config, hostname, "Hostname", JSON_STR, 0),
    F(container_config, domainname, "Domainname", JSON_STR, 0),
    F(container_config, user, "User", JSON_STR, 0),
    F(container_config, attach_stdin, "AttachStdin", JSON_BOOL, 0),
    F(container_config, attach_stdout, "AttachStdout", JSON_BOOL, 0),
    F(container_config, attach_stderr, "AttachStderr", JSON_BOOL, 0),
    F(container_config, exposed_ports, "ExposedPorts", JSON_KEY_SET, OMIT),
    F(container_config, tty, "Tty", JSON_BOOL, 0),
    F(container_config, open_stdin, "OpenStdin", JSON_BOOL, 0),
    F(container_config, stdin_once, "StdinOnce", JSON_BOOL, 0),
    F(container_config, env, "Env", JSON_STRV, NUL),
    F(container_config, cmd, "Cmd", JSON_STRV, JSON_STR_OR_LIST | NUL),
    S(container_config, healthcheck, "Healthcheck", JSON_OBJ_PTR, OMIT, oci_healthcheck_json),
    F(container_config, image, "Image", JSON_STR, 0),
    F(container_config, volumes, "Volumes", JSON_KEY_SET, NUL),
    F(container_config, working_dir, "WorkingDir", JSON_STR, 0),
    F(container_config, entrypoint, "Entrypoint", JSON_STRV, JSON_STR_OR_LIST | NUL),
    F(container_config, network_disabled, "NetworkDisabled", JSON_BOOL, OMIT),
    F(container_config, mac_address, "MacAddress", JSON_STR, OMIT),
    F(container_config, on_build, "OnBuild", JSON_STRV, NUL),
    F(container_config, labels, "Labels", JSON_STR_MAP, 0),
    F(container_config, net_priority, "NetPriority", JSON_INT, OMIT),
    F(container_config, stop_signal, "StopSignal", JSON_STR, OMIT),
    F(container_config, stop_timeout, "StopTimeout", JSON_OPT_INT, OMIT),
    F(container_config, shell, "Shell", JSON_STRV, OMIT),
    F(container_config, rich, "Rich", JSON_BOOL, OMIT),
    F(container_config, rich_mode, "RichMode", JSON_STR, OMIT),
    F(container_config, rich_exit, "RichExit", JSON_STR, OMIT),
    F(container_config, init_script, "InitScript", JSON_STR, OMIT),
    F(container_config, disk_quota, "DiskQuota", JSON_STR_MAP, OMIT),
    F(container_config, quota_id, "QuotaId", JSON_STR, OMIT),
    JSON_END,
};
PUBLIC_TABLE(container_config);

static const struct json_field log_config_fields[] = {
    F(log_config, type, "Type", JSON_STR, 0),
    F(log_config, config, "Config", JSON_STR_MAP, 0),
    JSON_END,
};
TABLE(log_config);

static const struct json_field port_binding_fields[] = {
    F(port_binding, host_ip, "HostIp", JSON_STR, 0),
    F(port_binding, host_port, "HostPort", JSON_STR, 0),
    JSON_END,
};
PUBLIC_TABLE(port_binding);

static const struct json_field restart_policy_fields[] = {
    F(restart_policy, name, "Name", JSON_STR, 0),
    F(restart_policy, maximum_retry_count, "MaximumRetryCount", JSON_INT, 0),
    JSON_END,
};
TABLE(restart_policy);

static const struct json_field weight_device_fields[] = {
    F(weight_device, path, "Path", JSON_STR, JSON_REQUIRED),
    F(weight_device, weight, "Weight", JSON_UINT, 0),
    JSON_END,
};
TABLE(weight_device);

static const struct json_field throttle_device_fields[] = {
    F(throttle_device, path, "Path", JSON_STR, JSON_REQUIRED),
    F(throttle_device, rate, "Rate", JSON_UINT, JSON_LENIENT_NUM),
    JSON_END,
};
TABLE(throttle_device);

static const struct json_field device_mapping_fields[] = {
    F(device_mapping, path_on_host, "PathOnHost", JSON_STR, JSON_REQUIRED),
    F(device_mapping, path_in_container, "PathInContainer", JSON_STR, 0),
    F(device_mapping, cgroup_permissions, "CgroupPermissions", JSON_STR, 0),
    JSON_END,
};
TABLE(device_mapping);

static const struct json_field ulimit_fields[] = {
    F(ulimit, name, "Name", JSON_STR, JSON_REQUIRED),
    F(ulimit, hard, "Hard", JSON_INT, 0),
    F(ulimit, soft, "Soft", JSON_INT, 0),
    JSON_END,
};
TABLE(ulimit);

static const struct json_field id_mappings_fields[] = {
    F(id_mappings, uid_map, "UidMap", JSON_STRV, 0),
    F(id_mappings, gid_map, "GidMap", JSON_STRV, 0),
    JSON_END,
};
TABLE(id_mappings);
static const struct json_field container_hooks_fields[] = {
    F(container_hooks, prestart, "Prestart", JSON_STRV, OMIT),
    F(container_hooks, poststart, "Poststart", JSON_STRV, OMIT),
    F(container_hooks, poststop, "Poststop", JSON_STRV, OMIT),
    JSON_END,
};
TABLE(container_hooks);

static const struct json_field host_config_fields[] = {
    F(host_config, binds, "Binds", JSON_STRV, NUL),
    F(host_config, container_id_file, "ContainerIDFile", JSON_STR, 0),
    S(host_config, log_config, "LogConfig", JSON_OBJ, 0, log_config_json),
    F(host_config, network_mode, "NetworkMode", JSON_STR, 0),
    S(host_config, port_bindings, "PortBindings", JSON_LIST_MAP, 0, port_binding_json),
    S(host_config, restart_policy, "RestartPolicy", JSON_OBJ, 0, restart_policy_json),
    F(host_config, auto_remove, "AutoRemove", JSON_BOOL, 0),
    F(host_config, volume_driver, "VolumeDriver", JSON_STR, 0),
    F(host_config, volumes_from, "VolumesFrom", JSON_STRV, NUL),
    F(host_config, console_size, "ConsoleSize", JSON_RAW, OMIT),
    F(host_config, cap_add, "CapAdd", JSON_STRV, NUL),
    F(host_config, cap_drop, "CapDrop", JSON_STRV, NUL),
    F(host_config, cgroupns_mode, "CgroupnsMode", JSON_STR, 0),
    F(host_config, dns, "Dns", JSON_STRV, 0),
    F(host_config, dns_options, "DnsOptions", JSON_STRV, 0),
    F(host_config, dns_search, "DnsSearch", JSON_STRV, 0),
    F(host_config, extra_hosts, "ExtraHosts", JSON_STRV, NUL),
    F(host_config, group_add, "GroupAdd", JSON_STRV, NUL),
    F(host_config, ipc_mode, "IpcMode", JSON_STR, 0),
    F(host_config, cgroup, "Cgroup", JSON_STR, 0),
    F(host_config, links, "Links", JSON_STRV, NUL),
    F(host_config, oom_score_adj, "OomScoreAdj", JSON_INT, 0),
    F(host_config, pid_mode, "PidMode", JSON_STR, 0),
    F(host_config, privileged, "Privileged", JSON_BOOL, 0),
    F(host_config, publish_all_ports, "PublishAllPorts", JSON_BOOL, 0),
    F(host_config, readonly_rootfs, "ReadonlyRootfs", JSON_BOOL, 0),
    F(host_config, security_opt, "SecurityOpt", JSON_STRV, NUL),
    F(host_config, storage_opt, "StorageOpt", JSON_STR_MAP, OMIT),
    F(host_config, tmpfs, "Tmpfs", JSON_STR_MAP, OMIT),
    F(host_config, uts_mode, "UTSMode", JSON_STR, 0),
    F(host_config, userns_mode, "UsernsMode", JSON_STR, 0),
    S(host_config, id_mappings, "IDMappings", JSON_OBJ, OMIT, id_mappings_json),
    F(host_config, shm_size, "ShmSize", JSON_INT, 0),
    F(host_config, sysctls, "Sysctls", JSON_STR_MAP, OMIT),
    F(host_config, runtime, "Runtime", JSON_STR, 0),
    F(host_config, isolation, "Isolation", JSON_STR, 0),
    F(host_config, annotations, "Annotations", JSON_STR_MAP, OMIT),
    F(host_config, cpu_shares, "CpuShares", JSON_INT, 0),
    F(host_config, memory, "Memory", JSON_INT, 0),
    F(host_config, nano_cpus, "NanoCpus", JSON_INT, 0),
    F(host_config, cgroup_parent, "CgroupParent", JSON_STR, 0),
    F(host_config, blkio_weight, "BlkioWeight", JSON_UINT, 0),
    S(host_config, blkio_weight_device, "BlkioWeightDevice", JSON_OBJ_LIST, 0, weight_device_json),
    S(host_config, blkio_device_read_bps, "BlkioDeviceReadBps", JSON_OBJ_LIST, 0,
      throttle_device_json),
    S(host_config, blkio_device_write_bps, "BlkioDeviceWriteBps", JSON_OBJ_LIST, 0,
      throttle_device_json),
    S(host_config, blkio_device_read_iops, "BlkioDeviceReadIOps", JSON_OBJ_LIST, 0,
      throttle_device_json),
    S(host_config, blkio_device_write_iops, "BlkioDeviceWriteIOps", JSON_OBJ_LIST, 0,
      throttle_device_json),
    F(host_config, cpu_period, "CpuPeriod", JSON_INT, 0),
    F(host_config, cpu_quota, "CpuQuota", JSON_INT, 0),
    F(host_config, cpu_burst, "CpuBurst", JSON_INT, OMIT),
    F(host_config, cpu_realtime_period, "CpuRealtimePeriod", JSON_INT, 0),
    F(host_config, cpu_realtime_runtime, "CpuRealtimeRuntime", JSON_INT, 0),
    F(host_config, cpuset_cpus, "CpusetCpus", JSON_STR, 0),
    F(host_config, cpuset_mems, "CpusetMems", JSON_STR, 0),
    S(host_config, devices, "Devices", JSON_OBJ_LIST, 0, device_mapping_json),
    F(host_config, intel_rdt_l3_cbm, "IntelRdtL3Cbm", JSON_STR, OMIT),
    F(host_config, device_cgroup_rules, "DeviceCgroupRules", JSON_STRV, NUL),
    F(host_config, device_requests, "DeviceRequests", JSON_RAW, 0),
    F(host_config, kernel_memory, "KernelMemory", JSON_INT, OMIT),
    F(host_config, kernel_memory_tcp, "KernelMemoryTCP", JSON_INT, OMIT),
    F(host_config, memory_reservation, "MemoryReservation", JSON_INT, 0),
    F(host_config, memory_high, "MemoryHigh", JSON_INT, OMIT),
    F(host_config, memory_low, "MemoryLow", JSON_INT, OMIT),
    F(host_config, memory_min, "MemoryMin", JSON_INT, OMIT),
    F(host_config, memory_swap, "MemorySwap", JSON_INT, 0),
    F(host_config, memory_swappiness, "MemorySwappiness", JSON_OPT_INT, 0),
    F(host_config, oom_kill_disable, "OomKillDisable", JSON_OPT_BOOL, 0),
    F(host_config, pids_limit, "PidsLimit", JSON_OPT_INT, 0),
    S(host_config, ulimits, "Ulimits", JSON_OBJ_LIST, NUL, ulimit_json),
    S(host_config, mounts, "Mounts", JSON_OBJ_LIST, OMIT, volume_mount_request_json),
    F(host_config, masked_paths, "MaskedPaths", JSON_STRV, JSON_NULL_KEPT),
    F(host_config, readonly_paths, "ReadonlyPaths", JSON_STRV, JSON_NULL_KEPT),
    F(host_config, init, "Init", JSON_OPT_BOOL, OMIT),
    F(host_config, enable_lxcfs, "EnableLxcfs", JSON_BOOL, OMIT),
    F(host_config, view, "View", JSON_STR, OMIT),
    F(host_config, machine_sn, "MachineSN", JSON_STR, OMIT),
    F(host_config, machine_uuid, "MachineUUID", JSON_STR, OMIT),
    S(host_config, hooks, "Hooks", JSON_OBJ_PTR, OMIT, container_hooks_json),
    F(host_config, hook_timeout, "HookTimeout", JSON_INT, OMIT),
    F(host_config, health_on_failure, "HealthOnFailure", JSON_STR, OMIT),
    JSON_END,
};
PUBLIC_TABLE(host_config);

static const struct json_field ipam_config_fields[] = {
    F(ipam_config, ipv4_address, "IPv4Address", JSON_STR, OMIT),
    F(ipam_config, ipv6_address, "IPv6Address", JSON_STR, OMIT),
    JSON_END,
};
TABLE(ipam_config);

static const struct json_field endpoint_config_fields[] = {
    S(endpoint_config, ipam_config, "IPAMConfig", JSON_OBJ, OMIT, ipam_config_json),
    F(endpoint_config, links, "Links", JSON_STRV, NUL),
    F(endpoint_config, aliases, "Aliases", JSON_STRV, NUL),
    F(endpoint_config, mac_address, "MacAddress", JSON_STR, OMIT),
    JSON_END,
};
PUBLIC_TABLE(endpoint_config);

static const struct json_field networking_config_fields[] = {
    S(networking_config, endpoints_config, "EndpointsConfig", JSON_OBJ_MAP, 0,
      endpoint_config_json),
    JSON_END,
};
PUBLIC_TABLE(networking_config);

static const struct json_field runtime_options_fields[] = {
    F(runtime_options, root, "root", JSON_STR, 0),
    JSON_END,
};
TABLE(runtime_options);

static const struct json_field runtime_config_fields[] = {
    F(runtime_config, path, "path", JSON_STR, 0),
    F(runtime_config, args, "runtimeArgs", JSON_STRV, 0),
    S(runtime_config, options, "options", JSON_OBJ, 0, runtime_options_json),
    JSON_END,
};
PUBLIC_TABLE(runtime_config);

static const struct json_field create_extra_fields[] = {
    S(create_extra, host_config, "HostConfig", JSON_OBJ, 0, host_config_json),
    S(create_extra, networking_config, "NetworkingConfig", JSON_OBJ, 0, networking_config_json),
    JSON_END,
};
PUBLIC_TABLE(create_extra);

#define U(member, name, kind)  F(container_update, set.member, name, kind, OMIT)
#define UL(member, name, type) S(container_update, set.member, name, JSON_OBJ_LIST, OMIT, type)
static const struct json_field container_update_fields[] = {
    U(cpu_shares, "CpuShares", JSON_INT),
    U(memory, "Memory", JSON_INT),
    U(nano_cpus, "NanoCpus", JSON_INT),
    U(cgroup_parent, "CgroupParent", JSON_STR),
    U(blkio_weight, "BlkioWeight", JSON_UINT),
    UL(blkio_weight_device, "BlkioWeightDevice", weight_device_json),
    UL(blkio_device_read_bps, "BlkioDeviceReadBps", throttle_device_json),
    UL(blkio_device_write_bps, "BlkioDeviceWriteBps", throttle_device_json),
    UL(blkio_device_read_iops, "BlkioDeviceReadIOps", throttle_device_json),
    UL(blkio_device_write_iops, "BlkioDeviceWriteIOps", throttle_device_json),
    U(cpu_period, "CpuPeriod", JSON_INT),
    U(cpu_quota, "CpuQuota", JSON_INT),
    U(cpu_burst, "CpuBurst", JSON_INT),
    U(cpu_realtime_period, "CpuRealtimePeriod", JSON_INT),
    U(cpu_realtime_runtime, "CpuRealtimeRuntime", JSON_INT),
    U(cpuset_cpus, "CpusetCpus", JSON_STR),
    U(cpuset_mems, "CpusetMems", JSON_STR),
    UL(devices, "Devices", device_mapping_json),
    U(kernel_memory, "KernelMemory", JSON_INT),
    U(kernel_memory_tcp, "KernelMemoryTCP", JSON_INT),
    U(memory_reservation, "MemoryReservation", JSON_INT),
    U(memory_high, "MemoryHigh", JSON_INT),
    U(memory_low, "MemoryLow", JSON_INT),
    U(memory_min, "MemoryMin", JSON_INT),
    U(memory_swap, "MemorySwap", JSON_INT),
    U(memory_swappiness, "MemorySwappiness", JSON_OPT_INT),
    U(oom_kill_disable, "OomKillDisable", JSON_OPT_BOOL),
    U(pids_limit, "PidsLimit", JSON_OPT_INT),
    UL(ulimits, "Ulimits", ulimit_json),
    S(container_update, set.restart_policy, "RestartPolicy", JSON_OBJ, OMIT, restart_policy_json),
    F(container_update, env, "Env", JSON_STRV, OMIT),
    F(container_update, env_rm, "EnvRm", JSON_STRV, OMIT),
    F(container_update, labels, "Label", JSON_STRV, OMIT),
    F(container_update, annotations, "Annotation", JSON_STRV, OMIT),
    F(container_update, disk_quota, "DiskQuota", JSON_STR_MAP, OMIT),
    F(container_update, publish_add, "PublishAdd", JSON_STRV, OMIT),
    F(container_update, publish_rm, "PublishRm", JSON_STRV, OMIT),
    F(container_update, binds_add, "BindsAdd", JSON_STRV, OMIT),
    S(container_update, mounts_add, "MountsAdd", JSON_OBJ_LIST, OMIT, volume_mount_request_json),
    F(container_update, mounts_rm, "MountsRm", JSON_STRV, OMIT),
    S(container_update, devices_add, "DevicesAdd", JSON_OBJ_LIST, OMIT, device_mapping_json),
    F(container_update, devices_rm, "DevicesRm", JSON_STRV, OMIT),
    S(container_update, networks_add, "NetworksAdd", JSON_OBJ_MAP, OMIT, endpoint_config_json),
    F(container_update, networks_rm, "NetworksRm", JSON_STRV, OMIT),
    JSON_END,
};
#undef U
#undef UL
PUBLIC_TABLE(container_update);

static const struct json_field container_upgrade_fields[] = {
    F(container_upgrade, image, "Image", JSON_STR, JSON_REQUIRED),
    F(container_upgrade, cmd, "Cmd", JSON_STRV, JSON_STR_OR_LIST),
    F(container_upgrade, entrypoint, "Entrypoint", JSON_STRV, JSON_STR_OR_LIST),
    F(container_upgrade, stop_timeout, "StopTimeout", JSON_OPT_INT, OMIT),
    F(container_upgrade, grace, "Grace", JSON_OPT_INT, OMIT),
    F(container_upgrade, health_timeout, "HealthTimeout", JSON_OPT_INT, OMIT),
    JSON_END,
};
PUBLIC_TABLE(container_upgrade);

static const struct json_field exec_config_fields[] = {
    F(exec_config, attach_stdin, "AttachStdin", JSON_BOOL, 0),
    F(exec_config, attach_stdout, "AttachStdout", JSON_BOOL, 0),
    F(exec_config, attach_stderr, "AttachStderr", JSON_BOOL, 0),
    F(exec_config, detach_keys, "DetachKeys", JSON_STR, OMIT),
    F(exec_config, tty, "Tty", JSON_BOOL, 0),
    F(exec_config, env, "Env", JSON_STRV, OMIT),
    F(exec_config, cmd, "Cmd", JSON_STRV, JSON_STR_OR_LIST),
    F(exec_config, privileged, "Privileged", JSON_BOOL, OMIT),
    F(exec_config, user, "User", JSON_STR, OMIT),
    F(exec_config, working_dir, "WorkingDir", JSON_STR, OMIT),
    F(exec_config, console_size, "ConsoleSize", JSON_RAW, OMIT),
    JSON_END,
};
PUBLIC_TABLE(exec_config);
