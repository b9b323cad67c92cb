/* SPDX-License-Identifier: Apache-2.0 */
/* pouch-lxc: an OCI runtime's command line over liblxc. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"
#include "oci/spec.h"

struct lxc_container;

struct options {
    const char *root; /* state folders */
    const char *log, *log_format;
    const char *bundle, *pid_file, *console_socket, *process;
    bool force, all, detach;
    const char *id;
    char **args; /* after the id; borrowed from argv */
};

/* <root>/<id>/<file>; the caller frees it. */
char *state_path(const struct options *o, const char *file) MUST_CHECK;

/* The files of a state folder. */
#define FILE_PID    "pid"   /* of the keeper, and its start time */
#define FILE_READY  "ready" /* FIFO: set up, at the gate */
#define FILE_GATE   "gate"  /* FIFO: go */
#define FILE_ERROR  "error" /* what the keeper has to say */
#define FILE_LOG    "lxc.log"
#define FILE_CGROUP "cgroup"

/* --- config.c ---------------------------------------------------------------------------------- */

/* Fills c with what the specification asks for. What LXC cannot do is an error, not left out. */
int config_fill(struct lxc_container *c, const struct options *o, const struct oci_spec *s,
                struct error *e) MUST_CHECK;
/* Is the program there, so that `create` can say so? Looked up below the root like execvp(). */
int config_check_program(const struct oci_spec *s, struct error *e) MUST_CHECK;
/* The last error in LXC's own log, or NULL. */
char *config_last_error(const struct options *o) MUST_CHECK;

/* --- keeper.c ---------------------------------------------------------------------------------- */

/* Forks the keeper and waits until the container stands at the gate. */
int keeper_start(const struct options *o, const struct oci_spec *s, pid_t *ret_pid,
                 struct error *e) MUST_CHECK;
/* LXC's start-host hook: reports and waits. The program's exit code. */
int keeper_hook(const char *dir) MUST_CHECK;

/* --- attach.c ---------------------------------------------------------------------------------- */

int attach_run(const struct options *o, struct error *e) MUST_CHECK;

/* Makes a pty, sends its master to the console socket; *ret_slave is the caller's. */
int console_make(const char *socket, const struct oci_process *p, int *ret_slave,
                 struct error *e) MUST_CHECK;
