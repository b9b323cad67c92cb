/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Push, pouchd's side: which image, manifest and blobs a name means, and the questions of the worker
 * (`want`), who gets descriptors of blobs and never a path.
 *
 *     image     the k-th image to send: configuration, manifest (none: one is to be made), layers
 *     layer     the archive of a layer; when none is stored in the compression asked for, the
 *               worker gets a file to write one to, which is kept for the next push
 *     upload    the content of a blob, and the repositories of the registry that had it
 *     document  a manifest or configuration; index: the index that goes on top
 *
 * Of two pushes that send the same blob to the same repository the second waits and then finds it
 * there; likewise with two that compress the same layer.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/op-priv.h"
#include "image/push-priv.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define PARALLEL_UPLOADS 5
#define WAITING_MAX      64

struct push_layer {
    char *diff_id;
    char *digest, *media_type; /* as the manifest has it; NULL: the manifest is to be made */
    uint64_t size;
    bool elsewhere; /* stored in another compression, but the registry has this one */
};

struct push_image {
    struct image *img;
    char *manifest; /* digest; NULL: to be made */
    bool docker;    /* a made one has Docker's media types */
    struct push_layer *layers;
    size_t nlayers;
};

struct push {
    struct image_store *store;
    const struct image_push_params *params;
    struct oci_reference ref;
    char *repository; /* "docker.io/library/busybox" */
    bool any_compression;
    enum oci_compression compression; /* unless any_compression */
    struct push_image *images;
    size_t nimages;
    char *index;    /* digest, or NULL */
    char **allowed; /* digests the worker may have */
    struct worker_msg waiting[WAITING_MAX];
    size_t nwaiting;
    struct image_blobs blobs; /* that were dropped and made again */
    char **lost;              /* dropped ones that cannot be */
    char **flights;           /* keys this operation holds */
    uint64_t size;            /* of the document that went under the tag */
    char *digest;             /* likewise */
};

static int broke_rules(struct image_op *op, const char *what)
{
    return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: %s", what);
}

/* --- One at a time --------------------------------------------------------------------------------- */

/* True when nobody else does `key` (it is ours now, or was). */
static bool flight_begin(struct push *p, const char *key)
{
    struct image_store *s = p->store;
    bool ours = strv_contains(p->flights, key);

    if (ours)
        return true;
    pthread_mutex_lock(&s->lock);
    if (!map_get(s->flights, key)) {
        (void)map_set(s->flights, key, xcalloc(1, sizeof(int64_t)));
        ours = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (ours)
        strv_push(&p->flights, key);
    return ours;
}

static void flight_end(struct push *p, const char *key)
{
    struct image_store *s = p->store;

    for (size_t i = 0; p->flights && p->flights[i]; i++) {
        if (!STREQ(p->flights[i], key))
            continue;
        pthread_mutex_lock(&s->lock);
        free(map_remove(s->flights, key));
        op_wake_all(s);
        pthread_mutex_unlock(&s->lock);
        strv_remove(p->flights, key);
        return;
    }
}

static char *upload_key(const struct push *p, const char *digest)
{
    return xasprintf("push %s %s", p->repository, digest);
}

static char *compress_key(const struct push *p, const char *diff_id, enum oci_compression to)
{
    return xasprintf("compress %s %s %lld", diff_id, push_compression_name(to),
                     (long long)p->params->level);
}

/* --- Archives of layers ------------------------------------------------------------------------------ */

static bool has_archive(struct image_store *s, const char *diff_id, const char *digest)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    return store_query(s->db, &rows, NULL,
                       "SELECT 1 FROM layers WHERE diff_id = ?1 AND blob = ?2 UNION "
                       "SELECT 1 FROM layer_blobs WHERE diff_id = ?1 AND blob = ?2",
                       "ss", diff_id, digest) >= 0 &&
           store_rows_next(&rows, NULL) == 1;
}

/* The archive made by an earlier push: 1, 0 none. */
static int find_made(struct push *p, const char *diff_id, enum oci_compression kind,
                     struct push_layer *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(p->store->db, &rows, e,
                        "SELECT blob, blob_size FROM layer_blobs WHERE diff_id = ? AND "
                        "compression = ? AND level = ?",
                        "ssi", diff_id, push_compression_name(kind), p->params->level);

    if (r >= 0)
        r = store_rows_next(&rows, e);
    if (r <= 0)
        return r;
    ret->digest = xstrdup(store_col_str(&rows, 0));
    ret->size = (uint64_t)store_col_int(&rows, 1);
    return 1;
}

/* How an archive is compressed, by its media type, or its first bytes when that says nothing. */
static int archive_kind(struct push *p, const char *digest, const char *media_type,
                        enum oci_compression *ret, struct error *e)
{
    enum image_blob_where where;
    uint64_t size = 0;

    if (media_type && oci_layer_compression(media_type, ret, NULL) >= 0 && *ret != OCI_PLAIN)
        return 0;
    return image_blob_probe(p->store, digest, ret, &size, &where, e);
}

/* Whether this archive can be sent: one that only another version of a library made is found out now,
 * as the user names a compression and not a digest: then the layer is compressed anew. */
static int can_be_had(struct push *p, const char *digest, struct error *e)
{
    AUTO(error) struct error why = ERROR_INIT;
    enum image_blob_where where;
    enum oci_compression kind;
    AUTOFD int fd = -EBADF;
    uint64_t size = 0;

    if (p->any_compression || image_blob_probe(p->store, digest, &kind, &size, &where, NULL) < 0 ||
        where != IMAGE_BLOB_BY_LIBRARY)
        return 1;
    if (strv_contains(p->lost, digest))
        return 0;
    int r = image_blob_open(p->store, &p->blobs, digest, &fd, &size, &why);
    if (r == -ECANCELED) {
        error_move(e, &why);
        return r;
    }
    if (r < 0) {
        strv_push(&p->lost, digest);
        log_debug("a layer is compressed anew", "blob=%s error=\"%s\"", digest,
                  error_message(&why));
    }
    return r >= 0;
}

/* What is to be compressed: the archive, or the tar when that was dropped. */
static int open_to_compress(struct push *p, const char *diff_id, const char *digest, int *ret_fd,
                            uint64_t *ret_size, struct error *e)
{
    enum image_blob_where where;
    enum oci_compression kind;

    if (image_blob_probe(p->store, digest, &kind, ret_size, &where, NULL) >= 0 &&
        where != IMAGE_BLOB_STORED)
        return image_layer_rebuild_tar(p->store, diff_id, p->params->cancel_fd, ret_fd, ret_size,
                                       e);
    return image_blob_open(p->store, &p->blobs, digest, ret_fd, ret_size, e);
}

/* What a layer is to be sent as, and the archive that is stored: 1 as it is, 0 `to` must be made. */
static int choose_archive(struct push *p, const struct push_image *pi, const char *diff_id,
                          struct push_layer *ret, enum oci_compression *ret_to, struct error *e)
{
    enum oci_compression have = OCI_PLAIN;

    int r = image_blob_of_layer(p->store, diff_id, &ret->digest, &ret->media_type, &ret->size, e);
    if (r < 0)
        return r;
    if (!ret->digest)
        return error_set(
            e, ERR_NOT_FOUND,
            "the archive of layer %s is not in the image store: pull or load its image "
            "again",
            diff_id);
    r = archive_kind(p, ret->digest, ret->media_type, &have, e);
    if (r < 0)
        return r;
    *ret_to = p->compression;
    if (p->any_compression)
        *ret_to = have == OCI_ZSTD && !pi->docker ? OCI_ZSTD : OCI_GZIP;
    r = have == *ret_to && p->params->level == 0 ? can_be_had(p, ret->digest, e) : 0;
    if (r < 0)
        return r;
    if (r == 1) {
        str_replace(&ret->media_type, push_layer_type(have, pi->docker));
        return 1;
    }
    struct push_layer made = {0};
    r = find_made(p, diff_id, *ret_to, &made, e);
    if (r == 1) {
        free(ret->digest);
        ret->digest = made.digest;
        ret->size = made.size;
    }
    str_replace(&ret->media_type, push_layer_type(*ret_to, pi->docker));
    return r;
}

/* --- Answers to the worker ---------------------------------------------------------------------------- */

static void allow(struct image_op *op, struct push *p, const char *digest)
{
    if (strv_contains(p->allowed, digest))
        return;
    strv_push(&p->allowed, digest);
    op_pin(op, digest);
}

static int give_blob(struct image_op *op, struct push *p, const struct worker_msg *m,
                     struct worker_msg *reply)
{
    AUTOFD int fd = -EBADF;

    if (!m->digest || !strv_contains(p->allowed, m->digest))
        return broke_rules(op, "a blob that is not of the image");
    int r = image_blob_open(p->store, &p->blobs, m->digest, &fd, &reply->size, op->e);
    return r < 0 ? r : op_reply(op, reply, &fd, 1);
}

static int give_image(struct image_op *op, struct push *p, const struct worker_msg *m,
                      struct worker_msg *reply)
{
    AUTOPTR(strv) char **layers = NULL;
    AUTOFD int config = -EBADF;

    if (m->index >= p->nimages) {
        reply->state = (char *)"end";
        return op_reply(op, reply, NULL, 0);
    }
    const struct push_image *pi = &p->images[m->index];
    for (size_t i = 0; i < pi->nlayers; i++)
        strv_push(&layers, pi->layers[i].diff_id);
    int r = image_blob_open(p->store, NULL, pi->img->id, &config, &reply->size, op->e);
    if (r < 0)
        return r;
    allow(op, p, pi->img->id);
    if (pi->manifest)
        allow(op, p, pi->manifest);
    reply->state = (char *)"image";
    reply->config = pi->img->id;
    reply->manifest = pi->manifest;
    reply->media_type = (char *)(pi->docker ? OCI_MT_DOCKER_MANIFEST : OCI_MT_MANIFEST);
    reply->layers = layers;
    /* Images of an index go by their digest; the index then gets the tag. */
    reply->tag = p->index ? NULL : p->ref.tag;
    r = op_reply(op, reply, NULL, 0);
    reply->layers = NULL;
    return r;
}

static int give_index(struct image_op *op, struct push *p, struct worker_msg *reply)
{
    reply->state = (char *)(p->index ? "index" : "none");
    reply->digest = p->index;
    reply->tag = p->ref.tag;
    if (p->index)
        allow(op, p, p->index);
    return op_reply(op, reply, NULL, 0);
}

static struct push_layer *find_layer(struct push *p, const struct worker_msg *m)
{
    if (m->index >= p->nimages || !m->diff_id)
        return NULL;
    struct push_image *pi = &p->images[m->index];
    for (size_t i = 0; i < pi->nlayers; i++)
        if (STREQ(pi->layers[i].diff_id, m->diff_id))
            return &pi->layers[i];
    return NULL;
}

/* 0 answered, 1 it has to wait. */
static int give_layer(struct image_op *op, struct push *p, const struct worker_msg *m,
                      struct worker_msg *reply)
{
    const struct push_layer *l = find_layer(p, m);
    struct push_layer found = {0};
    enum oci_compression to = OCI_GZIP;
    int r = 1;

    if (!l)
        return broke_rules(op, "a layer that is not of the image");
    if (l->digest) {
        found = (struct push_layer){.digest = xstrdup(l->digest),
                                    .media_type = xstrdup_or_null(l->media_type),
                                    .size = l->size};
    } else {
        r = choose_archive(p, &p->images[m->index], l->diff_id, &found, &to, op->e);
        AUTOFREE char *key = compress_key(p, l->diff_id, to);
        if (r == 0 && !flight_begin(p, key)) {
            free(found.digest);
            free(found.media_type);
            return 1;
        }
    }
    reply->digest = found.digest;
    reply->media_type = found.media_type;
    reply->size = found.size;
    if (r >= 0)
        allow(op, p, found.digest);
    if (r == 1) {
        reply->state = (char *)"have";
        r = op_reply(op, reply, NULL, 0);
    } else if (r == 0) {
        AUTOFD int in = -EBADF, out = -EBADF;
        reply->state = (char *)"compress";
        reply->compression = (char *)push_compression_name(to);
        reply->file = PUSH_FILE_FIRST + op->files.len;
        r = open_to_compress(p, l->diff_id, found.digest, &in, &reply->size, op->e);
        if (r >= 0)
            r = op_file_new(op, reply->file, &out);
        const int fds[] = {in, out};
        if (r >= 0)
            r = op_reply(op, reply, fds, 2);
    }
    free(found.digest);
    free(found.media_type);
    return r;
}

/* The layer whose archive of this digest is at the registry only; NULL: it is stored here. */
static const struct push_layer *find_elsewhere(const struct push *p, const char *digest)
{
    for (size_t i = 0; i < p->nimages; i++)
        for (size_t k = 0; k < p->images[i].nlayers; k++) {
            const struct push_layer *l = &p->images[i].layers[k];
            if (l->elsewhere && STREQ(l->digest, digest))
                return l;
        }
    return NULL;
}

/* 0 answered, 1 another push sends it just now. */
static int give_upload(struct image_op *op, struct push *p, const struct worker_msg *m,
                       struct worker_msg *reply)
{
    AUTOPTR(strv) char **sources = NULL;
    AUTOFREE char *key = upload_key(p, m->digest ? m->digest : "");

    if (!m->digest || !strv_contains(p->allowed, m->digest))
        return broke_rules(op, "a blob that is not of the image");
    if (!flight_begin(p, key))
        return 1;
    int r = image_blob_sources(p->store, m->digest, p->ref.domain, &sources, op->e);
    if (r < 0)
        return r;
    size_t skip = strlen(p->ref.domain) + 1; /* paths only */
    for (size_t i = 0; sources && sources[i]; i++)
        memmove(sources[i], sources[i] + skip, strlen(sources[i] + skip) + 1);
    const struct push_layer *elsewhere = find_elsewhere(p, m->digest);
    reply->names = sources;
    if (elsewhere) {
        reply->size = elsewhere->size;
        r = op_reply(op, reply, NULL, 0);
    } else {
        r = give_blob(op, p, m, reply);
    }
    reply->names = NULL;
    return r;
}

/* 1 it has to wait. */
static int answer(struct image_op *op, struct push *p, const struct worker_msg *m)
{
    struct worker_msg reply = {.type = (char *)"given", .id = m->id};

    if (!m->role)
        return broke_rules(op, "want");
    if (STREQ(m->role, "image"))
        return give_image(op, p, m, &reply);
    if (STREQ(m->role, "index"))
        return give_index(op, p, &reply);
    if (STREQ(m->role, "layer"))
        return give_layer(op, p, m, &reply);
    if (STREQ(m->role, "upload"))
        return give_upload(op, p, m, &reply);
    if (STREQ(m->role, "document"))
        return give_blob(op, p, m, &reply);
    return broke_rules(op, "want");
}

/* --- What the worker reports --------------------------------------------------------------------------- */

static int on_uploaded(struct image_op *op, struct push *p, const struct worker_msg *m)
{
    if (!m->digest || !strv_contains(p->allowed, m->digest))
        return broke_rules(op, "uploaded");
    AUTOFREE char *key = upload_key(p, m->digest);
    int r = image_blob_add_source(p->store, m->digest, p->repository, op->e);
    for (size_t i = 0; r >= 0 && m->names && m->names[i]; i++) /* not asked again */
        r = store_exec(p->store->db, op->e,
                       "DELETE FROM blob_sources WHERE digest = ? AND repository = ? || '/' || ?",
                       "sss", m->digest, p->ref.domain, m->names[i]);
    flight_end(p, key);
    image_blobs_forget(&p->blobs, m->digest); /* it was sent, or was there */
    return r < 0 ? r : 0;
}

static int on_compressed(struct image_op *op, struct push *p, const struct worker_msg *m)
{
    enum oci_compression to;
    struct op_file *f = op_file_find(op, m->file);

    if (!find_layer(p, m) || !f || !f->name || !digest_is_valid(m->digest) ||
        push_compression_parse(m->compression, &to) < 0)
        return broke_rules(op, "compressed");
    AUTOFREE char *key = compress_key(p, m->diff_id, to);
    if (!strv_contains(p->flights, key))
        return broke_rules(op, "compressed");
    allow(op, p, m->digest);
    int r = op_file_keep(op, f, m->digest);
    if (r >= 0)
        r = store_exec(p->store->db, op->e,
                       "INSERT OR REPLACE INTO layer_blobs (diff_id, compression, level, blob, "
                       "media_type, blob_size, boot) VALUES (?, ?, ?, ?, ?, ?, ?)",
                       "ssissis", m->diff_id, push_compression_name(to), p->params->level,
                       m->digest, push_layer_type(to, false), (int64_t)m->size, p->store->boot_id);
    if (r >= 0)
        image_store_wake_janitor(p->store);
    flight_end(p, key);
    return r < 0 ? r : 0;
}

/* The name now stands for this digest at the registry: RepoDigests says so. */
static int record_digest(struct push *p, const char *digest, const struct push_image *pi, bool made,
                         struct error *e)
{
    int r = store_begin(p->store->db, e);

    if (r < 0)
        return r;
    r = store_exec(p->store->db, e,
                   "INSERT OR REPLACE INTO image_digests (name, digest, image_id) "
                   "SELECT ?, ?, id FROM images WHERE id = ? AND removed = 0",
                   "sss", p->repository, digest, pi->img->id);
    if (r >= 0 && made)
        r = store_exec(p->store->db, e,
                       "INSERT OR IGNORE INTO image_blobs (image_id, digest, role, seen, boot) "
                       "SELECT id, ?, 'pushed', ?, ? FROM images WHERE id = ? AND removed = 0",
                       "siss", digest, time_now_ns(), p->store->boot_id, pi->img->id);
    if (r < 0)
        store_rollback(p->store->db);
    else
        r = store_commit(p->store->db, e);
    image_store_changed(p->store, pi->img->id);
    return r;
}

static int on_pushed(struct image_op *op, struct push *p, const struct worker_msg *m)
{
    int r = 0;

    if (!digest_is_valid(m->manifest) || m->index > p->nimages ||
        (m->index == p->nimages && !p->index))
        return broke_rules(op, "pushed");
    if (m->index == p->nimages) { /* the index: all its images have that digest */
        for (size_t i = 0; r >= 0 && i < p->nimages; i++)
            r = record_digest(p, m->manifest, &p->images[i], false, op->e);
    } else {
        const struct push_image *pi = &p->images[m->index];
        r = record_digest(p, m->manifest, pi, !pi->manifest, op->e);
    }
    str_replace(&p->digest, m->manifest);
    p->size = m->size;
    return r < 0 ? r : 0;
}

static int push_message(struct image_op *op, struct worker_msg *m)
{
    struct push *p = op->params->ext_data;
    int r;

    if (STREQ(m->type, "want")) {
        r = answer(op, p, m);
        if (r != 1)
            return r < 0 ? r : 1;
        if (p->nwaiting == WAITING_MAX)
            return broke_rules(op, "too many questions");
        p->waiting[p->nwaiting++] = *m;
        memset(m, 0, sizeof(*m));
        return 1;
    }
    if (STREQ(m->type, "uploaded"))
        r = on_uploaded(op, p, m);
    else if (STREQ(m->type, "compressed"))
        r = on_compressed(op, p, m);
    else if (STREQ(m->type, "pushed"))
        r = on_pushed(op, p, m);
    else
        return 0;
    return r < 0 ? r : 1;
}

/* Looks again at the questions that wait for another push. */
static int push_retry(struct image_op *op)
{
    struct push *p = op->params->ext_data;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < p->nwaiting;) {
        r = answer(op, p, &p->waiting[i]);
        if (r == 1) {
            i++;
            continue;
        }
        worker_msg_done(&p->waiting[i]);
        p->waiting[i] = p->waiting[--p->nwaiting];
    }
    return r < 0 ? r : 0;
}

static void push_cleanup(struct image_op *op)
{
    struct push *p = op->params->ext_data;

    while (p->flights && p->flights[0]) {
        AUTOFREE char *key = xstrdup(p->flights[0]);
        flight_end(p, key);
    }
}

static const struct image_op_ext push_ext = {.message = push_message,
                                             .retry = push_retry,
                                             .cleanup = push_cleanup,
                                             .graceful = true};

/* --- What is to be sent ---------------------------------------------------------------------------------- */

/* Whether the registry had this blob in some repository. */
static bool is_elsewhere(struct push *p, const char *digest)
{
    AUTOPTR(strv) char **sources = NULL;

    return image_blob_sources(p->store, digest, p->ref.domain, &sources, NULL) >= 0 && sources;
}

/* Whether a manifest can go as it is: it is of this image, and all its archives are stored (`only`:
 * there is no other way, so archives that the registry has will do). */
static int try_manifest(struct push *p, struct push_image *pi, const char *digest, bool only,
                        struct error *e)
{
    CLEANUP(oci_manifest_done) struct oci_manifest m = {0};
    AUTOFREE char *text = NULL;
    size_t len = 0;

    if (image_blob_read(p->store, digest, OCI_MANIFEST_MAX, &text, &len, NULL) < 0 ||
        oci_manifest_parse(text, len, &m, NULL) < 0 || !STREQ(m.config.digest, pi->img->id) ||
        m.layers.len != pi->nlayers)
        return 0;
    pi->docker = m.media_type && STREQ(m.media_type, OCI_MT_DOCKER_MANIFEST);
    if (!p->any_compression || p->params->format)
        return 0;
    const struct oci_descriptor *d = m.layers.items;
    for (size_t i = 0; i < m.layers.len; i++)
        if (!has_archive(p->store, pi->layers[i].diff_id, d[i].digest) &&
            !(only && is_elsewhere(p, d[i].digest)))
            return 0;
    for (size_t i = 0; i < m.layers.len; i++) {
        pi->layers[i].digest = xstrdup(d[i].digest);
        pi->layers[i].media_type = xstrdup_or_null(d[i].media_type);
        pi->layers[i].size = d[i].size;
        pi->layers[i].elsewhere = !has_archive(p->store, pi->layers[i].diff_id, d[i].digest);
    }
    pi->manifest = xstrdup(digest);
    return 1;
}

/* Layers of zstd have no type of Docker's: without a word of the user's the manifest becomes OCI's. */
static int choose_types(struct push *p, struct push_image *pi, struct error *e)
{
    if (p->params->format) {
        pi->docker = STREQ(p->params->format, "docker");
        return 0;
    }
    if (!p->any_compression) {
        pi->docker = pi->docker && p->compression != OCI_ZSTD;
        return 0;
    }
    for (size_t i = 0; pi->docker && i < pi->nlayers; i++) {
        AUTOFREE char *digest = NULL, *type = NULL;
        enum oci_compression kind = OCI_PLAIN;
        uint64_t size = 0;
        int r = image_blob_of_layer(p->store, pi->layers[i].diff_id, &digest, &type, &size, e);
        if (r < 0)
            return r;
        if (type && oci_layer_compression(type, &kind, NULL) >= 0 && kind == OCI_ZSTD)
            pi->docker = false;
    }
    return 0;
}

/* Takes over the image's reference. digest: the manifest it must be sent with, NULL: the best. */
static int add_image(struct push *p, struct image *img, const char *digest, struct error *e)
{
    AUTOPTR(strv) char **candidates = NULL;
    int r = 0;

    p->images = xreallocarray(p->images, p->nimages + 1, sizeof(*p->images));
    struct push_image *pi = &p->images[p->nimages++];
    *pi = (struct push_image){.img = img, .docker = true};
    char *const *diff_ids = img->doc.rootfs.diff_ids;
    pi->nlayers = strv_len(diff_ids);
    pi->layers = xcalloc(pi->nlayers + 1, sizeof(*pi->layers));
    for (size_t i = 0; i < pi->nlayers; i++)
        pi->layers[i].diff_id = xstrdup(diff_ids[i]);
    if (digest)
        strv_push(&candidates, digest);
    else
        r = image_blob_documents(p->store, img->id, "manifest", &candidates, e);
    for (size_t i = 0; r == 0 && candidates && candidates[i]; i++) {
        r = try_manifest(p, pi, candidates[i], digest != NULL, e);
        if (r == 0 && p->params->format == NULL && !p->any_compression)
            break; /* the newest one's types are taken over */
    }
    if (r < 0 || pi->manifest)
        return r < 0 ? r : 0;
    if (digest)
        return error_set(
            e, ERR_NOT_FOUND,
            "the layers of manifest %s are stored in another compression than it says: "
            "pull it again, or push single platforms",
            digest);
    return choose_types(p, pi, e);
}

/* The image that has this manifest: 1, 0 none. */
static int find_by_manifest(struct push *p, const char *digest, struct image **ret, struct error *e)
{
    AUTOFREE char *id = NULL;
    {
        CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
        int r = store_query(p->store->db, &rows, e,
                            "SELECT b.image_id FROM image_blobs b JOIN images i ON i.id = "
                            "b.image_id WHERE b.digest = ? AND b.role = 'manifest' AND "
                            "i.removed = 0",
                            "s", digest);
        if (r >= 0)
            r = store_rows_next(&rows, e);
        if (r <= 0)
            return r;
        id = xstrdup(store_col_str(&rows, 0));
    }
    AUTO(error) struct error own = ERROR_INIT;
    int r = image_get(p->store, id, ret, &own);
    if (r < 0 && own.code == ERR_NOT_FOUND) /* removed this moment */
        return 0;
    error_move(e, &own);
    return r < 0 ? r : 1;
}

/* The newest index of the image; ERR_NOT_FOUND when it has none. */
static int load_index(struct push *p, const struct image *img, struct oci_index *ret,
                      struct error *e)
{
    AUTOPTR(strv) char **indexes = NULL;
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = image_blob_documents(p->store, img->id, "index", &indexes, e);

    if (r >= 0 && !indexes)
        r = error_set(e, ERR_NOT_FOUND,
                      "image %s was not pulled by an index: there are no other platforms of it",
                      p->params->reference);
    if (r >= 0)
        r = image_blob_read(p->store, indexes[0], OCI_MANIFEST_MAX, &text, &len, e);
    if (r >= 0)
        r = oci_index_parse(text, len, ret, e);
    if (r >= 0)
        str_replace(&p->index, indexes[0]);
    return r < 0 ? r : 0;
}

/* All images of the index, which must be here. */
static int add_all_platforms(struct push *p, const struct image *img, struct error *e)
{
    CLEANUP(oci_index_done) struct oci_index idx = {0};
    AUTOPTR(strv) char **missing = NULL;
    int r = load_index(p, img, &idx, e);

    if (r >= 0 && (!p->any_compression || p->params->format))
        return error_set(e, ERR_INVALID,
                         "--all-platforms sends the index as it came: --compression and --format "
                         "would change it");
    const struct oci_descriptor *d = idx.manifests.items;
    for (size_t i = 0; r >= 0 && i < idx.manifests.len; i++) {
        struct image *one = NULL;
        r = find_by_manifest(p, d[i].digest, &one, e);
        if (r == 1) {
            r = add_image(p, one, d[i].digest, e);
        } else if (r == 0) {
            AUTOFREE char *platform = d[i].platform ? oci_platform_string(d[i].platform) : NULL;
            strv_push(&missing, platform ? platform : d[i].digest);
        }
    }
    if (r < 0 || !missing)
        return r < 0 ? r : 0;
    AUTOFREE char *list = strv_join(missing, ", ");
    return error_set(e, ERR_NOT_FOUND,
                     "not all platforms of %s are here, missing: %s (pull them with --platform, or "
                     "push without --all-platforms)",
                     p->params->reference, list);
}

static bool is_platform(const struct image *img, const struct oci_platform *want)
{
    const struct oci_platform have = {.os = img->doc.os,
                                      .architecture = img->doc.architecture,
                                      .variant = img->doc.variant};

    return oci_platform_rank(want, &have) > 0;
}

/* The image of the wanted platform: the named one, or another of its index. Takes img over. */
static int add_platform(struct push *p, struct image *img, struct error *e)
{
    CLEANUP(oci_platform_done) struct oci_platform want = {0};
    CLEANUP(oci_index_done) struct oci_index idx = {0};
    AUTOPTR(image) struct image *named = img;
    AUTO(error) struct error ignored = ERROR_INIT;
    int r = oci_platform_parse(p->params->platform, &want, e);

    if (r < 0)
        return r;
    if (is_platform(img, &want))
        return add_image(p, take_ptr(named), NULL, e);
    r = load_index(p, img, &idx, &ignored);
    free(take_ptr(p->index));
    const struct oci_descriptor *d = idx.manifests.items;
    for (size_t i = 0; r >= 0 && i < idx.manifests.len; i++) {
        AUTOPTR(image) struct image *one = NULL;
        r = find_by_manifest(p, d[i].digest, &one, e);
        if (r == 1 && is_platform(one, &want))
            return add_image(p, take_ptr(one), NULL, e);
    }
    return r < 0 && e->message
               ? r
               : error_set(e, ERR_NOT_FOUND,
                           "image %s of platform %s is not here: pull it with --platform first",
                           p->params->reference, p->params->platform);
}

static void push_done(struct push *p)
{
    for (size_t i = 0; i < p->nimages; i++) {
        struct push_image *pi = &p->images[i];
        for (size_t k = 0; k < pi->nlayers; k++) {
            free(pi->layers[k].diff_id);
            free(pi->layers[k].digest);
            free(pi->layers[k].media_type);
        }
        free(pi->layers);
        free(pi->manifest);
        image_unref(pi->img);
    }
    free(p->images);
    for (size_t i = 0; i < p->nwaiting; i++)
        worker_msg_done(&p->waiting[i]);
    image_blobs_done(&p->blobs);
    strv_free(p->lost);
    oci_reference_done(&p->ref);
    free(p->repository);
    free(p->index);
    free(p->digest);
    strv_free(p->allowed);
    strv_free(p->flights);
}

/* --- Running it -------------------------------------------------------------------------------------------- */

static int say(const struct image_push_params *pp, const char *status, const char *aux,
               struct error *e)
{
    const struct image_progress line = {.status = status, .aux = aux, .has_detail = aux != NULL};

    if (pp->progress && pp->progress(pp->progress_data, &line) < 0)
        return error_set_errno(e, ECANCELED, "the operation was cancelled");
    return 0;
}

/* "latest: digest: … size: …", and the same for programs. */
static int say_result(const struct push *p, struct error *e)
{
    AUTO(buf) struct buf aux = BUF_INIT(4096);
    AUTOFREE char *status = xasprintf("%s: digest: %s size: %llu", p->ref.tag, p->digest,
                                      (unsigned long long)p->size);
    struct jsonw w = {.out = &aux};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Tag", p->ref.tag);
    jsonw_str(&w, "Digest", p->digest);
    jsonw_uint(&w, "Size", p->size);
    jsonw_end(&w);
    int r = say(p->params, status, NULL, e);
    return r < 0 ? r : say(p->params, NULL, buf_str(&aux), e);
}

static int run(struct push *p, struct error *e)
{
    static const struct image_auth none = {0};
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    const struct image_auth *a = p->params->auth ? p->params->auth : &none;
    AUTOFREE char *familiar = oci_reference_familiar(&p->ref);
    AUTOPTR(strv) char **sources = NULL;

    int r = push_mount_sources(p->store, p->images[0].img->id, p->repository, p->ref.domain,
                               &sources, e);
    if (r < 0)
        return r;
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"push",
                               .reference = familiar,
                               .tag = p->ref.tag,
                               .compression = (char *)p->params->compression,
                               .level = p->params->level,
                               .names = sources,
                               .parallel = PARALLEL_UPLOADS,
                               .chunk = push_chunk_size()};
    image_op_start_registry(p->store, &p->ref, a, &start);
    const struct image_op_params op = {.start = &start,
                                       .input_fd = -EBADF,
                                       .progress = p->params->progress,
                                       .progress_data = p->params->progress_data,
                                       .cancel_fd = p->params->cancel_fd,
                                       .ext = &push_ext,
                                       .ext_data = p,
                                       .auth = a};
    r = image_op_run(p->store, &op, &results, e);
    if (r >= 0 && !p->digest)
        r = error_set(e, ERR_INTERNAL, "the image worker pushed nothing");
    return r < 0 ? r : say_result(p, e);
}

/* One tag: p has the reference. */
static int push_one(struct image_store *s, const struct image_push_params *params,
                    const struct oci_reference *ref, struct error *e)
{
    struct push p = {.store = s,
                     .params = params,
                     .blobs = {.cancel_fd = params->cancel_fd},
                     .any_compression = !params->compression};
    AUTOPTR(image) struct image *img = NULL;
    AUTOFREE char *full = oci_reference_string(ref), *familiar = oci_reference_familiar(ref);

    p.repository = oci_reference_name(ref);
    int r = oci_reference_parse(full, &p.ref, e);
    if (r >= 0 && params->compression)
        r = push_compression_parse(params->compression, &p.compression);
    if (r >= 0) {
        r = image_resolve(s, familiar, &img, e);
        if (r == -ENOENT) {
            error_done(e);
            r = error_set(e, ERR_NOT_FOUND, "An image does not exist locally with the tag: %s",
                          familiar);
        }
    }
    if (r >= 0 && params->all_platforms)
        r = add_all_platforms(&p, img, e);
    else if (r >= 0 && params->platform)
        r = add_platform(&p, take_ptr(img), e);
    else if (r >= 0)
        r = add_image(&p, take_ptr(img), NULL, e);
    if (r >= 0)
        r = run(&p, e);
    push_done(&p);
    return r < 0 ? r : 0;
}

static int check_params(const struct image_push_params *p, struct error *e)
{
    enum oci_compression kind = OCI_GZIP;

    if (p->compression && push_compression_parse(p->compression, &kind) < 0)
        return error_set(e, ERR_INVALID, "unknown compression \"%.40s\": it is gzip, zstd or none",
                         p->compression);
    if (p->format && !STREQ(p->format, "oci") && !STREQ(p->format, "docker"))
        return error_set(e, ERR_INVALID, "unknown format \"%.40s\": it is oci or docker",
                         p->format);
    if (p->format && p->compression && STREQ(p->format, "docker") && kind == OCI_ZSTD)
        return error_set(e, ERR_INVALID,
                         "Docker's manifests have no type for zstd layers: use --format oci");
    if (p->level != 0 && (!p->compression || kind == OCI_PLAIN))
        return error_set(e, ERR_INVALID, "a compression level needs --compression gzip or zstd");
    if (p->level < 0 || p->level > (kind == OCI_ZSTD ? 22 : 9))
        return error_set(e, ERR_INVALID, "compression level %lld is not between 1 and %d",
                         (long long)p->level, kind == OCI_ZSTD ? 22 : 9);
    if (p->all_platforms && p->platform)
        return error_set(e, ERR_INVALID, "--platform and --all-platforms contradict each other");
    return 0;
}

int image_push(struct image_store *s, const struct image_push_params *p, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    AUTOPTR(strv) char **tags = NULL;
    int r = check_params(p, e);

    if (r >= 0)
        r = oci_reference_parse(p->reference, &ref, e);
    if (r < 0)
        return r;
    if (ref.digest)
        return error_set(e, ERR_INVALID, "cannot push a digest reference");
    AUTOFREE char *repository = oci_reference_name(&ref);
    AUTOFREE char *familiar = oci_reference_familiar_name(&ref);
    if (ref.tag)
        strv_push(&tags, ref.tag);
    else if (p->all_tags)
        r = push_tags_of(s, repository, &tags, e);
    else
        strv_push(&tags, "latest");
    if (r >= 0 && !tags)
        r = error_set(e, ERR_NOT_FOUND, "An image does not exist locally with the tag: %s",
                      familiar);
    AUTOFREE char *begin = xasprintf("The push refers to repository [%s]", repository);
    if (r >= 0)
        r = say(p, begin, NULL, e);
    for (size_t i = 0; r >= 0 && tags[i]; i++) {
        str_replace(&ref.tag, tags[i]);
        r = push_one(s, p, &ref, e);
    }
    return r < 0 ? r : 0;
}
