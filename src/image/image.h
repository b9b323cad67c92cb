/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images: what is there, and bringing more in. Used inside pouchd.
 *
 * On disk:  <root>/blobs/sha256/<hex>   what registries and archives gave, verified
 *           <root>/blobs/tmp/           being received; emptied at start
 *           <root>/layers/<hex>/        one unpacked layer, named by its diff id, or
 *           <root>/layers/<hex>.erofs   the same layer as an EROFS file
 *           <root>/layers/tmp.<random>  being made; removed at start
 * Names, ids and which image has which layers stand in the database (tables image…).
 *
 * A layer's folder depends only on its own archive, so its name is the diff id (the digest of the
 * uncompressed archive), not the chain id: the same layer in two places of two images is one folder.
 *
 * Any thread may call; calls block (pull, load, import for as long as they take) and hold no lock
 * meanwhile. Bytes from outside are parsed by the worker program pouch-image only. Two pulls that
 * need the same layer share one download.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "oci/image.h"

struct store;
struct image_store;
struct reaper;

enum image_use { IMAGE_UNUSED, IMAGE_USED_STOPPED, IMAGE_USED_RUNNING };
/* Which containers use the image (full id): the "most running" of them decides; ret_container gets
 * the id of one of them. Called without locks of the image store. */
typedef enum image_use image_in_use_fn(void *data, const char *image_id, char ret_container[65]);

/* An image (or one of its names, when name is not NULL) went because the disk was full. */
typedef void image_collected_fn(void *data, const char *image_id, const char *name);

/* Garbage collection by water marks; a zeroed one is off. The setting "image-gc". */
struct image_gc_config {
    uint64_t high; /* percent of the file system in use above which images go; 0: never */
    uint64_t low;  /* … until no more than this is in use */
    char *min_age; /* "2m": since its last use or pull */
    char **keep;   /* names (patterns as in `images --filter reference=`), "label=KEY[=VALUE]" */
};
extern const struct json_desc image_gc_config_json;
/* Fills in what is not said, refuses what makes no sense. */
int image_gc_config_check(struct image_gc_config *c, struct error *e) MUST_CHECK;

/* How a layer lies on disk. Both forms can be there side by side, also in one image. */
enum image_layer_form {
    IMAGE_LAYER_FOLDER, /* layers/<hex>/ */
    IMAGE_LAYER_EROFS,  /* layers/<hex>.erofs */
};
/* A layer (a path as in layer_dirs) is removed. */
typedef void image_layer_fn(void *data, const char *layer);

/* How registries are spoken to; zero and NULL: the defaults. docs/registries.md */
struct image_registry_params {
    const char *folder;   /* certs.d and registries.conf; NULL: /etc/pouch, and others' certs.d */
    char *const *mirrors; /* Docker's registry-mirrors: URLs, for Docker Hub */
    const char *http_proxy, *https_proxy, *no_proxy; /* NULL: from the environment */
    uint64_t max_downloads;                          /* layers at once; 0: 3 */
    uint64_t max_image_size;                         /* bytes unpacked; 0: 256 GiB */
    struct opt_uint rate_limit_wait;                 /* seconds one request may wait; not set: 60 */
};

struct image_store_params {
    const char *root;                 /* absolute */
    struct store *store;              /* outlives the image store */
    char *const *insecure_registries; /* HOST[:PORT] or CIDR: plain HTTP and any certificate */
    const char *signature_policy;     /* file; NULL: /etc/containers/policy.json if it is there */
    const char *registries_d;         /* NULL: /etc/containers/registries.d */
    const char *auth_file;            /* credentials for pulls without any, NULL: none */
    const struct image_registry_params *registry; /* NULL: all defaults */
    const char *worker_user; /* NULL: "pouch-image" if there is such a user, else 65534 */
    image_in_use_fn *in_use; /* NULL: nothing is in use */
    void *in_use_data;
    bool drop_blobs;                  /* blobs of layers go where they can be made again */
    const struct image_gc_config *gc; /* copied; NULL: off */
    image_collected_fn *on_collected; /* with in_use_data, from the janitor's thread; or NULL */
    enum image_layer_form layer_form; /* of layers that are brought from now on */
    bool verity;                      /* layer files get fs-verity when they are on disk */
    /* Both or none, with in_use_data. going: the layer will not be found any more; called inside of
     * a transaction, must not block. gone: after that, before the files are removed. */
    image_layer_fn *layer_going, *layer_gone;
    struct reaper *reaper; /* frees what was removed; stopped before the store is closed; or NULL */
};

/* Opens, makes folders and tables, removes what a crash left half-made. Does not call in_use. */
int image_store_open(const struct image_store_params *p, struct image_store **ret,
                     struct error *e) MUST_CHECK;
/* For info: copies that the caller frees, proxies without their passwords; NULL: not set. */
void image_registry_settings(struct image_store *s, char ***ret_mirrors, char **ret_http_proxy,
                             char **ret_https_proxy, char **ret_no_proxy);
/* No call may be under way and no struct image be held. */
/* pouchd is about to end: what only the store wants (journals, archives that are made again, conversion)
 * ends now. */
void image_store_give_up(struct image_store *s);
void image_store_close(struct image_store *s);

/* --- What is there ------------------------------------------------------------------------- */

/* Immutable; shared by reference; stays readable while the image is removed or retagged. */
struct image {
    char *id;              /* "sha256:<hex>", the digest of the configuration */
    struct oci_image doc;  /* the configuration: doc.config, doc.rootfs.diff_ids, doc.created … */
    char *config_json;     /* the same as text */
    char **repo_tags;      /* "busybox:latest" */
    char **repo_digests;   /* "busybox@sha256:…" */
    uint64_t size;         /* bytes of the unpacked layers */
    char **layer_dirs;     /* absolute paths of folders or .erofs files, bottom layer first */
    uint64_t *layer_sizes; /* bytes of the files in each layer, as layer_dirs */
    int64_t tagged;        /* ns: when it was last tagged or pulled */
    char *parent;          /* id of the image it was made of by a commit, or "" */
};
struct image *image_ref(struct image *img);
void image_unref(
    struct image *img); /* NULL is fine; the last reference of a removed image ends it */
static inline void image_free(struct image *img)
{
    image_unref(img);
}
DEFINE_AUTOPTR(struct image, image)

/*
 * By name ("busybox", "busybox:1.36", "x@sha256:…"), full id with or without "sha256:", or a prefix
 * of the id. ERR_NOT_FOUND: "No such image: NAME"; ERR_INVALID for an ambiguous prefix or a
 * malformed name. The caller unrefs.
 */
int image_resolve(struct image_store *s, const char *name_or_id, struct image **ret,
                  struct error *e) MUST_CHECK;
/* As image_resolve(), but only the id. */
int image_find_id(struct image_store *s, const char *name_or_id, char **ret_id,
                  struct error *e) MUST_CHECK;
/* That image's id and those of all images that were made of it, or of these; added to *ret. */
int image_find_family(struct image_store *s, const char *name_or_id, char ***ret,
                      struct error *e) MUST_CHECK;
/* By full id, also when it was removed but a container still uses it. */
int image_get(struct image_store *s, const char *id, struct image **ret,
              struct error *e) MUST_CHECK;

/* Is it for this platform ("linux/arm64", Docker's JSON; NULL or "": any)? ERR_NOT_FOUND says what it
 * is for; shown: how the user calls the image. */
int image_check_platform(const struct image *img, const char *platform, const char *shown,
                         struct error *e) MUST_CHECK;

/* The manifest an image came with, the newest when there are several. */
struct image_manifest {
    char *digest; /* NULL: the store has none */
    char *media_type;
    uint64_t size;    /* of the document */
    uint64_t content; /* of what it names: configuration and layers as they came */
};
void image_manifest_get(struct image_store *s, const struct image *img, struct image_manifest *ret);
void image_manifest_done(struct image_manifest *m);

/* Bytes of the files in all layers, each counted once. */
uint64_t image_layers_size(struct image_store *s);

struct image_list {
    struct image **items; /* newest first; referenced */
    bool *has_child;      /* there are images that were made of it */
    size_t len;
};
/* Nameless and only there because images were made of it: lists hide it, as Docker's. */
bool image_list_is_intermediate(const struct image_list *l, size_t i);
int image_list(struct image_store *s, struct image_list *ret, struct error *e) MUST_CHECK;
void image_list_done(struct image_list *l);
size_t image_count(struct image_store *s);

/* The fs-verity measure on record of the layer file ("sha256:…"), or "". */
void image_layer_measure(struct image_store *s, const char *hex, char ret[80]);

/* Layers of the image that have another form than new ones are made again out of their archives.
 * Takes as long as unpacking does; the caller gets the image anew. */
int image_convert(struct image_store *s, const char *id, struct error *e) MUST_CHECK;

/* --- Changing names ------------------------------------------------------------------------ */

/* source as for image_resolve(); tag NULL: "latest". A name that was another image's moves. */
int image_tag(struct image_store *s, const char *source, const char *repo, const char *tag,
              struct error *e) MUST_CHECK;

/* In order, what happened: names taken away, then ids of images removed. */
struct image_removed {
    struct json_list items; /* of struct image_removed_item */
};
struct image_removed_item {
    char *untagged; /* "busybox:latest", else NULL */
    char *deleted;  /* "sha256:…", else NULL */
    bool layer;     /* deleted is the chain id of a layer that went with its image */
};
extern const struct json_desc image_removed_item_json; /* {"Untagged":…} or {"Deleted":…} */
void image_removed_done(struct image_removed *r);

/*
 * As `docker rmi`: by name takes the name away, and the image too with its last name; by id removes
 * the image and all names of one repository (several repositories: ERR_CONFLICT unless force).
 * ERR_CONFLICT when a container uses it (running: even with force), or an image was made of it (even
 * with force; its last name goes all the same). A stopped container of an image removed by force
 * keeps its layers until image_released(). prune: nameless images it was made of go with it, when
 * nothing else needs them.
 */
int image_remove(struct image_store *s, const char *name_or_id, bool force, bool prune,
                 struct image_removed *ret, struct error *e) MUST_CHECK;

/* Prune: an image that nobody uses goes, with all its names, unless it got others than these tags (as in
 * repo_tags; NULL: none) meanwhile; one that another was made of only loses its names. ERR_CONFLICT, ERR_NOT_FOUND. */
int image_remove_unused(struct image_store *s, const char *id, char *const *tags,
                        struct image_removed *ret, struct error *e) MUST_CHECK;

/* For who says that he uses an image, after he said so: it was not removed before that. ERR_NOT_FOUND
 * "No such image: SHOWN". */
int image_check_there(struct image_store *s, const char *id, const char *shown,
                      struct error *e) MUST_CHECK;

/* A container of that image is gone. Cheap unless the image was removed meanwhile. */
void image_released(struct image_store *s, const char *image_id);

/* At start, once the engine knows its containers: removes removed images nobody uses any more, and
 * blobs and layers no image has. Returns how many things were removed. */
int image_sweep(struct image_store *s, struct error *e) MUST_CHECK;

/* A container was made or started of it. Cheap: the tables learn it later. */
void image_used(struct image_store *s, const char *image_id);

/* What the disk's garbage collection did, or would do. */
struct image_gc_item {
    char *id;
    char **names;
    int64_t used;  /* ns: last use or pull */
    uint64_t size; /* bytes that went with it, on disk as recorded: layers and blobs */
    char *reason;  /* why it was kept; NULL: it went */
};
struct image_gc_result {
    bool dry_run;
    uint64_t high, low;
    uint64_t used_before, used_after; /* percent; after a dry run: as reckoned */
    uint64_t freed;                   /* bytes */
    uint64_t things;                  /* blobs and layers no image had */
    struct json_list removed,
        kept; /* of struct image_gc_item; kept: only while it was looked for */
};
extern const struct json_desc image_gc_result_json;
void image_gc_result_done(struct image_gc_result *r);

struct image_gc_params {
    uint64_t low;        /* 0: as configured, else 70 */
    const char *min_age; /* NULL: as configured, else 2m */
    bool dry_run;
};
/* By hand: whatever the high mark says, images that nothing uses go, the longest unused first,
 * until no more than `low` percent of the disk is in use. */
int image_gc(struct image_store *s, const struct image_gc_params *p, struct image_gc_result *ret,
             struct error *e) MUST_CHECK;

/* Keeps an image from garbage collection and pruning (or no longer). */
int image_protect(struct image_store *s, const char *name_or_id, bool on,
                  struct error *e) MUST_CHECK;
bool image_is_protected(struct image_store *s, const char *id);

/* What fsck found. */
struct image_fsck_problem {
    char *kind;        /* blob, layer, row, file */
    char *id;          /* digest, name of the file */
    char *problem;     /* what is wrong, one line */
    char **images;     /* names (else ids) of the images that need it */
    char **containers; /* that use one of them */
    bool repaired;
    char *repair; /* what was done about it, or why nothing could be; NULL: not tried */
};
struct image_fsck_result {
    uint64_t images, blobs, layers, bytes; /* looked at */
    uint64_t unreferenced;                 /* blobs and layers no image has: removed */
    uint64_t damaged, repaired;            /* problems */
    struct json_list problems;             /* of struct image_fsck_problem */
};
extern const struct json_desc image_fsck_result_json;
void image_fsck_result_done(struct image_fsck_result *r);
struct image_auth;
struct image_progress;
struct image_fsck_params {
    bool repair;
    bool quick;                    /* blobs and tables only: layers are not made again */
    const struct image_auth *auth; /* for pulling again (its logins), or NULL */
    int cancel_fd;                 /* as in image_pull_params */
    /* Rows "blobs" and "layers" with bytes, and those of pulls; or NULL. */
    int (*progress)(void *data, const struct image_progress *p);
    void *progress_data;
};
/*
 * Looks at every blob, layer and row. A layer is compared with its blob unpacked once more, which
 * needs room for one layer at a time. Pulls, starts and removals may go on meanwhile. Damage is not
 * an error of this call.
 */
int image_fsck(struct image_store *s, const struct image_fsck_params *p,
               struct image_fsck_result *ret, struct error *e) MUST_CHECK;

/* --- Bringing images in -------------------------------------------------------------------- */

/* How far something is: beside what Docker says, rate and time left. */
struct image_amount {
    uint64_t current, total; /* bytes; total 0: not known */
    uint64_t rate;           /* bytes a second, 0: not known yet */
    int64_t left;            /* seconds, negative: not known */
};

/* One line of Docker's progress stream; NULL and 0 fields are absent. */
struct image_progress {
    const char *id;     /* short layer id, or the tag */
    const char *aux;    /* JSON of an `aux` object, or NULL */
    const char *status; /* "Pulling from library/busybox", "Downloading", "Pull complete" … */
    bool has_detail;    /* progressDetail is there (it may be {}) */
    uint64_t current;
    uint64_t total;              /* 0: not known */
    const char *stream;          /* load: "Loaded image: busybox:latest\n" */
    uint64_t rate;               /* of this id, 0: not known */
    int64_t left;                /* seconds; counts only with rate */
    struct image_amount overall; /* of all layers of the pull; total 0: absent */
};
/* Prints it as a JSON object and "\r\n", with the "progress" bar text of older clients. */
void image_progress_print(const struct image_progress *p, struct buf *out);

/* Called from the thread of the call only. A negative result ends the operation: -ECANCELED. */
typedef int image_progress_fn(void *data, const struct image_progress *p);

struct image_auth {
    char *username;
    char *password;
    char *identity_token; /* "identitytoken" */
    char *registry_token; /* "registrytoken" */
    char *server_address;
    struct json_value *logins; /* by host, for mirrors and what else is asked; or NULL */
};
extern const struct json_desc image_auth_json;
/* The X-Registry-Auth header: base64url of JSON. NULL, "" and "{}" give an empty one. config: the
 * X-Registry-Config header, in the same way an object of such by host, or NULL. */
int image_auth_parse(const char *header, const char *config, struct image_auth *ret,
                     struct error *e) MUST_CHECK;
void image_auth_done(struct image_auth *a);

/* Where an image (NULL: all that are here) may be asked for, "host[:port]/repository" each, the registry
 * itself among them; push: where it may be pushed to. For whoever has credentials and wants to give those that are needed. */
int image_registry_hosts(struct image_store *s, const char *reference, bool push, char ***ret,
                         struct error *e) MUST_CHECK;

struct image_pull_params {
    const char *reference; /* "busybox", "busybox:1.36", "host:5000/x@sha256:…"; no tag: latest */
    bool all_tags;         /* all of the repository, unless the reference has a tag or digest */
    const char *platform;  /* "linux/arm64", NULL: the host's */
    const struct image_auth *auth; /* or NULL */
    char *const *refetch; /* diff ids of layers that are brought though they are there, or NULL */
    image_progress_fn *progress; /* or NULL */
    void *progress_data;
    int cancel_fd; /* a socket: cancelled when the peer hangs up; an eventfd: when readable; or -1 */
};
/*
 * On success the name stands and *ret_id (may be NULL; the caller frees) is the image's id.
 * Guarantee: when it returns 0, blobs, layers and the database row survive a power cut.
 * ERR_NOT_FOUND "manifest for X not found: …" or "pull access denied for X, …"; ERR_FORBIDDEN (not
 * 401: clients would ask their user to log in at Pouch);
 * ERR_UNAVAILABLE (unreachable, 429, 5xx); ERR_TIMEOUT; ERR_INTERNAL (wrong digest, short layer,
 * disk full …); -ECANCELED. Nothing stays behind of a failed pull but whole, verified layers, which
 * image_sweep() removes.
 */
int image_pull(struct image_store *s, const struct image_pull_params *p, char **ret_id,
               struct error *e) MUST_CHECK;

/* Takes the next bytes of an archive; a negative result ends the operation and is its result. */
typedef int image_write_fn(void *data, const void *bytes, size_t len);

struct image_save_params {
    char *const *names;      /* "name:tag", id; a bare name: all tags of the repository */
    const char *format;      /* NULL, "docker": OCI layout and manifest.json; "oci": the layout */
    const char *compression; /* of the whole archive: NULL, "none", "gzip", "zstd" */
    const char *platform;    /* NULL: whatever is there; else the images must be for it */
    int cancel_fd;           /* as in image_pull_params: while archives are made again */
    image_write_fn *write;   /* called from the caller's thread */
    void *write_data;
};
/* Images as one archive, as a stream. ERR_NOT_FOUND, ERR_INVALID before the first byte. */
int image_save(struct image_store *s, const struct image_save_params *p,
               struct error *e) MUST_CHECK;
/* --- Registries ------------------------------------------------------------------------------ */

/* "docker.io" of Docker's "https://index.docker.io/v1/", "host:5000" of "https://host:5000/v2/";
 * the caller frees. ERR_INVALID. */
int image_registry_of(const char *server, char **ret, struct error *e) MUST_CHECK;

/* Whether the registry auth->server_address takes these credentials; ERR_UNAUTHORIZED when not.
 * *ret_identity_token: what to use instead of the password from now on, NULL: none was given. */
int image_login(struct image_store *s, const struct image_auth *auth, int cancel_fd,
                char **ret_identity_token, struct error *e) MUST_CHECK;

#define IMAGE_SEARCH_MAX 1000
struct image_found {
    char *name, *description;
    int64_t stars;
    bool official, automated;
};
void image_found_done(struct json_list *l);
struct image_search_params {
    const char *term;              /* "word" (Docker Hub) or "host[:port]/word" */
    uint64_t limit;                /* 1 … IMAGE_SEARCH_MAX */
    const struct image_auth *auth; /* or NULL */
    int cancel_fd;
};
/* *ret: struct image_found, in the registry's order; image_found_done() it. */
int image_search(struct image_store *s, const struct image_search_params *p, struct json_list *ret,
                 struct error *e) MUST_CHECK;

struct image_push_params {
    const char *reference;   /* "localhost:5000/x", "x:v1"; the name must be one of an image */
    bool all_tags;           /* every tag of the repository, unless the reference has one */
    bool all_platforms;      /* the index it was pulled by, with all its images */
    const char *platform;    /* "linux/amd64": refuses an image of another platform; or NULL */
    const char *compression; /* "gzip", "zstd", "none" for all layers; NULL: as they are */
    int64_t level;           /* of the compression; 0: its default */
    const char *format;      /* "oci", "docker": manifest of this type; NULL: as it came */
    const struct image_auth *auth; /* or NULL */
    image_progress_fn *progress;   /* or NULL */
    void *progress_data;
    int cancel_fd;
};
/*
 * ERR_NOT_FOUND "An image does not exist locally with the tag: X"; ERR_FORBIDDEN; ERR_UNAVAILABLE;
 * -ECANCELED, after the uploads that were under way have been taken back. Blobs that arrived stay at
 * the registry. Layers that are stored without compression are sent as gzip, unless their manifest
 * came with them so.
 */
int image_push(struct image_store *s, const struct image_push_params *p,
               struct error *e) MUST_CHECK;

struct image_referrers_params {
    const char *reference;         /* the image, by tag or digest */
    const char *artifact_type;     /* only those, or NULL */
    const char *platform;          /* what refers to this platform's manifest; NULL: to the index */
    const struct image_auth *auth; /* or NULL */
    int cancel_fd;
};
/* What refers to an image at its registry, as JSON: "Digest" of the image, "Referrers", a list of
 * descriptors as the registry has them. Nothing refers to it: the list is empty. */
int image_referrers(struct image_store *s, const struct image_referrers_params *p, struct buf *ret,
                    struct error *e) MUST_CHECK;

/* --- Manifest lists ------------------------------------------------------------------------ */

struct image_manifest_params {
    const char *list;              /* name of the list */
    const struct image_auth *auth; /* or NULL */
    bool insecure;                 /* this registry, this time, without TLS or a good certificate */
    image_progress_fn *progress;   /* push; or NULL */
    void *progress_data;
    int cancel_fd;
};
/* Images are names of manifests at the list's registry; they are looked up there. ERR_CONFLICT when
 * the list exists, unless amend: then they are added, or taken anew. */
int image_manifest_create(struct image_store *s, const struct image_manifest_params *p,
                          char *const *images, bool amend, struct error *e) MUST_CHECK;
struct image_manifest_annotation {
    const char *os, *architecture, *variant, *os_version; /* NULL: as it is */
    char *const *os_features;
};
int image_manifest_annotate(struct image_store *s, const char *list, const char *image,
                            const struct image_manifest_annotation *a, struct error *e) MUST_CHECK;
/* The list's document, or when there is none here the manifest of that name at its registry; verbose:
 * the members' manifests too. JSON is appended to out. */
int image_manifest_inspect(struct image_store *s, const struct image_manifest_params *p,
                           bool verbose, struct buf *out, struct error *e) MUST_CHECK;
/* What the registry has under the name, whatever lists are here: Docker's DistributionInspect. */
int image_manifest_distribution(struct image_store *s, const struct image_manifest_params *p,
                                struct buf *out, struct error *e) MUST_CHECK;
/* Brings the members into the list's repository, then the list. The last line of progress is its
 * digest. purge: forgets the list afterwards. */
int image_manifest_push(struct image_store *s, const struct image_manifest_params *p, bool purge,
                        struct error *e) MUST_CHECK;
int image_manifest_remove(struct image_store *s, const char *list, struct error *e) MUST_CHECK;
/* Full names of all lists. */
int image_manifest_names(struct image_store *s, char ***ret, struct error *e) MUST_CHECK;

struct image_load_params {
    int fd; /* `docker save` or OCI layout archive as a stream, possibly compressed; borrowed */
    image_progress_fn *progress; /* or NULL */
    void *progress_data;
    const char *platform; /* NULL: all images, of an index the host's; else those for it */
    bool quiet;           /* no progress of layers; "Loaded image: …" comes anyway */
    int cancel_fd;
};
int image_load(struct image_store *s, const struct image_load_params *p,
               struct error *e) MUST_CHECK;

/* A new image of another one and a layer on top (commit). */
struct image_derive_params {
    const struct image *parent;
    int layer_fd; /* the layer's archive as a stream, borrowed; -1: no new layer */
    const struct oci_image_config *config; /* of the new image */
    const char *author, *comment, *created_by;
    const char *repo, *tag; /* as for import; repo NULL: no name */
    /* Called when all of the layer was read: is it whole? Negative: there is no new image. */
    int (*check)(void *data, struct error *e);
    void *check_data;
    int cancel_fd;
};
int image_derive(struct image_store *s, const struct image_derive_params *p, char **ret_id,
                 struct error *e) MUST_CHECK;
/* Applies Dockerfile instructions ("CMD …", "ENV …"; several lines a text) to a configuration. */
int image_config_change(struct oci_image_config *c, char *const *changes,
                        struct error *e) MUST_CHECK;

struct image_import_params {
    int fd;               /* a root file system as tar, possibly compressed; borrowed */
    const char *url;      /* "http://…", "https://…" to fetch it from, then fd is -1; or NULL */
    const char *repo;     /* "name[:tag]" or NULL */
    const char *tag;      /* overrides; or NULL */
    const char *message;  /* or NULL */
    char *const *changes; /* "CMD [\"sh\"]", "ENV A=b" …: Dockerfile instructions */
    const char *platform; /* NULL: the host's */
    image_progress_fn *progress;
    void *progress_data;
    int cancel_fd;
};
/* The last line of progress is the id. */
int image_import(struct image_store *s, const struct image_import_params *p, char **ret_id,
                 struct error *e) MUST_CHECK;
