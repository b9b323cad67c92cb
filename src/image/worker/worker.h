/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside pouch-image: the parts of the worker and how they fit.
 *
 *   main.c      start, sandbox, which operation
 *   sandbox.c   giving up rights
 *   conn.c      the socket to pouchd: one thread reads it, any thread asks and is answered
 *   http.c      libcurl; auth.c challenges; token.c rights; registry.c the distribution API
 *   pipeline.c  bytes in → inflate.c → digest → tar.c → entry stream out, a thread each
 *   layers.c    layers of an image side by side
 *   pull.c, load.c, import.c   the operations
 *
 * One operation a process. An error ends the process; nothing needs to be tidied up for long.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "image/worker-protocol.h"
#include "oci/digest.h"
#include "oci/image.h"

/* --- conn.c ---------------------------------------------------------------------------------- */

/* Starts the reading thread; when pouchd goes away the process ends at once. */
int conn_start(int sock, struct error *e) MUST_CHECK;
int conn_send(const struct worker_msg *m, struct error *e);
/* Sends m with a fresh id and waits for its answer. fds not used by the caller must be closed. */
int conn_call(struct worker_msg *m, struct worker_msg *reply, int fds[WORKER_FDS_MAX],
              size_t *ret_nfds, struct error *e) MUST_CHECK;
/* A new temporary file from pouchd. */
int conn_open_file(uint64_t *ret_number, int *ret_fd, struct error *e) MUST_CHECK;
/* Stores a small verified document. */
int conn_put_blob(const char *role, const char *digest, const void *data, size_t len,
                  struct error *e) MUST_CHECK;

/* --- sandbox.c ------------------------------------------------------------------------------- */

/* Gives up user, groups, capabilities, then system calls. uid 0 keeps the user (tests only). */
int sandbox_enter(unsigned uid, unsigned gid, struct error *e) MUST_CHECK;

/* --- pipeline.c ------------------------------------------------------------------------------ */

#define CHUNK_SIZE  (128u * 1024)
#define CHUNK_DEPTH 8

struct chunk {
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

/* Reads a tar archive from chunks, writes entries to fd; hashes every byte of the archive. The
 * stream's end mark is not written: it says that all digests are right, which only the caller
 * knows. Without it pouch-unpack throws the layer away. */
struct tar_result {
    char diff_id[DIGEST_MAX];
    uint64_t bytes;   /* of the archive */
    uint64_t content; /* of the files in it */
};
int tar_run(struct chunkq *in, int fd, enum digest_algorithm algorithm, struct tar_result *ret,
            struct error *e) MUST_CHECK;
int tar_write_end(int fd) MUST_CHECK;

struct pipeline {
    struct chunkq raw, plain;
    pthread_t inflate, tar;
    struct chunk *filling;
    int out_fd;
    enum digest_algorithm algorithm;
    struct tar_result result;
    struct error inflate_error, tar_error;
    int inflate_status, tar_status;
};
/* out_fd: the entry stream, borrowed until finish. */
int pipeline_start(struct pipeline *p, int out_fd, enum digest_algorithm a,
                   struct error *e) MUST_CHECK;
/* -EPIPE when a later stage failed: stop feeding, finish tells why. */
int pipeline_feed(struct pipeline *p, const void *data, size_t len) MUST_CHECK;
/* Ends the input (status < 0: it failed, the stages stop quietly) and joins. */
int pipeline_finish(struct pipeline *p, int status, struct tar_result *ret,
                    struct error *e) MUST_CHECK;

/* --- http.c, auth.c ---------------------------------------------------------------- */

struct http_client; /* one a thread: keeps connections */
struct http_client *http_client_new(void) MUST_CHECK;
void http_client_free(struct http_client *c);
DEFINE_AUTOPTR(struct http_client, http_client)

/* Takes a piece of a 2xx body; negative ends the transfer. */
typedef int http_sink(void *data, const void *bytes, size_t len);

/* What is sent: `size` bytes of a file from `offset` on, or of memory. May be read again from its
 * start. */
struct http_body {
    int fd;           /* or negative: data */
    const void *data; /* offset does not count */
    uint64_t offset, size;
    /* Called with the bytes handed to the network so far; may be NULL. */
    void (*progress)(void *data, uint64_t sent);
    void *progress_data;
};

struct http_request {
    const char *url;
    const char *method;           /* NULL: GET, or POST of `form`; HEAD, POST, PUT, PATCH, DELETE */
    const struct http_body *body; /* of POST, PUT, PATCH; NULL: empty */
    const char *content_type;     /* of the body, or NULL */
    const char *content_range;    /* "0-1023", or NULL */
    const char *accept;           /* or NULL */
    const char *bearer;           /* token, or NULL */
    const char *username, *password; /* basic, or NULL */
    const char *form;                /* POST with this body, or NULL */
    uint64_t offset;                 /* > 0: Range from there */
    const char *ca_file;             /* further authorities to trust, or NULL */
    bool insecure;                   /* plain HTTP and any certificate */
    uint64_t stall_timeout;
    http_sink *sink;
    void *sink_data;
};
struct http_response {
    long status; /* 0: no answer */
    char *content_type;
    char *digest;        /* Docker-Content-Digest */
    char *authenticate;  /* WWW-Authenticate: the Bearer one if there is one */
    int64_t retry_after; /* seconds, -1 absent */
    int64_t length;      /* Content-Length, -1 absent */
    int64_t range_start; /* of Content-Range, -1 absent */
    char *location;      /* Location of the last answer */
    int64_t range_end;   /* of Range ("0-1023": what an upload has), -1 absent */
    int64_t chunk_min;   /* OCI-Chunk-Min-Length, -1 absent */
    char *upload_uuid;   /* Docker-Upload-UUID */
    struct buf body;     /* of other than 2xx, at most 16 KiB */
    int curl_code;
    bool connected;  /* the server was reached at all */
    int sink_status; /* what the sink returned, when that ended it */
};
void http_response_done(struct http_response *r);
/* One request. 0 when an answer came whole, whatever its status; else the error says why. */
int http_perform(struct http_client *c, const struct http_request *req, struct http_response *resp,
                 struct error *e) MUST_CHECK;

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };
struct challenge {
    enum challenge_scheme scheme;
    char *realm, *service, *scope, *error;
};
/* Reads a WWW-Authenticate header; -EINVAL when it is neither Basic nor a Bearer with realm. */
int challenge_parse(const char *header, struct challenge *ret) MUST_CHECK;
void challenge_done(struct challenge *c);
/* realm with service and scopes (separated by spaces; NULL: none) as its query. */
char *challenge_url(const struct challenge *c, const char *scope) MUST_CHECK;

/* --- token.c ------------------------------------------------------------------------------------ */

/*
 * The rights one has at one registry: credentials, and the tokens they were good for, by scope
 * ("repository:library/busybox:pull", several separated by spaces, NULL: none). Any thread.
 */
struct auth {
    const char *host;                                                  /* in messages */
    const char *reference;                                             /* likewise */
    const char *username, *password, *identity_token, *registry_token; /* NULL or "": none */
    const char *ca_file;
    bool insecure;
    bool offline; /* login: a refresh token is wanted beside the token */
    uint64_t stall_timeout;
    pthread_mutex_t lock; /* of what follows */
    bool basic;
    struct token *tokens;
    char *refresh_token; /* the last that came */
};
/* Credentials and host of the start message; what they point to must outlive it. */
void auth_init(struct auth *a, const struct worker_msg *start, const char *ca_file);
void auth_done(struct auth *a);

/* What a request was sent with. */
struct auth_used {
    char *token;
    bool basic;
};
void auth_used_done(struct auth_used *u);
/* Puts what is known to be good for the scope into the request, which borrows from *used. */
void auth_apply(struct auth *a, const char *scope, struct http_request *req,
                struct auth_used *used);
/* After a 401 with this WWW-Authenticate: 0 when the request is worth sending again. The error is
 * ERR_FORBIDDEN when the credentials are refused or missing. */
int auth_answer(struct auth *a, struct http_client *c, const char *header, const char *scope,
                const struct auth_used *used, struct error *e) MUST_CHECK;

/* --- registry.c --------------------------------------------------------------------------------- */

struct registry {
    const struct worker_msg *start; /* host, repository, credentials … */
    char *ca_file;                  /* certs.d/HOST/ca.crt, NULL: there is none */
    struct auth auth;
    pthread_mutex_t lock; /* of what follows */
    char *scheme;         /* NULL until the first answer */
    bool guessed;         /* HTTPS is tried because plain HTTP was answered by something odd */
};
void registry_init(struct registry *r, const struct worker_msg *start);
void registry_done(struct registry *r);
/*
 * GET of /v2/<repository>/<kind>/<what> (kind NULL: of the path `what`) with authentication, patience for 429 and 5xx, and going on
 * where a connection broke. want_size < 0: not known.
 */
int registry_get(struct registry *r, struct http_client *c, const char *kind, const char *what,
                 const char *accept, int64_t want_size, http_sink *sink, void *sink_data,
                 char **ret_content_type, char **ret_digest, struct error *e) MUST_CHECK;

/*
 * One request of any method to the registry itself: `target` is "/v2/…" or an absolute URL (what a
 * Location said; credentials go to the registry's own host only). Fills in everything of req that
 * has to do with the connection and with rights (those of `scope`); answers challenges. No patience with 429 and 5xx:
 * who sends bodies knows better. 0 when an answer came, whatever its status.
 */
int registry_request(struct registry *r, struct http_client *c, const char *target,
                     const char *scope, struct http_request *req, struct http_response *resp,
                     struct error *e) MUST_CHECK;
/* Text of an answer's error: code in small letters and message, on one line; "" when it has none. */
void registry_read_error(const struct http_response *resp, char **ret_code, char **ret_message);

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
    /* while it runs */
    int blob_fd;
    struct pipeline pipeline;
    struct digest_state hash;
    int pipe_fd;
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

/* --- operations ------------------------------------------------------------------------------------ */

int worker_pull(const struct worker_msg *start, struct error *e) MUST_CHECK;
/* The tags of a repository. */
int worker_tags(const struct worker_msg *start, struct error *e) MUST_CHECK;
int worker_load(const struct worker_msg *start, int input, struct error *e) MUST_CHECK;
int worker_import(const struct worker_msg *start, int input, struct error *e) MUST_CHECK;
/* Reads `in` to its end and writes it compressed (start->media_type: "gzip", "zstd"). */
int worker_compress(const struct worker_msg *start, int in, int out, struct error *e) MUST_CHECK;
