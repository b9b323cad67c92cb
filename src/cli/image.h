/* SPDX-License-Identifier: Apache-2.0 */
/* Images as other commands need them. */
#pragma once

#include "cli/cli.h"

/* Pulls an image and shows the progress on fd; quiet: nothing but errors. `image` may lack a tag. */
int image_pull(struct cli *cli, const char *image, const char *platform, bool quiet, int fd,
               struct error *e) MUST_CHECK;

/* The same when the image is there already: a registry that cannot be asked is only a warning then.
 * Does nothing when it is not. */
int image_pull_newer(struct cli *cli, const char *image, const char *platform, bool quiet, int fd,
                     struct error *e) MUST_CHECK;

/* Shows a stream of progress messages ({"status":…}\n…) on fd: in place when it is a terminal,
 * else one line for each that says something new. The error that the stream carries is returned. */
int progress_show(struct http_conn *conn, int fd, bool quiet, struct error *e) MUST_CHECK;

/* The same; *ret_aux is what the last line with an "aux" had (the caller frees), or NULL. */
int progress_show_aux(struct http_conn *conn, int fd, bool quiet, struct json_value **ret_aux,
                      struct error *e) MUST_CHECK;

/* "docker.io/library/busybox" of "busybox": what a short name stands for. The caller frees. */
char *image_canonical_repository(const char *repository) MUST_CHECK;

/* The same; *ret_image (the caller frees) is the image that "Status: … for IMAGE" names, or NULL. */
int progress_show_image(struct http_conn *conn, int fd, bool quiet, char **ret_image,
                        struct error *e) MUST_CHECK;

/* Splits "repository:tag" / "repository@digest"; the caller frees. *ret_tag is NULL when absent. */
void image_split(const char *image, char **ret_repository, char **ret_tag);
