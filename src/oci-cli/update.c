/* SPDX-License-Identifier: Apache-2.0 */
/* update: other limits for a container, from options or as linux.resources. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "oci-cli/oci-cli.h"
#include "oci/spec.h"
#include "runtime/runtime.h"
#include "sys/cgroup-systemd.h"
#include "sys/cgroup.h"

static int read_resources(const char *path, struct cgroup_resources *r, struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int err = fs_read_file(AT_FDCWD, STREQ(path, "-") ? "/dev/stdin" : path, OCI_SPEC_MAX, &text,
                           &len);

    if (err < 0)
        return error_set_errno(e, err, "cannot read %s", path);
    err = json_parse(&cgroup_resources_json, text, len, r, e);
    if (err < 0)
        error_add(e, "%s", path);
    return err;
}

/* "10m", "-1" */
static int take_size(const char *name, const char *text, struct opt_int *to, struct error *e)
{
    int r;

    if (!text)
        return 0;
    to->set = true;
    r = STREQ(text, "-1") ? parse_i64(text, &to->value) : parse_size(text, &to->value);
    return r < 0 ? error_set(e, ERR_INVALID, "--%s: \"%s\" is no size (10m, -1)", name, text) : 0;
}

static int take_int(const char *name, const char *text, struct opt_int *to, struct error *e)
{
    if (!text)
        return 0;
    to->set = true;
    return parse_i64(text, &to->value) < 0
               ? error_set(e, ERR_INVALID, "--%s: \"%s\" is not a number", name, text)
               : 0;
}

static int take_uint(const char *name, const char *text, struct opt_uint *to, struct error *e)
{
    if (!text)
        return 0;
    to->set = true;
    return parse_u64(text, &to->value) < 0
               ? error_set(e, ERR_INVALID, "--%s: \"%s\" is not a number", name, text)
               : 0;
}

static int memory_options(const struct options *o, struct cgroup_resources *res, struct error *e)
{
    struct cgroup_memory m = {.limit = {false, 0}};
    int r = take_size("memory", o->memory, &m.limit, e);

    if (r == 0)
        r = take_size("memory-reservation", o->memory_reservation, &m.reservation, e);
    if (r == 0)
        r = take_size("memory-swap", o->memory_swap, &m.swap, e);
    if (r == 0)
        r = take_size("kernel-memory", o->kernel_memory, &m.kernel, e);
    if (r == 0)
        r = take_size("kernel-memory-tcp", o->kernel_memory_tcp, &m.kernel_tcp, e);
    if (r == 0 &&
        (m.limit.set || m.reservation.set || m.swap.set || m.kernel.set || m.kernel_tcp.set)) {
        res->memory = xcalloc(1, sizeof(m));
        *res->memory = m;
    }
    return r;
}

static int cpu_options(const struct options *o, struct cgroup_resources *res, struct error *e)
{
    struct cgroup_cpu c = {.shares = {false, 0}};
    int r = take_uint("cpu-share", o->cpu_share, &c.shares, e);

    if (r == 0)
        r = take_uint("cpu-period", o->cpu_period, &c.period, e);
    if (r == 0)
        r = take_int("cpu-quota", o->cpu_quota, &c.quota, e);
    if (r == 0)
        r = take_uint("cpu-burst", o->cpu_burst, &c.burst, e);
    if (r == 0)
        r = take_uint("cpu-rt-period", o->cpu_rt_period, &c.realtime_period, e);
    if (r == 0)
        r = take_int("cpu-rt-runtime", o->cpu_rt_runtime, &c.realtime_runtime, e);
    if (r == 0)
        r = take_int("cpu-idle", o->cpu_idle, &c.idle, e);
    if (r == 0) {
        c.cpus = xstrdup_or_null(o->cpuset_cpus);
        c.mems = xstrdup_or_null(o->cpuset_mems);
        res->cpu = xcalloc(1, sizeof(c));
        *res->cpu = c;
    }
    return r;
}

static int other_options(const struct options *o, struct cgroup_resources *res, struct error *e)
{
    struct cgroup_pids p = {.limit = {false, 0}};
    struct cgroup_block_io b = {.weight = {false, 0}};
    int r = take_int("pids-limit", o->pids_limit, &p.limit, e);

    if (r == 0)
        r = take_uint("blkio-weight", o->blkio_weight, &b.weight, e);
    if (r == 0 && p.limit.set) {
        res->pids = xcalloc(1, sizeof(p));
        *res->pids = p;
    }
    if (r == 0 && b.weight.set) {
        res->block_io = xcalloc(1, sizeof(b));
        *res->block_io = b;
    }
    return r;
}

int cmd_update(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    AUTOPTR(strv) char **warnings = NULL;
    struct cgroup_resources res = {.devices = {NULL, 0}};
    struct oci_spec spec = {0};
    int r = state_load(o, o->args[0], &s, e);

    if (r == 0 && STREQ(state_status(&s), "stopped"))
        r = error_set(e, ERR_CONFLICT, "cannot update container \"%s\": it is stopped", s.id);
    if (r == 0 && o->resources)
        r = read_resources(o->resources, &res, e);
    if (r == 0 && !o->resources) {
        r = memory_options(o, &res, e);
        if (r == 0)
            r = cpu_options(o, &res, e);
        if (r == 0)
            r = other_options(o, &res, e);
    }
    if (r == 0 && s.unit)
        r = cgroup_systemd_update(s.unit, &res, e);
    if (r == 0)
        r = cgroup_update(s.cgroup_path, &res, &warnings, e);
    if (r == 0 && (o->l3_cache_schema || o->mem_bw_schema)) {
        r = state_spec(&s, &spec, e);
        if (r == 0)
            r = runtime_rdt_update(&spec, s.id, o->l3_cache_schema, o->mem_bw_schema, e);
        json_free(&oci_spec_json, &spec);
    }
    for (size_t i = 0; warnings && warnings[i]; i++)
        warn_user(o, "%s", warnings[i]);
    json_free(&cgroup_resources_json, &res);
    return r;
}
