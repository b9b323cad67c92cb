/* SPDX-License-Identifier: Apache-2.0 */
/* POST /images/{name}/push: Docker's, and our own parameters for compression and platforms. */
#include <stdlib.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"

static const char *query_or_null(const struct http_request *req, const char *name)
{
    const char *v = http_query(req, name);

    return str_is_empty(v) ? NULL : v;
}

struct platform {
    char *os, *architecture, *variant;
};
static const struct json_field platform_fields[] = {
    JSON_FIELD(struct platform, os, "os", JSON_STR, 0),
    JSON_FIELD(struct platform, architecture, "architecture", JSON_STR, 0),
    JSON_FIELD(struct platform, variant, "variant", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc platform_json = {"platform", sizeof(struct platform),
                                               platform_fields};

/* "linux/arm64", or the JSON object that Docker's clients send since 1.46. */
static int read_platform(const struct http_request *req, char **ret, struct error *e)
{
    struct platform p = {0};
    const char *text = query_or_null(req, "platform");

    if (!text)
        return 0;
    if (*text != '{') {
        *ret = xstrdup(text);
        return 0;
    }
    int r = json_parse(&platform_json, text, strlen(text), &p, e);
    if (r >= 0)
        *ret = xasprintf("%s%s%s%s%s", p.os ? p.os : "", p.architecture ? "/" : "",
                         p.architecture ? p.architecture : "", p.variant ? "/" : "",
                         p.variant ? p.variant : "");
    else
        error_add(e, "invalid platform");
    json_free(&platform_json, &p);
    return r < 0 ? r : 0;
}

void api_image_push(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *reference = docker_reference_join(http_param(req, "name"),
                                                     http_query(req, "tag"));
    AUTOFREE char *platform = NULL;
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    const char *level = query_or_null(req, "compressionLevel");
    struct image_push_params p = {
        .reference = reference,
        .all_tags = query_or_null(req, "tag") == NULL,
        .all_platforms = http_query_bool(req, "allPlatforms", false),
        .compression = query_or_null(req, "compression"),
        .format = query_or_null(req, "format"),
        .auth = &auth,
        .progress = api_progress_send,
        .progress_data = req,
        .cancel_fd = http_client_fd(req),
    };
    int r = api_registry_auth(req, &auth, &e);

    if (r >= 0)
        r = read_platform(req, &platform, &e);
    if (r >= 0 && level && parse_i64(level, &p.level) < 0)
        r = error_set(&e, ERR_INVALID, "invalid compressionLevel: \"%.40s\" is not a number",
                      level);
    p.platform = platform;
    if (r >= 0)
        r = engine_image_push(api_engine(ctx), &p, &e);
    api_progress_end(req, r, &e);
}
