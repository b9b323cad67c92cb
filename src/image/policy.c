/* SPDX-License-Identifier: Apache-2.0 */
/* The signature policy: see policy.h. */
#include "image/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/str.h"
#include "base/strv.h"

static const char *const type_names[POLICY_TYPE_MAX] = {
    [POLICY_ACCEPT] = "insecureAcceptAnything",
    [POLICY_REJECT] = "reject",
    [POLICY_GPG] = "signedBy",
    [POLICY_SIGSTORE] = "sigstoreSigned",
};
static const char *const identity_names[POLICY_IDENTITY_MAX] = {
    [POLICY_MATCH_REPO_DIGEST_OR_EXACT] = "matchRepoDigestOrExact",
    [POLICY_MATCH_EXACT] = "matchExact",
    [POLICY_MATCH_REPOSITORY] = "matchRepository",
    [POLICY_EXACT_REFERENCE] = "exactReference",
    [POLICY_EXACT_REPOSITORY] = "exactRepository",
    [POLICY_REMAP_IDENTITY] = "remapIdentity",
};

const char *policy_type_name(enum policy_type t)
{
    return type_names[t];
}

static int name_index(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; name && i < n; i++)
        if (STREQ(names[i], name))
            return (int)i;
    return -1;
}

static void identity_done(struct policy_signed_identity *i)
{
    free(i->reference);
    free(i->prefix);
    free(i->signed_prefix);
}

void policy_done(struct policy *p)
{
    struct policy_requirement *r = p->items.items;

    for (size_t i = 0; i < p->items.len; i++) {
        strv_free(r[i].key_paths);
        strv_free(r[i].key_data);
        strv_free(r[i].log_paths);
        strv_free(r[i].log_data);
        identity_done(&r[i].identity);
    }
    free(r);
    free(p->scope);
    memset(p, 0, sizeof(*p));
}

/* --- Reading: nothing may be there that is not known ------------------------------------------------ */

/* `known`: names separated by spaces. */
static int check_members(const struct json_value *v, const char *where, const char *known,
                         struct error *e)
{
    if (json_value_kind(v) != JV_OBJ)
        return error_set(e, ERR_INVALID, "%s: expected an object", where);
    AUTOPTR(strv) char **names = strv_split(known, " ", true);
    for (size_t i = 0; i < json_value_len(v); i++) {
        const char *key = NULL;
        (void)json_value_member(v, i, &key);
        if (!strv_contains(names, key))
            return error_set(e, ERR_INVALID, "%s: unknown field \"%.100s\"", where, key);
    }
    return 0;
}

/* For a policy: nor may anything be null, which could be taken for "not asked for". */
static int check_strict(const struct json_value *v, const char *where, const char *known,
                        struct error *e)
{
    int r = check_members(v, where, known, e);

    for (size_t i = 0; r >= 0 && i < json_value_len(v); i++) {
        const char *key = NULL;
        if (json_value_kind(json_value_member(v, i, &key)) == JV_NULL)
            r = error_set(e, ERR_INVALID, "%s.%s: it is null", where, key);
    }
    return r;
}

static int text_member(const struct json_value *v, const char *where, const char *key, char **ret,
                       struct error *e)
{
    const char *s = json_value_str(json_value_get(v, key));

    if (str_is_empty(s))
        return error_set(e, ERR_INVALID, "%s.%s: expected a text that is not empty", where, key);
    *ret = xstrdup(s);
    return 0;
}

/* "host[:port]" or "host[:port]/path": no tag, no digest, nothing that is implied. */
static bool is_prefix(const char *text)
{
    CLEANUP(oci_reference_done) struct oci_reference host = {0}, path = {0};
    size_t n = strcspn(text, "/");
    AUTOFREE char *name = xstrndup(text, n);
    AUTOFREE char *as_host = xasprintf("%s%s/x", name, strpbrk(name, ".:") ? "" : ".x");
    AUTOFREE char *as_path = text[n] ? xasprintf("x.x%s", text + n) : NULL;

    return oci_reference_parse(as_host, &host, NULL) >= 0 &&
           (!as_path ||
            (oci_reference_parse(as_path, &path, NULL) >= 0 && !path.tag && !path.digest));
}

static int read_identity(const struct json_value *v, const char *where,
                         struct policy_signed_identity *ret, struct error *e)
{
    AUTOFREE char *place = xasprintf("%s.signedIdentity", where);
    const char *name = json_value_str(json_value_get(v, "type"));
    int kind = name_index(identity_names, POLICY_IDENTITY_MAX, name);
    static const char *const members[POLICY_IDENTITY_MAX] = {"type",
                                                             "type",
                                                             "type",
                                                             "type dockerReference",
                                                             "type dockerRepository",
                                                             "type prefix signedPrefix"};

    if (json_value_kind(v) != JV_OBJ || kind < 0)
        return error_set(e, ERR_INVALID, "%s.type: unknown kind \"%.60s\"", place,
                         name ? name : "");
    ret->kind = (enum policy_identity)kind;
    int r = check_strict(v, place, members[kind], e);
    if (r >= 0 && kind == POLICY_EXACT_REFERENCE)
        r = text_member(v, place, "dockerReference", &ret->reference, e);
    if (r >= 0 && kind == POLICY_EXACT_REPOSITORY)
        r = text_member(v, place, "dockerRepository", &ret->reference, e);
    if (r >= 0 && kind == POLICY_REMAP_IDENTITY) {
        r = text_member(v, place, "prefix", &ret->prefix, e);
        if (r >= 0)
            r = text_member(v, place, "signedPrefix", &ret->signed_prefix, e);
        if (r >= 0 && (!is_prefix(ret->prefix) || !is_prefix(ret->signed_prefix)))
            r = error_set(e, ERR_INVALID,
                          "%s: prefix and signedPrefix are HOST[:PORT][/PATH], without a tag",
                          place);
    }
    if (r >= 0 && ret->reference) {
        CLEANUP(oci_reference_done) struct oci_reference ref = {0};
        r = oci_reference_parse(ret->reference, &ref, e);
        if (r < 0)
            error_add(e, "%s", place);
        else if (kind == POLICY_EXACT_REFERENCE && !ref.tag && !ref.digest)
            r = error_set(e, ERR_INVALID, "%s.dockerReference: it has neither tag nor digest",
                          place);
    }
    return r;
}

static int read_list(const struct json_value *v, const char *where, const char *key, char ***ret,
                     struct error *e)
{
    size_t n = json_value_len(v);

    if (json_value_kind(v) != JV_LIST || n == 0)
        return error_set(e, ERR_INVALID, "%s.%s: expected a list that is not empty", where, key);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_value_str(json_value_at(v, i));
        if (str_is_empty(s))
            return error_set(e, ERR_INVALID, "%s.%s[%zu]: expected a text", where, key, i);
        strv_push(ret, s);
    }
    return 0;
}

/* One way of naming keys at most; names: of a path, of data, of lists of these. 1 when there is one. */
static int read_keys(const struct json_value *v, const char *where, const char *const names[4],
                     char ***paths, char ***data, struct error *e)
{
    const char *found = NULL;
    int r = 0;

    for (size_t i = 0; i < 4 && r >= 0; i++) {
        const struct json_value *one = json_value_get(v, names[i]);
        char ***list = i % 2 ? data : paths;
        if (!one)
            continue;
        if (found)
            return error_set(e, ERR_INVALID, "%s: %s and %s exclude each other", where, found,
                             names[i]);
        found = names[i];
        if (i >= 2) {
            r = read_list(one, where, names[i], list, e);
        } else if (i == 1 && json_value_str(one) && !*json_value_str(one)) {
            strv_push(list, ""); /* well formed, as elsewhere; there is no key in it */
        } else {
            AUTOFREE char *text = NULL;
            r = text_member(v, where, names[i], &text, e);
            if (r >= 0)
                strv_push(list, text);
        }
    }
    for (size_t i = 0; r >= 0 && *paths && (*paths)[i]; i++)
        if (*(*paths)[i] != '/')
            r = error_set(e, ERR_INVALID, "%s: \"%.200s\" is not an absolute path", where,
                          (*paths)[i]);
    for (size_t i = 0; r >= 0 && *data && (*data)[i]; i++) {
        AUTO(buf) struct buf plain = BUF_INIT(POLICY_KEY_MAX);
        if (base64_decode((*data)[i], strlen((*data)[i]), &plain) < 0)
            r = error_set(e, ERR_INVALID, "%s: %s is not base64", where, found);
    }
    return r < 0 ? r : found != NULL;
}

/* Exactly one of them is there, a text. */
static int check_one_of(const struct json_value *v, const char *where, const char *a, const char *b,
                        struct error *e)
{
    const char *x = json_value_str(json_value_get(v, a));
    const char *y = b ? json_value_str(json_value_get(v, b)) : NULL;

    if (str_is_empty(x) == str_is_empty(y))
        return error_set(e, ERR_INVALID, "%s: expected %s%s%s", where, a, b ? " or " : "",
                         b ? b : "");
    return 0;
}

/* Certificates instead of a key. That there is a form for it does not mean that it can be checked:
 * such a requirement is read, so that the others of the file hold, and never met. */
static int read_certificates(const struct json_value *v, const char *where, bool logs,
                             struct policy_requirement *ret, struct error *e)
{
    const struct json_value *fulcio = json_value_get(v, "fulcio"), *pki = json_value_get(v, "pki");
    AUTOFREE char *place = xasprintf("%s.%s", where, fulcio ? "fulcio" : "pki");
    int r = check_strict(fulcio ? fulcio : pki, place,
                         fulcio ? "caPath caData oidcIssuer subjectEmail"
                                : "caRootsPath caRootsData caIntermediatesPath caIntermediatesData "
                                  "subjectHostname subjectEmail",
                         e);

    if (r >= 0)
        r = fulcio ? check_one_of(fulcio, place, "caPath", "caData", e)
                   : check_one_of(pki, place, "caRootsPath", "caRootsData", e);
    if (r >= 0 && fulcio)
        r = check_one_of(fulcio, place, "oidcIssuer", NULL, e);
    if (r >= 0 && (fulcio || !json_value_get(pki, "subjectHostname")))
        r = check_one_of(fulcio ? fulcio : pki, place, "subjectEmail", NULL, e);
    if (r >= 0 && fulcio && pki)
        r = error_set(e, ERR_INVALID, "%s: fulcio and pki exclude each other", where);
    if (r >= 0 && fulcio && !logs)
        r = error_set(e, ERR_INVALID, "%s: fulcio needs rekorPublicKeyPath", where);
    if (r >= 0 && pki && logs)
        r = error_set(e, ERR_INVALID, "%s: pki and rekorPublicKeyPath exclude each other", where);
    ret->unsupported = fulcio ? "signatures without a key (keyless, fulcio)"
                              : "signatures by certificates (pki)";
    return r;
}

static int read_signed(const struct json_value *v, const char *where,
                       struct policy_requirement *ret, struct error *e)
{
    static const char *const gpg[] = {"keyPath", "keyData", "keyPaths", "keyDatas"};
    static const char *const rekor[] = {"rekorPublicKeyPath", "rekorPublicKeyData",
                                        "rekorPublicKeyPaths", "rekorPublicKeyDatas"};
    const char *key_type = json_value_str(json_value_get(v, "keyType"));

    if (ret->type == POLICY_GPG && (!key_type || !STREQ(key_type, "GPGKeys")))
        return error_set(e, ERR_INVALID, "%s.keyType: \"%.60s\" is not supported, only GPGKeys is",
                         where, key_type ? key_type : "");
    int keys = read_keys(v, where, gpg, &ret->key_paths, &ret->key_data, e);
    int logs = keys < 0 ? keys : read_keys(v, where, rekor, &ret->log_paths, &ret->log_data, e);
    if (keys < 0 || logs < 0)
        return -EINVAL;
    bool certificates = json_value_get(v, "fulcio") || json_value_get(v, "pki");
    if (keys && certificates)
        return error_set(e, ERR_INVALID, "%s: a key and certificates exclude each other", where);
    if (certificates)
        return read_certificates(v, where, logs, ret, e);
    return keys ? 0
                : error_set(e, ERR_INVALID, "%s: no key is given (keyPath, keyPaths or keyData)",
                            where);
}

static int read_requirement(const struct json_value *v, const char *where,
                            struct policy_requirement *ret, struct error *e)
{
    static const char *const members[POLICY_TYPE_MAX] = {
        [POLICY_ACCEPT] = "type",
        [POLICY_REJECT] = "type",
        [POLICY_GPG] = "type keyType keyPath keyPaths keyData signedIdentity",
        [POLICY_SIGSTORE] = "type keyPath keyPaths keyData keyDatas fulcio pki rekorPublicKeyPath "
                            "rekorPublicKeyPaths rekorPublicKeyData rekorPublicKeyDatas "
                            "signedIdentity",
    };
    const char *name = json_value_str(json_value_get(v, "type"));
    int type = name_index(type_names, POLICY_TYPE_MAX, name), r;

    if (json_value_kind(v) != JV_OBJ || type < 0)
        return error_set(e, ERR_INVALID, "%s.type: \"%.60s\" is not supported", where,
                         name ? name : "");
    ret->type = (enum policy_type)type;
    r = check_strict(v, where, members[type], e);
    if (r < 0 || type == POLICY_ACCEPT || type == POLICY_REJECT)
        return r;
    r = read_signed(v, where, ret, e);
    const struct json_value *identity = json_value_get(v, "signedIdentity");
    if (r >= 0 && identity)
        r = read_identity(identity, where, &ret->identity, e);
    return r;
}

static int read_requirements(const struct json_value *v, const char *where, struct policy *ret,
                             struct error *e)
{
    size_t n = json_value_len(v);
    int r = 0;

    if (json_value_kind(v) != JV_LIST || n == 0 || n > POLICY_REQUIRE_MAX)
        return error_set(e, ERR_INVALID, "%s: expected a list of 1 to %d requirements", where,
                         POLICY_REQUIRE_MAX);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        AUTOFREE char *place = xasprintf("%s[%zu]", where, i);
        struct policy_requirement *one = json_list_add(&ret->items, sizeof(*one));
        r = read_requirement(json_value_at(v, i), place, one, e);
    }
    return r;
}

/* What containers/image refuses as a scope: paths must be plain, archives of Docker have none. */
static int check_scope(const char *transport, const char *scope, struct error *e)
{
    static const char *const without[] = {"docker-archive", "tarball"};
    static const char *const paths[] = {"dir", "oci", "oci-archive", "sif"};
    size_t n = strlen(scope);

    if (!*scope)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(without); i++)
        if (STREQ(transport, without[i]))
            return error_set(e, ERR_INVALID,
                             "transports.%s: \"%.100s\" is no scope, the only one is \"\"",
                             transport, scope);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (STREQ(transport, paths[i]) &&
            (*scope != '/' || scope[n - 1] == '/' || strstr(scope, "//") || strstr(scope, "/./") ||
             strstr(scope, "/../") || str_has_suffix(scope, "/.") || str_has_suffix(scope, "/..")))
            return error_set(e, ERR_INVALID,
                             "transports.%s: \"%.100s\" is no scope, expected a plain absolute "
                             "path (\"\" for all)",
                             transport, scope);
    return 0;
}

/* What is looked for: the scopes of one transport, most special first. */
struct search {
    const char *transport;
    char *const *wanted;
    size_t best;
};

/* All scopes are read, so that a mistake shows at once and not with the first image it is about. */
static int read_scopes(const struct json_value *transport, const char *name, struct search *s,
                       struct policy *ret, struct error *e)
{
    size_t n = strv_len(s->wanted);
    int r = 0;

    if (json_value_kind(transport) != JV_OBJ)
        return error_set(e, ERR_INVALID, "transports.%.60s: expected an object", name);
    for (size_t i = 0; r >= 0 && i < json_value_len(transport); i++) {
        CLEANUP(policy_done) struct policy p = {0};
        const char *scope = NULL;
        const struct json_value *v = json_value_member(transport, i, &scope);
        AUTOFREE char *where = xasprintf("transports.%s[\"%s\"]", name, scope);
        r = check_scope(name, scope, e);
        if (r >= 0)
            r = read_requirements(v, where, &p, e);
        size_t at = 0;
        while (at < n && !STREQ(s->wanted[at], scope))
            at++;
        if (r < 0 || !STREQ(name, s->transport) || (at == n && *scope) || at >= s->best)
            continue;
        s->best = at;
        p.scope = xstrdup(scope);
        policy_done(ret);
        *ret = p;
        memset(&p, 0, sizeof(p));
    }
    return r;
}

char **policy_scopes(const struct oci_reference *image)
{
    AUTOFREE char *full = oci_reference_string(image);
    AUTOFREE char *name = oci_reference_name(image);
    char **list = NULL;

    if (image->tag && image->digest) { /* the digest decides what comes */
        free(full);
        full = xasprintf("%s@%s", name, image->digest);
    }
    strv_push(&list, full);
    if (!STREQ(full, name))
        strv_push(&list, name);
    while (strrchr(name, '/')) {
        *strrchr(name, '/') = '\0';
        strv_push(&list, name);
    }
    name[strcspn(name, ":")] = '\0';
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.'))
        strv_pushf(&list, "*%s", dot);
    return list;
}

static int choose(const char *text, size_t len, const char *transport, char *const *wanted,
                  struct policy *ret, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    CLEANUP(policy_done) struct policy fallback = {0}, found = {0};
    struct search s = {.transport = transport, .wanted = wanted, .best = SIZE_MAX};
    const struct json_value *transports;
    int r = json_value_parse(text, len, &v, e);

    if (r >= 0)
        r = check_strict(v, "policy", "default transports", e);
    if (r >= 0)
        r = read_requirements(json_value_get(v, "default"), "default", &fallback, e);
    transports = json_value_get(v, "transports");
    if (r >= 0 && transports && json_value_kind(transports) != JV_OBJ)
        r = error_set(e, ERR_INVALID, "transports: expected an object");
    for (size_t i = 0; r >= 0 && i < json_value_len(transports); i++) {
        const char *name = NULL;
        const struct json_value *one = json_value_member(transports, i, &name);
        r = read_scopes(one, name, &s, &found, e);
    }
    if (r < 0)
        return r;
    struct policy *take = s.best != SIZE_MAX ? &found : &fallback;
    *ret = *take;
    memset(take, 0, sizeof(*take));
    return 0;
}

int policy_choose(const char *text, size_t len, const struct oci_reference *image,
                  struct policy *ret, struct error *e)
{
    AUTOPTR(strv) char **wanted = policy_scopes(image);

    return choose(text, len, "docker", wanted, ret, e);
}

const char *policy_archive_name(enum policy_archive a)
{
    static const char *const names[POLICY_ARCHIVE_MAX] = {
        [POLICY_DOCKER_ARCHIVE] = "docker-archive",
        [POLICY_OCI_ARCHIVE] = "oci-archive",
        [POLICY_TARBALL] = "tarball",
    };

    return names[a];
}

int policy_choose_archive(const char *text, size_t len, enum policy_archive archive,
                          struct policy *ret, struct error *e)
{
    return choose(text, len, policy_archive_name(archive), NULL, ret, e);
}

/* --- Which image a signature is for ----------------------------------------------------------------- */

static bool is_exact(const struct oci_reference *wanted, const struct oci_reference *claimed)
{
    AUTOFREE char *a = oci_reference_string(wanted), *b = oci_reference_string(claimed);

    return (wanted->tag || wanted->digest) && (claimed->tag || claimed->digest) && STREQ(a, b);
}

static bool same_repository(const struct oci_reference *a, const struct oci_reference *b)
{
    return STREQ(a->domain, b->domain) && STREQ(a->path, b->path);
}

/* By tag: exactly this tag; by digest: the repository, since the digest is compared anyway. */
static bool digest_or_exact(const struct oci_reference *wanted, const struct oci_reference *claimed)
{
    if (!claimed->tag && !claimed->digest)
        return false;
    if (wanted->tag)
        return is_exact(wanted, claimed);
    return wanted->digest && same_repository(wanted, claimed);
}

/* The image's name where it was signed, before it was copied to where it is pulled from. */
static bool remap(const struct policy_signed_identity *id, const struct oci_reference *wanted,
                  struct oci_reference *ret)
{
    AUTOFREE char *name = oci_reference_name(wanted), *full = oci_reference_string(wanted);
    size_t n = strlen(id->prefix);

    if (strncmp(name, id->prefix, n) != 0 || (name[n] != '\0' && name[n] != '/'))
        return oci_reference_parse(full, ret, NULL) >= 0;
    AUTOFREE char *mapped = xasprintf("%s%s", id->signed_prefix, full + n);
    return oci_reference_parse(mapped, ret, NULL) >= 0;
}

bool policy_identity_matches(const struct policy_signed_identity *id, const char *wanted,
                             const char *claimed)
{
    CLEANUP(oci_reference_done) struct oci_reference w = {0}, c = {0}, other = {0};

    if (oci_reference_parse(wanted, &w, NULL) < 0 || oci_reference_parse(claimed, &c, NULL) < 0)
        return false;
    switch (id->kind) {
    case POLICY_MATCH_REPO_DIGEST_OR_EXACT:
        return digest_or_exact(&w, &c);
    case POLICY_MATCH_EXACT:
        return is_exact(&w, &c);
    case POLICY_MATCH_REPOSITORY:
        return same_repository(&w, &c);
    case POLICY_EXACT_REFERENCE:
        return oci_reference_parse(id->reference, &other, NULL) >= 0 && is_exact(&other, &c);
    case POLICY_EXACT_REPOSITORY:
        return oci_reference_parse(id->reference, &other, NULL) >= 0 && same_repository(&other, &c);
    case POLICY_REMAP_IDENTITY:
        return remap(id, &w, &other) && digest_or_exact(&other, &c);
    default:
        return false;
    }
}

/* --- Payloads ------------------------------------------------------------------------------------------ */

int policy_payload_parse(const char *text, size_t len, struct policy_payload *ret, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    const struct json_value *critical, *image, *identity;
    struct policy_payload p = {0};
    int r = json_value_parse(text, len, &v, e);

    if (r >= 0)
        r = check_members(v, "payload", "critical optional", e);
    critical = json_value_get(v, "critical");
    if (r >= 0)
        r = check_members(critical, "critical", "type image identity", e);
    image = json_value_get(critical, "image");
    identity = json_value_get(critical, "identity");
    if (r >= 0)
        r = check_members(image, "critical.image", "docker-manifest-digest", e);
    if (r >= 0)
        r = check_members(identity, "critical.identity", "docker-reference", e);
    if (r >= 0)
        r = text_member(critical, "critical", "type", &p.type, e);
    if (r >= 0)
        r = text_member(image, "critical.image", "docker-manifest-digest", &p.digest, e);
    if (r >= 0)
        r = text_member(identity, "critical.identity", "docker-reference", &p.reference, e);
    if (r < 0) {
        policy_payload_done(&p);
        return r;
    }
    *ret = p;
    return 0;
}

void policy_payload_done(struct policy_payload *p)
{
    free(p->type);
    free(p->digest);
    free(p->reference);
    memset(p, 0, sizeof(*p));
}

/* --- For the worker ------------------------------------------------------------------------------------- */

#define I(member) JSON_FIELD(struct policy_check_item, member, #member, JSON_STR, JSON_OMIT_EMPTY)
#define L(member) JSON_FIELD(struct policy_check_item, member, #member, JSON_STRV, JSON_OMIT_EMPTY)
static const struct json_field item_fields[] = {
    I(type), L(keys), L(logs), I(identity), I(reference), I(prefix), I(signed_prefix), JSON_END,
};
#undef I
#undef L
static const struct json_desc item_json = {"requirement", sizeof(struct policy_check_item),
                                           item_fields};
static const struct json_field check_fields[] = {
    JSON_FIELD(struct policy_check, wanted, "wanted", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct policy_check, lookaside, "lookaside", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct policy_check, attachments, "attachments", JSON_BOOL, 0),
    JSON_FIELD_SUB(struct policy_check, items, "items", JSON_OBJ_LIST, 0, &item_json),
    JSON_END,
};
const struct json_desc policy_check_json = {"policy", sizeof(struct policy_check), check_fields};

void policy_check_identity(const struct policy_check_item *i, struct policy_signed_identity *ret)
{
    int kind = name_index(identity_names, POLICY_IDENTITY_MAX, i->identity);

    *ret = (struct policy_signed_identity){.kind = kind < 0 ? POLICY_IDENTITY_MAX
                                                            : (enum policy_identity)kind,
                                           .reference = i->reference,
                                           .prefix = i->prefix,
                                           .signed_prefix = i->signed_prefix};
}

const char *policy_identity_name(enum policy_identity i)
{
    return identity_names[i];
}
