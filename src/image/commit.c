/* SPDX-License-Identifier: Apache-2.0 */
/* Writing an image's rows: nothing of it is visible before, all of it afterwards. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "oci/digest.h"

char *image_layer_name(const char *diff_id, enum image_layer_form form)
{
    return xasprintf("%s%s", digest_hex(diff_id), form == IMAGE_LAYER_EROFS ? ".erofs" : "");
}

int image_store_layer_form(struct image_store *s, const char *diff_id, enum image_layer_form *ret)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOFREE char *name = NULL;
    enum image_layer_form form;

    if (store_query(s->db, &rows, NULL, "SELECT form FROM layers WHERE diff_id = ?", "s", diff_id) <
            0 ||
        store_rows_next(&rows, NULL) != 1)
        return -ENOENT;
    form = STREQ(store_col_str(&rows, 0), "erofs") ? IMAGE_LAYER_EROFS : IMAGE_LAYER_FOLDER;
    name = image_layer_name(diff_id, form);
    if (faccessat(s->layers_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return -ENOENT;
    *ret = form;
    return 0;
}

bool image_store_has_layer(struct image_store *s, const char *diff_id)
{
    enum image_layer_form form;

    return image_store_layer_form(s, diff_id, &form) == 0;
}

int image_store_add_layer(struct image_store *s, const char *diff_id, const char *blob,
                          const char *media_type, uint64_t blob_size, uint64_t size,
                          enum image_layer_form form, struct error *e)
{
    return store_exec(s->db, e,
                      "INSERT OR REPLACE INTO layers (diff_id, blob, media_type, blob_size, size, "
                      "boot, form) VALUES (?, ?, ?, ?, ?, ?, ?)",
                      "sssiiss", diff_id, blob, media_type, (int64_t)blob_size, (int64_t)size,
                      s->boot_id, form == IMAGE_LAYER_EROFS ? "erofs" : "folder");
}

uint64_t image_store_layer_size(struct image_store *s, const char *diff_id)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    if (store_query(s->db, &rows, NULL, "SELECT size FROM layers WHERE diff_id = ?", "s", diff_id) <
            0 ||
        store_rows_next(&rows, NULL) != 1)
        return 0;
    return (uint64_t)store_col_int(&rows, 0);
}

/* The configuration as it lies on disk, checked against what the worker says of it. */
static int check_config(struct image_store *s, const struct image_commit *c, int64_t *ret_created,
                        struct error *e)
{
    CLEANUP(oci_image_done) struct oci_image doc = {0};
    AUTOFREE char *path = image_blob_path(c->config), *text = NULL;
    size_t len = 0;

    int r = fs_read_file(s->blobs_fd, path, OCI_CONFIG_MAX, &text, &len);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the configuration of image %s", c->config);
    r = oci_image_parse(text, len, &doc, e);
    if (r < 0)
        return r;
    if (!strv_equal(doc.rootfs.diff_ids, c->layers))
        return error_set(e, ERR_INTERNAL, "the image worker contradicts the image's configuration");
    for (size_t i = 0; c->layers && c->layers[i]; i++)
        if (!image_store_has_layer(s, c->layers[i]))
            return error_set(e, ERR_INTERNAL, "layer %s of the image is missing", c->layers[i]);
    *ret_created = doc.created;
    return 0;
}

static int write_names(struct image_store *s, const struct image_commit *c, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && c->names && c->names[i]; i++)
        r = store_exec(s->db, e,
                       "INSERT OR REPLACE INTO image_names (name, image_id) VALUES (?, ?)", "ss",
                       c->names[i], c->config);
    if (r >= 0 && c->digest_name && c->top)
        r = store_exec(s->db, e,
                       "INSERT OR REPLACE INTO image_digests (name, digest, image_id) "
                       "VALUES (?, ?, ?)",
                       "sss", c->digest_name, c->top, c->config);
    return r;
}

/* Which documents the image has, and who has its blobs. */
static int write_blobs(struct image_store *s, const struct image_commit *c, struct error *e)
{
    bool has_index = c->top && c->manifest && !STREQ(c->top, c->manifest);
    const struct {
        const char *digest, *role;
    } blobs[] = {{c->config, "config"},
                 {c->manifest, "manifest"},
                 {has_index ? c->top : NULL, "index"}};
    int r = 0;

    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(blobs); i++)
        if (blobs[i].digest)
            r = store_exec(s->db, e,
                           "INSERT INTO image_blobs (image_id, digest, role, seen, boot) "
                           "VALUES (?, ?, ?, ?, ?) ON CONFLICT (image_id, digest) DO UPDATE SET "
                           "role = excluded.role, seen = excluded.seen",
                           "sssis", c->config, blobs[i].digest, blobs[i].role, time_now_ns(),
                           s->boot_id);
    if (!c->digest_name)
        return r;
    for (size_t i = 0; r >= 0 && c->blobs && c->blobs[i]; i++)
        r = image_blob_add_source(s, c->blobs[i], c->digest_name, e);
    return r < 0 ? r : image_blob_add_source(s, c->config, c->digest_name, e);
}

static int write_rows(struct image_store *s, const struct image_commit *c, int64_t created,
                      bool *ret_is_new, struct error *e)
{
    uint64_t size = 0;
    int r;

    for (size_t i = 0; c->layers && c->layers[i]; i++)
        size += image_store_layer_size(s, c->layers[i]);
    r = store_exec(
        s->db, e,
        "INSERT OR IGNORE INTO images (id, size, created, tagged, removed, boot, parent) "
        "VALUES (?, ?, ?, ?, 0, ?, coalesce((SELECT id FROM images WHERE id = ? AND "
        "removed = 0), ''))",
        "siiiss", c->config, (int64_t)size, created, time_now_ns(), s->boot_id, c->parent);
    if (r < 0)
        return r;
    *ret_is_new = r > 0;
    if (r == 0)
        r = store_exec(s->db, e, "UPDATE images SET tagged = ?, removed = 0 WHERE id = ?", "is",
                       time_now_ns(), c->config);
    for (size_t i = 0; r >= 0 && c->layers && c->layers[i]; i++)
        r = store_exec(s->db, e,
                       "INSERT OR REPLACE INTO image_layers (image_id, position, diff_id) "
                       "VALUES (?, ?, ?)",
                       "sis", c->config, (int64_t)i, c->layers[i]);
    if (r >= 0)
        r = write_names(s, c, e);
    return r < 0 ? r : write_blobs(s, c, e);
}

int image_store_commit(struct image_store *s, const struct image_commit *c, bool *ret_is_new,
                       struct error *e)
{
    int64_t created = 0;
    int r = store_begin(s->db, e);

    if (r < 0)
        return r;
    r = check_config(s, c, &created, e);
    if (r >= 0)
        r = write_rows(s, c, created, ret_is_new, e);
    if (r < 0) {
        store_rollback(s->db);
        return r;
    }
    r = store_commit(s->db, e);
    image_store_changed(s, NULL);
    image_store_wake_janitor(s);
    return r;
}
