/* SPDX-License-Identifier: Apache-2.0 */
/* What the host must have for pouchd, found by trying, and said in one line when it is missing. */
#pragma once

#include "base/error.h"
#include "base/macros.h"

/*
 * Checks what nothing works without: root's rights, namespaces, overlayfs, a cgroup hierarchy with
 * the controllers for processes and freezing. ERR_UNAVAILABLE names everything that is missing.
 */
int sys_check_host(struct error *e) MUST_CHECK;
