/* SPDX-License-Identifier: Apache-2.0 */
/* The PORTS column. */
#pragma once

#include "base/json.h"
#include "base/macros.h"

/* "0.0.0.0:8080->80/tcp, 443/tcp": the Ports of a listed container as docker shows them, runs of
 * ports joined to ranges. The caller frees it. */
char *ports_text(const struct json_value *ports) MUST_CHECK;
