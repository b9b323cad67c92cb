/* SPDX-License-Identifier: Apache-2.0 */
/* A request's target: escapes, query, version prefix of the API, and every route's pattern. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "http/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const patterns[] = {"/containers/{id}/json", "/images/{name*}/json",
                                           "/images/{name*}", "/a/{x}/{y*}/b/{z}"};
    AUTOFREE char *text = xstrndup((const char *)data, size);
    struct http_target t = {0};
    struct http_path_param params[HTTP_PATH_PARAMS_MAX];

    if (http_target_parse(text, &t, NULL) < 0) {
        assert(!t.path && !t.query);
        return 0;
    }
    assert(t.path[0] == '/');
    for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
        int n = http_path_match(patterns[i], t.path, params);

        for (int k = 0; k < n; k++) { /* inside the path, and never empty */
            assert(params[k].value >= t.path && params[k].value_len > 0);
            assert(params[k].value + params[k].value_len <= t.path + strlen(t.path));
        }
    }
    (void)http_target_get(&t, "filters");
    http_target_done(&t);
    return 0;
}
