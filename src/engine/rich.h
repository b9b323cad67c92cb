/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rich containers: an existing workload with its init, services and agents, run from an untouched
 * image (docs/internals/rich.md). Everything that the container needs for it is written to the
 * folder "rich" of its bundle and shown to it read-only as /run/pouch; the program pouch-init does
 * the rest inside. Nothing of this is touched when Config.Rich is off.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

struct container;
struct container_config;
struct container_definition;
struct host_config;
struct oci_spec;
struct start_context;
struct update_context;
struct engine;
struct image;
struct opt_int;

enum rich_mode { RICH_DUMB_INIT, RICH_SBIN_INIT, RICH_SYSTEMD, RICH_MODE_MAX };
/* What understands the application and the order to halt. */
enum rich_init {
    RICH_INIT_NONE, /* dumb-init: ours or the host's */
    RICH_INIT_SYSTEMD,
    RICH_INIT_SYSVINIT, /* also OpenRC below it */
    RICH_INIT_BUSYBOX,
    RICH_INIT_OPENRC, /* openrc-init */
    RICH_INIT_OTHER,
    RICH_INIT_MAX
};

/* What the image's (or the container's) file system has. */
struct rich_image {
    enum rich_init init;
    char *path;         /* of the init, as it is executed */
    bool is_command;    /* the command is this init: there is no application beside it */
    unsigned systemd;   /* version; 0: older than 231, or unknown */
    bool has_profile_d; /* /etc/profile.d */
    char *profile;      /* where there is none: content of /etc/profile, or NULL */
    bool has_rcs;       /* /etc/init.d/rcS */
    char *environment;  /* content of /etc/environment, or NULL */
    char *inittab;      /* of /etc/inittab, or NULL */
    char *rc_conf;      /* where OpenRC starts the services: content of /etc/rc.conf, or "" */
};
void rich_image_done(struct rich_image *i);
/* Looks, below rootfd only. ERR_INVALID when the mode's init is not there. `image` is its name for
 * the message. */
int rich_image_inspect(int rootfd, enum rich_mode mode, const char *image, const char *command,
                       struct rich_image *ret, struct error *e) MUST_CHECK;
/* The number in "libsystemd-shared-252.so"; 0: it is not such a name. */
unsigned rich_systemd_version(const char *file_name);

/* --- what the engine calls ------------------------------------------------------------------ */

/* Fields, or labels of the same names in their place; ERR_INVALID. First what the request says by
 * itself, then, merged, with the image's labels and the defaults. */
int rich_validate(struct container_config *config, struct host_config *hc, bool merged,
                  struct error *e);
/* It boots an init of the image: with no command anywhere, that init is all it runs. */
bool rich_is_machine(const struct container_config *config);
/* Those of the declared VOLUMEs that are to be volumes; the caller frees them. */
char **rich_volumes(const struct container_config *config, char *const *volumes);
#define RICH_COMMAND_INIT "init" /* stands for the init, whatever its path */
/* At creation, with the image's values merged in: is the init there? */
int rich_check_image(struct engine *en, const struct container_definition *def,
                     const struct image *img, struct error *e) MUST_CHECK;

/* One start's state; NULL in plain containers. */
struct rich_start;
void rich_start_free(struct rich_start *s);
/* A step of the start: writes <bundle>/rich. */
int rich_prepare(struct start_context *ctx, struct error *e) MUST_CHECK;
/* The mounts that come before the user's. */
void rich_add_mounts(const struct start_context *ctx, struct oci_spec *s);
/* Process, cgroup, the mounts that come after the user's. */
int rich_fill(const struct start_context *ctx, struct oci_spec *s, struct error *e) MUST_CHECK;
/* The streams are named pipes of the bundle (not in dumb-init mode). */
bool rich_has_pipes(const struct start_context *ctx);

/* The signal that halts the running container's init; 0: it is not rich, the usual one. */
int rich_stop_signal(const struct container *c, const struct container_definition *def);

int rich_update_check(struct update_context *u, struct error *e);
/* Part of an update: the environment of new services and logins. */
int rich_update_env(struct update_context *u, const struct container_definition *from,
                    const struct container_definition *to, struct error *e);

/* --- texts (rich-text.c), pure --------------------------------------------------------------- */

/* NAME=VALUE of the container without what belongs to one session (HOSTNAME, TERM, HOME). */
char **rich_login_env(char *const *env);
void rich_text_env(struct buf *out, char *const *env);     /* for pouch-init: NUL-ended */
void rich_text_profile(struct buf *out, char *const *env); /* for a shell */
/* /etc/environment: what the image has there, then ours. What PAM cannot read is left out. */
void rich_text_pam(struct buf *out, const char *image_has, char *const *env);
/* Beside /etc/rc.conf: that services get these variables, which OpenRC would take away from them,
 * and those that the image lets through. */
void rich_text_rc_conf(struct buf *out, const char *image_has, char *const *env);
/* DefaultEnvironment= of systemd; version as in rich_image. */
void rich_text_systemd_env(struct buf *out, char *const *env, unsigned version);

struct rich_unit {
    int kill_signal;
    unsigned stop_seconds;
    unsigned version;
    const struct container_definition *def;
    const struct engine *en;
};
void rich_text_unit(struct buf *out, const struct rich_unit *u);
/* An inittab like the image's (NULL: it has none), with the application and a halt that works. */
void rich_text_inittab(struct buf *out, enum rich_init kind, const char *image_has, bool app,
                       bool has_rcs, unsigned stop_seconds);
