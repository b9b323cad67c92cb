/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container sees of memory, CPUs and load: HostConfig.View.
 *
 *   host   the kernel's own files and answers: those of the whole host
 *   lxcfs  files of /proc and /sys/devices/system/cpu from lxcfs: those of the container
 *   full   that, and sysinfo(2) and sched_getaffinity(2) answered likewise
 *
 * The files are bind mounts in the specification at the start; when lxcfs is started again they
 * are made anew inside the running container by its monitor.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/foreign.h"
#include "engine/lxcfs.h"
#include "oci/spec.h"

static bool wants_lxcfs(const struct host_config *hc)
{
    return hc->enable_lxcfs;
}

static int missing(struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "the container's own view of its resources needs lxcfs: start pouchd with "
                     "--enable-lxcfs");
}

int view_validate(struct engine *en, struct host_config *hc, struct error *e)
{
    static const char *const views[] = {"host", "lxcfs", "full", NULL};

    if (str_is_empty(hc->view) && !hc->enable_lxcfs)
        return 0;
    if (str_is_empty(hc->view))
        str_replace(&hc->view, "lxcfs");
    if (!strv_contains((char *const *)views, hc->view))
        return error_set(e, ERR_INVALID, "invalid view \"%s\": want host, lxcfs or full", hc->view);
    if (STREQ(hc->view, "host"))
        return hc->enable_lxcfs
                   ? error_set(e, ERR_INVALID, "conflicting options: EnableLxcfs and view \"host\"")
                   : 0;
    hc->enable_lxcfs = true;
    if (!en->lxcfs)
        return missing(e);
    if (STREQ(hc->view, "full") && runtime_is_foreign(hc->runtime))
        return error_set(e, ERR_INVALID,
                         "view \"full\" cannot be had with --runtime %s: only Pouch's own runtime "
                         "answers system calls; use --view lxcfs",
                         hc->runtime);
    if (hc->pid_mode && STREQ(hc->pid_mode, "host"))
        return error_set(
            e, ERR_INVALID,
            "view \"%s\" cannot be had with --pid host: lxcfs knows a container by its "
            "PID namespace",
            hc->view);
    return 0;
}

int view_prepare(struct start_context *ctx, struct error *e)
{
    struct lxcfs *l = ctx->c->en->lxcfs;

    if (!wants_lxcfs(&ctx->def->host_config))
        return 0;
    if (!l)
        return missing(e);
    ctx->loadavg = xasprintf("%s/proc/loadavg", lxcfs_home(l));
    return lxcfs_generation(l, &ctx->lxcfs_generation, e);
}

/* Its files, ahead of the user's own mounts, which win. */
void view_add_mounts(const struct start_context *ctx, struct oci_spec *s)
{
    static const char *const options[] = {"bind",   "ro",       "nosuid", "nodev",
                                          "noexec", "rprivate", NULL};
    const char *target = NULL;
    char *source = NULL;

    if (!ctx->lxcfs_generation)
        return;
    for (size_t i = 0;; i++) {
        int r = lxcfs_file(ctx->c->en->lxcfs, i, &source, &target);

        if (r == -ERANGE)
            return;
        if (r == 0)
            spec_add_mount(s, ctx->def, target, "bind", source, options);
        free(take_ptr(source));
    }
}

void view_fill_monitor(const struct start_context *ctx, struct monitor_params *p)
{
    const char *view = ctx->def->host_config.view;

    p->full_view = view && STREQ(view, "full");
    p->view_loadavg = ctx->loadavg;
}

/* up: bound again, in place of what is there; else what is there is taken away. */
static int change_mounts(struct container *c, struct live *live, bool up, struct error *e)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    struct lxcfs *l = c->en->lxcfs;
    struct monitor_mount list[MONITOR_MOUNTS_MAX] = {0};
    AUTOPTR(strv) char **sources = NULL;
    uint64_t ignored;
    size_t n = 0;
    int r = up ? lxcfs_generation(l, &ignored, e) : 0;

    for (size_t i = 0; r == 0 && n < ARRAY_SIZE(list); i++) {
        const char *target = NULL;
        char *source = NULL;
        int found = lxcfs_file(l, i, &source, &target);

        if (found == -ERANGE)
            break;
        if (found < 0)
            continue;
        strv_push_take(&sources, source);
        if (spec_is_mounted_by_user(def, target))
            continue;
        list[n++] = (struct monitor_mount){MONITOR_MOUNT_REPLACE, up ? source : NULL, target,
                                           "ro,nosuid,nodev,noexec"};
    }
    return r < 0 ? r : monitor_mounts(live->monitor, list, n, e);
}

/* -ENOENT: it does not run, or does not ask for it. */
static int remount(struct container *c, bool up, struct error *e)
{
    AUTOPTR(container_def) const struct container_definition *def = container_def_ref(c);
    struct live *live = NULL;
    int r;

    (void)pthread_mutex_lock(&c->mutex);
    if (c->live && wants_lxcfs(&def->host_config))
        live = live_ref(c->live);
    (void)pthread_mutex_unlock(&c->mutex);
    if (!live)
        return -ENOENT;
    r = change_mounts(c, live, up, e);
    live_unref(live);
    return r;
}

/* Of one container in a list; one that has ended meanwhile needs nothing. */
static int remount_logged(struct container *c, bool up)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    int r = remount(c, up, &e);

    if (r == -ENOENT || e.code == ERR_CONFLICT)
        return -ENOENT;
    if (r < 0)
        log_warn("lxcfs mounts not made again", "id=%s error=\"%s\"", c->id, error_message(&e));
    else
        log_info(up ? "lxcfs mounts made again" : "lxcfs mounts taken away", "id=%s", c->id);
    return r;
}

static void lxcfs_changed(void *data, bool up)
{
    struct engine *en = data;
    size_t n = 0;
    struct container **list = engine_all_containers(en, &n);

    for (size_t i = 0; i < n; i++) {
        if (!atomic_load(&en->closing))
            (void)!remount_logged(list[i], up);
        container_unref(list[i]);
    }
    free(list);
}

int view_open(struct engine *en, const struct engine_params *p, struct error *e)
{
    const struct lxcfs_params lp = {.state = en->state,
                                    .program = p->lxcfs_program,
                                    .home = p->lxcfs_home,
                                    .changed = lxcfs_changed,
                                    .data = en};

    return p->enable_lxcfs ? lxcfs_open(&lp, &en->lxcfs, e) : 0;
}

void view_started(const struct start_context *ctx)
{
    /* lxcfs was started again after this container's mounts were made, and before it was among
     * the running ones. (One that comes back later finds it there.) */
    if (ctx->lxcfs_generation &&
        lxcfs_current_generation(ctx->c->en->lxcfs) != ctx->lxcfs_generation)
        (void)!remount_logged(ctx->c, true);
}

int engine_remount_lxcfs(struct engine *en, const char *ref, size_t *ret_n, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    size_t n = 0, failed = 0;
    struct container **list;
    int r;

    *ret_n = 0;
    if (!en->lxcfs)
        return missing(e);
    if (ref) {
        r = container_find(en, ref, &c, e);
        if (r == 0)
            r = remount(c, true, e);
        if (r == -ENOENT && c && !e->code)
            r = error_set(e, ERR_CONFLICT,
                          "container %s does not run, or does not show its resources by lxcfs",
                          ref);
        *ret_n = r == 0;
        return r;
    }
    list = engine_all_containers(en, &n);
    for (size_t i = 0; i < n; i++) {
        r = remount_logged(list[i], true);
        *ret_n += r == 0;
        failed += r < 0 && r != -ENOENT;
        container_unref(list[i]);
    }
    free(list);
    return failed
               ? error_set(e, ERR_INTERNAL,
                           "the mounts of %zu of %zu containers could not be made again (pouchd's "
                           "log tells why)",
                           failed, failed + *ret_n)
               : 0;
}
