/* SPDX-License-Identifier: Apache-2.0 */
/* Tagging and removing, by Docker's rules for what may go and what is in the way. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sha256.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define REMOVE_TRIES 100 /* each time somebody else took the name just then */

int image_tag(struct image_store *s, const char *source, const char *repo, const char *tag,
              struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    AUTOFREE char *id = NULL, *name = NULL;

    int r = oci_reference_parse(repo, &ref, e);
    if (r < 0)
        return r;
    if (ref.digest)
        return error_set(e, ERR_INVALID, "refusing to create a tag with a digest reference");
    if (STREQ(ref.path, "library/sha256") || STREQ(ref.path, "library/sha512"))
        return error_set(e, ERR_INVALID,
                         "refusing to create an ambiguous tag using digest algorithm as name");
    if (!str_is_empty(tag)) {
        if (!oci_tag_is_valid(tag))
            return error_set(e, ERR_INVALID, "invalid tag format: \"%.150s\"", tag);
        str_replace(&ref.tag, tag);
    }
    oci_reference_default_tag(&ref);
    r = image_store_find(s, source, &id, &name, e);
    if (r < 0)
        return r;
    AUTOFREE char *full = oci_reference_string(&ref);
    if ((r = store_begin(s->db, e)) < 0)
        return r;
    r = store_exec(s->db, e, "UPDATE images SET tagged = ? WHERE id = ? AND removed = 0", "is",
                   time_now_ns(), id);
    if (r == 0)
        r = error_set(e, ERR_NOT_FOUND, "No such image: %s", source); /* removed just now */
    if (r > 0)
        r = store_exec(s->db, e,
                       "INSERT OR REPLACE INTO image_names (name, image_id) VALUES (?, ?)", "ss",
                       full, id);
    if (r < 0)
        store_rollback(s->db);
    else
        r = store_commit(s->db, e);
    image_store_changed(s, NULL);
    return r < 0 ? r : 0;
}

/* --- Removing ------------------------------------------------------------------------------------ */

static const struct json_field item_fields[] = {
    JSON_FIELD(struct image_removed_item, untagged, "Untagged", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_removed_item, deleted, "Deleted", JSON_STR, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc image_removed_item_json = {"removed", sizeof(struct image_removed_item),
                                                  item_fields};

void image_removed_done(struct image_removed *r)
{
    struct image_removed_item *items = r->items.items;

    for (size_t i = 0; i < r->items.len; i++)
        json_free(&image_removed_item_json, &items[i]);
    free(items);
    memset(r, 0, sizeof(*r));
}

/* One name of an image, taken apart. */
struct name {
    char *base;     /* docker.io/library/busybox */
    char *full;     /* with tag */
    char *digest;   /* NULL: a tag */
    char *familiar; /* as shown */
};
struct names {
    struct name *items;
    size_t len;
};

static void names_done(struct names *n)
{
    for (size_t i = 0; i < n->len; i++) {
        free(n->items[i].base);
        free(n->items[i].full);
        free(n->items[i].digest);
        free(n->items[i].familiar);
    }
    free(n->items);
    memset(n, 0, sizeof(*n));
}

static int load_names(struct image_store *s, const char *id, struct names *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT name, NULL FROM image_names WHERE image_id = ? UNION ALL "
                        "SELECT name, digest FROM image_digests WHERE image_id = ?",
                        "ss", id, id);

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        struct oci_reference ref = {0};
        if (oci_reference_parse(store_col_str(&rows, 0), &ref, NULL) < 0)
            continue;
        str_replace(&ref.digest, store_col_str(&rows, 1));
        ret->items = xreallocarray(ret->items, ret->len + 1, sizeof(*ret->items));
        ret->items[ret->len++] = (struct name){.base = oci_reference_name(&ref),
                                               .full = xstrdup(store_col_str(&rows, 0)),
                                               .digest = xstrdup_or_null(ref.digest),
                                               .familiar = oci_reference_familiar(&ref)};
        oci_reference_done(&ref);
    }
    return r;
}

/* At most one tag, and all names in one repository. */
static bool is_single(const struct names *n)
{
    size_t tags = 0;

    for (size_t i = 0; i < n->len; i++) {
        tags += n->items[i].digest == NULL;
        if (!STREQ(n->items[i].base, n->items[0].base))
            return false;
    }
    return tags <= 1;
}

static int drop_name(struct image_store *s, const char *id, const struct name *n,
                     struct image_removed *ret, struct error *e)
{
    int r;

    if (n->digest)
        r = store_exec(s->db, e,
                       "DELETE FROM image_digests WHERE name = ? AND digest = ? AND image_id = ?",
                       "sss", n->base, n->digest, id);
    else
        r = store_exec(s->db, e, "DELETE FROM image_names WHERE name = ? AND image_id = ?", "ss",
                       n->full, id);
    if (r <= 0)
        return r;
    struct image_removed_item *item = json_list_add(&ret->items, sizeof(*item));
    item->untagged = xstrdup(n->familiar);
    return 0;
}

static int conflict(const char *id, bool hard, const char *why, const char *container,
                    struct error *e)
{
    return error_set(e, ERR_CONFLICT, "conflict: unable to delete %.12s (%s) - %s%s%.12s",
                     digest_hex(id), hard ? "cannot be forced" : "must be forced", why,
                     *container ? " " : "", container);
}

int image_store_children(struct image_store *s, const char *id, char ***ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e, "SELECT id FROM images WHERE parent = ? AND removed = 0",
                        "s", id);

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        strv_push(ret, store_col_str(&rows, 0));
    return r;
}

/* 1, 0, <0. */
static int has_children(struct image_store *s, const char *id, struct error *e)
{
    AUTOPTR(strv) char **children = NULL;
    int r = image_store_children(s, id, &children, e);

    return r < 0 ? r : children != NULL;
}

/* The image's layers by Docker's chain ids (each layer's digest with all that lie below it), bottom
 * first, and by diff ids. */
static int load_chain(struct image_store *s, const char *id, char ***ret_diff_ids,
                      char ***ret_chain, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOFREE char *below = NULL;
    int r = store_query(s->db, &rows, e,
                        "SELECT diff_id FROM image_layers WHERE image_id = ? ORDER BY position",
                        "s", id);

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0) {
        const char *diff_id = store_col_str(&rows, 0);
        AUTOFREE char *both = below ? xasprintf("%s %s", below, diff_id) : NULL;
        char hex[65];

        if (both)
            sha256_hex(both, strlen(both), hex);
        free(below);
        below = both ? xasprintf("sha256:%s", hex) : xstrdup(diff_id);
        strv_push(ret_diff_ids, diff_id);
        strv_push(ret_chain, below);
    }
    return r;
}

/* As Docker tells it: the image, and each layer that went with it, the topmost first. */
static void tell_deleted(struct image_store *s, const char *id, char *const *diff_ids,
                         char *const *chain, struct image_removed *ret)
{
    struct image_removed_item *item = json_list_add(&ret->items, sizeof(*item));

    item->deleted = xstrdup(id);
    for (size_t i = strv_len(chain); i-- > 0;) {
        if (image_store_has_layer(s, diff_ids[i]))
            continue; /* another image has it */
        item = json_list_add(&ret->items, sizeof(*item));
        item->deleted = xstrdup(chain[i]);
        item->layer = true;
    }
}

/* --- One removal -------------------------------------------------------------------------------- */

/* All of its rows change in one transaction: what is refused has changed nothing. */
struct removal {
    struct image_store *s;
    const char *id;
    const char *name; /* the full reference that goes; NULL: all names */
    const char *shown;
    bool force;
    bool parent;       /* nobody asked for it: it stays when anything speaks for it, a name too */
    bool unused;       /* prune: not with a tag that is none of these */
    char *const *tags; /* … NULL: none */
    struct image_removed *ret;
    char **diff_ids, **chain; /* it goes, or is out of sight as long as it is used: its layers */
    struct image_dropped dropped;
};

static void removal_done(struct removal *x)
{
    strv_free(x->diff_ids);
    strv_free(x->chain);
    image_dropped_done(&x->dropped);
}

/* The name and, with a repository's last tag, the digests it was pulled by. 1: it was the last, 0. */
static int drop_named(struct removal *x, const struct names *names, const struct name *target,
                      struct error *e)
{
    bool tags_left = false;
    size_t left = 0;

    for (size_t i = 0; i < names->len; i++)
        tags_left = tags_left || (&names->items[i] != target && !names->items[i].digest &&
                                  STREQ(names->items[i].base, target->base));
    int r = drop_name(x->s, x->id, target, x->ret, e);
    for (size_t i = 0; r >= 0 && i < names->len; i++) {
        const struct name *n = &names->items[i];
        if (n == target)
            continue;
        if (!target->digest && !tags_left && n->digest && STREQ(n->base, target->base))
            r = drop_name(x->s, x->id, n, x->ret, e);
        else
            left++;
    }
    return r < 0 ? r : left == 0;
}

static int drop_all(struct removal *x, const struct names *names, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && i < names->len; i++)
        r = drop_name(x->s, x->id, &names->items[i], x->ret, e);
    return r < 0 ? r : 1;
}

/* By name: 1 the image is nameless now, 0 it has others; -ESTALE: the name is no longer its. */
static int untag(struct removal *x, const struct names *names, enum image_use use,
                 const char *container, struct error *e)
{
    const struct name *target = NULL;

    for (size_t i = 0; i < names->len; i++) {
        const struct name *n = &names->items[i];
        AUTOFREE char *full = n->digest ? xasprintf("%s@%s", n->base, n->digest) : xstrdup(n->full);
        if (STREQ(full, x->name))
            target = n;
    }
    if (!target)
        return -ESTALE;
    if (!x->force && is_single(names) && use != IMAGE_UNUSED)
        return error_set(e, ERR_CONFLICT,
                         "conflict: unable to remove repository reference \"%s\" (must force) - "
                         "container %.12s is using its referenced image %.12s",
                         x->shown, container, digest_hex(x->id));
    return drop_named(x, names, target, e);
}

/* By id: 1 it may go, with all its names; else why not. */
static int check_by_id(const struct removal *x, const struct names *names, bool children,
                       enum image_use use, const char *container, struct error *e)
{
    if (children)
        return conflict(x->id, true, "image has dependent child images", "", e);
    if (use == IMAGE_USED_RUNNING)
        return conflict(x->id, true, "image is being used by running container", container, e);
    if (use == IMAGE_USED_STOPPED && !x->force)
        return conflict(x->id, false, "image is being used by stopped container", container, e);
    if (!x->force && !is_single(names))
        return conflict(x->id, false, "image is referenced in multiple repositories", "", e);
    return 1;
}

/* Prune, parents: likewise. */
static int check_unused(const struct removal *x, const struct names *names, bool children,
                        enum image_use use, const char *container, struct error *e)
{
    if (use != IMAGE_UNUSED)
        return conflict(x->id, false, "image is being used by container", container, e);
    if (x->parent && (children || names->len > 0))
        return conflict(x->id, false, "it is needed", "", e);
    for (size_t i = 0; i < names->len; i++)
        if (!names->items[i].digest && !strv_contains(x->tags, names->items[i].familiar))
            return conflict(x->id, false, "image got a name meanwhile", "", e);
    return 1;
}

/* It has no names any more: for good, or out of sight while a container or a caller still has it. */
static int take_away(struct removal *x, enum image_use use, struct error *e)
{
    int r = load_chain(x->s, x->id, &x->diff_ids, &x->chain, e);

    if (r < 0)
        return r;
    if (use == IMAGE_UNUSED && !image_store_is_held(x->s, x->id, true))
        return image_store_drop_rows(x->s, x->id, &x->dropped, e);
    r = store_exec(x->s->db, e, "UPDATE images SET removed = 1 WHERE id = ?", "s", x->id);
    return r < 0 ? r : 0;
}

/* In a transaction. 1: the image goes, 0: only names, -ESTALE: it is not what was found. */
static int remove_rows(struct removal *x, struct error *e)
{
    CLEANUP(names_done) struct names names = {0};
    char container[65];
    enum image_use use = image_store_use(x->s, x->id, container);
    int children = has_children(x->s, x->id, e);
    int r = children < 0 ? children : load_names(x->s, x->id, &names, e);

    if (r < 0)
        return r;
    if (image_check_there(x->s, x->id, "", NULL) < 0)
        return -ESTALE;
    if (x->name)
        r = untag(x, &names, use, container, e);
    else if (x->unused || x->parent)
        r = check_unused(x, &names, children > 0, use, container, e);
    else
        r = check_by_id(x, &names, children > 0, use, container, e);
    if (r > 0 && !x->name)
        r = drop_all(x, &names, e);
    /* Nameless now; it stays while it is used. */
    if (r > 0 &&
        (children > 0 || use == IMAGE_USED_RUNNING || (use == IMAGE_USED_STOPPED && !x->force)))
        r = 0;
    if (r > 0) {
        r = take_away(x, use, e);
        r = r < 0 ? r : 1;
    }
    return r;
}

/* The whole of it: 1, 0, <0 as remove_rows(); then x->ret is empty. */
static int remove_it(struct removal *x, struct error *e)
{
    struct image_store *s = x->s;

    store_make_room(s->db);
    int r = store_begin(s->db, e);
    if (r < 0)
        return r;
    int went = remove_rows(x, e);
    if (went < 0)
        store_rollback(s->db);
    else
        r = store_commit(s->db, e);
    image_store_changed(s, x->id);
    if (went < 0 || r < 0) {
        image_removed_done(x->ret);
        return went < 0 ? went : r;
    }
    if (went > 0 && x->dropped.blobs &&
        (r = image_store_drop_files(s, x->id, &x->dropped, e)) < 0) {
        image_removed_done(x->ret);
        return r;
    }
    if (went > 0)
        tell_deleted(s, x->id, x->diff_ids, x->chain, x->ret);
    return went;
}

/* "" when it was made of none, or is not there. */
static char *parent_of(struct image_store *s, const char *id)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    if (store_query(s->db, &rows, NULL, "SELECT parent FROM images WHERE id = ?", "s", id) < 0 ||
        store_rows_next(&rows, NULL) != 1)
        return xstrdup("");
    return xstrdup(store_col_str(&rows, 0));
}

static void add_removed(struct image_removed *to, struct image_removed *from)
{
    struct image_removed_item *items = from->items.items;

    for (size_t i = 0; i < from->items.len; i++) {
        struct image_removed_item *item = json_list_add(&to->items, sizeof(*item));
        *item = items[i];
    }
    free(items);
    *from = (struct image_removed){0};
}

/* Nameless images that were kept for the one that went; never one that anybody needs. */
static void remove_parents(struct image_store *s, const char *first, struct image_removed *ret)
{
    AUTOFREE char *id = xstrdup(first);

    while (*id) {
        struct image_removed removed = {0};
        CLEANUP(removal_done)
        struct removal x = {.s = s, .id = id, .parent = true, .ret = &removed};
        AUTOFREE char *next = parent_of(s, id);

        if (image_is_protected(s, id) || remove_it(&x, NULL) <= 0)
            return;
        add_removed(ret, &removed);
        removal_done(&x);
        x = (struct removal){0};
        free(id);
        id = take_ptr(next);
    }
}

int image_remove(struct image_store *s, const char *name_or_id, bool force, bool prune,
                 struct image_removed *ret, struct error *e)
{
    for (int tries = 0;; tries++) {
        struct image_removed removed = {0};
        AUTOFREE char *id = NULL, *name = NULL;
        int r = image_store_find(s, name_or_id, &id, &name, e);

        if (r < 0)
            return r;
        AUTOFREE char *parent = parent_of(s, id);
        CLEANUP(removal_done)
        struct removal x = {
            .s = s, .id = id, .name = name, .shown = name_or_id, .force = force, .ret = &removed};
        r = remove_it(&x, e);
        /* The name is another image's by now, or nobody's: looked for again, and told as missing. */
        if (r == -ESTALE && tries < REMOVE_TRIES)
            continue;
        if (r == -ESTALE)
            r = error_set(e, ERR_CONFLICT, "image %s comes and goes", name_or_id);
        if (r < 0)
            return r;
        if (r > 0 && prune)
            remove_parents(s, parent, &removed);
        *ret = removed;
        return 0;
    }
}

int image_remove_unused(struct image_store *s, const char *id, char *const *tags,
                        struct image_removed *ret, struct error *e)
{
    struct image_removed removed = {0};
    AUTOFREE char *parent = parent_of(s, id);
    CLEANUP(removal_done)
    struct removal x = {.s = s, .id = id, .unused = true, .tags = tags, .ret = &removed};
    int r = remove_it(&x, e);

    if (r == -ESTALE)
        r = error_set(e, ERR_NOT_FOUND, "No such image: %s", id);
    if (r < 0)
        return r;
    if (r > 0)
        remove_parents(s, parent, &removed);
    *ret = removed;
    return 0;
}
