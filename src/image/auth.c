/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials of a request: the headers X-Registry-Auth and X-Registry-Config. */
#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/str.h"
#include "image/image-priv.h"

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

/* What "https://host:5000/v2/" and Docker Hub's names have in common with a host's name. */
static bool is_host(const char *key, const char *host)
{
    AUTOFREE char *domain = NULL;
    const char *rest = strstr(key, "://");

    if (str_is_empty(rest ? rest + 3 : key))
        return false; /* no name, though where names are read it would be Docker Hub's */
    return STREQ(key, host) || (image_registry_of(key, &domain, NULL) >= 0 && STREQ(domain, host));
}

bool image_login_find(const struct json_value *logins, const char *host, struct image_auth *ret)
{
    AUTO(buf) struct buf text = BUF_INIT(HEADER_MAX);

    for (size_t i = 0; i < json_value_len(logins); i++) {
        const char *key = NULL;
        const struct json_value *v = json_value_member(logins, i, &key);
        if (!is_host(key, host))
            continue;
        json_value_print(v, false, &text);
        return json_parse(&image_auth_json, buf_str(&text), text.len, ret, NULL) >= 0;
    }
    return false;
}

static int parse_logins(const char *header, struct json_value **ret, struct error *e)
{
    AUTO(buf) struct buf json = BUF_INIT(HEADER_MAX);
    AUTOPTR(json_value) struct json_value *v = NULL;
    struct image_auth one = {0};

    if (base64_decode(header, strlen(header), &json) < 0)
        return error_set(e, ERR_INVALID, "invalid X-Registry-Config header: not base64");
    int r = json_value_parse(buf_str(&json), json.len, &v, e);
    if (r >= 0 && json_value_kind(v) != JV_OBJ)
        r = error_set(e, ERR_INVALID, "expected an object");
    for (size_t i = 0; r >= 0 && i < json_value_len(v); i++) {
        AUTO(buf) struct buf text = BUF_INIT(HEADER_MAX);
        const char *key = NULL;
        json_value_print(json_value_member(v, i, &key), false, &text);
        r = json_parse(&image_auth_json, buf_str(&text), text.len, &one, e);
        if (r >= 0)
            image_auth_done(&one);
        else
            error_add(e, "%.100s", key);
    }
    if (r < 0) {
        error_add(e, "invalid X-Registry-Config header");
        return r;
    }
    *ret = take_ptr(v);
    return 0;
}

int image_auth_parse(const char *header, const char *config, struct image_auth *ret,
                     struct error *e)
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
    if (!str_is_empty(config)) {
        int r = parse_logins(config, &a.logins, e);
        if (r < 0) {
            image_auth_done(&a);
            return r;
        }
    }
    *ret = a;
    return 0;
}

void image_auth_done(struct image_auth *a)
{
    json_value_free(take_ptr(a->logins));
    json_free(&image_auth_json, a);
}
