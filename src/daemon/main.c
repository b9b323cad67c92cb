/* SPDX-License-Identifier: Apache-2.0 */
/* pouchd: reads its settings, opens the engine, serves its sockets, ends in good order. */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/docker/docker.h"
#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "daemon/config.h"
#include "engine/engine.h"
#include "http/server.h"
#include "sys/cgroup.h"
#include "sys/features.h"

/* Tells systemd: sd_notify(3)'s protocol, a datagram to $NOTIFY_SOCKET. */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len;
    int fd;

    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
        return;
    len = strlen(path);
    (void)memcpy(addr.sun_path, path, len);
    if (path[0] == '@')
        addr.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&addr,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    (void)close(fd);
}

/* One pouchd a root: the lock goes with the process, however it ends. */
static int lock_root(const char *root, int *ret_fd, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/pouchd.lock", root);
    AUTOFD int fd = -EBADF;
    unsigned tries = 0;
    int r = fs_mkdir_p(root, 0711);

    if (r < 0)
        return error_set_errno(e, r, "cannot create %s", root);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set_errno(e, errno, "cannot open %s", path);
    /* One that was just killed may take a moment to be gone. */
    while (flock(fd, LOCK_EX | LOCK_NB) < 0 && tries++ < 100)
        (void)usleep(50 * 1000);
    if (tries > 100)
        return error_set(e, ERR_CONFLICT,
                         "another pouchd works on %s: stop it, or use another "
                         "--root and --state",
                         root);
    *ret_fd = take_fd(fd);
    return 0;
}

static int write_pidfile(const char *path, struct error *e)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    int r = fs_write_atomic(AT_FDCWD, path, text, (size_t)n, 0644, FS_NO_SYNC);

    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

/* "nofile=1024:2048" */
static int parse_ulimit(const char *text, struct ulimit *ret, struct error *e)
{
    const char *eq = strchr(text, '=');
    AUTOFREE char *soft = eq ? xstrdup(eq + 1) : NULL;
    char *hard = soft ? strchr(soft, ':') : NULL;

    if (hard)
        *hard++ = 0;
    if (!eq || parse_i64(soft, &ret->soft) < 0 || (hard && parse_i64(hard, &ret->hard) < 0))
        return error_set(e, ERR_INVALID, "--default-ulimit: expected NAME=SOFT[:HARD], got \"%s\"",
                         text);
    if (!hard)
        ret->hard = ret->soft;
    ret->name = xstrndup(text, (size_t)(eq - text));
    return 0;
}

static int engine_of_config(const struct daemon_config *c, struct engine **ret, struct error *e)
{
    struct engine_params p = {
        .root = c->root,
        .state = c->state,
        .cgroup_parent = c->cgroup_parent,
        .rootfs_driver = c->rootfs_driver,
        .quota_driver = c->quota_driver,
        .log_driver = c->log_driver,
        .log_opts = c->log_opts,
        .network = NETWORK_PARAMS_INIT,
        .insecure_registries = c->insecure_registries,
        .registry = &c->registry,
        .signature_policy = c->signature_policy,
        .registries_d = c->registries_d,
        .auth_file = c->auth_file,
        .image_gc = &c->image_gc,
        .drop_blobs = !c->keep_blobs,
        .dns = c->dns,
        .dns_search = c->dns_search,
        .dns_options = c->dns_opts,
        .labels = c->labels,
        .runtimes = c->runtimes,
        .default_runtime = c->default_runtime,
        .no_new_privileges = c->no_new_privileges,
        .enable_lxcfs = c->enable_lxcfs,
        .lxcfs_program = c->lxcfs,
        .lxcfs_home = c->lxcfs_home,
        .userns = c->userns,
        .userns_pool = c->userns_pool,
        .debug = log_get_level() == LOG_LEVEL_DEBUG,
    };
    struct ulimit *u;
    int r = 0;

    p.network.bridge = c->bridge_name;
    p.network.bip = c->bip;
    p.network.fixed_cidr = c->fixed_cidr;
    p.network.fixed_cidr_v6 = c->fixed_cidr_v6;
    p.network.gateway = c->default_gateway;
    p.network.gateway6 = c->default_gateway_v6;
    p.network.pools = c->default_address_pools;
    p.network.mtu = (unsigned)c->mtu;
    p.network.ipv6 = c->ipv6;
    p.network.icc = c->icc;
    p.network.nftables = c->nftables;
    p.network.ip_masq = c->ip_masq;
    p.network.ip_forward = c->ip_forward;
    for (size_t i = 0; r == 0 && c->default_ulimits && c->default_ulimits[i]; i++)
        r = parse_ulimit(c->default_ulimits[i], json_list_add(&p.default_ulimits, sizeof(*u)), e);
    if (r == 0)
        r = engine_open(&p, ret, e);
    u = p.default_ulimits.items;
    for (size_t i = 0; i < p.default_ulimits.len; i++)
        free(u[i].name);
    free(u);
    return r;
}

/* A pouchd that was just killed, or a program it was starting, may hold the socket for a moment. */
static int listen_patiently(const char *host, const char *group, int *ret_fd, struct error *e)
{
    for (unsigned tries = 0;; tries++) {
        CLEANUP(error_done) struct error why = ERROR_INIT;
        int r = http_listen_open(host, group, ret_fd, &why);

        if (r == 0)
            return 0;
        if (why.code != ERR_CONFLICT || tries == 60) {
            error_move(e, &why);
            return r;
        }
        (void)usleep(50 * 1000);
    }
}

static int open_listeners(const struct daemon_config *c, const struct http_tls *tls,
                          struct http_listen *out, size_t *ret_n, struct error *e)
{
    size_t n = 0;

    for (; c->hosts[n]; n++) {
        bool tcp = str_has_prefix(c->hosts[n], "tcp://");
        int r = listen_patiently(c->hosts[n], c->group, &out[n].fd, e);

        if (r < 0) {
            while (n-- > 0)
                (void)close(out[n].fd);
            return r;
        }
        out[n].tls = tcp && (c->tls || c->tlsverify) ? tls : NULL;
        if (tcp && !out[n].tls)
            log_warn("the API listens on TCP without TLS: whoever reaches it is root here",
                     "host=%s", c->hosts[n]);
    }
    *ret_n = n;
    return 0;
}

/* Waits for the signal to end; children that other threads do not wait for are reaped here. */
static void wait_for_end(const sigset_t *set)
{
    for (;;) {
        int sig = 0;

        if (sigwait(set, &sig) != 0)
            continue;
        if (sig == SIGHUP)
            continue; /* a lost terminal, or a reload: nothing to read again in this version */
        log_info("ending", "signal=%s", strsignal(sig));
        return;
    }
}

static void remove_sockets(const struct daemon_config *c)
{
    for (size_t i = 0; c->hosts[i]; i++)
        if (str_has_prefix(c->hosts[i], "unix://"))
            (void)unlink(c->hosts[i] + strlen("unix://"));
}

static int serve(const struct daemon_config *c, const sigset_t *set, struct error *e)
{
    const struct http_tls tls = {c->tlscert, c->tlskey, c->tlscacert, c->tlsverify};
    AUTOFREE struct http_listen *listeners = xcalloc(strv_len(c->hosts) + 1,
                                                     sizeof(struct http_listen));
    struct docker_api api = {0};
    struct http_server_params sp = {.routes = docker_routes,
                                    .ctx = &api,
                                    .prepare = docker_prepare,
                                    .headers = docker_headers};
    struct http_server *server = NULL;
    size_t n = 0;
    int r = open_listeners(c, &tls, listeners, &n, e);

    /* Clients that come while the engine recovers wait in the sockets' queues. */
    if (r == 0)
        r = engine_of_config(c, &api.engine, e);
    if (r == 0) {
        r = http_server_start(&sp, listeners, n, &server, e);
    } else {
        for (size_t i = 0; i < n; i++)
            (void)close(listeners[i].fd);
    }
    if (r == 0) {
        (void)malloc_trim(0);
        engine_start_restarts(api.engine);
        log_info("ready", "version=%s root=%s", POUCH_VERSION, c->root);
        notify("READY=1");
        wait_for_end(set);
        notify("STOPPING=1");
        engine_give_up(api.engine);
        http_server_stop(server);
    }
    if (n)
        remove_sockets(c);
    engine_close(api.engine);
    return r;
}

static int run(const struct daemon_config *c, struct error *e)
{
    AUTOFD int lock = -EBADF;
    AUTOFREE char *unified = NULL;
    enum log_level level = LOG_LEVEL_INFO;
    int provided;
    sigset_t set;
    int r;

    if (log_level_parse(c->debug ? "debug" : c->log_level, &level) < 0)
        return error_set(e, ERR_INVALID, "--log-level: unknown level \"%s\"", c->log_level);
    log_set_level(level);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    /* Threads come and go by the thousand: one arena keeps the heap small. */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 10);
    (void)umask(022);
    unified = xasprintf("%s/cgroup2", c->state);
    provided = cgroup_provide_unified(unified);
    r = sys_check_host(e);
    if (r == 0)
        r = lock_root(c->root, &lock, e);
    if (r == 0 && c->pidfile)
        r = write_pidfile(c->pidfile, e);
    if (r == 0) {
        r = serve(c, &set, e);
        if (c->pidfile)
            (void)unlink(c->pidfile);
    }
    /* Containers that go on do not need it; the next pouchd makes it again. */
    if (provided == 2 || (provided == 1 && lock >= 0))
        cgroup_withdraw_unified(unified);
    return r;
}

int main(int argc, char **argv)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct daemon_config config = {0};
    enum config_action action = CONFIG_RUN;
    int r = config_load(argc, argv, &config, &action, &e);

    if (r == 0 && action == CONFIG_HELP)
        config_print_help();
    else if (r == 0 && action == CONFIG_VERSION)
        (void)printf("pouchd version %s\n", POUCH_VERSION);
    else if (r == 0)
        r = run(&config, &e);
    if (r < 0)
        (void)fprintf(stderr, "pouchd: %s\n", error_message(&e));
    config_done(&config);
    return r < 0 ? 1 : 0;
}
