/* SPDX-License-Identifier: Apache-2.0 */
/* push: an image to a registry. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "cli/image.h"
#include "cli/registry-auth.h"

struct push_options {
    bool all_tags, quiet, all_platforms;
    char *platform, *compression, *level, *format;
};

#define PO struct push_options
static const struct option_def push_option_table[] = {
    OPT(PO, all_platforms, "all-platforms", 0, OPTION_BOOL, NULL,
        "Push the index the image was pulled by, with all its images (all must be here)"),
    OPT(PO, all_tags, "all-tags", 'a', OPTION_BOOL, NULL, "Push all tags of an image"),
    OPT(PO, compression, "compression", 0, OPTION_STR, NULL,
        "Compression of all layers: gzip, zstd, none (default: as they are; gzip where there is "
        "none)",
        .words = "gzip zstd none"),
    OPT(PO, level, "compression-level", 0, OPTION_STR, "int",
        "Level of --compression: gzip 1 to 9, zstd 1 to 22 (default: a fast one)"),
    OPT(PO, format, "format", 0, OPTION_STR, NULL,
        "Type of the manifest: oci, docker (default: as it came, docker for images made here)",
        .words = "oci docker"),
    OPT(PO, platform, "platform", 0, OPTION_STR, NULL,
        "Push the image of this platform of a multi-platform image"),
    OPT(PO, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Suppress verbose output"),
    OPT_REFUSED_BUT("disable-content-trust", OPTION_BOOL, "true",
                    "there is no Notary; signatures are checked by policy, see 'pouch trust'"),
    OPT_END,
};

static int run_push(struct cli *cli, void *options, char **args, size_t n)
{
    const struct push_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res CLEANUP(http_response_done) = {0};
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *repository = NULL, *tag = NULL;
    int r;

    image_split(args[0], &repository, &tag);
    if (strchr(args[0], '@')) {
        err_printf("cannot push a digest reference: give it a tag first\n");
        return 1;
    }
    if (o->all_tags && tag) {
        err_printf("tag can't be used with --all-tags/-a\n");
        return 1;
    }
    if (!tag && !o->all_tags) {
        tag = xstrdup("latest");
        if (!o->quiet)
            out_printf("Using default tag: latest\n");
    }
    CLEANUP(registry_auth_done) struct registry_auth auth = {0};
    url_set(&u, "/images/", repository, "/push");
    url_add(&u, "tag", tag);
    url_add(&u, "platform", o->platform);
    url_add(&u, "compression", o->compression);
    url_add(&u, "compressionLevel", o->level);
    url_add(&u, "format", o->format);
    if (o->all_platforms)
        url_add_bool(&u, "allPlatforms", true);
    registry_auth_find(cli, repository, true, &auth);
    cli->headers = (const char *const *)auth.headers;
    r = api_open(cli, "POST", &u, NULL, false, &conn, &res, &e);
    cli->headers = NULL;
    if (r >= 0)
        r = progress_show(conn, STDOUT_FILENO, o->quiet, &e);
    if (r < 0)
        return cli_fail(&e);
    if (o->quiet) {
        AUTOFREE char *canonical = image_canonical_repository(repository);
        out_printf("%s%s%s\n", canonical, tag ? ":" : "", tag ? tag : "");
    }
    return 0;
}

#define PUSH_COMMAND                                                                               \
    .name = "push", .args = "NAME[:TAG]", .summary = "Upload an image to a registry",              \
    .options = push_option_table, .options_size = sizeof(struct push_options), .args_min = 1,      \
    .args_max = 1, .complete = COMPLETE_IMAGE, .run = run_push
const struct command command_push = {.flags = COMMAND_COMMON, PUSH_COMMAND};
