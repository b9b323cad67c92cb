/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials of a request: the X-Registry-Auth header. */
#include <string.h>

#include "base/base64.h"
#include "base/str.h"
#include "image/image.h"

#define HEADER_MAX (64u * 1024)

static const struct json_field auth_fields[] = {
    JSON_FIELD(struct image_auth, username, "username", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_auth, password, "password", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_auth, identity_token, "identitytoken", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_auth, registry_token, "registrytoken", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_auth, server_address, "serveraddress", JSON_STR, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc image_auth_json = {"credentials", sizeof(struct image_auth), auth_fields};

int image_auth_parse(const char *header, struct image_auth *ret, struct error *e)
{
    AUTO(buf) struct buf json = BUF_INIT(HEADER_MAX);
    struct image_auth a = {0};

    if (!str_is_empty(header)) {
        if (base64_decode(header, strlen(header), &json) < 0)
            return error_set(e, ERR_INVALID, "invalid X-Registry-Auth header: not base64");
        int r = json.len > 0 ? json_parse(&image_auth_json, json.data, json.len, &a, e) : 0;
        if (r < 0) {
            error_add(e, "invalid X-Registry-Auth header");
            return r;
        }
    }
    *ret = a;
    return 0;
}

void image_auth_done(struct image_auth *a)
{
    json_free(&image_auth_json, a);
}
