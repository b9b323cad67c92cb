/* SPDX-License-Identifier: Apache-2.0 */
/* manifest referrers: what at the registry refers to an image. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/registry-auth.h"
#include "cli/units.h"

#define CREATED "org.opencontainers.image.created"

struct referrers_options {
    char *type, *format, *platform;
    bool quiet;
};

static const struct option_def referrers_table[] = {
    OPT(struct referrers_options, type, "artifact-type", 0, OPTION_STR, NULL,
        "Only those of this type (\"application/spdx+json\")"),
    OPT(struct referrers_options, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(struct referrers_options, platform, "platform", 0, OPTION_STR, NULL,
        "What refers to the image of this platform (default: to the name's index)"),
    OPT(struct referrers_options, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Only show digests"),
    OPT_END,
};

enum field { F_DIGEST, F_TYPE, F_MEDIA, F_SIZE, F_CREATED, F_ANNOTATIONS, F_MAX };
static const struct formatter_field fields[] = {
    [F_DIGEST] = {"Digest", "DIGEST"},
    [F_TYPE] = {"ArtifactType", "ARTIFACT TYPE"},
    [F_MEDIA] = {"MediaType", "MEDIA TYPE"},
    [F_SIZE] = {"Size", "SIZE"},
    [F_CREATED] = {"CreatedAt", "CREATED"},
    [F_ANNOTATIONS] = {"Annotations", "ANNOTATIONS"},
    [F_MAX] = {NULL, NULL},
};

/* Text of a registry, that a terminal takes no harm from. */
static char *tame(const char *text)
{
    char *s = xstrdup(text);

    str_tame(s, NULL);
    return s;
}

static char *annotations(const struct json_value *map)
{
    AUTO(buf) struct buf b = BUF_INIT(CLI_ANSWER_MAX);

    for (size_t i = 0; i < json_value_len(map); i++) {
        const char *key = NULL;
        const char *value = json_value_str(json_value_member(map, i, &key));
        (void)buf_printf(&b, "%s%s=%s", i ? "," : "", key, value ? value : "");
    }
    return tame(buf_str(&b));
}

static int show(const struct json_value *v, const struct referrers_options *o, struct formatter *f,
                struct error *e)
{
    const struct json_value *map = json_value_get(v, "annotations");
    AUTOFREE char *type = tame(jstr(v, "artifactType")), *media = tame(jstr(v, "mediaType"));
    AUTOFREE char *created = tame(jstr(map, CREATED)), *all = annotations(map);
    const char *values[F_MAX] = {jstr(v, "digest"), type, media, NULL, created, all};
    char size[UNITS_MAX];

    if (o->quiet) {
        out_printf("%s\n", values[F_DIGEST]);
        return 0;
    }
    values[F_SIZE] = units_size(json_value_int(json_value_get(v, "size")), size);
    return formatter_row(f, values, NULL, e);
}

static int run_referrers(struct cli *cli, void *options, char **args, size_t n)
{
    const struct referrers_options *o = options;
    CLEANUP(registry_auth_done) struct registry_auth auth = {0};
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTO(error) struct error e = ERROR_INIT;
    struct formatter f = {0};
    int r = formatter_init(&f, o->format,
                           "{{.Digest}}\t{{.ArtifactType}}\t{{.Size}}\t{{.CreatedAt}}", fields, &e);

    if (r >= 0) {
        url_set(&u, "/pouch/manifests/", args[0], "/referrers");
        url_add(&u, "artifactType", o->type);
        url_add(&u, "platform", o->platform);
        registry_auth_find(cli, args[0], false, &auth);
        cli->headers = (const char *const *)auth.headers;
        r = api_get(cli, &u, &v, &e);
        cli->headers = NULL;
    }
    const struct json_value *list = json_value_get(v, "Referrers");
    for (size_t i = 0; r >= 0 && i < json_value_len(list); i++)
        r = show(json_value_at(list, i), o, &f, &e);
    if (r >= 0 && !o->quiet)
        formatter_finish(&f);
    formatter_done(&f);
    return r < 0 ? cli_fail(&e) : 0;
}

const struct command command_manifest_referrers = {
    .name = "referrers",
    .args = "NAME[:TAG|@DIGEST]",
    .summary = "List what refers to an image at its registry (signatures, attestations, SBOMs)",
    .options = referrers_table,
    .options_size = sizeof(struct referrers_options),
    .args_min = 1,
    .args_max = 1,
    .complete = COMPLETE_IMAGE,
    .run = run_referrers,
};
