/* SPDX-License-Identifier: Apache-2.0 */
/* Registries: login, search. */
#include <stdlib.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"

int api_registry_auth(struct http_request *req, struct image_auth *ret, struct error *e)
{
    return image_auth_parse(http_header(req, "X-Registry-Auth"),
                            http_header(req, "X-Registry-Config"), ret, e);
}

/* For command lines, which have the credentials: whose may be needed. */
void api_registry_hosts(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(strv) char **hosts = NULL;
    const char *image = http_query(req, "image"); /* none: of all images */
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (image_registry_hosts(engine_images(api_engine(ctx)), image,
                             http_query_bool(req, "push", false), &hosts, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; hosts && hosts[i]; i++)
        jsonw_str(&w, NULL, hosts[i]);
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

void api_auth(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    AUTOFREE char *token = NULL;
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};

    if (api_body(req, &image_auth_json, &auth) < 0)
        return;
    if (engine_registry_login(api_engine(ctx), &auth, http_client_fd(req), &token, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Status", "Login Succeeded");
    jsonw_str(&w, "IdentityToken", token);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 200, &b);
}

/* --- Search -------------------------------------------------------------------------------------- */

struct search_filter {
    int64_t stars;
    struct opt_bool official, automated;
};

static int bool_filter(const struct filter_set *set, const char *key, struct opt_bool *ret,
                       struct error *e)
{
    char *const *v = filter_set_get(set, key);

    if (!v || !v[0])
        return 0;
    for (; *v; v++) {
        bool yes = STREQ(*v, "true") || STREQ(*v, "1");

        if (!yes && !STREQ(*v, "false") && !STREQ(*v, "0"))
            return error_set(e, ERR_INVALID, "invalid filter '%s=[%.50s]'", key, *v);
        *ret = (struct opt_bool){true, yes};
    }
    return 0;
}

static int search_filter_read(const struct filter_set *set, struct search_filter *f,
                              struct error *e)
{
    char *const *stars = filter_set_get(set, "stars");
    const struct filter *items = set->items.items;
    int r;

    for (size_t i = 0; i < set->items.len; i++)
        if (!STREQ(items[i].key, "stars") && !STREQ(items[i].key, "is-official") &&
            !STREQ(items[i].key, "is-automated"))
            return error_set(e, ERR_INVALID, "invalid filter '%.50s'", items[i].key);
    for (; stars && *stars; stars++) {
        int64_t n = 0;

        if (parse_i64(*stars, &n) < 0)
            return error_set(e, ERR_INVALID, "invalid filter 'stars=[%.50s]'", *stars);
        if (n > f->stars)
            f->stars = n;
    }
    r = bool_filter(set, "is-official", &f->official, e);
    return r < 0 ? r : bool_filter(set, "is-automated", &f->automated, e);
}

static bool wanted(const struct image_found *i, const struct search_filter *f)
{
    return i->stars >= f->stars && (!f->official.set || f->official.value == i->official) &&
           (!f->automated.set || f->automated.value == i->automated);
}

static int search_limit(const char *text, uint64_t *ret, struct error *e)
{
    int64_t n = 0;

    *ret = 25;
    if (str_is_empty(text))
        return 0;
    if (parse_i64(text, &n) < 0)
        return error_set(e, ERR_INVALID, "invalid limit \"%.30s\"", text);
    if (n < 0 || n > 100)
        return error_set(e, ERR_INVALID, "limit %lld is outside the range of [1, 100]",
                         (long long)n);
    if (n > 0)
        *ret = (uint64_t)n;
    return 0;
}

static void encode_found(struct jsonw *w, const struct image_found *f)
{
    jsonw_begin(w, NULL);
    jsonw_int(w, "star_count", f->stars);
    jsonw_bool(w, "is_official", f->official);
    jsonw_str(w, "name", f->name);
    jsonw_bool(w, "is_automated", f->automated);
    jsonw_str(w, "description", f->description);
    jsonw_end(w);
}

void api_image_search(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(filter_set) struct filter_set set = {0};
    CLEANUP(image_auth_done) struct image_auth auth = {0};
    struct search_filter f = {0};
    struct json_list found = {0};
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    const char *term = http_query(req, "term");
    struct image_search_params p = {.term = term ? term : "",
                                    .auth = &auth,
                                    .cancel_fd = http_client_fd(req)};

    if (api_filters(req, &set) < 0)
        return;
    if (search_filter_read(&set, &f, &e) < 0 ||
        search_limit(http_query(req, "limit"), &p.limit, &e) < 0 ||
        api_registry_auth(req, &auth, &e) < 0 ||
        engine_image_search(api_engine(ctx), &p, &found, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_list_begin(&w, NULL);
    const struct image_found *items = found.items;
    for (size_t i = 0; i < found.len; i++)
        if (wanted(&items[i], &f))
            encode_found(&w, &items[i]);
    jsonw_list_end(&w);
    (void)buf_putc(&b, '\n');
    image_found_done(&found);
    http_reply_json(req, 200, &b);
}
