/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: one table of options for all commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "oci-cli/oci-cli.h"
#include "oci/spec.h"

enum kind { FLAG, TEXT, LIST };

#define BOTH " checkpoint restore "

static const struct option {
    const char *name;
    char letter;
    enum kind kind;
    size_t offset;
    const char *commands; /* "" for global ones */
    const char *help;
} table[] = {
#define OPT(name, letter, kind, member, commands, help)                                            \
    {                                                                                              \
        name, letter, kind, offsetof(struct options, member), commands, help                       \
    }
    OPT("root", 0, TEXT, root, "", "folder of the containers' state (" OCI_DEFAULT_ROOT ")"),
    OPT("log", 0, TEXT, log, "", "file that errors are written to as well"),
    OPT("log-format", 0, TEXT, log_format, "", "text or json"),
    OPT("debug", 0, FLAG, debug, "", "more words in the log"),
    OPT("systemd-cgroup", 0, FLAG, systemd_cgroup, "",
        "cgroups are made by systemd; cgroupsPath is slice:prefix:name"),
    OPT("cgroup-manager", 0, TEXT, cgroup_manager, "", "cgroupfs, or systemd: as --systemd-cgroup"),
    OPT("criu", 0, TEXT, criu, "", "program for checkpoint and restore (criu, of PATH)"),
    OPT("rootless", 0, TEXT, rootless, "", "true, false or auto (as the user is)"),
    OPT("bundle", 'b', TEXT, bundle, " create run spec restore ", "folder with config.json (.)"),
    OPT("pid-file", 0, TEXT, pid_file, " create run exec restore ",
        "file to write the process id to"),
    OPT("console-socket", 0, TEXT, console_socket, " create run exec restore ",
        "unix socket that gets the terminal's master"),
    OPT("no-pivot", 0, FLAG, no_pivot, " create run ",
        "move the root instead of pivot_root (on an initramfs)"),
    OPT("no-new-keyring", 0, FLAG, no_new_keyring, " create run ", "keep the session keyring"),
    OPT("preserve-fds", 0, TEXT, preserve_fds, " create run exec ",
        "how many descriptors from 3 on the process gets"),
    OPT("no-subreaper", 0, FLAG, no_subreaper, " run restore ", "leave orphans to the parent"),
    OPT("detach", 'd', FLAG, detach, " run exec restore ", "do not wait for the process"),
    OPT("keep", 0, FLAG, keep, " run ", "do not delete the container at its end"),
    OPT("process", 'p', TEXT, process, " exec ", "process.json to run"),
    OPT("cwd", 0, TEXT, cwd, " exec ", "working directory"),
    OPT("env", 'e', LIST, env, " exec ", "NAME=VALUE"),
    OPT("user", 'u', TEXT, user, " exec ", "uid[:gid], or names of the container"),
    OPT("additional-gids", 'g', LIST, gids, " exec ", "further group"),
    OPT("tty", 't', FLAG, tty, " exec ", "give the process a terminal"),
    OPT("cap", 'c', LIST, caps, " exec ", "further capability"),
    OPT("no-new-privs", 0, FLAG, no_new_privs, " exec ", "set no_new_privs"),
    OPT("apparmor", 0, TEXT, apparmor, " exec ", "AppArmor profile"),
    OPT("process-label", 0, TEXT, process_label, " exec ", "SELinux label"),
    OPT("cgroup", 0, TEXT, cgroup, " exec ", "cgroup below the container's"),
    OPT("ignore-paused", 0, FLAG, ignore_paused, " exec ", "also in a paused container"),
    OPT("rootless", 0, FLAG, rootless_spec, " spec ", "for the user who asks, without root"),
    OPT("image-path", 0, TEXT, image_path, BOTH, "folder of the checkpoint (./checkpoint)"),
    OPT("work-path", 0, TEXT, work_path, BOTH, "folder of criu's log (the one of --image-path)"),
    OPT("leave-running", 0, FLAG, leave_running, " checkpoint ", "do not end the container"),
    OPT("tcp-established", 0, FLAG, tcp_established, BOTH, "TCP connections too"),
    OPT("ext-unix-sk", 0, FLAG, ext_unix_sk, BOTH, "unix sockets that lead outside too"),
    OPT("shell-job", 0, FLAG, shell_job, BOTH, "a session that was begun outside too"),
    OPT("file-locks", 0, FLAG, file_locks, BOTH, "file locks too"),
    OPT("empty-ns", 0, LIST, empty_ns, BOTH, "network: leave what is in the namespace out"),
    OPT("manage-cgroups-mode", 0, TEXT, manage_cgroups_mode, BOTH,
        "soft, full, strict or ignore (soft)"),
    OPT("pre-dump", 0, FLAG, pre_dump, " checkpoint ",
        "memory alone, for a later checkpoint with --parent-path; the container runs on"),
    OPT("parent-path", 0, TEXT, parent_path, " checkpoint ",
        "folder of the checkpoint before, seen from --image-path"),
    OPT("interval", 0, TEXT, interval, " events ", "time between two statistics (5s)"),
    OPT("stats", 0, FLAG, stats, " events ", "print the statistics once"),
    OPT("resources", 'r', TEXT, resources, " update ", "file with linux.resources, - is the input"),
    OPT("memory", 0, TEXT, memory, " update ", "memory limit (10m)"),
    OPT("memory-reservation", 0, TEXT, memory_reservation, " update ", "memory reservation"),
    OPT("memory-swap", 0, TEXT, memory_swap, " update ", "memory and swap together, -1 unlimited"),
    OPT("kernel-memory", 0, TEXT, kernel_memory, " update ", "kernel memory limit (old kernels)"),
    OPT("kernel-memory-tcp", 0, TEXT, kernel_memory_tcp, " update ", "TCP buffer limit (v1)"),
    OPT("cpu-period", 0, TEXT, cpu_period, " update ", "CPU period in microseconds"),
    OPT("cpu-quota", 0, TEXT, cpu_quota, " update ", "CPU quota in microseconds a period"),
    OPT("cpu-burst", 0, TEXT, cpu_burst, " update ", "CPU burst in microseconds"),
    OPT("cpu-share", 0, TEXT, cpu_share, " update ", "CPU shares"),
    OPT("cpu-rt-period", 0, TEXT, cpu_rt_period, " update ", "real-time period (v1)"),
    OPT("cpu-rt-runtime", 0, TEXT, cpu_rt_runtime, " update ", "real-time runtime (v1)"),
    OPT("cpu-idle", 0, TEXT, cpu_idle, " update ", "1: only when nothing else runs"),
    OPT("cpuset-cpus", 0, TEXT, cpuset_cpus, " update ", "CPUs (0-3,7)"),
    OPT("cpuset-mems", 0, TEXT, cpuset_mems, " update ", "memory nodes"),
    OPT("blkio-weight", 0, TEXT, blkio_weight, " update ", "block I/O weight (10 to 1000)"),
    OPT("pids-limit", 0, TEXT, pids_limit, " update ", "number of processes, -1 unlimited"),
    OPT("l3-cache-schema", 0, TEXT, l3_cache_schema, " update ", "Intel RDT cache schema"),
    OPT("mem-bw-schema", 0, TEXT, mem_bw_schema, " update ", "Intel RDT bandwidth schema"),
    OPT("all", 'a', FLAG, all, " kill ", "signal every process of the container"),
    OPT("force", 'f', FLAG, force, " delete ", "kill the container if it runs"),
    OPT("format", 'f', TEXT, format, " list ps ", "table or json"),
    OPT("quiet", 'q', FLAG, quiet, " list ", "ids only"),
};

static const struct option *find(const char *name, size_t len, char letter, const char *cmd)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct option *o = &table[i];
        AUTOFREE char *word = xasprintf(" %s ", cmd);

        if (letter ? o->letter != letter : strlen(o->name) != len || strncmp(o->name, name, len))
            continue;
        if (*cmd ? strstr(o->commands, word) != NULL : !*o->commands)
            return o;
    }
    return NULL;
}

static void help_options(const char *cmd)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct option *o = &table[i];
        AUTOFREE char *word = xasprintf(" %s ", cmd);
        char left[40];

        if (*cmd ? !strstr(o->commands, word) : *o->commands)
            continue;
        (void)snprintf(left, sizeof(left), "%s%c%s--%s%s", o->letter ? "-" : " ",
                       o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
                       o->kind == FLAG ? "" : " VALUE");
        printf("  %-28s %s\n", left, o->help);
    }
}

void options_help(const struct command *cmd)
{
    if (cmd) {
        printf("Usage: pouch-oci %s [OPTIONS] %s\n\n%s\n", cmd->name, cmd->usage, cmd->help);
        printf("\nOptions:\n  %-28s %s\n", "-h, --help", "this text");
        help_options(cmd->name);
        return;
    }
    printf("Usage: pouch-oci [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENT...]\n\n"
           "Runs containers from bundles of the OCI runtime specification.\n\nCommands:\n");
    for (const struct command *c = oci_commands; c->name; c++)
        printf("  %-10s %s\n", c->name, c->help);
    printf("\nGlobal options:\n  %-28s %s\n  %-28s %s\n", "-h, --help", "this text",
           "-v, --version", "version");
    help_options("");
}

static int take_value(struct options *o, const struct option *opt, const char *value,
                      struct error *e)
{
    void *at = (char *)o + opt->offset;

    if (opt->kind == FLAG) {
        if (value && !STREQ(value, "true") && !STREQ(value, "false"))
            return error_set(e, ERR_INVALID, "--%s: \"%s\" is neither true nor false", opt->name,
                             value);
        *(bool *)at = !value || STREQ(value, "true");
    } else if (opt->kind == TEXT) {
        str_replace(at, value);
    } else {
        strv_push(at, value);
    }
    return 0;
}

/* One word that starts with '-'; *argv moves past it and its value. */
static int parse_word(char ***argv, struct options *o, const char *cmd, struct error *e)
{
    const char *word = *(*argv)++;
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    const char *eq = strchr(name, '=');
    size_t len = eq ? (size_t)(eq - name) : strlen(name);
    const struct option *opt;
    const char *value = eq ? eq + 1 : NULL;

    /* "-bundle" is taken for "--bundle", as runc's parser does. */
    opt = find(name, len, !is_long && len == 1 ? name[0] : '\0', cmd);
    if (!opt)
        return error_set(
            e, ERR_NOT_SUPPORTED,
            "%s%s%.*s: this option is not known to pouch-oci (see pouch-oci %s --help)", cmd,
            *cmd ? " " : "", (int)(name - word) + (int)len, word, cmd);
    if (opt->kind != FLAG && !value) {
        if (!**argv)
            return error_set(e, ERR_INVALID, "--%s needs a value", opt->name);
        value = *(*argv)++;
    }
    return take_value(o, opt, value, e);
}

static bool wants_help(const char *word)
{
    return STREQ(word, "-h") || STREQ(word, "--help");
}

static int parse_command(char **argv, struct options *o, const struct command *cmd, struct error *e)
{
    int n;

    while (*argv) {
        if (STREQ(*argv, "--")) {
            argv++;
            while (*argv)
                strv_push(&o->args, *argv++);
            break;
        }
        if (**argv == '-' && (*argv)[1]) {
            int r;

            if (wants_help(*argv)) {
                options_help(cmd);
                return 1;
            }
            r = parse_word(&argv, o, cmd->name, e);
            if (r < 0)
                return r;
            continue;
        }
        strv_push(&o->args, *argv++);
        if (cmd->max_args < 0)
            while (*argv)
                strv_push(&o->args, *argv++);
    }
    n = (int)strv_len(o->args);
    if (n < cmd->min_args)
        return error_set(e, ERR_INVALID, "%s: needs %s", cmd->name, cmd->usage);
    if (cmd->max_args >= 0 && n > cmd->max_args)
        return error_set(e, ERR_INVALID, "%s: too many arguments: \"%s\"", cmd->name,
                         o->args[cmd->max_args]);
    return 0;
}

int options_parse(char **argv, struct options *o, const struct command **ret_cmd, struct error *e)
{
    const struct command *cmd = oci_commands;
    int r;

    *ret_cmd = NULL;
    while (*argv && **argv == '-') {
        if (wants_help(*argv)) {
            options_help(NULL);
            return 0;
        }
        if (STREQ(*argv, "-v") || STREQ(*argv, "--version")) {
            printf("pouch-oci version " POUCH_VERSION "\nspec: " OCI_RUNTIME_SPEC_VERSION "\n");
            return 0;
        }
        r = parse_word(&argv, o, "", e);
        if (r < 0)
            return r;
    }
    if (!*argv || STREQ(*argv, "help")) {
        options_help(NULL);
        return 0;
    }
    while (cmd->name && !STREQ(cmd->name, *argv))
        cmd++;
    if (!cmd->name)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "%s: this command is not known to pouch-oci (see pouch-oci --help)",
                         *argv);
    if (o->root && !*o->root)
        return error_set(e, ERR_INVALID, "--root: the empty string is no folder");
    if (!o->root && geteuid() == 0)
        o->root = xstrdup(OCI_DEFAULT_ROOT);
    else if (!o->root && getenv("XDG_RUNTIME_DIR"))
        o->root = xasprintf("%s/pouch-oci", getenv("XDG_RUNTIME_DIR"));
    else if (!o->root)
        return error_set(
            e, ERR_INVALID,
            "XDG_RUNTIME_DIR is not set: say by --root where the state of containers is "
            "to be kept");
    r = parse_command(argv + 1, o, cmd, e);
    if (r == 0)
        *ret_cmd = cmd;
    return r < 0 ? r : 0;
}

int options_find_fds(struct options *o, struct error *e)
{
    const char *listen = getenv("LISTEN_FDS");
    const char *pid = getenv("LISTEN_PID");
    uint64_t n = 0;

    /* As sd_listen_fds(3): the variables are for one process; without LISTEN_PID for everybody. */
    if (listen && (!pid || strtol(pid, NULL, 10) == getpid())) {
        if (parse_u64(listen, &n) < 0 || n > 1024)
            return error_set(e, ERR_INVALID, "LISTEN_FDS: \"%s\" is no number of descriptors",
                             listen);
        o->listen_fds = (unsigned)n;
    }
    n = 0;
    if (o->preserve_fds && (parse_u64(o->preserve_fds, &n) < 0 || n > 1024))
        return error_set(e, ERR_INVALID, "--preserve-fds: \"%s\" is no number of descriptors",
                         o->preserve_fds);
    o->nfds = o->listen_fds + (unsigned)n;
    for (unsigned i = 0; i < o->nfds; i++)
        if (fcntl((int)(3 + i), F_GETFD) < 0)
            return error_set(e, ERR_INVALID, "%s: descriptor %u is not open",
                             i < o->listen_fds ? "LISTEN_FDS" : "--preserve-fds", 3 + i);
    return 0;
}

void options_listen_env(const struct options *o, char ***env)
{
    AUTOFREE char *fds = xasprintf("LISTEN_FDS=%u", o->listen_fds);

    if (!o->listen_fds)
        return;
    env_set(env, fds);
    env_set(env, "LISTEN_PID=1");
}

void options_done(struct options *o)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        void *at = (char *)o + table[i].offset;

        if (table[i].kind == TEXT) {
            free(*(char **)at);
            *(char **)at = NULL;
        } else if (table[i].kind == LIST) {
            strv_free(*(char ***)at);
            *(char ***)at = NULL;
        }
    }
    strv_free(o->args);
}
