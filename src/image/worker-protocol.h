/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pouchd and the worker program pouch-image say to each other: JSON messages over a
 * SOCK_SEQPACKET pair (fd 3 of the worker), some with file descriptors.
 *
 *   pouchd → worker
 *     start   op and its parameters; fds: the endpoints (registry-plan.h) when host is set, then
 *             [input] for load and import
 *     opened  answer to `open`; fds: [file, read and write]
 *     layer   answer to `layer`: state "have", or "fetch" with fds: [out] or [out, file for
 *             the blob] when the request did not name a file that holds it already. out is the pipe
 *             of the entry stream, or with form "erofs" the empty file that becomes the layer;
 *             current: bytes of the blob that are in its file already, from an earlier pull
 *     given   answer to `want` (op push and its like; see push.c)
 *     cancel  tidy up at the registry and end
 *   worker → pouchd
 *     open      a new empty temporary file is wanted (file: the number the worker gives it)
 *     plan      layer `index` is part of it: diff_id (absent: not known yet), digest of the blob,
 *               size, media_type
 *     layer     layer `index` is wanted now; file: a temporary file that holds its blob already;
 *               state "again": what came was not the layer, it is begun anew
 *     layer-done  layer `index` was read whole and its digests are right (digest, diff_id, size);
 *               file: the temporary file that holds its blob (0: the one that came with `layer`)
 *     blob      `file` holds a small verified blob: role manifest, config, index
 *     progress  index, status, current, total
 *     next      op hash: the next file is wanted; answer `file` with [file] and its digest, or none
 *     hashed    op hash: the digest of that file; none: it cannot be read (errnum)
 *     endpoint  the mirror `host` of the plan worked (state "ok") or failed ("failed", message)
 *     content   op journal, rebuild: a file of the layer is wanted (message: its path); answer
 *               `content` with [file], or without when there is none
 *     journal   op journal: `file` holds a proven journal; 0: there can be none (message: why)
 *     rebuilt   op rebuild: `file` holds the blob of that digest
 *     text      a line for the user (status)
 *     image     one image is complete: config digest, manifest digest, names, layers by index
 *     want      role says what: image, index, document, layer, upload, member
 *     member    a manifest that was looked up (op manifest): state "manifest" or "index", digest,
 *               media_type, size, platform; file: its text
 *     uploaded  digest is at the registry now; names: repositories that should have had it too
 *     compressed  `file` is the archive of layer diff_id as asked for: digest, size
 *     pushed    image `index` is there: manifest, size, tag
 *     tags      names: the tags of a repository (op tags)
 *     login     the registry took the credentials (op login); identity_token it gave, if any
 *     found     a repository (op search): reference, status (description), total (stars), official,
 *               automated
 *     referrers  `file` holds the list of what refers to the manifest `digest` (op referrers)
 *     gpgv      `file` holds a GnuPG signature: requirement `index` of the policy is to check it; the
 *               answer (state "good" or "bad") has what was signed, or why not, as `message`
 *     lookaside  signature number `index` of manifest `digest` is wanted from the policy's folder; the
 *               answer has its fd, or none when there is no such signature
 *     failed    the operation failed: code, errnum, message
 *     done      everything was sent
 *
 * The worker is the side that hostile bytes may have taken over: pouchd checks every field.
 * Requests carry `id`, which the answer repeats. Layers are numbered by `index`, files by `file`.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

/* pouch-image --gpgv: see worker/gpgv.c */
#define GPGV_STATUS_FD 3
#define GPGV_BROKEN    126 /* exit status: the sandbox could not be made */
#define GPGV_MISSING   127 /* there is no gpgv */

#define WORKER_SOCKET_FD    3
#define WORKER_MESSAGE_MAX  (160u * 1024)
#define WORKER_FDS_MAX      3
#define WORKER_PARALLEL_MAX 32 /* layers under way at once */

struct worker_msg {
    char *type;
    uint64_t id;
    uint64_t index; /* of a layer */
    uint64_t file;  /* number of a temporary file, 0: none */
    char *op;       /* start: pull, tags, load, import, login, search */
    char *state;
    char *role;
    char *status;
    char *digest;
    char *diff_id;
    char *media_type;
    char *config;   /* image: digest of the configuration; import: the configuration's template */
    char *manifest; /* image: digest of the manifest */
    char *top;      /* image: digest under which it was pulled (index or manifest) */
    char **names;   /* image: full references (load) */
    char **layers;  /* image: diff ids */
    uint64_t size;
    uint64_t current;
    uint64_t total;
    int64_t code; /* enum error_code */
    int64_t errnum;
    char *message;
    /* start */
    char *host;       /* registry, with port */
    char *repository; /* path in the registry */
    char *tag;
    char *reference; /* as shown to people */
    char *platform;
    char *username;
    char *password;
    char *identity_token;
    char *registry_token;
    bool insecure; /* plain HTTP and any certificate may be used */
    uint64_t parallel;
    uint64_t stall_timeout; /* seconds */
    uint64_t max_size;      /* bytes that the layers of an image may unpack to, 0: no limit */
    bool official, automated;
    uint64_t chunk;    /* push: bytes sent at once, 0 the default */
    char *compression; /* push: none, gzip or zstd */
    int64_t level;     /* of compression, 0: the default */
    char *form;        /* layer: what out is; start: the only kind of archive that may be loaded */
    char *policy;      /* struct policy_check as JSON: what signatures the image must have */
};
extern const struct json_desc worker_msg_json;

void worker_msg_done(struct worker_msg *m);

/* Sends; fds are borrowed. -EMSGSIZE when too large. */
int worker_msg_send(int sock, const struct worker_msg *m, const int *fds, size_t nfds) MUST_CHECK;

/* Receives one message into a zeroed struct: 1, 0 at the end, -errno (-EPROTO: not a message).
 * *ret_nfds fds are the caller's, also when it is negative it is 0. */
int worker_msg_recv(int sock, struct worker_msg *m, int fds[WORKER_FDS_MAX],
                    size_t *ret_nfds) MUST_CHECK;
