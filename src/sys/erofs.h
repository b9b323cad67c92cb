/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EROFS images in files as mounts: by the file itself (Linux 6.12 and later) or through a loop
 * device. What the kernel can do is found by trying.
 *
 * Any thread; blocks on the disk.
 */
#pragma once

#include "base/error.h"
#include "base/macros.h"

enum sys_erofs_way {
    SYS_EROFS_NONE, /* no EROFS in this kernel, or neither way works */
    SYS_EROFS_FILE, /* the file is the device */
    SYS_EROFS_LOOP, /* through a loop device, which goes with the mount */
};

/* "file", "loop", "none" */
const char *sys_erofs_way_name(enum sys_erofs_way way);

/*
 * Mounts the image at `path` (absolute) read-only, without set-id programs and devices: *ret_fd is
 * the root folder of a detached mount that no namespace sees and that goes when the fd is closed.
 */
int sys_erofs_open(const char *path, enum sys_erofs_way way, int *ret_fd,
                   struct error *e) MUST_CHECK;

/* Tries with a tiny image which way works for files in the folder `dir`, where it leaves nothing.
 * With SYS_EROFS_NONE the error says why (and 0 is returned: it is no failure). */
int sys_erofs_probe(const char *dir, enum sys_erofs_way *ret, struct error *e) MUST_CHECK;
