/* SPDX-License-Identifier: Apache-2.0 */
/* Takes from this process everything that writing one folder does not need. */
#pragma once

#include "base/error.h"
#include "base/macros.h"

/*
 * Makes the folder `root_fd` this process's root, in a mount namespace where nothing else is
 * mounted; keeps the capabilities to make files of any owner and kind; then lets no system calls
 * through but those that work on files. Single-threaded callers only. *ret_root is the new root
 * folder; root_fd is closed.
 */
int unpack_sandbox_enter(int root_fd, int *ret_root, struct error *e) MUST_CHECK;
