/* SPDX-License-Identifier: Apache-2.0 */
/* The native driver: src/runtime, called in a stage. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "monitor/drv-common.h"
#include "monitor/drv-native.h"
#include "monitor/monitor.h"
#include "oci/spec.h"
#include "runtime/runtime.h"
#include "sys/cgroup.h"

static_assert(sizeof(struct stage_status) == sizeof(struct runtime_status) &&
                  offsetof(struct stage_status, message) ==
                      offsetof(struct runtime_status, message),
              "the resident monitor reads what the runtime writes");

static struct runtime_io io_of(const struct stage_io *io)
{
    return (struct runtime_io){.stdin_fd = io->stdin_fd,
                               .stdout_fd = io->stdout_fd,
                               .stderr_fd = io->stderr_fd,
                               .console_fd = -EBADF,
                               .console_socket = io->console_socket};
}

/*
 * A daemon that was started by hand has the loginuid of who did so, and its children inherit it.
 * Once set it cannot be changed without CAP_AUDIT_CONTROL: logins into a machine of its own (sshd,
 * cron by pam_loginuid) would be refused. In the stage, so that only the container is without.
 */
static void leave_login(void)
{
    static const char file[] = "/proc/self/loginuid";
    static const char unset[] = "4294967295";
    AUTOFREE char *now = NULL;

    if (fs_read_file(AT_FDCWD, file, 64, &now, NULL) == 0 && strcmp(now, unset) != 0)
        (void)!fs_write_existing(AT_FDCWD, file, unset);
}

static int native_create(const struct stage_create *p, struct stage_result *ret, struct error *e)
{
    struct oci_spec spec = {0}; /* never freed: the stage ends */
    struct runtime_created created = {0};
    struct runtime_create c = {.id = p->id,
                               .bundle = p->bundle,
                               .spec = &spec,
                               .io = io_of(&p->io),
                               .seccomp_bpf = p->seccomp_bpf,
                               .seccomp_len = p->seccomp_len,
                               .view_socket = p->io.view_socket,
                               .gate_fd = p->gate_fd,
                               .status_fd = p->status_fd,
                               .flags = RUNTIME_CLONE_PARENT};
    int r = stage_load_spec(p->bundle, &spec, e);

    if (r < 0)
        return r;
    if (spec.pouch && spec.pouch->no_login)
        leave_login();
    r = runtime_create(&c, &created, e);
    if (r < 0)
        return r;
    ret->pid = created.pid;
    ret->cgroup_path = created.cgroup_path;
    ret->warnings = created.warnings;
    stage_open_oom(ret);
    return 0;
}

static int native_exec(const struct stage_exec *p, struct stage_result *ret, struct error *e)
{
    struct oci_process process = {0};
    struct runtime_exec x = {.id = p->id,
                             .init_pid = p->init_pid,
                             .process = &process,
                             .cgroup_path = p->cgroup_path,
                             .io = io_of(&p->io),
                             .seccomp_bpf = p->seccomp_bpf,
                             .seccomp_len = p->seccomp_len,
                             .view_socket = p->io.view_socket,
                             .status_fd = p->status_fd,
                             .flags = RUNTIME_CLONE_PARENT};
    int r = json_parse(&oci_process_json, p->process_json, p->process_len, &process, e);

    if (r < 0)
        return r;
    return runtime_exec(&x, &ret->pid, &ret->warnings, e);
}

static int native_signal(const char *id, const char *bundle, const char *cgroup_path, int sig,
                         bool all)
{
    return cgroup_signal(cgroup_path, sig, NULL);
}

static_assert((int)MONITOR_MOUNT_ADD == (int)RUNTIME_MOUNT_ADD &&
                  (int)MONITOR_MOUNT_REMOVE == (int)RUNTIME_MOUNT_REMOVE &&
                  (int)MONITOR_MOUNT_REPLACE == (int)RUNTIME_MOUNT_REPLACE,
              "orders are handed on as they are");

static int native_mounts(pid_t init_pid, const struct stage_mount *mounts, size_t n,
                         struct error *e)
{
    struct runtime_mount *list = xcalloc(n + 1, sizeof(*list)); /* never freed: the stage ends */

    for (size_t i = 0; i < n; i++) {
        if (mounts[i].op < RUNTIME_MOUNT_ADD || mounts[i].op > RUNTIME_MOUNT_REPLACE)
            return error_set(e, ERR_NOT_SUPPORTED,
                             "this container's monitor does not know the mount operation %u",
                             mounts[i].op);
        list[i] = (struct runtime_mount){(enum runtime_mount_op)mounts[i].op, mounts[i].source,
                                         mounts[i].target, mounts[i].options};
    }
    return runtime_mounts(init_pid, list, n, e);
}

const struct monitor_driver monitor_driver_native = {
    .name = "native",
    .create = native_create,
    .exec = native_exec,
    .signal = native_signal,
    .mounts = native_mounts,
};
