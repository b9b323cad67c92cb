/* SPDX-License-Identifier: Apache-2.0 */
/* Sigstore's keys and signatures, and what a transparency log must have promised to be believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "image/worker/sigstore.h"

static char *pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;

    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    long len = BIO_get_mem_data(bio, &data);
    char *text = xstrndup(data, (size_t)len);
    BIO_free(bio);
    return text;
}

static void sign(EVP_PKEY *key, const void *data, size_t len, struct buf *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    unsigned char bytes[1024];
    size_t n = sizeof(bytes);

    assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, bytes, &n, data, len), 1);
    assert_int_equal(buf_append(out, bytes, n), 0);
    EVP_MD_CTX_free(ctx);
}

static char *text64(const void *data, size_t len)
{
    struct buf b = BUF_INIT(65536);

    assert_int_equal(base64_encode(data, len, BASE64_STANDARD, &b), 0);
    return buf_take(&b);
}

static void test_keys(void **state)
{
    EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_RSA_gen(2048),
                        EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    char *pem[ARRAY_SIZE(keys) + 1] = {NULL};
    struct sigstore_keys k;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        pem[i] = pem_of(keys[i]);
    assert_int_equal(sigstore_keys_read(pem, false, &k, NULL), 0);
    assert_int_equal(k.n, ARRAY_SIZE(keys));
    for (size_t i = 0; i < k.n; i++) {
        AUTO(buf) struct buf s = BUF_INIT(4096);
        sign(keys[i], "payload", 7, &s);
        for (size_t j = 0; j < k.n; j++)
            assert_int_equal(sigstore_verify(k.keys[j], &s, "payload", 7), i == j);
        assert_false(sigstore_verify(k.keys[i], &s, "payloaD", 7));
        s.data[s.len / 2] ^= 1;
        assert_false(sigstore_verify(k.keys[i], &s, "payload", 7));
    }
    sigstore_keys_done(&k);
    /* A log's key is ECDSA; one text that is no key spoils all. */
    assert_int_not_equal(sigstore_keys_read(pem, true, &k, NULL), 0);
    char *broken[] = {pem[0],
                      (char *)"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", NULL};
    assert_int_not_equal(sigstore_keys_read(broken, false, &k, NULL), 0);
    char *none[] = {NULL};
    assert_int_not_equal(sigstore_keys_read(none, false, &k, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        EVP_PKEY_free(keys[i]);
        free(pem[i]);
    }
}

/* What a log says, with one part changed. */
struct lie {
    const char *kind, *payload, *tail, *promise_format;
    bool other_key, other_signature, unsigned_time;
};

static char *promise(EVP_PKEY *log, EVP_PKEY *key, const struct buf *signature, const struct lie *l)
{
    unsigned char sha256[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    AUTOFREE char *pem = pem_of(l->other_key ? log : key);
    AUTOFREE char *key64 = NULL, *sig64 = NULL, *body = NULL, *body64 = NULL, *text = NULL;
    AUTOFREE char *promised64 = NULL, *with_tail = xasprintf("%s%s", pem, l->tail ? l->tail : "");
    AUTO(buf) struct buf promised = BUF_INIT(4096);
    const char *payload = l->payload ? l->payload : "payload";

    (void)SHA256((const unsigned char *)payload, strlen(payload), sha256);
    for (size_t i = 0; i < sizeof(sha256); i++)
        snprintf(hex + 2 * i, 3, "%02x", sha256[i]);
    key64 = text64(with_tail, strlen(with_tail));
    sig64 = text64(signature->data, signature->len - l->other_signature);
    body =
        xasprintf("{\"apiVersion\":\"0.0.1\",\"kind\":\"%s\",\"spec\":{\"data\":{\"hash\":{"
                  "\"algorithm\":\"sha256\",\"value\":\"%s\"}},\"signature\":{\"content\":\"%s\","
                  "\"publicKey\":{\"content\":\"%s\"}}}}",
                  l->kind ? l->kind : "hashedrekord", hex, sig64, key64);
    body64 = text64(body, strlen(body));
    text = xasprintf("{\"body\":\"%s\",\"integratedTime\":12,\"logID\":\"ab12\",\"logIndex\":7}",
                     body64);
    sign(log, text, strlen(text), &promised);
    promised64 = text64(promised.data, promised.len);
    /* The order of members is anybody's. */
    return xasprintf("{\"Payload\":{\"logIndex\":7,\"logID\":\"ab12\",\"integratedTime\":%d%s,"
                     "\"body\":\"%s\"},\"SignedEntryTimestamp\":\"%s\"}",
                     l->unsigned_time ? 13 : 12, l->promise_format ? l->promise_format : "", body64,
                     promised64);
}

static void test_logged(void **state)
{
    static const struct {
        struct lie lie;
        const char *reason;
    } table[] = {
        {{.kind = NULL}, NULL},
        {{.kind = "rekord"}, "another kind"},
        {{.payload = "other"}, "something else"},
        {{.other_signature = true}, "another signature"},
        {{.other_key = true}, "another key"},
        {{.tail = "x"}, "another key"},
        {{.unsigned_time = true}, "another transparency log"},
        {{.promise_format = ".5"}, "malformed"},
        {{.promise_format = ",\"more\":1"}, "malformed"},
    };
    EVP_PKEY *key = EVP_EC_gen("P-256"), *log = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    AUTOFREE char *pem_log = pem_of(log), *pem_other = pem_of(other);
    char *both[] = {pem_other, pem_log, NULL}, *wrong[] = {pem_other, NULL};
    AUTO(buf) struct buf signature = BUF_INIT(4096), payload = BUF_INIT(64);
    struct sigstore_keys logs, strangers;

    assert_int_equal(sigstore_keys_read(both, true, &logs, NULL), 0);
    assert_int_equal(sigstore_keys_read(wrong, true, &strangers, NULL), 0);
    assert_int_equal(buf_puts(&payload, "payload"), 0);
    sign(key, "payload", 7, &signature);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        AUTOFREE char *p = promise(log, key, &signature, &table[i].lie);
        const char *reason = sigstore_logged(&logs, p, key, &signature, &payload);
        if (!table[i].reason)
            assert_null(reason);
        else
            assert_true(reason && strstr(reason, table[i].reason));
        assert_non_null(sigstore_logged(&strangers, p, key, &signature, &payload));
    }
    assert_non_null(sigstore_logged(&logs, NULL, key, &signature, &payload));
    for (size_t i = 0; i < 4; i++) {
        static const char *const bad[] = {"", "{}", "[]",
                                          "{\"Payload\":{},\"SignedEntryTimestamp\":\"\"}"};
        assert_non_null(sigstore_logged(&logs, bad[i], key, &signature, &payload));
    }
    sigstore_keys_done(&logs);
    sigstore_keys_done(&strangers);
    EVP_PKEY_free(key);
    EVP_PKEY_free(log);
    EVP_PKEY_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_logged),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
