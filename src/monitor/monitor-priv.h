/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside pouch-monitor. One thread, one loop.
 *
 *   struct mon            the process: settings, control connections, sessions
 *   struct session        one process with stdio: the container's init, or an exec
 *   struct attacher       one client of a session, with what it could not take yet
 *   struct conn           one control connection
 *
 * Memory is the point here (there is one monitor a container): the resident process uses no
 * printf, reads no JSON, and allocates only what lives as long as it is needed. Everything heavy
 * is done in stages (stage.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "io/loop.h"
#include "log/json-file.h"
#include "monitor/driver.h"
#include "monitor/monitor.h"
#include "monitor/protocol.h"

#define IO_SIZE    (32 * 1024) /* one read of output or input */
#define EXEC_EXITS 128         /* exit codes of execs that are kept */

/* Fixed but for tests. */
struct monitor_limits {
    int64_t spill;    /* what an attacher may have queued before it throttles the container */
    int64_t stuck_ns; /* without progress for so long: stuck */
};
extern struct monitor_limits monitor_limits;

struct conn {
    struct mon *mon;
    struct conn *next;
    int fd;
    struct source *source;
    bool subscribed;
    bool behind;   /* events were lost on it: its socket was full */
    size_t resend; /* the next of exec_exits to tell it again */
};

/* What an attacher could not take at once, in order: rest, spill file, tail. */
struct membuf {
    char *data;
    size_t start, end, cap;
};

struct attacher {
    struct session *session;
    struct attacher *next;
    int fd;
    struct source *source;
    unsigned flags;  /* MONITOR_… */
    int early_fd;    /* bytes of stdin that came with the request; -EBADF when they are done */
    bool want_stdin; /* its input is still of interest */
    uint8_t nkeys, matched;
    uint8_t keys[DETACH_KEYS_MAX];

    struct membuf rest; /* goes first: the rest of a frame, part of which was sent */
    int spill_fd;       /* a ring; -EBADF: not used yet */
    int64_t spill_start, spill_len;
    struct membuf tail;    /* goes last: what the disk did not take */
    int64_t last_progress; /* monotonic */
    bool skipping;         /* output is dropped until the queue is empty */
    uint64_t dropped;
    bool gone;      /* closed by the client; input it left is still read */
    pid_t replay;   /* the process that writes the log to it first; 0: none */
    bool finishing; /* the session is over: close when the queue is empty */
};

struct stream {
    struct session *session;
    int fd; /* -EBADF: at its end */
    struct source *source;
    enum log_stream which;
};

enum session_state {
    SESSION_CREATING, /* the stage is at work */
    SESSION_GATE,     /* init waits (the container's session only) */
    SESSION_STARTING, /* on its way to exec */
    SESSION_RUNNING,
    SESSION_EXITED, /* reaped; perhaps attachers still get output */
};

struct session {
    struct mon *mon;
    struct session *next;
    char id[MONITOR_ID_MAX + 1]; /* "": the container */
    enum session_state state;
    bool tty, stdin_once;
    pid_t pid;
    int wait_status;
    int64_t started_ns, exited_ns;

    bool has_stdin; /* input is wanted at all */
    int stdin_fd; /* where input goes: a pipe or a duplicate of the pty's master; -EBADF: closed */
    struct source *stdin_source; /* only while input waits */
    struct membuf input;         /* what the process did not take yet */
    bool stdin_ending;           /* close once input is empty */
    struct stream out[2];        /* stdout (or the pty's master) and stderr */
    struct attacher *attachers;
    struct log_writer *log; /* the container's only; NULL: none */
    bool paused;            /* an attacher throttles us */

    int console_fd; /* our end of the socket by which a terminal's master comes */
    struct source *console_source;
    unsigned rows, cols; /* for it */
    int gate_fd;         /* write end */
    int status_fd;
    struct source *status_source;
    size_t status_len;
    struct stage_status status; /* code 0: none came */
    int stage_fd;
    struct source *stage_source;
    pid_t stage_pid;
    struct conn *waiter; /* who waits for the start, or NULL */
    uint32_t waiter_serial;
};

struct exec_exit {
    char id[MONITOR_ID_MAX + 1];
    int code;
};

/* A child that ended before its stage told us whose it is. */
struct early_exit {
    struct early_exit *next;
    pid_t pid;
    int wait_status;
};

/* Of a rich container with an init of its own. */
struct rich {
    bool on, exit_init, app_ended, halted;
    int app_code, app_signal;
    struct source *alive;
    int alive_fd;
    int events_fd, input_hold; /* never read: keeps a pipe or terminal from ending */
    struct source *source;
};

struct mon {
    const struct monitor_driver *driver, *foreign;
    struct loop *loop;
    struct conn *conns;
    struct session *sessions; /* the container's is the last */
    struct session *init;     /* the container's */
    int listen_fd;
    int view_socket; /* listeners are sent here; 0: the container has the kernel's view */
    int view_server; /* the other end, until the server has it */
    pid_t view_pid;
    char *view_loadavg;
    char *id, *bundle, *container_dir, *cgroup_path, *log_path;
    int oom_fd, oom_count_fd;
    struct source *oom_source;
    struct source *flow_timer; /* for attachers that are stuck */
    struct source *trim_timer;
    bool trim_armed, trim_due, active;
    struct exec_exit *exec_exits;
    size_t nexec_exits, next_exec_exit;
    struct early_exit *early_exits;
    uint64_t lost_reported;
    int64_t lost_when;                 /* monotonic */
    uint64_t oom_before, oom_reported; /* the cgroup may have a past */
    struct rich rich;
    bool created;
    pid_t mount_stage; /* changes the container's mounts now; one at a time. 0: none */
};

/* --- control.c: connections and messages ------------------------------------------------------- */

int control_listen(struct mon *m) MUST_CHECK;
/* Takes fd over as a control connection. */
int control_add(struct mon *m, int fd) MUST_CHECK;
/* Answers a request; c may be NULL (its asker has gone). */
void control_reply(struct conn *c, uint32_t serial, const struct msg_reply *r, const char *message);
void control_reply_error(struct conn *c, uint32_t serial, enum error_code code, int errnum,
                         const char *message);
/* Passes a stage's message on as the reply to `serial`. */
void control_forward(struct conn *c, uint32_t serial, const struct msg_in *in,
                     const struct msg_reply *r);
/* Tells all subscribers. */
void control_event(struct mon *m, const struct msg_event *ev, const char *exec_id,
                   const char *message);

/* --- stage.c ----------------------------------------------------------------------------------- */

struct stage_child_io {
    struct stage_io io;
    int gate_fd, status_fd;
};
/* Forks the stage that makes the container or the exec; its message comes to s->stage_fd. The fds
 * are borrowed. bpf_fd and process_fd: files with the content, or negative. */
int stage_start(struct session *s, const struct stage_child_io *io, int bpf_fd,
                int process_fd) MUST_CHECK;
/* Signals init or all processes of the container in a child process of its own. */
int stage_signal(struct mon *m, int sig, bool all) MUST_CHECK;
/* Forks a process that carries out a MSG_MOUNT and replies to it on conn_fd; 0 when it does. -EBUSY
 * while another is at it: an asker that died may have left it. */
int stage_mounts(struct mon *m, int conn_fd, const struct msg_in *in) MUST_CHECK;
/* Forks a process that writes the log so far to the attacher. */
int stage_replay(struct attacher *a) MUST_CHECK;

/* --- session.c --------------------------------------------------------------------------------- */

struct session *session_find(struct mon *m, const char *exec_id);
/* The container's session: makes stdio, forks the stage; the reply goes to c later. */
int session_create(struct mon *m, const struct msg_create *p, int bpf_fd, struct conn *c,
                   uint32_t serial) MUST_CHECK;
int session_exec(struct mon *m, const char *exec_id, const struct msg_exec *p, int process_fd,
                 int bpf_fd, int client_fd, int early_fd, struct conn *c,
                 uint32_t serial) MUST_CHECK;
/* Opens the gate; the reply goes to c later. */
int session_open_gate(struct session *s, struct conn *c, uint32_t serial) MUST_CHECK;
int session_resize(struct session *s, unsigned rows, unsigned cols) MUST_CHECK;
/* Collects children that ended. */
void session_reap(struct mon *m);
/* Ends the program when nothing is left to do. */
void session_check_end(struct mon *m);
void session_forget_conn(struct mon *m, struct conn *c);
struct exec_exit *session_find_exit(struct mon *m, const char *exec_id);

/* --- stream.c: output and input ---------------------------------------------------------------- */

int stream_add(struct stream *st, struct session *s, int fd, enum log_stream which) MUST_CHECK;
/* Reads what is there and closes: the process has ended. */
void stream_drain(struct stream *st);
/* Pauses or goes on, as the attachers' queues want it. */
void stream_update_flow(struct session *s);
/* Gives input to the process; what it does not take at once is kept. */
void stream_input(struct session *s, const char *data, size_t len);
/* Closes the process's stdin once all input was taken. */
void stream_end_input(struct session *s);
void stream_close_input(struct session *s);
/* True when more input may be read from attachers. */
bool stream_takes_input(const struct session *s);

/* --- attacher.c -------------------------------------------------------------------------------- */

/* Takes client_fd and early_fd over (closed on failure too). */
int attacher_add(struct session *s, int client_fd, int early_fd, unsigned flags,
                 const uint8_t *keys, size_t nkeys) MUST_CHECK;
void attacher_free(struct attacher *a);
/* Output of the session; never blocks. */
void attacher_write(struct attacher *a, enum log_stream which, const char *data, size_t len);
/* Its queue has reached the limit. */
bool attacher_is_full(const struct attacher *a);
bool attacher_is_queued(const struct attacher *a);
/* The session is over: close when everything was sent. May free it. */
void attacher_finish(struct attacher *a);
/* Input may be read again. May free it. */
void attacher_resume_input(struct attacher *a);
/* The log was written to it; goes on with what queued up meanwhile. May free it. */
void attacher_replayed(struct attacher *a, bool ok);
/* Input may be read again from all of them. */
void attacher_resume_all(struct session *s);
/* Looks for those that are stuck and arms the timer. May free attachers and sessions that ended. */
void attacher_check_stuck(struct mon *m);

void membuf_append(struct membuf *b, const char *data, size_t len);
void membuf_done(struct membuf *b);

/* A buffer for one read or message at a time, shared by all. */
extern char io_buffer[IO_SIZE];

/* --- rich.c ------------------------------------------------------------------------------------ */

/* Opens the pipe by which the container's programs tell how the application ended. */
int rich_open(struct mon *m, bool exit_init) MUST_CHECK;
/* The container's streams: the named pipes of the bundle. */
int rich_stdio(struct session *s, struct stage_io *io) MUST_CHECK;
/* Keeps the terminal from ending while nobody in the container has it open. */
void rich_hold_terminal(struct mon *m, int master);
void rich_read(struct mon *m);
/* Whose exit code is the container's? */
void rich_exit(struct mon *m, struct monitor_exit *x);

/* --- trim.c ------------------------------------------------------------------------------------ */

/* Drops the program's code from this process's memory; what is used comes back. */
void trim_text(void);
/* Drops code that is not needed any more from this process's memory, in a moment: a container that
 * ends at once shall not pay for it. */
void trim_later(struct mon *m);
/* Something was done: the same, once nothing happens for two seconds. Cheap. */
void trim_when_quiet(struct mon *m);

/* --- view.c ------------------------------------------------------------------------------------ */

/* Makes the socket that listeners come by. */
int view_prepare(struct mon *m) MUST_CHECK;
/* Forks the process that answers; the container is at its gate. */
void view_start(struct mon *m);
/* It was killed: processes that are started from now on get another. */
void view_ended(struct mon *m);

/* --- exit-file.c ------------------------------------------------------------------------------- */

/* Writes exit.json into the current folder. */
int exit_file_write(const struct monitor_exit *x) MUST_CHECK;
