/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attached session: the bytes between the terminal (or pipes) and a container, signals,
 * window sizes, detach keys. One poll(2) loop, no threads.
 */
#pragma once

#include <stdbool.h>

#include "cli/cli.h"

struct session {
    struct cli *cli;
    struct http_conn *conn; /* upgraded; borrowed, as the next two */
    /* Requests whose answers come while the session runs; NULL: none. */
    struct http_conn *start;    /* only its status counts; output before it is shown already */
    struct http_conn *wait;     /* its head was received; the body is the exit status */
    const char *wait_condition; /* with which wait is asked again when the daemon has gone */
    bool multiplexed;           /* frames, not raw bytes */
    bool forward_stdin;
    bool tty;                /* the terminal goes raw (when stdin is one and forwarded) */
    bool redraw;             /* tell programs to draw anew: by a wrong size, then the right one */
    bool proxy_signals;      /* signals that come to us go to the container */
    const char *detach_keys; /* looked for in the input of a tty */
    const char *kind;        /* "/containers/" or "/exec/": where resize goes */
    const char *id;          /* of it */
    /* results */
    bool detached;
    int exit_status; /* from wait; -1: unknown */
    char *wait_error;
};

/* Signals must be held back before the container can start: what comes from then on is kept for
 * the session. Called once a process. */
void session_hold_signals(void);

/* Runs until the stream has ended, and wait has answered, or the user detached. A failed start is
 * returned as its error. */
int session_run(struct session *s, struct error *e) MUST_CHECK;

/* "ctrl-p,ctrl-q" to bytes (at most 16): their number or -EINVAL. */
int detach_keys_parse(const char *text, unsigned char out[16]) MUST_CHECK;

/*
 * Looks for the keys in input: what may be forwarded is appended to `out`; a begun sequence is
 * held back until it is clear. Returns true when the whole sequence was typed.
 */
struct detach_scan {
    unsigned char keys[16];
    size_t len, matched;
};
bool detach_scan(struct detach_scan *d, const char *data, size_t len, struct buf *out);

/* Frames of a multiplexed stream, fed in pieces of any size. */
struct demux {
    unsigned char head[8];
    size_t have;
    size_t left; /* of the payload */
    int fd;
};
/* Writes the payloads to standard output and error; -EPROTO when it is no such stream. `write` is
 * called for each piece. */
int demux_feed(struct demux *d, const char *data, size_t len,
               int (*write_to)(int fd, const char *data, size_t len, void *user), void *user);

/* Copies an endless answer (logs) to standard output and error. */
int stream_copy(struct http_conn *conn, bool multiplexed, struct error *e) MUST_CHECK;

/* Rows and columns of the terminal on standard output; false when it is none. */
bool terminal_size(unsigned *ret_rows, unsigned *ret_columns);
