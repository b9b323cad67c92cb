/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without root's rights: the id maps of the container's user namespace. The kernel lets a user map
 * his own ids alone; more of them are for newuidmap(1) and newgidmap(1), which know what
 * /etc/subuid and /etc/subgid give him.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

bool rootless_is(void)
{
    return geteuid() != 0;
}

static bool is_own(const struct json_list *maps, uint64_t id)
{
    const struct oci_id_mapping *m = maps->items;

    return maps->len == 1 && m->host_id == id && m->size == 1;
}

/* newuidmap PID INSIDE OUTSIDE COUNT… */
static int run_mapper(const char *program, pid_t pid, const struct json_list *maps, struct error *e)
{
    const struct oci_id_mapping *m = maps->items;
    AUTOPTR(strv) char **argv = NULL;
    char said[256] = "";
    int fds[2], status = 0;
    ssize_t n;
    pid_t child;

    strv_push(&argv, program);
    strv_pushf(&argv, "%d", pid);
    for (size_t i = 0; i < maps->len; i++) {
        strv_pushf(&argv, "%" PRIu64, m[i].container_id);
        strv_pushf(&argv, "%" PRIu64, m[i].host_id);
        strv_pushf(&argv, "%" PRIu64, m[i].size);
    }
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot make a pipe");
    child = fork();
    if (child == 0) {
        (void)dup2(fds[1], 2);
        execvp(program, argv);
        dprintf(2, "%s",
                errno == ENOENT ? "it is not installed (package uidmap)" : strerror(errno));
        _exit(127);
    }
    close(fds[1]);
    n = child > 0 ? read(fds[0], said, sizeof(said) - 1) : 0;
    close(fds[0]);
    if (child < 0)
        return error_set_errno(e, errno, "cannot run %s", program);
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return error_set(e, ERR_FORBIDDEN, "%s refuses the id mappings of the container: %s", program,
                     said);
}

int rootless_write_maps(pid_t pid, const struct oci_linux *l, struct error *e)
{
    char path[64];
    int r = is_own(&l->uid_mappings, geteuid()) ? idmap_write(pid, "uid_map", &l->uid_mappings, e)
                                                : run_mapper("newuidmap", pid, &l->uid_mappings, e);

    if (r < 0)
        return r;
    if (!is_own(&l->gid_mappings, getegid()))
        return run_mapper("newgidmap", pid, &l->gid_mappings, e);
    /* Groups could be given up otherwise that forbid something. */
    (void)snprintf(path, sizeof(path), "/proc/%d/setgroups", pid);
    r = fs_write_existing(AT_FDCWD, path, "deny");
    if (r < 0 && r != -ENOENT)
        return error_set_errno(e, r, "cannot write %s", path);
    return idmap_write(pid, "gid_map", &l->gid_mappings, e);
}
