/* SPDX-License-Identifier: Apache-2.0 */
/* The driver for foreign OCI runtimes. */
#pragma once

#include "monitor/driver.h"

extern const struct monitor_driver monitor_driver_oci;
