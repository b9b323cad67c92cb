/* SPDX-License-Identifier: Apache-2.0 */
/* attach and logs: clients are handed over to the monitor; logs are read from the file. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "engine/engine-priv.h"
#include "log/driver.h"

int attach_to_monitor(struct monitor *m, const struct attach_params *p, int client_fd,
                      struct error *e)
{
    struct monitor_attach_params ap = {
        .client_fd = client_fd,
        .flags = (p->stdin_on ? MONITOR_STDIN : 0u) | (p->stdout_on ? MONITOR_STDOUT : 0u) |
                 (p->stderr_on ? MONITOR_STDERR : 0u) | (p->logs ? MONITOR_LOGS : 0u) |
                 (p->stream ? 0u : MONITOR_NO_STREAM) | (p->multiplexed ? 0u : MONITOR_RAW),
        .detach_keys = p->detach_keys,
        .early = p->early,
        .early_len = p->early_len,
    };

    return monitor_attach(m, &ap, e);
}

void pending_attach_free(struct pending_attach *p)
{
    (void)close(p->fd);
    free((char *)(uintptr_t)p->params.detach_keys);
    free((void *)(uintptr_t)p->params.early);
    free(p);
}

/* A claim is the container itself, referenced, with its count of announced clients. */
int engine_attach_begin(struct engine *en, const char *ref, bool *ret_tty,
                        struct engine_attach_claim **ret, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOPTR(container_view) struct container_view *v = NULL;
    int r = container_find(en, ref, &c, e);

    if (r < 0)
        return r;
    v = container_get_view(c);
    if (v->status == CONTAINER_PAUSED)
        return error_set(e, ERR_CONFLICT,
                         "container %s is paused, unpause the container before attach", v->def->id);
    if (v->status == CONTAINER_RESTARTING)
        return error_set(e, ERR_CONFLICT,
                         "container %s is restarting, wait until the container is running",
                         v->def->id);
    if (v->status == CONTAINER_REMOVING || v->status == CONTAINER_DEAD)
        return error_set(e, ERR_CONFLICT, "container %s is being removed", v->def->id);
    *ret_tty = v->def->config.tty;
    (void)pthread_mutex_lock(&c->mutex);
    c->attaching++;
    (void)pthread_mutex_unlock(&c->mutex);
    *ret = (struct engine_attach_claim *)(void *)take_ptr(c);
    return 0;
}

void engine_attach_end(struct engine_attach_claim *claim)
{
    struct container *c = (struct container *)(void *)claim;

    if (!c)
        return;
    (void)pthread_mutex_lock(&c->mutex);
    c->attaching--;
    (void)pthread_cond_broadcast(&c->cond);
    (void)pthread_mutex_unlock(&c->mutex);
    container_unref(c);
}

/* Kept until the start: `run` attaches first. */
static void keep_for_start(struct container *c, const struct attach_params *p, int fd)
{
    struct pending_attach *a = xcalloc(1, sizeof(*a));

    a->fd = fd;
    a->params = *p;
    a->params.detach_keys = xstrdup_or_null(p->detach_keys);
    a->params.early = p->early_len ? xmemdup(p->early, p->early_len) : NULL;
    a->next = c->pending;
    c->pending = a;
}

int engine_attach(struct engine_attach_claim *claim, const struct attach_params *p, int client_fd,
                  struct error *e)
{
    struct container *c = (struct container *)(void *)claim;
    AUTOFD int fd = client_fd;
    struct live *live = NULL;
    bool removed;
    int r = 0;

    (void)pthread_mutex_lock(&c->mutex);
    removed = c->removed;
    if (c->live)
        live = live_ref(c->live);
    else if (p->stream && !removed)
        keep_for_start(c, p, take_fd(fd));
    (void)pthread_mutex_unlock(&c->mutex);
    if (removed)
        return error_set(e, ERR_NOT_FOUND, "No such container: %s", c->id);
    if (live) {
        r = attach_to_monitor(live->monitor, p, fd, e);
        live_unref(live);
    }
    if (r == 0)
        events_container(c, "attach", NULL);
    return r;
}

int engine_logs(struct engine *en, const char *ref, const struct log_reader_params *p,
                struct log_reader **ret, bool *ret_tty, struct error *e)
{
    AUTOPTR(container) struct container *c = NULL;
    AUTOPTR(container_view) struct container_view *v = NULL;
    AUTOFREE char *dir = NULL;
    AUTOFREE char *end = NULL;
    struct log_reader_params params = *p;
    const struct log_driver *drv;
    bool removed;
    int r = container_find(en, ref, &c, e);

    if (r < 0)
        return r;
    v = container_get_view(c);
    drv = log_driver_find(v->def->host_config.log_config.type);
    if (!drv || !drv->can_read)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "configured logging driver does not support reading: container %s uses "
                         "\"%s\"",
                         v->def->id, v->def->host_config.log_config.type);
    dir = container_state_dir(en, v->def->id);
    end = xasprintf("%s/%s", dir, MONITOR_EXIT_FILE);
    params.end_path = end;
    /* One that never ran or has ended writes no more. */
    if (!v->pid)
        params.follow = false;
    *ret_tty = v->def->config.tty;
    r = log_reader_open(v->def->log_path, &params, ret, e);
    if (r < 0)
        return r;
    /* The files of one that was removed meanwhile may not have been there any more: an empty log
     * would be a lie. What is open is read to its end, whatever comes. */
    (void)pthread_mutex_lock(&c->mutex);
    removed = c->removed;
    (void)pthread_mutex_unlock(&c->mutex);
    if (!removed)
        return 0;
    log_reader_free(take_ptr(*ret));
    return error_set(e, ERR_NOT_FOUND, "No such container: %s", ref);
}
