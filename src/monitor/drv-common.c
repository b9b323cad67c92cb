/* SPDX-License-Identifier: Apache-2.0 */
/* What all runtime drivers do. */
#include "monitor/drv-common.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "oci/spec.h"
#include "sys/cgroup.h"

#define SPEC_MAX (4 << 20)

int stage_load_spec(const char *bundle, struct oci_spec *ret, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/config.json", bundle);
    AUTOFREE char *text = NULL;
    size_t len;
    int r = fs_read_file(AT_FDCWD, path, SPEC_MAX, &text, &len);

    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    r = json_parse(&oci_spec_json, text, len, ret, e);
    if (r < 0)
        error_add(e, "%s", path);
    return r;
}

void stage_open_oom(struct stage_result *ret)
{
    bool v2 = cgroup_host_layout() == CGROUP_V2;
    const char *mount = cgroup_mount_point(v2 ? "" : "memory");
    AUTOFREE char *path = NULL;

    if (!mount)
        return;
    path = xasprintf("%s%s/%s", mount, ret->cgroup_path,
                     v2 ? "memory.events" : "memory.oom_control");
    ret->oom_count_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (ret->oom_count_fd >= 0)
        ret->oom_fd = cgroup_oom_fd(ret->cgroup_path, &ret->oom_events);
}
