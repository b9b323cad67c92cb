/* SPDX-License-Identifier: Apache-2.0 */
/* pull: reference → manifest (through an index) → configuration → layers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
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
    struct oci_manifest manifest;
    struct oci_image image;
    struct layer *layers;
    size_t nlayers;
};

struct document {
    struct buf text;
    const char *what;
    struct error *e;
};

static int document_sink(void *data, const void *bytes, size_t len)
{
    struct document *d = data;

    if (buf_append(&d->text, bytes, len) < 0)
        return error_set(d->e, ERR_TOO_LARGE, "the %s is larger than %zu bytes", d->what,
                         d->text.max);
    return 0;
}

/* Fetches a small document and checks its digest when `what` is one. */
static int fetch_document(struct pull *p, const char *kind, const char *what, const char *accept,
                          int64_t size, struct document *d, char digest[DIGEST_MAX],
                          char **ret_type, struct error *e)
{
    AUTOFREE char *server_digest = NULL;
    struct digest_state h = {0};

    d->e = e;
    int r = registry_get(&p->registry, p->client, kind, what, accept, size, document_sink, d,
                         ret_type, &server_digest, e);
    if (r < 0)
        return r;
    enum digest_algorithm a = digest_is_valid(what) ? digest_algorithm(what) : DIGEST_SHA256;
    r = digest_state_init(&h, a);
    if (r >= 0)
        r = digest_state_update(&h, d->text.data, d->text.len);
    if (r >= 0)
        r = digest_state_final(&h, digest);
    digest_state_done(&h);
    if (r < 0)
        return error_set_errno(e, r, "cannot compute digests");
    if (digest_is_valid(what) && !STREQ(what, digest))
        return error_set(e, ERR_INTERNAL, "%s %s is not what came: its content has digest %s",
                         d->what, what, digest);
    if (!digest_is_valid(what) && server_digest && digest_is_valid(server_digest) &&
        digest_algorithm(server_digest) == a && !STREQ(server_digest, digest))
        return error_set(e, ERR_INTERNAL,
                         "%s %s is not what registry %s says: its content has digest %s, not %s",
                         d->what, what, p->start->host, digest, server_digest);
    if (size >= 0 && d->text.len != (size_t)size)
        return error_set(e, ERR_INTERNAL, "%s %s has %zu bytes instead of %lld", d->what, what,
                         d->text.len, (long long)size);
    return 0;
}

/* The manifest for the platform; *text is the document. */
static int resolve_manifest(struct pull *p, struct document *text, struct error *e)
{
    const struct worker_msg *s = p->start;
    AUTOFREE char *type = NULL, *entry_type = NULL;
    CLEANUP(oci_index_done) struct oci_index idx = {0};
    const struct oci_descriptor *entry = NULL;
    const char *what = !str_is_empty(s->digest) ? s->digest : s->tag;
    enum oci_document kind;

    int r = fetch_document(p, "manifests", what, ACCEPT_MANIFESTS, -1, text, p->top_digest, &type,
                           e);
    if (r < 0)
        return r;
    r = oci_document_kind(type, text->text.data, text->text.len, &kind, e);
    if (r < 0) {
        error_add(e, "manifest of %s", s->reference);
        return r;
    }
    memcpy(p->manifest_digest, p->top_digest, DIGEST_MAX);
    if (kind == OCI_DOCUMENT_MANIFEST)
        return 0;
    if ((r = oci_index_parse(text->text.data, text->text.len, &idx, e)) < 0 ||
        (r = oci_index_choose(&idx, &p->want, &entry, e)) < 0 ||
        (r = conn_put_blob("index", p->top_digest, text->text.data, text->text.len, e)) < 0)
        return r;
    buf_clear(&text->text);
    r = fetch_document(p, "manifests", entry->digest, ACCEPT_MANIFESTS, (int64_t)entry->size, text,
                       p->manifest_digest, &entry_type, e);
    if (r >= 0)
        r = oci_document_kind(entry->media_type ? entry->media_type : entry_type, text->text.data,
                              text->text.len, &kind, e);
    if (r >= 0 && kind != OCI_DOCUMENT_MANIFEST)
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "the index leads to another index, which is not supported");
    return r;
}

/* The configuration, and what it must have in common with manifest and wish. */
static int resolve_config(struct pull *p, struct document *text, struct error *e)
{
    const struct oci_descriptor *c = &p->manifest.config;
    char digest[DIGEST_MAX];

    if (c->media_type && !STREQ(c->media_type, OCI_MT_CONFIG) &&
        !STREQ(c->media_type, OCI_MT_DOCKER_CONFIG) &&
        !STREQ(c->media_type, "application/octet-stream"))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "%s is not a container image: its configuration has type \"%.100s\"",
                         p->start->reference, c->media_type);
    int r = fetch_document(p, "blobs", c->digest, NULL, (int64_t)c->size, text, digest, NULL, e);
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

static int source_registry(struct layer *l, struct error *e)
{
    struct pull *p = l->source_data;
    struct blob_sink sink = {l, e};

    return registry_get(&p->registry, l->client, "blobs", l->digest, NULL, l->size, blob_sink,
                        &sink, NULL, NULL, e);
}

/* Lists each different layer once, tells pouchd, brings them. */
static int pull_layers(struct pull *p, struct error *e)
{
    const struct oci_descriptor *d = p->manifest.layers.items;
    enum oci_compression compression;
    int r = 0;

    p->layers = xcalloc(p->manifest.layers.len + 1, sizeof(*p->layers));
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
        struct worker_msg m = {.type = (char *)"plan",
                               .index = l->index,
                               .digest = l->digest,
                               .diff_id = l->diff_id,
                               .media_type = l->media_type,
                               .size = d[i].size};
        if ((r = conn_send(&m, e)) < 0)
            return r;
    }
    return layers_run(p->layers, p->nlayers, (unsigned)p->start->parallel, e);
}

static int pull(struct pull *p, struct error *e)
{
    struct document manifest = {.text = BUF_INIT(OCI_MANIFEST_MAX), .what = "manifest"};
    struct document config = {.text = BUF_INIT(OCI_CONFIG_MAX), .what = "image configuration"};
    int r = resolve_manifest(p, &manifest, e);

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
    buf_done(&manifest.text);
    buf_done(&config.text);
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
    registry_done(&p.registry);
    if (e->code == ERR_INVALID || e->code == ERR_TOO_LARGE)
        e->code = ERR_INTERNAL; /* the registry is at fault, not who asked */
    return r;
}

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

int worker_tags(const struct worker_msg *start, struct error *e)
{
    struct pull p = {.start = start};
    struct document text = {.text = BUF_INIT(OCI_MANIFEST_MAX), .what = "list of tags", .e = e};
    struct tag_list list = {0};

    registry_init(&p.registry, start);
    p.client = http_client_new();
    int r = registry_get(&p.registry, p.client, "tags", "list", NULL, -1, document_sink, &text,
                         NULL, NULL, e);
    if (r >= 0)
        r = json_parse(&tag_list_json, text.text.data, text.text.len, &list, e);
    if (r >= 0) {
        struct worker_msg m = {.type = (char *)"tags", .names = list.tags};
        r = conn_send(&m, e);
    }
    json_free(&tag_list_json, &list);
    buf_done(&text.text);
    http_client_free(p.client);
    registry_done(&p.registry);
    return r;
}
