/* SPDX-License-Identifier: Apache-2.0 */
/* Credential helpers: see credential-helper.h. */
#include "cli/credential-helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/cli.h"

#define ANSWER_MAX (1u << 20)
#define TOKEN_USER "<token>"

/* Input and output at once: neither side can block the other for ever. */
static int converse(int in, int out, const char *input, struct buf *answer)
{
    AUTOFD int to = in;
    size_t left = strlen(input);
    int r = 0;

    (void)fcntl(to, F_SETFL, O_NONBLOCK);
    for (;;) {
        struct pollfd p[2] = {{.fd = out, .events = POLLIN},
                              {.fd = left ? to : -1, .events = POLLOUT}};
        char piece[4096];

        if (!left && to >= 0)
            close(take_fd(to));
        if (poll(p, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (p[1].revents) {
            ssize_t n = write(to, input, left);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                left = 0; /* it does not want to know */
            else if (n > 0)
                input += n, left -= (size_t)n;
        }
        if (!p[0].revents)
            continue;
        ssize_t n = read(out, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            explicit_bzero(piece, sizeof(piece));
            return n < 0 ? -errno : r;
        }
        if (r == 0)
            r = buf_append(answer, piece, (size_t)n);
    }
}

static int start(const char *program, const char *verb, int in, int out, pid_t *ret_pid)
{
    char *argv[] = {(char *)program, (char *)verb, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t pipes;
    int r = posix_spawn_file_actions_init(&actions);

    (void)posix_spawnattr_init(&attr);
    (void)sigemptyset(&pipes);
    (void)sigaddset(&pipes, SIGPIPE); /* which is ignored here */
    (void)posix_spawnattr_setsigdefault(&attr, &pipes);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);

    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawnp(ret_pid, program, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return -r;
}

/* Runs it; *ret_failed when its exit status was not 0. */
static int run(const char *name, const char *verb, const char *input, struct buf *answer,
               bool *ret_failed, struct error *e)
{
    AUTOFREE char *program = xasprintf("docker-credential-%s", name);
    int in[2], out[2], status = 0;
    pid_t pid = 0;

    if (strchr(name, '/'))
        return error_set(e, ERR_INVALID, "\"%.100s\" is not the name of a credential helper", name);
    if (pipe2(in, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot make a pipe");
    if (pipe2(out, O_CLOEXEC) < 0) {
        int saved = errno;
        close(in[0]);
        close(in[1]);
        return error_set_errno(e, saved, "cannot make a pipe");
    }
    int r = start(program, verb, in[0], out[1], &pid);
    close(in[0]);
    close(out[1]);
    if (r < 0) {
        close(in[1]);
        close(out[0]);
        if (r == -ENOENT)
            return error_set(e, ERR_NOT_FOUND,
                             "the credential helper %s, which config.json names, is not in $PATH",
                             program);
        return error_set_errno(e, r, "cannot start the credential helper %s", program);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    r = converse(in[1], out[0], input, answer);
    close(out[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    *ret_failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return r < 0 ? error_set_errno(e, r, "cannot talk to the credential helper %s", program) : 0;
}

/* What the helper said, as one line of ours. */
static int refuse(const char *name, const char *verb, struct buf *answer, struct error *e)
{
    for (size_t i = 0; i < answer->len; i++)
        if ((unsigned char)answer->data[i] < ' ')
            answer->data[i] = ' ';
    while (answer->len > 0 && answer->data[answer->len - 1] == ' ')
        answer->data[--answer->len] = '\0';
    return error_set(e, ERR_INTERNAL, "docker-credential-%s %s failed: %.300s", name, verb,
                     answer->len ? buf_str(answer) : "it gave no reason");
}

int credential_helper_get(const char *name, const char *server, struct credentials *ret,
                          struct error *e)
{
    AUTO(buf) struct buf answer = BUF_INIT(ANSWER_MAX);
    AUTOPTR(json_value) struct json_value *v = NULL;
    bool failed = false;
    int r = run(name, "get", server, &answer, &failed, e);

    if (r < 0)
        return r;
    if (failed) /* the protocol's words for "none" */
        return strcasestr(buf_str(&answer), "credentials not found")
                   ? 0
                   : refuse(name, "get", &answer, e);
    r = json_value_parse(buf_str(&answer), answer.len, &v, e);
    explicit_bzero(answer.data, answer.len);
    if (r < 0) {
        error_add(e, "the answer of docker-credential-%s", name);
        return r;
    }
    const char *user = jstr(v, "Username"), *secret = jstr(v, "Secret");
    if (!*user && !*secret)
        return 0;
    if (STREQ(user, TOKEN_USER)) {
        ret->identity_token = xstrdup(secret);
    } else {
        ret->username = xstrdup(user);
        ret->password = xstrdup(secret);
    }
    return 1;
}

int credential_helper_store(const char *name, const struct credentials *c, struct error *e)
{
    AUTO(buf) struct buf json = BUF_INIT(BUF_UNLIMITED), answer = BUF_INIT(ANSWER_MAX);
    struct jsonw w = {.out = &json};
    bool failed = false;

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ServerURL", c->server);
    jsonw_str(&w, "Username", c->identity_token ? TOKEN_USER : c->username);
    jsonw_str(&w, "Secret", c->identity_token ? c->identity_token : c->password);
    jsonw_end(&w);
    int r = run(name, "store", json.data, &answer, &failed, e);
    explicit_bzero(json.data, json.len);
    if (r < 0)
        return r;
    return failed ? refuse(name, "store", &answer, e) : 0;
}

int credential_helper_erase(const char *name, const char *server, struct error *e)
{
    AUTO(buf) struct buf answer = BUF_INIT(ANSWER_MAX);
    bool failed = false;
    int r = run(name, "erase", server, &answer, &failed, e);

    if (r < 0)
        return r;
    return failed ? refuse(name, "erase", &answer, e) : 0;
}
