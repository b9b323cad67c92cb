/* SPDX-License-Identifier: Apache-2.0 */
/* The texts that tell a container's programs what the container's definition says. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/rich.h"
#include "monitor/rich.h"

#define PROGRAM RICH_INSIDE "/init"

/* --- environment ------------------------------------------------------------------------------ */

char **rich_login_env(char *const *env)
{
    static const char *const left_out[] = {"HOSTNAME=", "TERM=", "HOME="};
    char **v = xcalloc(1, sizeof(*v));

    for (size_t i = 0; env && env[i]; i++) {
        bool skip = !strchr(env[i], '=');

        for (size_t k = 0; k < ARRAY_SIZE(left_out); k++)
            skip = skip || str_has_prefix(env[i], left_out[k]);
        if (!skip)
            strv_push(&v, env[i]);
    }
    return v;
}

void rich_text_env(struct buf *out, char *const *env)
{
    for (size_t i = 0; env && env[i]; i++)
        (void)buf_append(out, env[i], strlen(env[i]) + 1);
}

/* A name that a shell can have for a variable. */
static bool is_identifier(const char *assignment)
{
    const char *p = assignment;

    if (*p != '_' && !isalpha((unsigned char)*p))
        return false;
    while (*p == '_' || isalnum((unsigned char)*p))
        p++;
    return *p == '=';
}

void rich_text_profile(struct buf *out, char *const *env)
{
    for (size_t i = 0; env && env[i]; i++) {
        const char *eq = strchr(env[i], '=');

        if (!is_identifier(env[i]))
            continue;
        (void)buf_printf(out, "export %.*s='", (int)(eq - env[i]), env[i]);
        for (const char *p = eq + 1; *p; p++)
            (void)(*p == '\'' ? buf_puts(out, "'\\''") : buf_putc(out, *p));
        (void)buf_puts(out, "'\n");
    }
}

void rich_text_pam(struct buf *out, const char *image_has, char *const *env)
{
    if (image_has && *image_has)
        (void)buf_printf(out, "%s%s", image_has, str_has_suffix(image_has, "\n") ? "" : "\n");
    for (size_t i = 0; env && env[i]; i++) {
        const char *eq = strchr(env[i], '=');

        /* pam_env knows no escapes: a line ends at '#' too, and lines are at most 1024 long. A
         * value that is cut off would be worse than none. */
        if (!is_identifier(env[i]) || strpbrk(eq, "#\n") || strlen(env[i]) > 1000)
            continue;
        (void)buf_printf(out, "%.*s=\"%s\"\n", (int)(eq - env[i]), env[i], eq + 1);
    }
}

/* The words of the last assignment to rc_env_allow that are names or the star for all. */
static void put_allowed(struct buf *out, const char *image_has)
{
    static const char key[] = "rc_env_allow=";
    const char *value = NULL;

    for (const char *p = image_has; p && *p; p += strcspn(p, "\n"), p += *p ? 1 : 0) {
        const char *line = p + strspn(p, " \t");

        if (str_has_prefix(line, key))
            value = line + strlen(key);
    }
    for (; value && *value && *value != '\n' && *value != '#'; value++)
        if (isalnum((unsigned char)*value) || strchr("_* ", *value))
            (void)buf_putc(out, *value);
    (void)buf_putc(out, ' ');
}

void rich_text_rc_conf(struct buf *out, const char *image_has, char *const *env)
{
    (void)buf_puts(out, "# Made by Pouch: services get the container's environment.\n"
                        "rc_env_allow=\"");
    put_allowed(out, image_has);
    for (size_t i = 0; env && env[i]; i++)
        if (is_identifier(env[i]))
            (void)buf_printf(out, "%.*s ", (int)strcspn(env[i], "="), env[i]);
    (void)buf_puts(out, "\"\n");
}

/* Quoted for systemd's unit files and configuration. */
static void quote(struct buf *out, const char *text, bool specifiers)
{
    (void)buf_putc(out, '"');
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            (void)buf_printf(out, "\\%c", c);
        else if (c == '\n')
            (void)buf_puts(out, "\\n");
        else if (c < ' ' || c == 127)
            (void)buf_printf(out, "\\x%02x", c);
        else if (c == '%' && specifiers)
            (void)buf_puts(out, "%%");
        else
            (void)buf_putc(out, (char)c);
    }
    (void)buf_putc(out, '"');
}

void rich_text_systemd_env(struct buf *out, char *const *env, unsigned version)
{
    (void)buf_puts(out, "[Manager]\nDefaultEnvironment=");
    for (size_t i = 0; env && env[i]; i++) {
        if (!is_identifier(env[i]))
            continue;
        (void)buf_puts(out, "\\\n  ");
        quote(out, env[i], version >= 250);
    }
    (void)buf_puts(out, "\n");
}

/* --- systemd ---------------------------------------------------------------------------------- */

static void put_limits(struct buf *out, const struct json_list *list)
{
    const struct ulimit *u = list->items;

    for (size_t i = 0; i < list->len; i++) {
        (void)buf_puts(out, "Limit");
        for (const char *p = u[i].name; *p; p++)
            (void)buf_putc(out, (char)toupper((unsigned char)*p));
        for (int k = 0; k < 2; k++) {
            int64_t value = k ? u[i].hard : u[i].soft;

            (void)buf_putc(out, k ? ':' : '=');
            if (value < 0)
                (void)buf_puts(out, "infinity");
            else
                (void)buf_printf(out, "%lld", (long long)value);
        }
        (void)buf_putc(out, '\n');
    }
}

void rich_text_unit(struct buf *out, const struct rich_unit *u)
{
    (void)buf_puts(out,
                   "# Made by Pouch at each start: the image's ENTRYPOINT and CMD as a service.\n"
                   "[Unit]\n"
                   "Description=The application of this container\n"
                   "After=basic.target network.target systemd-user-sessions.service\n"
                   "\n"
                   "[Service]\n"
                   "Type=simple\n");
    /* systemd tells how it ended since 232; before that the program waits for it. */
    (void)buf_printf(out, "ExecStart=" PROGRAM " app%s\n", u->version >= 232 ? "" : " --wait");
    if (u->version >= 232)
        (void)buf_puts(out, "ExecStopPost=-" PROGRAM " report " RICH_UNIT "\n");
    (void)buf_printf(out,
                     "KillMode=mixed\n"
                     "KillSignal=%d\n"
                     "TimeoutStopSec=%us\n"
                     "TimeoutStartSec=infinity\n",
                     u->kill_signal, u->stop_seconds);
    put_limits(out, &u->en->default_ulimits);
    put_limits(out, &u->def->host_config.ulimits);
}

/* --- inittab ---------------------------------------------------------------------------------- */

/* Fields of "a:b:c:d"; the last takes the rest. */
static bool split_line(const char *line, size_t len, const char *at[4], size_t n[4])
{
    for (size_t i = 0; i < 4; i++) {
        const char *colon = i < 3 ? memchr(line, ':', len) : NULL;

        if (i < 3 && !colon)
            return false;
        at[i] = line;
        n[i] = colon ? (size_t)(colon - line) : len;
        line += n[i] + 1;
        len -= colon ? n[i] + 1 : 0;
    }
    return true;
}

static bool field_is(const char *at, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(at, text, n) == 0;
}

static bool field_has(const char *at, size_t n, const char *text)
{
    return memmem(at, n, text, strlen(text)) != NULL;
}

/* A login on a terminal that no container has: it would be started again and again. */
static bool is_getty(const char *process, size_t n)
{
    return field_has(process, n, "getty") || field_has(process, n, "askfirst");
}

static void put_sysv(struct buf *out, const char *image_has, bool app, unsigned stop_seconds)
{
    for (const char *p = image_has; *p; p += strcspn(p, "\n"), p += *p ? 1 : 0) {
        size_t len = strcspn(p, "\n");
        const char *at[4];
        size_t n[4];

        if (*p == '#' || !split_line(p, len, at, n))
            continue;
        /* Power fails when the engine wants the container to halt. */
        if (is_getty(at[3], n[3]) || field_is(at[2], n[2], "powerfail") ||
            field_is(at[2], n[2], "powerwait") || field_is(at[2], n[2], "powerfailnow"))
            continue;
        if (at[3][0] != '+' && (field_is(at[2], n[2], "wait") || field_is(at[2], n[2], "sysinit") ||
                                field_is(at[2], n[2], "boot") || field_is(at[2], n[2], "bootwait")))
            (void)buf_printf(out, "%.*s" PROGRAM " env %.*s\n", (int)(at[3] - p), p, (int)n[3],
                             at[3]);
        else
            (void)buf_printf(out, "%.*s\n", (int)len, p);
    }
    if (app)
        (void)buf_puts(out, "pcha:2345:once:" PROGRAM " app --wait\n");
    (void)buf_printf(out,
                     "pchh:06:wait:" PROGRAM " halted\n"
                     "pchw::powerwait:/sbin/init -t %u 0\n",
                     stop_seconds);
}

static void put_busybox(struct buf *out, const char *image_has, bool app, bool has_rcs)
{
    if (app)
        (void)buf_puts(out, "::shutdown:" PROGRAM " stop\n");
    if (!image_has && has_rcs)
        (void)buf_puts(out, "::sysinit:" PROGRAM " env /etc/init.d/rcS\n");
    for (const char *p = image_has ? image_has : ""; *p; p += strcspn(p, "\n"), p += *p ? 1 : 0) {
        size_t len = strcspn(p, "\n");
        const char *at[4];
        size_t n[4];

        if (*p == '#' || !split_line(p, len, at, n) || is_getty(at[3], n[3]) ||
            field_is(at[2], n[2], "askfirst"))
            continue;
        if (at[3][0] != '-' && (field_is(at[2], n[2], "sysinit") || field_is(at[2], n[2], "wait") ||
                                field_is(at[2], n[2], "once") || field_is(at[2], n[2], "respawn")))
            (void)buf_printf(out, "%.*s" PROGRAM " env %.*s\n", (int)(at[3] - p), p, (int)n[3],
                             at[3]);
        else
            (void)buf_printf(out, "%.*s\n", (int)len, p);
    }
    if (app)
        (void)buf_puts(out, "::once:" PROGRAM " app --wait\n");
    (void)buf_puts(out, "::shutdown:" PROGRAM " halted\n");
}

void rich_text_inittab(struct buf *out, enum rich_init kind, const char *image_has, bool app,
                       bool has_rcs, unsigned stop_seconds)
{
    (void)buf_puts(out, "# Made by Pouch at each start: the image's /etc/inittab, the application, "
                        "and a halt that ends the container.\n");
    if (kind == RICH_INIT_SYSVINIT)
        put_sysv(out, image_has ? image_has : "", app, stop_seconds);
    else
        put_busybox(out, image_has, app, has_rcs);
}
