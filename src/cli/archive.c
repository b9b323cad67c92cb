/* SPDX-License-Identifier: Apache-2.0 */
/* Commands whose answer is an archive: save. */
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
#include "cli/cli.h"

#define PIECE (256u * 1024)

/* --- Where the archive goes ------------------------------------------------------------------- */

/* A file is made beside its name and gets it when it is whole; devices and pipes are written to. */
struct target {
    const char *path; /* NULL: standard output */
    char *temporary;
    int fd;
};

static void target_done(struct target *t)
{
    if (t->temporary)
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
    t->fd = open(t->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (t->fd < 0) {
        free(take_ptr(t->temporary));
        return error_set_errno(e, errno, "create %s", path);
    }
    return 0;
}

static int target_finish(struct target *t, struct error *e)
{
    if (t->temporary && rename(t->temporary, t->path) < 0)
        return error_set_errno(e, errno, "write %s", t->path);
    free(take_ptr(t->temporary));
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
