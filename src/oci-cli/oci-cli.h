/* SPDX-License-Identifier: Apache-2.0 */
/* pouch-oci: the runtime library behind the command line that runc made customary. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/strv.h"
#include "oci/spec.h"

#define OCI_DEFAULT_ROOT "/run/pouch-oci"

/* Options of all commands, filled by options.c from one table. */
struct options {
    char *root, *log, *log_format, *rootless, *criu, *cgroup_manager; /* global */
    bool debug, systemd_cgroup;
    char *bundle, *pid_file, *console_socket, *process, *cwd, *user, *format, *apparmor;
    char *process_label, *cgroup, *interval, *resources, *preserve_fds;
    char **env, **caps, **gids;
    bool detach, keep, no_pivot, no_new_keyring, no_subreaper, tty, all, force, quiet;
    bool no_new_privs, ignore_paused, stats, rootless_spec;
    /* checkpoint, restore */
    char *image_path, *work_path, *parent_path, *manage_cgroups_mode;
    char **empty_ns;
    bool leave_running, tcp_established, ext_unix_sk, shell_job, file_locks, pre_dump;
    /* update */
    char *blkio_weight, *cpu_period, *cpu_quota, *cpu_burst, *cpu_share, *cpu_rt_period;
    char *cpu_rt_runtime, *cpuset_cpus, *cpuset_mems, *cpu_idle, *kernel_memory;
    char *kernel_memory_tcp, *memory, *memory_reservation, *memory_swap, *pids_limit;
    char *l3_cache_schema, *mem_bw_schema;
    char **args;   /* what is not an option */
    unsigned nfds; /* descriptors 3 … that the program is to get: LISTEN_FDS, --preserve-fds */
    unsigned listen_fds; /* of them, those of LISTEN_FDS */
};

struct command {
    const char *name;
    const char *usage; /* arguments */
    const char *help;
    int min_args, max_args; /* max -1: any number, the first ends the options */
    int (*run)(struct options *o, struct error *e); /* exit code, or -errno with e */
};
extern const struct command oci_commands[];

/* Reads argv; 0, or -errno. *ret_cmd is NULL when help or the version was printed. */
int options_parse(char **argv, struct options *o, const struct command **ret_cmd,
                  struct error *e) MUST_CHECK;
void options_done(struct options *o);
void options_help(const struct command *cmd);

/* Finds out which descriptors are to be handed on, before others are opened. */
int options_find_fds(struct options *o, struct error *e) MUST_CHECK;
/* LISTEN_FDS and LISTEN_PID for the program. */
void options_listen_env(const struct options *o, char ***env);

/* --- main.c */

/* What did not go as asked for and is not fatal: to standard error and to the log file. */
void warn_user(const struct options *o, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- state.c: <root>/<id>/state.json and the start gate -------------------------------------- */

#define STATE_GATE   "gate"   /* the named pipe that init of a created container waits at */
#define STATE_STATUS "status" /* and the one it keeps open until it executes the program */

struct state {
    char *id;
    char *bundle;
    char *cgroup_path;
    char *owner;
    char *unit;   /* systemd's, NULL: the cgroup is made by the file system */
    char *config; /* config.json as it was when the container was created */
    int64_t pid;
    uint64_t start_time; /* of init, from /proc/<pid>/stat: tells a reused pid */
    int64_t created;
    bool started;    /* also when the gate is gone: start takes it away, and writes no state */
    bool own_pid_ns; /* its processes end with init */
    bool
        plain; /* nothing in config.json is of interest to start and delete: no hooks, no intelRdt */
};
extern const struct json_desc state_json;

int state_check_id(const char *id, struct error *e) MUST_CHECK;
/*
 * <root>/<id> is locked (flock) by who makes the container and by who removes it, so that these are
 * never at it together; whoever dies lets go of it. Both return the lock, which is held until it is
 * closed.
 */
/* Makes <root>/<id>; ERR_CONFLICT when it is there. */
int state_make_dir(const struct options *o, const char *id, struct error *e) MUST_CHECK;
/* ERR_NOT_FOUND without the folder, ERR_TIMEOUT when another keeps it for long. */
int state_lock(const struct options *o, const char *id, struct error *e) MUST_CHECK;
/*
 * What is about to be made, for who finds the folder without a state.json: its maker was killed.
 * unit NULL: not systemd's. state_making gives both back, -ENOENT: nothing was made yet.
 */
int state_note_making(const struct options *o, const char *id, const char *cgroup_path,
                      const char *unit, struct error *e) MUST_CHECK;
int state_making(const struct options *o, const char *id, char **ret_cgroup_path,
                 char **ret_unit) MUST_CHECK;
int state_save(const struct options *o, const struct state *s, struct error *e) MUST_CHECK;
int state_load(const struct options *o, const char *id, struct state *ret,
               struct error *e) MUST_CHECK;
void state_done(struct state *s);
/* The specification that the container was created with. */
int state_spec(const struct state *s, struct oci_spec *ret, struct error *e) MUST_CHECK;
int state_remove_dir(const struct options *o, const char *id, struct error *e);
/* "created", "running", "paused", "stopped" */
const char *state_status(const struct state *s);
uint64_t state_start_time(pid_t pid);
/* A pidfd that is init's for certain, whoever gets its number later. -ESRCH: it has ended. */
int state_open_init(const struct state *s) MUST_CHECK;
/* 0, or -ESRCH: it has ended. */
int state_signal(const struct state *s, int sig) MUST_CHECK;
/* Path of a file in <root>/<id>; the caller frees it. */
char *state_path(const struct options *o, const char *id, const char *file) MUST_CHECK;

/* --- commands ------------------------------------------------------------------------------ */

/* --format: "table" or "json" (or nothing)? */
int check_format(const struct options *o, struct error *e) MUST_CHECK;
int cmd_create(struct options *o, struct error *e);
int cmd_start(struct options *o, struct error *e);
int cmd_run(struct options *o, struct error *e);
int cmd_state(struct options *o, struct error *e);
int cmd_kill(struct options *o, struct error *e);
int cmd_delete(struct options *o, struct error *e);
int cmd_list(struct options *o, struct error *e);
int cmd_spec(struct options *o, struct error *e);
int cmd_features(struct options *o, struct error *e);
int cmd_exec(struct options *o, struct error *e);
int cmd_pause(struct options *o, struct error *e);
int cmd_resume(struct options *o, struct error *e);
int cmd_ps(struct options *o, struct error *e);
int cmd_update(struct options *o, struct error *e);
int cmd_events(struct options *o, struct error *e);
int cmd_checkpoint(struct options *o, struct error *e);
int cmd_restore(struct options *o, struct error *e);

/* --- lifecycle.c: what restore has in common with create, start and delete ------------------- */

int write_pid_file(const char *path, pid_t pid, struct error *e) MUST_CHECK; /* NULL: none */
/* The socket the terminal's master is sent to: --console-socket's, or one whose other end is
 * *ret_ours; -EBADF without e when there is no terminal. */
int container_console(const struct options *o, bool terminal, bool foreground, int *ret_ours,
                      struct error *e) MUST_CHECK;
char *owner_name(void) MUST_CHECK;
bool own_pid_namespace(const struct oci_spec *s);
/* Hooks after the start; one that fails ends the container. */
int poststart(const struct oci_spec *spec, const struct state *s, struct error *e) MUST_CHECK;
/* What is left of an ended container; poststop hooks last. */
int remove_container(struct options *o, const struct state *s, struct error *e) MUST_CHECK;
/* The same after waiting for it, if nobody else has. */
int remove_own(struct options *o, const struct state *s, struct error *e) MUST_CHECK;

/* --- tty.c --------------------------------------------------------------------------------- */

/* Connects to the --console-socket. */
int console_connect(const char *path, struct error *e) MUST_CHECK;
/* Relays between our terminal and the pty master that arrives on sock, and signals to pid, until
 * pid ends; its exit code. sock -EBADF: no terminal. */
int tty_wait(pid_t pid, int sock);
