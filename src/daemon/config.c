/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: see config.h. Flag rules as in pflag: --flag=value, --flag value, --bool[=false]. */
#include "daemon/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/types.h"

#define CONFIG_FILE "/etc/pouch/config.json"

/* A setting: its place (the file's table below knows kind and offset) and its words. */
struct setting {
    const char *flag; /* without dashes */
    char short_flag;
    const char *key; /* in the file, NULL: the same as the flag */
    const char *value_name;
    const char *help;
};

static const struct setting settings[] = {
    {"host", 'H', "hosts", "ADDRESS", "listen on unix:///PATH or tcp://HOST:PORT; several times"},
    {"root", 0, NULL, "FOLDER", "what is kept: images, containers, the database"},
    {"state", 0, NULL, "FOLDER", "what runs: sockets, bundles"},
    {"pidfile", 'p', NULL, "FILE", "write the process id there"},
    {"log-level", 'l', NULL, "LEVEL", "debug, info, warn or error"},
    {"debug", 'D', NULL, NULL, "the same as --log-level debug"},
    {"group", 'G', NULL, "GROUP", "group of the unix sockets"},
    {"cgroup-parent", 0, NULL, "PATH", "cgroup in which containers' cgroups are made"},
    {"rootfs-driver", 0, NULL, "NAME",
     "layers as EROFS files or folders: erofs, overlay or auto (default)"},
    {"add-runtime", 0, "runtimes", "NAME=PATH",
     "another OCI runtime for containers (--runtime NAME); several times"},
    {"default-runtime", 0, NULL, "NAME", "runtime of containers that name none (default pouch)"},
    {"quota-driver", 0, NULL, "NAME",
     "how disk quota is kept: auto, project, btrfs, image or none"},
    {"log-driver", 0, NULL, "NAME", "default log driver of containers: json-file or none"},
    {"log-opt", 0, "log-opts", "KEY=VALUE", "default options of the log driver; several times"},
    {"insecure-registry", 0, "insecure-registries", "HOST[:PORT]",
     "plain HTTP or unknown certificates are allowed there; several times"},
    {"registry-config", 0, NULL, "FOLDER",
     "certs.d (hosts.toml, certificates) and registries.conf, default: /etc/pouch"},
    {"registry-mirror", 0, "registry-mirrors", "URL", "mirror of Docker Hub; several times"},
    {"http-proxy", 0, NULL, "URL", "proxy for registries spoken to by HTTP"},
    {"https-proxy", 0, NULL, "URL", "proxy for registries spoken to by HTTPS"},
    {"no-proxy", 0, NULL, "LIST", "hosts, domains and CIDR that are asked without a proxy"},
    {"max-concurrent-downloads", 0, NULL, "N", "layers of a pull at once (default 3)"},
    {"max-image-size", 0, NULL, "SIZE", "what an image may unpack to (default 256g)"},
    {"rate-limit-wait", 0, NULL, "SECONDS",
     "how long a registry may make a request wait (default 60)"},
    {"image-gc", 0, NULL, "KEY=VALUE,…",
     "remove unused images when the disk is full: high=85,low=70,min-age=2m,keep=NAME"},
    {"auth-file", 0, NULL, "FILE", "credentials (auth.json) for pulls that come without any"},
    {"signature-policy", 0, NULL, "FILE",
     "what signatures images must have (default /etc/containers/policy.json, if it is there)"},
    {"registries-d", 0, NULL, "FOLDER",
     "where signatures are found (default /etc/containers/registries.d)"},
    {"keep-blobs", 0, NULL, NULL,
     "keep compressed layers, also those that can be made again (default true)"},
    {"label", 0, "labels", "KEY=VALUE", "label of this engine, shown by info; several times"},
    {"no-new-privileges", 0, NULL, NULL, "containers get no new privileges by default"},
    {"userns", 0, NULL, "MODE",
     "default user namespace of containers: host (default) or auto[:size=N]"},
    {"userns-pool", 0, NULL, "FIRST:SIZE",
     "host ids for --userns auto, default: those of pouch in /etc/subuid; several times"},
    {"default-ulimit", 0, "default-ulimits", "NAME=SOFT[:HARD]",
     "default limit of containers; several times"},
    {"tls", 0, NULL, NULL, "TLS on tcp addresses"},
    {"tlsverify", 0, NULL, NULL, "TLS, and clients must show a certificate"},
    {"tlscacert", 0, NULL, "FILE", "authority of the clients' certificates"},
    {"tlscert", 0, NULL, "FILE", "the server's certificate"},
    {"tlskey", 0, NULL, "FILE", "the server's key"},
    {"bridge-name", 'b', NULL, "NAME", "the default bridge; none: no bridge network"},
    {"bip", 0, NULL, "ADDRESS/BITS", "the bridge's own address; default: chosen, free of overlap"},
    {"fixed-cidr", 0, NULL, "SUBNET", "part of the bridge's subnet that containers get"},
    {"fixed-cidr-v6", 0, NULL, "SUBNET", "IPv6 subnet of the bridge"},
    {"default-gateway", 0, NULL, "ADDRESS", "containers' gateway, default: the bridge"},
    {"default-gateway-v6", 0, NULL, "ADDRESS", "the same for IPv6"},
    {"default-address-pool", 0, "default-address-pools", "SUBNET",
     "subnet the bridge's is chosen from; several times"},
    {"mtu", 0, NULL, "BYTES", "MTU of containers' interfaces"},
    {"ipv6", 0, NULL, NULL, "IPv6 on the bridge network"},
    {"icc", 0, NULL, NULL, "containers may talk to each other (default true)"},
    {"nftables", 0, NULL, NULL, "firewall rules are made (default true)"},
    {"ip-masq", 0, NULL, NULL, "containers leave with the host's address (default true)"},
    {"ip-forward", 0, NULL, NULL, "switch the kernel's forwarding on (default true)"},
    {"dns", 0, NULL, "ADDRESS", "name server of containers; several times"},
    {"dns-search", 0, NULL, "DOMAIN", "search domain of containers; several times"},
    {"dns-opt", 0, "dns-opts", "OPTION", "resolver option of containers; several times"},
    {"enable-lxcfs", 0, NULL, NULL, "run lxcfs, for containers that see their own limits in /proc"},
    {"lxcfs", 0, NULL, "PROGRAM", "path of lxcfs, default: found in $PATH"},
    {"lxcfs-home", 0, NULL, "FOLDER", "where lxcfs is mounted; one that is there already is used"},
};

static const struct json_field proxies_fields[] = {
    JSON_FIELD(struct daemon_proxies, http_proxy, "http-proxy", JSON_STR, 0),
    JSON_FIELD(struct daemon_proxies, https_proxy, "https-proxy", JSON_STR, 0),
    JSON_FIELD(struct daemon_proxies, no_proxy, "no-proxy", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc proxies_json = {"proxies", sizeof(struct daemon_proxies),
                                              proxies_fields};

#define F(member, name, kind) JSON_FIELD(struct daemon_config, member, name, kind, 0)
static const struct json_field fields[] = {
    F(hosts, "hosts", JSON_STRV),
    F(root, "root", JSON_STR),
    F(state, "state", JSON_STR),
    F(pidfile, "pidfile", JSON_STR),
    F(log_level, "log-level", JSON_STR),
    F(debug, "debug", JSON_BOOL),
    F(group, "group", JSON_STR),
    F(cgroup_parent, "cgroup-parent", JSON_STR),
    F(rootfs_driver, "rootfs-driver", JSON_STR),
    JSON_FIELD_SUB(struct daemon_config, runtimes, "runtimes", JSON_OBJ_MAP, 0,
                   &runtime_config_json),
    F(default_runtime, "default-runtime", JSON_STR),
    F(quota_driver, "quota-driver", JSON_STR),
    F(log_driver, "log-driver", JSON_STR),
    F(log_opts, "log-opts", JSON_STR_MAP),
    F(insecure_registries, "insecure-registries", JSON_STRV),
    F(registry_config, "registry-config", JSON_STR),
    F(registry_mirrors, "registry-mirrors", JSON_STRV),
    F(http_proxy, "http-proxy", JSON_STR),
    F(https_proxy, "https-proxy", JSON_STR),
    F(no_proxy, "no-proxy", JSON_STR),
    JSON_FIELD_SUB(struct daemon_config, proxies, "proxies", JSON_OBJ, 0, &proxies_json),
    F(max_concurrent_downloads, "max-concurrent-downloads", JSON_INT),
    F(max_image_size, "max-image-size", JSON_STR),
    F(rate_limit_wait, "rate-limit-wait", JSON_OPT_INT),
    JSON_FIELD_SUB(struct daemon_config, image_gc, "image-gc", JSON_OBJ, 0, &image_gc_config_json),
    F(signature_policy, "signature-policy", JSON_STR),
    F(registries_d, "registries-d", JSON_STR),
    F(keep_blobs, "keep-blobs", JSON_BOOL),
    F(auth_file, "auth-file", JSON_STR),
    F(labels, "labels", JSON_STRV),
    F(no_new_privileges, "no-new-privileges", JSON_BOOL),
    F(userns, "userns", JSON_STR),
    F(userns_pool, "userns-pool", JSON_STRV),
    F(default_ulimits, "default-ulimits", JSON_STRV),
    F(tls, "tls", JSON_BOOL),
    F(tlsverify, "tlsverify", JSON_BOOL),
    F(tlscacert, "tlscacert", JSON_STR),
    F(tlscert, "tlscert", JSON_STR),
    F(tlskey, "tlskey", JSON_STR),
    F(bridge_name, "bridge-name", JSON_STR),
    F(bip, "bip", JSON_STR),
    F(fixed_cidr, "fixed-cidr", JSON_STR),
    F(fixed_cidr_v6, "fixed-cidr-v6", JSON_STR),
    F(default_gateway, "default-gateway", JSON_STR),
    F(default_gateway_v6, "default-gateway-v6", JSON_STR),
    F(default_address_pools, "default-address-pools", JSON_STRV),
    F(mtu, "mtu", JSON_INT),
    F(ipv6, "ipv6", JSON_BOOL),
    F(icc, "icc", JSON_BOOL),
    F(nftables, "nftables", JSON_BOOL),
    F(ip_masq, "ip-masq", JSON_BOOL),
    F(ip_forward, "ip-forward", JSON_BOOL),
    F(dns, "dns", JSON_STRV),
    F(dns_search, "dns-search", JSON_STRV),
    F(dns_opts, "dns-opts", JSON_STRV),
    F(enable_lxcfs, "enable-lxcfs", JSON_BOOL),
    F(lxcfs, "lxcfs", JSON_STR),
    F(lxcfs_home, "lxcfs-home", JSON_STR),
    JSON_END,
};
static const struct json_desc config_json = {"configuration", sizeof(struct daemon_config), fields};

static const struct json_field *field_of(const char *key)
{
    for (const struct json_field *f = fields; f->name; f++)
        if (STREQ(f->name, key))
            return f;
    return NULL;
}

void config_print_help(void)
{
    (void)printf("Usage: pouchd [OPTION...]\n\nThe Pouch container engine's daemon.\n\nOptions:\n"
                 "      --config FILE                 read settings from FILE (default %s)\n",
                 CONFIG_FILE);
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        const struct setting *s = &settings[i];
        AUTOFREE char *name = xasprintf("--%s%s%s", s->flag, s->value_name ? " " : "",
                                        s->value_name ? s->value_name : "");

        if (s->short_flag)
            (void)printf("  -%c, ", s->short_flag);
        else
            (void)printf("      ");
        (void)printf("%-29s %s\n", name, s->help);
    }
    (void)printf("  -v, --version                     print the version and end\n"
                 "  -h, --help                        print this and end\n");
}

static void set_defaults(struct daemon_config *c)
{
    *c = (struct daemon_config){
        .root = xstrdup("/var/lib/pouch"),
        .state = xstrdup("/run/pouch"),
        .log_level = xstrdup("info"),
        .group = xstrdup("pouch"),
        .cgroup_parent = xstrdup("/pouch"),
        .icc = true,
        .nftables = true,
        .ip_masq = true,
        .ip_forward = true,
        .keep_blobs = true,
    };
}

void config_done(struct daemon_config *c)
{
    json_free(&config_json, c);
}

static int load_file(const char *path, bool must, struct daemon_config *c, struct error *e)
{
    AUTOFREE char *text = NULL;
    AUTOPTR(json_value) struct json_value *v = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, path, 1 << 20, &text, &len);

    if (r == -ENOENT && !must)
        return 0;
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    r = json_value_parse(text, len, &v, e);
    for (size_t i = 0; r == 0 && i < json_value_len(v); i++) {
        const char *key = NULL;

        (void)json_value_member(v, i, &key);
        if (key && !field_of(key))
            r = error_set(e, ERR_INVALID, "unknown setting \"%s\"", key);
    }
    const struct json_value *proxies = r == 0 ? json_value_get(v, "proxies") : NULL;
    for (size_t i = 0; r == 0 && i < json_value_len(proxies); i++) {
        const char *key = NULL;

        (void)json_value_member(proxies, i, &key);
        if (key && !STREQ(key, "http-proxy") && !STREQ(key, "https-proxy") &&
            !STREQ(key, "no-proxy"))
            r = error_set(e, ERR_INVALID, "unknown setting \"proxies.%s\"", key);
    }
    if (r == 0)
        r = json_parse(&config_json, text, len, c, e);
    if (r < 0)
        error_add(e, "%s", path);
    return r;
}

/* --- flags --------------------------------------------------------------------------------------- */

struct parser {
    struct daemon_config *c;
    bool seen[ARRAY_SIZE(settings)]; /* a list on the command line replaces the file's */
    enum config_action action;
};

/* NAME=PATH; in addition to the file's, one of the same name replaces it. */
static int add_runtime(struct json_list *list, const char *value, struct error *e)
{
    const char *eq = strchr(value, '=');
    AUTOFREE char *name = eq ? xstrndup(value, (size_t)(eq - value)) : NULL;
    struct runtime_config *r = list->items, *found = NULL;

    if (!eq || eq == value || eq[1] != '/')
        return error_set(e, ERR_INVALID,
                         "--add-runtime: expected NAME=/PATH/OF/PROGRAM, got \"%s\"", value);
    for (size_t i = 0; i < list->len; i++)
        if (STREQ(r[i].key, name))
            found = &r[i];
    if (!found)
        found = json_list_add(list, sizeof(*found));
    str_replace(&found->key, name);
    str_replace(&found->path, eq + 1);
    return 0;
}

/* high=85,low=70,min-age=2m,keep=NAME,keep=label=KEY; the flag may come several times. */
static int add_image_gc(struct image_gc_config *c, const char *value, struct error *e)
{
    AUTOPTR(strv) char **parts = strv_split(value, ",", true);

    for (size_t i = 0; parts && parts[i]; i++) {
        const char *v = strchr(parts[i], '=');
        size_t n = v ? (size_t)(v - parts[i]) : 0;
        uint64_t *number = NULL;

        if (v && n == 4 && !strncmp(parts[i], "high", n))
            number = &c->high;
        else if (v && n == 3 && !strncmp(parts[i], "low", n))
            number = &c->low;
        else if (v && n == 7 && !strncmp(parts[i], "min-age", n))
            str_replace(&c->min_age, v + 1);
        else if (v && n == 4 && !strncmp(parts[i], "keep", n))
            strv_push(&c->keep, v + 1);
        else
            return error_set(e, ERR_INVALID,
                             "--image-gc: expected high=, low=, min-age= or keep=, got \"%s\"",
                             parts[i]);
        if (number && parse_u64(v + 1, number) < 0)
            return error_set(e, ERR_INVALID, "--image-gc: not a number: \"%s\"", parts[i]);
    }
    return 0;
}

static int set_value(struct parser *p, const struct setting *s, const char *value, struct error *e)
{
    const struct json_field *f = field_of(s->key ? s->key : s->flag);
    void *place = (char *)p->c + f->offset;
    size_t i = (size_t)(s - settings);
    const char *eq;

    switch (f->kind) {
    case JSON_BOOL:
        if (!STREQ(value, "true") && !STREQ(value, "false"))
            return error_set(e, ERR_INVALID, "--%s: expected true or false, got \"%s\"", s->flag,
                             value);
        *(bool *)place = STREQ(value, "true");
        break;
    case JSON_INT:
        if (parse_i64(value, place) < 0)
            return error_set(e, ERR_INVALID, "--%s: not a number: \"%s\"", s->flag, value);
        break;
    case JSON_OPT_INT: {
        struct opt_int *o = place;

        if (parse_i64(value, &o->value) < 0)
            return error_set(e, ERR_INVALID, "--%s: not a number: \"%s\"", s->flag, value);
        o->set = true;
        break;
    }
    case JSON_STRV:
        if (!p->seen[i]) {
            strv_free(*(char ***)place);
            *(char ***)place = NULL;
        }
        strv_push(place, value);
        break;
    case JSON_OBJ_MAP:
        return add_runtime(place, value, e);
    case JSON_OBJ:
        return add_image_gc(place, value, e);
    case JSON_STR_MAP: {
        AUTOFREE char *key = NULL;

        eq = strchr(value, '=');
        if (!eq)
            return error_set(e, ERR_INVALID, "--%s: expected KEY=VALUE, got \"%s\"", s->flag,
                             value);
        key = xstrndup(value, (size_t)(eq - value));
        json_map_set(place, key, eq + 1);
        break;
    }
    default:
        str_replace(place, value);
        break;
    }
    p->seen[i] = true;
    return 0;
}

/* arg begins with one or two dashes; *i moves on when the value is the next argument. */
static int parse_flag(struct parser *p, int argc, char **argv, int *i, struct error *e)
{
    const char *arg = argv[*i];
    bool is_long = arg[1] == '-';
    const char *name = arg + (is_long ? 2 : 1);
    const char *eq = strchr(name, '=');
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    const struct setting *s = NULL;
    const char *value = eq ? eq + 1 : NULL;

    for (size_t j = 0; j < ARRAY_SIZE(settings) && !s; j++)
        if (is_long ? strlen(settings[j].flag) == n && strncmp(settings[j].flag, name, n) == 0
                    : settings[j].short_flag && settings[j].short_flag == name[0])
            s = &settings[j];
    if (!s)
        return error_set(e, ERR_INVALID, "unknown flag: %s (see pouchd --help)", arg);
    if (!is_long && name[1] && name[1] != '=')
        value = name + 1;
    if (!value && !s->value_name)
        value = "true";
    if (!value && *i + 1 < argc)
        value = argv[++*i];
    if (!value)
        return error_set(e, ERR_INVALID, "flag needs an argument: %s", arg);
    return set_value(p, s, value, e);
}

static int parse_args(struct parser *p, int argc, char **argv, struct error *e)
{
    int r = 0;

    for (int i = 1; r == 0 && i < argc; i++) {
        const char *arg = argv[i];

        if (STREQ(arg, "-h") || STREQ(arg, "--help"))
            p->action = CONFIG_HELP;
        else if (STREQ(arg, "-v") || STREQ(arg, "--version"))
            p->action = CONFIG_VERSION;
        else if (STREQ(arg, "--config"))
            i++;
        else if (str_has_prefix(arg, "--config="))
            continue;
        else if (arg[0] != '-' || !arg[1])
            r = error_set(e, ERR_INVALID, "unexpected argument: %s (see pouchd --help)", arg);
        else
            r = parse_flag(p, argc, argv, &i, e);
    }
    return r;
}

/* What the image store wants to know of registries; borrows from the configuration. */
static int check_registry(struct daemon_config *c, struct error *e)
{
    struct image_registry_params *p = &c->registry;
    int64_t size = 0;

    if (c->registry_config && c->registry_config[0] != '/')
        return error_set(e, ERR_INVALID, "--registry-config must be an absolute path");
    if (c->max_concurrent_downloads < 0)
        return error_set(e, ERR_INVALID, "--max-concurrent-downloads: %lld is no number of layers",
                         (long long)c->max_concurrent_downloads);
    if (c->max_image_size && (parse_size(c->max_image_size, &size) < 0 || size <= 0))
        return error_set(e, ERR_INVALID, "--max-image-size: \"%s\" is no size", c->max_image_size);
    if (c->rate_limit_wait.set && c->rate_limit_wait.value < 0)
        return error_set(e, ERR_INVALID, "--rate-limit-wait: %lld is no time",
                         (long long)c->rate_limit_wait.value);
    *p = (struct image_registry_params){
        .folder = c->registry_config,
        .mirrors = c->registry_mirrors,
        .http_proxy = c->http_proxy ? c->http_proxy : c->proxies.http_proxy,
        .https_proxy = c->https_proxy ? c->https_proxy : c->proxies.https_proxy,
        .no_proxy = c->no_proxy ? c->no_proxy : c->proxies.no_proxy,
        .max_downloads = (uint64_t)c->max_concurrent_downloads,
        .max_image_size = (uint64_t)size,
        .rate_limit_wait = {c->rate_limit_wait.set, (uint64_t)c->rate_limit_wait.value},
    };
    return 0;
}

static int check(struct daemon_config *c, struct error *e)
{
    if (c->root[0] != '/' || c->state[0] != '/')
        return error_set(e, ERR_INVALID, "--root and --state must be absolute paths");
    if (!c->enable_lxcfs && (c->lxcfs || c->lxcfs_home))
        return error_set(e, ERR_INVALID, "--lxcfs and --lxcfs-home need --enable-lxcfs");
    if (c->lxcfs_home && c->lxcfs_home[0] != '/')
        return error_set(e, ERR_INVALID, "--lxcfs-home must be an absolute path");
    if ((c->tls || c->tlsverify) && (!c->tlscert || !c->tlskey))
        return error_set(e, ERR_INVALID, "TLS needs --tlscert and --tlskey");
    if (c->tlsverify && !c->tlscacert)
        return error_set(e, ERR_INVALID, "--tlsverify needs --tlscacert");
    if (c->mtu < 0 || c->mtu > 65535 || (c->mtu && c->mtu < 68))
        return error_set(e, ERR_INVALID, "--mtu: %lld is not from 68 to 65535", (long long)c->mtu);
    int r = check_registry(c, e);
    return r < 0 ? r : image_gc_config_check(&c->image_gc, e);
}

int config_load(int argc, char **argv, struct daemon_config *ret, enum config_action *ret_action,
                struct error *e)
{
    struct parser p = {.c = ret};
    const char *file = NULL;
    int r;

    for (int i = 1; i < argc; i++) {
        if (STREQ(argv[i], "--config")) {
            if (i + 1 == argc)
                return error_set(e, ERR_INVALID, "flag needs an argument: --config");
            file = argv[++i];
        } else if (str_has_prefix(argv[i], "--config=")) {
            file = argv[i] + 9;
        }
    }
    set_defaults(ret);
    r = load_file(file ? file : CONFIG_FILE, file != NULL, ret, e);
    if (r == 0)
        r = parse_args(&p, argc, argv, e);
    if (r == 0 && p.action == CONFIG_RUN)
        r = check(ret, e);
    if (r == 0 && !strv_len(ret->hosts))
        strv_push(&ret->hosts, "unix:///run/pouch/pouch.sock");
    if (r < 0)
        config_done(ret);
    *ret_action = p.action;
    return r;
}
