/* SPDX-License-Identifier: Apache-2.0 */
/* `update`: changes of a container, also while it runs. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/create.h"
#include "cli/image.h"

struct update_options {
    struct opt_int memory, memory_swap, memory_reservation, memory_swappiness;
    struct opt_int memory_high, memory_low, memory_min, cpu_burst;
    struct opt_int cpus, cpu_shares, cpu_period, cpu_quota, cpu_rt_period, cpu_rt_runtime;
    char *cpuset_cpus, *cpuset_mems, *restart;
    struct opt_int pids_limit, blkio_weight;
    char **blkio_weight_device, **read_bps, **write_bps, **read_iops, **write_iops;
    char **disk_quota;
    char **env, **env_file, **env_rm, **labels, **annotations;
    char **publish_add, **publish_rm, **volumes_add, **mounts_add, **mounts_rm;
    char **devices_add, **devices_rm;
};

#define UO struct update_options
static const struct option_def update_option_table[] = {
    OPT(UO, memory, "memory", 'm', OPTION_SIZE, NULL, "Memory limit (-1: none)"),
    OPT(UO, memory_swap, "memory-swap", 0, OPTION_SIZE, NULL,
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
    OPT(UO, memory_reservation, "memory-reservation", 0, OPTION_SIZE, NULL,
        "Memory soft limit (-1: none)"),
    OPT(UO, memory_high, "memory-high", 0, OPTION_SIZE, NULL,
        "Memory beyond which the container is slowed down (cgroup v2; -1: none)"),
    OPT(UO, memory_low, "memory-low", 0, OPTION_SIZE, NULL,
        "Memory that is taken away only when others have none left (cgroup v2; -1: none)"),
    OPT(UO, memory_min, "memory-min", 0, OPTION_SIZE, NULL,
        "Memory that is never taken away (cgroup v2; -1: none)"),
    OPT(UO, memory_swappiness, "memory-swappiness", 0, OPTION_INT, NULL,
        "Tune container memory swappiness (0 to 100)"),
    OPT(UO, cpus, "cpus", 0, OPTION_CPUS, NULL, "Number of CPUs"),
    OPT(UO, cpu_shares, "cpu-shares", 'c', OPTION_INT, NULL, "CPU shares (relative weight)"),
    OPT(UO, cpu_period, "cpu-period", 0, OPTION_INT, NULL,
        "Limit CPU CFS (Completely Fair Scheduler) period"),
    OPT(UO, cpu_quota, "cpu-quota", 0, OPTION_INT, NULL,
        "Limit CPU CFS (Completely Fair Scheduler) quota (-1: none)"),
    OPT(UO, cpu_burst, "cpu-burst", 0, OPTION_INT, NULL,
        "Microseconds of unused CPU quota that may be used later (-1: none)"),
    OPT(UO, cpu_rt_period, "cpu-rt-period", 0, OPTION_INT, NULL,
        "Limit the CPU real-time period in microseconds"),
    OPT(UO, cpu_rt_runtime, "cpu-rt-runtime", 0, OPTION_INT, NULL,
        "Limit the CPU real-time runtime in microseconds"),
    OPT(UO, cpuset_cpus, "cpuset-cpus", 0, OPTION_STR, NULL,
        "CPUs in which to allow execution (0-3, 0,1)"),
    OPT(UO, cpuset_mems, "cpuset-mems", 0, OPTION_STR, NULL,
        "MEMs in which to allow execution (0-3, 0,1)"),
    OPT(UO, pids_limit, "pids-limit", 0, OPTION_INT, NULL,
        "Tune container pids limit (set -1 for unlimited)"),
    OPT(UO, blkio_weight, "blkio-weight", 0, OPTION_INT, "uint16",
        "Block IO (relative weight), between 10 and 1000"),
    OPT(UO, blkio_weight_device, "blkio-weight-device", 0, OPTION_LIST, NULL,
        "Block IO weight (relative device weight)"),
    OPT(UO, read_bps, "device-read-bps", 0, OPTION_LIST, NULL,
        "Limit read rate (bytes per second) from a device (0: none)"),
    OPT(UO, read_iops, "device-read-iops", 0, OPTION_LIST, NULL,
        "Limit read rate (IO per second) from a device (0: none)"),
    OPT(UO, write_bps, "device-write-bps", 0, OPTION_LIST, NULL,
        "Limit write rate (bytes per second) to a device (0: none)"),
    OPT(UO, write_iops, "device-write-iops", 0, OPTION_LIST, NULL,
        "Limit write rate (IO per second) to a device (0: none)"),
    OPT_REFUSED("kernel-memory", OPTION_STR,
                "the kernel's memory is counted within --memory; Linux has no limit of its own for "
                "it any more"),
    OPT(UO, restart, "restart", 0, OPTION_STR, NULL,
        "Restart policy to apply when a container exits",
        .words = "no always unless-stopped on-failure"),
    OPT(UO, disk_quota, "disk-quota", 0, OPTION_LIST, NULL,
        "Change disk limits: the rule as at create with another size (0: none)"),
    OPT(UO, env, "env", 'e', OPTION_LIST, NULL, "Set environment variables"),
    OPT(UO, env_file, "env-file", 0, OPTION_LIST, NULL, "Read in a file of environment variables",
        .complete = COMPLETE_FILE),
    OPT(UO, env_rm, "env-rm", 0, OPTION_LIST, NULL, "Remove environment variables"),
    OPT(UO, labels, "label", 'l', OPTION_LIST, NULL, "Set meta data (NAME= removes it)"),
    OPT(UO, annotations, "annotation", 0, OPTION_LIST, NULL, "Set annotations (NAME= removes it)"),
    OPT(UO, publish_add, "publish-add", 0, OPTION_LIST, NULL, "Publish a further port, as -p does"),
    OPT(UO, publish_rm, "publish-rm", 0, OPTION_LIST, NULL,
        "Withdraw a published port (PORT[/PROTO] of the container: all of it; as -p: that one)"),
    OPT(UO, volumes_add, "volume-add", 0, OPTION_LIST, NULL,
        "Mount a volume or a folder of the host, as -v does", .complete = COMPLETE_DIR),
    OPT(UO, mounts_add, "mount-add", 0, OPTION_LIST, "mount", "Mount, as --mount does"),
    OPT(UO, mounts_rm, "mount-rm", 0, OPTION_LIST, "target",
        "Unmount what --volume, --mount or their -add mounted there"),
    OPT(UO, devices_add, "device-add", 0, OPTION_LIST, NULL, "Add a host device, as --device does",
        .complete = COMPLETE_FILE),
    OPT(UO, devices_rm, "device-rm", 0, OPTION_LIST, "path",
        "Take a device away (its path in the container)"),
    OPT_END,
};

static void put_int(struct jsonw *w, const char *key, struct opt_int v)
{
    if (v.set)
        jsonw_int(w, key, v.value);
}

static void put_list(struct jsonw *w, const char *key, char *const *list)
{
    if (list && *list)
        jsonw_strv(w, key, list);
}

static int put_rates(struct jsonw *w, const char *key, const char *flag, char *const *list,
                     struct error *e)
{
    int r = 0;

    if (!list || !*list)
        return 0;
    jsonw_list_begin(w, key);
    for (char *const *l = list; *l && r == 0; l++)
        r = flag ? create_rate(w, flag, *l, str_has_suffix(flag, "bps"), e)
                 : create_weight(w, *l, e);
    jsonw_list_end(w);
    return r;
}

static void put_limits(struct jsonw *w, const struct update_options *o)
{
    put_int(w, "Memory", o->memory);
    put_int(w, "MemorySwap", o->memory_swap);
    put_int(w, "MemoryReservation", o->memory_reservation);
    put_int(w, "MemorySwappiness", o->memory_swappiness);
    put_int(w, "MemoryHigh", o->memory_high);
    put_int(w, "MemoryLow", o->memory_low);
    put_int(w, "MemoryMin", o->memory_min);
    put_int(w, "CpuBurst", o->cpu_burst);
    put_int(w, "NanoCpus", o->cpus);
    put_int(w, "CpuShares", o->cpu_shares);
    put_int(w, "CpuPeriod", o->cpu_period);
    put_int(w, "CpuQuota", o->cpu_quota);
    put_int(w, "CpuRealtimePeriod", o->cpu_rt_period);
    put_int(w, "CpuRealtimeRuntime", o->cpu_rt_runtime);
    if (o->cpuset_cpus)
        jsonw_str(w, "CpusetCpus", o->cpuset_cpus);
    if (o->cpuset_mems)
        jsonw_str(w, "CpusetMems", o->cpuset_mems);
    put_int(w, "PidsLimit", o->pids_limit);
    put_int(w, "BlkioWeight", o->blkio_weight);
}

static int put_each(struct jsonw *w, const char *key, char *const *list,
                    int (*one)(struct jsonw *w, const char *text, struct error *e), struct error *e)
{
    int r = 0;

    if (!list || !*list)
        return 0;
    jsonw_list_begin(w, key);
    for (char *const *l = list; *l && r == 0; l++)
        r = one(w, *l, e);
    jsonw_list_end(w);
    return r;
}

/* Ports, mounts, devices that come and go. */
static int put_live(struct jsonw *w, const struct update_options *o, struct error *e)
{
    AUTOPTR(strv) char **binds = NULL;
    int r = 0;

    for (char **v = o->volumes_add; r == 0 && v && *v; v++) {
        char *bind = NULL, *target = NULL;

        r = create_bind(*v, &bind, &target, e);
        if (bind)
            strv_push_take(&binds, bind);
        if (target)
            strv_push_take(&binds, target);
    }
    put_list(w, "PublishAdd", o->publish_add);
    put_list(w, "PublishRm", o->publish_rm);
    put_list(w, "BindsAdd", binds);
    put_list(w, "MountsRm", o->mounts_rm);
    put_list(w, "DevicesRm", o->devices_rm);
    if (r == 0)
        r = put_each(w, "MountsAdd", o->mounts_add, create_mount, e);
    if (r == 0)
        r = put_each(w, "DevicesAdd", o->devices_add, create_device, e);
    return r;
}

static int update_body(const struct update_options *o, struct buf *out, struct error *e)
{
    struct jsonw w = {.out = out};
    AUTOPTR(strv) char **env = NULL;
    int r = 0;

    for (char **f = o->env_file; r == 0 && f && *f; f++)
        r = env_file_read(*f, &env, e);
    for (char **v = o->env; r == 0 && v && *v; v++)
        r = env_add(&env, *v, e);
    if (r < 0)
        return r;
    jsonw_begin(&w, NULL);
    put_limits(&w, o);
    r = put_rates(&w, "BlkioWeightDevice", NULL, o->blkio_weight_device, e);
    if (r == 0)
        r = put_rates(&w, "BlkioDeviceReadBps", "device-read-bps", o->read_bps, e);
    if (r == 0)
        r = put_rates(&w, "BlkioDeviceWriteBps", "device-write-bps", o->write_bps, e);
    if (r == 0)
        r = put_rates(&w, "BlkioDeviceReadIOps", "device-read-iops", o->read_iops, e);
    if (r == 0)
        r = put_rates(&w, "BlkioDeviceWriteIOps", "device-write-iops", o->write_iops, e);
    if (r == 0 && o->restart)
        r = create_restart(&w, o->restart, e);
    if (r == 0)
        r = create_disk_quota(&w, o->disk_quota, NULL, e);
    put_list(&w, "Env", env);
    put_list(&w, "EnvRm", o->env_rm);
    put_list(&w, "Label", o->labels);
    put_list(&w, "Annotation", o->annotations);
    if (r == 0)
        r = put_live(&w, o, e);
    jsonw_end(&w);
    if (r == 0 && STREQ(buf_str(out), "{}"))
        return error_set(e, ERR_INVALID,
                         "You must provide one or more flags when using this command.");
    return r;
}

static int update_one(struct cli *cli, const char *name, void *data, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf out = BUF_INIT(1 << 20);
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r;

    url_set(&u, "/containers/", name, "/update");
    r = api_call(cli, "POST", &u, data, &out, e);
    if (r >= 0)
        r = json_value_parse(buf_str(&out), out.len, &v, e);
    if (r < 0)
        return r;
    cli_show_warnings(v);
    out_printf("%s\n", name);
    return 0;
}

static int run_update(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    AUTO(error) struct error e = ERROR_INIT;

    if (update_body(options, &body, &e) < 0)
        return cli_fail(&e);
    return cli_for_each(cli, args, update_one, (void *)(uintptr_t)buf_str(&body));
}

/* --- network connect, disconnect ---------------------------------------------------------- */

struct connect_options {
    char *ip, *ip6, *mac;
};
static const struct option_def connect_option_table[] = {
    OPT(struct connect_options, ip, "ip", 0, OPTION_STR, NULL, "IPv4 address"),
    OPT(struct connect_options, ip6, "ip6", 0, OPTION_STR, NULL, "IPv6 address"),
    OPT(struct connect_options, mac, "mac-address", 0, OPTION_STR, NULL, "MAC address"),
    OPT_REFUSED("alias", OPTION_LIST, "the bridge network has no name service for aliases"),
    OPT_REFUSED("link", OPTION_LIST, "links between containers are a legacy of Docker"),
    OPT_END,
};

static int call_network(struct cli *cli, const char *network, const char *verb,
                        const struct buf *body)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;

    url_set(&u, "/networks/", network, verb);
    return api_call(cli, "POST", &u, buf_str(body), NULL, &e) < 0 ? cli_fail(&e) : 0;
}

static int run_connect(struct cli *cli, void *options, char **args, size_t n)
{
    const struct connect_options *o = options;
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {.out = &body};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Container", args[1]);
    jsonw_begin(&w, "EndpointConfig");
    if (o->ip || o->ip6) {
        jsonw_begin(&w, "IPAMConfig");
        jsonw_str(&w, "IPv4Address", o->ip);
        jsonw_str(&w, "IPv6Address", o->ip6);
        jsonw_end(&w);
    }
    if (o->mac)
        jsonw_str(&w, "MacAddress", o->mac);
    jsonw_end(&w);
    jsonw_end(&w);
    return call_network(cli, args[0], "/connect", &body);
}

struct disconnect_options {
    bool force;
};
static const struct option_def disconnect_option_table[] = {
    OPT(struct disconnect_options, force, "force", 'f', OPTION_BOOL, NULL,
        "No error when the container is not connected"),
    OPT_END,
};

static int run_disconnect(struct cli *cli, void *options, char **args, size_t n)
{
    const struct disconnect_options *o = options;
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {.out = &body};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Container", args[1]);
    jsonw_bool(&w, "Force", o->force);
    jsonw_end(&w);
    return call_network(cli, args[0], "/disconnect", &body);
}

const struct command command_network_connect = {
    .name = "connect",
    .args = "NETWORK CONTAINER",
    .summary = "Connect a container to a network, also while it runs",
    .options = connect_option_table,
    .options_size = sizeof(struct connect_options),
    .args_min = 2,
    .args_max = 2,
    .run = run_connect,
};
const struct command command_network_disconnect = {
    .name = "disconnect",
    .args = "NETWORK CONTAINER",
    .summary = "Disconnect a container from a network, also while it runs",
    .options = disconnect_option_table,
    .options_size = sizeof(struct disconnect_options),
    .args_min = 2,
    .args_max = 2,
    .run = run_disconnect,
};

/* --- upgrade ------------------------------------------------------------------------------- */

struct upgrade_options {
    char *image, *entrypoint;
    struct opt_int stop_timeout, grace, health_timeout;
    char *pull;
    bool quiet;
};
#define PO struct upgrade_options
static const struct option_def upgrade_option_table[] = {
    OPT(PO, image, "image", 0, OPTION_STR, NULL, "The image to change to",
        .complete = COMPLETE_IMAGE),
    OPT(PO, entrypoint, "entrypoint", 0, OPTION_STR, NULL,
        "Overwrite the entrypoint (the command is then that of the command line)"),
    OPT(PO, stop_timeout, "time", 't', OPTION_INT, NULL,
        "Seconds to wait before killing the running container"),
    OPT(PO, grace, "grace", 0, OPTION_INT, NULL,
        "Seconds the new container must stay up when it has no health check (default 3)"),
    OPT(PO, health_timeout, "health-timeout", 0, OPTION_INT, NULL,
        "Seconds until the new container must be healthy (default: by its health check)"),
    OPT(PO, pull, "pull", 0, OPTION_STR, NULL,
        "Pull the image before the upgrade (always, missing, never)", .initial = "missing",
        .words = "always missing never"),
    OPT(PO, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Suppress the pull output"),
    OPT_END,
};

static int post_upgrade(struct cli *cli, const char *name, const char *body, struct buf *out,
                        struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/containers/", name, "/upgrade");
    return api_call(cli, "POST", &u, body, out, e);
}

static void upgrade_body(const struct upgrade_options *o, char *const *command, struct buf *out)
{
    struct jsonw w = {.out = out};
    char *entrypoint[] = {o->entrypoint, NULL};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Image", o->image);
    put_list(&w, "Cmd", command);
    if (o->entrypoint)
        jsonw_strv(&w, "Entrypoint", entrypoint);
    put_int(&w, "StopTimeout", o->stop_timeout);
    put_int(&w, "Grace", o->grace);
    put_int(&w, "HealthTimeout", o->health_timeout);
    jsonw_end(&w);
}

static int upgrade(struct cli *cli, const struct upgrade_options *o, char **args, struct error *e)
{
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf out = BUF_INIT(1 << 20);
    AUTO(error) struct error missing = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r = 0;

    if (str_is_empty(o->image))
        return error_set(e, ERR_INVALID, "--image is missing: which image shall %s have?", args[0]);
    if (!STREQ(o->pull, "always") && !STREQ(o->pull, "missing") && !STREQ(o->pull, "never"))
        return error_set(e, ERR_INVALID,
                         "invalid pull option: '%s': must be one of \"always\", \"missing\" or "
                         "\"never\"",
                         o->pull);
    upgrade_body(o, args + 1, &body);
    if (STREQ(o->pull, "always"))
        r = image_pull(cli, o->image, NULL, o->quiet, STDERR_FILENO, e);
    if (r < 0)
        return r;
    r = post_upgrade(cli, args[0], buf_str(&body), &out, &missing);
    if (r < 0 && STREQ(o->pull, "missing") && missing.code == ERR_NOT_FOUND &&
        strcasestr(error_message(&missing), "no such image")) {
        err_printf("Unable to find image '%s' locally\n", o->image);
        r = image_pull(cli, o->image, NULL, o->quiet, STDERR_FILENO, e);
        if (r == 0)
            r = post_upgrade(cli, args[0], buf_str(&body), &out, e);
    } else {
        error_move(e, &missing);
    }
    if (r >= 0)
        r = json_value_parse(buf_str(&out), out.len, &v, e);
    if (r < 0)
        return r;
    cli_show_warnings(v);
    out_printf("%s\n", args[0]);
    return 0;
}

static int run_upgrade(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(error) struct error e = ERROR_INIT;

    return upgrade(cli, options, args, &e) < 0 ? cli_fail(&e) : 0;
}

const struct command command_upgrade = {
    .name = "upgrade",
    .args = "CONTAINER [COMMAND] [ARG...]",
    .summary = "Change a container's image; it keeps everything else",
    .options = upgrade_option_table,
    .options_size = sizeof(struct upgrade_options),
    .args_min = 1,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG,
    .complete = COMPLETE_CONTAINER,
    .run = run_upgrade,
};

#define UPDATE_COMMAND                                                                             \
    .name = "update", .args = "CONTAINER [CONTAINER...]",                                          \
    .summary = "Change containers, also while they run", .options = update_option_table,           \
    .options_size = sizeof(struct update_options), .args_min = 1, .args_max = -1,                  \
    .complete = COMPLETE_CONTAINER, .run = run_update
const struct command command_update = {UPDATE_COMMAND};
