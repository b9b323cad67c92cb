/* SPDX-License-Identifier: Apache-2.0 */
/* See registry-auth.h. No other host's credentials leave this program than those the daemon names. */
#include "cli/registry-auth.h"

#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/credentials.h"

void registry_auth_find(struct cli *cli, const char *image, bool push, struct registry_auth *ret)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(json_value) struct json_value *hosts = NULL;
    size_t n = 0;

    bool any = credentials_exist();

    *ret = (struct registry_auth){0};
    if (any && image)
        ret->headers[n] = credentials_header(image);
    if (!ret->headers[n] && push) /* Docker's daemon wants to hear that there are none */
        ret->headers[n] = xstrdup("X-Registry-Auth: e30=");
    n += ret->headers[n] != NULL;
    if (!any)
        return;
    url_set(&u, "/pouch/registry-hosts", NULL, NULL);
    url_add(&u, "image", image);
    if (push)
        url_add_bool(&u, "push", true);
    if (api_get(cli, &u, &hosts, NULL) < 0)
        return; /* Docker's daemon, or the request itself says what is wrong */
    AUTOFREE char *server = image ? credentials_server_of(image, NULL) : xstrdup("");
    ret->headers[n] = credentials_config_header(hosts, server);
}

void registry_auth_done(struct registry_auth *a)
{
    for (size_t i = 0; a->headers[i]; i++)
        credentials_header_free(a->headers[i]);
    memset(a, 0, sizeof(*a));
}
