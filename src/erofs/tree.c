/* SPDX-License-Identifier: Apache-2.0 */
/* See tree.h. */
#include "erofs/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/layer.h"
#include "erofs/format.h"

#define NODE_BITS    11 /* 48 KiB a page */
#define DIR_BITS     9
#define POOL_BITS    16
#define BUCKETS_MIN  1024u
#define SYMLINKS_MAX 40 /* as the kernel */

/* A page is full or there is none of it: names never cross from one into the next. */
#define POOL_ENTRY_MAX (1u + EROFS_NAME_MAX + LAYER_PATH_MAX + 1u)
_Static_assert(POOL_ENTRY_MAX < 1u << POOL_BITS, "a name and a target fit into a page");

int erofs_tree_charge(struct erofs_tree *t, size_t bytes)
{
    if (bytes > t->max - t->used)
        return -EFBIG;
    t->used += bytes;
    return 0;
}

static int pages_grow(struct erofs_tree *t, struct erofs_pages *p, size_t index)
{
    size_t i = index >> p->bits;
    size_t bytes = p->item << p->bits;
    int r;

    if (i < p->n)
        return 0;
    r = erofs_tree_charge(t, bytes + sizeof *p->page);
    if (r < 0)
        return r;
    if ((p->n & (p->n + 1)) == 0 || !p->page) /* room for the next power of two */
        p->page = xreallocarray(p->page, 2 * (p->n + 1), sizeof *p->page);
    p->page[p->n++] = xmalloc(bytes);
    return 0;
}

static void pages_done(struct erofs_pages *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->page[i]);
    free(p->page);
}

/* --- Names ------------------------------------------------------------------------------------ */

/* In the pool: a byte of length, the name; behind a symlink's name its target and a NUL. */
static const char *pool_at(const struct erofs_tree *t, uint32_t at)
{
    return t->pool.page[at >> POOL_BITS] + (at & ((1u << POOL_BITS) - 1));
}

static int pool_put(struct erofs_tree *t, const char *name, size_t len, const char *target,
                    uint32_t *ret)
{
    size_t target_size = target ? strlen(target) + 1 : 0;
    size_t size = 1 + len + target_size;
    size_t left = (1u << POOL_BITS) - (t->pool_len & ((1u << POOL_BITS) - 1));
    char *p;
    int r;

    if (size > left)
        t->pool_len += left;
    if (t->pool_len + size > UINT32_MAX)
        return -EFBIG;
    r = pages_grow(t, &t->pool, t->pool_len);
    if (r < 0)
        return r;
    p = t->pool.page[t->pool_len >> POOL_BITS] + (t->pool_len & ((1u << POOL_BITS) - 1));
    *p = (char)len;
    memcpy(p + 1, name, len);
    if (target)
        memcpy(p + 1 + len, target, target_size);
    *ret = (uint32_t)t->pool_len;
    t->pool_len += size;
    return 0;
}

const char *erofs_tree_name(const struct erofs_tree *t, const struct erofs_node *n, size_t *ret_len)
{
    const char *p = pool_at(t, n->name);

    *ret_len = (unsigned char)*p;
    return p + 1;
}

const char *erofs_tree_target(const struct erofs_tree *t, const struct erofs_node *n)
{
    size_t len;
    const char *name = erofs_tree_name(t, n, &len);

    return name + len;
}

/* The seed is random: an archive cannot choose names that all fall into one bucket. */
static uint64_t hash_name(const struct erofs_tree *t, uint32_t dir, const char *name, size_t len)
{
    uint64_t h = t->seed ^ (uint64_t)dir * 0x9e3779b97f4a7c15ULL;

    while (len > 0) {
        uint64_t word = 0;
        size_t n = len < sizeof word ? len : sizeof word;
        __uint128_t m;

        memcpy(&word, name, n);
        m = (__uint128_t)(h ^ word) * (0xd6e8feb86659fd93ULL ^ t->seed << 1 ^ n);
        h = (uint64_t)m ^ (uint64_t)(m >> 64);
        name += n;
        len -= n;
    }
    h ^= h >> 32;
    return h * 0xd6e8feb86659fd93ULL;
}

static uint32_t *bucket(const struct erofs_tree *t, uint64_t hash)
{
    return &t->buckets[(hash >> 16) & t->bucket_mask];
}

uint32_t erofs_tree_find(const struct erofs_tree *t, uint32_t dir, const char *name, size_t len)
{
    uint64_t hash = hash_name(t, dir, name, len);

    if (len > EROFS_NAME_MAX)
        return EROFS_NONE;
    for (uint32_t i = *bucket(t, hash); i != EROFS_NONE;) {
        const struct erofs_node *n = erofs_tree_node(t, i);

        if (n->tag == (uint16_t)hash && n->parent == dir) {
            const char *p = pool_at(t, n->name);

            if ((unsigned char)*p == len && memcmp(p + 1, name, len) == 0)
                return i;
        }
        i = n->next;
    }
    return EROFS_NONE;
}

static void rehash(struct erofs_tree *t, uint32_t count)
{
    free(t->buckets);
    t->buckets = xreallocarray(NULL, count, sizeof *t->buckets);
    memset(t->buckets, 0xff, count * sizeof *t->buckets);
    t->bucket_mask = count - 1;
    for (uint32_t i = 1; i < t->node_count; i++) {
        struct erofs_node *n = erofs_tree_node(t, i);
        size_t len;
        const char *name = erofs_tree_name(t, n, &len);
        uint32_t *b = bucket(t, hash_name(t, n->parent, name, len));

        if (n->flags & EROFS_NODE_DEAD)
            continue;
        n->next = *b;
        *b = i;
    }
}

/* --- Nodes ------------------------------------------------------------------------------------ */

static int new_node(struct erofs_tree *t, const struct erofs_node *n, uint32_t *ret)
{
    int r;

    if (t->node_count == EROFS_NONE - 1)
        return -EFBIG;
    r = pages_grow(t, &t->nodes, t->node_count);
    if (r < 0)
        return r;
    *erofs_tree_node(t, t->node_count) = *n;
    *ret = t->node_count++;
    return 0;
}

int erofs_tree_add(struct erofs_tree *t, uint32_t dir, const char *name, size_t len,
                   const char *target, uint32_t *ret)
{
    uint64_t hash = hash_name(t, dir, name, len);
    struct erofs_node n = {.parent = dir, .tag = (uint16_t)hash};
    uint32_t *b;
    int r;

    if (t->node_count > t->bucket_mask) {
        uint32_t count = 2 * (t->bucket_mask + 1);

        r = erofs_tree_charge(t, count / 2 * sizeof *t->buckets);
        if (r < 0)
            return r;
        rehash(t, count);
    }
    b = bucket(t, hash);
    n.next = *b;
    r = pool_put(t, name, len, target, &n.name);
    if (r == 0)
        r = new_node(t, &n, ret);
    if (r == 0)
        *b = *ret;
    return r;
}

int erofs_tree_set_target(struct erofs_tree *t, uint32_t node, const char *target)
{
    struct erofs_node *n = erofs_tree_node(t, node);
    size_t len;
    const char *name = erofs_tree_name(t, n, &len); /* pages never move */

    return pool_put(t, name, len, target, &n->name);
}

int erofs_tree_make_dir(struct erofs_tree *t, uint32_t node)
{
    int r = pages_grow(t, &t->dirs, t->dir_count);
    struct erofs_node *n;

    if (r < 0)
        return r;
    n = erofs_tree_node(t, node);
    n->type = EROFS_TYPE_DIR;
    n->flags = 0;
    n->value = t->dir_count;
    *erofs_tree_dir(t, t->dir_count++) = (struct erofs_dir){.mode = 0755, .node = node};
    return 0;
}

void erofs_tree_kill(struct erofs_tree *t, uint32_t node)
{
    struct erofs_node *n = erofs_tree_node(t, node);
    size_t len;
    const char *name = erofs_tree_name(t, n, &len);
    uint32_t *link = bucket(t, hash_name(t, n->parent, name, len));

    while (*link != node)
        link = &erofs_tree_node(t, *link)->next;
    *link = n->next;
    n->flags |= EROFS_NODE_DEAD;
}

bool erofs_tree_is_below(const struct erofs_tree *t, uint32_t node, uint32_t dir)
{
    while (node != dir && node != EROFS_ROOT)
        node = erofs_tree_node(t, node)->parent;
    return node == dir;
}

/* --- Paths ------------------------------------------------------------------------------------ */

/* A text that is still to be walked: symlinks put theirs on top. */
struct rest {
    const char *p;
    const char *end;
};

static int walk(const struct erofs_tree *t, uint32_t dir, struct rest first, unsigned *links,
                uint32_t *ret)
{
    struct rest stack[SYMLINKS_MAX + 2] = {first};
    size_t depth = 1;

    while (depth > 0) {
        struct rest *top = &stack[depth - 1];
        const char *name = top->p;
        const struct erofs_node *n;
        uint32_t child;
        size_t len = 0;

        while (name + len < top->end && name[len] != '/')
            len++;
        top->p = name + len + (name + len < top->end);
        if (top->p == top->end)
            depth--; /* the space of `top` may be used from here on */
        if (len == 0 || (len == 1 && name[0] == '.'))
            continue;
        if (len == 2 && name[0] == '.' && name[1] == '.') {
            dir = erofs_tree_node(t, dir)->parent;
            continue;
        }
        if (len > EROFS_NAME_MAX)
            return -ENAMETOOLONG;
        child = erofs_tree_find(t, dir, name, len);
        if (child == EROFS_NONE)
            return -ENOENT;
        n = erofs_tree_node(t, child);
        if (n->type == EROFS_TYPE_DIR) {
            dir = child;
        } else if (n->type == EROFS_TYPE_SYMLINK) {
            const char *target = erofs_tree_target(t, n);

            if (++*links > SYMLINKS_MAX)
                return -ELOOP;
            if (*target == '/')
                dir = EROFS_ROOT;
            stack[depth++] = (struct rest){target, target + strlen(target)};
        } else {
            return -ENOTDIR;
        }
    }
    *ret = dir;
    return 0;
}

int erofs_tree_step(const struct erofs_tree *t, uint32_t dir, const char *name, size_t len,
                    unsigned *links, uint32_t *ret)
{
    return walk(t, dir, (struct rest){name, name + len}, links, ret);
}

int erofs_tree_resolve(const struct erofs_tree *t, const char *path, uint32_t *ret)
{
    unsigned links = 0;

    return walk(t, EROFS_ROOT, (struct rest){path, path + strlen(path)}, &links, ret);
}

/* --- All of it -------------------------------------------------------------------------------- */

int erofs_tree_init(struct erofs_tree *t, size_t max)
{
    struct erofs_node root = {.parent = EROFS_ROOT, .next = EROFS_NONE};
    uint32_t node;
    int r;

    *t = (struct erofs_tree){
        .nodes = {.item = sizeof(struct erofs_node), .bits = NODE_BITS},
        .dirs = {.item = sizeof(struct erofs_dir), .bits = DIR_BITS},
        .pool = {.item = 1, .bits = POOL_BITS},
        .max = max,
    };
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != sizeof t->seed)
        t->seed = (uint64_t)(uintptr_t)t;
    rehash(t, BUCKETS_MIN);
    r = erofs_tree_charge(t, BUCKETS_MIN * sizeof *t->buckets);
    if (r == 0)
        r = pool_put(t, "", 0, NULL, &root.name);
    if (r == 0)
        r = new_node(t, &root, &node);
    if (r == 0)
        r = erofs_tree_make_dir(t, EROFS_ROOT);
    return r < 0 ? -ENOMEM : 0;
}

void erofs_tree_done(struct erofs_tree *t)
{
    for (uint32_t i = 0; i < t->dir_count; i++)
        free(erofs_tree_dir(t, i)->xattrs);
    pages_done(&t->nodes);
    pages_done(&t->dirs);
    pages_done(&t->pool);
    free(t->buckets);
}
