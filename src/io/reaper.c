/* SPDX-License-Identifier: Apache-2.0 */
/* See reaper.h. The mutex is never held across a call that blocks. */
#include "io/reaper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"

#define FREE_SHARE   8                   /* what waits is at most this part of what is free */
#define TREE_BYTES   ((uint64_t)1 << 30) /* one of unknown size is held to be that large */
#define TREE_TRIES   10
#define LITTLE_NAMES 128
#define LITTLE_BYTES ((uint64_t)8 << 20)
#define TREE_PAUSE   50000 /* us */

struct item {
    struct item *next;
    int fd;     /* to be closed; negative: a tree */
    int dirfd;  /* of the tree, borrowed */
    char *name; /* of the tree */
    uint64_t bytes;
};

struct reaper {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct item *first, **last;
    unsigned nfds, ntrees; /* waiting or at work */
    uint64_t bytes;
    uint64_t queued, done; /* items, since the beginning: first in, first out */
    bool running;          /* the thread is there */
    atomic_bool stop;
};

struct reaper *reaper_new(void)
{
    struct reaper *r = xcalloc(1, sizeof(*r));

    (void)pthread_mutex_init(&r->mutex, NULL);
    (void)pthread_cond_init(&r->changed, NULL);
    r->last = &r->first;
    return r;
}

/* A program that is just ending may still be writing there. */
static void remove_tree(int dirfd, const char *name, const atomic_bool *stop)
{
    int r = fs_remove_tree_until(dirfd, name, stop);

    for (int i = 1; r < 0 && r != -ECANCELED && i < TREE_TRIES && !(stop && atomic_load(stop));
         i++) {
        (void)usleep(TREE_PAUSE);
        r = fs_remove_tree_until(dirfd, name, stop);
    }
    if (r < 0 && r != -ECANCELED)
        log_warn("removed, but its files are still there", "path=%s error=\"%s\"", name,
                 strerror(-r));
}

static void item_do(struct reaper *r, const struct item *it)
{
    if (it->fd >= 0)
        (void)close(it->fd);
    else
        remove_tree(it->dirfd, it->name, &r->stop);
}

/* The mutex is held. */
static struct item *take_first(struct reaper *r)
{
    struct item *it = r->first;

    if (it) {
        r->first = it->next;
        if (!r->first)
            r->last = &r->first;
    }
    return it;
}

/* The mutex is held. */
static void item_done(struct reaper *r, struct item *it)
{
    if (it->fd >= 0)
        r->nfds--;
    else
        r->ntrees--;
    assert(r->bytes >= it->bytes);
    r->bytes -= it->bytes;
    r->done++;
    (void)pthread_cond_broadcast(&r->changed);
    free(it->name);
    free(it);
}

static void *reaper_thread(void *data)
{
    struct reaper *r = data;
    struct item *it;

    (void)pthread_mutex_lock(&r->mutex);
    while (!atomic_load(&r->stop) && (it = take_first(r))) {
        (void)pthread_mutex_unlock(&r->mutex);
        item_do(r, it);
        (void)pthread_mutex_lock(&r->mutex);
        item_done(r, it);
    }
    r->running = false;
    (void)pthread_cond_broadcast(&r->changed);
    (void)pthread_mutex_unlock(&r->mutex);
    return NULL;
}

/* The mutex is held, which costs some microseconds. False: there is no thread to be had. */
static bool need_thread(struct reaper *r)
{
    pthread_attr_t attr;
    pthread_t thread;

    if (r->running)
        return true;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, 256 << 10);
    r->running = pthread_create(&thread, &attr, reaper_thread, r) == 0;
    (void)pthread_attr_destroy(&attr);
    return r->running;
}

/* False: it is the caller's to do. free_bytes: of the file system; what has no bytes needs none. */
static bool queue(struct reaper *r, struct item *it, uint64_t free_bytes)
{
    bool ok;

    (void)pthread_mutex_lock(&r->mutex);
    ok = !atomic_load(&r->stop) &&
         (it->fd >= 0 ? r->nfds < REAPER_FDS_MAX : r->ntrees < REAPER_TREES_MAX) &&
         (it->bytes == 0 || it->bytes + r->bytes <= free_bytes / FREE_SHARE) && need_thread(r);
    if (ok) {
        r->nfds += it->fd >= 0;
        r->ntrees += it->fd < 0;
        r->bytes += it->bytes;
        r->queued++;
        *r->last = it;
        r->last = &it->next;
    }
    (void)pthread_mutex_unlock(&r->mutex);
    return ok;
}

static uint64_t free_of(int dirfd, const char *name)
{
    struct statvfs st;
    int r = dirfd == AT_FDCWD ? statvfs(name, &st) : fstatvfs(dirfd, &st);

    return r < 0 ? 0 : (uint64_t)st.f_bavail * st.f_frsize;
}

int reaper_unlink(struct reaper *r, int dirfd, const char *name)
{
    /* O_PATH holds the file without opening it: no device, no rights. */
    AUTOFD int fd = r ? openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
    struct stat st;
    struct item *it;

    if (unlinkat(dirfd, name, 0) < 0)
        return -errno;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_nlink > 0 || st.st_blocks == 0)
        return 0;
    it = xcalloc(1, sizeof(*it));
    it->fd = fd;
    it->bytes = (uint64_t)st.st_blocks * 512;
    if (queue(r, it, free_of(fd, NULL)))
        fd = -EBADF;
    else
        free(it);
    return 0;
}

void reaper_close(struct reaper *r, int fd)
{
    struct item *it;

    if (fd < 0)
        return;
    it = xcalloc(1, sizeof(*it));
    it->fd = fd;
    if (r && queue(r, it, 0))
        return;
    free(it);
    (void)close(fd);
}

void reaper_remove_tree(struct reaper *r, int dirfd, const char *name, uint64_t bytes)
{
    struct item *it = xcalloc(1, sizeof(*it));

    it->fd = -EBADF;
    it->dirfd = dirfd;
    it->name = xstrdup(name);
    it->bytes = bytes ? bytes : TREE_BYTES;
    if (r && queue(r, it, free_of(dirfd, name)))
        return;
    remove_tree(dirfd, name, r ? &r->stop : NULL); /* stopped: its owner sweeps it */
    free(it->name);
    free(it);
}

int reaper_remove_folder(struct reaper *r, const char *path, const char *trash)
{
    int ret = r ? fs_remove_tree_little(AT_FDCWD, path, LITTLE_NAMES, LITTLE_BYTES)
                : fs_remove_tree(AT_FDCWD, path);

    if (ret != -EFBIG)
        return ret;
    /* A full disk may not have room for another name: its own does as well. */
    if (trash && rename(path, trash) < 0)
        trash = NULL;
    reaper_remove_tree(r, AT_FDCWD, trash ? trash : path, 0);
    return 0;
}

void reaper_wait(struct reaper *r)
{
    if (!r)
        return;
    (void)pthread_mutex_lock(&r->mutex);
    uint64_t until = r->queued;
    while (r->done < until && !atomic_load(&r->stop))
        (void)pthread_cond_wait(&r->changed, &r->mutex);
    (void)pthread_mutex_unlock(&r->mutex);
}

void reaper_stop(struct reaper *r)
{
    if (!r)
        return;
    (void)pthread_mutex_lock(&r->mutex);
    atomic_store(&r->stop, true);
    (void)pthread_cond_broadcast(&r->changed);
    while (r->running)
        (void)pthread_cond_wait(&r->changed, &r->mutex);
    (void)pthread_mutex_unlock(&r->mutex);
}

void reaper_free(struct reaper *r)
{
    struct item *it;

    if (!r)
        return;
    reaper_stop(r);
    while ((it = take_first(r))) {
        if (it->fd >= 0)
            (void)close(it->fd);
        item_done(r, it);
    }
    (void)pthread_mutex_destroy(&r->mutex);
    (void)pthread_cond_destroy(&r->changed);
    free(r);
}
