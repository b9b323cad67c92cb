/* SPDX-License-Identifier: Apache-2.0 */
/* criu's remote procedure calls: see criu.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "io/fdpass.h"
#include "oci-cli/criu.h"

/* The first that locks the network with nftables and knows external files. */
#define OLDEST_MAJOR 3
#define OLDEST_MINOR 16

/* --- protobuf ------------------------------------------------------------------------------ */

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_varint(struct buf *b, uint64_t value)
{
    while (value >= 0x80) {
        (void)buf_putc(b, (char)(value | 0x80));
        value >>= 7;
    }
    (void)buf_putc(b, (char)value);
}

static void put_bytes(struct buf *b, unsigned field, const void *data, size_t len)
{
    put_varint(b, (uint64_t)field << 3 | BYTES);
    put_varint(b, len);
    (void)buf_append(b, data, len);
}

void criu_put_int(struct buf *b, unsigned field, uint64_t value)
{
    put_varint(b, (uint64_t)field << 3 | VARINT);
    put_varint(b, value);
}

void criu_put_str(struct buf *b, unsigned field, const char *value)
{
    put_bytes(b, field, value, strlen(value));
}

void criu_put_pair(struct buf *b, unsigned field, const char *first, const char *second)
{
    AUTO(buf) struct buf in = BUF_INIT(CRIU_MESSAGE_MAX);

    if (first)
        criu_put_str(&in, 1, first);
    criu_put_str(&in, 2, second);
    put_bytes(b, field, in.data, in.len);
}

void criu_put_text_int(struct buf *b, unsigned field, const char *text, uint64_t number)
{
    AUTO(buf) struct buf in = BUF_INIT(CRIU_MESSAGE_MAX);

    criu_put_str(&in, 1, text);
    criu_put_int(&in, 2, number);
    put_bytes(b, field, in.data, in.len);
}

struct reader {
    const unsigned char *at, *end;
};

static int get_varint(struct reader *r, uint64_t *ret)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        unsigned char c = *r->at++;

        value |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *ret = value;
            return 0;
        }
    }
    return -EBADMSG;
}

/* The next field; *ret is a number, or *sub what the field holds. 1, 0 at the end, -EBADMSG. */
static int next_field(struct reader *r, unsigned *field, uint64_t *ret, struct reader *sub)
{
    uint64_t key, len;

    if (r->at == r->end)
        return 0;
    if (get_varint(r, &key) < 0)
        return -EBADMSG;
    *field = (unsigned)(key >> 3);
    *ret = 0;
    *sub = (struct reader){r->at, r->at};
    switch (key & 7) {
    case VARINT:
        return get_varint(r, ret) < 0 ? -EBADMSG : 1;
    case FIXED64:
        len = 8;
        break;
    case FIXED32:
        len = 4;
        break;
    case BYTES:
        if (get_varint(r, &len) < 0)
            return -EBADMSG;
        break;
    default:
        return -EBADMSG;
    }
    if (len > (uint64_t)(r->end - r->at))
        return -EBADMSG;
    *sub = (struct reader){r->at, r->at + len};
    r->at += len;
    return 1;
}

static void copy_text(struct reader from, char *to, size_t size)
{
    size_t len = (size_t)(from.end - from.at);

    if (len >= size)
        len = size - 1;
    memcpy(to, from.at, len);
    to[len] = '\0';
}

/* restore{pid=1}, notify{script=1, pid=2}, version{major=1, minor=2, sublevel=4} */
static int parse_inner(unsigned outer, struct reader in, struct criu_answer *a)
{
    struct reader sub;
    unsigned field;
    uint64_t n;
    int r;

    while ((r = next_field(&in, &field, &n, &sub)) > 0) {
        if (outer == 4 && field == 1)
            a->pid = (pid_t)n;
        else if (outer == 5 && field == 1)
            copy_text(sub, a->script, sizeof(a->script));
        else if (outer == 5 && field == 2)
            a->pid = (pid_t)n;
        else if (outer == 10 && field == 1)
            a->major = (unsigned)n;
        else if (outer == 10 && field == 2)
            a->minor = (unsigned)n;
        else if (outer == 10 && field == 4)
            a->sublevel = (unsigned)n;
    }
    return r;
}

int criu_answer_parse(const void *data, size_t len, struct criu_answer *ret)
{
    struct criu_answer a = {0};
    struct reader in = {data, (const unsigned char *)data + len}, sub;
    unsigned field;
    uint64_t n;
    int r;

    while ((r = next_field(&in, &field, &n, &sub)) > 0) {
        if (field == 1)
            a.type = n;
        else if (field == 2)
            a.success = n != 0;
        else if (field == 9)
            copy_text(sub, a.message, sizeof(a.message));
        else if (field == 4 || field == 5 || field == 10)
            r = parse_inner(field, sub, &a);
        if (r < 0)
            break;
    }
    if (r == 0)
        *ret = a;
    return r;
}

/* --- the program ---------------------------------------------------------------------------- */

static const char *program = "criu";

void criu_set_program(const char *path)
{
    program = path;
}

/* The last line with an error in criu's log, without its time; NULL when there is none. */
static char *last_error(const char *path)
{
    AUTOFREE char *text = NULL;
    char *save = NULL, *found = NULL;

    if (!path || fs_read_file(AT_FDCWD, path, 64u << 20, &text, NULL) < 0)
        return NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *at = strstr(line, "Error (");

        if (at)
            found = at;
    }
    return found ? xstrdup(found) : NULL;
}

static int failed(const struct criu_call *c, const char *what, struct error *e)
{
    AUTOFREE char *line = last_error(c->log);

    if (line)
        return error_set(e, ERR_INTERNAL, "criu %s: %s (the whole log: %s)", what, line, c->log);
    return error_set(e, ERR_INTERNAL, "criu %s%s%s", what, c->log ? ", and says no more in " : "",
                     c->log ? c->log : "");
}

__attribute__((noreturn)) static void run_child(const struct criu_call *c, int sock, int status)
{
    char number[16];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int err = null < 0 ? -errno : 0;

    /* What it says goes to its log; standard input may be the terminal of --shell-job. */
    if (err == 0 && (dup2(null, 1) < 0 || dup2(null, 2) < 0 || fcntl(sock, F_SETFD, 0) < 0))
        err = -errno;
    for (size_t i = 0; err == 0 && i < c->nkeep; i++)
        if (fcntl(c->keep[i], F_SETFD, 0) < 0)
            err = -errno;
    if (err == 0 && c->before)
        err = c->before(c->data);
    if (err == 0) {
        (void)snprintf(number, sizeof(number), "%d", sock);
        execlp(program, "criu", "swrk", number, (char *)NULL);
        err = -errno;
        if (errno == ENOENT)
            err = -ENOEXEC; /* told from what before() may have met */
    }
    (void)!write(status, &err, sizeof(err));
    _exit(127);
}

static pid_t start(const struct criu_call *c, int *ret_sock, struct error *e)
{
    int pair[2], status[2], err = 0;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(e, errno, "cannot make a socket pair");
    if (pipe2(status, O_CLOEXEC) < 0) {
        err = errno;
        close(pair[0]);
        close(pair[1]);
        return error_set_errno(e, err, "cannot make a pipe");
    }
    pid = fork();
    if (pid == 0)
        run_child(c, pair[1], status[1]);
    err = pid < 0 ? -errno : 0;
    close(pair[1]);
    close(status[1]);
    if (pid > 0 && fs_read_full(status[0], &err, sizeof(err)) > 0)
        (void)waitpid(pid, NULL, 0);
    close(status[0]);
    if (err == 0) {
        *ret_sock = pair[0];
        return pid;
    }
    close(pair[0]);
    if (err == -ENOEXEC)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "%s is not installed (or not in PATH): checkpoint and restore need it; "
                         "install the package criu",
                         program);
    return error_set_errno(e, err, "cannot start criu");
}

static int send_request(int sock, enum criu_type type, const struct buf *opts, bool ok)
{
    AUTO(buf) struct buf b = BUF_INIT(CRIU_MESSAGE_MAX);

    criu_put_int(&b, 1, (uint64_t)type);
    if (opts)
        put_bytes(&b, 2, opts->data, opts->len);
    if (type == CRIU_NOTIFY)
        criu_put_int(&b, 3, ok);
    if (b.len + 1024 > CRIU_MESSAGE_MAX)
        return -EMSGSIZE;
    return send(sock, b.data, b.len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* 1: an answer; 0: criu has gone; -errno. */
static int receive(int sock, struct criu_answer *a, int *ret_fd)
{
    char text[8192];
    size_t nfds = 0;
    int fd = -EBADF;
    ssize_t n = fdpass_recv(sock, text, sizeof(text), &fd, 1, &nfds);
    int r;

    if (n <= 0)
        return n == -ECONNRESET ? 0 : n == -EMSGSIZE ? -EBADMSG : (int)n;
    *ret_fd = nfds ? fd : -EBADF;
    r = criu_answer_parse(text, (size_t)n, a);
    if (r < 0 && *ret_fd >= 0)
        close(*ret_fd);
    return r < 0 ? r : 1;
}

static int converse(const struct criu_call *c, int sock, struct criu_answer *a, struct error *e)
{
    int fd, r = send_request(sock, c->type, c->opts, false);

    if (r < 0 && r != -EPIPE)
        return error_set_errno(e, r, "cannot send a request to criu");
    while ((r = receive(sock, a, &fd)) > 0) {
        if (a->type != CRIU_NOTIFY) {
            if (fd >= 0)
                close(fd);
            break;
        }
        if (c->notify)
            r = c->notify(a, fd, c->data, e);
        else if (fd >= 0)
            close(fd);
        (void)!send_request(sock, CRIU_NOTIFY, NULL, r >= 0);
        if (r < 0)
            return r; /* criu undoes what it has made */
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot read what criu answers");
    if (r == 0)
        return failed(c, "ended without an answer", e);
    if (!a->success)
        return failed(c, a->message[0] ? a->message : "failed", e);
    return 0;
}

int criu_run(const struct criu_call *c, struct criu_answer *ret, struct error *e)
{
    int sock = -EBADF, r;
    pid_t pid = start(c, &sock, e);

    if (pid < 0)
        return pid;
    r = converse(c, sock, ret, e);
    close(sock);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return r;
}

int criu_check(struct error *e)
{
    const struct criu_call c = {.type = CRIU_VERSION};
    struct criu_answer a = {0};
    int r = criu_run(&c, &a, e);

    if (r < 0)
        return r;
    if (a.major < OLDEST_MAJOR || (a.major == OLDEST_MAJOR && a.minor < OLDEST_MINOR))
        return error_set(e, ERR_NOT_SUPPORTED, "criu %u.%u is too old: %d.%d or later is needed",
                         a.major, a.minor, OLDEST_MAJOR, OLDEST_MINOR);
    return 0;
}
