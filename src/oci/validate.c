/* SPDX-License-Identifier: Apache-2.0 */
/* What the tables of config.json cannot say: see spec.h. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/strv.h"
#include "oci/spec.h"

const char *const oci_namespace_types[] = {"cgroup", "ipc",  "mount", "network", "pid",
                                           "time",   "user", "uts",   NULL};

int oci_process_validate(const struct oci_process *p, struct error *e)
{
    if (!p->args || !p->args[0])
        return error_set(e, ERR_INVALID, "process.args: no command to run");
    if (str_is_empty(p->cwd) || p->cwd[0] != '/')
        return error_set(e, ERR_INVALID, "process.cwd: \"%s\" is not an absolute path",
                         p->cwd ? p->cwd : "");
    for (size_t i = 0; p->env && p->env[i]; i++)
        if (!strchr(p->env[i], '=') || p->env[i][0] == '=')
            return error_set(e, ERR_INVALID, "process.env[%zu]: \"%s\" is not NAME=VALUE", i,
                             p->env[i]);
    if (p->user.uid > UINT32_MAX - 1 || p->user.gid > UINT32_MAX - 1)
        return error_set(e, ERR_INVALID, "process.user: ids are at most %u", UINT32_MAX - 1);
    if (p->oom_score_adj.set && (p->oom_score_adj.value < -1000 || p->oom_score_adj.value > 1000))
        return error_set(e, ERR_INVALID, "process.oomScoreAdj: must be between -1000 and 1000");
    if (p->user.umask.set && p->user.umask.value > 0777)
        return error_set(e, ERR_INVALID, "process.user.umask: must be between 0 and 0777");
    if (p->console_size && (p->console_size->height > 65535 || p->console_size->width > 65535))
        return error_set(e, ERR_INVALID, "process.consoleSize: at most 65535 lines and columns");
    return 0;
}

static int validate_namespaces(const struct oci_linux *l, struct error *e)
{
    const struct oci_namespace *ns = l->namespaces.items;

    for (size_t i = 0; i < l->namespaces.len; i++) {
        if (!strv_contains((char *const *)oci_namespace_types, ns[i].type))
            return error_set(e, ERR_INVALID, "linux.namespaces[%zu]: unknown type \"%s\"", i,
                             ns[i].type);
        if (!str_is_empty(ns[i].path) && ns[i].path[0] != '/')
            return error_set(e, ERR_INVALID, "linux.namespaces[%zu].path: not absolute", i);
        for (size_t j = 0; j < i; j++)
            if (STREQ(ns[i].type, ns[j].type))
                return error_set(e, ERR_INVALID, "linux.namespaces: \"%s\" is there twice",
                                 ns[i].type);
    }
    return 0;
}

static int validate_propagation(const struct oci_linux *l, struct error *e)
{
    static const char *const known[] = {"shared",  "slave",  "private",  "unbindable",
                                        "rshared", "rslave", "rprivate", "runbindable"};

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (str_is_empty(l->rootfs_propagation) || STREQ(l->rootfs_propagation, known[i]))
            return 0;
    return error_set(e, ERR_INVALID, "linux.rootfsPropagation: \"%s\" is not known",
                     l->rootfs_propagation);
}

static int validate_time(const struct oci_spec *s, struct error *e)
{
    const struct oci_time_offset *t = s->linux->time_offsets.items;
    const struct oci_namespace *ns = oci_spec_namespace(s, "time");

    if (s->linux->time_offsets.len && (!ns || !str_is_empty(ns->path)))
        return error_set(e, ERR_INVALID, "linux.timeOffsets: need a new time namespace");
    for (size_t i = 0; i < s->linux->time_offsets.len; i++) {
        if (!STREQ(t[i].key, "monotonic") && !STREQ(t[i].key, "boottime"))
            return error_set(e, ERR_INVALID,
                             "linux.timeOffsets: \"%s\" is neither monotonic nor boottime",
                             t[i].key);
        if (t[i].nanosecs > 999999999)
            return error_set(e, ERR_INVALID, "linux.timeOffsets.%s.nanosecs: at most 999999999",
                             t[i].key);
    }
    return 0;
}

static int validate_intel_rdt(const struct oci_intel_rdt *rdt, struct error *e)
{
    const char *id = rdt ? rdt->clos_id : NULL;
    bool bad = false;

    if (!rdt)
        return 0;
    if (id && !STREQ(id, "/") && (!*id || STREQ(id, ".") || STREQ(id, "..") || strchr(id, '/')))
        return error_set(e, ERR_INVALID, "linux.intelRdt.closID: \"%s\" is not a folder's name",
                         id);
    if (rdt->mem_bw_schema && !str_has_prefix(rdt->mem_bw_schema, "MB:"))
        return error_set(e, ERR_INVALID, "linux.intelRdt.memBwSchema: must start with \"MB:\"");
    bad |= rdt->l3_cache_schema && strchr(rdt->l3_cache_schema, '\n');
    bad |= rdt->mem_bw_schema && strchr(rdt->mem_bw_schema, '\n');
    for (size_t i = 0; rdt->schemata && rdt->schemata[i]; i++)
        bad |= strchr(rdt->schemata[i], '\n') != NULL;
    return bad ? error_set(e, ERR_INVALID, "linux.intelRdt: a schema holds a line break") : 0;
}

static int validate_net_devices(const struct oci_spec *s, struct error *e)
{
    const struct oci_net_device *d = s->linux->net_devices.items;

    if (s->linux->net_devices.len && !oci_spec_namespace(s, "network"))
        return error_set(e, ERR_INVALID, "linux.netDevices: need a network namespace");
    for (size_t i = 0; i < s->linux->net_devices.len; i++) {
        const char *names[] = {d[i].key, str_is_empty(d[i].name) ? d[i].key : d[i].name};

        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
            if (!*names[k] || strlen(names[k]) > 15 || strpbrk(names[k], "/: \t\n") ||
                STREQ(names[k], ".") || STREQ(names[k], ".."))
                return error_set(e, ERR_INVALID,
                                 "linux.netDevices: \"%s\" is no name of a network device",
                                 names[k]);
    }
    return 0;
}

static int validate_devices(const struct oci_linux *l, struct error *e)
{
    for (size_t i = 0; i < l->devices.len; i++) {
        const struct oci_device *d = (const struct oci_device *)l->devices.items + i;

        if (strlen(d->type) != 1 || !strchr("cbup", d->type[0]))
            return error_set(e, ERR_INVALID, "linux.devices[%zu]: unknown type \"%s\"", i, d->type);
        if (d->path[0] != '/')
            return error_set(e, ERR_INVALID, "linux.devices[%zu]: \"%s\" is not absolute", i,
                             d->path);
    }
    return 0;
}

static int validate_linux(const struct oci_spec *s, struct error *e)
{
    const struct oci_linux *l = s->linux;
    const struct oci_namespace *user;
    int r = validate_namespaces(l, e);

    if (r < 0)
        return r;
    user = oci_spec_namespace(s, "user");
    if (user && str_is_empty(user->path) && (!l->uid_mappings.len || !l->gid_mappings.len))
        return error_set(e, ERR_INVALID,
                         "linux: a new user namespace needs uidMappings and gidMappings");
    if (!user && (l->uid_mappings.len || l->gid_mappings.len))
        return error_set(e, ERR_INVALID, "linux: id mappings without a user namespace");
    r = validate_propagation(l, e);
    if (r == 0)
        r = validate_time(s, e);
    if (r == 0)
        r = validate_intel_rdt(l->intel_rdt, e);
    if (r == 0)
        r = validate_net_devices(s, e);
    if (r < 0)
        return r;
    if (l->seccomp && l->seccomp->listener_metadata && str_is_empty(l->seccomp->listener_path))
        return error_set(e, ERR_INVALID, "linux.seccomp.listenerMetadata: needs listenerPath");
    if (l->personality && strv_len(l->personality->flags))
        return error_set(e, ERR_INVALID, "linux.personality.flags: \"%s\" is not known",
                         l->personality->flags[0]);
    return validate_devices(l, e);
}

static int validate_mounts(const struct oci_spec *s, struct error *e)
{
    const struct oci_mount *m = s->mounts.items;

    for (size_t i = 0; i < s->mounts.len; i++) {
        if (str_is_empty(m[i].destination))
            return error_set(e, ERR_INVALID, "mounts[%zu].destination: is empty", i);
        if (!m[i].destination[strspn(m[i].destination, "/.")] &&
            !strv_contains(m[i].options, "remount"))
            return error_set(e, ERR_INVALID,
                             "mounts[%zu].destination: \"%s\" is the root itself, which only "
                             "root.path gives",
                             i, m[i].destination);
        if (!m[i].uid_mappings.len != !m[i].gid_mappings.len)
            return error_set(e, ERR_INVALID, "mounts[%zu]: uidMappings and gidMappings go together",
                             i);
    }
    return 0;
}

int oci_spec_validate(const struct oci_spec *s, struct error *e)
{
    int r;

    if (!s->oci_version || !str_has_prefix(s->oci_version, "1."))
        return error_set(e, ERR_INVALID, "ociVersion: need 1.x, got \"%s\"",
                         s->oci_version ? s->oci_version : "");
    if (!s->root || str_is_empty(s->root->path))
        return error_set(e, ERR_INVALID, "root.path: is required");
    if (!s->linux)
        return error_set(e, ERR_INVALID, "linux: is required");
    if (!str_is_empty(s->hostname) && !oci_spec_namespace(s, "uts"))
        return error_set(e, ERR_INVALID, "hostname: cannot be set without a uts namespace");
    if (!str_is_empty(s->domainname) && !oci_spec_namespace(s, "uts"))
        return error_set(e, ERR_INVALID, "domainname: cannot be set without a uts namespace");
    r = validate_mounts(s, e);
    if (r == 0 && s->process)
        r = oci_process_validate(s->process, e);
    return r == 0 ? validate_linux(s, e) : r;
}
