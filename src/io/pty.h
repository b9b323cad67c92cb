/* SPDX-License-Identifier: Apache-2.0 */
/* Pseudo terminals. */
#pragma once

#include "base/macros.h"

/* Opens a pair (both O_CLOEXEC, O_NOCTTY) from the ptmx device at `ptmx` ("/dev/ptmx" when NULL)
 * without needing the slave's path. 0 or -errno. */
int pty_open(const char *ptmx, int *ret_master, int *ret_slave) MUST_CHECK;
/* The slave of a master. fd or -errno. */
int pty_open_peer(int master) MUST_CHECK;
/* Window size; the foreground process group gets SIGWINCH. 0 or -errno. */
int pty_resize(int master, unsigned rows, unsigned cols);
