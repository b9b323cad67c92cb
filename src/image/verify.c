/* SPDX-License-Identifier: Apache-2.0 */
/* Signature policy of a pull: see verify.h. */
#include "image/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/gpgv.h"
#include "image/lookaside.h"
#include "image/op-priv.h"
#include "oci/digest.h"

#define JSON_MAX    (96u * 1024) /* it goes with the start message */
#define PAYLOAD_MAX (64u * 1024)

void verify_done(struct verify *v)
{
    policy_done(&v->policy);
    free(v->json);
    free(v->where);
    free(v->folder);
    memset(v, 0, sizeof(*v));
}

/* Keys as PEM texts; the worker reads them. */
static int pem_keys(char *const *paths, char *const *data, char ***ret, struct error *e)
{
    for (size_t i = 0; paths && paths[i]; i++) {
        AUTOFREE char *text = NULL;
        int r = fs_read_file(AT_FDCWD, paths[i], JSON_MAX, &text, NULL);
        if (r < 0)
            return error_set_errno(e, r, "cannot read the key %s", paths[i]);
        if (!strstr(text, "-----BEGIN PUBLIC KEY-----"))
            return error_set(e, ERR_INVALID, "%s is no public key in PEM form", paths[i]);
        strv_push(ret, text);
    }
    for (size_t i = 0; data && data[i]; i++) {
        AUTO(buf) struct buf b = BUF_INIT(JSON_MAX);
        if (base64_decode(data[i], strlen(data[i]), &b) < 0)
            return error_set(e, ERR_INVALID, "keyData is not base64");
        strv_push(ret, buf_str(&b));
    }
    return 0;
}

static int to_json(const struct image_store *s, const struct oci_reference *image, struct verify *v,
                   struct error *e)
{
    CLEANUP(lookaside_done) struct lookaside place = {0};
    AUTOPTR(strv) char **scopes = policy_scopes(image);
    AUTO(buf) struct buf out = BUF_INIT(JSON_MAX);
    const struct policy_requirement *q = v->policy.items.items;
    struct policy_check check = {.wanted = xstrdup(scopes[0])};
    int r = lookaside_find(s->registries_d, image, &place, e);

    check.lookaside = xstrdup(place.url ? place.url : LOOKASIDE_DEFAULT);
    check.attachments = place.attachments;
    if (str_has_prefix(check.lookaside, "file:///")) {
        v->folder = xasprintf("%s/%s", check.lookaside + 7, image->path);
    } else if (!str_has_prefix(check.lookaside, "http://") &&
               !str_has_prefix(check.lookaside, "https://")) {
        r = r < 0 ? r
                  : error_set(e, ERR_INVALID,
                              "lookaside \"%.200s\" is neither file:///, http:// nor https://",
                              check.lookaside);
    }
    for (size_t i = 0; r >= 0 && i < v->policy.items.len; i++) {
        struct policy_check_item *one = json_list_add(&check.items, sizeof(*one));
        one->type = xstrdup(policy_type_name(q[i].type));
        one->identity = xstrdup(policy_identity_name(q[i].identity.kind));
        one->reference = xstrdup_or_null(q[i].identity.reference);
        one->prefix = xstrdup_or_null(q[i].identity.prefix);
        one->signed_prefix = xstrdup_or_null(q[i].identity.signed_prefix);
        AUTO(buf) struct buf gpg = BUF_INIT(GPGV_KEYS_MAX);
        if (q[i].type == POLICY_GPG) /* read again when there is a signature to check by them */
            r = gpgv_load_keys(&q[i], &gpg, e);
        if (r < 0 || q[i].type != POLICY_SIGSTORE)
            continue;
        r = pem_keys(q[i].key_paths, q[i].key_data, &one->keys, e);
        if (r >= 0)
            r = pem_keys(q[i].log_paths, q[i].log_data, &one->logs, e);
    }
    if (r >= 0 && json_print(&policy_check_json, &check, &out) < 0)
        r = error_set(e, ERR_INVALID, "its keys for one image are larger than %u bytes", JSON_MAX);
    if (r >= 0)
        v->json = buf_take(&out);
    json_free(&policy_check_json, &check);
    return r;
}

/* The policy's text; NULL when there is none and none was named. */
static int read_policy(const struct image_store *s, const char **ret_path, char **ret, size_t *len,
                       struct error *e)
{
    const char *path = s->signature_policy ? s->signature_policy : POLICY_FILE;
    int r = fs_read_file(AT_FDCWD, path, POLICY_MAX, ret, len);

    *ret_path = path;
    if (r == -ENOENT && !s->signature_policy) {
        *ret = NULL;
        return 0;
    }
    return r < 0 ? error_set_errno(e, r, "cannot read the signature policy %s", path) : 0;
}

/* What cannot be read lets nothing in. */
static int broken_policy(const char *path, int r, struct error *e)
{
    error_add(e, "signature policy %s (no image can be had until it is mended)", path);
    if (e)
        e->code = ERR_FORBIDDEN;
    return r;
}

int verify_archive(const struct image_store *s, enum policy_archive archive, char **ret_why,
                   struct error *e)
{
    CLEANUP(policy_done) struct policy p = {0};
    AUTOFREE char *text = NULL;
    const char *path = NULL, *name = policy_archive_name(archive);
    size_t len = 0;
    int r = read_policy(s, &path, &text, &len, e);

    if (r >= 0 && !text)
        return 1;
    if (r < 0) {
        if (e)
            e->code = ERR_FORBIDDEN;
        return r;
    }
    r = policy_choose_archive(text, len, archive, &p, e);
    if (r < 0)
        return broken_policy(path, r, e);
    const struct policy_requirement *q = p.items.items;
    for (size_t i = 0; i < p.items.len; i++)
        if (q[i].type != POLICY_ACCEPT) {
            *ret_why = xasprintf("%s, %s: %s%s", path, p.scope ? name : "default",
                                 policy_type_name(q[i].type),
                                 q[i].type == POLICY_REJECT ? ""
                                                            : ", and archives have no signatures");
            return 0;
        }
    return 1;
}

int verify_prepare(const struct image_store *s, const struct oci_reference *image,
                   struct verify *ret, struct error *e)
{
    CLEANUP(verify_done) struct verify v = {0};
    AUTOFREE char *text = NULL, *name = oci_reference_familiar(image);
    const char *path = NULL;
    bool all_accepted = true;
    size_t len = 0;
    int r = read_policy(s, &path, &text, &len, e);

    if (r >= 0 && !text)
        return 0;
    if (r < 0) {
        if (e)
            e->code = ERR_FORBIDDEN;
        return r;
    }
    r = policy_choose(text, len, image, &v.policy, e);
    if (r < 0)
        return broken_policy(path, r, e);
    const char *scope = v.policy.scope;
    v.where = !scope ? xasprintf("%s, default", path)
                     : xasprintf("%s, docker scope \"%s\"", path, scope);
    const struct policy_requirement *q = v.policy.items.items;
    for (size_t i = 0; i < v.policy.items.len; i++) {
        if (q[i].type == POLICY_REJECT)
            return error_set(e, ERR_FORBIDDEN,
                             "%s is refused by the signature policy (%s: reject): allow it there "
                             "(pouch trust set) or pull another image",
                             name, v.where);
        if (q[i].unsupported)
            return error_set(e, ERR_FORBIDDEN,
                             "%s is refused by the signature policy (%s): it asks for %s, which "
                             "Pouch cannot check; sign with a key and ask for that",
                             name, v.where, q[i].unsupported);
        all_accepted = all_accepted && q[i].type == POLICY_ACCEPT;
    }
    if (!all_accepted && (r = to_json(s, image, &v, e)) < 0) {
        error_add(e, "%s is refused by the signature policy (%s)", name, v.where);
        if (e)
            e->code = ERR_FORBIDDEN;
        return r;
    }
    *ret = v;
    memset(&v, 0, sizeof(v));
    return 0;
}

int verify_on_lookaside(struct image_op *op, const struct worker_msg *m)
{
    const struct verify *v = op->params->verify;
    struct worker_msg reply = {.type = (char *)"lookaside", .id = m->id};

    if (!v || !v->folder || !m->digest || !digest_is_valid(m->digest) || m->index == 0)
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: lookaside");
    AUTOFREE char *path = xasprintf("%s@%s=%s/signature-%llu", v->folder,
                                    digest_algorithm(m->digest) == DIGEST_SHA512 ? "sha512"
                                                                                 : "sha256",
                                    digest_hex(m->digest), (unsigned long long)m->index);
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
        return error_set_errno(op->e, errno, "cannot open signature %s", path);
    return op_reply(op, &reply, &fd, fd >= 0 ? 1 : 0);
}

int verify_on_gpgv(struct image_op *op, const struct worker_msg *m)
{
    const struct verify *v = op->params->verify;
    struct op_file *f = op_file_find(op, m->file);
    const struct policy_requirement *q = v ? v->policy.items.items : NULL;
    AUTO(buf) struct buf payload = BUF_INIT(PAYLOAD_MAX);
    AUTOFREE char *reason = NULL;

    if (!q || m->index >= v->policy.items.len || q[m->index].type != POLICY_GPG || !f || !f->name)
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: gpgv");
    AUTOFD int fd = openat(op->store->tmp_fd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set_errno(op->e, errno, "cannot open a signature");
    int r = gpgv_verify(&q[m->index], fd, op->store->worker_uid, op->store->worker_gid, &payload,
                        &reason, op->e);
    if (r < 0)
        return r;
    if (r > 0 && strlen(buf_str(&payload)) != payload.len) { /* a NUL: no JSON */
        r = 0;
        reason = xstrdup("what was signed is malformed");
    }
    struct worker_msg reply = {.type = (char *)"gpgv",
                               .id = m->id,
                               .state = (char *)(r > 0 ? "good" : "bad"),
                               .message = r > 0 ? (char *)buf_str(&payload) : reason};
    (void)unlinkat(op->store->tmp_fd, f->name, 0);
    free(take_ptr(f->name));
    return op_reply(op, &reply, NULL, 0);
}
