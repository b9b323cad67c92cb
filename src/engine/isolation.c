/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that keep tenants apart and are no name space of their own: paths of /proc and /sys
 * (mask=, unmask=), labels of security modules, memory.high and its kin, cache allocation, limits
 * of processes. Each is checked here before anything is made; what this host cannot do is refused.
 */
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/isolation.h"
#include "engine/userns.h"
#include "oci/spec.h"
#include "sys/cgroup.h"

#define APPARMOR_ENABLED  "/sys/module/apparmor/parameters/enabled"
#define APPARMOR_PROFILES "/sys/kernel/security/apparmor/profiles"
#define SELINUX_DIR       "/sys/fs/selinux"
#define LABEL_PROCESS     "system_u:system_r:container_t:s0"
#define LABEL_FILE        "system_u:object_r:container_file_t:s0"

/* --- memory.high, memory.low, memory.min, cpu burst -------------------------------------------- */

static int check_memory(const struct host_config *hc, struct error *e)
{
    const struct {
        const char *flag;
        int64_t value;
    } all[] = {{"--memory-high", hc->memory_high},
               {"--memory-low", hc->memory_low},
               {"--memory-min", hc->memory_min}};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (all[i].value < 0)
            return error_set(e, ERR_INVALID, "%s must not be negative", all[i].flag);
        if (all[i].value && cgroup_host_layout() != CGROUP_V2)
            return error_set(e, ERR_INVALID,
                             "%s needs cgroup v2, and this host's memory controller is v1: use "
                             "--memory, or --memory-reservation",
                             all[i].flag);
        if (all[i].value && hc->memory > 0 && all[i].value > hc->memory)
            return error_set(e, ERR_INVALID, "%s is above the memory limit", all[i].flag);
    }
    if (hc->memory_low && hc->memory_reservation)
        return error_set(e, ERR_INVALID,
                         "--memory-low and --memory-reservation are one thing with cgroup v2: use "
                         "one of them");
    return 0;
}

static int check_burst(const struct host_config *hc, struct error *e)
{
    int64_t quota = hc->nano_cpus ? hc->nano_cpus / 10000 : hc->cpu_quota;

    if (hc->cpu_burst < 0)
        return error_set(e, ERR_INVALID, "--cpu-burst must not be negative");
    if (hc->cpu_burst && quota <= 0)
        return error_set(
            e, ERR_INVALID,
            "--cpu-burst saves up what a quota leaves: it needs --cpus or --cpu-quota");
    if (hc->cpu_burst && hc->cpu_burst > quota)
        return error_set(e, ERR_INVALID,
                         "--cpu-burst must not be above the quota (%lld microseconds a period)",
                         (long long)quota);
    return 0;
}

int isolation_check_limits(const struct host_config *hc, struct error *e)
{
    int r = check_memory(hc, e);

    return r < 0 ? r : check_burst(hc, e);
}

void isolation_resources(const struct json_list *ulimits, const struct host_config *hc,
                         struct cgroup_resources *res)
{
    int64_t nproc = isolation_nproc(ulimits, hc);
    const struct {
        const char *file;
        int64_t value;
    } all[] = {{"memory.high", hc->memory_high},
               {"memory.low", hc->memory_low},
               {"memory.min", hc->memory_min}};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        char text[24];

        if (!all[i].value)
            continue;
        (void)snprintf(text, sizeof(text), "%" PRId64, all[i].value);
        json_map_set(&res->unified, all[i].file, text);
    }
    if (hc->cpu_burst && res->cpu)
        res->cpu->burst = (struct opt_uint){true, (uint64_t)hc->cpu_burst};
    /* See isolation_nproc(). */
    if (nproc > 0 &&
        (!res->pids || res->pids->limit.value <= 0 || res->pids->limit.value > nproc)) {
        if (!res->pids)
            res->pids = xcalloc(1, sizeof(*res->pids));
        res->pids->limit = (struct opt_int){true, nproc};
    }
}

/*
 * RLIMIT_NPROC counts all processes of one uid in one user namespace (Linux 5.14; before, on the
 * whole host). Containers that share the host's namespace count each other's: one that starts many
 * keeps another from forking. There the limit becomes the container's own pids limit instead.
 */
int64_t isolation_nproc(const struct json_list *defaults, const struct host_config *hc)
{
    const struct json_list *lists[] = {&hc->ulimits, defaults};

    if (userns_is_on(hc))
        return 0;
    for (size_t l = 0; l < ARRAY_SIZE(lists); l++) {
        const struct ulimit *u = lists[l]->items;

        for (size_t i = 0; i < lists[l]->len; i++)
            if (STREQ(u[i].name, "nproc"))
                return u[i].soft > 0 ? u[i].soft : 0;
    }
    return 0;
}

/* --- paths ------------------------------------------------------------------------------------- */

static bool is_unmasked(char *const *patterns, const char *path)
{
    for (size_t i = 0; patterns && patterns[i]; i++)
        if (STREQ(patterns[i], "ALL") || fnmatch(patterns[i], path, FNM_PATHNAME) == 0)
            return true;
    return false;
}

static char **without(char **paths, char *const *patterns)
{
    char **out = xcalloc(1, sizeof(*out));

    for (size_t i = 0; paths && paths[i]; i++)
        if (!is_unmasked(patterns, paths[i]))
            strv_push(&out, paths[i]);
    strv_free(paths);
    return out;
}

void isolation_paths(const struct host_config *hc, char ***masked, char ***readonly)
{
    AUTOPTR(strv) char **unmask = NULL;
    AUTOPTR(strv) char **mask = NULL;

    for (size_t i = 0; hc->security_opt && hc->security_opt[i]; i++) {
        const char *v = security_option(hc->security_opt[i], "unmask");
        char ***to = v ? &unmask : &mask;

        if (!v)
            v = security_option(hc->security_opt[i], "mask");
        if (v) {
            AUTOPTR(strv) char **paths = strv_split(v, ":", true);

            for (size_t j = 0; paths && paths[j]; j++)
                strv_push(to, paths[j]);
        } else if (STREQ(hc->security_opt[i], "systempaths=unconfined")) {
            strv_push(&unmask, "ALL");
        }
    }
    if (unmask) {
        *masked = without(*masked, unmask);
        *readonly = without(*readonly, unmask);
    }
    for (size_t i = 0; mask && mask[i]; i++)
        if (!strv_contains(*masked, mask[i]))
            strv_push(masked, mask[i]);
}

int isolation_check_paths(const char *option, const char *value, bool patterns, struct error *e)
{
    AUTOPTR(strv) char **paths = strv_split(value, ":", true);

    if (!strv_len(paths))
        return error_set(e, ERR_INVALID, "invalid --security-opt: \"%s\": no path", option);
    for (size_t i = 0; paths[i]; i++)
        if (!(patterns && STREQ(paths[i], "ALL")) &&
            (paths[i][0] != '/' || strstr(paths[i], "/../")))
            return error_set(e, ERR_INVALID,
                             "invalid --security-opt: \"%s\": \"%s\" is no absolute path", option,
                             paths[i]);
    return 0;
}

/* --- labels ------------------------------------------------------------------------------------ */

bool isolation_apparmor_is_on(void)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;

    return fs_read_file(AT_FDCWD, APPARMOR_ENABLED, 16, &text, &len) == 0 && text[0] == 'Y';
}

/* One line a profile: "name (mode)". */
bool apparmor_has_profile(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = list; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (strncmp(p, name, n) == 0 && strncmp(p + n, " (", 2) == 0)
            return true;
    return false;
}

int isolation_check_apparmor(const char *profile, struct error *e)
{
    AUTOFREE char *list = NULL;
    size_t len = 0;

    if (!*profile || STREQ(profile, "unconfined"))
        return 0;
    if (strpbrk(profile, "\n\t ") || strlen(profile) > 255)
        return error_set(e, ERR_INVALID, "apparmor=%s: not a profile's name", profile);
    if (!isolation_apparmor_is_on())
        return error_set(e, ERR_INVALID,
                         "apparmor=%s: this host does not run AppArmor (boot it with "
                         "\"apparmor=1 security=apparmor\"), or use apparmor=unconfined",
                         profile);
    /* Without securityfs the kernel says it at the start. */
    if (fs_read_file(AT_FDCWD, APPARMOR_PROFILES, 4 << 20, &list, &len) == 0 &&
        !apparmor_has_profile(list, profile))
        return error_set(e, ERR_INVALID,
                         "apparmor=%s: no such profile is loaded: load it with apparmor_parser, or "
                         "use apparmor=unconfined",
                         profile);
    return 0;
}

/* Replaces one part of a context: user, role, type, level (which has colons of its own). */
static void set_part(char **label, size_t part, const char *value)
{
    AUTOPTR(strv) char **parts = strv_split(*label, ":", false);
    AUTOFREE char *level = xstrdup("");
    char *old = *label;

    for (size_t i = 3; i < strv_len(parts); i++) {
        char *longer = xasprintf("%s%s%s", level, *level ? ":" : "", parts[i]);

        free(level);
        level = longer;
    }
    *label = xasprintf("%s:%s:%s:%s", part == 0 ? value : parts[0], part == 1 ? value : parts[1],
                       part == 2 ? value : parts[2], part == 3 ? value : level);
    free(old);
}

/* "user:U", "role:R", "type:T", "level:L", "filetype:T"; "disable" is told before. */
static int apply_label(const char *text, char **process, char **file, struct error *e)
{
    static const char *const parts[] = {"user:", "role:", "type:", "level:"};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (!str_has_prefix(text, parts[i]) || !text[strlen(parts[i])])
            continue;
        set_part(process, i, text + strlen(parts[i]));
        if (i == 0 || i == 3)
            set_part(file, i, text + strlen(parts[i]));
        return 0;
    }
    if (str_has_prefix(text, "filetype:") && text[9]) {
        set_part(file, 2, text + 9);
        return 0;
    }
    return error_set(e, ERR_INVALID,
                     "label=%s: want disable, user:NAME, role:NAME, type:NAME, level:LEVEL or "
                     "filetype:NAME",
                     text);
}

int isolation_labels(char *const *security_opt, char **ret_process, char **ret_file,
                     struct error *e)
{
    AUTOFREE char *process = xstrdup(LABEL_PROCESS);
    AUTOFREE char *file = xstrdup(LABEL_FILE);
    bool asked = false, disabled = false;
    int r = 0;

    *ret_process = *ret_file = NULL;
    for (size_t i = 0; r == 0 && security_opt && security_opt[i]; i++) {
        const char *v = security_option(security_opt[i], "label");

        if (!v)
            continue;
        if (STREQ(v, "disable")) {
            disabled = true;
            continue;
        }
        asked = true;
        r = apply_label(v, &process, &file, e);
    }
    if (r < 0 || !asked || disabled)
        return r;
    if (access(SELINUX_DIR "/enforce", F_OK) < 0)
        return error_set(e, ERR_INVALID,
                         "--security-opt label: this host does not run SELinux; use label=disable "
                         "or leave it out");
    *ret_process = take_ptr(process);
    *ret_file = take_ptr(file);
    return 0;
}

int isolation_process(const struct host_config *hc, struct oci_process *p, struct error *e)
{
    AUTOFREE char *file = NULL;
    int r = isolation_labels(hc->security_opt, &p->selinux_label, &file, e);

    for (size_t i = 0; r == 0 && hc->security_opt && hc->security_opt[i]; i++) {
        const char *v = security_option(hc->security_opt[i], "apparmor");

        if (v)
            str_replace(&p->apparmor_profile, v);
    }
    return r;
}

int isolation_mount_label(const struct host_config *hc, struct oci_spec *s, struct error *e)
{
    AUTOFREE char *process = NULL;
    AUTOFREE char *file = NULL;
    int r = isolation_labels(hc->security_opt, &process, &file, e);

    if (r == 0)
        s->linux->mount_label = take_ptr(file);
    return r;
}

/* --- cache allocation -------------------------------------------------------------------------- */

/* "L3:0=ff;1=f": cache ids and bit masks of which the set bits stand together. */
int rdt_schema_check(const char *text, struct error *e)
{
    const char *p = str_has_prefix(text, "L3:")       ? text + 3
                    : str_has_prefix(text, "L3CODE:") ? text + 7
                    : str_has_prefix(text, "L3DATA:") ? text + 7
                                                      : "";

    while (*p) {
        size_t id = strspn(p, "0123456789");
        size_t mask = p[id] == '=' ? strspn(p + id + 1, "0123456789abcdefABCDEF") : 0;
        uint64_t bits;

        if (id == 0 || id > 9 || mask == 0 || mask > 16)
            break;
        bits = strtoull(p + id + 1, NULL, 16);
        p += id + 1 + mask;
        while (bits && !(bits & 1))
            bits >>= 1;
        if (!bits || bits & (bits + 1))
            return error_set(e, ERR_INVALID,
                             "--intel-rdt-l3-cbm %s: each mask needs bits, all in one run", text);
        if (!*p)
            return 0;
        if (*p++ != ';')
            break;
    }
    return error_set(
        e, ERR_INVALID,
        "--intel-rdt-l3-cbm %s: want L3:CACHE=MASK[;CACHE=MASK…] as in the schemata of "
        "resctrl, for example L3:0=f;1=f",
        text);
}

/* Is resctrl mounted, with L3 allocation? dir is /sys/fs/resctrl but in tests. */
int rdt_host_check(const char *dir, struct error *e)
{
    AUTOFREE char *info = xasprintf("%s/info/L3/cbm_mask", dir);
    AUTOFREE char *code = xasprintf("%s/info/L3CODE/cbm_mask", dir);
    AUTOFREE char *schemata = xasprintf("%s/schemata", dir);

    if (access(dir, F_OK) < 0)
        return error_set(
            e, ERR_INVALID,
            "--intel-rdt-l3-cbm: this kernel or CPU has no cache allocation (resctrl)");
    if (access(schemata, F_OK) < 0)
        return error_set(e, ERR_INVALID,
                         "--intel-rdt-l3-cbm: resctrl is not mounted: mount -t resctrl resctrl %s",
                         dir);
    if (access(info, F_OK) < 0 && access(code, F_OK) < 0)
        return error_set(e, ERR_INVALID,
                         "--intel-rdt-l3-cbm: this CPU cannot allocate its L3 cache (no %s)", info);
    return 0;
}

static int check_rdt(const struct host_config *hc, struct error *e)
{
    int r;

    if (str_is_empty(hc->intel_rdt_l3_cbm))
        return 0;
    r = rdt_schema_check(hc->intel_rdt_l3_cbm, e);
    return r < 0 ? r : rdt_host_check("/sys/fs/resctrl", e);
}

void isolation_rdt(const struct host_config *hc, struct oci_linux *l)
{
    if (str_is_empty(hc->intel_rdt_l3_cbm))
        return;
    l->intel_rdt = xcalloc(1, sizeof(*l->intel_rdt));
    l->intel_rdt->l3_cache_schema = xstrdup(hc->intel_rdt_l3_cbm);
}

void isolation_rdt_remove(const char *id)
{
    AUTOFREE char *dir = xasprintf("/sys/fs/resctrl/%s", id);

    (void)!rmdir(dir); /* hardly ever there */
}

/* --- priority of packets ----------------------------------------------------------------------- */

/*
 * On the bridge network the firewall sets it where packets leave the bridge (src/network/rules.c),
 * whatever the cgroup version. In the host's network only cgroup v1's net_prio can tell the
 * container's packets from others.
 */
static int check_net_priority(const struct container_config *config, const struct host_config *hc,
                              struct error *e)
{
    const char *mode = hc->network_mode;

    if (config->net_priority < 0 || config->net_priority > UINT32_MAX)
        return error_set(e, ERR_INVALID, "--net-priority is a number from 0 to %u", UINT32_MAX);
    if (!config->net_priority || STREQ(mode, "default") || STREQ(mode, "bridge"))
        return 0;
    if (!STREQ(mode, "host"))
        return error_set(
            e, ERR_INVALID,
            "--net-priority works with a network of the container's own on the bridge, "
            "not with --network %s",
            mode);
    if (!cgroup_mount_point("net_prio"))
        return error_set(
            e, ERR_INVALID,
            "--net-priority with --network host needs cgroup v1's net_prio controller, "
            "which is not mounted here: use the bridge network");
    return 0;
}

/* Every interface of the host that is there now. */
void isolation_net_priority(const struct container_config *config, const struct host_config *hc,
                            struct cgroup_resources *res)
{
    DIR *d = config->net_priority && STREQ(hc->network_mode, "host") ? opendir("/sys/class/net")
                                                                     : NULL;
    struct dirent *de;

    if (!d)
        return;
    if (!res->network)
        res->network = xcalloc(1, sizeof(*res->network));
    while ((de = readdir(d))) {
        struct cgroup_interface_priority *p;

        if (de->d_name[0] == '.' || STREQ(de->d_name, "bonding_masters"))
            continue;
        p = json_list_add(&res->network->priorities, sizeof(*p));
        p->name = xstrdup(de->d_name);
        p->priority = (uint64_t)config->net_priority;
    }
    (void)closedir(d);
}

/* --- all of it --------------------------------------------------------------------------------- */

int isolation_check(const struct container_config *config, struct host_config *hc, char ***warnings,
                    struct error *e)
{
    static const struct json_list none;
    int64_t nproc = isolation_nproc(&none, hc);
    AUTOFREE char *process = NULL;
    AUTOFREE char *file = NULL;
    int r = check_memory(hc, e);

    if (r == 0)
        r = check_burst(hc, e);
    if (r == 0)
        r = check_rdt(hc, e);
    if (r == 0)
        r = isolation_labels(hc->security_opt, &process, &file, e);
    if (r == 0)
        r = check_net_priority(config, hc, e);
    if (r == 0 && nproc > 0 && (str_is_empty(hc->userns_mode) || STREQ(hc->userns_mode, "host")))
        strv_pushf(warnings,
                   "ulimit nproc=%lld: without a user namespace it would count the processes of "
                   "all containers and of the host with the same uid; it is a limit of %lld "
                   "processes of this container instead (use --userns auto for a limit by uid)",
                   (long long)nproc, (long long)nproc);
    return r;
}
