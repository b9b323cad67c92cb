/* SPDX-License-Identifier: Apache-2.0 */
/* What a container's mounts need on the host: made before its start, given up with it. */
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "volume/volume-priv.h"

static bool dir_is_empty(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *de;
    bool empty = true;

    if (!dir)
        return false;
    while (empty && (de = readdir(dir)))
        empty = STREQ(de->d_name, ".") || STREQ(de->d_name, "..");
    (void)closedir(dir);
    return empty;
}

static int prepare_bind(const struct volume_mount *m, struct error *e)
{
    struct stat st;
    int r;

    if (stat(m->source, &st) == 0)
        return 0;
    if (errno != ENOENT && errno != ENOTDIR)
        return error_set_errno(e, errno, "bind source path %s", m->source);
    if (!m->make_source)
        return error_set(e, ERR_INVALID,
                         "invalid mount config for type \"bind\": bind source path does not exist: "
                         "%s",
                         m->source);
    r = fs_mkdir_p(m->source, 0755);
    if (r < 0)
        return error_set_errno(e, r, "error while creating mount source path '%s'", m->source);
    return 0;
}

/* What was done for one mount, to be taken back on failure. */
struct step {
    bool referenced;
    bool made;
};

static int prepare_volume(struct volume_store *vs, const char *container_id, struct volume_mount *m,
                          bool *ret_empty, struct step *step, struct error *e)
{
    const struct volume_params p = {
        .name = m->name,
        .driver = m->driver,
        .labels = &m->labels,
        .options = &m->driver_opts,
        .anonymous = m->anonymous,
        .owner = m->anonymous ? container_id : NULL,
    };
    CLEANUP(volume_done) struct volume v = {.name = NULL};
    struct stat st;
    int r;

    /* First the reference, so that a volume that is there cannot go any more. */
    step->referenced = volume_ref_new(vs, m->name, container_id);
    r = volume_create(vs, &p, &v, &step->made, e);
    if (r < 0)
        return r;
    if (m->must_exist && step->made)
        return error_set(e, ERR_NOT_FOUND,
                         "No such volume: %s: it went with the container it was to be taken from",
                         m->name);
    free(m->source);
    m->source = volume_source(&v);
    if (stat(m->source, &st) < 0)
        return error_set(e, ERR_INVALID, "volume %s: its folder %s does not exist", m->name,
                         m->source);
    volume_fill_wait(vs, m->name); /* half of it is not what anybody wants */
    *ret_empty = dir_is_empty(m->source);
    return 0;
}

int volume_fill(struct volume_store *vs, const char *container_id, const struct volume_mount *m,
                int rootfs_fd, struct error *e)
{
    bool alone = volume_fill_begin(vs, m->name, container_id);
    /* Another container may have filled it meanwhile. */
    int r = dir_is_empty(m->source) ? volume_copy_up(m, rootfs_fd, alone, e) : 0;

    volume_fill_end(vs, m->name);
    return r;
}

/* Takes back what volume_mounts_prepare() did for the first `n` mounts. */
static void roll_back(struct volume_store *vs, const char *container_id,
                      const struct volume_mounts *mounts, const struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct volume_mount *m = &mounts->items[i];

        if (steps[i].referenced)
            volume_unref(vs, m->name, container_id);
        if (steps[i].made && (m->anonymous || m->must_exist) &&
            volume_remove(vs, m->name, true, NULL) < 0)
            continue; /* swept with the next start, or in use by another container by now */
    }
}

int volume_mounts_prepare(struct volume_store *vs, const char *container_id,
                          struct volume_mounts *mounts, bool *copy_up, struct error *e)
{
    AUTOFREE struct step *steps = xcalloc(mounts->len + 1, sizeof *steps);
    int r = 0;
    size_t i;

    for (i = 0; r == 0 && i < mounts->len; i++) {
        struct volume_mount *m = &mounts->items[i];
        bool empty = false;

        if (STREQ(m->type, "bind"))
            r = prepare_bind(m, e);
        else if (STREQ(m->type, "volume"))
            r = prepare_volume(vs, container_id, m, &empty, &steps[i], e);
        if (copy_up)
            copy_up[i] = empty && !m->no_copy;
    }
    if (r < 0)
        roll_back(vs, container_id, mounts, steps, i);
    return r;
}

int volume_mounts_keep(struct volume_store *vs, const char *container_id,
                       const struct volume_mounts *mounts, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < mounts->len; i++)
        if (mounts->items[i].name && mounts->items[i].anonymous)
            r = volume_disown(vs, mounts->items[i].name, container_id, e);
    return r;
}

int volume_mounts_release(struct volume_store *vs, const char *container_id,
                          const struct volume_mounts *mounts, bool remove_anonymous,
                          struct error *e)
{
    int result = 0;

    for (size_t i = 0; i < mounts->len; i++) {
        const struct volume_mount *m = &mounts->items[i];
        struct error why = ERROR_INIT;
        int r;

        if (!m->name)
            continue;
        volume_unref(vs, m->name, container_id);
        if (!remove_anonymous || !m->anonymous)
            continue;
        r = volume_remove(vs, m->name, true, &why);
        /* Another container took it over with --volumes-from: then it stays. */
        if (r < 0 && why.code == ERR_CONFLICT) {
            error_done(&why);
            r = volume_disown(vs, m->name, container_id, &why);
        }
        if (r < 0 && result == 0) {
            result = r;
            error_move(e, &why);
        }
        error_done(&why);
    }
    return result;
}
