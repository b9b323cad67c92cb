/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop devices: a file becomes a disk for as long as something uses it. The kernel frees the device
 * with its last user, so a process that dies on the way leaves none.
 *
 * Any thread; blocks on the disk.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/macros.h"

#define LOOPDEV_NAME_MAX 32 /* "/dev/loop7" */

/*
 * The device that holds the file open at image_fd: the one that has it already (a writable image
 * that were attached twice would be destroyed; a read-only one shares its pages), else a new one.
 * *ret_fd keeps it until it is mounted.
 */
int loopdev_attach(int image_fd, bool read_only, int *ret_fd, char ret_name[LOOPDEV_NAME_MAX],
                   struct error *e) MUST_CHECK;
