/* SPDX-License-Identifier: Apache-2.0 */
/* Hash map with open addressing and linear probing; seeded FNV-1a. See map.h. */
#include "base/map.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"

struct slot {
    char *key; /* NULL: free */
    void *value;
    uint64_t hash;
};

struct map {
    struct slot *slots;
    size_t cap; /* a power of two */
    size_t len;
    uint64_t seed; /* keys come from outside: their collisions must not be predictable */
};

static uint64_t hash_key(const struct map *m, const char *key)
{
    uint64_t h = 14695981039346656037ULL ^ m->seed;

    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 1099511628211ULL;
    return h ^ (h >> 29);
}

struct map *map_new(void)
{
    struct map *m = xcalloc(1, sizeof(*m));

    m->cap = 16;
    m->slots = xcalloc(m->cap, sizeof(*m->slots));
    if (getrandom(&m->seed, sizeof(m->seed), GRND_NONBLOCK) < 0)
        m->seed = (uint64_t)(uintptr_t)m;
    return m;
}

void map_free(struct map *m, void (*free_value)(void *))
{
    if (!m)
        return;
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key && free_value)
            free_value(m->slots[i].value);
        free(m->slots[i].key);
    }
    free(m->slots);
    free(m);
}

static struct slot *find(const struct map *m, const char *key, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);

    while (m->slots[i].key && (m->slots[i].hash != hash || !STREQ(m->slots[i].key, key)))
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

void *map_get(const struct map *m, const char *key)
{
    return find(m, key, hash_key(m, key))->value;
}

static void grow(struct map *m)
{
    struct slot *old = m->slots;
    size_t cap = m->cap;

    m->cap *= 2;
    m->slots = xcalloc(m->cap, sizeof(*m->slots));
    for (size_t i = 0; i < cap; i++)
        if (old[i].key)
            *find(m, old[i].key, old[i].hash) = old[i];
    free(old);
}

void *map_set(struct map *m, const char *key, void *value)
{
    uint64_t hash = hash_key(m, key);
    struct slot *s;
    void *old;

    assert(value);
    if ((m->len + 1) * 4 > m->cap * 3)
        grow(m);
    s = find(m, key, hash);
    old = s->value;
    if (!s->key) {
        s->key = xstrdup(key);
        s->hash = hash;
        m->len++;
    }
    s->value = value;
    return old;
}

void *map_remove(struct map *m, const char *key)
{
    struct slot *s = find(m, key, hash_key(m, key));
    void *value = s->value;
    size_t hole;

    if (!s->key)
        return NULL;
    free(s->key);
    hole = (size_t)(s - m->slots);
    m->slots[hole] = (struct slot){0};
    m->len--;
    /* Moves back what had been pushed behind the hole. */
    for (size_t i = (hole + 1) & (m->cap - 1); m->slots[i].key; i = (i + 1) & (m->cap - 1)) {
        size_t home = m->slots[i].hash & (m->cap - 1);

        if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
            m->slots[hole] = m->slots[i];
            m->slots[i] = (struct slot){0};
            hole = i;
        }
    }
    return value;
}

size_t map_len(const struct map *m)
{
    return m->len;
}

int map_next(const struct map *m, size_t *pos, const char **ret_key, void **ret_value)
{
    for (; *pos < m->cap; (*pos)++) {
        const struct slot *s = &m->slots[*pos];

        if (!s->key)
            continue;
        if (ret_key)
            *ret_key = s->key;
        if (ret_value)
            *ret_value = s->value;
        (*pos)++;
        return 1;
    }
    return 0;
}
