/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save: images as one archive, written as a stream. What is in it is on disk already and was
 * verified when it came: documents and layers go out as they are, so that nothing is unpacked,
 * packed or held in memory, and a loaded copy has the same digests. The same images give the same
 * bytes: times, owners and the order are fixed.
 *
 * The archive is an OCI layout (index.json, blobs/) and has Docker's manifest.json beside it, as
 * Docker 25 and later write it; format "oci" leaves that out and has OCI's media types alone. An
 * image without a usable manifest (imported, committed, loaded from an old archive) gets one made of
 * its configuration and the layers as they are stored.
 *
 * Archives of layers that are not kept are made again, each once: before the first byte goes out, so
 * that a failure is an answer and not a stream that breaks off; where the disk has hardly any room for
 * all of them, each only when its turn comes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sha256.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/tarw.h"
#include "image/filter.h"
#include "image/image-priv.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define COPY_SIZE  (256u * 1024)
#define FIND_TRIES 100 /* each time the image was removed just then */

/* --- What goes in ------------------------------------------------------------------------------ */

/* One blob of the archive: on disk, or made here. */
struct item {
    char *digest;
    uint64_t size;
    char *text; /* made here; NULL: in the store */
};

struct layer {
    char *digest;
    char *media_type;
    uint64_t size;
};

struct chosen {
    struct image *img;
    char **refs; /* full references to write; NULL: by id */
    char *manifest;
    char *manifest_type;
    uint64_t manifest_size;
    uint64_t config_size;
    struct layer *layers;
    size_t nlayers;
};

struct save {
    struct image_store *store;
    const struct image_save_params *p;
    bool oci; /* OCI's media types alone, no manifest.json */
    struct chosen *images;
    size_t nimages;
    struct item *items;
    size_t nitems;
    struct image_blobs blobs; /* that were dropped and made again */
    struct tarw tar;
    struct error *e;
};

static void save_done(struct save *s)
{
    for (size_t i = 0; i < s->nimages; i++) {
        struct chosen *c = &s->images[i];

        image_unref(c->img);
        strv_free(c->refs);
        free(c->manifest);
        free(c->manifest_type);
        for (size_t k = 0; k < c->nlayers; k++) {
            free(c->layers[k].digest);
            free(c->layers[k].media_type);
        }
        free(c->layers);
    }
    free(s->images);
    for (size_t i = 0; i < s->nitems; i++) {
        free(s->items[i].digest);
        free(s->items[i].text);
    }
    free(s->items);
    image_blobs_done(&s->blobs);
}

static void add_item(struct save *s, const char *digest, uint64_t size, char *text /* taken */)
{
    for (size_t i = 0; i < s->nitems; i++) {
        if (STREQ(s->items[i].digest, digest)) {
            free(text);
            return;
        }
    }
    s->items = xreallocarray(s->items, s->nitems + 1, sizeof(*s->items));
    s->items[s->nitems++] = (struct item){xstrdup(digest), size, text};
}

/* --- Which images ---------------------------------------------------------------------------------- */

/* 1; 0: the image was removed this moment. */
static int choose(struct save *s, const char *id, const char *ref, const char *shown)
{
    struct chosen *c = NULL;

    for (size_t i = 0; !c && i < s->nimages; i++)
        if (STREQ(s->images[i].img->id, id))
            c = &s->images[i];
    if (!c) {
        AUTO(error) struct error own = ERROR_INIT;
        struct image *img = NULL;
        int r = image_get(s->store, id, &img, &own);

        if (r < 0 && own.code == ERR_NOT_FOUND)
            return 0;
        if (r < 0)
            error_move(s->e, &own);
        if (r >= 0 && (r = image_check_platform(img, s->p->platform, shown, s->e)) < 0)
            image_unref(img);
        if (r < 0)
            return r;
        s->images = xreallocarray(s->images, s->nimages + 1, sizeof(*s->images));
        c = &s->images[s->nimages++];
        *c = (struct chosen){.img = img};
    }
    if (ref && !strv_contains(c->refs, ref))
        strv_push(&c->refs, ref);
    return 1;
}

/* All tags of a repository; 0 when it has none. */
static int choose_repository(struct save *s, const char *repository, const char *shown)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOPTR(strv) char **names = NULL, **ids = NULL;
    bool any = false;
    int r = store_query(s->store->db, &rows, s->e,
                        "SELECT name, image_id FROM image_names WHERE substr(name, 1, length(?1) + "
                        "1) = ?1 || ':' ORDER BY name",
                        "s", repository);

    while (r >= 0 && (r = store_rows_next(&rows, s->e)) > 0) {
        if (strchr(store_col_str(&rows, 0) + strlen(repository) + 1, '/'))
            continue; /* a port, not a tag */
        strv_push(&names, store_col_str(&rows, 0));
        strv_push(&ids, store_col_str(&rows, 1));
    }
    store_rows_done(&rows);
    for (size_t i = 0; r >= 0 && names && names[i]; i++) {
        r = choose(s, ids[i], names[i], shown);
        any = any || r > 0;
    }
    return r < 0 ? r : any;
}

static int choose_name(struct save *s, const char *name)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};
    int r = 0;

    /* A bare name is the whole repository, unless it has no tag and is the id of an image. */
    if (!str_has_prefix(name, "sha256:") && oci_reference_parse(name, &ref, NULL) == 0 &&
        !ref.tag && !ref.digest) {
        AUTOFREE char *repository = oci_reference_name(&ref);

        r = choose_repository(s, repository, name);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    /* Again when it went in between: then it is missing, or another image's name. */
    for (int tries = 0; r == 0; tries++) {
        AUTOFREE char *id = NULL, *full = NULL;

        if (tries == FIND_TRIES) /* a name without an image: fsck's business */
            return error_set(s->e, ERR_NOT_FOUND, "No such image: %s", name);
        r = image_store_find(s->store, name, &id, &full, s->e);
        if (r >= 0)
            r = choose(s, id, full && !strchr(full, '@') ? full : NULL, name);
    }
    return r < 0 ? r : 0;
}

/* --- The manifest of one image ------------------------------------------------------------------------ */

static int type_of(struct save *s, const char *digest, uint64_t *ret_size, const char **ret_type)
{
    enum oci_compression kind = OCI_PLAIN;
    enum image_blob_where where;
    int r = image_blob_probe(s->store, digest, &kind, ret_size, &where, s->e);

    if (r < 0)
        return r;
    *ret_type = kind == OCI_GZIP   ? OCI_MT_LAYER_GZIP
                : kind == OCI_ZSTD ? OCI_MT_LAYER_ZSTD
                                   : OCI_MT_LAYER;
    return 0;
}

static void add_layer(struct chosen *c, const char *digest, const char *type, uint64_t size)
{
    c->layers = xreallocarray(c->layers, c->nlayers + 1, sizeof(*c->layers));
    c->layers[c->nlayers++] = (struct layer){xstrdup(digest), xstrdup(type), size};
}

static void write_descriptor(struct jsonw *w, const char *key, const char *type, const char *digest,
                             uint64_t size)
{
    jsonw_begin(w, key);
    jsonw_str(w, "mediaType", type);
    jsonw_str(w, "digest", digest);
    jsonw_uint(w, "size", size);
    jsonw_end(w);
}

/* Of the configuration and the layers as they are stored. */
static int make_manifest(struct save *s, struct chosen *c)
{
    AUTO(buf) struct buf b = BUF_INIT(OCI_MANIFEST_MAX);
    struct jsonw w = {.out = &b};
    char hex[65];

    for (size_t i = 0; c->img->doc.rootfs.diff_ids && c->img->doc.rootfs.diff_ids[i]; i++) {
        AUTOFREE char *digest = NULL, *stored_type = NULL;
        const char *type = NULL;
        uint64_t size = 0;
        int r = image_blob_of_layer(s->store, c->img->doc.rootfs.diff_ids[i], &digest, &stored_type,
                                    &size, s->e);

        if (r < 0)
            return r;
        if (!digest)
            return error_set(
                s->e, ERR_NOT_FOUND,
                "the archive of layer %s of image %s is not kept: pull the image again",
                c->img->doc.rootfs.diff_ids[i], c->img->id);
        r = type_of(s, digest, &size, &type);
        if (r < 0)
            return r;
        add_layer(c, digest, type, size);
    }
    jsonw_begin(&w, NULL);
    jsonw_int(&w, "schemaVersion", 2);
    jsonw_str(&w, "mediaType", OCI_MT_MANIFEST);
    write_descriptor(&w, "config", OCI_MT_CONFIG, c->img->id, c->config_size);
    jsonw_list_begin(&w, "layers");
    for (size_t i = 0; i < c->nlayers; i++)
        write_descriptor(&w, NULL, c->layers[i].media_type, c->layers[i].digest, c->layers[i].size);
    jsonw_list_end(&w);
    jsonw_end(&w);
    sha256_hex(b.data, b.len, hex);
    c->manifest = xasprintf("sha256:%s", hex);
    c->manifest_type = xstrdup(OCI_MT_MANIFEST);
    c->manifest_size = b.len;
    add_item(s, c->manifest, c->manifest_size, buf_take(&b));
    return 0;
}

/* Takes a manifest that came with the image if it can be given out as it is: all its layers are in
 * the store in the form it names. 1, 0, <0. */
static int take_manifest(struct save *s, struct chosen *c, const char *digest)
{
    CLEANUP(oci_manifest_done) struct oci_manifest m = {0};
    char *const *diff_ids = c->img->doc.rootfs.diff_ids;
    AUTOFREE char *text = NULL;
    size_t len = 0;

    if (image_blob_read(s->store, digest, OCI_MANIFEST_MAX, &text, &len, NULL) < 0 ||
        oci_manifest_parse(text, len, &m, NULL) < 0 || !STREQ(m.config.digest, c->img->id) ||
        m.layers.len != strv_len(diff_ids))
        return 0;
    const char *type = str_is_empty(m.media_type) ? OCI_MT_MANIFEST : m.media_type;
    const struct oci_descriptor *d = m.layers.items;
    if (s->oci && !STREQ(type, OCI_MT_MANIFEST))
        return 0;
    for (size_t i = 0; i < m.layers.len; i++) {
        enum oci_compression kind;
        uint64_t size = 0;
        enum image_blob_where where;

        if (image_blob_probe(s->store, d[i].digest, &kind, &size, &where, NULL) < 0 ||
            size != d[i].size)
            return 0;
    }
    for (size_t i = 0; i < m.layers.len; i++)
        add_layer(c, d[i].digest, d[i].media_type, d[i].size);
    c->manifest = xstrdup(digest);
    c->manifest_type = xstrdup(type);
    c->manifest_size = len;
    add_item(s, digest, len, NULL);
    return 1;
}

static int plan_image(struct save *s, struct chosen *c)
{
    AUTOPTR(strv) char **manifests = NULL;
    AUTOFD int fd = -EBADF;
    int r = image_blob_open(s->store, NULL, c->img->id, &fd, &c->config_size, s->e);

    if (r >= 0)
        r = image_blob_documents(s->store, c->img->id, "manifest", &manifests, s->e);
    if (r < 0)
        return r;
    r = 0;
    for (size_t i = 0; r == 0 && manifests && manifests[i]; i++)
        r = take_manifest(s, c, manifests[i]);
    if (r == 0)
        r = make_manifest(s, c);
    if (r < 0)
        return r;
    add_item(s, c->img->id, c->config_size, NULL);
    for (size_t i = 0; i < c->nlayers; i++)
        add_item(s, c->layers[i].digest, c->layers[i].size, NULL);
    return 0;
}

/* The archives that must be made again, all before the first byte: 0, or why it cannot be. Not more
 * than half of what the disk has left is taken for that. */
static int make_again(struct save *s)
{
    char **dropped = NULL;
    uint64_t sum = 0;
    struct statvfs v;
    int r = 0;

    for (size_t i = 0; i < s->nitems; i++) {
        const struct item *item = &s->items[i];
        enum oci_compression kind;
        uint64_t size = 0;
        enum image_blob_where where;

        if (!item->text &&
            image_blob_probe(s->store, item->digest, &kind, &size, &where, NULL) >= 0 &&
            where != IMAGE_BLOB_STORED) {
            strv_push(&dropped, item->digest);
            sum += size;
        }
    }
    if (dropped && fstatvfs(s->store->tmp_fd, &v) == 0 && sum / v.f_frsize <= v.f_bavail / 2)
        for (size_t i = 0; r >= 0 && dropped[i]; i++) {
            AUTOFD int fd = -EBADF;

            r = image_blob_open(s->store, &s->blobs, dropped[i], &fd, &sum, s->e);
        }
    strv_free(dropped);
    return r < 0 ? r : 0;
}

/* --- Documents of the archive -------------------------------------------------------------------------- */

static void index_entry(struct jsonw *w, const struct chosen *c, const char *full)
{
    jsonw_begin(w, NULL);
    jsonw_str(w, "mediaType", c->manifest_type);
    jsonw_str(w, "digest", c->manifest);
    jsonw_uint(w, "size", c->manifest_size);
    if (full) {
        const char *colon = strrchr(full, ':');

        jsonw_begin(w, "annotations");
        jsonw_str(w, "io.containerd.image.name", full);
        jsonw_str(w, "org.opencontainers.image.ref.name", colon ? colon + 1 : full);
        jsonw_end(w);
    }
    if (!str_is_empty(c->img->doc.architecture)) {
        jsonw_begin(w, "platform");
        jsonw_str(w, "architecture", c->img->doc.architecture);
        jsonw_str(w, "os", str_is_empty(c->img->doc.os) ? "linux" : c->img->doc.os);
        if (!str_is_empty(c->img->doc.variant))
            jsonw_str(w, "variant", c->img->doc.variant);
        jsonw_end(w);
    }
    jsonw_end(w);
}

static void make_index(const struct save *s, struct buf *b)
{
    struct jsonw w = {.out = b};

    jsonw_begin(&w, NULL);
    jsonw_int(&w, "schemaVersion", 2);
    jsonw_str(&w, "mediaType", OCI_MT_INDEX);
    jsonw_list_begin(&w, "manifests");
    for (size_t i = 0; i < s->nimages; i++) {
        const struct chosen *c = &s->images[i];

        for (size_t k = 0; c->refs && c->refs[k]; k++)
            index_entry(&w, c, c->refs[k]);
        if (!c->refs)
            index_entry(&w, c, NULL);
    }
    jsonw_list_end(&w);
    jsonw_end(&w);
}

static char *blob_name(const char *digest)
{
    AUTOFREE char *path = image_blob_path(digest);

    return xasprintf("blobs/%s", path);
}

static void make_docker_manifest(const struct save *s, struct buf *b)
{
    struct jsonw w = {.out = b};

    jsonw_list_begin(&w, NULL);
    for (size_t i = 0; i < s->nimages; i++) {
        const struct chosen *c = &s->images[i];
        AUTOFREE char *config = blob_name(c->img->id);

        jsonw_begin(&w, NULL);
        jsonw_str(&w, "Config", config);
        if (c->refs)
            jsonw_list_begin(&w, "RepoTags");
        else
            jsonw_null(&w, "RepoTags");
        for (size_t k = 0; c->refs && c->refs[k]; k++) {
            CLEANUP(oci_reference_done) struct oci_reference ref = {0};
            AUTOFREE char *shown = NULL;

            if (oci_reference_parse(c->refs[k], &ref, NULL) == 0)
                shown = oci_reference_familiar(&ref);
            jsonw_str(&w, NULL, shown ? shown : c->refs[k]);
        }
        if (c->refs)
            jsonw_list_end(&w);
        jsonw_list_begin(&w, "Layers");
        for (size_t k = 0; k < c->nlayers; k++) {
            AUTOFREE char *path = blob_name(c->layers[k].digest);

            jsonw_str(&w, NULL, path);
        }
        jsonw_list_end(&w);
        jsonw_end(&w);
    }
    jsonw_list_end(&w);
    (void)buf_putc(b, '\n');
}

/* --- Writing -------------------------------------------------------------------------------------------- */

static int write_failed(struct save *s, int r)
{
    if (s->e->message)
        return r;
    return r == -ENOSPC ? error_set_errno(s->e, r, "cannot write the archive")
                        : error_set_errno(s->e, r, "the archive was not taken to its end");
}

static int put_text(struct save *s, const char *path, const char *text, size_t len)
{
    const struct tarw_entry entry = {.type = TARW_FILE, .path = path, .mode = 0644, .size = len};
    int r = tarw_entry(&s->tar, &entry);

    if (r >= 0)
        r = tarw_data(&s->tar, text, len);
    if (r >= 0)
        r = tarw_pad(&s->tar);
    return r < 0 ? write_failed(s, r) : 0;
}

static int put_folder(struct save *s, const char *path)
{
    const struct tarw_entry entry = {.type = TARW_DIR, .path = path, .mode = 0755};
    int r = tarw_entry(&s->tar, &entry);

    return r < 0 ? write_failed(s, r) : 0;
}

static int put_blob(struct save *s, const struct item *item)
{
    AUTOFREE char *path = blob_name(item->digest), *data = xmalloc(COPY_SIZE);
    AUTOFD int fd = -EBADF;
    uint64_t size = 0;
    int r = image_blob_open(s->store, &s->blobs, item->digest, &fd, &size, s->e);

    if (r < 0)
        return r;
    if (size != item->size)
        return error_set(s->e, ERR_INTERNAL,
                         "blob %s has %llu bytes instead of %llu: it is damaged, pull its image "
                         "again",
                         item->digest, (unsigned long long)size, (unsigned long long)item->size);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    const struct tarw_entry entry = {.type = TARW_FILE, .path = path, .mode = 0644, .size = size};
    r = tarw_entry(&s->tar, &entry);
    while (r >= 0 && s->tar.left > 0) {
        size_t want = s->tar.left < COPY_SIZE ? (size_t)s->tar.left : COPY_SIZE;
        ssize_t n = read(fd, data, want);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set_errno(s->e, n < 0 ? errno : EIO, "cannot read blob %s", item->digest);
        r = tarw_data(&s->tar, data, (size_t)n);
    }
    if (r >= 0)
        r = tarw_pad(&s->tar);
    image_blobs_forget(&s->blobs, item->digest); /* each is in the archive once */
    return r < 0 ? write_failed(s, r) : 0;
}

static int write_archive(struct save *s)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    AUTO(buf) struct buf index = BUF_INIT(BUF_UNLIMITED), docker = BUF_INIT(BUF_UNLIMITED);
    int r = put_text(s, "oci-layout", layout, sizeof(layout) - 1);

    make_index(s, &index);
    make_docker_manifest(s, &docker);
    if (r >= 0)
        r = put_text(s, "index.json", index.data, index.len);
    if (r >= 0 && !s->oci)
        r = put_text(s, "manifest.json", docker.data, docker.len);
    if (r >= 0)
        r = put_folder(s, "blobs/");
    if (r >= 0)
        r = put_folder(s, "blobs/sha256/");
    for (size_t i = 0; r >= 0 && i < s->nitems; i++) {
        const struct item *item = &s->items[i];
        AUTOFREE char *path = blob_name(item->digest);

        r = item->text ? put_text(s, path, item->text, (size_t)item->size) : put_blob(s, item);
    }
    if (r >= 0 && (r = tarw_end(&s->tar)) < 0)
        r = write_failed(s, r);
    return r;
}

int image_save(struct image_store *store, const struct image_save_params *p, struct error *e)
{
    struct save s = {.store = store, .p = p, .blobs = {.cancel_fd = p->cancel_fd}, .e = e};
    int r = 0;

    if (!str_is_empty(p->format) && !STREQ(p->format, "oci") && !STREQ(p->format, "docker"))
        return error_set(e, ERR_INVALID, "unknown archive format \"%.40s\": docker or oci",
                         p->format);
    s.oci = !str_is_empty(p->format) && STREQ(p->format, "oci");
    if (strv_len(p->names) == 0)
        return error_set(e, ERR_INVALID, "no image is named");
    for (size_t i = 0; r >= 0 && p->names[i]; i++)
        r = choose_name(&s, p->names[i]);
    for (size_t i = 0; r >= 0 && i < s.nimages; i++)
        r = plan_image(&s, &s.images[i]);
    if (r >= 0)
        r = make_again(&s);
    if (r >= 0) {
        struct image_filter filter = {.kind = p->compression};

        r = image_filter_start(&filter, store, p->write, p->write_data, e);
        if (r >= 0) {
            s.tar = (struct tarw){.write = image_filter_write, .data = &filter};
            r = write_archive(&s);
            r = image_filter_finish(&filter, r, e);
        }
    }
    save_done(&s);
    return r < 0 ? r : 0;
}
