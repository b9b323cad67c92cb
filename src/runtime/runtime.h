/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI runtime as a library: makes a container's init process from a runtime specification,
 * runs further processes in it, runs hooks.
 *
 * Everything here forks and changes process attributes: call it from a single-threaded process -
 * pouch-monitor's short-lived stage process, or pouch-oci - never from pouchd.
 *
 * The way of a container:
 *
 *   runtime_create()        cgroup, clone3, namespaces, mounts, pivot_root; init waits at the gate
 *   (the caller's caller)   configures the network of init's network namespace
 *   write 1 byte to gate    init drops rights and execs
 *   read status             EOF: the program runs; a struct runtime_status: it does not, and why
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"
#include "oci/spec.h"

#define RUNTIME_CGROUP_PARENT "/pouch"

struct runtime_io {
    int stdin_fd, stdout_fd, stderr_fd; /* -EBADF: inherit the caller's */
    int console_fd;     /* slave of a pty: becomes controlling terminal, stdio and /dev/console */
    int console_socket; /* or: a pty of the container's own devpts is made for that, and its master
                           sent over this unix socket (SCM_RIGHTS, text "/dev/ptmx"); the better
                           way, as the terminal then has a name inside the container. Both -EBADF:
                           no terminal. In a zeroed struct set all to -EBADF: RUNTIME_IO_INIT */
};
/* What init is called (/proc/<pid>/comm) when all is made and it waits at the gate. */
#define RUNTIME_AT_GATE "pouch:[created]"

#define RUNTIME_IO_INIT                                                                            \
    {                                                                                              \
        -EBADF, -EBADF, -EBADF, -EBADF, -EBADF                                                     \
    }

/* What init (or an exec'ed process) writes to its status pipe when it cannot exec. */
#define RUNTIME_STATUS_TEXT 500
struct runtime_status {
    uint32_t code; /* enum error_code */
    int32_t errnum;
    char message[RUNTIME_STATUS_TEXT]; /* NUL-terminated */
};

enum {
    RUNTIME_CLONE_PARENT = 1 << 0, /* the new process becomes the child of the caller's parent */
    RUNTIME_NO_PDEATHSIG = 1 << 1, /* it outlives its parent (pouch-oci create) */
    RUNTIME_NO_NEW_KEYRING = 1 << 2,
    RUNTIME_KEEP_CGROUP = 1 << 3, /* the cgroup was made by the caller; only join it */
    RUNTIME_NO_PIVOT =
        1 << 4, /* move the root mount and chroot: for hosts that run on an initramfs,
                                  whose root cannot be pivoted away from */
    RUNTIME_FIND_PROGRAM = 1 << 6, /* a program that is not there is runtime_create()'s error */
    RUNTIME_UNTIL_KEPT = 1 << 5,   /* init ends with the caller until runtime_keep() was called */
};

struct runtime_create {
    const char *id;
    const char *bundle; /* absolute; relative root paths start here */
    const struct oci_spec *spec;
    const char *cgroup_path; /* NULL: spec.linux.cgroupsPath, else RUNTIME_CGROUP_PARENT/<id> */
    struct runtime_io io;
    const void *seccomp_bpf; /* compiled filter; spec.linux.seccomp itself is not looked at */
    size_t seccomp_len;
    unsigned seccomp_flags; /* SECCOMP_FILTER_FLAG_… */
    /*
     * For a filter with SCMP_ACT_NOTIFY: a connected unix stream socket (0 or below: none). The
     * process sends the filter's listener over it as soon as it is in force (SCM_RIGHTS), with a
     * "container process state" of the specification as text. Without it the runtime connects to
     * spec.linux.seccomp.listenerPath.
     */
    int seccomp_listener;
    /*
     * A unix socket (0 or below: none): sysinfo(2) and sched_getaffinity(2) of the container's
     * processes are answered by whoever has its other end, by the listener of a second filter that
     * is sent over it (SCM_RIGHTS). Not together with a filter with SCMP_ACT_NOTIFY: the kernel
     * allows a process one listener.
     */
    int view_socket;
    /*
     * The gate: init blocks in read(gate_fd). One byte: go. End of file: init ends silently.
     * status_fd: the write end of a pipe; init closes it by exec, or writes a runtime_status.
     * Both stay the caller's; init has its own copies.
     */
    int gate_fd, status_fd;
    /*
     * For cgroups that somebody else makes around a process that is there (systemd): called when
     * init waits, and puts it into cgroup_path, which has to be given. Limits are written after it.
     */
    int (*place)(void *data, pid_t init, const struct cgroup_resources *r, struct error *e);
    void *place_data;
    unsigned preserve_fds; /* 3 to 2 + preserve_fds are open in the program, too */
    unsigned flags;        /* RUNTIME_… */
};
struct runtime_created {
    pid_t pid;         /* of init, as the caller sees it */
    int pidfd;         /* of init, or -EBADF where pidfds are missing; the receiver closes it */
    char *cgroup_path; /* the one used, for sys/cgroup.h */
    char *delegated;   /* its part that is the container's own; NULL: none was asked for */
    bool placed;       /* runtime_create.place has been done */
    int keep_fd;       /* for runtime_keep(), else -EBADF */
    char **warnings;   /* what was asked for and could not be given, one text each */
};

/*
 * Returns 0 when init waits at the gate with everything done but the last steps (user, seccomp,
 * exec). On failure everything that was made is undone; init, if it was made, is dead, and is
 * reaped here except under RUNTIME_CLONE_PARENT (then the parent gets its SIGCHLD).
 */
int runtime_create(const struct runtime_create *p, struct runtime_created *ret,
                   struct error *e) MUST_CHECK;
void runtime_created_done(struct runtime_created *c);
/* With RUNTIME_UNTIL_KEPT: the container is on record, and may outlive this process. status: where it
 * has told why when it has ended already. */
int runtime_keep(struct runtime_created *c, int status, struct error *e) MUST_CHECK;

struct runtime_exec {
    const char *id;
    const char *bundle; /* for the state of a seccomp listener; may be NULL */
    pid_t init_pid;     /* whose namespaces are joined */
    int init_pidfd; /* of init, so that the number cannot have become another's; 0 or below: none */
    const struct oci_spec *spec;       /* of the container; may be NULL (then: all namespaces) */
    const struct oci_process *process; /* what to run; username looked up in the container */
    const char *cgroup_path;           /* joined; NULL: stay outside */
    struct runtime_io io;
    const void *seccomp_bpf;
    size_t seccomp_len;
    unsigned seccomp_flags;
    int seccomp_listener; /* as above */
    int view_socket;      /* as above */
    int status_fd;        /* as above; there is no gate */
    unsigned preserve_fds;
    unsigned flags;
};
/* Starts a process in a running container. 0 when it was cloned; whether it execs is told by
 * status_fd. warnings may be NULL. */
int runtime_exec(const struct runtime_exec *p, pid_t *ret_pid, char ***warnings,
                 struct error *e) MUST_CHECK;

/* --- Mounts of a running container --------------------------------------------------------------- */

enum runtime_mount_op {
    RUNTIME_MOUNT_ADD = 1, /* binds source on target, which is made when it is not there */
    RUNTIME_MOUNT_REMOVE,  /* the topmost mount on target goes; ERR_NOT_FOUND when there is none */
    RUNTIME_MOUNT_REPLACE, /* the topmost mount, if there is one, goes; then, with a source, as ADD */
};
struct runtime_mount {
    enum runtime_mount_op op;
    const char *source;   /* file, folder or device node on the host */
    const char *target;   /* absolute, inside the container */
    char *const *options; /* "ro", "rbind", "nosuid", "rslave" …; private when it does not say */
};
/*
 * Carries the orders out one after the other inside the mount namespace of init_pid: all of them,
 * or none. Never waits for a file system that is mounted on a target. The calling process is in the
 * container's mount namespace afterwards and is good for nothing else.
 */
int runtime_mounts(pid_t init_pid, const struct runtime_mount *mounts, size_t n,
                   struct error *e) MUST_CHECK;

/*
 * Reads a status pipe to its end. 0: the program was exec'ed; else the error told by init.
 * For the reading side (monitor, pouch-oci); blocks until the writer has gone.
 */
int runtime_status_read(int fd, struct error *e) MUST_CHECK;

enum runtime_hook {
    RUNTIME_HOOK_PRESTART,         /* run by runtime_create(): runtime namespace */
    RUNTIME_HOOK_CREATE_RUNTIME,   /* run by runtime_create(): runtime namespace */
    RUNTIME_HOOK_CREATE_CONTAINER, /* run by init before pivot_root */
    RUNTIME_HOOK_START_CONTAINER,  /* run by init after the gate */
    RUNTIME_HOOK_POSTSTART,        /* for the caller, after exec; failures are warnings */
    RUNTIME_HOOK_POSTSTOP,         /* for the caller, after the end; failures are warnings */
    RUNTIME_HOOK_MAX
};
/*
 * Runs all hooks of a kind in order with the container's state on their standard input; stops at
 * the first that fails or passes its time-out (POSTSTOP: all are run, the first failure is told). status: "creating", "created", "running",
 * "stopped". Called by the owner of the container for POSTSTART and POSTSTOP.
 */
int runtime_run_hooks(const struct oci_spec *spec, enum runtime_hook kind, const char *id,
                      const char *bundle, pid_t pid, const char *status,
                      struct error *e) MUST_CHECK;

/*
 * What the specification has no words for - user and groups by name, HOME from the user data base -
 * looked up below rootfd and written into p as numbers and variables, for runtimes of others.
 */
int runtime_resolve_user(int rootfd, struct oci_process *p, struct error *e) MUST_CHECK;

/* The specification's state document ({"ociVersion", "id", "status", "pid", "bundle",
 * "annotations"}), the caller frees it. */
char *runtime_state_json(const struct oci_spec *spec, const char *id, const char *bundle, pid_t pid,
                         const char *status) MUST_CHECK;

/* Words that config.json may have in some places; the i-th of them, NULL after the last. */
enum runtime_names {
    RUNTIME_SCHEDULERS,
    RUNTIME_SCHEDULER_FLAGS,
    RUNTIME_IO_CLASSES,
    RUNTIME_MEMORY_MODES,
    RUNTIME_MEMORY_FLAGS,
    RUNTIME_PERSONALITIES,
};
const char *runtime_name(enum runtime_names which, size_t i);
/* "prestart" … */
const char *runtime_hook_name(enum runtime_hook kind);

/* Removes what linux.intelRdt made for the container; after its end. */
void runtime_rdt_remove(const struct oci_spec *spec, const char *id);

/* Other schemata ("L3:0=f", "MB:0=50"; NULL: as it is) for the class of a container. */
int runtime_rdt_update(const struct oci_spec *spec, const char *id, const char *l3_cache,
                       const char *mem_bw, struct error *e) MUST_CHECK;

/* Makes the cgroup as runtime_create() does, for a container that somebody else fills. Warnings as
 * cgroup_create()'s. */
int runtime_cgroup_make(const struct oci_spec *spec, const char *path, char ***warnings,
                        struct error *e) MUST_CHECK;

/* The path a specification and id lead to when runtime_create.cgroup_path is NULL. */
char *runtime_cgroup_path(const struct oci_spec *spec, const char *id) MUST_CHECK;
