/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the whole request sound? Everything is checked here, before anything is made; what this
 * version does not do is refused with a reason. Defaults are filled in, as inspect shows them.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/portspec.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/foreign.h"
#include "engine/isolation.h"
#include "engine/userns.h"
#include "engine/health.h"
#include "engine/hooks.h"
#include "log/driver.h"

#define MEMORY_MIN (6LL << 20)

/* "container:NAME" → NAME, NULL for anything else. */
const char *mode_container(const char *mode)
{
    return mode && str_has_prefix(mode, "container:") && mode[10] ? mode + 10 : NULL;
}

static int unsupported(struct error *e, const char *what, const char *why)
{
    return error_set(e, ERR_INVALID, "%s is not supported by this version of Pouch: %s", what, why);
}

static int check_memory(struct host_config *hc, struct error *e)
{
    if (hc->memory && hc->memory < MEMORY_MIN)
        return error_set(e, ERR_INVALID, "Minimum memory limit allowed is 6MB");
    if (hc->memory < 0 || hc->memory_swap < -1 || hc->memory_reservation < 0)
        return error_set(e, ERR_INVALID, "memory limits must not be negative");
    if (hc->memory_swap > 0 && !hc->memory)
        return error_set(e, ERR_INVALID,
                         "You should always set the Memory limit when using Memoryswap limit, see "
                         "usage");
    if (hc->memory_swap > 0 && hc->memory_swap < hc->memory)
        return error_set(e, ERR_INVALID,
                         "Minimum memoryswap limit should be larger than memory limit, see usage");
    if (hc->memory && hc->memory_reservation > hc->memory)
        return error_set(e, ERR_INVALID,
                         "Minimum memory limit can not be less than memory reservation limit, see "
                         "usage");
    if (hc->memory_swappiness.set &&
        (hc->memory_swappiness.value < -1 || hc->memory_swappiness.value > 100))
        return error_set(e, ERR_INVALID,
                         "Invalid value: %lld, valid memory swappiness range is 0-100",
                         (long long)hc->memory_swappiness.value);
    if (hc->kernel_memory > 0 || hc->kernel_memory_tcp > 0)
        return unsupported(e, "a kernel memory limit", "the kernel dropped it (Linux 5.16)");
    if (hc->memory > 0 && hc->memory_swap == 0)
        hc->memory_swap = hc->memory > INT64_MAX / 2 ? -1 : hc->memory * 2;
    return 0;
}

static int check_cpu(const struct host_config *hc, struct error *e)
{
    long ncpu = sysconf(_SC_NPROCESSORS_ONLN);

    if (hc->nano_cpus < 0 || hc->nano_cpus > ncpu * 1000000000LL)
        return error_set(e, ERR_INVALID,
                         "Range of CPUs is from 0.01 to %ld.00, as there are only %ld CPUs "
                         "available",
                         ncpu, ncpu);
    if (hc->nano_cpus && hc->nano_cpus < 10000000)
        return error_set(e, ERR_INVALID, "Range of CPUs is from 0.01 to %ld.00", ncpu);
    if (hc->nano_cpus && hc->cpu_period)
        return error_set(e, ERR_INVALID,
                         "Conflicting options: Nano CPUs and CPU Period cannot both be set.");
    if (hc->nano_cpus && hc->cpu_quota)
        return error_set(e, ERR_INVALID,
                         "Conflicting options: Nano CPUs and CPU Quota cannot both be set.");
    if (hc->cpu_period && (hc->cpu_period < 1000 || hc->cpu_period > 1000000))
        return error_set(e, ERR_INVALID,
                         "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s "
                         "(i.e. 1000000)");
    if (hc->cpu_quota > 0 && hc->cpu_quota < 1000)
        return error_set(e, ERR_INVALID, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
    if (hc->cpu_shares < 0)
        return error_set(e, ERR_INVALID, "CPU shares must not be negative");
    if (hc->cpu_realtime_period || hc->cpu_realtime_runtime)
        return unsupported(e, "a CPU real-time limit", "use --cpus or --cpu-shares");
    if (hc->blkio_weight && (hc->blkio_weight < 10 || hc->blkio_weight > 1000))
        return error_set(e, ERR_INVALID, "Range of blkio weight is from 10 to 1000");
    if (hc->oom_score_adj < -1000 || hc->oom_score_adj > 1000)
        return error_set(e, ERR_INVALID,
                         "Invalid value %lld, range for oom score adj is [-1000, 1000]",
                         (long long)hc->oom_score_adj);
    return 0;
}

int validate_limits(struct host_config *hc, struct error *e)
{
    int r = check_memory(hc, e);

    return r < 0 ? r : check_cpu(hc, e);
}

int validate_restart(struct host_config *hc, struct error *e)
{
    static const char *const names[] = {"no", "always", "unless-stopped", "on-failure", NULL};
    struct restart_policy *p = &hc->restart_policy;

    if (str_is_empty(p->name))
        str_replace(&p->name, "no");
    if (!strv_contains((char *const *)names, p->name))
        return error_set(e, ERR_INVALID,
                         "invalid restart policy: unknown policy '%s'; use one of 'no', 'always', "
                         "'on-failure', or 'unless-stopped'",
                         p->name);
    if (p->maximum_retry_count && !STREQ(p->name, "on-failure"))
        return error_set(e, ERR_INVALID,
                         "invalid restart policy: maximum retry count can only be used with "
                         "'on-failure'");
    if (p->maximum_retry_count < 0)
        return error_set(e, ERR_INVALID,
                         "invalid restart policy: maximum retry count cannot be negative");
    if (hc->auto_remove && !STREQ(p->name, "no"))
        return error_set(e, ERR_INVALID, "can't create 'AutoRemove' container with restart policy");
    return 0;
}

/* The container that "container:x" names must be there; it must run only at the start. */
static int check_other(struct engine *en, const char *mode, struct error *e)
{
    AUTOPTR(container) struct container *other = NULL;
    const char *ref = mode_container(mode);

    return ref ? container_find(en, ref, &other, e) : 0;
}

static int check_one_mode(struct engine *en, const char *what, const char *mode,
                          const char *const *allowed, struct error *e)
{
    if (str_is_empty(mode) || strv_contains((char *const *)allowed, mode))
        return 0;
    if (mode_container(mode) && strv_contains((char *const *)allowed, "container:"))
        return check_other(en, mode, e);
    return error_set(e, ERR_INVALID, "invalid %s mode: %s", what, mode);
}

static int check_modes(struct engine *en, struct container_config *config, struct host_config *hc,
                       struct error *e)
{
    static const char *const net[] = {"default", "bridge", "none", "host", "container:", NULL};
    static const char *const pid[] = {"host", "container:", "private", NULL};
    static const char *const ipc[] = {"none", "private", "shareable", "host", "container:", NULL};
    static const char *const uts[] = {"host", NULL};
    static const char *const cgroupns[] = {"private", "host", NULL};
    int r;

    if (str_is_empty(hc->network_mode) || config->network_disabled)
        str_replace(&hc->network_mode, config->network_disabled ? "none" : "default");
    if (str_is_empty(hc->ipc_mode))
        str_replace(&hc->ipc_mode, "private");
    if (str_is_empty(hc->cgroupns_mode))
        str_replace(&hc->cgroupns_mode, hc->privileged ? "host" : "private");
    r = check_one_mode(en, "IPC", hc->ipc_mode, ipc, e);
    if (r == 0)
        r = check_one_mode(en, "PID", hc->pid_mode, pid, e);
    if (r == 0)
        r = check_one_mode(en, "UTS", hc->uts_mode, uts, e);
    if (r == 0)
        r = check_one_mode(en, "cgroup namespace", hc->cgroupns_mode, cgroupns, e);
    if (r < 0)
        return r;
    if (!strv_contains((char *const *)net, hc->network_mode) && !mode_container(hc->network_mode))
        return error_set(e, ERR_NOT_FOUND,
                         "network %s not found (this version of Pouch has bridge, host, none and "
                         "container:NAME)",
                         hc->network_mode);
    if (mode_container(hc->network_mode) && hc->port_bindings.len)
        return error_set(
            e, ERR_INVALID,
            "conflicting options: port publishing and the container type network mode");
    if (mode_container(hc->network_mode) && !str_is_empty(config->hostname))
        return error_set(e, ERR_INVALID, "conflicting options: hostname and the network mode");
    if (hc->uts_mode && STREQ(hc->uts_mode, "host") && !str_is_empty(config->hostname))
        return error_set(e, ERR_INVALID, "conflicting options: hostname and the UTS mode");
    return check_other(en, hc->network_mode, e);
}

static int check_unsupported(const struct container_config *config, const struct host_config *hc,
                             char ***warnings, struct error *e)
{
    if (strv_len(hc->links))
        return unsupported(e, "--link", "use the other container's address or a published port");
    if (!str_is_empty(hc->isolation) && !STREQ(hc->isolation, "default"))
        return error_set(e, ERR_INVALID, "invalid isolation '%s' on linux", hc->isolation);
    if (hc->device_requests && !STREQ(hc->device_requests, "null") &&
        !STREQ(hc->device_requests, "[]"))
        return unsupported(e, "--gpus and device requests", "pass device nodes with --device");
    if (!str_is_empty(hc->volume_driver) && !STREQ(hc->volume_driver, "local"))
        return error_set(e, ERR_INVALID, "volume driver %s: only \"local\" is there",
                         hc->volume_driver);
    if (hc->cgroup && *hc->cgroup)
        return error_set(e, ERR_INVALID, "invalid cgroup specification: %s", hc->cgroup);
    (void)warnings;
    return 0;
}

static int check_ports(const struct container_config *config, const struct host_config *hc,
                       struct error *e)
{
    const struct json_named_list *named = hc->port_bindings.items;
    uint16_t port;
    uint16_t last;
    enum port_proto proto;
    int r = 0;

    for (size_t i = 0; config->exposed_ports && config->exposed_ports[i]; i++) {
        r = portspec_parse_port(config->exposed_ports[i], &port, &proto, e);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; r == 0 && i < hc->port_bindings.len; i++) {
        const struct port_binding *b = named[i].list.items;

        r = portspec_parse_port(named[i].key, &port, &proto, e);
        for (size_t j = 0; r == 0 && j < named[i].list.len; j++)
            r = portspec_parse_host_port(b[j].host_port ? b[j].host_port : "", &port, &last, e);
    }
    return r;
}

static int check_ulimits(const struct host_config *hc, struct error *e)
{
    static const char *const names[] = {"core",   "cpu",        "data",     "fsize",
                                        "locks",  "memlock",    "msgqueue", "nice",
                                        "nofile", "nproc",      "rss",      "rtprio",
                                        "rttime", "sigpending", "stack",    NULL};
    const struct ulimit *u = hc->ulimits.items;

    for (size_t i = 0; i < hc->ulimits.len; i++) {
        if (!strv_contains((char *const *)names, u[i].name))
            return error_set(e, ERR_INVALID, "invalid ulimit type: %s", u[i].name);
        if (u[i].hard != -1 && (u[i].soft > u[i].hard || u[i].soft == -1))
            return error_set(e, ERR_INVALID,
                             "ulimit soft limit must be less than or equal to hard limit: %lld > "
                             "%lld",
                             (long long)u[i].soft, (long long)u[i].hard);
    }
    return 0;
}

static int check_config(const struct container_config *config, struct error *e)
{
    int sig;

    if (!str_is_empty(config->working_dir) && config->working_dir[0] != '/')
        return error_set(e, ERR_INVALID,
                         "the working directory '%s' is invalid, it needs to be an absolute path",
                         config->working_dir);
    if (!str_is_empty(config->stop_signal) && signal_parse(config->stop_signal, &sig) < 0)
        return error_set(e, ERR_INVALID, "Invalid signal: %s", config->stop_signal);
    for (size_t i = 0; config->env && config->env[i]; i++)
        if (!*config->env[i] || config->env[i][0] == '=')
            return error_set(e, ERR_INVALID, "invalid environment variable: %s", config->env[i]);
    if (config->hostname && strlen(config->hostname) > 64)
        return error_set(e, ERR_INVALID, "invalid hostname: %s (at most 64 characters)",
                         config->hostname);
    return 0;
}

int validate_devices(const struct host_config *hc, struct error *e)
{
    const struct device_mapping *m = hc->devices.items;

    for (size_t i = 0; i < hc->devices.len; i++) {
        struct stat st;

        if (stat(m[i].path_on_host, &st) < 0)
            return error_set(e, ERR_INVALID,
                             "error gathering device information while adding custom device "
                             "\"%s\": %s",
                             m[i].path_on_host, strerror(errno));
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
            return error_set(e, ERR_INVALID,
                             "error gathering device information while adding custom device "
                             "\"%s\": not a device node",
                             m[i].path_on_host);
    }
    return 0;
}

static int check_log(struct engine *en, struct host_config *hc, struct error *e)
{
    struct log_options options;

    if (str_is_empty(hc->log_config.type)) {
        str_replace(&hc->log_config.type, en->default_log_driver);
        for (size_t i = 0; i < en->log_opts.len; i++)
            if (!json_map_get(&hc->log_config.config, en->log_opts.items[i].key))
                json_map_set(&hc->log_config.config, en->log_opts.items[i].key,
                             en->log_opts.items[i].value);
    }
    return log_driver_options(hc->log_config.type, &hc->log_config.config, &options, e);
}

static int check_sysctls(const struct host_config *hc, struct error *e)
{
    static const char *const names[] = {"kernel.msgmax", "kernel.msgmnb",          "kernel.msgmni",
                                        "kernel.sem",    "kernel.shmall",          "kernel.shmmax",
                                        "kernel.shmmni", "kernel.shm_rmid_forced", NULL};

    for (size_t i = 0; i < hc->sysctls.len; i++) {
        const char *key = hc->sysctls.items[i].key;
        bool net = str_has_prefix(key, "net.");

        if (net && STREQ(hc->network_mode, "host"))
            return error_set(e, ERR_INVALID, "sysctl \"%s\" not allowed in host network namespace",
                             key);
        if (!net && STREQ(hc->ipc_mode, "host") &&
            (str_has_prefix(key, "fs.mqueue.") || strv_contains((char *const *)names, key)))
            return error_set(e, ERR_INVALID, "sysctl \"%s\" not allowed in host IPC namespace",
                             key);
        if (!net && !str_has_prefix(key, "fs.mqueue.") && !strv_contains((char *const *)names, key))
            return error_set(e, ERR_INVALID,
                             "sysctl \"%s\" is not in a separate kernel namespace: a container can "
                             "have its own net.*, kernel.msg*, kernel.sem, kernel.shm* and "
                             "fs.mqueue.*; others are the host's, and are set there",
                             key);
    }
    return 0;
}

/* A folder of the cgroup tree; Docker's users end it with a slash now and then. */
static int check_cgroup(struct host_config *hc, struct error *e)
{
    char *parent = hc->cgroup_parent;
    AUTOPTR(strv) char **parts = NULL;
    bool sane = true;
    size_t len;
    int r = spec_check_device_rules(hc, e);

    if (r < 0 || str_is_empty(parent))
        return r;
    for (len = strlen(parent); len > 1 && parent[len - 1] == '/'; len--)
        parent[len - 1] = '\0';
    parts = strv_split(parent[0] == '/' ? parent + 1 : parent, "/", false);
    for (size_t i = 0; parts && parts[i]; i++)
        sane = sane && *parts[i] && !STREQ(parts[i], ".") && !STREQ(parts[i], "..");
    if (!sane || STREQ(parent, "/") || strchr(parent, '\n'))
        return error_set(e, ERR_INVALID,
                         "invalid cgroup parent \"%s\": want a group below the root of the cgroup "
                         "tree, without . and .., as in /tenants/a",
                         parent);
    return 0;
}

int validate_create(struct engine *en, struct container_config *config, struct host_config *hc,
                    char ***warnings, struct error *e)
{
    struct spec_security sec;
    AUTOPTR(strv) char **caps = NULL;
    int r = check_config(config, e);

    if (str_is_empty(hc->runtime))
        str_replace(&hc->runtime, en->default_runtime);
    if (hc->shm_size == 0)
        hc->shm_size = 64 << 20;
    if (hc->shm_size < 0)
        r = error_set(e, ERR_INVALID, "SHM size can not be less than 0");
    if (r == 0)
        r = rich_validate(config, hc, false, e);
    if (r == 0)
        r = check_unsupported(config, hc, warnings, e);
    if (r == 0)
        r = validate_limits(hc, e);
    if (r == 0)
        r = validate_restart(hc, e);
    if (r == 0)
        r = hooks_validate(config, hc, e);
    if (r == 0)
        r = health_validate(config, hc, e);
    if (r == 0)
        r = check_modes(en, config, hc, e);
    if (r == 0)
        r = userns_check(en, hc, e);
    if (r == 0)
        r = isolation_check(config, hc, warnings, e);
    if (r == 0)
        r = check_ports(config, hc, e);
    if (r == 0)
        r = check_ulimits(hc, e);
    if (r == 0)
        r = check_sysctls(hc, e);
    if (r == 0)
        r = validate_devices(hc, e);
    if (r == 0)
        r = check_cgroup(hc, e);
    if (r == 0)
        r = view_validate(en, hc, e);
    if (r == 0)
        r = identity_validate(hc, e);
    if (r == 0)
        r = check_log(en, hc, e);
    if (r == 0)
        r = quota_validate(config, hc, e);
    if (r == 0)
        r = spec_security(en, hc, &sec, e);
    if (r == 0)
        r = spec_capabilities(hc, &caps, e);
    return r == 0 ? foreign_validate(en, hc, e) : r;
}
