/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of an image: tables, and the checks that tables cannot express. */
#include <string.h>

#include "base/str.h"
#include "base/strv.h"
#include "oci/digest.h"
#include "oci/image.h"

/* No blob is larger: keeps sums of sizes far from overflow. */
#define BLOB_SIZE_MAX ((uint64_t)1 << 44)

static const struct json_field descriptor_fields[] = {
    JSON_FIELD(struct oci_descriptor, media_type, "mediaType", JSON_STR, 0),
    JSON_FIELD(struct oci_descriptor, digest, "digest", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct oci_descriptor, size, "size", JSON_UINT, 0),
    JSON_FIELD(struct oci_descriptor, annotations, "annotations", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_FIELD_SUB(struct oci_descriptor, platform, "platform", JSON_OBJ_PTR, JSON_OMIT_EMPTY,
                   &oci_platform_json),
    JSON_END,
};
const struct json_desc oci_descriptor_json = {"descriptor", sizeof(struct oci_descriptor),
                                              descriptor_fields};

static const struct json_field manifest_fields[] = {
    JSON_FIELD(struct oci_manifest, schema_version, "schemaVersion", JSON_UINT, 0),
    JSON_FIELD(struct oci_manifest, media_type, "mediaType", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_manifest, artifact_type, "artifactType", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD_SUB(struct oci_manifest, config, "config", JSON_OBJ, JSON_REQUIRED,
                   &oci_descriptor_json),
    JSON_FIELD_SUB(struct oci_manifest, layers, "layers", JSON_OBJ_LIST, 0, &oci_descriptor_json),
    JSON_FIELD(struct oci_manifest, annotations, "annotations", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc oci_manifest_json = {"manifest", sizeof(struct oci_manifest),
                                            manifest_fields};

static const struct json_field index_fields[] = {
    JSON_FIELD(struct oci_index, schema_version, "schemaVersion", JSON_UINT, 0),
    JSON_FIELD(struct oci_index, media_type, "mediaType", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD_SUB(struct oci_index, manifests, "manifests", JSON_OBJ_LIST, 0,
                   &oci_descriptor_json),
    JSON_FIELD(struct oci_index, annotations, "annotations", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc oci_index_json = {"index", sizeof(struct oci_index), index_fields};

static const struct json_field healthcheck_fields[] = {
    JSON_FIELD(struct oci_healthcheck, test, "Test", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_healthcheck, interval, "Interval", JSON_INT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_healthcheck, timeout, "Timeout", JSON_INT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_healthcheck, start_period, "StartPeriod", JSON_INT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_healthcheck, start_interval, "StartInterval", JSON_INT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_healthcheck, retries, "Retries", JSON_INT, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc oci_healthcheck_json = {"health check", sizeof(struct oci_healthcheck),
                                               healthcheck_fields};

static const struct json_field config_fields[] = {
    JSON_FIELD(struct oci_image_config, user, "User", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, exposed_ports, "ExposedPorts", JSON_KEY_SET,
               JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, env, "Env", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, entrypoint, "Entrypoint", JSON_STRV,
               JSON_OMIT_EMPTY | JSON_STR_OR_LIST),
    JSON_FIELD(struct oci_image_config, cmd, "Cmd", JSON_STRV, JSON_OMIT_EMPTY | JSON_STR_OR_LIST),
    JSON_FIELD(struct oci_image_config, volumes, "Volumes", JSON_KEY_SET, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, working_dir, "WorkingDir", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, labels, "Labels", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, stop_signal, "StopSignal", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD_SUB(struct oci_image_config, healthcheck, "Healthcheck", JSON_OBJ_PTR,
                   JSON_OMIT_EMPTY, &oci_healthcheck_json),
    JSON_FIELD(struct oci_image_config, shell, "Shell", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, on_build, "OnBuild", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image_config, args_escaped, "ArgsEscaped", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc oci_image_config_json = {"config", sizeof(struct oci_image_config),
                                                config_fields};

static const struct json_field history_fields[] = {
    JSON_FIELD(struct oci_history, created, "created", JSON_TIME, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_history, created_by, "created_by", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_history, author, "author", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_history, comment, "comment", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_history, empty_layer, "empty_layer", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc history_json = {"history", sizeof(struct oci_history),
                                              history_fields};

/* rootfs is an anonymous struct in struct oci_image; its offsets are relative to it. */
#define ROOTFS_OFFSET(member)                                                                      \
    (offsetof(struct oci_image, rootfs.member) - offsetof(struct oci_image, rootfs))
static const struct json_field rootfs_fields[] = {
    {.name = "type", .kind = JSON_STR, .offset = ROOTFS_OFFSET(type)},
    {.name = "diff_ids", .kind = JSON_STRV, .offset = ROOTFS_OFFSET(diff_ids)},
    JSON_END,
};
static const struct json_desc rootfs_json = {"rootfs", sizeof(((struct oci_image *)0)->rootfs),
                                             rootfs_fields};

static const struct json_field image_fields[] = {
    JSON_FIELD(struct oci_image, created, "created", JSON_TIME, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image, author, "author", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image, comment, "comment", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image, architecture, "architecture", JSON_STR, 0),
    JSON_FIELD(struct oci_image, variant, "variant", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image, os, "os", JSON_STR, 0),
    JSON_FIELD(struct oci_image, os_version, "os.version", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_image, docker_version, "docker_version", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD_SUB(struct oci_image, config, "config", JSON_OBJ, 0, &oci_image_config_json),
    JSON_FIELD_SUB(struct oci_image, rootfs, "rootfs", JSON_OBJ, 0, &rootfs_json),
    JSON_FIELD_SUB(struct oci_image, history, "history", JSON_OBJ_LIST, JSON_OMIT_EMPTY,
                   &history_json),
    JSON_END,
};
const struct json_desc oci_image_json = {"image configuration", sizeof(struct oci_image),
                                         image_fields};

/* --- Kinds of documents ---------------------------------------------------------------------- */

/* The fields that tell a manifest from an index from Docker's old schema 1. */
struct probe {
    uint64_t schema_version;
    char *media_type;
    char *config;
    char *layers;
    char *manifests;
    char *fs_layers;
};
static const struct json_field probe_fields[] = {
    JSON_FIELD(struct probe, schema_version, "schemaVersion", JSON_UINT, 0),
    JSON_FIELD(struct probe, media_type, "mediaType", JSON_STR, 0),
    JSON_FIELD(struct probe, config, "config", JSON_RAW, 0),
    JSON_FIELD(struct probe, layers, "layers", JSON_RAW, 0),
    JSON_FIELD(struct probe, manifests, "manifests", JSON_RAW, 0),
    JSON_FIELD(struct probe, fs_layers, "fsLayers", JSON_RAW, 0),
    JSON_END,
};
static const struct json_desc probe_json = {"manifest", sizeof(struct probe), probe_fields};

static int kind_of_type(const char *media_type, enum oci_document *ret)
{
    if (STREQ(media_type, OCI_MT_MANIFEST) || STREQ(media_type, OCI_MT_DOCKER_MANIFEST))
        *ret = OCI_DOCUMENT_MANIFEST;
    else if (STREQ(media_type, OCI_MT_INDEX) || STREQ(media_type, OCI_MT_DOCKER_LIST))
        *ret = OCI_DOCUMENT_INDEX;
    else
        return -ENOENT;
    return 0;
}

int oci_document_kind(const char *media_type, const char *text, size_t len, enum oci_document *ret,
                      struct error *e)
{
    struct probe p = {0};
    enum oci_document kind = OCI_DOCUMENT_MANIFEST, by_content = OCI_DOCUMENT_MANIFEST;
    int r;

    if (len > OCI_MANIFEST_MAX)
        return error_set(e, ERR_TOO_LARGE, "the manifest is larger than %u bytes",
                         OCI_MANIFEST_MAX);
    r = json_parse(&probe_json, text, len, &p, e);
    if (r < 0)
        return r;
    by_content = p.manifests && !p.layers ? OCI_DOCUMENT_INDEX : OCI_DOCUMENT_MANIFEST;
    if (p.fs_layers || p.schema_version == 1)
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "this image has a Docker schema 1 manifest, which is no longer supported: "
                      "push it again with a current tool");
    else if (p.schema_version != 0 && p.schema_version != 2)
        r = error_set(e, ERR_NOT_SUPPORTED, "manifest schema version %llu is not supported",
                      (unsigned long long)p.schema_version);
    else if (p.manifests && (p.layers || p.config))
        r = error_set(e, ERR_INVALID, "the manifest is both an image and an index of images");
    else if (!p.manifests && !p.config)
        r = error_set(e, ERR_INVALID, "the manifest has neither \"config\" nor \"manifests\"");
    else if (p.media_type && kind_of_type(p.media_type, &kind) < 0)
        r = error_set(e, ERR_NOT_SUPPORTED, "manifest type \"%.120s\" is not supported",
                      p.media_type);
    else if (!p.media_type && media_type && kind_of_type(media_type, &kind) < 0)
        kind = by_content; /* a vague Content-Type such as application/json */
    else if (!p.media_type && !media_type)
        kind = by_content;
    if (r == 0 && kind != by_content)
        r = error_set(e, ERR_INVALID, "the manifest's media type does not fit its content");
    json_free(&probe_json, &p);
    if (r < 0)
        return r;
    *ret = kind;
    return 0;
}

/* --- Parsing with checks ------------------------------------------------------------------------ */

static int check_descriptor(const struct oci_descriptor *d, const char *what, size_t i,
                            struct error *e)
{
    if (!digest_is_valid(d->digest))
        return error_set(e, ERR_INVALID, "%s %zu of the manifest has a malformed digest \"%.150s\"",
                         what, i, d->digest);
    if (d->size > BLOB_SIZE_MAX)
        return error_set(e, ERR_INVALID, "%s %zu of the manifest claims an impossible size", what,
                         i);
    return 0;
}

int oci_manifest_parse(const char *text, size_t len, struct oci_manifest *ret, struct error *e)
{
    struct oci_manifest m = {0};
    int r = json_parse(&oci_manifest_json, text, len, &m, e);

    if (r < 0)
        return r;
    const struct oci_descriptor *layers = m.layers.items;
    r = check_descriptor(&m.config, "the configuration", 0, e);
    if (r == 0 && m.config.size > OCI_CONFIG_MAX)
        r = error_set(e, ERR_TOO_LARGE, "the image's configuration is larger than %u bytes",
                      OCI_CONFIG_MAX);
    if (r == 0 && m.layers.len > OCI_LAYERS_MAX)
        r = error_set(e, ERR_INVALID, "the image has %zu layers; at most %d are supported",
                      m.layers.len, OCI_LAYERS_MAX);
    for (size_t i = 0; r == 0 && i < m.layers.len; i++)
        r = check_descriptor(&layers[i], "layer", i, e);
    if (r < 0) {
        oci_manifest_done(&m);
        return r;
    }
    *ret = m;
    return 0;
}

int oci_index_parse(const char *text, size_t len, struct oci_index *ret, struct error *e)
{
    struct oci_index idx = {0};
    int r = json_parse(&oci_index_json, text, len, &idx, e);

    if (r < 0)
        return r;
    const struct oci_descriptor *d = idx.manifests.items;
    if (idx.manifests.len > OCI_INDEX_ENTRIES_MAX)
        r = error_set(e, ERR_INVALID, "the image index has %zu entries; at most %d are supported",
                      idx.manifests.len, OCI_INDEX_ENTRIES_MAX);
    for (size_t i = 0; r == 0 && i < idx.manifests.len; i++)
        r = check_descriptor(&d[i], "entry", i, e);
    if (r < 0) {
        oci_index_done(&idx);
        return r;
    }
    *ret = idx;
    return 0;
}

int oci_image_parse(const char *text, size_t len, struct oci_image *ret, struct error *e)
{
    struct oci_image img = {0};
    int r;

    if (len > OCI_CONFIG_MAX)
        return error_set(e, ERR_TOO_LARGE, "the image's configuration is larger than %u bytes",
                         OCI_CONFIG_MAX);
    r = json_parse(&oci_image_json, text, len, &img, e);
    if (r < 0)
        return r;
    if (!str_is_empty(img.rootfs.type) && !STREQ(img.rootfs.type, "layers"))
        r = error_set(e, ERR_NOT_SUPPORTED, "root file system type \"%.60s\" is not supported",
                      img.rootfs.type);
    size_t n = strv_len(img.rootfs.diff_ids);
    if (r == 0 && n > OCI_LAYERS_MAX)
        r = error_set(e, ERR_INVALID, "the image has %zu layers; at most %d are supported", n,
                      OCI_LAYERS_MAX);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!digest_is_valid(img.rootfs.diff_ids[i]))
            r = error_set(e, ERR_INVALID, "diff id %zu of the image is malformed: \"%.150s\"", i,
                          img.rootfs.diff_ids[i]);
    if (r < 0) {
        oci_image_done(&img);
        return r;
    }
    *ret = img;
    return 0;
}

void oci_manifest_done(struct oci_manifest *m)
{
    json_free(&oci_manifest_json, m);
}

void oci_index_done(struct oci_index *i)
{
    json_free(&oci_index_json, i);
}

void oci_image_done(struct oci_image *i)
{
    json_free(&oci_image_json, i);
}

/* --- Choosing ------------------------------------------------------------------------------------ */

int oci_index_choose(const struct oci_index *idx, const struct oci_platform *want,
                     const struct oci_descriptor **ret, struct error *e)
{
    const struct oci_descriptor *d = idx->manifests.items, *best = NULL;
    AUTO(buf) struct buf have = BUF_INIT(2048);
    int best_rank = 0;
    enum oci_document kind;

    for (size_t i = 0; i < idx->manifests.len; i++) {
        int rank = d[i].platform ? oci_platform_rank(want, d[i].platform) : 2;
        if (d[i].media_type && kind_of_type(d[i].media_type, &kind) < 0)
            continue; /* attestations and other artifacts */
        if (rank > best_rank) {
            best_rank = rank;
            best = &d[i];
        }
        if (d[i].platform && d[i].platform->os && !STREQ(d[i].platform->os, "unknown")) {
            AUTOFREE char *p = oci_platform_string(d[i].platform);
            (void)buf_printf(&have, "%s%.80s", have.len ? ", " : "", p);
        }
    }
    if (!best) {
        AUTOFREE char *w = oci_platform_string(want);
        return error_set(e, ERR_NOT_FOUND,
                         "no matching manifest for %s in the manifest list entries (there are: %s)",
                         w, have.len ? buf_str(&have) : "none");
    }
    *ret = best;
    return 0;
}

bool oci_config_type_is_image(const char *media_type)
{
    return !media_type || STREQ(media_type, OCI_MT_CONFIG) ||
           STREQ(media_type, OCI_MT_DOCKER_CONFIG) ||
           STREQ(media_type, "application/octet-stream"); /* some old builders */
}

int oci_layer_compression(const char *media_type, enum oci_compression *ret, struct error *e)
{
    static const struct {
        const char *type;
        enum oci_compression compression;
    } types[] = {
        {OCI_MT_LAYER, OCI_PLAIN},
        {OCI_MT_LAYER_GZIP, OCI_GZIP},
        {OCI_MT_LAYER_ZSTD, OCI_ZSTD},
        {OCI_MT_DOCKER_LAYER, OCI_PLAIN},
        {OCI_MT_DOCKER_LAYER_GZIP, OCI_GZIP},
        {OCI_MT_DOCKER_LAYER_ZSTD, OCI_ZSTD},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar", OCI_PLAIN},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", OCI_GZIP},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", OCI_ZSTD},
    };

    for (size_t i = 0; media_type && i < ARRAY_SIZE(types); i++) {
        if (STREQ(media_type, types[i].type)) {
            *ret = types[i].compression;
            return 0;
        }
    }
    return error_set(e, ERR_NOT_SUPPORTED, "layer type \"%.120s\" is not supported",
                     media_type ? media_type : "");
}
