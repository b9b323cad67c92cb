/* SPDX-License-Identifier: Apache-2.0 */
/* pull: reference → manifest (through an index) → configuration → layers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/worker/blame.h"
#include "image/worker/worker.h"

#define ACCEPT_MANIFESTS                                                                           \
    OCI_MT_INDEX ", " OCI_MT_DOCKER_LIST ", " OCI_MT_MANIFEST ", " OCI_MT_DOCKER_MANIFEST

struct pull {
    const struct worker_msg *start;
    struct registry registry;
    struct http_client *client;
    struct oci_platform want;
    char top_digest[DIGEST_MAX];
    char manifest_digest[DIGEST_MAX];
    struct buf index; /* the index it was chosen from, if any */
    struct oci_manifest manifest;
    struct oci_image image;
    struct layer *layers;
    struct blame *blames; /* one a layer */
    size_t nlayers;
};

/* The manifest for the platform; *text is the document. */
static int resolve_manifest(struct pull *p, struct registry_document *text, struct error *e)
{
    const struct worker_msg *s = p->start;
    CLEANUP(oci_index_done) struct oci_index idx = {0};
    const struct oci_descriptor *entry = NULL;
    const char *what = !str_is_empty(s->digest) ? s->digest : s->tag;
    enum oci_document kind;

    int r = registry_document(&p->registry, p->client, "manifests", what, "manifest",
                              ACCEPT_MANIFESTS, -1, OCI_MANIFEST_MAX, text, e);
    if (r < 0)
        return r;
    memcpy(p->top_digest, text->digest, DIGEST_MAX);
    r = oci_document_kind(text->type, text->text.data, text->text.len, &kind, e);
    if (r < 0) {
        error_add(e, "manifest of %s", s->reference);
        return r;
    }
    memcpy(p->manifest_digest, p->top_digest, DIGEST_MAX);
    if (kind == OCI_DOCUMENT_MANIFEST)
        return 0;
    if ((r = oci_index_parse(text->text.data, text->text.len, &idx, e)) < 0 ||
        (r = oci_index_choose(&idx, &p->want, &entry, e)) < 0)
        return r;
    p->index = text->text; /* kept once the signatures were looked at */
    text->text = (struct buf)BUF_INIT(OCI_MANIFEST_MAX);
    r = registry_document(&p->registry, p->client, "manifests", entry->digest, "manifest",
                          ACCEPT_MANIFESTS, (int64_t)entry->size, OCI_MANIFEST_MAX, text, e);
    memcpy(p->manifest_digest, text->digest, DIGEST_MAX);
    if (r >= 0)
        r = oci_document_kind(entry->media_type ? entry->media_type : text->type, text->text.data,
                              text->text.len, &kind, e);
    if (r >= 0 && kind != OCI_DOCUMENT_MANIFEST)
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "the index leads to another index, which is not supported");
    return r;
}

/* The configuration, and what it must have in common with manifest and wish. */
static int resolve_config(struct pull *p, struct registry_document *text, struct error *e)
{
    const struct oci_descriptor *c = &p->manifest.config;

    if (!oci_config_type_is_image(c->media_type))
        return str_is_empty(p->manifest.artifact_type)
                   ? error_set(e, ERR_NOT_SUPPORTED,
                               "%s is not a container image: its configuration has type "
                               "\"%.100s\"",
                               p->start->reference, c->media_type)
                   : error_set(e, ERR_NOT_SUPPORTED,
                               "%s is not a container image but an artifact of type \"%.100s\": "
                               "fetch it with the tool it is for",
                               p->start->reference, p->manifest.artifact_type);
    int r = registry_document(&p->registry, p->client, "blobs", c->digest, "image configuration",
                              NULL, (int64_t)c->size, OCI_CONFIG_MAX, text, e);
    if (r < 0)
        return r;
    r = oci_image_parse(text->text.data, text->text.len, &p->image, e);
    if (r < 0) {
        error_add(e, "configuration of %s", p->start->reference);
        return r;
    }
    size_t n = strv_len(p->image.rootfs.diff_ids);
    if (n != p->manifest.layers.len)
        return error_set(e, ERR_INVALID,
                         "the image's configuration names %zu layers, its manifest %zu", n,
                         p->manifest.layers.len);
    if (!str_is_empty(p->image.os) && !STREQ(p->image.os, "linux"))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "image operating system \"%.60s\" cannot be used on this platform",
                         p->image.os);
    if (str_is_empty(p->start->platform))
        return 0;
    struct oci_platform have = {.os = p->image.os,
                                .architecture = p->image.architecture,
                                .variant = p->image.variant};
    if (oci_platform_rank(&p->want, &have) > 0)
        return 0;
    AUTOFREE char *h = oci_platform_string(&have);
    AUTOFREE char *w = oci_platform_string(&p->want);
    return error_set(e, ERR_NOT_FOUND,
                     "image with reference %s was found but its platform (%s) does not match the "
                     "specified platform (%s)",
                     p->start->reference, h, w);
}

/* Bytes of a layer's blob from the registry. */
struct blob_sink {
    struct layer *l;
    struct error *e;
};

static int blob_sink(void *data, const void *bytes, size_t len)
{
    struct blob_sink *b = data;

    return layer_feed(b->l, bytes, len, b->e);
}

static void blob_giver(void *data, size_t endpoint, bool stitched)
{
    struct layer *l = ((struct blob_sink *)data)->l;

    blame_giver(l->blame, endpoint, stitched, l->done, &l->hash);
}

static int source_registry(struct layer *l, struct error *e)
{
    struct pull *p = l->source_data;
    AUTO(error) struct error sink_error = ERROR_INIT, read_error = ERROR_INIT;
    struct blob_sink sink = {l, &sink_error};
    const struct registry_get get = {.kind = "blobs",
                                     .what = l->digest,
                                     .want_size = l->size,
                                     .done = l->done,
                                     .parallel = true,
                                     .index = l->index,
                                     .avoid = blame_avoid(l->blame),
                                     .plain = l->blame->alone,
                                     .sink = blob_sink,
                                     .giver = blob_giver,
                                     .sink_data = &sink};

    CLEANUP(registry_got_done) struct registry_got got = {0};
    int r = registry_read(&p->registry, l->client, &get, &got, &read_error);
    /* An answer without a byte is somebody's, too: it must not be asked for again and again. */
    if (r >= 0 && got.from)
        blame_giver(l->blame, (size_t)(got.from - p->registry.endpoints), false, l->done, &l->hash);
    l->no_source = r < 0 && read_error.message;
    if (e->message) /* what came could not be kept */
        return r;
    if (l->no_source)
        error_move(e, &read_error);
    else if (sink_error.message)
        error_move(e, &sink_error);
    return r;
}

/* Lists each different layer once, tells pouchd, brings them. */
static int pull_layers(struct pull *p, struct error *e)
{
    const struct oci_descriptor *d = p->manifest.layers.items;
    enum oci_compression compression;
    int r = 0;

    p->layers = xcalloc(p->manifest.layers.len + 1, sizeof(*p->layers));
    p->blames = xcalloc(p->manifest.layers.len + 1, sizeof(*p->blames));
    for (size_t i = 0; i < p->manifest.layers.len; i++) {
        const char *diff_id = p->image.rootfs.diff_ids[i];
        bool seen = false;
        for (size_t k = 0; k < p->nlayers; k++)
            seen = seen || STREQ(p->layers[k].diff_id, diff_id);
        if ((r = oci_layer_compression(d[i].media_type, &compression, e)) < 0)
            return r;
        if (seen)
            continue;
        struct layer *l = &p->layers[p->nlayers];
        l->index = p->nlayers++;
        snprintf(l->digest, sizeof(l->digest), "%s", d[i].digest);
        snprintf(l->diff_id, sizeof(l->diff_id), "%s", diff_id);
        l->media_type = d[i].media_type;
        l->size = (int64_t)d[i].size;
        l->source = source_registry;
        l->source_data = p;
        l->blame = &p->blames[l->index];
        blame_init(l->blame, &p->registry, l->digest);
        struct worker_msg m = {.type = (char *)"plan",
                               .index = l->index,
                               .digest = l->digest,
                               .diff_id = l->diff_id,
                               .media_type = l->media_type,
                               .size = d[i].size};
        if ((r = conn_send(&m, e)) < 0)
            return r;
    }
    /* The connection that brought the documents is the first layer's. */
    http_client_free(take_ptr(p->client));
    return layers_run(p->layers, p->nlayers, (unsigned)p->start->parallel, e);
}

static int pull(struct pull *p, struct error *e)
{
    CLEANUP(registry_document_done) struct registry_document manifest = {0};
    CLEANUP(registry_document_done) struct registry_document config = {0};
    int r = resolve_manifest(p, &manifest, e);

    if (r >= 0 && !str_is_empty(p->start->policy))
        r = signatures_check(p->start->policy, p->start->reference, &p->registry, p->client,
                             p->manifest_digest, e);
    if (r >= 0 && p->index.len > 0)
        r = conn_put_blob("index", p->top_digest, p->index.data, p->index.len, e);
    if (r >= 0) {
        r = oci_manifest_parse(manifest.text.data, manifest.text.len, &p->manifest, e);
        if (r < 0)
            error_add(e, "manifest of %s", p->start->reference);
    }
    if (r >= 0)
        r = resolve_config(p, &config, e);
    if (r >= 0) { /* the first line for the user: before it, an error can still set the status */
        AUTOFREE char *status = xasprintf("Pulling from %s", p->start->repository);
        struct worker_msg m = {.type = (char *)"text", .status = status, .tag = p->start->tag};
        r = conn_send(&m, e);
    }
    if (r >= 0)
        r = conn_put_blob("manifest", p->manifest_digest, manifest.text.data, manifest.text.len, e);
    if (r >= 0)
        r = conn_put_blob("config", p->manifest.config.digest, config.text.data, config.text.len,
                          e);
    if (r >= 0)
        r = pull_layers(p, e);
    if (r >= 0) {
        struct worker_msg m = {.type = (char *)"image",
                               .config = p->manifest.config.digest,
                               .manifest = p->manifest_digest,
                               .top = p->top_digest,
                               .layers = p->image.rootfs.diff_ids};
        r = conn_send(&m, e);
    }
    return r;
}

int worker_pull(const struct worker_msg *start, struct error *e)
{
    struct pull p = {.start = start};
    int r = oci_platform_parse(start->platform, &p.want, e);

    if (r < 0)
        return r;
    registry_init(&p.registry, start);
    p.client = http_client_new();
    r = pull(&p, e);
    http_client_free(p.client);
    oci_platform_done(&p.want);
    oci_manifest_done(&p.manifest);
    oci_image_done(&p.image);
    free(p.layers);
    free(p.blames);
    buf_done(&p.index);
    registry_done(&p.registry);
    if (e->code == ERR_INVALID || e->code == ERR_TOO_LARGE)
        e->code = ERR_INTERNAL; /* the registry is at fault, not who asked */
    return r;
}

#define TAGS_AT_ONCE 256 /* a tag has 128 bytes: they fit into a message */

/* --- All tags ---------------------------------------------------------------------------------- */

struct tag_list {
    char **tags;
};
static const struct json_field tag_list_fields[] = {
    JSON_FIELD(struct tag_list, tags, "tags", JSON_STRV, 0),
    JSON_END,
};
static const struct json_desc tag_list_json = {"tag list", sizeof(struct tag_list),
                                               tag_list_fields};

/* One page; *query is what the next one is asked by, NULL at the end. */
static int tags_page(struct pull *p, char **query, struct error *e)
{
    CLEANUP(registry_document_done) struct registry_document text = {0};
    AUTOFREE char *what = *query ? xasprintf("list?%s", *query) : xstrdup("list");
    struct tag_list list = {0};

    free(take_ptr(*query));
    int r = registry_document(&p->registry, p->client, "tags", what, "list of tags", NULL, -1,
                              OCI_MANIFEST_MAX, &text, e);
    if (r >= 0)
        r = json_parse(&tag_list_json, text.text.data, text.text.len, &list, e);
    for (size_t i = 0; r >= 0 && list.tags && list.tags[i]; i += TAGS_AT_ONCE) {
        char *some[TAGS_AT_ONCE + 1] = {NULL};
        for (size_t k = 0; k < TAGS_AT_ONCE && list.tags[i + k]; k++)
            some[k] = list.tags[i + k];
        struct worker_msg m = {.type = (char *)"tags", .names = some};
        r = conn_send(&m, e);
        if (strv_len(some) < TAGS_AT_ONCE)
            break;
    }
    json_free(&tag_list_json, &list);
    *query = take_ptr(text.next);
    return r;
}

int worker_tags(const struct worker_msg *start, struct error *e)
{
    struct pull p = {.start = start};
    AUTOFREE char *query = NULL;
    unsigned pages = 0;
    int r;

    registry_init(&p.registry, start);
    p.client = http_client_new();
    do
        r = ++pages > REGISTRY_PAGES_MAX
                ? error_set(e, ERR_TOO_LARGE, "registry %s has a list of tags without end",
                            start->host)
                : tags_page(&p, &query, e);
    while (r >= 0 && query);
    http_client_free(p.client);
    registry_done(&p.registry);
    return r;
}
