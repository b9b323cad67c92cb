/* SPDX-License-Identifier: Apache-2.0 */
/* Ping, version, info, events, plugins. */
#include <string.h>
#include <sys/utsname.h>

#include "api/docker/docker-priv.h"
#include "base/str.h"
#include "base/time.h"

void api_ping(struct http_request *req, void *ctx)
{
    struct buf b = ANSWER_INIT;

    http_header_add(req, "Cache-Control", "no-cache, no-store, must-revalidate");
    http_header_add(req, "Pragma", "no-cache");
    http_header_add(req, "Swarm", "inactive");
    (void)buf_puts(&b, "OK");
    http_reply(req, 200, "text/plain; charset=utf-8", &b);
}

/* Go's name of the processor, which is what Docker's clients know. */
static const char *go_arch(const char *machine)
{
    static const struct {
        const char *machine, *go;
    } names[] = {{"x86_64", "amd64"},    {"aarch64", "arm64"}, {"armv7l", "arm"},
                 {"armv6l", "arm"},      {"i686", "386"},      {"ppc64le", "ppc64le"},
                 {"riscv64", "riscv64"}, {"s390x", "s390x"}};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (STREQ(names[i].machine, machine))
            return names[i].go;
    return machine;
}

void api_version(struct http_request *req, void *ctx)
{
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct utsname u = {0};

    (void)uname(&u);
    jsonw_begin(&w, NULL);
    jsonw_begin(&w, "Platform");
    jsonw_str(&w, "Name", "Pouch");
    jsonw_end(&w);
    jsonw_list_begin(&w, "Components");
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Name", "Engine");
    jsonw_str(&w, "Version", POUCH_VERSION);
    jsonw_begin(&w, "Details");
    jsonw_str(&w, "ApiVersion", DOCKER_API_VERSION);
    jsonw_str(&w, "Arch", go_arch(u.machine));
    jsonw_str(&w, "BuildTime", "");
    jsonw_str(&w, "Experimental", "false");
    jsonw_str(&w, "GitCommit", "");
    jsonw_str(&w, "GoVersion", "");
    jsonw_str(&w, "KernelVersion", u.release);
    jsonw_str(&w, "MinAPIVersion", DOCKER_API_MIN);
    jsonw_str(&w, "Os", "linux");
    jsonw_end(&w);
    jsonw_end(&w);
    jsonw_list_end(&w);
    jsonw_str(&w, "Version", POUCH_VERSION);
    jsonw_str(&w, "ApiVersion", DOCKER_API_VERSION);
    jsonw_str(&w, "MinAPIVersion", DOCKER_API_MIN);
    jsonw_str(&w, "GitCommit", "");
    jsonw_str(&w, "GoVersion", "");
    jsonw_str(&w, "Os", "linux");
    jsonw_str(&w, "Arch", go_arch(u.machine));
    jsonw_str(&w, "KernelVersion", u.release);
    jsonw_str(&w, "BuildTime", "");
    jsonw_end(&w);
    http_reply_json(req, 200, &b);
}

static void info_names(struct jsonw *w, const char *key, const char *const *names)
{
    jsonw_list_begin(w, key);
    for (; *names; names++)
        jsonw_str(w, NULL, *names);
    jsonw_list_end(w);
}

static void info_counts(struct jsonw *w, const struct engine_info *i)
{
    jsonw_str(w, "ID", i->id);
    jsonw_uint(w, "Containers", i->containers);
    jsonw_uint(w, "ContainersRunning", i->running);
    jsonw_uint(w, "ContainersPaused", i->paused);
    jsonw_uint(w, "ContainersStopped", i->stopped);
    jsonw_uint(w, "Images", i->images);
    jsonw_str(w, "Driver", i->rootfs_driver);
    jsonw_list_begin(w, "DriverStatus");
    for (char **s = i->rootfs_status; s && s[0] && s[1]; s += 2) {
        jsonw_list_begin(w, NULL);
        jsonw_str(w, NULL, s[0]);
        jsonw_str(w, NULL, s[1]);
        jsonw_list_end(w);
    }
    jsonw_list_end(w);
    jsonw_begin(w, "Plugins");
    info_names(w, "Volume", (const char *const[]){"local", NULL});
    info_names(w, "Network", (const char *const[]){"bridge", "host", "null", NULL});
    jsonw_null(w, "Authorization");
    info_names(w, "Log", (const char *const[]){"json-file", "none", NULL});
    jsonw_end(w);
}

static void info_features(struct jsonw *w, const struct engine_info *i)
{
    jsonw_bool(w, "MemoryLimit", i->memory_limit);
    jsonw_bool(w, "SwapLimit", i->swap_limit);
    jsonw_bool(w, "CpuCfsPeriod", i->cpu_quota);
    jsonw_bool(w, "CpuCfsQuota", i->cpu_quota);
    jsonw_bool(w, "CPUShares", i->cpu_shares);
    jsonw_bool(w, "CPUSet", i->cpuset);
    jsonw_bool(w, "PidsLimit", i->pids_limit);
    jsonw_bool(w, "IPv4Forwarding", i->ipv4_forwarding);
    /* Bridged packets need no iptables hook here; "false" makes old clients warn. */
    jsonw_bool(w, "BridgeNfIptables", true);
    jsonw_bool(w, "BridgeNfIp6tables", true);
    jsonw_bool(w, "Debug", i->debug);
    jsonw_uint(w, "NFd", i->nfd);
    jsonw_bool(w, "OomKillDisable", i->oom_kill_disable);
    jsonw_uint(w, "NGoroutines", i->nthreads);
    jsonw_time(w, "SystemTime", i->system_time);
    jsonw_str(w, "LoggingDriver", i->log_driver);
    jsonw_str(w, "CgroupDriver", i->cgroup_driver);
    jsonw_str(w, "CgroupVersion", i->cgroup_version);
    jsonw_uint(w, "NEventsListener", i->nevent_readers);
}

static void info_host(struct jsonw *w, const struct engine_info *i)
{
    jsonw_str(w, "KernelVersion", i->kernel_version);
    jsonw_str(w, "OperatingSystem", i->operating_system);
    jsonw_str(w, "OSVersion", i->os_version);
    jsonw_str(w, "OSType", "linux");
    jsonw_str(w, "Architecture", i->architecture);
    jsonw_str(w, "IndexServerAddress", "https://index.docker.io/v1/");
    jsonw_str(w, "SignaturePolicy", i->signature_policy); /* ours */
    jsonw_int(w, "NCPU", i->ncpu);
    jsonw_int(w, "MemTotal", i->mem_total);
    jsonw_null(w, "GenericResources");
    jsonw_str(w, "DockerRootDir", i->root);
    jsonw_str(w, "HttpProxy", i->http_proxy);
    jsonw_str(w, "HttpsProxy", i->https_proxy);
    jsonw_str(w, "NoProxy", i->no_proxy);
    jsonw_str(w, "Name", i->name);
    jsonw_strv(w, "Labels", i->labels);
    jsonw_bool(w, "ExperimentalBuild", false);
    jsonw_str(w, "ServerVersion", POUCH_VERSION);
}

/* Docker keeps networks and hosts apart; 127.0.0.0/8 is always insecure. */
static void info_registry(struct jsonw *w, const struct engine_info *i)
{
    jsonw_begin(w, "RegistryConfig");
    jsonw_list_begin(w, "InsecureRegistryCIDRs");
    jsonw_str(w, NULL, "127.0.0.0/8");
    for (char **v = i->insecure_registries; v && *v; v++)
        if (strchr(*v, '/'))
            jsonw_str(w, NULL, *v);
    jsonw_list_end(w);
    jsonw_begin(w, "IndexConfigs");
    jsonw_begin(w, "docker.io");
    jsonw_str(w, "Name", "docker.io");
    jsonw_strv(w, "Mirrors", i->registry_mirrors);
    jsonw_bool(w, "Secure", true);
    jsonw_bool(w, "Official", true);
    jsonw_end(w);
    for (char **v = i->insecure_registries; v && *v; v++) {
        if (strchr(*v, '/'))
            continue;
        jsonw_begin(w, *v);
        jsonw_str(w, "Name", *v);
        jsonw_list_begin(w, "Mirrors");
        jsonw_list_end(w);
        jsonw_bool(w, "Secure", false);
        jsonw_bool(w, "Official", false);
        jsonw_end(w);
    }
    jsonw_end(w);
    jsonw_strv(w, "Mirrors", i->registry_mirrors);
    jsonw_end(w);
}

static void info_runtime(struct jsonw *w, const struct engine_info *info)
{
    static const char *const commits[] = {"ContainerdCommit", "RuncCommit", "InitCommit"};

    jsonw_begin(w, "Runtimes");
    for (char *const *r = info->runtimes; r && r[0] && r[1]; r += 2) {
        jsonw_begin(w, r[0]);
        jsonw_str(w, "path", r[1]);
        jsonw_end(w);
    }
    jsonw_end(w);
    jsonw_str(w, "DefaultRuntime", info->default_runtime);
    jsonw_begin(w, "Swarm");
    jsonw_str(w, "NodeID", "");
    jsonw_str(w, "NodeAddr", "");
    jsonw_str(w, "LocalNodeState", "inactive");
    jsonw_bool(w, "ControlAvailable", false);
    jsonw_str(w, "Error", "");
    jsonw_null(w, "RemoteManagers");
    jsonw_end(w);
    jsonw_bool(w, "LiveRestoreEnabled", true);
    jsonw_str(w, "Isolation", "");
    jsonw_str(w, "InitBinary", "");
    for (size_t n = 0; n < ARRAY_SIZE(commits); n++) {
        jsonw_begin(w, commits[n]);
        jsonw_str(w, "ID", "");
        jsonw_str(w, "Expected", "");
        jsonw_end(w);
    }
}

void api_info(struct http_request *req, void *ctx)
{
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct engine_info i = {0};

    engine_info(api_engine(ctx), &i);
    jsonw_begin(&w, NULL);
    info_counts(&w, &i);
    info_features(&w, &i);
    info_host(&w, &i);
    info_registry(&w, &i);
    info_runtime(&w, &i);
    jsonw_strv(&w, "SecurityOptions", i.security_options);
    jsonw_strv(&w, "Warnings", i.warnings);
    jsonw_end(&w);
    engine_info_done(&i);
    http_reply_json(req, 200, &b);
}

/* Sends events until there are no more; < 0 when the client is gone or nothing will follow. */
static int events_send(struct http_request *req, struct event_reader *r)
{
    AUTO(buf) struct buf b = ANSWER_INIT;
    struct engine_event *ev;
    int n;

    while ((n = event_reader_next(r, &ev)) > 0) {
        encode_event(ev, &b);
        event_free(ev);
    }
    if (b.len > 0 && http_stream_write(req, b.data, b.len) < 0)
        return -EPIPE;
    return n;
}

void api_events(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct filter_set f = {0};
    struct event_reader *r = NULL;
    int64_t since, until;

    if (docker_when_parse("since", http_query(req, "since"), &since, &e) < 0 ||
        docker_when_parse("until", http_query(req, "until"), &until, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    if (api_filters(req, &f) < 0)
        return;
    if (engine_events_open(api_engine(ctx), since, until, &f, &r, &e) < 0) {
        http_reply_error(req, &e);
    } else {
        if (http_stream_begin(req, 200, "application/json") == 0)
            while (events_send(req, r) == 0 &&
                   http_wait_fd(req, event_reader_fd(r), event_reader_timeout_ms(r)) >= 0)
                continue;
        event_reader_free(r);
    }
    filter_set_done(&f);
}

void api_plugins(struct http_request *req, void *ctx)
{
    struct buf b = ANSWER_INIT;

    (void)buf_puts(&b, "[]");
    http_reply_json(req, 200, &b);
}

void api_plugin_inspect(struct http_request *req, void *ctx)
{
    http_reply_message(req, 404, "plugin \"%s\" not found", http_param(req, "name"));
}
