/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the image store; see image.h for what lies where. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/map.h"
#include "image/image.h"
#include "store/store.h"

/* A struct image with what callers need not see. `pub` comes first. */
struct image_object {
    struct image pub;
    struct image_store *store;
    unsigned refs;
    bool cached;  /* the cache holds one of the refs */
    bool removed; /* the image is gone from the tables, or only waits for its users to end */
    struct image_object *next, *prev; /* all objects alive */
};

struct image_op;
struct registries;

/* What lost its name in a transaction and is freed after it, as that may take long. */
struct image_trash {
    struct image_trashed {
        char *name;   /* in layers/ or blobs/tmp/ */
        char *was;    /* in layers/ or blobs/; NULL: not known any more */
        bool blob;    /* which of the two */
        bool had_row; /* comes back when the transaction is lost */
    } * items;
    size_t len;
    uint64_t bytes; /* about how much the layers are */
};

struct image_store {
    char *root;
    struct store *db;
    char **insecure_registries;
    struct registries *registries;
    char *signature_policy; /* file, NULL: the usual one if it is there */
    char *registries_d;     /* folder, NULL: the usual one */
    char *auth_file;        /* credentials for pulls without any, or NULL */
    uid_t worker_uid;
    gid_t worker_gid;
    image_in_use_fn *in_use;
    void *in_use_data;
    enum image_layer_form layer_form;
    bool verity;
    image_layer_fn *layer_going, *layer_gone;
    struct reaper *reaper;           /* or NULL: files are freed at once */
    int layers_fd, blobs_fd, tmp_fd; /* folders: layers, blobs, blobs/tmp */
    char boot_id[40];

    /* Never held across anything that blocks, the database included. */
    pthread_mutex_t lock;
    struct map *cache; /* id → struct image_object */
    struct image_object *objects;
    uint64_t generation;  /* changes whenever names or images change */
    struct map *flights;  /* diff id → struct flight: layers being brought */
    struct map *partials; /* digest → struct partial: beginnings of blobs */
    struct map *pins;     /* digest → struct pin: what operations under way rely on */
    struct image_op *ops;
    /* What a removal took and the disk may still have in its rows (durable.c). */
    struct map *removed; /* name in layers or digest → uint64_t *: number of the removal */
    uint64_t removals;
    bool log_unknown; /* what an earlier pouchd removed is not known */
    int log_errnum;   /* the janitor could not sync the log: not told to anybody yet */

    /* The janitor: removes what a crash left, makes things durable. */
    struct image_trash old_trash; /* found at the start */
    pthread_t janitor;
    bool janitor_runs;
    pthread_cond_t janitor_wake;
    bool janitor_work, closing;
    int sync_fd; /* layers/, the janitor's alone: each open file is told of a failed write once */

    /* Takes blobs apart, which may take long: the janitor does not wait for it. */
    pthread_t dropper;
    bool dropper_runs, dropper_work;
    pthread_cond_t dropper_wake;
    int closing_fd; /* an eventfd: readable when the store closes, or is about to */
    bool given_up;  /* likewise */

    struct map *uses; /* image id → int64_t *: last uses that are not in the tables yet */
    struct image_gc_config gc;
    image_collected_fn *on_collected;
    bool drop_blobs;
    bool has_old; /* layers/old.* are there */
    bool swept;   /* the engine knows its containers: in_use may be asked */
};

/* open.c */
void image_store_wake_janitor(struct image_store *s);
/* Moves layers/<name> out of the way, for image_store_empty_trash() when nothing is locked; what a
 * crash leaves of it goes at the next start. */
int image_store_trash_layer(struct image_store *s, const char *name,
                            struct image_trash *trash) MUST_CHECK;
/* The same for blobs/<path>; where it cannot be renamed (a full disk) it goes at once. */
int image_store_trash_blob(struct image_store *s, const char *path,
                           struct image_trash *trash) MUST_CHECK;
/* The transaction is lost, and nobody else can look yet: gives back what has its row again. */
void image_store_untrash(struct image_store *s, struct image_trash *trash);
/* Takes the mounts and names away, which is quick; the reaper frees what they were. Also forgets the
 * list. Not in a transaction. */
void image_store_empty_trash(struct image_store *s, struct image_trash *trash);
/* layers/<name> is another file than before: what was mounted of it is used no more, and its measure
 * is forgotten. In a transaction. _done: after it. */
int image_store_layer_replaced(struct image_store *s, const char *diff_id, const char *name,
                               struct error *e) MUST_CHECK;
void image_store_layer_replaced_done(struct image_store *s, const char *name);
/* verity.c: gives fs-verity to layer files that are on disk and have none (the janitor). */
void image_verity_round(struct image_store *s);
/* The layer file has the measure that is on record, or none is. */
bool image_verity_is_good(struct image_store *s, const char *diff_id);
/* The name of a layer in layers/; the caller frees. */
char *image_layer_name(const char *diff_id, enum image_layer_form form) MUST_CHECK;

/* list.c */
void image_store_changed(struct image_store *s, const char *id); /* forgets what is cached */
/* Whether somebody holds a struct image of this id; marks its objects removed when `mark`: the last one to
 * let go ends the image. Nobody gets one from the cache any more then. In the transaction that removes the image: who reads
 * its rows meanwhile sees that something changed, and reads them again behind it. */
bool image_store_is_held(struct image_store *s, const char *id, bool mark);
/* What a name or id means: the full id, and the full reference when it was a name ("…:tag" or
 * "…@digest"; NULL when it was an id). The caller frees both. */
int image_store_find(struct image_store *s, const char *name_or_id, char **ret_id, char **ret_name,
                     struct error *e) MUST_CHECK;
char *image_blob_path(const char *digest) MUST_CHECK; /* relative to blobs_fd */

/* blob.c */
/* What one operation has of blobs that were dropped: each is made again once at most, and its file,
 * which has no name, is there until the operation ends. For one thread. */
struct image_blobs {
    int cancel_fd;     /* who waits for the operation; negative: nobody can end it */
    struct map *again; /* digest → file; NULL: none yet */
};
void image_blobs_done(struct image_blobs *b);
/* The content of a blob, for reading; whoever reads blobs to give them out (push, save) comes here.
 * ERR_NOT_FOUND says which is missing and how it comes back. The caller has pinned the digest, or
 * holds an image that has it. b NULL: what was dropped is made again for this one call. */
int image_blob_open(struct image_store *s, struct image_blobs *b, const char *digest, int *ret_fd,
                    uint64_t *ret_size, struct error *e) MUST_CHECK;
/* The blob will not be opened again: its file goes. */
void image_blobs_forget(struct image_blobs *b, const char *digest);
enum image_blob_where {
    IMAGE_BLOB_STORED,
    IMAGE_BLOB_DROPPED,
    IMAGE_BLOB_BY_LIBRARY /* dropped, and made again by a library, whose version matters */
};
/* Size and compression (OCI_COMPRESSION_MAX: another than registries know) of a layer's blob that is
 * stored or was dropped; nothing is made for it. As image_blob_open() else. */
int image_blob_probe(struct image_store *s, const char *digest, enum oci_compression *ret_kind,
                     uint64_t *ret_size, enum image_blob_where *ret_where,
                     struct error *e) MUST_CHECK;
/* A small document (manifest, index, configuration) as text; digest checked by nobody. */
int image_blob_read(struct image_store *s, const char *digest, size_t max, char **ret,
                    size_t *ret_len, struct error *e) MUST_CHECK;
/* The digests of an image's documents of a role ("manifest", "index"), the newest first. */
int image_blob_documents(struct image_store *s, const char *image_id, const char *role, char ***ret,
                         struct error *e) MUST_CHECK;
/* The archive of a layer: its blob's digest (NULL: the store has none), media type and size. */
int image_blob_of_layer(struct image_store *s, const char *diff_id, char **ret_digest,
                        char **ret_media_type, uint64_t *ret_size, struct error *e) MUST_CHECK;
/* Notes that a repository ("docker.io/library/busybox") has these blobs; inside a transaction. */
int image_blob_add_source(struct image_store *s, const char *digest, const char *repository,
                          struct error *e) MUST_CHECK;
/* Repositories of the registry `domain` that had the blob, the newest first. */
int image_blob_sources(struct image_store *s, const char *digest, const char *domain, char ***ret,
                       struct error *e) MUST_CHECK;

/* gc.c */
void image_store_pin(struct image_store *s, const char *digest);
void image_store_unpin(struct image_store *s, const char *digest);
bool image_store_is_pinned(struct image_store *s, const char *digest);
/* Who uses it; also inside a transaction: nobody waits for the database with the engine's mutexes. */
enum image_use image_store_use(struct image_store *s, const char *id, char container[65]);
/* Deletes an image's rows, in a transaction; then, when that has ended, what only it needed. */
struct image_dropped {
    char **layers, **blobs;
    bool orphans;
};
int image_store_drop_rows(struct image_store *s, const char *id, struct image_dropped *ret,
                          struct error *e) MUST_CHECK;
int image_store_drop_files(struct image_store *s, const char *id, struct image_dropped *d,
                           struct error *e) MUST_CHECK;
void image_dropped_done(struct image_dropped *d);
/* Both. */
int image_store_delete(struct image_store *s, const char *id, struct error *e) MUST_CHECK;
/* Both, if `may` says so in the same transaction (1, 0 no, <0). 1 deleted, 0, <0. */
int image_store_delete_if(struct image_store *s, const char *id,
                          int (*may)(struct image_store *s, const char *id, void *data,
                                     struct error *e),
                          void *data, struct error *e) MUST_CHECK;
/* Both, while it is (still) marked removed, as a pull may have brought it back, and nobody has it. */
int image_store_delete_removed(struct image_store *s, const char *id, struct error *e) MUST_CHECK;
/* Removes layers and blobs that no image has: of what was in these lists (NULL: all there are). */
int image_store_collect(struct image_store *s, char *const *layers, char *const *blobs,
                        unsigned *ret_count, struct error *e) MUST_CHECK;

/* water.c */
#define IMAGE_GC_PERIOD_SECONDS 300
/* The janitor's: collects when the disk is fuller than the high mark. */
void image_gc_round(struct image_store *s);
/* Writes the last uses into the tables. */
void image_uses_flush(struct image_store *s);
/* auth-file.c */
/* Credentials for the image's registry; an empty one when the file has none. A file that cannot be
 * used is no error, as most images need no credentials: then *ret_problem says why (the caller frees).
 * A bad entry for this very registry is one. */
struct oci_reference;
int image_auth_from_file(const char *path, const char *repository, struct image_auth *ret,
                         char **ret_problem, struct error *e) MUST_CHECK;
/* auth.c: what a request has for a host ("docker.io" for Docker Hub); false: nothing. */
bool image_login_find(const struct json_value *logins, const char *host, struct image_auth *ret);

/* shortnames.c */
/* "busybox", "team/app": no registry is in it. */
bool image_name_is_short(const char *name);
/* Full names that a short one may stand for, in order; NULL: Docker's rule holds. */
int image_short_names(const struct image_store *s, const char *name, char ***ret,
                      struct error *e) MUST_CHECK;

/* pull.c */
uint64_t image_stall_timeout(void); /* seconds */
/* Whether plain HTTP and any certificate may be used with "host[:port]". */
bool image_is_insecure(char *const *list, const char *domain);

/* durable.c */
/* The janitor's: syncs what is new and marks its rows. */
void image_durable_round(struct image_store *s);
/* A file with this name (in layers, or the digest of a blob) is about to go. */
void image_durable_removed(struct image_store *s, const char *name);
/* Begins a transaction in which a file may get this name. */
int image_durable_begin(struct image_store *s, const char *name, struct error *e) MUST_CHECK;
/* At the start. Whether a row's files may be torn; rows beside images and layers that are so. */
bool image_durable_is_lost(const struct image_store *s, const char *boot);
int image_durable_drop_lost(struct image_store *s, struct error *e) MUST_CHECK;

/* compare.c */
/* Compares two layers by their names in a folder: 0 the same; 1 not, with what differs (in a) as one
 * line, which the caller frees. b was made after `since` (ns): folders that got their time then have
 * none of their own. */
int image_layers_compare(int dirfd, const char *a, const char *b, int64_t since,
                         char **ret_difference, struct error *e) MUST_CHECK;

/* fsck.c */
/* Damaged layers that were replaced go when no container runs on them any more. */
void image_old_layers_sweep(struct image_store *s);

/* progress.c: the speed of something that grows, smoothed over some seconds */
struct rate_meter {
    int64_t at; /* ns, 0: nothing was measured yet */
    uint64_t bytes;
    double rate; /* bytes a second, 0: not known */
};
void rate_meter_update(struct rate_meter *m, int64_t now, uint64_t bytes);
/* Seconds until total is reached, rounded up; -1: not known. */
int64_t rate_meter_left(const struct rate_meter *m, uint64_t current, uint64_t total);

/* partial.c */
/* Keeps blobs/tmp/<name> as the beginning of a blob of `want` bytes; false: it stays the caller's. */
bool image_partial_keep(struct image_store *s, const char *digest, uint64_t want, const char *name);
/* Such a beginning, which is the caller's from now on. */
bool image_partial_take(struct image_store *s, const char *digest, uint64_t want, char **ret_name,
                        int *ret_fd, uint64_t *ret_size);
/* Removes what is too old or too much, or all. */
void image_partials_trim(struct image_store *s, bool all);

/* journal.c */
/* Whether the blob was dropped and can be made again. */
bool image_blob_has_journal(struct image_store *s, const char *digest);
/* A blob that was dropped: a file without a name; -ENOENT without a message: it was not dropped.
 * -ECANCELED: cancel_fd or the end of the store. */
int image_blob_rebuild(struct image_store *s, const char *digest, int cancel_fd, int *ret_fd,
                       uint64_t *ret_size, struct error *e) MUST_CHECK;
/* What is known of such a blob without making it; -ENOENT: it was not dropped. */
int image_blob_dropped(struct image_store *s, const char *digest, enum oci_compression *ret_kind,
                       uint64_t *ret_size, enum image_blob_where *ret_where) MUST_CHECK;
/* The tar of a layer whose blob was dropped, as a file without a name: it depends on no library. */
int image_layer_rebuild_tar(struct image_store *s, const char *diff_id, int cancel_fd, int *ret_fd,
                            uint64_t *ret_size, struct error *e) MUST_CHECK;
/* The janitor's: drops blobs of durable layers. */
void image_journal_round(struct image_store *s);
int image_journal_remove(struct image_store *s, const char *diff_id,
                         struct image_trash *trash) MUST_CHECK;
/* Journals without a layer go. */
void image_journals_sweep(struct image_store *s);

/* op.c: one run of the worker */
struct worker_msg;
/* What an operation adds to op.c's loop; all called in the operation's thread. */
struct image_op_ext {
    /* A message of the worker that op.c does not know: 1 it was this one's, 0 not, <0 failed. */
    int (*message)(struct image_op *op, struct worker_msg *m);
    int (*retry)(struct image_op *op); /* other operations have ended something; or NULL */
    void (*cleanup)(struct image_op *op);
    bool graceful; /* when it is cancelled the worker gets a moment to tidy up elsewhere */
};
/* Op check: the layer is made whether it is there or not, and handed over as layers/<fresh>. */
struct image_op_check {
    int (*made)(void *data, const char *fresh);
    void *data;
};
struct verify;
struct image_op_params {
    struct worker_msg *start;
    int input_fd; /* or negative */
    int extra_fd; /* a second one, behind input_fd; 0 or negative: none */
    image_progress_fn *progress;
    void *progress_data;
    int cancel_fd;
    bool until_close; /* ends when the store closes, too: work that nobody's connection cancels */
    char *const *base_layers; /* diff ids that images of this operation may have beside its own */
    int (*may_commit)(void *data, struct error *e); /* asked before an image's rows are written */
    void *may_commit_data;
    const char *name;   /* pull: the full reference the image gets; NULL: what the worker says */
    const char *parent; /* commit: id of the image the new one is made of, else NULL */
    const char *digest_name; /* pull: "docker.io/library/busybox" for the digest it came by */
    bool quiet;
    const struct image_op_ext *ext; /* or NULL */
    void *ext_data;
    const struct image_op_check *check; /* op check, else NULL */
    char *const *refetch;               /* layers to bring though they are there, or NULL */
    bool convert; /* the layer is there; its archive is input_fd, known to the worker as file 1 */
    const struct verify *verify;   /* pull: what signatures are asked for, or NULL */
    const struct image_auth *auth; /* what it may give other hosts than the registry, or NULL */
};
/* A finished image. */
struct image_op_result {
    char *id;
    char *top;    /* digest it came by */
    char **names; /* full references that were set */
    bool is_new;
};
struct image_op_results {
    struct json_list items; /* of struct image_op_result */
    char **tags;            /* op tags */
    char *identity_token;   /* op login */
    struct json_list found; /* op search: of struct image_found */
};
void image_op_results_done(struct image_op_results *r);
int image_op_run(struct image_store *s, const struct image_op_params *p,
                 struct image_op_results *ret, struct error *e) MUST_CHECK;

/* pull.c: how the registry of `ref` is spoken to; borrows from ref and a. */
struct oci_reference;
void image_op_start_registry(struct image_store *s, const struct oci_reference *ref,
                             const struct image_auth *a, struct worker_msg *start);

/* commit.c */
struct image_commit {
    const char *config;         /* digest: the id */
    const char *parent;         /* id of the image it was made of, or NULL */
    const char *manifest, *top; /* digests or NULL */
    const char *digest_name;
    char *const *names;
    char *const *layers; /* diff ids */
    char *const *blobs;  /* digests that the repository `digest_name` has, or NULL */
};
/* Checks the image and writes its rows in one transaction. */
int image_store_commit(struct image_store *s, const struct image_commit *c, bool *ret_is_new,
                       struct error *e) MUST_CHECK;
int image_store_add_layer(struct image_store *s, const char *diff_id, const char *blob,
                          const char *media_type, uint64_t blob_size, uint64_t size,
                          enum image_layer_form form, struct error *e) MUST_CHECK;
/* The layer's form when there is a row and what it names; else -ENOENT. */
int image_store_layer_form(struct image_store *s, const char *diff_id,
                           enum image_layer_form *ret) MUST_CHECK;
/* Bytes of the files in it; 0 when it is not there. */
uint64_t image_store_layer_size(struct image_store *s, const char *diff_id);
bool image_store_has_layer(struct image_store *s, const char *diff_id);

/* names.c */
/* Ids of the images that were made of it and are there; added to *ret. */
int image_store_children(struct image_store *s, const char *id, char ***ret,
                         struct error *e) MUST_CHECK;

/* derive.c */
/* "repo", "repo:tag" and tag as one full reference; NULL when repo is empty. */
int image_new_name(const char *repo, const char *tag, char **ret, struct error *e) MUST_CHECK;

/* changes.c */
/* Applies Dockerfile instructions ("CMD …", "ENV …") to a configuration. */
int image_changes_apply(struct oci_image_config *c, char *const *changes,
                        struct error *e) MUST_CHECK;
