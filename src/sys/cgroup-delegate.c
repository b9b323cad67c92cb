/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part of a container's cgroup that is the container's own to divide (systemd and its like make a
 * cgroup for each service). It lies one level below the limits, so that whoever is root there can
 * neither raise them nor leave them, also on hosts that mount cgroup2 without nsdelegate.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "sys/cgroup-priv.h"

/* What the new owner must be able to write, as /sys/kernel/cgroup/delegate tells. */
static const char *const delegated_files[] = {
    "", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.oom.group",
};

/* The controllers of the cgroup are handed down to the folder below it. */
static void hand_down(const char *path)
{
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **names = NULL;

    if (cgroup_read("", path, "cgroup.controllers", &text) < 0)
        return;
    names = strv_split(text, " \n", true);
    for (char **n = names; n && *n; n++) {
        char word[64];

        /* One by one: a controller that cannot be had (realtime tasks, say) costs no other. */
        (void)snprintf(word, sizeof(word), "+%s", *n);
        (void)!cgroup_write("", path, "cgroup.subtree_control", word);
    }
}

int cgroup_delegate(const char *path, uid_t uid, gid_t gid, char **ret, struct error *e)
{
    AUTOFREE char *below = xasprintf("%s/" CGROUP_DELEGATED, path);
    const char *mount = cgroup_mount_point("");
    char name[CGROUP_PATH_MAX];
    int r;

    if (!mount)
        return error_set(e, ERR_UNAVAILABLE,
                         "no cgroup2 hierarchy is mounted on this host: a container with systemd "
                         "needs one (mount -t cgroup2 none /sys/fs/cgroup/unified)");
    hand_down(path);
    r = cgroup_file(name, mount, below, NULL);
    if (r == 0 && mkdir(name, 0755) < 0 && errno != EEXIST)
        r = -errno;
    for (size_t i = 0; r == 0 && (uid || gid) && i < ARRAY_SIZE(delegated_files); i++) {
        r = cgroup_file(name, mount, below, *delegated_files[i] ? delegated_files[i] : NULL);
        if (r == 0 && chown(name, uid, gid) < 0 && errno != ENOENT)
            r = -errno;
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot delegate cgroup %s", below);
    *ret = take_ptr(below);
    return 0;
}

char *cgroup_delegated_place(const char *path, pid_t init)
{
    AUTOFREE char *below = xasprintf("%s/" CGROUP_DELEGATED, path);
    const char *mount = cgroup_mount_point("");
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **lines = NULL;
    char name[CGROUP_PATH_MAX];
    char file[32];

    if (!mount || cgroup_file(name, mount, below, NULL) < 0 || access(name, F_OK) < 0)
        return NULL;
    (void)snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)init);
    if (fs_read_file(AT_FDCWD, file, 65536, &text, NULL) < 0)
        return take_ptr(below);
    lines = strv_split(text, "\n", true);
    for (char **l = lines; l && *l; l++)
        /* Never outside of the container's part, whatever the line says. */
        if (str_has_prefix(*l, "0::") && str_has_prefix(*l + 3, below) && !strstr(*l, ".."))
            return xstrdup(*l + 3);
    return take_ptr(below);
}
