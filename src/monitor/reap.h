/* SPDX-License-Identifier: Apache-2.0 */
/* Children of pouchd that are on their way out: nobody waits for them, and none stays a zombie. */
#pragma once

#include <sys/types.h>

/* Reaped when it has ended, at the next call of either. Any thread. */
void monitor_reap_later(pid_t pid);
void monitor_reap_now(void);
