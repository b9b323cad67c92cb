/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of commands, the global options, and the commands about commands: help, __man. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/global.h"

#define GO struct global_options
const struct option_def cli_global_options[] = {
    OPT(GO, host, "host", 'H', OPTION_STR, NULL,
        "Daemon socket to connect to (also $POUCH_HOST; default " CLI_DEFAULT_HOST ")"),
    OPT(GO, debug, "debug", 'D', OPTION_BOOL, NULL, "Enable debug mode"),
    OPT(GO, log_level, "log-level", 'l', OPTION_STR, NULL, "Set the logging level",
        .initial = "info", .words = "debug info warn error fatal", .hidden = true),
    OPT(GO, tls, "tls", 0, OPTION_BOOL, NULL, "Use TLS; implied by --tlsverify"),
    OPT(GO, tls_verify, "tlsverify", 0, OPTION_BOOL, NULL,
        "Use TLS and verify the remote (also $POUCH_TLS_VERIFY)"),
    OPT(GO, tls_ca, "tlscacert", 0, OPTION_STR, NULL, "Trust certs signed only by this CA",
        .complete = COMPLETE_FILE),
    OPT(GO, tls_cert, "tlscert", 0, OPTION_STR, NULL, "Path to TLS certificate file",
        .complete = COMPLETE_FILE),
    OPT(GO, tls_key, "tlskey", 0, OPTION_STR, NULL, "Path to TLS key file",
        .complete = COMPLETE_FILE),
    OPT(GO, version, "version", 'v', OPTION_BOOL, NULL, "Print version information and quit"),
    OPT_END,
};

static const struct command *const container_commands[] = {
    &command_attach,
    &command_commit,
    &command_create,
    &command_diff,
    &command_export,
    &command_exec,
    &command_container_inspect,
    &command_kill,
    &command_logs,
    &command_container_ls,
    &command_container_prune,
    &command_pause,
    &command_port,
    &command_rename,
    &command_restart,
    &command_container_rm,
    &command_run,
    &command_start,
    &command_stats,
    &command_stop,
    &command_top,
    &command_unpause,
    &command_update,
    &command_upgrade,
    &command_wait,
    NULL,
};
static const struct command command_container = {.name = "container",
                                                 .summary = "Manage containers",
                                                 .sub = container_commands};

static const struct command *const trust_commands[] = {&command_trust_set, &command_trust_show,
                                                       NULL};
static const struct command command_trust = {.name = "trust",
                                             .summary = "Manage what signatures images must have",
                                             .sub = trust_commands};

static const struct command *const image_commands[] = {
    &command_history,  &command_import,      &command_image_inspect, &command_load,
    &command_image_ls, &command_image_mount, &command_image_umount,  &command_image_prune,
    &command_pull,     &command_push,        &command_image_protect, &command_image_rm,
    &command_tag,      &command_trust,       &command_save,          NULL,
};
static const struct command command_image = {.name = "image",
                                             .summary = "Manage images",
                                             .sub = image_commands};

static const struct command *const network_commands[] = {&command_network_connect,
                                                         &command_network_disconnect, NULL};
static const struct command command_network = {.name = "network",
                                               .summary = "Manage networks",
                                               .sub = network_commands};
static const struct command *const manifest_commands[] = {
    &command_manifest_add,       &command_manifest_annotate, &command_manifest_create,
    &command_manifest_inspect,   &command_manifest_ls,       &command_manifest_push,
    &command_manifest_referrers, &command_manifest_rm,       NULL,
};
static const struct command command_manifest = {.name = "manifest",
                                                .summary = "Manage manifest lists (images for "
                                                           "several platforms)",
                                                .sub = manifest_commands};
static const struct command *const volume_commands[] = {
    &command_volume_create, &command_volume_inspect, &command_volume_ls,
    &command_volume_prune,  &command_volume_rm,      NULL,
};
static const struct command command_volume = {.name = "volume",
                                              .summary = "Manage volumes",
                                              .sub = volume_commands};

static const struct command *const system_commands[] = {&command_system_df,
                                                        &command_system_prune,
                                                        &command_events,
                                                        &command_fsck,
                                                        &command_system_gc,
                                                        &command_info,
                                                        NULL};
static const struct command command_system = {.name = "system",
                                              .summary = "Manage Pouch",
                                              .sub = system_commands};

const struct command *const cli_commands[] = {
    &command_attach,
    &command_commit,
    &command_complete,
    &command_completion,
    &command_container,
    &command_create,
    &command_diff,
    &command_events,
    &command_exec,
    &command_fsck,
    &command_export,
    &command_help,
    &command_history,
    &command_image,
    &command_images,
    &command_import,
    &command_info,
    &command_inspect,
    &command_kill,
    &command_load,
    &command_login,
    &command_logout,
    &command_logs,
    &command_man,
    &command_manifest,
    &command_network,
    &command_pause,
    &command_port,
    &command_ps,
    &command_pull,
    &command_push,
    &command_remount_lxcfs,
    &command_rename,
    &command_restart,
    &command_rm,
    &command_rmi,
    &command_run,
    &command_save,
    &command_search,
    &command_start,
    &command_stats,
    &command_stop,
    &command_system,
    &command_tag,
    &command_top,
    &command_trust,
    &command_unpause,
    &command_update,
    &command_upgrade,
    &command_version,
    &command_volume,
    &command_wait,
    NULL,
};

const struct command cli_root = {
    .name = "pouch",
    .summary = "A container engine: run, look into and manage containers and images",
    .options = cli_global_options,
    .options_size = sizeof(struct global_options),
    .flags = COMMAND_STOP_AT_ARG,
    .sub = cli_commands,
};

const struct command *command_walk(char **words, size_t n, char **ret_path, size_t *ret_used)
{
    const struct command *cmd = &cli_root;
    AUTOFREE char *path = xstrdup("pouch");
    size_t i = 0;

    while (i < n && cmd->sub) {
        const struct command *next = command_find(cmd->sub, words[i]);

        if (!next)
            break;
        cmd = next;
        str_replace(&path, NULL);
        path = xasprintf("%s%s%s", ret_path && *ret_path ? *ret_path : "pouch", " ", cmd->name);
        if (ret_path)
            str_replace(ret_path, path);
        i++;
    }
    if (ret_path && !*ret_path)
        *ret_path = xstrdup("pouch");
    *ret_used = i;
    return cmd;
}

static int unknown_command(const char *name)
{
    err_printf("pouch: '%s' is not a pouch command.\nSee 'pouch --help'\n", name);
    return 1;
}

static int run_help(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *path = NULL;
    size_t used = 0;
    const struct command *cmd = command_walk(args, n, &path, &used);

    if (used < n)
        return unknown_command(args[used]);
    help_command(cmd, path, &out);
    out_write(buf_str(&out), out.len);
    return 0;
}

/* All commands below a group, as the man page lists them. */
static void man_all(const struct command *group, const char *path, struct buf *out)
{
    for (const struct command *const *c = group->sub; *c; c++) {
        AUTOFREE char *name = xasprintf("%s %s", path, (*c)->name);

        if ((*c)->flags & COMMAND_HIDDEN)
            continue;
        if (!(*c)->sub)
            help_man(*c, name, out);
    }
}

static int run_man(struct cli *cli, void *options, char **args, size_t n)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *path = NULL;
    size_t used = 0;
    const struct command *cmd = command_walk(args, n, &path, &used);

    if (used < n)
        return unknown_command(args[used]);
    if (cmd == &cli_root) {
        help_man(cmd, path, &out);
        man_all(cmd, path, &out);
    } else if (cmd->sub) {
        man_all(cmd, path, &out);
    } else {
        help_man(cmd, path, &out);
    }
    out_write(buf_str(&out), out.len);
    return 0;
}

const struct command command_help = {
    .name = "help",
    .args = "[COMMAND...]",
    .summary = "Show the help of a command",
    .args_min = 0,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG,
    .complete = COMPLETE_COMMAND,
    .run = run_help,
};
const struct command command_man = {
    .name = "__man",
    .args = "[COMMAND...]",
    .summary = "Print option lists for the man page",
    .args_min = 0,
    .args_max = -1,
    .flags = COMMAND_STOP_AT_ARG | COMMAND_HIDDEN,
    .run = run_man,
};
