/* SPDX-License-Identifier: Apache-2.0 */
/* referrers: what at the registry refers to an image (signatures, lists of contents, attestations). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/worker/worker.h"

#define ACCEPT_MANIFESTS                                                                           \
    OCI_MT_INDEX ", " OCI_MT_DOCKER_LIST ", " OCI_MT_MANIFEST ", " OCI_MT_DOCKER_MANIFEST

/* The digest that the name stands for: of the index, or with a platform of its manifest. */
static int find_digest(struct registry *r, struct http_client *c, char ret[DIGEST_MAX],
                       struct error *e)
{
    const struct worker_msg *s = r->start;
    CLEANUP(registry_document_done) struct registry_document d = {0};
    CLEANUP(oci_platform_done) struct oci_platform want = {0};
    CLEANUP(oci_index_done) struct oci_index index = {0};
    const struct oci_descriptor *entry = NULL;
    enum oci_document kind;

    if (!str_is_empty(s->digest) && str_is_empty(s->platform)) {
        snprintf(ret, DIGEST_MAX, "%s", s->digest); /* it need not be there (any more) */
        return 0;
    }
    int rc = registry_document(r, c, "manifests", !str_is_empty(s->digest) ? s->digest : s->tag,
                               "manifest", ACCEPT_MANIFESTS, -1, OCI_MANIFEST_MAX, &d, e);
    if (rc < 0)
        return rc;
    memcpy(ret, d.digest, DIGEST_MAX);
    if (str_is_empty(s->platform))
        return 0;
    rc = oci_document_kind(d.type, d.text.data, d.text.len, &kind, e);
    if (rc < 0 || kind != OCI_DOCUMENT_INDEX)
        return rc; /* one manifest: whatever it is for */
    if ((rc = oci_platform_parse(s->platform, &want, e)) >= 0 &&
        (rc = oci_index_parse(d.text.data, d.text.len, &index, e)) >= 0 &&
        (rc = oci_index_choose(&index, &want, &entry, e)) >= 0)
        snprintf(ret, DIGEST_MAX, "%s", entry->digest);
    return rc;
}

int worker_referrers(const struct worker_msg *start, struct error *e)
{
    CLEANUP(registry_document_done) struct registry_document d = {0};
    AUTOPTR(http_client) struct http_client *c = http_client_new();
    const char *type = str_is_empty(start->media_type) ? NULL : start->media_type;
    char digest[DIGEST_MAX] = "";
    struct registry r;
    AUTOFD int fd = -EBADF;

    registry_init(&r, start);
    int rc = find_digest(&r, c, digest, e);
    if (rc >= 0)
        rc = registry_referrers(&r, c, digest, type, &d, e);
    struct worker_msg m = {.type = (char *)"referrers", .digest = digest, .size = d.text.len};
    if (rc >= 0)
        rc = conn_open_file(&m.file, &fd, e);
    if (rc >= 0 && (rc = fs_write_all(fd, d.text.data, d.text.len)) < 0)
        rc = error_set_errno(e, rc, "cannot keep the list of referrers");
    if (rc >= 0)
        rc = conn_send(&m, e);
    registry_done(&r);
    return rc;
}
