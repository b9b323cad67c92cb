/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Environment, labels, annotations, restart policy. They need nothing in the kernel: new execs and
 * the next start read the definition; a rich container's own files are refreshed by its own part.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"

static void map_remove_key(struct json_map *m, const char *key)
{
    for (size_t i = 0; i < m->len; i++) {
        if (!STREQ(m->items[i].key, key))
            continue;
        free(m->items[i].key);
        free(m->items[i].value);
        (void)memmove(&m->items[i], &m->items[i + 1], (m->len - i - 1) * sizeof(m->items[0]));
        m->len--;
        return;
    }
}

/* "name=value" sets, "name=" removes. */
static int take_pairs(char *const *pairs, const char *what, struct json_map *m, struct error *e)
{
    for (size_t i = 0; pairs && pairs[i]; i++) {
        size_t len = strcspn(pairs[i], "=");
        AUTOFREE char *key = xstrndup(pairs[i], len);

        if (len == 0 || pairs[i][len] != '=')
            return error_set(e, ERR_INVALID, "%s \"%s\": NAME=VALUE sets it, NAME= takes it away",
                             what, pairs[i]);
        if (pairs[i][len + 1])
            json_map_set(m, key, pairs[i] + len + 1);
        else
            map_remove_key(m, key);
    }
    return 0;
}

/* Takes "name=…" and "name" out of the list; was it there? */
static bool env_drop(char **env, const char *name)
{
    size_t len = strlen(name);
    size_t kept = 0;
    bool found = false;

    for (size_t i = 0; env && env[i]; i++) {
        if (strncmp(env[i], name, len) == 0 && (env[i][len] == '=' || env[i][len] == '\0')) {
            free(env[i]);
            found = true;
        } else {
            env[kept++] = env[i];
        }
    }
    if (env)
        env[kept] = NULL;
    return found;
}

static int take_env(struct update_context *u, struct error *e)
{
    const struct container_update *update = u->update;
    char ***env = &u->next->config.env;

    for (size_t i = 0; update->env && update->env[i]; i++) {
        const char *eq = strchr(update->env[i], '=');

        if (!eq || eq == update->env[i])
            return error_set(e, ERR_INVALID,
                             "environment variable \"%s\": NAME=VALUE is wanted (EnvRm takes one "
                             "away)",
                             update->env[i]);
        env_set(env, update->env[i]);
    }
    for (size_t i = 0; update->env_rm && update->env_rm[i]; i++) {
        const char *name = update->env_rm[i];

        if (!*name || strchr(name, '='))
            return error_set(e, ERR_INVALID,
                             "environment variable \"%s\" to be removed: its name alone is wanted",
                             name);
        if (!env_drop(*env, name))
            return error_set(e, ERR_INVALID, "container %s has no environment variable %s",
                             u->c->id, name);
        /* The bare name keeps it away when the image of an upgrade has it again. */
        strv_push(env, name);
    }
    return 0;
}

int update_config_check(struct update_context *u, struct error *e)
{
    int r = take_env(u, e);

    if (r == 0)
        r = take_pairs(u->update->labels, "label", &u->next->config.labels, e);
    if (r == 0)
        r = take_pairs(u->update->annotations, "annotation", &u->next->host_config.annotations, e);
    return r;
}

int update_restart_check(struct update_context *u, struct error *e)
{
    const struct restart_policy *asked = &u->update->set.restart_policy;
    struct host_config *hc = &u->next->host_config;

    if (str_is_empty(asked->name)) {
        if (asked->maximum_retry_count)
            return error_set(e, ERR_INVALID,
                             "a maximum retry count needs the restart policy on-failure");
        return 0;
    }
    if (hc->auto_remove && !STREQ(asked->name, "no"))
        return error_set(e, ERR_INVALID,
                         "Restart policy cannot be updated because AutoRemove is enabled for the "
                         "container");
    str_replace(&hc->restart_policy.name, asked->name);
    hc->restart_policy.maximum_retry_count = asked->maximum_retry_count;
    return validate_restart(hc, e);
}
