/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pouchd and pouch-monitor say to each other over SOCK_SEQPACKET, one message a packet:
 *
 *     struct msg_header, a fixed struct of `fixed` bytes, then strings, each ended by NUL
 *
 * A monitor outlives upgrades of pouchd, so both sides may be older than the other. Therefore:
 * structs are only ever appended to (what is missing reads as 0, what is too much is passed over),
 * strings too (a missing one reads as ""), message types are never used again for something else,
 * and a request of an unknown type gets a reply with -ENOSYS.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/macros.h"

#define MSG_VERSION 1
#define MSG_MAX     (32 * 1024)

enum msg_type {
    /* Requests; the reply has the same serial. */
    MSG_CREATE = 1,    /* strings: msg_create_string; fds: seccomp filter if CREATE_SECCOMP */
    MSG_SUBSCRIBE = 2, /* events come on this connection from now on */
    MSG_START = 3,
    MSG_SIGNAL = 4,     /* string: exec id or "" */
    MSG_RESIZE = 5,     /* string: exec id or "" */
    MSG_ATTACH = 6,     /* fds: client, early stdin if ATTACH_EARLY */
    MSG_EXEC = 7,       /* string: exec id; fds: process.json, seccomp, client, early stdin */
    MSG_EXEC_STATE = 8, /* string: exec id */
    MSG_MOUNT = 9,      /* strings: source, target, options ("a,b") of each of the list */

    MSG_REPLY = 64, /* strings: error message, cgroup path, warnings… */
    MSG_EVENT = 65, /* strings: exec id, error message */
};

struct msg_header {
    uint16_t version;
    uint16_t type;
    uint32_t serial; /* of the request; 0 in events */
    uint32_t fixed;
    uint32_t reserved;
};

enum {
    CREATE_TTY = 1 << 0,
    CREATE_OPEN_STDIN = 1 << 1,
    CREATE_STDIN_ONCE = 1 << 2,
    CREATE_SECCOMP = 1 << 3,
    CREATE_FOREIGN = 1 << 4,        /* the runtime of the bundle's RUNTIME_ARGV_FILE */
    CREATE_VIEW = 1 << 5,           /* system calls that tell resources are answered: view.c */
    CREATE_RICH = 1 << 6,           /* streams are the pipes of monitor/rich.h */
    CREATE_RICH_EXIT_INIT = 1 << 7, /* pid 1's exit code, not the application's */
};
enum msg_create_string {
    CREATE_ID,
    CREATE_STATE_DIR,
    CREATE_BUNDLE,
    CREATE_CONTAINER_DIR,
    CREATE_LOG_DRIVER,
    CREATE_LOG_PATH,
    CREATE_VIEW_LOADAVG, /* lxcfs' proc/loadavg on the host */
};
struct msg_create {
    uint32_t flags;
    uint32_t rows, cols;
    uint32_t log_max_files;
    int64_t log_max_size;
};

struct msg_signal {
    int32_t sig;
    uint32_t all;   /* every process in the container's cgroup */
    uint32_t group; /* of an exec: its process group */
    uint32_t reserved;
};
struct msg_resize {
    uint32_t rows, cols;
};

#define DETACH_KEYS_MAX 16
enum { ATTACH_EARLY = 1 << 16, ATTACH_CLIENT = 1 << 17 }; /* beside MONITOR_… of monitor.h */
struct msg_attach {
    uint32_t flags;
    uint32_t nkeys;
    uint8_t keys[DETACH_KEYS_MAX];
};
enum { EXEC_TTY = 1 << 0, EXEC_SECCOMP = 1 << 1, EXEC_AT_GATE = 1 << 2 };
struct msg_exec {
    uint32_t flags;
    uint32_t rows, cols;
    uint32_t attach_flags;
    uint32_t nkeys;
    uint8_t keys[DETACH_KEYS_MAX];
};

#define MSG_MOUNTS_MAX 64
struct msg_mount {
    uint32_t n;
    uint8_t ops[MSG_MOUNTS_MAX]; /* enum monitor_mount_op */
};

struct msg_reply {
    int32_t result;      /* 0 or -errno */
    uint32_t code;       /* enum error_code */
    int32_t pid;         /* of init, or of the exec */
    int32_t monitor;     /* pid of pouch-monitor */
    uint32_t state;      /* enum monitor_state; in MSG_EXEC_STATE: 1 running */
    int32_t exit_code;   /* MSG_EXEC_STATE */
    uint32_t oom_events; /* stage to monitor only: epoll events of the OOM fd */
    uint32_t reserved;
};

struct msg_event {
    uint32_t type; /* enum monitor_event_type */
    int32_t exit_code;
    int32_t signal;
    uint32_t oom_killed;
    int64_t started_ns;
    int64_t exited_ns;
    uint64_t lost_bytes;
    uint64_t lost_lines;
    uint32_t error_code;
    int32_t errnum;
};

/* --- Building and taking apart ----------------------------------------------------------------- */

struct msg_out {
    size_t len;
    char data[MSG_MAX];
};
void msg_begin(struct msg_out *m, enum msg_type type, uint32_t serial, const void *fixed,
               size_t len);
/* Appends a string (NULL: ""); what does not fit any more is left out (-EMSGSIZE). */
int msg_add_string(struct msg_out *m, const char *s);

struct msg_in {
    struct msg_header header;
    const char *fixed;
    size_t fixed_len;
    const char *strings; /* ends with a NUL at strings[strings_len - 1], when not empty */
    size_t strings_len;
};
/* -EBADMSG when it is no message of this protocol. */
int msg_parse(const char *data, size_t len, struct msg_in *ret) MUST_CHECK;
/* Copies the fixed struct into out: cut or filled up with zeros. */
void msg_fixed(const struct msg_in *m, void *out, size_t len);
/* The i-th string, "" when there is none; borrowed. */
const char *msg_string(const struct msg_in *m, size_t i);
/* How many there are. */
size_t msg_strings(const struct msg_in *m);
