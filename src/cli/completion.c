/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion: the scripts for bash, zsh and fish are small and ask `pouch __complete WORDS…`,
 * which answers from the command tables, and for names of containers and images from the daemon.
 *
 * Answer: one candidate a line, with a tab and its description if it has one; a line ":file" or
 * ":dir" asks the shell to offer files.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/global.h"

/* --- The scripts ------------------------------------------------------------------------- */

static const char bash_script[] =
    "# bash completion for pouch\n"
    "_pouch() {\n"
    "    local -a words\n"
    "    local line cur prefix\n"
    "    read -ra words <<<\"${COMP_LINE:0:COMP_POINT}\"\n"
    "    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=(\"\")\n"
    "    cur=${words[-1]}\n"
    "    # readline replaces only what stands behind the last = or : of the word\n"
    "    prefix=${cur%\"${cur##*[=:]}\"}\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "        :file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"${cur#\"$prefix\"}\"); return ;;\n"
    "        :dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"${cur#\"$prefix\"}\"); return ;;\n"
    "        *=) compopt -o nospace ;;\n"
    "        esac\n"
    "        line=${line%%$'\\t'*}\n"
    "        COMPREPLY+=(\"${line#\"$prefix\"}\")\n"
    "    done < <(\"${words[0]}\" __complete -- \"${words[@]:1}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _pouch pouch\n";

static const char zsh_script[] =
    "#compdef pouch\n"
    "_pouch() {\n"
    "    local line name\n"
    "    local -a plain described\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "        :file) _files; return ;;\n"
    "        :dir) _files -/; return ;;\n"
    "        *$'\\t'*) name=${line%%$'\\t'*}; described+=(\"${name//:/\\\\:}:${line#*$'\\t'}\") ;;\n"
    "        *) plain+=(\"$line\") ;;\n"
    "        esac\n"
    "    done < <(${words[1]} __complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
    "    (( ${#described} )) && _describe -V pouch described\n"
    "    (( ${#plain} )) && compadd -Q -- \"${plain[@]}\"\n"
    "    return 0\n"
    "}\n"
    "if [ \"$funcstack[1]\" = _pouch ]; then _pouch \"$@\"; else compdef _pouch pouch; fi\n";

static const char fish_script[] =
    "# fish completion for pouch\n"
    "function __pouch_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l current (commandline -ct)\n"
    "    for line in ($words[1] __complete -- $words[2..-1] $current 2>/dev/null)\n"
    "        switch $line\n"
    "            case ':file'\n"
    "                __fish_complete_path $current\n"
    "            case ':dir'\n"
    "                __fish_complete_directories $current\n"
    "            case '*'\n"
    "                echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c pouch -f -a '(__pouch_complete)'\n";

static int run_completion(struct cli *cli, void *options, char **args, size_t n)
{
    if (STREQ(args[0], "bash")) {
        out_puts(bash_script);
    } else if (STREQ(args[0], "zsh")) {
        out_puts(zsh_script);
    } else if (STREQ(args[0], "fish")) {
        out_puts(fish_script);
    } else {
        err_printf("no completion for the shell \"%s\": want bash, zsh or fish\n", args[0]);
        return 1;
    }
    return 0;
}

/* --- Candidates -------------------------------------------------------------------------- */

struct completion {
    struct cli *cli;
    const char *current; /* what was typed of the word */
    struct buf out;
};

static void offer(struct completion *c, const char *text, const char *description)
{
    if (!str_has_prefix(text, c->current))
        return;
    (void)buf_printf(&c->out, "%s%s%s\n", text, description ? "\t" : "",
                     description ? description : "");
}

static void offer_words(struct completion *c, const char *words)
{
    AUTOPTR(strv) char **list = strv_split(words, " ", true);

    for (char **w = list; w && *w; w++)
        offer(c, *w, NULL);
}

static void offer_commands(struct completion *c, const struct command *group)
{
    for (const struct command *const *s = group->sub; *s; s++) {
        if (!((*s)->flags & COMMAND_HIDDEN))
            offer(c, (*s)->name, (*s)->summary);
    }
}

static void offer_options(struct completion *c, const struct option_def *table)
{
    const struct option_def *o;

    for (size_t i = 0; (o = options_at(table, i)); i++) {
        AUTOFREE char *name = xasprintf("--%s", o->name);

        if (!o->hidden && !o->refused)
            offer(c, name, o->help);
    }
    offer(c, "--help", "Print usage");
}

/* Names of containers; `filter` is a JSON filter or NULL for all. */
static void offer_containers(struct completion *c, const char *filter)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(json_value) struct json_value *list = NULL;

    url_set(&u, "/containers/json", NULL, NULL);
    url_add(&u, "all", "1");
    url_add(&u, "filters", filter);
    if (api_get(c->cli, &u, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *names = json_value_get(json_value_at(list, i), "Names");
        const char *name = json_value_str(json_value_at(names, 0));

        if (name)
            offer(c, name + (*name == '/'), jstr(json_value_at(list, i), "Image"));
    }
}

static void offer_images(struct completion *c)
{
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(json_value) struct json_value *list = NULL;

    url_set(&u, "/images/json", NULL, NULL);
    if (api_get(c->cli, &u, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < json_value_len(list); i++) {
        const struct json_value *tags = json_value_get(json_value_at(list, i), "RepoTags");

        for (size_t k = 0; k < json_value_len(tags); k++) {
            const char *tag = json_value_str(json_value_at(tags, k));

            if (tag && !STREQ(tag, "<none>:<none>"))
                offer(c, tag, NULL);
        }
    }
}

static void offer_kind(struct completion *c, enum complete kind)
{
    switch (kind) {
    case COMPLETE_FILE:
        (void)buf_puts(&c->out, ":file\n");
        break;
    case COMPLETE_DIR:
        (void)buf_puts(&c->out, ":dir\n");
        break;
    case COMPLETE_CONTAINER:
        offer_containers(c, NULL);
        break;
    case COMPLETE_CONTAINER_RUNNING:
        offer_containers(c, "{\"status\":[\"running\",\"paused\",\"restarting\"]}");
        break;
    case COMPLETE_CONTAINER_STOPPED:
        offer_containers(c, "{\"status\":[\"created\",\"exited\",\"dead\"]}");
        break;
    case COMPLETE_IMAGE:
        offer_images(c);
        break;
    case COMPLETE_OBJECT:
        offer_containers(c, NULL);
        offer_images(c);
        break;
    case COMPLETE_SIGNAL:
        for (int sig = 1; sig < 32; sig++) {
            if (sigabbrev_np(sig))
                offer(c, sigabbrev_np(sig), NULL);
        }
        break;
    case COMPLETE_COMMAND:
        offer_commands(c, &cli_root);
        break;
    case COMPLETE_SHELL:
        offer_words(c, "bash zsh fish");
        break;
    default:
        break;
    }
}

static void offer_value(struct completion *c, const struct option_def *o)
{
    if (o->words)
        offer_words(c, o->words);
    else
        offer_kind(c, o->complete);
}

/* --- Where the cursor is ----------------------------------------------------------------- */

/* Looks at a complete word: an option whose value comes next, or NULL. *ret_arg: it is an
 * argument. */
static const struct option_def *scan_word(const struct command *cmd, const char *word,
                                          bool *ret_arg)
{
    const struct option_def *o = NULL;

    *ret_arg = word[0] != '-' || !word[1];
    if (*ret_arg || strchr(word, '='))
        return NULL;
    if (word[1] == '-') {
        o = options_find(cmd->options, word + 2, strlen(word + 2));
        return o && option_takes_value(o) ? o : NULL;
    }
    for (const char *s = word + 1; *s; s++) { /* in a cluster only the last may want more */
        o = options_find_letter(cmd->options, *s);
        if (o && option_takes_value(o))
            return s[1] ? NULL : o;
    }
    return NULL;
}

/* Walks over the words before the current one. Returns the option that waits for its value. */
static const struct option_def *scan(const struct command **cmd, char **words, size_t n,
                                     size_t *ret_args, const char **ret_host)
{
    const struct option_def *pending = NULL;
    bool ended = false;

    *ret_args = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_arg;

        if (pending) {
            if (STREQ(pending->name, "host") && *cmd == &cli_root)
                *ret_host = words[i];
            pending = NULL;
            continue;
        }
        if (ended) {
            ++*ret_args;
            continue;
        }
        pending = scan_word(*cmd, words[i], &is_arg);
        if (STREQ(words[i], "--")) {
            ended = true;
        } else if (is_arg && (*cmd)->sub) {
            const struct command *next = command_find((*cmd)->sub, words[i]);

            if (!next) {
                *ret_args = SIZE_MAX; /* nothing to offer behind an unknown command */
                return NULL;
            }
            *cmd = next;
        } else if (is_arg) {
            ++*ret_args;
            ended = ((*cmd)->flags & COMMAND_STOP_AT_ARG) != 0;
        }
    }
    return pending;
}

static void offer_argument(struct completion *c, const struct command *cmd, size_t args)
{
    if (cmd->args_max >= 0 && args >= (size_t)cmd->args_max)
        return;
    if (args && ((cmd->flags & COMMAND_STOP_AT_ARG) || cmd->args_max == 2)) {
        if (cmd == &command_tag)
            offer_kind(c, COMPLETE_IMAGE);
        return; /* what runs in the container is not known here */
    }
    offer_kind(c, cmd->complete);
}

/* --network=br…, after the equals sign. */
static bool offer_assigned(struct completion *c, const struct command *cmd)
{
    const char *equals = strchr(c->current, '=');
    const struct option_def *o;
    struct completion value = {.cli = c->cli, .out = BUF_INIT(BUF_UNLIMITED)};
    AUTOPTR(strv) char **lines = NULL;

    if (!equals || !str_has_prefix(c->current, "--"))
        return false;
    o = options_find(cmd->options, c->current + 2, (size_t)(equals - c->current) - 2);
    if (!o)
        return true;
    value.current = equals + 1;
    offer_value(&value, o);
    lines = strv_split(buf_str(&value.out), "\n", true);
    for (char **l = lines; l && *l; l++) {
        if (**l == ':')
            (void)buf_printf(&c->out, "%s\n", *l);
        else
            (void)buf_printf(&c->out, "%.*s%s\n", (int)(equals + 1 - c->current), c->current, *l);
    }
    buf_done(&value.out);
    return true;
}

static void use_host(struct cli *cli, const char *host)
{
    struct http_endpoint *ep = NULL;

    if (!host || http_endpoint_parse(host, NULL, &ep, NULL) < 0)
        return;
    http_endpoint_free(cli->endpoint);
    cli->endpoint = ep;
}

static int run_complete(struct cli *cli, void *options, char **args, size_t n)
{
    struct completion c = {.cli = cli, .out = BUF_INIT(BUF_UNLIMITED)};
    const struct command *cmd = &cli_root;
    const struct option_def *pending;
    const char *host = NULL;
    size_t before;

    if (n == 0)
        return 0;
    c.current = args[n - 1];
    pending = scan(&cmd, args, n - 1, &before, &host);
    use_host(cli, host);
    if (pending)
        offer_value(&c, pending);
    else if (before != SIZE_MAX && c.current[0] == '-' &&
             !(before && (cmd->flags & COMMAND_STOP_AT_ARG)) && !offer_assigned(&c, cmd))
        offer_options(&c, cmd->options);
    else if (before != SIZE_MAX && c.current[0] != '-' && cmd->sub)
        offer_commands(&c, cmd);
    else if (before != SIZE_MAX && c.current[0] != '-')
        offer_argument(&c, cmd, before);
    out_write(buf_str(&c.out), c.out.len);
    buf_done(&c.out);
    return 0;
}

const struct command command_completion = {
    .name = "completion",
    .args = "bash|zsh|fish",
    .summary = "Print the completion script for a shell",
    .args_min = 1,
    .args_max = 1,
    .complete = COMPLETE_SHELL,
    .run = run_completion,
};
const struct command command_complete = {
    .name = "__complete",
    .args = "WORD...",
    .summary = "Answer a shell's completion",
    .args_min = 0,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG | COMMAND_HIDDEN,
    .run = run_complete,
};
