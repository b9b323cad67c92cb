/* SPDX-License-Identifier: Apache-2.0 */
/* trust show, trust set: the signature policy file (containers-policy.json) as people see it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "image/policy.h"

#define EMPTY_POLICY "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}"

/* The file that pouchd goes by, or, when it cannot be asked, the usual one. */
static char *policy_path(struct cli *cli, const char *given)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(json_value) struct json_value *info = NULL;

    if (given)
        return xstrdup(given);
    url_set(&u, "/info", NULL, NULL);
    if (api_get(cli, &u, &info, NULL) >= 0 && *jstr(info, "SignaturePolicy"))
        return xstrdup(jstr(info, "SignaturePolicy"));
    return xstrdup(POLICY_FILE);
}

/* Reads and checks the file; a missing one accepts everything. */
static int load(const char *path, const char *image, char **ret_text, struct json_value **ret,
                struct policy *ret_policy, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = oci_reference_parse(image, &ref, e);

    if (r < 0)
        return r;
    oci_reference_default_tag(&ref);
    r = fs_read_file(AT_FDCWD, path, POLICY_MAX, &text, &len);
    if (r == -ENOENT) {
        text = xstrdup(EMPTY_POLICY);
        len = strlen(text);
    } else if (r < 0) {
        return error_set_errno(e, r, "cannot read %s", path);
    }
    r = policy_choose(text, len, &ref, ret_policy, e);
    if (r >= 0)
        r = json_value_parse(text, len, ret, e);
    if (r < 0)
        error_add(e, "%s (pouchd refuses every image until it is mended)", path);
    if (r >= 0 && ret_text)
        *ret_text = take_ptr(text);
    return r;
}

/* --- show -------------------------------------------------------------------------------- */

struct show_options {
    bool raw;
    char *format, *path;
};

#define SO struct show_options
static const struct option_def show_option_table[] = {
    OPT(SO, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(SO, path, "policypath", 0, OPTION_STR, "FILE",
        "The policy file (default: the one pouchd uses)", .complete = COMPLETE_FILE),
    OPT(SO, raw, "raw", 0, OPTION_BOOL, NULL, "Print the file as it is"),
    OPT_END,
};

enum field { F_TRANSPORT, F_NAME, F_TYPE, F_ID, F_IDENTITY, F_MAX };
static const struct formatter_field fields[] = {
    [F_TRANSPORT] = {"Transport", "TRANSPORT"},
    [F_NAME] = {"Name", "NAME"},
    [F_TYPE] = {"Type", "TYPE"},
    [F_ID] = {"ID", "ID"},
    [F_IDENTITY] = {"Identity", "IDENTITY"},
    [F_MAX] = {NULL, NULL},
};

/* The keys of a requirement in one cell. */
static char *keys_of(const struct json_value *q)
{
    static const char *const names[] = {"keyPath", "keyPaths"};
    AUTOPTR(strv) char **list = NULL;

    for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
        const struct json_value *v = json_value_get(q, names[n]);
        if (json_value_str(v))
            strv_push(&list, json_value_str(v));
        else
            for (size_t i = 0; json_value_kind(v) == JV_LIST && i < json_value_len(v); i++)
                strv_push(&list, json_value_str(json_value_at(v, i)));
    }
    if (json_value_get(q, "keyData") || json_value_get(q, "keyDatas"))
        strv_push(&list, "(in the file)");
    return strv_join(list, ",");
}

static int show_scope(struct formatter *f, const char *transport, const char *name,
                      const struct json_value *list, struct error *e)
{
    static const char *const words[][2] = {{"insecureAcceptAnything", "accept"},
                                           {"signedBy", "signed"},
                                           {"sigstoreSigned", "sigstoreSigned"},
                                           {"reject", "reject"}};
    int r = 0;

    for (size_t i = 0; r >= 0 && i < json_value_len(list); i++) {
        const struct json_value *q = json_value_at(list, i);
        const char *type = jstr(q, "type"), *shown = type;
        AUTOFREE char *keys = keys_of(q);
        for (size_t w = 0; w < ARRAY_SIZE(words); w++)
            if (STREQ(words[w][0], type))
                shown = words[w][1];
        const char *identity = jstr(json_value_get(q, "signedIdentity"), "type");
        if (!*identity && (STREQ(type, "signedBy") || STREQ(type, "sigstoreSigned")))
            identity = "matchRepoDigestOrExact";
        const char *values[F_MAX] = {[F_TRANSPORT] = transport,
                                     [F_NAME] = name,
                                     [F_TYPE] = shown,
                                     [F_ID] = keys,
                                     [F_IDENTITY] = identity};
        r = formatter_row(f, values, NULL, e);
    }
    return r;
}

static int show_all(struct formatter *f, const struct json_value *policy, struct error *e)
{
    const struct json_value *transports = json_value_get(policy, "transports");
    int r = show_scope(f, "all", "default", json_value_get(policy, "default"), e);

    for (size_t t = 0; r >= 0 && t < json_value_len(transports); t++) {
        const char *transport = NULL;
        const struct json_value *scopes = json_value_member(transports, t, &transport);
        bool docker = STREQ(transport, "docker");
        for (size_t i = 0; r >= 0 && i < json_value_len(scopes); i++) {
            const char *scope = NULL;
            const struct json_value *list = json_value_member(scopes, i, &scope);
            r = show_scope(f, docker ? "repository" : transport, *scope ? scope : "(all)", list, e);
        }
    }
    return r;
}

static int show_one(struct formatter *f, const struct json_value *policy, const struct policy *p,
                    struct error *e)
{
    const struct json_value *docker = json_value_get(json_value_get(policy, "transports"),
                                                     "docker");

    if (!p->scope)
        return show_scope(f, "all", "default", json_value_get(policy, "default"), e);
    return show_scope(f, "repository", *p->scope ? p->scope : "(all)",
                      json_value_get(docker, p->scope), e);
}

static int run_show(struct cli *cli, void *options, char **args, size_t n)
{
    const struct show_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *path = policy_path(cli, o->path), *text = NULL;
    AUTOPTR(json_value) struct json_value *policy = NULL;
    CLEANUP(policy_done) struct policy chosen = {0};
    struct formatter f;
    int r = load(path, n ? args[0] : "any", &text, &policy, &chosen, &e);

    if (r < 0)
        return cli_fail(&e);
    if (o->raw) {
        out_puts(text);
        return 0;
    }
    r = formatter_init(&f, o->format,
                       "{{.Transport}}\t{{.Name}}\t{{.Type}}\t{{.ID}}\t{{.Identity}}", fields, &e);
    if (r >= 0)
        r = n ? show_one(&f, policy, &chosen, &e) : show_all(&f, policy, &e);
    if (r >= 0)
        formatter_finish(&f);
    formatter_done(&f);
    return r < 0 ? cli_fail(&e) : 0;
}

/* --- set --------------------------------------------------------------------------------- */

struct set_options {
    char *type, *path, *identity;
    char **keys;
};

#define TO struct set_options
static const struct option_def set_option_table[] = {
    OPT(TO, identity, "identity", 0, OPTION_STR, NULL,
        "Which name a signature must be for (default: matchRepository for sigstoreSigned, else "
        "matchRepoDigestOrExact)",
        .words = "matchRepoDigestOrExact matchExact matchRepository"),
    OPT(TO, path, "policypath", 0, OPTION_STR, "FILE",
        "The policy file (default: the one pouchd uses)", .complete = COMPLETE_FILE),
    OPT(TO, keys, "pubkeysfile", 'f', OPTION_LIST, "FILE",
        "Public key that may sign; one of several is enough", .complete = COMPLETE_FILE),
    OPT(TO, type, "type", 't', OPTION_STR, NULL,
        "What is asked for: accept, reject, signedBy or sigstoreSigned", .initial = "signedBy",
        .words = "accept reject signedBy sigstoreSigned"),
    OPT_END,
};

static const char *type_of(const char *word)
{
    static const char *const words[][2] = {{"accept", "insecureAcceptAnything"},
                                           {"insecureAcceptAnything", "insecureAcceptAnything"},
                                           {"reject", "reject"},
                                           {"signedBy", "signedBy"},
                                           {"signed", "signedBy"},
                                           {"sigstoreSigned", "sigstoreSigned"},
                                           {"sigstore", "sigstoreSigned"}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (STREQ(words[i][0], word))
            return words[i][1];
    return NULL;
}

/* The list of one requirement that the options describe. */
static int print_requirement(const struct set_options *o, struct jsonw *w, const char *key,
                             struct error *e)
{
    const char *type = type_of(o->type);
    AUTOPTR(strv) char **keys = NULL;
    bool is_signed = type && (STREQ(type, "signedBy") || STREQ(type, "sigstoreSigned"));

    if (!type)
        return error_set(e, ERR_INVALID,
                         "invalid type \"%s\": must be accept, reject, signedBy or sigstoreSigned",
                         o->type);
    if (is_signed != (strv_len(o->keys) > 0))
        return error_set(e, ERR_INVALID,
                         is_signed ? "type %s needs a key (--pubkeysfile)" : "type %s takes no key",
                         o->type);
    if (o->identity && !is_signed)
        return error_set(e, ERR_INVALID, "type %s takes no --identity", o->type);
    for (size_t i = 0; o->keys && o->keys[i]; i++) {
        char *real = realpath(o->keys[i], NULL);
        if (!real)
            return error_set_errno(e, errno, "key %s", o->keys[i]);
        strv_push_take(&keys, real);
    }
    jsonw_list_begin(w, key);
    jsonw_begin(w, NULL);
    jsonw_str(w, "type", type);
    if (STREQ(type, "signedBy"))
        jsonw_str(w, "keyType", "GPGKeys");
    if (strv_len(keys) == 1)
        jsonw_str(w, "keyPath", keys[0]);
    else if (keys)
        jsonw_strv(w, "keyPaths", keys);
    const char *identity = o->identity                     ? o->identity
                           : STREQ(type, "sigstoreSigned") ? "matchRepository"
                                                           : NULL;
    if (identity) {
        jsonw_begin(w, "signedIdentity");
        jsonw_str(w, "type", identity);
        jsonw_end(w);
    }
    jsonw_end(w);
    jsonw_list_end(w);
    return 0;
}

static void copy_member(struct jsonw *w, const char *key, const struct json_value *v)
{
    AUTO(buf) struct buf text = BUF_INIT(BUF_UNLIMITED);

    json_value_print(v, false, &text);
    jsonw_raw(w, key, buf_str(&text));
}

/* The members of `old`, the one called `key` made anew by print_requirement(). */
static int replace_member(const struct set_options *o, struct jsonw *w,
                          const struct json_value *old, const char *key, struct error *e)
{
    bool done = false;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < json_value_len(old); i++) {
        const char *name = NULL;
        const struct json_value *v = json_value_member(old, i, &name);
        if (STREQ(name, key)) {
            r = print_requirement(o, w, key, e);
            done = true;
        } else {
            copy_member(w, name, v);
        }
    }
    return r < 0 || done ? r : print_requirement(o, w, key, e);
}

/* "docker-archive:" is all of a transport; NULL when it is a scope of images. */
static const char *transport_of(const char *scope)
{
    static const char *const names[] = {"docker-archive", "oci-archive", "tarball", "docker"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        size_t n = strlen(names[i]);
        if (strncmp(scope, names[i], n) == 0 && STREQ(scope + n, ":"))
            return names[i];
    }
    return NULL;
}

static int print_policy(const struct set_options *o, struct jsonw *w,
                        const struct json_value *policy, const char *scope, struct error *e)
{
    const char *whole = transport_of(scope), *transport = whole ? whole : "docker";
    const struct json_value *transports = json_value_get(policy, "transports");
    int r;

    jsonw_begin(w, NULL);
    if (STREQ(scope, "default")) {
        r = print_requirement(o, w, "default", e);
        if (transports)
            copy_member(w, "transports", transports);
        jsonw_end(w);
        return r;
    }
    copy_member(w, "default", json_value_get(policy, "default"));
    jsonw_begin(w, "transports");
    for (size_t i = 0; i < json_value_len(transports); i++) {
        const char *name = NULL;
        const struct json_value *v = json_value_member(transports, i, &name);
        if (!STREQ(name, transport))
            copy_member(w, name, v);
    }
    jsonw_begin(w, transport);
    r = replace_member(o, w, json_value_get(transports, transport), whole ? "" : scope, e);
    jsonw_end(w);
    jsonw_end(w);
    jsonw_end(w);
    return r;
}

/* "host:port/a/b", "host", "*.domain", "default", "docker-archive:". */
static int check_scope(const char *scope, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    const char *name = str_has_prefix(scope, "*.") ? scope + 2 : scope;
    AUTOFREE char *probe = strchr(name, '/') ? xstrdup(name) : xasprintf("%s.x/x", name);
    size_t n = strcspn(name, "/");
    AUTOFREE char *host = xstrndup(name, n);

    AUTOFREE char *as_transport = xasprintf("%s:", scope);
    if (STREQ(scope, "default") || transport_of(scope))
        return 0;
    if (transport_of(as_transport))
        return error_set(e, ERR_INVALID, "\"%s\" is no registry: write %s for the transport", scope,
                         as_transport);
    if (!strchr(name, '/') && strchr(name, ':')) {
        free(probe);
        probe = xasprintf("%s/x", name);
    }
    if (oci_reference_parse(probe, &ref, NULL) < 0)
        return error_set(
            e, ERR_INVALID,
            "\"%s\" is no scope: HOST[:PORT][/PATH[:TAG]], *.DOMAIN, default, or all of "
            "docker:, docker-archive:, oci-archive:, tarball:",
            scope);
    if (strchr(name, '/') && !strpbrk(host, ".:") && !STREQ(host, "localhost"))
        return error_set(e, ERR_INVALID,
                         "\"%s\" has no registry: write docker.io/%s for Docker Hub", scope, scope);
    return 0;
}

static int set_policy(struct cli *cli, const struct set_options *o, const char *scope,
                      struct error *e)
{
    AUTOFREE char *path = policy_path(cli, o->path);
    AUTOPTR(json_value) struct json_value *old = NULL, *new = NULL;
    CLEANUP(policy_done) struct policy before = {0}, after = {0};
    CLEANUP(oci_reference_done) struct oci_reference any = {0};
    AUTO(buf) struct buf text = BUF_INIT(POLICY_MAX), pretty = BUF_INIT(2 * POLICY_MAX);
    struct jsonw w = {.out = &text};
    const char *transport = transport_of(scope);
    int r = check_scope(scope, e);

    if (r >= 0 && transport && !STREQ(transport, "docker") && o->keys)
        r = error_set(e, ERR_INVALID,
                      "archives have no signatures: %s can be accepted or rejected (--type)",
                      scope);
    if (r >= 0)
        r = load(path, "any", NULL, &old, &before, e);
    if (r >= 0)
        r = print_policy(o, &w, old, scope, e);
    /* What is written must be what pouchd understands. */
    if (r >= 0)
        r = oci_reference_parse("any", &any, e);
    if (r >= 0)
        r = policy_choose(buf_str(&text), text.len, &any, &after, e);
    if (r >= 0)
        r = json_value_parse(buf_str(&text), text.len, &new, e);
    if (r < 0)
        return r;
    json_value_print(new, true, &pretty);
    (void)buf_putc(&pretty, '\n');
    r = fs_write_atomic(AT_FDCWD, path, pretty.data, pretty.len, 0644, FS_SYNC);
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

static int run_set(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(error) struct error e = ERROR_INIT;

    return set_policy(cli, options, args[0], &e) < 0 ? cli_fail(&e) : 0;
}

const struct command command_trust_show = {
    .name = "show",
    .args = "[IMAGE]",
    .summary = "Show what signatures images must have",
    .options = show_option_table,
    .options_size = sizeof(struct show_options),
    .args_min = 0,
    .args_max = 1,
    .complete = COMPLETE_IMAGE,
    .run = run_show,
};
const struct command command_trust_set = {
    .name = "set",
    .args = "SCOPE",
    .summary = "Set what signatures the images of a registry or repository must have",
    .options = set_option_table,
    .options_size = sizeof(struct set_options),
    .args_min = 1,
    .args_max = 1,
    .run = run_set,
};
