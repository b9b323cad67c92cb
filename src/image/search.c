/* SPDX-License-Identifier: Apache-2.0 */
/* Search: repositories of a registry by a word, through the worker. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/image-priv.h"
#include "image/worker-protocol.h"
#include "oci/reference.h"

#define TERM_MAX 255

void image_found_done(struct json_list *l)
{
    struct image_found *f = l->items;

    for (size_t i = 0; i < l->len; i++) {
        free(f[i].name);
        free(f[i].description);
    }
    free(f);
    memset(l, 0, sizeof(*l));
}

/* "host:5000/word" → registry and word; the first part is a host by the rule for image names. */
static int split_term(const char *term, char **ret_domain, const char **ret_word, struct error *e)
{
    size_t n = strcspn(term, "/");
    AUTOFREE char *first = xstrndup(term, n);

    if (str_is_empty(term) || strlen(term) > TERM_MAX)
        return error_set(e, ERR_INVALID, "search needs a word of at most %d characters", TERM_MAX);
    if (strstr(term, "://"))
        return error_set(e, ERR_INVALID,
                         "invalid repository name: repository name (%s) should not have a scheme",
                         term);
    if (term[n] != '/' || (!strpbrk(first, ".:") && !STREQ(first, "localhost"))) {
        *ret_domain = xstrdup(OCI_REFERENCE_DEFAULT_DOMAIN);
        *ret_word = term;
        return 0;
    }
    *ret_word = term + n + 1;
    return image_registry_of(first, ret_domain, e);
}

int image_search(struct image_store *s, const struct image_search_params *p, struct json_list *ret,
                 struct error *e)
{
    static const struct image_auth none = {0};
    const struct image_auth *a = p->auth ? p->auth : &none;
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFREE char *domain = NULL;
    const char *word = NULL;
    int r = split_term(p->term, &domain, &word, e);

    if (r < 0)
        return r;
    const struct oci_reference ref = {.domain = domain};
    char *host = (char *)oci_reference_registry_host(&ref);
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"search",
                               .host = host,
                               .reference = host,
                               .status = (char *)word,
                               .total = p->limit < IMAGE_SEARCH_MAX ? p->limit : IMAGE_SEARCH_MAX,
                               .username = a->username,
                               .password = a->password,
                               .identity_token = a->identity_token,
                               .registry_token = a->registry_token,
                               .insecure = image_is_insecure(s->insecure_registries, domain),
                               .stall_timeout = image_stall_timeout()};
    const struct image_op_params op = {.start = &start,
                                       .input_fd = -EBADF,
                                       .cancel_fd = p->cancel_fd};
    r = image_op_run(s, &op, &results, e);
    if (r < 0)
        return r;
    *ret = results.found;
    memset(&results.found, 0, sizeof(results.found));
    return 0;
}
