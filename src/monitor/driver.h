/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime driver: who makes the container. `native` is src/runtime linked in, `oci` calls the
 * command line of a foreign OCI runtime.
 *
 * The functions run in a *stage*: a fork of the monitor with its signals reset, that ends when the
 * function returns. What it allocates is gone with it. The processes it makes must become children
 * of the monitor (its parent): CLONE_PARENT, or a subreaper's adoption.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"

/* What a process that cannot exec writes to status_fd (struct runtime_status). */
#define STAGE_STATUS_TEXT 500
struct stage_status {
    uint32_t code; /* enum error_code */
    int32_t errnum;
    char message[STAGE_STATUS_TEXT];
};

struct stage_io {
    int stdin_fd, stdout_fd, stderr_fd; /* all negative with a terminal */
    int console_socket; /* the pty's master is to be sent here (SCM_RIGHTS); negative: no terminal */
    int view_socket; /* so is the listener of the view of resources (view.c); 0: the kernel's view */
};

struct stage_create {
    const char *id;
    const char *bundle;
    struct stage_io io;
    const void *seccomp_bpf;
    size_t seccomp_len;
    int gate_fd;   /* init waits here for one byte */
    int status_fd; /* closed by exec, or a struct stage_status */
};

struct stage_exec {
    const char *id;
    const char *bundle;
    pid_t init_pid;
    const char *cgroup_path;
    const char *process_json;
    size_t process_len;
    struct stage_io io;
    const void *seccomp_bpf;
    size_t seccomp_len;
    int status_fd;
};

struct stage_result {
    pid_t pid;
    char *cgroup_path; /* create */
    char **warnings;   /* NULL-terminated, may be NULL */
    int oom_fd;        /* create: ready for oom_events when memory ran out; or -EBADF */
    uint32_t oom_events;
    int oom_count_fd; /* create: a cgroup file with the line "oom_kill N"; or -EBADF */
};

/* One of a list of mounts made in, or taken from, the running container. */
struct stage_mount {
    uint32_t op; /* enum monitor_mount_op */
    const char *source, *target;
    char **options;
};

/* In the bundle, for the foreign driver: the runtime's program and its global options, each ended
 * by a NUL. */
#define RUNTIME_ARGV_FILE "runtime.argv"

struct monitor_driver {
    const char *name;
    /* Called once in the monitor itself, before the first stage. NULL: nothing to do. -errno. */
    int (*prepare)(void);
    int (*create)(const struct stage_create *p, struct stage_result *ret, struct error *e);
    int (*exec)(const struct stage_exec *p, struct stage_result *ret, struct error *e);
    bool signals_init; /* init is signalled by signal(), not by its pid */
    /* Signals init, or with `all` every process of the container. */
    int (*signal)(const char *id, const char *bundle, const char *cgroup_path, int sig, bool all);
    /* Changes mounts of the running container: all of the list, or nothing. NULL: cannot. */
    int (*mounts)(pid_t init_pid, const struct stage_mount *mounts, size_t n, struct error *e);
};

/* The program's main(). foreign is used when pouchd asks for it (MSG_CREATE's CREATE_FOREIGN); may
 * be NULL. */
int monitor_main(int argc, char **argv, const struct monitor_driver *native,
                 const struct monitor_driver *foreign);
