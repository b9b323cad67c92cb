/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests, indexes and configurations of a hostile registry; the worker's messages. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "image/image.h"
#include "image/worker-protocol.h"
#include "oci/digest.h"
#include "oci/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    struct oci_manifest m = {0};
    struct oci_index idx = {0};
    struct oci_image img = {0};
    struct worker_msg msg = {0};
    struct image_auth auth = {0};
    CLEANUP(oci_platform_done) struct oci_platform host = {0};
    const struct oci_descriptor *d = NULL;
    enum oci_document kind;

    size = strlen(text);
    oci_platform_host(&host);
    (void)!oci_document_kind(NULL, text, size, &kind, NULL);
    if (oci_manifest_parse(text, size, &m, NULL) == 0) {
        assert(digest_is_valid(m.config.digest));
        assert(m.layers.len <= OCI_LAYERS_MAX);
        oci_manifest_done(&m);
    }
    if (oci_index_parse(text, size, &idx, NULL) == 0) {
        if (oci_index_choose(&idx, &host, &d, NULL) == 0)
            assert(digest_is_valid(d->digest));
        oci_index_done(&idx);
    }
    if (oci_image_parse(text, size, &img, NULL) == 0) {
        for (size_t i = 0; i < strv_len(img.rootfs.diff_ids); i++)
            assert(digest_is_valid(img.rootfs.diff_ids[i]));
        oci_image_done(&img);
    }
    if (json_parse(&worker_msg_json, text, size, &msg, NULL) == 0)
        worker_msg_done(&msg);
    if (image_auth_parse(text, NULL, &auth, NULL) == 0)
        image_auth_done(&auth);
    return 0;
}
