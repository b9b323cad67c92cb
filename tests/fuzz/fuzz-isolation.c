/* SPDX-License-Identifier: Apache-2.0 */
/* --userns, /etc/subuid, schemata, paths and labels from any text: what is taken is sound. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "engine/isolation.h"
#include "engine/userns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sorted, without overlaps, all of it ids that exist, and the same when it is read again. */
static void check_map(const struct id_map *m)
{
    AUTOPTR(strv) char **text = id_map_print(m);
    CLEANUP(id_map_done) struct id_map again = {0};

    assert(m->len <= USERNS_EXTENTS_MAX);
    for (size_t i = 0; i < m->len; i++) {
        const struct id_extent *x = &m->items[i];

        assert(x->size > 0 && x->container + x->size - 1 <= USERNS_ID_MAX);
        assert(x->host + x->size - 1 <= USERNS_ID_MAX);
        assert(i == 0 || m->items[i - 1].container + m->items[i - 1].size <= x->container);
    }
    assert(id_map_parse(text, &again, NULL) == 0 && again.len == m->len);
}

static void check_mode(const char *text)
{
    CLEANUP(userns_mode_done) struct userns_mode m = {.kind = USERNS_HOST};
    CLEANUP(id_map_done) struct id_map all = {0};
    struct id_extent range = {0, 0, 0};

    if (userns_mode_parse(text, &m, NULL) < 0)
        return;
    check_map(&m.uid_map);
    check_map(&m.gid_map);
    if (m.kind != USERNS_AUTO)
        return;
    /* As the engine does: pieces laid over a range keep everything else of it. */
    range.size = m.size;
    assert(id_map_overlay(&all, &range) == 0);
    for (size_t i = 0; i < m.uid_map.len; i++)
        if (id_map_overlay(&all, &m.uid_map.items[i]) < 0)
            return;
    for (size_t i = 1; i < all.len; i++)
        assert(all.items[i - 1].container + all.items[i - 1].size <= all.items[i].container);
}

static void check_subids(const char *text)
{
    static const char *const names[] = {"pouch", "a", NULL};
    CLEANUP(id_ranges_done) struct id_ranges ours = {0};
    CLEANUP(id_ranges_done) struct id_ranges others = {0};
    uint64_t at = 0;

    subid_parse(text, names, &ours, &others);
    for (size_t i = 0; i < others.len; i++)
        id_ranges_remove(&ours, others.items[i].first, others.items[i].size);
    for (size_t i = 1; i < ours.len; i++)
        assert(ours.items[i - 1].first + ours.items[i - 1].size <= ours.items[i].first);
    if (userns_pool_fit(&ours, others.items, others.len, 100, &at) == 0)
        assert(!id_ranges_overlap(&others, at, 100) && id_ranges_overlap(&ours, at, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    char *opts[] = {text, NULL};
    struct host_config hc = {.security_opt = opts};
    AUTOFREE char *process = NULL;
    AUTOFREE char *file = NULL;
    char **masked = NULL, **readonly = NULL;

    if (size > 4096)
        return 0;
    check_mode(text);
    check_subids(text);
    (void)!rdt_schema_check(text, NULL);
    (void)!isolation_check_paths(text, text, true, NULL);
    (void)!isolation_labels(opts, &process, &file, NULL);
    (void)apparmor_has_profile(text, "a");
    strv_push(&masked, "/proc/kcore");
    strv_push(&readonly, "/proc/sys");
    isolation_paths(&hc, &masked, &readonly);
    strv_free(masked);
    strv_free(readonly);
    return 0;
}
