/* SPDX-License-Identifier: Apache-2.0 */
/* What refers to an image at its registry, asked through the worker; nothing of it is stored. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/op-priv.h"
#include "oci/digest.h"
#include "oci/reference.h"

struct answer {
    char *digest, *text;
    size_t len;
};

static int on_message(struct image_op *op, struct worker_msg *m)
{
    struct answer *a = op->params->ext_data;
    struct op_file *f = STREQ(m->type, "referrers") ? op_file_find(op, m->file) : NULL;

    if (!STREQ(m->type, "referrers"))
        return 0;
    if (!f || !f->name || !digest_is_valid(m->digest) || a->text)
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: referrers");
    int r = fs_read_file(op->store->tmp_fd, f->name, OCI_MANIFEST_MAX + 4096, &a->text, &a->len);
    if (r < 0)
        return error_set_errno(op->e, r, "cannot read the list of referrers");
    a->digest = take_ptr(m->digest);
    return 1;
}

static void no_cleanup(struct image_op *op) {}

static const struct image_op_ext referrers_ext = {.message = on_message, .cleanup = no_cleanup};

/* A descriptor that is none is left out: it names nothing that could be fetched. */
static void print_one(struct jsonw *w, const struct json_value *v)
{
    AUTO(buf) struct buf text = BUF_INIT(OCI_MANIFEST_MAX);

    if (!digest_is_valid(json_value_str(json_value_get(v, "digest"))))
        return;
    json_value_print(v, false, &text);
    jsonw_raw(w, NULL, buf_str(&text));
}

int image_referrers(struct image_store *s, const struct image_referrers_params *p, struct buf *ret,
                    struct error *e)
{
    static const struct image_auth none = {0};
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    CLEANUP(oci_platform_done) struct oci_platform platform = {0};
    AUTOPTR(json_value) struct json_value *index = NULL;
    struct answer a = {0};
    struct jsonw w = {.out = ret};

    int r = oci_reference_parse(p->reference, &ref, e);
    if (r >= 0 && !str_is_empty(p->platform))
        r = oci_platform_parse(p->platform, &platform, e);
    if (r < 0)
        return r;
    oci_reference_default_tag(&ref);
    AUTOFREE char *familiar = oci_reference_familiar(&ref), *name = oci_reference_name(&ref);
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"referrers",
                               .reference = familiar,
                               .tag = ref.digest ? NULL : ref.tag,
                               .digest = ref.digest,
                               .platform = (char *)p->platform,
                               .media_type = (char *)p->artifact_type};
    image_op_start_registry(s, &ref, p->auth ? p->auth : &none, &start);
    const struct image_op_params op = {.start = &start,
                                       .input_fd = -EBADF,
                                       .cancel_fd = p->cancel_fd,
                                       .ext = &referrers_ext,
                                       .ext_data = &a,
                                       .auth = p->auth};
    r = image_op_run(s, &op, &results, e);
    if (r >= 0 && !a.text)
        r = error_set(e, ERR_INTERNAL, "the image worker found nothing");
    if (r >= 0)
        r = json_value_parse(a.text, a.len, &index, e);
    if (r >= 0) {
        const struct json_value *list = json_value_get(index, "manifests");
        jsonw_begin(&w, NULL);
        AUTOFREE char *subject = xasprintf("%s@%s", name, a.digest);
        jsonw_str(&w, "Reference", subject);
        jsonw_str(&w, "Digest", a.digest);
        jsonw_list_begin(&w, "Referrers");
        for (size_t i = 0; i < json_value_len(list); i++)
            print_one(&w, json_value_at(list, i));
        jsonw_list_end(&w);
        jsonw_end(&w);
        (void)buf_putc(ret, '\n');
    }
    free(a.digest);
    free(a.text);
    return r < 0 ? r : 0;
}
