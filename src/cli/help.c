/* SPDX-License-Identifier: Apache-2.0 */
/* Help texts and man page lists from the command tables. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "cli/options.h"

static int compare_options(const void *a, const void *b)
{
    const struct option_def *const *oa = a, *const *ob = b;

    return strcmp((*oa)->name, (*ob)->name);
}

/* The visible options sorted by name, NULL-ended; the caller frees the list. */
static const struct option_def **sorted(const struct option_def *table, size_t *ret_n)
{
    const struct option_def **list;
    size_t total = 0, n = 0;

    while (options_at(table, total))
        total++;
    list = xcalloc(total + 1, sizeof(struct option_def *));
    for (size_t i = 0; i < total; i++) {
        const struct option_def *o = options_at(table, i);

        if (!o->hidden && !o->refused)
            list[n++] = o;
    }
    qsort(list, n, sizeof(struct option_def *), compare_options);
    *ret_n = n;
    return list;
}

static char *left_column(const struct option_def *o)
{
    const char *arg = option_takes_value(o) ? option_arg_name(o) : NULL;

    if (o->letter)
        return xasprintf("  -%c, --%s%s%s", o->letter, o->name, arg ? " " : "", arg ? arg : "");
    return xasprintf("      --%s%s%s", o->name, arg ? " " : "", arg ? arg : "");
}

/* Initial values worth showing: not those that say what everyone expects. */
static bool shows_initial(const struct option_def *o)
{
    return o->initial && *o->initial && !STREQ(o->initial, "false");
}

static void help_options(const struct option_def *table, struct buf *out)
{
    size_t n = 0, width = 0;
    AUTOFREE const struct option_def **list = sorted(table, &n);

    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *left = left_column(list[i]);

        if (strlen(left) > width)
            width = strlen(left);
    }
    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *left = left_column(list[i]);
        const struct option_def *o = list[i];

        (void)buf_printf(out, "%-*s   %s", (int)width, left, o->help);
        if (shows_initial(o) && o->kind == OPTION_STR)
            (void)buf_printf(out, " (default \"%s\")", o->initial);
        else if (shows_initial(o))
            (void)buf_printf(out, " (default %s)", o->initial);
        (void)buf_putc(out, '\n');
    }
}

static int compare_commands(const void *a, const void *b)
{
    const struct command *const *ca = a, *const *cb = b;

    return strcmp((*ca)->name, (*cb)->name);
}

enum section { SECTION_COMMON, SECTION_GROUPS, SECTION_OTHER, SECTION_MAX };

static enum section section_of(const struct command *c)
{
    if (c->flags & COMMAND_COMMON)
        return SECTION_COMMON;
    return c->sub ? SECTION_GROUPS : SECTION_OTHER;
}

/* The sub commands, sorted within their sections. */
static void help_sub(const struct command *cmd, struct buf *out)
{
    static const char *const titles[] = {"Common Commands", "Management Commands", "Commands"};
    AUTOFREE const struct command **list = NULL;
    size_t n = 0, width = 0;

    while (cmd->sub[n])
        n++;
    list = xcalloc(n + 1, sizeof(struct command *));
    memcpy(list, cmd->sub, n * sizeof(struct command *));
    qsort(list, n, sizeof(struct command *), compare_commands);
    for (size_t i = 0; i < n; i++) {
        if (strlen(list[i]->name) > width)
            width = strlen(list[i]->name);
    }
    for (enum section s = SECTION_COMMON; s < SECTION_MAX; s++) {
        bool begun = false;

        for (size_t i = 0; i < n; i++) {
            const struct command *c = list[i];

            if ((c->flags & COMMAND_HIDDEN) || section_of(c) != s)
                continue;
            if (!begun)
                (void)buf_printf(out, "\n%s:\n", titles[s]);
            begun = true;
            (void)buf_printf(out, "  %-*s   %s\n", (int)width, c->name, c->summary);
        }
    }
}

static bool has_visible_options(const struct option_def *table)
{
    const struct option_def *o;

    for (size_t i = 0; (o = options_at(table, i)); i++) {
        if (!o->hidden && !o->refused)
            return true;
    }
    return false;
}

void help_command(const struct command *cmd, const char *path, struct buf *out)
{
    bool options = has_visible_options(cmd->options);

    if (cmd->sub) {
        (void)buf_printf(out, "\nUsage:  %s %sCOMMAND\n\n%s\n", path, options ? "[OPTIONS] " : "",
                         cmd->summary);
        help_sub(cmd, out);
    } else {
        (void)buf_printf(out, "\nUsage:  %s%s%s%s\n\n%s\n", path, options ? " [OPTIONS]" : "",
                         cmd->args && *cmd->args ? " " : "", cmd->args ? cmd->args : "",
                         cmd->summary);
        if (cmd->aliases) {
            AUTOPTR(strv) char **aliases = strv_split(cmd->aliases, " ", true);
            AUTOFREE char *joined = strv_join(aliases, ", ");

            (void)buf_printf(out, "\nAliases:\n  %s, %s\n", cmd->name, joined);
        }
    }
    if (options) {
        (void)buf_puts(out, cmd->sub ? "\nGlobal Options:\n" : "\nOptions:\n");
        help_options(cmd->options, out);
    }
    if (cmd->sub)
        (void)buf_printf(out, "\nRun '%s COMMAND --help' for more information on a command.\n",
                         path);
}

/* Text inside scdoc: underscores, asterisks and backslashes mean something there. */
static void man_text(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (strchr("_*\\<>#", *s))
            (void)buf_putc(out, '\\');
        (void)buf_putc(out, *s);
    }
}

void help_man(const struct command *cmd, const char *path, struct buf *out)
{
    size_t n = 0;
    AUTOFREE const struct option_def **list = sorted(cmd->options, &n);

    (void)buf_printf(out, "## %s%s%s%s\n\n", path, n ? " [OPTIONS]" : "",
                     cmd->args && *cmd->args ? " " : "", cmd->args ? cmd->args : "");
    man_text(out, cmd->summary);
    (void)buf_puts(out, ".\n\n");
    for (size_t i = 0; i < n; i++) {
        const struct option_def *o = list[i];

        if (o->letter)
            (void)buf_printf(out, "*-%c*, ", o->letter);
        (void)buf_printf(out, "*--%s*", o->name);
        if (option_takes_value(o)) {
            (void)buf_puts(out, " _");
            man_text(out, option_arg_name(o));
            (void)buf_puts(out, "_");
        }
        (void)buf_puts(out, "\n\t");
        man_text(out, o->help);
        if (shows_initial(o)) {
            (void)buf_puts(out, " (default ");
            man_text(out, o->initial);
            (void)buf_puts(out, ")");
        }
        (void)buf_puts(out, ".\n\n");
    }
}
