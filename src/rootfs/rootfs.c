/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rootfs drivers, and what is the same for all of them. */
#include "rootfs/rootfs.h"

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
#include "rootfs/rootfs-priv.h"
#include "sys/overlay.h"

static const struct rootfs_driver *const drivers[] = {
    &rootfs_driver_overlay,
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

int rootfs_driver_find(const char *name, const struct rootfs_driver **ret, struct error *e)
{
    AUTO(buf) struct buf known = BUF_INIT(4096);

    if (str_is_empty(name))
        name = ROOTFS_DRIVER_DEFAULT;
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (STREQ(drivers[i]->name, name)) {
            *ret = drivers[i];
            return 0;
        }
        (void)buf_printf(&known, "%s%s", i ? ", " : "", drivers[i]->name);
    }
    return error_set(e, ERR_INVALID, "unknown storage driver \"%s\" (there is: %s)", name,
                     buf_str(&known));
}

const char *rootfs_driver_name(const struct rootfs_driver *drv)
{
    return drv->name;
}

int rootfs_driver_probe(const struct rootfs_driver *drv, const char *root, struct error *e)
{
    return drv->probe(root, e);
}

char *rootfs_layer_path(const char *root, const char *chain_id)
{
    const char *colon = strchr(chain_id, ':');

    return xasprintf("%s/layers/%s", root, colon ? colon + 1 : chain_id);
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

int rootfs_prepare(const struct rootfs_driver *drv, const char *container_dir,
                   char *const *layer_dirs, struct rootfs_mount *ret, struct error *e)
{
    int r = check_layers(layer_dirs, e);

    return r < 0 ? r : drv->prepare(container_dir, layer_dirs, ret, e);
}

int rootfs_view(const struct rootfs_driver *drv, char *const *layer_dirs, struct rootfs_mount *ret,
                struct error *e)
{
    int r = check_layers(layer_dirs, e);

    return r < 0 ? r : drv->view(layer_dirs, ret, e);
}

int rootfs_size(const struct rootfs_driver *drv, const char *container_dir, uint64_t *ret_bytes,
                struct error *e)
{
    return drv->size(container_dir, ret_bytes, e);
}

int rootfs_set_aside(const struct rootfs_driver *drv, const char *container_dir, struct error *e)
{
    return drv->set_aside(container_dir, e);
}

int rootfs_put_back(const struct rootfs_driver *drv, const char *container_dir, struct error *e)
{
    return drv->put_back(container_dir, e);
}

int rootfs_drop_aside(const struct rootfs_driver *drv, const char *container_dir, struct error *e)
{
    return drv->drop_aside(container_dir, e);
}

int rootfs_remove(const struct rootfs_driver *drv, const char *container_dir, struct error *e)
{
    return drv->remove(container_dir, e);
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

static int sweep_one(const struct rootfs_driver *drv, const char *dir, struct error *e)
{
    int r;

    if (!drv->is_present(dir))
        return 0;
    r = drv->remove(dir, e);
    if (r < 0)
        return r;
    /* Stays when the engine still has files in it. */
    (void)rmdir(dir);
    return 1;
}

int rootfs_sweep(const struct rootfs_driver *drv, const char *root, char *const *live_ids,
                 struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/containers", root);
    DIR *dir = opendir(path);
    struct dirent *de;
    int swept = 0;
    int r = 0;

    if (!dir)
        return errno == ENOENT ? 0 : error_set_errno(e, errno, "open %s", path);
    while (r >= 0 && (de = readdir(dir))) {
        AUTOFREE char *sub = NULL;

        if (de->d_name[0] == '.' || strv_contains(live_ids, de->d_name))
            continue;
        sub = xasprintf("%s/%s", path, de->d_name);
        r = sweep_one(drv, sub, e);
        if (r > 0)
            swept++;
    }
    (void)closedir(dir);
    return r < 0 ? r : swept;
}
