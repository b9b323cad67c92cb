/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idmapped mounts: sources of bind mounts whose ids are shifted by mappings of their own or by the
 * container's. Made by the stage, which has the host's rights and /proc, on request of init.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "runtime/runtime-priv.h"
#include "sys/mount-api.h"

int idmap_write(pid_t pid, const char *file, const struct json_list *list, struct error *e)
{
    const struct oci_id_mapping *m = list->items;
    AUTO(buf) struct buf text = BUF_INIT(65536);
    char path[64];
    int r;

    for (size_t i = 0; i < list->len; i++)
        (void)buf_printf(&text, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", m[i].container_id,
                         m[i].host_id, m[i].size);
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    r = fs_write_existing(AT_FDCWD, path, buf_str(&text));
    return r < 0 ? error_set_errno(e, r, "cannot write %s of the user namespace", file) : 0;
}

/* A user namespace with these mappings, held by its descriptor alone: the process that was cloned
 * into it ends at once. */
static int make_userns(const struct json_list *uids, const struct json_list *gids, struct error *e)
{
    AUTOFD int pidfd = -EBADF;
    AUTOFD int ns = -EBADF;
    int no_cgroup = -EBADF, r;
    char path[64];
    pid_t pid = process_clone(CLONE_NEWUSER, &no_cgroup, &pidfd);

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        for (;;)
            (void)pause();
    }
    if (pid < 0)
        return error_set_errno(e, pid, "cannot make a user namespace for a mount");
    r = idmap_write(pid, "uid_map", uids, e);
    if (r == 0)
        r = idmap_write(pid, "gid_map", gids, e);
    if (r == 0) {
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
        ns = open(path, O_RDONLY | O_CLOEXEC);
        if (ns < 0)
            r = error_set_errno(e, errno, "cannot open the user namespace of a mount");
    }
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return r < 0 ? r : take_fd(ns);
}

static bool same_maps(const struct json_list *a, const struct json_list *b)
{
    const struct oci_id_mapping *x = a->items;
    const struct oci_id_mapping *y = b->items;

    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (x[i].container_id != y[i].container_id || x[i].host_id != y[i].host_id ||
            x[i].size != y[i].size)
            return false;
    return true;
}

/* The container's user namespace: the one of a path, or init's. */
static int container_userns(const struct runtime_create *p, pid_t pid, struct error *e)
{
    const struct oci_namespace *ns = oci_spec_namespace(p->spec, "user");
    char own[64];
    const char *path = own;
    int fd;

    (void)snprintf(own, sizeof(own), "/proc/%d/ns/user", pid);
    if (!str_is_empty(ns->path))
        path = ns->path;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? error_set_errno(e, errno, "cannot open the user namespace %s", path) : fd;
}

int idmap_check(const struct oci_spec *s, struct error *e)
{
    const struct oci_mount *m = s->mounts.items;
    bool userns = oci_spec_namespace(s, "user") != NULL;

    for (size_t i = 0; i < s->mounts.len; i++) {
        CLEANUP(mount_options_done) struct mount_options o = {0};

        if (!idmap_is_wanted(&m[i], NULL))
            continue;
        mount_options_parse(m[i].options, &o);
        if (!o.bind)
            return error_set(e, ERR_NOT_SUPPORTED,
                             "mount of %s: only bind mounts can have id mappings",
                             m[i].destination);
        if (!m[i].uid_mappings.len && !userns)
            return error_set(e, ERR_INVALID,
                             "mount of %s: idmap needs uidMappings and gidMappings, or a "
                             "container with a user namespace",
                             m[i].destination);
    }
    return 0;
}

bool idmap_is_wanted(const struct oci_mount *m, bool *ret_recursive)
{
    bool recursive = strv_contains(m->options, "ridmap");

    if (ret_recursive)
        *ret_recursive = recursive;
    return recursive || m->uid_mappings.len || strv_contains(m->options, "idmap");
}

/* The user namespace whose mappings a mount gets; -EBADF: none. */
static int userns_of_mount(const struct runtime_create *p, const struct oci_mount *m, pid_t pid,
                           int *ret, struct error *e)
{
    const struct oci_linux *l = p->spec->linux;

    if (!idmap_is_wanted(m, NULL))
        return 0;
    if (m->uid_mappings.len &&
        !(l->uid_mappings.len && same_maps(&m->uid_mappings, &l->uid_mappings) &&
          same_maps(&m->gid_mappings, &l->gid_mappings)))
        *ret = make_userns(&m->uid_mappings, &m->gid_mappings, e);
    else
        *ret = container_userns(p, pid, e);
    return *ret < 0 ? *ret : 0;
}

int idmap_open_mount(const struct runtime_create *p, pid_t pid, size_t i, struct error *e)
{
    const struct oci_mount *m = (const struct oci_mount *)p->spec->mounts.items + i;
    CLEANUP(mount_options_done) struct mount_options o = {0};
    AUTOFREE char *path = NULL;
    AUTOFD int userns = -EBADF;
    AUTOFD int source = -EBADF;
    AUTOFD int fd = -EBADF;
    bool recursive = false;
    int r;

    if (i >= p->spec->mounts.len)
        return error_set(e, ERR_INTERNAL, "init asked for a mount that is not there");
    (void)idmap_is_wanted(m, &recursive);
    mount_options_parse(m->options, &o);
    r = userns_of_mount(p, m, pid, &userns, e);
    if (r < 0)
        return r;
    path = rootfs_bind_source(p, m, e);
    if (!path)
        return -EINVAL;
    source = open(path, O_PATH | O_CLOEXEC);
    if (source < 0)
        return error_set_errno(e, errno, "cannot bind mount %s on %s", path, m->destination);
    fd = mount_clone_open(source, "", o.bind_rec);
    if (fd == -EINVAL)
        fd = shift_open_foreign(path, o.bind_rec);
    if (fd < 0)
        return error_set_errno(e, fd, "cannot bind mount %s on %s", path, m->destination);
    r = userns >= 0 ? mount_set_idmap(fd, userns, recursive) : 0;
    if (r < 0)
        return error_set_errno(e, r, "cannot shift the ids of %s for the mount of %s%s", path,
                               m->destination,
                               r == -EINVAL || r == -ENOSYS || r == -EOPNOTSUPP
                                   ? " (its file system, or the kernel, has no idmapped mounts)"
                                   : "");
    /* A namespace with fewer rights may not take these away any more. */
    r = mount_set_attr(fd, 0, o.attr_clear & ~o.attr_set & (MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),
                       false);
    return r < 0 ? error_set_errno(e, r, "cannot set mount options of %s", path) : take_fd(fd);
}
