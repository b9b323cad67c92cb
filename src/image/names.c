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

/* Takes the image away: for good, or out of sight while a container or a caller still uses it. 1: it
 * went, 0: it stays all the same. */
static int remove_image(struct image_store *s, const char *id, bool force, bool untagged,
                        struct image_removed *ret, struct error *e)
{
    CLEANUP(names_done) struct names names = {0};
    AUTOPTR(strv) char **diff_ids = NULL;
    AUTOPTR(strv) char **chain = NULL;
    char container[65] = "";
    enum image_use use = s->in_use ? s->in_use(s->in_use_data, id, container) : IMAGE_UNUSED;
    int r = has_children(s, id, e);

    if (r < 0 || (r > 0 && untagged))
        return r < 0 ? r : 0;
    if (r > 0)
        return conflict(id, true, "image has dependent child images", "", e);
    if (use == IMAGE_USED_RUNNING || (use == IMAGE_USED_STOPPED && !force)) {
        if (untagged)
            return 0; /* the name is gone, the image stays while it is used */
        return use == IMAGE_USED_RUNNING
                   ? conflict(id, true, "image is being used by running container", container, e)
                   : conflict(id, false, "image is being used by stopped container", container, e);
    }
    if ((r = load_names(s, id, &names, e)) < 0)
        return r;
    if (names.len > 0 && !force)
        return conflict(id, false, "image is referenced in multiple repositories", "", e);
    for (size_t i = 0; r >= 0 && i < names.len; i++)
        r = drop_name(s, id, &names.items[i], ret, e);
    if (r < 0)
        return r;
    if ((r = load_chain(s, id, &diff_ids, &chain, e)) < 0)
        return r;
    r = store_exec(s->db, e,
                   "UPDATE images SET removed = 1 WHERE id = ? AND NOT EXISTS "
                   "(SELECT 1 FROM image_names WHERE image_id = images.id) AND NOT EXISTS "
                   "(SELECT 1 FROM images child WHERE child.parent = images.id AND "
                   "child.removed = 0)",
                   "s", id);
    if (r <= 0)
        return r; /* 0: somebody has just given it a name, or made an image of it: it stays */
    image_store_changed(s, id);
    if (use == IMAGE_UNUSED && !image_store_is_held(s, id, true) &&
        (r = image_store_delete_removed(s, id, e)) <= 0)
        return r; /* 0: a pull has just brought it back */
    tell_deleted(s, id, diff_ids, chain, ret);
    return 1;
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

/* Nameless images that were kept for the one that went; never one that anybody needs. */
static void remove_parents(struct image_store *s, const char *first, struct image_removed *ret)
{
    AUTOFREE char *id = xstrdup(first);

    while (*id) {
        char *next = parent_of(s, id);
        bool gone = !image_is_protected(s, id) && remove_image(s, id, false, true, ret, NULL) > 0;

        free(id);
        id = next;
        if (!gone)
            return;
    }
}

/* By name. *ret_done: other names keep the image. */
static int untag(struct image_store *s, const char *id, const char *name, const char *shown,
                 bool force, struct image_removed *ret, bool *ret_done, struct error *e)
{
    CLEANUP(names_done) struct names names = {0};
    const struct name *target = NULL;
    char container[65] = "";
    bool tags_left = false;
    size_t left = 0;
    int r = load_names(s, id, &names, e);

    if (r < 0)
        return r;
    if (!force && is_single(&names) && s->in_use &&
        s->in_use(s->in_use_data, id, container) != IMAGE_UNUSED)
        return error_set(e, ERR_CONFLICT,
                         "conflict: unable to remove repository reference \"%s\" (must force) - "
                         "container %.12s is using its referenced image %.12s",
                         shown, container, digest_hex(id));
    for (size_t i = 0; i < names.len; i++) {
        const struct name *n = &names.items[i];
        AUTOFREE char *full = n->digest ? xasprintf("%s@%s", n->base, n->digest) : xstrdup(n->full);
        if (STREQ(full, name))
            target = n;
    }
    if (!target)
        return error_set(e, ERR_NOT_FOUND, "No such image: %s", shown);
    for (size_t i = 0; i < names.len; i++)
        tags_left = tags_left || (&names.items[i] != target && !names.items[i].digest &&
                                  STREQ(names.items[i].base, target->base));
    r = drop_name(s, id, target, ret, e);
    /* With a repository's last tag go the digests it was pulled by. */
    for (size_t i = 0; r >= 0 && i < names.len; i++) {
        const struct name *n = &names.items[i];
        if (n == target)
            continue;
        if (!target->digest && !tags_left && n->digest && STREQ(n->base, target->base))
            r = drop_name(s, id, n, ret, e);
        else
            left++;
    }
    *ret_done = left > 0;
    return r;
}

int image_remove(struct image_store *s, const char *name_or_id, bool force, bool prune,
                 struct image_removed *ret, struct error *e)
{
    struct image_removed removed = {0};
    AUTOFREE char *id = NULL, *name = NULL;
    bool done = false, by_name;

    store_make_room(s->db);
    int r = image_store_find(s, name_or_id, &id, &name, e);

    if (r < 0)
        return r;
    by_name = name != NULL;
    AUTOFREE char *parent = parent_of(s, id);
    if (by_name) {
        r = untag(s, id, name, name_or_id, force, &removed, &done, e);
        image_store_changed(s, id);
    } else {
        CLEANUP(names_done) struct names names = {0};
        char container[65] = "";
        enum image_use use = s->in_use ? s->in_use(s->in_use_data, id, container) : IMAGE_UNUSED;
        r = has_children(s, id, e);
        bool children = r > 0; /* then it is refused below, with all its names */
        if (r >= 0)
            r = load_names(s, id, &names, e);
        if (r >= 0 && !children && use == IMAGE_UNUSED && is_single(&names))
            for (size_t i = 0; r >= 0 && i < names.len; i++)
                r = drop_name(s, id, &names.items[i], &removed, e);
    }
    if (r >= 0 && !done)
        r = remove_image(s, id, force, by_name, &removed, e);
    if (r > 0 && !done && prune)
        remove_parents(s, parent, &removed);
    if (r < 0) {
        image_removed_done(&removed);
        return r;
    }
    *ret = removed;
    return 0;
}
