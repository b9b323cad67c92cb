/* SPDX-License-Identifier: Apache-2.0 */
/* What a rootfs driver gives: one file drv-<name>.c, one line in the table in rootfs.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "rootfs/rootfs.h"
#include "sys/erofs.h"

struct layer_mounts;

struct rootfs_driver {
    const char *name;
    bool makes_files; /* new layers become EROFS files, else folders */
    bool needs_erofs;
    /* Each as the public function of the same name in rootfs.h, arguments checked before. */
    int (*prepare)(struct layer_mounts *lm, const char *container_dir, char *const *layers,
                   struct rootfs_mount *ret, struct error *e);
    int (*view)(struct layer_mounts *lm, char *const *layers, struct rootfs_mount *ret,
                struct error *e);
    int (*size)(const char *container_dir, uint64_t *ret_bytes, struct error *e);
    int (*set_aside)(const char *container_dir, struct error *e);
    int (*put_back)(const char *container_dir, struct error *e);
    int (*drop_aside)(const char *container_dir, struct error *e);
};

extern const struct rootfs_driver rootfs_driver_overlay;
extern const struct rootfs_driver rootfs_driver_erofs;

/* Of drv-overlay.c, for drivers whose writable part is an overlay's upper folder: all of them. */
int overlay_probe(const char *root, struct error *e) MUST_CHECK;
int overlay_prepare(struct layer_mounts *lm, const char *container_dir, char *const *layers,
                    struct rootfs_mount *ret, struct error *e) MUST_CHECK;
int overlay_view(struct layer_mounts *lm, char *const *layers, struct rootfs_mount *ret,
                 struct error *e) MUST_CHECK;
int overlay_size(const char *container_dir, uint64_t *ret_bytes, struct error *e) MUST_CHECK;
int overlay_set_aside(const char *container_dir, struct error *e) MUST_CHECK;
int overlay_put_back(const char *container_dir, struct error *e) MUST_CHECK;
int overlay_drop_aside(const char *container_dir, struct error *e) MUST_CHECK;

/* overlayfs does not look whether the root folder of a layer is opaque (".wh..wh..opq" at the top of
 * its archive): what lies below such a layer is left out when the mount is described. */
bool rootfs_layer_is_opaque(const char *folder);

/* --- layer-mounts.c: EROFS layer files as folders ------------------------------------------------ */

bool rootfs_layer_is_file(const char *path);

/* Finds the mounts of an earlier life; takes those away whose layer is gone. way SYS_EROFS_NONE: no
 * new mounts are made. */
int rootfs_layers_open(const struct rootfs_params *p, enum sys_erofs_way way,
                       struct layer_mounts **ret, struct error *e) MUST_CHECK;
/* Unmounts all but the layers in `keep` (paths of files). */
void rootfs_layers_close(struct layer_mounts *lm, char *const *keep);
size_t rootfs_layers_count(struct layer_mounts *lm);

/* The folder where the layer file is mounted (the caller frees), now if it was not. */
int rootfs_layer_mount(struct layer_mounts *lm, const char *path, char **ret_place,
                       bool *ret_opaque, struct error *e) MUST_CHECK;
void rootfs_layer_doom(struct layer_mounts *lm, const char *path);
void rootfs_layer_drop(struct layer_mounts *lm, const char *path);
