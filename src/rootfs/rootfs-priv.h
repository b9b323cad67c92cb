/* SPDX-License-Identifier: Apache-2.0 */
/* What a rootfs driver gives: one file drv-<name>.c, one line in the table in rootfs.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "rootfs/rootfs.h"

struct rootfs_driver {
    const char *name;
    /* Each as the public function of the same name in rootfs.h, arguments checked before. */
    int (*probe)(const char *root, struct error *e);
    int (*prepare)(const char *container_dir, char *const *layer_dirs, struct rootfs_mount *ret,
                   struct error *e);
    int (*view)(char *const *layer_dirs, struct rootfs_mount *ret, struct error *e);
    int (*size)(const char *container_dir, uint64_t *ret_bytes, struct error *e);
    int (*remove)(const char *container_dir, struct error *e);
    bool (*is_present)(const char *container_dir);
    int (*set_aside)(const char *container_dir, struct error *e);
    int (*put_back)(const char *container_dir, struct error *e);
    int (*drop_aside)(const char *container_dir, struct error *e);
};

extern const struct rootfs_driver rootfs_driver_overlay;

/* Allocated bytes of a tree, hard links counted once; crosses no mount. */
int rootfs_tree_size(const char *path, uint64_t *ret_bytes, struct error *e) MUST_CHECK;
