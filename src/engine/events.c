/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: a ring of the last ones, and readers that each keep a place in it. A reader that is too
 * slow misses the oldest (the ring is bounded), nobody waits for it.
 */
#include <assert.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"

#define EVENT_RING 1024

struct events {
    pthread_mutex_t mutex;
    struct engine_event *ring[EVENT_RING];
    uint64_t next; /* number of the event to come; ring[n % EVENT_RING] holds event n */
    struct event_reader *readers;
    bool closing;
};

struct event_reader {
    struct event_reader *next;
    struct engine *en;
    struct filter_set filters; /* owned copy */
    int64_t since;
    int64_t until;
    uint64_t pos; /* number of the next event to look at */
    int fd;
};

static const char *const filter_names[] = {"container", "event",  "image",  "label", "type",
                                           "network",   "volume", "daemon", "scope", NULL};

struct events *events_new(struct engine *en)
{
    struct events *ev = xcalloc(1, sizeof(*ev));

    (void)en;
    (void)pthread_mutex_init(&ev->mutex, NULL);
    return ev;
}

/* Drops a reference; events.mutex is held or nobody else knows the events. */
static void unref_event(struct engine_event *ev)
{
    if (!ev || __atomic_sub_fetch(&ev->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(ev->type);
    free(ev->action);
    free(ev->actor_id);
    json_map_done(&ev->attributes);
    free(ev);
}

void event_free(struct engine_event *ev)
{
    unref_event(ev);
}

void events_free(struct events *ev)
{
    if (!ev)
        return;
    assert(!ev->readers);
    for (size_t i = 0; i < EVENT_RING; i++)
        unref_event(ev->ring[i]);
    (void)pthread_mutex_destroy(&ev->mutex);
    free(ev);
}

void events_emit(struct engine *en, const char *type, const char *action, const char *id,
                 struct json_map *attributes)
{
    struct engine_event *ev = xcalloc(1, sizeof(*ev));
    struct events *all = en->events;
    struct engine_event **slot;
    static const uint64_t one = 1;

    ev->refs = 1;
    ev->type = xstrdup(type);
    ev->action = xstrdup(action);
    ev->actor_id = xstrdup(id);
    if (attributes) {
        ev->attributes = *attributes;
        *attributes = (struct json_map){0};
    }
    (void)pthread_mutex_lock(&all->mutex);
    ev->time = time_now_ns();
    slot = &all->ring[all->next++ % EVENT_RING];
    unref_event(*slot);
    *slot = ev;
    for (struct event_reader *r = all->readers; r; r = r->next)
        (void)!write(r->fd, &one, sizeof(one)); /* an eventfd: never blocks below 2^64 */
    (void)pthread_mutex_unlock(&all->mutex);
}

void events_container(struct container *c, const char *action, ...)
{
    struct json_map attributes = {0};
    AUTOPTR(container_view) struct container_view *view = container_get_view(c);
    const struct container_config *config = &view->def->config;
    const struct json_map *labels = &config->labels;
    const char *key;
    va_list ap;

    for (size_t i = 0; i < labels->len; i++)
        json_map_set(&attributes, labels->items[i].key, labels->items[i].value);
    json_map_set(&attributes, "image", config->image ? config->image : "");
    json_map_set(&attributes, "name", view->name);
    va_start(ap, action);
    while ((key = va_arg(ap, const char *)))
        json_map_set(&attributes, key, va_arg(ap, const char *));
    va_end(ap);
    events_emit(c->en, "container", action, c->id, &attributes);
}

int engine_events_open(struct engine *en, int64_t since, int64_t until, const struct filter_set *f,
                       struct event_reader **ret, struct error *e)
{
    struct events *all = en->events;
    struct event_reader *r;
    const struct filter *items = f ? f->items.items : NULL;

    for (size_t i = 0; f && i < f->items.len; i++)
        if (!strv_contains((char *const *)filter_names, items[i].key))
            return error_set(e, ERR_INVALID, "invalid filter '%s'", items[i].key);
    r = xcalloc(1, sizeof(*r));
    r->en = en;
    r->since = since;
    r->until = until;
    r->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->fd < 0) {
        free(r);
        return error_set_errno(e, errno, "cannot make an event reader");
    }
    for (size_t i = 0; f && i < f->items.len; i++)
        for (size_t j = 0; items[i].values && items[i].values[j]; j++)
            filter_set_add(&r->filters, items[i].key, items[i].values[j]);
    (void)pthread_mutex_lock(&all->mutex);
    r->pos = all->next;
    if (since)
        r->pos = all->next > EVENT_RING ? all->next - EVENT_RING : 0;
    r->next = all->readers;
    all->readers = r;
    (void)pthread_mutex_unlock(&all->mutex);
    atomic_fetch_add(&en->nevent_readers, 1);
    *ret = r;
    return 0;
}

void event_reader_free(struct event_reader *r)
{
    struct events *all;

    if (!r)
        return;
    all = r->en->events;
    (void)pthread_mutex_lock(&all->mutex);
    for (struct event_reader **p = &all->readers; *p; p = &(*p)->next) {
        if (*p == r) {
            *p = r->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&all->mutex);
    atomic_fetch_sub(&r->en->nevent_readers, 1);
    (void)close(r->fd);
    filter_set_done(&r->filters);
    free(r);
}

int event_reader_fd(const struct event_reader *r)
{
    return r->fd;
}

/* The action's own name: "exec_create: sh -c x" is asked for as "exec_create". */
static bool action_matches(const char *action, const char *wanted)
{
    size_t n = strlen(wanted);

    return strncmp(action, wanted, n) == 0 && (!action[n] || action[n] == ':');
}

static bool actor_matches(const struct engine_event *ev, const char *type, const char *wanted)
{
    const char *name = json_map_get(&ev->attributes, "name");

    if (!STREQ(ev->type, type)) {
        /* Events of containers know their image. */
        const char *image = STREQ(type, "image") ? json_map_get(&ev->attributes, "image") : NULL;

        return image && STREQ(image, wanted);
    }
    return STREQ(ev->actor_id, wanted) || (name && STREQ(name, wanted)) ||
           (strlen(wanted) >= 4 && str_has_prefix(ev->actor_id, wanted));
}

static bool label_matches(const struct engine_event *ev, const char *wanted)
{
    const char *eq = strchr(wanted, '=');
    AUTOFREE char *key = eq ? xstrndup(wanted, (size_t)(eq - wanted)) : xstrdup(wanted);
    const char *value = json_map_get(&ev->attributes, key);

    return value && (!eq || STREQ(value, eq + 1));
}

static bool value_matches(const struct engine_event *ev, const char *key, const char *wanted)
{
    if (STREQ(key, "event"))
        return action_matches(ev->action, wanted);
    if (STREQ(key, "type"))
        return STREQ(ev->type, wanted);
    if (STREQ(key, "label"))
        return label_matches(ev, wanted);
    if (STREQ(key, "scope"))
        return STREQ(wanted, "local");
    return actor_matches(ev, key, wanted);
}

/* Filters of different names must all hold; of one name, any (labels: all). */
static bool event_matches(const struct event_reader *r, const struct engine_event *ev)
{
    const struct filter *items = r->filters.items.items;

    if (ev->time < r->since || (r->until && ev->time > r->until))
        return false;
    for (size_t i = 0; i < r->filters.items.len; i++) {
        bool all = STREQ(items[i].key, "label");
        bool ok = all;

        for (size_t j = 0; items[i].values[j]; j++) {
            bool hit = value_matches(ev, items[i].key, items[i].values[j]);

            ok = all ? ok && hit : ok || hit;
        }
        if (!ok)
            return false;
    }
    return true;
}

int event_reader_next(struct event_reader *r, struct engine_event **ret)
{
    struct events *all = r->en->events;
    uint64_t drained;
    int found = 0;

    (void)pthread_mutex_lock(&all->mutex);
    if (all->next > EVENT_RING && r->pos < all->next - EVENT_RING)
        r->pos = all->next - EVENT_RING;
    while (!found && r->pos < all->next) {
        struct engine_event *ev = all->ring[r->pos++ % EVENT_RING];

        if (event_matches(r, ev)) {
            (void)__atomic_add_fetch(&ev->refs, 1, __ATOMIC_RELAXED);
            *ret = ev;
            found = 1;
        }
    }
    if (!found)
        (void)!read(r->fd, &drained, sizeof(drained));
    (void)pthread_mutex_unlock(&all->mutex);
    if (!found && (atomic_load(&r->en->closing) || (r->until && time_now_ns() > r->until)))
        return -ENODATA;
    return found;
}

int event_reader_timeout_ms(const struct event_reader *r)
{
    int64_t left;

    if (!r->until)
        return -1;
    left = (r->until - time_now_ns()) / NSEC_PER_MSEC + 1;
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}
