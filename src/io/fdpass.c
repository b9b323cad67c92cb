/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCM_RIGHTS messages, and unix sockets in a folder that is given by its fd: sun_path holds 108
 * bytes, so a long folder is reached as /proc/self/fd/N.
 */
#include "io/fdpass.h"

#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

union control {
    struct cmsghdr header; /* for its alignment */
    char space[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
};

int fdpass_send(int sock, const void *data, size_t len, const int *fds, size_t nfds)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    union control control = {0};

    assert(nfds <= FDPASS_MAX && len > 0);
    if (nfds > 0) {
        struct cmsghdr *c;

        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    do {
        ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        iov.iov_base = (char *)iov.iov_base + n;
        iov.iov_len -= (size_t)n;
        msg.msg_control = NULL; /* the fds went with the first bytes */
        msg.msg_controllen = 0;
    } while (iov.iov_len > 0);
    return 0;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/* Collects the fds of a message; every one is either in fds or closed. */
static int take_fds(struct msghdr *msg, int *fds, size_t max, size_t *ret_n)
{
    size_t n = 0;
    int r = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (n < max) {
                fds[n++] = fd;
            } else {
                close(fd);
                r = -EMSGSIZE;
            }
        }
    }
    *ret_n = n;
    return r;
}

ssize_t fdpass_recv(int sock, void *data, size_t len, int *fds, size_t max_fds, size_t *ret_nfds)
{
    struct iovec iov = {.iov_base = data, .iov_len = len};
    union control control = {0};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    size_t nfds;
    ssize_t n;
    int r;

    assert(max_fds <= FDPASS_MAX && (max_fds == 0 || ret_nfds));
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    r = take_fds(&msg, fds, max_fds, &nfds);
    if (r < 0 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        close_all(fds, nfds);
        return -EMSGSIZE;
    }
    if (ret_nfds)
        *ret_nfds = nfds;
    return n;
}

/* The address of `name` in dirfd. */
static int address(int dirfd, const char *name, struct sockaddr_un *addr)
{
    int n;

    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (dirfd == AT_FDCWD) {
        if (strlen(name) >= sizeof(addr->sun_path))
            return -ENAMETOOLONG;
        strcpy(addr->sun_path, name);
        return 0;
    }
    n = snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
    return n < 0 || (size_t)n >= sizeof(addr->sun_path) ? -ENAMETOOLONG : 0;
}

int fdpass_listen(int dirfd, const char *name, int type, mode_t mode)
{
    struct sockaddr_un addr;
    AUTOFD int fd = -EBADF;
    int r = address(dirfd, name, &addr);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* The file's mode comes from the socket's (before bind), less the umask. */
    if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    if (listen(fd, 128) < 0)
        return -errno;
    return take_fd(fd);
}

int fdpass_connect(int dirfd, const char *name, int type)
{
    struct sockaddr_un addr;
    AUTOFD int fd = -EBADF;
    int r = address(dirfd, name, &addr);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    do
        r = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : take_fd(fd);
}
