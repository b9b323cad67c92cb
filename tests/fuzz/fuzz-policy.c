/* SPDX-License-Identifier: Apache-2.0 */
/* Signature policies, payloads of signatures, gpgv's status lines, keys, registries.d. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "image/gpgv.h"
#include "image/lookaside.h"
#include "image/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int one(void *data, const char *scope, const char *key, const char *value, struct error *e)
{
    return scope && key && value ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    size_t len = strlen(text);
    struct oci_reference ref = {.domain = (char *)"host.example:5000",
                                .path = (char *)"a/b",
                                .tag = (char *)"1"};
    CLEANUP(policy_done) struct policy p = {0};
    CLEANUP(policy_payload_done) struct policy_payload payload = {0};
    AUTO(buf) struct buf keys = BUF_INIT(64 * 1024);

    if (policy_choose(text, len, &ref, &p, NULL) >= 0) {
        const struct policy_requirement *q = p.items.items;
        if (p.items.len == 0)
            abort(); /* a policy always asks for something */
        for (size_t i = 0; i < p.items.len; i++)
            (void)policy_identity_matches(&q[i].identity, "host.example:5000/a/b:1", text);
    }
    for (int a = 0; a < POLICY_ARCHIVE_MAX; a++) {
        CLEANUP(policy_done) struct policy of = {0};
        if (policy_choose_archive(text, len, (enum policy_archive)a, &of, NULL) >= 0 &&
            of.items.len == 0)
            abort();
    }
    if (policy_payload_parse(text, len, &payload, NULL) >= 0 &&
        (!payload.type || !payload.digest || !payload.reference))
        abort();
    (void)gpgv_status_reason(text);
    (void)!gpgv_read_keys((const char *)data, size, &keys, NULL);
    (void)!lookaside_parse(text, one, NULL, NULL);
    return 0;
}
