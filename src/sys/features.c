/* SPDX-License-Identifier: Apache-2.0 */
/* One table of what must be there: see features.h. */
#include "sys/features.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "sys/caps.h"
#include "sys/cgroup.h"

static bool is_root(void)
{
    return geteuid() == 0;
}

static bool has_admin(void)
{
    struct caps_sets sets;

    return caps_get(&sets) == 0 && (sets.effective & (UINT64_C(1) << CAP_SYS_ADMIN));
}

static bool has_namespaces(void)
{
    static const char *const names[] = {"mnt", "pid", "net", "ipc", "uts"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        AUTOFREE char *path = xasprintf("/proc/self/ns/%s", names[i]);

        if (access(path, F_OK) < 0)
            return false;
    }
    return true;
}

static bool has_overlay(void)
{
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **lines = NULL;

    /* A kernel that has it as a module lists it only once it was used: the driver's own probe
     * mounts it and tells better. */
    if (access("/lib/modules", F_OK) == 0)
        return true;
    if (fs_read_file(AT_FDCWD, "/proc/filesystems", 64 << 10, &text, NULL) < 0)
        return true;
    lines = strv_split(text, "\n", true);
    return strv_contains(lines, "nodev\toverlay");
}

static bool has_cgroups(void)
{
    return cgroup_host_layout() != CGROUP_NONE && cgroup_has_controller("pids") &&
           cgroup_has_controller("freezer");
}

static const struct {
    bool (*is_there)(void);
    const char *text;
} needed[] = {
    {is_root, "root's rights (run it as root or by systemd)"},
    {has_admin, "the capability CAP_SYS_ADMIN (this looks like a restricted container)"},
    {has_namespaces, "namespaces in the kernel (CONFIG_NAMESPACES)"},
    {has_overlay, "overlayfs in the kernel (CONFIG_OVERLAY_FS)"},
    {has_cgroups, "cgroups with the pids and freezer controllers, mounted under /sys/fs/cgroup"},
};

int sys_check_host(struct error *e)
{
    AUTOPTR(strv) char **missing = NULL;
    AUTOFREE char *all = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!needed[i].is_there())
            strv_push(&missing, needed[i].text);
    if (!missing)
        return 0;
    all = strv_join(missing, "; ");
    return error_set(e, ERR_UNAVAILABLE, "this host lacks: %s", all);
}
