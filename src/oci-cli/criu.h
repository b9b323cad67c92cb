/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program criu as a servant: `criu swrk FD` takes one request over a socket, in the protobuf
 * messages of its rpc.proto, and answers. The few messages needed are written and read by hand.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

enum criu_type {
    CRIU_DUMP = 1,
    CRIU_RESTORE = 2,
    CRIU_PRE_DUMP = 4,
    CRIU_NOTIFY = 6,
    CRIU_VERSION = 10
};

/* Fields of criu_opts. */
enum criu_field {
    CRIU_IMAGES_DIR_FD = 1,
    CRIU_PID = 2,
    CRIU_LEAVE_RUNNING = 3,
    CRIU_EXT_UNIX_SK = 4,
    CRIU_TCP_ESTABLISHED = 5,
    CRIU_SHELL_JOB = 7,
    CRIU_FILE_LOCKS = 8,
    CRIU_LOG_LEVEL = 9,
    CRIU_LOG_FILE = 10,
    CRIU_NOTIFY_SCRIPTS = 12,
    CRIU_ROOT = 13,
    CRIU_PARENT_IMG = 14,
    CRIU_TRACK_MEM = 15,
    CRIU_WORK_DIR_FD = 17,
    CRIU_EXT_MNT = 23,
    CRIU_MANAGE_CGROUPS = 24,
    CRIU_CG_ROOT = 25,
    CRIU_RST_SIBLING = 26,
    CRIU_INHERIT_FD = 27,
    CRIU_MANAGE_CGROUPS_MODE = 34,
    CRIU_EXTERNAL = 37,
    CRIU_EMPTY_NS = 38,
    CRIU_FREEZE_CGROUP = 44,
    CRIU_ORPHAN_PTS_MASTER = 50,
    CRIU_NETWORK_LOCK = 64,
};

/* Values are never larger than what config.json holds: the buffers end there. */
#define CRIU_MESSAGE_MAX ((size_t)1 << 17)

void criu_put_int(struct buf *b, unsigned field, uint64_t value);
void criu_put_str(struct buf *b, unsigned field, const char *value);
/* A message with two texts, the first of which may be NULL: absent; with a text and a number. */
void criu_put_pair(struct buf *b, unsigned field, const char *first, const char *second);
void criu_put_text_int(struct buf *b, unsigned field, const char *text, uint64_t number);

struct criu_answer {
    uint64_t type;
    bool success;
    pid_t pid;       /* restore; notify where it tells one */
    char script[64]; /* notify */
    char message[256];
    unsigned major, minor, sublevel;
};
/* 0, or -EBADMSG. */
int criu_answer_parse(const void *data, size_t len, struct criu_answer *ret) MUST_CHECK;

struct criu_call {
    enum criu_type type;
    const struct buf *opts; /* of the fields above; NULL: none */
    const char *log;        /* criu's log, for the last error line; NULL: none */
    const int *keep;        /* descriptors criu inherits under their numbers */
    size_t nkeep;
    int (*before)(void *data); /* in the child, before criu is executed: 0 or -errno */
    /* A notification; fd is what came with it or -EBADF, and is the callee's to close. */
    int (*notify)(const struct criu_answer *a, int fd, void *data, struct error *e);
    void *data;
};
/* The program; else "criu" of PATH. Borrowed. */
void criu_set_program(const char *path);
/* Runs criu for one request; waits for its end. Errors name criu and tell its own last words. */
int criu_run(const struct criu_call *c, struct criu_answer *ret, struct error *e) MUST_CHECK;
/* Takes away what criu may have left in the network namespace of a restored process (criu-net.c). */
int criu_unlock_network(pid_t pid, struct error *e) MUST_CHECK;
/* Is criu there, and new enough? */
int criu_check(struct error *e) MUST_CHECK;
