/* SPDX-License-Identifier: Apache-2.0 */
/* manifest: lists of images for several platforms, kept by the daemon until they are pushed. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/image.h"
#include "cli/registry-auth.h"

struct manifest_options {
    bool amend, insecure, purge, verbose;
    char *arch, *os, *os_version, *variant;
    char **os_features;
};

#define MO struct manifest_options
#define INSECURE                                                                                   \
    OPT(MO, insecure, "insecure", 0, OPTION_BOOL, NULL,                                            \
        "Allow communication with an insecure registry")
#define PLATFORM                                                                                   \
    OPT(MO, arch, "arch", 0, OPTION_STR, NULL, "Set architecture"),                                \
        OPT(MO, os, "os", 0, OPTION_STR, NULL, "Set operating system"),                            \
        OPT(MO, os_features, "os-features", 0, OPTION_LIST, NULL, "Set operating system feature"), \
        OPT(MO, os_version, "os-version", 0, OPTION_STR, NULL, "Set operating system version"),    \
        OPT(MO, variant, "variant", 0, OPTION_STR, NULL, "Set architecture variant")

static const struct option_def create_table[] = {
    OPT(MO, amend, "amend", 'a', OPTION_BOOL, NULL, "Amend an existing manifest list"),
    INSECURE,
    OPT_END,
};
static const struct option_def add_table[] = {INSECURE, PLATFORM, OPT_END};
static const struct option_def annotate_table[] = {PLATFORM, OPT_END};
static const struct option_def inspect_table[] = {
    INSECURE,
    OPT(MO, verbose, "verbose", 'v', OPTION_BOOL, NULL,
        "Output additional info including layers and platform"),
    OPT_END,
};
static const struct option_def push_table[] = {
    INSECURE,
    OPT(MO, purge, "purge", 'p', OPTION_BOOL, NULL, "Remove the local manifest list after push"),
    OPT_END,
};

/* A request with the credentials for the list's registry; *out may be NULL. */
static int request(struct cli *cli, const char *method, const struct url *u, const char *list,
                   struct buf *out, struct error *e)
{
    CLEANUP(registry_auth_done) struct registry_auth auth = {0};

    registry_auth_find(cli, list, false, &auth);
    cli->headers = (const char *const *)auth.headers;
    int r = api_call(cli, method, u, NULL, out, e);
    cli->headers = NULL;
    return r;
}

static int create(struct cli *cli, const struct manifest_options *o, bool amend, char **args,
                  struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/pouch/manifests", NULL, NULL);
    url_add(&u, "name", args[0]);
    for (char **image = args + 1; *image; image++)
        url_add(&u, "image", *image);
    if (amend)
        url_add_bool(&u, "amend", true);
    if (o->insecure)
        url_add_bool(&u, "insecure", true);
    return request(cli, "POST", &u, args[0], NULL, e);
}

static int annotate(struct cli *cli, const struct manifest_options *o, const char *list,
                    const char *image, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/pouch/manifests/", list, "/annotate");
    url_add(&u, "image", image);
    url_add(&u, "arch", o->arch);
    url_add(&u, "os", o->os);
    url_add(&u, "osVersion", o->os_version);
    url_add(&u, "variant", o->variant);
    for (char **f = o->os_features; f && *f; f++)
        url_add(&u, "osFeatures", *f);
    return api_call(cli, "POST", &u, NULL, NULL, e);
}

static int run_create(struct cli *cli, void *options, char **args, size_t n)
{
    const struct manifest_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *repository = NULL, *tag = NULL, *canonical = NULL;

    if (create(cli, o, o->amend, args, &e) < 0)
        return cli_fail(&e);
    image_split(args[0], &repository, &tag);
    canonical = image_canonical_repository(repository);
    out_printf("Created manifest list %s:%s\n", canonical, tag ? tag : "latest");
    return 0;
}

static int run_add(struct cli *cli, void *options, char **args, size_t n)
{
    const struct manifest_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    bool any = o->arch || o->os || o->os_version || o->variant || o->os_features;
    int r = create(cli, o, true, args, &e);

    for (size_t i = 1; r >= 0 && any && i < n; i++)
        r = annotate(cli, o, args[0], args[i], &e);
    return r < 0 ? cli_fail(&e) : 0;
}

static int run_annotate(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(error) struct error e = ERROR_INIT;

    return annotate(cli, options, args[0], args[1], &e) < 0 ? cli_fail(&e) : 0;
}

/* The member of a list (verbose), or only its manifest; NULL: it has none of that name. */
static const struct json_value *find_member(const struct json_value *list, const char *name,
                                            bool whole)
{
    AUTOFREE char *repository = NULL, *tag = NULL, *canonical = NULL, *full = NULL;

    image_split(name, &repository, &tag);
    canonical = image_canonical_repository(repository);
    full = xasprintf("%s%s%s", canonical, tag && strchr(tag, ':') ? "@" : ":",
                     tag ? tag : "latest");
    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *one = json_value_at(list, i);
        const struct json_value *oci = json_value_get(one, "OCIManifest");
        if (STREQ(jstr(one, "Ref"), full))
            return whole ? one : oci ? oci : json_value_get(one, "SchemaV2Manifest");
    }
    return NULL;
}

static int run_inspect(struct cli *cli, void *options, char **args, size_t n)
{
    const struct manifest_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTO(buf) struct buf text = BUF_INIT(BUF_UNLIMITED);

    url_set(&u, "/pouch/manifests/", args[0], "/json");
    if (o->verbose || n == 2)
        url_add_bool(&u, "verbose", true);
    if (o->insecure)
        url_add_bool(&u, "insecure", true);
    if (request(cli, "GET", &u, args[0], &out, &e) < 0 ||
        json_value_parse(buf_str(&out), out.len, &v, &e) < 0)
        return cli_fail(&e);
    const struct json_value *shown = v;
    if (n == 2 && !(shown = find_member(v, args[1], o->verbose))) {
        err_printf("%s is no member of manifest list %s\n", args[1], args[0]);
        return 1;
    }
    json_value_print(shown, true, &text);
    (void)buf_putc(&text, '\n');
    out_write(buf_str(&text), text.len);
    return 0;
}

static int run_ls(struct cli *cli, void *options, char **args, size_t n)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(json_value) struct json_value *list = NULL;
    AUTO(error) struct error e = ERROR_INIT;

    url_set(&u, "/pouch/manifests", NULL, NULL);
    if (api_get(cli, &u, &list, &e) < 0)
        return cli_fail(&e);
    for (size_t i = 0; i < json_value_len(list); i++)
        out_printf("%s\n", json_value_str(json_value_at(list, i)));
    return 0;
}

static int run_push(struct cli *cli, void *options, char **args, size_t n)
{
    const struct manifest_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res CLEANUP(http_response_done) = {0};
    CLEANUP(registry_auth_done) struct registry_auth auth = {0};
    AUTO(error) struct error e = ERROR_INIT;

    url_set(&u, "/pouch/manifests/", args[0], "/push");
    if (o->purge)
        url_add_bool(&u, "purge", true);
    if (o->insecure)
        url_add_bool(&u, "insecure", true);
    registry_auth_find(cli, args[0], true, &auth);
    cli->headers = (const char *const *)auth.headers;
    int r = api_open(cli, "POST", &u, NULL, false, &conn, &res, &e);
    cli->headers = NULL;
    if (r >= 0)
        r = progress_show(conn, STDOUT_FILENO, false, &e);
    return r < 0 ? cli_fail(&e) : 0;
}

static int rm_one(struct cli *cli, const char *name, void *data, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/pouch/manifests/", name, NULL);
    return api_call(cli, "DELETE", &u, NULL, NULL, e);
}

static int run_rm(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each(cli, args, rm_one, NULL);
}

const struct command command_manifest_create = {
    .name = "create",
    .args = "MANIFEST_LIST MANIFEST [MANIFEST...]",
    .summary = "Create a local manifest list for annotating and pushing to a registry",
    .options = create_table,
    .options_size = sizeof(MO),
    .args_min = 2,
    .args_max = -1,
    .run = run_create,
};
const struct command command_manifest_add = {
    .name = "add",
    .args = "MANIFEST_LIST MANIFEST [MANIFEST...]",
    .summary = "Add images to a local manifest list",
    .options = add_table,
    .options_size = sizeof(MO),
    .args_min = 2,
    .args_max = -1,
    .run = run_add,
};
const struct command command_manifest_annotate = {
    .name = "annotate",
    .args = "MANIFEST_LIST MANIFEST",
    .summary = "Add additional information to a local image manifest",
    .options = annotate_table,
    .options_size = sizeof(MO),
    .args_min = 2,
    .args_max = 2,
    .run = run_annotate,
};
const struct command command_manifest_inspect = {
    .name = "inspect",
    .args = "[MANIFEST_LIST] MANIFEST",
    .summary = "Display an image manifest, or manifest list",
    .options = inspect_table,
    .options_size = sizeof(MO),
    .args_min = 1,
    .args_max = 2,
    .run = run_inspect,
};
const struct command command_manifest_ls = {
    .name = "ls",
    .aliases = "list",
    .args = "",
    .summary = "List the local manifest lists",
    .args_min = 0,
    .args_max = 0,
    .run = run_ls,
};
const struct command command_manifest_push = {
    .name = "push",
    .args = "MANIFEST_LIST",
    .summary = "Push a manifest list to a repository",
    .options = push_table,
    .options_size = sizeof(MO),
    .args_min = 1,
    .args_max = 1,
    .run = run_push,
};
const struct command command_manifest_rm = {
    .name = "rm",
    .args = "MANIFEST_LIST [MANIFEST_LIST...]",
    .summary = "Delete one or more manifest lists from local storage",
    .args_min = 1,
    .args_max = -1,
    .run = run_rm,
};
