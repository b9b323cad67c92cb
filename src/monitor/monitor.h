/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client side of pouch-monitor, used by the engine in pouchd.
 *
 * One monitor process a container owns its stdio or terminal, its log file, its exec sessions and
 * its exit status, and outlives pouchd. A `struct monitor` is a connection to it: state and events
 * come over its fd (for the epoll thread), every request goes over a connection of its own. All
 * functions may be called from any thread; monitor_read_event() from one thread at a time.
 *
 *     monitor_spawn() → (network is made, with monitor_init_pid()) → monitor_start()
 *         → events on monitor_fd() → MONITOR_EVENT_EXITED → monitor_free()
 *
 * The wire protocol is versioned and only ever appended to: a monitor outlives an upgrade of
 * pouchd.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"

#define MONITOR_SOCKET    "monitor.sock" /* in the state folder, mode 0600 */
#define MONITOR_EXIT_FILE "exit.json"    /* the same; written when the container has ended */
#define MONITOR_ID_MAX    64             /* longest id of a container or exec */

struct monitor;

struct monitor_params {
    const char *program; /* path of pouch-monitor; NULL: beside this program */
    const char *id;
    const char *state_dir;     /* /run/pouch/c/<id>; must be there */
    const char *bundle;        /* folder with config.json */
    const char *container_dir; /* on disk, for spill files of slow readers; NULL: state_dir */
    bool foreign;              /* the bundle says which runtime (driver.h: RUNTIME_ARGV_FILE) */
    bool tty;
    bool open_stdin;        /* else stdin is /dev/null (a terminal that is never written to) */
    bool stdin_once;        /* the end of an attacher's input is the end of the container's */
    unsigned rows, cols;    /* first size of the terminal; 0: not set */
    bool rich;              /* streams are the named pipes in the bundle: monitor/rich.h */
    bool rich_exit_init;    /* then: pid 1's exit code is the container's, not the application's */
    const char *log_driver; /* "json-file" or "none" */
    const char *log_path;
    int64_t log_max_size; /* <= 0: no rotation */
    unsigned log_max_files;
    const void *seccomp_bpf; /* sock_filter array, or NULL: none */
    size_t seccomp_len;      /* bytes */
    /* sysinfo(2) and sched_getaffinity(2) tell the container's limits; loadavg: a file that shows
     * who reads it the load of his own container (lxcfs), or NULL. */
    bool full_view;
    const char *view_loadavg;
};

/*
 * Starts the monitor, which makes the container up to its gate: namespaces, cgroup, mounts are
 * done and init waits. On failure nothing of the container is left but what the caller made (the
 * folders); the monitor is gone.
 */
int monitor_spawn(const struct monitor_params *p, struct monitor **ret, struct error *e) MUST_CHECK;

/* Finds the monitor of a container again. -ENOENT/-ECONNREFUSED (ERR_NOT_FOUND): none is there;
 * then monitor_read_exit() tells how the container ended, or it was lost. */
int monitor_connect(const char *state_dir, struct monitor **ret, struct error *e) MUST_CHECK;

/* Drops the connection; monitor and container go on. A monitor whose container never passed the
 * gate is not ended by this: use monitor_signal(). NULL is fine. */
void monitor_free(struct monitor *m);
DEFINE_AUTOPTR(struct monitor, monitor)

enum monitor_state { MONITOR_GATE, MONITOR_RUNNING, MONITOR_EXITED };
/* As known when connected, moved on by monitor_start() and monitor_read_event(). */
enum monitor_state monitor_get_state(struct monitor *m);
pid_t monitor_init_pid(struct monitor *m); /* pid in our namespace; 0 when it has ended */
pid_t monitor_pid(struct monitor *m);      /* of pouch-monitor itself */
/* What the runtime could not give, one text each; borrowed, NULL-terminated, may be NULL. Only
 * after monitor_spawn(). */
char *const *monitor_warnings(struct monitor *m);

/* Opens the gate and waits until the command was executed. ERR_COMMAND_NOT_FOUND (127) or
 * ERR_COMMAND_NOT_EXECUTABLE (126) when it cannot be; the monitor then ends by itself. */
int monitor_start(struct monitor *m, struct error *e) MUST_CHECK;

/* --- Events ------------------------------------------------------------------------------------ */

enum monitor_event_type {
    MONITOR_EVENT_EXITED = 1,  /* exit */
    MONITOR_EVENT_OOM,         /* a process of the container was killed for lack of memory */
    MONITOR_EVENT_EXEC_EXITED, /* exec_id, exit.exit_code */
    MONITOR_EVENT_DETACHED,    /* a client detached by keys; exec_id "" for the container */
    MONITOR_EVENT_LOG_LOST,    /* log lines could not be written: lost_bytes, errnum */
    MONITOR_EVENT_HANGUP,      /* the monitor is gone; without EXITED before and without exit.json
                                * it died, and the container with it */
};

/* Also the content of exit.json. */
struct monitor_exit {
    int exit_code; /* 0-255; 128 + signal */
    int signal;    /* 0: ended by itself */
    bool oom_killed;
    int64_t started_ns; /* 0: it never ran */
    int64_t exited_ns;
    uint64_t log_lost_bytes; /* output that could not be logged */
    uint64_t log_lost_lines;
    int error_code;  /* enum error_code of a failed start, else 0 */
    char error[256]; /* its message, "" when none */
};

struct monitor_event {
    enum monitor_event_type type;
    char exec_id[MONITOR_ID_MAX + 1];
    struct monitor_exit exit;
    uint64_t lost_bytes;
    int errnum;
};

/* Readable when an event waits. */
int monitor_fd(struct monitor *m);
/* 1 with an event, 0 when none waits (never blocks), -errno. After HANGUP nothing comes. */
int monitor_read_event(struct monitor *m, struct monitor_event *ret) MUST_CHECK;

/* --- Requests ---------------------------------------------------------------------------------- */

/* Signals init, or with `all` every process in the container's cgroup. ERR_CONFLICT when it is
 * not running any more. Works at the gate too. */
int monitor_signal(struct monitor *m, int sig, bool all, struct error *e) MUST_CHECK;
int monitor_resize(struct monitor *m, unsigned rows, unsigned cols, struct error *e) MUST_CHECK;

enum {
    MONITOR_STDIN = 1 << 0,
    MONITOR_STDOUT = 1 << 1,
    MONITOR_STDERR = 1 << 2,
    MONITOR_LOGS = 1 << 3,      /* the log so far first, without a gap or double line at the seam */
    MONITOR_NO_STREAM = 1 << 4, /* only that: no live output */
    MONITOR_RAW = 1 << 5,       /* no frames although there is no terminal */
};
struct monitor_attach_params {
    int client_fd; /* stream socket; borrowed: the monitor gets a duplicate, close yours */
    unsigned flags;
    const char *detach_keys; /* "ctrl-p,ctrl-q" form; NULL: that default; "": none */
    const void *early;       /* bytes of stdin that were read already */
    size_t early_len;
};
/* Hands the client over. Works from the gate on; at the end of the output the monitor closes the
 * socket. ERR_CONFLICT when the container has ended. */
int monitor_attach(struct monitor *m, const struct monitor_attach_params *p,
                   struct error *e) MUST_CHECK;

struct monitor_exec_params {
    const char *exec_id;
    const char *process_json; /* OCI runtime-spec `process` object */
    bool tty;
    bool at_gate; /* for hooks: also while init waits (its spec has gate_after_pivot) */
    unsigned rows, cols;
    const void *seccomp_bpf; /* as in monitor_params */
    size_t seccomp_len;
    /* client_fd negative: detached (stdin /dev/null, output thrown away). MONITOR_STDIN missing:
     * stdin is /dev/null. */
    struct monitor_attach_params attach;
};
/* Returns once the command was executed, with its pid; errors as monitor_start(). Its end comes as
 * MONITOR_EVENT_EXEC_EXITED, and can be asked for later. */
int monitor_exec_start(struct monitor *m, const struct monitor_exec_params *p, pid_t *ret_pid,
                       struct error *e) MUST_CHECK;
int monitor_exec_resize(struct monitor *m, const char *exec_id, unsigned rows, unsigned cols,
                        struct error *e) MUST_CHECK;

/* SIGKILL to its process group: what it started goes with it unless it made a session of its own. */
int monitor_exec_kill(struct monitor *m, const char *exec_id, struct error *e) MUST_CHECK;

struct monitor_exec_state {
    bool running;
    pid_t pid;
    int exit_code; /* when not running */
};
/* The monitor keeps the exit codes of the last 128 execs. ERR_NOT_FOUND for another. */
int monitor_exec_get_state(struct monitor *m, const char *exec_id, struct monitor_exec_state *ret,
                           struct error *e) MUST_CHECK;

enum monitor_mount_op { MONITOR_MOUNT_ADD = 1, MONITOR_MOUNT_REMOVE, MONITOR_MOUNT_REPLACE };
#define MONITOR_MOUNTS_MAX 64
struct monitor_mount {
    enum monitor_mount_op op;
    const char *source;  /* on the host: file, folder or device node; not for REMOVE */
    const char *target;  /* in the container; made when it is not there */
    const char *options; /* "ro,rbind,nosuid…", NULL: none; private when it does not say */
};
/*
 * Mounts into and out of the running container, in order: all of the list (at most
 * MONITOR_MOUNTS_MAX), or nothing. ADD binds; REMOVE takes the topmost mount on target away
 * (ERR_NOT_FOUND when there is none); REPLACE is both, finds none fine, and only takes away when
 * source is NULL. Done by a process in the container's mount namespace, which waits for no file
 * system mounted there.
 */
int monitor_mounts(struct monitor *m, const struct monitor_mount *mounts, size_t n,
                   struct error *e) MUST_CHECK;

/* --- Without a monitor ------------------------------------------------------------------------- */

/* How the container ended; ERR_NOT_FOUND when exit.json is not there. */
int monitor_read_exit(const char *state_dir, struct monitor_exit *ret, struct error *e) MUST_CHECK;

/* "ctrl-p,ctrl-q" → bytes (at most 16); the number of bytes, or ERR_INVALID. */
int monitor_parse_detach_keys(const char *keys, unsigned char out[16], struct error *e) MUST_CHECK;
