/* SPDX-License-Identifier: Apache-2.0 */
/* login, logout. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/credentials.h"

#define SECRET_MAX (64u * 1024)

struct login_options {
    char *username, *password;
    bool password_stdin;
};

static const struct option_def login_option_table[] = {
    OPT(struct login_options, password, "password", 'p', OPTION_STR, NULL, "Password"),
    OPT(struct login_options, password_stdin, "password-stdin", 0, OPTION_BOOL, NULL,
        "Take the password from stdin"),
    OPT(struct login_options, username, "username", 'u', OPTION_STR, NULL, "Username"),
    OPT_END,
};

/* All of standard input, without the line's end. */
static int read_stdin(char **ret, struct error *e)
{
    AUTOFREE char *text = xcalloc(1, SECRET_MAX + 1);
    ssize_t n = fs_read_full(STDIN_FILENO, text, SECRET_MAX);

    if (n < 0)
        return error_set_errno(e, (int)n, "cannot read the password");
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        text[--n] = '\0';
    if (n == 0)
        return error_set(e, ERR_INVALID, "password is empty");
    *ret = xstrdup(text);
    explicit_bzero(text, SECRET_MAX);
    return 0;
}

static struct termios terminal; /* as it was before a question */

/* Ctrl-C at a hidden question: the terminal must show what is typed again. */
static void on_interrupt(int sig)
{
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal);
    _exit(128 + sig);
}

/* Asks on the terminal; with `hidden` what is typed is not shown. */
static int ask(const char *prompt, bool hidden, char **ret, struct error *e)
{
    const struct sigaction restore = {.sa_handler = on_interrupt};
    struct sigaction old_int, old_term;
    struct termios quiet;
    AUTOFREE char *line = NULL;
    size_t cap = 0;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &terminal) < 0)
        return error_set(e, ERR_INVALID,
                         "cannot ask for name and password without a terminal: use --username and "
                         "--password-stdin");
    quiet = terminal;
    if (hidden)
        quiet.c_lflag &= ~(tcflag_t)ECHO;
    (void)sigaction(SIGINT, &restore, &old_int);
    (void)sigaction(SIGTERM, &restore, &old_term);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet); /* before anybody can begin to type */
    out_printf("%s", prompt);
    ssize_t n = getline(&line, &cap, stdin);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal);
    (void)sigaction(SIGINT, &old_int, NULL);
    (void)sigaction(SIGTERM, &old_term, NULL);
    if (hidden)
        out_printf("\n");
    if (n < 0)
        return error_set(e, ERR_INVALID, "nothing was entered");
    line[strcspn(line, "\r\n")] = '\0';
    *ret = xstrdup(line);
    explicit_bzero(line, (size_t)n);
    return 0;
}

static int ask_missing(struct credentials *c, const char *known, struct error *e)
{
    int r = 0;

    if (!c->username) {
        AUTOFREE char *prompt = known ? xasprintf("Username (%s): ", known) : xstrdup("Username: ");
        r = ask(prompt, false, &c->username, e);
        if (r >= 0 && !*c->username && known)
            str_replace(&c->username, known);
        if (r >= 0 && !*c->username)
            r = error_set(e, ERR_INVALID, "username is empty");
    }
    if (r >= 0 && !c->password) {
        r = ask("Password: ", true, &c->password, e);
        if (r >= 0 && !*c->password)
            r = error_set(e, ERR_INVALID, "password is empty");
    }
    return r;
}

/* POST /auth: the daemon asks the registry. *c becomes what is to be kept. */
static int check(struct cli *cli, struct credentials *c, struct error *e)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(buf) struct buf body = BUF_INIT(BUF_UNLIMITED), out = BUF_INIT(CLI_ANSWER_MAX);
    AUTOPTR(json_value) struct json_value *answer = NULL;
    struct jsonw w = {.out = &body};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "username", c->username);
    jsonw_str(&w, "password", c->password);
    if (c->identity_token)
        jsonw_str(&w, "identitytoken", c->identity_token);
    jsonw_str(&w, "serveraddress", c->server);
    jsonw_end(&w);
    url_set(&u, "/auth", NULL, NULL);
    int r = api_call(cli, "POST", &u, buf_str(&body), &out, e);
    explicit_bzero(body.data, body.len);
    if (r >= 0 && out.len > 0)
        r = json_value_parse(buf_str(&out), out.len, &answer, e);
    if (r >= 0 && *jstr(answer, "IdentityToken")) {
        str_replace(&c->identity_token, jstr(answer, "IdentityToken"));
        str_replace(&c->password, "");
    }
    return r < 0 ? r : 0;
}

static int keep(const struct credentials *c, struct error *e)
{
    AUTOFREE char *file = NULL;
    int r = credentials_put(c, &file, e);

    if (r < 0) {
        error_add(e, "error saving credentials");
        return r;
    }
    if (file && !c->identity_token)
        err_printf("WARNING! Your password will be stored unencrypted in %s.\n"
                   "Configure a credential helper to remove this warning (see pouch-login in "
                   "pouch(1)).\n",
                   file);
    out_printf("Login Succeeded\n");
    return 0;
}

/* As the docker CLI: what was kept before is tried first. 1: it worked. */
static int try_known(struct cli *cli, const char *server, char **ret_user)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(credentials_done) struct credentials c = {0};
    int r = credentials_get(server, NULL, &c, &e);

    if (r < 0) {
        err_printf("WARNING: %s\n", error_message(&e));
        return 0;
    }
    if (r == 0)
        return 0;
    *ret_user = xstrdup_or_null(c.username);
    out_printf("Authenticating with existing credentials...\n");
    r = check(cli, &c, &e);
    if (r >= 0) {
        out_printf("Login Succeeded\n");
        return 1;
    }
    err_printf("Login did not succeed, error: %s\n", error_message(&e));
    return e.code == ERR_UNAUTHORIZED ? 0 : r;
}

static int login(struct cli *cli, const struct login_options *o, const char *server,
                 struct error *e)
{
    CLEANUP(credentials_done) struct credentials c = {.server = xstrdup(server)};
    AUTOFREE char *known = NULL;
    int r = 0;

    if (o->password)
        err_printf("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    if (o->password && o->password_stdin)
        return error_set(e, ERR_INVALID, "--password and --password-stdin are mutually exclusive");
    if (o->password_stdin && str_is_empty(o->username))
        return error_set(e, ERR_INVALID, "Must provide --username with --password-stdin");
    if (!o->username && !o->password) {
        r = try_known(cli, server, &known);
        if (r > 0)
            return 0;
        if (r < 0) /* it was told; asking for a password would not help */
            return error_set(e, ERR_UNAVAILABLE, "the registry could not be asked");
    }
    c.username = xstrdup_or_null(o->username);
    c.password = xstrdup_or_null(o->password);
    if (o->password_stdin)
        r = read_stdin(&c.password, e);
    if (r >= 0)
        r = ask_missing(&c, known, e);
    if (r >= 0)
        r = check(cli, &c, e);
    return r < 0 ? r : keep(&c, e);
}

static int run_login(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *server = credentials_server(n ? args[0] : NULL);

    if (login(cli, options, server, &e) < 0)
        return cli_fail(&e);
    return 0;
}

static int run_logout(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *server = credentials_server(n ? args[0] : NULL);
    int r = credentials_remove(server, &e);

    if (r < 0)
        return cli_fail(&e);
    if (r == 0)
        out_printf("Not logged in to %s\n", server);
    else
        out_printf("Removing login credentials for %s\n", server);
    return 0;
}

const struct command command_login = {
    .name = "login",
    .args = "[SERVER]",
    .summary = "Log in to a registry (default: Docker Hub)",
    .options = login_option_table,
    .options_size = sizeof(struct login_options),
    .args_min = 0,
    .args_max = 1,
    .flags = COMMAND_COMMON,
    .run = run_login,
};
const struct command command_logout = {
    .name = "logout",
    .args = "[SERVER]",
    .summary = "Log out from a registry (default: Docker Hub)",
    .args_min = 0,
    .args_max = 1,
    .flags = COMMAND_COMMON,
    .run = run_logout,
};
