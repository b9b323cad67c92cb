/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How registries are spoken to: pouchd's settings, containerd's hosts.toml, Podman's
 * registries.conf, Docker's certs.d, and what is remembered of mirrors that failed. Files are read
 * at each operation, so that a change needs no restart.
 *
 *     <folder>/certs.d/HOST[:PORT]/hosts.toml     mirrors of that registry
 *     <folder>/certs.d/_default/hosts.toml        of all that have none of their own
 *     <folder>/certs.d/HOST[:PORT]/NAME.crt, NAME.cert, NAME.key
 *     <folder>/registries.conf, registries.conf.d/NAME.conf
 */
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "image/registry-plan.h"

/* --- hosts.c: containerd's hosts.toml ------------------------------------------------------------ */

struct hosts_pair {
    char *cert, *key; /* key NULL: it is in the same file */
};
struct hosts_host {
    char *scheme, *host, *path; /* path: "" or "/…", without a slash at the end */
    unsigned needs;             /* REGISTRY_… */
    bool skip_verify, override_path;
    char **ca;
    struct json_list clients; /* of struct hosts_pair */
    char **headers;           /* "Name: value" */
    uint64_t dial_timeout_ms;
};
struct hosts_file {
    struct json_list hosts; /* of struct hosts_host, in the order of the file */
    bool has_server;
    struct hosts_host server; /* host NULL: the registry itself, with what the file says of it */
};
int hosts_parse(const char *text, size_t len, struct hosts_file *ret, struct error *e) MUST_CHECK;
void hosts_file_done(struct hosts_file *f);

/* The folder for a registry ("host:port", "host_port_") in one of these certs.d; NULL: none has a
 * file `name` (NULL: any). */
char *hosts_folder(char *const *certs_dirs, const char *host, const char *name) MUST_CHECK;
/* NAME.crt, and NAME.cert with NAME.key, of the folder into what is still NULL of the endpoint. */
int hosts_load_certs(const char *folder, struct registry_endpoint *ep, struct error *e) MUST_CHECK;
/* The files that a host of hosts.toml names, relative to its folder. */
int hosts_load_files(const char *folder, const struct hosts_host *h, struct registry_endpoint *ep,
                     struct error *e) MUST_CHECK;

/* Refuses keys of the object that no field of the table has: nothing is ignored. of: " of host x" behind the
 * name, or "". *ret_key (may be NULL): the unknown key, borrowed from v. */
int registries_check_keys(const struct json_value *v, const struct json_field *fields,
                          const char *of, const char **ret_key, struct error *e) MUST_CHECK;

/* --- registries-conf.c: Podman's registries.conf -------------------------------------------------- */

struct conf_mirror {
    char *location;
    bool insecure;
    char *pull_from; /* all, digest-only, tag-only */
};
struct conf_registry {
    char *prefix, *location;
    bool insecure, blocked, mirror_by_digest_only;
    struct json_list mirrors; /* of struct conf_mirror */
    char *file;               /* where it stands */
};
struct registries_conf {
    char **search;            /* unqualified-search-registries; NULL: not said */
    char *short_name_mode;    /* enforcing, permissive, disabled; NULL: not said */
    struct json_map aliases;  /* short name → "host/path" */
    struct json_list entries; /* of struct conf_registry */
};
/* Adds one file to what is there already; `file` is its name in messages. */
int registries_conf_parse(const char *text, size_t len, const char *file, struct registries_conf *c,
                          struct error *e) MUST_CHECK;
/* registries.conf and registries.conf.d of a folder; nothing there is no error. */
int registries_conf_load(const char *folder, struct registries_conf *ret,
                         struct error *e) MUST_CHECK;
void registries_conf_done(struct registries_conf *c);
/* The entry for "host/path[:tag][@digest]", NULL: none; how much of the name it stands for. */
const struct conf_registry *registries_conf_find(const struct registries_conf *c, const char *name,
                                                 size_t *ret_len);

/* --- endpoints.c ----------------------------------------------------------------------------------- */

struct image_registry_params;
struct worker_msg;
struct registries;

/* Copies; e: a setting is wrong. */
int registries_new(const struct image_registry_params *p, char *const *insecure,
                   struct registries **ret, struct error *e) MUST_CHECK;
void registries_free(struct registries *r);
unsigned registries_parallel(const struct registries *r); /* layers at once */
uint64_t registries_max_image_size(const struct registries *r);
/* The folder of registries.conf (borrowed). */
/* For http, for https, and who needs none; "" where there is none. Borrowed. */
void registries_proxies(const struct registries *r, char *ret[3]);
const char *registries_folder(const struct registries *r);
/* Whose credentials an operation has beside those of its start message, which are the registry's:
 * of the request, by host, and (reading only) pouchd's own. Both may be NULL. */
struct registry_logins {
    const struct json_value *given;
    const char *auth_file;
};
/* Where the host, repository and tag of a start message may be asked for, in order. Any thread. */
int registries_plan(struct registries *r, const struct worker_msg *start,
                    const struct registry_logins *logins, struct registry_plan *ret,
                    struct error *e) MUST_CHECK;
/* A mirror of such a plan worked or failed; names that no plan had are not heard. */
void registries_report(struct registries *r, const char *name, bool worked);
