/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop over epoll: file descriptors (pidfds and signalfds among them), timers, and work
 * posted from other threads.
 *
 * One thread owns a loop: it alone may call anything here except loop_post() and loop_quit(),
 * which any thread may call. Callbacks may free any source, their own too, and add new ones.
 */
#pragma once

#include <signal.h>
#include <stdint.h>

#include "base/macros.h"

struct loop;
struct source;

/* revents: EPOLLIN, EPOLLOUT, EPOLLHUP … of epoll(7). */
typedef void (*loop_fd_cb)(struct source *s, int fd, uint32_t revents, void *data);
typedef void (*loop_timer_cb)(struct source *s, void *data);
typedef void (*loop_post_cb)(void *data);

int loop_new(struct loop **ret) MUST_CHECK;
/* Frees the loop and every source still in it (their fds stay open: the caller owns them). */
void loop_free(struct loop *l);
DEFINE_AUTOPTR(struct loop, loop)

/* Runs until loop_quit(); returns its code, or -errno when waiting failed. */
int loop_run(struct loop *l) MUST_CHECK;
/* Waits at most timeout_ns (-1: without end) and dispatches once what is ready: the number of
 * callbacks called, or -errno. */
int loop_run_once(struct loop *l, int64_t timeout_ns) MUST_CHECK;
void loop_quit(struct loop *l, int code);

/*
 * Watches fd (borrowed) level-triggered. EPOLLHUP and EPOLLERR are reported even when not asked
 * for. events 0 takes the fd out of epoll altogether, so that a hung-up peer of a paused source
 * does not spin the loop. ret_source may be NULL: then the source lives as long as the loop.
 */
int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_cb cb, void *data,
                struct source **ret_source) MUST_CHECK;
int source_set_events(struct source *s, uint32_t events);

/* Calls cb once at the time (CLOCK_MONOTONIC, ns; INT64_MAX: not armed). source_set_time() arms
 * it again, also from its own callback. */
int loop_add_timer(struct loop *l, int64_t when_monotonic_ns, loop_timer_cb cb, void *data,
                   struct source **ret_source) MUST_CHECK;
void source_set_time(struct source *s, int64_t when_monotonic_ns);

/* Takes the source out and frees it; NULL is fine. */
void source_free(struct source *s);

/* Calls cb(data) in the loop's thread, in the order of posting. Any thread. */
int loop_post(struct loop *l, loop_post_cb cb, void *data) MUST_CHECK;

/* Blocks the signals of the set for the calling thread and returns a signalfd for them, to be
 * given to loop_add_fd(); the caller owns it. */
int loop_signalfd(const sigset_t *set) MUST_CHECK;
