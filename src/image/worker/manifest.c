/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifest lists. "manifest": looks up one manifest (and the platform in its configuration) at its
 * registry. "manifest-push": brings the members of a list into the list's repository, mounting or
 * copying what it lacks, and stores the list.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/worker/upload.h"

#define ACCEPT_MANIFESTS                                                                           \
    OCI_MT_INDEX ", " OCI_MT_DOCKER_LIST ", " OCI_MT_MANIFEST ", " OCI_MT_DOCKER_MANIFEST

/* --- Looking one up --------------------------------------------------------------------------------- */

/* The platform that a manifest's configuration names; "" when it is no image. */
static int platform_of(struct registry *r, struct http_client *c, const char *text, size_t len,
                       char **ret, struct error *e)
{
    CLEANUP(oci_manifest_done) struct oci_manifest m = {0};
    CLEANUP(oci_image_done) struct oci_image img = {0};
    CLEANUP(registry_document_done) struct registry_document config = {0};

    int rc = oci_manifest_parse(text, len, &m, e);
    if (rc >= 0)
        rc = registry_document(r, c, "blobs", m.config.digest, "image configuration", NULL,
                               (int64_t)m.config.size, OCI_CONFIG_MAX, &config, e);
    if (rc < 0)
        return rc;
    if (oci_image_parse(config.text.data, config.text.len, &img, NULL) < 0) {
        *ret = xstrdup("");
        return 0;
    }
    const struct oci_platform p = {.os = img.os,
                                   .architecture = img.architecture,
                                   .variant = img.variant};
    *ret = oci_platform_string(&p);
    return 0;
}

int worker_manifest(const struct worker_msg *start, struct error *e)
{
    struct registry r;
    CLEANUP(registry_document_done) struct registry_document d = {0};
    AUTOPTR(http_client) struct http_client *c = http_client_new();
    AUTOFREE char *platform = NULL, *type = NULL;
    enum oci_document kind = OCI_DOCUMENT_MANIFEST;
    const char *what = !str_is_empty(start->digest) ? start->digest : start->tag;
    AUTOFD int fd = -EBADF;

    registry_init(&r, start);
    int rc = registry_document(&r, c, "manifests", what, "manifest", ACCEPT_MANIFESTS, -1,
                               OCI_MANIFEST_MAX, &d, e);
    if (rc >= 0)
        rc = oci_document_kind(d.type, d.text.data, d.text.len, &kind, e);
    if (rc >= 0 && kind == OCI_DOCUMENT_MANIFEST)
        rc = platform_of(&r, c, d.text.data, d.text.len, &platform, e);
    bool index = kind == OCI_DOCUMENT_INDEX;
    struct worker_msg m = {.type = (char *)"member",
                           .state = (char *)(index ? "index" : "manifest"),
                           .digest = d.digest,
                           .platform = platform,
                           .size = d.text.len};
    if (rc >= 0)
        rc = conn_open_file(&m.file, &fd, e);
    if (rc >= 0 && (rc = fs_write_all(fd, d.text.data, d.text.len)) < 0)
        rc = error_set_errno(e, rc, "cannot keep the manifest");
    if (rc >= 0) {
        type = d.type && *d.type && !STREQ(d.type, "application/json")
                   ? xstrdup(d.type)
                   : upload_media_type(d.text.data, d.text.len,
                                       index ? OCI_MT_INDEX : OCI_MT_MANIFEST);
        m.media_type = type;
        rc = conn_send(&m, e);
    }
    registry_done(&r);
    return rc;
}

/* --- Pushing a list ----------------------------------------------------------------------------------- */

struct copy {
    const struct worker_msg *start;
    struct registry target;
    struct uploads uploads;
    struct http_client *client;
};

/* Bytes of a blob on their way into a file. */
struct spool {
    int fd;
    struct digest_state hash;
    struct error *e;
};

static int spool_sink(void *data, const void *bytes, size_t len)
{
    struct spool *s = data;
    int r = fs_write_all(s->fd, bytes, len);

    if (r >= 0)
        r = digest_state_update(&s->hash, bytes, len);
    return r < 0 ? error_set_errno(s->e, r, "cannot keep a blob") : 0;
}

/* Fetches a blob from the source and sends it to the target: there was no mounting it. */
static int carry(struct copy *c, const char *from, const struct oci_descriptor *d, struct error *e)
{
    AUTOFREE char *path = xasprintf("/v2/%s/blobs/%s", from, d->digest);
    CLEANUP(uploaded_done) struct uploaded how = {0};
    char digest[DIGEST_MAX] = "";
    AUTOFD int fd = -EBADF;
    uint64_t number = 0;

    int r = conn_open_file(&number, &fd, e);
    if (r < 0)
        return r;
    struct spool s = {.fd = fd, .e = e};
    if (digest_state_init(&s.hash, digest_algorithm(d->digest)) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    r = registry_get(&c->target, c->client, NULL, path, NULL, (int64_t)d->size, spool_sink, &s,
                     NULL, NULL, e);
    if (r >= 0 && (digest_state_final(&s.hash, digest) < 0 || !STREQ(digest, d->digest)))
        r = error_set(e, ERR_INTERNAL, "blob %s is not what came: its content has digest %s",
                      d->digest, digest);
    digest_state_done(&s.hash);
    const struct upload job = {.digest = d->digest, .fd = fd, .size = d->size};
    if (r >= 0)
        r = upload_blob(&c->uploads, c->client, &job, &how, e);
    (void)!ftruncate(fd, 0); /* its room on the disk is free at once */
    return r;
}

static int copy_blob(struct copy *c, const char *from, const struct oci_descriptor *d,
                     struct error *e)
{
    CLEANUP(uploaded_done) struct uploaded how = {0};
    AUTO(error) struct error no_mount = ERROR_INIT;
    char *sources[] = {(char *)from, NULL};
    const struct upload job = {.digest = d->digest,
                               .fd = -EBADF,
                               .size = d->size,
                               .sources = sources};

    int r = upload_blob_exists(&c->uploads, c->client, d->digest, (int64_t)d->size, e);
    if (r != 0)
        return r;
    if (upload_blob(&c->uploads, c->client, &job, &how, &no_mount) >= 0)
        return 0;
    if (http_cancelled())
        return error_set_errno(e, ECANCELED, "the push was cancelled");
    return carry(c, from, d, e);
}

/* One member: its blobs, then its manifest under its digest. */
static int copy_member(struct copy *c, const struct worker_msg *given, const char *text,
                       struct error *e)
{
    CLEANUP(oci_manifest_done) struct oci_manifest m = {0};

    int r = upload_manifest_exists(&c->uploads, c->client, given->digest, ACCEPT_MANIFESTS, e);
    if (r != 0)
        return r;
    r = oci_manifest_parse(text, given->size, &m, e);
    if (r < 0)
        return r;
    const struct oci_descriptor *d = m.layers.items;
    for (size_t i = 0; r >= 0 && i < m.layers.len; i++)
        r = copy_blob(c, given->repository, &d[i], e);
    if (r >= 0)
        r = copy_blob(c, given->repository, &m.config, e);
    if (r < 0)
        return r;
    AUTOFREE char *line = xasprintf("Pushed ref %s/%s@%s", c->start->host, c->start->repository,
                                    given->digest);
    const struct worker_msg said = {.type = (char *)"text", .status = line};
    r = upload_manifest(&c->uploads, c->client, given->digest, given->media_type, text, given->size,
                        given->digest, e);
    return r < 0 ? r : conn_send(&said, e);
}

/* The k-th member, or at the end the list itself: 1 there is more, 0 it was the list. */
static int copy_next(struct copy *c, uint64_t index, struct error *e)
{
    struct worker_msg m = {.type = (char *)"want", .role = (char *)"member", .index = index};
    CLEANUP(worker_msg_done) struct worker_msg given = {0};
    int fds[WORKER_FDS_MAX] = {-EBADF, -EBADF};
    size_t nfds = 0;

    int r = conn_call(&m, &given, fds, &nfds, e);
    AUTOFD int fd = nfds > 0 ? fds[0] : -EBADF;
    if (r < 0)
        return r;
    bool member = given.state && STREQ(given.state, "member");
    if (fd < 0 || given.size > OCI_MANIFEST_MAX || !given.media_type ||
        (member && !digest_is_valid(given.digest)))
        return error_set(e, ERR_INTERNAL, "pouchd gave no manifest");
    AUTOFREE char *text = xmalloc(given.size + 1);
    if (pread(fd, text, given.size, 0) != (ssize_t)given.size)
        return error_set(e, ERR_INTERNAL, "cannot read a manifest");
    text[given.size] = '\0';
    if (member) {
        r = copy_member(c, &given, text, e);
        if (r < 0)
            error_add(e, "member %s", given.digest);
        return r < 0 ? r : 1;
    }
    char digest[DIGEST_MAX];
    if (digest_bytes(text, given.size, digest) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    r = upload_manifest(&c->uploads, c->client, given.tag, given.media_type, text, given.size,
                        digest, e);
    struct worker_msg done = {.type = (char *)"pushed", .manifest = digest, .size = given.size};
    return r < 0 ? r : conn_send(&done, e);
}

int worker_manifest_push(const struct worker_msg *start, struct error *e)
{
    struct copy c = {.start = start, .client = http_client_new()};
    uint64_t index = 0;
    int r;

    registry_init(&c.target, start);
    uploads_init(&c.uploads, &c.target, start->chunk, start->names);
    while ((r = copy_next(&c, index, e)) > 0)
        index++;
    uploads_done(&c.uploads);
    registry_done(&c.target);
    http_client_free(c.client);
    return r;
}
