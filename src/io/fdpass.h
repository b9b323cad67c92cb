/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with file descriptors over unix sockets, and addresses of any length. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/macros.h"

#define FDPASS_MAX 8 /* fds in one message */

/*
 * Sends one message with fds (borrowed). 0 or -errno; -EAGAIN on a full non-blocking socket. On a
 * stream socket all of it is sent. No SIGPIPE.
 */
int fdpass_send(int sock, const void *data, size_t len, const int *fds, size_t nfds) MUST_CHECK;

/*
 * Receives one message: its length (0 at the end of the stream) or -errno; -EMSGSIZE when data or
 * fds did not fit (the fds are closed). Fds come O_CLOEXEC and are the caller's. ret_nfds may be
 * NULL when max_fds is 0.
 */
ssize_t fdpass_recv(int sock, void *data, size_t len, int *fds, size_t max_fds,
                    size_t *ret_nfds) MUST_CHECK;

/*
 * socket() + bind() + listen(), and socket() + connect(), to `name` in the folder dirfd (or AT_FDCWD): so that
 * the length of the folder's path does not matter. type: SOCK_STREAM or SOCK_SEQPACKET, with
 * SOCK_NONBLOCK if wanted. The socket's file gets `mode`. fd or -errno.
 */
int fdpass_listen(int dirfd, const char *name, int type, mode_t mode) MUST_CHECK;
int fdpass_connect(int dirfd, const char *name, int type) MUST_CHECK;
