/* SPDX-License-Identifier: Apache-2.0 */
/* login: are these credentials good for this registry? */
#include <stdlib.h>

#include "base/str.h"
#include "image/worker/worker.h"

static int nothing(void *data, const void *bytes, size_t len)
{
    return 0; /* the base answer's body says nothing */
}

int worker_login(const struct worker_msg *start, struct error *e)
{
    struct registry registry;
    struct http_client *client = http_client_new();

    registry_init(&registry, start);
    registry.auth.offline = true;
    int r = registry_get(&registry, client, NULL, "/v2/", NULL, -1, nothing, NULL, NULL, NULL, e);
    if (r >= 0) {
        struct worker_msg m = {.type = (char *)"login",
                               .identity_token = registry.auth.refresh_token};
        r = conn_send(&m, e);
    }
    registry_done(&registry);
    http_client_free(client);
    return r;
}
