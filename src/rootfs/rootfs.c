/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rootfs drivers, and what is the same for all of them. */
#include "rootfs/rootfs.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/str.h"
#include "base/strv.h"
#include "io/reaper.h"
#include "rootfs/rootfs-priv.h"
#include "sys/overlay.h"
#include "sys/verity.h"

/* The first that works is "auto". */
static const struct rootfs_driver *const drivers[] = {
    &rootfs_driver_erofs,
    &rootfs_driver_overlay,
};

struct rootfs {
    const struct rootfs_driver *drv;
    struct layer_mounts *layers;
    struct reaper *reaper; /* or NULL */
    enum sys_erofs_way way;
    char *no_erofs; /* with SYS_EROFS_NONE: why */
    bool verity;
};

static const struct json_field mount_fields[] = {
    JSON_FIELD(struct rootfs_mount, type, "type", JSON_STR, 0),
    JSON_FIELD(struct rootfs_mount, lower, "lower", JSON_STRV, 0),
    JSON_FIELD(struct rootfs_mount, upper, "upper", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct rootfs_mount, work, "work", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct rootfs_mount, options, "options", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc rootfs_mount_json = {"overlay", sizeof(struct rootfs_mount), mount_fields};

void rootfs_mount_done(struct rootfs_mount *m)
{
    json_free(&rootfs_mount_json, m);
}

void rootfs_mount_set_volatile(struct rootfs_mount *m)
{
    if (m->upper)
        strv_push(&m->options, "volatile");
}

/* *ret NULL: auto. */
static int find_driver(const char *name, const struct rootfs_driver **ret, struct error *e)
{
    AUTO(buf) struct buf known = BUF_INIT(4096);

    *ret = NULL;
    if (str_is_empty(name) || STREQ(name, "auto"))
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (STREQ(drivers[i]->name, name)) {
            *ret = drivers[i];
            return 0;
        }
        (void)buf_printf(&known, "%s, ", drivers[i]->name);
    }
    return error_set(e, ERR_INVALID, "unknown storage driver \"%s\" (there is: %sauto)", name,
                     buf_str(&known));
}

/* Which driver, and how EROFS files are mounted for it. */
static int choose(struct rootfs *rf, const struct rootfs_params *p, struct error *e)
{
    AUTO(error) struct error why = ERROR_INIT;
    int r = find_driver(p->driver, &rf->drv, e);

    if (r == 0)
        r = overlay_probe(p->root, e);
    /* The overlay driver keeps its hands off EROFS: it may have been chosen for that. */
    if (r < 0 || (rf->drv && !rf->drv->needs_erofs))
        return r;
    r = sys_erofs_probe(p->root, &rf->way, &why);
    if (r < 0) {
        error_move(e, &why);
        return r;
    }
    if (rf->way == SYS_EROFS_NONE) {
        rf->no_erofs = xstrdup(error_message(&why));
        if (rf->drv)
            return error_set(e, ERR_NOT_SUPPORTED,
                             "storage driver erofs: %s; use --rootfs-driver overlay, or auto",
                             rf->no_erofs);
    }
    for (size_t i = 0; !rf->drv && i < ARRAY_SIZE(drivers); i++)
        if (!drivers[i]->needs_erofs || rf->way != SYS_EROFS_NONE)
            rf->drv = drivers[i];
    rf->verity = rf->drv->makes_files && verity_works_in(p->root);
    return 0;
}

int rootfs_open(const struct rootfs_params *p, struct rootfs **ret, struct error *e)
{
    struct rootfs *rf = xcalloc(1, sizeof(*rf));
    int r = choose(rf, p, e);

    rf->reaper = p->reaper;
    if (r == 0)
        r = rootfs_layers_open(p, rf->way, &rf->layers, e);
    if (r < 0) {
        rootfs_close(rf, NULL);
        return r;
    }
    *ret = rf;
    return 0;
}

void rootfs_close(struct rootfs *rf, char *const *keep)
{
    if (!rf)
        return;
    rootfs_layers_close(rf->layers, keep);
    free(rf->no_erofs);
    free(rf);
}

const char *rootfs_driver_name(const struct rootfs *rf)
{
    return rf->drv->name;
}

bool rootfs_makes_files(const struct rootfs *rf)
{
    return rf->drv->makes_files;
}

bool rootfs_has_verity(const struct rootfs *rf)
{
    return rf->verity;
}

bool rootfs_can_use(const struct rootfs *rf, const char *layer)
{
    return !rootfs_layer_is_file(layer) || rf->way != SYS_EROFS_NONE;
}

char **rootfs_status(struct rootfs *rf)
{
    char **out = NULL;

    strv_push(&out, "Layer Form");
    strv_push(&out, rf->drv->makes_files ? "EROFS files" : "folders");
    if (rf->drv->needs_erofs) {
        strv_push(&out, "EROFS Mounts");
        strv_push(&out, rf->way == SYS_EROFS_FILE ? "file-backed" : "loop devices");
        strv_push(&out, "fs-verity");
        strv_push(&out, rf->verity ? "on" : "off: not a feature of this file system or kernel");
    } else if (rf->no_erofs) {
        strv_push(&out, "EROFS");
        strv_push(&out, rf->no_erofs);
    }
    strv_push(&out, "Mounted Layers");
    strv_pushf(&out, "%zu", rootfs_layers_count(rf->layers));
    return out;
}

void rootfs_layer_going(struct rootfs *rf, const char *layer)
{
    if (rootfs_layer_is_file(layer))
        rootfs_layer_doom(rf->layers, layer);
}

void rootfs_layer_gone(struct rootfs *rf, const char *layer)
{
    if (rootfs_layer_is_file(layer))
        rootfs_layer_drop(rf->layers, layer);
}

static int check_layers(char *const *layer_dirs, struct error *e)
{
    size_t n = strv_len(layer_dirs);

    if (n == 0)
        return error_set(e, ERR_INVALID, "the image has no layers");
    if (n > ROOTFS_LAYERS_MAX)
        return error_set(e, ERR_INVALID, "the image has %zu layers; at most %d can be mounted", n,
                         ROOTFS_LAYERS_MAX);
    return 0;
}

int rootfs_prepare(struct rootfs *rf, const char *container_dir, char *const *layer_dirs,
                   struct rootfs_mount *ret, struct error *e)
{
    int r = check_layers(layer_dirs, e);

    return r < 0 ? r : rf->drv->prepare(rf->layers, container_dir, layer_dirs, ret, e);
}

int rootfs_view(struct rootfs *rf, char *const *layer_dirs, struct rootfs_mount *ret,
                struct error *e)
{
    int r = check_layers(layer_dirs, e);

    return r < 0 ? r : rf->drv->view(rf->layers, layer_dirs, ret, e);
}

int rootfs_size(struct rootfs *rf, const char *container_dir, uint64_t *ret_bytes, struct error *e)
{
    return rf->drv->size(container_dir, ret_bytes, e);
}

int rootfs_set_aside(struct rootfs *rf, const char *container_dir, struct error *e)
{
    return rf->drv->set_aside(container_dir, e);
}

int rootfs_put_back(struct rootfs *rf, const char *container_dir, struct error *e)
{
    return rf->drv->put_back(container_dir, e);
}

int rootfs_drop_aside(struct rootfs *rf, const char *container_dir, struct error *e)
{
    return rf->drv->drop_aside(container_dir, e);
}

int rootfs_remove(struct rootfs *rf, const char *container_dir, struct error *e)
{
    AUTOFREE char *trash = NULL;
    const char *name = strrchr(container_dir, '/');
    char id[17];

    assert(name);
    random_hex(id, 8);
    trash = xasprintf("%.*s/trash.%s", (int)(name - container_dir), container_dir, id);
    int r = reaper_remove_folder(rf->reaper, container_dir, trash);
    return r < 0 ? error_set_errno(e, r, "remove %s", container_dir) : 0;
}

/* --- Detached mounts ------------------------------------------------------------------------ */

struct legacy_mount {
    const struct sys_overlay *overlay;
    int fd;
    int result;
    struct error error;
};

/*
 * Linux before 6.5 can only mount many layers on a folder. This thread takes a mount namespace of
 * its own for that, clones the mount out of it, and ends; the other threads notice nothing.
 */
static void *legacy_thread(void *data)
{
    struct legacy_mount *m = data;
    const char *target = m->overlay->lower[0];

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        m->result = error_set_errno(&m->error, errno, "take a mount namespace");
        return NULL;
    }
    m->result = sys_overlay_mount_legacy(m->overlay, target, &m->error);
    if (m->result < 0)
        return NULL;
    m->fd = open_tree(AT_FDCWD, target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (m->fd < 0)
        m->result = error_set_errno(&m->error, errno, "clone the mount of %s", target);
    return NULL;
}

int rootfs_mount_detached(const struct rootfs_mount *m, int *ret_fd, struct error *e)
{
    const struct sys_overlay o = {.lower = m->lower,
                                  .upper = m->upper,
                                  .work = m->work,
                                  .options = m->options};
    struct legacy_mount legacy = {.overlay = &o, .fd = -EBADF, .error = ERROR_INIT};
    struct error why = ERROR_INIT;
    pthread_t thread;
    int r = sys_overlay_open(&o, ret_fd, &why);

    if (r == 0)
        return 0;
    if (why.code != ERR_NOT_SUPPORTED) {
        error_move(e, &why);
        return r;
    }
    error_done(&why);
    r = pthread_create(&thread, NULL, legacy_thread, &legacy);
    if (r != 0)
        return error_set_errno(e, r, "start a thread");
    (void)pthread_join(thread, NULL);
    if (legacy.result < 0) {
        error_move(e, &legacy.error);
        return legacy.result;
    }
    *ret_fd = legacy.fd;
    return 0;
}

/* --- Sweep ---------------------------------------------------------------------------------- */

int rootfs_sweep(struct rootfs *rf, const char *root, char *const *live_ids, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/containers", root);
    DIR *dir = opendir(path);
    struct dirent *de;
    int swept = 0;
    int r = 0;

    if (!dir)
        return errno == ENOENT ? 0 : error_set_errno(e, errno, "open %s", path);
    while ((de = readdir(dir))) {
        AUTOFREE char *sub = NULL;

        if (de->d_name[0] == '.' || strv_contains(live_ids, de->d_name))
            continue;
        sub = xasprintf("%s/%s", path, de->d_name);
        int gone = reaper_remove_folder(rf->reaper, sub, NULL);
        if (gone == 0)
            swept++;
        else if (r == 0) /* the others go all the same */
            r = error_set_errno(e, gone, "remove %s", sub);
    }
    (void)closedir(dir);
    return r < 0 ? r : swept;
}
