/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of an image (OCI image specification 1.1, Docker image manifest v2 schema 2) as
 * structs with JSON tables. The *_parse functions also check what the tables cannot: limits,
 * digests, media types. They are what hostile registries meet first.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "oci/platform.h"

#define OCI_MANIFEST_MAX      (4u * 1024 * 1024)
#define OCI_CONFIG_MAX        (8u * 1024 * 1024)
#define OCI_LAYERS_MAX        127
#define OCI_INDEX_ENTRIES_MAX 1024

#define OCI_MT_INDEX             "application/vnd.oci.image.index.v1+json"
#define OCI_MT_MANIFEST          "application/vnd.oci.image.manifest.v1+json"
#define OCI_MT_CONFIG            "application/vnd.oci.image.config.v1+json"
#define OCI_MT_LAYER             "application/vnd.oci.image.layer.v1.tar"
#define OCI_MT_LAYER_GZIP        "application/vnd.oci.image.layer.v1.tar+gzip"
#define OCI_MT_LAYER_ZSTD        "application/vnd.oci.image.layer.v1.tar+zstd"
#define OCI_MT_DOCKER_LIST       "application/vnd.docker.distribution.manifest.list.v2+json"
#define OCI_MT_DOCKER_MANIFEST   "application/vnd.docker.distribution.manifest.v2+json"
#define OCI_MT_DOCKER_CONFIG     "application/vnd.docker.container.image.v1+json"
#define OCI_MT_DOCKER_LAYER      "application/vnd.docker.image.rootfs.diff.tar"
#define OCI_MT_DOCKER_LAYER_GZIP "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define OCI_MT_DOCKER_LAYER_ZSTD "application/vnd.docker.image.rootfs.diff.tar.zstd"

struct oci_descriptor {
    char *media_type;
    char *digest;
    uint64_t size;
    struct json_map annotations;
    struct oci_platform *platform; /* NULL when absent */
};
extern const struct json_desc oci_descriptor_json;

struct oci_manifest {
    uint64_t schema_version; /* 2 */
    char *media_type;        /* may be NULL (OCI) */
    char *artifact_type;     /* NULL: of an image, as a rule */
    struct oci_descriptor config;
    struct json_list layers; /* of struct oci_descriptor, bottom layer first */
    struct json_map annotations;
};
extern const struct json_desc oci_manifest_json;

struct oci_index {
    uint64_t schema_version;
    char *media_type;
    struct json_list manifests; /* of struct oci_descriptor */
    struct json_map annotations;
};
extern const struct json_desc oci_index_json;

/* HEALTHCHECK, of an image or a container: Docker's HealthConfig. Times in ns; 0: not said. */
struct oci_healthcheck {
    char **test; /* empty: inherit; NONE; CMD arg…; CMD-SHELL text */
    int64_t interval, timeout, start_period, start_interval;
    int64_t retries;
};
extern const struct json_desc oci_healthcheck_json;

/* The `config` object of an image: defaults for containers. */
struct oci_image_config {
    char *user;
    char **exposed_ports; /* "80/tcp" */
    char **env;
    char **entrypoint;
    char **cmd;
    char **volumes;
    char *working_dir;
    struct json_map labels;
    char *stop_signal;
    struct oci_healthcheck *healthcheck; /* or NULL */
    char **shell;
    char **on_build;
    bool args_escaped;
};
extern const struct json_desc oci_image_config_json;

struct oci_history {
    int64_t created; /* ns */
    char *created_by;
    char *author;
    char *comment;
    bool empty_layer;
};

/* The whole configuration document; its digest is the image's id. */
struct oci_image {
    int64_t created; /* ns; 0 when absent */
    char *author;
    char *comment;
    char *architecture;
    char *variant;
    char *os;
    char *os_version;
    char *docker_version;
    struct oci_image_config config;
    struct {
        char *type;
        char **diff_ids;
    } rootfs;
    struct json_list history; /* of struct oci_history */
};
extern const struct json_desc oci_image_json;

enum oci_document { OCI_DOCUMENT_MANIFEST, OCI_DOCUMENT_INDEX };
/* What a manifest document is, by its media type (from the HTTP header or descriptor, may be NULL)
 * and its content. ERR_NOT_SUPPORTED for Docker's schema 1 and unknown types. */
int oci_document_kind(const char *media_type, const char *text, size_t len, enum oci_document *ret,
                      struct error *e) MUST_CHECK;

int oci_manifest_parse(const char *text, size_t len, struct oci_manifest *ret,
                       struct error *e) MUST_CHECK;
int oci_index_parse(const char *text, size_t len, struct oci_index *ret,
                    struct error *e) MUST_CHECK;
int oci_image_parse(const char *text, size_t len, struct oci_image *ret,
                    struct error *e) MUST_CHECK;
void oci_manifest_done(struct oci_manifest *m);
void oci_index_done(struct oci_index *i);
void oci_image_done(struct oci_image *i);

/* The entry of an index for the platform; ERR_NOT_FOUND lists what there is. Borrowed from idx. */
int oci_index_choose(const struct oci_index *idx, const struct oci_platform *want,
                     const struct oci_descriptor **ret, struct error *e) MUST_CHECK;

enum oci_compression { OCI_PLAIN, OCI_GZIP, OCI_ZSTD, OCI_COMPRESSION_MAX };
/* Whether a manifest whose configuration has this type (NULL: none was named) is an image's. */
bool oci_config_type_is_image(const char *media_type);

/* By a layer's media type; ERR_NOT_SUPPORTED for others (foreign, encrypted, not a layer). */
int oci_layer_compression(const char *media_type, enum oci_compression *ret,
                          struct error *e) MUST_CHECK;
