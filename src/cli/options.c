/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of command lines by tables: see options.h. */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

/* --- Tables ------------------------------------------------------------------------------ */

/* Counts *i down through the table; the option at which it arrives, or NULL. */
static const struct option_def *walk(const struct option_def *table, size_t *i)
{
    for (const struct option_def *o = table; o && o->name; o++) {
        if (o->kind == OPTION_INCLUDE) {
            const struct option_def *found = walk(o->include, i);

            if (found)
                return found;
        } else if ((*i)-- == 0) {
            return o;
        }
    }
    return NULL;
}

const struct option_def *options_at(const struct option_def *table, size_t i)
{
    return walk(table, &i);
}

const struct option_def *options_find(const struct option_def *table, const char *name, size_t len)
{
    for (const struct option_def *o = table; o && o->name; o++) {
        if (o->kind == OPTION_INCLUDE) {
            const struct option_def *found = options_find(o->include, name, len);

            if (found)
                return found;
        } else if (strlen(o->name) == len && !strncmp(o->name, name, len)) {
            return o;
        }
    }
    return NULL;
}

const struct option_def *options_find_letter(const struct option_def *table, char letter)
{
    for (const struct option_def *o = table; o && o->name; o++) {
        const struct option_def *found = o->letter == letter ? o : NULL;

        if (o->kind == OPTION_INCLUDE)
            found = options_find_letter(o->include, letter);
        if (found)
            return found;
    }
    return NULL;
}

bool option_takes_value(const struct option_def *o)
{
    return o->kind != OPTION_BOOL && o->kind != OPTION_OPT_BOOL;
}

const char *option_arg_name(const struct option_def *o)
{
    static const char *const names[] = {
        [OPTION_STR] = "string", [OPTION_LIST] = "list",         [OPTION_INT] = "int",
        [OPTION_SIZE] = "bytes", [OPTION_DURATION] = "duration", [OPTION_CPUS] = "decimal",
        [OPTION_INCLUDE] = NULL,
    };

    return o->arg ? o->arg : names[o->kind];
}

static bool has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    while (words && *words) {
        size_t n = strcspn(words, " ");

        if (n == len && !strncmp(words, word, n))
            return true;
        words += n + strspn(words + n, " ");
    }
    return false;
}

const struct command *command_find(const struct command *const *list, const char *name)
{
    for (; *list; list++) {
        if (STREQ((*list)->name, name) || has_word((*list)->aliases, name))
            return *list;
    }
    return NULL;
}

/* --- Values ------------------------------------------------------------------------------ */

static int parse_bool(const char *s, bool *ret)
{
    static const char yes[] = "1 t T true TRUE True", no[] = "0 f F false FALSE False";

    if (has_word(yes, s))
        *ret = true;
    else if (has_word(no, s))
        *ret = false;
    else
        return -EINVAL;
    return 0;
}

/* "1.5" → 1500000000; at most nine digits after the point. */
static int parse_cpus(const char *s, int64_t *ret)
{
    const char *point = strchr(s, '.');
    AUTOFREE char *whole = point ? xstrndup(s, (size_t)(point - s)) : xstrdup(s);
    uint64_t n = 0, fraction = 0;
    size_t digits = point ? strlen(point + 1) : 0;

    if (digits > 9 || (!*whole && !digits) || (*whole && parse_u64(whole, &n) < 0))
        return -EINVAL;
    if (digits && parse_u64(point + 1, &fraction) < 0)
        return -EINVAL;
    if (n > INT64_MAX / 1000000000ULL - 1)
        return -ERANGE;
    for (; digits < 9; digits++)
        fraction *= 10;
    *ret = (int64_t)(n * 1000000000ULL + fraction);
    return 0;
}

/* "-m, --memory", as errors name an option. */
static char *display_name(const struct option_def *o)
{
    return o->letter ? xasprintf("-%c, --%s", o->letter, o->name) : xasprintf("--%s", o->name);
}

static int error_value(struct error *e, const struct option_def *o, const char *value,
                       const char *why)
{
    AUTOFREE char *name = display_name(o);

    return error_set(e, ERR_INVALID, "invalid argument \"%s\" for \"%s\" flag: %s", value, name,
                     why);
}

static int set_number(const struct option_def *o, const char *value, struct opt_int *ret,
                      struct error *e)
{
    int64_t n = 0;
    int r = -EINVAL;
    AUTOFREE char *bad_size = NULL;
    const char *why = "not a whole number";

    switch (o->kind) {
    case OPTION_INT:
        r = parse_i64(value, &n);
        break;
    case OPTION_SIZE:
        why = bad_size = xasprintf("invalid size: '%s' (want 512m, 2g, 1073741824)", value);
        if (STREQ(value, "-1"))
            r = parse_i64(value, &n);
        else
            r = parse_size(value, &n);
        break;
    case OPTION_DURATION:
        why = "not a duration (want 10s, 1m30s, 500ms)";
        r = duration_parse(value, &n);
        break;
    case OPTION_CPUS:
        why = "not a decimal number of at most nine places";
        r = parse_cpus(value, &n);
        break;
    default:
        break;
    }
    if (r < 0)
        return error_value(e, o, value, r == -ERANGE ? "the value is out of range" : why);
    *ret = (struct opt_int){true, n};
    return 0;
}

static int set_value(const struct option_def *o, const char *value, void *options, struct error *e)
{
    void *member = (char *)options + o->offset;
    bool b;

    if (o->refused) {
        AUTOFREE char *name = display_name(o);

        if (o->initial && STREQ(value, o->initial))
            return 0;
        return error_set(e, ERR_INVALID, "%s is not supported: %s", name, o->refused);
    }
    switch (o->kind) {
    case OPTION_BOOL:
    case OPTION_OPT_BOOL:
        if (parse_bool(value, &b) < 0)
            return error_value(e, o, value, "want true or false");
        if (o->kind == OPTION_BOOL)
            *(bool *)member = b;
        else
            *(struct opt_bool *)member = (struct opt_bool){true, b};
        return 0;
    case OPTION_STR:
        str_replace(member, value);
        return 0;
    case OPTION_LIST:
        strv_push(member, value);
        return 0;
    default:
        return set_number(o, value, member, e);
    }
}

static void set_initial(const struct option_def *table, void *options)
{
    for (const struct option_def *o = table; o && o->name; o++) {
        if (o->kind == OPTION_INCLUDE)
            set_initial(o->include, options);
        else if (o->initial && !o->refused)
            (void)set_value(o, o->initial, options, NULL);
    }
}

void options_free(const struct option_def *table, void *options)
{
    for (const struct option_def *o = table; o && o->name; o++) {
        void *member = (char *)options + o->offset;

        if (o->kind == OPTION_INCLUDE) {
            options_free(o->include, options);
        } else if (o->refused) {
            continue;
        } else if (o->kind == OPTION_STR) {
            str_replace(member, NULL);
        } else if (o->kind == OPTION_LIST) {
            strv_free(*(char ***)member);
            *(char ***)member = NULL;
        }
    }
}

/* --- Command lines ----------------------------------------------------------------------- */

struct parse {
    const struct command *cmd;
    char **argv;
    size_t argc, at; /* argv[at] comes next */
    void *options;
    bool help;
    struct error *e;
};

/* argv[at] is "--name" or "--name=value". */
static int parse_long(struct parse *p)
{
    const char *name = p->argv[p->at++] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const struct option_def *o = options_find(p->cmd->options, name, len);

    if (!o && len == 4 && !strncmp(name, "help", 4)) {
        bool on = true;

        if (value && parse_bool(value, &on) < 0)
            return error_set(p->e, ERR_INVALID, "invalid argument \"%s\" for \"--help\" flag",
                             value);
        p->help |= on;
        return 0;
    }
    if (!o || len == 0)
        return error_set(p->e, ERR_INVALID, "unknown flag: --%.*s", (int)len, name);
    if (!value && !option_takes_value(o))
        value = "true";
    if (!value) {
        if (p->at == p->argc)
            return error_set(p->e, ERR_INVALID, "flag needs an argument: --%s", o->name);
        value = p->argv[p->at++];
    }
    return set_value(o, value, p->options, p->e);
}

/* argv[at] is "-x…": letters until one takes the rest, or the next argument, as its value. */
static int parse_letters(struct parse *p)
{
    const char *cluster = p->argv[p->at++] + 1;

    for (const char *s = cluster; *s; s++) {
        const struct option_def *o = options_find_letter(p->cmd->options, *s);
        const char *value = "true";
        bool rest = false;
        int r;

        if (!o && *s == 'h') {
            p->help = true;
            continue;
        }
        if (!o)
            return error_set(p->e, ERR_INVALID, "unknown shorthand flag: '%c' in -%s", *s, cluster);
        if (s[1] == '=') {
            value = s + 2;
            rest = true;
        } else if (option_takes_value(o)) {
            rest = true;
            if (s[1])
                value = s + 1;
            else if (p->at < p->argc)
                value = p->argv[p->at++];
            else
                return error_set(p->e, ERR_INVALID, "flag needs an argument: '%c' in -%s", *s,
                                 cluster);
        }
        r = set_value(o, value, p->options, p->e);
        if (r < 0 || rest)
            return r;
    }
    return 0;
}

int options_parse(const struct command *cmd, char **argv, size_t argc, void *options,
                  char ***ret_args, size_t *ret_n, bool *ret_help, struct error *e)
{
    struct parse p = {.cmd = cmd, .argv = argv, .argc = argc, .options = options, .e = e};
    AUTOFREE char **args = xcalloc(argc + 1, sizeof *args);
    size_t n = 0;
    bool ended = false;

    set_initial(cmd->options, options);
    while (p.at < argc && !p.help) {
        const char *arg = argv[p.at];
        int r = 0;

        if (ended || arg[0] != '-' || !arg[1]) {
            if (cmd->flags & COMMAND_STOP_AT_ARG)
                ended = true;
            args[n++] = argv[p.at++];
        } else if (STREQ(arg, "--")) {
            ended = true;
            p.at++;
        } else if (arg[1] == '-') {
            r = parse_long(&p);
        } else {
            r = parse_letters(&p);
        }
        if (r < 0)
            return r;
    }
    *ret_help = p.help;
    *ret_n = n;
    *ret_args = take_ptr(args);
    return 0;
}

int options_check_count(const struct command *cmd, const char *path, size_t n, struct error *e)
{
    size_t min = (size_t)cmd->args_min, max = (size_t)cmd->args_max;

    if (n >= min && (cmd->args_max < 0 || n <= max))
        return 0;
    if (cmd->args_max == 0)
        return error_set(e, ERR_INVALID, "\"%s\" accepts no arguments.", path);
    if (min == max)
        return error_set(e, ERR_INVALID, "\"%s\" requires exactly %zu argument%s.", path, min,
                         min == 1 ? "" : "s");
    if (min > 0 && cmd->args_max > 0)
        return error_set(e, ERR_INVALID, "\"%s\" requires at least %zu and at most %zu arguments.",
                         path, min, max);
    if (n < min)
        return error_set(e, ERR_INVALID, "\"%s\" requires at least %zu argument%s.", path, min,
                         min == 1 ? "" : "s");
    return error_set(e, ERR_INVALID, "\"%s\" requires at most %zu argument%s.", path, max,
                     max == 1 ? "" : "s");
}
