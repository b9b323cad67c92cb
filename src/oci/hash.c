/* SPDX-License-Identifier: Apache-2.0 */
/* Computing digests: the one file that knows which crypto library does it. */
#include <stdio.h>

#include <openssl/evp.h>

#include "base/str.h"
#include "oci/digest.h"

int digest_state_init(struct digest_state *d, enum digest_algorithm a)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (!ctx)
        return -ENOMEM;
    if (EVP_DigestInit_ex(ctx, a == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return -EIO;
    }
    d->algorithm = a;
    d->ctx = ctx;
    return 0;
}

int digest_state_update(struct digest_state *d, const void *data, size_t len)
{
    return EVP_DigestUpdate(d->ctx, data, len) == 1 ? 0 : -EIO;
}

static int finish(EVP_MD_CTX *ctx, enum digest_algorithm a, char out[DIGEST_MAX])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1];

    if (EVP_DigestFinal_ex(ctx, raw, &len) != 1)
        return -EIO;
    hex_encode(raw, len, hex);
    snprintf(out, DIGEST_MAX, "%s:%s", a == DIGEST_SHA512 ? "sha512" : "sha256", hex);
    return 0;
}

int digest_state_peek(const struct digest_state *d, char out[DIGEST_MAX])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    int r = -ENOMEM;

    if (copy)
        r = EVP_MD_CTX_copy_ex(copy, d->ctx) == 1 ? finish(copy, d->algorithm, out) : -EIO;
    EVP_MD_CTX_free(copy);
    return r;
}

int digest_state_final(struct digest_state *d, char out[DIGEST_MAX])
{
    return finish(d->ctx, d->algorithm, out);
}

void digest_state_done(struct digest_state *d)
{
    EVP_MD_CTX_free(d->ctx);
    d->ctx = NULL;
}

int digest_bytes(const void *data, size_t len, char out[DIGEST_MAX])
{
    struct digest_state d = {0};
    int r = digest_state_init(&d, DIGEST_SHA256);

    if (r >= 0)
        r = digest_state_update(&d, data, len);
    if (r >= 0)
        r = digest_state_final(&d, out);
    digest_state_done(&d);
    return r;
}
