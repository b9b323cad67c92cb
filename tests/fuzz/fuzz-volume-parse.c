/* SPDX-License-Identifier: Apache-2.0 */
/* A request's mounts: lines "b TEXT" (Binds), "t DESTINATION OPTIONS" (Tmpfs), "v TEXT" (Volumes),
 * "f TEXT" (VolumesFrom) and "m JSON" (one of Mounts). */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "volume/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    char **binds;
    char **volumes;
    char **from;
    struct json_map tmpfs;
    struct json_list mounts;
};

static void add_line(struct input *in, char *line)
{
    char *text = line + 2;
    char *space = strchr(text, ' ');
    struct volume_mount_request q = {.type = NULL};

    switch (line[0]) {
    case 'b':
        strv_push(&in->binds, text);
        break;
    case 'v':
        strv_push(&in->volumes, text);
        break;
    case 'f':
        strv_push(&in->from, text);
        break;
    case 't':
        if (space)
            *space++ = 0;
        json_map_set(&in->tmpfs, text, space ? space : "");
        break;
    case 'm':
        if (json_parse(&volume_mount_request_json, text, strlen(text), &q, NULL) == 0)
            memcpy(json_list_add(&in->mounts, sizeof q), &q, sizeof q);
        break;
    default:
        break;
    }
}

/* What comes out is what the runtime and the store rely on. */
static void check(const struct volume_mounts *l)
{
    for (size_t i = 0; i < l->len; i++) {
        const struct volume_mount *m = &l->items[i];

        if (m->destination[0] != '/' || !m->destination[1] || strstr(m->destination, "//") ||
            strstr(m->destination, "/../") || !m->type || !m->options)
            abort();
        if (m->name && (strchr(m->name, '/') || m->name[0] == '.'))
            abort();
        if (STREQ(m->type, "bind") && (!m->source || m->source[0] != '/'))
            abort();
        for (size_t j = 0; j < i; j++) {
            if (STREQ(l->items[j].destination, m->destination))
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    AUTOPTR(strv) char **lines = strv_split(text, "\n", true);
    struct input in = {.binds = NULL};
    struct volume_request req = {.tmpfs = &in.tmpfs};
    struct volume_mounts l = {.items = NULL};
    struct error e = ERROR_INIT;

    for (char **line = lines; line && *line; line++) {
        if (strlen(*line) >= 2)
            add_line(&in, *line);
    }
    req.binds = in.binds;
    req.volumes = in.volumes;
    req.volumes_from = in.from;
    req.mounts = in.mounts.items;
    req.n_mounts = in.mounts.len;
    if (volume_mounts_parse(&req, &l, &e) == 0)
        check(&l);
    else if (e.code == ERR_NONE)
        abort();
    error_done(&e);
    volume_mounts_done(&l);
    strv_free(in.binds);
    strv_free(in.volumes);
    strv_free(in.from);
    json_map_done(&in.tmpfs);
    for (size_t i = 0; i < in.mounts.len; i++)
        json_free(&volume_mount_request_json, (struct volume_mount_request *)in.mounts.items + i);
    free(in.mounts.items);
    return 0;
}
