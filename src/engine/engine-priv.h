/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the engine.
 *
 * Locks, in the order in which they may be taken:
 *   engine.mutex     the maps of containers, names and execs; reference counts found through them
 *   container.mutex  one container's state, its view, its waiters, its execs
 *   events.mutex     the event ring and its readers
 * None of them is ever held across a system call that may block. What excludes two operations on
 * one container from each other is container.op, a claim with a deadline, not a lock.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "engine/engine.h"
#include "engine/rich.h"
#include "io/loop.h"
#include "monitor/monitor.h"
#include "quota/quota.h"
#include "rootfs/rootfs.h"
#include "store/store.h"
#include "sys/cgroup.h"

#define ENGINE_OP_DEADLINE_NS (30 * NSEC_PER_SEC) /* how long a second operation waits */

struct events;
struct lxcfs;
struct watch;
struct workers;

struct engine {
    char *root;
    char *boot; /* this one's id */
    char *state;
    char *cgroup_parent;
    char *id_file;
    char id[65];
    char *default_log_driver;
    struct json_map log_opts;
    char **insecure_registries;
    char *signature_policy, *registries_d, *auth_file;
    char **dns;
    char **dns_search;
    char **dns_options;
    char **labels;
    char *init_path;
    char *monitor_program;
    struct json_list default_ulimits;
    struct json_list runtimes; /* of runtime_config; borrowed */
    char *default_runtime;
    bool no_new_privileges;
    char *userns;       /* default mode, NULL: the host's */
    char **userns_pool; /* "FIRST:SIZE" */
    bool debug;

    struct store *store;
    char **unread; /* ids of records that could not be read: nothing of theirs is swept */
    struct image_mount *image_mounts; /* under mutex */
    struct reaper *reaper;            /* frees in the background what was removed */
    struct image_store *images;
    struct rootfs *rootfs;
    struct volume_store *volumes;
    struct quota_manager *quota;
    struct network_manager *network;
    struct lxcfs *lxcfs; /* NULL: not asked for */

    pthread_mutex_t mutex;
    struct map *by_id;   /* struct container * (one reference each) */
    struct map *by_name; /* struct container * (borrowed from by_id) or RESERVED_NAME */
    struct map *execs;   /* struct exec * (one reference each) */
    struct gone *gone;   /* the last that went by --rm; under mutex */
    size_t ngone;

    struct events *events;
    struct loop *loop; /* one thread: monitors' news, timers */
    pthread_t loop_thread;
    struct workers *workers; /* handle exits: they block */
    struct workers *probers; /* talk to monitors for health checks */
    struct probe *probes;    /* the loop thread's */
    atomic_bool closing;
    atomic_uint nevent_readers;
    struct source *network_source;
    struct watch *watches; /* the loop thread's: one for each monitor it listens to */
    struct map *seccomp;   /* capability list -> struct buf * of BPF; under mutex */
};

enum container_op {
    OP_NONE,
    OP_START,
    OP_REMOVE,
    OP_PAUSE,
    OP_RENAME,
    OP_EXIT,
    OP_UPDATE,
    OP_UPGRADE,
    OP_MAX
};

/* A running container's monitor, shared by the threads that talk to it. */
struct live {
    atomic_uint refs;
    struct monitor *monitor;
    struct source *source; /* in engine.loop */
};
struct live *live_new(struct monitor *m /* taken */); /* one reference */
/* Its init is on its way out or has gone; the monitor's word of it may not have come yet. Tells
 * errors that come of an end in the middle of something from others. */
bool live_has_ended(struct live *l);
struct live *live_ref(struct live *l);
void live_unref(struct live *l);

struct pending_attach {
    struct pending_attach *next;
    int fd;
    struct attach_params params; /* detach_keys and early are owned copies */
};

struct engine_wait {
    struct engine_wait *next;
    struct container *container; /* referenced; NULL: gone, the result is set */
    enum wait_condition cond;
    int fd;
    bool done; /* result is set, no longer in the list */
    int64_t exit_code;
    char *error;
};

struct exec {
    atomic_uint refs;
    char id[65];
    struct container *container; /* referenced */
    struct exec_config config;
    /* under container->mutex: */
    bool started;
    bool running;
    bool has_exit_code;
    int64_t exit_code;
    pid_t pid;
    int64_t finished; /* monotonic ns */
};

struct container {
    atomic_uint refs;
    struct engine *en;
    char id[65]; /* never changes, as does the folder <root>/containers/<id> */
    pthread_mutex_t mutex;
    pthread_cond_t cond; /* op has ended, or the status changed */

    /* The definition's version in force. Read it through container_def_ref() only. */
    struct container_definition *def_now;

    enum container_op op;
    bool removed;

    char *name;
    enum container_status status;
    pid_t pid;
    int64_t exit_code;
    bool oom_killed;
    char *error;
    int64_t started;
    int64_t finished;
    int64_t restart_count;
    bool has_endpoint;
    struct network_endpoint endpoint;
    char **warnings;       /* of the last start */
    unsigned keeps;        /* restarts by users under way: --rm does not remove it at an end */
    bool stop_requested;   /* the user ended it: no restart until the next start by a user */
    uint64_t exits;        /* counts ends, for WAIT_NEXT_EXIT */
    int64_t restart_delay; /* ns, of the next restart by policy */
    struct source *restart_timer;
    bool remove_volumes; /* with an automatic removal */

    unsigned holds;              /* commits under way that want it to stand still */
    bool held;                   /* one of them paused it */
    struct hooks_due *hooks_due; /* poststop hooks that are owed, or NULL: hooks.c */
    unsigned hook_phase;         /* enum hook_phase: hooks that run now */
    int hook_cancel;             /* eventfd that cuts them short, or -EBADF */
    bool hook_aborted;           /* it was used by who ends the container */

    struct health_state *health; /* NULL: no health check, or it never ran */
    struct probe *probe;         /* the loop thread's: health.c */

    struct live *live; /* while it runs */
    struct engine_wait *waits;
    struct pending_attach *pending;
    char *pending_change; /* as loaded: an update or upgrade that a killed pouchd left (update.c) */
    bool upgrading;       /* upgrade.c: no restart by policy, no other operation */
    char *upgrade_images[2]; /* while upgrading: both are in use */
    struct {
        char ip[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN], mac[18];
    } keep_address;     /* for the starts of an upgrade; "": any */
    unsigned attaching; /* clients that will be there in a moment */
    struct exec **execs;
    size_t nexecs;
    struct container_view *view;
};

/* --- container.c: objects, claims, views, the registry ------------------------------------------- */

struct container *container_ref(struct container *c);
void container_unref(struct container *c);
static inline void container_free(struct container *c)
{
    container_unref(c);
}
DEFINE_AUTOPTR(struct container, container)
struct container *container_new(struct engine *en, struct container_definition *def /* taken */,
                                const char *name);

/*
 * Definitions. A version is never written to once it has been given to container_new() or
 * container_redefine(): who reads one holds a reference, and a change makes a new version of it:
 *
 *     AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
 *
 * Whoever holds the container's claim sees no other version until the claim ends. A start works
 * with one version from its first step to its last: start_context.def.
 */
struct container_definition *container_def_new(void);
const struct container_definition *container_def_ref(struct container *c);
void container_def_free(const struct container_definition *def); /* drops one reference */
DEFINE_AUTOPTR(const struct container_definition, container_def)
/* A deep copy that may be written to, one reference. */
struct container_definition *container_def_copy(const struct container_definition *def);
/* Makes next (taken over in any case) the version in force: on record first, then for readers and
 * in the view. The claim is held. On failure nothing has changed. */
int container_redefine(struct container *c, struct container_definition *next,
                       struct error *e) MUST_CHECK;

/* Finds by ref; the result is referenced. ERR_NOT_FOUND "No such container: x", ERR_INVALID for an
 * ambiguous prefix. */
int container_find(struct engine *en, const char *ref, struct container **ret, struct error *e);

/* Claims the container for one operation; waits for the one in flight at most until the deadline.
 * ERR_CONFLICT when that passes, ERR_NOT_FOUND when it was removed meanwhile. */
int container_claim(struct container *c, enum container_op op, struct error *e) MUST_CHECK;
void container_release_claim(struct container *c);

/* Publishes a new view from the state. c->mutex is held. */
void container_publish(struct container *c);
struct container_view *container_get_view(struct container *c); /* referenced */

/* Wakes waiters whose condition holds now. c->mutex is held. */
void container_wake_waiters(struct container *c);
/* gone.c: how those made with --rm ended that went within the last minute, by their whole id. */
void gone_note(struct container *c);
bool gone_find(struct engine *en, const char *id, int *ret_exit_code);

/* Names: reserve before a container exists; ERR_CONFLICT in Docker's words. */
int name_check(const char *name, struct error *e);
int name_reserve(struct engine *en, const char *name, const char *id, struct error *e);
void name_unreserve(struct engine *en, const char *name);
/* A free random name ("brave_otter"), reserved. The caller frees it. */
char *name_generate(struct engine *en);
void registry_add(struct engine *en, struct container *c); /* takes over the reference */
void registry_remove(struct engine *en, struct container *c);

/* --- image-mounts.c ------------------------------------------------------------------------------- */

int image_mounts_open(struct engine *en, struct error *e) MUST_CHECK;
void image_mounts_done(struct engine *en);
/* en->mutex is held. */
bool image_mounts_use(struct engine *en, const char *image_id);
/* ERR_CONFLICT when removing `ref` would take a mounted image away. */
int image_mounts_check_remove(struct engine *en, const char *ref, struct error *e) MUST_CHECK;

/* --- record.c: the database ----------------------------------------------------------------------- */

int record_migrate(struct store *s, struct error *e);
int record_insert(struct engine *en, struct container *c, struct error *e);
/* Writes the state that changes (status, name, pid, exit code, times). Not under c->mutex. */
int record_update(struct container *c, struct error *e);
int record_delete(struct engine *en, const char *id, struct error *e);
/* Calls back for each stored container, which the callback takes over. */
int record_load(struct engine *en, void (*each)(struct engine *, struct container *),
                struct error *e);

/* Definition and what is to be done about it, in one step: a pouchd killed before the change is
 * complete leaves `pending` to the next one (container.pending_change). NULL: nothing. */
int container_redefine_pending(struct container *c, struct container_definition *next,
                               const char *pending, struct error *e) MUST_CHECK;
int record_pending(struct container *c, const char *pending, struct error *e);
extern const struct json_desc container_definition_json;

/* --- update.c: changes of a container that may run ------------------------------------------------- */

#define UPDATE_HOSTS_FILE "hosts.new" /* what hosts is about to become, while it is written */

/*
 * An update is a table of parts. check() validates the request's share and writes it into `next`,
 * without side effects. Then the new version goes on record together with the old one; then
 * apply(from, to) makes it true for what runs. apply() looks at nothing but the difference of the
 * two versions and can be repeated, so that the way back is the same call with both exchanged, and
 * a pouchd that was killed half-way leaves the rest to the next one.
 */
struct update_context {
    struct container *c;                    /* claimed */
    const struct container_update *update;  /* check() only; NULL after a restart of pouchd */
    const struct container_definition *old; /* in force */
    struct container_definition *next;      /* check(): to be written to */
    const struct container_definition *now; /* then: the new version, referenced */
    bool again; /* apply() may find its work done: the way back, or after a restart of pouchd */
    struct live *live; /* referenced; NULL: it does not run */
    const char *cgroup;
    char ***warnings;           /* may be NULL */
    struct volume_mounts added; /* by update_mounts_check(), their volumes made */
};
struct update_part {
    const char *name;
    int (*check)(struct update_context *u, struct error *e);
    int (*apply)(struct update_context *u, const struct container_definition *from,
                 const struct container_definition *to, struct error *e);
    bool when_stopped; /* apply() is called for a container that does not run, too */
};
/* After a restart of pouchd: ends an update that was cut off. */
void update_recover(struct container *c);

/* --- upgrade.c ---------------------------------------------------------------------------------------- */

/* ERR_CONFLICT while it is being upgraded. */
int upgrade_check(struct container *c, struct error *e);
/* After a restart of pouchd: is an upgrade on record? Then marks it as under way, before anything is
 * done about its runs; upgrade_resume() goes on with it on a worker, or takes it back. */
bool upgrade_recover(struct container *c);
void upgrade_resume(struct container *c);
/* From a request and another image to the next version (upgrade-merge.c). old_image may be NULL.
 * ret_added: volumes of the new image that the container lacked. */
int upgrade_definition(const struct container_definition *old, const struct image *old_image,
                       const struct image *img, const struct container_upgrade *request,
                       struct container_definition **ret, struct volume_mounts *ret_added,
                       struct error *e);
/* Ends what runs, with its stop signal and then SIGKILL (lifecycle.c). */
int container_stop(struct container *c, const char *signal, struct opt_int timeout,
                   struct error *e);

/* update-limits.c, update-config.c */
int update_limits_check(struct update_context *u, struct error *e);
int update_limits_apply(struct update_context *u, const struct container_definition *from,
                        const struct container_definition *to, struct error *e);
int update_config_check(struct update_context *u, struct error *e);
/* update-mounts.c */
int update_mounts_check(struct update_context *u, struct error *e);
int update_mounts_apply(struct update_context *u, const struct container_definition *from,
                        const struct container_definition *to, struct error *e);
void update_mounts_abandon(struct update_context *u);
void update_mounts_release(struct update_context *u, const struct container_definition *from,
                           const struct container_definition *to);
int update_devices_check(struct update_context *u, struct error *e);
int update_devices_apply(struct update_context *u, const struct container_definition *from,
                         const struct container_definition *to, struct error *e);
/* update-ports.c */
int update_ports_check(struct update_context *u, struct error *e);
int update_ports_apply(struct update_context *u, const struct container_definition *from,
                       const struct container_definition *to, struct error *e);
int update_network_check(struct update_context *u, struct error *e);
int update_network_apply(struct update_context *u, const struct container_definition *from,
                         const struct container_definition *to, struct error *e);
int update_restart_check(struct update_context *u, struct error *e);
/* What differs between two versions, with the kernel's defaults where `to` has no limit. */
int update_limits_diff(const struct json_list *ulimits, const struct host_config *from,
                       const struct host_config *to, const char *cgroup,
                       struct cgroup_resources *ret, struct error *e);

/* --- create.c, spec.c -------------------------------------------------------------------------------- */

int signal_parse(const char *name, int *ret); /* "KILL", "SIGKILL", "9"; -EINVAL */

struct oci_spec;
struct start_context;
/* Fills the runtime spec of a container about to start. */
int spec_build(struct container *c, const struct start_context *ctx, struct oci_spec *ret,
               struct error *e);
/* Block I/O limits: devices by number. */
/* The cgroup's device rules of a host config. */
int spec_device_rules(const struct host_config *hc, struct cgroup_resources *res, struct error *e);
int spec_block_io(const struct host_config *hc, struct cgroup_resources *res, struct error *e);
/* The container's environment: the image's and the user's. The caller frees it. */
char **spec_container_env(const struct container_definition *def);
/* Root at "/" without a terminal or an init, for a hook after the container's end. */
void spec_for_hook(struct oci_spec *s);
/* The spec's process object for an exec, as JSON the caller frees. */
int spec_exec_process(struct container *c, const struct exec_config *config, char **ret_json,
                      struct error *e);
/* What --security-opt says. profile is borrowed from the host config: JSON text, or NULL. */
struct spec_security {
    bool no_new_privileges;
    bool unconfined;
    const char *profile;
};
int spec_security(const struct engine *en, const struct host_config *hc, struct spec_security *ret,
                  struct error *e);
/* The bounding set, "CAP_…" names; the caller frees it. */
int spec_capabilities(const struct host_config *hc, char ***ret, struct error *e);
int spec_check_device_rules(const struct host_config *hc, struct error *e);
/* The compiled filter of a container, kept by the engine; *ret_bpf NULL: unconfined. */
int engine_seccomp(struct engine *en, const struct host_config *hc, const void **ret_bpf,
                   size_t *ret_len, struct error *e);
/* Memory, CPU, block I/O; fills in defaults. Restart policy. Device nodes. */
int validate_limits(struct host_config *hc, struct error *e);
int validate_restart(struct host_config *hc, struct error *e);
int validate_devices(const struct host_config *hc, struct error *e);
/* Makes the volumes, limits them, and fills the new ones with what the image (NULL: nothing) has there.
 * made: the container is new: its disk budgets, and its folder when that is limited; else NULL. */
int create_prepare_volumes(struct engine *en, const char *id, struct volume_mounts *mounts,
                           const struct image *img, struct container_definition *made,
                           char ***warnings, struct error *e);
/* path and args from entrypoint and cmd. */
int create_fill_command(struct container_definition *def, struct error *e);
int create_check_addresses(const struct container_config *config, const struct create_extra *extra,
                           struct error *e);
int validate_create(struct engine *en, struct container_config *config, struct host_config *hc,
                    char ***warnings, struct error *e);

struct engine_params;
/* view.c: what a container sees of memory, CPUs and load */
int view_open(struct engine *en, const struct engine_params *p, struct error *e);
int view_validate(struct engine *en, struct host_config *hc, struct error *e);
/* A step of the start: lxcfs runs, when it is asked for. */
int view_prepare(struct start_context *ctx, struct error *e);
struct monitor_params;
void view_fill_monitor(const struct start_context *ctx, struct monitor_params *p);
void view_add_mounts(const struct start_context *ctx, struct oci_spec *s);
/* It is among the running ones now. */
void view_started(const struct start_context *ctx);

/* identity.c: serial number, UUID and machine id */
int identity_validate(struct host_config *hc, struct error *e);
void identity_fill(struct container_definition *def); /* at creation: what "auto" is */
/* 32 digits and the NUL: of the UUID, or of the container's id. */
void identity_machine_id(const struct container_definition *def, char out[33]);
int identity_prepare(struct start_context *ctx, struct error *e); /* a step of the start */
void identity_apply(const struct start_context *ctx, struct oci_spec *s);

/* All containers on record, referenced; the caller frees the list. */
struct container **engine_all_containers(struct engine *en, size_t *ret_n);

/* Adds a mount unless the user has one there. */
void spec_add_mount(struct oci_spec *s, const struct container_definition *def,
                    const char *destination, const char *type, const char *source,
                    const char *const *options);
bool spec_is_mounted_by_user(const struct container_definition *def, const char *path);

const char *mode_container(const char *mode); /* "container:x" -> "x", else NULL */

/* --- start.c, exit.c ---------------------------------------------------------------------------------- */

struct start_context {
    struct container *c;
    const struct container_definition *def; /* the version that is started; referenced */
    const char *bundle;                     /* <state>/c/<id> */
    struct image *image;
    struct rootfs_mount rootfs;
    struct network_endpoint endpoint;
    bool reserved;
    struct oci_spec *spec;
    struct monitor *monitor;
    char *cgroup; /* "/pouch/<id>" */
    char **warnings;
    pid_t netns_pid; /* container:ID: whose namespaces are joined */
    pid_t ipc_pid;
    pid_t pid_pid;
    struct rich_start *rich;   /* NULL: a plain container */
    uint64_t lxcfs_generation; /* whose mounts it gets; 0: none */
    pid_t userns_pid;
    char *loadavg; /* lxcfs' */
};
/* All ports a definition publishes (-P too); port_specs_done(). */
int start_collect_ports(const struct container_definition *def, struct port_specs *out,
                        struct error *e);
/* Address and ports as a definition wants them, from the network manager. */
int start_reserve(struct container *c, const struct container_definition *def,
                  struct network_endpoint *ret, struct error *e);
/* A bundle in which a process runs over the files of a container that has ended. */
int start_hook_bundle(struct container *c, const struct container_definition *def,
                      const char *bundle, const char *cgroup, struct error *e);
/* Starts a claimed container. */
int container_start_claimed(struct container *c, struct error *e);
/* Its end is heard from now on, by the loop; c->live is set already. */
void container_watch(struct container *c, struct live *live /* taken: the reference */);
/* The monitor is gone, or said that the container ended: called on a worker thread. */
void container_handle_exit(struct container *c, const struct monitor_exit *exit_info);
/* Of a container that does not run: poststop hooks that an earlier pouchd left, and what follows. */
void container_finish_end(struct container *c);
/* At the end of the engine, when the loop's thread is gone. */
void watches_free(struct engine *en);
/* Removes all kernel and disk state of one run (cgroup, bundle, network). */
void container_clean_run(struct container *c);
char *container_state_dir(const struct engine *en, const char *id);
char *container_cgroup(struct container *c); /* the same for all versions of the definition */
/*
 * Pauses a running container while its files are read; several may, the last unpauses. Nothing
 * happens to one that is paused already or does not run. No claim is held in between.
 */
int container_hold_paused(struct container *c, struct error *e) MUST_CHECK;
void container_end_paused(struct container *c);
/* After a restart of pouchd: thaws what a commit of the one before held. */
void container_end_paused_of_old(struct container *c, const char *cgroup);

/* Removes a claimed container that does not run. */
int container_remove_claimed(struct container *c, bool volumes, struct error *e);
void container_schedule_restart(struct container *c);
/* A start by the user: count and back-off begin anew. c->mutex is held. */
void container_forget_restarts(struct container *c);
void exec_unref(struct exec *x);
struct exec *exec_find(struct engine *en, const char *id);
void exec_handle_exit(struct container *c, const char *exec_id, int64_t code);
/* All execs of an ended container have ended. */
void exec_all_ended(struct container *c);

/* --- quota.c: disk budgets ----------------------------------------------------------------------------- */

/* Syntax and consistency of the request's rules. */
int quota_validate(const struct container_config *config, const struct host_config *hc,
                   struct error *e) MUST_CHECK;
bool quota_is_asked(const struct container_definition *def);
/* Volumes are there and empty or not: makes the budgets of a new container (also its folder, when that
 * is limited) and of its volumes. */
int quota_create(struct engine *en, struct container_definition *def, char ***warnings,
                 struct error *e) MUST_CHECK;
/* The volumes of `copied` have the image's content: that counts, and must fit. */
int quota_created(struct engine *en, const char *id, const struct volume_mounts *mounts,
                  const bool *copied, struct error *e) MUST_CHECK;
/* Volumes with a size of their own: it is in force. */
int quota_volumes(struct engine *en, const struct volume_mounts *mounts,
                  struct error *e) MUST_CHECK;
/* Before a start: all in force, or an error. */
int quota_start(struct engine *en, const struct container_definition *def,
                struct error *e) MUST_CHECK;
/* How large the log of a container whose folder is limited may grow before it is rotated, when
 * nothing else was said; 0: as large as it likes. */
int64_t quota_log_size(struct engine *en, const char *id);
/* With the container: its folder and all in it, its ids. */
int quota_release_container(struct engine *en, const char *id, struct error *e) MUST_CHECK;
int quota_volume_make(struct engine *en, const char *name, const char *source,
                      const struct quota_limit *limit, struct error *e) MUST_CHECK;
struct update_context;
int quota_update_check(struct update_context *u, struct error *e);
int quota_update_apply(struct update_context *u, const struct container_definition *from,
                       const struct container_definition *to, struct error *e);
/* After the records are loaded: gives back what a killed pouchd left, mounts images. */
void quota_recover(struct engine *en);

/* --- streams.c --------------------------------------------------------------------------------------- */

int attach_to_monitor(struct monitor *m, const struct attach_params *p, int client_fd,
                      struct error *e);
void pending_attach_free(struct pending_attach *p); /* closes its socket */

/* images.c, for image_store: who uses this image? */
/* An image that was made with another storage driver is converted when this one cannot use it as it
 * is: *img is another object then (NULL after an error). Before anything of its layers is used. */
int engine_image_usable(struct engine *en, struct image **img, struct error *e) MUST_CHECK;
/* image_remove_unused(), and its events. */
int engine_image_remove_unused(struct engine *en, const char *id, char *const *tags,
                               struct image_removed *ret, struct error *e) MUST_CHECK;
void engine_layer_going(void *data, const char *layer);
void engine_layer_measure(void *data, const char *hex, char ret[80]);
void engine_layer_gone(void *data, const char *layer);
enum image_use engine_image_in_use(void *data, const char *image_id, char ret_container[65]);
void engine_image_collected(void *data, const char *image_id, const char *name);

/* --- workers.c ------------------------------------------------------------------------------------------ */

struct workers *workers_new(unsigned n);
void workers_free(struct workers *w); /* waits for what runs */
void workers_post(struct workers *w, void (*fn)(void *), void *data);
/* The same; false when no job is taken any more: the engine closes. */
bool workers_try_post(struct workers *w, void (*fn)(void *), void *data);
/* n 1: a job is about to wait for long, another thread may take its place; -1: it goes on. */
void workers_block(struct workers *w, int n);

/* --- events.c -------------------------------------------------------------------------------------------- */

struct events *events_new(struct engine *en);
void events_free(struct events *ev);
/* attributes is taken over (zeroed). */
void events_emit(struct engine *en, const char *type, const char *action, const char *id,
                 struct json_map *attributes);
/* A container's event with its labels, image and name; extra pairs NULL-ended: key, value, … */
void events_container(struct container *c, const char *action, ...) __attribute__((sentinel));
