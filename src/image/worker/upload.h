/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pouch-image: sending blobs and manifests to a registry (upload.c), and changing how layers
 * are compressed (recompress.c). */
#pragma once

#include "image/worker/worker.h"

#define UPLOAD_WHOLE_MAX (8u * 1024 * 1024) /* larger blobs go in chunks */

/* Where to; shared by all threads of a push. */
struct uploads {
    struct registry *registry;
    const char *repository;
    char *scope; /* rights: push there, pull from where blobs may be mounted */
    uint64_t chunk;
};
/* chunk: bytes sent at once, 0 the default; more_scopes: repositories to mount from, or NULL. */
void uploads_init(struct uploads *u, struct registry *r, uint64_t chunk, char *const *more_scopes);
void uploads_done(struct uploads *u);

/* 1 it is there, 0 not. */
int upload_blob_exists(struct uploads *u, struct http_client *c, const char *digest, int64_t size,
                       struct error *e) MUST_CHECK;
int upload_manifest_exists(struct uploads *u, struct http_client *c, const char *reference,
                           const char *media_type, struct error *e) MUST_CHECK;

struct upload {
    const char *digest;
    int fd;           /* the blob, or negative: */
    const void *data; /* in memory */
    uint64_t size;
    char *const *sources;                        /* repositories of the same registry that had it */
    void (*progress)(void *data, uint64_t done); /* or NULL */
    void *progress_data;
};
struct uploaded {
    char *from;      /* the repository it was mounted from, NULL: it was sent */
    char **not_from; /* repositories that did not give it */
};
void uploaded_done(struct uploaded *u);
/* Mounts or sends. Neither fd nor data: mounts only. */
int upload_blob(struct uploads *u, struct http_client *c, const struct upload *job,
                struct uploaded *ret, struct error *e) MUST_CHECK;
/* Stores a manifest under a tag or digest; its content has the digest `digest`. */
int upload_manifest(struct uploads *u, struct http_client *c, const char *reference,
                    const char *media_type, const void *text, size_t len, const char *digest,
                    struct error *e) MUST_CHECK;

/* What a document says it is; the caller frees. */
char *upload_media_type(const char *text, size_t len, const char *fallback) MUST_CHECK;

/* For tests. A Location against the URL that was asked, with "digest=…" (or NULL) in its query; NULL
 * when the result is no HTTP URL. */
char *upload_location(const char *base, const char *location, const char *query) MUST_CHECK;
/* What the registry has after `sent` bytes from `offset` on, by the end of its Range (negative: it
 * says none). -EPROTO when that is more than was sent. */
int upload_next_offset(int64_t range_end, uint64_t offset, uint64_t sent, uint64_t *ret) MUST_CHECK;

/* --- recompress.c --------------------------------------------------------------------------------- */

struct compressed {
    char digest[DIGEST_MAX];
    uint64_t size;
};
/*
 * Reads a layer's archive from in_fd (compressed in any known way or not), checks that its content
 * is diff_id, and writes it to out_fd as `to`. level 0: the default (gzip: the fast one of ISA-L
 * where that is built in). `progress` gets the bytes read.
 */
int compress_layer(int in_fd, int out_fd, const char *diff_id, enum oci_compression to, int level,
                   struct compressed *ret, void (*progress)(void *data, uint64_t done), void *data,
                   struct error *e) MUST_CHECK;
