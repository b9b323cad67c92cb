/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Project quota: each folder of a budget, and all in it, carries the budget's id; what is made in it
 * inherits the id. The limit is set before the first folder carries it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "quota/quota-priv.h"

static int open_dir(const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? error_set_errno(e, errno, "open %s", path) : fd;
}

static int project_probe(const char *path, struct error *e)
{
    AUTOFD int fd = open_dir(path, e);

    return fd < 0 ? fd : quota_project_ready(fd, path, e);
}

static bool project_is_used(const char *root, const struct quota_budget *b)
{
    AUTOFD int fd = open(b->anchor, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct quota_usage u;

    (void)root;
    return fd >= 0 && quota_project_usage(fd, b->id, &u) == 0 &&
           (u.bytes || u.inodes || u.limit.bytes || u.limit.inodes);
}

/* The id that things in this folder's parent have: 0, or that of an administrator's project. */
static uint32_t parent_project(const char *path)
{
    AUTOFREE char *parent = xasprintf("%s/..", path);
    AUTOFD int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint32_t id = 0;
    bool inherit = false;

    if (fd < 0 || quota_project_get(fd, &id, &inherit) < 0 || !inherit)
        return 0;
    return id;
}

static int mark_place(const struct quota_budget *b, const struct quota_place *p, struct error *e)
{
    AUTOFD int fd = -EBADF;
    uint32_t id = 0;
    bool inherit = false;
    int r;

    if (p->kind == QUOTA_PLACE_OWN && mkdir(p->path, 0710) < 0 && errno != EEXIST)
        return error_set_errno(e, errno, "make %s", p->path);
    fd = open_dir(p->path, e);
    if (fd < 0)
        return fd;
    r = quota_project_get(fd, &id, &inherit);
    if (r < 0)
        return error_set_errno(e, r, "read the project id of %s", p->path);
    if (id == b->id && inherit)
        return 0;
    if (id && id != b->id && id != parent_project(p->path))
        return error_set(e, ERR_CONFLICT,
                         "%s belongs to project %u already: leave it out, or clear it first "
                         "(chattr -R -p 0 %s)",
                         p->path, id, p->path);
    return quota_project_tag(p->path, b->id, 0, e);
}

static int set_limit(int fd, const struct quota_budget *b, struct error *e)
{
    struct quota_usage u = {0};
    int r = quota_project_usage(fd, b->id, &u);

    if (r == 0 && u.limit.bytes / 1024 == (b->limit.bytes + 1023) / 1024 &&
        u.limit.inodes == b->limit.inodes)
        return 0;
    r = quota_project_limit(fd, b->id, &b->limit);
    return r < 0 ? error_set_errno(e, r, "set the limit of project %u", b->id) : 0;
}

static int project_make(const char *root, const struct quota_budget *b, struct error *e)
{
    AUTOFD int fd = open_dir(b->anchor, e);
    int r;

    (void)root;
    if (fd < 0)
        return fd;
    r = quota_project_ready(fd, b->anchor, e);
    if (r == 0)
        r = set_limit(fd, b, e);
    for (size_t i = 0; r == 0 && i < b->places.len; i++)
        r = mark_place(b, quota_place(b, i), e);
    return r;
}

static int project_change(const char *root, const struct quota_budget *b, struct error *e)
{
    AUTOFD int fd = open_dir(b->anchor, e);

    (void)root;
    return fd < 0 ? fd : set_limit(fd, b, e);
}

#define LENT_BYTES  ((uint64_t)1 << 20)
#define LENT_INODES 64 /* xfs makes inodes by the chunk */

static int project_lend(const char *root, const struct quota_budget *b, bool on, struct error *e)
{
    struct quota_budget more = *b;
    AUTOFD int fd = open_dir(b->anchor, e);
    struct quota_usage u = {0};

    (void)root;
    if (fd < 0)
        return fd;
    if (on && quota_project_usage(fd, b->id, &u) == 0) {
        /* What is used may be above the limit already: an update made it smaller. */
        if (b->limit.bytes && u.bytes + LENT_BYTES > b->limit.bytes)
            more.limit.bytes = u.bytes + 2 * LENT_BYTES;
        if (b->limit.inodes && u.inodes + LENT_INODES > b->limit.inodes)
            more.limit.inodes = u.inodes + 2 * LENT_INODES;
    }
    return set_limit(fd, &more, e);
}

static int project_clear(const char *root, const struct quota_budget *b, bool last, struct error *e)
{
    const struct quota_limit none = {0};
    AUTOFD int fd = -EBADF;
    int r = 0;

    (void)root;
    for (size_t i = 0; r == 0 && i < b->places.len; i++) {
        const struct quota_place *p = quota_place(b, i);

        if (p->kind == QUOTA_PLACE_OWN) {
            r = fs_remove_tree(AT_FDCWD, p->path);
            if (r < 0)
                r = error_set_errno(e, r, "remove %s", p->path);
        } else {
            r = quota_project_tag(p->path, parent_project(p->path), b->id, e);
        }
    }
    if (r < 0 || !last)
        return r;
    /* The file system may be gone with all its limits. */
    fd = open(b->anchor, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    r = quota_project_limit(fd, b->id, &none);
    /* Quota may have been switched off since: then there is no limit to lift. */
    if (r < 0 && r != -ESRCH && r != -ENOENT && r != -ENOTSUP && r != -ENOSYS)
        return error_set_errno(e, r, "lift the limit of project %u", b->id);
    return 0;
}

static int project_usage(const char *root, const struct quota_budget *b, struct quota_usage *ret,
                         struct error *e)
{
    AUTOFD int fd = open_dir(b->anchor, e);
    int r;

    (void)root;
    if (fd < 0)
        return fd;
    r = quota_project_usage(fd, b->id, ret);
    return r < 0 ? error_set_errno(e, r, "read the usage of project %u", b->id) : 0;
}

const struct quota_driver quota_driver_project = {
    .name = "project",
    .inodes = true,
    .shares = true,
    .probe = project_probe,
    .is_used = project_is_used,
    .make = project_make,
    .change = project_change,
    .lend = project_lend,
    .clear = project_clear,
    .usage = project_usage,
};
