/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new image made of another one and one more layer (commit), or of its configuration alone. The
 * layer's archive goes the way of every layer: through the worker, which hashes and checks it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image-priv.h"
#include "image/worker-protocol.h"
#include "oci/reference.h"

/* The new image's document; `mark` stands where the worker puts the new layer's diff id. */
static int make_config(const struct image *parent, const struct image_derive_params *p,
                       const char *mark, struct buf *out, struct error *e)
{
    CLEANUP(oci_image_done) struct oci_image doc = {0};
    int r = oci_image_parse(parent->config_json, strlen(parent->config_json), &doc, e);

    if (r < 0)
        return r;
    json_free(&oci_image_config_json, &doc.config);
    json_copy(&oci_image_config_json, &doc.config, p->config);
    doc.created = time_now_ns();
    str_replace(&doc.author, p->author);
    str_replace(&doc.comment, p->comment);
    if (str_is_empty(doc.os))
        str_replace(&doc.os, "linux");
    if (str_is_empty(doc.rootfs.type))
        str_replace(&doc.rootfs.type, "layers");
    if (mark)
        strv_push(&doc.rootfs.diff_ids, mark);
    if (strv_len(doc.rootfs.diff_ids) > OCI_LAYERS_MAX)
        return error_set(e, ERR_INVALID,
                         "image %.19s has %d layers already, which is the most an image may have: "
                         "export and import make one of them",
                         parent->id, OCI_LAYERS_MAX);
    struct oci_history *h = json_list_add(&doc.history, sizeof(*h));
    *h = (struct oci_history){.created = doc.created,
                              .author = xstrdup_or_null(p->author),
                              .created_by = xstrdup_or_null(p->created_by),
                              .comment = xstrdup_or_null(p->comment),
                              .empty_layer = mark == NULL};
    r = json_print(&oci_image_json, &doc, out);
    return r < 0 ? error_set(e, ERR_TOO_LARGE, "the new image's configuration is too large") : 0;
}

/* The configuration as a file for the worker: it may be larger than a message. */
static int config_file(const struct buf *config, int *ret_fd, struct error *e)
{
    AUTOFD int fd = memfd_create("pouch-config", MFD_CLOEXEC);

    if (fd < 0)
        return error_set_errno(e, errno, "cannot make a file in memory");
    int r = fs_write_all(fd, config->data, config->len);
    if (r >= 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r < 0)
        return error_set_errno(e, r, "cannot write the new image's configuration");
    *ret_fd = take_fd(fd);
    return 0;
}

int image_new_name(const char *repo, const char *tag, char **ret, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    int r;

    *ret = NULL;
    if (str_is_empty(repo))
        return 0;
    r = oci_reference_parse(repo, &ref, e);
    if (r >= 0 && ref.digest)
        r = error_set(e, ERR_INVALID, "a new image cannot be named by digest: %.150s", repo);
    if (r >= 0 && !str_is_empty(tag)) {
        if (!oci_tag_is_valid(tag))
            r = error_set(e, ERR_INVALID, "invalid tag format: \"%.150s\"", tag);
        else
            str_replace(&ref.tag, tag);
    }
    if (r < 0)
        return r;
    oci_reference_default_tag(&ref);
    *ret = oci_reference_string(&ref);
    return 0;
}

int image_derive(struct image_store *s, const struct image_derive_params *p, char **ret_id,
                 struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTO(buf) struct buf config = BUF_INIT(OCI_CONFIG_MAX);
    AUTOFREE char *name = NULL;
    AUTOFD int config_fd = -EBADF;
    char hex[65], mark[80];
    int r = image_new_name(p->repo, p->tag, &name, e);

    random_hex(hex, 32);
    (void)snprintf(mark, sizeof(mark), "sha256:%s", hex);
    if (r >= 0)
        r = make_config(p->parent, p, p->layer_fd >= 0 ? mark : NULL, &config, e);
    if (r >= 0)
        r = config_file(&config, &config_fd, e);
    if (r < 0)
        return r;
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"commit",
                               .diff_id = p->layer_fd >= 0 ? mark : NULL,
                               .layers = p->parent->doc.rootfs.diff_ids,
                               .parallel = 1};
    const struct image_op_params op = {.start = &start,
                                       .input_fd = config_fd,
                                       .extra_fd = p->layer_fd,
                                       .cancel_fd = p->cancel_fd,
                                       .name = name,
                                       .parent = p->parent->id,
                                       .base_layers = p->parent->doc.rootfs.diff_ids,
                                       .may_commit = p->check,
                                       .may_commit_data = p->check_data,
                                       .quiet = true};
    r = image_op_run(s, &op, &results, e);
    if (r < 0)
        return r;
    const struct image_op_result *res = results.items.items;
    if (results.items.len != 1)
        return error_set(e, ERR_INTERNAL, "the image worker brought no image");
    *ret_id = xstrdup(res->id);
    return 0;
}
