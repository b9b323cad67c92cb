/* SPDX-License-Identifier: Apache-2.0 */
/* The walls around pouch-pack; see sandbox.c. */
#pragma once

#include "base/error.h"
#include "base/macros.h"

/* mount_fd: a detached mount, which becomes all that there is; closed. *ret_root: its root. */
int pack_sandbox_enter(int mount_fd, int *ret_root, struct error *e) MUST_CHECK;
