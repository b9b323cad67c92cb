/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on images: images, pull, tag, rmi, load, import. */
#include "cli/image.h"
#include "cli/registry-auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "cli/format.h"
#include "cli/units.h"

void image_split(const char *image, char **ret_repository, char **ret_tag)
{
    const char *at = strchr(image, '@');
    const char *colon = strrchr(image, ':');

    *ret_tag = NULL;
    if (at) {
        *ret_repository = xstrndup(image, (size_t)(at - image));
        *ret_tag = xstrdup(at + 1);
    } else if (colon && !strchr(colon, '/')) {
        *ret_repository = xstrndup(image, (size_t)(colon - image));
        *ret_tag = xstrdup(colon + 1);
    } else {
        *ret_repository = xstrdup(image);
    }
}

/* --- pull -------------------------------------------------------------------------------- */

struct pull_options {
    bool all_tags, quiet;
    char *platform;
};

static const struct option_def pull_option_table[] = {
    OPT(struct pull_options, all_tags, "all-tags", 'a', OPTION_BOOL, NULL,
        "Download all tagged images in the repository"),
    OPT(struct pull_options, platform, "platform", 0, OPTION_STR, NULL,
        "Set platform if server is multi-platform capable"),
    OPT(struct pull_options, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Suppress verbose output"),
    OPT_REFUSED_BUT("disable-content-trust", OPTION_BOOL, "true",
                    "there is no Notary; signatures are checked by policy, see 'pouch trust'"),
    OPT_END,
};

static int pull(struct cli *cli, const char *repository, const char *tag, const char *platform,
                bool quiet, int fd, char **ret_image, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res CLEANUP(http_response_done) = {0};
    CLEANUP(registry_auth_done) struct registry_auth auth = {0};
    AUTOFREE char *image = tag ? xasprintf(strchr(tag, ':') ? "%s@%s" : "%s:%s", repository, tag)
                               : xstrdup(repository);
    int r;

    url_set(&u, "/images/create", NULL, NULL);
    url_add(&u, "fromImage", repository);
    url_add(&u, "tag", tag);
    url_add(&u, "platform", platform);
    registry_auth_find(cli, image, false, &auth);
    cli->headers = (const char *const *)auth.headers;
    r = api_open(cli, "POST", &u, NULL, false, &conn, &res, e);
    cli->headers = NULL;
    if (r < 0)
        return r;
    return progress_show_image(conn, fd, quiet, ret_image, e);
}

int image_pull(struct cli *cli, const char *image, const char *platform, bool quiet, int fd,
               struct error *e)
{
    AUTOFREE char *repository = NULL;
    AUTOFREE char *tag = NULL;
    AUTOFREE char *came = NULL;

    image_split(image, &repository, &tag);
    return pull(cli, repository, tag ? tag : "latest", platform, quiet, fd, &came, e);
}

int image_pull_newer(struct cli *cli, const char *image, const char *platform, bool quiet, int fd,
                     struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error own = ERROR_INIT;
    AUTO(buf) struct buf unused = BUF_INIT(CLI_ANSWER_MAX);

    url_set(&u, "/images/", image, "/json");
    if (api_call(cli, "GET", &u, NULL, &unused, &own) < 0) {
        if (own.code == ERR_NOT_FOUND)
            return 0; /* creating finds that out, and pulls */
        error_move(e, &own);
        return -EIO;
    }
    int r = image_pull(cli, image, platform, quiet, fd, &own);
    if (r >= 0)
        return 0;
    if (strstr(error_message(&own), "signature policy")) { /* no permission is no bad luck */
        error_move(e, &own);
        return r;
    }
    err_printf("WARNING: no newer image could be looked for, the one that is here is used: %s\n",
               error_message(&own));
    return 0;
}

/* "docker.io/library/busybox" of "busybox": what a short name stands for. */
char *image_canonical_repository(const char *repository)
{
    const char *slash = strchr(repository, '/');
    size_t len = slash ? (size_t)(slash - repository) : 0;

    if (!slash)
        return xasprintf("docker.io/library/%s", repository);
    if (memchr(repository, '.', len) || memchr(repository, ':', len) ||
        (len == 9 && !strncmp(repository, "localhost", 9)))
        return xstrdup(repository);
    return xasprintf("docker.io/%s", repository);
}

static int run_pull(struct cli *cli, void *options, char **args, size_t n)
{
    const struct pull_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *repository = NULL, *tag = NULL, *canonical = NULL;
    AUTOFREE char *came = NULL, *came_from = NULL, *came_tag = NULL;
    int r;

    image_split(args[0], &repository, &tag);
    if (o->all_tags && tag) {
        err_printf("tag can't be used with --all-tags/-a\n");
        return 1;
    }
    if (!tag && !o->all_tags) {
        tag = xstrdup("latest");
        if (!o->quiet)
            out_printf("Using default tag: latest\n");
    }
    r = pull(cli, repository, tag, o->platform, o->quiet, STDOUT_FILENO, &came, &e);
    if (r < 0)
        return cli_fail(&e);
    if (came) /* the daemon knows what a short name stands for */
        image_split(came, &came_from, &came_tag);
    canonical = image_canonical_repository(came_from ? came_from : repository);
    if (tag)
        out_printf("%s%s%s\n", canonical, strchr(tag, ':') ? "@" : ":", tag);
    else
        out_printf("%s\n", canonical);
    return 0;
}

/* --- images ------------------------------------------------------------------------------ */

struct images_options {
    bool all, digests, no_trunc, quiet;
    char **filters;
    char *format;
};

#define IO struct images_options
static const struct option_def images_option_table[] = {
    OPT(IO, all, "all", 'a', OPTION_BOOL, NULL,
        "Show all images (default hides intermediate images)"),
    OPT(IO, digests, "digests", 0, OPTION_BOOL, NULL, "Show digests"),
    OPT(IO, filters, "filter", 'f', OPTION_LIST, "filter",
        "Filter output based on conditions provided",
        .words =
            "dangling=true dangling=false label= label!= reference= before= since= until= id="),
    OPT(IO, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(IO, no_trunc, "no-trunc", 0, OPTION_BOOL, NULL, "Don't truncate output"),
    OPT(IO, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Only show image IDs"),
    OPT_END,
};

enum field {
    F_CONTAINERS,
    F_CREATED_AT,
    F_CREATED_SINCE,
    F_DIGEST,
    F_ID,
    F_REPOSITORY,
    F_SHARED_SIZE,
    F_SIZE,
    F_TAG,
    F_UNIQUE_SIZE,
    F_VIRTUAL_SIZE,
    F_MAX
};
static const struct formatter_field fields[] = {
    [F_CONTAINERS] = {"Containers", "CONTAINERS"},
    [F_CREATED_AT] = {"CreatedAt", "CREATED AT"},
    [F_CREATED_SINCE] = {"CreatedSince", "CREATED"},
    [F_DIGEST] = {"Digest", "DIGEST"},
    [F_ID] = {"ID", "IMAGE ID"},
    [F_REPOSITORY] = {"Repository", "REPOSITORY"},
    [F_SHARED_SIZE] = {"SharedSize", "SHARED SIZE"},
    [F_SIZE] = {"Size", "SIZE"},
    [F_TAG] = {"Tag", "TAG"},
    [F_UNIQUE_SIZE] = {"UniqueSize", "UNIQUE SIZE"},
    [F_VIRTUAL_SIZE] = {"VirtualSize", "VIRTUAL SIZE"},
    [F_MAX] = {NULL, NULL},
};

struct image_texts {
    char id[80], since[UNITS_MAX + 8], at[64], size[UNITS_MAX];
};

static void describe(const struct json_value *image, const struct images_options *o,
                     struct image_texts *t)
{
    int64_t created = json_value_int(json_value_get(image, "Created"));
    const char *id = jstr(image, "Id");
    time_t when = (time_t)created;
    struct tm tm;
    char since[UNITS_MAX];

    (void)snprintf(t->id, sizeof t->id, o->no_trunc ? "%s" : "%.12s",
                   !o->no_trunc && strchr(id, ':') ? strchr(id, ':') + 1 : id);
    (void)units_duration(time_now_ns() / NSEC_PER_SEC - created, since);
    if (created > 0)
        (void)snprintf(t->since, sizeof t->since, "%s ago", since);
    else
        (void)snprintf(t->since, sizeof t->since, "N/A");
    (void)localtime_r(&when, &tm);
    if (!strftime(t->at, sizeof t->at, "%Y-%m-%d %H:%M:%S %z %Z", &tm))
        t->at[0] = '\0';
    (void)units_size(json_value_int(json_value_get(image, "Size")), t->size);
}

static int images_row(struct formatter *f, const struct image_texts *t, const char *repository,
                      const char *tag, const char *digest, struct error *e)
{
    const char *values[F_MAX + 1] = {
        [F_CONTAINERS] = "N/A",
        [F_CREATED_AT] = t->at,
        [F_CREATED_SINCE] = t->since,
        [F_DIGEST] = digest,
        [F_ID] = t->id,
        [F_REPOSITORY] = repository,
        [F_SHARED_SIZE] = "N/A",
        [F_SIZE] = t->size,
        [F_TAG] = tag,
        [F_UNIQUE_SIZE] = "N/A",
        [F_VIRTUAL_SIZE] = t->size,
    };

    return formatter_row(f, values, NULL, e);
}

/* A row for each digest by which the repository knows the image; one when none is shown or there is
 * none. */
static int tag_rows(struct formatter *f, const struct image_texts *t,
                    const struct json_value *image, const char *repository, const char *tag,
                    bool each_digest, struct error *e)
{
    const struct json_value *digests = json_value_get(image, "RepoDigests");
    size_t len = strlen(repository), rows = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < json_value_len(digests) && (each_digest || !rows); i++) {
        const char *d = json_value_str(json_value_at(digests, i));

        if (!d || strncmp(d, repository, len) || d[len] != '@')
            continue;
        r = images_row(f, t, repository, tag, d + len + 1, e);
        rows++;
    }
    return rows ? r : images_row(f, t, repository, tag, "<none>", e);
}

/* A row for each tag; one for an image that has none. */
static int images_rows(struct formatter *f, const struct json_value *image,
                       const struct images_options *o, struct error *e)
{
    const struct json_value *tags = json_value_get(image, "RepoTags");
    const struct json_value *digests = json_value_get(image, "RepoDigests");
    struct image_texts t = {0};
    size_t rows = 0;
    int r = 0;

    describe(image, o, &t);
    for (size_t i = 0; i < json_value_len(tags) && r == 0; i++) {
        const char *name = json_value_str(json_value_at(tags, i));
        AUTOFREE char *repository = NULL, *tag = NULL;

        if (!name || STREQ(name, "<none>:<none>"))
            continue;
        image_split(name, &repository, &tag);
        r = tag_rows(f, &t, image, repository, tag ? tag : "<none>",
                     o->digests || (o->format && strstr(o->format, "{{.Digest}}")), e);
        rows++;
    }
    if (r == 0 && !rows) {
        const char *first = json_value_str(json_value_at(digests, 0));
        AUTOFREE char *repository = NULL, *digest = NULL;

        image_split(first ? first : "<none>", &repository, &digest);
        if (STREQ(repository, "<none>"))
            str_replace(&digest, "<none>");
        r = images_row(f, &t, repository, "<none>", digest ? digest : "<none>", e);
    }
    return r;
}

static int run_images(struct cli *cli, void *options, char **args, size_t n)
{
    struct images_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *filters = NULL;
    AUTOPTR(json_value) struct json_value *list = NULL;
    struct formatter f CLEANUP(formatter_done) = {0};
    int r;

    if (n == 1)
        strv_pushf(&o->filters, "reference=%s", args[0]);
    if (filters_json(o->filters, &filters, &e) < 0)
        return cli_fail(&e);
    url_set(&u, "/images/json", NULL, NULL);
    url_add_bool(&u, "all", o->all);
    url_add(&u, "filters", filters);
    if (api_get(cli, &u, &list, &e) < 0)
        return cli_fail(&e);
    r = formatter_init(&f, o->quiet && !o->format ? "{{.ID}}" : o->format,
                       o->digests ? "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t"
                                    "{{.CreatedSince}}\t{{.Size}}"
                                  : "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t"
                                    "{{.Size}}",
                       fields, &e);
    for (size_t i = 0; i < json_value_len(list) && r == 0; i++)
        r = images_rows(&f, json_value_at(list, i), o, &e);
    if (r < 0)
        return cli_fail(&e);
    formatter_finish(&f);
    return 0;
}

/* --- tag, rmi ---------------------------------------------------------------------------- */

static int run_tag(struct cli *cli, void *options, char **args, size_t n)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *repository = NULL, *tag = NULL;

    if (strchr(args[1], '@')) {
        err_printf("Error: refusing to create a tag with a digest reference: %s\n", args[1]);
        return 1;
    }
    image_split(args[1], &repository, &tag);
    url_set(&u, "/images/", args[0], "/tag");
    url_add(&u, "repo", repository);
    url_add(&u, "tag", tag ? tag : "latest");
    return api_call(cli, "POST", &u, NULL, NULL, &e) < 0 ? cli_fail(&e) : 0;
}

struct rmi_options {
    bool force, no_prune;
};

static const struct option_def rmi_option_table[] = {
    OPT(struct rmi_options, force, "force", 'f', OPTION_BOOL, NULL, "Force removal of the image"),
    OPT(struct rmi_options, no_prune, "no-prune", 0, OPTION_BOOL, NULL,
        "Do not delete untagged parents"),
    OPT_END,
};

struct rmi {
    const struct rmi_options *options;
    bool failed; /* otherwise than that there is no such image */
};

static int rmi_one(struct cli *cli, const char *name, void *data, struct error *e)
{
    struct rmi *rmi = data;
    const struct rmi_options *o = rmi->options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    AUTOPTR(json_value) struct json_value *list = NULL;
    int r;

    url_set(&u, "/images/", name, NULL);
    url_add_bool(&u, "force", o->force);
    url_add_bool(&u, "noprune", o->no_prune);
    r = api_call(cli, "DELETE", &u, NULL, &out, e);
    if (r < 0) {
        rmi->failed |= e->code != ERR_NOT_FOUND;
        return r;
    }
    r = json_value_parse(buf_str(&out), out.len, &list, e);
    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *item = json_value_at(list, i);
        bool deleted = *jstr(item, "Deleted") != '\0';

        out_printf("%s: %s\n", deleted ? "Deleted" : "Untagged",
                   jstr(item, deleted ? "Deleted" : "Untagged"));
    }
    return r;
}

static int run_rmi(struct cli *cli, void *options, char **args, size_t n)
{
    struct rmi r = {.options = options};
    int status = cli_for_each(cli, args, rmi_one, &r);

    /* By force: what is not there is as good as removed. */
    return r.options->force && !r.failed ? 0 : status;
}

/* --- load, import ------------------------------------------------------------------------ */

struct load_options {
    char *input, *platform;
    bool quiet;
};

static const struct option_def load_option_table[] = {
    OPT(struct load_options, input, "input", 'i', OPTION_STR, NULL,
        "Read from tar archive file, instead of STDIN", .complete = COMPLETE_FILE),
    OPT(struct load_options, platform, "platform", 0, OPTION_STR, NULL,
        "Load only the images for this platform"),
    OPT(struct load_options, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Suppress the load output"),
    OPT_END,
};

static int open_input(const char *path, int *ret_fd, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(e, errno, "open %s", path);
    *ret_fd = fd;
    return 0;
}

static int run_load(struct cli *cli, void *options, char **args, size_t n)
{
    const struct load_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    AUTOFD int file = -EBADF;

    if (o->input && open_input(o->input, &file, &e) < 0)
        return cli_fail(&e);
    if (!o->input && isatty(STDIN_FILENO)) {
        err_printf("requested load from stdin, but stdin is empty\n");
        return 1;
    }
    url_set(&u, "/images/load", NULL, NULL);
    url_add(&u, "platform", o->platform);
    url_add(&u, "quiet", o->quiet || !isatty(STDOUT_FILENO) ? "1" : "0");
    if (api_upload(cli, "POST", &u, "application/x-tar", o->input ? file : STDIN_FILENO, &conn,
                   &e) < 0 ||
        progress_show(conn, STDOUT_FILENO, false, &e) < 0)
        return cli_fail(&e);
    return 0;
}

struct import_options {
    char **changes;
    char *message, *platform;
};

static const struct option_def import_option_table[] = {
    OPT(struct import_options, changes, "change", 'c', OPTION_LIST, NULL,
        "Apply Dockerfile instruction to the created image"),
    OPT(struct import_options, message, "message", 'm', OPTION_STR, NULL,
        "Set commit message for imported image"),
    OPT(struct import_options, platform, "platform", 0, OPTION_STR, NULL,
        "Set platform if server is multi-platform capable"),
    OPT_END,
};

static int run_import(struct cli *cli, void *options, char **args, size_t n)
{
    const struct import_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    AUTOFREE char *repository = NULL, *tag = NULL;
    AUTOFD int file = -EBADF;
    bool from_stdin = STREQ(args[0], "-"), from_url = strstr(args[0], "://") != NULL;

    if (!from_stdin && !from_url && open_input(args[0], &file, &e) < 0)
        return cli_fail(&e);
    url_set(&u, "/images/create", NULL, NULL);
    url_add(&u, "fromSrc", from_url ? args[0] : "-");
    if (n > 1) {
        image_split(args[1], &repository, &tag);
        url_add(&u, "repo", repository);
        url_add(&u, "tag", tag);
    }
    url_add(&u, "message", o->message);
    url_add(&u, "platform", o->platform);
    for (char **c = o->changes; c && *c; c++)
        url_add(&u, "changes", *c);
    struct http_response res CLEANUP(http_response_done) = {0};
    int r = from_url ? api_open(cli, "POST", &u, NULL, false, &conn, &res, &e)
                     : api_upload(cli, "POST", &u, "application/x-tar",
                                  from_stdin ? STDIN_FILENO : file, &conn, &e);
    if (r < 0 || progress_show(conn, STDOUT_FILENO, false, &e) < 0)
        return cli_fail(&e);
    return 0;
}

const struct command command_pull = {
    .name = "pull",
    .args = "NAME[:TAG|@DIGEST]",
    .summary = "Download an image from a registry",
    .options = pull_option_table,
    .options_size = sizeof(struct pull_options),
    .args_min = 1,
    .args_max = 1,
    .flags = COMMAND_COMMON,
    .complete = COMPLETE_IMAGE,
    .run = run_pull,
};
#define IMAGES_COMMAND                                                                             \
    .args = "[REPOSITORY[:TAG]]", .summary = "List images", .options = images_option_table,        \
    .options_size = sizeof(struct images_options), .args_min = 0, .args_max = 1,                   \
    .complete = COMPLETE_IMAGE, .run = run_images
const struct command command_images = {.name = "images", .flags = COMMAND_COMMON, IMAGES_COMMAND};
const struct command command_image_ls = {.name = "ls", .aliases = "list", IMAGES_COMMAND};
const struct command command_tag = {
    .name = "tag",
    .args = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    .summary = "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    .args_min = 2,
    .args_max = 2,
    .complete = COMPLETE_IMAGE,
    .run = run_tag,
};
#define RMI_COMMAND                                                                                \
    .args = "IMAGE [IMAGE...]", .summary = "Remove one or more images",                            \
    .options = rmi_option_table, .options_size = sizeof(struct rmi_options), .args_min = 1,        \
    .args_max = -1, .complete = COMPLETE_IMAGE, .run = run_rmi
const struct command command_rmi = {.name = "rmi", RMI_COMMAND};
const struct command command_image_rm = {.name = "rm", .aliases = "remove", RMI_COMMAND};
const struct command command_load = {
    .name = "load",
    .args = "",
    .summary = "Load an image from a tar archive or STDIN",
    .options = load_option_table,
    .options_size = sizeof(struct load_options),
    .args_min = 0,
    .args_max = 0,
    .run = run_load,
};
const struct command command_import = {
    .name = "import",
    .args = "file|URL|- [REPOSITORY[:TAG]]",
    .summary = "Import the contents from a tarball to create a filesystem image",
    .options = import_option_table,
    .options_size = sizeof(struct import_options),
    .args_min = 1,
    .args_max = 2,
    .complete = COMPLETE_FILE,
    .run = run_import,
};
