/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beginnings of blobs that a pull did not finish because it was cancelled or the network broke: the
 * next one goes on where they end. They stay in blobs/tmp under their temporary names (so that the
 * next start removes them), for a few minutes and up to a bound. What is in them counts for nothing until the
 * whole blob has the right digest.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "io/reaper.h"

#define KEEP_MIN   ((uint64_t)1 << 20) /* less is asked for again sooner than looked for */
#define KEEP_NS    (600 * NSEC_PER_SEC)
#define KEEP_COUNT 16
#define KEEP_BYTES ((uint64_t)2 << 30)

struct partial {
    char *name; /* in blobs/tmp */
    uint64_t size;
    int64_t since; /* ns, monotonic */
};

static void partial_drop(struct image_store *s, struct partial *p)
{
    if (!p)
        return;
    (void)!reaper_unlink(s->reaper, s->tmp_fd, p->name);
    free(p->name);
    free(p);
}

/* The oldest, when it is too old or there are too many; the lock is held. */
static struct partial *take_surplus(struct image_store *s, bool all)
{
    const char *key, *oldest = NULL;
    struct partial *p = NULL;
    uint64_t bytes = 0;
    int64_t since = 0;
    size_t pos = 0;
    void *value;

    while (map_next(s->partials, &pos, &key, &value) > 0) {
        const struct partial *one = value;
        bytes += one->size;
        if (!oldest || one->since < since) {
            oldest = key;
            since = one->since;
        }
    }
    if (oldest && (all || map_len(s->partials) > KEEP_COUNT || bytes > KEEP_BYTES ||
                   time_monotonic_ns() - since > KEEP_NS)) {
        AUTOFREE char *name = xstrdup(oldest);
        p = map_remove(s->partials, name);
    }
    return p;
}

void image_partials_trim(struct image_store *s, bool all)
{
    struct partial *p;

    do {
        pthread_mutex_lock(&s->lock);
        p = take_surplus(s, all);
        pthread_mutex_unlock(&s->lock);
        partial_drop(s, p);
    } while (p);
}

bool image_partial_keep(struct image_store *s, const char *digest, uint64_t want, const char *name)
{
    struct partial *p, *old;
    struct stat st;

    if (fstatat(s->tmp_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (uint64_t)st.st_size < KEEP_MIN ||
        (uint64_t)st.st_size >= want)
        return false;
    p = xcalloc(1, sizeof(*p));
    p->name = xstrdup(name);
    p->size = (uint64_t)st.st_size;
    p->since = time_monotonic_ns();
    pthread_mutex_lock(&s->lock);
    old = map_get(s->partials, digest);
    bool better = !old || old->size < p->size;
    if (better) {
        old = map_set(s->partials, digest, p);
        p = NULL;
    } else {
        old = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    partial_drop(s, old);
    if (p) { /* there is a longer one: the caller removes the file */
        free(p->name);
        free(p);
    }
    image_partials_trim(s, false);
    return better;
}

bool image_partial_take(struct image_store *s, const char *digest, uint64_t want, char **ret_name,
                        int *ret_fd, uint64_t *ret_size)
{
    pthread_mutex_lock(&s->lock);
    struct partial *p = map_remove(s->partials, digest);
    pthread_mutex_unlock(&s->lock);
    if (!p)
        return false;
    int fd = p->size < want ? openat(s->tmp_fd, p->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0) {
        partial_drop(s, p);
        return false;
    }
    *ret_name = take_ptr(p->name);
    *ret_fd = fd;
    *ret_size = p->size;
    free(p);
    return true;
}
