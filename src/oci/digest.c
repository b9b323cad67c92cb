/* SPDX-License-Identifier: Apache-2.0 */
/* Syntax of digests; computing them is in hash.c. */
#include <string.h>

#include "base/str.h"
#include "oci/digest.h"

static const struct {
    const char *prefix;
    size_t hex_len;
} ALGORITHMS[DIGEST_ALGORITHM_MAX] = {
    [DIGEST_SHA256] = {"sha256:", 64},
    [DIGEST_SHA512] = {"sha512:", 128},
};

bool digest_is_valid(const char *digest)
{
    if (!digest)
        return false;
    for (int i = 0; i < DIGEST_ALGORITHM_MAX; i++)
        if (str_has_prefix(digest, ALGORITHMS[i].prefix))
            return str_is_hex(digest + strlen(ALGORITHMS[i].prefix), ALGORITHMS[i].hex_len);
    return false;
}

const char *digest_hex(const char *digest)
{
    return strchr(digest, ':') + 1;
}

enum digest_algorithm digest_algorithm(const char *digest)
{
    return str_has_prefix(digest, "sha512:") ? DIGEST_SHA512 : DIGEST_SHA256;
}
