/* SPDX-License-Identifier: Apache-2.0 */
/* Pull, load, import: what the caller asks becomes a start message; what came becomes a result. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "image/registries.h"
#include "image/verify.h"
#include "image/worker-protocol.h"
#include "oci/reference.h"

#define STALL_SECONDS 30

/* $POUCH_PULL_STALL_TIMEOUT (seconds) shortens the patience with streams that stand still. */
uint64_t image_stall_timeout(void)
{
    const char *env = getenv("POUCH_PULL_STALL_TIMEOUT");
    uint64_t n;

    return env && parse_u64(env, &n) == 0 && n > 0 && n < 86400 ? n : STALL_SECONDS;
}

/* --- Which registries may be spoken to without TLS ----------------------------------------------- */

/* The host of "host:port", "[v6]:port". */
static char *host_of(const char *domain)
{
    if (*domain == '[')
        return xstrndup(domain + 1, strcspn(domain + 1, "]"));
    return xstrndup(domain, strcspn(domain, ":"));
}

static bool in_prefix(const unsigned char *a, const unsigned char *b, uint64_t bits)
{
    size_t bytes = bits / 8;

    if (memcmp(a, b, bytes) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    unsigned char mask = (unsigned char)(0xff << (8 - bits % 8));
    return (a[bytes] & mask) == (b[bytes] & mask);
}

/* Whether the address text is in "10.0.0.0/8". */
static bool in_cidr(const char *host, const char *cidr)
{
    const char *slash = strchr(cidr, '/');
    unsigned char a[16], b[16];
    uint64_t bits;

    if (!slash || parse_u64(slash + 1, &bits) < 0)
        return false;
    AUTOFREE char *net = xstrndup(cidr, (size_t)(slash - cidr));
    if (inet_pton(AF_INET, host, a) == 1 && inet_pton(AF_INET, net, b) == 1)
        return bits <= 32 && in_prefix(a, b, bits);
    if (inet_pton(AF_INET6, host, a) == 1 && inet_pton(AF_INET6, net, b) == 1)
        return bits <= 128 && in_prefix(a, b, bits);
    return false;
}

bool image_is_insecure(char *const *list, const char *domain)
{
    AUTOFREE char *host = host_of(domain);

    if (STREQ(host, "localhost") || in_cidr(host, "127.0.0.0/8") || in_cidr(host, "::1/128"))
        return true;
    for (size_t i = 0; list && list[i]; i++)
        if (STREQ(list[i], domain) || STREQ(list[i], host) || in_cidr(host, list[i]))
            return true;
    return false;
}

static int say(image_progress_fn *fn, void *data, const char *id, const char *status,
               struct error *e)
{
    const struct image_progress p = {.id = id, .status = status};

    if (fn && fn(data, &p) < 0)
        return error_set_errno(e, ECANCELED, "the operation was cancelled");
    return 0;
}

void image_op_start_registry(struct image_store *s, const struct oci_reference *ref,
                             const struct image_auth *a, struct worker_msg *start)
{
    start->host = (char *)oci_reference_registry_host(ref);
    start->repository = ref->path;
    start->username = a->username;
    start->password = a->password;
    start->identity_token = a->identity_token;
    start->registry_token = a->registry_token;
    start->insecure = image_is_insecure(s->insecure_registries, ref->domain);
    start->stall_timeout = image_stall_timeout();
}

/* --- Pull -------------------------------------------------------------------------------------------- */

/* One run of the worker: op "pull" of a reference, or "tags" of its repository. */
static int pull_run(struct image_store *s, const struct image_pull_params *p, const char *what,
                    const struct oci_reference *ref, const struct verify *verify,
                    struct image_op_results *ret, struct error *e)
{
    static const struct image_auth none = {0};
    const struct image_auth *a = p->auth ? p->auth : &none;
    AUTOFREE char *name = NULL, *base = oci_reference_name(ref);
    AUTOFREE char *familiar = oci_reference_familiar(ref);
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)what,
                               .tag = ref->digest ? NULL : ref->tag,
                               .digest = ref->digest,
                               .reference = familiar,
                               .platform = (char *)p->platform,
                               .policy = verify ? verify->json : NULL,
                               .parallel = registries_parallel(s->registries)};
    image_op_start_registry(s, ref, a, &start);
    if (!ref->digest)
        name = oci_reference_string(ref);
    const struct image_op_params op = {.start = &start,
                                       .input_fd = -EBADF,
                                       .progress = p->progress,
                                       .progress_data = p->progress_data,
                                       .cancel_fd = p->cancel_fd,
                                       .name = name,
                                       .digest_name = base,
                                       .refetch = p->refetch,
                                       .verify = verify,
                                       .auth = p->auth};
    return image_op_run(s, &op, ret, e);
}

/* Whether the name meant this image before. */
static bool was_current(struct image_store *s, const char *familiar, char **ret_id)
{
    AUTOFREE char *name = NULL;

    return image_store_find(s, familiar, ret_id, &name, NULL) >= 0;
}

static int pull_one(struct image_store *s, const struct image_pull_params *p,
                    const struct oci_reference *ref, char **ret_id, struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFREE char *old_id = NULL, *familiar = oci_reference_familiar(ref);
    bool had = was_current(s, familiar, &old_id);

    CLEANUP(verify_done) struct verify verify = {0};
    int r = verify_prepare(s, ref, &verify, e);
    if (r < 0)
        return r;
    r = pull_run(s, p, "pull", ref, &verify, &results, e);
    if (r < 0) {
        if (verify.json && e && str_has_prefix(error_message(e), "requirement "))
            error_add(e, "%s is refused by the signature policy (%s)", familiar, verify.where);
        return r;
    }
    const struct image_op_result *res = results.items.items;
    if (results.items.len != 1)
        return error_set(e, ERR_INTERNAL, "the image worker brought no image");
    AUTOFREE char *digest = xasprintf("Digest: %s", res->top ? res->top : "");
    bool same = had && STREQ(old_id, res->id);
    AUTOFREE char *status = xasprintf(same ? "Status: Image is up to date for %s"
                                           : "Status: Downloaded newer image for %s",
                                      familiar);
    (void)!say(p->progress, p->progress_data, NULL, digest, NULL);
    (void)!say(p->progress, p->progress_data, NULL, status, NULL);
    if (ret_id) {
        free(*ret_id);
        *ret_id = xstrdup(res->id);
    }
    return 0;
}

static int pull_all(struct image_store *s, const struct image_pull_params *p,
                    struct oci_reference *ref, char **ret_id, struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};

    int r = pull_run(s, p, "tags", ref, NULL, &results, e);
    if (r >= 0 && strv_len(results.tags) == 0)
        r = error_set(e, ERR_NOT_FOUND, "repository %s has no tags", p->reference);
    for (size_t i = 0; r >= 0 && results.tags[i]; i++) {
        if (!oci_tag_is_valid(results.tags[i]))
            return error_set(e, ERR_INVALID, "the registry names a malformed tag");
        str_replace(&ref->tag, results.tags[i]);
        r = pull_one(s, p, ref, ret_id, e);
    }
    return r;
}

/* One full name. */
static int pull_name(struct image_store *s, const struct image_pull_params *p, char **ret_id,
                     struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    CLEANUP(oci_platform_done) struct oci_platform platform = {0};
    AUTOFREE char *id = NULL;

    int r = oci_reference_parse(p->reference, &ref, e);
    if (r >= 0)
        r = oci_platform_parse(p->platform, &platform, e); /* malformed ones are found here */
    if (r < 0)
        return r;
    if (STREQ(ref.path, "library/scratch"))
        return error_set(e, ERR_INVALID, "'scratch' is a reserved name");
    if (p->all_tags && !ref.tag && !ref.digest) {
        r = pull_all(s, p, &ref, &id, e);
    } else {
        oci_reference_default_tag(&ref);
        r = pull_one(s, p, &ref, &id, e);
    }
    if (r >= 0 && ret_id)
        *ret_id = take_ptr(id);
    return r;
}

/* The first word of progress says what a short name was taken for; before it an error can still set
 * the status of the answer. */
struct resolved {
    const struct image_pull_params *params;
    char *text;
    bool said;
};

static int resolved_progress(void *data, const struct image_progress *line)
{
    struct resolved *r = data;
    const struct image_progress first = {.status = r->text};

    if (!r->said && r->params->progress(r->params->progress_data, &first) < 0)
        return -ECANCELED;
    r->said = true;
    return r->params->progress(r->params->progress_data, line);
}

/* Credentials of a short name are Docker Hub's unless they say otherwise: no other registry may see
 * them. */
static bool auth_is_for(const struct image_auth *a, const char *name)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    AUTOFREE char *domain = NULL;

    return oci_reference_parse(name, &ref, NULL) >= 0 &&
           image_registry_of(a->server_address, &domain, NULL) >= 0 && STREQ(domain, ref.domain);
}

static int pull_candidate(struct image_store *s, const struct image_pull_params *p,
                          const char *name, char **ret_id, struct error *e)
{
    struct resolved resolved = {.params = p};
    struct image_pull_params q = *p;

    resolved.text = xasprintf("Resolved \"%s\" as %s", p->reference, name);
    q.reference = name;
    const struct image_auth others = {.logins = p->auth ? p->auth->logins : NULL};
    if (p->auth && !auth_is_for(p->auth, name))
        q.auth = &others;
    if (p->progress) {
        q.progress = resolved_progress;
        q.progress_data = &resolved;
    }
    int r = pull_name(s, &q, ret_id, e);
    free(resolved.text);
    return r;
}

/* Where the images came from, or went to. */
static int image_repositories(struct image_store *s, char ***ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT DISTINCT repository FROM blob_sources UNION "
                        "SELECT DISTINCT name FROM image_digests",
                        "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        if (store_col_str(&rows, 0))
            strv_push(ret, store_col_str(&rows, 0));
    return r;
}

/* Who would be asked for one name. */
static int hosts_of(struct image_store *s, const char *name, bool push, char ***found,
                    struct error *e)
{
    static const struct image_auth none = {0};
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    CLEANUP(registry_plan_done) struct registry_plan plan = {0};
    struct worker_msg start = {0};
    int r = oci_reference_parse(name, &ref, e);

    if (r < 0)
        return r;
    oci_reference_default_tag(&ref);
    start.tag = ref.digest ? NULL : ref.tag;
    start.digest = ref.digest;
    image_op_start_registry(s, &ref, &none, &start);
    r = registries_plan(s->registries, &start, NULL, &plan, e);
    const struct registry_endpoint *ep = plan.endpoints.items;
    for (size_t k = 0; r >= 0 && k < plan.endpoints.len; k++)
        if (!push || (ep[k].needs & REGISTRY_PUSH))
            strv_pushf(found, "%s/%s",
                       STREQ(ep[k].host, oci_reference_registry_host(&ref)) ? ref.domain
                                                                            : ep[k].host,
                       ep[k].repository ? ep[k].repository : ref.path);
    return r < 0 ? r : 0;
}

int image_registry_hosts(struct image_store *s, const char *reference, bool push, char ***ret,
                         struct error *e)
{
    AUTOPTR(strv) char **names = NULL, **found = NULL;
    int r = 0;

    if (!reference)
        r = image_repositories(s, &names, e);
    else if (!push)
        r = image_short_names(s, reference, &names, e);
    if (r >= 0 && !names && reference)
        strv_push(&names, reference);
    for (size_t i = 0; r >= 0 && names && names[i]; i++) {
        AUTO(error) struct error own = ERROR_INIT;
        r = hosts_of(s, names[i], push, &found, &own);
        if (r < 0 && reference)
            error_move(e, &own);
        else
            r = 0; /* one of all, that is blocked now, say: the others have theirs */
    }
    if (r >= 0)
        *ret = take_ptr(found);
    return r;
}

int image_pull(struct image_store *s, const struct image_pull_params *p, char **ret_id,
               struct error *e)
{
    AUTOPTR(strv) char **names = NULL;
    AUTO(buf) struct buf tried = BUF_INIT(64u * 1024);
    int r = image_short_names(s, p->reference, &names, e);

    if (r < 0 || !names)
        return r < 0 ? r : pull_name(s, p, ret_id, e);
    for (size_t i = 0; names[i]; i++) {
        AUTO(error) struct error own = ERROR_INIT;
        r = pull_candidate(s, p, names[i], ret_id, &own);
        if (r >= 0)
            return r;
        (void)buf_printf(&tried, "%s%s", i ? "; " : "", error_message(&own));
        /* Only "it is not there" leads on: a registry that happens to be away must not mean that the
         * name is another one's now. */
        if (own.code != ERR_NOT_FOUND || !names[i + 1]) {
            int errnum = own.errnum;
            r = error_set(e, own.code, "short name \"%s\": %s", p->reference, buf_str(&tried));
            if (e)
                e->errnum = errnum;
            return r == 0 ? -errnum : r;
        }
    }
    return r;
}

/* --- Load -------------------------------------------------------------------------------------------- */

static int report_loaded(const struct image_load_params *p, const struct image_op_result *res)
{
    AUTO(buf) struct buf text = BUF_INIT(1024 * 1024);

    for (size_t i = 0; res->names && res->names[i]; i++) {
        struct oci_reference ref = {0};
        if (oci_reference_parse(res->names[i], &ref, NULL) < 0)
            continue;
        AUTOFREE char *familiar = oci_reference_familiar(&ref);
        oci_reference_done(&ref);
        (void)buf_printf(&text, "Loaded image: %s\n", familiar);
    }
    if (text.len == 0)
        (void)buf_printf(&text, "Loaded image ID: %s\n", res->id);
    const struct image_progress line = {.stream = buf_str(&text)};
    return p->progress ? p->progress(p->progress_data, &line) : 0;
}

/* Which forms of archives the signature policy lets in. *ret_form: NULL when all, else the only one;
 * *ret_why: what refuses the other. */
static int load_allowed(struct image_store *s, const char **ret_form, char **ret_why,
                        struct error *e)
{
    static const enum policy_archive forms[] = {POLICY_DOCKER_ARCHIVE, POLICY_OCI_ARCHIVE};
    const char *only = NULL;
    unsigned n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        AUTOFREE char *why = NULL;
        int r = verify_archive(s, forms[i], &why, e);
        if (r < 0)
            return r;
        if (r > 0) {
            only = policy_archive_name(forms[i]);
            n++;
        } else {
            str_replace(ret_why, why);
        }
    }
    if (n == 0)
        return error_set(e, ERR_FORBIDDEN,
                         "loading images is refused by the signature policy (%s): allow it there "
                         "(pouch trust set -t accept docker-archive:) or pull the image",
                         *ret_why);
    *ret_form = n == 1 ? only : NULL;
    return 0;
}

int image_load(struct image_store *s, const struct image_load_params *p, struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFREE char *why = NULL;
    const char *form = NULL;
    int r = load_allowed(s, &form, &why, e);

    if (r < 0)
        return r;
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"load",
                               .form = (char *)form,
                               .platform = (char *)p->platform,
                               .parallel = registries_parallel(s->registries),
                               .stall_timeout = image_stall_timeout()};
    const struct image_op_params op = {.start = &start,
                                       .input_fd = p->fd,
                                       .progress = p->progress,
                                       .progress_data = p->progress_data,
                                       .cancel_fd = p->cancel_fd,
                                       .quiet = p->quiet};

    r = image_op_run(s, &op, &results, e);
    if (r < 0) {
        if (form && e && e->code == ERR_FORBIDDEN)
            error_add(e, "the image is refused by the signature policy (%s)", why);
        return r;
    }
    const struct image_op_result *res = results.items.items;
    for (size_t i = 0; i < results.items.len; i++)
        (void)!report_loaded(p, &res[i]);
    return 0;
}

/* --- Import ------------------------------------------------------------------------------------------ */

static int import_config(const struct image_import_params *p, struct buf *out, struct error *e)
{
    CLEANUP(oci_platform_done) struct oci_platform platform = {0};
    CLEANUP(oci_image_done) struct oci_image img = {0};
    int r = oci_platform_parse(p->platform, &platform, e);

    if (r >= 0)
        r = image_changes_apply(&img.config, p->changes, e);
    if (r < 0)
        return r;
    img.created = time_now_ns();
    img.os = take_ptr(platform.os);
    img.architecture = take_ptr(platform.architecture);
    img.variant = take_ptr(platform.variant);
    img.comment = p->message ? xstrdup(p->message)
                             : xasprintf("Imported from %s", p->url ? p->url : "-");
    img.rootfs.type = xstrdup("layers");
    struct oci_history *h = json_list_add(&img.history, sizeof(*h));
    h->created = img.created;
    h->comment = xstrdup(img.comment);
    r = json_print(&oci_image_json, &img, out);
    return r < 0 ? error_set(e, ERR_TOO_LARGE, "the changes are too large") : 0;
}

int image_import(struct image_store *s, const struct image_import_params *p, char **ret_id,
                 struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTO(buf) struct buf config = BUF_INIT(WORKER_MESSAGE_MAX / 2);
    AUTOFREE char *name = NULL, *why = NULL;
    int r = import_config(p, &config, e);

    if (r >= 0)
        r = image_new_name(p->repo, p->tag, &name, e);
    if (r >= 0)
        r = verify_archive(s, POLICY_TARBALL, &why, e);
    if (r < 0)
        return r;
    if (r == 0)
        return error_set(e, ERR_FORBIDDEN,
                         "importing images is refused by the signature policy (%s): allow it there "
                         "(pouch trust set -t accept tarball:)",
                         why);
    AUTOFD int nothing = p->url ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -EBADF;
    char *proxies[4] = {NULL};

    registries_proxies(s->registries, proxies);
    if (p->url) {
        AUTOFREE char *status = xasprintf("Downloading from %s", p->url);

        if ((r = say(p->progress, p->progress_data, NULL, status, e)) < 0)
            return r;
    }
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"import",
                               .config = config.data,
                               .reference = (char *)p->url,
                               .names = p->url ? proxies : NULL,
                               .parallel = 1,
                               .stall_timeout = image_stall_timeout()};
    const struct image_op_params op = {.start = &start,
                                       .input_fd = p->url ? nothing : p->fd,
                                       .progress = p->progress,
                                       .progress_data = p->progress_data,
                                       .cancel_fd = p->cancel_fd,
                                       .name = name,
                                       .quiet = true};
    r = image_op_run(s, &op, &results, e);
    if (r < 0)
        return r;
    const struct image_op_result *res = results.items.items;
    if (results.items.len != 1)
        return error_set(e, ERR_INTERNAL, "the image worker brought no image");
    (void)!say(p->progress, p->progress_data, NULL, res->id, NULL);
    if (ret_id)
        *ret_id = xstrdup(res->id);
    return 0;
}
