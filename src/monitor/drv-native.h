/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime that is linked in. */
#pragma once

#include "monitor/driver.h"

extern const struct monitor_driver monitor_driver_native;
