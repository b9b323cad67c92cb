/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is mounted into a container beside its root: host folders (bind), named and anonymous
 * volumes, tmpfs. First volume_mounts_parse() turns a request into a checked list of mounts (no
 * side effects), then volume_mounts_prepare() makes what is missing (volumes, host folders) and
 * volume_copy_up() fills new volumes with the image's content.
 *
 * A volume is the folder <root>/volumes/<name>/ with `meta.json` and the content in `_data`; it
 * appears and goes by one rename, so that a crash leaves it whole or not at all.
 *
 * Thread-safe. Functions that take a store block on the disk; no lock is held meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "base/quotaspec.h"

/* --- The API's documents (Docker's field names) -------------------------------------------- */

struct volume_bind_options {
    char *propagation;
    bool non_recursive;
    bool create_mountpoint;
    bool read_only_non_recursive;
    bool read_only_force_recursive;
};
struct volume_driver_config {
    char *name;
    struct json_map options;
};
struct volume_volume_options {
    bool no_copy;
    struct json_map labels;
    char *subpath; /* refused: see docs/internals/rootfs.md */
    struct volume_driver_config driver;
};
struct volume_tmpfs_options {
    int64_t size_bytes;
    int64_t mode;
};
/* One element of HostConfig.Mounts. */
struct volume_mount_request {
    char *type; /* "bind", "volume", "tmpfs" */
    char *source;
    char *target;
    bool read_only;
    char *consistency;                /* taken and ignored, as Docker on Linux does */
    struct volume_bind_options *bind; /* NULL: not in the request */
    struct volume_volume_options *volume;
    struct volume_tmpfs_options *tmpfs;
};
extern const struct json_desc volume_mount_request_json;

/* One volume, as in GET /volumes/{name}. */
struct volume {
    char *name;
    char *driver;     /* "local" */
    char *mountpoint; /* <root>/volumes/<name>/_data */
    int64_t created;
    struct json_map labels;
    struct json_map options;
    char *scope;    /* "local" */
    bool anonymous; /* made without a name for one container */
};
extern const struct json_desc volume_json;
void volume_done(struct volume *v);

/* --- Mounts of a container ------------------------------------------------------------------ */

/*
 * One mount of one container. The engine keeps the list with the container (volume_mount_json) and
 * makes of it the runtime spec's mounts and the `Mounts` of inspect.
 */
struct volume_mount {
    char *type;        /* "bind", "volume", "tmpfs" */
    char *name;        /* volume's name, NULL otherwise */
    char *source;      /* host path; of a volume: filled by volume_mounts_prepare(); tmpfs: NULL */
    char *destination; /* absolute, clean */
    char *driver;      /* volume: "local" */
    char *mode;        /* the text after the second colon of -v, as inspect shows it */
    bool rw;
    char *propagation; /* "rprivate", …; NULL for tmpfs */
    char **options;    /* of the runtime spec's mount: {"rbind","rprivate","ro"}, tmpfs options */
    bool no_copy;      /* volume: do not copy the image's content up */
    bool anonymous;    /* volume: goes with `rm -v` and with --rm */
    bool make_source;  /* bind by -v: a missing host folder is created */
    bool must_exist;   /* volume of another container: not made anew when that went meanwhile. Not
                          on record: once the container holds it, it cannot go. */
    struct json_map labels;      /* for the volume that is made */
    struct json_map driver_opts; /* for the volume that is made */
};
extern const struct json_desc volume_mount_json;

struct volume_mounts {
    struct volume_mount *items;
    size_t len;
};
void volume_mounts_done(struct volume_mounts *m);

/* All the places in a request that name mounts; NULL and 0 where there is none. */
struct volume_request {
    char *const *binds;                        /* HostConfig.Binds: "src:dst[:mode]" or "dst" */
    const struct volume_mount_request *mounts; /* HostConfig.Mounts */
    size_t n_mounts;
    const struct json_map *tmpfs; /* HostConfig.Tmpfs: destination → options */
    char *const *volumes;         /* Config.Volumes, keys (the image's included) */
    char *const *volumes_from;    /* HostConfig.VolumesFrom: "container[:ro|rw]" – only checked */
    const struct volume_mounts *from; /* the mounts volumes_from stands for, looked up before */
    const char *volume_driver;        /* HostConfig.VolumeDriver; NULL: local */
};

/*
 * Checks and merges, sorted so that parents come before what is mounted below them. Destinations
 * named twice by Binds, Mounts or Tmpfs are refused ("Duplicate mount point: /x"); Config.Volumes
 * and volumes_from yield to them. Anonymous volumes have their name already. ERR_INVALID in
 * Docker's words where it has any. No side effects.
 */
int volume_mounts_parse(const struct volume_request *req, struct volume_mounts *ret,
                        struct error *e) MUST_CHECK;

/* Parents before what is mounted below them, as volume_mounts_parse() gives them. */
void volume_mounts_sort(struct volume_mounts *m);

/* "container", "container:ro", "container:rw,z": splits; *ret_mode may become NULL. */
int volume_from_parse(const char *text, char **ret_container, bool *ret_read_only,
                      struct error *e) MUST_CHECK;

/* --- The store ------------------------------------------------------------------------------ */

struct volume_store;
struct reaper;

/* Opens <root>/volumes (made 0700 when missing), sweeping what a crash left half-made or half-removed.
 * reaper, which lives longer, frees what is large; NULL: at once. */
int volume_store_open(const char *root, struct reaper *reaper, struct volume_store **ret,
                      struct error *e) MUST_CHECK;
void volume_store_free(struct volume_store *vs);
DEFINE_AUTOPTR(struct volume_store, volume_store)

struct volume_params {
    const char *name;   /* NULL or "": a random one, anonymous */
    const char *driver; /* NULL or "local" */
    const struct json_map *labels;
    const struct json_map *options; /* local: type, o, device (bind only); size, inodes */
    bool anonymous;
    const char *owner; /* NULL, or the container whose end or absence removes it: volume_sweep() */
};
/* Makes the volume; one that exists already is returned as it is (*ret_new false). ret and ret_new
 * may be NULL. */
int volume_create(struct volume_store *vs, const struct volume_params *p, struct volume *ret,
                  bool *ret_new, struct error *e) MUST_CHECK;
/* ERR_NOT_FOUND "get NAME: no such volume". */
int volume_get(struct volume_store *vs, const char *name, struct volume *ret,
               struct error *e) MUST_CHECK;
/* All volumes by name; the caller frees each and the array. */
int volume_list(struct volume_store *vs, struct volume **ret, size_t *ret_len,
                struct error *e) MUST_CHECK;
/* ERR_CONFLICT while a container uses it, also with force; ERR_NOT_FOUND is no error with force. */
int volume_remove(struct volume_store *vs, const char *name, bool force,
                  struct error *e) MUST_CHECK;

/* What a volume's options size= and inodes= say; zeros without them. The store only keeps them: the
 * engine sees to the limit. */
int volume_limit(const struct json_map *options, struct quota_limit *ret,
                 struct error *e) MUST_CHECK;

/*
 * Called for a volume that is being removed, after the rename that made it unreachable and before its
 * content (now at `content`) is removed. When it fails, the remains wait for the next start.
 */
void volume_store_on_remove(struct volume_store *vs,
                            int (*fn)(void *data, const char *name, const char *content,
                                      struct error *e),
                            void *data);

/* A container uses / no longer uses a volume. Kept in memory only: the engine repeats it for every
 * container at start. Idempotent. */
void volume_ref(struct volume_store *vs, const char *name, const char *container_id);
void volume_unref(struct volume_store *vs, const char *name, const char *container_id);

/*
 * Before a container's first start (and harmless before each): makes the volumes that are missing,
 * takes a reference for container_id on each, makes host folders that -v names, fills `source`.
 * ERR_INVALID names a bind source that does not exist ("bind source path does not exist: /x").
 * Marks in `copy_up[i]` (len entries, may be NULL) the volumes that are empty and want the image's
 * content. On failure the anonymous volumes made here are gone again.
 */
int volume_mounts_prepare(struct volume_store *vs, const char *container_id,
                          struct volume_mounts *mounts, bool *copy_up, struct error *e) MUST_CHECK;

/* volume_copy_up(), unless another container did it meanwhile; who prepares the same volume waits. */
int volume_fill(struct volume_store *vs, const char *container_id, const struct volume_mount *m,
                int rootfs_fd, struct error *e) MUST_CHECK;

/*
 * Copies what the image has at the mount's destination into the volume, with owner, mode, xattrs,
 * times, hard links, devices; also takes over owner and mode of the folder itself. rootfs_fd is the
 * root folder of a mount of the layers (rootfs_mount_detached()). 0 when there is nothing. Symlinks
 * in the destination are resolved inside rootfs_fd. The volume is left empty when it fails. alone: no
 * container may have it mounted; else the folder stays the one it is.
 */
int volume_copy_up(const struct volume_mount *m, int rootfs_fd, bool alone,
                   struct error *e) MUST_CHECK;

/* The container will be removed, its anonymous volumes stay. */
int volume_mounts_keep(struct volume_store *vs, const char *container_id,
                       const struct volume_mounts *mounts, struct error *e) MUST_CHECK;

/* After volume_ref() was repeated for all containers: removes the volumes whose owner does not use
 * them. A crash left them, between the making of a volume and the record that it is used, or between
 * the end of that record and the removal. keep: owners that nothing is known of, NULL-ended (or NULL).
 * rebooted: a power cut may have taken the record of a container whose volume is on disk; then such
 * volumes stay, as nobody's. */
void volume_sweep(struct volume_store *vs, char *const *keep, bool rebooted);

/* The container is removed: drops its references; with remove_anonymous also removes its anonymous
 * volumes that nobody else uses. */
int volume_mounts_release(struct volume_store *vs, const char *container_id,
                          const struct volume_mounts *mounts, bool remove_anonymous,
                          struct error *e) MUST_CHECK;
