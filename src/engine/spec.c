/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's definition becomes an OCI runtime specification. The defaults (mounts, devices,
 * capabilities, masked paths) are Docker's: moby's oci/defaults.go and oci/caps/defaults.go tell
 * them, the texts here are our own.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/isolation.h"
#include "engine/userns.h"
#include "oci/spec.h"
#include "sys/caps.h"

static const char *const default_caps[] = {"CAP_CHOWN",
                                           "CAP_DAC_OVERRIDE",
                                           "CAP_FSETID",
                                           "CAP_FOWNER",
                                           "CAP_MKNOD",
                                           "CAP_NET_RAW",
                                           "CAP_SETGID",
                                           "CAP_SETUID",
                                           "CAP_SETFCAP",
                                           "CAP_SETPCAP",
                                           "CAP_NET_BIND_SERVICE",
                                           "CAP_SYS_CHROOT",
                                           "CAP_KILL",
                                           "CAP_AUDIT_WRITE",
                                           NULL};

static const char *const default_masked[] = {"/proc/asound",
                                             "/proc/acpi",
                                             "/proc/interrupts",
                                             "/proc/kcore",
                                             "/proc/keys",
                                             "/proc/latency_stats",
                                             "/proc/timer_list",
                                             "/proc/timer_stats",
                                             "/proc/sched_debug",
                                             "/proc/scsi",
                                             "/sys/firmware",
                                             "/sys/devices/virtual/powercap",
                                             NULL};

static const char *const default_readonly[] = {"/proc/bus",           "/proc/fs",
                                               "/proc/irq",           "/proc/sys",
                                               "/proc/sysrq-trigger", NULL};

/* --- capabilities --------------------------------------------------------------------------- */

/* Adds up a list of names; `all` is told apart, as ALL does not override what is named beside it. */
static int sum_caps(char *const *names, const char *what, uint64_t *ret, bool *ret_all,
                    struct error *e)
{
    *ret = 0;
    *ret_all = false;
    for (size_t i = 0; names && names[i]; i++) {
        uint64_t bits = 0;

        if (caps_parse(names[i], &bits) < 0)
            return error_set(e, ERR_INVALID, "invalid %s: unknown capability: \"%s\"", what,
                             names[i]);
        if (bits & (bits - 1))
            *ret_all = true;
        else
            *ret |= bits;
    }
    return 0;
}

/* Docker's rule: default, + CapAdd, - CapDrop, ALL in either, what is named beside ALL wins;
 * privileged has everything. */
int spec_capabilities(const struct host_config *hc, char ***ret, struct error *e)
{
    char **v = xcalloc(1, sizeof(*v));
    uint64_t set = 0;
    uint64_t add;
    uint64_t drop = 0;
    bool add_all;
    bool drop_all = false;
    int r = sum_caps(hc->cap_add, "CapAdd", &add, &add_all, e);

    if (r == 0)
        r = sum_caps(hc->cap_drop, "CapDrop", &drop, &drop_all, e);
    if (r < 0) {
        strv_free(v);
        return r;
    }
    for (size_t i = 0; default_caps[i]; i++) {
        uint64_t bit = 0;

        (void)!caps_parse(default_caps[i], &bit);
        set |= bit;
    }
    if (drop_all)
        set = 0;
    if (add_all)
        set = CAPS_ALL;
    set = (set & ~drop) | add;
    if (hc->privileged)
        set = CAPS_ALL;
    for (unsigned i = 0; i <= caps_last(); i++)
        if (set & (UINT64_C(1) << i))
            strv_push(&v, caps_name(i));
    *ret = v;
    return 0;
}

/* --- security options ------------------------------------------------------------------------ */

const char *security_option(const char *opt, const char *name)
{
    size_t n = strlen(name);

    return strncmp(opt, name, n) == 0 && (opt[n] == '=' || opt[n] == ':') ? opt + n + 1 : NULL;
}

int spec_security(const struct engine *en, const struct host_config *hc, struct spec_security *ret,
                  struct error *e)
{
    *ret = (struct spec_security){.no_new_privileges = en->no_new_privileges,
                                  .unconfined = hc->privileged};
    for (size_t i = 0; hc->security_opt && hc->security_opt[i]; i++) {
        const char *opt = hc->security_opt[i];
        const char *v;
        int r = 0;

        if ((v = security_option(opt, "seccomp"))) {
            ret->unconfined = STREQ(v, "unconfined");
            ret->profile = ret->unconfined || STREQ(v, "builtin") ? NULL : v;
        } else if (STREQ(opt, "no-new-privileges")) {
            ret->no_new_privileges = true;
        } else if ((v = security_option(opt, "no-new-privileges"))) {
            ret->no_new_privileges = parse_bool_query(v, true);
        } else if ((v = security_option(opt, "apparmor"))) {
            r = isolation_check_apparmor(v, e);
        } else if ((v = security_option(opt, "mask")) || (v = security_option(opt, "unmask"))) {
            r = isolation_check_paths(opt, v, opt[0] == 'u', e);
        } else if (security_option(opt, "label") || STREQ(opt, "systempaths=unconfined")) {
            continue; /* isolation.c */
        } else {
            return error_set(e, ERR_INVALID, "invalid --security-opt: \"%s\"", opt);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- process ----------------------------------------------------------------------------------- */

static void merge_env(char ***env, char *const *more)
{
    for (size_t i = 0; more && more[i]; i++) {
        /* Docker: a name without "=" removes the variable. */
        if (strchr(more[i], '=')) {
            env_set(env, more[i]);
        } else {
            AUTOFREE char *assignment = xasprintf("%s=", more[i]);

            env_set(env, assignment);
            strv_remove(*env, assignment);
        }
    }
}

static char **base_env(const struct container_definition *def, bool tty)
{
    char **env = NULL;

    strv_push(&env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    strv_pushf(&env, "HOSTNAME=%s", def->config.hostname);
    if (tty)
        strv_push(&env, "TERM=xterm");
    merge_env(&env, def->config.env);
    return env;
}

char **spec_container_env(const struct container_definition *def)
{
    return base_env(def, def->config.tty);
}

static int fill_process(const struct engine *en, const struct container_definition *def,
                        const char *user, bool privileged, bool tty, struct oci_process *p,
                        struct error *e)
{
    const struct host_config *hc = &def->host_config;
    struct spec_security sec;
    struct oci_capabilities *caps = xcalloc(1, sizeof(*caps));
    int r;

    p->capabilities = caps;
    p->terminal = tty;
    /* "0", not "": root too gets the groups that the image gives it. */
    p->user.username = xstrdup(str_is_empty(user) ? "0" : user);
    p->user.group_names = strv_copy(hc->group_add);
    r = spec_security(en, hc, &sec, e);
    if (r < 0)
        return r;
    p->no_new_privileges = sec.no_new_privileges;
    r = isolation_process(hc, p, e);
    if (r < 0)
        return r;
    if (privileged && !hc->privileged) {
        struct host_config all = {.privileged = true};

        r = spec_capabilities(&all, &caps->bounding, e);
    } else {
        r = spec_capabilities(hc, &caps->bounding, e);
    }
    if (r < 0)
        return r;
    caps->effective = strv_copy(caps->bounding);
    caps->permitted = strv_copy(caps->bounding);
    return 0;
}

static void add_rlimits(const struct json_list *list, struct json_list *out)
{
    const struct ulimit *u = list->items;

    for (size_t i = 0; i < list->len; i++) {
        struct oci_rlimit *have = out->items;
        AUTOFREE char *type = xasprintf("RLIMIT_%s", u[i].name);
        size_t j;

        for (char *p = type; *p; p++)
            *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        for (j = 0; j < out->len && !STREQ(have[j].type, type); j++)
            ;
        if (j == out->len) {
            (void)json_list_add(out, sizeof(struct oci_rlimit));
            have = out->items;
            have[j].type = take_ptr(type);
        }
        /* -1 is "unlimited" in Docker's API and RLIM_INFINITY as an unsigned number. */
        have[j].soft = (uint64_t)u[i].soft;
        have[j].hard = (uint64_t)u[i].hard;
    }
}

static void add_all_rlimits(const struct engine *en, const struct host_config *hc,
                            struct json_list *out)
{
    struct oci_rlimit *all;
    size_t n = 0;

    add_rlimits(&en->default_ulimits, out);
    add_rlimits(&hc->ulimits, out);
    all = out->items;
    for (size_t i = 0; i < out->len; i++) {
        if (STREQ(all[i].type, "RLIMIT_NPROC") && !userns_is_on(hc))
            free(all[i].type); /* isolation_nproc() says what it becomes */
        else
            all[n++] = all[i];
    }
    out->len = n;
}

static void console_size(const char *raw, struct oci_process *p)
{
    unsigned rows = 0;
    unsigned cols = 0;

    if (!raw || sscanf(raw, "[%u,%u]", &rows, &cols) != 2 || (!rows && !cols))
        return;
    p->console_size = xcalloc(1, sizeof(*p->console_size));
    p->console_size->height = rows;
    p->console_size->width = cols;
}

static int init_process(const struct engine *en, const struct container_definition *def,
                        struct oci_process *p, struct error *e)
{
    int r = fill_process(en, def, def->config.user, false, def->config.tty, p, e);

    if (r < 0)
        return r;
    strv_push(&p->args, def->path);
    for (size_t i = 0; def->args && def->args[i]; i++)
        strv_push(&p->args, def->args[i]);
    p->env = base_env(def, def->config.tty);
    p->cwd = xstrdup(str_is_empty(def->config.working_dir) ? "/" : def->config.working_dir);
    p->oom_score_adj = (struct opt_int){true, def->host_config.oom_score_adj};
    add_all_rlimits(en, &def->host_config, &p->rlimits);
    console_size(def->host_config.console_size, p);
    return 0;
}

int spec_exec_process(struct container *c, const struct exec_config *config, char **ret_json,
                      struct error *e)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    struct oci_process p = {0};
    const char *user = str_is_empty(config->user) ? def->config.user : config->user;
    const char *cwd = config->working_dir;
    int r = fill_process(c->en, def, user, config->privileged, config->tty, &p, e);

    if (r == 0) {
        p.args = strv_copy(config->cmd);
        p.env = base_env(def, config->tty);
        merge_env(&p.env, config->env);
        if (str_is_empty(cwd))
            cwd = str_is_empty(def->config.working_dir) ? "/" : def->config.working_dir;
        p.cwd = xstrdup(cwd);
        add_all_rlimits(c->en, &def->host_config, &p.rlimits);
        *ret_json = json_print_str(&oci_process_json, &p);
    }
    json_free(&oci_process_json, &p);
    return r;
}

/* --- namespaces, mounts ------------------------------------------------------------------------- */

static void join_namespace(struct oci_spec *s, const char *type, const char *file, pid_t pid)
{
    AUTOFREE char *path = xasprintf("/proc/%d/ns/%s", (int)pid, file);

    oci_spec_add_namespace(s, type, path);
}

static bool mode_is(const char *mode, const char *value)
{
    return mode && STREQ(mode, value);
}

static void add_namespaces(const struct start_context *ctx, const struct host_config *hc,
                           struct oci_spec *s)
{
    oci_spec_add_namespace(s, "mount", NULL);
    if (ctx->netns_pid)
        join_namespace(s, "network", "net", ctx->netns_pid);
    else if (!mode_is(hc->network_mode, "host"))
        oci_spec_add_namespace(s, "network", NULL);
    if (!mode_is(hc->uts_mode, "host"))
        oci_spec_add_namespace(s, "uts", NULL);
    if (ctx->pid_pid)
        join_namespace(s, "pid", "pid", ctx->pid_pid);
    else if (!mode_is(hc->pid_mode, "host"))
        oci_spec_add_namespace(s, "pid", NULL);
    if (ctx->ipc_pid)
        join_namespace(s, "ipc", "ipc", ctx->ipc_pid);
    else if (!mode_is(hc->ipc_mode, "host"))
        oci_spec_add_namespace(s, "ipc", NULL);
    if (!mode_is(hc->cgroupns_mode, "host"))
        oci_spec_add_namespace(s, "cgroup", NULL);
}

static const char *const o_proc[] = {"nosuid", "noexec", "nodev", NULL};
static const char *const o_dev[] = {"nosuid", "strictatime", "mode=755", "size=65536k", NULL};
static const char *const o_pts[] = {"nosuid",    "noexec", "newinstance", "ptmxmode=0666",
                                    "mode=0620", "gid=5",  NULL};
static const char *const o_sys_ro[] = {"nosuid", "noexec", "nodev", "ro", NULL};
static const char *const o_sys_rw[] = {"nosuid", "noexec", "nodev", NULL};
static const char *const o_file[] = {"rbind", "rprivate", NULL};
static const char *const o_file_ro[] = {"rbind", "rprivate", "ro", NULL};

static bool is_mounted_by_user(const struct container_definition *def, const char *path)
{
    for (size_t i = 0; i < def->mounts.len; i++)
        if (STREQ(def->mounts.items[i].destination, path))
            return true;
    return false;
}

static void add_mount(struct oci_spec *s, const struct container_definition *def,
                      const char *destination, const char *type, const char *source,
                      const char *const *options)
{
    if (!is_mounted_by_user(def, destination))
        (void)oci_spec_add_mount(s, destination, type, source, (char *const *)options);
}

void spec_add_mount(struct oci_spec *s, const struct container_definition *def,
                    const char *destination, const char *type, const char *source,
                    const char *const *options)
{
    add_mount(s, def, destination, type, source, options);
}

bool spec_is_mounted_by_user(const struct container_definition *def, const char *path)
{
    return is_mounted_by_user(def, path);
}

static void add_shm(const struct start_context *ctx, const struct container_definition *def,
                    struct oci_spec *s)
{
    const struct host_config *hc = &def->host_config;
    AUTOFREE char *size = xasprintf("size=%lld", (long long)hc->shm_size);
    const char *options[] = {"nosuid", "noexec", "nodev", "mode=1777", size, NULL};

    if (mode_is(hc->ipc_mode, "none"))
        return;
    if (mode_is(hc->ipc_mode, "host")) {
        add_mount(s, def, "/dev/shm", "bind", "/dev/shm", o_file);
    } else if (ctx->ipc_pid) {
        AUTOFREE char *other = xasprintf("/proc/%d/root/dev/shm", (int)ctx->ipc_pid);

        add_mount(s, def, "/dev/shm", "bind", other, o_file);
    } else {
        add_mount(s, def, "/dev/shm", "tmpfs", "shm", options);
    }
}

static void add_name_files(const struct container_definition *def, struct oci_spec *s)
{
    static const char *const names[] = {"resolv.conf", "hostname", "hosts"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        AUTOFREE char *source = xasprintf("%s/%s", def->dir, names[i]);
        AUTOFREE char *target = xasprintf("/etc/%s", names[i]);

        add_mount(s, def, target, "bind", source,
                  def->host_config.readonly_rootfs ? o_file_ro : o_file);
    }
}

static void add_user_mounts(const struct container_definition *def, struct oci_spec *s)
{
    for (size_t i = 0; i < def->mounts.len; i++) {
        const struct volume_mount *m = &def->mounts.items[i];
        bool tmpfs = STREQ(m->type, "tmpfs");

        (void)oci_spec_add_mount(s, m->destination, tmpfs ? "tmpfs" : "bind",
                                 tmpfs ? "tmpfs" : m->source, m->options);
    }
}

static void add_mounts(const struct start_context *ctx, const struct container_definition *def,
                       struct oci_spec *s)
{
    const struct host_config *hc = &def->host_config;

    add_mount(s, def, "/proc", "proc", "proc", o_proc);
    add_mount(s, def, "/dev", "tmpfs", "tmpfs", o_dev);
    add_mount(s, def, "/dev/pts", "devpts", "devpts", o_pts);
    add_mount(s, def, "/sys", "sysfs", "sysfs", hc->privileged ? o_sys_rw : o_sys_ro);
    add_mount(s, def, "/sys/fs/cgroup", "cgroup", "cgroup", hc->privileged ? o_sys_rw : o_sys_ro);
    add_mount(s, def, "/dev/mqueue", "mqueue", "mqueue", o_proc);
    add_shm(ctx, def, s);
    add_name_files(def, s);
    rich_add_mounts(ctx, s);
    view_add_mounts(ctx, s);
    add_user_mounts(def, s);
}

/* --- devices -------------------------------------------------------------------------------------- */

static void allow_device(struct cgroup_resources *res, bool allow, const char *type, int64_t major,
                         int64_t minor, const char *access)
{
    struct cgroup_device *d = json_list_add(&res->devices, sizeof(*d));

    d->allow = allow;
    d->type = xstrdup(type);
    d->major = (struct opt_int){major >= 0, major};
    d->minor = (struct opt_int){minor >= 0, minor};
    d->access = xstrdup(access);
}

static void default_device_rules(struct cgroup_resources *res)
{
    static const struct {
        int major, minor;
    } nodes[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {136, -1}};

    allow_device(res, false, "a", -1, -1, "rwm");
    allow_device(res, true, "c", -1, -1, "m");
    allow_device(res, true, "b", -1, -1, "m");
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
        allow_device(res, true, "c", nodes[i].major, nodes[i].minor, "rwm");
}

static int add_node(struct oci_spec *s, struct cgroup_resources *res, const char *host_path,
                    const char *path, const char *access, struct error *e)
{
    struct oci_device *d;
    struct stat st;
    const char *type;

    if (stat(host_path, &st) < 0)
        return error_set(e, ERR_INVALID,
                         "error gathering device information while adding custom device \"%s\": %s",
                         host_path, strerror(errno));
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(e, ERR_INVALID,
                         "error gathering device information while adding custom device \"%s\": "
                         "not a device node",
                         host_path);
    type = S_ISCHR(st.st_mode) ? "c" : "b";
    d = json_list_add(&s->linux->devices, sizeof(*d));
    d->type = xstrdup(type);
    d->path = xstrdup(path);
    d->major = major(st.st_rdev);
    d->minor = minor(st.st_rdev);
    d->file_mode = (struct opt_uint){true, st.st_mode & 07777};
    d->uid = (struct opt_uint){true, st.st_uid};
    d->gid = (struct opt_uint){true, st.st_gid};
    if (access)
        allow_device(res, true, type, d->major, d->minor, access);
    return 0;
}

/* --privileged: every node of the host's /dev but what the runtime makes itself. */
static void add_host_devices(struct oci_spec *s, const char *dir, unsigned depth)
{
    static const char *const skipped[] = {"pts",         "shm",     "fd",   "mqueue", ".lxc",
                                          ".lxd-mounts", "console", "null", "zero",   "full",
                                          "random",      "urandom", "tty",  "ptmx",   NULL};
    DIR *d = opendir(dir);
    struct dirent *de;

    while (d && (de = readdir(d))) {
        AUTOFREE char *path = xasprintf("%s/%s", dir, de->d_name);
        struct stat st;

        if (de->d_name[0] == '.' ||
            (depth == 0 && strv_contains((char *const *)skipped, de->d_name)) ||
            lstat(path, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth < 4)
            add_host_devices(s, path, depth + 1);
        else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
            (void)add_node(s, NULL, path, path, NULL, NULL);
    }
    if (d)
        (void)closedir(d);
}

/* "c 1:3 mr", "a *:* rwm" */
static int parse_device_rule(const char *text, struct cgroup_resources *res, struct error *e)
{
    char type = 0;
    char major_text[12];
    char minor_text[12];
    char access[4];
    int64_t major_no = -1;
    int64_t minor_no = -1;
    char type_text[2] = {0};
    int end = 0;

    if (sscanf(text, "%c %11[0-9*]:%11[0-9*] %3[rwm]%n", &type, major_text, minor_text, access,
               &end) != 4 ||
        text[end] || !strchr("abc", type) ||
        (!STREQ(major_text, "*") && parse_i64(major_text, &major_no) < 0) ||
        (!STREQ(minor_text, "*") && parse_i64(minor_text, &minor_no) < 0))
        return error_set(e, ERR_INVALID,
                         "invalid device cgroup rule format: '%s': want TYPE MAJOR:MINOR ACCESS, "
                         "as in 'c 188:* rwm'",
                         text);
    type_text[0] = type;
    if (res)
        allow_device(res, true, type_text, major_no, minor_no, access);
    return 0;
}

int spec_check_device_rules(const struct host_config *hc, struct error *e)
{
    int r = 0;

    for (char **rule = hc->device_cgroup_rules; r == 0 && rule && *rule; rule++)
        r = parse_device_rule(*rule, NULL, e);
    return r;
}

static int add_devices(const struct host_config *hc, struct oci_spec *s,
                       struct cgroup_resources *res, struct error *e)
{
    const struct device_mapping *m = hc->devices.items;
    int r = 0;

    if (hc->privileged) {
        allow_device(res, true, "a", -1, -1, "rwm");
        add_host_devices(s, "/dev", 0);
    } else {
        default_device_rules(res);
    }
    for (size_t i = 0; r == 0 && i < hc->devices.len; i++) {
        const char *inside = str_is_empty(m[i].path_in_container) ? m[i].path_on_host
                                                                  : m[i].path_in_container;
        const char *access = str_is_empty(m[i].cgroup_permissions) ? "rwm"
                                                                   : m[i].cgroup_permissions;

        if (!hc->privileged)
            r = add_node(s, res, m[i].path_on_host, inside, access, e);
        else if (!STREQ(inside, m[i].path_on_host))
            r = add_node(s, res, m[i].path_on_host, inside, NULL, e);
    }
    for (size_t i = 0; r == 0 && hc->device_cgroup_rules && hc->device_cgroup_rules[i]; i++)
        r = parse_device_rule(hc->device_cgroup_rules[i], res, e);
    return r;
}

int spec_device_rules(const struct host_config *hc, struct cgroup_resources *res, struct error *e)
{
    struct oci_spec s = {.linux = xcalloc(1, sizeof(*s.linux))};
    int r = add_devices(hc, &s, res, e);

    json_free(&oci_spec_json, &s);
    return r;
}

/* --- resources ------------------------------------------------------------------------------------- */

static struct opt_int opt_of(int64_t v)
{
    return (struct opt_int){v != 0, v};
}

static struct opt_uint uopt_of(int64_t v)
{
    return (struct opt_uint){v != 0, (uint64_t)v};
}

static void add_memory(const struct host_config *hc, struct cgroup_resources *res)
{
    struct cgroup_memory *m;

    if (!hc->memory && !hc->memory_swap && !hc->memory_reservation && !hc->memory_swappiness.set &&
        !hc->oom_kill_disable.value)
        return;
    m = res->memory = xcalloc(1, sizeof(*m));
    m->limit = opt_of(hc->memory);
    m->swap = opt_of(hc->memory_swap);
    m->reservation = opt_of(hc->memory_reservation);
    if (hc->memory_swappiness.set && hc->memory_swappiness.value >= 0)
        m->swappiness = (struct opt_uint){true, (uint64_t)hc->memory_swappiness.value};
    m->disable_oom_killer = hc->oom_kill_disable;
}

static void add_cpu(const struct host_config *hc, struct cgroup_resources *res)
{
    struct cgroup_cpu *cpu;

    if (!hc->cpu_shares && !hc->nano_cpus && !hc->cpu_period && !hc->cpu_quota &&
        str_is_empty(hc->cpuset_cpus) && str_is_empty(hc->cpuset_mems))
        return;
    cpu = res->cpu = xcalloc(1, sizeof(*cpu));
    cpu->shares = uopt_of(hc->cpu_shares);
    cpu->period = uopt_of(hc->cpu_period);
    cpu->quota = opt_of(hc->cpu_quota);
    if (hc->nano_cpus) {
        cpu->period = (struct opt_uint){true, 100000};
        cpu->quota = (struct opt_int){true, hc->nano_cpus / 10000};
    }
    if (!str_is_empty(hc->cpuset_cpus))
        cpu->cpus = xstrdup(hc->cpuset_cpus);
    if (!str_is_empty(hc->cpuset_mems))
        cpu->mems = xstrdup(hc->cpuset_mems);
}

static int block_device(const char *path, int64_t *ret_major, int64_t *ret_minor, struct error *e)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return error_set(e, ERR_INVALID, "block device %s: %s", path, strerror(errno));
    if (!S_ISBLK(st.st_mode))
        return error_set(e, ERR_INVALID, "%s is not a block device", path);
    *ret_major = major(st.st_rdev);
    *ret_minor = minor(st.st_rdev);
    return 0;
}

static int add_throttle(const struct json_list *from, struct json_list *to, struct error *e)
{
    const struct throttle_device *d = from->items;
    int r = 0;

    for (size_t i = 0; r == 0 && i < from->len; i++) {
        struct cgroup_throttle_device *t = json_list_add(to, sizeof(*t));

        t->rate = d[i].rate;
        r = block_device(d[i].path, &t->major, &t->minor, e);
    }
    return r;
}

int spec_block_io(const struct host_config *hc, struct cgroup_resources *res, struct error *e)
{
    const struct weight_device *d = hc->blkio_weight_device.items;
    struct cgroup_block_io *io;
    int r = 0;

    if (!hc->blkio_weight && !hc->blkio_weight_device.len && !hc->blkio_device_read_bps.len &&
        !hc->blkio_device_write_bps.len && !hc->blkio_device_read_iops.len &&
        !hc->blkio_device_write_iops.len)
        return 0;
    io = res->block_io = xcalloc(1, sizeof(*io));
    io->weight = (struct opt_uint){hc->blkio_weight != 0, hc->blkio_weight};
    for (size_t i = 0; r == 0 && i < hc->blkio_weight_device.len; i++) {
        struct cgroup_weight_device *w = json_list_add(&io->weight_device, sizeof(*w));

        w->weight = (struct opt_uint){true, d[i].weight};
        r = block_device(d[i].path, &w->major, &w->minor, e);
    }
    if (r == 0)
        r = add_throttle(&hc->blkio_device_read_bps, &io->throttle_read_bps, e);
    if (r == 0)
        r = add_throttle(&hc->blkio_device_write_bps, &io->throttle_write_bps, e);
    if (r == 0)
        r = add_throttle(&hc->blkio_device_read_iops, &io->throttle_read_iops, e);
    if (r == 0)
        r = add_throttle(&hc->blkio_device_write_iops, &io->throttle_write_iops, e);
    return r;
}

static int add_resources(const struct engine *en, const struct host_config *hc, struct oci_spec *s,
                         struct error *e)
{
    struct cgroup_resources *res = xcalloc(1, sizeof(*res));
    int r;

    s->linux->resources = res;
    add_memory(hc, res);
    add_cpu(hc, res);
    if (hc->pids_limit.set && hc->pids_limit.value > 0) {
        res->pids = xcalloc(1, sizeof(*res->pids));
        res->pids->limit = hc->pids_limit;
    }
    isolation_resources(&en->default_ulimits, hc, res);
    isolation_rdt(hc, s->linux);
    r = spec_block_io(hc, res, e);
    return r < 0 ? r : add_devices(hc, s, res, e);
}

/* --- all of it ---------------------------------------------------------------------------------------- */

static void add_paths(const struct host_config *hc, struct oci_linux *l)
{
    if (hc->privileged)
        return;
    l->masked_paths = strv_copy(hc->masked_paths ? hc->masked_paths : (char **)default_masked);
    l->readonly_paths = strv_copy(hc->readonly_paths ? hc->readonly_paths
                                                     : (char **)default_readonly);
    isolation_paths(hc, &l->masked_paths, &l->readonly_paths);
}

static void add_sysctls(const struct start_context *ctx, const struct host_config *hc,
                        struct oci_linux *l)
{
    /* Docker since 20.10: unprivileged users may use low ports and ping in a network of their own. */
    if (!mode_is(hc->network_mode, "host") && !ctx->netns_pid) {
        json_map_set(&l->sysctl, "net.ipv4.ip_unprivileged_port_start", "0");
        if (!mode_is(hc->userns_mode, "host"))
            json_map_set(&l->sysctl, "net.ipv4.ping_group_range", "0 2147483647");
    }
    for (size_t i = 0; i < hc->sysctls.len; i++)
        json_map_set(&l->sysctl, hc->sysctls.items[i].key, hc->sysctls.items[i].value);
}

static void add_rootfs(const struct start_context *ctx, bool readonly, struct oci_spec *s)
{
    struct oci_overlay *o = xcalloc(1, sizeof(*o));

    s->root = xcalloc(1, sizeof(*s->root));
    s->root->path = xasprintf("%s/rootfs", ctx->bundle);
    s->root->readonly = readonly;
    s->pouch->overlay = o;
    o->type = xstrdup(ctx->rootfs.type);
    o->lower = strv_copy(ctx->rootfs.lower);
    o->upper = xstrdup_or_null(ctx->rootfs.upper);
    o->work = xstrdup_or_null(ctx->rootfs.work);
    o->options = strv_copy(ctx->rootfs.options);
}

void spec_for_hook(struct oci_spec *s)
{
    struct oci_process *p = s->process;

    s->pouch->init = false;
    p->terminal = false;
    free(p->console_size);
    p->console_size = NULL;
    str_replace(&p->user.username, "0");
    str_replace(&p->cwd, "/");
}

int spec_build(struct container *c, const struct start_context *ctx, struct oci_spec *s,
               struct error *e)
{
    const struct container_definition *def = ctx->def;
    const struct host_config *hc = &def->host_config;
    int r;

    s->oci_version = xstrdup(OCI_SPEC_WRITTEN_VERSION);
    s->process = xcalloc(1, sizeof(*s->process));
    s->linux = xcalloc(1, sizeof(*s->linux));
    s->pouch = xcalloc(1, sizeof(*s->pouch));
    s->pouch->init = hc->init.value;
    if (!mode_is(hc->uts_mode, "host")) {
        s->hostname = xstrdup(def->config.hostname);
        s->domainname = xstrdup_or_null(
            str_is_empty(def->config.domainname) ? NULL : def->config.domainname);
    }
    add_rootfs(ctx, hc->readonly_rootfs, s);
    add_namespaces(ctx, hc, s);
    add_mounts(ctx, def, s);
    add_paths(hc, s->linux);
    identity_apply(ctx, s);
    add_sysctls(ctx, hc, s->linux);
    s->linux->cgroups_path = xstrdup(ctx->cgroup);
    for (size_t i = 0; i < hc->annotations.len; i++)
        json_map_set(&s->annotations, hc->annotations.items[i].key, hc->annotations.items[i].value);
    r = init_process(c->en, def, s->process, e);
    if (r == 0)
        r = add_resources(c->en, hc, s, e);
    if (r == 0)
        isolation_net_priority(&def->config, hc, s->linux->resources);
    if (r == 0)
        r = isolation_mount_label(hc, s, e);
    if (r == 0)
        r = userns_fill(ctx, s, e);
    return r < 0 ? r : rich_fill(ctx, s, e);
}
