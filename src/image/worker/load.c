/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: the archives of `docker save` (manifest.json, with or without an OCI layout in it) and OCI
 * layouts (index.json), as a stream, possibly compressed.
 *
 * The order of the files in it is anybody's choice, so all are received first: small ones into
 * memory, large ones into temporary files of pouchd, which become blobs without being copied.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/policy.h"
#include "image/worker/worker.h"
#include "oci/reference.h"

#define SMALL_MAX  (256u * 1024) /* kept in memory */
#define MEMORY_MAX (64u * 1024 * 1024)
#define FILES_MAX  4096
#define IMAGES_MAX 256
#define LINK_HOPS  4

struct member {
    char *link; /* another member's name */
    char *data; /* small: the content, NUL-terminated */
    uint64_t size;
    uint64_t file; /* large: a temporary file */
    int fd;
};

struct load {
    const struct worker_msg *start;
    int input;
    struct map *members; /* path → struct member */
    size_t memory;
    struct layer *layers;
    size_t nlayers;
    struct oci_platform want;
    unsigned char buf[CHUNK_SIZE];
};

static void member_free(void *data)
{
    struct member *m = data;

    if (m->fd >= 0)
        close(m->fd);
    free(m->link);
    free(m->data);
    free(m);
}

/* --- Receiving ---------------------------------------------------------------------------------- */

static la_ssize_t input_read(struct archive *a, void *data, const void **ret)
{
    struct load *ld = data;
    ssize_t n = read(ld->input, ld->buf, sizeof(ld->buf));

    if (n < 0)
        archive_set_error(a, errno, "%s", strerror(errno));
    *ret = ld->buf;
    return n;
}

/* "./a//b/" → "a/b"; NULL when it is not a plain path inside the archive. */
static char *member_name(const char *path)
{
    AUTOPTR(strv) char **parts = strv_split(path, "/", true);

    strv_remove(parts, ".");
    if (strv_len(parts) == 0 || strv_contains(parts, ".."))
        return NULL;
    return strv_join(parts, "/");
}

static char *link_target(const char *name, const char *target, bool hard)
{
    const char *slash = strrchr(name, '/');
    AUTOPTR(strv) char **parts = NULL;
    AUTOFREE char *full = NULL;
    char **out = NULL;

    if (hard || target[0] == '/' || !slash)
        full = xstrdup(target);
    else
        full = xasprintf("%.*s/%s", (int)(slash - name), name, target);
    parts = strv_split(full, "/", true);
    for (size_t i = 0; parts && parts[i]; i++) {
        size_t n = strv_len(out);
        if (STREQ(parts[i], "."))
            continue;
        if (!STREQ(parts[i], "..")) {
            strv_push(&out, parts[i]);
        } else if (out && n > 0) {
            free(out[n - 1]);
            out[n - 1] = NULL;
        }
    }
    char *joined = strv_join(out, "/");
    strv_free(out);
    return joined;
}

static int receive_large(struct archive *a, struct member *m, struct error *e)
{
    AUTOFREE unsigned char *buf = xmalloc(CHUNK_SIZE);
    la_ssize_t n;

    int r = conn_open_file(&m->file, &m->fd, e);
    while (r >= 0 && (n = archive_read_data(a, buf, CHUNK_SIZE)) != 0) {
        if (n < 0)
            return error_set(e, ERR_INVALID, "the archive is damaged: %s", archive_error_string(a));
        r = fs_write_all(m->fd, buf, (size_t)n);
        if (r < 0)
            return error_set_errno(e, r, "cannot write the image's layers");
    }
    return r;
}

static int receive_small(struct load *ld, struct archive *a, struct member *m, struct error *e)
{
    ld->memory += m->size;
    if (ld->memory > MEMORY_MAX)
        return error_set(e, ERR_TOO_LARGE, "the archive has too many small files");
    m->data = xcalloc(m->size + 1, 1);
    la_ssize_t n = m->size ? archive_read_data(a, m->data, m->size) : 0;
    if (n < 0 || (uint64_t)n != m->size)
        return error_set(e, ERR_INVALID, "the archive is damaged: %s",
                         n < 0 ? archive_error_string(a) : "a file is short");
    return 0;
}

static int receive_member(struct load *ld, struct archive *a, struct archive_entry *entry,
                          struct error *e)
{
    const char *path = archive_entry_pathname(entry);
    AUTOFREE char *name = path ? member_name(path) : NULL;
    const char *hard = archive_entry_hardlink(entry);
    struct member *m, *old;
    int r = 0;

    if (!name || (!hard && archive_entry_filetype(entry) != AE_IFREG &&
                  archive_entry_filetype(entry) != AE_IFLNK))
        return 0;
    if (map_len(ld->members) >= FILES_MAX)
        return error_set(e, ERR_TOO_LARGE, "the archive has more than %d files: it is not an image",
                         FILES_MAX);
    m = xcalloc(1, sizeof(*m));
    m->fd = -EBADF;
    old = map_set(ld->members, name, m);
    if (old)
        member_free(old);
    int64_t size = archive_entry_size(entry);
    m->size = size < 0 ? 0 : (uint64_t)size;
    if (hard || archive_entry_filetype(entry) == AE_IFLNK) {
        const char *target = hard ? hard : archive_entry_symlink(entry);
        m->link = link_target(name, target ? target : "", hard);
    } else if (m->size <= SMALL_MAX && !str_has_suffix(name, "layer.tar")) {
        r = receive_small(ld, a, m, e);
    } else {
        r = receive_large(a, m, e);
    }
    return r;
}

static int receive(struct load *ld, struct error *e)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry = NULL;
    int r = 0, ar;

    archive_read_support_filter_gzip(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_format_tar(a);
    if (archive_read_open(a, ld, NULL, input_read, NULL) != ARCHIVE_OK)
        r = error_set(e, ERR_INVALID, "this is not an image archive: %s", archive_error_string(a));
    while (r >= 0 && (ar = archive_read_next_header(a, &entry)) != ARCHIVE_EOF) {
        if (ar != ARCHIVE_OK && ar != ARCHIVE_WARN && ar != ARCHIVE_RETRY)
            r = error_set(e, ERR_INVALID, "the archive is damaged: %s", archive_error_string(a));
        else if (ar != ARCHIVE_RETRY)
            r = receive_member(ld, a, entry, e);
    }
    archive_read_free(a);
    return r;
}

/* --- Reading what came ---------------------------------------------------------------------------- */

static struct member *find(struct load *ld, const char *path)
{
    AUTOFREE char *name = member_name(path);
    struct member *m = name ? map_get(ld->members, name) : NULL;

    for (int hops = 0; m && m->link && hops < LINK_HOPS; hops++)
        m = map_get(ld->members, m->link);
    return m && !m->link ? m : NULL;
}

/* A document of the archive in memory; *ret is the caller's. */
static int read_document(struct load *ld, const char *path, size_t max, char **ret, size_t *ret_len,
                         struct error *e)
{
    struct member *m = find(ld, path);

    if (!m)
        return error_set(e, ERR_INVALID, "the archive does not contain %.200s", path);
    if (m->size > max)
        return error_set(e, ERR_TOO_LARGE, "%.200s in the archive is larger than %zu bytes", path,
                         max);
    char *text = xcalloc(m->size + 1, 1);
    ssize_t n = (ssize_t)m->size;
    if (m->data)
        memcpy(text, m->data, m->size);
    else
        n = pread(m->fd, text, m->size, 0);
    if (n < 0 || (uint64_t)n != m->size) {
        free(text);
        return error_set(e, ERR_INTERNAL, "cannot read %.200s of the archive", path);
    }
    *ret = text;
    *ret_len = m->size;
    return 0;
}

/* Gives a small member a temporary file, so that it can become a blob like a large one. */
static int member_to_file(struct member *m, struct error *e)
{
    if (m->file)
        return 0;
    int r = conn_open_file(&m->file, &m->fd, e);
    if (r < 0)
        return r;
    r = fs_write_all(m->fd, m->data, m->size);
    return r < 0 ? error_set_errno(e, r, "cannot write the image's layers") : 0;
}

/* By the first bytes: what archives say of their layers is often wrong, or nothing. */
static const char *layer_type(const struct member *m)
{
    unsigned char b[4] = {0};

    if (m->data && m->size >= sizeof(b))
        memcpy(b, m->data, sizeof(b));
    else if (!m->data && pread(m->fd, b, sizeof(b), 0) < 0)
        return OCI_MT_LAYER;
    if (b[0] == 0x1f && b[1] == 0x8b)
        return OCI_MT_LAYER_GZIP;
    if (b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd)
        return OCI_MT_LAYER_ZSTD;
    return OCI_MT_LAYER;
}

/* Adds a layer unless it is planned already. digest: of the blob, or "". */
static int add_layer(struct load *ld, const char *path, const char *digest, int64_t size,
                     const char *diff_id, struct error *e)
{
    struct member *m = find(ld, path);

    for (size_t i = 0; i < ld->nlayers; i++)
        if (STREQ(ld->layers[i].diff_id, diff_id))
            return 0;
    if (!m) {
        /* It may be there from an earlier image: ask with nothing in hand. */
        return error_set(e, ERR_INVALID, "the archive does not contain layer %.200s", path);
    }
    if (ld->nlayers == IMAGES_MAX * 16)
        return error_set(e, ERR_TOO_LARGE, "the archive has too many layers");
    int r = member_to_file(m, e);
    if (r < 0)
        return r;
    ld->layers = xreallocarray(ld->layers, ld->nlayers + 1, sizeof(*ld->layers));
    struct layer *l = &ld->layers[ld->nlayers];
    memset(l, 0, sizeof(*l));
    l->index = ld->nlayers++;
    snprintf(l->digest, sizeof(l->digest), "%s", digest);
    snprintf(l->diff_id, sizeof(l->diff_id), "%s", diff_id);
    l->size = size >= 0 ? size : (int64_t)m->size;
    l->file = m->file;
    l->file_fd = m->fd;
    l->source = layer_source_file;
    struct worker_msg plan = {.type = (char *)"plan",
                              .index = l->index,
                              .digest = *l->digest ? l->digest : NULL,
                              .diff_id = l->diff_id,
                              .media_type = (char *)layer_type(m),
                              .size = (uint64_t)l->size};
    return conn_send(&plan, e);
}

/* One image found: its configuration, names and layers (kept until all layers are there). */
struct found {
    char config[DIGEST_MAX];
    char manifest[DIGEST_MAX]; /* "" when the archive has none */
    char **names;
    char **diff_ids;
    bool unwanted; /* for another platform than the one asked for */
};

static void found_done(struct found *f)
{
    strv_free(f->names);
    strv_free(f->diff_ids);
}

/* --platform was given: whether the image is for it. */
static bool platform_fits(const struct load *ld, const struct oci_image *img)
{
    CLEANUP(oci_platform_done)
    struct oci_platform have = {.os = xstrdup(str_is_empty(img->os) ? "linux" : img->os),
                                .architecture = xstrdup_or_null(img->architecture),
                                .variant = xstrdup_or_null(img->variant)};

    oci_platform_normalize(&have);
    return oci_platform_rank(&ld->want, &have) > 0;
}

/* Reads, checks and stores a configuration. expect: its digest, or NULL. */
static int take_config(struct load *ld, const char *path, const char *expect, struct found *f,
                       struct error *e)
{
    AUTOFREE char *text = NULL;
    struct oci_image img = {0};
    size_t len = 0;

    int r = read_document(ld, path, OCI_CONFIG_MAX, &text, &len, e);
    if (r < 0)
        return r;
    if (digest_bytes(text, len, f->config) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    if (expect && !STREQ(expect, f->config))
        return error_set(e, ERR_INVALID, "configuration %s in the archive has digest %s", expect,
                         f->config);
    r = oci_image_parse(text, len, &img, e);
    if (r < 0)
        return r;
    f->diff_ids = take_ptr(img.rootfs.diff_ids);
    f->unwanted = ld->start->platform && !platform_fits(ld, &img);
    if (!str_is_empty(img.os) && !STREQ(img.os, "linux"))
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "image operating system \"%.60s\" cannot be used on this platform", img.os);
    oci_image_done(&img);
    return r < 0 || f->unwanted ? r : conn_put_blob("config", f->config, text, len, e);
}

static int add_name(struct found *f, const char *name, struct error *e)
{
    struct oci_reference ref = {0};
    int r = oci_reference_parse(name, &ref, e);

    if (r < 0)
        return r;
    oci_reference_default_tag(&ref);
    if (ref.tag) {
        str_replace(&ref.digest, NULL);
        strv_push_take(&f->names, oci_reference_string(&ref));
    }
    oci_reference_done(&ref);
    return 0;
}

/* --- docker save: manifest.json --------------------------------------------------------------------- */

struct saved {
    char *config;
    char **repo_tags;
    char **layers;
};
static const struct json_field saved_fields[] = {
    JSON_FIELD(struct saved, config, "Config", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct saved, repo_tags, "RepoTags", JSON_STRV, 0),
    JSON_FIELD(struct saved, layers, "Layers", JSON_STRV, 0),
    JSON_END,
};
static const struct json_desc saved_json = {"manifest.json", sizeof(struct saved), saved_fields};
struct saved_file {
    struct json_list images;
};
static const struct json_field saved_file_fields[] = {
    JSON_FIELD_SUB(struct saved_file, images, "images", JSON_OBJ_LIST, 0, &saved_json),
    JSON_END,
};
static const struct json_desc saved_file_json = {"manifest.json", sizeof(struct saved_file),
                                                 saved_file_fields};

static int take_saved(struct load *ld, const struct saved *s, struct found *f, struct error *e)
{
    int r = take_config(ld, s->config, NULL, f, e);

    if (r < 0)
        return r;
    size_t n = strv_len(s->layers);
    if (n != strv_len(f->diff_ids))
        return error_set(e, ERR_INVALID,
                         "the archive names %zu layers for an image whose configuration has %zu", n,
                         strv_len(f->diff_ids));
    for (size_t i = 0; r >= 0 && !f->unwanted && i < n; i++)
        r = add_layer(ld, s->layers[i], "", -1, f->diff_ids[i], e);
    for (size_t i = 0; r >= 0 && s->repo_tags && s->repo_tags[i]; i++)
        r = add_name(f, s->repo_tags[i], e);
    return r;
}

static int load_saved(struct load *ld, struct json_list *found, struct error *e)
{
    AUTOFREE char *text = NULL;
    AUTO(buf) struct buf wrapped = BUF_INIT(2 * OCI_MANIFEST_MAX);
    struct saved_file file = {0};
    size_t len = 0;

    int r = read_document(ld, "manifest.json", OCI_MANIFEST_MAX, &text, &len, e);
    if (r < 0)
        return r;
    if (buf_puts(&wrapped, "{\"images\":") < 0 || buf_append(&wrapped, text, len) < 0 ||
        buf_puts(&wrapped, "}") < 0)
        return error_set(e, ERR_TOO_LARGE, "manifest.json is too large");
    r = json_parse(&saved_file_json, wrapped.data, wrapped.len, &file, e);
    if (r < 0) {
        error_add(e, "manifest.json of the archive");
        return r;
    }
    const struct saved *s = file.images.items;
    if (file.images.len == 0 || file.images.len > IMAGES_MAX)
        r = error_set(e, ERR_INVALID, "manifest.json of the archive names %zu images",
                      file.images.len);
    for (size_t i = 0; r >= 0 && i < file.images.len; i++)
        r = take_saved(ld, &s[i], json_list_add(found, sizeof(struct found)), e);
    json_free(&saved_file_json, &file);
    return r;
}

/* --- OCI layout: index.json --------------------------------------------------------------------------- */

static char *blob_path(const char *digest)
{
    const char *colon = strchr(digest, ':');

    return xasprintf("blobs/%.*s/%s", (int)(colon - digest), digest, colon + 1);
}

/* A document named by digest, verified. */
static int read_blob(struct load *ld, const char *digest, char **ret, size_t *ret_len,
                     struct error *e)
{
    AUTOFREE char *path = blob_path(digest);
    AUTOFREE char *text = NULL;
    char real[DIGEST_MAX];

    int r = read_document(ld, path, OCI_MANIFEST_MAX, &text, ret_len, e);
    if (r < 0)
        return r;
    if (digest_algorithm(digest) != DIGEST_SHA256 || digest_bytes(text, *ret_len, real) < 0 ||
        !STREQ(real, digest))
        return error_set(e, ERR_INVALID, "manifest %s in the archive has another digest", digest);
    *ret = take_ptr(text);
    return 0;
}

static int take_manifest(struct load *ld, const char *digest, const char *text, size_t len,
                         struct found *f, struct error *e)
{
    struct oci_manifest m = {0};
    int r = oci_manifest_parse(text, len, &m, e);

    if (r < 0)
        return r;
    AUTOFREE char *config = blob_path(m.config.digest);
    const struct oci_descriptor *d = m.layers.items;
    enum oci_compression compression;

    /* As in a pull: an artifact of another kind is no image, whatever its parts look like. */
    if (!oci_config_type_is_image(m.config.media_type))
        r = error_set(e, ERR_NOT_SUPPORTED,
                      "%s in the archive is not a container image: its configuration has type "
                      "\"%.100s\"",
                      digest, m.config.media_type);
    for (size_t i = 0; r >= 0 && i < m.layers.len; i++)
        r = oci_layer_compression(d[i].media_type, &compression, e);
    if (r >= 0)
        r = take_config(ld, config, m.config.digest, f, e);
    if (r >= 0 && m.layers.len != strv_len(f->diff_ids))
        r = error_set(e, ERR_INVALID,
                      "the image's configuration names %zu layers, its manifest %zu",
                      strv_len(f->diff_ids), m.layers.len);
    for (size_t i = 0; r >= 0 && !f->unwanted && i < m.layers.len; i++) {
        AUTOFREE char *path = blob_path(d[i].digest);
        r = add_layer(ld, path, d[i].digest, (int64_t)d[i].size, f->diff_ids[i], e);
    }
    if (r >= 0 && !f->unwanted) {
        snprintf(f->manifest, sizeof(f->manifest), "%s", digest);
        r = conn_put_blob("manifest", digest, text, len, e);
    }
    oci_manifest_done(&m);
    return r;
}

/* The manifest behind a descriptor of index.json, through a further index if need be. */
static int take_descriptor(struct load *ld, const struct oci_descriptor *d, struct found *f,
                           struct error *e)
{
    AUTOFREE char *text = NULL, *inner = NULL;
    CLEANUP(oci_index_done) struct oci_index idx = {0};
    const struct oci_descriptor *entry = NULL;
    enum oci_document kind;
    size_t len = 0;

    int r = read_blob(ld, d->digest, &text, &len, e);
    if (r >= 0)
        r = oci_document_kind(d->media_type, text, len, &kind, e);
    if (r >= 0 && kind == OCI_DOCUMENT_MANIFEST)
        return take_manifest(ld, d->digest, text, len, f, e);
    if (r >= 0)
        r = oci_index_parse(text, len, &idx, e);
    if (r >= 0)
        r = oci_index_choose(&idx, &ld->want, &entry, e);
    if (r >= 0)
        r = read_blob(ld, entry->digest, &inner, &len, e);
    if (r >= 0)
        r = take_manifest(ld, entry->digest, inner, len, f, e);
    return r;
}

static int load_layout(struct load *ld, struct json_list *found, struct error *e)
{
    AUTOFREE char *text = NULL;
    struct oci_index idx = {0};
    size_t len = 0;

    int r = read_document(ld, "index.json", OCI_MANIFEST_MAX, &text, &len, e);
    if (r >= 0)
        r = oci_index_parse(text, len, &idx, e);
    if (r < 0)
        return r;
    const struct oci_descriptor *d = idx.manifests.items;
    if (idx.manifests.len == 0 || idx.manifests.len > IMAGES_MAX)
        r = error_set(e, ERR_INVALID, "index.json of the archive names %zu images",
                      idx.manifests.len);
    for (size_t i = 0; r >= 0 && i < idx.manifests.len; i++) {
        struct found *f = json_list_add(found, sizeof(*f));
        r = take_descriptor(ld, &d[i], f, e);
        const char *full = json_map_get(&d[i].annotations, "io.containerd.image.name");
        const char *ref = json_map_get(&d[i].annotations, "org.opencontainers.image.ref.name");
        /* ref.name is often a tag alone: then it names nothing by itself. */
        if (r >= 0 && full)
            r = add_name(f, full, e);
        else if (r >= 0 && ref && strpbrk(ref, ":/"))
            r = add_name(f, ref, e);
    }
    oci_index_done(&idx);
    return r;
}

/*
 * An archive of both kinds (Docker 25 and later, Pouch): manifest.json says what is loaded, and
 * index.json may have the images' manifests, with which they keep their digests. A manifest that
 * does not belong to an image, or is damaged, is not taken: the image is whole without it.
 */
static int take_manifests(struct load *ld, struct json_list *found, struct error *e)
{
    AUTOFREE char *text = NULL;
    CLEANUP(oci_index_done) struct oci_index idx = {0};
    struct found *f = found->items;
    size_t len = 0;
    int r = 0;

    if (!find(ld, "index.json") ||
        read_document(ld, "index.json", OCI_MANIFEST_MAX, &text, &len, NULL) < 0 ||
        oci_index_parse(text, len, &idx, NULL) < 0)
        return 0;
    const struct oci_descriptor *d = idx.manifests.items;
    for (size_t i = 0; r >= 0 && i < idx.manifests.len && i < IMAGES_MAX; i++) {
        CLEANUP(oci_manifest_done) struct oci_manifest m = {0};
        AUTOFREE char *doc = NULL;
        size_t doc_len = 0;

        if (read_blob(ld, d[i].digest, &doc, &doc_len, NULL) < 0 ||
            oci_manifest_parse(doc, doc_len, &m, NULL) < 0)
            continue;
        for (size_t k = 0; r >= 0 && k < found->len; k++) {
            if (*f[k].manifest || !STREQ(f[k].config, m.config.digest) ||
                strv_len(f[k].diff_ids) != m.layers.len)
                continue;
            snprintf(f[k].manifest, sizeof(f[k].manifest), "%s", d[i].digest);
            r = conn_put_blob("manifest", d[i].digest, doc, doc_len, e);
        }
    }
    return r;
}

/* Takes what is for another platform out; nothing left is an error that says what there was. */
static int drop_unwanted(struct load *ld, struct json_list *found, struct error *e)
{
    struct found *f = found->items;
    size_t n = 0;

    for (size_t i = 0; i < found->len; i++) {
        if (f[i].unwanted)
            found_done(&f[i]);
        else
            f[n++] = f[i];
    }
    bool none = n == 0 && found->len > 0;
    found->len = n;
    return none ? error_set(e, ERR_NOT_FOUND, "the archive has no image for platform %s",
                            ld->start->platform)
                : 0;
}

/* --- All of it ------------------------------------------------------------------------------------------ */

/* In which of its forms the archive is read: what the signature policy allows, of both the former. */
static int choose_form(struct load *ld, bool *ret_saved, struct error *e)
{
    const char *only = ld->start->form;
    bool saved = find(ld, "manifest.json"), layout = find(ld, "index.json");

    if (!saved && !layout)
        return error_set(e, ERR_INVALID,
                         "this is not an image archive: it has neither manifest.json (docker save) "
                         "nor index.json (OCI layout)");
    if (only) {
        bool only_saved = STREQ(only, policy_archive_name(POLICY_DOCKER_ARCHIVE));
        if (only_saved ? !saved : !layout)
            return error_set(e, ERR_FORBIDDEN, "it is no %s, the only kind that is allowed", only);
        saved = only_saved;
    }
    *ret_saved = saved;
    return 0;
}

static int load(struct load *ld, struct json_list *found, struct error *e)
{
    bool saved = false;
    int r = receive(ld, e);

    if (r >= 0)
        r = choose_form(ld, &saved, e);
    if (r < 0)
        return r;
    r = saved ? load_saved(ld, found, e) : load_layout(ld, found, e);
    if (r >= 0)
        r = drop_unwanted(ld, found, e);
    if (r >= 0 && saved)
        r = take_manifests(ld, found, e);
    if (r >= 0)
        r = layers_run(ld->layers, ld->nlayers, (unsigned)ld->start->parallel, e);
    const struct found *f = found->items;
    for (size_t i = 0; r >= 0 && i < found->len; i++) {
        struct worker_msg m = {.type = (char *)"image",
                               .config = (char *)f[i].config,
                               .manifest = *f[i].manifest ? (char *)f[i].manifest : NULL,
                               .names = f[i].names,
                               .layers = f[i].diff_ids};
        r = conn_send(&m, e);
    }
    return r;
}

int worker_load(const struct worker_msg *start, int input, struct error *e)
{
    struct load *ld = xcalloc(1, sizeof(*ld));
    struct json_list found = {0};
    int r = oci_platform_parse(start->platform, &ld->want, e);

    ld->start = start;
    ld->input = input;
    ld->members = map_new();
    if (r >= 0)
        r = load(ld, &found, e);
    for (size_t i = 0; i < found.len; i++)
        found_done((struct found *)found.items + i);
    free(found.items);
    map_free(ld->members, member_free);
    oci_platform_done(&ld->want);
    free(ld->layers);
    free(ld);
    return r;
}
