/* SPDX-License-Identifier: Apache-2.0 */
/* What all runtime drivers of the monitor do; called in a stage. */
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "monitor/driver.h"

struct oci_spec;

/* Reads <bundle>/config.json; *ret must be zeroed. */
int stage_load_spec(const char *bundle, struct oci_spec *ret, struct error *e) MUST_CHECK;

/* Opens the file of ret->cgroup_path that counts OOM kills, and what tells of them; both optional. */
void stage_open_oom(struct stage_result *ret);
