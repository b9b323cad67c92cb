/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much disk a tree takes, as `du -sx` counts. The walk holds one open folder and goes back up
 * by "..", so that a deep tree costs neither stack nor fds nor long paths. A container may be moving
 * folders about meanwhile: each step up is checked to arrive where the walk came from.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rootfs/rootfs-priv.h"

/* Inodes with several links that were counted: open addressing, 0 is an empty place. */
struct inode_set {
    uint64_t *places;
    size_t cap;
    size_t len;
};

static void inode_set_done(struct inode_set *s)
{
    free(s->places);
}

static bool place_inode(uint64_t *places, size_t cap, uint64_t ino)
{
    size_t i = (size_t)(ino * 0x9E3779B97F4A7C15ULL) & (cap - 1);

    for (; places[i]; i = (i + 1) & (cap - 1)) {
        if (places[i] == ino)
            return false;
    }
    places[i] = ino;
    return true;
}

/* True when it was not there before. */
static bool inode_set_add(struct inode_set *s, uint64_t ino)
{
    if (s->len * 2 >= s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 256;
        uint64_t *places = xcalloc(cap, sizeof *places);

        for (size_t i = 0; i < s->cap; i++) {
            if (s->places[i])
                (void)place_inode(places, cap, s->places[i]);
        }
        free(s->places);
        s->places = places;
        s->cap = cap;
    }
    if (!place_inode(s->places, s->cap, ino))
        return false;
    s->len++;
    return true;
}

/* What is still to do, last first: go down into `name`, or (NULL) back up to the folder `ino`. */
struct step {
    char *name;
    ino_t ino;
};

/* More folders side by side than this are an attack on our memory: the count ends there. */
#define STEPS_MAX (4u << 20)

struct walk {
    dev_t dev;
    uint64_t bytes;
    struct inode_set seen;
    struct step *steps;
    size_t len;
    size_t cap;
};

static void walk_done(struct walk *w)
{
    while (w->len)
        free(w->steps[--w->len].name);
    free(w->steps);
    inode_set_done(&w->seen);
}

static void walk_push(struct walk *w, const char *name, ino_t ino)
{
    if (w->len == STEPS_MAX)
        return;
    if (w->len == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->steps = xreallocarray(w->steps, w->cap, sizeof *w->steps);
    }
    w->steps[w->len++] = (struct step){name ? xstrdup(name) : NULL, ino};
}

static void count_entry(struct walk *w, int fd, const char *name)
{
    struct stat st;

    /* What goes away meanwhile does not count. */
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != w->dev)
        return;
    if (S_ISDIR(st.st_mode))
        walk_push(w, name, 0);
    else if (st.st_nlink > 1 && !inode_set_add(&w->seen, st.st_ino))
        return;
    w->bytes += (uint64_t)st.st_blocks * 512;
}

static int count_folder(struct walk *w, int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    struct dirent *de;

    if (!dir) {
        base_closep(&copy);
        return -errno;
    }
    while ((de = readdir(dir))) {
        if (!STREQ(de->d_name, ".") && !STREQ(de->d_name, ".."))
            count_entry(w, fd, de->d_name);
    }
    (void)closedir(dir);
    return 0;
}

/* Takes one step from the folder *fd. -ESTALE when folders were moved under our feet. */
static int walk_step(struct walk *w, int *fd)
{
    struct step step = w->steps[--w->len];
    AUTOFREE char *name = step.name;
    int next = openat(*fd, name ? name : "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat here;
    struct stat st;

    if (next < 0)
        return name ? 0 : -errno; /* gone meanwhile */
    if (fstat(next, &st) < 0 || fstat(*fd, &here) < 0 || st.st_dev != w->dev ||
        (!name && st.st_ino != step.ino)) {
        (void)close(next);
        return name ? 0 : -ESTALE;
    }
    (void)close(*fd);
    *fd = next;
    if (name) {
        walk_push(w, NULL, here.st_ino);
        return count_folder(w, *fd);
    }
    return 0;
}

int rootfs_tree_size(const char *path, uint64_t *ret_bytes, struct error *e)
{
    CLEANUP(walk_done) struct walk w = {0};
    AUTOFD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    int r;

    if (fd < 0 && errno == ENOENT) {
        *ret_bytes = 0;
        return 0;
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(e, errno, "read %s", path);
    w.dev = st.st_dev;
    w.bytes = (uint64_t)st.st_blocks * 512;
    r = count_folder(&w, fd);
    while (r == 0 && w.len)
        r = walk_step(&w, &fd);
    /* A tree that changes while it is counted has no true size: what was seen is the answer. */
    if (r < 0 && r != -ESTALE)
        return error_set_errno(e, r, "read %s", path);
    *ret_bytes = w.bytes;
    return 0;
}
