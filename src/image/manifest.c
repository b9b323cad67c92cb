/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifest lists: made here, member by member, from manifests that are at a registry, and pushed
 * there as one. They live in the database with the members' own manifests, so that neither a
 * restart nor the loss of a tag at the registry changes what will be pushed.
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
#include "image/op-priv.h"
#include "image/push-priv.h"
#include "oci/digest.h"

#define MEMBERS_MAX 256

struct member {
    char *reference; /* full: "docker.io/library/busybox:latest" */
    struct oci_descriptor d;
    char *manifest; /* text, d.size bytes */
};

struct list {
    char *name; /* full */
    struct member *members;
    size_t n;
};

static void list_done(struct list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->members[i].reference);
        free(l->members[i].manifest);
        json_free(&oci_descriptor_json, &l->members[i].d);
    }
    free(l->members);
    free(l->name);
}

/* "busybox" → "docker.io/library/busybox:latest". */
static int full_name(const char *text, struct oci_reference *ref, char **ret, struct error *e)
{
    int r = oci_reference_parse(text, ref, e);

    if (r < 0)
        return r;
    oci_reference_default_tag(ref);
    *ret = oci_reference_string(ref);
    return 0;
}

static int read_member(const struct store_rows *rows, struct list *l, struct error *e)
{
    size_t len = 0;
    const char *descriptor = store_col_str(rows, 1);
    const void *manifest = store_col_blob(rows, 2, &len);

    l->members = xreallocarray(l->members, l->n + 1, sizeof(*l->members));
    struct member *m = &l->members[l->n++];
    *m = (struct member){.reference = xstrdup(store_col_str(rows, 0)),
                         .manifest = xstrndup(manifest, len)};
    return json_parse(&oci_descriptor_json, descriptor, strlen(descriptor), &m->d, e);
}

/* In a transaction, as a list and its members are two looks. 1 it is there, 0 not. */
static int read_list(struct image_store *s, const char *name, struct list *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e, "SELECT 1 FROM manifest_lists WHERE name = ?", "s", name);

    if (r >= 0)
        r = store_rows_next(&rows, e);
    store_rows_done(&rows);
    if (r <= 0)
        return r;
    ret->name = xstrdup(name);
    r = store_query(s->db, &rows, e,
                    "SELECT reference, descriptor, manifest FROM manifest_list_members WHERE list "
                    "= ? ORDER BY position",
                    "s", name);
    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        r = read_member(&rows, ret, e);
    return r < 0 ? r : 1;
}

static int load_list(struct image_store *s, const char *name, struct list *ret, struct error *e)
{
    int r = store_begin(s->db, e);

    if (r < 0)
        return r;
    r = read_list(s, name, ret, e);
    store_rollback(s->db);
    return r;
}

static int list_exists(const char *name, struct error *e)
{
    return error_set(e, ERR_CONFLICT,
                     "manifest list %s exists: use --amend to add to it, or remove it first", name);
}

static int no_such_list(const char *name, struct error *e)
{
    return error_set(e, ERR_NOT_FOUND,
                     "No such manifest: %s (make it by 'pouch manifest create %s IMAGE...')", name,
                     name);
}

/* --- Looking a manifest up at its registry ------------------------------------------------------------ */

struct lookup {
    char *state, *digest, *platform, *media_type, *text;
    uint64_t size;
};

static void lookup_done(struct lookup *l)
{
    free(l->state);
    free(l->digest);
    free(l->platform);
    free(l->media_type);
    free(l->text);
}

static int lookup_message(struct image_op *op, struct worker_msg *m)
{
    struct lookup *l = op->params->ext_data;
    struct op_file *f = STREQ(m->type, "member") ? op_file_find(op, m->file) : NULL;
    size_t len = 0;

    if (!STREQ(m->type, "member"))
        return 0;
    if (!f || !f->name || !m->state || !m->media_type || !digest_is_valid(m->digest) || l->text)
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: member");
    int r = fs_read_file(op->store->tmp_fd, f->name, OCI_MANIFEST_MAX, &l->text, &len);
    if (r < 0)
        return error_set_errno(op->e, r, "cannot read the manifest");
    l->size = len;
    l->state = take_ptr(m->state);
    l->digest = take_ptr(m->digest);
    l->platform = take_ptr(m->platform);
    l->media_type = take_ptr(m->media_type);
    return 1;
}

static void no_cleanup(struct image_op *op) {}

static const struct image_op_ext lookup_ext = {.message = lookup_message, .cleanup = no_cleanup};

static int look_up(struct image_store *s, const struct oci_reference *ref,
                   const struct image_manifest_params *p, struct lookup *ret, struct error *e)
{
    static const struct image_auth none = {0};
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFREE char *familiar = oci_reference_familiar(ref);
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"manifest",
                               .reference = familiar,
                               .tag = ref->digest ? NULL : ref->tag,
                               .digest = ref->digest};

    image_op_start_registry(s, ref, p->auth ? p->auth : &none, &start);
    start.insecure = start.insecure || p->insecure;
    const struct image_op_params op = {.start = &start,
                                       .input_fd = -EBADF,
                                       .cancel_fd = p->cancel_fd,
                                       .ext = &lookup_ext,
                                       .ext_data = ret,
                                       .auth = p->auth};
    int r = image_op_run(s, &op, &results, e);
    return r >= 0 && !ret->text ? error_set(e, ERR_INTERNAL, "the image worker found nothing") : r;
}

/* --- Create, annotate, remove ----------------------------------------------------------------------------- */

static int store_member(struct image_store *s, const char *list, const char *reference,
                        const struct lookup *l, struct error *e)
{
    AUTO(buf) struct buf text = BUF_INIT(64u * 1024);
    CLEANUP(oci_platform_done) struct oci_platform platform = {0};
    struct oci_descriptor d = {.media_type = l->media_type, .digest = l->digest, .size = l->size};

    if (!str_is_empty(l->platform) && oci_platform_parse(l->platform, &platform, NULL) >= 0)
        d.platform = &platform;
    if (json_print(&oci_descriptor_json, &d, &text) < 0)
        return error_set(e, ERR_TOO_LARGE, "the description of %s is too large", reference);
    return store_exec(s->db, e,
                      "INSERT OR REPLACE INTO manifest_list_members (list, position, reference, "
                      "descriptor, manifest) VALUES (?1, coalesce((SELECT position FROM "
                      "manifest_list_members WHERE list = ?1 AND reference = ?2), (SELECT "
                      "coalesce(max(position), 0) + 1 FROM manifest_list_members WHERE list = "
                      "?1)), ?2, ?3, ?4)",
                      "sssb", list, reference, buf_str(&text), l->text, (size_t)l->size);
}

static int check_same_registry(const struct oci_reference *list, const struct oci_reference *member,
                               struct error *e)
{
    if (STREQ(list->domain, member->domain))
        return 0;
    return error_set(e, ERR_INVALID,
                     "a list at registry %s cannot have members of registry %s: push the member "
                     "there first",
                     list->domain, member->domain);
}

int image_manifest_create(struct image_store *s, const struct image_manifest_params *p,
                          char *const *images, bool amend, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    CLEANUP(list_done) struct list old = {0};
    AUTOFREE char *name = NULL;
    size_t n = strv_len(images), done = 0;
    int r = full_name(p->list, &ref, &name, e);

    if (r >= 0)
        r = load_list(s, name, &old, e);
    if (r < 0)
        return r;
    if (r == 1 && !amend)
        return list_exists(p->list, e);
    if (n == 0)
        return error_set(e, ERR_INVALID, "a manifest list needs at least one image");
    if (n + old.n > MEMBERS_MAX)
        return error_set(e, ERR_TOO_LARGE, "a manifest list has at most %d members", MEMBERS_MAX);
    struct lookup *found = xcalloc(n, sizeof(*found));
    char **names = NULL;
    for (r = 0; r >= 0 && done < n; done++) {
        CLEANUP(oci_reference_done) struct oci_reference member = {0};
        AUTOFREE char *full = NULL;
        r = full_name(images[done], &member, &full, e);
        if (r >= 0)
            r = check_same_registry(&ref, &member, e);
        if (r >= 0)
            r = look_up(s, &member, p, &found[done], e);
        if (r >= 0 && !STREQ(found[done].state, "manifest"))
            r = error_set(e, ERR_INVALID,
                          "%s is a manifest list itself: name one of its members by digest",
                          images[done]);
        strv_push(&names, full ? full : "");
    }
    if (r >= 0)
        r = store_begin(s->db, e);
    if (r >= 0) {
        r = store_exec(s->db, e,
                       "INSERT OR IGNORE INTO manifest_lists (name, created) VALUES "
                       "(?, ?)",
                       "si", name, time_now_ns());
        if (r == 0 && !amend) /* somebody else made it meanwhile */
            r = list_exists(p->list, e);
        for (size_t i = 0; r >= 0 && i < n; i++)
            r = store_member(s, name, names[i], &found[i], e);
        if (r < 0)
            store_rollback(s->db);
        else
            r = store_commit(s->db, e);
    }
    for (size_t i = 0; i < n; i++)
        lookup_done(&found[i]);
    free(found);
    strv_free(names);
    return r < 0 ? r : 0;
}

static void annotate(struct oci_platform *to, const struct image_manifest_annotation *a)
{
    if (a->os)
        str_replace(&to->os, a->os);
    if (a->architecture)
        str_replace(&to->architecture, a->architecture);
    if (a->variant)
        str_replace(&to->variant, a->variant);
    if (a->os_version)
        str_replace(&to->os_version, a->os_version);
    if (a->os_features) {
        strv_free(to->os_features);
        to->os_features = strv_copy(a->os_features);
    }
}

/* In a transaction: what others annotate meanwhile comes before or after. */
static int annotate_member(struct image_store *s, const char *list, const char *name,
                           const char *image, const char *member,
                           const struct image_manifest_annotation *a, struct error *e)
{
    CLEANUP(list_done) struct list l = {0};
    AUTO(buf) struct buf text = BUF_INIT(64u * 1024);
    int r = read_list(s, name, &l, e);

    if (r <= 0)
        return r < 0 ? r : no_such_list(list, e);
    for (size_t i = 0; i < l.n; i++) {
        if (!STREQ(l.members[i].reference, member))
            continue;
        struct oci_descriptor *d = &l.members[i].d;
        if (!d->platform)
            d->platform = xcalloc(1, sizeof(*d->platform));
        annotate(d->platform, a);
        if (json_print(&oci_descriptor_json, d, &text) < 0)
            return error_set(e, ERR_TOO_LARGE, "the description of %s is too large", image);
        return store_exec(s->db, e,
                          "UPDATE manifest_list_members SET descriptor = ? WHERE list = ? AND "
                          "reference = ?",
                          "sss", buf_str(&text), name, member);
    }
    return error_set(e, ERR_NOT_FOUND, "%s is no member of manifest list %s", image, list);
}

int image_manifest_annotate(struct image_store *s, const char *list, const char *image,
                            const struct image_manifest_annotation *a, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0}, member_ref = {0};
    AUTOFREE char *name = NULL, *member = NULL;
    int r = full_name(list, &ref, &name, e);

    if (r >= 0)
        r = full_name(image, &member_ref, &member, e);
    if (r >= 0)
        r = store_begin(s->db, e);
    if (r < 0)
        return r;
    r = annotate_member(s, list, name, image, member, a, e);
    if (r < 0) {
        store_rollback(s->db);
        return r;
    }
    return store_commit(s->db, e);
}

int image_manifest_remove(struct image_store *s, const char *list, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    AUTOFREE char *name = NULL;
    int r = full_name(list, &ref, &name, e);

    if (r >= 0)
        r = store_begin(s->db, e);
    if (r < 0)
        return r;
    r = store_exec(s->db, e, "DELETE FROM manifest_list_members WHERE list = ?", "s", name);
    if (r >= 0)
        r = store_exec(s->db, e, "DELETE FROM manifest_lists WHERE name = ?", "s", name);
    if (r == 0)
        r = no_such_list(list, e);
    if (r < 0)
        store_rollback(s->db);
    else
        r = store_commit(s->db, e);
    return r < 0 ? r : 0;
}

int image_manifest_names(struct image_store *s, char ***ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e, "SELECT name FROM manifest_lists ORDER BY name", "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        strv_push(ret, store_col_str(&rows, 0));
    return r;
}

/* --- The document ------------------------------------------------------------------------------------------- */

static bool is_oci(const struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->members[i].d.media_type || !STREQ(l->members[i].d.media_type, OCI_MT_MANIFEST))
            return false;
    return l->n > 0;
}

/* An OCI index when all members are OCI's, else Docker's list. */
static void print_list(const struct list *l, struct buf *out)
{
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    jsonw_uint(&w, "schemaVersion", 2);
    jsonw_str(&w, "mediaType", is_oci(l) ? OCI_MT_INDEX : OCI_MT_DOCKER_LIST);
    jsonw_list_begin(&w, "manifests");
    for (size_t i = 0; i < l->n; i++)
        jsonw_obj(&w, NULL, &oci_descriptor_json, &l->members[i].d);
    jsonw_list_end(&w);
    jsonw_end(&w);
}

/* As `docker manifest inspect --verbose`. */
static void print_verbose(struct jsonw *w, const char *reference, const struct oci_descriptor *d,
                          const char *manifest)
{
    bool oci = d->media_type && STREQ(d->media_type, OCI_MT_MANIFEST);

    jsonw_begin(w, NULL);
    jsonw_str(w, "Ref", reference);
    jsonw_obj(w, "Descriptor", &oci_descriptor_json, d);
    jsonw_raw(w, oci ? "OCIManifest" : "SchemaV2Manifest", manifest);
    jsonw_end(w);
}

static int inspect_remote(struct image_store *s, const struct oci_reference *ref, const char *name,
                          const struct image_manifest_params *p, bool verbose, struct buf *out,
                          struct error *e)
{
    CLEANUP(lookup_done) struct lookup l = {0};
    CLEANUP(oci_platform_done) struct oci_platform platform = {0};
    struct jsonw w = {.out = out};

    int r = look_up(s, ref, p, &l, e);
    if (r < 0)
        return r;
    if (!verbose || !STREQ(l.state, "manifest")) {
        (void)buf_append(out, l.text, l.size);
        return 0;
    }
    struct oci_descriptor d = {.media_type = l.media_type, .digest = l.digest, .size = l.size};
    if (!str_is_empty(l.platform) && oci_platform_parse(l.platform, &platform, NULL) >= 0)
        d.platform = &platform;
    print_verbose(&w, name, &d, l.text);
    return 0;
}

int image_manifest_inspect(struct image_store *s, const struct image_manifest_params *p,
                           bool verbose, struct buf *out, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    CLEANUP(list_done) struct list l = {0};
    AUTOFREE char *name = NULL;
    struct jsonw w = {.out = out};
    int r = full_name(p->list, &ref, &name, e);

    if (r >= 0)
        r = load_list(s, name, &l, e);
    if (r == 0)
        return inspect_remote(s, &ref, name, p, verbose, out, e);
    if (r < 0)
        return r;
    if (!verbose) {
        print_list(&l, out);
        return 0;
    }
    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; i < l.n; i++)
        print_verbose(&w, l.members[i].reference, &l.members[i].d, l.members[i].manifest);
    jsonw_list_end(&w);
    return 0;
}

int image_manifest_distribution(struct image_store *s, const struct image_manifest_params *p,
                                struct buf *out, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    CLEANUP(oci_platform_done) struct oci_platform platform = {0};
    CLEANUP(oci_index_done) struct oci_index index = {0};
    CLEANUP(lookup_done) struct lookup l = {0};
    AUTOFREE char *name = NULL;
    struct jsonw w = {.out = out};
    int r = full_name(p->list, &ref, &name, e);

    if (r >= 0)
        r = look_up(s, &ref, p, &l, e);
    if (r >= 0 && !STREQ(l.state, "manifest"))
        r = oci_index_parse(l.text, l.size, &index, e);
    if (r < 0)
        return r;
    const struct oci_descriptor d = {.media_type = l.media_type,
                                     .digest = l.digest,
                                     .size = l.size};
    const struct oci_descriptor *members = index.manifests.items;
    jsonw_begin(&w, NULL);
    jsonw_obj(&w, "Descriptor", &oci_descriptor_json, &d);
    jsonw_list_begin(&w, "Platforms");
    if (!str_is_empty(l.platform) && oci_platform_parse(l.platform, &platform, NULL) >= 0)
        jsonw_obj(&w, NULL, &oci_platform_json, &platform);
    for (size_t i = 0; i < index.manifests.len; i++)
        if (members[i].platform)
            jsonw_obj(&w, NULL, &oci_platform_json, members[i].platform);
    jsonw_list_end(&w);
    jsonw_end(&w);
    (void)buf_putc(out, '\n');
    return 0;
}

/* --- Push ------------------------------------------------------------------------------------------------------ */

struct list_push {
    struct list list;
    char *text; /* of the list */
    size_t len;
    char digest[DIGEST_MAX]; /* as it was pushed */
    char *tag;
    bool done;
};

static int text_fd(const char *text, size_t len, int *ret, struct error *e)
{
    AUTOFD int fd = memfd_create("manifest", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : fs_write_all(fd, text, len);

    if (r < 0)
        return error_set_errno(e, r, "cannot hand over a manifest");
    *ret = take_fd(fd);
    return 0;
}

static int give_member(struct image_op *op, struct list_push *p, const struct worker_msg *m)
{
    struct worker_msg reply = {.type = (char *)"given", .id = m->id};
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    bool member = m->index < p->list.n;
    AUTOFD int fd = -EBADF;
    int r;

    if (member) {
        const struct member *one = &p->list.members[m->index];
        r = oci_reference_parse(one->reference, &ref, op->e);
        reply.state = (char *)"member";
        reply.digest = one->d.digest;
        reply.media_type = one->d.media_type;
        reply.size = one->d.size;
        reply.repository = ref.path;
        if (r >= 0)
            r = text_fd(one->manifest, one->d.size, &fd, op->e);
    } else {
        reply.state = (char *)"list";
        reply.media_type = (char *)(is_oci(&p->list) ? OCI_MT_INDEX : OCI_MT_DOCKER_LIST);
        reply.size = p->len;
        reply.tag = p->tag;
        r = text_fd(p->text, p->len, &fd, op->e);
    }
    return r < 0 ? r : op_reply(op, &reply, &fd, 1);
}

static int list_push_message(struct image_op *op, struct worker_msg *m)
{
    struct list_push *p = op->params->ext_data;
    int r;

    if (STREQ(m->type, "want")) {
        r = give_member(op, p, m);
        return r < 0 ? r : 1;
    }
    if (!STREQ(m->type, "pushed"))
        return 0;
    if (!digest_is_valid(m->manifest))
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: pushed");
    snprintf(p->digest, sizeof(p->digest), "%s", m->manifest);
    p->done = true;
    return 1;
}

static const struct image_op_ext list_push_ext = {.message = list_push_message,
                                                  .cleanup = no_cleanup,
                                                  .graceful = true};

static int list_push_run(struct image_store *s, struct list_push *lp,
                         const struct oci_reference *ref, const struct image_manifest_params *p,
                         struct error *e)
{
    static const struct image_auth none = {0};
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFREE char *familiar = oci_reference_familiar(ref);
    AUTOPTR(strv) char **sources = NULL;
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"manifest-push",
                               .reference = familiar,
                               .tag = ref->tag,
                               .chunk = push_chunk_size()};

    for (size_t i = 0; i < lp->list.n; i++) {
        CLEANUP(oci_reference_done) struct oci_reference member = {0};
        int r = oci_reference_parse(lp->list.members[i].reference, &member, e);
        if (r < 0)
            return r;
        if (!STREQ(member.path, ref->path) && !strv_contains(sources, member.path))
            strv_push(&sources, member.path);
    }
    start.names = sources;
    image_op_start_registry(s, ref, p->auth ? p->auth : &none, &start);
    start.insecure = start.insecure || p->insecure;
    const struct image_op_params op = {.start = &start,
                                       .input_fd = -EBADF,
                                       .progress = p->progress,
                                       .progress_data = p->progress_data,
                                       .cancel_fd = p->cancel_fd,
                                       .ext = &list_push_ext,
                                       .ext_data = lp,
                                       .auth = p->auth};
    int r = image_op_run(s, &op, &results, e);
    return r >= 0 && !lp->done ? error_set(e, ERR_INTERNAL, "the image worker pushed nothing") : r;
}

int image_manifest_push(struct image_store *s, const struct image_manifest_params *p, bool purge,
                        struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    AUTO(buf) struct buf text = BUF_INIT(OCI_MANIFEST_MAX);
    struct list_push lp = {0};
    AUTOFREE char *name = NULL;
    int r = full_name(p->list, &ref, &name, e);

    if (r >= 0)
        r = load_list(s, name, &lp.list, e);
    if (r == 0)
        r = no_such_list(p->list, e);
    for (size_t i = 0; r >= 0 && i < lp.list.n; i++)
        if (!lp.list.members[i].d.platform)
            r = error_set(e, ERR_INVALID,
                          "member %s has no platform: say it by 'pouch manifest annotate'",
                          lp.list.members[i].reference);
    if (r >= 0) {
        print_list(&lp.list, &text);
        lp.text = text.data;
        lp.len = text.len;
        lp.tag = ref.tag;
    }
    if (r >= 0)
        r = list_push_run(s, &lp, &ref, p, e);
    if (r >= 0 && p->progress) {
        const struct image_progress line = {.status = lp.digest};
        (void)!p->progress(p->progress_data, &line);
    }
    list_done(&lp.list);
    return r >= 0 && purge ? image_manifest_remove(s, p->list, e) : r < 0 ? r : 0;
}
