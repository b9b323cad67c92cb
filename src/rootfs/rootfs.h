/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers become a container's root file system. A driver prepares the writable part on disk and
 * says what must be mounted; the mount itself is made by the runtime inside the container's own
 * mount namespace, so that the host never sees it. Layers are written by the program pouch-unpack
 * (src/rootfs/unpack), never by a process that includes this header.
 *
 * On disk:  <root>/layers/<hex>/            one layer's files in overlayfs form, or
 *           <root>/layers/<hex>.erofs       the same as an EROFS file; <hex> is the diff id
 *           <root>/containers/<id>/{diff,work}  the writable layer of one container
 *           <state>/layers/<hex>            where a layer's file is mounted, once for all containers
 *
 * All functions may be called from any thread; two calls for the same container must not overlap.
 * They block on the disk: hold no lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

struct rootfs;
struct reaper;

struct rootfs_params {
    /* "overlay", "erofs"; NULL, "" or "auto": erofs where the kernel has it, else overlay */
    const char *driver;
    const char *root; /* both absolute, and there */
    const char *state;
    /* The fs-verity measure on record for a layer file (its diff id's hex): ret is "sha256:…", or
     * "" when there is none. Called before a file is mounted. NULL: none has one. */
    void (*measure)(void *data, const char *hex, char ret[80]);
    void *measure_data;
    struct reaper *reaper; /* lets go of what was removed; stopped before rootfs_close(); or NULL */
};

/* Tries what works here; the error says what is missing. Finds the layer mounts of an earlier
 * pouchd again, and takes those away whose layer is gone. */
int rootfs_open(const struct rootfs_params *p, struct rootfs **ret, struct error *e) MUST_CHECK;
/* Unmounts the layers but for those in keep (as in layer_dirs; NULL: none): what running containers
 * use, so that the next pouchd finds it. NULL is fine. */
void rootfs_close(struct rootfs *rf, char *const *keep);

const char *rootfs_driver_name(const struct rootfs *rf);
/* New layers become EROFS files (else folders). */
bool rootfs_makes_files(const struct rootfs *rf);
/* The file system of root has fs-verity: layer files should get it. */
bool rootfs_has_verity(const struct rootfs *rf);
/* Can this layer (a path as in layer_dirs) be used as it is? Else it must be converted. */
bool rootfs_can_use(const struct rootfs *rf, const char *layer);

/* For people: pairs of name and value, NULL-ended; the caller frees with strv_free(). */
char **rootfs_status(struct rootfs *rf) MUST_CHECK;

/*
 * A layer is being removed. _going: does not block, may be called inside of a transaction of the
 * database; from then on nobody gets the layer's mount any more. _gone: unmounts it. Nothing
 * happens for layers that are folders, or not mounted.
 */
void rootfs_layer_going(struct rootfs *rf, const char *layer);
void rootfs_layer_gone(struct rootfs *rf, const char *layer);

/*
 * What to mount as the container's root. This is also the private object "pouch": {"overlay": …}
 * of the bundle's config.json (table rootfs_mount_json); the runtime reads the same field names.
 */
struct rootfs_mount {
    char *type;     /* "overlay" */
    char **lower;   /* layer folders (of files: where they are mounted), topmost first */
    char *upper;    /* NULL: a read-only view of the layers */
    char *work;     /* NULL with upper */
    char **options; /* further options for the file system ("index=off") */
};
extern const struct json_desc rootfs_mount_json;
void rootfs_mount_done(struct rootfs_mount *m);

#define ROOTFS_LAYERS_MAX 128

/*
 * Makes the writable layer in container_dir (which exists; a layer that is there already is kept,
 * so that a restarted container finds its files) and fills *ret. layer_dirs: absolute paths of folders
 * or EROFS files, mixed as they come, bottom layer first as in an image's diff_ids, NULL-ended, at
 * most ROOTFS_LAYERS_MAX. Files are mounted when they are not yet, and stay mounted.
 */
int rootfs_prepare(struct rootfs *rf, const char *container_dir, char *const *layer_dirs,
                   struct rootfs_mount *ret, struct error *e) MUST_CHECK;

/*
 * What the container writes need not outlive a power cut (--rm: it is removed when it ends). Saves
 * the sync of the whole disk that overlayfs does when the container's mount goes, 3 to 150 ms.
 * fsync() inside the container does nothing then: only for containers that are thrown away.
 */
void rootfs_mount_set_volatile(struct rootfs_mount *m);

/* A read-only view of the layers alone, for copying an image's content into a volume. */
int rootfs_view(struct rootfs *rf, char *const *layer_dirs, struct rootfs_mount *ret,
                struct error *e) MUST_CHECK;

/*
 * Mounts without a mount point: *ret_fd is the root folder of a detached mount that no namespace
 * sees and that goes away when the fd is closed (and with it the process, however it ends). For
 * cp, export, commit, volumes. With upper set, the container must not run: two writable mounts of
 * one upper folder are undefined; use rootfs_mount with upper == NULL or the container's own root.
 */
int rootfs_mount_detached(const struct rootfs_mount *m, int *ret_fd, struct error *e) MUST_CHECK;

/* Allocated bytes of any tree, hard links counted once; crosses no mount. */
int rootfs_tree_size(const char *path, uint64_t *ret_bytes, struct error *e) MUST_CHECK;

/* Bytes the container wrote (allocated blocks of its writable layer; hard links once). */
int rootfs_size(struct rootfs *rf, const char *container_dir, uint64_t *ret_bytes,
                struct error *e) MUST_CHECK;

/* Whether the container has a writable layer on disk (it was started once): 1 and its folder, 0. */
int rootfs_upper(struct rootfs *rf, const char *container_dir, char **ret);

/*
 * Reading a container's files, by the walled program pouch-pack:
 *   TREE     all the container sees, but for its mounts: a tar archive
 *   DIFF     what it changed: the tar archive of an OCI layer
 *   CHANGES  the same as a list: "A", "C" or "D", a path, a NUL
 */
enum rootfs_pack_mode { ROOTFS_PACK_TREE, ROOTFS_PACK_DIFF, ROOTFS_PACK_CHANGES };
struct rootfs_pack_params {
    enum rootfs_pack_mode mode;
    const char *container_dir;
    char *const *layers; /* as for rootfs_prepare(); held by the caller until the end */
    char *const
        *skip; /* paths without a leading "/": the engine's own, left out with all in them */
};
struct rootfs_packer;
/* *ret_fd: a pipe with the stream, the caller's. Only rootfs_pack_finish() says whether it is whole. */
int rootfs_pack_start(struct rootfs *rf, const struct rootfs_pack_params *p,
                      struct rootfs_packer **ret, int *ret_fd, struct error *e) MUST_CHECK;
/* Waits for its end, after the stream's; `stop`: kills it, for a caller who needs no more. NULL is
 * fine. */
int rootfs_pack_finish(struct rootfs_packer *p, bool stop, struct error *e) MUST_CHECK;

/* Removes the folder of a container that is no more: its writable layer and whatever else is in it.
 * Little goes at once, much in the background (`reaper`) under the name "trash.…" beside it, which the
 * sweep knows. 0 when there is none. */
int rootfs_remove(struct rootfs *rf, const char *container_dir, struct error *e) MUST_CHECK;

/*
 * Another image for a container that does not run: its writable layer is set aside, so that the
 * next rootfs_prepare() makes an empty one; then either the old one is put back (what was written
 * meanwhile goes) or dropped. Each can be repeated, also after it was cut off half-way, and does
 * nothing when it is done already.
 */
int rootfs_set_aside(struct rootfs *rf, const char *container_dir, struct error *e) MUST_CHECK;
int rootfs_put_back(struct rootfs *rf, const char *container_dir, struct error *e) MUST_CHECK;
int rootfs_drop_aside(struct rootfs *rf, const char *container_dir, struct error *e) MUST_CHECK;

/* At start: removes the folders under <root>/containers of every id not in live_ids, and what was
 * being removed, in the background when it is much. Returns how many there were. */
int rootfs_sweep(struct rootfs *rf, const char *root, char *const *live_ids,
                 struct error *e) MUST_CHECK;
