/* SPDX-License-Identifier: Apache-2.0 */
/* pouch: global options, choice of the command, exit status. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/global.h"

static char *certificate(const char *given, const char *dir, const char *name)
{
    if (given && *given)
        return xstrdup(given);
    return dir && *dir ? xasprintf("%s/%s", dir, name) : NULL;
}

static int set_up_endpoint(struct cli *cli, const struct global_options *g, struct error *e)
{
    const char *host = g->host && *g->host ? g->host : getenv("POUCH_HOST");
    const char *verify = getenv("POUCH_TLS_VERIFY");
    const char *dir = getenv("POUCH_CERT_PATH");
    AUTOFREE char *ca = certificate(g->tls_ca, dir, "ca.pem");
    AUTOFREE char *cert = certificate(g->tls_cert, dir, "cert.pem");
    AUTOFREE char *key = certificate(g->tls_key, dir, "key.pem");
    bool must_verify = g->tls_verify || (!g->tls && verify && *verify);
    struct http_tls_options tls = {.enabled = g->tls || must_verify,
                                   .verify = must_verify,
                                   .ca = ca,
                                   .cert = cert,
                                   .key = key};

    if (!host || !*host)
        host = CLI_DEFAULT_HOST;
    if (*host == '/')
        cli->host = xasprintf("unix://%s", host);
    else if (!strstr(host, "://"))
        cli->host = xasprintf("tcp://%s", host);
    else
        cli->host = xstrdup(host);
    return http_endpoint_parse(cli->host, &tls, &cli->endpoint, e);
}

static int show_help(const struct command *cmd, const char *path)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);

    help_command(cmd, path, &out);
    out_write(buf_str(&out), out.len);
    return 0;
}

static int usage_error(const char *path, const struct error *e)
{
    err_printf("%s\nSee '%s --help'.\n", error_message(e), path);
    return 125;
}

/* A wrong number of arguments: also how the command is used. */
static int count_error(const struct command *cmd, const char *path, const struct error *e)
{
    err_printf("%s\nSee '%s --help'.\n\nUsage:  %s%s%s%s\n\n%s\n", error_message(e), path, path,
               cmd->options ? " [OPTIONS]" : "", cmd->args && *cmd->args ? " " : "",
               cmd->args ? cmd->args : "", cmd->summary);
    return 1;
}

static int run_command(struct cli *cli, const struct command *cmd, const char *path, char **argv,
                       size_t argc)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE void *options = xcalloc(1, cmd->options_size ? cmd->options_size : 1);
    AUTOFREE char **args = NULL;
    size_t n = 0;
    bool help = false;
    int status;

    cli->path = path;
    cli->cmd = cmd;
    if (options_parse(cmd, argv, argc, options, &args, &n, &help, &e) < 0)
        status = usage_error(path, &e);
    else if (help)
        status = show_help(cmd, path);
    else if (options_check_count(cmd, path, n, &e) < 0)
        status = count_error(cmd, path, &e);
    else
        status = cmd->run(cli, options, args, n);
    options_free(cmd->options, options);
    return status;
}

/* The words after the global options: a command, perhaps within a group. */
static int dispatch(struct cli *cli, char **words, size_t n)
{
    AUTOFREE char *path = NULL;
    size_t used = 0;
    const struct command *cmd = command_walk(words, n, &path, &used);

    if (!cmd->sub)
        return run_command(cli, cmd, path, words + used, n - used);
    if (used == n || STREQ(words[used], "--help") || STREQ(words[used], "-h"))
        return show_help(cmd, path);
    if (cmd == &cli_root)
        err_printf("pouch: '%s' is not a pouch command.\nSee 'pouch --help'\n", words[used]);
    else
        err_printf("pouch: '%s %s' is not a pouch command.\nSee '%s --help'\n", path + 6,
                   words[used], path);
    return 1;
}

int main(int argc, char **argv)
{
    struct cli cli = {.path = "pouch", .commands = cli_commands};
    struct global_options g = {0};
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char **args = NULL;
    size_t n = 0;
    bool help = false;
    int status;

    log_set_level(LOG_LEVEL_ERROR);
    cli.api_version = xstrdup(CLI_API_VERSION);
    if (options_parse(&cli_root, argv + 1, (size_t)argc - (argc > 0), &g, &args, &n, &help, &e) <
        0) {
        status = usage_error("pouch", &e);
    } else if (g.version) {
        out_printf("Pouch version %s\n", POUCH_VERSION);
        status = 0;
    } else if (help) {
        status = show_help(&cli_root, "pouch");
    } else if (set_up_endpoint(&cli, &g, &e) < 0) {
        status = cli_fail(&e);
    } else {
        cli.debug = g.debug;
        status = dispatch(&cli, args, n);
    }
    http_conn_free(cli.idle);
    http_endpoint_free(cli.endpoint);
    free(cli.host);
    free(cli.api_version);
    options_free(cli_global_options, &g);
    return status;
}
