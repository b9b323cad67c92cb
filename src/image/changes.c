/* SPDX-License-Identifier: Apache-2.0 */
/* The Dockerfile instructions that `import --change` and `commit --change` take, as Docker, applied to a
 * configuration. */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"

/* One word: quotes and backslashes as in a shell, without expansion; NULL at the end. -EINVAL. */
static int next_word(const char **p, char **ret)
{
    AUTO(buf) struct buf b = BUF_INIT(64u * 1024);
    const char *s = *p;
    char quote = 0;

    while (isspace((unsigned char)*s))
        s++;
    *ret = NULL;
    if (!*s) {
        *p = s;
        return 0;
    }
    for (; *s && (quote || !isspace((unsigned char)*s)); s++) {
        if (!quote && (*s == '"' || *s == '\'')) {
            quote = *s;
        } else if (quote && *s == quote) {
            quote = 0;
        } else {
            if (*s == '\\' && s[1] && quote != '\'')
                s++;
            if (buf_putc(&b, *s) < 0)
                return -EINVAL;
        }
    }
    if (quote)
        return -EINVAL;
    *p = s;
    *ret = buf_take(&b);
    return 1;
}

/* ["a", "b"] or a shell's line, which becomes /bin/sh -c "…". */
static int parse_command(const char *text, char ***ret, struct error *e)
{
    if (*text != '[') {
        strv_push(ret, "/bin/sh");
        strv_push(ret, "-c");
        strv_push(ret, text);
        return 0;
    }
    struct json_value *v = NULL;
    int r = json_value_parse(text, strlen(text), &v, e);
    for (size_t i = 0; r >= 0 && i < json_value_len(v); i++) {
        const char *s = json_value_str(json_value_at(v, i));
        if (!s)
            r = error_set(e, ERR_INVALID, "a command must be a list of strings: %.200s", text);
        else
            strv_push(ret, s);
    }
    json_value_free(v);
    return r;
}

static int change_command(char ***field, const char *text, struct error *e)
{
    AUTOPTR(strv) char **words = NULL;
    int r = parse_command(text, &words, e);

    if (r < 0)
        return r;
    strv_free(*field);
    *field = take_ptr(words);
    return 0;
}

/* KEY=VALUE …, or the old form KEY VALUE. */
static int change_pairs(struct oci_image_config *c, bool env, const char *text, struct error *e)
{
    const char *p = text;
    char *word;
    int r;

    while ((r = next_word(&p, &word)) > 0) {
        AUTOFREE char *w = word;
        char *eq = strchr(w, '=');
        AUTOFREE char *old = NULL;
        if (!eq) { /* the rest of the line is the value */
            while (isspace((unsigned char)*p))
                p++;
            if (!*p)
                return error_set(e, ERR_INVALID, "\"%.100s\" has no value", w);
            old = xasprintf("%s=%s", w, p);
            p += strlen(p);
        }
        char *pair = old ? old : w;
        if (env) {
            env_set(&c->env, pair);
        } else {
            eq = strchr(pair, '=');
            *eq = '\0';
            json_map_set(&c->labels, pair, eq + 1);
        }
    }
    return r < 0 ? error_set(e, ERR_INVALID, "unbalanced quotes in \"%.200s\"", text) : 0;
}

static int change_set(char ***field, const char *text, bool ports, struct error *e)
{
    AUTOPTR(strv) char **words = NULL;

    if (*text == '[') {
        int r = parse_command(text, &words, e);
        if (r < 0)
            return r;
    } else {
        words = strv_split(text, " \t", true);
    }
    for (size_t i = 0; words && words[i]; i++) {
        AUTOFREE char *word = ports && !strchr(words[i], '/') ? xasprintf("%s/tcp", words[i])
                                                              : xstrdup(words[i]);
        if (!strv_contains(*field, word))
            strv_push(field, word);
    }
    return 0;
}

/* One --flag=value of HEALTHCHECK. */
static int healthcheck_flag(struct oci_healthcheck *h, const char *flag, struct error *e)
{
    struct {
        const char *name;
        int64_t *value;
    } const times[] = {{"--interval=", &h->interval},
                       {"--timeout=", &h->timeout},
                       {"--start-period=", &h->start_period},
                       {"--start-interval=", &h->start_interval}};
    int64_t n = 0;
    char *end;

    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        const char *text = flag + strlen(times[i].name);

        if (!str_has_prefix(flag, times[i].name))
            continue;
        if (duration_parse(text, &n) < 0 || n < 0)
            return error_set(e, ERR_INVALID,
                             "HEALTHCHECK %.60s: \"%.60s\" is not a duration like 30s",
                             times[i].name, text);
        if (n > 0 && n < NSEC_PER_MSEC)
            return error_set(e, ERR_INVALID, "HEALTHCHECK %.60s cannot be less than 1ms", flag);
        *times[i].value = n;
        return 0;
    }
    if (!str_has_prefix(flag, "--retries="))
        return error_set(e, ERR_INVALID, "HEALTHCHECK: unknown flag: %.60s", flag);
    errno = 0;
    n = strtoll(flag + 10, &end, 10);
    if (errno || !isdigit((unsigned char)flag[10]) || *end || n > INT32_MAX)
        return error_set(e, ERR_INVALID, "HEALTHCHECK --retries: \"%.60s\" is not a number",
                         flag + 10);
    h->retries = n;
    return 0;
}

/* NONE, or [--flag=value …] CMD and a command as for the instruction CMD. */
static int parse_healthcheck(struct oci_healthcheck *h, const char *text, struct error *e)
{
    int r;

    while (str_has_prefix(text, "--")) {
        size_t n = strcspn(text, " \t");
        AUTOFREE char *flag = xstrndup(text, n);

        if ((r = healthcheck_flag(h, flag, e)) < 0)
            return r;
        text += n;
        text += strspn(text, " \t");
    }
    size_t n = strcspn(text, " \t");
    AUTOFREE char *type = xstrndup(text, n);
    text += n;
    text += strspn(text, " \t");
    if (!*type)
        return error_set(e, ERR_INVALID, "HEALTHCHECK requires at least one argument");
    if (strcasecmp(type, "NONE") == 0) {
        if (*text)
            return error_set(e, ERR_INVALID, "HEALTHCHECK NONE takes no arguments");
        strv_push(&h->test, "NONE");
        return 0;
    }
    if (strcasecmp(type, "CMD") != 0)
        return error_set(e, ERR_INVALID, "unknown type \"%.60s\" in HEALTHCHECK (try CMD)", type);
    if (*text == '[') {
        strv_push(&h->test, "CMD");
        r = parse_command(text, &h->test, e);
        if (r < 0)
            return r;
    } else if (*text) {
        strv_push(&h->test, "CMD-SHELL");
        strv_push(&h->test, text);
    }
    return strv_len(h->test) < 2
               ? error_set(e, ERR_INVALID, "missing command after HEALTHCHECK CMD")
               : 0;
}

static int change_healthcheck(struct oci_image_config *c, const char *text, struct error *e)
{
    struct oci_healthcheck *h = xcalloc(1, sizeof(*h));
    int r = parse_healthcheck(h, text, e);

    if (r < 0) {
        json_free(&oci_healthcheck_json, h);
        free(h);
        return r;
    }
    if (c->healthcheck) {
        json_free(&oci_healthcheck_json, c->healthcheck);
        free(c->healthcheck);
    }
    c->healthcheck = h;
    return 0;
}

static int apply(struct oci_image_config *c, const char *name, const char *arg, struct error *e)
{
    if (strcasecmp(name, "CMD") == 0)
        return change_command(&c->cmd, arg, e);
    if (strcasecmp(name, "ENTRYPOINT") == 0)
        return change_command(&c->entrypoint, arg, e);
    if (strcasecmp(name, "ENV") == 0)
        return change_pairs(c, true, arg, e);
    if (strcasecmp(name, "LABEL") == 0)
        return change_pairs(c, false, arg, e);
    if (strcasecmp(name, "EXPOSE") == 0)
        return change_set(&c->exposed_ports, arg, true, e);
    if (strcasecmp(name, "VOLUME") == 0)
        return change_set(&c->volumes, arg, false, e);
    if (strcasecmp(name, "HEALTHCHECK") == 0)
        return change_healthcheck(c, arg, e);
    if (strcasecmp(name, "USER") == 0)
        str_replace(&c->user, arg);
    else if (strcasecmp(name, "WORKDIR") == 0)
        str_replace(&c->working_dir, arg);
    else if (strcasecmp(name, "STOPSIGNAL") == 0)
        str_replace(&c->stop_signal, arg);
    else if (strcasecmp(name, "ONBUILD") == 0)
        strv_push(&c->on_build, arg);
    else
        return error_set(e, ERR_INVALID, "%.60s is not a valid change command", name);
    return 0;
}

int image_changes_apply(struct oci_image_config *c, char *const *changes, struct error *e)
{
    for (size_t i = 0; changes && changes[i]; i++) {
        const char *s = changes[i] + strspn(changes[i], " \t");
        size_t n = strcspn(s, " \t");
        AUTOFREE char *name = xstrndup(s, n);
        s += n;
        s += strspn(s, " \t");
        if (!*name || !*s)
            return error_set(e, ERR_INVALID,
                             "\"%.200s\" is not a change: it needs an instruction "
                             "and its value",
                             changes[i]);
        int r = apply(c, name, s, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int image_config_change(struct oci_image_config *c, char *const *changes, struct error *e)
{
    AUTOPTR(strv) char **all = NULL;
    bool entrypoint = false, cmd = false;

    for (size_t i = 0; changes && changes[i]; i++) {
        AUTOPTR(strv) char **lines = strv_split(changes[i], "\n", true);

        for (size_t k = 0; lines && lines[k]; k++) {
            const char *s = lines[k] + strspn(lines[k], " \t\r");

            if (!*s || *s == '#')
                continue;
            strv_push(&all, s);
            entrypoint |= strncasecmp(s, "ENTRYPOINT", 10) == 0;
            cmd |= strncasecmp(s, "CMD", 3) == 0;
        }
    }
    /* A new entry point does not get the arguments of the old one. */
    if (entrypoint && !cmd) {
        strv_free(c->cmd);
        c->cmd = NULL;
    }
    return image_changes_apply(c, all, e);
}
