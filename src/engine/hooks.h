/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks of containers (docs/hooks.md): prestart, poststart, poststop, on the host or inside.
 *
 * prestart and poststart belong to the start, which waits for them under its claim. Hooks on the host run by
 * `pouch-monitor --hooks`, hooks inside as execs of the container's monitor. Poststop hooks are owed from the
 * moment in which the first prestart hook could run: a row of the table `hooks` says so
 * (due → running → done), so that a pouchd that comes later runs what an earlier one did not.
 */
#pragma once

#include "engine/engine-priv.h"

#define HOOK_TIMEOUT_DEFAULT 30    /* seconds */
#define HOOK_TIMEOUT_MAX     86400 /* seconds */

enum hook_phase { HOOKS_IDLE, HOOKS_PRESTART, HOOKS_POSTSTART, HOOKS_POSTSTOP };

/* A hook as text, taken apart: "host:/path args", "in:/path args", "/path args". */
struct hook {
    bool host;
    char **args;
};
int hook_parse(const char *text, struct hook *ret, struct error *e) MUST_CHECK;
void hook_done(struct hook *h);

int hooks_validate(const struct container_config *config, const struct host_config *hc,
                   struct error *e) MUST_CHECK;
/* Hooks run in the container before its program. */
bool hooks_at_gate(const struct container_definition *def);
/* The root file system is mounted once more after the end. */
bool hooks_after_end(const struct container_definition *def);

int hooks_migrate(struct store *s, struct error *e) MUST_CHECK;
/* Which containers owe poststop hooks: after record_load(). */
int hooks_load(struct engine *en, struct error *e) MUST_CHECK;
void hooks_forget(struct container *c);  /* frees what is in memory */
void hooks_removed(struct container *c); /* the row, with the container's */

/* A step of the start: poststop is owed from here on; runs the prestart hooks. */
int hooks_prestart(struct start_context *ctx, struct error *e) MUST_CHECK;
/* After the start, with its claim still held. Failures are warnings. */
void hooks_poststart(struct container *c, const struct container_definition *def);
/* How the run ended, for the poststop hooks; on record before the end itself. */
void hooks_note_end(struct container *c, const struct monitor_exit *x);
bool hooks_owed(struct container *c);
/* Runs the poststop hooks that are owed, if any; the claim is held. False: pouchd ends, the next one
 * goes on with them. */
bool hooks_poststop(struct container *c) MUST_CHECK;

/* The user ends the container: kills prestart hooks, which fails the start, and poststart hooks.
 * Returns when no start is under way any more; true when one was ended. */
bool hooks_abort_start(struct container *c);
/* Kills the poststop hook that runs; false: none does. */
bool hooks_kill_poststop(struct container *c);
/* Waits until the poststop hooks of an end that was seen are done. */
void hooks_await_poststop(struct container *c);
/* pouchd ends: who waits for hooks gives up. */
void hooks_close(struct container *c);
