/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: containers, execs, images, events. The only place where images, root file systems,
 * networks, volumes, logs and monitors meet. One function an operation; every transport (Docker
 * API, CRI) calls these and nothing else.
 *
 * Any thread may call. Calls block until the operation is done. No lock is held across anything
 * that blocks: an object in the middle of a step answers `list` and `inspect` from its last
 * published view at once; a second operation on it waits a bounded time and then gets
 * ERR_CONFLICT.
 *
 * `ref` is a container's name (with or without "/"), full id, or unambiguous id prefix.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "engine/types.h"
#include "image/image.h"
#include "log/json-file.h"
#include "network/network.h"
#include "sys/cgroup.h"
#include "volume/volume.h"

struct engine;
struct map;

struct engine_params {
    const char *root;          /* /var/lib/pouch */
    const char *state;         /* /run/pouch */
    const char *cgroup_parent; /* "/pouch" */
    const char *rootfs_driver; /* NULL: default */
    const char *log_driver;    /* NULL: json-file */
    const char *quota_driver;  /* NULL: auto */
    struct json_map log_opts;  /* max-size, max-file */
    struct network_params network;
    char **insecure_registries;                   /* host[:port] or CIDR */
    const struct image_registry_params *registry; /* NULL: all defaults */
    const struct image_gc_config *image_gc;       /* NULL: off */
    bool drop_blobs;                              /* of layers, where they can be made again */
    char **dns;                                   /* defaults for containers, or NULL */
    const char *signature_policy; /* file, NULL: /etc/containers/policy.json if it is there */
    const char *registries_d;     /* NULL: /etc/containers/registries.d */
    const char *auth_file;        /* credentials for pulls that come without any, or NULL */
    char **dns_search;
    char **dns_options;
    struct json_list default_ulimits; /* of struct ulimit */
    char **labels;                    /* of the engine, for info */
    const char *init_path;            /* host's init program for --init, NULL: none is there */
    struct json_list runtimes;        /* of runtime_config; borrowed, outlives the engine */
    const char *default_runtime;      /* NULL: our own */
    bool no_new_privileges;           /* default for containers */
    bool enable_lxcfs;
    const char *lxcfs_program; /* NULL: lxcfs in PATH */
    const char *lxcfs_home;    /* NULL: below state */
    const char *userns;        /* default --userns, NULL: host */
    char **userns_pool;        /* "FIRST:SIZE" of host ids; NULL: /etc/subuid or built in */
    bool debug;
};

/*
 * Opens everything under root and state, re-adopts the containers that live, gives those that ended
 * meanwhile their exit code, sweeps what a crash left half-made, and starts the engine's threads.
 */
int engine_open(const struct engine_params *p, struct engine **ret, struct error *e) MUST_CHECK;
/* Applies the restart policies of containers that should be running: after engine_open(), when the
 * sockets are listening. */
void engine_start_restarts(struct engine *en);
/* The program ends: requests that wait for something long (hooks) return soon. */
void engine_give_up(struct engine *en);
/* Ends the threads and closes. Containers run on. */
void engine_close(struct engine *en);

/* --- Containers: what is --------------------------------------------------------------------- */

enum container_status {
    CONTAINER_CREATED,
    CONTAINER_RUNNING,
    CONTAINER_PAUSED,
    CONTAINER_RESTARTING,
    CONTAINER_REMOVING,
    CONTAINER_EXITED,
    CONTAINER_DEAD,
    CONTAINER_STATUS_MAX
};
const char *container_status_name(enum container_status s); /* "created", "running", … */

/*
 * One version of what a container is to be: immutable and counted, shared by views and operations.
 * An update or upgrade makes a new version; id, created, driver, platform, log_path and dir are
 * the same in all versions of a container.
 */
struct container_definition {
    atomic_uint refs;
    char id[65];
    int64_t created;                /* ns */
    char *image_id;                 /* "sha256:…" */
    char *image_ref;                /* as given */
    struct container_config config; /* merged with the image's */
    struct host_config host_config; /* with defaults filled in */
    struct networking_config networking;
    struct volume_mounts mounts;
    char *path;     /* argv[0] of the process */
    char **args;    /* the rest */
    char *driver;   /* rootfs driver */
    char *platform; /* "linux" */
    char *log_path; /* "" when the driver keeps none */
    char *dir;      /* <root>/containers/<id> */
};

enum health_status { HEALTH_NONE, HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY };
const char *health_status_name(enum health_status s); /* "none", "starting", … */
#define HEALTH_LOG 5                                  /* results that are kept */
struct health_result {
    int64_t start, end; /* ns */
    int64_t exit_code;  /* -1: it did not come to an end */
    char *output;
};
/* Immutable, counted. */
struct health_state {
    unsigned refs; /* health.c's business */
    enum health_status status;
    int64_t failing_streak;
    size_t nlog;
    struct health_result log[HEALTH_LOG]; /* oldest first */
};

/* An immutable picture of one container. Referenced; never locked. */
struct container_view {
    const struct container_definition *def; /* referenced */
    char *name;                             /* without "/" */
    enum container_status status;
    pid_t pid; /* 0 unless running */
    int64_t exit_code;
    bool oom_killed;
    char *error;      /* why it could not start, or why it ended without an exit code */
    int64_t started;  /* ns, 0 never */
    int64_t finished; /* ns, 0 never */
    int64_t restart_count;
    bool has_endpoint;
    struct network_endpoint endpoint;
    char **exec_ids;
    char **warnings;             /* of the last start: what the host could not give */
    struct health_state *health; /* NULL: no health check, or it never ran */
};
struct container_view *container_view_ref(struct container_view *v);
void container_view_free(struct container_view *v); /* drops one reference */
DEFINE_AUTOPTR(struct container_view, container_view)

/* "Up 3 minutes (Paused)", "Exited (0) 2 hours ago", "Created": Docker's Status column. */
char *container_status_text(const struct container_view *v, int64_t now_ns) MUST_CHECK;

int engine_inspect(struct engine *en, const char *ref, struct container_view **ret,
                   struct error *e) MUST_CHECK;
/* SizeRw and SizeRootFs, bytes. Reads the disk. */
int engine_container_size(struct engine *en, const struct container_view *v, uint64_t *ret_rw,
                          uint64_t *ret_rootfs, struct error *e) MUST_CHECK;

/* Docker's filters: name -> list of values, parsed by the transport. */
struct filter_set {
    struct json_list items; /* of struct filter */
};
struct filter {
    char *key;
    char **values;
};
void filter_set_add(struct filter_set *f, const char *key, const char *value);
char *const *filter_set_get(const struct filter_set *f, const char *key); /* NULL: not asked */
void filter_set_done(struct filter_set *f);

struct container_list {
    struct container_view **items; /* newest first; referenced */
    size_t len;
};
/* Filters: id name label status health ancestor exited before since network volume publish expose
 * (ERR_INVALID for others). Without `all` and without a status filter: only running ones.
 * limit 0: no limit (a limit implies all). */
int engine_list(struct engine *en, bool all, int64_t limit, const struct filter_set *f,
                struct container_list *ret, struct error *e) MUST_CHECK;
void container_list_done(struct container_list *l);

/* What lists call the container's image, as Docker's: the name it was made with as long as that means
 * this image, else the id. known: what was looked up before, for one list (map_new(), afterwards
 * map_free(known, free)). The text is the view's. */
const char *engine_image_title(struct engine *en, const struct container_view *v,
                               struct map *known) MUST_CHECK;

/* --- Containers: what is done ---------------------------------------------------------------- */

struct engine_created {
    char id[65];
    char **warnings; /* the caller frees them */
};
/* name NULL: a random one. The structs are taken over in any case (zeroed on return). */
int engine_create(struct engine *en, const char *name, const char *platform,
                  struct container_config *config, struct create_extra *extra,
                  struct engine_created *ret, struct error *e) MUST_CHECK;

/* ERR_NOT_MODIFIED when it runs already. ret_warnings (may be NULL; the caller frees them): what
 * was asked for and this host could not give, one text each. */
int engine_start(struct engine *en, const char *ref, const char *detach_keys, char ***ret_warnings,
                 struct error *e) MUST_CHECK;
/* signal NULL: the container's stop signal. timeout in seconds, unset: the container's, else 10;
 * negative: wait for ever. ERR_NOT_MODIFIED when it is not running. */
int engine_stop(struct engine *en, const char *ref, const char *signal, struct opt_int timeout,
                struct error *e) MUST_CHECK;
int engine_restart(struct engine *en, const char *ref, const char *signal, struct opt_int timeout,
                   struct error *e) MUST_CHECK;
/* signal: "KILL", "SIGTERM", "15"; NULL: KILL. ERR_CONFLICT when it is not running. */
int engine_kill(struct engine *en, const char *ref, const char *signal, struct error *e) MUST_CHECK;
int engine_pause(struct engine *en, const char *ref, struct error *e) MUST_CHECK;
int engine_unpause(struct engine *en, const char *ref, struct error *e) MUST_CHECK;
/* Makes lxcfs' mounts in a running container anew; ref NULL: in all of them. *ret_n: how many. */
int engine_remount_lxcfs(struct engine *en, const char *ref, size_t *ret_n,
                         struct error *e) MUST_CHECK;
int engine_rename(struct engine *en, const char *ref, const char *name, struct error *e) MUST_CHECK;
/*
 * Changes a container, running or not: all of it or nothing. What a running one cannot be given
 * live is refused. ret_warnings (the caller frees them): what this host could not do.
 */
int engine_update(struct engine *en, const char *ref, const struct container_update *u,
                  char ***ret_warnings, struct error *e) MUST_CHECK;
/*
 * Swaps the image under a container; id, name, mounts, addresses, limits and logs stay. One that
 * runs is stopped and started again; when the new one does not come up (see container_upgrade), it
 * runs again as before, and the error says why. Returns when that is settled.
 */
int engine_upgrade(struct engine *en, const char *ref, const struct container_upgrade *u,
                   char ***ret_warnings, struct error *e) MUST_CHECK;
/* force: kills it first. volumes: anonymous volumes go too. */
int engine_remove(struct engine *en, const char *ref, bool force, bool volumes,
                  struct error *e) MUST_CHECK;
int engine_resize(struct engine *en, const char *ref, unsigned rows, unsigned cols,
                  struct error *e) MUST_CHECK;

/* --- A container's files, from outside ---------------------------------------------------------- */

/* All files the container sees but those of its mounts, as a tar archive. write: image/image.h. */
int engine_export(struct engine *en, const char *ref, image_write_fn *write, void *data,
                  struct error *e) MUST_CHECK;

enum change_kind { CHANGE_MODIFIED, CHANGE_ADDED, CHANGE_DELETED }; /* Docker's numbers */
struct container_change {
    char *path;
    enum change_kind kind;
};
/* What the container changed in its image's files; of struct container_change, by path. */
int engine_changes(struct engine *en, const char *ref, struct json_list *ret,
                   struct error *e) MUST_CHECK;
void container_changes_done(struct json_list *l);

struct container_commit {
    const char *repo, *tag, *comment, *author; /* or NULL */
    char *const *changes;                      /* Dockerfile instructions */
    const struct oci_image_config *config;     /* instead of the container's; or NULL */
    bool pause;
    int cancel_fd;
};
/* A new image of the container's image and what the container changed. */
int engine_commit(struct engine *en, const char *ref, const struct container_commit *p,
                  char **ret_id, struct error *e) MUST_CHECK;

/* Output of ps(1) for the container's processes: ps_args NULL or "": "-ef". titles and rows are the
 * caller's to free (rows: array of strv, NULL-ended). */
int engine_top(struct engine *en, const char *ref, const char *ps_args, char ***ret_titles,
               char ****ret_rows, struct error *e) MUST_CHECK;

/* --- Waiting ----------------------------------------------------------------------------------- */

enum wait_condition { WAIT_NOT_RUNNING, WAIT_NEXT_EXIT, WAIT_REMOVED };
struct engine_wait;
/* Arms: what happens from now on is not missed. */
int engine_wait_begin(struct engine *en, const char *ref, enum wait_condition cond,
                      struct engine_wait **ret, struct error *e) MUST_CHECK;
/* Readable (POLLIN) when the condition has come true. */
int engine_wait_fd(const struct engine_wait *w);
/* After that: the exit code, and why the container failed or NULL (borrowed from w). */
int64_t engine_wait_result(const struct engine_wait *w, const char **ret_error);
void engine_wait_free(struct engine_wait *w);

/* --- Streams ----------------------------------------------------------------------------------- */

struct attach_params {
    bool stdin_on, stdout_on, stderr_on;
    bool logs;        /* replay the log first */
    bool stream;      /* then follow; without it only the replay */
    bool multiplexed; /* frames wanted when the container has no tty (always so by Docker) */
    const char *detach_keys;
    const void *early; /* bytes of stdin that came with the request */
    size_t early_len;
};
/*
 * Checks, before the connection is taken over, that attaching can work, and announces it: a start
 * that comes meanwhile waits (shortly) until engine_attach_end() for the client, which would
 * otherwise miss the first output.
 */
struct engine_attach_claim;
int engine_attach_begin(struct engine *en, const char *ref, bool *ret_tty,
                        struct engine_attach_claim **ret, struct error *e) MUST_CHECK;
void engine_attach_end(struct engine_attach_claim *claim); /* NULL is fine */
/* Hands the client's socket over; client_fd is closed in any case. A container not started yet
 * keeps it until its start. It is the claim's container whatever its name is by now. */
int engine_attach(struct engine_attach_claim *claim, const struct attach_params *p, int client_fd,
                  struct error *e) MUST_CHECK;

/* Opens the container's log. ERR_NOT_SUPPORTED for a driver that cannot be read. ret_tty: raw
 * output (no frames). */
int engine_logs(struct engine *en, const char *ref, const struct log_reader_params *p,
                struct log_reader **ret, bool *ret_tty, struct error *e) MUST_CHECK;

/* --- Execs --------------------------------------------------------------------------------------- */

int engine_exec_create(struct engine *en, const char *ref, struct exec_config *config /* taken */,
                       char ret_id[65], struct error *e) MUST_CHECK;
/* What of the request is known before the connection is taken over. ERR_CONFLICT when it ran
 * already or the container is not running. */
int engine_exec_check(struct engine *en, const char *exec_id, bool *ret_tty,
                      struct error *e) MUST_CHECK;
/* client_fd < 0: detached. Otherwise handed over (closed in any case); returns once it runs. */
int engine_exec_start(struct engine *en, const char *exec_id, int client_fd,
                      const struct attach_params *p, unsigned rows, unsigned cols,
                      struct error *e) MUST_CHECK;
int engine_exec_resize(struct engine *en, const char *exec_id, unsigned rows, unsigned cols,
                       struct error *e) MUST_CHECK;

struct exec_view {
    char id[65];
    char container_id[65];
    bool running;
    bool started;
    int64_t exit_code;
    bool has_exit_code;
    pid_t pid;
    bool can_remove;
    struct exec_config config; /* copy */
};
int engine_exec_inspect(struct engine *en, const char *exec_id, struct exec_view *ret,
                        struct error *e) MUST_CHECK;
void exec_view_done(struct exec_view *v);

/* --- Images: image/image.h's operations with the engine's events and use counts ------------------ */

struct image_store *engine_images(struct engine *en); /* for reading: list, resolve */
int engine_image_pull(struct engine *en, const struct image_pull_params *p,
                      struct error *e) MUST_CHECK;
/* ERR_UNAUTHORIZED: the registry auth->server_address refuses. *ret_token: identity token or NULL. */
int engine_registry_login(struct engine *en, const struct image_auth *auth, int cancel_fd,
                          char **ret_token, struct error *e) MUST_CHECK;
int engine_image_search(struct engine *en, const struct image_search_params *p,
                        struct json_list *ret, struct error *e) MUST_CHECK;
int engine_image_load(struct engine *en, const struct image_load_params *p,
                      struct error *e) MUST_CHECK;
int engine_image_push(struct engine *en, const struct image_push_params *p,
                      struct error *e) MUST_CHECK;
int engine_image_save(struct engine *en, const struct image_save_params *p,
                      struct error *e) MUST_CHECK;
int engine_image_import(struct engine *en, const struct image_import_params *p, char **ret_id,
                        struct error *e) MUST_CHECK;
int engine_image_tag(struct engine *en, const char *source, const char *repo, const char *tag,
                     struct error *e) MUST_CHECK;
int engine_image_remove(struct engine *en, const char *ref, bool force, bool prune,
                        struct image_removed *ret, struct error *e) MUST_CHECK;

/* --- Images mounted on the host ------------------------------------------------------------------ */

struct image_mount {
    struct image_mount *next;
    char *path;
    char *image_id;
    bool busy; /* it is being mounted, or unmounted */
};
/* Those that are mounted. Copies; image_mount_list_free() frees them. */
struct image_mount *engine_image_mounts(struct engine *en) MUST_CHECK;
void image_mount_list_free(struct image_mount *list);
DEFINE_AUTOPTR(struct image_mount, image_mount_list)
/* Read-only, on an existing folder, or (target NULL) on one below the engine's root that goes with the
 * mount. *ret_path is the caller's. */
int engine_image_mount(struct engine *en, const char *ref, const char *target, char **ret_path,
                       struct error *e) MUST_CHECK;
/* what: a folder (absolute) or an image, then all its mounts. force: also one in use. */
int engine_image_umount(struct engine *en, const char *what, bool force, char ***ret_paths,
                        struct error *e) MUST_CHECK;

/* --- Disk usage, and giving back what nobody uses ------------------------------------------------ */

enum { USAGE_IMAGES = 1, USAGE_CONTAINERS = 2, USAGE_VOLUMES = 4, USAGE_ALL = 7 };
struct usage_image {
    struct image *image;          /* referenced */
    bool has_child, intermediate; /* image_list_is_intermediate() */
    uint64_t shared;              /* bytes of layers that other images have too */
    int64_t containers;
};
struct usage_container {
    struct container_view *view; /* referenced */
    const char *image;           /* engine_image_title(); the view's */
    uint64_t rw, rootfs;
};
struct usage_volume {
    struct volume volume;
    uint64_t size;
    int64_t users; /* containers */
};
struct usage_sum {
    uint64_t count, active, size, reclaimable; /* active: used by containers; containers: running */
};
struct engine_usage {
    uint64_t layers_size; /* of all images, each layer once */
    struct usage_sum sum_images, sum_containers, sum_volumes;
    struct usage_image *images;
    size_t nimages;
    struct usage_container *containers;
    size_t ncontainers;
    struct usage_volume *volumes;
    size_t nvolumes;
};
/* what: USAGE_…, ored. Reads the disk. */
int engine_usage(struct engine *en, unsigned what, struct engine_usage *ret,
                 struct error *e) MUST_CHECK;
void engine_usage_done(struct engine_usage *u);

struct engine_pruned {
    char **deleted;              /* ids of containers, names of volumes */
    struct image_removed images; /* or what happened to images */
    uint64_t space;              /* bytes */
};
void engine_pruned_done(struct engine_pruned *p);
/* Containers that do not run; filters label, label!, until. */
int engine_container_prune(struct engine *en, const struct filter_set *set,
                           struct engine_pruned *ret, struct error *e) MUST_CHECK;
/* Images no container uses: those without a name (filter dangling=false: all); label, label!, until. */
int engine_image_prune(struct engine *en, const struct filter_set *set, struct engine_pruned *ret,
                       struct error *e) MUST_CHECK;
/* Volumes no container uses: anonymous ones, or all (also by filter all=true); label, label!. */
int engine_volume_prune(struct engine *en, const struct filter_set *set, bool all,
                        struct engine_pruned *ret, struct error *e) MUST_CHECK;

/* --- Volumes, networks: for reading --------------------------------------------------------------- */

struct volume_store *engine_volumes(struct engine *en);
/* Also with a limit (options size=, inodes=). A volume of that name that is there is returned. */
int engine_volume_create(struct engine *en, const struct volume_params *p, struct volume *ret,
                         struct error *e) MUST_CHECK;
int engine_volume_remove(struct engine *en, const char *name, bool force,
                         struct error *e) MUST_CHECK;
void engine_network_info(struct engine *en, struct network_info *ret);

/* --- Events --------------------------------------------------------------------------------------- */

struct engine_event {
    unsigned refs;
    int64_t time; /* ns */
    char *type;   /* container, image, network, volume, daemon */
    char *action; /* "start", "exec_create: sh", … */
    char *actor_id;
    struct json_map attributes;
};
struct event_reader;
/* Events since `since` (ns, 0: from now on) until `until` (ns, 0: for ever). Filters: container
 * event image label type network volume daemon scope; ERR_INVALID for others. */
int engine_events_open(struct engine *en, int64_t since, int64_t until, const struct filter_set *f,
                       struct event_reader **ret, struct error *e) MUST_CHECK;
/* Readable when an event waits. */
int event_reader_fd(const struct event_reader *r);
/* 1 and an event (event_free() it), 0: none now, -ENODATA: past `until`, or the engine closes. */
int event_reader_next(struct event_reader *r, struct engine_event **ret) MUST_CHECK;
/* Milliseconds until `until` is reached, for poll(2); -1: never. */
int event_reader_timeout_ms(const struct event_reader *r);
void event_reader_free(struct event_reader *r);
void event_free(struct engine_event *ev);

/* --- The engine itself ---------------------------------------------------------------------------- */

/* --- What a container uses ---------------------------------------------------------------------- */

struct network_stats {
    char name[16];
    uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
    uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};
struct container_stats {
    char id[65];
    char *name;
    bool running; /* false: the rest is zero */
    int64_t read_ns;
    struct cgroup_stats cgroup;
    uint64_t system_ns; /* processor time of the whole host since boot */
    int64_t ncpu;
    uint64_t mem_limit; /* the cgroup's, or the host's memory */
    struct network_stats *networks;
    size_t nnetworks;
};
/* One sample. A container that does not run has one too. */
int engine_stats(struct engine *en, const char *ref, struct container_stats *ret, struct error *e);
void container_stats_done(struct container_stats *s);

/* --- The engine itself -------------------------------------------------------------------------- */

struct engine_info {
    char id[65];
    size_t containers, running, paused, stopped, images;
    const char *rootfs_driver;
    char **rootfs_status; /* pairs of name and value */
    const char *log_driver;
    const char *cgroup_driver;  /* "cgroupfs" */
    const char *cgroup_version; /* "1" or "2" */
    char *kernel_version;
    char *operating_system;
    char *os_version;
    char *architecture; /* "x86_64" */
    int64_t ncpu;
    int64_t mem_total;
    char *root;
    char *name; /* host name */
    char **insecure_registries;
    char *signature_policy;                    /* file */
    char **registry_mirrors;                   /* of Docker Hub */
    char *http_proxy, *https_proxy, *no_proxy; /* without passwords */
    char **labels;
    char **warnings;
    char **security_options; /* "name=seccomp,profile=builtin", … */
    bool memory_limit, swap_limit, cpu_quota, cpu_shares, cpuset, pids_limit, oom_kill_disable,
        ipv4_forwarding;
    char **runtimes; /* "name", "program", … */
    char *default_runtime;
    bool debug;
    size_t nfd, nthreads, nevent_readers;
    int64_t system_time;
};
void engine_info(struct engine *en, struct engine_info *ret);
void engine_info_done(struct engine_info *i);
