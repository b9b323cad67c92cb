/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small internet for tests: the test's own namespace is the host; containers and an outside host
 * are namespaces of their own. Nothing outside of these is touched.
 */
#pragma once

#include <stdbool.h>

/* Puts the test program into a network namespace of its own with lo up and an uplink
 * (192.0.2.1/24, 2001:db8::1/64) to *ret_outside (192.0.2.9, 2001:db8::9). False: no right to it;
 * the reason was printed as a TAP skip. */
bool netns_enter(int *ret_outside);

/* A new, empty namespace; the caller closes the fd, and with it the namespace goes. */
int netns_new(void);

/* A socket of a namespace; ns < 0: the own. */
int netns_socket(int ns, int family, int type);

/* A listening TCP, or a bound UDP, socket on every address. */
int netns_listen(int ns, int family, int type, unsigned port);

/*
 * Sends a word from namespace `from` to address and port, and waits at most timeout_ms for it to
 * come out at server_fd and an answer to come back. Fills who the server saw (address text).
 */
bool netns_talk(int from, const char *ip, unsigned port, int type, int server_fd, int timeout_ms,
                char seen[64]);

/* Runs a shell command inside the own namespace; true when it succeeded. */
bool netns_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
