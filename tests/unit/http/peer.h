/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of a server under test: raw bytes over a unix socket. After cmocka.h. */
#pragma once

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"

/* address: "unix:///…" */
static inline int peer_dial(const char *address)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct timeval limit = {20, 0};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", address + 7);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

static inline void peer_say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until `until` was seen (NULL: until the end), and gives all that was read so far. */
static inline const char *peer_hear(int fd, struct buf *b, const char *until)
{
    while (!until || !strstr(buf_str(b), until)) {
        char *p = buf_reserve(b, 4096);
        ssize_t n = p ? recv(fd, p, 4096, 0) : -1;

        if (n <= 0)
            break;
        buf_commit(b, (size_t)n);
        b->data[b->len] = '\0';
    }
    return buf_str(b);
}

/* One request on a connection of its own; the caller frees the answer. */
static inline char *peer_ask(const char *address, const char *request, const char *until)
{
    AUTOFD int fd = peer_dial(address);
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    peer_say(fd, request);
    (void)peer_hear(fd, &b, until);
    return buf_take(&b);
}

static inline void expect_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static inline void expect_lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" is in \"%s\"", part, text);
}
