/* SPDX-License-Identifier: Apache-2.0 */
/*
 * push: asks pouchd for the images to send, sends what the registry lacks (blobs side by side), then
 * the manifests. A manifest that came with the image goes as it is, byte by byte; one that is to be
 * made names the archives that pouchd has, or that are made here in the compression asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/worker/upload.h"

#define PROGRESS_NS (100 * NSEC_PER_MSEC)

struct blob {
    uint64_t index; /* of the layer in progress */
    bool is_layer;
    char *diff_id;
    char digest[DIGEST_MAX]; /* of what is sent */
    char *media_type;
    uint64_t size;
    int64_t last_progress;
};

struct push {
    const struct worker_msg *start;
    struct registry registry;
    struct uploads uploads;
    uint64_t layers; /* announced so far, of all images */
    /* of the image under way */
    uint64_t image;
    struct blob *blobs; /* the layers, each once; the configuration is the last */
    size_t nblobs, next;
    pthread_mutex_t lock;
    struct error error; /* of the first that failed */
    int status;
};

/* --- Questions to pouchd --------------------------------------------------------------------------- */

/* Asks; nfds descriptors come, or with 2 as many as there are. */
static int want(struct worker_msg *m, struct worker_msg *reply, int *fds, size_t nfds,
                struct error *e)
{
    int got[WORKER_FDS_MAX];
    size_t n = 0;

    m->type = (char *)"want";
    int r = conn_call(m, reply, got, &n, e);
    if (r >= 0 && n != nfds && nfds != 2)
        r = error_set(e, ERR_INTERNAL, "pouchd gave no file");
    for (size_t i = 0; i < n; i++)
        if (r >= 0 && i < nfds && fds)
            fds[i] = got[i];
        else
            close(got[i]);
    return r;
}

/* A manifest or configuration as text. */
static int want_document(const char *role, const char *digest, size_t max, struct worker_msg *reply,
                         char **ret, size_t *ret_len, struct error *e)
{
    struct worker_msg m = {.role = (char *)role, .digest = (char *)digest};
    AUTOFD int fd = -EBADF;
    int r = want(&m, reply, &fd, 1, e);

    if (r < 0)
        return r;
    if (reply->size > max)
        return error_set(e, ERR_TOO_LARGE, "document %s is larger than %zu bytes",
                         digest ? digest : role, max);
    AUTOFREE char *text = xmalloc(reply->size + 1);
    ssize_t n = fs_read_full(fd, text, reply->size);
    if (n < 0 || (uint64_t)n != reply->size)
        return error_set_errno(e, n < 0 ? (int)n : EIO, "cannot read document %s",
                               digest ? digest : role);
    text[n] = '\0';
    *ret = take_ptr(text);
    *ret_len = (size_t)n;
    return 0;
}

static void progress(struct blob *b, const char *status, uint64_t done, bool force)
{
    int64_t now = time_monotonic_ns();

    if (!b->is_layer || (!force && now - b->last_progress < PROGRESS_NS))
        return;
    b->last_progress = now;
    struct worker_msg m = {.type = (char *)"progress",
                           .index = b->index,
                           .status = (char *)status,
                           .current = done,
                           .total = done ? b->size : 0};
    (void)conn_send(&m, NULL);
}

static void pushing(void *data, uint64_t done)
{
    progress(data, "Pushing", done, false);
}

static void compressing(void *data, uint64_t done)
{
    progress(data, "Compressing", done, false);
}

/* --- One blob -------------------------------------------------------------------------------------- */

static int make_archive(struct push *p, struct blob *b, const struct worker_msg *given, int in,
                        int out, struct error *e)
{
    static const char *const names[OCI_COMPRESSION_MAX] = {
        [OCI_PLAIN] = "none", [OCI_GZIP] = "gzip", [OCI_ZSTD] = "zstd"};
    enum oci_compression to = OCI_COMPRESSION_MAX;
    struct compressed made = {0};

    for (int i = 0; i < OCI_COMPRESSION_MAX; i++)
        if (given->compression && STREQ(given->compression, names[i]))
            to = (enum oci_compression)i;
    if (to == OCI_COMPRESSION_MAX)
        return error_set(e, ERR_INTERNAL, "pouchd wants an unknown compression");
    b->size = given->size;
    int r = compress_layer(in, out, b->diff_id, to, (int)p->start->level, &made, compressing, b, e);
    if (r < 0)
        return r;
    memcpy(b->digest, made.digest, DIGEST_MAX);
    b->size = made.size;
    struct worker_msg m = {.type = (char *)"compressed",
                           .index = p->image,
                           .diff_id = b->diff_id,
                           .compression = given->compression,
                           .file = given->file,
                           .digest = b->digest,
                           .size = b->size};
    return conn_send(&m, e);
}

/* Which archive a layer is sent as; makes it when there is none. */
static int find_archive(struct push *p, struct blob *b, struct error *e)
{
    struct worker_msg m = {.role = (char *)"layer", .index = p->image, .diff_id = b->diff_id};
    CLEANUP(worker_msg_done) struct worker_msg given = {0};
    int fds[2] = {-EBADF, -EBADF};

    int r = want(&m, &given, fds, 2, e);
    AUTOFD int in = fds[0], out = fds[1];
    if (r < 0)
        return r;
    b->media_type = take_ptr(given.media_type);
    if (in >= 0 && out >= 0)
        return make_archive(p, b, &given, in, out, e);
    if (!digest_is_valid(given.digest))
        return error_set(e, ERR_INTERNAL, "pouchd gave no archive of layer %s", b->diff_id);
    snprintf(b->digest, sizeof(b->digest), "%s", given.digest);
    b->size = given.size;
    return 0;
}

static int send_blob(struct push *p, struct http_client *c, struct blob *b, struct error *e)
{
    struct worker_msg m = {.role = (char *)"upload", .digest = b->digest};
    struct worker_msg done = {.type = (char *)"uploaded", .digest = b->digest};
    CLEANUP(worker_msg_done) struct worker_msg given = {0};
    CLEANUP(uploaded_done) struct uploaded how = {0};
    int fds[2] = {-EBADF, -EBADF};

    int r = upload_blob_exists(&p->uploads, c, b->digest, (int64_t)b->size, e);
    if (r == 1)
        progress(b, "Layer already exists", 0, true);
    if (r != 0)
        return r < 0 ? r : conn_send(&done, e);
    r = want(&m, &given, fds, 2, e); /* no file: it is not stored here */
    AUTOFD int fd = fds[0];
    if (r < 0)
        return r;
    b->size = given.size;
    /* Another push may have sent it since: then this repository is among those known to have it. */
    if (strv_contains(given.names, p->uploads.repository))
        r = upload_blob_exists(&p->uploads, c, b->digest, (int64_t)b->size, e);
    if (r == 1)
        progress(b, "Layer already exists", 0, true);
    const struct upload job = {.digest = b->digest,
                               .fd = fd,
                               .size = b->size,
                               .sources = given.names,
                               .progress = pushing,
                               .progress_data = b};
    if (r == 0) {
        r = upload_blob(&p->uploads, c, &job, &how, e);
        AUTOFREE char *status = how.from ? xasprintf("Mounted from %s", how.from)
                                         : xstrdup("Pushed");
        if (r >= 0)
            progress(b, status, 0, true);
        done.names = how.not_from;
    }
    return r < 0 ? r : conn_send(&done, e);
}

static int push_blob(struct push *p, struct http_client *c, struct blob *b, struct error *e)
{
    int r = b->is_layer ? find_archive(p, b, e) : 0;

    if (r >= 0)
        r = send_blob(p, c, b, e);
    if (r < 0 && b->is_layer)
        error_add(e, "layer %.12s", digest_hex(b->diff_id));
    return r;
}

/* --- All blobs of an image ----------------------------------------------------------------------------- */

static void *blob_thread(void *data)
{
    struct push *p = data;
    AUTOPTR(http_client) struct http_client *c = http_client_new();

    for (;;) {
        AUTO(error) struct error e = ERROR_INIT;
        pthread_mutex_lock(&p->lock);
        struct blob *b = p->status < 0 || p->next >= p->nblobs ? NULL : &p->blobs[p->next++];
        pthread_mutex_unlock(&p->lock);
        if (!b)
            return NULL;
        int r = push_blob(p, c, b, &e);
        if (r >= 0)
            continue;
        pthread_mutex_lock(&p->lock);
        if (p->status == 0) {
            p->status = r;
            error_move(&p->error, &e);
            http_cancel(); /* the others stop and take back what they began */
            conn_wake();
        }
        pthread_mutex_unlock(&p->lock);
        return NULL;
    }
}

static int push_blobs(struct push *p, struct error *e)
{
    size_t n = p->start->parallel < p->nblobs ? p->start->parallel : p->nblobs, started = 0;
    pthread_t threads[WORKER_PARALLEL_MAX];

    n = n < WORKER_PARALLEL_MAX ? n : WORKER_PARALLEL_MAX;
    for (; started < n; started++)
        if (pthread_create(&threads[started], NULL, blob_thread, p) != 0)
            break;
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (started == 0)
        return error_set(e, ERR_INTERNAL, "cannot start a thread");
    if (p->status < 0) {
        error_move(e, &p->error);
        return p->status;
    }
    return http_cancelled() ? error_set_errno(e, ECANCELED, "the push was cancelled") : 0;
}

static void free_blobs(struct push *p)
{
    for (size_t i = 0; i < p->nblobs; i++) {
        free(p->blobs[i].diff_id);
        free(p->blobs[i].media_type);
    }
    free(take_ptr(p->blobs));
    p->nblobs = p->next = 0;
}

/* Lists each different layer once, and the configuration; tells pouchd and the user. */
static int plan(struct push *p, const struct worker_msg *given, struct error *e)
{
    size_t n = strv_len(given->layers);
    int r = 0;

    p->blobs = xcalloc(n + 1, sizeof(*p->blobs));
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t k = 0; k < p->nblobs; k++)
            seen = seen || STREQ(p->blobs[k].diff_id, given->layers[i]);
        if (seen)
            continue;
        struct blob *b = &p->blobs[p->nblobs++];
        b->is_layer = true;
        b->index = p->layers++;
        b->diff_id = xstrdup(given->layers[i]);
        struct worker_msg m = {.type = (char *)"plan", .index = b->index, .diff_id = b->diff_id};
        if (r >= 0)
            r = conn_send(&m, e);
    }
    for (size_t i = 0; r >= 0 && i < p->nblobs; i++)
        progress(&p->blobs[i], "Preparing", 0, true);
    for (size_t i = p->start->parallel; r >= 0 && i < p->nblobs; i++)
        progress(&p->blobs[i], "Waiting", 0, true);
    struct blob *config = &p->blobs[p->nblobs++];
    snprintf(config->digest, sizeof(config->digest), "%s", given->config);
    config->size = given->size;
    return r;
}

/* --- Manifests ------------------------------------------------------------------------------------------ */

static void put_descriptor(struct jsonw *w, const char *key, const char *type, const char *digest,
                           uint64_t size)
{
    jsonw_begin(w, key);
    jsonw_str(w, "mediaType", type);
    jsonw_uint(w, "size", size);
    jsonw_str(w, "digest", digest);
    jsonw_end(w);
}

/* A manifest of the blobs that were sent, with as many layers as the configuration has. */
static int make_manifest(struct push *p, const struct worker_msg *given, struct buf *out,
                         struct error *e)
{
    bool docker = STREQ(given->media_type, OCI_MT_DOCKER_MANIFEST);
    const struct blob *config = &p->blobs[p->nblobs - 1];
    struct jsonw w = {.out = out};

    jsonw_begin(&w, NULL);
    jsonw_uint(&w, "schemaVersion", 2);
    jsonw_str(&w, "mediaType", given->media_type);
    put_descriptor(&w, "config", docker ? OCI_MT_DOCKER_CONFIG : OCI_MT_CONFIG, config->digest,
                   config->size);
    jsonw_list_begin(&w, "layers");
    for (size_t i = 0; given->layers && given->layers[i]; i++)
        for (size_t k = 0; k + 1 < p->nblobs; k++)
            if (STREQ(p->blobs[k].diff_id, given->layers[i])) {
                put_descriptor(&w, NULL, p->blobs[k].media_type, p->blobs[k].digest,
                               p->blobs[k].size);
                break;
            }
    jsonw_list_end(&w);
    jsonw_end(&w);
    if (out->len >= out->max)
        return error_set(e, ERR_TOO_LARGE, "the image has too many layers");
    return 0;
}

/* What a document says it is; older OCI documents do not say. */
struct typed {
    char *media_type;
};
static const struct json_field typed_fields[] = {
    JSON_FIELD(struct typed, media_type, "mediaType", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc typed_json = {"document", sizeof(struct typed), typed_fields};

char *upload_media_type(const char *text, size_t len, const char *fallback)
{
    struct typed t = {0};

    if (json_parse(&typed_json, text, len, &t, NULL) < 0 || str_is_empty(t.media_type))
        str_replace(&t.media_type, fallback);
    return t.media_type;
}

static int put_manifest(struct push *p, struct http_client *c, uint64_t index, const char *tag,
                        const char *media_type, const char *text, size_t len, bool made,
                        struct error *e)
{
    char digest[DIGEST_MAX];

    if (digest_bytes(text, len, digest) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    int r = made ? conn_put_blob("manifest", digest, text, len, e) : 0;
    if (r >= 0)
        r = upload_manifest(&p->uploads, c, tag ? tag : digest, media_type, text, len, digest, e);
    struct worker_msg m = {.type = (char *)"pushed",
                           .index = index,
                           .manifest = digest,
                           .size = len};
    return r < 0 ? r : conn_send(&m, e);
}

static int push_manifest(struct push *p, struct http_client *c, const struct worker_msg *given,
                         struct error *e)
{
    AUTO(buf) struct buf made = BUF_INIT(OCI_MANIFEST_MAX);
    CLEANUP(worker_msg_done) struct worker_msg reply = {0};
    AUTOFREE char *text = NULL, *type = NULL;
    size_t len = 0;

    if (!given->manifest) {
        int r = make_manifest(p, given, &made, e);
        return r < 0 ? r
                     : put_manifest(p, c, p->image, given->tag, given->media_type, buf_str(&made),
                                    made.len, true, e);
    }
    int r = want_document("document", given->manifest, OCI_MANIFEST_MAX, &reply, &text, &len, e);
    if (r < 0)
        return r;
    type = upload_media_type(text, len, OCI_MT_MANIFEST);
    return put_manifest(p, c, p->image, given->tag, type, text, len, false, e);
}

static int push_index(struct push *p, struct http_client *c, struct error *e)
{
    CLEANUP(worker_msg_done) struct worker_msg none = {0}, reply = {0};
    AUTOFREE char *text = NULL, *type = NULL;
    size_t len = 0;
    struct worker_msg m = {.role = (char *)"index"};

    int r = want(&m, &none, NULL, 0, e);
    if (r < 0)
        return r;
    if (none.state && STREQ(none.state, "none"))
        return 0;
    r = want_document("document", none.digest, OCI_MANIFEST_MAX, &reply, &text, &len, e);
    if (r < 0)
        return r;
    type = upload_media_type(text, len, OCI_MT_INDEX);
    return put_manifest(p, c, p->image, none.tag, type, text, len, false, e);
}

/* --- The operation -------------------------------------------------------------------------------------- */

/* 1 an image was sent, 0 there is none any more. */
static int push_image(struct push *p, struct http_client *c, struct error *e)
{
    struct worker_msg m = {.role = (char *)"image", .index = p->image};
    CLEANUP(worker_msg_done) struct worker_msg given = {0};

    int r = want(&m, &given, NULL, 0, e);
    if (r < 0)
        return r;
    if (given.state && STREQ(given.state, "end"))
        return 0;
    if (!digest_is_valid(given.config) || !given.media_type)
        return error_set(e, ERR_INTERNAL, "pouchd gave no image");
    r = plan(p, &given, e);
    if (r >= 0) { /* the first question finds out scheme and rights, for all threads */
        r = upload_blob_exists(&p->uploads, c, given.config, -1, e);
        if (r == 1 && p->nblobs == 1)
            r = 0;
    }
    if (r >= 0)
        r = push_blobs(p, e);
    if (r >= 0)
        r = push_manifest(p, c, &given, e);
    free_blobs(p);
    return r < 0 ? r : 1;
}

int worker_push(const struct worker_msg *start, struct error *e)
{
    struct push p = {.start = start};
    int r;

    registry_init(&p.registry, start);
    uploads_init(&p.uploads, &p.registry, start->chunk, start->names);
    pthread_mutex_init(&p.lock, NULL);
    struct http_client *c = http_client_new();
    while ((r = push_image(&p, c, e)) > 0)
        p.image++;
    if (r == 0)
        r = push_index(&p, c, e);
    http_client_free(c);
    pthread_mutex_destroy(&p.lock);
    uploads_done(&p.uploads);
    registry_done(&p.registry);
    return r;
}
