/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the runtime.
 *
 * "Stage" is the process that calls runtime_create() or runtime_exec(); "init" is the one it
 * clones. They talk over a socket pair in struct sync_msg until init is ready.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "runtime/runtime.h"
#include "sys/caps.h"
#include "sys/cgroup.h"

/* --- sync.c: messages between stage and init ------------------------------------------------ */

enum sync_type {
    SYNC_WARNING = 1, /* init → stage, text */
    SYNC_ERROR,       /* init → stage, code, errnum, text; the last message */
    SYNC_NEED_MAPS, /* init → stage: write my id maps; init gets the root mount with the answer */
    SYNC_NEED_HOOKS,    /* init → stage: run prestart and createRuntime hooks */
    SYNC_NEED_PLACE,    /* init → stage: put me into my cgroup */
    SYNC_NEED_MOUNT,    /* init → stage: the idmapped source of mounts[status.code] */
    SYNC_NEED_LISTENER, /* init → stage: my process id, the socket for the seccomp listener */
    SYNC_READY,         /* init → stage: at the gate; the last message */
    SYNC_GO_ON,         /* stage → init */
};
struct sync_msg {
    uint32_t type;
    struct runtime_status status;
};
int sync_send(int sock, enum sync_type type, const struct error *e, const char *text, int fd);
/* Asks the stage for something and waits for its SYNC_GO_ON. *number (NULL: none) goes with the
 * question and comes back with the answer. ret_fd may be NULL; else it gets the fd that came with
 * the answer, or -EBADF. */
int sync_ask(int sock, enum sync_type what, uint32_t *number, int *ret_fd,
             struct error *e) MUST_CHECK;
int sync_answer(int sock, uint32_t number, int fd, struct error *e) MUST_CHECK;
/* 1 with a message (and an fd or -EBADF in *ret_fd, which may be NULL), 0 at the end, -errno. */
int sync_recv(int sock, struct sync_msg *ret, int *ret_fd);
/* Error to status (of the pipe or a message) and back. */
void status_from_error(struct runtime_status *st, const struct error *e);
int status_to_error(const struct runtime_status *st, struct error *e);

/* --- what init knows ------------------------------------------------------------------------ */

/* The user a process runs as, after the look-up inside the container. */
struct process_user {
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t ngroups;
    char *home; /* NULL: not found */
};

/* A process about to be exec'ed, of a create or an exec. */
struct process_plan {
    const struct oci_process *process;
    const struct runtime_io *io;
    const void *seccomp_bpf;
    size_t seccomp_len;
    unsigned seccomp_flags;
    unsigned flags;
    const char *id;
    unsigned preserve_fds;
    dev_t own_dev; /* this very program, which no container may execute */
    ino_t own_ino;
    const struct oci_linux *container; /* what is the same for all processes; NULL: not known */
    bool new_userns;                   /* ids are those of a user namespace made or joined */
    int listener;                      /* socket that gets the filter's listener, -EBADF: none */
    char *listener_state;              /* what is sent with it */
    int view_socket;                   /* as in runtime_create */
    int status_fd;
    int warn_fd;     /* sync socket for warnings, -EBADF when done with */
    bool mini_init;  /* stay as pid 1 and run the program as a child */
    bool create_cwd; /* a missing working directory is made */
    bool apparmor;   /* the host runs it; looked up before its root is left */
    bool selinux;
    struct process_user user;
    struct caps_sets caps;
    char **env;             /* with HOME and TERM filled in */
    struct rlimit *rlimits; /* what can be given, by index of process->rlimits */
};

/* A message for the user that the container lacks something. */
void plan_warn(const struct process_plan *plan, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- user.c -------------------------------------------------------------------------------- */

/* Looks up process->user (numeric, or username "user[:group]") in etc/passwd and etc/group below
 * rootfd. */
int user_lookup(int rootfd, const struct oci_user *u, struct process_user *ret,
                struct error *e) MUST_CHECK;
void process_user_done(struct process_user *u);

/* --- process.c ----------------------------------------------------------------------------- */

/* Notes which file this program is; while /proc is the host's. */
void process_note_program(struct process_plan *plan);
/* Everything that can be found out beforehand, so that it can be warned or refused about. */
int process_prepare(struct process_plan *plan, int rootfd, struct error *e) MUST_CHECK;
/* Early, while /proc is the host's. */
int process_rlimit_number(const char *name); /* of "RLIMIT_…"; -EINVAL */
/* Does the host run this security module, "apparmor" or "selinux"? Before its root is left. */
bool process_lsm_is_on(const char *name);
/* ERR_NOT_SUPPORTED for labels of a security module that the host does not run. */
int process_check_labels(const struct oci_process *p, struct error *e) MUST_CHECK;
int process_set_oom_score(struct process_plan *plan, struct error *e) MUST_CHECK;
/* Fails when process_exec() is sure to: the program is not below rootfd, or nobody may execute it. */
int process_find_program(const struct process_plan *plan, int rootfd, struct error *e) MUST_CHECK;
/* Ends by exec, or by telling status_fd why not; never returns. */
void process_exec(struct process_plan *plan) __attribute__((noreturn));
/* Controlling terminal and standard streams; early, so that hooks see them too. */
int process_setup_io(struct process_plan *plan, int rootfd, int *ret_console,
                     struct error *e) MUST_CHECK;
/* close_range() around the fds that are kept; keep is sorted in place. first: 3, or what comes after
 * those that the program is to get. */
void process_close_others(int *keep, size_t n, unsigned first);
/* Forks: returns in the child, which goes on to exec; the parent stays as a small pid 1 that hands
 * signals on, reaps, and ends as the child ends. */
int process_become_init(struct process_plan *plan, struct error *e) MUST_CHECK;
/* Tells the status pipe and ends the process. */
void process_die(int status_fd, const struct error *e) __attribute__((noreturn));
/* Clone with clone3, or clone on old kernels. *cgroup_fd: -EBADF, or the cgroup to be born in; set
 * to -EBADF when that did not work and the child must join by itself. 0 in the child. */
pid_t process_clone(uint64_t flags, int *cgroup_fd, int *ret_pidfd);

/* --- rootfs.c, dev.c ----------------------------------------------------------------------- */

struct mount_source {
    int fd;        /* -EBADF: opened when it is mounted */
    bool detached; /* a tree of its own already, not a place in one */
};
struct rootfs {
    const struct runtime_create *p;
    const char *cgroup_path;
    const char *delegated;           /* shown by a mount of type cgroup2; NULL: cgroup_path is */
    const struct process_plan *plan; /* for warnings */
    int rootfd;                      /* the new root */
    int procfd;                      /* the first procfs mounted, or -EBADF */
    int root_mount;                  /* detached root mount sent by the stage, or -EBADF */
    struct mount_source *sources;    /* opened beforehand, by index of mounts */
    const char *label;               /* SELinux context of what is mounted, or NULL */
    bool rootless;                   /* the stage has no more rights than init */
    bool shared_mounts;              /* no mount namespace of its own: root and mounts are a tree
                                        that is attached nowhere */
    int sync;                        /* the stage is asked for what needs the host's rights */
    bool userns;
};
/* Opens on the host what is needed of it and attaches the root: with the host's rights. */
int rootfs_open(struct rootfs *r, struct error *e) MUST_CHECK;
/* Mounts everything below the new root; the process still stands in the old one. */
int rootfs_mount(struct rootfs *r, struct error *e) MUST_CHECK;
/* Sysctls, through the new /proc. */
int rootfs_sysctls(struct rootfs *r, struct error *e) MUST_CHECK;
/* pivot_root and what comes after it: masked and read-only paths. */
int rootfs_enter(struct rootfs *r, struct error *e) MUST_CHECK;
/* Nodes and links in the new /dev. */
int dev_populate(struct rootfs *r, struct error *e) MUST_CHECK;
/* The terminal as /dev/console. */
int dev_console(struct rootfs *r, int console, struct error *e) MUST_CHECK;
/* The detached root mount of the specification (overlay or a folder). fd or -errno; -EOPNOTSUPP
 * when it can only be mounted in place. */
int rootfs_open_root(const struct runtime_create *p, int userns_fd, pid_t pid,
                     struct error *e) MUST_CHECK;
char *rootfs_path(const struct runtime_create *p);
/* May this be mounted there? Only files that stand for resources may be replaced in /proc. source:
 * -EBADF for a new file system, of this type. */
int rootfs_check_target(const char *dest, const char *type, int target, int source,
                        struct error *e) MUST_CHECK;
/* The host's path of a bind mount's source; NULL with *e when it has none. */
char *rootfs_bind_source(const struct runtime_create *p, const struct oci_mount *m,
                         struct error *e) MUST_CHECK;

/* --- idmap.c: in the stage ------------------------------------------------------------------ */

/* Writes "uid_map" or "gid_map" of a process. */
int idmap_write(pid_t pid, const char *file, const struct json_list *list,
                struct error *e) MUST_CHECK;
bool idmap_is_wanted(const struct oci_mount *m, bool *ret_recursive);
/* Refuses what cannot be: mappings on other than bind mounts, none to be had. */
int idmap_check(const struct oci_spec *s, struct error *e) MUST_CHECK;
/* The source of mounts[i], a bind mount, as a detached mount, its ids shifted when that is asked
 * for; pid: of init. */
int idmap_open_mount(const struct runtime_create *p, pid_t pid, size_t i,
                     struct error *e) MUST_CHECK;

/* --- shift.c: with the host's rights ------------------------------------------------------- */

/* The host's id of id 0 in a map of process pid ("uid_map", "gid_map"); -ENOENT: it has none. */
int userns_host_id(pid_t pid, const char *file, uint64_t *ret) MUST_CHECK;
/*
 * What this process makes in the container's file system belongs to the container's root; the
 * host's root has no place in its shifted folders (EOVERFLOW). For processes that stay no longer
 * than that.
 */
void userns_take_ids(uint64_t uid, uint64_t gid);
/* Pipes and terminals of ours become those of the root of pid's user namespace. */
void userns_give_streams(const struct runtime_io *io, pid_t pid);
/* Hard limits of pid that are below what the process is to get are raised. */
void userns_raise_limits(const struct oci_process *process, pid_t pid);
/* The root with shifted ids as a detached mount; pid is in the user namespace. fd or -errno. */
int shift_open_overlay(const struct runtime_create *p, int userns_fd, pid_t pid,
                       struct error *e) MUST_CHECK;
int shift_open_folder(const char *path, int userns_fd, struct error *e) MUST_CHECK;
/* A detached copy of the mount at "/proc/PID/root/…", which only PID's mount namespace can give. */
int shift_open_foreign(const char *path, bool rec) MUST_CHECK;

/* --- hooks.c ------------------------------------------------------------------------------- */

const struct json_list *hooks_of(const struct oci_spec *spec, enum runtime_hook kind);

/* --- attributes.c -------------------------------------------------------------------------- */

/* "0-3,7" */
#define NUMBER_SET_MAX  4096
#define NUMBER_SET_WORD (8 * sizeof(unsigned long))
struct number_set {
    unsigned long words[NUMBER_SET_MAX / NUMBER_SET_WORD];
    unsigned long highest;
    bool any;
};
int attributes_parse_list(const char *text, struct number_set *ret) MUST_CHECK;

/* Scheduler, priorities, memory policy, personality: known words and sane numbers? l may be
 * NULL. */
int attributes_check(const struct oci_process *p, const struct oci_linux *l,
                     struct error *e) MUST_CHECK;
/* Gives them to the calling process, which still has all rights. */
int attributes_apply(const struct oci_process *p, const struct oci_linux *l,
                     struct error *e) MUST_CHECK;
/* list NULL or empty: as it is. where: for messages. */
int attributes_set_affinity(const char *list, const char *where, struct error *e) MUST_CHECK;

/* --- netdev.c ------------------------------------------------------------------------------ */

/* Moves linux.netDevices into the network namespace of init; in the stage. */
int netdev_move(const struct oci_spec *spec, pid_t pid, struct error *e) MUST_CHECK;

/* --- notify.c ------------------------------------------------------------------------------ */

/* Stage: the socket that the listener goes to (a copy of given, or connected to the listenerPath);
 * -EBADF when the filter has none. */
int notify_connect(int given, const struct oci_spec *spec, int *ret, struct error *e) MUST_CHECK;
/* The process: asks the stage for that socket and writes down what goes with the listener. */
int notify_prepare(struct process_plan *plan, const struct oci_spec *spec, const char *bundle,
                   pid_t init_pid, struct error *e) MUST_CHECK;
/* Installs the filter of the container's view of its resources, if there is a socket for it. */
int notify_install_view(const struct process_plan *plan, struct error *e) MUST_CHECK;
/* Installs the filter; hands its listener over when there is a socket for it. */
int notify_install(struct process_plan *plan, struct error *e) MUST_CHECK;

/* --- rootless.c: in the stage -------------------------------------------------------------- */

/* Has this process no rights of root? */
bool rootless_is(void);
/* Writes the maps of init's user namespace as an ordinary user. */
int rootless_write_maps(pid_t pid, const struct oci_linux *l, struct error *e) MUST_CHECK;

/* --- rdt.c ---------------------------------------------------------------------------------- */

/* Puts init into its class of linux.intelRdt; in the stage. */
int rdt_apply(const struct oci_spec *spec, const char *id, pid_t pid, struct error *e) MUST_CHECK;
/* The same with a resctrl file system mounted at root. */
int rdt_apply_at(const char *root, const struct oci_intel_rdt *rdt, const char *id, pid_t pid,
                 struct error *e) MUST_CHECK;
void rdt_remove_at(const char *root, const struct oci_intel_rdt *rdt, const char *id);
/* For exec: what has to be written to for joining the class of init; all -EBADF when that is the
 * default one. Then rdt_join(), which closes them (pid 0: only that). 0 or -errno. */
#define RDT_FDS 2
int rdt_open_like(pid_t init_pid, int fds[RDT_FDS]) MUST_CHECK;
int rdt_join(int fds[RDT_FDS], pid_t pid) MUST_CHECK;

/* --- init.c -------------------------------------------------------------------------------- */

struct init_args {
    const struct runtime_create *p;
    const char *cgroup_path;
    const char *delegated; /* its part for the container's own use, or NULL */
    struct cgroup_join *join;
    int sync;          /* init's end of the socket pair */
    uint64_t unshared; /* CLONE_NEW… of new namespaces: cgroup and time are made by init */
    bool rootless;
};
/* CLONE_NEW… of a type in config.json, 0 for others. */
#define NAMESPACES_MAX 8
uint64_t namespace_flag(const char *type);
void init_run(const struct init_args *a) __attribute__((noreturn));
