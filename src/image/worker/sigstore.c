/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, signatures, entries of transparency logs: see sigstore.h. */
#include "image/worker/sigstore.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/json.h"
#include "base/str.h"

#define PROMISE_MAX (256u * 1024)
#define EXACT_MAX   (INT64_C(1) << 53) /* numbers that JSON keeps everywhere */

/* --- Keys and signatures -------------------------------------------------------------------------------- */

void sigstore_keys_done(struct sigstore_keys *k)
{
    for (size_t i = 0; i < k->n; i++)
        EVP_PKEY_free(k->keys[i]);
    k->n = 0;
}

static EVP_PKEY *read_key(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)strlen(pem));
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return key;
}

int sigstore_keys_read(char *const *pem, bool ecdsa, struct sigstore_keys *ret, struct error *e)
{
    struct sigstore_keys k = {.n = 0};

    for (size_t i = 0; pem && pem[i]; i++) {
        EVP_PKEY *key = k.n < SIGSTORE_KEYS_MAX ? read_key(pem[i]) : NULL;
        int kind = key ? EVP_PKEY_get_base_id(key) : 0;
        bool known = kind == EVP_PKEY_EC ||
                     (!ecdsa && (kind == EVP_PKEY_RSA || kind == EVP_PKEY_ED25519));
        if (key)
            k.keys[k.n++] = key;
        if (known)
            continue;
        sigstore_keys_done(&k);
        return error_set(e, ERR_INVALID, "the policy's key number %zu is no public key %s", i + 1,
                         ecdsa ? "of kind ECDSA" : "(PEM: ECDSA, RSA or Ed25519)");
    }
    if (k.n == 0)
        return error_set(e, ERR_INVALID, "the policy names no key");
    *ret = k;
    return 0;
}

bool sigstore_verify(EVP_PKEY *key, const struct buf *signature, const void *data, size_t len)
{
    /* Ed25519 hashes by itself; the others are signed over SHA-256. */
    const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 &&
                EVP_DigestVerify(ctx, (const unsigned char *)buf_str(signature), signature->len,
                                 data, len) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

/* --- A log's promise --------------------------------------------------------------------------------------- */

void sigstore_promise_done(struct sigstore_promise *p)
{
    buf_done(&p->text);
    buf_done(&p->signature);
    buf_done(&p->body);
}

/* A text that stands in the canonical form as it is. */
static const char *plain_text(const struct json_value *v)
{
    const char *s = json_value_str(v);
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

    return s && *s && !s[strspn(s, alphabet)] && strlen(s) == json_value_len(v) ? s : NULL;
}

static bool plain_number(const struct json_value *v)
{
    return json_value_kind(v) == JV_INT && json_value_int(v) >= 0 && json_value_int(v) <= EXACT_MAX;
}

int sigstore_promise_parse(const char *json, size_t len, struct sigstore_promise *ret,
                           struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    struct sigstore_promise p = {BUF_INIT(PROMISE_MAX), BUF_INIT(PROMISE_MAX),
                                 BUF_INIT(PROMISE_MAX)};
    int r = json_value_parse(json, len, &v, e);

    if (r < 0)
        return r;
    const struct json_value *payload = json_value_get(v, "Payload");
    const char *signature = plain_text(json_value_get(v, "SignedEntryTimestamp"));
    const char *body = plain_text(json_value_get(payload, "body"));
    const char *log = plain_text(json_value_get(payload, "logID"));
    const struct json_value *time = json_value_get(payload, "integratedTime");
    const struct json_value *index = json_value_get(payload, "logIndex");
    /* Nothing else may be there: it would be part of what was signed. */
    if (!signature || !body || !log || !plain_number(time) || !plain_number(index) ||
        json_value_len(v) != 2 || json_value_len(payload) != 4)
        return error_set(e, ERR_INVALID, "the log's promise is malformed");
    if (buf_printf(&p.text,
                   "{\"body\":\"%s\",\"integratedTime\":%lld,\"logID\":\"%s\",\"logIndex\":%lld}",
                   body, (long long)json_value_int(time), log,
                   (long long)json_value_int(index)) < 0 ||
        base64_decode(signature, strlen(signature), &p.signature) < 0 ||
        base64_decode(body, strlen(body), &p.body) < 0) {
        sigstore_promise_done(&p);
        return error_set(e, ERR_INVALID, "the log's promise is malformed");
    }
    *ret = p;
    return 0;
}

/* Base64 of `text` gives exactly `want`. */
static bool decodes_to(const char *text, const struct buf *want)
{
    AUTO(buf) struct buf b = BUF_INIT(PROMISE_MAX);

    return text && base64_decode(text, strlen(text), &b) >= 0 && b.len == want->len &&
           memcmp(buf_str(&b), buf_str(want), b.len) == 0;
}

/* Base64 of a PEM block with exactly `want` in it, and nothing behind it. */
static bool is_pem_of(const char *text, const struct buf *want)
{
    AUTO(buf) struct buf b = BUF_INIT(PROMISE_MAX);
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long len = 0;
    bool same = false;

    if (!text || base64_decode(text, strlen(text), &b) < 0)
        return false;
    BIO *bio = BIO_new_mem_buf(buf_str(&b), (int)b.len);
    if (bio && PEM_read_bio(bio, &name, &header, &data, &len) == 1) {
        same = len >= 0 && (size_t)len == want->len &&
               memcmp(data, buf_str(want), want->len) == 0 && BIO_pending(bio) == 0;
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    BIO_free(bio);
    return same;
}

static bool is_text(const struct json_value *v, const char *want)
{
    const char *s = json_value_str(v);

    return s && STREQ(s, want);
}

const char *sigstore_entry_reason(const struct buf *body, const struct buf *key,
                                  const struct buf *signature, const unsigned char sha256[32])
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    char hex[2 * SHA256_DIGEST_LENGTH + 1];

    if (json_value_parse(buf_str(body), body->len, &v, NULL) < 0)
        return "the log's entry is malformed";
    const struct json_value *spec = json_value_get(v, "spec");
    const struct json_value *hash = json_value_get(json_value_get(spec, "data"), "hash");
    const struct json_value *sig = json_value_get(spec, "signature");
    const struct json_value *pem = json_value_get(json_value_get(sig, "publicKey"), "content");
    if (!is_text(json_value_get(v, "kind"), "hashedrekord") ||
        !is_text(json_value_get(v, "apiVersion"), "0.0.1"))
        return "the log's entry is of another kind than hashedrekord 0.0.1";
    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", sha256[i]);
    if (!is_text(json_value_get(hash, "algorithm"), "sha256") ||
        !is_text(json_value_get(hash, "value"), hex))
        return "the log's entry is about something else that was signed";
    if (!decodes_to(json_value_str(json_value_get(sig, "content")), signature))
        return "the log's entry is about another signature";
    if (!is_pem_of(json_value_str(pem), key))
        return "the log's entry is about another key";
    return NULL;
}

const char *sigstore_logged(const struct sigstore_keys *logs, const char *promise, EVP_PKEY *key,
                            const struct buf *signature, const struct buf *payload)
{
    struct sigstore_promise p = {0};
    AUTO(buf) struct buf der = BUF_INIT(PROMISE_MAX);
    unsigned char sha256[SHA256_DIGEST_LENGTH], *bytes = NULL;
    bool signed_by_log = false;

    if (!promise)
        return "no promise of a transparency log (Rekor) is with it";
    if (sigstore_promise_parse(promise, strlen(promise), &p, NULL) < 0)
        return "the log's promise is malformed";
    for (size_t i = 0; i < logs->n && !signed_by_log; i++)
        signed_by_log = sigstore_verify(logs->keys[i], &p.signature, buf_str(&p.text), p.text.len);
    const char *reason = signed_by_log ? NULL : "the promise is of another transparency log";
    int len = reason ? 0 : i2d_PUBKEY(key, &bytes);
    if (!reason && (len <= 0 || buf_append(&der, bytes, (size_t)len) < 0))
        reason = "the key cannot be compared";
    OPENSSL_free(bytes);
    (void)SHA256((const unsigned char *)buf_str(payload), payload->len, sha256);
    if (!reason)
        reason = sigstore_entry_reason(&p.body, &der, signature, sha256);
    sigstore_promise_done(&p);
    return reason;
}
