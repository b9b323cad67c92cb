/* SPDX-License-Identifier: Apache-2.0 */
/* `ps`: pictures of all containers, filtered; and the words of the Status column. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"

/* "3 minutes", "About an hour": the words of Docker's units.HumanDuration. */
static void human_duration(int64_t ns, char *out, size_t size)
{
    int64_t sec = ns / NSEC_PER_SEC;
    int64_t min = sec / 60;
    int64_t hours = (ns + 30 * 60 * NSEC_PER_SEC) / (3600 * NSEC_PER_SEC);

    if (sec < 1)
        (void)snprintf(out, size, "Less than a second");
    else if (sec == 1)
        (void)snprintf(out, size, "1 second");
    else if (sec < 60)
        (void)snprintf(out, size, "%d seconds", (int)sec);
    else if (min == 1)
        (void)snprintf(out, size, "About a minute");
    else if (min < 60)
        (void)snprintf(out, size, "%d minutes", (int)min);
    else if (hours == 1)
        (void)snprintf(out, size, "About an hour");
    else if (hours < 48)
        (void)snprintf(out, size, "%d hours", (int)hours);
    else if (hours < 24 * 7 * 2)
        (void)snprintf(out, size, "%d days", (int)(hours / 24));
    else if (hours < 24 * 30 * 2)
        (void)snprintf(out, size, "%d weeks", (int)(hours / 24 / 7));
    else if (hours < 24 * 365 * 2)
        (void)snprintf(out, size, "%d months", (int)(hours / 24 / 30));
    else
        (void)snprintf(out, size, "%d years", (int)(hours / 24 / 365));
}

/* Docker's words behind the time. */
static const char *health_text(const struct health_state *h)
{
    static const char *const texts[] = {"", " (health: starting)", " (healthy)", " (unhealthy)"};

    return h ? texts[h->status] : "";
}

char *container_status_text(const struct container_view *v, int64_t now_ns)
{
    char span[64];

    switch (v->status) {
    case CONTAINER_CREATED:
        return xstrdup("Created");
    case CONTAINER_REMOVING:
        return xstrdup("Removal In Progress");
    case CONTAINER_DEAD:
        return xstrdup("Dead");
    case CONTAINER_RUNNING:
    case CONTAINER_PAUSED:
        human_duration(now_ns - v->started, span, sizeof(span));
        return xasprintf("Up %s%s", span,
                         v->status == CONTAINER_PAUSED ? " (Paused)" : health_text(v->health));
    case CONTAINER_RESTARTING:
        human_duration(now_ns - v->finished, span, sizeof(span));
        return xasprintf("Restarting (%lld) %s ago", (long long)v->exit_code, span);
    default:
        if (!v->finished)
            return xasprintf("Exited (%lld)", (long long)v->exit_code);
        human_duration(now_ns - v->finished, span, sizeof(span));
        return xasprintf("Exited (%lld) %s ago", (long long)v->exit_code, span);
    }
}

/* --- filters ---------------------------------------------------------------------------------- */

static bool label_is(const struct json_map *labels, const char *wanted)
{
    const char *eq = strchr(wanted, '=');
    AUTOFREE char *key = eq ? xstrndup(wanted, (size_t)(eq - wanted)) : xstrdup(wanted);
    const char *value = json_map_get(labels, key);

    return value && (!eq || STREQ(value, eq + 1));
}

/* Docker matches names as a regular expression on "/name"; a plain part of it is what people use. */
static bool name_is(const char *name, const char *wanted)
{
    AUTOFREE char *with_slash = xasprintf("/%s", name);
    AUTOFREE char *text = xstrdup(*wanted == '^' ? wanted + 1 : wanted);
    size_t n = strlen(text);
    bool start = *wanted == '^';
    bool end = n && text[n - 1] == '$';
    const char *target;

    if (end)
        text[--n] = 0;
    target = *text == '/' ? with_slash : name;
    if (start && end)
        return STREQ(target, text);
    if (start)
        return str_has_prefix(target, text);
    if (end)
        return str_has_suffix(target, text);
    return strstr(target, text) != NULL;
}

static bool port_is(const struct container_view *v, const char *wanted, bool published)
{
    const char *slash = strchr(wanted, '/');
    AUTOFREE char *text = xasprintf("%s%s", wanted, slash ? "" : "/tcp");

    if (!published && strv_contains(v->def->config.exposed_ports, text))
        return true;
    for (size_t i = 0; v->has_endpoint && i < v->endpoint.nports; i++) {
        const struct network_port *p = &v->endpoint.ports[i];
        char host[32];
        char inside[32];

        (void)snprintf(host, sizeof(host), "%u/%s", p->host_port, port_proto_name(p->proto));
        (void)snprintf(inside, sizeof(inside), "%u/%s", p->container_port,
                       port_proto_name(p->proto));
        if (STREQ(text, inside) || (published && STREQ(text, host)))
            return true;
    }
    return false;
}

static bool volume_is(const struct container_view *v, const char *wanted)
{
    for (size_t i = 0; i < v->def->mounts.len; i++) {
        const struct volume_mount *m = &v->def->mounts.items[i];

        if (STREQ(m->destination, wanted) || (m->name && STREQ(m->name, wanted)) ||
            (m->source && STREQ(m->source, wanted)))
            return true;
    }
    return false;
}

static bool value_holds(const struct container_view *v, const char *key, const char *wanted)
{
    if (STREQ(key, "id"))
        return str_has_prefix(v->def->id, wanted);
    if (STREQ(key, "name"))
        return name_is(v->name, wanted);
    if (STREQ(key, "label"))
        return label_is(&v->def->config.labels, wanted);
    if (STREQ(key, "status"))
        return STREQ(container_status_name(v->status), wanted);
    if (STREQ(key, "health"))
        return STREQ(health_status_name(v->health ? v->health->status : HEALTH_NONE), wanted);
    if (STREQ(key, "exited"))
        return v->status == CONTAINER_EXITED && atoll(wanted) == v->exit_code;
    if (STREQ(key, "network"))
        return v->has_endpoint && (STREQ(v->endpoint.network_name, wanted) ||
                                   str_has_prefix(v->endpoint.network_id, wanted));
    if (STREQ(key, "publish") || STREQ(key, "expose"))
        return port_is(v, wanted, STREQ(key, "publish"));
    if (STREQ(key, "volume"))
        return volume_is(v, wanted);
    if (STREQ(key, "is-task"))
        return STREQ(wanted, "false") || STREQ(wanted, "0");
    return true; /* before, since: done by the caller */
}

/* ancestors: ids of the images that the filter of this name means. */
static bool view_matches(const struct container_view *v, const struct filter_set *f,
                         char *const *ancestors)
{
    const struct filter *items = f ? f->items.items : NULL;

    for (size_t i = 0; f && i < f->items.len; i++) {
        bool all = STREQ(items[i].key, "label");
        bool ok = all;

        if (STREQ(items[i].key, "ancestor")) {
            if (!strv_contains(ancestors, v->def->image_id))
                return false;
            continue;
        }
        for (size_t j = 0; items[i].values && items[i].values[j]; j++) {
            bool hit = value_holds(v, items[i].key, items[i].values[j]);

            ok = all ? ok && hit : ok || hit;
        }
        if (!ok)
            return false;
    }
    return true;
}

static int check_filters(struct engine *en, const struct filter_set *f, int64_t *ret_before,
                         int64_t *ret_since, struct error *e)
{
    static const char *const known[] = {"id",      "name",   "label",   "status",  "ancestor",
                                        "exited",  "before", "since",   "network", "volume",
                                        "publish", "expose", "is-task", "health",  NULL};
    const struct filter *items = f ? f->items.items : NULL;

    for (size_t i = 0; f && i < f->items.len; i++) {
        const char *value = items[i].values ? items[i].values[0] : "";
        bool known_status = !STREQ(items[i].key, "status");

        if (!strv_contains((char *const *)known, items[i].key))
            return error_set(e, ERR_INVALID, "invalid filter '%s'", items[i].key);
        for (int s = 0; s < CONTAINER_STATUS_MAX && !known_status; s++)
            known_status = STREQ(container_status_name((enum container_status)s), value);
        if (!known_status)
            return error_set(e, ERR_INVALID,
                             "invalid filter 'status=%s' (one of: created, running, paused, "
                             "restarting, removing, exited, dead)",
                             value);
        if (STREQ(items[i].key, "health") && !STREQ(value, "none") && !STREQ(value, "starting") &&
            !STREQ(value, "healthy") && !STREQ(value, "unhealthy"))
            return error_set(e, ERR_INVALID,
                             "invalid filter 'health=%s' (one of: none, starting, healthy, "
                             "unhealthy)",
                             value);
        if (STREQ(items[i].key, "before") || STREQ(items[i].key, "since")) {
            AUTOPTR(container_view) struct container_view *v = NULL;
            int r = engine_inspect(en, value, &v, e);

            if (r < 0)
                return r;
            *(STREQ(items[i].key, "before") ? ret_before : ret_since) = v->def->created;
        }
    }
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct container_view *x = *(struct container_view *const *)a;
    const struct container_view *y = *(struct container_view *const *)b;

    return x->def->created < y->def->created ? 1 : x->def->created > y->def->created ? -1 : 0;
}

/* Looked up once a list, with all images that were made of them. A name that no image has (any more)
 * is nobody's ancestor. */
static char **ancestor_ids(struct engine *en, const struct filter_set *f)
{
    char *const *names = filter_set_get(f, "ancestor");
    char **ids = NULL;

    for (; names && *names; names++)
        (void)!image_find_family(en->images, *names, &ids, NULL);
    return ids;
}

/* References to all views, taken in one go. */
static struct container_view **all_views(struct engine *en, size_t *ret_len)
{
    struct container **list;
    struct container_view **views;
    size_t n = 0;
    size_t pos = 0;
    void *value;

    (void)pthread_mutex_lock(&en->mutex);
    list = xcalloc(map_len(en->by_id), sizeof(struct container *));
    while (map_next(en->by_id, &pos, NULL, &value))
        list[n++] = container_ref(value);
    (void)pthread_mutex_unlock(&en->mutex);
    views = xcalloc(n, sizeof(struct container_view *));
    for (size_t i = 0; i < n; i++) {
        views[i] = container_get_view(list[i]);
        container_unref(list[i]);
    }
    free(list);
    *ret_len = n;
    return views;
}

int engine_list(struct engine *en, bool all, int64_t limit, const struct filter_set *f,
                struct container_list *ret, struct error *e)
{
    int64_t before = INT64_MAX;
    int64_t since = 0;
    size_t n = 0;
    size_t kept = 0;
    AUTOPTR(strv) char **ancestors = NULL;
    struct container_view **views;
    int r = check_filters(en, f, &before, &since, e);

    if (r < 0)
        return r;
    ancestors = ancestor_ids(en, f);
    if (limit > 0 || filter_set_get(f, "status") || filter_set_get(f, "exited") ||
        filter_set_get(f, "before") || filter_set_get(f, "since"))
        all = true;
    views = all_views(en, &n);
    qsort(views, n, sizeof(struct container_view *), newest_first);
    for (size_t i = 0; i < n; i++) {
        struct container_view *v = views[i];
        bool runs = v->status == CONTAINER_RUNNING || v->status == CONTAINER_PAUSED ||
                    v->status == CONTAINER_RESTARTING;
        bool want = (all || runs) && v->def->created < before && v->def->created > since &&
                    (limit <= 0 || kept < (size_t)limit) && view_matches(v, f, ancestors);

        if (want)
            views[kept++] = v;
        else
            container_view_free(v);
    }
    *ret = (struct container_list){views, kept};
    return 0;
}

const char *engine_image_title(struct engine *en, const struct container_view *v, struct map *known)
{
    const char *name = v->def->image_ref;
    char *id;

    if (str_is_empty(name) || STREQ(name, v->def->image_id))
        return v->def->image_id;
    id = map_get(known, name);
    if (!id) {
        if (image_find_id(en->images, name, &id, NULL) < 0)
            id = xstrdup(""); /* nobody's any more */
        (void)map_set(known, name, id);
    }
    return STREQ(id, v->def->image_id) ? name : v->def->image_id;
}

void container_list_done(struct container_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        container_view_free(l->items[i]);
    free(l->items);
    *l = (struct container_list){0};
}
