/* SPDX-License-Identifier: Apache-2.0 */
/* Rich containers: what is checked, written and put into the specification. See rich.h. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/rich.h"
#include "monitor/rich.h"
#include "oci/spec.h"

#define STOP_SECONDS  10
#define SYSTEMD_HALT  37  /* SIGRTMIN+3: systemd starts halt.target */
#define SYSTEMD_SINCE 232 /* the first that takes the cgroup2 hierarchy for its own */

struct rich_start {
    enum rich_mode mode;
    struct rich_image image;
    bool exit_init;
    bool app; /* there is one beside the init */
    int halt_signal, kill_signal;
    unsigned stop_seconds; /* for services, before the engine's time is over */
    char *folder;          /* <bundle>/rich */
    char *program;         /* pouch-init on the host */
    char *dumb_init;       /* the host's; NULL: ours */
    uid_t uid;             /* an update: of the container's root on the host */
    gid_t gid;
};

static const char *const mode_names[RICH_MODE_MAX] = {"dumb-init", "sbin-init", "systemd"};

static int mode_parse(const char *name, enum rich_mode *ret)
{
    for (size_t i = 0; i < RICH_MODE_MAX; i++) {
        if (STREQ(name, mode_names[i])) {
            *ret = (enum rich_mode)i;
            return 0;
        }
    }
    return -EINVAL;
}

static enum rich_mode mode_of(const struct container_definition *def)
{
    enum rich_mode mode = RICH_DUMB_INIT;

    if (def->config.rich_mode)
        (void)mode_parse(def->config.rich_mode, &mode);
    return mode;
}

/* --- the request ------------------------------------------------------------------------------ */

/* For clients that know no such fields (docker, kubelet): labels of the same names. An image may
 * say what it is, but has no programs to be run by whoever starts it. */
static int take_labels(struct container_config *config, bool of_image, struct error *e)
{
    const char *rich = json_map_get(&config->labels, "Rich");
    struct {
        const char *label;
        char **field;
    } texts[] = {{"RichMode", &config->rich_mode},
                 {"RichExit", &config->rich_exit},
                 {"InitScript", &config->init_script}};

    if (rich && !STREQ(rich, "true") && !STREQ(rich, "false"))
        return error_set(e, ERR_INVALID, "label Rich=%s: want true or false", rich);
    config->rich = config->rich || (rich && STREQ(rich, "true"));
    /* How an image would be rich is nothing to one that is not. */
    for (size_t i = 0; (config->rich || !of_image) && i < ARRAY_SIZE(texts) - of_image; i++) {
        const char *value = json_map_get(&config->labels, texts[i].label);

        if (value && str_is_empty(*texts[i].field))
            str_replace(texts[i].field, value);
    }
    return 0;
}

static int conflict(struct error *e, const char *what, const char *why)
{
    return error_set(e, ERR_INVALID, "conflicting options: --rich and %s: %s", what, why);
}

static int check_conflicts(const struct container_config *config, struct host_config *hc,
                           enum rich_mode mode, struct error *e)
{
    static const char *const init = "a rich container has an init of its own";

    if (hc->init.set && hc->init.value)
        return conflict(e, "--init", init);
    if (!str_is_empty(hc->pid_mode) && !STREQ(hc->pid_mode, "private"))
        return conflict(e, "--pid", "its init has to be pid 1 of a PID namespace of its own");
    if (mode == RICH_SYSTEMD && hc->cgroupns_mode && STREQ(hc->cgroupns_mode, "host"))
        return conflict(e, "--cgroupns host",
                        "systemd manages the cgroups that it sees, which must be its own (use "
                        "--cgroupns private)");
    if (mode == RICH_SYSTEMD && hc->readonly_rootfs)
        return conflict(e, "--read-only",
                        "systemd and its services write to /etc and /var; mount what is to be "
                        "protected read-only (-v PATH:PATH:ro)");
    if (!str_is_empty(hc->runtime) && !STREQ(hc->runtime, "pouch"))
        return conflict(e, "--runtime", "rich modes need Pouch's own runtime");
    (void)config;
    return 0;
}

int rich_validate(struct container_config *config, struct host_config *hc, bool merged,
                  struct error *e)
{
    enum rich_mode mode = RICH_DUMB_INIT;
    /* What the image's labels have decided is looked at as if it were asked for; the rest was, and
     * has been filled up with defaults meanwhile. */
    bool settled = merged && config->rich && !str_is_empty(config->rich_mode);
    int r = take_labels(config, merged, e);

    if (r < 0)
        return r;
    if (!config->rich) {
        if (!str_is_empty(config->rich_mode))
            return error_set(e, ERR_INVALID, "--rich-mode %s needs --rich", config->rich_mode);
        if (!str_is_empty(config->rich_exit))
            return error_set(e, ERR_INVALID, "--rich-exit %s needs --rich", config->rich_exit);
        return 0;
    }
    if (str_is_empty(config->rich_mode) && merged)
        str_replace(&config->rich_mode, mode_names[RICH_DUMB_INIT]);
    if (!str_is_empty(config->rich_mode) && mode_parse(config->rich_mode, &mode) < 0)
        return error_set(e, ERR_INVALID,
                         "unknown rich mode \"%s\": want dumb-init, sbin-init or systemd",
                         config->rich_mode);
    if (str_is_empty(config->rich_exit) && merged)
        str_replace(&config->rich_exit, "app");
    if (!str_is_empty(config->rich_exit) && !STREQ(config->rich_exit, "app") &&
        !STREQ(config->rich_exit, "init"))
        return error_set(e, ERR_INVALID,
                         "invalid --rich-exit \"%s\": want app (the container ends with its "
                         "application) or init",
                         config->rich_exit);
    if (mode == RICH_DUMB_INIT && (merged || !str_is_empty(config->rich_mode)) &&
        config->rich_exit && STREQ(config->rich_exit, "init"))
        return error_set(e, ERR_INVALID,
                         "--rich-exit init: in the mode dumb-init the application is all there is");
    return settled ? 0 : check_conflicts(config, hc, mode, e);
}

bool rich_is_machine(const struct container_config *config)
{
    return config->rich && config->rich_mode &&
           !STREQ(config->rich_mode, mode_names[RICH_DUMB_INIT]);
}

static int check_mounts(const struct container_definition *def, struct error *e)
{
    for (size_t i = 0; i < def->mounts.len; i++) {
        const char *to = def->mounts.items[i].destination;

        if (STREQ(to, RICH_INSIDE) || str_has_prefix(to, RICH_INSIDE "/"))
            return error_set(e, ERR_INVALID,
                             "mount on %s: a rich container has its own files at " RICH_INSIDE, to);
    }
    return 0;
}

/* Many images that were made for systemd declare volumes where a machine has what is new at each
 * boot, and the cgroups: here the engine mounts what belongs there. */
char **rich_volumes(const struct container_config *config, char *const *volumes)
{
    static const char *const own[] = {"/run", "/run/lock", "/sys/fs/cgroup", "/tmp"};
    bool systemd = config->rich_mode && STREQ(config->rich_mode, mode_names[RICH_SYSTEMD]);
    size_t n = rich_is_machine(config) ? ARRAY_SIZE(own) - !systemd : 0;
    char **left = xcalloc(1, sizeof(*left));

    for (size_t i = 0; volumes && volumes[i]; i++) {
        AUTOFREE char *place = xstrdup(volumes[i]);
        bool ours = false;

        for (size_t len = strlen(place); len > 1 && place[len - 1] == '/'; len--)
            place[len - 1] = '\0';
        for (size_t k = 0; k < n; k++)
            ours = ours || STREQ(place, own[k]);
        if (!ours)
            strv_push(&left, volumes[i]);
    }
    return left;
}

/* systemd with the host's cgroups in its way, as Docker's users give it, does not even start. */
static int check_cgroups(const struct container_definition *def, struct error *e)
{
    for (size_t i = 0; i < def->mounts.len; i++) {
        const char *to = def->mounts.items[i].destination;

        if (STREQ(to, "/sys/fs/cgroup") || str_has_prefix(to, "/sys/fs/cgroup/"))
            return error_set(e, ERR_INVALID,
                             "mount on %s: systemd gets a part of the cgroup tree of its own at "
                             "/sys/fs/cgroup, without the host's: leave this mount out",
                             to);
    }
    return 0;
}

static int inspect(const struct container_definition *def, const struct rootfs_mount *m,
                   struct rich_image *ret, struct error *e)
{
    AUTOFD int root = -EBADF;
    int r = rootfs_mount_detached(m, &root, e);

    if (r == 0)
        r = rich_image_inspect(root, mode_of(def), def->image_ref, def->path, ret, e);
    if (r == 0 && ret->init == RICH_INIT_SYSTEMD && ret->systemd < SYSTEMD_SINCE) {
        rich_image_done(ret);
        return error_set(e, ERR_NOT_SUPPORTED,
                         "image %s has a systemd older than %u, which needs the cgroup v1 "
                         "hierarchies for its own: use --rich-mode dumb-init, or a newer image",
                         def->image_ref, SYSTEMD_SINCE);
    }
    if (r == 0 && ret->init == RICH_INIT_SYSTEMD && check_cgroups(def, e) < 0) {
        rich_image_done(ret);
        r = -EINVAL;
    }
    return r;
}

int rich_check_image(struct engine *en, const struct container_definition *def,
                     const struct image *img, struct error *e)
{
    struct rich_image found;
    struct rootfs_mount view = {0};
    int r;

    if (!def->config.rich)
        return 0;
    r = check_mounts(def, e);
    if (r < 0 || mode_of(def) == RICH_DUMB_INIT)
        return r;
    r = rootfs_view(en->rootfs, img->layer_dirs, &view, e);
    if (r == 0)
        r = inspect(def, &view, &found, e);
    rootfs_mount_done(&view);
    if (r == 0)
        rich_image_done(&found);
    return r;
}

/* --- the start: what is found out -------------------------------------------------------------- */

void rich_start_free(struct rich_start *s)
{
    if (!s)
        return;
    rich_image_done(&s->image);
    free(s->folder);
    free(s->program);
    free(s->dumb_init);
    free(s);
}

/* A program that brings its own libraries: it runs in any image. */
static bool is_static(const char *path)
{
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr h;
    Elf64_Phdr p;

    if (fd < 0 || access(path, X_OK) < 0 || pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) ||
        memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64)
        return false;
    for (unsigned i = 0; i < h.e_phnum; i++) {
        off_t at = (off_t)(h.e_phoff + (uint64_t)i * h.e_phentsize);

        if (pread(fd, &p, sizeof(p), at) != (ssize_t)sizeof(p) || p.p_type == PT_INTERP)
            return false;
    }
    return true;
}

static char *host_dumb_init(void)
{
    static const char *const places[] = {"/usr/local/bin/dumb-init", "/usr/bin/dumb-init",
                                         "/bin/dumb-init", "/usr/local/sbin/dumb-init"};

    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (is_static(places[i]))
            return xstrdup(places[i]);
    return NULL;
}

/* The container's own files may have changed since the image: its writable layer lies on top. */
static int inspect_container(struct start_context *ctx, struct rich_start *s, struct error *e)
{
    struct rootfs_mount m = {.type = xstrdup(ctx->rootfs.type)};
    int r;

    if (ctx->rootfs.upper)
        strv_push(&m.lower, ctx->rootfs.upper);
    for (size_t i = 0; ctx->rootfs.lower && ctx->rootfs.lower[i]; i++)
        strv_push(&m.lower, ctx->rootfs.lower[i]);
    m.options = strv_copy(ctx->rootfs.options);
    strv_remove(m.options, "volatile");
    r = inspect(ctx->def, &m, &s->image, e);
    rootfs_mount_done(&m);
    return r;
}

static void choose_signals(const struct container_definition *def, struct rich_start *s)
{
    static const int halt[RICH_INIT_MAX] = {
        [RICH_INIT_SYSTEMD] = SYSTEMD_HALT, [RICH_INIT_SYSVINIT] = SIGPWR,
        [RICH_INIT_BUSYBOX] = SIGUSR2,      [RICH_INIT_OPENRC] = SIGTERM,
        [RICH_INIT_OTHER] = SIGTERM,
    };
    int given = 0;
    int64_t seconds = def->config.stop_timeout.set ? def->config.stop_timeout.value : STOP_SECONDS;

    if (!str_is_empty(def->config.stop_signal))
        (void)signal_parse(def->config.stop_signal, &given);
    s->halt_signal = halt[s->image.init];
    /* A signal that was given is the application's, or the init's when that is the command. One of
     * the real-time signals is no application's: such an image was made for systemd. */
    if (given && (s->image.is_command || s->image.init == RICH_INIT_OTHER))
        s->halt_signal = given;
    s->kill_signal = given && given < 32 ? given : SIGTERM;
    s->stop_seconds = seconds < 0 || seconds > 86400 ? 86400
                      : seconds > 3                  ? (unsigned)seconds - 2
                                                     : 1;
}

/* --- the start: what is written ---------------------------------------------------------------- */

static int put_file(const struct rich_start *s, const char *name, const void *data, size_t len,
                    mode_t mode, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", s->folder, name);
    int r = fs_write_atomic(AT_FDCWD, path, data, len, mode, FS_NO_SYNC);

    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

static int put_buf(const struct rich_start *s, const char *name, struct buf *b, mode_t mode,
                   struct error *e)
{
    return put_file(s, name, b->data, b->len, mode, e);
}

static int put_link(const struct rich_start *s, const char *name, const char *target,
                    struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", s->folder, name);

    return symlink(target, path) < 0 ? error_set_errno(e, errno, "cannot make %s", path) : 0;
}

static int put_folder(const struct rich_start *s, const char *name, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", s->folder, name);
    int r = fs_mkdir_p(path, 0755);

    return r < 0 ? error_set_errno(e, r, "cannot create %s", path) : 0;
}

/* Only a container's root may open one. */
static int put_pipe(const struct rich_start *s, const char *name, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", s->folder, name);

    return mkfifo(path, 0600) < 0 ? error_set_errno(e, errno, "cannot make %s", path) : 0;
}

static int put_app(const struct rich_start *s, const struct container_definition *def,
                   struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    const struct container_config *config = &def->config;

#define PUT(...) (void)(buf_printf(&b, __VA_ARGS__), buf_putc(&b, '\0'))
    PUT("a%s", def->path);
    for (size_t i = 0; def->args && def->args[i]; i++)
        PUT("a%s", def->args[i]);
    PUT("d%s", str_is_empty(config->working_dir) ? "/" : config->working_dir);
    PUT("u%s", str_is_empty(config->user) ? "0" : config->user);
    for (size_t i = 0; def->host_config.group_add && def->host_config.group_add[i]; i++)
        PUT("g%s", def->host_config.group_add[i]);
    if (s->mode != RICH_DUMB_INIT)
        PUT("f");
    if (config->tty)
        PUT("t");
    PUT("x%s", s->exit_init ? "init" : "app");
    if (s->halt_signal)
        PUT("h%d", s->halt_signal);
    PUT("k%d", s->kill_signal);
#undef PUT
    return put_buf(s, "app", &b, 0600, e);
}

/* For root of the container alone: its owner is there before it is, as a login may read it now. */
static int put_private(const struct rich_start *s, const char *name, struct buf *b, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", s->folder, name);
    AUTOFREE char *fresh = xasprintf("%s.new", path);
    int r = fs_write_atomic(AT_FDCWD, fresh, b->data, b->len, 0600, FS_NO_SYNC);

    if (r == 0 && s->uid && lchown(fresh, s->uid, s->gid) < 0)
        r = -errno;
    if (r == 0 && rename(fresh, path) < 0)
        r = -errno;
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

/* The files of the environment: also what `update --env` writes again. */
static int put_env(const struct rich_start *s, const struct container_definition *def,
                   struct error *e)
{
    AUTOPTR(strv) char **env = spec_container_env(def);
    AUTOPTR(strv) char **login = rich_login_env(env);
    AUTO(buf) struct buf all = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf profile = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf manager = BUF_INIT(BUF_UNLIMITED);
    int r;

    rich_text_env(&all, env);
    rich_text_profile(&profile, login);
    rich_text_systemd_env(&manager, login, s->image.systemd);
    r = put_private(s, "env", &all, e);
    if (r == 0)
        r = put_buf(s, "profile", &profile, 0644, e);
    if (r == 0 && s->image.init == RICH_INIT_SYSTEMD)
        r = put_buf(s, "systemd-env.conf", &manager, 0644, e);
    return r;
}

/* What is shown as one file keeps its inode: one write, padded with empty lines, so that a reader
 * sees all of the old or all of the new. */
static int put_shown(const struct rich_start *s, const char *name, struct buf *b, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", s->folder, name);
    AUTOFD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    size_t len = b->len;
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0) {
        while ((off_t)b->len < st.st_size)
            (void)buf_putc(b, '\n');
        if (pwrite(fd, b->data ? b->data : "", b->len, 0) == (ssize_t)b->len &&
            ftruncate(fd, (off_t)len) == 0)
            return 0;
    }
    return error_set_errno(e, errno, "cannot write %s", path);
}

/* What PAM and OpenRC read: also what `update --env` writes again. */
static int put_pam(const struct rich_start *s, const struct container_definition *def,
                   struct error *e)
{
    AUTOPTR(strv) char **env = spec_container_env(def);
    AUTOPTR(strv) char **login = rich_login_env(env);
    AUTO(buf) struct buf pam = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf rc = BUF_INIT(BUF_UNLIMITED);
    int r;

    rich_text_pam(&pam, s->image.environment, login);
    r = put_shown(s, "environment", &pam, e);
    if (r < 0 || !s->image.rc_conf)
        return r;
    rich_text_rc_conf(&rc, s->image.rc_conf, login);
    return put_shown(s, "rc.conf", &rc, e);
}

static int put_systemd(const struct rich_start *s, const struct container_definition *def,
                       const struct engine *en, struct error *e)
{
    /* What cannot work in a container and does not find that out by itself. */
    static const char *const masks[] = {"systemd-machine-id-commit.service"};
    /* These ask whether /sys is writable, which it is with --privileged: but the devices in it and
     * the terminals are the host's. */
    static const char *const host_masks[] = {
        "systemd-udevd.service",        "systemd-udevd-control.socket",
        "systemd-udevd-kernel.socket",  "systemd-udev-trigger.service",
        "systemd-udev-settle.service",  "getty@tty1.service",
        "systemd-modules-load.service", "systemd-sysctl.service"};
    static const char conf[] = "tree/run/systemd/system.conf.d/10-pouch";
    static const char units[] = "tree/run/systemd/system";
    AUTOFREE char *env_link = xasprintf("%s-env.conf", conf);
    AUTOFREE char *manager_path = xasprintf("%s.conf", conf);
    AUTOFREE char *manager = xasprintf("[Manager]\nDefaultTimeoutStopSec=%us\n%s", s->stop_seconds,
                                       s->app && def->config.tty ? "ShowStatus=no\n" : "");
    AUTO(buf) struct buf unit = BUF_INIT(BUF_UNLIMITED);
    struct rich_unit u = {s->kill_signal, s->stop_seconds, s->image.systemd, def, en};
    int r = put_folder(s, "tree/run/systemd/system/multi-user.target.wants", e);

    if (r == 0)
        r = put_folder(s, "tree/run/systemd/system.conf.d", e);
    if (r == 0)
        r = put_file(s, manager_path, manager, strlen(manager), 0644, e);
    if (r == 0)
        r = put_link(s, env_link, RICH_INSIDE "/systemd-env.conf", e);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(masks); i++) {
        AUTOFREE char *name = xasprintf("%s/%s", units, masks[i]);

        r = put_link(s, name, "/dev/null", e);
    }
    for (size_t i = 0; r == 0 && def->host_config.privileged && i < ARRAY_SIZE(host_masks); i++) {
        AUTOFREE char *name = xasprintf("%s/%s", units, host_masks[i]);

        r = put_link(s, name, "/dev/null", e);
    }
    if (r == 0 && s->app && def->config.tty) /* the terminal is the application's */
        r = put_link(s, "tree/run/systemd/system/console-getty.service", "/dev/null", e);
    if (r < 0 || !s->app)
        return r;
    rich_text_unit(&unit, &u);
    r = put_buf(s, "tree/run/systemd/system/" RICH_UNIT, &unit, 0644, e);
    return r < 0 ? r
                 : put_link(s, "tree/run/systemd/system/multi-user.target.wants/" RICH_UNIT,
                            "../" RICH_UNIT, e);
}

/* Each start is a boot of its own: journald tells them apart by this number, which is the host's
 * in a container without it. */
static int put_boot_id(const struct rich_start *s, struct error *e)
{
    char hex[33], text[38];

    random_hex(hex, 16);
    hex[12] = '4'; /* a random UUID, by its form */
    hex[16] = '8';
    (void)snprintf(text, sizeof(text), "%.8s-%.4s-%.4s-%.4s-%.12s\n", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
    return put_file(s, "boot_id", text, strlen(text), 0444, e);
}

static int put_identity(const struct rich_start *s, const struct container_definition *def,
                        struct error *e)
{
    char uuid[34];
    int r;

    identity_machine_id(def, uuid);
    strcat(uuid, "\n");
    r = put_file(s, "machine-id", uuid, strlen(uuid), 0644, e);

    if (r < 0 || s->mode == RICH_DUMB_INIT)
        return r;
    r = put_boot_id(s, e);
    if (r == 0)
        r = put_folder(s, "tree/run/host", e);
    if (r == 0)
        r = put_file(s, "tree/run/host/container-manager", "pouch\n", 6, 0644, e);
    return r < 0 ? r : put_file(s, "tree/run/host/container-uuid", uuid, strlen(uuid), 0644, e);
}

static int put_pipes(const struct rich_start *s, const struct container_definition *def,
                     struct error *e)
{
    int r = put_pipe(s, RICH_EVENTS, e);

    if (r == 0 && s->image.init == RICH_INIT_OPENRC)
        r = put_pipe(s, RICH_ALIVE, e);
    if (r < 0 || def->config.tty)
        return r;
    r = put_pipe(s, RICH_STDOUT, e);
    if (r == 0)
        r = put_pipe(s, RICH_STDERR, e);
    return r == 0 && def->config.open_stdin ? put_pipe(s, RICH_STDIN, e) : r;
}

static bool has_inittab(const struct rich_start *s)
{
    return s->image.init == RICH_INIT_SYSVINIT || s->image.init == RICH_INIT_BUSYBOX;
}

/* What an update of the environment needs to know again. */
static int put_found(const struct rich_start *s, struct error *e)
{
    const char *has = s->image.environment ? s->image.environment : "";
    AUTOFREE char *found = xasprintf("%d %u\n", (int)s->image.init, s->image.systemd);
    int r = put_file(s, "found", found, strlen(found), 0644, e);

    if (r == 0)
        r = put_file(s, "environment.image", has, strlen(has), 0644, e);
    if (r < 0 || !s->image.rc_conf)
        return r;
    return put_file(s, "rc.conf.image", s->image.rc_conf, strlen(s->image.rc_conf), 0644, e);
}

static int get_found(struct rich_start *s, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/found", s->folder);
    AUTOFREE char *base = xasprintf("%s/environment.image", s->folder);
    AUTOFREE char *rc = xasprintf("%s/rc.conf.image", s->folder);
    AUTOFREE char *text = NULL;
    int init = 0;
    int r = fs_read_file(AT_FDCWD, path, 64, &text, NULL);

    if (r == 0)
        r = fs_read_file(AT_FDCWD, base, 1 << 20, &s->image.environment, NULL);
    if (r == 0 && fs_read_file(AT_FDCWD, rc, 1 << 20, &s->image.rc_conf, NULL) < 0)
        s->image.rc_conf = NULL; /* there is no OpenRC */
    if (r == 0 &&
        (sscanf(text, "%d %u", &init, &s->image.systemd) != 2 || init < 0 || init >= RICH_INIT_MAX))
        r = -EINVAL;
    s->image.init = (enum rich_init)init;
    return r < 0 ? error_set_errno(e, r, "cannot read %s", path) : 0;
}

static int get_owner(struct rich_start *s, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/env", s->folder);
    struct stat st;

    if (lstat(path, &st) < 0)
        return error_set_errno(e, errno, "cannot look at %s", path);
    s->uid = st.st_uid;
    s->gid = st.st_gid;
    return 0;
}

static int put_all(const struct rich_start *s, const struct container_definition *def,
                   const struct engine *en, struct error *e)
{
    /* Alone in /etc/profile.d, or behind what the image has in /etc/profile. */
    static const char loader[] = "# Made by Pouch: the container's environment for login shells.\n"
                                 "[ ! -r " RICH_INSIDE "/profile ] || . " RICH_INSIDE "/profile\n";
    AUTOFREE char *profile = xasprintf("%s%s%s", s->image.profile ? s->image.profile : "",
                                       s->image.profile ? "\n" : "", loader);
    AUTO(buf) struct buf inittab = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *halt = xasprintf("%d\n", s->halt_signal);
    int r = put_env(s, def, e);

    if (r == 0)
        r = put_pam(s, def, e);
    if (r == 0)
        r = put_found(s, e);
    if (r == 0)
        r = put_file(s, "profile.sh", profile, strlen(profile), 0644, e);
    if (r == 0)
        r = put_file(s, "init", "", 0, 0755, e);
    if (r == 0)
        r = put_file(s, "dumb-init", "", 0, 0755, e);
    if (r == 0)
        r = put_identity(s, def, e);
    if (r == 0 && s->app)
        r = put_app(s, def, e);
    if (r < 0 || s->mode == RICH_DUMB_INIT)
        return r;
    r = put_file(s, "halt", halt, strlen(halt), 0644, e);
    if (r == 0)
        r = put_pipes(s, def, e);
    if (r == 0 && s->image.init == RICH_INIT_SYSTEMD)
        r = put_systemd(s, def, en, e);
    if (r == 0 && has_inittab(s)) {
        rich_text_inittab(&inittab, s->image.init, s->image.inittab, s->app, s->image.has_rcs,
                          s->stop_seconds);
        r = put_buf(s, "inittab", &inittab, 0644, e);
    }
    return r;
}

int rich_prepare(struct start_context *ctx, struct error *e)
{
    const struct container_definition *def = ctx->def;
    struct rich_start *s;
    int r;

    if (!def->config.rich)
        return 0;
    ctx->rich = s = xcalloc(1, sizeof(*s));
    s->mode = mode_of(def);
    s->exit_init = def->config.rich_exit && STREQ(def->config.rich_exit, "init");
    s->folder = xasprintf("%s/" RICH_FOLDER, ctx->bundle);
    s->program = self_program_path("pouch-init");
    if (access(s->program, X_OK) < 0)
        return error_set_errno(e, errno,
                               "rich containers need the program pouch-init, which is not at %s",
                               s->program);
    if (s->mode == RICH_DUMB_INIT)
        s->dumb_init = host_dumb_init();
    r = inspect_container(ctx, s, e);
    if (r < 0)
        return r;
    s->app = !s->image.is_command;
    choose_signals(def, s);
    if (mkdir(s->folder, 0755) < 0)
        return error_set_errno(e, errno, "cannot create %s", s->folder);
    return put_all(s, def, ctx->c->en, e);
}

bool rich_has_pipes(const struct start_context *ctx)
{
    return ctx->rich && ctx->rich->mode != RICH_DUMB_INIT;
}

/* --- the specification ------------------------------------------------------------------------- */

/* systemd that finds no mount there gives up. */
static void add_lock(const struct container_definition *def, struct oci_spec *s)
{
    static const char *const lock[] = {"nosuid",    "nodev",      "noexec",
                                       "mode=1777", "size=5120k", NULL};

    spec_add_mount(s, def, "/run/lock", "tmpfs", "tmpfs", lock);
}

void rich_add_mounts(const struct start_context *ctx, struct oci_spec *s)
{
    static const char *const run[] = {"nosuid", "nodev", "strictatime", "mode=755", NULL};
    static const char *const tmp[] = {"nosuid", "nodev", "mode=1777", NULL};
    static const char *const cgroup[] = {"nosuid", "noexec", "nodev", "rw", NULL};
    const struct rich_start *rich = ctx->rich;
    struct oci_mount *m = s->mounts.items;

    if (!rich || rich->mode == RICH_DUMB_INIT)
        return;
    for (size_t i = 0; rich->image.init == RICH_INIT_SYSTEMD && i < s->mounts.len; i++) {
        if (!STREQ(m[i].destination, "/sys/fs/cgroup") || !STREQ(m[i].type, "cgroup"))
            continue;
        str_replace(&m[i].type, "cgroup2");
        strv_free(m[i].options);
        m[i].options = strv_copy((char *const *)cgroup);
    }
    spec_add_mount(s, ctx->def, "/run", "tmpfs", "tmpfs", run);
    if (!spec_is_mounted_by_user(ctx->def, "/run"))
        add_lock(ctx->def, s);
    if (rich->image.init == RICH_INIT_SYSTEMD)
        spec_add_mount(s, ctx->def, "/tmp", "tmpfs", "tmpfs", tmp);
}

static void bind_file(struct oci_spec *s, const struct container_definition *def,
                      const char *source, const char *target, bool writable)
{
    const char *options[] = {"bind", "rprivate", "nosuid", "nodev", writable ? NULL : "ro", NULL};

    spec_add_mount(s, def, target, "bind", source, options);
}

static void bind_own(const struct rich_start *rich, struct oci_spec *s,
                     const struct container_definition *def, const char *name, const char *target,
                     bool writable)
{
    AUTOFREE char *source = xasprintf("%s/%s", rich->folder, name);

    bind_file(s, def, source, target, writable);
}

static void add_binds(const struct start_context *ctx, struct oci_spec *s)
{
    const struct rich_start *rich = ctx->rich;
    const struct container_definition *def = ctx->def;

    /* A user's own /run would cover it. */
    if (rich->mode != RICH_DUMB_INIT && spec_is_mounted_by_user(def, "/run"))
        add_lock(def, s);
    bind_file(s, def, rich->folder, RICH_INSIDE, false);
    bind_file(s, def, rich->program, RICH_INSIDE "/init", false);
    if (rich->mode == RICH_DUMB_INIT)
        bind_file(s, def, rich->dumb_init ? rich->dumb_init : rich->program,
                  RICH_INSIDE "/dumb-init", false);
    if (rich_has_pipes(ctx) && !def->config.tty) {
        /* Writable, so that the application's user can be made their owner. */
        bind_own(rich, s, def, RICH_STDOUT, RICH_INSIDE "/" RICH_STDOUT, true);
        bind_own(rich, s, def, RICH_STDERR, RICH_INSIDE "/" RICH_STDERR, true);
    }
    bind_own(rich, s, def, "environment", "/etc/environment", false);
    bind_own(rich, s, def, "profile.sh",
             rich->image.has_profile_d ? "/etc/profile.d/pouchenv.sh" : "/etc/profile", false);
    if (str_is_empty(def->host_config.machine_uuid)) /* else it is there already: identity.c */
        bind_own(rich, s, def, "machine-id", "/etc/machine-id", false);
    if (rich->mode != RICH_DUMB_INIT)
        bind_own(rich, s, def, "boot_id", "/proc/sys/kernel/random/boot_id", false);
    if (has_inittab(rich))
        bind_own(rich, s, def, "inittab", "/etc/inittab", false);
    if (rich->image.rc_conf)
        bind_own(rich, s, def, "rc.conf", "/etc/rc.conf.d/pouch.conf", false);
}

static void set_args(const struct rich_start *rich, const struct container_definition *def,
                     struct oci_process *p)
{
    strv_free(p->args);
    p->args = NULL;
    if (rich->mode == RICH_DUMB_INIT) {
        strv_push(&p->args, RICH_INSIDE "/dumb-init");
        strv_push(&p->args, "--");
        if (rich->dumb_init) { /* another program, which does not know our files */
            strv_push(&p->args, RICH_INSIDE "/init");
            strv_push(&p->args, "app");
            return;
        }
    } else {
        strv_push(&p->args, RICH_INSIDE "/init");
        strv_push(&p->args, "boot");
        if (rich->app &&
            (rich->image.init == RICH_INIT_OTHER || rich->image.init == RICH_INIT_OPENRC))
            strv_push(&p->args, "--app");
        if (rich->image.init == RICH_INIT_OPENRC)
            strv_push(&p->args, "--watch");
        strv_push(&p->args, rich->image.path);
        if (rich->app)
            return;
    }
    if (rich->app)
        strv_push(&p->args, def->path);
    for (size_t i = 0; def->args && def->args[i]; i++)
        strv_push(&p->args, def->args[i]);
}

/* Pid 1 is root's; the image's user is the application's. */
static void set_process(const struct rich_start *rich, const struct container_definition *def,
                        struct oci_process *p)
{
    AUTOFREE char *setting = NULL;
    char uuid[33];

    set_args(rich, def, p);
    str_replace(&p->user.username, "0");
    strv_free(p->user.group_names);
    p->user.group_names = NULL;
    if (rich->mode == RICH_DUMB_INIT)
        return;
    str_replace(&p->cwd, "/");
    if (rich->image.init == RICH_INIT_SYSTEMD) {
        /* It hands nothing on: services have DefaultEnvironment=. */
        strv_free(p->env);
        p->env = NULL;
        strv_push(&p->env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if (def->config.tty)
            strv_push(&p->env, "TERM=xterm");
    }
    env_set(&p->env, "container=pouch");
    identity_machine_id(def, uuid);
    setting = xasprintf("container_uuid=%s", uuid);
    env_set(&p->env, setting);
}

/* What the container's root must be able to read and own, also in a user namespace. */
static int give_files(const struct rich_start *rich, const struct oci_spec *s, struct error *e)
{
    static const char *const names[] = {"app",       "env",       RICH_EVENTS, RICH_ALIVE,
                                        RICH_STDOUT, RICH_STDERR, RICH_STDIN};
    const struct oci_id_mapping *u = s->linux->uid_mappings.items;
    const struct oci_id_mapping *g = s->linux->gid_mappings.items;
    uid_t uid = 0;
    gid_t gid = 0;

    for (size_t i = 0; i < s->linux->uid_mappings.len; i++)
        uid = u[i].container_id == 0 ? (uid_t)u[i].host_id : uid;
    for (size_t i = 0; i < s->linux->gid_mappings.len; i++)
        gid = g[i].container_id == 0 ? (gid_t)g[i].host_id : gid;
    for (size_t i = 0; uid && i < ARRAY_SIZE(names); i++) {
        AUTOFREE char *path = xasprintf("%s/%s", rich->folder, names[i]);

        if (lchown(path, uid, gid) < 0 && errno != ENOENT)
            return error_set_errno(e, errno, "cannot give %s to the container's root", path);
    }
    return 0;
}

int rich_fill(const struct start_context *ctx, struct oci_spec *s, struct error *e)
{
    if (!ctx->rich)
        return 0;
    add_binds(ctx, s);
    set_process(ctx->rich, ctx->def, s->process);
    s->pouch->no_login = true;
    s->pouch->cgroup_delegate = ctx->rich->image.init == RICH_INIT_SYSTEMD;
    return give_files(ctx->rich, s, e);
}

/* --- while it runs ------------------------------------------------------------------------------ */

int rich_stop_signal(const struct container *c, const struct container_definition *def)
{
    AUTOFREE char *folder = NULL;
    AUTOFREE char *path = NULL;
    AUTOFREE char *text = NULL;
    int sig;

    if (!def->config.rich || mode_of(def) == RICH_DUMB_INIT)
        return 0;
    folder = container_state_dir(c->en, c->id);
    path = xasprintf("%s/" RICH_FOLDER "/halt", folder);
    if (fs_read_file(AT_FDCWD, path, 16, &text, NULL) < 0)
        return 0;
    sig = atoi(text);
    return sig > 0 && sig < 65 ? sig : 0;
}

int rich_update_check(struct update_context *u, struct error *e)
{
    (void)u;
    (void)e;
    return 0;
}

int rich_update_env(struct update_context *u, const struct container_definition *from,
                    const struct container_definition *to, struct error *e)
{
    AUTOFREE char *bundle = NULL;
    struct rich_start s = {.mode = mode_of(to)};
    int r;

    if (!to->config.rich || strv_equal(from->config.env, to->config.env))
        return 0;
    bundle = container_state_dir(u->c->en, u->c->id);
    s.folder = xasprintf("%s/" RICH_FOLDER, bundle);
    r = get_found(&s, e);
    if (r == 0)
        r = get_owner(&s, e);
    if (r == 0)
        r = put_env(&s, to, e);
    if (r == 0)
        r = put_pam(&s, to, e);
    /* systemd reads its configuration again. */
    if (r == 0 && s.image.init == RICH_INIT_SYSTEMD && u->live)
        (void)!monitor_signal(u->live->monitor, SIGHUP, false, NULL);
    rich_image_done(&s.image);
    free(s.folder);
    return r;
}
