/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate headers and the changes of `import`. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "image/image-priv.h"
#include "image/worker/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    char *changes[] = {text, NULL};
    struct oci_image_config config = {0};
    struct challenge c = {0};

    if (challenge_parse(text, &c) == 0) {
        assert(c.scheme != CHALLENGE_NONE);
        if (c.scheme == CHALLENGE_BEARER) {
            AUTOFREE char *url = challenge_url(&c, "repository:a/b:pull");
            assert(strncmp(url, c.realm, strlen(c.realm)) == 0);
        }
        challenge_done(&c);
    }
    (void)!image_changes_apply(&config, changes, NULL);
    json_free(&oci_image_config_json, &config);
    return 0;
}
