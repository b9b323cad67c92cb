/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which init does a file system have? Everything is looked up below its root by the kernel
 * (openat2, RESOLVE_IN_ROOT), so that links in a hostile image lead nowhere else; files are read
 * only up to a limit.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "engine/rich.h"
#include "sys/path.h"

#define TEXT_MAX   (64u << 10) /* of /etc/inittab and /etc/environment */
#define BINARY_MAX (4u << 20)  /* of /sbin/init, searched for a mark */

static const char *const systemd_paths[] = {"/usr/lib/systemd/systemd", "/lib/systemd/systemd"};

void rich_image_done(struct rich_image *i)
{
    free(i->path);
    free(i->environment);
    free(i->inittab);
    free(i->rc_conf);
    free(i->profile);
    *i = (struct rich_image){.path = NULL};
}

static bool stat_in(int root, const char *path, struct stat *ret)
{
    AUTOFD int fd = path_open_in(root, path, O_PATH, 0, 0);

    return fd >= 0 && fstat(fd, ret) == 0;
}

static bool is_program(int root, const char *path, struct stat *ret)
{
    return stat_in(root, path, ret) && S_ISREG(ret->st_mode) && (ret->st_mode & 0111);
}

/* A regular file's first bytes, with a NUL behind; NULL when there is none. */
static char *read_in(int root, const char *path, size_t max, size_t *ret_len)
{
    AUTOFD int fd = path_open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, 0);
    struct stat st;
    size_t want;
    ssize_t n;
    char *text;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    want = (uint64_t)st.st_size < max ? (size_t)st.st_size : max;
    text = xmalloc(want + 1);
    n = fs_read_full(fd, text, want);
    if (n < 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    if (ret_len)
        *ret_len = (size_t)n;
    return text;
}

unsigned rich_systemd_version(const char *file_name)
{
    static const char prefix[] = "libsystemd-shared-";
    unsigned n = 0;

    if (!str_has_prefix(file_name, prefix))
        return 0;
    for (const char *p = file_name + sizeof(prefix) - 1; *p >= '0' && *p <= '9' && n < 100000; p++)
        n = n * 10 + (unsigned)(*p - '0');
    return n;
}

/* The highest version among a folder's libraries; with `nested` also in "*-linux-*"/systemd. */
static unsigned version_in(int root, const char *path, bool nested)
{
    AUTOFD int fd = path_open_in(root, path, O_RDONLY | O_DIRECTORY, 0, 0);
    unsigned best = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir)
        return 0;
    fd = -EBADF; /* the stream's now */
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        unsigned v = rich_systemd_version(d->d_name);

        if (nested && strstr(d->d_name, "-linux-")) {
            AUTOFREE char *below = xasprintf("%s/%s/systemd", path, d->d_name);

            v = version_in(root, below, false);
        }
        best = v > best ? v : best;
    }
    closedir(dir);
    return best;
}

static unsigned systemd_version(int root)
{
    unsigned v = version_in(root, "/usr/lib/systemd", false);

    if (!v)
        v = version_in(root, "/lib/systemd", false);
    if (!v)
        v = version_in(root, "/usr/lib64/systemd", false);
    return v ? v : version_in(root, "/usr/lib", true);
}

/* By the name behind all links, then by what the program says of itself. */
static enum rich_init kind_of(int root, const char *path)
{
    static const struct {
        const char *mark;
        enum rich_init kind;
    } marks[] = {{"BusyBox v", RICH_INIT_BUSYBOX},
                 {"openrc-shutdown", RICH_INIT_OPENRC},
                 {"/run/initctl", RICH_INIT_SYSVINIT},
                 {"/dev/initctl", RICH_INIT_SYSVINIT}};
    AUTOFD int fd = path_open_in(root, path, O_PATH, 0, 0);
    AUTOFREE char *text = NULL;
    char link[PATH_FD_MAX];
    char real[4096];
    size_t len = 0;
    ssize_t n = fd < 0 ? -1 : readlink(path_of_fd(fd, link), real, sizeof(real) - 1);

    if (n > 0) {
        const char *base;

        real[n] = '\0';
        base = strrchr(real, '/') ? strrchr(real, '/') + 1 : real;
        if (STREQ(base, "systemd"))
            return RICH_INIT_SYSTEMD;
        if (STREQ(base, "busybox"))
            return RICH_INIT_BUSYBOX;
        if (STREQ(base, "openrc-init"))
            return RICH_INIT_OPENRC;
    }
    text = read_in(root, path, BINARY_MAX, &len);
    for (size_t i = 0; text && i < ARRAY_SIZE(marks); i++)
        if (memmem(text, len, marks[i].mark, strlen(marks[i].mark)))
            return marks[i].kind;
    return RICH_INIT_OTHER;
}

static int find_init(int root, enum rich_mode mode, const char *image, struct rich_image *ret,
                     struct stat *st, struct error *e)
{
    if (mode == RICH_SYSTEMD) {
        for (size_t i = 0; i < ARRAY_SIZE(systemd_paths) && !ret->path; i++)
            if (is_program(root, systemd_paths[i], st))
                ret->path = xstrdup(systemd_paths[i]);
        if (!ret->path)
            return error_set(e, ERR_INVALID,
                             "image %s has no systemd (/usr/lib/systemd/systemd, "
                             "/lib/systemd/systemd): install the package systemd in it, or use "
                             "another --rich-mode",
                             image);
        ret->init = RICH_INIT_SYSTEMD;
        return 0;
    }
    if (!is_program(root, "/sbin/init", st))
        return error_set(e, ERR_INVALID,
                         "image %s has no /sbin/init: install an init system in it (systemd-sysv, "
                         "sysvinit-core, busybox), or use --rich-mode dumb-init",
                         image);
    ret->path = xstrdup("/sbin/init");
    ret->init = kind_of(root, ret->path);
    return 0;
}

/* "/sbin/init", "/lib/systemd/systemd", "init": the image is made to be booted. */
static bool is_init(int root, const char *command, const struct stat *init)
{
    struct stat st;

    if (STREQ(command, RICH_COMMAND_INIT))
        return true;
    return command[0] == '/' && is_program(root, command, &st) && st.st_ino == init->st_ino &&
           st.st_dev == init->st_dev && (strstr(command, "init") || strstr(command, "systemd"));
}

/* Below an init of its own or of others. */
static bool has_openrc(int root, enum rich_init init, struct stat *st)
{
    return (init == RICH_INIT_SYSVINIT || init == RICH_INIT_BUSYBOX || init == RICH_INIT_OPENRC) &&
           (is_program(root, "/sbin/openrc", st) || is_program(root, "/usr/sbin/openrc", st));
}

int rich_image_inspect(int root, enum rich_mode mode, const char *image, const char *command,
                       struct rich_image *ret, struct error *e)
{
    struct stat st = {0};
    int r = 0;

    *ret = (struct rich_image){.init = RICH_INIT_NONE};
    if (mode != RICH_DUMB_INIT)
        r = find_init(root, mode, image, ret, &st, e);
    if (r < 0)
        return r;
    if (mode != RICH_DUMB_INIT)
        ret->is_command = is_init(root, command, &st);
    if (ret->init == RICH_INIT_SYSTEMD)
        ret->systemd = systemd_version(root);
    if (ret->init == RICH_INIT_SYSVINIT || ret->init == RICH_INIT_BUSYBOX)
        ret->inittab = read_in(root, "/etc/inittab", TEXT_MAX, NULL);
    if (has_openrc(root, ret->init, &st)) {
        ret->rc_conf = read_in(root, "/etc/rc.conf", TEXT_MAX, NULL);
        ret->rc_conf = ret->rc_conf ? ret->rc_conf : xstrdup("");
    }
    ret->environment = read_in(root, "/etc/environment", TEXT_MAX, NULL);
    ret->has_profile_d = stat_in(root, "/etc/profile.d", &st) && S_ISDIR(st.st_mode);
    if (!ret->has_profile_d)
        ret->profile = read_in(root, "/etc/profile", TEXT_MAX, NULL);
    ret->has_rcs = is_program(root, "/etc/init.d/rcS", &st);
    return 0;
}
