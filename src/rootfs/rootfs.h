/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers become a container's root file system. A driver prepares the writable part on disk and
 * says what must be mounted; the mount itself is made by the runtime inside the container's own
 * mount namespace, so that the host never sees it. Layers are written by the program pouch-unpack
 * (src/rootfs/unpack), never by a process that includes this header.
 *
 * On disk:  <root>/layers/<hex of the chain id>/   one layer's files, in overlayfs form
 *           <root>/containers/<id>/{diff,work}     the writable layer of one container
 *
 * All functions may be called from any thread; two calls for the same container must not overlap.
 * They block on the disk: hold no lock.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

struct rootfs_driver;

#define ROOTFS_DRIVER_DEFAULT "overlay"

/* The driver of that name, NULL or "" for the default. ERR_INVALID lists the names that exist. */
int rootfs_driver_find(const char *name, const struct rootfs_driver **ret,
                       struct error *e) MUST_CHECK;
const char *rootfs_driver_name(const struct rootfs_driver *drv);

/* Tries whether the driver works on the file system of `root` (an existing folder of ours). The
 * error says what is missing. Leaves nothing behind. */
int rootfs_driver_probe(const struct rootfs_driver *drv, const char *root,
                        struct error *e) MUST_CHECK;

/*
 * What to mount as the container's root. This is also the private object "pouch": {"overlay": …}
 * of the bundle's config.json (table rootfs_mount_json); the runtime reads the same field names.
 */
struct rootfs_mount {
    char *type;     /* "overlay" */
    char **lower;   /* layer folders, topmost first */
    char *upper;    /* NULL: a read-only view of the layers */
    char *work;     /* NULL with upper */
    char **options; /* further options for the file system ("index=off") */
};
extern const struct json_desc rootfs_mount_json;
void rootfs_mount_done(struct rootfs_mount *m);

#define ROOTFS_LAYERS_MAX 128

/* "<root>/layers/<hex>"; chain_id is "sha256:<hex>" or the hex digits alone. Never NULL. */
char *rootfs_layer_path(const char *root, const char *chain_id) MUST_CHECK;

/*
 * Makes the writable layer in container_dir (which exists; a layer that is there already is kept,
 * so that a restarted container finds its files) and fills *ret. layer_dirs: absolute paths, bottom
 * layer first as in an image's diff_ids, NULL-ended, at most ROOTFS_LAYERS_MAX.
 */
int rootfs_prepare(const struct rootfs_driver *drv, const char *container_dir,
                   char *const *layer_dirs, struct rootfs_mount *ret, struct error *e) MUST_CHECK;

/*
 * What the container writes need not outlive a power cut (--rm: it is removed when it ends). Saves
 * the sync of the whole disk that overlayfs does when the container's mount goes, 3 to 150 ms.
 * fsync() inside the container does nothing then: only for containers that are thrown away.
 */
void rootfs_mount_set_volatile(struct rootfs_mount *m);

/* A read-only view of the layers alone, for copying an image's content into a volume. */
int rootfs_view(const struct rootfs_driver *drv, char *const *layer_dirs, struct rootfs_mount *ret,
                struct error *e) MUST_CHECK;

/*
 * Mounts without a mount point: *ret_fd is the root folder of a detached mount that no namespace
 * sees and that goes away when the fd is closed (and with it the process, however it ends). For
 * cp, export, commit, volumes. With upper set, the container must not run: two writable mounts of
 * one upper folder are undefined; use rootfs_mount with upper == NULL or the container's own root.
 */
int rootfs_mount_detached(const struct rootfs_mount *m, int *ret_fd, struct error *e) MUST_CHECK;

/* Bytes the container wrote (allocated blocks of its writable layer; hard links once). */
int rootfs_size(const struct rootfs_driver *drv, const char *container_dir, uint64_t *ret_bytes,
                struct error *e) MUST_CHECK;

/* Removes the writable layer, whatever is in it. 0 when there is none. */
int rootfs_remove(const struct rootfs_driver *drv, const char *container_dir,
                  struct error *e) MUST_CHECK;

/*
 * Another image for a container that does not run: its writable layer is set aside, so that the
 * next rootfs_prepare() makes an empty one; then either the old one is put back (what was written
 * meanwhile goes) or dropped. Each can be repeated, also after it was cut off half-way, and does
 * nothing when it is done already.
 */
int rootfs_set_aside(const struct rootfs_driver *drv, const char *container_dir,
                     struct error *e) MUST_CHECK;
int rootfs_put_back(const struct rootfs_driver *drv, const char *container_dir,
                    struct error *e) MUST_CHECK;
int rootfs_drop_aside(const struct rootfs_driver *drv, const char *container_dir,
                      struct error *e) MUST_CHECK;

/* At start: removes the writable layers under <root>/containers of every id not in live_ids, and
 * their empty folders. Returns how many there were. */
int rootfs_sweep(const struct rootfs_driver *drv, const char *root, char *const *live_ids,
                 struct error *e) MUST_CHECK;
