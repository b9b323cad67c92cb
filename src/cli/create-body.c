/* SPDX-License-Identifier: Apache-2.0 */
/* The body of POST /containers/create from the options: docs/internals/cli.md, "create". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/portspec.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/create.h"
#include "cli/stream.h"

int create_attach_set(const struct create_options *o, struct attach_set *ret, struct error *e)
{
    struct attach_set set = {.in = o->interactive};

    if (o->detach && o->attach)
        return error_set(e, ERR_INVALID, "Conflicting options: -a and -d");
    for (char **a = o->attach; a && *a; a++) {
        if (!strcasecmp(*a, "stdin"))
            set.in = true;
        else if (!strcasecmp(*a, "stdout"))
            set.out = true;
        else if (!strcasecmp(*a, "stderr"))
            set.err = true;
        else
            return error_set(e, ERR_INVALID,
                             "invalid argument \"%s\" for \"-a, --attach\" flag: "
                             "valid streams are STDIN, STDOUT and STDERR",
                             *a);
    }
    if (!o->attach)
        set.out = set.err = true;
    if (o->detach)
        set = (struct attach_set){false, false, false};
    *ret = set;
    return 0;
}

static void put_str(struct jsonw *w, const char *key, const char *value)
{
    if (value && *value)
        jsonw_str(w, key, value);
}

static void put_int(struct jsonw *w, const char *key, struct opt_int value)
{
    if (value.set)
        jsonw_int(w, key, value.value);
}

static void put_true(struct jsonw *w, const char *key, bool value)
{
    if (value)
        jsonw_bool(w, key, true);
}

static void put_list(struct jsonw *w, const char *key, char *const *list)
{
    if (list && *list)
        jsonw_strv(w, key, list);
}

/* KEY=VALUE texts as an object. */
static int put_map(struct jsonw *w, const char *key, char *const *list, const char *flag,
                   bool need_value, struct error *e)
{
    struct json_map map = {0};
    int r = 0;

    for (char *const *l = list; l && *l && r == 0; l++) {
        size_t len = strcspn(*l, "=");
        AUTOFREE char *name = xstrndup(*l, len);

        if (!len || (need_value && !(*l)[len]))
            r = error_set(e, ERR_INVALID,
                          "invalid argument \"%s\" for \"--%s\" flag: want KEY=VALUE", *l, flag);
        else
            json_map_set(&map, name, (*l)[len] ? *l + len + 1 : "");
    }
    if (r == 0 && map.len)
        jsonw_map(w, key, &map);
    json_map_done(&map);
    return r;
}

/* A list whose entries a function writes. */
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

static int put_rates(struct jsonw *w, const char *key, const char *flag, char *const *list,
                     bool bytes, struct error *e)
{
    int r = 0;

    if (!list || !*list)
        return 0;
    jsonw_list_begin(w, key);
    for (char *const *l = list; *l && r == 0; l++)
        r = create_rate(w, flag, *l, bytes, e);
    jsonw_list_end(w);
    return r;
}

/* --- Config ------------------------------------------------------------------------------ */

static int put_env(struct jsonw *w, const struct create_options *o, struct error *e)
{
    AUTOPTR(strv) char **env = NULL;
    int r = 0;

    for (char **f = o->env_file; f && *f && r == 0; f++)
        r = env_file_read(*f, &env, e);
    for (char **v = o->env; v && *v && r == 0; v++)
        r = env_add(&env, *v, e);
    if (r == 0)
        put_list(w, "Env", env);
    return r;
}

static int put_labels(struct jsonw *w, const struct create_options *o, struct error *e)
{
    AUTOPTR(strv) char **labels = NULL;
    int r = 0;

    for (char **f = o->label_file; f && *f && r == 0; f++)
        r = env_file_read(*f, &labels, e);
    for (char **l = o->labels; r == 0 && l && *l; l++)
        strv_push(&labels, *l);
    return r < 0 ? r : put_map(w, "Labels", labels, "label", false, e);
}

static int put_health(struct jsonw *w, const struct create_options *o, struct error *e)
{
    bool timing = o->health_interval.set || o->health_timeout.set || o->health_start_period.set ||
                  o->health_start_interval.set || o->health_retries.set;

    if (o->no_healthcheck && (o->health_cmd || timing))
        return error_set(e, ERR_INVALID, "--no-healthcheck conflicts with --health-* options");
    if (!o->no_healthcheck && !o->health_cmd && !timing)
        return 0;
    jsonw_begin(w, "Healthcheck");
    if (o->no_healthcheck) {
        jsonw_list_begin(w, "Test");
        jsonw_str(w, NULL, "NONE");
        jsonw_list_end(w);
    } else if (o->health_cmd) {
        jsonw_list_begin(w, "Test");
        jsonw_str(w, NULL, "CMD-SHELL");
        jsonw_str(w, NULL, o->health_cmd);
        jsonw_list_end(w);
    }
    put_int(w, "Interval", o->health_interval);
    put_int(w, "Timeout", o->health_timeout);
    put_int(w, "StartPeriod", o->health_start_period);
    put_int(w, "StartInterval", o->health_start_interval);
    put_int(w, "Retries", o->health_retries);
    jsonw_end(w);
    return 0;
}

/* Everything that -p and --expose name; publishing also exposes. */
static int read_ports(const struct create_options *o, struct port_specs *published,
                      struct port_specs *all, struct error *e)
{
    int r = 0;

    for (char **p = o->publish; p && *p && r == 0; p++) {
        r = portspec_parse(*p, published, e);
        if (r == 0)
            r = portspec_parse(*p, all, e);
    }
    for (char **p = o->expose; p && *p && r == 0; p++)
        r = portspec_parse_expose(*p, all, e);
    return r;
}

static char *port_key(const struct port_spec *p)
{
    return xasprintf("%u/%s", p->container_port, port_proto_name(p->proto));
}

static bool same_port(const struct port_spec *a, const struct port_spec *b)
{
    return a->container_port == b->container_port && a->proto == b->proto;
}

static bool seen_before(const struct port_specs *specs, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (same_port(&specs->items[k], &specs->items[i]))
            return true;
    }
    return false;
}

static void put_exposed(struct jsonw *w, const struct port_specs *all)
{
    if (!all->len)
        return;
    jsonw_begin(w, "ExposedPorts");
    for (size_t i = 0; i < all->len; i++) {
        AUTOFREE char *key = port_key(&all->items[i]);

        if (seen_before(all, i))
            continue;
        jsonw_begin(w, key);
        jsonw_end(w);
    }
    jsonw_end(w);
}

static void put_bindings(struct jsonw *w, const struct port_specs *published)
{
    if (!published->len)
        return;
    jsonw_begin(w, "PortBindings");
    for (size_t i = 0; i < published->len; i++) {
        AUTOFREE char *key = port_key(&published->items[i]);

        if (seen_before(published, i))
            continue;
        jsonw_list_begin(w, key);
        for (size_t k = i; k < published->len; k++) {
            const struct port_spec *p = &published->items[k];
            AUTOFREE char *host = NULL;

            if (!same_port(p, &published->items[i]))
                continue;
            if (p->host_first && p->host_last != p->host_first)
                host = xasprintf("%u-%u", p->host_first, p->host_last);
            else if (p->host_first)
                host = xasprintf("%u", p->host_first);
            jsonw_begin(w, NULL);
            jsonw_str(w, "HostIp", p->host_ip);
            jsonw_str(w, "HostPort", host);
            jsonw_end(w);
        }
        jsonw_list_end(w);
    }
    jsonw_end(w);
}

/* A bare size is one budget for everything: one id for all of it. */
static int put_quota(struct jsonw *w, const struct create_options *o, struct error *e)
{
    bool bare = false;
    int r = create_disk_quota(w, o->disk_quota, &bare, e);

    if (o->quota_id && *o->quota_id && !STREQ(o->quota_id, "0"))
        put_str(w, "QuotaId", o->quota_id);
    else if (bare)
        jsonw_str(w, "QuotaId", "-1");
    return r;
}

static int put_config(struct jsonw *w, const struct create_options *o, const char *image,
                      char *const *args, const struct attach_set *attach, struct error *e)
{
    int r;

    jsonw_str(w, "Image", image);
    put_str(w, "Hostname", o->hostname);
    put_str(w, "Domainname", o->domainname);
    put_str(w, "User", o->user);
    jsonw_bool(w, "AttachStdin", attach->in);
    jsonw_bool(w, "AttachStdout", attach->out);
    jsonw_bool(w, "AttachStderr", attach->err);
    jsonw_bool(w, "Tty", o->tty);
    jsonw_bool(w, "OpenStdin", o->interactive);
    jsonw_bool(w, "StdinOnce", o->interactive && attach->in);
    put_str(w, "WorkingDir", o->workdir);
    put_list(w, "Cmd", args);
    if (o->entrypoint) { /* "" takes the image's entry point away: a list of one empty text */
        jsonw_list_begin(w, "Entrypoint");
        jsonw_str(w, NULL, o->entrypoint);
        jsonw_list_end(w);
    }
    put_str(w, "StopSignal", o->stop_signal);
    put_int(w, "StopTimeout", o->stop_timeout);
    put_int(w, "NetPriority", o->net_priority);
    put_str(w, "MacAddress", o->mac);
    put_true(w, "Rich", o->rich);
    put_str(w, "RichMode", o->rich_mode);
    put_str(w, "InitScript", o->initscript);
    put_str(w, "RichExit", o->rich_exit);
    r = put_quota(w, o, e);
    if (r == 0)
        r = put_env(w, o, e);
    if (r == 0)
        r = put_labels(w, o, e);
    if (r == 0)
        r = put_health(w, o, e);
    return r;
}

/* -v without a source: Config.Volumes; the others go to HostConfig.Binds. */
static int split_volumes(const struct create_options *o, char ***binds, char ***anonymous,
                         struct error *e)
{
    for (char **v = o->volumes; v && *v; v++) {
        char *bind = NULL, *target = NULL;
        int r = create_bind(*v, &bind, &target, e);

        if (r < 0)
            return r;
        if (bind)
            strv_push_take(binds, bind);
        else
            strv_push_take(anonymous, target);
    }
    return 0;
}

static void put_anonymous(struct jsonw *w, char *const *anonymous)
{
    if (!anonymous)
        return;
    jsonw_begin(w, "Volumes");
    for (char *const *v = anonymous; *v; v++) {
        jsonw_begin(w, *v);
        jsonw_end(w);
    }
    jsonw_end(w);
}

/* --- HostConfig -------------------------------------------------------------------------- */

static void put_resources(struct jsonw *w, const struct create_options *o)
{
    put_int(w, "Memory", o->memory);
    put_int(w, "MemorySwap", o->memory_swap);
    put_int(w, "MemoryReservation", o->memory_reservation);
    put_int(w, "MemoryHigh", o->memory_high);
    put_int(w, "MemoryLow", o->memory_low);
    put_int(w, "MemoryMin", o->memory_min);
    put_int(w, "MemorySwappiness", o->memory_swappiness);
    put_int(w, "ShmSize", o->shm_size);
    put_int(w, "NanoCpus", o->cpus);
    put_int(w, "CpuShares", o->cpu_shares);
    put_int(w, "CpuPeriod", o->cpu_period);
    put_int(w, "CpuQuota", o->cpu_quota);
    put_int(w, "CpuBurst", o->cpu_burst);
    put_int(w, "CpuRealtimePeriod", o->cpu_rt_period);
    put_int(w, "CpuRealtimeRuntime", o->cpu_rt_runtime);
    put_str(w, "CpusetCpus", o->cpuset_cpus);
    put_str(w, "CpusetMems", o->cpuset_mems);
    put_int(w, "PidsLimit", o->pids_limit);
    put_int(w, "BlkioWeight", o->blkio_weight);
    put_int(w, "OomScoreAdj", o->oom_score_adj);
    put_str(w, "IntelRdtL3Cbm", o->intel_rdt_l3_cbm);
    put_true(w, "OomKillDisable", o->oom_kill_disable);
    put_str(w, "CgroupParent", o->cgroup_parent);
}

static int put_device_limits(struct jsonw *w, const struct create_options *o, struct error *e)
{
    int r = put_each(w, "BlkioWeightDevice", o->blkio_weight_device, create_weight, e);

    if (r == 0)
        r = put_rates(w, "BlkioDeviceReadBps", "device-read-bps", o->read_bps, true, e);
    if (r == 0)
        r = put_rates(w, "BlkioDeviceWriteBps", "device-write-bps", o->write_bps, true, e);
    if (r == 0)
        r = put_rates(w, "BlkioDeviceReadIOps", "device-read-iops", o->read_iops, false, e);
    if (r == 0)
        r = put_rates(w, "BlkioDeviceWriteIOps", "device-write-iops", o->write_iops, false, e);
    if (r == 0)
        r = put_each(w, "Devices", o->devices, create_device, e);
    if (r == 0)
        r = put_each(w, "Ulimits", o->ulimits, create_ulimit, e);
    return r;
}

static int put_security(struct jsonw *w, const struct create_options *o, struct error *e)
{
    AUTOPTR(strv) char **opts = NULL;
    bool systempaths = false;

    for (char **s = o->security_opt; s && *s; s++) {
        char *opt = NULL;
        int r;

        if (STREQ(*s, "systempaths=unconfined")) { /* is said by empty lists of paths */
            systempaths = true;
            continue;
        }
        r = create_security_opt(*s, &opt, e);
        if (r < 0)
            return r;
        strv_push_take(&opts, opt);
    }
    put_list(w, "SecurityOpt", opts);
    if (systempaths) {
        jsonw_list_begin(w, "MaskedPaths");
        jsonw_list_end(w);
        jsonw_list_begin(w, "ReadonlyPaths");
        jsonw_list_end(w);
    }
    put_true(w, "Privileged", o->privileged);
    put_list(w, "CapAdd", o->cap_add);
    put_list(w, "CapDrop", o->cap_drop);
    put_list(w, "DeviceCgroupRules", o->device_rules);
    put_str(w, "PidMode", o->pid);
    put_str(w, "IpcMode", o->ipc);
    put_str(w, "UTSMode", o->uts);
    if (o->userns && (STREQ(o->userns, "keep") || STREQ(o->userns, "keep-id"))) {
        /* Whose id? The daemon cannot know who sits here. */
        AUTOFREE char *keep = xasprintf("keep:%u:%u", getuid(), getgid());

        put_str(w, "UsernsMode", keep);
    } else {
        put_str(w, "UsernsMode", o->userns);
    }
    put_str(w, "CgroupnsMode", o->cgroupns);
    return 0;
}

static int put_tmpfs(struct jsonw *w, char *const *list, struct error *e)
{
    struct json_map map = {0};

    for (char *const *t = list; t && *t; t++) {
        size_t len = strcspn(*t, ":");
        AUTOFREE char *path = xstrndup(*t, len);

        if (*path != '/') {
            json_map_done(&map);
            return error_set(e, ERR_INVALID,
                             "invalid argument \"%s\" for \"--tmpfs\" flag: want "
                             "/PATH[:OPTIONS]",
                             *t);
        }
        json_map_set(&map, path, (*t)[len] ? *t + len + 1 : "");
    }
    if (map.len)
        jsonw_map(w, "Tmpfs", &map);
    json_map_done(&map);
    return 0;
}

static int put_logging(struct jsonw *w, const struct create_options *o, struct error *e)
{
    int r;

    if (!o->log_driver && !o->log_opt)
        return 0;
    if (o->log_driver && STREQ(o->log_driver, "none") && o->log_opt)
        return error_set(e, ERR_INVALID, "invalid logging opts for driver none");
    jsonw_begin(w, "LogConfig");
    jsonw_str(w, "Type", o->log_driver);
    r = put_map(w, "Config", o->log_opt, "log-opt", true, e);
    jsonw_end(w);
    return r;
}

/* "host:ip" and "host=ip" (newer), to the form with a colon. */
static int put_extra_hosts(struct jsonw *w, char *const *list, struct error *e)
{
    AUTOPTR(strv) char **hosts = NULL;

    for (char *const *h = list; h && *h; h++) {
        size_t len = strcspn(*h, "=:");
        const char *ip = (*h)[len] ? *h + len + 1 : "";
        size_t n = strlen(ip);

        if (!len || !n)
            return error_set(e, ERR_INVALID,
                             "invalid argument \"%s\" for \"--add-host\" flag: "
                             "want HOST:IP",
                             *h);
        if (*ip == '[' && ip[n - 1] == ']')
            strv_pushf(&hosts, "%.*s:%.*s", (int)len, *h, (int)n - 2, ip + 1);
        else
            strv_pushf(&hosts, "%.*s:%s", (int)len, *h, ip);
    }
    put_list(w, "ExtraHosts", hosts);
    return 0;
}

/* "--network name" or "--network name=x,alias=y,ip=…" is one; the flags around it refine it. */
struct network_choice {
    char *name, *ip, *ip6, *mac;
    char **aliases, **link_local;
};

static int read_network(const struct create_options *o, struct network_choice *n, struct error *e)
{
    const char *text = o->networks ? o->networks[0] : "default";
    AUTOPTR(strv) char **fields = NULL;

    if (o->networks && o->networks[1])
        return error_set(e, ERR_NOT_SUPPORTED,
                         "a container in several networks is not supported yet");
    n->ip = xstrdup_or_null(o->ip);
    n->ip6 = xstrdup_or_null(o->ip6);
    n->mac = xstrdup_or_null(o->mac);
    n->aliases = strv_copy(o->network_alias);
    n->link_local = strv_copy(o->link_local_ip);
    if (!strchr(text, '=')) {
        n->name = xstrdup(text);
        return 0;
    }
    fields = strv_split(text, ",", true);
    for (char **f = fields; *f; f++) {
        if (str_has_prefix(*f, "name="))
            str_replace(&n->name, *f + 5);
        else if (str_has_prefix(*f, "alias="))
            strv_push(&n->aliases, *f + 6);
        else if (str_has_prefix(*f, "ip="))
            str_replace(&n->ip, *f + 3);
        else if (str_has_prefix(*f, "ip6="))
            str_replace(&n->ip6, *f + 4);
        else if (str_has_prefix(*f, "mac-address="))
            str_replace(&n->mac, *f + 12);
        else if (str_has_prefix(*f, "link-local-ip="))
            strv_push(&n->link_local, *f + 14);
        else
            return error_set(e, ERR_INVALID,
                             "invalid argument \"%s\" for \"--network\" flag: "
                             "field '%.*s' is not supported",
                             text, (int)strcspn(*f, "="), *f);
    }
    if (!n->name)
        return error_set(e, ERR_INVALID,
                         "invalid argument \"%s\" for \"--network\" flag: name is missing", text);
    return 0;
}

static void network_choice_done(struct network_choice *n)
{
    free(n->name);
    free(n->ip);
    free(n->ip6);
    free(n->mac);
    strv_free(n->aliases);
    strv_free(n->link_local);
}

static void put_endpoint(struct jsonw *w, const struct network_choice *n)
{
    bool addresses = n->ip || n->ip6 || n->link_local;

    if (!addresses && !n->mac && !n->aliases)
        return;
    jsonw_begin(w, "NetworkingConfig");
    jsonw_begin(w, "EndpointsConfig");
    jsonw_begin(w, n->name);
    if (addresses) {
        jsonw_begin(w, "IPAMConfig");
        put_str(w, "IPv4Address", n->ip);
        put_str(w, "IPv6Address", n->ip6);
        put_list(w, "LinkLocalIPs", n->link_local);
        jsonw_end(w);
    }
    put_list(w, "Aliases", n->aliases);
    put_str(w, "MacAddress", n->mac);
    jsonw_end(w);
    jsonw_end(w);
    jsonw_end(w);
}

static int put_storage(struct jsonw *w, const struct create_options *o, char *const *binds,
                       struct error *e)
{
    int r;

    put_list(w, "Binds", binds);
    put_list(w, "VolumesFrom", o->volumes_from);
    put_str(w, "VolumeDriver", o->volume_driver);
    put_true(w, "ReadonlyRootfs", o->read_only);
    r = put_each(w, "Mounts", o->mounts, create_mount, e);
    if (r == 0)
        r = put_tmpfs(w, o->tmpfs, e);
    if (r == 0)
        r = put_map(w, "StorageOpt", o->storage_opt, "storage-opt", true, e);
    return r;
}

static void put_hooks(struct jsonw *w, const struct create_options *o)
{
    put_int(w, "HookTimeout", o->hook_timeout);
    if (!o->hook_prestart && !o->hook_poststart && !o->hook_poststop)
        return;
    jsonw_begin(w, "Hooks");
    put_list(w, "Prestart", o->hook_prestart);
    put_list(w, "Poststart", o->hook_poststart);
    put_list(w, "Poststop", o->hook_poststop);
    jsonw_end(w);
}

static int put_host_config(struct jsonw *w, const struct create_options *o, char *const *binds,
                           const struct port_specs *published, const char *network, struct error *e)
{
    unsigned rows, columns;
    int r;

    put_str(w, "ContainerIDFile", o->cidfile);
    put_true(w, "AutoRemove", o->rm);
    put_true(w, "PublishAllPorts", o->publish_all);
    put_bindings(w, published);
    jsonw_str(w, "NetworkMode", network);
    put_list(w, "Dns", o->dns);
    put_list(w, "DnsSearch", o->dns_search);
    put_list(w, "DnsOptions", o->dns_option);
    put_list(w, "GroupAdd", o->group_add);
    put_str(w, "Runtime", o->runtime);
    put_str(w, "HealthOnFailure", o->health_on_failure);
    put_hooks(w, o);
    put_str(w, "Isolation", o->isolation);
    if (o->init.set)
        jsonw_bool(w, "Init", o->init.value);
    if (o->tty && terminal_size(&rows, &columns)) {
        jsonw_list_begin(w, "ConsoleSize");
        jsonw_int(w, NULL, rows);
        jsonw_int(w, NULL, columns);
        jsonw_list_end(w);
    }
    put_resources(w, o);
    put_true(w, "EnableLxcfs", o->enable_lxcfs);
    put_str(w, "View", o->view);
    put_str(w, "MachineSN", o->machine_sn);
    put_str(w, "MachineUUID", o->machine_uuid);
    r = put_storage(w, o, binds, e);
    if (r == 0)
        r = put_extra_hosts(w, o->add_host, e);
    if (r == 0)
        r = create_restart(w, o->restart, e);
    if (r == 0)
        r = put_logging(w, o, e);
    if (r == 0)
        r = put_map(w, "Sysctls", o->sysctls, "sysctl", true, e);
    if (r == 0)
        r = put_map(w, "Annotations", o->annotations, "annotation", false, e);
    if (r == 0)
        r = put_device_limits(w, o, e);
    if (r == 0)
        r = put_security(w, o, e);
    return r;
}

static int check_options(const struct create_options *o, struct error *e)
{
    if (o->rm && o->restart && *o->restart && !STREQ(o->restart, "no"))
        return error_set(e, ERR_INVALID, "Conflicting options: --restart and --rm");
    if (o->memory_swappiness.set &&
        (o->memory_swappiness.value < -1 || o->memory_swappiness.value > 100))
        return error_set(e, ERR_INVALID,
                         "invalid value: %lld. Valid memory swappiness range is 0-100",
                         (long long)o->memory_swappiness.value);
    if (o->blkio_weight.set && o->blkio_weight.value != 0 &&
        (o->blkio_weight.value < 10 || o->blkio_weight.value > 1000))
        return error_set(e, ERR_INVALID, "Range of blkio weight is from 10 to 1000");
    if (o->cpus.set && (o->cpu_period.set || o->cpu_quota.set))
        return error_set(e, ERR_INVALID,
                         "Conflicting options: --cpus and --cpu-period or --cpu-quota");
    return 0;
}

int create_body(const struct create_options *o, const char *image, char *const *args,
                struct buf *out, struct error *e)
{
    struct jsonw w = {.out = out};
    struct attach_set attach;
    struct port_specs published CLEANUP(port_specs_done) = {0};
    struct port_specs all CLEANUP(port_specs_done) = {0};
    struct network_choice network CLEANUP(network_choice_done) = {0};
    AUTOPTR(strv) char **binds = NULL;
    AUTOPTR(strv) char **anonymous = NULL;
    int r = check_options(o, e);

    if (r == 0)
        r = create_attach_set(o, &attach, e);
    if (r == 0)
        r = read_ports(o, &published, &all, e);
    if (r == 0)
        r = split_volumes(o, &binds, &anonymous, e);
    if (r == 0)
        r = read_network(o, &network, e);
    if (r < 0)
        return r;
    jsonw_begin(&w, NULL);
    r = put_config(&w, o, image, args, &attach, e);
    put_exposed(&w, &all);
    put_anonymous(&w, anonymous);
    jsonw_begin(&w, "HostConfig");
    if (r == 0)
        r = put_host_config(&w, o, binds, &published, network.name, e);
    jsonw_end(&w);
    put_endpoint(&w, &network);
    jsonw_end(&w);
    return r;
}
