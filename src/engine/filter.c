/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's filters: {"label":["a=b"],"status":["running"]}. */
#include "base/strv.h"
#include "base/alloc.h"
#include "engine/engine.h"

#include <stdlib.h>

void filter_set_add(struct filter_set *f, const char *key, const char *value)
{
    struct filter *items = f->items.items;
    struct filter *added;

    for (size_t i = 0; i < f->items.len; i++) {
        if (STREQ(items[i].key, key)) {
            strv_push(&items[i].values, value);
            return;
        }
    }
    added = json_list_add(&f->items, sizeof(*added));
    added->key = xstrdup(key);
    strv_push(&added->values, value);
}

char *const *filter_set_get(const struct filter_set *f, const char *key)
{
    const struct filter *items = f ? f->items.items : NULL;

    for (size_t i = 0; f && i < f->items.len; i++)
        if (STREQ(items[i].key, key))
            return items[i].values;
    return NULL;
}

void filter_set_done(struct filter_set *f)
{
    struct filter *items = f->items.items;

    for (size_t i = 0; i < f->items.len; i++) {
        free(items[i].key);
        strv_free(items[i].values);
    }
    free(items);
    f->items = (struct json_list){0};
}
