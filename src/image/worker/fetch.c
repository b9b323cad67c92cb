/* SPDX-License-Identifier: Apache-2.0 */
/* Small documents of a registry in memory, verified: manifests, configurations, referrers. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/worker/registry-priv.h"

#define DOCUMENT_TIMEOUT 300 /* seconds: a few megabytes are there long before that */
#define REFERRERS_MAX    OCI_MANIFEST_MAX
#define NO_REFERRERS     "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MT_INDEX "\",\"manifests\":[]}"

struct sink {
    struct registry_document *d;
    const char *name;
    struct error *e;
};

static int document_sink(void *data, const void *bytes, size_t len)
{
    struct sink *s = data;

    if (buf_append(&s->d->text, bytes, len) < 0)
        return error_set(s->e, ERR_TOO_LARGE, "the %s is larger than %zu bytes", s->name,
                         s->d->text.max);
    return 0;
}

void registry_document_done(struct registry_document *d)
{
    buf_done(&d->text);
    free(d->type);
    memset(d, 0, sizeof(*d));
}

/* Whether what came is what was asked for. */
static int check_document(struct registry_document *d, const char *what, const char *name,
                          const struct registry_got *got, int64_t size, struct error *e)
{
    bool is_digest = digest_is_valid(what);
    enum digest_algorithm a = is_digest ? digest_algorithm(what) : DIGEST_SHA256;
    struct digest_state h = {0};

    int r = digest_state_init(&h, a);
    if (r >= 0)
        r = digest_state_update(&h, d->text.data, d->text.len);
    if (r >= 0)
        r = digest_state_final(&h, d->digest);
    digest_state_done(&h);
    if (r < 0)
        return error_set_errno(e, r, "cannot compute digests");
    if (is_digest && !STREQ(what, d->digest))
        return error_set(e, ERR_INTERNAL, "%s %s is not what came: its content has digest %s", name,
                         what, d->digest);
    if (!is_digest && got->digest && digest_is_valid(got->digest) &&
        digest_algorithm(got->digest) == a && !STREQ(got->digest, d->digest))
        return error_set(e, ERR_INTERNAL,
                         "%s %s is not what registry %s says: its content has digest %s, not %s",
                         name, what, got->from->conf->name, d->digest, got->digest);
    if (size >= 0 && d->text.len != (size_t)size)
        return error_set(e, ERR_INTERNAL, "%s %s has %zu bytes instead of %lld", name, what,
                         d->text.len, (long long)size);
    return 0;
}

int registry_document(struct registry *r, struct http_client *c, const char *kind, const char *what,
                      const char *name, const char *accept, int64_t size, size_t max,
                      struct registry_document *ret, struct error *e)
{
    for (size_t tries = 0;; tries++) {
        CLEANUP(registry_got_done) struct registry_got got = {0};
        AUTO(error) struct error own = ERROR_INIT;
        struct sink sink = {.d = ret, .name = name, .e = &own};
        const struct registry_get get = {.kind = kind,
                                         .what = what,
                                         .accept = accept,
                                         .want_size = size,
                                         .timeout = DOCUMENT_TIMEOUT,
                                         .sink = document_sink,
                                         .sink_data = &sink};

        buf_done(&ret->text);
        ret->text = (struct buf)BUF_INIT(max);
        int rc = registry_read(r, c, &get, &got, e);
        if (rc < 0 && !own.message) /* else it was too large for the sink */
            return rc;
        if (rc >= 0)
            rc = check_document(ret, what, name, &got, size, &own);
        if (rc >= 0) {
            free(ret->type);
            ret->type = take_ptr(got.content_type);
            return 0;
        }
        if (!got.from->conf->mirror || tries >= r->n) {
            error_move(e, &own);
            return rc;
        }
        endpoint_failed(r, got.from, &own);
    }
}

/* --- Referrers -------------------------------------------------------------------------------------- */

static int referrers_sink(void *data, const void *bytes, size_t len)
{
    return buf_append(data, bytes, len);
}

/* The answer of the referrers API. 1: it is there, 0: this registry has no such API. */
static int referrers_api(struct registry *r, struct http_client *c, const char *digest,
                         const char *artifact_type, struct registry_document *ret, struct error *e)
{
    AUTOFREE char *what = artifact_type ? xasprintf("%s?artifactType=%s", digest, artifact_type)
                                        : xstrdup(digest);
    CLEANUP(registry_got_done) struct registry_got got = {0};
    AUTO(error) struct error own = ERROR_INIT;
    const struct registry_get get = {.kind = "referrers",
                                     .what = what,
                                     .accept = OCI_MT_INDEX,
                                     .want_size = -1,
                                     .timeout = DOCUMENT_TIMEOUT,
                                     .sink = referrers_sink,
                                     .sink_data = &ret->text};

    int rc = registry_read(r, c, &get, &got, &own);
    if (rc == -EFBIG && !own.message)
        return error_set(e, ERR_TOO_LARGE, "the list of referrers is larger than %zu bytes",
                         ret->text.max);
    /* Registries without the API answer 404, and old ones whatever they do for odd paths. */
    if ((rc < 0 && (own.code == ERR_NOT_FOUND || own.code == ERR_INTERNAL)) ||
        (rc >= 0 && (!got.content_type || !STREQ(got.content_type, OCI_MT_INDEX)))) {
        buf_clear(&ret->text);
        return 0;
    }
    if (rc < 0) {
        error_move(e, &own);
        return rc;
    }
    str_replace(&ret->type, got.content_type);
    return 1;
}

int registry_referrers(struct registry *r, struct http_client *c, const char *digest,
                       const char *artifact_type, struct registry_document *ret, struct error *e)
{
    AUTO(error) struct error own = ERROR_INIT;
    AUTOFREE char *tag = NULL;

    buf_done(&ret->text);
    ret->text = (struct buf)BUF_INIT(REFERRERS_MAX);
    int rc = referrers_api(r, c, digest, artifact_type, ret, e);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    /* "sha256:…" → tag "sha256-…", as the distribution specification says for such registries. */
    tag = xstrdup(digest);
    tag[strcspn(tag, ":")] = '-';
    rc = registry_document(r, c, "manifests", tag, "list of referrers", OCI_MT_INDEX, -1,
                           REFERRERS_MAX, ret, &own);
    if (rc < 0 && own.code == ERR_NOT_FOUND) {
        buf_clear(&ret->text);
        str_replace(&ret->type, OCI_MT_INDEX);
        return buf_puts(&ret->text, NO_REFERRERS);
    }
    if (rc < 0)
        error_move(e, &own);
    return rc;
}
