/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands and their options as tables. One table a command gives the parser, the help, the
 * completion of the shells and the option lists of the man page.
 *
 * Parsing follows the rules Docker users know (pflag): `--flag value`, `--flag=value`, bools only
 * as `--flag` or `--flag=false`, letters in clusters (`-itd`, `-p80:80`, `-p=80:80`), `--` ends the
 * options, names are never abbreviated; a command with COMMAND_STOP_AT_ARG takes everything from
 * its first argument on as arguments.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

struct cli;

enum option_kind {
    OPTION_BOOL,     /* bool */
    OPTION_OPT_BOOL, /* struct opt_bool */
    OPTION_STR,      /* char * */
    OPTION_LIST,     /* char **, may be given several times */
    OPTION_INT,      /* struct opt_int */
    OPTION_SIZE,     /* struct opt_int, bytes: 64m, 1g, -1 */
    OPTION_DURATION, /* struct opt_int, ns: 10s, 1m30s */
    OPTION_CPUS,     /* struct opt_int, billionths: 1.5 */
    OPTION_INCLUDE,  /* the options of another table stand here */
    OPTION_KIND_MAX
};

/* What the shell may offer for an argument or a value. */
enum complete {
    COMPLETE_NONE,
    COMPLETE_FILE,
    COMPLETE_DIR,
    COMPLETE_CONTAINER, /* any */
    COMPLETE_CONTAINER_RUNNING,
    COMPLETE_CONTAINER_STOPPED,
    COMPLETE_IMAGE,
    COMPLETE_OBJECT, /* containers and images */
    COMPLETE_SIGNAL,
    COMPLETE_COMMAND, /* names of pouch's own commands */
    COMPLETE_SHELL,
    COMPLETE_MAX
};

struct option_def {
    const char *name; /* without dashes; NULL ends the table */
    char letter;      /* or 0 */
    enum option_kind kind;
    size_t offset;       /* of the member in the command's options struct */
    const char *arg;     /* what the value is called in the help; NULL: by the kind */
    const char *help;    /* one line, no full stop */
    const char *initial; /* the value when not given, as text; shown in the help */
    const char *words;   /* "a b c": the values the shell offers */
    const char *refused; /* giving this option is an error, and this the reason */
    bool hidden;         /* not in help, completion, man page */
    enum complete complete;
    const struct option_def *include; /* OPTION_INCLUDE */
};

#define OPT(type, member, name_, letter_, kind_, arg_, help_, ...)                                 \
    {                                                                                              \
        .name = (name_), .letter = (letter_), .kind = (kind_), .offset = offsetof(type, member),   \
        .arg = (arg_), .help = (help_), ##__VA_ARGS__                                              \
    }
#define OPT_REFUSED(name_, kind_, reason)                                                          \
    {                                                                                              \
        .name = (name_), .kind = (kind_), .refused = (reason), .hidden = true                      \
    }
/* One value, which says what is so anyway, is taken; all others are refused. */
#define OPT_REFUSED_BUT(name_, kind_, value_, reason)                                              \
    {                                                                                              \
        .name = (name_), .kind = (kind_), .initial = (value_), .refused = (reason), .hidden = true \
    }
#define OPT_INCLUDE(table)                                                                         \
    {                                                                                              \
        .name = "", .kind = OPTION_INCLUDE, .include = (table)                                     \
    }
#define OPT_END                                                                                    \
    {                                                                                              \
        .name = NULL                                                                               \
    }

enum {
    COMMAND_STOP_AT_ARG = 1 << 0, /* options end at the first argument */
    COMMAND_HIDDEN = 1 << 1,
    COMMAND_COMMON = 1 << 2, /* listed first in the help */
};

struct command {
    const char *name;
    const char *aliases; /* further names, separated by spaces, or NULL */
    const char *args;    /* "IMAGE [COMMAND] [ARG...]" */
    const char *summary;
    const struct option_def *options;
    size_t options_size; /* of the struct that the options fill; it starts zeroed */
    int args_min;
    int args_max; /* -1: any number */
    unsigned flags;
    enum complete complete; /* of the arguments (of the first only when args_max is 1 or 2) */
    const struct command *const *sub; /* a group: NULL-ended list, nothing else counts then */
    /* Runs it; the exit status of the program. args is NULL-ended. */
    int (*run)(struct cli *cli, void *options, char **args, size_t n);
};

/*
 * Reads the options at the front (or, without COMMAND_STOP_AT_ARG, anywhere) of argv into
 * *options, a zeroed struct, and leaves the arguments in *ret_args (NULL-ended, borrowed strings;
 * the list is the caller's to free). *ret_help is set when --help was given: nothing after it is
 * read. Errors are worded as pflag's.
 */
int options_parse(const struct command *cmd, char **argv, size_t argc, void *options,
                  char ***ret_args, size_t *ret_n, bool *ret_help, struct error *e) MUST_CHECK;

/* Checks the number of arguments; `path` is the command as typed ("pouch run"). */
int options_check_count(const struct command *cmd, const char *path, size_t n,
                        struct error *e) MUST_CHECK;

/* Frees what the options own. */
void options_free(const struct option_def *table, void *options);

/* i-th option that is defined by the table and those it includes, or NULL after the last. */
const struct option_def *options_at(const struct option_def *table, size_t i);
/* Option by name or by letter; NULL when there is none. */
const struct option_def *options_find(const struct option_def *table, const char *name, size_t len);
const struct option_def *options_find_letter(const struct option_def *table, char letter);
bool option_takes_value(const struct option_def *o);
const char *option_arg_name(const struct option_def *o);

/* The command called `name` in the list (aliases too), or NULL. */
const struct command *command_find(const struct command *const *list, const char *name);

/* The help of a command or, with sub commands, of a group. */
void help_command(const struct command *cmd, const char *path, struct buf *out);
/* The options as scdoc for the man page. */
void help_man(const struct command *cmd, const char *path, struct buf *out);
