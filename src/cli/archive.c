/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that take files out: save, export, diff; and commit. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "cli/format.h"
#include "cli/image.h"

#define PIECE (256u * 1024)

/* --- Where the archive goes ------------------------------------------------------------------- */

/* A file gets its name when it is whole; until then it has none, so that nothing of it stays however
 * this process ends, or on file systems without such files another beside it. Devices and pipes are
 * written to. */
struct target {
    const char *path; /* NULL: standard output */
    char *temporary;
    bool named; /* temporary is there */
    int fd;
};

static void target_done(struct target *t)
{
    if (t->named)
        (void)unlink(t->temporary);
    free(t->temporary);
    if (t->path && t->fd >= 0)
        (void)close(t->fd);
}

static int target_open(struct target *t, const char *path, const char *what, struct error *e)
{
    struct stat st;

    *t = (struct target){.path = path, .fd = STDOUT_FILENO};
    if (!path && isatty(STDOUT_FILENO))
        return error_set(e, ERR_INVALID,
                         "cowardly refusing to %s to a terminal: use the -o flag or redirect",
                         what);
    if (!path)
        return 0;
    t->fd = -EBADF;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return error_set(e, ERR_INVALID, "%s is a folder: name a file for the archive", path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        t->fd = open(path, O_WRONLY | O_CLOEXEC);
        return t->fd < 0 ? error_set_errno(e, errno, "open %s", path) : 0;
    }
    t->temporary = xasprintf("%s.%ld.part", path, (long)getpid());
    const char *slash = strrchr(path, '/');
    AUTOFREE char *folder = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
    t->fd = open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
    if (t->fd >= 0)
        return 0;
    t->fd = open(t->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (t->fd < 0)
        return error_set_errno(e, errno, "create %s", path);
    t->named = true;
    return 0;
}

static int target_finish(struct target *t, struct error *e)
{
    AUTOFREE char *self = xasprintf("/proc/self/fd/%d", t->fd);

    if (!t->temporary)
        return 0;
    if (!t->named && linkat(AT_FDCWD, self, AT_FDCWD, t->temporary, AT_SYMLINK_FOLLOW) < 0)
        return error_set_errno(e, errno, "write %s", t->path);
    t->named = true;
    if (rename(t->temporary, t->path) < 0)
        return error_set_errno(e, errno, "write %s", t->path);
    t->named = false;
    return 0;
}

static int receive(struct cli *cli, const struct url *u, struct target *t, struct error *e)
{
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res CLEANUP(http_response_done) = {0};
    AUTOFREE char *data = xmalloc(PIECE);
    ssize_t n = 0;
    int r = api_open(cli, "GET", u, NULL, false, &conn, &res, e);

    while (r >= 0 && (n = http_conn_read(conn, data, PIECE, e)) > 0) {
        r = fs_write_all(t->fd, data, (size_t)n);
        if (r < 0)
            r = error_set_errno(e, r, "write %s", t->path ? t->path : "the archive");
    }
    return r < 0 ? r : n < 0 ? (int)n : target_finish(t, e);
}

/* --- save ------------------------------------------------------------------------------------- */

struct save_options {
    char *output, *format, *compression, *platform;
};

#define SO struct save_options
static const struct option_def save_option_table[] = {
    OPT(SO, compression, "compression", 0, OPTION_STR, NULL,
        "Compress the whole archive: none, gzip, zstd", .words = "none gzip zstd"),
    OPT(SO, format, "format", 0, OPTION_STR, NULL,
        "Format of the archive: docker (with an OCI layout in it) or oci", .words = "docker oci"),
    OPT(SO, output, "output", 'o', OPTION_STR, NULL, "Write to a file, instead of STDOUT",
        .complete = COMPLETE_FILE),
    OPT(SO, platform, "platform", 0, OPTION_STR, NULL, "Save only images for this platform"),
    OPT_END,
};

static int run_save(struct cli *cli, void *options, char **args, size_t n)
{
    const struct save_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    struct target t CLEANUP(target_done) = {.fd = -EBADF};
    AUTO(error) struct error e = ERROR_INIT;

    url_set(&u, "/images/get", NULL, NULL);
    for (size_t i = 0; i < n; i++)
        url_add(&u, "names", args[i]);
    url_add(&u, "format", o->format);
    url_add(&u, "compression", o->compression);
    url_add(&u, "platform", o->platform);
    if (target_open(&t, o->output, "save", &e) < 0 || receive(cli, &u, &t, &e) < 0)
        return cli_fail(&e);
    return 0;
}

const struct command command_save = {
    .name = "save",
    .args = "IMAGE [IMAGE...]",
    .summary = "Save one or more images to a tar archive (streamed to STDOUT by default)",
    .options = save_option_table,
    .options_size = sizeof(struct save_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_IMAGE,
    .run = run_save,
};

/* --- export ----------------------------------------------------------------------------------- */

struct export_options {
    char *output;
};

static const struct option_def export_option_table[] = {
    OPT(struct export_options, output, "output", 'o', OPTION_STR, NULL,
        "Write to a file, instead of STDOUT", .complete = COMPLETE_FILE),
    OPT_END,
};

static int run_export(struct cli *cli, void *options, char **args, size_t n)
{
    const struct export_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    struct target t CLEANUP(target_done) = {.fd = -EBADF};
    AUTO(error) struct error e = ERROR_INIT;

    url_set(&u, "/containers/", args[0], "/export");
    if (target_open(&t, o->output, "export", &e) < 0 || receive(cli, &u, &t, &e) < 0)
        return cli_fail(&e);
    return 0;
}

const struct command command_export = {
    .name = "export",
    .args = "CONTAINER",
    .summary = "Export a container's filesystem as a tar archive",
    .options = export_option_table,
    .options_size = sizeof(struct export_options),
    .args_min = 1,
    .args_max = 1,
    .complete = COMPLETE_CONTAINER,
    .run = run_export,
};

/* --- diff ------------------------------------------------------------------------------------- */

struct diff_options {
    char *format;
};

static const struct option_def diff_option_table[] = {
    OPT(struct diff_options, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'json' or a Go template with .Type and .Path",
        .words = "json table"),
    OPT_END,
};

static const struct formatter_field diff_fields[] = {{"Type", "CHANGE TYPE"},
                                                     {"Path", "PATH"},
                                                     {NULL, NULL}};

static int diff_row(const struct json_value *v, void *data, struct error *e)
{
    static const char *const kinds[] = {"C", "A", "D"};
    int64_t kind = json_value_int(json_value_get(v, "Kind"));
    const char *values[] = {kinds[kind >= 0 && kind < 3 ? kind : 0], jstr(v, "Path"), NULL};

    return formatter_row(data, values, NULL, e);
}

static int run_diff(struct cli *cli, void *options, char **args, size_t n)
{
    const struct diff_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    struct formatter f CLEANUP(formatter_done) = {0};
    AUTO(error) struct error e = ERROR_INIT;

    url_set(&u, "/containers/", args[0], "/changes");
    if (formatter_init(&f, o->format ? o->format : "{{.Type}} {{.Path}}", "{{.Type}}\t{{.Path}}",
                       diff_fields, &e) < 0 ||
        api_list(cli, &u, diff_row, &f, &e) < 0)
        return cli_fail(&e);
    formatter_finish(&f);
    return 0;
}

const struct command command_diff = {
    .name = "diff",
    .args = "CONTAINER",
    .summary = "Inspect changes to files or directories on a container's filesystem",
    .options = diff_option_table,
    .options_size = sizeof(struct diff_options),
    .args_min = 1,
    .args_max = 1,
    .complete = COMPLETE_CONTAINER,
    .run = run_diff,
};

/* --- commit ----------------------------------------------------------------------------------- */

struct commit_options {
    char *author, *message;
    char **changes;
    bool pause;
};

#define CO struct commit_options
static const struct option_def commit_option_table[] = {
    OPT(CO, author, "author", 'a', OPTION_STR, NULL,
        "Author (e.g., 'John Hannibal Smith <hannibal@a-team.com>')"),
    OPT(CO, changes, "change", 'c', OPTION_LIST, NULL,
        "Apply Dockerfile instruction to the created image"),
    OPT(CO, message, "message", 'm', OPTION_STR, NULL, "Commit message"),
    OPT(CO, pause, "pause", 'p', OPTION_BOOL, NULL, "Pause container during commit",
        .initial = "true"),
    OPT_END,
};

static int run_commit(struct cli *cli, void *options, char **args, size_t n)
{
    const struct commit_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(buf) struct buf out = BUF_INIT(CLI_ANSWER_MAX);
    AUTOPTR(json_value) struct json_value *answer = NULL;
    AUTOFREE char *repository = NULL, *tag = NULL;

    url_set(&u, "/commit", NULL, NULL);
    url_add(&u, "container", args[0]);
    if (n > 1) {
        image_split(args[1], &repository, &tag);
        url_add(&u, "repo", repository);
        url_add(&u, "tag", tag);
    }
    url_add(&u, "author", o->author);
    url_add(&u, "comment", o->message);
    for (char **c = o->changes; c && *c; c++)
        url_add(&u, "changes", *c);
    url_add(&u, "pause", o->pause ? "1" : "0");
    if (api_call(cli, "POST", &u, NULL, &out, &e) < 0 ||
        json_value_parse(buf_str(&out), out.len, &answer, &e) < 0)
        return cli_fail(&e);
    out_printf("%s\n", jstr(answer, "Id"));
    return 0;
}

const struct command command_commit = {
    .name = "commit",
    .args = "CONTAINER [REPOSITORY[:TAG]]",
    .summary = "Create a new image from a container's changes",
    .options = commit_option_table,
    .options_size = sizeof(struct commit_options),
    .args_min = 1,
    .args_max = 2,
    .complete = COMPLETE_CONTAINER,
    .run = run_commit,
};
