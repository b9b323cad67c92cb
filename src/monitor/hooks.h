/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running hooks outside of pouchd: `pouch-monitor --hooks`, a short-lived process that runs a list of
 * hooks one after the other - on the host, or in a fresh set of namespaces over the root file system of
 * a container that has ended.
 *
 * A run with a progress file outlives pouchd. The runner holds a lock on that file and notes each
 * beginning and end in it (fsync'ed), so that a later runner of the same run waits for the one before
 * it, leaves out what has ended, and tells a hook that was cut off in the middle that it runs again.
 * Without a progress file the hooks belong to an operation of pouchd: they are killed with it.
 *
 * pouchd's side may be used from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

#define HOOK_OUTPUT 1024 /* bytes of a hook's output that are kept: the last ones */

struct hook_command {
    bool host; /* on the host; else in namespaces of its own over the container's files */
    char **args;
};

/* What to run; a document, as it travels to the runner. */
struct hooks_request {
    char *id;               /* of the container */
    int64_t timeout;        /* seconds for each hook */
    struct json_list hooks; /* of hook_command */
    char **env;             /* whole environment on the host; added to the container's inside */
    char *state;            /* what each gets on its standard input */
    char *progress;         /* file, or NULL: killed with pouchd */
    char *run;              /* names the run in the progress file */
    char *bundle;           /* folder with config.json for hooks inside, or NULL */
};
extern const struct json_desc hooks_request_json;

/* How one hook ended; also a packet on the socket. */
enum { HOOK_TIMED_OUT = 1 << 0, HOOK_ABORTED = 1 << 1, HOOK_NOT_RUN = 1 << 2 };
struct hook_report {
    uint32_t index; /* in the request's list */
    uint32_t flags;
    int32_t exit_code; /* 0-255; with a signal 128 + signal */
    int32_t signal;
    char output[HOOK_OUTPUT]; /* its last words, or why it could not be run (HOOK_NOT_RUN) */
};

struct hooks_run;
/* Starts the runner. program: path of pouch-monitor, NULL: beside this program. */
int hooks_run_start(const char *program, const struct hooks_request *req, const void *seccomp_bpf,
                    size_t seccomp_len, struct hooks_run **ret, struct error *e) MUST_CHECK;
/* Readable when a report waits, or the runner has ended. */
int hooks_run_fd(const struct hooks_run *r);
/* 1 with a report, 0 when all is done, -EAGAIN when none waits, -EPIPE: the runner died before it
 * was done. */
int hooks_run_read(struct hooks_run *r, struct hook_report *ret) MUST_CHECK;
/* Kills the hook that runs now; it counts as failed. */
void hooks_run_kill(struct hooks_run *r);
/* Lets go: a run with a progress file goes on, another is killed. NULL is fine. */
void hooks_run_free(struct hooks_run *r);

/* Keeps the last of what a hook says as a text in out; got: how much there is, which is returned anew. */
size_t hook_output_keep(char *out, size_t size, size_t got, const char *data,
                        size_t len) MUST_CHECK;

/* One line that says how a hook failed, NULL when it did not; the caller frees it. */
char *hook_report_text(const struct hook_report *r, const char *what) MUST_CHECK;

/* The program (argv[1] is "--hooks"). */
int hooks_main(void);
