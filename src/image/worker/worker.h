/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside pouch-image: the parts of the worker and how they fit.
 *
 *   main.c      start, sandbox, which operation
 *   sandbox.c   giving up rights
 *   conn.c      the socket to pouchd: one thread reads it, any thread asks and is answered
 *   http.c      libcurl; proxy.c which proxy; auth.c challenges; token.c rights
 *   registry.c  the distribution API over all endpoints; request.c one endpoint; fetch.c documents
 *   pipeline.c  bytes in → inflate.c → digest → tar.c → a sink, a thread each
 *   sink-….c    what becomes of the entries: a stream to pouch-unpack, or an EROFS file
 *   layers.c    layers of an image side by side; blame.c who gave wrong bytes
 *   signatures.c are signatures there that the policy asks for; sigstore.c their cryptography
 *   pull.c, load.c, import.c, login.c, search.c   the operations
 *
 * One operation a process. An error ends the process; nothing needs to be tidied up for long.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/layer.h"
#include "image/worker-protocol.h"
#include "image/worker/http.h"
#include "image/worker/registry.h"
#include "oci/digest.h"
#include "oci/image.h"

/* --- conn.c ---------------------------------------------------------------------------------- */

/* Starts the reading thread; when pouchd goes away the process ends at once. */
int conn_start(int sock, struct error *e) MUST_CHECK;
int conn_send(const struct worker_msg *m, struct error *e);
/* Sends m with a fresh id and waits for its answer. fds not used by the caller must be closed. */
int conn_call(struct worker_msg *m, struct worker_msg *reply, int fds[WORKER_FDS_MAX],
              size_t *ret_nfds, struct error *e) MUST_CHECK;
/* After http_cancel(): those that wait in conn_call() give up. */
void conn_wake(void);
/* A new temporary file from pouchd. */
int conn_open_file(uint64_t *ret_number, int *ret_fd, struct error *e) MUST_CHECK;
/* Stores a small verified document. */
int conn_put_blob(const char *role, const char *digest, const void *data, size_t len,
                  struct error *e) MUST_CHECK;

/* --- sandbox.c ------------------------------------------------------------------------------- */

/* Gives up user, groups, capabilities, then system calls. uid 0 keeps the user (tests only). */
int sandbox_enter(unsigned uid, unsigned gid, struct error *e) MUST_CHECK;

/* --- pipeline.c ------------------------------------------------------------------------------ */

/* ISA-L decodes the first 64 KiB of each piece of output into a buffer of its own and copies them:
 * larger pieces cost less, until they fall out of the cache before the next stage has them. */
#define CHUNK_SIZE  (256u * 1024)
#define CHUNK_DEPTH 4

struct chunk {
    atomic_uint refs;
    size_t len;
    unsigned char data[CHUNK_SIZE];
};

/* A bounded queue of chunks between two threads. */
struct chunkq {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct chunk *ring[CHUNK_DEPTH];
    unsigned head, len;
    bool closed;    /* the writer is done */
    int status;     /* with closed: 0 a good end, else the writer's -errno */
    bool abandoned; /* the reader went away */
};
void chunkq_init(struct chunkq *q);
void chunkq_done(struct chunkq *q);
struct chunk *chunk_new(void) MUST_CHECK;
/* One more who reads it, and frees it. */
struct chunk *chunk_ref(struct chunk *c) MUST_CHECK;
void chunk_free(struct chunk *c);
/* Takes the chunk over in any case; -EPIPE when the reader went away. */
int chunkq_push(struct chunkq *q, struct chunk *c);
void chunkq_close(struct chunkq *q, int status);
/* 1 and a chunk (chunk_free() it), 0 at a good end, the writer's -errno. */
int chunkq_pop(struct chunkq *q, struct chunk **ret) MUST_CHECK;
void chunkq_abandon(struct chunkq *q);

/* Reads compressed chunks, writes plain ones; the kind is found by the first bytes. Closes out,
 * abandons in. -EPIPE without a message when `out` was abandoned; the source's -errno likewise. */
int inflate_run(struct chunkq *in, struct chunkq *out, struct error *e) MUST_CHECK;
/* Before the first: how many bytes all that is kept may have. 0: any. */
void inflate_limit(uint64_t max);
/* What an archive gave counts from when it is known to be the right one: until then it counts against itself
 * alone, as a bomb of one registry must not spoil what others give. ERR_TOO_LARGE when it is too much. */
int inflate_keep(uint64_t bytes, struct error *e) MUST_CHECK;

/* Where a layer's entries go, one at a time: sink-stream.c (to pouch-unpack), sink-erofs.c (a file).
 * After a LAYER_FILE come its data, offsets rising, and one file_end. */
struct layer_sink {
    const struct layer_sink_ops *ops;
};
struct layer_sink_ops {
    int (*entry)(struct layer_sink *s, const struct layer_entry *entry, struct error *e);
    int (*data)(struct layer_sink *s, uint64_t offset, const void *data, size_t len,
                struct error *e);
    int (*file_end)(struct layer_sink *s, struct error *e);
    /* After the last entry: all is written. */
    int (*finish)(struct layer_sink *s, struct error *e);
    /* And all digests are right. */
    int (*end)(struct layer_sink *s, struct error *e);
    void (*free)(struct layer_sink *s);
};
/* fd is borrowed until the sink is freed. */
struct layer_sink *sink_stream_new(int fd) MUST_CHECK;
int sink_erofs_new(int fd, struct layer_sink **ret, struct error *e) MUST_CHECK;
static inline void layer_sink_free(struct layer_sink *s)
{
    if (s)
        s->ops->free(s);
}
DEFINE_AUTOPTR(struct layer_sink, layer_sink)

/* Reads a tar archive from chunks, gives its entries to the sink up to finish(); hashes every byte
 * of the archive. end() is the caller's, who knows whether the digests are right. */
struct tar_result {
    char diff_id[DIGEST_MAX];
    uint64_t bytes;   /* of the archive */
    uint64_t content; /* of the files in it */
};
int tar_run(struct chunkq *in, struct layer_sink *sink, enum digest_algorithm algorithm,
            struct tar_result *ret, struct error *e) MUST_CHECK;

/* Sees the bytes that were fed, in pieces of CHUNK_SIZE. < 0 (not -EPIPE) stops the feeding. */
typedef int pipeline_tap(void *data, const void *bytes, size_t len);

struct pipeline {
    pipeline_tap *tap; /* may be set after the start */
    void *tap_data;
    struct chunkq raw, plain;
    pthread_t inflate, tar;
    struct chunk *filling;
    struct layer_sink *sink;
    enum digest_algorithm algorithm;
    struct tar_result result;
    struct error inflate_error, tar_error;
    int inflate_status, tar_status;
};
/* The sink is borrowed until finish. */
int pipeline_start(struct pipeline *p, struct layer_sink *sink, enum digest_algorithm a,
                   struct error *e) MUST_CHECK;
/* -EPIPE when a later stage failed: stop feeding, finish tells why. What the tap returned. */
int pipeline_feed(struct pipeline *p, const void *data, size_t len) MUST_CHECK;
/* Ends the input (status < 0: it failed, the stages stop quietly; the tap still gets what was fed)
 * and joins. */
int pipeline_finish(struct pipeline *p, int status, struct tar_result *ret,
                    struct error *e) MUST_CHECK;

struct blame;

/* --- layers.c ------------------------------------------------------------------------------------ */

/* Gives the blob's bytes to feed(); called in the layer's thread. */
struct layer;
typedef int layer_source(struct layer *l, struct error *e);

struct layer {
    uint64_t index;
    char digest[DIGEST_MAX];  /* of the blob; "" not known */
    char diff_id[DIGEST_MAX]; /* "" not known */
    char *media_type;
    int64_t size;  /* of the blob, -1 not known */
    uint64_t file; /* temporary file that holds the blob already, 0 none */
    int file_fd;
    layer_source *source;
    void *source_data;
    struct blame *blame; /* its bytes may come from several registries (blame.c), or NULL */
    /* while it runs */
    int blob_fd;
    struct pipeline pipeline;
    struct digest_state hash;
    int out_fd; /* the entry stream, or the layer's EROFS file */
    bool erofs;
    uint64_t have; /* bytes of the blob that are in blob_fd already */
    uint64_t kept; /* bytes that are in blob_fd, or were */
    struct error feed_error;
    bool no_source; /* nobody could give all of them */
    bool wrong;     /* the bytes are not the layer's: another registry may have the right ones */
    bool draining;  /* the pipeline failed and has ended; the rest only shows whose fault it is */
    int stage_status;
    struct error stage_error; /* the pipeline's */
    struct tar_result result;
    uint64_t done;
    int64_t last_progress; /* ns */
    struct http_client *client;
};
/* Runs all layers, at most `parallel` at once; the first error ends it. */
int layers_run(struct layer *layers, size_t n, unsigned parallel, struct error *e) MUST_CHECK;
/* For sources: hashes, keeps and passes on the next bytes of the blob. */
int layer_feed(struct layer *l, const void *data, size_t len, struct error *e) MUST_CHECK;
/* A source that reads l->file_fd from its start. */
int layer_source_file(struct layer *l, struct error *e);
/* A source that reads the stream *(int *)l->source_data to its end (import.c). */
int layer_source_stream(struct layer *l, struct error *e);

/* --- gpgv.c, signatures.c ---------------------------------------------------------------------------- */

/* Becomes gpgv without any right; returns an exit status when it could not. */
int gpgv_exec(unsigned uid, unsigned gid) MUST_CHECK;

struct registry;
struct http_client;
/* Whether the manifest has the signatures that `policy` (struct policy_check as JSON) asks for.
 * ERR_FORBIDDEN names the requirement that is not met. */
int signatures_check(const char *policy, const char *reference, struct registry *r,
                     struct http_client *c, const char *manifest_digest,
                     struct error *e) MUST_CHECK;

/* --- operations ------------------------------------------------------------------------------------ */

int worker_pull(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* The tags of a repository. */
int worker_tags(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* What refers to an image. */
int worker_referrers(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* Whether the registry takes the credentials. */
int worker_login(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* Repositories with the word start->status in their names, at most start->total. */
int worker_search(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* Images to a registry. */
int worker_push(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* One manifest, looked up; a manifest list with its members. */
int worker_manifest(const struct worker_msg *start, struct error *e) MUST_CHECK;
int worker_manifest_push(const struct worker_msg *start, struct error *e) MUST_CHECK;
int worker_load(const struct worker_msg *start, int input, struct error *e) MUST_CHECK;
/* Digests of what pouchd hands over, one after the other. */
int worker_hash(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* A journal of the layer, from which its blob (input) can be made again; layer: its EROFS file, or
 * negative. */
int worker_journal(const struct worker_msg *start, int blob, int layer, struct error *e) MUST_CHECK;
int worker_rebuild(const struct worker_msg *start, int journal, int layer,
                   struct error *e) MUST_CHECK;
/* One known layer from its blob (input), once more. */
int worker_check(const struct worker_msg *start, int input, struct error *e) MUST_CHECK;
int worker_import(const struct worker_msg *start, int input, struct error *e) MUST_CHECK;
/* Reads `in` to its end and writes it compressed (start->media_type: "gzip", "zstd"). */
int worker_compress(const struct worker_msg *start, int in, int out, struct error *e) MUST_CHECK;
/* layer_fd: the archive of a new layer, when start->diff_id marks its place in the configuration. */
int worker_commit(const struct worker_msg *start, int config_fd, int layer_fd,
                  struct error *e) MUST_CHECK;
