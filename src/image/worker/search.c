/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search: repositories by a word, from the search of Docker Hub (/v1/search, which some other
 * registries have too), else from the list of all repositories (/v2/_catalog), read page by page.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/worker/worker.h"
#include "oci/reference.h"

#define ANSWER_MAX  (8u << 20)
#define PAGE        1000
#define PAGES_MAX   200
#define SEARCH_HOST "index.docker.io" /* where Docker Hub answers searches */

static int to_buf(void *data, const void *bytes, size_t len)
{
    return buf_append(data, bytes, len);
}

static int get(struct registry *r, struct http_client *c, const char *path, struct buf *out,
               struct error *e)
{
    buf_clear(out);
    int rc = registry_get(r, c, NULL, path, "application/json", -1, to_buf, out, NULL, NULL, e);

    if (rc == -EFBIG && e->message == NULL)
        rc = error_set(e, ERR_INTERNAL, "registry %s answers a search with more than %u MB",
                       r->start->host, ANSWER_MAX >> 20);
    return rc;
}

/* --- Docker Hub's search ------------------------------------------------------------------------- */

struct hit {
    char *name, *description;
    int64_t stars;
    bool official, automated;
};
static const struct json_field hit_fields[] = {
    JSON_FIELD(struct hit, name, "name", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct hit, description, "description", JSON_STR, 0),
    JSON_FIELD(struct hit, stars, "star_count", JSON_INT, 0),
    JSON_FIELD(struct hit, official, "is_official", JSON_BOOL, 0),
    JSON_FIELD(struct hit, automated, "is_automated", JSON_BOOL, 0),
    JSON_END,
};
static const struct json_desc hit_json = {"result", sizeof(struct hit), hit_fields};
struct hits {
    struct json_list results;
};
static const struct json_field hits_fields[] = {
    JSON_FIELD_SUB(struct hits, results, "results", JSON_OBJ_LIST, 0, &hit_json),
    JSON_END,
};
static const struct json_desc hits_json = {"search", sizeof(struct hits), hits_fields};

static int send_hit(struct hit *h, struct error *e)
{
    str_tame(h->name, NULL);
    str_tame(h->description, NULL);
    if (h->description && strlen(h->description) > 4000)
        h->description[4000] = '\0';
    if (strlen(h->name) > 1000)
        return 0; /* no name of a repository */
    struct worker_msg m = {.type = (char *)"found",
                           .reference = h->name,
                           .status = h->description,
                           .total = h->stars > 0 ? (uint64_t)h->stars : 0,
                           .official = h->official,
                           .automated = h->automated};
    return conn_send(&m, e);
}

static int by_search(struct registry *r, struct http_client *c, const char *term, uint64_t limit,
                     struct buf *text, struct error *e)
{
    struct hits hits = {0};
    AUTO(buf) struct buf path = BUF_INIT(64u * 1024);

    (void)buf_puts(&path, "/v1/search?q=");
    url_encode(&path, term);
    (void)buf_printf(&path, "&n=%llu", (unsigned long long)limit);
    int rc = get(r, c, buf_str(&path), text, e);
    if (rc < 0)
        return rc;
    rc = json_parse(&hits_json, text->data, text->len, &hits, e);
    if (rc < 0) {
        error_add(e, "search in registry %s", r->start->host);
        e->code = ERR_INTERNAL;
    }
    struct hit *h = hits.results.items;
    for (size_t i = 0; rc >= 0 && i < hits.results.len && i < limit; i++)
        rc = send_hit(&h[i], e);
    json_free(&hits_json, &hits);
    return rc;
}

/* --- The list of all repositories ------------------------------------------------------------------ */

struct catalog {
    char **repositories;
};
static const struct json_field catalog_fields[] = {
    JSON_FIELD(struct catalog, repositories, "repositories", JSON_STRV, 0),
    JSON_END,
};
static const struct json_desc catalog_json = {"catalog", sizeof(struct catalog), catalog_fields};

static int send_matches(struct registry *r, char *const *names, const char *term, uint64_t limit,
                        uint64_t *found, struct error *e)
{
    int rc = 0;

    for (; rc >= 0 && *names && *found < limit; names++) {
        AUTOFREE char *name = xasprintf("%s/%.300s", r->start->host, *names);
        if (!strcasestr(*names, term))
            continue;
        (*found)++;
        rc = send_hit(&(struct hit){.name = name}, e);
    }
    return rc;
}

static int by_catalog(struct registry *r, struct http_client *c, const char *term, uint64_t limit,
                      struct buf *text, struct error *e)
{
    AUTOFREE char *last = NULL;
    uint64_t found = 0;
    int rc = 0;

    for (unsigned page = 0; rc >= 0 && page < PAGES_MAX && found < limit; page++) {
        AUTO(buf) struct buf path = BUF_INIT(64u * 1024);
        struct catalog list = {0};
        (void)buf_printf(&path, "/v2/_catalog?n=%d", PAGE);
        if (last) {
            (void)buf_puts(&path, "&last=");
            url_encode(&path, last);
        }
        rc = get(r, c, buf_str(&path), text, e);
        if (rc >= 0)
            rc = json_parse(&catalog_json, text->data, text->len, &list, e);
        if (rc < 0)
            return rc;
        size_t n = strv_len(list.repositories);
        /* An empty page ends it, and one that a registry without paging gives again. */
        if (n == 0 || (last && strcmp(list.repositories[n - 1], last) <= 0)) {
            json_free(&catalog_json, &list);
            break;
        }
        rc = send_matches(r, list.repositories, term, limit, &found, e);
        free(last);
        last = xstrdup(list.repositories[n - 1]);
        json_free(&catalog_json, &list);
    }
    return rc;
}

int worker_search(const struct worker_msg *start, struct error *e)
{
    AUTO(buf) struct buf text = BUF_INIT(ANSWER_MAX);
    AUTO(error) struct error first = ERROR_INIT;
    struct worker_msg where = *start;
    struct registry registry;
    struct http_client *client = http_client_new();
    bool hub = STREQ(start->host, "registry-1.docker.io");

    if (hub)
        where.host = where.reference = (char *)SEARCH_HOST;
    registry_init(&registry, &where);
    int r = by_search(&registry, client, start->status, start->total, &text, &first);
    if (r < 0 && !hub && (first.code == ERR_NOT_FOUND || first.code == ERR_INTERNAL)) {
        r = by_catalog(&registry, client, start->status, start->total, &text, e);
        if (r < 0)
            error_add(e, "registry %s has no search, and its list of repositories cannot be read",
                      start->host);
    } else if (r < 0) {
        error_move(e, &first);
    }
    registry_done(&registry);
    http_client_free(client);
    return r;
}
