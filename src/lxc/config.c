/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime specification becomes configuration items of LXC (lxc.container.conf(5)). */
#include <ctype.h>
#include <fcntl.h>
#include <lxc/lxccontainer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "lxc/lxc.h"
#include "sys/path.h"
#include "sys/seccomp.h"

#define PROFILE_MAX (1 << 20)

static int set(struct lxc_container *c, struct error *e, const char *key, const char *value)
{
    if (c->set_config_item(c, key, value))
        return 0;
    return error_set(e, ERR_INVALID, "LXC does not take %s = %s", key, value);
}

PRINTF_LIKE(4, 5)
static int setf(struct lxc_container *c, struct error *e, const char *key, const char *fmt, ...)
{
    AUTOFREE char *value = NULL;
    va_list ap;

    va_start(ap, fmt);
    value = xvasprintf(fmt, ap);
    va_end(ap);
    return set(c, e, key, value);
}

/* --- Process ----------------------------------------------------------------------------------- */

static int add_environment(struct lxc_container *c, const struct oci_process *p, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && p->env && p->env[i]; i++) {
        if (strchr(p->env[i], '\n'))
            return error_set(e, ERR_NOT_SUPPORTED,
                             "LXC takes no environment variable with a line break: %.40s",
                             p->env[i]);
        r = set(c, e, "lxc.environment", p->env[i]);
    }
    return r;
}

static int add_capabilities(struct lxc_container *c, const struct oci_process *p, struct error *e)
{
    AUTOPTR(strv) char **names = NULL;
    AUTOFREE char *joined = NULL;

    if (!p->capabilities)
        return 0;
    for (char **cap = p->capabilities->bounding; cap && *cap; cap++) {
        AUTOFREE char *name = xstrdup(str_has_prefix(*cap, "CAP_") ? *cap + 4 : *cap);

        for (char *s = name; *s; s++)
            *s = (char)tolower((unsigned char)*s);
        strv_push(&names, name);
    }
    joined = names ? strv_join(names, " ") : xstrdup("none");
    return set(c, e, "lxc.cap.keep", joined);
}

static int add_rlimits(struct lxc_container *c, const struct oci_process *p, struct error *e)
{
    const struct oci_rlimit *l = p->rlimits.items;
    int r = 0;

    for (size_t i = 0; r == 0 && i < p->rlimits.len; i++) {
        AUTOFREE char *key = xasprintf("lxc.prlimit.%s", str_has_prefix(l[i].type, "RLIMIT_")
                                                             ? l[i].type + 7
                                                             : l[i].type);
        for (char *s = key; *s; s++)
            *s = (char)tolower((unsigned char)*s);
        r = setf(c, e, key, "%llu:%llu", (unsigned long long)l[i].soft,
                 (unsigned long long)l[i].hard);
    }
    return r;
}

static int add_process(struct lxc_container *c, const struct oci_process *p, struct error *e)
{
    const uint64_t *gids = p->user.additional_gids.items;
    AUTOPTR(strv) char **groups = NULL;
    AUTOFREE char *joined = NULL;
    int r = setf(c, e, "lxc.init.uid", "%llu", (unsigned long long)p->user.uid);

    for (size_t i = 0; i < p->user.additional_gids.len; i++)
        strv_pushf(&groups, "%llu", (unsigned long long)gids[i]);
    joined = groups ? strv_join(groups, ",") : NULL;
    if (r == 0)
        r = setf(c, e, "lxc.init.gid", "%llu", (unsigned long long)p->user.gid);
    if (r == 0 && joined)
        r = set(c, e, "lxc.init.groups", joined);
    if (r == 0)
        r = set(c, e, "lxc.init.cwd", str_is_empty(p->cwd) ? "/" : p->cwd);
    if (r == 0 && p->no_new_privileges)
        r = set(c, e, "lxc.no_new_privs", "1");
    if (r == 0 && p->oom_score_adj.set)
        r = setf(c, e, "lxc.proc.oom_score_adj", "%lld", (long long)p->oom_score_adj.value);
    if (r == 0)
        r = add_environment(c, p, e);
    if (r == 0)
        r = add_capabilities(c, p, e);
    return r == 0 ? add_rlimits(c, p, e) : r;
}

/* --- Mounts ------------------------------------------------------------------------------------ */

/* fstab's way of writing blanks and the like. */
static char *escape(const char *path)
{
    AUTO(buf) struct buf b = BUF_INIT(1 << 16);

    for (const char *p = path; *p; p++) {
        if (strchr(" \t\n\\#", *p))
            (void)buf_printf(&b, "\\%03o", (unsigned char)*p);
        else
            (void)buf_putc(&b, *p);
    }
    return xstrdup(b.data ? b.data : "");
}

/* LXC mounts these itself. */
static bool is_basic(const char *dest)
{
    static const char *const basic[] = {"/proc",    "/sys",           "/dev",
                                        "/dev/pts", "/sys/fs/cgroup", NULL};

    return strv_contains((char *const *)basic, dest);
}

static int add_mount(struct lxc_container *c, const struct oci_mount *m, struct error *e)
{
    bool bind = strv_contains(m->options, "bind") || strv_contains(m->options, "rbind");
    AUTOFREE char *source = escape(str_is_empty(m->source) ? "none" : m->source);
    AUTOFREE char *dest = escape(m->destination + strspn(m->destination, "/"));
    AUTOFREE char *options = NULL;
    AUTOPTR(strv) char **words = NULL;
    struct stat st;
    bool file = false;

    if (bind) {
        if (stat(m->source, &st) < 0)
            return error_set_errno(e, errno, "cannot mount %s", m->source);
        file = !S_ISDIR(st.st_mode);
    }
    for (char **o = m->options; o && *o; o++) {
        if (strpbrk(*o, " \t\n"))
            return error_set(e, ERR_INVALID, "mount option \"%s\" of %s has a blank", *o,
                             m->destination);
        strv_push(&words, *o);
    }
    strv_push(&words, file ? "create=file" : "create=dir");
    options = strv_join(words, ",");
    return setf(c, e, "lxc.mount.entry", "%s %s %s %s 0 0", source, dest,
                str_is_empty(m->type) || bind ? "none" : m->type, options);
}

static int add_covers(struct lxc_container *c, const struct oci_spec *s, struct error *e)
{
    int r = 0;

    for (char **p = s->linux->masked_paths; r == 0 && p && *p; p++) {
        AUTOFREE char *path = escape(*p + 1);
        struct stat st;

        /* /proc and /sys are here as they will be there. */
        if (lstat(*p, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            r = setf(c, e, "lxc.mount.entry", "none %s tmpfs ro,size=4k 0 0", path);
        else
            r = setf(c, e, "lxc.mount.entry", "/dev/null %s none bind 0 0", path);
    }
    return r;
}

static int add_mounts(struct lxc_container *c, const struct oci_spec *s, struct error *e)
{
    const struct oci_mount *m = s->mounts.items;
    bool open = !s->linux->readonly_paths && !s->linux->masked_paths;
    int r = set(c, e, "lxc.mount.auto", open ? "proc:rw sys:rw" : "proc:mixed sys:ro");

    for (size_t i = 0; r == 0 && i < s->mounts.len; i++)
        if (!is_basic(m[i].destination))
            r = add_mount(c, &m[i], e);
    return r == 0 ? add_covers(c, s, e) : r;
}

/* --- Namespaces -------------------------------------------------------------------------------- */

static int add_namespaces(struct lxc_container *c, const struct oci_spec *s, struct error *e)
{
    static const struct {
        const char *oci, *lxc;
    } names[] = {{"pid", "pid"}, {"ipc", "ipc"}, {"uts", "uts"}, {"cgroup", "cgroup"}};
    AUTOPTR(strv) char **make = NULL;
    AUTOFREE char *joined = NULL;
    int r = 0;

    if (oci_spec_namespace(s, "user") || oci_spec_namespace(s, "time"))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "user and time namespaces are not supported with LXC");
    strv_push(&make, "mnt");
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++) {
        const struct oci_namespace *ns = oci_spec_namespace(s, names[i].oci);
        AUTOFREE char *key = xasprintf("lxc.namespace.share.%s", names[i].lxc);

        if (ns && !str_is_empty(ns->path))
            r = set(c, e, key, ns->path);
        else if (ns)
            strv_push(&make, names[i].lxc);
    }
    joined = strv_join(make, " ");
    if (r == 0)
        r = set(c, e, "lxc.namespace.clone", joined);
    /* The network is the keeper's own. */
    return r == 0 ? set(c, e, "lxc.net.0.type", "none") : r;
}

/* --- Seccomp ----------------------------------------------------------------------------------- */

static int action_words(const char *action, const struct opt_uint *errno_ret, struct buf *b,
                        struct error *e)
{
    if (STREQ(action, "SCMP_ACT_ALLOW"))
        return buf_puts(b, "allow");
    if (STREQ(action, "SCMP_ACT_ERRNO"))
        return buf_printf(b, "errno %llu",
                          errno_ret->set ? (unsigned long long)errno_ret->value : 1ULL);
    if (STREQ(action, "SCMP_ACT_KILL") || STREQ(action, "SCMP_ACT_KILL_THREAD"))
        return buf_puts(b, "kill");
    if (STREQ(action, "SCMP_ACT_TRAP"))
        return buf_puts(b, "trap");
    return error_set(e, ERR_NOT_SUPPORTED, "LXC has no seccomp action %s", action);
}

static int add_rule(const struct seccomp_rule *rule, struct buf *b, struct error *e)
{
    const struct seccomp_arg *a = rule->args.items;
    int r = 0;

    for (char **name = rule->names; r >= 0 && name && *name; name++) {
        r = buf_printf(b, "%s ", *name);
        if (r >= 0)
            r = action_words(rule->action, &rule->errno_ret, b, e);
        for (size_t i = 0; r >= 0 && i < rule->args.len; i++)
            r = buf_printf(b, "%s[%llu,%llu,%s,%llu]", i ? "," : " ",
                           (unsigned long long)a[i].index, (unsigned long long)a[i].value, a[i].op,
                           (unsigned long long)a[i].value_two);
        if (r >= 0)
            r = buf_putc(b, '\n');
    }
    return r;
}

/* In the second version of LXC's own format. */
static int add_seccomp(struct lxc_container *c, const struct options *o,
                       const struct seccomp_filter *f, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(PROFILE_MAX);
    AUTOFREE char *path = state_path(o, "seccomp");
    const struct seccomp_rule *rules;
    int r;

    if (!f)
        return 0;
    rules = f->syscalls.items;
    if (STREQ(f->default_action, "SCMP_ACT_ALLOW"))
        r = buf_puts(&b, "2\ndenylist allow");
    else
        r = buf_puts(&b, "2\nallowlist ");
    if (r >= 0 && !STREQ(f->default_action, "SCMP_ACT_ALLOW"))
        r = action_words(f->default_action, &f->default_errno_ret, &b, e);
    if (r >= 0)
        r = buf_puts(&b, "\n[all]\n");
    for (size_t i = 0; r >= 0 && i < f->syscalls.len; i++)
        r = add_rule(&rules[i], &b, e);
    if (r < 0)
        return e->code ? r : error_set_errno(e, r, "the seccomp profile is too large");
    r = fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, FS_NO_SYNC);
    if (r < 0)
        return error_set_errno(e, r, "cannot write %s", path);
    return set(c, e, "lxc.seccomp.profile", path);
}

/* --- All of it --------------------------------------------------------------------------------- */

static int add_root(struct lxc_container *c, const struct options *o, const struct oci_spec *s,
                    struct error *e)
{
    AUTOFREE char *mount = state_path(o, "root");
    AUTOFREE char *path = s->root->path[0] == '/' ? xstrdup(s->root->path)
                                                  : xasprintf("%s/%s", o->bundle, s->root->path);
    int r;

    if (mkdir(mount, 0755) < 0)
        return error_set_errno(e, errno, "cannot create %s", mount);
    r = setf(c, e, "lxc.rootfs.path", "dir:%s", path);
    if (r == 0)
        r = set(c, e, "lxc.rootfs.mount", mount);
    if (r == 0 && s->root->readonly)
        r = set(c, e, "lxc.rootfs.options", "ro");
    if (r == 0 && !str_is_empty(s->hostname))
        r = set(c, e, "lxc.uts.name", s->hostname);
    return r;
}

static int add_host_side(struct lxc_container *c, const struct options *o, struct error *e)
{
    AUTOFREE char *self = NULL;
    AUTOFREE char *dir = state_path(o, "");
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    int r;

    if (n < 0)
        return error_set_errno(e, errno, "cannot read /proc/self/exe");
    path[n] = '\0';
    self = xstrdup(path);
    r = setf(c, e, "lxc.hook.start-host", "%s hook %s", self, dir);
    if (r == 0)
        r = set(c, e, "lxc.cgroup.relative", "1");
    if (r == 0)
        r = set(c, e, "lxc.autodev", "1");
    if (r == 0)
        r = set(c, e, "lxc.tty.max", "0");
    if (r == 0)
        r = set(c, e, "lxc.pty.max", "1024");
    return r == 0 ? set(c, e, "lxc.console.path", "none") : r;
}

int config_fill(struct lxc_container *c, const struct options *o, const struct oci_spec *s,
                struct error *e)
{
    const struct oci_hooks *h = s->hooks;
    int r = 0;

    if (h && (h->prestart.len || h->create_runtime.len || h->create_container.len ||
              h->start_container.len || h->poststart.len || h->poststop.len))
        r = error_set(e, ERR_NOT_SUPPORTED, "OCI hooks are not supported with LXC");
    if (r == 0)
        r = add_root(c, o, s, e);
    if (r == 0)
        r = add_host_side(c, o, e);
    if (r == 0)
        r = add_namespaces(c, s, e);
    if (r == 0)
        r = add_mounts(c, s, e);
    if (r == 0)
        r = add_process(c, s->process, e);
    return r == 0 ? add_seccomp(c, o, s->linux->seccomp, e) : r;
}

/* --- The program ------------------------------------------------------------------------------- */

/* 0, or -errno. */
static int try_program(int rootfd, const char *path)
{
    AUTOFD int fd = path_open_in(rootfd, path, O_PATH, 0, 0);
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) && (st.st_mode & 0111) ? 0 : -EACCES;
}

int config_check_program(const struct oci_spec *s, struct error *e)
{
    const struct oci_process *p = s->process;
    AUTOFD int rootfd = open(s->root->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *name = p->args && p->args[0] ? p->args[0] : "";
    const char *search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    AUTOPTR(strv) char **dirs = NULL;
    int r = -ENOENT;

    if (rootfd < 0)
        return error_set_errno(e, errno, "cannot open %s", s->root->path);
    for (char **v = p->env; v && *v; v++)
        if (str_has_prefix(*v, "PATH="))
            search = *v + 5;
    if (strchr(name, '/')) {
        AUTOFREE char *full = name[0] == '/' ? xstrdup(name) : xasprintf("%s/%s", p->cwd, name);

        r = try_program(rootfd, full);
    } else {
        dirs = strv_split(search, ":", true);
        for (size_t i = 0; *name && r < 0 && dirs && dirs[i]; i++) {
            AUTOFREE char *full = xasprintf("%s/%s", dirs[i], name);

            r = try_program(rootfd, full);
        }
    }
    if (r == -EACCES)
        return error_set(e, ERR_COMMAND_NOT_EXECUTABLE, "exec: \"%s\": permission denied", name);
    if (r < 0)
        return error_set(e, ERR_COMMAND_NOT_FOUND,
                         "exec: \"%s\": executable file not found in $PATH", name);
    return 0;
}

char *config_last_error(const struct options *o)
{
    AUTOFREE char *path = state_path(o, FILE_LOG);
    AUTOFREE char *text = NULL;
    char *found = NULL, *next;

    if (fs_read_file(AT_FDCWD, path, 1 << 20, &text, NULL) < 0)
        return NULL;
    /* lxc NAME DATE ERROR file - file.c:function:line - message; the first says the cause. */
    for (char *line = text; line && *line && !found; line = next) {
        char *message;

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        message = strstr(line, " ERROR ");
        message = message ? strstr(message, " - ") : NULL;
        message = message ? strstr(message + 3, " - ") : NULL;
        if (message)
            found = xstrdup(message + 3);
    }
    return found;
}
