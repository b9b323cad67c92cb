/* SPDX-License-Identifier: Apache-2.0 */
/* pouchd's settings: one table gives flags, keys of the configuration file, and the help text. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "image/image.h"

struct daemon_proxies {
    char *http_proxy, *https_proxy, *no_proxy;
};

struct daemon_config {
    char **hosts;
    char *root;
    char *state;
    char *pidfile;
    char *log_level;
    bool debug;
    char *group;
    char *cgroup_parent;
    char *rootfs_driver;
    struct json_list runtimes; /* of runtime_config */
    char *default_runtime;
    char *quota_driver;
    char *log_driver;
    struct json_map log_opts;
    char **insecure_registries;
    char *registry_config;
    char **registry_mirrors;
    char *http_proxy, *https_proxy, *no_proxy;
    struct daemon_proxies proxies; /* Docker's way to write the same */
    int64_t max_concurrent_downloads;
    char *max_image_size;
    struct opt_int rate_limit_wait;        /* seconds */
    struct image_registry_params registry; /* made of these */
    char *signature_policy;
    char *registries_d;
    char *auth_file;
    struct image_gc_config image_gc;
    bool keep_blobs;
    char **labels;
    bool no_new_privileges;
    char *userns;
    char **userns_pool;     /* "FIRST:SIZE" */
    char **default_ulimits; /* "nofile=1024:2048" */
    bool tls;
    bool tlsverify;
    char *tlscacert;
    char *tlscert;
    char *tlskey;
    char *bridge_name;
    char *bip;
    char *fixed_cidr;
    char *fixed_cidr_v6;
    char *default_gateway;
    char *default_gateway_v6;
    char **default_address_pools;
    int64_t mtu;
    bool ipv6;
    bool icc;
    bool nftables;
    bool ip_masq;
    bool ip_forward;
    char **dns;
    char **dns_search;
    char **dns_opts;
    bool enable_lxcfs;
    char *lxcfs;
    char *lxcfs_home;
};

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION };

/* Defaults, then the file (--config, or /etc/pouch/config.json when it is there), then flags. */
int config_load(int argc, char **argv, struct daemon_config *ret, enum config_action *ret_action,
                struct error *e) MUST_CHECK;
void config_done(struct daemon_config *c);
void config_print_help(void);
