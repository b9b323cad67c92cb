/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a rich container and its monitor: named pipes in the folder "rich" of the bundle, which
 * the container sees read-only as /run/pouch. Pipes have names because the application is started
 * by the container's init, which hands on no descriptors; they are bounded, so nothing that writes
 * to them fills the host's memory.
 */
#pragma once

#include <stdint.h>

#define RICH_FOLDER "rich"       /* in the bundle */
#define RICH_INSIDE "/run/pouch" /* in the container */

#define RICH_STDIN  "stdin"
#define RICH_STDOUT "stdout"
#define RICH_STDERR "stderr"
#define RICH_ALIVE  "alive"  /* beside openrc-init: its writer's end is that of the init's work */
#define RICH_EVENTS "events" /* struct rich_event, written whole (less than PIPE_BUF) */

enum rich_event_type {
    RICH_APP_ENDED = 1, /* value: exit code, 128 + signal; detail: the signal or 0 */
    RICH_HALTED,        /* services are stopped, nothing is left to wait for: init may be killed */
};

/* The name of the application as a service. */
#define RICH_UNIT "pouch-app.service"

#define RICH_MAGIC 0x48434952u /* "RICH" */
struct rich_event {
    uint32_t magic;
    uint32_t type;
    int32_t value;
    int32_t detail;
};
