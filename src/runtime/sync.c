/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between stage and init, and the status pipe: see runtime-priv.h. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

void status_from_error(struct runtime_status *st, const struct error *e)
{
    *st = (struct runtime_status){.code = e->code ? e->code : ERR_INTERNAL, .errnum = e->errnum};
    (void)snprintf(st->message, sizeof(st->message), "%s", error_message(e));
}

int status_to_error(const struct runtime_status *st, struct error *e)
{
    enum error_code code = st->code > ERR_NONE && st->code < ERR_MAX ? st->code : ERR_INTERNAL;
    int r = error_set(e, code, "%.*s", (int)sizeof(st->message) - 1, st->message);

    if (e)
        e->errnum = st->errnum;
    return st->errnum > 0 ? -st->errnum : r;
}

static int send_message(int sock, const struct sync_msg *msg, size_t len, int fd)
{
    struct iovec iov = {(void *)(uintptr_t)msg, len};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;

    if (fd >= 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        hdr.msg_control = control.bytes;
        hdr.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&hdr);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    return sendmsg(sock, &hdr, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int sync_send(int sock, enum sync_type type, const struct error *e, const char *text, int fd)
{
    struct sync_msg msg = {.type = type};

    if (e)
        status_from_error(&msg.status, e);
    else if (text)
        (void)snprintf(msg.status.message, sizeof(msg.status.message), "%s", text);
    return send_message(sock, &msg, e || text ? sizeof(msg) : sizeof(msg.type), fd);
}

#define WITH_NUMBER offsetof(struct sync_msg, status.errnum)

int sync_answer(int sock, uint32_t number, int fd, struct error *e)
{
    struct sync_msg msg = {.type = SYNC_GO_ON, .status = {.code = number}};
    int r = send_message(sock, &msg, WITH_NUMBER, fd);

    return r < 0 ? error_set_errno(e, r, "the container's process has gone") : 0;
}

int sync_ask(int sock, enum sync_type what, uint32_t *number, int *ret_fd, struct error *e)
{
    struct sync_msg msg = {.type = what, .status = {.code = number ? *number : 0}};
    int r = send_message(sock, &msg, WITH_NUMBER, -EBADF);

    if (r == 0)
        r = sync_recv(sock, &msg, ret_fd);
    if (r != 1 || msg.type != SYNC_GO_ON)
        return error_set(e, ERR_INTERNAL, "the runtime gave up");
    if (number)
        *number = msg.status.code;
    return 0;
}

int sync_recv(int sock, struct sync_msg *ret, int *ret_fd)
{
    struct iovec iov = {ret, sizeof(*ret)};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr hdr = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c;
    ssize_t n;

    memset(ret, 0, sizeof(*ret));
    do
        n = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 && errno != ECONNRESET ? -errno : 0;
    ret->status.message[sizeof(ret->status.message) - 1] = '\0';
    c = CMSG_FIRSTHDR(&hdr);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        int fd;

        memcpy(&fd, CMSG_DATA(c), sizeof(int));
        if (ret_fd)
            *ret_fd = fd;
        else
            close(fd);
    } else if (ret_fd) {
        *ret_fd = -EBADF;
    }
    return 1;
}

int runtime_status_read(int fd, struct error *e)
{
    struct runtime_status st;
    ssize_t n = fs_read_full(fd, &st, sizeof(st));

    if (n == 0)
        return 0;
    if (n != (ssize_t)sizeof(st))
        return error_set(e, ERR_INTERNAL, "the container's process ended before it told why");
    st.message[sizeof(st.message) - 1] = '\0';
    return status_to_error(&st, e);
}
