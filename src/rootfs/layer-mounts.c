/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EROFS layer files as folders: <root>/layers/<hex>.erofs is mounted once at <state>/layers/<hex>,
 * whoever asks, so that all containers share one superblock and its page cache. Overlays keep clones
 * of their own of the mounts they were made of; taking a mount away harms none that runs.
 *
 * <state>/layers is a mount of its own, unbindable: no peer of /run sees what is mounted in it, and
 * a recursive bind of the host's root does not carry it into a container.
 *
 * Nothing of this is on record: a later pouchd reads its mounts out of /proc/self/mountinfo. A
 * layer that is removed is first marked (`doomed`, under the mutex alone, so that the database's
 * transaction can do it) and then unmounted by whoever comes first: the remover, or somebody who has
 * brought the same layer anew and wants to use it.
 *
 * The mutex is held for a few instructions only. Who mounts or unmounts marks the entry `busy`; who
 * meets that waits on the condition.
 */
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "io/reaper.h"
#include "rootfs/rootfs-priv.h"
#include "sys/verity.h"

#define SUFFIX ".erofs"

struct layer_mount {
    bool busy;       /* somebody mounts or unmounts it */
    bool mounted;    /* when not busy */
    bool opaque;     /* the layer's root hides what is below */
    bool doomed;     /* of a layer that was removed: not to be used any more */
    uint64_t mnt_id; /* what must be at its place */
};

struct layer_mounts {
    char *base;   /* <state>/layers */
    char *layers; /* <root>/layers */
    enum sys_erofs_way way;
    void (*measure)(void *data, const char *hex, char ret[VERITY_MEASURE_MAX]);
    void *measure_data;
    struct reaper *reaper;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    struct map *by_hex; /* of struct layer_mount */
    bool base_busy, base_ready;
};

/* "<hex>" of ".../<hex>.erofs"; the caller frees. */
static char *hex_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t n = strlen(name);

    assert(str_has_suffix(name, SUFFIX));
    return xstrndup(name, n - strlen(SUFFIX));
}

bool rootfs_layer_is_file(const char *path)
{
    return str_has_suffix(path, SUFFIX);
}

/* --- The kernel's side ----------------------------------------------------------------------- */

/* The id of the mount whose root is at path; -ENOENT: there is none. */
static int mount_at(const char *path, uint64_t *ret_id)
{
    struct statx sx;

    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MNT_ID,
              &sx) < 0)
        return -errno;
    if ((sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
        !(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return -ENOENT;
    *ret_id = sx.stx_mask & STATX_MNT_ID ? sx.stx_mnt_id : 0;
    return 0;
}

/* Also when somebody stands in it: then it is out of sight, and gone when he leaves. Freeing the page
 * cache of a layer takes its time: the reaper, when there is one, is such a somebody. */
static int take_away(struct reaper *reaper, const char *path)
{
    AUTOFD int fd = reaper ? open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -EBADF;
    int r = 0;

    if (umount2(path, (fd >= 0 ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
        errno != ENOENT)
        r = errno == EBUSY && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;
    if (r == 0)
        (void)rmdir(path);
    reaper_close(reaper, take_fd(fd));
    return r;
}

static int make_base(struct layer_mounts *lm, struct error *e)
{
    int r = fs_mkdir_p(lm->base, 0700);

    if (r < 0)
        return error_set_errno(e, r, "make %s", lm->base);
    if (mount(lm->base, lm->base, NULL, MS_BIND, NULL) < 0)
        return error_set_errno(e, errno, "bind %s", lm->base);
    if (mount(NULL, lm->base, NULL, MS_UNBINDABLE, NULL) < 0) {
        r = error_set_errno(e, errno, "make %s unbindable", lm->base);
        (void)umount2(lm->base, MNT_DETACH);
        return r;
    }
    return 0;
}

/* Once, by the first that mounts a layer. */
static int need_base(struct layer_mounts *lm, struct error *e)
{
    int r = 0;

    (void)pthread_mutex_lock(&lm->mutex);
    while (lm->base_busy)
        (void)pthread_cond_wait(&lm->changed, &lm->mutex);
    if (!lm->base_ready) {
        lm->base_busy = true;
        (void)pthread_mutex_unlock(&lm->mutex);
        r = make_base(lm, e);
        (void)pthread_mutex_lock(&lm->mutex);
        lm->base_busy = false;
        lm->base_ready = r == 0;
        (void)pthread_cond_broadcast(&lm->changed);
    }
    (void)pthread_mutex_unlock(&lm->mutex);
    return r;
}

/* What is on record of the file, if anything, must be what the kernel holds it to. */
static int check_measure(struct layer_mounts *lm, const char *path, struct error *e)
{
    AUTOFREE char *hex = hex_of(path);
    char want[VERITY_MEASURE_MAX] = "", have[VERITY_MEASURE_MAX] = "";
    char now[VERITY_MEASURE_MAX] = "";
    int r;

    if (lm->measure)
        lm->measure(lm->measure_data, hex, want);
    for (;;) {
        if (!*want)
            return 0;
        AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return error_set_errno(e, errno, "open %s", path);
        r = verity_measure(fd, have);
        if (r == 0 && STREQ(want, have))
            return 0;
        /* fsck may have put another file there in between, whose measure comes later. */
        lm->measure(lm->measure_data, hex, now);
        if (STREQ(now, want))
            break;
        (void)memcpy(want, now, sizeof(want));
    }
    return error_set(
        e, ERR_INTERNAL,
        "layer %s is not the file that was made: its fs-verity measure is %s, on record "
        "is %s; `pouch fsck --repair` makes it anew",
        path, r < 0 ? "missing" : have, want);
}

static int mount_layer(struct layer_mounts *lm, const char *path, const char *place,
                       struct layer_mount *ret, struct error *e)
{
    AUTOFD int fd = -EBADF;
    uint64_t id = 0;
    int r = need_base(lm, e);

    if (r == 0)
        r = check_measure(lm, path, e);
    if (r == 0)
        r = sys_erofs_open(path, lm->way, &fd, e);
    if (r < 0)
        return r;
    if (mkdir(place, 0700) < 0 && errno != EEXIST)
        return error_set_errno(e, errno, "make %s", place);
    if (move_mount(fd, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return error_set_errno(e, errno, "mount %s on %s", path, place);
    r = mount_at(place, &id);
    if (r < 0)
        return error_set_errno(e, r, "mount %s on %s", path, place);
    ret->mnt_id = id;
    ret->opaque = rootfs_layer_is_opaque(place);
    return 0;
}

/* --- The table ------------------------------------------------------------------------------------ */

/* The entry of a layer, claimed: busy, by us. Made when there is none. */
static struct layer_mount *claim(struct layer_mounts *lm, const char *hex)
{
    struct layer_mount *m;

    for (;;) {
        m = map_get(lm->by_hex, hex);
        if (!m) {
            m = xcalloc(1, sizeof(*m));
            (void)map_set(lm->by_hex, hex, m);
        }
        if (!m->busy)
            break;
        (void)pthread_cond_wait(&lm->changed, &lm->mutex); /* it may be another entry then */
    }
    m->busy = true;
    return m;
}

static void release(struct layer_mounts *lm, const char *hex, struct layer_mount *m)
{
    m->busy = false;
    if (!m->mounted)
        free(map_remove(lm->by_hex, hex));
    (void)pthread_cond_broadcast(&lm->changed);
}

/* Claimed: whatever is not what it should be goes, and the layer is mounted anew. */
static int mount_claimed(struct layer_mounts *lm, const char *path, const char *place,
                         struct layer_mount *m, struct error *e)
{
    struct layer_mount fresh = {.mounted = true};
    uint64_t id = 0;
    int r = 0;

    (void)pthread_mutex_lock(&lm->mutex);
    bool doomed = m->doomed;
    (void)pthread_mutex_unlock(&lm->mutex);
    if (m->mounted && !doomed && mount_at(place, &id) == 0 && id == m->mnt_id)
        return 0; /* somebody else just did it */
    /* What is doomed from here on is what is about to be mounted. */
    (void)pthread_mutex_lock(&lm->mutex);
    m->doomed = false;
    (void)pthread_mutex_unlock(&lm->mutex);
    if (m->mounted)
        r = take_away(lm->reaper, place);
    m->mounted = false;
    if (r < 0)
        return error_set_errno(e, r, "unmount %s", place);
    r = mount_layer(lm, path, place, &fresh, e);
    if (r < 0) {
        (void)!take_away(lm->reaper, place);
        return r;
    }
    m->mounted = true;
    m->opaque = fresh.opaque;
    m->mnt_id = fresh.mnt_id;
    return 0;
}

int rootfs_layer_mount(struct layer_mounts *lm, const char *path, char **ret_place,
                       bool *ret_opaque, struct error *e)
{
    AUTOFREE char *hex = hex_of(path);
    AUTOFREE char *place = xasprintf("%s/%s", lm->base, hex);
    struct layer_mount *m;
    uint64_t want = 0;
    uint64_t id = 0;
    bool known;
    int r;

    if (lm->way == SYS_EROFS_NONE)
        return error_set(
            e, ERR_NOT_SUPPORTED,
            "layer %s is an EROFS file, which the storage driver in use does not mount", path);
    (void)pthread_mutex_lock(&lm->mutex);
    m = map_get(lm->by_hex, hex);
    known = m && !m->busy && m->mounted && !m->doomed;
    if (known) {
        want = m->mnt_id;
        *ret_opaque = m->opaque;
    }
    (void)pthread_mutex_unlock(&lm->mutex);
    /* An empty folder in a layer's place, because somebody unmounted it, would be a lie. */
    if (known && mount_at(place, &id) == 0 && id == want) {
        *ret_place = take_ptr(place);
        return 0;
    }
    (void)pthread_mutex_lock(&lm->mutex);
    m = claim(lm, hex);
    (void)pthread_mutex_unlock(&lm->mutex);
    r = mount_claimed(lm, path, place, m, e);
    (void)pthread_mutex_lock(&lm->mutex);
    *ret_opaque = m->opaque;
    release(lm, hex, m);
    (void)pthread_mutex_unlock(&lm->mutex);
    if (r < 0)
        return r;
    *ret_place = take_ptr(place);
    return 0;
}

void rootfs_layer_doom(struct layer_mounts *lm, const char *path)
{
    AUTOFREE char *hex = hex_of(path);
    struct layer_mount *m;

    (void)pthread_mutex_lock(&lm->mutex);
    m = map_get(lm->by_hex, hex);
    if (m)
        m->doomed = true;
    (void)pthread_mutex_unlock(&lm->mutex);
}

/* Unmounts a layer's mount: when it is doomed, or in any case. */
static void drop(struct layer_mounts *lm, const char *hex, bool only_doomed)
{
    AUTOFREE char *place = xasprintf("%s/%s", lm->base, hex);
    struct layer_mount *m;
    int r = 0;

    (void)pthread_mutex_lock(&lm->mutex);
    m = claim(lm, hex);
    if (m->mounted && (m->doomed || !only_doomed)) {
        (void)pthread_mutex_unlock(&lm->mutex);
        r = take_away(lm->reaper, place);
        (void)pthread_mutex_lock(&lm->mutex);
        m->mounted = r < 0;
    }
    release(lm, hex, m);
    (void)pthread_mutex_unlock(&lm->mutex);
    if (r < 0)
        log_warn("cannot unmount a layer", "place=%s error=\"%s\"", place, strerror(-r));
}

void rootfs_layer_drop(struct layer_mounts *lm, const char *path)
{
    AUTOFREE char *hex = hex_of(path);

    drop(lm, hex, true);
}

/* --- Opening and closing --------------------------------------------------------------------------- */

/* Field `n` (from 0) of a line of mountinfo, octal escapes undone; the caller frees. */
static char *mountinfo_field(const char *line, unsigned n)
{
    char *out;
    size_t len = 0;

    while (n > 0 && *line && *line != '\n')
        n -= *line++ == ' ';
    out = xmalloc(strcspn(line, " \n") + 1);
    for (; *line && *line != ' ' && *line != '\n'; line++) {
        unsigned c;

        if (*line == '\\' && sscanf(line + 1, "%3o", &c) == 1) {
            out[len++] = (char)c;
            line += 3;
        } else {
            out[len++] = *line;
        }
    }
    out[len] = 0;
    return out;
}

/* A mount below the base: ours from an earlier life. What has no layer any more goes. */
static void adopt(struct layer_mounts *lm, const char *place)
{
    const char *hex = place + strlen(lm->base) + 1;
    AUTOFREE char *file = xasprintf("%s/%s" SUFFIX, lm->layers, hex);
    struct layer_mount *m;
    uint64_t id = 0;

    if (strchr(hex, '/') || map_get(lm->by_hex, hex))
        return;
    if (access(file, F_OK) < 0 || mount_at(place, &id) < 0) {
        (void)!take_away(lm->reaper, place);
        return;
    }
    m = xcalloc(1, sizeof(*m));
    m->mounted = true;
    m->mnt_id = id;
    m->opaque = rootfs_layer_is_opaque(place);
    (void)map_set(lm->by_hex, hex, m);
}

static int adopt_all(struct layer_mounts *lm, struct error *e)
{
    AUTOFREE char *text = NULL;
    AUTOFREE char *below = xasprintf("%s/", lm->base);
    int r = fs_read_file(AT_FDCWD, "/proc/self/mountinfo", (size_t)256 << 20, &text, NULL);

    if (r < 0)
        return error_set_errno(e, r, "read /proc/self/mountinfo");
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        AUTOFREE char *place = mountinfo_field(line, 4);

        if (STREQ(place, lm->base))
            lm->base_ready = true;
        else if (str_has_prefix(place, below))
            adopt(lm, place);
    }
    return 0;
}

int rootfs_layers_open(const struct rootfs_params *p, enum sys_erofs_way way,
                       struct layer_mounts **ret, struct error *e)
{
    struct layer_mounts *lm = xcalloc(1, sizeof(*lm));
    AUTOFREE char *real = realpath(p->state, NULL); /* as mountinfo has it */
    int r;

    lm->base = xasprintf("%s/layers", real ? real : p->state);
    lm->layers = xasprintf("%s/layers", p->root);
    lm->way = way;
    lm->measure = p->measure;
    lm->measure_data = p->measure_data;
    lm->reaper = p->reaper;
    lm->by_hex = map_new();
    (void)pthread_mutex_init(&lm->mutex, NULL);
    (void)pthread_cond_init(&lm->changed, NULL);
    r = adopt_all(lm, e);
    if (r < 0) {
        rootfs_layers_close(lm, NULL);
        return r;
    }
    *ret = lm;
    return 0;
}

size_t rootfs_layers_count(struct layer_mounts *lm)
{
    size_t n;

    (void)pthread_mutex_lock(&lm->mutex);
    n = map_len(lm->by_hex);
    (void)pthread_mutex_unlock(&lm->mutex);
    return n;
}

void rootfs_layers_close(struct layer_mounts *lm, char *const *keep)
{
    AUTOPTR(strv) char **go = NULL;
    const char *hex;
    size_t pos = 0;

    if (!lm)
        return;
    while (map_next(lm->by_hex, &pos, &hex, NULL)) {
        AUTOFREE char *file = xasprintf("%s/%s" SUFFIX, lm->layers, hex);

        if (!strv_contains(keep, file))
            strv_push(&go, hex);
    }
    for (size_t i = 0; go && go[i]; i++)
        drop(lm, go[i], false);
    if (lm->base_ready && map_len(lm->by_hex) == 0) {
        (void)!take_away(NULL, lm->base);
        (void)rmdir(lm->base);
    }
    (void)pthread_mutex_destroy(&lm->mutex);
    (void)pthread_cond_destroy(&lm->changed);
    map_free(lm->by_hex, free);
    free(lm->base);
    free(lm->layers);
    free(lm);
}
