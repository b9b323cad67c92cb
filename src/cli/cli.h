/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all commands share: where the daemon is, requests to it, errors as users see them.
 *
 * The command line is one thread. It keeps one idle connection for ordinary requests; streams
 * (attach, logs, events, wait) get a connection of their own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"
#include "cli/options.h"
#include "http/client.h"

#define CLI_DEFAULT_HOST "unix:///run/pouch/pouch.sock"
#define CLI_API_VERSION  "1.51" /* the newest that is spoken here */
#define CLI_ANSWER_MAX   ((size_t)256 << 20)

struct cli {
    const char *path; /* the command as help names it: "pouch container ls" */
    const struct command *cmd;
    const struct command *const *commands; /* the top level */
    char *host;
    struct http_endpoint *endpoint;
    char *api_version;
    struct http_conn *idle; /* may be NULL */
    bool debug;
    const char *const
        *headers; /* further "Name: value" of the next requests, NULL-ended, or NULL */
};

/* --- Requests ---------------------------------------------------------------------------- */

/* A path with a query, built piece by piece; parts and values get encoded. */
struct url {
    struct buf b;
    bool has_query;
};
#define URL_INIT                                                                                   \
    {                                                                                              \
        .b = BUF_INIT(BUF_UNLIMITED)                                                               \
    }
/* "/containers/" + id + "/json"; name and rest may be NULL. */
void url_set(struct url *u, const char *prefix, const char *name, const char *rest);
void url_add(struct url *u, const char *key, const char *value); /* NULL value: nothing */
void url_add_int(struct url *u, const char *key, int64_t value);
void url_add_bool(struct url *u, const char *key, bool value); /* false: nothing */
void url_done(struct url *u);

/*
 * One request and its answer: the status (200 … 399) or -errno with the error filled: "Error
 * response from daemon: …". A body is JSON text or NULL. The answer's text goes to `out` unless
 * that is NULL. A daemon that speaks only an older API version is asked again in that version.
 */
int api_call(struct cli *cli, const char *method, const struct url *url, const char *body,
             struct buf *out, struct error *e) MUST_CHECK;
/* The same, the answer parsed. */
int api_get(struct cli *cli, const struct url *url, struct json_value **ret,
            struct error *e) MUST_CHECK;

/* The same for a list that may be long: each element is parsed, shown to `one`, and freed. */
int api_list(struct cli *cli, const struct url *url,
             int (*one)(const struct json_value *v, void *data, struct error *e), void *data,
             struct error *e) MUST_CHECK;
/* Finds the next element of the JSON list whose text begins at *p (at first behind the bracket):
 * 1 with its place, 0 at the end, -EINVAL. Only brackets and quotes are looked at. */
int json_list_next(const char **p, const char *end, const char **ret, size_t *ret_len);

/* A request on a connection that the caller gets (the idle one, if there is one, unless it is to be
 * upgraded). api_send() leaves the answer to be received. */
int api_send(struct cli *cli, const char *method, const struct url *url, const char *body,
             bool upgrade, struct http_conn **ret, struct error *e) MUST_CHECK;
/* Receives the head and turns an error status into an error. */
int api_recv(struct cli *cli, struct http_conn *c, struct http_response *ret,
             struct error *e) MUST_CHECK;
/* The same for a request without a body, repeated on a new connection if the daemon wants an older
 * API version. */
int api_recv_or_repeat(struct cli *cli, const char *method, const struct url *url,
                       struct http_conn **c, struct http_response *ret, struct error *e) MUST_CHECK;
/* Both; retries in an older API version. */
int api_open(struct cli *cli, const char *method, const struct url *url, const char *body,
             bool upgrade, struct http_conn **ret, struct http_response *ret_res,
             struct error *e) MUST_CHECK;
/* Uploads what fd gives as the body and returns the connection with the answer's head received. */
int api_upload(struct cli *cli, const char *method, const struct url *url, const char *content_type,
               int fd, struct http_conn **ret, struct error *e) MUST_CHECK;

/* --- Errors ------------------------------------------------------------------------------ */

/* Prints the error; returns the exit status 1. */
int cli_fail(const struct error *e);
/* As `run` and `create` do: "pouch: …" and "See 'pouch run --help'."; returns 125. */
int cli_fail_run(const struct cli *cli, const struct error *e);
/* Exit status for a command that the daemon could not start, told by its message: 127 when there is
 * no such command, 126 when it cannot be executed, else `otherwise`. */
int cli_start_status(const struct error *e, int otherwise);
/* Prints the warnings of an answer. */
void cli_show_warnings(const struct json_value *answer);
/* Does the same for several arguments; each failure is printed; 0 or 1. */
int cli_for_each(struct cli *cli, char **args,
                 int (*one)(struct cli *cli, const char *arg, void *data, struct error *e),
                 void *data);
/*
 * Like cli_for_each(), for requests that may take long: up to 50 are under way at once. `make`
 * writes the request's URL; each argument whose request succeeded is printed.
 */
int cli_for_each_request(struct cli *cli, char **args, const char *method,
                         void (*make)(struct url *u, const char *arg, void *data), void *data);

/* --- Output ------------------------------------------------------------------------------ */

/* Writes all to standard output; a reader that has gone ends the program quietly. */
void out_write(const char *data, size_t len);
void out_puts(const char *s);
void out_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
void err_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* {"key":["a","b"]} of --filter key=a …; -EINVAL. The caller frees *ret; NULL when none given. */
int filters_json(char *const *filters, char **ret, struct error *e) MUST_CHECK;

/* Text of a member, "" when it is none. */
const char *jstr(const struct json_value *obj, const char *key);

/* The commands, one or more a file; the lists of groups are in commands.c. */
#define CLI_COMMANDS(X)                                                                            \
    X(attach)                                                                                      \
    X(commit)                                                                                      \
    X(complete)                                                                                    \
    X(completion)                                                                                  \
    X(create)                                                                                      \
    X(diff)                                                                                        \
    X(events)                                                                                      \
    X(exec)                                                                                        \
    X(fsck)                                                                                        \
    X(export)                                                                                      \
    X(help)                                                                                        \
    X(history)                                                                                     \
    X(images)                                                                                      \
    X(image_inspect)                                                                               \
    X(import)                                                                                      \
    X(info)                                                                                        \
    X(inspect)                                                                                     \
    X(container_inspect)                                                                           \
    X(container_ls)                                                                                \
    X(container_prune)                                                                             \
    X(container_rm)                                                                                \
    X(image_ls)                                                                                    \
    X(image_mount)                                                                                 \
    X(image_prune)                                                                                 \
    X(image_protect)                                                                               \
    X(image_rm)                                                                                    \
    X(image_umount)                                                                                \
    X(kill)                                                                                        \
    X(load)                                                                                        \
    X(login)                                                                                       \
    X(logout)                                                                                      \
    X(logs)                                                                                        \
    X(manifest_add)                                                                                \
    X(manifest_annotate)                                                                           \
    X(manifest_create)                                                                             \
    X(manifest_inspect)                                                                            \
    X(manifest_ls)                                                                                 \
    X(manifest_push)                                                                               \
    X(manifest_referrers)                                                                          \
    X(manifest_rm)                                                                                 \
    X(man)                                                                                         \
    X(network_connect)                                                                             \
    X(network_disconnect)                                                                          \
    X(pause)                                                                                       \
    X(port)                                                                                        \
    X(ps)                                                                                          \
    X(push)                                                                                        \
    X(pull)                                                                                        \
    X(remount_lxcfs)                                                                               \
    X(rename)                                                                                      \
    X(restart)                                                                                     \
    X(rm)                                                                                          \
    X(rmi)                                                                                         \
    X(run)                                                                                         \
    X(save)                                                                                        \
    X(search)                                                                                      \
    X(stats)                                                                                       \
    X(start)                                                                                       \
    X(stop)                                                                                        \
    X(system_df)                                                                                   \
    X(system_prune)                                                                                \
    X(system_gc)                                                                                   \
    X(tag)                                                                                         \
    X(top)                                                                                         \
    X(trust_set)                                                                                   \
    X(trust_show)                                                                                  \
    X(upgrade)                                                                                     \
    X(update)                                                                                      \
    X(unpause)                                                                                     \
    X(version)                                                                                     \
    X(volume_create)                                                                               \
    X(volume_inspect)                                                                              \
    X(volume_ls)                                                                                   \
    X(volume_prune)                                                                                \
    X(volume_rm)                                                                                   \
    X(wait)
#define X(name) extern const struct command command_##name;
CLI_COMMANDS(X)
#undef X
extern const struct command *const cli_commands[];
extern const struct option_def cli_global_options[];
