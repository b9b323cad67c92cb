/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers as EROFS files, mounted once each (layer-mounts.c); the container's own folder on top is an
 * overlay's upper folder, as with the overlay driver. Layers that are folders still, made by the
 * other driver, are used as they are, side by side with files.
 */
#include "rootfs/rootfs-priv.h"

const struct rootfs_driver rootfs_driver_erofs = {
    .name = "erofs",
    .makes_files = true,
    .needs_erofs = true,
    .prepare = overlay_prepare,
    .view = overlay_view,
    .size = overlay_size,
    .set_aside = overlay_set_aside,
    .put_back = overlay_put_back,
    .drop_aside = overlay_drop_aside,
};
