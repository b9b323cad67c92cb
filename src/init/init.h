/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pouch-init: see README. Single-threaded; every command ends by exec or _exit. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/macros.h"
#include "monitor/rich.h"

/* --- config.c ------------------------------------------------------------------------------ */

/*
 * The application, as the engine wrote it down: texts that end with NUL, the first letter of each
 * says what it is. Unknown letters are passed over.
 *
 *   a argument    d working directory    u user[:group]   g further group   m umask, octal
 *   t terminal                          x what ends with it: app or init
 *   h signal that halts the init        k signal that stops the application
 *   f streams are the named pipes, not inherited
 */
struct app_config {
    char *text; /* owns what the others point to */
    char **args;
    char **groups;
    const char *cwd;
    const char *user;
    mode_t umask;
    bool tty;
    bool fifos;
    bool ends_container; /* rich-exit app */
    int halt_signal;     /* for the init */
    int stop_signal;     /* for the application */
};
/* Takes text[len] apart; it is changed and must end with NUL. -EINVAL: it is not such a file. */
int app_config_parse(char *text, size_t len, struct app_config *ret) MUST_CHECK;
int app_config_load(struct app_config *ret) MUST_CHECK;
void app_config_done(struct app_config *c);
/* The environment, one NAME=VALUE a text; with the terminal's and the user's names left open. */
int app_env_load(char ***ret) MUST_CHECK;

#define APP_PID_FILE "/run/pouch-app.pid"

/* --- commands ------------------------------------------------------------------------------ */

int cmd_boot(int argc, char **argv);
int cmd_app(int argc, char **argv);
int cmd_reap(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_halted(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_env(int argc, char **argv);

/* --- common -------------------------------------------------------------------------------- */

/* "pouch: …" on stderr, one line. */
void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Default actions and an empty mask: what a fresh program expects. */
void reset_signals(void);
/* Tells the monitor; nobody listening is no error. */
void tell(enum rich_event_type type, int value, int detail);
/* Executes args[0], looked for in the PATH of env; returns the exit code for its failure. */
int exec_search(char *const *args, char **env);
/* 0-255, 128 + signal. */
int exit_code_of(int wait_status);
