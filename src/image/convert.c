/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers in another form: an image that was pulled with one rootfs driver and must be used with the
 * other. Each layer is made again out of its archive by the worker, digests compared, and takes the
 * place of the old one when it is whole; what is killed half-way leaves the old one.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/image-priv.h"
#include "image/worker-protocol.h"
#include "oci/digest.h"

struct row {
    char *blob, *media_type;
};

static void row_done(struct row *r)
{
    free(r->blob);
    free(r->media_type);
}

static int find_row(struct image_store *s, const char *diff_id, struct row *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e, "SELECT blob, media_type FROM layers WHERE diff_id = ?",
                        "s", diff_id);

    if (r >= 0)
        r = store_rows_next(&rows, e);
    if (r < 0)
        return r;
    if (r == 0 || !store_col_str(&rows, 0))
        return error_set(e, ERR_NOT_FOUND, "the archive of layer %s is not known: pull the image",
                         diff_id);
    ret->blob = xstrdup(store_col_str(&rows, 0));
    ret->media_type = xstrdup_or_null(store_col_str(&rows, 1));
    return 0;
}

static int convert_layer(struct image_store *s, const char *diff_id, struct error *e)
{
    CLEANUP(row_done) struct row row = {0};
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFD int fd = -EBADF;
    uint64_t size = 0;
    int r = find_row(s, diff_id, &row, e);

    if (r == 0)
        r = image_blob_open(s, NULL, row.blob, &fd, &size, e);
    if (r < 0)
        return r;
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"check",
                               .digest = row.blob,
                               .diff_id = (char *)diff_id,
                               .media_type = row.media_type,
                               .size = size,
                               .parallel = 1};
    const struct image_op_params op = {.start = &start,
                                       .input_fd = fd,
                                       .cancel_fd = -EBADF,
                                       .until_close = true,
                                       .quiet = true,
                                       .convert = true};
    return image_op_run(s, &op, &results, e);
}

int image_convert(struct image_store *s, const char *id, struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    int r = image_get(s, id, &img, e);

    for (size_t i = 0; r >= 0 && img->doc.rootfs.diff_ids && img->doc.rootfs.diff_ids[i]; i++) {
        const char *diff_id = img->doc.rootfs.diff_ids[i];
        enum image_layer_form form;

        if (image_store_layer_form(s, diff_id, &form) == 0 && form == s->layer_form)
            continue;
        r = convert_layer(s, diff_id, e);
        if (r < 0)
            error_add(e, "convert layer %.19s of image %s for the storage driver in use", diff_id,
                      id);
    }
    return r < 0 ? r : 0;
}
