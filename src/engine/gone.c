/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How containers made with --rm ended that are gone by now. A command line that waits for the removal and loses its
 * pouchd asks the next one, by the whole id; the container may have ended, and gone, before it asks. Kept for a minute,
 * in memory alone: who asks later gets what anybody gets who asks for a container that is not there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/time.h"
#include "engine/engine-priv.h"

#define GONE_MAX 1024 /* the oldest are forgotten first */
#define GONE_NS  (60 * NSEC_PER_SEC)

struct gone {
    char id[65];
    int exit_code;
    int64_t when;
};

/* What is too old goes from the front; under en->mutex. */
static void drop_old(struct engine *en, int64_t now)
{
    size_t n = en->ngone == GONE_MAX ? 1 : 0;

    while (n < en->ngone && now - en->gone[n].when > GONE_NS)
        n++;
    if (n > 0)
        (void)memmove(en->gone, en->gone + n, (en->ngone - n) * sizeof(*en->gone));
    en->ngone -= n;
}

void gone_note(struct container *c)
{
    struct engine *en = c->en;
    struct gone one = {.when = time_monotonic_ns()};

    (void)memcpy(one.id, c->id, sizeof(one.id));
    (void)pthread_mutex_lock(&c->mutex);
    one.exit_code = c->exit_code;
    (void)pthread_mutex_unlock(&c->mutex);
    (void)pthread_mutex_lock(&en->mutex);
    drop_old(en, one.when);
    en->gone = xreallocarray(en->gone, en->ngone + 1, sizeof(*en->gone));
    en->gone[en->ngone++] = one;
    (void)pthread_mutex_unlock(&en->mutex);
}

bool gone_find(struct engine *en, const char *id, int *ret_exit_code)
{
    int64_t now = time_monotonic_ns();
    bool found = false;

    (void)pthread_mutex_lock(&en->mutex);
    for (size_t i = en->ngone; i-- > 0 && !found;) {
        const struct gone *one = &en->gone[i];

        found = strcmp(one->id, id) == 0 && now - one->when <= GONE_NS;
        if (found)
            *ret_exit_code = one->exit_code;
    }
    (void)pthread_mutex_unlock(&en->mutex);
    return found;
}
