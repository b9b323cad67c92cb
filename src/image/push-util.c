/* SPDX-License-Identifier: Apache-2.0 */
/* Small parts of push: names of compressions, media types, questions to the tables. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/push-priv.h"

#define SCOPES_MAX 8 /* repositories to ask for the right to pull from */

static const char *const compression_names[OCI_COMPRESSION_MAX] = {
    [OCI_PLAIN] = "none", [OCI_GZIP] = "gzip", [OCI_ZSTD] = "zstd"};

const char *push_compression_name(enum oci_compression c)
{
    return compression_names[c];
}

int push_compression_parse(const char *name, enum oci_compression *ret)
{
    for (int i = 0; name && i < OCI_COMPRESSION_MAX; i++) {
        if (STREQ(name, compression_names[i])) {
            *ret = (enum oci_compression)i;
            return 0;
        }
    }
    return -EINVAL;
}

enum oci_compression push_kind_of(const unsigned char magic[6])
{
    if (magic[0] == 0x1f && magic[1] == 0x8b)
        return OCI_GZIP;
    if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
        return OCI_ZSTD;
    if (memcmp(magic,
               "\xfd"
               "7zXZ",
               5) == 0 ||
        memcmp(magic, "BZh", 3) == 0)
        return OCI_COMPRESSION_MAX;
    return OCI_PLAIN;
}

const char *push_layer_type(enum oci_compression c, bool docker)
{
    static const char *const types[OCI_COMPRESSION_MAX][2] = {
        [OCI_PLAIN] = {OCI_MT_LAYER, OCI_MT_DOCKER_LAYER},
        [OCI_GZIP] = {OCI_MT_LAYER_GZIP, OCI_MT_DOCKER_LAYER_GZIP},
        [OCI_ZSTD] = {OCI_MT_LAYER_ZSTD, OCI_MT_DOCKER_LAYER_ZSTD},
    };

    return types[c][docker];
}

uint64_t push_chunk_size(void)
{
    const char *env = getenv("POUCH_PUSH_CHUNK_SIZE");
    uint64_t n;

    return env && parse_u64(env, &n) == 0 && n >= 1024 && n <= (uint64_t)4 << 30 ? n : 0;
}

int push_mount_sources(struct image_store *s, const char *image_id, const char *repository,
                       const char *domain, char ***ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT repository, max(seen) FROM blob_sources WHERE repository != ?3 AND "
                        "substr(repository, 1, length(?2) + 1) = ?2 || '/' AND (digest = ?1 OR "
                        "digest IN (SELECT blob FROM layers WHERE diff_id IN (SELECT diff_id FROM "
                        "image_layers WHERE image_id = ?1))) GROUP BY repository "
                        "ORDER BY 2 DESC LIMIT ?4",
                        "sssi", image_id, domain, repository, (int64_t)SCOPES_MAX);

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        strv_push(ret, store_col_str(&rows, 0) + strlen(domain) + 1);
    return r;
}

int push_tags_of(struct image_store *s, const char *repository, char ***ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s->db, &rows, e,
                        "SELECT name FROM image_names WHERE substr(name, 1, length(?1) + 1) = "
                        "?1 || ':' ORDER BY name",
                        "s", repository);

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        strv_push(ret, store_col_str(&rows, 0) + strlen(repository) + 1);
    return r;
}
