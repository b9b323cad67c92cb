/* SPDX-License-Identifier: Apache-2.0 */
/* Login: asking a registry, through the worker, whether it takes credentials. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/image-priv.h"
#include "image/worker-protocol.h"
#include "oci/reference.h"

int image_registry_of(const char *server, char **ret, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    const char *p = server ? server : "";

    if (strncasecmp(p, "https://", 8) == 0)
        p += 8;
    else if (strncasecmp(p, "http://", 7) == 0)
        p += 7;
    AUTOFREE char *host = xstrndup(p, strcspn(p, "/"));
    if (!*host || STREQ(host, "index.docker.io") || STREQ(host, "registry-1.docker.io"))
        str_replace(&host, OCI_REFERENCE_DEFAULT_DOMAIN);
    /* A host without a dot or port is one here, but not in the name of an image. */
    AUTOFREE char *probe = xasprintf("%s%s/x", host, strpbrk(host, ".:") ? "" : ".x");
    if (oci_reference_parse(probe, &ref, NULL) < 0 || strncmp(ref.domain, host, strlen(host)) != 0)
        return error_set(e, ERR_INVALID, "\"%.200s\" is not a registry's address (HOST[:PORT])",
                         server);
    *ret = take_ptr(host);
    return 0;
}

int image_login(struct image_store *s, const struct image_auth *auth, int cancel_fd,
                char **ret_identity_token, struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFREE char *domain = NULL;
    int r = image_registry_of(auth->server_address, &domain, e);

    if (r < 0)
        return r;
    const struct oci_reference ref = {.domain = domain};
    char *host = (char *)oci_reference_registry_host(&ref);
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"login",
                               .host = host,
                               .reference = host,
                               .username = auth->username,
                               .password = auth->password,
                               .identity_token = auth->identity_token,
                               .registry_token = auth->registry_token,
                               .insecure = image_is_insecure(s->insecure_registries, domain),
                               .stall_timeout = image_stall_timeout()};
    const struct image_op_params op = {.start = &start, .input_fd = -EBADF, .cancel_fd = cancel_fd};
    r = image_op_run(s, &op, &results, e);
    if (r < 0) {
        if (e && e->code == ERR_FORBIDDEN)
            e->code = ERR_UNAUTHORIZED;
        return r;
    }
    *ret_identity_token = str_is_empty(results.identity_token) ? NULL
                                                               : take_ptr(results.identity_token);
    return 0;
}
