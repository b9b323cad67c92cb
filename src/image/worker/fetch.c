/* SPDX-License-Identifier: Apache-2.0 */
/* Small documents of a registry in memory, verified: manifests, configurations, referrers. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/worker/registry-priv.h"

#define DOCUMENT_TIMEOUT 300 /* seconds: a few megabytes are there long before that */
#define REFERRERS_MAX    OCI_MANIFEST_MAX

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
    free(d->next);
    memset(d, 0, sizeof(*d));
}

/* RFC 5988: <URL>; rel="next". Only the query is taken: a page is asked for where the first one was. */
char *registry_next_page(const char *link)
{
    const char *end = link && link[0] == '<' ? strchr(link, '>') : NULL;
    const char *query = end ? memchr(link, '?', (size_t)(end - link)) : NULL;

    if (!query || !strstr(end, "rel=") || !strstr(end, "next"))
        return NULL;
    for (const char *p = query; p < end; p++)
        if ((unsigned char)*p <= ' ' || *p == '#' || *p == 0x7f)
            return NULL;
    return xstrndup(query + 1, (size_t)(end - query) - 1);
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
        ret->status = got.status;
        if (rc < 0 && !own.message) /* else it was too large for the sink */
            return rc;
        if (rc >= 0)
            rc = check_document(ret, what, name, &got, size, &own);
        if (rc >= 0) {
            free(ret->type);
            ret->type = take_ptr(got.content_type);
            free(ret->next);
            ret->next = registry_next_page(got.link);
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

/* A list is asked of one endpoint, all pages of the one that gave the first. */
struct referrers {
    struct registry *r;
    struct http_client *c;
    uint64_t avoid; /* endpoints that are not asked, a bit each */
    bool begun;     /* the first page is there */
};

static uint64_t endpoint_bit(const struct registry *r, const struct endpoint *ep)
{
    return (uint64_t)1 << (ep - r->endpoints);
}

/* Whether anybody who is not to be avoided may be asked for lists. */
static bool somebody_is_left(const struct referrers *q)
{
    for (size_t i = 0; i < q->r->n; i++)
        if (!(q->avoid & (uint64_t)1 << i) &&
            endpoint_fits(&q->r->endpoints[i], REGISTRY_RESOLVE, "referrers"))
            return true;
    return false;
}

/* What one endpoint says. 1: a list, 0: it has no such API; *ret_from is who said it, or NULL. */
static int referrers_ask(const struct referrers *q, const char *what, struct json_value **ret_index,
                         char **ret_next, struct endpoint **ret_from, struct error *e)
{
    CLEANUP(registry_got_done) struct registry_got got = {0};
    AUTO(error) struct error own = ERROR_INIT;
    AUTO(buf) struct buf text = BUF_INIT(REFERRERS_MAX);
    const struct registry_get get = {.kind = "referrers",
                                     .what = what,
                                     .accept = OCI_MT_INDEX,
                                     .want_size = -1,
                                     .timeout = DOCUMENT_TIMEOUT,
                                     .avoid = q->avoid,
                                     .sink = referrers_sink,
                                     .sink_data = &text};

    int rc = registry_read(q->r, q->c, &get, &got, &own);
    *ret_from = rc >= 0 ? got.from : NULL;
    if (rc == -EFBIG && !own.message)
        return error_set(e, ERR_TOO_LARGE, "the list of referrers is larger than %zu bytes",
                         text.max);
    /* Registries without the API answer 404, and old ones whatever they do for odd paths. */
    if ((rc < 0 && (own.code == ERR_NOT_FOUND || own.code == ERR_INTERNAL)) ||
        (rc >= 0 && (!got.content_type || !str_has_prefix(got.content_type, OCI_MT_INDEX))))
        return 0;
    if (rc < 0) {
        error_move(e, &own);
        return rc;
    }
    if ((rc = json_value_parse(buf_str(&text), text.len, ret_index, e)) < 0) {
        error_add(e, "list of referrers");
        return rc;
    }
    *ret_next = registry_next_page(got.link);
    return 1;
}

/*
 * One page of the referrers API. 1: it is there, 0: this registry has no such API. What a mirror
 * never heard of it says that nothing refers to, as the specification wants it, so that is no
 * answer: the next one is asked, as for an image that a mirror has not.
 */
static int referrers_page(struct referrers *q, const char *what, struct json_value **ret_index,
                          char **ret_next, struct error *e)
{
    for (;;) {
        AUTOPTR(json_value) struct json_value *index = NULL;
        struct endpoint *from = NULL;
        int rc = referrers_ask(q, what, &index, ret_next, &from, e);
        bool empty = rc == 0 ||
                     (!*ret_next && json_value_len(json_value_get(index, "manifests")) == 0);
        if (rc >= 0 && !q->begun && empty && from && from->conf->mirror) {
            q->avoid |= endpoint_bit(q->r, from);
            if (somebody_is_left(q))
                continue;
        }
        if (rc > 0) {
            q->begun = true;
            q->avoid = ~endpoint_bit(q->r, from);
            *ret_index = take_ptr(index);
        }
        return rc;
    }
}

/* The descriptors of one list of them behind what is there, as JSON separated by commas. */
static int add_manifests(const struct json_value *index, const char *artifact_type, struct buf *out,
                         struct error *e)
{
    const struct json_value *list = json_value_get(index, "manifests");
    int r = 0;

    for (size_t i = 0; r >= 0 && i < json_value_len(list); i++) {
        const struct json_value *one = json_value_at(list, i);
        const char *type = json_value_str(json_value_get(one, "artifactType"));
        AUTO(buf) struct buf text = BUF_INIT(REFERRERS_MAX);
        /* Not every registry filters, and a tag's list is for all. */
        if (artifact_type && (!type || !STREQ(type, artifact_type)))
            continue;
        json_value_print(one, false, &text);
        r = buf_printf(out, "%s%s", out->len ? "," : "", buf_str(&text));
    }
    return r == -EFBIG ? error_set(e, ERR_TOO_LARGE,
                                   "the list of referrers is larger than %zu bytes", out->max)
                       : r;
}

static int add_tag(const struct buf *text, const char *artifact_type, struct buf *out,
                   struct error *e)
{
    AUTOPTR(json_value) struct json_value *index = NULL;
    int r = json_value_parse(buf_str(text), text->len, &index, e);

    if (r < 0) {
        error_add(e, "list of referrers");
        return r;
    }
    return add_manifests(index, artifact_type, out, e);
}

/* All pages of the API. 1: they are there, 0: this registry has no such API. */
static int referrers_api(struct registry *r, struct http_client *c, const char *digest,
                         const char *artifact_type, struct buf *out, struct error *e)
{
    AUTO(buf) struct buf what = BUF_INIT(16u * 1024);
    struct referrers q = {.r = r, .c = c};
    int rc = 1;

    (void)buf_puts(&what, digest);
    if (artifact_type) {
        (void)buf_puts(&what, "?artifactType=");
        url_encode(&what, artifact_type);
    }
    for (unsigned pages = 0; rc > 0; pages++) {
        AUTOPTR(json_value) struct json_value *page = NULL;
        AUTOFREE char *next = NULL;
        rc = referrers_page(&q, buf_str(&what), &page, &next, e);
        if (rc == 0 && pages > 0)
            rc = error_set(e, ERR_INTERNAL, "registry %s broke off its list of referrers",
                           r->start->host);
        if (rc > 0 && (rc = add_manifests(page, artifact_type, out, e)) >= 0)
            rc = 1;
        if (rc <= 0 || !next)
            break;
        if (pages >= REGISTRY_PAGES_MAX)
            return error_set(e, ERR_TOO_LARGE, "registry %s has a list of referrers without end",
                             r->start->host);
        buf_clear(&what);
        (void)buf_printf(&what, "%s?%s", digest, next);
    }
    return rc;
}

int registry_referrers(struct registry *r, struct http_client *c, const char *digest,
                       const char *artifact_type, struct registry_document *ret, struct error *e)
{
    CLEANUP(registry_document_done) struct registry_document by_tag = {0};
    AUTO(buf) struct buf list = BUF_INIT(REFERRERS_MAX);
    AUTO(error) struct error own = ERROR_INIT;
    AUTOFREE char *tag = NULL;

    int rc = referrers_api(r, c, digest, artifact_type, &list, e);
    if (rc == 0) {
        /* "sha256:…" → tag "sha256-…", as the distribution specification says for such registries. */
        tag = xstrdup(digest);
        tag[strcspn(tag, ":")] = '-';
        rc = registry_document(r, c, "manifests", tag, "list of referrers", OCI_MT_INDEX, -1,
                               REFERRERS_MAX, &by_tag, &own);
        if (rc >= 0)
            rc = add_tag(&by_tag.text, artifact_type, &list, e);
        else if (own.code == ERR_NOT_FOUND && by_tag.status != 403)
            rc = 0; /* nothing refers to it; but who may not ask does not know that */
        else
            error_move(e, &own);
    }
    if (rc < 0)
        return rc;
    buf_done(&ret->text);
    ret->text = (struct buf)BUF_INIT(REFERRERS_MAX + 1024);
    str_replace(&ret->type, OCI_MT_INDEX);
    return buf_printf(&ret->text,
                      "{\"schemaVersion\":2,\"mediaType\":\"" OCI_MT_INDEX "\",\"manifests\":[%s]}",
                      buf_str(&list));
}
