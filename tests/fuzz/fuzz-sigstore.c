/* SPDX-License-Identifier: Apache-2.0 */
/* A transparency log's promise and entry, keys of policies: what a registry or a policy can say. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "image/worker/sigstore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char sha256[32];
    AUTOFREE char *text = xstrndup((const char *)data, size);
    char *pem[] = {text, NULL};
    struct sigstore_promise p = {0};
    struct sigstore_keys keys;
    AUTO(buf) struct buf body = BUF_INIT(1 << 20), nothing = BUF_INIT(1);

    if (sigstore_promise_parse(text, strlen(text), &p, NULL) >= 0) {
        struct sigstore_promise again = {0};
        AUTOFREE char *whole = xasprintf("{\"Payload\":%s,\"SignedEntryTimestamp\":\"AA==\"}",
                                         buf_str(&p.text));
        /* What was signed says the same when it is read again. */
        if (sigstore_promise_parse(whole, strlen(whole), &again, NULL) < 0 ||
            strcmp(buf_str(&again.text), buf_str(&p.text)) != 0)
            abort();
        (void)sigstore_entry_reason(&p.body, &nothing, &nothing, sha256);
        sigstore_promise_done(&again);
        sigstore_promise_done(&p);
    }
    if (buf_append(&body, data, size) >= 0)
        (void)sigstore_entry_reason(&body, &nothing, &nothing, sha256);
    if (sigstore_keys_read(pem, false, &keys, NULL) >= 0) {
        (void)sigstore_verify(keys.keys[0], &body, "x", 1);
        sigstore_keys_done(&keys);
    }
    return 0;
}
