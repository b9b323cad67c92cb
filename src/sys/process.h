/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel tells of a process. Any thread. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * It is on its way out (killed, crashed, or leaving by itself) or has gone, though nobody may have been told
 * yet. All of its threads are looked at: that the first one has ended (pthread_exit() in main()) is not its end.
 */
bool process_is_ending(pid_t pid);
