/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed images: finds the signatures of a manifest and checks them against what the policy asks
 * for, before anything of the image is kept. The manifest is the very document that the pull goes
 * on with, so that nothing can be put in its place afterwards.
 *
 * GnuPG signatures come from a lookaside store (files or a web server) and are checked by gpgv,
 * which pouchd starts. Sigstore signatures are in the registry, under the tag "sha256-HEX.sig" or as
 * referrers, and are checked here by OpenSSL.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/policy.h"
#include "image/worker/sigstore.h"
#include "image/worker/worker.h"

#define SIGNATURES_MAX     128
#define SIGNATURE_MAX      (1u << 20)
#define PAYLOAD_MAX        (1u << 20)
#define SIGSTORE_PAYLOAD   "application/vnd.dev.cosign.simplesigning.v1+json"
#define SIGSTORE_ARTIFACT  "application/vnd.dev.cosign.artifact.sig.v1+json"
#define SIGSTORE_SIGNATURE "dev.cosignproject.cosign/signature"
#define SIGSTORE_PROMISE   "dev.sigstore.cosign/bundle" /* Rekor's signed entry timestamp */
#define SIGSTORE_BUNDLE    "application/vnd.dev.sigstore.bundle"
#define LOOKASIDE_TIMEOUT  60 /* seconds */

struct checking {
    const struct policy_check *policy;
    const char *reference; /* for people */
    const char *digest;    /* of the manifest */
    struct registry *registry;
    struct http_client *client;
    struct json_list gpg; /* of struct buf: the signatures that were found */
    bool gpg_read;
    char *gpg_place;
};

/* Does what was signed say this image? `reason` gets why not. */
static bool payload_fits(const struct checking *c, const struct policy_check_item *item,
                         const char *type, const char *text, size_t len, char **reason)
{
    CLEANUP(policy_payload_done) struct policy_payload p = {0};
    struct policy_signed_identity identity;
    AUTO(error) struct error e = ERROR_INIT;

    policy_check_identity(item, &identity);
    free(*reason);
    *reason = NULL;
    if (policy_payload_parse(text, len, &p, &e) < 0)
        *reason = xasprintf("what was signed is malformed: %.200s", error_message(&e));
    else if (!STREQ(p.type, type))
        *reason = xasprintf("it is a \"%.60s\"", p.type);
    else if (!STREQ(p.digest, c->digest))
        *reason = xasprintf("it is for another manifest, %.80s", p.digest);
    else if (!policy_identity_matches(&identity, c->policy->wanted, p.reference))
        *reason = xasprintf("it is for \"%.200s\", which %s does not take for %s", p.reference,
                            item->identity, c->policy->wanted);
    return *reason == NULL;
}

/* --- GnuPG --------------------------------------------------------------------------------------------- */

static int append_sink(void *data, const void *bytes, size_t len)
{
    return buf_append(data, bytes, len);
}

/* One signature of a web server; 0 when it has none of this number. */
static int get_url(struct checking *c, const char *url, struct buf *out, struct error *e)
{
    const struct registry_plan *plan = c->registry->plan;
    const struct http_setup setup = {.insecure = str_has_prefix(url, "http://"),
                                     .http_proxy = plan->http_proxy,
                                     .https_proxy = plan->https_proxy,
                                     .no_proxy = plan->no_proxy,
                                     .stall_timeout = LOOKASIDE_TIMEOUT};
    const struct http_request req = {.url = url,
                                     .setup = &setup,
                                     .total_timeout = LOOKASIDE_TIMEOUT,
                                     .sink = append_sink,
                                     .sink_data = out};
    CLEANUP(http_response_done) struct http_response resp = {0};
    int r = http_perform(c->client, &req, &resp, e);

    if (r < 0 && resp.sink_status < 0)
        return error_set(e, ERR_TOO_LARGE, "signature %s is larger than %u bytes", url,
                         SIGNATURE_MAX);
    if (r < 0) {
        error_add(e, "cannot look for signatures of %s", c->reference);
        return r;
    }
    if (resp.status == 404)
        return 0;
    if (resp.status != 200)
        return error_set(e, ERR_UNAVAILABLE,
                         "cannot look for signatures of %s: %s is answered with %ld", c->reference,
                         url, resp.status);
    return 1;
}

/* One that is a file of this machine: only pouchd may be allowed to open it. */
static int get_file(struct checking *c, unsigned number, struct buf *out, struct error *e)
{
    struct worker_msg m = {.type = (char *)"lookaside",
                           .index = number,
                           .digest = (char *)c->digest};
    struct worker_msg reply = {0};
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;
    int r = conn_call(&m, &reply, fds, &nfds, e);

    worker_msg_done(&reply);
    if (r < 0 || nfds == 0)
        return r < 0 ? r : 0;
    AUTOFD int fd = fds[0];
    char *room = buf_reserve(out, SIGNATURE_MAX);
    ssize_t n = room ? fs_read_full(fd, room, SIGNATURE_MAX) : -EFBIG;
    if (n < 0)
        return error_set_errno(e, (int)n, "cannot read a signature of %s", c->reference);
    buf_commit(out, (size_t)n);
    return 1;
}

static int get_signature(struct checking *c, const char *url, unsigned number, struct buf *out,
                         struct error *e)
{
    return str_has_prefix(url, "file://") ? get_file(c, number, out, e) : get_url(c, url, out, e);
}

/* LOOKASIDE/path@sha256=HEX/signature-1, -2 … as long as there are some; the path is without host. */
static int read_gpg(struct checking *c, struct error *e)
{
    const char *base = c->policy->lookaside;
    AUTOFREE char *digest = xstrdup(c->digest);
    size_t n = base ? strlen(base) : 0;
    int r = 1;

    if (c->gpg_read || !base)
        return 0;
    c->gpg_read = true;
    while (n > 0 && base[n - 1] == '/')
        n--;
    digest[strcspn(digest, ":")] = '=';
    c->gpg_place = xasprintf("%.*s/%s@%s", (int)n, base, c->registry->start->repository, digest);
    for (unsigned i = 1; r > 0 && i <= SIGNATURES_MAX; i++) {
        AUTOFREE char *url = xasprintf("%s/signature-%u", c->gpg_place, i);
        struct buf b = BUF_INIT(SIGNATURE_MAX);
        r = get_signature(c, url, i, &b, e);
        if (r > 0)
            *(struct buf *)json_list_add(&c->gpg, sizeof(struct buf)) = b;
        else
            buf_done(&b);
    }
    return r;
}

/* Asks pouchd to have it checked by gpgv. 1 good: *ret_payload; 0: *ret_payload says why not. */
static int ask_gpgv(uint64_t requirement, const struct buf *signature, char **ret_payload,
                    struct error *e)
{
    struct worker_msg m = {.type = (char *)"gpgv", .index = requirement}, reply = {0};
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;
    AUTOFD int fd = -EBADF;
    int r = conn_open_file(&m.file, &fd, e);

    if (r < 0)
        return r;
    r = fs_write_all(fd, signature->data, signature->len);
    if (r < 0)
        return error_set_errno(e, r, "cannot write a signature");
    r = conn_call(&m, &reply, fds, &nfds, e);
    if (r >= 0) {
        r = reply.state && STREQ(reply.state, "good");
        *ret_payload = xstrdup(reply.message ? reply.message : "");
    }
    worker_msg_done(&reply);
    return r;
}

static int check_gpg(struct checking *c, uint64_t index, const struct policy_check_item *item,
                     char **reason, struct error *e)
{
    int r = read_gpg(c, e);
    const struct buf *signatures = c->gpg.items;

    if (r < 0)
        return r;
    if (c->gpg.len == 0) {
        *reason = xasprintf("no signature is at %s", c->gpg_place ? c->gpg_place : "any place");
        return 0;
    }
    for (size_t i = 0; i < c->gpg.len; i++) {
        AUTOFREE char *payload = NULL;
        r = ask_gpgv(index, &signatures[i], &payload, e);
        if (r < 0)
            return r;
        if (r == 0) {
            free(*reason);
            *reason = take_ptr(payload);
        } else if (payload_fits(c, item, POLICY_PAYLOAD_GPG, payload, strlen(payload), reason)) {
            return 1;
        }
    }
    return 0;
}

/* --- Sigstore ------------------------------------------------------------------------------------------- */

/* What one requirement asks for, and what was found out about it. */
struct sigstore {
    const struct policy_check_item *item;
    struct sigstore_keys keys, logs;
    char *reason; /* why the signature looked at last does not do */
};

/* By any of the keys that the logs, when they are asked for, know to have made it. */
static bool signed_by_key(struct sigstore *s, const struct oci_descriptor *layer,
                          const struct buf *signature, const struct buf *payload)
{
    const char *promise = json_map_get(&layer->annotations, SIGSTORE_PROMISE), *why = NULL;

    for (size_t i = 0; i < s->keys.n; i++) {
        if (!sigstore_verify(s->keys.keys[i], signature, buf_str(payload), payload->len))
            continue;
        why = s->logs.n == 0
                  ? NULL
                  : sigstore_logged(&s->logs, promise, s->keys.keys[i], signature, payload);
        if (!why)
            return true;
    }
    str_replace(&s->reason, why ? why : "it was made by another key");
    return false;
}

/* One layer of a signature manifest: the payload is its blob, the signature an annotation. */
static int check_sigstore_layer(struct checking *c, struct sigstore *s,
                                const struct oci_descriptor *layer, struct error *e)
{
    CLEANUP(registry_document_done) struct registry_document payload = {0};
    AUTO(buf) struct buf signature = BUF_INIT(SIGNATURE_MAX);
    const char *text = json_map_get(&layer->annotations, SIGSTORE_SIGNATURE);

    if (!layer->media_type || !STREQ(layer->media_type, SIGSTORE_PAYLOAD) || !text)
        return 0;
    if (base64_decode(text, strlen(text), &signature) < 0) {
        str_replace(&s->reason, "the signature is not base64");
        return 0;
    }
    int r = registry_document(c->registry, c->client, "blobs", layer->digest, "signature's payload",
                              NULL, (int64_t)layer->size, PAYLOAD_MAX, &payload, e);
    if (r < 0)
        return r;
    return signed_by_key(s, layer, &signature, &payload.text) &&
           payload_fits(c, s->item, POLICY_PAYLOAD_COSIGN, buf_str(&payload.text), payload.text.len,
                        &s->reason);
}

static int check_sigstore_manifest(struct checking *c, struct sigstore *s, const struct buf *text,
                                   struct error *e)
{
    CLEANUP(oci_manifest_done) struct oci_manifest m = {0};
    AUTO(error) struct error own = ERROR_INIT;

    if (oci_manifest_parse(buf_str(text), text->len, &m, &own) < 0) {
        free(s->reason);
        s->reason = xasprintf("the signatures' manifest is malformed: %.200s", error_message(&own));
        return 0;
    }
    const struct oci_descriptor *layers = m.layers.items;
    for (size_t i = 0; i < m.layers.len && i < SIGNATURES_MAX; i++) {
        int r = check_sigstore_layer(c, s, &layers[i], e);
        if (r != 0)
            return r;
    }
    return 0;
}

/* The tag that cosign and skopeo write. */
static int check_sigstore_tag(struct checking *c, struct sigstore *s, struct error *e)
{
    CLEANUP(registry_document_done) struct registry_document d = {0};
    AUTO(error) struct error own = ERROR_INIT;
    AUTOFREE char *tag = xasprintf("%s.sig", c->digest);

    tag[strcspn(tag, ":")] = '-';
    int r = registry_document(c->registry, c->client, "manifests", tag, "signatures' manifest",
                              OCI_MT_MANIFEST, -1, OCI_MANIFEST_MAX, &d, &own);
    if (r < 0 && own.code == ERR_NOT_FOUND)
        return 0;
    if (r < 0) {
        error_move(e, &own);
        return r;
    }
    return check_sigstore_manifest(c, s, &d.text, e);
}

/*
 * What refers to the manifest. A bundle, cosign's form since version 3, says of what it signs the
 * digest alone and no name; every signedIdentity of a policy asks for a name, so it cannot meet any:
 * who can write to the registry could take the bundle of another image of the same signer.
 */
static int check_sigstore_referrers(struct checking *c, struct sigstore *s, struct error *e)
{
    CLEANUP(registry_document_done) struct registry_document d = {0};
    AUTOPTR(json_value) struct json_value *index = NULL;
    int r = registry_referrers(c->registry, c->client, c->digest, NULL, &d, e);

    if (r < 0 || json_value_parse(buf_str(&d.text), d.text.len, &index, NULL) < 0)
        return r < 0 ? r : 0;
    const struct json_value *list = json_value_get(index, "manifests");
    for (size_t i = 0, n = 0; i < json_value_len(list) && n < SIGNATURES_MAX; i++) {
        CLEANUP(registry_document_done) struct registry_document one = {0};
        const struct json_value *entry = json_value_at(list, i);
        const char *digest = json_value_str(json_value_get(entry, "digest"));
        const char *type = json_value_str(json_value_get(entry, "artifactType"));
        if (type && str_has_prefix(type, SIGSTORE_BUNDLE) && !s->reason)
            s->reason = xstrdup("it is signed by a sigstore bundle only (cosign 3), which does not "
                                "say what image it is for: sign with cosign sign "
                                "--new-bundle-format=false");
        if (!digest_is_valid(digest) || (type && !STREQ(type, SIGSTORE_ARTIFACT)))
            continue;
        n++;
        r = registry_document(c->registry, c->client, "manifests", digest, "signatures' manifest",
                              OCI_MT_MANIFEST, -1, OCI_MANIFEST_MAX, &one, e);
        if (r >= 0)
            r = check_sigstore_manifest(c, s, &one.text, e);
        if (r != 0)
            return r;
    }
    return 0;
}

static int check_sigstore(struct checking *c, const struct policy_check_item *item, char **reason,
                          struct error *e)
{
    struct sigstore s = {.item = item};

    if (!c->policy->attachments) {
        *reason = xstrdup("no signature is looked for in the registry (use-sigstore-attachments: "
                          "true in /etc/containers/registries.d allows it)");
        return 0;
    }
    AUTO(error) struct error bad_key = ERROR_INIT;
    int r = sigstore_keys_read(item->keys, false, &s.keys, &bad_key);
    if (r >= 0 && item->logs)
        r = sigstore_keys_read(item->logs, true, &s.logs, &bad_key);
    if (r < 0) {
        sigstore_keys_done(&s.keys);
        *reason = xstrdup(error_message(&bad_key));
        return 0;
    }
    r = check_sigstore_tag(c, &s, e);
    if (r == 0)
        r = check_sigstore_referrers(c, &s, e);
    if (r == 0)
        *reason = s.reason ? take_ptr(s.reason) : xstrdup("the registry has no signature of it");
    free(s.reason);
    sigstore_keys_done(&s.keys);
    sigstore_keys_done(&s.logs);
    return r;
}

/* --- All requirements ------------------------------------------------------------------------------------- */

int signatures_check(const char *policy, const char *reference, struct registry *registry,
                     struct http_client *client, const char *manifest_digest, struct error *e)
{
    struct policy_check check = {0};
    int r = json_parse(&policy_check_json, policy, strlen(policy), &check, e);

    if (r < 0)
        return r;
    struct checking c = {.policy = &check,
                         .reference = reference,
                         .digest = manifest_digest,
                         .registry = registry,
                         .client = client};
    const struct policy_check_item *items = check.items.items;
    for (size_t i = 0; r >= 0 && i < check.items.len; i++) {
        AUTOFREE char *reason = NULL;
        const char *type = items[i].type ? items[i].type : "";
        if (STREQ(type, policy_type_name(POLICY_ACCEPT)))
            continue;
        if (STREQ(type, policy_type_name(POLICY_GPG)))
            r = check_gpg(&c, i, &items[i], &reason, e);
        else if (STREQ(type, policy_type_name(POLICY_SIGSTORE)))
            r = check_sigstore(&c, &items[i], &reason, e);
        else
            r = 0;
        if (r == 0)
            r = error_set(e, ERR_FORBIDDEN,
                          "requirement %s is not met: %s (sign the image, or change what the "
                          "policy asks for: pouch trust)",
                          type, reason ? reason : "it is not known");
    }
    struct buf *gpg = c.gpg.items;
    for (size_t i = 0; i < c.gpg.len; i++)
        buf_done(&gpg[i]);
    free(gpg);
    free(c.gpg_place);
    json_free(&policy_check_json, &check);
    return r < 0 ? r : 0;
}
