/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by push.c, manifest.c and push-util.c. */
#pragma once

#include "image/image-priv.h"
#include "image/worker-protocol.h"
#include "oci/image.h"
#include "oci/reference.h"

/* Numbers of files that pouchd gives a worker by itself; the worker's own are below. */
#define PUSH_FILE_FIRST ((uint64_t)1 << 32)

/* "none", "gzip", "zstd" */
const char *push_compression_name(enum oci_compression c);
int push_compression_parse(const char *name, enum oci_compression *ret) MUST_CHECK;
/* By the first six bytes; OCI_COMPRESSION_MAX: another one that registries do not know (xz, bzip2). */
enum oci_compression push_kind_of(const unsigned char magic[6]);
const char *push_layer_type(enum oci_compression c, bool docker);
/* Bytes to send at once: $POUCH_PUSH_CHUNK_SIZE, or 0: the worker's default. */
uint64_t push_chunk_size(void);

/* Paths of other repositories of `domain` that had blobs of the image. */
int push_mount_sources(struct image_store *s, const char *image_id, const char *repository,
                       const char *domain, char ***ret, struct error *e) MUST_CHECK;
/* The tags of a repository ("docker.io/library/busybox") here. */
int push_tags_of(struct image_store *s, const char *repository, char ***ret,
                 struct error *e) MUST_CHECK;
