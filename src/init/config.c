/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what the engine wrote for us. */
#include "init/init.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"

#define CONFIG_MAX (4u << 20) /* as long as an exec's arguments may be, and more */

static int parse_signal(const char *text, int *ret)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (end == text || *end || n < 1 || n > 64)
        return -EINVAL;
    *ret = (int)n;
    return 0;
}

static int parse_one(char *text, struct app_config *c)
{
    char *end;

    switch (text[0]) {
    case 'a':
        strv_push(&c->args, text + 1);
        return 0;
    case 'g':
        strv_push(&c->groups, text + 1);
        return 0;
    case 'd':
        c->cwd = text + 1;
        return text[1] == '/' ? 0 : -EINVAL;
    case 'u':
        c->user = text + 1;
        return 0;
    case 'm':
        c->umask = (mode_t)strtoul(text + 1, &end, 8) & 0777;
        return end != text + 1 && !*end ? 0 : -EINVAL;
    case 'h':
        return parse_signal(text + 1, &c->halt_signal);
    case 'k':
        return parse_signal(text + 1, &c->stop_signal);
    case 't':
        c->tty = true;
        return 0;
    case 'f':
        c->fifos = true;
        return 0;
    case 'x':
        c->ends_container = STREQ(text + 1, "app");
        return 0;
    default:
        return 0; /* of a newer engine */
    }
}

int app_config_parse(char *text, size_t len, struct app_config *ret)
{
    struct app_config c = {
        .cwd = "/", .user = "0", .umask = 0022, .halt_signal = SIGTERM, .stop_signal = SIGTERM};
    int r = 0;

    if (len == 0 || text[len - 1])
        return -EINVAL;
    for (size_t at = 0; at < len && r == 0; at += strlen(text + at) + 1)
        r = parse_one(text + at, &c);
    if (r == 0 && (!c.args || !c.args[0] || !*c.args[0]))
        r = -EINVAL;
    if (r < 0) {
        strv_free(c.args);
        strv_free(c.groups);
        return r;
    }
    *ret = c;
    return 0;
}

int app_config_load(struct app_config *ret)
{
    char *text = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, RICH_INSIDE "/app", CONFIG_MAX, &text, &len);

    if (r == 0)
        r = app_config_parse(text, len, ret);
    if (r < 0)
        free(text);
    else
        ret->text = text;
    return r;
}

void app_config_done(struct app_config *c)
{
    strv_free(c->args);
    strv_free(c->groups);
    free(c->text);
    *c = (struct app_config){.text = NULL};
}

int app_env_load(char ***ret)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    char **env = xcalloc(1, sizeof(*env));
    int r = fs_read_file(AT_FDCWD, RICH_INSIDE "/env", CONFIG_MAX, &text, &len);

    if (r < 0) {
        strv_free(env);
        return r;
    }
    /* fs_read_file() ends what it read with a NUL of its own. */
    for (size_t at = 0; at < len; at += strlen(text + at) + 1)
        if (strchr(text + at, '='))
            strv_push(&env, text + at);
    *ret = env;
    return 0;
}
